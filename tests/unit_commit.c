/* The group commit, of a queue in which PUT returns when its message is durable: who leads, who waits, and what becomes of it when
 * the machine fails. And the ends of segments and of writing. */
#include <dirent.h>
#include <errno.h>
#include <malloc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "queue.h"
#include "support/api.h"
#include "support/call_fault.h"
#include "support/child.h"
#include "support/hold.h"
#include "support/io_fault.h"
#include "support/scratch.h"
#include "writeout.h"

enum { SIZE = 1000 };

static struct io_fault fault;
static char path[4096];
static lq_queue *queue;
static struct lqi_log_state *shared;
static uint64_t last; /* message put */

/* No power fails here: this disk need not be waited for. */
static int no_sync(const struct lqi_io *io, int fd)
{
    (void)io, (void)fd;
    return 0;
}

static struct lqi_io quick;

static void begin(void **state, int sync)
{
    lq_options options = {.size = sizeof options, .segment_size = 64 << 10, .ring_size = 64 << 10, .sync = sync};
    quick = lqi_io_posix;
    quick.sync = quick.dir_sync = no_sync;
    io_fault_init(&fault, &quick);
    snprintf(path, sizeof path, "%s", api_path(*state, "q"));
    OK(lqi_open_io(&fault.io, path, &options, &queue));
    shared = queue->log.state;
    last = 0;
}

static void put(uint64_t count)
{
    if (count) api_put_range(queue, last + 1, last + count, SIZE);
    last += count;
}

/* Without waiting for its sync. */
static void defer(uint64_t count)
{
    queue->flags |= LQ_DEFER_SYNC;
    put(count);
    queue->flags &= ~(uint32_t)LQ_DEFER_SYNC;
}

/* Everything is there, and stays. */
static void end(void)
{
    io_fault_end(&fault);
    put(1);
    api_read_range(queue, 1, last, SIZE);
    OK(lq_close(queue));
    OK(lq_verify(path, 0, NULL, NULL, NULL));
    scratch_delete(path);
    io_fault_release(&fault);
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
    IS(LQ_EPOISONED, lqi_commit_all(&queue->log));
    TEXT_HAS("poisoned", "a sync has failed");
    lqi_lock_limit(limit);
    let_go();
    IS(LQ_EPOISONED, lq_sync(queue));
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

/* ---- the ends of segments -------------------------------------------------------------------- */

/* The next span has begun, in memory: the segment before it is not sealed, and its own file is prepared only. */
static void begin_a_roll(void)
{
    put(1);
    OK(lqi_write_out(&queue->log)); /* the first span of all is none */
    while (atomic_load(&shared->append_span) == atomic_load(&shared->write_span)) put(1);
}

static void a_segment_is_sealed_once_though_the_next_one_cannot_be_made(void **state)
{
    begin(state, LQ_SYNC_NEVER);
    begin_a_roll();
    io_fault_plan(&fault, IO_RENAME, 1, true, ENOSPC);
    IS(LQ_ENOSPC, lqi_write_out(&queue->log));
    TEXT_HAS("rename", ".seg");
    HOLDS(!strstr(lq_error_text(), "at byte"));
    struct lqi_span *span = &shared->spans[atomic_load(&shared->write_span) & 1];
    HOLDS(span->sealed);
    EQUAL(atomic_load(&shared->synced), span->end.end);
    EQUAL(atomic_load(&shared->synced_id), span->end.next_id - 1);
    io_fault_plan(&fault, IO_RENAME, 1, true, ENOSPC);
    for (int i = 0; i < 3; i++) IS(LQ_ENOSPC, lqi_write_out(&queue->log));
    EQUAL(fault.calls[IO_TRUNCATE], 0);
    end();
}

static void the_second_oldest_segment_is_known_from_its_beginning(void **state)
{
    begin(state, LQ_SYNC_NEVER);
    put(1);
    OK(lqi_write_out(&queue->log));
    EQUAL(atomic_load(&shared->first_id), 1);
    EQUAL(atomic_load(&shared->second_id), 0);
    begin_a_roll();
    uint64_t second = shared->spans[atomic_load(&shared->append_span) & 1].first_id;
    HOLDS(second > 1);
    OK(lqi_write_out(&queue->log));
    EQUAL(atomic_load(&shared->second_id), second);
    begin_a_roll();
    OK(lqi_write_out(&queue->log));
    EQUAL(atomic_load(&shared->second_id), second);
    end();
}

static uint64_t size_of(const char *name)
{
    struct stat stat_of;
    return stat(name, &stat_of) == 0 ? (uint64_t)stat_of.st_size : 0;
}

static unsigned open_files(void)
{
    DIR *listing = opendir("/proc/self/fd");
    unsigned count = 0;
    if (!listing) return 0;
    while (readdir(listing)) count++;
    closedir(listing);
    return count;
}

/* However it was made, ahead, or by whoever missed it: for a record that it may get there is disk space. */
static void a_new_segment_has_all_of_its_size_and_no_descriptor_is_left(void **state)
{
    unsigned before = 0;
    begin(state, LQ_SYNC_NEVER);
    for (int i = 0; i < 4; i++) {
        begin_a_roll();
        if (i % 2) atomic_store(&shared->prepared, 0);
        OK(lqi_write_out(&queue->log));
        const struct lqi_span *span = &shared->spans[atomic_load(&shared->write_span) & 1];
        EQUAL(size_of(api_segment(path, (size_t)i + 1)), lqi_segment_file_size(&queue->log.options, span->limit - span->position));
        EQUAL(size_of(api_segment(path, (size_t)i + 1)), lqi_segment_file_size(&queue->log.options, lqi_segment_capacity(&queue->log.options)));
        if (i == 1) before = open_files();
    }
    EQUAL(open_files(), before);
    end();
}

static int rename_and_die(const struct lqi_io *io, int dir, const char *from, const char *to, bool replace)
{
    (void)io;
    (void)lqi_io_posix.rename(&lqi_io_posix, dir, from, to, replace);
    _exit(0);
}

static int die_in_a_roll(void *unused)
{
    static struct lqi_io io;
    (void)unused;
    io = lqi_io_posix;
    io.rename = rename_and_die;
    OK(lqi_open_io(&io, path, NULL, &queue));
    (void)lqi_write_out(&queue->log);
    return 1;
}

static void a_segment_that_has_its_name_from_a_dead_process_is_taken_over(void **state)
{
    begin(state, LQ_SYNC_NEVER);
    begin_a_roll();
    uint64_t number = atomic_load(&shared->append_span);
    EQUAL(child_run(die_in_a_roll, NULL), 0);
    HOLDS(atomic_load(&shared->write_span) != number);
    io_fault_plan(&fault, IO_RENAME, 0, false, 0);
    unsigned files = open_files();
    OK(lqi_write_out(&queue->log));
    EQUAL(open_files(), files);
    EQUAL(atomic_load(&shared->write_span), number);
    EQUAL(fault.calls[IO_RENAME], 0);
    HOLDS(fault.calls[IO_DIR_SYNC] > 0); /* he may not have come to this */
    end();
}

static void a_roll_writes_over_no_file_of_that_name(void **state)
{
    begin(state, LQ_SYNC_NEVER);
    begin_a_roll();
    char name[4200];
    snprintf(name, sizeof name, "%s/log/%020llu.seg", path, (unsigned long long)shared->spans[atomic_load(&shared->append_span) & 1].first_id);
    api_file_write(name, "somebody else's", 15);
    HOLDS(lqi_write_out(&queue->log) < 0);
    HOLDS(atomic_load(&shared->write_span) != atomic_load(&shared->append_span));
    struct api_bytes there = api_file_read(name);
    EQUAL(there.size, 15);
    HOLDS(memcmp(there.bytes, "somebody else's", 15) == 0);
    free(there.bytes);
    HOLDS(unlink(name) == 0);
    OK(lqi_write_out(&queue->log));
    end();
}

/* Whether the name is on the disk nobody knows then, and nobody will be told again. */
static void a_directory_that_could_not_be_synced_poisons(void **state)
{
    begin(state, LQ_SYNC_NEVER);
    begin_a_roll();
    io_fault_plan(&fault, IO_DIR_SYNC, 1, false, EIO);
    IS(LQ_EPOISONED, lqi_write_out(&queue->log));
    TEXT_HAS("log/", "poisoned now");
    HOLDS(lqi_poisoned(&queue->log));
    HOLDS(atomic_load(&shared->write_span) != atomic_load(&shared->append_span));
    IS(LQ_EPOISONED, lq_put(queue, "x", 1, NULL));
    IS(LQ_EPOISONED, lq_close(queue));
    OK(lq_open(path, NULL, &queue));
    shared = queue->log.state;
    api_read_range(queue, 1, last, SIZE);
    end();
}

static bool is_new(const char *name)
{
    size_t size = strlen(name);
    return size > 4 && strcmp(name + size - 4, ".new") == 0;
}

static unsigned prepared_files(void)
{
    char log[4200];
    snprintf(log, sizeof log, "%s/log", path);
    DIR *listing = opendir(log);
    unsigned count = 0;
    HOLDS(listing != NULL);
    for (struct dirent *entry; (entry = readdir(listing)) != NULL;) count += is_new(entry->d_name);
    closedir(listing);
    return count;
}

static void who_closes_last_leaves_files_of_what_is_in_them(void **state)
{
    begin(state, LQ_SYNC_NEVER);
    for (int again = 0; again < 3; again++) {
        begin_a_roll();
        OK(lqi_write_out(&queue->log));
        EQUAL(prepared_files(), 0);
        put(40); /* more than half of a segment: the next one is prepared */
        OK(lqi_write_out(&queue->log));
        EQUAL(prepared_files(), 1);
        OK(lqi_give_back_space(&queue->log));
        EQUAL(prepared_files(), 0);
        EQUAL(atomic_load(&shared->prepared), 0);
        struct lqi_tail tail;
        OK(lqi_log_tail(&queue->log, &tail));
        const struct lqi_span *span = &shared->spans[tail.span & 1];
        size_t count = 0;
        while (api_segment(path, count)) count++;
        EQUAL(size_of(api_segment(path, count - 1)), LQI_SEGMENT_HEADER + (tail.end - span->position));
        EQUAL(atomic_load(&span->allocated), 0);
        /* Who comes nevertheless asks for disk space first. */
        put(1);
        EQUAL(size_of(api_segment(path, count - 1)), lqi_segment_file_size(&queue->log.options, lqi_segment_capacity(&queue->log.options)));
    }
    end();
}

/* Each step in the order that writeout.c tells, in letters. */
static char steps[64];

static int step(char what)
{
    size_t count = strlen(steps);
    HOLDS(count + 1 < sizeof steps);
    steps[count] = what;
    steps[count + 1] = 0;
    return 0;
}

static int step_write(const struct lqi_io *io, int fd, uint64_t offset, const void *data, size_t size)
{
    (void)io;
    step('w');
    return lqi_io_posix.write(&lqi_io_posix, fd, offset, data, size);
}

static int step_truncate(const struct lqi_io *io, int fd, uint64_t size)
{
    (void)io;
    step('t');
    return lqi_io_posix.truncate(&lqi_io_posix, fd, size);
}

static int step_sync(const struct lqi_io *io, int fd)
{
    (void)io, (void)fd;
    return step('s');
}

static int step_rename(const struct lqi_io *io, int dir, const char *from, const char *to, bool replace)
{
    (void)io;
    step('r');
    return lqi_io_posix.rename(&lqi_io_posix, dir, from, to, replace);
}

static int step_dir_sync(const struct lqi_io *io, int dir)
{
    (void)io, (void)dir;
    return step('d');
}

static void a_roll_takes_its_steps_one_behind_the_other(void **state)
{
    begin(state, LQ_SYNC_NEVER);
    begin_a_roll();
    struct lqi_io io = fault.io;
    fault.io.write = step_write;
    fault.io.truncate = step_truncate;
    fault.io.sync = step_sync;
    fault.io.rename = step_rename;
    fault.io.dir_sync = step_dir_sync;
    steps[0] = 0;
    OK(lqi_write_out(&queue->log));
    /* The last records, index and trailer, the end cut, all of it synced; the header, synced, its name, the directory; the first records. */
    HOLDS(strcmp(steps, "wwtswsrdw") == 0);
    fault.io = io;
    end();
}

/* What could not be prepared gives back what it had got. */
static void a_file_is_prepared_once_or_not_at_all(void **state)
{
    begin(state, LQ_SYNC_NEVER);
    put(1);
    OK(lqi_write_out(&queue->log));
    uint64_t next = atomic_load(&shared->write_span) + 1;
    fault.short_allocates = true;
    io_fault_plan(&fault, IO_ALLOCATE, 1, false, ENOSPC);
    IS(LQ_ENOSPC, lqi_prepare(&queue->log, next));
    TEXT_HAS("log/", ".new");
    EQUAL(prepared_files(), 0);
    EQUAL(atomic_load(&shared->prepared), 0);
    io_fault_plan(&fault, IO_ALLOCATE, 0, false, 0);
    for (int i = 0; i < 3; i++) OK(lqi_prepare(&queue->log, next));
    EQUAL(fault.calls[IO_ALLOCATE], 1);
    OK(lqi_prepare(&queue->log, next + 1)); /* whose turn it is not */
    EQUAL(fault.calls[IO_ALLOCATE], 1);
    EQUAL(prepared_files(), 1);
    EQUAL(atomic_load(&shared->prepared), next);
    end();
}

static void a_segment_is_opened_once_by_who_writes_and_once_by_who_syncs(void **state)
{
    begin(state, LQ_SYNC_NEVER);
    put(1);
    OK(lq_sync(queue));
    put(1);
    OK(lq_sync(queue));
    io_fault_plan(&fault, IO_OPEN, 0, false, 0);
    for (int i = 0; i < 5; i++) {
        put(1);
        OK(lqi_write_out(&queue->log));
        put(1);
        OK(lq_sync(queue));
    }
    EQUAL(fault.calls[IO_OPEN], 0);
    end();
}

static size_t memory_in_use(void)
{
    return api_sanitized ? 0 : mallinfo2().uordblks;
}

static void a_segment_that_there_is_no_memory_to_seal_is_sealed_later(void **state)
{
    begin(state, LQ_SYNC_NEVER);
    begin_a_roll();
    call_fault_plan(CALL_ALLOCATE, 1, true, ENOMEM);
    IS(LQ_ENOMEM, lqi_write_out(&queue->log));
    call_fault_end();
    TEXT_HAS("index");
    HOLDS(!shared->spans[atomic_load(&shared->write_span) & 1].sealed);
    OK(lqi_write_out(&queue->log));
    begin_a_roll();
    size_t before = memory_in_use();
    OK(lqi_write_out(&queue->log));
    EQUAL(memory_in_use(), before);
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
        IN_DIRECTORY(a_lock_that_is_beyond_use_is_told),
        IN_DIRECTORY(a_message_that_could_not_be_made_durable_yet_is_called_so),
        IN_DIRECTORY(a_failed_sync_poisons_and_wakes_who_waits_for_it_and_for_room),
        IN_DIRECTORY(a_segment_is_sealed_once_though_the_next_one_cannot_be_made),
        IN_DIRECTORY(the_second_oldest_segment_is_known_from_its_beginning),
        IN_DIRECTORY(a_new_segment_has_all_of_its_size_and_no_descriptor_is_left),
        IN_DIRECTORY(a_segment_that_has_its_name_from_a_dead_process_is_taken_over),
        IN_DIRECTORY(a_roll_writes_over_no_file_of_that_name),
        IN_DIRECTORY(a_directory_that_could_not_be_synced_poisons),
        IN_DIRECTORY(who_closes_last_leaves_files_of_what_is_in_them),
        IN_DIRECTORY(a_roll_takes_its_steps_one_behind_the_other),
        IN_DIRECTORY(a_file_is_prepared_once_or_not_at_all),
        IN_DIRECTORY(a_segment_is_opened_once_by_who_writes_and_once_by_who_syncs),
        IN_DIRECTORY(a_segment_that_there_is_no_memory_to_seal_is_sealed_later),
        IN_DIRECTORY(only_what_is_in_doubt_is_written_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
