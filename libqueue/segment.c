/* Segments: header, index and trailer, and how they are found and opened. */
#include "segment.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "bytes.h"
#include "checksum.h"
#include "publish.h"
#include "record.h"
#include "stamp.h"

#define NAME_DIGITS 20

static const struct lqi_stamp stamp = {"LQseg\r\n\0", LQI_SEGMENT_VERSION, LQI_SEGMENT_HEADER_COPY};
/* The bytes that segment.h describes, field by field. */
_Static_assert(LQI_SEGMENT_HEADER == 2 * LQI_SEGMENT_HEADER_COPY, "two copies of the header");
_Static_assert(LQI_SEGMENT_HEADER_COPY == LQI_STAMP_HEAD + 5 * 8 + 40 + 8, "header of a segment");
_Static_assert(LQI_SEGMENT_TRAILER == 8 + 4 + 4 + 6 * 8 + 56 + 8, "trailer of a segment");
_Static_assert(LQI_INDEX_ENTRY == 3 * 8 && sizeof(struct lqi_index_entry) == LQI_INDEX_ENTRY, "entry of an index");
_Static_assert(LQI_SEGMENT_HEADER % 8 == 0, "records are aligned in the file as on the line");
_Static_assert(NAME_DIGITS + sizeof ".seg" <= LQI_SEGMENT_NAME_SIZE, "name of a segment");

static const char end_magic[8] = "LQend\r\n";

/* ---- names ------------------------------------------------------------- */

void lqi_segment_name(char name[LQI_SEGMENT_NAME_SIZE], uint64_t first_id)
{
    for (int i = NAME_DIGITS; i-- > 0; first_id /= 10) name[i] = (char)('0' + first_id % 10);
    memcpy(name + NAME_DIGITS, ".seg", sizeof ".seg");
}

bool lqi_segment_name_parse(const char *name, uint64_t *first_id_out)
{
    uint64_t id = 0;

    for (int i = 0; i < NAME_DIGITS; i++) {
        if (name[i] < '0' || name[i] > '9') return false;
        uint64_t digit = (uint64_t)(name[i] - '0');
        if (id > (LQI_ID_END - 1 - digit) / 10) return false;
        id = id * 10 + digit;
    }
    if (id == 0 || strcmp(name + NAME_DIGITS, ".seg") != 0) return false;
    *first_id_out = id;
    return true;
}

bool lqi_segment_is_name(const char *name)
{
    uint64_t id;
    return lqi_segment_name_parse(name, &id) || lqi_is_unfinished(name);
}

/* ---- header ------------------------------------------------------------ */

void lqi_segment_head_encode(uint8_t bytes[LQI_SEGMENT_HEADER], const struct lqi_segment_head *head)
{
    lqi_stamp_begin(bytes, &stamp, head->uuid);
    lqi_put64(bytes + 40, head->first_id);
    lqi_put64(bytes + 48, head->position);
    lqi_put64(bytes + 56, head->salt);
    lqi_put64(bytes + 64, (uint64_t)head->created_us);
    lqi_put64(bytes + 72, head->durable);
    lqi_stamp_end(bytes, &stamp);
}

int lqi_segment_head_decode(const uint8_t *bytes, size_t size, const char *name, const uint8_t uuid[16],
                            struct lqi_segment_head *head_out, int64_t *damaged_copy_out)
{
    struct lqi_segment_head head;
    const uint8_t *copy;
    int64_t damaged;

    int err = lqi_stamp_find(bytes, size, &stamp, uuid, name, &copy, &damaged);
    if (err) return err;

    memcpy(head.uuid, copy + 24, sizeof head.uuid);
    head.first_id = lqi_get64(copy + 40);
    head.position = lqi_get64(copy + 48);
    head.salt = lqi_get64(copy + 56);
    head.created_us = (int64_t)lqi_get64(copy + 64);
    head.durable = lqi_get64(copy + 72);
    if (head.first_id == 0 || head.first_id >= LQI_ID_END)
        return lqi_fail(LQ_ECORRUPT, "%s at byte %td: no id: %" PRIu64, name, copy - bytes + 40, head.first_id);
    if (head.position % 8 != 0 || head.position > LQI_POSITION_END || head.durable > head.position)
        return lqi_fail(LQ_ECORRUPT, "%s at byte %td: positions make no sense: %" PRIu64 ", durable %" PRIu64, name,
                        copy - bytes + 48, head.position, head.durable);

    *head_out = head;
    if (damaged_copy_out) *damaged_copy_out = damaged;
    return LQ_OK;
}

/* ---- index and trailer ------------------------------------------------- */

void lqi_segment_end_encode(uint8_t *bytes, const struct lqi_index_entry *index, struct lqi_segment_end *end)
{
    size_t index_size = (size_t)end->index_count * LQI_INDEX_ENTRY;
    uint8_t *trailer = bytes + index_size;

    for (uint32_t i = 0; i < end->index_count; i++) {
        uint8_t *entry = bytes + (size_t)i * LQI_INDEX_ENTRY;
        lqi_put64(entry, index[i].first_id);
        lqi_put64(entry + 8, (uint64_t)index[i].time_us);
        lqi_put64(entry + 16, index[i].position);
    }
    end->index_check = lqi_checksum(bytes, index_size);

    memset(trailer, 0, LQI_SEGMENT_TRAILER);
    memcpy(trailer, end_magic, sizeof end_magic);
    lqi_put32(trailer + 8, end->index_count);
    lqi_put64(trailer + 16, end->end);
    lqi_put64(trailer + 24, end->next_id);
    lqi_put64(trailer + 32, (uint64_t)end->first_time_us);
    lqi_put64(trailer + 40, (uint64_t)end->last_time_us);
    lqi_put64(trailer + 48, end->salt);
    lqi_put64(trailer + 56, end->index_check);
    lqi_put64(trailer + 120, lqi_checksum(trailer, 120));
}

/* Records, index and trailer fill the file, to the byte. */
static bool end_fits(const struct lqi_segment_end *end, const struct lqi_segment_head *head, uint64_t file_size)
{
    uint64_t index_size = (uint64_t)end->index_count * LQI_INDEX_ENTRY;

    if (file_size < LQI_SEGMENT_HEADER + LQI_SEGMENT_TRAILER) return false;
    uint64_t room = file_size - LQI_SEGMENT_HEADER - LQI_SEGMENT_TRAILER;
    if (index_size > room || end->end < head->position) return false;
    return end->end % 8 == 0 && end->end - head->position == room - index_size;
}

/* A trailer, of whatever segment. */
static bool end_read(const uint8_t bytes[LQI_SEGMENT_TRAILER], struct lqi_segment_end *end_out)
{
    if (memcmp(bytes, end_magic, sizeof end_magic) != 0) return false;
    if (lqi_get64(bytes + 120) != lqi_checksum(bytes, 120)) return false;

    *end_out = (struct lqi_segment_end){
        .index_count = lqi_get32(bytes + 8),
        .end = lqi_get64(bytes + 16),
        .next_id = lqi_get64(bytes + 24),
        .first_time_us = (int64_t)lqi_get64(bytes + 32),
        .last_time_us = (int64_t)lqi_get64(bytes + 40),
        .salt = lqi_get64(bytes + 48),
        .index_check = lqi_get64(bytes + 56),
    };
    return true;
}

bool lqi_segment_end_decode(const uint8_t bytes[LQI_SEGMENT_TRAILER], uint64_t file_size,
                            const struct lqi_segment_head *head, struct lqi_segment_end *end_out)
{
    struct lqi_segment_end end;

    if (!end_read(bytes, &end)) return false;
    if (end.salt != head->salt || end.next_id < head->first_id || end.next_id >= LQI_ID_END) return false;
    if (!end_fits(&end, head, file_size)) return false;
    *end_out = end;
    return true;
}

void lqi_index_entry_decode(const uint8_t bytes[LQI_INDEX_ENTRY], struct lqi_index_entry *entry_out)
{
    entry_out->first_id = lqi_get64(bytes);
    entry_out->time_us = (int64_t)lqi_get64(bytes + 8);
    entry_out->position = lqi_get64(bytes + 16);
}

/* ---- open -------------------------------------------------------------- */

static int read_head(struct lqi_segment *segment, uint64_t first_id, const uint8_t uuid[16])
{
    uint8_t bytes[LQI_SEGMENT_HEADER];
    const char *name = segment->file.name;
    size_t got;

    int err = lqi_file_read(&segment->file, 0, bytes, sizeof bytes, &got);
    if (err) return err;
    err = lqi_segment_head_decode(bytes, got, name, uuid, &segment->head, &segment->damaged_copy);
    if (err) return err;
    if (segment->head.first_id != first_id)
        return lqi_fail(LQ_ECORRUPT, "%s at byte 40: the header is of another segment, %" PRIu64, name,
                        segment->head.first_id);
    return LQ_OK;
}

static int read_end(struct lqi_segment *segment)
{
    uint8_t bytes[LQI_SEGMENT_TRAILER];
    uint64_t size = lqi_min64(sizeof bytes, segment->file_size - LQI_SEGMENT_HEADER);
    size_t got;

    int err = lqi_file_read(&segment->file, segment->file_size - size, bytes, (size_t)size, &got);
    if (err) return err;
    segment->sealed = got == sizeof bytes &&
                      lqi_segment_end_decode(bytes, segment->file_size, &segment->head, &segment->end);
    segment->end_damaged = !segment->sealed && got > 0 && !lqi_all_zero(bytes, got);
    segment->trailer_at = segment->file_size;
    if (got == sizeof bytes && (memcmp(bytes, end_magic, sizeof end_magic) == 0 || lqi_get64(bytes + 48) == segment->head.salt))
        segment->trailer_at -= sizeof bytes;
    return LQ_OK;
}

int lqi_segment_open(struct lqi_segment *segment, const struct lqi_io *io, int log_dir, uint64_t first_id,
                     const uint8_t uuid[16], bool writable)
{
    char shown[LQI_SEGMENT_NAME_SIZE + 4] = "log/", *name = shown + 4;
    int err;

    *segment = (struct lqi_segment){.file = LQI_FILE_NONE, .damaged_copy = -1};
    lqi_segment_name(name, first_id);

    err = log_dir < 0 ? lqi_fail(LQ_ENOTFOUND, "%s is missing, with its directory", shown)
                      : lqi_file_open(&segment->file, io, log_dir, name, shown, writable ? LQI_OPEN_WRITE : LQI_OPEN_READ, 0);
    /* A directory or a link in its place is damage like any other. */
    if (err == LQ_ENOTQUEUE) err = lqi_fail(LQ_ECORRUPT, "%s", lq_error_text());
    if (err) goto done;
    err = read_head(segment, first_id, uuid);
    if (err) goto done;
    /* After the header: a file of another process may still be growing. */
    err = lqi_file_size(&segment->file, &segment->file_size);
    if (err) goto done;
    if (segment->file_size < LQI_SEGMENT_HEADER) {
        err = lqi_fail(LQ_ECORRUPT, "%s at byte %" PRIu64 ": the file was cut while it was opened", shown,
                       segment->file_size);
        goto done;
    }
    err = read_end(segment);
    /* Sparse, it costs nothing to make, and all the time there is to read. Sealed, its records tell where they end: what
     * repair puts in the place of many missing segments may be as long as all of them. */
    if (!err && !segment->sealed && segment->file_size > LQI_SEGMENT_FILE_MAX)
        err = lqi_fail(LQ_ECORRUPT, "%s at byte %" PRIu64 ": the file goes on, no segment is so long", shown, LQI_SEGMENT_FILE_MAX);

done:
    if (err) lqi_segment_close(segment);
    return err;
}

/* What the trailer tells of the header. Records fill the file between the header and the index, so that they begin where
 * the end is, less their bytes. */
static bool head_of_end(const uint8_t bytes[LQI_SEGMENT_TRAILER], uint64_t file_size, uint64_t first_id, const uint8_t uuid[16],
                        struct lqi_segment_head *head)
{
    struct lqi_segment_end end;

    if (!end_read(bytes, &end)) return false;
    uint64_t others = LQI_SEGMENT_HEADER + (uint64_t)end.index_count * LQI_INDEX_ENTRY + LQI_SEGMENT_TRAILER;
    if (others > file_size || file_size - others > end.end) return false;
    *head = (struct lqi_segment_head){.first_id = first_id, .position = end.end - (file_size - others), .salt = end.salt,
                                      .created_us = end.first_time_us};
    head->durable = head->position; /* it was, before this segment was sealed */
    memcpy(head->uuid, uuid, sizeof head->uuid);
    return head->position <= LQI_POSITION_END;
}

/* For a file that opened as damaged. LQ_ECORRUPT: there is nothing to go by. */
static int open_by_end(struct lqi_segment *segment, const struct lqi_io *io, int log_dir, uint64_t first_id, const uint8_t uuid[16])
{
    uint8_t head[LQI_SEGMENT_HEADER], end[LQI_SEGMENT_TRAILER];
    char name[LQI_SEGMENT_NAME_SIZE], shown[LQI_SEGMENT_NAME_SIZE + 4];
    const uint8_t *copy;
    size_t got = 0, end_got = 0;

    *segment = (struct lqi_segment){.file = LQI_FILE_NONE, .damaged_copy = 0, .head_lost = true, .sealed = true};
    lqi_segment_name(name, first_id);
    snprintf(shown, sizeof shown, "log/%s", name);
    int err = lqi_file_open(&segment->file, io, log_dir, name, shown, LQI_OPEN_READ, 0);
    if (err == LQ_ENOTQUEUE) return LQ_ECORRUPT;
    if (!err) err = lqi_file_size(&segment->file, &segment->file_size);
    if (!err) err = lqi_file_read(&segment->file, 0, head, sizeof head, &got);
    /* With any uuid: a header that verifies knows better, whatever it says. */
    if (!err) segment->head_lost = lqi_stamp_find(head, got, &stamp, NULL, shown, &copy, NULL) == LQ_ECORRUPT;
    if (!err && (!segment->head_lost || segment->file_size < sizeof head + sizeof end)) err = LQ_ECORRUPT;
    if (!err) err = lqi_file_read(&segment->file, segment->file_size - sizeof end, end, sizeof end, &end_got);
    if (!err && (end_got < sizeof end || !head_of_end(end, segment->file_size, first_id, uuid, &segment->head) ||
                 !lqi_segment_end_decode(end, segment->file_size, &segment->head, &segment->end)))
        err = LQ_ECORRUPT;
    if (err) lqi_segment_close(segment);
    return err;
}

int lqi_segment_open_any(struct lqi_segment *segment, const struct lqi_io *io, int log_dir, uint64_t first_id,
                         const uint8_t uuid[16])
{
    char text[LQI_TEXT_MAX];

    int err = lqi_segment_open(segment, io, log_dir, first_id, uuid, false);
    if (err != LQ_ECORRUPT) return err;
    snprintf(text, sizeof text, "%s", lq_error_text());
    err = open_by_end(segment, io, log_dir, first_id, uuid);
    return err == LQ_ECORRUPT ? lqi_fail(err, "%s", text) : err;
}

void lqi_segment_close(struct lqi_segment *segment)
{
    lqi_file_close(&segment->file);
}

/* ---- finding ----------------------------------------------------------- */

/* The whole index, verified, for it has one checksum; *bytes_out is malloced. NULL when
 * there is none or it does not verify. Its size has been compared with the file's. */
static int read_index(const struct lqi_segment *segment, uint8_t **bytes_out, bool *damaged_out)
{
    const struct lqi_segment_end *end = &segment->end;
    size_t size = segment->sealed ? (size_t)end->index_count * LQI_INDEX_ENTRY : 0, got;
    uint8_t *bytes = NULL;
    int err;

    *bytes_out = NULL;
    if (size == 0) return LQ_OK;
    bytes = malloc(size);
    if (!bytes) return lqi_fail(LQ_ENOMEM, "%s: no memory for an index of %zu bytes", segment->file.name, size);
    err = lqi_file_read(&segment->file, lqi_segment_offset(&segment->head, end->end), bytes, size, &got);
    if (err) goto done;
    if (got != size || lqi_checksum(bytes, size) != end->index_check) {
        *damaged_out = true;
        goto done;
    }
    *bytes_out = bytes;
    bytes = NULL;

done:
    free(bytes);
    return err;
}

struct wanted {
    bool by_time;
    uint64_t id;
    int64_t time_us;
};

/* Is a scan for what is wanted safe to start at the entry? Not at one of the very time
 * that is wanted: records before it, back to the entry before, may be of that time too. */
static bool starts_before(const struct lqi_index_entry *entry, const struct wanted *wanted)
{
    return wanted->by_time ? entry->time_us < wanted->time_us : entry->first_id <= wanted->id;
}

/* Does the record that the entry speaks of begin there? An index is a hint; taken for more, one that lies would have
 * good messages called lost. */
static int is_record(const struct lqi_segment *segment, const struct lqi_index_entry *entry, bool *is_out)
{
    uint8_t bytes[LQI_RECORD_HEADER];
    struct lqi_record record;
    size_t got;

    int err = lqi_file_read(&segment->file, lqi_segment_offset(&segment->head, entry->position), bytes, sizeof bytes, &got);
    if (err) return err;
    *is_out = got == sizeof bytes && lqi_record_decode(bytes, entry->position, segment->head.salt, &record) &&
              record.first_id == entry->first_id && record.time_us == entry->time_us;
    return LQ_OK;
}

static int find(const struct lqi_segment *segment, const struct wanted *wanted, struct lqi_index_entry *entry_out,
                bool *damaged_out)
{
    const struct lqi_segment_head *head = &segment->head;
    const struct lqi_index_entry start = {head->first_id, head->created_us, head->position};
    struct lqi_index_entry best = start, entry;
    uint32_t low = 0, high = segment->sealed ? segment->end.index_count : 0;
    bool damaged = false, confirmed = true;
    uint8_t *index;

    int err = read_index(segment, &index, &damaged);
    if (err) return err;
    while (index && low < high) {
        uint32_t middle = low + (high - low) / 2;
        lqi_index_entry_decode(index + (size_t)middle * LQI_INDEX_ENTRY, &entry);
        if (entry.position % 8 != 0 || entry.position < head->position || entry.position >= segment->end.end ||
            entry.first_id < head->first_id) {
            /* It verifies and yet points out of the segment: somebody made it so. */
            damaged = true;
            best = start;
            break;
        }
        if (starts_before(&entry, wanted)) {
            best = entry;
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    free(index);
    if (best.position != head->position) {
        err = is_record(segment, &best, &confirmed);
        if (err) return err;
    }
    *entry_out = confirmed ? best : start;
    if (damaged_out) *damaged_out = damaged;
    return LQ_OK;
}

int lqi_segment_find_id(const struct lqi_segment *segment, uint64_t id, struct lqi_index_entry *entry_out,
                        bool *damaged_out)
{
    return find(segment, &(struct wanted){.id = id}, entry_out, damaged_out);
}

int lqi_segment_find_time(const struct lqi_segment *segment, int64_t time_us, struct lqi_index_entry *entry_out,
                          bool *damaged_out)
{
    return find(segment, &(struct wanted){.by_time = true, .time_us = time_us}, entry_out, damaged_out);
}

/* ---- list -------------------------------------------------------------- */

struct listing {
    uint64_t *ids;
    size_t count, room, foreign;
    bool no_memory;
};

static int list_one(void *context, const char *name)
{
    struct listing *listing = context;
    uint64_t id;

    if (!lqi_segment_name_parse(name, &id)) {
        if (!lqi_is_unfinished(name)) listing->foreign++;
        return 0;
    }
    if (listing->count == listing->room) {
        size_t room = listing->room ? listing->room * 2 : 64;
        uint64_t *ids = realloc(listing->ids, room * sizeof *ids);
        listing->no_memory = !ids;
        if (!ids) return 1;
        listing->ids = ids;
        listing->room = room;
    }
    listing->ids[listing->count++] = id;
    return 0;
}

static int by_id(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

int lqi_segment_list(const struct lqi_io *io, int log_dir, uint64_t **ids_out, size_t *count_out, size_t *foreign_out)
{
    struct listing listing = {0};

    int error = log_dir < 0 ? 0 : io->dir_list(io, log_dir, list_one, &listing);
    if (error || listing.no_memory) {
        free(listing.ids);
        return listing.no_memory ? lqi_fail(LQ_ENOMEM, "log: no memory to list %zu segments", listing.count)
                                 : lqi_fail_errno(error, "list", "log", -1);
    }
    if (listing.count > 1) qsort(listing.ids, listing.count, sizeof *listing.ids, by_id);
    *ids_out = listing.ids;
    *count_out = listing.count;
    if (foreign_out) *foreign_out = listing.foreign;
    return LQ_OK;
}
