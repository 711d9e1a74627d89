/* Headers of several log files are damaged, those of the last ones among them. As long as a trailer is there, all is read; without it
 * the queue opens behind all that may have been there, gives no id twice, changes none of the damaged bytes, and on a machine that
 * fails makes no end up. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "checksum.h"
#include "queue.h"
#include "support/api.h"
#include "support/damage.h"
#include "support/each_fault.h"

enum { KIB = 1024, SIZE = 1000, COUNT = 280, SEGMENTS = 5 };

static char queue_path[4096];
static uint64_t firsts[SEGMENTS + 1]; /* the first ids of its segments, and the next one */
static const lq_options small = {.size = sizeof(lq_options), .sync = LQ_SYNC_NEVER, .segment_size = 64 * KIB, .ring_size = 64 * KIB};

static lq_queue *open_queue(void)
{
    lq_queue *queue;
    OK(lq_open(queue_path, &small, &queue));
    return queue;
}

static void fill(void **state, const char *name)
{
    snprintf(queue_path, sizeof queue_path, "%s", api_path(*state, name));
    lq_queue *queue = open_queue();
    OK(lq_consumer_close(api_consumer(queue, "keep", NULL)));
    api_put_range(queue, 1, COUNT, SIZE);
    OK(lq_close(queue));
    HOLDS(api_segment(queue_path, SEGMENTS - 1) != NULL && api_segment(queue_path, SEGMENTS) == NULL);
    for (size_t n = 0; n < SEGMENTS; n++) firsts[n] = strtoull(strrchr(api_segment(queue_path, n), '/') + 1, NULL, 10);
    firsts[SEGMENTS] = COUNT + 1;
}

static void damage_header(size_t n)
{
    damage_zero(api_segment(queue_path, n), 0, LQI_SEGMENT_HEADER);
}

/* And the trailer, if there is one: nothing tells the salt of the records any more. */
static void damage_both(size_t n)
{
    const char *path = api_segment(queue_path, n);
    damage_header(n);
    damage_zero(path, damage_size(path) - LQI_SEGMENT_TRAILER, LQI_SEGMENT_TRAILER);
}

static void make_newer(size_t n)
{
    char path[4096];
    snprintf(path, sizeof path, "%s", api_segment(queue_path, n));
    struct api_bytes file = api_file_read(path);
    for (size_t copy = 0; copy < LQI_SEGMENT_HEADER; copy += LQI_SEGMENT_HEADER_COPY) {
        file.bytes[copy + 20] = 1; /* a feature that must be refused */
        uint64_t check = lqi_checksum(file.bytes + copy, 120);
        memcpy(file.bytes + copy + 120, &check, sizeof check);
    }
    api_file_write(path, file.bytes, file.size);
    free(file.bytes);
}

/* Reads all; the messages of the segments `good` (a bit each) must be there, and none of the others. */
static void expect(lq_queue *queue, unsigned good, uint64_t more)
{
    lq_reader *reader;
    lq_message message;
    uint64_t last = 0, seen = 0, wanted = 0;

    for (size_t n = 0; n < SEGMENTS; n++)
        if (good & 1u << n) wanted += firsts[n + 1] - firsts[n];
    OK(lq_reader_open(queue, &reader));
    for (;;) {
        int err = lq_reader_next(reader, &message);
        if (err == LQ_EMPTY) break;
        if (err == LQ_ECORRUPT) continue;
        IS(LQ_OK, err);
        HOLDS(message.id > last);
        last = message.id;
        if (message.id > COUNT) {
            EQUAL(message.id, more);
            continue;
        }
        HOLDS(api_is_filled(&message, SIZE, message.id));
        size_t n = 0;
        while (message.id >= firsts[n + 1]) n++;
        HOLDS(good & 1u << n);
        seen++;
    }
    lq_reader_close(reader);
    EQUAL(seen, wanted);
    EQUAL(last, more);
}

static void damage_and_go_on(void **state, void (*damage)(size_t n), unsigned lost)
{
    for (unsigned bad = 1; bad < 1u << SEGMENTS; bad++) {
        char name[20];
        if (bad % 3 == 0 && bad != (1u << SEGMENTS) - 1) continue; /* enough of them */
        snprintf(name, sizeof name, "q%u", bad);
        fill(state, name);
        for (size_t n = 0; n < SEGMENTS; n++)
            if (bad & 1u << n) damage(n);
        damage_reboot(queue_path);
        struct api_tree *tree = api_tree_read(queue_path);
        lq_queue *queue = open_queue();
        uint64_t id = 0;
        static const char *const may_change[] = {"meta", "shared", "keep.pos", NULL};
        if (bad & 1u << (SEGMENTS - 1)) HOLDS(api_tree_same(tree, may_change)); /* else the last one goes on */
        OK(lq_put(queue, "more", 4, &id));
        HOLDS(id > COUNT);
        expect(queue, ~(bad & lost), id);
        OK(lq_close(queue));
        queue = open_queue();
        expect(queue, ~(bad & lost), id);
        OK(lq_close(queue));
        IS(LQ_ECORRUPT, lq_verify(queue_path, 0, NULL, NULL, NULL));
        OK(lq_repair(queue_path, 0, NULL, NULL, NULL));
        OK(lq_verify(queue_path, 0, NULL, NULL, NULL));
        queue = open_queue();
        expect(queue, ~(bad & lost), id);
        OK(lq_close(queue));
        api_tree_free(tree);
    }
}

static void whichever_headers_are_damaged_the_others_are_read_and_no_id_is_given_twice(void **state)
{
    damage_and_go_on(state, damage_both, (1u << SEGMENTS) - 1);
}

/* The last one has no trailer yet. */
static void whichever_headers_are_damaged_what_has_a_trailer_is_read(void **state)
{
    damage_and_go_on(state, damage_header, 1u << (SEGMENTS - 1));
}

/* Nor does the log go on behind what it may have been, but behind what it was. */
static void where_a_last_segment_with_a_trailer_ends_is_known(void **state)
{
    uint64_t id;
    fill(state, "q");
    uint64_t next_id = firsts[SEGMENTS - 1];
    damage_remove(api_segment(queue_path, SEGMENTS - 1));
    damage_zero(api_path(queue_path, "meta"), 1024, 1024); /* which remembers the end */
    damage_remove(api_path(queue_path, "consumers/keep.pos"));
    damage_header(SEGMENTS - 2);
    damage_reboot(queue_path);
    lq_queue *queue = open_queue();
    OK(lq_put(queue, "more", 4, &id));
    EQUAL(id, next_id);
    OK(lq_close(queue));
}

/* A header that verifies is believed, whatever is behind it. */
static void a_header_of_another_segment_is_not_made_good_by_a_trailer(void **state)
{
    char path[4096];
    fill(state, "q");
    struct api_bytes other = api_file_read(api_segment(queue_path, 0));
    strcpy(path, api_segment(queue_path, 1));
    struct api_bytes file = api_file_read(path);
    memcpy(file.bytes, other.bytes, LQI_SEGMENT_HEADER);
    api_file_write(path, file.bytes, file.size);
    lq_queue *queue = open_queue();
    expect(queue, ~2u, COUNT);
    OK(lq_close(queue));
    free(other.bytes);
    free(file.bytes);
}

/* A trailer that lies cannot put records where they are not. */
static void trailers_that_make_no_sense_are_not_believed(void **state)
{
    static const struct {
        unsigned at;
        uint64_t value;
    } lies[] = {{8, UINT32_MAX}, {8, 3000}, {16, 8}, {16, UINT64_MAX}, {16, UINT64_C(1) << 63}, {16, 12345}, {24, 0}, {24, UINT64_C(1) << 63}, {48, 1}};
    char path[4096];
    fill(state, "q");
    strcpy(path, api_segment(queue_path, 1));
    struct api_bytes file = api_file_read(path);
    for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
        uint8_t *trailer = file.bytes + file.size - LQI_SEGMENT_TRAILER, before[LQI_SEGMENT_TRAILER];
        memcpy(before, trailer, sizeof before);
        memcpy(trailer + lies[i].at, &lies[i].value, lies[i].at == 8 ? 4 : 8);
        uint64_t check = lqi_checksum(trailer, 120);
        memcpy(trailer + 120, &check, sizeof check);
        api_file_write(path, file.bytes, file.size);
        damage_header(1);
        lq_queue *queue = open_queue();
        expect(queue, ~2u, COUNT);
        OK(lq_close(queue));
        memcpy(trailer, before, sizeof before);
    }
    for (size_t size = 0; size < 600; size += 50) {
        damage_cut(path, size);
        if (size >= 300) damage_zero(path, 0, LQI_SEGMENT_HEADER);
        lq_queue *queue = open_queue();
        expect(queue, ~2u, COUNT);
        OK(lq_close(queue));
        api_file_write(path, file.bytes, file.size);
    }
    free(file.bytes);
}

/* Damage to the last, and a newer library's file before it. */
static void a_newer_file_before_a_damaged_last_one_is_stepped_over(void **state)
{
    fill(state, "q");
    damage_both(SEGMENTS - 1);
    make_newer(SEGMENTS - 2);
    damage_reboot(queue_path);
    lq_queue *queue = open_queue();
    uint64_t id = 0;
    OK(lq_put(queue, "more", 4, &id));
    HOLDS(id > COUNT);
    expect(queue, (1u << (SEGMENTS - 2)) - 1, id);
    OK(lq_close(queue));
}

struct expected {
    unsigned good;
    uint64_t last_id;
};

static void open_it(struct io_fault *fault, void *context)
{
    const struct expected *expected = context;
    struct api_tree *tree = api_tree_read(queue_path);
    lq_queue *queue;
    static const char *const may_change[] = {"meta", "shared", "keep.pos", NULL};

    int err = lqi_open_io(&fault->io, queue_path, &(lq_options){.size = sizeof(lq_options), .flags = LQ_READ_ONLY}, &queue);
    if (!err) OK(lq_close(queue));
    HOLDS(err == LQ_OK || err == LQ_EIO);
    io_fault_end(fault);
    OK(lqi_open_io(&fault->io, queue_path, &(lq_options){.size = sizeof(lq_options), .flags = LQ_READ_ONLY}, &queue));
    expect(queue, expected->good, expected->last_id);
    OK(lq_close(queue));
    HOLDS(api_tree_same(tree, may_change));
    api_tree_free(tree);
}

static void where_the_machine_fails_no_end_is_made_up(void **state)
{
    fill(state, "q");
    damage_both(SEGMENTS - 1);
    damage_header(SEGMENTS - 2);
    damage_reboot(queue_path);
    HOLDS(each_fault(open_it, &(struct expected){(1u << (SEGMENTS - 1)) - 1, firsts[SEGMENTS - 1] - 1}) > 10);
    damage_both(SEGMENTS - 2);
    HOLDS(each_fault(open_it, &(struct expected){(1u << (SEGMENTS - 2)) - 1, firsts[SEGMENTS - 2] - 1}) > 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_DIRECTORY(whichever_headers_are_damaged_the_others_are_read_and_no_id_is_given_twice),
        IN_DIRECTORY(whichever_headers_are_damaged_what_has_a_trailer_is_read),
        IN_DIRECTORY(where_a_last_segment_with_a_trailer_ends_is_known),
        IN_DIRECTORY(a_header_of_another_segment_is_not_made_good_by_a_trailer),
        IN_DIRECTORY(trailers_that_make_no_sense_are_not_believed),
        IN_DIRECTORY(a_newer_file_before_a_damaged_last_one_is_stepped_over),
        IN_DIRECTORY(where_the_machine_fails_no_end_is_made_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
