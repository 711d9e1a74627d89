/* A log whose last segments cannot be read, as their headers are gone: where recovery lets it go on, so that no byte and no
 * id that may have been there is given again, and as few as can be are given up. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "compress.h"
#include "recover_parts.h"
#include "support/io_fault.h"
#include "support/made_log.h"
#include "support/scratch.h"

/* Both copies. Nothing but the records is left. */
static void lose_header(const struct made *made)
{
    put_bytes(made, 60, "broken", 6);
    put_bytes(made, 188, "broken", 6);
}

/* So many messages at most have been in `size` bytes of which nothing is known: 8 bytes each in a table, packed by 1032. */
static uint64_t messages_in(uint64_t size)
{
    return size ? size * 1032 / 8 + LQ_BATCH_MAX : 0;
}

static void behind_a_last_segment_that_cannot_be_read_there_is_room_for_all_of_it(void **state)
{
    struct made three[3];
    new_log(state);
    make_three(three);
    lose_header(&three[2]);
    uint64_t size = size_of(&three[2]), before = three[1].found.end;
    struct lqi_found expected = {.end = before + size, .mark = before + size, .next_id = 10, .given_up = true,
                                 .good_end = before, .good_id = 7, .damage = 1};
    HOLDS(expected.end % 8 == 0);
    same(find(&untrimmed, &nothing), &expected);
    expected.end = expected.mark = before + size + 1000;
    same(find_promised(before + size + 1000, 5), &expected);
    expected.next_id = 1 << 20;
    same(find_promised(before + size + 1000, 1 << 20), &expected);
    drop_three(three);
}

/* Not its header says what it holds then, but its trailer, to the byte and the id. */
static void a_last_segment_without_header_ends_where_its_trailer_says(void **state)
{
    struct made three[3];
    new_log(state);
    make_three(three);
    add_many(&three[2], 5);
    uint64_t end = three[2].found.end;
    seal(&three[2], 20);
    put_bytes(&three[2], 60, "broken", 6);
    put_bytes(&three[2], 188, "broken", 6);
    struct lqi_found expected = {.end = end, .mark = end, .next_id = 20, .given_up = true, .good_end = end, .good_id = 20, .damage = 1};
    same(find(&untrimmed, &nothing), &expected);
    drop_three(three);
}

static void several_that_cannot_be_read_are_left_behind_together(void **state)
{
    struct made three[3];
    new_log(state);
    make_three(three);
    lose_header(&three[2]);
    break_header(&three[1]);
    uint64_t sizes = size_of(&three[1]) + size_of(&three[2]), before = three[0].found.end;
    struct lqi_found expected = {.end = lqi_round_up(before + sizes, 8), .next_id = 10, .given_up = true,
                                 .good_end = before, .good_id = 7, .damage = 1};
    expected.mark = expected.end;
    same(find(&untrimmed, &nothing), &expected);

    break_header(&three[0]); /* nothing is left but the place where the log began */
    sizes += size_of(&three[0]);
    expected.good_end = 24;
    expected.end = expected.mark = lqi_round_up(24 + sizes, 8);
    same(find(&(struct lqi_trim){.sequence = 1, .first_id = 1, .position = 24, .next_id = 1}, &nothing), &expected);
    drop_three(three);
}

/* The one before it was never sealed: all of its file may be records. */
static void an_open_segment_before_an_unreadable_one_reaches_as_far_as_its_file(void **state)
{
    new_log(state);
    struct made open = make_segment(1, 0, 0);
    add_many(&open, 2);
    allocate(&open);
    struct made last = make_segment(3, open.found.end, 0);
    break_header(&last);
    struct lqi_found expected = {.good_end = size_of(&open), .next_id = 4, .given_up = true, .good_id = 3, .damage = 1};
    expected.end = expected.mark = lqi_round_up(size_of(&open) + LQI_SEGMENT_HEADER, 8);
    struct lqi_found *found = find(&untrimmed, &nothing);
    same(found, &expected);
    EQUAL(found->second_id, 3);
    done(&open);
    done(&last);
}

static int open_but_not_the_3rd(const struct lqi_io *io, int dir, const char *name, int flags, uint32_t mode, int *fd_out)
{
    char gone[LQI_SEGMENT_NAME_SIZE];
    lqi_segment_name(gone, 3);
    return strcmp(name, gone) == 0 ? ENOENT : lqi_io_posix.open(io, dir, name, flags, mode, fd_out);
}

/* Somebody else deleted it, between the look at the directory and the look at the file. */
static void what_is_gone_takes_no_room(void **state)
{
    static struct lqi_found found;
    struct lqi_io io = lqi_io_posix;
    new_log(state);
    struct made made = make_segment(1, 0, 0);
    add_many(&made, 2);
    seal(&made, 3);
    struct made gone = make_segment(3, made.found.end, 0), last = make_segment(5, 1 << 20, 0);
    break_header(&last);
    struct lqi_found expected = {.next_id = 6, .given_up = true, .good_end = made.found.end, .good_id = 5, .damage = 1};
    expected.end = expected.mark = lqi_round_up(made.found.end + LQI_SEGMENT_HEADER, 8);
    io.open = open_but_not_the_3rd;
    the_log.io = &io;
    OK(lqi_find_end(&the_log, &untrimmed, &nothing, &found));
    the_log.io = &lqi_io_posix;
    same(&found, &expected);
    done(&made);
    done(&gone);
    done(&last);
}

static void what_is_no_file_takes_no_room(void **state)
{
    new_log(state);
    struct made made = make_segment(1, 0, 0);
    add_many(&made, 2);
    seal(&made, 3);
    HOLDS(mkdir(path_of(3), 0700) == 0);
    struct lqi_found expected = {.end = made.found.end, .mark = made.found.end, .next_id = 4, .given_up = true, .good_end = made.found.end, .good_id = 3, .damage = 1};
    same(find(&untrimmed, &nothing), &expected);
    struct made last = make_segment(5, 1 << 20, 0); /* behind it, and not its room twice */
    break_header(&last);
    expected.end = expected.mark = lqi_round_up(made.found.end + LQI_SEGMENT_HEADER, 8);
    expected.next_id = 6;
    expected.good_id = 5;
    same(find(&untrimmed, &nothing), &expected);
    HOLDS(rmdir(path_of(3)) == 0);
    done(&made);
    done(&last);
}

static int stat_of_a_large_one(const struct lqi_io *io, int fd, struct lqi_io_stat *stat_out)
{
    int error = lqi_io_posix.stat(io, fd, stat_out);
    stat_out->size = (uint64_t)5 << 30;
    return error;
}

/* Whoever lengthened it cannot use up the positions that there are. */
static void no_file_takes_more_room_than_a_segment_can(void **state)
{
    static struct lqi_found found;
    struct lqi_io io = lqi_io_posix;
    new_log(state);
    struct made made = make_segment(1, 0, 0);
    break_header(&made);
    struct lqi_found expected = {.end = LQI_SEGMENT_FILE_MAX, .mark = LQI_SEGMENT_FILE_MAX, .next_id = 2,
                                 .given_up = true, .good_id = 1, .damage = 1};
    io.stat = stat_of_a_large_one;
    the_log.io = &io;
    OK(lqi_find_end(&the_log, &untrimmed, &nothing, &found));
    the_log.io = &lqi_io_posix;
    same(&found, &expected);
    done(&made);
}

/* ---- which id comes next ---------------------------------------------------------------- */

static struct made lone; /* the only segment, of the messages from 7 on */

static void new_lone(void **state)
{
    new_log(state);
    lone = make_segment(7, 800, 0);
}

static void drop_lone(void)
{
    done(&lone);
    HOLDS(scratch_delete(log_path) == 0);
}

static uint64_t next_id(void)
{
    struct lqi_found *found = find(&untrimmed, &nothing);
    HOLDS(found->given_up && found->good_id == 7 && found->end >= size_of(&lone));
    return found->next_id;
}

/* Whatever it has for its bytes: not our records, that say what they are. */
static uint64_t put_record(const struct lqi_record *fields, const void *payload)
{
    uint8_t bytes[LQI_RECORD_HEADER];
    struct lqi_record record = *fields;
    record.position = lone.found.end;
    if (payload) record.payload_check = lqi_checksum(payload, record.size);
    lqi_record_encode(bytes, &record, lone.head.salt);
    put_bytes(&lone, offset_of(&lone, record.position), bytes, sizeof bytes);
    if (payload) put_bytes(&lone, offset_of(&lone, record.position) + LQI_RECORD_HEADER, payload, record.size);
    lone.found.end += lqi_record_span(record.size);
    if (size_of(&lone) < offset_of(&lone, lone.found.end)) HOLDS(ftruncate(lone.fd, (off_t)offset_of(&lone, lone.found.end)) == 0);
    return record.position;
}

static void the_records_tell_it_without_their_header(void **state)
{
    const uint8_t batch[3 * LQI_MESSAGE_ENTRY] = {0};
    new_lone(state);
    lose_header(&lone);
    EQUAL(next_id(), 8); /* of none: but the next segment needs a name of its own */
    for (uint64_t id = 8; id < 20; id++) {
        add(&lone);
        EQUAL(next_id(), id);
    }
    put_record(&(struct lqi_record){.kind = LQI_RECORD_MARK, .first_id = 19}, NULL); /* a clean close */
    EQUAL(next_id(), 19);
    put_record(&(struct lqi_record){.kind = LQI_RECORD_MESSAGES, .first_id = 19, .count = 3, .size = sizeof batch}, batch);
    EQUAL(next_id(), 22);
    put_record(&(struct lqi_record){.kind = LQI_RECORD_MESSAGES, .flags = LQI_RECORD_LONE, .first_id = 22, .count = 1}, "");
    EQUAL(next_id(), 23);
    put_record(&(struct lqi_record){.kind = LQI_RECORD_HOLE, .first_id = 23, .payload_check = 1000, .size = 160}, NULL); /* made by repair */
    EQUAL(next_id(), 1000);
    put_record(&(struct lqi_record){.kind = LQI_RECORD_MESSAGES, .flags = LQI_RECORD_LONE, .first_id = 1000, .count = 1, .size = 3}, "end");
    EQUAL(next_id(), 1001);
    allocate(&lone);
    EQUAL(next_id(), 1001);
    HOLDS(ftruncate(lone.fd, (off_t)64 << 20) == 0); /* that it is as long as a segment is made costs nothing */
    EQUAL(next_id(), 1001);
    EQUAL(find_promised(1 << 20, 5000)->next_id, 5000); /* who knows of more is believed */
    drop_lone();
}

/* As far as anything behind it tells. */
static void what_is_damaged_among_them_costs_no_id(void **state)
{
    for (int bad = 0; bad < 5; bad++) {
        for (int how = 0; how < 3; how++) {
            new_lone(state);
            add_many(&lone, 6);
            uint64_t at = 800 + (uint64_t)bad * SPAN;
            if (how == 0) damage(&lone, at);
            else if (how == 1) put_bytes(&lone, offset_of(&lone, at) + 100, "bad", 3);
            else put_bytes(&lone, offset_of(&lone, at) - (bad ? 0 : LQI_SEGMENT_HEADER), (uint8_t[4096]){0}, 4096); /* a sector, with the header or without */
            lose_header(&lone);
            EQUAL(next_id(), 13);
            drop_lone();
        }
    }
}

static void behind_the_last_that_proves_itself_there_is_room_for_what_may_have_been(void **state)
{
    static const uint64_t places[] = {1, 2, 8, 40, 100, 16383, 16384, 16385, 39000};
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        new_lone(state);
        add_many(&lone, 2);
        allocate(&lone);
        lose_header(&lone);
        put_bytes(&lone, offset_of(&lone, lone.found.end) + places[i] - 1, "x", 1);
        EQUAL(next_id(), 9 + messages_in(places[i]));
        drop_lone();
    }
}

/* A torn record of as many messages as there can be, of next to no bytes, packed to nothing or not. */
static void no_id_is_given_twice_however_small_the_messages_were(void **state)
{
    enum { RAW = LQ_BATCH_MAX * LQI_MESSAGE_ENTRY };
    uint8_t *raw = calloc(1, RAW), *packed = malloc(RAW);
    uint32_t size;
    OK(lqi_pack(raw, RAW, 9, packed, &size));
    HOLDS(size > 0 && size < 1000);
    for (int pack = 0; pack < 2; pack++) {
        for (int records = 1; records <= 3; records++) {
            new_lone(state);
            for (int i = 0; i < records; i++)
                put_record(&(struct lqi_record){.kind = LQI_RECORD_MESSAGES, .flags = pack ? LQI_RECORD_PACKED : 0, .count = LQ_BATCH_MAX,
                                                .first_id = 7 + (uint64_t)i * LQ_BATCH_MAX, .size = pack ? size : RAW}, pack ? packed : raw);
            lose_header(&lone);
            EQUAL(next_id(), 7 + (uint64_t)records * LQ_BATCH_MAX);
            for (int i = 0; i < records; i++) damage(&lone, 800 + (uint64_t)i * lqi_record_span(pack ? size : RAW));
            HOLDS(next_id() >= 7 + (uint64_t)records * LQ_BATCH_MAX);
            drop_lone();
        }
    }
    free(raw);
    free(packed);
}

/* A mark and a hole have no body that proves them, and of other kinds it is not known what their numbers mean. */
static void what_nothing_proves_is_believed_only_where_it_must_be(void **state)
{
    const struct lqi_record cases[] = {
        {.kind = LQI_RECORD_MARK, .first_id = 9}, {.kind = LQI_RECORD_MARK, .first_id = 10}, {.kind = LQI_RECORD_HOLE, .first_id = 9, .payload_check = 9},
        {.kind = LQI_RECORD_HOLE, .first_id = 10, .payload_check = 20}, {.kind = 9, .first_id = 9, .count = 5},
        {.kind = LQI_RECORD_MESSAGES, .count = 1, .first_id = 8},        /* one that was before */
        {.kind = LQI_RECORD_MESSAGES, .count = 1, .first_id = 9, .size = 1 << 20}, /* longer than the file */
        {.kind = LQI_RECORD_HOLE, .first_id = 9, .payload_check = 9, .size = 10000}, /* and so is this */
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        bool good = i == 0 || i == 2;
        for (uint64_t gap = 0; gap <= 8; gap += 8) {
            new_lone(state);
            add_many(&lone, 2);
            uint64_t end = lone.found.end;
            lone.found.end += gap;
            if (gap) put_bytes(&lone, offset_of(&lone, end), "x", 1);
            put_record(&cases[i], cases[i].size || cases[i].kind != LQI_RECORD_MESSAGES ? NULL : "");
            HOLDS(ftruncate(lone.fd, (off_t)offset_of(&lone, end + gap + 40)) == 0);
            lose_header(&lone);
            uint64_t next = next_id();
            if (good && !gap) EQUAL(next, 9);
            else HOLDS(next > 9 + LQ_BATCH_MAX);
            drop_lone();
        }
    }
}

static uint64_t bytes_read;

static int count_read(const struct lqi_io *io, int fd, uint64_t offset, void *data, size_t size, size_t *got_out)
{
    int error = lqi_io_posix.read(io, fd, offset, data, size, got_out);
    bytes_read += *got_out;
    return error;
}

/* Each word is one, and says of itself that a long body is behind it. */
static void what_looks_like_a_record_everywhere_is_not_read_for_ever(void **state)
{
    static struct lqi_found found;
    static uint8_t bytes[2 << 20];
    struct lqi_io io = lqi_io_posix;
    new_lone(state);
    for (size_t i = 0; i < sizeof bytes; i += 8) lqi_put64(bytes + i, UINT64_C(0x0008000001010001));
    put_bytes(&lone, LQI_SEGMENT_HEADER, bytes, sizeof bytes);
    lose_header(&lone);
    io.read = count_read;
    the_log.io = &io;
    bytes_read = 0;
    OK(lqi_find_end(&the_log, &untrimmed, &nothing, &found));
    the_log.io = &lqi_io_posix;
    HOLDS(bytes_read < 5 * sizeof bytes);
    EQUAL(found.next_id, 7 + messages_in(sizeof bytes - 1)); /* the last byte is zero */
    drop_lone();
}

/* It is zero behind them: somebody else has lengthened it, and may cut it again. */
static void a_file_that_is_longer_than_any_segment_gives_the_ids_of_its_records_and_no_more(void **state)
{
    static struct lqi_found found;
    struct lqi_io io = lqi_io_posix;
    new_lone(state);
    add_many(&lone, 4);
    lose_header(&lone);
    io.stat = stat_of_a_large_one;
    the_log.io = &io;
    OK(lqi_find_end(&the_log, &untrimmed, &nothing, &found));
    the_log.io = &lqi_io_posix;
    EQUAL(found.next_id, 7 + 4);
    drop_lone();
}

/* There are ids enough: a place of the disk that cannot be read keeps no queue shut. */
static void where_the_disk_gives_nothing_anything_may_have_been(void **state)
{
    static struct lqi_found found;
    struct io_fault fault;
    int failed = 0;
    new_lone(state);
    add_many(&lone, 4);
    lose_header(&lone);
    io_fault_init(&fault, &lqi_io_posix);
    the_log.io = &fault.io;
    for (unsigned n = 1;; n++) {
        io_fault_plan(&fault, IO_READ, n, false, EIO);
        int err = lqi_find_end(&the_log, &untrimmed, &nothing, &found);
        if (!fault.hits) break;
        if (err) {
            IS(LQ_EIO, err); /* its header could not be looked at */
            continue;
        }
        uint64_t size = size_of(&lone) - LQI_SEGMENT_HEADER;
        bool expected = false;
        for (uint64_t proven = 0; proven < 4; proven++) expected |= found.next_id == 7 + proven + messages_in(size - proven * SPAN);
        HOLDS(expected);
        failed++;
    }
    HOLDS(failed > 4);
    the_log.io = &lqi_io_posix;
    io_fault_release(&fault);
    drop_lone();
}

/* Whoever only looks may be content with what there is, and knows then that the end was made up: it is no damage, and may be read later. */
static void an_end_that_the_disk_does_not_give_just_now_is_known_as_such(void **state)
{
    static struct lqi_found found;
    const struct lqi_trim trim = {.sequence = 1, .first_id = 7, .position = 800, .synced = 800, .next_id = 7};
    struct io_fault fault;
    new_lone(state);
    add_many(&lone, 4);
    io_fault_init(&fault, &lqi_io_posix);
    the_log.io = &fault.io;
    for (int content = 0; content < 2; content++) {
        the_log.over_unreadable = content;
        io_fault_plan(&fault, IO_READ, 1, true, EIO);
        IS(content ? LQ_OK : LQ_EIO, lqi_find_end(&the_log, &trim, &nothing, &found));
        if (content) HOLDS(found.unreadable && found.given_up && found.next_id >= 11 && found.end >= lone.found.end);
        io_fault_end(&fault);
        OK(lqi_find_end(&the_log, &trim, &nothing, &found));
        HOLDS(!found.unreadable && !found.given_up);
        EQUAL(found.next_id, 11);
    }
    lose_header(&lone);
    OK(lqi_find_end(&the_log, &trim, &nothing, &found));
    HOLDS(!found.unreadable && found.given_up);
    the_log.over_unreadable = false;
    the_log.io = &lqi_io_posix;
    io_fault_release(&fault);
    drop_lone();
}

/* Somebody cuts it while we look, and what is left of the body would do for a shorter one. */
static void a_record_of_which_the_file_has_only_a_part_tells_nothing(void **state)
{
    const uint8_t body[2 * LQI_MESSAGE_ENTRY] = {0};
    struct lqi_file file = LQI_FILE_NONE;
    char name[LQI_SEGMENT_NAME_SIZE];
    new_lone(state);
    add(&lone);
    uint64_t check = lqi_checksum(body, LQI_MESSAGE_ENTRY);
    put_record(&(struct lqi_record){.kind = LQI_RECORD_MESSAGES, .first_id = 8, .count = 2, .size = sizeof body, .payload_check = check}, NULL);
    uint64_t size = size_of(&lone), begin = size - sizeof body - LQI_RECORD_HEADER, id = 7;
    HOLDS(ftruncate(lone.fd, (off_t)(size - LQI_MESSAGE_ENTRY)) == 0);
    lqi_segment_name(name, 7);
    OK(lqi_file_open(&file, &lqi_io_posix, the_log.log_dir, name, name, LQI_OPEN_READ, 0));
    OK(lqi_recover_ids(&file, size, &id));
    HOLDS(id > 8 && id <= 8 + messages_in(size - begin)); /* the record before it counts, and what it may have been */
    lqi_file_close(&file);
    drop_lone();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_DIRECTORY(the_records_tell_it_without_their_header),
        IN_DIRECTORY(what_is_damaged_among_them_costs_no_id),
        IN_DIRECTORY(behind_the_last_that_proves_itself_there_is_room_for_what_may_have_been),
        IN_DIRECTORY(no_id_is_given_twice_however_small_the_messages_were),
        IN_DIRECTORY(what_nothing_proves_is_believed_only_where_it_must_be),
        IN_DIRECTORY(what_looks_like_a_record_everywhere_is_not_read_for_ever),
        IN_DIRECTORY(a_file_that_is_longer_than_any_segment_gives_the_ids_of_its_records_and_no_more),
        IN_DIRECTORY(where_the_disk_gives_nothing_anything_may_have_been),
        IN_DIRECTORY(an_end_that_the_disk_does_not_give_just_now_is_known_as_such),
        IN_DIRECTORY(a_record_of_which_the_file_has_only_a_part_tells_nothing),
        IN_DIRECTORY(behind_a_last_segment_that_cannot_be_read_there_is_room_for_all_of_it),
        IN_DIRECTORY(a_last_segment_without_header_ends_where_its_trailer_says),
        IN_DIRECTORY(several_that_cannot_be_read_are_left_behind_together),
        IN_DIRECTORY(an_open_segment_before_an_unreadable_one_reaches_as_far_as_its_file),
        IN_DIRECTORY(what_is_gone_takes_no_room),
        IN_DIRECTORY(what_is_no_file_takes_no_room),
        IN_DIRECTORY(no_file_takes_more_room_than_a_segment_can),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
