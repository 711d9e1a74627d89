/* Which file holds a place: the walk's way from one segment to the next, over those that are missing or cannot be
 * opened, and the searches by id and by time. */
#include "scan_parts.h"

#include <stdio.h>
#include <stdlib.h>

#include "bytes.h"

#define LIST_TRIES 1000

/* A hole of whole files, before the segment of first id `next` (0: not known) that begins at `position`. */
static int missing(struct lqi_scan *scan, uint64_t position, uint64_t next)
{
    uint64_t kept = lqi_scan_oldest_id(scan->log), id = next ? next : scan->next_id;
    char name[LQI_SEGMENT_NAME_SIZE];

    int result = lqi_scan_hole(scan, position, id, "this segment is missing");
    lqi_segment_name(name, scan->hole.first_id ? scan->hole.first_id : id);
    snprintf(scan->hole.file, sizeof scan->hole.file, "log/%s", name);
    scan->hole.offset = 0;
    lqi_scan_tell(&scan->hole);
    scan->hole.trimmed = next && id <= kept;
    return result;
}

static int use_segment(struct lqi_scan *scan, uint64_t first_id)
{
    lqi_scan_close_segment(scan);
    int err = lqi_segment_open_any(&scan->segment, scan->log->io, scan->log->log_dir, first_id, scan->log->uuid);
    if (err) return err;
    scan->segment_open = true;
    scan->segment_end = scan->segment.sealed ? scan->segment.end.end : UINT64_MAX;
    return LQ_OK;
}

/* Is a segment that could not be opened so one to step over? One that is gone is not: the list is out of date. */
static bool is_bad(const struct lqi_scan *scan, int err)
{
    return err != LQ_ENOTFOUND && lqi_log_passes_over(scan->log, err);
}

/* Where the next segment begins that can be opened, behind number `*index` of the list, which becomes its number. LQ_EMPTY: there
 * is none. LQ_ENOTFOUND: the list is out of date. */
static int next_good(const struct lqi_scan *scan, const uint64_t *ids, size_t count, size_t *index, uint64_t *position_out)
{
    struct lqi_segment next;

    while (++*index < count) {
        int err = lqi_segment_open_any(&next, scan->log->io, scan->log->log_dir, ids[*index], scan->log->uuid);
        if (is_bad(scan, err)) continue;
        if (err) return err;
        *position_out = next.head.position;
        lqi_segment_close(&next);
        return LQ_OK;
    }
    return LQ_EMPTY;
}

/* The segment number `index` of the list cannot be opened, or lacks what we want: step to the one behind it. */
static int step_over(struct lqi_scan *scan, const uint64_t *ids, size_t count, size_t index, uint64_t limit, const char *reason)
{
    uint64_t to = lqi_min64(limit, scan->files_end), id = 0;

    int err = next_good(scan, ids, count, &index, &to);
    if (err && err != LQ_EMPTY) return err;
    if (!err) id = ids[index];
    to = lqi_max64(to, scan->position); /* positions never go back, whatever a file says */
    return reason ? lqi_scan_hole(scan, to, id, reason) : missing(scan, to, id);
}

/* An unsealed segment with others behind it ends where the first of them begins that can be opened, and does not begin before it. */
static int end_by_next(struct lqi_scan *scan, const uint64_t *ids, size_t count, size_t index)
{
    uint64_t position;

    while (scan->segment_end == UINT64_MAX) {
        int err = next_good(scan, ids, count, &index, &position);
        if (err) return err == LQ_EMPTY ? LQ_OK : err;
        if (position >= scan->segment.head.position) scan->segment_end = position;
    }
    return LQ_OK;
}

static size_t last_not_above(const uint64_t *ids, size_t count, uint64_t id)
{
    size_t low = 0, high = count; /* ids[low - 1] <= id < ids[high] */
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (ids[middle] <= id) low = middle + 1;
        else high = middle;
    }
    return low; /* 0: all are above; else the index + 1 */
}

int lqi_scan_next_file(struct lqi_scan *scan, uint64_t *id_out)
{
    uint64_t *ids;
    size_t count;

    *id_out = UINT64_MAX;
    int err = lqi_segment_list(scan->log->io, scan->log->log_dir, &ids, &count, NULL);
    if (err) return err;
    size_t place = last_not_above(ids, count, scan->segment.head.first_id);
    if (place < count) *id_out = ids[place];
    free(ids);
    return LQ_OK;
}

/* The walk goes on in the open segment; where that begins behind the present position, nothing is between. */
static void go_on_in_segment(struct lqi_scan *scan)
{
    uint64_t sought_id = scan->sought_id;
    if (scan->position >= scan->segment.head.position) return;
    lqi_scan_start(scan, scan->segment.head.position, scan->next_id);
    lqi_scan_forget_buffer(scan);
    scan->sought_id = sought_id;
}

/* A file that is none of ours may have the name of a message in the middle of a good segment: that one goes on
 * beyond it. LQ_EMPTY: there is none such. */
static int use_covering(struct lqi_scan *scan, const uint64_t *ids, size_t index)
{
    while (index-- > 0) {
        int err = use_segment(scan, ids[index]);
        if (lqi_log_passes_over(scan->log, err)) continue;
        if (err) return err;
        if (scan->segment.sealed && scan->position < scan->segment_end && scan->next_id < scan->segment.end.next_id) {
            go_on_in_segment(scan);
            return LQ_OK;
        }
        break;
    }
    return LQ_EMPTY;
}

/* The segment number `index` of the list is damaged: a hole, in its name. */
static int step_over_damaged(struct lqi_scan *scan, const uint64_t *ids, size_t count, size_t index, uint64_t limit, const char *reason)
{
    int result = step_over(scan, ids, count, index, limit, reason);
    char name[LQI_SEGMENT_NAME_SIZE];
    lqi_segment_name(name, ids[index]);
    snprintf(scan->hole.file, sizeof scan->hole.file, "log/%s", name);
    scan->hole.offset = 0;
    if (result == LQI_HOLE) lqi_scan_tell(&scan->hole);
    return result;
}

/* The open segment begins behind the present position: then something is missing between, or its header lies and would
 * have all that follows passed over. The one behind it knows. */
static int begins_too_late(const struct lqi_scan *scan, const uint64_t *ids, size_t count, size_t index, uint64_t limit, bool *late_out)
{
    uint64_t begin = scan->segment.head.position, behind = begin;

    *late_out = begin > limit;
    if (*late_out) return LQ_OK;
    int err = next_good(scan, ids, count, &index, &behind);
    *late_out = behind < begin;
    return err == LQ_EMPTY ? LQ_OK : err;
}

/* The segment number `index` of the list is open: does it hold the present position? */
static int settle_in(struct lqi_scan *scan, const uint64_t *ids, size_t count, size_t index, uint64_t limit)
{
    bool late = false;
    int err = LQ_OK;
    if (scan->position < scan->segment.head.position) err = begins_too_late(scan, ids, count, index, limit, &late);
    if (late) return step_over_damaged(scan, ids, count, index, limit, "the header says that it begins behind what follows it");
    if (!err) err = end_by_next(scan, ids, count, index);
    if (err) return err;
    go_on_in_segment(scan);
    return scan->position < scan->segment_end ? LQ_OK : step_over(scan, ids, count, index, limit, NULL);
}

static int find_in_list(struct lqi_scan *scan, const uint64_t *ids, size_t count, uint64_t limit)
{
    size_t place = last_not_above(ids, count, scan->next_id);
    uint64_t kept = lqi_scan_oldest_id(scan->log);
    /* What retention has deleted is not lost with the oldest file, if that cannot be opened. */
    if (place == 0 && scan->next_id < kept)
        return missing(scan, lqi_max64(scan->position, lqi_scan_oldest_position(scan->log)), kept);
    if (place == 0) return step_over(scan, ids, count, (size_t)-1, limit, NULL);

    size_t index = place - 1;
    int err = use_segment(scan, ids[index]);
    if (is_bad(scan, err)) {
        char reason[sizeof scan->hole.text];
        bool failed = err == LQ_EIO;
        snprintf(reason, sizeof reason, "%s", lq_error_text());
        err = use_covering(scan, ids, index);
        if (err != LQ_EMPTY) return err;
        err = step_over_damaged(scan, ids, count, index, limit, reason);
        return err == LQI_HOLE && failed ? lqi_scan_unreadable(scan) : err;
    }
    return err ? err : settle_in(scan, ids, count, index, limit);
}

static int find_in_directory(struct lqi_scan *scan, uint64_t limit)
{
    uint64_t *ids;
    size_t count;

    for (unsigned tries = 0;; tries++) {
        const struct lqi_log_state *state = scan->log->state;
        scan->files_end = state ? atomic_load_explicit(&state->written, memory_order_acquire) : UINT64_MAX;
        int err = lqi_segment_list(scan->log->io, scan->log->log_dir, &ids, &count, NULL);
        if (err) return err;
        err = find_in_list(scan, ids, count, limit);
        free(ids);
        /* What is in the list and not in the directory was deleted in between: what comes behind it may be, too. */
        if (err != LQ_ENOTFOUND) return err;
        if (tries == LIST_TRIES) return lqi_fail(LQ_EBUSY, "log/ changes faster than it can be read");
    }
}

int lqi_scan_open_segment(struct lqi_scan *scan, uint64_t limit)
{
    /* Going on to the next segment, its name is the id we want. */
    if (use_segment(scan, scan->next_id) == LQ_OK) {
        if (scan->segment.sealed && scan->segment.head.position == scan->position && scan->position < scan->segment_end)
            return LQ_OK;
    }
    int err = find_in_directory(scan, limit);
    if (err) lqi_scan_close_segment(scan); /* or the next try would find one open, and not ask where it ends */
    return err;
}

/* ---- seeking ------------------------------------------------------------ */

/* Starts in the segment `ids[index]`, at the place its index has for the id. */
static int seek_in_segment(struct lqi_scan *scan, uint64_t first_id, uint64_t id)
{
    struct lqi_index_entry entry;
    bool index_damaged;
    int err = use_segment(scan, first_id);
    if (!err) err = lqi_segment_find_id(&scan->segment, id, &entry, &index_damaged);
    if (err) return err;
    lqi_scan_start(scan, entry.position, id);
    lqi_scan_forget_buffer(scan); /* what was bad may be good by now */
    return LQ_OK;
}

int lqi_scan_seek_id(struct lqi_scan *scan, uint64_t id)
{
    uint64_t *ids;
    size_t count;

    int err = lqi_segment_list(scan->log->io, scan->log->log_dir, &ids, &count, NULL);
    if (err) return err;
    size_t place = last_not_above(ids, count, id);
    if (place == 0) {
        /* Before the oldest segment, or there is none yet: begin where the log begins. What is missing there is a hole, and
         * the walk will tell of the file. */
        lqi_scan_start(scan, lqi_scan_oldest_position(scan->log), id);
        if (count && ids[0] <= lqi_scan_oldest_id(scan->log)) err = seek_in_segment(scan, ids[0], ids[0]);
        if (!err) scan->next_id = id;
    } else {
        err = seek_in_segment(scan, ids[place - 1], id);
    }
    /* A segment that cannot be opened is a hole, and the walk will say so. */
    if (lqi_log_passes_over(scan->log, err)) {
        lqi_scan_start(scan, lqi_scan_oldest_position(scan->log), id);
        err = LQ_OK;
    }
    scan->sought_id = id;
    free(ids);
    return err;
}

/* Was the first segment from number `from` on that tells, made before `time_us`? A trailer alone knows the time of messages only. */
static bool made_before(struct lqi_scan *scan, const uint64_t *ids, size_t from, size_t end, int64_t time_us, size_t *index_out)
{
    for (size_t i = from; i < end; i++) {
        if (use_segment(scan, ids[i]) != LQ_OK || (scan->segment.head_lost && !scan->segment.head.created_us)) continue;
        *index_out = i;
        return scan->segment.head.created_us < time_us;
    }
    return false;
}

/* The index of the last segment made before `time_us`: all messages before it are older. */
static size_t segment_before(struct lqi_scan *scan, const uint64_t *ids, size_t count, int64_t time_us)
{
    size_t low = 1, high = count, index; /* ids[low - 1] was made before it, or is the first */
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (made_before(scan, ids, middle, high, time_us, &index)) low = index + 1;
        else high = middle;
    }
    return low - 1;
}

int lqi_scan_seek_time(struct lqi_scan *scan, int64_t time_us, uint64_t limit)
{
    struct lqi_index_entry entry;
    uint64_t *ids;
    size_t count;

    int err = lqi_segment_list(scan->log->io, scan->log->log_dir, &ids, &count, NULL);
    if (err) return err;
    lqi_scan_start(scan, lqi_scan_oldest_position(scan->log), lqi_scan_oldest_id(scan->log));
    if (count) {
        size_t index = segment_before(scan, ids, count, time_us);
        if (use_segment(scan, ids[index]) == LQ_OK &&
            lqi_segment_find_time(&scan->segment, time_us, &entry, NULL) == LQ_OK)
            lqi_scan_start(scan, entry.position, entry.first_id);
    }
    free(ids);
    lqi_scan_forget_buffer(scan);

    for (;;) {
        err = lqi_scan_next(scan, limit);
        if (err == LQI_HOLE) continue;
        if (err) return err == LQ_EMPTY ? LQ_OK : err;
        if (scan->record.time_us >= time_us) break;
    }
    lqi_scan_start(scan, scan->record.position, scan->record.first_id);
    return LQ_OK;
}
