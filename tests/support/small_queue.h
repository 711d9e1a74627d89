/* A small queue with consumers of small windows, for the programs that look at what is between the offset files and the
 * working memory. Included by one file of each. */
#ifndef SUPPORT_SMALL_QUEUE_H
#define SUPPORT_SMALL_QUEUE_H

#include <stdio.h>

#include "queue.h"
#include "api.h"

enum { KIB = 1024, MESSAGES = 50, SIZE = 300, ACKED = 10, WINDOW = 64 };

static char queue_path[4096];
static const lq_options small = {.size = sizeof(lq_options), .sync = LQ_SYNC_NEVER, .segment_size = 64 * KIB, .ring_size = 64 * KIB};
static const lq_consumer_options in_window = {.size = sizeof(lq_consumer_options), .window = WINDOW};

static inline void use_queue(void **state, const char *name)
{
    snprintf(queue_path, sizeof queue_path, "%s", api_path(*state, name));
}

static inline lq_queue *open_on(const struct lqi_io *io)
{
    lq_queue *queue;
    OK(lqi_open_io(io, queue_path, &small, &queue));
    return queue;
}

static inline const char *offset_file(const char *name)
{
    static char path[4300];
    snprintf(path, sizeof path, "%s/consumers/%s.pos", queue_path, name);
    return path;
}

/* Messages that stay, as "keep" has not seen them. */
static inline void fill(void)
{
    lq_queue *queue = open_on(&lqi_io_posix);
    OK(lq_consumer_close(api_consumer(queue, "keep", &in_window)));
    api_put_range(queue, 1, MESSAGES, SIZE);
    OK(lq_close(queue));
}

/* Acks some, one out of order, and dies. */
static inline int take_and_die(void *context)
{
    const lq_consumer_options *options = context;
    lq_message messages[MESSAGES];
    size_t count;

    lq_queue *queue = open_on(&lqi_io_posix);
    lq_consumer *consumer = api_consumer(queue, "c", options);
    api_consumer(queue, "keep", &in_window);
    if (api_stats(queue).last_id == 0) api_put_range(queue, 1, MESSAGES, SIZE);
    OK(lq_get_batch(consumer, messages, MESSAGES, &count, 1000));
    EQUAL(count, MESSAGES);
    OK(lq_ack_batch(consumer, messages, ACKED));
    OK(lq_ack(consumer, &messages[ACKED + 5]));
    return 0;
}

#endif
