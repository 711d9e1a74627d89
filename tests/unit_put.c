/* PUT and the time it may take. */
#include <pthread.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "queue.h"
#include "support/api.h"
#include "support/scratch.h"

/* ---- a machine that counts appends ------------------------------------------------ */

static struct lqi_io counting;
static _Atomic uint32_t appends;

/* The time of a message is taken once in each try to append it. */
static int64_t wall_us(const struct lqi_io *io)
{
    (void)io;
    atomic_fetch_add(&appends, 1);
    return lqi_io_posix.wall_us(&lqi_io_posix);
}

static lq_queue *begin(void **state, lq_options options)
{
    lq_queue *queue;
    options.size = sizeof options;
    options.sync = LQ_SYNC_NEVER;
    options.segment_size = options.ring_size = 64 << 10;
    counting = lqi_io_posix;
    counting.wall_us = wall_us;
    OK(lqi_open_io(&counting, api_path(*state, "q"), &options, &queue));
    return queue;
}

static void end(void **state, lq_queue *queue)
{
    OK(lq_close(queue));
    scratch_delete(api_path(*state, "q"));
}

/* ---- time-outs beyond what anybody waits --------------------------------------------- */

/* Up to 25 days milliseconds fit an int; up to 146 million years, in microseconds, the number that is the end of waiting. */
static const int64_t beyond[] = {INT32_MAX - 1LL, INT32_MAX, INT32_MAX + 1LL, 1LL << 32, (1LL << 32) + 1, INT64_MAX / 2000, INT64_MAX / 2000 + 1,
                                 INT64_MAX - 1, INT64_MAX};
enum { BEYOND = sizeof beyond / sizeof *beyond };

static sem_t held;

static void *hold_for_a_while(void *log)
{
    struct lqi_log_state *shared = ((struct lqi_log *)log)->state;
    HOLDS(lqi_lock(&shared->append, "append lock") == LQI_LOCKED);
    sem_post(&held);
    api_sleep_ms(30);
    lqi_unlock(&shared->append);
    return NULL;
}

static void a_put_that_may_wait_for_weeks_waits_for_a_lock_in_one_piece(void **state)
{
    sem_init(&held, 0, 0);
    for (int i = 0; i < BEYOND; i++) {
        lq_queue *queue = begin(state, (lq_options){.full = LQ_FULL_BLOCK, .full_timeout_ms = beyond[i], .size_max = 1 << 17});
        pthread_t thread;
        HOLDS(pthread_create(&thread, NULL, hold_for_a_while, &queue->log) == 0);
        sem_wait(&held);
        atomic_store(&appends, 0);
        EQUAL(api_put(queue, "patient"), 1);
        EQUAL(atomic_load(&appends), 1);
        pthread_join(thread, NULL);
        end(state, queue);
    }
    sem_destroy(&held);
}

static void *consume_after_a_while(void *consumer)
{
    lq_message message;
    api_sleep_ms(30);
    while (lq_poll(consumer, &message) == LQ_OK) OK(lq_ack(consumer, &message));
    return NULL;
}

static void a_put_that_may_wait_for_weeks_waits_for_room(void **state)
{
    static const char body[1000];
    for (int i = 0; i < BEYOND; i++) {
        lq_queue *queue = begin(state, (lq_options){.full = LQ_FULL_BLOCK, .full_timeout_ms = 1, .size_max = 1 << 17});
        lq_consumer *consumer = api_consumer(queue, "c", NULL);
        pthread_t thread;
        int err;
        while (!(err = lq_put(queue, body, sizeof body, NULL))) {}
        IS(LQ_TIMEOUT, err);
        uint64_t last = api_stats(queue).last_id;
        queue->full_timeout_ms = beyond[i]; /* as of another handle */
        HOLDS(pthread_create(&thread, NULL, consume_after_a_while, consumer) == 0);
        OK(lq_put(queue, body, sizeof body, NULL));
        EQUAL(api_stats(queue).last_id, last + 1);
        pthread_join(thread, NULL);
        OK(lq_consumer_close(consumer));
        end(state, queue);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_DIRECTORY(a_put_that_may_wait_for_weeks_waits_for_a_lock_in_one_piece),
        IN_DIRECTORY(a_put_that_may_wait_for_weeks_waits_for_room),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
