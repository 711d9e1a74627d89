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

/* Puts a file of other blocks and the same owner, of the first `size` bytes of it (UINT64_MAX: of all), durably in the place of the file `name`. When a sync is known to have
 * failed, to write the bytes again is not enough: of a page whose write has failed, ext4 remembers that its block is in use,
 * while on the disk the block still counts as one that was only allocated; whatever is written into the page later, and synced
 * without an error, is zeroes after the next mount. Dying leaves the old file or the new one, and maybe a stray .new. */
int lqi_publish_again(const struct lqi_io *io, int dir, const char *name, const char *shown, uint32_t mode, uint64_t size);

#endif
