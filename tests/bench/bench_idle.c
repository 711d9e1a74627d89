/* Memory that a queue takes which is open and idle, without and with one consumer: resident pages of
 * the process, shared ones by their share. The ring is as small as can be, and subtracted. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "bench.h"
#include "host.h"

static double resident_kib(void)
{
    FILE *file = fopen("/proc/self/smaps_rollup", "r");
    char line[256];
    double kib = 0;

    while (file && fgets(line, sizeof line, file))
        if (strncmp(line, "Pss:", 4) == 0) kib = atof(line + 4);
    if (file) fclose(file);
    return kib;
}

enum { RING_KIB = 64 };

static lq_queue *open_small(const char *path)
{
    lq_options options = {.size = sizeof options, .sync = LQ_SYNC_NEVER, .ring_size = RING_KIB * 1024};
    lq_queue *queue;
    must(lq_open(path, &options, &queue), "lq_open");
    return queue;
}

static void open_and_look(void *context)
{
    double *kib = context;
    char warm[1024], path[1024];
    lq_consumer *consumer, *warm_consumer;

    snprintf(warm, sizeof warm, "%s", scratch("idle-warm"));
    snprintf(path, sizeof path, "%s", scratch("idle"));
    lq_queue *other = open_small(warm); /* pays for code and heap */
    must(lq_consumer_open(other, "bench", NULL, &warm_consumer), "lq_consumer_open");
    double before = resident_kib();
    lq_queue *queue = open_small(path);
    kib[0] = resident_kib() - before - RING_KIB;
    must(lq_consumer_open(queue, "bench", NULL, &consumer), "lq_consumer_open");
    kib[1] = resident_kib() - before - RING_KIB;
    must(lq_consumer_close(warm_consumer), "lq_consumer_close");
    must(lq_consumer_close(consumer), "lq_consumer_close");
    queue_remove(queue, path);
    queue_remove(other, warm);
}

void bench_idle(void)
{
    double *kib = shared_memory(2 * sizeof *kib);
    collect(start_child(open_and_look, kib));
    printf("%-44s %7.0f, with a consumer (window 65,536): %.0f   at most 64\n", "memory of an idle queue beside its ring, KiB",
           kib[0], kib[1]);
    munmap(kib, 2 * sizeof *kib);
}
