/* The log, looked over segment by segment, and what has to come in the place of what. */
#include "mend.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "aside.h"
#include "bytes.h"
#include "scan.h"

#define HOLE_SPAN_MAX ((uint64_t)1 << 30) /* of one record */
/* Of which there may be no file and which holes fill, in the whole log: 256 segments of the largest size. Each record of a hole
 * takes a block of the disk, thus all of them a few MiB. */
#define MISSING_MAX (256 * LQI_SEGMENT_FILE_MAX)
#define NOWHERE UINT64_MAX

/* A file in log/ that has a segment's name. */
struct piece {
    uint64_t id;
    bool readable, sealed, index_damaged, damaged_copy, head_lost, replaced;
    struct lqi_segment_head head;
    struct lqi_segment_end end;
    uint64_t file_size;
    char text[200]; /* why it cannot be read */
};

struct plan {
    const struct lqi_log *log;
    const struct lqi_found *found;
    lqi_mend_each *each;
    void *context;
    struct piece *pieces;
    size_t count;
    uint64_t position, id; /* up to here the line is, or will be, whole */
    struct lqi_mending mending;
};

/* ---- looking at the files ------------------------------------------------ */

static int look_at(const struct lqi_log *log, uint64_t id, struct piece *piece)
{
    struct lqi_index_entry entry;
    struct lqi_segment segment;

    *piece = (struct piece){.id = id};
    int err = lqi_segment_open_any(&segment, log->io, log->log_dir, id, log->uuid);
    if (err == LQ_ECORRUPT) {
        char name[LQI_SEGMENT_NAME_SIZE];
        snprintf(piece->text, sizeof piece->text, "%s", lq_error_text());
        lqi_segment_name(name, id);
        return lqi_aside_check(log->io, log->log_dir, name, segment.file.name);
    }
    if (err) return err;
    piece->readable = true;
    piece->sealed = segment.sealed;
    piece->head = segment.head;
    piece->end = segment.end;
    piece->file_size = segment.file_size;
    piece->damaged_copy = segment.damaged_copy >= 0;
    piece->head_lost = segment.head_lost;
    if (segment.sealed) err = lqi_segment_find_id(&segment, id, &entry, &piece->index_damaged);
    lqi_segment_close(&segment);
    return err;
}

static int look_at_all(struct plan *plan, const uint64_t *ids, size_t count)
{
    plan->pieces = calloc(count ? count : 1, sizeof *plan->pieces);
    if (!plan->pieces) return lqi_fail(LQ_ENOMEM, "no memory to look at %zu segments", count);
    plan->count = count;
    for (size_t i = 0; i < count; i++) {
        struct piece *piece = &plan->pieces[i];
        int err = look_at(plan->log, ids[i], piece);
        if (err) return err;
        /* A trailer tells no time when there was no message: it was not made before the one before it. */
        if (piece->head_lost && !piece->head.created_us && i) piece->head.created_us = plan->pieces[i - 1].head.created_us;
    }
    return LQ_OK;
}

/* The next that can be read; NULL behind the last. */
static const struct piece *readable_after(const struct plan *plan, size_t index)
{
    while (++index < plan->count)
        if (plan->pieces[index].readable) return &plan->pieces[index];
    return NULL;
}

/* ---- planning one file --------------------------------------------------- */

static int tell(struct plan *plan)
{
    char path[LQI_SEGMENT_NAME_SIZE + 4];
    snprintf(path, sizeof path, "log/%s", plan->mending.name);
    return plan->each(plan->context, path, plan->mending.text, &plan->mending);
}

static void begin(struct plan *plan, const struct lqi_segment_head *head, bool there)
{
    struct lqi_patch *patches = plan->mending.patches;

    plan->mending = (struct lqi_mending){.head = *head, .there = there, .patches = patches};
    lqi_segment_name(plan->mending.name, head->first_id);
}

static int add_patch(struct lqi_mending *mending, struct lqi_patch patch)
{
    if ((mending->patch_count & (mending->patch_count - 1)) == 0) {
        size_t room = mending->patch_count ? 2 * mending->patch_count : 1;
        struct lqi_patch *patches = realloc(mending->patches, room * sizeof *patches);
        if (!patches) return lqi_fail(LQ_ENOMEM, "no memory for the damaged places of %s", mending->name);
        mending->patches = patches;
    }
    mending->patches[mending->patch_count++] = patch;
    if (patch.next_id > patch.first_id) {
        if (!mending->lost) mending->first_lost = patch.first_id;
        mending->lost += patch.next_id - patch.first_id;
    }
    return LQ_OK;
}

/* A bad place in the segment that is walked, open until a good record ends it. */
struct bad {
    uint64_t from;           /* NOWHERE: none */
    uint64_t first_id, next_id;
};

static int close_bad(struct lqi_mending *mending, struct bad *bad, uint64_t to)
{
    struct lqi_patch patch = {bad->from, to, bad->first_id, lqi_max64(bad->first_id, bad->next_id),
                              mending->last_time_us ? mending->last_time_us : mending->head.created_us};
    if (to - bad->from < LQI_RECORD_HEADER)
        return lqi_fail(LQ_ECORRUPT, "log/%s at byte %" PRIu64 ": no room for a hole, this cannot be mended", mending->name,
                        lqi_segment_offset(&mending->head, bad->from));
    bad->from = NOWHERE;
    return add_patch(mending, patch);
}

static void keep(struct lqi_mending *mending, const struct lqi_record *record, uint64_t stride)
{
    struct lqi_index_entry *index = mending->index;
    uint32_t count = mending->index_count;

    if (record->kind != LQI_RECORD_MESSAGES) return;
    if (!mending->first_time_us) mending->first_time_us = record->time_us;
    mending->last_time_us = record->time_us;
    if (count < LQI_INDEX_MAX && (!count || record->position - index[count - 1].position >= stride))
        index[mending->index_count++] = (struct lqi_index_entry){record->first_id, record->time_us, record->position};
}

/* A record that verifies, behind a bad place or not. */
static int take_record(struct plan *plan, const struct lqi_scan *scan, struct bad *bad)
{
    struct lqi_mending *mending = &plan->mending;
    const struct lqi_record *record = &scan->record;
    uint64_t payload_end = record->position + LQI_RECORD_HEADER + record->size;
    int err = LQ_OK;

    if (bad->from != NOWHERE) {
        /* Nothing that broke by itself leaves so little room between records. Somebody made it so: this one goes, too. */
        if (record->position - bad->from < LQI_RECORD_HEADER) {
            bad->next_id = lqi_max64(bad->next_id, lqi_record_next_id(record));
            return LQ_OK;
        }
        err = close_bad(mending, bad, record->position);
    }
    keep(mending, record, lqi_index_stride(&plan->log->options));
    if (!err && scan->padding_damaged && record->kind == LQI_RECORD_MESSAGES)
        err = add_patch(mending, (struct lqi_patch){.position = payload_end, .to = scan->position});
    return err;
}

static void note_bad(struct plan *plan, const struct lqi_scan *scan, struct bad *bad, uint64_t id)
{
    if (!plan->mending.text[0])
        snprintf(plan->mending.text, sizeof plan->mending.text, "byte %" PRIu64 ": %.160s", scan->hole.offset, scan->hole.text);
    if (bad->from == NOWHERE) *bad = (struct bad){scan->hole.position, id, 0};
    bad->next_id = scan->next_id;
}

/* Finds what is bad in the segment up to `limit`; the ids before `end_id` were in it, and none from `id_max` on. */
static int walk(struct plan *plan, const struct piece *piece, uint64_t limit, uint64_t end_id, uint64_t id_max)
{
    uint64_t in_file = piece->head.position + ((piece->file_size - LQI_SEGMENT_HEADER) & ~(uint64_t)7);
    uint64_t walk_limit = lqi_min64(limit, in_file), id = piece->head.first_id;
    struct bad bad = {.from = NOWHERE};
    struct lqi_scan scan;
    int err = LQ_OK;

    lqi_scan_init(&scan, plan->log, LQI_SCAN_BLOCK);
    scan.with_marks = true;
    lqi_scan_start(&scan, piece->head.position, id);
    while (!err) {
        err = lqi_scan_next(&scan, walk_limit);
        if (err == LQI_HOLE && !scan.hole.repaired) {
            note_bad(plan, &scan, &bad, id);
            err = LQ_OK;
        } else if (!err || err == LQI_HOLE) {
            err = take_record(plan, &scan, &bad);
        }
        if (bad.from == NOWHERE) id = scan.next_id;
    }
    uint64_t position = scan.position;
    lqi_scan_release(&scan);
    if (err != LQ_EMPTY) return err;
    if (bad.from == NOWHERE && position < limit) {
        bad = (struct bad){position, id, id};
        if (!plan->mending.text[0]) snprintf(plan->mending.text, sizeof plan->mending.text, "its end is missing");
    }
    if (bad.from != NOWHERE) {
        bad.next_id = lqi_max64(bad.next_id, end_id);
        return close_bad(&plan->mending, &bad, limit);
    }
    plan->mending.next_id = lqi_max64(end_id, lqi_min64(id, id_max)); /* records know better than a trailer */
    return LQ_OK;
}

/* Where the segment's records end, or have ended, and the next id then. */
static void end_of(const struct plan *plan, const struct piece *piece, const struct piece *next, uint64_t *limit, uint64_t *end_id)
{
    const struct lqi_found *found = plan->found;

    if (piece->sealed && (next || !found->torn_bytes)) {
        *limit = piece->end.end;
        *end_id = next ? lqi_min64(piece->end.next_id, next->id) : piece->end.next_id; /* a trailer proves no id of another's */
    } else {
        *limit = next ? next->head.position : found->end;
        *end_id = next ? next->id : found->next_id;
    }
}

static int mend_segment(struct plan *plan, const struct piece *piece, const struct piece *next)
{
    struct lqi_mending *mending = &plan->mending;
    bool torn = !next && plan->found->torn_bytes;

    begin(plan, &piece->head, true);
    mending->readable = true;
    end_of(plan, piece, next, &mending->end, &mending->next_id);
    mending->sealed = next || (piece->sealed && !torn);
    if (torn) snprintf(mending->text, sizeof mending->text, "a torn tail of %" PRIu64 " bytes, never promised to anybody", plan->found->torn_bytes);
    int err = walk(plan, piece, mending->end, mending->next_id, next ? next->id : mending->next_id);
    if (err) return err;
    plan->position = mending->end;
    plan->id = mending->next_id;
    bool whole = !mending->patch_count && !piece->damaged_copy && !piece->index_damaged && !torn && (piece->sealed || !next);
    if (whole) return LQ_OK;
    if (!mending->text[0])
        snprintf(mending->text, sizeof mending->text, "%s", piece->head_lost ? "neither copy of the header verifies, but the trailer does"
                 : piece->damaged_copy ? "one of the two copies of the header does not verify"
                 : piece->index_damaged ? "the index does not verify"
                 : mending->sealed && !piece->sealed ? "the trailer is missing or does not verify" : "the bytes behind a record are not zero");
    return tell(plan);
}

/* ---- what is missing ----------------------------------------------------- */

static struct piece *piece_of(const struct plan *plan, uint64_t id)
{
    for (size_t i = 0; i < plan->count; i++)
        if (plan->pieces[i].id == id) return &plan->pieces[i];
    return NULL;
}

/* A segment that is nothing but a hole from where the line is whole up to `to`, behind which `next_id` comes. The last
 * one is left open, and the log goes on in it. */
static int fill_gap(struct plan *plan, uint64_t to, uint64_t next_id, int64_t created_us, bool last)
{
    struct lqi_segment_head head = {.first_id = plan->id, .position = plan->position, .durable = plan->position, .created_us = created_us};
    struct piece *there = piece_of(plan, plan->id);
    struct lqi_mending *mending = &plan->mending;
    struct bad bad = {plan->position, plan->id, next_id};

    /* No file may be so long, and between segments the line may jump: the ids are what counts. */
    if (to > plan->position && to - plan->position > HOLE_SPAN_MAX) bad.from = head.position = head.durable = to - LQI_RECORD_HEADER;
    int error = plan->log->io->random(plan->log->io, &head.salt, sizeof head.salt);
    if (error) return lqi_fail_errno(error, "random number for", "a segment", -1);
    memcpy(head.uuid, plan->log->uuid, sizeof head.uuid);
    begin(plan, &head, there != NULL);
    mending->sealed = !last;
    mending->end = last ? lqi_max64(to, plan->position + LQI_RECORD_HEADER) : to;
    mending->next_id = next_id;
    if (there) snprintf(mending->text, sizeof mending->text, "%s", there->text);
    else snprintf(mending->text, sizeof mending->text, "this segment is missing");
    int err = close_bad(mending, &bad, mending->end);
    if (err) return err;
    if (there) there->replaced = true;
    return tell(plan);
}

/* Segments that the trim slot has given up are swept away by the next opener. */
static size_t first_kept(const struct plan *plan, const struct lqi_trim *trim)
{
    size_t first = 0;
    while (first + 1 < plan->count && plan->pieces[first + 1].id <= trim->first_id) first++;
    return first;
}

static void start_at(struct plan *plan, size_t first)
{
    const struct piece *oldest = readable_after(plan, first - 1); /* `first` itself, if it can be read */

    plan->position = plan->found->first_position;
    plan->id = plan->found->first_id;
    if (oldest && oldest->id <= plan->id) plan->position = oldest->head.position;
}

/* By their ids they do: those are in the names, and a segment is not believed to reach into the next one's. */
static int check_fits(uint64_t position, const struct piece *piece, uint64_t end)
{
    if (end < piece->head.position)
        return lqi_fail(LQ_ECORRUPT, "log/%020" PRIu64 ".seg begins behind the segment that follows it: this cannot be mended", piece->id);
    if (piece->head.position >= position) return LQ_OK;
    return lqi_fail(LQ_ECORRUPT, "log/%020" PRIu64 ".seg does not fit behind the segment before it: it is not known which of them is wrong",
                    piece->id);
}

static bool ends_before_found(const struct plan *plan, uint64_t position, uint64_t id)
{
    return plan->found->given_up && (plan->found->end > position || plan->found->next_id > id);
}

static int add_missing(uint64_t *missing, uint64_t from, uint64_t to, const char *where, const char *file)
{
    uint64_t span = to > from ? to - from : 0;
    if (span <= MISSING_MAX - *missing) {
        *missing += span;
        return LQ_OK;
    }
    return lqi_fail(LQ_ECORRUPT, "%s: %" PRIu64 " bytes of the log are missing %s it, as no damage makes it: a position in it, in meta or in an"
                    " offset file is wrong", file, span, where);
}

/* All numbers verify, and somebody may have made them up. Before the first file is touched: do the segments fit behind each
 * other, as mend_pieces() will put them, and is what lies between them no more than can have been lost? */
static int check_numbers(const struct plan *plan, size_t first)
{
    uint64_t position = plan->position, id = plan->id, end, end_id, missing = 0;
    char file[LQI_SEGMENT_NAME_SIZE + 4] = "log";

    for (size_t i = first; i < plan->count; i++) {
        const struct piece *piece = &plan->pieces[i];
        if (!piece->readable) continue;
        snprintf(file, sizeof file, "log/%020" PRIu64 ".seg", piece->id);
        end_of(plan, piece, readable_after(plan, i), &end, &end_id);
        int err = check_fits(position, piece, end);
        if (!err && piece->id > id) err = add_missing(&missing, position, piece->head.position, "before", file);
        if (!err && end - piece->head.position > LQI_SEGMENT_FILE_MAX - LQI_SEGMENT_HEADER) missing = MISSING_MAX; /* no file may be so long */
        if (!err) err = add_missing(&missing, piece->head.position + piece->file_size, end, "behind", file);
        if (err) return err;
        position = end;
        id = end_id;
    }
    return add_missing(&missing, position, plan->found->end, "behind", file);
}

static int mend_pieces(struct plan *plan, size_t first)
{
    int err = check_numbers(plan, first);

    for (size_t i = first; i < plan->count && !err; i++) {
        const struct piece *piece = &plan->pieces[i];
        if (!piece->readable) continue;
        if (piece->id > plan->id) err = fill_gap(plan, piece->head.position, piece->id, piece->head.created_us, false);
        if (!err) err = mend_segment(plan, piece, readable_after(plan, i));
    }
    if (err || !ends_before_found(plan, plan->position, plan->id)) return err;
    return fill_gap(plan, plan->found->end, lqi_max64(plan->found->next_id, plan->id), plan->found->time_us, true);
}

/* ---- the whole log ------------------------------------------------------- */

static int take_unreadable(const struct plan *plan, size_t first)
{
    char path[LQI_SEGMENT_NAME_SIZE + 4], name[LQI_SEGMENT_NAME_SIZE];

    for (size_t i = first; i < plan->count; i++) {
        const struct piece *piece = &plan->pieces[i];
        if (piece->readable || piece->replaced) continue;
        lqi_segment_name(name, piece->id);
        snprintf(path, sizeof path, "log/%s", name);
        int err = plan->each(plan->context, path, piece->text, NULL);
        if (err) return err;
    }
    return LQ_OK;
}

int lqi_mend_log(const struct lqi_log *log, const struct lqi_trim *trim, const struct lqi_found *found,
                 lqi_mend_each *each, void *context)
{
    struct plan *plan = calloc(1, sizeof *plan);
    uint64_t *ids = NULL;
    size_t count = 0;

    if (!plan) return lqi_fail(LQ_ENOMEM, "no memory to plan a repair");
    *plan = (struct plan){.log = log, .found = found, .each = each, .context = context};
    int err = lqi_segment_list(log->io, log->log_dir, &ids, &count, NULL);
    if (!err) err = look_at_all(plan, ids, count);
    free(ids);
    if (!err) {
        size_t first = first_kept(plan, trim);
        start_at(plan, first);
        err = mend_pieces(plan, first);
        if (!err) err = take_unreadable(plan, first);
    }
    free(plan->mending.patches);
    free(plan->pieces);
    free(plan);
    return err;
}

/* ---- writing ------------------------------------------------------------- */

static int copy_bytes(const struct lqi_segment *from, const struct lqi_file *to, uint64_t offset, uint64_t end)
{
    enum { CHUNK = 128 << 10 };
    uint8_t *bytes = malloc(CHUNK);
    int err = bytes ? LQ_OK : lqi_fail(LQ_ENOMEM, "no memory to copy %s", from->file.name);
    size_t got = 0;

    for (; offset < end && !err; offset += got) {
        err = lqi_file_read(&from->file, offset, bytes, (size_t)lqi_min64(CHUNK, end - offset), &got);
        if (!err && !got) break; /* a hole that repair made reaches over a cut end: zeroes, as they are there already */
        if (!err) err = lqi_file_write(to, offset, bytes, got);
    }
    free(bytes);
    return err;
}

/* The first record carries the ids; a long hole goes on in others, which say that nothing more is lost. */
static int write_hole(const struct lqi_file *file, const struct lqi_mending *mending, const struct lqi_patch *patch)
{
    uint8_t bytes[LQI_RECORD_HEADER];
    uint64_t first_id = patch->first_id;
    int err = LQ_OK;

    for (uint64_t at = patch->position; at < patch->to && !err;) {
        uint64_t span = lqi_min64(patch->to - at, HOLE_SPAN_MAX);
        if (patch->to - at > span && patch->to - at - span < LQI_RECORD_HEADER) span -= LQI_RECORD_HEADER;
        struct lqi_record record = {.position = at, .durable = at, .first_id = first_id, .payload_check = patch->next_id,
                                    .time_us = patch->time_us, .size = (uint32_t)(span - LQI_RECORD_HEADER), .kind = LQI_RECORD_HOLE};
        lqi_record_encode(bytes, &record, mending->head.salt);
        err = lqi_file_write(file, lqi_segment_offset(&mending->head, at), bytes, sizeof bytes);
        first_id = patch->next_id;
        at += span;
    }
    return err;
}

static int write_end(const struct lqi_file *file, const struct lqi_mending *mending)
{
    struct lqi_segment_end end = {
        .end = mending->end, .next_id = mending->next_id, .salt = mending->head.salt, .first_time_us = mending->first_time_us,
        .last_time_us = mending->last_time_us, .index_count = mending->index_count,
    };
    uint64_t offset = lqi_segment_offset(&mending->head, mending->end);
    size_t size = (size_t)end.index_count * LQI_INDEX_ENTRY + LQI_SEGMENT_TRAILER;

    if (!mending->sealed) return lqi_file_truncate(file, offset);
    uint8_t *bytes = malloc(size);
    if (!bytes) return lqi_fail(LQ_ENOMEM, "no memory for the index of %s", mending->name);
    lqi_segment_end_encode(bytes, mending->index, &end);
    int err = lqi_file_write(file, offset, bytes, size);
    free(bytes);
    return err;
}

static int write_all(const struct lqi_log *log, const struct lqi_file *file, const struct lqi_mending *mending)
{
    uint8_t bytes[LQI_SEGMENT_HEADER];
    struct lqi_segment from = {.file = LQI_FILE_NONE};
    uint64_t at = mending->head.position;
    int err = LQ_OK;

    lqi_segment_head_encode(bytes, &mending->head);
    if (mending->readable) err = lqi_segment_open_any(&from, log->io, log->log_dir, mending->head.first_id, log->uuid);
    if (!err) err = lqi_file_write(file, 0, bytes, sizeof bytes);
    for (size_t i = 0; i <= mending->patch_count && !err; i++) {
        const struct lqi_patch *patch = i < mending->patch_count ? &mending->patches[i] : NULL;
        uint64_t to = patch ? patch->position : mending->end;
        if (mending->readable)
            err = copy_bytes(&from, file, lqi_segment_offset(&mending->head, at), lqi_segment_offset(&mending->head, to));
        if (!err && patch && patch->next_id) err = write_hole(file, mending, patch); /* what is not written is zero */
        if (patch) at = patch->to;
    }
    lqi_segment_close(&from);
    return err ? err : write_end(file, mending);
}

int lqi_mend_write(const struct lqi_log *log, int dir, const struct lqi_mending *mending)
{
    struct lqi_file file = LQI_FILE_NONE;
    char shown[LQI_SEGMENT_NAME_SIZE + 16];

    snprintf(shown, sizeof shown, "aside/new/%s", mending->name);
    int err = lqi_file_open(&file, log->io, dir, mending->name, shown, LQI_OPEN_NEW, log->options.mode);
    if (!err) err = write_all(log, &file, mending);
    if (!err) err = lqi_file_sync(&file);
    lqi_file_close(&file);
    return err;
}
