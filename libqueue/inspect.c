/* Looking without touching: readers, statistics, listings. Takes no lock, writes nothing;
 * with a read-only handle not even shared memory is needed. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "bytes.h"
#include "view.h"

#define RO_POLL_US 20000 /* a read-only handle may not raise the flag of a bell: it looks now and then */

struct lq_reader {
    struct lqi_view view;
    struct lqi_scan scan;
    struct lqi_payload payload;
    uint64_t payload_id;   /* id of the payload's first message; 0: none is open */
    uint64_t skip_to;      /* messages before it are not wanted */
    bool meta_told;        /* that `meta` is beyond reading, if it is */
    bool damaged;          /* scan.hole is what lq_reader_damage() tells */
};

/* ---- readers ------------------------------------------------------------ */

static int check_reader(const lq_reader *reader)
{
    return reader ? lqi_queue_check(reader->view.queue, false) : lqi_fail(LQ_EINVAL, "the reader is NULL");
}

static int seek(lq_reader *reader, uint64_t id)
{
    reader->payload_id = 0;
    reader->skip_to = id;
    return lqi_scan_seek_id(&reader->scan, id);
}

int lq_reader_open(lq_queue *queue, lq_reader **reader_out)
{
    int err = lqi_queue_check(queue, false);
    if (err) return err;
    if (!reader_out) return lqi_fail(LQ_EINVAL, "lq_reader_open: reader_out is NULL");

    lq_reader *reader = calloc(1, sizeof *reader);
    if (!reader) return lqi_fail(LQ_ENOMEM, "no memory for a reader");
    err = lqi_view_open(&reader->view, queue);
    if (err) {
        free(reader);
        return err;
    }
    atomic_fetch_add(&queue->users, 1);
    lqi_scan_init(&reader->scan, &reader->view.log, LQI_SCAN_BLOCK);
    err = seek(reader, 1);
    if (err) lq_reader_close(reader);
    else *reader_out = reader;
    return err;
}

void lq_reader_close(lq_reader *reader)
{
    if (!reader) return;
    lqi_scan_release(&reader->scan);
    lqi_view_close(&reader->view);
    atomic_fetch_sub(&reader->view.queue->users, 1);
    free(reader);
}

int lq_reader_seek_id(lq_reader *reader, uint64_t id)
{
    int err = check_reader(reader);
    return err ? err : seek(reader, lqi_max64(id, 1));
}

int lq_reader_seek_time(lq_reader *reader, int64_t time_us)
{
    int err = check_reader(reader);
    if (err) return err;
    reader->payload_id = 0;
    err = lqi_scan_seek_time(&reader->scan, time_us, lqi_log_visible(&reader->view.log));
    reader->skip_to = reader->scan.next_id;
    return err;
}

/* A read-only view may not know yet what retention has deleted; the trim slot, durable before any file goes, does. */
static bool deleted_meanwhile(const lq_reader *reader)
{
    const struct lqi_hole *hole = &reader->scan.hole;
    const lq_queue *queue = reader->view.queue;
    struct lqi_trim trim;
    return lqi_view_read_only(&reader->view) && hole->count &&
           lqi_trim_load(&queue->meta_file, queue->meta.uuid, &trim) == LQ_OK && hole->first_id + hole->count <= trim.first_id;
}

/* A read-only handle holds nobody off, not even one who sets `shared` up anew under its eyes. What looks like damage
 * must look so again and again before it is called that. */
static int scan_next(lq_reader *reader)
{
    struct lqi_scan *scan = &reader->scan;
    uint64_t position = scan->position, id = scan->next_id;

    for (int tries = 0;; tries++) {
        int err = lqi_scan_next(scan, lqi_log_visible(&reader->view.log));
        if (err != LQI_HOLE || scan->hole.trimmed || !lqi_view_read_only(&reader->view) || tries == LQI_LOOKS_AGAIN) return err;
        lqi_view_pause();
        err = lqi_view_refresh(&reader->view);
        lqi_scan_restart(scan, position, id); /* also if that failed: what was met has not been told yet */
        if (err) return err;
    }
}

/* The next record; steps over what retention deleted, stops at damage. */
static int next_record(lq_reader *reader)
{
    struct lqi_scan *scan = &reader->scan;

    reader->payload_id = 0;
    for (;;) {
        /* A record may begin before what we want, after a seek; or claim ids that were given already. */
        uint64_t wanted = lqi_max64(reader->skip_to, scan->next_id);
        int err = scan_next(reader);
        if (err == LQI_HOLE && (scan->hole.trimmed || deleted_meanwhile(reader))) continue;
        if (err == LQI_HOLE) {
            reader->damaged = true;
            return LQ_ECORRUPT;
        }
        if (err) return err;
        lqi_payload_open(&reader->payload, scan->payload, scan->payload_size, scan->record.count, scan->record.flags);
        reader->payload_id = scan->record.first_id;
        if (wanted > reader->payload_id)
            lqi_payload_skip_to(&reader->payload, (uint32_t)lqi_min64(wanted - reader->payload_id, scan->record.count));
        if (reader->payload.index < reader->payload.count) return LQ_OK;
    }
}

/* A read-only handle's view may be out of date: another process may have opened the queue, or closed it. */
static int refresh_and_retry(lq_reader *reader)
{
    if (!lqi_view_read_only(&reader->view)) return LQ_EMPTY;
    int err = lqi_view_refresh(&reader->view);
    return err ? err : next_record(reader);
}

/* The first thing that is said of a queue without its `meta`. */
static int tell_meta(lq_reader *reader)
{
    struct lqi_hole *hole = &reader->scan.hole;

    *hole = (struct lqi_hole){.file = LQI_META_NAME};
    snprintf(hole->text, sizeof hole->text, "%.190s", reader->view.queue->meta_damage);
    reader->meta_told = reader->damaged = true;
    return lqi_fail(LQ_ECORRUPT, "%s", reader->view.queue->meta_damage);
}

int lq_reader_next(lq_reader *reader, lq_message *message_out)
{
    lq_message message = {0};
    int err = check_reader(reader);
    if (err) return err;
    if (!message_out) return lqi_fail(LQ_EINVAL, "lq_reader_next: message_out is NULL");

    reader->damaged = false;
    if (reader->view.queue->meta_damage[0] && !reader->meta_told) return tell_meta(reader);
    if (!reader->payload_id || reader->payload.index == reader->payload.count) err = next_record(reader);
    if (err == LQ_EMPTY) err = refresh_and_retry(reader);
    if (err) return err;
    message.id = reader->payload_id + reader->payload.index;
    message.time_us = reader->scan.record.time_us;
    lqi_payload_next(&reader->payload, &message);
    *message_out = message;
    return LQ_OK;
}

int lq_reader_damage(lq_reader *reader, lq_finding *finding_out)
{
    int err = check_reader(reader);
    if (err) return err;
    if (!finding_out || !reader->damaged) return lqi_fail(LQ_EINVAL, "lq_reader_damage: the last call met no damage");
    const struct lqi_hole *hole = &reader->scan.hole;
    *finding_out = (lq_finding){.size = sizeof *finding_out, .code = LQ_ECORRUPT, .file = hole->file, .offset = hole->offset,
                                .first_id = hole->first_id, .count = hole->count, .text = hole->text};
    return LQ_OK;
}

/* ---- waiting ------------------------------------------------------------ */

static bool may_read(const lq_reader *reader)
{
    return (reader->payload_id && reader->payload.index < reader->payload.count) ||
           reader->scan.position < lqi_log_visible(&reader->view.log);
}

static void wait_read_only(lq_reader *reader, int64_t deadline)
{
    _Atomic uint32_t nobody = 0; /* a word that nobody rings: only the time counts */
    lqi_wait(&nobody, 0, lqi_min64(deadline, lqi_now_us() + RO_POLL_US));
    (void)lqi_view_refresh(&reader->view);
}

static void wait_for_bell(lq_reader *reader, int64_t deadline)
{
    struct lqi_bell *arrived = &reader->view.log.state->arrived;
    uint32_t seen = lqi_bell_listen(arrived);
    if (!may_read(reader)) lqi_wait(&arrived->word, seen, lqi_min64(deadline, lqi_now_us() + 50000));
}

int lq_reader_wait(lq_reader *reader, int64_t timeout_ms)
{
    int err = check_reader(reader);
    int64_t deadline = lqi_deadline(timeout_ms);

    while (!err && !may_read(reader)) {
        if (lqi_now_us() >= deadline) return LQ_TIMEOUT;
        if (lqi_view_read_only(&reader->view)) wait_read_only(reader, deadline);
        else wait_for_bell(reader, deadline);
        err = check_reader(reader);
    }
    return err;
}

/* ---- the queue's numbers ------------------------------------------------- */

/* A public struct of the size the caller was compiled with. */
static int give(void *theirs, const void *ours, size_t size, const char *what)
{
    size_t asked;
    memcpy(&asked, theirs, sizeof asked);
    if (asked < sizeof asked || asked > 65536) return lqi_fail(LQ_EINVAL, "%s: set `size` to sizeof before the call", what);
    if (asked > size) memset((char *)theirs + size, 0, asked - size);
    memcpy(theirs, ours, asked < size ? asked : size);
    memcpy(theirs, &asked, sizeof asked);
    return LQ_OK;
}

static void stats_of_options(const lq_queue *queue, lq_stats *stats)
{
    const lq_options *options = &queue->meta.options;
    stats->sync = options->sync;
    stats->retention = options->retention;
    stats->full = options->full;
    stats->compression = options->compression;
    stats->sync_interval_ms = options->sync_interval_ms;
    stats->format = LQI_META_VERSION;
    stats->size_max = options->size_max;
    stats->segment_size = options->segment_size;
    stats->ring_size = options->ring_size;
    stats->message_size_max = options->message_size_max;
    stats->age_max_ms = options->age_max_ms;
}

/* The tail without its lock: a copy is good if no append has turned it meanwhile. */
static struct lqi_tail peek_tail(const struct lqi_log_state *state)
{
    struct lqi_tail tail;
    uint64_t turn;
    do {
        turn = atomic_load_explicit(&state->turn, memory_order_acquire);
        lqi_tail_copy(&tail, &state->tails[turn & 1]);
        atomic_thread_fence(memory_order_acquire);
    } while (atomic_load_explicit(&state->turn, memory_order_relaxed) != turn); /* an append has come by: each costs one more copy */
    return tail;
}

static void stats_of_memory(const struct lqi_view *view, lq_stats *stats)
{
    const lq_queue *queue = view->queue;
    const struct lqi_shared *head = view->log.shared;
    const struct lqi_log_state *state = &head->log;

    /* What goes behind is read first, so that it is behind in the answer, too, whatever others put meanwhile. */
    uint64_t synced_id = atomic_load(&state->synced_id);
    stats->first_id = atomic_load(&state->first_id);
    stats->synced = atomic_load(&state->synced);
    stats->written = atomic_load(&state->written);
    struct lqi_tail tail = peek_tail(state);
    stats->last_id = tail.next_id - 1;
    stats->visible_id = queue->meta.options.sync == LQ_SYNC_ALWAYS ? synced_id : stats->last_id;
    stats->appended = tail.end;
    stats->bytes = tail.end - lqi_min64(tail.end, atomic_load(&state->first_position));
    stats->recovered_bytes = atomic_load(&head->recovered_bytes);
    stats->recovered_messages = atomic_load(&head->recovered_messages);
    stats->damage = atomic_load(&head->damage);
    stats->poisoned = atomic_load(&head->poisoned) != 0;
    stats->last_time_us = tail.time_us;
    for (size_t i = 0; i < LQI_HANDLES_MAX; i++) {
        bool locked = (uint32_t)i == queue->handle && !lqi_view_read_only(view);
        if ((atomic_load(&head->handles[i].generation) & 1) && !locked)
            queue->io->locked(queue->io, queue->meta_file.fd, LQI_BYTE_HANDLE + i, 1, &locked);
        stats->handles += locked;
    }
    stats->live = stats->handles > 0;
}

static void stats_of_files(const struct lqi_view *view, lq_stats *stats)
{
    const struct lqi_found *found = &view->files;
    stats->first_id = found->first_id;
    stats->last_id = stats->visible_id = found->next_id - 1;
    stats->appended = stats->written = stats->synced = found->end;
    stats->bytes = found->end - lqi_min64(found->end, found->first_position);
    stats->damage = found->damage;
    stats->last_time_us = found->time_us;
}

/* Of the oldest message that can be read. */
static int first_time(const struct lqi_log *log, int64_t *time_us_out)
{
    struct lqi_scan scan;
    lqi_scan_init(&scan, log, 4096);
    scan.heads_only = true;
    int err = lqi_scan_seek_id(&scan, 1);
    if (!err) {
        do err = lqi_scan_next(&scan, lqi_log_visible(log));
        while (err == LQI_HOLE);
    }
    if (!err) *time_us_out = scan.record.time_us;
    lqi_scan_release(&scan);
    return err == LQ_EMPTY ? LQ_OK : err;
}

static int count_segments(lq_queue *queue, uint64_t *count_out)
{
    uint64_t *ids;
    size_t count;
    int err = lqi_segment_list(queue->io, queue->log.log_dir, &ids, &count, NULL);
    if (err) return err;
    free(ids);
    *count_out = count;
    return LQ_OK;
}

static int count_consumers(lq_queue *queue, uint64_t *count_out)
{
    char (*names)[LQ_NAME_MAX + 1];
    size_t count;
    int err = lqi_position_list(queue->io, queue->consumers_dir, &names, &count);
    if (err) return err;
    free(names);
    *count_out = count;
    return LQ_OK;
}

static int fill_stats(const struct lqi_view *view, lq_stats *stats)
{
    int err = count_segments(view->queue, &stats->segments);
    if (!err) err = count_consumers(view->queue, &stats->consumers);
    if (err) return err;
    stats_of_options(view->queue, stats);
    if (view->log.shared) stats_of_memory(view, stats);
    else stats_of_files(view, stats);
    if (view->queue->meta_damage[0]) stats->damage++; /* and the options are but the defaults */
    if (stats->first_id <= stats->visible_id) return first_time(&view->log, &stats->first_time_us);
    stats->last_time_us = 0;
    return LQ_OK;
}

int lq_get_stats(lq_queue *queue, lq_stats *stats_out)
{
    lq_stats stats = {.size = sizeof stats};
    struct lqi_view view;
    int err = lqi_queue_check(queue, false);
    if (err) return err;
    if (!stats_out) return lqi_fail(LQ_EINVAL, "lq_get_stats: stats_out is NULL");
    err = lqi_view_open(&view, queue);
    if (err) return err;
    err = fill_stats(&view, &stats);
    lqi_view_close(&view);
    return err ? err : give(stats_out, &stats, sizeof stats, "lq_stats");
}

/* ---- consumers ---------------------------------------------------------- */

static void consumer_from_memory(const struct lqi_log *log, const struct lqi_consumer_slot *slot, lq_consumer_stats *stats)
{
    uint64_t visible_id = log->options.sync == LQ_SYNC_ALWAYS ? atomic_load(&log->state->synced_id)
                                                             : peek_tail(log->state).next_id - 1;
    /* What is deleted it learns, and counts, when it comes by; in this order, so that nothing is counted twice. */
    uint64_t dropped = atomic_load(&slot->dropped), delivered = lqi_delivered(slot);
    uint64_t deleted = atomic_load(&log->state->first_id) - 1, known = lqi_max64(delivered, deleted);

    stats->floor = lqi_floor(slot);
    stats->delivered = delivered;
    stats->unacked = atomic_load(&slot->unacked);
    stats->dropped = dropped + (known - delivered);
    stats->ready = lqi_min64(atomic_load(&slot->returned), known - deleted) + (visible_id > known ? visible_id - known : 0);
    stats->members = slot->member_count;
    stats->window = slot->window;
    stats->saved_time_us = slot->saved_us;
}

static int consumer_from_file(const struct lqi_view *view, const char *name, lq_consumer_stats *stats)
{
    const lq_queue *queue = view->queue;
    const struct lqi_log_state *state = view->log.state;
    uint64_t last_id = (state ? peek_tail(state).next_id : view->files.next_id) - 1;
    struct lqi_position position;
    struct lqi_standing standing;

    int err = lqi_position_open(&position, queue->io, queue->consumers_dir, name, queue->meta.uuid, false);
    if (err) return err;
    err = lqi_consumers_standing(&position, state ? atomic_load(&state->first_id) : view->files.first_id, last_id, &standing);
    if (!err) {
        stats->floor = standing.floor;
        stats->delivered = standing.delivered;
        stats->dropped = standing.dropped;
        stats->ready = standing.returned + (last_id - standing.delivered);
        stats->window = position.window;
        stats->saved_time_us = position.newest.time_us;
    }
    lqi_position_close(&position);
    return err;
}

static void begin_stats(lq_consumer_stats *stats, const char *name)
{
    *stats = (lq_consumer_stats){.size = sizeof *stats};
    snprintf(stats->name, sizeof stats->name, "%s", name);
}

static int consumer_stats(const struct lqi_view *view, const char *name, lq_consumer_stats *stats)
{
    const struct lqi_consumer_slot *slot = view->log.shared ? lqi_consumers_find(view->log.shared, name) : NULL;

    begin_stats(stats, name);
    if (slot && atomic_load(&slot->state) == LQI_CONSUMER_USED && !lqi_consumer_is_gone(&view->log, slot)) {
        consumer_from_memory(&view->log, slot, stats);
        /* It may have been deleted meanwhile, and its place be another's: then the numbers are, too. */
        if (lqi_consumers_find(view->log.shared, name) == slot) return LQ_OK;
        begin_stats(stats, name);
    }
    return consumer_from_file(view, name, stats);
}

int lq_get_consumer_stats(lq_queue *queue, const char *name, lq_consumer_stats *stats_out)
{
    lq_consumer_stats stats;
    struct lqi_view view;
    int err = lqi_queue_check(queue, false);
    if (!err) err = lqi_name_check(name);
    if (err) return err;
    if (!stats_out) return lqi_fail(LQ_EINVAL, "lq_get_consumer_stats: stats_out is NULL");
    err = lqi_view_open(&view, queue);
    if (err) return err;
    err = consumer_stats(&view, name, &stats);
    lqi_view_close(&view);
    return err ? err : give(stats_out, &stats, sizeof stats, "lq_consumer_stats");
}

static int tell_consumers(const struct lqi_view *view, lq_consumer_callback *each, void *context)
{
    char (*names)[LQ_NAME_MAX + 1];
    size_t count;
    int stopped = 0;
    int err = lqi_position_list(view->queue->io, view->queue->consumers_dir, &names, &count);
    if (err) return err;

    for (size_t i = 0; i < count && !stopped; i++) {
        lq_consumer_stats stats;
        int code = consumer_stats(view, names[i], &stats);
        if (code != LQ_ENOTFOUND) stopped = each(context, code, &stats); /* else it was deleted meanwhile */
    }
    free(names);
    return stopped;
}

int lq_each_consumer(lq_queue *queue, lq_consumer_callback *each, void *context)
{
    struct lqi_view view;
    int err = lqi_queue_check(queue, false);
    if (err) return err;
    if (!each) return lqi_fail(LQ_EINVAL, "lq_each_consumer: the callback is NULL");
    err = lqi_view_open(&view, queue);
    if (err) return err;
    err = tell_consumers(&view, each, context);
    lqi_view_close(&view);
    return err;
}

/* ---- segments ----------------------------------------------------------- */

/* What the index and the next segment do not tell of one that is still written: read its records' headers. */
static void walk_open_segment(const struct lqi_log *log, const struct lqi_segment *segment, lq_segment *out)
{
    uint64_t room = (segment->file_size - LQI_SEGMENT_HEADER) & ~(uint64_t)7, limit = lqi_log_visible(log);
    struct lqi_scan scan;

    if (!log->state) limit = lqi_min64(limit, segment->head.position + room); /* else the file may have got its end meanwhile */
    uint64_t end = limit;

    lqi_scan_init(&scan, log, LQI_SCAN_BLOCK);
    scan.heads_only = true;
    lqi_scan_start(&scan, segment->head.position, segment->head.first_id);
    for (;;) {
        int err = lqi_scan_next(&scan, limit);
        if (err == LQI_HOLE) continue;
        if (err < 0) out->code = err;
        if (err) break;
        if (scan.salt != segment->head.salt) { /* the next segment's: this one has been left since it was opened */
            end = scan.record.position;
            break;
        }
        if (!out->first_time_us) out->first_time_us = scan.record.time_us;
        out->last_time_us = scan.record.time_us;
        out->last_id = scan.next_id - 1;
    }
    out->bytes = lqi_max64(end, segment->head.position) - segment->head.position;
    lqi_scan_release(&scan);
}

static void describe_segment(const struct lqi_log *log, uint64_t first_id, lq_segment *out)
{
    struct lqi_segment segment;

    out->code = lqi_segment_open(&segment, log->io, log->log_dir, first_id, log->uuid, false);
    if (out->code) return;
    out->position = segment.head.position;
    out->file_bytes = segment.file_size;
    out->sealed = segment.sealed;
    if (segment.sealed) {
        out->last_id = segment.end.next_id - 1;
        out->bytes = segment.end.end - segment.head.position;
        out->first_time_us = segment.end.first_time_us;
        out->last_time_us = segment.end.last_time_us;
    } else {
        walk_open_segment(log, &segment, out);
    }
    lqi_segment_close(&segment);
}

static int tell_segments(const struct lqi_log *log, lq_segment_callback *each, void *context)
{
    uint64_t *ids;
    size_t count;
    int stopped = 0;
    int err = lqi_segment_list(log->io, log->log_dir, &ids, &count, NULL);
    if (err) return err;

    for (size_t i = 0; i < count && !stopped; i++) {
        char name[LQI_SEGMENT_NAME_SIZE], shown[LQI_SEGMENT_NAME_SIZE + 4];
        lqi_segment_name(name, ids[i]);
        snprintf(shown, sizeof shown, "log/%s", name);
        lq_segment segment = {.size = sizeof segment, .file = shown, .first_id = ids[i], .last_id = ids[i] - 1};
        describe_segment(log, ids[i], &segment);
        if (segment.code != LQ_ENOTFOUND) stopped = each(context, &segment); /* else it was deleted meanwhile */
    }
    free(ids);
    return stopped;
}

int lq_each_segment(lq_queue *queue, lq_segment_callback *each, void *context)
{
    struct lqi_view view;
    int err = lqi_queue_check(queue, false);
    if (err) return err;
    if (!each) return lqi_fail(LQ_EINVAL, "lq_each_segment: the callback is NULL");
    err = lqi_view_open(&view, queue);
    if (err) return err;
    err = tell_segments(&view.log, each, context);
    lqi_view_close(&view);
    return err;
}
