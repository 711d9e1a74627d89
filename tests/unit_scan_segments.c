/* The walk's way from one file to the next, and into the right one: over files that are damaged, of a newer format, or lie. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "bytes.h"
#include "checksum.h"
#include "queue.h"
#include "scan.h"
#include "support/api.h"
#include "support/damage.h"
#include "support/io_fault.h"

enum { BODY = 1000, PER_SEGMENT = 62, MESSAGES = 8 * PER_SEGMENT };

static struct io_fault fault;
static int64_t times[MESSAGES + 2]; /* of the messages; behind the last one, later */

/* Eight segments, each a bit later than the one before. */
static void make_queue(void **state)
{
    lq_queue *queue = api_open(state, &(lq_options){.segment_size = 64 << 10, .ring_size = 64 << 10, .sync = LQ_SYNC_NEVER});
    lq_reader *reader;
    lq_message message;
    for (uint64_t id = 1; id <= MESSAGES; id += PER_SEGMENT) {
        api_put_range(queue, id, id + PER_SEGMENT - 1, BODY);
        api_sleep_ms(1);
    }
    OK(lq_reader_open(queue, &reader));
    while (lq_reader_next(reader, &message) == LQ_OK) times[message.id] = message.time_us;
    times[MESSAGES + 1] = INT64_MAX;
    lq_reader_close(reader);
    OK(lq_close(queue));
    HOLDS(api_segment(api_path(*state, "q"), 7) != NULL);
}

static lq_queue *look(void **state)
{
    lq_queue *queue;
    io_fault_init(&fault, &lqi_io_posix);
    OK(lqi_open_io(&fault.io, api_path(*state, "q"), &(lq_options){.size = sizeof(lq_options), .flags = LQ_READ_ONLY}, &queue));
    return queue;
}

static void done(lq_queue *queue, lq_reader *reader)
{
    lq_reader_close(reader);
    OK(lq_close(queue));
    io_fault_release(&fault);
}

static void lose_header(void **state, size_t n, bool trailer)
{
    char path[4300];
    strcpy(path, api_segment(api_path(*state, "q"), n));
    damage_fill(path, 0, LQI_SEGMENT_HEADER, n + 1);
    if (trailer) damage_fill(path, damage_size(path) - LQI_SEGMENT_TRAILER, LQI_SEGMENT_TRAILER, n + 2);
}

/* ---- seeking by time ------------------------------------------------------------ */

/* From each of the times on, the first message that is there of it or later. */
static void times_lead_to(lq_reader *reader, uint64_t from, uint64_t to)
{
    lq_message message;
    for (uint64_t id = from; id <= to; id++) {
        uint64_t first = id;
        while (first > from && times[first - 1] == times[id]) first--;
        OK(lq_reader_seek_time(reader, times[id]));
        OK(lq_reader_next(reader, &message));
        EQUAL(message.id, first);
    }
}

/* What repair leaves in the place of a lost file has no message, and so no time in its trailer. */
static void a_time_is_found_before_a_segment_that_does_not_tell_its_own(void **state)
{
    make_queue(state);
    char second[4300];
    strcpy(second, api_segment(api_path(*state, "q"), 1));
    damage_remove(second);
    OK(lq_repair(api_path(*state, "q"), 0, NULL, NULL, NULL));
    lose_header(state, 1, false);
    lq_queue *queue = look(state);
    lq_reader *reader;
    OK(lq_reader_open(queue, &reader));
    times_lead_to(reader, 1, PER_SEGMENT - 1);
    times_lead_to(reader, 2 * PER_SEGMENT + 1, MESSAGES);
    done(queue, reader);
}

static void a_time_is_found_whichever_segments_cannot_be_read(void **state)
{
    make_queue(state);
    lose_header(state, 2, false);
    lose_header(state, 4, true);
    lq_queue *queue = look(state);
    lq_reader *reader;
    OK(lq_reader_open(queue, &reader));
    times_lead_to(reader, 1, 4 * PER_SEGMENT - 10);
    times_lead_to(reader, 5 * PER_SEGMENT + 1, MESSAGES);
    done(queue, reader);
}

/* A lost segment in the middle, where the search begins, must not have half of the log read through. */
static void a_time_is_found_as_fast_with_a_lost_segment_on_the_way(void **state)
{
    uint64_t opened[2];
    make_queue(state);
    for (int lost = 0; lost < 2; lost++) {
        if (lost) lose_header(state, 4, true);
        lq_queue *queue = look(state);
        lq_reader *reader;
        lq_message message;
        OK(lq_reader_open(queue, &reader));
        io_fault_plan(&fault, IO_OPEN, 0, false, 0);
        OK(lq_reader_seek_time(reader, times[7 * PER_SEGMENT + 20]));
        OK(lq_reader_next(reader, &message));
        HOLDS(message.time_us == times[7 * PER_SEGMENT + 20]);
        opened[lost] = fault.calls[IO_OPEN];
        done(queue, reader);
    }
    HOLDS(opened[1] <= opened[0] + 3);
}

/* ---- from one file to the next --------------------------------------------------------- */

/* Changes 8 bytes of both copies of the n-th segment's header, which verify all the same. */
static void forge_header(void **state, size_t n, size_t at, uint64_t add)
{
    char path[4300];
    strcpy(path, api_segment(api_path(*state, "q"), n));
    struct api_bytes file = api_file_read(path);
    for (uint8_t *copy = file.bytes; copy < file.bytes + LQI_SEGMENT_HEADER; copy += LQI_SEGMENT_HEADER_COPY) {
        lqi_put64(copy + at, lqi_get64(copy + at) + add);
        lqi_put64(copy + LQI_SEGMENT_HEADER_COPY - 8, lqi_checksum(copy, LQI_SEGMENT_HEADER_COPY - 8));
    }
    api_file_write(path, file.bytes, file.size);
    free(file.bytes);
}

enum { VERSION_AT = 8, POSITION_AT = 48 };

static void make_newer(void **state, size_t n)
{
    forge_header(state, n, VERSION_AT, 1);
}

static void lose_trailer(void **state, size_t n)
{
    char path[4300];
    strcpy(path, api_segment(api_path(*state, "q"), n));
    damage_fill(path, damage_size(path) - LQI_SEGMENT_TRAILER, LQI_SEGMENT_TRAILER, n + 2);
}

/* A hole of whole files is told in the name of the first, from its beginning. */
static void is_told(const struct lqi_hole *hole)
{
    char words[sizeof hole->file + 32], name[LQI_SEGMENT_NAME_SIZE];
    snprintf(words, sizeof words, "%s, byte %llu: ", hole->file, (unsigned long long)hole->offset);
    HOLDS(strstr(lq_error_text(), words) != NULL && strstr(lq_error_text(), hole->text) != NULL);
    IS(LQ_ECORRUPT, hole->code);
    if (!hole->count) return;
    lqi_segment_name(name, hole->first_id);
    HOLDS(strncmp(hole->file, "log/", 4) == 0);
    assert_string_equal(hole->file + 4, name);
    EQUAL(hole->offset, 0);
}

/* From the start to the end, tried again where the machine fails; gives the messages met. */
static uint64_t walk(lq_queue *queue, uint64_t *lost_out)
{
    static struct lqi_scan scan;
    uint64_t limit = lqi_log_visible(&queue->log), met = 0, last = 0;
    int err;
    *lost_out = 0;
    lqi_scan_init(&scan, &queue->log, LQI_SCAN_BLOCK);
    lqi_scan_start(&scan, 0, 1);
    while ((err = lqi_scan_next(&scan, limit)) != LQ_EMPTY) {
        HOLDS(err == LQ_OK || err == LQI_HOLE || err == LQ_ELIMIT);
        if (err == LQI_HOLE) is_told(&scan.hole);
        if (err == LQI_HOLE) *lost_out += scan.hole.count;
        if (err) continue;
        HOLDS(scan.record.first_id > last);
        last = scan.record.first_id;
        met++;
    }
    lqi_scan_release(&scan);
    EQUAL(last, MESSAGES);
    return met;
}

/* Whatever fails once on the way is tried again, and makes no hole larger. */
static void costs(void **state, uint64_t segments)
{
    static const enum io_kind kinds[] = {IO_OPEN, IO_READ, IO_STAT, IO_DIR_LIST};
    uint64_t lost;
    lq_queue *queue = api_open(state, NULL);
    io_fault_init(&fault, &lqi_io_posix);
    queue->log.io = &fault.io;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        uint64_t nth = 0;
        do {
            io_fault_plan(&fault, kinds[i], nth, false, EMFILE);
            EQUAL(walk(queue, &lost), MESSAGES - segments * PER_SEGMENT);
            EQUAL(lost, segments * PER_SEGMENT);
        } while (nth++ == 0 || fault.hits);
        HOLDS(nth > 2);
    }
    OK(lq_close(queue));
    io_fault_release(&fault);
}

static void a_newer_segment_behind_a_lost_one_is_stepped_over_too(void **state)
{
    make_queue(state);
    lose_header(state, 2, true);
    make_newer(state, 3);
    costs(state, 2);
}

static void where_a_segment_without_its_trailer_ends_is_told_by_the_next_that_is_not_newer(void **state)
{
    make_queue(state);
    lose_trailer(state, 2);
    make_newer(state, 3);
    costs(state, 1);
}

static void a_segment_that_says_it_begins_behind_those_that_follow_is_a_hole(void **state)
{
    make_queue(state);
    forge_header(state, 2, POSITION_AT, 3 << 16); /* before the end of the log */
    costs(state, 1);
    forge_header(state, 2, POSITION_AT, 1 << 20); /* and behind it */
    costs(state, 1);
    make_newer(state, 3);
    costs(state, 2);
}

static void missing_segments_are_told_in_the_name_of_the_first(void **state)
{
    char paths[2][4300];
    make_queue(state);
    for (size_t i = 0; i < 2; i++) strcpy(paths[i], api_segment(api_path(*state, "q"), 2 + i));
    for (size_t i = 0; i < 2; i++) damage_remove(paths[i]);
    costs(state, 2);
}

/* ---- what the list names, and the directory has no more -------------------------------- */

static struct {
    struct lqi_io io;
    uint64_t id;       /* of a file that is gone when it is looked for */
    unsigned listings; /* so many more have it */
} ghost;

static int list_with_ghost(const struct lqi_io *table, int dir, lqi_name_callback *each, void *context)
{
    char name[LQI_SEGMENT_NAME_SIZE];
    int error = lqi_io_posix.dir_list(table, dir, each, context);
    if (error || !ghost.listings) return error;
    ghost.listings--;
    lqi_segment_name(name, ghost.id);
    each(context, name);
    return 0;
}

/* The list has it a few times more. */
static void costs_with_ghost(void **state, uint64_t id, uint64_t expected)
{
    uint64_t lost;
    lq_queue *queue = api_open(state, NULL);
    ghost.io = lqi_io_posix;
    ghost.io.dir_list = list_with_ghost;
    ghost.id = id;
    queue->log.io = &ghost.io;
    for (unsigned listings = 0; listings <= 20; listings++) {
        ghost.listings = listings;
        EQUAL(walk(queue, &lost), MESSAGES - expected);
        EQUAL(lost, expected);
        EQUAL(ghost.listings, 0);
    }
    OK(lq_close(queue));
}

/* Deleted between the listing and the look at it: whether what comes behind it is still there, only another listing tells. */
static void a_segment_that_goes_after_it_was_listed_has_the_list_made_anew(void **state)
{
    char third[4300];
    make_queue(state);
    lose_trailer(state, 2);
    costs_with_ghost(state, 2 * PER_SEGMENT + 30, 0); /* whoever comes after the third is asked where that ends */
    strcpy(third, api_segment(api_path(*state, "q"), 2));
    damage_remove(third);
    costs_with_ghost(state, 2 * PER_SEGMENT + 1, PER_SEGMENT);
}

static void a_directory_that_is_never_as_it_was_listed_is_an_error_and_no_damage(void **state)
{
    static struct lqi_scan scan;
    make_queue(state);
    lq_queue *queue = api_open(state, NULL);
    ghost.io = lqi_io_posix;
    ghost.io.dir_list = list_with_ghost;
    ghost.id = PER_SEGMENT + 10;
    ghost.listings = UINT32_MAX;
    queue->log.io = &ghost.io;
    lqi_scan_init(&scan, &queue->log, LQI_SCAN_BLOCK);
    lqi_scan_start(&scan, 0, ghost.id);
    IS(LQ_EBUSY, lqi_scan_next(&scan, lqi_log_visible(&queue->log)));
    TEXT_HAS("log/ changes faster than it can be read");
    ghost.listings = 0;
    OK(lqi_scan_next(&scan, lqi_log_visible(&queue->log)));
    EQUAL(scan.record.first_id, ghost.id);
    lqi_scan_release(&scan);
    OK(lq_close(queue));
}

/* One without its trailer ends where the next one begins that does not say it begins before it. */
static void a_segment_that_says_it_begins_before_the_one_before_it_ends_nothing(void **state)
{
    make_queue(state);
    lose_trailer(state, 2);
    forge_header(state, 3, POSITION_AT, -(uint64_t)(3 << 16));
    uint64_t lost;
    lq_queue *queue = api_open(state, NULL);
    EQUAL(walk(queue, &lost) + lost, MESSAGES);
    HOLDS(lost <= PER_SEGMENT);
    OK(lq_close(queue));
}

enum way { BY_ID, BY_HINT, STRAIGHT, WAYS };

/* Two messages from `id` on, which is at `position`, however often the machine fails. */
static void begin_at(lq_queue *queue, enum way way, uint64_t position, uint64_t id)
{
    static struct lqi_scan scan;
    uint64_t limit = lqi_log_visible(&queue->log);
    int err = LQ_OK;
    lqi_scan_init(&scan, &queue->log, LQI_SCAN_BLOCK);
    if (way == STRAIGHT) lqi_scan_start(&scan, position, id);
    else do err = way == BY_ID ? lqi_scan_seek_id(&scan, id) : lqi_scan_seek_hint(&scan, position, id, limit);
        while (err == LQ_ELIMIT);
    OK(err);
    for (uint64_t next = id; next < id + 2; next++) {
        do err = lqi_scan_next(&scan, limit);
        while (err == LQ_ELIMIT);
        OK(err);
        EQUAL(scan.record.first_id, next);
    }
    lqi_scan_release(&scan);
}

/* A file that is none of ours, and bears the name of a message in the middle of a good segment, hides none of that. */
static void who_begins_in_the_middle_is_not_led_astray_by_a_strange_file(void **state)
{
    char name[LQI_SEGMENT_NAME_SIZE], path[64];
    static struct lqi_scan scan;
    uint64_t positions[MESSAGES + 1];
    make_queue(state);
    lq_queue *queue = api_open(state, NULL);
    lqi_scan_init(&scan, &queue->log, LQI_SCAN_BLOCK);
    lqi_scan_start(&scan, 0, 1);
    for (uint64_t id = 1; id <= MESSAGES; id++) {
        OK(lqi_scan_next(&scan, lqi_log_visible(&queue->log)));
        positions[id] = scan.record.position;
    }
    lqi_scan_release(&scan);
    io_fault_init(&fault, &lqi_io_posix);
    queue->log.io = &fault.io;
    for (uint64_t first = 1; first <= PER_SEGMENT + 1; first += PER_SEGMENT) {
        lqi_segment_name(name, first + 20);
        snprintf(path, sizeof path, "q/log/%s", name);
        api_file_write(api_path(*state, path), "what is this", 12);
        for (uint64_t id = first + 10; id < first + PER_SEGMENT; id += 7) {
            for (enum way way = 0; way < WAYS; way++)
                for (uint64_t nth = 1, hits = 1; hits; nth++) {
                    io_fault_plan(&fault, IO_OPEN, nth, false, EMFILE);
                    begin_at(queue, way, positions[id], id);
                    hits = fault.hits;
                }
        }
    }
    io_fault_end(&fault);
    OK(lq_close(queue));
    io_fault_release(&fault);
}

/* Up to what was written it is lost with the file; behind that the ring has it. */
static void what_is_not_written_yet_is_met_though_the_last_file_cannot_be_read(void **state)
{
    lq_queue *queue = api_open(state, &(lq_options){.sync = LQ_SYNC_NEVER, .segment_size = 1 << 20, .ring_size = 64 << 10});
    static struct lqi_scan scan;
    api_put_range(queue, 1, MESSAGES, BODY);
    api_put_range(queue, MESSAGES + 1, MESSAGES + 5, BODY);
    uint64_t limit = lqi_log_visible(&queue->log), lost = 0, met = 0;
    int err;
    HOLDS(atomic_load(&queue->log.state->written) < limit);
    damage_zero(api_segment(api_path(*state, "q"), 0), 0, LQI_SEGMENT_HEADER);
    lqi_scan_init(&scan, &queue->log, LQI_SCAN_BLOCK);
    lqi_scan_start(&scan, 0, 1);
    while ((err = lqi_scan_next(&scan, limit)) != LQ_EMPTY) {
        HOLDS(err == LQ_OK || err == LQI_HOLE);
        if (err == LQI_HOLE) lost += scan.hole.count;
        if (err == LQI_HOLE) continue;
        EQUAL(scan.record.first_id, lost + ++met);
        HOLDS(scan.record.position >= atomic_load(&queue->log.state->written));
    }
    HOLDS(lost > 0 && met > 0);
    EQUAL(lost + met, MESSAGES + 5);
    lqi_scan_release(&scan);
    OK(lq_close(queue));
}

/* ---- the oldest segment ------------------------------------------------------------ */

static void count_lost(void *context, const lq_finding *finding)
{
    uint64_t *lost = context;
    lost[0] += finding->count;
    if (finding->count) lost[1] = finding->first_id;
}

static void what_retention_has_deleted_is_not_lost_with_the_oldest_segment(void **state)
{
    make_queue(state);
    lq_queue *queue = api_open(state, NULL);
    lq_consumer *consumer = api_consumer(queue, "c", NULL);
    lq_reader *reader;
    lq_message message;
    uint64_t lost[2] = {0, 0};
    api_take_range(consumer, 1, 2 * PER_SEGMENT + 10, BODY);
    uint64_t oldest = api_stats(queue).first_id;
    HOLDS(oldest > 1);
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
    lose_header(state, 0, true);

    IS(LQ_ECORRUPT, lq_verify(api_path(*state, "q"), 0, count_lost, lost, NULL));
    EQUAL(lost[1], oldest);
    EQUAL(lost[0], PER_SEGMENT);
    queue = look(state);
    OK(lq_reader_open(queue, &reader));
    IS(LQ_ECORRUPT, lq_reader_next(reader, &message));
    lq_finding finding = {.size = sizeof finding};
    OK(lq_reader_damage(reader, &finding));
    EQUAL(finding.first_id, oldest);
    EQUAL(finding.count, PER_SEGMENT);
    OK(lq_reader_next(reader, &message));
    EQUAL(message.id, oldest + PER_SEGMENT);
    done(queue, reader);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_DIRECTORY(a_time_is_found_before_a_segment_that_does_not_tell_its_own),
        IN_DIRECTORY(a_time_is_found_whichever_segments_cannot_be_read),
        IN_DIRECTORY(a_time_is_found_as_fast_with_a_lost_segment_on_the_way),
        IN_DIRECTORY(a_newer_segment_behind_a_lost_one_is_stepped_over_too),
        IN_DIRECTORY(where_a_segment_without_its_trailer_ends_is_told_by_the_next_that_is_not_newer),
        IN_DIRECTORY(a_segment_that_says_it_begins_behind_those_that_follow_is_a_hole),
        IN_DIRECTORY(missing_segments_are_told_in_the_name_of_the_first),
        IN_DIRECTORY(a_segment_that_says_it_begins_before_the_one_before_it_ends_nothing),
        IN_DIRECTORY(a_segment_that_goes_after_it_was_listed_has_the_list_made_anew),
        IN_DIRECTORY(a_directory_that_is_never_as_it_was_listed_is_an_error_and_no_damage),
        IN_DIRECTORY(who_begins_in_the_middle_is_not_led_astray_by_a_strange_file),
        IN_DIRECTORY(what_is_not_written_yet_is_met_though_the_last_file_cannot_be_read),
        IN_DIRECTORY(what_retention_has_deleted_is_not_lost_with_the_oldest_segment),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
