/* See specimen.h. */
#include "specimen.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api.h"
#include "queue.h"

enum { LARGE = 9, WINDOW = 64, POSITION_EMPTY_AT = 1024 /* behind both copies of its fixed part */ };

const lq_options specimen_options = {.size = sizeof specimen_options, .segment_size = 65536, .ring_size = 65536, .compression = 6};

static const struct {
    const char *name;
    uint64_t taken, settled[8]; /* ids 1 to `taken` were handed out; these were acked */
} consumers[SPECIMEN_CONSUMERS] = {{"c", 14, {1, 2, 5, 9, 10, 13}}, {"d", 3, {1, 2, 3}}};

const char *specimen_consumer(size_t consumer)
{
    return consumers[consumer].name;
}

bool specimen_is_settled(size_t consumer, uint64_t id)
{
    for (size_t i = 0; i < 8 && consumers[consumer].settled[i]; i++)
        if (consumers[consumer].settled[i] == id) return true;
    return false;
}

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

/* Made once: they are compared again and again. */
static const uint8_t *kept_body(uint64_t id)
{
    static uint8_t *bodies[SPECIMEN_LAST + 1];
    if (!bodies[id]) {
        bodies[id] = malloc(size_of(id));
        specimen_must(bodies[id] != NULL, "hold a body");
        body_of(id, bodies[id]);
    }
    return bodies[id];
}

bool specimen_is_right(const lq_message *message)
{
    if (message->id > SPECIMEN_LAST) return message->size == 3 && memcmp(message->data, "new", 3) == 0;
    bool keyed = message->id >= 11 && message->id <= 14;
    return message->size == size_of(message->id) && memcmp(message->data, kept_body(message->id), message->size) == 0 &&
           message->key_size == (keyed ? 5u : 0u) && (!keyed || memcmp(message->key, "a key", 5) == 0);
}

/* ---- the machine's files --------------------------------------------------- */

void specimen_must(bool good, const char *what)
{
    if (good) return;
    printf("cannot %s\n", what);
    exit(1);
}

int specimen_dir(const struct lqi_io *io, const char *dir)
{
    char path[40];
    int fd = -1;
    snprintf(path, sizeof path, "q%s%s", *dir ? "/" : "", dir);
    return io->dir_open(io, -1, path, &fd) ? -1 : fd;
}

uint8_t *specimen_read(const struct lqi_io *io, const char *dir, const char *name, size_t *size)
{
    struct lqi_io_stat stat;
    uint8_t *bytes = NULL;
    int parent = specimen_dir(io, dir), fd = -1;
    if (parent >= 0 && io->open(io, parent, name, LQI_OPEN_READ, 0, &fd) == 0) {
        specimen_must(io->stat(io, fd, &stat) == 0, "stat");
        bytes = malloc(stat.size + 1);
        specimen_must(bytes && io->read(io, fd, 0, bytes, stat.size, size) == 0, "read");
    }
    io->close(io, fd);
    io->close(io, parent);
    return bytes;
}

void specimen_write(const struct lqi_io *io, const char *dir, const char *name, const uint8_t *bytes, size_t size)
{
    int parent = specimen_dir(io, dir), fd = -1;
    if (!bytes) {
        specimen_must(io->unlink(io, parent, name) == 0, "remove");
    } else {
        if (io->open(io, parent, name, LQI_OPEN_WRITE, 0, &fd)) specimen_must(io->open(io, parent, name, LQI_OPEN_NEW, 0600, &fd) == 0, "create");
        specimen_must(io->truncate(io, fd, size) == 0 && io->write(io, fd, 0, bytes, size) == 0, "write");
    }
    io->close(io, fd);
    io->close(io, parent);
}

/* One byte of a file that is mapped by nobody: the rest need not be written. */
void specimen_write_byte(const struct lqi_io *io, const struct specimen_file *file, uint64_t offset, uint8_t byte)
{
    int parent = specimen_dir(io, file->dir), fd = -1;
    specimen_must(io->open(io, parent, file->name, LQI_OPEN_WRITE, 0, &fd) == 0 && io->write(io, fd, offset, &byte, 1) == 0, "write a byte");
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

static void play(lq_queue *queue, lq_consumer *open[SPECIMEN_CONSUMERS])
{
    for (uint64_t id = 1; id <= 3; id++) put_one(queue, id);
    put_batch(queue, 4, 4, false);
    for (uint64_t id = 8; id <= 10; id++) put_one(queue, id); /* the large one gets a segment of its own */
    put_batch(queue, 11, 4, true);
    for (uint64_t id = 15; id <= SPECIMEN_LAST; id++) put_one(queue, id);
    for (size_t i = 0; i < SPECIMEN_CONSUMERS; i++) {
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
    struct specimen *specimen;
    const char *dir;
};

static int note_file(void *context, const char *name)
{
    const struct listing *listing = context;
    struct specimen *specimen = listing->specimen;
    struct specimen_file file = {.dir = ""};
    snprintf(file.dir, sizeof file.dir, "%s", listing->dir);
    snprintf(file.name, sizeof file.name, "%s", name);
    snprintf(file.shown, sizeof file.shown, "%s%s%s", file.dir, *file.dir ? "/" : "", file.name);
    file.bytes = specimen_read(io_crash_io(specimen->machine), file.dir, file.name, &file.size);
    if (!file.bytes) return 0; /* a directory */
    specimen_must(specimen->file_count < SPECIMEN_FILES, "hold so many files");
    specimen->files[specimen->file_count++] = file;
    return 0;
}

static void note_files(struct specimen *specimen)
{
    static const char *const dirs[] = {"", "log", "consumers"};
    const struct lqi_io *io = io_crash_io(specimen->machine);
    for (size_t i = 0; i < 3; i++) {
        struct listing listing = {specimen, dirs[i]};
        int dir = specimen_dir(io, dirs[i]);
        specimen_must(io->dir_list(io, dir, note_file, &listing) == 0, "list");
        io->close(io, dir);
    }
}

bool specimen_is_segment(const struct specimen_file *file)
{
    uint64_t id;
    return strcmp(file->dir, "log") == 0 && lqi_segment_name_parse(file->name, &id);
}

static void note_records(struct specimen *specimen, size_t index)
{
    const struct specimen_file *file = &specimen->files[index];
    size_t offset = LQI_SEGMENT_HEADER;
    struct lqi_segment_head head;
    struct lqi_record record;

    specimen_must(lqi_segment_head_decode(file->bytes, file->size, file->name, NULL, &head, NULL) == LQ_OK, "read a segment");
    while (offset + LQI_RECORD_HEADER <= file->size &&
           lqi_record_decode(file->bytes + offset, head.position + offset - LQI_SEGMENT_HEADER, head.salt, &record)) {
        size_t end = offset + lqi_record_span(record.size);
        specimen_must(specimen->extent_count < SPECIMEN_RECORDS, "hold so many records");
        specimen->extents[specimen->extent_count++] = (struct specimen_extent){index, offset, end, record.first_id, record.count};
        offset = end;
    }
}

/* Its header's copies, its records, what is behind them: free room, or index and trailer. */
static struct specimen_part part_of_segment(const struct specimen *specimen, size_t index, size_t offset)
{
    const struct specimen_file *file = &specimen->files[index];
    size_t end = LQI_SEGMENT_HEADER, trailer = file->size;
    struct lqi_segment_head head;
    struct lqi_segment_end sealed;

    if (offset < LQI_SEGMENT_HEADER_COPY) return (struct specimen_part){0, LQI_SEGMENT_HEADER_COPY};
    if (offset < LQI_SEGMENT_HEADER) return (struct specimen_part){LQI_SEGMENT_HEADER_COPY, LQI_SEGMENT_HEADER};
    for (size_t i = 0; i < specimen->extent_count; i++) {
        const struct specimen_extent *extent = &specimen->extents[i];
        if (extent->file != index) continue;
        if (offset >= extent->offset && offset < extent->end) return (struct specimen_part){extent->offset, extent->end};
        end = extent->end;
    }
    specimen_must(lqi_segment_head_decode(file->bytes, file->size, file->name, NULL, &head, NULL) == LQ_OK, "read a segment");
    if (lqi_segment_end_decode(file->bytes + file->size - LQI_SEGMENT_TRAILER, file->size, &head, &sealed)) trailer -= LQI_SEGMENT_TRAILER;
    return offset < trailer ? (struct specimen_part){end, trailer} : (struct specimen_part){trailer, file->size};
}

struct specimen_part specimen_part(const struct specimen *specimen, size_t index, size_t offset)
{
    const struct specimen_file *file = &specimen->files[index];
    size_t unit = 512;

    if (specimen_is_segment(file)) return part_of_segment(specimen, index, offset);
    if (strcmp(file->name, LQI_SHARED_NAME) == 0) return (struct specimen_part){0, file->size};
    if (strcmp(file->dir, "consumers") == 0) {
        if (offset >= POSITION_EMPTY_AT && offset < LQI_POSITION_ENTRIES_AT) return (struct specimen_part){POSITION_EMPTY_AT, LQI_POSITION_ENTRIES_AT};
        if (offset >= LQI_POSITION_ENTRIES_AT && offset < LQI_POSITION_BLOCKS_AT) unit = LQI_POSITION_ENTRY;
    }
    return (struct specimen_part){offset / unit * unit, (offset / unit + 1) * unit};
}

void specimen_make(struct specimen *specimen)
{
    struct io_crash *machine = io_crash_new(7);
    lq_consumer *open[SPECIMEN_CONSUMERS];
    lq_queue *queue;
    size_t segments = 0;

    OK(lqi_open_io(io_crash_io(machine), "q", &specimen_options, &queue));
    play(queue, open);
    if (specimen->killed) specimen->machine = io_crash_processes_die(machine);
    for (size_t i = 0; i < SPECIMEN_CONSUMERS; i++) OK(lq_consumer_close(open[i]));
    OK(lq_close(queue));
    if (!specimen->killed) specimen->machine = io_crash_processes_die(machine);
    io_crash_free(machine);
    note_files(specimen);
    for (size_t i = 0; i < specimen->file_count; i++) {
        if (!specimen_is_segment(&specimen->files[i])) continue;
        segments++;
        note_records(specimen, i);
    }
    specimen_must(segments == SPECIMEN_SEGMENTS, "make the segments");
}
