/* Using the library, as all benchmarks do. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"
#include "host.h"

void must(int code, const char *what)
{
    if (code == LQ_OK) return;
    fprintf(stderr, "bench: %s: %s: %s\n", what, lq_error_name(code), lq_error_text());
    exit(1);
}

uint64_t count_for(const struct work *work)
{
    uint64_t bytes = plan.quick ? 16u << 20 : 64u << 20;
    uint64_t count = bytes / (work->size + 64);
    return count - count % work->batch;
}

const lq_message *sample_messages(size_t size)
{
    static lq_message messages[BENCH_BATCH_MAX];
    static uint8_t *bytes;
    uint64_t state = 88172645463325252u;

    if (!bytes) {
        bytes = malloc((size_t)BENCH_BATCH_MAX * BENCH_SIZE_MAX);
        if (!bytes) die("malloc");
        for (size_t i = 0; i < (size_t)BENCH_BATCH_MAX * BENCH_SIZE_MAX; i++) {
            state ^= state << 13, state ^= state >> 7, state ^= state << 17;
            bytes[i] = (uint8_t)state;
        }
    }
    for (size_t i = 0; i < BENCH_BATCH_MAX; i++) messages[i] = (lq_message){.data = bytes + i * size, .size = size};
    return messages;
}

lq_queue *queue_new(const char *path, int sync, uint64_t segment_size)
{
    lq_options options = {.size = sizeof options, .sync = sync, .segment_size = segment_size};
    lq_queue *queue;
    must(lq_open(path, &options, &queue), "lq_open");
    return queue;
}

void queue_remove(lq_queue *queue, const char *path)
{
    must(lq_close(queue), "lq_close");
    scratch_remove(path);
}

void put_all(lq_queue *queue, const struct work *work, uint64_t count)
{
    const lq_message *messages = sample_messages(work->size);

    for (uint64_t done = 0; done < count; done += work->batch) {
        if (work->batch == 1)
            must(lq_put(queue, messages[done % BENCH_BATCH_MAX].data, work->size, NULL), "lq_put");
        else
            must(lq_put_batch(queue, messages, work->batch, NULL), "lq_put_batch");
    }
}

void take_all(lq_consumer *consumer, const struct work *work, uint64_t count, int64_t timeout_ms)
{
    lq_message messages[BENCH_BATCH_MAX];
    size_t got = 1;

    for (uint64_t done = 0; done < count; done += got) {
        if (work->batch == 1) {
            must(lq_get(consumer, messages, timeout_ms), "lq_get");
            must(lq_ack(consumer, messages), "lq_ack");
        } else {
            must(lq_get_batch(consumer, messages, work->batch, &got, timeout_ms), "lq_get_batch");
            must(lq_ack_batch(consumer, messages, got), "lq_ack_batch");
        }
    }
}
