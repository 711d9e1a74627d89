/* From live state to offset files. */
#include "consumers_parts.h"

#include "bytes.h"
#include "writeout.h"

uint32_t lqi_consumer_word_of(void *context, uint64_t id)
{
    const struct lqi_consumer_words *words = context;
    const struct lqi_slot *slot = lqi_slot_of(words->consumer, words->region, id);
    return (lqi_slot_is_settled(words->consumer, slot, id) ? LQI_WORD_SETTLED : 0) | slot->attempts;
}

int lqi_consumer_save_as(struct lqi_consumer_slot *consumer, struct lqi_region *region, struct lqi_position *position,
                         uint64_t durable, uint64_t durable_id, int64_t time_us)
{
    struct lqi_consumer_words words = {consumer, region};
    uint64_t floor = lqi_floor(consumer), delivered = lqi_delivered(consumer);
    uint64_t low = lqi_max64(consumer->dirty_low, floor + 1), high = lqi_min64(consumer->dirty_high, delivered);
    struct lqi_position_entry entry = {.floor = floor, .delivered = delivered, .durable = durable, .durable_id = durable_id,
                                       .time_us = time_us, .incarnation = consumer->incarnation};
    struct lqi_position_sides sides = {region ? lqi_region_sides(region, consumer->window) : NULL, consumer->epoch};
    if (!region) high = 0;
    position->newest.sequence = consumer->sequence; /* another process may have saved since this one opened it */
    int err = lqi_position_save(position, &entry, low, high, &sides, lqi_consumer_word_of, &words);
    if (err) return err;
    consumer->sequence = position->newest.sequence;
    consumer->dirty_low = UINT64_MAX;
    consumer->dirty_high = 0;
    consumer->saved_us = time_us;
    atomic_store(&consumer->unsynced, 1);
    atomic_store(&consumer->unsaved, 0);
    return LQ_OK;
}

int lqi_consumer_save(const struct lqi_consumers *consumers, struct lqi_consumer_slot *consumer,
                      struct lqi_region *region, struct lqi_position *position)
{
    const struct lqi_log_state *state = consumers->log->state;
    /* In this order: the id may be newer than the position says, never the other way round. */
    uint64_t durable = atomic_load(&state->synced);
    uint64_t durable_id = atomic_load(&state->synced_id);

    return lqi_consumer_save_as(consumer, region, position, durable, durable_id, consumers->log->io->wall_us(consumers->log->io));
}

/* The flag is guarded by the consumer's lock. If we die before we have told of a failure, it stays up, and who syncs next
 * knows that the answer may have gone to us, and the pages count as clean. He makes all of them dirty once more. (Where a write
 * has failed, that is not enough on ext4, but another file can take the place of this one only when nobody has it open.) */
int lqi_consumer_sync_file(struct lqi_log *log, struct lqi_consumer_slot *consumer, const struct lqi_position *position)
{
    int err = atomic_load(&consumer->in_doubt) ? lqi_position_write_again(position) : LQ_OK;
    if (err) return err;
    atomic_store(&consumer->in_doubt, 1);
    if (lqi_file_sync(&position->file) != LQ_OK) {
        lqi_poison(log);
        return lqi_fail(LQ_EPOISONED, "%s; the queue is poisoned now", lq_error_text());
    }
    atomic_store(&consumer->in_doubt, 0);
    consumer->epoch = consumer->sequence;
    atomic_store(&consumer->unsynced, 0); /* last: what this says is durable must not be written over */
    return LQ_OK;
}

int lqi_consumer_save_durably(const struct lqi_consumers *consumers, struct lqi_consumer_slot *consumer,
                              struct lqi_region *region, struct lqi_position *position)
{
    int err = atomic_load(&consumer->unsaved) ? lqi_consumer_save(consumers, consumer, region, position) : LQ_OK;
    if (!err && lqi_poisoned(consumers->log)) err = lqi_fail(LQ_EPOISONED, "the queue is poisoned: a sync has failed");
    return err ? err : lqi_consumer_sync_file(consumers->log, consumer, position);
}

static int sync_locked(const struct lqi_consumers *consumers, struct lqi_consumer_slot *consumer)
{
    struct lqi_region *region = NULL;
    struct lqi_position position;

    int err = lqi_position_open(&position, consumers->log->io, consumers->dir, consumer->name, consumers->log->uuid, true);
    if (err == LQ_ENOTFOUND && atomic_load(&consumer->going)) return LQ_OK; /* deleted, though its slot does not say so yet */
    if (err) return err;
    if (consumer->region_ready) err = lqi_region_map(consumers->map, consumer, &region);
    if (!err) err = lqi_consumer_save_durably(consumers, consumer, region, &position);
    lqi_region_unmap(consumers->map, region, consumer->window);
    lqi_position_close(&position);
    return err;
}

static int sync_one(const struct lqi_consumers *consumers, struct lqi_consumer_slot *consumer)
{
    if (!atomic_load(&consumer->unsaved) && !atomic_load(&consumer->unsynced)) return LQ_OK;
    int err = lqi_consumer_lock(consumers->map, consumer, NULL);
    if (err) return err;
    /* Under the lock: the consumer may be deleted meanwhile, and its slot be another's. */
    if (atomic_load(&consumer->state) == LQI_CONSUMER_USED) err = sync_locked(consumers, consumer);
    lqi_consumer_unlock(consumer);
    return err;
}

int lqi_consumers_sync(const struct lqi_consumers *consumers)
{
    int first = LQ_OK;
    struct lqi_consumer_slot *consumer = NULL;
    while ((consumer = lqi_consumers_next(consumers->map->head, consumer))) {
        int err = sync_one(consumers, consumer);
        if (!first) first = err;
    }
    return first;
}
