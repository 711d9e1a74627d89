/* What a queue has promised, kept where no power cut reaches it.
 *
 * A process of producers, consumers and a syncer uses a queue without pause (ledger_work); each promise that the
 * library makes to it is noted in memory that it shares with its parent:
 *
 *   ids up to `promised` are durable      in LQ_SYNC_ALWAYS: PUT has returned an id; else: lq_sync() has returned, or
 *                                         lq_get_stats() has said that the log is synced so far
 *   consumer c is done up to floors[c]    its acks up to there were saved durably
 *   and at most up to acking[c]           as lq_ack() was not even called for more
 *
 * After the power loss ledger_check() opens the queue in another process and compares. Every message says which one it
 * is (number, producer, place in its batch) and proves its bytes, so that also what was under way must be whole, once, and
 * in the order in which its producer put it. */
#ifndef DISKS_LEDGER_H
#define DISKS_LEDGER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <libqueue.h>

enum {
    LEDGER_PRODUCERS = 3,
    LEDGER_CONSUMERS = 2,     /* "saved" saves each ack, "plain" leaves it to lq_sync() */
    LEDGER_IDS = 1 << 20
};

/* What was promised at a moment. */
struct ledger_line {
    uint64_t promised, floors[LEDGER_CONSUMERS], acking[LEDGER_CONSUMERS];
    bool opened, joined;      /* the queue had been opened; the consumers too */
};

struct ledger {
    _Atomic uint64_t promised, floors[LEDGER_CONSUMERS], acking[LEDGER_CONSUMERS];
    _Atomic uint32_t opened, joined;
    _Atomic uint32_t failing; /* set by the parent: from now on calls may fail */
    _Atomic uint32_t numbers; /* given to messages */
    _Atomic uint32_t number_of_id[LEDGER_IDS]; /* of messages accepted; 0: not known */
    _Atomic int64_t accepted_us[LEDGER_IDS];
    _Atomic uint64_t oldest_lost_us; /* by ledger_check(): how old an accepted message was that is gone */
};

struct ledger *ledger_new(void);
void ledger_free(struct ledger *ledger);
struct ledger_line ledger_now(const struct ledger *ledger);

struct ledger_job {
    struct ledger *ledger;
    char path[4300];          /* of the queue */
    int sync;                 /* its mode */
    int64_t cut_us;           /* when the power failed */
    struct ledger_line line;  /* what was promised then */
    bool last;                /* nobody looks at another image of this run: the ledger goes on from what is found */
};

/* Bodies for child_start() and child_run(), context a struct ledger_job. */
int ledger_work(void *context);  /* until it is killed, or calls fail while they may */
int ledger_check(void *context);

#endif
