/* Futex words, bells and robust locks, between threads and between processes.
 * Words and locks lie in memory shared with children. stress_wait.c has the long runs. */
#include "wait.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "error.h"
#include "support/child.h"

static struct memory {
    _Atomic uint32_t word, other[4];
    _Atomic uint32_t started, done, count;
    struct lqi_bell bell;
    struct lqi_lock lock;
    uint64_t guarded;
} *shared;

static int share_memory(void **state)
{
    (void)state;
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED) return -1;
    lqi_lock_patience_ms = LQI_LOCK_PATIENCE_MS;
    return lqi_locks_init(&(struct lqi_lock *){&shared->lock}, 1);
}

static int unshare_memory(void **state)
{
    (void)state;
    return munmap(shared, sizeof *shared);
}

static void settle(int result)
{
    if (result == CHILD_SKIP) skip();
    assert_int_equal(result, 0);
}

static void sleep_ms(long ms)
{
    nanosleep(&(struct timespec){ms / 1000, ms % 1000 * 1000000L}, NULL);
}

/* Waits, 30 s at most, until *word has the value. */
static bool comes_to_be(_Atomic uint32_t *word, uint32_t value)
{
    int64_t deadline = lqi_deadline(30000);
    while (atomic_load(word) != value) {
        if (lqi_now_us() > deadline) return false;
        sleep_ms(1);
    }
    return true;
}

/* Until the process sleeps in the kernel. */
static void comes_to_sleep(pid_t child)
{
    char path[64], line[256] = "";
    snprintf(path, sizeof path, "/proc/%d/stat", (int)child);
    for (int i = 0; i < 10000; i++) {
        FILE *file = fopen(path, "re");
        if (file == NULL) return;
        bool sleeps = fgets(line, sizeof line, file) != NULL && strstr(line, ") S ") != NULL;
        fclose(file);
        if (sleeps) return;
        sleep_ms(1);
    }
}

/* ---- time -------------------------------------------------------------- */

static void a_deadline_lies_so_many_milliseconds_ahead_or_never(void **state)
{
    (void)state;
    int64_t before = lqi_now_us(), deadline = lqi_deadline(1500), after = lqi_now_us();
    assert_true(deadline >= before + 1500000 && deadline <= after + 1500000);
    assert_true(lqi_deadline(0) <= lqi_now_us());
    assert_true(lqi_deadline(-1) == INT64_MAX);
    assert_true(lqi_deadline(INT64_MIN) == INT64_MAX);
    assert_true(lqi_deadline(INT64_MAX) == INT64_MAX);
    assert_true(lqi_deadline(INT64_MAX / 1000) > lqi_now_us());
}

static void what_is_left_until_a_deadline_is_said_in_milliseconds_begun(void **state)
{
    (void)state;
    int64_t now = lqi_now_us();
    assert_int_equal(lqi_ms_left(now), 0);
    assert_int_equal(lqi_ms_left(now - 5000000), 0);
    assert_int_equal(lqi_ms_left(INT64_MAX), LQI_LOCK_UNLIMITED);
    int left = lqi_ms_left(lqi_now_us() + 86400000000);
    assert_true(left <= 86400000 && left > 86400000 - 3600000);
    do left = lqi_ms_left((now = lqi_now_us()) + 1500); /* unless the machine was busy just then */
    while (lqi_now_us() - now >= 500);
    assert_int_equal(left, 2);
}

/* ---- words ------------------------------------------------------------- */

static void a_wait_ends_at_its_deadline_and_not_before(void **state)
{
    (void)state;
    _Atomic uint32_t *words[2] = {&shared->word, &shared->other[0]};
    uint32_t seen[2] = {0, 0};

    for (int many = 0; many < 2; many++) {
        int64_t before = lqi_now_us(), deadline = lqi_deadline(30);
        while (lqi_now_us() < deadline)
            if (many)
                lqi_wait_many(words, seen, 2, deadline);
            else
                lqi_wait(&shared->word, 0, deadline);
        assert_true(lqi_now_us() - before >= 30000);
        assert_true(lqi_now_us() - before < 10000000);
    }
}

static void a_deadline_that_is_over_or_a_changed_word_does_not_wait(void **state)
{
    (void)state;
    _Atomic uint32_t *words[2] = {&shared->word, &shared->other[0]};
    uint32_t seen[2] = {0, 0}, stale[2] = {0, 1};

    alarm(20);
    lqi_wait(&shared->word, 0, 0);
    lqi_wait(&shared->word, 0, -5);
    lqi_wait(&shared->word, 0, lqi_now_us() - 1);
    lqi_wait(&shared->word, 1, INT64_MAX);
    lqi_wait_many(words, seen, 2, 0);
    lqi_wait_many(words, seen, 2, -5);
    lqi_wait_many(words, seen, 2, lqi_now_us() - 1);
    lqi_wait_many(words, stale, 2, INT64_MAX);
    alarm(0);
}

static int sleep_on_the_word(void *unused)
{
    (void)unused;
    atomic_fetch_add(&shared->started, 1);
    while (atomic_load(&shared->word) == 0) lqi_wait(&shared->word, 0, INT64_MAX);
    return 0;
}

static void a_wake_reaches_all_sleepers_of_other_processes(void **state)
{
    (void)state;
    pid_t children[3];
    for (int i = 0; i < 3; i++) children[i] = child_start(sleep_on_the_word, NULL);
    assert_true(comes_to_be(&shared->started, 3));
    for (int i = 0; i < 3; i++) comes_to_sleep(children[i]);
    atomic_store(&shared->word, 1);
    lqi_wake_all(&shared->word);
    for (int i = 0; i < 3; i++) assert_int_equal(child_wait(children[i]), 0);
}

static int sleep_on_many_words(void *refuse)
{
    _Atomic uint32_t *words[LQI_WAIT_MANY];
    uint32_t seen[LQI_WAIT_MANY] = {0};

    if (refuse && !child_refuse(449, ENOSYS)) return CHILD_SKIP; /* no futex_waitv */
    for (int i = 0; i < LQI_WAIT_MANY; i++) words[i] = &shared->other[i % 4];
    words[0] = &shared->word; /* never changes */
    atomic_fetch_add(&shared->started, 1);
    while (atomic_load(&shared->other[3]) == 0) lqi_wait_many(words, seen, LQI_WAIT_MANY, INT64_MAX);
    return 0;
}

static void wake_the_last_of_many_words(void *refuse)
{
    pid_t child = child_start(sleep_on_many_words, refuse);
    for (int i = 0; i < 200 && atomic_load(&shared->started) == 0; i++) sleep_ms(1);
    comes_to_sleep(child);
    int64_t before = lqi_now_us();
    atomic_store(&shared->other[3], 1);
    lqi_wake_all(&shared->other[3]);
    settle(child_wait(child));
    assert_true(lqi_now_us() - before < 20000000);
}

static void a_wake_of_any_of_many_words_ends_the_wait(void **state)
{
    (void)state;
    wake_the_last_of_many_words(NULL);
}

static void waiting_on_many_words_works_without_help_of_the_kernel(void **state)
{
    (void)state;
    wake_the_last_of_many_words(shared);
}

static int look_at_many_words_without_the_kernel(void *unused)
{
    (void)unused;
    _Atomic uint32_t *words[2] = {&shared->word, &shared->other[0]};
    uint32_t same[2] = {0, 0}, stale[2] = {0, 1};

    if (!child_refuse(449, EPERM)) return CHILD_SKIP; /* as old sandboxes say */
    lqi_wait_many(words, stale, 2, INT64_MAX);
    lqi_wait_many(words, same, 2, 0);
    int64_t before = lqi_now_us();
    lqi_wait_many(words, same, 2, INT64_MAX);
    CHECK(lqi_now_us() - before >= 4000); /* it slept, if only for 5 ms */
    return 0;
}

static void without_help_of_the_kernel_a_changed_word_does_not_wait_either(void **state)
{
    (void)state;
    settle(child_run(look_at_many_words_without_the_kernel, NULL));
}

/* ---- bells ------------------------------------------------------------- */

static void a_bell_without_listeners_changes_nothing_and_with_them_rings_once(void **state)
{
    (void)state;
    struct lqi_bell *bell = &shared->bell;

    lqi_bell_ring(bell);
    lqi_bell_ring_slow(bell);
    assert_int_equal(atomic_load(&bell->word), 0);
    uint32_t seen = lqi_bell_listen(bell);
    assert_int_equal(lqi_bell_listen(bell), seen);
    lqi_bell_ring(bell);
    assert_int_not_equal(atomic_load(&bell->word), seen);
    seen = atomic_load(&bell->word);
    lqi_bell_ring(bell);
    assert_int_equal(atomic_load(&bell->word), seen);
}

static void a_bell_works_whatever_its_words_were(void **state)
{
    (void)state;
    static const uint32_t odd[] = {0, 1, 2, 0x7fffffff, 0x80000000, 0xfffffffd, 0xfffffffe, 0xffffffff};
    for (size_t i = 0; i < sizeof odd / sizeof *odd; i++) {
        struct lqi_bell bell = {odd[i], odd[i]};
        uint32_t seen = lqi_bell_listen(&bell);
        lqi_bell_ring(&bell);
        assert_int_not_equal(atomic_load(&bell.word), seen);
        seen = lqi_bell_listen(&bell);
        lqi_bell_ring(&bell);
        assert_int_not_equal(atomic_load(&bell.word), seen);
    }
}

static int sleep_on_the_bell(void *unused)
{
    (void)unused;
    for (;;) {
        uint32_t seen = lqi_bell_listen(&shared->bell);
        if (atomic_load(&shared->count) > 0) return 0;
        atomic_store(&shared->started, 1);
        lqi_wait(&shared->bell.word, seen, INT64_MAX);
    }
}

static void a_ringer_who_dies_before_he_wakes_anybody_leaves_it_to_the_next(void **state)
{
    (void)state;
    pid_t child = child_start(sleep_on_the_bell, NULL);
    assert_true(comes_to_be(&shared->started, 1));
    comes_to_sleep(child);
    atomic_fetch_add(&shared->bell.word, 1); /* as far as he came */
    atomic_store(&shared->count, 1);
    lqi_bell_ring(&shared->bell);
    assert_int_equal(child_wait(child), 0);
}

static void a_ringer_lowers_no_flag_that_was_raised_after_his_wake(void **state)
{
    (void)state;
    struct lqi_bell *bell = &shared->bell;

    lqi_bell_listen(bell);
    uint32_t found = atomic_load(&bell->listeners); /* a slow ringer has looked, rung and woken; meanwhile */
    lqi_bell_ring(bell);                            /* another has rung, and lowered the flag, and */
    lqi_bell_listen(bell);                          /* somebody new has come: */
    assert_int_not_equal(atomic_load(&bell->listeners), found);
}

/* ---- locks ------------------------------------------------------------- */

static int take_and_hold(void *unused)
{
    (void)unused;
    CHECK(lqi_lock(&shared->lock, "test") == LQI_LOCKED);
    atomic_store(&shared->started, 1);
    for (;;) pause();
}

static int take_it_as(void *expected)
{
    int result = lqi_lock_try(&shared->lock);
    if (result == LQI_LOCKED || result == LQI_INHERITED) lqi_unlock(&shared->lock);
    return result == *(int *)expected ? 0 : 1;
}

/* Asks a process of its own, for a thread cannot see what it holds itself. */
static void trying_says(int expected)
{
    assert_int_equal(child_run(take_it_as, &expected), 0);
}

static void a_lock_is_had_by_one_at_a_time(void **state)
{
    (void)state;
    trying_says(LQI_LOCKED);
    assert_int_equal(lqi_lock(&shared->lock, "test"), LQI_LOCKED);
    trying_says(LQI_NOT_LOCKED);
    lqi_unlock(&shared->lock);
    trying_says(LQI_LOCKED);
    assert_int_equal(lqi_lock_try(&shared->lock), LQI_LOCKED);
    trying_says(LQI_NOT_LOCKED);
    lqi_unlock(&shared->lock);
}

static void a_lock_whose_owner_died_is_inherited_and_mended(void **state)
{
    (void)state;
    for (int way = 0; way < 2; way++) {
        atomic_store(&shared->started, 0);
        pid_t child = child_start(take_and_hold, NULL);
        assert_true(comes_to_be(&shared->started, 1));
        assert_int_equal(lqi_lock_try(&shared->lock), LQI_NOT_LOCKED);
        child_kill(child);
        assert_int_equal(way ? lqi_lock_try(&shared->lock) : lqi_lock(&shared->lock, "test"), LQI_INHERITED);
        lqi_lock_mend(&shared->lock);
        lqi_unlock(&shared->lock);
        trying_says(LQI_LOCKED);
    }
}

static void a_waiter_inherits_at_once_when_the_owner_dies(void **state)
{
    (void)state;
    pid_t child = child_start(take_and_hold, NULL);
    assert_true(comes_to_be(&shared->started, 1));
    pid_t killer = fork();
    if (killer == 0) {
        sleep_ms(50);
        kill(child, SIGKILL);
        _exit(0);
    }
    int64_t before = lqi_now_us();
    assert_int_equal(lqi_lock(&shared->lock, "test"), LQI_INHERITED);
    assert_true(lqi_now_us() - before < 5000000);
    lqi_lock_mend(&shared->lock);
    lqi_unlock(&shared->lock);
    child_wait(child);
    child_wait(killer);
}

static void *die_with_the_lock(void *unused)
{
    (void)unused;
    return lqi_lock(&shared->lock, "test") == LQI_LOCKED ? shared : NULL;
}

static void a_thread_that_ends_with_the_lock_leaves_it_to_the_others(void **state)
{
    (void)state;
    pthread_t thread;
    void *good = NULL;
    assert_int_equal(pthread_create(&thread, NULL, die_with_the_lock, NULL), 0);
    assert_int_equal(pthread_join(thread, &good), 0);
    assert_non_null(good);
    assert_int_equal(lqi_lock(&shared->lock, "test"), LQI_INHERITED);
    lqi_lock_mend(&shared->lock);
    lqi_unlock(&shared->lock);
}

static void an_inherited_lock_may_pass_through_several_deaths(void **state)
{
    (void)state;
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, die_with_the_lock, NULL), 0);
    pthread_join(thread, NULL);
    for (int i = 0; i < 3; i++) { /* each inherits and dies while repairing */
        pid_t child = fork();
        if (child == 0) _exit(lqi_lock(&shared->lock, "test") == LQI_INHERITED ? 0 : 1);
        assert_int_equal(child_wait(child), 0);
    }
    assert_int_equal(lqi_lock(&shared->lock, "test"), LQI_INHERITED);
    lqi_lock_mend(&shared->lock);
    lqi_unlock(&shared->lock);
    trying_says(LQI_LOCKED);
}

static void a_stopped_owner_is_busy_and_nobody_waits_for_ever(void **state)
{
    (void)state;
    pid_t child = child_start(take_and_hold, NULL);
    assert_true(comes_to_be(&shared->started, 1));
    assert_int_equal(kill(child, SIGSTOP), 0);
    lqi_lock_patience_ms = 50;
    int64_t before = lqi_now_us();
    assert_int_equal(lqi_lock(&shared->lock, "the log's end"), LQ_EBUSY);
    assert_true(lqi_now_us() - before >= 49000);
    assert_true(lqi_now_us() - before < 10000000);
    assert_non_null(strstr(lq_error_text(), "the log's end"));
    assert_non_null(strstr(lq_error_text(), "50 ms"));
    lqi_lock_patience_ms = 999; /* nanoseconds that carry over, mostly */
    before = lqi_now_us();
    assert_int_equal(lqi_lock(&shared->lock, "test"), LQ_EBUSY);
    assert_true(lqi_now_us() - before >= 998000);
    child_kill(child);
    assert_int_equal(lqi_lock(&shared->lock, "test"), LQI_INHERITED);
    lqi_lock_mend(&shared->lock);
    lqi_unlock(&shared->lock);
}

static void a_limit_is_for_all_locks_together(void **state)
{
    (void)state;
    pid_t child = child_start(take_and_hold, NULL);
    assert_true(comes_to_be(&shared->started, 1));
    assert_int_equal(lqi_lock_limit(60), LQI_LOCK_UNLIMITED);
    lqi_lock_patience_ms = 20;
    assert_int_equal(lqi_lock(&shared->lock, "test"), LQ_EBUSY);
    assert_non_null(strstr(lq_error_text(), "20 ms"));
    int left = lqi_lock_limit(30); /* ... of the 60 */
    assert_true(left <= 40);
    lqi_lock_patience_ms = 1000;
    assert_int_equal(lqi_lock(&shared->lock, "test"), LQ_EBUSY);
    assert_non_null(strstr(lq_error_text(), "30 ms"));
    assert_int_equal(lqi_lock_patience(), 0);
    for (int i = 0; i < 1000; i++) assert_int_equal(lqi_lock(&shared->lock, "test"), LQ_EBUSY); /* at once */
    assert_non_null(strstr(lq_error_text(), " 0 ms"));
    assert_int_equal(lqi_lock_limit(LQI_LOCK_UNLIMITED), 0);
    assert_int_equal(lqi_lock_patience(), 1000);
    child_kill(child);
    assert_int_equal(lqi_lock(&shared->lock, "test"), LQI_INHERITED);
    lqi_lock_mend(&shared->lock);
    lqi_unlock(&shared->lock);
}

static int wait_for_the_lock(void *unused)
{
    (void)unused;
    CHECK(lqi_lock(&shared->lock, "test") == LQI_LOCKED);
    lqi_unlock(&shared->lock);
    return 0;
}

static void a_killed_waiter_harms_nobody(void **state)
{
    (void)state;
    pid_t killed[4], living[2];

    assert_int_equal(lqi_lock(&shared->lock, "test"), LQI_LOCKED);
    for (int i = 0; i < 4; i++) killed[i] = child_start(wait_for_the_lock, NULL);
    for (int i = 0; i < 2; i++) living[i] = child_start(wait_for_the_lock, NULL);
    for (int i = 0; i < 4; i++) comes_to_sleep(killed[i]);
    for (int i = 0; i < 2; i++) comes_to_sleep(living[i]);
    for (int i = 0; i < 4; i++) child_kill(killed[i]);
    lqi_unlock(&shared->lock);
    for (int i = 0; i < 2; i++) assert_int_equal(child_wait(living[i]), 0);
    trying_says(LQI_LOCKED);
}

static void a_lock_nobody_mended_is_never_had_again(void **state)
{
    (void)state;
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, die_with_the_lock, NULL), 0);
    pthread_join(thread, NULL);
    assert_int_equal(lqi_lock(&shared->lock, "test"), LQI_INHERITED);
    lqi_unlock(&shared->lock); /* without lqi_lock_mend() */
    assert_int_equal(lqi_lock(&shared->lock, "the log's end"), LQ_EIO);
    assert_non_null(strstr(lq_error_text(), "the log's end"));
    int result = lqi_lock_try(&shared->lock);
    assert_true(result == LQ_EIO || result == LQI_NOT_LOCKED); /* see lqi_lock_mend() */
    lqi_lock_patience_ms = 20;
    result = lqi_lock(&shared->lock, "test");
    assert_true(result == LQ_EIO || result == LQ_EBUSY);
}

static void *count_up(void *unused)
{
    (void)unused;
    for (int i = 0; i < 20000; i++) {
        if (lqi_lock(&shared->lock, "test") != LQI_LOCKED) return NULL;
        shared->guarded++;
        lqi_unlock(&shared->lock);
    }
    return shared;
}

static int count_up_in_a_child(void *unused)
{
    return count_up(unused) ? 0 : 1;
}

static void what_a_lock_guards_is_changed_by_one_at_a_time(void **state)
{
    (void)state;
    pthread_t threads[3];
    pid_t child = child_start(count_up_in_a_child, NULL);
    for (int i = 0; i < 3; i++) assert_int_equal(pthread_create(&threads[i], NULL, count_up, NULL), 0);
    for (int i = 0; i < 3; i++) {
        void *good = NULL;
        pthread_join(threads[i], &good);
        assert_non_null(good);
    }
    assert_int_equal(child_wait(child), 0);
    assert_int_equal(shared->guarded, 80000);
}

int main(void)
{
#define SHARING(test) cmocka_unit_test_setup_teardown(test, share_memory, unshare_memory)
    const struct CMUnitTest tests[] = {
        SHARING(a_deadline_lies_so_many_milliseconds_ahead_or_never),
        SHARING(what_is_left_until_a_deadline_is_said_in_milliseconds_begun),
        SHARING(a_wait_ends_at_its_deadline_and_not_before),
        SHARING(a_deadline_that_is_over_or_a_changed_word_does_not_wait),
        SHARING(a_wake_reaches_all_sleepers_of_other_processes),
        SHARING(a_wake_of_any_of_many_words_ends_the_wait),
        SHARING(waiting_on_many_words_works_without_help_of_the_kernel),
        SHARING(without_help_of_the_kernel_a_changed_word_does_not_wait_either),
        SHARING(a_bell_without_listeners_changes_nothing_and_with_them_rings_once),
        SHARING(a_bell_works_whatever_its_words_were),
        SHARING(a_ringer_who_dies_before_he_wakes_anybody_leaves_it_to_the_next),
        SHARING(a_ringer_lowers_no_flag_that_was_raised_after_his_wake),
        SHARING(a_lock_is_had_by_one_at_a_time),
        SHARING(a_lock_whose_owner_died_is_inherited_and_mended),
        SHARING(a_waiter_inherits_at_once_when_the_owner_dies),
        SHARING(a_thread_that_ends_with_the_lock_leaves_it_to_the_others),
        SHARING(an_inherited_lock_may_pass_through_several_deaths),
        SHARING(a_stopped_owner_is_busy_and_nobody_waits_for_ever),
        SHARING(a_limit_is_for_all_locks_together),
        SHARING(a_killed_waiter_harms_nobody),
        SHARING(a_lock_nobody_mended_is_never_had_again),
        SHARING(what_a_lock_guards_is_changed_by_one_at_a_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
