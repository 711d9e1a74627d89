/* Threads of one process put, get, ack, release, read, sync, look, open and close, on one handle and on several,
 * all at once; and consumers are made and deleted under their feet. Runs under ThreadSanitizer.
 *
 *     STRESS_SECONDS=600 stress_threads     so long, instead of 8 s */
#include <inttypes.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "libqueue.h"
#include "support/api.h"

enum { PUTTERS = 3, GETTERS = 3, THREADS_MAX = 16, MESSAGES_MAX = 1 << 20, BIG = 20000 };

static const char *queue_path;
static lq_options options;
static lq_queue *shared_queue; /* NULL: every thread opens its own */
static int64_t until_us;

static _Atomic uint64_t accepted, acked;
static _Atomic uint8_t settled[MESSAGES_MAX + 1];

struct actor {
    pthread_t thread;
    uint64_t random;
    bool putter;
};

static uint32_t below(struct actor *actor, uint32_t limit)
{
    actor->random = actor->random * 6364136223846793005 + 1442695040888963407;
    return (uint32_t)(actor->random >> 33) % limit;
}

static bool time_is_over(void)
{
    return api_now_us() >= until_us;
}

static lq_queue *borrow(void)
{
    lq_queue *queue = shared_queue;
    if (!queue) OK(lq_open(queue_path, &options, &queue));
    return queue;
}

static void give_back(lq_queue *queue)
{
    if (queue != shared_queue) OK(lq_close(queue));
}

/* The body says its size, so that whoever gets it can check it without knowing who put it. */
static size_t make(uint8_t *bytes, struct actor *actor)
{
    uint32_t size = 4 + (below(actor, 50) ? below(actor, 300) : below(actor, BIG));
    api_fill(bytes, size, size);
    memcpy(bytes, &size, sizeof size);
    return size;
}

static void check(const lq_message *message)
{
    static _Thread_local uint8_t bytes[BIG + 304];
    uint32_t size;
    HOLDS(message->size >= sizeof size);
    memcpy(&size, message->data, sizeof size);
    EQUAL(size, message->size);
    api_fill(bytes, size, size);
    memcpy(bytes, &size, sizeof size);
    HOLDS(memcmp(bytes, message->data, size) == 0);
}

static void *put(void *context)
{
    struct actor *actor = context;
    static _Thread_local uint8_t bytes[8][BIG + 304];

    while (!time_is_over()) {
        lq_queue *queue = borrow();
        for (int n = 0; n < 300 && !time_is_over() && atomic_load(&accepted) + 8 < MESSAGES_MAX; n++) {
            lq_message messages[8];
            size_t count = below(actor, 3) ? 1 : 1 + below(actor, 8);
            for (size_t i = 0; i < count; i++) messages[i] = (lq_message){.data = bytes[i], .size = make(bytes[i], actor)};
            int result = lq_put_batch(queue, messages, count, NULL);
            if (result == LQ_TIMEOUT) continue; /* full */
            OK(result);
            atomic_fetch_add(&accepted, count);
        }
        give_back(queue);
    }
    return NULL;
}

static void settle(lq_consumer *consumer, const lq_message *message, struct actor *actor)
{
    check(message);
    if (below(actor, 10) == 0) {
        OK(lq_release(consumer, message));
        return;
    }
    EQUAL(atomic_fetch_add(&settled[message->id], 1), 0); /* before: afterwards others could be faster */
    OK(lq_ack(consumer, message));
    atomic_fetch_add(&acked, 1);
}

static void *get(void *context)
{
    struct actor *actor = context;

    while (!time_is_over()) {
        lq_queue *queue = borrow();
        lq_consumer *consumer = api_consumer(queue, "c", NULL);
        for (int n = 0; n < 300 && !time_is_over(); n++) {
            lq_message messages[16];
            size_t count = 0;
            int result = lq_get_batch(consumer, messages, 1 + below(actor, 16), &count, 20);
            if (result == LQ_TIMEOUT) continue;
            OK(result);
            for (size_t i = 0; i < count; i++) settle(consumer, &messages[i], actor);
        }
        OK(lq_consumer_close(consumer));
        give_back(queue);
    }
    return NULL;
}

static void *look_on(void *context)
{
    struct actor *actor = context;

    while (!time_is_over()) {
        lq_queue *queue = borrow();
        lq_reader *reader;
        OK(lq_reader_open(queue, &reader));
        uint64_t last = 0;
        for (int n = 0; n < 1000 && !time_is_over(); n++) {
            lq_message message;
            int result = lq_reader_next(reader, &message);
            if (result == LQ_EMPTY) {
                result = lq_reader_wait(reader, 20);
                HOLDS(result == LQ_OK || result == LQ_TIMEOUT);
                continue;
            }
            OK(result);
            HOLDS(message.id > last);
            last = message.id;
            check(&message);
            if (below(actor, 200) == 0) EQUAL(api_stats(queue).damage, 0);
        }
        lq_reader_close(reader);
        give_back(queue);
    }
    return NULL;
}

static void *sync_and_look(void *context)
{
    struct actor *actor = context;

    while (!time_is_over()) {
        lq_queue *queue = borrow();
        for (int n = 0; n < 20 && !time_is_over(); n++) {
            OK(lq_sync(queue));
            lq_stats stats = api_stats(queue);
            HOLDS(stats.damage == 0 && !stats.poisoned);
            HOLDS(stats.visible_id <= stats.last_id);
            api_sleep_ms(below(actor, 5));
        }
        give_back(queue);
    }
    return NULL;
}

/* Consumers that come and go, while others open the same names. */
static void *make_and_delete(void *context)
{
    struct actor *actor = context;
    static const char *const names[] = {"one", "two", "three"};

    while (!time_is_over()) {
        lq_queue *queue = borrow();
        for (int n = 0; n < 50 && !time_is_over(); n++) {
            const char *name = names[below(actor, 3)];
            lq_consumer_options how = {.size = sizeof how, .start = LQ_START_END, .window = 64};
            lq_consumer *consumer;
            lq_message message;
            if (below(actor, 3) == 0) {
                int result = lq_consumer_delete(queue, name);
                HOLDS(result == LQ_OK || result == LQ_EBUSY || result == LQ_ENOTFOUND);
                continue;
            }
            OK(lq_consumer_open(queue, name, &how, &consumer));
            for (int i = 0; i < 5; i++) {
                int result = lq_poll(consumer, &message);
                HOLDS(result == LQ_OK || result == LQ_EMPTY);
                if (result == LQ_OK) check(&message);
                if (result == LQ_OK && below(actor, 4)) OK(lq_ack(consumer, &message));
            }
            OK(lq_consumer_close(consumer));
        }
        give_back(queue);
    }
    return NULL;
}

static void *(*const parts[])(void *) = {put, put, put, get, get, get, look_on, look_on, sync_and_look, make_and_delete, make_and_delete};
enum { PARTS = sizeof parts / sizeof *parts };

/* What is left comes, each message once. */
static void drain(void)
{
    lq_queue *queue;
    OK(lq_open(queue_path, &options, &queue));
    lq_consumer *consumer = api_consumer(queue, "c", NULL);
    lq_message message;
    OK(lq_sync(queue));
    while (lq_get(consumer, &message, 100) == LQ_OK) {
        check(&message);
        EQUAL(atomic_fetch_add(&settled[message.id], 1), 0);
        OK(lq_ack(consumer, &message));
        atomic_fetch_add(&acked, 1);
    }
    EQUAL(api_stats(queue).last_id, atomic_load(&accepted));
    EQUAL(atomic_load(&acked), atomic_load(&accepted));
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
}

static void stress(void **state, int sync, bool one_handle)
{
    static struct actor actors[PARTS];
    const char *seconds = getenv("STRESS_SECONDS");

    queue_path = api_path(*state, "q");
    options = (lq_options){.size = sizeof options, .sync = sync, .sync_interval_ms = sync == LQ_SYNC_INTERVAL ? 5 : 0,
                           .segment_size = 65536, .ring_size = 65536, .size_max = 1 << 20, .full = LQ_FULL_BLOCK, .full_timeout_ms = 50};
    atomic_store(&accepted, 0);
    atomic_store(&acked, 0);
    for (size_t i = 0; i <= MESSAGES_MAX; i++) atomic_store(&settled[i], 0);
    lq_queue *queue;
    OK(lq_open(queue_path, &options, &queue));
    lq_consumer *keeper = api_consumer(queue, "c", NULL); /* from the start, or segments would go before it */
    OK(lq_consumer_close(keeper));
    shared_queue = one_handle ? queue : NULL;
    until_us = api_now_us() + (int64_t)((seconds ? strtod(seconds, NULL) : 8) * 1e6 / 4);

    for (size_t i = 0; i < PARTS; i++) {
        actors[i].random = (uint64_t)sync * 100 + i;
        assert_int_equal(pthread_create(&actors[i].thread, NULL, parts[i], &actors[i]), 0);
    }
    for (size_t i = 0; i < PARTS; i++) pthread_join(actors[i].thread, NULL);
    OK(lq_close(queue));
    drain();
    printf("%" PRIu64 " messages\n", atomic_load(&accepted));
    assert_int_equal(lq_verify(queue_path, 0, NULL, NULL, NULL), LQ_OK);
}

static void threads_share_a_handle_that_syncs_always(void **state)
{
    stress(state, LQ_SYNC_ALWAYS, true);
}

static void threads_share_a_handle_that_syncs_by_interval(void **state)
{
    stress(state, LQ_SYNC_INTERVAL, true);
}

static void threads_with_handles_of_their_own_sync_always(void **state)
{
    stress(state, LQ_SYNC_ALWAYS, false);
}

static void threads_with_handles_of_their_own_never_sync(void **state)
{
    stress(state, LQ_SYNC_NEVER, false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_DIRECTORY(threads_share_a_handle_that_syncs_always),
        IN_DIRECTORY(threads_share_a_handle_that_syncs_by_interval),
        IN_DIRECTORY(threads_with_handles_of_their_own_sync_always),
        IN_DIRECTORY(threads_with_handles_of_their_own_never_sync),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
