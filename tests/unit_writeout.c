/* Writing out when something that was there is there no more: the prepared file, the room, a part of the file, sense in the numbers. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "queue.h"
#include "support/api.h"
#include "support/damage.h"
#include "support/io_fault.h"
#include "support/scratch.h"

enum { SIZE = 1000 };

static struct io_fault fault;
static struct lqi_io under_the_test;
static char path[4096];
static lq_queue *queue;
static struct lqi_log_state *shared;
static uint64_t last; /* message put */

static void begin_synced(void **state, uint64_t segment_size, int sync)
{
    lq_options options = {.size = sizeof options, .segment_size = segment_size, .ring_size = 64 << 10, .sync = sync};
    io_fault_init(&fault, &lqi_io_posix);
    snprintf(path, sizeof path, "%s", api_path(*state, "q"));
    OK(lqi_open_io(&fault.io, path, &options, &queue));
    shared = queue->log.state;
    last = 0;
}

static void begin(void **state, uint64_t segment_size)
{
    begin_synced(state, segment_size, LQ_SYNC_NEVER);
}

static void put(uint64_t count)
{
    if (count) api_put_range(queue, last + 1, last + count, SIZE);
    last += count;
}

/* Everything is there, and stays. */
static void end(void)
{
    io_fault_end(&fault);
    put(5);
    api_read_range(queue, 1, last, SIZE);
    OK(lq_close(queue));
    OK(lq_verify(path, 0, NULL, NULL, NULL));
    OK(lq_open(path, NULL, &queue));
    api_read_range(queue, 1, last, SIZE);
    OK(lq_close(queue));
    io_fault_release(&fault);
}

/* The next span has begun, in memory: the segment before it is not sealed, and its own file is prepared only. */
static void begin_a_roll(void)
{
    put(5);
    OK(lqi_write_out(&queue->log)); /* the first span of all is none */
    while (atomic_load(&shared->append_span) == atomic_load(&shared->write_span)) put(1);
    EQUAL(atomic_load(&shared->prepared), atomic_load(&shared->append_span));
}

static bool rolled(void)
{
    return atomic_load(&shared->append_span) == atomic_load(&shared->write_span);
}

static void a_prepared_file_that_is_gone_costs_another(void **state)
{
    begin(state, 64 << 10);
    /* Known to be gone. */
    begin_a_roll();
    atomic_store(&shared->prepared, 0);
    OK(lqi_write_out(&queue->log));
    HOLDS(rolled());

    /* ... and there is no room for another, for a while. */
    begin_a_roll();
    atomic_store(&shared->prepared, 0);
    for (int i = 0; i < 3; i++) {
        io_fault_plan(&fault, IO_ALLOCATE, 1, false, ENOSPC);
        IS(LQ_ENOSPC, lqi_write_out(&queue->log));
        HOLDS(!rolled());
    }
    api_read_range(queue, 1, last, SIZE);
    OK(lqi_write_out(&queue->log));
    HOLDS(rolled());

    /* Not known. */
    begin_a_roll();
    char name[32];
    snprintf(name, sizeof name, "q/log/%llu.new", (unsigned long long)atomic_load(&shared->append_span));
    damage_remove(api_path(*state, name));
    OK(lqi_write_out(&queue->log));
    HOLDS(rolled());
    end();
}

static int rename_of_what_is_gone(const struct lqi_io *io, int dir, const char *from, const char *to, bool replace)
{
    (void)io;
    fault.io.rename = under_the_test.rename;
    EQUAL(fault.io.unlink(&fault.io, dir, from), 0);
    return fault.io.rename(&fault.io, dir, from, to, replace);
}

/* Whoever tidies up in the directory meets the file at any moment before it is a segment. */
static void a_put_does_not_mind_that_the_prepared_file_is_gone(void **state)
{
    for (int sync = LQ_SYNC_ALWAYS; sync <= LQ_SYNC_NEVER; sync++) {
        for (int late = 0; late < 2; late++) {
            uint64_t span, times = 0;
            begin_synced(state, 64 << 10, sync);
            under_the_test = fault.io;
            for (span = atomic_load(&shared->write_span); times < 3; put(1)) {
                uint64_t prepared = atomic_load(&shared->prepared);
                if (!prepared || prepared == span) continue;
                span = prepared;
                times++;
                char name[32];
                snprintf(name, sizeof name, "q/log/%llu.new", (unsigned long long)prepared);
                if (late) fault.io.rename = rename_of_what_is_gone;
                else damage_remove(api_path(*state, name));
            }
            while (atomic_load(&shared->write_span) != span) put(1);
            end();
            scratch_delete(path);
        }
    }
}

/* There may be a reason why it is gone again and again. */
static void a_directory_that_keeps_no_prepared_file_is_told_and_no_loop(void **state)
{
    begin(state, 64 << 10);
    begin_a_roll();
    io_fault_plan(&fault, IO_RENAME, 1, true, ENOENT);
    IS(LQ_ENOTFOUND, lqi_write_out(&queue->log));
    TEXT_HAS("rename", "log/");
    HOLDS(fault.calls[IO_RENAME] >= 2);
    HOLDS(fault.calls[IO_RENAME] <= 10);
    HOLDS(!rolled());
    end();
}

static void a_roll_that_was_begun_before_a_sync_failed_is_not_ended(void **state)
{
    begin(state, 64 << 10);
    begin_a_roll();
    lqi_poison(&queue->log);
    io_fault_plan(&fault, IO_SYNC, 0, false, 0);
    for (int i = 0; i < 3; i++) IS(LQ_EPOISONED, lqi_write_out(&queue->log));
    EQUAL(fault.calls[IO_SYNC], 0);
    HOLDS(!rolled());
    api_read_range(queue, 1, last, SIZE);
    IS(LQ_EPOISONED, lq_close(queue));
    OK(lq_open(path, NULL, &queue));
    shared = queue->log.state;
    end();
}

/* Two PUTs may find at once that the segment has no disk space yet. */
static void disk_space_is_asked_for_once(void **state)
{
    begin(state, 256 << 10);
    put(1);
    OK(lq_close(queue));
    OK(lqi_open_io(&fault.io, path, NULL, &queue)); /* what was too much was given back */
    shared = queue->log.state;
    io_fault_plan(&fault, IO_ALLOCATE, 0, false, 0);
    for (int i = 0; i < 3; i++) OK(lqi_allocate(&queue->log));
    EQUAL(fault.calls[IO_ALLOCATE], 1);
    end();
}

static void what_is_sealed_takes_no_disk_space(void **state)
{
    begin(state, 256 << 10);
    io_fault_plan(&fault, IO_ALLOCATE, 0, false, 0);
    OK(lqi_allocate(&queue->log)); /* there is no segment yet */
    EQUAL(fault.calls[IO_ALLOCATE], 0);
    end();
}

/* A span that has begun has its file already, or its own maker is at it. */
static void no_file_is_prepared_for_a_span_that_has_begun(void **state)
{
    begin(state, 64 << 10);
    begin_a_roll();
    atomic_store(&shared->prepared, 0);
    io_fault_plan(&fault, IO_ALLOCATE, 0, false, 0);
    OK(lqi_lock_write(&queue->log));
    OK(lqi_write_up_to(&queue->log, atomic_load(&shared->written)));
    lqi_unlock(&shared->write);
    EQUAL(fault.calls[IO_ALLOCATE], 0);
    OK(lqi_write_out(&queue->log));
    end();
}

/* ---- in doubt ---------------------------------------------------------------------- */

/* A leader has died in his sync, or behind it, before he could tell; ours is the first descriptor that is opened then. */
static void leave_in_doubt(void)
{
    atomic_store(&shared->lead_in_doubt, 1);
    lqi_file_close(&queue->log.syncing.file);
    queue->log.syncing.span = 0;
}

static void what_is_in_doubt_is_durable_only_when_it_could_be_written_again(void **state)
{
    begin(state, 1 << 20);
    put(300); /* more than the ring holds */
    for (uint64_t nth = 1; nth <= 5; nth++) {
        leave_in_doubt();
        io_fault_plan(&fault, IO_WRITE, nth == 1 ? 1 : nth * 3, true, EIO);
        uint64_t synced = atomic_load(&shared->synced);
        IS(LQ_EIO, lq_sync(queue));
        EQUAL(atomic_load(&shared->synced), synced);
        io_fault_plan(&fault, IO_READ, nth, true, EIO);
        IS(LQ_EIO, lq_sync(queue));
        EQUAL(atomic_load(&shared->synced), synced);
        io_fault_end(&fault);
    }
    HOLDS(atomic_load(&shared->lead_in_doubt));
    io_fault_plan(&fault, IO_WRITE, 0, false, 0);
    OK(lq_sync(queue));
    HOLDS(fault.calls[IO_WRITE] > 300 * SIZE / 16384);
    EQUAL(atomic_load(&shared->lead_in_doubt), 0);
    end();
}

static int read_nothing(const struct lqi_io *io, int fd, uint64_t offset, void *data, size_t size, size_t *got_out)
{
    (void)io, (void)fd, (void)offset, (void)data, (void)size;
    *got_out = 0;
    return 0;
}

static void what_is_in_doubt_and_was_cut_off_is_not_durable(void **state)
{
    begin(state, 1 << 20);
    put(300);
    struct lqi_io io = fault.io;
    leave_in_doubt();
    fault.io.read = read_nothing;
    IS(LQ_EIO, lq_sync(queue));
    TEXT_HAS("log/", "cut");
    fault.io = io;
    OK(lq_sync(queue));
    end();
}

/* ---- numbers that make no sense ------------------------------------------------------ */

static void a_ring_that_never_gets_room_is_damage_and_no_loop(void **state)
{
    begin(state, 1 << 20);
    put(100);
    uint64_t written = atomic_load(&shared->written), appended = atomic_load(&shared->ring.appended);
    atomic_store(&shared->written, 0);
    atomic_store(&shared->ring.appended, 0);
    IS(LQ_ECORRUPT, lq_put(queue, "", 0, NULL));
    TEXT_HAS("shared", "make no sense", "written over");
    atomic_store(&shared->ring.appended, appended);
    atomic_store(&shared->written, written);
    end();
}

static void an_index_that_is_full_gets_no_more_entries(void **state)
{
    begin(state, 1 << 20);
    put(100);
    struct lqi_tail *tail = &shared->tails[atomic_load(&shared->turn) & 1];
    struct lqi_span *span = &shared->spans[tail->span & 1];
    struct lqi_tail before = *tail;
    const uint64_t limit = span->limit;
    uint8_t behind[64], *end_of_index = (uint8_t *)&span->index[LQI_INDEX_MAX];
    memcpy(behind, end_of_index, sizeof behind);
    tail->index_count = LQI_INDEX_MAX;
    tail->indexed = 0;
    put(1);
    tail = &shared->tails[atomic_load(&shared->turn) & 1];
    EQUAL(tail->index_count, LQI_INDEX_MAX);
    EQUAL(span->limit, limit);
    HOLDS(memcmp(behind, end_of_index, sizeof behind) == 0);
    tail->index_count = before.index_count;
    tail->indexed = before.indexed;
    end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_DIRECTORY(a_prepared_file_that_is_gone_costs_another),
        IN_DIRECTORY(a_put_does_not_mind_that_the_prepared_file_is_gone),
        IN_DIRECTORY(a_directory_that_keeps_no_prepared_file_is_told_and_no_loop),
        IN_DIRECTORY(a_roll_that_was_begun_before_a_sync_failed_is_not_ended),
        IN_DIRECTORY(disk_space_is_asked_for_once),
        IN_DIRECTORY(what_is_sealed_takes_no_disk_space),
        IN_DIRECTORY(no_file_is_prepared_for_a_span_that_has_begun),
        IN_DIRECTORY(what_is_in_doubt_is_durable_only_when_it_could_be_written_again),
        IN_DIRECTORY(what_is_in_doubt_and_was_cut_off_is_not_durable),
        IN_DIRECTORY(a_ring_that_never_gets_room_is_damage_and_no_loop),
        IN_DIRECTORY(an_index_that_is_full_gets_no_more_entries),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
