/* Handlers and errors: what GET would have said is told to the handler, once; damage does not end delivery, and what does
 * ends it until a handler is set anew. */
#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "queue.h"
#include "support/api.h"
#include "support/damage.h"
#include "support/io_fault.h"
#include "support/libc_fault.h"

enum { COUNT = 700, SIZE = 1000 };

static struct io_fault fault;
static char path[4096];
static lq_queue *queue;
static lq_consumer *consumer;

/* More messages than are in the ring, so that the oldest are read from their file; message 2 may be damaged there. */
static void begin(void **state, uint32_t flags, bool damaged)
{
    lq_options options = {.size = sizeof options, .segment_size = 1 << 20, .ring_size = 64 << 10, .sync = LQ_SYNC_NEVER};
    lq_consumer_options how = {.size = sizeof how, .flags = flags};
    io_fault_init(&fault, &lqi_io_posix);
    snprintf(path, sizeof path, "%s", api_path(*state, "q"));
    OK(lqi_open_io(&fault.io, path, &options, &queue));
    OK(lq_consumer_open(queue, "c", &how, &consumer));
    api_put_range(queue, 1, COUNT, SIZE);
    OK(lq_sync(queue));
    if (!damaged) return;
    struct damage_place place = damage_find(path, 2);
    damage_fill(place.path, place.offset + LQI_RECORD_HEADER, 8, 1);
}

static void end(void)
{
    io_fault_end(&fault);
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
    io_fault_release(&fault);
}

static struct {
    _Atomic uint64_t messages, errors, others, last_id, first_error_after;
    _Atomic int code;
    bool sets_itself_anew, settles_itself;
} seen;

static int note(void *context, int code, const lq_message *message)
{
    (void)context;
    if (code) {
        atomic_store(&seen.code, code);
        atomic_store(&seen.first_error_after, atomic_load(&seen.last_id));
        HOLDS(!message && *lq_error_text());
        io_fault_end(&fault);
        if (seen.sets_itself_anew) OK(lq_notify(consumer, note, NULL));
        atomic_fetch_add(&seen.errors, 1);
        return LQ_SETTLE_ACK;
    }
    if (seen.settles_itself) OK(lq_ack(consumer, message));
    if (seen.settles_itself) {
        OK(lq_notify(consumer, note, NULL)); /* it is no reason to end, whoever is set */
        seen.settles_itself = false;
    }
    atomic_store(&seen.last_id, message->id);
    atomic_fetch_add(&seen.messages, 1);
    return LQ_SETTLE_ACK;
}

static int note_other(void *context, int code, const lq_message *message)
{
    (void)context, (void)code, (void)message;
    atomic_fetch_add(&seen.others, 1);
    return LQ_SETTLE_ACK;
}

static bool reaches(_Atomic uint64_t *count, uint64_t value)
{
    for (int i = 0; i < 10000 && atomic_load(count) < value; i++) api_sleep_ms(1);
    return atomic_load(count) >= value;
}

/* GET in one go stops before what is damaged, and the next call tells of it, whichever that is. */
static void damage_behind_a_batch(void **state, uint32_t flags)
{
    lq_message messages[10];
    size_t count;
    memset(&seen, 0, sizeof seen);
    begin(state, flags, true);
    OK(lq_get_batch(consumer, messages, 10, &count, 0));
    EQUAL(count, 1);
    OK(lq_ack(consumer, &messages[0]));
    OK(lq_notify(consumer, note, NULL));
    if (flags) {
        OK(lq_dispatch(consumer, 3, &count));
        EQUAL(count, 3);
        EQUAL(seen.last_id, 4);
        OK(lq_dispatch(consumer, COUNT, &count));
        EQUAL(count, COUNT - 4);
        IS(LQ_EMPTY, lq_dispatch(consumer, COUNT, &count));
        EQUAL(count, 0);
    }
    HOLDS(reaches(&seen.messages, COUNT - 2));
    EQUAL(seen.errors, 1);
    EQUAL(seen.code, LQ_ECORRUPT);
    EQUAL(seen.first_error_after, 0);
    end();
}

static void damage_behind_a_batch_is_told_to_the_handler_that_is_set_then(void **state)
{
    damage_behind_a_batch(state, 0);
}

static void damage_behind_a_batch_is_told_by_the_dispatch_that_comes_then(void **state)
{
    damage_behind_a_batch(state, LQ_CONSUMER_DISPATCH);
}

static void an_error_ends_delivery_until_a_handler_is_set_anew(void **state)
{
    memset(&seen, 0, sizeof seen);
    begin(state, 0, false);
    io_fault_plan(&fault, IO_READ, 1, true, EIO);
    OK(lq_notify(consumer, note, NULL));
    HOLDS(reaches(&seen.errors, 1));
    EQUAL(seen.code, LQ_EIO);
    api_put_range(queue, COUNT + 1, COUNT + 1, SIZE);
    /* The thread is there for others as well. */
    lq_consumer *other = api_consumer(queue, "other", NULL);
    OK(lq_notify(other, note_other, NULL));
    HOLDS(reaches(&seen.others, 3));
    OK(lq_consumer_close(other));
    EQUAL(seen.errors, 1);
    EQUAL(seen.messages, 0);
    OK(lq_notify(consumer, note, NULL));
    HOLDS(reaches(&seen.messages, COUNT + 1));
    EQUAL(seen.errors, 1);
    end();
}

static void a_handler_that_sets_itself_anew_when_told_goes_on(void **state)
{
    memset(&seen, 0, sizeof seen);
    seen.sets_itself_anew = true;
    begin(state, 0, false);
    io_fault_plan(&fault, IO_READ, 1, true, EIO);
    OK(lq_notify(consumer, note, NULL));
    HOLDS(reaches(&seen.messages, COUNT));
    EQUAL(seen.errors, 1);
    end();
}

static void dispatch_says_what_ended_it_and_how_many_came_before(void **state)
{
    size_t count = 77;
    memset(&seen, 0, sizeof seen);
    begin(state, LQ_CONSUMER_DISPATCH, false);
    OK(lq_notify(consumer, note, NULL));
    io_fault_plan(&fault, IO_READ, 1, true, EIO);
    IS(LQ_EIO, lq_dispatch(consumer, COUNT, &count));
    EQUAL(count, 0);
    EQUAL(seen.errors, 1);
    OK(lq_dispatch(consumer, 1, &count));
    EQUAL(count, 1);
    io_fault_plan(&fault, IO_READ, 1, true, EIO);
    IS(LQ_EIO, lq_dispatch(consumer, COUNT, &count));
    HOLDS(count > 0 && count < COUNT); /* what had been read ahead */
    EQUAL(seen.messages, count + 1);
    seen.settles_itself = true;
    OK(lq_dispatch(consumer, COUNT, NULL));
    EQUAL(seen.messages, COUNT);
    EQUAL(api_consumer_stats(queue, "c").floor, COUNT);
    end();
}

static void damage_does_not_end_a_dispatch(void **state)
{
    size_t count;
    memset(&seen, 0, sizeof seen);
    begin(state, LQ_CONSUMER_DISPATCH, true);
    OK(lq_notify(consumer, note, NULL));
    OK(lq_dispatch(consumer, 2, &count)); /* message 1, and the damage */
    EQUAL(count, 2);
    EQUAL(seen.errors, 1);
    EQUAL(seen.last_id, 1);
    OK(lq_dispatch(consumer, COUNT, &count));
    EQUAL(count, COUNT - 2);
    end();
}

/* No thread, no descriptor: what is said of it later is not of one that has been closed. */
static void without_a_thread_there_is_no_descriptor_and_no_handler_until_there_is_one(void **state)
{
    begin(state, 0, false);
    int files = open_files();
    for (int i = 0; i < 2; i++) {
        fail_calls(PTHREAD_CREATE, 0, 1, EAGAIN);
        IS(LQ_ELIMIT, lq_fd(consumer));
        all_failed();
        fail_calls(EVENTFD, 0, 1, EMFILE);
        IS(LQ_ELIMIT, lq_fd(consumer));
        all_failed();
        EQUAL(open_files(), files);
    }
    memset(&seen, 0, sizeof seen);
    fail_calls(PTHREAD_CREATE, 0, 1, EAGAIN);
    IS(LQ_ELIMIT, lq_notify(consumer, note, NULL));
    all_failed();
    lq_message message;
    OK(lq_poll(consumer, &message)); /* nobody's but ours */
    OK(lq_ack(consumer, &message));
    int fd = lq_fd(consumer);
    HOLDS(fd >= 3 && fcntl(fd, F_GETFD) == FD_CLOEXEC);
    EQUAL(fd, lq_fd(consumer));
    HOLDS(poll(&(struct pollfd){.fd = fd, .events = POLLIN}, 1, 10000) == 1);
    EQUAL(seen.messages, 0);
    end();
    HOLDS(fcntl(fd, F_GETFD) < 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_DIRECTORY(damage_behind_a_batch_is_told_to_the_handler_that_is_set_then),
        IN_DIRECTORY(damage_behind_a_batch_is_told_by_the_dispatch_that_comes_then),
        IN_DIRECTORY(an_error_ends_delivery_until_a_handler_is_set_anew),
        IN_DIRECTORY(a_handler_that_sets_itself_anew_when_told_goes_on),
        IN_DIRECTORY(dispatch_says_what_ended_it_and_how_many_came_before),
        IN_DIRECTORY(damage_does_not_end_a_dispatch),
        IN_DIRECTORY(without_a_thread_there_is_no_descriptor_and_no_handler_until_there_is_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
