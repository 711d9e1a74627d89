/* How long is waited, to the microsecond: on a clock that the test moves, in sleeps that take no time. What the kernel is asked to sleep
 * on and until when is looked at where it is asked; the first one to wait for a lock that this very thread holds is it
 * itself, until the clock says that it is given back. */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "error.h"
#include "support/own_clock.h"
#include "wait.h"

/* ---- the clock ------------------------------------------------------------ */

static struct {
    int64_t longest_us;
    unsigned sleeps;
    int64_t release_us;
    struct lqi_lock *held; /* is given back at that time */
} machine;

/* Time passes until then, unless the lock is given back before. */
static void sleep_until(int64_t until_us)
{
    machine.sleeps++;
    if (until_us - own_clock.now_us > machine.longest_us) machine.longest_us = until_us - own_clock.now_us;
    if (machine.held && until_us >= machine.release_us) {
        lqi_unlock(machine.held);
        machine.held = NULL;
        until_us = machine.release_us;
    }
    if (until_us > own_clock.now_us) own_clock.now_us = until_us;
}

int pthread_mutex_clocklock(pthread_mutex_t *mutex, clockid_t clock, const struct timespec *until)
{
    assert_int_equal(clock, CLOCK_MONOTONIC);
    assert_in_range(until->tv_nsec, 0, 999999999);
    assert_int_equal(until->tv_nsec % 1000, own_clock.nanoseconds);
    sleep_until((int64_t)until->tv_sec * 1000000 + until->tv_nsec / 1000);
    int error = pthread_mutex_trylock(mutex);
    return error == EBUSY ? ETIMEDOUT : error;
}

static struct lqi_lock lock;

static void start_at(int64_t now_us)
{
    memset(&machine, 0, sizeof machine);
    own_clock.now_us = now_us;
    own_clock.nanoseconds = 0;
    own_clock.sleep = sleep_until;
    assert_int_equal(lqi_locks_init(&(struct lqi_lock *){&lock}, 1), LQ_OK);
}

static void hold_until(int64_t release_us)
{
    assert_int_equal(lqi_lock(&lock, "a test"), LQI_LOCKED);
    machine.held = &lock;
    machine.release_us = release_us;
    machine.sleeps = 0;
    machine.longest_us = 0;
}

static int end(void **state)
{
    (void)state;
    memset(&own_clock, 0, sizeof own_clock);
    memset(&plan, 0, sizeof plan);
    lqi_lock_limit(LQI_LOCK_UNLIMITED);
    return 0;
}

/* ---- time ------------------------------------------------------------------ */

static void the_clock_is_the_monotonic_one_in_microseconds(void **state)
{
    static const int64_t times[] = {1, 999999, 1000000, 1000001, 123456789012345};
    (void)state;
    for (size_t i = 0; i < sizeof times / sizeof *times; i++) {
        start_at(times[i]);
        assert_true(lqi_now_us() == times[i]);
        assert_true(lqi_deadline(1) == times[i] + 1000);
        assert_true(lqi_deadline(86400000) == times[i] + 86400000000);
    }
}

static void what_is_left_is_nothing_from_the_deadline_on_and_more_before(void **state)
{
    (void)state;
    start_at(5000000);
    assert_int_equal(lqi_ms_left(5000000), 0);
    assert_int_equal(lqi_ms_left(5000001), 1);
    assert_int_equal(lqi_ms_left(5001000), 1);
    assert_int_equal(lqi_ms_left(5001001), 2);
    assert_int_equal(lqi_ms_left(5000000 + (INT32_MAX - 1) * (int64_t)1000), INT32_MAX - 1);
    assert_int_equal(lqi_ms_left(5000000 + INT32_MAX * (int64_t)1000), LQI_LOCK_UNLIMITED);
    assert_int_equal(lqi_ms_left(5000000 + (INT32_MAX + (int64_t)1) * 1000), LQI_LOCK_UNLIMITED);
}

static void a_nap_is_a_millisecond(void **state)
{
    (void)state;
    start_at(7000000);
    lqi_nap();
    assert_int_equal(machine.sleeps, 1);
    assert_int_equal(own_clock.now_us, 7001000);
}

/* ---- sleeping on words ------------------------------------------------------- */

static struct asked {
    long number;
    bool for_ever;
    int64_t seconds, nanoseconds;
    size_t count;
    uintptr_t addresses[LQI_WAIT_MANY];
    uint32_t seen[LQI_WAIT_MANY];
    int clock;
} asked[4];
static unsigned asked_count;
static int many_error; /* what waiting on many says */

struct kernel_waitv {
    uint64_t seen, address;
    uint32_t flags, reserved;
};

static long note_sleep(long number, const long a[6])
{
    struct asked *now = &asked[asked_count++];
    assert_true(asked_count <= sizeof asked / sizeof *asked);
    memset(now, 0, sizeof *now);
    now->number = number;
    now->for_ever = !a[3];
    if (number == 449) {
        struct { int64_t seconds, nanoseconds; } until = {0, 0};
        const struct kernel_waitv *words = (const void *)a[0];
        if (a[3]) memcpy(&until, (const void *)a[3], sizeof until);
        now->seconds = until.seconds;
        now->nanoseconds = until.nanoseconds;
        now->count = (size_t)a[1];
        now->clock = (int)a[4];
        assert_int_equal(a[2], 0);
        for (size_t i = 0; i < now->count; i++) {
            now->addresses[i] = (uintptr_t)words[i].address;
            now->seen[i] = (uint32_t)words[i].seen;
            assert_int_equal(words[i].flags, 2); /* of 32 bits, and of any process */
            assert_int_equal(words[i].reserved, 0);
        }
        errno = many_error;
        return many_error ? -1 : 0;
    }
    struct timespec until = {0, 0};
    if (a[3]) memcpy(&until, (const void *)a[3], sizeof until);
    now->seconds = until.tv_sec;
    now->nanoseconds = until.tv_nsec;
    now->count = 1;
    now->addresses[0] = (uintptr_t)a[0];
    now->seen[0] = (uint32_t)a[2];
    assert_int_equal(a[1], 9); /* FUTEX_WAIT_BITSET of any process: until a time, not for so long */
    assert_int_equal((uint32_t)a[5], 0xffffffff);
    return 0;
}

static void listen_to_sleeps(int error)
{
    plan.answer_syscall = note_sleep;
    asked_count = 0;
    many_error = error;
}

static const int64_t deadlines[] = {0, 1, 999999, 1000000, 1999999, 123456789012345};

static void a_sleep_on_a_word_ends_at_the_deadline(void **state)
{
    _Atomic uint32_t word = 7;
    (void)state;
    for (size_t i = 0; i < sizeof deadlines / sizeof *deadlines; i++) {
        listen_to_sleeps(0);
        lqi_wait(&word, 7, deadlines[i]);
        assert_int_equal(asked_count, 1);
        assert_int_equal(asked[0].addresses[0], (uintptr_t)&word);
        assert_int_equal(asked[0].seen[0], 7);
        assert_false(asked[0].for_ever);
        assert_true(asked[0].seconds == deadlines[i] / 1000000);
        assert_true(asked[0].nanoseconds == deadlines[i] % 1000000 * 1000);
    }
    listen_to_sleeps(0);
    lqi_wait(&word, 7, INT64_MAX);
    assert_true(asked[0].for_ever);
}

static void a_sleep_on_many_words_is_on_all_of_them_and_ends_at_the_deadline(void **state)
{
    static const int why_it_ends[] = {0, EAGAIN, EINTR, ETIMEDOUT};
    _Atomic uint32_t all[LQI_WAIT_MANY];
    _Atomic uint32_t *words[LQI_WAIT_MANY];
    uint32_t seen[LQI_WAIT_MANY];
    (void)state;
    for (uint32_t i = 0; i < LQI_WAIT_MANY; i++) {
        atomic_init(&all[i], i + 1);
        words[i] = &all[i];
        seen[i] = i + 1;
    }
    for (size_t i = 0; i < sizeof deadlines / sizeof *deadlines; i++) {
        for (size_t why = 0; why < sizeof why_it_ends / sizeof *why_it_ends; why++) {
            size_t count = i ? LQI_WAIT_MANY : 1;
            listen_to_sleeps(why_it_ends[why]);
            lqi_wait_many(words, seen, count, deadlines[i]);
            assert_int_equal(asked_count, 1); /* and then it is over */
            assert_int_equal(asked[0].count, count);
            for (size_t word = 0; word < count; word++) {
                assert_int_equal(asked[0].addresses[word], (uintptr_t)words[word]);
                assert_int_equal(asked[0].seen[word], seen[word]);
            }
            assert_int_equal(asked[0].clock, CLOCK_MONOTONIC);
            assert_false(asked[0].for_ever);
            assert_true(asked[0].seconds == deadlines[i] / 1000000);
            assert_true(asked[0].nanoseconds == deadlines[i] % 1000000 * 1000);
        }
    }
    listen_to_sleeps(0);
    lqi_wait_many(words, seen, 2, INT64_MAX);
    assert_true(asked[0].for_ever);
}

static void where_the_kernel_cannot_wait_for_many_it_is_asked_to_for_5_ms_at_the_most(void **state)
{
    _Atomic uint32_t a = 1, b = 2, c = 3;
    _Atomic uint32_t *const words[] = {&a, &b, &c};
    static const struct {
        int64_t deadline, until;
    } rows[] = {{INT64_MAX, 2004000}, {2004001, 2004000}, {2004000, 2004000}, {2003999, 2003999}, {5, 5}};
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        uint32_t seen[] = {1, 2, 3};
        start_at(1999000);
        listen_to_sleeps(i % 2 ? ENOSYS : EPERM);
        lqi_wait_many(words, seen, 3, rows[i].deadline);
        assert_int_equal(asked_count, 2);
        assert_int_equal(asked[1].addresses[0], (uintptr_t)&a);
        assert_int_equal(asked[1].seen[0], 1);
        assert_true(asked[1].seconds * 1000000 + asked[1].nanoseconds / 1000 == rows[i].until);
        for (size_t changed = 0; changed < 3; changed++) { /* while it looked: then not at all */
            listen_to_sleeps(ENOSYS);
            seen[changed] += 10;
            lqi_wait_many(words, seen, 3, rows[i].deadline);
            assert_int_equal(asked_count, 1);
            seen[changed] -= 10;
        }
    }
}

/* ---- waiting for locks ------------------------------------------------------- */

static void a_limit_is_told_back_as_it_was_set(void **state)
{
    static const int limits[] = {0, 1, 999, 1000, 1001, 10000, 1000000, LQI_LOCK_UNLIMITED};
    (void)state;
    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++) {
        lqi_lock_limit(limits[i]);
        assert_int_equal(lqi_lock_patience(), limits[i] < LQI_LOCK_PATIENCE_MS ? limits[i] : LQI_LOCK_PATIENCE_MS);
        assert_int_equal(lqi_lock_limit(5), limits[i]);
    }
}

/* The owner wakes one sleeper, and that one may be killed just then. */
static void who_waits_for_a_lock_looks_again_every_20_ms(void **state)
{
    (void)state;
    static const int64_t starts[] = {1979999, 1980000, 1990000, 1999999, 2000000}; /* over the full second, and up to it */
    for (size_t i = 0; i < 2 * sizeof starts / sizeof *starts; i++) {
        int64_t start = starts[i / 2];
        start_at(start);
        own_clock.nanoseconds = i % 2 ? 999 : 0;
        hold_until(start + 95000);
        assert_int_equal(lqi_lock(&lock, "a test"), LQI_LOCKED);
        assert_int_equal(own_clock.now_us, start + 95000);
        assert_true(machine.longest_us <= 20000);
        assert_true(machine.sleeps >= 5);
        lqi_unlock(&lock);
    }
}

static void who_is_not_given_a_lock_has_waited_as_long_as_he_was_to_and_no_longer(void **state)
{
    static const int patiences[] = {1, 3, 20, 21, 999, 1001, 10000};
    (void)state;
    for (size_t i = 0; i < sizeof patiences / sizeof *patiences; i++) {
        start_at(1999990);
        hold_until(INT64_MAX);
        lqi_lock_limit(patiences[i]);
        assert_int_equal(lqi_lock(&lock, "a test"), LQ_EBUSY);
        assert_true(own_clock.now_us >= 1999990 + patiences[i] * 1000);
        assert_true(own_clock.now_us < 1999990 + patiences[i] * 1000 + 20000);
        if (patiences[i] <= 20) assert_true(own_clock.now_us <= 1999990 + patiences[i] * 1000 + 50);
        unsigned sleeps = machine.sleeps;
        assert_int_equal(lqi_lock(&lock, "a test"), LQ_EBUSY); /* that was the limit of the next one, too */
        assert_int_equal(machine.sleeps, sleeps);
        assert_int_equal(lqi_lock_limit(LQI_LOCK_UNLIMITED), 0);
        lqi_unlock(&lock);
    }
}

/* Or who has a microsecond yet would be told at once that somebody is stopped. */
static void a_limit_of_which_a_microsecond_is_left_is_not_over(void **state)
{
    static const struct {
        int64_t waited_us;
        int left_ms;
    } rows[] = {{1, 10}, {1000, 9}, {1001, 9}, {8999, 2}, {9000, 1}, {9999, 1}};
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        start_at(3000000);
        hold_until(3000000 + rows[i].waited_us);
        lqi_lock_limit(10);
        assert_int_equal(lqi_lock(&lock, "a test"), LQI_LOCKED);
        assert_int_equal(lqi_lock_limit(LQI_LOCK_UNLIMITED), rows[i].left_ms);
        lqi_unlock(&lock);
    }
}

static void without_a_limit_nothing_is_taken_off(void **state)
{
    (void)state;
    start_at(3000000);
    hold_until(3050000);
    assert_int_equal(lqi_lock(&lock, "a test"), LQI_LOCKED);
    assert_int_equal(lqi_lock_limit(LQI_LOCK_UNLIMITED), LQI_LOCK_UNLIMITED);
    lqi_unlock(&lock);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(the_clock_is_the_monotonic_one_in_microseconds, end),
        cmocka_unit_test_teardown(what_is_left_is_nothing_from_the_deadline_on_and_more_before, end),
        cmocka_unit_test_teardown(a_nap_is_a_millisecond, end),
        cmocka_unit_test_teardown(a_sleep_on_a_word_ends_at_the_deadline, end),
        cmocka_unit_test_teardown(a_sleep_on_many_words_is_on_all_of_them_and_ends_at_the_deadline, end),
        cmocka_unit_test_teardown(where_the_kernel_cannot_wait_for_many_it_is_asked_to_for_5_ms_at_the_most, end),
        cmocka_unit_test_teardown(a_limit_is_told_back_as_it_was_set, end),
        cmocka_unit_test_teardown(who_waits_for_a_lock_looks_again_every_20_ms, end),
        cmocka_unit_test_teardown(who_is_not_given_a_lock_has_waited_as_long_as_he_was_to_and_no_longer, end),
        cmocka_unit_test_teardown(a_limit_of_which_a_microsecond_is_left_is_not_over, end),
        cmocka_unit_test_teardown(without_a_limit_nothing_is_taken_off, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
