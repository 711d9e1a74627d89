/* The real machine: struct lqi_io on Linux. These files (see io_posix.h) alone ask the kernel
 * for files, so their habits are the library's:
 *
 * - every descriptor is close-on-exec and above 2                         (io_posix_names.c);
 * - a name leads to a regular file with one link or to an error           (the same);
 * - EINTR is retried at every call but close (Linux has closed by then; again would
 *   hit a stranger's descriptor);
 * - what would raise a signal is looked at before: SIGXFSZ by comparing with
 *   RLIMIT_FSIZE, SIGBUS by refusing to map what the file does not have   (io_posix_memory.c). */
#include "io_posix.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "bytes.h"

/* ---- files ------------------------------------------------------------- */

static int posix_read(const struct lqi_io *io, int fd, uint64_t offset, void *data, size_t size, size_t *got_out)
{
    (void)io;
    size_t got = 0;

    size = lqi_min64(size, INT64_MAX - lqi_min64(offset, INT64_MAX)); /* no file is longer, and the kernel refuses to look there */
    while (got < size) {
        ssize_t result;
        RETRY_EINTR(result, pread(fd, (char *)data + got, size - got, (off_t)(offset + got)));
        if (result < 0) return errno;
        if (result == 0) break;
        got += (size_t)result;
    }
    *got_out = got;
    return 0;
}

/* EFBIG when growing a file to `end` would raise SIGXFSZ. Asked every time: the limit may
 * change while we run, and the call is small beside the one that follows. */
static int check_file_size_limit(uint64_t end)
{
    struct rlimit limit;
    if (end > INT64_MAX) return EFBIG;
    if (getrlimit(RLIMIT_FSIZE, &limit) < 0) return errno;
    return limit.rlim_cur != RLIM_INFINITY && end > limit.rlim_cur ? EFBIG : 0;
}

static int posix_write(const struct lqi_io *io, int fd, uint64_t offset, const void *data, size_t size)
{
    (void)io;
    if (size > UINT64_MAX - offset) return EFBIG;
    /* The kernel refuses to write past the limit even what the file has already. */
    int error = check_file_size_limit(offset + size);
    if (error) return error;

    size_t done = 0;
    while (done < size) {
        ssize_t result;
        RETRY_EINTR(result, pwrite(fd, (const char *)data + done, size - done, (off_t)(offset + done)));
        if (result < 0) return errno;
        if (result == 0) return EIO; /* neither progress nor reason: no file system should */
        done += (size_t)result;
    }
    return 0;
}

static int posix_sync(const struct lqi_io *io, int fd)
{
    (void)io;
    int result;
    RETRY_EINTR(result, fdatasync(fd));
    return result < 0 ? errno : 0;
}

static int posix_stat(const struct lqi_io *io, int fd, struct lqi_io_stat *stat_out)
{
    (void)io;
    struct stat stat;
    if (fstat(fd, &stat) < 0) return errno;
    *stat_out = (struct lqi_io_stat){.size = (uint64_t)stat.st_size, .inode = stat.st_ino, .links = (uint32_t)stat.st_nlink,
                                      .mode = stat.st_mode & 0777};
    return 0;
}

/* Only begins to write: a waiting flag would also take the note of a failed write, which is for the next fdatasync. */
static void posix_sync_ahead(const struct lqi_io *io, int fd, uint64_t offset, uint64_t size)
{
    (void)io;
    (void)sync_file_range(fd, (off_t)offset, (off_t)size, SYNC_FILE_RANGE_WRITE);
}

/* Sets the size. The limit stands only in the way of growing. */
static int set_size(int fd, uint64_t size, bool may_shrink)
{
    struct stat stat;
    if (fstat(fd, &stat) < 0) return errno;
    if ((uint64_t)stat.st_size > size && !may_shrink) return 0;
    if ((uint64_t)stat.st_size < size) {
        int error = check_file_size_limit(size);
        if (error) return error;
    }
    int result;
    RETRY_EINTR(result, ftruncate(fd, (off_t)size));
    return result < 0 ? errno : 0;
}

static int posix_truncate(const struct lqi_io *io, int fd, uint64_t size)
{
    (void)io;
    return set_size(fd, size, true);
}

static int posix_allocate(const struct lqi_io *io, int fd, uint64_t size)
{
    (void)io;
    if (size == 0) return 0;
    int error = check_file_size_limit(size);
    if (error) return error;

    int result;
    RETRY_EINTR(result, fallocate(fd, 0, 0, (off_t)size));
    if (result == 0) return 0;
    /* EINVAL: so says ZFS; our arguments are fine. Not posix_fallocate(), which would now
     * write into every block, over whatever another process is writing there. */
    if (errno != EOPNOTSUPP && errno != EINVAL && errno != ENOSYS) return errno;
    error = set_size(fd, size, false);
    return error ? error : EOPNOTSUPP;
}

/* ---- the machine ------------------------------------------------------- */

/* The first bytes of a file of /proc, as a string; an empty one after an error. */
static int read_text(const char *path, char *text, size_t text_size)
{
    size_t got = 0;
    text[0] = 0;
    int fd = lqi_open_above_2(AT_FDCWD, path, O_RDONLY, 0);
    if (fd < 0) return errno;
    int error = posix_read(NULL, fd, 0, text, text_size - 1, &got);
    close(fd);
    text[got] = 0;
    return error;
}

static int hex_digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* "01234567-89ab-...": 32 digits, dashes wherever they are. */
static bool parse_uuid(const char *text, uint8_t id[16])
{
    int digits = 0;
    for (; *text != 0 && *text != '\n'; text++) {
        if (*text == '-') continue;
        int digit = hex_digit(*text);
        if (digit < 0 || digits == 32) return false;
        id[digits / 2] = (uint8_t)(digits % 2 ? id[digits / 2] << 4 | digit : digit);
        digits++;
    }
    return digits == 32;
}

static int posix_boot_id(const struct lqi_io *io, uint8_t id[16])
{
    (void)io;
    char text[32768];
    int error = read_text("/proc/sys/kernel/random/boot_id", text, 64);
    if (parse_uuid(text, id)) return 0;
    /* Want of descriptors or memory hides nothing: with another kind of id, what the dead left would count as stale. */
    if (error == EMFILE || error == ENFILE || error == ENOMEM) return error;

    /* Hidden, as in some sandboxes: the second in which the kernel started tells boots apart as well,
     * as long as nobody sets the clock. */
    error = read_text("/proc/stat", text, sizeof text);
    if (error == EMFILE || error == ENFILE || error == ENOMEM) return error;
    const char *line = strstr(text, "\nbtime ");
    if (line == NULL) return ENOSYS; /* not ENOENT: no queue is missing */
    uint64_t seconds = strtoull(line + strlen("\nbtime "), NULL, 10);
    memcpy(id, "LQ btime", 8);
    for (int i = 0; i < 8; i++) id[8 + i] = (uint8_t)(seconds >> (8 * i));
    return 0;
}

int lqi_posix_random(const struct lqi_io *io, void *data, size_t size)
{
    (void)io;
    size_t got = 0;
    while (got < size) {
        ssize_t result;
        RETRY_EINTR(result, getrandom((char *)data + got, size - got, 0));
        if (result < 0) return errno;
        got += (size_t)result;
    }
    return 0;
}

static int64_t posix_wall_us(const struct lqi_io *io)
{
    (void)io;
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

const struct lqi_io lqi_io_posix = {
    .dir_open = lqi_posix_dir_open,
    .dir_make = lqi_posix_dir_make,
    .dir_list = lqi_posix_dir_list,
    .dir_sync = lqi_posix_dir_sync,
    .dir_shared = lqi_posix_dir_shared,
    .open = lqi_posix_open,
    .close = lqi_posix_close,
    .read = posix_read,
    .write = posix_write,
    .sync = posix_sync,
    .sync_ahead = posix_sync_ahead,
    .truncate = posix_truncate,
    .allocate = posix_allocate,
    .stat = posix_stat,
    .own = lqi_posix_own,
    .rename = lqi_posix_rename,
    .swap = lqi_posix_swap,
    .unlink = lqi_posix_unlink,
    .lock = lqi_posix_lock,
    .unlock = lqi_posix_unlock,
    .locked = lqi_posix_locked,
    .map = lqi_posix_map,
    .unmap = lqi_posix_unmap,
    .boot_id = posix_boot_id,
    .random = lqi_posix_random,
    .wall_us = posix_wall_us,
};
