/* A handler for lq_notify() that notes what it was called with, and those who wait for that. */
#ifndef SUPPORT_SEEN_H
#define SUPPORT_SEEN_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <libqueue.h>

/* What a handler saw. */
struct seen {
    _Atomic uint32_t calls, errors, running;
    _Atomic uint64_t last_id;
    _Atomic int64_t last_us;
    int answer;
    lq_consumer *consumer;
    pthread_t thread;
    lq_message kept[8];
};

int seen_note(void *context, int code, const lq_message *message); /* context: a struct seen */
bool seen_calls(struct seen *seen, uint32_t calls);                /* at least so many, within 10 s */

#endif
