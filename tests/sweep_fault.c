/* Every call to the machine fails once, and from some moment on for ever, in every way it can: the
 * first, the second, the third... of each kind until a script meets no more of them. Whatever the
 * answers were on the way, afterwards the queue must hold what it said it holds.
 *
 *     LQ_SWEEP=MODE:ROW:WAYS:N sweep_fault    one run again, as a failure names it
 *     LQ_SWEEP_SECONDS=600 sweep_fault        at most so long, instead of 25 s
 *     LQ_SWEEP_WRONG=1000 sweep_fault         go on after so many that are wrong, instead of 20 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "queue.h"
#include "support/io_crash.h"
#include "support/io_fault.h"
#include "support/model.h"

/* What fails, and how. */
static const struct row {
    enum io_kind kind;
    int error;
    bool half; /* a write writes half, a sync drops what it should have synced, an allocate grows the file */
} rows[] = {
    {IO_DIR_OPEN, EMFILE, false}, {IO_DIR_MAKE, ENOSPC, false}, {IO_DIR_LIST, EIO, false},   {IO_DIR_SYNC, EIO, false},
    {IO_DIR_SHARED, EIO, false},  {IO_OPEN, EMFILE, false},     {IO_OPEN, ENOSPC, false},    {IO_READ, EIO, false},
    {IO_WRITE, EIO, false},       {IO_WRITE, EIO, true},        {IO_WRITE, ENOSPC, true},    {IO_SYNC, EIO, false},
    {IO_SYNC, EIO, true},         {IO_TRUNCATE, EIO, false},    {IO_ALLOCATE, ENOSPC, false},{IO_ALLOCATE, ENOSPC, true},
    {IO_STAT, EIO, false},        {IO_RENAME, EIO, false},      {IO_RENAME, ENOSPC, false},  {IO_UNLINK, EIO, false},
    {IO_LOCK, ENOLCK, false},     {IO_UNLOCK, ENOLCK, false},   {IO_LOCKED, ENOLCK, false},  {IO_MAP, ENOMEM, false},
    {IO_BOOT_ID, EIO, false},     {IO_RANDOM, EIO, false},
};
enum { ROWS = sizeof rows / sizeof *rows };

enum { FOR_EVER = 1, KILLED = 2, POWER_LOST = 4, NO_KEEPER = 8, WAYS = 16 }; /* KILLED and POWER_LOST exclude each other */

static const int modes[] = {LQ_SYNC_ALWAYS, LQ_SYNC_NEVER};

/* ---- the script -------------------------------------------------------- */

struct run {
    struct model model;
    struct io_crash *machine;
    struct io_fault fault;
    lq_queue *queue;
};

static bool has_consumer(const struct run *run)
{
    return run->model.members[0].consumer != NULL;
}

static void open_all(struct run *run)
{
    /* A second try, as a program would do it: it must work when only one call failed. */
    for (int try = 0; try < 2 && !run->queue; try++) (void)model_open(&run->model, &run->fault.io, 0, &run->queue);
    if (!run->queue) return;
    for (int try = 0; try < 2 && run->model.with_keeper && !run->model.keeper_made; try++)
        (void)model_keeper_make(&run->model, run->queue);
    for (int try = 0; try < 2 && !has_consumer(run); try++)
        (void)model_consumer_open(&run->model, run->queue, 0, 0, 0);
}

static void close_all(struct run *run)
{
    if (has_consumer(run)) (void)model_consumer_close(&run->model, 0);
    if (run->queue) (void)model_close(&run->model, run->queue);
    run->queue = NULL;
}

static void put(struct run *run, uint32_t size)
{
    if (run->queue) (void)model_put(&run->model, run->queue, size, false);
}

static void put_batch(struct run *run, uint32_t a, uint32_t b, uint32_t c)
{
    uint32_t sizes[] = {a, b, c};
    if (run->queue) (void)model_put_batch(&run->model, run->queue, sizes, 3, false);
}

/* Gets up to `count`, acks all but every fifth, which it gives back. */
static void consume(struct run *run, int count)
{
    for (int i = 0, errors = 0; has_consumer(run) && i < count && errors < 3; i++) {
        int err = model_poll(&run->model, 0);
        if (err == LQ_EMPTY) return;
        if (err) errors++;
        else if (i % 5 == 3) (void)model_release(&run->model, 0);
        else (void)model_ack(&run->model, 0);
    }
}

static void play(struct run *run)
{
    for (int session = 0; session < 2; session++) {
        open_all(run);
        for (uint32_t i = 0; i < 4; i++) put(run, 20 + 100 * i);
        consume(run, 3);
        put_batch(run, 8, 1000, 30);
        if (run->queue) (void)model_sync(&run->model, run->queue);
        for (int i = 0; i < 8; i++) put(run, 9000); /* rolls */
        consume(run, 9);
        if (session == 0) {
            put(run, 100000); /* larger than ring and segment */
            put_batch(run, 30000, 40000, 50000);
        }
        consume(run, 40);
        for (int i = 0; i < 2; i++) put(run, 500);
        if (run->queue) (void)model_sync(&run->model, run->queue);
        put(run, 64);
        if (has_consumer(run)) (void)model_poll(&run->model, 0); /* left unsettled */
        if (session == 0) close_all(run);
    }
}

/* ---- one run ----------------------------------------------------------- */

/* Whether it met the fault. */
static bool run_one(unsigned mode, unsigned row, unsigned ways, uint64_t n, char why[1024])
{
    struct run *run = calloc(1, sizeof *run);
    lq_options options = {.sync = modes[mode], .segment_size = 65536, .ring_size = 65536};
    if (run == NULL) abort();
    model_init(&run->model, &options, !(ways & NO_KEEPER));
    run->machine = io_crash_new(n);
    io_fault_init(&run->fault, io_crash_io(run->machine));
    run->fault.short_writes = run->fault.short_allocates = run->fault.drop_unsynced = rows[row].half;
    run->model.bytes_may_vanish = rows[row].kind == IO_SYNC && rows[row].half;
    io_fault_plan(&run->fault, rows[row].kind, n, ways & FOR_EVER, rows[row].error);
    why[0] = 0;

    play(run);
    bool hit = run->fault.hits > 0;
    struct io_crash *after = NULL;
    enum model_loss loss = MODEL_CLOSED;
    if (ways & (KILLED | POWER_LOST)) {
        loss = ways & KILLED ? MODEL_KILLED : MODEL_POWER_LOST;
        after = ways & KILLED ? io_crash_processes_die(run->machine) : io_crash_power_loss(run->machine, n);
        struct model then = run->model; /* what closing the old handles does means nothing to the crashed machine */
        io_fault_end(&run->fault);
        close_all(run);
        run->model = then;
    } else {
        close_all(run); /* under the fault */
        io_fault_end(&run->fault);
    }
    if (run->model.why[0]) snprintf(why, 1024, "while it ran: %.900s", run->model.why);
    else if (!model_check(&run->model, after ? io_crash_io(after) : &run->fault.io, loss, false))
        memcpy(why, run->model.why, sizeof run->model.why);

    io_crash_free(after);
    io_fault_release(&run->fault);
    io_crash_free(run->machine);
    free(run);
    return hit;
}

static void report(unsigned mode, unsigned row, unsigned ways, uint64_t n, const char *why)
{
    printf("LQ_SWEEP=%u:%u:%u:%llu: call %llu of %s %s %s%s, then %s: %s\n", mode, row, ways, (unsigned long long)n,
           (unsigned long long)n, io_kind_names[rows[row].kind], ways & FOR_EVER ? "and all later ones fail with" : "fails with",
           strerror(rows[row].error), rows[row].half ? " halfway" : "",
           ways & KILLED ? "kill -9" : ways & POWER_LOST ? "power loss" : "close", why);
    fflush(stdout);
}

static double seconds_since(int64_t start_us)
{
    return (double)(lqi_now_us() - start_us) / 1e6;
}

int main(void)
{
    const char *one = getenv("LQ_SWEEP"), *limit = getenv("LQ_SWEEP_SECONDS");
    double seconds = limit ? strtod(limit, NULL) : 25;
    int64_t start = lqi_now_us();
    const char *wrong = getenv("LQ_SWEEP_WRONG");
    unsigned long most = wrong ? strtoul(wrong, NULL, 10) : 20, runs = 0, failures = 0, cut = 0;
    char why[1024];

    setvbuf(stdout, NULL, _IOLBF, 0);
    if (one) {
        unsigned mode, row, ways;
        unsigned long long n;
        if (sscanf(one, "%u:%u:%u:%llu", &mode, &row, &ways, &n) != 4 || mode > 1 || row >= ROWS || ways >= WAYS) return 2;
        bool hit = run_one(mode, row, ways, n, why);
        if (why[0]) report(mode, row, ways, n, why);
        else printf("nothing was wrong%s\n", hit ? "" : ", but the script makes no such call");
        return why[0] != 0;
    }

    for (unsigned ways = 0; ways < WAYS; ways++) {
        if ((ways & KILLED) && (ways & POWER_LOST)) continue;
        for (unsigned mode = 0; mode < sizeof modes / sizeof *modes; mode++) {
            for (unsigned row = 0; row < ROWS; row++) {
                bool hit = true;
                for (uint64_t n = 1; hit; n++) {
                    if (seconds_since(start) > seconds) {
                        cut++;
                        break;
                    }
                    hit = run_one(mode, row, ways, n, why);
                    runs++;
                    if (!why[0]) continue;
                    report(mode, row, ways, n, why);
                    if (++failures == most) return 1;
                }
            }
        }
    }
    io_crash_trim();
    printf("%lu runs, %lu wrong, in %.1f s%s\n", runs, failures, seconds_since(start),
           cut ? "; not all: the time was over" : "");
    return failures > 0;
}
