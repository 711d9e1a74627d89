/* Damage costs the record that it hit, is told once, with file and byte, and is gone when it is undone. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "segment.h"
#include "view.h"
#include "support/api.h"
#include "support/damage.h"

enum { KIB = 1024 };

static char queue_path[4096];
static lq_options options;

static lq_queue *open_queue(void)
{
    lq_queue *queue;
    OK(lq_open(queue_path, &options, &queue));
    return queue;
}

static void use(void **state, int compression)
{
    snprintf(queue_path, sizeof queue_path, "%s", api_path(*state, "q"));
    options = (lq_options){.size = sizeof options, .segment_size = 64 * KIB, .ring_size = 64 * KIB, .compression = compression};
}

/* Ids 1 to 12 alone, 13 to 20 a batch, 21 to 30 alone; cleanly closed. */
static size_t size_of(uint64_t id)
{
    return id % 3 * 70 + 10;
}

enum { ALONE = 12, BATCH_END = 20, LAST = 30 };

static void put_all(lq_queue *queue)
{
    static uint8_t bytes[8][300];
    lq_message messages[8];
    for (uint64_t id = 1; id <= LAST; id++) {
        if (id == ALONE + 1) {
            for (uint64_t i = 0; i < 8; i++) {
                api_fill(bytes[i], size_of(id + i), id + i);
                messages[i] = (lq_message){.data = bytes[i], .size = size_of(id + i), .key = "key", .key_size = i % 4};
            }
            OK(lq_put_batch(queue, messages, 8, NULL));
            id += 7;
            continue;
        }
        api_fill(bytes[0], size_of(id), id);
        OK(lq_put(queue, bytes[0], size_of(id), NULL));
    }
}

struct seen {
    bool id[LAST + 1];
    unsigned count, damage;
    uint64_t lost; /* as told */
    uint64_t first_offset;
};

static void read_all(lq_queue *queue, struct seen *seen)
{
    lq_reader *reader;
    lq_message message;
    uint64_t last = 0;

    memset(seen, 0, sizeof *seen);
    OK(lq_reader_open(queue, &reader));
    for (;;) {
        int err = lq_reader_next(reader, &message);
        if (err == LQ_EMPTY) break;
        if (err == LQ_ECORRUPT) {
            lq_finding finding;
            OK(lq_reader_damage(reader, &finding));
            if (!seen->damage++) seen->first_offset = finding.offset;
            seen->lost += finding.count;
            HOLDS(seen->damage < 5);
            continue;
        }
        OK(err);
        HOLDS(message.id > last && message.id <= LAST);
        HOLDS(api_is_filled(&message, size_of(message.id), message.id));
        last = message.id;
        seen->id[last] = true;
        seen->count++;
    }
    lq_reader_close(reader);
}

static char *segment_of(void **state, int compression)
{
    static char segment[4200];
    use(state, compression);
    lq_queue *queue = open_queue();
    put_all(queue);
    OK(lq_close(queue));
    snprintf(segment, sizeof segment, "%s", api_segment(queue_path, 0));
    return segment;
}

/* One bit of each byte of the only segment, in turn. */
static void flip_everywhere(void **state, int compression)
{
    const char *segment = segment_of(state, compression);
    uint64_t size = damage_size(segment);
    struct seen seen;

    options.flags = LQ_READ_ONLY;
    for (uint64_t offset = 0; offset < size; offset++) {
        uint8_t mask = (uint8_t)(1 << offset % 8);
        api_file_flip(segment, offset, mask);
        lq_queue *queue = open_queue();
        read_all(queue, &seen);
        OK(lq_close(queue));
        EQUAL(seen.count + seen.lost, LAST); /* what does not come is told */
        HOLDS(seen.count == LAST || seen.count == LAST - 1 || (seen.count == LAST - 8 && !seen.id[ALONE + 1]));
        if (seen.count < LAST) {
            EQUAL(seen.damage, 1);
            HOLDS(seen.first_offset <= offset && offset - seen.first_offset < 1500);
        }
        if (lq_verify(queue_path, 0, NULL, NULL, NULL) != LQ_ECORRUPT) fail_msg("lq_verify does not see byte %d", (int)offset);
        api_file_flip(segment, offset, mask);
    }
    lq_queue *queue = open_queue();
    read_all(queue, &seen);
    EQUAL(seen.count, LAST);
    EQUAL(seen.damage, 0);
    OK(lq_close(queue));
}

static void each_flipped_bit_costs_at_most_its_record_and_is_told(void **state)
{
    flip_everywhere(state, 0);
}

static void each_flipped_bit_of_packed_records_costs_at_most_its_record_and_is_told(void **state)
{
    flip_everywhere(state, 6);
}

/* ---- with consumers ------------------------------------------------------ */

static void take_over_damage(lq_consumer *consumer, uint64_t bad)
{
    lq_message message;
    unsigned damage = 0;
    for (uint64_t id = 1; id <= LAST; id++) {
        if (id == bad) continue;
        int err = lq_get(consumer, &message, 0);
        if (err == LQ_ECORRUPT) {
            damage++;
            TEXT_HAS("log/00000000000000000001.seg", "byte");
            err = lq_get(consumer, &message, 0);
        }
        OK(err);
        EQUAL(message.id, id);
        OK(lq_ack(consumer, &message));
    }
    IS(LQ_EMPTY, lq_poll(consumer, &message));
    EQUAL(damage, 1);
}

static void opening_and_consuming_a_damaged_queue_changes_none_of_its_bytes_and_undone_all_is_back(void **state)
{
    static const uint64_t bad[] = {1, 5, ALONE};
    for (size_t i = 0; i < 3; i++) {
        char directory[4200], *path = directory;
        snprintf(directory, sizeof directory, "%s", api_path(*state, (const char *[]){"a", "b", "c"}[i]));
        assert_int_equal(mkdir(directory, 0700), 0);
        segment_of((void **)&path, 0);
        struct damage_place place = damage_find(queue_path, bad[i]);
        api_file_flip(place.path, place.offset + (i == 1 ? 4 : 45), 4); /* the size in its header; its body */
        struct api_tree *before = api_tree_read(api_path(queue_path, "log"));

        lq_queue *queue = open_queue();
        lq_consumer *consumer = api_consumer(queue, "c", NULL);
        take_over_damage(consumer, bad[i]);
        HOLDS(api_stats(queue).damage > 0);
        EQUAL(api_consumer_stats(queue, "c").floor, LAST);
        OK(lq_consumer_close(consumer));
        OK(lq_close(queue));
        HOLDS(api_tree_same(before, NULL));
        api_tree_free(before);

        api_file_flip(place.path, place.offset + (i == 1 ? 4 : 45), 4);
        struct seen seen;
        queue = open_queue();
        read_all(queue, &seen);
        EQUAL(seen.count, LAST);
        OK(lq_close(queue));
    }
}

/* What comes again is found by a walk from an older place: damage on the way is others'. */
static void a_message_that_comes_again_is_not_lost_to_damage_before_it(void **state)
{
    for (uint64_t wanted = 4; wanted <= LAST; wanted++) {
        char directory[4200], *path = directory;
        char name[20];
        snprintf(name, sizeof name, "%d", (int)wanted);
        snprintf(directory, sizeof directory, "%s", api_path(*state, name));
        assert_int_equal(mkdir(directory, 0700), 0);
        segment_of((void **)&path, 0);
        lq_message message;
        lq_queue *queue = open_queue();
        lq_consumer *consumer = api_consumer(queue, "c", NULL);
        for (uint64_t id = 1; id <= LAST; id++) {
            OK(lq_get(consumer, &message, 0));
            if (id != wanted) OK(lq_ack(consumer, &message));
        }
        OK(lq_consumer_close(consumer));
        OK(lq_close(queue));
        struct damage_place place = damage_find(queue_path, wanted > BATCH_END || wanted <= ALONE ? wanted - 1 : ALONE);
        api_file_flip(place.path, place.offset + 8, 1); /* its header: where the next one is must be found */

        queue = open_queue();
        consumer = api_consumer(queue, "c", NULL);
        int err = lq_get(consumer, &message, 0);
        if (err == LQ_ECORRUPT) err = lq_get(consumer, &message, 0);
        OK(err);
        EQUAL(message.id, wanted);
        EQUAL(message.attempts, 2);
        HOLDS(api_is_filled(&message, size_of(wanted), wanted));
        OK(lq_ack(consumer, &message));
        OK(lq_consumer_close(consumer));
        OK(lq_close(queue));
    }
}

/* ---- larger damage ------------------------------------------------------- */

static void a_zeroed_block_costs_the_records_in_it(void **state)
{
    enum { COUNT = 400, SIZE = 216, SPAN = 256 };
    use(state, 0);
    lq_queue *queue = open_queue();
    api_put_range(queue, 1, COUNT, SIZE);
    OK(lq_close(queue));
    HOLDS(api_segment(queue_path, 1) != NULL);
    damage_zero(api_segment(queue_path, 0), 8192, 4096);
    damage_zero(api_segment(queue_path, 1), 4096 + 256, 512);

    queue = open_queue();
    lq_consumer *consumer = api_consumer(queue, "c", NULL);
    lq_message message;
    unsigned count = 0, damage = 0;
    for (;;) {
        int err = lq_get(consumer, &message, 0);
        if (err == LQ_EMPTY) break;
        if (err == LQ_ECORRUPT) {
            damage++;
            continue;
        }
        OK(err);
        HOLDS(api_is_filled(&message, SIZE, message.id));
        OK(lq_ack(consumer, &message));
        count++;
    }
    EQUAL(damage, 2);
    HOLDS(count >= COUNT - (4096 / SPAN + 1) - 3 && count < COUNT);
    EQUAL(api_consumer_stats(queue, "c").floor, COUNT);
    EQUAL(api_put(queue, "more"), COUNT + 1);
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
}

struct told {
    uint64_t offset;
    unsigned count;
    bool in_file;
};

static void note_told(void *context, const lq_finding *finding)
{
    struct told *told = context;
    told->count++;
    told->offset = finding->offset;
    told->in_file = strncmp(finding->file, "log/", 4) == 0;
}

/* The file is all there is when the last process has gone: better to know of it before. */
static void verify_tells_of_a_file_although_all_who_read_get_good_bytes_from_the_ring(void **state)
{
    use(state, 0);
    struct seen seen;
    struct told told = {0};
    lq_queue *queue = open_queue();
    put_all(queue);
    struct damage_place place = damage_find(queue_path, 5);
    damage_fill(place.path, place.offset + LQI_RECORD_HEADER, 8, 1);
    read_all(queue, &seen);
    EQUAL(seen.count, LAST);
    EQUAL(seen.damage, 0);
    EQUAL(lq_verify(queue_path, 0, note_told, &told, NULL), LQ_ECORRUPT);
    EQUAL(told.count, 1);
    HOLDS(told.in_file);
    EQUAL(told.offset, place.offset);
    OK(lq_close(queue));
}

int main(void)
{
    lqi_view_pause_us = 0;
    const struct CMUnitTest tests[] = {
        IN_DIRECTORY(each_flipped_bit_costs_at_most_its_record_and_is_told),
        IN_DIRECTORY(each_flipped_bit_of_packed_records_costs_at_most_its_record_and_is_told),
        IN_DIRECTORY(opening_and_consuming_a_damaged_queue_changes_none_of_its_bytes_and_undone_all_is_back),
        IN_DIRECTORY(a_message_that_comes_again_is_not_lost_to_damage_before_it),
        IN_DIRECTORY(a_zeroed_block_costs_the_records_in_it),
        IN_DIRECTORY(verify_tells_of_a_file_although_all_who_read_get_good_bytes_from_the_ring),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
