/* See call_fault.h. */
#include "call_fault.h"

#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#include <zlib.h>

const char *const call_kind_names[CALL_KINDS] = {"malloc", "pthread_create", "eventfd", "futex wait"};

int64_t *call_fault_clock_us;

/* Calls come from any thread, plans while there is one only. */
static struct {
    enum call_kind kind;
    uint64_t nth;
    bool for_ever;
    int error;
    _Atomic uint64_t calls, hits;
    _Atomic bool over;
} plan = {.over = true};

void call_fault_plan(enum call_kind kind, uint64_t nth, bool for_ever, int error)
{
    plan.kind = kind;
    plan.nth = nth;
    plan.for_ever = for_ever;
    plan.error = error;
    plan.calls = 0;
    plan.hits = 0;
    plan.over = false;
}

void call_fault_end(void)
{
    plan.over = true;
}

uint64_t call_fault_hits(void)
{
    return plan.hits;
}

/* The errno to fail the call with, or 0. */
static int count(enum call_kind kind)
{
    if (plan.over || kind != plan.kind) return 0;
    uint64_t call = ++plan.calls;
    if (call != plan.nth && !(plan.for_ever && call > plan.nth)) return 0;
    plan.hits++;
    return plan.error;
}

/* ---- memory ------------------------------------------------------------ */

void *fault_malloc(size_t size);
void *fault_calloc(size_t items, size_t size);
void *fault_realloc(void *memory, size_t size);
int fault_deflateInit2_(z_stream *stream, int level, int method, int bits, int memory, int strategy, const char *version, int size);
int fault_inflateInit_(z_stream *stream, const char *version, int size);

void *fault_malloc(size_t size)
{
    return count(CALL_ALLOCATE) ? NULL : malloc(size);
}

void *fault_calloc(size_t items, size_t size)
{
    return count(CALL_ALLOCATE) ? NULL : calloc(items, size);
}

void *fault_realloc(void *memory, size_t size)
{
    return count(CALL_ALLOCATE) ? NULL : realloc(memory, size);
}

static void *allocate_for_zlib(void *unused, unsigned items, unsigned size)
{
    (void)unused;
    return fault_calloc(items, size);
}

static void free_for_zlib(void *unused, void *memory)
{
    (void)unused;
    free(memory);
}

static void lend_memory(z_stream *stream)
{
    stream->zalloc = allocate_for_zlib;
    stream->zfree = free_for_zlib;
}

int fault_deflateInit2_(z_stream *stream, int level, int method, int bits, int memory, int strategy, const char *version, int size)
{
    lend_memory(stream);
    return deflateInit2_(stream, level, method, bits, memory, strategy, version, size);
}

int fault_inflateInit_(z_stream *stream, const char *version, int size)
{
    lend_memory(stream);
    return inflateInit_(stream, version, size);
}

/* ---- the system -------------------------------------------------------- */

int fault_nanosleep(const struct timespec *time, struct timespec *left);
int fault_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*start)(void *), void *context);
int fault_eventfd(unsigned value, int flags);
long fault_syscall(long number, ...);

int fault_nanosleep(const struct timespec *time, struct timespec *left)
{
    if (!call_fault_clock_us) return nanosleep(time, left);
    *call_fault_clock_us += time->tv_sec * 1000000 + time->tv_nsec / 1000;
    return 0;
}

int fault_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*start)(void *), void *context)
{
    int error = count(CALL_THREAD);
    return error ? error : pthread_create(thread, attributes, start, context);
}

int fault_eventfd(unsigned value, int flags)
{
    int error = count(CALL_EVENTFD);
    if (!error) return eventfd(value, flags);
    errno = error;
    return -1;
}

long fault_syscall(long number, ...)
{
    long a[6];
    va_list arguments;
    va_start(arguments, number);
    for (size_t i = 0; i < 6; i++) a[i] = va_arg(arguments, long); /* as the system would take them */
    va_end(arguments);

    int error = number == SYS_futex && (a[1] & FUTEX_CMD_MASK) == FUTEX_WAKE ? 0 : count(CALL_FUTEX_WAIT);
    if (error) {
        errno = error;
        return -1;
    }
    return syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}
