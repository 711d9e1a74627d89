/* See model.h: looking while the queue is in use. */
#include <inttypes.h>
#include <string.h>

#include "model.h"
#include "queue.h"

/* ---- looking ------------------------------------------------------------ */

static bool look_at(struct model *model, const lq_message *message, struct model_found *found, uint32_t *next)
{
    uint32_t number = model_number_of(model, message);
    if (number == UINT32_MAX) return model_wrong(model, "id %" PRIu64 " has bytes that were never put", message->id);

    const struct model_message *known = &model->messages[number];
    if (number < *next) model_wrong(model, "message %" PRIu32 " stands behind message %" PRIu32, number, *next - 1);
    if (found->last_id && message->id != found->last_id + 1 && !(model->vanished && message->id > found->last_id))
        model_wrong(model, "id %" PRIu64 " follows id %" PRIu64, message->id, found->last_id);
    if (known->fate == MODEL_REFUSED) model_wrong(model, "message %" PRIu32 " was refused or lost, and is there", number);
    if (known->gone) model_wrong(model, "message %" PRIu32 " was deleted, and is there", number);
    if (known->fate == MODEL_ACCEPTED && known->id != message->id)
        model_wrong(model, "message %" PRIu32 " was given id %" PRIu64 ", and has %" PRIu64, number, known->id, message->id);
    found->ids[number] = message->id;
    if (!found->first_id) found->first_id = message->id;
    found->last_id = message->id;
    *next = number + 1;
    return !model->why[0];
}

int model_read_log(struct model *model, lq_queue *queue, struct model_found *found)
{
    lq_reader *reader = NULL;
    lq_message message;
    uint32_t next = 0;

    found->first_id = found->last_id = 0;
    memset(found->ids, 0, model->count * sizeof found->ids[0]);
    int err = lq_reader_open(queue, &reader);
    while (!err) {
        err = lq_reader_next(reader, &message);
        if (err == LQ_ECORRUPT && model->vanished) err = LQ_OK;
        else if (!err && !look_at(model, &message, found, &next)) break;
    }
    if (err == LQ_ECORRUPT) {
        lq_finding finding = {.size = sizeof finding};
        lq_reader_damage(reader, &finding);
        model_wrong(model, "damage in %s at %" PRIu64 ": %s", finding.file, finding.offset, finding.text);
    }
    lq_reader_close(reader);
    return err;
}

int model_read(struct model *model, lq_queue *queue)
{
    struct model_found found;
    uint64_t behind = 0;
    int err = model_read_log(model, queue, &found);
    if (err != LQ_EMPTY || model->poisoned || model->vanished) return model_note(model, err);

    for (uint32_t i = model->count; i-- > 0;) {
        const struct model_message *message = &model->messages[i];
        behind += model_bytes_of(message);
        bool visible = message->fate == MODEL_ACCEPTED && (message->durable || model->options.sync != LQ_SYNC_ALWAYS);
        if (visible && !found.ids[i] && !message->gone && !model_may_be_gone(model, message, behind))
            model_wrong(model, "message %" PRIu32 ", id %" PRIu64 ", is not seen by a reader", i, message->id);
    }
    return model_note(model, LQ_OK);
}

static int count_consumer(void *context, int code, const lq_consumer_stats *stats)
{
    uint32_t *count = context;
    (void)stats;
    *count += code == LQ_OK;
    return 0;
}

static int count_segment(void *context, const lq_segment *segment)
{
    uint32_t *count = context;
    (void)segment;
    ++*count;
    return 0;
}

int model_stats(struct model *model, lq_queue *queue)
{
    lq_stats stats = {.size = sizeof stats};
    lq_consumer_stats consumer_stats = {.size = sizeof consumer_stats};
    uint32_t consumers = 0, segments = 0, made = model->keeper_made;
    uint64_t last_id = 0;

    int err = lq_get_stats(queue, &stats);
    if (err) return model_note(model, err);
    for (uint32_t i = 0; i < model->count; i++)
        if (model->messages[i].fate == MODEL_ACCEPTED && !model->messages[i].gone) last_id = model->messages[i].id;
    if (stats.last_id < last_id && !model->poisoned)
        model_wrong(model, "the last id is %" PRIu64 ", lq_get_stats() says %" PRIu64, last_id, stats.last_id);

    err = lq_each_consumer(queue, count_consumer, &consumers);
    for (size_t i = 0; i < MODEL_CONSUMERS; i++) made += model->consumers[i].existence == MODEL_THERE;
    if (!err && consumers < made)
        model_wrong(model, "%" PRIu32 " consumers were made, lq_each_consumer() tells of %" PRIu32, made, consumers);
    if (!err) err = lq_each_segment(queue, count_segment, &segments);
    if (!err && made > model->keeper_made) {
        uint32_t of = model->consumers[0].existence != MODEL_THERE;
        err = lq_get_consumer_stats(queue, model_names[of], &consumer_stats);
        if (!err && consumer_stats.floor > consumer_stats.delivered)
            model_wrong(model, "consumer %s: floor %" PRIu64 ", delivered %" PRIu64, model_names[of], consumer_stats.floor, consumer_stats.delivered);
    }
    return model_note(model, err);
}
