/* A stretch of the log and a filter: the flags of cat, tail and replay, and the
 * reading itself. Damage is told on standard error, with file and byte, and
 * reading goes on behind it; the command ends with END_DAMAGE then. */
#ifndef CLI_RANGE_H
#define CLI_RANGE_H

#include "libqueue.h"
#include "position.h"
#include "verb.h"

#include <regex.h>
#include <stdbool.h>
#include <stdint.h>

struct range {
    /* what was asked for */
    const char *from, *to; /* positions, both included; NULL: not given */
    int64_t since_us, until_us;
    const char *key;
    const char *grep;
    bool ignore_case;
    bool follow;           /* there is no end but `to` and `until` */

    /* reading */
    lq_queue *queue;
    const char *name;
    lq_reader *reader;
    struct position begin, limit; /* `from` and `to`, parsed */
    regex_t pattern;
    uint64_t first_id, last_id; /* of the stretch; first_id 0: begins at a time */
    uint64_t read_count;   /* messages read, those filtered out included */
    bool over;             /* the end was reached: nothing more will come */
    int end;               /* END_DAMAGE when damage was met */
};

extern const struct flag range_flags[];

void range_init(struct range *range);
bool range_flag(struct range *range, int flag, const char *value);

/* Usage errors in the positions and the pattern; call it before anything is open. */
void range_check(struct range *range);

/* Opens a reader at the beginning of the stretch; `queue` is borrowed. END_DONE, or it has told why not. */
int range_open(struct range *range, lq_queue *queue, const char *name);
void range_release(struct range *range);

/* Moves the reader to `id`. */
int range_seek(struct range *range, uint64_t id);

/* The next message that passes the filter. LQ_EMPTY at the end (see `over`), or
 * with `follow` when there is nothing now. Other codes have been told. */
int range_next(struct range *range, lq_message *message_out);

/* How many messages the stretch has at most; 0 when it is not known. Not for one that is followed. */
uint64_t range_count(const struct range *range);

/* Is there a filter beside the stretch itself? */
bool range_filters(const struct range *range);

#endif
