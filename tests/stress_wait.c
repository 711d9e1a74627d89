/* Bells and locks under load: no wake-up is lost, whoever is killed; no lock is. LQ_STRESS=50 makes it fifty
 * times as long (over a million rounds of each). */
#include "wait.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "error.h"
#include "support/child.h"

/* A wake-up that has not come by then is lost; nothing else takes so long, not on a loaded machine either. */
enum { LOST_US = 5000000, PLAYERS = 4 };

static struct memory {
    struct lqi_bell ping, pong;
    _Atomic uint32_t ball, answers[PLAYERS], stop, lost;
    _Atomic uint64_t sleeps;
    struct lqi_lock lock;
    uint64_t first, second; /* equal whenever the lock is free */
} *shared;

static uint32_t rounds(uint32_t usual)
{
    const char *times = getenv("LQ_STRESS");
    return usual * (times ? (uint32_t)strtoul(times, NULL, 10) : 1);
}

static int share_memory(void **state)
{
    (void)state;
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return shared == MAP_FAILED ? -1 : lqi_locks_init(&(struct lqi_lock *){&shared->lock}, 1);
}

static int unshare_memory(void **state)
{
    (void)state;
    return munmap(shared, sizeof *shared);
}

static uint32_t next_random(uint32_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 17;
    *seed ^= *seed << 5;
    return *seed;
}

/* Some time passes, so that ringer and sleeper meet at every step of each other. */
static void dawdle(uint32_t *seed)
{
    for (uint32_t i = next_random(seed) % 256; i > 0; i--) atomic_signal_fence(memory_order_seq_cst);
}

/* Until *word is no longer `old`; its new value. */
static uint32_t wait_for_change(struct lqi_bell *bell, _Atomic uint32_t *word, uint32_t old, uint32_t *seed)
{
    int64_t began = lqi_now_us();
    for (;;) {
        dawdle(seed);
        uint32_t seen = lqi_bell_listen(bell);
        dawdle(seed);
        uint32_t now = atomic_load_explicit(word, memory_order_acquire);
        if (now != old) return now;
        dawdle(seed);
        atomic_fetch_add_explicit(&shared->sleeps, 1, memory_order_relaxed);
        lqi_wait(&bell->word, seen, began + LOST_US);
        if (lqi_now_us() >= began + LOST_US) {
            atomic_fetch_add(&shared->lost, 1);
            return atomic_load(word);
        }
    }
}

/* Answers every change of the ball until told to stop. */
static void play(uint32_t me)
{
    uint32_t seen = atomic_load(&shared->answers[me]), seed = 77 + me;
    while (!atomic_load(&shared->stop)) {
        seen = wait_for_change(&shared->ping, &shared->ball, seen, &seed);
        /* Not sequentially consistent: it is for the bell to bring the order. */
        atomic_store_explicit(&shared->answers[me], seen, memory_order_release);
        lqi_bell_ring(&shared->pong);
    }
}

static void *play_as_thread(void *number)
{
    play(*(const uint32_t *)number);
    return NULL;
}

static int play_as_process(void *number)
{
    alarm(0);
    play(*(const uint32_t *)number);
    return 0;
}

/* Throws the ball `count` times, each time waiting for the answer of players from `first` on. */
static void serve(uint32_t count, uint32_t first, uint32_t players)
{
    uint32_t seed = 5;
    for (uint32_t i = 0; i < count && atomic_load(&shared->lost) == 0; i++) {
        uint32_t ball = atomic_load(&shared->ball) + 1;
        atomic_store_explicit(&shared->ball, ball, memory_order_release);
        lqi_bell_ring(&shared->ping);
        for (uint32_t player = first; player < players && atomic_load(&shared->lost) == 0; player++)
            while (atomic_load(&shared->answers[player]) != ball && atomic_load(&shared->lost) == 0)
                wait_for_change(&shared->pong, &shared->answers[player], ball - 1, &seed);
    }
}

static void end_the_game(void)
{
    atomic_store(&shared->stop, 1);
    atomic_fetch_add(&shared->ball, 1);
    lqi_bell_ring(&shared->ping);
}

static const uint32_t numbers[PLAYERS] = {0, 1, 2, 3};

static void threads_lose_no_wake_up(void **state)
{
    (void)state;
    for (uint32_t players = 1; players <= PLAYERS; players += PLAYERS - 1) {
        pthread_t threads[PLAYERS];
        atomic_store(&shared->stop, 0);
        for (uint32_t i = 0; i < PLAYERS; i++) atomic_store(&shared->answers[i], atomic_load(&shared->ball));
        for (uint32_t i = 0; i < players; i++)
            assert_int_equal(pthread_create(&threads[i], NULL, play_as_thread, (void *)(uintptr_t)&numbers[i]), 0);
        serve(rounds(20000), 0, players);
        end_the_game();
        for (uint32_t i = 0; i < players; i++) pthread_join(threads[i], NULL);
        assert_int_equal(atomic_load(&shared->lost), 0);
    }
    print_message("slept %llu times\n", (unsigned long long)atomic_load(&shared->sleeps));
}

static void processes_lose_no_wake_up(void **state)
{
    (void)state;
    for (uint32_t players = 1; players <= PLAYERS; players += PLAYERS - 1) {
        pid_t children[PLAYERS];
        atomic_store(&shared->stop, 0);
        for (uint32_t i = 0; i < PLAYERS; i++) atomic_store(&shared->answers[i], atomic_load(&shared->ball));
        for (uint32_t i = 0; i < players; i++)
            children[i] = child_start(play_as_process, (void *)(uintptr_t)&numbers[i]);
        serve(rounds(20000), 0, players);
        end_the_game();
        for (uint32_t i = 0; i < players; i++) assert_int_equal(child_wait(children[i]), 0);
        assert_int_equal(atomic_load(&shared->lost), 0);
    }
    print_message("slept %llu times\n", (unsigned long long)atomic_load(&shared->sleeps));
}

/* Player 0 lives; the others listen, sleep and ring as he does, and are killed all the time. */
static void the_killed_make_nobody_sleep_for_ever(void **state)
{
    (void)state;
    uint32_t kills = rounds(200), seed = 99;
    pid_t children[PLAYERS];

    for (uint32_t i = 0; i < PLAYERS; i++) children[i] = child_start(play_as_process, (void *)(uintptr_t)&numbers[i]);
    for (uint32_t i = 0; i < kills && atomic_load(&shared->lost) == 0; i++) {
        serve(1 + next_random(&seed) % 64, 0, 1);
        uint32_t victim = 1 + next_random(&seed) % (PLAYERS - 1);
        child_kill(children[victim]);
        children[victim] = child_start(play_as_process, (void *)(uintptr_t)&numbers[victim]);
    }
    end_the_game();
    for (uint32_t i = 0; i < PLAYERS; i++) assert_int_equal(child_wait(children[i]), 0);
    assert_int_equal(atomic_load(&shared->lost), 0);
}

static int change_both(void *unused)
{
    (void)unused;
    uint32_t seed = (uint32_t)getpid();
    while (!atomic_load(&shared->stop)) {
        int result = lqi_lock(&shared->lock, "test");
        CHECK(result == LQI_LOCKED || result == LQI_INHERITED);
        if (result == LQI_INHERITED) {
            shared->second = shared->first;
            lqi_lock_mend(&shared->lock);
        }
        CHECK(shared->first == shared->second);
        shared->first++;
        dawdle(&seed);
        shared->second++;
        lqi_unlock(&shared->lock);
    }
    return 0;
}

static void whoever_is_killed_under_a_lock_the_next_one_goes_on(void **state)
{
    (void)state;
    uint32_t kills = rounds(300), seed = 12345;
    pid_t children[PLAYERS];

    for (int i = 0; i < PLAYERS; i++) children[i] = child_start(change_both, NULL);
    for (uint32_t i = 0; i < kills; i++) {
        nanosleep(&(struct timespec){0, next_random(&seed) % 3000000}, NULL);
        uint32_t victim = next_random(&seed) % PLAYERS;
        child_kill(children[victim]);
        children[victim] = child_start(change_both, NULL);
    }
    atomic_store(&shared->stop, 1);
    for (int i = 0; i < PLAYERS; i++) assert_int_equal(child_wait(children[i]), 0);
    int result = lqi_lock_try(&shared->lock);
    assert_true(result == LQI_LOCKED || result == LQI_INHERITED);
    assert_true(shared->first > kills);
    if (result == LQI_INHERITED) lqi_lock_mend(&shared->lock);
    lqi_unlock(&shared->lock);
}

int main(void)
{
#define SHARING(test) cmocka_unit_test_setup_teardown(test, share_memory, unshare_memory)
    const struct CMUnitTest tests[] = {
        SHARING(threads_lose_no_wake_up),
        SHARING(processes_lose_no_wake_up),
        SHARING(the_killed_make_nobody_sleep_for_ever),
        SHARING(whoever_is_killed_under_a_lock_the_next_one_goes_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
