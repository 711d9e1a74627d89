/* What a queue has promised, kept where no power cut reaches it.
 *
 * A process of producers, consumers and a syncer uses a queue without pause (witness_work); each promise that the
 * library makes to it is noted in memory that it shares with its parent:
 *
 *   ids up to `promised` are durable      in LQ_SYNC_ALWAYS: PUT has returned an id; else: lq_sync() has returned, or
 *                                         lq_get_stats() has said that the log is synced so far
 *   consumer c is done up to floors[c]    its acks up to there were saved durably
 *   and at most up to acking[c]           as lq_ack() was not even called for more
 *
 * After the power loss witness_check() opens the queue in another process and compares. Every message says which one it
 * is (number, producer, place in its batch) and proves its bytes, so that also what was under way must be whole, once, and
 * in the order in which its producer put it. */
#ifndef DISKS_WITNESS_H
#define DISKS_WITNESS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <libqueue.h>

enum {
    WITNESS_PRODUCERS = 3,
    WITNESS_CONSUMERS = 2,     /* "saved" saves each ack, "plain" leaves it to lq_sync() */
    WITNESS_IDS = 1 << 20
};

/* What was promised at a moment. */
struct witness_line {
    uint64_t promised, floors[WITNESS_CONSUMERS], acking[WITNESS_CONSUMERS];
    bool opened, joined;      /* the queue had been opened; the consumers too */
};

struct witness {
    _Atomic uint64_t promised, floors[WITNESS_CONSUMERS], acking[WITNESS_CONSUMERS];
    _Atomic uint32_t opened, joined;
    _Atomic uint32_t failing; /* set by the parent: from now on calls may fail */
    _Atomic uint32_t numbers; /* given to messages */
    _Atomic uint32_t number_of_id[WITNESS_IDS]; /* of messages accepted; 0: not known */
    _Atomic int64_t accepted_us[WITNESS_IDS];
    _Atomic uint64_t oldest_lost_us; /* by witness_check(): how old an accepted message was that is gone */
};

struct witness *witness_new(void);
void witness_free(struct witness *witness);
struct witness_line witness_now(const struct witness *witness);

struct witness_job {
    struct witness *witness;
    char path[4300];          /* of the queue */
    int sync;                 /* its mode */
    int64_t cut_us;           /* when the power failed */
    struct witness_line line;  /* what was promised then */
    bool last;                /* nobody looks at another image of this run: the witness goes on from what is found */
};

/* Bodies for child_start() and child_run(), context a struct witness_job. */
int witness_work(void *context);  /* until it is killed, or calls fail while they may */
int witness_check(void *context);

#endif
