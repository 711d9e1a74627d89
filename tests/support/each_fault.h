/* Runs a script once for every call it makes, with that call failing: by kind, the first of
 * it, the second... until a run meets no failure; each once, and once with all calls
 * behind it failing too. For scripts of a few calls. */
#ifndef SUPPORT_EACH_FAULT_H
#define SUPPORT_EACH_FAULT_H

#include "io_fault.h"

/* `fault->hits` says afterwards whether anything has failed. */
typedef void each_fault_script(struct io_fault *fault, void *context);

/* Failing writes write half, and failing allocations grow the file by half. Fails the test when a run leaves
 * a descriptor open. Returns the number of runs in which something failed. */
unsigned each_fault(each_fault_script *script, void *context);

#endif
