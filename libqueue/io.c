/* Files that know their names: an errno becomes a code and a text here. */
#include "io.h"

#include <errno.h>
#include <string.h>

#include "bytes.h"

bool lqi_is_unfinished(const char *name)
{
    size_t size = strlen(name);
    return size > 4 && strcmp(name + size - 4, ".new") == 0;
}

int lqi_file_open(struct lqi_file *file, const struct lqi_io *io, int dir, const char *name, const char *shown,
                  int flags, uint32_t mode)
{
    file->io = io;
    file->fd = -1;
    /* Files are opened often, and snprintf() takes as long as the rest of it. */
    size_t length = strnlen(shown, sizeof file->name - 1);
    memcpy(file->name, shown, length);
    file->name[length] = 0;
    int error = io->open(io, dir, name, flags, mode, &file->fd);
    return error ? lqi_fail_errno(error, flags & LQI_OPEN_NEW ? "create" : "open", file->name, -1) : LQ_OK;
}

void lqi_file_close(struct lqi_file *file)
{
    int fd = file->fd;
    file->fd = -1; /* first: a child that is forked meanwhile must not close a number that is another file's by then */
    if (fd >= 0) file->io->close(file->io, fd);
}

int lqi_file_read(const struct lqi_file *file, uint64_t offset, void *data, size_t size, size_t *got_out)
{
    int error = file->io->read(file->io, file->fd, offset, data, size, got_out);
    return error ? lqi_fail_errno(error, "read", file->name, (int64_t)offset) : LQ_OK;
}

int lqi_file_write(const struct lqi_file *file, uint64_t offset, const void *data, size_t size)
{
    int error = file->io->write(file->io, file->fd, offset, data, size);
    return error ? lqi_fail_errno(error, "write", file->name, (int64_t)offset) : LQ_OK;
}

int lqi_file_sync(const struct lqi_file *file)
{
    int error = file->io->sync(file->io, file->fd);
    return error ? lqi_fail_errno(error, "sync", file->name, -1) : LQ_OK;
}

void lqi_file_sync_ahead(const struct lqi_file *file, uint64_t offset, uint64_t size)
{
    file->io->sync_ahead(file->io, file->fd, offset, size);
}

int lqi_file_copy(const struct lqi_file *from, const struct lqi_file *to, uint64_t size)
{
    uint8_t bytes[16384];
    size_t got = sizeof bytes;
    int err = LQ_OK;
    for (uint64_t at = 0; !err && got && at < size; at += got) {
        err = lqi_file_read(from, at, bytes, lqi_min64(sizeof bytes, size - at), &got);
        if (!err && got) err = lqi_file_write(to, at, bytes, got);
    }
    return err;
}

int lqi_file_truncate(const struct lqi_file *file, uint64_t size)
{
    int error = file->io->truncate(file->io, file->fd, size);
    return error ? lqi_fail_errno(error, "cut", file->name, (int64_t)size) : LQ_OK;
}

int lqi_file_allocate(const struct lqi_file *file, uint64_t size)
{
    int error = file->io->allocate(file->io, file->fd, size);
    if (error == EOPNOTSUPP) return LQ_OK;
    return error ? lqi_fail_errno(error, "allocate", file->name, (int64_t)size) : LQ_OK;
}

int lqi_file_back(const struct lqi_file *file, uint64_t from, uint64_t size)
{
    static const uint8_t zeroes[65536];
    int error = file->io->allocate(file->io, file->fd, size);

    while (error == EOPNOTSUPP && from < size) {
        size_t chunk = size - from < sizeof zeroes ? size - from : sizeof zeroes;
        int err = lqi_file_write(file, from, zeroes, chunk);
        if (err) return err;
        from += chunk;
    }
    return error && error != EOPNOTSUPP ? lqi_fail_errno(error, "allocate", file->name, (int64_t)size) : LQ_OK;
}

int lqi_file_size(const struct lqi_file *file, uint64_t *size_out)
{
    struct lqi_io_stat stat;
    int error = file->io->stat(file->io, file->fd, &stat);
    if (error) return lqi_fail_errno(error, "stat", file->name, -1);
    *size_out = stat.size;
    return LQ_OK;
}

int lqi_file_own(const struct lqi_file *file, const struct lqi_file *like)
{
    int error = file->io->own(file->io, file->fd, like->fd);
    return error ? lqi_fail_errno(error, "give to its owner", file->name, -1) : LQ_OK;
}
