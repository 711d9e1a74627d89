/* Where bytes come from, what to do when they are not what they should be. */
#include "scan_parts.h"

#include <assert.h>
#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>

#include "bytes.h"
#include "checksum.h"
#include "compress.h"

#define RING_READ_MAX ((size_t)64 << 10) /* stays in the cache until it is used */

void lqi_scan_init(struct lqi_scan *scan, const struct lqi_log *log, size_t read_ahead)
{
    assert(read_ahead % 8 == 0); /* so is every block: bytes that are lent out end in it, when they are rounded up */
    *scan = (struct lqi_scan){.log = log, .read_ahead = read_ahead, .pool = {.standard = read_ahead}, .unreadable_to = UINT64_MAX};
}

void lqi_scan_let_go(struct lqi_scan *scan)
{
    assert(scan->log->state != NULL);
    if (scan->segment.head.first_id < atomic_load(&scan->log->state->first_id)) lqi_scan_close_segment(scan);
}

void lqi_scan_release(struct lqi_scan *scan)
{
    lqi_scan_close_segment(scan);
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
}

void lqi_scan_restart(struct lqi_scan *scan, uint64_t position, uint64_t id)
{
    lqi_scan_close_segment(scan);
    lqi_scan_start(scan, position, id);
    lqi_scan_forget_buffer(scan);
}

static void drop_record(struct lqi_scan *scan)
{
    lqi_block_drop(scan->unpacked);
    scan->unpacked = NULL;
    scan->payload = NULL;
    scan->payload_block = NULL;
}

/* ---- holes -------------------------------------------------------------- */

void lqi_scan_tell(const struct lqi_hole *found)
{
    if (found->count)
        lqi_fail(found->code, "%s, byte %" PRIu64 ": %s; %" PRIu64 " messages from id %" PRIu64 " are lost", found->file,
                 found->offset, found->text, found->count, found->first_id);
    else
        lqi_fail(found->code, "%s, byte %" PRIu64 ": %s", found->file, found->offset, found->text);
}

int lqi_scan_hole(struct lqi_scan *scan, uint64_t to, uint64_t id, const char *reason)
{
    struct lqi_hole *found = &scan->hole;
    *found = (struct lqi_hole){.position = scan->position, .first_id = scan->next_id, .code = LQ_ECORRUPT};

    if (scan->segment_open && !scan->from_ring) {
        snprintf(found->file, sizeof found->file, "%s", scan->segment.file.name);
        found->offset = lqi_segment_offset(&scan->segment.head, scan->position);
    } else {
        snprintf(found->file, sizeof found->file, LQI_SHARED_NAME);
        found->offset = LQI_SHARED_HEAD + (scan->position & (scan->log->ring.size - 1));
    }
    if (id > scan->next_id) found->count = id - scan->next_id;
    if (!found->count) found->first_id = 0;
    snprintf(found->text, sizeof found->text, "%s", reason);
    if (id > scan->next_id) scan->next_id = id;
    scan->position = to;
    scan->avoid_ring = scan->refreshed = false;
    lqi_scan_tell(found);
    return LQI_HOLE;
}

int lqi_scan_unreadable(struct lqi_scan *scan)
{
    scan->hole.code = LQ_EIO;
    scan->unreadable_to = scan->position;
    return LQI_HOLE;
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
    size_t offset = scan->start + (size_t)(scan->position - scan->buffer_position);

    if (ours && scan->block->capacity >= need) {
        memmove(scan->block->bytes, scan->block->bytes + offset, keep);
        offset = 0;
    } else if (!scan->block || scan->block->capacity - offset < need) {
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

static bool may_ask_ring(const struct lqi_scan *scan)
{
    const struct lqi_log_state *state = scan->log->state;
    return !scan->avoid_ring && !(scan->files_first && state && scan->position < atomic_load_explicit(&state->synced, memory_order_acquire));
}

/* Where the bytes at `position` can be read, and up to where. LQ_TIMEOUT: nowhere, just now. */
static int locate(struct lqi_scan *scan, uint64_t limit, bool *ring_out, uint64_t *end_out)
{
    uint64_t salt, end;

    for (unsigned tries = 0;; tries++) {
        if (may_ask_ring(scan) && lqi_log_in_ring(scan->log, scan->position, &salt, &end)) {
            if (salt != scan->salt) lqi_scan_forget_buffer(scan);
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
        int err = lqi_scan_open_segment(scan, limit);
        if (err) return err;
    }
    if (scan->segment.head.salt != scan->salt) lqi_scan_forget_buffer(scan);
    scan->salt = scan->segment.head.salt;
    end = lqi_min64(limit, scan->segment_end);
    if (scan->log->state)
        end = lqi_min64(end, lqi_max64(atomic_load_explicit(&scan->log->state->written, memory_order_acquire), scan->proven_end));
    *end_out = end;
    return LQ_OK;
}

#define PAGE 4096 /* what a disk gives or not, as a whole */

/* Page by page up to the one that the disk does not give, if that is enough. */
static int read_pages(struct lqi_scan *scan, uint64_t offset, uint8_t *to, size_t need, size_t size)
{
    size_t done = 0, got = 1;
    int err = LQ_OK;

    while (done < size && got) {
        size_t part = lqi_min64(PAGE - (offset + done) % PAGE, size - done);
        err = lqi_file_read(&scan->segment.file, offset + done, to + done, part, &got);
        if (err) break;
        done += got;
    }
    if (err) scan->unreadable_end = scan->segment.head.position + (lqi_round_up(offset + done + 1, PAGE) - LQI_SEGMENT_HEADER);
    scan->buffered += done;
    return done < need ? err : LQ_OK;
}

/* `size` bytes behind those at hand, or if they cannot all be had, at least `need`. */
static int read_file(struct lqi_scan *scan, uint8_t *to, size_t need, size_t size)
{
    uint64_t offset = lqi_segment_offset(&scan->segment.head, scan->position) + at_hand(scan);
    size_t got;
    int err = lqi_file_read(&scan->segment.file, offset, to, size, &got);
    if (err == LQ_EIO && scan->log->over_unreadable) return read_pages(scan, offset, to, need, size);
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
        if (scan->position < scan->buffer_position || at_hand(scan) > scan->buffered) lqi_scan_forget_buffer(scan);
        int err = locate(scan, limit, &ring, &end);
        if (err) return err;
        scan->from_ring = ring;
        if (end < scan->position + need) return LQ_EMPTY;

        size_t room = make_room(scan, need);
        if (!room) return lqi_fail(LQ_ENOMEM, "no memory for %zu bytes of log", need);
        size_t ahead = ring ? (scan->read_ahead < RING_READ_MAX ? scan->read_ahead : RING_READ_MAX) : scan->read_ahead;
        size_t want = lqi_min64(lqi_min64(room, end - scan->position), need > ahead ? need : ahead);
        size_t keep = at_hand(scan);
        if (ring) {
            if (lqi_ring_copy(&scan->log->ring, scan->position + keep, here(scan) + keep, want - keep))
                scan->buffered += want - keep;
        } else {
            err = read_file(scan, here(scan) + keep, need - keep, want - keep);
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
        if (scan->position >= atomic_load(&scan->log->state->written)) return false;
        scan->avoid_ring = true; /* the file has these bytes too */
        lqi_scan_forget_buffer(scan);
        return true;
    }
    if (scan->segment.sealed || scan->refreshed || scan->segment_end != UINT64_MAX) return false;
    lqi_scan_close_segment(scan);
    lqi_scan_forget_buffer(scan);
    scan->refreshed = true;
    return true;
}

static bool head_here(const struct lqi_scan *scan, struct lqi_record *record)
{
    return lqi_record_decode(here(scan), scan->position, scan->salt, record);
}

#define ZEROES 4096

/* Steps over zeroes that are at hand, where no header can begin, as its byte 10 is not 0. A header's bytes stay at hand. */
static void skip_zeroes(struct lqi_scan *scan, uint64_t end)
{
    const uint8_t *bytes = here(scan);
    size_t size = lqi_min64(at_hand(scan), end - scan->position), skip = 0;

    while (skip + ZEROES + LQI_RECORD_HEADER <= size && lqi_all_zero(bytes + skip, ZEROES)) skip += ZEROES - 16;
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
    uint64_t ring_at = ring || !scan->log->state || scan->avoid_ring ? UINT64_MAX : lqi_ring_oldest(&scan->log->ring);
    while (!found && scan->position + 8 < end) { /* where nothing but the end is left, no header begins */
        scan->position += 8;
        if (scan->position >= ring_at) {
            lqi_scan_forget_buffer(scan);
            ring_at = UINT64_MAX;
            end = lqi_min64(limit, scan->segment_end);
        }
        err = fill(scan, LQI_RECORD_HEADER, end);
        if (err == LQ_EIO && scan->log->over_unreadable) {
            scan->position = scan->unreadable_end - 8;
            err = LQ_OK;
            continue;
        }
        if (err) break;
        skip_zeroes(scan, lqi_min64(end, ring_at));
        found = head_here(scan, &record) &&
                (record.first_id >= scan->next_id || lqi_record_next_id(&record) > scan->next_id) &&
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
    scan->position = bad;
    if (!found && !ring && end == scan->segment_end) {
        err = lqi_scan_next_file(scan, &id); /* a trailer is not believed alone: it may hide all that follows */
        if (err) return err;
        if (scan->segment.sealed) id = lqi_min64(id, scan->segment.end.next_id);
    }
    if (!found && scan->to_the_end) {
        lqi_scan_forget_buffer(scan);
        return lqi_scan_hole(scan, limit, 0, reason);
    }
    bool from_ring = scan->from_ring;
    scan->from_ring = ring; /* the hole is told of where it begins, the bytes at hand are from where it ends */
    int result = lqi_scan_hole(scan, to, id, reason);
    scan->from_ring = from_ring;
    return result;
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

/* The header at `position` is good: is it the record we want, and is it whole? LQ_EMPTY: go on to the next. `unreadable`: why
 * its body cannot be had; else NULL. */
static int take(struct lqi_scan *scan, const char *unreadable)
{
    const struct lqi_record *record = &scan->record;
    uint64_t next_id = lqi_record_next_id(record);
    char reason[sizeof scan->hole.text];

    if ((record->kind != LQI_RECORD_MESSAGES && record->kind != LQI_RECORD_HOLE) || next_id <= scan->next_id) {
        step(scan);
        return scan->with_marks && record->kind != LQI_RECORD_MESSAGES ? LQ_OK : LQ_EMPTY;
    }
    if (record->first_id > scan->next_id) { /* messages without bytes: what was between is gone */
        uint64_t kept = lqi_scan_oldest_id(scan->log);
        bool unknown = scan->position == scan->unreadable_to; /* how many were in what the disk did not give */
        if (scan->next_id >= kept) {
            lqi_scan_hole(scan, scan->position, record->first_id, "messages are missing before this record");
            return unknown ? lqi_scan_unreadable(scan) : LQI_HOLE;
        }
        lqi_scan_hole(scan, scan->position, lqi_min64(record->first_id, kept), "retention has deleted these messages");
        scan->hole.trimmed = true;
        return LQI_HOLE;
    }
    if (record->kind == LQI_RECORD_HOLE) {
        lqi_scan_hole(scan, scan->position + lqi_record_span(record->size), next_id, "repair has given up these messages");
        scan->hole.trimmed = scan->hole.repaired = true;
        return LQI_HOLE;
    }

    if (unreadable) {
        lqi_scan_hole(scan, scan->position + lqi_record_span(record->size), next_id, unreadable);
        return lqi_scan_unreadable(scan);
    }
    int err = scan->heads_only ? LQ_OK : open_payload(scan, reason, sizeof reason);
    if (err == LQ_ECORRUPT) {
        drop_record(scan);
        if (look_again(scan)) return LQ_EMPTY;
        return lqi_scan_hole(scan, scan->position + lqi_record_span(record->size), next_id, reason);
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

/* What the disk does not give, of a record whose header is at hand or not. */
static int unreadable(struct lqi_scan *scan, uint64_t limit, bool head)
{
    char reason[sizeof scan->hole.text];
    snprintf(reason, sizeof reason, "%s", lq_error_text());
    if (head) return take(scan, reason);
    int result = damaged(scan, limit, reason);
    return result == LQI_HOLE ? lqi_scan_unreadable(scan) : result;
}

/* Is the record at `position`, of which the header is at hand, in its file from end to end? Its size alone proves nothing. */
static int stands_in_file(const struct lqi_scan *scan, bool *stands_out)
{
    const struct lqi_segment *segment = &scan->segment;
    uint64_t size, offset = lqi_segment_offset(&segment->head, scan->position) + LQI_RECORD_HEADER;
    size_t got;

    *stands_out = false;
    int err = lqi_file_size(&segment->file, &size);
    if (err || offset + scan->record.size > size) return err;
    uint8_t *body = malloc((size_t)scan->record.size + 1);
    if (!body) return lqi_fail(LQ_ENOMEM, "no memory for a record of %" PRIu32 " bytes", scan->record.size);
    err = lqi_file_read(&segment->file, offset, body, scan->record.size, &got);
    *stands_out = !err && lqi_checksum(body, got) == scan->record.payload_check;
    free(body);
    return err;
}

/* There is less of the record at `position` than its header says. If it is whole nevertheless, somebody has written over the
 * numbers of `shared`, which never end in the middle of one: that is no damage to the log. LQ_EMPTY: it is cut off. */
static int complete(struct lqi_scan *scan, uint64_t span, uint64_t limit)
{
    bool stands = false;
    int err = scan->log->state && !scan->from_ring ? stands_in_file(scan, &stands) : LQ_OK;
    if (err) return err;
    if (!stands) return LQ_EMPTY;
    if (span > limit - scan->position) return LQ_TIMEOUT; /* `limit` will come to it */
    scan->proven_end = scan->position + span;
    err = fill(scan, span, limit);
    scan->proven_end = 0;
    return err;
}

static int try_next(struct lqi_scan *scan, uint64_t limit)
{
    int err = fill(scan, LQI_RECORD_HEADER, limit);
    if (err == LQ_EIO && scan->log->over_unreadable) return unreadable(scan, limit, false);
    if (err == LQ_EMPTY) return damaged(scan, limit, "the log ends here, in the middle of a record");
    if (err) return err;
    if (!head_here(scan, &scan->record)) return damaged(scan, limit, "no record begins here: its header does not verify");

    uint64_t span = lqi_record_span(scan->record.size);
    if (scan->heads_only || scan->record.kind == LQI_RECORD_HOLE) span = LQI_RECORD_HEADER;
    err = fill(scan, span, limit);
    if (err == LQ_EMPTY) err = complete(scan, span, limit);
    if (err == LQ_EIO && scan->log->over_unreadable) return unreadable(scan, limit, true);
    if (err == LQ_EMPTY) return damaged(scan, limit, "the record is cut off");
    return err ? err : take(scan, NULL);
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

int lqi_scan_seek_hint(struct lqi_scan *scan, uint64_t position, uint64_t id, uint64_t limit)
{
    struct lqi_record record;

    if (position > limit || position % 8) return lqi_scan_seek_id(scan, id);
    lqi_scan_start(scan, position, id);
    if (position == limit) return LQ_OK;
    int err = fill(scan, LQI_RECORD_HEADER, limit);
    if (err == LQ_OK && head_here(scan, &record) && record.first_id <= id) return LQ_OK;
    if (err < 0) return err;
    return lqi_scan_seek_id(scan, id);
}
