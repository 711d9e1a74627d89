/* PUT: what goes in, what id it gets, what is refused and stays out. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <time.h>

#include <cmocka.h>

#include "support/api.h"

static void ids_are_dense_and_begin_at_one(void **state)
{
    lq_queue *queue = api_open(state, NULL);

    for (uint64_t id = 1; id <= 20; id++) EQUAL(api_put(queue, "x"), id);
    OK(lq_close(queue));

    queue = api_open(state, NULL);
    EQUAL(api_put(queue, "x"), 21);
    OK(lq_close(queue));
}

static void what_was_put_is_what_comes_out(void **state)
{
    lq_queue *queue = api_open(state, NULL);
    lq_consumer *consumer = api_consumer(queue, "c", NULL);

    api_put(queue, "hello");
    lq_message message = api_get(consumer, "hello");
    EQUAL(message.id, 1);
    EQUAL(message.attempts, 1);
    EQUAL(message.key_size, 0);
    EQUAL(message.headers_size, 0);
    EQUAL(message.flags, 0);
    HOLDS(message.data && message.key && message.headers);
    for (size_t i = 0; i < 4; i++) EQUAL(message.reserved[i], 0);
    OK(lq_ack(consumer, &message));
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
}

static void the_bytes_are_copied(void **state)
{
    lq_queue *queue = api_open(state, NULL);
    lq_consumer *consumer = api_consumer(queue, "c", NULL);
    char bytes[] = "before";

    OK(lq_put(queue, bytes, 6, NULL));
    memcpy(bytes, "after!", 6);
    api_get_ack(consumer, "before");
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
}

static void no_data_is_an_empty_message(void **state)
{
    lq_queue *queue = api_open(state, NULL);
    lq_consumer *consumer = api_consumer(queue, "c", NULL);

    OK(lq_put(queue, NULL, 0, NULL));
    OK(lq_put(queue, "ignored", 0, NULL));
    api_get_ack(consumer, "");
    api_get_ack(consumer, "");
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
}

static void every_byte_value_survives(void **state)
{
    lq_queue *queue = api_open(state, NULL);
    lq_consumer *consumer = api_consumer(queue, "c", NULL);
    uint8_t bytes[256];
    lq_message message;

    for (unsigned i = 0; i < 256; i++) bytes[i] = (uint8_t)i;
    OK(lq_put(queue, bytes, sizeof bytes, NULL));
    OK(lq_poll(consumer, &message));
    EQUAL(message.size, 256);
    assert_memory_equal(message.data, bytes, 256);
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
}

static void a_message_over_the_limit_is_refused_and_the_next_one_taken(void **state)
{
    lq_queue *queue = api_open(state, &(lq_options){.message_size_max = 100});
    char bytes[101] = {0};
    uint64_t id = 77;

    IS(LQ_ETOOBIG, lq_put(queue, bytes, 101, &id));
    TEXT_HAS("101", "100");
    EQUAL(id, 77);
    OK(lq_put(queue, bytes, 100, &id));
    EQUAL(id, 1);
    EQUAL(api_stats(queue).last_id, 1);
    OK(lq_close(queue));
}

static void a_message_over_a_gibibyte_is_refused_without_being_read(void **state)
{
    lq_queue *queue = api_open(state, NULL);
    char byte = 0;

    IS(LQ_ETOOBIG, lq_put(queue, &byte, ((size_t)1 << 30) + 1, NULL));
    IS(LQ_ETOOBIG, lq_put(queue, &byte, SIZE_MAX, NULL));
    EQUAL(api_stats(queue).last_id, 0);
    OK(lq_close(queue));
}

static void senseless_arguments_change_nothing(void **state)
{
    lq_queue *queue = api_open(state, NULL);
    uint64_t id = 77;

    IS(LQ_EINVAL, lq_put(NULL, "x", 1, &id));
    IS(LQ_EINVAL, lq_put(queue, NULL, 1, &id));
    EQUAL(id, 77);
    EQUAL(api_stats(queue).last_id, 0);
    OK(lq_close(queue));
}

static void a_read_only_handle_puts_nothing(void **state)
{
    lq_queue *queue = api_open(state, NULL), *looker;
    looker = api_open(state, &(lq_options){.flags = LQ_READ_ONLY});
    IS(LQ_EREADONLY, lq_put(looker, "x", 1, NULL));
    IS(LQ_EREADONLY, lq_put_batch(looker, &(lq_message){.data = "x", .size = 1}, 1, NULL));
    IS(LQ_EREADONLY, lq_sync(looker));
    OK(lq_close(looker));
    EQUAL(api_stats(queue).last_id, 0);
    OK(lq_close(queue));
}

static void times_are_of_the_wall_clock_and_never_go_back(void **state)
{
    lq_queue *queue = api_open(state, NULL);
    lq_consumer *consumer = api_consumer(queue, "c", NULL);
    struct timespec now;
    int64_t last = 0;

    clock_gettime(CLOCK_REALTIME, &now);
    int64_t before = (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
    for (int i = 0; i < 100; i++) api_put(queue, "x");
    clock_gettime(CLOCK_REALTIME, &now);
    int64_t after = (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
    for (int i = 0; i < 100; i++) {
        lq_message message = api_get(consumer, "x");
        HOLDS(message.time_us >= before && message.time_us <= after);
        HOLDS(message.time_us >= last);
        last = message.time_us;
        OK(lq_ack(consumer, &message));
    }
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
}

static void everything_put_is_there_after_closing_and_opening(void **state)
{
    lq_queue *queue = api_open(state, NULL);
    api_put_range(queue, 1, 500, 100);
    OK(lq_close(queue));

    queue = api_open(state, NULL);
    api_read_range(queue, 1, 500, 100);
    lq_stats stats = api_stats(queue);
    EQUAL(stats.recovered_bytes, 0);
    EQUAL(stats.recovered_messages, 0);
    EQUAL(stats.damage, 0);
    OK(lq_close(queue));
}

static void many_segments_are_filled_one_after_the_other(void **state)
{
    lq_queue *queue = api_open(state, &(lq_options){.segment_size = 64 << 10, .ring_size = 64 << 10, .sync = LQ_SYNC_NEVER});
    api_put_range(queue, 1, 2000, 1000);
    HOLDS(api_stats(queue).segments > 25);
    api_read_range(queue, 1, 2000, 1000);
    OK(lq_close(queue));

    queue = api_open(state, NULL);
    api_read_range(queue, 1, 2000, 1000);
    OK(lq_close(queue));
}

static void *fail_too(void *queue)
{
    HOLDS(lq_error_text()[0] == 0); /* none has failed here */
    IS(LQ_EINVAL, lq_put(queue, NULL, 1, NULL));
    TEXT_HAS("NULL");
    return NULL;
}

static void an_error_text_is_of_the_last_failure_of_this_thread(void **state)
{
    lq_queue *queue = api_open(state, NULL);
    pthread_t thread;

    IS(LQ_ETOOBIG, lq_put(queue, "x", SIZE_MAX, NULL));
    TEXT_HAS("18446744073709551615");
    pthread_create(&thread, NULL, fail_too, queue);
    pthread_join(thread, NULL);
    TEXT_HAS("18446744073709551615");
    IS(LQ_EINVAL, lq_put(NULL, "x", 1, NULL));
    HOLDS(strstr(lq_error_text(), "18446744073709551615") == NULL);
    OK(lq_close(queue));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_DIRECTORY(ids_are_dense_and_begin_at_one),
        IN_DIRECTORY(what_was_put_is_what_comes_out),
        IN_DIRECTORY(the_bytes_are_copied),
        IN_DIRECTORY(no_data_is_an_empty_message),
        IN_DIRECTORY(every_byte_value_survives),
        IN_DIRECTORY(a_message_over_the_limit_is_refused_and_the_next_one_taken),
        IN_DIRECTORY(a_message_over_a_gibibyte_is_refused_without_being_read),
        IN_DIRECTORY(senseless_arguments_change_nothing),
        IN_DIRECTORY(a_read_only_handle_puts_nothing),
        IN_DIRECTORY(times_are_of_the_wall_clock_and_never_go_back),
        IN_DIRECTORY(everything_put_is_there_after_closing_and_opening),
        IN_DIRECTORY(many_segments_are_filled_one_after_the_other),
        IN_DIRECTORY(an_error_text_is_of_the_last_failure_of_this_thread),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
