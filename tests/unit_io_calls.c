/* Under the real I/O table, calls of the C library fail that a real machine seldom fails. An interrupted call is
 * made again, every other failure comes back as itself, nothing is left open or mapped, and what old kernels
 * and odd file systems answer is understood. */
#include "support/place.h"

static int name_one(void *context, const char *name)
{
    (void)name;
    ++*(int *)context;
    return 0;
}

static int try_dir_open(const struct place *place)
{
    int dir = -1;
    int error = io->dir_open(io, place->dir, ".", &dir);
    io->close(io, dir);
    return error;
}

static int try_dir_make(const struct place *place)
{
    int error = io->dir_make(io, place->dir, "made", 0700);
    if (!error) assert_int_equal(unlinkat(place->dir, "made", AT_REMOVEDIR), 0);
    return error;
}

static int try_dir_list(const struct place *place)
{
    int count = 0;
    int error = io->dir_list(io, place->dir, name_one, &count);
    assert_int_equal(count, error ? 0 : 1);
    return error;
}

static int try_dir_sync(const struct place *place) { return io->dir_sync(io, place->dir); }

static int try_dir_shared(const struct place *place)
{
    bool shared = false;
    int error = io->dir_shared(io, place->dir, &shared);
    if (!error) assert_true(shared);
    return error;
}

/* "f" with another file, and back. */
static int try_swap(const struct place *place)
{
    int fd = openat(place->dir, "other", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    close(fd);
    int error = io->swap(io, place->dir, "f", "other");
    if (!error) error = io->swap(io, place->dir, "f", "other");
    assert_int_equal(unlinkat(place->dir, "other", 0), 0);
    return error;
}

static int try_open(const struct place *place)
{
    int fd = -1;
    int error = io->open(io, place->dir, "f", LQI_OPEN_WRITE, 0, &fd);
    assert_int_equal(fd >= 3, !error);
    io->close(io, fd);
    return error;
}

static int try_read(const struct place *place)
{
    char bytes[100];
    size_t got = 0;
    int error = io->read(io, place->fd, 0, bytes, sizeof bytes, &got);
    assert_int_equal(got, error ? 0 : sizeof bytes);
    return error;
}

static int try_write(const struct place *place)
{
    static char number;
    char back = 0;
    size_t got;
    number++;
    int error = io->write(io, place->fd, 5000, &number, 1);
    if (error) return error;
    assert_int_equal(io->read(io, place->fd, 5000, &back, 1, &got), 0);
    assert_int_equal(back, number);
    return 0;
}

static int try_sync(const struct place *place) { return io->sync(io, place->fd); }

static int try_truncate(const struct place *place)
{
    struct lqi_io_stat stat;
    int error = io->truncate(io, place->fd, 12288);
    assert_int_equal(io->stat(io, place->fd, &stat), 0);
    assert_int_equal(stat.size, error ? 8192 : 12288);
    if (!error) assert_int_equal(io->truncate(io, place->fd, 8192), 0);
    return error;
}

static int try_allocate(const struct place *place)
{
    int error = io->allocate(io, place->fd, 12288);
    assert_int_equal(io->truncate(io, place->fd, 8192), 0);
    return error;
}

static int try_stat(const struct place *place)
{
    struct lqi_io_stat stat;
    return io->stat(io, place->fd, &stat);
}

static int try_rename(const struct place *place)
{
    int error = io->rename(io, place->dir, "f", "g", true);
    if (!error) assert_int_equal(renameat(place->dir, "g", place->dir, "f"), 0);
    return error;
}

static int try_rename_new(const struct place *place)
{
    int error = io->rename(io, place->dir, "f", "g", false);
    if (!error) assert_int_equal(renameat(place->dir, "g", place->dir, "f"), 0);
    return error;
}

static int try_unlink(const struct place *place)
{
    assert_int_equal(linkat(place->dir, "f", place->dir, "second", 0), 0);
    int error = io->unlink(io, place->dir, "second");
    if (error) assert_int_equal(unlinkat(place->dir, "second", 0), 0);
    return error;
}

static int try_lock(const struct place *place)
{
    int error = io->lock(io, place->fd, 7);
    if (!error) assert_int_equal(io->unlock(io, place->fd, 7), 0);
    return error;
}

static int try_locked(const struct place *place)
{
    bool by_others = true;
    int error = io->locked(io, place->fd, 0, 10, &by_others);
    assert_false(by_others);
    return error;
}

static size_t count_maps(void)
{
    char line[4096];
    size_t count = 0;
    FILE *maps = fopen("/proc/self/maps", "r");
    assert_non_null(maps);
    while (fgets(line, sizeof line, maps)) count += strstr(line, "/f\n") != NULL;
    fclose(maps);
    return count;
}

static int try_map(const struct place *place)
{
    void *map = NULL;
    int error = io->map(io, place->fd, 0, 8192, 4096, true, &map);
    if (!error) io->unmap(io, map, 8192, 4096);
    assert_int_equal(count_maps(), 0);
    return error;
}

static int try_random(const struct place *place)
{
    uint8_t bytes[16];
    (void)place;
    return io->random(io, bytes, sizeof bytes);
}

/* ---- interrupted, and failed ---------------------------------------------- */

static const struct row {
    const char *name;
    int (*try)(const struct place *place);
    enum call call;
    unsigned after;    /* calls that succeed before */
    bool interrupted;  /* may be, by a signal */
} rows[] = {
    {"dir_open", try_dir_open, OPENAT, 0, true},
    {"dir_make", try_dir_make, MKDIRAT, 0, true},
    {"dir_make", try_dir_make, FSTAT, 0, false},
    {"dir_list", try_dir_list, OPENAT, 0, true},
    {"dir_list", try_dir_list, FDOPENDIR, 0, false},
    {"dir_list", try_dir_list, READDIR, 0, true},
    {"dir_sync", try_dir_sync, FSYNC, 0, true},
    {"dir_shared", try_dir_shared, FSTATFS, 0, true},
    {"open", try_open, OPENAT, 0, true},
    {"open", try_open, FSTAT, 0, false},
    {"read", try_read, PREAD, 0, true},
    {"write", try_write, PWRITE, 0, true},
    {"write", try_write, GETRLIMIT, 0, false},
    {"sync", try_sync, FDATASYNC, 0, true},
    {"truncate", try_truncate, FTRUNCATE, 0, true},
    {"truncate", try_truncate, FSTAT, 0, false},
    {"truncate", try_truncate, GETRLIMIT, 0, false},
    {"allocate", try_allocate, FALLOCATE, 0, true},
    {"allocate", try_allocate, GETRLIMIT, 0, false},
    {"stat", try_stat, FSTAT, 0, false},
    {"rename", try_rename, RENAMEAT, 0, true},
    {"rename to a new name", try_rename_new, SYSCALL, 0, true},
    {"swap", try_swap, SYSCALL, 0, true},
    {"unlink", try_unlink, UNLINKAT, 0, true},
    {"lock", try_lock, FCNTL, 0, true},
    {"unlock", try_lock, FCNTL, 1, true},
    {"locked", try_locked, FCNTL, 0, true},
    {"map", try_map, FSTAT, 0, false},
    {"map", try_map, MMAP, 0, false},
    {"map", try_map, MMAP, 1, false},
    {"map", try_map, MMAP, 2, false},
    {"map", try_map, MADVISE, 0, true},
    {"random", try_random, GETRANDOM, 1, true},
};

static void an_interrupted_call_is_made_again(void **state)
{
    struct place place = open_place(state);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (!rows[i].interrupted) continue;
        fail_calls(rows[i].call, rows[i].after, 3, EINTR);
        int error = rows[i].try(&place);
        if (error) fail_msg("%s, interrupted, says %s", rows[i].name, strerror(error));
        all_failed();
    }
    close_place(&place);
}

static void a_failed_call_comes_back_as_its_error_and_leaves_nothing_behind(void **state)
{
    struct place place = open_place(state);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (rows[i].try == try_lock && rows[i].after) continue; /* the test's own unlock */
        int files = open_files();
        fail_calls(rows[i].call, rows[i].after, 1, EIO);
        int error = rows[i].try(&place);
        if (error != EIO) fail_msg("%s, failed with EIO, says %s", rows[i].name, strerror(error));
        all_failed();
        assert_int_equal(open_files(), files);
        assert_int_equal(rows[i].try(&place), 0);
    }
    close_place(&place);
}

/* ---- what odd kernels and file systems answer ------------------------------ */

static void a_directory_that_cannot_be_synced_has_nothing_to_sync(void **state)
{
    struct place place = open_place(state);
    fail_calls(FSYNC, 0, 1, EINVAL);
    assert_int_equal(try_dir_sync(&place), 0);
    all_failed();
    close_place(&place);
}

static void network_file_systems_are_known_by_their_numbers(void **state)
{
    struct place place = open_place(state);
    static const struct { uint32_t number; bool shared; } kinds[] = {
        {0x00006969, false}, {0xff534d42, false}, {0xfe534d42, false}, {0x0000517b, false}, {0x01021997, false},
        {0x00c36400, false}, {0xaad7aaea, false},
        {0x0000ef53, true}, {0x58465342, true}, {0x9123683e, true}, {0x01021994, true}, {0x65735546, true},
    };
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        bool shared = !kinds[i].shared;
        plan.file_system = kinds[i].number;
        assert_int_equal(io->dir_shared(io, place.dir, &shared), 0);
        assert_int_equal(shared, kinds[i].shared);
    }
    memset(&plan, 0, sizeof plan);
    close_place(&place);
}

static void a_file_that_lost_its_name_while_it_was_opened_is_looked_for_again(void **state)
{
    struct place place = open_place(state);
    int fd = -1;

    plan.no_links = 3;
    assert_int_equal(io->open(io, place.dir, "f", LQI_OPEN_READ, 0, &fd), 0);
    io->close(io, fd);
    plan.no_links = 1000; /* but not for ever */
    assert_int_equal(io->open(io, place.dir, "f", LQI_OPEN_READ, 0, &fd), ENOENT);
    plan.no_links = 2; /* (the directory's do not count) and who made it knows that it is gone */
    assert_int_equal(io->open(io, place.dir, "new", LQI_OPEN_NEW, 0600, &fd), ENOENT);
    memset(&plan, 0, sizeof plan);
    close_place(&place);
}

static void where_names_cannot_be_swapped_it_is_said(void **state)
{
    struct place place = open_place(state);
    static const int errors[] = {EINVAL, ENOSYS};
    for (size_t i = 0; i < 2; i++) {
        fail_calls(SYSCALL, 0, 1, errors[i]);
        assert_int_equal(try_swap(&place), EOPNOTSUPP);
        all_failed();
    }
    assert_int_equal(try_swap(&place), 0);
    close_place(&place);
}

static void a_write_that_gets_nowhere_is_an_error(void **state)
{
    struct place place = open_place(state);
    fail_calls(PWRITE, 0, 1, 0);
    assert_int_equal(io->write(io, place.fd, 0, "x", 1), EIO);
    all_failed();
    close_place(&place);
}

static void where_nothing_can_be_reserved_a_file_grows_and_never_shrinks(void **state)
{
    struct place place = open_place(state);
    static const int answers[] = {EOPNOTSUPP, EINVAL, ENOSYS};
    struct lqi_io_stat stat;

    for (size_t i = 0; i < 3; i++) {
        fail_calls(FALLOCATE, 0, 2, answers[i]);
        assert_int_equal(io->allocate(io, place.fd, 16384), EOPNOTSUPP);
        assert_int_equal(io->allocate(io, place.fd, 4096), EOPNOTSUPP);
        all_failed();
        assert_int_equal(io->stat(io, place.fd, &stat), 0);
        assert_int_equal(stat.size, 16384);
        assert_int_equal(io->truncate(io, place.fd, 8192), 0);
    }
    close_place(&place);
}

static void growing_that_fails_is_told(void **state)
{
    struct place place = open_place(state);
    struct rlimit limit, less;

    assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
    assert_int_equal(fcntl(place.fd, F_GETFD, NULL), FD_CLOEXEC);
    less = limit;
    less.rlim_cur = 10000;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &less), 0);
    assert_int_equal(io->truncate(io, place.fd, 20000), EFBIG);
    assert_int_equal(io->allocate(io, place.fd, 20000), EFBIG);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    close_place(&place);
}

/* What a file system without reservation says when it is full, or there is a limit on files. */
static void where_nothing_can_be_reserved_growing_may_fail_too(void **state)
{
    struct place place = open_place(state);
    fail_calls(FALLOCATE, 0, 1, EOPNOTSUPP);
    and_then_fail(FTRUNCATE, ENOSPC);
    assert_int_equal(io->allocate(io, place.fd, 16384), ENOSPC);
    all_failed();
    close_place(&place);
}

static void locks_that_a_file_system_or_kernel_has_not_are_told_apart_from_taken_ones(void **state)
{
    struct place place = open_place(state);
    static const struct { int error, answer; } rows_of_lock[] = {{EACCES, EAGAIN}, {EAGAIN, EAGAIN}, {EINVAL, EOPNOTSUPP}, {ENOLCK, ENOLCK}};
    for (size_t i = 0; i < sizeof rows_of_lock / sizeof *rows_of_lock; i++) {
        fail_calls(FCNTL, 0, 1, rows_of_lock[i].error);
        assert_int_equal(io->lock(io, place.fd, 1), rows_of_lock[i].answer);
        all_failed();
        fail_calls(FCNTL, 0, 1, rows_of_lock[i].error);
        assert_int_equal(io->unlock(io, place.fd, 1), rows_of_lock[i].answer);
        all_failed();
    }
    close_place(&place);
}

static void a_kernel_before_5_14_maps_without_populating(void **state)
{
    struct place place = open_place(state);
    fail_calls(MADVISE, 0, 1, EINVAL);
    assert_int_equal(try_map(&place), 0);
    all_failed();
    close_place(&place);
}

static void a_page_that_cannot_be_had_is_a_full_disk_unless_reading_says_otherwise(void **state)
{
    struct place place = open_place(state);
    fail_calls(MADVISE, 0, 1, EFAULT);
    assert_int_equal(try_map(&place), ENOSPC);
    all_failed();
    for (unsigned page = 0; page < 2; page++) { /* whichever of them it is */
        fail_calls(MADVISE, 0, 1, EFAULT);
        and_then_fail(PREAD, EIO);
        plan.then_after = page;
        assert_int_equal(try_map(&place), EIO);
        all_failed();
    }
    fail_calls(MADVISE, 0, 1, EFAULT);
    and_then_fail(PREAD, EIO); /* of what is behind them */
    plan.then_after = 2;
    assert_int_equal(try_map(&place), ENOSPC);
    fail_calls(MADVISE, 0, 1, EFAULT);
    and_then_fail(PREAD, 0); /* somebody has cut the file */
    assert_int_equal(try_map(&place), ENOSPC);
    all_failed();
    fail_calls(MADVISE, 0, 1, EFAULT);
    and_then_fail(PREAD, EINTR);
    assert_int_equal(try_map(&place), ENOSPC);
    all_failed();
    close_place(&place);
}

static void what_would_not_fit_the_address_space_is_refused(void **state)
{
    struct place place = open_place(state);
    const size_t most = (size_t)PTRDIFF_MAX / 2; /* with all of it mirrored */
    void *map = NULL;
    plan.size_told = INT64_MAX;
    assert_int_equal(io->map(io, place.fd, 0, SIZE_MAX, 0, false, &map), EINVAL);
    assert_int_equal(io->map(io, place.fd, 0, SIZE_MAX - 4095, SIZE_MAX - 4095, false, &map), EINVAL);
    assert_int_equal(io->map(io, place.fd, 0, most + 1, most + 1, false, &map), EINVAL);
    assert_int_equal(io->map(io, place.fd, 0, most + 1, 0, false, &map), EINVAL);
    assert_int_equal(io->map(io, place.fd, 0, most, 0, false, &map), ENOMEM); /* no machine has so many addresses yet */
    plan.size_told = 0;
    assert_null(map);
    close_place(&place);
}

/* ---- less than was asked for --------------------------------------------- */

static void what_is_written_and_read_in_parts_is_whole(void **state)
{
    struct place place = open_place(state);
    uint8_t ours[1000], theirs[1000];
    size_t got;
    for (size_t i = 0; i < sizeof ours; i++) ours[i] = (uint8_t)(i * 7 + i / 256);
    for (int i = 0; i < 2; i++) { /* the one in parts, the other as it is */
        plan.part = i ? 0 : 7;
        assert_int_equal(io->write(io, place.fd, 3, ours, sizeof ours), 0);
        plan.part = i ? 7 : 0;
        memset(theirs, 0, sizeof theirs);
        assert_int_equal(io->read(io, place.fd, 3, theirs, sizeof theirs, &got), 0);
        assert_int_equal(got, sizeof theirs);
        assert_memory_equal(ours, theirs, sizeof ours);
    }
    assert_int_equal(io->read(io, place.fd, 8192 - 20, theirs, sizeof theirs, &got), 0);
    assert_int_equal(got, 20);
    plan.part = 0;
    close_place(&place);
}

static void what_is_left_of_a_write_goes_no_further_than_the_write(void **state)
{
    struct place place = open_place(state);
    static const uint8_t ours[1000];
    struct lqi_io_stat stat;
    plan.part = 700;
    plan.one_part = true;
    assert_int_equal(io->write(io, place.fd, 8192, ours, 800), 0);
    assert_int_equal(io->stat(io, place.fd, &stat), 0);
    assert_int_equal(stat.size, 8192 + 800);
    memset(&plan, 0, sizeof plan);
    close_place(&place);
}

int main(void)
{
#define IN_SCRATCH(test) cmocka_unit_test_setup_teardown(test, scratch_make, scratch_remove)
    const struct CMUnitTest tests[] = {
        IN_SCRATCH(an_interrupted_call_is_made_again),
        IN_SCRATCH(a_failed_call_comes_back_as_its_error_and_leaves_nothing_behind),
        IN_SCRATCH(a_directory_that_cannot_be_synced_has_nothing_to_sync),
        IN_SCRATCH(network_file_systems_are_known_by_their_numbers),
        IN_SCRATCH(a_file_that_lost_its_name_while_it_was_opened_is_looked_for_again),
        IN_SCRATCH(what_is_written_and_read_in_parts_is_whole),
        IN_SCRATCH(what_is_left_of_a_write_goes_no_further_than_the_write),
        IN_SCRATCH(where_names_cannot_be_swapped_it_is_said),
        IN_SCRATCH(a_write_that_gets_nowhere_is_an_error),
        IN_SCRATCH(where_nothing_can_be_reserved_a_file_grows_and_never_shrinks),
        IN_SCRATCH(growing_that_fails_is_told),
        IN_SCRATCH(where_nothing_can_be_reserved_growing_may_fail_too),
        IN_SCRATCH(locks_that_a_file_system_or_kernel_has_not_are_told_apart_from_taken_ones),
        IN_SCRATCH(a_kernel_before_5_14_maps_without_populating),
        IN_SCRATCH(a_page_that_cannot_be_had_is_a_full_disk_unless_reading_says_otherwise),
        IN_SCRATCH(what_would_not_fit_the_address_space_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
