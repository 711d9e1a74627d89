/* What the files of this module share, and nobody else. */
#ifndef LQI_CONSUMERS_PARTS_H
#define LQI_CONSUMERS_PARTS_H

#include "consumers.h"

/* The next slot of the table that is not free, behind `before`; with NULL the first; NULL: no more. */
struct lqi_consumer_slot *lqi_consumers_next(struct lqi_shared *shared, const struct lqi_consumer_slot *before);

/* Takes the admin lock, and sees to deletions whose doer has died. On LQ_OK no consumer is going. */
int lqi_consumers_lock(const struct lqi_consumers *consumers);

/* With the admin lock: takes away what was made just now, and of no use to its maker. The error text stays. */
void lqi_consumers_unmake(const struct lqi_consumers *consumers, const char *name);

/* Is it deleted, durably, though its slot does not say so yet? Without a lock; when in doubt, no. */
bool lqi_consumer_is_gone_for_good(const struct lqi_log *log, const struct lqi_consumer_slot *consumer);

#endif
