/* Every bit of every file of a small queue is flipped, every file is cut at every length and removed, blocks of it are zeroed,
 * filled with random bytes, swapped and doubled, and files that belong nowhere are put beside them. Each time:
 *
 *   verify    lq_verify() names the file (what it may overlook is told below, in overlooked())
 *   contain   no wrong byte comes out, and no message is lost but those of the records that were hit
 *   keep      opening the queue, reading and closing it leaves the damaged file as it is; the damage undone,
 *             every message and every position is back
 *   repair    lq_repair() of a copy makes a queue of which lq_verify() finds nothing, with all that was not hit; every
 *             consumer gets what it had not settled, PUT gives an id that was never given, and the damaged file is set aside
 *
 * Once with a queue that was closed, and once with one whose processes were killed, so that `shared` counts.
 *
 *     LQ_SWEEP=VARIANT:KIND:FILE:AT:SIZE sweep_damage   one case again, as a failure names it
 *     LQ_SWEEP_SECONDS=3600 sweep_damage                every bit and every length, or so long, instead of some in 15 s */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bytes.h"
#include "queue.h"
#include "repair.h"
#include "support/api.h"
#include "support/specimen.h"

enum { LAST = SPECIMEN_LAST, CONSUMERS = SPECIMEN_CONSUMERS, ANY, MOST_WRONG = 20 };
enum kind { FLIP, CUT, ZERO, RANDOM, SWAP, DOUBLE, REMOVE, FOREIGN, KINDS };

static const char *const kind_names[KINDS] = {"bit flipped", "cut", "zeroed", "random bytes", "blocks swapped", "block doubled",
                                              "removed", "foreign file"};

static const lq_options look = {.size = sizeof look, .flags = LQ_READ_ONLY};

struct id_set {
    bool has[LAST + 2];
};

static struct specimen variants[2] = {{.name = "closed"}, {.name = "killed", .killed = true}};

struct damage {
    unsigned variant;
    enum kind kind;
    size_t file;
    uint64_t at, size; /* FLIP: at is the bit; CUT: the length; FOREIGN: which */
};

static struct {
    uint64_t cases[KINDS], repairs, overlooked, wrong;
    struct damage now;
    double seconds;
    int64_t started_us;
} sweep;

/* ---- damaging ---------------------------------------------------------------- */

static const struct specimen *variant_of(const struct damage *damage)
{
    return &variants[damage->variant];
}

static const struct specimen_file *file_of(const struct damage *damage)
{
    return &variant_of(damage)->files[damage->file];
}

/* What the file is then; malloced, NULL: gone. */
static uint8_t *damaged_bytes(const struct damage *damage, size_t *size)
{
    const struct specimen_file *file = file_of(damage);
    uint64_t at = lqi_min64(damage->at, file->size), run = lqi_min64(damage->size, file->size - at);
    uint8_t *bytes = malloc(file->size + damage->size + 8);

    specimen_must(bytes != NULL, "hold a file");
    memcpy(bytes, file->bytes, file->size);
    *size = file->size;
    switch (damage->kind) {
    case FLIP: bytes[damage->at / 8] ^= (uint8_t)(1u << damage->at % 8); break;
    case CUT: *size = damage->at; break;
    case ZERO: memset(bytes + at, 0, run); break;
    case RANDOM: api_fill(bytes + at, run, damage->at + 99); break;
    case SWAP: /* with the block behind it */
        run = lqi_min64(run, file->size > at + run ? file->size - at - run : 0);
        memcpy(bytes + at, file->bytes + at + run, run);
        memcpy(bytes + at + run, file->bytes + at, run);
        break;
    case DOUBLE: /* over the block behind it */
        run = lqi_min64(run, file->size > at + run ? file->size - at - run : 0);
        memcpy(bytes + at + run, file->bytes + at, run);
        break;
    default: free(bytes); return NULL;
    }
    return bytes;
}

static bool same(const struct specimen_file *file, const uint8_t *bytes, size_t size)
{
    return bytes && size == file->size && memcmp(bytes, file->bytes, size) == 0;
}

static const char *const foreign_names[][2] = {{"log", "stranger"}, {"consumers", "stranger"}, {"consumers", "e.pos"},
                                               {"log", "00000000000000000006.seg"}, {"log", "00000000000000000099.seg"}};
enum { FOREIGNERS = 5 };

/* A copy of the first segment, or a line of text. */
static void put_foreign(const struct damage *damage, const struct lqi_io *io)
{
    const char *const *name = foreign_names[damage->at];
    const struct specimen_file *copy = file_of(damage);
    if (damage->size) specimen_write(io, name[0], name[1], copy->bytes, copy->size);
    else specimen_write(io, name[0], name[1], (const uint8_t *)"Dear queue,\n", 12);
}

static void do_damage(const struct damage *damage, const struct lqi_io *io, const uint8_t *bytes, size_t size)
{
    const struct specimen_file *file = file_of(damage);
    if (damage->kind == FOREIGN) put_foreign(damage, io);
    else if (damage->kind == FLIP) specimen_write_byte(io, file, damage->at / 8, bytes[damage->at / 8]);
    else specimen_write(io, file->dir, file->name, bytes, size);
}

static void undo_damage(const struct damage *damage, const struct lqi_io *io)
{
    const struct specimen_file *file = file_of(damage);
    const char *const *foreign = damage->kind == FOREIGN ? foreign_names[damage->at] : NULL;
    if (foreign) specimen_write(io, foreign[0], foreign[1], NULL, 0);
    else if (damage->kind == FLIP) specimen_write_byte(io, file, damage->at / 8, file->bytes[damage->at / 8]);
    else if (damage->kind == CUT || damage->kind == REMOVE) specimen_write(io, file->dir, file->name, file->bytes, file->size);
    else {
        /* Only those bytes: others may have been written since, as they should. */
        size_t size = 0;
        uint8_t *bytes = damaged_bytes(damage, &size);
        for (size_t i = 0; i < size; i++)
            if (bytes[i] != file->bytes[i]) specimen_write_byte(io, file, i, file->bytes[i]);
        free(bytes);
    }
}

/* ---- what may come of it ------------------------------------------------------ */

static bool differs(const struct specimen_file *file, const uint8_t *bytes, size_t size, size_t from, size_t to)
{
    return !bytes || size < to || memcmp(bytes + from, file->bytes + from, to - from) != 0;
}

/* The messages that may be lost: of the records that were hit; without a header, of the whole file. */
static struct id_set hit(const struct damage *damage, const uint8_t *bytes, size_t size)
{
    const struct specimen *variant = variant_of(damage);
    const struct specimen_file *file = file_of(damage);
    struct id_set set = {{false}};

    if (damage->kind == FOREIGN || !specimen_is_segment(file)) return set;
    bool all = differs(file, bytes, size, 0, LQI_SEGMENT_HEADER_COPY) && differs(file, bytes, size, LQI_SEGMENT_HEADER_COPY, LQI_SEGMENT_HEADER);
    for (size_t i = 0; i < variant->extent_count; i++) {
        const struct specimen_extent *extent = &variant->extents[i];
        if (extent->file != damage->file || (!all && !differs(file, bytes, size, extent->offset, extent->end))) continue;
        for (uint64_t id = extent->first_id; id < extent->first_id + extent->count; id++) set.has[id] = true;
    }
    return set;
}

/* Nothing was changed but entries and slots that are nothing but zeroes now: as if they had never been written, which a power
 * loss can bring about, and then the one before counts. */
static bool reads_as_unwritten(const struct specimen_file *file, const uint8_t *bytes, size_t size, size_t from, size_t unit)
{
    static const uint8_t zeroes[512];
    if (!bytes || size != file->size || differs(file, bytes, size, 0, from)) return false;
    for (size_t at = from; at + unit <= size; at += unit)
        if (differs(file, bytes, size, at, at + unit) && memcmp(bytes + at, zeroes, unit) != 0) return false;
    return true;
}

/* What lq_verify() need not tell, because nobody ever believes it or needs it. When it does not tell, nothing may be lost. */
static bool overlooked(const struct damage *damage, const uint8_t *bytes, size_t size)
{
    const struct specimen *variant = variant_of(damage);
    const struct specimen_file *file = file_of(damage);

    if (damage->kind == FOREIGN) return false;
    /* Working memory: after a clean close nothing in it counts, and after death only the records in its ring, which
     * the files have as well here. */
    if (strcmp(file->name, LQI_SHARED_NAME) == 0) return true;
    /* Blocks of words that no id of the window needs: a power loss may leave them in any state. One that is needed and reads as
     * zeroes looks as if a power loss had kept it from the disk: its messages come again, and nobody can tell why. */
    if (strcmp(file->dir, "consumers") == 0) {
        uint64_t from = damage->kind == FLIP ? damage->at / 8 : damage->at;
        return damage->kind == REMOVE || (from >= LQI_POSITION_BLOCKS_AT && damage->kind != CUT) ||
               reads_as_unwritten(file, bytes, size, LQI_POSITION_ENTRIES_AT, LQI_POSITION_ENTRY);
    }
    if (strcmp(file->name, LQI_META_NAME) == 0) return reads_as_unwritten(file, bytes, size, 1024, 512);
    /* While it is in the ring, the files are not asked. */
    return variant->killed && specimen_is_segment(file);
}

/* ---- looking --------------------------------------------------------------------- */

static bool wrong(const char *what, int line)
{
    const struct damage *now = &sweep.now;
    printf("LQ_SWEEP=%u:%u:%zu:%" PRIu64 ":%" PRIu64 ": %s, %s, %s at %" PRIu64 " of %zu: line %d: not so: %s (%s)\n", now->variant, now->kind,
           now->file, now->at, now->size, variants[now->variant].name, file_of(now)->shown, kind_names[now->kind],
           now->kind == FLIP ? now->at / 8 : now->at, file_of(now)->size, line, what, lq_error_text());
    fflush(stdout);
    sweep.wrong++;
    return false;
}

#define SO(condition)                                     \
    do                                                    \
        if (!(condition)) return wrong(#condition, __LINE__); \
    while (0)

/* All that a reader of an open queue finds. */
static bool read_queue(lq_queue *queue, struct id_set *alive, unsigned *holes)
{
    lq_message message;
    lq_reader *reader;
    uint64_t last = 0;
    bool right = true;

    memset(alive, 0, sizeof *alive);
    *holes = 0;
    SO(lq_reader_open(queue, &reader) == LQ_OK);
    for (int err; right && (err = lq_reader_next(reader, &message)) != LQ_EMPTY;) {
        if (err == LQ_ECORRUPT) right = ++*holes < 100;
        else right = err == LQ_OK && message.id > last && (message.id > LAST || specimen_is_right(&message));
        if (err) continue;
        last = message.id;
        if (message.id <= LAST) alive->has[message.id] = true;
    }
    lq_reader_close(reader);
    SO(right);
    return true;
}

static bool read_machine(const struct lqi_io *io, const lq_options *how, struct id_set *alive, unsigned *holes)
{
    lq_queue *queue;
    SO(lqi_open_io(io, "q", how, &queue) == LQ_OK);
    bool right = read_queue(queue, alive, holes);
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
static size_t consumer_of(const struct damage *damage)
{
    const struct specimen_file *file = file_of(damage);
    if (damage->kind == FOREIGN) return CONSUMERS;
    if (strcmp(file->name, LQI_SHARED_NAME) == 0) return variant_of(damage)->killed ? ANY : CONSUMERS;
    for (size_t i = 0; i < CONSUMERS; i++)
        if (strcmp(file->dir, "consumers") == 0 && file->name[0] == specimen_consumer(i)[0]) return i;
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

struct findings {
    unsigned count, named;
    const char *file;
};

static void note_finding(void *context, const lq_finding *finding)
{
    struct findings *findings = context;
    findings->count++;
    if (strcmp(finding->file, findings->file) == 0) findings->named++;
}

static bool covers(const struct id_set *set, const struct id_set *part)
{
    for (uint64_t id = 1; id <= LAST; id++)
        if (part->has[id] && !set->has[id]) return false;
    return true;
}

static struct id_set all_but(const struct id_set *lost)
{
    struct id_set set = {{false}};
    for (uint64_t id = 1; id <= LAST; id++) set.has[id] = !lost->has[id];
    return set;
}

/* Within or behind the last record of all. */
static bool is_at_end(const struct damage *damage)
{
    const struct specimen_extent *last = &variant_of(damage)->extents[variant_of(damage)->extent_count - 1];
    return damage->file == last->file && damage->at / 8 >= last->offset;
}

/* ---- one case ---------------------------------------------------------------------- */

/* With damage in meta or consumers/ a queue may refuse to be opened for writing; then it can be read. */
static bool opens_for_writing(const struct damage *damage, const uint8_t *bytes, size_t size)
{
    const struct specimen_file *file = file_of(damage);
    if (damage->kind == FOREIGN || strcmp(file->name, LQI_META_NAME) != 0) return true;
    return size >= LQI_META_SIZE && (!differs(file, bytes, size, 0, 512) || !differs(file, bytes, size, 512, 1024));
}

static bool check_verify(const struct damage *damage, const struct lqi_io *io, const uint8_t *bytes, size_t size, bool *told)
{
    char shown[100];
    const char *const *foreign = damage->kind == FOREIGN ? foreign_names[damage->at] : NULL;
    struct findings findings = {0, 0, file_of(damage)->shown};
    if (foreign) {
        snprintf(shown, sizeof shown, "%s/%s", foreign[0], foreign[1]);
        findings.file = shown;
    }

    int code = lqi_verify_io(io, "q", 0, note_finding, &findings, NULL);
    SO(code == LQ_OK || code == LQ_ECORRUPT);
    SO((code == LQ_OK) == (findings.count == 0));
    *told = findings.count > 0;
    if (!*told) {
        SO(overlooked(damage, bytes, size));
        sweep.overlooked++;
    }
    /* Whose end is missing, what lacks behind it may be named instead. */
    bool other_name = damage->kind == REMOVE || damage->kind == CUT || damage->kind == ZERO || damage->kind == RANDOM;
    SO(!*told || findings.named || other_name || overlooked(damage, bytes, size));
    return true;
}

/* The bytes that the damage changed are still as it left them; a missing file is still missing. */
static bool stays_damaged(const struct damage *damage, const struct lqi_io *io, const uint8_t *bytes, size_t size)
{
    const struct specimen_file *file = file_of(damage);
    size_t now_size = 0;
    uint8_t *now = specimen_read(io, file->dir, file->name, &now_size);
    bool stays = bytes ? now && (size == file->size || now_size == size) : !now;
    for (size_t i = 0; i < size && bytes && stays; i++)
        stays = bytes[i] == file->bytes[i] || (i < now_size && now[i] == bytes[i]);
    free(now);
    return stays;
}

static bool file_is(const struct damage *damage, const struct lqi_io *io, const uint8_t *bytes, size_t size)
{
    const struct specimen_file *file = file_of(damage);
    size_t now_size = 0;
    uint8_t *now = specimen_read(io, file->dir, file->name, &now_size);
    bool is = bytes ? now && now_size == size && memcmp(now, bytes, size) == 0 : !now;
    free(now);
    return is;
}

/* Opened, read and closed, nothing of it has changed; the damage undone, all is back. */
static bool check_keep(const struct damage *damage, const struct lqi_io *io, const uint8_t *bytes, size_t size, const struct id_set *lost)
{
    bool memory = damage->kind != FOREIGN && strcmp(file_of(damage)->name, LQI_SHARED_NAME) == 0;
    struct id_set alive, everything = all_but(&(struct id_set){{false}});
    unsigned holes;

    if (opens_for_writing(damage, bytes, size)) {
        if (!read_machine(io, &specimen_options, &alive, &holes)) return false;
        struct id_set least = all_but(lost);
        SO(covers(&alive, &least));
        SO(memory || covers(&least, &alive) || holes == 0 || damage->kind != FLIP);
    }
    if (memory) return true; /* the file is taken over by those who open */
    bool stays = damage->kind == FOREIGN || stays_damaged(damage, io, bytes, size);
    /* Who brings the state of the dead into the files writes into them, and may make a missing one from the ring. */
    SO(stays || variant_of(damage)->killed || overlooked(damage, bytes, size));
    if (!stays) return true;
    undo_damage(damage, io);
    if (!read_machine(io, &specimen_options, &alive, &holes)) return false;
    SO(covers(&alive, &everything));
    if (damage->kind == FLIP && (holes || lqi_verify_io(io, "q", 0, NULL, NULL, NULL))) {
        /* The log's very end was hit, and the log goes on behind all that may have been there: the room between is told
         * until a repair has filled it. */
        SO(is_at_end(damage));
        SO(lqi_repair_io(io, "q", 0, NULL, NULL, NULL) == LQ_OK && lqi_verify_io(io, "q", 0, NULL, NULL, NULL) == LQ_OK);
    }
    lq_queue *queue;
    SO(lqi_open_io(io, "q", &specimen_options, &queue) == LQ_OK);
    if (!consume(queue, &everything, variant_of(damage)->killed ? consumer_of(damage) : CONSUMERS, damage->kind != FLIP)) return false;
    SO(lq_close(queue) == LQ_OK);
    return true;
}

struct search {
    const struct lqi_io *io;
    const uint8_t *bytes;
    size_t size;
    bool found;
};

static int look_for(void *context, const char *name)
{
    struct search *search = context;
    size_t size = 0;
    uint8_t *bytes = specimen_read(search->io, "aside", name, &size);
    search->found = bytes && size == search->size && memcmp(bytes, search->bytes, size) == 0;
    free(bytes);
    return search->found;
}

static bool is_aside(const struct lqi_io *io, const uint8_t *bytes, size_t size)
{
    struct search search = {io, bytes, size, false};
    int dir = specimen_dir(io, "aside");
    if (dir >= 0) specimen_must(io->dir_list(io, dir, look_for, &search) == 0, "list");
    io->close(io, dir);
    return search.found;
}

static bool check_repair(const struct damage *damage, const struct lqi_io *io, const uint8_t *bytes, size_t size, const struct id_set *lost,
                         bool told)
{
    lq_repair_result result = {.size = sizeof result};
    struct id_set alive, least = all_but(lost);
    bool removed = damage->kind == REMOVE && strcmp(file_of(damage)->dir, "consumers") == 0;
    unsigned holes;
    uint64_t id = 0;
    lq_queue *queue;

    SO(lqi_repair_io(io, "q", 0, NULL, NULL, &result) == LQ_OK);
    SO(lqi_verify_io(io, "q", 0, NULL, NULL, NULL) == LQ_OK);
    SO(!told || result.steps || variant_of(damage)->killed);
    if (bytes && damage->kind != FOREIGN && !file_is(damage, io, bytes, size) && strcmp(file_of(damage)->name, LQI_SHARED_NAME) != 0)
        SO(is_aside(io, bytes, size) || (!told && overlooked(damage, bytes, size)) || variant_of(damage)->killed);
    if (!read_machine(io, &look, &alive, &holes)) return false;
    SO(holes == 0 && covers(&alive, &least));
    SO(lqi_open_io(io, "q", &look, &queue) == LQ_OK && lq_close(queue) == LQ_OK);
    /* With the options that it has now: those of a meta that was made anew are the defaults. */
    SO(lqi_open_io(io, "q", NULL, &queue) == LQ_OK);
    SO(lq_put(queue, "new", 3, &id) == LQ_OK && id > LAST);
    bool may_hurt = told || removed || variant_of(damage)->killed || damage->kind != FLIP;
    size_t hurt = may_hurt ? consumer_of(damage) : CONSUMERS;
    if (!consume(queue, &alive, hurt, false)) return false;
    SO(lq_close(queue) == LQ_OK);
    SO(lqi_verify_io(io, "q", 0, NULL, NULL, NULL) == LQ_OK);
    sweep.repairs++;
    return true;
}

static bool check_case(const struct damage *damage, bool thorough)
{
    size_t size = 0;
    uint8_t *bytes = damage->kind == FOREIGN ? NULL : damaged_bytes(damage, &size);
    bool told = false, right = true;

    sweep.now = *damage;
    if (damage->kind == FOREIGN || !same(file_of(damage), bytes, size)) {
        struct io_crash *kept = io_crash_processes_die(variant_of(damage)->machine), *mended = NULL;
        struct id_set lost = hit(damage, bytes, size);
        do_damage(damage, io_crash_io(kept), bytes, size);
        if (thorough) mended = io_crash_processes_die(kept);
        right = check_verify(damage, io_crash_io(kept), bytes, size, &told) && check_keep(damage, io_crash_io(kept), bytes, size, &lost) &&
                (!thorough || check_repair(damage, io_crash_io(mended), bytes, size, &lost, told));
        if (right) { /* else something is still open */
            io_crash_free(mended);
            io_crash_free(kept);
        }
        sweep.cases[damage->kind]++;
    }
    free(bytes);
    return right;
}

/* ---- all cases ---------------------------------------------------------------------- */

static bool time_is_over(void)
{
    return (double)(api_now_us() - sweep.started_us) / 1e6 > sweep.seconds || sweep.wrong >= MOST_WRONG;
}

/* In a long run everything; else one in `every`, all of them near what means something. */
static bool is_chosen(const struct specimen_file *file, uint64_t offset, uint64_t number, uint64_t every, bool everything)
{
    if (everything && strcmp(file->name, LQI_SHARED_NAME) != 0) return true;
    return number % (strcmp(file->name, LQI_SHARED_NAME) == 0 ? every * 61 : offset > 4096 ? every * 7 : every) == 0;
}

static void flip_bits(unsigned variant, bool everything)
{
    for (size_t f = 0; f < variants[variant].file_count; f++) {
        const struct specimen_file *file = &variants[variant].files[f];
        for (uint64_t bit = 0; bit < (uint64_t)file->size * 8 && !time_is_over(); bit++)
            if (is_chosen(file, bit / 8, bit, everything ? 1 : 149, everything))
                check_case(&(struct damage){variant, FLIP, f, bit, 0}, everything || bit % 3 == 0);
    }
}

static void cut_files(unsigned variant, bool everything)
{
    for (size_t f = 0; f < variants[variant].file_count; f++) {
        const struct specimen_file *file = &variants[variant].files[f];
        for (uint64_t length = 0; length < file->size && !time_is_over(); length++)
            if (is_chosen(file, length, length, everything ? 1 : 509, everything)) check_case(&(struct damage){variant, CUT, f, length, 0}, true);
    }
    for (size_t i = 0; i < variants[variant].extent_count; i++) {
        const struct specimen_extent *extent = &variants[variant].extents[i];
        for (int beside = -1; beside <= 1 && !time_is_over(); beside++)
            check_case(&(struct damage){variant, CUT, extent->file, extent->offset + (size_t)beside, 0}, true);
    }
}

static void hit_blocks(unsigned variant, bool everything)
{
    static const uint64_t sizes[] = {512, 4096, 128, 8};
    for (size_t s = 0; s < 4; s++) {
        for (size_t f = 0; f < variants[variant].file_count; f++) {
            const struct specimen_file *file = &variants[variant].files[f];
            for (uint64_t at = 0, number = 0; at < file->size && !time_is_over(); at += sizes[s], number++)
                for (enum kind kind = ZERO; kind <= DOUBLE && !time_is_over(); kind++)
                    if (is_chosen(file, at, number, 5, everything) && (everything || (number + s) % 4 == (uint64_t)kind - ZERO))
                        check_case(&(struct damage){variant, kind, f, at, sizes[s]}, true);
        }
    }
    for (size_t i = 0; i < variants[variant].extent_count; i++) {
        const struct specimen_extent *extent = &variants[variant].extents[i];
        for (enum kind kind = ZERO; kind <= DOUBLE && !time_is_over(); kind++)
            check_case(&(struct damage){variant, kind, extent->file, extent->offset, extent->end - extent->offset}, true);
    }
}

static void remove_and_add(unsigned variant)
{
    for (size_t f = 0; f < variants[variant].file_count; f++) {
        check_case(&(struct damage){variant, REMOVE, f, 0, 0}, true);
        if (!specimen_is_segment(&variants[variant].files[f])) continue;
        for (uint64_t name = 0; name < FOREIGNERS; name++)
            for (uint64_t copy = 0; copy < 2; copy++) check_case(&(struct damage){variant, FOREIGN, f, name, copy}, true);
    }
}

static int report(void)
{
    uint64_t cases = 0;
    for (int kind = 0; kind < KINDS; kind++) {
        cases += sweep.cases[kind];
        printf("%" PRIu64 " %s, ", sweep.cases[kind], kind_names[kind]);
    }
    printf("%" PRIu64 " repaired, %" PRIu64 " meant nothing to verify: %" PRIu64 " cases, %" PRIu64 " wrong, in %.1f s%s\n", sweep.repairs,
           sweep.overlooked, cases, sweep.wrong, (double)(api_now_us() - sweep.started_us) / 1e6, time_is_over() ? "; not all: the time was over" : "");
    return sweep.wrong > 0 || cases == 0;
}

int main(void)
{
    const char *one = getenv("LQ_SWEEP"), *limit = getenv("LQ_SWEEP_SECONDS");

    sweep.seconds = limit ? strtod(limit, NULL) : api_sanitized ? 60 : 15;
    sweep.started_us = api_now_us();
    setvbuf(stdout, NULL, _IOLBF, 0);
    for (size_t i = 0; i < 2; i++) specimen_make(&variants[i]);
    if (one) {
        struct damage damage;
        unsigned kind;
        if (sscanf(one, "%u:%u:%zu:%" SCNu64 ":%" SCNu64, &damage.variant, &kind, &damage.file, &damage.at, &damage.size) != 5 ||
            damage.variant > 1 || kind >= KINDS || damage.file >= variants[damage.variant].file_count)
            return 2;
        damage.kind = (enum kind)kind;
        if (check_case(&damage, true)) printf("nothing was wrong\n");
        return sweep.wrong > 0;
    }
    bool everything = limit && sweep.seconds > 60;
    for (unsigned variant = 0; variant < 2; variant++) {
        remove_and_add(variant);
        flip_bits(variant, everything);
        hit_blocks(variant, everything);
        cut_files(variant, everything);
    }
    io_crash_trim();
    return report();
}
