/* Stopping by SIGINT, SIGTERM and SIGHUP: a command that holds something (leases,
 * a temporary directory, messages not yet synced) finishes its step, gives back
 * what it holds, and then dies by that very signal, as its parent expects.
 *
 * The second signal kills at once. Nothing is lost by that either. */
#ifndef CLI_STOP_H
#define CLI_STOP_H

#include <stdbool.h>
#include <stdint.h>

/* Begins to watch. Signals that were ignored (nohup) stay so. */
void stop_watch(void);

/* The signal that asked for it, 0: none so far. */
int stop_asked(void);

/* Dies by the signal if there was one; else returns. Last thing in main(). */
void stop_finish(void);

/* Sleeps; less when a stop is asked for. */
void stop_sleep_us(int64_t microseconds);

/* A wait for the library, which is not ended by signals, is cut into pieces of this length. */
enum { STOP_SLICE_MS = 250 };

#endif
