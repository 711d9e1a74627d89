/* Batches: all or nothing on the way in, several at once on the way out. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "support/api.h"

static void a_batch_gets_consecutive_ids(void **state)
{
    lq_queue *queue = api_open(state, NULL);
    lq_message batch[] = {{.data = "a", .size = 1}, {.data = "b", .size = 1}, {.data = "c", .size = 1}};
    lq_consumer *consumer = api_consumer(queue, "c", NULL);
    uint64_t first = 0;

    api_put(queue, "before");
    OK(lq_put_batch(queue, batch, 3, &first));
    EQUAL(first, 2);
    EQUAL(api_put(queue, "after"), 5);
    api_get_ack(consumer, "before");
    api_get_ack(consumer, "a");
    api_get_ack(consumer, "b");
    api_get_ack(consumer, "c");
    api_get_ack(consumer, "after");
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
}

static void keys_and_headers_come_with_their_message(void **state)
{
    lq_queue *queue = api_open(state, NULL);
    lq_consumer *consumer = api_consumer(queue, "c", NULL);
    lq_message batch[] = {
        {.data = "body", .size = 4, .key = "k", .key_size = 1, .headers = "a: b", .headers_size = 4},
        {.key = "only a key", .key_size = 10},
        {.headers = "only headers", .headers_size = 12},
        {.data = NULL, .size = 0},
    };
    lq_message got;

    OK(lq_put_batch(queue, batch, 4, NULL));
    OK(lq_put_batch(queue, batch, 1, NULL)); /* alone, too */
    for (int i = 0; i < 5; i++) {
        const lq_message *put = &batch[i % 4];
        OK(lq_poll(consumer, &got));
        EQUAL(got.size, put->size);
        EQUAL(got.key_size, put->key_size);
        EQUAL(got.headers_size, put->headers_size);
        if (put->size) assert_memory_equal(got.data, put->data, put->size);
        if (put->key_size) assert_memory_equal(got.key, put->key, put->key_size);
        if (put->headers_size) assert_memory_equal(got.headers, put->headers, put->headers_size);
        HOLDS(got.data && got.key && got.headers);
        OK(lq_ack(consumer, &got));
    }
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
}

static void what_a_putter_need_not_set_is_ignored(void **state)
{
    lq_queue *queue = api_open(state, NULL);
    lq_consumer *consumer = api_consumer(queue, "c", NULL);
    lq_message odd = {.id = 99, .data = "x", .size = 1, .time_us = -5, .attempts = 7, .lease = 12};

    OK(lq_put_batch(queue, &odd, 1, NULL));
    lq_message got = api_get(consumer, "x");
    EQUAL(got.id, 1);
    EQUAL(got.attempts, 1);
    HOLDS(got.time_us > 0);
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
}

static void a_batch_with_one_bad_message_is_refused_as_a_whole(void **state)
{
    lq_queue *queue = api_open(state, &(lq_options){.message_size_max = 100});
    char bytes[200] = {0};
    lq_message batch[] = {{.data = "a", .size = 1}, {.data = bytes, .size = 101}, {.data = "c", .size = 1}};
    lq_message split[] = {{.data = bytes, .size = 60, .key = bytes, .key_size = 30, .headers = bytes, .headers_size = 11}};
    uint64_t first = 77;

    IS(LQ_ETOOBIG, lq_put_batch(queue, batch, 3, &first));
    IS(LQ_ETOOBIG, lq_put_batch(queue, split, 1, &first)); /* 101 with key and headers */
    batch[1] = (lq_message){.size = 1};
    IS(LQ_EINVAL, lq_put_batch(queue, batch, 3, &first));
    batch[1] = (lq_message){.key_size = 1};
    IS(LQ_EINVAL, lq_put_batch(queue, batch, 3, &first));
    EQUAL(first, 77);
    EQUAL(api_stats(queue).last_id, 0);
    split[0].headers_size = 10;
    OK(lq_put_batch(queue, split, 1, &first));
    EQUAL(first, 1);
    OK(lq_close(queue));
}

static void a_batch_of_none_or_of_too_many_is_refused(void **state)
{
    lq_queue *queue = api_open(state, NULL);
    lq_message *many = calloc(LQ_BATCH_MAX + 1, sizeof *many);

    IS(LQ_EINVAL, lq_put_batch(queue, many, 0, NULL));
    IS(LQ_EINVAL, lq_put_batch(queue, many, LQ_BATCH_MAX + 1, NULL));
    IS(LQ_EINVAL, lq_put_batch(queue, NULL, 1, NULL));
    IS(LQ_EINVAL, lq_put_batch(NULL, many, 1, NULL));
    EQUAL(api_stats(queue).last_id, 0);
    free(many);
    OK(lq_close(queue));
}

static void a_key_over_its_limit_is_refused(void **state)
{
    lq_queue *queue = api_open(state, NULL);
    char *bytes = calloc(1, 65536);
    lq_message message = {.key = bytes, .key_size = 65536};

    IS(LQ_ETOOBIG, lq_put_batch(queue, &message, 1, NULL));
    message = (lq_message){.headers = bytes, .headers_size = 65536};
    IS(LQ_ETOOBIG, lq_put_batch(queue, &message, 1, NULL));
    EQUAL(api_stats(queue).last_id, 0);
    free(bytes);
    OK(lq_close(queue));
}

static void a_batch_over_a_gibibyte_is_refused_without_being_read(void **state)
{
    lq_queue *queue = api_open(state, NULL);
    char byte = 0;
    lq_message batch[3];

    for (int i = 0; i < 3; i++) batch[i] = (lq_message){.data = &byte, .size = (size_t)400 << 20};
    IS(LQ_ETOOBIG, lq_put_batch(queue, batch, 3, NULL));
    batch[0].size = SIZE_MAX; /* and sums that overflow */
    batch[1].size = 2;
    IS(LQ_ETOOBIG, lq_put_batch(queue, batch, 2, NULL));
    EQUAL(api_stats(queue).last_id, 0);
    OK(lq_close(queue));
}

static void a_batch_is_taken_out_in_any_portions(void **state)
{
    lq_queue *queue = api_open(state, NULL);
    lq_consumer *consumer = api_consumer(queue, "c", NULL);
    lq_message batch[100], got[7];
    char texts[100][8];
    size_t count, total = 0;

    for (int i = 0; i < 100; i++) {
        snprintf(texts[i], sizeof texts[i], "m%d", i);
        batch[i] = (lq_message){.data = texts[i], .size = strlen(texts[i])};
    }
    OK(lq_put_batch(queue, batch, 100, NULL));
    while (lq_get_batch(consumer, got, 7, &count, 0) == LQ_OK) {
        HOLDS(count >= 1 && count <= 7);
        for (size_t i = 0; i < count; i++) HOLDS(api_is_text(&got[i], texts[total + i]));
        OK(lq_ack_batch(consumer, got, count));
        total += count;
    }
    EQUAL(total, 100);
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
}

static void get_batch_waits_for_the_first_only(void **state)
{
    lq_queue *queue = api_open(state, NULL);
    lq_consumer *consumer = api_consumer(queue, "c", NULL);
    lq_message got[10];
    size_t count;

    api_put(queue, "one");
    int64_t start = api_now_us();
    OK(lq_get_batch(consumer, got, 10, &count, 10000));
    HOLDS(api_now_us() - start < 5000000);
    EQUAL(count, 1);
    OK(lq_ack(consumer, &got[0]));
    IS(LQ_TIMEOUT, lq_get_batch(consumer, got, 10, &count, 20));
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
}

/* Two members share one batch; the consumer opens again in the middle of it. */
static void a_batch_is_shared_out_message_by_message(void **state)
{
    lq_queue *queue = api_open(state, NULL);
    lq_consumer *a = api_consumer(queue, "c", NULL), *b = api_consumer(queue, "c", NULL);
    lq_message batch[6], got;
    static const char *const texts[] = {"0", "1", "2", "3", "4", "5"};

    for (int i = 0; i < 6; i++) batch[i] = (lq_message){.data = texts[i], .size = 1};
    OK(lq_put_batch(queue, batch, 6, NULL));
    api_get_ack(a, "0");
    api_get_ack(b, "1");
    api_get_ack(a, "2");
    got = api_get(b, "3");
    OK(lq_consumer_close(a));
    OK(lq_consumer_close(b));
    OK(lq_close(queue));

    queue = api_open(state, NULL);
    a = api_consumer(queue, "c", NULL);
    got = api_get(a, "3");
    EQUAL(got.attempts, 2);
    OK(lq_ack(a, &got));
    got = api_get(a, "4");
    EQUAL(got.attempts, 1);
    OK(lq_ack(a, &got));
    api_get_ack(a, "5");
    OK(lq_consumer_close(a));
    OK(lq_close(queue));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_DIRECTORY(a_batch_gets_consecutive_ids),
        IN_DIRECTORY(keys_and_headers_come_with_their_message),
        IN_DIRECTORY(what_a_putter_need_not_set_is_ignored),
        IN_DIRECTORY(a_batch_with_one_bad_message_is_refused_as_a_whole),
        IN_DIRECTORY(a_batch_of_none_or_of_too_many_is_refused),
        IN_DIRECTORY(a_key_over_its_limit_is_refused),
        IN_DIRECTORY(a_batch_over_a_gibibyte_is_refused_without_being_read),
        IN_DIRECTORY(a_batch_is_taken_out_in_any_portions),
        IN_DIRECTORY(get_batch_waits_for_the_first_only),
        IN_DIRECTORY(a_batch_is_shared_out_message_by_message),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
