/* What to believe after a crash.
 *
 * Only the last segment can be in doubt, sealed or not: the others were sealed and synced before it got its
 * first byte. Its records are read from the start. At a place where none verifies
 * there are two explanations, and judge_corrupt() decides between them:
 *
 *   torn tail   The power failed while these bytes were on their way. Nobody was
 *               promised them. The log ends before them, whatever verifies behind (a later write
 *               may have reached the disk while an earlier one did not). They are cut, and counted.
 *   corruption  They were durable once, and have been damaged since. They stay as they are, so
 *               that undoing the damage brings them back; readers report the hole; the log goes on behind.
 *
 * The difference is a witness that the log was synced beyond the place: the durable mark of
 * any later record that verifies, or what the trim slots of `meta`, an offset file or the
 * working memory of this boot say (struct lqi_promise). Zeroes up to the end of the file, with no such witness, are
 * simply the end.
 *
 * Where damage sits at the very end and its length cannot be known, nothing is appended to that file any
 * more: the log goes on in a new segment, behind all bytes and ids that may have been there. */
#include "recover_parts.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "bytes.h"
#include "publish.h"
#include "scan.h"

/* ---- the last segment --------------------------------------------------- */

/* Where the log would end if the place in doubt is a torn tail. */
struct candidate {
    bool any;
    uint64_t position, next_id, indexed, mark, damage;
    int64_t time_us, first_time_us;
    uint32_t index_count;
};

static void add_to_index(struct lqi_found *found, const struct lqi_record *record, uint64_t stride)
{
    if (found->index_count == LQI_INDEX_MAX) return;
    if (found->index_count && record->position - found->indexed < stride) return;
    found->index[found->index_count++] = (struct lqi_index_entry){record->first_id, record->time_us, record->position};
    found->indexed = record->position;
}

static void note_doubt(struct candidate *doubt, const struct lqi_found *found, uint64_t position)
{
    if (doubt->any) return;
    *doubt = (struct candidate){true, position, found->next_id, found->indexed, found->mark, found->damage,
                                found->time_us, found->first_time_us, found->index_count};
}

/* The one function that tells a torn tail from corruption: a place is promised if the log is known to have been
 * durable beyond it. */
static bool judge_corrupt(uint64_t position, uint64_t durable)
{
    return durable > position;
}

static void go_back_to(struct lqi_found *found, const struct candidate *doubt)
{
    found->end = doubt->position;
    found->next_id = doubt->next_id;
    found->indexed = doubt->indexed;
    found->mark = doubt->mark;
    found->damage = doubt->damage;
    found->time_us = doubt->time_us;
    found->first_time_us = doubt->first_time_us;
    found->index_count = doubt->index_count;
}

/* The scan stands behind a record that verifies. */
static void account(struct lqi_found *found, const struct lqi_scan *scan, uint64_t stride)
{
    const struct lqi_record *record = &scan->record;

    found->end = scan->position;
    found->mark = record->kind == LQI_RECORD_MARK ? found->end : 0;
    found->next_id = scan->next_id;
    found->time_us = lqi_max64(found->time_us, record->time_us);
    if (record->kind != LQI_RECORD_MESSAGES) return;
    if (!found->first_time_us) found->first_time_us = record->time_us;
    add_to_index(found, record, stride);
}

/* Walks all records of the segment, marks included, keeping the account. */
static int walk(struct lqi_scan *scan, struct lqi_found *found, uint64_t limit, uint64_t stride, uint64_t *durable,
                struct candidate *doubt)
{
    for (;;) {
        int err = lqi_scan_next(scan, limit);
        if (err == LQI_HOLE && !scan->hole.repaired) {
            note_doubt(doubt, found, scan->hole.position);
            found->damage++;
            if (scan->position >= limit) return LQ_OK;
            found->next_id = lqi_max64(found->next_id, scan->next_id);
            continue;
        }
        if (err && err != LQI_HOLE) return err == LQ_EMPTY ? LQ_OK : err;
        *durable = lqi_max64(*durable, scan->record.durable);
        if (doubt->any && judge_corrupt(doubt->position, *durable)) doubt->any = false;
        account(found, scan, stride);
    }
}

int lqi_recover_nonzero(const struct lqi_file *file, uint64_t offset, uint64_t size, uint64_t *count_out)
{
    uint8_t bytes[16384];
    size_t got;

    *count_out = 0;
    while (offset < size) {
        size_t chunk = lqi_min64(size - offset, sizeof bytes);
        int err = lqi_file_read(file, size - chunk, bytes, chunk, &got);
        if (err) return err;
        if (got > 0 && bytes[0] == 0 && memcmp(bytes, bytes + 1, got - 1) == 0) got = 0; /* fast: mostly zeroes */
        while (got > 0 && bytes[got - 1] == 0) got--;
        size -= chunk;
        if (got > 0) {
            *count_out = size + got - offset;
            break;
        }
    }
    return LQ_OK;
}

/* Damage at the end: go on in a new segment, past all that may have been here. */
static void give_up_end(struct lqi_found *found, uint64_t behind_file, const struct lqi_promise *promise)
{
    found->usable = false;
    found->given_up = true;
    found->good_end = found->end;
    found->good_id = found->next_id;
    found->end = lqi_round_up(lqi_max64(behind_file, lqi_max64(promise->position, found->end)), 8);
    found->next_id = lqi_max64(found->next_id, promise->next_id);
    found->mark = found->end;
    if (!found->damage) found->damage = 1;
}

static int find_end_in(const struct lqi_log *log, const struct lqi_segment *segment, const struct lqi_promise *promise,
                       struct lqi_found *found)
{
    uint64_t limit = segment->sealed ? segment->end.end
                                     : segment->head.position + ((segment->file_size - LQI_SEGMENT_HEADER) & ~(uint64_t)7);
    uint64_t durable = lqi_max64(promise->position, segment->head.durable);
    struct candidate doubt = {0};
    struct lqi_scan scan;

    lqi_scan_init(&scan, log, LQI_SCAN_BLOCK);
    scan.to_the_end = true;
    scan.with_marks = true;
    lqi_scan_start(&scan, segment->head.position, segment->head.first_id);
    found->end = segment->head.position;
    int err = walk(&scan, found, limit, lqi_index_stride(&log->options), &durable, &doubt);
    lqi_scan_release(&scan);
    if (err) return err;

    found->usable = true;
    if (doubt.any && !judge_corrupt(doubt.position, durable)) {
        go_back_to(found, &doubt);
        doubt.any = false;
        return lqi_recover_nonzero(&segment->file, lqi_segment_offset(&segment->head, found->end), segment->file_size,
                             &found->torn_bytes);
    }
    if (doubt.any || judge_corrupt(found->end, durable)) give_up_end(found, limit, promise);
    return LQ_OK;
}

/* ---- the whole log ------------------------------------------------------ */

/* How much of the log a segment may hold whose header cannot be read: as much as its file. And, if asked, which id comes behind
 * its own. Only what is no file is nothing; where the machine fails, an end must not be made up. */
static int look_at_unreadable(const struct lqi_log *log, uint64_t id, uint64_t *size_out, uint64_t *next_id)
{
    char name[LQI_SEGMENT_NAME_SIZE];
    struct lqi_file file = LQI_FILE_NONE;

    *size_out = 0;
    lqi_segment_name(name, id);
    int err = lqi_file_open(&file, log->io, log->log_dir, name, name, LQI_OPEN_READ, 0);
    if (!err) err = lqi_file_size(&file, size_out);
    *size_out = lqi_min64(*size_out, LQI_SEGMENT_FILE_MAX);
    if (!err && next_id) err = lqi_recover_ids(&file, *size_out, next_id);
    lqi_file_close(&file);
    return err == LQ_ENOTQUEUE || err == LQ_ENOTFOUND ? LQ_OK : err;
}

/* The header of the last segment is gone, and with it the salt that its records verify with. So may be those of
 * others before it: what is good before them all must stay before the end. */
static int last_unreadable(const struct lqi_log *log, const uint64_t *ids, size_t count, const struct lqi_promise *promise,
                           struct lqi_found *found)
{
    struct lqi_segment before;
    uint64_t size, sizes = 0, position = found->first_position, next_id = ids[count - 1], given = next_id;

    for (size_t index = count; index-- > 0;) {
        int err = lqi_segment_open_any(&before, log->io, log->log_dir, ids[index], log->uuid);
        if (!err) {
            position = before.sealed ? before.end.end : before.head.position + before.file_size;
            if (index + 1 == count) next_id = before.end.next_id; /* it has its trailer yet */
            lqi_segment_close(&before);
            break;
        }
        if (!lqi_log_passes_over(log, err)) return err;
        err = look_at_unreadable(log, ids[index], &size, index + 1 == count ? &given : NULL);
        if (err) return err;
        sizes += size;
    }
    found->end = position;
    found->next_id = next_id;
    give_up_end(found, position + sizes, promise);
    /* The next segment needs a name of its own. */
    found->next_id = lqi_max64(found->next_id, lqi_max64(given, ids[count - 1] + 1));
    return LQ_OK;
}

/* A trailer is written before the sync that seals: only if all before it is there, records and index, does it count. Then
 * the log goes on in the next segment. If the index is not, the footer is cut like a torn tail, and made anew at the roll. */
static int believe_seal(const struct lqi_segment *segment, struct lqi_found *found)
{
    struct lqi_index_entry entry;
    bool damaged = false;
    int err = lqi_segment_find_id(segment, segment->head.first_id, &entry, &damaged);
    if (err) return err;
    if (damaged)
        return lqi_recover_nonzero(&segment->file, lqi_segment_offset(&segment->head, found->end), segment->file_size, &found->torn_bytes);
    found->usable = false;
    found->mark = found->end;
    found->next_id = lqi_max64(found->next_id, segment->end.next_id);
    return LQ_OK;
}

static int find_last(const struct lqi_log *log, const uint64_t *ids, size_t count, const struct lqi_promise *promise,
                     struct lqi_found *found)
{
    struct lqi_segment segment;
    int err = lqi_segment_open(&segment, log->io, log->log_dir, ids[count - 1], log->uuid, false);
    found->unreadable = err == LQ_EIO && log->over_unreadable;
    if (err == LQ_ECORRUPT || found->unreadable) return last_unreadable(log, ids, count, promise, found);
    if (err) return err;

    found->any_segment = true;
    found->last = segment.head;
    found->file_size = segment.file_size;
    found->next_id = segment.head.first_id;
    found->time_us = segment.head.created_us;
    err = find_end_in(log, &segment, promise, found);
    if (!err && segment.sealed && found->usable && found->end == segment.end.end) err = believe_seal(&segment, found);
    /* The segment that comes now needs a name of its own. */
    if (found->given_up && found->next_id == ids[count - 1]) found->next_id++;
    lqi_segment_close(&segment);
    return err;
}

static int find_first(const struct lqi_log *log, const struct lqi_trim *trim, const uint64_t *ids, size_t count,
                      struct lqi_found *found)
{
    struct lqi_segment segment;

    found->second_id = count > 1 ? ids[1] : 0;
    /* The log begins where the trim slot says: if its oldest file begins later, one is missing, and those who read are told.
     * Without a slot, nobody knows better than the files. */
    if (trim->sequence) return LQ_OK;
    found->first_id = ids[0];
    for (size_t i = 0; i < count; i++) {
        int err = lqi_segment_open_any(&segment, log->io, log->log_dir, ids[i], log->uuid);
        if (lqi_log_passes_over(log, err)) continue;
        if (err) return err;
        found->first_position = segment.head.position;
        lqi_segment_close(&segment);
        break;
    }
    return LQ_OK;
}

int lqi_find_end(const struct lqi_log *log, const struct lqi_trim *trim, const struct lqi_promise *promise,
                 struct lqi_found *found)
{
    /* No log is longer; and what is given up for a promise that lies must leave room for numbers behind it. */
    struct lqi_promise all = {.position = lqi_min64(lqi_max64(promise->position, trim->synced), LQI_POSITION_END),
                              .next_id = lqi_max64(promise->next_id, trim->next_id)};
    uint64_t *ids;
    size_t count;

    assert(!log->state); /* only the files count */
    memset(found, 0, sizeof *found);
    found->first_id = found->next_id = lqi_max64(trim->first_id, 1);
    found->first_position = found->end = found->mark = trim->position;

    int err = lqi_segment_list(log->io, log->log_dir, &ids, &count, NULL);
    if (err) return err;
    if (count) {
        err = find_first(log, trim, ids, count, found);
        if (!err) err = find_last(log, ids, count, &all, found);
    } else if (judge_corrupt(found->end, all.position)) {
        give_up_end(found, found->end, &all);
    }
    free(ids);
    /* What was given up is not given again, whatever is left of the log behind it; and where ids end, they end. */
    found->next_id = lqi_min64(lqi_max64(found->next_id, found->first_id), LQI_ID_END - 1);
    return err;
}

/* ---- mending ------------------------------------------------------------ */

static int sweep_prepared(void *context, const char *name)
{
    const struct lqi_log *log = context;
    if (lqi_is_unfinished(name)) log->io->unlink(log->io, log->log_dir, name);
    return 0;
}

/* Deletes what the trim slot had given up before somebody died. That one may not have come to sync the slot: it is
 * stored again first, or a power loss could take it back from under the files that are gone. */
static int sweep_trimmed(const struct lqi_log *log, const struct lqi_trim *trim)
{
    char name[LQI_SEGMENT_NAME_SIZE];
    uint64_t *ids;
    size_t count;
    int err = lqi_segment_list(log->io, log->log_dir, &ids, &count, NULL);
    if (err) return err;
    struct lqi_trim durable = *trim;
    if (count > 1 && ids[1] <= trim->first_id) err = lqi_trim_store(log->meta_file, log->uuid, &durable);
    for (size_t i = 0; !err && i + 1 < count && ids[i + 1] <= trim->first_id; i++) {
        lqi_segment_name(name, ids[i]);
        log->io->unlink(log->io, log->log_dir, name);
    }
    free(ids);
    return LQ_OK; /* what could not go now goes another time */
}

int lqi_recover_open_last(const struct lqi_log *log, const struct lqi_found *found, struct lqi_segment *segment)
{
    return lqi_segment_open(segment, log->io, log->log_dir, found->last.first_id, log->uuid, true);
}

/* Cuts what is behind the end, and makes durable what is before it: what was read may be in the page cache only. */
static int settle_last(const struct lqi_log *log, const struct lqi_found *found, struct lqi_shared_map *old)
{
    struct lqi_segment segment;
    if (!found->any_segment) return LQ_OK;
    int err = lqi_recover_open_last(log, found, &segment);
    if (err) return err;
    if (found->usable && found->torn_bytes) err = lqi_file_truncate(&segment.file, lqi_segment_offset(&segment.head, found->end));
    if (!err) err = lqi_shared_sync(old, &segment.file);
    lqi_segment_close(&segment);
    return err;
}

/* Where no sync is known to have failed. The kernel may have failed to write on its own account, told nobody who lives, and call
 * the pages clean: written again, they are dirty again. A precaution, and no cure (see publish.h). Of a segment that
 * was being sealed, the footer too; before damage at the end, what is good. */
static int write_again(const struct lqi_log *log, const struct lqi_found *found, uint64_t from)
{
    struct lqi_segment segment;
    uint8_t bytes[16384];
    size_t got;

    if (!found->any_segment) return LQ_OK;
    int err = lqi_recover_open_last(log, found, &segment);
    if (err) return err;
    uint64_t end = found->usable ? found->end : found->given_up ? found->good_end
                 : segment.head.position + (segment.file_size - LQI_SEGMENT_HEADER);
    for (uint64_t at = lqi_max64(from, segment.head.position); at < end && !err; at += got) {
        uint64_t offset = lqi_segment_offset(&segment.head, at);
        err = lqi_file_read(&segment.file, offset, bytes, lqi_min64(sizeof bytes, end - at), &got);
        if (!err && got == 0) break;
        if (!err) err = lqi_file_write(&segment.file, offset, bytes, got);
    }
    lqi_segment_close(&segment);
    return err;
}

/* Another file takes its place: see publish.h. It ends with the log, unless something behind that end is to be kept: the room that
 * was allocated ahead is zeroes, and is allocated again by the first PUT. */
static int replace_last(const struct lqi_log *log, const struct lqi_found *found)
{
    char name[LQI_SEGMENT_NAME_SIZE], shown[LQI_SEGMENT_NAME_SIZE + 4];

    if (!found->any_segment) return LQ_OK;
    lqi_segment_name(name, found->last.first_id);
    snprintf(shown, sizeof shown, "log/%s", name);
    uint64_t size = found->usable ? lqi_segment_offset(&found->last, found->end) : UINT64_MAX;
    return lqi_publish_again(log->io, log->log_dir, name, shown, log->options.mode, size);
}

static int settle_doubt(const struct lqi_log *log, const struct lqi_found *found, const struct lqi_shared *old, bool *doubtful_out)
{
    if (!lqi_sync_doubtful(old)) return write_again(log, found, atomic_load(&old->log.synced));
    int err = replace_last(log, found);
    *doubtful_out = err == LQ_ENOSPC; /* what is durable can still be consumed, and that makes room */
    return err == LQ_ENOSPC ? LQ_OK : err;
}

/* ---- all of it ---------------------------------------------------------- */

int lqi_recover_log(struct lqi_log *log, const struct lqi_trim *trim, const struct lqi_promise *promise,
                    struct lqi_shared_map *old, struct lqi_found *found, uint64_t *messages_out)
{
    bool doubtful = false;

    *messages_out = 0;
    int error = log->io->dir_list(log->io, log->log_dir, sweep_prepared, log);
    if (error) return lqi_fail_errno(error, "list", "log", -1);
    int err = sweep_trimmed(log, trim);
    if (!err) err = lqi_find_end(log, trim, promise, found);
    if (!err && old) err = settle_doubt(log, found, old->head, &doubtful);
    if (!err) err = settle_last(log, found, old);
    if (err) return err;
    uint64_t torn = found->torn_bytes;
    if (old) err = lqi_recover_ring(log, trim, promise, old, found, messages_out);
    /* Behind what the dead had committed, and all of which is there now, lies what they were in the middle of writing: a
     * part of what has come from the ring, a record that was never accepted, a footer. Nothing was dropped. */
    found->doubtful = doubtful;
    if (!err) found->torn_bytes = promise->committed && promise->committed <= found->end ? 0 : torn;
    return err;
}
