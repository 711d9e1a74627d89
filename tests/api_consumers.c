/* Consumers: names, where they begin, their members in threads and processes, the window, deletion. */
#include <pthread.h>
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
#include <unistd.h>

#include <cmocka.h>

#include "support/api.h"
#include "support/child.h"

/* ---- where they begin --------------------------------------------------- */

static void a_new_consumer_begins_where_it_was_told(void **state)
{
    lq_queue *queue = api_open(state, NULL);
    lq_message message;

    api_put_range(queue, 1, 10, 20);
    api_sleep_ms(2);
    struct { const char *name; lq_consumer_options options; uint64_t first; } starts[] = {
        {"default", {0}, 1},
        {"begin", {.start = LQ_START_BEGIN}, 1},
        {"end", {.start = LQ_START_END}, 21},
        {"id7", {.start = LQ_START_ID, .start_id = 7}, 7},
        {"id0", {.start = LQ_START_ID}, 1},
        {"id1000", {.start = LQ_START_ID, .start_id = 1000}, 21},
        {"time0", {.start = LQ_START_TIME, .start_time_us = 0}, 1},
        {"far", {.start = LQ_START_TIME, .start_time_us = INT64_MAX}, 21},
        {"then", {.start = LQ_START_TIME}, 11},
    };
    enum { STARTS = sizeof starts / sizeof *starts };
    lq_consumer *consumers[STARTS];

    api_put_range(queue, 11, 20, 20);
    lq_consumer *looker = api_consumer(queue, "looker", &(lq_consumer_options){.start = LQ_START_ID, .start_id = 11});
    OK(lq_poll(looker, &message));
    starts[STARTS - 1].options.start_time_us = message.time_us;
    OK(lq_consumer_close(looker));

    for (size_t i = 0; i < STARTS; i++) consumers[i] = api_consumer(queue, starts[i].name, &starts[i].options);
    api_put_range(queue, 21, 30, 20);
    for (size_t i = 0; i < STARTS; i++) {
        api_take_range(consumers[i], starts[i].first, 30, 20);
        IS(LQ_EMPTY, lq_poll(consumers[i], &message));
        OK(lq_consumer_close(consumers[i]));
    }
    OK(lq_close(queue));
}

static void the_start_counts_only_when_the_consumer_is_made(void **state)
{
    lq_queue *queue = api_open(state, NULL);
    api_put_range(queue, 1, 5, 20);
    lq_consumer *consumer = api_consumer(queue, "c", &(lq_consumer_options){.start = LQ_START_ID, .start_id = 3});
    OK(lq_consumer_close(consumer));
    consumer = api_consumer(queue, "c", &(lq_consumer_options){.start = LQ_START_END});
    api_take_range(consumer, 3, 5, 20);
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
}

static void a_position_is_kept_through_restarts(void **state)
{
    for (uint64_t id = 1; id <= 20; id++) {
        lq_queue *queue = api_open(state, NULL);
        if (id == 1) api_put_range(queue, 1, 20, 20);
        lq_consumer *consumer = api_consumer(queue, "c", NULL);
        api_take_range(consumer, id, id, 20);
        OK(lq_consumer_close(consumer));
        OK(lq_close(queue));
    }
}

/* ---- names --------------------------------------------------------------- */

static void a_name_is_of_few_characters_only(void **state)
{
    lq_queue *queue = api_open(state, NULL);
    lq_consumer *consumer = NULL;
    char hundred[102], huge[10241];
    memset(hundred, 'n', sizeof hundred);
    hundred[101] = 0;
    memset(huge, 'x', 10240);
    huge[10240] = 0;
    const char *bad[] = {"", ".", "..", ".hidden", "-dash", "a/b", "../x", "/abs", "a b", "a\n", "\x01", "caf\xc3\xa9", "a\\b", hundred, huge};

    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        IS(LQ_ENAME, lq_consumer_open(queue, bad[i], NULL, &consumer));
        IS(LQ_ENAME, lq_consumer_delete(queue, bad[i]));
        IS(LQ_ENAME, lq_get_consumer_stats(queue, bad[i], &(lq_consumer_stats){.size = sizeof(lq_consumer_stats)}));
        HOLDS(consumer == NULL);
    }
    hundred[100] = 0;
    const char *good[] = {"a", "A.b-c_9", "0", "_", "pos", "x.pos", hundred};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        OK(lq_consumer_close(api_consumer(queue, good[i], NULL)));
        assert_string_equal(api_consumer_stats(queue, good[i]).name, good[i]);
    }
    EQUAL(api_stats(queue).consumers, sizeof good / sizeof *good);
    IS(LQ_EINVAL, lq_consumer_open(queue, NULL, NULL, &consumer));
    IS(LQ_EINVAL, lq_consumer_open(queue, "c", NULL, NULL));
    IS(LQ_EINVAL, lq_consumer_open(NULL, "c", NULL, &consumer));
    OK(lq_close(queue));
}

static void a_consumer_that_is_not_there_is_not_found_unless_it_may_be_made(void **state)
{
    lq_queue *queue = api_open(state, NULL);
    lq_consumer *consumer = NULL;
    lq_consumer_options options = {.size = sizeof options, .flags = LQ_CONSUMER_NO_CREATE};

    IS(LQ_ENOTFOUND, lq_consumer_open(queue, "c", &options, &consumer));
    TEXT_HAS("c");
    HOLDS(consumer == NULL);
    EQUAL(api_stats(queue).consumers, 0);
    OK(lq_consumer_close(api_consumer(queue, "c", NULL)));
    OK(lq_consumer_open(queue, "c", &options, &consumer));
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
}

static void options_that_make_no_sense_are_refused(void **state)
{
    lq_queue *queue = api_open(state, NULL);
    lq_consumer *consumer = NULL;
    const size_t size = sizeof(lq_consumer_options);
    const lq_consumer_options bad[] = {
        {.size = size, .flags = 1u << 20}, {.size = size, .start = 4}, {.size = size, .start = -1},
        {.size = size, .window = 63}, {.size = size, .window = 16777217}, {.size = size, .spin_us = 1000001}, {.size = 0},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) IS(LQ_EINVAL, lq_consumer_open(queue, "c", &bad[i], &consumer));
    EQUAL(api_stats(queue).consumers, 0);
    OK(lq_close(queue));
}

static void the_window_is_fixed_when_made(void **state)
{
    lq_queue *queue = api_open(state, NULL);
    lq_consumer *consumer = api_consumer(queue, "c", &(lq_consumer_options){.window = 100}), *other = NULL;
    lq_consumer_options options = {.size = sizeof options, .window = 101};

    IS(LQ_EMISMATCH, lq_consumer_open(queue, "c", &options, &other));
    TEXT_HAS("c", "100", "101");
    options.window = 0;
    OK(lq_consumer_open(queue, "c", &options, &other));
    OK(lq_consumer_close(other));
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
    queue = api_open(state, NULL);
    EQUAL(api_consumer_stats(queue, "c").window, 100);
    options.window = 65536;
    IS(LQ_EMISMATCH, lq_consumer_open(queue, "c", &options, &other));
    OK(lq_close(queue));
}

/* ---- the window ----------------------------------------------------------- */

static void a_full_window_gives_nothing_until_its_oldest_is_settled(void **state)
{
    lq_queue *queue = api_open(state, NULL);
    lq_consumer *consumer = api_consumer(queue, "c", &(lq_consumer_options){.window = 64});
    lq_message held[64], message;
    size_t count;

    api_put_range(queue, 1, 200, 10);
    OK(lq_get_batch(consumer, held, 64, &count, 0));
    EQUAL(count, 64);
    IS(LQ_EMPTY, lq_poll(consumer, &message));
    IS(LQ_TIMEOUT, lq_get(consumer, &message, 20));
    for (int i = 1; i < 64; i++) OK(lq_ack(consumer, &held[i]));
    IS(LQ_EMPTY, lq_poll(consumer, &message)); /* the oldest still holds it */
    OK(lq_ack(consumer, &held[0]));
    api_take_range(consumer, 65, 200, 10);
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
}

struct waiter {
    lq_consumer *consumer;
    int64_t got_us;
};

static void *wait_for_one(void *context)
{
    struct waiter *waiter = context;
    lq_message message;
    OK(lq_get(waiter->consumer, &message, 10000));
    EQUAL(message.id, 65);
    waiter->got_us = api_now_us();
    return NULL;
}

static void who_waits_for_the_window_is_served_when_another_member_settles(void **state)
{
    lq_queue *queue = api_open(state, NULL);
    lq_consumer *consumer = api_consumer(queue, "c", &(lq_consumer_options){.window = 64});
    struct waiter waiter = {.consumer = api_consumer(queue, "c", NULL)};
    lq_message held[64];
    pthread_t thread;
    size_t count;

    api_put_range(queue, 1, 65, 10);
    OK(lq_get_batch(consumer, held, 64, &count, 0));
    pthread_create(&thread, NULL, wait_for_one, &waiter);
    api_sleep_ms(30);
    OK(lq_ack(consumer, &held[0]));
    int64_t acked_us = api_now_us();
    pthread_join(thread, NULL);
    api_note("a member that waited for the window was woken %lld us after the ack", (long long)(waiter.got_us - acked_us));
    OK(lq_consumer_close(waiter.consumer));
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
}

static void a_batch_is_never_larger_than_the_window(void **state)
{
    lq_queue *queue = api_open(state, NULL);
    lq_consumer *consumer = api_consumer(queue, "c", &(lq_consumer_options){.window = 64});
    lq_message *got = calloc(1000, sizeof *got);
    size_t count;

    api_put_range(queue, 1, 100, 10);
    OK(lq_get_batch(consumer, got, 1000, &count, 0));
    EQUAL(count, 64);
    free(got);
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
}

/* ---- members -------------------------------------------------------------- */

enum { MESSAGES = 3000, WORKERS = 4 };

struct shared_work {
    _Atomic uint32_t seen[MESSAGES + 1];
    _Atomic uint32_t total;
};

static void work(lq_consumer *consumer, struct shared_work *shared)
{
    lq_message message;
    uint64_t last = 0;
    while (atomic_load(&shared->total) < MESSAGES) {
        int err = lq_get(consumer, &message, 100);
        if (err == LQ_TIMEOUT) continue;
        OK(err);
        HOLDS(message.id >= 1 && message.id <= MESSAGES && message.id > last);
        last = message.id;
        HOLDS(api_is_filled(&message, 30, message.id));
        atomic_fetch_add(&shared->seen[message.id], 1);
        atomic_fetch_add(&shared->total, 1);
        OK(lq_ack(consumer, &message));
    }
}

static struct shared_work *shared_memory(void)
{
    struct shared_work *shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    HOLDS(shared != MAP_FAILED);
    return shared;
}

static void check_each_once(struct shared_work *shared)
{
    EQUAL(shared->total, MESSAGES);
    for (int i = 1; i <= MESSAGES; i++) EQUAL(shared->seen[i], 1);
    munmap(shared, sizeof *shared);
}

struct worker {
    lq_queue *queue;
    struct shared_work *shared;
};

static void *work_in_thread(void *context)
{
    struct worker *worker = context;
    lq_consumer *consumer = api_consumer(worker->queue, "c", NULL);
    work(consumer, worker->shared);
    OK(lq_consumer_close(consumer));
    return NULL;
}

static void threads_share_the_messages_out_between_them(void **state)
{
    lq_queue *queue = api_open(state, &(lq_options){.sync = LQ_SYNC_NEVER});
    struct worker worker = {queue, shared_memory()};
    pthread_t threads[WORKERS];

    OK(lq_consumer_close(api_consumer(queue, "c", NULL)));
    for (int i = 0; i < WORKERS; i++) pthread_create(&threads[i], NULL, work_in_thread, &worker);
    api_put_range(queue, 1, MESSAGES, 30);
    for (int i = 0; i < WORKERS; i++) pthread_join(threads[i], NULL);
    EQUAL(api_consumer_stats(queue, "c").floor, MESSAGES);
    check_each_once(worker.shared);
    OK(lq_close(queue));
}

static void *work_with_own_handle(void *context)
{
    struct worker *worker = context;
    lq_queue *queue;
    OK(lq_open((const char *)worker->queue, NULL, &queue));
    struct worker own = {queue, worker->shared};
    work_in_thread(&own);
    OK(lq_close(queue));
    return NULL;
}

static void two_handles_in_one_process_are_two_users_of_the_queue(void **state)
{
    lq_queue *queue = api_open(state, &(lq_options){.sync = LQ_SYNC_NEVER});
    char path[4096];
    strcpy(path, api_path(*state, "q"));
    struct worker worker = {(lq_queue *)(void *)path, shared_memory()};
    pthread_t threads[2];

    OK(lq_consumer_close(api_consumer(queue, "c", NULL)));
    for (int i = 0; i < 2; i++) pthread_create(&threads[i], NULL, work_with_own_handle, &worker);
    api_put_range(queue, 1, MESSAGES, 30);
    for (int i = 0; i < 2; i++) pthread_join(threads[i], NULL);
    EQUAL(api_stats(queue).handles, 1);
    check_each_once(worker.shared);
    OK(lq_close(queue));
}

static int work_in_process(void *context)
{
    work_with_own_handle(context);
    return 0;
}

static void processes_share_the_messages_out_between_them(void **state)
{
    char path[4096];
    strcpy(path, api_path(*state, "q"));
    struct worker worker = {(lq_queue *)(void *)path, shared_memory()};
    pid_t children[WORKERS];
    lq_queue *queue = api_open(state, &(lq_options){.sync = LQ_SYNC_NEVER});

    OK(lq_consumer_close(api_consumer(queue, "c", NULL)));
    for (int i = 0; i < WORKERS; i++) children[i] = child_start(work_in_process, &worker);
    api_put_range(queue, 1, MESSAGES, 30);
    for (int i = 0; i < WORKERS; i++) EQUAL(child_wait(children[i]), 0);
    check_each_once(worker.shared);
    OK(lq_close(queue));
}

static int take_two_and_wait(void *path)
{
    lq_queue *queue;
    lq_consumer *consumer;
    lq_message message;
    OK(lq_open(path, NULL, &queue));
    OK(lq_consumer_open(queue, "c", NULL, &consumer));
    OK(lq_get(consumer, &message, 5000));
    OK(lq_get(consumer, &message, 5000));
    api_put(queue, "ready");
    pause();
    return 0;
}

/* Whoever opens the queue next gets the place of the dead handle, and it is alive. */
static void what_a_killed_process_held_comes_to_the_others_though_its_place_is_taken(void **state)
{
    char path[4096];
    strcpy(path, api_path(*state, "q"));
    lq_queue *queue = api_open(state, NULL);
    api_put(queue, "one");
    api_put(queue, "two");
    lq_consumer *watcher = api_consumer(queue, "watcher", &(lq_consumer_options){.start = LQ_START_END});
    lq_consumer *consumer = api_consumer(queue, "c", NULL);
    pid_t child = child_start(take_two_and_wait, path);
    api_get_ack(watcher, "ready");
    api_get_ack(consumer, "ready");
    child_kill(child);
    lq_queue *others[5];
    for (int i = 0; i < 5; i++) others[i] = api_open(state, NULL);
    api_get_ack(consumer, "one");
    api_get_ack(consumer, "two");
    for (int i = 0; i < 5; i++) OK(lq_close(others[i]));
    OK(lq_consumer_close(watcher));
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
}

static void what_a_killed_process_held_comes_to_the_others_with_its_attempt_counted(void **state)
{
    char path[4096];
    strcpy(path, api_path(*state, "q"));
    lq_queue *queue = api_open(state, NULL);
    lq_message message;

    api_put(queue, "one");
    api_put(queue, "two");
    lq_consumer *watcher = api_consumer(queue, "watcher", &(lq_consumer_options){.start = LQ_START_END});
    lq_consumer *consumer = api_consumer(queue, "c", NULL);
    pid_t child = child_start(take_two_and_wait, path);
    api_get_ack(watcher, "ready");
    api_get_ack(consumer, "ready");
    IS(LQ_EMPTY, lq_poll(consumer, &message));
    EQUAL(api_consumer_stats(queue, "c").unacked, 2);
    child_kill(child);
    int64_t killed_us = api_now_us();
    message = api_get(consumer, "one");
    api_note("a message of a killed process came %lld us after its death", (long long)(api_now_us() - killed_us));
    EQUAL(message.attempts, 2);
    OK(lq_ack(consumer, &message));
    message = api_get(consumer, "two");
    EQUAL(message.attempts, 2);
    OK(lq_ack(consumer, &message));
    EQUAL(api_consumer_stats(queue, "c").members, 1);
    OK(lq_consumer_close(watcher));
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
}

static void there_is_a_limit_of_members_and_the_next_one_is_told(void **state)
{
    lq_queue *queue = api_open(state, NULL);
    lq_consumer *members[300], *more = NULL;
    int count = 0, err = LQ_OK;

    while (count < 300 && (err = lq_consumer_open(queue, "c", NULL, &members[count])) == LQ_OK) count++;
    IS(LQ_ELIMIT, err);
    EQUAL(count, 256);
    EQUAL(api_consumer_stats(queue, "c").members, 256);
    OK(lq_consumer_close(members[100]));
    OK(lq_consumer_open(queue, "c", NULL, &more));
    OK(lq_consumer_close(more));
    for (int i = 0; i < count; i++)
        if (i != 100) OK(lq_consumer_close(members[i]));
    EQUAL(api_consumer_stats(queue, "c").members, 0);
    OK(lq_close(queue));
}

static void there_is_a_limit_of_consumers_and_the_next_one_is_told(void **state)
{
    lq_queue *queue = api_open(state, &(lq_options){.sync = LQ_SYNC_NEVER});
    lq_consumer_options options = {.size = sizeof options, .window = 64};
    lq_consumer *consumer = NULL;
    char name[20];

    for (int i = 0; i < 256; i++) {
        snprintf(name, sizeof name, "c%d", i);
        OK(lq_consumer_open(queue, name, &options, &consumer));
        OK(lq_consumer_close(consumer));
    }
    IS(LQ_ELIMIT, lq_consumer_open(queue, "one-more", &options, &consumer));
    HOLDS(!api_file_exists(api_path(*state, "q/consumers/one-more.pos")));
    OK(lq_consumer_delete(queue, "c17"));
    OK(lq_consumer_open(queue, "one-more", &options, &consumer));
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
}

/* ---- deleting --------------------------------------------------------------- */

static void a_deleted_consumer_begins_anew(void **state)
{
    lq_queue *queue = api_open(state, NULL);
    lq_consumer *consumer = api_consumer(queue, "c", &(lq_consumer_options){.window = 100});

    api_put_range(queue, 1, 10, 20);
    api_take_range(consumer, 1, 6, 20);
    IS(LQ_EBUSY, lq_consumer_delete(queue, "c"));
    api_take_range(consumer, 7, 7, 20);
    OK(lq_consumer_close(consumer));
    OK(lq_consumer_delete(queue, "c"));
    HOLDS(!api_file_exists(api_path(*state, "q/consumers/c.pos")));
    IS(LQ_ENOTFOUND, lq_consumer_delete(queue, "c"));
    IS(LQ_ENOTFOUND, lq_get_consumer_stats(queue, "c", &(lq_consumer_stats){.size = sizeof(lq_consumer_stats)}));
    consumer = api_consumer(queue, "c", &(lq_consumer_options){.window = 200});
    lq_message message;
    OK(lq_poll(consumer, &message));
    EQUAL(message.id, 1);
    EQUAL(message.attempts, 1);
    OK(lq_ack(consumer, &message));
    api_take_range(consumer, 2, 10, 20);
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
}

static void a_consumer_whose_members_were_killed_can_be_deleted(void **state)
{
    char path[4096];
    strcpy(path, api_path(*state, "q"));
    lq_queue *queue = api_open(state, NULL);

    api_put(queue, "one");
    api_put(queue, "two");
    lq_consumer *watcher = api_consumer(queue, "watcher", &(lq_consumer_options){.start = LQ_START_END});
    pid_t child = child_start(take_two_and_wait, path);
    api_get_ack(watcher, "ready");
    IS(LQ_EBUSY, lq_consumer_delete(queue, "c"));
    child_kill(child);
    OK(lq_consumer_delete(queue, "c"));
    OK(lq_consumer_close(watcher));
    OK(lq_close(queue));
}

static void a_queue_with_open_consumers_is_not_closed(void **state)
{
    lq_queue *queue = api_open(state, NULL);
    lq_consumer *consumer = api_consumer(queue, "c", NULL);

    IS(LQ_EINVAL, lq_close(queue));
    api_put(queue, "still works");
    api_get_ack(consumer, "still works");
    OK(lq_consumer_close(consumer));
    lq_reader *reader;
    OK(lq_reader_open(queue, &reader));
    IS(LQ_EINVAL, lq_close(queue));
    lq_reader_close(reader);
    OK(lq_close(queue));
    OK(lq_close(NULL));
    OK(lq_consumer_close(NULL));
    lq_reader_close(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_DIRECTORY(a_new_consumer_begins_where_it_was_told),
        IN_DIRECTORY(the_start_counts_only_when_the_consumer_is_made),
        IN_DIRECTORY(a_position_is_kept_through_restarts),
        IN_DIRECTORY(a_name_is_of_few_characters_only),
        IN_DIRECTORY(a_consumer_that_is_not_there_is_not_found_unless_it_may_be_made),
        IN_DIRECTORY(options_that_make_no_sense_are_refused),
        IN_DIRECTORY(the_window_is_fixed_when_made),
        IN_DIRECTORY(a_full_window_gives_nothing_until_its_oldest_is_settled),
        IN_DIRECTORY(who_waits_for_the_window_is_served_when_another_member_settles),
        IN_DIRECTORY(a_batch_is_never_larger_than_the_window),
        IN_DIRECTORY(threads_share_the_messages_out_between_them),
        IN_DIRECTORY(two_handles_in_one_process_are_two_users_of_the_queue),
        IN_DIRECTORY(processes_share_the_messages_out_between_them),
        IN_DIRECTORY(what_a_killed_process_held_comes_to_the_others_with_its_attempt_counted),
        IN_DIRECTORY(what_a_killed_process_held_comes_to_the_others_though_its_place_is_taken),
        IN_DIRECTORY(there_is_a_limit_of_members_and_the_next_one_is_told),
        IN_DIRECTORY(there_is_a_limit_of_consumers_and_the_next_one_is_told),
        IN_DIRECTORY(a_deleted_consumer_begins_anew),
        IN_DIRECTORY(a_consumer_whose_members_were_killed_can_be_deleted),
        IN_DIRECTORY(a_queue_with_open_consumers_is_not_closed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
