/* PUT: the time it may take, what a full queue does, packing, and memory that is not there. */
#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "consumer.h"
#include "support/api.h"
#include "support/call_fault.h"
#include "support/hold.h"
#include "support/scratch.h"
#include "writeout.h"

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

/* What somebody else does just when a put that has found the queue full writes out what may go then. */
static struct {
    void (*act)(void *context);
    void *context;
} meanwhile;

static int write_bytes(const struct lqi_io *io, int fd, uint64_t offset, const void *data, size_t size)
{
    void (*act)(void *) = meanwhile.act;
    meanwhile.act = NULL;
    if (act) act(meanwhile.context);
    return lqi_io_posix.write(io, fd, offset, data, size);
}

static lq_queue *begin(void **state, lq_options options)
{
    lq_queue *queue;
    options.size = sizeof options;
    if (!options.sync) options.sync = LQ_SYNC_NEVER;
    options.segment_size = 64 << 10;
    if (!options.ring_size) options.ring_size = 64 << 10;
    counting = lqi_io_posix;
    counting.wall_us = wall_us;
    counting.write = write_bytes;
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

static void *let_go_after_a_while(void *unused)
{
    (void)unused;
    api_sleep_ms(30);
    let_go();
    return NULL;
}

static void a_put_that_may_wait_for_weeks_waits_for_a_lock_in_one_piece(void **state)
{
    for (int i = 0; i < BEYOND; i++) {
        lq_queue *queue = begin(state, (lq_options){.full = LQ_FULL_BLOCK, .full_timeout_ms = beyond[i], .size_max = 1 << 17});
        pthread_t thread;
        hold(&queue->log.state->append);
        HOLDS(pthread_create(&thread, NULL, let_go_after_a_while, NULL) == 0);
        atomic_store(&appends, 0);
        EQUAL(api_put(queue, "patient"), 1);
        EQUAL(atomic_load(&appends), 1);
        pthread_join(thread, NULL);
        end(state, queue);
    }
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

/* ---- locks ------------------------------------------------------------------------------ */

static void a_put_with_a_time_keeps_to_it_and_leaves_the_thread_its_patience(void **state)
{
    lq_queue *queue = begin(state, (lq_options){.full = LQ_FULL_BLOCK, .full_timeout_ms = 20, .size_max = 1 << 17});
    hold(&queue->log.state->append);
    for (lqi_lock_patience_ms = 2; lqi_lock_patience_ms < 1000; lqi_lock_patience_ms *= 100) { /* that of each lock is another thing */
        IS(LQ_TIMEOUT, lq_put(queue, "no", 2, NULL));
        TEXT_HAS("in the time given", "append lock");
    }
    lqi_lock_patience_ms = LQI_LOCK_PATIENCE_MS;
    EQUAL(lqi_lock_limit(LQI_LOCK_UNLIMITED), LQI_LOCK_UNLIMITED);
    let_go();
    EQUAL(api_put(queue, "yes"), 1);
    EQUAL(lqi_lock_limit(LQI_LOCK_UNLIMITED), LQI_LOCK_UNLIMITED);
    end(state, queue);
}

/* It is in the log, and somebody else is making it durable, or was stopped. */
static void a_put_whose_leader_does_not_come_says_what_it_waits_for(void **state)
{
    lq_queue *queue = begin(state, (lq_options){.sync = LQ_SYNC_ALWAYS});
    uint64_t id = 77;
    hold(&queue->log.state->sync);
    lqi_lock_patience_ms = 10;
    IS(LQ_EBUSY, lq_put(queue, "maybe", 5, &id));
    lqi_lock_patience_ms = LQI_LOCK_PATIENCE_MS;
    TEXT_HAS("writing to the disk");
    HOLDS(!strstr(lq_error_text(), "not be made durable"));
    EQUAL(id, 77);
    EQUAL(api_stats(queue).last_id, 1);
    let_go();
    EQUAL(api_put(queue, "yes"), 2);
    end(state, queue);
}

static uint64_t appended(const lq_queue *queue)
{
    return atomic_load(&queue->log.state->ring.appended);
}

/* ---- a full queue --------------------------------------------------------------------------- */

enum { BODY = 1000 };

static int fill_up(lq_queue *queue, int times)
{
    static const char body[BODY];
    int err = LQ_OK;
    while (!err && times--) err = lq_put(queue, body, sizeof body, NULL);
    return err;
}

static void a_full_queue_refuses_or_drops_as_it_was_told(void **state)
{
    lq_queue *queue = begin(state, (lq_options){.size_max = 1 << 17});
    IS(LQ_EFULL, fill_up(queue, 1000));
    TEXT_HAS("the queue is full", "size_max is 131072");
    EQUAL(api_stats(queue).first_id, 1);
    end(state, queue);

    queue = begin(state, (lq_options){.size_max = 1 << 17, .full = LQ_FULL_BLOCK, .full_timeout_ms = 1});
    IS(LQ_TIMEOUT, fill_up(queue, 1000));
    TEXT_HAS("the queue is full", "size_max is 131072");
    EQUAL(api_stats(queue).first_id, 1);
    end(state, queue);

    for (int by_limits = 0; by_limits < 2; by_limits++) {
        queue = begin(state, (lq_options){.size_max = 1 << 17, .full = by_limits ? LQ_FULL_REJECT : LQ_FULL_DROP,
                                          .retention = by_limits ? LQ_RETAIN_LIMITS : LQ_RETAIN_CONSUMED});
        OK(fill_up(queue, 1000));
        EQUAL(api_stats(queue).last_id, 1000);
        HOLDS(api_stats(queue).first_id > 800);
        end(state, queue);
    }

    /* What fills it up may not have been in any file yet. */
    queue = begin(state, (lq_options){.size_max = 1 << 17, .full = LQ_FULL_DROP, .ring_size = 1 << 20});
    OK(fill_up(queue, 1000));
    HOLDS(api_stats(queue).first_id > 800);
    end(state, queue);
}

/* The next put of such a body finds the queue full, and something in memory only. */
static bool is_full_and_unwritten(lq_queue *queue)
{
    const struct lqi_log_state *shared = queue->log.state;
    bool full = appended(queue) - atomic_load(&shared->first_position) + lqi_record_span(BODY) > queue->log.options.size_max;
    return full && atomic_load(&shared->written) < appended(queue);
}

static void drop_the_oldest(void *queue)
{
    size_t gone;
    OK(lqi_retain(&((lq_queue *)queue)->log, lqi_record_span(BODY), true, &gone));
    HOLDS(gone > 0);
}

static void consume_all(void *consumer)
{
    lq_message message;
    while (lq_poll(consumer, &message) == LQ_OK) OK(lq_ack(consumer, &message));
}

/* Another has come first, and made all the room that there is to make. */
static void who_finds_the_queue_full_takes_the_room_that_another_makes_meanwhile(void **state)
{
    static const struct {
        lq_options options;
        void (*act)(void *context);
    } others[] = {
        {{.size_max = 1 << 17, .retention = LQ_RETAIN_LIMITS}, drop_the_oldest},
        {{.size_max = 1 << 17, .full = LQ_FULL_DROP}, drop_the_oldest},
        {{.size_max = 1 << 17}, consume_all},
    };
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        lq_queue *queue = begin(state, others[i].options);
        lq_consumer *consumer = others[i].act == consume_all ? api_consumer(queue, "c", NULL) : NULL;
        while (!is_full_and_unwritten(queue)) OK(fill_up(queue, 1));
        uint64_t last = api_stats(queue).last_id;
        meanwhile.context = consumer ? (void *)consumer : (void *)queue;
        meanwhile.act = others[i].act;
        OK(fill_up(queue, 1));
        HOLDS(!meanwhile.act);
        EQUAL(api_stats(queue).last_id, last + 1);
        OK(lq_consumer_close(consumer));
        end(state, queue);
    }
}

/* Who does not wait for the disk does not ask it for more than to take what has come together. */
static void a_put_that_need_not_be_durable_syncs_nothing_and_writes_out_what_is_enough(void **state)
{
    for (int deferred = 0; deferred < 2; deferred++) {
        lq_queue *queue = begin(state, (lq_options){.sync = deferred ? LQ_SYNC_ALWAYS : LQ_SYNC_NEVER, .flags = deferred ? LQ_DEFER_SYNC : 0});
        struct lqi_log_state *shared = queue->log.state;
        OK(fill_up(queue, 2));
        uint64_t written = atomic_load(&shared->written);
        HOLDS(written < appended(queue));
        while (appended(queue) - written < queue->log.ring.size / 4) {
            EQUAL(atomic_load(&shared->written), written);
            OK(fill_up(queue, 1));
        }
        EQUAL(atomic_load(&shared->written), appended(queue));
        EQUAL(atomic_load(&shared->synced), 0);
        end(state, queue);
    }
}

static void a_put_that_waits_for_room_sleeps(void **state)
{
    lq_queue *queue = begin(state, (lq_options){.size_max = 1 << 17, .full = LQ_FULL_BLOCK, .full_timeout_ms = 10});
    IS(LQ_TIMEOUT, fill_up(queue, 1000));
    call_fault_plan(CALL_FUTEX_WAIT, 1, false, EINTR);
    IS(LQ_TIMEOUT, fill_up(queue, 1));
    EQUAL(call_fault_hits(), 1);
    call_fault_end();
    end(state, queue);
}

static void *consume_and_ring_for_nobody(void *context)
{
    lq_consumer *consumer = context;
    lq_message message;
    api_sleep_ms(30);
    while (lq_poll(consumer, &message) == LQ_OK) {
        atomic_store(&consumer->queue->log.state->room.listeners, 0);
        OK(lq_ack(consumer, &message));
    }
    return NULL;
}

/* Whoever made it may have died between the two. */
static void room_that_nobody_rings_for_is_found_all_the_same(void **state)
{
    lq_queue *queue = begin(state, (lq_options){.size_max = 1 << 17, .full = LQ_FULL_BLOCK, .full_timeout_ms = 1});
    lq_consumer *consumer = api_consumer(queue, "c", NULL);
    pthread_t thread;
    IS(LQ_TIMEOUT, fill_up(queue, 1000));
    queue->full_timeout_ms = -1;
    HOLDS(pthread_create(&thread, NULL, consume_and_ring_for_nobody, consumer) == 0);
    OK(fill_up(queue, 1));
    pthread_join(thread, NULL);
    OK(lq_consumer_close(consumer));
    end(state, queue);
}

/* There is no other moment for what is too old. */
static void old_segments_go_with_the_put_that_begins_a_segment(void **state)
{
    lq_queue *queue = begin(state, (lq_options){.retention = LQ_RETAIN_LIMITS, .age_max_ms = 1});
    struct lqi_log_state *shared = queue->log.state;
    OK(fill_up(queue, 1));
    OK(lqi_write_out(&queue->log));
    OK(fill_up(queue, 1));
    for (int rolls = 0; rolls < 3; rolls++) {
        uint64_t span = atomic_load(&shared->write_span), first = 0;
        while (atomic_load(&shared->write_span) == span) {
            first = atomic_load(&shared->first_id);
            api_sleep_ms(2);
            OK(fill_up(queue, 1));
        }
        HOLDS(atomic_load(&shared->first_id) > first);
        HOLDS(api_stats(queue).segments <= 2);
    }

    /* Whoever deletes just now may have looked before; the next PUT looks again. */
    uint64_t span = atomic_load(&shared->write_span), first = atomic_load(&shared->first_id);
    hold(&shared->trim);
    while (atomic_load(&shared->write_span) == span) {
        api_sleep_ms(2);
        OK(fill_up(queue, 1));
    }
    EQUAL(atomic_load(&shared->first_id), first);
    let_go();
    OK(fill_up(queue, 1));
    HOLDS(atomic_load(&shared->first_id) > first);
    end(state, queue);
}

/* ---- packing ---------------------------------------------------------------------------------- */

/* How much the log has grown. */
static uint64_t growth(lq_queue *queue, const void *body, size_t size)
{
    uint64_t before = appended(queue);
    OK(lq_put(queue, body, size, NULL));
    return appended(queue) - before;
}

static void what_packs_well_takes_less_and_what_does_not_takes_what_it_is(void **state)
{
    static uint8_t same[4000], mixed[4000];
    const size_t sizes[] = {0, 1, 127, 128, 129, 1000, 4000};
    memset(same, 'a', sizeof same);
    uint32_t random = 1;
    for (size_t i = 0; i < sizeof mixed; i++) mixed[i] = (uint8_t)((random = random * 1664525 + 1013904223) >> 24);
    for (int level = 0; level <= 9; level += 3) {
        lq_queue *queue = begin(state, (lq_options){.compression = level});
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
            uint64_t plain = lqi_record_span((uint32_t)sizes[i]);
            EQUAL(growth(queue, mixed, sizes[i]), plain);
            if (level && sizes[i] >= 128) HOLDS(growth(queue, same, sizes[i]) < lqi_record_span(100));
            else EQUAL(growth(queue, same, sizes[i]), plain);
        }
        lq_consumer *consumer = api_consumer(queue, "c", NULL);
        lq_message message;
        for (size_t i = 0; i < 2 * (sizeof sizes / sizeof *sizes); i++) {
            OK(lq_poll(consumer, &message));
            EQUAL(message.size, sizes[i / 2]);
            HOLDS(message.size == 0 || memcmp(message.data, i % 2 ? same : mixed, message.size) == 0);
            OK(lq_ack(consumer, &message));
        }
        OK(lq_consumer_close(consumer));
        end(state, queue);
    }
}

/* ---- memory ------------------------------------------------------------------------------------- */

static size_t memory_in_use(void)
{
    return api_sanitized ? 0 : mallinfo2().uordblks;
}

static void a_put_without_memory_is_refused_and_one_with_it_gives_it_back(void **state)
{
    static uint8_t body[20000];
    lq_message two[2] = {{.data = body, .size = 3000}, {.data = body, .size = sizeof body}};
    lq_queue *queue = begin(state, (lq_options){.compression = 1});
    OK(lq_put(queue, body, sizeof body, NULL));
    OK(lq_put_batch(queue, two, 2, NULL));
    uint64_t end_of_log = appended(queue), id = 77;

    /* To gather and to pack what was gathered, and to pack. */
    for (uint64_t nth = 1; nth <= 2; nth++) {
        call_fault_plan(CALL_ALLOCATE, nth, true, ENOMEM);
        IS(LQ_ENOMEM, lq_put_batch(queue, two, 2, &id));
        call_fault_end();
        TEXT_HAS("no memory", "23");
    }
    call_fault_plan(CALL_ALLOCATE, 1, true, ENOMEM);
    IS(LQ_ENOMEM, lq_put(queue, body, sizeof body, &id));
    call_fault_end();
    TEXT_HAS("no memory", "20000");
    EQUAL(appended(queue), end_of_log);
    EQUAL(id, 77);

    size_t before = memory_in_use();
    for (int i = 0; i < 3; i++) {
        OK(lq_put(queue, body, sizeof body, NULL));
        OK(lq_put_batch(queue, two, 2, NULL));
        EQUAL(memory_in_use(), before);
    }
    two[1].size = 5000; /* few bytes need none to be gathered */
    call_fault_plan(CALL_ALLOCATE, 1, true, ENOMEM);
    queue->log.options.compression = 0;
    OK(lq_put_batch(queue, two, 2, NULL));
    EQUAL(call_fault_hits(), 0);
    call_fault_end();
    end(state, queue);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_DIRECTORY(a_put_that_may_wait_for_weeks_waits_for_a_lock_in_one_piece),
        IN_DIRECTORY(a_put_that_may_wait_for_weeks_waits_for_room),
        IN_DIRECTORY(a_put_with_a_time_keeps_to_it_and_leaves_the_thread_its_patience),
        IN_DIRECTORY(a_put_whose_leader_does_not_come_says_what_it_waits_for),
        IN_DIRECTORY(a_full_queue_refuses_or_drops_as_it_was_told),
        IN_DIRECTORY(who_finds_the_queue_full_takes_the_room_that_another_makes_meanwhile),
        IN_DIRECTORY(a_put_that_need_not_be_durable_syncs_nothing_and_writes_out_what_is_enough),
        IN_DIRECTORY(a_put_that_waits_for_room_sleeps),
        IN_DIRECTORY(room_that_nobody_rings_for_is_found_all_the_same),
        IN_DIRECTORY(old_segments_go_with_the_put_that_begins_a_segment),
        IN_DIRECTORY(what_packs_well_takes_less_and_what_does_not_takes_what_it_is),
        IN_DIRECTORY(a_put_without_memory_is_refused_and_one_with_it_gives_it_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
