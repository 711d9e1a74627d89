/* A machine that has crashed may well be a sick one: all processes are killed, or the power fails, at a call of
 * a script, and then every call of the recovery fails, one after the other, once or from there on for ever.
 * The queue may refuse to open then, with a reason; but the next time, on a machine that works, all that was
 * promised is there.
 *
 *     LQ_SWEEP_SECONDS=600 sweep_recovery   crashes at every call of the scripts, instead of at some */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "queue.h"
#include "support/api.h"
#include "support/io_crash.h"
#include "support/io_fault.h"

enum { KIB = 1024, SIZE = 2000, WINDOW = 64 };

/* What the script was told so far. */
struct promises {
    lq_options options;
    uint64_t accepted, in_flight; /* messages; put returned, or is running */
    uint64_t durable;             /* of the accepted, those that survive a power loss */
    uint64_t acked, acking;
    bool consumer_made;
    bool deleting; /* what "c" has acked may be gone: nobody else keeps it */
};

static struct {
    struct promises promises;
    const char *script;
    uint64_t calls, crashes, runs, refusals;
    char now[200];           /* what is being tried, for who reads of a failure */
    unsigned every;          /* crashes at one call in so many */
    double seconds;
    int64_t started_us;
} sweep;

static const struct { enum io_kind kind; int error; } faults[] = {
    {IO_DIR_OPEN, EMFILE}, {IO_DIR_LIST, EIO}, {IO_DIR_SYNC, EIO}, {IO_OPEN, EMFILE}, {IO_READ, EIO}, {IO_WRITE, EIO},
    {IO_WRITE, ENOSPC},    {IO_SYNC, EIO},     {IO_TRUNCATE, EIO}, {IO_ALLOCATE, ENOSPC}, {IO_STAT, EIO}, {IO_RENAME, EIO},
    {IO_UNLINK, EIO},      {IO_LOCK, ENOLCK},  {IO_LOCKED, ENOLCK},{IO_MAP, ENOMEM},  {IO_BOOT_ID, EIO}, {IO_RANDOM, EIO},
};

/* ---- after the crash ----------------------------------------------------- */

static void check_consumer(lq_queue *queue, const struct promises *promised, uint64_t last_id, bool power_lost)
{
    const lq_consumer_options options = {.size = sizeof options, .window = WINDOW};
    lq_consumer *consumer;
    lq_message message;

    OK(lq_consumer_open(queue, "c", &options, &consumer));
    uint64_t floor = api_consumer_stats(queue, "c").floor;
    HOLDS(power_lost || !promised->consumer_made || floor >= promised->acked);
    HOLDS(floor <= promised->acked + promised->acking);
    for (uint64_t id = floor + 1; id <= last_id; id++) {
        OK(lq_poll(consumer, &message));
        EQUAL(message.id, id);
        HOLDS(api_is_filled(&message, SIZE, id));
        OK(lq_ack(consumer, &message));
    }
    IS(LQ_EMPTY, lq_poll(consumer, &message));
    OK(lq_consumer_close(consumer));
}

static void read_from(lq_queue *queue, uint64_t first, uint64_t last)
{
    lq_reader *reader;
    lq_message message;
    OK(lq_reader_open(queue, &reader));
    for (uint64_t id = first; id <= last; id++) {
        OK(lq_reader_next(reader, &message));
        EQUAL(message.id, id);
        HOLDS(api_is_filled(&message, SIZE, id));
    }
    IS(LQ_EMPTY, lq_reader_next(reader, &message));
    lq_reader_close(reader);
}

static void check_all(const struct lqi_io *io, const struct promises *promised, bool power_lost)
{
    lq_queue *queue;
    OK(lqi_open_io(io, "q", &promised->options, &queue));
    lq_stats stats = api_stats(queue);
    EQUAL(stats.damage, 0);
    HOLDS(stats.last_id >= (power_lost ? promised->durable : promised->accepted));
    HOLDS(stats.last_id <= promised->accepted + promised->in_flight);
    HOLDS(promised->deleting ? stats.first_id <= promised->acked + promised->acking + 1 : stats.first_id == 1);
    read_from(queue, stats.first_id, stats.last_id);
    check_consumer(queue, promised, stats.last_id, power_lost);
    api_put_range(queue, stats.last_id + 1, stats.last_id + 2, SIZE);
    OK(lq_close(queue));
}

/* True when a call was failed. */
static bool recover_with(const struct io_crash *machine, bool power_lost, uint64_t seed, size_t row, uint64_t nth, bool for_ever)
{
    const struct promises promised = sweep.promises;
    struct io_crash *after = power_lost ? io_crash_power_loss(machine, seed) : io_crash_processes_die(machine);
    struct io_fault fault;
    lq_queue *queue;

    snprintf(sweep.now, sizeof sweep.now, "%s: %s at call %" PRIu64 " (seed %" PRIu64 "), then %s %" PRIu64 "%s fails with %s", sweep.script,
             power_lost ? "power loss" : "kill -9", sweep.calls, seed, io_kind_names[faults[row].kind], nth,
             for_ever ? " and all later ones" : "", strerror(faults[row].error));
    io_fault_init(&fault, io_crash_io(after));
    fault.short_writes = fault.short_allocates = true;
    io_fault_plan(&fault, faults[row].kind, nth, for_ever, faults[row].error);
    int err = lqi_open_io(&fault.io, "q", &promised.options, &queue);
    bool failed = fault.hits > 0;
    if (err == LQ_OK) {
        (void)lq_close(queue);
    } else {
        HOLDS(failed);
        /* No reason that would make somebody delete the queue. */
        HOLDS(err == LQ_EIO || err == LQ_ENOSPC || err == LQ_ELIMIT || err == LQ_ENOMEM || err == LQ_EPOISONED);
        HOLDS(lq_error_text()[0] != 0);
        sweep.refusals++;
    }
    io_fault_end(&fault);
    check_all(&fault.io, &promised, power_lost);
    io_fault_release(&fault);
    io_crash_free(after);
    sweep.runs++;
    return failed;
}

static void crash_here(const struct io_crash *machine, bool power_lost, uint64_t seed)
{
    for (size_t row = 0; row < sizeof faults / sizeof *faults; row++)
        for (int for_ever = 0; for_ever < 2; for_ever++)
            for (uint64_t nth = 1; recover_with(machine, power_lost, seed, row, nth, for_ever); nth++) {}
    sweep.crashes++;
}

static void each_call(void *context, struct io_crash *machine, enum io_kind kind, bool changed)
{
    (void)context;
    (void)kind;
    sweep.calls++;
    if (!changed || sweep.calls % sweep.every) return;
    if (sweep.seconds > 0 && (double)(api_now_us() - sweep.started_us) / 1e6 > sweep.seconds) return;
    crash_here(machine, false, 0);
    if (sweep.promises.options.sync == LQ_SYNC_ALWAYS) crash_here(machine, true, sweep.calls % 24);
}

/* ---- scripts ------------------------------------------------------------- */

static void put(lq_queue *queue, uint64_t count)
{
    struct promises *promises = &sweep.promises;
    for (uint64_t i = 0; i < count; i++) {
        promises->in_flight = 1;
        api_put_range(queue, promises->accepted + 1, promises->accepted + 1, SIZE);
        promises->accepted++;
        promises->in_flight = 0;
        if (promises->options.sync == LQ_SYNC_ALWAYS) promises->durable = promises->accepted;
    }
}

static void take(lq_consumer *consumer, uint64_t count)
{
    struct promises *promises = &sweep.promises;
    for (uint64_t i = 0; i < count; i++) {
        promises->acking = 1;
        api_take_range(consumer, promises->acked + 1, promises->acked + 1, SIZE);
        promises->acked++;
        promises->acking = 0;
    }
}

static struct io_crash *begin(int sync, const char *name, unsigned every)
{
    sweep.script = name;
    sweep.every = sweep.seconds > 0 ? 1 : every;
    sweep.calls = 0;
    sweep.promises = (struct promises){
        .options = {.size = sizeof(lq_options), .sync = sync, .segment_size = 64 * KIB, .ring_size = 64 * KIB}};
    return io_crash_new(7);
}

/* Twice, so that the second time there is something before it. */
static void run_sessions(struct io_crash *machine, bool keep)
{
    const lq_consumer_options options = {.size = sizeof options, .window = WINDOW};
    lq_consumer *keeper = NULL, *consumer;
    lq_queue *queue;

    for (int session = 0; session < 2; session++) {
        OK(lqi_open_io(io_crash_io(machine), "q", &sweep.promises.options, &queue));
        if (keep) OK(lq_consumer_open(queue, "keep", &options, &keeper)); /* nothing is deleted */
        OK(lq_consumer_open(queue, "c", &options, &consumer));
        sweep.promises.consumer_made = true;
        if (session) io_crash_watch(machine, each_call, NULL);
        put(queue, 10);
        take(consumer, 4);
        if (session) OK(lq_sync(queue));
        if (session) sweep.promises.durable = sweep.promises.accepted;
        put(queue, 25); /* a roll */
        take(consumer, keep ? 20 : 30);
        OK(lq_consumer_close(consumer));
        OK(lq_consumer_close(keeper));
        OK(lq_close(queue));
    }
    io_crash_watch(machine, NULL, NULL);
}

static void script(int sync, const char *name, unsigned every)
{
    struct io_crash *machine = begin(sync, name, every);
    run_sessions(machine, true);
    io_crash_free(machine);
}

static void script_that_deletes(void)
{
    struct io_crash *machine = begin(LQ_SYNC_NEVER, "deletion", 1);
    sweep.promises.deleting = true;
    run_sessions(machine, false);
    io_crash_free(machine);
}

/* A sync has failed, so nobody knows what is on the disk; then all processes are killed. */
static void script_with_poison(void)
{
    struct io_crash *machine = begin(LQ_SYNC_NEVER, "poison", 1);
    const lq_consumer_options options = {.size = sizeof options, .window = WINDOW};
    struct io_fault fault;
    lq_consumer *consumer;
    lq_queue *queue;

    io_fault_init(&fault, io_crash_io(machine));
    OK(lqi_open_io(&fault.io, "q", &sweep.promises.options, &queue));
    OK(lq_consumer_open(queue, "c", &options, &consumer));
    sweep.promises.consumer_made = true;
    put(queue, 20);
    take(consumer, 3);
    io_fault_plan(&fault, IO_SYNC, 1, false, EIO);
    IS(LQ_EPOISONED, lq_sync(queue));
    io_crash_watch(machine, each_call, NULL);
    take(consumer, 3);
    (void)lq_consumer_close(consumer);
    (void)lq_close(queue);
    io_crash_watch(machine, NULL, NULL);
    HOLDS(sweep.crashes > 0);
    io_fault_release(&fault);
    io_crash_free(machine);
}

static void say_where(void)
{
    if (sweep.now[0]) printf("%s\n", sweep.now);
}

int main(void)
{
    atexit(say_where);
    const char *seconds = getenv("LQ_SWEEP_SECONDS");
    sweep.seconds = seconds ? strtod(seconds, NULL) : 0;
    sweep.started_us = api_now_us();
    script(LQ_SYNC_NEVER, "never", 1);
    script(LQ_SYNC_ALWAYS, "always", 12);
    script_that_deletes();
    script_with_poison();
    io_crash_trim();
    sweep.now[0] = 0;
    printf("%" PRIu64 " crashes, %" PRIu64 " recoveries that met a failure or none, %" PRIu64 " refused to open\n",
           sweep.crashes, sweep.runs, sweep.refusals);
    return sweep.crashes < 10 || sweep.refusals < sweep.crashes;
}
