/* What GET gives, and over what it goes that is not there any more: damage is told once and passed for good, what retention has deleted is passed without a word,
 * and the messages on both sides come as if nothing were between them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "consumer.h"
#include "support/api.h"
#include "support/child.h"
#include "support/damage.h"
#include "support/scratch.h"

enum { SIZE = 1000, MESSAGES = 20 };

static const lq_options small = {.size = sizeof small, .sync = LQ_SYNC_NEVER, .segment_size = 64 << 10, .ring_size = 64 << 10};

static void damage_body_of(void **state, uint64_t id)
{
    struct damage_place place = damage_find(api_path(*state, "q"), id);
    damage_fill(place.path, place.offset + LQI_RECORD_HEADER + 10, 8, id);
}

/* In the files only, each message a record of its own; those of these ids are damaged. */
static lq_queue *open_damaged(void **state, const uint64_t *bad)
{
    lq_queue *queue = api_open(state, &small);
    api_put_range(queue, 1, MESSAGES, SIZE);
    OK(lq_close(queue));
    for (; *bad; bad++) damage_body_of(state, *bad);
    return api_open(state, &small);
}

static void take(lq_consumer *consumer, uint64_t id)
{
    lq_message message;
    OK(lq_get(consumer, &message, 0));
    EQUAL(message.id, id);
    EQUAL(message.attempts, 1);
    HOLDS(api_is_filled(&message, SIZE, id));
    OK(lq_ack(consumer, &message));
}

/* ---- damage ------------------------------------------------------------------------------ */

static void damage_is_told_once_where_it_is_and_all_others_come(void **state)
{
    static const uint64_t bad[] = {1, 7, 8, 12, MESSAGES, 0};
    lq_message message;
    lq_queue *queue = open_damaged(state, bad);
    lq_consumer *consumer = api_consumer(queue, "c", NULL);
    uint64_t damage = api_stats(queue).damage, told = 0;
    for (uint64_t id = 1; id <= MESSAGES; id++) {
        if (id == 1 || id == 7 || id == 8 || id == 12 || id == MESSAGES) {
            IS(LQ_ECORRUPT, lq_get(consumer, &message, 0));
            TEXT_HAS("log/", "byte");
            EQUAL(api_stats(queue).damage, damage + ++told);
            EQUAL(api_consumer_stats(queue, "c").floor, id);
            HOLDS(atomic_load(&consumer->slot->next_position) >= id * lqi_record_span(SIZE)); /* other members go on behind it */
            continue;
        }
        take(consumer, id);
        EQUAL(api_consumer_stats(queue, "c").floor, id);
    }
    IS(LQ_EMPTY, lq_poll(consumer, &message));
    HOLDS(!lqi_may_take(consumer)); /* it is behind all of it */
    EQUAL(api_consumer_stats(queue, "c").dropped, 0);
    OK(lq_consumer_close(consumer));
    consumer = api_consumer(queue, "c", NULL);
    IS(LQ_EMPTY, lq_poll(consumer, &message));
    api_put_range(queue, MESSAGES + 1, MESSAGES + 1, SIZE);
    take(consumer, MESSAGES + 1);
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
}

/* Before it tells of the damage a batch gives what came before. */
static void a_batch_ends_before_damage_which_the_next_call_tells(void **state)
{
    static const uint64_t bad[] = {5, 0};
    lq_message messages[MESSAGES];
    size_t count;
    lq_queue *queue = open_damaged(state, bad);
    lq_consumer *consumer = api_consumer(queue, "c", NULL);
    uint64_t damage = api_stats(queue).damage;
    OK(lq_get_batch(consumer, messages, MESSAGES, &count, 0));
    EQUAL(count, 4);
    for (uint64_t i = 0; i < 4; i++) {
        EQUAL(messages[i].id, i + 1);
        HOLDS(api_is_filled(&messages[i], SIZE, i + 1));
    }
    count = 77;
    IS(LQ_ECORRUPT, lq_get_batch(consumer, &messages[4], 1, &count, 0));
    TEXT_HAS("log/", "byte");
    EQUAL(count, 77);
    OK(lq_get_batch(consumer, &messages[4], MESSAGES - 4, &count, 0));
    EQUAL(count, MESSAGES - 5);
    for (uint64_t i = 4; i < MESSAGES - 1; i++) EQUAL(messages[i].id, i + 2);
    EQUAL(api_stats(queue).damage, damage + 1);
    OK(lq_ack_batch(consumer, messages, MESSAGES - 1));
    EQUAL(api_consumer_stats(queue, "c").floor, MESSAGES);
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
}

/* Its messages take their places in the window, as if they were out: it is passed when all of them have had one. */
static void damage_larger_than_the_window_is_passed_and_told_when_there_is_room_for_all_of_it(void **state)
{
    lq_message held[64], message, batch[100];
    size_t count;
    lq_queue *queue = api_open(state, &small);
    api_put_range(queue, 1, 10, SIZE);
    for (int i = 0; i < 100; i++) batch[i] = (lq_message){.data = "0123456789", .size = 10};
    OK(lq_put_batch(queue, batch, 100, NULL));
    OK(lq_put_batch(queue, batch, 1, NULL));
    OK(lq_close(queue));
    damage_body_of(state, 11);
    queue = api_open(state, &small);
    lq_consumer *consumer = api_consumer(queue, "c", &(lq_consumer_options){.window = 64});
    uint64_t damage = api_stats(queue).damage;
    OK(lq_get_batch(consumer, held, 64, &count, 0));
    EQUAL(count, 10);
    for (int i = 0; i < 3; i++) IS(LQ_EMPTY, lq_poll(consumer, &message));
    HOLDS(!lqi_may_take(consumer));
    EQUAL(api_stats(queue).damage, damage);
    HOLDS(api_consumer_stats(queue, "c").delivered < 110);
    for (int i = 9; i >= 0; i--) OK(lq_ack(consumer, &held[i])); /* the oldest last */
    IS(LQ_ECORRUPT, lq_poll(consumer, &message));
    EQUAL(api_stats(queue).damage, damage + 1);
    EQUAL(api_consumer_stats(queue, "c").floor, 110);
    OK(lq_poll(consumer, &message));
    EQUAL(message.id, 111);
    OK(lq_ack(consumer, &message));
    IS(LQ_EMPTY, lq_poll(consumer, &message));
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
}

/* The room in the window goes to what was lost, and the message behind it must wait for more. */
static void what_is_behind_damage_that_fills_the_window_waits(void **state)
{
    lq_message held[64], message, batch[60];
    size_t count;
    lq_queue *queue = api_open(state, &small);
    api_put_range(queue, 1, 4, SIZE);
    for (int i = 0; i < 60; i++) batch[i] = (lq_message){.data = "0123456789", .size = 10};
    OK(lq_put_batch(queue, batch, 60, NULL));
    OK(lq_put_batch(queue, batch, 1, NULL));
    OK(lq_close(queue));
    damage_body_of(state, 5);
    queue = api_open(state, &small);
    lq_consumer *consumer = api_consumer(queue, "c", &(lq_consumer_options){.window = 64});
    OK(lq_get_batch(consumer, held, 4, &count, 0));
    EQUAL(count, 4);
    IS(LQ_ECORRUPT, lq_poll(consumer, &message));
    EQUAL(api_consumer_stats(queue, "c").delivered, 64);
    IS(LQ_EMPTY, lq_poll(consumer, &message));
    HOLDS(!lqi_may_take(consumer));
    OK(lq_ack(consumer, &held[0]));
    OK(lq_poll(consumer, &message));
    EQUAL(message.id, 65);
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
}

/* The last of a segment is lost: who passes it makes the segment one that nobody needs, as an ack would have. */
static void who_passes_damage_lets_old_segments_go(void **state)
{
    lq_queue *queue = api_open(state, &small);
    lq_message message;
    OK(lq_consumer_close(api_consumer(queue, "c", NULL)));
    api_put_range(queue, 1, 100, SIZE);
    uint64_t second = atomic_load(&queue->log.state->second_id);
    HOLDS(second > 2 && second < 100);
    OK(lq_close(queue));
    damage_body_of(state, second - 1);
    queue = api_open(state, &small);
    lq_consumer *consumer = api_consumer(queue, "c", NULL);
    for (uint64_t id = 1; id < second - 1; id++) take(consumer, id);
    EQUAL(api_stats(queue).first_id, 1);
    IS(LQ_ECORRUPT, lq_get(consumer, &message, 0));
    EQUAL(api_stats(queue).first_id, second);
    take(consumer, second);
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
}

/* ---- what was deleted -------------------------------------------------------------------- */

static void what_retention_has_deleted_is_passed_and_counted(void **state)
{
    lq_options options = small;
    lq_message message;
    options.retention = LQ_RETAIN_LIMITS;
    options.size_max = 128 << 10;
    lq_queue *queue = api_open(state, &options);
    lq_consumer *consumer = api_consumer(queue, "c", NULL);
    api_put_range(queue, 1, 3, SIZE);
    take(consumer, 1);
    OK(lq_consumer_close(consumer));
    api_put_range(queue, 4, 500, SIZE);
    uint64_t first = api_stats(queue).first_id;
    HOLDS(first > 300);
    consumer = api_consumer(queue, "c", NULL);
    OK(lq_get(consumer, &message, 0));
    EQUAL(message.id, first);
    EQUAL(api_consumer_stats(queue, "c").dropped, first - 2);
    EQUAL(api_consumer_stats(queue, "c").floor, first - 1);
    OK(lq_ack(consumer, &message));
    for (uint64_t id = first + 1; id <= 500; id++) take(consumer, id);
    EQUAL(api_stats(queue).damage, 0);
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
}

/* The first that is left is the first of its batch, however far back one would have gone on. */
static void behind_what_was_deleted_a_batch_begins_with_its_first(void **state)
{
    static const char *const texts[] = {"first", "second", "third"};
    static char pad[1000];
    lq_message message, three[3];
    lq_options options = small;
    options.retention = LQ_RETAIN_LIMITS;
    options.size_max = 128 << 10;
    lq_queue *queue = api_open(state, &options);
    OK(lq_consumer_close(api_consumer(queue, "c", NULL)));
    for (int i = 0; i < 3; i++) three[i] = (lq_message){.data = texts[i], .size = strlen(texts[i]), .headers = pad, .headers_size = sizeof pad};
    for (int i = 0; i < 100; i++) OK(lq_put_batch(queue, three, 3, NULL));
    uint64_t first = api_stats(queue).first_id;
    HOLDS(first > 100);
    lq_consumer *consumer = api_consumer(queue, "c", NULL);
    for (uint64_t id = first; id <= 300; id++) {
        OK(lq_get(consumer, &message, 0));
        EQUAL(message.id, id);
        HOLDS(api_is_text(&message, texts[(id - 1) % 3]));
        OK(lq_ack(consumer, &message));
    }
    EQUAL(api_consumer_stats(queue, "c").dropped, first - 1);
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
}

/* ---- where the next one is ----------------------------------------------------------------- */

/* Each has read the record of which the other takes the next message. */
static void members_take_turns_in_the_records_of_batches(void **state)
{
    static const char *const texts[] = {"a", "b", "c", "d", "e"};
    lq_message message, five[5];
    lq_queue *queue = api_open(state, &small);
    lq_consumer *members[2] = {api_consumer(queue, "c", NULL), api_consumer(queue, "c", NULL)};
    for (int i = 0; i < 5; i++) five[i] = (lq_message){.data = texts[i], .size = 1};
    for (int i = 0; i < 6; i++) OK(lq_put_batch(queue, five, 5, NULL));
    for (uint64_t id = 1; id <= 30; id++) {
        lq_consumer *member = members[id / 2 % 2];
        if (id % 7 == 0) atomic_store(&member->slot->next_position, LQI_POSITION_UNKNOWN); /* and at times nobody knows where it is */
        OK(lq_poll(member, &message));
        EQUAL(message.id, id);
        HOLDS(api_is_text(&message, texts[(id - 1) % 5]));
        OK(lq_ack(member, &message));
    }
    for (int i = 0; i < 2; i++) IS(LQ_EMPTY, lq_poll(members[i], &message));
    for (int i = 0; i < 2; i++) OK(lq_consumer_close(members[i]));
    OK(lq_close(queue));
}

static void what_is_no_message_is_passed_and_not_met_again(void **state)
{
    lq_message message;
    lq_queue *queue = api_open(state, &small);
    lq_consumer *consumer = api_consumer(queue, "c", NULL);
    api_put_range(queue, 1, 1, SIZE);
    take(consumer, 1);
    OK(lqi_append_mark(&queue->log));
    HOLDS(lqi_may_take(consumer)); /* there is something, and nobody has looked */
    IS(LQ_EMPTY, lq_poll(consumer, &message));
    HOLDS(!lqi_may_take(consumer));
    EQUAL(atomic_load(&consumer->slot->next_position), atomic_load(&queue->log.state->ring.appended));
    api_put_range(queue, 2, 2, SIZE);
    take(consumer, 2);
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
}

/* Whatever the caller's struct had in it before. */
static void every_field_of_a_message_is_filled_in(void **state)
{
    static const uint8_t none[sizeof(((lq_message *)0)->reserved)];
    lq_message message;
    lq_queue *queue = api_open(state, &small);
    lq_consumer *consumer = api_consumer(queue, "c", NULL);
    int64_t before = lqi_io_posix.wall_us(&lqi_io_posix);
    OK(lq_put(queue, "text", 4, NULL));
    int64_t after = lqi_io_posix.wall_us(&lqi_io_posix), time_us = 0;
    for (uint32_t attempt = 1; attempt <= 3; attempt++) {
        memset(&message, 0xff, sizeof message);
        OK(lq_poll(consumer, &message));
        EQUAL(message.id, 1);
        HOLDS(message.time_us >= before && message.time_us <= after);
        HOLDS(attempt == 1 || message.time_us == time_us);
        time_us = message.time_us;
        EQUAL(message.attempts, attempt);
        EQUAL(message.flags, 0);
        HOLDS(memcmp(message.reserved, none, sizeof none) == 0);
        HOLDS(api_is_text(&message, "text"));
        EQUAL(message.key_size, 0);
        EQUAL(message.headers_size, 0);
        OK(lq_consumer_close(consumer)); /* it has failed, or given up */
        consumer = api_consumer(queue, "c", NULL);
    }
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
}

/* ---- what comes again ------------------------------------------------------------------------ */

static int take_five_and_die(void *context)
{
    lq_message messages[5];
    lq_queue *queue;
    size_t count;
    OK(lq_open(context, &small, &queue));
    lq_consumer *consumer = api_consumer(queue, "c", NULL);
    OK(lq_get_batch(consumer, messages, 5, &count, 0));
    EQUAL(count, 5);
    _exit(0);
}

/* They are found while new ones are being taken, and still go first. */
static void what_a_dead_member_had_comes_before_newer_messages(void **state)
{
    lq_message messages[MESSAGES];
    size_t count;
    lq_queue *queue = api_open(state, &small);
    lq_consumer *consumer = api_consumer(queue, "c", NULL);
    api_put_range(queue, 1, MESSAGES, SIZE);
    EQUAL(child_run(take_five_and_die, (void *)(uintptr_t)api_path(*state, "q")), 0);
    OK(lq_get_batch(consumer, messages, MESSAGES, &count, 0));
    EQUAL(count, MESSAGES);
    for (uint64_t i = 0; i < MESSAGES; i++) {
        EQUAL(messages[i].id, i + 1);
        EQUAL(messages[i].attempts, i < 5 ? 2 : 1);
        HOLDS(api_is_filled(&messages[i], SIZE, i + 1));
    }
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
}

/* It is lost for good, and so it is settled; those that had been before and behind it come again. */
static void what_comes_again_and_is_damaged_since_is_told_once(void **state)
{
    lq_message messages[MESSAGES];
    size_t count;
    static const uint64_t none[] = {0};
    lq_queue *queue = open_damaged(state, none);
    lq_consumer *consumer = api_consumer(queue, "c", NULL);
    OK(lq_get_batch(consumer, messages, 6, &count, 0));
    OK(lq_consumer_close(consumer));
    damage_body_of(state, 3);
    consumer = api_consumer(queue, "c", NULL);
    OK(lq_get_batch(consumer, messages, MESSAGES, &count, 0));
    EQUAL(count, 2);
    EQUAL(messages[1].id, 2);
    IS(LQ_ECORRUPT, lq_get(consumer, &messages[2], 0));
    EQUAL(api_stats(queue).damage, 1);
    OK(lq_get_batch(consumer, &messages[2], MESSAGES, &count, 0));
    EQUAL(count, MESSAGES - 3);
    for (uint64_t i = 2; i < 2 + count; i++) {
        EQUAL(messages[i].id, i + 2);
        EQUAL(messages[i].attempts, i < 5 ? 2 : 1);
    }
    OK(lq_ack_batch(consumer, messages, 2 + count));
    EQUAL(api_consumer_stats(queue, "c").floor, MESSAGES);
    EQUAL(api_stats(queue).damage, 1);
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_DIRECTORY(damage_is_told_once_where_it_is_and_all_others_come),
        IN_DIRECTORY(a_batch_ends_before_damage_which_the_next_call_tells),
        IN_DIRECTORY(damage_larger_than_the_window_is_passed_and_told_when_there_is_room_for_all_of_it),
        IN_DIRECTORY(what_is_behind_damage_that_fills_the_window_waits),
        IN_DIRECTORY(who_passes_damage_lets_old_segments_go),
        IN_DIRECTORY(what_retention_has_deleted_is_passed_and_counted),
        IN_DIRECTORY(behind_what_was_deleted_a_batch_begins_with_its_first),
        IN_DIRECTORY(members_take_turns_in_the_records_of_batches),
        IN_DIRECTORY(what_is_no_message_is_passed_and_not_met_again),
        IN_DIRECTORY(every_field_of_a_message_is_filled_in),
        IN_DIRECTORY(what_a_dead_member_had_comes_before_newer_messages),
        IN_DIRECTORY(what_comes_again_and_is_damaged_since_is_told_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
