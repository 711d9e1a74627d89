/* The ends of segments: a roll step by step, what can go wrong in it, and what is left behind. The steps are told in writeout.c. */
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

#include "support/call_fault.h"
#include "support/child.h"
#include "support/short_log.h"
#include "writeout.h"

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
        io_fault_plan(&fault, IO_TRUNCATE, 1, false, EIO);
        IS(LQ_EIO, lqi_give_back_space(&queue->log));
        io_fault_end(&fault);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
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
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
