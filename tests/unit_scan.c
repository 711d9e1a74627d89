/* The walk along the number line: what it finds, what it calls a hole, and how it goes on behind. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "queue.h"
#include "scan.h"
#include "support/api.h"
#include "support/damage.h"
#include "support/io_fault.h"

enum { BODY = 100, SPAN = 144 }; /* a record of 100 bytes */

/* Messages 1 to `count`, in files, opened again. */
static lq_queue *queue_with(void **state, uint64_t count, size_t size, const lq_options *options)
{
    lq_options made = *options;
    made.flags = LQ_DEFER_SYNC;
    lq_queue *queue = api_open(state, &made);
    api_put_range(queue, 1, count, size);
    OK(lq_close(queue));
    return api_open(state, NULL);
}

static const lq_options one_segment = {.segment_size = 1 << 20, .ring_size = 64 << 10};
static const lq_options small_segments = {.segment_size = 64 << 10, .ring_size = 64 << 10};

static uint64_t end_of(lq_queue *queue)
{
    return lqi_log_visible(&queue->log);
}

static void flip(void **state, uint64_t number, uint64_t byte)
{
    api_file_flip(api_segment(api_path(*state, "q"), 0), 256 + (number - 1) * SPAN + byte, 0x20);
}

/* Expects the messages `from` to `to` next. */
static void expect(struct lqi_scan *scan, uint64_t from, uint64_t to, uint64_t limit)
{
    for (uint64_t id = from; id <= to; id++) {
        EQUAL(lqi_scan_next(scan, limit), LQ_OK);
        EQUAL(scan->record.first_id, id);
        lq_message message = {.id = id, .data = scan->payload, .size = scan->payload_size};
        HOLDS(api_is_filled(&message, BODY, id));
        EQUAL(scan->position, id * SPAN);
        EQUAL(scan->next_id, id + 1);
    }
}

static void expect_hole(struct lqi_scan *scan, uint64_t first_id, uint64_t count, uint64_t offset, uint64_t limit)
{
    EQUAL(lqi_scan_next(scan, limit), LQI_HOLE);
    EQUAL(scan->hole.first_id, first_id);
    EQUAL(scan->hole.count, count);
    EQUAL(scan->hole.offset, offset);
    assert_string_equal(scan->hole.file, "log/00000000000000000001.seg");
    HOLDS(!scan->hole.trimmed);
    HOLDS(scan->hole.text[0] != 0);
    HOLDS(strstr(lq_error_text(), scan->hole.file) != NULL);
}

static struct lqi_scan *scan_from_the_start(lq_queue *queue)
{
    static struct lqi_scan scan;
    lqi_scan_init(&scan, &queue->log, LQI_SCAN_BLOCK);
    lqi_scan_start(&scan, 0, 1);
    return &scan;
}

static void every_record_is_met_in_turn(void **state)
{
    lq_queue *queue = queue_with(state, 200, BODY, &one_segment);
    struct lqi_scan *scan = scan_from_the_start(queue);
    expect(scan, 1, 200, end_of(queue));
    EQUAL(lqi_scan_next(scan, end_of(queue)), LQ_EMPTY);
    EQUAL(lqi_scan_next(scan, end_of(queue)), LQ_EMPTY);
    lqi_scan_release(scan);
    OK(lq_close(queue));
}

static void nothing_is_met_beyond_the_limit(void **state)
{
    lq_queue *queue = queue_with(state, 20, BODY, &one_segment);
    struct lqi_scan *scan = scan_from_the_start(queue);
    for (uint64_t limit = SPAN; limit <= 20 * SPAN; limit += SPAN) {
        expect(scan, limit / SPAN, limit / SPAN, limit);
        EQUAL(lqi_scan_next(scan, limit), LQ_EMPTY);
    }
    lqi_scan_release(scan);
    OK(lq_close(queue));
}

static void a_damaged_body_costs_its_record(void **state)
{
    lq_queue *queue = queue_with(state, 20, BODY, &one_segment);
    flip(state, 7, 40 + 99);
    struct lqi_scan *scan = scan_from_the_start(queue);
    expect(scan, 1, 6, end_of(queue));
    expect_hole(scan, 7, 1, 256 + 6 * SPAN, end_of(queue));
    expect(scan, 8, 20, end_of(queue));
    lqi_scan_release(scan);
    OK(lq_close(queue));
}

static void every_bit_of_a_damaged_header_costs_its_record_only(void **state)
{
    lq_queue *queue = queue_with(state, 20, BODY, &one_segment);
    for (uint64_t byte = 0; byte < 40; byte++) {
        flip(state, 7, byte);
        struct lqi_scan *scan = scan_from_the_start(queue);
        expect(scan, 1, 6, end_of(queue));
        expect_hole(scan, 7, 1, 256 + 6 * SPAN, end_of(queue));
        expect(scan, 8, 20, end_of(queue));
        EQUAL(lqi_scan_next(scan, end_of(queue)), LQ_EMPTY);
        lqi_scan_release(scan);
        flip(state, 7, byte);
    }
    OK(lq_close(queue));
}

static void damage_in_a_row_is_one_hole(void **state)
{
    lq_queue *queue = queue_with(state, 20, BODY, &one_segment);
    for (uint64_t number = 5; number <= 9; number++) flip(state, number, 3);
    struct lqi_scan *scan = scan_from_the_start(queue);
    expect(scan, 1, 4, end_of(queue));
    expect_hole(scan, 5, 5, 256 + 4 * SPAN, end_of(queue));
    expect(scan, 10, 20, end_of(queue));
    lqi_scan_release(scan);
    OK(lq_close(queue));
}

/* A record is bound to its place: neither a copy nor a swap is believed. */
static void a_record_in_another_place_is_damage(void **state)
{
    lq_queue *queue = queue_with(state, 20, BODY, &one_segment);
    char path[4096];
    strcpy(path, api_segment(api_path(*state, "q"), 0));
    struct api_bytes file = api_file_read(path);
    uint8_t *five = file.bytes + 256 + 4 * SPAN, *nine = file.bytes + 256 + 8 * SPAN, hold[SPAN];
    memcpy(hold, five, SPAN);
    memcpy(five, nine, SPAN);
    memcpy(nine, hold, SPAN);
    api_file_write(path, file.bytes, file.size);
    struct lqi_scan *scan = scan_from_the_start(queue);
    expect(scan, 1, 4, end_of(queue));
    expect_hole(scan, 5, 1, 256 + 4 * SPAN, end_of(queue));
    expect(scan, 6, 8, end_of(queue));
    expect_hole(scan, 9, 1, 256 + 8 * SPAN, end_of(queue));
    expect(scan, 10, 20, end_of(queue));
    lqi_scan_release(scan);
    free(file.bytes);
    OK(lq_close(queue));
}

static void a_damaged_end_is_a_hole_up_to_the_limit(void **state)
{
    lq_queue *queue = queue_with(state, 20, BODY, &one_segment);
    uint64_t end = end_of(queue);
    for (uint64_t number = 18; number <= 20; number++) flip(state, number, 3);
    api_file_flip(api_segment(api_path(*state, "q"), 0), 256 + 20 * SPAN + 3, 1); /* and the mark behind them */
    for (int to_the_end = 0; to_the_end < 2; to_the_end++) {
        struct lqi_scan *scan = scan_from_the_start(queue);
        scan->to_the_end = to_the_end;
        expect(scan, 1, 17, end);
        EQUAL(lqi_scan_next(scan, end), LQI_HOLE);
        EQUAL(scan->hole.count, 0); /* nobody knows how many */
        EQUAL(scan->hole.position, 17 * SPAN);
        EQUAL(scan->position, end);
        EQUAL(lqi_scan_next(scan, end), LQ_EMPTY);
        lqi_scan_release(scan);
    }
    OK(lq_close(queue));
}

static void who_looks_at_headers_only_does_not_mind_bodies(void **state)
{
    lq_queue *queue = queue_with(state, 20, BODY, &one_segment);
    flip(state, 7, 60);
    struct lqi_scan *scan = scan_from_the_start(queue);
    scan->heads_only = true;
    for (uint64_t id = 1; id <= 20; id++) {
        EQUAL(lqi_scan_next(scan, end_of(queue)), LQ_OK);
        EQUAL(scan->record.first_id, id);
    }
    lqi_scan_release(scan);
    OK(lq_close(queue));
}

static void marks_are_met_on_request(void **state)
{
    lq_queue *queue = queue_with(state, 3, BODY, &one_segment);
    struct lqi_scan *scan = scan_from_the_start(queue);
    scan->with_marks = true;
    expect(scan, 1, 3, end_of(queue));
    EQUAL(lqi_scan_next(scan, end_of(queue)), LQ_OK);
    EQUAL(scan->record.kind, LQI_RECORD_MARK);
    EQUAL(scan->record.count, 0);
    EQUAL(lqi_scan_next(scan, end_of(queue)), LQ_EMPTY);
    lqi_scan_release(scan);
    OK(lq_close(queue));
}

/* ---- seeking ---------------------------------------------------------------------- */

static void whatever_the_hint_the_message_is_found(void **state)
{
    lq_queue *queue = queue_with(state, 1000, BODY, &small_segments);
    uint64_t end = end_of(queue), seed = 1;
    struct lqi_scan *scan = scan_from_the_start(queue);
    for (int i = 0; i < 2000; i++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        uint64_t id = 1 + (seed >> 33) % 1000, hint = (seed >> 13) % (end + 200);
        if (i % 4) hint &= ~(uint64_t)7;
        if (i % 4 == 1) hint = (id - 1) * SPAN; /* the right one */
        if (i % 4 == 2) hint = (seed >> 40) % id * SPAN; /* an earlier one */
        OK(lqi_scan_seek_hint(scan, hint, id, end));
        EQUAL(lqi_scan_next(scan, end), LQ_OK);
        HOLDS(scan->record.first_id <= id && scan->record.first_id + scan->record.count > id);
    }
    OK(lqi_scan_seek_hint(scan, UINT64_MAX & ~(uint64_t)7, 5, end));
    EQUAL(lqi_scan_next(scan, end), LQ_OK);
    EQUAL(scan->record.first_id, 5);
    lqi_scan_release(scan);
    OK(lq_close(queue));
}

static void a_damaged_index_only_makes_seeking_slower(void **state)
{
    const lq_options options = {.segment_size = 512 << 10, .ring_size = 64 << 10};
    lq_queue *queue = queue_with(state, 6000, BODY, &options);
    char path[4096];
    strcpy(path, api_segment(api_path(*state, "q"), 0));
    struct api_bytes file = api_file_read(path);
    HOLDS(api_segment(api_path(*state, "q"), 1) != NULL);
    api_file_flip(path, file.size - LQI_SEGMENT_TRAILER - 20, 1); /* in an index entry */
    free(file.bytes);
    struct lqi_scan *scan = scan_from_the_start(queue);
    for (uint64_t id = 1; id <= 6000; id += 97) {
        OK(lqi_scan_seek_id(scan, id));
        EQUAL(lqi_scan_next(scan, end_of(queue)), LQ_OK);
        EQUAL(scan->record.first_id, id);
    }
    lqi_scan_release(scan);
    OK(lq_close(queue));
}

static void a_missing_segment_is_a_hole_of_known_size(void **state)
{
    lq_queue *queue = queue_with(state, 2000, BODY, &small_segments);
    unsigned long long second, third;
    HOLDS(sscanf(strrchr(api_segment(api_path(*state, "q"), 1), '/'), "/%llu", &second) == 1);
    HOLDS(sscanf(strrchr(api_segment(api_path(*state, "q"), 2), '/'), "/%llu", &third) == 1);
    HOLDS(unlink(api_segment(api_path(*state, "q"), 1)) == 0);
    struct lqi_scan *scan = scan_from_the_start(queue);
    uint64_t limit = end_of(queue);
    for (uint64_t id = 1; id < second; id++) EQUAL(lqi_scan_next(scan, limit), LQ_OK);
    EQUAL(lqi_scan_next(scan, limit), LQI_HOLE);
    EQUAL(scan->hole.first_id, second);
    EQUAL(scan->hole.count, third - second);
    HOLDS(!scan->hole.trimmed);
    for (uint64_t id = third; id <= 2000; id++) EQUAL(lqi_scan_next(scan, limit), LQ_OK);
    EQUAL(lqi_scan_next(scan, limit), LQ_EMPTY);
    lqi_scan_release(scan);
    OK(lq_close(queue));
}

/* Walks over all of it, errors of the machine included, which are met again. Returns how many messages were met, and adds up those in holes. */
static uint64_t walk_over_all(lq_queue *queue, uint64_t *lost_out)
{
    struct lqi_scan *scan = scan_from_the_start(queue);
    uint64_t met = 0;
    int err;
    *lost_out = 0;
    while ((err = lqi_scan_next(scan, end_of(queue))) != LQ_EMPTY) {
        met += err == LQ_OK;
        if (err == LQI_HOLE) *lost_out += scan->hole.count;
    }
    lqi_scan_release(scan);
    return met;
}

/* Of many segments, the second loses its last two records, its index and its trailer, and the third all it has: so many messages. */
static uint64_t destroy_third(void **state)
{
    unsigned long long third, fourth;
    HOLDS(sscanf(strrchr(api_segment(api_path(*state, "q"), 2), '/'), "/%llu", &third) == 1);
    HOLDS(sscanf(strrchr(api_segment(api_path(*state, "q"), 3), '/'), "/%llu", &fourth) == 1);
    uint64_t size = damage_size(api_segment(api_path(*state, "q"), 1));
    damage_fill(api_segment(api_path(*state, "q"), 1), size - 400, 400, 7);
    size = damage_size(api_segment(api_path(*state, "q"), 2));
    damage_zero(api_segment(api_path(*state, "q"), 2), 0, size);
    return fourth - third + 2;
}

/* Where the one before ends is told by the next one that can be opened. */
static void a_destroyed_segment_behind_one_without_its_end_costs_itself(void **state)
{
    lq_queue *queue = queue_with(state, 3000, BODY, &small_segments);
    uint64_t lost, gone = destroy_third(state);
    EQUAL(walk_over_all(queue, &lost), 3000 - gone);
    EQUAL(lost, gone);
    OK(lq_close(queue));
}

/* A good file that cannot be opened just now is no part of the damage before it. */
static void an_error_behind_a_destroyed_segment_does_not_make_the_hole_larger(void **state)
{
    lq_queue *queue = queue_with(state, 3000, BODY, &small_segments);
    const enum io_kind kinds[] = {IO_OPEN, IO_READ, IO_STAT, IO_DIR_LIST};
    struct io_fault fault;
    uint64_t lost, gone = destroy_third(state);
    io_fault_init(&fault, &lqi_io_posix);
    queue->log.io = &fault.io;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        uint64_t nth = 1;
        do {
            io_fault_plan(&fault, kinds[i], nth++, false, EMFILE);
            EQUAL(walk_over_all(queue, &lost), 3000 - gone);
            EQUAL(lost, gone);
        } while (fault.hits);
        HOLDS(nth > 5);
    }
    OK(lq_close(queue));
    io_fault_release(&fault);
}

/* Long damage: more than is read at a time. The machine fails on the way over it, and is well again. */
static void an_error_on_the_way_over_damage_changes_nothing_about_it(void **state)
{
    enum { COUNT = 5000, FROM = 101, TO = 4000 };
    lq_queue *queue = queue_with(state, COUNT, BODY, &one_segment);
    struct io_fault fault;
    io_fault_init(&fault, &lqi_io_posix);
    queue->log.io = &fault.io;
    damage_fill(api_segment(api_path(*state, "q"), 0), 256 + (FROM - 1) * SPAN, (TO - FROM + 1) * SPAN, 5);
    uint64_t hits = 1, told = 0;
    for (uint64_t nth = 1; hits; nth++) {
        struct lqi_scan *scan = scan_from_the_start(queue);
        io_fault_plan(&fault, IO_READ, nth, false, EIO);
        for (uint64_t id = 1; id <= COUNT;) {
            int err = lqi_scan_next(scan, end_of(queue));
            if (err == LQ_EIO) {
                HOLDS(fault.hits > 0);
                told++;
                continue;
            }
            if (id == FROM) {
                EQUAL(err, LQI_HOLE);
                EQUAL(scan->hole.first_id, FROM);
                EQUAL(scan->hole.count, TO - FROM + 1);
                EQUAL(scan->hole.offset, 256 + (FROM - 1) * SPAN);
                id = TO + 1;
                continue;
            }
            EQUAL(err, LQ_OK);
            EQUAL(scan->record.first_id, id++);
        }
        lqi_scan_release(scan);
        hits = fault.hits;
    }
    HOLDS(told >= 4);
    OK(lq_close(queue));
    io_fault_release(&fault);
}

/* Behind damage the next header counts only if its record ends where it can. */
static void what_is_found_behind_damage_must_fit(void **state)
{
    lq_queue *queue = queue_with(state, 20, BODY, &one_segment);
    flip(state, 19, 3);
    for (uint64_t limit = 19 * SPAN + 48; limit <= 20 * SPAN; limit += 8) {
        struct lqi_scan *scan = scan_from_the_start(queue);
        expect(scan, 1, 18, limit);
        if (limit < 20 * SPAN) {
            expect_hole(scan, 0, 0, 256 + 18 * SPAN, limit); /* up to the limit, and nobody knows what was in it */
        } else {
            expect_hole(scan, 19, 1, 256 + 18 * SPAN, limit);
            expect(scan, 20, 20, limit);
        }
        EQUAL(lqi_scan_next(scan, limit), LQ_EMPTY);
        lqi_scan_release(scan);
    }
    OK(lq_close(queue));
}

static void a_hint_may_be_the_end(void **state)
{
    lq_queue *queue = queue_with(state, 20, BODY, &one_segment);
    struct lqi_scan *scan = scan_from_the_start(queue);
    OK(lqi_scan_seek_hint(scan, end_of(queue), 21, end_of(queue)));
    EQUAL(lqi_scan_next(scan, end_of(queue)), LQ_EMPTY);
    EQUAL(scan->next_id, 21);
    lqi_scan_release(scan);
    OK(lq_close(queue));
}

/* ---- between ring and files --------------------------------------------------------- */

static void who_is_lapped_goes_on_in_the_files(void **state)
{
    const lq_options options = {.segment_size = 1 << 20, .ring_size = 64 << 10, .sync = LQ_SYNC_NEVER};
    lq_queue *queue = api_open(state, &options);
    struct lqi_scan scan;
    api_put_range(queue, 1, 100, BODY);
    lqi_scan_init(&scan, &queue->log, 1000); /* reads little at a time */
    lqi_scan_start(&scan, 0, 1);
    expect(&scan, 1, 10, end_of(queue));
    HOLDS(scan.from_ring);
    api_put_range(queue, 101, 2000, BODY); /* four times round */
    expect(&scan, 11, 2000, end_of(queue));
    EQUAL(lqi_scan_next(&scan, end_of(queue)), LQ_EMPTY);
    lqi_scan_release(&scan);
    OK(lq_close(queue));
}

static void a_bad_place_in_the_ring_is_looked_for_in_the_file(void **state)
{
    const lq_options options = {.segment_size = 1 << 20, .ring_size = 64 << 10};
    lq_queue *queue = api_open(state, &options); /* syncs always: all is in both */
    api_put_range(queue, 1, 50, BODY);
    queue->log.ring.bytes[20 * SPAN + 3] ^= 1;
    queue->log.ring.bytes[30 * SPAN + 60] ^= 1;
    struct lqi_scan *scan = scan_from_the_start(queue);
    expect(scan, 1, 50, end_of(queue));
    lqi_scan_release(scan);
    OK(lq_close(queue));
}

static void what_is_bad_in_the_ring_and_in_the_file_is_one_hole(void **state)
{
    const lq_options options = {.segment_size = 1 << 20, .ring_size = 64 << 10};
    lq_queue *queue = api_open(state, &options);
    api_put_range(queue, 1, 50, BODY);
    for (uint64_t number = 20; number <= 22; number++) {
        queue->log.ring.bytes[(number - 1) * SPAN + 3] ^= 1;
        flip(state, number, 5);
    }
    queue->log.ring.bytes[39 * SPAN + 60] ^= 1; /* a body */
    flip(state, 40, 70);
    struct lqi_scan *scan = scan_from_the_start(queue);
    expect(scan, 1, 19, end_of(queue));
    expect_hole(scan, 20, 3, 256 + 19 * SPAN, end_of(queue));
    expect(scan, 23, 39, end_of(queue));
    expect_hole(scan, 40, 1, 256 + 39 * SPAN, end_of(queue));
    expect(scan, 41, 50, end_of(queue));
    lqi_scan_release(scan);
    OK(lq_close(queue));
}

/* The way over it leads into the ring; the bad byte is the file's. */
static void what_is_bad_where_the_ring_begins_is_told_of_the_file(void **state)
{
    const lq_options options = {.segment_size = 1 << 20, .ring_size = 64 << 10};
    lq_queue *queue = api_open(state, &options);
    api_put_range(queue, 1, 1000, BODY);
    uint64_t number = lqi_ring_oldest(&queue->log.ring) / SPAN + 1; /* lies in both, but for its header */
    HOLDS(lqi_ring_oldest(&queue->log.ring) % SPAN > 40);
    flip(state, number, 5);
    struct lqi_scan *scan = scan_from_the_start(queue);
    expect(scan, 1, number - 1, end_of(queue));
    expect_hole(scan, number, 1, 256 + (number - 1) * SPAN, end_of(queue));
    expect(scan, number + 1, 1000, end_of(queue));
    lqi_scan_release(scan);
    OK(lq_close(queue));
}

/* Neither the ring nor the file is asked again and again, and a record that is whole is not lost: what sets limits are numbers in `shared`. */
static void a_limit_in_the_middle_of_a_record_ends_the_walk_wherever_it_reads(void **state)
{
    lq_queue *queue = api_open(state, &(lq_options){.sync = LQ_SYNC_NEVER, .segment_size = 1 << 20, .ring_size = 64 << 10});
    api_put_range(queue, 1, 20, BODY);
    OK(lq_sync(queue));
    for (uint64_t cut = 8; cut < SPAN; cut += 8) {
        struct lqi_scan *scan = scan_from_the_start(queue);
        uint64_t limit = 3 * SPAN + cut;
        expect(scan, 1, 3, limit);
        if (cut < LQI_RECORD_HEADER) EQUAL(lqi_scan_next(scan, limit), LQI_HOLE); /* nothing here proves itself */
        EQUAL(lqi_scan_next(scan, limit), LQ_EMPTY);
        if (cut >= LQI_RECORD_HEADER) expect(scan, 4, 20, end_of(queue));
        lqi_scan_release(scan);
    }
    OK(lq_close(queue));
}

/* In `shared`, which somebody has written over. */
static void what_is_written_up_to_the_middle_of_a_record_is_no_damage(void **state)
{
    lq_queue *queue = api_open(state, &(lq_options){.sync = LQ_SYNC_NEVER, .segment_size = 1 << 20, .ring_size = 64 << 10});
    api_put_range(queue, 1, 1000, BODY); /* the first are in the file only */
    OK(lq_sync(queue));
    uint64_t written = atomic_load(&queue->log.state->written);
    for (uint64_t cut = LQI_RECORD_HEADER; cut < SPAN; cut += 8) {
        struct lqi_scan *scan = scan_from_the_start(queue);
        scan->read_ahead = 0;
        expect(scan, 1, 3, end_of(queue));
        atomic_store(&queue->log.state->written, 3 * SPAN + cut);
        expect(scan, 4, 4, end_of(queue));
        atomic_store(&queue->log.state->written, written);
        expect(scan, 5, 1000, end_of(queue));
        lqi_scan_release(scan);
    }
    OK(lq_close(queue));
}

/* Where a large record would be that its owner died writing, whose place another has taken since. In the file it is still there. */
static void what_has_proved_itself_in_the_ring_opens_no_place_in_the_file(void **state)
{
    lq_queue *queue = api_open(state, &(lq_options){.sync = LQ_SYNC_NEVER, .segment_size = 1 << 20, .ring_size = 64 << 10});
    api_put_range(queue, 1, 1000, BODY);
    uint64_t written = atomic_load(&queue->log.state->written), number = written / SPAN + 1;
    uint8_t header[LQI_RECORD_HEADER];
    HOLDS(written % SPAN == 0 && number < 1000);
    const struct lqi_record dead = {.position = written, .first_id = number, .size = 900000, .count = 1, .kind = LQI_RECORD_MESSAGES, .flags = LQI_RECORD_LONE};
    lqi_record_encode(header, &dead, atomic_load(&queue->log.state->spans[atomic_load(&queue->log.state->write_span) & 1].salt));
    int fd = open(api_segment(api_path(*state, "q"), 0), O_WRONLY | O_CLOEXEC);
    HOLDS(fd >= 0 && pwrite(fd, header, sizeof header, (off_t)(256 + written)) == sizeof header);
    close(fd);

    struct lqi_scan *scan = scan_from_the_start(queue);
    lqi_scan_start(scan, written, number);
    expect(scan, number, number, end_of(queue));
    HOLDS(scan->from_ring);
    lqi_scan_restart(scan, 0, 1);
    expect(scan, 1, 1000, end_of(queue));
    lqi_scan_release(scan);
    OK(lq_close(queue));
}

static void what_is_held_outlives_the_walk(void **state)
{
    lq_queue *queue = queue_with(state, 1000, BODY, &small_segments);
    struct lqi_block *held[100];
    const uint8_t *payloads[100];
    struct lqi_scan scan;
    lqi_scan_init(&scan, &queue->log, 4096);
    lqi_scan_start(&scan, 0, 1);
    for (uint64_t id = 1; id <= 1000; id++) {
        EQUAL(lqi_scan_next(&scan, end_of(queue)), LQ_OK);
        if (id % 10) continue;
        held[id / 10 - 1] = lqi_block_hold(scan.payload_block);
        payloads[id / 10 - 1] = scan.payload;
    }
    for (uint64_t i = 0; i < 100; i++) {
        lq_message message = {.id = (i + 1) * 10, .data = payloads[i], .size = BODY};
        HOLDS(api_is_filled(&message, BODY, (i + 1) * 10));
        lqi_block_drop(held[i]);
    }
    lqi_scan_release(&scan);
    OK(lq_close(queue));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_DIRECTORY(every_record_is_met_in_turn),
        IN_DIRECTORY(nothing_is_met_beyond_the_limit),
        IN_DIRECTORY(a_damaged_body_costs_its_record),
        IN_DIRECTORY(every_bit_of_a_damaged_header_costs_its_record_only),
        IN_DIRECTORY(damage_in_a_row_is_one_hole),
        IN_DIRECTORY(a_record_in_another_place_is_damage),
        IN_DIRECTORY(a_damaged_end_is_a_hole_up_to_the_limit),
        IN_DIRECTORY(who_looks_at_headers_only_does_not_mind_bodies),
        IN_DIRECTORY(marks_are_met_on_request),
        IN_DIRECTORY(whatever_the_hint_the_message_is_found),
        IN_DIRECTORY(a_damaged_index_only_makes_seeking_slower),
        IN_DIRECTORY(a_missing_segment_is_a_hole_of_known_size),
        IN_DIRECTORY(who_is_lapped_goes_on_in_the_files),
        IN_DIRECTORY(a_bad_place_in_the_ring_is_looked_for_in_the_file),
        IN_DIRECTORY(a_destroyed_segment_behind_one_without_its_end_costs_itself),
        IN_DIRECTORY(an_error_behind_a_destroyed_segment_does_not_make_the_hole_larger),
        IN_DIRECTORY(an_error_on_the_way_over_damage_changes_nothing_about_it),
        IN_DIRECTORY(what_is_found_behind_damage_must_fit),
        IN_DIRECTORY(a_hint_may_be_the_end),
        IN_DIRECTORY(what_is_bad_where_the_ring_begins_is_told_of_the_file),
        IN_DIRECTORY(what_is_bad_in_the_ring_and_in_the_file_is_one_hole),
        IN_DIRECTORY(a_limit_in_the_middle_of_a_record_ends_the_walk_wherever_it_reads),
        IN_DIRECTORY(what_is_written_up_to_the_middle_of_a_record_is_no_damage),
        IN_DIRECTORY(what_has_proved_itself_in_the_ring_opens_no_place_in_the_file),
        IN_DIRECTORY(what_is_held_outlives_the_walk),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
