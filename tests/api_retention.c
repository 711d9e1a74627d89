/* Retention and limits: which segments go, and when. What that means to those who had not read them: api_overtaken. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "support/api.h"

/* Small segments; about 60 messages of 1,000 bytes go into one. */
#define SMALL .segment_size = 64 << 10, .ring_size = 64 << 10, .sync = LQ_SYNC_NEVER
enum { BODY = 1000 };

/* As a user with a full queue would: what is put, taken as fast as it comes. */
static int put_one(lq_queue *queue, uint64_t number)
{
    uint8_t bytes[BODY];
    uint64_t id = 0;
    api_fill(bytes, BODY, number);
    int err = lq_put(queue, bytes, BODY, &id);
    if (!err) EQUAL(id, number);
    return err;
}

static uint64_t fill_up(lq_queue *queue)
{
    uint64_t number = api_stats(queue).last_id;
    while (put_one(queue, number + 1) == LQ_OK) number++;
    return number;
}

/* ---- consumed ----------------------------------------------------------------- */

static void what_every_consumer_has_settled_goes_and_the_disk_is_given_back(void **state)
{
    lq_queue *queue = api_open(state, &(lq_options){SMALL});
    lq_consumer *a = api_consumer(queue, "a", NULL), *b = api_consumer(queue, "b", NULL);

    api_put_range(queue, 1, 2000, BODY);
    OK(lq_sync(queue));
    uint64_t full = api_disk_used(api_path(*state, "q/log"));
    HOLDS(full > 2000 * BODY);
    api_take_range(a, 1, 2000, BODY);
    EQUAL(api_stats(queue).first_id, 1); /* b has seen nothing yet */
    api_take_range(b, 1, 1000, BODY);
    lq_stats stats = api_stats(queue);
    HOLDS(stats.first_id > 900 && stats.first_id <= 1001);
    api_take_range(b, 1001, 2000, BODY);
    stats = api_stats(queue);
    HOLDS(stats.first_id > 1900);
    HOLDS(stats.segments <= 2);
    HOLDS(stats.bytes <= 130 << 10);
    uint64_t after = api_disk_used(api_path(*state, "q/log"));
    HOLDS(after < full / 8);
    OK(lq_consumer_close(a));
    OK(lq_consumer_close(b));
    OK(lq_close(queue));
    HOLDS(api_disk_used(api_path(*state, "q/log")) <= 140 << 10);

    queue = api_open(state, NULL);
    EQUAL(api_stats(queue).first_id, stats.first_id);
    api_read_range(queue, stats.first_id, 2000, BODY);
    EQUAL(api_stats(queue).damage, 0);
    OK(lq_close(queue));
    OK(lq_verify(api_path(*state, "q"), 0, NULL, NULL, NULL));
}

static void without_a_consumer_everything_stays(void **state)
{
    lq_queue *queue = api_open(state, &(lq_options){SMALL});
    api_put_range(queue, 1, 500, BODY);
    EQUAL(api_stats(queue).first_id, 1);
    OK(lq_close(queue));
    queue = api_open(state, NULL);
    api_read_range(queue, 1, 500, BODY);
    OK(lq_close(queue));
}

static void deleting_the_last_slow_consumer_gives_the_disk_back(void **state)
{
    lq_queue *queue = api_open(state, &(lq_options){SMALL});
    lq_consumer *fast = api_consumer(queue, "fast", NULL);

    OK(lq_consumer_close(api_consumer(queue, "gone", NULL)));
    api_put_range(queue, 1, 500, BODY);
    api_take_range(fast, 1, 500, BODY);
    EQUAL(api_stats(queue).first_id, 1);
    OK(lq_consumer_delete(queue, "gone"));
    HOLDS(api_stats(queue).first_id > 400);
    OK(lq_consumer_close(fast));
    OK(lq_close(queue));
}

static void one_unsettled_message_keeps_its_segment_and_all_behind(void **state)
{
    lq_queue *queue = api_open(state, &(lq_options){SMALL});
    lq_consumer *consumer = api_consumer(queue, "c", NULL);
    lq_message slow;

    api_put_range(queue, 1, 500, BODY);
    api_take_range(consumer, 1, 99, BODY);
    OK(lq_poll(consumer, &slow));
    api_take_range(consumer, 101, 500, BODY);
    lq_stats stats = api_stats(queue);
    HOLDS(stats.first_id <= 100 && stats.first_id > 1);
    HOLDS(api_is_filled(&slow, BODY, 100));
    OK(lq_ack(consumer, &slow));
    HOLDS(api_stats(queue).first_id > 400);
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
}

static void what_was_consumed_before_a_restart_goes_after_it(void **state)
{
    lq_queue *queue = api_open(state, &(lq_options){SMALL});
    lq_consumer *consumer = api_consumer(queue, "c", NULL);
    api_put_range(queue, 1, 500, BODY);
    api_take_range(consumer, 1, 250, BODY);
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));

    queue = api_open(state, NULL);
    consumer = api_consumer(queue, "c", NULL);
    api_take_range(consumer, 251, 500, BODY);
    HOLDS(api_stats(queue).first_id > 400);
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
}

static void who_consumes_faster_than_the_log_is_written_gets_the_disk_back_too(void **state)
{
    lq_queue *queue = api_open(state, &(lq_options){.segment_size = 64 << 10, .ring_size = 4 << 20, .sync = LQ_SYNC_NEVER});
    lq_consumer *consumer = api_consumer(queue, "c", NULL);
    for (uint64_t number = 1; number <= 3000; number++) {
        api_put_range(queue, number, number, BODY);
        api_take_range(consumer, number, number, BODY);
    }
    HOLDS(api_stats(queue).segments <= 4);
    HOLDS(api_disk_used(api_path(*state, "q/log")) <= 400 << 10);
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
}

/* Files of the log that have no name any more and are still open in this process: their space is not given back. */
static int deleted_and_open(void)
{
    char link[64], target[4096];
    int count = 0;
    for (int fd = 3; fd < 200; fd++) {
        snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        ssize_t size = readlink(link, target, sizeof target - 1);
        if (size <= 0) continue;
        target[size] = 0;
        count += strstr(target, ".seg (deleted)") != NULL;
    }
    return count;
}

static void who_has_nothing_to_do_keeps_no_deleted_file_open(void **state)
{
    lq_queue *queue = api_open(state, &(lq_options){SMALL});
    lq_consumer *consumer = api_consumer(queue, "c", NULL), *ahead = api_consumer(queue, "ahead", NULL);
    lq_message message;

    api_put_range(queue, 1, 500, BODY);
    for (int i = 0; i < 2; i++) { /* read a second time, from the file */
        OK(lq_poll(consumer, &message));
        OK(lq_release(consumer, &message));
    }
    api_take_range(ahead, 1, 500, BODY);
    api_take_range(consumer, 1, 500, BODY);
    HOLDS(api_stats(queue).first_id > 1);
    IS(LQ_EMPTY, lq_poll(consumer, &message));
    IS(LQ_EMPTY, lq_poll(ahead, &message));
    EQUAL(deleted_and_open(), 0);
    OK(lq_consumer_close(consumer));
    OK(lq_consumer_close(ahead));
    OK(lq_close(queue));
}

static void who_has_a_full_window_keeps_no_deleted_file_open(void **state)
{
    lq_queue *queue = api_open(state, &(lq_options){SMALL, .retention = LQ_RETAIN_LIMITS, .size_max = 256 << 10});
    lq_consumer *consumer = api_consumer(queue, "c", &(lq_consumer_options){.window = 64});
    lq_message message;

    api_put_range(queue, 1, 200, BODY);
    for (int i = 0; i < 64; i++) OK(lq_poll(consumer, &message));
    EQUAL(deleted_and_open(), 0);
    api_put_range(queue, 201, 600, BODY);
    HOLDS(api_stats(queue).first_id > 200);
    IS(LQ_EMPTY, lq_poll(consumer, &message));
    EQUAL(deleted_and_open(), 0);
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
}

/* ---- a full queue ---------------------------------------------------------------- */

static void a_full_queue_rejects_until_something_is_consumed(void **state)
{
    lq_queue *queue = api_open(state, &(lq_options){SMALL, .size_max = 256 << 10});
    lq_consumer *consumer = api_consumer(queue, "c", NULL);

    uint64_t last = fill_up(queue);
    HOLDS(last >= 240 && last <= 260);
    IS(LQ_EFULL, put_one(queue, last + 1));
    TEXT_HAS("262144");
    HOLDS(api_stats(queue).bytes <= 256 << 10);
    IS(LQ_EFULL, put_one(queue, last + 1));
    api_take_range(consumer, 1, last / 2, BODY); /* GET and ack go on */
    OK(put_one(queue, last + 1));
    HOLDS(api_stats(queue).first_id > 1);
    api_take_range(consumer, last / 2 + 1, last + 1, BODY);
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
}

/* The ring holds more than the queue may: nothing of it needs to be in a file yet. */
static void a_full_queue_whose_log_is_still_in_memory_makes_room_as_well(void **state)
{
    static const int policies[] = {LQ_FULL_REJECT, LQ_FULL_BLOCK, LQ_FULL_DROP};
    for (size_t i = 0; i < 3; i++) {
        lq_options options = {.size = sizeof options, .segment_size = 64 << 10, .ring_size = 4 << 20, .sync = LQ_SYNC_NEVER,
                              .size_max = 128 << 10, .full = policies[i], .full_timeout_ms = 1000};
        char name[] = "q0", *body = calloc(1, 20000);
        lq_queue *queue;
        lq_message message;
        name[1] = (char)('0' + i);
        OK(lq_open(api_path(*state, name), &options, &queue));
        lq_consumer *consumer = api_consumer(queue, "c", NULL);
        for (int round = 0; round < 60; round++) {
            OK(lq_put(queue, body, 20000, NULL));
            if (policies[i] == LQ_FULL_DROP) continue;
            OK(lq_poll(consumer, &message));
            OK(lq_ack(consumer, &message));
        }
        OK(lq_consumer_close(consumer));
        OK(lq_close(queue));
        free(body);
    }
}

struct putter {
    lq_queue *queue;
    uint64_t number;
    int err;
    _Atomic int done;
    int64_t took_us;
};

static void *put_in_thread(void *context)
{
    struct putter *putter = context;
    int64_t start = api_now_us();
    putter->err = put_one(putter->queue, putter->number);
    putter->took_us = api_now_us() - start;
    atomic_store(&putter->done, 1);
    return NULL;
}

static void a_full_queue_blocks_until_somebody_consumes(void **state)
{
    lq_queue *queue = api_open(state, &(lq_options){SMALL, .size_max = 256 << 10, .full = LQ_FULL_BLOCK, .full_timeout_ms = 200});
    lq_queue *patient = api_open(state, NULL);
    lq_consumer *consumer = api_consumer(queue, "c", NULL);
    uint64_t last = 0;
    pthread_t thread;

    int64_t start = api_now_us();
    int err;
    while ((err = put_one(queue, last + 1)) == LQ_OK) last++, start = api_now_us();
    IS(LQ_TIMEOUT, err);
    HOLDS(api_now_us() - start >= 199000);
    HOLDS(last >= 240);

    struct putter putter = {.queue = patient, .number = last + 1};
    pthread_create(&thread, NULL, put_in_thread, &putter);
    api_sleep_ms(250); /* longer than the other handle would wait */
    EQUAL(putter.done, 0);
    api_take_range(consumer, 1, 100, BODY);
    pthread_join(thread, NULL);
    OK(putter.err);
    api_take_range(consumer, 101, last + 1, BODY);
    OK(lq_consumer_close(consumer));
    OK(lq_close(patient));
    OK(lq_close(queue));
}

static void a_full_queue_drops_the_oldest_read_or_not(void **state)
{
    lq_queue *queue = api_open(state, &(lq_options){SMALL, .size_max = 256 << 10, .full = LQ_FULL_DROP});
    lq_consumer *consumer = api_consumer(queue, "c", NULL);
    lq_message held, message;

    api_put_range(queue, 1, 10, BODY);
    OK(lq_poll(consumer, &held));
    api_put_range(queue, 11, 2000, BODY);
    lq_stats stats = api_stats(queue);
    HOLDS(stats.first_id > 1700);
    HOLDS(stats.bytes <= 256 << 10);
    HOLDS(api_disk_used(api_path(*state, "q/log")) <= 400 << 10);

    HOLDS(api_is_filled(&held, BODY, 1)); /* what is lent stays */
    OK(lq_ack(consumer, &held));
    uint64_t last = 1, got = 1;
    while (last < 2000) { /* over the gap, without an error: it was asked for */
        OK(lq_poll(consumer, &message));
        HOLDS(message.id > last && (message.id == last + 1 || message.id == stats.first_id));
        HOLDS(api_is_filled(&message, BODY, message.id));
        OK(lq_ack(consumer, &message));
        last = message.id;
        got++;
    }
    lq_consumer_stats of_c = api_consumer_stats(queue, "c");
    EQUAL(of_c.floor, 2000);
    EQUAL(of_c.dropped, 2000 - got);
    EQUAL(api_stats(queue).damage, 0);
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
    OK(lq_verify(api_path(*state, "q"), 0, NULL, NULL, NULL));
}

static void what_was_lent_given_back_and_then_dropped_counts_as_dropped(void **state)
{
    lq_queue *queue = api_open(state, &(lq_options){SMALL, .size_max = 256 << 10, .full = LQ_FULL_DROP});
    lq_consumer *consumer = api_consumer(queue, "c", NULL);
    lq_message held[10], message;

    api_put_range(queue, 1, 10, BODY);
    for (int i = 0; i < 10; i++) OK(lq_poll(consumer, &held[i]));
    api_put_range(queue, 11, 2000, BODY);
    for (int i = 0; i < 10; i++) OK(lq_release(consumer, &held[i]));
    uint64_t first = api_stats(queue).first_id;
    OK(lq_poll(consumer, &message));
    EQUAL(message.id, first);
    EQUAL(api_consumer_stats(queue, "c").dropped, first - 1);
    EQUAL(api_stats(queue).damage, 0);
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
}

static void a_message_larger_than_the_whole_queue_is_refused_by_every_policy(void **state)
{
    static const int policies[] = {LQ_FULL_REJECT, LQ_FULL_DROP, LQ_FULL_BLOCK};
    char *huge = calloc(1, 300 << 10);
    for (int i = 0; i < 3; i++) {
        char name[] = "q0";
        name[1] = (char)('0' + i);
        lq_options options = {.size = sizeof options, SMALL, .size_max = 256 << 10, .full = policies[i], .full_timeout_ms = 30};
        lq_queue *queue;
        OK(lq_open(api_path(*state, name), &options, &queue));
        api_put(queue, "x");
        int err = lq_put(queue, huge, 300 << 10, NULL);
        HOLDS(err == LQ_EFULL || err == LQ_ETOOBIG || err == LQ_TIMEOUT);
        api_put(queue, "y");
        EQUAL(api_stats(queue).last_id, 2);
        OK(lq_close(queue));
    }
    free(huge);
}

/* ---- limits ------------------------------------------------------------------------- */

static void over_size_max_the_oldest_go_read_or_not(void **state)
{
    static const int retentions[] = {LQ_RETAIN_LIMITS, LQ_RETAIN_BOTH};
    for (int i = 0; i < 2; i++) {
        char name[] = "q0";
        name[1] = (char)('0' + i);
        lq_options options = {.size = sizeof options, SMALL, .size_max = 256 << 10, .retention = retentions[i]};
        lq_queue *queue;
        OK(lq_open(api_path(*state, name), &options, &queue));
        OK(lq_consumer_close(api_consumer(queue, "slow", NULL)));
        api_put_range(queue, 1, 1000, BODY);
        lq_stats stats = api_stats(queue);
        HOLDS(stats.first_id > 700 && stats.bytes <= 256 << 10);
        api_read_range(queue, stats.first_id, 1000, BODY);
        OK(lq_close(queue));
    }
}

static void limits_keep_what_is_consumed_until_it_is_old_enough(void **state)
{
    lq_queue *queue = api_open(state, &(lq_options){SMALL, .retention = LQ_RETAIN_LIMITS});
    lq_consumer *consumer = api_consumer(queue, "c", NULL);
    api_put_range(queue, 1, 500, BODY);
    api_take_range(consumer, 1, 500, BODY);
    EQUAL(api_stats(queue).first_id, 1);
    api_read_range(queue, 1, 500, BODY);
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));

    queue = api_open(state, NULL);
    EQUAL(api_stats(queue).first_id, 1);
    OK(lq_close(queue));
}

static void segments_that_are_too_old_go_with_the_next_one_and_when_opened(void **state)
{
    lq_queue *queue = api_open(state, &(lq_options){SMALL, .retention = LQ_RETAIN_BOTH, .age_max_ms = 150});
    int64_t begun_us = api_now_us();
    api_put_range(queue, 1, 300, BODY);
    lq_stats stats = api_stats(queue);
    HOLDS(stats.segments >= 5 || api_now_us() - begun_us >= 150000); /* a busy machine lets them grow old meanwhile */
    api_sleep_ms(200);
    begun_us = api_now_us();
    api_put_range(queue, 301, 450, BODY);
    stats = api_stats(queue);
    HOLDS(stats.first_id > 200);
    HOLDS(stats.first_id <= 301 || api_now_us() - begun_us >= 150000);
    OK(lq_close(queue));
    api_sleep_ms(200);
    queue = api_open(state, NULL);
    stats = api_stats(queue);
    HOLDS(stats.segments == 1); /* the last one never goes */
    EQUAL(stats.last_id, 450);
    api_put_range(queue, 451, 460, BODY);
    OK(lq_close(queue));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_DIRECTORY(what_every_consumer_has_settled_goes_and_the_disk_is_given_back),
        IN_DIRECTORY(without_a_consumer_everything_stays),
        IN_DIRECTORY(deleting_the_last_slow_consumer_gives_the_disk_back),
        IN_DIRECTORY(one_unsettled_message_keeps_its_segment_and_all_behind),
        IN_DIRECTORY(what_was_consumed_before_a_restart_goes_after_it),
        IN_DIRECTORY(who_consumes_faster_than_the_log_is_written_gets_the_disk_back_too),
        IN_DIRECTORY(who_has_nothing_to_do_keeps_no_deleted_file_open),
        IN_DIRECTORY(who_has_a_full_window_keeps_no_deleted_file_open),
        IN_DIRECTORY(a_full_queue_rejects_until_something_is_consumed),
        IN_DIRECTORY(a_full_queue_whose_log_is_still_in_memory_makes_room_as_well),
        IN_DIRECTORY(a_full_queue_blocks_until_somebody_consumes),
        IN_DIRECTORY(a_full_queue_drops_the_oldest_read_or_not),
        IN_DIRECTORY(what_was_lent_given_back_and_then_dropped_counts_as_dropped),
        IN_DIRECTORY(a_message_larger_than_the_whole_queue_is_refused_by_every_policy),
        IN_DIRECTORY(over_size_max_the_oldest_go_read_or_not),
        IN_DIRECTORY(limits_keep_what_is_consumed_until_it_is_old_enough),
        IN_DIRECTORY(segments_that_are_too_old_go_with_the_next_one_and_when_opened),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
