/* See victim.h. */
#include "victim.h"

#include <stddef.h>

#include "api.h"

const lq_options victim_options = {.segment_size = 64 << 10, .ring_size = 64 << 10};

void victim_make(void **state)
{
    lq_options options = victim_options;
    options.flags = LQ_DEFER_SYNC;
    lq_queue *queue = api_open(state, &options);
    lq_consumer *consumer = api_consumer(queue, "c", &(lq_consumer_options){.window = 2000});
    lq_message message;

    api_put_range(queue, 1, VICTIM_MESSAGES, VICTIM_BODY);
    OK(lq_sync(queue));
    api_take_range(consumer, 1, 10, VICTIM_BODY);
    for (int i = 0; i < 10; i++) OK(lq_poll(consumer, &message)); /* they come again */
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
}

int victim_open(const char *path, uint32_t flags)
{
    lq_options options = {.size = sizeof options, .flags = flags};
    lq_queue *queue = NULL;
    int err = lq_open(path, &options, &queue);
    if (err) HOLDS(queue == NULL);
    else OK(lq_close(queue));
    return err;
}

void victim_is_whole(void **state, bool end_was_lost)
{
    lq_queue *queue = api_open(state, NULL);
    lq_reader *reader;
    lq_message message;
    OK(lq_reader_open(queue, &reader));
    for (uint64_t id = 1; id <= VICTIM_MESSAGES; id++) {
        OK(lq_reader_next(reader, &message));
        EQUAL(message.id, id);
        HOLDS(api_is_filled(&message, VICTIM_BODY, id));
    }
    int err = lq_reader_next(reader, &message);
    if (err == LQ_ECORRUPT && end_was_lost) { /* a stretch without messages was given up behind them */
        lq_finding finding = {.size = sizeof finding};
        OK(lq_reader_damage(reader, &finding));
        EQUAL(finding.count, 0);
        err = lq_reader_next(reader, &message);
    }
    IS(LQ_EMPTY, err);
    lq_reader_close(reader);
    OK(lq_close(queue));
}
