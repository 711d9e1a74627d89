/* The slowest PUTs, not synced, while segments are filled and new ones begun: of 8 MiB, so that
 * enough rolls happen to be seen in the last percentiles. */
#include <stdio.h>
#include <stdlib.h>

#include "bench.h"
#include "host.h"

void bench_roll(void)
{
    const size_t size = 1024;
    const lq_message *messages = sample_messages(size);
    size_t count = plan.quick ? 100000 : 400000;
    double *took_us = malloc(count * sizeof *took_us);
    const char *path = scratch("roll");
    lq_queue *queue = queue_new(path, LQ_SYNC_NEVER, 8u << 20);
    if (!took_us) die("malloc");

    pin(0);
    uint64_t before = now_ns();
    for (size_t i = 0; i < count; i++) {
        must(lq_put(queue, messages[i % BENCH_BATCH_MAX].data, size, NULL), "lq_put");
        uint64_t now = now_ns();
        took_us[i] = (double)(now - before) / 1000;
        before = now;
    }
    unpin();
    queue_remove(queue, path);
    sort_values(took_us, count);
    printf("%-44s %7.2f %7.1f %7.1f %7.1f   at most 50, 200\n", "put of 1 KiB across rolls, p50 p99.9 p99.99 max, us",
           percentile(took_us, count, 0.5), percentile(took_us, count, 0.999), percentile(took_us, count, 0.9999),
           took_us[count - 1]);
    free(took_us);
}
