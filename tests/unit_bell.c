/* Bells: a ringer may die or dawdle at any instruction, and the next ring is heard all the same; and whatever
 * somebody may be waiting for rings. A sleeper's wait is bounded, so that a ring left out would only make
 * others late: here the word itself is looked at, as one who listened would. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "consumer.h"
#include "support/api.h"
#include "support/child.h"
#include "support/io_fault.h"
#include "support/stepper.h"

static bool can_lead; /* processes, instruction by instruction */

/* ---- ringers that get no further ------------------------------------------------- */

static struct shared {
    struct lqi_bell bell;
    _Atomic uint32_t done;
} *shared;

static int ring(void *unused)
{
    (void)unused;
    stepper_ready();
    lqi_bell_ring(&shared->bell);
    atomic_store(&shared->done, 1);
    return 0;
}

static uint64_t look(void *unused)
{
    (void)unused;
    return (uint64_t)atomic_load(&shared->bell.word) << 32 | atomic_load(&shared->bell.listeners);
}

/* A ringer who stands before his `step`-th instruction, when somebody has been listening from the start. */
static pid_t ringer_at(const struct stepper_way *way, uint32_t step, uint32_t *seen_out)
{
    memset(shared, 0, sizeof *shared);
    *seen_out = lqi_bell_listen(&shared->bell);
    pid_t child = stepper_start(ring, NULL);
    HOLDS(child > 0 && stepper_run_to(child, way, step));
    return child;
}

/* The whole way of a ringer whom somebody hears. */
static struct stepper_way way_of_a_ringer(void)
{
    memset(shared, 0, sizeof *shared);
    uint32_t seen = lqi_bell_listen(&shared->bell);
    pid_t child = stepper_start(ring, NULL);
    HOLDS(child > 0);
    struct stepper_way way = stepper_walk(child, &shared->done, look, NULL, false);
    child_kill(child);
    HOLDS(way.count > 10);
    HOLDS(atomic_load(&shared->bell.word) != seen);
    HOLDS(!(atomic_load(&shared->bell.listeners) & LQI_BELL_FLAG));
    return way;
}

static void whoever_dies_ringing_the_next_ring_is_heard(void **unused)
{
    (void)unused;
    if (!can_lead) skip();
    struct stepper_way way = way_of_a_ringer();
    for (uint32_t step = 0; step < way.count; step++) {
        uint32_t seen;
        child_kill(ringer_at(&way, step, &seen));
        lqi_bell_ring(&shared->bell);
        HOLDS(atomic_load(&shared->bell.word) != seen);
    }
    stepper_free(&way);
}

static void who_comes_while_somebody_rings_hears_the_next_ring(void **unused)
{
    (void)unused;
    if (!can_lead) skip();
    struct stepper_way way = way_of_a_ringer();
    for (uint32_t step = 0; step < way.count; step++) {
        uint32_t first;
        pid_t child = ringer_at(&way, step, &first);
        uint32_t seen = lqi_bell_listen(&shared->bell);
        stepper_let_go(child, 0);
        EQUAL(child_wait(child), 0);
        HOLDS(atomic_load(&shared->bell.word) != first);
        lqi_bell_ring(&shared->bell);
        HOLDS(atomic_load(&shared->bell.word) != seen);
    }
    stepper_free(&way);
}

/* ---- listeners that come at once ----------------------------------------------------- */

static int listen(void *unused)
{
    (void)unused;
    stepper_ready();
    uint32_t seen = lqi_bell_listen(&shared->bell);
    atomic_store(&shared->done, 1);
    return (int)seen;
}

/* One is slow at it; meanwhile another comes, and hears a ring or not. */
static void who_is_slow_to_listen_hears_the_next_ring_whoever_else_has_come(void **unused)
{
    (void)unused;
    if (!can_lead) skip();
    memset(shared, 0, sizeof *shared);
    pid_t child = stepper_start(listen, NULL);
    HOLDS(child > 0);
    struct stepper_way way = stepper_walk(child, &shared->done, look, NULL, false);
    child_kill(child);
    HOLDS(way.count > 5);
    for (uint32_t step = 0; step < way.count; step++) {
        for (int rung = 0; rung < 2; rung++) {
            memset(shared, 0, sizeof *shared);
            child = stepper_start(listen, NULL);
            HOLDS(child > 0 && stepper_run_to(child, &way, step));
            uint32_t seen = lqi_bell_listen(&shared->bell);
            if (rung) lqi_bell_ring(&shared->bell);
            stepper_let_go(child, 0);
            uint32_t childs = (uint32_t)child_wait(child);
            HOLDS(childs <= seen + (uint32_t)rung);
            lqi_bell_ring(&shared->bell);
            HOLDS(atomic_load(&shared->bell.word) != seen && atomic_load(&shared->bell.word) != childs);
        }
    }
    stepper_free(&way);
}

/* ---- what rings ------------------------------------------------------------------- */

enum { BODY = 1000 };

static bool rang;
#define LISTEN(bell) for (uint32_t seen = lqi_bell_listen(bell), once = 1; once; rang = atomic_load(&(bell)->word) != seen, once = 0)
#define RINGS(bell, call) do { LISTEN(bell) { call; } HOLDS(rang); } while (0)
#define IS_SILENT(bell, call) do { LISTEN(bell) { call; } HOLDS(!rang); } while (0)

static lq_queue *open_small(void **state, int sync, uint32_t flags)
{
    return api_open(state, &(lq_options){.sync = sync, .flags = flags, .segment_size = 64 << 10, .ring_size = 64 << 10});
}

static void a_put_rings_when_its_message_can_be_seen(void **state)
{
    lq_queue *queue = open_small(state, LQ_SYNC_NEVER, 0);
    RINGS(&queue->log.state->arrived, api_put(queue, "x"));
    OK(lq_close(queue));
}

static void a_put_that_is_durable_rings_for_those_who_wait_for_that_and_for_messages(void **state)
{
    lq_queue *queue = open_small(state, LQ_SYNC_ALWAYS, 0);
    RINGS(&queue->log.state->arrived, api_put(queue, "x"));
    RINGS(&queue->log.state->durable, api_put(queue, "y"));
    OK(lq_close(queue));
}

static void a_deferred_put_rings_when_somebody_syncs(void **state)
{
    lq_queue *queue = open_small(state, LQ_SYNC_ALWAYS, LQ_DEFER_SYNC);
    IS_SILENT(&queue->log.state->arrived, api_put(queue, "x"));
    RINGS(&queue->log.state->arrived, OK(lq_sync(queue)));
    OK(lq_close(queue));
}

/* The segment that a roll seals is durable then. */
static void a_roll_rings_for_what_it_made_durable(void **state)
{
    lq_queue *queue = open_small(state, LQ_SYNC_ALWAYS, LQ_DEFER_SYNC);
    struct lqi_log_state *log = queue->log.state;
    api_put_range(queue, 1, 10, BODY);
    uint8_t *large = calloc(1, 60000);
    RINGS(&log->arrived, OK(lq_put(queue, large, 60000, NULL)));
    HOLDS(atomic_load(&log->synced_id) == 10);
    RINGS(&log->durable, OK(lq_put(queue, large, 60000, NULL)));
    free(large);
    OK(lq_close(queue));
}

static void a_failed_sync_rings_for_all_who_wait_for_the_disk(void **state)
{
    struct io_fault fault;
    lq_queue *queue;
    io_fault_init(&fault, &lqi_io_posix);
    OK(lqi_open_io(&fault.io, api_path(*state, "q"), NULL, &queue));
    struct lqi_log_state *log = queue->log.state;
    for (int i = 0; i < 2; i++) {
        RINGS(i ? &log->durable : &log->room, lqi_poison(&queue->log));
        EQUAL(api_stats(queue).poisoned, 1);
        atomic_store(&queue->map.head->poisoned, 0);
    }
    io_fault_plan(&fault, IO_SYNC, 1, true, EIO);
    RINGS(&log->durable, IS(LQ_EPOISONED, lq_put(queue, "x", 1, NULL)));
    io_fault_end(&fault);
    (void)lq_close(queue);
    io_fault_release(&fault);
}

/* A consumer that holds messages 1 to `held`. */
struct holder {
    lq_queue *queue;
    lq_consumer *consumer;
    lq_message messages[64];
    struct lqi_bell *arrived;
};

static struct holder hold(void **state, size_t held)
{
    struct holder holder = {.queue = open_small(state, LQ_SYNC_NEVER, 0)};
    holder.consumer = api_consumer(holder.queue, "c", &(lq_consumer_options){.window = 64});
    holder.arrived = &holder.queue->log.state->arrived;
    api_put_range(holder.queue, 1, 64, 10);
    for (size_t i = 0; i < held; i++) OK(lq_poll(holder.consumer, &holder.messages[i]));
    return holder;
}

static void what_is_given_back_rings(void **state)
{
    struct holder holder = hold(state, 3);
    RINGS(holder.arrived, OK(lq_release(holder.consumer, &holder.messages[1])));
    RINGS(holder.arrived, OK(lq_consumer_close(holder.consumer)));
    OK(lq_close(holder.queue));
}

static void an_ack_rings_only_when_it_moves_a_full_window(void **state)
{
    struct holder holder = hold(state, 64);
    IS_SILENT(holder.arrived, OK(lq_ack(holder.consumer, &holder.messages[1])));
    RINGS(holder.arrived, OK(lq_ack(holder.consumer, &holder.messages[0])));
    EQUAL(api_consumer_stats(holder.queue, "c").floor, 2);
    IS_SILENT(holder.arrived, OK(lq_ack(holder.consumer, &holder.messages[2])));
    for (int i = 3; i < 64; i++) OK(lq_ack(holder.consumer, &holder.messages[i]));
    IS_SILENT(holder.arrived, OK(lq_consumer_close(holder.consumer)));
    OK(lq_close(holder.queue));
}

static int get_and_die(void *path)
{
    lq_queue *queue;
    lq_consumer *consumer;
    lq_message message;
    OK(lq_open(path, NULL, &queue));
    OK(lq_consumer_open(queue, "c", NULL, &consumer));
    OK(lq_poll(consumer, &message));
    _exit(0);
}

static void what_is_taken_back_from_the_dead_rings(void **state)
{
    struct holder holder = hold(state, 0);
    char path[4200];
    strcpy(path, api_path(*state, "q"));
    EQUAL(child_run(get_and_die, path), 0);
    api_sleep_ms(25);
    RINGS(holder.arrived, OK(lq_poll(holder.consumer, &holder.messages[0])));
    EQUAL(holder.messages[0].attempts, 2);
    EQUAL(child_run(get_and_die, path), 0); /* it takes message 2 */
    RINGS(holder.arrived, OK(lq_consumer_close(api_consumer(holder.queue, "c", NULL)))); /* who joins looks, too */
    EQUAL(child_run(get_and_die, path), 0);
    api_sleep_ms(25);
    OK(lq_consumer_close(holder.consumer));
    OK(lq_close(holder.queue));
}

int main(int count, char *argv[])
{
    (void)count;
    can_lead = !api_sanitized && stepper_works(argv); /* code of sanitizers would be led as well */
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED) return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whoever_dies_ringing_the_next_ring_is_heard),
        cmocka_unit_test(who_comes_while_somebody_rings_hears_the_next_ring),
        cmocka_unit_test(who_is_slow_to_listen_hears_the_next_ring_whoever_else_has_come),
        IN_DIRECTORY(a_put_rings_when_its_message_can_be_seen),
        IN_DIRECTORY(a_put_that_is_durable_rings_for_those_who_wait_for_that_and_for_messages),
        IN_DIRECTORY(a_deferred_put_rings_when_somebody_syncs),
        IN_DIRECTORY(a_roll_rings_for_what_it_made_durable),
        IN_DIRECTORY(a_failed_sync_rings_for_all_who_wait_for_the_disk),
        IN_DIRECTORY(what_is_given_back_rings),
        IN_DIRECTORY(an_ack_rings_only_when_it_moves_a_full_window),
        IN_DIRECTORY(what_is_taken_back_from_the_dead_rings),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
