/* GET at moments when the log cannot be read: a message that comes again is leased before it is looked for, so that
 * what cannot be found just now must go back as if nothing had been. */
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

enum { WAIT_MS = 5, WAITS = 20 }; /* the machine may be busy most of the time, but hardly in all of them */

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

/* Its pause is a millisecond at the least, however slow the machine is. */
static void get_looks_for_what_is_nowhere_just_now_once_in_a_millisecond(void **state)
{
    for (uint32_t spin_us = 0; spin_us <= 1000000; spin_us += 1000000) {
        struct io_fault fault;
        lq_message message;
        lq_consumer *consumer;
        lq_queue *queue = begin_counted(state, &fault, &(lq_consumer_options){.spin_us = spin_us}, &consumer);
        uint64_t written = atomic_load(&queue->log.state->ring.appended), look = one_look(&fault, consumer);
        for (int i = 0; i < WAITS; i++) {
            io_fault_plan(&fault, IO_DIR_LIST, 0, false, 0);
            IS(LQ_TIMEOUT, lq_get(consumer, &message, WAIT_MS));
            HOLDS(fault.calls[IO_DIR_LIST] >= look);
            HOLDS(fault.calls[IO_DIR_LIST] <= (WAIT_MS + 2) * look);
        }
        end_counted(queue, consumer, &fault, written);
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
    for (int i = 0; i < WAITS; i++) {
        uint64_t calls = 0;
        io_fault_plan(&fault, IO_DIR_LIST, 0, false, 0);
        for (const int64_t end = api_now_us() + WAIT_MS * 1000; api_now_us() < end; calls++) {
            EQUAL(poll(&ready, 1, 5000), 1);
            IS(LQ_EMPTY, lq_poll(consumer, &message));
        }
        HOLDS(calls > 0 && calls <= WAIT_MS + 2);
        EQUAL(fault.calls[IO_DIR_LIST], calls * look);
    }
    atomic_store(&queue->log.state->written, written);
    EQUAL(poll(&ready, 1, 5000), 1);
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
    lqi_lock_patience_ms = LQI_LOCK_PATIENCE_MS;
    end_counted(queue, consumer, &fault, written);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_DIRECTORY(what_is_nowhere_just_now_is_given_back_and_comes_later),
        IN_DIRECTORY(what_was_deleted_while_one_looked_for_it_counts_as_dropped),
        IN_DIRECTORY(what_is_nowhere_just_now_behind_damage_is_not_lost_with_it),
        IN_DIRECTORY(get_looks_for_what_is_nowhere_just_now_once_in_a_millisecond),
        IN_DIRECTORY(a_descriptor_calls_for_what_is_nowhere_just_now_once_in_a_millisecond),
        IN_DIRECTORY(only_who_has_had_nothing_for_ten_seconds_is_told_that_it_cannot_be_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
