/* Forks: the child may only close; the parent notices nothing; and a dead parent's leases do not wait for its children. */
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "support/api.h"
#include "support/child.h"

struct handles {
    lq_queue *queue;
    lq_consumer *consumer, *told, *polled;
    lq_reader *reader;
    lq_message held;
    char path[4096];
};

static _Atomic uint32_t told_count;

static int count_told(void *context, int code, const lq_message *message)
{
    (void)context;
    (void)message;
    EQUAL(code, 0);
    atomic_fetch_add(&told_count, 1);
    return LQ_SETTLE_ACK;
}

static struct handles open_all(void **state, const lq_options *options)
{
    struct handles all = {.queue = api_open(state, options)};
    strcpy(all.path, api_path(*state, "q"));
    atomic_store(&told_count, 0);
    all.consumer = api_consumer(all.queue, "c", NULL);
    all.told = api_consumer(all.queue, "told", NULL);
    all.polled = api_consumer(all.queue, "polled", NULL);
    OK(lq_notify(all.told, count_told, NULL));
    HOLDS(lq_fd(all.polled) >= 3);
    api_put(all.queue, "held");
    all.held = api_get(all.consumer, "held");
    OK(lq_reader_open(all.queue, &all.reader));
    return all;
}

static void close_all(struct handles *all)
{
    lq_reader_close(all->reader);
    OK(lq_consumer_close(all->consumer));
    OK(lq_consumer_close(all->told));
    OK(lq_consumer_close(all->polled));
    OK(lq_close(all->queue));
}

static int tell_nobody(void *context, int code, const lq_consumer_stats *stats)
{
    (void)context, (void)code, (void)stats;
    return 0;
}

static int tell_nothing(void *context, const lq_segment *segment)
{
    (void)context, (void)segment;
    return 0;
}

static int try_everything(void *context)
{
    struct handles *all = context;
    lq_message message = {.data = "x", .size = 1};
    lq_consumer *consumer = NULL;
    lq_reader *reader = NULL;
    size_t count;

    IS(LQ_EFORKED, lq_put(all->queue, "x", 1, NULL));
    TEXT_HAS("parent");
    IS(LQ_EFORKED, lq_put_batch(all->queue, &message, 1, NULL));
    IS(LQ_EFORKED, lq_sync(all->queue));
    IS(LQ_EFORKED, lq_consumer_open(all->queue, "c", NULL, &consumer));
    IS(LQ_EFORKED, lq_consumer_delete(all->queue, "c"));
    IS(LQ_EFORKED, lq_get(all->consumer, &message, 0));
    IS(LQ_EFORKED, lq_get(all->consumer, &message, -1));
    IS(LQ_EFORKED, lq_poll(all->consumer, &message));
    IS(LQ_EFORKED, lq_get_batch(all->consumer, &message, 1, &count, 0));
    IS(LQ_EFORKED, lq_ack(all->consumer, &all->held));
    IS(LQ_EFORKED, lq_ack_batch(all->consumer, &all->held, 1));
    IS(LQ_EFORKED, lq_release(all->consumer, &all->held));
    IS(LQ_EFORKED, lq_notify(all->told, NULL, NULL));
    IS(LQ_EFORKED, lq_notify(all->consumer, count_told, NULL));
    IS(LQ_EFORKED, lq_dispatch(all->consumer, 1, NULL));
    IS(LQ_EFORKED, lq_fd(all->consumer));
    IS(LQ_EFORKED, lq_fd(all->polled));
    IS(LQ_EFORKED, lq_reader_open(all->queue, &reader));
    IS(LQ_EFORKED, lq_reader_next(all->reader, &message));
    IS(LQ_EFORKED, lq_reader_seek_id(all->reader, 1));
    IS(LQ_EFORKED, lq_reader_seek_time(all->reader, 1));
    IS(LQ_EFORKED, lq_reader_wait(all->reader, 0));
    IS(LQ_EFORKED, lq_get_stats(all->queue, &(lq_stats){.size = sizeof(lq_stats)}));
    IS(LQ_EFORKED, lq_get_consumer_stats(all->queue, "c", &(lq_consumer_stats){.size = sizeof(lq_consumer_stats)}));
    IS(LQ_EFORKED, lq_each_consumer(all->queue, tell_nobody, NULL));
    IS(LQ_EFORKED, lq_each_segment(all->queue, tell_nothing, NULL));
    return 0;
}

static int try_everything_and_close(void *context)
{
    struct handles *all = context;
    try_everything(context);
    close_all(all);
    return 0;
}

static int open_anew(void *context)
{
    struct handles *all = context;
    close_all(all);
    lq_queue *queue;
    lq_consumer *consumer;
    lq_message message;
    OK(lq_open(all->path, NULL, &queue));
    OK(lq_consumer_open(queue, "c", NULL, &consumer));
    IS(LQ_EMPTY, lq_poll(consumer, &message)); /* the parent holds it */
    api_put(queue, "by the child");
    api_get_ack(consumer, "by the child");
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
    return 0;
}

static void check_parent(struct handles *all)
{
    lq_message message;
    HOLDS(api_is_text(&all->held, "held"));
    EQUAL(api_consumer_stats(all->queue, "c").unacked, 1);
    OK(lq_ack(all->consumer, &all->held));
    uint32_t told = atomic_load(&told_count);
    api_put(all->queue, "more");
    api_get_ack(all->consumer, "more");
    OK(lq_reader_next(all->reader, &message));
    for (int i = 0; i < 5000 && atomic_load(&told_count) == told; i++) api_sleep_ms(1);
    HOLDS(atomic_load(&told_count) > told);
    EQUAL(api_stats(all->queue).handles, 1);
}

static void run_in_fork(void **state, int (*body)(void *), const lq_options *options)
{
    struct handles all = open_all(state, options);
    EQUAL(child_run(body, &all), 0);
    check_parent(&all);
    close_all(&all);
}

static void in_the_child_everything_is_refused(void **state)
{
    run_in_fork(state, try_everything, NULL);
}

/* Three handles; the one in the middle stays when the others have been closed, whichever was opened first. */
static lq_queue *the_one_that_stays;

static int put_with_what_stays(void *context)
{
    (void)context;
    IS(LQ_EFORKED, lq_put(the_one_that_stays, "x", 1, NULL));
    OK(lq_close(the_one_that_stays));
    return 0;
}

static void a_handle_is_refused_in_the_child_whichever_others_were_closed_before(void **state)
{
    lq_queue *first = api_open(state, NULL);
    the_one_that_stays = api_open(state, NULL);
    lq_queue *last = api_open(state, NULL);
    OK(lq_close(first));
    EQUAL(child_run(put_with_what_stays, NULL), 0);
    OK(lq_close(last));
    EQUAL(child_run(put_with_what_stays, NULL), 0);
    api_put(the_one_that_stays, "the parent's");
    OK(lq_close(the_one_that_stays));
}

static void the_child_may_close_and_the_parent_notices_nothing(void **state)
{
    run_in_fork(state, try_everything_and_close, &(lq_options){.sync = LQ_SYNC_INTERVAL, .sync_interval_ms = 5});
}

static void the_child_may_open_the_queue_anew(void **state)
{
    run_in_fork(state, open_anew, NULL);
}

static void a_child_of_a_read_only_handle_is_refused_too(void **state)
{
    OK(lq_close(api_open(state, NULL)));
    lq_queue *queue = api_open(state, &(lq_options){.flags = LQ_READ_ONLY});
    pid_t child = fork();
    if (child == 0) {
        int err = lq_get_stats(queue, &(lq_stats){.size = sizeof(lq_stats)});
        _exit(err == LQ_EFORKED && lq_close(queue) == LQ_OK ? 0 : 1);
    }
    EQUAL(child_wait(child), 0);
    OK(lq_close(queue));
}

static int try_it_and_leave(void *context)
{
    IS(LQ_EFORKED, lq_put(context, "x", 1, NULL));
    OK(lq_close(context));
    return 0;
}

static _Atomic int stop_putting;

static void *keep_putting(void *queue)
{
    while (!atomic_load(&stop_putting)) api_put(queue, "busy");
    return NULL;
}

static void a_fork_in_the_middle_of_other_threads_puts_is_safe(void **state)
{
    lq_queue *queue = api_open(state, &(lq_options){.sync = LQ_SYNC_NEVER});
    pthread_t threads[2];

    atomic_store(&stop_putting, 0);
    for (int i = 0; i < 2; i++) pthread_create(&threads[i], NULL, keep_putting, queue);
    for (int i = 0; i < 50; i++) EQUAL(child_run(try_it_and_leave, queue), 0);
    atomic_store(&stop_putting, 1);
    for (int i = 0; i < 2; i++) pthread_join(threads[i], NULL);
    OK(lq_close(queue));
    OK(lq_verify(api_path(*state, "q"), 0, NULL, NULL, NULL));
}

/* ---- the parent dies -------------------------------------------------------------- */

struct family {
    char path[4096];
    _Atomic pid_t grandchild;
    _Atomic int ready;
};

static int hold_one_and_have_a_child(void *context)
{
    struct family *family = context;
    lq_queue *queue;
    lq_consumer *consumer;
    OK(lq_open(family->path, NULL, &queue));
    OK(lq_consumer_open(queue, "c", NULL, &consumer));
    api_get(consumer, "held");
    pid_t child = fork();
    if (child == 0) {
        alarm(60);
        atomic_store(&family->grandchild, getpid());
        for (;;) pause(); /* with all that it has inherited */
    }
    while (!atomic_load(&family->grandchild)) api_sleep_ms(1);
    atomic_store(&family->ready, 1);
    pause();
    return 0;
}

static void a_dead_parents_leases_come_back_while_its_child_lives(void **state)
{
    struct family *family = mmap(NULL, sizeof *family, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    strcpy(family->path, api_path(*state, "q"));
    lq_queue *queue = api_open(state, NULL);
    lq_message message;

    api_put(queue, "held");
    pid_t child = child_start(hold_one_and_have_a_child, family);
    while (!atomic_load(&family->ready)) api_sleep_ms(1);
    lq_consumer *consumer = api_consumer(queue, "c", NULL);
    IS(LQ_EMPTY, lq_poll(consumer, &message));
    EQUAL(api_stats(queue).handles, 2);
    child_kill(child);
    int64_t killed_us = api_now_us();
    message = api_get(consumer, "held");
    api_note("the lease of a killed parent came back after %lld us, its child being alive", (long long)(api_now_us() - killed_us));
    HOLDS(kill(family->grandchild, 0) == 0);
    EQUAL(message.attempts, 2);
    EQUAL(api_stats(queue).handles, 1);
    OK(lq_ack(consumer, &message));
    kill(family->grandchild, SIGKILL);
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
    munmap(family, sizeof *family);
}

static void the_next_opener_recovers_while_a_dead_parents_child_lives(void **state)
{
    struct family *family = mmap(NULL, sizeof *family, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    strcpy(family->path, api_path(*state, "q"));
    lq_queue *queue = api_open(state, &(lq_options){.sync = LQ_SYNC_NEVER});
    api_put(queue, "held");
    OK(lq_close(queue));

    pid_t child = child_start(hold_one_and_have_a_child, family);
    while (!atomic_load(&family->ready)) api_sleep_ms(1);
    child_kill(child);
    queue = api_open(state, NULL);
    EQUAL(api_stats(queue).handles, 1);
    lq_consumer *consumer = api_consumer(queue, "c", NULL);
    api_get_ack(consumer, "held");
    kill(family->grandchild, SIGKILL);
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
    munmap(family, sizeof *family);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_DIRECTORY(in_the_child_everything_is_refused),
        IN_DIRECTORY(a_handle_is_refused_in_the_child_whichever_others_were_closed_before),
        IN_DIRECTORY(the_child_may_close_and_the_parent_notices_nothing),
        IN_DIRECTORY(the_child_may_open_the_queue_anew),
        IN_DIRECTORY(a_child_of_a_read_only_handle_is_refused_too),
        IN_DIRECTORY(a_fork_in_the_middle_of_other_threads_puts_is_safe),
        IN_DIRECTORY(a_dead_parents_leases_come_back_while_its_child_lives),
        IN_DIRECTORY(the_next_opener_recovers_while_a_dead_parents_child_lives),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
