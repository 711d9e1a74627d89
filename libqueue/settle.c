/* Settling: ack and release. */
#include "bytes.h"
#include "consumer.h"

#define SAVE_EVERY 8192 /* changes of a consumer's state until its file is written */

/* The loan that a message's lease names, if it is still that message's. */
static struct lqi_loan *find_loan(lq_consumer *consumer, const lq_message *message)
{
    uint32_t index = (uint32_t)message->lease;
    if (index >= consumer->loan_capacity) return NULL;
    struct lqi_loan *loan = &consumer->loans[index];
    bool same = loan->block && loan->id == message->id && loan->token == (uint32_t)(message->lease >> 32);
    return same ? loan : NULL;
}

static void end_loan(lq_consumer *consumer, const lq_message *message)
{
    struct lqi_loan *loan = find_loan(consumer, message);
    if (!loan) return;
    lqi_block_drop(loan->block);
    *loan = (struct lqi_loan){.next_free = consumer->loan_free};
    consumer->loan_free = (uint32_t)(loan - consumer->loans) + 1;
}

static int save_if_due(lq_consumer *consumer)
{
    const struct lqi_consumers *consumers = &consumer->queue->consumers;
    uint64_t unsaved = atomic_load_explicit(&consumer->slot->unsaved, memory_order_relaxed);

    if (consumer->flags & LQ_CONSUMER_SAVE_ACKS) {
        if (!unsaved) return LQ_OK;
        if (consumers->log->options.sync == LQ_SYNC_ALWAYS)
            return lqi_consumer_save_durably(consumers, consumer->slot, consumer->member.region, &consumer->position);
        return lqi_consumer_save(consumers, consumer->slot, consumer->member.region, &consumer->position);
    }
    if (unsaved >= SAVE_EVERY) { /* a hint: what cannot be written now is written later */
        struct lqi_text told = lqi_text_keep();
        (void)lqi_consumer_save(consumers, consumer->slot, consumer->member.region, &consumer->position);
        lqi_text_put_back(&told);
    }
    return LQ_OK;
}

int lqi_consumer_settle(lq_consumer *consumer, const lq_message *messages, size_t count, enum lqi_settlement how)
{
    lq_queue *queue = consumer->queue;
    int not_held = LQ_OK;

    int err = lqi_consumer_enter(consumer);
    if (err) return err;
    uint64_t floor = lqi_floor(consumer->slot);
    for (size_t i = 0; i < count; i++) {
        int held = lqi_settle(&consumer->member, messages[i].id, (uint32_t)(messages[i].lease >> 32), how);
        if (held) not_held = held;
    }
    if (how == LQI_ACK) err = save_if_due(consumer);
    bool due = lqi_retain_due(&queue->log, floor, lqi_floor(consumer->slot));
    lqi_consumer_unlock(consumer->slot);

    for (size_t i = 0; i < count; i++) end_loan(consumer, &messages[i]);
    if (due) lqi_retain_what_is_due(&queue->log);
    return err ? err : not_held;
}

static int check_settle(lq_consumer *consumer, const lq_message *messages)
{
    int err = lqi_consumer_check(consumer);
    if (err) return err;
    return messages ? LQ_OK : lqi_fail(LQ_EINVAL, "the message is NULL");
}

int lq_ack(lq_consumer *consumer, const lq_message *message)
{
    int err = check_settle(consumer, message);
    return err ? err : lqi_consumer_settle(consumer, message, 1, LQI_ACK);
}

int lq_ack_batch(lq_consumer *consumer, const lq_message *messages, size_t count)
{
    int err = count ? check_settle(consumer, messages) : lqi_consumer_check(consumer);
    return err || !count ? err : lqi_consumer_settle(consumer, messages, count, LQI_ACK);
}

int lq_release(lq_consumer *consumer, const lq_message *message)
{
    int err = check_settle(consumer, message);
    return err ? err : lqi_consumer_settle(consumer, message, 1, LQI_UNDO);
}
