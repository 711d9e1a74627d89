/* A queue of small segments into which messages of any size are put, all of which must come out, now and when it is opened again; each call of
 * its disk can fail. For programs that look inside: included by one file of each. */
#ifndef SUPPORT_SIZED_LOG_H
#define SUPPORT_SIZED_LOG_H

#include <stdio.h>

#include "api.h"
#include "io_fault.h"
#include "queue.h"
#include "scratch.h"

enum { KIB = 1024, SEGMENT = 64 * KIB, RING = 64 * KIB, LARGE = RING / 4 - LQI_RECORD_HEADER + 1, MESSAGES = 5000 };

static struct io_fault fault;
static char path[4096];
static lq_queue *queue;
static struct lqi_log_state *shared;
static uint32_t sizes[MESSAGES + 1]; /* of the messages put, by id */
static uint64_t last;

/* No power fails here: this disk need not be waited for. */
static inline int no_sync(const struct lqi_io *io, int fd)
{
    (void)io, (void)fd;
    return 0;
}

static struct lqi_io quick;

static inline void begin(void **state, lq_options options)
{
    quick = lqi_io_posix;
    quick.sync = quick.dir_sync = no_sync;
    options.size = sizeof options;
    if (!options.segment_size) options.segment_size = SEGMENT;
    if (!options.ring_size) options.ring_size = RING;
    io_fault_init(&fault, &quick);
    snprintf(path, sizeof path, "%s", api_path(*state, "q"));
    OK(lqi_open_io(&fault.io, path, &options, &queue));
    OK(lq_consumer_close(api_consumer(queue, "keeper", NULL))); /* for whom everything stays */
    shared = queue->log.state;
    last = 0;
}

static inline int try_to_put(size_t size)
{
    static uint8_t body[512 * KIB];
    uint64_t id = 0;
    HOLDS(size <= sizeof body && last < MESSAGES);
    api_fill(body, size, last + 1);
    int err = lq_put(queue, body, size, &id);
    if (err) return err;
    EQUAL(id, last + 1);
    sizes[++last] = (uint32_t)size;
    return LQ_OK;
}

static inline void put(size_t size)
{
    OK(try_to_put(size));
}

static inline struct lqi_tail tail(void)
{
    struct lqi_tail now;
    OK(lqi_log_tail(&queue->log, &now));
    return now;
}

static inline void read_all(const char *name)
{
    lq_consumer *consumer = api_consumer(queue, name, NULL);
    lq_message message;
    for (uint64_t id = 1; id <= last; id++) {
        OK(lq_get(consumer, &message, 1000));
        EQUAL(message.id, id);
        HOLDS(api_is_filled(&message, sizes[id], id));
        OK(lq_ack(consumer, &message));
    }
    IS(LQ_EMPTY, lq_poll(consumer, &message));
    OK(lq_consumer_close(consumer));
}

/* Everything is there, and stays. */
static inline void end(void)
{
    io_fault_end(&fault);
    read_all("now");
    EQUAL(api_stats(queue).damage, 0);
    OK(lq_close(queue));
    OK(lq_verify(path, 0, NULL, NULL, NULL));
    OK(lqi_open_io(&quick, path, NULL, &queue));
    read_all("again");
    OK(lq_close(queue));
    scratch_delete(path);
    io_fault_release(&fault);
}

#endif
