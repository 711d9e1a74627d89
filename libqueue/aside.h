/* Setting aside: what repair takes out of a queue goes whole, as it is, into the directory `aside` of the queue; what
 * comes in its place is made in `aside/new` first.
 *
 *   aside/20261126T154501.123456Z-log-00000000000000000001.seg    when, and what it was
 *   aside/new/00000000000000000001.seg                            not yet in its place, or just out of it
 *
 * A file and its replacement are swapped, so that no moment is without the name, and no byte is copied or written over:
 *
 *   1 the replacement is written in aside/new, synced,    crash: a stray file in aside/new
 *     and its name, too
 *   2 swapped with the file                               crash: before or after, as a whole; what was damaged
 *   3 both directories synced                                    is in aside/new
 *   4 renamed from aside/new to aside, synced             crash: the same; or done
 *
 * Whether a file in aside/new is step 1's or step 2's nobody needs to know: the next repair moves it to aside, as
 * `WHEN-unfinished-NAME`. Nothing is ever deleted. */
#ifndef LQI_ASIDE_H
#define LQI_ASIDE_H

#include "io.h"

#define LQI_ASIDE_NAME "aside"
#define LQI_ASIDE_PATH_SIZE 300

struct lqi_aside {
    const struct lqi_io *io;
    int queue_dir, dir, new_dir; /* -1: not open */
    char when[32];
    char last[LQI_ASIDE_PATH_SIZE]; /* where the file went that was set aside last, relative to the queue */
};

#define LQI_ASIDE_NONE {NULL, -1, -1, -1, "", ""}

/* May the name be set aside as damaged, or does it lead to something that may be good: is it a link? Then LQ_ECORRUPT, and the text
 * says what to do about it. LQ_ENOTFOUND: nothing is there. `shown` is the name in texts. */
int lqi_aside_check(const struct lqi_io *io, int dir, const char *name, const char *shown);

/* Makes the directories if need be, durably, and sees to what an earlier repair left in aside/new. */
int lqi_aside_open(struct lqi_aside *aside, const struct lqi_io *io, int queue_dir, uint32_t mode, int64_t when_us);
void lqi_aside_close(struct lqi_aside *aside);

/* `path` is relative to the queue: "log/X". It leaves its place; a directory does, too. */
int lqi_aside_take(struct lqi_aside *aside, const char *path);
/* The file `name` in aside/new, which is whole and synced, takes the place of `path`, which is set aside. It gets the owner and the
 * mode of what it replaces, or whoever repairs as root would lock out whose queue it is. */
int lqi_aside_replace(struct lqi_aside *aside, const char *name, const char *path);
/* The same where nothing is. */
int lqi_aside_place(struct lqi_aside *aside, const char *name, const char *path);

#endif
