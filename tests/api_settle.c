/* Ack and release: what comes again, how often, and what may be settled by whom. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "support/api.h"

static void what_is_acked_never_comes_again(void **state)
{
    lq_queue *queue = api_open(state, NULL);
    lq_consumer *consumer = api_consumer(queue, "c", NULL);
    lq_message message;

    api_put(queue, "a");
    api_get_ack(consumer, "a");
    IS(LQ_EMPTY, lq_poll(consumer, &message));
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));

    queue = api_open(state, NULL);
    consumer = api_consumer(queue, "c", NULL);
    IS(LQ_EMPTY, lq_poll(consumer, &message));
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
}

static void acks_in_any_order_survive_a_restart(void **state)
{
    lq_queue *queue = api_open(state, NULL);
    lq_consumer *consumer = api_consumer(queue, "c", NULL);
    lq_message messages[100];

    api_put_range(queue, 1, 100, 10);
    for (int i = 0; i < 100; i++) OK(lq_poll(consumer, &messages[i]));
    for (int i = 99; i >= 0; i -= 2) OK(lq_ack(consumer, &messages[i])); /* the even ids */
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));

    queue = api_open(state, NULL);
    EQUAL(api_consumer_stats(queue, "c").ready, 50);
    consumer = api_consumer(queue, "c", NULL);
    for (uint64_t id = 1; id <= 99; id += 2) {
        lq_message message;
        OK(lq_poll(consumer, &message));
        EQUAL(message.id, id);
        EQUAL(message.attempts, 2);
        OK(lq_ack(consumer, &message));
    }
    IS(LQ_EMPTY, lq_poll(consumer, &messages[0]));
    EQUAL(api_consumer_stats(queue, "c").floor, 100);
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
}

static void what_is_released_comes_again_at_once_before_newer_ones_and_uncounted(void **state)
{
    lq_queue *queue = api_open(state, NULL);
    lq_consumer *consumer = api_consumer(queue, "c", NULL);

    api_put(queue, "a");
    api_put(queue, "b");
    for (int i = 0; i < 5; i++) {
        lq_message message = api_get(consumer, "a");
        EQUAL(message.attempts, 1);
        OK(lq_release(consumer, &message));
    }
    EQUAL(api_consumer_stats(queue, "c").ready, 2);
    EQUAL(api_consumer_stats(queue, "c").unacked, 0);
    api_get_ack(consumer, "a");
    api_get_ack(consumer, "b");
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
}

static void what_is_released_goes_to_any_member(void **state)
{
    lq_queue *queue = api_open(state, NULL);
    lq_consumer *a = api_consumer(queue, "c", NULL), *b = api_consumer(queue, "c", NULL);

    api_put(queue, "x");
    lq_message message = api_get(a, "x");
    lq_message other;
    IS(LQ_EMPTY, lq_poll(b, &other));
    OK(lq_release(a, &message));
    other = api_get(b, "x");
    EQUAL(other.attempts, 1);
    IS(LQ_ELEASE, lq_ack(a, &message));
    IS(LQ_ELEASE, lq_release(a, &message));
    OK(lq_ack(b, &other));
    OK(lq_consumer_close(a));
    OK(lq_consumer_close(b));
    OK(lq_close(queue));
}

static void closing_gives_back_what_was_not_settled(void **state)
{
    lq_queue *queue = api_open(state, NULL);
    lq_consumer *a = api_consumer(queue, "c", NULL), *b = api_consumer(queue, "c", NULL);

    api_put(queue, "x");
    api_put(queue, "y");
    api_get(a, "x");
    OK(lq_consumer_close(a));
    lq_message message = api_get(b, "x");
    EQUAL(message.attempts, 2);
    OK(lq_ack(b, &message));
    api_get_ack(b, "y");
    OK(lq_consumer_close(b));
    OK(lq_close(queue));
}

static void acking_twice_is_fine(void **state)
{
    lq_queue *queue = api_open(state, NULL);
    lq_consumer *consumer = api_consumer(queue, "c", NULL);

    api_put(queue, "x");
    lq_message message = api_get(consumer, "x");
    OK(lq_ack(consumer, &message));
    OK(lq_ack(consumer, &message));
    IS(LQ_ELEASE, lq_release(consumer, &message));
    EQUAL(api_consumer_stats(queue, "c").floor, 1);
    EQUAL(api_consumer_stats(queue, "c").unacked, 0);
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
}

static void an_old_hand_out_settles_nothing_after_a_newer_one(void **state)
{
    lq_queue *queue = api_open(state, NULL);
    lq_consumer *consumer = api_consumer(queue, "c", NULL);

    api_put(queue, "x");
    lq_message first = api_get(consumer, "x");
    OK(lq_release(consumer, &first));
    IS(LQ_ELEASE, lq_ack(consumer, &first));
    lq_message second = api_get(consumer, "x");
    IS(LQ_ELEASE, lq_ack(consumer, &first));
    TEXT_HAS("1");
    EQUAL(api_consumer_stats(queue, "c").unacked, 1);
    HOLDS(api_is_text(&second, "x"));
    OK(lq_ack(consumer, &second));
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
}

static void a_made_up_message_settles_nothing(void **state)
{
    lq_queue *queue = api_open(state, NULL);
    lq_consumer *consumer = api_consumer(queue, "c", NULL), *other = api_consumer(queue, "d", NULL);

    api_put(queue, "x");
    lq_message message = api_get(consumer, "x");
    static const uint64_t ids[] = {0, 2, 3, 65536, 65537, UINT64_MAX};
    for (size_t i = 0; i < 6; i++) {
        lq_message fake = message;
        fake.id = ids[i];
        IS(LQ_ELEASE, lq_ack(consumer, &fake));
        IS(LQ_ELEASE, lq_release(consumer, &fake));
    }
    lq_message fake = message;
    fake.lease ^= (uint64_t)1 << 40;
    IS(LQ_ELEASE, lq_ack(consumer, &fake));
    IS(LQ_ELEASE, lq_ack(other, &message)); /* another consumer's */
    IS(LQ_ELEASE, lq_ack(consumer, &(lq_message){0}));
    IS(LQ_EINVAL, lq_ack(consumer, NULL));
    IS(LQ_EINVAL, lq_ack(NULL, &message));
    IS(LQ_EINVAL, lq_release(consumer, NULL));
    IS(LQ_EINVAL, lq_ack_batch(consumer, NULL, 1));
    EQUAL(api_consumer_stats(queue, "c").unacked, 1);
    OK(lq_ack(consumer, &message));
    OK(lq_consumer_close(consumer));
    OK(lq_consumer_close(other));
    OK(lq_close(queue));
}

static void all_that_are_held_of_a_batch_are_acked(void **state)
{
    lq_queue *queue = api_open(state, NULL);
    lq_consumer *consumer = api_consumer(queue, "c", NULL);
    lq_message messages[10];
    size_t count;

    api_put_range(queue, 1, 10, 10);
    OK(lq_get_batch(consumer, messages, 10, &count, 0));
    EQUAL(count, 10);
    OK(lq_release(consumer, &messages[4]));
    IS(LQ_ELEASE, lq_ack_batch(consumer, messages, 10));
    lq_consumer_stats stats = api_consumer_stats(queue, "c");
    EQUAL(stats.unacked, 0);
    EQUAL(stats.ready, 1);
    OK(lq_ack_batch(consumer, messages, 0));
    OK(lq_poll(consumer, &messages[4]));
    EQUAL(messages[4].id, 5);
    OK(lq_ack_batch(consumer, messages, 10)); /* nine of them a second time */
    EQUAL(api_consumer_stats(queue, "c").floor, 10);
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
}

static void attempts_are_counted_across_restarts(void **state)
{
    for (uint32_t attempt = 1; attempt <= 5; attempt++) {
        lq_queue *queue = api_open(state, NULL);
        lq_consumer *consumer = api_consumer(queue, "c", NULL);
        if (attempt == 1) api_put(queue, "poison");
        lq_message message = api_get(consumer, "poison");
        EQUAL(message.attempts, attempt);
        OK(lq_consumer_close(consumer));
        OK(lq_close(queue));
    }
}

static void an_ack_may_be_written_down_at_once(void **state)
{
    lq_queue *queue = api_open(state, NULL);
    lq_consumer *consumer = api_consumer(queue, "c", &(lq_consumer_options){.flags = LQ_CONSUMER_SAVE_ACKS});
    const char *file = api_path(*state, "q/consumers/c.pos");

    api_put(queue, "x");
    struct api_bytes before = api_file_read(file);
    api_get_ack(consumer, "x");
    struct api_bytes after = api_file_read(file);
    HOLDS(before.size == after.size);
    HOLDS(memcmp(before.bytes, after.bytes, before.size) != 0);
    free(before.bytes);
    free(after.bytes);
    HOLDS(api_consumer_stats(queue, "c").saved_time_us > 0);
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_DIRECTORY(what_is_acked_never_comes_again),
        IN_DIRECTORY(acks_in_any_order_survive_a_restart),
        IN_DIRECTORY(what_is_released_comes_again_at_once_before_newer_ones_and_uncounted),
        IN_DIRECTORY(what_is_released_goes_to_any_member),
        IN_DIRECTORY(closing_gives_back_what_was_not_settled),
        IN_DIRECTORY(acking_twice_is_fine),
        IN_DIRECTORY(an_old_hand_out_settles_nothing_after_a_newer_one),
        IN_DIRECTORY(a_made_up_message_settles_nothing),
        IN_DIRECTORY(all_that_are_held_of_a_batch_are_acked),
        IN_DIRECTORY(attempts_are_counted_across_restarts),
        IN_DIRECTORY(an_ack_may_be_written_down_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
