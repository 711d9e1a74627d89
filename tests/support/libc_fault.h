/* Calls of the C library that fail by plan, for what a real machine seldom does. Being defined in the program, they come
 * before the library's own for everything that is linked into it: so this is included by one file of a program,
 * and by few programs. For failures of the I/O table see io_fault.h.
 *
 *     fail_calls(PREAD, 2, 1, EIO);      the third pread() from now on
 *     and_then_fail(OPENAT, EMFILE);     and after that an openat()
 *     ...
 *     all_failed();                      they did, and it is over */
#ifndef SUPPORT_LIBC_FAULT_H
#define SUPPORT_LIBC_FAULT_H

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <cmocka.h>

enum call {
    NONE, EVENTFD, FALLOCATE, FCHOWN, FCNTL, FDATASYNC, FDOPENDIR, FSTAT, FSTATAT, FSTATFS, FSYNC, FTRUNCATE, GETRANDOM,
    GETRLIMIT, IOCTL, LINKAT, MADVISE, MKDIRAT, MMAP, MUTEX_INIT, MUTEXATTR_INIT, MUTEXATTR_SETPSHARED, MUTEXATTR_SETROBUST,
    MUTEX_TRYLOCK, OPENAT, PREAD, PTHREAD_CREATE, PWRITE, READ, READDIR, RENAMEAT, SYSCALL, UNLINKAT, WRITE
};

static struct {
    enum call call;
    unsigned after, times; /* so many succeed, then so many fail */
    int error;             /* 0: they return 0 and have done nothing */
    uint32_t file_system;  /* what fstatfs() says, if not 0 */
    unsigned no_links;     /* so many times fstat() says that the file has no name */
    bool other_owner;      /* so says fstat() of every file */
    off_t size_told;       /* and that it is so long, if not 0 */
    unsigned not_there;    /* so many times fstatat() says that there is nothing */
    void (*at_rename)(int dir, const char *from, const char *to); /* called before each renameat2() */
    unsigned other_device; /* fstatat() says so of the file, when this falls to 1 */
    const char *text;      /* what pread() gives, if not NULL */
    size_t part;           /* so many bytes are the most that pread() and pwrite() do at once, if not 0 */
    bool one_part;         /* and only once */
    long (*answer_syscall)(long number, const long a[6]); /* instead of the kernel */
    enum call then;        /* once all that have failed: this, with that error */
    unsigned then_after;
    int then_error;
} plan;

/* How the last thread was made; -1: by default. */
static _Atomic int last_detach_state;

/* Calls of syscall() with this number begin so much later. */
static _Atomic long slow_number;
static _Atomic unsigned slow_ms;

static inline void slow_syscall(long number, unsigned ms)
{
    atomic_store(&slow_ms, ms);
    atomic_store(&slow_number, number);
}

static inline void fail_calls(enum call call, unsigned after, unsigned times, int error)
{
    memset(&plan, 0, sizeof plan);
    plan.call = call;
    plan.after = after;
    plan.times = times;
    plan.error = error;
}

static inline void and_then_fail(enum call call, int error)
{
    plan.then = call;
    plan.then_error = error;
}

/* The faults are over, and there were as many as planned. */
static inline void all_failed(void)
{
    assert_int_equal(plan.times, 0);
    assert_int_equal(plan.then, NONE);
    memset(&plan, 0, sizeof plan);
}

static bool fails(enum call call)
{
    if (plan.times == 0 && plan.then == call) {
        if (plan.then_after > 0) {
            plan.then_after--;
            return false;
        }
        plan.then = NONE;
        errno = plan.error = plan.then_error;
        return true;
    }
    if (plan.call != call || plan.times == 0) return false;
    if (plan.after > 0) {
        plan.after--;
        return false;
    }
    plan.times--;
    errno = plan.error;
    return true;
}

#define FAILED (plan.error ? -1 : 0)

static size_t part_of(size_t size)
{
    size_t part = plan.part && size > plan.part ? plan.part : size;
    if (plan.one_part) plan.part = 0;
    return part;
}

static void find(void *function, const char *name)
{
    void *found = dlsym(RTLD_NEXT, name);
    memcpy(function, &found, sizeof found);
}

#define REAL(name)                                                           \
    static __typeof__(&name) known; /* by whichever thread comes first */   \
    __typeof__(&name) real = __atomic_load_n(&known, __ATOMIC_RELAXED);      \
    if (!real) {                                                             \
        find(&real, #name);                                                  \
        __atomic_store_n(&known, real, __ATOMIC_RELAXED);                    \
    }

int fallocate(int fd, int mode, off_t offset, off_t size) { REAL(fallocate); return fails(FALLOCATE) ? FAILED : real(fd, mode, offset, size); }
int fchown(int fd, uid_t user, gid_t group) { REAL(fchown); return fails(FCHOWN) ? FAILED : real(fd, user, group); }
int fdatasync(int fd) { REAL(fdatasync); return fails(FDATASYNC) ? FAILED : real(fd); }
int fsync(int fd) { REAL(fsync); return fails(FSYNC) ? FAILED : real(fd); }
int ftruncate(int fd, off_t size) { REAL(ftruncate); return fails(FTRUNCATE) ? FAILED : real(fd, size); }
int eventfd(unsigned count, int flags) { REAL(eventfd); return fails(EVENTFD) ? FAILED : real(count, flags); }
DIR *fdopendir(int fd) { REAL(fdopendir); return fails(FDOPENDIR) ? NULL : real(fd); }
struct dirent *readdir(DIR *listing) { REAL(readdir); return fails(READDIR) ? NULL : real(listing); }
ssize_t getrandom(void *data, size_t size, unsigned flags) /* of a machine that has just booted: who does not wait gets nothing */
{
    REAL(getrandom);
    if (fails(GETRANDOM)) return FAILED;
    if (flags & GRND_NONBLOCK) errno = EAGAIN;
    return flags & GRND_NONBLOCK ? -1 : real(data, size > 3 ? 3 : size, flags);
}
int getrlimit(__rlimit_resource_t what, struct rlimit *limit) { REAL(getrlimit); return fails(GETRLIMIT) ? FAILED : real(what, limit); }
int linkat(int a, const char *from, int b, const char *to, int flags) { REAL(linkat); return fails(LINKAT) ? FAILED : real(a, from, b, to, flags); }
int madvise(void *map, size_t size, int advice) { REAL(madvise); return fails(MADVISE) ? FAILED : real(map, size, advice); }
int mkdirat(int dir, const char *name, mode_t mode) { REAL(mkdirat); return fails(MKDIRAT) ? FAILED : real(dir, name, mode); }
int renameat(int a, const char *from, int b, const char *to) { REAL(renameat); return fails(RENAMEAT) ? FAILED : real(a, from, b, to); }
int unlinkat(int dir, const char *name, int flags) { REAL(unlinkat); return fails(UNLINKAT) ? FAILED : real(dir, name, flags); }
ssize_t pwrite(int fd, const void *data, size_t size, off_t offset) { REAL(pwrite); return fails(PWRITE) ? FAILED : real(fd, data, part_of(size), offset); }
ssize_t read(int fd, void *data, size_t size) { REAL(read); return fails(READ) ? FAILED : real(fd, data, size); }
ssize_t write(int fd, const void *data, size_t size) { REAL(write); return fails(WRITE) ? FAILED : real(fd, data, size); }
void *mmap(void *at, size_t size, int protection, int flags, int fd, off_t offset) { REAL(mmap); return fails(MMAP) ? MAP_FAILED : real(at, size, protection, flags, fd, offset); }

/* These return their error. */
int pthread_mutexattr_init(pthread_mutexattr_t *a) { REAL(pthread_mutexattr_init); return fails(MUTEXATTR_INIT) ? plan.error : real(a); }
int pthread_mutexattr_setpshared(pthread_mutexattr_t *a, int shared) { REAL(pthread_mutexattr_setpshared); return fails(MUTEXATTR_SETPSHARED) ? plan.error : real(a, shared); }
int pthread_mutex_trylock(pthread_mutex_t *m) { REAL(pthread_mutex_trylock); return fails(MUTEX_TRYLOCK) ? plan.error : real(m); }
int pthread_create(pthread_t *restrict thread, const pthread_attr_t *restrict a, void *(*body)(void *), void *restrict context)
{
    REAL(pthread_create);
    int detach_state = -1;
    if (a) pthread_attr_getdetachstate(a, &detach_state);
    atomic_store(&last_detach_state, detach_state);
    return fails(PTHREAD_CREATE) ? plan.error : real(thread, a, body, context);
}
int pthread_mutexattr_setrobust(pthread_mutexattr_t *a, int robust) { REAL(pthread_mutexattr_setrobust); return fails(MUTEXATTR_SETROBUST) ? plan.error : real(a, robust); }
int pthread_mutex_init(pthread_mutex_t *m, const pthread_mutexattr_t *a) { REAL(pthread_mutex_init); return fails(MUTEX_INIT) ? plan.error : real(m, a); }

int fstat(int fd, struct stat *out)
{
    REAL(fstat);
    if (fails(FSTAT)) return FAILED;
    int result = real(fd, out);
    if (plan.no_links > 0) {
        plan.no_links--;
        out->st_nlink = 0;
    }
    if (plan.other_owner) out->st_uid++;
    if (plan.size_told) out->st_size = plan.size_told;
    return result;
}

int fstatat(int dir, const char *restrict name, struct stat *restrict out, int flags)
{
    REAL(fstatat);
    if (fails(FSTATAT)) return FAILED;
    if (plan.not_there > 0) {
        plan.not_there--;
        errno = ENOENT;
        return -1;
    }
    int result = real(dir, name, out, flags);
    if (plan.other_device > 0 && --plan.other_device == 0) out->st_dev++;
    return result;
}

int fstatfs(int fd, struct statfs *out)
{
    REAL(fstatfs);
    if (fails(FSTATFS)) return FAILED;
    int result = real(fd, out);
    if (plan.file_system) out->f_type = (__typeof__(out->f_type))plan.file_system;
    return result;
}

ssize_t pread(int fd, void *data, size_t size, off_t offset)
{
    REAL(pread);
    if (size && fails(PREAD)) return FAILED; /* to read nothing never fails */
    if (!plan.text) return real(fd, data, part_of(size), offset);
    size_t length = strlen(plan.text);
    if ((size_t)offset >= length) return 0;
    if (size > length - (size_t)offset) size = length - (size_t)offset;
    memcpy(data, plan.text + offset, size);
    return (ssize_t)size;
}

static void *pointer_after(va_list list)
{
    void *pointer = va_arg(list, void *);
    va_end(list);
    return pointer;
}

int fcntl(int fd, int command, ...)
{
    va_list list;
    REAL(fcntl);
    va_start(list, command);
    void *argument = pointer_after(list);
    return fails(FCNTL) ? FAILED : real(fd, command, argument);
}

int ioctl(int fd, unsigned long command, ...)
{
    va_list list;
    REAL(ioctl);
    va_start(list, command);
    void *argument = pointer_after(list);
    return fails(IOCTL) ? FAILED : real(fd, command, argument);
}

int openat(int dir, const char *name, int flags, ...)
{
    va_list list;
    REAL(openat);
    va_start(list, flags);
    mode_t mode = flags & O_CREAT ? va_arg(list, mode_t) : 0;
    va_end(list);
    return fails(OPENAT) ? FAILED : real(dir, name, flags, mode);
}

long syscall(long number, ...)
{
    va_list list;
    long a[6];
    REAL(syscall);
    va_start(list, number);
    for (int i = 0; i < 6; i++) a[i] = va_arg(list, long);
    va_end(list);
    if (number && number == atomic_load(&slow_number)) usleep(atomic_load(&slow_ms) * 1000);
    if (plan.answer_syscall) return plan.answer_syscall(number, a);
    if (number == SYS_renameat2 && plan.at_rename) plan.at_rename((int)a[0], (const char *)a[1], (const char *)a[3]);
    return fails(SYSCALL) ? FAILED : real(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

static inline int open_files(void)
{
    int count = 0;
    for (int fd = 0; fd < 200; fd++) {
        struct stat stat;
        count += fstat(fd, &stat) == 0;
    }
    return count;
}

#endif
