/* Sync modes: when the library says that something is durable. That it is, is for the crash tests to show. */
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "support/api.h"
#include "support/child.h"

static bool all_synced(lq_queue *queue)
{
    lq_stats stats = api_stats(queue);
    return stats.appended == stats.written && stats.appended == stats.synced;
}

static void in_a_queue_that_syncs_always_a_put_returns_when_it_is_durable(void **state)
{
    lq_queue *queue = api_open(state, NULL);
    char *large = calloc(1, 2 << 20);
    lq_message batch[] = {{.data = "a", .size = 1}, {.data = "b", .size = 1}};

    for (int i = 0; i < 20; i++) {
        api_put(queue, "x");
        HOLDS(all_synced(queue));
    }
    OK(lq_put_batch(queue, batch, 2, NULL));
    HOLDS(all_synced(queue));
    OK(lq_put(queue, large, 2 << 20, NULL)); /* straight to the file */
    HOLDS(all_synced(queue));
    EQUAL(api_stats(queue).visible_id, 23);
    free(large);
    OK(lq_close(queue));
}

static void *put_some(void *queue)
{
    for (int i = 0; i < 50; i++) {
        uint64_t id = 0;
        OK(lq_put(queue, "x", 1, &id));
        HOLDS(api_stats(queue).visible_id >= id);
    }
    return NULL;
}

static void putters_of_many_threads_share_the_syncs(void **state)
{
    lq_queue *queue = api_open(state, NULL);
    pthread_t threads[8];

    for (int i = 0; i < 8; i++) pthread_create(&threads[i], NULL, put_some, queue);
    for (int i = 0; i < 8; i++) pthread_join(threads[i], NULL);
    EQUAL(api_stats(queue).last_id, 400);
    HOLDS(all_synced(queue));
    OK(lq_close(queue));
}

static void a_deferring_handle_does_not_wait_and_sync_draws_the_line(void **state)
{
    lq_queue *queue = api_open(state, NULL), *lazy = api_open(state, &(lq_options){.flags = LQ_DEFER_SYNC});
    lq_consumer *consumer = api_consumer(queue, "c", NULL);
    lq_message message;

    for (int i = 0; i < 10; i++) api_put(lazy, "lazy");
    lq_stats stats = api_stats(queue);
    HOLDS(stats.synced < stats.appended);
    EQUAL(stats.last_id, 10);
    EQUAL(stats.visible_id, 0);
    IS(LQ_EMPTY, lq_poll(consumer, &message)); /* handed out only once durable */
    OK(lq_sync(lazy));
    HOLDS(all_synced(queue));
    for (int i = 0; i < 10; i++) api_get_ack(consumer, "lazy");

    api_put(lazy, "lazy");
    api_put(queue, "eager"); /* takes all before it along */
    HOLDS(all_synced(queue));
    api_get_ack(consumer, "lazy");
    api_get_ack(consumer, "eager");
    OK(lq_consumer_close(consumer));
    OK(lq_close(lazy));
    OK(lq_close(queue));
}

static void who_waits_for_a_deferred_put_gets_it_although_nobody_syncs(void **state)
{
    lq_queue *queue = api_open(state, NULL), *lazy = api_open(state, &(lq_options){.flags = LQ_DEFER_SYNC});
    lq_consumer *consumer = api_consumer(queue, "c", NULL);

    api_put(lazy, "lazy");
    api_get_ack(consumer, "lazy");
    OK(lq_consumer_close(consumer));
    OK(lq_close(lazy));
    OK(lq_close(queue));
}

static void closing_makes_everything_durable(void **state)
{
    static const int modes[] = {LQ_SYNC_ALWAYS, LQ_SYNC_INTERVAL, LQ_SYNC_NEVER};
    for (int i = 0; i < 3; i++) {
        char name[] = "q0";
        name[1] = (char)('0' + i);
        lq_options options = {.size = sizeof options, .sync = modes[i], .sync_interval_ms = modes[i] == LQ_SYNC_INTERVAL ? 3600000 : 0,
                              .flags = LQ_DEFER_SYNC};
        lq_queue *queue;
        OK(lq_open(api_path(*state, name), &options, &queue));
        api_put_range(queue, 1, 100, 100);
        OK(lq_close(queue));
        options.flags = LQ_READ_ONLY;
        OK(lq_open(api_path(*state, name), &options, &queue));
        api_read_range(queue, 1, 100, 100);
        HOLDS(all_synced(queue));
        OK(lq_close(queue));
    }
}

static void the_interval_syncs_by_itself(void **state)
{
    lq_queue *queue = api_open(state, &(lq_options){.sync = LQ_SYNC_INTERVAL, .sync_interval_ms = 20});
    for (int round = 0; round < 5; round++) {
        api_put(queue, "x");
        for (int i = 0; i < 5000 && !all_synced(queue); i++) api_sleep_ms(1);
        HOLDS(all_synced(queue));
    }
    OK(lq_close(queue));
}

static void the_interval_syncs_for_putters_of_other_processes_too(void **state)
{
    lq_queue *queue = api_open(state, &(lq_options){.sync = LQ_SYNC_INTERVAL, .sync_interval_ms = 30});
    lq_queue *other = api_open(state, NULL);
    api_put(other, "x");
    OK(lq_close(other));
    for (int i = 0; i < 5000 && !all_synced(queue); i++) api_sleep_ms(1);
    HOLDS(all_synced(queue));
    OK(lq_close(queue));
}

static void in_a_queue_that_never_syncs_sync_does(void **state)
{
    lq_queue *queue = api_open(state, &(lq_options){.sync = LQ_SYNC_NEVER});
    lq_consumer *consumer = api_consumer(queue, "c", NULL);

    api_put_range(queue, 1, 10, 100);
    HOLDS(!all_synced(queue));
    api_take_range(consumer, 1, 10, 100); /* visible at once */
    OK(lq_sync(queue));
    HOLDS(all_synced(queue));
    HOLDS(api_consumer_stats(queue, "c").saved_time_us > 0);
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
}

/* ---- killed processes ------------------------------------------------------------------ */

struct plan {
    char path[4096];
    lq_options options;
};

static int put_take_and_die(void *context)
{
    struct plan *plan = context;
    lq_queue *queue;
    lq_consumer *consumer;
    OK(lq_open(plan->path, &plan->options, &queue));
    OK(lq_consumer_open(queue, "c", NULL, &consumer));
    api_put_range(queue, 1, 1000, 500);
    OK(lq_consumer_close(api_consumer(queue, "later", &(lq_consumer_options){.start = LQ_START_ID, .start_id = 501})));
    if (plan->options.sync == LQ_SYNC_NEVER) api_take_range(consumer, 1, 300, 500);
    raise(SIGKILL);
    return 0;
}

static void nothing_accepted_and_no_ack_is_lost_when_every_process_is_killed(void **state)
{
    const lq_options kinds[] = {
        {.sync = LQ_SYNC_NEVER}, {.sync = LQ_SYNC_NEVER, .segment_size = 64 << 10, .ring_size = 64 << 10},
        {.sync = LQ_SYNC_NEVER, .segment_size = 64 << 10, .ring_size = 1 << 20},
        {.sync = LQ_SYNC_INTERVAL, .sync_interval_ms = 3600000}, {.sync = LQ_SYNC_INTERVAL, .sync_interval_ms = 1},
        {.flags = LQ_DEFER_SYNC}, {.flags = LQ_DEFER_SYNC, .segment_size = 64 << 10, .ring_size = 64 << 10},
    };
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        struct plan plan = {.options = kinds[i]};
        char name[] = "q0";
        name[1] = (char)('0' + i);
        plan.options.size = sizeof plan.options;
        strcpy(plan.path, api_path(*state, name));
        EQUAL(child_run(put_take_and_die, &plan), 100 + SIGKILL);

        lq_queue *queue;
        OK(lq_open(plan.path, NULL, &queue));
        EQUAL(api_stats(queue).last_id, 1000);
        EQUAL(api_stats(queue).damage, 0);
        lq_consumer *consumer = api_consumer(queue, "c", NULL), *later = api_consumer(queue, "later", NULL);
        api_take_range(consumer, kinds[i].sync == LQ_SYNC_NEVER ? 301 : 1, 1000, 500);
        api_take_range(later, 501, 1000, 500);
        EQUAL(api_put(queue, "next"), 1001);
        OK(lq_consumer_close(consumer));
        OK(lq_consumer_close(later));
        OK(lq_close(queue));
        OK(lq_verify(plan.path, 0, NULL, NULL, NULL));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_DIRECTORY(in_a_queue_that_syncs_always_a_put_returns_when_it_is_durable),
        IN_DIRECTORY(putters_of_many_threads_share_the_syncs),
        IN_DIRECTORY(a_deferring_handle_does_not_wait_and_sync_draws_the_line),
        IN_DIRECTORY(who_waits_for_a_deferred_put_gets_it_although_nobody_syncs),
        IN_DIRECTORY(closing_makes_everything_durable),
        IN_DIRECTORY(the_interval_syncs_by_itself),
        IN_DIRECTORY(the_interval_syncs_for_putters_of_other_processes_too),
        IN_DIRECTORY(in_a_queue_that_never_syncs_sync_does),
        IN_DIRECTORY(nothing_accepted_and_no_ack_is_lost_when_every_process_is_killed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
