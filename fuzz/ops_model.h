/* What a queue should do, in memory: every message ever put and, for each consumer,
 * what became of each. fuzz_ops.c asks it what a call must answer. Knows nothing of the library but <libqueue.h>. */
#ifndef OPS_MODEL_H
#define OPS_MODEL_H

#include <libqueue.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK(condition)                                                                                 \
    do                                                                                                   \
        if (!(condition)) {                                                                              \
            fprintf(stderr, "%s:%d: not so: %s (%s)\n", __FILE__, __LINE__, #condition, lq_error_text()); \
            abort();                                                                                     \
        }                                                                                                \
    while (0)

enum { IDS_MAX = 4096, NAMES = 3, MEMBERS_PER_NAME = 4, PATTERN = 300000 };

enum fate { NEW, READY, HELD, SETTLED }; /* READY: was out, and comes again */

struct model_message {
    uint32_t size, key_size, headers_size;
    int64_t time_us; /* 0: not seen yet */
};

struct model_consumer {
    bool exists;
    uint64_t floor, delivered; /* as in lq_consumer_stats */
    uint32_t window;
    struct {
        uint8_t fate;
        uint16_t attempts;
        uint32_t hand_out; /* serial number of the last one */
    } of[IDS_MAX + 1];
};

struct model {
    uint64_t last_id, first_id, visible_id;
    bool drops; /* retention may delete what was not settled */
    struct model_message messages[IDS_MAX + 1];
    struct model_consumer consumers[NAMES];
};

/* ---- bodies: any message's bytes follow from its id ---------------------- */

extern const uint8_t *pattern; /* the one in use */

void pattern_choose(bool compressible);

static inline const uint8_t *bytes_of(uint64_t id, unsigned part)
{
    return pattern + (id * 13 + part * 101) % 4096;
}

static inline lq_message message_to_put(uint64_t id, uint32_t size, uint32_t key_size, uint32_t headers_size)
{
    return (lq_message){.data = bytes_of(id, 0), .size = size, .key = bytes_of(id, 1), .key_size = key_size,
                        .headers = bytes_of(id, 2), .headers_size = headers_size};
}

static inline void model_put(struct model *model, const lq_message *message)
{
    model->messages[++model->last_id] = (struct model_message){
        (uint32_t)message->size, (uint32_t)message->key_size, (uint32_t)message->headers_size, 0};
}

/* Bytes and time are those that were put; time never goes back. */
static inline void check_message(struct model *model, const lq_message *message)
{
    CHECK(message->id >= 1 && message->id <= model->last_id);
    struct model_message *was = &model->messages[message->id];

    CHECK(message->size == was->size && message->key_size == was->key_size && message->headers_size == was->headers_size);
    CHECK(message->data && message->key && message->headers);
    CHECK(memcmp(message->data, bytes_of(message->id, 0), message->size) == 0);
    CHECK(memcmp(message->key, bytes_of(message->id, 1), message->key_size) == 0);
    CHECK(memcmp(message->headers, bytes_of(message->id, 2), message->headers_size) == 0);
    CHECK(message->time_us > 0 && (!was->time_us || was->time_us == message->time_us));
    was->time_us = message->time_us;
    const struct model_message *before = message->id > 1 ? was - 1 : NULL;
    CHECK(!before || before->time_us <= was->time_us);
}

/* ---- a consumer ---------------------------------------------------------- */

static inline void consumer_begin(struct model_consumer *consumer, uint64_t floor, uint32_t window)
{
    memset(consumer, 0, sizeof *consumer);
    consumer->exists = true;
    consumer->floor = consumer->delivered = floor;
    consumer->window = window;
}

static inline void consumer_settle(struct model_consumer *consumer, uint64_t id)
{
    consumer->of[id].fate = SETTLED;
    while (consumer->floor < consumer->delivered && consumer->of[consumer->floor + 1].fate == SETTLED) consumer->floor++;
}

/* The id that GET must give; 0: nothing. */
static inline uint64_t consumer_next(const struct model *model, const struct model_consumer *consumer)
{
    for (uint64_t id = consumer->floor + 1; id <= consumer->delivered; id++)
        if (consumer->of[id].fate == READY) return id;
    if (consumer->delivered - consumer->floor >= consumer->window) return 0;
    return consumer->delivered < model->visible_id ? consumer->delivered + 1 : 0;
}

/* Retention has deleted the message, so that it need not come. What somebody holds stays his. */
static inline void consumer_drop(const struct model *model, struct model_consumer *consumer, uint64_t id)
{
    CHECK(id < model->first_id && consumer->of[id].fate != HELD);
    consumer_settle(consumer, id);
}

/* What was out and comes again was passed over, up to `id`. */
static inline void consumer_skip_again(const struct model *model, struct model_consumer *consumer, uint64_t id)
{
    for (uint64_t again = consumer->floor + 1; again <= consumer->delivered && again < id; again++)
        if (consumer->of[again].fate == READY) consumer_drop(model, consumer, again);
}

/* What was new was passed over, up to `id`. */
static inline void consumer_skip_new(const struct model *model, struct model_consumer *consumer, uint64_t id)
{
    while (consumer->delivered + 1 < id) {
        consumer->delivered++;
        consumer_drop(model, consumer, consumer->delivered);
    }
}

static inline void consumer_count(const struct model_consumer *consumer, uint64_t *held_out, uint64_t *ready_out)
{
    *held_out = *ready_out = 0;
    for (uint64_t id = consumer->floor + 1; id <= consumer->delivered; id++) {
        *held_out += consumer->of[id].fate == HELD;
        *ready_out += consumer->of[id].fate == READY;
    }
}

#endif
