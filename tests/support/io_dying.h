/* The real machine, on which the process dies at its n-th call: right before it, or right after it. */
#ifndef SUPPORT_IO_DYING_H
#define SUPPORT_IO_DYING_H

#include <stdbool.h>

#include "io.h"

enum { IO_DYING_STATUS = 42 }; /* what the process ends with */

/* Chooses the call, from 1; those that change nothing are not counted. */
void io_dying_at(uint64_t call, bool after);
struct lqi_io io_dying(void);

#endif
