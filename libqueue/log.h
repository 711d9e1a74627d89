/* The number line: records are appended at its end, under the append lock, and
 * become bytes in the ring; writeout.c brings them to the segments and makes
 * them durable; scan.c reads them back from wherever they are.
 *
 * Lock order (each may be taken with those before it held, never the other way):
 *     admin > consumer > trim > sync > append > write
 * Whoever inherits a lock from a dead owner mends what it guards:
 *     append  the committed tail counts; what it says is published again
 *     write   every step of writing out can be done again
 *     sync    nothing to mend */
#ifndef LQI_LOG_H
#define LQI_LOG_H

#include "meta.h"
#include "record.h"
#include "shared.h"

/* An open segment file, kept because it will be needed again. */
struct lqi_span_file {
    struct lqi_file file;
    uint64_t span; /* number; 0: none */
};

struct lqi_log {
    const struct lqi_io *io;
    int log_dir, consumers_dir;
    uint8_t uuid[16];
    lq_options options;            /* as stored */
    struct lqi_file *meta_file;
    struct lqi_shared *shared;     /* NULL: only the files are looked at */
    struct lqi_log_state *state;   /* = &shared->log, or NULL */
    struct lqi_ring ring;
    uint64_t files_first_id, files_first_position; /* for who only looks: where the files begin */
    uint64_t files_end, files_next_id;             /* without `shared`: where the log ends */
    bool over_unreadable;          /* what the disk does not give is passed over like damage: for who tells what is there now, and changes nothing */
    struct lqi_span_file writing;  /* guarded by the write lock */
    struct lqi_span_file syncing;  /* guarded by the sync lock */
};

/* Is a segment that could not be opened so one to pass over? */
static inline bool lqi_log_passes_over(const struct lqi_log *log, int err)
{
    return lqi_is_unreadable(err) || (err == LQ_EIO && log->over_unreadable);
}

/* One record to append. The payload is the caller's and in one piece. */
struct lqi_append {
    const void *payload;
    uint64_t payload_check;
    uint32_t size;
    uint16_t count; /* of messages */
    uint8_t kind, flags;
};

/* Appends and publishes; in a queue that syncs always it is handed out only once lqi_commit() has
 * made it durable. `*end_out` is the position behind it. Nothing is changed on:
 * LQ_EFULL (over size_max), LQ_ELIMIT (no ids or positions left), LQ_ENOSPC, LQ_EPOISONED, LQ_EBUSY, LQ_EIO, LQ_ENOMEM. */
int lqi_append(struct lqi_log *log, const struct lqi_append *append, uint64_t *first_id_out, uint64_t *end_out);

/* Appends a mark, unless one is the last record: all before it is durable. */
int lqi_append_mark(struct lqi_log *log);

/* Messages may be handed out up to this position. */
static inline uint64_t lqi_log_visible(const struct lqi_log *log)
{
    if (!log->state) return log->files_end;
    return atomic_load_explicit(log->options.sync == LQ_SYNC_ALWAYS ? &log->state->synced : &log->state->ring.appended,
                                memory_order_acquire);
}

static inline bool lqi_poisoned(const struct lqi_log *log)
{
    return atomic_load_explicit(&log->shared->poisoned, memory_order_relaxed) != 0;
}

/* A consistent copy of the tail. */
int lqi_log_tail(struct lqi_log *log, struct lqi_tail *tail_out);

/* The stretch of one segment around `position` that the ring may hold: its salt, and where it
 * ends (at most the appended end). False: look in the files. */
bool lqi_log_in_ring(const struct lqi_log *log, uint64_t position, uint64_t *salt_out, uint64_t *end_out);

/* What a segment of the default size can hold, and the size of its file then. */
uint64_t lqi_segment_capacity(const lq_options *options);
uint64_t lqi_index_stride(const lq_options *options);
uint64_t lqi_segment_file_size(const lq_options *options, uint64_t capacity);

#endif
