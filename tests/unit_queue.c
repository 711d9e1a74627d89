/* Opening and closing where others have been before: strangers, links, makers who are at it, memory that was written over. */
#include <errno.h>
#include <fcntl.h>
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
#include "support/child.h"
#include "support/damage.h"
#include "support/io_fault.h"

static struct io_fault fault;
static char path[4096];

static const char *in_queue(const char *name)
{
    static char file[4200];
    snprintf(file, sizeof file, "%s/%s", path, name);
    return file;
}

static int set_up(void **state)
{
    if (api_setup(state)) return -1;
    io_fault_init(&fault, &lqi_io_posix);
    snprintf(path, sizeof path, "%s", api_path(*state, "q"));
    return 0;
}

static int tear_down(void **state)
{
    io_fault_release(&fault);
    return api_teardown(state);
}

static lq_queue *open_it(uint32_t flags)
{
    lq_options options = {.size = sizeof options, .flags = flags};
    lq_queue *queue;
    OK(lqi_open_io(&fault.io, path, &options, &queue));
    return queue;
}

static int try_open(uint32_t flags)
{
    lq_options options = {.size = sizeof options, .flags = flags};
    lq_queue *queue;
    int err = lqi_open_io(&fault.io, path, &options, &queue);
    if (!err) OK(lq_close(queue));
    return err;
}

static void make_it(uint64_t count)
{
    lq_queue *queue = open_it(0);
    if (count) api_put_range(queue, 1, count, 100);
    OK(lq_close(queue));
}

static void break_meta(void)
{
    damage_fill(in_queue("meta"), 0, damage_size(in_queue("meta")), 7);
}

/* ---- making ------------------------------------------------------------------------ */

static void a_directory_with_nothing_but_parts_of_a_queue_becomes_one(void **state)
{
    (void)state;
    HOLDS(mkdir(path, 0700) == 0 && mkdir(in_queue("aside"), 0700) == 0 && mkdir(in_queue("log"), 0700) == 0);
    api_file_write(in_queue("shared"), "old", 3);
    api_file_write(in_queue("meta.0123.new"), "half", 4);
    make_it(3);
    OK(lq_verify(path, 0, NULL, NULL, NULL));
}

static void a_directory_with_anything_else_does_not(void **state)
{
    static const char *const strangers[] = {"letter", ".new", "meta2", "logs", "Shared"};
    for (size_t i = 0; i < sizeof strangers / sizeof *strangers; i++) {
        snprintf(path, sizeof path, "%s", api_path(*state, strangers[i]));
        HOLDS(mkdir(path, 0700) == 0);
        api_file_write(in_queue(strangers[i]), "dear", 4);
        IS(LQ_ENOTQUEUE, try_open(0));
        HOLDS(!api_file_exists(in_queue("meta")));
    }
}

/* What another process does just before we list the directory. */
static void (*meanwhile)(void);

static int list_after(const struct lqi_io *io, int dir, lqi_name_callback *each, void *context)
{
    (void)io;
    void (*now)(void) = meanwhile;
    meanwhile = NULL;
    if (now) now();
    return lqi_io_posix.dir_list(&lqi_io_posix, dir, each, context);
}

static void somebody_makes_it(void)
{
    lq_options options = {.size = sizeof options, .ring_size = 1 << 17};
    lq_queue *queue;
    OK(lq_open(path, &options, &queue));
    api_put(queue, "theirs");
    OK(lq_close(queue));
    api_file_write(in_queue("stranger"), "", 0); /* in a queue it is nobody's business */
}

static void whoever_is_faster_has_made_it_for_all(void **state)
{
    (void)state;
    fault.io.dir_list = list_after;
    meanwhile = somebody_makes_it;
    lq_queue *queue = open_it(0);
    EQUAL(api_stats(queue).last_id, 1);
    EQUAL(api_stats(queue).ring_size, 1 << 17);
    OK(lq_close(queue));
}

static void a_directory_that_cannot_be_listed_becomes_no_queue(void **state)
{
    (void)state;
    for (uint64_t nth = 1; nth <= 2; nth++) { /* log, then the directory itself */
        HOLDS(nth == 2 || (mkdir(path, 0700) == 0 && mkdir(in_queue("log"), 0700) == 0));
        io_fault_plan(&fault, IO_DIR_LIST, nth, false, EIO);
        IS(LQ_EIO, try_open(0));
        EQUAL(fault.hits, 1);
        HOLDS(!api_file_exists(in_queue("meta")));
    }
    io_fault_end(&fault);
    OK(try_open(0));
}

static void an_empty_directory_does_not_become_a_queue_that_cannot_be(void **state)
{
    lq_options options = {.size = sizeof options, .segment_size = 1};
    lq_queue *queue;
    (void)state;
    HOLDS(mkdir(path, 0700) == 0);
    IS(LQ_EINVAL, lqi_open_io(&fault.io, path, &options, &queue));
    HOLDS(!api_file_exists(in_queue("log")) && !api_file_exists(in_queue("meta")));
    OK(try_open(0));
}

/* ---- opening ----------------------------------------------------------------------- */

static void a_part_that_is_no_directory_is_missing(void **state)
{
    static const char *const parts[] = {"log", "consumers"};
    make_it(2);
    for (size_t i = 0; i < 2; i++) {
        const char *elsewhere = api_path(*state, parts[i]);
        HOLDS(rename(in_queue(parts[i]), elsewhere) == 0);
        IS(LQ_ECORRUPT, try_open(0));
        TEXT_HAS(parts[i], "missing");
        HOLDS(symlink(elsewhere, in_queue(parts[i])) == 0);
        IS(LQ_ECORRUPT, try_open(0));
        TEXT_HAS(parts[i], "no directory");
        damage_remove(in_queue(parts[i]));
        api_file_write(in_queue(parts[i]), "file", 4);
        IS(LQ_ECORRUPT, try_open(0));
        TEXT_HAS(parts[i], "no directory");
        damage_remove(in_queue(parts[i]));
        HOLDS(rename(elsewhere, in_queue(parts[i])) == 0);
        io_fault_plan(&fault, IO_DIR_OPEN, 2 + i, false, EMFILE);
        IS(LQ_ELIMIT, try_open(0));
        io_fault_plan(&fault, IO_DIR_OPEN, 2 + i, false, ELOOP); /* as other systems say it */
        IS(LQ_ECORRUPT, try_open(0));
        io_fault_end(&fault);
        OK(try_open(0));
    }
}

/* Who only looks does without positions; but not without being told that his descriptors are all in use. */
static void a_look_does_without_positions_and_without_nothing_else(void **state)
{
    make_it(2);
    io_fault_plan(&fault, IO_DIR_OPEN, 3, false, EMFILE);
    IS(LQ_ELIMIT, try_open(LQ_READ_ONLY));
    TEXT_HAS("open consumers");
    HOLDS(!strstr(lq_error_text(), "at byte"));
    io_fault_plan(&fault, IO_DIR_SHARED, 1, false, EIO);
    IS(LQ_EIO, try_open(LQ_READ_ONLY));
    TEXT_HAS("look at the file system of", path);
    IS(LQ_EIO, (io_fault_plan(&fault, IO_DIR_SHARED, 1, false, EIO), try_open(0)));
    io_fault_end(&fault);
    HOLDS(rename(in_queue("consumers"), api_path(*state, "elsewhere")) == 0);
    lq_queue *queue = open_it(LQ_READ_ONLY);
    api_read_range(queue, 1, 2, 100);
    OK(lq_close(queue));
}

static void a_directory_that_cannot_be_made_is_named(void **state)
{
    static const char *const names[] = {"q", "log", "consumers"};
    (void)state;
    for (uint64_t nth = 1; nth <= 3; nth++) {
        io_fault_plan(&fault, IO_DIR_MAKE, nth, false, ENOSPC);
        IS(LQ_ENOSPC, try_open(0));
        EQUAL(fault.hits, 1);
        TEXT_HAS("make directory", names[nth - 1]);
        HOLDS(!strstr(lq_error_text(), "at byte"));
        io_fault_end(&fault);
        (void)rmdir(in_queue("log")); /* as if there had been nothing */
        (void)rmdir(path);
    }
    OK(try_open(0));
}

/* Any of the segments will do. */
static void without_meta_a_segment_that_is_damaged_leaves_the_word_to_the_next(void **state)
{
    const lq_options small = {.size = sizeof small, .sync = LQ_SYNC_NEVER, .segment_size = 64 << 10, .ring_size = 64 << 10};
    lq_queue *queue;
    lq_reader *reader;
    lq_message message;
    char first[4200];
    (void)state;
    OK(lqi_open_io(&fault.io, path, &small, &queue));
    api_put_range(queue, 1, 900, 100);
    OK(lq_close(queue));
    damage_remove(in_queue("meta"));
    api_file_write(in_queue("meta"), "", 0);
    snprintf(first, sizeof first, "%s", api_segment(path, 0));
    damage_zero(first, 0, damage_size(first)); /* nothing in it says whose it is */
    queue = open_it(LQ_READ_ONLY);
    OK(lq_reader_open(queue, &reader));
    uint64_t last = 0;
    for (int err = LQ_ECORRUPT; err == LQ_OK || err == LQ_ECORRUPT;) {
        err = lq_reader_next(reader, &message);
        if (err == LQ_OK) last = message.id;
    }
    EQUAL(last, 900);
    lq_reader_close(reader);
    OK(lq_close(queue));
}

/* Readers do without meta, if there is a segment to say which queue it is. */
static void without_meta_it_is_read_by_what_the_segments_say(void **state)
{
    (void)state;
    make_it(2);
    api_file_flip(in_queue("meta"), 50, 1);
    api_file_flip(in_queue("meta"), 512 + 50, 1);
    IS(LQ_ECORRUPT, try_open(0));
    lq_queue *queue = open_it(LQ_READ_ONLY);
    lq_reader *reader;
    lq_message message;
    OK(lq_reader_open(queue, &reader));
    IS(LQ_ECORRUPT, lq_reader_next(reader, &message)); /* it is told first */
    for (uint64_t id = 1; id <= 2; id++) {
        OK(lq_reader_next(reader, &message));
        HOLDS(api_is_filled(&message, 100, id));
    }
    IS(LQ_EMPTY, lq_reader_next(reader, &message));
    lq_reader_close(reader);
    OK(lq_close(queue));

    io_fault_plan(&fault, IO_DIR_LIST, 1, false, EIO);
    IS(LQ_EIO, try_open(LQ_READ_ONLY));
    io_fault_end(&fault);
    damage_fill(in_queue("log/00000000000000000001.seg"), 0, 256, 3);
    IS(LQ_ECORRUPT, try_open(LQ_READ_ONLY));
    TEXT_HAS("meta");
    damage_remove(in_queue("log/00000000000000000001.seg"));
    IS(LQ_ECORRUPT, try_open(LQ_READ_ONLY));
    HOLDS(rmdir(in_queue("log")) == 0);
    IS(LQ_ECORRUPT, try_open(LQ_READ_ONLY));
    TEXT_HAS("log", "missing");
}

static void a_foreign_meta_is_damaged_only_beside_log_files(void **state)
{
    (void)state;
    make_it(1);
    break_meta();
    IS(LQ_ECORRUPT, try_open(0));
    io_fault_plan(&fault, IO_DIR_LIST, 1, false, EIO);
    IS(LQ_EIO, try_open(0));
    io_fault_end(&fault);
    damage_remove(in_queue("log/00000000000000000001.seg"));
    IS(LQ_ENOTQUEUE, try_open(0));
    HOLDS(rmdir(in_queue("log")) == 0);
    IS(LQ_ENOTQUEUE, try_open(0));
}

static void memory_that_was_written_over_takes_no_more_handles(void **state)
{
    (void)state;
    lq_queue *queue = open_it(0);
    uint64_t ring_size = queue->map.head->identity.ring_size;
    queue->map.head->identity.ring_size = 12345;
    IS(LQ_EBUSY, try_open(0));
    TEXT_HAS("shared", "overwritten", "close them first");
    queue->map.head->identity.ring_size = ring_size;
    OK(try_open(0));
    io_fault_plan(&fault, IO_MAP, 1, false, ENOMEM);
    IS(LQ_ENOMEM, try_open(0)); /* which is not to say anything about the memory */
    io_fault_end(&fault);
    OK(lq_close(queue));
}

/* Somebody who dies lets his files go one by one: `meta` first, `shared` a moment later. */
static int holds_a_byte_of_shared(void *context)
{
    const int *ready = context;
    int fd = open(in_queue("shared"), O_RDWR | O_CLOEXEC);
    CHECK(fd >= 0 && lqi_io_posix.lock(&lqi_io_posix, fd, LQI_BYTE_HANDLE + 1) == 0);
    CHECK(write(ready[1], "", 1) == 1);
    for (;;) pause();
}

static void the_place_of_a_handle_that_is_dying_can_be_taken(void **state)
{
    int ready[2];
    char byte;
    (void)state;
    lq_queue *first = open_it(0);
    HOLDS(pipe(ready) == 0);
    pid_t child = child_start(holds_a_byte_of_shared, ready);
    close(ready[1]); /* if the child dies, we do not wait */
    HOLDS(read(ready[0], &byte, 1) == 1);
    lq_queue *second = open_it(0);
    EQUAL(second->handle, 1);
    api_put(second, "fine");
    OK(lq_close(second));
    child_kill(child);
    for (uint64_t nth = 2; nth <= 4; nth++) { /* after the open lock: each of the two bytes, two of the first */
        io_fault_plan(&fault, IO_LOCK, nth, false, ENOLCK);
        IS(LQ_EIO, try_open(0));
        EQUAL(fault.hits, 1);
        TEXT_HAS("lock", nth < 4 ? "meta" : "shared");
        HOLDS(!strstr(lq_error_text(), "at byte"));
    }
    io_fault_end(&fault);
    OK(lq_close(first));
    close(ready[0]);
}

/* ---- closing ----------------------------------------------------------------------- */

/* It is in `meta` how far the log went. When nothing new is to be remembered, and meta cannot be looked at, nothing is written. */
static void a_meta_that_cannot_be_read_is_not_written_for_nothing(void **state)
{
    (void)state;
    make_it(3);
    struct api_bytes before = api_file_read(in_queue("meta"));
    for (uint64_t nth = 1; nth <= 3; nth++) {
        static const enum io_kind kinds[] = {IO_READ, IO_STAT};
        for (size_t i = 0; i < 2; i++) {
            lq_queue *queue = open_it(0);
            io_fault_plan(&fault, kinds[i], nth, false, EIO);
            int err = lq_close(queue);
            HOLDS(!err || err == LQ_EIO);
            io_fault_end(&fault);
        }
    }
    struct api_bytes after = api_file_read(in_queue("meta"));
    HOLDS(before.size == after.size && memcmp(before.bytes, after.bytes, before.size) == 0);
    free(before.bytes);
    free(after.bytes);
    lq_queue *queue = open_it(0);
    api_read_range(queue, 1, 3, 100);
    OK(lq_close(queue));
}

/* Both trim slots gone, and the memory that knows where the log begins written over: no lie takes their place. */
static void numbers_that_make_no_sense_do_not_become_the_beginning_of_the_log(void **state)
{
    static const struct {
        uint64_t first_id, position;
        bool kept;
    } numbers[] = {{0, 0, false}, {1, 4, false}, {1000, 0, false}, {1, 1 << 30, false}, {1, 0, true}};
    (void)state;
    make_it(3);
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        lq_queue *queue = open_it(0);
        api_put(queue, "more");
        damage_zero(in_queue("meta"), LQI_META_SIZE - 1024, 1024);
        struct lqi_log_state *shared = queue->log.state;
        atomic_store(&shared->first_id, numbers[i].first_id);
        atomic_store(&shared->first_position, numbers[i].position);
        OK(lq_close(queue));
        struct api_bytes meta = api_file_read(in_queue("meta"));
        struct lqi_trim trim;
        IS(numbers[i].kept ? LQ_OK : LQ_ECORRUPT, lqi_trim_decode(meta.bytes, meta.size, meta.bytes + 24, &trim));
        free(meta.bytes);
    }
    lq_queue *queue = open_it(0);
    EQUAL(api_stats(queue).first_id, 1);
    EQUAL(api_stats(queue).last_id, 3 + sizeof numbers / sizeof *numbers);
    OK(lq_close(queue));
}

static unsigned unmapped;

static void unmap_without_locks(const struct lqi_io *io, void *map, size_t size, size_t mirrored)
{
    bool live;
    (void)io;
    int fd = open(in_queue("meta"), O_RDWR | O_CLOEXEC);
    HOLDS(fd >= 0);
    EQUAL(lqi_io_posix.locked(&lqi_io_posix, fd, LQI_BYTE_HANDLE, LQI_HANDLES_MAX, &live), 0);
    HOLDS(!live);
    close(fd);
    unmapped++;
    lqi_io_posix.unmap(&lqi_io_posix, map, size, mirrored);
}

/* Who has not come to give its locks back gives up the files at once: a child of a fork in between would keep them. */
static void a_handle_that_no_fork_knows_of_any_more_holds_no_locks(void **state)
{
    (void)state;
    lq_queue *queue = open_it(0);
    api_put(queue, "stays");
    fault.io.unmap = unmap_without_locks;
    io_fault_plan(&fault, IO_LOCK, 1, false, ENOLCK);
    IS(LQ_EIO, lq_close(queue));
    EQUAL(fault.hits, 1);
    EQUAL(unmapped, 1);
    fault.io.unmap = lqi_io_posix.unmap;
    io_fault_end(&fault);
    queue = open_it(0);
    EQUAL(api_stats(queue).last_id, 1);
    OK(lq_close(queue));
}

/* ---- forks ------------------------------------------------------------------------- */

/* The process forks as its n-th file has been opened, and before anybody can have noted the descriptor. The child lives on. */
static struct {
    unsigned nth, opened;
    int begun[2], until[2];
} forks;

static int open_and_fork(const struct lqi_io *io, int dir, const char *name, int flags, uint32_t mode, int *fd_out)
{
    char byte;
    int fd;
    (void)io;
    int error = lqi_io_posix.open(&lqi_io_posix, dir, name, flags, mode, &fd);
    if (error) return error;
    pid_t child = ++forks.opened == forks.nth ? fork() : 1;
    CHECK(child >= 0);
    *fd_out = fd;
    if (child > 0) { /* until the child has run, it has what its parent had */
        if (forks.opened == forks.nth) CHECK(read(forks.begun[0], &byte, 1) == 1);
        return 0;
    }
    CHECK(write(forks.begun[1], "b", 1) == 1);
    close(forks.until[1]);
    _exit(read(forks.until[0], &byte, 1) != 0);
}

static int open_put_and_die(void *context)
{
    (void)context;
    fault.io.open = open_and_fork;
    lq_queue *queue = open_it(0);
    fault.io.open = lqi_io_posix.open;
    api_put(queue, "more");
    return forks.opened >= forks.nth ? 0 : 1; /* without closing */
}

static void a_child_forked_in_the_middle_of_opening_keeps_none_of_its_parents_locks(void **state)
{
    int result = 0;
    (void)state;
    make_it(0);
    HOLDS(pipe(forks.begun) == 0 && pipe(forks.until) == 0);
    for (forks.nth = 1; result == 0; forks.nth++) {
        result = child_run(open_put_and_die, NULL);
        HOLDS(result <= 1);
        lq_queue *queue = open_it(0); /* nobody else lives: what the dead had in memory is saved */
        EQUAL(api_stats(queue).handles, 1);
        EQUAL(api_stats(queue).last_id, forks.nth);
        OK(lq_close(queue));
    }
    HOLDS(forks.nth > 5);
    for (int i = 0; i < 2; i++) {
        close(forks.begun[i]);
        close(forks.until[i]);
    }
}

int main(void)
{
#define WITH_FAULTS(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        WITH_FAULTS(a_directory_with_nothing_but_parts_of_a_queue_becomes_one),
        WITH_FAULTS(a_directory_with_anything_else_does_not),
        WITH_FAULTS(whoever_is_faster_has_made_it_for_all),
        WITH_FAULTS(a_directory_that_cannot_be_listed_becomes_no_queue),
        WITH_FAULTS(an_empty_directory_does_not_become_a_queue_that_cannot_be),
        WITH_FAULTS(a_part_that_is_no_directory_is_missing),
        WITH_FAULTS(a_look_does_without_positions_and_without_nothing_else),
        WITH_FAULTS(a_directory_that_cannot_be_made_is_named),
        WITH_FAULTS(without_meta_a_segment_that_is_damaged_leaves_the_word_to_the_next),
        WITH_FAULTS(without_meta_it_is_read_by_what_the_segments_say),
        WITH_FAULTS(a_foreign_meta_is_damaged_only_beside_log_files),
        WITH_FAULTS(memory_that_was_written_over_takes_no_more_handles),
        WITH_FAULTS(the_place_of_a_handle_that_is_dying_can_be_taken),
        WITH_FAULTS(a_meta_that_cannot_be_read_is_not_written_for_nothing),
        WITH_FAULTS(a_handle_that_no_fork_knows_of_any_more_holds_no_locks),
        WITH_FAULTS(numbers_that_make_no_sense_do_not_become_the_beginning_of_the_log),
        WITH_FAULTS(a_child_forked_in_the_middle_of_opening_keeps_none_of_its_parents_locks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
