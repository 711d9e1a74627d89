/* How far it is: one line on standard error that is drawn over, only when that
 * is a terminal, only for what takes longer than half a second. */
#ifndef CLI_PROGRESS_H
#define CLI_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

struct progress {
    bool on, drawn;
    int64_t start_us, next_us;
    uint64_t total; /* 0: not known: no bar and no time left */
};

/* `total` in the unit of `done` below. */
void progress_init(struct progress *progress, uint64_t total);
void progress_show(struct progress *progress, uint64_t done, uint64_t messages, uint64_t bytes);

/* Takes the line away. */
void progress_end(struct progress *progress);

#endif
