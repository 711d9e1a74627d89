/* Offset files among others: listed, replaced and deleted, and what is left of one when a call fails. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "support/each_fault.h"
#include "support/offset_file.h"

/* ---- list and delete --------------------------------------------------- */

static void consumers_are_listed_by_name_and_deleted(void **state)
{
    static const char *const others[] = {"x.pos.0123456789abcdef.new", ".pos", "-a.pos", "notes.txt", "pos", "a.posx"};
    int dir = open_dir(state);
    char (*names)[LQ_NAME_MAX + 1] = NULL;
    size_t count = 77;

    assert_int_equal(lqi_position_list(io, dir, &names, &count), LQ_OK);
    assert_int_equal(count, 0);
    free(names);

    for (int i = 0; i < 50; i++) { /* in no order that a directory may have */
        char name[32];
        snprintf(name, sizeof name, "c%02d.pos", i * 7 % 50);
        write_file(dir, name, NULL, 0);
    }
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) write_file(dir, others[i], NULL, 0);
    assert_int_equal(lqi_position_list(io, dir, &names, &count), LQ_OK);
    assert_int_equal(count, 50);
    for (int i = 0; i < 50; i++) {
        char name[32];
        snprintf(name, sizeof name, "c%02d", i);
        assert_string_equal(names[i], name);
    }
    free(names);

    assert_int_equal(lqi_position_delete(io, dir, "c07", NULL), LQ_OK);
    assert_int_equal(lqi_position_delete(io, dir, "c07", NULL), LQ_ENOTFOUND);
    assert_int_equal(lqi_position_list(io, dir, &names, &count), LQ_OK);
    assert_int_equal(count, 49);
    free(names);
    for (int i = 0; i < 50; i++) {
        char name[32];
        snprintf(name, sizeof name, "c%02d.pos", i);
        (void)io->unlink(io, dir, name);
    }
    char longest[LQ_NAME_MAX + 5];
    memset(longest, 'n', LQ_NAME_MAX);
    memcpy(longest + LQ_NAME_MAX, ".pos", 5);
    for (int turn = 0; turn < 2; turn++) { /* whatever the order of the directory */
        write_file(dir, turn ? longest : "b.pos", NULL, 0);
        write_file(dir, turn ? "b.pos" : longest, NULL, 0);
        assert_int_equal(lqi_position_list(io, dir, &names, &count), LQ_OK);
        assert_int_equal(count, 2);
        assert_string_equal(names[0], "b");
        assert_int_equal(strlen(names[1]), LQ_NAME_MAX);
        free(names);
        assert_int_equal(io->unlink(io, dir, "b.pos"), 0);
        assert_int_equal(io->unlink(io, dir, longest), 0);
    }
    assert_int_equal(lqi_position_list(io, -1, &names, &count), LQ_OK); /* no directory */
    assert_int_equal(count, 0);
    free(names);
    io->close(io, dir);
}

static int no_dir_sync(const struct lqi_io *unused, int dir)
{
    (void)unused, (void)dir;
    return EIO;
}

static int no_unlink(const struct lqi_io *unused, int dir, const char *name)
{
    (void)unused, (void)dir, (void)name;
    return EACCES;
}

static int no_rename(const struct lqi_io *unused, int dir, const char *from, const char *to, bool replace)
{
    (void)unused, (void)dir, (void)from, (void)to, (void)replace;
    return EIO;
}

static int no_list(const struct lqi_io *unused, int dir, lqi_name_callback *each, void *context)
{
    (void)unused, (void)dir, (void)each, (void)context;
    return EIO;
}

/* And the names in texts are those that people see. */
static void who_deletes_knows_whether_the_file_is_gone_whatever_is_returned(void **state)
{
    int dir = open_dir(state);
    struct lqi_io sick = *io;
    bool gone = true;

    create(dir);
    sick.unlink = no_unlink;
    assert_int_equal(lqi_position_delete(&sick, dir, "billing", &gone), LQ_EACCESS);
    assert_string_equal(lq_error_text(), "delete consumers/billing.pos: Permission denied");
    assert_false(gone);
    sick = *io;
    sick.dir_sync = no_dir_sync;
    assert_int_equal(lqi_position_delete(&sick, dir, "billing", &gone), LQ_EIO);
    assert_string_equal(lq_error_text(), "sync the directory of consumers/billing.pos: Input/output error");
    assert_true(gone);
    gone = false;
    assert_int_equal(lqi_position_delete(io, dir, "billing", &gone), LQ_ENOTFOUND);
    assert_true(gone);
    gone = false;
    create(dir);
    assert_int_equal(lqi_position_delete(io, dir, "billing", &gone), LQ_OK);
    assert_true(gone);
    io->close(io, dir);
}

static void errors_of_other_calls_name_their_files_too(void **state)
{
    int dir = open_dir(state);
    struct lqi_io sick = *io;
    char (*names)[LQ_NAME_MAX + 1];
    size_t count;

    sick.rename = no_rename;
    assert_int_equal(lqi_position_create(&sick, dir, "billing", uuid, WINDOW, &first, 0600), LQ_EIO);
    assert_non_null(strstr(lq_error_text(), " consumers/billing.pos: Input/output error"));
    create(dir);
    assert_int_equal(lqi_position_replace(&sick, dir, "billing", 0600), LQ_EIO);
    assert_string_equal(lq_error_text(), "replace by a copy consumers/billing.pos: Input/output error");
    sick.dir_list = no_list;
    assert_int_equal(lqi_position_list(&sick, dir, &names, &count), LQ_EIO);
    assert_string_equal(lq_error_text(), "list consumers: Input/output error");
    io->close(io, dir);
}

/* Another file, and the same bytes. */
static void an_offset_file_is_replaced_by_its_copy(void **state)
{
    int dir = open_dir(state);
    static uint8_t before[FILE_SIZE], after[FILE_SIZE];
    struct lqi_position old, new;
    struct lqi_io_stat old_stat, new_stat;

    create(dir);
    read_file(dir, before);
    assert_int_equal(open_position(&old, dir), LQ_OK);
    assert_int_equal(lqi_position_replace(io, dir, "billing", 0600), LQ_OK);
    assert_int_equal(open_position(&new, dir), LQ_OK);
    assert_int_equal(io->stat(io, old.file.fd, &old_stat), 0);
    assert_int_equal(io->stat(io, new.file.fd, &new_stat), 0);
    assert_true(old_stat.inode != new_stat.inode);
    read_file(dir, after);
    assert_memory_equal(before, after, FILE_SIZE);
    assert_int_equal(lqi_position_replace(io, dir, "none", 0600), LQ_ENOTFOUND);
    lqi_position_close(&old);
    lqi_position_close(&new);
    io->close(io, dir);
}

static void offset_files_and_what_becomes_one_are_known_by_their_names(void **state)
{
    static const char *const good[] = {"a.pos", "billing.pos", "a.pos.pos", "x.pos.0123456789abcdef.new"};
    static const char *const bad[] = {"", "a", "pos", "new", ".new", ".pos", "-a.pos", "a.posx", "a.po", "notes.txt", "xnew", "apos", "a/.pos", ".pos.new.x"};
    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) assert_true(lqi_position_is_name(good[i]));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) assert_false(lqi_position_is_name(bad[i]));
}

static int open_error;

static int no_open(const struct lqi_io *unused, int dir, const char *name, int flags, uint32_t mode, int *fd_out)
{
    return open_error ? open_error : io->open(unused, dir, name, flags, mode, fd_out);
}

/* What has its name stands in the way of a file, whatever it is; and what cannot be asked may be there. */
static void whether_an_offset_file_exists_is_known_or_an_error(void **state)
{
    struct lqi_io sick = *io;
    bool exists = true;
    int dir = open_dir(state);
    sick.open = no_open;
    open_error = 0;
    assert_int_equal(lqi_position_exists(&sick, dir, "billing", &exists), LQ_OK);
    assert_false(exists);
    create(dir);
    assert_int_equal(io->dir_make(io, dir, "directory.pos", 0700), 0);
    static const char *const there[] = {"billing", "directory"};
    int descriptor = dup(0);
    close(descriptor);
    for (size_t i = 0; i < 2; i++) {
        exists = false;
        assert_int_equal(lqi_position_exists(&sick, dir, there[i], &exists), LQ_OK);
        assert_true(exists);
    }
    assert_int_equal(dup(0), descriptor); /* none is left open */
    close(descriptor);
    open_error = EACCES;
    exists = false;
    assert_int_equal(lqi_position_exists(&sick, dir, "billing", &exists), LQ_OK);
    assert_true(exists);
    static const struct { int error, code; } errors[] = {{EIO, LQ_EIO}, {EMFILE, LQ_ELIMIT}, {ENOMEM, LQ_ENOMEM}};
    for (size_t i = 0; i < 3; i++) {
        open_error = errors[i].error;
        assert_int_equal(lqi_position_exists(&sick, dir, "billing", &exists), errors[i].code);
    }
    open_error = ENOENT;
    assert_int_equal(lqi_position_exists(&sick, dir, "../billing", &exists), LQ_ENAME);
    io->close(io, dir);
}

static void without_their_directory_there_are_no_consumers(void **state)
{
    (void)state;
    char (*names)[LQ_NAME_MAX + 1];
    struct lqi_position position;
    size_t count;
    assert_int_equal(open_position(&position, -1), LQ_ENOTFOUND);
    assert_int_equal(position.file.fd, -1);
    assert_int_equal(lqi_position_list(io, -1, &names, &count), LQ_OK);
    assert_int_equal(count, 0);
    free(names);
}

/* ---- failing calls ----------------------------------------------------- */

static void create_open_list_delete(struct io_fault *fault, void *context)
{
    int dir = *(int *)context, found;
    char (*names)[LQ_NAME_MAX + 1] = NULL;
    struct lqi_position position, after = {.file = LQI_FILE_NONE};
    size_t count = 0;

    int err = lqi_position_create(&fault->io, dir, "billing", uuid, WINDOW, &first, 0600);
    found = open_position(&after, dir);
    assert_true(found == LQ_OK || (err && found == LQ_ENOTFOUND));
    lqi_position_close(&after);
    if (!err) {
        err = lqi_position_open(&position, &fault->io, dir, "billing", uuid, true);
        lqi_position_close(&position);
    }
    if (!err) err = lqi_position_list(&fault->io, dir, &names, &count);
    if (!err) assert_int_equal(count, 1);
    if (!err) err = lqi_position_delete(&fault->io, dir, "billing", NULL);
    assert_int_equal(err, fault->hits ? LQ_EIO : LQ_OK);
    free(names);
    (void)io->unlink(io, dir, "billing.pos");
}

static void whatever_call_fails_an_offset_file_is_whole_or_absent(void **state)
{
    int dir = open_dir(state);

    /* 7 to publish; open, read, stat; list; unlink, sync the directory. */
    assert_int_equal(each_fault(create_open_list_delete, &dir), 2 * 13);
    io->close(io, dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        with_files(consumers_are_listed_by_name_and_deleted),
        cmocka_unit_test(offset_files_and_what_becomes_one_are_known_by_their_names),
        with_files(whether_an_offset_file_exists_is_known_or_an_error),
        cmocka_unit_test(without_their_directory_there_are_no_consumers),
        with_files(who_deletes_knows_whether_the_file_is_gone_whatever_is_returned),
        with_files(errors_of_other_calls_name_their_files_too),
        with_files(an_offset_file_is_replaced_by_its_copy),
        with_files(whatever_call_fails_an_offset_file_is_whole_or_absent),
    };
    return cmocka_run_group_tests_name("position files", tests, NULL, NULL);
}
