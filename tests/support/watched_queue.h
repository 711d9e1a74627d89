/* A queue of some segments, on a machine that is watched while old ones go: when a file goes, `meta` must say so already, durably.
 * For the few programs that look at retention from inside: included by one file of each. */
#ifndef SUPPORT_WATCHED_QUEUE_H
#define SUPPORT_WATCHED_QUEUE_H

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "api.h"
#include "queue.h"
#include "retain.h"

enum { KIB = 1024, BODY = 1000, MESSAGES = 300 };

/* ---- the machine, watched ------------------------------------------------------- */

static struct {
    lq_queue *queue;
    bool meta_unsynced;
    bool sync_fails, read_fails; /* of meta */
    bool list_fails;
    unsigned put_meanwhile; /* messages, by another thread, while meta is being synced */
    uint64_t deleted; /* the last segment that went */
    uint64_t unreadable_id; /* of a segment that cannot be opened just now */
    int64_t now_us;   /* 0: as it is */
} watched;

static inline int watch_write(const struct lqi_io *io, int fd, uint64_t offset, const void *data, size_t size)
{
    if (watched.queue && fd == watched.queue->meta_file.fd) watched.meta_unsynced = true;
    return lqi_io_posix.write(io, fd, offset, data, size);
}

static inline int watch_sync(const struct lqi_io *io, int fd)
{
    bool meta = watched.queue && fd == watched.queue->meta_file.fd;
    if (meta && watched.sync_fails) return EIO;
    if (meta) watched.meta_unsynced = false;
    if (meta && watched.put_meanwhile) {
        unsigned count = watched.put_meanwhile;
        watched.put_meanwhile = 0;
        api_put_range(watched.queue, MESSAGES + 1, MESSAGES + count, BODY);
        OK(lq_sync(watched.queue));
    }
    return lqi_io_posix.sync(io, fd);
}

static inline int watch_unlink(const struct lqi_io *io, int dir, const char *name)
{
    struct lqi_trim trim;
    uint64_t id;
    if (lqi_segment_name_parse(name, &id)) {
        HOLDS(!watched.meta_unsynced);
        OK(lqi_trim_load(&watched.queue->meta_file, watched.queue->meta.uuid, &trim));
        HOLDS(trim.first_id > id);
        HOLDS(id > watched.deleted); /* the oldest first */
        watched.deleted = id;
    }
    return lqi_io_posix.unlink(io, dir, name);
}

static inline int watch_read(const struct lqi_io *io, int fd, uint64_t offset, void *data, size_t size, size_t *got_out)
{
    if (watched.read_fails && fd == watched.queue->meta_file.fd) return EIO;
    return lqi_io_posix.read(io, fd, offset, data, size, got_out);
}

static inline int watch_list(const struct lqi_io *io, int dir, lqi_name_callback *each, void *context)
{
    return watched.list_fails ? EIO : lqi_io_posix.dir_list(io, dir, each, context);
}

static inline int watch_open(const struct lqi_io *io, int dir, const char *name, int flags, uint32_t mode, int *fd_out)
{
    uint64_t id;
    if (watched.unreadable_id && lqi_segment_name_parse(name, &id) && id == watched.unreadable_id) return EIO;
    return lqi_io_posix.open(io, dir, name, flags, mode, fd_out);
}

static inline int64_t watch_wall_us(const struct lqi_io *io)
{
    return watched.now_us ? watched.now_us : lqi_io_posix.wall_us(io);
}

static struct lqi_io io;

/* A queue with messages in some segments, all in their files; nothing of it may go by itself. */
static inline lq_queue *make_queue(void **state, lq_options options)
{
    lq_queue *queue;
    io = lqi_io_posix;
    io.write = watch_write;
    io.sync = watch_sync;
    io.unlink = watch_unlink;
    io.open = watch_open;
    io.read = watch_read;
    io.dir_list = watch_list;
    io.wall_us = watch_wall_us;
    memset(&watched, 0, sizeof watched);
    options.size = sizeof options;
    options.segment_size = options.ring_size = 64 * KIB;
    options.sync = LQ_SYNC_NEVER;
    OK(lqi_open_io(&io, api_path(*state, "q"), &options, &queue));
    watched.queue = queue;
    api_put_range(queue, 1, MESSAGES, BODY);
    OK(lq_sync(queue));
    return queue;
}

static inline void close_queue(lq_queue *queue)
{
    watched.queue = NULL;
    OK(lq_close(queue));
}

/* The first ids of the segments there are. */
struct segments {
    uint64_t ids[20];
    size_t count;
};

static inline struct segments list(lq_queue *queue)
{
    struct segments segments;
    uint64_t *ids;
    OK(lqi_segment_list(queue->io, queue->log.log_dir, &ids, &segments.count, NULL));
    HOLDS(segments.count <= 20);
    memcpy(segments.ids, ids, segments.count * sizeof *ids);
    free(ids);
    return segments;
}

static inline size_t retain(lq_queue *queue, uint64_t bytes, bool drop)
{
    size_t gone = 77;
    OK(lqi_retain(&queue->log, bytes, drop, &gone));
    return gone;
}

/* What is told of the log's beginning is true. */
static inline void begins_with(lq_queue *queue, uint64_t id)
{
    const struct lqi_log_state *state = queue->log.state;
    struct segments now = list(queue);
    struct lqi_segment segment;
    struct lqi_trim trim;

    EQUAL(now.ids[0], id);
    OK(lqi_segment_open(&segment, queue->io, queue->log.log_dir, id, queue->meta.uuid, false));
    EQUAL(atomic_load(&state->first_id), id);
    EQUAL(atomic_load(&state->first_position), segment.head.position);
    EQUAL(atomic_load(&state->second_id), now.count > 1 ? now.ids[1] : 0);
    if (id > 1) {
        OK(lqi_trim_load(&queue->meta_file, queue->meta.uuid, &trim));
        EQUAL(trim.first_id, id);
        EQUAL(trim.position, segment.head.position);
        EQUAL(trim.synced, atomic_load(&state->synced));
        EQUAL(trim.next_id, atomic_load(&state->synced_id) + 1);
    }
    lqi_segment_close(&segment);
}

static inline int64_t made_us(lq_queue *queue, uint64_t first_id)
{
    struct lqi_segment segment;
    OK(lqi_segment_open(&segment, queue->io, queue->log.log_dir, first_id, queue->meta.uuid, false));
    lqi_segment_close(&segment);
    return segment.head.created_us;
}

#endif
