/* Collecting consumers. */
#include "lag.h"

#include <stdlib.h>

static int add_consumer(void *context, int code, const lq_consumer_stats *stats)
{
    struct lag *lag = context;
    lq_consumer_stats *consumers = realloc(lag->consumers, (lag->count + 1) * sizeof *consumers);
    int *codes = consumers ? realloc(lag->codes, (lag->count + 1) * sizeof *codes) : NULL;

    if (consumers) lag->consumers = consumers;
    if (codes) lag->codes = codes;
    if (!consumers || !codes) return LQ_ENOMEM;
    consumers[lag->count] = *stats;
    codes[lag->count++] = code;
    if (code != LQ_OK) {
        lag->damaged = true;
        return 0;
    }
    if (stats->ready > lag->ready) lag->ready = stats->ready;
    if (stats->ready && !stats->members) lag->waiting_alone = true;
    if (stats->floor < lag->floor) lag->floor = stats->floor;
    lag->unacked += stats->unacked;
    return 0;
}

int lag_collect(lq_queue *queue, const lq_stats *stats, struct lag *lag_out)
{
    int code;

    *lag_out = (struct lag){.floor = UINT64_MAX};
    code = lq_each_consumer(queue, add_consumer, lag_out);
    if (lag_out->count == 0) lag_out->ready = stats->last_id - stats->first_id + 1;
    return code;
}

void lag_release(struct lag *lag)
{
    free(lag->consumers);
    free(lag->codes);
    *lag = (struct lag){.floor = UINT64_MAX};
}

const char *lag_state(const lq_stats *stats, const struct lag *lag)
{
    if (stats->poisoned) return "poisoned";
    if (stats->damage || lag->damaged) return "damaged";
    if (!stats->live) return "idle";
    return lag->waiting_alone ? "stalled" : "running";
}

int64_t lag_oldest_time(lq_queue *queue, const lq_stats *stats, const struct lag *lag)
{
    lq_reader *reader = NULL;
    lq_message message;
    int64_t time_us = 0;

    if (lag->floor == UINT64_MAX) return stats->first_time_us;
    if (lag->floor >= stats->last_id) return 0;
    if (lq_reader_open(queue, &reader) == LQ_OK && lq_reader_seek_id(reader, lag->floor + 1) == LQ_OK &&
        lq_reader_next(reader, &message) == LQ_OK)
        time_us = message.time_us;
    lq_reader_close(reader);
    return time_us;
}
