/* What a queue must, may and must not hold: an account kept in memory beside a script of calls, and the
 * comparison with what a queue, in use (model_look.c) or opened again (model_check.c), has to tell.
 *
 * For scripts of one thread. It may have two handles on the queue at once (two "processes", for all the library knows),
 * up to three members of two consumers that settle ("c" and "d"), and a third consumer that only looks on, if wanted, so
 * that nothing may be deleted ("keep"). */
#ifndef SUPPORT_MODEL_H
#define SUPPORT_MODEL_H

#include <stdbool.h>
#include <stdint.h>

#include "io.h"

enum { MODEL_MESSAGES = 1024, MODEL_HELD = 128, MODEL_HANDLES = 2, MODEL_CONSUMERS = 2, MODEL_MEMBERS = 3, MODEL_BATCH = 16 };

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

/* What a consumer has made of a message. */
struct model_delivery {
    uint8_t ack; /* enum model_ack */
    bool ack_durable;
    uint16_t handed; /* times it was handed out and not given back by release */
};

struct model_message {
    uint32_t size;
    uint32_t batch;        /* the first message of its batch, */
    uint16_t batch_count;  /* and how many they are */
    uint8_t fate;          /* enum model_fate */
    bool durable;          /* accepted, and promised to survive a power loss */
    bool may_be_gone;      /* all consumers of an earlier time had acked it, perhaps */
    bool there;            /* seen at the last comparison */
    bool gone;             /* deleted, as was seen then: it must never come back */
    uint64_t id;           /* when accepted */
    struct model_delivery to[MODEL_CONSUMERS];
};

enum model_existence { MODEL_NOT_THERE, MODEL_MAYBE_THERE /* being made or deleted */, MODEL_THERE };

struct model_consumer {
    enum model_existence existence;
    enum model_loss loss; /* the worst that has happened since its acks were last compared */
};

struct model_member {
    lq_consumer *consumer; /* NULL: not open */
    uint32_t of;           /* which consumer */
    bool saves_acks, dispatches;
};

struct model_held { /* leased by one of the script's members */
    uint32_t number, member;
    lq_message message;
};

struct model {
    lq_options options;         /* with which the queue is always opened */
    lq_queue *queues[MODEL_HANDLES]; /* that are open, or NULL */
    bool with_keeper;
    uint32_t window;            /* of "c" and "d" */
    struct model_consumer consumers[MODEL_CONSUMERS];
    bool queue_made, keeper_made; /* so that it must be there */
    bool poisoned;              /* LQ_EPOISONED was met by this population: only what is durable is promised */
    bool bytes_may_vanish;      /* set by the script: a failed sync loses bytes, and damage may be reported after it */
    bool vanished;              /* that may have happened */
    enum model_loss log_loss;   /* the worst that has happened since the log was last compared */
    uint32_t crashes, closes;
    char why[1024];             /* the first thing that was wrong while the script ran; "" */
    uint32_t count;
    struct model_message messages[MODEL_MESSAGES];

    /* What dies with the processes. */
    struct model_member members[MODEL_MEMBERS];
    uint32_t held_count;
    struct model_held held[MODEL_HELD];
};

void model_init(struct model *model, const lq_options *options, bool with_keeper);

/* The account, as it stands after a crash: nothing is open. */
void model_copy(struct model *to, const struct model *from);

/* A number for all that it promises. */
uint64_t model_hash(const struct model *model);

/* The script's calls. They pass on what the library says, and keep the account. What is wrong at
 * once (a wrong body, a wrong order) is noted in model->why. */
int model_open(struct model *model, const struct lqi_io *io, uint32_t flags, lq_queue **queue_out);
int model_close(struct model *model, lq_queue *queue);
int model_keeper_make(struct model *model, lq_queue *queue);
int model_put(struct model *model, lq_queue *queue, uint32_t size, bool deferred);
int model_put_batch(struct model *model, lq_queue *queue, const uint32_t *sizes, uint32_t count, bool deferred);
int model_sync(struct model *model, lq_queue *queue);
void model_interval_passed(struct model *model); /* the library's thread has taken its step */

/* Members are called by their number, consumers too. `flags` are those of lq_consumer_options. */
int model_consumer_open(struct model *model, lq_queue *queue, uint32_t of, uint32_t flags, uint32_t member);
int model_consumer_close(struct model *model, uint32_t member);
int model_consumer_delete(struct model *model, lq_queue *queue, uint32_t of);
bool model_has_members(const struct model *model, uint32_t of);
int model_poll(struct model *model, uint32_t member);          /* the message is held then */
int model_get_batch(struct model *model, uint32_t member, uint32_t most);
int model_dispatch(struct model *model, uint32_t member, uint32_t most); /* a handler acks them; for LQ_CONSUMER_DISPATCH */
bool model_handle(struct model *model, uint32_t member, const lq_message *message); /* for a handler of one's own, which acks */
int model_ack(struct model *model, uint32_t held);
int model_ack_all(struct model *model, uint32_t member);       /* in one call */
int model_release(struct model *model, uint32_t held);

/* Looks while the queue is in use: a reader reads it through; the counts are asked for. */
int model_read(struct model *model, lq_queue *queue);
int model_stats(struct model *model, lq_queue *queue);

/* After that loss, opens the queue on `io`, compares everything, uses it and closes it. True when all is as it must be;
 * else the reason is in model->why. The model learns what is there now: from then on it must stay. So this may itself be
 * watched, and the model taken to compare what a crash in the middle of it leaves. */
enum model_check_flags {
    MODEL_QUICK = 1,    /* only open and compare */
    MODEL_PUT_FIRST = 2,/* put, and close and open again, before any consumer is opened */
    MODEL_LOOK_FIRST = 4/* get all there is, and leave without having acked it */
};
bool model_check(struct model *model, const struct lqi_io *io, enum model_loss loss, unsigned flags);

/* ---- between model.c, model_look.c and model_check.c -------------------- */

#define MODEL_PATH "queue"
#define MODEL_KEEPER "keep"
extern const char *const model_names[MODEL_CONSUMERS];

bool model_wrong(struct model *model, const char *format, ...) __attribute__((format(printf, 2, 3))); /* false */
bool model_failed(struct model *model, const char *doing, int err);                                   /* false */

/* Which message this is, or UINT32_MAX when it is nothing that was put. */
uint32_t model_number_of(const struct model *model, const lq_message *message);
/* Notes what the code means for the account, and passes it on. */
int model_note(struct model *model, int err);

/* What a reader found. */
struct model_found {
    uint64_t ids[MODEL_MESSAGES]; /* of those that were ever put; 0: not there */
    uint64_t first_id, last_id;
};
/* Reads it all; LQ_EMPTY when it came to the end. */
int model_read_log(struct model *model, lq_queue *queue, struct model_found *found);

/* May it be deleted by now? With `behind`, bytes of log that come after its beginning at the most. */
bool model_may_be_gone(const struct model *model, const struct model_message *message, uint64_t behind);
uint64_t model_bytes_of(const struct model_message *message); /* in the log, at the most */

#endif
