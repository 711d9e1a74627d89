/* A place in the log as people type it:
 *
 *   begin   the oldest message kept          N           the message with that id
 *   end     behind the newest                -N          the last N messages
 *   @TIME   the first put at or after TIME   CONSUMER    where the consumer stands
 *
 * TIME as in parse.h: @2026-11-20T13:00, @-15m, @today. */
#ifndef CLI_POSITION_H
#define CLI_POSITION_H

#include "libqueue.h"

#include <stdint.h>

enum position_kind { POSITION_BEGIN, POSITION_END, POSITION_ID, POSITION_BACK, POSITION_TIME, POSITION_CONSUMER };

struct position {
    enum position_kind kind;
    uint64_t number;      /* ID, BACK */
    int64_t time_us;      /* TIME */
    const char *consumer; /* CONSUMER */
};

/* A usage error that names the flag when `text` is none of these. */
struct position position_parse(const char *flag, const char *text);

/* The id meant, for every kind but TIME. As a beginning, END is the id after
 * the newest and CONSUMER the first message it has not settled; as an end (`last`), END is
 * the newest and CONSUMER the last one below which all is settled. Returns END_DONE, or has told why not. */
int position_id(const struct position *position, lq_queue *queue, const char *queue_name, int last, uint64_t *id_out);

#endif
