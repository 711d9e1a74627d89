/* A queue to which the world may do its worst: made, tried, and looked at when all should be back. */
#ifndef SUPPORT_VICTIM_H
#define SUPPORT_VICTIM_H

#include <stdbool.h>
#include <stdint.h>

#include <libqueue.h>

enum { VICTIM_MESSAGES = 1200, VICTIM_BODY = 200 }; /* five segments and a bit */

extern const lq_options victim_options; /* all as small as it may be */

/* Makes "q" in the test's directory: api_fill()ed messages, of which the consumer "c" has settled the first ten, and had
 * the next ten. */
void victim_make(void **state);

/* What lq_open() says; when it works, the queue is closed again. */
int victim_open(const char *path, uint32_t flags);

/* All messages are there. `end_was_lost`: but for a stretch without messages behind them, which was given up. */
void victim_is_whole(void **state, bool end_was_lost);

#endif
