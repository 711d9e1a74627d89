/* Retention, to the message, the byte and the microsecond: what may go, in which order, and what stays. The machine is watched:
 * when a file goes, `meta` must say so already, durably. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "support/damage.h"
#include "support/io_fault.h"
#include "support/watched_queue.h"

/* ---- what is consumed -------------------------------------------------------------- */

static void a_segment_goes_when_its_last_message_is_settled_and_not_before(void **state)
{
    lq_queue *queue = make_queue(state, (lq_options){0});
    lq_consumer *consumer = api_consumer(queue, "c", NULL);
    struct segments all = list(queue);
    HOLDS(all.count >= 4);
    begins_with(queue, 1);

    api_take_range(consumer, 1, all.ids[1] - 2, BODY);
    EQUAL(retain(queue, 0, false), 0);
    begins_with(queue, 1);
    api_take_range(consumer, all.ids[1] - 1, all.ids[1] - 1, BODY); /* the ack itself sees to it */
    begins_with(queue, all.ids[1]);
    EQUAL(retain(queue, 0, false), 0);
    api_take_range(consumer, all.ids[1], all.ids[2] - 2, BODY);
    EQUAL(retain(queue, 0, false), 0);
    begins_with(queue, all.ids[1]);
    OK(lq_consumer_close(consumer));
    close_queue(queue);
}

static void all_but_the_last_segment_go_at_once_the_oldest_first(void **state)
{
    lq_queue *queue = make_queue(state, (lq_options){0});
    struct segments all = list(queue);
    lq_consumer *consumer = api_consumer(queue, "c", &(lq_consumer_options){.start = LQ_START_END});
    EQUAL(retain(queue, 0, false), all.count - 1);
    EQUAL(watched.deleted, all.ids[all.count - 2]);
    EQUAL(list(queue).count, 1);
    begins_with(queue, all.ids[all.count - 1]);
    api_put_range(queue, MESSAGES + 1, MESSAGES + 100, BODY); /* and the next one is the second */
    EQUAL(atomic_load(&queue->log.state->second_id), list(queue).ids[1]);
    OK(lq_consumer_close(consumer));
    close_queue(queue);
}

static void the_slowest_consumer_decides_and_one_who_cannot_be_read_keeps_everything(void **state)
{
    lq_queue *queue = make_queue(state, (lq_options){0});
    struct segments all = list(queue);
    OK(lq_consumer_close(api_consumer(queue, "slow", &(lq_consumer_options){.start = LQ_START_ID, .start_id = all.ids[1]})));
    close_queue(queue);
    const char *file = api_path(*state, "q/consumers/slow.pos");
    struct api_bytes good = api_file_read(file);
    damage_fill(file, 0, 8192, 5);

    OK(lqi_open_io(&io, api_path(*state, "q"), NULL, &queue));
    watched.queue = queue;
    lqi_set_floor(lqi_consumers_find(queue->map.head, "slow"), all.ids[1]); /* as whoever had its slot before may have left it */
    lq_consumer *fast = api_consumer(queue, "fast", &(lq_consumer_options){.start = LQ_START_END});
    EQUAL(retain(queue, 0, false), 0);
    OK(lq_consumer_close(fast));
    close_queue(queue);
    api_file_write(file, good.bytes, good.size);
    free(good.bytes);

    OK(lqi_open_io(&io, api_path(*state, "q"), NULL, &queue));
    watched.queue = queue;
    EQUAL(retain(queue, 0, false), 1);
    begins_with(queue, all.ids[1]);
    close_queue(queue);
}

static void without_consumers_only_limits_delete(void **state)
{
    lq_queue *queue = make_queue(state, (lq_options){0});
    EQUAL(retain(queue, 0, false), 0);
    begins_with(queue, 1);
    close_queue(queue);
}

/* Not even if it has one message. */
static void without_consumers_the_first_message_stays_too(void **state)
{
    lq_queue *queue = make_queue(state, (lq_options){0});
    close_queue(queue);
    HOLDS(!api_teardown(state) && !api_setup(state));
    lq_options options = {.size = sizeof options, .segment_size = 64 * KIB, .ring_size = 64 * KIB, .sync = LQ_SYNC_NEVER};
    OK(lqi_open_io(&io, api_path(*state, "q"), &options, &queue));
    api_put_range(queue, 1, 4, 60 * KIB);
    OK(lq_sync(queue));
    EQUAL(list(queue).ids[1], 2);
    EQUAL(retain(queue, 0, false), 0);
    EQUAL(list(queue).ids[0], 1);
    OK(lq_close(queue));
}

static void who_waits_for_room_is_told(void **state)
{
    lq_queue *queue = make_queue(state, (lq_options){0});
    lq_consumer *consumer = api_consumer(queue, "c", &(lq_consumer_options){.start = LQ_START_END});
    struct lqi_bell *room = &queue->log.state->room;
    uint32_t seen = lqi_bell_listen(room);
    HOLDS(retain(queue, 0, false) > 0);
    HOLDS(atomic_load(&room->word) != seen);
    OK(lq_consumer_close(consumer));
    close_queue(queue);
}

/* ---- limits ------------------------------------------------------------------------ */

/* How many bytes more fit into the queue. */
static uint64_t room_of(lq_queue *queue)
{
    lq_stats stats = api_stats(queue);
    return stats.size_max - stats.bytes;
}

static void to_make_room_as_many_go_as_it_takes_to_the_byte(void **state)
{
    lq_queue *queue = make_queue(state, (lq_options){.size_max = 1 << 20});
    struct segments all = list(queue);
    uint64_t room = room_of(queue);
    EQUAL(retain(queue, room, true), 0);
    EQUAL(retain(queue, room + 1, false), 0); /* nobody has asked to drop anything */
    EQUAL(retain(queue, room + 1, true), 1);
    begins_with(queue, all.ids[1]);
    room = room_of(queue);
    EQUAL(retain(queue, room, true), 0);
    begins_with(queue, all.ids[1]);
    close_queue(queue);
}

static void over_size_max_the_oldest_go_without_being_asked_where_limits_count(void **state)
{
    lq_queue *queue = make_queue(state, (lq_options){.size_max = 1 << 20, .retention = LQ_RETAIN_LIMITS});
    struct segments all = list(queue);
    lq_consumer *consumer = api_consumer(queue, "c", &(lq_consumer_options){.start = LQ_START_END});
    EQUAL(retain(queue, 0, false), 0); /* what is consumed does not go for that */
    EQUAL(retain(queue, room_of(queue), false), 0);
    EQUAL(retain(queue, room_of(queue) + 1, false), 1);
    begins_with(queue, all.ids[1]);
    OK(lq_consumer_close(consumer));
    close_queue(queue);
}

static void a_segment_is_too_old_when_the_next_one_is_to_the_microsecond(void **state)
{
    lq_queue *queue = make_queue(state, (lq_options){.age_max_ms = 3600000, .retention = LQ_RETAIN_BOTH});
    struct segments all = list(queue);
    const int64_t hour_us = (int64_t)3600 * 1000000;
    HOLDS(made_us(queue, all.ids[1]) < made_us(queue, all.ids[2]));
    watched.now_us = made_us(queue, all.ids[1]) + hour_us;
    EQUAL(retain(queue, 0, false), 0);
    watched.now_us++;
    EQUAL(retain(queue, 0, false), 1);
    begins_with(queue, all.ids[1]);
    watched.now_us = made_us(queue, all.ids[3]) + hour_us;
    EQUAL(retain(queue, 0, false), 1);
    begins_with(queue, all.ids[2]);
    close_queue(queue);
}

static void no_age_is_over_an_age_without_end(void **state)
{
    static const int64_t ages_ms[] = {INT64_MAX / 1000, INT64_MAX / 1000 + 1, INT64_MAX / 1000 + 5000000000000, INT64_MAX};
    lq_queue *queue;
    for (size_t i = 0; i < sizeof ages_ms / sizeof *ages_ms; i++) {
        queue = make_queue(state, (lq_options){.age_max_ms = ages_ms[i], .retention = LQ_RETAIN_LIMITS});
        EQUAL(retain(queue, 0, false), 0);
        begins_with(queue, 1);
        close_queue(queue);
        HOLDS(!api_teardown(state) && !api_setup(state)); /* another directory */
    }
    lq_options options = {.size = sizeof options, .retention = LQ_RETAIN_LIMITS}; /* and none is given */
    OK(lqi_open_io(&io, api_path(*state, "r"), &options, &queue));
    api_put_range(queue, 1, 10, BODY);
    watched.now_us = INT64_MAX;
    EQUAL(retain(queue, 0, false), 0);
    watched.now_us = 0;
    OK(lq_close(queue));
}

/* ---- failures ---------------------------------------------------------------------- */

static void what_cannot_be_noted_durably_stays(void **state)
{
    lq_queue *queue = make_queue(state, (lq_options){0});
    struct segments all = list(queue);
    lq_consumer *consumer = api_consumer(queue, "c", &(lq_consumer_options){.start = LQ_START_END});
    size_t gone = 77;
    watched.sync_fails = true;
    IS(LQ_EIO, lqi_retain(&queue->log, 0, false, &gone));
    EQUAL(gone, 0);
    EQUAL(list(queue).count, all.count);
    EQUAL(atomic_load(&queue->log.state->first_id), 1);
    EQUAL(atomic_load(&queue->log.state->second_id), all.ids[1]);
    watched.sync_fails = false;
    watched.read_fails = true;
    IS(LQ_EIO, lqi_retain(&queue->log, 0, false, &gone));
    EQUAL(gone, 0);
    EQUAL(list(queue).count, all.count);
    watched.read_fails = false;
    EQUAL(retain(queue, 0, false), all.count - 1);
    begins_with(queue, all.ids[all.count - 1]);
    OK(lq_consumer_close(consumer));
    close_queue(queue);
}

static void a_queue_whose_old_segments_cannot_go_just_now_opens_all_the_same(void **state)
{
    struct io_fault fault;
    lq_queue *queue = make_queue(state, (lq_options){.retention = LQ_RETAIN_LIMITS, .age_max_ms = 1000});
    size_t count = list(queue).count;
    close_queue(queue);
    watched.now_us = INT64_MAX;
    io_fault_init(&fault, &io);
    io_fault_plan(&fault, IO_WRITE, 1, true, EIO);
    OK(lqi_open_io(&fault.io, api_path(*state, "q"), NULL, &queue));
    EQUAL(fault.hits, 1); /* it was tried */
    io_fault_end(&fault);
    watched.queue = queue;
    EQUAL(list(queue).count, count);
    EQUAL(retain(queue, 0, false), count - 1);
    close_queue(queue);
    io_fault_release(&fault);
}

/* Whether it was given up, or what it is at all, only the trim slot knows. */
static void a_file_from_before_the_beginning_stays_while_the_trim_slot_cannot_be_read(void **state)
{
    char first[4300];
    lq_queue *queue = make_queue(state, (lq_options){.size_max = 1 << 20});
    strcpy(first, api_segment(api_path(*state, "q"), 0));
    struct api_bytes file = api_file_read(first);
    HOLDS(retain(queue, 1 << 20, true) > 0);
    api_file_write(first, file.bytes, file.size); /* as if it could not be deleted then */
    watched.deleted = 0;
    watched.read_fails = true;
    EQUAL(retain(queue, 0, false), 0);
    HOLDS(api_file_exists(first));
    watched.read_fails = false;
    EQUAL(retain(queue, 0, false), 0);
    HOLDS(!api_file_exists(first));
    free(file.bytes);
    close_queue(queue);
}

static void what_cannot_be_listed_stays(void **state)
{
    lq_queue *queue = make_queue(state, (lq_options){0});
    struct segments all = list(queue);
    lq_consumer *consumer = api_consumer(queue, "c", &(lq_consumer_options){.start = LQ_START_END});
    watched.list_fails = true;
    IS(LQ_EIO, lqi_retain(&queue->log, 0, false, NULL));
    watched.list_fails = false;
    EQUAL(list(queue).count, all.count);
    OK(lq_consumer_close(consumer));
    close_queue(queue);
}

static void with_both_trim_slots_damaged_a_new_one_is_begun(void **state)
{
    lq_queue *queue = make_queue(state, (lq_options){0});
    struct segments all = list(queue);
    lq_consumer *consumer = api_consumer(queue, "c", &(lq_consumer_options){.start = LQ_START_END});
    damage_fill(api_path(*state, "q/meta"), 1024, 1024, 3);
    EQUAL(retain(queue, 0, false), all.count - 1);
    begins_with(queue, all.ids[all.count - 1]);
    OK(lq_consumer_close(consumer));
    close_queue(queue);
}

/* Whoever made a segment while others were deleted did not see that it is the second. */
static void the_second_segment_is_known_though_it_was_made_meanwhile(void **state)
{
    lq_queue *queue = make_queue(state, (lq_options){0});
    struct lqi_log_state *log = queue->log.state;
    lq_consumer *consumer = api_consumer(queue, "c", &(lq_consumer_options){.start = LQ_START_END});
    size_t before = list(queue).count;
    watched.put_meanwhile = 40;
    EQUAL(retain(queue, 0, false), before - 1);
    EQUAL(watched.put_meanwhile, 0);
    struct segments now = list(queue);
    EQUAL(now.count, 2);
    EQUAL(atomic_load(&log->first_id), now.ids[0]);
    EQUAL(atomic_load(&log->second_id), now.ids[1]);
    EQUAL(retain(queue, 0, false), 0);
    EQUAL(atomic_load(&log->second_id), now.ids[1]);
    OK(lq_consumer_close(consumer));
    close_queue(queue);
}

/* Whoever asks what may go mends it. */
static void the_second_segment_is_found_again(void **state)
{
    lq_queue *queue = make_queue(state, (lq_options){0});
    struct segments all = list(queue);
    atomic_store(&queue->log.state->second_id, 0);
    lq_consumer *consumer = api_consumer(queue, "c", NULL);
    EQUAL(retain(queue, 0, false), 0);
    EQUAL(atomic_load(&queue->log.state->second_id), all.ids[1]);
    OK(lq_consumer_close(consumer));
    close_queue(queue);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_DIRECTORY(a_segment_goes_when_its_last_message_is_settled_and_not_before),
        IN_DIRECTORY(all_but_the_last_segment_go_at_once_the_oldest_first),
        IN_DIRECTORY(the_slowest_consumer_decides_and_one_who_cannot_be_read_keeps_everything),
        IN_DIRECTORY(without_consumers_only_limits_delete),
        IN_DIRECTORY(without_consumers_the_first_message_stays_too),
        IN_DIRECTORY(who_waits_for_room_is_told),
        IN_DIRECTORY(to_make_room_as_many_go_as_it_takes_to_the_byte),
        IN_DIRECTORY(over_size_max_the_oldest_go_without_being_asked_where_limits_count),
        IN_DIRECTORY(a_segment_is_too_old_when_the_next_one_is_to_the_microsecond),
        IN_DIRECTORY(no_age_is_over_an_age_without_end),
        IN_DIRECTORY(what_cannot_be_noted_durably_stays),
        IN_DIRECTORY(a_queue_whose_old_segments_cannot_go_just_now_opens_all_the_same),
        IN_DIRECTORY(a_file_from_before_the_beginning_stays_while_the_trim_slot_cannot_be_read),
        IN_DIRECTORY(what_cannot_be_listed_stays),
        IN_DIRECTORY(with_both_trim_slots_damaged_a_new_one_is_begun),
        IN_DIRECTORY(the_second_segment_is_known_though_it_was_made_meanwhile),
        IN_DIRECTORY(the_second_segment_is_found_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
