/* A consumer handle: one member, for one thread at a time. */
#ifndef LQI_CONSUMER_H
#define LQI_CONSUMER_H

#include "queue.h"

/* A message that was lent out and is not settled: found by the low half of its lease. */
struct lqi_loan {
    uint64_t id;
    struct lqi_block *block; /* NULL: this entry is free */
    uint32_t token;
    uint32_t next_free;
};

/* NOTIFY and lq_fd: see notify.c. */
struct lqi_notify {
    struct lqi_task task;
    bool served;              /* the task is with the service thread */
    lq_handler *handler;
    void *context;
    uint32_t times_set;       /* how often a handler was set or taken away */
    _Atomic int fd;           /* of lq_fd; -1 */
    _Atomic uint32_t raised;  /* the descriptor is readable */
    _Atomic int64_t rest_until_us; /* what is there could not be had: the descriptor is not raised again before */
    _Atomic uint32_t in_handler;
    pthread_t handler_thread;
};

struct lq_consumer {
    lq_queue *queue;
    struct lqi_consumer_slot *slot;
    struct lqi_member member;
    struct lqi_position position;
    uint32_t flags, spin_us;

    struct lqi_scan ahead;         /* where new messages come from */
    struct lqi_payload payload;    /* the record that `ahead` met last */
    uint64_t payload_id;           /* its first id; 0: none */
    uint64_t payload_position;
    int64_t payload_time_us;
    struct lqi_scan again;         /* where messages that come again are read from */

    struct lqi_grant owed;         /* leased, not handed out, and its settlement has failed; id 0: none */
    enum lqi_settlement owed_how;

    struct lqi_loan *loans;
    uint32_t loan_capacity, loan_free; /* head of the free list, + 1; 0: none */
    int64_t busy_since_us;         /* since then somebody else is in its way: holds a lock, rolls the log; 0: nobody */
    int pending;                   /* an error met behind messages that were given: for the next call */
    char pending_text[LQI_TEXT_MAX];
    struct lqi_notify notify;
};

int lqi_consumer_check(const lq_consumer *consumer);

/* Takes the consumer's lock, and settles first what is owed, so that it goes to others at once. LQ_EBUSY LQ_EIO. */
int lqi_consumer_enter(lq_consumer *consumer);

/* GET under no time-out: LQ_OK with 1 to `max` messages, LQ_EMPTY, LQ_ECORRUPT, or an error. Waits up to `lock_ms` for those who
 * hold a lock that it needs, then says LQ_EMPTY too; LQ_EBUSY if that goes on over many calls for LQI_LOCK_PATIENCE_MS. */
#define LQI_TAKE_LOCK_MS 200 /* a moment */
int lqi_take(lq_consumer *consumer, lq_message *messages_out, size_t max, size_t *count_out, int lock_ms);
/* Is there something to take? Without the lock: a hint. */
bool lqi_may_take(const lq_consumer *consumer);

/* Settles one message that is on loan. */
int lqi_consumer_settle(lq_consumer *consumer, const lq_message *messages, size_t count, enum lqi_settlement how);

/* How long a sleeper sleeps at the most: somebody may die between a change and its bell. */
#define LQI_SLEEP_US 50000
/* Before sleeping again: accepted messages whose putters died before the sync become visible. */
void lqi_help_visibility(lq_queue *queue);

void lqi_notify_init(lq_consumer *consumer);
void lqi_notify_release(lq_consumer *consumer);
bool lqi_in_own_handler(const lq_consumer *consumer);
/* GET has found nothing: the descriptor is not readable until more comes. */
void lqi_notify_empty(lq_consumer *consumer);

#endif
