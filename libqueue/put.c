/* PUT. Everything that takes time is done before the append lock: gathering,
 * packing, hashing. Then one append, and what the sync mode asks for. */
#include <inttypes.h>
#include <stdlib.h>

#include "bytes.h"
#include "checksum.h"
#include "compress.h"
#include "queue.h"

#define GATHER_ON_STACK 8192
#define PACK_MIN 128 /* smaller payloads are not worth a try */

/* ---- after the append --------------------------------------------------- */

/* The message is in the log already: an error that says it is not would be a lie. */
static int commit_put(lq_queue *queue, uint64_t end)
{
    int err = lqi_commit(&queue->log, end);
    if (!err || err == LQ_EPOISONED || err == LQ_EBUSY) return err;
    return lqi_fail(LQ_EBUSY, "the message was appended, but could not be made durable yet: %.400s", lq_error_text());
}

/* Retention is looked at when a new segment has begun: for size and age there is no other moment, and of what was
 * consumed faster than it was written out nobody could say then that its segment was not the last. */
static void retain_old(lq_queue *queue)
{
    struct lqi_log *log = &queue->log;
    uint64_t span = atomic_load_explicit(&log->state->write_span, memory_order_relaxed);
    if (atomic_exchange_explicit(&queue->retained_span, span, memory_order_relaxed) == span) return;

    /* The message is in the queue: for whoever deletes segments just now, or was stopped at it, its PUT does not wait. */
    int limit = lqi_lock_limit(0);
    int err = lqi_retain(log, 0, false, NULL); /* tried again with the next span; if it is only him, with the next PUT */
    lqi_lock_limit(limit);
    if (err == LQ_EBUSY) atomic_store_explicit(&queue->retained_span, 0, memory_order_relaxed);
}

static int after_append(lq_queue *queue, uint64_t end)
{
    struct lqi_log *log = &queue->log;

    if (log->options.sync == LQ_SYNC_ALWAYS && !(queue->flags & LQ_DEFER_SYNC)) {
        int err = commit_put(queue, end);
        if (err) return err;
    } else {
        if (log->options.sync != LQ_SYNC_ALWAYS) lqi_bell_ring(&log->state->arrived);
        lqi_write_out_some(log);
    }
    retain_old(queue);
    return LQ_OK;
}

/* ---- a full queue ------------------------------------------------------- */

/* Waits for segments to go, as long as the policy allows. LQ_OK: try again. The log was full when it began at `first_position`. */
static int wait_for_room(lq_queue *queue, uint64_t bytes, uint64_t first_position, int64_t deadline)
{
    struct lqi_log *log = &queue->log;
    char reason[LQI_TEXT_MAX];
    size_t gone;
    memcpy(reason, lq_error_text(), sizeof reason);

    uint32_t seen = lqi_bell_listen(&log->state->room);
    bool drop = log->options.full == LQ_FULL_DROP || log->options.retention != LQ_RETAIN_CONSUMED;
    /* As long as the newest segment is in memory only, the one before it is the last file, which never goes. */
    (void)lqi_write_out(log);
    int err = lqi_retain(log, bytes, drop, &gone);
    if (err || gone) return err;
    if (atomic_load(&log->state->first_position) != first_position) return LQ_OK; /* another has made room, and found no more to do */
    if (log->options.full != LQ_FULL_BLOCK) return lqi_fail(LQ_EFULL, "%s", reason);
    if (lqi_now_us() >= deadline) return lqi_fail(LQ_TIMEOUT, "%s", reason);
    /* Bounded: whoever consumed may have died before it rang. A failed sync rings, too. */
    lqi_wait(&log->state->room.word, seen, lqi_min64(deadline, lqi_now_us() + 50000));
    return LQ_OK;
}

/* Neither for room nor for locks does it wait beyond the deadline, nor give up before: what has not been appended then is
 * not in the queue. */
static int append_by(lq_queue *queue, const struct lqi_append *record, int64_t deadline, uint64_t *id_out, uint64_t *end_out)
{
    for (;;) {
        int limit = lqi_lock_limit(lqi_ms_left(deadline));
        uint64_t first_position = atomic_load(&queue->log.state->first_position);
        int err = lqi_append(&queue->log, record, id_out, end_out);
        bool full = err == LQ_EFULL;
        if (full) err = wait_for_room(queue, lqi_record_span(record->size), first_position, deadline);
        lqi_lock_limit(limit);
        if (err == LQ_EBUSY && deadline != INT64_MAX) {
            if (lqi_now_us() >= deadline) return lqi_fail(LQ_TIMEOUT, "not appended in the time given: %.400s", lq_error_text());
            continue;
        }
        if (err || !full) return err;
    }
}

static int append(lq_queue *queue, const struct lqi_append *record, uint64_t *first_id_out)
{
    uint64_t id, end;
    bool bounded = queue->log.options.full == LQ_FULL_BLOCK && queue->full_timeout_ms > 0;
    int err = append_by(queue, record, bounded ? lqi_deadline(queue->full_timeout_ms) : INT64_MAX, &id, &end);
    if (err) return err;
    err = after_append(queue, end);
    if (!err && first_id_out) *first_id_out = id;
    return err;
}

/* ---- the record --------------------------------------------------------- */

/* Packs the payload if that pays; `packed` is set to what must be freed, if so. */
static int pack(lq_queue *queue, struct lqi_append *record, uint8_t **packed)
{
    uint32_t size;
    if (!queue->log.options.compression || record->size < PACK_MIN) return LQ_OK;
    *packed = malloc(record->size);
    if (!*packed) return lqi_fail(LQ_ENOMEM, "no memory to pack %" PRIu32 " bytes", record->size);
    int err = lqi_pack(record->payload, record->size, queue->log.options.compression, *packed, &size);
    if (err || !size) return err;
    record->payload = *packed;
    record->size = size;
    record->flags |= LQI_RECORD_PACKED;
    return LQ_OK;
}

static int put_payload(lq_queue *queue, const void *payload, uint32_t size, uint16_t count, uint8_t flags, uint64_t *first_id_out)
{
    struct lqi_append record = {.payload = payload, .size = size, .count = count, .kind = LQI_RECORD_MESSAGES, .flags = flags};
    uint8_t *packed = NULL;

    int err = pack(queue, &record, &packed);
    if (!err) {
        record.payload_check = lqi_checksum(record.payload, record.size);
        err = append(queue, &record, first_id_out);
    }
    free(packed);
    return err;
}

/* ---- the verbs ---------------------------------------------------------- */

int lq_put(lq_queue *queue, const void *data, size_t size, uint64_t *id_out)
{
    int err = lqi_queue_check(queue, true);
    if (err) return err;
    if (!data && size) return lqi_fail(LQ_EINVAL, "lq_put: data is NULL, but size is %zu", size);
    if (size > queue->log.options.message_size_max)
        return lqi_fail(LQ_ETOOBIG, "a message of %zu bytes, this queue takes %" PRIu64, size, queue->log.options.message_size_max);
    return put_payload(queue, data, (uint32_t)size, 1, LQI_RECORD_LONE, id_out);
}

int lq_put_batch(lq_queue *queue, const lq_message *messages, size_t count, uint64_t *first_id_out)
{
    uint8_t stack[GATHER_ON_STACK], *payload = stack;
    uint32_t size;
    uint8_t flags;

    int err = lqi_queue_check(queue, true);
    if (err) return err;
    if (!messages) return lqi_fail(LQ_EINVAL, "lq_put_batch: messages is NULL");
    err = lqi_payload_size(messages, count, queue->log.options.message_size_max, &size, &flags);
    if (err) return err;
    if (flags & LQI_RECORD_LONE) return put_payload(queue, messages->data, size, 1, flags, first_id_out);
    if (size > sizeof stack) payload = malloc(size);
    if (!payload) return lqi_fail(LQ_ENOMEM, "no memory for a batch of %" PRIu32 " bytes", size);
    lqi_payload_encode(payload, messages, count, flags);
    err = put_payload(queue, payload, size, (uint16_t)count, flags, first_id_out);
    if (payload != stack) free(payload);
    return err;
}
