/* See model.h.
 *
 * A message tells who it is: its first bytes are its number among all that were ever tried to be put, and its size; the
 * rest follows from these. So a message is known wherever it turns up. */
#include "model.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "queue.h"

#define PATH "queue"
#define CONSUMER "c"
#define KEEPER "keep"
enum { BODY_MIN = 8, BODY_MAX = 1 << 18 };

/* ---- bodies ------------------------------------------------------------ */

static void fill_body(uint8_t *body, uint32_t number, uint32_t size)
{
    uint64_t word = ((uint64_t)number << 32 | size) * 0x9e3779b97f4a7c15;
    memcpy(body, &number, 4);
    memcpy(body + 4, &size, 4);
    for (uint32_t at = 8; at < size; at += 8) {
        word += 0x9e3779b97f4a7c15;
        uint64_t mixed = word ^ word >> 29;
        memcpy(body + at, &mixed, size - at < 8 ? size - at : 8);
    }
}

/* The number, or UINT32_MAX when these are no bytes that were put. */
static uint32_t read_body(const struct model *model, const lq_message *message)
{
    static _Thread_local uint8_t expected[BODY_MAX];
    uint32_t number;
    if (message->size < BODY_MIN || message->size > BODY_MAX) return UINT32_MAX;
    memcpy(&number, message->data, 4);
    if (number >= model->count || model->messages[number].size != message->size) return UINT32_MAX;
    fill_body(expected, number, (uint32_t)message->size);
    return memcmp(expected, message->data, message->size) == 0 ? number : UINT32_MAX;
}

/* ---- the account ------------------------------------------------------- */

static bool wrong(char why[1024], const char *format, ...) __attribute__((format(printf, 2, 3)));
static bool wrong(char why[1024], const char *format, ...)
{
    va_list arguments;
    if (why[0]) return false; /* the first one counts */
    va_start(arguments, format);
    vsnprintf(why, 1024, format, arguments);
    va_end(arguments);
    return false;
}

void model_init(struct model *model, const lq_options *options, bool with_keeper)
{
    memset(model, 0, sizeof *model);
    model->options = *options;
    model->options.size = sizeof model->options;
    model->with_keeper = with_keeper;
    model->window = 64;
}

static void all_durable(struct model *model, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        struct model_message *message = &model->messages[i];
        if (message->fate == MODEL_ACCEPTED) message->durable = true;
        if (message->ack == MODEL_ACKED) message->ack_durable = true;
    }
}

static int note(struct model *model, int err)
{
    /* Nobody need have been told yet: when a segment is sealed in passing, for one. */
    if (err == LQ_EPOISONED || (model->queue && lqi_poisoned(&model->queue->log))) {
        model->poisoned = true;
        model->vanished = model->bytes_may_vanish;
    }
    if (err == LQ_ECORRUPT && !model->vanished) wrong(model->why, "damage was reported: %s", lq_error_text());
    return err;
}

int model_open(struct model *model, const struct lqi_io *io, lq_queue **queue_out)
{
    int err = lqi_open_io(io, PATH, &model->options, queue_out);
    if (!err) {
        model->queue_made = true;
        model->queue = *queue_out;
    }
    return note(model, err);
}

int model_close(struct model *model, lq_queue *queue, bool last)
{
    (void)note(model, LQ_OK);
    model->queue = NULL;
    int err = lq_close(queue);
    if (err == LQ_EPOISONED) (void)note(model, err);
    if (!err && last && !model->poisoned) all_durable(model, model->count);
    if (last) {
        /* Whoever opens next is a new population. What was not promised to be durable when it was poisoned never will be. */
        if (model->poisoned)
            for (uint32_t i = 0; i < model->count; i++)
                if (model->messages[i].fate == MODEL_ACCEPTED && !model->messages[i].durable)
                    model->messages[i].fate = MODEL_UNSURE;
        model->poisoned = false;
    }
    return err;
}

int model_consumer_open(struct model *model, lq_queue *queue, lq_consumer **consumer_out)
{
    lq_consumer_options options = {.size = sizeof options, .window = model->window};
    int err = lq_consumer_open(queue, CONSUMER, &options, consumer_out);
    if (!err) model->consumer_made = true;
    return note(model, err);
}

int model_keeper_make(struct model *model, lq_queue *queue)
{
    lq_consumer *consumer = NULL;
    lq_consumer_options options = {.size = sizeof options, .window = 64};
    if (!model->with_keeper || model->keeper_made) return LQ_OK;
    int err = lq_consumer_open(queue, KEEPER, &options, &consumer);
    if (err) return note(model, err);
    model->keeper_made = true;
    return note(model, lq_consumer_close(consumer));
}

int model_consumer_close(struct model *model, lq_consumer *consumer)
{
    int err = lq_consumer_close(consumer);
    model->held_count = 0;
    return note(model, err);
}

static uint32_t add_message(struct model *model, uint32_t size)
{
    if (model->count == MODEL_MESSAGES || size < BODY_MIN || size > BODY_MAX) abort();
    uint32_t number = model->count++;
    model->messages[number] = (struct model_message){.size = size, .batch = number, .batch_count = 1};
    return number;
}

static int settle_put(struct model *model, uint32_t first, int err, uint64_t id, bool deferred)
{
    uint32_t count = model->messages[first].batch_count;
    for (uint32_t i = 0; i < count; i++) {
        struct model_message *message = &model->messages[first + i];
        if (err == LQ_OK) {
            message->fate = MODEL_ACCEPTED;
            message->id = id + i;
            message->durable = model->options.sync == LQ_SYNC_ALWAYS && !deferred;
        } else if (err != LQ_EPOISONED && err != LQ_EBUSY) {
            message->fate = MODEL_REFUSED;
        }
    }
    return note(model, err);
}

int model_put(struct model *model, lq_queue *queue, uint32_t size, bool deferred)
{
    uint64_t id = 0;
    uint32_t number = add_message(model, size);
    uint8_t *body = malloc(size);
    if (body == NULL) abort();
    fill_body(body, number, size);
    int err = lq_put(queue, body, size, &id);
    free(body);
    return settle_put(model, number, err, id, deferred);
}

int model_put_batch(struct model *model, lq_queue *queue, const uint32_t *sizes, uint32_t count, bool deferred)
{
    lq_message messages[16];
    uint64_t id = 0;
    uint32_t first = model->count;

    if (count > 16) abort();
    memset(messages, 0, sizeof messages);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t number = add_message(model, sizes[i]);
        model->messages[number].batch = first;
        model->messages[number].batch_count = count;
        uint8_t *body = malloc(sizes[i]);
        if (body == NULL) abort();
        fill_body(body, number, sizes[i]);
        messages[i].data = body;
        messages[i].size = sizes[i];
        if (number % 2) {
            messages[i].key = "key";
            messages[i].key_size = 3;
        }
    }
    int err = lq_put_batch(queue, messages, count, &id);
    for (uint32_t i = 0; i < count; i++) free((void *)(uintptr_t)messages[i].data);
    return settle_put(model, first, err, id, deferred);
}

int model_sync(struct model *model, lq_queue *queue)
{
    int err = lq_sync(queue);
    if (!err) all_durable(model, model->count);
    return note(model, err);
}

int model_poll(struct model *model, lq_consumer *consumer)
{
    lq_message message;
    bool lost = model->ack_loss == MODEL_POWER_LOST;
    if (model->held_count == MODEL_HELD) return LQ_EMPTY;
    int err = lq_poll(consumer, &message);
    if (err) return note(model, err);

    uint32_t number = read_body(model, &message);
    if (number == UINT32_MAX) {
        wrong(model->why, "id %" PRIu64 " was handed out with bytes that were never put", message.id);
        return err;
    }
    struct model_message *known = &model->messages[number];
    if (known->fate == MODEL_REFUSED) wrong(model->why, "message %" PRIu32 " is not in the queue, and was handed out", number);
    if (known->fate == MODEL_ACCEPTED && known->id != message.id)
        wrong(model->why, "message %" PRIu32 " is id %" PRIu64 ", and came as %" PRIu64, number, known->id, message.id);
    if (known->ack == MODEL_ACKED && !(lost && !known->ack_durable))
        wrong(model->why, "message %" PRIu32 " was acked, and came again", number);
    if (message.attempts < known->handed + 1 && !lost)
        wrong(model->why, "message %" PRIu32 " came for the %" PRIu32 ". time, and says attempt %" PRIu32, number,
              known->handed + 1, message.attempts);
    if (message.attempts > known->handed + 1 + model->crashes)
        wrong(model->why, "message %" PRIu32 " says attempt %" PRIu32 ", but was handed out %" PRIu32 " times", number,
              message.attempts, known->handed + 1);
    known->handed = message.attempts;
    /* One that was acked before a power loss may be found to be acked after all, after the next one. */
    if (known->ack == MODEL_ACKED) known->ack = MODEL_MAYBE_ACKED;
    known->ack_durable = false;
    model->held[model->held_count++] = (struct model_held){number, message};
    return LQ_OK;
}

int model_ack(struct model *model, lq_consumer *consumer, uint32_t held)
{
    struct model_message *known = &model->messages[model->held[held].number];
    known->ack = MODEL_MAYBE_ACKED;
    int err = lq_ack(consumer, &model->held[held].message);
    if (err == LQ_OK) known->ack = MODEL_ACKED;
    if (err == LQ_ELEASE) wrong(model->why, "message %" PRIu32 " is held, but ack says LQ_ELEASE", model->held[held].number);
    model->held[held] = model->held[--model->held_count];
    return note(model, err);
}

int model_release(struct model *model, lq_consumer *consumer, uint32_t held)
{
    struct model_message *known = &model->messages[model->held[held].number];
    known->handed--; /* before the call: in the middle of it, both counts are right */
    int err = lq_release(consumer, &model->held[held].message);
    if (err == LQ_ELEASE) wrong(model->why, "message %" PRIu32 " is held, but release says LQ_ELEASE", model->held[held].number);
    model->held[held] = model->held[--model->held_count];
    return note(model, err);
}

/* ---- the comparison ---------------------------------------------------- */

static bool failed(struct model *model, const char *doing, int err)
{
    return wrong(model->why, "%s: %s: %s", doing, lq_error_name(err), lq_error_text());
}

/* What a reader found. */
struct found {
    uint64_t ids[MODEL_MESSAGES]; /* 0: not there */
    uint64_t first_id, last_id;
};

static bool look_at(struct model *model, const lq_message *message, struct found *found, uint32_t *next)
{
    uint32_t number = read_body(model, message);
    if (number == UINT32_MAX) return wrong(model->why, "id %" PRIu64 " has bytes that were never put", message->id);

    const struct model_message *known = &model->messages[number];
    if (number < *next) wrong(model->why, "message %" PRIu32 " stands behind message %" PRIu32, number, *next - 1);
    if (found->last_id && message->id != found->last_id + 1 && !(model->vanished && message->id > found->last_id))
        wrong(model->why, "id %" PRIu64 " follows id %" PRIu64, message->id, found->last_id);
    if (known->fate == MODEL_REFUSED) wrong(model->why, "message %" PRIu32 " was refused or lost, and is there", number);
    if (known->fate == MODEL_ACCEPTED && known->id != message->id)
        wrong(model->why, "message %" PRIu32 " was given id %" PRIu64 ", and has %" PRIu64, number, known->id, message->id);
    found->ids[number] = message->id;
    if (!found->first_id) found->first_id = message->id;
    found->last_id = message->id;
    *next = number + 1;
    return !model->why[0];
}

static bool read_log(struct model *model, lq_queue *queue, struct found *found)
{
    lq_reader *reader = NULL;
    lq_message message;
    uint32_t next = 0;
    int err = lq_reader_open(queue, &reader);
    if (err) return failed(model, "reader", err);

    for (;;) {
        err = lq_reader_next(reader, &message);
        if (err == LQ_ECORRUPT && model->vanished) continue;
        if (err || !look_at(model, &message, found, &next)) break;
    }
    if (err == LQ_ECORRUPT) {
        lq_finding finding = {.size = sizeof finding};
        lq_reader_damage(reader, &finding);
        wrong(model->why, "damage in %s at %" PRIu64 ": %s", finding.file, finding.offset, finding.text);
    } else if (err && err != LQ_EMPTY) {
        failed(model, "read the log", err);
    }
    lq_reader_close(reader);
    return !model->why[0];
}

/* Is everything there that must be? What is there now must stay, and what is not must not come. */
static bool compare_log(struct model *model, const struct found *found)
{
    for (uint32_t i = 0; i < model->count; i++) {
        struct model_message *message = &model->messages[i];
        bool there = found->ids[i] != 0;
        bool promised = message->fate == MODEL_ACCEPTED &&
                        (message->durable || (model->log_loss != MODEL_POWER_LOST && !model->poisoned));
        /* As everybody had acked it, perhaps; with a keeper nothing may be. */
        bool deleted = promised && !there && !model->with_keeper && message->ack != MODEL_NOT_ACKED &&
                       (!found->first_id || message->id < found->first_id);

        if (promised && !there && !deleted)
            return wrong(model->why, "message %" PRIu32 ", id %" PRIu64 ", was accepted%s, and is lost; the log has ids %" PRIu64 " to %" PRIu64,
                         i, message->id, message->durable ? " durably" : "", found->first_id, found->last_id);
        if (there != (found->ids[message->batch] != 0))
            return wrong(model->why, "of the batch from message %" PRIu32 " on, message %" PRIu32 " is %s", message->batch, i,
                         there ? "there, but not all" : "missing");
        message->there = there;
        if (there) {
            message->fate = MODEL_ACCEPTED;
            message->id = found->ids[i];
            message->durable = true;
        } else if (!deleted) {
            message->fate = MODEL_REFUSED;
        }
    }
    model->log_loss = MODEL_CLOSED;
    model->poisoned = false;
    return true;
}

/* Polls until nothing comes, or as much is held as can be. */
static bool poll_all(struct model *model, lq_consumer *consumer)
{
    for (;;) {
        int err = model_poll(model, consumer);
        if (model->why[0]) return false;
        if (err == LQ_EMPTY) return true;
        if (err == LQ_ECORRUPT && model->vanished) continue;
        if (err) return failed(model, "poll", err);
        if (model->held_count > 1 && model->held[model->held_count - 1].number < model->held[model->held_count - 2].number)
            return wrong(model->why, "message %" PRIu32 " came after message %" PRIu32,
                         model->held[model->held_count - 1].number, model->held[model->held_count - 2].number);
    }
}

static bool ack_all(struct model *model, lq_consumer *consumer)
{
    while (model->held_count > 0) {
        int err = model_ack(model, consumer, 0);
        if (err) return failed(model, "ack", err);
    }
    return true;
}

/* Everything comes that was not acked. */
static bool drain(struct model *model, lq_consumer *consumer)
{
    bool came[MODEL_MESSAGES] = {false};
    do {
        if (!poll_all(model, consumer)) return false;
        for (uint32_t i = 0; i < model->held_count; i++) came[model->held[i].number] = true;
        if (model->held_count == 0) break;
    } while (ack_all(model, consumer));
    if (model->why[0]) return false;

    for (uint32_t i = 0; i < model->count; i++) {
        struct model_message *message = &model->messages[i];
        if (!message->there || came[i]) continue;
        if (message->ack == MODEL_NOT_ACKED)
            return wrong(model->why, "message %" PRIu32 ", id %" PRIu64 ", was never acked, and does not come", i, message->id);
        /* It was acked before the loss and is still: recovery has made sure of it. */
        message->ack = MODEL_ACKED;
        message->ack_durable = true;
    }
    model->ack_loss = MODEL_CLOSED;
    return true;
}

static bool open_consumer(struct model *model, lq_queue *queue, const char *name, bool made, lq_consumer **consumer_out)
{
    lq_consumer_options options = {.size = sizeof options, .window = model->window, .flags = made ? LQ_CONSUMER_NO_CREATE : 0};
    int err = lq_consumer_open(queue, name, &options, consumer_out);
    return err ? failed(model, "open the consumer", err) : true;
}

static bool close_consumer(struct model *model, lq_consumer *consumer)
{
    int err = model_consumer_close(model, consumer);
    return err ? failed(model, "close the consumer", err) : !model->why[0];
}

static bool compare_consumers(struct model *model, lq_queue *queue, bool quick)
{
    lq_consumer *consumer = NULL;
    if (!open_consumer(model, queue, CONSUMER, model->consumer_made, &consumer)) return false;
    model->consumer_made = true;
    if (!quick) { /* first only look, then leave: all comes again */
        bool good = poll_all(model, consumer);
        if (!close_consumer(model, consumer) || !good) return false;
        if (!open_consumer(model, queue, CONSUMER, true, &consumer)) return false;
    }
    bool good = drain(model, consumer);
    if (!close_consumer(model, consumer) || !good) return false;
    if (!model->keeper_made) return true;
    return open_consumer(model, queue, KEEPER, true, &consumer) && close_consumer(model, consumer);
}

/* The queue works: a message goes in and comes out, and is the next. */
static bool use(struct model *model, lq_queue *queue, uint64_t *last_id)
{
    lq_consumer *consumer = NULL;
    uint32_t number = model->count;
    int err = model_put(model, queue, 9, false);
    if (err) return failed(model, "put", err);

    uint64_t id = model->messages[number].id;
    if (*last_id && id != *last_id + 1 && !(model->vanished && id > *last_id))
        return wrong(model->why, "behind id %" PRIu64 " comes id %" PRIu64, *last_id, id);
    *last_id = id;
    if (!open_consumer(model, queue, CONSUMER, true, &consumer)) return false;
    bool good = poll_all(model, consumer);
    if (good && (model->held_count != 1 || model->held[0].number != number))
        good = wrong(model->why, "one message was put, and %" PRIu32 " came", model->held_count);
    good = good && ack_all(model, consumer);
    return close_consumer(model, consumer) && good;
}

static bool close_queue(struct model *model, lq_queue *queue)
{
    int err = model_close(model, queue, true);
    return err ? failed(model, "close", err) : !model->why[0];
}

/* After a clean close nothing was lost, and nothing is left to do. */
static bool open_again(struct model *model, const struct lqi_io *io, uint64_t last_id)
{
    lq_queue *queue = NULL;
    lq_consumer *consumer = NULL;
    lq_stats stats = {.size = sizeof stats};
    int err = model_open(model, io, &queue);
    if (err) return failed(model, "open again", err);
    err = lq_get_stats(queue, &stats);
    if (err) failed(model, "stats", err);
    else if (stats.last_id != last_id)
        wrong(model->why, "the last id was %" PRIu64 ", and is %" PRIu64 " after a clean close", last_id, stats.last_id);
    else if ((stats.recovered_bytes || stats.damage) && !model->vanished)
        wrong(model->why, "after a clean close %" PRIu64 " bytes were torn, %" PRIu64 " places damaged", stats.recovered_bytes, stats.damage);
    if (open_consumer(model, queue, CONSUMER, true, &consumer)) {
        if (poll_all(model, consumer) && model->held_count > 0)
            wrong(model->why, "all was acked, but message %" PRIu32 " comes again", model->held[0].number);
        close_consumer(model, consumer);
    }
    return close_queue(model, queue);
}

static enum model_loss worse(enum model_loss a, enum model_loss b)
{
    return a > b ? a : b;
}

bool model_check(struct model *model, const struct lqi_io *io, enum model_loss loss, bool quick)
{
    struct found found = {.first_id = 0};
    lq_queue *queue = NULL;
    uint32_t flags = model->options.flags;

    model->log_loss = worse(model->log_loss, loss);
    model->ack_loss = worse(model->ack_loss, loss);
    model->held_count = 0;
    model->queue = NULL;
    model->crashes += loss != MODEL_CLOSED;

    model->options.flags |= model->queue_made ? LQ_NO_CREATE : 0;
    int err = model_open(model, io, &queue);
    model->options.flags = flags;
    if (err) return failed(model, "open", err);
    bool good = read_log(model, queue, &found) && compare_log(model, &found) && compare_consumers(model, queue, quick) &&
                (quick || use(model, queue, &found.last_id));
    return close_queue(model, queue) && good && (quick || open_again(model, io, found.last_id));
}
