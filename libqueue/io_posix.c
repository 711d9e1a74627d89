/* The real machine: struct lqi_io on Linux. The only file that asks the kernel
 * for files, so its habits are the library's:
 *
 * - every descriptor is close-on-exec and above 2, so that a host program which
 *   closed its standard streams never prints into a queue;
 * - EINTR is retried at every call but close (Linux has closed by then; again would
 *   hit a stranger's descriptor);
 * - what would raise a signal is looked at before: SIGXFSZ by comparing with
 *   RLIMIT_FSIZE, SIGBUS by refusing to map what the file does not have;
 * - a name leads to a regular file with one link or to an error: a FIFO must
 *   not hang us, a symbolic or hard link must not have us write somewhere else.
 *
 * Maps and descriptors stay with the child of a fork. Not MADV_DONTFORK: the child's
 * close of a handle would then unmap addresses where something else of the child may
 * live by now. The price: a lock belongs to the open file, which parent and child
 * share; it goes when the parent has died AND the child has closed, exec'd or exited. */
#include "io.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

/* Of kernel headers that may be older than the kernel. */
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif
#ifndef RENAME_NOREPLACE
#define RENAME_NOREPLACE 1
#endif
#ifndef RENAME_EXCHANGE
#define RENAME_EXCHANGE 2
#endif

#define RETRY_EINTR(result, call) \
    do (result) = (call);         \
    while ((result) < 0 && errno == EINTR)

static void posix_close(const struct lqi_io *io, int fd)
{
    (void)io;
    if (fd >= 0) close(fd);
}

/* openat, above 2. Returns the descriptor, or -1 with errno. */
static int open_above_2(int dir, const char *name, int flags, mode_t mode)
{
    int fd;

    RETRY_EINTR(fd, openat(dir, name, flags | O_CLOEXEC, mode));
    if (fd < 0 || fd > 2) return fd;

    int moved = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    int error = errno == EINVAL ? EMFILE : errno; /* EINVAL: the limit is 3 or less */
    close(fd);
    if (moved < 0) errno = error;
    return moved;
}

/* ---- directories ------------------------------------------------------- */

/* A path from the user may lead through a symbolic link; a name inside a queue may not. */
static int posix_dir_open(const struct lqi_io *io, int parent, const char *name, int *dir_out)
{
    (void)io;
    int dir = parent < 0 ? open_above_2(AT_FDCWD, name, O_RDONLY | O_DIRECTORY, 0)
                         : open_above_2(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
    if (dir < 0) return errno;
    *dir_out = dir;
    return 0;
}

/* A queue's files are open to those whom its mode names, whoever made them with whatever umask: or a member of the group
 * could not write what another one has made. Set-id bits stay. Where a file system has no modes, it says no, which is fine. */
static void set_mode(int fd, uint32_t mode)
{
    struct stat stat;
    if (fstat(fd, &stat) == 0 && (stat.st_mode & 0777) != mode) (void)fchmod(fd, (stat.st_mode & 07000) | (mode_t)mode);
}

/* Hands a file on: root to its owner and group, others to a group that they are in. Where that is not allowed (EACCES: says a
 * security module), or the file system has no owners or does not know this one, the file stays ours, which is fine. */
static int give(int fd, const struct stat *to)
{
    uid_t user = geteuid() == 0 ? to->st_uid : (uid_t)-1;
    struct stat now;
    int result;

    if (fstat(fd, &now) < 0) return errno;
    if ((user == (uid_t)-1 || now.st_uid == user) && now.st_gid == to->st_gid) return 0;
    RETRY_EINTR(result, fchown(fd, user, to->st_gid));
    if (result == 0 || errno == EPERM || errno == EACCES || errno == EINVAL || errno == EOPNOTSUPP || errno == ENOSYS) return 0;
    return errno;
}

/* What is made in a queue is its owner's and its group's, whoever makes it. */
static int give_like_dir(int fd, int dir)
{
    struct stat stat;
    return fstat(dir, &stat) < 0 ? errno : give(fd, &stat);
}

static int posix_dir_list(const struct lqi_io *io, int dir, lqi_name_callback *each, void *context)
{
    (void)io;
    /* Opened afresh: a duplicate would share its place in the listing with other threads. */
    int fd = open_above_2(dir, ".", O_RDONLY | O_DIRECTORY, 0);
    if (fd < 0) return errno;
    DIR *listing = fdopendir(fd);
    if (listing == NULL) {
        int error = errno;
        close(fd);
        return error;
    }

    int error = 0;
    for (;;) {
        errno = 0;
        struct dirent *entry = readdir(listing);
        if (entry == NULL) {
            if (errno == EINTR) continue;
            error = errno;
            break;
        }
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
        if (each(context, entry->d_name) != 0) break;
    }
    closedir(listing);
    return error;
}

static int note_any(void *context, const char *name)
{
    (void)name;
    *(bool *)context = false;
    return 1;
}

static bool is_empty(int dir)
{
    bool empty = true;
    return posix_dir_list(NULL, dir, note_any, &empty) == 0 && empty;
}

static int posix_dir_make(const struct lqi_io *io, int parent, const char *name, uint32_t mode)
{
    (void)io;
    int result;
    RETRY_EINTR(result, mkdirat(parent < 0 ? AT_FDCWD : parent, name, (mode_t)mode | 0700));
    if (result < 0) return errno;
    /* Not through a link that somebody has put in its place meanwhile, nor to what is not ours, or not new. */
    int fd = open_above_2(parent < 0 ? AT_FDCWD : parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
    struct stat stat;
    if (fd < 0) return 0;
    int error = 0;
    if (fstat(fd, &stat) == 0 && stat.st_uid == geteuid()) {
        set_mode(fd, mode);
        if (parent >= 0 && is_empty(fd)) error = give_like_dir(fd, parent);
    }
    close(fd);
    return error;
}

static int posix_dir_sync(const struct lqi_io *io, int dir)
{
    (void)io;
    int result;
    RETRY_EINTR(result, fsync(dir));
    /* Says a file system that has nothing to sync in directories. */
    if (result < 0 && errno == EINVAL) return 0;
    return result < 0 ? errno : 0;
}

/* File systems that several machines may have mounted at once: each machine has its
 * own page cache and its own futexes there, and locks are shared late or never.
 * FUSE is let through: it is one name for local ones (ntfs-3g, gocryptfs, mergerfs, virtiofs)
 * and remote ones (sshfs), and processes of one machine do share its page cache; where
 * it bypasses the cache, the map fails with an error. */
static int posix_dir_shared(const struct lqi_io *io, int dir, bool *shared_out)
{
    (void)io;
    static const uint32_t network[] = {
        0x00006969, /* NFS */        0x0000517b, /* SMB */     0xff534d42, /* CIFS */    0xfe534d42, /* SMB 2 and 3 */
        0x01021997, /* 9p */         0x5346414f, /* AFS */     0x6b414653, /* kAFS */    0x73757245, /* Coda */
        0x0000564c, /* NCP */        0x00c36400, /* Ceph */    0x0bd00bd0, /* Lustre */  0x47504653, /* GPFS */
        0x01161970, /* GFS2 */       0x7461636f, /* OCFS2 */   0x20030528, /* OrangeFS */ 0x19830326, /* BeeGFS */
        0xaad7aaea, /* PanFS */
    };
    struct statfs stat;
    int result;

    RETRY_EINTR(result, fstatfs(dir, &stat));
    if (result < 0) return errno;
    *shared_out = true;
    for (size_t i = 0; i < sizeof network / sizeof *network; i++)
        if ((uint32_t)stat.f_type == network[i]) *shared_out = false;
    return 0;
}

/* ---- files ------------------------------------------------------------- */

enum { OPEN_TRIES = 10 };

/* 0, or why this is not a file that a queue may use: EISDIR; ENXIO, neither file nor
 * directory; EMLINK, it has another name, somewhere; ENOENT, it has none any more. */
static int check_is_ours(int fd)
{
    struct stat stat;
    if (fstat(fd, &stat) < 0) return errno;
    if (S_ISDIR(stat.st_mode)) return EISDIR;
    if (!S_ISREG(stat.st_mode)) return ENXIO;
    if (stat.st_nlink > 1) return EMLINK;
    return stat.st_nlink == 0 ? ENOENT : 0;
}

/* btrfs copies on write unless a file is told otherwise while it is empty; elsewhere this says no, which is fine. */
static void ask_for_no_copies(int fd)
{
    int attributes;
    if (ioctl(fd, FS_IOC_GETFLAGS, &attributes) != 0) return;
    attributes |= FS_NOCOW_FL;
    (void)ioctl(fd, FS_IOC_SETFLAGS, &attributes);
}

static int posix_open(const struct lqi_io *io, int dir, const char *name, int flags, uint32_t mode, int *fd_out)
{
    (void)io;
    bool new = flags & LQI_OPEN_NEW;
    /* O_NONBLOCK: opening a FIFO or a device must not wait for the other side. To a regular file it means nothing. */
    int how = O_NOFOLLOW | O_NONBLOCK | O_NOCTTY;
    how |= new ? O_RDWR | O_CREAT | O_EXCL : flags & LQI_OPEN_WRITE ? O_RDWR : O_RDONLY;

    for (int try = 1;; try++) {
        int fd = open_above_2(dir, name, how, (mode_t)mode);
        if (fd < 0) return errno;
        int error = check_is_ours(fd);
        if (!error && (flags & LQI_OPEN_IN_PLACE)) ask_for_no_copies(fd);
        if (!error && new) {
            set_mode(fd, mode);
            error = give_like_dir(fd, dir);
            if (error) (void)unlinkat(dir, name, 0);
        }
        if (!error) {
            *fd_out = fd;
            return 0;
        }
        close(fd);

        /* A rename may just have put another file in its place, and the way of rename_without_replacing()
         * gives a file two names for a moment: look again. */
        if (new || (error != ENOENT && error != EMLINK) || try == OPEN_TRIES) return error;
        if (error == EMLINK) nanosleep(&(struct timespec){0, 1000000}, NULL);
    }
}

static int posix_read(const struct lqi_io *io, int fd, uint64_t offset, void *data, size_t size, size_t *got_out)
{
    (void)io;
    size_t got = 0;

    while (got < size) {
        if (offset + got > INT64_MAX) break; /* no file is so long */
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

static int posix_own(const struct lqi_io *io, int fd, int like)
{
    (void)io;
    struct stat stat;
    if (fstat(like, &stat) < 0) return errno;
    int error = give(fd, &stat);
    if (!error) set_mode(fd, stat.st_mode & 0777);
    return error;
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

/* For file systems whose rename cannot refuse (ZFS before 2.2, some of FUSE). The file has both
 * names in between, and keeps them if we die there; called again we finish the work. */
static int rename_without_replacing(int dir, const char *from, const char *to)
{
    int result;
    RETRY_EINTR(result, linkat(dir, from, dir, to, 0));
    if (result < 0 && errno == EEXIST) {
        struct stat a, b;
        if (fstatat(dir, from, &a, AT_SYMLINK_NOFOLLOW) < 0) return errno;
        if (fstatat(dir, to, &b, AT_SYMLINK_NOFOLLOW) < 0) return errno;
        if (a.st_dev != b.st_dev || a.st_ino != b.st_ino) return EEXIST;
    } else if (result < 0) {
        return errno;
    }
    RETRY_EINTR(result, unlinkat(dir, from, 0));
    return result < 0 ? errno : 0;
}

static int posix_rename(const struct lqi_io *io, int dir, const char *from, const char *to, bool replace)
{
    (void)io;
    long result;
    if (replace) {
        RETRY_EINTR(result, renameat(dir, from, dir, to));
        return result < 0 ? errno : 0;
    }
    RETRY_EINTR(result, syscall(SYS_renameat2, dir, from, dir, to, RENAME_NOREPLACE));
    if (result == 0) return 0;
    if (errno == EINVAL || errno == ENOSYS) return rename_without_replacing(dir, from, to);
    return errno;
}

static int posix_swap(const struct lqi_io *io, int dir, const char *a, const char *b)
{
    (void)io;
    long result;
    RETRY_EINTR(result, syscall(SYS_renameat2, dir, a, dir, b, RENAME_EXCHANGE));
    if (result == 0) return 0;
    return errno == EINVAL || errno == ENOSYS ? EOPNOTSUPP : errno; /* not a way round: no moment may be without the name */
}

static int posix_unlink(const struct lqi_io *io, int dir, const char *name)
{
    (void)io;
    int result;
    RETRY_EINTR(result, unlinkat(dir, name, 0));
    return result < 0 ? errno : 0;
}

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

static int posix_lock(const struct lqi_io *io, int fd, uint64_t byte)
{
    (void)io;
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = (off_t)byte, .l_len = 1};
    return ofd_lock(fd, F_OFD_SETLK, &lock);
}

static int posix_unlock(const struct lqi_io *io, int fd, uint64_t byte)
{
    (void)io;
    struct flock lock = {.l_type = F_UNLCK, .l_whence = SEEK_SET, .l_start = (off_t)byte, .l_len = 1};
    return ofd_lock(fd, F_OFD_SETLK, &lock);
}

static int posix_locked(const struct lqi_io *io, int fd, uint64_t first, uint64_t count, bool *by_others_out)
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
static int why_not_populated(int fd, uint64_t offset, size_t size, size_t page)
{
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

static int posix_map(const struct lqi_io *io, int fd, uint64_t offset, size_t size, size_t mirrored, bool writable,
                     void **map_out)
{
    (void)io;
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    int protection = writable ? PROT_READ | PROT_WRITE : PROT_READ;
    struct stat stat;

    if (size == 0 || size > PTRDIFF_MAX || mirrored > size || size + mirrored > PTRDIFF_MAX || offset % page != 0 ||
        (mirrored > 0 && (size % page != 0 || mirrored % page != 0)))
        return EINVAL;
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
        return error == EFAULT ? why_not_populated(fd, offset, size, page) : error;
    }
    *map_out = map;
    return 0;
}

static void posix_unmap(const struct lqi_io *io, void *map, size_t size, size_t mirrored)
{
    (void)io;
    if (map != NULL) munmap(map, size + mirrored);
}

/* ---- the machine ------------------------------------------------------- */

/* The first bytes of a file of /proc, as a string. */
static int read_text(const char *path, char *text, size_t text_size)
{
    size_t got = 0;
    int fd = open_above_2(AT_FDCWD, path, O_RDONLY, 0);
    if (fd < 0) return errno;
    int error = posix_read(NULL, fd, 0, text, text_size - 1, &got);
    close(fd);
    text[error ? 0 : got] = 0;
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
    memset(id, 0, 16);
    for (; *text != 0 && *text != '\n'; text++) {
        if (*text == '-') continue;
        int digit = hex_digit(*text);
        if (digit < 0 || digits == 32) return false;
        id[digits / 2] = (uint8_t)(id[digits / 2] << 4 | digit);
        digits++;
    }
    return digits == 32;
}

static int posix_boot_id(const struct lqi_io *io, uint8_t id[16])
{
    (void)io;
    char text[32768] = {0};
    int error = read_text("/proc/sys/kernel/random/boot_id", text, 64);
    if (!error && parse_uuid(text, id)) return 0;
    /* Want of descriptors or memory hides nothing: with another kind of id, what the dead left would count as stale. */
    if (error == EMFILE || error == ENFILE || error == ENOMEM) return error;

    /* Hidden, as in some sandboxes: the second in which the kernel started tells boots apart as well,
     * as long as nobody sets the clock. */
    error = read_text("/proc/stat", text, sizeof text);
    if (error == EMFILE || error == ENFILE || error == ENOMEM) return error;
    const char *line = error ? NULL : strstr(text, "\nbtime ");
    if (line == NULL) return ENOSYS; /* not ENOENT: no queue is missing */
    uint64_t seconds = strtoull(line + strlen("\nbtime "), NULL, 10);
    memcpy(id, "LQ btime", 8);
    for (int i = 0; i < 8; i++) id[8 + i] = (uint8_t)(seconds >> (8 * i));
    return 0;
}

static int posix_random(const struct lqi_io *io, void *data, size_t size)
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
    .dir_open = posix_dir_open,
    .dir_make = posix_dir_make,
    .dir_list = posix_dir_list,
    .dir_sync = posix_dir_sync,
    .dir_shared = posix_dir_shared,
    .open = posix_open,
    .close = posix_close,
    .read = posix_read,
    .write = posix_write,
    .sync = posix_sync,
    .sync_ahead = posix_sync_ahead,
    .truncate = posix_truncate,
    .allocate = posix_allocate,
    .stat = posix_stat,
    .own = posix_own,
    .rename = posix_rename,
    .swap = posix_swap,
    .unlink = posix_unlink,
    .lock = posix_lock,
    .unlock = posix_unlock,
    .locked = posix_locked,
    .map = posix_map,
    .unmap = posix_unmap,
    .boot_id = posix_boot_id,
    .random = posix_random,
    .wall_us = posix_wall_us,
};
