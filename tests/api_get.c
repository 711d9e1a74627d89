/* GET and POLL: order, waiting, lifetime of what is lent. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "support/api.h"
#include "support/child.h"

static void messages_come_in_the_order_of_their_ids(void **state)
{
    lq_queue *queue = api_open(state, NULL);
    lq_consumer *consumer = api_consumer(queue, "c", NULL);
    api_put_range(queue, 1, 300, 50);
    api_take_range(consumer, 1, 300, 50);
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
}

static void consumers_of_different_names_each_see_every_message(void **state)
{
    lq_queue *queue = api_open(state, NULL);
    lq_consumer *a = api_consumer(queue, "a", NULL), *b = api_consumer(queue, "b", NULL);
    api_put_range(queue, 1, 100, 50);
    api_take_range(a, 1, 100, 50);
    api_take_range(b, 1, 100, 50);
    OK(lq_consumer_close(a));
    OK(lq_consumer_close(b));
    OK(lq_close(queue));
}

static void an_empty_queue_says_so_at_once(void **state)
{
    lq_queue *queue = api_open(state, NULL);
    lq_consumer *consumer = api_consumer(queue, "c", NULL);
    lq_message message = {.id = 77};
    lq_message several[3];
    size_t count = 77;

    IS(LQ_EMPTY, lq_poll(consumer, &message));
    IS(LQ_EMPTY, lq_get(consumer, &message, 0));
    IS(LQ_EMPTY, lq_get_batch(consumer, several, 3, &count, 0));
    EQUAL(message.id, 77);
    EQUAL(count, 77);
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
}

static void waiting_ends_when_the_time_is_over(void **state)
{
    lq_queue *queue = api_open(state, NULL);
    lq_consumer *consumer = api_consumer(queue, "c", NULL);
    lq_message message;

    int64_t start = api_now_us();
    IS(LQ_TIMEOUT, lq_get(consumer, &message, 120));
    int64_t took = api_now_us() - start;
    HOLDS(took >= 119000);
    HOLDS(took < 3000000);
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
}

static void *put_a_little_later(void *context)
{
    api_sleep_ms(60);
    api_put(context, "late");
    return NULL;
}

static void a_waiting_get_is_woken_by_a_put_of_another_thread(void **state)
{
    lq_queue *queue = api_open(state, NULL);
    lq_consumer *consumer = api_consumer(queue, "c", NULL);
    pthread_t thread;
    lq_message message;

    pthread_create(&thread, NULL, put_a_little_later, queue);
    OK(lq_get(consumer, &message, -1));
    HOLDS(api_is_text(&message, "late"));
    pthread_join(thread, NULL);
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
}

static int open_and_put(void *path)
{
    lq_queue *queue;
    api_sleep_ms(60);
    CHECK(lq_open(path, NULL, &queue) == LQ_OK);
    CHECK(lq_put(queue, "late", 4, NULL) == LQ_OK);
    CHECK(lq_close(queue) == LQ_OK);
    return 0;
}

static void a_waiting_get_is_woken_by_a_put_of_another_process(void **state)
{
    char path[4096];
    strcpy(path, api_path(*state, "q"));
    pid_t child = child_start(open_and_put, path);
    lq_queue *queue = api_open(state, NULL);
    lq_consumer *consumer = api_consumer(queue, "c", NULL);

    api_get_ack(consumer, "late");
    EQUAL(child_wait(child), 0);
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
}

static void a_spinning_get_finds_the_message_too(void **state)
{
    lq_queue *queue = api_open(state, NULL);
    lq_consumer *consumer = api_consumer(queue, "c", &(lq_consumer_options){.spin_us = 200000});
    pthread_t thread;
    lq_message message;

    pthread_create(&thread, NULL, put_a_little_later, queue);
    OK(lq_get(consumer, &message, 5000));
    HOLDS(api_is_text(&message, "late"));
    pthread_join(thread, NULL);
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
}

/* While unsettled messages are lent, the log is lapped and many others are read. */
static void lent_bytes_stay_until_they_are_settled(void **state)
{
    lq_queue *queue = api_open(state, &(lq_options){.segment_size = 64 << 10, .ring_size = 64 << 10, .sync = LQ_SYNC_NEVER});
    lq_consumer *consumer = api_consumer(queue, "c", NULL);
    lq_message held[40], message;

    for (uint64_t number = 1; number <= 1000; number++) {
        api_put_range(queue, number, number, 700);
        OK(lq_poll(consumer, &message));
        if (number % 25 == 0) held[number / 25 - 1] = message;
        else OK(lq_ack(consumer, &message));
    }
    for (uint64_t i = 0; i < 40; i++) {
        HOLDS(api_is_filled(&held[i], 700, (i + 1) * 25));
        OK(lq_ack(consumer, &held[i]));
    }
    EQUAL(api_consumer_stats(queue, "c").floor, 1000);
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
}

static void what_is_unsettled_does_not_hold_up_what_comes_behind(void **state)
{
    lq_queue *queue = api_open(state, NULL);
    lq_consumer *consumer = api_consumer(queue, "c", NULL);

    api_put(queue, "slow");
    api_put(queue, "fast");
    lq_message slow = api_get(consumer, "slow");
    api_get_ack(consumer, "fast");
    lq_consumer_stats stats = api_consumer_stats(queue, "c");
    EQUAL(stats.floor, 0);
    EQUAL(stats.delivered, 2);
    EQUAL(stats.unacked, 1);
    OK(lq_ack(consumer, &slow));
    EQUAL(api_consumer_stats(queue, "c").floor, 2);
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
}

static void senseless_arguments_take_nothing(void **state)
{
    lq_queue *queue = api_open(state, NULL);
    lq_consumer *consumer = api_consumer(queue, "c", NULL);
    lq_message message;
    size_t count;

    api_put(queue, "x");
    IS(LQ_EINVAL, lq_poll(NULL, &message));
    IS(LQ_EINVAL, lq_poll(consumer, NULL));
    IS(LQ_EINVAL, lq_get(NULL, &message, 0));
    IS(LQ_EINVAL, lq_get(consumer, NULL, 0));
    IS(LQ_EINVAL, lq_get_batch(consumer, NULL, 1, &count, 0));
    IS(LQ_EINVAL, lq_get_batch(consumer, &message, 0, &count, 0));
    IS(LQ_EINVAL, lq_get_batch(consumer, &message, 1, NULL, 0));
    api_get_ack(consumer, "x");
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
}

static void a_spinning_get_gives_up_and_sleeps(void **state)
{
    lq_queue *queue = api_open(state, NULL);
    lq_consumer *consumer = api_consumer(queue, "c", &(lq_consumer_options){.spin_us = 2000});
    lq_message message;
    int64_t start = api_now_us();
    IS(LQ_TIMEOUT, lq_get(consumer, &message, 30));
    HOLDS(api_now_us() - start >= 30000);
    api_put(queue, "now");
    api_get_ack(consumer, "now");
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
}

/* First the messages, then, in the next call, the damage behind them; then what is behind that. */
static void a_batch_that_meets_damage_ends_before_it(void **state)
{
    enum { SIZE = 100, RECORD = 144, BAD = 5 };
    lq_message messages[10];
    size_t count = 0;

    lq_queue *queue = api_open(state, NULL);
    api_put_range(queue, 1, 10, SIZE);
    OK(lq_close(queue));
    api_file_flip(api_segment(api_path(*state, "q"), 0), 256 + (BAD - 1) * RECORD + 60, 1);
    queue = api_open(state, NULL);
    lq_consumer *consumer = api_consumer(queue, "c", NULL);
    OK(lq_get_batch(consumer, messages, 10, &count, 0));
    EQUAL(count, BAD - 1);
    for (size_t i = 0; i < count; i++) EQUAL(messages[i].id, i + 1);
    OK(lq_ack_batch(consumer, messages, count));
    IS(LQ_ECORRUPT, lq_get_batch(consumer, messages, 10, &count, 0));
    TEXT_HAS("log/", "id 5");
    OK(lq_get_batch(consumer, messages, 10, &count, 0));
    EQUAL(count, 10 - BAD);
    for (size_t i = 0; i < count; i++) EQUAL(messages[i].id, BAD + 1 + i);
    OK(lq_ack_batch(consumer, messages, count));
    IS(LQ_EMPTY, lq_get_batch(consumer, messages, 10, &count, 0));
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_DIRECTORY(messages_come_in_the_order_of_their_ids),
        IN_DIRECTORY(consumers_of_different_names_each_see_every_message),
        IN_DIRECTORY(an_empty_queue_says_so_at_once),
        IN_DIRECTORY(waiting_ends_when_the_time_is_over),
        IN_DIRECTORY(a_waiting_get_is_woken_by_a_put_of_another_thread),
        IN_DIRECTORY(a_waiting_get_is_woken_by_a_put_of_another_process),
        IN_DIRECTORY(a_spinning_get_finds_the_message_too),
        IN_DIRECTORY(a_spinning_get_gives_up_and_sleeps),
        IN_DIRECTORY(a_batch_that_meets_damage_ends_before_it),
        IN_DIRECTORY(lent_bytes_stay_until_they_are_settled),
        IN_DIRECTORY(what_is_unsettled_does_not_hold_up_what_comes_behind),
        IN_DIRECTORY(senseless_arguments_take_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
