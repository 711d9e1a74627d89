/* Many messages into a queue, fast: they are gathered and put in batches, without
 * waiting for the disk; then one sync says that all of it is safe.
 *
 * A batch is one record of the log: damage later costs the whole batch, so
 * batches are kept small (a larger one is hardly faster). Functions return
 * codes of the library and tell nothing; `put` says how many messages are in. */
#ifndef CLI_FEED_H
#define CLI_FEED_H

#include "libqueue.h"

#include <stdbool.h>

enum { FEED_BATCH_DEFAULT = 256 };

struct feed {
    lq_queue *queue;
    bool print_ids;        /* to standard output, as they are given */
    int64_t room_wait_ms;  /* how long to wait for room in a full queue that blocks; -1: for ever */
    uint64_t put;          /* messages that the queue has accepted */
    uint64_t bytes;        /* of their bodies */
    uint64_t message_size_max;

    lq_message *messages;  /* gathered; their bytes are in `buffer` */
    size_t count, count_max;
    char *buffer;
    size_t used, capacity;
    bool wants_sync;       /* a sync is promised by the queue's mode */
    bool dirty;            /* something was put since the last sync */
    int64_t synced_us;     /* when that was */
};

/* The flag with which the queue is to be opened. */
#define FEED_OPEN_FLAGS LQ_DEFER_SYNC

/* So many messages at most in a batch; 0: the default. `queue` is borrowed. */
int feed_init(struct feed *feed, lq_queue *queue, size_t batch);
void feed_release(struct feed *feed);

/* Copies the message. LQ_ETOOBIG: it does not fit into the queue; those before it are in. */
int feed_add(struct feed *feed, const lq_message *message);

/* Puts what is gathered. */
int feed_flush(struct feed *feed);

/* Syncs what has been put, if the queue's mode promises it. Flush before it. */
int feed_sync(struct feed *feed);

/* The same if the last sync is more than a second ago: for input that never ends. */
int feed_sync_sometimes(struct feed *feed);

#endif
