/* The real I/O table against the real kernel: what io.h promises of calls on files and names. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "support/real_io.h"

static uint64_t size_of(int fd)
{
    struct lqi_io_stat stat;
    assert_int_equal(io->stat(io, fd, &stat), 0);
    return stat.size;
}

/* ---- files ------------------------------------------------------------- */

static void what_is_written_is_read_back_as_far_as_the_file_goes(void **state)
{
    int dir = open_dir(*state), fd = open_file(dir, "a", LQI_OPEN_NEW);
    char back[16] = "................";
    size_t got = 99;

    assert_int_equal(io->write(io, fd, 3, "hello", 5), 0);
    assert_int_equal(io->read(io, fd, 0, back, sizeof back, &got), 0);
    assert_int_equal(got, 8);
    assert_memory_equal(back, "\0\0\0hello........", 16);
    assert_int_equal(io->read(io, fd, 8, back, sizeof back, &got), 0);
    assert_int_equal(got, 0);
    static const uint64_t far[] = {INT64_MAX - sizeof back, INT64_MAX - 1, INT64_MAX, (uint64_t)INT64_MAX + 1, UINT64_MAX};
    for (size_t i = 0; i < sizeof far / sizeof *far; i++) {
        assert_int_equal(io->read(io, fd, far[i], back, sizeof back, &got), 0);
        assert_int_equal(got, 0);
    }
    assert_int_equal(io->sync(io, fd), 0);
    io->close(io, fd);

    fd = open_file(dir, "a", LQI_OPEN_READ);
    assert_int_equal(io->write(io, fd, 0, "x", 1), EBADF);
    assert_int_equal(size_of(fd), 8);
    io->close(io, fd);
    io->close(io, dir);
    io->close(io, -1);
}

static void no_file_becomes_longer_than_a_file_can_be(void **state)
{
    int dir = open_dir(*state), fd = open_file(dir, "a", LQI_OPEN_NEW);
    struct rlimit before, none;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    none = (struct rlimit){before.rlim_max, before.rlim_max}; /* it is not for that limit alone */
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &none), 0);
    assert_int_equal(io->write(io, fd, INT64_MAX, "hello", 5), EFBIG);
    assert_int_equal(io->write(io, fd, (uint64_t)INT64_MAX + 1, "hello", 5), EFBIG);
    assert_int_equal(io->write(io, fd, UINT64_MAX - 1, "hello", 5), EFBIG);
    assert_int_equal(io->truncate(io, fd, UINT64_MAX), EFBIG);
    assert_int_equal(io->allocate(io, fd, (uint64_t)INT64_MAX + 1), EFBIG);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_int_equal(size_of(fd), 0);
    io->close(io, fd);
    io->close(io, dir);
}

static void a_new_file_must_not_be_there_yet_and_an_old_one_must(void **state)
{
    int dir = open_dir(*state), fd = -7;

    assert_int_equal(io->open(io, dir, "a", LQI_OPEN_WRITE, 0600, &fd), ENOENT);
    assert_int_equal(fd, -7);
    io->close(io, open_file(dir, "a", LQI_OPEN_NEW));
    assert_int_equal(io->open(io, dir, "a", LQI_OPEN_NEW, 0600, &fd), EEXIST);
    assert_int_equal(fd, -7);
    io->close(io, dir);
}

static void what_is_made_has_the_mode_that_was_asked_for_whatever_the_umask(void **state)
{
    mode_t before = umask(027);
    int dir = open_dir(*state), fd = -1;
    struct lqi_io_stat told;
    struct stat stat;

    assert_int_equal(io->open(io, dir, "a", LQI_OPEN_NEW, 0666, &fd), 0);
    assert_int_equal(fstat(fd, &stat), 0);
    assert_int_equal(stat.st_mode & 07777, 0666);
    assert_int_equal(io->stat(io, fd, &told), 0);
    assert_int_equal(told.mode, 0666);
    assert_int_equal(io->dir_make(io, dir, "d", 0777), 0);
    assert_int_equal(fstatat(dir, "d", &stat, 0), 0);
    assert_int_equal(stat.st_mode & 07777, 0777);
    umask(0777);
    assert_int_equal(io->dir_make(io, dir, "e", 0700), 0);
    assert_int_equal(fstatat(dir, "e", &stat, 0), 0);
    assert_int_equal(stat.st_mode & 07777, 0700);
    umask(before);
    io->close(io, fd);
    io->close(io, dir);
}

static void what_is_no_plain_file_with_one_name_is_refused_and_never_waited_for(void **state)
{
    int dir = open_dir(*state), fd = -7;
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    io->close(io, open_file(dir, "file", LQI_OPEN_NEW));
    io->close(io, open_file(dir, "first", LQI_OPEN_NEW));
    assert_int_equal(linkat(dir, "first", dir, "second", 0), 0);
    assert_int_equal(symlinkat("file", dir, "link"), 0);
    assert_int_equal(symlinkat("nowhere", dir, "dangling"), 0);
    assert_int_equal(mkdirat(dir, "directory", 0700), 0);
    assert_int_equal(mkfifoat(dir, "fifo", 0600), 0);
    assert_int_equal(fchdir(dir), 0);
    strcpy(address.sun_path, "socket");
    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(listener, (struct sockaddr *)&address, sizeof address), 0);

    static const struct {
        const char *name;
        int error;
    } cases[] = {{"first", EMLINK},    {"second", EMLINK}, {"link", ELOOP},  {"dangling", ELOOP},
                 {"directory", EISDIR}, {"fifo", ENXIO},   {"socket", ENXIO}};
    alarm(20);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(io->open(io, dir, cases[i].name, LQI_OPEN_READ, 0, &fd), cases[i].error);
        assert_int_equal(io->open(io, dir, cases[i].name, LQI_OPEN_WRITE, 0, &fd), cases[i].error);
        assert_int_equal(io->open(io, dir, cases[i].name, LQI_OPEN_NEW, 0600, &fd), EEXIST);
        assert_int_equal(fd, -7);
    }
    alarm(0);
    assert_int_equal(faccessat(dir, "nowhere", F_OK, 0), -1); /* nothing was made through the link */
    assert_int_equal(unlinkat(dir, "second", 0), 0);
    io->close(io, open_file(dir, "first", LQI_OPEN_WRITE));
    close(listener);
    io->close(io, dir);
}

static void a_directory_is_found_through_a_link_in_the_users_path_but_not_inside_a_queue(void **state)
{
    int dir = open_dir(*state), inner = -7;
    char path[5000];

    assert_int_equal(io->dir_make(io, dir, "d", 0700), 0);
    assert_int_equal(io->dir_make(io, dir, "d", 0700), EEXIST);
    assert_int_equal(symlinkat("d", dir, "link"), 0);
    snprintf(path, sizeof path, "%s/link", (const char *)*state);
    io->close(io, open_dir(path));
    assert_int_not_equal(io->dir_open(io, dir, "link", &inner), 0);
    assert_int_equal(io->dir_open(io, dir, "none", &inner), ENOENT);
    assert_int_equal(inner, -7);
    assert_int_equal(io->dir_open(io, dir, "d", &inner), 0);
    io->close(io, open_file(inner, "f", LQI_OPEN_NEW));
    assert_int_equal(io->dir_open(io, inner, "f", &inner), ENOTDIR);
    assert_int_equal(io->dir_sync(io, inner), 0);
    io->close(io, inner);
    io->close(io, dir);
}

static int open_without_the_standard_streams(void *path)
{
    int dir = -1, first = -1, second = -1;
    bool shared = false;

    close(0);
    close(1);
    /* 2 stays, for CHECK to speak; its turn comes below. */
    CHECK(io->dir_open(io, -1, path, &dir) == 0);
    CHECK(io->open(io, dir, "a", LQI_OPEN_NEW, 0600, &first) == 0);
    CHECK(dir > 2 && first > 2 && dir != first);
    CHECK(fcntl(dir, F_GETFD) == FD_CLOEXEC && fcntl(first, F_GETFD) == FD_CLOEXEC);
    CHECK(fcntl(0, F_GETFD) == -1 && fcntl(1, F_GETFD) == -1);

    struct rlimit limit = {3, 3}; /* no descriptor above 2 is to be had: an error, and nothing is left open */
    CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
    CHECK(io->open(io, dir, "a", LQI_OPEN_READ, 0, &second) == EMFILE && second == -1);
    CHECK(fcntl(0, F_GETFD) == -1 && fcntl(1, F_GETFD) == -1);
    CHECK(lqi_code_of_errno(EMFILE) == LQ_ELIMIT);

    CHECK(io->dir_shared(io, dir, &shared) == 0 && shared);
    close(2);
    limit.rlim_cur = 3;
    return io->open(io, dir, "a", LQI_OPEN_READ, 0, &second) == EMFILE && fcntl(2, F_GETFD) == -1 ? 0 : 1;
}

static void descriptors_stay_above_2_even_when_the_standard_streams_are_closed(void **state)
{
    settle(child_run(open_without_the_standard_streams, *state));
}

static int meet_the_file_size_limit(void *path)
{
    struct lqi_file file;
    int dir = -1;
    char bytes[8192] = {0};
    struct rlimit limit = {4096, RLIM_INFINITY};

    CHECK(io->dir_open(io, -1, path, &dir) == 0);
    CHECK(lqi_file_open(&file, io, dir, "a", "log/a", LQI_OPEN_NEW, 0600) == LQ_OK);
    CHECK(lqi_file_write(&file, 0, bytes, 8192) == LQ_OK);
    CHECK(setrlimit(RLIMIT_FSIZE, &limit) == 0); /* SIGXFSZ would end us */

    CHECK(lqi_file_write(&file, 0, bytes, 4096) == LQ_OK);
    CHECK(lqi_file_write(&file, 4096, bytes, 1) == LQ_ENOSPC);
    CHECK(lqi_file_write(&file, 4000, bytes, 97) == LQ_ENOSPC);
    CHECK(strcmp(lq_error_text(), "write log/a at byte 4000: File too large") == 0);
    CHECK(lqi_file_write(&file, UINT64_MAX, bytes, 8192) == LQ_ENOSPC);
    CHECK(lqi_file_write(&file, INT64_MAX, bytes, 1) == LQ_ENOSPC);
    CHECK(lqi_file_truncate(&file, 9000) == LQ_ENOSPC);
    CHECK(lqi_file_truncate(&file, 8192) == LQ_OK);
    CHECK(lqi_file_truncate(&file, 5000) == LQ_OK); /* smaller is always fine */
    CHECK(lqi_file_allocate(&file, 5001) == LQ_ENOSPC);
    CHECK(lqi_file_truncate(&file, 100) == LQ_OK);
    CHECK(lqi_file_allocate(&file, 4096) == LQ_OK);
    return 0;
}

static void the_file_size_limit_is_an_error_and_no_signal(void **state)
{
    settle(child_run(meet_the_file_size_limit, *state));
}

static int fill_a_small_disk(void *path)
{
    int dir = -1, fd = -1, other = -1;
    static char bytes[1 << 20];
    void *map = NULL;
    struct lqi_io_stat stat;

    if (!child_unshare_mounts() || mount("none", path, "tmpfs", 0, "size=1m") != 0) return CHILD_SKIP;
    CHECK(io->dir_open(io, -1, path, &dir) == 0);
    CHECK(io->open(io, dir, "a", LQI_OPEN_NEW, 0600, &fd) == 0);
    CHECK(io->open(io, dir, "b", LQI_OPEN_NEW, 0600, &other) == 0);
    CHECK(io->allocate(io, fd, 2 << 20) == ENOSPC);
    CHECK(io->stat(io, fd, &stat) == 0 && stat.size == 0);
    CHECK(io->write(io, fd, 0, bytes, 512 << 10) == 0);
    CHECK(io->write(io, fd, 512 << 10, bytes, sizeof bytes) == ENOSPC);
    CHECK(lqi_code_of_errno(ENOSPC) == LQ_ENOSPC);

    /* A hole that the disk has no room for: touching it would be SIGBUS. */
    CHECK(io->truncate(io, other, 1 << 20) == 0);
    int error = io->map(io, other, 0, 1 << 20, 0, true, &map);
    if (error == 0) return CHILD_SKIP; /* a kernel before 5.14 cannot say */
    CHECK(error == ENOSPC && map == NULL);
    CHECK(io->map(io, other, 0, 1 << 20, 1 << 20, true, &map) == ENOSPC && map == NULL);

    CHECK(io->truncate(io, fd, 4096) == 0);
    CHECK(io->map(io, other, 0, 512 << 10, 0, true, &map) == 0);
    memset(map, 1, 512 << 10);
    return 0;
}

static void a_full_disk_is_an_error_and_no_signal_for_maps_too(void **state)
{
    settle(child_run(fill_a_small_disk, *state));
}

static void allocating_grows_a_file_takes_the_space_and_never_shrinks_it(void **state)
{
    int dir = open_dir(*state), fd = open_file(dir, "a", LQI_OPEN_NEW);
    struct stat stat;
    char bytes[8] = "", zero[8] = "";
    size_t got;

    assert_int_equal(io->write(io, fd, 0, "abc", 3), 0);
    int error = io->allocate(io, fd, 100000);
    assert_int_equal(size_of(fd), 100000);
    if (error == 0) {
        assert_int_equal(fstat(fd, &stat), 0);
        assert_true(stat.st_blocks * 512 >= 98304);
    } else {
        assert_int_equal(error, EOPNOTSUPP);
    }
    assert_int_equal(io->allocate(io, fd, 50000), error);
    assert_int_equal(io->allocate(io, fd, 0), 0);
    assert_int_equal(size_of(fd), 100000);
    assert_int_equal(io->read(io, fd, 0, bytes, 8, &got), 0);
    assert_memory_equal(bytes, "abc\0\0\0\0\0", 8);
    assert_int_equal(io->read(io, fd, 99992, bytes, 8, &got), 0);
    assert_memory_equal(bytes, zero, 8);
    io->close(io, fd);
    io->close(io, dir);
}

static int allocate_where_it_cannot_be_done(void *path)
{
    int dir = -1, fd = -1;
    struct lqi_io_stat stat;
    struct lqi_file file;

    if (!child_refuse(SYS_fallocate, EOPNOTSUPP)) return CHILD_SKIP;
    CHECK(io->dir_open(io, -1, path, &dir) == 0);
    CHECK(io->open(io, dir, "a", LQI_OPEN_NEW, 0600, &fd) == 0);
    CHECK(io->allocate(io, fd, 10000) == EOPNOTSUPP);
    CHECK(io->stat(io, fd, &stat) == 0 && stat.size == 10000);
    CHECK(io->allocate(io, fd, 5000) == EOPNOTSUPP);
    CHECK(io->stat(io, fd, &stat) == 0 && stat.size == 10000);
    CHECK(lqi_file_open(&file, io, dir, "b", "b", LQI_OPEN_NEW, 0600) == LQ_OK);
    CHECK(lqi_file_allocate(&file, 10000) == LQ_OK);
    return 0;
}

static void where_nothing_can_be_reserved_allocating_grows_the_file(void **state)
{
    settle(child_run(allocate_where_it_cannot_be_done, *state));
}

static void do_nothing(int signal)
{
    (void)signal;
}

static void signals_interrupt_nothing(void **state)
{
    static char bytes[1 << 20];
    int dir = open_dir(*state), fd = open_file(dir, "a", LQI_OPEN_NEW);
    size_t got = 0;
    struct sigaction action = {.sa_handler = do_nothing}, before; /* without SA_RESTART */
    struct itimerval often = {{0, 200}, {0, 200}}, never = {{0, 0}, {0, 0}};

    assert_int_equal(sigaction(SIGALRM, &action, &before), 0);
    assert_int_equal(setitimer(ITIMER_REAL, &often, NULL), 0);
    int failed = 0;
    for (int i = 0; i < 30; i++) {
        failed |= io->write(io, fd, (uint64_t)i << 16, bytes, sizeof bytes);
        failed |= io->sync(io, fd);
        failed |= io->read(io, fd, (uint64_t)i << 16, bytes, sizeof bytes, &got);
        failed |= got != sizeof bytes;
        failed |= io->dir_sync(io, dir);
    }
    setitimer(ITIMER_REAL, &never, NULL);
    sigaction(SIGALRM, &before, NULL);
    assert_int_equal(failed, 0);
    io->close(io, fd);
    io->close(io, dir);
}

/* ---- names ------------------------------------------------------------- */

static void rename_both_ways(int dir)
{
    int fd = -1;
    struct lqi_io_stat a, b;

    CHECK(io->open(io, dir, "a", LQI_OPEN_NEW, 0600, &fd) == 0 && io->stat(io, fd, &a) == 0);
    io->close(io, fd);
    CHECK(io->open(io, dir, "b", LQI_OPEN_NEW, 0600, &fd) == 0 && io->stat(io, fd, &b) == 0);
    CHECK(a.links == 1 && b.links == 1 && a.inode != b.inode);

    CHECK(io->rename(io, dir, "a", "b", false) == EEXIST);
    CHECK(faccessat(dir, "a", F_OK, 0) == 0 && io->stat(io, fd, &b) == 0 && b.links == 1);
    CHECK(io->rename(io, dir, "none", "c", false) == ENOENT);
    CHECK(io->rename(io, dir, "none", "c", true) == ENOENT);

    CHECK(io->rename(io, dir, "a", "b", true) == 0);
    CHECK(faccessat(dir, "a", F_OK, 0) != 0 && io->stat(io, fd, &b) == 0 && b.links == 0);
    io->close(io, fd);
    CHECK(io->rename(io, dir, "b", "c", false) == 0);
    CHECK(faccessat(dir, "b", F_OK, 0) != 0);
    CHECK(io->open(io, dir, "c", LQI_OPEN_READ, 0, &fd) == 0 && io->stat(io, fd, &b) == 0);
    CHECK(b.inode == a.inode && b.links == 1);
    io->close(io, fd);
    CHECK(io->unlink(io, dir, "c") == 0 && io->unlink(io, dir, "c") == ENOENT);
}

static int rename_in_a_child(void *path)
{
    int dir = -1;
    CHECK(io->dir_open(io, -1, path, &dir) == 0);
    rename_both_ways(dir);
    return 0;
}

static void a_rename_replaces_only_when_it_may(void **state)
{
    settle(child_run(rename_in_a_child, *state));
}

static int swap_in_a_child(void *path)
{
    struct lqi_io_stat a, b, now;
    int dir = -1, fd = -1;
    CHECK(io->dir_open(io, -1, path, &dir) == 0 && io->dir_make(io, dir, "d", 0700) == 0);
    CHECK(io->open(io, dir, "a", LQI_OPEN_NEW, 0600, &fd) == 0 && io->stat(io, fd, &a) == 0);
    io->close(io, fd);
    CHECK(io->open(io, dir, "d/b", LQI_OPEN_NEW, 0600, &fd) == 0 && io->stat(io, fd, &b) == 0);
    io->close(io, fd);
    CHECK(io->swap(io, dir, "a", "none") == ENOENT);
    int error = io->swap(io, dir, "a", "d/b");
    if (error == EOPNOTSUPP) return CHILD_SKIP;
    CHECK(error == 0);
    CHECK(io->open(io, dir, "a", LQI_OPEN_READ, 0, &fd) == 0 && io->stat(io, fd, &now) == 0 && now.inode == b.inode);
    io->close(io, fd);
    CHECK(io->open(io, dir, "d/b", LQI_OPEN_READ, 0, &fd) == 0 && io->stat(io, fd, &now) == 0 && now.inode == a.inode);
    io->close(io, fd);
    CHECK(io->rename(io, dir, "d/b", "c", false) == 0 && faccessat(dir, "c", F_OK, 0) == 0);
    if (!child_refuse(SYS_renameat2, EINVAL)) return 0;
    CHECK(io->swap(io, dir, "a", "c") == EOPNOTSUPP);
    return 0;
}

static void two_names_are_swapped_at_once_or_not_at_all(void **state)
{
    settle(child_run(swap_in_a_child, *state));
}

static int rename_the_old_way(void *path)
{
    int dir = -1, fd = -1;
    CHECK(io->dir_open(io, -1, path, &dir) == 0);
    if (!child_refuse(SYS_renameat2, EINVAL)) return CHILD_SKIP;
    rename_both_ways(dir);

    /* Died in the middle: both names are there. The next try finishes it. */
    CHECK(io->open(io, dir, "from", LQI_OPEN_NEW, 0600, &fd) == 0);
    CHECK(linkat(dir, "from", dir, "to", 0) == 0);
    CHECK(io->rename(io, dir, "from", "to", false) == 0);
    CHECK(faccessat(dir, "from", F_OK, 0) != 0 && faccessat(dir, "to", F_OK, 0) == 0);
    return 0;
}

static void a_rename_refuses_to_replace_where_the_system_call_cannot(void **state)
{
    settle(child_run(rename_the_old_way, *state));
}

struct names {
    int count, limit;
    char all[300];
    int dir; /* listed once more from inside, if not -1 */
};

static int note_name(void *context, const char *name)
{
    struct names *names = context;
    assert_true(strlen(names->all) + strlen(name) + 2 < sizeof names->all);
    strcat(strcat(names->all, name), " ");
    if (names->dir >= 0) {
        struct names inner = {.limit = 100, .dir = -1};
        assert_int_equal(io->dir_list(io, names->dir, note_name, &inner), 0);
        assert_int_equal(inner.count, 3);
    }
    return ++names->count == names->limit;
}

static void a_listing_names_everything_once_and_stops_when_told(void **state)
{
    int dir = open_dir(*state);
    struct names all = {.limit = 100, .dir = dir}, one = {.limit = 1, .dir = -1};

    assert_int_equal(io->dir_list(io, dir, note_name, &(struct names){.limit = 100, .dir = -1}), 0);
    io->close(io, open_file(dir, "first", LQI_OPEN_NEW));
    io->close(io, open_file(dir, ".hidden", LQI_OPEN_NEW));
    assert_int_equal(io->dir_make(io, dir, "dir", 0700), 0);

    assert_int_equal(io->dir_list(io, dir, note_name, &all), 0);
    assert_int_equal(all.count, 3);
    assert_non_null(strstr(all.all, "first "));
    assert_non_null(strstr(all.all, ".hidden "));
    assert_non_null(strstr(all.all, "dir "));
    assert_int_equal(io->dir_list(io, dir, note_name, &one), 0);
    assert_int_equal(one.count, 1);
    int file = open_file(dir, "first", LQI_OPEN_READ);
    assert_int_equal(io->dir_list(io, file, note_name, &one), ENOTDIR);
    io->close(io, file);
    io->close(io, dir);
}

int main(void)
{
#define IN_SCRATCH(test) cmocka_unit_test_setup_teardown(test, scratch_make, scratch_remove)
    const struct CMUnitTest tests[] = {
        IN_SCRATCH(what_is_written_is_read_back_as_far_as_the_file_goes),
        IN_SCRATCH(no_file_becomes_longer_than_a_file_can_be),
        IN_SCRATCH(a_new_file_must_not_be_there_yet_and_an_old_one_must),
        IN_SCRATCH(what_is_made_has_the_mode_that_was_asked_for_whatever_the_umask),
        IN_SCRATCH(what_is_no_plain_file_with_one_name_is_refused_and_never_waited_for),
        IN_SCRATCH(a_directory_is_found_through_a_link_in_the_users_path_but_not_inside_a_queue),
        IN_SCRATCH(descriptors_stay_above_2_even_when_the_standard_streams_are_closed),
        IN_SCRATCH(the_file_size_limit_is_an_error_and_no_signal),
        IN_SCRATCH(a_full_disk_is_an_error_and_no_signal_for_maps_too),
        IN_SCRATCH(allocating_grows_a_file_takes_the_space_and_never_shrinks_it),
        IN_SCRATCH(where_nothing_can_be_reserved_allocating_grows_the_file),
        IN_SCRATCH(signals_interrupt_nothing),
        IN_SCRATCH(a_rename_replaces_only_when_it_may),
        IN_SCRATCH(two_names_are_swapped_at_once_or_not_at_all),
        IN_SCRATCH(a_rename_refuses_to_replace_where_the_system_call_cannot),
        IN_SCRATCH(a_listing_names_everything_once_and_stops_when_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
