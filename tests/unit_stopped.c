/* Whoever holds a lock was stopped. What waits for it keeps to its own time-out; what does not need it goes on. */
#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "consumer.h"
#include "support/api.h"
#include "support/child.h"

/* No call of these tests may take so long; the locks' own patience is longer. */
enum { SOON_US = 3000000 };

static char path[4096];
static lq_options options;

enum lock { CONSUMER_C, APPEND, WRITE, TRIM, SYNC };

static struct holder {
    enum lock lock;
    int ready;
    pid_t child;
} holder;

static int hold(void *context)
{
    (void)context;
    lq_queue *queue;
    OK(lq_open(path, &options, &queue));
    struct lqi_shared *head = queue->map.head;
    struct lqi_consumer_slot *consumer = lqi_consumers_find(head, "c");
    struct lqi_lock *locks[] = {consumer ? &consumer->lock : NULL, &head->log.append, &head->log.write, &head->log.trim, &head->log.sync};
    CHECK(lqi_lock_try(locks[holder.lock]) == LQI_LOCKED);
    CHECK(write(holder.ready, "", 1) == 1);
    for (;;) pause();
}

static void stop_with(enum lock lock)
{
    int ready[2];
    char byte;
    HOLDS(pipe(ready) == 0);
    holder = (struct holder){.lock = lock, .ready = ready[1]};
    holder.child = child_start(hold, NULL);
    close(ready[1]); /* if the child dies, we do not wait */
    HOLDS(read(ready[0], &byte, 1) == 1);
    close(ready[0]);
}

/* The next queue; whoever opens it first makes it. */
static void choose(void **state, lq_options with)
{
    snprintf(path, sizeof path, "%s", api_path(*state, "q"));
    options = with;
    options.size = sizeof options;
    lqi_lock_patience_ms = LQI_LOCK_PATIENCE_MS;
}

static lq_queue *begin(void **state, lq_options with)
{
    choose(state, with);
    return api_open(state, &options);
}

/* How long the call took, in microseconds, which is never long. */
#define TIMED(code, call)                              \
    (timed_from = api_now_us(), api_code((code), (call), #call, __FILE__, __LINE__), how_long())
static int64_t timed_from;

static int64_t how_long(void)
{
    int64_t us = api_now_us() - timed_from;
    HOLDS(us < SOON_US);
    return us;
}

static void get_and_poll_keep_to_their_time_when_a_member_is_stopped(void **state)
{
    lq_queue *queue = begin(state, (lq_options){.sync = LQ_SYNC_NEVER});
    lq_consumer *consumer = api_consumer(queue, "c", NULL);
    lq_message message, several[4];
    size_t count;

    api_put(queue, "there");
    stop_with(CONSUMER_C);
    TIMED(LQ_EMPTY, lq_poll(consumer, &message));
    HOLDS(TIMED(LQ_TIMEOUT, lq_get(consumer, &message, 300)) >= 300000);
    TIMED(LQ_EMPTY, lq_get_batch(consumer, several, 4, &count, 0));

    /* Not for ever: that somebody was stopped must come out. */
    lqi_lock_patience_ms = 700;
    int err, polls = 0;
    while ((err = lq_poll(consumer, &message)) == LQ_EMPTY) HOLDS(++polls < 100);
    IS(LQ_EBUSY, err);
    TEXT_HAS("consumer lock", "stopped");
    TEXT_HAS("consumer 'c'", " ms, the last time");
    const char *all = strstr(lq_error_text(), " for ");
    HOLDS(all && atoi(all + 5) >= 700); /* and not what the last call has waited */
    TEXT_HAS("consumer 'c'", "consumer lock: not had");
    HOLDS(!strstr(lq_error_text(), "lock of"));
    TIMED(LQ_EBUSY, lq_get(consumer, &message, -1));

    child_kill(holder.child);
    OK(lq_get(consumer, &message, 1000));
    HOLDS(api_is_text(&message, "there"));
    OK(lq_ack(consumer, &message));
    stop_with(CONSUMER_C);
    TIMED(LQ_EMPTY, lq_poll(consumer, &message)); /* a new account */
    child_kill(holder.child);
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
}

/* Both the first look at the queue and the last one may meet him. What the machine is slow at is not the library's. */
static void get_waits_no_longer_beyond_its_time_for_a_stopped_member_than_poll(void **state)
{
    enum { TIME_MS = 300, TRIES = 10 };
    lq_queue *queue = begin(state, (lq_options){.sync = LQ_SYNC_NEVER});
    lq_consumer *consumer = api_consumer(queue, "c", NULL);
    lq_message message;
    int64_t best = INT64_MAX;
    api_put(queue, "there");
    stop_with(CONSUMER_C);
    for (int i = 0; i < TRIES && best >= (TIME_MS + LQI_TAKE_LOCK_MS) * 1000; i++) {
        int64_t took = TIMED(LQ_TIMEOUT, lq_get(consumer, &message, TIME_MS));
        HOLDS(took >= TIME_MS * 1000);
        if (took < best) best = took;
    }
    HOLDS(best < (TIME_MS + LQI_TAKE_LOCK_MS) * 1000);
    child_kill(holder.child);
    api_get_ack(consumer, "there");
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
}

/* ---- what was leased, and cannot be read ---------------------------------- */

/* A machine whose next read of a log file finds that a member has just been stopped with the lock. */
static struct lqi_io unlucky;
static bool armed;
static int error_of_read;

static int stopped_meanwhile(const struct lqi_io *io, int fd, uint64_t offset, void *data, size_t size, size_t *size_out)
{
    if (armed) stop_with(CONSUMER_C);
    if (armed && error_of_read) {
        armed = false;
        return error_of_read;
    }
    armed = false;
    return lqi_io_posix.read(io, fd, offset, data, size, size_out);
}

/* Message 1 has been handed out and has come back; its bytes are in the file only. */
static lq_queue *begin_with_one_returned(void **state, int error)
{
    lq_queue *queue = begin(state, (lq_options){0});
    lq_consumer *consumer = api_consumer(queue, "c", NULL);
    api_put(queue, "again");
    api_get(consumer, "again");
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
    unlucky = lqi_io_posix;
    unlucky.read = stopped_meanwhile;
    error_of_read = error;
    OK(lqi_open_io(&unlucky, path, &options, &queue));
    lqi_lock_patience_ms = 100;
    return queue;
}

enum next_call { ACK, POLL, CLOSE };

static void given_back_at(enum next_call call, void **state)
{
    lq_message message;
    lq_queue *queue = begin_with_one_returned(state, EIO);
    api_put(queue, "new");
    lq_consumer *consumer = api_consumer(queue, "c", NULL), *other = api_consumer(queue, "c", NULL);
    armed = true;
    TIMED(LQ_EIO, lq_poll(consumer, &message));
    TEXT_HAS("log/", "Input/output error");
    HOLDS(!armed);
    TIMED(LQ_EMPTY, lq_poll(consumer, &message)); /* nothing more is leased meanwhile */
    child_kill(holder.child);
    EQUAL(api_consumer_stats(queue, "c").unacked, 1);

    if (call == ACK) IS(LQ_ELEASE, lq_ack(consumer, &(lq_message){.id = 2}));
    if (call == CLOSE) OK(lq_consumer_close(consumer));
    if (call == POLL) {
        message = api_get(consumer, "again");
        OK(lq_release(consumer, &message));
    }
    message = api_get(other, "again");
    EQUAL(message.attempts, 2); /* the one that nobody saw does not count */
    OK(lq_ack(other, &message));
    api_get_ack(other, "new");
    if (call != CLOSE) OK(lq_consumer_close(consumer));
    OK(lq_consumer_close(other));
    OK(lq_close(queue));
}

static void what_cannot_be_read_nor_given_back_is_given_back_by_the_next_poll(void **state)
{
    given_back_at(POLL, state);
}

static void what_cannot_be_read_nor_given_back_is_given_back_by_the_next_ack(void **state)
{
    given_back_at(ACK, state);
}

static void what_cannot_be_read_nor_given_back_is_given_back_by_the_close(void **state)
{
    given_back_at(CLOSE, state);
}

/* It cannot say that it goes. That it has gone is seen all the same, though the process and its handle live on. */
static void what_a_member_holds_that_closes_while_another_is_stopped_goes_to_others_afterwards(void **state)
{
    lq_queue *queue = begin(state, (lq_options){.sync = LQ_SYNC_NEVER});
    lq_consumer *consumer = api_consumer(queue, "c", NULL), *other = api_consumer(queue, "c", NULL);
    api_put(queue, "held");
    api_get(consumer, "held");
    stop_with(CONSUMER_C);
    lqi_lock_patience_ms = 100;
    TIMED(LQ_EBUSY, lq_consumer_close(consumer));
    child_kill(holder.child);

    lq_message message;
    OK(lq_get(other, &message, 100));
    HOLDS(api_is_text(&message, "held"));
    EQUAL(message.attempts, 2);
    OK(lq_ack(other, &message));
    EQUAL(api_consumer_stats(queue, "c").members, 1);
    OK(lq_consumer_close(other));
    OK(lq_consumer_delete(queue, "c"));
    OK(lq_close(queue));
}

static void what_is_damaged_and_cannot_be_settled_is_told_once_and_settled_at_the_next_call(void **state)
{
    lq_message message;
    lq_queue *queue = begin_with_one_returned(state, 0);
    lq_consumer *consumer = api_consumer(queue, "c", NULL);
    api_file_flip(api_path(path, "log/00000000000000000001.seg"), LQI_SEGMENT_HEADER + 40, 1);
    armed = true;
    TIMED(LQ_ECORRUPT, lq_poll(consumer, &message));
    HOLDS(!armed);
    child_kill(holder.child);
    TIMED(LQ_EMPTY, lq_poll(consumer, &message));
    EQUAL(api_consumer_stats(queue, "c").floor, 1);
    EQUAL(api_stats(queue).damage, 1);
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
}

static void a_batch_that_meets_a_stopped_member_is_what_it_had_by_then(void **state)
{
    lq_message messages[2];
    size_t count = 0;
    lq_queue *queue = begin_with_one_returned(state, 0);
    lq_consumer *consumer = api_consumer(queue, "c", NULL);
    api_put(queue, "new");
    armed = true;
    TIMED(LQ_OK, lq_get_batch(consumer, messages, 2, &count, 0));
    HOLDS(!armed);
    EQUAL(count, 1);
    HOLDS(api_is_text(&messages[0], "again"));
    TIMED(LQ_EMPTY, lq_get_batch(consumer, messages + 1, 1, &count, 0)); /* its time begins anew */
    child_kill(holder.child);
    OK(lq_ack(consumer, messages));
    api_get_ack(consumer, "new");
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
}

static void the_descriptor_of_who_could_not_give_back_stays_readable(void **state)
{
    lq_message message;
    lq_queue *queue = begin_with_one_returned(state, EIO);
    lq_consumer *consumer = api_consumer(queue, "c", NULL);
    struct pollfd fd = {.fd = lq_fd(consumer), .events = POLLIN};
    EQUAL(poll(&fd, 1, 3000), 1);
    armed = true;
    IS(LQ_EIO, lq_poll(consumer, &message));
    lqi_lock_patience_ms = LQI_LOCK_PATIENCE_MS;
    TIMED(LQ_EMPTY, lq_poll(consumer, &message));
    EQUAL(poll(&fd, 1, 0), 1);
    child_kill(holder.child);
    api_get_ack(consumer, "again");
    TIMED(LQ_EMPTY, lq_poll(consumer, &message));
    EQUAL(poll(&fd, 1, 0), 0);
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
}

/* ---- others ---------------------------------------------------------------- */

static void get_goes_on_when_a_putter_is_stopped_in_an_append_or_in_writing_out(void **state)
{
    for (enum lock lock = APPEND; lock <= TRIM; lock++) {
        lq_queue *queue = begin(state, (lq_options){.sync = LQ_SYNC_NEVER});
        lq_consumer *consumer = api_consumer(queue, "c", NULL);
        lq_message message;
        api_put(queue, "there");
        stop_with(lock);
        TIMED(LQ_OK, lq_get(consumer, &message, 1000));
        TIMED(LQ_OK, lq_ack(consumer, &message));
        TIMED(LQ_TIMEOUT, lq_get(consumer, &message, 100));
        child_kill(holder.child);
        OK(lq_consumer_close(consumer));
        OK(lq_close(queue));
    }
}

static void a_put_that_may_wait_for_room_waits_for_a_stopped_putter_no_longer(void **state)
{
    for (enum lock lock = APPEND; lock <= WRITE; lock++) {
        static char large[40000];
        lq_queue *queue = begin(state, (lq_options){.sync = LQ_SYNC_NEVER, .full = LQ_FULL_BLOCK, .full_timeout_ms = 200,
                                                    .size_max = 1 << 20, .segment_size = 65536, .ring_size = 65536});
        lq_consumer *consumer = api_consumer(queue, "c", NULL);
        uint64_t before = api_put(queue, "there");
        stop_with(lock);
        HOLDS(TIMED(LQ_TIMEOUT, lq_put(queue, large, lock == APPEND ? 10 : sizeof large, NULL)) >= 200000);
        TEXT_HAS("in the time given", lock == APPEND ? "append lock" : "write lock");
        child_kill(holder.child);
        EQUAL(api_put(queue, "next"), before + 1); /* it is not there */
        OK(lq_consumer_close(consumer));
        OK(lq_close(queue));
        OK(lq_verify(path, 0, NULL, NULL, NULL));
    }
}

/* Each lock has its own patience, and a PUT has one time: it needs several of them, and some several times. */
static void a_put_that_may_wait_for_room_uses_all_of_its_time_and_no_more(void **state)
{
    for (enum lock lock = APPEND; lock <= TRIM; lock++) {
        static char large[40000];
        lq_queue *queue = begin(state, (lq_options){.sync = LQ_SYNC_NEVER, .full = LQ_FULL_BLOCK, .full_timeout_ms = 400,
                                                    .size_max = 1 << 17, .segment_size = 65536, .ring_size = 65536});
        uint64_t before = api_put(queue, "there");
        for (int i = 0; lock == TRIM && i < 3; i++) OK(lq_put(queue, large, sizeof large, &before)); /* it is full */
        stop_with(lock);
        lqi_lock_patience_ms = 30;
        if (lock == WRITE) IS(LQ_EBUSY, lqi_prepare(&queue->log, 2)); /* each step of it says so by itself */
        HOLDS(TIMED(LQ_TIMEOUT, lq_put(queue, large, sizeof large, NULL)) >= 400000);
        child_kill(holder.child);
        EQUAL(api_put(queue, "next"), before + 1);
        OK(lq_close(queue));
    }
}

/* Its message is in the log, and nobody can say more. */
static void a_put_whose_leader_is_stopped_says_that_its_message_may_be_there(void **state)
{
    lq_queue *queue = begin(state, (lq_options){.full = LQ_FULL_BLOCK, .full_timeout_ms = 1});
    uint64_t id = api_put(queue, "there"), second = 0;
    stop_with(SYNC);
    lqi_lock_patience_ms = 50;
    HOLDS(TIMED(LQ_EBUSY, lq_put(queue, "maybe", 5, &second)) >= 50000);
    TEXT_HAS("writing to the disk", "stopped");
    EQUAL(second, 0);
    EQUAL(api_stats(queue).visible_id, id);
    child_kill(holder.child);
    OK(lq_sync(queue));
    EQUAL(api_stats(queue).visible_id, id + 1);
    OK(lq_close(queue));
}

/* Without a time of its own, a PUT waits as long as anybody waits for a lock. */
static void a_put_that_may_wait_for_ever_says_that_somebody_was_stopped(void **state)
{
    for (int64_t timeout_ms = -1; timeout_ms <= 0; timeout_ms++) {
        lq_queue *queue = begin(state, (lq_options){.sync = LQ_SYNC_NEVER, .full = LQ_FULL_BLOCK, .full_timeout_ms = timeout_ms,
                                                    .size_max = 1 << 17, .segment_size = 65536, .ring_size = 65536});
        uint64_t before = api_put(queue, "there");
        stop_with(APPEND);
        lqi_lock_patience_ms = 50;
        HOLDS(TIMED(LQ_EBUSY, lq_put(queue, "no", 2, NULL)) >= 50000);
        TEXT_HAS("append lock", "stopped");
        child_kill(holder.child);
        EQUAL(api_put(queue, "next"), before + 1);
        OK(lq_close(queue));
    }
}

static void a_put_is_over_when_its_message_is_in_though_a_deleter_of_segments_is_stopped(void **state)
{
    lq_queue *queue = begin(state, (lq_options){.sync = LQ_SYNC_NEVER, .retention = LQ_RETAIN_LIMITS, .size_max = 1 << 17,
                                                .segment_size = 65536, .ring_size = 65536});
    static char body[10000];
    stop_with(TRIM);
    /* Up to size_max: over it, PUT cannot go on without him. */
    for (int i = 0; i < 12; i++) TIMED(LQ_OK, lq_put(queue, body, sizeof body, NULL));
    HOLDS(api_stats(queue).segments >= 2);
    child_kill(holder.child);
    OK(lq_close(queue));
}

/* What could not be deleted for him is deleted by the next PUT, not only when another segment has begun. */
static void old_segments_go_with_the_first_put_after_a_deleter_has_gone(void **state)
{
    lq_queue *queue = begin(state, (lq_options){.sync = LQ_SYNC_NEVER, .segment_size = 65536, .ring_size = 65536});
    lq_consumer *consumer = api_consumer(queue, "c", NULL);
    static char body[10000];
    stop_with(TRIM);
    for (uint64_t i = 1; i <= 20; i++) {
        TIMED(LQ_OK, lq_put(queue, body, sizeof body, NULL));
        lq_message message;
        OK(lq_get(consumer, &message, 1000));
        OK(lq_ack(consumer, &message));
    }
    EQUAL(api_stats(queue).first_id, 1);
    child_kill(holder.child);
    uint64_t segments = api_stats(queue).segments;
    api_put(queue, "small");
    HOLDS(api_stats(queue).first_id > 1);
    HOLDS(api_stats(queue).segments < segments);
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
}

static _Atomic uint32_t told;

static int count_told(void *context, int code, const lq_message *message)
{
    (void)context, (void)message;
    if (code == LQ_OK) atomic_fetch_add(&told, 1);
    return LQ_SETTLE_ACK;
}

static void other_consumers_are_told_while_a_member_of_one_is_stopped(void **state)
{
    lq_queue *queue = begin(state, (lq_options){.sync = LQ_SYNC_NEVER});
    lq_consumer *consumer = api_consumer(queue, "c", NULL), *other = api_consumer(queue, "other", NULL);
    lq_consumer *polled = api_consumer(queue, "c", NULL);
    HOLDS(lq_fd(polled) >= 3);
    stop_with(CONSUMER_C);
    atomic_store(&told, 0);
    OK(lq_notify(consumer, count_told, NULL));
    OK(lq_notify(other, count_told, NULL));
    const int64_t start = api_now_us();
    for (uint32_t i = 1; i <= 5; i++) {
        api_put(queue, "news");
        while (atomic_load(&told) < i && api_now_us() - start < SOON_US) api_sleep_ms(1);
        EQUAL(atomic_load(&told), i);
    }
    child_kill(holder.child);
    for (int i = 0; i < 5000 && atomic_load(&told) < 10; i++) api_sleep_ms(1);
    EQUAL(atomic_load(&told), 10); /* and the other one, too */
    OK(lq_consumer_close(polled));
    OK(lq_consumer_close(consumer));
    OK(lq_consumer_close(other));
    OK(lq_close(queue));
}

/* All queues of a process share the library's thread. */
static void a_queue_that_syncs_by_interval_delays_no_other_when_a_leader_is_stopped(void **state)
{
    lq_queue *queue, *quick;
    choose(state, (lq_options){.sync = LQ_SYNC_INTERVAL, .sync_interval_ms = 20});
    stop_with(SYNC); /* before there is a thread: ThreadSanitizer does not let a child of several have one */
    queue = api_open(state, &options);
    OK(lq_open(api_path(*state, "quick"), NULL, &quick));
    lq_consumer *consumer = api_consumer(quick, "c", NULL);
    atomic_store(&told, 0);
    OK(lq_notify(consumer, count_told, NULL));
    api_put(queue, "unsynced");
    api_sleep_ms(50);
    const int64_t start = api_now_us();
    for (uint32_t i = 1; i <= 5; i++) {
        api_put(quick, "news");
        while (atomic_load(&told) < i && api_now_us() - start < SOON_US) api_sleep_ms(1);
        EQUAL(atomic_load(&told), i);
    }
    HOLDS(api_stats(queue).synced < api_stats(queue).appended);
    child_kill(holder.child);
    while (api_stats(queue).synced < api_stats(queue).appended && api_now_us() - start < 3 * SOON_US) api_sleep_ms(5);
    EQUAL(api_stats(queue).synced, api_stats(queue).appended);
    OK(lq_consumer_close(consumer));
    OK(lq_close(quick));
    OK(lq_close(queue));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_DIRECTORY(get_and_poll_keep_to_their_time_when_a_member_is_stopped),
        IN_DIRECTORY(get_waits_no_longer_beyond_its_time_for_a_stopped_member_than_poll),
        IN_DIRECTORY(what_cannot_be_read_nor_given_back_is_given_back_by_the_next_poll),
        IN_DIRECTORY(what_cannot_be_read_nor_given_back_is_given_back_by_the_next_ack),
        IN_DIRECTORY(what_cannot_be_read_nor_given_back_is_given_back_by_the_close),
        IN_DIRECTORY(what_a_member_holds_that_closes_while_another_is_stopped_goes_to_others_afterwards),
        IN_DIRECTORY(what_is_damaged_and_cannot_be_settled_is_told_once_and_settled_at_the_next_call),
        IN_DIRECTORY(a_batch_that_meets_a_stopped_member_is_what_it_had_by_then),
        IN_DIRECTORY(the_descriptor_of_who_could_not_give_back_stays_readable),
        IN_DIRECTORY(get_goes_on_when_a_putter_is_stopped_in_an_append_or_in_writing_out),
        IN_DIRECTORY(a_put_that_may_wait_for_room_waits_for_a_stopped_putter_no_longer),
        IN_DIRECTORY(a_put_that_may_wait_for_room_uses_all_of_its_time_and_no_more),
        IN_DIRECTORY(a_put_whose_leader_is_stopped_says_that_its_message_may_be_there),
        IN_DIRECTORY(a_put_that_may_wait_for_ever_says_that_somebody_was_stopped),
        IN_DIRECTORY(a_put_is_over_when_its_message_is_in_though_a_deleter_of_segments_is_stopped),
        IN_DIRECTORY(old_segments_go_with_the_first_put_after_a_deleter_has_gone),
        IN_DIRECTORY(a_queue_that_syncs_by_interval_delays_no_other_when_a_leader_is_stopped),
        IN_DIRECTORY(other_consumers_are_told_while_a_member_of_one_is_stopped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
