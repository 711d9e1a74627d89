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
    if (model->held_count == MODEL_HELD) return LQ_EMPTY;
    int err = lq_poll(consumer, &message);
    if (err) return note(model, err);

    uint32_t number = read_body(model, &message);
    if (number == UINT32_MAX) {
        wrong(model->why, "id %" PRIu64 " was handed out with bytes that were never put", message.id);
        return err;
    }
    struct model_message *known = &model->messages[number];
    if (known->fate == MODEL_REFUSED) wrong(model->why, "message %" PRIu32 " was refused, and handed out", number);
    if (known->fate == MODEL_ACCEPTED && known->id != message.id)
        wrong(model->why, "message %" PRIu32 " is id %" PRIu64 ", and came as %" PRIu64, number, known->id, message.id);
    if (known->ack == MODEL_ACKED) wrong(model->why, "message %" PRIu32 " was acked, and came again", number);
    if (message.attempts < known->handed + 1)
        wrong(model->why, "message %" PRIu32 " came for the %" PRIu32 ". time, and says attempt %" PRIu32, number,
              known->handed + 1, message.attempts);
    known->handed++;
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

struct check {
    const struct model *model;
    const struct lqi_io *io;
    enum model_loss loss;
    char *why;
    bool found[MODEL_MESSAGES], came[MODEL_MESSAGES], came_before[MODEL_MESSAGES];
    uint64_t ids[MODEL_MESSAGES];
    uint64_t first_id, last_id;
};

static bool failed(const struct check *check, const char *doing, int err)
{
    return wrong(check->why, "%s: %s: %s", doing, lq_error_name(err), lq_error_text());
}

static bool must_be_there(const struct check *check, const struct model_message *message)
{
    if (message->fate != MODEL_ACCEPTED) return false;
    return message->durable || (check->loss != MODEL_POWER_LOST && !check->model->poisoned);
}

static bool surely_acked(const struct check *check, const struct model_message *message)
{
    return message->ack == MODEL_ACKED && (message->ack_durable || check->loss != MODEL_POWER_LOST);
}

/* The log, from end to end. */
static bool check_log(struct check *check, lq_queue *queue)
{
    const struct model *model = check->model;
    lq_reader *reader = NULL;
    lq_message message;
    uint32_t next = 0;
    int err = lq_reader_open(queue, &reader);
    if (err) return failed(check, "reader", err);

    while ((err = lq_reader_next(reader, &message)) == LQ_OK || (err == LQ_ECORRUPT && model->vanished)) {
        if (err) continue;
        uint32_t number = read_body(model, &message);
        if (number == UINT32_MAX) {
            wrong(check->why, "id %" PRIu64 " has bytes that were never put", message.id);
            break;
        }
        const struct model_message *known = &model->messages[number];
        if (number < next) wrong(check->why, "message %" PRIu32 " stands behind message %" PRIu32, number, next - 1);
        if (check->last_id && message.id != check->last_id + 1 && !model->vanished)
            wrong(check->why, "id %" PRIu64 " follows id %" PRIu64, message.id, check->last_id);
        if (known->fate == MODEL_REFUSED) wrong(check->why, "message %" PRIu32 " was refused, and is there", number);
        if (known->fate == MODEL_ACCEPTED && known->id != message.id)
            wrong(check->why, "message %" PRIu32 " was given id %" PRIu64 ", and has %" PRIu64, number, known->id, message.id);
        if (check->why[0]) break;
        check->found[number] = true;
        check->ids[number] = message.id;
        if (!check->first_id) check->first_id = message.id;
        check->last_id = message.id;
        next = number + 1;
    }
    if (err == LQ_ECORRUPT) {
        lq_finding finding = {.size = sizeof finding};
        lq_reader_damage(reader, &finding);
        wrong(check->why, "damage in %s at %" PRIu64 ": %s", finding.file, finding.offset, finding.text);
    } else if (err && err != LQ_EMPTY) {
        failed(check, "read the log", err);
    }
    lq_reader_close(reader);
    return !check->why[0];
}

static bool check_complete(const struct check *check)
{
    const struct model *model = check->model;
    for (uint32_t i = 0; i < model->count; i++) {
        const struct model_message *message = &model->messages[i];
        bool batch_found = check->found[message->batch];
        /* Deleted, as everybody had acked it? With a keeper nothing may be. */
        bool may_be_deleted = !model->with_keeper && message->ack != MODEL_NOT_ACKED &&
                              (check->first_id == 0 || message->id < check->first_id);
        if (must_be_there(check, message) && !check->found[i] && !may_be_deleted)
            return wrong(check->why, "message %" PRIu32 ", id %" PRIu64 ", was accepted%s, and is lost; the log has ids %" PRIu64 " to %" PRIu64,
                         i, message->id, message->durable ? " durably" : "", check->first_id, check->last_id);
        if (check->found[i] != batch_found)
            return wrong(check->why, "of the batch from message %" PRIu32 " on, message %" PRIu32 " is %s alone",
                         message->batch, i, check->found[i] ? "there" : "missing");
    }
    return true;
}

/* Everything that is to come to the consumer, once. */
static bool drain(struct check *check, lq_consumer *consumer, bool ack)
{
    const struct model *model = check->model;
    lq_message message;
    uint32_t next = 0;
    int err;

    memcpy(check->came_before, check->came, sizeof check->came);
    memset(check->came, 0, sizeof check->came);
    while ((err = lq_poll(consumer, &message)) == LQ_OK || (err == LQ_ECORRUPT && model->vanished)) {
        if (err) continue;
        uint32_t number = read_body(model, &message);
        if (number == UINT32_MAX) return wrong(check->why, "the consumer got id %" PRIu64 " with bytes that were never put", message.id);
        const struct model_message *known = &model->messages[number];
        if (!check->found[number]) return wrong(check->why, "the consumer got message %" PRIu32 ", which no reader sees", number);
        if (message.id != check->ids[number])
            return wrong(check->why, "message %" PRIu32 " came as id %" PRIu64 ", and is %" PRIu64, number, message.id, check->ids[number]);
        if (number < next) return wrong(check->why, "message %" PRIu32 " came after message %" PRIu32, number, next - 1);
        if (surely_acked(check, known)) return wrong(check->why, "message %" PRIu32 " was acked, and came again", number);
        uint32_t handed = known->handed + check->came_before[number];
        if (check->loss != MODEL_POWER_LOST && message.attempts < handed + 1)
            return wrong(check->why, "message %" PRIu32 " came for the %" PRIu32 ". time, and says attempt %" PRIu32, number,
                         handed + 1, message.attempts);
        if (message.attempts > handed + 2)
            return wrong(check->why, "message %" PRIu32 " says attempt %" PRIu32 ", but was handed out %" PRIu32 " times",
                         number, message.attempts, handed);
        check->came[number] = true;
        next = number + 1;
        if (ack) {
            err = lq_ack(consumer, &message);
            if (err) return failed(check, "ack", err);
        }
    }
    if (err != LQ_EMPTY) return failed(check, "poll", err);
    /* Without acks the window bounds how much comes. */
    if (!ack) return true;
    for (uint32_t i = 0; i < model->count; i++)
        if (check->found[i] && model->messages[i].ack == MODEL_NOT_ACKED && !check->came[i])
            return wrong(check->why, "message %" PRIu32 ", id %" PRIu64 ", was never acked, and does not come", i, check->ids[i]);
    return true;
}

static bool check_consumer(struct check *check, lq_queue *queue, const char *name, bool made, bool quick)
{
    lq_consumer_options options = {.size = sizeof options, .window = check->model->window,
                                   .flags = made ? LQ_CONSUMER_NO_CREATE : 0};
    for (int round = 0; round < (quick ? 1 : 2); round++) {
        lq_consumer *consumer = NULL;
        int err = lq_consumer_open(queue, name, &options, &consumer);
        if (err) return failed(check, "open the consumer", err);
        bool good = drain(check, consumer, round == 1 || quick);
        err = lq_consumer_close(consumer);
        if (!good) return false;
        if (err) return failed(check, "close the consumer", err);
    }
    return true;
}

/* The queue works: a message goes in and comes out, and is the next. */
static bool check_use(struct check *check, lq_queue *queue)
{
    lq_consumer *consumer = NULL;
    lq_message message;
    uint64_t id = 0;
    bool good = true;

    int err = lq_put(queue, "once more", 9, &id);
    if (err) return failed(check, "put", err);
    if (check->last_id && id != check->last_id + 1 && !(check->model->vanished && id > check->last_id))
        return wrong(check->why, "behind id %" PRIu64 " comes id %" PRIu64, check->last_id, id);
    err = lq_consumer_open(queue, CONSUMER, NULL, &consumer);
    if (err) return failed(check, "open the consumer", err);
    err = lq_poll(consumer, &message);
    if (err) good = failed(check, "poll what was just put", err);
    else if (message.id != id || message.size != 9 || memcmp(message.data, "once more", 9) != 0)
        good = wrong(check->why, "id %" PRIu64 " was put, id %" PRIu64 " came", id, message.id);
    else if ((err = lq_ack(consumer, &message)) != LQ_OK)
        good = failed(check, "ack what was just put", err);
    err = lq_consumer_close(consumer);
    if (err && good) good = failed(check, "close the consumer", err);
    check->last_id = id;
    return good;
}

static bool check_again(struct check *check)
{
    lq_queue *queue = NULL;
    lq_consumer *consumer = NULL;
    lq_message message;
    lq_stats stats = {.size = sizeof stats};
    int err = lqi_open_io(check->io, PATH, &check->model->options, &queue);
    if (err) return failed(check, "open again", err);
    err = lq_get_stats(queue, &stats);
    if (err) failed(check, "stats", err);
    else if (stats.last_id != check->last_id)
        wrong(check->why, "the last id was %" PRIu64 ", and is %" PRIu64 " after a clean close", check->last_id, stats.last_id);
    else if ((stats.recovered_bytes || stats.damage) && !check->model->vanished)
        wrong(check->why, "after a clean close %" PRIu64 " bytes were torn, %" PRIu64 " places damaged", stats.recovered_bytes, stats.damage);
    err = lq_consumer_open(queue, CONSUMER, NULL, &consumer);
    if (err) {
        failed(check, "open the consumer again", err);
    } else {
        err = lq_poll(consumer, &message);
        if (err != LQ_EMPTY) wrong(check->why, "all was acked, but poll says %s", lq_error_name(err));
        lq_consumer_close(consumer);
    }
    err = lq_close(queue);
    return err ? failed(check, "close again", err) : !check->why[0];
}

bool model_check(const struct model *model, const struct lqi_io *io, enum model_loss loss, bool quick, char why[1024])
{
    struct check check = {.model = model, .io = io, .loss = loss, .why = why};
    lq_queue *queue = NULL;

    lq_options options = model->options;
    if (model->queue_made) options.flags |= LQ_NO_CREATE;

    why[0] = 0;
    int err = lqi_open_io(io, PATH, &options, &queue);
    if (err) return failed(&check, "open", err);
    bool good = check_log(&check, queue) && check_complete(&check) &&
                check_consumer(&check, queue, CONSUMER, model->consumer_made, quick) && (quick || check_use(&check, queue));
    if (good && model->keeper_made) {
        lq_consumer_options there = {.size = sizeof there, .flags = LQ_CONSUMER_NO_CREATE};
        lq_consumer *keeper = NULL;
        err = lq_consumer_open(queue, KEEPER, &there, &keeper);
        if (err) good = failed(&check, "open the keeper", err);
        else lq_consumer_close(keeper);
    }
    err = lq_close(queue);
    if (err && good) good = failed(&check, "close", err);
    return good && (quick || check_again(&check));
}
