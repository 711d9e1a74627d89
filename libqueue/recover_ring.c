/* What processes that have died left in the ring: records that were accepted, and are in no file yet. They go to the
 * places in the files where they would have been written; the files that they lie in are made if their turn had not come.
 *
 * The numbers in the memory of the dead are hints: nothing counts but records that prove themselves, with the salt of their place. Wherever
 * it ends it can be done again: the memory stays as it is until all of it is in the files and synced. */
#include "recover_parts.h"

#include <assert.h>
#include <string.h>

#include "bytes.h"
#include "publish.h"

struct leftover {
    struct lqi_ring ring;
    const struct lqi_span *spans[2]; /* oldest first; [1] NULL when there is one */
    uint64_t from, to;               /* the bytes to be written */
    uint64_t next_id;                /* behind them */
    uint64_t messages;
};

static const struct lqi_span *span_at(const struct leftover *left, uint64_t position)
{
    assert(left->spans[0] != NULL);
    if (left->spans[1] && position >= left->spans[1]->position) return left->spans[1];
    return position >= left->spans[0]->position ? left->spans[0] : NULL;
}

/* Finds what verifies in the ring behind `found`. The numbers in `old` are hints: nothing counts but records that
 * prove themselves with the salt of their place. */
static bool find_leftover(struct lqi_shared_map *old, const struct lqi_found *found, struct leftover *left)
{
    struct lqi_log_state *state = &old->head->log;
    uint64_t newest = atomic_load(&state->append_span), oldest_written = atomic_load(&state->write_span);
    /* Death may have come between committing and publishing: the tail knows. */
    struct lqi_tail tail = state->tails[atomic_load(&state->turn) & 1];
    struct lqi_record record;

    memset(left, 0, sizeof *left);
    lqi_shared_ring(old, &left->ring);
    if (tail.span == newest || tail.span == newest + 1) newest = tail.span;
    left->spans[0] = &state->spans[newest & 1];
    if (oldest_written + 1 == newest) {
        left->spans[1] = left->spans[0];
        left->spans[0] = &state->spans[oldest_written & 1];
    }
    uint64_t end = lqi_max64(tail.end, atomic_load(&state->ring.appended));
    uint64_t oldest = lqi_max64(lqi_max64(end, left->ring.size) - left->ring.size, lqi_max64(tail.direct, atomic_load(&state->ring.ring_from)));
    uint64_t position = lqi_round_up(lqi_max64(found->given_up ? found->good_end : found->end, oldest), 8);
    left->next_id = found->given_up ? found->good_id : found->next_id;

    while (end < LQI_ID_END && position + LQI_RECORD_HEADER <= end) {
        const struct lqi_span *span = span_at(left, position);
        if (span && lqi_record_decode(lqi_ring_at(&left->ring, position), position, span->salt, &record) &&
            record.first_id >= left->next_id && lqi_record_span(record.size) <= end - position) {
            if (!left->to) left->from = position;
            left->to = position + lqi_record_span(record.size);
            left->messages += record.count;
            left->next_id = record.first_id + record.count;
            position = left->to;
        } else {
            position += 8;
        }
    }
    return left->to > left->from;
}

/* The file of the span; or one for its end, from the record `first_id` at `position` on, when that of the first is damaged. */
static int create_segment(const struct lqi_log *log, const struct lqi_span *span, uint64_t first_id, uint64_t position)
{
    char name[LQI_SEGMENT_NAME_SIZE];
    uint8_t bytes[LQI_SEGMENT_HEADER];
    struct lqi_segment_head head = {.first_id = first_id, .position = position, .salt = span->salt,
                                    .durable = span->durable, .created_us = span->created_us};
    memcpy(head.uuid, log->uuid, sizeof head.uuid);
    lqi_segment_head_encode(bytes, &head);
    lqi_segment_name(name, first_id);
    return lqi_publish(log->io, log->log_dir, &(struct lqi_publication){
        .name = name, .shown = name, .mode = log->options.mode, .bytes = bytes, .size = sizeof bytes, .file_size = sizeof bytes});
}

/* The place of the first record at or behind `from` whose id is above `taken`; `to` when there is none. What is passed over is lost. */
static uint64_t pass_over(struct leftover *left, const struct lqi_span *span, uint64_t from, uint64_t to, uint64_t taken,
                          uint64_t *first_id_out)
{
    struct lqi_record record;
    while (from < to) {
        bool good = lqi_record_decode(lqi_ring_at(&left->ring, from), from, span->salt, &record);
        if (good && record.first_id > taken) {
            *first_id_out = record.first_id;
            return from;
        }
        if (good) left->messages -= record.count;
        from += good ? lqi_record_span(record.size) : 8;
    }
    return to;
}

/* Opens the file that the bytes from *from on go to, which is made if its turn had not come. If it is there and damaged, it
 * stays as it is, and another one is made for what can be told from it: *from is its first byte then. */
static int open_for_leftover(const struct lqi_log *log, struct leftover *left, const struct lqi_span *span, uint64_t *from,
                             uint64_t to, struct lqi_segment *segment)
{
    uint64_t first_id = span->first_id, position = span->position;

    int err = lqi_segment_open(segment, log->io, log->log_dir, first_id, log->uuid, true);
    if (err == LQ_ECORRUPT) {
        /* Not at the record that this file has its name from: the name is taken. */
        position = *from = pass_over(left, span, *from, to, first_id, &first_id);
        if (position < to) err = LQ_ENOTFOUND;
    }
    if (err != LQ_ENOTFOUND) return err;
    err = create_segment(log, span, first_id, position);
    return err ? err : lqi_segment_open(segment, log->io, log->log_dir, first_id, log->uuid, true);
}

/* The bytes of one span, at their places in its file. */
static int write_leftover(const struct lqi_log *log, struct lqi_shared_map *old, struct leftover *left, const struct lqi_span *span,
                          uint64_t from, uint64_t to)
{
    struct lqi_segment segment;
    if (from >= to) return LQ_OK;

    int err = open_for_leftover(log, left, span, &from, to, &segment);
    if (err == LQ_ECORRUPT) return LQ_OK; /* nothing is left that was not in the damaged file, which is told when it is read */
    if (err) return err;
    if (!segment.sealed && segment.head.salt == span->salt && segment.head.position <= from) {
        err = lqi_file_write(&segment.file, lqi_segment_offset(&segment.head, from), lqi_ring_at(&left->ring, from), to - from);
        if (!err) err = lqi_shared_sync(old, &segment.file);
    } else { /* it is not that file: when it is read, it is told what is missing */
        uint64_t none;
        (void)pass_over(left, span, from, to, UINT64_MAX, &none);
    }
    lqi_segment_close(&segment);
    return err;
}

static int seal_found(const struct lqi_log *log, struct lqi_shared_map *old, struct lqi_found *found)
{
    struct lqi_segment_end end = {
        .end = found->end, .next_id = found->next_id, .salt = found->last.salt, .first_time_us = found->first_time_us,
        .last_time_us = found->first_time_us ? found->time_us : 0, .index_count = found->index_count,
    };
    size_t size = (size_t)end.index_count * LQI_INDEX_ENTRY + LQI_SEGMENT_TRAILER;
    uint8_t bytes[LQI_INDEX_MAX * LQI_INDEX_ENTRY + LQI_SEGMENT_TRAILER];
    struct lqi_segment segment;

    lqi_segment_end_encode(bytes, found->index, &end);
    int err = lqi_recover_open_last(log, found, &segment);
    if (!err) {
        uint64_t offset = lqi_segment_offset(&segment.head, end.end);
        err = lqi_file_write(&segment.file, offset, bytes, size);
        if (!err) err = lqi_file_truncate(&segment.file, offset + size);
        if (!err) err = lqi_shared_sync(old, &segment.file);
        lqi_segment_close(&segment);
    }
    return err;
}

int lqi_recover_ring(struct lqi_log *log, const struct lqi_trim *trim, const struct lqi_promise *promise,
                     struct lqi_shared_map *old, struct lqi_found *found, uint64_t *messages_out)
{
    struct leftover left;
    if (!find_leftover(old, found, &left)) return LQ_OK;
    /* It is about to be durable: what is bad before it is no torn tail. */
    struct lqi_promise kept = {.position = lqi_max64(promise->position, left.to), .next_id = lqi_max64(promise->next_id, left.next_id)};

    uint64_t border = left.spans[1] ? left.spans[1]->position : UINT64_MAX;
    int err = write_leftover(log, old, &left, left.spans[0], left.from, lqi_min64(left.to, border));
    if (!err && left.to > border) {
        struct lqi_promise before = {.position = lqi_max64(promise->position, border), .next_id = promise->next_id};
        err = lqi_find_end(log, trim, &before, found);
        if (!err && found->usable && found->last.salt == left.spans[0]->salt) err = seal_found(log, old, found);
        if (!err) err = write_leftover(log, old, &left, left.spans[1], lqi_max64(left.from, border), left.to);
    }
    if (!err) err = lqi_find_end(log, trim, &kept, found);
    *messages_out = left.messages;
    return err;
}
