/* Published files: there, whole and durable, or not there. */
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

    memset(name, 'x', sizeof name - 1);
    name[sizeof name - 1] = 0;
    long_name.name = name;
    assert_int_equal(lqi_publish(io, dir, &long_name), LQ_ENAME);
    assert_int_equal(look(dir).files, 0);
    io->close(io, dir);
}

static void publish(struct io_fault *fault, void *context)
{
    int dir = *(int *)context;

    int err = lqi_publish(&fault->io, dir, &sample);
    assert_int_equal(err, fault->hits ? LQ_EIO : LQ_OK);
    if (err) assert_non_null(strstr(lq_error_text(), "shown/it"));
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
        with_files(a_failure_to_replace_a_file_leaves_one_that_is_whole),
        with_files(a_failure_beside_an_older_file_leaves_it_as_it_is),
    };
    return cmocka_run_group_tests_name("publish", tests, NULL, NULL);
}
