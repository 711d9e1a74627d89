/* Readers: seeking, following, damage. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "support/api.h"

static const lq_options small = {.segment_size = 64 << 10, .ring_size = 64 << 10, .sync = LQ_SYNC_NEVER};

static lq_reader *open_reader(lq_queue *queue)
{
    lq_reader *reader = NULL;
    OK(lq_reader_open(queue, &reader));
    return reader;
}

/* ---- reading ------------------------------------------------------------- */

static void a_reader_sees_everything_and_consumes_nothing(void **state)
{
    lq_queue *queue = api_open(state, NULL);
    lq_consumer *consumer = api_consumer(queue, "c", NULL);
    lq_message message;

    api_put_range(queue, 1, 50, 100);
    api_take_range(consumer, 1, 20, 100);
    for (int i = 0; i < 2; i++) api_read_range(queue, 1, 50, 100);
    lq_reader *reader = open_reader(queue);
    OK(lq_reader_next(reader, &message));
    EQUAL(message.attempts, 0);
    EQUAL(message.lease, 0);
    HOLDS(message.time_us > 0);
    lq_reader_close(reader);
    api_take_range(consumer, 21, 50, 100);
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
}

static void a_reader_goes_to_any_id(void **state)
{
    lq_queue *queue = api_open(state, &small);
    lq_reader *reader;
    lq_message message;

    api_put_range(queue, 1, 1000, 500);
    for (int pass = 0; pass < 2; pass++) {
        reader = open_reader(queue);
        for (uint64_t i = 0; i < 300; i++) {
            uint64_t id = 1 + i * 617 % 1000;
            OK(lq_reader_seek_id(reader, id));
            OK(lq_reader_next(reader, &message));
            EQUAL(message.id, id);
            HOLDS(api_is_filled(&message, 500, id));
            if (id < 1000) {
                OK(lq_reader_next(reader, &message));
                EQUAL(message.id, id + 1);
            }
        }
        OK(lq_reader_seek_id(reader, 0));
        OK(lq_reader_next(reader, &message));
        EQUAL(message.id, 1);
        lq_reader_close(reader);
        OK(lq_close(queue)); /* second pass: all in files */
        queue = api_open(state, NULL);
    }
    OK(lq_close(queue));
}

static void a_reader_goes_to_any_message_of_a_batch(void **state)
{
    lq_queue *queue = api_open(state, NULL);
    lq_message batch[100], message;
    char texts[100][8];

    api_put(queue, "alone");
    for (int i = 0; i < 100; i++) {
        snprintf(texts[i], sizeof texts[i], "m%d", i);
        batch[i] = (lq_message){.data = texts[i], .size = strlen(texts[i])};
    }
    OK(lq_put_batch(queue, batch, 100, NULL));
    lq_reader *reader = open_reader(queue);
    for (uint64_t i = 0; i < 100; i++) {
        uint64_t n = i * 37 % 100;
        OK(lq_reader_seek_id(reader, 2 + n));
        OK(lq_reader_next(reader, &message));
        EQUAL(message.id, 2 + n);
        HOLDS(api_is_text(&message, texts[n]));
    }
    lq_reader_close(reader);
    OK(lq_close(queue));
}

static void a_reader_behind_the_end_reads_what_comes_there(void **state)
{
    lq_queue *queue = api_open(state, NULL);
    lq_reader *reader = open_reader(queue), *next = open_reader(queue);
    lq_message message;

    api_put_range(queue, 1, 3, 20);
    OK(lq_reader_seek_id(reader, 6));
    OK(lq_reader_seek_id(next, 4));
    IS(LQ_EMPTY, lq_reader_next(reader, &message));
    IS(LQ_EMPTY, lq_reader_next(next, &message));
    IS(LQ_TIMEOUT, lq_reader_wait(next, 20));
    api_put_range(queue, 4, 7, 20);
    OK(lq_reader_wait(next, 0));
    OK(lq_reader_next(next, &message));
    EQUAL(message.id, 4);
    OK(lq_reader_next(reader, &message));
    EQUAL(message.id, 6);
    OK(lq_reader_seek_id(reader, UINT64_MAX));
    IS(LQ_EMPTY, lq_reader_next(reader, &message));
    lq_reader_close(reader);
    lq_reader_close(next);
    OK(lq_close(queue));
}

static void a_reader_goes_to_any_time(void **state)
{
    lq_queue *queue = api_open(state, &small);
    int64_t times[601];
    lq_message message;

    for (uint64_t id = 1; id <= 600; id++) {
        api_put_range(queue, id, id, 500);
        if (id % 100 == 0) api_sleep_ms(2);
    }
    lq_reader *reader = open_reader(queue);
    for (uint64_t id = 1; id <= 600; id++) {
        OK(lq_reader_next(reader, &message));
        times[id] = message.time_us;
    }
    for (uint64_t id = 1; id <= 600; id += 7) {
        uint64_t first = id;
        while (first > 1 && times[first - 1] == times[id]) first--;
        OK(lq_reader_seek_time(reader, times[id]));
        OK(lq_reader_next(reader, &message));
        EQUAL(message.id, first);
        OK(lq_reader_seek_time(reader, times[id] + 1));
        uint64_t after = id;
        while (after <= 600 && times[after] <= times[id]) after++;
        if (after <= 600) {
            OK(lq_reader_next(reader, &message));
            EQUAL(message.id, after);
        } else {
            IS(LQ_EMPTY, lq_reader_next(reader, &message));
        }
    }
    OK(lq_reader_seek_time(reader, INT64_MIN));
    OK(lq_reader_next(reader, &message));
    EQUAL(message.id, 1);
    OK(lq_reader_seek_time(reader, INT64_MAX));
    IS(LQ_EMPTY, lq_reader_next(reader, &message));
    lq_reader_close(reader);
    OK(lq_close(queue));
}

static void *put_later(void *queue)
{
    api_sleep_ms(50);
    api_put(queue, "late");
    return NULL;
}

static void a_reader_follows_the_log(void **state)
{
    lq_queue *queue = api_open(state, NULL);
    lq_reader *reader = open_reader(queue);
    lq_message message;
    pthread_t thread;

    IS(LQ_EMPTY, lq_reader_next(reader, &message));
    pthread_create(&thread, NULL, put_later, queue);
    OK(lq_reader_wait(reader, -1));
    OK(lq_reader_next(reader, &message));
    HOLDS(api_is_text(&message, "late"));
    IS(LQ_EMPTY, lq_reader_next(reader, &message));
    pthread_join(thread, NULL);
    lq_reader_close(reader);
    OK(lq_close(queue));
}

static void a_slow_reader_is_lapped_by_the_ring_and_loses_nothing(void **state)
{
    lq_queue *queue = api_open(state, &small);
    lq_reader *reader = open_reader(queue);
    lq_message message;
    uint64_t read = 0;

    for (uint64_t id = 1; id <= 2000; id++) {
        api_put_range(queue, id, id, 400);
        if (id % 500 < 100) continue; /* behind by at most 40 KB; then catch up, one for two */
        for (int i = 0; i < 2 && read < id; i++) {
            OK(lq_reader_next(reader, &message));
            EQUAL(message.id, ++read);
            HOLDS(api_is_filled(&message, 400, read));
        }
    }
    while (lq_reader_next(reader, &message) == LQ_OK) EQUAL(message.id, ++read);
    EQUAL(read, 2000);
    lq_reader_close(reader);
    OK(lq_close(queue));
}

static void senseless_arguments_are_refused(void **state)
{
    lq_queue *queue = api_open(state, NULL);
    lq_reader *reader = open_reader(queue);
    lq_message message;
    lq_finding finding = {.size = sizeof finding};

    IS(LQ_EINVAL, lq_reader_open(NULL, &reader));
    IS(LQ_EINVAL, lq_reader_open(queue, NULL));
    IS(LQ_EINVAL, lq_reader_next(NULL, &message));
    IS(LQ_EINVAL, lq_reader_next(reader, NULL));
    IS(LQ_EINVAL, lq_reader_seek_id(NULL, 1));
    IS(LQ_EINVAL, lq_reader_seek_time(NULL, 1));
    IS(LQ_EINVAL, lq_reader_wait(NULL, 1));
    IS(LQ_EINVAL, lq_reader_damage(NULL, &finding));
    IS(LQ_EINVAL, lq_reader_damage(reader, &finding)); /* there is none */
    IS(LQ_EINVAL, lq_reader_damage(reader, NULL));
    lq_reader_close(reader);
    OK(lq_close(queue));
}

/* ---- damage ------------------------------------------------------------------ */

/* Records of 100 bytes take 144 in the file; the first begins at byte 256. */
#define RECORD_AT(number) (256 + ((number) - 1) * 144)

static void damage_costs_one_message_and_is_told_once(void **state)
{
    lq_queue *queue = api_open(state, NULL);
    api_put_range(queue, 1, 10, 100);
    OK(lq_close(queue));
    for (int header = 0; header < 2; header++) {
        uint64_t at = RECORD_AT(4) + (header ? 5 : 60);
        api_file_flip(api_segment(api_path(*state, "q"), 0), at, 0x10);
        queue = api_open(state, NULL);
        lq_reader *reader = open_reader(queue);
        lq_message message;
        lq_finding finding = {.size = sizeof finding};
        for (uint64_t id = 1; id <= 10; id++) {
            if (id == 4) {
                IS(LQ_ECORRUPT, lq_reader_next(reader, &message));
                TEXT_HAS("log/00000000000000000001.seg");
                OK(lq_reader_damage(reader, &finding));
                EQUAL(finding.code, LQ_ECORRUPT);
                assert_string_equal(finding.file, "log/00000000000000000001.seg");
                EQUAL(finding.offset, RECORD_AT(4));
                EQUAL(finding.first_id, 4);
                EQUAL(finding.count, 1);
                HOLDS(finding.text[0] != 0);
                continue;
            }
            OK(lq_reader_next(reader, &message));
            EQUAL(message.id, id);
            HOLDS(api_is_filled(&message, 100, id));
        }
        IS(LQ_EMPTY, lq_reader_next(reader, &message));
        IS(LQ_EINVAL, lq_reader_damage(reader, &finding));
        lq_reader_close(reader);
        OK(lq_close(queue));
        api_file_flip(api_segment(api_path(*state, "q"), 0), at, 0x10);
    }
}

/* The way to a message leads over damaged ones: that must not cost the message. */
static void damage_before_the_place_one_seeks_costs_nothing_behind_it(void **state)
{
    lq_queue *queue = api_open(state, NULL);
    lq_message batch[10], message;
    char bodies[10][100];

    api_put_range(queue, 1, 10, 100);
    for (uint64_t i = 0; i < 10; i++) {
        api_fill(bodies[i], 100, 11 + i);
        batch[i] = (lq_message){.data = bodies[i], .size = 100};
    }
    OK(lq_put_batch(queue, batch, 10, NULL));
    api_put_range(queue, 21, 30, 100);
    OK(lq_close(queue));
    api_file_flip(api_segment(api_path(*state, "q"), 0), RECORD_AT(5) + 5, 1); /* a header */

    queue = api_open(state, NULL);
    lq_reader *reader = open_reader(queue);
    for (uint64_t id = 6; id <= 30; id++) {
        OK(lq_reader_seek_id(reader, id));
        int err = lq_reader_next(reader, &message);
        if (err == LQ_ECORRUPT) err = lq_reader_next(reader, &message); /* to be told of what was on the way is fine */
        OK(err);
        EQUAL(message.id, id);
        HOLDS(api_is_filled(&message, 100, id));
    }
    lq_reader_close(reader);
    lq_consumer *consumer = api_consumer(queue, "c", &(lq_consumer_options){.start = LQ_START_ID, .start_id = 15});
    int err = lq_poll(consumer, &message);
    if (err == LQ_ECORRUPT) err = lq_poll(consumer, &message);
    OK(err);
    EQUAL(message.id, 15);
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
}

static void damage_before_a_message_that_comes_again_does_not_cost_it(void **state)
{
    lq_queue *queue = api_open(state, NULL);
    lq_consumer *consumer = api_consumer(queue, "c", NULL);
    lq_message messages[30], message;

    api_put_range(queue, 1, 30, 100);
    for (int i = 0; i < 30; i++) OK(lq_poll(consumer, &messages[i]));
    for (int i = 0; i < 30; i++)
        if (i + 1 != 15 && i + 1 != 20) OK(lq_ack(consumer, &messages[i]));
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
    api_file_flip(api_segment(api_path(*state, "q"), 0), RECORD_AT(5) + 5, 1);

    queue = api_open(state, NULL);
    consumer = api_consumer(queue, "c", NULL);
    for (uint64_t id = 15; id <= 20; id += 5) {
        OK(lq_poll(consumer, &message));
        EQUAL(message.id, id);
        EQUAL(message.attempts, 2);
        HOLDS(api_is_filled(&message, 100, id));
        OK(lq_ack(consumer, &message));
    }
    IS(LQ_EMPTY, lq_poll(consumer, &message));
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
}

static void a_damaged_message_that_comes_again_is_told_once(void **state)
{
    lq_queue *queue = api_open(state, NULL);
    lq_consumer *consumer = api_consumer(queue, "c", NULL);
    lq_message message;

    api_put_range(queue, 1, 3, 100);
    for (int i = 0; i < 3; i++) OK(lq_poll(consumer, &message));
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
    api_file_flip(api_segment(api_path(*state, "q"), 0), RECORD_AT(2) + 60, 1);

    queue = api_open(state, NULL);
    consumer = api_consumer(queue, "c", NULL);
    api_take_range(consumer, 1, 1, 100);
    IS(LQ_ECORRUPT, lq_poll(consumer, &message));
    TEXT_HAS("log/00000000000000000001.seg", "2");
    api_take_range(consumer, 3, 3, 100);
    IS(LQ_EMPTY, lq_poll(consumer, &message));
    HOLDS(api_stats(queue).damage > 0);
    EQUAL(api_consumer_stats(queue, "c").floor, 3);
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
}

/* The rest of a batch that is being read needs no waiting for. */
static void a_reader_in_the_middle_of_a_batch_does_not_wait(void **state)
{
    lq_queue *queue = api_open(state, NULL);
    lq_message messages[3] = {{.data = "a", .size = 1}, {.data = "b", .size = 1}, {.data = "c", .size = 1}}, message;
    lq_reader *reader;

    OK(lq_put_batch(queue, messages, 3, NULL));
    OK(lq_reader_open(queue, &reader));
    for (uint64_t id = 1; id <= 3; id++) {
        OK(lq_reader_wait(reader, 0));
        OK(lq_reader_next(reader, &message));
        EQUAL(message.id, id);
    }
    IS(LQ_TIMEOUT, lq_reader_wait(reader, 0));
    lq_reader_close(reader);
    OK(lq_close(queue));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_DIRECTORY(a_reader_sees_everything_and_consumes_nothing),
        IN_DIRECTORY(a_reader_goes_to_any_id),
        IN_DIRECTORY(a_reader_goes_to_any_message_of_a_batch),
        IN_DIRECTORY(a_reader_behind_the_end_reads_what_comes_there),
        IN_DIRECTORY(a_reader_goes_to_any_time),
        IN_DIRECTORY(a_reader_in_the_middle_of_a_batch_does_not_wait),
        IN_DIRECTORY(a_reader_follows_the_log),
        IN_DIRECTORY(a_slow_reader_is_lapped_by_the_ring_and_loses_nothing),
        IN_DIRECTORY(senseless_arguments_are_refused),
        IN_DIRECTORY(damage_costs_one_message_and_is_told_once),
        IN_DIRECTORY(damage_before_the_place_one_seeks_costs_nothing_behind_it),
        IN_DIRECTORY(damage_before_a_message_that_comes_again_does_not_cost_it),
        IN_DIRECTORY(a_damaged_message_that_comes_again_is_told_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
