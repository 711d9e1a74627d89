/* PUT that does not wait for the disk, by one thread. */
#include "bench.h"
#include "floors.h"
#include "host.h"

static double rate(uint64_t count, uint64_t from_ns)
{
    return (double)count * 1e9 / (double)(now_ns() - from_ns);
}

double put_library(const struct work *work)
{
    const char *path = scratch("put");
    uint64_t count = count_for(work), warm = count / 8 - count / 8 % work->batch;
    lq_queue *queue = queue_new(path, LQ_SYNC_NEVER, 0);

    pin(0);
    put_all(queue, work, warm);
    uint64_t begin = now_ns();
    put_all(queue, work, count);
    double result = rate(count, begin);
    unpin();
    queue_remove(queue, path);
    return result;
}

double put_memory(const struct work *work)
{
    const lq_message *messages = sample_messages(work->size);
    struct floor_ring *ring = floor_ring_new();
    uint64_t count = count_for(work);

    pin(0);
    uint64_t begin = now_ns();
    for (uint64_t done = 0; done < count; done += work->batch)
        floor_ring_put(ring, &messages[work->batch == 1 ? done % BENCH_BATCH_MAX : 0], work->batch, false);
    double result = rate(count, begin);
    unpin();
    floor_ring_free(ring);
    return result;
}

double put_file(const struct work *work)
{
    const lq_message *messages = sample_messages(work->size);
    struct floor_file *file = floor_file_new(scratch("floor"));
    uint64_t count = count_for(work);

    pin(0);
    floor_file_add(file, messages); /* makes the first 64 MiB */
    floor_file_flush(file);
    uint64_t begin = now_ns();
    for (uint64_t i = 0; i < count; i++) floor_file_add(file, &messages[i % BENCH_BATCH_MAX]);
    floor_file_flush(file);
    double result = rate(count, begin);
    unpin();
    floor_file_free(file);
    return result;
}
