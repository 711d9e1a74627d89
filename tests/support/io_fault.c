/* See io_fault.h. */
#include "io_fault.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *const io_kind_names[IO_KINDS] = {
    "dir_open", "dir_make", "dir_list", "dir_sync", "dir_shared", "open",   "read",   "write", "sync",    "truncate",
    "allocate", "stat",     "own",      "rename",   "swap",     "unlink",     "lock",   "unlock", "locked", "map",   "boot_id", "random",
};

/* Bytes that a write since the last good sync of the file has replaced. */
struct io_fault_undo {
    struct io_fault_undo *older;
    uint64_t inode, offset;
    size_t size;
    uint8_t bytes[];
};

static struct io_fault *fault_of(const struct lqi_io *io)
{
    return io->context;
}

/* Counts the call; the errno to fail it with, or 0. */
static int count(struct io_fault *fault, enum io_kind kind)
{
    int error = 0;
    pthread_mutex_lock(&fault->lock);
    uint64_t call = ++fault->calls[kind];
    if (fault->nth > 0 && kind == fault->kind && (call == fault->nth || (fault->for_ever && call > fault->nth))) {
        error = fault->error;
        fault->hits++;
    }
    pthread_mutex_unlock(&fault->lock);
    return error;
}

/* ---- what a failed sync forgets ----------------------------------------- */

static uint64_t inode_of(const struct io_fault *fault, int fd)
{
    struct lqi_io_stat stat;
    int error = fault->under->stat(fault->under, fd, &stat);
    assert(!error);
    return stat.inode;
}

static void remember(struct io_fault *fault, int fd, uint64_t offset, size_t size)
{
    struct io_fault_undo *undo = calloc(1, sizeof *undo + size);
    size_t got = 0;

    assert(undo != NULL);
    *undo = (struct io_fault_undo){.inode = inode_of(fault, fd), .offset = offset, .size = size};
    int error = fault->under->read(fault->under, fd, offset, undo->bytes, size, &got); /* zeros beyond the end */
    assert(!error || error == EBADF);
    pthread_mutex_lock(&fault->lock);
    undo->older = fault->undo;
    fault->undo = undo;
    pthread_mutex_unlock(&fault->lock);
}

/* Of the file, or all (fd -1): takes the writes back, or only forgets what they replaced. */
static void settle(struct io_fault *fault, int fd, bool take_back)
{
    uint64_t inode = fd < 0 ? 0 : inode_of(fault, fd);

    pthread_mutex_lock(&fault->lock);
    for (struct io_fault_undo **link = &fault->undo; *link != NULL;) {
        struct io_fault_undo *undo = *link;
        if (fd >= 0 && undo->inode != inode) {
            link = &undo->older;
            continue;
        }
        if (take_back) {
            struct lqi_io_stat stat;
            size_t size = undo->size;
            int error = fault->under->stat(fault->under, fd, &stat);
            assert(!error);
            /* Cut since: the file does not grow again. */
            if (undo->offset + size > stat.size) size = undo->offset < stat.size ? (size_t)(stat.size - undo->offset) : 0;
            error = size ? fault->under->write(fault->under, fd, undo->offset, undo->bytes, size) : 0;
            assert(!error);
        }
        *link = undo->older;
        free(undo);
    }
    pthread_mutex_unlock(&fault->lock);
}

/* ---- the calls --------------------------------------------------------- */

/* Who did not look at an error goes on without a file. The machine would only say no; here it is seen. */
static int count_on(struct io_fault *fault, enum io_kind kind, int fd)
{
    if (fd >= 0) return count(fault, kind);
    fprintf(stderr, "%s of a file that is not open\n", io_kind_names[kind]);
    abort();
}

static int fault_dir_open(const struct lqi_io *io, int parent, const char *name, int *dir_out)
{
    struct io_fault *fault = fault_of(io);
    int error = count(fault, IO_DIR_OPEN);
    return error ? error : fault->under->dir_open(fault->under, parent, name, dir_out);
}

static int fault_dir_make(const struct lqi_io *io, int parent, const char *name, uint32_t mode)
{
    struct io_fault *fault = fault_of(io);
    int error = count(fault, IO_DIR_MAKE);
    return error ? error : fault->under->dir_make(fault->under, parent, name, mode);
}

static int fault_dir_list(const struct lqi_io *io, int dir, lqi_name_callback *each, void *context)
{
    struct io_fault *fault = fault_of(io);
    int error = count(fault, IO_DIR_LIST);
    return error ? error : fault->under->dir_list(fault->under, dir, each, context);
}

static int fault_dir_sync(const struct lqi_io *io, int dir)
{
    struct io_fault *fault = fault_of(io);
    int error = count(fault, IO_DIR_SYNC);
    return error ? error : fault->under->dir_sync(fault->under, dir);
}

static int fault_dir_shared(const struct lqi_io *io, int dir, bool *shared_out)
{
    struct io_fault *fault = fault_of(io);
    int error = count(fault, IO_DIR_SHARED);
    return error ? error : fault->under->dir_shared(fault->under, dir, shared_out);
}

static int fault_open(const struct lqi_io *io, int dir, const char *name, int flags, uint32_t mode, int *fd_out)
{
    struct io_fault *fault = fault_of(io);
    int error = count(fault, IO_OPEN);
    return error ? error : fault->under->open(fault->under, dir, name, flags, mode, fd_out);
}

static void fault_close(const struct lqi_io *io, int fd)
{
    struct io_fault *fault = fault_of(io);
    fault->under->close(fault->under, fd);
}

/* Cannot fail. */
static void fault_sync_ahead(const struct lqi_io *io, int fd, uint64_t offset, uint64_t size)
{
    struct io_fault *fault = fault_of(io);
    fault->under->sync_ahead(fault->under, fd, offset, size);
}

static int fault_read(const struct lqi_io *io, int fd, uint64_t offset, void *data, size_t size, size_t *got_out)
{
    struct io_fault *fault = fault_of(io);
    int error = count_on(fault, IO_READ, fd);
    if (!error) return fault->under->read(fault->under, fd, offset, data, size, got_out);
    /* Who does not look at the error must not find what an earlier call has left there. */
    memset(data, 0x5a, size);
    *got_out = size;
    return error;
}

static int fault_write(const struct lqi_io *io, int fd, uint64_t offset, const void *data, size_t size)
{
    struct io_fault *fault = fault_of(io);
    int error = count_on(fault, IO_WRITE, fd);
    if (error && !fault->short_writes) return error;
    size_t part = error ? size / 2 : size;
    if (fault->drop_unsynced && part > 0) remember(fault, fd, offset, part);
    int result = fault->under->write(fault->under, fd, offset, data, part);
    return error ? error : result;
}

static int fault_sync(const struct lqi_io *io, int fd)
{
    struct io_fault *fault = fault_of(io);
    int error = count_on(fault, IO_SYNC, fd);
    if (error) {
        if (fault->drop_unsynced) settle(fault, fd, true);
        if (fault->sync_failed) fault->sync_failed(fault->sync_context, fd);
        return error;
    }
    error = fault->under->sync(fault->under, fd);
    if (!error && fault->drop_unsynced) settle(fault, fd, false);
    return error;
}

static int fault_truncate(const struct lqi_io *io, int fd, uint64_t size)
{
    struct io_fault *fault = fault_of(io);
    int error = count_on(fault, IO_TRUNCATE, fd);
    return error ? error : fault->under->truncate(fault->under, fd, size);
}

static int fault_allocate(const struct lqi_io *io, int fd, uint64_t size)
{
    struct io_fault *fault = fault_of(io);
    int error = count_on(fault, IO_ALLOCATE, fd);
    if (error && !fault->short_allocates) return error;
    int result = fault->under->allocate(fault->under, fd, error ? size / 2 : size);
    return error ? error : result;
}

static int fault_stat(const struct lqi_io *io, int fd, struct lqi_io_stat *stat_out)
{
    struct io_fault *fault = fault_of(io);
    int error = count_on(fault, IO_STAT, fd);
    return error ? error : fault->under->stat(fault->under, fd, stat_out);
}

static int fault_own(const struct lqi_io *io, int file, int like)
{
    struct io_fault *fault = fault_of(io);
    int error = count(fault, IO_OWN);
    return error ? error : fault->under->own(fault->under, file, like);
}

static int fault_rename(const struct lqi_io *io, int dir, const char *from, const char *to, bool replace)
{
    struct io_fault *fault = fault_of(io);
    int error = count(fault, IO_RENAME);
    return error ? error : fault->under->rename(fault->under, dir, from, to, replace);
}

static int fault_swap(const struct lqi_io *io, int dir, const char *a, const char *b)
{
    struct io_fault *fault = fault_of(io);
    int error = count(fault, IO_SWAP);
    return error ? error : fault->under->swap(fault->under, dir, a, b);
}

static int fault_unlink(const struct lqi_io *io, int dir, const char *name)
{
    struct io_fault *fault = fault_of(io);
    int error = count(fault, IO_UNLINK);
    return error ? error : fault->under->unlink(fault->under, dir, name);
}

static int fault_lock(const struct lqi_io *io, int fd, uint64_t byte)
{
    struct io_fault *fault = fault_of(io);
    int error = count(fault, IO_LOCK);
    return error ? error : fault->under->lock(fault->under, fd, byte);
}

static int fault_unlock(const struct lqi_io *io, int fd, uint64_t byte)
{
    struct io_fault *fault = fault_of(io);
    int error = count(fault, IO_UNLOCK);
    return error ? error : fault->under->unlock(fault->under, fd, byte);
}

static int fault_locked(const struct lqi_io *io, int fd, uint64_t first, uint64_t number, bool *by_others_out)
{
    struct io_fault *fault = fault_of(io);
    int error = count(fault, IO_LOCKED);
    return error ? error : fault->under->locked(fault->under, fd, first, number, by_others_out);
}

static int fault_map(const struct lqi_io *io, int fd, uint64_t offset, size_t size, size_t mirrored, bool writable,
                     void **map_out)
{
    struct io_fault *fault = fault_of(io);
    int error = count(fault, IO_MAP);
    return error ? error : fault->under->map(fault->under, fd, offset, size, mirrored, writable, map_out);
}

static void fault_unmap(const struct lqi_io *io, void *map, size_t size, size_t mirrored)
{
    struct io_fault *fault = fault_of(io);
    fault->under->unmap(fault->under, map, size, mirrored);
}

static int fault_boot_id(const struct lqi_io *io, uint8_t id[16])
{
    struct io_fault *fault = fault_of(io);
    int error = count(fault, IO_BOOT_ID);
    return error ? error : fault->under->boot_id(fault->under, id);
}

static int fault_random(const struct lqi_io *io, void *data, size_t size)
{
    struct io_fault *fault = fault_of(io);
    int error = count(fault, IO_RANDOM);
    return error ? error : fault->under->random(fault->under, data, size);
}

static int64_t fault_wall_us(const struct lqi_io *io)
{
    struct io_fault *fault = fault_of(io);
    return fault->under->wall_us(fault->under);
}

void io_fault_init(struct io_fault *fault, const struct lqi_io *under)
{
    *fault = (struct io_fault){
        .io = {
            .context = fault,
            .dir_open = fault_dir_open,
            .dir_make = fault_dir_make,
            .dir_list = fault_dir_list,
            .dir_sync = fault_dir_sync,
            .dir_shared = fault_dir_shared,
            .open = fault_open,
            .close = fault_close,
            .read = fault_read,
            .write = fault_write,
            .sync = fault_sync,
            .sync_ahead = fault_sync_ahead,
            .truncate = fault_truncate,
            .allocate = fault_allocate,
            .stat = fault_stat,
            .own = fault_own,
            .rename = fault_rename,
            .swap = fault_swap,
            .unlink = fault_unlink,
            .lock = fault_lock,
            .unlock = fault_unlock,
            .locked = fault_locked,
            .map = fault_map,
            .unmap = fault_unmap,
            .boot_id = fault_boot_id,
            .random = fault_random,
            .wall_us = fault_wall_us,
        },
        .under = under,
    };
    pthread_mutex_init(&fault->lock, NULL);
}

void io_fault_release(struct io_fault *fault)
{
    settle(fault, -1, false);
    pthread_mutex_destroy(&fault->lock);
}

void io_fault_plan(struct io_fault *fault, enum io_kind kind, uint64_t nth, bool for_ever, int error)
{
    pthread_mutex_lock(&fault->lock);
    fault->kind = kind;
    fault->nth = nth;
    fault->for_ever = for_ever;
    fault->error = error;
    fault->hits = 0;
    memset(fault->calls, 0, sizeof fault->calls);
    pthread_mutex_unlock(&fault->lock);
}

void io_fault_end(struct io_fault *fault)
{
    pthread_mutex_lock(&fault->lock);
    fault->nth = 0;
    pthread_mutex_unlock(&fault->lock);
}
