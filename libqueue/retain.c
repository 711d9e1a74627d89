/* What is on disk after each step, if everything ends there:
 *   1 trim slot written to `meta`, synced   the old files are still there: recovery sweeps them away
 *   2 each file unlinked, oldest first      the same, with fewer left; so does the next deletion, if others live
 * Nobody who meets the lack of an old segment takes it for damage: the slot says that it was given up. */
#include "retain.h"

#include <stdlib.h>

#include "bytes.h"

struct decision {
    struct lqi_log *log;
    uint64_t consumed_id; /* every message up to it is consumed */
    uint64_t bytes;
    int64_t oldest_us;    /* messages put before are too old */
    bool consumed, limits, drop;
};

static struct decision decide(struct lqi_log *log, uint64_t bytes, bool drop)
{
    const lq_options *options = &log->options;
    uint64_t floor = lqi_consumers_floor(log);
    int64_t age_us = options->age_max_ms > INT64_MAX / 1000 ? INT64_MAX : options->age_max_ms * 1000;

    return (struct decision){
        .log = log, .bytes = bytes, .drop = drop,
        .consumed_id = floor == UINT64_MAX ? 0 : floor, /* without consumers nothing is consumed */
        .consumed = options->retention != LQ_RETAIN_LIMITS, .limits = options->retention != LQ_RETAIN_CONSUMED,
        .oldest_us = age_us ? log->io->wall_us(log->io) - age_us : INT64_MIN,
    };
}

/* May the segment at `position`, which is followed by `next`, go? */
static bool may_go(const struct decision *decision, uint64_t position, const struct lqi_segment_head *next)
{
    uint64_t size_max = decision->log->options.size_max;
    uint64_t appended = atomic_load(&decision->log->state->ring.appended);
    bool over = size_max && appended - position + decision->bytes > size_max;

    if (decision->consumed && next->first_id <= decision->consumed_id + 1) return true;
    if (decision->limits && (over || next->created_us < decision->oldest_us)) return true;
    return decision->drop && over;
}

/* A header that verifies may still lie: deletion goes by those that fit into what is durable, in order. */
static bool fits(const struct lqi_log_state *state, uint64_t position, const struct lqi_segment_head *next)
{
    return next->position >= position && next->position <= atomic_load(&state->synced) &&
           next->first_id <= atomic_load(&state->synced_id) + 1;
}

/* When a segment was made of which only the trailer is left: by it nothing is too old, but by the next one. */
#define NOT_KNOWN INT64_MAX

struct outcome {
    size_t gone;                   /* so many of the oldest may go */
    struct lqi_segment_head first; /* of the one that is the oldest then */
    uint64_t second_id;            /* of the one that would be it next */
};

/* LQ_ENOTFOUND: nothing tells where it begins. LQ_EVERSION: it is whole, for others to read. */
static int open_next(const struct lqi_log *log, uint64_t id, struct lqi_segment_head *head_out)
{
    struct lqi_segment segment;
    int err = lqi_segment_open_any(&segment, log->io, log->log_dir, id, log->uuid);
    if (err == LQ_ECORRUPT) return segment.head_lost ? LQ_ENOTFOUND : LQ_EVERSION;
    if (err) return err;
    *head_out = segment.head;
    if (segment.head_lost) head_out->created_us = NOT_KNOWN;
    lqi_segment_close(&segment);
    return LQ_OK;
}

/* How many of the oldest may go, of one or more. Who decides is the segment behind them, which would be the oldest then. Of those that go it is of
 * no matter whether they can be read: whoever needed them has been told. So one that is damaged beyond telling where it begins
 * decides nothing, and the next one is asked; or it would hold the disk space of all behind it for ever. But one of a newer
 * format, or of another queue, is whole and has its messages for somebody else: it stays. */
static struct outcome judge(const struct decision *decision, const uint64_t *ids, size_t count)
{
    struct lqi_log *log = decision->log;
    uint64_t position = atomic_load(&log->state->first_position);
    struct outcome outcome = {0};

    struct lqi_segment_head next;
    if (open_next(log, ids[0], &next) == LQ_EVERSION) return outcome;
    for (size_t i = 1; i < count; i++) {
        int err = open_next(log, ids[i], &next);
        if (err == LQ_ENOTFOUND) continue;
        if (!err && fits(log->state, position, &next) && may_go(decision, position, &next)) {
            outcome = (struct outcome){.gone = i, .first = next};
            position = next.position;
            continue;
        }
        if (!outcome.second_id) outcome.second_id = ids[i];
        if (err || next.created_us != NOT_KNOWN) break;
    }
    return outcome;
}

static int store_trim(struct lqi_log *log, const struct lqi_segment_head *first)
{
    struct lqi_trim trim;
    /* Neither slot readable: begin again at sequence 0. */
    int err = lqi_trim_load(log->meta_file, log->uuid, &trim);
    if (err && err != LQ_ECORRUPT) return err;

    trim.first_id = first->first_id;
    trim.position = first->position;
    trim.synced = atomic_load(&log->state->synced);
    trim.next_id = atomic_load(&log->state->synced_id) + 1;
    return lqi_trim_store(log->meta_file, log->uuid, &trim);
}

static void delete_segments(struct lqi_log *log, const uint64_t *ids, size_t gone)
{
    char name[LQI_SEGMENT_NAME_SIZE];
    for (size_t i = 0; i < gone; i++) {
        lqi_segment_name(name, ids[i]);
        log->io->unlink(log->io, log->log_dir, name); /* what stays is left_over() */
    }
}

/* How many of the oldest were given up before, by somebody who died before he had deleted them, or could not. A file before the
 * oldest message need not be one of them: it may be damaged, and then it is not for us to delete. */
static size_t left_over(const struct lqi_log *log, const uint64_t *ids, size_t count)
{
    uint64_t kept = atomic_load(&log->state->first_id);
    struct lqi_trim trim;
    size_t left = 0;

    if (!count || ids[0] >= kept) return 0;
    if (lqi_trim_load(log->meta_file, log->uuid, &trim)) return 0;
    kept = lqi_min64(kept, trim.first_id); /* a slot may say whatever it likes: where it lies in a file, that one is kept */
    while (left + 1 < count && ids[left + 1] <= kept) left++;
    return left;
}

static void announce(struct lqi_log *log, const struct lqi_segment_head *first)
{
    struct lqi_log_state *state = log->state;

    atomic_store(&state->first_id, first->first_id);
    atomic_store(&state->first_position, first->position);
    lqi_bell_ring(&state->room);
}

static int retain_locked(struct lqi_log *log, uint64_t bytes, bool drop, size_t *count_out)
{
    struct decision decision = decide(log, bytes, drop);
    uint64_t *ids;
    size_t count;

    int err = lqi_segment_list(log->io, log->log_dir, &ids, &count, NULL);
    if (err) return err;
    size_t left = left_over(log, ids, count);
    delete_segments(log, ids, left);
    struct outcome outcome = {0};
    if (left < count) outcome = judge(&decision, ids + left, count - left);
    if (outcome.gone) err = store_trim(log, &outcome.first);
    if (outcome.gone && !err) announce(log, &outcome.first);
    if ((outcome.gone && !err) || outcome.second_id) atomic_store(&log->state->second_id, outcome.second_id);
    if (outcome.gone && !err) delete_segments(log, ids + left, outcome.gone);
    if (count_out) *count_out = err ? 0 : outcome.gone;
    free(ids);
    return err;
}

int lqi_retain(struct lqi_log *log, uint64_t bytes, bool drop, size_t *count_out)
{
    int got = lqi_lock(&log->state->trim, "trim lock");
    if (got == LQI_INHERITED) lqi_lock_mend(&log->state->trim);
    if (got < 0) return got;
    int err = retain_locked(log, bytes, drop, count_out);
    /* A segment that was made meanwhile did not see that it is the second. */
    uint64_t none = 0, newest = atomic_load(&log->state->write_span);
    uint64_t newest_id = atomic_load(&log->state->spans[newest & 1].first_id);
    /* If that span is over, its slot may be another's already; and whoever made the next one has seen to it. */
    if (newest_id > atomic_load(&log->state->first_id) && atomic_load(&log->state->write_span) == newest)
        atomic_compare_exchange_strong(&log->state->second_id, &none, newest_id);
    lqi_unlock(&log->state->trim);
    return err;
}

void lqi_retain_what_is_due(struct lqi_log *log)
{
    struct lqi_text told = lqi_text_keep();
    (void)lqi_retain(log, 0, false, NULL);
    lqi_text_put_back(&told);
}
