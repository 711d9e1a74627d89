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
 *     LQ_SWEEP_SECONDS=3600 sweep_damage                every bit and every length, or so long, instead of some in 10 s */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bytes.h"
#include "queue.h"
#include "repair.h"
#include "support/api.h"
#include "support/io_crash.h"

enum { LAST = 24, LARGE = 9, SEGMENTS = 3, WINDOW = 64, FILES_MAX = 12, EXTENTS_MAX = 64, MOST_WRONG = 20 };
enum kind { FLIP, CUT, ZERO, RANDOM, SWAP, DOUBLE, REMOVE, FOREIGN, KINDS };

static const char *const kind_names[KINDS] = {"bit flipped", "cut", "zeroed", "random bytes", "blocks swapped", "block doubled",
                                              "removed", "foreign file"};

static const lq_options options = {.size = sizeof options, .segment_size = 65536, .ring_size = 65536, .compression = 6};
static const lq_options look = {.size = sizeof look, .flags = LQ_READ_ONLY};

struct file {
    char dir[16], name[64], shown[80];
    uint8_t *bytes;
    size_t size;
};

struct extent { /* of a record in a file */
    size_t file, offset, end;
    uint64_t first_id, count;
};

struct id_set {
    bool has[LAST + 2];
};

static const struct {
    const char *name;
    uint64_t taken, settled[8]; /* ids 1 to `taken` were handed out; these were acked */
} consumers[] = {{"c", 14, {1, 2, 5, 9, 10, 13}}, {"d", 3, {1, 2, 3}}};
enum { CONSUMERS = 2, ANY };

/* A queue, closed or left by the dead, as a machine that is only ever copied. */
static struct variant {
    const char *name;
    struct io_crash *machine;
    struct file files[FILES_MAX];
    size_t file_count;
    struct extent extents[EXTENTS_MAX];
    size_t extent_count;
    bool killed;
} variants[2] = {{.name = "closed"}, {.name = "killed", .killed = true}};

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

/* ---- messages ------------------------------------------------------------ */

static size_t size_of(uint64_t id)
{
    return id == LARGE ? 64000 : id == 8 || id == 16 ? 2500 : id == 10 ? 1500 : 10 + id * 37 % 300;
}

static void body_of(uint64_t id, uint8_t *bytes)
{
    if (id == 8 || id == 16) memset(bytes, 'a' + (int)id, size_of(id)); /* these are packed */
    else api_fill(bytes, size_of(id), id);
}

static bool is_right(const lq_message *message)
{
    static uint8_t bytes[65536];
    if (message->id > LAST) return message->size == 3 && memcmp(message->data, "new", 3) == 0;
    body_of(message->id, bytes);
    bool keyed = message->id >= 11 && message->id <= 14;
    return message->size == size_of(message->id) && memcmp(message->data, bytes, message->size) == 0 &&
           message->key_size == (keyed ? 5u : 0u) && (!keyed || memcmp(message->key, "a key", 5) == 0);
}

/* ---- the machine's files --------------------------------------------------- */

static void must(bool good, const char *what)
{
    if (good) return;
    printf("cannot %s\n", what);
    exit(1);
}

static int dir_of(const struct lqi_io *io, const char *dir)
{
    char path[40];
    int fd = -1;
    snprintf(path, sizeof path, "q%s%s", *dir ? "/" : "", dir);
    return io->dir_open(io, -1, path, &fd) ? -1 : fd;
}

/* Malloced; NULL when there is no such file. */
static uint8_t *read_file(const struct lqi_io *io, const char *dir, const char *name, size_t *size)
{
    struct lqi_io_stat stat;
    uint8_t *bytes = NULL;
    int parent = dir_of(io, dir), fd = -1;
    if (parent >= 0 && io->open(io, parent, name, LQI_OPEN_READ, 0, &fd) == 0) {
        must(io->stat(io, fd, &stat) == 0, "stat");
        bytes = malloc(stat.size + 1);
        must(bytes && io->read(io, fd, 0, bytes, stat.size, size) == 0, "read");
    }
    io->close(io, fd);
    io->close(io, parent);
    return bytes;
}

/* Whole, in place if it is there; NULL removes it. */
static void write_file(const struct lqi_io *io, const char *dir, const char *name, const uint8_t *bytes, size_t size)
{
    int parent = dir_of(io, dir), fd = -1;
    if (!bytes) {
        must(io->unlink(io, parent, name) == 0, "remove");
    } else {
        if (io->open(io, parent, name, LQI_OPEN_WRITE, 0, &fd)) must(io->open(io, parent, name, LQI_OPEN_NEW, 0600, &fd) == 0, "create");
        must(io->truncate(io, fd, size) == 0 && io->write(io, fd, 0, bytes, size) == 0, "write");
    }
    io->close(io, fd);
    io->close(io, parent);
}

/* One byte of a file that is mapped by nobody: the rest need not be written. */
static void write_byte(const struct lqi_io *io, const struct file *file, uint64_t offset, uint8_t byte)
{
    int parent = dir_of(io, file->dir), fd = -1;
    must(io->open(io, parent, file->name, LQI_OPEN_WRITE, 0, &fd) == 0 && io->write(io, fd, offset, &byte, 1) == 0, "write a byte");
    io->close(io, fd);
    io->close(io, parent);
}

/* ---- making the queues ------------------------------------------------------ */

static void put_one(lq_queue *queue, uint64_t id)
{
    static uint8_t bytes[65536];
    uint64_t got = 0;
    body_of(id, bytes);
    OK(lq_put(queue, bytes, size_of(id), &got));
    EQUAL(got, id);
}

static void put_batch(lq_queue *queue, uint64_t first, uint64_t count, bool keyed)
{
    static uint8_t bytes[8][512];
    lq_message messages[8];
    memset(messages, 0, sizeof messages);
    for (uint64_t i = 0; i < count; i++) {
        body_of(first + i, bytes[i]);
        messages[i] = (lq_message){.data = bytes[i], .size = size_of(first + i), .key = keyed ? "a key" : NULL, .key_size = keyed ? 5 : 0};
    }
    OK(lq_put_batch(queue, messages, count, NULL));
}

static void play(lq_queue *queue, lq_consumer *open[CONSUMERS])
{
    for (uint64_t id = 1; id <= 3; id++) put_one(queue, id);
    put_batch(queue, 4, 4, false);
    for (uint64_t id = 8; id <= 10; id++) put_one(queue, id); /* the large one gets a segment of its own */
    put_batch(queue, 11, 4, true);
    for (uint64_t id = 15; id <= LAST; id++) put_one(queue, id);
    for (size_t i = 0; i < CONSUMERS; i++) {
        lq_message message;
        OK(lq_consumer_open(queue, consumers[i].name,
                            &(lq_consumer_options){.size = sizeof(lq_consumer_options), .window = WINDOW}, &open[i]));
        for (uint64_t id = 1, next = 0; id <= consumers[i].taken; id++) {
            OK(lq_get(open[i], &message, 0));
            if (consumers[i].settled[next] != id) continue;
            next++;
            OK(lq_ack(open[i], &message));
        }
    }
}

struct listing {
    struct variant *variant;
    const char *dir;
};

static int note_file(void *context, const char *name)
{
    const struct listing *listing = context;
    struct variant *variant = listing->variant;
    struct file file = {.dir = ""};
    snprintf(file.dir, sizeof file.dir, "%s", listing->dir);
    snprintf(file.name, sizeof file.name, "%s", name);
    snprintf(file.shown, sizeof file.shown, "%s%s%s", file.dir, *file.dir ? "/" : "", file.name);
    file.bytes = read_file(io_crash_io(variant->machine), file.dir, file.name, &file.size);
    if (!file.bytes) return 0; /* a directory */
    must(variant->file_count < FILES_MAX, "hold so many files");
    variant->files[variant->file_count++] = file;
    return 0;
}

static void note_files(struct variant *variant)
{
    static const char *const dirs[] = {"", "log", "consumers"};
    const struct lqi_io *io = io_crash_io(variant->machine);
    for (size_t i = 0; i < 3; i++) {
        struct listing listing = {variant, dirs[i]};
        int dir = dir_of(io, dirs[i]);
        must(io->dir_list(io, dir, note_file, &listing) == 0, "list");
        io->close(io, dir);
    }
}

static bool is_segment(const struct file *file)
{
    uint64_t id;
    return strcmp(file->dir, "log") == 0 && lqi_segment_name_parse(file->name, &id);
}

static void note_records(struct variant *variant, size_t index)
{
    const struct file *file = &variant->files[index];
    size_t offset = LQI_SEGMENT_HEADER;
    struct lqi_segment_head head;
    struct lqi_record record;

    must(lqi_segment_head_decode(file->bytes, file->size, file->name, NULL, &head, NULL) == LQ_OK, "read a segment");
    while (offset + LQI_RECORD_HEADER <= file->size &&
           lqi_record_decode(file->bytes + offset, head.position + offset - LQI_SEGMENT_HEADER, head.salt, &record)) {
        size_t end = offset + lqi_record_span(record.size);
        must(variant->extent_count < EXTENTS_MAX, "hold so many records");
        variant->extents[variant->extent_count++] = (struct extent){index, offset, end, record.first_id, record.count};
        offset = end;
    }
}

static void make_variant(struct variant *variant)
{
    struct io_crash *machine = io_crash_new(7);
    lq_consumer *open[CONSUMERS];
    lq_queue *queue;
    size_t segments = 0;

    OK(lqi_open_io(io_crash_io(machine), "q", &options, &queue));
    play(queue, open);
    if (variant->killed) variant->machine = io_crash_processes_die(machine);
    for (size_t i = 0; i < CONSUMERS; i++) OK(lq_consumer_close(open[i]));
    OK(lq_close(queue));
    if (!variant->killed) variant->machine = io_crash_processes_die(machine);
    io_crash_free(machine);
    note_files(variant);
    for (size_t i = 0; i < variant->file_count; i++) {
        if (!is_segment(&variant->files[i])) continue;
        segments++;
        note_records(variant, i);
    }
    must(segments == SEGMENTS, "make the segments");
}

/* ---- damaging ---------------------------------------------------------------- */

static const struct variant *variant_of(const struct damage *damage)
{
    return &variants[damage->variant];
}

static const struct file *file_of(const struct damage *damage)
{
    return &variant_of(damage)->files[damage->file];
}

/* What the file is then; malloced, NULL: gone. */
static uint8_t *damaged_bytes(const struct damage *damage, size_t *size)
{
    const struct file *file = file_of(damage);
    uint64_t at = lqi_min64(damage->at, file->size), run = lqi_min64(damage->size, file->size - at);
    uint8_t *bytes = malloc(file->size + damage->size + 8);

    must(bytes != NULL, "hold a file");
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

static bool same(const struct file *file, const uint8_t *bytes, size_t size)
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
    const struct file *copy = file_of(damage);
    if (damage->size) write_file(io, name[0], name[1], copy->bytes, copy->size);
    else write_file(io, name[0], name[1], (const uint8_t *)"Dear queue,\n", 12);
}

static void do_damage(const struct damage *damage, const struct lqi_io *io, const uint8_t *bytes, size_t size)
{
    const struct file *file = file_of(damage);
    if (damage->kind == FOREIGN) put_foreign(damage, io);
    else if (damage->kind == FLIP) write_byte(io, file, damage->at / 8, bytes[damage->at / 8]);
    else write_file(io, file->dir, file->name, bytes, size);
}

static void undo_damage(const struct damage *damage, const struct lqi_io *io)
{
    const struct file *file = file_of(damage);
    const char *const *foreign = damage->kind == FOREIGN ? foreign_names[damage->at] : NULL;
    if (foreign) write_file(io, foreign[0], foreign[1], NULL, 0);
    else if (damage->kind == FLIP) write_byte(io, file, damage->at / 8, file->bytes[damage->at / 8]);
    else if (damage->kind == CUT || damage->kind == REMOVE) write_file(io, file->dir, file->name, file->bytes, file->size);
    else {
        /* Only those bytes: others may have been written since, as they should. */
        size_t size = 0;
        uint8_t *bytes = damaged_bytes(damage, &size);
        for (size_t i = 0; i < size; i++)
            if (bytes[i] != file->bytes[i]) write_byte(io, file, i, file->bytes[i]);
        free(bytes);
    }
}

/* ---- what may come of it ------------------------------------------------------ */

static bool differs(const struct file *file, const uint8_t *bytes, size_t size, size_t from, size_t to)
{
    return !bytes || size < to || memcmp(bytes + from, file->bytes + from, to - from) != 0;
}

/* The messages that may be lost: of the records that were hit; without a header, of the whole file. */
static struct id_set hit(const struct damage *damage, const uint8_t *bytes, size_t size)
{
    const struct variant *variant = variant_of(damage);
    const struct file *file = file_of(damage);
    struct id_set set = {{false}};

    if (damage->kind == FOREIGN || !is_segment(file)) return set;
    bool all = differs(file, bytes, size, 0, LQI_SEGMENT_HEADER_COPY) && differs(file, bytes, size, LQI_SEGMENT_HEADER_COPY, LQI_SEGMENT_HEADER);
    for (size_t i = 0; i < variant->extent_count; i++) {
        const struct extent *extent = &variant->extents[i];
        if (extent->file != damage->file || (!all && !differs(file, bytes, size, extent->offset, extent->end))) continue;
        for (uint64_t id = extent->first_id; id < extent->first_id + extent->count; id++) set.has[id] = true;
    }
    return set;
}

/* Nothing was changed but entries and slots that are nothing but zeroes now: as if they had never been written, which a power
 * loss can bring about, and then the one before counts. */
static bool reads_as_unwritten(const struct file *file, const uint8_t *bytes, size_t size, size_t from, size_t unit)
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
    const struct variant *variant = variant_of(damage);
    const struct file *file = file_of(damage);

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
    return variant->killed && is_segment(file);
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
        else right = err == LQ_OK && message.id > last && (message.id > LAST || is_right(&message));
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

static bool is_settled(size_t consumer, uint64_t id)
{
    for (size_t i = 0; i < 8 && consumers[consumer].settled[i]; i++)
        if (consumers[consumer].settled[i] == id) return true;
    return false;
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
        SO(is_right(&message));
        SO(message.id > LAST || (!got.has[message.id] && alive->has[message.id]));
        SO(message.id > LAST || !exactly || !is_settled(index, message.id));
        if (message.id <= LAST) got.has[message.id] = true;
        SO(lq_ack(consumer, &message) == LQ_OK);
    }
    for (uint64_t id = 1; id <= LAST; id++) SO(got.has[id] || !alive->has[id] || is_settled(index, id));
    return true;
}

/* Whose position is in the file. What the dead had acked and not saved is in `shared` only: ANY. */
static size_t consumer_of(const struct damage *damage)
{
    const struct file *file = file_of(damage);
    if (damage->kind == FOREIGN) return CONSUMERS;
    if (strcmp(file->name, LQI_SHARED_NAME) == 0) return variant_of(damage)->killed ? ANY : CONSUMERS;
    for (size_t i = 0; i < CONSUMERS; i++)
        if (strcmp(file->dir, "consumers") == 0 && file->name[0] == consumers[i].name[0]) return i;
    return CONSUMERS;
}

/* All of them; `hurt` is the one that may get settled ones again. They are all there before one lets retention go on. */
static bool consume(lq_queue *queue, const struct id_set *alive, size_t hurt, bool may_be_told)
{
    lq_consumer *open[CONSUMERS];
    for (size_t i = 0; i < CONSUMERS; i++) SO(lq_consumer_open(queue, consumers[i].name, NULL, &open[i]) == LQ_OK);
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
    const struct extent *last = &variant_of(damage)->extents[variant_of(damage)->extent_count - 1];
    return damage->file == last->file && damage->at / 8 >= last->offset;
}

/* ---- one case ---------------------------------------------------------------------- */

/* With damage in meta or consumers/ a queue may refuse to be opened for writing; then it can be read. */
static bool opens_for_writing(const struct damage *damage, const uint8_t *bytes, size_t size)
{
    const struct file *file = file_of(damage);
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
    const struct file *file = file_of(damage);
    size_t now_size = 0;
    uint8_t *now = read_file(io, file->dir, file->name, &now_size);
    bool stays = bytes ? now && (size == file->size || now_size == size) : !now;
    for (size_t i = 0; i < size && bytes && stays; i++)
        stays = bytes[i] == file->bytes[i] || (i < now_size && now[i] == bytes[i]);
    free(now);
    return stays;
}

static bool file_is(const struct damage *damage, const struct lqi_io *io, const uint8_t *bytes, size_t size)
{
    const struct file *file = file_of(damage);
    size_t now_size = 0;
    uint8_t *now = read_file(io, file->dir, file->name, &now_size);
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
        if (!read_machine(io, &options, &alive, &holes)) return false;
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
    if (!read_machine(io, &options, &alive, &holes)) return false;
    SO(covers(&alive, &everything));
    if (damage->kind == FLIP && (holes || lqi_verify_io(io, "q", 0, NULL, NULL, NULL))) {
        /* The log's very end was hit, and the log goes on behind all that may have been there: the room between is told
         * until a repair has filled it. */
        SO(is_at_end(damage));
        SO(lqi_repair_io(io, "q", 0, NULL, NULL, NULL) == LQ_OK && lqi_verify_io(io, "q", 0, NULL, NULL, NULL) == LQ_OK);
    }
    lq_queue *queue;
    SO(lqi_open_io(io, "q", &options, &queue) == LQ_OK);
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
    uint8_t *bytes = read_file(search->io, "aside", name, &size);
    search->found = bytes && size == search->size && memcmp(bytes, search->bytes, size) == 0;
    free(bytes);
    return search->found;
}

static bool is_aside(const struct lqi_io *io, const uint8_t *bytes, size_t size)
{
    struct search search = {io, bytes, size, false};
    int dir = dir_of(io, "aside");
    if (dir >= 0) must(io->dir_list(io, dir, look_for, &search) == 0, "list");
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
static bool is_chosen(const struct file *file, uint64_t offset, uint64_t number, uint64_t every, bool everything)
{
    if (everything && strcmp(file->name, LQI_SHARED_NAME) != 0) return true;
    return number % (strcmp(file->name, LQI_SHARED_NAME) == 0 ? every * 61 : offset > 4096 ? every * 7 : every) == 0;
}

static void flip_bits(unsigned variant, bool everything)
{
    for (size_t f = 0; f < variants[variant].file_count; f++) {
        const struct file *file = &variants[variant].files[f];
        for (uint64_t bit = 0; bit < (uint64_t)file->size * 8 && !time_is_over(); bit++)
            if (is_chosen(file, bit / 8, bit, everything ? 1 : 149, everything))
                check_case(&(struct damage){variant, FLIP, f, bit, 0}, everything || bit % 3 == 0);
    }
}

static void cut_files(unsigned variant, bool everything)
{
    for (size_t f = 0; f < variants[variant].file_count; f++) {
        const struct file *file = &variants[variant].files[f];
        for (uint64_t length = 0; length < file->size && !time_is_over(); length++)
            if (is_chosen(file, length, length, everything ? 1 : 509, everything)) check_case(&(struct damage){variant, CUT, f, length, 0}, true);
    }
    for (size_t i = 0; i < variants[variant].extent_count; i++) {
        const struct extent *extent = &variants[variant].extents[i];
        for (int beside = -1; beside <= 1 && !time_is_over(); beside++)
            check_case(&(struct damage){variant, CUT, extent->file, extent->offset + (size_t)beside, 0}, true);
    }
}

static void hit_blocks(unsigned variant, bool everything)
{
    static const uint64_t sizes[] = {512, 4096, 128, 8};
    for (size_t s = 0; s < 4; s++) {
        for (size_t f = 0; f < variants[variant].file_count; f++) {
            const struct file *file = &variants[variant].files[f];
            for (uint64_t at = 0, number = 0; at < file->size && !time_is_over(); at += sizes[s], number++)
                for (enum kind kind = ZERO; kind <= DOUBLE && !time_is_over(); kind++)
                    if (is_chosen(file, at, number, 5, everything) && (everything || (number + s) % 4 == (uint64_t)kind - ZERO))
                        check_case(&(struct damage){variant, kind, f, at, sizes[s]}, true);
        }
    }
    for (size_t i = 0; i < variants[variant].extent_count; i++) {
        const struct extent *extent = &variants[variant].extents[i];
        for (enum kind kind = ZERO; kind <= DOUBLE && !time_is_over(); kind++)
            check_case(&(struct damage){variant, kind, extent->file, extent->offset, extent->end - extent->offset}, true);
    }
}

static void remove_and_add(unsigned variant)
{
    for (size_t f = 0; f < variants[variant].file_count; f++) {
        check_case(&(struct damage){variant, REMOVE, f, 0, 0}, true);
        if (!is_segment(&variants[variant].files[f])) continue;
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

    sweep.seconds = limit ? strtod(limit, NULL) : api_sanitized ? 60 : 10;
    sweep.started_us = api_now_us();
    setvbuf(stdout, NULL, _IOLBF, 0);
    for (size_t i = 0; i < 2; i++) make_variant(&variants[i]);
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
