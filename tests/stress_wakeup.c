/* Sleepers in GET, while producers are killed (-9) at random moments, between append and bell too: whatever was
 * accepted is handed out within 100 ms, ten thousand times and more.
 *
 *     STRESS_SECONDS=3600 stress_wakeup     so long, instead of 12 s */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "libqueue.h"
#include "support/api.h"
#include "support/child.h"

enum { ACCEPTED = 1 << 16, PRODUCERS = 2, LATE_US = 100000, WAITS_MIN = 10000 };

static struct world {
    _Atomic uint64_t waits, late, stop;
    _Atomic int64_t longest_us;
    _Atomic int64_t stall_us; /* the longest that the machine itself has kept a process waiting that slept for 1 ms */
    _Atomic int64_t disk_us;  /* the longest that a sync of a few bytes has taken */
    _Atomic int64_t accepted_us[ACCEPTED]; /* when PUT returned, by id; 0: it has not */
} *world;

static const char *queue_path;
static lq_options options;

struct body {
    int64_t put_us;
    uint32_t padding[4];
};

/* One message after the other, each when the last one has surely been got: every GET sleeps. */
static int produce(void *context)
{
    uint64_t random = (uint64_t)(uintptr_t)context + (uint64_t)api_now_us();
    lq_queue *queue;
    alarm(0);
    OK(lq_open(queue_path, &options, &queue));
    while (!atomic_load(&world->stop)) {
        struct body body = {.put_us = api_now_us()};
        uint64_t id;
        OK(lq_put(queue, &body, sizeof body, &id));
        atomic_store(&world->accepted_us[id % ACCEPTED], api_now_us());
        random = random * 6364136223846793005 + 1442695040888963407;
        nanosleep(&(struct timespec){0, (long)(random >> 33) % 600000}, NULL);
    }
    return 0;
}

static int consume(void *context)
{
    lq_queue *queue;
    lq_message message;
    struct body body;
    int64_t since = 0;
    (void)context;
    alarm(0);
    OK(lq_open(queue_path, &options, &queue));
    lq_consumer *consumer = api_consumer(queue, "c", NULL);
    while (!atomic_load(&world->stop)) {
        int err = lq_get(consumer, &message, 1000);
        if (err == LQ_TIMEOUT) continue;
        OK(err);
        int64_t got = api_now_us();
        memcpy(&body, message.data, sizeof body);
        OK(lq_ack(consumer, &message));
        /* Mostly we are faster than PUT returns; if not, we were late by so much. Not what waited before we were there. */
        int64_t accepted = atomic_exchange(&world->accepted_us[message.id % ACCEPTED], 0);
        int64_t late = accepted ? got - accepted : 0;
        atomic_fetch_add(&world->waits, 1);
        if (since == 0) since = api_now_us();
        if (body.put_us < since) continue;
        if (late > atomic_load(&world->longest_us)) atomic_store(&world->longest_us, late);
        /* GET itself may be syncing what a dead putter has left. */
        if (late > LATE_US + atomic_load(&world->stall_us) + atomic_load(&world->disk_us)) {
            atomic_fetch_add(&world->late, 1);
            dprintf(2, "message %" PRIu64 " came after %" PRId64 " ms\n", message.id, late / 1000);
        }
    }
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
    return 0;
}

static int measure_the_machine(void *context)
{
    char path[4200];
    (void)context;
    alarm(0);
    snprintf(path, sizeof path, "%s.canary", queue_path);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    while (!atomic_load(&world->stop)) {
        int64_t start = api_now_us();
        nanosleep(&(struct timespec){0, 1000000}, NULL);
        int64_t slept = api_now_us(), stall = slept - start - 1000;
        if (stall > atomic_load(&world->stall_us)) atomic_store(&world->stall_us, stall);
        if (pwrite(fd, &start, sizeof start, 0) < 0 || fdatasync(fd) < 0) return 1;
        stall = api_now_us() - slept;
        if (stall > atomic_load(&world->disk_us)) atomic_store(&world->disk_us, stall);
    }
    return 0;
}

static void storm(void **state, int sync)
{
    const char *seconds = getenv("STRESS_SECONDS");
    int64_t until = api_now_us() + (int64_t)((seconds ? strtod(seconds, NULL) : 12) * 1e6 / 2);
    pid_t producers[PRODUCERS], consumer, machine;
    uint64_t random = 7, kills = 0;

    queue_path = api_path(*state, "q");
    options = (lq_options){.size = sizeof options, .sync = sync, .segment_size = 65536, .ring_size = 65536};
    world = mmap(NULL, sizeof *world, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(world != MAP_FAILED);
    consumer = child_start(consume, NULL);
    machine = child_start(measure_the_machine, NULL);
    for (size_t i = 0; i < PRODUCERS; i++) producers[i] = child_start(produce, (void *)(uintptr_t)(i + 1));
    while (api_now_us() < until || (sync == LQ_SYNC_NEVER && atomic_load(&world->waits) < WAITS_MIN)) {
        random = random * 6364136223846793005 + 1442695040888963407;
        nanosleep(&(struct timespec){0, (long)(random >> 33) % 20000000}, NULL);
        size_t victim = random >> 60 & 1;
        child_kill(producers[victim]);
        producers[victim] = child_start(produce, (void *)(uintptr_t)(kills + 10));
        kills++;
    }
    for (size_t i = 0; i < PRODUCERS; i++) child_kill(producers[i]);
    atomic_store(&world->stop, 1);
    assert_int_equal(child_wait(consumer), 0);
    child_kill(machine);
    printf("%" PRIu64 " waits, %" PRIu64 " kills, the longest from the end of PUT to GET %" PRId64 " ms; the machine itself stalled for %" PRId64 " ms, its disk for %" PRId64 " ms\n",
           atomic_load(&world->waits), kills, atomic_load(&world->longest_us) / 1000, atomic_load(&world->stall_us) / 1000,
           atomic_load(&world->disk_us) / 1000);
    assert_int_equal(atomic_load(&world->late), 0);
    munmap(world, sizeof *world);
}

static void no_wait_is_late_in_a_queue_that_never_syncs(void **state)
{
    storm(state, LQ_SYNC_NEVER);
}

/* Here a message of a dead putter becomes visible only when somebody else has synced it. */
static void no_wait_is_late_in_a_queue_that_syncs_always(void **state)
{
    storm(state, LQ_SYNC_ALWAYS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_DIRECTORY(no_wait_is_late_in_a_queue_that_never_syncs),
        IN_DIRECTORY(no_wait_is_late_in_a_queue_that_syncs_always),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
