/* What scan.c and scan_segments.c share of the walk's inside, and nobody else. */
#ifndef LQI_SCAN_PARTS_H
#define LQI_SCAN_PARTS_H

#include "bytes.h"
#include "scan.h"

/* What was read so far may be lent out: new bytes go behind it. */
static inline void lqi_scan_forget_buffer(struct lqi_scan *scan)
{
    scan->start = (scan->start + scan->buffered + 7) & ~(size_t)7;
    scan->buffered = 0;
    scan->buffer_position = scan->position;
}

static inline void lqi_scan_close_segment(struct lqi_scan *scan)
{
    if (scan->segment_open) lqi_segment_close(&scan->segment);
    scan->segment_open = false;
}

/* What the files are known to begin with counts, and with `shared`, what that says, if it is more. */
static inline uint64_t lqi_scan_oldest_position(const struct lqi_log *log)
{
    return log->state ? lqi_max64(atomic_load(&log->state->first_position), log->files_first_position) : log->files_first_position;
}

static inline uint64_t lqi_scan_oldest_id(const struct lqi_log *log)
{
    return log->state ? lqi_max64(atomic_load(&log->state->first_id), log->files_first_id) : log->files_first_id;
}

/* Notes a hole from the present position up to `to`, behind which the message `id` comes (0: not known), and steps over it. */
int lqi_scan_hole(struct lqi_scan *scan, uint64_t to, uint64_t id, const char *reason);
/* The hole just noted is what the disk does not give. */
int lqi_scan_unreadable(struct lqi_scan *scan);
/* Makes the hole the text of the error. */
void lqi_scan_tell(const struct lqi_hole *hole);
/* The id in the name of the file behind the open one; UINT64_MAX when there is none. */
int lqi_scan_next_file(struct lqi_scan *scan, uint64_t *id_out);
/* Opens the segment that holds the present position. None is open when that fails. */
int lqi_scan_open_segment(struct lqi_scan *scan, uint64_t limit);

#endif
