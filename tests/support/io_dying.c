/* See io_dying.h. */
#include "io_dying.h"

#include <unistd.h>

static struct {
    uint64_t at;  /* dies at this call, from 1 */
    bool after;
    uint64_t calls;
} fate;

void io_dying_at(uint64_t call, bool after)
{
    fate.at = call;
    fate.after = after;
    fate.calls = 0;
}

static bool due(void)
{
    return ++fate.calls == fate.at;
}

#define DYING(name, parameters, arguments)                        \
    static int dying_##name parameters                            \
    {                                                             \
        bool now = due();                                         \
        if (now && !fate.after) _exit(IO_DYING_STATUS);           \
        int error = lqi_io_posix.name arguments;                  \
        if (now) _exit(IO_DYING_STATUS);                         \
        return error;                                             \
    }

DYING(dir_make, (const struct lqi_io *io, int parent, const char *name, uint32_t mode), (io, parent, name, mode))
DYING(dir_sync, (const struct lqi_io *io, int dir), (io, dir))
DYING(open, (const struct lqi_io *io, int dir, const char *name, int flags, uint32_t mode, int *fd_out),
      (io, dir, name, flags, mode, fd_out))
DYING(write, (const struct lqi_io *io, int fd, uint64_t offset, const void *data, size_t size), (io, fd, offset, data, size))
DYING(sync, (const struct lqi_io *io, int fd), (io, fd))
DYING(truncate, (const struct lqi_io *io, int fd, uint64_t size), (io, fd, size))
DYING(allocate, (const struct lqi_io *io, int fd, uint64_t size), (io, fd, size))
DYING(own, (const struct lqi_io *io, int fd, int like), (io, fd, like))
DYING(rename, (const struct lqi_io *io, int dir, const char *from, const char *to, bool replace), (io, dir, from, to, replace))
DYING(swap, (const struct lqi_io *io, int dir, const char *a, const char *b), (io, dir, a, b))
DYING(unlink, (const struct lqi_io *io, int dir, const char *name), (io, dir, name))
DYING(lock, (const struct lqi_io *io, int fd, uint64_t byte), (io, fd, byte))
DYING(unlock, (const struct lqi_io *io, int fd, uint64_t byte), (io, fd, byte))
DYING(map, (const struct lqi_io *io, int fd, uint64_t offset, size_t size, size_t mirrored, bool writable, void **map_out),
      (io, fd, offset, size, mirrored, writable, map_out))

struct lqi_io io_dying(void)
{
    struct lqi_io io = lqi_io_posix;
    io.dir_make = dying_dir_make;
    io.dir_sync = dying_dir_sync;
    io.open = dying_open;
    io.write = dying_write;
    io.sync = dying_sync;
    io.truncate = dying_truncate;
    io.allocate = dying_allocate;
    io.own = dying_own;
    io.rename = dying_rename;
    io.swap = dying_swap;
    io.unlink = dying_unlink;
    io.lock = dying_lock;
    io.unlock = dying_unlock;
    io.map = dying_map;
    return io;
}
