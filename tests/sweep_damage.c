/* Every bit of every file of a small queue is flipped, every file is cut at every length and removed, blocks of it are zeroed,
 * filled with random bytes, swapped and doubled, and files that belong nowhere are put beside them. Each time:
 *
 *   verify    lq_verify() names the file and a byte of the very part that was hit, and no message but those of the records
 *             that were (what it may overlook is told below, in overlooked())
 *   contain   no wrong byte comes out, and no message is lost but those of the records that were hit; who reads is told
 *             of the same place
 *   keep      opening the queue, reading and closing it leaves the damaged file as it is; the damage undone,
 *             every message and every position is back
 *   repair    lq_repair() of a copy makes a queue of which lq_verify() finds nothing, with all that was not hit; every
 *             consumer gets what it had not settled, PUT gives an id that was never given, and the damaged file is set aside
 *
 * Once with a queue that was closed, and once with one whose processes were killed, so that `shared` counts.
 *
 * That is a lot of cases, which are therefore dealt out to ROUNDS rounds, each with some of everything. One makes a run.
 *
 *     LQ_SWEEP=VARIANT:KIND:FILE:AT:SIZE sweep_damage   one case again, as a failure names it
 *     LQ_SWEEP_SECONDS=3600 sweep_damage                round after round, for so long or until no case is left
 *     LQ_SWEEP_WHOLE=1 sweep_damage                     first of all every bit of the closed queue, of more than 64 KiB, and of what
 *                                                       `shared` says of the log and the consumers of the killed one
 *     LQ_SWEEP_WHOLE=2 sweep_damage                     every bit of both queues, `shared` included: minutes
 *     LQ_SEED=n                                         another round first, other cases repaired
 *     LQ_SWEEP_JOBS=n                                   processes; as many as there are CPUs
 *     LQ_SWEEP_WRONG=n                                  how many failures are enough: 20
 *
 * Where every bit of the closed queue is flipped, "every file" is all but `shared`, in which nothing counts then; and as a repair
 * takes longer than all the rest, one in REPAIRED_OF_WHOLE is repaired, drawn from the seed, one in REPAIRED in a round. */
#include <inttypes.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bytes.h"
#include "queue.h"
#include "view.h"
#include "support/api.h"
#include "support/damage_case.h"
#include "support/specimen_damage.h"

enum { CONSUMERS = SPECIMEN_CONSUMERS, JOBS_MOST = 64 };
enum { ROUNDS = 311, ROUNDS_OF_SHARED = ROUNDS * 61, REPAIRED = 3, REPAIRED_OF_WHOLE = 23 };

static struct specimen variants[2] = {{.name = "closed"}, {.name = "killed", .killed = true}};

/* Shared by all processes of the sweep. */
static struct {
    struct damage_tally tallies[JOBS_MOST];
    _Atomic uint64_t wrong;
} *total;

static struct {
    struct damage_tally *tally;
    int job, jobs;
    unsigned long most_wrong;
    uint64_t seed, number; /* of the case, all those of other jobs and rounds included */
    double seconds;
    int64_t started_us;
} sweep = {.jobs = 1};

static bool check_case(const struct damage *damage, bool thorough)
{
    return damage_case_check(damage, thorough, sweep.tally, &total->wrong);
}

/* ---- all cases ---------------------------------------------------------------------- */

/* The first round comes to its end, however slow this machine is. */
static bool is_over(uint64_t round)
{
    return total->wrong >= sweep.most_wrong || (round > 0 && (double)(api_now_us() - sweep.started_us) / 1e6 > sweep.seconds);
}

/* One in `share`, drawn from the seed. */
static bool is_drawn(uint64_t number, uint64_t share)
{
    uint64_t z = number + sweep.seed * 0x9e3779b97f4a7c15;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return (z ^ z >> 31) % share == 0;
}

/* Is this one of the round, and of this job? */
static bool is_dealt(const struct specimen_file *file, uint64_t round)
{
    uint64_t rounds = strcmp(file->name, LQI_SHARED_NAME) == 0 ? ROUNDS_OF_SHARED : ROUNDS, first = sweep.seed % rounds;
    uint64_t number = sweep.number++;
    return round < rounds && number % rounds == (first + round) % rounds && number / rounds % (uint64_t)sweep.jobs == (uint64_t)sweep.job &&
           !is_over(round);
}

static void flip_bits(const struct specimen *specimen, uint64_t round)
{
    for (size_t f = 0; f < specimen->file_count; f++)
        for (uint64_t bit = 0; bit < (uint64_t)specimen->files[f].size * 8; bit++)
            if (is_dealt(&specimen->files[f], round)) check_case(&(struct damage){specimen, DAMAGE_FLIP, f, bit, 0}, is_drawn(bit, REPAIRED));
}

static void cut_files(const struct specimen *specimen, uint64_t round)
{
    for (size_t f = 0; f < specimen->file_count; f++)
        for (uint64_t length = 0; length < specimen->files[f].size; length++)
            if (is_dealt(&specimen->files[f], round)) check_case(&(struct damage){specimen, DAMAGE_CUT, f, length, 0}, true);
}

static void hit_blocks(const struct specimen *specimen, uint64_t round)
{
    static const uint64_t sizes[] = {512, 4096, 128, 8};
    for (size_t s = 0; s < 4; s++)
        for (size_t f = 0; f < specimen->file_count; f++)
            for (uint64_t at = 0; at < specimen->files[f].size; at += sizes[s])
                for (enum damage_kind kind = DAMAGE_ZERO; kind <= DAMAGE_DOUBLE; kind++)
                    if (is_dealt(&specimen->files[f], round)) check_case(&(struct damage){specimen, kind, f, at, sizes[s]}, true);
}

static bool is_mine(void)
{
    return sweep.number++ % (uint64_t)sweep.jobs == (uint64_t)sweep.job && !is_over(0);
}

/* What is so little that all of it is in every run: whole records, files, and bytes beside a record. */
static void hit_wholes(const struct specimen *specimen)
{
    for (size_t i = 0; i < specimen->extent_count; i++) {
        const struct specimen_extent *extent = &specimen->extents[i];
        for (enum damage_kind kind = DAMAGE_ZERO; kind <= DAMAGE_DOUBLE; kind++)
            if (is_mine()) check_case(&(struct damage){specimen, kind, extent->file, extent->offset, extent->end - extent->offset}, true);
        for (int beside = -1; beside <= 1; beside++)
            if (is_mine()) check_case(&(struct damage){specimen, DAMAGE_CUT, extent->file, extent->offset + (size_t)beside, 0}, true);
    }
    for (size_t f = 0; f < specimen->file_count; f++) {
        if (is_mine()) check_case(&(struct damage){specimen, DAMAGE_REMOVE, f, 0, 0}, true);
        if (!specimen_is_segment(&specimen->files[f])) continue;
        for (uint64_t name = 0; name < DAMAGE_FOREIGNERS; name++)
            for (uint64_t copy = 0; copy < 2; copy++)
                if (is_mine()) check_case(&(struct damage){specimen, DAMAGE_FOREIGN, f, name, copy}, true);
    }
}

/* Every bit of every file; `shared` is one of them or not. */
static void flip_all(const struct specimen *specimen, bool with_shared)
{
    for (size_t f = 0; f < specimen->file_count; f++) {
        const struct specimen_file *file = &specimen->files[f];
        if (!with_shared && strcmp(file->name, LQI_SHARED_NAME) == 0) continue;
        for (uint64_t bit = 0; bit < (uint64_t)file->size * 8; bit++) {
            if (!is_mine()) continue;
            check_case(&(struct damage){specimen, DAMAGE_FLIP, f, bit, 0}, is_drawn(bit, REPAIRED_OF_WHOLE));
            sweep.tally->whole++;
        }
    }
}

static void flip_stretch(const struct specimen *specimen, size_t file, uint64_t from, uint64_t size)
{
    for (uint64_t bit = from * 8; bit < (from + size) * 8; bit++)
        if (is_mine()) check_case(&(struct damage){specimen, DAMAGE_FLIP, file, bit, 0}, true);
    sweep.tally->memory += size;
}

/* Every bit of what the dead knew of the log, but for the ring and the index, and of the consumers: their numbers, and the slots of the
 * messages above their floors. */
static void flip_memory(const struct specimen *specimen)
{
    for (size_t f = 0; f < specimen->file_count; f++) {
        if (strcmp(specimen->files[f].name, LQI_SHARED_NAME) != 0) continue;
        const struct lqi_shared *head = (const void *)specimen->files[f].bytes;
        uint64_t spans = offsetof(struct lqi_shared, log) + offsetof(struct lqi_log_state, spans);
        flip_stretch(specimen, f, 0, spans);
        for (size_t i = 0; i < 2; i++) flip_stretch(specimen, f, spans + i * sizeof(struct lqi_span), offsetof(struct lqi_span, index));
        for (size_t i = 0; i < CONSUMERS; i++) {
            const struct lqi_consumer_slot *consumer = &head->consumers[i];
            uint64_t slots = consumer->region_offset + offsetof(struct lqi_region, slots) + (consumer->floor + 1) * sizeof(struct lqi_slot);
            flip_stretch(specimen, f, (uint64_t)((const uint8_t *)consumer - specimen->files[f].bytes), sizeof *consumer);
            flip_stretch(specimen, f, slots, (consumer->delivered - consumer->floor) * sizeof(struct lqi_slot));
        }
    }
}

static void work(int whole, uint64_t rounds)
{
    if (whole) flip_all(&variants[0], whole > 1);
    if (whole) flip_memory(&variants[1]);
    if (whole > 1) flip_all(&variants[1], true);
    sweep.started_us = api_now_us();
    for (unsigned variant = 0; variant < 2; variant++) hit_wholes(&variants[variant]);
    for (uint64_t round = 0; round < rounds && !is_over(round); round++) {
        sweep.number = 0;
        for (unsigned variant = 0; variant < 2; variant++) {
            flip_bits(&variants[variant], round);
            hit_blocks(&variants[variant], round);
            cut_files(&variants[variant], round);
        }
    }
}

/* ---- the sweep ---------------------------------------------------------------------------- */

/* Each process has its own: machines share memory with those that they were made from. */
static void make_specimens(void)
{
    for (size_t i = 0; i < 2; i++) specimen_make(&variants[i]);
}

static int again(const char *one)
{
    struct damage damage;
    unsigned variant, kind;

    make_specimens();
    if (sscanf(one, "%u:%u:%zu:%" SCNu64 ":%" SCNu64, &variant, &kind, &damage.file, &damage.at, &damage.size) != 5 || variant > 1 ||
        kind >= DAMAGE_KINDS || damage.file >= variants[variant].file_count)
        return 2;
    damage.kind = (enum damage_kind)kind;
    damage.specimen = &variants[variant];
    if (check_case(&damage, true)) printf("nothing was wrong\n");
    return total->wrong > 0;
}

/* A process that dies of what it finds must not take the others' results with it. */
static void wait_for(const pid_t *processes)
{
    for (int job = 0; job < sweep.jobs; job++) {
        int status;
        if (waitpid(processes[job], &status, 0) != processes[job]) abort();
        if (WIFEXITED(status) && WEXITSTATUS(status) == 0) continue;
        if (total->tallies[job].now.specimen) damage_case_print(&total->tallies[job].now);
        printf("the process ended with status 0x%x\n", (unsigned)status);
        total->wrong++;
    }
}

static int report(int64_t began_us)
{
    struct damage_tally all = {.whole = 0};
    uint64_t cases = 0;

    for (int job = 0; job < sweep.jobs; job++) {
        const struct damage_tally *tally = &total->tallies[job];
        for (int kind = 0; kind < DAMAGE_KINDS; kind++) all.cases[kind] += tally->cases[kind];
        all.repairs += tally->repairs;
        all.overlooked += tally->overlooked;
        all.whole += tally->whole;
    }
    for (int kind = 0; kind < DAMAGE_KINDS; kind++) {
        cases += all.cases[kind];
        printf("%" PRIu64 " %s, ", all.cases[kind], damage_kind_names[kind]);
    }
    printf("%" PRIu64 " repaired, %" PRIu64 " meant nothing to verify", all.repairs, all.overlooked);
    if (all.whole) printf(", every bit of %" PRIu64 " bytes flipped, and of %" PRIu64 " of shared", all.whole / 8, total->tallies[0].memory);
    printf(": %" PRIu64 " cases, %" PRIu64 " wrong, in %.1f s\n", cases, (uint64_t)total->wrong, (double)(api_now_us() - began_us) / 1e6);
    return total->wrong > 0 || cases == 0;
}

static int number_from(const char *name, int otherwise)
{
    const char *value = getenv(name);
    return value ? atoi(value) : otherwise;
}

int main(void)
{
    lqi_view_pause_us = 0;
    const char *one = getenv("LQ_SWEEP"), *limit = getenv("LQ_SWEEP_SECONDS"), *seed = getenv("LQ_SEED");
    pid_t processes[JOBS_MOST];
    int64_t began_us = api_now_us();

    setvbuf(stdout, NULL, _IOLBF, 0);
    mallopt(M_MMAP_THRESHOLD, 1 << 26); /* each case holds files: asking the kernel for the room takes longer than the rest */
    mallopt(M_TRIM_THRESHOLD, 1 << 28);
    total = mmap(NULL, sizeof *total, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (total == MAP_FAILED) abort();
    sweep.tally = &total->tallies[0];
    sweep.seconds = limit ? strtod(limit, NULL) : 0;
    sweep.most_wrong = (unsigned long)number_from("LQ_SWEEP_WRONG", 20);
    sweep.seed = seed ? strtoull(seed, NULL, 10) : 0;
    if (one) return again(one);
    sweep.jobs = number_from("LQ_SWEEP_JOBS", (int)sysconf(_SC_NPROCESSORS_ONLN));
    if (sweep.jobs > JOBS_MOST) sweep.jobs = JOBS_MOST;
    for (int job = 0; job < sweep.jobs; job++) {
        processes[job] = fork();
        if (processes[job] < 0) abort();
        if (processes[job] > 0) continue;
        sweep.job = job;
        sweep.tally = &total->tallies[job];
        make_specimens();
        work(number_from("LQ_SWEEP_WHOLE", 0), limit ? ROUNDS_OF_SHARED : 1);
        io_crash_trim();
        exit(0);
    }
    wait_for(processes);
    return report(began_us);
}
