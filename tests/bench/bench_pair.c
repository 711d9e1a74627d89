/* From one process to another: from the first PUT to the last ack. Producer and
 * consumer have a CPU each. */
#include <stdio.h>
#include <sys/mman.h>

#include "bench.h"
#include "floors.h"
#include "host.h"


struct pair {
    const struct work *work;
    char path[1024];
    struct floor_ring *ring;
    uint64_t count;
    _Atomic uint64_t ready, done_ns; /* told by the consumer */
};

static struct pair *pair_new(const struct work *work)
{
    struct pair *pair = shared_memory(sizeof *pair);
    pair->work = work;
    pair->count = count_for(work);
    return pair;
}

static double pair_end(struct pair *pair, pid_t child, uint64_t begin_ns)
{
    collect(child);
    double result = (double)pair->count * 1e9 / (double)(pair->done_ns - begin_ns);
    munmap(pair, sizeof *pair);
    return result;
}

static void consume_queue(void *context)
{
    struct pair *pair = context;
    lq_queue *queue = queue_new(pair->path, LQ_SYNC_NEVER, 0);
    lq_consumer *consumer;

    pin(1);
    must(lq_consumer_open(queue, "bench", NULL, &consumer), "lq_consumer_open");
    pair->ready = 1;
    take_all(consumer, pair->work, pair->count, 10000);
    pair->done_ns = now_ns();
    must(lq_consumer_close(consumer), "lq_consumer_close");
    must(lq_close(queue), "lq_close");
}

double pair_library(const struct work *work)
{
    struct pair *pair = pair_new(work);
    snprintf(pair->path, sizeof pair->path, "%s", scratch("pair"));
    pid_t child = start_child(consume_queue, pair);
    lq_queue *queue = queue_new(pair->path, LQ_SYNC_NEVER, 0);

    pin(0);
    await(&pair->ready, 1, child);
    pause_us(1000);
    uint64_t begin = now_ns();
    put_all(queue, work, pair->count);
    await(&pair->done_ns, 1, child);
    unpin();
    must(lq_close(queue), "lq_close");
    double result = pair_end(pair, child, begin);
    scratch("pair");
    return result;
}

static void consume_ring(void *context)
{
    struct pair *pair = context;
    uint64_t end = pair->count * (FLOOR_HEADER + pair->work->size);

    pin(1);
    pair->ready = 1;
    while (atomic_load(&pair->ring->tail) < end) floor_ring_take(pair->ring, pair->work->batch);
    pair->done_ns = now_ns();
}

double pair_memory(const struct work *work)
{
    const lq_message *messages = sample_messages(work->size);
    struct pair *pair = pair_new(work);
    struct floor_ring *ring = pair->ring = floor_ring_new();
    pid_t child = start_child(consume_ring, pair);

    pin(0);
    await(&pair->ready, 1, child);
    pause_us(1000);
    uint64_t begin = now_ns();
    for (uint64_t done = 0; done < pair->count; done += work->batch)
        floor_ring_put(ring, &messages[work->batch == 1 ? done % BENCH_BATCH_MAX : 0], work->batch, true);
    unpin();
    double result = pair_end(pair, child, begin);
    floor_ring_free(ring);
    return result;
}
