/* The real I/O table in tests: opening that must succeed, and what a child says of it. After cmocka.h. */
#ifndef SUPPORT_REAL_IO_H
#define SUPPORT_REAL_IO_H

#include "child.h"
#include "io.h"
#include "scratch.h"

static const struct lqi_io *const io = &lqi_io_posix;

static inline int open_dir(const char *path)
{
    int dir = -1;
    assert_int_equal(io->dir_open(io, -1, path, &dir), 0);
    return dir;
}

static inline int open_file(int dir, const char *name, int flags)
{
    int fd = -1;
    assert_int_equal(io->open(io, dir, name, flags, 0600, &fd), 0);
    return fd;
}

/* Ends a test by the result of a child's body. */
static inline void settle(int result)
{
    if (result == CHILD_SKIP) skip();
    assert_int_equal(result, 0);
}

#endif
