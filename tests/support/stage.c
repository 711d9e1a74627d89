/* See stage.h. */
#include "stage.h"

#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "api.h"
#include "checksum.h"
#include "child.h"
#include "scratch.h"
#include "stepper.h"

#define NOBODY UINT32_MAX

enum { FRESH_AFTER = 400 /* victims of one queue */, CONSUMERS_SEEN = 8, WHOLE_FROM_SECONDS = 300 };

struct stage stage;

/* ---- the victim ----------------------------------------------------------- */

static const char *volatile at_present = "";

/* A file that is looked at from outside. */
struct seen_file {
    int fd;
    struct lqi_shared *head;
    size_t size;
};

static struct {
    uint64_t victims, changes, changes_met;
    unsigned long failures;
    uint64_t random;
} total;

static uint32_t below(uint32_t limit)
{
    uint64_t z = total.random += 0x9e3779b97f4a7c15;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return (uint32_t)((z ^ z >> 31) >> 33) % limit;
}

static int perform(void *context)
{
    static struct scenes_actor actor;
    (void)context;
    actor.path = stage.path;
    actor.ledger = stage.ledger;
    actor.options = scenes_options(stage.scene);
    actor.options.flags = stage.scene->flags;
    int err = stage.scene->prepare(&actor);
    if (!err) {
        stepper_ready();
        err = stage.scene->act(&actor);
        atomic_store(stage.acted, 1);
        if (stage.scene->conclude) stage.scene->conclude(&actor, err);
        if (!err) err = scenes_finish(&actor);
    }
    if (err) ledger_wrong(stage.ledger, "the victim: %s: %s", lq_error_name(err), lq_error_text());
    return err != LQ_OK;
}

/* ---- the stage ------------------------------------------------------------ */

static int begin(const char *directory)
{
    const lq_options options = scenes_options(stage.scene);
    snprintf(stage.path, sizeof stage.path, "%s/%" PRIu32, directory, stage.queues++);
    ledger_clear(stage.ledger);
    stage.victims = 0;
    stage.witness = (struct ledger_witness){.ledger = stage.ledger};
    int64_t back;
    int err = ledger_witness_open(&stage.witness, stage.path, &options);
    /* From here on one victim is as the next. */
    return err ? err : ledger_check(&stage.witness, 0, &back) ? LQ_OK : LQ_ECORRUPT;
}

/* Nothing is left undone by all the dead: the queue is whole, and can be removed. */
static int end(void)
{
    int err = stage.witness.queue ? ledger_witness_close(&stage.witness) : LQ_OK;
    if (!err) err = lq_verify(stage.path, 0, NULL, NULL, NULL);
    scratch_delete(stage.path);
    return err;
}

/* All that is there before the victim comes. */
static int set(void)
{
    int err = scenes_stock(stage.scene, stage.ledger, stage.witness.queue);
    if (!err) err = ledger_look(&stage.witness);
    if (!err && stage.company == SCENES_ALONE) err = ledger_witness_close(&stage.witness);
    if (!err && stage.scene->corpse && !scenes_leave_corpse(stage.scene, stage.ledger, stage.path)) err = LQ_EIO;
    atomic_store(stage.acted, 0);
    return err;
}

static int try_temp(void)
{
    lq_consumer *temp;
    const lq_consumer_options options = {.size = sizeof options, .window = 128};
    int err = lq_consumer_open(stage.witness.queue, "temp", &options, &temp);
    if (!err) err = lq_consumer_close(temp);
    return err ? err : lq_consumer_delete(stage.witness.queue, "temp");
}

bool stage_check(void)
{
    const lq_options options = scenes_options(stage.scene);
    int64_t start = lqi_now_us(), back = 0;
    int err = stage.company == SCENES_ALONE ? ledger_witness_open(&stage.witness, stage.path, &options) : LQ_OK;
    if (err) ledger_wrong(stage.ledger, "opening again: %s: %s", lq_error_name(err), lq_error_text());
    if (err || !ledger_check(&stage.witness, start, &back)) return false;
    if (back > stage.back_us) stage.back_us = back;
    err = stage.scene->temp ? try_temp() : LQ_OK;
    if (err) ledger_wrong(stage.ledger, "the consumer 'temp': %s: %s", lq_error_name(err), lq_error_text());
    stage.victims++;
    return !err;
}

/* ---- dying ---------------------------------------------------------------- */

static const char *company_name(void)
{
    return stage.company == SCENES_ALONE ? "alone" : "witness";
}

static void now_at(uint32_t step)
{
    static char text[200];
    /* For the one whom the alarm kills. */
    int length = snprintf(text, sizeof text, "LQ_SWEEP=%s/%s/%" PRIu32, stage.scene->name, company_name(), step);
    if (stage.before != NOBODY) snprintf(text + length, sizeof text - (size_t)length, "+%" PRIu32, stage.before);
    at_present = text;
    alarm(60);
}

static void report(uint32_t step)
{
    now_at(step);
    printf("%s%s: %s\n", at_present, stage.by_the_clock ? " us (by the clock: not again)" : "", stage.ledger->wrong);
    total.failures++;
}

/* What is wrong once may be wrong for ever after: on with another queue. */
static void afresh(const char *directory, uint32_t step)
{
    int err = end();
    if (err && !stage.ledger->wrong[0]) {
        ledger_wrong(stage.ledger, "after %" PRIu32 " victims: %s: %s", stage.victims, lq_error_name(err), lq_error_text());
        report(step);
    }
    err = begin(directory);
    if (err) {
        printf("a new queue: %s: %s\n", lq_error_name(err), lq_error_text());
        exit(1);
    }
}

/* A victim is at a step of the way, or, without a way, has run so many microseconds. 0: it went another way, and is at its end. */
static pid_t lead(const struct stepper_way *way, uint32_t step)
{
    pid_t victim = stepper_start(perform, NULL);
    if (victim < 0) ledger_wrong(stage.ledger, "the victim did not come to its call");
    if (victim < 0 || way->count) return victim > 0 && stepper_run_to(victim, way, step) ? victim : 0;
    stepper_let_go(victim, 0);
    nanosleep(&(struct timespec){0, (long)step * 1000}, NULL);
    return victim;
}

static void meet(const char *directory, const struct stepper_way *way, uint32_t step)
{
    pid_t victim = 0;
    now_at(step);
    int err = set();
    if (err) ledger_wrong(stage.ledger, "before the victim: %s: %s", lq_error_name(err), lq_error_text());
    if (!err && stage.before != NOBODY) {
        victim = lead(way, stage.before);
        if (victim) child_kill(victim);
        atomic_store(stage.acted, 0);
    }
    if (!stage.ledger->wrong[0]) victim = lead(way, step);
    bool good = !stage.ledger->wrong[0] && stage.deed(victim, way->count != 0);
    total.victims++;
    if (!good) report(step);
    if (!good || stage.victims >= FRESH_AFTER) afresh(directory, step);
}

/* ---- choosing ------------------------------------------------------------- */

/* A number for what others see in the working memory: all but the ring's bytes and lists that are hardly used. */
static uint64_t look(void *context)
{
    struct seen_file *file = context;
    struct stat now;
    if (fstat(file->fd, &now) != 0) return 0;
    if ((size_t)now.st_size != file->size) {
        if (file->head) munmap(file->head, file->size);
        file->size = (size_t)now.st_size;
        void *map = mmap(NULL, file->size, PROT_READ, MAP_SHARED, file->fd, 0);
        if (map == MAP_FAILED || file->size < LQI_SHARED_HEAD + SCENES_RING) abort();
        file->head = map;
    }
    const struct lqi_log_state *log = &file->head->log;
    const uint8_t *bytes = (const uint8_t *)file->head, *regions = bytes + LQI_SHARED_HEAD + SCENES_RING;
    return lqi_checksum(bytes, (size_t)((const uint8_t *)log->spans[0].index - bytes)) ^
           lqi_checksum(&log->spans[1], offsetof(struct lqi_span, index)) * 3 ^
           lqi_checksum(file->head->handles, sizeof file->head->handles) * 5 ^
           lqi_checksum(file->head->consumers, CONSUMERS_SEEN * sizeof *file->head->consumers) * 7 ^
           lqi_checksum(regions, (size_t)(bytes + file->size - regions)) * 9;
}

static struct stepper_way walk(const char *directory)
{
    char path[4300];
    struct stepper_way way = {NULL, 0};
    snprintf(path, sizeof path, "%s/" LQI_SHARED_NAME, stage.path);
    struct seen_file file = {.fd = open(path, O_RDONLY | O_CLOEXEC)};

    stage.before = NOBODY;
    now_at(0);
    int err = set();
    pid_t victim = err ? -1 : stepper_start(perform, NULL);
    if (victim > 0) {
        way = stepper_walk(victim, stage.acted, look, &file, stage.whole);
        child_kill(victim);
        total.victims++;
    }
    if (victim < 0 || !way.count || !stage_check()) {
        ledger_wrong(stage.ledger, "the victim did not come to its call");
        report(way.count);
        afresh(directory, way.count);
    }
    if (file.head) munmap(file.head, file.size);
    close(file.fd);
    return way;
}

static bool go_on(int64_t until)
{
    return lqi_now_us() < until && total.failures < 20;
}

static void shuffle(uint32_t *numbers, uint32_t count)
{
    for (uint32_t i = count; i > 1; i--) {
        uint32_t other = below(i), number = numbers[i - 1];
        numbers[i - 1] = numbers[other];
        numbers[other] = number;
    }
}

/* The steps in the order in which they are met at: first those after which something is different for others, then the rest. */
static uint32_t *choose(const struct stepper_way *way, uint32_t *changes_out)
{
    uint32_t *order = malloc((way->count + 1) * sizeof *order), changes = 0, rest = way->count;
    if (!order) abort();
    for (uint32_t i = 0; i < way->count; i++) {
        if (way->steps[i].changed) order[changes++] = i;
        else order[--rest] = i;
    }
    shuffle(order, changes);
    shuffle(order + changes, way->count - changes);
    *changes_out = changes;
    return order;
}

/* Now and then somebody has died in the same call just before, so that the victim meets what he left, or is mending it. What
 * it takes to begin must be there for both. */
static bool two_in_a_row(void)
{
    return stage.corpses && stage.scene->stock_count <= 4 && below(4) == 0;
}

static void meet_by_steps(const char *directory, const char *only_step, int64_t until)
{
    struct stepper_way way = walk(directory);
    uint32_t changes, done = 0, *order = choose(&way, &changes);

    if (only_step) {
        uint32_t step = (uint32_t)strtoul(only_step, NULL, 10);
        const char *plus = strchr(only_step, '+');
        stage.before = plus ? (uint32_t)strtoul(plus + 1, NULL, 10) : NOBODY;
        if (step < way.count) meet(directory, &way, step);
    } else {
        for (; done < way.count && go_on(until); done++) {
            stage.before = two_in_a_row() ? order[below(changes ? changes : way.count)] : NOBODY;
            meet(directory, &way, order[done]);
        }
    }
    if (getenv("LQ_SWEEP")) printf("%s/%s: %" PRIu32 " instructions, met at %" PRIu32 "; %" PRIu32 " changes of what others see, met at %" PRIu32 "\n",
           stage.scene->name, company_name(), way.count, done, changes, done < changes ? done : changes);
    total.changes += changes;
    total.changes_met += done < changes ? done : changes;
    free(order);
    stepper_free(&way);
}

/* How long a call takes is not known beforehand: when nobody is caught in it, the time was too long. */
static void meet_by_the_clock(const char *directory, int64_t until)
{
    const struct stepper_way none = {NULL, 0};
    uint32_t limit_us = 5000, missed = 0;
    while (go_on(until)) {
        stage.before = two_in_a_row() ? below(limit_us) : NOBODY;
        meet(directory, &none, below(limit_us));
        missed = atomic_load(stage.acted) ? missed + 1 : 0;
        if (missed == 4) limit_us = limit_us * 3 / 4 + 50;
    }
}

static void play(const char *directory, const struct scene *scene, int company, const char *only_step, int64_t until)
{
    uint64_t before = total.victims;
    stage.scene = scene;
    stage.company = company;
    if (begin(directory)) {
        printf("a new queue: %s\n", lq_error_text());
        exit(1);
    }
    stage.by_the_clock = (scene->is_long || api_sanitized) && !stage.whole && !only_step; /* the way itself takes time */
    if (stage.by_the_clock) meet_by_the_clock(directory, until);
    else meet_by_steps(directory, only_step, until);
    if (stage.by_the_clock && getenv("LQ_SWEEP")) printf("%s/%s: met at %" PRIu64 " moments\n", scene->name, company_name(), total.victims - before);
    int err = end();
    if (err) {
        ledger_wrong(stage.ledger, "in the end: %s: %s", lq_error_name(err), lq_error_text());
        report(0);
    }
}

static bool chosen(const char *which, const struct scene *scene, int company, const char **step_out)
{
    size_t length = strcspn(which, "/");
    if (strlen(scene->name) != length || strncmp(which, scene->name, length) != 0) return false;
    if (!which[length]) return true;
    const char *second = which + length + 1;
    length = strcspn(second, "/");
    if (strncmp(second, company == SCENES_ALONE ? "alone" : "witness", length) != 0) return false;
    if (second[length]) *step_out = second + length + 1;
    return true;
}

enum { PLAYS_MAX = 128 };

/* In any order: when time is short, it is not always short for the same ones. */
static void play_all(const char *directory, const char *only, int companies, int64_t end_us)
{
    uint32_t plays[PLAYS_MAX], count = 0;
    const char *step = NULL;
    for (uint32_t i = 0; i < scenes_count; i++) {
        for (int company = SCENES_WITNESS; company <= SCENES_ALONE; company++) {
            if (!(scenes[i].company & companies & company) || (only && !chosen(only, &scenes[i], company, &step))) continue;
            if (count == PLAYS_MAX) abort();
            plays[count++] = i * 4 + (uint32_t)company;
        }
    }
    shuffle(plays, count);
    for (uint32_t i = 0; i < count; i++) {
        int64_t now = lqi_now_us();
        play(directory, &scenes[plays[i] / 4], (int)(plays[i] % 4), step, now + (end_us - now) / (count - i));
    }
    if (count == 0) {
        printf("there is no scene like %s\n", only);
        total.failures++;
    }
}

static void took_too_long(int signal)
{
    static const char text[] = " takes for ever\n";
    (void)signal;
    if (write(1, at_present, strlen(at_present)) < 0 || write(1, text, sizeof text - 1) < 0) _exit(2);
    _exit(1);
}

int stage_main(char *argv[], double seconds, int companies, stage_deed *deed)
{
    const char *limit = getenv("LQ_SWEEP_SECONDS"), *seed = getenv("LQ_SEED");
    void *directory;

    setvbuf(stdout, NULL, _IOLBF, 0);
    if (!stepper_works(argv)) {
        printf("processes cannot be led by instructions here\n");
        return CHILD_SKIP;
    }
    int64_t start = lqi_now_us();
    if (limit) seconds = strtod(limit, NULL);
    /* What the dead have written is there for others, wherever that is: a disk would only take its time. */
    if (access("/dev/shm", W_OK) == 0) setenv("TMPDIR", "/dev/shm", 1);
    if (scratch_make(&directory) != 0) return 1;
    signal(SIGALRM, took_too_long);
    total.random = seed ? strtoull(seed, NULL, 10) : (uint64_t)start;
    stage.ledger = ledger_new();
    stage.acted = &stage.ledger->flag;
    stage.whole = seconds >= WHOLE_FROM_SECONDS;
    stage.deed = deed;

    play_all(directory, getenv("LQ_SWEEP"), companies, start + (int64_t)(seconds * 1e6));
    printf("%" PRIu64 " victims, %" PRIu64 " of them at different ones of %" PRIu64 " changes that others see; %lu wrong, in %.1f s; "
           "the longest until leases came back %" PRId64 " ms\n", total.victims, total.changes_met, total.changes, total.failures,
           (double)(lqi_now_us() - start) / 1e6, stage.back_us / 1000);
    scratch_remove(&directory);
    return total.failures > 0;
}
