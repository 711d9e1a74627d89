/* The walk over files that are made one by one: from each to the next, whatever they lack or claim, and however the machine fails. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "support/made_walk.h"

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

static void a_last_file_that_is_missing_is_told_by_the_name_it_would_have(void **state)
{
    struct made made;
    new_log(state);
    made = sealed(1, 0, 3);
    begin(0, 1);
    meets(1, 3, 6 * SPAN);
    lacks(4, 0, 0, 0, 6 * SPAN);
    EQUAL(scan.position, 6 * SPAN);
    ends(6 * SPAN);
    over();
    done(&made);
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

/* The rest of it is read page by page then, up to where the file ends. */
static void a_read_that_fails_once_costs_nothing_where_pages_are_gone_over(void **state)
{
    struct made made;
    new_log(state);
    the_log.over_unreadable = true;
    made = filled(1, 0, 3);
    for (uint64_t nth = 1, hits = 1; hits; nth++) {
        uint64_t limit = 10 * SPAN; /* more than there is */
        begin(0, 1);
        io_fault_plan(&fault, IO_READ, nth, false, EIO);
        for (uint64_t id = 1; id <= 3; id++) {
            int err = step(limit);
            if (err == LQI_HOLE) { /* it was the header of the file */
                IS(LQ_EIO, scan.hole.code);
                HOLDS(id == 1 && scan.hole.position == 0);
                break;
            }
            EQUAL(err, LQ_OK);
            EQUAL(scan.record.first_id, id);
        }
        hits = fault.hits;
        over();
        HOLDS(nth < 30);
    }
    done(&made);
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
    uint64_t second = add_mark(&made);
    add_many(&made, 3);
    damage(&made, 0);
    begin(0, 1);
    lacks(1, LQI_SEGMENT_HEADER, 0, 0, made.found.end);
    EQUAL(scan.position, second); /* and it is no longer than that */
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
        IN_DIRECTORY(a_last_file_that_is_missing_is_told_by_the_name_it_would_have),
        IN_DIRECTORY(what_is_bad_at_the_end_of_the_last_file_is_counted_by_its_trailer),
        IN_DIRECTORY(behind_a_long_stretch_of_zeroes_the_next_record_is_found_wherever_it_begins),
        IN_DIRECTORY(a_file_that_is_not_there_just_once_is_looked_for_again),
        IN_DIRECTORY(files_that_are_listed_and_never_there_are_no_reason_to_look_for_ever),
        IN_DIRECTORY(where_the_files_cannot_be_listed_nothing_is_called_lost),
        IN_DIRECTORY(a_file_that_cannot_be_opened_just_now_is_no_part_of_the_lost_one_before_it),
        IN_DIRECTORY(a_file_that_the_disk_does_not_give_is_told_as_unreadable_by_who_goes_over_it),
        IN_DIRECTORY(a_read_that_fails_once_costs_nothing_where_pages_are_gone_over),
        IN_DIRECTORY(where_a_file_ends_that_was_the_last_is_asked_until_it_is_told),
        IN_DIRECTORY(who_begins_anew_believes_nothing_of_what_was_read),
        IN_DIRECTORY(damage_before_the_first_message_is_told_though_it_costs_none),
        IN_DIRECTORY(what_was_bad_and_is_good_again_is_met_by_who_seeks_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
