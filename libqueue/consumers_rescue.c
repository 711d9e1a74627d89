/* What recovery asks of offset files, and does to them, before the table is loaded from them. */
#include "consumers_parts.h"

#include <stdlib.h>

#include "bytes.h"

/* ---- witnesses ---------------------------------------------------------- */

int lqi_consumers_promise(const struct lqi_io *io, int dir, const uint8_t uuid[16], struct lqi_position_entry *promise)
{
    char (*names)[LQ_NAME_MAX + 1];
    struct lqi_position position;
    size_t count;

    memset(promise, 0, sizeof *promise);
    int err = lqi_position_list(io, dir, &names, &count);
    if (err) return err;
    for (size_t i = 0; i < count; i++) {
        err = lqi_position_open(&position, io, dir, names[i], uuid, false);
        if (lqi_is_unreadable(err)) {
            err = LQ_OK;
            continue;
        }
        if (err) break; /* a witness that cannot be heard just now may be the only one: nothing is judged without it */
        promise->durable = lqi_max64(promise->durable, position.newest.durable);
        promise->durable_id = lqi_max64(promise->durable_id, position.newest.durable_id);
        lqi_position_close(&position);
    }
    free(names);
    return err;
}

/* ---- doubt -------------------------------------------------------------- */

bool lqi_consumers_doubtful(struct lqi_shared *head)
{
    struct lqi_consumer_slot *consumer = NULL;
    while ((consumer = lqi_consumers_next(head, consumer)))
        if (atomic_load(&consumer->in_doubt)) return true;
    return false;
}

int lqi_consumers_replace(const struct lqi_io *io, int dir, uint32_t mode)
{
    char (*names)[LQ_NAME_MAX + 1];
    size_t count;
    int err = lqi_position_list(io, dir, &names, &count);
    if (err) return err;
    for (size_t i = 0; i < count && !err; i++) {
        err = lqi_position_replace(io, dir, names[i], mode);
        if (err == LQ_ENOTFOUND || err == LQ_ENOTQUEUE) err = LQ_OK; /* told when it is opened */
    }
    free(names);
    return err;
}

/* ---- rescuing ----------------------------------------------------------- */

/* Numbers of a dead population are believed only as far as they fit each other, the file and the log. */
static bool makes_sense(const struct lqi_consumer_slot *consumer, const struct lqi_position *position, uint64_t next_id)
{
    uint64_t floor = lqi_floor(consumer), delivered = lqi_max64(lqi_delivered(consumer), floor); /* see lqi_skip_to() */
    return consumer->window == position->window && consumer->incarnation == position->newest.incarnation && delivered < next_id &&
           delivered - floor <= consumer->window && floor >= position->newest.floor;
}

static void ignore_word(void *context, uint64_t id, uint32_t word)
{
    (void)context;
    (void)id;
    (void)word;
}

/* Which sides are the newest is asked of the file, and true once it is synced. */
static int settle_sides(struct lqi_position *position, struct lqi_shared_map *old, struct lqi_consumer_slot *consumer,
                        struct lqi_region *region)
{
    struct lqi_position_sides sides = {.side = lqi_region_sides(region, consumer->window)};
    consumer->epoch = position->newest.sequence;
    int err = lqi_shared_sync(old, &position->file);
    return err ? err : lqi_position_load(position, ignore_word, NULL, &sides, NULL);
}

static int rescue_one(const struct lqi_io *io, int dir, const uint8_t uuid[16], struct lqi_shared_map *old,
                      struct lqi_consumer_slot *consumer, uint64_t next_id)
{
    struct lqi_position position;
    struct lqi_region *region = NULL;

    if (lqi_name_check(consumer->name)) return LQ_OK; /* also of one that does not end */
    int err = lqi_position_open(&position, io, dir, consumer->name, uuid, true);
    if (err) return err == LQ_ENOTFOUND || err == LQ_ECORRUPT || err == LQ_EVERSION ? LQ_OK : err; /* told when it is opened */
    lqi_set_floor(consumer, lqi_min64(lqi_floor(consumer), ~consumer->not_floor));
    if (makes_sense(consumer, &position, next_id)) err = lqi_region_map(old, consumer, &region);
    if (err == LQ_ECORRUPT) err = LQ_OK; /* what makes no sense is not believed; where the machine fails, acks must not be forgotten */
    if (!err && region) {
        lqi_consumer_mend(consumer, region); /* the window counts as changed, all of it */
        /* Who died in the middle of a save may have left blocks for the next one. */
        consumer->sequence = position.newest.sequence + 1;
        err = settle_sides(&position, old, consumer, region);
        if (!err) err = lqi_consumer_save_as(consumer, region, &position, position.newest.durable, position.newest.durable_id, io->wall_us(io));
        if (!err) err = lqi_shared_sync(old, &position.file);
    }
    lqi_region_unmap(old, region, consumer->window);
    lqi_position_close(&position);
    return err;
}

int lqi_consumers_rescue(const struct lqi_io *io, int dir, const uint8_t uuid[16], struct lqi_shared_map *old,
                         uint64_t next_id)
{
    struct lqi_consumer_slot *consumer = NULL;
    while ((consumer = lqi_consumers_next(old->head, consumer))) {
        if (atomic_load(&consumer->state) != LQI_CONSUMER_USED || !consumer->region_ready) continue;
        int err = rescue_one(io, dir, uuid, old, consumer, next_id);
        if (err) return err;
    }
    return LQ_OK;
}
