/* What is on disk after each step of a roll, if everything ends right there:
 *
 *   1 index and trailer written behind the last record   unsealed: its records are found by scanning
 *   2 file cut to its end                                sealed, or as 1
 *   3 file synced                                        sealed: complete, durable
 *   4 header written into the prepared file (N.new)      the log ends with a sealed segment;
 *   5 ... synced                                         N.new is swept away by recovery
 *   6 renamed to FIRSTID.seg                             an empty last segment, or as 5
 *   7 directory synced                                   an empty last segment
 *   8 write_span = N                                     only now does it get records
 *
 * Every step may be done again by the one who inherits the write lock. */
#include "writeout.h"

#include <errno.h>
#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>

#include "bytes.h"

/* ---- files of spans ----------------------------------------------------- */

static struct lqi_span *span_of(struct lqi_log *log, uint64_t number)
{
    return &log->state->spans[number & 1];
}

static uint64_t write_span(const struct lqi_log *log)
{
    return atomic_load_explicit(&log->state->write_span, memory_order_relaxed);
}

static uint64_t written(const struct lqi_log *log)
{
    return atomic_load_explicit(&log->state->written, memory_order_relaxed);
}

static int open_segment(const struct lqi_log *log, uint64_t first_id, struct lqi_file *file)
{
    char name[LQI_SEGMENT_NAME_SIZE], shown[LQI_SEGMENT_NAME_SIZE + 4];

    lqi_segment_name(name, first_id);
    snprintf(shown, sizeof shown, "log/%s", name);
    return lqi_file_open(file, log->io, log->log_dir, name, shown, LQI_OPEN_WRITE, 0);
}

/* Where the span being written ends, if the next one has begun. */
static uint64_t span_end(struct lqi_log *log, uint64_t number)
{
    uint64_t newest = atomic_load_explicit(&log->state->append_span, memory_order_acquire);
    return newest > number ? atomic_load(&span_of(log, number + 1)->position) : UINT64_MAX;
}

/* What is in the span's file and not known to be on the disk: from the ring or, as far as that was lapped, from the file. */
static int write_again(struct lqi_log *log, const struct lqi_file *file, uint64_t number)
{
    uint8_t bytes[16384];
    const struct lqi_segment_head head = {.position = span_of(log, number)->position};
    uint64_t at = lqi_max64(atomic_load(&log->state->synced), head.position);
    uint64_t end = lqi_min64(written(log), span_end(log, number));
    int err = LQ_OK;

    for (size_t got; at < end && !err; at += got) {
        got = lqi_min64(sizeof bytes, end - at);
        uint64_t offset = lqi_segment_offset(&head, at);
        if (!lqi_ring_copy(&log->ring, at, bytes, got)) err = lqi_file_read(file, offset, bytes, got, &got);
        if (!err && !got) err = lqi_fail(LQ_EIO, "%s at byte %" PRIu64 ": the file was cut", file->name, offset);
        if (!err) err = lqi_file_write(file, offset, bytes, got);
    }
    return err;
}

/* A failed fdatasync is told to every descriptor that was open then, to one opened later only if nobody was told before; and
 * the pages count as clean. So with a descriptor of our own we hear of any failure, but of those before it was opened, if the one
 * who was told has died, or has not come to say so yet. Then what he may have failed to sync is written again: the
 * pages are dirty once more, and our sync tries them. Where a write has failed, that is not enough on ext4 (publish.h), but other files
 * can take the place of these only when nobody has them open. The questions are asked after the opening: between them
 * no failure gets lost. */
static int open_for_sync(struct lqi_log *log, struct lqi_span_file *kept, uint64_t number)
{
    int err = open_segment(log, span_of(log, number)->first_id, &kept->file);
    if (err) return err;
    if (atomic_load(&log->state->lead_in_doubt) || atomic_load(&log->state->roll_in_doubt))
        err = write_again(log, &kept->file, number);
    if (err) lqi_file_close(&kept->file);
    return err;
}

/* Holds the write lock. */
static int file_of_span(struct lqi_log *log, struct lqi_span_file *kept, uint64_t number, struct lqi_file **file_out)
{
    if (kept->span != number) {
        lqi_file_close(&kept->file);
        kept->span = 0;
        int err = open_for_sync(log, kept, number);
        if (err) return err;
        kept->span = number;
    }
    *file_out = &kept->file;
    return LQ_OK;
}

int lqi_writing_file(struct lqi_log *log, struct lqi_file **file_out)
{
    return file_of_span(log, &log->writing, write_span(log), file_out);
}

int lqi_lock_write(struct lqi_log *log)
{
    int got = lqi_lock(&log->state->write, "write lock");
    if (got == LQI_INHERITED) lqi_lock_mend(&log->state->write);
    return got == LQI_INHERITED ? LQ_OK : got;
}

/* ---- failures that must not be believed away ---------------------------- */

void lqi_poison(struct lqi_log *log)
{
    atomic_store(&log->shared->poisoned, 1);
    lqi_bell_ring(&log->state->durable);
    lqi_bell_ring(&log->state->room);
}

static int poisoned_or_ok(struct lqi_log *log)
{
    if (!lqi_poisoned(log)) return LQ_OK;
    return lqi_fail(LQ_EPOISONED, "the queue is poisoned: a sync has failed; close all handles and open it again");
}

/* After a failed fdatasync the kernel may have dropped the pages and calls them clean: a second try would lie. `in_doubt` is
 * the flag that our lock guards; if we die before we have told, it stays up. */
static int sync_or_poison(struct lqi_log *log, const struct lqi_file *file, _Atomic uint32_t *in_doubt)
{
    atomic_store(in_doubt, 1);
    int err = lqi_file_sync(file);
    if (!err) {
        atomic_store(in_doubt, 0);
        return LQ_OK;
    }
    lqi_poison(log);
    return lqi_fail(LQ_EPOISONED, "%s; the queue is poisoned now", lq_error_text());
}

static void raise_to(_Atomic uint64_t *value, uint64_t to)
{
    uint64_t now = atomic_load_explicit(value, memory_order_relaxed);
    while (now < to && !atomic_compare_exchange_weak_explicit(value, &now, to, memory_order_release,
                                                             memory_order_relaxed)) {}
}

/* ---- preparing ---------------------------------------------------------- */

static void prepared_name(char name[LQI_SEGMENT_NAME_SIZE], char shown[LQI_SEGMENT_NAME_SIZE + 4], uint64_t span)
{
    snprintf(name, LQI_SEGMENT_NAME_SIZE, "%" PRIu64 ".new", span);
    snprintf(shown, LQI_SEGMENT_NAME_SIZE + 4, "log/%s", name);
}

int lqi_prepare_locked(struct lqi_log *log, uint64_t span, uint64_t capacity)
{
    char name[LQI_SEGMENT_NAME_SIZE], shown[LQI_SEGMENT_NAME_SIZE + 4];
    struct lqi_file file = LQI_FILE_NONE;
    bool standard = capacity == lqi_segment_capacity(&log->options);

    if (standard && atomic_load_explicit(&log->state->prepared, memory_order_relaxed) == span) return LQ_OK;
    prepared_name(name, shown, span);
    atomic_store_explicit(&log->state->prepared, 0, memory_order_relaxed);
    log->io->unlink(log->io, log->log_dir, name); /* left by a death, or of another size */
    int err = lqi_file_open(&file, log->io, log->log_dir, name, shown, LQI_OPEN_NEW, log->options.mode);
    if (!err) err = lqi_file_allocate(&file, lqi_segment_file_size(&log->options, capacity));
    lqi_file_close(&file);
    if (err) log->io->unlink(log->io, log->log_dir, name); /* gives back what it had got */
    else atomic_store_explicit(&log->state->prepared, span, memory_order_release);
    return err;
}

int lqi_prepare(struct lqi_log *log, uint64_t span)
{
    int err = lqi_lock_write(log);
    if (err) return err;
    if (write_span(log) + 1 == span) err = lqi_prepare_locked(log, span, lqi_segment_capacity(&log->options));
    lqi_unlock(&log->state->write);
    return err;
}

int lqi_allocate(struct lqi_log *log)
{
    struct lqi_file *file;
    int err = lqi_lock_write(log);
    if (err) return err;
    struct lqi_span *span = span_of(log, write_span(log));
    if (!span->sealed && !atomic_load_explicit(&span->allocated, memory_order_relaxed)) {
        err = lqi_writing_file(log, &file);
        if (!err) err = lqi_file_allocate(file, lqi_segment_file_size(&log->options, span->limit - span->position));
        if (!err) atomic_store_explicit(&span->allocated, 1, memory_order_release);
    }
    lqi_unlock(&log->state->write);
    return err;
}

/* ---- rolling ------------------------------------------------------------ */

static int write_footer(const struct lqi_span *span, const struct lqi_file *file)
{
    struct lqi_segment_end end = span->end;
    uint64_t offset = LQI_SEGMENT_HEADER + (end.end - span->position);
    size_t size = (size_t)end.index_count * LQI_INDEX_ENTRY + LQI_SEGMENT_TRAILER;
    uint8_t *bytes = malloc(size);
    if (!bytes) return lqi_fail(LQ_ENOMEM, "no memory for the index of %s", file->name);

    lqi_segment_end_encode(bytes, span->index, &end);
    int err = lqi_file_write(file, offset, bytes, size);
    if (!err) err = lqi_file_truncate(file, offset + size);
    free(bytes);
    return err;
}

static int seal(struct lqi_log *log, uint64_t number)
{
    struct lqi_span *span = span_of(log, number);
    struct lqi_file *file;

    if (span->sealed) return LQ_OK;
    int err = poisoned_or_ok(log); /* a second sync would say what is not so */
    if (!err) err = file_of_span(log, &log->writing, number, &file);
    if (!err) err = write_footer(span, file);
    if (!err) err = sync_or_poison(log, file, &log->state->roll_in_doubt);
    if (err) return err;
    span->sealed = 1;
    raise_to(&log->state->synced_id, span->end.next_id - 1);
    raise_to(&log->state->synced, span->end.end);
    lqi_bell_ring(&log->state->durable);
    lqi_bell_ring(&log->state->arrived);
    return LQ_OK;
}

/* The segment with the header we are about to write is there already: somebody died behind the rename. */
static bool created_before(struct lqi_log *log, const struct lqi_segment_head *head)
{
    struct lqi_segment segment;
    bool same = false;

    if (lqi_segment_open(&segment, log->io, log->log_dir, head->first_id, log->uuid, false) == LQ_OK) {
        same = segment.head.salt == head->salt;
        lqi_segment_close(&segment);
    }
    return same;
}

static int write_header(struct lqi_log *log, uint64_t number, const struct lqi_segment_head *head)
{
    uint8_t bytes[LQI_SEGMENT_HEADER];
    char name[LQI_SEGMENT_NAME_SIZE], shown[LQI_SEGMENT_NAME_SIZE + 4], final[LQI_SEGMENT_NAME_SIZE];
    struct lqi_file file = LQI_FILE_NONE;

    prepared_name(name, shown, number);
    lqi_segment_name(final, head->first_id);
    lqi_segment_head_encode(bytes, head);
    int err = lqi_file_open(&file, log->io, log->log_dir, name, shown, LQI_OPEN_WRITE, 0);
    if (!err) err = lqi_file_write(&file, 0, bytes, sizeof bytes);
    if (!err) err = sync_or_poison(log, &file, &log->state->roll_in_doubt);
    if (!err) {
        int error = log->io->rename(log->io, log->log_dir, name, final, false);
        if (error) err = lqi_fail_errno(error, "rename log/N.new to", final, -1);
    }
    lqi_file_close(&file);
    return err;
}

/* The prepared file becomes the segment. Whoever swept it away meanwhile only costs us another. */
static int use_prepared(struct lqi_log *log, uint64_t number, const struct lqi_segment_head *head)
{
    const struct lqi_span *span = span_of(log, number);

    for (int tries = 0;; tries++) {
        int err = LQ_OK;
        if (atomic_load(&log->state->prepared) != number)
            err = lqi_prepare_locked(log, number, span->limit - span->position);
        if (!err) err = write_header(log, number, head);
        if (err != LQ_ENOTFOUND) return err;
        atomic_store(&log->state->prepared, 0);
        if (tries) return err;
    }
}

static int create(struct lqi_log *log, uint64_t number)
{
    const struct lqi_span *span = span_of(log, number);
    struct lqi_segment_head head = {
        .first_id = span->first_id, .position = span->position, .salt = span->salt, .durable = span->durable,
        .created_us = span->created_us,
    };
    memcpy(head.uuid, log->uuid, sizeof head.uuid);

    int err = created_before(log, &head) ? LQ_OK : use_prepared(log, number, &head);
    if (err) return err;
    int error = log->io->dir_sync(log->io, log->log_dir);
    if (error) {
        lqi_poison(log);
        return lqi_fail(LQ_EPOISONED, "sync log/: error %d; the queue is poisoned now", error);
    }
    atomic_store_explicit(&log->state->prepared, 0, memory_order_relaxed);
    uint64_t none = 0;
    if (span->first_id > atomic_load(&log->state->first_id)) /* else it is the first */
        atomic_compare_exchange_strong(&log->state->second_id, &none, span->first_id);
    atomic_store_explicit(&log->state->write_span, number, memory_order_release);
    return LQ_OK;
}

/* ---- writing out -------------------------------------------------------- */

#define SYNC_AHEAD_SIZE ((uint64_t)1 << 20)

/* A roll waits until the disk has the whole segment. So that little is left then, the disk is given each MiB as soon as it is full. */
static void sync_ahead(const struct lqi_file *file, uint64_t from, uint64_t to)
{
    from -= from % SYNC_AHEAD_SIZE;
    to -= to % SYNC_AHEAD_SIZE;
    if (from < to) lqi_file_sync_ahead(file, from, to - from);
}

static int write_stretch(struct lqi_log *log, uint64_t number, uint64_t to)
{
    const struct lqi_span *span = span_of(log, number);
    const struct lqi_segment_head head = {.position = span->position};
    uint64_t from = written(log), offset = lqi_segment_offset(&head, from);
    struct lqi_file *file;

    int err = file_of_span(log, &log->writing, number, &file);
    if (!err) err = lqi_file_write(file, offset, lqi_ring_at(&log->ring, from), to - from);
    if (err) return err;
    atomic_store_explicit(&log->state->written, to, memory_order_release);
    sync_ahead(file, offset, offset + (to - from));
    return LQ_OK;
}

/* The next file is made while this one has half of its room left, so that no PUT waits for its making (in
 * LQ_SYNC_ALWAYS one waits until it has its name). A full disk is no error yet: it is one when the file is needed. */
static void prepare_ahead(struct lqi_log *log)
{
    uint64_t number = write_span(log);
    const struct lqi_span *span = span_of(log, number);

    if (atomic_load(&log->state->prepared) == 0 && span_end(log, number) == UINT64_MAX &&
        written(log) - span->position > (span->limit - span->position) / 2)
        (void)lqi_prepare_locked(log, number + 1, lqi_segment_capacity(&log->options));
}

int lqi_write_up_to(struct lqi_log *log, uint64_t end)
{
    for (;;) {
        uint64_t number = write_span(log);
        uint64_t stop = span_end(log, number);
        int err = LQ_OK;

        if (written(log) >= stop) {
            err = seal(log, number);
            if (!err) err = create(log, number + 1);
        } else if (written(log) < end) {
            err = write_stretch(log, number, lqi_min64(end, stop));
        } else {
            break;
        }
        if (err) return err;
    }
    prepare_ahead(log);
    return LQ_OK;
}

int lqi_write_out(struct lqi_log *log)
{
    int err = lqi_lock_write(log);
    if (err) return err;
    err = lqi_write_up_to(log, atomic_load_explicit(&log->state->ring.appended, memory_order_acquire));
    lqi_unlock(&log->state->write);
    return err;
}

void lqi_write_out_some(struct lqi_log *log)
{
    uint64_t appended = atomic_load_explicit(&log->state->ring.appended, memory_order_acquire);
    if (appended - atomic_load_explicit(&log->state->written, memory_order_relaxed) < LQI_WRITE_OUT_SIZE &&
        appended - atomic_load_explicit(&log->state->written, memory_order_relaxed) < log->ring.size / 4) return;

    int got = lqi_lock_try(&log->state->write);
    if (got != LQI_LOCKED && got != LQI_INHERITED) return;
    if (got == LQI_INHERITED) lqi_lock_mend(&log->state->write);
    /* A failure stays with the bytes: whoever needs the room or the disk meets it. */
    (void)lqi_write_up_to(log, appended);
    lqi_unlock(&log->state->write);
}

int lqi_give_back_space(struct lqi_log *log)
{
    char name[LQI_SEGMENT_NAME_SIZE], shown[LQI_SEGMENT_NAME_SIZE + 4];
    struct lqi_file *file;
    int err = lqi_lock_write(log);
    if (err) return err;

    uint64_t number = write_span(log);
    struct lqi_span *span = span_of(log, number);
    prepared_name(name, shown, number + 1);
    atomic_store(&log->state->prepared, 0);
    log->io->unlink(log->io, log->log_dir, name);
    if (!span->sealed) {
        atomic_store(&span->allocated, 0);
        err = lqi_writing_file(log, &file);
        if (!err) err = lqi_file_truncate(file, LQI_SEGMENT_HEADER + (written(log) - span->position));
    }
    lqi_unlock(&log->state->write);
    return err;
}

/* ---- group commit ------------------------------------------------------- */

/* tests/model/commit.pml is a model of this part and of what a failed sync means: it changes with them. */

#define GROUP_WAIT_US 60

/* The leader first waits a moment for a group as large as the last one: fewer syncs, and each shared by more. A lone
 * thread, whose last group was itself, pays nothing. */
static void wait_for_group(struct lqi_log *log)
{
    struct lqi_log_state *state = log->state;
    uint64_t group = atomic_load_explicit(&state->last_group, memory_order_relaxed);
    if (group <= 1) return;

    uint64_t before = atomic_load_explicit(&state->synced_records, memory_order_relaxed);
    int64_t deadline = lqi_now_us() + GROUP_WAIT_US;
    struct lqi_tail tail;
    while (lqi_log_tail(log, &tail) == LQ_OK && tail.records - before < group && lqi_now_us() < deadline)
        sched_yield();
}

/* Writes out up to the tail; then log->syncing is the file that a sync must cover, for the rolls have synced all before it. */
static int write_for_sync(struct lqi_log *log, uint64_t end)
{
    struct lqi_file *file;
    int err = lqi_lock_write(log);
    if (err) return err;
    err = lqi_write_up_to(log, end);
    /* Opened under the write lock: the span's slot may be another's afterwards. */
    if (!err) err = file_of_span(log, &log->syncing, write_span(log), &file);
    lqi_unlock(&log->state->write);
    return err;
}

/* Holds the sync lock. */
static int lead(struct lqi_log *log)
{
    struct lqi_log_state *state = log->state;
    struct lqi_tail tail;

    /* Asked under the lock: the leader before us may have failed just now, and our descriptor may be his. */
    int err = poisoned_or_ok(log);
    if (err) return err;
    wait_for_group(log);
    err = lqi_log_tail(log, &tail);
    if (!err) err = write_for_sync(log, tail.end);
    if (!err) err = sync_or_poison(log, &log->syncing.file, &state->lead_in_doubt);
    if (err) return err;

    atomic_store_explicit(&state->last_group, tail.records - atomic_load(&state->synced_records), memory_order_relaxed);
    atomic_store_explicit(&state->synced_records, tail.records, memory_order_relaxed);
    raise_to(&state->synced_id, tail.next_id - 1);
    raise_to(&state->synced, tail.end);
    return LQ_OK;
}

/* How long nothing has moved. */
struct patience {
    uint64_t synced;
    int64_t deadline_us;
};

static int wait_on(struct patience *patience, uint64_t synced)
{
    if (!patience->deadline_us || synced != patience->synced) {
        patience->synced = synced;
        patience->deadline_us = lqi_deadline(lqi_lock_patience());
    }
    if (lqi_now_us() < patience->deadline_us) return LQ_OK;
    return lqi_fail(LQ_EBUSY, "a process has been writing to the disk for %d ms: is it stopped?", lqi_lock_patience());
}

int lqi_commit(struct lqi_log *log, uint64_t position)
{
    struct lqi_log_state *state = log->state;
    struct patience patience = {0, 0};

    for (;;) {
        uint32_t seen = lqi_bell_listen(&state->durable);
        if (atomic_load_explicit(&state->synced, memory_order_acquire) >= position) return LQ_OK;

        int err = LQ_OK, got = lqi_lock_try(&state->sync);
        if (got < 0) return got;
        if (got == LQI_NOT_LOCKED) {
            err = poisoned_or_ok(log);
            if (!err) err = wait_on(&patience, atomic_load_explicit(&state->synced, memory_order_relaxed));
            if (err) return err;
            /* Bounded: the leader may die before it rings. */
            lqi_wait(&state->durable.word, seen, lqi_now_us() + 10000);
            continue;
        }
        if (got == LQI_INHERITED) lqi_lock_mend(&state->sync);
        if (atomic_load_explicit(&state->synced, memory_order_acquire) < position) err = lead(log);
        lqi_unlock(&state->sync);
        lqi_bell_ring(&state->durable);
        if (err) return err;
        if (log->options.sync == LQ_SYNC_ALWAYS) lqi_bell_ring(&state->arrived);
    }
}

int lqi_commit_all(struct lqi_log *log)
{
    struct lqi_tail tail;
    int err = lqi_log_tail(log, &tail);
    if (!err && atomic_load_explicit(&log->state->synced, memory_order_acquire) < tail.end)
        err = lqi_commit(log, tail.end);
    return err ? err : poisoned_or_ok(log);
}
