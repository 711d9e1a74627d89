/* Producers and consumers in processes of their own, killed (-9) at random moments, inside the library or out
 * of it, one by one and all at once, while their parent keeps account, in memory that no death touches, of
 * what was accepted and what was acked. Whatever happens:
 *
 *   nothing accepted is lost, nothing refused appears, no message is there twice
 *   what was acked does not come again; what a living member holds nobody else gets
 *   a consumer of one member sees all ids in order, and batches whole
 *   no survivor is in any one call for more than a second, and no call fails
 *
 * Ring and segments are as small as they may be, so that rolling, lapping and retention never stop.
 *
 *     STRESS_SECONDS=3600 stress_processes     so long, instead of 20 s
 *     STRESS_SEED=7 stress_processes           the same chances again (not the same moments) */
#include <inttypes.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "libqueue.h"
#include "support/child.h"
#include "support/scratch.h"
#include "support/storm.h"
#include "wait.h"

static const enum role cast[] = {PRODUCER, PRODUCER, PRODUCER, POOL, POOL, POOL, SOLO, READER, SYNCER};
enum { CAST = sizeof cast / sizeof *cast };

static struct {
    pid_t pids[PLAYERS_MAX], canary;
    uint64_t kills, storms, spawned;
    int64_t longest_us;
    const char *longest_call;
} play;

static void spawn(size_t index)
{
    struct self parent = storm_self;
    struct player *player = &storm_world->players[index];

    storm_self = (struct self){.player = player, .role = cast[index], .incarnation = atomic_fetch_add(&storm_world->incarnations, 1) + 1,
                         .random = storm_random()};
    atomic_store(&player->since_us, 0);
    atomic_store(&player->incarnation, storm_self.incarnation);
    play.pids[index] = child_start(storm_perform, NULL);
    parent.random = storm_random();
    storm_self = parent;
    assert_true(play.pids[index] > 0);
    play.spawned++;
}

static void doom(size_t index)
{
    /* Before the signal: from now on its leases may go to others. */
    atomic_store(&storm_world->players[index].incarnation, 0);
    kill(play.pids[index], SIGKILL);
}

static void bury(size_t index)
{
    int result = child_wait(play.pids[index]);
    if (result != 100 + SIGKILL && result != 0)
        storm_violation("a %s ended with %d", storm_role_names[cast[index]], result);
    play.pids[index] = 0;
    play.kills++;
}

static void kill_all(void)
{
    for (size_t i = 0; i < CAST; i++) doom(i);
    for (size_t i = 0; i < CAST; i++) bury(i);
    play.storms++;
}

static void watch_the_clock(void)
{
    int64_t now = storm_now_us();
    for (size_t i = 0; i < CAST; i++) {
        struct player *player = &storm_world->players[i];
        int64_t since = atomic_load(&player->since_us);
        if (!since || !play.pids[i]) continue;
        if (now - since > play.longest_us) {
            play.longest_us = now - since;
            play.longest_call = atomic_load(&player->call);
        }
        if (now - since > BLOCKED_US + 4 * atomic_load(&storm_world->disk_us)) {
            storm_violation("a %s has been in %s for %" PRId64 " ms", storm_role_names[cast[i]], atomic_load(&player->call), (now - since) / 1000);
            atomic_store(&player->since_us, 0);
        }
    }
}

/* Sleeps so long, watching. */
static void let_them_play(int64_t us)
{
    int64_t until = storm_now_us() + us;
    for (;;) {
        watch_the_clock();
        int64_t left = until - storm_now_us();
        if (left <= 0) return;
        if (left > 20000) left = 20000;
        nanosleep(&(struct timespec){0, left * 1000}, NULL);
    }
}

static void storm(int64_t until)
{
    play.canary = child_start(storm_test_the_disk, NULL);
    for (size_t i = 0; i < CAST; i++) spawn(i);
    while (storm_now_us() < until && !atomic_load(&storm_world->violations)) {
        if (storm_below(60) == 0) {
            kill_all();
            for (size_t i = 0; i < CAST; i++) spawn(i);
        }
        let_them_play((int64_t)1 << storm_below(16));
        size_t victim = storm_below(CAST);
        doom(victim);
        bury(victim);
        spawn(victim);
    }
}

static int prepare(void *context)
{
    lq_consumer *consumer;
    lq_consumer_options options = {.size = sizeof options, .window = 512};
    (void)context;
    lq_queue *queue = storm_open_queue(false);
    CHECK(queue);
    CHECK(lq_consumer_open(queue, "pool", &options, &consumer) == LQ_OK);
    CHECK(lq_consumer_close(consumer) == LQ_OK);
    CHECK(lq_consumer_open(queue, "solo", NULL, &consumer) == LQ_OK);
    CHECK(lq_consumer_close(consumer) == LQ_OK);
    CHECK(lq_close(queue) == LQ_OK);
    return 0;
}

static double seconds_per_test(unsigned tests)
{
    const char *seconds = getenv("STRESS_SECONDS");
    return (seconds ? strtod(seconds, NULL) : 20) / tests;
}

static void begin(const char *where, int sync, int compression)
{
    const char *seed = getenv("STRESS_SEED");

    memset(&storm_setting, 0, sizeof storm_setting);
    memset(&play, 0, sizeof play);
    snprintf(storm_setting.path, sizeof storm_setting.path, "%s/queue", where);
    storm_setting.options = (lq_options){.size = sizeof storm_setting.options, .sync = sync, .sync_interval_ms = sync == LQ_SYNC_INTERVAL ? 5 : 0,
                                   .segment_size = 65536, .ring_size = 65536, .size_max = 1 << 20,
                                   .full = LQ_FULL_BLOCK, .full_timeout_ms = 50, .compression = compression};
    storm_world = mmap(NULL, sizeof *storm_world, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    assert_true(storm_world != MAP_FAILED);
    storm_self = (struct self){.player = &storm_world->players[PLAYERS_MAX - 1], .role = SYNCER,
                         .random = (seed ? strtoull(seed, NULL, 10) : (uint64_t)storm_now_us()) + (uint64_t)sync};
    assert_int_equal(child_run(prepare, NULL), 0);
}

static void end(void)
{
    uint32_t violations = atomic_load(&storm_world->violations);

    printf("%" PRIu64 " kills, %" PRIu64 " of all at once; %" PRIu64 " accepted, %" PRIu64 " handed out, %" PRIu64
           " of them again; longest call %" PRId64 " ms in %s, longest sync of the disk %" PRId64 " ms\n", play.kills, play.storms, atomic_load(&storm_world->accepted),
           atomic_load(&storm_world->handed), atomic_load(&storm_world->again), play.longest_us / 1000, play.longest_call ? play.longest_call : "-",
           atomic_load(&storm_world->disk_us) / 1000);
    if (violations) fail_msg("%u violations, the first: %s", violations, storm_world->first_violation);
    assert_true(atomic_load(&storm_world->accepted) > 0);
    munmap(storm_world, sizeof *storm_world);
}

static void storm_with(void **state, int sync, int compression)
{
    begin(*state, sync, compression);
    storm(storm_now_us() + (int64_t)(seconds_per_test(5) * 1e6));
    kill_all();
    child_kill(play.canary);
    if (!atomic_load(&storm_world->violations)) {
        assert_int_equal(child_run(storm_drain, NULL), 0);
        storm_check_accounts();
    }
    end();
}

static void nothing_is_lost_or_doubled_by_kills_when_every_put_is_synced(void **state)
{
    storm_with(state, LQ_SYNC_ALWAYS, 0);
}

static void nothing_is_lost_or_doubled_by_kills_when_synced_by_interval(void **state)
{
    storm_with(state, LQ_SYNC_INTERVAL, 0);
}

static void nothing_is_lost_or_doubled_by_kills_when_never_synced(void **state)
{
    storm_with(state, LQ_SYNC_NEVER, 0);
}

static void nothing_is_lost_or_doubled_by_kills_when_compressed(void **state)
{
    storm_with(state, LQ_SYNC_NEVER, 1);
}

/* ---- stopped, not killed -------------------------------------------------- */

enum { PATIENCE_MS = 300, LONG_STOP_US = 1200000 };

/* Who has not come out of a call for so long, though he has not been stopped? */
static void watch_the_others(size_t stopped, int64_t since_us)
{
    for (size_t i = 0; i < CAST; i++) {
        int64_t since = atomic_load(&storm_world->players[i].since_us), now = storm_now_us();
        if (i == stopped || !since) continue;
        /* A call may meet a few locks, one after the other; a reader, which takes none, gets no extra time. */
        int64_t bound = (cast[i] == READER ? BLOCKED_US / 2 : 4 * PATIENCE_MS * 1000) + 4 * atomic_load(&storm_world->disk_us);
        if (now - since > bound)
            storm_violation("a %s has been in %s for %" PRId64 " ms, a %s is stopped since %" PRId64 " ms", storm_role_names[cast[i]],
                      atomic_load(&storm_world->players[i].call), (now - since) / 1000, storm_role_names[cast[stopped]], (now - since_us) / 1000);
    }
}

static void revive(void)
{
    for (size_t i = 0; i < CAST; i++) {
        if (play.pids[i] && waitpid(play.pids[i], NULL, WNOHANG) == play.pids[i]) spawn(i);
    }
}

static void stop_for(size_t victim, int64_t us)
{
    uint64_t before = 0, after = 0;
    int64_t start = storm_now_us();

    kill(play.pids[victim], SIGSTOP);
    for (size_t i = 0; i < CAST; i++)
        if (cast[i] == READER) before += atomic_load(&storm_world->players[i].done);
    while (storm_now_us() - start < us && !atomic_load(&storm_world->violations)) {
        revive();
        watch_the_others(victim, start);
        nanosleep(&(struct timespec){0, 10000000}, NULL);
    }
    for (size_t i = 0; i < CAST; i++)
        if (cast[i] == READER) after += atomic_load(&storm_world->players[i].done);
    if (us == LONG_STOP_US && cast[victim] != READER && after == before) storm_violation("no reader has come to read anything for %d ms", LONG_STOP_US / 1000);
    /* Its own call begins anew: it was not blocked, but stopped. */
    if (atomic_load(&storm_world->players[victim].since_us)) atomic_store(&storm_world->players[victim].since_us, storm_now_us());
    kill(play.pids[victim], SIGCONT);
}

static void a_stopped_process_blocks_no_reader_and_others_for_no_longer_than_their_patience(void **state)
{
    int64_t until = storm_now_us() + (int64_t)(seconds_per_test(5) * 1e6);

    begin(*state, LQ_SYNC_ALWAYS, 0);
    storm_setting.stops = true;
    lqi_lock_patience_ms = PATIENCE_MS;

    play.canary = child_start(storm_test_the_disk, NULL);
    for (size_t i = 0; i < CAST; i++) spawn(i);
    for (unsigned round = 0; storm_now_us() < until && !atomic_load(&storm_world->violations); round++) {
        let_them_play((int64_t)1 << storm_below(16));
        revive();
        /* Whoever it is. Mostly for a moment, so that many places are met. */
        stop_for(storm_below(CAST), round % 8 == 7 ? LONG_STOP_US : 50000);
    }
    kill_all();
    child_kill(play.canary);
    end();
}

int main(void)
{
#define IN_SCRATCH(test) cmocka_unit_test_setup_teardown(test, scratch_make, scratch_remove)
    const struct CMUnitTest tests[] = {
        IN_SCRATCH(nothing_is_lost_or_doubled_by_kills_when_never_synced),
        IN_SCRATCH(nothing_is_lost_or_doubled_by_kills_when_synced_by_interval),
        IN_SCRATCH(nothing_is_lost_or_doubled_by_kills_when_every_put_is_synced),
        IN_SCRATCH(nothing_is_lost_or_doubled_by_kills_when_compressed),
        IN_SCRATCH(a_stopped_process_blocks_no_reader_and_others_for_no_longer_than_their_patience),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
