/* Where bytes come from, what to do when they are not what they should be. */
#include "scan.h"

#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>

#include "bytes.h"
#include "checksum.h"
#include "compress.h"

#define RING_READ_MAX ((size_t)64 << 10) /* stays in the cache until it is used */
#define LIST_TRIES 1000

void lqi_scan_init(struct lqi_scan *scan, const struct lqi_log *log, size_t read_ahead)
{
    *scan = (struct lqi_scan){.log = log, .read_ahead = read_ahead, .pool = {.standard = read_ahead}};
    scan->segment.file.fd = -1;
}

/* What was read so far may be lent out: new bytes go behind it. */
static void forget_buffer(struct lqi_scan *scan)
{
    scan->start = (scan->start + scan->buffered + 7) & ~(size_t)7;
    scan->buffered = 0;
    scan->buffer_position = scan->position;
}

static void close_segment(struct lqi_scan *scan)
{
    if (scan->segment_open) lqi_segment_close(&scan->segment);
    scan->segment_open = false;
}

void lqi_scan_let_go(struct lqi_scan *scan)
{
    const struct lqi_log_state *state = scan->log->state;
    if (scan->segment_open && state && scan->segment.head.first_id < atomic_load(&state->first_id)) close_segment(scan);
}

void lqi_scan_release(struct lqi_scan *scan)
{
    close_segment(scan);
    lqi_block_drop(scan->unpacked);
    lqi_block_drop(scan->block);
    lqi_pool_release(&scan->pool);
    scan->unpacked = scan->block = NULL;
}

void lqi_scan_start(struct lqi_scan *scan, uint64_t position, uint64_t id)
{
    scan->position = position;
    scan->next_id = id;
    scan->sought_id = 0;
    scan->avoid_ring = scan->refreshed = false;
    if (position < scan->buffer_position || position > scan->buffer_position + scan->buffered) forget_buffer(scan);
}

static void drop_record(struct lqi_scan *scan)
{
    lqi_block_drop(scan->unpacked);
    scan->unpacked = NULL;
    scan->payload = NULL;
    scan->payload_block = NULL;
}

void lqi_scan_restart(struct lqi_scan *scan, uint64_t position, uint64_t id)
{
    drop_record(scan);
    close_segment(scan);
    lqi_scan_start(scan, position, id);
    forget_buffer(scan);
}

/* Without `shared`, what was found when the queue was opened counts. */
static uint64_t oldest_position(const struct lqi_log *log)
{
    return log->state ? atomic_load(&log->state->first_position) : log->files_first_position;
}

static uint64_t oldest_id(const struct lqi_log *log)
{
    return log->state ? atomic_load(&log->state->first_id) : log->files_first_id;
}

/* ---- holes -------------------------------------------------------------- */

static void tell(const struct lqi_hole *found)
{
    if (found->count)
        lqi_fail(LQ_ECORRUPT, "%s, byte %" PRIu64 ": %s; %" PRIu64 " messages from id %" PRIu64 " are lost", found->file,
                 found->offset, found->text, found->count, found->first_id);
    else
        lqi_fail(LQ_ECORRUPT, "%s, byte %" PRIu64 ": %s", found->file, found->offset, found->text);
}

/* Notes a hole from the present position up to `to`, behind which the message `id` comes (0: not known), and steps over it. */
static int hole(struct lqi_scan *scan, uint64_t to, uint64_t id, const char *reason)
{
    struct lqi_hole *found = &scan->hole;
    *found = (struct lqi_hole){.position = scan->position, .first_id = scan->next_id};

    if (scan->segment_open && !scan->from_ring) {
        snprintf(found->file, sizeof found->file, "%s", scan->segment.file.name);
        found->offset = lqi_segment_offset(&scan->segment.head, scan->position);
    } else {
        snprintf(found->file, sizeof found->file, LQI_SHARED_NAME);
        found->offset = scan->log->ring.size ? LQI_SHARED_HEAD + (scan->position & (scan->log->ring.size - 1)) : 0;
    }
    if (id > scan->next_id) found->count = id - scan->next_id;
    if (!found->count) found->first_id = 0;
    snprintf(found->text, sizeof found->text, "%s", reason);
    if (id > scan->next_id) scan->next_id = id;
    scan->position = to;
    scan->avoid_ring = scan->refreshed = false;
    tell(found);
    return LQI_HOLE;
}

/* A hole of whole files, before the segment of first id `id` that begins at `position`. */
static int missing(struct lqi_scan *scan, uint64_t position, uint64_t id)
{
    uint64_t kept = oldest_id(scan->log);
    char name[LQI_SEGMENT_NAME_SIZE];

    close_segment(scan);
    forget_buffer(scan);
    int result = hole(scan, position, id, "this segment is missing");
    forget_buffer(scan);
    lqi_segment_name(name, scan->hole.first_id ? scan->hole.first_id : id);
    snprintf(scan->hole.file, sizeof scan->hole.file, "log/%s", name);
    scan->hole.offset = 0;
    tell(&scan->hole);
    scan->hole.trimmed = id <= kept;
    return result;
}

/* ---- segments ----------------------------------------------------------- */

static int use_segment(struct lqi_scan *scan, uint64_t first_id)
{
    close_segment(scan);
    int err = lqi_segment_open(&scan->segment, scan->log->io, scan->log->log_dir, first_id, scan->log->uuid, false);
    if (err) return err;
    scan->segment_open = true;
    scan->segment_end = scan->segment.sealed ? scan->segment.end.end : UINT64_MAX;
    return LQ_OK;
}

/* The segment number `index` of the list cannot be opened, or lacks what we want: step to the one behind it. LQ_ENOTFOUND:
 * the list is out of date. */
static int step_over(struct lqi_scan *scan, const uint64_t *ids, size_t count, size_t index, uint64_t limit, const char *reason)
{
    struct lqi_segment next;
    uint64_t to = lqi_min64(limit, scan->files_end), id = 0;

    for (index++; index < count && !id; index++) {
        int err = lqi_segment_open(&next, scan->log->io, scan->log->log_dir, ids[index], scan->log->uuid, false);
        if (err == LQ_ENOTFOUND) return err;
        if (err) continue;
        to = next.head.position;
        id = ids[index];
        lqi_segment_close(&next);
    }
    if (to < scan->position) to = scan->position; /* positions never go back, whatever a file says */
    if (!reason) return missing(scan, to, id ? id : scan->next_id);
    close_segment(scan);
    forget_buffer(scan);
    scan->from_ring = true; /* the name is set below, not taken from an open file */
    int result = hole(scan, to, id, reason);
    scan->from_ring = false;
    forget_buffer(scan);
    return result;
}

/* An unsealed segment with another behind it ends where that one begins. */
static void end_by_next(struct lqi_scan *scan, const uint64_t *ids, size_t count, size_t index)
{
    struct lqi_segment next;

    if (scan->segment.sealed || index + 1 >= count) return;
    if (lqi_segment_open(&next, scan->log->io, scan->log->log_dir, ids[index + 1], scan->log->uuid, false)) return;
    if (next.head.position >= scan->segment.head.position) scan->segment_end = next.head.position;
    lqi_segment_close(&next);
}

static size_t last_not_above(const uint64_t *ids, size_t count, uint64_t id)
{
    size_t low = 0, high = count; /* ids[low - 1] <= id < ids[high] */
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (ids[middle] <= id) low = middle + 1;
        else high = middle;
    }
    return low; /* 0: all are above; else the index + 1 */
}

/* A file that is none of ours may have the name of a message in the middle of a good segment: that one goes on
 * beyond it. */
static bool use_covering(struct lqi_scan *scan, const uint64_t *ids, size_t index)
{
    while (index-- > 0) {
        if (use_segment(scan, ids[index])) continue;
        if (scan->segment.sealed && scan->position < scan->segment_end && scan->next_id < scan->segment.end.next_id) {
            if (scan->position < scan->segment.head.position) lqi_scan_start(scan, scan->segment.head.position, scan->next_id);
            return true;
        }
        break;
    }
    close_segment(scan);
    return false;
}

static int find_in_list(struct lqi_scan *scan, const uint64_t *ids, size_t count, uint64_t limit)
{
    size_t place = last_not_above(ids, count, scan->next_id);
    if (place == 0) return step_over(scan, ids, count, (size_t)-1, limit, NULL);

    size_t index = place - 1;
    int err = use_segment(scan, ids[index]);
    if (err == LQ_ENOTFOUND) return err;
    if (err == LQ_ECORRUPT || err == LQ_EVERSION || err == LQ_ENOTQUEUE) {
        char reason[sizeof scan->hole.text];
        snprintf(reason, sizeof reason, "%s", lq_error_text());
        if (use_covering(scan, ids, index)) return LQ_OK;
        int result = step_over(scan, ids, count, index, limit, reason);
        char name[LQI_SEGMENT_NAME_SIZE];
        lqi_segment_name(name, ids[index]);
        snprintf(scan->hole.file, sizeof scan->hole.file, "log/%s", name);
        scan->hole.offset = 0;
        if (result == LQI_HOLE) tell(&scan->hole);
        return result;
    }
    if (err) return err;
    end_by_next(scan, ids, count, index);
    if (scan->position < scan->segment.head.position) lqi_scan_start(scan, scan->segment.head.position, scan->next_id);
    if (scan->position >= scan->segment_end) return step_over(scan, ids, count, index, limit, NULL);
    return LQ_OK;
}

/* Opens the segment that holds `position`. */
static int open_segment(struct lqi_scan *scan, uint64_t limit)
{
    uint64_t *ids;
    size_t count;

    /* Going on to the next segment, its name is the id we want. */
    if (use_segment(scan, scan->next_id) == LQ_OK) {
        if (scan->segment.sealed && scan->segment.head.position == scan->position && scan->position < scan->segment_end)
            return LQ_OK;
    }
    for (unsigned tries = 0;; tries++) {
        const struct lqi_log_state *state = scan->log->state;
        scan->files_end = state ? atomic_load_explicit(&state->written, memory_order_acquire) : UINT64_MAX;
        int err = lqi_segment_list(scan->log->io, scan->log->log_dir, &ids, &count, NULL);
        if (err) return err;
        err = find_in_list(scan, ids, count, limit);
        free(ids);
        /* What is in the list and not in the directory was deleted in between: what comes behind it may be, too. */
        if (err != LQ_ENOTFOUND) return err;
        if (tries == LIST_TRIES) return lqi_fail(LQ_EBUSY, "log/ changes faster than it can be read");
    }
}

/* ---- bytes -------------------------------------------------------------- */

static size_t at_hand(const struct lqi_scan *scan)
{
    return scan->buffer_position + scan->buffered - scan->position;
}

static uint8_t *here(const struct lqi_scan *scan)
{
    return scan->block->bytes + scan->start + (scan->position - scan->buffer_position);
}

/* Room for `need` bytes from `position` on, those at hand included; gives the room there is (at least `need`, else 0). */
static size_t make_room(struct lqi_scan *scan, size_t need)
{
    size_t keep = at_hand(scan);
    bool ours = scan->block && scan->block->references == 1;
    size_t offset = scan->block ? scan->start + (size_t)(scan->position - scan->buffer_position) : 0;

    if (ours && scan->block->capacity >= need && (keep == 0 || scan->block->capacity < offset + need)) {
        memmove(scan->block->bytes, scan->block->bytes + offset, keep);
        offset = 0;
    } else if (!scan->block || offset > scan->block->capacity || scan->block->capacity - offset < need) {
        struct lqi_block *block = lqi_block_get(&scan->pool, need);
        if (!block) return 0;
        if (keep) memcpy(block->bytes, scan->block->bytes + offset, keep);
        lqi_block_drop(scan->block);
        scan->block = block;
        offset = 0;
    }
    scan->start = offset;
    scan->buffer_position = scan->position;
    scan->buffered = keep;
    return scan->block->capacity - offset;
}

static bool is_written(const struct lqi_scan *scan)
{
    const struct lqi_log_state *state = scan->log->state;
    return !state || scan->position < atomic_load_explicit(&state->written, memory_order_acquire);
}

/* Where the bytes at `position` can be read, and up to where. LQ_TIMEOUT: nowhere, just now. */
static int locate(struct lqi_scan *scan, uint64_t limit, bool *ring_out, uint64_t *end_out)
{
    uint64_t salt, end;

    for (unsigned tries = 0;; tries++) {
        if (!scan->avoid_ring && lqi_log_in_ring(scan->log, scan->position, &salt, &end)) {
            if (salt != scan->salt) forget_buffer(scan);
            scan->salt = salt;
            *ring_out = true;
            *end_out = lqi_min64(end, limit);
            return LQ_OK;
        }
        if (is_written(scan)) break;
        /* It can only be in the ring, and a roll kept us from seeing it. Or nobody lives whose ring it is. */
        if (tries == 1000) return LQ_TIMEOUT;
        sched_yield();
    }
    *ring_out = false;
    if (!scan->segment_open || scan->position < scan->segment.head.position || scan->position >= scan->segment_end) {
        int err = open_segment(scan, limit);
        if (err) return err;
    }
    if (scan->segment.head.salt != scan->salt) forget_buffer(scan);
    scan->salt = scan->segment.head.salt;
    end = lqi_min64(limit, scan->segment_end);
    if (scan->log->state)
        end = lqi_min64(end, atomic_load_explicit(&scan->log->state->written, memory_order_acquire));
    *end_out = end;
    return LQ_OK;
}

static int read_file(struct lqi_scan *scan, uint8_t *to, size_t size)
{
    size_t got;
    int err = lqi_file_read(&scan->segment.file, lqi_segment_offset(&scan->segment.head, scan->position) + at_hand(scan),
                            to, size, &got);
    if (!err) scan->buffered += got;
    return err;
}

/* At least `need` bytes at hand from `position` on. LQ_EMPTY: there are not so many before the end of the
 * segment or `limit`. */
static int fill(struct lqi_scan *scan, size_t need, uint64_t limit)
{
    while (scan->position < scan->buffer_position || at_hand(scan) > scan->buffered || at_hand(scan) < need) {
        bool ring;
        uint64_t end;
        if (scan->position < scan->buffer_position || at_hand(scan) > scan->buffered) forget_buffer(scan);
        int err = locate(scan, limit, &ring, &end);
        if (err) return err;
        if (end < scan->position + need) return LQ_EMPTY;

        size_t room = make_room(scan, need);
        if (!room) return lqi_fail(LQ_ENOMEM, "no memory for %zu bytes of log", need);
        size_t ahead = ring ? (scan->read_ahead < RING_READ_MAX ? scan->read_ahead : RING_READ_MAX) : scan->read_ahead;
        size_t want = lqi_min64(lqi_min64(room, end - scan->position), need > ahead ? need : ahead);
        size_t keep = at_hand(scan);
        scan->from_ring = ring;
        if (ring) {
            if (lqi_ring_copy(&scan->log->ring, scan->position + keep, here(scan) + keep, want - keep))
                scan->buffered += want - keep;
        } else {
            err = read_file(scan, here(scan) + keep, want - keep);
            if (err) return err;
            if (at_hand(scan) < need) return LQ_EMPTY; /* the file is shorter than it should be */
        }
    }
    return LQ_OK;
}

/* ---- damage ------------------------------------------------------------- */

/* A segment that was open for writing when we opened it may have been sealed since: what looks like a bad record is
 * its index then. True: look again. */
static bool look_again(struct lqi_scan *scan)
{
    if (scan->from_ring) {
        if (!scan->log->state || scan->avoid_ring) return false;
        if (scan->position >= atomic_load(&scan->log->state->written)) return false;
        scan->avoid_ring = true; /* the file has these bytes too */
        forget_buffer(scan);
        return true;
    }
    if (!scan->segment_open || scan->segment.sealed || scan->refreshed || scan->segment_end != UINT64_MAX) return false;
    close_segment(scan);
    forget_buffer(scan);
    scan->refreshed = true;
    return true;
}

static bool head_here(const struct lqi_scan *scan, struct lqi_record *record)
{
    return lqi_record_decode(here(scan), scan->position, scan->salt, record);
}

#define ZEROES 4096

static bool all_zero(const uint8_t *bytes, size_t size)
{
    return bytes[0] == 0 && memcmp(bytes, bytes + 1, size - 1) == 0;
}

/* Steps over zeroes that are at hand, where no header can begin, as its byte 10 is not 0. A header's bytes stay at hand. */
static void skip_zeroes(struct lqi_scan *scan, uint64_t end)
{
    const uint8_t *bytes = here(scan);
    size_t size = lqi_min64(at_hand(scan), end - scan->position), skip = 0;

    while (skip + ZEROES + LQI_RECORD_HEADER <= size && all_zero(bytes + skip, ZEROES)) skip += ZEROES - 16;
    scan->position += skip;
}

/* Steps on from a bad place, 8 bytes at a time, to the next header that proves itself. Headers are 32 bits
 * of checksum strong here, so what is found must also fit: not an older message, not too long. */
static int resync(struct lqi_scan *scan, uint64_t limit, const char *reason)
{
    uint64_t bad = scan->position, end;
    struct lqi_record record;
    bool ring, found = false;
    int err = locate(scan, limit, &ring, &end);
    if (err) return err;

    /* Where the ring begins, it is asked and not the file, which may have lost what a failed sync dropped. */
    uint64_t ring_at = ring || !scan->log->state || scan->avoid_ring ? UINT64_MAX : lqi_round_up(lqi_ring_oldest(&scan->log->ring), 8);
    while (!found && scan->position + 8 <= end) {
        scan->position += 8;
        if (scan->position >= ring_at) {
            forget_buffer(scan);
            ring_at = UINT64_MAX;
            end = lqi_min64(limit, scan->segment_end);
        }
        err = fill(scan, LQI_RECORD_HEADER, end);
        if (err == LQ_EMPTY) break;
        if (err) break;
        skip_zeroes(scan, lqi_min64(end, ring_at));
        found = head_here(scan, &record) &&
                (record.first_id >= scan->next_id || record.first_id + record.count > scan->next_id) &&
                lqi_record_span(record.size) <= end - scan->position;
    }
    if (err && err != LQ_EMPTY) {
        scan->position = bad;
        return err;
    }
    uint64_t to = found ? scan->position : end;
    uint64_t id = found ? record.first_id : 0;
    if (found && id <= scan->sought_id) { /* on the way to where a seek leads: nothing wanted was here */
        scan->avoid_ring = scan->refreshed = false;
        return LQ_EMPTY;
    }
    if (!found && !ring && scan->segment.sealed && end == scan->segment_end) id = scan->segment.end.next_id;
    scan->position = bad;
    if (!found && scan->to_the_end) {
        forget_buffer(scan);
        return hole(scan, limit, 0, reason);
    }
    return hole(scan, to, id, reason);
}

/* ---- payloads ----------------------------------------------------------- */

static int unpack(struct lqi_scan *scan, const uint8_t *packed)
{
    uint32_t raw_size;
    int err = lqi_unpacked_size(packed, scan->record.size, LQI_PAYLOAD_MAX, &raw_size);
    if (err) return err;
    scan->unpacked = lqi_block_get(&scan->pool, raw_size);
    if (!scan->unpacked) return lqi_fail(LQ_ENOMEM, "no memory to unpack %" PRIu32 " bytes", raw_size);
    err = lqi_unpack(packed, scan->record.size, scan->unpacked->bytes, raw_size);
    if (err) return err;
    scan->payload = scan->unpacked->bytes;
    scan->payload_size = raw_size;
    scan->payload_block = scan->unpacked;
    return LQ_OK;
}

/* LQ_ECORRUPT with the reason in `reason` when the payload is damaged. */
static int open_payload(struct lqi_scan *scan, char *reason, size_t reason_size)
{
    const uint8_t *bytes = here(scan) + LQI_RECORD_HEADER;
    uint64_t check = lqi_checksum(bytes, scan->record.size);
    struct lqi_payload payload;

    if (check != scan->record.payload_check) {
        snprintf(reason, reason_size, "body checksum %016" PRIx64 ", expected %016" PRIx64, check, scan->record.payload_check);
        return LQ_ECORRUPT;
    }
    scan->padding_damaged = false;
    for (size_t i = scan->record.size; i < lqi_record_span(scan->record.size) - LQI_RECORD_HEADER; i++)
        scan->padding_damaged |= bytes[i] != 0;
    scan->payload = bytes;
    scan->payload_size = scan->record.size;
    scan->payload_block = scan->block;
    if (scan->record.flags & LQI_RECORD_PACKED) {
        int err = unpack(scan, bytes);
        if (err == LQ_ECORRUPT) snprintf(reason, reason_size, "%s", lq_error_text());
        if (err) return err;
    }
    if (!lqi_payload_open(&payload, scan->payload, scan->payload_size, scan->record.count, scan->record.flags)) {
        snprintf(reason, reason_size, "the sizes of the messages do not add up to the record's");
        return LQ_ECORRUPT;
    }
    return LQ_OK;
}

/* ---- the walk ----------------------------------------------------------- */

static void step(struct lqi_scan *scan)
{
    scan->position += lqi_record_span(scan->record.size);
    scan->avoid_ring = false;
    scan->refreshed = false;
}

/* The header at `position` is good: is it the record we want, and is it whole? LQ_EMPTY: go on to the next. */
static int take(struct lqi_scan *scan)
{
    const struct lqi_record *record = &scan->record;
    uint64_t next_id = record->first_id + record->count;
    char reason[sizeof scan->hole.text];

    if (record->kind != LQI_RECORD_MESSAGES || next_id <= scan->next_id) {
        step(scan);
        return scan->with_marks && record->kind == LQI_RECORD_MARK ? LQ_OK : LQ_EMPTY;
    }
    if (record->first_id > scan->next_id) { /* messages without bytes: what was between is gone */
        uint64_t kept = oldest_id(scan->log);
        if (scan->next_id >= kept) return hole(scan, scan->position, record->first_id, "messages are missing before this record");
        hole(scan, scan->position, lqi_min64(record->first_id, kept), "retention has deleted these messages");
        scan->hole.trimmed = true;
        return LQI_HOLE;
    }

    int err = scan->heads_only ? LQ_OK : open_payload(scan, reason, sizeof reason);
    if (err == LQ_ECORRUPT) {
        drop_record(scan);
        if (look_again(scan)) return LQ_EMPTY;
        return hole(scan, scan->position + lqi_record_span(record->size), next_id, reason);
    }
    if (err) return err;
    step(scan);
    scan->next_id = next_id;
    return LQ_OK;
}

static int damaged(struct lqi_scan *scan, uint64_t limit, const char *reason)
{
    if (look_again(scan)) return LQ_EMPTY;
    return resync(scan, limit, reason);
}

static int try_next(struct lqi_scan *scan, uint64_t limit)
{
    int err = fill(scan, LQI_RECORD_HEADER, limit);
    if (err == LQ_EMPTY) return damaged(scan, limit, "the log ends here, in the middle of a record");
    if (err) return err;
    if (!head_here(scan, &scan->record)) return damaged(scan, limit, "no record begins here: its header does not verify");

    uint64_t span = lqi_record_span(scan->record.size);
    if (scan->heads_only) span = LQI_RECORD_HEADER;
    err = fill(scan, span, limit);
    if (err == LQ_EMPTY) return damaged(scan, limit, "the record is cut off");
    if (err) return err;
    return take(scan);
}

int lqi_scan_next(struct lqi_scan *scan, uint64_t limit)
{
    drop_record(scan);
    while (scan->position < limit) {
        int err = try_next(scan, limit);
        if (err == LQ_TIMEOUT) break;
        if (err != LQ_EMPTY) return err;
    }
    return LQ_EMPTY;
}

/* ---- seeking ------------------------------------------------------------ */

/* Starts in the segment `ids[index]`, at the place its index has for the id. */
static int seek_in_segment(struct lqi_scan *scan, uint64_t first_id, uint64_t id)
{
    struct lqi_index_entry entry;
    bool index_damaged;
    int err = use_segment(scan, first_id);
    if (!err) err = lqi_segment_find_id(&scan->segment, id, &entry, &index_damaged);
    if (err) return err;
    lqi_scan_start(scan, entry.position, id);
    forget_buffer(scan);
    return LQ_OK;
}

int lqi_scan_seek_id(struct lqi_scan *scan, uint64_t id)
{
    uint64_t *ids;
    size_t count;

    drop_record(scan);
    int err = lqi_segment_list(scan->log->io, scan->log->log_dir, &ids, &count, NULL);
    if (err) return err;
    size_t place = last_not_above(ids, count, id);
    if (place == 0) {
        /* Before the oldest segment, or there is none yet: begin where the log begins. What is missing there is a hole. */
        lqi_scan_start(scan, oldest_position(scan->log), id);
        if (count) err = seek_in_segment(scan, ids[0], ids[0]);
        if (!err) scan->next_id = id;
    } else {
        err = seek_in_segment(scan, ids[place - 1], id);
    }
    /* A segment that cannot be opened is a hole, and the walk will say so. */
    if (err == LQ_ECORRUPT || err == LQ_EVERSION || err == LQ_ENOTFOUND) {
        close_segment(scan);
        lqi_scan_start(scan, oldest_position(scan->log), id);
        err = LQ_OK;
    }
    scan->sought_id = id;
    free(ids);
    return err;
}

int lqi_scan_seek_hint(struct lqi_scan *scan, uint64_t position, uint64_t id, uint64_t limit)
{
    struct lqi_record record;

    drop_record(scan);
    if (position > limit || position % 8) return lqi_scan_seek_id(scan, id);
    lqi_scan_start(scan, position, id);
    if (position == limit) return LQ_OK;
    int err = fill(scan, LQI_RECORD_HEADER, limit);
    if (err == LQ_OK && head_here(scan, &record) && record.first_id <= id) return LQ_OK;
    if (err < 0) return err;
    return lqi_scan_seek_id(scan, id);
}

/* The index of the last segment made before `time_us`: all messages before it are older. */
static size_t segment_before(struct lqi_scan *scan, const uint64_t *ids, size_t count, int64_t time_us)
{
    size_t low = 0, high = count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        bool before = use_segment(scan, ids[middle]) == LQ_OK && scan->segment.head.created_us < time_us;
        if (before) low = middle + 1;
        else high = middle;
    }
    return low ? low - 1 : 0;
}

int lqi_scan_seek_time(struct lqi_scan *scan, int64_t time_us, uint64_t limit)
{
    struct lqi_index_entry entry;
    uint64_t *ids;
    size_t count;

    int err = lqi_segment_list(scan->log->io, scan->log->log_dir, &ids, &count, NULL);
    if (err) return err;
    lqi_scan_start(scan, oldest_position(scan->log), count ? ids[0] : oldest_id(scan->log));
    if (count) {
        size_t index = segment_before(scan, ids, count, time_us);
        if (use_segment(scan, ids[index]) == LQ_OK &&
            lqi_segment_find_time(&scan->segment, time_us, &entry, NULL) == LQ_OK)
            lqi_scan_start(scan, entry.position, entry.first_id);
    }
    free(ids);
    forget_buffer(scan);

    for (;;) {
        err = lqi_scan_next(scan, limit);
        if (err == LQI_HOLE) continue;
        if (err) return err == LQ_EMPTY ? LQ_OK : err;
        if (scan->record.time_us >= time_us) break;
    }
    lqi_scan_start(scan, scan->record.position, scan->record.first_id);
    return LQ_OK;
}
