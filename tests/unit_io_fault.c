/* The table that fails by plan: does it fail what it was told to, and nothing else? */
#include "support/io_fault.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "support/scratch.h"

static struct io_fault fault;
static const struct lqi_io *const io = &fault.io;
static int dir, fd;

static int setup(void **state)
{
    if (scratch_make(state)) return -1;
    io_fault_init(&fault, &lqi_io_posix);
    dir = fd = -1;
    if (io->dir_open(io, -1, *state, &dir)) return -1;
    return io->open(io, dir, "a", LQI_OPEN_NEW, 0600, &fd);
}

static int teardown(void **state)
{
    io->close(io, fd);
    io->close(io, dir);
    io_fault_release(&fault);
    return scratch_remove(state);
}

static void contents_are(const char *text)
{
    char back[64] = "";
    size_t got = 0;
    assert_int_equal(lqi_io_posix.read(&lqi_io_posix, fd, 0, back, sizeof back, &got), 0);
    assert_int_equal(got, strlen(text));
    assert_memory_equal(back, text, got);
}

static void without_a_plan_every_call_goes_through_and_is_counted(void **state)
{
    (void)state;
    bool answer = true;
    void *map = NULL;
    uint8_t id[16], random[4];
    struct lqi_io_stat stat;
    char byte;
    size_t got;
    int inner = -1;

    io_fault_plan(&fault, IO_WRITE, 0, false, 0);
    assert_int_equal(io->dir_make(io, dir, "d", 0700), 0);
    assert_int_equal(io->dir_open(io, dir, "d", &inner), 0);
    io->close(io, inner);
    assert_int_equal(io->dir_sync(io, dir), 0);
    assert_int_equal(io->dir_shared(io, dir, &answer), 0);
    assert_int_equal(io->write(io, fd, 0, "x", 1), 0);
    assert_int_equal(io->read(io, fd, 0, &byte, 1, &got), 0);
    assert_int_equal(io->sync(io, fd), 0);
    assert_int_equal(io->truncate(io, fd, 4096), 0);
    assert_int_equal(io->stat(io, fd, &stat), 0);
    assert_int_equal(stat.size, 4096);
    assert_int_equal(io->own(io, fd, fd), 0);
    assert_int_equal(io->lock(io, fd, 1), 0);
    assert_int_equal(io->locked(io, fd, 1, 1, &answer), 0);
    assert_false(answer);
    assert_int_equal(io->unlock(io, fd, 1), 0);
    assert_int_equal(io->map(io, fd, 0, 4096, 0, true, &map), 0);
    io->unmap(io, map, 4096, 0);
    assert_int_equal(io->rename(io, dir, "a", "b", false), 0);
    assert_int_equal(io->swap(io, dir, "b", "d"), 0);
    assert_int_equal(io->unlink(io, dir, "d"), 0);
    assert_int_equal(io->boot_id(io, id), 0);
    assert_int_equal(io->random(io, random, 4), 0);
    assert_true(io->wall_us(io) > 0);
    assert_int_equal(fault.hits, 0);
    for (int kind = 0; kind < IO_KINDS; kind++) {
        bool used = kind != IO_OPEN && kind != IO_ALLOCATE && kind != IO_DIR_LIST;
        assert_int_equal(fault.calls[kind], used ? 1 : 0);
        assert_non_null(io_kind_names[kind]);
    }
}

static int never_called(void *context, const char *name)
{
    (void)context;
    (void)name;
    fail();
    return 0;
}

static void each_kind_of_call_can_fail_and_changes_nothing_then(void **state)
{
    (void)state;
    bool answer;
    void *map = NULL;
    uint8_t id[16];
    struct lqi_io_stat stat;
    char byte;
    size_t got = 9;
    int other = -1;

    for (int kind = 0; kind < IO_KINDS; kind++) {
        io_fault_plan(&fault, (enum io_kind)kind, 1, false, EIO);
        int errors[IO_KINDS] = {
            [IO_DIR_OPEN] = io->dir_open(io, dir, ".", &other),
            [IO_DIR_MAKE] = io->dir_make(io, dir, kind == IO_DIR_MAKE ? "d" : "a", 0700) == EIO ? EIO : 0,
            [IO_DIR_LIST] = kind == IO_DIR_LIST ? io->dir_list(io, dir, never_called, NULL) : 0,
            [IO_DIR_SYNC] = io->dir_sync(io, dir),
            [IO_DIR_SHARED] = io->dir_shared(io, dir, &answer),
            [IO_OPEN] = io->open(io, dir, "none", LQI_OPEN_READ, 0, &fd) == EIO ? EIO : 0,
            [IO_READ] = io->read(io, fd, 0, &byte, 1, &got),
            [IO_WRITE] = kind == IO_WRITE ? io->write(io, fd, 0, "xyz", 3) : 0,
            [IO_SYNC] = io->sync(io, fd),
            [IO_TRUNCATE] = kind == IO_TRUNCATE ? io->truncate(io, fd, 9) : 0,
            [IO_ALLOCATE] = kind == IO_ALLOCATE ? io->allocate(io, fd, 9) : 0,
            [IO_STAT] = io->stat(io, fd, &stat),
            [IO_OWN] = io->own(io, fd, fd),
            [IO_RENAME] = kind == IO_RENAME ? io->rename(io, dir, "a", "b", true) : 0,
            [IO_SWAP] = kind == IO_SWAP ? io->swap(io, dir, "a", "b") : 0,
            [IO_UNLINK] = kind == IO_UNLINK ? io->unlink(io, dir, "a") : 0,
            [IO_LOCK] = io->lock(io, fd, 1),
            [IO_UNLOCK] = io->unlock(io, fd, 1),
            [IO_LOCKED] = io->locked(io, fd, 1, 1, &answer),
            [IO_MAP] = kind == IO_MAP ? io->map(io, fd, 0, 1, 0, true, &map) : 0,
            [IO_BOOT_ID] = io->boot_id(io, id),
            [IO_RANDOM] = io->random(io, id, 1),
        };
        if (kind != IO_DIR_OPEN) io->close(io, other);
        other = -1;
        for (int i = 0; i < IO_KINDS; i++) assert_int_equal(errors[i], i == kind ? EIO : 0);
        assert_int_equal(fault.hits, 1);
        contents_are("");
    }
    assert_null(map);
}

static void the_nth_call_fails_once_or_from_then_on_until_the_end(void **state)
{
    (void)state;
    io_fault_plan(&fault, IO_WRITE, 3, false, ENOSPC);
    for (int i = 1; i <= 5; i++) assert_int_equal(io->write(io, fd, 0, "x", 1), i == 3 ? ENOSPC : 0);
    assert_int_equal(fault.hits, 1);
    io_fault_plan(&fault, IO_WRITE, 3, true, EIO);
    for (int i = 1; i <= 5; i++) assert_int_equal(io->write(io, fd, 0, "x", 1), i >= 3 ? EIO : 0);
    assert_int_equal(fault.hits, 3);
    io_fault_end(&fault);
    assert_int_equal(io->write(io, fd, 0, "x", 1), 0);
    assert_int_equal(fault.hits, 3);
    assert_int_equal(fault.calls[IO_WRITE], 6);
}

static void a_short_write_leaves_its_first_half(void **state)
{
    (void)state;
    fault.short_writes = fault.short_allocates = true;
    assert_int_equal(io->write(io, fd, 0, "........", 8), 0);
    io_fault_plan(&fault, IO_WRITE, 1, false, ENOSPC);
    assert_int_equal(io->write(io, fd, 2, "abcd", 4), ENOSPC);
    contents_are("..ab....");
    io_fault_plan(&fault, IO_ALLOCATE, 1, false, ENOSPC);
    assert_int_equal(io->allocate(io, fd, 18), ENOSPC);
    struct lqi_io_stat stat;
    assert_int_equal(io->stat(io, fd, &stat), 0);
    assert_int_equal(stat.size, 9);
}

static void a_failed_sync_drops_what_was_written_since_the_last_good_one(void **state)
{
    (void)state;
    int other = -1;
    fault.drop_unsynced = true;
    assert_int_equal(io->open(io, dir, "a", LQI_OPEN_WRITE, 0600, &other), 0);
    assert_int_equal(io->write(io, fd, 0, "........", 8), 0);
    assert_int_equal(io->sync(io, fd), 0);
    assert_int_equal(io->write(io, other, 2, "abc", 3), 0);
    assert_int_equal(io->write(io, fd, 3, "XYZ", 3), 0);
    assert_int_equal(io->write(io, fd, 7, "1234", 4), 0);
    contents_are("..aXYZ.1234");
    assert_int_equal(io->truncate(io, fd, 10), 0);
    io_fault_plan(&fault, IO_SYNC, 1, false, EIO);
    assert_int_equal(io->sync(io, fd), EIO);
    char back[16];
    size_t got;
    assert_int_equal(io->read(io, fd, 0, back, 16, &got), 0);
    assert_int_equal(got, 10);
    assert_memory_equal(back, "........\0\0", 10);
    assert_int_equal(io->sync(io, fd), 0);
    assert_null(fault.undo);
    io->close(io, other);
}

int main(void)
{
#define PREPARED(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
    const struct CMUnitTest tests[] = {
        PREPARED(without_a_plan_every_call_goes_through_and_is_counted),
        PREPARED(each_kind_of_call_can_fail_and_changes_nothing_then),
        PREPARED(the_nth_call_fails_once_or_from_then_on_until_the_end),
        PREPARED(a_short_write_leaves_its_first_half),
        PREPARED(a_failed_sync_drops_what_was_written_since_the_last_good_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
