/* Every call to the machine fails once, and from some moment on for ever, in every way it can: the
 * first, the second, the third... of each kind until a script meets no more of them; and so do allocations, threads, event
 * descriptors and futexes. Whatever the answers were on the way, afterwards the queue must hold what it said it holds, and
 * nothing may be left open.
 *
 *     LQ_SWEEP=SCRIPT:ROW:WAYS:N sweep_fault  one run again, as a failure names it
 *     LQ_SWEEP_SECONDS=600 sweep_fault        at most so long, instead of 20 s
 *     LQ_SWEEP_JOBS=1 sweep_fault             so many processes, instead of one for each CPU
 *     LQ_SEED=5 sweep_fault                   begin elsewhere than the clock says
 *     LQ_SWEEP_WRONG=1000 sweep_fault         go on after so many that are wrong, instead of 20
 *
 * Work is done by the series: a script, a row of the table below, one way to end it, and all n. `make sweep` goes through all
 * of them; when there is not time for that, each run of this program begins with others, and its last line says how many
 * there were. */
#include <errno.h>
#include <malloc.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "queue.h"
#include "view.h"
#include "support/call_fault.h"
#include "support/io_crash.h"
#include "support/io_fault.h"
#include "support/model.h"

/* What fails, and how. */
static const struct row {
    int kind; /* enum io_kind, or CALL + enum call_kind */
    int error;
    enum { WHOLE, HALF, CLEAN } how; /* HALF: a write writes half, a sync drops what it should have synced, an allocate
                                      * grows the file. CLEAN: what a sync should have synced counts as if it were */
} rows[] = {
#define CALL IO_KINDS
    {IO_SYNC, EIO, CLEAN},       {IO_SYNC, ENOSPC, CLEAN},
    {IO_WRITE, EIO, HALF},       {IO_SYNC, EIO, HALF},        {CALL + CALL_ALLOCATE, ENOMEM, WHOLE}, {IO_READ, EIO, WHOLE},
    {IO_OPEN, EMFILE, WHOLE},    {IO_DIR_SYNC, EIO, WHOLE},   {IO_SYNC, EIO, WHOLE},        {IO_ALLOCATE, ENOSPC, HALF},
    {IO_WRITE, ENOSPC, HALF},    {IO_RENAME, EIO, WHOLE},     {IO_TRUNCATE, EIO, WHOLE},    {IO_WRITE, EIO, WHOLE},
    {IO_OPEN, ENOSPC, WHOLE},    {IO_OPEN, EACCES, WHOLE},    {IO_OPEN, EIO, WHOLE},        {IO_OPEN, ENFILE, WHOLE},
    {IO_OPEN, EDQUOT, WHOLE},    {IO_OPEN, ENOMEM, WHOLE},    {IO_WRITE, ENOSPC, WHOLE},    {IO_WRITE, EDQUOT, HALF},
    {IO_WRITE, EFBIG, HALF},     {IO_SYNC, ENOSPC, HALF},     {IO_SYNC, EDQUOT, HALF},      {IO_ALLOCATE, ENOSPC, WHOLE},
    {IO_ALLOCATE, EDQUOT, WHOLE},{IO_ALLOCATE, EFBIG, WHOLE}, {IO_ALLOCATE, EIO, HALF},     {IO_RENAME, ENOSPC, WHOLE},
    {IO_RENAME, EDQUOT, WHOLE},  {IO_RENAME, EACCES, WHOLE},  {IO_UNLINK, EIO, WHOLE},      {IO_UNLINK, EACCES, WHOLE},
    {IO_DIR_OPEN, EMFILE, WHOLE},{IO_DIR_OPEN, ENFILE, WHOLE},{IO_DIR_OPEN, EACCES, WHOLE}, {IO_DIR_OPEN, EIO, WHOLE},
    {IO_DIR_MAKE, ENOSPC, WHOLE},{IO_DIR_MAKE, EDQUOT, WHOLE},{IO_DIR_MAKE, EACCES, WHOLE}, {IO_DIR_MAKE, EROFS, WHOLE},
    {IO_DIR_LIST, EIO, WHOLE},   {IO_DIR_LIST, ENOMEM, WHOLE},{IO_DIR_SHARED, EIO, WHOLE},  {IO_STAT, EIO, WHOLE},
    {IO_LOCK, ENOLCK, WHOLE},    {IO_LOCK, EIO, WHOLE},       {IO_UNLOCK, ENOLCK, WHOLE},   {IO_LOCKED, ENOLCK, WHOLE},
    {IO_MAP, ENOMEM, WHOLE},     {IO_MAP, EAGAIN, WHOLE},     {IO_BOOT_ID, EIO, WHOLE},     {IO_BOOT_ID, EMFILE, WHOLE},
    {IO_RANDOM, EIO, WHOLE},     {CALL + CALL_THREAD, EAGAIN, WHOLE},
    {CALL + CALL_EVENTFD, EMFILE, WHOLE}, {CALL + CALL_EVENTFD, ENFILE, WHOLE}, {CALL + CALL_EVENTFD, ENOMEM, WHOLE},
    {CALL + CALL_FUTEX_WAIT, EINTR, WHOLE},    {CALL + CALL_FUTEX_WAIT, EAGAIN, WHOLE},   {CALL + CALL_FUTEX_WAIT, ENOSYS, WHOLE},
    {CALL + CALL_FUTEX_WAIT, EPERM, WHOLE},
};
enum { ROWS = sizeof rows / sizeof *rows };

enum { FOR_EVER = 1, KILLED = 2, POWER_LOST = 4, NO_KEEPER = 8, WAYS = 16 }; /* KILLED and POWER_LOST exclude each other */

struct run {
    struct model model;
    struct io_crash *machine;
    struct io_fault fault;
    bool for_ever;
    lq_queue *queue, *second; /* the second defers its syncs */
};

/* ---- time --------------------------------------------------------------- */

static int64_t now_us;

int64_t __real_lqi_now_us(void);
int64_t __wrap_lqi_now_us(void);
int64_t __wrap_lqi_now_us(void)
{
    return call_fault_clock_us ? now_us += 20 : __real_lqi_now_us(); /* so that nobody who waits for a moment looks often */
}

/* ---- the scripts' calls -------------------------------------------------- */

/* The one call that was to fail has failed, so that from now on all goes well again. But a lock that could not be given
 * up is kept until its file is closed. */
static bool is_over(const struct run *run)
{
    if (run->fault.kind == IO_UNLOCK && run->fault.nth) return false;
    return !run->for_ever && (run->fault.hits > 0 || call_fault_hits() > 0);
}

static bool must_go_well(struct run *run, const char *doing, int err)
{
    bool limits = run->model.options.size_max && (err == LQ_EFULL || err == LQ_ELEASE);
    if (err >= 0 || err == LQ_EPOISONED || limits || (err == LQ_ECORRUPT && run->model.vanished)) return true;
    return model_wrong(&run->model, "%s: %s: %s; though it was another call that failed", doing, lq_error_name(err), lq_error_text());
}

#define TRY(doing, call) do { bool over_ = is_over(run); int err_ = (call); if (over_) must_go_well(run, doing, err_); } while (0)
/* A second try, as a program would do it. */
#define TWICE(done, doing, call) for (int try_ = 0; try_ < 2 && !(done); try_++) TRY(doing, call)

static bool is_open(const struct run *run, uint32_t member)
{
    return run->model.members[member].consumer != NULL;
}

static void open_member(struct run *run, lq_queue *queue, uint32_t member, uint32_t of, uint32_t flags)
{
    if (queue) TWICE(is_open(run, member), "open the consumer", model_consumer_open(&run->model, queue, of, flags, member));
}

static void close_member(struct run *run, uint32_t member)
{
    if (is_open(run, member)) TRY("close the consumer", model_consumer_close(&run->model, member));
}

static void open_all(struct run *run)
{
    struct model *model = &run->model;
    TWICE(run->queue, "open", model_open(model, &run->fault.io, 0, &run->queue));
    if (!run->queue) return;
    TWICE(!model->with_keeper || model->keeper_made, "make the keeper", model_keeper_make(model, run->queue));
    open_member(run, run->queue, 0, 0, 0);
}

static void close_all(struct run *run)
{
    for (uint32_t member = 0; member < MODEL_MEMBERS; member++) close_member(run, member);
    if (run->second) TRY("close", model_close(&run->model, run->second));
    if (run->queue) TRY("close", model_close(&run->model, run->queue));
    run->queue = run->second = NULL;
}

static void put(struct run *run, uint32_t size)
{
    if (run->queue) TRY("put", model_put(&run->model, run->queue, size, false));
}

static void put_batch(struct run *run, uint32_t a, uint32_t b, uint32_t c)
{
    uint32_t sizes[] = {a, b, c};
    if (run->queue) TRY("put a batch", model_put_batch(&run->model, run->queue, sizes, 3, false));
}

static void sync_all(struct run *run)
{
    if (run->queue) TRY("sync", model_sync(&run->model, run->queue));
}

/* Gets up to `count`, acks all but every fifth, which it gives back. */
static void consume(struct run *run, int count)
{
    struct model *model = &run->model;
    for (int i = 0, errors = 0; is_open(run, 0) && i < count && errors < 3; i++) {
        uint32_t before = model->held_count;
        bool over = is_over(run);
        int err = model_poll(model, 0);
        if (over) must_go_well(run, "poll", err);
        if (err == LQ_EMPTY) return;
        if (err) errors++;
        else if (model->held_count == before) return; /* not held: something is wrong already */
        else TRY("settle", i % 5 == 3 ? model_release(model, before) : model_ack(model, before));
    }
}

static void note_finding(void *context, const lq_finding *finding)
{
    struct model *model = context;
    if (finding->code == LQ_ECORRUPT && !model->vanished)
        model_wrong(model, "lq_verify() finds damage in %s at %llu: %s", finding->file, (unsigned long long)finding->offset, finding->text);
}

static void look(struct run *run)
{
    if (!run->queue) return;
    TRY("read", model_read(&run->model, run->queue));
    TRY("stats", model_stats(&run->model, run->queue));
    if (run->fault.short_writes) return; /* what a failed write has left half done is damage as long as it is there */
    (void)lqi_verify_io(&run->fault.io, MODEL_PATH, 0, note_finding, &run->model, NULL);
}

/* ---- the scripts -------------------------------------------------------- */

static void play_session(struct run *run, int session)
{
    open_all(run);
    for (uint32_t i = 0; i < 4; i++) put(run, 20 + 100 * i);
    consume(run, 3);
    put_batch(run, 8, 1000, 30);
    sync_all(run);
    for (int i = 0; i < 8; i++) put(run, 9000); /* rolls */
    consume(run, 9);
    if (session == 0) {
        put(run, 100000); /* larger than ring and segment */
        put_batch(run, 30000, 40000, 50000);
    }
    consume(run, 40);
    for (int i = 0; i < 2; i++) put(run, 500);
    sync_all(run);
    put(run, 64);
    if (is_open(run, 0)) TRY("poll", model_poll(&run->model, 0)); /* left unsettled */
}

/* Puts, and gets by one member. */
static void play_one(struct run *run)
{
    play_session(run, 0);
    close_all(run);
    play_session(run, 1);
}

/* What else there is: a second handle, members that compete, a consumer with a handler, deletion, and those who look. */
static void play_many(struct run *run)
{
    struct model *model = &run->model;
    for (int session = 0; session < 2; session++) {
        open_all(run);
        if (run->queue) TWICE(run->second, "open once more", model_open(model, &run->fault.io, LQ_DEFER_SYNC, &run->second));
        open_member(run, run->second, 1, 0, LQ_CONSUMER_SAVE_ACKS);
        open_member(run, run->queue, 2, 1, LQ_CONSUMER_DISPATCH | LQ_CONSUMER_SAVE_ACKS);
        for (int i = 0; i < 6 && run->second; i++) TRY("put", model_put(model, run->second, 300, true));
        sync_all(run);
        if (is_open(run, 1)) TRY("get a batch", model_get_batch(model, 1, 3));
        consume(run, 2);
        if (is_open(run, 1)) TRY("ack a batch", model_ack_all(model, 1));
        if (is_open(run, 2)) TRY("dispatch", model_dispatch(model, 2, 4));
        look(run);
        for (int i = 0; i < 9; i++) put(run, 9000);
        consume(run, 8);
        close_member(run, 2);
        if (run->queue && model->consumers[1].existence == MODEL_THERE) TRY("delete the consumer", model_consumer_delete(model, run->queue, 1));
        consume(run, 8);
        look(run);
        if (run->second) {
            close_member(run, 1);
            TRY("close", model_close(model, run->second));
            run->second = NULL;
        }
        if (session == 0) close_all(run);
    }
}

/* What is packed when it is put and unpacked by all who read it. A little of it, as it takes longer than all the rest. */
static void play_packed(struct run *run)
{
    for (int session = 0; session < 2; session++) {
        open_all(run);
        for (int i = 0; i < 3; i++) put(run, 600);
        put_batch(run, 300, 20, 700);
        if (session == 0) consume(run, 4);
        sync_all(run);
        look(run);
        put(run, 600);
        consume(run, 3 + 20 * session);
        if (session == 0) close_all(run);
    }
}

/* The library's thread: for the interval, a handler, a descriptor. The model is the handler's as long as that may run. */
struct served {
    struct model *model;
    _Atomic int left;
};

static int serve(void *context, int code, const lq_message *message)
{
    struct served *served = context;
    if (code == LQ_OK && model_handle(served->model, 0, message)) served->left--;
    else served->left = 0;
    return LQ_SETTLE_ACK;
}

static void wait_for(struct served *served)
{
    for (int i = 0; i < 2000 && served->left > 0; i++) nanosleep(&(struct timespec){0, 100000}, NULL);
}

static void play_served(struct run *run)
{
    struct model *model = &run->model;
    struct served served = {.model = model};
    open_all(run);
    for (uint32_t i = 0; i < 5; i++) put(run, 20 + i);
    if (is_open(run, 0) && run->queue) {
        served.left = 5;
        if (lq_notify(model->members[0].consumer, serve, &served) == LQ_OK) wait_for(&served);
        (void)lq_notify(model->members[0].consumer, NULL, NULL);
    }
    open_member(run, run->queue, 1, 1, LQ_CONSUMER_DISPATCH);
    if (is_open(run, 1)) {
        (void)lq_fd(model->members[1].consumer);
        put(run, 100);
        (void)model_dispatch(model, 1, 20);
        (void)lq_fd(model->members[1].consumer);
    }
    if (is_open(run, 0)) {
        lq_message message;
        if (lq_get(model->members[0].consumer, &message, 2) == LQ_OK) (void)lq_release(model->members[0].consumer, &message);
    }
    sync_all(run);
}

static const struct script {
    const char *name;
    void (*play)(struct run *run);
    lq_options options;
    bool threads; /* calls other than those of threads are not the same each time */
} scripts[] = {
#define SMALL .segment_size = 65536, .ring_size = 65536
    {"always", play_one, {.sync = LQ_SYNC_ALWAYS, SMALL}, false},
    {"never", play_one, {.sync = LQ_SYNC_NEVER, SMALL}, false},
    {"many", play_many, {.sync = LQ_SYNC_ALWAYS, SMALL}, false},
    {"many, with limits", play_many, {.sync = LQ_SYNC_NEVER, .retention = LQ_RETAIN_BOTH, .size_max = 131072, SMALL}, false},
    {"packed", play_packed, {.sync = LQ_SYNC_ALWAYS, .compression = 1, SMALL}, false},
    {"served", play_served, {.sync = LQ_SYNC_INTERVAL, .sync_interval_ms = 3600000, SMALL}, true},
};
enum { SCRIPTS = sizeof scripts / sizeof *scripts };

static bool goes_with(const struct script *script, const struct row *row)
{
    return script->threads == (row->kind > CALL + CALL_ALLOCATE);
}

/* ---- one run ----------------------------------------------------------- */

static void forget(void *context, int fd)
{
    io_crash_forget(context, fd);
}

static void plan(struct run *run, const struct row *row, uint64_t n, bool for_ever)
{
    run->fault.short_writes = run->fault.short_allocates = run->fault.drop_unsynced = row->how == HALF;
    run->model.bytes_may_vanish = row->kind == IO_SYNC && row->how == HALF;
    run->fault.sync_failed = row->how == CLEAN ? forget : NULL;
    run->fault.sync_context = run->machine;
    run->for_ever = for_ever;
    call_fault_plan(CALL_KINDS, 0, false, 0); /* none */
    if (row->kind < CALL) io_fault_plan(&run->fault, (enum io_kind)row->kind, n, for_ever, row->error);
    if (row->kind >= CALL) call_fault_plan((enum call_kind)(row->kind - CALL), n, for_ever, row->error);
}

static void end_plan(struct run *run)
{
    io_fault_end(&run->fault);
    call_fault_end();
}

static void compare(struct run *run, const struct lqi_io *io, struct io_crash *machine, enum model_loss loss)
{
    if (run->model.why[0]) {
        char why[900];
        snprintf(why, sizeof why, "%.899s", run->model.why);
        snprintf(run->model.why, sizeof run->model.why, "while it ran: %s", why);
    } else if (!io_crash_idle(run->machine)) {
        model_wrong(&run->model, "all was closed, and something is still open, locked or mapped");
    } else if (model_check(&run->model, io, loss, MODEL_LOOK_FIRST) && !io_crash_idle(machine)) {
        model_wrong(&run->model, "all was closed in the end, and something is still open, locked or mapped");
    }
}

/* What was said to be durable then is durable: the power fails, and only that is left. */
static void compare_disk(struct run *run, const struct io_crash *machine)
{
    struct io_crash *after = io_crash_power_loss(machine, 0);
    char why[900];
    if (!model_check(&run->model, io_crash_io(after), MODEL_POWER_LOST, 0)) {
        snprintf(why, sizeof why, "%.899s", run->model.why);
        snprintf(run->model.why, sizeof run->model.why, "after another power loss: %s", why);
    }
    io_crash_free(after);
}

/* Whether it met the fault. */
static bool run_one(unsigned script, unsigned row, unsigned ways, uint64_t n, char why[1024])
{
    struct run *run = calloc(1, sizeof *run);
    if (run == NULL) abort();
    now_us = 1000000;
    call_fault_clock_us = scripts[script].threads ? NULL : &now_us;
    model_init(&run->model, &scripts[script].options, !(ways & NO_KEEPER));
    run->machine = io_crash_new(n);
    io_fault_init(&run->fault, io_crash_io(run->machine));
    plan(run, &rows[row], n, ways & FOR_EVER);

    scripts[script].play(run);
    bool hit = run->fault.hits > 0 || (rows[row].kind >= CALL && call_fault_hits() > 0);
    struct io_crash *after = NULL;
    enum model_loss loss = MODEL_CLOSED;
    if (ways & (KILLED | POWER_LOST)) {
        loss = ways & KILLED ? MODEL_KILLED : MODEL_POWER_LOST;
        after = ways & KILLED ? io_crash_processes_die(run->machine) : io_crash_power_loss(run->machine, n);
        struct model then = run->model; /* what closing the old handles does means nothing to the crashed machine */
        end_plan(run);
        close_all(run);
        run->model = then;
    } else {
        close_all(run); /* under the fault */
        end_plan(run);
    }
    compare(run, after ? io_crash_io(after) : &run->fault.io, after ? after : run->machine, loss);
    if (!run->model.why[0] && rows[row].kind == IO_SYNC) compare_disk(run, after ? after : run->machine);
    memcpy(why, run->model.why, sizeof run->model.why);

    io_crash_free(after);
    io_fault_release(&run->fault);
    io_crash_free(run->machine);
    free(run);
    return hit;
}

static void report(unsigned script, unsigned row, unsigned ways, uint64_t n, const char *why)
{
    static const char *const how[] = {"", " halfway", " for good"};
    int kind = rows[row].kind;
    printf("LQ_SWEEP=%u:%u:%u:%llu: %s: call %llu of %s %s %s%s, then %s: %s\n", script, row, ways, (unsigned long long)n,
           scripts[script].name, (unsigned long long)n, kind < CALL ? io_kind_names[kind] : call_kind_names[kind - CALL],
           ways & FOR_EVER ? "and all later ones fail with" : "fails with", strerror(rows[row].error), how[rows[row].how],
           ways & KILLED ? "kill -9" : ways & POWER_LOST ? "power loss" : "close", why);
    fflush(stdout);
}

/* ---- all of them -------------------------------------------------------- */

/* Shared by the processes that do the work. */
static struct total {
    _Atomic unsigned next, series, series_done; /* in the order in which they are taken */
    _Atomic unsigned long runs, failures;
} *total;

static struct series {
    uint8_t script, row, ways;
} all[SCRIPTS * ROWS * WAYS];
static unsigned count;

static void list_series(void)
{
    for (unsigned ways = 0; ways < WAYS; ways++)
        for (unsigned row = 0; row < ROWS; row++)
            for (unsigned script = 0; script < SCRIPTS; script++) {
                if (((ways & KILLED) && (ways & POWER_LOST)) || !goes_with(&scripts[script], &rows[row])) continue;
                all[count++] = (struct series){(uint8_t)script, (uint8_t)row, (uint8_t)ways};
            }
}

static double clock_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static bool run_series(const struct series *series, double until, unsigned long most)
{
    char why[1024];
    bool hit = true;
    for (uint64_t n = 1; hit; n++) {
        if (clock_seconds() > until || total->failures >= most) return false;
        hit = run_one(series->script, series->row, series->ways, n, why);
        total->runs++;
        if (!why[0]) continue;
        report(series->script, series->row, series->ways, n, why);
        total->failures++;
    }
    return true;
}

/* Far from each other, so that any number of them is a bit of everything: every 61st, which goes round all of them. */
static void work(unsigned start, double until, unsigned long most)
{
    unsigned number;
    while ((number = total->next++) < count)
        if (run_series(&all[(start + (uint64_t)number * 61) % count], until, most)) total->series_done++;
    io_crash_trim();
}

static int number_from(const char *name, int otherwise)
{
    const char *value = getenv(name);
    return value ? atoi(value) : otherwise;
}

static int again(const char *name)
{
    unsigned script, row, ways;
    unsigned long long n;
    char why[1024];
    if (sscanf(name, "%u:%u:%u:%llu", &script, &row, &ways, &n) != 4 || script >= SCRIPTS || row >= ROWS || ways >= WAYS) return 2;
    bool hit = run_one(script, row, ways, n, why);
    if (why[0]) report(script, row, ways, n, why);
    else printf("nothing was wrong%s\n", hit ? "" : ", but the script makes no such call");
    io_crash_trim();
    return why[0] != 0;
}

int main(void)
{
    lqi_view_pause_us = 0;
    int jobs = number_from("LQ_SWEEP_JOBS", (int)sysconf(_SC_NPROCESSORS_ONLN));
    unsigned long most = (unsigned long)number_from("LQ_SWEEP_WRONG", 20);
    double start = clock_seconds(), until = start + number_from("LQ_SWEEP_SECONDS", 20);

    setvbuf(stdout, NULL, _IOLBF, 0);
    mallopt(M_TRIM_THRESHOLD, 1 << 30); /* what one run has freed the next one needs */
    mallopt(M_MMAP_THRESHOLD, 1 << 30);
    if (getenv("LQ_SWEEP")) return again(getenv("LQ_SWEEP"));
    list_series();
    while (count % 61 == 0) count--; /* for the sake of work(); it is not */
    total = mmap(NULL, sizeof *total, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (total == MAP_FAILED) abort();
    const char *seed = getenv("LQ_SEED");
    unsigned first = (unsigned)(((seed ? strtoull(seed, NULL, 10) : (uint64_t)time(NULL)) * 0x9e3779b97f4a7c15) >> 32) % count;
    for (int job = 0; job < jobs; job++) {
        pid_t process = fork();
        if (process < 0) abort();
        if (process > 0) continue;
        work(first, until, most);
        exit(0);
    }
    for (int job = 0, status; job < jobs; job++) {
        if (wait(&status) < 0) abort();
        if (WIFEXITED(status) && WEXITSTATUS(status) == 0) continue;
        printf("a process ended with status 0x%x\n", (unsigned)status);
        total->failures++;
    }
    printf("%lu runs, %lu wrong, in %.1f s: %u of %u series, from number %u on\n", total->runs, total->failures,
           clock_seconds() - start, total->series_done, count, first);
    return total->failures > 0;
}
