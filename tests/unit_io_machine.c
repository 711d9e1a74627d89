/* What the real I/O table says of the machine: which boot this is, random bytes, and the time. */
#include "support/child.h"
#include "support/place.h"

#include <sys/mount.h>
#include <time.h>

/* ---- the boot ------------------------------------------------------------- */

static int hide_the_boot_id(void *unused)
{
    uint8_t real[16], one[16], two[16];

    (void)unused;
    CHECK(io->boot_id(io, real) == 0);
    if (!child_unshare_mounts()) return CHILD_SKIP;
    if (mount("/dev/null", "/proc/sys/kernel/random/boot_id", NULL, MS_BIND, NULL) != 0) return CHILD_SKIP;
    CHECK(io->boot_id(io, one) == 0 && io->boot_id(io, two) == 0);
    CHECK(memcmp(one, two, 16) == 0 && memcmp(one, real, 16) != 0);
    if (mount("none", "/proc", "tmpfs", 0, NULL) != 0) return CHILD_SKIP;
    CHECK(io->boot_id(io, one) == ENOSYS);
    return 0;
}

static void a_boot_has_an_id_even_where_the_kernels_own_is_hidden(void **state)
{
    uint8_t one[16] = {0}, two[16] = {0}, zero[16] = {0};
    (void)state;
    assert_int_equal(io->boot_id(io, one), 0);
    assert_int_equal(io->boot_id(io, two), 0);
    assert_memory_equal(one, two, 16);
    assert_memory_not_equal(one, zero, 16);
    int result = child_run(hide_the_boot_id, NULL);
    if (result == CHILD_SKIP) skip();
    assert_int_equal(result, 0);
}

static void the_boot_id_is_read_as_the_kernel_writes_it_and_nothing_else(void **state)
{
    static const char *const wrong[] = {
        "", "0123", "01234567-89ab-cdef-0123-456789abcdeg", "01234567-89ab-cdef-0123-456789abcdef0",
        "01234567-89AB-cdef-0123-456789abcdef", "01234567-89ab-cdef-0123-456789abcde ", "01234567/89ab-cdef-0123-456789abcdef",
        "0123456 -89ab-cdef-0123-456789abcdef",
    };
    static const char *const right[] = {"01234567-89ab-cdef-0123-456789abcdef\n", "01234567-89ab-cdef-0123-456789abcdef"};
    struct {
        uint8_t id[16], behind;
    } boot = {.behind = 0x55};
    (void)state;
    for (size_t i = 0; i < sizeof right / sizeof *right; i++) {
        memset(boot.id, 0xff, sizeof boot.id);
        plan.text = right[i];
        assert_int_equal(io->boot_id(io, boot.id), 0);
        assert_memory_equal(boot.id, "\x01\x23\x45\x67\x89\xab\xcd\xef\x01\x23\x45\x67\x89\xab\xcd\xef", 16);
    }
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        plan.text = wrong[i]; /* and /proc/stat, which says the same, has no time of the boot */
        assert_int_equal(io->boot_id(io, boot.id), ENOSYS);
    }
    assert_int_equal(boot.behind, 0x55);
    plan.text = NULL;
}

static void where_the_boot_id_is_hidden_the_time_of_the_boot_is_it(void **state)
{
    uint8_t id[16];
    (void)state;
    memset(id, 0xff, sizeof id);
    plan.text = "cpu 1\nbtime 258\nprocesses 1\n";
    assert_int_equal(io->boot_id(io, id), 0);
    assert_memory_equal(id, "LQ btime\x02\x01\0\0\0\0\0\0", 16);
    fail_calls(OPENAT, 1, 1, EACCES); /* nowhere else is it looked for */
    plan.text = "cpu 1\nbtime 258\nprocesses 1\n";
    assert_int_equal(io->boot_id(io, id), ENOSYS);
    all_failed();
}

/* The line before has a number for each interrupt there may be: thousands, on large machines. */
static void the_time_of_the_boot_may_come_after_many_interrupts(void **state)
{
    static char text[65536];
    static const struct {
        size_t at;
        int error;
    } places[] = {{30000, 0}, {40000, ENOSYS}};
    uint8_t id[16];
    (void)state;
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        memset(text, 0, sizeof text);
        for (size_t at = 0; at < places[i].at; at += 2) memcpy(text + at, " 0", 2);
        strcat(text, "\nbtime 7\n");
        plan.text = text;
        assert_int_equal(io->boot_id(io, id), places[i].error);
    }
    plan.text = NULL;
}

static void want_of_descriptors_or_memory_is_no_other_boot(void **state)
{
    static const int wants[] = {EMFILE, ENFILE, ENOMEM};
    struct place place = open_place(state);
    uint8_t id[16];

    for (size_t i = 0; i < 3; i++) {
        fail_calls(OPENAT, 0, 1, wants[i]);
        assert_int_equal(io->boot_id(io, id), wants[i]);
        all_failed();
        fail_calls(PREAD, 0, 1, wants[i]);
        assert_int_equal(io->boot_id(io, id), wants[i]);
        all_failed();
    }
    /* Hidden in both places. */
    fail_calls(OPENAT, 0, 2, EACCES);
    assert_int_equal(io->boot_id(io, id), ENOSYS);
    all_failed();
    for (size_t i = 0; i < 3; i++) { /* hidden, and then want */
        fail_calls(OPENAT, 0, 1, EACCES);
        and_then_fail(OPENAT, wants[i]);
        assert_int_equal(io->boot_id(io, id), wants[i]);
        all_failed();
    }
    close_place(&place);
}

/* ---- chance and time -------------------------------------------------------- */

/* A single byte that never changed would be as likely as one that comes the same twenty times. The kernel gives three at a time here. */
static void every_byte_of_what_is_random_is_another_each_time(void **state)
{
    uint8_t first[16], next[16], changed[16] = {0};
    (void)state;
    assert_int_equal(io->random(io, first, sizeof first), 0);
    for (int i = 0; i < 20; i++) {
        assert_int_equal(io->random(io, next, sizeof next), 0);
        for (size_t at = 0; at < sizeof next; at++) changed[at] |= (uint8_t)(next[at] ^ first[at]);
    }
    for (size_t at = 0; at < sizeof changed; at++) assert_int_not_equal(changed[at], 0);
    assert_int_equal(io->random(io, NULL, 0), 0);
}

static int64_t systems_us(void)
{
    struct timespec now;
    assert_int_equal(clock_gettime(CLOCK_REALTIME, &now), 0);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static void the_time_is_the_systems_to_the_microsecond(void **state)
{
    unsigned right = 0;
    (void)state;
    for (int i = 0; i < 20; i++) {
        int64_t before = systems_us(), now = io->wall_us(io);
        right += before <= now && now <= systems_us();
        usleep(1000);
    }
    assert_true(right >= 18); /* somebody may be setting the clock */
}

int main(void)
{
#define IN_SCRATCH(test) cmocka_unit_test_setup_teardown(test, scratch_make, scratch_remove)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_boot_has_an_id_even_where_the_kernels_own_is_hidden),
        cmocka_unit_test(the_boot_id_is_read_as_the_kernel_writes_it_and_nothing_else),
        cmocka_unit_test(where_the_boot_id_is_hidden_the_time_of_the_boot_is_it),
        cmocka_unit_test(the_time_of_the_boot_may_come_after_many_interrupts),
        IN_SCRATCH(want_of_descriptors_or_memory_is_no_other_boot),
        cmocka_unit_test(every_byte_of_what_is_random_is_another_each_time),
        cmocka_unit_test(the_time_is_the_systems_to_the_microsecond),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
