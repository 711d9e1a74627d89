/* The real I/O table against the real kernel: what processes share, locks and maps. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

#include "support/real_io.h"

/* ---- locks ------------------------------------------------------------- */

static bool is_locked(int fd, uint64_t first, uint64_t count)
{
    bool by_others = false;
    assert_int_equal(io->locked(io, fd, first, count, &by_others), 0);
    return by_others;
}

static void a_lock_is_seen_by_all_but_its_owner_and_goes_with_the_open_file(void **state)
{
    int dir = open_dir(*state), ours = open_file(dir, "a", LQI_OPEN_NEW), theirs = open_file(dir, "a", LQI_OPEN_WRITE);
    int looking = open_file(dir, "a", LQI_OPEN_READ);
    uint64_t far = (uint64_t)1 << 40;

    assert_int_equal(io->lock(io, ours, far), 0);
    assert_int_equal(io->lock(io, ours, far), 0);
    assert_int_equal(io->lock(io, theirs, far), EAGAIN);
    assert_int_equal(io->lock(io, theirs, far + 1), 0);
    assert_false(is_locked(ours, far, 1));
    assert_true(is_locked(ours, far, 2));
    assert_true(is_locked(theirs, far - 5, 100));
    assert_true(is_locked(looking, far, 1));
    assert_false(is_locked(looking, far, 0));
    assert_false(is_locked(looking, 0, far));

    io->close(io, open_file(dir, "a", LQI_OPEN_WRITE)); /* would drop a lock of the old kind */
    assert_true(is_locked(looking, far, 1));
    for (uint64_t byte = far - 2; byte < far; byte++) assert_int_equal(io->lock(io, ours, byte), 0);
    assert_int_equal(io->unlock(io, ours, far - 1), 0);
    assert_true(is_locked(looking, far - 2, 1)); /* each for itself */
    assert_false(is_locked(looking, far - 1, 1));
    assert_true(is_locked(looking, far, 1));
    assert_int_equal(io->unlock(io, ours, far - 2), 0);
    assert_int_equal(io->unlock(io, ours, far), 0);
    assert_int_equal(io->unlock(io, ours, far), 0);
    assert_false(is_locked(looking, far - 2, 3));
    assert_true(is_locked(looking, far, 2));
    io->close(io, theirs);
    assert_false(is_locked(looking, 0, far + 10));
    io->close(io, looking);
    io->close(io, ours);
    io->close(io, dir);
}

struct lock_holder {
    const char *path;
    int tell[2]; /* a byte from the child: locked */
    int go[2];   /* end of file for the grandchild: close */
};

static int hold_a_lock(void *context)
{
    struct lock_holder *holder = context;
    int dir = -1, fd = -1;
    CHECK(io->dir_open(io, -1, holder->path, &dir) == 0);
    CHECK(io->open(io, dir, "a", LQI_OPEN_WRITE, 0, &fd) == 0);
    CHECK(io->lock(io, fd, 7) == 0);
    CHECK(write(holder->tell[1], "x", 1) == 1);
    pause();
    return 1;
}

static void a_lock_goes_with_its_process(void **state)
{
    struct lock_holder holder = {.path = *state};
    int dir = open_dir(*state), fd = open_file(dir, "a", LQI_OPEN_NEW);
    char byte;

    assert_int_equal(pipe(holder.tell), 0);
    pid_t child = child_start(hold_a_lock, &holder);
    assert_int_equal(read(holder.tell[0], &byte, 1), 1);
    assert_true(is_locked(fd, 7, 1));
    assert_int_equal(kill(child, SIGSTOP), 0);
    assert_int_equal(io->lock(io, fd, 7), EAGAIN);
    child_kill(child);
    assert_false(is_locked(fd, 0, 100));
    assert_int_equal(io->lock(io, fd, 7), 0);
    close(holder.tell[0]);
    close(holder.tell[1]);
    io->close(io, fd);
    io->close(io, dir);
}

/* Locks, forks, and dies; the grandchild holds the inherited descriptor until `go` ends. */
static int hold_a_lock_and_fork(void *context)
{
    struct lock_holder *holder = context;
    int dir = -1, fd = -1;
    char byte;

    CHECK(io->dir_open(io, -1, holder->path, &dir) == 0);
    CHECK(io->open(io, dir, "a", LQI_OPEN_WRITE, 0, &fd) == 0);
    CHECK(io->lock(io, fd, 7) == 0);
    if (fork() == 0) {
        alarm(60);
        close(holder->go[1]);
        if (read(holder->go[0], &byte, 1) != 0) _exit(1);
        io->close(io, fd);
        if (write(holder->tell[1], "x", 1) != 1) _exit(1);
        _exit(0);
    }
    raise(SIGKILL);
    return 1;
}

static void a_lock_inherited_through_a_fork_goes_when_the_parent_is_dead_and_the_child_has_closed(void **state)
{
    struct lock_holder holder = {.path = *state};
    int dir = open_dir(*state), fd = open_file(dir, "a", LQI_OPEN_NEW);
    char byte;

    assert_int_equal(pipe(holder.tell), 0);
    assert_int_equal(pipe(holder.go), 0);
    assert_int_equal(child_run(hold_a_lock_and_fork, &holder), 100 + SIGKILL);
    assert_true(is_locked(fd, 7, 1)); /* this is the price, see the top of io_posix_memory.c */
    close(holder.go[1]);
    assert_int_equal(read(holder.tell[0], &byte, 1), 1);
    assert_false(is_locked(fd, 7, 1));
    close(holder.go[0]);
    close(holder.tell[0]);
    close(holder.tell[1]);
    io->close(io, fd);
    io->close(io, dir);
}

/* ---- maps -------------------------------------------------------------- */

static void two_maps_of_a_file_are_the_same_memory(void **state)
{
    int dir = open_dir(*state), fd = open_file(dir, "a", LQI_OPEN_NEW), looking = open_file(dir, "a", LQI_OPEN_READ);
    void *one = NULL, *two = NULL;
    char back[4];
    size_t got;

    assert_int_equal(io->allocate(io, fd, 65536), 0);
    assert_int_equal(io->map(io, fd, 0, 65536, 0, true, &one), 0);
    assert_int_equal(io->map(io, looking, 4096, 100, 0, false, &two), 0);
    memcpy((char *)one + 4096, "abcd", 4);
    assert_memory_equal(two, "abcd", 4);
    assert_int_equal(io->read(io, fd, 4096, back, 4, &got), 0);
    assert_memory_equal(back, "abcd", 4);
    io->unmap(io, two, 100, 0);
    assert_int_equal(io->map(io, looking, 4096, 1, 0, false, &two), 0);
    assert_memory_equal(two, "a", 1);
    io->unmap(io, two, 1, 0);
    io->unmap(io, one, 65536, 0);
    io->unmap(io, NULL, 100, 0);
    io->close(io, looking);
    io->close(io, fd);
    io->close(io, dir);
}

static void a_mirrored_map_has_no_seam(void **state)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE), head = 3 * page, ring = 4 * page;
    int dir = open_dir(*state), fd = open_file(dir, "a", LQI_OPEN_NEW);
    void *map = NULL;
    unsigned char in_memory;

    assert_int_equal(io->allocate(io, fd, 2 * page + head + ring), 0);
    assert_int_equal(io->map(io, fd, 2 * page, head + ring, ring, true, &map), 0);
    uint8_t *bytes = (uint8_t *)map + head;

    memcpy(bytes + ring - 6, "over the seam", 13);
    assert_memory_equal(bytes, "he seam", 7);
    assert_memory_equal(bytes + ring, "he seam", 7);
    bytes[2 * ring - 1] = 'Z';
    assert_int_equal(bytes[ring - 1], 'Z');
    for (size_t i = 0; i < ring; i++) {
        bytes[i] = (uint8_t)(i * 7);
        assert_int_equal(bytes[ring + i], (uint8_t)(i * 7));
    }
    memset(map, 9, head); /* what is before the ring is there once */
    assert_int_equal(bytes[0], 0);

    io->unmap(io, map, head + ring, ring);
    assert_int_equal(mincore(map, page, &in_memory), -1);
    assert_int_equal(mincore((uint8_t *)map + head + ring, page, &in_memory), -1);
    io->close(io, fd);
    io->close(io, dir);
}

static void nothing_is_mapped_that_the_file_does_not_have(void **state)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    int dir = open_dir(*state), fd = open_file(dir, "a", LQI_OPEN_NEW), looking;
    void *map = NULL;

    assert_int_equal(io->truncate(io, fd, 4 * page), 0);
    assert_int_equal(io->map(io, fd, 0, 4 * page + 1, 0, true, &map), EINVAL);
    assert_int_equal(io->map(io, fd, 2 * page, 3 * page, 0, false, &map), EINVAL);
    assert_int_equal(io->map(io, fd, 8 * page, page, 0, false, &map), EINVAL);
    assert_int_equal(io->map(io, fd, 0, 0, 0, false, &map), EINVAL);
    assert_int_equal(io->map(io, fd, 1, page, 0, false, &map), EINVAL);
    assert_int_equal(io->map(io, fd, 0, page, 2 * page, false, &map), EINVAL);
    assert_int_equal(io->map(io, fd, 2 * page, page, 2 * page, false, &map), EINVAL);
    assert_int_equal(io->map(io, fd, 0, 2 * page, page + 8, false, &map), EINVAL);
    assert_int_equal(io->map(io, fd, 0, page + 8, page, false, &map), EINVAL);
    assert_int_equal(io->map(io, fd, 0, 2 * page, 8, false, &map), EINVAL);
    assert_int_equal(io->map(io, fd, 0, 2 * page, 1, false, &map), EINVAL);
    assert_int_equal(io->map(io, fd, 0, SIZE_MAX & ~(page - 1), 0, false, &map), EINVAL);
    looking = open_file(dir, "a", LQI_OPEN_READ);
    assert_int_equal(io->map(io, looking, 0, page, 0, true, &map), EACCES);
    assert_null(map);
    io->close(io, looking);
    io->close(io, fd);
    io->close(io, dir);
}

static int map_on_an_old_kernel(void *path)
{
    int dir = -1, fd = -1;
    void *map = NULL;
    CHECK(io->dir_open(io, -1, path, &dir) == 0);
    CHECK(io->open(io, dir, "a", LQI_OPEN_NEW, 0600, &fd) == 0);
    CHECK(io->allocate(io, fd, 65536) == 0);
    if (!child_refuse(SYS_madvise, EINVAL)) return CHILD_SKIP;
    CHECK(io->map(io, fd, 0, 65536, 65536, true, &map) == 0);
    memset(map, 1, 131072);
    return 0;
}

static void a_kernel_that_cannot_populate_maps_all_the_same(void **state)
{
    settle(child_run(map_on_an_old_kernel, *state));
}

int main(void)
{
#define IN_SCRATCH(test) cmocka_unit_test_setup_teardown(test, scratch_make, scratch_remove)
    const struct CMUnitTest tests[] = {
        IN_SCRATCH(a_lock_is_seen_by_all_but_its_owner_and_goes_with_the_open_file),
        IN_SCRATCH(a_lock_goes_with_its_process),
        IN_SCRATCH(a_lock_inherited_through_a_fork_goes_when_the_parent_is_dead_and_the_child_has_closed),
        IN_SCRATCH(two_maps_of_a_file_are_the_same_memory),
        IN_SCRATCH(a_mirrored_map_has_no_seam),
        IN_SCRATCH(nothing_is_mapped_that_the_file_does_not_have),
        IN_SCRATCH(a_kernel_that_cannot_populate_maps_all_the_same),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
