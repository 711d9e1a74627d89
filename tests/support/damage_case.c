/* See damage_case.h. */
#include "damage_case.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api.h"
#include "bytes.h"
#include "queue.h"
#include "repair.h"

enum { LAST = SPECIMEN_LAST, CONSUMERS = SPECIMEN_CONSUMERS, ANY };
enum { TRIM_SLOTS_AT = 1024 }; /* in meta */

static const lq_options look = {.size = sizeof look, .flags = LQ_READ_ONLY};

/* Of the case at hand. */
static struct damage_tally *tally;
static _Atomic uint64_t *wrong_count;

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

void damage_case_print(const struct damage *damage)
{
    const struct specimen_file *file = &damage->specimen->files[damage->file];
    printf("LQ_SWEEP=%d:%d:%zu:%" PRIu64 ":%" PRIu64 ": %s, %s, %s at %" PRIu64 " of %zu: ", damage->specimen->killed, (int)damage->kind, damage->file,
           damage->at, damage->size, damage->specimen->name, file->shown, damage_kind_names[damage->kind],
           damage->kind == DAMAGE_FLIP ? damage->at / 8 : damage->at, file->size);
}

static bool is_wrong(const char *what, int line)
{
    damage_case_print(&tally->now);
    printf("line %d: not so: %s (%s)\n", line, what, lq_error_text());
    ++*wrong_count;
    return false;
}

#define SO(condition)                                         \
    do                                                        \
        if (!(condition)) return is_wrong(#condition, __LINE__); \
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
        tally->overlooked++;
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

/* ---- one case: the memory of another build -------------------------------------------------- */

/* Such are left to that build, whole: nobody else can know what is in them only. */
static bool is_of_another_build(const struct damaged *damaged)
{
    const struct lqi_shared *head = (const void *)damaged->bytes;
    return damage_is_in_shared(damaged) && damaged->damage.specimen->killed && head && damaged->size >= sizeof *head && !head->clean &&
           damage_changed(damaged, offsetof(struct lqi_identity, version), offsetof(struct lqi_identity, ring_size)) &&
           !damage_changed(damaged, 0, offsetof(struct lqi_identity, version)) &&
           !damage_changed(damaged, offsetof(struct lqi_identity, boot_id), sizeof(struct lqi_identity));
}

static bool check_left_alone(const struct damaged *damaged, const struct lqi_io *io)
{
    lq_queue *queue;
    SO(lqi_open_io(io, "q", &specimen_options, &queue) == LQ_EVERSION);
    SO(lqi_verify_io(io, "q", 0, NULL, NULL, NULL) == LQ_EVERSION);
    SO(lqi_repair_io(io, "q", 0, NULL, NULL, NULL) == LQ_EVERSION);
    SO(nothing_changed(damaged, io) && file_is(io, damaged->file, damaged->bytes, damaged->size));
    return check_undone(damaged, io);
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
    tally->repairs++;
    return true;
}

bool damage_case_check(const struct damage *damage, bool thorough, struct damage_tally *counts, _Atomic uint64_t *wrong)
{
    struct damaged damaged;
    bool told = false;

    tally = counts;
    wrong_count = wrong;
    tally->now = *damage;
    if (!damage_plan(&damaged, damage)) return true;
    struct io_crash *kept = io_crash_processes_die(damage->specimen->machine), *mended = NULL;
    damage_do(&damaged, io_crash_io(kept));
    if (thorough) mended = io_crash_processes_die(kept);
    bool right = is_of_another_build(&damaged)
                     ? check_left_alone(&damaged, io_crash_io(kept))
                     : check_verify(&damaged, io_crash_io(kept), &told) && check_keep(&damaged, io_crash_io(kept), thorough) &&
                           (!thorough || check_repair(&damaged, io_crash_io(mended), told));
    if (right) { /* else something is still open */
        io_crash_free(mended);
        io_crash_free(kept);
    }
    tally->cases[damage->kind]++;
    damage_free(&damaged);
    return right;
}
