/* Opening and closing: ties the parts together.
 *
 * Every opener takes the open lock for a moment. The first one of a population (no handle lives):
 *
 *   1 maps the old `shared`, if it is of this boot and was not closed cleanly
 *   2 brings the log into the files, cuts a torn tail, syncs       (recover.c, recover_ring.c)
 *   3 brings the consumers' state into their offset files, syncs   (consumers_rescue.c)
 *   4 sets `shared` up anew, in place, and only then calls it ready
 *
 * Dying anywhere before 4 leaves everything for the next opener to do again; in 4, the files have it all.
 *
 * The last one to close writes everything to the files, ends the log with a mark, so that
 * nothing before it can be taken for a torn tail, syncs, and calls `shared` clean. */
#include "queue_parts.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "bytes.h"

int lqi_open_patience_ms = 10000;
#define DYING_PATIENCE_US 1000000
#define STEP_LOCK_MS 10
#define STEP_RETRY_US 10000

/* ---- small things ------------------------------------------------------- */

int lqi_queue_check(const lq_queue *queue, bool writing)
{
    if (!queue) return lqi_fail(LQ_EINVAL, "the queue is NULL");
    if (atomic_load_explicit(&queue->forkable.forked, memory_order_relaxed))
        return lqi_fail(LQ_EFORKED, "this handle was opened by the parent of this process: open the queue anew");
    if (writing && (queue->flags & LQ_READ_ONLY)) return lqi_fail(LQ_EREADONLY, "the queue was opened to read only");
    return LQ_OK;
}

int lqi_take_options(void *ours, size_t size, const void *theirs, const char *what)
{
    size_t given;
    memset(ours, 0, size);
    if (!theirs) return LQ_OK;
    memcpy(&given, theirs, sizeof given);
    if (given < sizeof given || given > 4096) return lqi_fail(LQ_EINVAL, "%s: `size` is %zu, set it to sizeof", what, given);
    for (size_t i = size; i < given; i++)
        if (((const uint8_t *)theirs)[i]) return lqi_fail(LQ_EINVAL, "%s: an option is set that this library does not know", what);
    memcpy(ours, theirs, given < size ? given : size);
    return LQ_OK;
}

/* What is waited for it comes off the handle's patience: who fails with a queue that he has made wants the lock twice. */
static int lock_open(lq_queue *queue)
{
    int64_t from = lqi_now_us(), waited = 0;
    int error;
    for (;;) {
        error = queue->io->lock(queue->io, queue->meta_file.fd, LQI_BYTE_OPEN);
        waited = lqi_now_us() - from;
        if (error != EAGAIN || waited >= queue->open_patience_us) break;
        lqi_nap();
    }
    queue->open_patience_us -= (int64_t)lqi_min64((uint64_t)waited, (uint64_t)queue->open_patience_us);
    if (error == EAGAIN)
        return lqi_fail(LQ_EBUSY, "another process has been opening or closing this queue for %d ms: is it stopped?", lqi_open_patience_ms);
    return error ? lqi_fail_errno(error, "lock", LQI_META_NAME, -1) : LQ_OK;
}

static void unlock_open(lq_queue *queue)
{
    queue->io->unlock(queue->io, queue->meta_file.fd, LQI_BYTE_OPEN);
}

/* Does any other handle live, of any process? */
static int others_live(lq_queue *queue, bool *live_out)
{
    int error = queue->io->locked(queue->io, queue->meta_file.fd, LQI_BYTE_HANDLE, LQI_HANDLES_MAX, live_out);
    return error ? lqi_fail_errno(error, "look at the locks of", LQI_META_NAME, -1) : LQ_OK;
}

/* ---- setting up --------------------------------------------------------- */

static void bind(lq_queue *queue)
{
    struct lqi_log *log = &queue->log;

    log->io = queue->io;
    log->consumers_dir = queue->consumers_dir;
    memcpy(log->uuid, queue->meta.uuid, sizeof log->uuid);
    log->options = queue->meta.options;
    log->meta_file = &queue->meta_file;
    log->shared = queue->map.head;
    log->state = queue->map.head ? &queue->map.head->log : NULL;
    if (log->state) lqi_shared_ring(&queue->map, &log->ring);
    queue->consumers = (struct lqi_consumers){log, &queue->map, &queue->meta_file, queue->consumers_dir};
}

/* How far the log, as it was found, is known to be durable. */
struct sure {
    uint64_t position, id;
};

/* The log state of a new population, from what the files have. */
static void set_state(struct lqi_log *log, const struct lqi_found *found, const struct sure *sure)
{
    struct lqi_log_state *state = log->state;
    struct lqi_span *span = &state->spans[1]; /* number 1 */
    struct lqi_tail *tail = &state->tails[0];
    bool open = found->usable;
    assert(state != NULL);

    span->first_id = open ? found->last.first_id : found->next_id;
    atomic_store(&span->position, open ? found->last.position : found->end);
    atomic_store(&span->salt, open ? found->last.salt : 0);
    span->limit = open ? span->position + lqi_max64(lqi_segment_capacity(&log->options), found->end - found->last.position) : found->end;
    span->first_time_us = found->first_time_us;
    span->sealed = !open;
    memcpy(span->index, found->index, sizeof span->index);
    *tail = (struct lqi_tail){
        .end = found->end, .next_id = found->next_id, .time_us = found->time_us, .span = 1,
        .index_count = found->index_count, .indexed = found->indexed, .mark = found->mark, .direct = found->end,
    };
    atomic_store(&state->append_span, 1);
    atomic_store(&state->write_span, 1);
    atomic_store(&state->written, found->end);
    atomic_store(&state->synced, sure->position);
    atomic_store(&state->synced_id, sure->id);
    atomic_store(&state->ring.appended, found->end);
    atomic_store(&state->ring.reserved, found->end);
    atomic_store(&state->ring.ring_from, found->end);
    atomic_store(&state->first_id, found->first_id);
    atomic_store(&state->first_position, found->first_position);
    atomic_store(&state->second_id, found->second_id);
}

/* Nobody lives who locks `meta`. If somebody locks `shared` nevertheless, he has another `meta`: it was replaced under
 * him, and two populations would write into one log. For a moment that is normal: a process that dies lets its files go one by one. */
static int check_unused(lq_queue *queue, const struct lqi_shared_map *old)
{
    int64_t until = lqi_now_us() + DYING_PATIENCE_US;
    for (;;) {
        bool live;
        int error = queue->io->locked(queue->io, old->file.fd, LQI_BYTE_HANDLE, LQI_HANDLES_MAX, &live);
        if (error) return lqi_fail_errno(error, "look at the locks of", LQI_SHARED_NAME, -1);
        if (!live) return LQ_OK;
        if (lqi_now_us() > until)
            return lqi_fail(LQ_EBUSY, "the file '" LQI_META_NAME "' was replaced while others have the queue open: close them first");
        lqi_nap();
    }
}

/* What dead processes of this boot left; NULL in `*old` when there is nothing to be had from them. */
static int attach_old(lq_queue *queue, struct lqi_shared_map *old)
{
    int err = lqi_shared_attach(old, queue->io, queue->dir, queue->meta.uuid, true);
    if (err == LQ_ENOTFOUND || err == LQ_ECORRUPT) return LQ_OK;
    if (!err) err = check_unused(queue, old);
    if (err || atomic_load(&old->head->clean)) lqi_shared_detach(old);
    return err;
}

/* Processes have died, and not the machine: what they had written is there, synced or not, and nothing in it is a torn
 * tail. Unless a sync has failed: then only what was synced before is sure. */
static void promise_of_memory(const struct lqi_shared *old, struct lqi_promise *promise)
{
    const struct lqi_log_state *state = &old->log;
    const struct lqi_tail *tail = &state->tails[atomic_load(&state->turn) & 1];
    bool poisoned = atomic_load(&old->poisoned) != 0;
    uint64_t next_id = poisoned ? atomic_load(&state->synced_id) + 1 : tail->next_id;
    uint64_t synced = atomic_load(&state->synced), written = atomic_load(&state->written);
    uint64_t end = lqi_max64(tail->end, atomic_load(&state->ring.appended));

    /* Nothing moves any more, so that these numbers must fit each other. */
    if (end >= LQI_ID_END || next_id >= LQI_ID_END || synced > written || written > end || end - written > old->identity.ring_size) return;
    promise->position = lqi_max64(promise->position, poisoned ? synced : written);
    promise->next_id = lqi_max64(promise->next_id, next_id);
    promise->committed = poisoned ? 0 : end;
}

static int find_promise(lq_queue *queue, struct lqi_shared_map *old, struct lqi_promise *promise)
{
    struct lqi_position_entry entry;
    int err = lqi_consumers_promise(queue->io, queue->consumers_dir, queue->meta.uuid, &entry);
    if (err) return err;
    *promise = (struct lqi_promise){entry.durable, entry.durable_id + 1, 0};
    if (old->head) promise_of_memory(old->head, promise);
    return LQ_OK;
}

/* A name that we find may be in the page cache only: whoever made it may have died before its directory was
 * synced. What is built on it now must not outlive it. */
static int sync_names(lq_queue *queue)
{
    const int dirs[] = {queue->consumers_dir, queue->log.log_dir, queue->dir};
    for (size_t i = 0; i < sizeof dirs / sizeof dirs[0]; i++) {
        int error = queue->io->dir_sync(queue->io, dirs[i]);
        if (error) return lqi_fail_errno(error, "sync", "the queue's directories", -1);
    }
    return lqi_queue_sync_parent(queue);
}

static int recover(lq_queue *queue, struct lqi_found *found, uint64_t *messages_out, struct sure *sure)
{
    struct lqi_shared_map old = LQI_SHARED_NONE;
    struct lqi_promise promise;
    struct lqi_trim trim;

    int err = lqi_trim_load(&queue->meta_file, queue->meta.uuid, &trim);
    if (err && err != LQ_ECORRUPT) return err;
    err = attach_old(queue, &old);
    if (!err) err = find_promise(queue, &old, &promise);
    if (!err) err = lqi_recover_log(&queue->log, &trim, &promise, old.head ? &old : NULL, found, messages_out);
    if (!err && old.head && (lqi_sync_doubtful(old.head) || lqi_consumers_doubtful(old.head))) {
        err = lqi_consumers_replace(queue->io, queue->consumers_dir, queue->meta.options.mode);
        found->doubtful |= err == LQ_ENOSPC;
        if (err == LQ_ENOSPC) err = LQ_OK;
    }
    if (!err && old.head)
        err = lqi_consumers_rescue(queue->io, queue->consumers_dir, queue->meta.uuid, &old, found->next_id);
    *sure = (struct sure){found->end, found->next_id - 1};
    if (!err && old.head && found->doubtful) {
        sure->position = lqi_min64(sure->position, atomic_load(&old.head->log.synced));
        sure->id = lqi_min64(sure->id, atomic_load(&old.head->log.synced_id));
    }
    lqi_shared_detach(&old);
    return err;
}

static int set_up_shared(lq_queue *queue)
{
    struct lqi_found found = {0};
    struct sure sure = {0, 0};
    uint64_t messages = 0;
    int err = sync_names(queue);
    if (!err) err = recover(queue, &found, &messages, &sure);
    if (!err) err = lqi_shared_create(&queue->map, queue->io, queue->dir, queue->meta.uuid, queue->meta.options.ring_size,
                                      queue->meta.options.mode);
    if (err) return err;
    bind(queue);
    set_state(&queue->log, &found, &sure);
    atomic_store(&queue->map.head->poisoned, found.doubtful);
    atomic_store(&queue->map.head->recovered_bytes, found.torn_bytes);
    atomic_store(&queue->map.head->recovered_messages, messages);
    atomic_store(&queue->map.head->damage, found.damage);
    err = lqi_consumers_load(&queue->consumers);
    /* What could not be made durable must be known to the next opener: we are his dead. */
    if (atomic_load(&queue->map.head->poisoned)) atomic_store(&queue->map.head->identity.ready, 1);
    return err;
}

static int join_shared(lq_queue *queue)
{
    bool live;
    int err = others_live(queue, &live);
    if (err) return err;
    if (!live) return set_up_shared(queue);

    err = lqi_shared_attach(&queue->map, queue->io, queue->dir, queue->meta.uuid, true);
    if (err == LQ_ENOTFOUND || err == LQ_ECORRUPT)
        return lqi_fail(LQ_EBUSY, "the file '" LQI_SHARED_NAME "' was removed or overwritten while others have the queue open: close them first");
    if (!err) bind(queue);
    return err;
}

/* As with `meta`: no child may have it unknown. */
static int open_shared_locks(lq_queue *queue)
{
    unsigned forks;
    int err;
    do {
        lqi_file_close(&queue->shared_locks);
        forks = lqi_process_forks();
        err = lqi_file_open(&queue->shared_locks, queue->io, queue->dir, LQI_SHARED_NAME, LQI_SHARED_NAME, LQI_OPEN_WRITE, 0);
    } while (!err && lqi_process_forked_since(forks));
    return err;
}

static int take_handle(lq_queue *queue)
{
    int err = open_shared_locks(queue);
    if (err) return err;
    for (uint32_t i = 0; i < LQI_HANDLES_MAX; i++) {
        int error = queue->io->lock(queue->io, queue->meta_file.fd, LQI_BYTE_HANDLE + i);
        if (error == EAGAIN) continue;
        if (error) return lqi_fail_errno(error, "lock", LQI_META_NAME, -1);
        error = queue->io->lock(queue->io, queue->shared_locks.fd, LQI_BYTE_HANDLE + i); /* see check_unused() */
        if (error && error != EAGAIN) return lqi_fail_errno(error, "lock", LQI_SHARED_NAME, -1);
        _Atomic uint64_t *generation = &queue->map.head->handles[i].generation;
        queue->handle = i;
        /* Odd while it is held; from a dead holder's odd number to the next odd one. */
        queue->handle_generation = (atomic_load(generation) + 1) | 1;
        atomic_store(generation, queue->handle_generation);
        return LQ_OK;
    }
    return lqi_fail(LQ_ELIMIT, "the queue has %d handles already", LQI_HANDLES_MAX);
}

static int join(lq_queue *queue)
{
    int err = lock_open(queue);
    if (err) return err;
    /* Since we have opened it, repair may have put another one in its place, or a maker who failed may have taken it away. */
    err = lqi_meta_check_in_place(&queue->meta_file, queue->dir);
    queue->meta_moved = err == LQ_EBUSY || err == LQ_ENOTFOUND;
    if (!err) err = join_shared(queue);
    if (!err) err = take_handle(queue);
    if (!err) atomic_store(&queue->map.head->identity.ready, 1);
    unlock_open(queue);
    if (!err && queue->log.options.retention != LQ_RETAIN_CONSUMED) lqi_retain_what_is_due(&queue->log);
    return err;
}

/* ---- the interval ------------------------------------------------------- */

static int64_t sync_step(void *context)
{
    lq_queue *queue = context;
    int64_t start = lqi_now_us();
    int limit = lqi_lock_limit(STEP_LOCK_MS); /* this thread is everybody's */

    int err = lqi_commit_all(&queue->log); /* a failure poisons, and PUT says so */
    lqi_lock_limit(limit);
    return err == LQ_EBUSY ? lqi_now_us() + STEP_RETRY_US : start + (int64_t)queue->log.options.sync_interval_ms * 1000;
}

static int start_interval(lq_queue *queue)
{
    if (queue->log.options.sync != LQ_SYNC_INTERVAL) return LQ_OK;
    queue->sync_task.step = sync_step;
    queue->sync_task.context = queue;
    int err = lqi_service_add(&queue->sync_task);
    queue->syncs_by_interval = !err;
    return err;
}

/* ---- open --------------------------------------------------------------- */

/* All but the directory, and what is closed for those who fork. */
static void close_files(lq_queue *queue)
{
    lqi_file_close(&queue->log.writing.file);
    lqi_file_close(&queue->log.syncing.file);
    lqi_shared_detach(&queue->map);
    queue->io->close(queue->io, queue->log.log_dir);
    queue->io->close(queue->io, queue->consumers_dir);
    queue->consumers_dir = queue->log.log_dir = -1;
}

static void free_queue(lq_queue *queue)
{
    lqi_process_remove(&queue->forkable); /* closes `meta` and the other `shared`: with them go this handle's locks */
    close_files(queue);
    queue->io->close(queue->io, queue->dir);
    free(queue);
}

static lq_queue *new_queue(const struct lqi_io *io, const lq_options *asked)
{
    lq_queue *queue = calloc(1, sizeof *queue);
    if (!queue) return NULL;
    queue->io = io;
    queue->dir = queue->consumers_dir = queue->log.log_dir = -1;
    queue->meta_file.fd = queue->shared_locks.fd = queue->map.file.fd = queue->log.writing.file.fd = queue->log.syncing.file.fd = -1;
    queue->flags = asked->flags;
    queue->full_timeout_ms = asked->full_timeout_ms;
    queue->open_patience_us = (int64_t)lqi_open_patience_ms * 1000;
    queue->forkable.lock_files[0] = &queue->meta_file;
    queue->forkable.lock_files[1] = &queue->shared_locks;
    return queue;
}

static int note_any(void *context, const char *name)
{
    (void)name;
    return *(bool *)context = true;
}

/* We have opened it: has anybody else, since? */
static bool others_came(const lq_queue *queue)
{
    for (uint32_t i = 0; i < LQI_HANDLES_MAX; i++)
        if (i != queue->handle && atomic_load(&queue->map.head->handles[i].generation)) return true;
    return false;
}

/* Has anybody found the queue that we have made, and begun to use it? With the open lock. */
static bool taken_up(lq_queue *queue)
{
    struct lqi_shared_map map = LQI_SHARED_NONE;
    bool live, found = false;
    uint64_t *ids;
    size_t count;

    if (lqi_meta_check_in_place(&queue->meta_file, queue->dir) || others_live(queue, &live) || live) return true;
    if (queue->io->dir_list(queue->io, queue->consumers_dir, note_any, &found) || found) return true;
    if (lqi_segment_list(queue->io, queue->log.log_dir, &ids, &count, NULL)) return true;
    free(ids);
    if (count) return true;
    if (queue->handle_generation) return others_came(queue);
    /* Somebody who has set it up, and has left again. */
    int err = lqi_shared_attach(&map, queue->io, queue->dir, queue->meta.uuid, true);
    lqi_shared_detach(&map);
    return err != LQ_ENOTFOUND;
}

/* Half opened, our own locks would look like another's. */
static int open_made_again(lq_queue *queue)
{
    lqi_process_remove(&queue->forkable);
    close_files(queue);
    (void)lqi_process_add(&queue->forkable); /* it could be before */
    return lqi_queue_files_open_made(queue);
}

/* A queue that was made and could not be opened then, for want of disk space most likely, is taken away again: its options would
 * stand in the way of a smaller one. As after death at any step before, what is left is none. */
static int unmake(lq_queue *queue, int why)
{
    char text[LQI_TEXT_MAX];
    memcpy(text, lq_error_text(), sizeof text);

    int err = queue->handle_generation ? LQ_OK : open_made_again(queue);
    if (!err && lock_open(queue) == LQ_OK) {
        if (!taken_up(queue)) {
            queue->io->unlink(queue->io, queue->dir, LQI_SHARED_NAME);
            queue->io->unlink(queue->io, queue->dir, LQI_META_NAME); /* last: as long as it is there, it is a queue */
            (void)queue->io->dir_sync(queue->io, queue->dir);
        }
        unlock_open(queue);
    }
    return lqi_fail(why, "%s", text);
}

static int open_once(const struct lqi_io *io, const char *path, const lq_options *asked, lq_queue **queue_out, bool *again_out)
{
    lq_queue *queue = new_queue(io, asked);
    if (!queue) return lqi_fail(LQ_ENOMEM, "no memory for a queue handle");
    int err = lqi_process_add(&queue->forkable);
    if (!err) err = lqi_queue_files_open(queue, path, asked);
    if (!err) {
        bind(queue);
        if (!(asked->flags & LQ_READ_ONLY)) err = join(queue);
    }
    if (!err && !(asked->flags & LQ_READ_ONLY)) err = start_interval(queue);
    *again_out = queue->meta_moved;
    if (err && queue->made) err = unmake(queue, err);
    if (err) free_queue(queue);
    else *queue_out = queue;
    return err;
}

#define OPEN_TRIES 10

int lqi_open_io(const struct lqi_io *io, const char *path, const lq_options *options, lq_queue **queue_out)
{
    lq_options asked;
    bool again = true;
    if (!path || !*path || !queue_out) return lqi_fail(LQ_EINVAL, "lq_open: the path is empty, or a pointer is NULL");
    int err = lqi_take_options(&asked, sizeof asked, options, "lq_options");
    if (err) return err;
    asked.size = sizeof asked;
    if (asked.flags & ~(uint32_t)(LQ_READ_ONLY | LQ_NO_CREATE | LQ_DEFER_SYNC))
        return lqi_fail(LQ_EINVAL, "lq_options.flags has bits that mean nothing: 0x%" PRIx32, asked.flags);

    for (unsigned tries = 0; again && tries < OPEN_TRIES; tries++) err = open_once(io, path, &asked, queue_out, &again);
    return err;
}

int lq_open(const char *path, const lq_options *options, lq_queue **queue_out)
{
    return lqi_open_io(&lqi_io_posix, path, options, queue_out);
}

/* ---- close -------------------------------------------------------------- */

static void ignore_damage(void *context, uint64_t offset, const char *text)
{
    (void)context;
    (void)offset;
    (void)text;
}

/* What is damaged in `meta` may be put right yet; the slot that is next to be written may be the very one. */
static bool meta_is_damaged(const lq_queue *queue)
{
    uint8_t bytes[LQI_META_SIZE] = {0};
    uint64_t size;
    size_t got;
    return lqi_file_size(&queue->meta_file, &size) || lqi_file_read(&queue->meta_file, 0, bytes, sizeof bytes, &got) ||
           lqi_meta_check(bytes, size, ignore_damage, NULL);
}

/* `meta` remembers how far the log went, so that the loss of its last file, or of that one's end, is told and not
 * taken for the end. A nicety like the mark. */
static void promise_end(lq_queue *queue)
{
    const struct lqi_log_state *state = queue->log.state;
    struct lqi_tail tail;
    struct lqi_trim trim;
    int err = lqi_trim_load(&queue->meta_file, queue->meta.uuid, &trim);

    if (err && err != LQ_ECORRUPT) return;
    if (lqi_log_tail(&queue->log, &tail)) return;
    if (!tail.records && meta_is_damaged(queue)) return; /* there is nothing new to remember */
    uint64_t synced = atomic_load(&state->synced), next_id = atomic_load(&state->synced_id) + 1;
    if (trim.synced >= synced && trim.next_id >= next_id) return;
    /* Where the log begins is not for us to move: memory that somebody has written over must not give segments up. */
    if (err) {
        trim.first_id = atomic_load(&state->first_id);
        trim.position = atomic_load(&state->first_position);
        if (!trim.first_id || trim.position % 8) return;
    }
    trim.synced = lqi_max64(trim.synced, synced);
    trim.next_id = lqi_max64(trim.next_id, next_id);
    if (trim.next_id < trim.first_id || trim.synced < trim.position) return; /* nor may it be believed before that */
    (void)lqi_trim_store(&queue->meta_file, queue->meta.uuid, &trim);
}

/* Nothing lives but this handle: everything into the files. */
static int finish(lq_queue *queue)
{
    int err = lqi_commit_all(&queue->log);
    if (!err) err = lqi_consumers_sync(&queue->consumers);
    /* The mark is a nicety, and needs space: without it the log is as complete. */
    if (!err && lqi_append_mark(&queue->log) == LQ_OK) err = lqi_commit_all(&queue->log);
    if (!err) promise_end(queue);
    if (!err) err = lqi_give_back_space(&queue->log);
    if (!err) atomic_store(&queue->map.head->clean, 1);
    return err;
}

static int leave(lq_queue *queue)
{
    bool live = true;
    queue->open_patience_us = (int64_t)lqi_open_patience_ms * 1000;
    int err = lock_open(queue);
    if (err) return err;
    /* Our own lock does not count as another's. */
    err = others_live(queue, &live);
    if (!err && !live) err = finish(queue);
    atomic_fetch_add(&queue->map.head->handles[queue->handle].generation, 1);
    queue->io->unlock(queue->io, queue->shared_locks.fd, LQI_BYTE_HANDLE + queue->handle);
    queue->io->unlock(queue->io, queue->meta_file.fd, LQI_BYTE_HANDLE + queue->handle);
    unlock_open(queue);
    return err;
}

int lq_close(lq_queue *queue)
{
    if (!queue) return LQ_OK;
    bool forked = atomic_load(&queue->forkable.forked) != 0;
    int err = LQ_OK;

    if (atomic_load(&queue->users))
        return lqi_fail(LQ_EINVAL, "%" PRIu32 " consumers or readers of this handle are open: close them first", queue->users);
    if (!forked && queue->syncs_by_interval) lqi_service_remove(&queue->sync_task);
    if (!forked && !(queue->flags & LQ_READ_ONLY)) err = leave(queue);
    free_queue(queue);
    return err;
}

/* ---- sync --------------------------------------------------------------- */

int lq_sync(lq_queue *queue)
{
    int err = lqi_queue_check(queue, true);
    if (!err) err = lqi_commit_all(&queue->log);
    if (!err) err = lqi_consumers_sync(&queue->consumers);
    return err;
}
