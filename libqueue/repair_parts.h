/* What the parts of lq_repair() share: repair.c (the order of things), repair_meta.c (which queue this is, and its locks)
 * and repair_consumers.c (offset files). Nobody else includes it. */
#ifndef LQI_REPAIR_PARTS_H
#define LQI_REPAIR_PARTS_H

#include "aside.h"
#include "mend.h"
#include "queue.h"
#include "repair.h"

struct repair {
    const struct lqi_io *io;
    const char *path;
    bool dry;
    lq_repair_callback *each;
    void *context;
    lq_repair_result result;

    int dir, consumers_dir;    /* -1: missing. log_dir is in `log` */
    int meta_bad;              /* LQ_ENOTFOUND: it is missing; LQ_ENOTQUEUE: it is no file */
    struct lqi_file meta_file; /* the one that is locked; none if it is missing, or no file */
    struct lqi_file old_meta;  /* the one that it has replaced, locked until the end */
    struct lqi_meta meta;
    bool options_known;        /* and not the defaults, for want of better */
    struct lqi_trim trim;
    struct lqi_log log;
    struct lqi_found found;
    struct lqi_aside aside;
};

/* Counts and tells one thing that was mended, or in a dry run would be. `was_there`: a file of this name was set aside. */
int lqi_repair_tell(struct repair *repair, const char *file, bool was_there, const char *damage, const char *remedy, uint64_t first_id,
                    uint64_t count);
/* The directory for what is set aside is made when it is first needed. */
int lqi_repair_need_aside(struct repair *repair);

/* What is wrong with a file: the first of all that is found, for one line is told. Empty: nothing. */
struct first_damage {
    char text[LQI_TEXT_MAX];
};

void lqi_repair_note(void *context, uint64_t offset, const char *text);

/* repair_meta.c. Opens meta and locks it: only then may anything be read that others change. LQ_EBUSY. */
int lqi_repair_hold_meta(struct repair *repair, struct first_damage *damage);
/* Says which queue this is and what it is like, from what is left of it; `damage` stays empty when nothing is wrong. */
int lqi_repair_look_at_meta(struct repair *repair, struct first_damage *damage);
/* The lock again, when it was let go in between. */
int lqi_repair_lock(const struct repair *repair);
/* Puts another meta in the place of the damaged or missing one. */
int lqi_repair_meta(struct repair *repair, const char *damage);

/* repair_consumers.c. All damaged offset files. */
int lqi_repair_consumers(struct repair *repair);

#endif
