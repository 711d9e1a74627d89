/* How long it takes to wake a consumer that sleeps in another process, and how
 * long until one that spins has the message; a bare futex, a bare word beside. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "bench.h"
#include "host.h"

#define SAMPLES_MAX 5000

struct wake {
    char path[1024];
    bool spin;
    unsigned samples;
    _Atomic uint32_t word;             /* of the bare way */
    _Atomic uint64_t sent_ns;
    _Atomic uint64_t ready, seen;      /* told by the sleeper */
    double took_us[SAMPLES_MAX];
};

static void note(struct wake *wake, uint64_t sent_ns)
{
    wake->took_us[wake->seen] = (double)(now_ns() - sent_ns) / 1000;
}

/* Long enough that the sleeper sleeps again and its CPU is idle. */
static void send_all(struct wake *wake, pid_t child, void (*send)(struct wake *wake, void *context), void *context)
{
    pin(0);
    await(&wake->ready, 1, child);
    for (unsigned i = 0; i < wake->samples; i++) {
        pause_us(wake->spin ? 20 : 300);
        send(wake, context);
        await(&wake->seen, i + 1, child);
    }
    unpin();
}

static void receive_messages(void *context)
{
    struct wake *wake = context;
    lq_consumer_options options = {.size = sizeof options, .spin_us = wake->spin ? 1000000 : 0};
    lq_queue *queue = queue_new(wake->path, LQ_SYNC_NEVER, 0);
    lq_consumer *consumer;
    lq_message message;
    uint64_t sent_ns;

    pin(1);
    must(lq_consumer_open(queue, "bench", &options, &consumer), "lq_consumer_open");
    wake->ready = 1;
    while (wake->seen < wake->samples) {
        must(lq_get(consumer, &message, 10000), "lq_get");
        memcpy(&sent_ns, message.data, sizeof sent_ns);
        note(wake, sent_ns);
        must(lq_ack(consumer, &message), "lq_ack");
        wake->seen++;
    }
    must(lq_consumer_close(consumer), "lq_consumer_close");
    must(lq_close(queue), "lq_close");
}

static void send_message(struct wake *wake, void *context)
{
    uint64_t now = now_ns();
    (void)wake;
    must(lq_put(context, &now, sizeof now, NULL), "lq_put");
}

static void receive_words(void *context)
{
    struct wake *wake = context;

    pin(1);
    wake->ready = 1;
    while (wake->seen < wake->samples) {
        uint32_t seen = (uint32_t)wake->seen;
        while (atomic_load_explicit(&wake->word, memory_order_acquire) == seen)
            if (!wake->spin) futex_wait(&wake->word, seen);
        note(wake, wake->sent_ns);
        wake->seen++;
    }
}

static void send_word(struct wake *wake, void *context)
{
    (void)context;
    wake->sent_ns = now_ns();
    atomic_fetch_add(&wake->word, 1);
    if (!wake->spin) futex_wake(&wake->word);
}

static void by_library(struct wake *wake)
{
    snprintf(wake->path, sizeof wake->path, "%s", scratch("wake"));
    pid_t child = start_child(receive_messages, wake);
    lq_queue *queue = queue_new(wake->path, LQ_SYNC_NEVER, 0);
    send_all(wake, child, send_message, queue);
    collect(child);
    queue_remove(queue, wake->path);
}

static void by_word(struct wake *wake)
{
    pid_t child = start_child(receive_words, wake);
    send_all(wake, child, send_word, NULL);
    collect(child);
}

/* Appends one round's samples to `all`. */
static void sample(void (*way)(struct wake *wake), bool spin, unsigned samples, double *all)
{
    struct wake *wake = shared_memory(sizeof *wake);
    wake->spin = spin;
    wake->samples = samples;
    way(wake);
    memcpy(all, wake->took_us, samples * sizeof *all);
    munmap(wake, sizeof *wake);
}

static void compare(const char *name, bool spin, unsigned samples)
{
    size_t count = (size_t)samples * plan.rounds;
    double *library = malloc(count * sizeof *library), *bare = malloc(count * sizeof *bare);
    if (!library || !bare) die("malloc");

    for (unsigned i = 0; i < plan.rounds; i++) {
        sample(by_library, spin, samples, library + (size_t)i * samples);
        sample(by_word, spin, samples, bare + (size_t)i * samples);
    }
    sort_values(library, count);
    sort_values(bare, count);
    double p50 = percentile(library, count, 0.5), p99 = percentile(library, count, 0.99);
    double bare50 = percentile(bare, count, 0.5), bare99 = percentile(bare, count, 0.99);
    printf("%-44s %7.2f %7.2f   bare %7.2f %7.2f   %5.2f x %5.2f x   at most %s\n", name, p50, p99, bare50, bare99,
           p50 / bare50, p99 / bare99, spin ? "p50 0.5 us" : "1.15 x, 1.5 x");
    free(library);
    free(bare);
}

void bench_wake(void)
{
    printf("\n");
    compare("sleeping consumer woken, p50 and p99, us", false, plan.quick ? 200 : 1000);
    compare("spinning consumer, p50 and p99, us", true, plan.quick ? 1000 : SAMPLES_MAX);
}
