/* A struct lqi_io that passes every call on to another one and, by plan, fails some:
 *
 *     struct io_fault fault;
 *     io_fault_init(&fault, &lqi_io_posix);
 *     lqi_open_io(&fault.io, ...);
 *     io_fault_plan(&fault, IO_WRITE, 3, false, ENOSPC);   the third write from now on
 *
 * To sweep: for n = 1, 2, 3... plan, run the script; stop when fault.hits stays 0.
 *
 * A failed call does nothing below, with these exceptions, which are how real ones fail:
 * - a write may have written part of its bytes before it failed: `short_writes`;
 * - a failed sync may drop what was written since the last good one, as when the kernel has marked the pages
 *   clean and forgets them: `drop_unsynced`. The size of the file stays; where bytes were lost
 *   there is what was there before. What was written through maps is not followed;
 * - a failed allocate may have grown the file: `short_allocates`. */
#ifndef SUPPORT_IO_FAULT_H
#define SUPPORT_IO_FAULT_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "io.h"
#include "io_kind.h"

struct io_fault_undo;

struct io_fault {
    struct lqi_io io; /* for the library */
    const struct lqi_io *under;

    /* The plan; set by io_fault_plan(), or by hand while no call runs. */
    enum io_kind kind;
    uint64_t nth;      /* of the calls of this kind from now on, counted from 1; 0: none fails */
    bool for_ever;     /* and all after it */
    int error;
    bool short_writes; /* a failing write of more than one byte writes the first half */
    bool short_allocates;
    bool drop_unsynced;
    void (*sync_failed)(void *context, int fd); /* told of it, if not NULL: it may know better what is forgotten then */
    void *sync_context;

    /* What was. */
    uint64_t calls[IO_KINDS]; /* since io_fault_plan() */
    uint64_t hits;            /* calls that were failed, since io_fault_plan() */

    pthread_mutex_t lock;
    struct io_fault_undo *undo; /* newest first: what unsynced writes wrote over; kept while drop_unsynced */
};

/* No fault is planned. `under` must outlive it. Calls come from any thread. */
void io_fault_init(struct io_fault *fault, const struct lqi_io *under);
void io_fault_release(struct io_fault *fault);

/* Counts from 0 again, and fails the nth call of the kind with `error`, once or from there on.
 * The three booleans stay as they are. */
void io_fault_plan(struct io_fault *fault, enum io_kind kind, uint64_t nth, bool for_ever, int error);

/* The faults are over; what was counted stays. */
void io_fault_end(struct io_fault *fault);

#endif
