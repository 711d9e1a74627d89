/* What the service thread does for a consumer, one step at a time: here the test is the thread. */
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "consumer.h"
#include "flag.h"
#include "support/api.h"
#include "support/child.h"

enum { BATCH = 64 }; /* messages in one step */

static lq_queue *queue;
static lq_consumer *consumer;

static int set_up(void **state)
{
    if (api_setup(state)) return -1;
    queue = api_open(state, &(lq_options){.sync = LQ_SYNC_NEVER});
    consumer = api_consumer(queue, "c", NULL);
    return 0;
}

static int tear_down(void **state)
{
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
    return api_teardown(state);
}

static int64_t step(void)
{
    return consumer->notify.task.step(consumer->notify.task.context);
}

/* ---- the handler ------------------------------------------------------------ */

static struct {
    uint64_t count, last_id, at; /* when it has so many, it does what it is to do */
    int answer;
    enum { NOTHING, IS_REMOVED, TAKES_ITSELF_AWAY, FORKS } does;
    bool was_in_handler;
} seen;

static int handle(void *context, int code, const lq_message *message)
{
    EQUAL((uintptr_t)context, (uintptr_t)&seen);
    EQUAL(code, LQ_OK);
    seen.was_in_handler = lqi_in_own_handler(consumer);
    seen.last_id = message->id;
    if (++seen.count == seen.at) {
        if (seen.does == IS_REMOVED) consumer->notify.task.removed = true;
        if (seen.does == TAKES_ITSELF_AWAY) OK(lq_notify(consumer, NULL, NULL));
        if (seen.does == FORKS) atomic_store(&queue->forkable.forked, 1);
    }
    return seen.answer;
}

static void have_handler(int answer)
{
    memset(&seen, 0, sizeof seen);
    seen.answer = answer;
    consumer->notify.handler = handle;
    consumer->notify.context = &seen;
    consumer->notify.task.removed = false;
}

static void is_due_in_50_ms(int64_t due, int64_t from)
{
    HOLDS(due >= from + 50000 && due <= lqi_now_us() + 50000);
}

static void a_step_handles_so_many_messages_and_lets_the_others_have_theirs(void **state)
{
    (void)state;
    have_handler(LQ_SETTLE_ACK);
    api_put_range(queue, 1, BATCH + 36, 10);
    HOLDS(step() <= lqi_now_us()); /* at once, but after the others */
    EQUAL(seen.count, BATCH);
    HOLDS(seen.was_in_handler && !lqi_in_own_handler(consumer));
    int64_t from = lqi_now_us();
    is_due_in_50_ms(step(), from);
    EQUAL(seen.count, BATCH + 36);
    EQUAL(api_consumer_stats(queue, "c").floor, BATCH + 36);
}

static void what_the_handler_answers_is_done_with_that_message_alone(void **state)
{
    static const int answers[] = {LQ_SETTLE_ACK, LQ_SETTLE_RELEASE, 77};
    (void)state;
    api_put_range(queue, 1, 3, 10);
    for (size_t i = 0; i < 3; i++) {
        have_handler(answers[i]);
        seen.at = 1;
        seen.does = IS_REMOVED; /* after one */
        (void)step();
        EQUAL(seen.count, 1);
        EQUAL(seen.last_id, i ? 2 : 1); /* what is given back comes again */
        lq_consumer_stats stats = api_consumer_stats(queue, "c");
        EQUAL(stats.floor, 1);
        EQUAL(stats.unacked, i == 2 ? 1 : 0);
    }
}

static void a_step_ends_when_the_task_is_removed(void **state)
{
    (void)state;
    have_handler(LQ_SETTLE_ACK);
    seen.at = 3;
    seen.does = IS_REMOVED;
    api_put_range(queue, 1, 10, 10);
    (void)step();
    EQUAL(seen.count, 3);
    (void)step();
    EQUAL(seen.count, 3);
}

static void a_task_whose_handler_has_taken_itself_away_listens_to_nothing_any_more(void **state)
{
    (void)state;
    have_handler(LQ_SETTLE_ACK);
    seen.at = 2;
    seen.does = TAKES_ITSELF_AWAY;
    consumer->notify.in_handler = 0;
    api_put_range(queue, 1, 10, 10);
    HOLDS(step() == INT64_MAX);
    EQUAL(seen.count, 2);
    HOLDS(atomic_load(&consumer->notify.task.deaf));
    HOLDS(step() == INT64_MAX);
    EQUAL(seen.count, 2);
}

/* It returns in the child, too; the message is the parent's. */
static void what_a_handler_answers_in_a_child_settles_nothing(void **state)
{
    (void)state;
    have_handler(LQ_SETTLE_ACK);
    seen.at = 1;
    seen.does = FORKS;
    api_put_range(queue, 1, 3, 10);
    HOLDS(step() == INT64_MAX);
    atomic_store(&queue->forkable.forked, 0); /* in the parent again */
    EQUAL(seen.count, 1);
    EQUAL(api_consumer_stats(queue, "c").floor, 0);
    EQUAL(api_consumer_stats(queue, "c").unacked, 1);
}

/* ---- the descriptor ------------------------------------------------------------ */

static bool is_readable(void)
{
    return poll(&(struct pollfd){.fd = atomic_load(&consumer->notify.fd), .events = POLLIN}, 1, 0) == 1;
}

/* As lq_fd() would give it, without the thread. */
static void have_descriptor(void)
{
    int fd;
    OK(lqi_flag_open(&fd));
    atomic_store(&consumer->notify.fd, fd);
}

static void a_descriptor_is_raised_when_there_is_something_and_lowered_when_nothing_was_taken(void **state)
{
    lq_message message;
    (void)state;
    have_descriptor();
    IS(LQ_EMPTY, lq_poll(consumer, &message)); /* as long as nobody has looked there might be something */
    for (int i = 0; i < 3; i++) {
        int64_t from = lqi_now_us();
        is_due_in_50_ms(step(), from);
        HOLDS(!is_readable() && !atomic_load(&consumer->notify.raised) && !atomic_load(&consumer->notify.task.deaf));
        api_put(queue, "x");
        HOLDS(step() == INT64_MAX);
        HOLDS(is_readable() && atomic_load(&consumer->notify.task.deaf)); /* a busy consumer costs no wake-ups */
        HOLDS(step() == INT64_MAX);
        OK(lq_poll(consumer, &message));
        OK(lq_ack(consumer, &message));
        HOLDS(step() == INT64_MAX); /* the consumer has not seen yet that there is nothing more */
        HOLDS(is_readable());
        IS(LQ_EMPTY, lq_poll(consumer, &message));
        HOLDS(!is_readable() && !atomic_load(&consumer->notify.raised) && !atomic_load(&consumer->notify.task.deaf));
    }
}

static void a_descriptor_rests_a_millisecond_when_what_is_there_could_not_be_had(void **state)
{
    (void)state;
    have_descriptor();
    api_put(queue, "x");
    HOLDS(step() == INT64_MAX);
    consumer->busy_since_us = 1;
    int64_t from = lqi_now_us();
    lqi_notify_empty(consumer);
    int64_t rest = atomic_load(&consumer->notify.rest_until_us);
    HOLDS(rest >= from + 1000 && rest <= lqi_now_us() + 1000);
    atomic_store(&consumer->notify.rest_until_us, lqi_now_us() + 3600000000); /* a long millisecond */
    HOLDS(step() == atomic_load(&consumer->notify.rest_until_us));
    HOLDS(!is_readable());
    atomic_store(&consumer->notify.rest_until_us, lqi_now_us());
    HOLDS(step() == INT64_MAX);
    HOLDS(is_readable());
    consumer->busy_since_us = 0;
    lqi_notify_empty(consumer);
    EQUAL(atomic_load(&consumer->notify.rest_until_us), 0);
}

static void a_descriptor_stays_readable_while_something_is_owed(void **state)
{
    (void)state;
    have_descriptor();
    lqi_notify_empty(consumer); /* of one that is low: nothing */
    api_put(queue, "x");
    HOLDS(step() == INT64_MAX);
    consumer->owed.id = 1;
    lqi_notify_empty(consumer);
    HOLDS(is_readable() && atomic_load(&consumer->notify.raised));
    consumer->owed.id = 0;
    lqi_notify_empty(consumer);
    HOLDS(!is_readable());
}

/* Whoever has put them may have died before the sync that makes them visible. */
static void what_nobody_has_made_durable_yet_is_made_so_and_raises_the_descriptor(void **state)
{
    lq_queue *always = NULL;
    (void)state;
    OK(lq_consumer_close(consumer));
    OK(lq_open(api_path(*state, "always"), &(lq_options){.size = sizeof(lq_options), .flags = LQ_DEFER_SYNC}, &always));
    consumer = api_consumer(always, "c", NULL);
    have_descriptor();
    lq_message message;
    IS(LQ_EMPTY, lq_poll(consumer, &message));
    api_put(always, "x");
    HOLDS(step() == INT64_MAX);
    HOLDS(is_readable());
    api_get_ack(consumer, "x");
    OK(lq_consumer_close(consumer));
    OK(lq_close(always));
    consumer = api_consumer(queue, "c", NULL);
}

static int take_and_die(void *context)
{
    lq_queue *own;
    lq_consumer *member;
    lq_message message;
    OK(lq_open(context, NULL, &own));
    OK(lq_consumer_open(own, "c", NULL, &member));
    OK(lq_get(member, &message, 1000));
    return 0;
}

static void what_a_dead_member_had_raises_the_descriptor_of_another(void **state)
{
    (void)state;
    have_descriptor();
    api_put(queue, "x");
    EQUAL(child_run(take_and_die, (void *)(uintptr_t)api_path(*state, "q")), 0);
    EQUAL(api_consumer_stats(queue, "c").delivered, 1);
    consumer->slot->reaped_us = 0; /* nobody has looked for a while */
    lqi_lock_limit(1234);
    HOLDS(step() == INT64_MAX);
    EQUAL(lqi_lock_limit(LQI_LOCK_UNLIMITED), 1234);
    HOLDS(is_readable());
    api_get_ack(consumer, "x");
}

/* The thread is everybody's. */
static void a_step_does_not_wait_for_who_has_the_consumers_lock(void **state)
{
    lq_message message;
    (void)state;
    have_descriptor();
    api_put_range(queue, 1, 1, 10);
    OK(lq_get(consumer, &message, 0));
    EQUAL(lqi_lock(&consumer->slot->lock, "a test"), LQI_LOCKED);
    int64_t from = lqi_now_us();
    (void)step();
    HOLDS(lqi_now_us() - from < 5000000);
    HOLDS(!is_readable());
    lqi_unlock(&consumer->slot->lock);
    OK(lq_ack(consumer, &message));
}

/* ---- the verbs ------------------------------------------------------------------ */

static void without_a_consumer_there_is_nobody_to_tell(void **state)
{
    (void)state;
    size_t count = 77;
    IS(LQ_EINVAL, lq_fd(NULL));
    IS(LQ_EINVAL, lq_notify(NULL, handle, &seen));
    IS(LQ_EINVAL, lq_dispatch(NULL, 1, &count));
    EQUAL(count, 77);
    EQUAL((uintptr_t)consumer->notify.task.bell, (uintptr_t)&queue->log.state->arrived); /* which PUT rings */
}

static void a_consumer_has_a_handler_or_a_descriptor_unless_it_is_dispatched(void **state)
{
    const lq_consumer_options dispatched = {.size = sizeof dispatched, .flags = LQ_CONSUMER_DISPATCH};
    size_t count;
    (void)state;
    have_descriptor();
    IS(LQ_EINVAL, lq_notify(consumer, handle, &seen));
    TEXT_HAS("has a descriptor", "LQ_CONSUMER_DISPATCH");
    IS(LQ_EINVAL, lq_dispatch(consumer, 1, NULL));
    consumer->notify.handler = handle;
    IS(LQ_EINVAL, lq_dispatch(consumer, 1, NULL));
    TEXT_HAS("LQ_CONSUMER_DISPATCH", "handler");
    consumer->notify.handler = NULL;
    OK(lq_consumer_close(consumer));

    consumer = api_consumer(queue, "d", &dispatched);
    have_descriptor();
    IS(LQ_EINVAL, lq_dispatch(consumer, 1, NULL)); /* it has none yet */
    have_handler(LQ_SETTLE_ACK);
    OK(lq_notify(consumer, handle, &seen));
    api_put(queue, "x");
    HOLDS(step() == INT64_MAX);
    HOLDS(is_readable());
    OK(lq_dispatch(consumer, 10, &count));
    EQUAL(count, 1);
    EQUAL(seen.count, 1);
    HOLDS(!is_readable()); /* it has seen that there is nothing more */
    IS(LQ_EMPTY, lq_dispatch(consumer, 10, &count));
    EQUAL(count, 0);
}

/* ---- the thread ------------------------------------------------------------- */

static _Atomic unsigned steps;

static int64_t count_step(void *context)
{
    (void)context;
    atomic_fetch_add(&steps, 1);
    return INT64_MAX;
}

/* Nor does it take its lock, which a fork holds only where there has been a task: a child would never get it. */
static void who_closes_a_consumer_that_has_none_leaves_the_thread_alone(void **state)
{
    static struct lqi_task counted = {.step = count_step}; /* the thread still has it when this fails */
    (void)state;
    OK(lqi_service_add(&counted));
    while (atomic_load(&steps) == 0) api_sleep_ms(1);
    api_sleep_ms(20);
    unsigned before = atomic_load(&steps);
    for (int i = 0; i < 20; i++) {
        OK(lq_consumer_close(api_consumer(queue, "other", NULL)));
        api_sleep_ms(1);
    }
    EQUAL(atomic_load(&steps), before);
    lqi_service_kick();
    while (atomic_load(&steps) == before) api_sleep_ms(1); /* it can be noticed */
    lqi_service_remove(&counted);
}

int main(void)
{
#define WITH_CONSUMER(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        WITH_CONSUMER(a_step_handles_so_many_messages_and_lets_the_others_have_theirs),
        WITH_CONSUMER(what_the_handler_answers_is_done_with_that_message_alone),
        WITH_CONSUMER(a_step_ends_when_the_task_is_removed),
        WITH_CONSUMER(a_task_whose_handler_has_taken_itself_away_listens_to_nothing_any_more),
        WITH_CONSUMER(what_a_handler_answers_in_a_child_settles_nothing),
        WITH_CONSUMER(a_descriptor_is_raised_when_there_is_something_and_lowered_when_nothing_was_taken),
        WITH_CONSUMER(a_descriptor_rests_a_millisecond_when_what_is_there_could_not_be_had),
        WITH_CONSUMER(a_descriptor_stays_readable_while_something_is_owed),
        WITH_CONSUMER(what_nobody_has_made_durable_yet_is_made_so_and_raises_the_descriptor),
        WITH_CONSUMER(what_a_dead_member_had_raises_the_descriptor_of_another),
        WITH_CONSUMER(a_step_does_not_wait_for_who_has_the_consumers_lock),
        WITH_CONSUMER(without_a_consumer_there_is_nobody_to_tell),
        WITH_CONSUMER(a_consumer_has_a_handler_or_a_descriptor_unless_it_is_dispatched),
        WITH_CONSUMER(who_closes_a_consumer_that_has_none_leaves_the_thread_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
