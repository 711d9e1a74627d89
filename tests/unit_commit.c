/* The group commit, of a queue in which PUT returns when its message is durable: who leads, who waits, and what becomes of it when
 * the machine fails. And writing out by the way. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "support/call_fault.h"
#include "support/child.h"
#include "support/hold.h"
#include "support/short_log.h"
#include "writeout.h"

/* Without waiting for its sync. */
static void defer(uint64_t count)
{
    queue->flags |= LQ_DEFER_SYNC;
    put(count);
    queue->flags &= ~(uint32_t)LQ_DEFER_SYNC;
}

static void all_is_durable(void)
{
    struct lqi_tail tail;
    OK(lqi_log_tail(&queue->log, &tail));
    EQUAL(atomic_load(&shared->synced), tail.end);
    EQUAL(atomic_load(&shared->synced_id), last);
    EQUAL(atomic_load(&shared->synced_records), tail.records);
}

/* ---- groups ------------------------------------------------------------------------- */

static void a_leader_syncs_once_for_everybody_before_him(void **state)
{
    begin(state, LQ_SYNC_ALWAYS);
    put(1);
    all_is_durable();
    EQUAL(atomic_load(&shared->last_group), 1);
    io_fault_plan(&fault, IO_SYNC, 0, false, 0);
    defer(5);
    EQUAL(atomic_load(&shared->synced_id), 1);
    EQUAL(fault.calls[IO_SYNC], 0);
    put(1);
    EQUAL(fault.calls[IO_SYNC], 1);
    EQUAL(atomic_load(&shared->last_group), 6);
    all_is_durable();
    OK(lq_sync(queue)); /* there is nothing to do */
    OK(lqi_commit_all(&queue->log));
    EQUAL(fault.calls[IO_SYNC], 1);
    EQUAL(atomic_load(&shared->last_group), 6);
    put(1);
    EQUAL(atomic_load(&shared->last_group), 1);
    end();
}

/* He waits for as many as came the last time, and if they do not come, not for long. */
static void a_leader_goes_on_when_his_group_is_there_or_does_not_come(void **state)
{
    begin(state, LQ_SYNC_ALWAYS);
    put(1);
    for (uint64_t group = 2; group < 1000; group *= 3) {
        atomic_store(&shared->last_group, group);
        put(1);
        all_is_durable();
        EQUAL(atomic_load(&shared->last_group), 1);
    }
    atomic_store(&shared->last_group, 3);
    defer(4);
    put(1);
    all_is_durable();
    EQUAL(atomic_load(&shared->last_group), 5);
    end();
}

/* ---- waiting for a leader -------------------------------------------------------------- */

static void while_somebody_leads_the_others_sleep_and_sync_nothing(void **state)
{
    begin(state, LQ_SYNC_ALWAYS);
    put(1);
    defer(1);
    hold(&shared->sync);
    io_fault_plan(&fault, IO_SYNC, 0, false, 0);
    for (int limit_ms = 0; limit_ms <= 20; limit_ms += 20) {
        call_fault_plan(CALL_FUTEX_WAIT, 1, true, EAGAIN);
        int limit = lqi_lock_limit(limit_ms);
        IS(LQ_EBUSY, lqi_commit_all(&queue->log));
        TEXT_HAS("writing to the disk", "stopped");
        lqi_lock_limit(limit);
        HOLDS((call_fault_hits() > 0) == (limit_ms > 0));
        call_fault_end();
    }
    EQUAL(fault.calls[IO_SYNC], 0);
    EQUAL(atomic_load(&shared->synced_id), last - 1);

    /* He has led, it turns out: nothing is left to do. */
    struct lqi_tail tail;
    OK(lqi_log_tail(&queue->log, &tail));
    uint64_t synced = atomic_load(&shared->synced);
    atomic_store(&shared->synced, tail.end);
    OK(lqi_commit(&queue->log, tail.end));
    EQUAL(fault.calls[IO_SYNC], 0);
    atomic_store(&shared->synced, synced);
    let_go();
    OK(lqi_commit_all(&queue->log));
    EQUAL(fault.calls[IO_SYNC], 1);
    end();
}

static void who_waits_for_a_leader_hears_at_once_that_a_sync_has_failed(void **state)
{
    begin(state, LQ_SYNC_ALWAYS);
    put(1);
    defer(1);
    hold(&shared->sync);
    lqi_poison(&queue->log);
    int limit = lqi_lock_limit(0);
    IS(LQ_EPOISONED, lqi_commit(&queue->log, atomic_load(&shared->ring.appended)));
    TEXT_HAS("poisoned", "a sync has failed");
    lqi_lock_limit(limit);
    let_go();
    io_fault_plan(&fault, IO_SYNC, 0, false, 0);
    IS(LQ_EPOISONED, lqi_commit(&queue->log, atomic_load(&shared->ring.appended))); /* nor does he lead who comes then */
    EQUAL(fault.calls[IO_SYNC], 0);
    IS(LQ_EPOISONED, lq_sync(queue));
    EQUAL(fault.calls[IO_SYNC], 0);
    IS(LQ_EPOISONED, lq_close(queue));
    io_fault_release(&fault);
}

/* What is durable already is so; but who asks whether all is well hears that it is not. */
static void a_queue_in_which_all_is_durable_says_that_it_is_poisoned(void **state)
{
    begin(state, LQ_SYNC_ALWAYS);
    put(3);
    all_is_durable();
    lqi_poison(&queue->log);
    IS(LQ_EPOISONED, lqi_commit_all(&queue->log));
    OK(lqi_commit(&queue->log, atomic_load(&shared->synced)));
    IS(LQ_EPOISONED, lq_close(queue));
    io_fault_release(&fault);
}

static int die_with_the_sync_lock(void *unused)
{
    (void)unused;
    OK(lq_open(path, NULL, &queue));
    HOLDS(lqi_lock(&queue->log.state->sync, "sync") == LQI_LOCKED);
    _exit(0);
}

static void who_finds_that_the_leader_has_died_leads_and_others_after_him(void **state)
{
    begin(state, LQ_SYNC_ALWAYS);
    put(1);
    EQUAL(child_run(die_with_the_sync_lock, NULL), 0);
    for (int i = 0; i < 3; i++) {
        put(1);
        all_is_durable();
    }
    HOLDS(lqi_lock(&shared->sync, "sync") == LQI_LOCKED); /* as if nobody had died */
    lqi_unlock(&shared->sync);
    end();
}

static void a_lock_that_is_beyond_use_is_told(void **state)
{
    begin(state, LQ_SYNC_ALWAYS);
    put(1);
    defer(1);
    EQUAL(child_run(die_with_the_sync_lock, NULL), 0);
    EQUAL(lqi_lock(&shared->sync, "sync"), LQI_INHERITED);
    lqi_unlock(&shared->sync); /* without making it whole */
    io_fault_plan(&fault, IO_SYNC, 0, false, 0);
    IS(LQ_EIO, lqi_commit_all(&queue->log));
    EQUAL(fault.calls[IO_SYNC], 0);
    EQUAL(atomic_load(&shared->synced_id), last - 1);
    lqi_lock_patience_ms = 1;
    (void)lq_close(queue);
    lqi_lock_patience_ms = LQI_LOCK_PATIENCE_MS;
    io_fault_release(&fault);
}

/* ---- the machine fails -------------------------------------------------------------------- */

/* The message is in the log by then: it may be there, and is when the disk has got better. */
static void a_message_that_could_not_be_made_durable_yet_is_called_so(void **state)
{
    static const enum io_kind kinds[] = {IO_WRITE, IO_OPEN};
    for (int i = 0; i < 2; i++) {
        begin(state, LQ_SYNC_ALWAYS);
        put(2);
        if (kinds[i] == IO_OPEN) {
            lqi_file_close(&queue->log.syncing.file);
            queue->log.syncing.span = 0;
        }
        io_fault_plan(&fault, kinds[i], 1, true, EIO);
        uint64_t id = 77;
        uint8_t body[SIZE];
        api_fill(body, sizeof body, 3);
        IS(LQ_EBUSY, lq_put(queue, body, sizeof body, &id));
        TEXT_HAS("appended", "not be made durable yet", "log/00000000000000000001.seg");
        EQUAL(id, 77);
        IS(LQ_EIO, lq_sync(queue));
        io_fault_end(&fault);
        last = 3;
        EQUAL(api_stats(queue).last_id, 3);
        EQUAL(api_stats(queue).visible_id, 2);
        end();
    }
}

static void a_failed_sync_poisons_and_wakes_who_waits_for_it_and_for_room(void **state)
{
    begin(state, LQ_SYNC_ALWAYS);
    put(2);
    uint32_t durable = lqi_bell_listen(&shared->durable), room = lqi_bell_listen(&shared->room);
    io_fault_plan(&fault, IO_SYNC, 1, false, EIO);
    IS(LQ_EPOISONED, lq_put(queue, "x", 1, NULL));
    TEXT_HAS("sync", "the queue is poisoned now");
    EQUAL(atomic_load(&shared->synced_id), 2);
    HOLDS(lqi_poisoned(&queue->log));
    HOLDS(atomic_load(&shared->lead_in_doubt));
    HOLDS(atomic_load(&shared->durable.word) != durable);
    HOLDS(atomic_load(&shared->room.word) != room);
    IS(LQ_EPOISONED, lq_put(queue, "x", 1, NULL));
    EQUAL(fault.calls[IO_SYNC], 1);
    IS(LQ_EPOISONED, lq_close(queue));
    io_fault_release(&fault);
}

/* ---- writing out by the way ---------------------------------------------------------------------- */

static uint64_t unwritten(void)
{
    return atomic_load(&shared->ring.appended) - atomic_load(&shared->written);
}

static void who_finds_somebody_writing_leaves_it_to_him(void **state)
{
    begin(state, LQ_SYNC_NEVER);
    put(2);
    hold(&shared->write);
    io_fault_plan(&fault, IO_WRITE, 0, false, 0);
    put(queue->log.ring.size / 4 / SIZE + 2);
    HOLDS(unwritten() >= queue->log.ring.size / 4);
    EQUAL(fault.calls[IO_WRITE], 0);
    HOLDS(lqi_lock_try(&shared->write) == LQI_NOT_LOCKED); /* it is still his */
    let_go();
    put(1);
    EQUAL(unwritten(), 0);
    end();
}

static int die_with_the_write_lock(void *unused)
{
    (void)unused;
    OK(lq_open(path, NULL, &queue));
    HOLDS(lqi_lock(&queue->log.state->write, "write") == LQI_LOCKED);
    _exit(0);
}

static void who_finds_that_the_writer_has_died_goes_on_for_him(void **state)
{
    begin(state, LQ_SYNC_NEVER);
    put(2);
    EQUAL(child_run(die_with_the_write_lock, NULL), 0);
    while (unwritten()) put(1);
    HOLDS(lqi_lock(&shared->write, "write") == LQI_LOCKED); /* as if nobody had died */
    lqi_unlock(&shared->write);
    end();
}

/* ---- in doubt ---------------------------------------------------------------------------------- */

static uint64_t lowest, highest;

static int watch_write(const struct lqi_io *io, int fd, uint64_t offset, const void *data, size_t size)
{
    (void)io;
    if (offset < lowest) lowest = offset;
    if (offset + size > highest) highest = offset + size;
    return lqi_io_posix.write(&lqi_io_posix, fd, offset, data, size);
}

static void only_what_is_in_doubt_is_written_again(void **state)
{
    begin(state, LQ_SYNC_NEVER);
    put(5);
    OK(lq_sync(queue));
    uint64_t synced = atomic_load(&shared->synced);
    put(5);
    OK(lqi_write_out(&queue->log));
    atomic_store(&shared->lead_in_doubt, 1);
    lqi_file_close(&queue->log.syncing.file);
    queue->log.syncing.span = 0;
    unsigned files = open_files();
    io_fault_plan(&fault, IO_OPEN, 1, false, EIO);
    IS(LQ_EIO, lqi_commit_all(&queue->log));
    TEXT_HAS("open", "log/");
    io_fault_plan(&fault, IO_WRITE, 1, false, EIO);
    IS(LQ_EIO, lqi_commit_all(&queue->log));
    EQUAL(open_files(), files);
    HOLDS(atomic_load(&shared->lead_in_doubt));
    struct lqi_io io = fault.io;
    fault.io.write = watch_write;
    lowest = UINT64_MAX, highest = 0;
    OK(lqi_commit_all(&queue->log));
    fault.io = io;
    EQUAL(lowest, LQI_SEGMENT_HEADER + synced);
    EQUAL(highest, LQI_SEGMENT_HEADER + atomic_load(&shared->written));
    EQUAL(atomic_load(&shared->lead_in_doubt), 0);
    end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_DIRECTORY(a_leader_syncs_once_for_everybody_before_him),
        IN_DIRECTORY(a_leader_goes_on_when_his_group_is_there_or_does_not_come),
        IN_DIRECTORY(while_somebody_leads_the_others_sleep_and_sync_nothing),
        IN_DIRECTORY(who_waits_for_a_leader_hears_at_once_that_a_sync_has_failed),
        IN_DIRECTORY(a_queue_in_which_all_is_durable_says_that_it_is_poisoned),
        IN_DIRECTORY(who_finds_that_the_leader_has_died_leads_and_others_after_him),
        IN_DIRECTORY(a_lock_that_is_beyond_use_is_told),
        IN_DIRECTORY(a_message_that_could_not_be_made_durable_yet_is_called_so),
        IN_DIRECTORY(a_failed_sync_poisons_and_wakes_who_waits_for_it_and_for_room),
        IN_DIRECTORY(who_finds_somebody_writing_leaves_it_to_him),
        IN_DIRECTORY(who_finds_that_the_writer_has_died_goes_on_for_him),
        IN_DIRECTORY(only_what_is_in_doubt_is_written_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
