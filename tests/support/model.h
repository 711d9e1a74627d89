/* What a queue must, may and must not hold: an account kept in memory beside a script of calls, and the
 * comparison with what a queue, opened again, has to tell. For scripts of one thread, one
 * consumer that settles ("c") and one that only looks on ("keep", if wanted, so that nothing is deleted). */
#ifndef SUPPORT_MODEL_H
#define SUPPORT_MODEL_H

#include <stdbool.h>
#include <stdint.h>

#include "io.h"

enum { MODEL_MESSAGES = 1024, MODEL_HELD = 64 };

enum model_loss {
    MODEL_CLOSED,      /* everything was closed */
    MODEL_KILLED,      /* all processes died */
    MODEL_POWER_LOST
};

enum model_fate {
    MODEL_UNSURE,   /* being put, or put said that nobody knows */
    MODEL_ACCEPTED, /* put said LQ_OK */
    MODEL_REFUSED   /* put said that it is not in the queue */
};

enum model_ack { MODEL_NOT_ACKED, MODEL_MAYBE_ACKED, MODEL_ACKED };

struct model_message {
    uint32_t size;
    uint32_t batch, batch_count; /* the first message of its batch, and how many they are */
    enum model_fate fate;
    bool durable;                /* accepted, and promised to survive a power loss */
    enum model_ack ack;
    bool ack_durable;
    uint32_t handed;             /* times it was handed out and not given back by release */
    bool there;                  /* seen at the last comparison */
    uint64_t id;                 /* when accepted */
};

struct model_held { /* leased by the script's consumer */
    uint32_t number;
    lq_message message;
};

struct model {
    lq_queue *queue;            /* the one that is open, or NULL */
    lq_options options;         /* with which the queue is always opened */
    bool with_keeper;
    uint32_t window;            /* of "c" */
    struct model_message messages[MODEL_MESSAGES];
    uint32_t count;
    struct model_held held[MODEL_HELD];
    uint32_t held_count;
    bool queue_made, consumer_made, keeper_made; /* made, so that it must be there */
    bool poisoned;              /* LQ_EPOISONED was met by this population: only what is durable is promised */
    bool bytes_may_vanish;      /* set by the script: a failed sync loses bytes, and damage may be reported after it */
    bool vanished;              /* that may have happened */
    enum model_loss log_loss, ack_loss; /* the worst that has happened since the log, the acks were last compared */
    uint32_t crashes;
    char why[1024];             /* the first thing that was wrong while the script ran; "" */
};

void model_init(struct model *model, const lq_options *options, bool with_keeper);

/* The script's calls. They pass on what the library says, and keep the account. What is wrong at
 * once (a wrong body, a wrong order) is noted in model->why. */
int model_open(struct model *model, const struct lqi_io *io, lq_queue **queue_out);
int model_close(struct model *model, lq_queue *queue, bool last);
int model_consumer_open(struct model *model, lq_queue *queue, lq_consumer **consumer_out);
int model_consumer_close(struct model *model, lq_consumer *consumer);
int model_keeper_make(struct model *model, lq_queue *queue);
int model_put(struct model *model, lq_queue *queue, uint32_t size, bool deferred);
int model_put_batch(struct model *model, lq_queue *queue, const uint32_t *sizes, uint32_t count, bool deferred);
int model_sync(struct model *model, lq_queue *queue);
int model_poll(struct model *model, lq_consumer *consumer);          /* the message is held then */
int model_ack(struct model *model, lq_consumer *consumer, uint32_t held);
int model_release(struct model *model, lq_consumer *consumer, uint32_t held);

/* After that loss, opens the queue on `io`, compares everything, uses it and closes it. True when all is as it must be;
 * else the reason is in model->why. The model learns what is there now: from then on it must stay. So this may itself be
 * watched, and the model taken to compare what a crash in the middle of it leaves. `quick`: it is only opened and
 * compared. */
bool model_check(struct model *model, const struct lqi_io *io, enum model_loss loss, bool quick);

#endif
