/* Retention where segments cannot be read, are of others, or lie: they hold the disk space of those behind them no longer than
 * somebody may need them. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "bytes.h"
#include "checksum.h"
#include "support/damage.h"
#include "support/forge.h"
#include "support/watched_queue.h"

enum broken { HEADER, HEADER_AND_TRAILER, OTHERS, NEWER };

/* The header of the n-th file is gone; or that of another queue, or of a newer version, is in its place. */
static void break_segment(void **state, size_t n, enum broken how)
{
    char path[4300];
    strcpy(path, api_segment(api_path(*state, "q"), n));
    struct api_bytes file = api_file_read(path);
    if (how == HEADER || how == HEADER_AND_TRAILER) damage_fill(path, 0, LQI_SEGMENT_HEADER, 9);
    if (how == HEADER_AND_TRAILER) damage_fill(path, file.size - LQI_SEGMENT_TRAILER, LQI_SEGMENT_TRAILER, 10);
    if (how == OTHERS || how == NEWER) {
        for (uint8_t *copy = file.bytes; copy < file.bytes + LQI_SEGMENT_HEADER; copy += LQI_SEGMENT_HEADER_COPY) {
            copy[how == OTHERS ? 24 : 8] ^= 2;
            lqi_put64(copy + LQI_SEGMENT_HEADER_COPY - 8, lqi_checksum(copy, LQI_SEGMENT_HEADER_COPY - 8));
        }
        api_file_write(path, file.bytes, file.size);
    }
    free(file.bytes);
}

/* Gets and acks, or is told that they are lost, up to the message `last`. */
static void go_through(lq_consumer *consumer, uint64_t last)
{
    lq_message message;
    uint64_t id = 0;
    while (id < last) {
        int err = lq_poll(consumer, &message);
        HOLDS(err == LQ_OK || err == LQ_ECORRUPT);
        if (!err) id = message.id;
        if (!err) OK(lq_ack(consumer, &message));
    }
    EQUAL(id, last);
}

static void what_is_consumed_goes_though_the_headers_of_some_segments_are_beyond_reading(void **state)
{
    for (enum broken how = HEADER; how <= HEADER_AND_TRAILER; how++) {
        lq_queue *queue = make_queue(state, (lq_options){0});
        struct segments all = list(queue);
        HOLDS(all.count >= 5);
        lq_consumer *consumer = api_consumer(queue, "c", NULL);
        break_segment(state, 1, how);
        break_segment(state, 2, how);
        go_through(consumer, MESSAGES); /* the acks see to it */
        begins_with(queue, all.ids[all.count - 1]);
        EQUAL(list(queue).count, 1);
        OK(lq_consumer_close(consumer));
        close_queue(queue);
        OK(lq_verify(api_path(*state, "q"), 0, NULL, NULL, NULL));
        HOLDS(!api_teardown(state) && !api_setup(state)); /* another directory */
    }
}

/* The trailer tells where the segment begins, so that it can be the oldest. */
static void a_segment_of_which_the_trailer_is_left_keeps_itself_but_not_those_before_it(void **state)
{
    lq_queue *queue = make_queue(state, (lq_options){0});
    struct segments all = list(queue);
    lq_consumer *consumer = api_consumer(queue, "c", NULL);
    break_segment(state, 1, HEADER);
    go_through(consumer, all.ids[1] - 1);
    EQUAL(list(queue).ids[0], all.ids[1]);
    EQUAL(api_stats(queue).first_id, all.ids[1]);
    EQUAL(atomic_load(&queue->log.state->second_id), all.ids[2]);
    go_through(consumer, all.ids[2] - 2);
    EQUAL(list(queue).ids[0], all.ids[1]);
    api_take_range(consumer, all.ids[2] - 1, MESSAGES, BODY);
    begins_with(queue, all.ids[all.count - 1]);
    OK(lq_consumer_close(consumer));
    close_queue(queue);
}

/* Where it begins nobody knows: it goes with those before it, when the one behind it says so. */
static void a_segment_of_which_nothing_is_left_goes_when_the_next_one_is_begun(void **state)
{
    lq_queue *queue = make_queue(state, (lq_options){0});
    struct segments all = list(queue);
    lq_consumer *consumer = api_consumer(queue, "c", NULL);
    break_segment(state, 1, HEADER_AND_TRAILER);
    api_take_range(consumer, 1, all.ids[1] - 1, BODY);
    EQUAL(list(queue).ids[0], 1);
    EQUAL(atomic_load(&queue->log.state->second_id), all.ids[2]); /* so that somebody asks again then */
    lq_message message;
    IS(LQ_ECORRUPT, lq_poll(consumer, &message));
    begins_with(queue, all.ids[2]);
    api_take_range(consumer, all.ids[2], all.ids[3] - 1, BODY);
    begins_with(queue, all.ids[3]);
    OK(lq_consumer_close(consumer));
    close_queue(queue);
}

static void a_segment_that_is_whole_for_others_to_read_stays_with_all_behind_it(void **state)
{
    for (enum broken how = OTHERS; how <= NEWER; how++) {
        for (size_t n = 0; n <= 2; n += 2) {
            lq_queue *queue = make_queue(state, (lq_options){0});
            struct segments all = list(queue);
            lq_consumer *consumer = api_consumer(queue, "c", &(lq_consumer_options){.start = LQ_START_END});
            break_segment(state, n, how);
            EQUAL(retain(queue, 0, false), n ? 1 : 0);
            EQUAL(list(queue).count, n ? all.count - 1 : all.count);
            OK(lq_consumer_close(consumer));
            close_queue(queue);
            HOLDS(!api_teardown(state) && !api_setup(state)); /* another directory */
        }
    }
}

/* A trailer tells no time when its segment was made. */
static void by_its_age_a_segment_goes_with_one_whose_header_is_lost_behind_it(void **state)
{
    lq_queue *queue = make_queue(state, (lq_options){.age_max_ms = 3600000, .retention = LQ_RETAIN_LIMITS});
    struct segments all = list(queue);
    const int64_t hour_us = (int64_t)3600 * 1000000;
    int64_t third_us = made_us(queue, all.ids[2]);
    break_segment(state, 1, HEADER);
    watched.now_us = third_us + hour_us;
    EQUAL(retain(queue, 0, false), 0);
    EQUAL(atomic_load(&queue->log.state->second_id), all.ids[1]);
    watched.now_us = INT64_MAX;
    watched.unreadable_id = all.ids[2]; /* nor who says nothing after it */
    EQUAL(retain(queue, 0, false), 0);
    watched.unreadable_id = 0;
    watched.now_us = third_us + hour_us + 1;
    EQUAL(retain(queue, 0, false), 2);
    begins_with(queue, all.ids[2]);
    close_queue(queue);
}

/* What the machine cannot read just now may be whole. The oldest needs no reading. */
static void a_failing_read_keeps_everything_but_the_oldest(void **state)
{
    lq_queue *queue = make_queue(state, (lq_options){0});
    struct segments all = list(queue);
    lq_consumer *consumer = api_consumer(queue, "c", &(lq_consumer_options){.start = LQ_START_END});
    watched.unreadable_id = all.ids[2];
    EQUAL(retain(queue, 0, false), 1);
    begins_with(queue, all.ids[1]);
    EQUAL(retain(queue, 0, false), 0);
    watched.unreadable_id = all.ids[1];
    EQUAL(retain(queue, 0, false), all.count - 2);
    OK(lq_consumer_close(consumer));
    close_queue(queue);
}

/* Headers that verify, and say of the segment before them that it ends where nothing durable is yet, or with messages that nobody has put. */
static void what_lies_about_the_end_of_the_last_segment_does_not_delete_it(void **state)
{
    lq_queue *queue = make_queue(state, (lq_options){.size_max = 1 << 20});
    struct segments all = list(queue);
    uint64_t synced = atomic_load(&queue->log.state->synced), last = all.ids[all.count - 1];
    const struct { uint64_t id, position; } lies[] = {{1000000, synced}, {MESSAGES + 2, synced}, {MESSAGES + 1, synced + 8}};
    for (size_t i = 0; i < 3; i++) {
        char path[4300];
        struct forge_segment *lie = forge_segment_new(lies[i].id, lies[i].position);
        memcpy(lie->uuid, queue->meta.uuid, sizeof lie->uuid);
        forge_segment_write(lie, api_path(*state, "q"));
        EQUAL(retain(queue, 1 << 20, true), i == 0 ? all.count - 1 : 0);
        EQUAL(list(queue).ids[0], last);
        strcpy(path, api_segment(api_path(*state, "q"), 1));
        damage_remove(path);
    }
    EQUAL(api_stats(queue).first_id, last);
    close_queue(queue);
}

/* A header that verifies, and says that it begins before the one in front of it: the log would begin where it has long been. */
static void a_segment_that_says_it_begins_before_the_one_before_it_deletes_nothing(void **state)
{
    enum { POSITION_AT = 48, DURABLE_AT = 72 };
    char path[4300];
    lq_queue *queue = make_queue(state, (lq_options){.size_max = 1 << 20});
    struct segments all = list(queue);
    strcpy(path, api_segment(api_path(*state, "q"), 2));
    struct api_bytes good = api_file_read(path), lie = api_file_read(path);
    for (uint8_t *copy = lie.bytes; copy < lie.bytes + LQI_SEGMENT_HEADER; copy += LQI_SEGMENT_HEADER_COPY) {
        lqi_put64(copy + POSITION_AT, 8);
        lqi_put64(copy + DURABLE_AT, 0);
        lqi_put64(copy + LQI_SEGMENT_HEADER_COPY - 8, lqi_checksum(copy, LQI_SEGMENT_HEADER_COPY - 8));
    }
    memset(lie.bytes + lie.size - LQI_SEGMENT_TRAILER, 1, LQI_SEGMENT_TRAILER); /* which would tell */
    api_file_write(path, lie.bytes, lie.size);
    EQUAL(retain(queue, 1 << 20, true), 1);
    begins_with(queue, all.ids[1]);
    EQUAL(retain(queue, 1 << 20, true), 0);
    api_file_write(path, good.bytes, good.size);
    EQUAL(retain(queue, 1 << 20, true), all.count - 2);
    begins_with(queue, all.ids[all.count - 1]);
    free(good.bytes);
    free(lie.bytes);
    close_queue(queue);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_DIRECTORY(what_is_consumed_goes_though_the_headers_of_some_segments_are_beyond_reading),
        IN_DIRECTORY(a_segment_of_which_the_trailer_is_left_keeps_itself_but_not_those_before_it),
        IN_DIRECTORY(a_segment_of_which_nothing_is_left_goes_when_the_next_one_is_begun),
        IN_DIRECTORY(a_segment_that_is_whole_for_others_to_read_stays_with_all_behind_it),
        IN_DIRECTORY(by_its_age_a_segment_goes_with_one_whose_header_is_lost_behind_it),
        IN_DIRECTORY(a_failing_read_keeps_everything_but_the_oldest),
        IN_DIRECTORY(what_lies_about_the_end_of_the_last_segment_does_not_delete_it),
        IN_DIRECTORY(a_segment_that_says_it_begins_before_the_one_before_it_deletes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
