/* What recover.c, recover_ring.c and recover_ids.c share, and nobody else. */
#ifndef LQI_RECOVER_PARTS_H
#define LQI_RECOVER_PARTS_H

#include "recover.h"

/* The last segment of what was found, to be written. */
int lqi_recover_open_last(const struct lqi_log *log, const struct lqi_found *found, struct lqi_segment *segment);

/* Bytes of [offset, size) up to the last one that is not zero. */
int lqi_recover_nonzero(const struct lqi_file *file, uint64_t offset, uint64_t size, uint64_t *count_out);

/* recover_ids.c. Raises `*next_id`, at first the id that the file of `size` bytes is named by, to one that none of its messages has: no
 * id is given twice, and few are given up, if any. */
int lqi_recover_ids(const struct lqi_file *file, uint64_t size, uint64_t *next_id);

/* Brings what verifies in the ring of the dead behind what was found into the files, synced, and finds the end again. */
int lqi_recover_ring(struct lqi_log *log, const struct lqi_trim *trim, const struct lqi_promise *promise,
                     struct lqi_shared_map *old, struct lqi_found *found, uint64_t *messages_out);

#endif
