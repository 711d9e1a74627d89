/* Retention: which old segments may go, and deleting them. */
#ifndef LQI_RETAIN_H
#define LQI_RETAIN_H

#include "consumers.h"

/* Deletes whole segments, oldest first, never the last: those that the queue's retention gives up, and, if `drop`, as many as it
 * takes to have room for `bytes` more. What may be there is durable in `meta` before the first file goes. `*count_out` may be NULL. */
int lqi_retain(struct lqi_log *log, uint64_t bytes, bool drop, size_t *count_out);

/* What is due, as far as it can be done: a failure costs space and no message, is told nobody, and tried again at the next segment. */
void lqi_retain_what_is_due(struct lqi_log *log);

/* To be asked after a floor has moved: did it pass the end of the oldest segment? */
static inline bool lqi_retain_due(const struct lqi_log *log, uint64_t floor_before, uint64_t floor_now)
{
    uint64_t second = atomic_load_explicit(&log->state->second_id, memory_order_relaxed);
    return second && floor_before + 1 < second && floor_now + 1 >= second;
}

#endif
