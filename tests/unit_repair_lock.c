/* A queue is repaired by one alone: whoever has it open, opens it or repairs it just now keeps others out, and who cannot know that
 * nobody does leaves it as it is. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "support/meta_repair.h"

/* ---- who else has it open -------------------------------------------------------------------------------- */

static int lock_file(const char *name, uint64_t byte)
{
    int fd = open(in_queue(name), O_RDWR | O_CREAT, 0600);
    EQUAL(lqi_io_posix.lock(&lqi_io_posix, fd, byte), 0);
    return fd;
}

static void whoever_has_it_open_or_opens_it_keeps_repair_out(void **state)
{
    static const struct {
        const char *file;
        uint64_t byte;
        bool out;
    } locks[] = {
        {"meta", LQI_BYTE_OPEN, true}, {"meta", LQI_BYTE_HANDLE, true}, {"meta", LQI_BYTE_HANDLE + LQI_HANDLES_MAX - 1, true},
        {"meta", LQI_BYTE_HANDLE + LQI_HANDLES_MAX, false}, {"meta", LQI_BYTE_OPEN - 1, false},
        {"shared", LQI_BYTE_HANDLE, true}, {"shared", LQI_BYTE_HANDLE + LQI_HANDLES_MAX - 1, true},
        {"shared", LQI_BYTE_HANDLE + LQI_HANDLES_MAX, false}, {"shared", LQI_BYTE_OPEN, false},
    };
    for (int dry = 0; dry < 2; dry++) {
        for (size_t i = 0; i < sizeof locks / sizeof *locks; i++) {
            new_queue(state);
            int fd = lock_file(locks[i].file, locks[i].byte);
            unsigned before = api_open_files();
            IS(locks[i].out ? LQ_EBUSY : LQ_OK, look(&machine, dry));
            if (locks[i].out) assert_string_equal(lq_error_text(), "the queue is in use: repair it when everybody has closed it");
            close_repair();
            EQUAL(api_open_files(), before);
            close(fd);
            OK(look(&machine, dry));
            close_repair();
            drop_queue();
        }
    }
}

static int lock_when_replaced(const struct lqi_io *io, int fd, uint64_t byte)
{
    struct api_bytes file = api_file_read(in_queue("meta")); /* by another repair, which was faster */
    HOLDS(unlink(in_queue("meta")) == 0);
    api_file_write(in_queue("meta"), file.bytes, file.size);
    free(file.bytes);
    return lqi_io_posix.lock(io, fd, byte);
}

static void the_lock_of_a_meta_that_was_replaced_is_none(void **state)
{
    new_queue(state);
    machine.lock = lock_when_replaced;
    IS(LQ_EBUSY, look(&machine, false));
    TEXT_HAS("repaired just now");
    close_repair();
    drop_queue();
}

static int lock_error, locked_error;
static const char *locked_file;

static int sick_lock(const struct lqi_io *io, int fd, uint64_t byte)
{
    return lock_error ? lock_error : lqi_io_posix.lock(io, fd, byte);
}

static int sick_locked(const struct lqi_io *io, int fd, uint64_t first, uint64_t count, bool *by_others_out)
{
    bool is_meta = fd == repair.meta_file.fd;
    if (locked_error && is_meta == (strcmp(locked_file, "meta") == 0)) return locked_error;
    return lqi_io_posix.locked(io, fd, first, count, by_others_out);
}

static void who_cannot_know_whether_it_is_in_use_does_not_repair_it(void **state)
{
    new_queue(state);
    machine.lock = sick_lock;
    machine.locked = sick_locked;
    close(lock_file("shared", 1));
    lock_error = ENOLCK;
    IS(LQ_EIO, look(&machine, false));
    assert_string_equal(lq_error_text(), "lock meta: No locks available");
    close_repair();
    lock_error = 0;
    locked_error = EIO;
    locked_file = "meta";
    IS(LQ_EIO, look(&machine, false));
    assert_string_equal(lq_error_text(), "look at the locks of meta: Input/output error");
    close_repair();
    IS(LQ_EIO, look(&machine, true));
    assert_string_equal(lq_error_text(), "lock meta: Input/output error");
    close_repair();
    locked_file = "shared";
    IS(LQ_EIO, look(&machine, false));
    assert_string_equal(lq_error_text(), "look at the locks of shared: Input/output error");
    close_repair();
    locked_error = 0;
    OK(look(&machine, false));
    close_repair();
    /* What is no file is nobody's memory; a link may be. */
    HOLDS(unlink(in_queue("shared")) == 0 && mkdir(in_queue("shared"), 0700) == 0);
    OK(look(&machine, false));
    close_repair();
    HOLDS(rmdir(in_queue("shared")) == 0 && symlink("elsewhere", in_queue("shared")) == 0);
    IS(LQ_ECORRUPT, look(&machine, false));
    TEXT_HAS("shared is a symbolic link");
    close_repair();
    HOLDS(unlink(in_queue("shared")) == 0 && unlink(in_queue("meta")) == 0 && symlink("elsewhere", in_queue("meta")) == 0);
    IS(LQ_ECORRUPT, look(&machine, false));
    TEXT_HAS("meta is a symbolic link");
    close_repair();
    drop_queue();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_DIRECTORY(whoever_has_it_open_or_opens_it_keeps_repair_out),
        IN_DIRECTORY(the_lock_of_a_meta_that_was_replaced_is_none),
        IN_DIRECTORY(who_cannot_know_whether_it_is_in_use_does_not_repair_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
