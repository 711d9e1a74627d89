/* What a queue must hold when processes die: an account in memory that no death touches, kept by those who put and
 * take, and a witness who compares it with what the queue gives.
 *
 * Two consumers: members of "pool" share the messages out, be they victims or the witness; "keep" is the witness's own
 * and sees every message, one after the other. Whatever happens:
 *
 *   what was accepted is there once, in order, and batches are whole; what was not accepted by then never comes
 *   what "pool" acked does not come again; what a dead member held comes again, its attempts counted
 *
 * Whoever is about to do something says so before, and what became of it after: death may come in between. */
#ifndef SUPPORT_LEDGER_H
#define SUPPORT_LEDGER_H

#include <stdbool.h>
#include <stdint.h>

#include "libqueue.h"

enum { LEDGER_MESSAGES = 1 << 18, LEDGER_HELD = 64 };

enum ledger_fate { LEDGER_NOTHING, LEDGER_PUTTING, LEDGER_ACCEPTED, LEDGER_ABSENT };
enum ledger_ack { LEDGER_OPEN, LEDGER_ACKING, LEDGER_ACKED };

struct ledger_entry { /* of one message, by its number */
    uint64_t id;             /* as "keep" saw it; 0: it has not */
    uint32_t batch;          /* number of the first of its batch */
    _Atomic uint8_t fate, ack;
    _Atomic uint16_t handed; /* hand-outs by "pool" that count as attempts */
};

struct ledger {
    _Atomic uint32_t next;   /* number of the next message */
    _Atomic uint32_t flag;   /* the test's own */
    _Atomic uint64_t refused; /* calls, as the test counts them */
    char wrong[512];         /* what was wrong first; "" */
    struct ledger_entry entries[LEDGER_MESSAGES];
};

/* In memory shared with children that are forked from now on. */
struct ledger *ledger_new(void);
void ledger_clear(struct ledger *ledger);
void ledger_wrong(struct ledger *ledger, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Putting, in any process: announced, done, and told what became of it. */
enum { LEDGER_BATCH = 64 };
struct ledger_batch {
    uint32_t first, count;
    lq_message messages[LEDGER_BATCH];
};
void ledger_announce(struct ledger *ledger, struct ledger_batch *batch, uint32_t size, uint32_t count);
int ledger_put_announced(lq_queue *queue, const struct ledger_batch *batch);
void ledger_conclude(struct ledger *ledger, const struct ledger_batch *batch, int result);
/* The three in one; what the library said. */
int ledger_put(struct ledger *ledger, lq_queue *queue, uint32_t size, uint32_t count);

/* Taking: messages of "pool" in hand. */
struct ledger_held {
    lq_message messages[LEDGER_HELD];
    uint32_t numbers[LEDGER_HELD];
    size_t count;
};
/* The next `count` behind those in hand have been got. False: ledger->wrong says why. */
bool ledger_got(struct ledger *ledger, struct ledger_held *held, size_t count);
int ledger_get(struct ledger *ledger, lq_consumer *pool, struct ledger_held *held, int64_t timeout_ms);
/* The first `count` in hand are about to be acked; have been; are to be given back; are not in hand any more. */
void ledger_acking(struct ledger *ledger, const struct ledger_held *held, size_t count);
void ledger_acked(struct ledger *ledger, struct ledger_held *held, size_t count);
void ledger_releasing(struct ledger *ledger, const struct ledger_held *held, size_t count);
void ledger_released(struct ledger_held *held, size_t count);
int ledger_ack(struct ledger *ledger, lq_consumer *pool, struct ledger_held *held, size_t count);

/* The witness, in one process. */
struct ledger_witness {
    struct ledger *ledger;
    lq_queue *queue;
    lq_consumer *pool, *keep;
    uint64_t kept;           /* the last id that "keep" has seen */
    uint32_t checked;        /* all messages with numbers below it are over and done with */
};
int ledger_witness_open(struct ledger_witness *witness, const char *path, const lq_options *options);
int ledger_witness_close(struct ledger_witness *witness);

/* "keep" takes all that can be seen now. LQ_OK, or what the library says. */
int ledger_look(struct ledger_witness *witness);
/* Nobody puts or takes any more: puts one, takes all, compares. False: ledger->wrong says why. `*back_us_out` is how
 * long after `since_us` the last message of the dead came, 0 if they held none. */
bool ledger_check(struct ledger_witness *witness, int64_t since_us, int64_t *back_us_out);

#endif
