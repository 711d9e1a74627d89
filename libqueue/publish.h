/* Making a small file so that its name never points at anything but all of it:
 *
 *   1. made as NAME.<16 hex digits>.new    crash: a stray .new file, which nobody reads
 *   2. allocated, written, synced          crash: the same
 *   3. renamed to NAME, without replacing  crash: NAME is there or not; if it is, it is whole
 *   4. directory synced                    crash: NAME is there
 */
#ifndef LQI_PUBLISH_H
#define LQI_PUBLISH_H

#include "io.h"

struct lqi_publication {
    const char *name, *shown; /* in the directory; in texts */
    uint32_t mode;
    const void *bytes;        /* the beginning of the file; zeroes behind it */
    size_t size;
    uint64_t file_size;       /* all of it backed by disk, where that can be had */
};

/* LQ_OK: the file is there, durably, made by us or by somebody who was faster. After a
 * failure it is not there, or it is there, whole, but maybe not durable. */
int lqi_publish(const struct lqi_io *io, int dir, const struct lqi_publication *what);

#endif
