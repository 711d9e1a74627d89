/* The table of a queue's consumers, and the way between their live state and
 * their offset files: loaded when a population begins, made, saved, deleted. */
#ifndef LQI_CONSUMERS_H
#define LQI_CONSUMERS_H

#include "members.h"
#include "scan.h"

struct lqi_consumers {
    struct lqi_log *log;
    struct lqi_shared_map *map;
    const struct lqi_file *meta_file;
    int dir; /* consumers/ */
};

/* What all offset files witness of the log. */
int lqi_consumers_promise(const struct lqi_io *io, int dir, const uint8_t uuid[16], struct lqi_position_entry *promise_out);

/* Has a sync of an offset file failed, or may one have, and who was told has died before he could say so? */
bool lqi_consumers_doubtful(struct lqi_shared *head);

/* Then: other files, of the same bytes, in the place of all offset files. */
int lqi_consumers_replace(const struct lqi_io *io, int dir, uint32_t mode);

/* Saves to their files, durably, what the dead left in `old`. */
int lqi_consumers_rescue(const struct lqi_io *io, int dir, const uint8_t uuid[16], struct lqi_shared_map *old,
                         uint64_t next_id);

/* Where a consumer stands by its offset file, on a log that goes from `first_id` to `last_id`. */
struct lqi_standing {
    uint64_t floor, delivered;
    uint64_t returned; /* of what was delivered, not settled and still there */
    uint64_t dropped;  /* deleted by retention before they were settled */
};
int lqi_consumers_standing(struct lqi_position *position, uint64_t first_id, uint64_t last_id, struct lqi_standing *standing_out);

/* Fills the table from the files; clamps positions ahead of the log's end, durably, before an id is used again. */
int lqi_consumers_load(const struct lqi_consumers *consumers);

/* Finds it, makes it when missing and allowed, sees to its region, and has `join` join it: under the admin lock, so that it
 * cannot be deleted meanwhile. Made and not joined, it is taken away again, as far as that goes: it would hold messages back for nobody. */
typedef int lqi_consumer_join(void *context, struct lqi_consumer_slot *consumer);
int lqi_consumers_open(const struct lqi_consumers *consumers, const char *name, const lq_consumer_options *options,
                       lqi_consumer_join *join, void *context);
int lqi_consumers_delete(const struct lqi_consumers *consumers, const char *name, uint32_t own_handle);
struct lqi_consumer_slot *lqi_consumers_find(struct lqi_shared *shared, const char *name);

/* With the consumer's lock: writes its position to its file; `region` may be NULL if it has none. */
int lqi_consumer_save(const struct lqi_consumers *consumers, struct lqi_consumer_slot *consumer,
                      struct lqi_region *region, struct lqi_position *position);

/* The same, and syncs it; the lock is held meanwhile, for what is being synced must not be written over. LQ_EPOISONED. */
int lqi_consumer_save_durably(const struct lqi_consumers *consumers, struct lqi_consumer_slot *consumer,
                              struct lqi_region *region, struct lqi_position *position);

/* Saves and syncs what is not, of all consumers. */
int lqi_consumers_sync(const struct lqi_consumers *consumers);

/* The lowest floor; UINT64_MAX without consumers; 0 when one of them cannot be read. */
uint64_t lqi_consumers_floor(const struct lqi_log *log);

/* For who looks without a lock: is it deleted, though its slot does not say so yet? When in doubt, no. */
bool lqi_consumer_is_gone(const struct lqi_log *log, const struct lqi_consumer_slot *consumer);

#endif
