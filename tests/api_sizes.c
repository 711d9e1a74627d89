/* Every size a message can have, at the borders where it takes another way. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "support/api.h"

static uint8_t *filled(size_t size, uint64_t number)
{
    uint8_t *bytes = malloc(size + 8);
    assert_non_null(bytes);
    api_fill(bytes, size, number);
    return bytes;
}

/* Puts a message of each size, each followed by a small one; then takes, reads, and after a restart reads them again. */
static void put_and_find(void **state, const lq_options *options, const size_t *sizes, size_t count)
{
    lq_queue *queue = api_open(state, options);
    lq_consumer *consumer = api_consumer(queue, "c", NULL);
    lq_message message;

    OK(lq_consumer_close(api_consumer(queue, "keeper", NULL)));
    for (size_t i = 0; i < count; i++) {
        uint8_t *bytes = filled(sizes[i], i);
        uint64_t id = 0;
        OK(lq_put(queue, bytes, sizes[i], &id));
        EQUAL(id, 2 * i + 1);
        api_put(queue, "small");
        free(bytes);
        if (i % 2) continue; /* two at a time: also those that were lapped */
        for (size_t j = i ? i - 1 : 0; j <= i; j++) {
            OK(lq_get(consumer, &message, 5000));
            HOLDS(api_is_filled(&message, sizes[j], j));
            OK(lq_ack(consumer, &message));
            api_get_ack(consumer, "small");
        }
    }
    OK(lq_consumer_close(consumer));
    for (int pass = 0; pass < 2; pass++) {
        lq_reader *reader;
        OK(lq_reader_open(queue, &reader));
        for (size_t i = 0; i < count; i++) {
            OK(lq_reader_next(reader, &message));
            EQUAL(message.id, 2 * i + 1);
            HOLDS(api_is_filled(&message, sizes[i], i));
            OK(lq_reader_next(reader, &message));
            HOLDS(api_is_text(&message, "small"));
        }
        IS(LQ_EMPTY, lq_reader_next(reader, &message));
        lq_reader_close(reader);
        EQUAL(api_stats(queue).damage, 0);
        OK(lq_close(queue));
        if (pass == 0) queue = api_open(state, options);
    }
    OK(lq_verify(api_path(*state, "q"), 0, NULL, NULL, NULL));
}

static void the_smallest_messages_are_kept(void **state)
{
    size_t sizes[70];
    for (size_t i = 0; i < 70; i++) sizes[i] = i;
    put_and_find(state, &(lq_options){.sync = LQ_SYNC_NEVER}, sizes, 70);
}

/* Over a quarter of the ring a message goes straight to its file; what does not fit into a segment gets one of its own. */
static void sizes_around_ring_and_segment_are_kept(void **state)
{
    static const size_t borders[] = {16 << 10, 32 << 10, 64 << 10, 65080, 65536 - 256, 128 << 10, 256 << 10};
    static const int around[] = {-4096, -200, -49, -48, -47, -41, -40, -39, -33, -32, -8, -7, -1, 0, 1, 7, 8, 40, 200, 4096};
    enum { BORDERS = sizeof borders / sizeof *borders, AROUND = sizeof around / sizeof *around };
    size_t sizes[BORDERS * AROUND];

    for (size_t i = 0; i < BORDERS; i++)
        for (size_t j = 0; j < AROUND; j++) sizes[i * AROUND + j] = borders[i] + (size_t)around[j];
    put_and_find(state, &(lq_options){.segment_size = 64 << 10, .ring_size = 64 << 10, .sync = LQ_SYNC_NEVER}, sizes, BORDERS * AROUND);
}

static void sizes_around_a_ring_larger_than_the_segments_are_kept(void **state)
{
    static const size_t sizes[] = {1000, 65000, 65039, 65040, 65041, 65080, 65081, 70000, 100, 262144 - 40, 262144 - 39, 300000, 64000, 10, 65040, 65040};
    put_and_find(state, &(lq_options){.segment_size = 64 << 10, .ring_size = 1 << 20, .sync = LQ_SYNC_NEVER}, sizes, sizeof sizes / sizeof *sizes);
}

static void the_same_in_a_queue_that_syncs_always(void **state)
{
    static const size_t sizes[] = {0, 16383, 16344, 16345, 65040, 65041, 200000, 1, 65040, 65040, 30000, 30000, 5000};
    put_and_find(state, &(lq_options){.segment_size = 64 << 10, .ring_size = 64 << 10}, sizes, sizeof sizes / sizeof *sizes);
}

static void sixty_four_mebibytes_are_kept(void **state)
{
    static const size_t sizes[] = {(size_t)64 << 20, ((size_t)64 << 20) - 1000, 100};
    put_and_find(state, &(lq_options){.sync = LQ_SYNC_NEVER}, sizes, 3);
}

static void a_gibibyte_is_kept(void **state)
{
    long pages = sysconf(_SC_AVPHYS_PAGES);
    if (api_sanitized || pages < 0 || (uint64_t)pages * 4096 < (uint64_t)5 << 30 || getenv("LQ_SKIP_LARGE")) skip();

    lq_queue *queue = api_open(state, &(lq_options){.sync = LQ_SYNC_NEVER});
    lq_consumer *consumer = api_consumer(queue, "c", NULL);
    const size_t size = (size_t)1 << 30;
    uint8_t *bytes = calloc(1, size);
    lq_message message;

    assert_non_null(bytes);
    for (size_t i = 0; i < size; i += 4096) bytes[i] = (uint8_t)(i >> 12);
    api_put(queue, "before");
    OK(lq_put(queue, bytes, size, NULL));
    api_put(queue, "after");
    api_get_ack(consumer, "before");
    OK(lq_get(consumer, &message, 5000));
    EQUAL(message.size, size);
    HOLDS(memcmp(message.data, bytes, size) == 0);
    OK(lq_ack(consumer, &message));
    api_get_ack(consumer, "after");
    free(bytes);
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
}

static void keys_and_headers_of_any_size_are_kept(void **state)
{
    static const size_t sizes[] = {0, 1, 7, 8, 255, 256, 65534, 65535};
    lq_queue *queue = api_open(state, &(lq_options){.sync = LQ_SYNC_NEVER});
    lq_consumer *consumer = api_consumer(queue, "c", NULL);
    uint8_t *key = filled(65535, 1), *headers = filled(65535, 2);

    for (size_t i = 0; i < 8; i++)
        for (size_t j = 0; j < 8; j++) {
            lq_message put = {.data = "body", .size = 4, .key = key, .key_size = sizes[i], .headers = headers, .headers_size = sizes[j]};
            OK(lq_put_batch(queue, &put, 1, NULL));
            lq_message got = api_get(consumer, "body");
            EQUAL(got.key_size, sizes[i]);
            EQUAL(got.headers_size, sizes[j]);
            assert_memory_equal(got.key, key, sizes[i]);
            assert_memory_equal(got.headers, headers, sizes[j]);
            OK(lq_ack(consumer, &got));
        }
    free(key);
    free(headers);
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
}

/* ---- batches ---------------------------------------------------------------- */

static void batches_of_the_most_messages_are_kept(void **state)
{
    lq_queue *queue = api_open(state, &(lq_options){.sync = LQ_SYNC_NEVER});
    lq_consumer *consumer = api_consumer(queue, "c", NULL);
    lq_message *batch = calloc(LQ_BATCH_MAX, sizeof *batch), *got = calloc(1000, sizeof *got);
    uint32_t *numbers = calloc(LQ_BATCH_MAX, sizeof *numbers);
    uint64_t first;

    for (int round = 0; round < 3; round++) { /* empty; of 4 bytes; the size of which differs */
        for (uint32_t i = 0; i < LQ_BATCH_MAX; i++) {
            numbers[i] = i;
            batch[i] = (lq_message){.data = &numbers[i], .size = round == 0 ? 0 : round == 1 ? 4 : i % 5};
        }
        OK(lq_put_batch(queue, batch, LQ_BATCH_MAX, &first));
        EQUAL(first, (uint64_t)round * LQ_BATCH_MAX + 1);
        size_t total = 0, count;
        while (total < LQ_BATCH_MAX) {
            OK(lq_get_batch(consumer, got, 1000, &count, 5000));
            for (size_t i = 0; i < count; i++) {
                EQUAL(got[i].id, first + total + i);
                EQUAL(got[i].size, batch[total + i].size);
                HOLDS(memcmp(got[i].data, batch[total + i].data, got[i].size) == 0);
            }
            OK(lq_ack_batch(consumer, got, count));
            total += count;
        }
        EQUAL(total, LQ_BATCH_MAX);
    }
    EQUAL(api_consumer_stats(queue, "c").floor, 3 * LQ_BATCH_MAX);
    free(batch);
    free(got);
    free(numbers);
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
}

/* ---- compression ------------------------------------------------------------- */

static void compression_gives_back_what_was_put(void **state)
{
    static const size_t sizes[] = {0, 1, 100, 127, 128, 129, 1000, 20000, 65000, 200000, 1000000};
    for (int level = 1; level <= 9; level += 4) {
        char name[] = "q0";
        name[1] = (char)('0' + level);
        lq_options options = {.size = sizeof options, .compression = level, .sync = LQ_SYNC_NEVER, .segment_size = 256 << 10, .ring_size = 64 << 10};
        lq_queue *queue;
        OK(lq_open(api_path(*state, name), &options, &queue));
        lq_consumer *consumer = api_consumer(queue, "c", NULL);
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
            uint8_t *noise = filled(sizes[i], i), *same = calloc(1, sizes[i] + 1);
            lq_message message;
            memset(same, 'a', sizes[i]);
            lq_message batch[] = {{.data = noise, .size = sizes[i]}, {.data = same, .size = sizes[i], .key = "k", .key_size = 1}};
            OK(lq_put(queue, noise, sizes[i], NULL));
            OK(lq_put(queue, same, sizes[i], NULL));
            OK(lq_put_batch(queue, batch, 2, NULL));
            for (int j = 0; j < 4; j++) {
                OK(lq_poll(consumer, &message));
                EQUAL(message.size, sizes[i]);
                HOLDS(memcmp(message.data, j % 2 ? same : noise, sizes[i]) == 0);
                OK(lq_ack(consumer, &message));
            }
            free(noise);
            free(same);
        }
        OK(lq_consumer_close(consumer));
        OK(lq_close(queue));
        OK(lq_verify(api_path(*state, name), 0, NULL, NULL, NULL));
    }
}

static void compression_saves_where_it_pays_and_costs_nothing_where_not(void **state)
{
    uint64_t bytes[3];
    uint8_t *noise = filled(10000, 1), *same = calloc(1, 10000);
    for (int i = 0; i < 3; i++) {
        char name[] = "q0";
        name[1] = (char)('0' + i);
        lq_options options = {.size = sizeof options, .compression = i ? 6 : 0, .sync = LQ_SYNC_NEVER};
        lq_queue *queue;
        OK(lq_open(api_path(*state, name), &options, &queue));
        for (int j = 0; j < 50; j++) OK(lq_put(queue, i == 2 ? same : noise, 10000, NULL));
        bytes[i] = api_stats(queue).bytes;
        OK(lq_close(queue));
    }
    EQUAL(bytes[0], bytes[1]);
    HOLDS(bytes[2] < bytes[0] / 20);
    free(noise);
    free(same);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_DIRECTORY(the_smallest_messages_are_kept),
        IN_DIRECTORY(sizes_around_ring_and_segment_are_kept),
        IN_DIRECTORY(sizes_around_a_ring_larger_than_the_segments_are_kept),
        IN_DIRECTORY(the_same_in_a_queue_that_syncs_always),
        IN_DIRECTORY(sixty_four_mebibytes_are_kept),
        IN_DIRECTORY(a_gibibyte_is_kept),
        IN_DIRECTORY(keys_and_headers_of_any_size_are_kept),
        IN_DIRECTORY(batches_of_the_most_messages_are_kept),
        IN_DIRECTORY(compression_gives_back_what_was_put),
        IN_DIRECTORY(compression_saves_where_it_pays_and_costs_nothing_where_not),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
