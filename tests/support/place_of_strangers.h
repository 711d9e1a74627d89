/* A queue of three segments that others get at, for the programs that are about them: strangers in the place of its files, and
 * other users. */
#ifndef SUPPORT_PLACE_OF_STRANGERS_H
#define SUPPORT_PLACE_OF_STRANGERS_H

#include <libqueue.h>

#include "api.h"

enum { MESSAGES = 40, BODY = 4000 }; /* three segments */

static const lq_options small = {.sync = LQ_SYNC_NEVER, .segment_size = 64 << 10, .ring_size = 64 << 10};

/* "q", with consumers c and survey that have consumed nothing. */
static inline void make_queue(void **state, const lq_options *options)
{
    lq_queue *queue = api_open(state, options);
    OK(lq_consumer_close(api_consumer(queue, "c", NULL)));
    OK(lq_consumer_close(api_consumer(queue, "survey", NULL)));
    api_put_range(queue, 1, MESSAGES, BODY);
    OK(lq_close(queue));
}

static inline int try_open(const char *path, uint32_t flags)
{
    lq_queue *queue;
    int err = lq_open(path, &(lq_options){.size = sizeof(lq_options), .flags = flags}, &queue);
    if (!err) OK(lq_close(queue));
    return err;
}

static const char victims_text[] = "nobody else's business"; /* in a file that belongs to no queue */

#endif
