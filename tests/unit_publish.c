/* Published files: there, whole and durable, or not there. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "publish.h"
#include "support/each_fault.h"
#include "support/scratch.h"

static const struct lqi_io *const io = &lqi_io_posix;

enum { LONGEST = 255 - (int)sizeof ".0123456789abcdef.new" + 1 }; /* of names, when files have no longer ones than 255 */

static const struct lqi_publication sample = {
    .name = "it", .shown = "shown/it", .mode = 0600, .bytes = "hello", .size = 5, .file_size = 10000,
};

static int open_dir(void **state)
{
    int dir = -1;
    assert_int_equal(io->dir_open(io, -1, *state, &dir), 0);
    return dir;
}

struct seen {
    int files, strays;
    char stray[256]; /* the name of one */
};

static int see(void *context, const char *name)
{
    struct seen *seen = context;
    size_t size = strlen(name);

    seen->files++;
    if (size > 4 && strcmp(name + size - 4, ".new") == 0) {
        seen->strays++;
        snprintf(seen->stray, sizeof seen->stray, "%s", name);
    }
    return 0;
}

static struct seen look(int dir)
{
    struct seen seen = {0};
    assert_int_equal(io->dir_list(io, dir, see, &seen), 0);
    return seen;
}

/* Is the file there? Then it must be whole. */
static bool is_there(int dir)
{
    uint8_t bytes[10001], should[10000] = "hello";
    size_t got;
    int fd = -1;

    if (io->open(io, dir, "it", LQI_OPEN_READ, 0, &fd) != 0) return false;
    assert_int_equal(io->read(io, fd, 0, bytes, sizeof bytes, &got), 0);
    io->close(io, fd);
    assert_int_equal(got, sizeof should);
    assert_memory_equal(bytes, should, sizeof should);
    return true;
}

static void a_file_appears_whole(void **state)
{
    int dir = open_dir(state);
    struct stat stat;

    assert_int_equal(lqi_publish(io, dir, &sample), LQ_OK);
    assert_true(is_there(dir));
    assert_int_equal(look(dir).files, 1);
    assert_int_equal(fstatat(dir, "it", &stat, 0), 0);
    assert_int_equal(stat.st_mode & 0777, 0600);
    io->close(io, dir);
}

static void a_file_that_is_there_stays_as_it_is(void **state)
{
    int dir = open_dir(state);
    struct lqi_publication other = sample;

    assert_int_equal(lqi_publish(io, dir, &sample), LQ_OK);
    other.bytes = "other";
    other.file_size = 77;
    assert_int_equal(lqi_publish(io, dir, &other), LQ_OK);
    assert_true(is_there(dir));
    assert_int_equal(look(dir).files, 1);
    io->close(io, dir);
}

static void a_name_that_is_too_long_is_told(void **state)
{
    int dir = open_dir(state);
    struct lqi_publication long_name = sample;
    char name[300];

    memset(name, 'x', sizeof name);
    long_name.name = name;
    for (size_t size = sizeof name - 1; size > LONGEST; size--) {
        name[size] = 0;
        assert_int_equal(lqi_publish(io, dir, &long_name), LQ_ENAME);
        assert_int_equal(look(dir).files, 0);
    }
    name[LONGEST] = 0;
    assert_int_equal(lqi_publish(io, dir, &long_name), LQ_OK);
    assert_int_equal(look(dir).files, 1);
    assert_int_equal(io->unlink(io, dir, name), 0);
    io->close(io, dir);
}

static void publish(struct io_fault *fault, void *context)
{
    int dir = *(int *)context;

    int err = lqi_publish(&fault->io, dir, &sample);
    assert_int_equal(err, fault->hits ? LQ_EIO : LQ_OK);
    if (err) assert_non_null(strstr(lq_error_text(), "shown/it"));
    if (err && fault->kind == IO_RANDOM) assert_null(strstr(lq_error_text(), "at byte"));
    assert_true(is_there(dir) || err);
    assert_int_equal(look(dir).strays, 0);
    (void)io->unlink(io, dir, "it");
}

static void a_failure_leaves_all_or_nothing(void **state)
{
    int dir = open_dir(state);

    /* random, open, allocate, write, sync, rename, sync the directory */
    assert_int_equal(each_fault(publish, &dir), 2 * 7);
    io->close(io, dir);
}

static void publish_again(struct io_fault *fault, void *context)
{
    int dir = *(int *)context;

    int err = lqi_publish(&fault->io, dir, &sample);
    struct seen seen = look(dir);
    /* A stray that cannot be deleted harms nobody and fails nothing. */
    assert_int_equal(err, fault->hits && fault->kind != IO_UNLINK ? LQ_EIO : LQ_OK);
    assert_int_equal(seen.strays, fault->hits && fault->kind == IO_UNLINK);
    assert_true(is_there(dir));
    if (seen.strays) assert_int_equal(io->unlink(io, dir, seen.stray), 0);
}

static void a_failure_beside_an_older_file_leaves_it_as_it_is(void **state)
{
    int dir = open_dir(state);

    assert_int_equal(lqi_publish(io, dir, &sample), LQ_OK);
    assert_int_equal(each_fault(publish_again, &dir), 2 * 8);
    io->close(io, dir);
}

/* What is asked of the machine, in letters, as far as the order matters; and `fail`, if it is asked, fails. */
static char asked[64], fail;

static int ask(char what)
{
    size_t count = strlen(asked);
    assert_true(count + 1 < sizeof asked);
    asked[count] = what;
    asked[count + 1] = 0;
    return what == fail ? EIO : 0;
}

static int ask_open(const struct lqi_io *self, int dir, const char *name, int flags, uint32_t mode, int *fd_out)
{
    (void)self;
    if (flags != LQI_OPEN_NEW) return io->open(io, dir, name, flags, mode, fd_out);
    int error = ask('n');
    return error ? error : io->open(io, dir, name, flags, mode, fd_out);
}

static int ask_own(const struct lqi_io *self, int fd, int like)
{
    (void)self;
    int error = ask('o');
    return error ? error : io->own(io, fd, like);
}

static int ask_sync(const struct lqi_io *self, int fd)
{
    (void)self;
    int error = ask('s');
    return error ? error : io->sync(io, fd);
}

static int ask_rename(const struct lqi_io *self, int dir, const char *from, const char *to, bool replace)
{
    (void)self;
    int error = ask('r');
    return error ? error : io->rename(io, dir, from, to, replace);
}

static int ask_dir_sync(const struct lqi_io *self, int dir)
{
    (void)self;
    int error = ask('d');
    return error ? error : io->dir_sync(io, dir);
}

static int ask_unlink(const struct lqi_io *self, int dir, const char *name)
{
    (void)self;
    int error = ask('u');
    return error ? error : io->unlink(io, dir, name);
}

static const struct lqi_io *asking(char what_fails)
{
    static struct lqi_io table;
    table = lqi_io_posix;
    table.open = ask_open;
    table.own = ask_own;
    table.sync = ask_sync;
    table.rename = ask_rename;
    table.dir_sync = ask_dir_sync;
    table.unlink = ask_unlink;
    asked[0] = 0;
    fail = what_fails;
    return &table;
}

/* Bytes first, then the name, then the directory; what fails is told, and nothing is done that stood behind it. */
static void the_bytes_are_durable_before_the_name_and_the_name_before_it_counts(void **state)
{
    static const struct { char fail; const char *asked, *told; } cases[] = {
        {0, "nsrd", NULL}, {'n', "n", "shown/it"}, {'s', "nsu", "sync"}, {'r', "nsru", "rename"}, {'d', "nsrd", "directory"}};
    int dir = open_dir(state);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(lqi_publish(asking(cases[i].fail), dir, &sample), cases[i].fail ? LQ_EIO : LQ_OK);
        assert_string_equal(asked, cases[i].asked);
        if (cases[i].told) assert_non_null(strstr(lq_error_text(), cases[i].told));
        if (cases[i].told) assert_null(strstr(lq_error_text(), "at byte"));
        assert_int_equal(look(dir).files, !cases[i].fail || cases[i].fail == 'd');
        (void)io->unlink(io, dir, "it");
    }
    io->close(io, dir);
}

static void a_copy_is_whole_and_its_owners_and_durable_before_it_takes_the_place(void **state)
{
    static const struct { char fail; const char *asked, *told; } cases[] = {
        {0, "nosrd", NULL}, {'n', "nu", "shown/it"}, {'o', "nou", "shown/it"}, {'s', "nosu", "sync"}, {'r', "nosru", "copy"}, {'d', "nosrdu", "copy"}};
    int dir = open_dir(state);
    assert_int_equal(lqi_publish(io, dir, &sample), LQ_OK);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct stat before, after;
        assert_int_equal(fstatat(dir, "it", &before, 0), 0);
        int err = lqi_publish_again(asking(cases[i].fail), dir, "it", "shown/it", 0600, UINT64_MAX);
        assert_int_equal(err, cases[i].fail ? LQ_EIO : LQ_OK);
        assert_string_equal(asked, cases[i].asked);
        if (cases[i].told) assert_non_null(strstr(lq_error_text(), cases[i].told));
        if (cases[i].told) assert_null(strstr(lq_error_text(), "at byte"));
        assert_true(is_there(dir));
        assert_int_equal(look(dir).files, 1);
        assert_int_equal(fstatat(dir, "it", &after, 0), 0);
        assert_int_equal(before.st_ino == after.st_ino, cases[i].fail && cases[i].fail != 'd');
    }
    io->close(io, dir);
}

static void only_something_and_new_behind_it_is_unfinished(void **state)
{
    static const char *const yes[] = {"1.new", "a.new", "00000000000000000001.seg.0123456789abcdef.new", ".new.new", "..new"};
    static const char *const no[] = {"", "n", "new", ".new", "x.ne", "xnew", "x.new1", "a.new.seg", "x.New", "a_new", "x.mew", "x.nex"};
    (void)state;
    for (size_t i = 0; i < sizeof yes / sizeof *yes; i++) assert_true(lqi_is_unfinished(yes[i]));
    for (size_t i = 0; i < sizeof no / sizeof *no; i++) assert_false(lqi_is_unfinished(no[i]));
}

/* Another file of the same bytes takes its place, or none does. */
static void replace(struct io_fault *fault, void *context)
{
    int dir = *(int *)context;

    int err = lqi_publish_again(&fault->io, dir, "it", "shown/it", 0600, UINT64_MAX);
    assert_int_equal(err, fault->hits && fault->kind != IO_UNLINK ? LQ_EIO : LQ_OK);
    struct seen seen = look(dir);
    assert_true(is_there(dir));
    if (seen.strays) assert_int_equal(io->unlink(io, dir, seen.stray), 0);
}

static void a_failure_to_replace_a_file_leaves_one_that_is_whole(void **state)
{
    int dir = open_dir(state);

    assert_int_equal(lqi_publish(io, dir, &sample), LQ_OK);
    assert_true(each_fault(replace, &dir) >= 2 * 8);
    io->close(io, dir);
}

#define with_files(test) cmocka_unit_test_setup_teardown(test, scratch_make, scratch_remove)

int main(void)
{
    const struct CMUnitTest tests[] = {
        with_files(a_file_appears_whole),
        with_files(a_file_that_is_there_stays_as_it_is),
        with_files(a_name_that_is_too_long_is_told),
        with_files(a_failure_leaves_all_or_nothing),
        with_files(the_bytes_are_durable_before_the_name_and_the_name_before_it_counts),
        with_files(a_copy_is_whole_and_its_owners_and_durable_before_it_takes_the_place),
        cmocka_unit_test(only_something_and_new_behind_it_is_unfinished),
        with_files(a_failure_to_replace_a_file_leaves_one_that_is_whole),
        with_files(a_failure_beside_an_older_file_leaves_it_as_it_is),
    };
    return cmocka_run_group_tests_name("publish", tests, NULL, NULL);
}
