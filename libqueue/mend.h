/* What repair makes of the log: which files are put in the place of which, so that the number line is whole
 * again and every record that verifies keeps its id and its position.
 *
 *   before   |seg 1: a b X d|seg 5: e f g|   (missing)   |seg 20: t u ?(end)
 *   after    |seg 1: a b-hole-d|seg 5: e f g|seg 8: hole |seg 20: t u hole
 *
 * A damaged segment is written anew with the same header: good bytes are copied as they are, and where none verifies
 * stands a hole (record.h), as long as what was there. Thus the salt stays, nothing moves, and what was good
 * verifies as before. Index and trailer are made anew. A stretch of which there is no file gets a segment that is nothing but a
 * hole, and next to no disk space. Where the log may have ended later than what is left of it, the hole goes on to
 * there, so that no id is given twice. */
#ifndef LQI_MEND_H
#define LQI_MEND_H

#include "recover.h"

/* A stretch of a segment that is written anew. */
struct lqi_patch {
    uint64_t position, to;
    uint64_t first_id, next_id; /* of a hole; both 0: only zeroes, nothing is lost */
    int64_t time_us;            /* of what is before it */
};

/* One file that is to be put in place. */
struct lqi_mending {
    struct lqi_segment_head head;
    char name[LQI_SEGMENT_NAME_SIZE];
    bool there;                 /* a file of that name is there, to be set aside */
    bool readable;              /* and its good records are to be copied */
    bool sealed;                /* the new one ends with a trailer */
    uint64_t end, next_id;      /* behind the last record of the new one */
    uint64_t first_lost, lost;  /* messages given up, in all its holes */
    struct lqi_patch *patches;
    size_t patch_count;
    int64_t first_time_us, last_time_us;
    uint32_t index_count;
    struct lqi_index_entry index[LQI_INDEX_MAX];
    char text[200];             /* what is wrong */
};

/* `path` of a file in log/ that is beyond reading and whose place another one takes, and why; or, with `mending`, what is to be put in place. Not LQ_OK ends it. */
typedef int lqi_mend_each(void *context, const char *path, const char *text, const struct lqi_mending *mending);

/* Looks the whole log over, oldest first; `log` without shared memory, `found` is lqi_find_end()'s. Writes nothing itself. */
int lqi_mend_log(const struct lqi_log *log, const struct lqi_trim *trim, const struct lqi_found *found,
                 lqi_mend_each *each, void *context);

/* Makes the file mending->name in `dir`, whole and synced. */
int lqi_mend_write(const struct lqi_log *log, int dir, const struct lqi_mending *mending);

#endif
