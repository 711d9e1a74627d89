/* The table of consumers: finding one, making it, opening it. */
#include "consumers_parts.h"

#include <assert.h>
#include <inttypes.h>

#include "bytes.h"

/* ---- finding ------------------------------------------------------------ */

struct lqi_consumer_slot *lqi_consumers_next(struct lqi_shared *shared, const struct lqi_consumer_slot *before)
{
    size_t i = before ? (size_t)(before - shared->consumers) + 1 : 0;
    while (i < LQI_CONSUMERS_MAX && atomic_load(&shared->consumers[i].state) == LQI_CONSUMER_FREE) i++;
    return i < LQI_CONSUMERS_MAX ? &shared->consumers[i] : NULL;
}

struct lqi_consumer_slot *lqi_consumers_find(struct lqi_shared *shared, const char *name)
{
    struct lqi_consumer_slot *consumer = NULL;
    while ((consumer = lqi_consumers_next(shared, consumer)))
        if (strncmp(consumer->name, name, sizeof consumer->name) == 0) break;
    return consumer;
}

/* ---- making, opening ---------------------------------------------------- */

/* The floor of a new consumer, and where its first message is. */
static int find_start(const struct lqi_consumers *consumers, const lq_consumer_options *options,
                      struct lqi_position_entry *entry, uint64_t *position_out)
{
    struct lqi_log *log = consumers->log;
    uint64_t first_id = atomic_load(&log->state->first_id);
    struct lqi_tail tail;
    struct lqi_scan scan;
    int err = lqi_log_tail(log, &tail);
    if (err) return err;

    entry->floor = first_id - 1;
    if (options->start == LQ_START_END) {
        entry->floor = tail.next_id - 1;
        *position_out = tail.end;
    } else if (options->start == LQ_START_ID) {
        entry->floor = lqi_max64(lqi_min64(options->start_id, tail.next_id), first_id) - 1;
    } else if (options->start == LQ_START_TIME) {
        lqi_scan_init(&scan, log, LQI_SCAN_BLOCK);
        err = lqi_scan_seek_time(&scan, options->start_time_us, tail.end);
        entry->floor = lqi_max64(scan.next_id, first_id) - 1;
        lqi_scan_release(&scan);
    }
    entry->delivered = entry->floor;
    entry->durable = atomic_load(&log->state->synced);
    entry->durable_id = atomic_load(&log->state->synced_id);
    entry->time_us = log->io->wall_us(log->io);
    return err;
}

/* `position`: of the first message of one that stands at `delivered`. */
static int fill_slot(const struct lqi_consumers *consumers, const char *name, struct lqi_consumer_slot *consumer, uint64_t delivered,
                     uint64_t position)
{
    int err = lqi_consumer_lock(consumers->map, consumer, NULL); /* who syncs may have come for the one before */
    if (err) return err;
    err = lqi_consumer_load(consumers, name, consumer);
    /* The file may be an older one, of a maker who died or failed: then what came since is between. */
    if (!err && lqi_delivered(consumer) == delivered) atomic_store(&consumer->next_position, position);
    lqi_consumer_unlock(consumer);
    return err;
}

static int make_consumer(const struct lqi_consumers *consumers, const char *name, const lq_consumer_options *options,
                         struct lqi_consumer_slot **consumer_out)
{
    struct lqi_consumer_slot *consumer = NULL;
    struct lqi_position_entry first = {0};
    uint64_t position = LQI_POSITION_UNKNOWN;

    for (size_t i = 0; i < LQI_CONSUMERS_MAX && !consumer; i++)
        if (atomic_load(&consumers->map->head->consumers[i].state) == LQI_CONSUMER_FREE)
            consumer = &consumers->map->head->consumers[i];
    if (!consumer) return lqi_fail(LQ_ELIMIT, "the queue has %d consumers already", LQI_CONSUMERS_MAX);
    int err = find_start(consumers, options, &first, &position);
    /* Deferred puts that nobody synced yet must not be a position that power loss could take back. */
    if (!err) err = lqi_position_create(consumers->log->io, consumers->dir, name, consumers->log->uuid,
                                        options->window ? options->window : 65536, &first, consumers->log->options.mode);
    if (!err) err = fill_slot(consumers, name, consumer, first.delivered, position);
    if (!err) *consumer_out = consumer;
    return err;
}

static int damaged(const struct lqi_consumers *consumers, const char *name)
{
    struct lqi_position position;
    int err = lqi_position_open(&position, consumers->log->io, consumers->dir, name, consumers->log->uuid, false);
    if (err) return err;
    lqi_position_close(&position);
    return lqi_fail(LQ_ECORRUPT, "consumers/%s.pos was damaged when the queue was opened; close all handles and open it again",
                    name);
}

/* What a member needs that joins it. */
static int make_ready(const struct lqi_consumers *consumers, const char *name, const lq_consumer_options *options,
                      struct lqi_consumer_slot *consumer)
{
    assert(consumer != NULL);
    if (atomic_load(&consumer->state) == LQI_CONSUMER_DAMAGED) return damaged(consumers, name);
    if (options->window && options->window != consumer->window)
        return lqi_fail(LQ_EMISMATCH, "consumer '%s' was made with window %" PRIu32 ", not %" PRIu32, name,
                        consumer->window, options->window);
    int err = lqi_consumer_lock(consumers->map, consumer, NULL);
    if (err) return err;
    if (!consumer->region_ready) err = lqi_consumer_make_region(consumers, consumer);
    lqi_consumer_unlock(consumer);
    return err;
}

static int open_locked(const struct lqi_consumers *consumers, const char *name, const lq_consumer_options *options,
                       lqi_consumer_join *join, void *context)
{
    struct lqi_consumer_slot *consumer = lqi_consumers_find(consumers->map->head, name);
    bool old = true; /* its file was there before */
    int err = LQ_OK;

    if (!consumer && (options->flags & LQ_CONSUMER_NO_CREATE))
        return lqi_fail(LQ_ENOTFOUND, "no consumer '%s' in this queue", name);
    if (!consumer) {
        err = lqi_position_exists(consumers->log->io, consumers->dir, name, &old);
        if (!err) err = make_consumer(consumers, name, options, &consumer);
    }
    if (!err) err = make_ready(consumers, name, options, consumer);
    if (!err) err = join(context, consumer);
    if (err && !old) lqi_consumers_unmake(consumers, name);
    return err;
}

int lqi_consumers_open(const struct lqi_consumers *consumers, const char *name, const lq_consumer_options *options,
                       lqi_consumer_join *join, void *context)
{
    int err = lqi_consumers_lock(consumers);
    if (err) return err;
    err = open_locked(consumers, name, options, join, context);
    lqi_unlock(&consumers->map->head->admin);
    return err;
}

/* ---- what they still need ----------------------------------------------- */

uint64_t lqi_consumers_floor(const struct lqi_log *log)
{
    uint64_t lowest = UINT64_MAX;
    struct lqi_consumer_slot *consumer = NULL;
    while ((consumer = lqi_consumers_next(log->shared, consumer))) {
        if (lqi_consumer_is_gone_for_good(log, consumer)) continue;
        if (atomic_load(&consumer->state) == LQI_CONSUMER_DAMAGED) return 0;
        lowest = lqi_min64(lowest, lqi_floor(consumer));
    }
    return lowest;
}
