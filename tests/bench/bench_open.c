/* How long lq_open() takes after every process was killed, with a small and a large backlog. */
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "bench.h"
#include "host.h"

struct opening {
    char path[1024];
    uint64_t backlog;
    uint64_t took_ns;
};

static void fill_and_die(void *context)
{
    const struct opening *opening = context;
    const struct work work = {1024, BENCH_BATCH_MAX, 1};
    lq_queue *queue = queue_new(opening->path, LQ_SYNC_NEVER, 0);

    put_all(queue, &work, opening->backlog / work.size / work.batch * work.batch);
    kill(getpid(), SIGKILL);
}

static void open_and_die(void *context)
{
    struct opening *opening = context;
    const struct work work = {1024, 1, 1};
    lq_queue *queue;

    uint64_t begin = now_ns();
    must(lq_open(opening->path, NULL, &queue), "lq_open");
    opening->took_ns = now_ns() - begin;
    put_all(queue, &work, 100);
    kill(getpid(), SIGKILL);
}

static double open_ms(const char *name, uint64_t backlog)
{
    struct opening *opening = shared_memory(sizeof *opening);
    double took_ms[99];

    snprintf(opening->path, sizeof opening->path, "%s", scratch(name));
    opening->backlog = backlog;
    collect_killed(start_child(fill_and_die, opening));
    sync(); /* what is measured is opening, not waiting for others' bytes */
    for (unsigned i = 0; i < plan.rounds; i++) {
        collect_killed(start_child(open_and_die, opening));
        took_ms[i] = (double)opening->took_ns / 1e6;
    }
    scratch_remove(opening->path);
    munmap(opening, sizeof *opening);
    return median(took_ms, plan.rounds);
}

void bench_open(void)
{
    double small = open_ms("open", 10u << 20);
    printf("%-44s %7.2f", "open after kill -9, 10 MB of backlog, ms", small);
    if (!plan.quick) printf(", 1 GB: %.2f", open_ms("open", 1u << 30));
    printf("   at most 20, and the same\n");
}
