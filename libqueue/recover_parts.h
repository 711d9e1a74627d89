/* What recover.c and recover_ring.c share, and nobody else. */
#ifndef LQI_RECOVER_PARTS_H
#define LQI_RECOVER_PARTS_H

#include "recover.h"

/* The last segment of what was found, to be written. */
int lqi_recover_open_last(const struct lqi_log *log, const struct lqi_found *found, struct lqi_segment *segment);

/* Brings what verifies in the ring of the dead behind what was found into the files, synced, and finds the end again. */
int lqi_recover_ring(struct lqi_log *log, const struct lqi_trim *trim, const struct lqi_promise *promise,
                     struct lqi_shared_map *old, struct lqi_found *found, uint64_t *messages_out);

#endif
