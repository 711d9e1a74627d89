/* The power fails, or all processes are killed, after every call to the machine, while a script of
 * random calls runs; and again while the queue recovers from that, and again in the recovery from both. Each time the
 * queue must come up with all that it had promised, and nothing else.
 *
 *     LQ_SWEEP=7 sweep_crash              the run of one seed again, as a failure names it
 *     LQ_SWEEP_SECONDS=3600 sweep_crash   so long, instead of 20 s
 *     LQ_SWEEP_RUNS=20 sweep_crash        so many seeds, however long it takes
 *     LQ_SWEEP_JOBS=1 sweep_crash         so many processes, instead of one for each CPU
 *     LQ_SEED=1000 sweep_crash            seeds from there on, instead of from 1
 *
 * After each call of the script's (in every fourth run; in the others after one in eight, so that more scripts are seen)
 * every subset of what was not synced is tried, names included, if these are at most SUBSETS_MOST changes (io_subsets.h
 * says what one is); of more, and inside recovery, a few that chance draws (io_crash.h).
 * The death of all processes keeps the shared memory, and what was written; power loss does not, and the two follow upon each other.
 *
 * Only distinct states are looked at, and counted: power losses that left other bytes or names on the disk, or came when
 * other promises had been made, than all others in all processes; deaths that left other bytes in files, in memory or on the
 * disk. All runs draw the same uuids and salts, so that nothing is told apart by these alone. */
#include <inttypes.h>
#include <malloc.h>
#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "queue.h"
#include "service.h"
#include "support/io_crash.h"
#include "support/io_subsets.h"
#include "support/model.h"

enum { DEPTH = 3 /* crashes inside each other */, SUBSETS_MOST = 8, JOBS_MOST = 64 };

struct run {
    struct model model;
    uint64_t seed;
    uint64_t random;       /* what the script draws */
    uint64_t crash_random; /* what the crashes draw: from the seed and the calls alone, whatever others have seen */
    struct io_crash *machine;
    lq_queue *queues[MODEL_HANDLES];
    uint32_t handle_flags[MODEL_HANDLES], member_flags[MODEL_MEMBERS]; /* with which they are opened */
    bool small;            /* no large messages: a log that is short, and read in no time */
    uint32_t one_in;       /* of so many calls of the script's, one is crashed at */
    int depth;             /* crashes on the way to this machine */
    uint64_t path[DEPTH];  /* the calls at which it crashed so far */
    const char *how[DEPTH];
};

/* Shared by the processes that do the work. */
static struct total {
    _Atomic uint64_t crashes, losses, kills, inner, next_seed, ended_runs; /* losses of power, kills: distinct ones */
    _Atomic unsigned long failures;
    _Atomic uint64_t running[JOBS_MOST]; /* the seeds that are run, for those who die of it */
    uint64_t word_count;
    _Atomic uint64_t seen[]; /* a filter: see is_new() */
} *total;

/* ---- chance ------------------------------------------------------------ */

static uint64_t mix(uint64_t z)
{
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
}

static uint64_t next_random(uint64_t *state)
{
    return mix(*state += 0x9e3779b97f4a7c15);
}

static uint32_t draw(uint64_t *state, uint32_t limit)
{
    return (uint32_t)(next_random(state) >> 32) % limit;
}

static uint32_t below(struct run *run, uint32_t limit)
{
    return draw(&run->random, limit);
}

/* ---- time, and the library's one thread ---------------------------------- */

static double clock_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static double until; /* when this process shall come to an end */

/* Linked in instead of lqi_now_us() (see the Makefile): nothing depends on how fast this machine is. */
static int64_t now_us;

int64_t __wrap_lqi_now_us(void);
int64_t __wrap_lqi_now_us(void)
{
    return now_us += 20; /* so that nobody who waits for a moment looks often */
}

/* Stands in for service.c: the script takes the steps itself, at its own moments, so that a seed always
 * does the same, and calls of the thread are crashed at like all others. */
static struct lqi_task *task; /* of LQ_SYNC_INTERVAL; those of recoveries in the middle of a call stand before it meanwhile */

int lqi_service_add(struct lqi_task *added)
{
    added->next = task;
    task = added;
    return LQ_OK;
}

void lqi_service_remove(struct lqi_task *removed)
{
    for (struct lqi_task **place = &task; *place; place = &(*place)->next) {
        if (*place != removed) continue;
        *place = removed->next;
        return;
    }
}

void lqi_service_kick(void) {}

/* ---- what was seen already ---------------------------------------------- */

/* A filter after Bloom: each state is four bits of one word. When these were set by others before, a new one counts as old, and
 * is not looked at: of 10000 states one, at the size that is chosen here, and of the last ones of a thousand million one in eight.
 * So the count is never too high, and the memory never more than 512 MiB, however long this runs. */
static bool is_new(uint64_t hash)
{
    uint64_t bits = 0;
    hash = mix(hash);
    for (int i = 0; i < 4; i++) bits |= (uint64_t)1 << (hash >> (i * 6) & 63);
    return (atomic_fetch_or(&total->seen[hash >> 24 & (total->word_count - 1)], bits) & bits) != bits;
}

/* Such machines see some 16000 states a second and CPU, of which two then share a word. */
static void make_total(double seconds, int jobs)
{
    uint64_t words = (uint64_t)1 << 16, size;
    while ((double)words < seconds * jobs * 8000 && words < (uint64_t)1 << 26) words *= 2;
    size = sizeof *total + words * sizeof total->seen[0];
    total = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (total == MAP_FAILED) abort();
    total->word_count = words;
}

/* ---- crashing ---------------------------------------------------------- */

static void crash_hook(void *context, struct io_crash *machine, enum io_kind kind, bool changed);

static void report(const struct run *run, const char *why)
{
    static const char *const modes[] = {"", "always", "interval", "never"};
    char line[2048];
    int size = snprintf(line, sizeof line, "LQ_SWEEP=%" PRIu64 ": sync %s", run->seed, modes[run->model.options.sync]);
    for (int i = 0; i < run->depth; i++)
        size += snprintf(line + size, sizeof line - (size_t)size, ", %s after call %" PRIu64, run->how[i], run->path[i]);
    printf("%s: %s\n", line, why);
    total->failures++;
}

/* The machine came up after a crash: looks at it, and crashes it in its turn meanwhile. The library is in the middle of
 * a call; nothing but the text of its last error is touched by calling it again. */
static void crashed(const struct run *before, struct io_crash *after, enum model_loss loss, const char *how, uint64_t number)
{
    static struct run runs[DEPTH]; /* one inside the other */
    struct run *run = &runs[before->depth];
    char text[LQI_TEXT_MAX];
    int64_t now = now_us;

    run->seed = before->seed;
    run->depth = before->depth + 1;
    memcpy(run->path, before->path, sizeof run->path);
    memcpy(run->how, before->how, sizeof run->how);
    run->path[before->depth] = io_crash_calls(before->machine);
    run->how[before->depth] = how;
    model_copy(&run->model, &before->model);
    run->machine = after;
    run->crash_random = mix(before->crash_random + mix(io_crash_calls(before->machine) + (number << 32)));

    /* All is compared each time; that the queue also works afterwards is looked at less often the deeper it is. */
    bool quick = run->depth == DEPTH || (run->depth > 1 && draw(&run->crash_random, 3) > 0);
    unsigned flags = quick ? MODEL_QUICK : 0;
    switch (draw(&run->crash_random, 6)) { /* new messages under old ids, which the consumers have not acked yet */
    case 0: flags |= MODEL_PUT_FIRST | MODEL_LOOK_FIRST; break;
    case 1: flags |= MODEL_LOOK_FIRST; break;
    }
    total->inner += run->depth > 1;
    snprintf(text, sizeof text, "%s", lq_error_text());
    if (run->depth < DEPTH) io_crash_watch(after, crash_hook, run);
    if (!model_check(&run->model, io_crash_io(after), loss, flags)) report(run, run->model.why);
    (void)lqi_fail(LQ_EIO, "%s", text);
    now_us = now;
}

static void processes_die(const struct run *run)
{
    struct io_crash *after = io_crash_processes_die(run->machine);
    total->crashes++;
    if (is_new(~io_crash_hash_alive(after) ^ model_hash(&run->model))) {
        total->kills++;
        crashed(run, after, MODEL_KILLED, "kill -9", 0);
    }
    io_crash_free(after);
}

static void power_lost(const struct run *run, struct io_crash *after, uint64_t number)
{
    total->crashes++;
    if (is_new(io_crash_hash(after) ^ model_hash(&run->model))) {
        total->losses++;
        crashed(run, after, MODEL_POWER_LOST, "power loss", number);
    }
    io_crash_free(after);
}

static void lose_power(const struct run *run, uint64_t seed)
{
    power_lost(run, io_crash_power_loss(run->machine, seed), seed);
}

static void lose_power_in_every_way(const struct run *run, uint64_t *random)
{
    struct io_subsets subsets;
    struct io_crash *after;
    uint64_t number = 1000;

    if (io_subsets_begin(&subsets, run->machine, SUBSETS_MOST)) {
        while ((after = io_subsets_next(&subsets))) power_lost(run, after, number++);
    } else {
        lose_power(run, draw(random, 2));
        lose_power(run, 2 + draw(random, 16));
    }
    for (int i = 0; i < 2; i++) lose_power(run, 18 + (next_random(random) >> 1));
}

static void crash_hook(void *context, struct io_crash *machine, enum io_kind kind, bool changed)
{
    const struct run *run = context;
    uint64_t random = mix(run->crash_random + io_crash_calls(machine));
    (void)kind;
    if (run->depth == 0) {
        if (draw(&random, run->one_in) > 0 || clock_seconds() > until) return;
        if (changed) lose_power_in_every_way(run, &random);
        if (changed || draw(&random, 4) == 0) processes_die(run);
    } else if (changed && draw(&random, run->depth == 1 ? 8 : 32) == 0) {
        if (draw(&random, 4) == 0) processes_die(run);
        else lose_power(run, draw(&random, 3) ? 18 + (next_random(&random) >> 1) : draw(&random, 18));
    }
}

/* ---- the script -------------------------------------------------------- */

static uint32_t some_size(struct run *run)
{
    if (run->model.options.size_max && below(run, run->small ? 4 : 2) == 0) return 6000 + below(run, 9000); /* or no limit would be reached */
    switch (run->small ? 2 + below(run, 14) : below(run, 16)) {
    case 0: return below(run, 2) ? 16500 + below(run, 6000) : 1000 + below(run, 3000); /* goes straight to its file; or not */
    case 1: return below(run, 8) ? 5000 + below(run, 5000) : 66000 + below(run, 20000); /* larger than a segment */
    case 2: case 3: return 1000 + below(run, 3000);
    case 4: case 5: case 6: case 7: case 8: return 9; /* as the model's own: one may come to lie where another was */
    default: return 8 + below(run, 300);
    }
}

/* All must go well, but for what limits say. */
static void expect(struct run *run, const char *doing, int err)
{
    char why[1024];
    if (err == LQ_OK || err == LQ_EMPTY || run->model.why[0]) return;
    if (run->model.options.size_max && (err == LQ_EFULL || err == LQ_ELEASE)) return;
    snprintf(why, sizeof why, "without any crash: %s: %s: %.800s", doing, lq_error_name(err), lq_error_text());
    report(run, why);
}

static uint32_t some_handle(struct run *run)
{
    uint32_t handle = below(run, MODEL_HANDLES);
    return run->queues[handle] ? handle : 0;
}

static void open_handle(struct run *run, uint32_t handle)
{
    struct model *model = &run->model;
    expect(run, "open", model_open(model, io_crash_io(run->machine), run->handle_flags[handle], &run->queues[handle]));
    if (handle == 0 && model->with_keeper) expect(run, "open the keeper", model_keeper_make(model, run->queues[0]));
}

/* Members 0 and 1 are of "c", by either handle; 2 is of "d". */
static void open_or_close_member(struct run *run, uint32_t member)
{
    struct model *model = &run->model;
    uint32_t of = member / 2, handle = member == 1 && run->queues[1] ? 1 : 0;
    if (model->members[member].consumer) expect(run, "close the consumer", model_consumer_close(model, member));
    else expect(run, "open the consumer", model_consumer_open(model, run->queues[handle], of, run->member_flags[member], member));
}

static void close_handle(struct run *run, uint32_t handle)
{
    for (uint32_t member = 0; member < MODEL_MEMBERS; member++)
        if (run->model.members[member].consumer && (handle == 0 || member == 1)) open_or_close_member(run, member);
    expect(run, "close", model_close(&run->model, run->queues[handle]));
    run->queues[handle] = NULL;
}

static void close_all(struct run *run)
{
    for (uint32_t handle = MODEL_HANDLES; handle-- > 0;)
        if (run->queues[handle]) close_handle(run, handle);
}

static void put(struct run *run)
{
    uint32_t handle = some_handle(run), sizes[MODEL_BATCH], count = 2 + below(run, 6);
    bool deferred = run->handle_flags[handle] & LQ_DEFER_SYNC;
    if (below(run, 5) > 0) {
        expect(run, "put", model_put(&run->model, run->queues[handle], some_size(run), deferred));
        return;
    }
    for (uint32_t i = 0; i < count; i++) sizes[i] = some_size(run) / 4 + 8;
    expect(run, "put a batch", model_put_batch(&run->model, run->queues[handle], sizes, count, deferred));
}

static void get(struct run *run)
{
    struct model *model = &run->model;
    uint32_t member = below(run, MODEL_MEMBERS);
    if (!model->members[member].consumer) member = 0;
    if (!model->members[member].consumer) return;
    if (model->members[member].dispatches) expect(run, "dispatch", model_dispatch(model, member, 1 + below(run, 4)));
    else if (model->held_count > 24) return;
    else if (below(run, 3)) expect(run, "poll", model_poll(model, member));
    else expect(run, "get a batch", model_get_batch(model, member, 1 + below(run, 8)));
}

static void settle(struct run *run)
{
    struct model *model = &run->model;
    for (uint32_t i = below(run, 4); model->held_count > 0; i--) {
        uint32_t held = below(run, model->held_count);
        switch (below(run, 6)) {
        case 0: expect(run, "release", model_release(model, held)); break;
        case 1: expect(run, "ack a batch", model_ack_all(model, model->held[held].member)); break;
        default: expect(run, "ack", model_ack(model, held)); break;
        }
        if (i == 0) return;
    }
}

/* As many saves of a position as its file has entries, and more. */
static void ack_many(struct run *run)
{
    struct model *model = &run->model;
    uint32_t sizes[MODEL_BATCH];
    if (!model->members[0].consumer || model->members[0].dispatches) return;
    for (uint32_t i = 0; i < MODEL_BATCH; i++) sizes[i] = 9;
    for (uint32_t round = 0; round < 5; round++) {
        expect(run, "put a batch", model_put_batch(model, run->queues[0], sizes, MODEL_BATCH, false));
        for (uint32_t i = 0; i < MODEL_BATCH; i++) {
            uint32_t before = model->held_count;
            expect(run, "poll", model_poll(model, 0));
            if (model->held_count > before) expect(run, "ack", model_ack(model, before));
        }
    }
}

static void delete_consumer(struct run *run)
{
    struct model *model = &run->model;
    uint32_t of = below(run, MODEL_CONSUMERS);
    if (model_has_members(model, of) || model->consumers[of].existence != MODEL_THERE) return;
    expect(run, "delete the consumer", model_consumer_delete(model, run->queues[some_handle(run)], of));
}

static void look(struct run *run)
{
    lq_queue *queue = run->queues[some_handle(run)];
    if (below(run, 3)) expect(run, "stats", model_stats(&run->model, queue));
    else expect(run, "read", model_read(&run->model, queue));
}

/* The library's thread has slept long enough; and who is dead is looked for again. */
static void pass_time(struct run *run)
{
    now_us += 30000;
    if (!task) return;
    for (struct lqi_task *each = task; each; each = each->next) (void)each->step(each->context);
    model_interval_passed(&run->model);
}

static void step(struct run *run)
{
    if (!run->queues[0]) {
        open_handle(run, 0);
        if (run->seed % 2) open_handle(run, 1);
        return;
    }
    switch (below(run, 32)) {
    case 0: case 1: case 2: case 3: case 4: case 5: case 6: case 7: case 8: case 9: case 10: put(run); return;
    case 11: expect(run, "sync", model_sync(&run->model, run->queues[some_handle(run)])); return;
    case 12: case 13: case 14: case 15: case 16: case 17: get(run); return;
    case 18: case 19: case 20: case 21: case 22: settle(run); return;
    case 23: case 24: open_or_close_member(run, 0); return;
    case 25: open_or_close_member(run, 1 + below(run, 2)); return;
    case 26: delete_consumer(run); return;
    case 27: look(run); return;
    case 28: pass_time(run); return;
    case 29:
        if (run->queues[1]) close_handle(run, 1);
        else open_handle(run, 1);
        return;
    case 30: close_all(run); return;
    default:
        if (!run->model.members[0].consumer) open_or_close_member(run, 0);
        else if (below(run, 2)) ack_many(run);
    }
}

static void choose_options(struct run *run, lq_options *options)
{
    static const int modes[] = {LQ_SYNC_ALWAYS, LQ_SYNC_NEVER, LQ_SYNC_INTERVAL};
    options->sync = modes[run->seed % 3];
    options->segment_size = options->ring_size = 65536;
    if (below(run, 12) == 0) { /* packing takes longer than all else: a little of it, and of nothing large */
        options->compression = 1;
        run->small = true;
        return;
    }
    switch (below(run, 8)) { /* what may be deleted */
    case 0: options->retention = LQ_RETAIN_LIMITS; break;
    case 1: options->retention = LQ_RETAIN_BOTH; break;
    case 2: options->full = LQ_FULL_DROP; break;
    case 3: options->full = LQ_FULL_REJECT; break;
    default: return;
    }
    options->size_max = 131072 + below(run, 65536);
}

static void run_one(uint64_t seed)
{
    struct run *run = calloc(1, sizeof *run);
    lq_options options = {.size = sizeof options};
    if (run == NULL) abort();
    now_us = 1000000;
    run->seed = seed;
    run->random = seed;
    run->crash_random = mix(seed);
    run->one_in = seed % 4 ? 8 : 1;
    run->small = below(run, 2);
    choose_options(run, &options);
    if (below(run, 2)) run->handle_flags[1] = LQ_DEFER_SYNC;
    for (uint32_t i = 0; i < MODEL_MEMBERS; i++)
        run->member_flags[i] = (below(run, 2) ? 0 : LQ_CONSUMER_SAVE_ACKS) | (below(run, 4) ? 0 : LQ_CONSUMER_DISPATCH);
    model_init(&run->model, &options, below(run, 3) == 0);
    run->machine = io_crash_new(1);
    io_crash_watch(run->machine, crash_hook, run);

    uint32_t steps = 20 + below(run, 60);
    for (uint32_t i = 0; i < steps && !run->model.why[0]; i++) step(run);
    close_all(run);
    if (run->model.why[0]) report(run, run->model.why);
    io_crash_free(run->machine);
    free(run);
}

/* ---- the work ----------------------------------------------------------- */

/* Seeds below `end`. */
static void work(int job, uint64_t end, unsigned long most)
{
    while (clock_seconds() < until && total->failures < most) {
        total->running[job] = total->next_seed++;
        if (total->running[job] >= end) break;
        run_one(total->running[job]);
        total->ended_runs++;
    }
    io_crash_trim();
}

/* A process that dies of what it finds must not take the others' results with it. */
static void wait_for(const pid_t *processes, int jobs)
{
    for (int job = 0; job < jobs; job++) {
        int status;
        if (waitpid(processes[job], &status, 0) != processes[job]) abort();
        if (WIFEXITED(status) && WEXITSTATUS(status) == 0) continue;
        printf("LQ_SWEEP=%" PRIu64 ": the process ended with status 0x%x\n", total->running[job], (unsigned)status);
        total->failures++;
    }
}

static int number_from(const char *name, int otherwise)
{
    const char *value = getenv(name);
    return value ? atoi(value) : otherwise;
}

int main(void)
{
    const char *one = getenv("LQ_SWEEP"), *first = getenv("LQ_SEED"), *runs = getenv("LQ_SWEEP_RUNS");
    double seconds = number_from("LQ_SWEEP_SECONDS", 20);
    unsigned long most = (unsigned long)number_from("LQ_SWEEP_WRONG", 20);
    int jobs = number_from("LQ_SWEEP_JOBS", (int)sysconf(_SC_NPROCESSORS_ONLN));
    pid_t processes[JOBS_MOST];
    double start = clock_seconds();

    setvbuf(stdout, NULL, _IOLBF, 0);
    mallopt(M_TRIM_THRESHOLD, 1 << 30); /* what one crash has freed the next one needs */
    mallopt(M_MMAP_THRESHOLD, 1 << 30);
    if (jobs > JOBS_MOST) jobs = JOBS_MOST;
    make_total(one ? 600 : seconds, jobs); /* one alone shall hardly ever pass over what it has found before */
    total->next_seed = first ? strtoull(first, NULL, 10) : 1;
    until = one || runs ? INFINITY : start + seconds;
    uint64_t end = runs ? total->next_seed + strtoull(runs, NULL, 10) : UINT64_MAX;
    if (one) {
        run_one(strtoull(one, NULL, 10));
        total->ended_runs++;
        io_crash_trim();
        jobs = 0;
    }
    for (int job = 0; job < jobs; job++) {
        processes[job] = fork();
        if (processes[job] < 0) abort();
        if (processes[job] > 0) continue;
        work(job, end, most);
        exit(0);
    }
    wait_for(processes, jobs);
    printf("%" PRIu64 " distinct states after %" PRIu64 " crashes (%" PRIu64 " of power loss, %" PRIu64 " of kill -9, %" PRIu64
           " inside recovery) of %" PRIu64 " runs, %lu wrong, in %.1f s\n",
           total->losses + total->kills, total->crashes, total->losses, total->kills, total->inner, total->ended_runs,
           total->failures, clock_seconds() - start);
    return total->failures > 0;
}
