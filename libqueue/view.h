/* A look at a queue: its log as it is now, for one thread. Through a handle that
 * writes, it is the handle's own; a read-only handle has none, and each look maps
 * `shared` for itself, or finds the end of the log in the files, without a lock and
 * without changing a byte. */
#ifndef LQI_VIEW_H
#define LQI_VIEW_H

#include "queue.h"
#include "scan.h"

struct lqi_view {
    lq_queue *queue;
    struct lqi_log log;          /* log.shared NULL: only the files are looked at */
    struct lqi_shared_map map;   /* of a read-only look */
    struct lqi_found files;      /* when only the files are looked at */
};

int lqi_view_open(struct lqi_view *view, lq_queue *queue); /* nothing is open when it fails */
/* Looks again: another process may have opened the queue since, or closed it. */
int lqi_view_refresh(struct lqi_view *view);
void lqi_view_close(struct lqi_view *view);

/* Between two looks at what may be half-written just now: what looks damaged must look so that many times more. */
#define LQI_LOOKS_AGAIN 3
#define LQI_VIEW_PAUSE_US 2000
void lqi_view_pause(void);
extern int lqi_view_pause_us; /* the above; tests of what nobody changes meanwhile do not wait for it */

static inline bool lqi_view_read_only(const struct lqi_view *view)
{
    return (view->queue->flags & LQ_READ_ONLY) != 0;
}

#endif
