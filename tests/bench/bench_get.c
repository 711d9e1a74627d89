/* GET and ack of a backlog, by one member. */
#include "bench.h"
#include "floors.h"
#include "host.h"

double get_library(const struct work *work)
{
    const char *path = scratch("get");
    const struct work fill = {work->size, BENCH_BATCH_MAX, 1};
    struct work single = {work->size, 1, 1};
    uint64_t count = count_for(work);
    lq_queue *queue = queue_new(path, LQ_SYNC_NEVER, 0);
    lq_consumer *consumer;

    put_all(queue, work->batch == 1 ? &single : &fill, count); /* read as it was put */
    must(lq_consumer_open(queue, "bench", NULL, &consumer), "lq_consumer_open");
    pin(0);
    uint64_t begin = now_ns();
    take_all(consumer, work, count, 0);
    double result = (double)count * 1e9 / (double)(now_ns() - begin);
    unpin();
    must(lq_consumer_close(consumer), "lq_consumer_close");
    queue_remove(queue, path);
    return result;
}

/* Ringful by ringful: what is timed is the taking only. */
double get_memory(const struct work *work)
{
    const lq_message *messages = sample_messages(work->size);
    struct floor_ring *ring = floor_ring_new();
    uint64_t count = count_for(work), done = 0, spent_ns = 0;
    uint64_t fits = FLOOR_RING / (FLOOR_HEADER + work->size) / work->batch * work->batch;

    pin(0);
    while (done < count) {
        for (uint64_t i = 0; i < fits; i += work->batch) floor_ring_put(ring, messages, work->batch, false);
        uint64_t begin = now_ns();
        for (uint64_t i = 0; i < fits; i += work->batch) floor_ring_take(ring, work->batch);
        spent_ns += now_ns() - begin;
        done += fits;
    }
    unpin();
    floor_ring_free(ring);
    return (double)done * 1e9 / (double)spent_ns;
}

double get_file(const struct work *work)
{
    const lq_message *messages = sample_messages(work->size);
    struct floor_file *file = floor_file_new(scratch("floor"));
    uint64_t count = count_for(work);

    pin(0);
    for (uint64_t i = 0; i < count; i++) floor_file_add(file, &messages[i % BENCH_BATCH_MAX]);
    floor_file_flush(file);
    uint64_t begin = now_ns();
    floor_file_scan(file);
    double result = (double)count * 1e9 / (double)(now_ns() - begin);
    unpin();
    floor_file_free(file);
    return result;
}
