/* Finding the end of the log: what is there, what was promised, what must be
 * cut, and what dead processes left in the ring. */
#ifndef LQI_RECOVER_H
#define LQI_RECOVER_H

#include "log.h"

/* How far the log was ever known to be durable, by witnesses outside the bytes in question. */
struct lqi_promise {
    uint64_t position, next_id;
    uint64_t committed; /* what dead processes of this boot had appended ends here, as far as known; else 0 */
};

/* The log as the files have it. */
struct lqi_found {
    uint64_t first_id, first_position; /* of the oldest segment; where the log will begin when there is none */
    uint64_t second_id;                /* first id of the second oldest segment, 0 when there is none */
    uint64_t end, next_id;             /* behind the last record that counts */
    int64_t time_us;                   /* of it */
    uint64_t mark;                     /* = end when that record is a mark; else 0 */
    bool any_segment;
    struct lqi_segment_head last;      /* of the last segment, if any */
    bool usable;                       /* the last segment can be appended to, behind `end` */
    bool given_up;                     /* damage at its very end: `end` and `next_id` are behind all that may have been there */
    bool unreadable;                  /* the disk does not give the last segment (just now): its end was made up (log->over_unreadable) */
    uint64_t good_end, good_id;        /* then: behind the last record that verified */
    uint64_t torn_bytes;               /* in its file behind `end`, to be cut */
    bool doubtful;                     /* a sync has failed, and there was no room for other files: poisoned it stays */
    uint64_t damage;                   /* damaged places met on the way */
    uint64_t file_size;                /* of the last segment */
    int64_t first_time_us;             /* of its first message, 0 without one */
    uint32_t index_count;
    uint64_t indexed;
    struct lqi_index_entry index[LQI_INDEX_MAX];
};

/* Looks, and changes nothing. `log` is without shared memory. */
int lqi_find_end(const struct lqi_log *log, const struct lqi_trim *trim, const struct lqi_promise *promise,
                 struct lqi_found *found_out);

/* Sweeps away what creation and deletion have left half done, cuts the torn tail, brings what
 * `old` (may be NULL: the working memory of processes that have all died) has in its ring into the files, and syncs
 * what it found. Only with the open lock, when no handle lives. Can be done again wherever it ends.
 * A disk too full to replace a file whose sync has failed is no error: the log is `doubtful` then. */
int lqi_recover_log(struct lqi_log *log, const struct lqi_trim *trim, const struct lqi_promise *promise,
                    struct lqi_shared_map *old, struct lqi_found *found_out, uint64_t *recovered_messages_out);

#endif
