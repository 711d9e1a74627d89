/* Appending. Everything that can be done before (hashing, packing, gathering) was done
 * by the caller; under the lock a record gets its place, its id and its time, is
 * copied into the ring and published. */
#include "log.h"

#include <inttypes.h>

#include "bytes.h"
#include "writeout.h"

/* ---- the shape of a segment --------------------------------------------- */

uint64_t lqi_index_stride(const lq_options *options)
{
    return lqi_max64(65536, lqi_round_up(options->segment_size / (LQI_INDEX_MAX - 8) + 1, 8));
}

static uint64_t footer_room(const lq_options *options, uint64_t capacity)
{
    uint64_t entries = lqi_min64(capacity / lqi_index_stride(options) + 2, LQI_INDEX_MAX);
    return entries * LQI_INDEX_ENTRY + LQI_SEGMENT_TRAILER;
}

uint64_t lqi_segment_capacity(const lq_options *options)
{
    return (options->segment_size - LQI_SEGMENT_HEADER - footer_room(options, options->segment_size)) & ~(uint64_t)7;
}

uint64_t lqi_segment_file_size(const lq_options *options, uint64_t capacity)
{
    return LQI_SEGMENT_HEADER + capacity + footer_room(options, capacity);
}

/* ---- the tail ----------------------------------------------------------- */

static struct lqi_tail *committed(struct lqi_log_state *state)
{
    return &state->tails[atomic_load_explicit(&state->turn, memory_order_relaxed) & 1];
}

/* Shows readers what the committed tail says. Its stores are in this order so that `appended`, which
 * readers take first, never runs ahead of the rest; doing them again is harmless. */
static void publish(struct lqi_log *log, const struct lqi_tail *tail)
{
    struct lqi_log_state *state = log->state;

    atomic_store_explicit(&state->append_span, tail->span, memory_order_release);
    /* Each by itself: whoever did this last may have died between the two. */
    if (tail->direct > atomic_load_explicit(&state->ring.ring_from, memory_order_relaxed))
        lqi_ring_skip_to(&log->ring, tail->direct);
    if (tail->direct > atomic_load_explicit(&state->written, memory_order_relaxed))
        atomic_store_explicit(&state->written, tail->direct, memory_order_release);
    lqi_ring_publish(&log->ring, tail->end);
}

static void commit(struct lqi_log *log, const struct lqi_tail *next)
{
    struct lqi_log_state *state = log->state;
    uint64_t turn = atomic_load_explicit(&state->turn, memory_order_relaxed);

    lqi_tail_copy(&state->tails[(turn + 1) & 1], next);
    atomic_store_explicit(&state->turn, turn + 1, memory_order_release);
    publish(log, next);
}

static int lock_append(struct lqi_log *log)
{
    int got = lqi_lock(&log->state->append, "append lock");
    if (got != LQI_INHERITED) return got;

    /* Its owner died inside. What it had not committed does not exist. */
    publish(log, committed(log->state));
    lqi_lock_mend(&log->state->append);
    return LQ_OK;
}

int lqi_log_tail(struct lqi_log *log, struct lqi_tail *tail_out)
{
    int err = lock_append(log);
    if (err) return err;
    *tail_out = *committed(log->state);
    lqi_unlock(&log->state->append);
    return LQ_OK;
}

/* ---- spans -------------------------------------------------------------- */

/* Ends the tail's span and begins the next one, in `tail` only: the slots written here
 * are seen by nobody before the tail is committed, and may be filled again after a death. */
static int begin_span(struct lqi_log *log, struct lqi_tail *tail, uint64_t capacity)
{
    struct lqi_span *old = &log->state->spans[tail->span & 1];
    struct lqi_span *span = &log->state->spans[(tail->span + 1) & 1];
    uint64_t salt;
    int error = log->io->random(log->io, &salt, sizeof salt);
    if (error) return lqi_fail_errno(error, "get random bytes for", "a segment", -1);

    old->end = (struct lqi_segment_end){
        .end = tail->end, .next_id = tail->next_id, .salt = old->salt, .first_time_us = old->first_time_us,
        .last_time_us = old->first_time_us ? tail->time_us : 0, .index_count = tail->index_count,
    };
    span->first_id = tail->next_id;
    atomic_store_explicit(&span->position, tail->end, memory_order_relaxed);
    atomic_store_explicit(&span->salt, salt, memory_order_relaxed);
    span->durable = atomic_load_explicit(&log->state->synced, memory_order_relaxed);
    span->created_us = tail->time_us;
    span->limit = tail->end + capacity;
    span->first_time_us = 0;
    span->sealed = 0;
    atomic_store_explicit(&span->allocated, 1, memory_order_relaxed);
    tail->span++;
    tail->index_count = 0;
    return LQ_OK;
}

bool lqi_log_in_ring(const struct lqi_log *log, uint64_t position, uint64_t *salt_out, uint64_t *end_out)
{
    struct lqi_log_state *state = log->state;
    if (!state) return false;

    uint64_t appended = atomic_load_explicit(&state->ring.appended, memory_order_acquire);
    uint64_t newest = atomic_load_explicit(&state->append_span, memory_order_acquire);
    const struct lqi_span *span = &state->spans[newest & 1];
    uint64_t end = appended;
    bool older = position < atomic_load_explicit(&span->position, memory_order_relaxed);
    if (older) {
        end = atomic_load_explicit(&span->position, memory_order_relaxed);
        span = &state->spans[(newest - 1) & 1];
        if (position < atomic_load_explicit(&span->position, memory_order_relaxed)) return false;
    }
    *salt_out = atomic_load_explicit(&span->salt, memory_order_relaxed);
    *end_out = lqi_min64(end, appended);

    /* The older span's slot is used again only after that span was written out, the newer one's later still. */
    atomic_thread_fence(memory_order_acquire);
    if (older && atomic_load_explicit(&state->write_span, memory_order_relaxed) >= newest) return false;
    return atomic_load_explicit(&state->append_span, memory_order_relaxed) == newest &&
           position < *end_out && position >= lqi_ring_oldest(&log->ring);
}

/* ---- one record --------------------------------------------------------- */

static uint64_t add_record(struct lqi_log *log, struct lqi_tail *tail, const struct lqi_append *append, int64_t now_us,
                           uint8_t header[LQI_RECORD_HEADER])
{
    struct lqi_span *span = &log->state->spans[tail->span & 1];
    uint64_t first_id = tail->next_id;
    uint64_t synced = atomic_load_explicit(&log->state->synced, memory_order_relaxed);
    if (append->count && now_us > tail->time_us) tail->time_us = now_us; /* a mark has the time of the message before it */

    struct lqi_record record = {
        .position = tail->end, .durable = synced, .first_id = first_id, .time_us = tail->time_us,
        .payload_check = append->payload_check, .size = append->size, .count = append->count, .kind = append->kind,
        .flags = append->flags,
    };
    lqi_record_encode(header, &record, atomic_load_explicit(&span->salt, memory_order_relaxed));

    if (append->count && !span->first_time_us) span->first_time_us = tail->time_us;
    if (append->count && (!tail->index_count || tail->end - tail->indexed >= lqi_index_stride(&log->options)) &&
        tail->index_count < LQI_INDEX_MAX) {
        span->index[tail->index_count++] = (struct lqi_index_entry){first_id, tail->time_us, tail->end};
        tail->indexed = tail->end;
    }
    tail->next_id += append->count;
    tail->end += lqi_record_span(append->size);
    tail->records++;
    tail->mark = append->kind == LQI_RECORD_MARK ? tail->end : 0;
    return first_id;
}

static void fill_ring(struct lqi_log *log, uint64_t position, const uint8_t header[LQI_RECORD_HEADER],
                      const struct lqi_append *append)
{
    static const uint8_t zeroes[8];
    uint64_t bytes = lqi_record_span(append->size);
    uint8_t *to = lqi_ring_reserve(&log->ring, position, bytes);

    lqi_ring_fill(to, header, LQI_RECORD_HEADER);
    if (append->size) lqi_ring_fill(to + LQI_RECORD_HEADER, append->payload, append->size);
    lqi_ring_fill(to + LQI_RECORD_HEADER + append->size, zeroes, bytes - LQI_RECORD_HEADER - append->size);
}

/* ---- small records: into the ring --------------------------------------- */

enum missing { NOTHING, RING_ROOM, NEXT_FILE, NEXT_SPAN, DISK_SPACE };

/* In LQ_SYNC_ALWAYS a record is put only into a segment that has its name: what that still needs can fail (xfs may want
 * a block for the longer name), and by then the record would be in the log, neither refused nor durable. */
static bool needs_segment(const struct lqi_log *log)
{
    return log->options.sync == LQ_SYNC_ALWAYS;
}

/* What must be done, without the append lock, before `bytes` more can be taken; NEXT_SPAN: with it. */
static enum missing missing_for(struct lqi_log *log, const struct lqi_tail *tail, uint64_t bytes)
{
    struct lqi_log_state *state = log->state;
    struct lqi_span *span = &state->spans[tail->span & 1];

    if (span->sealed || tail->end + bytes > span->limit) {
        if (atomic_load_explicit(&state->write_span, memory_order_acquire) != tail->span) return RING_ROOM;
        if (atomic_load_explicit(&state->prepared, memory_order_acquire) != tail->span + 1) return NEXT_FILE;
        if (needs_segment(log)) return NEXT_SPAN;
    } else if (needs_segment(log) && atomic_load_explicit(&state->write_span, memory_order_acquire) != tail->span) {
        return RING_ROOM; /* writing out makes the segment */
    } else if (!atomic_load_explicit(&span->allocated, memory_order_acquire)) {
        return DISK_SPACE;
    }
    uint64_t written = atomic_load_explicit(&state->written, memory_order_acquire);
    return tail->end + bytes > written + log->ring.size ? RING_ROOM : NOTHING;
}

static int provide(struct lqi_log *log, enum missing missing, uint64_t span)
{
    if (missing == RING_ROOM) return lqi_write_out(log);
    if (missing == NEXT_FILE) return lqi_prepare(log, span + 1);
    return missing == DISK_SPACE ? lqi_allocate(log) : LQ_OK;
}

static int over_size_max(struct lqi_log *log, const struct lqi_tail *tail, const struct lqi_append *append)
{
    uint64_t first = atomic_load_explicit(&log->state->first_position, memory_order_relaxed);
    uint64_t bytes = lqi_record_span(append->size);

    if (!log->options.size_max || !append->count || tail->end - first + bytes <= log->options.size_max) return LQ_OK;
    return lqi_fail(LQ_EFULL, "the queue is full: %" PRIu64 " bytes of log, %" PRIu64 " more, size_max is %" PRIu64,
                    tail->end - first, bytes, log->options.size_max);
}

/* Nothing that is framed may fail to verify: see lqi_record_decode(). */
static int over_the_end(const struct lqi_tail *tail, const struct lqi_append *append)
{
    if (tail->next_id < LQI_ID_END - append->count && tail->end <= LQI_POSITION_END - lqi_record_span(append->size)) return LQ_OK;
    return lqi_fail(LQ_ELIMIT, "the log is at its end: the next message would be %" PRIu64 ", at position %" PRIu64, tail->next_id,
                    tail->end);
}

/* What was missing has been provided, and is missing all the same, with nobody appending: numbers that no writer of ours
 * has left behind. */
#define ROOM_TRIES 1000

static int never_room(const struct lqi_log *log, const struct lqi_tail *tail)
{
    return lqi_fail(LQ_ECORRUPT, "%s: its numbers make no sense (end %" PRIu64 ", written %" PRIu64 "): was it written over while in use?",
                    LQI_SHARED_NAME, tail->end, atomic_load(&log->state->written));
}

/* Takes the append lock when there is room for the record. */
static int lock_with_room(struct lqi_log *log, const struct lqi_append *append, struct lqi_tail *tail_out)
{
    uint64_t end = 0;

    for (unsigned tries = 0;; tries++) {
        int err = lock_append(log);
        if (err) return err;
        *tail_out = *committed(log->state);
        if (tail_out->end != end) tries = 0;
        end = tail_out->end;
        err = over_the_end(tail_out, append);
        if (!err) err = over_size_max(log, tail_out, append);
        enum missing missing = err ? NOTHING : missing_for(log, tail_out, lqi_record_span(append->size));
        if (!err && missing == NOTHING) return LQ_OK;
        if (missing == NEXT_SPAN) {
            err = begin_span(log, tail_out, lqi_segment_capacity(&log->options));
            if (!err) commit(log, tail_out);
        }
        lqi_unlock(&log->state->append);
        if (!err) err = tries < ROOM_TRIES ? provide(log, missing, tail_out->span) : never_room(log, tail_out);
        if (err) return err;
    }
}

static int append_small(struct lqi_log *log, const struct lqi_append *append, int64_t now_us, uint64_t *first_id_out,
                        uint64_t *end_out)
{
    uint8_t header[LQI_RECORD_HEADER];
    struct lqi_tail tail;
    int err = lock_with_room(log, append, &tail);
    if (err) return err;

    const struct lqi_span *span = &log->state->spans[tail.span & 1];
    if (span->sealed || tail.end + lqi_record_span(append->size) > span->limit)
        err = begin_span(log, &tail, lqi_segment_capacity(&log->options));
    if (!err) {
        uint64_t position = tail.end;
        *first_id_out = add_record(log, &tail, append, now_us, header);
        fill_ring(log, position, header, append);
        *end_out = tail.end;
        commit(log, &tail);
    }
    lqi_unlock(&log->state->append);
    return err;
}

/* ---- large records: straight to the file -------------------------------- */

static int roll_in_file(struct lqi_log *log, struct lqi_tail *tail, uint64_t capacity)
{
    int err = lqi_prepare_locked(log, tail->span + 1, capacity);
    if (!err) err = begin_span(log, tail, capacity);
    if (err) return err;
    commit(log, tail);
    return lqi_write_up_to(log, tail->end);
}

/* Makes the span being written one that takes `bytes` more: the current one if it fits, or is empty and
 * can grow; else the next. Holds both locks. */
static int make_room_in_file(struct lqi_log *log, struct lqi_tail *tail, uint64_t bytes)
{
    struct lqi_span *span = &log->state->spans[tail->span & 1];
    uint64_t capacity = lqi_max64(bytes, lqi_segment_capacity(&log->options));
    bool fits = !span->sealed && tail->end + bytes <= span->limit;
    struct lqi_file *file;

    if (fits && atomic_load_explicit(&span->allocated, memory_order_relaxed)) return LQ_OK;
    if (!fits && (span->sealed || tail->end != span->position)) return roll_in_file(log, tail, capacity);

    if (fits) capacity = span->limit - span->position;
    int err = lqi_writing_file(log, &file);
    if (!err) err = lqi_file_allocate(file, lqi_segment_file_size(&log->options, capacity));
    if (err) return err;
    span->limit = span->position + capacity;
    atomic_store_explicit(&span->allocated, 1, memory_order_release);
    return LQ_OK;
}

/* The header goes last: until it is there, the bytes are no record. */
static int write_record(struct lqi_log *log, const struct lqi_tail *tail, uint64_t position,
                        const uint8_t header[LQI_RECORD_HEADER], const struct lqi_append *append)
{
    static const uint8_t zeroes[8];
    const struct lqi_span *span = &log->state->spans[tail->span & 1];
    uint64_t offset = LQI_SEGMENT_HEADER + (position - span->position);
    uint64_t padding = lqi_record_span(append->size) - LQI_RECORD_HEADER - append->size;
    struct lqi_file *file;

    int err = lqi_writing_file(log, &file);
    if (!err) err = lqi_file_write(file, offset + LQI_RECORD_HEADER, append->payload, append->size);
    if (!err && padding) err = lqi_file_write(file, offset + LQI_RECORD_HEADER + append->size, zeroes, padding);
    if (!err) err = lqi_file_write(file, offset, header, LQI_RECORD_HEADER);
    return err;
}

static int append_large(struct lqi_log *log, const struct lqi_append *append, int64_t now_us, uint64_t *first_id_out,
                        uint64_t *end_out)
{
    uint8_t header[LQI_RECORD_HEADER];
    int err = lock_append(log);
    if (err) return err;
    err = lqi_lock_write(log);
    if (err) goto unlock_append;

    struct lqi_tail tail = *committed(log->state);
    err = over_the_end(&tail, append);
    if (!err) err = over_size_max(log, &tail, append);
    if (!err) err = lqi_write_up_to(log, tail.end);
    if (!err) err = make_room_in_file(log, &tail, lqi_record_span(append->size));
    if (!err) {
        uint64_t position = tail.end;
        *first_id_out = add_record(log, &tail, append, now_us, header);
        err = write_record(log, &tail, position, header, append);
    }
    if (!err) {
        tail.direct = *end_out = tail.end;
        commit(log, &tail);
    }
    lqi_unlock(&log->state->write);
unlock_append:
    lqi_unlock(&log->state->append);
    return err;
}

/* ---- for everybody ------------------------------------------------------ */

int lqi_append(struct lqi_log *log, const struct lqi_append *append, uint64_t *first_id_out, uint64_t *end_out)
{
    int64_t now_us = log->io->wall_us(log->io);
    uint64_t bytes = lqi_record_span(append->size);

    if (lqi_poisoned(log))
        return lqi_fail(LQ_EPOISONED, "the queue is poisoned: a sync has failed; close all handles and open it again");
    if (bytes > log->ring.size / 4 || bytes > lqi_segment_capacity(&log->options))
        return append_large(log, append, now_us, first_id_out, end_out);
    return append_small(log, append, now_us, first_id_out, end_out);
}

int lqi_append_mark(struct lqi_log *log)
{
    struct lqi_append mark = {.kind = LQI_RECORD_MARK};
    uint64_t first_id, end;
    struct lqi_tail tail;
    int err = lqi_log_tail(log, &tail);
    if (err) return err;
    const struct lqi_span *span = &log->state->spans[tail.span & 1];
    /* Never as the first record, of this segment or of the next one: the segment behind it would begin with the same
     * id, and so have the same name. */
    if (tail.mark == tail.end || tail.end == span->position || tail.end + lqi_record_span(mark.size) > span->limit) return LQ_OK;
    return lqi_append(log, &mark, &first_id, &end);
}
