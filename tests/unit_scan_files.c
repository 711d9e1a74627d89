/* The walk over files that are made one by one: from each to the next, whatever they lack or claim, and however the machine fails. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "scan.h"
#include "support/io_fault.h"
#include "support/made_log.h"

#define TIME(id) ((int64_t)(1001 + 10 * (id))) /* of a message in the first file, see make_segment(); of those of make_dated() in all */

static struct lqi_scan scan;
static struct io_fault fault;
static int lowest_fd; /* that is free */

static int free_fd(void)
{
    int fd = dup(0);
    HOLDS(fd >= 0);
    close(fd);
    return fd;
}

static void begin(uint64_t position, uint64_t id)
{
    io_fault_init(&fault, &lqi_io_posix);
    the_log.io = &fault.io;
    lowest_fd = free_fd();
    lqi_scan_init(&scan, &the_log, LQI_SCAN_BLOCK);
    lqi_scan_start(&scan, position, id);
}

/* No file stays open. */
static void over(void)
{
    lqi_scan_release(&scan);
    lqi_scan_release(&scan); /* of what is empty is fine */
    EQUAL(free_fd(), lowest_fd);
    the_log.io = &lqi_io_posix;
    io_fault_release(&fault);
}

/* Positions and ids never go back, whatever a file says. */
static int step(uint64_t limit)
{
    uint64_t position = scan.position, id = scan.next_id;
    int err = lqi_scan_next(&scan, limit);
    HOLDS(scan.position >= position && scan.next_id >= id);
    return err;
}

/* The same, once more if the machine failed. */
static int step_at_last(uint64_t limit)
{
    int err = step(limit);
    return err == LQ_ELIMIT && fault.hits ? step(limit) : err;
}

static void meets(uint64_t from, uint64_t to, uint64_t limit)
{
    for (uint64_t id = from; id <= to; id++) {
        EQUAL(step_at_last(limit), LQ_OK);
        EQUAL(scan.record.first_id, id);
    }
}

static void ends(uint64_t limit)
{
    EQUAL(step(limit), LQ_EMPTY);
}

static void lacks(uint64_t file, uint64_t offset, uint64_t first_id, uint64_t count, uint64_t limit)
{
    char name[LQI_SEGMENT_NAME_SIZE], words[200];
    EQUAL(step_at_last(limit), LQI_HOLE);
    HOLDS(!scan.hole.trimmed);
    EQUAL(scan.hole.first_id, first_id);
    EQUAL(scan.hole.count, count);
    lqi_segment_name(name, file);
    HOLDS(strncmp(scan.hole.file, "log/", 4) == 0);
    assert_string_equal(scan.hole.file + 4, name);
    EQUAL(scan.hole.offset, offset);
    snprintf(words, sizeof words, "%s, byte %llu: ", scan.hole.file, (unsigned long long)offset);
    HOLDS(strncmp(lq_error_text(), words, strlen(words)) == 0 && strstr(lq_error_text(), scan.hole.text));
    snprintf(words, sizeof words, "; %llu messages from id %llu are lost", (unsigned long long)count, (unsigned long long)first_id);
    EQUAL(strstr(lq_error_text(), words) != NULL, count > 0);
}

static struct made filled(uint64_t first_id, uint64_t position, int messages)
{
    struct made made = make_segment(first_id, position, 0);
    add_many(&made, messages);
    return made;
}

static struct made sealed(uint64_t first_id, uint64_t position, int messages)
{
    struct made made = filled(first_id, position, messages);
    seal(&made, made.found.next_id);
    return made;
}

static void drop(struct made *made, int count)
{
    for (int i = 0; i < count; i++) done(&made[i]);
}

/* Twenty of one message each, all of them sealed. */
static void make_twenty(struct made twenty[20])
{
    for (uint64_t i = 0; i < 20; i++) twenty[i] = sealed(i + 1, i * SPAN, 1);
}

/* ---- from one file to the next ---------------------------------------------------- */

static void who_goes_from_file_to_file_neither_lists_nor_opens_more_than_must_be(void **state)
{
    struct made twenty[20];
    new_log(state);
    make_twenty(twenty);
    begin(0, 1);
    meets(1, 20, 20 * SPAN);
    ends(20 * SPAN);
    EQUAL(fault.calls[IO_DIR_LIST], 0);
    EQUAL(fault.calls[IO_OPEN], 20);
    over();
    drop(twenty, 20);
}

static void a_lost_file_costs_no_look_at_all_those_before_it(void **state)
{
    struct made twenty[20];
    new_log(state);
    make_twenty(twenty);
    break_header(&twenty[17]);
    begin(0, 1);
    meets(1, 17, 20 * SPAN);
    io_fault_plan(&fault, IO_OPEN, 0, false, 0);
    lacks(18, 0, 18, 1, 20 * SPAN);
    HOLDS(fault.calls[IO_OPEN] < 10);
    meets(19, 20, 20 * SPAN);
    over();
    drop(twenty, 20);
}

static void the_first_file_is_a_hole_like_any_other(void **state)
{
    struct made three[3];
    new_log(state);
    make_three(three);
    break_header(&three[0]);
    begin(0, 1);
    lacks(1, 0, 1, 3, 9 * SPAN);
    meets(4, 9, 9 * SPAN);
    ends(9 * SPAN);
    over();
    drop(three, 3);
}

/* Who seals a file writes how far its ids go; one that claims more is no place for the messages of a lost one. */
static void a_trailer_that_claims_more_messages_than_there_are_hides_no_lost_file(void **state)
{
    struct made made[3];
    new_log(state);
    made[0] = filled(1, 0, 3);
    seal(&made[0], 9);
    made[1] = sealed(4, 3 * SPAN, 3);
    break_header(&made[1]);
    made[2] = filled(7, 6 * SPAN, 3);
    begin(0, 1);
    meets(1, 3, 9 * SPAN);
    lacks(4, 0, 4, 3, 9 * SPAN);
    meets(7, 9, 9 * SPAN);
    ends(9 * SPAN);
    over();
    drop(made, 3);
}

static void a_file_behind_a_lost_one_that_says_it_begins_before_does_not_lead_back(void **state)
{
    struct made made[4];
    uint64_t last = 0;
    int err;
    new_log(state);
    made[0] = sealed(1, 0, 3);
    made[1] = sealed(4, 3 * SPAN, 3);
    break_header(&made[1]);
    made[2] = sealed(7, SPAN, 3);
    made[3] = filled(10, 9 * SPAN, 3);
    begin(0, 1);
    meets(1, 3, 12 * SPAN);
    lacks(4, 0, 4, 3, 12 * SPAN);
    while ((err = step(12 * SPAN)) != LQ_EMPTY) {
        HOLDS(err == LQ_OK || err == LQI_HOLE);
        if (err == LQ_OK) last = scan.record.first_id;
    }
    EQUAL(last, 12);
    over();
    drop(made, 4);
}

/* Unlike those of the one that says so. */
static void the_messages_before_a_file_that_says_it_begins_before_them_are_met(void **state)
{
    struct made made[4];
    uint64_t lost = 0;
    int err;
    new_log(state);
    made[0] = sealed(1, 0, 3);
    made[1] = filled(4, 3 * SPAN, 3);
    made[2] = sealed(7, SPAN, 1);
    made[3] = filled(10, 9 * SPAN, 3);
    begin(0, 1);
    meets(1, 6, 12 * SPAN);
    while ((err = step(12 * SPAN)) == LQI_HOLE) lost += scan.hole.count;
    EQUAL(err, LQ_OK);
    EQUAL(lost, 3);
    EQUAL(scan.record.first_id, 10);
    meets(11, 12, 12 * SPAN);
    ends(12 * SPAN);
    over();
    drop(made, 4);
}

static void a_last_file_that_says_it_begins_behind_the_end_is_a_hole_up_to_that(void **state)
{
    struct made made[2];
    new_log(state);
    made[0] = sealed(1, 0, 3);
    made[1] = filled(4, 1 << 30, 3);
    begin(0, 1);
    meets(1, 3, 6 * SPAN);
    lacks(4, 0, 0, 0, 6 * SPAN);
    HOLDS(strstr(scan.hole.text, "begins behind"));
    EQUAL(scan.position, 6 * SPAN);
    ends(6 * SPAN);
    over();
    drop(made, 2);
}

static void room_between_two_files_has_no_message_in_it(void **state)
{
    struct made made[2];
    new_log(state);
    made[0] = sealed(1, 0, 3);
    made[1] = make_segment(4, 5 * SPAN, 0);
    begin(0, 1);
    meets(1, 3, 5 * SPAN);
    ends(5 * SPAN);
    add_many(&made[1], 3);
    meets(4, 6, 8 * SPAN);
    ends(8 * SPAN);
    over();
    drop(made, 2);
}

static void an_empty_file_without_its_end_ends_where_the_next_one_begins(void **state)
{
    struct made made[3];
    new_log(state);
    made[0] = sealed(1, 0, 3);
    made[1] = make_segment(4, 3 * SPAN, 0);
    made[2] = filled(5, 3 * SPAN, 3);
    begin(0, 1);
    meets(1, 3, 6 * SPAN);
    lacks(4, 0, 4, 1, 6 * SPAN);
    meets(5, 7, 6 * SPAN);
    ends(6 * SPAN);
    over();
    drop(made, 3);
}

static void what_is_bad_at_the_end_of_the_last_file_is_counted_by_its_trailer(void **state)
{
    struct made made;
    new_log(state);
    made = sealed(1, 0, 3);
    damage(&made, 2 * SPAN);
    begin(0, 1);
    meets(1, 2, 3 * SPAN);
    lacks(1, offset_of(&made, 2 * SPAN), 3, 1, 3 * SPAN);
    ends(3 * SPAN);
    over();
    done(&made);
}

/* Zeroes are passed over in long steps. */
static void behind_a_long_stretch_of_zeroes_the_next_record_is_found_wherever_it_begins(void **state)
{
    new_log(state);
    for (uint32_t zeroes = 4000; zeroes < 13000; zeroes += 8) {
        struct made made = make_segment(1, 0, 0);
        add_record(&made, LQI_RECORD_MESSAGES, 8, 0, TIME(1));
        uint64_t bad = add_record(&made, LQI_RECORD_MESSAGES, zeroes, 0, TIME(2));
        add_record(&made, LQI_RECORD_MESSAGES, 8, 0, TIME(3));
        add_record(&made, LQI_RECORD_MESSAGES, 8, 0, TIME(4));
        damage(&made, bad);
        begin(0, 1);
        meets(1, 1, made.found.end);
        lacks(1, offset_of(&made, bad), 2, 1, made.found.end);
        meets(3, 4, made.found.end);
        over();
        done(&made);
        HOLDS(unlink(path_of(1)) == 0);
    }
}

/* ---- what happens meanwhile ------------------------------------------------------------ */

static void a_file_that_is_not_there_just_once_is_looked_for_again(void **state)
{
    struct made three[3];
    new_log(state);
    make_three(three);
    for (uint64_t nth = 1;; nth++) {
        begin(0, 1);
        io_fault_plan(&fault, IO_OPEN, nth, false, ENOENT);
        meets(1, 9, 9 * SPAN);
        ends(9 * SPAN);
        uint64_t hits = fault.hits;
        over();
        if (!hits) break;
        HOLDS(nth < 20);
    }
    drop(three, 3);
}

static void files_that_are_listed_and_never_there_are_no_reason_to_look_for_ever(void **state)
{
    struct made three[3];
    new_log(state);
    make_three(three);
    begin(0, 1);
    io_fault_plan(&fault, IO_OPEN, 1, true, ENOENT);
    IS(LQ_EBUSY, step(9 * SPAN));
    TEXT_HAS("log/", "changes");
    io_fault_end(&fault);
    meets(1, 9, 9 * SPAN);
    over();
    drop(three, 3);
}

static void where_the_files_cannot_be_listed_nothing_is_called_lost(void **state)
{
    struct made made;
    new_log(state);
    made = filled(1, 0, 3);
    begin(0, 1);
    io_fault_plan(&fault, IO_DIR_LIST, 1, true, EMFILE);
    for (int i = 0; i < 3; i++) {
        IS(LQ_ELIMIT, step(3 * SPAN));
        EQUAL(scan.position, 0);
    }
    IS(LQ_ELIMIT, lqi_scan_seek_id(&scan, 2));
    IS(LQ_ELIMIT, lqi_scan_seek_time(&scan, 1010, 3 * SPAN));
    io_fault_end(&fault);
    meets(1, 3, 3 * SPAN);
    over();
    done(&made);
}

static void a_file_that_cannot_be_opened_just_now_is_no_part_of_the_lost_one_before_it(void **state)
{
    struct made three[3];
    new_log(state);
    make_three(three);
    break_header(&three[1]);
    for (uint64_t nth = 1, hits = 1; hits; nth++) {
        begin(0, 1);
        meets(1, 3, 9 * SPAN);
        io_fault_plan(&fault, IO_OPEN, nth, true, EMFILE);
        for (int i = 0; i < 3 && (i == 0 || hits); i++) {
            int err = lqi_scan_next(&scan, 9 * SPAN);
            hits = fault.hits;
            EQUAL(err, hits ? LQ_ELIMIT : LQI_HOLE);
            EQUAL(scan.position, hits ? 3 * SPAN : 6 * SPAN);
        }
        io_fault_end(&fault);
        if (hits) lacks(4, 0, 4, 3, 9 * SPAN);
        meets(7, 9, 9 * SPAN);
        over();
        HOLDS(nth < 20);
    }
    drop(three, 3);
}

static int open_but_the_second(const struct lqi_io *io, int dir, const char *name, int flags, uint32_t mode, int *fd_out)
{
    if (strcmp(name, "00000000000000000004.seg") == 0) return EIO;
    return lqi_io_posix.open(io, dir, name, flags, mode, fd_out);
}

static void a_file_that_the_disk_does_not_give_is_told_as_unreadable_by_who_goes_over_it(void **state)
{
    struct lqi_io machine = lqi_io_posix;
    struct made three[3];
    new_log(state);
    make_three(three);
    machine.open = open_but_the_second;
    begin(0, 1);
    the_log.io = &machine;
    meets(1, 3, 9 * SPAN);
    IS(LQ_EIO, step(9 * SPAN));
    EQUAL(scan.position, 3 * SPAN);
    the_log.over_unreadable = true;
    lacks(4, 0, 4, 3, 9 * SPAN);
    IS(LQ_EIO, scan.hole.code);
    meets(7, 9, 9 * SPAN);
    over();
    drop(three, 3);
}

/* The file that was the last one is not any more, and lacks its end: how far it goes must be asked again, until it is told. */
static void where_a_file_ends_that_was_the_last_is_asked_until_it_is_told(void **state)
{
    struct made made[2];
    char next[4300], hidden[4300];
    new_log(state);
    made[0] = filled(1, 0, 4);
    damage(&made[0], 3 * SPAN);
    made[1] = filled(5, 4 * SPAN, 3);
    strcpy(next, path_of(5));
    snprintf(hidden, sizeof hidden, "%s/hidden", log_path);
    for (uint64_t nth = 1;; nth++) {
        HOLDS(rename(next, hidden) == 0);
        begin(0, 1);
        meets(1, 3, 3 * SPAN);
        ends(3 * SPAN);
        HOLDS(rename(hidden, next) == 0);
        io_fault_plan(&fault, IO_OPEN, nth, false, EMFILE);
        lacks(1, offset_of(&made[0], 3 * SPAN), 4, 1, 7 * SPAN);
        meets(5, 7, 7 * SPAN);
        uint64_t hits = fault.hits;
        over();
        if (!hits) break;
        HOLDS(nth < 20);
    }
    drop(made, 2);
}

/* Repair has put another file in the place of the one that is open. */
static void who_begins_anew_believes_nothing_of_what_was_read(void **state)
{
    struct made made[2];
    char copy[4300];
    new_log(state);
    made[0] = sealed(1, 0, 5);
    snprintf(copy, sizeof copy, "%s/copy", log_path);
    HOLDS(rename(path_of(1), copy) == 0);
    made[1] = sealed(1, 0, 5);
    damage(&made[1], 2 * SPAN);
    begin(0, 1);
    meets(1, 2, 5 * SPAN);
    lacks(1, offset_of(&made[1], 2 * SPAN), 3, 1, 5 * SPAN);
    HOLDS(rename(copy, path_of(1)) == 0);
    lqi_scan_restart(&scan, 0, 1);
    meets(1, 5, 5 * SPAN);
    over();
    drop(made, 2);
}

static void damage_before_the_first_message_is_told_though_it_costs_none(void **state)
{
    struct made made;
    new_log(state);
    made = make_segment(1, 0, 0);
    add_mark(&made);
    add_many(&made, 3);
    damage(&made, 0);
    begin(0, 1);
    lacks(1, LQI_SEGMENT_HEADER, 0, 0, made.found.end);
    meets(1, 3, made.found.end);
    over();
    done(&made);
}

/* Who has met damage may come back when it is mended. */
static void what_was_bad_and_is_good_again_is_met_by_who_seeks_it(void **state)
{
    struct made made;
    uint8_t was[6];
    new_log(state);
    made = sealed(1, 0, 5);
    HOLDS(pread(made.fd, was, sizeof was, (off_t)(offset_of(&made, 2 * SPAN) + 8)) == sizeof was);
    damage(&made, 2 * SPAN);
    begin(0, 1);
    meets(1, 2, 5 * SPAN);
    lacks(1, offset_of(&made, 2 * SPAN), 3, 1, 5 * SPAN);
    for (int by_time = 0; by_time < 2; by_time++) {
        put_bytes(&made, offset_of(&made, 2 * SPAN) + 8, was, sizeof was);
        if (by_time) OK(lqi_scan_seek_time(&scan, TIME(3), 5 * SPAN));
        else OK(lqi_scan_seek_id(&scan, 3));
        meets(3, 3, 5 * SPAN);
        damage(&made, 2 * SPAN);
        OK(lqi_scan_seek_id(&scan, 1));
        meets(1, 2, 5 * SPAN);
        lacks(1, offset_of(&made, 2 * SPAN), 3, 1, 5 * SPAN);
    }
    over();
    done(&made);
}

/* ---- where the log begins -------------------------------------------------------------- */

static void is_trimmed(uint64_t first_id, uint64_t count, uint64_t limit)
{
    EQUAL(step(limit), LQI_HOLE);
    HOLDS(scan.hole.trimmed);
    EQUAL(scan.hole.first_id, first_id);
    EQUAL(scan.hole.count, count);
}

static void what_retention_has_deleted_is_told_as_no_damage_and_the_walk_goes_on_behind(void **state)
{
    struct made made[2];
    new_log(state);
    made[0] = sealed(4, 3 * SPAN, 3);
    made[1] = filled(7, 6 * SPAN, 3);
    the_log.files_first_id = 4;
    the_log.files_first_position = 3 * SPAN;
    begin(0, 1);
    is_trimmed(1, 3, 9 * SPAN);
    EQUAL(scan.position, 3 * SPAN);
    meets(4, 9, 9 * SPAN);
    OK(lqi_scan_seek_id(&scan, 2));
    is_trimmed(2, 2, 9 * SPAN);
    meets(4, 9, 9 * SPAN);
    over();
    drop(made, 2);
}

static void what_deletion_has_left_is_met_as_long_as_it_is_there(void **state)
{
    struct made made[2];
    new_log(state);
    made[0] = sealed(4, 3 * SPAN, 3);
    made[1] = filled(7, 6 * SPAN, 3);
    the_log.files_first_id = 7;
    the_log.files_first_position = 6 * SPAN;
    begin(0, 1);
    for (uint64_t id = 2; id < 7; id++) {
        OK(lqi_scan_seek_id(&scan, id));
        if (id < 4) is_trimmed(id, 4 - id, 9 * SPAN);
        meets(id < 4 ? 4 : id, 9, 9 * SPAN);
    }
    over();
    drop(made, 2);
}

static void what_is_missing_before_the_oldest_file_is_told_to_whoever_seeks_it(void **state)
{
    struct made made[2];
    new_log(state);
    made[0] = sealed(4, 3 * SPAN, 3);
    made[1] = filled(7, 6 * SPAN, 3);
    the_log.files_first_id = 1;
    begin(3 * SPAN, 4);
    meets(4, 9, 9 * SPAN);
    for (uint64_t id = 1; id < 4; id++) {
        OK(lqi_scan_seek_id(&scan, id));
        lacks(id, 0, id, 4 - id, 9 * SPAN);
        meets(4, 9, 9 * SPAN);
    }
    over();
    drop(made, 2);
}

/* Though the way leads over all of the good segment that covers the strange file. */
static void damage_on_the_way_to_what_is_sought_is_not_told(void **state)
{
    struct made made[3];
    new_log(state);
    made[0] = sealed(1, 0, 10);
    made[1] = sealed(11, 10 * SPAN, 10);
    made[2] = filled(21, 20 * SPAN, 3);
    damage(&made[1], 12 * SPAN);
    api_file_write(path_of(16), "what is this", 12);
    begin(0, 1);
    OK(lqi_scan_seek_id(&scan, 18));
    EQUAL(lqi_scan_next(&scan, 23 * SPAN), LQ_OK);
    EQUAL(scan.record.first_id, 18);
    meets(19, 23, 23 * SPAN);
    ends(23 * SPAN);

    lqi_scan_start(&scan, 10 * SPAN, 11); /* who goes that way is told */
    meets(11, 12, 23 * SPAN);
    lacks(11, offset_of(&made[1], 12 * SPAN), 13, 1, 23 * SPAN);
    over();
    drop(made, 3);
}

/* ---- times ------------------------------------------------------------------------------ */

/* Three files of three messages, which are 10 us apart; the first cannot be read. */
static void make_dated(struct made three[3])
{
    for (uint64_t i = 0; i < 3; i++) {
        uint8_t bytes[LQI_SEGMENT_HEADER];
        three[i] = make_segment(1 + 3 * i, 3 * i * SPAN, 0);
        three[i].head.created_us = three[i].found.time_us = TIME(3 * i);
        lqi_segment_head_encode(bytes, &three[i].head);
        put_bytes(&three[i], 0, bytes, sizeof bytes);
        add_many(&three[i], 3);
        if (i < 2) seal(&three[i], three[i].found.next_id);
    }
    break_header(&three[0]);
}

static void a_time_is_found_from_wherever_the_walk_has_come_to(void **state)
{
    struct made three[3];
    new_log(state);
    make_dated(three);
    begin(0, 1);
    lacks(1, 0, 1, 3, 9 * SPAN);
    meets(4, 9, 9 * SPAN);
    ends(9 * SPAN);
    OK(lqi_scan_seek_time(&scan, 0, 9 * SPAN));
    meets(4, 9, 9 * SPAN);
    OK(lqi_scan_seek_time(&scan, TIME(8), 9 * SPAN));
    meets(8, 9, 9 * SPAN);
    over();
    drop(three, 3);
}

static void where_nothing_is_of_a_time_or_later_the_walk_waits_at_the_end(void **state)
{
    struct made three[3];
    new_log(state);
    begin(0, 1);
    OK(lqi_scan_seek_time(&scan, 5, 0));
    ends(0);
    over();
    make_dated(three);
    begin(0, 1);
    OK(lqi_scan_seek_time(&scan, INT64_MAX, 9 * SPAN));
    ends(9 * SPAN);
    add(&three[2]);
    meets(10, 10, 10 * SPAN);
    over();
    drop(three, 3);
}

static void a_failure_on_the_way_to_a_time_is_told_and_leads_to_no_other(void **state)
{
    static const enum io_kind kinds[] = {IO_OPEN, IO_READ, IO_STAT, IO_DIR_LIST};
    struct made three[3];
    unsigned told = 0;
    new_log(state);
    make_dated(three);
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        for (uint64_t nth = 0, hits = 1; hits; nth++) {
            begin(0, 1);
            io_fault_plan(&fault, kinds[i], nth / 2 + 1, nth % 2, EMFILE);
            int err = lqi_scan_seek_time(&scan, TIME(5), 9 * SPAN);
            hits = fault.hits;
            io_fault_end(&fault);
            if (err) {
                IS(LQ_ELIMIT, err);
                HOLDS(hits);
                told++;
                OK(lqi_scan_seek_time(&scan, TIME(5), 9 * SPAN));
            }
            meets(5, 9, 9 * SPAN);
            over();
            HOLDS(nth < 60);
        }
    }
    HOLDS(told >= 4);
    drop(three, 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_DIRECTORY(who_goes_from_file_to_file_neither_lists_nor_opens_more_than_must_be),
        IN_DIRECTORY(a_lost_file_costs_no_look_at_all_those_before_it),
        IN_DIRECTORY(the_first_file_is_a_hole_like_any_other),
        IN_DIRECTORY(a_trailer_that_claims_more_messages_than_there_are_hides_no_lost_file),
        IN_DIRECTORY(a_file_behind_a_lost_one_that_says_it_begins_before_does_not_lead_back),
        IN_DIRECTORY(the_messages_before_a_file_that_says_it_begins_before_them_are_met),
        IN_DIRECTORY(a_last_file_that_says_it_begins_behind_the_end_is_a_hole_up_to_that),
        IN_DIRECTORY(room_between_two_files_has_no_message_in_it),
        IN_DIRECTORY(an_empty_file_without_its_end_ends_where_the_next_one_begins),
        IN_DIRECTORY(what_is_bad_at_the_end_of_the_last_file_is_counted_by_its_trailer),
        IN_DIRECTORY(behind_a_long_stretch_of_zeroes_the_next_record_is_found_wherever_it_begins),
        IN_DIRECTORY(a_file_that_is_not_there_just_once_is_looked_for_again),
        IN_DIRECTORY(files_that_are_listed_and_never_there_are_no_reason_to_look_for_ever),
        IN_DIRECTORY(where_the_files_cannot_be_listed_nothing_is_called_lost),
        IN_DIRECTORY(a_file_that_cannot_be_opened_just_now_is_no_part_of_the_lost_one_before_it),
        IN_DIRECTORY(a_file_that_the_disk_does_not_give_is_told_as_unreadable_by_who_goes_over_it),
        IN_DIRECTORY(where_a_file_ends_that_was_the_last_is_asked_until_it_is_told),
        IN_DIRECTORY(who_begins_anew_believes_nothing_of_what_was_read),
        IN_DIRECTORY(damage_before_the_first_message_is_told_though_it_costs_none),
        IN_DIRECTORY(what_was_bad_and_is_good_again_is_met_by_who_seeks_it),
        IN_DIRECTORY(what_retention_has_deleted_is_told_as_no_damage_and_the_walk_goes_on_behind),
        IN_DIRECTORY(what_deletion_has_left_is_met_as_long_as_it_is_there),
        IN_DIRECTORY(a_time_is_found_from_wherever_the_walk_has_come_to),
        IN_DIRECTORY(where_nothing_is_of_a_time_or_later_the_walk_waits_at_the_end),
        IN_DIRECTORY(a_failure_on_the_way_to_a_time_is_told_and_leads_to_no_other),
        IN_DIRECTORY(what_is_missing_before_the_oldest_file_is_told_to_whoever_seeks_it),
        IN_DIRECTORY(damage_on_the_way_to_what_is_sought_is_not_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
