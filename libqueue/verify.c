/* lq_verify: every byte that means something is read and checked, none is changed.
 * Works on a queue in use: what is looked at may move meanwhile, so a finding in what is still being written is looked at twice. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bytes.h"
#include "queue.h"
#include "view.h"

/* 0, or why there is no such directory. */
static int open_part(const struct lqi_io *io, int parent, const char *name)
{
    int dir = -1, error = io->dir_open(io, parent, name, &dir);
    io->close(io, dir);
    return error;
}

struct verify {
    struct lqi_view view;
    unsigned flags;
    lq_finding_callback *each;
    void *context;
    lq_verify_result result;
    uint64_t last_segment; /* by its first id */
    uint64_t *unreadable;  /* segments, by their first ids; 0: told by the walk */
    size_t unreadable_count;
};

static void find_lost(struct verify *verify, int code, const char *file, uint64_t offset, uint64_t first_id, uint64_t count,
                      const char *text)
{
    lq_finding finding = {.size = sizeof finding, .code = code, .file = file, .offset = offset, .first_id = first_id, .count = count, .text = text};
    verify->result.findings++;
    verify->result.lost += count;
    if (verify->each) verify->each(verify->context, &finding);
}

/* One that costs no message. */
static void find(struct verify *verify, int code, const char *file, uint64_t offset, const char *text)
{
    find_lost(verify, code, file, offset, 0, 0, text);
}

/* What keeps a file from being read, with the byte that the text names: "FILE at byte N: ..." */
static void find_whole(struct verify *verify, int code, const char *file, const char *text)
{
    const char *byte = strstr(text, " at byte ");
    find(verify, code, file, byte ? strtoull(byte + strlen(" at byte "), NULL, 10) : 0, text);
}

/* ---- meta --------------------------------------------------------------- */

struct noted {
    struct verify *verify; /* NULL: nobody is told */
    const char *file;
    bool any;
};

static void find_at(void *context, uint64_t offset, const char *text)
{
    struct noted *noted = context;
    noted->any = true;
    if (noted->verify) find(noted->verify, LQ_ECORRUPT, noted->file, offset, text);
}

static int verify_meta(struct verify *verify)
{
    const lq_queue *queue = verify->view.queue;
    struct noted noted = {.file = LQI_META_NAME};

    if (queue->meta_damage[0]) {
        find_whole(verify, LQ_ECORRUPT, LQI_META_NAME, queue->meta_damage);
        return LQ_OK;
    }
    /* A trim slot may be half-written while the queue is in use. */
    for (int tries = 0;; tries++) {
        uint8_t bytes[LQI_META_SIZE] = {0};
        uint64_t size;
        size_t got;
        int err = lqi_file_read(&queue->meta_file, 0, bytes, sizeof bytes, &got);
        if (!err) err = lqi_file_size(&queue->meta_file, &size);
        if (err) return err;
        noted.verify = tries == LQI_LOOKS_AGAIN ? verify : NULL;
        if (!lqi_meta_check(bytes, size, find_at, &noted) || noted.verify) return LQ_OK;
        lqi_view_pause();
    }
}

/* Between populations nothing in it counts; but if it is no file at all, nobody can open the queue, and if its numbers
 * make no sense, what dead processes have left in it cannot be had. */
static int verify_shared(struct verify *verify)
{
    const lq_queue *queue = verify->view.queue;
    struct lqi_shared_map map;
    int err = lqi_shared_attach(&map, queue->io, queue->dir, queue->meta.uuid, false);

    lqi_shared_detach(&map);
    if (err == LQ_ENOTQUEUE || err == LQ_ECORRUPT) find(verify, LQ_ECORRUPT, LQI_SHARED_NAME, 0, lq_error_text());
    return LQ_OK;
}

/* ---- segments ----------------------------------------------------------- */

#define SHOWN_SIZE (LQI_SEGMENT_NAME_SIZE + 4)

/* The name as findings have it, with its directory. */
static void show_segment(char shown[SHOWN_SIZE], uint64_t first_id)
{
    memcpy(shown, "log/", 4);
    lqi_segment_name(shown + 4, first_id);
}

static bool cannot_be_read(int err)
{
    return err == LQ_ECORRUPT || err == LQ_EVERSION || err == LQ_EIO;
}

/* What is around the records of one that is open. */
static void verify_open_segment(struct verify *verify, const struct lqi_segment *segment, const char *shown)
{
    struct lqi_index_entry entry;
    bool index_damaged;

    if (segment->damaged_copy >= 0)
        find(verify, LQ_ECORRUPT, shown, (uint64_t)segment->damaged_copy, "one of the two copies of the header does not verify");
    if (!segment->sealed && segment->head.first_id != verify->last_segment)
        find(verify, LQ_ECORRUPT, shown, segment->trailer_at, "the trailer is missing or does not verify");
    int err = lqi_segment_find_id(segment, segment->head.first_id, &entry, &index_damaged);
    if (err) find_whole(verify, err, shown, lq_error_text());
    else if (index_damaged)
        find(verify, LQ_ECORRUPT, shown, lqi_segment_offset(&segment->head, segment->end.end), "the index does not verify");
}

/* False: it cannot be read, and nobody has been told. */
static bool verify_segment(struct verify *verify, uint64_t first_id, uint64_t *end)
{
    const struct lqi_log *log = &verify->view.log;
    char shown[SHOWN_SIZE];
    struct lqi_segment segment;

    show_segment(shown, first_id);
    int err = lqi_segment_open(&segment, log->io, log->log_dir, first_id, log->uuid, false);
    if (err == LQ_ENOTFOUND) return true; /* deleted meanwhile */
    verify->result.segments++;
    if (cannot_be_read(err)) return false; /* the walk tells it, with what is lost */
    if (err) {
        find(verify, err, shown, 0, lq_error_text());
        return true;
    }
    verify_open_segment(verify, &segment, shown);
    if (segment.head.position < *end)
        find(verify, LQ_ECORRUPT, shown, 48, "it begins before the segment before it ends");
    *end = segment.sealed ? segment.end.end : segment.head.position;
    lqi_segment_close(&segment);
    return true;
}

/* Those where the walk met no hole: at the very end, behind one that it told of, or in the middle of a good one. */
static void find_unreadable(struct verify *verify)
{
    const struct lqi_log *log = &verify->view.log;
    char shown[SHOWN_SIZE];
    struct lqi_segment segment;

    for (size_t i = 0; i < verify->unreadable_count; i++) {
        if (!verify->unreadable[i]) continue; /* told; a file may be called so */
        show_segment(shown, verify->unreadable[i]);
        int err = lqi_segment_open(&segment, log->io, log->log_dir, verify->unreadable[i], log->uuid, false);
        if (!err) verify_open_segment(verify, &segment, shown); /* it can, now */
        if (!err) lqi_segment_close(&segment);
        if (cannot_be_read(err)) find_whole(verify, err, shown, lq_error_text());
    }
}

/* A hole that is in the file, not all of it, says nothing of what is around its records. */
static void note_told(struct verify *verify, const struct lqi_hole *hole)
{
    char shown[SHOWN_SIZE];

    if (hole->offset) return;
    for (size_t i = 0; i < verify->unreadable_count; i++) {
        show_segment(shown, verify->unreadable[i]);
        if (strcmp(hole->file, shown) == 0) verify->unreadable[i] = 0;
    }
}

static int list_foreign(void *context, const char *name)
{
    struct verify *verify = context;
    char shown[300];

    if (lqi_segment_is_name(name)) return 0;
    snprintf(shown, sizeof shown, "log/%s", name);
    find(verify, LQ_ECORRUPT, shown, 0, "this file is not the queue's");
    return 0;
}

static int verify_segments(struct verify *verify)
{
    const struct lqi_log *log = &verify->view.log;
    uint64_t *ids;
    size_t count;
    int error = log->io->dir_list(log->io, log->log_dir, list_foreign, verify);
    if (error) return lqi_fail_errno(error, "list", "log", -1);
    int err = lqi_segment_list(log->io, log->log_dir, &ids, &count, NULL);
    if (err) return err;
    size_t unreadable = 0;
    uint64_t end = 0; /* of those so far */
    verify->last_segment = count ? ids[count - 1] : 0;
    for (size_t i = 0; i < count; i++)
        if (!verify_segment(verify, ids[i], &end)) ids[unreadable++] = ids[i];
    verify->unreadable = ids;
    verify->unreadable_count = unreadable;
    return LQ_OK;
}

/* ---- records ------------------------------------------------------------ */

static void find_torn_tail(struct verify *verify)
{
    const struct lqi_found *files = &verify->view.files;
    char shown[SHOWN_SIZE], text[120];

    if (verify->view.log.shared || !files->torn_bytes) return;
    show_segment(shown, files->last.first_id);
    snprintf(text, sizeof text, "a torn tail of %" PRIu64 " bytes, never promised to anybody: the next opener cuts it", files->torn_bytes);
    find(verify, LQ_ECORRUPT, shown, lqi_segment_offset(&files->last, files->end), text);
}

/* Where a place of the number line was read. */
static const char *file_of(const struct lqi_scan *scan, uint64_t position, uint64_t *offset_out)
{
    *offset_out = LQI_SHARED_HEAD + (position & (scan->log->ring.size - 1));
    if (scan->from_ring) return LQI_SHARED_NAME;
    *offset_out = lqi_segment_offset(&scan->segment.head, position);
    return scan->segment.file.name;
}

static void verify_padding(struct verify *verify, const struct lqi_scan *scan)
{
    const struct lqi_record *record = &scan->record;
    uint64_t offset;

    if (!scan->padding_damaged) return;
    const char *file = file_of(scan, record->position + LQI_RECORD_HEADER + record->size, &offset);
    find(verify, LQ_ECORRUPT, file, offset, "the bytes behind a record are not zero");
}

/* Does the record claim ids that another one has had? */
static bool messages_again(struct verify *verify, const struct lqi_scan *scan, uint64_t next_id)
{
    const struct lqi_record *record = &scan->record;
    uint64_t offset;

    if (record->first_id >= next_id) return false;
    const char *file = file_of(scan, record->position, &offset);
    find(verify, LQ_ECORRUPT, file, offset, "this record's first ids are those of messages before it");
    return true;
}

/* The id that was next when somebody last wrote down how far the log went. Asked before the log is looked at: what is put
 * meanwhile is not lost. */
static int remembered_next_id(const struct verify *verify, uint64_t *next_id_out)
{
    const lq_queue *queue = verify->view.queue;
    struct lqi_position_entry witness = {0};
    struct lqi_trim trim;

    int err = lqi_trim_load(&queue->meta_file, queue->meta.uuid, &trim);
    if (!err || err == LQ_ECORRUPT) err = lqi_consumers_promise(queue->io, queue->consumers_dir, queue->meta.uuid, &witness);
    if (!err) *next_id_out = lqi_max64(trim.next_id, witness.durable_id + 1);
    return err;
}

/* A bad place to the end of the log, behind which no record tells how many messages were in it. */
static void count_to_the_end(struct lqi_hole *hole, const struct lqi_scan *scan, uint64_t next_id)
{
    if (hole->count || next_id <= scan->next_id) return;
    hole->first_id = scan->next_id;
    hole->count = next_id - scan->next_id;
}

static int verify_records(struct verify *verify)
{
    uint64_t next_id, limit, start;
    struct lqi_scan scan;

    int err = remembered_next_id(verify, &next_id);
    if (err) return err;
    limit = lqi_log_visible(&verify->view.log);

    lqi_scan_init(&scan, &verify->view.log, LQI_SCAN_BLOCK);
    scan.heads_only = verify->flags & LQ_VERIFY_QUICK;
    scan.files_first = true; /* readers are given good bytes from the ring; but it is gone when the last process is */
    err = lqi_scan_seek_id(&scan, 1);
    start = scan.position;
    while (!err) {
        uint64_t expected = scan.next_id;
        err = lqi_scan_next(&scan, limit);
        if (err == LQI_HOLE) {
            struct lqi_hole *hole = &scan.hole;
            if (scan.position >= limit) count_to_the_end(hole, &scan, next_id);
            if (!hole->trimmed) note_told(verify, hole);
            if (!hole->trimmed) find_lost(verify, hole->code, hole->file, hole->offset, hole->first_id, hole->count, hole->text);
            err = LQ_OK;
        } else if (!err) {
            verify->result.messages += scan.record.count;
            verify_padding(verify, &scan);
            if (messages_again(verify, &scan, expected)) verify->result.messages -= expected - scan.record.first_id;
        }
    }
    verify->result.bytes = scan.position > start ? scan.position - start : 0;
    lqi_scan_release(&scan);
    if (err == LQ_EMPTY) find_unreadable(verify);
    if (err == LQ_EMPTY) find_torn_tail(verify);
    return err == LQ_EMPTY ? LQ_OK : err;
}

/* ---- offset files ------------------------------------------------------- */

static int look_at_position(const lq_queue *queue, const char *name, struct noted *noted)
{
    struct lqi_position position;
    int err = lqi_position_open(&position, queue->io, queue->consumers_dir, name, queue->meta.uuid, false);
    if (err) return err;
    err = lqi_position_check(&position, find_at, noted);
    lqi_position_close(&position);
    return err;
}

static void verify_consumer(struct verify *verify, const char *name)
{
    char shown[LQ_NAME_MAX + 20];
    struct noted noted = {.file = shown};
    int err;

    snprintf(shown, sizeof shown, "consumers/%s.pos", name);
    /* It is written in place while the queue is in use. */
    for (int tries = 0;; tries++) {
        noted.verify = tries == LQI_LOOKS_AGAIN ? verify : NULL;
        noted.any = false;
        err = look_at_position(verify->view.queue, name, &noted);
        if (err == LQ_ENOTFOUND) return; /* deleted meanwhile */
        if (noted.verify || (!err && !noted.any)) break;
        lqi_view_pause();
    }
    verify->result.consumers++;
    if (err) find_whole(verify, err, shown, lq_error_text());
}

static int list_foreign_position(void *context, const char *name)
{
    char shown[300];

    if (lqi_position_is_name(name)) return 0;
    snprintf(shown, sizeof shown, "consumers/%s", name);
    find(context, LQ_ECORRUPT, shown, 0, "this file is not the queue's");
    return 0;
}

static int verify_consumers(struct verify *verify)
{
    const lq_queue *queue = verify->view.queue;
    char (*names)[LQ_NAME_MAX + 1];
    size_t count;
    if (queue->consumers_dir < 0) {
        find(verify, LQ_ECORRUPT, "consumers", 0,
             open_part(queue->io, queue->dir, "consumers") == ENOENT ? "the directory is missing, and with it all positions"
                                                                     : "this is no directory, or a link: no position can be read");
        return LQ_OK;
    }
    int error = queue->io->dir_list(queue->io, queue->consumers_dir, list_foreign_position, verify);
    if (error) return lqi_fail_errno(error, "list", "consumers", -1);
    int err = lqi_position_list(queue->io, queue->consumers_dir, &names, &count);
    if (err) return err;
    for (size_t i = 0; i < count; i++) verify_consumer(verify, names[i]);
    free(names);
    return LQ_OK;
}

/* ---- the verb ----------------------------------------------------------- */

static int verify_queue(struct verify *verify, lq_queue *queue)
{
    queue->log.over_unreadable = true; /* the view's is a copy */
    int err = lqi_view_open(&verify->view, queue);
    for (int tries = 0; !err && verify->view.files.unreadable && tries < LQI_LOOKS_AGAIN; tries++) {
        lqi_view_pause();
        err = lqi_view_refresh(&verify->view);
    }
    if (!err) err = verify_meta(verify);
    if (!err) err = verify_shared(verify);
    if (!err) err = verify_segments(verify);
    if (!err) err = verify_records(verify);
    if (!err) err = verify_consumers(verify);
    free(verify->unreadable);
    lqi_view_close(&verify->view);
    return err;
}

/* What keeps the queue from being opened at all: its log cannot be had as a whole, or meta is beyond reading. */
static const char *what_keeps_shut(const struct lqi_io *io, const char *path)
{
    int dir = -1;
    int error = io->dir_open(io, -1, path, &dir);
    if (!error) error = open_part(io, dir, "log");
    io->close(io, dir);
    return error ? "log" : LQI_META_NAME;
}

int lqi_verify_io(const struct lqi_io *io, const char *path, unsigned flags, lq_finding_callback *each, void *context,
                  lq_verify_result *result_out)
{
    lq_options options = {.size = sizeof options, .flags = LQ_READ_ONLY};
    struct verify verify = {.flags = flags, .each = each, .context = context};
    lq_queue *queue;

    if (flags & ~(unsigned)LQ_VERIFY_QUICK) return lqi_fail(LQ_EINVAL, "lq_verify: flags 0x%x mean nothing", flags);
    if (result_out && result_out->size < sizeof verify.result.size)
        return lqi_fail(LQ_EINVAL, "lq_verify: set `size` of the result before the call");
    int err = lqi_open_io(io, path, &options, &queue);
    if (err == LQ_ECORRUPT) {
        find_whole(&verify, err, what_keeps_shut(io, path), lq_error_text());
    } else if (err) {
        return err;
    } else {
        err = verify_queue(&verify, queue);
        lq_close(queue);
    }
    if (err && err != LQ_ECORRUPT) return err;
    if (result_out) {
        size_t size = result_out->size;
        memcpy(result_out, &verify.result, size < sizeof verify.result ? size : sizeof verify.result);
        result_out->size = size;
    }
    if (!verify.result.findings) return LQ_OK;
    return lqi_fail(LQ_ECORRUPT, "%s: %" PRIu64 " damaged places, %" PRIu64 " messages lost", path, verify.result.findings, verify.result.lost);
}

int lq_verify(const char *path, unsigned flags, lq_finding_callback *each, void *context, lq_verify_result *result_out)
{
    return lqi_verify_io(&lqi_io_posix, path, flags, each, context, result_out);
}
