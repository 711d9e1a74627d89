/* Where integers end. Ids and positions near 2^63, times and time-outs at both ends of 64 bits, sizes and counts of which the
 * sum overflows: PUT refuses what would not verify, and what was there stays readable. */
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
#include "support/child.h"
#include "support/forge.h"
#include "support/survey.h"

static const uint64_t last_id = INT64_MAX - 1;         /* of all messages that can be */
static const uint64_t last_end = UINT64_C(1) << 62;    /* of all positions */

static void tell(void *context, const lq_finding *finding)
{
    (void)context;
    api_note("%s, byte %llu: %s", finding->file, (unsigned long long)finding->offset, finding->text);
}

static lq_queue *open_at(const char *path)
{
    lq_queue *queue;
    OK(lq_open(path, &(lq_options){.size = sizeof(lq_options)}, &queue));
    return queue;
}

/* A queue "q" whose next message is `next_id`, at about `position`; the ten before it are there. */
static const char *queue_at(void **state, uint64_t next_id, uint64_t position)
{
    const char *path = api_path(*state, "q");
    struct forge_meta meta = forge_meta;
    struct forge_segment *segment = forge_segment_new(next_id - 10, position & ~UINT64_C(7));

    meta.trims[1] = (struct forge_trim){.sequence = 1, .first_id = next_id - 10, .position = segment->position, .synced = segment->position,
                                        .next_id = next_id - 10};
    for (uint64_t id = next_id - 10; id < next_id; id++) forge_message(segment, id, "before");
    forge_queue(path, &meta);
    forge_segment_write(segment, path);
    return path;
}

static void put_is_refused(lq_queue *queue, size_t batch)
{
    static char large[100000]; /* goes past the ring */
    lq_message *messages = calloc(batch, sizeof *messages);
    lq_stats before = api_stats(queue);
    uint64_t id = 77;

    HOLDS(messages != NULL);
    IS(LQ_ELIMIT, lq_put_batch(queue, messages, batch, &id));
    TEXT_HAS("end", "next message");
    if (batch == 1) {
        IS(LQ_ELIMIT, lq_put(queue, "x", 1, &id));
        IS(LQ_ELIMIT, lq_put(queue, large, sizeof large, &id));
        TEXT_HAS("end", "next message");
    }
    EQUAL(id, 77);
    lq_stats after = api_stats(queue);
    HOLDS(after.last_id == before.last_id && after.appended == before.appended && !after.poisoned);
    free(messages);
}

/* All messages from `first` on, to a reader and to a consumer that begins anew. */
static void all_are_there(lq_queue *queue, uint64_t first, uint64_t last, const char *name)
{
    lq_consumer *consumer = api_consumer(queue, name, NULL);
    lq_reader *reader;
    lq_message message;

    OK(lq_reader_open(queue, &reader));
    for (uint64_t id = first; id <= last; id++) {
        OK(lq_reader_next(reader, &message));
        EQUAL(message.id, id);
        OK(lq_poll(consumer, &message));
        EQUAL(message.id, id);
        if (id == last) OK(lq_release(consumer, &message));
        else OK(lq_ack(consumer, &message));
    }
    IS(LQ_EMPTY, lq_reader_next(reader, &message));
    OK(lq_poll(consumer, &message));
    EQUAL(message.id, last);
    OK(lq_ack(consumer, &message));
    IS(LQ_EMPTY, lq_poll(consumer, &message));
    lq_reader_close(reader);
    OK(lq_consumer_close(consumer));
    lq_consumer_stats stats = api_consumer_stats(queue, name);
    HOLDS(stats.floor == last && stats.delivered == last && stats.ready == 0);
}

/* ---- ids ----------------------------------------------------------------------- */

static void ids_end_below_2_to_the_63_and_put_says_so(void **state)
{
    const char *path = queue_at(state, last_id - 4, 0);
    lq_queue *queue = open_at(path);
    lq_message three[3] = {{0}};
    uint64_t id;

    put_is_refused(queue, 6);
    put_is_refused(queue, 65535);
    OK(lq_put_batch(queue, three, 3, &id));
    EQUAL(id, last_id - 4);
    put_is_refused(queue, 3);
    OK(lq_put(queue, "last but one", 12, &id));
    EQUAL(id, last_id - 1);
    put_is_refused(queue, 2);
    OK(lq_put(queue, "last", 4, &id));
    EQUAL(id, last_id);
    put_is_refused(queue, 1);
    OK(lq_sync(queue));
    all_are_there(queue, last_id - 14, last_id, "a");
    OK(lq_close(queue));

    for (int again = 0; again < 2; again++) {
        OK(lq_verify(path, 0, tell, NULL, NULL));
        queue = open_at(path);
        put_is_refused(queue, 1);
        all_are_there(queue, last_id - 14, last_id, again ? "b" : "c");
        HOLDS(api_consumer_stats(queue, "a").floor == last_id);
        OK(lq_consumer_delete(queue, "a"));
        OK(lq_consumer_close(api_consumer(queue, "a", &(lq_consumer_options){.size = sizeof(lq_consumer_options), .start = LQ_START_END})));
        HOLDS(api_consumer_stats(queue, "a").floor == last_id);
        OK(lq_close(queue));
    }
}

static void every_start_of_a_consumer_near_the_end_is_a_place(void **state)
{
    static const uint64_t ids[] = {0, 1, INT64_MAX - 20, INT64_MAX - 3, INT64_MAX - 1, INT64_MAX, UINT64_C(1) << 63, UINT64_MAX};
    static const int64_t times[] = {INT64_MIN, -1, 0, 1, INT64_MAX};
    const char *path = queue_at(state, last_id, 0);
    lq_queue *queue = open_at(path);
    char name[16];

    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++) {
        lq_consumer_options options = {.size = sizeof options, .start = LQ_START_ID, .start_id = ids[i]};
        snprintf(name, sizeof name, "id-%zu", i);
        OK(lq_consumer_close(api_consumer(queue, name, &options)));
        uint64_t first = ids[i] > last_id ? last_id : ids[i] < last_id - 10 ? last_id - 10 : ids[i];
        EQUAL(api_consumer_stats(queue, name).floor, first - 1);
    }
    for (size_t i = 0; i < sizeof times / sizeof *times; i++) {
        lq_consumer_options options = {.size = sizeof options, .start = LQ_START_TIME, .start_time_us = times[i]};
        snprintf(name, sizeof name, "time-%zu", i);
        OK(lq_consumer_close(api_consumer(queue, name, &options)));
        EQUAL(api_consumer_stats(queue, name).floor, times[i] == INT64_MAX ? last_id - 1 : last_id - 11);
    }
    OK(lq_close(queue));
}

/* Dies with what it has put in memory only. */
static int put_and_die(void *context)
{
    lq_queue *queue;
    CHECK(lq_open(context, &(lq_options){.size = sizeof(lq_options)}, &queue) == LQ_OK);
    for (int i = 0; i < 5; i++) CHECK(lq_put(queue, "of the dead", 11, NULL) == LQ_OK);
    CHECK(lq_put(queue, "one too many", 12, NULL) == LQ_ELIMIT);
    return 0;
}

static void what_the_dead_put_near_the_end_is_found(void **state)
{
    const char *path = queue_at(state, last_id - 4, last_end - 15 * 56);
    EQUAL(child_run(put_and_die, (void *)(uintptr_t)path), 0);
    lq_queue *queue = open_at(path), *second = open_at(path);
    EQUAL(api_stats(queue).recovered_messages, 5);
    put_is_refused(second, 1);
    all_are_there(queue, last_id - 14, last_id, "a");
    all_are_there(second, last_id - 14, last_id, "b");
    OK(lq_close(second));
    OK(lq_close(queue));
}

/* ---- positions ------------------------------------------------------------------- */

static void positions_end_at_2_to_the_62_and_put_says_so(void **state)
{
    const char *path = queue_at(state, 11, last_end - 10 * 48 - 3 * 48 - 40);
    lq_queue *queue = open_at(path);
    uint64_t id;

    for (uint64_t next = 11; next <= 13; next++) {
        OK(lq_put(queue, "12345678", 8, &id));
        EQUAL(id, next);
    }
    IS(LQ_ELIMIT, lq_put(queue, "1", 1, &id));
    OK(lq_put(queue, "", 0, &id)); /* 40 bytes are left */
    EQUAL(api_stats(queue).appended, last_end);
    put_is_refused(queue, 1);
    all_are_there(queue, 1, 14, "a");
    OK(lq_close(queue));
    OK(lq_verify(path, 0, tell, NULL, NULL));
    queue = open_at(path);
    put_is_refused(queue, 1);
    all_are_there(queue, 1, 14, "b");
    OK(lq_close(queue));
}

static void a_large_message_does_not_go_over_the_last_position_either(void **state)
{
    static char large[200000];
    const char *path = queue_at(state, 11, last_end - 10 * 48 - 300000);
    lq_queue *queue = open_at(path);
    uint64_t id;

    OK(lq_put(queue, large, sizeof large, &id));
    IS(LQ_ELIMIT, lq_put(queue, large, sizeof large, &id));
    OK(lq_put(queue, large, 50000, &id));
    EQUAL(id, 12);
    all_are_there(queue, 1, 12, "a");
    OK(lq_close(queue));
}

/* ---- times ------------------------------------------------------------------------ */

static void times_from_anywhere_are_passed_on_and_never_go_back(void **state)
{
    static const int64_t times[] = {INT64_MIN, INT64_MIN + 1, -1, 0, 1, INT64_MAX - 1, INT64_MAX};

    for (size_t i = 0; i < sizeof times / sizeof *times; i++) {
        char name[16];
        snprintf(name, sizeof name, "times-%zu", i);
        const char *path = api_path(*state, name);
        struct forge_meta meta = forge_meta;
        struct forge_segment *segment = forge_segment_new(1, 0);
        lq_message message;
        meta.retention = LQ_RETAIN_BOTH;
        meta.age_max_ms = INT64_MAX;
        segment->created_us = times[i];
        forge_record(segment, &(struct forge_record){.first_id = 1, .flags = FORGE_LONE, .time_us = times[i], .payload = "x", .payload_size = 1});
        forge_queue(path, &meta);
        forge_segment_write(segment, path);
        lq_queue *queue = open_at(path);
        EQUAL(api_stats(queue).first_time_us, times[i]);
        api_put(queue, "now");
        lq_consumer *consumer = api_consumer(queue, "c", NULL);
        OK(lq_get(consumer, &message, 0));
        EQUAL(message.time_us, times[i]);
        OK(lq_get(consumer, &message, 0));
        HOLDS(message.time_us >= times[i] && message.time_us > 0);
        OK(lq_consumer_close(consumer));
        OK(lq_close(queue));
    }
}

/* ---- time-outs -------------------------------------------------------------------- */

static void *put_soon(void *context)
{
    api_sleep_ms(30);
    api_put(context, "come");
    return NULL;
}

static void time_outs_at_the_ends_of_64_bits_wait_and_are_woken(void **state)
{
    static const int64_t waits[] = {INT64_MAX, INT64_MAX / 1000, INT64_MAX / 1000 + 1, INT64_MAX / 1000000 + 1, -1};
    lq_queue *queue = api_open(state, &(lq_options){.sync = LQ_SYNC_NEVER});
    lq_consumer *consumer = api_consumer(queue, "c", NULL);
    lq_reader *reader;
    pthread_t thread;

    OK(lq_reader_open(queue, &reader));
    for (size_t i = 0; i < sizeof waits / sizeof *waits; i++) {
        lq_message message;
        HOLDS(pthread_create(&thread, NULL, put_soon, queue) == 0);
        OK(lq_get(consumer, &message, waits[i]));
        OK(lq_ack(consumer, &message));
        HOLDS(pthread_join(thread, NULL) == 0);
        OK(lq_reader_wait(reader, waits[i]));
        OK(lq_reader_next(reader, &message));
        HOLDS(pthread_create(&thread, NULL, put_soon, queue) == 0);
        OK(lq_reader_wait(reader, waits[i]));
        OK(lq_reader_next(reader, &message));
        OK(lq_get(consumer, &message, waits[i]));
        OK(lq_ack(consumer, &message));
        HOLDS(pthread_join(thread, NULL) == 0);
    }
    lq_reader_close(reader);
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
}

/* ---- counts and sizes --------------------------------------------------------------- */

static void sizes_whose_sum_overflows_are_too_big(void **state)
{
    static const size_t sizes[] = {SIZE_MAX, SIZE_MAX - 1, SIZE_MAX / 2, SIZE_MAX / 2 + 1, (size_t)1 << 32, ((size_t)1 << 32) + 5, (size_t)1 << 31, ((size_t)1 << 30) + 1};
    lq_queue *queue = api_open(state, &(lq_options){.sync = LQ_SYNC_NEVER});
    uint64_t id = 77;

    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        lq_message message = {.data = "x", .size = sizes[i]}, parts[4];
        IS(LQ_ETOOBIG, lq_put(queue, "x", sizes[i], &id));
        IS(LQ_ETOOBIG, lq_put_batch(queue, &message, 1, &id));
        message = (lq_message){.data = "x", .size = 1, .key = "k", .key_size = sizes[i]};
        IS(LQ_ETOOBIG, lq_put_batch(queue, &message, 1, &id));
        message = (lq_message){.data = "x", .size = 1, .headers = "h", .headers_size = sizes[i]};
        IS(LQ_ETOOBIG, lq_put_batch(queue, &message, 1, &id));
        message = (lq_message){.data = "x", .size = 1, .key = "k", .key_size = sizes[i], .headers = "h", .headers_size = 0 - sizes[i]};
        IS(LQ_ETOOBIG, lq_put_batch(queue, &message, 1, &id));
        message = (lq_message){.data = "x", .size = 0 - (size_t)1, .key = "k", .key_size = 1};
        IS(LQ_ETOOBIG, lq_put_batch(queue, &message, 1, &id));
        for (size_t j = 0; j < 4; j++) parts[j] = (lq_message){.data = "x", .size = j % 2 ? 0 - sizes[i] + 10 : sizes[i]};
        IS(LQ_ETOOBIG, lq_put_batch(queue, parts, 4, &id));
    }
    /* Each may be, all together are over 1 GiB, and over 2^32. */
    lq_message *many = calloc(LQ_BATCH_MAX, sizeof *many);
    HOLDS(many != NULL);
    for (size_t i = 0; i < LQ_BATCH_MAX; i++) many[i] = (lq_message){.data = "x", .size = (size_t)1 << 30};
    for (size_t count = 2; count <= LQ_BATCH_MAX; count = count < 8 ? count + 1 : count + 9361) IS(LQ_ETOOBIG, lq_put_batch(queue, many, count, &id));
    /* Counts that cannot be: nothing behind the pointer is looked at. */
    IS(LQ_EINVAL, lq_put_batch(queue, many, 0, &id));
    IS(LQ_EINVAL, lq_put_batch(queue, many, LQ_BATCH_MAX + 1, &id));
    IS(LQ_EINVAL, lq_put_batch(queue, many, SIZE_MAX, &id));
    IS(LQ_EINVAL, lq_put_batch(queue, many, ((size_t)1 << 32) + 1, &id));
    free(many);
    EQUAL(id, 77);
    EQUAL(api_stats(queue).last_id, 0);
    EQUAL(api_put(queue, "and it goes on"), 1);
    OK(lq_close(queue));
}

static int settle(void *context, int code, const lq_message *message)
{
    (void)message;
    HOLDS(code == LQ_OK);
    ++*(int *)context;
    return LQ_SETTLE_ACK;
}

static void a_batch_may_be_asked_for_without_any_bound(void **state)
{
    static const size_t most[] = {SIZE_MAX, SIZE_MAX / 2 + 1, (size_t)1 << 32, (size_t)1 << 31};
    lq_queue *queue = api_open(state, &(lq_options){.sync = LQ_SYNC_NEVER});
    lq_consumer *consumer = api_consumer(queue, "c", &(lq_consumer_options){.size = sizeof(lq_consumer_options), .window = 64});
    lq_consumer *told = api_consumer(queue, "d", &(lq_consumer_options){.size = sizeof(lq_consumer_options), .flags = LQ_CONSUMER_DISPATCH});
    lq_message messages[64];
    size_t count;
    int handled = 0;

    OK(lq_notify(told, settle, &handled));
    for (size_t i = 0; i < sizeof most / sizeof *most; i++) {
        for (int put = 0; put < 100; put++) api_put(queue, "x");
        OK(lq_get_batch(consumer, messages, most[i], &count, 0)); /* no more than its window, of which the header speaks */
        EQUAL(count, 64);
        OK(lq_ack_batch(consumer, messages, count));
        OK(lq_get_batch(consumer, messages, 36, &count, 0));
        EQUAL(count, 36);
        OK(lq_ack_batch(consumer, messages, count));
        OK(lq_dispatch(told, most[i], &count));
        EQUAL(count, 100);
    }
    EQUAL(handled, 400);
    OK(lq_consumer_close(told));
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_DIRECTORY(ids_end_below_2_to_the_63_and_put_says_so),
        IN_DIRECTORY(every_start_of_a_consumer_near_the_end_is_a_place),
        IN_DIRECTORY(what_the_dead_put_near_the_end_is_found),
        IN_DIRECTORY(positions_end_at_2_to_the_62_and_put_says_so),
        IN_DIRECTORY(a_large_message_does_not_go_over_the_last_position_either),
        IN_DIRECTORY(times_from_anywhere_are_passed_on_and_never_go_back),
        IN_DIRECTORY(time_outs_at_the_ends_of_64_bits_wait_and_are_woken),
        IN_DIRECTORY(sizes_whose_sum_overflows_are_too_big),
        IN_DIRECTORY(a_batch_may_be_asked_for_without_any_bound),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
