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
 *     LQ_SEED=n                                         another round first, other cases repaired
 *     LQ_SWEEP_JOBS=n                                   processes; as many as there are CPUs
 *     LQ_SWEEP_WRONG=n                                  how many failures are enough: 20
 *
 * Where every bit is flipped, "every file" is all but `shared`, in which after a clean close nothing counts; and as a repair
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
#include "repair.h"
#include "support/api.h"
#include "support/specimen_damage.h"

enum { LAST = SPECIMEN_LAST, CONSUMERS = SPECIMEN_CONSUMERS, ANY, JOBS_MOST = 64 };
enum { TRIM_SLOTS_AT = 1024 }; /* in meta */
enum { ROUNDS = 311, ROUNDS_OF_SHARED = ROUNDS * 61, REPAIRED = 3, REPAIRED_OF_WHOLE = 23 };

static const lq_options look = {.size = sizeof look, .flags = LQ_READ_ONLY};
static struct specimen variants[2] = {{.name = "closed"}, {.name = "killed", .killed = true}};

struct tally {
    uint64_t cases[DAMAGE_KINDS], repairs, overlooked, whole, memory;
    struct damage now;
};

/* Shared by all processes of the sweep. */
static struct {
    struct tally tallies[JOBS_MOST];
    _Atomic uint64_t wrong;
} *total;

static struct {
    struct tally *tally;
    int job, jobs;
    unsigned long most_wrong;
    uint64_t seed, number; /* of the case, all those of other jobs and rounds included */
    double seconds;
    int64_t started_us;
} sweep = {.jobs = 1};

/* ---- what may come of it ------------------------------------------------------ */

/* What lq_verify() need not tell. When it does not tell, nothing may be lost. */
static bool overlooked(const struct damaged *damaged)
{
    const struct damage *damage = &damaged->damage;
    const struct specimen_file *file = damaged->file;

    if (damage->kind == DAMAGE_FOREIGN) return false;
    /* Working memory: after a clean close nothing in it counts, and after death only the records in its ring, which
     * the files have as well here. */
    if (damage_is_in_shared(damaged)) return true;
    /* A consumer that was deleted leaves as little behind as one whose file was removed. */
    if (strcmp(file->dir, "consumers") == 0 && damage->kind == DAMAGE_REMOVE) return true;
    /* Nor did a power loss let the older trim slot get to the disk. */
    if (strcmp(file->name, LQI_META_NAME) == 0) return damage_is_of_unwritten(damaged, TRIM_SLOTS_AT, SIZE_MAX);
    /* Entries and blocks that read as zeroes look as if a power loss had kept them from the disk: an older entry counts, and
     * messages come again. Blocks that were zeroes are needed by no id of the window, and may be in any state for the same reason. */
    if (strcmp(file->dir, "consumers") == 0) return damage_is_of_unwritten(damaged, LQI_POSITION_ENTRIES_AT, LQI_POSITION_BLOCKS_AT);
    /* The room behind the last record, before the file is cut or sealed: the next records go over it. */
    return damage->specimen->killed && damage_is_behind_records(damaged);
}

/* ---- looking --------------------------------------------------------------------- */

static void print_case(const struct damage *damage)
{
    const struct specimen_file *file = &damage->specimen->files[damage->file];
    printf("LQ_SWEEP=%d:%d:%zu:%" PRIu64 ":%" PRIu64 ": %s, %s, %s at %" PRIu64 " of %zu: ", damage->specimen->killed, (int)damage->kind, damage->file,
           damage->at, damage->size, damage->specimen->name, file->shown, damage_kind_names[damage->kind],
           damage->kind == DAMAGE_FLIP ? damage->at / 8 : damage->at, file->size);
}

static bool wrong(const char *what, int line)
{
    print_case(&sweep.tally->now);
    printf("line %d: not so: %s (%s)\n", line, what, lq_error_text());
    total->wrong++;
    return false;
}

#define SO(condition)                                         \
    do                                                        \
        if (!(condition)) return wrong(#condition, __LINE__); \
    while (0)

/* What a reader of an open queue found. */
struct seen {
    struct id_set alive;
    unsigned holes;
    bool misplaced; /* a hole of which another place was told than those that were hit */
};

/* The text of the error begins with the file and the byte. */
static bool is_told_in_place(const struct damaged *damaged)
{
    char file[100];
    uint64_t offset;
    return sscanf(lq_error_text(), "%99[^,], byte %" SCNu64 ":", file, &offset) == 2 && strcmp(file, damaged->file->shown) == 0 &&
           damage_is_at(damaged, offset);
}

static bool read_queue(lq_queue *queue, const struct damaged *damaged, struct seen *seen)
{
    lq_message message;
    lq_reader *reader;
    uint64_t last = 0;
    bool right = true;

    *seen = (struct seen){.holes = 0};
    SO(lq_reader_open(queue, &reader) == LQ_OK);
    for (int err; right && (err = lq_reader_next(reader, &message)) != LQ_EMPTY;) {
        if (err == LQ_ECORRUPT) {
            seen->misplaced |= !is_told_in_place(damaged);
            right = ++seen->holes < 100;
            continue;
        }
        right = err == LQ_OK && message.id > last && (message.id > LAST || specimen_is_right(&message));
        last = message.id;
        if (message.id <= LAST) seen->alive.has[message.id] = true;
    }
    lq_reader_close(reader);
    SO(right);
    return true;
}

static bool read_machine(const struct lqi_io *io, const lq_options *how, const struct damaged *damaged, struct seen *seen)
{
    lq_queue *queue;
    SO(lqi_open_io(io, "q", how, &queue) == LQ_OK);
    bool right = read_queue(queue, damaged, seen);
    SO(lq_close(queue) == LQ_OK);
    return right;
}

/* The consumer gets all that is `alive` and not settled, and nothing else; `exactly`: nothing that is settled comes again. */
static bool take_all(lq_consumer *consumer, size_t index, const struct id_set *alive, bool exactly, bool may_be_told)
{
    struct id_set got = {{false}};
    lq_message message;
    unsigned told = 0;
    int err;

    while ((err = lq_poll(consumer, &message)) != LQ_EMPTY) {
        if (err == LQ_ECORRUPT && may_be_told && ++told < 100) continue;
        SO(err == LQ_OK);
        SO(specimen_is_right(&message));
        SO(message.id > LAST || (!got.has[message.id] && alive->has[message.id]));
        SO(message.id > LAST || !exactly || !specimen_is_settled(index, message.id));
        if (message.id <= LAST) got.has[message.id] = true;
        SO(lq_ack(consumer, &message) == LQ_OK);
    }
    for (uint64_t id = 1; id <= LAST; id++) SO(got.has[id] || !alive->has[id] || specimen_is_settled(index, id));
    return true;
}

/* Whose position is in the file. What the dead had acked and not saved is in `shared` only: ANY. */
static size_t consumer_of(const struct damaged *damaged)
{
    if (damaged->damage.kind == DAMAGE_FOREIGN) return CONSUMERS;
    if (damage_is_in_shared(damaged)) return damaged->damage.specimen->killed ? ANY : CONSUMERS;
    for (size_t i = 0; i < CONSUMERS; i++)
        if (strcmp(damaged->file->dir, "consumers") == 0 && damaged->file->name[0] == specimen_consumer(i)[0]) return i;
    return CONSUMERS;
}

/* All of them; `hurt` is the one that may get settled ones again. They are all there before one lets retention go on. */
static bool consume(lq_queue *queue, const struct id_set *alive, size_t hurt, bool may_be_told)
{
    lq_consumer *open[CONSUMERS];
    for (size_t i = 0; i < CONSUMERS; i++) SO(lq_consumer_open(queue, specimen_consumer(i), NULL, &open[i]) == LQ_OK);
    for (size_t i = 0; i < CONSUMERS; i++)
        if (!take_all(open[i], i, alive, i != hurt && hurt != ANY, may_be_told)) return false;
    for (size_t i = 0; i < CONSUMERS; i++) SO(lq_consumer_close(open[i]) == LQ_OK);
    return true;
}

/* ---- one case: verify ---------------------------------------------------------------- */

struct findings {
    const struct damaged *damaged;
    unsigned count, named, placed;
    struct id_set lost;
    char sample[200];
};

static void note_finding(void *context, const lq_finding *finding)
{
    struct findings *findings = context;
    const struct damaged *damaged = findings->damaged;
    bool named = strcmp(finding->file, *damaged->foreign ? damaged->foreign : damaged->file->shown) == 0;

    findings->count++;
    findings->named += named;
    findings->placed += named && damage_is_at(damaged, finding->offset);
    for (uint64_t id = finding->first_id; id < finding->first_id + finding->count && id <= LAST; id++) findings->lost.has[id] = true;
    snprintf(findings->sample, sizeof findings->sample, "%s, byte %" PRIu64 ": %s", finding->file, finding->offset, finding->text);
}

static bool check_verify(const struct damaged *damaged, const struct lqi_io *io, bool *told)
{
    enum damage_kind kind = damaged->damage.kind;
    struct findings findings = {.damaged = damaged};

    int code = lqi_verify_io(io, "q", 0, note_finding, &findings, NULL);
    SO(code == LQ_OK || code == LQ_ECORRUPT);
    SO((code == LQ_OK) == (findings.count == 0));
    *told = findings.count > 0;
    if (!*told) {
        SO(overlooked(damaged));
        sweep.tally->overlooked++;
        return true;
    }
    lqi_fail(LQ_ECORRUPT, "%s", findings.sample);
    SO(kind == DAMAGE_FOREIGN || id_set_covers(&damaged->hit, &findings.lost));
    SO(findings.placed);
    SO(kind != DAMAGE_FLIP || findings.placed == findings.count);
    return true;
}

/* ---- one case: keep -------------------------------------------------------------------- */

/* Where the damage changed bytes, they and what is around them are still as it left them; a missing file is still missing.
 * (Around them: who writes the state of the dead into a block may write the very byte that the damage had made.) */
static bool stays_damaged(const struct damaged *damaged, const struct lqi_io *io)
{
    enum { AROUND = LQI_POSITION_BLOCK };
    const struct specimen_file *file = damaged->file;
    size_t now_size = 0;
    uint8_t *now = specimen_read(io, file->dir, file->name, &now_size);
    bool stays = damaged->bytes ? now && (damaged->size == file->size || now_size == damaged->size) : !now;
    for (size_t i = 0; i < damaged->size && damaged->bytes && stays; i++) {
        size_t from = i / AROUND * AROUND, size = lqi_min64(AROUND, lqi_min64(damaged->size, now_size) - lqi_min64(from, now_size));
        stays = damaged->bytes[i] == file->bytes[i] || (i < now_size && memcmp(now + from, damaged->bytes + from, size) == 0);
    }
    free(now);
    return stays;
}

static bool file_is(const struct lqi_io *io, const struct specimen_file *file, const uint8_t *bytes, size_t size)
{
    size_t now_size = 0;
    uint8_t *now = specimen_read(io, file->dir, file->name, &now_size);
    bool is = bytes ? now && now_size == size && memcmp(now, bytes, size) == 0 : !now;
    free(now);
    return is;
}

/* Byte for byte all files but `shared` are as the damage left them: undone, there is nothing that could differ. */
static bool nothing_changed(const struct damaged *damaged, const struct lqi_io *io)
{
    const struct specimen *specimen = damaged->damage.specimen;

    for (size_t i = 0; i < specimen->file_count; i++) {
        const struct specimen_file *file = &specimen->files[i];
        bool is_damaged = i == damaged->damage.file && damaged->damage.kind != DAMAGE_FOREIGN;
        if (strcmp(file->name, LQI_SHARED_NAME) == 0) continue;
        if (!file_is(io, file, is_damaged ? damaged->bytes : file->bytes, is_damaged ? damaged->size : file->size)) return false;
    }
    return true;
}

/* With damage in both copies of meta's fixed part a queue may refuse to be opened for writing; then it can be read. */
static bool opens_for_writing(const struct damaged *damaged)
{
    if (damaged->damage.kind == DAMAGE_FOREIGN || strcmp(damaged->file->name, LQI_META_NAME) != 0) return true;
    return damaged->size >= LQI_META_SIZE && (!damage_changed(damaged, 0, 512) || !damage_changed(damaged, 512, 1024));
}

/* When the log's very end was hit, it goes on behind all that may have been there: the room between is told, until a repair
 * has filled it. */
static bool check_undone(const struct damaged *damaged, const struct lqi_io *io)
{
    bool flip = damaged->damage.kind == DAMAGE_FLIP;
    struct id_set everything = id_set_all_but(&(struct id_set){{false}});
    struct seen seen;
    lq_queue *queue;

    damage_undo(damaged, io);
    if (!read_machine(io, &specimen_options, damaged, &seen)) return false;
    SO(id_set_covers(&seen.alive, &everything));
    if (flip && (seen.holes || lqi_verify_io(io, "q", 0, NULL, NULL, NULL))) {
        SO(damage_is_at_end(damaged));
        SO(lqi_repair_io(io, "q", 0, NULL, NULL, NULL) == LQ_OK && lqi_verify_io(io, "q", 0, NULL, NULL, NULL) == LQ_OK);
    }
    SO(lqi_open_io(io, "q", &specimen_options, &queue) == LQ_OK);
    if (!consume(queue, &everything, damaged->damage.specimen->killed ? consumer_of(damaged) : CONSUMERS, !flip)) return false;
    SO(lq_close(queue) == LQ_OK);
    return true;
}

/* Opened, read and closed, nothing of it has changed; the damage undone, all is back. */
static bool check_keep(const struct damaged *damaged, const struct lqi_io *io, bool thorough)
{
    bool memory = damage_is_in_shared(damaged), flip = damaged->damage.kind == DAMAGE_FLIP;

    if (opens_for_writing(damaged)) {
        struct id_set least = id_set_all_but(&damaged->hit);
        struct seen seen;
        if (!read_machine(io, &specimen_options, damaged, &seen)) return false;
        SO(id_set_covers(&seen.alive, &least));
        SO(memory || id_set_covers(&least, &seen.alive) || seen.holes == 0 || !flip);
        SO(!flip || !seen.misplaced || damage_is_at_end(damaged));
    }
    if (memory) return true; /* the file is taken over by those who open */
    if (!thorough && nothing_changed(damaged, io)) return true;
    bool stays = damaged->damage.kind == DAMAGE_FOREIGN || stays_damaged(damaged, io);
    /* Who brings the state of the dead into the files writes into them, and may make a missing one from the ring. */
    SO(stays || damaged->damage.specimen->killed || overlooked(damaged));
    return !stays || check_undone(damaged, io);
}

/* ---- one case: repair -------------------------------------------------------------------- */

struct search {
    const struct lqi_io *io;
    const struct damaged *damaged;
    bool found;
};

/* Who opens what the dead have left writes their state into the files, over an entry that does not verify, and the ring's
 * bytes where the log seems to end too early. */
static bool is_written_over(const struct damaged *damaged)
{
    if (!damaged->damage.specimen->killed) return false;
    if (strcmp(damaged->file->dir, "consumers") == 0) return damage_changed(damaged, LQI_POSITION_ENTRIES_AT, LQI_POSITION_BLOCKS_AT);
    return damage_reaches_end(damaged);
}

/* All that the damage left. After a death others write there, too: then the bytes that were changed count, of what is before
 * the last record. */
static bool is_kept_in(const struct damaged *damaged, const uint8_t *bytes, size_t size)
{
    bool killed = damaged->damage.specimen->killed;
    size_t end = killed ? lqi_min64(damaged->size, damage_end_at(damaged)) : damaged->size;

    if (!bytes || size < end || (!killed && size != end)) return false;
    for (size_t i = 0; i < end; i++)
        if (bytes[i] != damaged->bytes[i] && !(killed && damaged->bytes[i] == damaged->file->bytes[i])) return false;
    return true;
}

static int look_for(void *context, const char *name)
{
    struct search *search = context;
    size_t size = 0;
    uint8_t *bytes = specimen_read(search->io, "aside", name, &size);
    search->found = is_kept_in(search->damaged, bytes, size);
    free(bytes);
    return search->found;
}

/* In its place, or aside. */
static bool is_kept(const struct damaged *damaged, const struct lqi_io *io)
{
    struct search search = {io, damaged, false};
    size_t size = 0;
    uint8_t *bytes = specimen_read(io, damaged->file->dir, damaged->file->name, &size);
    int dir = specimen_dir(io, "aside");
    search.found = is_kept_in(damaged, bytes, size);
    if (dir >= 0 && !search.found) specimen_must(io->dir_list(io, dir, look_for, &search) == 0, "list");
    io->close(io, dir);
    free(bytes);
    return search.found;
}

static bool check_repair(const struct damaged *damaged, const struct lqi_io *io, bool told)
{
    const struct damage *damage = &damaged->damage;
    bool killed = damage->specimen->killed, removed = damage->kind == DAMAGE_REMOVE && strcmp(damaged->file->dir, "consumers") == 0;
    lq_repair_result result = {.size = sizeof result};
    struct id_set least = id_set_all_but(&damaged->hit);
    struct seen seen;
    uint64_t id = 0;
    lq_queue *queue;

    SO(lqi_repair_io(io, "q", 0, NULL, NULL, &result) == LQ_OK);
    SO(lqi_verify_io(io, "q", 0, NULL, NULL, NULL) == LQ_OK);
    SO(!told || result.steps || killed); /* opening may have put the ring's bytes where the file had ended too early */
    if (damaged->bytes && !damage_is_in_shared(damaged)) SO(is_kept(damaged, io) || (!told && overlooked(damaged)) || is_written_over(damaged));
    if (!read_machine(io, &look, damaged, &seen)) return false;
    SO(seen.holes == 0 && id_set_covers(&seen.alive, &least));
    /* With the options that it has now: those of a meta that was made anew are the defaults. */
    SO(lqi_open_io(io, "q", NULL, &queue) == LQ_OK);
    SO(lq_put(queue, "new", 3, &id) == LQ_OK && id > LAST);
    bool may_hurt = told || removed || killed || damage->kind != DAMAGE_FLIP;
    if (!consume(queue, &seen.alive, may_hurt ? consumer_of(damaged) : CONSUMERS, false)) return false;
    SO(lq_close(queue) == LQ_OK);
    SO(lqi_verify_io(io, "q", 0, NULL, NULL, NULL) == LQ_OK);
    sweep.tally->repairs++;
    return true;
}

static bool check_case(const struct damage *damage, bool thorough)
{
    struct damaged damaged;
    bool told = false;

    sweep.tally->now = *damage;
    if (!damage_plan(&damaged, damage)) return true;
    struct io_crash *kept = io_crash_processes_die(damage->specimen->machine), *mended = NULL;
    damage_do(&damaged, io_crash_io(kept));
    if (thorough) mended = io_crash_processes_die(kept);
    bool right = check_verify(&damaged, io_crash_io(kept), &told) && check_keep(&damaged, io_crash_io(kept), thorough) &&
                 (!thorough || check_repair(&damaged, io_crash_io(mended), told));
    if (right) { /* else something is still open */
        io_crash_free(mended);
        io_crash_free(kept);
    }
    sweep.tally->cases[damage->kind]++;
    damage_free(&damaged);
    return right;
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

/* Every bit of every file. */
static void flip_all(const struct specimen *specimen)
{
    for (size_t f = 0; f < specimen->file_count; f++) {
        const struct specimen_file *file = &specimen->files[f];
        for (uint64_t bit = 0; strcmp(file->name, LQI_SHARED_NAME) != 0 && bit < (uint64_t)file->size * 8; bit++) {
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

static void work(bool whole, uint64_t rounds)
{
    if (whole) flip_all(&variants[0]);
    if (whole) flip_memory(&variants[1]);
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
        if (total->tallies[job].now.specimen) print_case(&total->tallies[job].now);
        printf("the process ended with status 0x%x\n", (unsigned)status);
        total->wrong++;
    }
}

static int report(int64_t began_us)
{
    struct tally all = {.whole = 0};
    uint64_t cases = 0;

    for (int job = 0; job < sweep.jobs; job++) {
        const struct tally *tally = &total->tallies[job];
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
