/* Futex words, bells and robust locks. See wait.h for what they promise. */
#include "wait.h"

#include <assert.h>
#include <errno.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "bytes.h"
#include "error.h"

_Atomic int lqi_lock_patience_ms = LQI_LOCK_PATIENCE_MS;
#define UNLIMITED_US ((int64_t)LQI_LOCK_UNLIMITED * 1000)
static _Thread_local int64_t limit_us = UNLIMITED_US; /* what is left of it */

static int limit_left_ms(void)
{
    return (int)((limit_us + 999) / 1000);
}

int lqi_lock_limit(int limit_ms)
{
    int before = limit_left_ms();
    limit_us = (int64_t)limit_ms * 1000;
    return before;
}

int lqi_lock_patience(void)
{
    return (int)lqi_min64((uint64_t)limit_left_ms(), (uint64_t)lqi_lock_patience_ms);
}

/* ---- time -------------------------------------------------------------- */

int64_t lqi_now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

int64_t lqi_deadline(int64_t timeout_ms)
{
    if (timeout_ms < 0 || timeout_ms > INT64_MAX / 2000) return INT64_MAX; /* beyond the age of the universe */
    return lqi_now_us() + timeout_ms * 1000;
}

int lqi_ms_left(int64_t deadline_us)
{
    int64_t left = (deadline_us - lqi_now_us() + 999) / 1000;
    return left <= 0 ? 0 : left < LQI_LOCK_UNLIMITED ? (int)left : LQI_LOCK_UNLIMITED;
}

void lqi_nap(void)
{
    nanosleep(&(struct timespec){0, 1000000}, NULL);
}

/* ---- futex words ------------------------------------------------------- */

/* By system call: libc has no functions for them. The numbers are the kernel's interface and do not change;
 * its headers may be older than the kernel. Without the PRIVATE flag: the words live in memory of many processes. */
enum { FUTEX_WAKE_OP = 1, FUTEX_WAIT_BITSET_OP = 9, FUTEX2_32_BITS = 2 };
#define FUTEX_ANY 0xffffffffu
#define FUTEX_WAITV_NUMBER 449

#ifdef SYS_futex
#define FUTEX_NUMBER SYS_futex
struct futex_time {
    long seconds, nanoseconds;
};
#else /* 32-bit machines that were born with 64-bit time */
#define FUTEX_NUMBER SYS_futex_time64
struct futex_time {
    int64_t seconds, nanoseconds;
};
#endif

struct waitv { /* struct futex_waitv of <linux/futex.h> */
    uint64_t seen, address;
    uint32_t flags, reserved;
};

void lqi_wait(_Atomic uint32_t *word, uint32_t seen, int64_t deadline_us)
{
    struct futex_time at, *until = NULL;

    if (deadline_us != INT64_MAX) { /* (before the beginning of time: the kernel says at once that there is no such time) */
        __typeof__(at.seconds) seconds = (__typeof__(at.seconds))(deadline_us / 1000000);
        if (seconds == deadline_us / 1000000) { /* else so far away that it is never */
            at.seconds = seconds;
            at.nanoseconds = (__typeof__(at.nanoseconds))(deadline_us % 1000000 * 1000);
            until = &at;
        }
    }
    /* Whatever it answers (woken, another value, a signal, too late), the caller looks for himself. */
    syscall(FUTEX_NUMBER, word, FUTEX_WAIT_BITSET_OP, seen, until, NULL, FUTEX_ANY);
}

void lqi_wait_many(_Atomic uint32_t *const words[], const uint32_t seen[], size_t count, int64_t deadline_us)
{
    struct waitv waiters[LQI_WAIT_MANY];
    struct {
        int64_t seconds, nanoseconds;
    } until = {deadline_us / 1000000, deadline_us % 1000000 * 1000};

    assert(count > 0 && count <= LQI_WAIT_MANY);
    for (size_t i = 0; i < count; i++)
        waiters[i] = (struct waitv){.seen = seen[i], .address = (uintptr_t)words[i], .flags = FUTEX2_32_BITS};

    long result = syscall(FUTEX_WAITV_NUMBER, waiters, (unsigned)count, 0u, deadline_us == INT64_MAX ? NULL : &until,
                          CLOCK_MONOTONIC);
    if (result >= 0 || errno == EAGAIN || errno == EINTR || errno == ETIMEDOUT) return;

    /* ENOSYS: Linux before 5.16; EPERM: a sandbox that has never heard of it. */
    for (size_t i = 0; i < count; i++)
        if (atomic_load(words[i]) != seen[i]) return;
    int64_t soon = lqi_now_us() + 5000;
    lqi_wait(words[0], seen[0], soon < deadline_us ? soon : deadline_us);
}

void lqi_wake_all(_Atomic uint32_t *word)
{
    syscall(FUTEX_NUMBER, word, FUTEX_WAKE_OP, INT32_MAX, NULL, NULL, 0);
}

/* ---- bells ------------------------------------------------------------- */

/* listeners: bit 0 is the flag, the bits above count the calls of listen, so that a ringer lowers the
 * flag only if nobody raised it again since he looked.
 *
 * Nothing is lost, wherever anybody is stopped or killed. A sleeper has read the word before he raised
 * the flag. So a ringer who finds the flag up changes the word after that read: the sleeper's `seen` is stale, he
 * does not sleep or is woken. A ringer who dies before he has woken all leaves the flag up, and the next one
 * wakes them; when there is no next one, their bounded wait ends. (Lowering the flag first, as is usual,
 * costs all later rings if the ringer dies there.) tests/model/wake.pml is a model of all this, load by load: it changes with it. */

uint32_t lqi_bell_listen(struct lqi_bell *bell)
{
    uint32_t seen = atomic_load(&bell->word);
    uint32_t listeners = atomic_load(&bell->listeners);

    while (!atomic_compare_exchange_weak(&bell->listeners, &listeners, (listeners + 2) | LQI_BELL_FLAG)) {}
    /* Pairs with the fence of the ringer: what we look at next is what he changed, or he sees the flag. */
    atomic_thread_fence(memory_order_seq_cst);
    return seen;
}

void lqi_bell_ring_slow(struct lqi_bell *bell)
{
    uint32_t listeners = atomic_load(&bell->listeners);
    if (!(listeners & LQI_BELL_FLAG)) return; /* another ringer has woken them */

    atomic_fetch_add(&bell->word, 1);
    lqi_wake_all(&bell->word);
    /* Fails when somebody has come to listen since: then the flag is his. */
    atomic_compare_exchange_strong(&bell->listeners, &listeners, listeners & ~LQI_BELL_FLAG);
}

/* ---- locks ------------------------------------------------------------- */

#if defined(__SANITIZE_THREAD__)
#define UNDER_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define UNDER_TSAN 1
#endif
#endif

#define LOCK_SLEEP_MS 20

/* pthread_mutex_trylock, again and again for so long. */
#ifdef UNDER_TSAN
/* ThreadSanitizer does not see pthread_mutex_clocklock, and not that a timed lock was inherited. */
static int timed_lock(pthread_mutex_t *mutex, int patience_ms)
{
    int64_t deadline = lqi_deadline(patience_ms);
    for (;;) {
        int error = pthread_mutex_trylock(mutex);
        if (error != EBUSY) return error;
        if (lqi_now_us() >= deadline) return ETIMEDOUT;
        nanosleep(&(struct timespec){0, 50000}, NULL);
    }
}
#else
/* The end of a sleep of at most so long. */
static struct timespec end_of_sleep(clockid_t clock, int ms)
{
    struct timespec until;
    clock_gettime(clock, &until);
    until.tv_nsec += (ms < LOCK_SLEEP_MS ? ms : LOCK_SLEEP_MS) * 1000000L;
    if (until.tv_nsec >= 1000000000L) {
        until.tv_nsec -= 1000000000L;
        until.tv_sec++;
    }
    return until;
}

/* In short sleeps: the owner wakes one sleeper; if that one is killed just then, and somebody new has taken the lock
 * meanwhile, nobody is left who would wake the others. */
static int timed_lock(pthread_mutex_t *mutex, int patience_ms)
{
    int64_t deadline = lqi_deadline(patience_ms);
    int error;

    do {
#ifdef __GLIBC__
        struct timespec until = end_of_sleep(CLOCK_MONOTONIC, patience_ms);
        error = pthread_mutex_clocklock(mutex, CLOCK_MONOTONIC, &until);
#else
        /* A clock that jumps makes one sleep longer or shorter. */
        struct timespec until = end_of_sleep(CLOCK_REALTIME, patience_ms);
        error = pthread_mutex_timedlock(mutex, &until);
#endif
    } while (error == ETIMEDOUT && lqi_now_us() < deadline);
    return error;
}
#endif

int lqi_locks_init(struct lqi_lock *const *locks, size_t count)
{
    pthread_mutexattr_t attributes;

    int error = pthread_mutexattr_init(&attributes);
    if (error) return lqi_fail_errno(error, "make", "a lock", -1);
    error = pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    if (!error) error = pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
    for (size_t i = 0; i < count && !error; i++) error = pthread_mutex_init(&locks[i]->mutex, &attributes);
    pthread_mutexattr_destroy(&attributes);
    if (error == ENOTSUP || error == ENOSYS)
        return lqi_fail(LQ_EUNSUPPORTED, "this system has no robust locks between processes");
    return error ? lqi_fail_errno(error, "make", "a lock", -1) : LQ_OK;
}

/* Somebody has the lock. What is waited for it comes off the thread's limit. */
static int wait_for_lock(pthread_mutex_t *mutex, int patience_ms)
{
    if (!limit_us) return ETIMEDOUT;
    int64_t from = lqi_now_us();
    int error = timed_lock(mutex, patience_ms);
    int64_t waited = lqi_now_us() - from;
    if (limit_us != UNLIMITED_US) limit_us -= (int64_t)lqi_min64((uint64_t)waited, (uint64_t)limit_us);
    return error;
}

/* What an answer of pthreads means. */
static int lock_result(int error, const char *what, int patience_ms)
{
    switch (error) {
    case 0: return LQI_LOCKED;
    case EOWNERDEAD: return LQI_INHERITED;
    case EBUSY: return LQI_NOT_LOCKED;
    case ETIMEDOUT:
        return lqi_fail(LQ_EBUSY, "%s: not had in %d ms; has the process that holds it been stopped?", what,
                        patience_ms);
    case ENOTRECOVERABLE:
        return lqi_fail(LQ_EIO, "%s: unusable, an owner died in it and nobody could repair what it guards", what);
    default: return lqi_fail_errno(error, "lock", what, -1);
    }
}

int lqi_lock_try(struct lqi_lock *lock)
{
    return lock_result(pthread_mutex_trylock(&lock->mutex), "shared memory", 0);
}

int lqi_lock(struct lqi_lock *lock, const char *what)
{
    /* First without asking for the time, which costs as much as the lock. */
    int error = pthread_mutex_trylock(&lock->mutex), patience_ms = lqi_lock_patience();
    if (error == EBUSY) error = wait_for_lock(&lock->mutex, patience_ms);
    return lock_result(error, what, patience_ms);
}

void lqi_lock_mend(struct lqi_lock *lock)
{
    pthread_mutex_consistent(&lock->mutex);
}

void lqi_unlock(struct lqi_lock *lock)
{
    pthread_mutex_unlock(&lock->mutex);
}
