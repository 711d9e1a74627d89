/* Waiting and excluding, in memory that processes share: futex words, robust
 * locks, monotonic time. No condition variables: with glibc 2.36 a killed waiter
 * of a pthread_cond_t hangs the signaller for ever. */
#ifndef LQI_WAIT_H
#define LQI_WAIT_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- time -------------------------------------------------------------- */

int64_t lqi_now_us(void); /* CLOCK_MONOTONIC */

/* A point in time for a time-out in milliseconds; -1 is never (INT64_MAX). */
int64_t lqi_deadline(int64_t timeout_ms);

/* What is left until then, in milliseconds begun: 0 when it is over, LQI_LOCK_UNLIMITED at the most. */
int lqi_ms_left(int64_t deadline_us);

/* A pause of a millisecond, between two looks at what somebody else is at. */
void lqi_nap(void);

/* ---- futex words ------------------------------------------------------- */

/* Sleeps while *word == seen, until woken or until `deadline_us` (lqi_now_us time).
 * May wake without reason. */
void lqi_wait(_Atomic uint32_t *word, uint32_t seen, int64_t deadline_us);

/* The same on up to LQI_WAIT_MANY words at once. Where the kernel has no futex_waitv, sleeps at
 * most 5 ms on the first word. */
#define LQI_WAIT_MANY 128
void lqi_wait_many(_Atomic uint32_t *const words[], const uint32_t seen[], size_t count, int64_t deadline_us);

void lqi_wake_all(_Atomic uint32_t *word);

/* A bell: an event word with a flag that sleepers raise and the ringer lowers, so that
 * ringing without sleepers is one fence and one load. A sleeper takes
 * `seen = lqi_bell_listen(bell)`, looks again at what it waits for, and waits on bell->word.
 * Both words may have any value at first. */
struct lqi_bell {
    _Atomic uint32_t word, listeners;
};
#define LQI_BELL_FLAG 1u /* of listeners; the rest counts, see wait.c */

uint32_t lqi_bell_listen(struct lqi_bell *bell);
/* What was changed before is seen by whoever wakes. */
void lqi_bell_ring_slow(struct lqi_bell *bell);
static inline void lqi_bell_ring(struct lqi_bell *bell)
{
    /* Pairs with the fence in listen: either we see the flag, or the sleeper sees the change. */
    atomic_thread_fence(memory_order_seq_cst);
    if (atomic_load_explicit(&bell->listeners, memory_order_relaxed) & LQI_BELL_FLAG) lqi_bell_ring_slow(bell);
}

/* ---- locks ------------------------------------------------------------- */

struct lqi_lock {
    pthread_mutex_t mutex; /* robust, process-shared, never destroyed */
};

enum {
    LQI_LOCKED = 0, /* ours */
    LQI_INHERITED = 1, /* ours, and its owner died inside: repair what it guards, then lqi_lock_mend() */
    LQI_NOT_LOCKED = 2 /* try: somebody has it */
};

int lqi_locks_init(struct lqi_lock *const *locks, size_t count); /* LQ_ENOMEM LQ_EUNSUPPORTED */

/* LQI_LOCKED or LQI_INHERITED; LQ_EBUSY, with a text naming `what`, when the owner has been holding it for
 * LQI_LOCK_PATIENCE_MS: it was stopped. LQ_EIO when the lock is beyond use. */
#define LQI_LOCK_PATIENCE_MS 10000
extern _Atomic int lqi_lock_patience_ms; /* the above; only tests change it */
int lqi_lock(struct lqi_lock *lock, const char *what);
/* From now on this thread waits for locks, for all of them together, no longer than so (0: LQ_EBUSY at once), even if the
 * above is more. Returns what was left of the limit before; LQI_LOCK_UNLIMITED at first. */
#define LQI_LOCK_UNLIMITED INT32_MAX
int lqi_lock_limit(int limit_ms);
int lqi_lock_patience(void); /* the lesser of the two */
int lqi_lock_try(struct lqi_lock *lock); /* LQI_LOCKED LQI_INHERITED LQI_NOT_LOCKED, or LQ_EIO */
/* What was inherited must be mended before it is unlocked, even if the repair failed: else the lock is lost, for
 * everybody and for ever (and glibc's trylock then says LQ_EIO once and "busy" from there on). */
void lqi_lock_mend(struct lqi_lock *lock);
void lqi_unlock(struct lqi_lock *lock);

#endif
