/* Processes that put, take in every way there is (GET, batches, NOTIFY, a descriptor), open and close all the time, and are killed
 * at any moment: freely, and with hardly any descriptors or memory. What they are refused they are told by a code
 * (LQ_ELIMIT, LQ_ENOMEM); no process dies of it, the queue is not poisoned, and when all are dead the ledger is right.
 *
 *     STRESS_SECONDS=3600 stress_limits     so long, instead of 9 s
 *     LQ_SEED=7 stress_limits               the same chances again (not the same moments) */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "support/api.h"
#include "support/child.h"
#include "support/ledger.h"
#include "wait.h"

enum limit { NO_LIMIT, FEW_DESCRIPTORS, LITTLE_MEMORY };
enum role { PUTTER, SYNCER, GETTER, BATCHER, TOLD, WATCHER, COMER, ROLES };
static const char *const role_names[] = {"putter", "syncer", "getter", "batcher", "told", "watcher", "comer"};

enum { PLAYERS = 9, ROUND_US = 400000 };

static struct {
    struct ledger *ledger;
    char path[4200];
    lq_options options;
    enum limit limit;
    uint64_t random, kills, rounds;
} storm;

static uint64_t next_random(void)
{
    uint64_t z = storm.random += 0x9e3779b97f4a7c15;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
}

static uint32_t below(uint32_t limit)
{
    return (uint32_t)(next_random() >> 33) % limit;
}

/* ---- in each child -------------------------------------------------------- */

static enum role role;
static _Atomic uint64_t *refused; /* how often, of all; shared */

/* True: done. False: refused, for want of something that we took away ourselves. */
static bool good(const char *what, int result)
{
    if (result >= 0) return true;
    if (storm.limit != NO_LIMIT && (result == LQ_ELIMIT || result == LQ_ENOMEM || result == LQ_EBUSY)) {
        atomic_fetch_add(refused, 1);
        return false;
    }
    ledger_wrong(storm.ledger, "a %s: %s: %s: %s", role_names[role], what, lq_error_name(result), lq_error_text());
    return false;
}
#define GOOD(call) good(#call, call)

static uint64_t memory_in_use(void)
{
    unsigned long pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (!file || fscanf(file, "%lu", &pages) != 1) pages = 1 << 30;
    if (file) fclose(file);
    return (uint64_t)pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

static void tighten(void)
{
    rlim_t descriptors = 8 + below(24), memory = memory_in_use() + (below(40) << 17);
    if (storm.limit == FEW_DESCRIPTORS) setrlimit(RLIMIT_NOFILE, &(struct rlimit){descriptors, descriptors});
    if (storm.limit == LITTLE_MEMORY) setrlimit(RLIMIT_AS, &(struct rlimit){memory, memory});
}

static void put_some(lq_queue *queue)
{
    for (uint32_t n = 1 + below(200); n > 0 && !storm.ledger->wrong[0]; n--) {
        if (atomic_load(&storm.ledger->next) > LEDGER_MESSAGES - 1000) return; /* the ledger is full */
        uint32_t size = below(30) ? 20 + below(300) : 16000 + below(8000);
        if (!GOOD(ledger_put(storm.ledger, queue, size, size < 4000 && below(4) == 0 ? 1 + below(8) : 1))) return;
    }
    if (role == SYNCER) GOOD(lq_sync(queue));
}

static void settle(lq_consumer *pool, struct ledger_held *held)
{
    if (below(8) == 0) {
        ledger_releasing(storm.ledger, held, 1);
        if (GOOD(lq_release(pool, held->messages))) ledger_released(held, 1);
    } else {
        GOOD(ledger_ack(storm.ledger, pool, held, 1));
    }
}

static void get_some(lq_consumer *pool)
{
    struct ledger_held held = {.count = 0};
    for (uint32_t n = 1 + below(300); n > 0 && !storm.ledger->wrong[0]; n--) {
        size_t got = 0;
        if (role == BATCHER) {
            int result = lq_get_batch(pool, held.messages + held.count, LEDGER_HELD - held.count, &got, (int64_t)below(20));
            if (!GOOD(result)) break;
            if (result == LQ_OK && !ledger_got(storm.ledger, &held, got)) break;
        } else if (!GOOD(ledger_get(storm.ledger, pool, &held, (int64_t)below(20)))) {
            break;
        }
        while (held.count > below(LEDGER_HELD)) settle(pool, &held);
    }
}

static int handle(void *context, int code, const lq_message *message)
{
    struct ledger_held held = {.count = 0};
    (void)context;
    if (!GOOD(code) || !message) return LQ_SETTLE_KEEP;
    held.messages[0] = *message;
    if (!ledger_got(storm.ledger, &held, 1)) return LQ_SETTLE_KEEP;
    ledger_acking(storm.ledger, &held, 1);
    return LQ_SETTLE_ACK; /* whether that comes to pass, death decides */
}

static void be_told(lq_consumer *pool)
{
    if (!GOOD(lq_notify(pool, handle, NULL))) return;
    api_sleep_ms(below(50));
    GOOD(lq_notify(pool, NULL, NULL));
}

static void watch(lq_consumer *pool)
{
    int fd = lq_fd(pool);
    if (!GOOD(fd)) return;
    for (uint32_t n = below(30); n > 0 && !storm.ledger->wrong[0]; n--) {
        struct ledger_held held = {.count = 0};
        struct pollfd readable = {.fd = fd, .events = POLLIN};
        if (poll(&readable, 1, 20) <= 0) continue;
        while (GOOD(ledger_get(storm.ledger, pool, &held, 0)) && held.count) settle(pool, &held);
    }
}

static void look_at_all(lq_queue *queue)
{
    lq_stats stats = {.size = sizeof stats};
    lq_reader *reader;
    lq_message message;
    if (!GOOD(lq_reader_open(queue, &reader))) return;
    int err = LQ_OK;
    for (uint32_t n = below(500); n > 0 && err == LQ_OK; n--) err = lq_reader_next(reader, &message);
    good("lq_reader_next", err);
    lq_reader_close(reader);
    if (GOOD(lq_get_stats(queue, &stats)) && (stats.damage || stats.poisoned))
        ledger_wrong(storm.ledger, "damage %" PRIu64 ", poisoned %d", stats.damage, stats.poisoned);
}

static void one_visit(void)
{
    const lq_consumer_options window = {.size = sizeof window, .window = 128};
    lq_options options = storm.options;
    lq_queue *queue;
    lq_consumer *pool = NULL;

    if (role <= SYNCER && below(2)) options.flags |= LQ_DEFER_SYNC;
    if (!GOOD(lq_open(storm.path, &options, &queue))) return;
    if (role <= SYNCER) {
        put_some(queue);
    } else if (GOOD(lq_consumer_open(queue, "pool", &window, &pool))) {
        if (role == TOLD) be_told(pool);
        else if (role == WATCHER) watch(pool);
        else if (role == COMER) look_at_all(queue);
        else get_some(pool);
    }
    GOOD(lq_consumer_close(pool));
    GOOD(lq_close(queue));
}

static int play(void *context)
{
    (void)context;
    signal(SIGSEGV, SIG_DFL); /* cmocka has its own */
    signal(SIGBUS, SIG_DFL);
    signal(SIGABRT, SIG_DFL);
    tighten();
    while (!storm.ledger->wrong[0]) one_visit();
    return 0;
}

/* ---- the parent ------------------------------------------------------------ */

static pid_t start(uint32_t index)
{
    uint64_t mine = storm.random;
    role = (enum role)(index % ROLES);
    storm.random = next_random();
    pid_t child = child_start(play, NULL);
    storm.random = mine + 0x9e3779b97f4a7c15;
    return child;
}

static void bury(pid_t child, uint32_t index)
{
    kill(child, SIGKILL);
    int result = child_wait(child);
    storm.kills++;
    if (result != 100 + SIGKILL && result != 0)
        ledger_wrong(storm.ledger, "a %s ended with %d by itself", role_names[index % ROLES], result);
}

static void let_them_play(int64_t us)
{
    pid_t players[PLAYERS];
    const int64_t until = lqi_now_us() + us;
    for (uint32_t i = 0; i < PLAYERS; i++) players[i] = start(i);
    while (lqi_now_us() < until && !storm.ledger->wrong[0]) {
        api_sleep_ms(below(9));
        uint32_t victim = below(PLAYERS);
        bury(players[victim], victim);
        players[victim] = start(victim);
    }
    for (uint32_t i = 0; i < PLAYERS; i++) bury(players[i], i);
}

/* Everybody is dead: what is there now is what there must be. */
static int count_up(void *context)
{
    struct ledger_witness *witness = context; /* of the rounds before */
    int64_t back;
    int err = ledger_witness_open(witness, storm.path, &storm.options);
    if (err) ledger_wrong(storm.ledger, "opening after all: %s: %s", lq_error_name(err), lq_error_text());
    if (!err && ledger_check(witness, 0, &back)) {
        err = ledger_witness_close(witness);
        if (!err) err = lq_verify(storm.path, 0, NULL, NULL, NULL);
        if (err) ledger_wrong(storm.ledger, "in the end: %s: %s", lq_error_name(err), lq_error_text());
    }
    return 0;
}

static void storm_with(void **state, enum limit limit, int sync)
{
    const char *limit_seconds = getenv("STRESS_SECONDS"), *seed = getenv("LQ_SEED");
    int64_t until = lqi_now_us() + (int64_t)((limit_seconds ? strtod(limit_seconds, NULL) : 9) / 3 * 1e6);
    struct ledger_witness witness = {.ledger = storm.ledger};

    ledger_clear(storm.ledger);
    refused = &storm.ledger->refused;
    storm.limit = limit;
    storm.kills = storm.rounds = 0;
    storm.random = seed ? strtoull(seed, NULL, 10) : (uint64_t)lqi_now_us();
    storm.options = (lq_options){.size = sizeof storm.options, .sync = sync, .segment_size = 65536, .ring_size = 65536};
    if (sync == LQ_SYNC_INTERVAL) storm.options.sync_interval_ms = 5;
    snprintf(storm.path, sizeof storm.path, "%s", api_path(*state, "q"));
    do {
        count_up(&witness); /* makes the queue, at first */
        if (atomic_load(&storm.ledger->next) > LEDGER_MESSAGES - 2000) break;
        let_them_play(ROUND_US);
        storm.rounds++;
    } while (lqi_now_us() < until && !storm.ledger->wrong[0]);
    if (!storm.ledger->wrong[0]) count_up(&witness);

    printf("%" PRIu64 " kills, %" PRIu64 " times of all; %" PRIu32 " messages; %" PRIu64 " calls refused\n", storm.kills,
           storm.rounds, atomic_load(&storm.ledger->next), atomic_load(refused));
    if (storm.ledger->wrong[0]) fail_msg("%s", storm.ledger->wrong);
    if (limit != NO_LIMIT) assert_true(atomic_load(refused) > 0);
}

static void whatever_way_messages_are_taken_nothing_is_lost_or_doubled_by_kills(void **state)
{
    storm_with(state, NO_LIMIT, LQ_SYNC_INTERVAL);
}

static void with_few_descriptors_calls_are_refused_and_nothing_is_lost_or_doubled(void **state)
{
    storm_with(state, FEW_DESCRIPTORS, LQ_SYNC_ALWAYS);
}

static void with_little_memory_calls_are_refused_and_nothing_is_lost_or_doubled(void **state)
{
    if (api_sanitized) skip(); /* sanitizers reserve all memory there is */
    storm_with(state, LITTLE_MEMORY, LQ_SYNC_NEVER);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_DIRECTORY(whatever_way_messages_are_taken_nothing_is_lost_or_doubled_by_kills),
        IN_DIRECTORY(with_few_descriptors_calls_are_refused_and_nothing_is_lost_or_doubled),
        IN_DIRECTORY(with_little_memory_calls_are_refused_and_nothing_is_lost_or_doubled),
    };
    storm.ledger = ledger_new();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
