/* The power fails, or all processes are killed, after every call to the machine, while a script of
 * random calls runs; and again, while the queue recovers from that. Each time the queue must come up
 * with all that it had promised, and nothing else.
 *
 *     LQ_SWEEP=7 sweep_crash              the run of one seed again, as a failure names it
 *     LQ_SWEEP_SECONDS=3600 sweep_crash   so long, instead of 20 s */
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "queue.h"
#include "support/io_crash.h"
#include "support/model.h"

enum { DEPTH = 2 /* crashes inside each other */, SEEN = 1 << 20 };

struct run {
    struct model model;
    uint64_t seed, random;
    struct io_crash *machine;
    lq_queue *queue;
    lq_consumer *consumer;
    pthread_t thread;      /* the script's: calls of the library's own thread are not crashed at */
    int depth;             /* crashes on the way to this machine */
    uint64_t path[DEPTH];  /* the calls at which it crashed so far */
    const char *how[DEPTH];
};

static struct {
    uint64_t states, distinct, kills, inner;
    unsigned long failures;
    uint64_t seen[SEEN]; /* hashes of what was looked at already: an open table that forgets */
} total;

/* ---- chance ------------------------------------------------------------ */

static uint64_t next_random(struct run *run)
{
    uint64_t z = run->random += 0x9e3779b97f4a7c15;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
}

static uint32_t below(struct run *run, uint32_t limit)
{
    return (uint32_t)(next_random(run) >> 32) % limit;
}

/* ---- crashing ---------------------------------------------------------- */

/* What the model promises changes with what the script was told: the same disk may have to be looked at again. */
static uint64_t hash_promises(const struct model *model)
{
    uint64_t hash = model->count * 31 + model->poisoned;
    for (uint32_t i = 0; i < model->count; i++) {
        const struct model_message *message = &model->messages[i];
        hash = hash * 0x100000001b3 + (uint64_t)message->fate + message->durable * 4u + (uint64_t)message->ack * 8 +
               message->ack_durable * 32u;
    }
    return hash + model->queue_made + 2u * model->consumer_made + 4u * (unsigned)model->log_loss + 16u * (unsigned)model->ack_loss;
}

static bool is_new(uint64_t hash)
{
    uint64_t *slot = &total.seen[hash % SEEN];
    if (*slot == hash) return false;
    *slot = hash;
    return true;
}

static void crash_hook(void *context, struct io_crash *machine, enum io_kind kind, bool changed);

static void report(const struct run *run, const char *why)
{
    static const char *const modes[] = {"", "always", "interval", "never"};
    printf("LQ_SWEEP=%" PRIu64 ": sync %s", run->seed, modes[run->model.options.sync]);
    for (int i = 0; i < run->depth; i++) printf(", %s after call %" PRIu64, run->how[i], run->path[i]);
    printf(": %s\n", why);
    total.failures++;
}

/* Machines that came up after a crash wait here until the call that is running has returned: the library
 * is in the middle of something, and its one thread may be waiting for that. */
static struct waiting {
    struct waiting *next;
    struct run run;
    enum model_loss loss;
} *waiting;

static void crashed(struct run *before, struct io_crash *after, enum model_loss loss, const char *how)
{
    struct waiting *one = malloc(sizeof *one);

    if (one == NULL) abort();
    one->run = *before;
    one->loss = loss;
    struct run *run = &one->run;
    run->path[run->depth] = io_crash_calls(before->machine);
    run->how[run->depth] = how;
    run->depth++;
    run->machine = after;
    run->random = next_random(before);
    run->queue = NULL;
    run->consumer = NULL;
    one->next = waiting;
    waiting = one;
}

/* Looks at them, and crashes them in their turn while it does. */
static void look_at_the_crashed(void)
{
    while (waiting) {
        struct waiting *one = waiting;
        struct run *run = &one->run;
        waiting = one->next;

        bool quick = run->depth == DEPTH;
        total.states++;
        if (run->depth > 1) total.inner++;
        if (one->loss == MODEL_KILLED) total.kills++;
        if (!quick) io_crash_watch(run->machine, crash_hook, run);
        if (!model_check(&run->model, io_crash_io(run->machine), one->loss, quick)) report(run, run->model.why);
        io_crash_free(run->machine);
        free(one);
    }
}

static void lose_power(struct run *run, uint64_t seed)
{
    struct io_crash *after = io_crash_power_loss(run->machine, seed);
    if (is_new(io_crash_hash(after) ^ hash_promises(&run->model))) {
        total.distinct++;
        crashed(run, after, MODEL_POWER_LOST, "power loss");
    } else {
        total.states++;
        io_crash_free(after);
    }
}

static void crash_hook(void *context, struct io_crash *machine, enum io_kind kind, bool changed)
{
    struct run *run = context;
    (void)machine;
    if (!pthread_equal(run->thread, pthread_self())) return;
    if (run->depth == 0) {
        if (changed) {
            lose_power(run, below(run, 2));
            lose_power(run, 2 + below(run, 16));
            for (int i = 0; i < 2; i++) lose_power(run, 18 + (next_random(run) >> 1));
        }
        if (changed || below(run, 4) == 0)
            crashed(run, io_crash_processes_die(run->machine), MODEL_KILLED, "kill -9");
    } else if (changed && below(run, 8) == 0) {
        if (below(run, 4) == 0) crashed(run, io_crash_processes_die(run->machine), MODEL_KILLED, "kill -9");
        else lose_power(run, below(run, 3) ? 18 + (next_random(run) >> 1) : below(run, 18));
    }
    (void)kind;
}

/* ---- the script -------------------------------------------------------- */

static uint32_t some_size(struct run *run)
{
    switch (below(run, 16)) {
    case 0: return 20000 + below(run, 20000);
    case 1: return below(run, 8) ? 5000 + below(run, 5000) : 66000 + below(run, 60000);
    case 2: case 3: case 4: return 1000 + below(run, 3000);
    default: return 8 + below(run, 300);
    }
}

static void expect(struct run *run, const char *doing, int err)
{
    char why[1024];
    if (err == LQ_OK || run->model.why[0]) return;
    snprintf(why, sizeof why, "without any crash: %s: %s: %.800s", doing, lq_error_name(err), lq_error_text());
    report(run, why);
}

static void step(struct run *run)
{
    struct model *model = &run->model;
    if (!run->queue) {
        expect(run, "open", model_open(model, io_crash_io(run->machine), &run->queue));
        if (run->queue && model->with_keeper) expect(run, "open the keeper", model_keeper_make(model, run->queue));
        return;
    }
    if (!run->consumer) {
        expect(run, "open the consumer", model_consumer_open(model, run->queue, &run->consumer));
        return;
    }
    uint32_t sizes[16], count;
    switch (below(run, 20)) {
    case 0: case 1: case 2: case 3: case 4: case 5: case 6:
        expect(run, "put", model_put(model, run->queue, some_size(run), false));
        return;
    case 7: case 8:
        count = 2 + below(run, 6);
        for (uint32_t i = 0; i < count; i++) sizes[i] = some_size(run) / 4 + 8;
        expect(run, "put a batch", model_put_batch(model, run->queue, sizes, count, false));
        return;
    case 9:
        expect(run, "sync", model_sync(model, run->queue));
        return;
    case 10: case 11: case 12: case 13:
        if (model->held_count < 8) {
            int err = model_poll(model, run->consumer);
            if (err != LQ_EMPTY) expect(run, "poll", err);
        }
        return;
    case 14: case 15: case 16: case 17:
        for (uint32_t i = below(run, 4); model->held_count > 0; i--) {
            expect(run, "ack", model_ack(model, run->consumer, below(run, model->held_count)));
            if (i == 0) return;
        }
        return;
    case 18:
        if (model->held_count) expect(run, "release", model_release(model, run->consumer, below(run, model->held_count)));
        return;
    default:
        if (below(run, 3)) return;
        expect(run, "close the consumer", model_consumer_close(model, run->consumer));
        run->consumer = NULL;
        if (below(run, 3) == 0) return;
        expect(run, "close", model_close(model, run->queue, true));
        run->queue = NULL;
        return;
    }
}

static void run_one(uint64_t seed)
{
    static const int modes[] = {LQ_SYNC_ALWAYS, LQ_SYNC_NEVER, LQ_SYNC_INTERVAL};
    struct run *run = calloc(1, sizeof *run);
    if (run == NULL) abort();
    lq_options options = {.sync = modes[seed % 3], .segment_size = 65536, .ring_size = 65536};
    if (options.sync == LQ_SYNC_INTERVAL) options.sync_interval_ms = 3600000; /* the script syncs, and nobody else */
    run->seed = seed;
    run->random = seed;
    run->thread = pthread_self();
    if (below(run, 4) == 0) options.compression = 1;
    model_init(&run->model, &options, below(run, 2));
    run->machine = io_crash_new(seed);
    io_crash_watch(run->machine, crash_hook, run);

    uint32_t steps = 20 + below(run, 60);
    for (uint32_t i = 0; i < steps && !run->model.why[0]; i++) {
        step(run);
        look_at_the_crashed();
    }
    if (run->consumer) expect(run, "close the consumer", model_consumer_close(&run->model, run->consumer));
    look_at_the_crashed();
    if (run->queue) expect(run, "close", model_close(&run->model, run->queue, true));
    look_at_the_crashed();
    if (run->model.why[0]) report(run, run->model.why);
    io_crash_free(run->machine);
    free(run);
}

static double seconds_since(int64_t start_us)
{
    return (double)(lqi_now_us() - start_us) / 1e6;
}

int main(void)
{
    const char *one = getenv("LQ_SWEEP"), *limit = getenv("LQ_SWEEP_SECONDS"), *wrong = getenv("LQ_SWEEP_WRONG");
    double seconds = limit ? strtod(limit, NULL) : 20;
    unsigned long most = wrong ? strtoul(wrong, NULL, 10) : 20;
    int64_t start = lqi_now_us();
    uint64_t seed = one ? strtoull(one, NULL, 10) : 1;

    setvbuf(stdout, NULL, _IOLBF, 0);
    do run_one(seed++);
    while (!one && seconds_since(start) < seconds && total.failures < most);
    printf("%" PRIu64 " crashes (%" PRIu64 " distinct after power loss, %" PRIu64 " kills, %" PRIu64
           " inside recovery) of %" PRIu64 " runs, %lu wrong, in %.1f s\n",
           total.states, total.distinct, total.kills, total.inner, one ? 1 : seed - 1, total.failures, seconds_since(start));
    io_crash_trim();
    return total.failures > 0;
}
