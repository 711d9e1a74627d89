/* A queue of small segments that is written to and closed, on a disk that need not be waited for, each call of which can fail. For programs
 * that look inside: included by one file of each. */
#ifndef SUPPORT_SHORT_LOG_H
#define SUPPORT_SHORT_LOG_H

#include <dirent.h>
#include <stdio.h>

#include "api.h"
#include "io_fault.h"
#include "queue.h"
#include "scratch.h"

enum { SIZE = 1000 };

static struct io_fault fault;
static char path[4096];
static lq_queue *queue;
static struct lqi_log_state *shared;
static uint64_t last; /* message put */

/* No power fails here: this disk need not be waited for. */
static inline int no_sync(const struct lqi_io *io, int fd)
{
    (void)io, (void)fd;
    return 0;
}

static struct lqi_io quick;

static inline void begin(void **state, int sync)
{
    lq_options options = {.size = sizeof options, .segment_size = 64 << 10, .ring_size = 64 << 10, .sync = sync};
    quick = lqi_io_posix;
    quick.sync = quick.dir_sync = no_sync;
    io_fault_init(&fault, &quick);
    snprintf(path, sizeof path, "%s", api_path(*state, "q"));
    OK(lqi_open_io(&fault.io, path, &options, &queue));
    shared = queue->log.state;
    last = 0;
}

static inline void put(uint64_t count)
{
    if (count) api_put_range(queue, last + 1, last + count, SIZE);
    last += count;
}

/* Everything is there, and stays. */
static inline void end(void)
{
    io_fault_end(&fault);
    put(1);
    api_read_range(queue, 1, last, SIZE);
    OK(lq_close(queue));
    OK(lq_verify(path, 0, NULL, NULL, NULL));
    scratch_delete(path);
    io_fault_release(&fault);
}

static inline unsigned open_files(void)
{
    DIR *listing = opendir("/proc/self/fd");
    unsigned count = 0;
    if (!listing) return 0;
    while (readdir(listing)) count++;
    closedir(listing);
    return count;
}

#endif
