/* Who is overtaken: retention has deleted what a consumer or a reader had not read yet. It goes on at the oldest message that is
 * kept, and what it has missed is counted once. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "support/api.h"

/* Small segments; about 60 messages of 1,000 bytes go into one. */
#define SMALL .segment_size = 64 << 10, .ring_size = 64 << 10, .sync = LQ_SYNC_NEVER
enum { BODY = 1000 };

static void a_consumer_that_was_overtaken_while_closed_begins_at_the_oldest(void **state)
{
    lq_queue *queue = api_open(state, &(lq_options){SMALL, .size_max = 256 << 10, .retention = LQ_RETAIN_LIMITS});
    lq_consumer *consumer = api_consumer(queue, "c", NULL);
    api_put_range(queue, 1, 20, BODY);
    api_take_range(consumer, 1, 5, BODY);
    OK(lq_consumer_close(consumer));
    api_put_range(queue, 21, 1000, BODY);
    OK(lq_close(queue));

    queue = api_open(state, NULL);
    uint64_t first = api_stats(queue).first_id;
    HOLDS(first > 700);
    lq_consumer_stats of_c = api_consumer_stats(queue, "c");
    EQUAL(of_c.dropped, first - 6);
    EQUAL(of_c.ready, 1000 - first + 1);
    consumer = api_consumer(queue, "c", NULL);
    api_take_range(consumer, first, 1000, BODY);
    OK(lq_consumer_close(consumer));
    EQUAL(api_stats(queue).damage, 0);
    OK(lq_close(queue));
}

static void what_was_settled_out_of_order_before_one_was_overtaken_is_neither_ready_nor_dropped(void **state)
{
    lq_queue *queue = api_open(state, &(lq_options){SMALL, .size_max = 256 << 10, .retention = LQ_RETAIN_LIMITS});
    lq_consumer *consumer = api_consumer(queue, "c", NULL);
    lq_message messages[20];
    api_put_range(queue, 1, 20, BODY);
    for (int i = 0; i < 20; i++) OK(lq_poll(consumer, &messages[i]));
    for (int i = 5; i < 20; i++) OK(lq_ack(consumer, &messages[i])); /* 1 to 5 come again */
    OK(lq_consumer_close(consumer));
    api_put_range(queue, 21, 1000, BODY);
    uint64_t first = api_stats(queue).first_id;
    HOLDS(first > 700);
    lq_consumer_stats of_c = api_consumer_stats(queue, "c");
    EQUAL(of_c.dropped, first - 1 - 20); /* it has not been there yet: the five count when it comes by */
    EQUAL(of_c.ready, 1000 - first + 1);
    OK(lq_close(queue));

    /* Then it is asked of the file, by those who look and by those who open, and the answer is the same. */
    for (uint32_t flags = LQ_READ_ONLY;; flags = 0) {
        queue = api_open(state, &(lq_options){.flags = flags});
        of_c = api_consumer_stats(queue, "c");
        EQUAL(of_c.floor, first - 1);
        EQUAL(of_c.delivered, first - 1);
        EQUAL(of_c.dropped, first - 1 - 15);
        EQUAL(of_c.ready, 1000 - first + 1);
        OK(lq_close(queue));
        if (!flags) break;
    }
}

static void a_consumer_that_was_overtaken_in_its_window_has_left_what_is_still_kept(void **state)
{
    lq_queue *queue = api_open(state, &(lq_options){SMALL, .size_max = 256 << 10, .retention = LQ_RETAIN_LIMITS});
    lq_consumer *consumer = api_consumer(queue, "c", NULL);
    lq_message messages[200];
    api_put_range(queue, 1, 200, BODY);
    for (int i = 0; i < 200; i++) OK(lq_poll(consumer, &messages[i]));
    OK(lq_ack(consumer, &messages[1]));
    OK(lq_ack(consumer, &messages[199]));
    OK(lq_consumer_close(consumer));
    uint64_t last = 200;
    while (api_stats(queue).first_id == 1) api_put_range(queue, last + 1, last + 10, BODY), last += 10;
    uint64_t first = api_stats(queue).first_id;
    HOLDS(first > 5 && first < 200);
    EQUAL(api_consumer_stats(queue, "c").ready, last - first + 1); /* not known before somebody looks: the last one is settled */
    OK(lq_close(queue));
    for (uint32_t flags = LQ_READ_ONLY;; flags = 0) {
        queue = api_open(state, &(lq_options){.flags = flags});
        lq_consumer_stats of_c = api_consumer_stats(queue, "c");
        EQUAL(of_c.floor, first - 1);
        EQUAL(of_c.delivered, 200);
        EQUAL(of_c.dropped, first - 1 - 1);
        EQUAL(of_c.ready, last - first + 1 - 1);
        OK(lq_close(queue));
        if (!flags) break;
    }
}

static void one_that_was_overtaken_begins_behind_what_it_has_settled_there(void **state)
{
    lq_queue *queue = api_open(state, &(lq_options){SMALL, .size_max = 256 << 10, .retention = LQ_RETAIN_LIMITS});
    lq_consumer *consumer = api_consumer(queue, "c", NULL);
    lq_message message;
    api_put_range(queue, 1, 1, BODY);
    OK(lq_poll(consumer, &message)); /* held until it is closed */
    api_put_range(queue, 2, 1000, BODY);
    uint64_t first = api_stats(queue).first_id;
    HOLDS(first > 700);
    api_take_range(consumer, first, 990, BODY);
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));

    queue = api_open(state, NULL);
    lq_consumer_stats of_c = api_consumer_stats(queue, "c");
    EQUAL(of_c.floor, 990);
    EQUAL(of_c.delivered, 990);
    EQUAL(of_c.ready, 10);
    EQUAL(of_c.dropped, 1);
    OK(lq_close(queue));
}

static void a_consumer_that_was_overtaken_before_its_first_get_goes_on_at_the_oldest(void **state)
{
    lq_queue *queue = api_open(state, &(lq_options){SMALL, .size_max = 256 << 10, .retention = LQ_RETAIN_LIMITS});
    lq_consumer *consumer = api_consumer(queue, "c", NULL);
    lq_message message;
    api_put_range(queue, 1, 20, BODY);
    for (int i = 0; i < 10; i++) OK(lq_poll(consumer, &message)); /* 10 come again, 10 are new */
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));

    queue = api_open(state, NULL);
    consumer = api_consumer(queue, "c", NULL);
    api_put_range(queue, 21, 1000, BODY);
    uint64_t first = api_stats(queue).first_id;
    HOLDS(first > 700);
    api_take_range(consumer, first, 1000, BODY);
    EQUAL(api_consumer_stats(queue, "c").floor, 1000);
    EQUAL(api_consumer_stats(queue, "c").dropped, first - 1);
    EQUAL(api_stats(queue).damage, 0);
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
}

static void a_reader_that_was_overtaken_goes_on_at_the_oldest(void **state)
{
    lq_queue *queue = api_open(state, &(lq_options){SMALL, .size_max = 256 << 10, .retention = LQ_RETAIN_LIMITS});
    lq_reader *reader;
    lq_message message;
    OK(lq_reader_open(queue, &reader));
    api_put_range(queue, 1, 20, BODY);
    OK(lq_reader_next(reader, &message));
    api_put_range(queue, 21, 1000, BODY);
    uint64_t last = 1;
    int err;
    while ((err = lq_reader_next(reader, &message)) == LQ_OK) {
        HOLDS(message.id > last);
        HOLDS(api_is_filled(&message, BODY, message.id));
        last = message.id;
    }
    IS(LQ_EMPTY, err);
    EQUAL(last, 1000);
    OK(lq_reader_seek_id(reader, 3));
    OK(lq_reader_next(reader, &message));
    EQUAL(message.id, api_stats(queue).first_id);
    lq_reader_close(reader);
    OK(lq_close(queue));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_DIRECTORY(a_consumer_that_was_overtaken_while_closed_begins_at_the_oldest),
        IN_DIRECTORY(what_was_settled_out_of_order_before_one_was_overtaken_is_neither_ready_nor_dropped),
        IN_DIRECTORY(a_consumer_that_was_overtaken_in_its_window_has_left_what_is_still_kept),
        IN_DIRECTORY(one_that_was_overtaken_begins_behind_what_it_has_settled_there),
        IN_DIRECTORY(a_consumer_that_was_overtaken_before_its_first_get_goes_on_at_the_oldest),
        IN_DIRECTORY(a_reader_that_was_overtaken_goes_on_at_the_oldest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
