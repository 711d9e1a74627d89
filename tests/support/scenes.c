/* See scenes.h. */
#include "scenes.h"

#include <stdatomic.h>

#include "child.h"

/* ---- getting there ------------------------------------------------------- */

static const lq_consumer_options small_window = {.size = sizeof(lq_consumer_options), .window = 128};

lq_options scenes_options(const struct scene *scene)
{
    return (lq_options){.size = sizeof(lq_options), .sync = scene->sync, .segment_size = SCENES_SEGMENT,
                        .ring_size = SCENES_RING, .compression = scene->compression};
}

int scenes_stock(const struct scene *scene, struct ledger *ledger, lq_queue *queue)
{
    int err = LQ_OK;
    for (uint32_t i = 0; i < scene->stock_count && !err; i++) err = ledger_put(ledger, queue, scene->stock_size, 1);
    return err;
}

static int open_nothing(struct scenes_actor *actor)
{
    (void)actor;
    return LQ_OK;
}

static int open_queue(struct scenes_actor *actor)
{
    return lq_open(actor->path, &actor->options, &actor->queue);
}

static int open_pool(struct scenes_actor *actor)
{
    int err = open_queue(actor);
    return err ? err : lq_consumer_open(actor->queue, "pool", &small_window, &actor->pool);
}

static int hold(struct scenes_actor *actor, size_t count)
{
    int err = open_pool(actor);
    while (!err && actor->held.count < count) err = ledger_get(actor->ledger, actor->pool, &actor->held, 1000);
    return err;
}

static int hold_3(struct scenes_actor *actor)
{
    return hold(actor, 3);
}

static int hold_1_to_ack(struct scenes_actor *actor)
{
    int err = hold(actor, 3);
    ledger_acking(actor->ledger, &actor->held, 1);
    return err;
}

static int hold_8_to_ack(struct scenes_actor *actor)
{
    int err = hold(actor, 8);
    ledger_acking(actor->ledger, &actor->held, 8);
    return err;
}

static int hold_3_to_release(struct scenes_actor *actor)
{
    int err = hold(actor, 3);
    ledger_releasing(actor->ledger, &actor->held, 1);
    return err;
}

static int hold_1_to_ack_and_save(struct scenes_actor *actor)
{
    const lq_consumer_options options = {.size = sizeof options, .window = 128, .flags = LQ_CONSUMER_SAVE_ACKS};
    int err = open_queue(actor);
    if (!err) err = lq_consumer_open(actor->queue, "pool", &options, &actor->pool);
    while (!err && actor->held.count < 3) err = ledger_get(actor->ledger, actor->pool, &actor->held, 1000);
    ledger_acking(actor->ledger, &actor->held, 1);
    return err;
}

/* Holds the first message of segments that nobody else needs, and has acked all others. */
static int hold_the_last_to_ack(struct scenes_actor *actor)
{
    int err = open_pool(actor);
    while (!err) err = ledger_get(actor->ledger, actor->pool, &actor->held, 0);
    if (err != LQ_EMPTY) return err;
    lq_message first = actor->held.messages[0];
    uint32_t number = actor->held.numbers[0];
    ledger_released(&actor->held, 1);
    err = ledger_ack(actor->ledger, actor->pool, &actor->held, actor->held.count);
    actor->held = (struct ledger_held){.messages = {first}, .numbers = {number}, .count = 1};
    ledger_acking(actor->ledger, &actor->held, 1);
    return err;
}

static int hold_3_and_release(struct scenes_actor *actor)
{
    int err = hold(actor, 3);
    while (!err && actor->held.count) {
        ledger_releasing(actor->ledger, &actor->held, 1);
        err = lq_release(actor->pool, actor->held.messages);
        ledger_released(&actor->held, 1);
    }
    return err;
}

static int announce(struct scenes_actor *actor, int err, uint32_t size, uint32_t count)
{
    if (!err) ledger_announce(actor->ledger, &actor->batch, size, count);
    return err;
}

static int announce_100(struct scenes_actor *actor)
{
    return announce(actor, open_queue(actor), 100, 1);
}

static int announce_batch(struct scenes_actor *actor)
{
    return announce(actor, open_queue(actor), 100, 5);
}

static int announce_large(struct scenes_actor *actor)
{
    return announce(actor, open_queue(actor), 20000, 1);
}

/* Puts until one of `size` more begins a new segment. */
static int fill_segment(struct scenes_actor *actor, uint32_t size)
{
    int err = LQ_OK;
    while (!err) {
        struct lqi_log *log = &actor->queue->log;
        struct lqi_tail tail;
        err = lqi_log_tail(log, &tail);
        const struct lqi_span *span = &log->state->spans[tail.span & 1];
        if (!err && !span->sealed && tail.end + lqi_record_span(size) > span->limit) break;
        if (!err) err = ledger_put(actor->ledger, actor->queue, size, 1);
    }
    return err;
}

static int open_and_fill_segment(struct scenes_actor *actor)
{
    int err = open_queue(actor);
    if (!err) err = fill_segment(actor, 2000);
    return announce(actor, err, 2000, 1);
}

static int open_and_fill_segment_with_large(struct scenes_actor *actor)
{
    int err = open_queue(actor);
    if (!err) err = fill_segment(actor, 20000);
    return announce(actor, err, 20000, 1);
}

/* Puts until one more makes so much that it is written out. */
static int open_and_fill_ring(struct scenes_actor *actor)
{
    int err = open_queue(actor);
    while (!err) {
        const struct lqi_log_state *state = actor->queue->log.state;
        uint64_t waiting = atomic_load(&state->ring.appended) - atomic_load(&state->written);
        if (waiting < SCENES_RING / 4 && waiting + lqi_record_span(2000) >= SCENES_RING / 4) break;
        err = ledger_put(actor->ledger, actor->queue, 2000, 1);
    }
    return announce(actor, err, 2000, 1);
}

static int open_temp(struct scenes_actor *actor)
{
    int err = open_queue(actor);
    return err ? err : lq_consumer_open(actor->queue, "temp", &small_window, &actor->temp);
}

static int make_temp(struct scenes_actor *actor)
{
    int err = open_temp(actor);
    if (err) return err;
    err = lq_consumer_close(actor->temp);
    actor->temp = NULL;
    return err;
}

/* ---- the calls ----------------------------------------------------------- */

static int put(struct scenes_actor *actor)
{
    return ledger_put_announced(actor->queue, &actor->batch);
}

static int put_and_sync(struct scenes_actor *actor)
{
    int err = ledger_put_announced(actor->queue, &actor->batch);
    return err ? err : lq_sync(actor->queue);
}

static void conclude_put(struct scenes_actor *actor, int result)
{
    ledger_conclude(actor->ledger, &actor->batch, result);
}

static int get(struct scenes_actor *actor)
{
    return lq_get_batch(actor->pool, actor->held.messages + actor->held.count, 1, &actor->got, 1000);
}

static int get_8(struct scenes_actor *actor)
{
    return lq_get_batch(actor->pool, actor->held.messages + actor->held.count, 8, &actor->got, 1000);
}

static int wait_for_nothing(struct scenes_actor *actor)
{
    int err = lq_get(actor->pool, actor->held.messages, 1);
    return err == LQ_TIMEOUT ? LQ_OK : err;
}

static void conclude_get(struct scenes_actor *actor, int result)
{
    if (!result) ledger_got(actor->ledger, &actor->held, actor->got);
}

static int ack(struct scenes_actor *actor)
{
    return lq_ack(actor->pool, actor->held.messages);
}

static int ack_8(struct scenes_actor *actor)
{
    return lq_ack_batch(actor->pool, actor->held.messages, 8);
}

static void conclude_ack(struct scenes_actor *actor, int result)
{
    if (!result) ledger_acked(actor->ledger, &actor->held, 1);
}

static void conclude_ack_8(struct scenes_actor *actor, int result)
{
    if (!result) ledger_acked(actor->ledger, &actor->held, 8);
}

static int release(struct scenes_actor *actor)
{
    return lq_release(actor->pool, actor->held.messages);
}

static void conclude_release(struct scenes_actor *actor, int result)
{
    if (!result) ledger_released(&actor->held, 1);
}

static int join(struct scenes_actor *actor)
{
    return lq_consumer_open(actor->queue, "pool", &small_window, &actor->pool);
}

static int leave(struct scenes_actor *actor)
{
    lq_consumer *pool = actor->pool;
    actor->pool = NULL;
    return lq_consumer_close(pool);
}

static int make(struct scenes_actor *actor)
{
    return lq_consumer_open(actor->queue, "temp", &small_window, &actor->temp);
}

static int delete(struct scenes_actor *actor)
{
    return lq_consumer_delete(actor->queue, "temp");
}

static int close_queue(struct scenes_actor *actor)
{
    lq_queue *queue = actor->queue;
    actor->queue = NULL;
    return lq_close(queue);
}

int scenes_finish(struct scenes_actor *actor)
{
    int first = lq_consumer_close(actor->pool), second = lq_consumer_close(actor->temp), third = lq_close(actor->queue);
    return first ? first : second ? second : third;
}

/* ---- the table ----------------------------------------------------------- */

#define BOTH (SCENES_WITNESS | SCENES_ALONE)

const struct scene scenes[] = {
    {"put", .sync = LQ_SYNC_NEVER, .company = BOTH,
     .prepare = announce_100, .act = put, .conclude = conclude_put},
    {"put_batch", .sync = LQ_SYNC_NEVER, .company = BOTH,
     .prepare = announce_batch, .act = put, .conclude = conclude_put},
    {"put_packed", .sync = LQ_SYNC_NEVER, .company = SCENES_WITNESS, .compression = 1,
     .prepare = announce_batch, .act = put, .conclude = conclude_put},
    {"put_synced", .sync = LQ_SYNC_ALWAYS, .company = BOTH,
     .prepare = announce_100, .act = put, .conclude = conclude_put},
    {"put_and_sync", .is_long = true, .sync = LQ_SYNC_ALWAYS, .company = BOTH, .flags = LQ_DEFER_SYNC,
     .prepare = announce_100, .act = put_and_sync, .conclude = conclude_put},
    {"put_writing_out", .sync = LQ_SYNC_NEVER, .company = BOTH,
     .prepare = open_and_fill_ring, .act = put, .conclude = conclude_put},
    {"put_rolling", .sync = LQ_SYNC_NEVER, .company = BOTH,
     .prepare = open_and_fill_segment, .act = put, .conclude = conclude_put},
    {"put_rolling_synced", .is_long = true, .sync = LQ_SYNC_ALWAYS, .company = BOTH, .flags = LQ_DEFER_SYNC,
     .prepare = open_and_fill_segment, .act = put_and_sync, .conclude = conclude_put},
    {"put_large", .sync = LQ_SYNC_NEVER, .company = BOTH,
     .prepare = announce_large, .act = put, .conclude = conclude_put},
    {"put_large_rolling", .sync = LQ_SYNC_NEVER, .company = BOTH,
     .prepare = open_and_fill_segment_with_large, .act = put, .conclude = conclude_put},
    {"get", .sync = LQ_SYNC_NEVER, .company = BOTH, .stock_count = 4, .stock_size = 50,
     .prepare = open_pool, .act = get, .conclude = conclude_get},
    {"get_batch", .sync = LQ_SYNC_NEVER, .company = BOTH, .stock_count = 9, .stock_size = 50,
     .prepare = open_pool, .act = get_8, .conclude = conclude_get},
    {"get_again", .sync = LQ_SYNC_NEVER, .company = BOTH, .stock_count = 4, .stock_size = 50,
     .prepare = hold_3_and_release, .act = get, .conclude = conclude_get},
    {"get_of_the_dead", .sync = LQ_SYNC_NEVER, .company = SCENES_WITNESS, .corpse = true,
     .prepare = open_pool, .act = get_8, .conclude = conclude_get},
    {"get_waiting", .sync = LQ_SYNC_ALWAYS, .company = SCENES_WITNESS,
     .prepare = open_pool, .act = wait_for_nothing},
    {"ack", .sync = LQ_SYNC_NEVER, .company = BOTH, .stock_count = 4, .stock_size = 50,
     .prepare = hold_1_to_ack, .act = ack, .conclude = conclude_ack},
    {"ack_batch", .sync = LQ_SYNC_NEVER, .company = BOTH, .stock_count = 9, .stock_size = 50,
     .prepare = hold_8_to_ack, .act = ack_8, .conclude = conclude_ack_8},
    {"ack_saved", .sync = LQ_SYNC_NEVER, .company = BOTH, .stock_count = 4, .stock_size = 50,
     .prepare = hold_1_to_ack_and_save, .act = ack, .conclude = conclude_ack},
    {"ack_synced", .sync = LQ_SYNC_ALWAYS, .company = BOTH, .stock_count = 4, .stock_size = 50,
     .prepare = hold_1_to_ack_and_save, .act = ack, .conclude = conclude_ack},
    {"ack_deleting", .sync = LQ_SYNC_NEVER, .company = SCENES_WITNESS, .stock_count = 9, .stock_size = 15000,
     .prepare = hold_the_last_to_ack, .act = ack, .conclude = conclude_ack},
    {"release", .sync = LQ_SYNC_NEVER, .company = BOTH, .stock_count = 4, .stock_size = 50,
     .prepare = hold_3_to_release, .act = release, .conclude = conclude_release},
    {"consumer_make", .is_long = true, .sync = LQ_SYNC_NEVER, .company = BOTH, .temp = true,
     .prepare = open_queue, .act = make},
    {"consumer_join", .is_long = true, .sync = LQ_SYNC_NEVER, .company = BOTH, .stock_count = 4, .stock_size = 50,
     .prepare = open_queue, .act = join},
    {"consumer_join_the_dead", .is_long = true, .sync = LQ_SYNC_NEVER, .company = SCENES_WITNESS, .corpse = true,
     .prepare = open_queue, .act = join},
    {"consumer_close", .sync = LQ_SYNC_NEVER, .company = BOTH, .stock_count = 4, .stock_size = 50,
     .prepare = hold_3, .act = leave},
    {"consumer_delete", .sync = LQ_SYNC_NEVER, .company = BOTH, .temp = true,
     .prepare = make_temp, .act = delete},
    {"open", .is_long = true, .sync = LQ_SYNC_NEVER, .company = BOTH,
     .prepare = open_nothing, .act = open_queue},
    {"open_recovering", .is_long = true, .sync = LQ_SYNC_NEVER, .company = SCENES_ALONE, .corpse = true,
     .prepare = open_nothing, .act = open_queue},
    {"close", .sync = LQ_SYNC_NEVER, .company = BOTH, .stock_count = 4, .stock_size = 50,
     .prepare = open_queue, .act = close_queue},
};
const uint32_t scenes_count = sizeof scenes / sizeof scenes[0];

/* ---- the dead ------------------------------------------------------------ */

struct corpse {
    const struct scene *scene;
    struct ledger *ledger;
    const char *path;
};

static int die_holding(void *context)
{
    const struct corpse *corpse = context;
    struct scenes_actor actor = {.path = corpse->path, .ledger = corpse->ledger, .options = scenes_options(corpse->scene)};
    int err = open_pool(&actor);
    for (uint32_t i = 0; i < 6 && !err; i++) err = ledger_put(actor.ledger, actor.queue, i == 3 ? 20000 : 60, 1);
    while (!err && actor.held.count < 4) err = ledger_get(actor.ledger, actor.pool, &actor.held, 1000);
    if (!err) err = ledger_ack(actor.ledger, actor.pool, &actor.held, 1);
    return err != LQ_OK; /* and everything is left as it is */
}

bool scenes_leave_corpse(const struct scene *scene, struct ledger *ledger, const char *path)
{
    struct corpse corpse = {scene, ledger, path};
    return child_run(die_holding, &corpse) == 0;
}
