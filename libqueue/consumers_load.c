/* From offset files to live state: where a consumer stands, and once somebody joins it, its region. */
#include "consumers_parts.h"

#include <stdlib.h>

#include "bytes.h"

/* ---- loading ------------------------------------------------------------ */

/* Of the words in an offset file, in the order of their ids. */
struct settled {
    struct lqi_standing *standing;
    uint64_t above, below; /* its floor, which may be above the file's by now */
};

static void count_settled(void *context, uint64_t id, uint32_t word)
{
    struct settled *settled = context;
    if (!(word & LQI_WORD_SETTLED) || id > settled->standing->delivered) return;
    if (id <= settled->standing->floor) settled->below++;
    else if (id == settled->standing->floor + 1) settled->standing->floor++; /* a clamp has brought it to what was settled out of order */
    else settled->above++;
}

int lqi_consumers_standing(struct lqi_position *position, uint64_t first_id, uint64_t last_id, struct lqi_standing *standing_out)
{
    const struct lqi_position_entry *newest = &position->newest;
    uint64_t deleted = first_id - 1; /* up to this id */
    /* A consumer ahead of the log's end would never receive again once the ids are given anew. */
    struct lqi_standing standing = {.floor = lqi_max64(lqi_min64(newest->floor, last_id), deleted),
                                    .delivered = lqi_max64(lqi_min64(newest->delivered, last_id), deleted)};
    struct settled settled = {.standing = &standing};

    int err = lqi_position_load(position, count_settled, &settled, NULL, NULL);
    if (err) return err;
    standing.returned = standing.delivered - standing.floor - settled.above;
    /* Where retention has overtaken it, what had been settled out of order was not lost. */
    if (deleted > newest->floor) standing.dropped = deleted - newest->floor - settled.below;
    *standing_out = standing;
    return LQ_OK;
}

/* Brings live state and file to where the consumer stands. */
static int stand(struct lqi_shared_map *map, struct lqi_consumer_slot *consumer, struct lqi_position *position, uint64_t first_id, uint64_t last_id)
{
    struct lqi_standing standing;
    int err = lqi_consumers_standing(position, first_id, last_id, &standing);
    if (err) return err;
    lqi_set_floor(consumer, standing.floor);
    atomic_store(&consumer->delivered, standing.delivered);
    atomic_store(&consumer->returned, standing.returned);
    atomic_store(&consumer->dropped, standing.dropped);
    if (position->newest.delivered <= last_id) return LQ_OK;
    err = lqi_consumer_save_as(consumer, NULL, position, position->newest.durable, position->newest.durable_id, position->newest.time_us);
    return err ? err : lqi_shared_sync(map, &position->file);
}

int lqi_consumer_load(const struct lqi_consumers *consumers, const char *name, struct lqi_consumer_slot *consumer)
{
    const struct lqi_log_state *state = consumers->log->state;
    struct lqi_position position;
    struct lqi_tail tail = {0};

    atomic_store(&consumer->going, 0); /* before the name: who looks without a lock asks again after reading it */
    for (size_t i = 0; i <= strlen(name); i++) __atomic_store_n(&consumer->name[i], name[i], __ATOMIC_RELEASE);
    consumer->region_ready = 0;
    atomic_store(&consumer->in_doubt, 0);
    int err = lqi_position_open(&position, consumers->log->io, consumers->dir, name, consumers->log->uuid, true);
    if (err == LQ_ECORRUPT || err == LQ_EVERSION) {
        atomic_store(&consumer->state, LQI_CONSUMER_DAMAGED);
        return LQ_OK; /* for as long as it is there, nothing is deleted that it may still need */
    }
    if (err) return err;
    consumer->window = position.window;
    consumer->sequence = position.newest.sequence;
    consumer->incarnation = position.newest.incarnation;
    consumer->saved_us = position.newest.time_us;
    atomic_store(&consumer->next_position, LQI_POSITION_UNKNOWN);
    consumer->epoch = position.newest.sequence;
    /* What is there may be in the page cache only, and is about to be built on. */
    err = lqi_shared_sync(consumers->map, &position.file);
    if (!err) err = lqi_log_tail(consumers->log, &tail);
    if (!err) err = stand(consumers->map, consumer, &position, atomic_load(&state->first_id), tail.next_id - 1);
    lqi_position_close(&position);
    if (!err) atomic_store_explicit(&consumer->state, LQI_CONSUMER_USED, memory_order_release);
    return err;
}

int lqi_consumers_load(const struct lqi_consumers *consumers)
{
    char (*names)[LQ_NAME_MAX + 1] = NULL;
    size_t count;
    int err = lqi_position_list(consumers->log->io, consumers->dir, &names, &count);
    if (!err && count > LQI_CONSUMERS_MAX)
        err = lqi_fail(LQ_ELIMIT, "consumers/ has %zu offset files, at most %d can be used", count, LQI_CONSUMERS_MAX);
    for (size_t i = 0; !err && i < count; i++) err = lqi_consumer_load(consumers, names[i], &consumers->map->head->consumers[i]);
    free(names);
    return err;
}

/* ---- the region --------------------------------------------------------- */

static void put_word(void *context, uint64_t id, uint32_t word)
{
    struct lqi_consumer_words *words = context;
    struct lqi_slot *slot = lqi_slot_of(words->consumer, words->region, id);

    if (word & LQI_WORD_SETTLED) lqi_slot_settle(words->consumer, slot, id);
    slot->attempts = lqi_min64(word & LQI_WORD_ATTEMPTS, LQI_ATTEMPTS_MAX);
}

/* Whoever was at this before us has died or failed, and may have left an entry that counts and is not synced, or of which a
 * sync is in doubt: nothing is written over before that is settled. */
static int settle_earlier(const struct lqi_consumers *consumers, struct lqi_consumer_slot *consumer, const struct lqi_position *position)
{
    if (position->newest.sequence == consumer->epoch) return LQ_OK;
    return lqi_consumer_sync_file(consumers->log, consumer, position);
}

/* Fills the region from the offset file, and begins a new incarnation in it, durably: words that an unsynced save
 * may have left for ids that are given again mean nothing from now on. */
static int fill_region(const struct lqi_consumers *consumers, struct lqi_consumer_slot *consumer, struct lqi_region *region,
                       struct lqi_position *position)
{
    struct lqi_position_sides sides = {.side = lqi_region_sides(region, consumer->window)};
    struct lqi_consumer_words words = {consumer, region};
    struct lqi_log *log = consumers->log;
    uint64_t incarnation;

    memset(region, 0, lqi_region_size(consumer->window));
    for (uint32_t i = 0; i < consumer->window; i++) region->slots[i].position = LQI_POSITION_UNKNOWN;
    int err = lqi_position_load(position, put_word, &words, &sides, NULL);
    if (err) return err;
    lqi_consumer_mend(consumer, region);
    int error = log->io->random(log->io, &incarnation, sizeof incarnation);
    if (error) return lqi_fail_errno(error, "get random bytes for", position->file.name, -1);

    err = settle_earlier(consumers, consumer, position);
    if (err) return err;
    /* The entry makes the words of other incarnations void: those of its own must be durable before. */
    struct lqi_position_entry entry = {.floor = lqi_floor(consumer), .delivered = lqi_delivered(consumer), .incarnation = incarnation};
    sides.epoch = consumer->epoch;
    err = lqi_position_save_blocks(position, &entry, 0, UINT64_MAX, &sides, lqi_consumer_word_of, &words);
    if (!err) err = lqi_consumer_sync_file(log, consumer, position);
    if (err) return err;
    lqi_consumer_reincarnate(consumer, region, incarnation); /* not before: if we fail or die, lq_sync() saves what there is, and without its words */
    consumer->dirty_high = 0; /* as it is in the file now */
    err = lqi_consumer_save(consumers, consumer, region, position);
    if (!err) err = lqi_position_sweep(position);
    return err ? err : lqi_consumer_sync_file(log, consumer, position);
}

int lqi_consumer_make_region(const struct lqi_consumers *consumers, struct lqi_consumer_slot *consumer)
{
    struct lqi_position position;
    struct lqi_region *region = NULL;

    int err = lqi_region_make(consumers->map, consumer);
    if (!err) err = lqi_region_map(consumers->map, consumer, &region);
    if (err) return err;
    err = lqi_position_open(&position, consumers->log->io, consumers->dir, consumer->name, consumers->log->uuid, true);
    if (!err) {
        consumer->sequence = position.newest.sequence;
        consumer->incarnation = position.newest.incarnation; /* not that of an attempt that has failed: its blocks will be written over */
        err = fill_region(consumers, consumer, region, &position);
        lqi_position_close(&position);
    }
    if (!err) consumer->region_ready = 1;
    lqi_region_unmap(consumers->map, region, consumer->window);
    return err;
}
