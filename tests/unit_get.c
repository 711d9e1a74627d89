/* GET and the consumer handle; and GET at moments when the log cannot be read: a message that comes again is leased before it
 * is looked for, so that what cannot be found just now must go back as if nothing had been. */
#include <errno.h>
#include <malloc.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "consumer.h"
#include "support/api.h"
#include "support/call_fault.h"
#include "support/damage.h"
#include "support/io_fault.h"
#include "support/scratch.h"

enum { KIB = 1024, MESSAGES = 200, SIZE = 1000 };

static const lq_options small = {.size = sizeof small, .sync = LQ_SYNC_NEVER, .segment_size = 1024 * KIB, .ring_size = 64 * KIB};

/* Members between whom the messages 1 to 3 have come back. The ring has gone on. */
static lq_queue *begin(void **state, lq_consumer **consumer_out)
{
    lq_message message;
    lq_queue *queue = api_open(state, &small);
    lq_consumer *consumer = api_consumer(queue, "c", NULL);
    api_put_range(queue, 1, 3, SIZE);
    for (int i = 0; i < 3; i++) OK(lq_get(consumer, &message, 0));
    OK(lq_consumer_close(consumer));
    api_put_range(queue, 4, MESSAGES, SIZE);
    *consumer_out = api_consumer(queue, "c", NULL);
    return queue;
}

static void take_and_end(lq_queue *queue, lq_consumer *consumer, uint64_t first)
{
    lq_message message;
    for (uint64_t id = first; id <= MESSAGES; id++) {
        OK(lq_get(consumer, &message, 0));
        EQUAL(message.id, id);
        EQUAL(message.attempts, id <= 3 ? 2 : 1); /* the time that nobody saw does not count */
        OK(lq_ack(consumer, &message));
    }
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
}

/* As it looks to one who meets a roll again and again: not in the ring, and not in a file yet. */
static void what_is_nowhere_just_now_is_given_back_and_comes_later(void **state)
{
    lq_message message;
    lq_consumer *consumer;
    lq_queue *queue = begin(state, &consumer);
    struct lqi_log_state *log = queue->log.state;
    uint64_t written = atomic_load(&log->written);

    atomic_store(&log->written, 0);
    IS(LQ_EMPTY, lq_poll(consumer, &message));
    TEXT_HAS("message 1 ", "just now");
    EQUAL(api_consumer_stats(queue, "c").unacked, 0);
    atomic_store(&log->written, written);
    take_and_end(queue, consumer, 1);
}

static void what_is_nowhere_just_now_behind_damage_is_not_lost_with_it(void **state)
{
    lq_message message;
    lq_consumer *consumer;
    lq_queue *queue = begin(state, &consumer);
    struct lqi_log_state *log = queue->log.state;
    uint64_t written = atomic_load(&log->written), second = lqi_record_span(SIZE);

    /* Of where they are only the file's index knows, as after a restart: the way leads over the first. */
    for (uint64_t id = 1; id <= 3; id++) lqi_slot_of(consumer->slot, consumer->member.region, id)->position = LQI_POSITION_UNKNOWN;
    damage_fill(api_path(*state, "q/log/00000000000000000001.seg"), LQI_SEGMENT_HEADER, 20, 5);
    IS(LQ_ECORRUPT, lq_poll(consumer, &message));
    lqi_scan_let_go(&consumer->again);
    lqi_scan_release(&consumer->again);
    lqi_scan_init(&consumer->again, &queue->log, 4096);

    atomic_store(&log->written, second);
    IS(LQ_EMPTY, lq_poll(consumer, &message));
    TEXT_HAS("message 2 ", "just now");
    atomic_store(&log->written, written);
    EQUAL(api_consumer_stats(queue, "c").floor, 1);
    take_and_end(queue, consumer, 2);
}

static void what_was_deleted_while_one_looked_for_it_counts_as_dropped(void **state)
{
    lq_message message;
    lq_consumer *consumer;
    lq_queue *queue = begin(state, &consumer);
    struct lqi_log_state *log = queue->log.state;
    uint64_t written = atomic_load(&log->written);

    atomic_store(&log->written, 0);
    atomic_store(&log->first_id, 3);
    IS(LQ_EMPTY, lq_poll(consumer, &message));
    TEXT_HAS("message 3 ", "just now");
    EQUAL(api_consumer_stats(queue, "c").floor, 2);
    EQUAL(api_consumer_stats(queue, "c").dropped, 2);
    EQUAL(api_stats(queue).damage, 0);
    atomic_store(&log->written, written);
    take_and_end(queue, consumer, 3);
}

/* ---- waiting for it ------------------------------------------------------------------ */

enum { CALLS = 20 }; /* each that comes too early is seen */

/* The same, and what is asked of the machine is counted; message 1 cannot be read until `written` is put back. */
static lq_queue *begin_counted(void **state, struct io_fault *fault, const lq_consumer_options *options, lq_consumer **consumer_out)
{
    lq_queue *queue = begin(state, consumer_out);
    OK(lq_consumer_close(*consumer_out));
    io_fault_init(fault, &lqi_io_posix);
    queue->log.io = &fault->io;
    *consumer_out = api_consumer(queue, "c", options);
    atomic_store(&queue->log.state->written, 0);
    return queue;
}

/* How often the directory is read by one who finds it nowhere. */
static uint64_t one_look(struct io_fault *fault, lq_consumer *consumer)
{
    lq_message message;
    io_fault_plan(fault, IO_DIR_LIST, 0, false, 0);
    IS(LQ_EMPTY, lq_poll(consumer, &message));
    HOLDS(fault->calls[IO_DIR_LIST] > 0);
    uint64_t calls = fault->calls[IO_DIR_LIST];
    io_fault_plan(fault, IO_DIR_LIST, 0, false, 0);
    return calls;
}

static void end_counted(lq_queue *queue, lq_consumer *consumer, struct io_fault *fault, uint64_t written)
{
    atomic_store(&queue->log.state->written, written);
    take_and_end(queue, consumer, 1);
    io_fault_release(fault);
}

/* A machine that is asked for the list of segments by everybody who finds a message nowhere: after some looks, and in the
 * middle of the next, it is in its file. */
static struct {
    struct lqi_io io;
    _Atomic uint64_t *written;
    uint64_t all, lists, lists_before;
} nowhere;

static int list(const struct lqi_io *io, int dir, lqi_name_callback *each, void *context)
{
    if (++nowhere.lists > nowhere.lists_before) atomic_store(nowhere.written, nowhere.all);
    return lqi_io_posix.dir_list(io, dir, each, context);
}

/* Between two looks there is a nap, however slow or busy the machine is. */
static void get_naps_between_two_looks_for_what_is_nowhere_just_now(void **state)
{
    enum { LOOKS = 5, NAP_US = 1000 };
    for (uint32_t spin_us = 0; spin_us <= 1000000; spin_us += 1000000) {
        struct io_fault fault;
        lq_message message;
        lq_consumer *consumer;
        int64_t napped_us = 0;
        lq_queue *queue = begin_counted(state, &fault, &(lq_consumer_options){.spin_us = spin_us}, &consumer);
        uint64_t look = one_look(&fault, consumer);
        nowhere.io = lqi_io_posix;
        nowhere.io.dir_list = list;
        nowhere.written = &queue->log.state->written;
        nowhere.all = atomic_load(&queue->log.state->ring.appended);
        nowhere.lists = 0;
        nowhere.lists_before = LOOKS * look;
        queue->log.io = &nowhere.io;
        call_fault_clock_us = &napped_us;
        OK(lq_get(consumer, &message, 60000));
        call_fault_clock_us = NULL;
        EQUAL(message.id, 1);
        EQUAL(nowhere.lists, LOOKS * look + 1);
        EQUAL(napped_us, LOOKS * NAP_US);
        OK(lq_release(consumer, &message));
        end_counted(queue, consumer, &fault, nowhere.all);
        scratch_delete(api_path(*state, "q"));
    }
}

/* For an event loop it is there, as it will be in a moment; only not at once. */
static void a_descriptor_calls_for_what_is_nowhere_just_now_once_in_a_millisecond(void **state)
{
    struct io_fault fault;
    lq_message message;
    lq_consumer *consumer;
    lq_queue *queue = begin_counted(state, &fault, NULL, &consumer);
    uint64_t written = atomic_load(&queue->log.state->ring.appended), look = one_look(&fault, consumer);
    struct pollfd ready = {.fd = lq_fd(consumer), .events = POLLIN};
    HOLDS(ready.fd >= 0);
    for (uint64_t calls = 1; calls <= CALLS; calls++) {
        EQUAL(poll(&ready, 1, 5000), 1);
        int64_t before = api_now_us();
        IS(LQ_EMPTY, lq_poll(consumer, &message));
        EQUAL(fault.calls[IO_DIR_LIST], calls * look);
        EQUAL(poll(&ready, 1, 5000), 1);
        HOLDS(api_now_us() - before >= 1000);
    }
    atomic_store(&queue->log.state->written, written);
    end_counted(queue, consumer, &fault, written);
}

/* Who could not have it for a moment, and then had something, begins to be patient anew. */
static void only_who_has_had_nothing_for_ten_seconds_is_told_that_it_cannot_be_read(void **state)
{
    struct io_fault fault;
    lq_message message[3];
    size_t count;
    lq_consumer *consumer;
    lq_queue *queue = begin_counted(state, &fault, NULL, &consumer);
    uint64_t written = atomic_load(&queue->log.state->ring.appended);
    one_look(&fault, consumer);
    lqi_lock_patience_ms = 20;
    api_sleep_ms(30);
    atomic_store(&queue->log.state->written, 2 * lqi_record_span(SIZE));
    OK(lq_get_batch(consumer, message, 3, &count, 0));
    EQUAL(count, 2);
    OK(lq_release(consumer, &message[0]));
    OK(lq_release(consumer, &message[1]));
    lqi_scan_release(&consumer->again); /* what it has read, and would not read again */
    lqi_scan_init(&consumer->again, &queue->log, 4096);
    atomic_store(&queue->log.state->written, 0);
    one_look(&fault, consumer);
    api_sleep_ms(30);
    IS(LQ_EBUSY, lq_poll(consumer, message));
    TEXT_HAS("message 1 ", "just now");
    TEXT_HAS("consumer 'c'", "just now");
    lqi_lock_patience_ms = LQI_LOCK_PATIENCE_MS;
    end_counted(queue, consumer, &fault, written);
}

/* The same of one that comes for the first time: it is in no file yet, and the ring has gone on. */
static void who_cannot_have_a_new_message_is_called_again_in_a_millisecond_and_told_in_the_end(void **state)
{
    struct io_fault fault;
    lq_message message;
    lq_consumer *consumer;
    lq_queue *queue = begin_counted(state, &fault, NULL, &consumer);
    uint64_t written = atomic_load(&queue->log.state->ring.appended);
    struct pollfd ready = {.fd = lq_fd(consumer), .events = POLLIN};
    atomic_store(&queue->log.state->written, written);
    for (int i = 0; i < 3; i++) OK(lq_get(consumer, &message, 0));
    lqi_scan_release(&consumer->ahead);
    lqi_scan_init(&consumer->ahead, &queue->log, 4096);
    atomic_store(&queue->log.state->written, 3 * lqi_record_span(SIZE));

    for (int i = 0; i < CALLS; i++) {
        EQUAL(poll(&ready, 1, 5000), 1);
        int64_t before = api_now_us();
        IS(LQ_EMPTY, lq_poll(consumer, &message));
        EQUAL(poll(&ready, 1, 5000), 1);
        HOLDS(api_now_us() - before >= 1000);
        IS(LQ_TIMEOUT, lq_get(consumer, &message, 1));
    }
    lqi_lock_patience_ms = 20;
    api_sleep_ms(30);
    IS(LQ_EBUSY, lq_poll(consumer, &message));
    TEXT_HAS("message 4 ", "just now");
    lqi_lock_patience_ms = LQI_LOCK_PATIENCE_MS;
    EQUAL(api_consumer_stats(queue, "c").delivered, 3);
    EQUAL(api_stats(queue).damage, 0);
    atomic_store(&queue->log.state->written, written);
    OK(lq_get(consumer, &message, 0));
    EQUAL(message.id, 4);
    OK(lq_ack(consumer, &message));
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
    io_fault_release(&fault);
}

/* ---- is there something? ----------------------------------------------------------------- */

static void there_is_something_to_take_when_it_has_come_or_come_back_and_the_window_has_room(void **state)
{
    lq_message message, held[64];
    lq_queue *queue = api_open(state, &small);
    lq_consumer *consumer = api_consumer(queue, "c", &(lq_consumer_options){.window = 64});
    IS(LQ_EMPTY, lq_poll(consumer, &message));
    HOLDS(!lqi_may_take(consumer));
    api_put_range(queue, 1, 70, 10);
    for (int i = 0; i < 64; i++) {
        HOLDS(lqi_may_take(consumer));
        OK(lq_poll(consumer, &held[i]));
    }
    HOLDS(!lqi_may_take(consumer)); /* the window is full */
    OK(lq_release(consumer, &held[7]));
    HOLDS(lqi_may_take(consumer));
    OK(lq_poll(consumer, &message));
    EQUAL(message.id, 8);
    HOLDS(!lqi_may_take(consumer));
    OK(lq_ack(consumer, &held[0]));
    HOLDS(lqi_may_take(consumer));
    for (int i = 1; i < 64; i++) OK(lq_ack(consumer, i == 7 ? &message : &held[i]));
    for (int i = 65; i <= 70; i++) {
        OK(lq_poll(consumer, &message));
        OK(lq_ack(consumer, &message));
    }
    HOLDS(!lqi_may_take(consumer));
    atomic_store(&consumer->slot->next_position, LQI_POSITION_UNKNOWN); /* as after a restart: nobody knows before he has looked */
    HOLDS(lqi_may_take(consumer));
    IS(LQ_EMPTY, lq_poll(consumer, &message));
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
}

/* Others go on in the same record as long as it has messages, and behind it then. */
static void the_next_one_is_in_the_record_that_has_some_left(void **state)
{
    lq_message message, three[3] = {{.data = "a", .size = 1}, {.data = "b", .size = 1}, {.data = "c", .size = 1}};
    uint64_t begins[3];
    lq_queue *queue = api_open(state, &small);
    lq_consumer *consumer = api_consumer(queue, "c", NULL);
    for (int i = 0; i < 3; i++) {
        begins[i] = atomic_load(&queue->log.state->ring.appended);
        OK(lq_put_batch(queue, three, 3, NULL));
    }
    for (uint64_t id = 1; id <= 9; id++) {
        OK(lq_poll(consumer, &message));
        EQUAL(message.id, id);
        HOLDS(api_is_text(&message, id % 3 == 1 ? "a" : id % 3 == 2 ? "b" : "c"));
        EQUAL(atomic_load(&consumer->slot->next_position),
              id == 9 ? atomic_load(&queue->log.state->ring.appended) : begins[id / 3]);
        OK(lq_ack(consumer, &message));
    }
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
}

/* Asking again and again is for those who have asked for it, and only for so long. */
static void who_waits_sleeps(void **state)
{
    lq_message message;
    lq_queue *queue = api_open(state, &small);
    for (uint32_t spin_us = 0; spin_us <= 100; spin_us += 100) {
        lq_consumer *consumer = api_consumer(queue, "c", &(lq_consumer_options){.spin_us = spin_us});
        call_fault_plan(CALL_FUTEX_WAIT, 1, false, EINTR);
        IS(LQ_TIMEOUT, lq_get(consumer, &message, 20));
        EQUAL(call_fault_hits(), 1);
        call_fault_end();
        EQUAL(lqi_lock_limit(LQI_LOCK_UNLIMITED), LQI_LOCK_UNLIMITED);
        OK(lq_consumer_close(consumer));
    }
    OK(lq_close(queue));
}

/* ---- the handle -------------------------------------------------------------------------------- */

static size_t memory_in_use(void)
{
    return api_sanitized ? 0 : mallinfo2().uordblks;
}

static void a_handle_that_is_closed_gives_all_its_memory_back_also_of_what_it_has_lent(void **state)
{
    lq_message messages[40];
    size_t count, before = 0;
    lq_queue *queue = api_open(state, &small);
    api_put_range(queue, 1, 100, SIZE);
    for (int i = 0; i < 3; i++) {
        lq_consumer *consumer = api_consumer(queue, "c", NULL);
        OK(lq_get_batch(consumer, messages, 40, &count, 0));
        EQUAL(count, 40);
        for (int j = 0; j < 40; j++) HOLDS(api_is_filled(&messages[j], SIZE, messages[j].id));
        OK(lq_consumer_close(consumer));
        if (i == 0) before = memory_in_use();
        EQUAL(memory_in_use(), before);
        EQUAL(api_consumer_stats(queue, "c").unacked, 0);
    }
    OK(lq_close(queue));
}

static void a_handle_that_cannot_be_had_is_none(void **state)
{
    lq_consumer *consumer = NULL;
    lq_message message;
    size_t count;
    lq_queue *queue = api_open(state, &small);
    IS(LQ_EINVAL, lq_consumer_open(queue, "c", NULL, NULL));
    IS(LQ_EINVAL, lq_consumer_open(queue, "c", &(lq_consumer_options){.size = sizeof(lq_consumer_options), .window = 63}, &consumer));
    IS(LQ_EINVAL, lq_consumer_open(queue, "c", &(lq_consumer_options){.size = sizeof(lq_consumer_options), .spin_us = 1000001}, &consumer));
    IS(LQ_EINVAL, lq_consumer_open(queue, "c", &(lq_consumer_options){.size = sizeof(lq_consumer_options), .flags = 64}, &consumer));
    IS(LQ_ENAME, lq_consumer_open(queue, "../c", NULL, &consumer));
    IS(LQ_ENAME, lq_consumer_delete(queue, "../c"));
    IS(LQ_ENOTFOUND, lq_consumer_delete(queue, "c"));
    call_fault_plan(CALL_ALLOCATE, 1, true, ENOMEM);
    IS(LQ_ENOMEM, lq_consumer_open(queue, "c", NULL, &consumer));
    call_fault_end();
    HOLDS(!consumer);
    consumer = api_consumer(queue, "c", NULL);
    IS(LQ_EINVAL, lq_get(consumer, NULL, 0));
    IS(LQ_EINVAL, lq_get(NULL, &message, 0));
    IS(LQ_EINVAL, lq_get_batch(consumer, &message, 0, &count, 0));
    IS(LQ_EINVAL, lq_get_batch(consumer, &message, 1, NULL, 0));
    OK(lq_consumer_close(NULL));
    OK(lq_consumer_close(consumer));
    OK(lq_consumer_delete(queue, "c"));
    OK(lq_close(queue)); /* nobody uses it any more */
}

/* What is put is there, and to be lent it needs memory: without, it stays. */
static void what_cannot_be_lent_is_not_taken(void **state)
{
    lq_message messages[100];
    size_t count;
    lq_queue *queue = api_open(state, &small);
    lq_consumer *consumer = api_consumer(queue, "c", NULL);
    api_put_range(queue, 1, 100, 10);
    for (uint64_t nth = 1; nth <= 2; nth++) {
        call_fault_plan(CALL_ALLOCATE, nth, false, ENOMEM);
        IS(LQ_ENOMEM, lq_get_batch(consumer, messages, 100, &count, 0));
        EQUAL(call_fault_hits(), 1);
        call_fault_end();
        if (nth == 1) TEXT_HAS("unsettled messages");
        EQUAL(api_consumer_stats(queue, "c").delivered, 0);
    }
    OK(lq_get_batch(consumer, messages, 100, &count, 0));
    EQUAL(count, 100);
    for (size_t i = 0; i < count; i++) {
        EQUAL(messages[i].id, i + 1);
        EQUAL(messages[i].attempts, 1);
        HOLDS(api_is_filled(&messages[i], 10, i + 1));
    }
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
}

/* Exactly as many, too: what was settled is lent again. */
static void who_has_lent_as_many_before_needs_no_more_memory(void **state)
{
    lq_message messages[40];
    size_t count;
    lq_queue *queue = api_open(state, &small);
    lq_consumer *consumer = api_consumer(queue, "c", NULL);
    api_put_range(queue, 1, 200, 10);
    for (size_t max = 16; max <= 32; max *= 2) { /* the number of entries grows in such steps */
        OK(lq_get_batch(consumer, messages, max, &count, 0));
        OK(lq_ack_batch(consumer, messages, count));
        uint32_t capacity = consumer->loan_capacity;
        for (int i = 0; i < 2; i++) {
            OK(lq_get_batch(consumer, messages, max, &count, 0));
            EQUAL(count, max);
            for (size_t j = 1; j < count; j++) EQUAL(messages[j].id, messages[j - 1].id + 1);
            OK(lq_ack_batch(consumer, messages, count));
        }
        EQUAL(consumer->loan_capacity, capacity);
        HOLDS(capacity >= max && capacity <= 2 * max);
    }
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_DIRECTORY(what_is_nowhere_just_now_is_given_back_and_comes_later),
        IN_DIRECTORY(what_was_deleted_while_one_looked_for_it_counts_as_dropped),
        IN_DIRECTORY(what_is_nowhere_just_now_behind_damage_is_not_lost_with_it),
        IN_DIRECTORY(get_naps_between_two_looks_for_what_is_nowhere_just_now),
        IN_DIRECTORY(a_descriptor_calls_for_what_is_nowhere_just_now_once_in_a_millisecond),
        IN_DIRECTORY(only_who_has_had_nothing_for_ten_seconds_is_told_that_it_cannot_be_read),
        IN_DIRECTORY(who_cannot_have_a_new_message_is_called_again_in_a_millisecond_and_told_in_the_end),
        IN_DIRECTORY(there_is_something_to_take_when_it_has_come_or_come_back_and_the_window_has_room),
        IN_DIRECTORY(the_next_one_is_in_the_record_that_has_some_left),
        IN_DIRECTORY(who_waits_sleeps),
        IN_DIRECTORY(a_handle_that_is_closed_gives_all_its_memory_back_also_of_what_it_has_lent),
        IN_DIRECTORY(a_handle_that_cannot_be_had_is_none),
        IN_DIRECTORY(what_cannot_be_lent_is_not_taken),
        IN_DIRECTORY(who_has_lent_as_many_before_needs_no_more_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
