/* Names on the real machine: what they lead to, what is made under them, and how they change.
 *
 * A name leads to a regular file with one link or to an error: a FIFO must not hang us, a symbolic or hard link must
 * not have us write somewhere else. Every descriptor is made here, close-on-exec and above 2, so that a host program
 * which closed its standard streams never prints into a queue. */
#include "io_posix.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

/* Of kernel headers that may be older than the kernel. */
#ifndef RENAME_NOREPLACE
#define RENAME_NOREPLACE 1
#endif
#ifndef RENAME_EXCHANGE
#define RENAME_EXCHANGE 2
#endif

void lqi_posix_close(const struct lqi_io *io, int fd)
{
    (void)io;
    if (fd >= 0) close(fd);
}

int lqi_open_above_2(int dir, const char *name, int flags, mode_t mode)
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

/* ---- whose they are ------------------------------------------------------ */

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

int lqi_posix_own(const struct lqi_io *io, int fd, int like)
{
    (void)io;
    struct stat stat;
    if (fstat(like, &stat) < 0) return errno;
    int error = give(fd, &stat);
    if (!error) set_mode(fd, stat.st_mode & 0777);
    return error;
}

/* ---- renaming ---------------------------------------------------------- */

/* EINVAL, ENOSYS: this file system cannot refuse to replace. */
static int rename_new(int dir, const char *from, const char *to)
{
    long result;
    RETRY_EINTR(result, syscall(SYS_renameat2, dir, from, dir, to, RENAME_NOREPLACE));
    return result < 0 ? errno : 0;
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

int lqi_posix_rename(const struct lqi_io *io, int dir, const char *from, const char *to, bool replace)
{
    (void)io;
    int result;
    if (replace) {
        RETRY_EINTR(result, renameat(dir, from, dir, to));
        return result < 0 ? errno : 0;
    }
    int error = rename_new(dir, from, to);
    return error == EINVAL || error == ENOSYS ? rename_without_replacing(dir, from, to) : error;
}

int lqi_posix_swap(const struct lqi_io *io, int dir, const char *a, const char *b)
{
    (void)io;
    long result;
    RETRY_EINTR(result, syscall(SYS_renameat2, dir, a, dir, b, RENAME_EXCHANGE));
    if (result == 0) return 0;
    return errno == EINVAL || errno == ENOSYS ? EOPNOTSUPP : errno; /* not a way round: no moment may be without the name */
}

int lqi_posix_unlink(const struct lqi_io *io, int dir, const char *name)
{
    (void)io;
    int result;
    RETRY_EINTR(result, unlinkat(dir, name, 0));
    return result < 0 ? errno : 0;
}

/* ---- making ------------------------------------------------------------ */

/* Whoever is killed between making something and giving it to its owner, or before it has its mode, must not leave in a queue what others
 * need and may not open. So what the kernel would make in another way than it is to be is made as NAME.<16 hex digits>.new, and
 * gets its name when it is as it should be. What has such a name itself is asked for by nobody else. */
enum { FIRST_NAME_SIZE = NAME_MAX + 1 };

static bool is_made_right(int mode, const struct stat *dir)
{
    if (mode & 077) return false; /* a umask may take from it, and to ask for that is to change it for all threads */
    return (geteuid() != 0 || dir->st_uid == 0) && (dir->st_gid == getegid() || (dir->st_mode & S_ISGID));
}

static int choose_first_name(int dir, const char *name, uint32_t mode, char first[FIRST_NAME_SIZE])
{
    struct stat stat;
    uint64_t number;
    if (fstat(dir, &stat) < 0) return errno;
    bool right = lqi_is_unfinished(name) || is_made_right((int)mode, &stat);
    int error = right ? 0 : lqi_posix_random(NULL, &number, sizeof number);
    if (error) return error;
    int size = right ? snprintf(first, FIRST_NAME_SIZE, "%s", name) : snprintf(first, FIRST_NAME_SIZE, "%s.%016" PRIx64 ".new", name, number);
    return size < FIRST_NAME_SIZE ? 0 : ENAMETOOLONG;
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

/* O_NONBLOCK: opening a FIFO or a device must not wait for the other side. To a regular file it means nothing. */
enum { PLAIN = O_NOFOLLOW | O_NONBLOCK | O_NOCTTY };

static int open_old(int dir, const char *name, int flags, int *fd_out)
{
    for (int try = 1;; try++) {
        int fd = lqi_open_above_2(dir, name, PLAIN | (flags & LQI_OPEN_WRITE ? O_RDWR : O_RDONLY), 0);
        if (fd < 0) return errno;
        int error = check_is_ours(fd);
        if (!error) {
            *fd_out = fd;
            return 0;
        }
        close(fd);

        /* A rename may just have put another file in its place, and the way of rename_without_replacing()
         * gives a file two names for a moment: look again. */
        if ((error != ENOENT && error != EMLINK) || try == OPEN_TRIES) return error;
        if (error == EMLINK) nanosleep(&(struct timespec){0, 1000000}, NULL);
    }
}

static int make_file(int dir, const char *name, int flags, uint32_t mode, int *fd_out)
{
    char first[FIRST_NAME_SIZE];
    int error = choose_first_name(dir, name, mode, first);
    if (error) return error;
    int fd = lqi_open_above_2(dir, first, PLAIN | O_RDWR | O_CREAT | O_EXCL, (mode_t)mode);
    if (fd < 0) return errno;

    error = check_is_ours(fd);
    if (flags & LQI_OPEN_IN_PLACE) ask_for_no_copies(fd);
    set_mode(fd, mode);
    if (!error) error = give_like_dir(fd, dir);
    if (!error && strcmp(first, name) != 0) error = lqi_posix_rename(NULL, dir, first, name, false);
    if (error) {
        (void)unlinkat(dir, first, 0);
        close(fd);
        return error;
    }
    *fd_out = fd;
    return 0;
}

int lqi_posix_open(const struct lqi_io *io, int dir, const char *name, int flags, uint32_t mode, int *fd_out)
{
    (void)io;
    return flags & LQI_OPEN_NEW ? make_file(dir, name, flags, mode, fd_out) : open_old(dir, name, flags, fd_out);
}

/* ---- directories ------------------------------------------------------- */

/* A path from the user may lead through a symbolic link; a name inside a queue may not. */
int lqi_posix_dir_open(const struct lqi_io *io, int parent, const char *name, int *dir_out)
{
    (void)io;
    int dir = parent < 0 ? lqi_open_above_2(AT_FDCWD, name, O_RDONLY | O_DIRECTORY, 0)
                         : lqi_open_above_2(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
    if (dir < 0) return errno;
    *dir_out = dir;
    return 0;
}

int lqi_posix_dir_list(const struct lqi_io *io, int dir, lqi_name_callback *each, void *context)
{
    (void)io;
    /* Opened afresh: a duplicate would share its place in the listing with other threads. */
    int fd = lqi_open_above_2(dir, ".", O_RDONLY | O_DIRECTORY, 0);
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
    return lqi_posix_dir_list(NULL, dir, note_any, &empty) == 0 && empty;
}

/* `parent` -1: `name` is any path, and what is made is ours. */
static int make_dir(int parent, const char *name, uint32_t mode)
{
    const int at = parent < 0 ? AT_FDCWD : parent;
    int result;
    RETRY_EINTR(result, mkdirat(at, name, (mode_t)mode | 0700));
    if (result < 0) return errno;
    /* Not through a link that somebody has put in its place meanwhile, nor to what is not ours, or not new. */
    int fd = lqi_open_above_2(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
    struct stat stat;
    if (fd < 0) return 0;
    int error = 0;
    if (fstat(fd, &stat) == 0 && stat.st_uid == geteuid()) {
        set_mode(fd, mode);
        if (parent >= 0 && is_empty(fd)) error = give_like_dir(fd, parent);
    }
    close(fd);
    if (error) (void)unlinkat(at, name, AT_REMOVEDIR);
    return error;
}

int lqi_posix_dir_make(const struct lqi_io *io, int parent, const char *name, uint32_t mode)
{
    (void)io;
    char first[FIRST_NAME_SIZE];
    struct stat stat;
    if (parent < 0) return make_dir(parent, name, mode);
    if (fstatat(parent, name, &stat, AT_SYMLINK_NOFOLLOW) == 0) return EEXIST;
    int error = choose_first_name(parent, name, mode, first);
    if (!error) error = make_dir(parent, first, mode);
    if (error || strcmp(first, name) == 0) return error;

    error = rename_new(parent, first, name);
    if (error) (void)unlinkat(parent, first, AT_REMOVEDIR);
    /* A file system that cannot refuse to replace would replace the empty directory of somebody who was faster. */
    return error == EINVAL || error == ENOSYS ? make_dir(parent, name, mode) : error;
}

int lqi_posix_dir_sync(const struct lqi_io *io, int dir)
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
int lqi_posix_dir_shared(const struct lqi_io *io, int dir, bool *shared_out)
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
