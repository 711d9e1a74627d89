/* The walk where the newest records are in memory only, and where it goes between that and the files. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "queue.h"
#include "scan.h"
#include "support/api.h"
#include "support/damage.h"
#include "support/io_fault.h"

enum { BODY = 88, SPAN = 128, MESSAGES = 1000, RING = 64 << 10 };

static struct io_fault fault;
static struct lqi_scan scan;
static lq_queue *queue;
static uint64_t end, written; /* positions: of the log; of what is in files, too */

/* The first messages are in their file only, the next in both, the last in the ring only. */
static void begin(void **state)
{
    queue = api_open(state, &(lq_options){.sync = LQ_SYNC_NEVER, .segment_size = 1 << 20, .ring_size = RING});
    api_put_range(queue, 1, MESSAGES, BODY);
    end = lqi_log_visible(&queue->log);
    written = atomic_load(&queue->log.state->written);
    HOLDS(end == MESSAGES * SPAN && written % SPAN == 0 && written < end && lqi_ring_oldest(&queue->log.ring) > 0);
    io_fault_init(&fault, &lqi_io_posix);
    queue->log.io = &fault.io;
    lqi_scan_init(&scan, &queue->log, 0);
    lqi_scan_start(&scan, 0, 1);
}

static void over(void)
{
    lqi_scan_release(&scan);
    io_fault_end(&fault);
    OK(lq_close(queue));
    io_fault_release(&fault);
}

static void expect(uint64_t from, uint64_t to)
{
    for (uint64_t id = from; id <= to; id++) {
        EQUAL(lqi_scan_next(&scan, end), LQ_OK);
        EQUAL(scan.record.first_id, id);
        lq_message message = {.id = id, .data = scan.payload, .size = scan.payload_size};
        HOLDS(api_is_filled(&message, BODY, id));
    }
}

static void flip_in_ring(uint64_t id, uint64_t byte)
{
    queue->log.ring.bytes[((id - 1) * SPAN + byte) & (RING - 1)] ^= 1;
}

static void what_is_bad_in_memory_only_is_told_of_the_memory_and_its_byte(void **state)
{
    static const uint64_t bytes[] = {3, LQI_RECORD_HEADER + 5}; /* of the header, of the body */
    begin(state);
    uint64_t bad = written / SPAN + 3;
    for (size_t i = 0; i < sizeof bytes / sizeof *bytes; i++) {
        flip_in_ring(bad, bytes[i]);
        lqi_scan_start(&scan, 0, 1); /* from the file, which stays open */
        expect(1, bad - 1);
        EQUAL(lqi_scan_next(&scan, end), LQI_HOLE);
        EQUAL(scan.hole.first_id, bad);
        EQUAL(scan.hole.count, 1);
        EQUAL(scan.hole.position, (bad - 1) * SPAN);
        assert_string_equal(scan.hole.file, "shared");
        EQUAL(scan.hole.offset, LQI_SHARED_HEAD + (((bad - 1) * SPAN) & (RING - 1)));
        expect(bad + 1, MESSAGES);
        flip_in_ring(bad, bytes[i]);
    }
    over();
}

/* Damage that begins in the file, where the ring does not reach, and ends where the file does not. */
static void one_stretch_of_damage_in_file_and_memory_is_one_hole(void **state)
{
    char path[4300];
    begin(state);
    uint64_t first = lqi_ring_oldest(&queue->log.ring) / SPAN - 4, last = written / SPAN + 5;
    strcpy(path, api_segment(api_path(*state, "q"), 0));
    for (uint64_t id = first; id <= MESSAGES; id++) {
        if (id <= written / SPAN) api_file_flip(path, LQI_SEGMENT_HEADER + (id - 1) * SPAN + 3, 1);
        if (id <= last && (id - 1) * SPAN >= lqi_ring_oldest(&queue->log.ring)) flip_in_ring(id, 3);
    }
    for (int all = 0; all < 2; all++) {
        lqi_scan_restart(&scan, 0, 1);
        expect(1, first - 1);
        EQUAL(lqi_scan_next(&scan, end), LQI_HOLE);
        EQUAL(scan.hole.position, (first - 1) * SPAN);
        EQUAL(scan.hole.offset, LQI_SEGMENT_HEADER + (first - 1) * SPAN);
        EQUAL(scan.hole.count, all ? 0 : last + 1 - first); /* nothing behind it tells */
        EQUAL(scan.position, all ? end : last * SPAN);
        if (all) EQUAL(lqi_scan_next(&scan, end), LQ_EMPTY);
        else expect(last + 1, MESSAGES);
        for (uint64_t id = last + 1; id <= MESSAGES; id++) flip_in_ring(id, 3);
    }
    over();
}

/* Nor is more lost than memory lacks: a failed sync may have dropped what it still has. */
static void damage_in_the_file_ends_where_memory_begins(void **state)
{
    char path[4300];
    begin(state);
    uint64_t first = lqi_ring_oldest(&queue->log.ring) / SPAN - 4, kept = (lqi_ring_oldest(&queue->log.ring) + SPAN - 1) / SPAN + 1;
    strcpy(path, api_segment(api_path(*state, "q"), 0));
    damage_zero(path, LQI_SEGMENT_HEADER + (first - 1) * SPAN, written - (first - 1) * SPAN);
    lqi_scan_release(&scan);
    lqi_scan_init(&scan, &queue->log, LQI_SCAN_BLOCK);
    lqi_scan_start(&scan, 0, 1);
    expect(1, first - 1);
    EQUAL(lqi_scan_next(&scan, end), LQI_HOLE);
    EQUAL(scan.hole.first_id, first);
    EQUAL(scan.hole.count, kept - first);
    expect(kept, MESSAGES);
    over();
}

/* The ring is not asked for a bad record that the file has too; for the next one it is. */
static void who_fails_at_a_bad_place_of_the_ring_is_given_the_rest_from_it(void **state)
{
    begin(state);
    uint64_t bad = written / SPAN - 10;
    flip_in_ring(bad, 3);
    lqi_scan_start(&scan, (bad - 1) * SPAN, bad);
    for (int i = 0; i < 2; i++) {
        io_fault_plan(&fault, IO_READ, 1, true, EIO);
        IS(LQ_EIO, lqi_scan_next(&scan, end));
    }
    lqi_scan_start(&scan, written, written / SPAN + 1);
    expect(written / SPAN + 1, MESSAGES);
    io_fault_end(&fault);
    lqi_scan_start(&scan, (bad - 1) * SPAN, bad);
    io_fault_plan(&fault, IO_READ, 0, false, 0);
    expect(bad, MESSAGES);
    HOLDS(fault.calls[IO_READ] > 0 && fault.calls[IO_READ] < 10);
    over();
}

static void what_memory_has_is_read_from_no_file_unless_files_are_asked_first(void **state)
{
    queue = api_open(state, &(lq_options){.segment_size = 1 << 20, .ring_size = RING}); /* all of it is synced */
    api_put_range(queue, 1, 100, BODY);
    end = lqi_log_visible(&queue->log);
    io_fault_init(&fault, &lqi_io_posix);
    queue->log.io = &fault.io;
    for (int files_first = 0; files_first < 2; files_first++) {
        lqi_scan_init(&scan, &queue->log, LQI_SCAN_BLOCK);
        scan.files_first = files_first;
        lqi_scan_start(&scan, 0, 1);
        io_fault_plan(&fault, IO_READ, 0, false, 0);
        expect(1, 100);
        HOLDS(scan.from_ring != files_first && (fault.calls[IO_READ] > 0) == files_first);
        lqi_scan_release(&scan);
    }
    OK(lq_close(queue));
    io_fault_release(&fault);
}

static void who_asks_files_first_is_given_what_is_in_none_yet(void **state)
{
    begin(state);
    OK(lq_sync(queue));
    EQUAL(atomic_load(&queue->log.state->synced), end);
    api_put_range(queue, MESSAGES + 1, MESSAGES + 20, BODY);
    EQUAL(atomic_load(&queue->log.state->written), end);
    end = lqi_log_visible(&queue->log);
    scan.files_first = true;
    expect(1, MESSAGES);
    HOLDS(!scan.from_ring);
    expect(MESSAGES + 1, MESSAGES + 20);
    HOLDS(scan.from_ring);
    over();
}

/* Retention has deleted it: its disk space would not be given back. One that is kept stays open. */
static void who_is_idle_lets_go_of_a_deleted_file_only(void **state)
{
    begin(state);
    expect(1, 5);
    lqi_scan_let_go(&scan);
    HOLDS(scan.segment_open);
    atomic_store(&queue->log.state->first_id, 2);
    lqi_scan_let_go(&scan);
    HOLDS(!scan.segment_open);
    lqi_scan_let_go(&scan);
    atomic_store(&queue->log.state->first_id, 1);
    expect(6, MESSAGES);
    over();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_DIRECTORY(what_is_bad_in_memory_only_is_told_of_the_memory_and_its_byte),
        IN_DIRECTORY(one_stretch_of_damage_in_file_and_memory_is_one_hole),
        IN_DIRECTORY(damage_in_the_file_ends_where_memory_begins),
        IN_DIRECTORY(who_fails_at_a_bad_place_of_the_ring_is_given_the_rest_from_it),
        IN_DIRECTORY(what_memory_has_is_read_from_no_file_unless_files_are_asked_first),
        IN_DIRECTORY(who_asks_files_first_is_given_what_is_in_none_yet),
        IN_DIRECTORY(who_is_idle_lets_go_of_a_deleted_file_only),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
