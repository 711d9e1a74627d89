#include "host.h"

#include <errno.h>
#include <linux/futex.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <dirent.h>
#include <time.h>
#include <unistd.h>

#define TMPFS_MAGIC_NUMBER 0x01021994

static char root[512];

_Noreturn void die(const char *what)
{
    fprintf(stderr, "bench: %s: %s\n", what, strerror(errno));
    exit(1);
}

/* ---- time and CPUs ------------------------------------------------------- */

uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

void pause_us(unsigned us)
{
    nanosleep(&(struct timespec){us / 1000000, us % 1000000 * 1000L}, NULL);
}

void pin(unsigned cpu)
{
    cpu_set_t set;
    long count = sysconf(_SC_NPROCESSORS_ONLN);

    CPU_ZERO(&set);
    CPU_SET(cpu % (unsigned)(count > 0 ? count : 1), &set);
    sched_setaffinity(0, sizeof set, &set); /* not allowed: then it is not pinned */
}

void unpin(void)
{
    cpu_set_t set;
    memset(&set, 0xff, sizeof set);
    sched_setaffinity(0, sizeof set, &set);
}

/* ---- other processes ----------------------------------------------------- */

void *shared_memory(size_t size)
{
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (memory == MAP_FAILED) die("mmap");
    return memory;
}

pid_t start_child(void (*body)(void *context), void *context)
{
    fflush(stdout);
    pid_t child = fork();
    if (child < 0) die("fork");
    if (child == 0) {
        body(context);
        _exit(0);
    }
    return child;
}

static int status_of(pid_t child)
{
    int status;
    while (waitpid(child, &status, 0) < 0)
        if (errno != EINTR) die("waitpid");
    return status;
}

void collect(pid_t child)
{
    if (status_of(child) == 0) return;
    fprintf(stderr, "bench: a child process failed\n");
    exit(1);
}

void collect_killed(pid_t child)
{
    if (WIFSIGNALED(status_of(child))) return;
    fprintf(stderr, "bench: a child process failed\n");
    exit(1);
}

/* Left as it is for collect(). */
static bool has_ended(pid_t child)
{
    siginfo_t info = {.si_pid = 0};
    return waitid(P_PID, (id_t)child, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid == child;
}

void await(const _Atomic uint64_t *word, uint64_t value, pid_t child)
{
    for (unsigned i = 1; atomic_load_explicit(word, memory_order_acquire) < value; i++) {
        sched_yield();
        if (i % 1024 == 0 && has_ended(child) && atomic_load(word) < value) collect(child);
    }
}

void futex_wait(_Atomic uint32_t *word, uint32_t seen)
{
    syscall(SYS_futex, word, FUTEX_WAIT, seen, NULL, NULL, 0);
}

void futex_wake(_Atomic uint32_t *word)
{
    syscall(SYS_futex, word, FUTEX_WAKE, INT32_MAX, NULL, NULL, 0);
}

/* ---- scratch ------------------------------------------------------------- */

void scratch_open(void)
{
    const char *parent = getenv("TMPDIR");
    if (!parent || !*parent) parent = "build";
    snprintf(root, sizeof root, "%s/lq_bench.XXXXXX", parent);
    if (!mkdtemp(root)) die(root);
}

static void remove_tree(const char *path)
{
    DIR *dir = opendir(path);
    char inner[1024];

    for (struct dirent *entry; dir && (entry = readdir(dir));) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
        snprintf(inner, sizeof inner, "%s/%s", path, entry->d_name);
        remove_tree(inner);
    }
    if (dir) closedir(dir);
    if (remove(path) != 0 && errno != ENOENT) die(path);
}

void scratch_remove(const char *path)
{
    remove_tree(path);
}

void scratch_close(void)
{
    remove_tree(root);
}

const char *scratch(const char *name)
{
    static char path[1024];
    snprintf(path, sizeof path, "%s/%s", root, name);
    remove_tree(path);
    return path;
}

const char *scratch_kind(void)
{
    struct statfs fs;
    if (statfs(root, &fs) == 0 && fs.f_type == TMPFS_MAGIC_NUMBER)
        return "NOT A DISK: the scratch directory is in memory, durable figures mean nothing; set TMPDIR\n";
    return "";
}
