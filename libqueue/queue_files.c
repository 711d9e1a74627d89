/* The files of a queue: found, or made when they are missing. What is on disk if making ends after a step:
 *
 *   1 directory made                         empty: the next opener makes the queue
 *   2 log/ and consumers/ made, synced       the same
 *   3 meta published (publish.h)             a queue, without a message
 *   4 its parent synced                      ... that outlives a power loss
 *
 * Several may make the same one at once: all of them find the meta of the first. A maker who cannot open what he has made
 * takes meta away again, unless somebody else has begun to use it (queue.c). */
#include "queue_parts.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "aside.h"
#include "publish.h"

/* ---- making ------------------------------------------------------------- */

struct contents {
    bool foreign, meta;
};

static int note_contents(void *context, const char *name)
{
    struct contents *contents = context;
    if (strcmp(name, LQI_META_NAME) == 0) contents->meta = true;
    if (contents->meta) return 1;
    if (strcmp(name, "log") == 0 || strcmp(name, "consumers") == 0 || strcmp(name, LQI_SHARED_NAME) == 0 ||
        strcmp(name, LQI_ASIDE_NAME) == 0) return 0;
    if (lqi_is_unfinished(name)) return 0; /* a half-made meta */
    contents->foreign = true;
    return 0;
}

static int note_segment(void *context, const char *name)
{
    uint64_t id;
    return *(bool *)context = lqi_segment_name_parse(name, &id);
}

/* A directory without meta may become a queue if nothing else is in it. Another process may be making it just now:
 * log/ is looked at first, as by the time it has segments there is a meta, too. */
static int check_empty(lq_queue *queue, const char *path)
{
    struct contents contents = {false, false};
    bool segments = false;
    int log_dir, error = 0;
    if (queue->io->dir_open(queue->io, queue->dir, "log", &log_dir) == 0) {
        error = queue->io->dir_list(queue->io, log_dir, note_segment, &segments);
        queue->io->close(queue->io, log_dir);
    }
    if (!error) error = queue->io->dir_list(queue->io, queue->dir, note_contents, &contents);
    if (error) return lqi_fail_errno(error, "list", path, -1);
    if (contents.meta) return LQ_OK;
    if (segments) return lqi_fail(LQ_ECORRUPT, "%.300s: the file '" LQI_META_NAME "' is missing, but there are log files", path);
    return contents.foreign ? lqi_fail(LQ_ENOTQUEUE, "%.300s is not a queue: it has no file '" LQI_META_NAME "', but others", path) : LQ_OK;
}

static int make_dir(lq_queue *queue, int parent, const char *name, uint32_t mode)
{
    int error = queue->io->dir_make(queue->io, parent, name, mode | (mode & 0444) >> 2);
    return error && error != EEXIST ? lqi_fail_errno(error, "make directory", name, -1) : LQ_OK;
}

int lqi_queue_sync_parent(lq_queue *queue)
{
    int parent;
    int error = queue->io->dir_open(queue->io, queue->dir, "..", &parent);
    if (!error) {
        error = queue->io->dir_sync(queue->io, parent);
        queue->io->close(queue->io, parent);
    }
    return error && error != EACCES ? lqi_fail_errno(error, "sync", "the queue's parent directory", -1) : LQ_OK;
}

static int make_queue(lq_queue *queue, const char *path, const lq_options *asked)
{
    struct lqi_meta meta = {.created_us = queue->io->wall_us(queue->io)};
    int err = lqi_options_complete(asked, &meta.options);
    if (!err) err = check_empty(queue, path);
    if (err) return err;
    int error = queue->io->random(queue->io, meta.uuid, sizeof meta.uuid);
    if (error) return lqi_fail_errno(error, "get random bytes for", path, -1);

    err = make_dir(queue, queue->dir, "log", meta.options.mode);
    if (!err) err = make_dir(queue, queue->dir, "consumers", meta.options.mode);
    if (err) return err;
    error = queue->io->dir_sync(queue->io, queue->dir);
    if (error) return lqi_fail_errno(error, "sync", path, -1);
    queue->made = true;
    memcpy(queue->made_uuid, meta.uuid, sizeof meta.uuid);
    err = lqi_meta_create(queue->io, queue->dir, &meta); /* last: with it, it is a queue */
    return err ? err : lqi_queue_sync_parent(queue);
}

/* ---- opening ------------------------------------------------------------ */

/* Through this descriptor the locks are taken: no child may have a copy of it that it does not know. */
static int open_meta(lq_queue *queue, bool writable)
{
    struct lqi_trim trim;
    unsigned forks;
    int err;
    do {
        lqi_file_close(&queue->meta_file);
        forks = lqi_process_forks();
        err = lqi_meta_open(queue->io, queue->dir, writable, &queue->meta_file, &queue->meta, &trim);
    } while (!err && lqi_process_forked_since(forks));
    return err;
}

static int open_dir(lq_queue *queue, const char *path, const lq_options *asked)
{
    bool may_make = !(asked->flags & (LQ_READ_ONLY | LQ_NO_CREATE)), shared;
    int error = queue->io->dir_open(queue->io, -1, path, &queue->dir);

    if (error == ENOENT && may_make) {
        struct lq_options complete;
        int err = lqi_options_complete(asked, &complete); /* before anything is made */
        if (!err) err = make_dir(queue, -1, path, complete.mode);
        if (err) return err;
        error = queue->io->dir_open(queue->io, -1, path, &queue->dir);
    }
    if (error) return lqi_fail_errno(error, "open queue", path, -1);
    error = queue->io->dir_shared(queue->io, queue->dir, &shared);
    if (error) return lqi_fail_errno(error, "look at the file system of", path, -1);
    return shared ? LQ_OK : lqi_fail(LQ_EUNSUPPORTED, "%s is on a network file system, where locks and memory are not shared", path);
}

static int open_part(lq_queue *queue, const char *name, int *dir_out)
{
    int error = queue->io->dir_open(queue->io, queue->dir, name, dir_out);
    if (error == ENOENT) return lqi_fail(LQ_ECORRUPT, "the queue's directory '%s' is missing", name);
    if (error == ENOTDIR || error == ELOOP) return lqi_fail(LQ_ECORRUPT, "the queue's '%s' is no directory, or a link", name);
    return error ? lqi_fail_errno(error, "open", name, -1) : LQ_OK;
}

static int open_parts(lq_queue *queue)
{
    int err = open_part(queue, "log", &queue->log.log_dir);
    if (err) return err;
    err = open_part(queue, "consumers", &queue->consumers_dir);
    /* The messages are all there for who only looks; lq_verify() says that the positions are not. */
    return err == LQ_ECORRUPT && (queue->flags & LQ_READ_ONLY) ? LQ_OK : err;
}

/* Without `meta` nothing can be written any more, but all can be read: the segments know which queue they are of. */
static int look_without_meta(lq_queue *queue)
{
    struct lqi_segment segment;
    uint64_t *ids;
    size_t count;
    bool found = false;
    snprintf(queue->meta_damage, sizeof queue->meta_damage, "%s", lq_error_text());

    int err = open_parts(queue);
    if (!err) err = lqi_segment_list(queue->io, queue->log.log_dir, &ids, &count, NULL);
    if (err) return err;
    for (size_t i = 0; i < count && !found; i++) {
        found = lqi_segment_open(&segment, queue->io, queue->log.log_dir, ids[i], NULL, false) == LQ_OK;
        if (!found) continue;
        memcpy(queue->meta.uuid, segment.head.uuid, sizeof queue->meta.uuid);
        lqi_segment_close(&segment);
    }
    free(ids);
    if (!found) return lqi_fail(LQ_ECORRUPT, "%s", queue->meta_damage);
    return lqi_options_complete(&(lq_options){.size = sizeof(lq_options)}, &queue->meta.options);
}

/* The file `meta` has nothing of ours in it. With log files beside it, it is damaged, and not another program's. */
static int check_foreign(lq_queue *queue)
{
    char text[LQI_TEXT_MAX];
    bool segments = false;
    int log_dir;

    snprintf(text, sizeof text, "%s", lq_error_text());
    if (queue->io->dir_open(queue->io, queue->dir, "log", &log_dir)) return lqi_fail(LQ_ENOTQUEUE, "%s", text);
    int error = queue->io->dir_list(queue->io, log_dir, note_segment, &segments);
    queue->io->close(queue->io, log_dir);
    if (error) return lqi_fail_errno(error, "list", "log", -1);
    return lqi_fail(segments ? LQ_ECORRUPT : LQ_ENOTQUEUE, "%s", text);
}

int lqi_queue_files_open(lq_queue *queue, const char *path, const lq_options *asked)
{
    bool writable = !(asked->flags & LQ_READ_ONLY);
    int err = open_dir(queue, path, asked);
    if (err) return err;

    err = open_meta(queue, writable);
    if (err == LQ_ENOTFOUND && writable && !(asked->flags & LQ_NO_CREATE)) {
        err = make_queue(queue, path, asked);
        if (!err) {
            err = open_meta(queue, writable);
            queue->meta_moved = err == LQ_ENOTFOUND; /* it was another maker's, who has failed and taken it away */
        }
    } else if (err == LQ_ENOTFOUND) {
        err = check_empty(queue, path);
        if (!err) err = lqi_fail(LQ_ENOTQUEUE, "%s is not a queue: it has no file '" LQI_META_NAME "'", path);
    }
    if (err == LQ_ENOTQUEUE) err = check_foreign(queue);
    if (err == LQ_ECORRUPT && !writable) return look_without_meta(queue);
    if (!err) err = lqi_options_match(asked, &queue->meta.options);
    return err ? err : open_parts(queue);
}

int lqi_queue_files_open_made(lq_queue *queue)
{
    int err = open_meta(queue, true);
    if (!err && memcmp(queue->meta.uuid, queue->made_uuid, sizeof queue->made_uuid) != 0) err = LQ_EMISMATCH;
    return err ? err : open_parts(queue);
}
