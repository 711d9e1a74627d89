/* The number line: appending, and what becomes of it when the owner of a lock dies between any two of its stores. A child
 * makes the stores one by one, as log.c does, and dies; the parent has had the queue open all the time. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "checksum.h"
#include "queue.h"
#include "support/api.h"
#include "support/child.h"
#include "support/io_fault.h"
#include "writeout.h"

static const lq_options small = {.segment_size = 64 << 10, .ring_size = 64 << 10, .sync = LQ_SYNC_NEVER};

static struct lqi_tail *committed(struct lqi_log_state *state)
{
    return &state->tails[atomic_load(&state->turn) & 1];
}

/* ---- death inside the append lock ------------------------------------------------ */

enum step {
    LOCKED, RESERVED, HALF_FILLED, FILLED, NEXT_TAIL, TURNED, SPAN_SHOWN, PUBLISHED,
    STEPS
};

struct death {
    char path[4096];
    enum step step;
};

/* Appends the message 11, up to a step. */
static int append_and_die(void *context)
{
    const struct death *death = context;
    lq_queue *queue;
    OK(lq_open(death->path, NULL, &queue));
    struct lqi_log *log = &queue->log;
    struct lqi_log_state *state = log->state;
    HOLDS(lqi_lock(&state->append, "append lock") == LQI_LOCKED);
    if (death->step == LOCKED) _exit(0);

    struct lqi_tail next = *committed(state);
    uint8_t body[100], header[LQI_RECORD_HEADER];
    api_fill(body, sizeof body, 11);
    struct lqi_record record = {.position = next.end, .first_id = next.next_id, .time_us = next.time_us, .size = sizeof body,
                                .payload_check = lqi_checksum(body, sizeof body), .count = 1, .kind = LQI_RECORD_MESSAGES, .flags = LQI_RECORD_LONE};
    lqi_record_encode(header, &record, atomic_load(&state->spans[next.span & 1].salt));
    uint8_t *to = lqi_ring_reserve(&log->ring, next.end, lqi_record_span(sizeof body));
    if (death->step == RESERVED) _exit(0);
    lqi_ring_fill(to, header, sizeof header);
    lqi_ring_fill(to + sizeof header, body, 50);
    if (death->step == HALF_FILLED) _exit(0);
    lqi_ring_fill(to + sizeof header + 50, body + 50, 50);
    if (death->step == FILLED) _exit(0);

    next.end += lqi_record_span(sizeof body);
    next.next_id++;
    next.records++;
    uint64_t turn = atomic_load(&state->turn);
    state->tails[(turn + 1) & 1] = next;
    if (death->step == NEXT_TAIL) _exit(0);
    atomic_store(&state->turn, turn + 1); /* from here on it is in the log */
    if (death->step == TURNED) _exit(0);
    atomic_store(&state->append_span, next.span);
    if (death->step == SPAN_SHOWN) _exit(0);
    lqi_ring_publish(&log->ring, next.end);
    _exit(0);
}

/* A queue with messages 1 to 10 in it, open, in which somebody dies. */
static lq_queue *queue_after_death(void **state, const char *name, enum step step)
{
    struct death death = {.step = step};
    lq_options options = small;
    lq_queue *queue;
    options.size = sizeof options;
    strcpy(death.path, api_path(*state, name));
    OK(lq_open(death.path, &options, &queue));
    api_put_range(queue, 1, 10, 100);
    EQUAL(child_run(append_and_die, &death), 0);
    return queue;
}

static void a_message_is_in_the_log_from_the_committing_store_on_and_not_before(void **state)
{
    for (enum step step = LOCKED; step < STEPS; step++) {
        char name[] = "q0";
        name[1] = (char)('0' + step);
        lq_queue *queue = queue_after_death(state, name, step);
        uint64_t next = step >= TURNED ? 12 : 11;
        api_put_range(queue, next, 500, 100); /* with the inherited lock, over the half-made record */
        api_read_range(queue, 1, 500, 100);
        EQUAL(api_stats(queue).damage, 0);
        OK(lq_close(queue));
        OK(lq_verify(api_path(*state, name), 0, NULL, NULL, NULL));
    }
}

static void what_the_dead_committed_is_seen_when_anybody_asks_for_the_end(void **state)
{
    for (enum step step = LOCKED; step < STEPS; step++) {
        char name[] = "q0";
        name[1] = (char)('0' + step);
        lq_queue *queue = queue_after_death(state, name, step);
        OK(lq_sync(queue));
        api_read_range(queue, 1, step >= TURNED ? 11 : 10, 100);
        OK(lq_close(queue));
    }
}

static void the_next_population_finds_what_the_dead_committed(void **state)
{
    for (enum step step = LOCKED; step < STEPS; step++) {
        char name[] = "q0";
        name[1] = (char)('0' + step);
        struct death death = {.step = step};
        lq_options options = small;
        lq_queue *queue;
        options.size = sizeof options;
        strcpy(death.path, api_path(*state, name));
        OK(lq_open(death.path, &options, &queue));
        api_put_range(queue, 1, 10, 100);
        OK(lq_close(queue));
        EQUAL(child_run(append_and_die, &death), 0); /* nobody else has it open */
        OK(lq_open(death.path, NULL, &queue));
        api_read_range(queue, 1, step >= TURNED ? 11 : 10, 100);
        EQUAL(api_stats(queue).damage, 0);
        OK(lq_close(queue));
    }
}

/* ---- death while a span begins ------------------------------------------------------- */

static int begin_a_span_and_die(void *path)
{
    lq_queue *queue;
    OK(lq_open(path, NULL, &queue));
    struct lqi_log_state *state = queue->log.state;
    HOLDS(lqi_lock(&state->append, "append lock") == LQI_LOCKED);
    struct lqi_tail *tail = committed(state);
    if (atomic_load(&state->write_span) == tail->span) { /* as the owner may: the other slot is nobody's then */
        struct lqi_span *span = &state->spans[(tail->span + 1) & 1];
        span->first_id = tail->next_id;
        atomic_store(&span->position, tail->end);
        atomic_store(&span->salt, 12345);
        span->limit = 7;
        span->sealed = 1;
        state->spans[tail->span & 1].end.end = 99;
    }
    _exit(0);
}

/* Puts until a span begins, and takes back what its append has shown: so it is when the owner dies behind the committing store. */
static int begin_a_span_commit_and_die(void *path)
{
    lq_options options = small;
    lq_queue *queue;
    options.size = sizeof options;
    OK(lq_open(path, &options, &queue));
    struct lqi_log_state *state = queue->log.state;
    for (uint64_t id = 1;; id++) {
        OK(lqi_write_out(&queue->log));
        uint64_t span = atomic_load(&state->append_span), end = atomic_load(&state->ring.appended);
        api_put_range(queue, id, id, 1000);
        if (atomic_load(&state->append_span) == span || id == 1 /* there was none before */) continue;
        EQUAL(atomic_load(&state->write_span), span); /* its file has not been made */
        atomic_store(&state->append_span, span);
        atomic_store(&state->ring.appended, end);
        _exit((int)id);
    }
}

static void a_span_that_was_begun_and_committed_is_there_when_its_owner_dies(void **state)
{
    for (int others = 0; others < 2; others++) { /* or the next ones to open find it */
        char path[4096];
        lq_options options = small;
        lq_queue *queue;
        options.size = sizeof options;
        strcpy(path, api_path(*state, others ? "a" : "b"));
        OK(lq_open(path, &options, &queue));
        if (!others) OK(lq_close(queue));
        int last = child_run(begin_a_span_commit_and_die, path);
        HOLDS(last > 50 && last < 70);
        if (!others) OK(lq_open(path, NULL, &queue));
        api_put_range(queue, (uint64_t)last + 1, 200, 1000);
        api_read_range(queue, 1, 200, 1000);
        EQUAL(api_stats(queue).damage, 0);
        OK(lq_close(queue));
        OK(lq_verify(path, 0, NULL, NULL, NULL));
    }
}

static void a_span_that_was_begun_and_not_committed_is_begun_again(void **state)
{
    lq_queue *queue = api_open(state, &small);
    char path[4096];
    strcpy(path, api_path(*state, "q"));
    for (uint64_t id = 1; id <= 2000; id += 20) { /* wherever in the segment it happens */
        api_put_range(queue, id, id + 19, 300);
        EQUAL(child_run(begin_a_span_and_die, path), 0);
    }
    api_read_range(queue, 1, 2000, 300);
    HOLDS(api_stats(queue).segments > 8);
    OK(lq_close(queue));
    OK(lq_verify(path, 0, NULL, NULL, NULL));
}

/* ---- death inside the other locks ------------------------------------------------------ */

static int die_in_every_lock(void *path)
{
    lq_queue *queue;
    OK(lq_open(path, NULL, &queue));
    struct lqi_log_state *state = queue->log.state;
    HOLDS(lqi_lock(&queue->map.head->admin, "admin") >= 0);
    HOLDS(lqi_lock(&state->trim, "trim") >= 0);
    HOLDS(lqi_lock(&state->sync, "sync") >= 0);
    HOLDS(lqi_lock(&state->append, "append") >= 0);
    HOLDS(lqi_lock(&state->write, "write") >= 0);
    _exit(0);
}

static void whoever_dies_with_every_lock_stops_nobody(void **state)
{
    lq_queue *queue = api_open(state, &(lq_options){.segment_size = 64 << 10, .ring_size = 64 << 10});
    char path[4096], name[] = "c0";
    strcpy(path, api_path(*state, "q"));
    for (uint64_t round = 0; round < 5; round++) {
        EQUAL(child_run(die_in_every_lock, path), 0);
        api_put_range(queue, round * 100 + 1, round * 100 + 100, 500);
        OK(lq_sync(queue));
        name[1] = (char)('0' + round);
        lq_consumer *consumer = api_consumer(queue, name, &(lq_consumer_options){.start = LQ_START_ID, .start_id = round * 100 + 1});
        api_take_range(consumer, round * 100 + 1, round * 100 + 100, 500);
        OK(lq_consumer_close(consumer));
    }
    for (name[1] = '0'; name[1] < '5'; name[1]++) OK(lq_consumer_delete(queue, name));
    api_put_range(queue, 501, 600, 500);
    OK(lq_close(queue));
    OK(lq_verify(path, 0, NULL, NULL, NULL));
}

/* What was written to the file and not noted is written again, the same bytes. */
static int write_out_and_forget(void *path)
{
    lq_queue *queue;
    OK(lq_open(path, NULL, &queue));
    struct lqi_log_state *state = queue->log.state;
    HOLDS(lqi_lock(&state->write, "write") == LQI_LOCKED);
    uint64_t written = atomic_load(&state->written);
    OK(lqi_write_up_to(&queue->log, atomic_load(&state->ring.appended)));
    if (atomic_load(&state->write_span) == atomic_load(&state->append_span) &&
        written >= atomic_load(&state->spans[atomic_load(&state->write_span) & 1].position))
        atomic_store(&state->written, written);
    _exit(0);
}

static void writing_out_may_be_done_twice(void **state)
{
    lq_queue *queue = api_open(state, &small);
    char path[4096];
    strcpy(path, api_path(*state, "q"));
    for (uint64_t id = 1; id <= 1000; id += 50) {
        api_put_range(queue, id, id + 49, 300);
        EQUAL(child_run(write_out_and_forget, path), 0);
    }
    OK(lq_sync(queue));
    api_read_range(queue, 1, 1000, 300);
    OK(lq_close(queue));
    OK(lq_verify(path, 0, NULL, NULL, NULL));
}

/* While the disk takes nothing the ring fills up, and then PUT says so. */
static void what_no_file_has_yet_is_not_gone_over(void **state)
{
    static const size_t sizes[] = {1000, 1024 - LQI_RECORD_HEADER /* the ring to its last byte */};
    for (int i = 0; i < 2; i++) {
        lq_options options = {.size = sizeof options, .segment_size = 256 << 10, .ring_size = 64 << 10, .sync = LQ_SYNC_NEVER};
        struct io_fault fault;
        lq_queue *queue;
        uint8_t body[1000];
        uint64_t accepted = 0;
        int err;
        io_fault_init(&fault, &lqi_io_posix);
        OK(lqi_open_io(&fault.io, api_path(*state, i ? "exactly" : "q"), &options, &queue));
        io_fault_plan(&fault, IO_WRITE, 1, true, EIO);
        do {
            api_fill(body, sizes[i], accepted + 1);
            err = lq_put(queue, body, sizes[i], NULL);
            accepted += !err;
        } while (!err && accepted < 1000);
        IS(LQ_EIO, err);
        EQUAL(accepted, (64 << 10) / lqi_record_span((uint32_t)sizes[i]));
        io_fault_end(&fault);
        api_put_range(queue, accepted + 1, 200, sizes[i]);
        api_read_range(queue, 1, 200, sizes[i]);
        OK(lq_close(queue));
        io_fault_release(&fault);
    }
}

/* What the disk was given before any sync: how far in the last segment. */
static struct {
    const struct lqi_log_state *log;
    uint64_t span, to;
} ahead;

static void watch_sync_ahead(const struct lqi_io *io, int fd, uint64_t offset, uint64_t size)
{
    struct lqi_io_stat stat;
    (void)io;
    EQUAL(lqi_io_posix.stat(&lqi_io_posix, fd, &stat), 0);
    assert_true(offset + size <= stat.size);
    if (ahead.span != ahead.log->write_span) ahead.to = 0;
    ahead.span = ahead.log->write_span;
    EQUAL(offset, ahead.to);
    EQUAL(size % (1 << 20), 0);
    ahead.to = offset + size;
    lqi_io_posix.sync_ahead(&lqi_io_posix, fd, offset, size);
}

static void the_disk_gets_each_mebibyte_once_as_soon_as_it_is_written(void **state)
{
    lq_options options = {.size = sizeof options, .segment_size = 5 << 20, .ring_size = 1 << 20, .sync = LQ_SYNC_NEVER};
    struct lqi_io io = lqi_io_posix;
    lq_queue *queue;
    io.sync_ahead = watch_sync_ahead;
    OK(lqi_open_io(&io, api_path(*state, "q"), &options, &queue));
    const struct lqi_log_state *log = ahead.log = queue->log.state;
    uint64_t first = log->write_span;
    for (uint64_t id = 1; id <= 8000; id += 100) {
        api_put_range(queue, id, id + 99, 1000);
        uint64_t in_segment = LQI_SEGMENT_HEADER + log->written - log->spans[log->write_span & 1].position;
        EQUAL(ahead.span == log->write_span ? ahead.to : 0, in_segment - in_segment % (1 << 20));
    }
    assert_true(log->write_span > first);
    api_read_range(queue, 1, 8000, 1000);
    OK(lq_close(queue));
}

/* ---- numbers ---------------------------------------------------------------------------- */

static void a_segment_holds_what_its_capacity_says_and_an_index_that_fits(void **state)
{
    (void)state;
    EQUAL(lqi_index_stride(&(lq_options){.segment_size = 64 << 10}), 65536);
    for (uint64_t size = 64 << 10; size <= (uint64_t)4 << 30; size = size * 5 / 4 / 4096 * 4096 + 4096) {
        lq_options options = {.segment_size = size};
        uint64_t capacity = lqi_segment_capacity(&options);
        EQUAL(capacity % 8, 0);
        HOLDS(capacity < size);
        HOLDS(lqi_segment_file_size(&options, capacity) <= size);
        uint64_t index = (capacity / lqi_index_stride(&options) + 1) * LQI_INDEX_ENTRY + LQI_SEGMENT_TRAILER;
        HOLDS(lqi_segment_file_size(&options, capacity) >= LQI_SEGMENT_HEADER + capacity + index);
        HOLDS(capacity / lqi_index_stride(&options) + 1 <= LQI_INDEX_MAX);
        HOLDS(capacity > size - size / 16);
    }
}

static void marks_are_appended_once_and_take_no_id(void **state)
{
    lq_queue *queue = api_open(state, &small);
    struct lqi_tail before, after;
    api_put_range(queue, 1, 3, 10);
    OK(lqi_log_tail(&queue->log, &before));
    for (int i = 0; i < 3; i++) OK(lqi_append_mark(&queue->log));
    OK(lqi_log_tail(&queue->log, &after));
    EQUAL(after.end, before.end + LQI_RECORD_HEADER);
    EQUAL(after.next_id, before.next_id);
    EQUAL(after.mark, after.end);
    api_put_range(queue, 4, 6, 10);
    api_read_range(queue, 1, 6, 10);
    OK(lq_close(queue));
}

static void the_clock_set_back_does_not_set_the_log_back(void **state)
{
    lq_queue *queue = api_open(state, &small);
    int64_t now = 0;
    for (uint64_t id = 1; id <= 3; id++) {
        api_put_range(queue, id, id, 10);
        HOLDS(committed(queue->log.state)->time_us >= now);
        now = committed(queue->log.state)->time_us + 3600000000; /* as if an hour from now */
        committed(queue->log.state)->time_us = now;
    }
    lq_consumer *consumer = api_consumer(queue, "c", NULL);
    lq_message message;
    int64_t last = 0;
    for (int i = 0; i < 3; i++) {
        OK(lq_poll(consumer, &message));
        HOLDS(message.time_us >= last);
        last = message.time_us;
    }
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
}

/* xfs may want a block for the name of a segment, when its blocks have long been had. */
static void a_roll_that_finds_no_room_for_a_name_refuses_the_message(void **state)
{
    lq_options options = small;
    struct io_fault fault;
    lq_queue *queue;
    int err = LQ_OK;
    options.size = sizeof options;
    options.sync = LQ_SYNC_ALWAYS;
    io_fault_init(&fault, &lqi_io_posix);
    OK(lqi_open_io(&fault.io, api_path(*state, "q"), &options, &queue));
    api_put_range(queue, 1, 1, 100);
    io_fault_plan(&fault, IO_RENAME, 1, true, ENOSPC);
    uint64_t last = 1;
    for (uint8_t body[100]; !err && last < 1000; last += !err) {
        api_fill(body, sizeof body, last + 1);
        err = lq_put(queue, body, sizeof body, NULL);
    }
    for (int i = 0; i < 3; i++, err = lq_put(queue, "no", 2, NULL)) {
        EQUAL(err, LQ_ENOSPC);
        EQUAL(api_stats(queue).last_id, last);
    }
    api_read_range(queue, 1, last, 100);
    io_fault_end(&fault);
    api_put_range(queue, last + 1, 2000, 100);
    api_read_range(queue, 1, 2000, 100);
    OK(lq_close(queue));
    io_fault_release(&fault);
    OK(lq_verify(api_path(*state, "q"), 0, NULL, NULL, NULL));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_DIRECTORY(a_message_is_in_the_log_from_the_committing_store_on_and_not_before),
        IN_DIRECTORY(what_the_dead_committed_is_seen_when_anybody_asks_for_the_end),
        IN_DIRECTORY(the_next_population_finds_what_the_dead_committed),
        IN_DIRECTORY(a_span_that_was_begun_and_not_committed_is_begun_again),
        IN_DIRECTORY(a_span_that_was_begun_and_committed_is_there_when_its_owner_dies),
        IN_DIRECTORY(whoever_dies_with_every_lock_stops_nobody),
        IN_DIRECTORY(writing_out_may_be_done_twice),
        IN_DIRECTORY(what_no_file_has_yet_is_not_gone_over),
        IN_DIRECTORY(the_disk_gets_each_mebibyte_once_as_soon_as_it_is_written),
        IN_DIRECTORY(a_segment_holds_what_its_capacity_says_and_an_index_that_fits),
        IN_DIRECTORY(marks_are_appended_once_and_take_no_id),
        IN_DIRECTORY(a_roll_that_finds_no_room_for_a_name_refuses_the_message),
        IN_DIRECTORY(the_clock_set_back_does_not_set_the_log_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
