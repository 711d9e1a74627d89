/* From offset files to live state and back. */
#include "consumers_parts.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "bytes.h"
#include "writeout.h"

struct lqi_consumer_slot *lqi_consumers_next(struct lqi_shared *shared, const struct lqi_consumer_slot *before)
{
    size_t i = before ? (size_t)(before - shared->consumers) + 1 : 0;
    while (i < LQI_CONSUMERS_MAX && atomic_load(&shared->consumers[i].state) == LQI_CONSUMER_FREE) i++;
    return i < LQI_CONSUMERS_MAX ? &shared->consumers[i] : NULL;
}

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

/* ---- saving ------------------------------------------------------------- */

struct words {
    struct lqi_consumer_slot *consumer;
    struct lqi_region *region;
};

static uint32_t word_of(void *context, uint64_t id)
{
    const struct words *words = context;
    const struct lqi_slot *slot = lqi_slot_of(words->consumer, words->region, id);
    return (lqi_slot_is_settled(words->consumer, slot, id) ? LQI_WORD_SETTLED : 0) | slot->attempts;
}

static int save_as(struct lqi_consumer_slot *consumer, struct lqi_region *region, struct lqi_position *position,
                   uint64_t durable, uint64_t durable_id, int64_t time_us)
{
    struct words words = {consumer, region};
    uint64_t floor = lqi_floor(consumer), delivered = lqi_delivered(consumer);
    uint64_t low = lqi_max64(consumer->dirty_low, floor + 1), high = lqi_min64(consumer->dirty_high, delivered);
    struct lqi_position_entry entry = {.floor = floor, .delivered = delivered, .durable = durable, .durable_id = durable_id,
                                       .time_us = time_us, .incarnation = consumer->incarnation};
    struct lqi_position_sides sides = {region ? lqi_region_sides(region, consumer->window) : NULL, consumer->epoch};
    if (!region) high = 0;
    position->newest.sequence = consumer->sequence; /* another process may have saved since this one opened it */
    int err = lqi_position_save(position, &entry, low, high, &sides, word_of, &words);
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

    return save_as(consumer, region, position, durable, durable_id, consumers->log->io->wall_us(consumers->log->io));
}

/* The flag is guarded by the consumer's lock. If we die before we have told of a failure, it stays up, and who syncs next
 * knows that the answer may have gone to us, and the pages count as clean. He makes all of them dirty once more. (Where a write
 * has failed, that is not enough on ext4, but another file can take the place of this one only when nobody has it open.) */
static int sync_or_poison(struct lqi_log *log, struct lqi_consumer_slot *consumer, const struct lqi_position *position)
{
    int err = atomic_load(&consumer->in_doubt) ? lqi_position_write_again(position) : LQ_OK;
    if (err) return err;
    atomic_store(&consumer->in_doubt, 1);
    if (lqi_file_sync(&position->file) == LQ_OK) {
        atomic_store(&consumer->in_doubt, 0);
        return LQ_OK;
    }
    lqi_poison(log);
    return lqi_fail(LQ_EPOISONED, "%s; the queue is poisoned now", lq_error_text());
}

int lqi_consumer_save_durably(const struct lqi_consumers *consumers, struct lqi_consumer_slot *consumer,
                              struct lqi_region *region, struct lqi_position *position)
{
    int err = atomic_load(&consumer->unsaved) ? lqi_consumer_save(consumers, consumer, region, position) : LQ_OK;
    if (!err && lqi_poisoned(consumers->log)) err = lqi_fail(LQ_EPOISONED, "the queue is poisoned: a sync has failed");
    if (err) return err;
    err = sync_or_poison(consumers->log, consumer, position);
    if (err) return err;
    consumer->epoch = consumer->sequence;
    atomic_store(&consumer->unsynced, 0);
    return LQ_OK;
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
        if (!err) err = save_as(consumer, region, &position, position.newest.durable, position.newest.durable_id, io->wall_us(io));
        if (!err) err = lqi_shared_sync(old, &position.file);
    }
    lqi_region_unmap(old, region, consumer->window);
    lqi_position_close(&position);
    return err;
}

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
    err = save_as(consumer, NULL, position, position->newest.durable, position->newest.durable_id, position->newest.time_us);
    return err ? err : lqi_shared_sync(map, &position->file);
}

static int load_one(const struct lqi_consumers *consumers, const char *name, struct lqi_consumer_slot *consumer)
{
    const struct lqi_log_state *state = consumers->log->state;
    struct lqi_position position;
    struct lqi_tail tail = {0};

    atomic_store(&consumer->going, 0); /* before the name: who looks without a lock asks again after reading it */
    size_t length = strlen(name);
    for (size_t i = 0; i < sizeof consumer->name; i++)
        __atomic_store_n(&consumer->name[i], (char)(i < length ? name[i] : 0), __ATOMIC_RELEASE);
    consumer->region_ready = 0;
    atomic_store(&consumer->in_doubt, 0);
    int err = lqi_position_open(&position, consumers->log->io, consumers->dir, name, consumers->log->uuid, true);
    if (err == LQ_ECORRUPT || err == LQ_EVERSION) {
        atomic_store(&consumer->state, LQI_CONSUMER_DAMAGED);
        return LQ_OK; /* its floor stays 0, so nothing it may still need is deleted */
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
    char (*names)[LQ_NAME_MAX + 1];
    size_t count;
    int err = lqi_position_list(consumers->log->io, consumers->dir, &names, &count);
    if (err) return err;
    if (count > LQI_CONSUMERS_MAX)
        err = lqi_fail(LQ_ELIMIT, "consumers/ has %zu offset files, at most %d can be used", count, LQI_CONSUMERS_MAX);
    for (size_t i = 0; i < count && !err; i++) err = load_one(consumers, names[i], &consumers->map->head->consumers[i]);
    free(names);
    return err;
}

/* ---- the region --------------------------------------------------------- */

static void put_word(void *context, uint64_t id, uint32_t word)
{
    struct words *words = context;
    struct lqi_slot *slot = lqi_slot_of(words->consumer, words->region, id);

    if (id <= lqi_floor(words->consumer)) return; /* retention has overtaken it */
    if (word & LQI_WORD_SETTLED) lqi_slot_settle(words->consumer, slot, id);
    slot->attempts = lqi_min64(word & LQI_WORD_ATTEMPTS, LQI_ATTEMPTS_MAX);
}

/* Whoever was at this before us has died or failed, and may have left an entry that counts and is not synced, or of which a
 * sync is in doubt: nothing is written over before that is settled. */
static int settle_earlier(const struct lqi_consumers *consumers, struct lqi_consumer_slot *consumer, const struct lqi_position *position)
{
    if (position->newest.sequence == consumer->epoch) return LQ_OK;
    int err = sync_or_poison(consumers->log, consumer, position);
    if (!err) consumer->epoch = position->newest.sequence;
    return err;
}

/* Fills the region from the offset file, and begins a new incarnation in it, durably: words that an unsynced save
 * may have left for ids that are given again mean nothing from now on. */
static int fill_region(const struct lqi_consumers *consumers, struct lqi_consumer_slot *consumer, struct lqi_region *region,
                       struct lqi_position *position)
{
    struct lqi_position_sides sides = {lqi_region_sides(region, consumer->window), 0};
    struct words words = {consumer, region};
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
    err = lqi_position_save_blocks(position, &entry, 1, UINT64_MAX, &sides, word_of, &words);
    if (!err) err = sync_or_poison(log, consumer, position);
    if (err) return err;
    lqi_consumer_reincarnate(consumer, region, incarnation); /* not before: if we fail or die, lq_sync() saves what there is, and without its words */
    consumer->dirty_low = UINT64_MAX;
    consumer->dirty_high = 0;
    err = lqi_consumer_save(consumers, consumer, region, position);
    if (!err) err = lqi_position_sweep(position);
    if (!err) err = sync_or_poison(log, consumer, position);
    if (!err) consumer->epoch = consumer->sequence;
    return err;
}

/* Gives the consumer its region; holds its lock. */
static int make_region(const struct lqi_consumers *consumers, struct lqi_consumer_slot *consumer)
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

/* ---- making, finding, deleting ------------------------------------------ */

struct lqi_consumer_slot *lqi_consumers_find(struct lqi_shared *shared, const char *name)
{
    struct lqi_consumer_slot *consumer = NULL;
    while ((consumer = lqi_consumers_next(shared, consumer)))
        if (strncmp(consumer->name, name, sizeof consumer->name) == 0) break;
    return consumer;
}

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
    err = load_one(consumers, name, consumer);
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
    if (!consumer->region_ready) err = make_region(consumers, consumer);
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
