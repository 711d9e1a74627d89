/* The kernel may be interrupted at any call, and may read and write less than it was asked to. On a quiet machine and
 * good file systems it hardly ever is and does; so these calls are ours here: every second time a
 * signal "came", and 7 bytes are the most that go at once. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

#include "io.h"
#include "support/scratch.h"

static const struct lqi_io *const io = &lqi_io_posix;

static bool interrupting, partly;
static unsigned interrupted;

static bool interrupt(void)
{
    static bool now;
    now = interrupting && !now;
    if (!now) return false;
    interrupted++;
    errno = EINTR;
    return true;
}

static size_t part_of(size_t size)
{
    return partly && size > 7 ? 7 : size;
}

/* ---- the kernel -------------------------------------------------------------------- */

ssize_t pread(int fd, void *data, size_t size, off_t offset)
{
    return interrupt() ? -1 : (ssize_t)syscall(SYS_pread64, fd, data, part_of(size), offset);
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t offset)
{
    return interrupt() ? -1 : (ssize_t)syscall(SYS_pwrite64, fd, data, part_of(size), offset);
}

int openat(int dir, const char *name, int flags, ...)
{
    va_list arguments;
    va_start(arguments, flags);
    unsigned mode = va_arg(arguments, unsigned);
    va_end(arguments);
    return interrupt() ? -1 : (int)syscall(SYS_openat, dir, name, flags, mode);
}

int mkdirat(int dir, const char *name, mode_t mode)
{
    return interrupt() ? -1 : (int)syscall(SYS_mkdirat, dir, name, mode);
}

int unlinkat(int dir, const char *name, int flags)
{
    return interrupt() ? -1 : (int)syscall(SYS_unlinkat, dir, name, flags);
}

int renameat(int from_dir, const char *from, int to_dir, const char *to)
{
    return interrupt() ? -1 : (int)syscall(SYS_renameat2, from_dir, from, to_dir, to, 0);
}

int fdatasync(int fd)
{
    return interrupt() ? -1 : (int)syscall(SYS_fdatasync, fd);
}

int fsync(int fd)
{
    return interrupt() ? -1 : (int)syscall(SYS_fsync, fd);
}

int ftruncate(int fd, off_t size)
{
    return interrupt() ? -1 : (int)syscall(SYS_ftruncate, fd, size);
}

int fallocate(int fd, int mode, off_t offset, off_t size)
{
    return interrupt() ? -1 : (int)syscall(SYS_fallocate, fd, mode, offset, size);
}

/* ---- what comes of it -------------------------------------------------------------- */

static int dir = -1;

static int set_up(void **state)
{
    interrupting = partly = false;
    return scratch_make(state) || io->dir_open(io, -1, *state, &dir);
}

static int tear_down(void **state)
{
    interrupting = partly = false;
    io->close(io, dir);
    return scratch_remove(state);
}

static void fill(uint8_t *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++) bytes[i] = (uint8_t)(i * 7 + i / 256);
}

static void what_is_written_in_parts_is_written_whole(void **unused)
{
    uint8_t ours[1000], theirs[1000];
    size_t got;
    int fd;
    (void)unused;
    fill(ours, sizeof ours);
    assert_int_equal(io->open(io, dir, "a", LQI_OPEN_NEW, 0600, &fd), 0);
    partly = true;
    assert_int_equal(io->write(io, fd, 3, ours, sizeof ours), 0);
    partly = false;
    assert_int_equal(io->read(io, fd, 3, theirs, sizeof theirs, &got), 0);
    assert_int_equal(got, sizeof theirs);
    assert_memory_equal(ours, theirs, sizeof ours);
    io->close(io, fd);
}

static void a_short_read_is_not_the_end_of_the_file(void **unused)
{
    uint8_t ours[1000], theirs[1200];
    size_t got;
    int fd;
    (void)unused;
    fill(ours, sizeof ours);
    assert_int_equal(io->open(io, dir, "a", LQI_OPEN_NEW, 0600, &fd), 0);
    assert_int_equal(io->write(io, fd, 0, ours, sizeof ours), 0);
    partly = true;
    assert_int_equal(io->read(io, fd, 0, theirs, sizeof theirs, &got), 0);
    assert_int_equal(got, sizeof ours);
    assert_memory_equal(ours, theirs, sizeof ours);
    assert_int_equal(io->read(io, fd, 1000, theirs, 10, &got), 0);
    assert_int_equal(got, 0);
    io->close(io, fd);
}

/* A call, and it was interrupted on the way. */
#define INTERRUPTED(call)                   \
    do {                                    \
        unsigned before = interrupted;      \
        assert_int_equal(call, 0);          \
        assert_true(interrupted > before);  \
    } while (0)

static void no_call_fails_because_of_a_signal(void **unused)
{
    uint8_t ours[100], theirs[100];
    size_t got;
    int fd, sub;
    (void)unused;
    fill(ours, sizeof ours);
    interrupting = partly = true;
    INTERRUPTED(io->dir_make(io, dir, "sub", 0700));
    INTERRUPTED(io->dir_open(io, dir, "sub", &sub));
    INTERRUPTED(io->dir_sync(io, sub));
    INTERRUPTED(io->open(io, dir, "a", LQI_OPEN_NEW, 0600, &fd));
    INTERRUPTED(io->allocate(io, fd, 5000));
    INTERRUPTED(io->write(io, fd, 0, ours, sizeof ours));
    INTERRUPTED(io->sync(io, fd));
    INTERRUPTED(io->read(io, fd, 0, theirs, sizeof theirs, &got));
    assert_int_equal(got, sizeof theirs);
    assert_memory_equal(ours, theirs, sizeof ours);
    INTERRUPTED(io->truncate(io, fd, 50));
    INTERRUPTED(io->rename(io, dir, "a", "b", true));
    INTERRUPTED(io->unlink(io, dir, "b"));
    io->close(io, fd);
    io->close(io, sub);
}

int main(void)
{
#define PREPARED(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        PREPARED(what_is_written_in_parts_is_written_whole),
        PREPARED(a_short_read_is_not_the_end_of_the_file),
        PREPARED(no_call_fails_because_of_a_signal),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
