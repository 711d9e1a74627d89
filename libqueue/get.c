/* GET and POLL, and the consumer handle.
 *
 * Under the consumer's lock it is decided which messages this member gets: those
 * that come again first, then the next ones of the log. New ones are read under the lock, mostly from
 * bytes that are at hand already; those that come again are read after it. What was
 * leased and then cannot be read is given back, or, if it is damaged, settled and told. */
#include <inttypes.h>
#include <stdlib.h>

#include "bytes.h"
#include "consumer.h"

enum { COME_AGAIN_FIRST = 101 }; /* dead members were found: what they held goes before newer messages */

#define AGAIN_READ ((size_t)16 << 10)

int lqi_consumer_check(const lq_consumer *consumer)
{
    if (!consumer) return lqi_fail(LQ_EINVAL, "the consumer is NULL");
    return lqi_queue_check(consumer->queue, true);
}

/* ---- loans -------------------------------------------------------------- */

/* Sees to it that `count` more messages can be lent. */
static int reserve_loans(lq_consumer *consumer, uint32_t in_use, size_t count)
{
    if (consumer->loan_capacity - in_use >= count) return LQ_OK;
    uint64_t capacity = lqi_max64(16, 2 * (uint64_t)consumer->loan_capacity);
    while (capacity < in_use + count) capacity *= 2;

    struct lqi_loan *loans = realloc(consumer->loans, capacity * sizeof *loans);
    if (!loans) return lqi_fail(LQ_ENOMEM, "no memory for %" PRIu64 " unsettled messages", capacity);
    for (uint64_t i = consumer->loan_capacity; i < capacity; i++) {
        loans[i] = (struct lqi_loan){.next_free = consumer->loan_free};
        consumer->loan_free = (uint32_t)i + 1;
    }
    consumer->loans = loans;
    consumer->loan_capacity = (uint32_t)capacity;
    return LQ_OK;
}

static uint64_t lend(lq_consumer *consumer, uint64_t id, uint32_t token, struct lqi_block *block)
{
    uint32_t index = consumer->loan_free - 1;
    struct lqi_loan *loan = &consumer->loans[index];

    consumer->loan_free = loan->next_free;
    *loan = (struct lqi_loan){.id = id, .token = token, .block = lqi_block_hold(block)};
    return (uint64_t)token << 32 | index;
}

static void fill_message(lq_consumer *consumer, lq_message *message, const struct lqi_grant *grant, int64_t time_us,
                         struct lqi_block *block)
{
    message->id = grant->id;
    message->time_us = time_us;
    message->attempts = grant->attempts;
    message->flags = 0;
    message->lease = lend(consumer, grant->id, grant->lease, block);
    memset(message->reserved, 0, sizeof message->reserved);
}

/* It is there, and nowhere to be seen: whoever rolls the log or writes it out is at it, or was stopped. */
static int cannot_be_read(uint64_t id)
{
    return lqi_fail(LQ_EBUSY, "message %" PRIu64 " cannot be read just now", id);
}

/* ---- new messages, under the lock --------------------------------------- */

/* Steps over a hole for good. LQ_EMPTY: not all of it yet, the window is full. */
static int pass_hole(lq_consumer *consumer)
{
    const struct lqi_hole *hole = &consumer->ahead.hole;
    uint64_t last = hole->first_id + hole->count - 1;

    if (hole->count && !lqi_skip_to(&consumer->member, last, hole->trimmed)) return LQ_EMPTY;
    atomic_store_explicit(&consumer->slot->next_position, consumer->ahead.position, memory_order_release);
    if (hole->trimmed) return LQ_OK;
    atomic_fetch_add(&consumer->queue->map.head->damage, 1);
    return LQ_ECORRUPT;
}

/* Makes the record that holds `id` = delivered + 1 the present one. LQ_OK LQ_EMPTY LQ_ECORRUPT or an error. LQ_EBUSY: not just now. */
static int open_record(lq_consumer *consumer, uint64_t id, uint64_t visible)
{
    struct lqi_scan *ahead = &consumer->ahead;

    if (consumer->payload_id && id - consumer->payload_id < consumer->payload.count) {
        lqi_payload_skip_to(&consumer->payload, (uint32_t)(id - consumer->payload_id));
        return LQ_OK;
    }
    uint64_t position = atomic_load_explicit(&consumer->slot->next_position, memory_order_relaxed);
    consumer->payload_id = 0;
    if (position != LQI_POSITION_UNKNOWN && position >= visible) return LQ_EMPTY;
    if (ahead->position != position || ahead->next_id != id) {
        int err = position == LQI_POSITION_UNKNOWN ? lqi_scan_seek_id(ahead, id) : lqi_scan_seek_hint(ahead, position, id, visible);
        if (err) return err;
    }
    for (;;) {
        int err = lqi_scan_next(ahead, visible);
        if (err == LQ_EMPTY) /* only marks and the like up to here: they need not be met again */
            atomic_store_explicit(&consumer->slot->next_position, ahead->position, memory_order_release);
        if (err == LQI_HOLE) {
            err = pass_hole(consumer);
            if (err) return err;
            id = lqi_delivered(consumer->slot) + 1; /* retention went past us: on from there */
            continue;
        }
        if (err == LQ_EMPTY && ahead->position < visible) return cannot_be_read(id);
        if (err) return err;
        break;
    }
    lqi_payload_open(&consumer->payload, ahead->payload, ahead->payload_size, ahead->record.count, ahead->record.flags);
    consumer->payload_id = ahead->record.first_id;
    consumer->payload_position = ahead->record.position;
    consumer->payload_time_us = ahead->record.time_us;
    lqi_payload_skip_to(&consumer->payload, (uint32_t)(id - consumer->payload_id));
    return LQ_OK;
}

static bool window_is_full(const struct lqi_consumer_slot *slot)
{
    return lqi_delivered(slot) - lqi_floor(slot) >= slot->window;
}

static int take_next(lq_consumer *consumer, lq_message *message, uint64_t visible)
{
    struct lqi_grant grant;

    if (window_is_full(consumer->slot)) return LQ_EMPTY;
    int err = open_record(consumer, lqi_delivered(consumer->slot) + 1, visible);
    if (err) return err;
    if (window_is_full(consumer->slot)) return LQ_EMPTY; /* the messages of a hole that was stepped over take their places too */
    lqi_lease_next(&consumer->member, consumer->payload_position, &grant);
    lqi_payload_next(&consumer->payload, message);
    fill_message(consumer, message, &grant, consumer->payload_time_us, consumer->ahead.payload_block);
    /* Until the record's last message is out, others must find it again. */
    atomic_store_explicit(&consumer->slot->next_position,
                          consumer->payload.index == consumer->payload.count ? consumer->ahead.position : consumer->payload_position,
                          memory_order_release);
    return LQ_OK;
}

/* ---- messages that come again ------------------------------------------- */

int lqi_consumer_enter(lq_consumer *consumer)
{
    int err = lqi_consumer_lock(&consumer->queue->map, consumer->slot, consumer->member.region);
    if (err || !consumer->owed.id) return err;
    lqi_settle(&consumer->member, consumer->owed.id, consumer->owed.lease, consumer->owed_how);
    consumer->owed.id = 0;
    return LQ_OK;
}

/* What was leased does not go out, because of `err`, which is returned with its text. If the lock is not to be had in the
 * time of this call, the settlement is owed, and done by whoever of us has the lock next. */
static int settle_unseen(lq_consumer *consumer, const struct lqi_grant *grant, enum lqi_settlement how, int err)
{
    char text[LQI_TEXT_MAX];
    memcpy(text, lq_error_text(), sizeof text);
    consumer->owed = *grant;
    consumer->owed_how = how;
    if (lqi_consumer_enter(consumer) == LQ_OK) lqi_consumer_unlock(consumer->slot);
    return lqi_fail(err, "%s", text);
}

static int find_again(lq_consumer *consumer, const struct lqi_grant *grant, uint64_t visible)
{
    struct lqi_scan *again = &consumer->again;
    int err = grant->position == LQI_POSITION_UNKNOWN ? lqi_scan_seek_id(again, grant->id)
                                                      : lqi_scan_seek_hint(again, grant->position, grant->id, visible);
    bool hole = false;
    while (!err) {
        err = lqi_scan_next(again, visible);
        /* Damage on the way there, which is others': the message itself may be as good as ever. */
        if (err != LQI_HOLE || again->next_id > grant->id) break;
        err = LQ_OK;
        hole = true;
    }
    /* A hole up to the very end, of which nobody knows what it has swallowed: the message was in it. */
    return err == LQ_EMPTY && hole && again->position >= visible ? LQI_HOLE : err;
}

/* Reads a message that was leased by lqi_lease_returned(). LQ_EMPTY: it is not there any more, retention deleted it. */
static int read_again(lq_consumer *consumer, const struct lqi_grant *grant, lq_message *message)
{
    struct lqi_scan *again = &consumer->again;
    const struct lqi_log *log = &consumer->queue->log;
    struct lqi_payload payload;
    /* Looked at now: it may have been handed out, and have come back, since this call of GET began. */
    int err = find_again(consumer, grant, lqi_log_visible(log));

    if (err == LQ_EMPTY && grant->id >= atomic_load(&log->state->first_id))
        err = cannot_be_read(grant->id);
    if (err == LQ_EMPTY || (err == LQI_HOLE && again->hole.trimmed)) return settle_unseen(consumer, grant, LQI_DROP, LQ_EMPTY);
    if (err == LQI_HOLE) {
        atomic_fetch_add(&consumer->queue->map.head->damage, 1);
        return settle_unseen(consumer, grant, LQI_ACK, LQ_ECORRUPT);
    }
    if (err) return settle_unseen(consumer, grant, LQI_UNDO, err);
    lqi_payload_open(&payload, again->payload, again->payload_size, again->record.count, again->record.flags);
    lqi_payload_skip_to(&payload, (uint32_t)(grant->id - again->record.first_id));
    lqi_payload_next(&payload, message);
    fill_message(consumer, message, grant, again->record.time_us, again->payload_block);
    return LQ_OK;
}

/* One message that comes again; the rest of a batch follow in further calls. */
static int take_again(lq_consumer *consumer, lq_message *message)
{
    for (;;) {
        struct lqi_grant grant;
        bool any = false;
        int err = lqi_consumer_enter(consumer);
        if (err) return err;
        any = lqi_lease_returned(&consumer->member, &grant);
        lqi_consumer_unlock(consumer->slot);
        if (!any) return LQ_EMPTY;
        err = read_again(consumer, &grant, message);
        if (err != LQ_EMPTY) return err;
    }
}

/* ---- taking ------------------------------------------------------------- */

static uint32_t loans_in_use(const lq_consumer *consumer)
{
    uint32_t in_use = consumer->loan_capacity;
    for (uint32_t i = consumer->loan_free; i; i = consumer->loans[i - 1].next_free) in_use--;
    return in_use;
}

/* Walking the free list is for batches; one message only needs its head. */
static int reserve(lq_consumer *consumer, size_t max)
{
    if (max == 1 && consumer->loan_free) return LQ_OK;
    return reserve_loans(consumer, loans_in_use(consumer), max);
}

bool lqi_may_take(const lq_consumer *consumer)
{
    const struct lqi_consumer_slot *slot = consumer->slot;
    uint64_t next = atomic_load_explicit(&slot->next_position, memory_order_relaxed);
    uint64_t visible = lqi_log_visible(&consumer->queue->log);

    if (atomic_load_explicit(&slot->returned, memory_order_relaxed)) return true;
    if (next != LQI_POSITION_UNKNOWN && next >= visible) return false;
    return lqi_delivered(slot) - lqi_floor(slot) < slot->window;
}

static int take_new(lq_consumer *consumer, lq_message *messages, size_t max, size_t *count, uint64_t visible)
{
    int err = lqi_consumer_enter(consumer);
    if (err) return err;
    uint64_t floor = lqi_floor(consumer->slot);
    lqi_reap(&consumer->member);
    if (atomic_load_explicit(&consumer->slot->returned, memory_order_relaxed)) err = COME_AGAIN_FIRST;
    while (!err && *count < max) {
        err = take_next(consumer, &messages[*count], visible);
        if (!err) ++*count;
    }
    bool due = lqi_retain_due(&consumer->queue->log, floor, lqi_floor(consumer->slot)); /* over a hole */
    lqi_consumer_unlock(consumer->slot);
    if (due) lqi_retain_what_is_due(&consumer->queue->log);
    return err;
}

static int take_all(lq_consumer *consumer, lq_message *messages, size_t max, size_t *count, uint64_t visible)
{
    int err = LQ_OK;
    for (;;) {
        while (!err && *count < max && atomic_load_explicit(&consumer->slot->returned, memory_order_relaxed)) {
            err = take_again(consumer, &messages[*count]);
            if (!err) ++*count;
        }
        if (err == LQ_EMPTY) err = LQ_OK; /* somebody else was faster */
        if (!err && *count < max) err = take_new(consumer, messages, max, count, visible);
        if (err != COME_AGAIN_FIRST) return err;
        err = LQ_OK;
    }
}

/* A lock was not to be had in a moment, or a message not to be read: whoever is in the way may be at work, or was stopped. To the caller,
 * whose time may be short, nothing has come yet; unless it goes on for as long as anybody waits for a lock. */
static int not_yet(lq_consumer *consumer)
{
    int64_t now = lqi_now_us();
    if (!consumer->busy_since_us) consumer->busy_since_us = now;
    int64_t waited = now - consumer->busy_since_us;
    if (waited < (int64_t)lqi_lock_patience() * 1000) return LQ_EMPTY;
    return lqi_fail(LQ_EBUSY, "consumer '%.100s' was kept from its messages for %" PRId64 " ms, the last time by this: %.300s", consumer->slot->name,
                    waited / 1000, lq_error_text());
}

int lqi_take(lq_consumer *consumer, lq_message *messages, size_t max, size_t *count_out, int lock_ms)
{
    size_t count = 0;
    int err = reserve(consumer, max), limit = lqi_lock_limit(lock_ms);
    if (!err) err = take_all(consumer, messages, max, &count, lqi_log_visible(&consumer->queue->log));
    lqi_lock_limit(limit);
    if (count || err != LQ_EBUSY) consumer->busy_since_us = 0;
    if (err == LQ_EBUSY) err = count ? LQ_EMPTY : not_yet(consumer);

    if (!count) {
        lqi_scan_let_go(&consumer->ahead);
        lqi_scan_let_go(&consumer->again);
        return err; /* there is one: all that has none ends with a message */
    }
    if (err && err != LQ_EMPTY) { /* first the messages, then what came behind them */
        consumer->pending = err;
        memcpy(consumer->pending_text, lq_error_text(), sizeof consumer->pending_text);
    }
    *count_out = count;
    return LQ_OK;
}

/* ---- waiting ------------------------------------------------------------ */

void lqi_help_visibility(lq_queue *queue)
{
    const struct lqi_log_state *state = queue->log.state;
    if (queue->log.options.sync != LQ_SYNC_ALWAYS || lqi_poisoned(&queue->log)) return;
    if (atomic_load(&state->synced) >= atomic_load(&state->ring.appended)) return;
    /* Whoever holds a lock is at it, or was stopped: no reason to wait for him here. */
    int limit = lqi_lock_limit(0);
    (void)lqi_commit_all(&queue->log);
    lqi_lock_limit(limit);
}

static bool spin(const lq_consumer *consumer, int64_t deadline)
{
    if (!consumer->spin_us) return false;
    int64_t until = lqi_min64(deadline, lqi_now_us() + consumer->spin_us);
    do {
        for (int i = 0; i < 100; i++)
            if (lqi_may_take(consumer)) return true;
    } while (lqi_now_us() < until);
    return false;
}

/* Sleeps until there may be something. */
static void sleep_for_more(lq_consumer *consumer, int64_t deadline)
{
    struct lqi_bell *arrived = &consumer->queue->log.state->arrived;

    /* There is something, and could not be had: nobody rings when it can. */
    if (consumer->busy_since_us) {
        lqi_nap();
        return;
    }
    if (spin(consumer, deadline)) return;
    uint32_t seen = lqi_bell_listen(arrived);
    if (lqi_may_take(consumer)) return;
    int64_t now = lqi_now_us(), until = lqi_min64(deadline, now + LQI_SLEEP_US);
    lqi_wait(&arrived->word, seen, until);
    if (lqi_now_us() >= now + LQI_SLEEP_US) lqi_help_visibility(consumer->queue);
}

static int take_or_wait(lq_consumer *consumer, lq_message *messages, size_t max, size_t *count_out, int64_t timeout_ms)
{
    int64_t deadline = timeout_ms ? lqi_deadline(timeout_ms) : 0;
    int lock_ms = LQI_TAKE_LOCK_MS; /* of the first look; later ones do not go beyond the deadline */

    if (consumer->pending) {
        int err = consumer->pending;
        consumer->pending = LQ_OK;
        return lqi_fail(err, "%s", consumer->pending_text);
    }
    for (;;) {
        int err = lqi_take(consumer, messages, max, count_out, lock_ms);
        if (err != LQ_EMPTY) return err;
        lqi_notify_empty(consumer);
        if (timeout_ms == 0) return LQ_EMPTY;
        if (lqi_now_us() >= deadline) return LQ_TIMEOUT;
        sleep_for_more(consumer, deadline);
        lock_ms = (int)lqi_min64(LQI_TAKE_LOCK_MS, (uint64_t)lqi_ms_left(deadline));
        err = lqi_queue_check(consumer->queue, false);
        if (err) return err;
    }
}

/* ---- the verbs ---------------------------------------------------------- */

static int check_get(lq_consumer *consumer, const void *messages_out)
{
    int err = lqi_consumer_check(consumer);
    if (err) return err;
    if (!messages_out) return lqi_fail(LQ_EINVAL, "GET: the message is NULL");
    if (consumer->notify.handler)
        return lqi_fail(LQ_EINVAL, "this consumer has a handler: its messages go there");
    return LQ_OK;
}

int lq_get(lq_consumer *consumer, lq_message *message_out, int64_t timeout_ms)
{
    size_t count;
    int err = check_get(consumer, message_out);
    return err ? err : take_or_wait(consumer, message_out, 1, &count, timeout_ms);
}

int lq_poll(lq_consumer *consumer, lq_message *message_out)
{
    return lq_get(consumer, message_out, 0);
}

int lq_get_batch(lq_consumer *consumer, lq_message *messages_out, size_t max, size_t *count_out, int64_t timeout_ms)
{
    int err = check_get(consumer, messages_out);
    if (err) return err;
    if (!max || !count_out) return lqi_fail(LQ_EINVAL, "lq_get_batch: max is 0, or count_out is NULL");
    if (max > consumer->slot->window) max = consumer->slot->window;
    return take_or_wait(consumer, messages_out, max, count_out, timeout_ms);
}

/* ---- the handle --------------------------------------------------------- */

static int check_consumer_options(const lq_consumer_options *options)
{
    if (options->flags & ~(uint32_t)(LQ_CONSUMER_NO_CREATE | LQ_CONSUMER_DISPATCH | LQ_CONSUMER_SAVE_ACKS))
        return lqi_fail(LQ_EINVAL, "lq_consumer_options.flags has bits that mean nothing: 0x%" PRIx32, options->flags);
    if (options->start < LQ_START_BEGIN || options->start > LQ_START_TIME)
        return lqi_fail(LQ_EINVAL, "lq_consumer_options.start is %d", options->start);
    if (options->window && (options->window < 64 || options->window > 16777216))
        return lqi_fail(LQ_EINVAL, "lq_consumer_options.window is %" PRIu32 ", not within 64 and 16777216", options->window);
    if (options->spin_us > 1000000)
        return lqi_fail(LQ_EINVAL, "lq_consumer_options.spin_us is %" PRIu32 ", over 1000000", options->spin_us);
    return LQ_OK;
}

static int join(void *context, struct lqi_consumer_slot *slot)
{
    lq_consumer *consumer = context;
    lq_queue *queue = consumer->queue;
    int err = lqi_consumer_lock(&queue->map, slot, NULL);
    if (err) return err;
    consumer->slot = consumer->member.consumer = slot;
    err = lqi_region_map(&queue->map, slot, &consumer->member.region);
    if (!err) consumer->member.window = slot->window;
    if (!err) err = lqi_position_open(&consumer->position, queue->io, queue->consumers_dir, slot->name, queue->meta.uuid, true);
    if (!err) err = lqi_member_join(&consumer->member);
    lqi_consumer_unlock(slot);
    return err;
}

static void free_consumer(lq_consumer *consumer)
{
    for (uint32_t i = 0; i < consumer->loan_capacity; i++) lqi_block_drop(consumer->loans[i].block);
    free(consumer->loans);
    lqi_scan_release(&consumer->ahead);
    lqi_scan_release(&consumer->again);
    lqi_position_close(&consumer->position);
    if (consumer->member.region) lqi_region_unmap(&consumer->queue->map, consumer->member.region, consumer->member.window);
    atomic_fetch_sub(&consumer->queue->users, 1);
    free(consumer);
}

static lq_consumer *new_consumer(lq_queue *queue, const lq_consumer_options *options)
{
    lq_consumer *consumer = calloc(1, sizeof *consumer);
    if (!consumer) return NULL;
    atomic_fetch_add(&queue->users, 1);
    consumer->queue = queue;
    consumer->flags = options->flags;
    consumer->spin_us = options->spin_us;
    consumer->position.file.fd = -1;
    consumer->member = (struct lqi_member){.map = &queue->map, .meta_file = &queue->meta_file,
                                           .handle = queue->handle, .handle_generation = queue->handle_generation};
    lqi_scan_init(&consumer->ahead, &queue->log, LQI_SCAN_BLOCK);
    lqi_scan_init(&consumer->again, &queue->log, AGAIN_READ);
    lqi_notify_init(consumer);
    return consumer;
}

int lq_consumer_open(lq_queue *queue, const char *name, const lq_consumer_options *options, lq_consumer **consumer_out)
{
    lq_consumer_options asked;
    int err = lqi_queue_check(queue, true);
    if (!err) err = lqi_name_check(name);
    if (!err) err = lqi_take_options(&asked, sizeof asked, options, "lq_consumer_options");
    if (!err) err = check_consumer_options(&asked);
    if (err) return err;
    if (!consumer_out) return lqi_fail(LQ_EINVAL, "lq_consumer_open: consumer_out is NULL");

    lq_consumer *consumer = new_consumer(queue, &asked);
    if (!consumer) return lqi_fail(LQ_ENOMEM, "no memory for a consumer handle");
    err = lqi_consumers_open(&queue->consumers, name, &asked, join, consumer);
    if (err) free_consumer(consumer);
    else *consumer_out = consumer;
    return err;
}

int lq_consumer_close(lq_consumer *consumer)
{
    if (!consumer) return LQ_OK;
    bool forked = atomic_load(&consumer->queue->forkable.forked) != 0;
    int err = LQ_OK;

    if (lqi_in_own_handler(consumer))
        return lqi_fail(LQ_EINVAL, "a consumer cannot be closed from its own handler");
    lqi_notify_release(consumer);
    if (!forked) {
        err = lqi_consumer_enter(consumer);
        if (!err) {
            lqi_member_leave(&consumer->member);
            err = lqi_consumer_save(&consumer->queue->consumers, consumer->slot, consumer->member.region, &consumer->position);
            lqi_consumer_unlock(consumer->slot);
        } else {
            lqi_member_abandon(&consumer->member); /* who has it was stopped, and this process may live for long */
        }
    }
    free_consumer(consumer);
    return err;
}

int lq_consumer_delete(lq_queue *queue, const char *name)
{
    int err = lqi_queue_check(queue, true);
    if (!err) err = lqi_name_check(name);
    if (!err) err = lqi_consumers_delete(&queue->consumers, name, queue->handle);
    if (!err) lqi_retain_what_is_due(&queue->log); /* it may have been the last to need old segments */
    return err;
}
