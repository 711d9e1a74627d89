/* Numbers and listings: what lq_get_stats() and its kin tell of a queue. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "support/api.h"
#include "support/child.h"

static void a_new_queue_is_all_zeroes_but_its_options(void **state)
{
    lq_queue *queue = api_open(state, NULL);
    lq_stats stats = api_stats(queue);

    EQUAL(stats.size, sizeof stats);
    EQUAL(stats.first_id, 1);
    EQUAL(stats.last_id, 0);
    EQUAL(stats.visible_id, 0);
    EQUAL(stats.bytes, 0);
    EQUAL(stats.consumers, 0);
    EQUAL(stats.handles, 1);
    EQUAL(stats.first_time_us, 0);
    EQUAL(stats.last_time_us, 0);
    EQUAL(stats.poisoned, 0);
    EQUAL(stats.live, 1);
    EQUAL(stats.format, 1);
    OK(lq_close(queue));
}

static void the_numbers_follow_what_is_done(void **state)
{
    lq_queue *queue = api_open(state, NULL), *second = api_open(state, NULL);
    lq_consumer *consumer = api_consumer(queue, "c", NULL);
    lq_message messages[3];

    api_put_range(queue, 1, 10, 100);
    lq_stats stats = api_stats(second);
    EQUAL(stats.first_id, 1);
    EQUAL(stats.last_id, 10);
    EQUAL(stats.visible_id, 10);
    HOLDS(stats.bytes >= 1000 && stats.bytes <= 2000);
    EQUAL(stats.appended, stats.written);
    EQUAL(stats.appended, stats.synced);
    EQUAL(stats.segments, 1);
    EQUAL(stats.consumers, 1);
    EQUAL(stats.handles, 2);
    HOLDS(stats.first_time_us > 0 && stats.last_time_us >= stats.first_time_us);

    for (int i = 0; i < 3; i++) OK(lq_poll(consumer, &messages[i]));
    OK(lq_ack(consumer, &messages[0]));
    OK(lq_release(consumer, &messages[1]));
    lq_consumer_stats of_c = api_consumer_stats(second, "c");
    assert_string_equal(of_c.name, "c");
    EQUAL(of_c.size, sizeof of_c);
    EQUAL(of_c.floor, 1);
    EQUAL(of_c.delivered, 3);
    EQUAL(of_c.unacked, 1);
    EQUAL(of_c.ready, 8); /* seven new ones and the one that comes again */
    EQUAL(of_c.dropped, 0);
    EQUAL(of_c.members, 1);
    EQUAL(of_c.window, 65536);
    OK(lq_consumer_close(consumer));
    of_c = api_consumer_stats(second, "c");
    EQUAL(of_c.unacked, 0);
    EQUAL(of_c.ready, 9);
    EQUAL(of_c.members, 0);
    OK(lq_close(queue));
    EQUAL(api_stats(second).handles, 1);
    OK(lq_close(second));

    queue = api_open(state, &(lq_options){.flags = LQ_READ_ONLY});
    of_c = api_consumer_stats(queue, "c");
    EQUAL(of_c.floor, 1);
    EQUAL(of_c.ready, 9);
    HOLDS(of_c.saved_time_us > 0);
    stats = api_stats(queue);
    EQUAL(stats.last_id, 10);
    EQUAL(stats.live, 0);
    EQUAL(stats.segments, 1);
    HOLDS(stats.first_time_us > 0 && stats.last_time_us >= stats.first_time_us);
    OK(lq_close(queue));
}

/* Not that of what closing writes behind it: in the working memory, in files, opened again, and in the list of log files. */
static void the_newest_time_is_that_of_the_newest_message(void **state)
{
    lq_queue *queue = api_open(state, NULL);
    lq_reader *reader;
    lq_message message;

    api_put_range(queue, 1, 2, 10);
    OK(lq_reader_open(queue, &reader));
    OK(lq_reader_next(reader, &message));
    OK(lq_reader_next(reader, &message));
    int64_t put_us = message.time_us;
    lq_reader_close(reader);
    api_sleep_ms(5);
    EQUAL(api_stats(queue).last_time_us, put_us);
    OK(lq_close(queue));

    for (int again = 0; again < 2; again++) {
        queue = api_open(state, &(lq_options){.flags = LQ_READ_ONLY});
        EQUAL(api_stats(queue).last_time_us, put_us);
        OK(lq_close(queue));
        api_sleep_ms(5);
        queue = api_open(state, NULL);
        EQUAL(api_stats(queue).last_time_us, put_us);
        OK(lq_close(queue));
    }
}

static void a_size_that_no_version_has_is_refused(void **state)
{
    lq_queue *queue = api_open(state, NULL);
    lq_stats *stats = calloc(1, 100000);
    lq_consumer_stats *of_consumer = (lq_consumer_stats *)stats;
    OK(lq_consumer_close(api_consumer(queue, "c", NULL)));
    stats->size = 70000;
    IS(LQ_EINVAL, lq_get_stats(queue, stats));
    IS(LQ_EINVAL, lq_get_consumer_stats(queue, "c", of_consumer));
    stats->size = 60000;
    OK(lq_get_stats(queue, stats));
    EQUAL(stats->consumers, 1);
    free(stats);
    OK(lq_close(queue));
}

static void the_options_are_told_as_stored(void **state)
{
    const lq_options options = {
        .sync = LQ_SYNC_INTERVAL, .sync_interval_ms = 250, .retention = LQ_RETAIN_BOTH, .full = LQ_FULL_DROP,
        .size_max = 10 << 20, .age_max_ms = 3600000, .segment_size = 1 << 20, .ring_size = 128 << 10,
        .message_size_max = 1000, .compression = 3,
    };
    lq_queue *queue = api_open(state, &options);
    for (int pass = 0; pass < 3; pass++) {
        lq_stats stats = api_stats(queue);
        EQUAL(stats.sync, options.sync);
        EQUAL(stats.sync_interval_ms, options.sync_interval_ms);
        EQUAL(stats.retention, options.retention);
        EQUAL(stats.full, options.full);
        EQUAL(stats.size_max, options.size_max);
        EQUAL(stats.age_max_ms, options.age_max_ms);
        EQUAL(stats.segment_size, options.segment_size);
        EQUAL(stats.ring_size, options.ring_size);
        EQUAL(stats.message_size_max, options.message_size_max);
        EQUAL(stats.compression, options.compression);
        OK(lq_close(queue));
        queue = api_open(state, &(lq_options){.flags = pass ? LQ_READ_ONLY : 0});
    }
    OK(lq_close(queue));
}

static void callers_of_another_version_have_other_sizes(void **state)
{
    lq_queue *queue = api_open(state, NULL);
    OK(lq_consumer_close(api_consumer(queue, "c", NULL)));
    struct {
        lq_stats stats;
        uint8_t newer[64];
    } larger;
    memset(&larger, 0xee, sizeof larger);
    larger.stats.size = sizeof larger;
    OK(lq_get_stats(queue, &larger.stats));
    for (size_t i = 0; i < sizeof larger.newer; i++) EQUAL(larger.newer[i], 0);
    EQUAL(larger.stats.size, sizeof larger);

    lq_stats smaller;
    memset(&smaller, 0xee, sizeof smaller);
    smaller.size = offsetof(lq_stats, bytes);
    OK(lq_get_stats(queue, &smaller));
    EQUAL(smaller.first_id, 1);
    for (size_t i = offsetof(lq_stats, bytes); i < sizeof smaller; i++) EQUAL(((uint8_t *)&smaller)[i], 0xee);

    smaller.size = 0;
    IS(LQ_EINVAL, lq_get_stats(queue, &smaller));
    IS(LQ_EINVAL, lq_get_consumer_stats(queue, "c", &(lq_consumer_stats){.size = 1}));
    IS(LQ_EINVAL, lq_get_stats(queue, NULL));
    IS(LQ_EINVAL, lq_get_stats(NULL, &larger.stats));
    IS(LQ_EINVAL, lq_get_consumer_stats(queue, "c", NULL));
    OK(lq_close(queue));
}

/* ---- listings --------------------------------------------------------------- */

struct names {
    char text[200];
    int stop_at, count;
};

static int collect(void *context, int code, const lq_consumer_stats *stats)
{
    struct names *names = context;
    EQUAL(code, LQ_OK);
    strcat(names->text, stats->name);
    strcat(names->text, " ");
    return ++names->count == names->stop_at ? 42 : 0;
}

static void consumers_are_listed_by_name(void **state)
{
    lq_queue *queue = api_open(state, NULL);
    struct names names = {0};

    OK(lq_each_consumer(queue, collect, &names));
    assert_string_equal(names.text, "");
    OK(lq_consumer_close(api_consumer(queue, "b", NULL)));
    OK(lq_consumer_close(api_consumer(queue, "a", NULL)));
    OK(lq_consumer_close(api_consumer(queue, "a.1", NULL)));
    OK(lq_each_consumer(queue, collect, &names));
    assert_string_equal(names.text, "a a.1 b ");
    names = (struct names){.stop_at = 2};
    EQUAL(lq_each_consumer(queue, collect, &names), 42);
    assert_string_equal(names.text, "a a.1 ");
    IS(LQ_EINVAL, lq_each_consumer(queue, NULL, NULL));
    IS(LQ_EINVAL, lq_each_consumer(NULL, collect, &names));
    OK(lq_close(queue));
}

static int note_code(void *context, int code, const lq_consumer_stats *stats)
{
    struct names *names = context;
    names->count = code;
    strcpy(names->text, stats->name);
    return 0;
}

static void a_consumer_that_cannot_be_read_is_listed_by_its_name(void **state)
{
    lq_queue *queue = api_open(state, NULL);
    struct names names = {0};
    OK(lq_consumer_close(api_consumer(queue, "broken", NULL)));
    OK(lq_close(queue));
    api_file_write(api_path(*state, "q/consumers/broken.pos"), "nonsense", 8);
    queue = api_open(state, NULL);
    OK(lq_each_consumer(queue, note_code, &names));
    assert_string_equal(names.text, "broken");
    EQUAL(names.count, LQ_ECORRUPT);
    OK(lq_close(queue));
}

struct list {
    lq_segment segments[64];
    char files[64][60];
    int count, stop_at;
};

static int collect_segment(void *context, const lq_segment *segment)
{
    struct list *list = context;
    strcpy(list->files[list->count], segment->file);
    list->segments[list->count++] = *segment;
    return list->count == list->stop_at ? 42 : 0;
}

static void segments_are_listed_oldest_first_and_without_gaps(void **state)
{
    lq_queue *queue = api_open(state, &(lq_options){.segment_size = 64 << 10, .ring_size = 64 << 10});
    for (int pass = 0; pass < 3; pass++) {
        struct list *list = calloc(1, sizeof *list);
        if (pass == 0) api_put_range(queue, 1, 500, 1000);
        OK(lq_each_segment(queue, collect_segment, list));
        HOLDS(list->count > 5);
        EQUAL(list->count, api_stats(queue).segments);
        EQUAL(list->segments[0].first_id, 1);
        EQUAL(list->segments[0].position, 0);
        for (int i = 0; i < list->count; i++) {
            const lq_segment *segment = &list->segments[i], *next = &list->segments[i + 1];
            EQUAL(segment->size, sizeof *segment);
            EQUAL(segment->code, LQ_OK);
            EQUAL(segment->sealed, i + 1 < list->count);
            HOLDS(segment->file_bytes >= segment->bytes);
            HOLDS(segment->first_time_us > 0 && segment->last_time_us >= segment->first_time_us);
            HOLDS(strncmp(list->files[i], "log/", 4) == 0);
            HOLDS(api_file_exists(api_path(api_path(*state, "q"), list->files[i])));
            if (i + 1 == list->count) {
                EQUAL(segment->last_id, 500);
            } else {
                EQUAL(segment->last_id + 1, next->first_id);
                EQUAL(segment->position + segment->bytes, next->position);
            }
        }
        list->count = 0;
        list->stop_at = 3;
        EQUAL(lq_each_segment(queue, collect_segment, list), 42);
        free(list);
        OK(lq_close(queue));
        queue = api_open(state, &(lq_options){.flags = pass == 0 ? LQ_READ_ONLY : 0});
    }
    IS(LQ_EINVAL, lq_each_segment(queue, NULL, NULL));
    OK(lq_close(queue));
}

/* ---- processes ----------------------------------------------------------------- */

static int open_and_wait(void *path)
{
    lq_queue *queue;
    lq_consumer *consumer;
    OK(lq_open(path, NULL, &queue));
    OK(lq_consumer_open(queue, "c", NULL, &consumer));
    api_put(queue, "here");
    pause();
    return 0;
}

static void handles_of_other_processes_count_as_long_as_they_live(void **state)
{
    char path[4096];
    strcpy(path, api_path(*state, "q"));
    lq_queue *queue = api_open(state, NULL);
    lq_consumer *consumer = api_consumer(queue, "mine", NULL);

    pid_t child = child_start(open_and_wait, path);
    api_get_ack(consumer, "here");
    EQUAL(api_stats(queue).handles, 2);
    EQUAL(api_consumer_stats(queue, "c").members, 1);
    child_kill(child);
    EQUAL(api_stats(queue).handles, 1);
    EQUAL(api_stats(queue).live, 1);
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_DIRECTORY(a_new_queue_is_all_zeroes_but_its_options),
        IN_DIRECTORY(the_numbers_follow_what_is_done),
        IN_DIRECTORY(the_newest_time_is_that_of_the_newest_message),
        IN_DIRECTORY(a_size_that_no_version_has_is_refused),
        IN_DIRECTORY(the_options_are_told_as_stored),
        IN_DIRECTORY(callers_of_another_version_have_other_sizes),
        IN_DIRECTORY(consumers_are_listed_by_name),
        IN_DIRECTORY(a_consumer_that_cannot_be_read_is_listed_by_its_name),
        IN_DIRECTORY(segments_are_listed_oldest_first_and_without_gaps),
        IN_DIRECTORY(handles_of_other_processes_count_as_long_as_they_live),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
