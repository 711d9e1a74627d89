/* How far a queue's consumers are: the sum of them, for ls and stat. */
#ifndef CLI_LAG_H
#define CLI_LAG_H

#include "libqueue.h"

#include <stdbool.h>
#include <stddef.h>

struct lag {
    lq_consumer_stats *consumers; /* by name; those whose file cannot be read have their name only */
    int *codes;                   /* LQ_OK, or why not, for each */
    size_t count;
    uint64_t ready;               /* of the consumer that has most; without consumers all that is kept */
    uint64_t unacked;             /* of all */
    uint64_t floor;               /* the lowest; UINT64_MAX without consumers */
    bool waiting_alone;           /* some consumer has messages ready and no member */
    bool damaged;                 /* an offset file is */
};

/* Codes of lq_each_consumer(). Release also after a failure. */
int lag_collect(lq_queue *queue, const lq_stats *stats, struct lag *lag_out);
void lag_release(struct lag *lag);

/* "idle", "running", "stalled" (running, but a consumer with messages has no member), "damaged", "poisoned". */
const char *lag_state(const lq_stats *stats, const struct lag *lag);

/* When the oldest message was put that some consumer has not settled; 0: there is none. */
int64_t lag_oldest_time(lq_queue *queue, const lq_stats *stats, const struct lag *lag);

#endif
