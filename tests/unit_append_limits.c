/* Where an appended record has its limits: the queue's size, the end of a segment, and that of the log. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "bytes.h"
#include "support/sized_log.h"
#include "writeout.h"

/* ---- limits -------------------------------------------------------------------------------- */

static void a_queue_takes_records_up_to_its_size_and_not_a_byte_more(void **state)
{
    const uint64_t size_max = 2 * SEGMENT;
    for (int large = 0; large < 2; large++) {
        begin(state, (lq_options){.sync = LQ_SYNC_NEVER, .size_max = size_max});
        const uint64_t left = large ? lqi_record_span(LARGE + 3000) : lqi_record_span(3000);
        while (tail().end + lqi_record_span(4000) + left <= size_max) put(4000);
        put(size_max - tail().end - left - LQI_RECORD_HEADER);
        EQUAL(size_max - tail().end, left);
        IS(LQ_EFULL, try_to_put(left - LQI_RECORD_HEADER + 1));
        TEXT_HAS("full", "131072");
        put(left - LQI_RECORD_HEADER);
        IS(LQ_EFULL, try_to_put(0));
        IS(LQ_EFULL, try_to_put(LARGE));
        uint64_t before = tail().end;
        OK(lqi_append_mark(&queue->log)); /* which is none of the user's */
        EQUAL(tail().end, before + LQI_RECORD_HEADER);
        end();
    }
}

/* What was deleted does not count. */
static void a_queue_whose_beginning_is_gone_takes_as_much_again(void **state)
{
    const uint64_t size_max = 2 * SEGMENT;
    begin(state, (lq_options){.sync = LQ_SYNC_NEVER, .size_max = size_max});
    OK(lq_consumer_delete(queue, "keeper"));
    lq_consumer *consumer = api_consumer(queue, "c", NULL);
    while (try_to_put(3000) == LQ_OK) {}
    api_take_range(consumer, 1, last, 3000);
    put(3000);
    uint64_t first = atomic_load(&shared->first_position);
    HOLDS(first > 0);
    int err;
    while (!(err = try_to_put(3000))) {} /* nothing goes from here on */
    IS(LQ_EFULL, err);
    EQUAL(atomic_load(&shared->first_position), first);
    HOLDS(tail().end - first + lqi_record_span(3000) > size_max && tail().end - first <= size_max);
    char figure[32];
    snprintf(figure, sizeof figure, "%llu bytes", (unsigned long long)(tail().end - first));
    TEXT_HAS("full", figure);
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
    io_fault_release(&fault);
}

static void no_id_and_no_position_is_given_beyond_the_last(void **state)
{
    begin(state, (lq_options){.sync = LQ_SYNC_NEVER});
    put(100);
    lq_message three[3] = {{.data = "a", .size = 1}, {.data = "b", .size = 1}, {.data = "c", .size = 1}};
    struct lqi_tail *now = &shared->tails[atomic_load(&shared->turn) & 1], before = *now;
    const uint64_t no_ids[] = {LQI_ID_END - 3, LQI_ID_END - 2, LQI_ID_END - 1};
    for (int i = 0; i < 3; i++) {
        now->next_id = no_ids[i];
        IS(LQ_ELIMIT, lq_put_batch(queue, three, 3, NULL));
        TEXT_HAS("end");
    }
    IS(LQ_ELIMIT, lq_put(queue, "", 0, NULL));
    IS(LQ_ELIMIT, try_to_put(LARGE));
    *now = before;
    now->end = LQI_POSITION_END - lqi_record_span(100) + 8;
    IS(LQ_ELIMIT, try_to_put(100));
    now->end = LQI_POSITION_END - lqi_record_span(LARGE) + 8;
    IS(LQ_ELIMIT, try_to_put(LARGE));
    *now = before;
    put(100);
    end();
}

/* Messages until there is no room for another of 1000 bytes in a segment, the first one or a later one. */
static const struct lqi_span *fill_segment(int rolls)
{
    put(100);
    for (uint64_t number = tail().span; tail().span < number + (uint64_t)rolls;) put(1000);
    const struct lqi_span *span = &shared->spans[tail().span & 1];
    while (tail().end + lqi_record_span(1000) <= span->limit) put(1000);
    return span;
}

static void a_mark_is_never_the_first_record_of_a_segment(void **state)
{
    for (int rolls = 0; rolls < 2; rolls++) {
        begin(state, (lq_options){.sync = LQ_SYNC_NEVER});
        OK(lqi_append_mark(&queue->log)); /* in no segment */
        EQUAL(tail().records, 0);
        const struct lqi_span *span = fill_segment(rolls);
        put(span->limit - tail().end - LQI_RECORD_HEADER - (LQI_RECORD_HEADER - 8)); /* a mark needs 8 bytes more */
        struct lqi_tail before = tail();
        OK(lqi_append_mark(&queue->log));
        EQUAL(tail().end, before.end);
        EQUAL(tail().span, before.span);
        EQUAL(tail().mark, 0);
        end();

        begin(state, (lq_options){.sync = LQ_SYNC_NEVER});
        span = fill_segment(rolls);
        before = tail();
        put(span->limit - tail().end - 2 * LQI_RECORD_HEADER); /* and for this one there is room */
        OK(lqi_append_mark(&queue->log));
        EQUAL(tail().end, span->limit);
        EQUAL(tail().span, before.span);
        EQUAL(tail().mark, span->limit);
        put(0);
        end();
    }
}

/* And none begins before it must, not even in a queue that makes the next file first. */
static void a_segment_is_full_when_its_last_byte_is_taken(void **state)
{
    for (int sync = LQ_SYNC_ALWAYS; sync <= LQ_SYNC_NEVER; sync += 2) {
        begin(state, (lq_options){.sync = sync});
        const struct lqi_span *span = fill_segment(0);
        OK(lqi_write_out(&queue->log));
        OK(lqi_prepare(&queue->log, tail().span + 1));
        const uint64_t number = tail().span;
        put(span->limit - tail().end - LQI_RECORD_HEADER);
        EQUAL(tail().end, span->limit);
        EQUAL(tail().span, number);
        put(0);
        EQUAL(tail().span, number + 1);
        end();
    }
}

static void what_is_refused_begins_no_segment(void **state)
{
    begin(state, (lq_options){.sync = LQ_SYNC_ALWAYS});
    fill_segment(0);
    OK(lqi_prepare(&queue->log, tail().span + 1));
    const uint64_t number = tail().span;
    queue->log.options.size_max = tail().end;
    IS(LQ_EFULL, try_to_put(1000));
    EQUAL(tail().span, number);
    queue->log.options.size_max = 0;
    put(1000);
    EQUAL(tail().span, number + 1);
    end();
}

/* ---- others who append -------------------------------------------------------------------- */

enum { OTHERS = 1500, STEP = 8 };
static uint64_t others_left, end_of_log;

/* For each few bytes that are written out, another appends as many. */
static int write_while_another_appends(const struct lqi_io *io, int fd, uint64_t offset, const void *data, size_t size)
{
    struct lqi_tail *now = &shared->tails[atomic_load(&shared->turn) & 1];
    int error = quick.write(io, fd, offset, data, size);
    if (!others_left) return error;
    if (--others_left) {
        now->end += STEP;
        atomic_fetch_add(&shared->ring.appended, STEP);
    } else {
        now->end = end_of_log;
        atomic_store(&shared->ring.appended, end_of_log);
    }
    return error;
}

/* A loop over room that does not come ends, but not for one who is only unlucky. */
static void who_finds_that_others_have_taken_the_room_again_and_again_goes_on(void **state)
{
    begin(state, (lq_options){.sync = LQ_SYNC_NEVER, .segment_size = 1 << 20});
    for (int i = 0; i < 40; i++) put(1000);
    OK(lqi_write_out(&queue->log));
    struct lqi_tail *now = &shared->tails[atomic_load(&shared->turn) & 1];
    struct lqi_io io = fault.io;
    end_of_log = now->end;
    others_left = OTHERS;
    now->end = RING + STEP; /* the ring is full */
    atomic_store(&shared->written, 0);
    atomic_store(&shared->ring.appended, STEP);
    fault.io.write = write_while_another_appends;
    put(1000);
    EQUAL(others_left, 0);
    EQUAL(tail().end, end_of_log + lqi_record_span(1000));
    fault.io = io;
    end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_DIRECTORY(a_queue_takes_records_up_to_its_size_and_not_a_byte_more),
        IN_DIRECTORY(a_queue_whose_beginning_is_gone_takes_as_much_again),
        IN_DIRECTORY(no_id_and_no_position_is_given_beyond_the_last),
        IN_DIRECTORY(a_mark_is_never_the_first_record_of_a_segment),
        IN_DIRECTORY(a_segment_is_full_when_its_last_byte_is_taken),
        IN_DIRECTORY(what_is_refused_begins_no_segment),
        IN_DIRECTORY(who_finds_that_others_have_taken_the_room_again_and_again_goes_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
