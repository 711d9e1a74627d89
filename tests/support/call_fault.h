/* Fails, by plan, calls of the library that do not go through struct lqi_io: allocations (zlib's for it included), and what
 * wait.c, flag.c and service.c ask of the system. For programs that are linked with libqueue_fault.a, in which
 * these calls are called fault_malloc() and so on (see the Makefile): those of the test are none of them.
 *
 * Works as io_fault.h does, but there is one plan for the whole process. */
#ifndef SUPPORT_CALL_FAULT_H
#define SUPPORT_CALL_FAULT_H

#include <stdbool.h>
#include <stdint.h>

enum call_kind {
    CALL_ALLOCATE, /* malloc, calloc, realloc; the error means nothing */
    CALL_THREAD,   /* pthread_create */
    CALL_EVENTFD,
    CALL_FUTEX_WAIT, /* waking cannot fail; a wait may end for any reason, at once and each time */
    CALL_KINDS
};

/* The library's own naps take no time, but move this clock on; NULL: they are naps. */
extern int64_t *call_fault_clock_us;

extern const char *const call_kind_names[CALL_KINDS];

void call_fault_plan(enum call_kind kind, uint64_t nth, bool for_ever, int error);
void call_fault_end(void);      /* none fails any more; what was counted stays */
uint64_t call_fault_hits(void); /* calls that were failed since the last plan */

#endif
