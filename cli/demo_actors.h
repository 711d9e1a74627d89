/* The processes of `lq demo`: each is forked, opens the queue for itself, does
 * its part and writes down what it saw in memory that it shares with the
 * narrator, who compares. A killed one cannot say anything afterwards: what
 * it had written down until then is what counts. */
#ifndef CLI_DEMO_ACTORS_H
#define CLI_DEMO_ACTORS_H

#include "libqueue.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum { DEMO_MESSAGES = 50000, DEMO_TAKERS = 3, DEMO_HELD = 100, DEMO_BODY_MAX = 64 };

/* What is shared. Ids are below DEMO_MESSAGES + 1 in the first act. */
struct notebook {
    _Atomic uint8_t billing[DEMO_MESSAGES + 1]; /* how often each was taken under this name */
    _Atomic uint8_t audit[DEMO_MESSAGES + 1];
    _Atomic uint64_t billing_count[2], audit_count;
    _Atomic int joined;                         /* so that nobody takes all before the others are there */
    _Atomic uint64_t accepted;                  /* ids that lq_put() has returned to the writer */
    _Atomic uint64_t held;                      /* messages the victim has in hand */
    _Atomic uint32_t out_of_order;
};

/* Writes the body of message `id` and returns its size. */
size_t demo_body(uint64_t id, char body[DEMO_BODY_MAX]);
bool demo_body_is(const lq_message *message);

/* Forked actors; each returns its process, or -1. They end with 0 when all went well. */
pid_t demo_take_all(struct notebook *notebook, const char *path, const char *consumer, int member);
pid_t demo_hold(struct notebook *notebook, const char *path, const char *consumer); /* takes DEMO_HELD and sleeps */
pid_t demo_write(struct notebook *notebook, const char *path);                      /* puts until it is killed */

#endif
