/* Files that know their names: errors say what was done to which file, a name may be longer than there is room for it; and what is made
 * of several calls of the I/O table, copies and zeroes for maps. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "support/io_fault.h"
#include "support/real_io.h"

static void is_refused(int err, const char *text)
{
    assert_int_equal(err, LQ_EIO);
    assert_string_equal(lq_error_text(), text);
}

static void errors_name_the_call_the_file_and_the_byte(void **state)
{
    int dir = open_dir(*state);
    struct lqi_file file = LQI_FILE_NONE;
    uint64_t size = 7;
    size_t got;
    char byte;

    lqi_file_close(&file);
    file.fd = 12345; /* whatever was in it */
    assert_int_equal(lqi_file_open(&file, io, dir, "a", "log/a", LQI_OPEN_READ, 0), LQ_ENOTFOUND);
    assert_string_equal(lq_error_text(), "open log/a: No such file or directory");
    assert_int_equal(file.fd, -1);
    assert_int_equal(lqi_file_open(&file, io, dir, "a", "log/a", LQI_OPEN_NEW, 0600), LQ_OK);
    lqi_file_close(&file);
    assert_int_equal(lqi_file_open(&file, io, dir, "a", "log/a", LQI_OPEN_NEW, 0600), LQ_EIO);
    assert_string_equal(lq_error_text(), "create log/a: File exists");
    assert_int_equal(lqi_file_open(&file, io, dir, "a", "log/a", LQI_OPEN_READ, 0), LQ_OK);
    assert_int_equal(lqi_file_write(&file, 12, "x", 1), LQ_EIO);
    assert_string_equal(lq_error_text(), "write log/a at byte 12: Bad file descriptor");
    assert_int_equal(lqi_file_size(&file, &size), LQ_OK);
    assert_int_equal(size, 0);
    assert_int_equal(lqi_file_sync(&file), LQ_OK);
    assert_int_equal(lqi_file_own(&file, &file), LQ_OK);
    lqi_file_close(&file);
    lqi_file_close(&file);

    file.fd = 12345;
    is_refused(lqi_file_read(&file, 7, &byte, 1, &got), "read log/a at byte 7: Bad file descriptor");
    is_refused(lqi_file_sync(&file), "sync log/a: Bad file descriptor");
    is_refused(lqi_file_truncate(&file, 9), "cut log/a at byte 9: Bad file descriptor");
    is_refused(lqi_file_allocate(&file, 9), "allocate log/a at byte 9: Bad file descriptor");
    is_refused(lqi_file_back(&file, 0, 9), "allocate log/a at byte 9: Bad file descriptor");
    is_refused(lqi_file_size(&file, &size), "stat log/a: Bad file descriptor");
    is_refused(lqi_file_own(&file, &file), "give to its owner log/a: Bad file descriptor");
    io->close(io, dir);
}

static struct lqi_file closed;
static int closings;

static void look_and_close(const struct lqi_io *posix, int fd)
{
    assert_int_equal(closed.fd, -1);
    closings++;
    io->close(posix, fd);
}

/* Another thread may be given the number before this one goes on, and fork a child that closes what it finds in here. */
static void a_file_has_no_number_any_more_when_that_is_given_back(void **state)
{
    int dir = open_dir(*state);
    struct lqi_io looking = *io;
    looking.close = look_and_close;
    assert_int_equal(lqi_file_open(&closed, &looking, dir, "a", "log/a", LQI_OPEN_NEW, 0600), LQ_OK);
    lqi_file_close(&closed);
    assert_int_equal(closings, 1);
    lqi_file_close(&closed);
    assert_int_equal(closings, 1);
    io->close(io, dir);
}

static void of_a_name_that_is_too_long_the_beginning_is_known(void **state)
{
    static const size_t lengths[] = {1, 126, 127, 128, 300};
    int dir = open_dir(*state);
    char shown[301];
    struct {
        struct lqi_file file;
        char behind[8];
    } it;
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        memset(&it, 'x', sizeof it); /* whatever was in it */
        memset(shown, 'n', sizeof shown);
        shown[lengths[i]] = 0;
        assert_int_equal(lqi_file_open(&it.file, io, dir, "none", shown, LQI_OPEN_READ, 0), LQ_ENOTFOUND);
        assert_int_equal(it.file.fd, -1);
        assert_memory_equal(it.behind, "xxxxxxxx", 8);
        shown[127] = 0;
        assert_string_equal(it.file.name, shown);
    }
    io->close(io, dir);
}

static void a_name_with_new_behind_it_is_of_something_unfinished(void **state)
{
    static const char *const unfinished[] = {"a.new", "meta.0123456789abcdef.new", "..new"}, *const whole[] = {"", "a", "new", ".new", "meta", "anew", "a.newer", "a.New"};
    (void)state;
    for (size_t i = 0; i < sizeof unfinished / sizeof *unfinished; i++) assert_true(lqi_is_unfinished(unfinished[i]));
    for (size_t i = 0; i < sizeof whole / sizeof *whole; i++) assert_false(lqi_is_unfinished(whole[i]));
}

/* ---- several calls ----------------------------------------------------------- */

static uint8_t content(size_t at) { return (uint8_t)(at * 7 + at / 256 + 1); }

static void make(struct lqi_file *file, int dir, const char *name, size_t size)
{
    assert_int_equal(lqi_file_open(file, io, dir, name, name, LQI_OPEN_NEW, 0600), LQ_OK);
    uint8_t *bytes = malloc(size + 1);
    assert_non_null(bytes);
    for (size_t i = 0; i < size; i++) bytes[i] = content(i);
    assert_int_equal(lqi_file_write(file, 0, bytes, size), LQ_OK);
    free(bytes);
}

/* From `from` to its end the file has zeroes, and before what make() wrote; it has `size` bytes. */
static void has(const struct lqi_file *file, size_t from, size_t size)
{
    static uint8_t bytes[300000];
    size_t got;
    assert_int_equal(lqi_file_read(file, 0, bytes, sizeof bytes, &got), LQ_OK);
    assert_int_equal(got, size);
    for (size_t i = 0; i < size; i++)
        if (bytes[i] != (i < from ? content(i) : 0)) fail_msg("byte %zu is %d", i, bytes[i]);
}

static void a_copy_is_as_long_as_asked_or_as_there_is(void **state)
{
    static const struct {
        size_t there, asked, copied;
    } rows[] = {{50000, 40000, 40000}, {50000, 50000, 50000}, {50000, 90000, 50000}, {16384, 16384, 16384}, {50000, 16385, 16385}, {50000, 0, 0}, {0, 5, 0}};
    int dir = open_dir(*state);
    struct lqi_file from, to;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        make(&from, dir, "from", rows[i].there);
        make(&to, dir, "to", 0);
        assert_int_equal(lqi_file_copy(&from, &to, rows[i].asked), LQ_OK);
        has(&to, rows[i].copied, rows[i].copied);
        lqi_file_close(&from);
        lqi_file_close(&to);
        assert_int_equal(io->unlink(io, dir, "from"), 0);
        assert_int_equal(io->unlink(io, dir, "to"), 0);
    }
    io->close(io, dir);
}

static void a_copy_that_fails_says_so(void **state)
{
    static const enum io_kind kinds[] = {IO_READ, IO_WRITE};
    int dir = open_dir(*state);
    struct io_fault fault;
    struct lqi_file from, to;
    io_fault_init(&fault, io);
    make(&from, dir, "from", 50000);
    make(&to, dir, "to", 0);
    from.io = to.io = &fault.io;
    for (size_t i = 0; i < 2; i++) {
        for (uint64_t nth = 1; nth <= 4; nth++) {
            io_fault_plan(&fault, kinds[i], nth, false, EIO);
            assert_int_equal(lqi_file_copy(&from, &to, 50000), LQ_EIO);
            assert_int_equal(fault.hits, 1);
        }
    }
    io_fault_end(&fault);
    assert_int_equal(lqi_file_copy(&from, &from, 50000), LQ_OK); /* or to itself */
    has(&from, 50000, 50000);
    lqi_file_close(&from);
    lqi_file_close(&to);
    io_fault_release(&fault);
    io->close(io, dir);
}

/* For maps: a hole that the disk has no room for would be a signal. */
static void where_nothing_can_be_reserved_zeroes_are_written(void **state)
{
    static const struct {
        size_t from, size;
    } rows[] = {{0, 100}, {100, 200000}, {65536, 131072}, {65536, 131073}, {70000, 70001}, {5000, 5000}};
    int dir = open_dir(*state);
    struct io_fault fault;
    struct lqi_file file;
    io_fault_init(&fault, io);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        make(&file, dir, "f", rows[i].from);
        file.io = &fault.io;
        io_fault_plan(&fault, IO_ALLOCATE, 1, false, EOPNOTSUPP);
        assert_int_equal(lqi_file_back(&file, rows[i].from, rows[i].size), LQ_OK);
        assert_int_equal(fault.hits, 1);
        has(&file, rows[i].from, rows[i].size);
        assert_int_equal(lqi_file_back(&file, 0, rows[i].size), LQ_OK); /* where it can, nothing is written over */
        has(&file, rows[i].from, rows[i].size);
        lqi_file_close(&file);
        assert_int_equal(io->unlink(io, dir, "f"), 0);
    }
    make(&file, dir, "f", 0);
    file.io = &fault.io;
    io_fault_plan(&fault, IO_ALLOCATE, 1, false, ENOSPC);
    assert_int_equal(lqi_file_back(&file, 0, 100), LQ_ENOSPC);
    assert_string_equal(lq_error_text(), "allocate f at byte 100: No space left on device");
    io_fault_plan(&fault, IO_ALLOCATE, 1, false, EOPNOTSUPP);
    assert_int_equal(lqi_file_allocate(&file, 100), LQ_OK);
    lqi_file_close(&file);
    io_fault_release(&fault);
    io->close(io, dir);
}

int main(void)
{
#define IN_SCRATCH(test) cmocka_unit_test_setup_teardown(test, scratch_make, scratch_remove)
    const struct CMUnitTest tests[] = {
        IN_SCRATCH(errors_name_the_call_the_file_and_the_byte),
        IN_SCRATCH(a_file_has_no_number_any_more_when_that_is_given_back),
        IN_SCRATCH(of_a_name_that_is_too_long_the_beginning_is_known),
        cmocka_unit_test(a_name_with_new_behind_it_is_of_something_unfinished),
        IN_SCRATCH(a_copy_is_as_long_as_asked_or_as_there_is),
        IN_SCRATCH(a_copy_that_fails_says_so),
        IN_SCRATCH(where_nothing_can_be_reserved_zeroes_are_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
