/* What the files of this module share, and nobody else:
 *
 *   consumers.c          the table: finding, making, opening
 *   consumers_load.c     from offset files to live state, when a population begins; the region, when somebody joins
 *   consumers_save.c     and back, durably
 *   consumers_rescue.c   what recovery does with offset files before
 *   consumers_delete.c   deleting */
#ifndef LQI_CONSUMERS_PARTS_H
#define LQI_CONSUMERS_PARTS_H

#include "consumers.h"

/* The next slot of the table that is not free, behind `before`; with NULL the first; NULL: no more. */
struct lqi_consumer_slot *lqi_consumers_next(struct lqi_shared *shared, const struct lqi_consumer_slot *before);

/* consumers_save.c: */

/* The words of a window, as they are saved: the context of lqi_consumer_word_of(). */
struct lqi_consumer_words {
    struct lqi_consumer_slot *consumer;
    struct lqi_region *region;
};
uint32_t lqi_consumer_word_of(void *context, uint64_t id);

/* lqi_consumer_save() by one who says himself what is durable and when it is; without a region the window has no words. */
int lqi_consumer_save_as(struct lqi_consumer_slot *consumer, struct lqi_region *region, struct lqi_position *position,
                         uint64_t durable, uint64_t durable_id, int64_t time_us);

/* Syncs the file as it is, and with that an epoch ends. LQ_EPOISONED. */
int lqi_consumer_sync_file(struct lqi_log *log, struct lqi_consumer_slot *consumer, const struct lqi_position *position);

/* consumers_load.c: */

/* Fills a slot that is free, without a region. One whose file cannot be read is DAMAGED then, and that is LQ_OK. */
int lqi_consumer_load(const struct lqi_consumers *consumers, const char *name, struct lqi_consumer_slot *consumer);

/* With the consumer's lock: gives it its region. */
int lqi_consumer_make_region(const struct lqi_consumers *consumers, struct lqi_consumer_slot *consumer);

/* consumers_delete.c: */

/* Takes the admin lock, and sees to deletions whose doer has died. On LQ_OK no consumer is going. */
int lqi_consumers_lock(const struct lqi_consumers *consumers);

/* With the admin lock: takes away what was made just now, and of no use to its maker. The error text stays. */
void lqi_consumers_unmake(const struct lqi_consumers *consumers, const char *name);

/* Is it deleted, durably, though its slot does not say so yet? Without a lock; when in doubt, no. */
bool lqi_consumer_is_gone_for_good(const struct lqi_log *log, const struct lqi_consumer_slot *consumer);

#endif
