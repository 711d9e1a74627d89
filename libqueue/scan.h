/* A walk along the number line: record after record, from the ring or from
 * the segments, wherever the bytes are, verified. Consumers, readers, lq_verify
 * and recovery all walk this way, so that damage is met in one place.
 *
 * A damaged stretch is a hole: it is reported once, and the walk goes on behind
 * it at the next record that proves itself. As ids are dense, the walk knows which
 * messages a hole has swallowed. Takes no lock and writes nothing. */
#ifndef LQI_SCAN_H
#define LQI_SCAN_H

#include "block.h"
#include "log.h"

#define LQI_SCAN_BLOCK ((size_t)256 << 10)

struct lqi_hole {
    char file[128]; /* as long as the name in struct lqi_file */
    uint64_t offset;          /* the byte in that file */
    uint64_t position;        /* the same place on the number line */
    uint64_t first_id, count; /* the messages lost; count 0: not known, or none */
    bool trimmed;             /* not damage: retention deleted them, or repair has given them up */
    bool repaired;            /* the latter: a record says so, which is scan->record */
    int code;                 /* LQ_ECORRUPT; LQ_EIO: the disk does not give the bytes (if log->over_unreadable) */
    char text[200];
};

struct lqi_scan {
    const struct lqi_log *log;
    struct lqi_pool pool;
    size_t read_ahead;
    bool heads_only;          /* bodies are not looked at (payload stays NULL) */
    bool files_first;         /* what is synced is read from the files, though the ring may have it too */
    bool with_marks;          /* marks are met too, as records without messages */
    bool to_the_end;          /* a bad place with nothing good behind it is the end of the log (recovery), not a hole to `limit` */

    uint64_t position;        /* of the next record */
    uint64_t next_id;         /* the message wanted next */
    uint64_t sought_id;       /* what a seek was for: damage on the way there is not told */

    /* the segment that `position` lies in, when its file was needed */
    struct lqi_segment segment;
    bool segment_open, refreshed;
    uint64_t segment_end;     /* records end here at the latest */
    uint64_t files_end;       /* what is behind it is in the ring only, as it was before the directory was listed */

    /* bytes at hand: [buffer_position, buffer_position + buffered) of one segment */
    struct lqi_block *block;
    size_t start;
    uint64_t buffer_position;
    size_t buffered;
    uint64_t salt;
    bool from_ring, avoid_ring;
    uint64_t proven_end;      /* of a record that stands in its file whatever `shared` says; else 0 */
    uint64_t unreadable_end;  /* behind the place that the disk did not give last */
    uint64_t unreadable_to;   /* where the walk went on behind it */

    /* the record met last */
    struct lqi_record record;
    bool padding_damaged;     /* the bytes between its payload and the next record are not zero: no message is hurt */
    const uint8_t *payload;   /* unpacked */
    size_t payload_size;
    struct lqi_block *payload_block; /* what to hold on to if its bytes are to live longer than the next call */
    struct lqi_block *unpacked;

    struct lqi_hole hole;
};

enum { LQI_HOLE = 100 }; /* a result beside the public codes: see scan->hole */

void lqi_scan_init(struct lqi_scan *scan, const struct lqi_log *log, size_t read_ahead);
void lqi_scan_release(struct lqi_scan *scan);
/* For one who has found nothing and may be idle for long: a file that retention has deleted since is closed, or its
 * disk space would never be given back. */
void lqi_scan_let_go(struct lqi_scan *scan);

/* The next record below `limit` that holds `next_id` or comes after it. LQ_OK; LQ_EMPTY at `limit`; LQI_HOLE; or an error
 * (LQ_EIO, LQ_ENOMEM, LQ_ELIMIT...), after which the same may be tried again. The text of a hole is in lq_error_text() too. */
int lqi_scan_next(struct lqi_scan *scan, uint64_t limit);

/* Next is the message `id`, or the first kept after it. Past the end is fine. */
int lqi_scan_seek_id(struct lqi_scan *scan, uint64_t id);

/* The same, when `position` is likely that of its record or one before it; looks that it is. */
int lqi_scan_seek_hint(struct lqi_scan *scan, uint64_t position, uint64_t id, uint64_t limit);

/* Next is the first message put at or after `time_us`, below `limit`. */
int lqi_scan_seek_time(struct lqi_scan *scan, int64_t time_us, uint64_t limit);

/* To a known record, as recovery and verify do it. */
void lqi_scan_start(struct lqi_scan *scan, uint64_t position, uint64_t id);
/* The same, and nothing that was read or opened before is believed any more. */
void lqi_scan_restart(struct lqi_scan *scan, uint64_t position, uint64_t id);

#endif
