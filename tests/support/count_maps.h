/* How much memory of files is mapped, for tests that nothing stays mapped: count_map() and count_unmap() are for a struct lqi_io of
 * theirs. Included by one file of a program. */
#ifndef SUPPORT_COUNT_MAPS_H
#define SUPPORT_COUNT_MAPS_H

#include "io.h"

static int maps; /* that there are */

static inline int count_map(const struct lqi_io *io, int fd, uint64_t offset, size_t size, size_t mirrored, bool writable, void **map_out)
{
    maps++;
    return lqi_io_posix.map(io, fd, offset, size, mirrored, writable, map_out);
}

static inline void count_unmap(const struct lqi_io *io, void *map, size_t size, size_t mirrored)
{
    maps--;
    lqi_io_posix.unmap(io, map, size, mirrored);
}

#endif
