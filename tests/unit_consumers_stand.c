/* Where a consumer stands: by its offset file and the log when the queue is opened, and where a new one begins; and who may join. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "support/hold.h"
#include "support/noted_consumer.h"

/* ---- where it stands --------------------------------------------------------------------------- */

static const uint8_t uuid[16] = "0123456789abcde";

static uint32_t settled_some(void *context, uint64_t id)
{
    (void)context;
    return id == 103 || id == 104 || id == 110 || id == 120 ? LQI_WORD_SETTLED | 1 : id % 3;
}

/* By its file: floor 100, delivered 130, of which four are settled out of order. The log may have lost its beginning to retention,
 * and its end to a power loss. */
static void a_consumer_stands_where_its_file_and_the_log_agree(void **state)
{
    static const struct {
        uint64_t first_id, last_id;
        struct lqi_standing standing;
    } cases[] = {
        {1, 1000, {.floor = 100, .delivered = 130, .returned = 26, .dropped = 0}},
        {101, 130, {.floor = 100, .delivered = 130, .returned = 26, .dropped = 0}},
        {102, 1000, {.floor = 101, .delivered = 130, .returned = 25, .dropped = 1}},
        {103, 1000, {.floor = 104, .delivered = 130, .returned = 24, .dropped = 2}}, /* up to what is settled there */
        {104, 1000, {.floor = 104, .delivered = 130, .returned = 24, .dropped = 2}},
        {105, 1000, {.floor = 104, .delivered = 130, .returned = 24, .dropped = 2}},
        {110, 1000, {.floor = 110, .delivered = 130, .returned = 19, .dropped = 7}},
        {111, 1000, {.floor = 110, .delivered = 130, .returned = 19, .dropped = 7}},
        {112, 1000, {.floor = 111, .delivered = 130, .returned = 18, .dropped = 8}},
        {200, 1000, {.floor = 199, .delivered = 199, .returned = 0, .dropped = 95}},
        {1, 129, {.floor = 100, .delivered = 129, .returned = 25, .dropped = 0}},
        {1, 120, {.floor = 100, .delivered = 120, .returned = 16, .dropped = 0}},
        {1, 119, {.floor = 100, .delivered = 119, .returned = 16, .dropped = 0}},
        {1, 102, {.floor = 100, .delivered = 102, .returned = 2, .dropped = 0}},
        {1, 100, {.floor = 100, .delivered = 100, .returned = 0, .dropped = 0}},
        {1, 50, {.floor = 50, .delivered = 50, .returned = 0, .dropped = 0}},
        {103, 103, {.floor = 103, .delivered = 103, .returned = 0, .dropped = 2}},
    };
    const struct lqi_position_entry first = {.floor = 100, .delivered = 100, .incarnation = 7, .time_us = 1};
    struct lqi_position_entry entry = first;
    uint64_t side[4] = {0};
    struct lqi_position_sides sides = {side, 1};
    struct lqi_position position;
    int dir = -1;
    EQUAL(lqi_io_posix.dir_open(&lqi_io_posix, -1, *state, &dir), 0);
    OK(lqi_position_create(&lqi_io_posix, dir, "c", uuid, 200, &first, 0600));
    OK(lqi_position_open(&position, &lqi_io_posix, dir, "c", uuid, true));
    entry.delivered = 130;
    OK(lqi_position_save(&position, &entry, 101, 130, &sides, settled_some, NULL));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct lqi_standing standing;
        OK(lqi_consumers_standing(&position, cases[i].first_id, cases[i].last_id, &standing));
        EQUAL(standing.floor, cases[i].standing.floor);
        EQUAL(standing.delivered, cases[i].standing.delivered);
        EQUAL(standing.returned, cases[i].standing.returned);
        EQUAL(standing.dropped, cases[i].standing.dropped);
    }
    lqi_position_close(&position);
    lqi_io_posix.close(&lqi_io_posix, dir);
}

/* ---- when the queue is opened ------------------------------------------------------------------ */

static void a_consumer_that_has_had_everything_is_not_written_to_when_the_queue_opens(void **state)
{
    begin(state);
    take(MESSAGES);
    OK(lq_ack_batch(consumer, taken, MESSAGES));
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
    calls[0] = 0;
    OK(lqi_open_io(&machine, queue_path, NULL, &queue));
    HOLDS(!strchr(calls, 'e') && !strchr(calls, 'b'));
    calls[0] = 0;
    OK(lqi_consumers_sync(&queue->consumers)); /* nor is there anything to save */
    was_called("");
    consumer = api_consumer(queue, "c", NULL);
    end();
}

static void every_consumer_holds_back_what_it_needs_as_soon_as_the_queue_is_open(void **state)
{
    struct kept kept;
    begin(state);
    lq_consumer *last = api_consumer(queue, "last", &(lq_consumer_options){.window = 64});
    take(MESSAGES);
    OK(lq_ack_batch(consumer, taken, MESSAGES));
    OK(lq_consumer_close(consumer));
    api_take_range(last, 1, 7, BODY);
    OK(lq_consumer_close(last));
    OK(lq_close(queue));
    OK(lqi_open_io(&machine, queue_path, NULL, &queue));
    EQUAL(lqi_consumers_floor(&queue->log), 7);
    lq_consumer_stats stats = api_consumer_stats(queue, "c");
    EQUAL(stats.floor, MESSAGES);
    EQUAL(stats.saved_time_us, entry_of("c", &kept).time_us);
    consumer = api_consumer(queue, "c", NULL);
    end();
}

static int fail_dir_list(const struct lqi_io *io, int dir, lqi_name_callback *each, void *context)
{
    (void)io, (void)dir, (void)each, (void)context;
    return EIO;
}

static void who_cannot_list_the_consumers_does_not_take_it_that_there_are_none(void **state)
{
    begin(state);
    machine.dir_list = fail_dir_list;
    IS(LQ_EIO, lqi_consumers_load(&queue->consumers));
    TEXT_HAS("list consumers", "Input/output error");
    machine.dir_list = lqi_io_posix.dir_list;
    end();
}

/* Writes an entry into its file that is ahead of the log by five, as a power loss may leave it. Returns the one before. */
static struct lqi_position_entry go_ahead_of_the_log(void)
{
    struct lqi_position position;
    uint8_t its_uuid[16];
    int dir = -1;
    memcpy(its_uuid, queue->meta.uuid, sizeof its_uuid);
    OK(lq_close(queue));
    EQUAL(lqi_io_posix.dir_open(&lqi_io_posix, -1, api_path(queue_path, "consumers"), &dir), 0);
    OK(lqi_position_open(&position, &lqi_io_posix, dir, "c", its_uuid, true));
    struct lqi_position_entry before = position.newest, ahead = before;
    ahead.delivered = MESSAGES + 5;
    ahead.durable--; /* older numbers than the log's by now */
    ahead.durable_id -= 2;
    ahead.time_us -= 3;
    OK(lqi_position_save(&position, &ahead, 1, 0, NULL, NULL, NULL));
    lqi_position_close(&position);
    lqi_io_posix.close(&lqi_io_posix, dir);
    return before;
}

static bool ends_with(const char *what)
{
    return strlen(calls) >= strlen(what) && strcmp(calls + strlen(calls) - strlen(what), what) == 0;
}

static int entry_fd = -1; /* of the file that has had one */

static int note_entry(const struct lqi_io *io, int fd, uint64_t offset, const void *data, size_t size)
{
    entry_fd = fd;
    return note_write(io, fd, offset, data, size);
}

static int fail_sync_behind_entry(const struct lqi_io *io, int fd)
{
    int error = note_sync(io, fd);
    return fd == entry_fd ? EIO : error;
}

/* Where it stands is brought back, and nothing else of what its file says; or else the queue does not open, for then ids are given again. */
static void a_consumer_ahead_of_the_log_is_durably_back_before_the_queue_is_open(void **state)
{
    struct kept kept;
    begin(state);
    take(10);
    OK(lq_ack(consumer, &taken[2]));
    OK(lq_ack(consumer, &taken[4]));
    OK(lq_consumer_close(consumer));
    struct lqi_position_entry before = go_ahead_of_the_log();
    write_error = EIO;
    calls[0] = 0;
    IS(LQ_EIO, lqi_open_io(&machine, queue_path, NULL, &queue));
    HOLDS(ends_with("se"));
    write_error = 0;
    machine.write = note_entry;
    machine.sync = fail_sync_behind_entry;
    IS(LQ_EIO, lqi_open_io(&machine, queue_path, NULL, &queue));
    HOLDS(ends_with("ses"));
    machine.write = note_write;
    machine.sync = note_sync;
    OK(lqi_open_io(&machine, queue_path, NULL, &queue));
    struct lqi_position_entry entry = entry_of("c", &kept);
    EQUAL(entry.delivered, MESSAGES);
    EQUAL(entry.floor, 0);
    EQUAL(entry.incarnation, before.incarnation);
    EQUAL(entry.durable, before.durable - 1);
    EQUAL(entry.durable_id, before.durable_id - 2);
    EQUAL(entry.time_us, before.time_us - 3);
    EQUAL(kept.settled, 2);
    EQUAL(api_consumer_stats(queue, "c").saved_time_us, entry.time_us);
    slot = lqi_consumers_find(queue->map.head, "c");
    EQUAL(slot->sequence, entry.sequence);
    EQUAL(slot->incarnation, entry.incarnation);
    consumer = api_consumer(queue, "c", NULL);
    end();
}

/* ---- where it begins --------------------------------------------------------------------------- */

static void a_new_consumer_begins_where_it_is_told(void **state)
{
    begin(state);
    const struct {
        lq_consumer_options options;
        uint64_t floor;
    } cases[] = {
        {{.start = LQ_START_BEGIN}, 0}, {{.start = LQ_START_END}, MESSAGES}, {{.start = LQ_START_ID, .start_id = 1}, 0},
        {{.start = LQ_START_ID, .start_id = 0}, 0}, {{.start = LQ_START_ID, .start_id = 7}, 6}, {{.start = LQ_START_ID, .start_id = MESSAGES}, MESSAGES - 1},
        {{.start = LQ_START_ID, .start_id = MESSAGES + 1}, MESSAGES}, {{.start = LQ_START_ID, .start_id = UINT64_MAX}, MESSAGES},
        {{.start = LQ_START_TIME, .start_time_us = 1}, 0}, {{.start = LQ_START_TIME, .start_time_us = INT64_MAX}, MESSAGES},
    };
    unsigned open_files = api_open_files();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char name[10];
        struct kept kept;
        snprintf(name, sizeof name, "n%zu", i);
        int64_t before = lqi_io_posix.wall_us(&lqi_io_posix);
        lq_consumer *made = api_consumer(queue, name, &cases[i].options);
        EQUAL(lqi_floor(made->slot), cases[i].floor);
        EQUAL(lqi_delivered(made->slot), cases[i].floor);
        if (cases[i].options.start == LQ_START_END) EQUAL(atomic_load(&made->slot->next_position), atomic_load(&queue->log.state->ring.appended));
        EQUAL(made->slot->window, 65536);
        struct lqi_position_entry entry = entry_of(name, &kept);
        EQUAL(entry.floor, cases[i].floor);
        EQUAL(entry.durable, atomic_load(&queue->log.state->synced));
        EQUAL(entry.durable_id, MESSAGES);
        HOLDS(entry.time_us >= before);
        OK(lq_consumer_close(made));
        OK(lq_consumer_delete(queue, name));
        EQUAL(api_open_files(), open_files);
        calls[0] = 0;
    }
    end();
}

static void nothing_begins_before_what_is_kept(void **state)
{
    begin(state);
    uint64_t first_id = atomic_exchange(&queue->log.state->first_id, 101); /* as if retention had deleted what is before */
    const lq_consumer_options cases[] = {{.start = LQ_START_BEGIN}, {.start = LQ_START_ID, .start_id = 7}, {.start = LQ_START_ID, .start_id = 101},
                                         {.start = LQ_START_TIME, .start_time_us = 1}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct kept kept;
        lq_consumer *made = api_consumer(queue, "n", &cases[i]);
        EQUAL(lqi_floor(made->slot), 100);
        EQUAL(lqi_delivered(made->slot), 100);
        EQUAL(entry_of("n", &kept).floor, 100);
        EQUAL(api_consumer_stats(queue, "n").dropped, 0);
        OK(lq_consumer_close(made));
        OK(lq_consumer_delete(queue, "n"));
        calls[0] = 0;
    }
    atomic_store(&queue->log.state->first_id, first_id);
    end();
}

static int fail_dir_sync(const struct lqi_io *io, int dir)
{
    (void)io, (void)dir;
    return EIO;
}

static int fail_unlink(const struct lqi_io *io, int dir, const char *name)
{
    (void)io, (void)dir, (void)name;
    return EIO;
}

/* Whoever makes it may die as soon as its file is there; then that is one of those that witness how far the log is durable. */
static void the_very_first_entry_of_a_consumer_is_a_witness_of_the_log(void **state)
{
    lq_consumer *late;
    struct kept kept;
    begin(state);
    int64_t before = lqi_io_posix.wall_us(&lqi_io_posix);
    machine.dir_sync = fail_dir_sync;
    machine.unlink = fail_unlink;
    IS(LQ_EIO, lq_consumer_open(queue, "late", &(lq_consumer_options){.size = sizeof(lq_consumer_options), .start = LQ_START_END}, &late));
    machine.dir_sync = lqi_io_posix.dir_sync;
    machine.unlink = lqi_io_posix.unlink;
    struct lqi_position_entry entry = entry_of("late", &kept);
    EQUAL(entry.sequence, 1);
    EQUAL(entry.floor, MESSAGES);
    EQUAL(entry.durable, atomic_load(&queue->log.state->synced));
    EQUAL(entry.durable_id, MESSAGES);
    HOLDS(entry.time_us >= before);
    end();
}

static int fail_read(const struct lqi_io *io, int fd, uint64_t offset, void *data, size_t size, size_t *got_out)
{
    (void)io, (void)fd, (void)offset, (void)data, (void)size, (void)got_out;
    return EIO;
}

static void who_cannot_tell_where_a_consumer_would_begin_makes_none(void **state)
{
    const lq_consumer_options from_then = {.size = sizeof from_then, .start = LQ_START_TIME, .start_time_us = 1};
    lq_consumer *made;
    begin(state);
    OK(lq_consumer_close(consumer));
    consumer = NULL;
    OK(lq_close(queue)); /* so that what is there is in files only */
    OK(lqi_open_io(&machine, queue_path, NULL, &queue));
    calls[0] = 0;
    machine.read = fail_read;
    IS(LQ_EIO, lq_consumer_open(queue, "then", &from_then, &made));
    machine.read = lqi_io_posix.read;
    hold(&queue->log.state->append);
    lqi_lock_patience_ms = 50;
    IS(LQ_EBUSY, lq_consumer_open(queue, "then", &from_then, &made));
    lqi_lock_patience_ms = LQI_LOCK_PATIENCE_MS;
    let_go();
    was_called("");
    EQUAL(api_stats(queue).consumers, 1);
    end();
}

static void take_place(struct lqi_consumer_slot *place)
{
    atomic_store(&place->going, 0);
    place->name[0] = 0;
    atomic_store(&place->state, LQI_CONSUMER_DAMAGED);
}

static void as_many_consumers_as_there_are_places_can_be_made(void **state)
{
    lq_consumer *made;
    begin(state);
    struct lqi_consumer_slot *places = queue->map.head->consumers;
    HOLDS(slot == places);
    for (size_t i = 1; i < LQI_CONSUMERS_MAX; i++) take_place(&places[i]);
    IS(LQ_ELIMIT, lq_consumer_open(queue, "more", NULL, &made));
    TEXT_HAS("256 consumers already");
    was_called("");
    for (size_t free = 1; free < LQI_CONSUMERS_MAX; free += LQI_CONSUMERS_MAX - 2) { /* the second, and the last */
        atomic_store(&places[free].state, LQI_CONSUMER_FREE);
        made = api_consumer(queue, "more", &(lq_consumer_options){.window = 64});
        EQUAL(made->slot - places, free);
        OK(lq_consumer_close(made));
        OK(lq_consumer_delete(queue, "more"));
        take_place(&places[free]);
    }
    for (size_t i = 1; i < LQI_CONSUMERS_MAX; i++) atomic_store(&places[i].state, LQI_CONSUMER_FREE);
    end();
}

/* ---- who may join --------------------------------------------------------------------------------- */

static unsigned joined;

static int note_join(void *context, struct lqi_consumer_slot *ready)
{
    (void)context;
    joined += ready->region_ready;
    return LQ_OK;
}

static void nobody_joins_a_consumer_before_it_has_come_to_life(void **state)
{
    const lq_consumer_options options = {.size = sizeof options};
    begin(state);
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
    OK(lqi_open_io(&machine, queue_path, NULL, &queue));
    slot = lqi_consumers_find(queue->map.head, "c");
    calls[0] = 0;
    hold(&slot->lock);
    lqi_lock_patience_ms = 50;
    joined = 0;
    IS(LQ_EBUSY, lqi_consumers_open(&queue->consumers, "c", &options, note_join, NULL));
    EQUAL(joined, 0);
    was_called("");
    lqi_lock_patience_ms = LQI_LOCK_PATIENCE_MS;
    let_go();
    OK(lqi_consumers_open(&queue->consumers, "c", &options, note_join, NULL));
    EQUAL(joined, 1);
    was_called("ses"); /* there are no words */
    consumer = api_consumer(queue, "c", NULL);
    end();
}

static void the_window_of_a_consumer_stays_what_it_was_made_with(void **state)
{
    lq_consumer *other;
    lq_consumer_options options = {.size = sizeof options, .window = WINDOW + 1};
    begin(state);
    IS(LQ_EMISMATCH, lq_consumer_open(queue, "c", &options, &other));
    TEXT_HAS("consumer 'c'", "window 1000, not 1001");
    options.window = WINDOW;
    OK(lq_consumer_open(queue, "c", &options, &other));
    OK(lq_consumer_close(other));
    end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_DIRECTORY(a_consumer_stands_where_its_file_and_the_log_agree),
        IN_DIRECTORY(a_consumer_that_has_had_everything_is_not_written_to_when_the_queue_opens),
        IN_DIRECTORY(every_consumer_holds_back_what_it_needs_as_soon_as_the_queue_is_open),
        IN_DIRECTORY(who_cannot_list_the_consumers_does_not_take_it_that_there_are_none),
        IN_DIRECTORY(a_consumer_ahead_of_the_log_is_durably_back_before_the_queue_is_open),
        IN_DIRECTORY(a_new_consumer_begins_where_it_is_told),
        IN_DIRECTORY(nothing_begins_before_what_is_kept),
        IN_DIRECTORY(the_very_first_entry_of_a_consumer_is_a_witness_of_the_log),
        IN_DIRECTORY(who_cannot_tell_where_a_consumer_would_begin_makes_none),
        IN_DIRECTORY(as_many_consumers_as_there_are_places_can_be_made),
        IN_DIRECTORY(nobody_joins_a_consumer_before_it_has_come_to_life),
        IN_DIRECTORY(the_window_of_a_consumer_stays_what_it_was_made_with),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
