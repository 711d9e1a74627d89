/* PUT that returns when the message is on disk, by one or many threads, for a
 * fixed time: how many come through depends on the disk alone. */
#include <errno.h>
#include <pthread.h>

#include "bench.h"
#include "floors.h"
#include "host.h"

struct crowd {
    const struct work *work;
    lq_queue *queue;           /* one of the two */
    struct floor_group *group;
    uint64_t until_ns;
    _Atomic uint64_t count;
};

static void put_once(const struct crowd *crowd, const lq_message *messages)
{
    unsigned batch = crowd->work->batch;

    if (crowd->group) floor_group_put(crowd->group, messages, batch);
    else if (batch == 1) must(lq_put(crowd->queue, messages->data, messages->size, NULL), "lq_put");
    else must(lq_put_batch(crowd->queue, messages, batch, NULL), "lq_put_batch");
}

static void *put_until(void *context)
{
    struct crowd *crowd = context;
    const lq_message *messages = sample_messages(crowd->work->size);
    uint64_t count = 0;

    while (now_ns() < crowd->until_ns) {
        put_once(crowd, messages);
        count += crowd->work->batch;
    }
    atomic_fetch_add(&crowd->count, count);
    return NULL;
}

static double run(struct crowd *crowd)
{
    pthread_t threads[BENCH_THREADS_MAX];
    unsigned count = crowd->work->threads;

    for (int i = 0; i < 20; i++) put_once(crowd, sample_messages(crowd->work->size));
    uint64_t begin = now_ns();
    crowd->until_ns = begin + (plan.quick ? 100 : 250) * 1000000u;
    for (unsigned i = 0; i < count; i++) {
        errno = pthread_create(&threads[i], NULL, put_until, crowd);
        if (errno) die("pthread_create");
    }
    for (unsigned i = 0; i < count; i++) pthread_join(threads[i], NULL);
    return (double)crowd->count * 1e9 / (double)(now_ns() - begin);
}

double durable_library(const struct work *work)
{
    const char *path = scratch("durable");
    struct crowd crowd = {.work = work, .queue = queue_new(path, LQ_SYNC_ALWAYS, 0)};
    double result = run(&crowd);
    queue_remove(crowd.queue, path);
    return result;
}

double durable_file(const struct work *work)
{
    struct crowd crowd = {.work = work, .group = floor_group_new(scratch("floor"))};
    double result = run(&crowd);
    floor_group_free(crowd.group);
    return result;
}
