/* The walk where the machine fails it, and what `shared` says of the end is not true: what was not heard is asked again, and is no damage. */
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
#include "support/call_fault.h"
#include "support/damage.h"
#include "support/io_fault.h"

enum { BODY = 88, SPAN = 128, MESSAGES = 1000, CUT = 4 }; /* records do not cross pages; the one that is cut */

static struct io_fault fault;
static struct lqi_scan scan;
static lq_queue *queue;
static struct lqi_log_state *shared;
static uint64_t written;

/* The first messages are in their files only. */
static void begin(void **state, uint64_t segment_size)
{
    queue = api_open(state, &(lq_options){.sync = LQ_SYNC_NEVER, .segment_size = segment_size, .ring_size = 64 << 10});
    api_put_range(queue, 1, MESSAGES, BODY);
    OK(lq_sync(queue));
    shared = queue->log.state;
    written = atomic_load(&shared->written);
    io_fault_init(&fault, &lqi_io_posix);
    queue->log.io = &fault.io;
    lqi_scan_init(&scan, &queue->log, 0);
    lqi_scan_start(&scan, 0, 1);
}

static void end(void)
{
    lqi_scan_release(&scan);
    OK(lq_close(queue));
    io_fault_release(&fault);
}

static void expect(uint64_t from, uint64_t to)
{
    for (uint64_t id = from; id <= to; id++) {
        EQUAL(lqi_scan_next(&scan, lqi_log_visible(&queue->log)), LQ_OK);
        EQUAL(scan.record.first_id, id);
        lq_message message = {.id = id, .data = scan.payload, .size = scan.payload_size};
        HOLDS(api_is_filled(&message, BODY, id));
    }
}

/* As if somebody had written over `shared`: where the files end is in the middle of a record. */
static void cut(void)
{
    atomic_store(&shared->written, (CUT - 1) * SPAN + LQI_RECORD_HEADER + 8);
}

static void uncut(void)
{
    atomic_store(&shared->written, written);
}

/* The calls that fail, one after the other: `kind` of the machine, or memory. Gives how many there were. */
static uint64_t fail_each(enum io_kind kind, bool memory)
{
    for (uint64_t nth = 1;; nth++) {
        lqi_scan_restart(&scan, 0, 1);
        expect(1, CUT - 1);
        cut();
        if (memory) call_fault_plan(CALL_ALLOCATE, nth, false, ENOMEM);
        else io_fault_plan(&fault, kind, nth, false, EIO);
        int err = lqi_scan_next(&scan, lqi_log_visible(&queue->log));
        uint64_t hits = memory ? call_fault_hits() : fault.hits;
        EQUAL(err, hits ? (memory ? LQ_ENOMEM : LQ_EIO) : LQ_OK);
        if (hits) expect(CUT, CUT);
        call_fault_end();
        io_fault_end(&fault);
        uncut();
        expect(CUT + 1, CUT + 5);
        if (!hits) return nth - 1;
    }
}

/* To find out that the record is whole takes the file; whoever cannot look says so, and does not give it up. */
static void a_record_that_seems_cut_off_is_no_damage_while_its_file_cannot_be_looked_at(void **state)
{
    for (int sealed = 0; sealed < 2; sealed++) {
        begin(state, sealed ? 64 << 10 : 1 << 20);
        HOLDS(fail_each(IO_STAT, false) >= 1);
        HOLDS(fail_each(IO_READ, false) >= 2);
        HOLDS(fail_each(IO_READ, true) >= 1);
        end();
        HOLDS(!api_teardown(state) && !api_setup(state)); /* another directory */
    }
}

/* But to whoever goes over what the disk does not give, it is what the disk does not give. */
static void a_record_that_seems_cut_off_and_cannot_be_read_is_an_unreadable_one(void **state)
{
    begin(state, 64 << 10);
    queue->log.over_unreadable = true;
    expect(1, CUT - 1);
    cut();
    io_fault_plan(&fault, IO_READ, 2, true, EIO); /* all but its header */
    EQUAL(lqi_scan_next(&scan, lqi_log_visible(&queue->log)), LQI_HOLE);
    IS(LQ_EIO, scan.hole.code);
    EQUAL(scan.hole.first_id, CUT);
    EQUAL(scan.hole.count, 1);
    io_fault_end(&fault);
    uncut();
    expect(CUT + 1, CUT + 5);
    end();
}

/* Messages that do not fit into what is read at a time, as they are or packed. */
static void a_walk_without_memory_says_so_and_goes_on_when_there_is_some(void **state)
{
    enum { LARGE = 400000, COUNT = 4 };
    for (int level = 0; level < 10; level += 9) {
        queue = api_open(state, &(lq_options){.ring_size = 64 << 10, .compression = level});
        api_put_range(queue, 1, COUNT, LARGE);
        unsigned told = 0;
        for (uint64_t nth = 1, hits = 1; hits; nth++) {
            lqi_scan_init(&scan, &queue->log, LQI_SCAN_BLOCK);
            lqi_scan_start(&scan, 0, 1);
            call_fault_plan(CALL_ALLOCATE, nth, false, ENOMEM);
            for (uint64_t id = 1; id <= COUNT; id++) {
                int err = lqi_scan_next(&scan, lqi_log_visible(&queue->log));
                if (err == LQ_ENOMEM) {
                    TEXT_HAS("no memory");
                    told++;
                    err = lqi_scan_next(&scan, lqi_log_visible(&queue->log));
                }
                OK(err);
                EQUAL(scan.record.first_id, id);
                lq_message message = {.id = id, .data = scan.payload, .size = scan.payload_size};
                HOLDS(api_is_filled(&message, LARGE, id));
            }
            hits = call_fault_hits();
            call_fault_end();
            lqi_scan_release(&scan);
        }
        HOLDS(told >= 2);
        OK(lq_close(queue));
        HOLDS(!api_teardown(state) && !api_setup(state)); /* another directory */
    }
}

static void hole_up_to_the_cut(void)
{
    lqi_scan_restart(&scan, 0, 1);
    expect(1, CUT - 1);
    cut();
    EQUAL(lqi_scan_next(&scan, lqi_log_visible(&queue->log)), LQI_HOLE);
    TEXT_HAS("the record is cut off");
    EQUAL(scan.hole.position, (CUT - 1) * SPAN);
    EQUAL(lqi_scan_next(&scan, lqi_log_visible(&queue->log)), LQ_EMPTY);
    uncut();
}

/* What stands in the file must verify, all of it. */
static void a_record_that_is_cut_off_and_does_not_stand_in_its_file_is_damage(void **state)
{
    char path[4300];
    begin(state, 1 << 20);
    strcpy(path, api_segment(api_path(*state, "q"), 0));
    uint64_t body = LQI_SEGMENT_HEADER + (CUT - 1) * SPAN + LQI_RECORD_HEADER;
    api_file_flip(path, body + BODY - 1, 1);
    hole_up_to_the_cut();
    EQUAL(lqi_scan_next(&scan, lqi_log_visible(&queue->log)), LQI_HOLE); /* the rest of it */
    EQUAL(scan.hole.first_id, CUT);
    EQUAL(scan.hole.count, 1);
    expect(CUT + 1, CUT + 5);
    api_file_flip(path, body + BODY - 1, 1);
    struct api_bytes file = api_file_read(path);
    damage_cut(path, body + BODY - 1);
    hole_up_to_the_cut();
    api_file_write(path, file.bytes, file.size);
    free(file.bytes);
    lqi_scan_restart(&scan, 0, 1);
    expect(1, MESSAGES);
    end();
}

/* A page of the file, and the messages in it. */
enum { PAGE = 4096, FIRST = (PAGE - LQI_SEGMENT_HEADER) / SPAN + 1, BEHIND = (2 * PAGE - LQI_SEGMENT_HEADER) / SPAN + 1 };

static int read_but_a_page(const struct lqi_io *table, int fd, uint64_t offset, void *data, size_t size, size_t *got_out)
{
    (void)table;
    if (offset < 2 * PAGE && offset + size > PAGE) return EIO;
    return lqi_io_posix.read(&lqi_io_posix, fd, offset, data, size, got_out);
}

/* A file from which the disk does not give one page, whatever page that is: of the messages those are lost that lie in it, and no other.
 * Nobody is asked for more than is missing, or less. */
static const struct {
    size_t size; /* of bodies, which fill their records */
    uint64_t count;
} made[] = {{1000, 120}, {BODY, 900}}, *odd; /* across pages, or with one beginning at each */

static uint64_t bad_page;

static int read_but_the_bad_page(const struct lqi_io *table, int fd, uint64_t offset, void *data, size_t size, size_t *got_out)
{
    (void)table;
    if (offset < (bad_page + 1) * PAGE && offset + size > bad_page * PAGE) return EIO;
    return lqi_io_posix.read(&lqi_io_posix, fd, offset, data, size, got_out);
}

static bool is_on_bad_page(uint64_t id)
{
    uint64_t span = odd->size + LQI_RECORD_HEADER, from = LQI_SEGMENT_HEADER + (id - 1) * span;
    return from < (bad_page + 1) * PAGE && from + span > bad_page * PAGE;
}

static void walk_over_bad_page(size_t read_ahead)
{
    uint64_t limit = lqi_log_visible(&queue->log), lost = 0, next = 1;
    int err;
    lqi_scan_init(&scan, &queue->log, read_ahead);
    lqi_scan_start(&scan, 0, 1);
    while ((err = lqi_scan_next(&scan, limit)) != LQ_EMPTY) {
        if (err == LQI_HOLE) {
            IS(LQ_EIO, scan.hole.code);
            EQUAL(scan.hole.first_id, next);
            for (uint64_t id = next; id < next + scan.hole.count; id++) HOLDS(is_on_bad_page(id));
            lost += scan.hole.count;
            next += scan.hole.count;
            continue;
        }
        EQUAL(err, LQ_OK);
        EQUAL(scan.record.first_id, next++);
        HOLDS(!is_on_bad_page(scan.record.first_id));
        lq_message message = {.id = scan.record.first_id, .data = scan.payload, .size = scan.payload_size};
        HOLDS(api_is_filled(&message, odd->size, message.id));
    }
    EQUAL(next, odd->count + 1);
    HOLDS(lost > 0);
    lqi_scan_release(&scan);
}

static void messages_on_a_page_that_cannot_be_read_are_lost_and_no_other(void **state)
{
    static const size_t read_aheads[] = {0, 3 * 4096 + 8, LQI_SCAN_BLOCK};
    struct lqi_io bad_disk = lqi_io_posix;
    bad_disk.read = read_but_the_bad_page;
    for (odd = made; odd < made + 2; odd++) {
        queue = api_open(state, &(lq_options){.segment_size = 1 << 20, .ring_size = 64 << 10, .sync = LQ_SYNC_NEVER});
        api_put_range(queue, 1, odd->count, odd->size);
        OK(lq_close(queue)); /* and what was in memory is gone */
        queue = api_open(state, NULL);
        queue->log.io = &bad_disk;
        queue->log.over_unreadable = true;
        for (bad_page = 1; bad_page < (LQI_SEGMENT_HEADER + odd->count * (odd->size + LQI_RECORD_HEADER)) / PAGE; bad_page++)
            for (size_t i = 0; i < sizeof read_aheads / sizeof *read_aheads; i++) walk_over_bad_page(read_aheads[i]);
        queue->log.io = &lqi_io_posix;
        OK(lq_close(queue));
        HOLDS(!api_teardown(state) && !api_setup(state)); /* another directory */
    }
}

/* How many there were in it, the next record tells; that it was the disk's fault, the walk remembers. */
static void messages_missing_behind_a_stretch_that_cannot_be_read_were_in_it(void **state)
{
    begin(state, 1 << 20);
    struct lqi_io bad_disk = lqi_io_posix;
    bad_disk.read = read_but_a_page;
    queue->log.io = &bad_disk;
    queue->log.over_unreadable = true;
    expect(1, FIRST - 1);
    uint64_t limit = (BEHIND - 1) * SPAN; /* as far as somebody looks */
    EQUAL(lqi_scan_next(&scan, limit), LQI_HOLE);
    IS(LQ_EIO, scan.hole.code);
    EQUAL(scan.hole.count, 0);
    EQUAL(lqi_scan_next(&scan, limit), LQ_EMPTY);
    EQUAL(lqi_scan_next(&scan, lqi_log_visible(&queue->log)), LQI_HOLE);
    IS(LQ_EIO, scan.hole.code);
    EQUAL(scan.hole.first_id, FIRST);
    EQUAL(scan.hole.count, BEHIND - FIRST);
    expect(BEHIND, MESSAGES);
    end();
}

/* The walk has its bytes at hand, and has let go of the file, as one does who is idle while retention deletes. */
static void damage_in_a_file_that_cannot_be_opened_again_is_told_when_it_can(void **state)
{
    begin(state, 64 << 10);
    api_file_flip(api_segment(api_path(*state, "q"), 0), LQI_SEGMENT_HEADER + SPAN + 3, 1); /* message 2 */
    lqi_scan_release(&scan);
    lqi_scan_init(&scan, &queue->log, LQI_SCAN_BLOCK);
    lqi_scan_start(&scan, 0, 1);
    expect(1, 1);
    atomic_store(&shared->first_id, 2);
    lqi_scan_let_go(&scan);
    atomic_store(&shared->first_id, 1);
    io_fault_plan(&fault, IO_OPEN, 1, true, EMFILE);
    for (int i = 0; i < 3; i++) IS(LQ_ELIMIT, lqi_scan_next(&scan, lqi_log_visible(&queue->log)));
    io_fault_end(&fault);
    EQUAL(lqi_scan_next(&scan, lqi_log_visible(&queue->log)), LQI_HOLE);
    EQUAL(scan.hole.first_id, 2);
    EQUAL(scan.hole.count, 1);
    EQUAL(scan.hole.offset, LQI_SEGMENT_HEADER + SPAN);
    expect(3, MESSAGES);
    end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_DIRECTORY(a_record_that_seems_cut_off_is_no_damage_while_its_file_cannot_be_looked_at),
        IN_DIRECTORY(a_record_that_seems_cut_off_and_cannot_be_read_is_an_unreadable_one),
        IN_DIRECTORY(a_walk_without_memory_says_so_and_goes_on_when_there_is_some),
        IN_DIRECTORY(a_record_that_is_cut_off_and_does_not_stand_in_its_file_is_damage),
        IN_DIRECTORY(messages_on_a_page_that_cannot_be_read_are_lost_and_no_other),
        IN_DIRECTORY(messages_missing_behind_a_stretch_that_cannot_be_read_were_in_it),
        IN_DIRECTORY(damage_in_a_file_that_cannot_be_opened_again_is_told_when_it_can),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
