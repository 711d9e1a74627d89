/* What processes share on the real machine, besides the bytes of files: locks and maps.
 *
 * Maps and descriptors stay with the child of a fork. Not MADV_DONTFORK: the child's
 * close of a handle would then unmap addresses where something else of the child may
 * live by now. The price: a lock belongs to the open file, which parent and child
 * share; it goes when the parent has died AND the child has closed, exec'd or exited. */
#include "io_posix.h"

#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* Of kernel headers that may be older than the kernel. */
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

/* ---- locks ------------------------------------------------------------- */

/* F_OFD_: owned by the open file. The old kind belongs to the process and is lost when any of its
 * threads closes any descriptor of the file. */
static int ofd_lock(int fd, int command, struct flock *lock)
{
    int result;
    RETRY_EINTR(result, fcntl(fd, command, lock));
    if (result == 0) return 0;
    if (errno == EACCES) return EAGAIN;
    return errno == EINVAL ? EOPNOTSUPP : errno; /* kernel before 3.15, or a file system without locks */
}

int lqi_posix_lock(const struct lqi_io *io, int fd, uint64_t byte)
{
    (void)io;
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = (off_t)byte, .l_len = 1};
    return ofd_lock(fd, F_OFD_SETLK, &lock);
}

int lqi_posix_unlock(const struct lqi_io *io, int fd, uint64_t byte)
{
    (void)io;
    struct flock lock = {.l_type = F_UNLCK, .l_whence = SEEK_SET, .l_start = (off_t)byte, .l_len = 1};
    return ofd_lock(fd, F_OFD_SETLK, &lock);
}

int lqi_posix_locked(const struct lqi_io *io, int fd, uint64_t first, uint64_t count, bool *by_others_out)
{
    (void)io;
    *by_others_out = false;
    if (count == 0) return 0; /* to the kernel it would mean "to the end" */
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = (off_t)first, .l_len = (off_t)count};
    int error = ofd_lock(fd, F_OFD_GETLK, &lock);
    if (!error) *by_others_out = lock.l_type != F_UNLCK;
    return error;
}

/* ---- maps -------------------------------------------------------------- */

/* Why a page could not be had: the file cannot be read there, or else there was no room for it. */
static int why_not_populated(int fd, uint64_t offset, size_t size)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    for (size_t at = 0; at < size; at += page) {
        char byte;
        ssize_t result;
        RETRY_EINTR(result, pread(fd, &byte, 1, (off_t)(offset + at)));
        if (result < 0) return errno;
    }
    return ENOSPC;
}

/* Has every page present and writable, so that a full disk is an error here and no SIGBUS later. */
static int populate(void *map, size_t size)
{
    int result;
    RETRY_EINTR(result, madvise(map, size, MADV_POPULATE_WRITE));
    if (result == 0) return 0;
    /* Before Linux 5.14 there is no way to ask without risking the signal: pages come when they are
     * touched, and for their room we have the word of allocate(). */
    if (errno == EINVAL) return 0;
    return errno;
}

int lqi_posix_map(const struct lqi_io *io, int fd, uint64_t offset, size_t size, size_t mirrored, bool writable,
                     void **map_out)
{
    (void)io;
    int protection = writable ? PROT_READ | PROT_WRITE : PROT_READ;
    struct stat stat;

    if (size > PTRDIFF_MAX / 2 || mirrored > size) return EINVAL; /* so says the kernel itself of what is nothing, or not in whole pages */
    /* Touching a page past the end of the file is a SIGBUS. */
    if (fstat(fd, &stat) < 0) return errno;
    if ((uint64_t)stat.st_size < offset || (uint64_t)stat.st_size - offset < size) return EINVAL;

    /* The whole stretch of addresses is taken first, so that nobody maps anything between the parts. */
    char *map = mmap(NULL, size + mirrored, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (map == MAP_FAILED) return errno;

    int error = 0;
    if (mmap(map, size, protection, MAP_SHARED | MAP_FIXED, fd, (off_t)offset) == MAP_FAILED)
        error = errno;
    else if (mirrored > 0 && mmap(map + size, mirrored, protection, MAP_SHARED | MAP_FIXED, fd,
                                  (off_t)(offset + size - mirrored)) == MAP_FAILED)
        error = errno;
    else if (writable)
        error = populate(map, size + mirrored);
    if (error) {
        munmap(map, size + mirrored);
        return error == EFAULT ? why_not_populated(fd, offset, size) : error;
    }
    *map_out = map;
    return 0;
}

void lqi_posix_unmap(const struct lqi_io *io, void *map, size_t size, size_t mirrored)
{
    (void)io;
    if (map != NULL) munmap(map, size + mirrored);
}
