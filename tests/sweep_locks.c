/* Locks that are beyond use, and memory that is not to be had: the n-th attempt to lock or to allocate fails, for n = 1,
 * 2, 3... until a session of nearly all calls meets no failure. Every call does its work or says why not, nothing is
 * left locked, and afterwards the queue has what it said it has. */
#include <inttypes.h>
#include <string.h>

#include <libqueue.h>

#include "support/api.h"
#include "support/libc_fault.h"
#include "support/scratch.h"

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define OWN_MALLOC 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define OWN_MALLOC 1
#endif

#ifndef OWN_MALLOC
static unsigned malloc_after, malloc_times; /* as in `plan` */

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *old, size_t size);

static bool no_memory(void)
{
    if (malloc_times == 0) return false;
    if (malloc_after > 0) {
        malloc_after--;
        return false;
    }
    malloc_times--;
    errno = ENOMEM;
    return true;
}

void *malloc(size_t size) { return no_memory() ? NULL : __libc_malloc(size); }
void *calloc(size_t count, size_t size) { return no_memory() ? NULL : __libc_calloc(count, size); }
void *realloc(void *old, size_t size) { return no_memory() ? NULL : __libc_realloc(old, size); }
#endif

enum { KIB = 1024, SIZE = 5000, BEFORE = 30, MORE_MAX = 40 };

static char queue_path[4096];
static uint64_t accepted, acked, doubtful, failures;
static bool settled[1 << 17]; /* acked, or perhaps: need not come again */
static lq_options small = {.size = sizeof(lq_options), .sync = LQ_SYNC_NEVER, .compression = 1, .segment_size = 64 * KIB,
                                 .ring_size = 64 * KIB};

static const lq_consumer_options saving = {.size = sizeof saving, .flags = LQ_CONSUMER_SAVE_ACKS, .spin_us = 100};

static bool failed(int err)
{
    if (err >= 0) return false;
    HOLDS(err == LQ_EIO || err == LQ_ENOMEM || err == LQ_EBUSY || err == LQ_ENOSPC || err == LQ_ELIMIT || err == LQ_EPOISONED);
    HOLDS(lq_error_text()[0] != 0);
    failures++;
    return true;
}

static void put(lq_queue *queue, size_t size)
{
    static uint8_t bytes[100000];
    uint64_t id = 0;
    memset(bytes, 'x', size);
    int err = lq_put(queue, bytes, size, &id);
    if (failed(err)) {
        if (err == LQ_EPOISONED || err == LQ_EBUSY) doubtful++;
        return;
    }
    HOLDS(id > accepted && id <= accepted + doubtful + 1);
    accepted = id;
    doubtful = 0;
}

static int one(void *context, int code, const lq_consumer_stats *stats)
{
    (void)context;
    (void)stats;
    (void)failed(code);
    return 0;
}

static int one_segment(void *context, const lq_segment *segment)
{
    (void)context;
    (void)failed(segment->code);
    return 0;
}

static void read_some(lq_queue *queue)
{
    lq_reader *reader;
    lq_message message;
    if (failed(lq_reader_open(queue, &reader))) return;
    uint64_t first = 1;
    if (!failed(lq_reader_seek_id(reader, 5))) first = 5;
    int err;
    while ((err = lq_reader_next(reader, &message)) == LQ_OK) {
        HOLDS(message.id >= first);
        first = message.id + 1;
    }
    (void)failed(err);
    (void)failed(lq_reader_seek_time(reader, 1));
    lq_reader_close(reader);
}

static void consume(lq_queue *queue, lq_consumer *consumer)
{
    lq_message message, batch[4];
    lq_consumer_stats stats = {.size = sizeof stats};
    size_t count = 0;
    int err = lq_poll(consumer, &message);
    if (!failed(err) && err == LQ_OK) EQUAL(message.id, acked + 1);
    if (err == LQ_OK) (void)failed(lq_release(consumer, &message));
    err = lq_poll(consumer, &message);
    if (!failed(err) && err == LQ_OK) {
        settled[message.id] = true;
        if (!failed(lq_ack(consumer, &message)) && message.id == acked + 1) acked++;
    }
    err = lq_get_batch(consumer, batch, 4, &count, 0);
    if (!failed(err) && err == LQ_OK) {
        for (size_t i = 0; i < count; i++) settled[batch[i].id] = true;
        (void)failed(lq_ack_batch(consumer, batch, count));
    }
    (void)failed(lq_get_consumer_stats(queue, "c", &stats));
    err = lq_get(consumer, &message, 1);
    if (!failed(err) && err == LQ_OK) (void)failed(lq_release(consumer, &message));
}

static void session(void)
{
    lq_queue *queue;
    lq_consumer *consumer = NULL, *other = NULL;
    lq_stats stats = {.size = sizeof stats};

    if (failed(lq_open(queue_path, &small, &queue))) return;
    if (failed(lq_consumer_open(queue, "c", &saving, &consumer))) consumer = NULL;
    for (int i = 0; i < 14; i++) put(queue, SIZE);
    put(queue, 100000);
    if (consumer) consume(queue, consumer);
    (void)failed(lq_sync(queue));
    if (!failed(lq_consumer_open(queue, "late", &(lq_consumer_options){.size = sizeof(lq_consumer_options), .start = LQ_START_TIME}, &other))) {
        (void)failed(lq_consumer_close(other));
        (void)failed(lq_consumer_delete(queue, "late"));
    }
    (void)failed(lq_get_stats(queue, &stats));
    (void)failed(lq_each_consumer(queue, one, NULL));
    (void)failed(lq_each_segment(queue, one_segment, NULL));
    read_some(queue);
    if (consumer) (void)failed(lq_consumer_close(consumer));
    (void)failed(lq_close(queue));
    (void)failed(lq_verify(queue_path, 0, NULL, NULL, NULL));
}

/* All that was accepted; in order, once; and the acked do not come again. */
static void compare(void)
{
    lq_queue *queue;
    lq_reader *reader;
    lq_message message;

    OK(lq_open(queue_path, &small, &queue));
    lq_stats stats = api_stats(queue);
    EQUAL(stats.damage, 0);
    HOLDS(stats.last_id >= accepted && stats.last_id <= accepted + doubtful);
    accepted = stats.last_id;
    doubtful = 0;
    OK(lq_reader_open(queue, &reader));
    for (uint64_t id = stats.first_id; id <= accepted; id++) {
        OK(lq_reader_next(reader, &message));
        EQUAL(message.id, id);
    }
    IS(LQ_EMPTY, lq_reader_next(reader, &message));
    lq_reader_close(reader);
    lq_consumer *consumer = api_consumer(queue, "c", NULL);
    HOLDS(api_consumer_stats(queue, "c").floor >= acked);
    acked = api_consumer_stats(queue, "c").floor;
    while (lq_poll(consumer, &message) == LQ_OK) {
        while (message.id > acked + 1 && settled[acked + 1]) acked++;
        EQUAL(message.id, acked + 1);
        OK(lq_ack(consumer, &message));
        acked++;
    }
    while (acked < accepted && settled[acked + 1]) acked++;
    EQUAL(acked, accepted);
    HOLDS(accepted + 100 < sizeof settled);
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
    IS(LQ_OK, lq_verify(queue_path, 0, NULL, NULL, NULL));
}

static void begin(void **state, const char *name, int sync)
{
    small.sync = sync;
    snprintf(queue_path, sizeof queue_path, "%s", api_path(*state, name));
    accepted = acked = doubtful = failures = 0;
    memset(settled, 0, sizeof settled);
    session();
    compare();
}

static const struct { const char *name; int sync; } modes[] = {{"never", LQ_SYNC_NEVER}, {"always", LQ_SYNC_ALWAYS}};

static void a_lock_beyond_use_is_an_error_of_the_call_that_wants_it(void **state)
{
    for (size_t mode = 0; mode < 2; mode++) {
        unsigned left = 0;
        begin(state, modes[mode].name, modes[mode].sync);
        for (unsigned after = 0; left == 0; after++) {
            fail_calls(MUTEX_TRYLOCK, after, 1, ENOTRECOVERABLE);
            session();
            left = plan.times;
            memset(&plan, 0, sizeof plan);
            compare();
        }
        HOLDS(failures > 20);
    }
}

static void without_memory_a_call_changes_nothing_and_says_so(void **state)
{
#ifdef OWN_MALLOC
    (void)state;
    skip();
#else
    for (size_t mode = 0; mode < 2; mode++) {
        unsigned left = 0;
        begin(state, modes[mode].name, modes[mode].sync);
        for (unsigned after = 0; left == 0; after++) {
            malloc_after = after;
            malloc_times = 1;
            session();
            left = malloc_times;
            malloc_times = 0;
            compare();
        }
        HOLDS(failures > 20);
    }
#endif
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_DIRECTORY(a_lock_beyond_use_is_an_error_of_the_call_that_wants_it),
        IN_DIRECTORY(without_memory_a_call_changes_nothing_and_says_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
