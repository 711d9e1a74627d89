/* See model.h.
 *
 * A message tells who it is: its first bytes are its number among all that were ever tried to be put, and its size; the
 * rest, its key and its headers follow from these. So a message is known wherever it turns up. */
#include "model.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "queue.h"

const char *const model_names[MODEL_CONSUMERS] = {"c", "d"};

enum { BODY_MIN = 8, BODY_MAX = 1 << 18, PART_MAX = 24 };

/* ---- what a message is made of ------------------------------------------ */

/* Two thirds of the bodies are a stretch of the same row of words, which begins elsewhere for each message, so that it
 * need not be made again to be compared; one third is one word again and again, and can be compressed. */
enum { STARTS = 4096, WORDS = STARTS + BODY_MAX / 8 };
static uint64_t words[WORDS];

static void make_words(void)
{
    uint64_t state = 0;
    for (size_t i = 0; i < WORDS; i++) {
        state += 0x9e3779b97f4a7c15;
        words[i] = state ^ state >> 29;
    }
}

static const uint64_t *first_word(uint32_t number, uint32_t size)
{
    static pthread_once_t made = PTHREAD_ONCE_INIT;
    pthread_once(&made, make_words);
    return &words[(((uint64_t)number << 32 | size) * 0x9e3779b97f4a7c15 >> 32) % STARTS];
}

static void fill_body(uint8_t *body, uint32_t number, uint32_t size)
{
    const uint64_t *word = first_word(number, size);
    memcpy(body, &number, 4);
    memcpy(body + 4, &size, 4);
    if (number % 3) memcpy(body + 8, word, size - 8);
    else for (uint32_t at = 8; at < size; at += 8) memcpy(body + at, word, size - at < 8 ? size - at : 8);
}

static bool same_body(const uint8_t *body, uint32_t number, uint32_t size)
{
    const uint64_t *word = first_word(number, size);
    body += 8;
    size -= 8;
    if (number % 3) return memcmp(body, word, size) == 0;
    return memcmp(body, word, size < 8 ? size : 8) == 0 && (size <= 8 || memcmp(body, body + 8, size - 8) == 0);
}

/* A quarter of them has a key, another one headers, and some have both. */
static size_t fill_part(uint8_t part[PART_MAX], uint32_t number, unsigned bit)
{
    size_t size = (number >> bit & 3) == 1 || number % 16 == 3 ? 1 + number % PART_MAX : 0;
    for (size_t i = 0; i < size; i++) part[i] = (uint8_t)(number * 7 + bit * 101 + i);
    return size;
}

static bool same_part(const void *bytes, size_t size, uint32_t number, unsigned bit)
{
    uint8_t part[PART_MAX];
    return size == fill_part(part, number, bit) && (size == 0 || memcmp(bytes, part, size) == 0);
}

/* The number, or UINT32_MAX when this is nothing that was put. */
uint32_t model_number_of(const struct model *model, const lq_message *message)
{
    uint32_t number;
    if (message->size < BODY_MIN || message->size > BODY_MAX) return UINT32_MAX;
    memcpy(&number, message->data, 4);
    if (number >= model->count || model->messages[number].size != message->size) return UINT32_MAX;
    if (memcmp((const uint8_t *)message->data + 4, &model->messages[number].size, 4) != 0) return UINT32_MAX;
    bool same = same_body(message->data, number, (uint32_t)message->size) &&
                same_part(message->key, message->key_size, number, 0) &&
                same_part(message->headers, message->headers_size, number, 1);
    return same ? number : UINT32_MAX;
}

/* ---- the account ------------------------------------------------------- */

bool model_wrong(struct model *model, const char *format, ...)
{
    va_list arguments;
    if (model->why[0]) return false; /* the first one counts */
    va_start(arguments, format);
    vsnprintf(model->why, sizeof model->why, format, arguments);
    va_end(arguments);
    return false;
}

bool model_failed(struct model *model, const char *doing, int err)
{
    return model_wrong(model, "%s: %s: %s", doing, lq_error_name(err), lq_error_text());
}

void model_init(struct model *model, const lq_options *options, bool with_keeper)
{
    memset(model, 0, sizeof *model);
    model->options = *options;
    model->options.size = sizeof model->options;
    model->with_keeper = with_keeper;
    model->window = 64;
}

void model_copy(struct model *to, const struct model *from)
{
    memcpy(to, from, offsetof(struct model, messages) + from->count * sizeof from->messages[0]);
    memset(to->queues, 0, sizeof to->queues);
    memset(to->members, 0, sizeof to->members);
    to->held_count = 0;
}

static uint64_t add_to(uint64_t hash, uint64_t value)
{
    return (hash ^ value) * 0x9e3779b97f4a7c15 + (hash >> 32);
}

uint64_t model_hash(const struct model *model)
{
    uint64_t hash = add_to(model->count, model->queue_made + 2u * model->keeper_made + 4u * model->poisoned + 8u * (unsigned)model->log_loss);
    for (size_t i = 0; i < MODEL_CONSUMERS; i++)
        hash = add_to(hash, (unsigned)model->consumers[i].existence + 4u * (unsigned)model->consumers[i].loss);
    for (uint32_t i = 0; i < model->count; i++) {
        const struct model_message *message = &model->messages[i];
        uint64_t word = message->fate + 4u * message->durable + 8u * message->may_be_gone + 16u * message->gone;
        for (size_t j = 0; j < MODEL_CONSUMERS; j++)
            word = word << 4 | (uint64_t)(message->to[j].ack + 4u * message->to[j].ack_durable);
        hash = add_to(hash, word);
    }
    return hash;
}

/* All that was accepted before `count` is durable: the log is one line. */
static void log_durable(struct model *model, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        if (model->messages[i].fate == MODEL_ACCEPTED) model->messages[i].durable = true;
}

static void acks_durable(struct model *model, uint32_t of)
{
    if (model->consumers[of].loss == MODEL_POWER_LOST) return; /* nobody knows yet which there are */
    for (uint32_t i = 0; i < model->count; i++)
        if (model->messages[i].to[of].ack == MODEL_ACKED) model->messages[i].to[of].ack_durable = true;
}

static void all_durable(struct model *model)
{
    log_durable(model, model->count);
    for (uint32_t of = 0; of < MODEL_CONSUMERS; of++) acks_durable(model, of);
}

static bool is_poisoned(const struct model *model)
{
    for (size_t i = 0; i < MODEL_HANDLES; i++)
        if (model->queues[i] && lqi_poisoned(&model->queues[i]->log)) return true;
    return false;
}

int model_note(struct model *model, int err)
{
    /* Nobody need have been told yet: when a segment is sealed in passing, for one. */
    if (err == LQ_EPOISONED || is_poisoned(model)) {
        model->poisoned = true;
        model->vanished = model->bytes_may_vanish;
    }
    if (err == LQ_ECORRUPT && !model->vanished) model_wrong(model, "damage was reported: %s", lq_error_text());
    return err;
}

/* ---- what may be deleted ------------------------------------------------ */

uint64_t model_bytes_of(const struct model_message *message)
{
    return message->size + 2 * PART_MAX + 64;
}

/* By consumption, now. A consumer that is being deleted keeps nothing, one that is being made not yet. */
static bool is_consumed(const struct model *model, const struct model_message *message)
{
    bool anybody = false;
    if (model->keeper_made || model->options.retention == LQ_RETAIN_LIMITS) return false;
    for (size_t i = 0; i < MODEL_CONSUMERS; i++) {
        if (model->consumers[i].existence != MODEL_THERE) continue;
        anybody = true;
        if (message->to[i].ack == MODEL_NOT_ACKED) return false;
    }
    return anybody;
}

bool model_may_be_gone(const struct model *model, const struct model_message *message, uint64_t behind)
{
    bool drops = model->options.retention == LQ_RETAIN_LIMITS || model->options.retention == LQ_RETAIN_BOTH ||
                 model->options.full == LQ_FULL_DROP;
    /* Its segment begins up to a segment's size before it; each close may leave a mark in the log. */
    uint64_t most = behind + model->options.segment_size + 48 * (uint64_t)(model->closes + model->crashes);
    if (drops && model->options.size_max && most > model->options.size_max) return true;
    return message->may_be_gone || is_consumed(model, message);
}

/* To be called before the consumers are others than they were. */
static void remember_consumed(struct model *model)
{
    for (uint32_t i = 0; i < model->count; i++)
        if (is_consumed(model, &model->messages[i])) model->messages[i].may_be_gone = true;
}

/* ---- queues ------------------------------------------------------------- */

int model_open(struct model *model, const struct lqi_io *io, uint32_t flags, lq_queue **queue_out)
{
    lq_options options = model->options;
    options.flags |= flags;
    int err = lqi_open_io(io, MODEL_PATH, &options, queue_out);
    if (!err) {
        model->queue_made = true;
        model->queues[model->queues[0] != NULL] = *queue_out;
    }
    return model_note(model, err);
}

int model_close(struct model *model, lq_queue *queue)
{
    (void)model_note(model, LQ_OK);
    for (size_t i = 0; i < MODEL_HANDLES; i++)
        if (model->queues[i] == queue) model->queues[i] = NULL;
    bool last = !model->queues[0] && !model->queues[1];
    int err = lq_close(queue);
    if (err == LQ_EPOISONED) (void)model_note(model, err);
    if (!last) return err;
    model->closes++;
    if (!err && !model->poisoned) all_durable(model);
    /* Whoever opens next is a new population. What was not promised to be durable when it was poisoned never will be. */
    if (model->poisoned)
        for (uint32_t i = 0; i < model->count; i++)
            if (model->messages[i].fate == MODEL_ACCEPTED && !model->messages[i].durable)
                model->messages[i].fate = MODEL_UNSURE;
    model->poisoned = false;
    return err;
}

int model_sync(struct model *model, lq_queue *queue)
{
    int err = lq_sync(queue);
    if (!err) all_durable(model);
    return model_note(model, err);
}

void model_interval_passed(struct model *model)
{
    if (!is_poisoned(model)) log_durable(model, model->count);
}

/* ---- putting ------------------------------------------------------------ */

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
        } else if (err != LQ_EPOISONED && err != LQ_EBUSY) {
            message->fate = MODEL_REFUSED;
        }
    }
    if (err == LQ_OK && model->options.sync == LQ_SYNC_ALWAYS && !deferred) log_durable(model, first + count);
    return model_note(model, err);
}

/* The bytes live until the call has returned. */
static void make_message(lq_message *message, const struct model *model, uint32_t number, uint8_t parts[2][PART_MAX])
{
    uint32_t size = model->messages[number].size;
    uint8_t *body = malloc(size);
    if (body == NULL) abort();
    fill_body(body, number, size);
    memset(message, 0, sizeof *message);
    message->data = body;
    message->size = size;
    message->key = parts[0];
    message->key_size = fill_part(parts[0], number, 0);
    message->headers = parts[1];
    message->headers_size = fill_part(parts[1], number, 1);
}

int model_put(struct model *model, lq_queue *queue, uint32_t size, bool deferred)
{
    uint64_t id = 0;
    uint8_t parts[2][PART_MAX];
    lq_message message;
    uint32_t number = add_message(model, size);

    make_message(&message, model, number, parts);
    int err = message.key_size || message.headers_size ? lq_put_batch(queue, &message, 1, &id)
                                                       : lq_put(queue, message.data, size, &id);
    free((void *)(uintptr_t)message.data);
    return settle_put(model, number, err, id, deferred);
}

int model_put_batch(struct model *model, lq_queue *queue, const uint32_t *sizes, uint32_t count, bool deferred)
{
    lq_message messages[MODEL_BATCH] = {0};
    uint8_t parts[MODEL_BATCH][2][PART_MAX];
    uint64_t id = 0;
    uint32_t first = model->count;

    if (count > MODEL_BATCH) abort();
    for (uint32_t i = 0; i < count; i++) {
        uint32_t number = add_message(model, sizes[i]);
        model->messages[number].batch = first;
        model->messages[number].batch_count = (uint16_t)count;
        make_message(&messages[i], model, number, parts[i]);
    }
    int err = lq_put_batch(queue, messages, count, &id);
    for (uint32_t i = 0; i < count; i++) free((void *)(uintptr_t)messages[i].data);
    return settle_put(model, first, err, id, deferred);
}

/* ---- consumers ---------------------------------------------------------- */

static void forget_deliveries(struct model *model, uint32_t of)
{
    for (uint32_t i = 0; i < model->count; i++) model->messages[i].to[of] = (struct model_delivery){0};
}

int model_consumer_open(struct model *model, lq_queue *queue, uint32_t of, uint32_t flags, uint32_t member)
{
    lq_consumer_options options = {.size = sizeof options, .window = model->window, .flags = flags};
    struct model_consumer *consumer = &model->consumers[of];
    lq_consumer *opened;

    if (consumer->existence == MODEL_MAYBE_THERE && !(flags & LQ_CONSUMER_NO_CREATE)) {
        /* The one of before, or a new one: that must be known. */
        int err = model_consumer_open(model, queue, of, flags | LQ_CONSUMER_NO_CREATE, member);
        if (err != LQ_ENOTFOUND || consumer->existence != MODEL_NOT_THERE) return err;
    }

    if (consumer->existence == MODEL_NOT_THERE && !(flags & LQ_CONSUMER_NO_CREATE)) {
        remember_consumed(model);
        consumer->existence = MODEL_MAYBE_THERE;
    }
    int err = lq_consumer_open(queue, model_names[of], &options, &opened);
    if (err == LQ_ENOTFOUND && consumer->existence == MODEL_MAYBE_THERE) {
        consumer->existence = MODEL_NOT_THERE;
        forget_deliveries(model, of);
    }
    if (!err) {
        consumer->existence = MODEL_THERE;
        model->members[member] = (struct model_member){
            .consumer = opened, .of = of, .saves_acks = flags & LQ_CONSUMER_SAVE_ACKS, .dispatches = flags & LQ_CONSUMER_DISPATCH};
    }
    return model_note(model, err);
}

int model_keeper_make(struct model *model, lq_queue *queue)
{
    lq_consumer *consumer = NULL;
    lq_consumer_options options = {.size = sizeof options, .window = 64};
    if (!model->with_keeper || model->keeper_made) return LQ_OK;
    int err = lq_consumer_open(queue, MODEL_KEEPER, &options, &consumer);
    if (err) return model_note(model, err);
    model->keeper_made = true;
    return model_note(model, lq_consumer_close(consumer));
}

int model_consumer_close(struct model *model, uint32_t member)
{
    lq_consumer *consumer = model->members[member].consumer;
    for (uint32_t i = model->held_count; i-- > 0;)
        if (model->held[i].member == member) model->held[i] = model->held[--model->held_count];
    model->members[member].consumer = NULL;
    return model_note(model, lq_consumer_close(consumer));
}

bool model_has_members(const struct model *model, uint32_t of)
{
    for (size_t i = 0; i < MODEL_MEMBERS; i++)
        if (model->members[i].consumer && model->members[i].of == of) return true;
    return false;
}

int model_consumer_delete(struct model *model, lq_queue *queue, uint32_t of)
{
    struct model_consumer *consumer = &model->consumers[of];
    remember_consumed(model);
    if (consumer->existence == MODEL_THERE) consumer->existence = MODEL_MAYBE_THERE;
    int err = lq_consumer_delete(queue, model_names[of]);
    if (!err || err == LQ_ENOTFOUND) {
        consumer->existence = MODEL_NOT_THERE;
        forget_deliveries(model, of);
    }
    return model_note(model, err);
}

/* ---- handing out -------------------------------------------------------- */

static bool is_held(const struct model *model, uint32_t number, uint32_t of)
{
    for (uint32_t i = 0; i < model->held_count; i++)
        if (model->held[i].number == number && model->members[model->held[i].member].of == of) return true;
    return false;
}

static void check_attempts(struct model *model, const struct model_delivery *to, uint32_t number, uint32_t attempts, bool lost)
{
    uint32_t times = to->handed + 1u;
    if (attempts < times && !lost)
        model_wrong(model, "message %" PRIu32 " came for the %" PRIu32 ". time, and says attempt %" PRIu32, number, times, attempts);
    if (attempts > times + model->crashes)
        model_wrong(model, "message %" PRIu32 " says attempt %" PRIu32 ", but was handed out %" PRIu32 " times", number, attempts, times);
}

/* The library has handed it out: whether it may, and what that means. The number, or UINT32_MAX. */
static uint32_t handed_out(struct model *model, uint32_t member, const lq_message *message)
{
    uint32_t of = model->members[member].of, number = model_number_of(model, message);
    bool lost = model->consumers[of].loss == MODEL_POWER_LOST;

    if (number == UINT32_MAX) {
        model_wrong(model, "id %" PRIu64 " was handed out with bytes that were never put", message->id);
        return number;
    }
    struct model_message *known = &model->messages[number];
    struct model_delivery *to = &known->to[of];
    if (known->fate == MODEL_REFUSED) model_wrong(model, "message %" PRIu32 " is not in the queue, and was handed out", number);
    if (known->gone) model_wrong(model, "message %" PRIu32 " was deleted, and was handed out", number);
    if (known->fate == MODEL_ACCEPTED && known->id != message->id)
        model_wrong(model, "message %" PRIu32 " is id %" PRIu64 ", and came as %" PRIu64, number, known->id, message->id);
    if (to->ack == MODEL_ACKED && !(lost && !to->ack_durable))
        model_wrong(model, "message %" PRIu32 " was acked, and came again", number);
    if (is_held(model, number, of)) model_wrong(model, "message %" PRIu32 " is held, and was handed out once more", number);
    check_attempts(model, to, number, message->attempts, lost);
    to->handed = (uint16_t)message->attempts;
    /* One that was acked before a power loss may be found to be acked after all, after the next one. */
    if (to->ack == MODEL_ACKED) to->ack = MODEL_MAYBE_ACKED;
    to->ack_durable = false;
    /* "In LQ_SYNC_ALWAYS a message is handed out only once it is durable", and all before it. */
    known->fate = MODEL_ACCEPTED;
    known->id = message->id;
    if (model->options.sync == LQ_SYNC_ALWAYS) log_durable(model, number + 1);
    return number;
}

static void hold(struct model *model, uint32_t member, const lq_message *message)
{
    uint32_t number = handed_out(model, member, message);
    if (number != UINT32_MAX) model->held[model->held_count++] = (struct model_held){number, member, *message};
}

int model_poll(struct model *model, uint32_t member)
{
    lq_message message;
    if (model->held_count == MODEL_HELD) return LQ_EMPTY;
    int err = lq_poll(model->members[member].consumer, &message);
    if (!err) hold(model, member, &message);
    return model_note(model, err);
}

int model_get_batch(struct model *model, uint32_t member, uint32_t most)
{
    lq_message messages[MODEL_BATCH] = {0};
    size_t count = 0;
    if (most > MODEL_BATCH || model->held_count + most > MODEL_HELD) return LQ_EMPTY;
    int err = lq_get_batch(model->members[member].consumer, messages, most, &count, 0);
    for (size_t i = 0; !err && i < count; i++) hold(model, member, &messages[i]);
    return model_note(model, err);
}

bool model_handle(struct model *model, uint32_t member, const lq_message *message)
{
    uint32_t number = handed_out(model, member, message);
    if (number == UINT32_MAX) return false;
    model->messages[number].to[model->members[member].of].ack = MODEL_MAYBE_ACKED;
    return true;
}

struct dispatch {
    struct model *model;
    uint32_t member, number;
};

static int handle(void *context, int code, const lq_message *message)
{
    struct dispatch *dispatch = context;
    struct model *model = dispatch->model;
    if (code) {
        (void)model_note(model, code);
        return LQ_SETTLE_ACK;
    }
    dispatch->number = handed_out(model, dispatch->member, message);
    if (dispatch->number != UINT32_MAX)
        model->messages[dispatch->number].to[model->members[dispatch->member].of].ack = MODEL_MAYBE_ACKED;
    return LQ_SETTLE_ACK;
}

int model_dispatch(struct model *model, uint32_t member, uint32_t most)
{
    const struct model_member *dispatching = &model->members[member];
    struct dispatch dispatch = {.model = model, .member = member};

    int err = lq_notify(dispatching->consumer, handle, &dispatch);
    for (uint32_t i = 0; i < most && !err; i++) {
        dispatch.number = UINT32_MAX;
        err = lq_dispatch(dispatching->consumer, 1, NULL);
        if (err || dispatch.number == UINT32_MAX) continue;
        model->messages[dispatch.number].to[dispatching->of].ack = MODEL_ACKED;
        if (dispatching->saves_acks && model->options.sync == LQ_SYNC_ALWAYS) acks_durable(model, dispatching->of);
    }
    (void)lq_notify(dispatching->consumer, NULL, NULL);
    return model_note(model, err);
}

/* ---- settling ----------------------------------------------------------- */

/* A segment that was dropped takes its leases with it. */
static bool lease_may_be_over(const struct model *model)
{
    return model->options.size_max > 0;
}

static void acked(struct model *model, const struct model_member *member, uint32_t number, int err)
{
    if (err == LQ_OK) model->messages[number].to[member->of].ack = MODEL_ACKED;
    if (err == LQ_ELEASE && !lease_may_be_over(model))
        model_wrong(model, "message %" PRIu32 " is held, but ack says LQ_ELEASE", number);
}

int model_ack(struct model *model, uint32_t held)
{
    struct model_held own = model->held[held];
    const struct model_member *member = &model->members[own.member];

    model->messages[own.number].to[member->of].ack = MODEL_MAYBE_ACKED;
    int err = lq_ack(member->consumer, &own.message);
    acked(model, member, own.number, err);
    if (!err && member->saves_acks && model->options.sync == LQ_SYNC_ALWAYS) acks_durable(model, member->of);
    model->held[held] = model->held[--model->held_count];
    return model_note(model, err);
}

int model_ack_all(struct model *model, uint32_t number)
{
    const struct model_member *member = &model->members[number];
    lq_message messages[MODEL_HELD];
    uint32_t numbers[MODEL_HELD], count = 0;

    messages[0] = (lq_message){0}; /* there may be none */
    for (uint32_t i = model->held_count; i-- > 0;) {
        if (model->held[i].member != number) continue;
        messages[count] = model->held[i].message;
        numbers[count++] = model->held[i].number;
        model->messages[model->held[i].number].to[member->of].ack = MODEL_MAYBE_ACKED;
        model->held[i] = model->held[--model->held_count];
    }
    int err = lq_ack_batch(member->consumer, messages, count);
    for (uint32_t i = 0; i < count; i++) acked(model, member, numbers[i], err);
    if (!err && count > 0 && member->saves_acks && model->options.sync == LQ_SYNC_ALWAYS) acks_durable(model, member->of);
    return model_note(model, err);
}

int model_release(struct model *model, uint32_t held)
{
    struct model_held own = model->held[held];
    const struct model_member *member = &model->members[own.member];

    model->messages[own.number].to[member->of].handed--; /* before the call: in the middle of it, both counts are right */
    int err = lq_release(member->consumer, &own.message);
    if (err == LQ_ELEASE && !lease_may_be_over(model))
        model_wrong(model, "message %" PRIu32 " is held, but release says LQ_ELEASE", own.number);
    model->held[held] = model->held[--model->held_count];
    return model_note(model, err);
}
