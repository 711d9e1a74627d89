/* See model.h: the comparison. */
#include <inttypes.h>
#include <string.h>

#include "model.h"
#include "queue.h"

/* ---- the log ------------------------------------------------------------ */

static bool read_log(struct model *model, lq_queue *queue, struct model_found *found)
{
    int err = model_read_log(model, queue, found);
    if (err != LQ_EMPTY && !model->why[0]) model_failed(model, "read the log", err);
    return !model->why[0];
}

static bool compare_message(struct model *model, uint32_t i, const struct model_found *found, uint64_t behind)
{
    struct model_message *message = &model->messages[i];
    bool there = found->ids[i] != 0;
    bool promised = message->fate == MODEL_ACCEPTED &&
                    (message->durable || (model->log_loss != MODEL_POWER_LOST && !model->poisoned));
    bool deleted = promised && !there &&
                   (message->gone || (model_may_be_gone(model, message, behind) && (!found->first_id || message->id < found->first_id)));

    if (promised && !there && !deleted)
        return model_wrong(model, "message %" PRIu32 ", id %" PRIu64 ", was accepted%s, and is lost; the log has ids %" PRIu64 " to %" PRIu64,
                           i, message->id, message->durable ? " durably" : "", found->first_id, found->last_id);
    if (there != (found->ids[message->batch] != 0))
        return model_wrong(model, "of the batch from message %" PRIu32 " on, message %" PRIu32 " is %s", message->batch, i,
                           there ? "there, but not all" : "missing");
    message->there = there;
    if (there) {
        message->fate = MODEL_ACCEPTED;
        message->id = found->ids[i];
        message->durable = true;
    } else if (deleted) {
        message->gone = true;
    } else {
        message->fate = MODEL_REFUSED;
    }
    return true;
}

/* Is everything there that must be? What is there now must stay, and what is not must not come. */
static bool compare_log(struct model *model, const struct model_found *found)
{
    uint64_t behind = 0;
    for (uint32_t i = model->count; i-- > 0;) {
        behind += model_bytes_of(&model->messages[i]);
        if (!compare_message(model, i, found, behind)) return false;
    }
    model->log_loss = MODEL_CLOSED;
    model->poisoned = false;
    return true;
}

/* ---- consumers ---------------------------------------------------------- */

/* Polls until nothing comes, or as much is held as can be. */
static bool poll_all(struct model *model)
{
    for (;;) {
        int err = model_poll(model, 0);
        if (model->why[0]) return false;
        if (err == LQ_EMPTY) return true;
        if (err == LQ_ECORRUPT && model->vanished) continue;
        if (err) return model_failed(model, "poll", err);
        const struct model_held *last = &model->held[model->held_count - 1];
        if (model->held_count > 1 && last->number < last[-1].number)
            return model_wrong(model, "message %" PRIu32 " came after message %" PRIu32, last->number, last[-1].number);
    }
}

static bool ack_all(struct model *model)
{
    int err = model_ack_all(model, 0);
    return err ? model_failed(model, "ack", err) : true;
}

/* Everything comes that was not acked. */
static bool drain(struct model *model, uint32_t of)
{
    bool came[MODEL_MESSAGES] = {false};
    do {
        if (!poll_all(model)) return false;
        for (uint32_t i = 0; i < model->held_count; i++) came[model->held[i].number] = true;
        if (model->held_count == 0) break;
    } while (ack_all(model));
    if (model->why[0]) return false;

    for (uint32_t i = 0; i < model->count; i++) {
        const struct model_message *message = &model->messages[i];
        struct model_delivery *to = &model->messages[i].to[of];
        if (!message->there || came[i]) continue;
        if (to->ack == MODEL_NOT_ACKED)
            return model_wrong(model, "message %" PRIu32 ", id %" PRIu64 ", was never acked by %s, and does not come", i, message->id,
                               model_names[of]);
        /* It was acked before the loss and is still: recovery has made sure of it. */
        to->ack = MODEL_ACKED;
        to->ack_durable = true;
    }
    model->consumers[of].loss = MODEL_CLOSED;
    return true;
}

/* As the first and only member; one that need not be there may be made, if the comparison `needs` it. */
static bool open_consumer(struct model *model, lq_queue *queue, uint32_t of, bool needed)
{
    int err = LQ_ENOTFOUND;
    if (model->consumers[of].existence != MODEL_NOT_THERE)
        err = model_consumer_open(model, queue, of, LQ_CONSUMER_NO_CREATE, 0);
    if (err == LQ_ENOTFOUND && model->consumers[of].existence == MODEL_NOT_THERE && needed)
        err = model_consumer_open(model, queue, of, 0, 0);
    return err && (err != LQ_ENOTFOUND || model->consumers[of].existence != MODEL_NOT_THERE)
               ? model_failed(model, "open the consumer", err) : true;
}

static bool close_consumer(struct model *model)
{
    int err = model_consumer_close(model, 0);
    return err ? model_failed(model, "close the consumer", err) : !model->why[0];
}

static bool compare_consumer(struct model *model, lq_queue *queue, uint32_t of, bool look_first)
{
    if (!open_consumer(model, queue, of, of == 0)) return false;
    if (!model->members[0].consumer) return true;
    if (look_first) { /* all comes again */
        bool good = poll_all(model);
        if (!close_consumer(model) || !good || !open_consumer(model, queue, of, true)) return false;
    }
    bool good = drain(model, of);
    return close_consumer(model) && good;
}

static bool compare_keeper(struct model *model, lq_queue *queue)
{
    lq_consumer_options options = {.size = sizeof options, .window = 64, .flags = LQ_CONSUMER_NO_CREATE};
    lq_consumer *keeper = NULL;
    if (!model->with_keeper) return true;
    int err = lq_consumer_open(queue, MODEL_KEEPER, &options, &keeper);
    if (err == LQ_ENOTFOUND && !model->keeper_made) return true;
    model->keeper_made |= !err;
    if (err) return model_failed(model, "open the keeper", err);
    err = lq_consumer_close(keeper);
    return err ? model_failed(model, "close the keeper", err) : true;
}

static bool compare_consumers(struct model *model, lq_queue *queue, bool look_first)
{
    for (uint32_t of = 0; of < MODEL_CONSUMERS; of++)
        if (!compare_consumer(model, queue, of, look_first)) return false;
    return compare_keeper(model, queue);
}

/* ---- and it works -------------------------------------------------------- */

/* A message goes in and comes out, and is the next. */
static bool use(struct model *model, lq_queue *queue, uint64_t *last_id)
{
    uint32_t number = model->count;
    int err = model_put(model, queue, 9, false);
    if (err == LQ_EFULL && model->options.size_max) return true;
    if (err) return model_failed(model, "put", err);

    uint64_t id = model->messages[number].id;
    if (*last_id && id != *last_id + 1 && !(model->vanished && id > *last_id))
        return model_wrong(model, "behind id %" PRIu64 " comes id %" PRIu64, *last_id, id);
    *last_id = id;
    if (!open_consumer(model, queue, 0, true)) return false;
    bool good = poll_all(model);
    if (good && (model->held_count != 1 || model->held[0].number != number))
        good = model_wrong(model, "one message was put, and %" PRIu32 " came", model->held_count);
    good = good && ack_all(model);
    return close_consumer(model) && good;
}

static bool close_queue(struct model *model, lq_queue *queue)
{
    int err = model_close(model, queue);
    return err ? model_failed(model, "close", err) : !model->why[0];
}

/* What the log says is known; what the consumers have made of it, who may think that they are further than its end, is not. */
static bool put_first(struct model *model, const struct lqi_io *io, uint64_t *last_id, lq_queue **queue)
{
    for (uint32_t i = 0, puts = 1 + model->count % 3; i < puts; i++) {
        uint32_t number = model->count;
        int err = model_put(model, *queue, i == 1 ? 50 : 9, false);
        if (err == LQ_EFULL && model->options.size_max) break;
        if (err) return model_failed(model, "put first", err);
        if (*last_id && model->messages[number].id != *last_id + 1 && !model->vanished)
            return model_wrong(model, "behind id %" PRIu64 " comes id %" PRIu64, *last_id, model->messages[number].id);
        *last_id = model->messages[number].id;
    }
    int err = model_sync(model, *queue);
    if (err) return model_failed(model, "sync", err);
    if (!close_queue(model, *queue)) return false;
    *queue = NULL;
    err = model_open(model, io, LQ_NO_CREATE, queue);
    return err ? model_failed(model, "open after the first put", err) : true;
}

/* After a clean close nothing was lost, and nothing is left to do. */
static bool open_again(struct model *model, const struct lqi_io *io, uint64_t last_id)
{
    lq_queue *queue = NULL;
    lq_stats stats = {.size = sizeof stats};
    int err = model_open(model, io, 0, &queue);
    if (err) return model_failed(model, "open again", err);
    err = lq_get_stats(queue, &stats);
    if (err) model_failed(model, "stats", err);
    else if (stats.last_id != last_id && last_id)
        model_wrong(model, "the last id was %" PRIu64 ", and is %" PRIu64 " after a clean close", last_id, stats.last_id);
    else if ((stats.recovered_bytes || stats.damage) && !model->vanished)
        model_wrong(model, "after a clean close %" PRIu64 " bytes were torn, %" PRIu64 " places damaged", stats.recovered_bytes, stats.damage);
    if (open_consumer(model, queue, 0, true)) {
        if (poll_all(model) && model->held_count > 0)
            model_wrong(model, "all was acked, but message %" PRIu32 " comes again", model->held[0].number);
        close_consumer(model);
    }
    return close_queue(model, queue);
}

static void note_finding(void *context, const lq_finding *finding)
{
    model_wrong(context, "lq_verify() finds damage in %s at %" PRIu64 ": %s", finding->file, finding->offset, finding->text);
}

static bool verify(struct model *model, const struct lqi_io *io)
{
    if (model->vanished) return true;
    int err = lqi_verify_io(io, MODEL_PATH, 0, note_finding, model, NULL);
    return err ? model_failed(model, "verify", err) : true;
}

static enum model_loss worse(enum model_loss a, enum model_loss b)
{
    return a > b ? a : b;
}

bool model_check(struct model *model, const struct lqi_io *io, enum model_loss loss, unsigned flags)
{
    bool quick = flags & MODEL_QUICK;
    struct model_found found;
    lq_queue *queue = NULL;

    model->log_loss = worse(model->log_loss, loss);
    for (size_t i = 0; i < MODEL_CONSUMERS; i++) model->consumers[i].loss = worse(model->consumers[i].loss, loss);
    model->held_count = 0;
    memset(model->queues, 0, sizeof model->queues);
    memset(model->members, 0, sizeof model->members);
    model->crashes += loss != MODEL_CLOSED;

    int err = model_open(model, io, model->queue_made ? LQ_NO_CREATE : 0, &queue);
    if (err) return model_failed(model, "open", err);
    bool good = read_log(model, queue, &found) && compare_log(model, &found);
    if (good && flags & MODEL_PUT_FIRST)
        good = put_first(model, io, &found.last_id, &queue) && read_log(model, queue, &found) && compare_log(model, &found);
    good = good && compare_consumers(model, queue, flags & MODEL_LOOK_FIRST) && (quick || use(model, queue, &found.last_id));
    if (queue) good = close_queue(model, queue) && good;
    return good && (quick || (open_again(model, io, found.last_id) && verify(model, io)));
}
