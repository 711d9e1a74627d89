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

/* Who looks what may go looks through the directory. */
static _Atomic uint32_t looks;
static int look_error;

static int dir_list(const struct lqi_io *io, int dir, lqi_name_callback *each, void *context)
{
    atomic_fetch_add(&looks, 1);
    return look_error ? look_error : lqi_io_posix.dir_list(io, dir, each, context);
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
    counting.dir_list = dir_list;
    look_error = 0;
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
    api_sleep_ms(10);
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
    api_sleep_ms(10);
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

/* Who rejects, or waits for ever, has no time that could be over: a lock is waited for as everybody does. */
static void a_put_without_a_time_says_which_lock_it_could_not_have(void **state)
{
    static const lq_options all[] = {{.full = LQ_FULL_REJECT}, {.full = LQ_FULL_REJECT, .full_timeout_ms = 1},
                                     {.full = LQ_FULL_DROP, .full_timeout_ms = 1, .size_max = 1 << 17},
                                     {.full = LQ_FULL_BLOCK, .size_max = 1 << 17},
                                     {.full = LQ_FULL_BLOCK, .full_timeout_ms = -1, .size_max = 1 << 17}};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        lq_queue *queue = begin(state, all[i]);
        hold(&queue->log.state->append);
        lqi_lock_patience_ms = 5;
        IS(LQ_EBUSY, lq_put(queue, "no", 2, NULL));
        lqi_lock_patience_ms = LQI_LOCK_PATIENCE_MS;
        TEXT_HAS("append lock");
        HOLDS(!strstr(lq_error_text(), "in the time given"));
        let_go();
        end(state, queue);
    }
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

/* What the disk says is told, and not that the queue is full, which nobody knows then. */
static void who_cannot_look_what_may_go_says_why(void **state)
{
    lq_queue *queue = begin(state, (lq_options){.size_max = 1 << 17, .full = LQ_FULL_BLOCK, .full_timeout_ms = 10000});
    while (!is_full_and_unwritten(queue)) OK(fill_up(queue, 1));
    uint64_t last = api_stats(queue).last_id;
    look_error = EIO;
    IS(LQ_EIO, fill_up(queue, 1));
    TEXT_HAS("log");
    look_error = 0;
    EQUAL(api_stats(queue).last_id, last);
    end(state, queue);
}

static void a_put_that_waits_for_room_sleeps(void **state)
{
    lq_queue *queue = begin(state, (lq_options){.size_max = 1 << 17, .full = LQ_FULL_BLOCK, .full_timeout_ms = 10});
    IS(LQ_TIMEOUT, fill_up(queue, 1000));
    uint64_t sleeps = 0;
    for (int i = 0; i < 20 && !sleeps; i++) { /* the time may be over before it lies down */
        call_fault_plan(CALL_FUTEX_WAIT, 1, true, 0);
        IS(LQ_TIMEOUT, fill_up(queue, 1));
        sleeps = call_fault_hits();
        call_fault_end();
    }
    EQUAL(sleeps, 1);
    /* A sleep that ends too soon is none of its concern. */
    call_fault_plan(CALL_FUTEX_WAIT, 1, false, EINTR);
    IS(LQ_TIMEOUT, fill_up(queue, 1));
    call_fault_end();
    end(state, queue);
}

static void *consume_and_ring_for_nobody(void *context)
{
    lq_consumer *consumer = context;
    lq_message message;
    api_sleep_ms(10);
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

/* So that the next put begins another one. */
static void fill_segment(lq_queue *queue)
{
    struct lqi_tail tail;
    do {
        OK(fill_up(queue, 1));
        OK(lqi_log_tail(&queue->log, &tail));
    } while (tail.end + lqi_record_span(BODY) <= queue->log.state->spans[tail.span & 1].limit);
}

static void what_fills_the_queue_to_its_last_byte_drops_nothing(void **state)
{
    for (int more = 0; more < 2; more++) {
        lq_queue *queue = begin(state, (lq_options){.sync = LQ_SYNC_ALWAYS, .retention = LQ_RETAIN_LIMITS, .size_max = 1 << 20});
        fill_segment(queue);
        fill_segment(queue);
        queue->log.options.size_max = appended(queue) + lqi_record_span(BODY) - (more ? 8 : 0);
        OK(fill_up(queue, 1));
        EQUAL(atomic_load(&queue->log.state->first_id) > 1, more);
        end(state, queue);
    }
}

/* But for those that begin a segment, a put has no business with the directory. */
static void a_put_looks_once_in_a_segment_what_may_go(void **state)
{
    lq_queue *queue = begin(state, (lq_options){.retention = LQ_RETAIN_LIMITS, .age_max_ms = 1000000});
    fill_segment(queue);
    for (int i = 0; i < 3; i++) {
        atomic_store(&looks, 0);
        fill_segment(queue);
        EQUAL(atomic_load(&looks), 1);
    }
    end(state, queue);
}

/* As after a restart: there are old segments, and the first put looks at them, or the next if somebody is at it. */
static void old_segments_go_with_the_first_put_into_a_queue_that_was_opened(void **state)
{
    lq_options options = {.retention = LQ_RETAIN_LIMITS, .age_max_ms = 1000000};
    lq_queue *queue = begin(state, options);
    fill_segment(queue);
    fill_segment(queue);
    OK(lq_close(queue));
    OK(lqi_open_io(&counting, api_path(*state, "q"), NULL, &queue));
    queue->log.options.age_max_ms = 1; /* as of an owner who has waited for so long */
    api_sleep_ms(2);
    struct lqi_log_state *shared = queue->log.state;
    hold(&shared->trim);
    OK(fill_up(queue, 1));
    EQUAL(atomic_load(&shared->first_id), 1);
    let_go();
    OK(fill_up(queue, 1));
    HOLDS(atomic_load(&shared->first_id) > 1);
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
    call_fault_plan(CALL_ALLOCATE, 2, true, ENOMEM);
    IS(LQ_ENOMEM, lq_put(queue, body, sizeof body, &id)); /* that of zlib */
    call_fault_end();
    EQUAL(appended(queue), end_of_log);
    EQUAL(id, 77);

    size_t before = memory_in_use();
    for (int i = 0; i < 3; i++) {
        OK(lq_put(queue, body, sizeof body, NULL));
        OK(lq_put_batch(queue, two, 2, NULL));
        EQUAL(memory_in_use(), before);
    }
    end(state, queue);

    /* Few bytes need none to be gathered, nor do those of a message alone. */
    queue = begin(state, (lq_options){0});
    OK(fill_up(queue, 1));
    OK(lqi_write_out(&queue->log));
    OK(fill_up(queue, 1)); /* looks what may go */
    two[1].size = 5000;
    two[0].size = 3000;
    uint32_t size;
    uint8_t flags;
    OK(lqi_payload_size(two, 2, sizeof body, &size, &flags));
    two[0].size += 8192 - size; /* to the last byte that is few */
    call_fault_plan(CALL_ALLOCATE, 1, true, ENOMEM);
    OK(lq_put_batch(queue, two, 2, NULL));
    two[1].size = 12000;
    OK(lq_put_batch(queue, &two[1], 1, NULL));
    EQUAL(call_fault_hits(), 0);
    call_fault_end();
    end(state, queue);
}

/* ---- what is no message, and no queue for it ------------------------------------------------------ */

static void what_cannot_be_put_is_refused_and_takes_no_id(void **state)
{
    static uint8_t body[2000];
    lq_message whole = {.data = body, .size = 1000}, over = {.data = body, .size = 1001};
    lq_queue *queue = begin(state, (lq_options){.message_size_max = 1000});
    uint64_t id = 77;
    IS(LQ_EINVAL, lq_put(NULL, body, 1, &id));
    IS(LQ_EINVAL, lq_put_batch(NULL, &whole, 1, &id));
    IS(LQ_EINVAL, lq_put(queue, NULL, 1, &id));
    TEXT_HAS("NULL", "size is 1");
    IS(LQ_EINVAL, lq_put_batch(queue, NULL, 1, &id));
    TEXT_HAS("NULL");
    IS(LQ_EINVAL, lq_put_batch(queue, &whole, 0, &id));
    IS(LQ_ETOOBIG, lq_put(queue, body, 1001, &id));
    TEXT_HAS("1001 bytes", "takes 1000");
    IS(LQ_ETOOBIG, lq_put_batch(queue, &over, 1, &id));
    EQUAL(id, 77);
    EQUAL(appended(queue), 0);
    OK(lq_put(queue, NULL, 0, &id));
    EQUAL(id, 1);
    OK(lq_put(queue, body, 1000, &id));
    EQUAL(id, 2);
    OK(lq_put_batch(queue, &whole, 1, &id));
    EQUAL(id, 3);
    OK(lq_close(queue));

    OK(lq_open(api_path(*state, "q"), &(lq_options){.size = sizeof(lq_options), .flags = LQ_READ_ONLY}, &queue));
    IS(LQ_EREADONLY, lq_put(queue, body, 1, &id));
    IS(LQ_EREADONLY, lq_put_batch(queue, &whole, 1, &id));
    EQUAL(id, 3);
    end(state, queue);
}

/* Few bytes of a batch are gathered on the stack, more in memory, and those of a single message not at all. */
static void a_batch_of_any_size_comes_out_as_it_went_in(void **state)
{
    static uint8_t body[20000];
    const size_t sizes[] = {0, 1, 4000, 4060, 4070, 4075, 4080, 4085, 4090, 4096, 10000};
    lq_queue *queue = begin(state, (lq_options){0});
    lq_consumer *consumer = api_consumer(queue, "c", NULL);
    api_fill(body, sizeof body, 1);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        for (size_t count = 1; count <= 2; count++) {
            lq_message out, batch[2] = {{.data = body, .size = sizes[i]}, {.data = body + 10000, .size = sizes[i]}};
            uint64_t first = 0;
            OK(lq_put_batch(queue, batch, count, &first));
            for (size_t j = 0; j < count; j++) {
                OK(lq_poll(consumer, &out));
                EQUAL(out.id, first + j);
                EQUAL(out.size, sizes[i]);
                HOLDS(out.size == 0 || memcmp(out.data, batch[j].data, out.size) == 0);
                OK(lq_ack(consumer, &out));
            }
        }
    }
    OK(lq_consumer_close(consumer));
    end(state, queue);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_DIRECTORY(a_put_that_may_wait_for_weeks_waits_for_a_lock_in_one_piece),
        IN_DIRECTORY(a_put_that_may_wait_for_weeks_waits_for_room),
        IN_DIRECTORY(a_put_with_a_time_keeps_to_it_and_leaves_the_thread_its_patience),
        IN_DIRECTORY(a_put_without_a_time_says_which_lock_it_could_not_have),
        IN_DIRECTORY(a_put_whose_leader_does_not_come_says_what_it_waits_for),
        IN_DIRECTORY(a_full_queue_refuses_or_drops_as_it_was_told),
        IN_DIRECTORY(who_finds_the_queue_full_takes_the_room_that_another_makes_meanwhile),
        IN_DIRECTORY(a_put_that_need_not_be_durable_syncs_nothing_and_writes_out_what_is_enough),
        IN_DIRECTORY(who_cannot_look_what_may_go_says_why),
        IN_DIRECTORY(a_put_that_waits_for_room_sleeps),
        IN_DIRECTORY(room_that_nobody_rings_for_is_found_all_the_same),
        IN_DIRECTORY(old_segments_go_with_the_put_that_begins_a_segment),
        IN_DIRECTORY(what_fills_the_queue_to_its_last_byte_drops_nothing),
        IN_DIRECTORY(a_put_looks_once_in_a_segment_what_may_go),
        IN_DIRECTORY(old_segments_go_with_the_first_put_into_a_queue_that_was_opened),
        IN_DIRECTORY(what_packs_well_takes_less_and_what_does_not_takes_what_it_is),
        IN_DIRECTORY(a_put_without_memory_is_refused_and_one_with_it_gives_it_back),
        IN_DIRECTORY(what_cannot_be_put_is_refused_and_takes_no_id),
        IN_DIRECTORY(a_batch_of_any_size_comes_out_as_it_went_in),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
