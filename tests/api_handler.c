/* What a handler may do while it runs: to its own consumer, to others, and to the queue. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "support/api.h"
#include "support/seen.h"

static int take_myself_away(void *context, int code, const lq_message *message)
{
    struct seen *seen = context;
    (void)message;
    EQUAL(code, 0);
    OK(lq_notify(seen->consumer, NULL, NULL));
    atomic_fetch_add(&seen->calls, 1);
    api_sleep_ms(50); /* somebody may close the consumer meanwhile */
    return LQ_SETTLE_ACK;
}

static void a_handler_may_take_itself_away(void **state)
{
    lq_queue *queue = api_open(state, NULL);
    struct seen seen = {.consumer = api_consumer(queue, "c", NULL)};

    api_put(queue, "a");
    api_put(queue, "b");
    OK(lq_notify(seen.consumer, take_myself_away, &seen));
    HOLDS(seen_calls(&seen, 1));
    OK(lq_consumer_close(seen.consumer)); /* which waits for it to end */
    EQUAL(seen.calls, 1);
    EQUAL(api_consumer_stats(queue, "c").floor, 1);
    OK(lq_close(queue));
}

static int hand_over(void *context, int code, const lq_message *message)
{
    struct seen *seen = context;
    (void)message;
    EQUAL(code, 0);
    OK(lq_notify(seen->consumer, seen_note, context));
    return LQ_SETTLE_ACK;
}

static void a_handler_may_replace_itself(void **state)
{
    lq_queue *queue = api_open(state, NULL);
    struct seen seen = {.consumer = api_consumer(queue, "c", NULL)};

    for (int i = 0; i < 5; i++) api_put(queue, "a");
    OK(lq_notify(seen.consumer, hand_over, &seen));
    HOLDS(seen_calls(&seen, 4));
    OK(lq_notify(seen.consumer, NULL, NULL));
    EQUAL(api_consumer_stats(queue, "c").floor, 5);
    OK(lq_consumer_close(seen.consumer));
    OK(lq_close(queue));
}

static int close_it(void *context, int code, const lq_message *message)
{
    struct seen *seen = context;
    (void)code;
    (void)message;
    IS(LQ_EINVAL, lq_consumer_close(seen->consumer));
    atomic_fetch_add(&seen->calls, 1);
    return LQ_SETTLE_ACK;
}

static void a_handler_cannot_close_its_own_consumer(void **state)
{
    lq_queue *queue = api_open(state, NULL);
    struct seen seen = {.consumer = api_consumer(queue, "c", NULL)};

    api_put(queue, "a");
    OK(lq_notify(seen.consumer, close_it, &seen));
    HOLDS(seen_calls(&seen, 1));
    OK(lq_consumer_close(seen.consumer));
    OK(lq_close(queue));
}

static int dispatch_it(void *context, int code, const lq_message *message)
{
    struct seen *seen = context;
    size_t count;
    (void)message;
    EQUAL(code, 0);
    IS(LQ_EINVAL, lq_dispatch(seen->consumer, 10, &count));
    IS(LQ_EINVAL, lq_consumer_close(seen->consumer));
    HOLDS(lq_fd(seen->consumer) >= 3);
    atomic_fetch_add(&seen->calls, 1);
    return LQ_SETTLE_ACK;
}

static void a_dispatched_handler_cannot_dispatch_or_close_its_own_consumer(void **state)
{
    lq_queue *queue = api_open(state, NULL);
    struct seen seen = {.consumer = api_consumer(queue, "c", &(lq_consumer_options){.flags = LQ_CONSUMER_DISPATCH})};
    size_t count;

    api_put_range(queue, 1, 3, 20);
    OK(lq_notify(seen.consumer, dispatch_it, &seen));
    OK(lq_dispatch(seen.consumer, 2, &count));
    EQUAL(count, 2);
    EQUAL(seen.calls, 2);
    OK(lq_consumer_close(seen.consumer));
    OK(lq_close(queue));
}

static int put_an_answer(void *context, int code, const lq_message *message)
{
    struct seen *seen = context;
    (void)message;
    EQUAL(code, 0);
    if (atomic_fetch_add(&seen->calls, 1) < 9) api_put((lq_queue *)(void *)seen->consumer, "again");
    return LQ_SETTLE_ACK;
}

static void a_handler_may_put_into_its_own_queue(void **state)
{
    lq_queue *queue = api_open(state, NULL);
    lq_consumer *consumer = api_consumer(queue, "c", NULL);
    struct seen seen = {.consumer = (lq_consumer *)(void *)queue};

    OK(lq_notify(consumer, put_an_answer, &seen));
    api_put(queue, "first");
    HOLDS(seen_calls(&seen, 10));
    OK(lq_consumer_close(consumer));
    EQUAL(api_stats(queue).last_id, 10);
    OK(lq_close(queue));
}

static void a_dispatched_handler_may_take_itself_away(void **state)
{
    lq_queue *queue = api_open(state, NULL);
    struct seen seen = {.consumer = api_consumer(queue, "c", &(lq_consumer_options){.flags = LQ_CONSUMER_DISPATCH})};
    size_t count;

    api_put(queue, "a");
    api_put(queue, "b");
    OK(lq_notify(seen.consumer, take_myself_away, &seen));
    OK(lq_dispatch(seen.consumer, 10, &count));
    EQUAL(count, 1);
    api_get_ack(seen.consumer, "b");
    OK(lq_consumer_close(seen.consumer));
    OK(lq_close(queue));
}

/* Gives the message back itself, the first time, and then says that it is done: which it is not. */
static int release_and_ack(void *context, int code, const lq_message *message)
{
    struct seen *seen = context;
    HOLDS(code == LQ_OK);
    if (message->id == 2 && atomic_load(&seen->errors) == 0) {
        atomic_fetch_add(&seen->errors, 1);
        OK(lq_release(seen->consumer, message));
    }
    atomic_fetch_add(&seen->calls, 1);
    return LQ_SETTLE_ACK;
}

static void an_answer_about_a_message_given_back_does_not_end_delivery(void **state)
{
    for (int dispatched = 0; dispatched < 2; dispatched++) {
        lq_queue *queue = api_open(state, NULL);
        lq_consumer *consumer = api_consumer(queue, dispatched ? "d" : "c", &(lq_consumer_options){.flags = dispatched ? LQ_CONSUMER_DISPATCH : 0});
        struct seen seen = {.consumer = consumer};
        size_t count = 0;
        if (!dispatched) api_put_range(queue, 1, 3, 20);
        OK(lq_notify(consumer, release_and_ack, &seen));
        if (dispatched) OK(lq_dispatch(consumer, 10, &count));
        HOLDS(seen_calls(&seen, 4)); /* number 2 twice */
        OK(lq_notify(consumer, NULL, NULL));
        EQUAL(atomic_load(&seen.calls), 4);
        EQUAL(api_consumer_stats(queue, dispatched ? "d" : "c").floor, 3);
        OK(lq_consumer_close(consumer));
        OK(lq_close(queue));
    }
}

/* In its own handler, taken away just before, there is no descriptor to be had: the thread is still in it. */
static int leave_and_ask(void *context, int code, const lq_message *message)
{
    struct seen *seen = context;
    (void)message;
    HOLDS(code == LQ_OK);
    OK(lq_notify(seen->consumer, NULL, NULL));
    IS(LQ_EINVAL, lq_fd(seen->consumer));
    atomic_fetch_add(&seen->calls, 1);
    return LQ_SETTLE_ACK;
}

static void a_handler_that_has_left_has_no_descriptor_before_it_returns(void **state)
{
    lq_queue *queue = api_open(state, NULL);
    lq_consumer *consumer = api_consumer(queue, "c", NULL);
    struct seen seen = {.consumer = consumer};
    api_put_range(queue, 1, 3, 20);
    OK(lq_notify(consumer, leave_and_ask, &seen));
    HOLDS(seen_calls(&seen, 1));
    api_sleep_ms(60);
    EQUAL(atomic_load(&seen.calls), 1);
    HOLDS(lq_fd(consumer) >= 3);
    api_take_range(consumer, 2, 3, 20);
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
}

/* One that closes what others need, in each way. */
static struct {
    lq_queue *own_queue, *other_queue;
    lq_consumer *own, *sibling, *stranger;
    _Atomic uint32_t done;
} cleaner;

static int clean_up(void *context, int code, const lq_message *message)
{
    (void)context;
    HOLDS(code == LQ_OK && message);
    if (atomic_load(&cleaner.done)) return LQ_SETTLE_ACK;
    IS(LQ_EINVAL, lq_close(cleaner.own_queue)); /* it has consumers, this one at least */
    OK(lq_consumer_close(cleaner.sibling));     /* of the same queue, and with a handler */
    OK(lq_consumer_close(cleaner.stranger));    /* of another one */
    OK(lq_close(cleaner.other_queue));
    lq_consumer *fresh = api_consumer(cleaner.own_queue, "fresh", NULL);
    OK(lq_consumer_close(fresh));
    atomic_store(&cleaner.done, 1);
    return LQ_SETTLE_ACK;
}

static void a_handler_may_close_other_consumers_and_queues(void **state)
{
    struct seen sibling = {0}, stranger = {0};
    memset(&cleaner, 0, sizeof cleaner);
    cleaner.own_queue = api_open(state, NULL);
    OK(lq_open(api_path(*state, "other"), &(lq_options){.size = sizeof(lq_options), .sync = LQ_SYNC_INTERVAL, .sync_interval_ms = 1}, &cleaner.other_queue));
    cleaner.own = api_consumer(cleaner.own_queue, "own", NULL);
    cleaner.sibling = api_consumer(cleaner.own_queue, "sibling", NULL);
    cleaner.stranger = api_consumer(cleaner.other_queue, "stranger", NULL);
    OK(lq_notify(cleaner.sibling, seen_note, &sibling));
    OK(lq_notify(cleaner.stranger, seen_note, &stranger));
    OK(lq_notify(cleaner.own, clean_up, NULL));
    api_put(cleaner.own_queue, "go");
    for (int waits = 0; waits < 10000 && !atomic_load(&cleaner.done); waits++) api_sleep_ms(1);
    EQUAL(atomic_load(&cleaner.done), 1);
    uint32_t calls = atomic_load(&sibling.calls);
    HOLDS(calls <= 1);
    api_put(cleaner.own_queue, "more");
    for (int waits = 0; waits < 10000 && api_consumer_stats(cleaner.own_queue, "own").floor < 2; waits++) api_sleep_ms(1);
    EQUAL(api_consumer_stats(cleaner.own_queue, "own").floor, 2);
    EQUAL(atomic_load(&sibling.calls), calls);
    EQUAL(atomic_load(&stranger.calls), 0);
    OK(lq_consumer_close(cleaner.own));
    OK(lq_close(cleaner.own_queue));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_DIRECTORY(a_handler_may_take_itself_away),
        IN_DIRECTORY(a_handler_may_replace_itself),
        IN_DIRECTORY(a_handler_cannot_close_its_own_consumer),
        IN_DIRECTORY(a_dispatched_handler_cannot_dispatch_or_close_its_own_consumer),
        IN_DIRECTORY(a_handler_may_put_into_its_own_queue),
        IN_DIRECTORY(a_dispatched_handler_may_take_itself_away),
        IN_DIRECTORY(an_answer_about_a_message_given_back_does_not_end_delivery),
        IN_DIRECTORY(a_handler_that_has_left_has_no_descriptor_before_it_returns),
        IN_DIRECTORY(a_handler_may_close_other_consumers_and_queues),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
