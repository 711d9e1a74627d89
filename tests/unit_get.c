/* GET at moments when the log cannot be read: a message that comes again is leased before it is looked for, so that
 * what cannot be found just now must go back as if nothing had been. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "consumer.h"
#include "support/api.h"
#include "support/damage.h"

enum { KIB = 1024, MESSAGES = 200, SIZE = 1000 };

static const lq_options small = {.size = sizeof small, .sync = LQ_SYNC_NEVER, .segment_size = 1024 * KIB, .ring_size = 64 * KIB};

/* Members between whom the messages 1 to 3 have come back. The ring has gone on. */
static lq_queue *begin(void **state, lq_consumer **consumer_out)
{
    lq_message message;
    lq_queue *queue = api_open(state, &small);
    lq_consumer *consumer = api_consumer(queue, "c", NULL);
    api_put_range(queue, 1, 3, SIZE);
    for (int i = 0; i < 3; i++) OK(lq_get(consumer, &message, 0));
    OK(lq_consumer_close(consumer));
    api_put_range(queue, 4, MESSAGES, SIZE);
    *consumer_out = api_consumer(queue, "c", NULL);
    return queue;
}

static void take_and_end(lq_queue *queue, lq_consumer *consumer, uint64_t first)
{
    lq_message message;
    for (uint64_t id = first; id <= MESSAGES; id++) {
        OK(lq_get(consumer, &message, 0));
        EQUAL(message.id, id);
        EQUAL(message.attempts, id <= 3 ? 2 : 1); /* the time that nobody saw does not count */
        OK(lq_ack(consumer, &message));
    }
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
}

/* As it looks to one who meets a roll again and again: not in the ring, and not in a file yet. */
static void what_is_nowhere_just_now_is_given_back_and_comes_later(void **state)
{
    lq_message message;
    lq_consumer *consumer;
    lq_queue *queue = begin(state, &consumer);
    struct lqi_log_state *log = queue->log.state;
    uint64_t written = atomic_load(&log->written);

    atomic_store(&log->written, 0);
    IS(LQ_EMPTY, lq_poll(consumer, &message));
    TEXT_HAS("message 1 ", "just now");
    EQUAL(api_consumer_stats(queue, "c").unacked, 0);
    atomic_store(&log->written, written);
    take_and_end(queue, consumer, 1);
}

static void what_is_nowhere_just_now_behind_damage_is_not_lost_with_it(void **state)
{
    lq_message message;
    lq_consumer *consumer;
    lq_queue *queue = begin(state, &consumer);
    struct lqi_log_state *log = queue->log.state;
    uint64_t written = atomic_load(&log->written), second = lqi_record_span(SIZE);

    /* Of where they are only the file's index knows, as after a restart: the way leads over the first. */
    for (uint64_t id = 1; id <= 3; id++) lqi_slot_of(consumer->slot, consumer->member.region, id)->position = LQI_POSITION_UNKNOWN;
    damage_fill(api_path(*state, "q/log/00000000000000000001.seg"), LQI_SEGMENT_HEADER, 20, 5);
    IS(LQ_ECORRUPT, lq_poll(consumer, &message));
    lqi_scan_let_go(&consumer->again);
    lqi_scan_release(&consumer->again);
    lqi_scan_init(&consumer->again, &queue->log, 4096);

    atomic_store(&log->written, second);
    IS(LQ_EMPTY, lq_poll(consumer, &message));
    TEXT_HAS("message 2 ", "just now");
    atomic_store(&log->written, written);
    EQUAL(api_consumer_stats(queue, "c").floor, 1);
    take_and_end(queue, consumer, 2);
}

static void what_was_deleted_while_one_looked_for_it_counts_as_dropped(void **state)
{
    lq_message message;
    lq_consumer *consumer;
    lq_queue *queue = begin(state, &consumer);
    struct lqi_log_state *log = queue->log.state;
    uint64_t written = atomic_load(&log->written);

    atomic_store(&log->written, 0);
    atomic_store(&log->first_id, 3);
    IS(LQ_EMPTY, lq_poll(consumer, &message));
    TEXT_HAS("message 3 ", "just now");
    EQUAL(api_consumer_stats(queue, "c").floor, 2);
    EQUAL(api_consumer_stats(queue, "c").dropped, 2);
    EQUAL(api_stats(queue).damage, 0);
    atomic_store(&log->written, written);
    take_and_end(queue, consumer, 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_DIRECTORY(what_is_nowhere_just_now_is_given_back_and_comes_later),
        IN_DIRECTORY(what_was_deleted_while_one_looked_for_it_counts_as_dropped),
        IN_DIRECTORY(what_is_nowhere_just_now_behind_damage_is_not_lost_with_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
