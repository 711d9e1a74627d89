/* Headers of several log files are damaged, those of the last ones among them: the queue opens behind all that may
 * have been there, gives no id twice, changes none of the damaged bytes, and on a machine that fails makes no end up. */
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
}

static uint64_t first_id_of(size_t n)
{
    return strtoull(strrchr(api_segment(queue_path, n), '/') + 1, NULL, 10);
}

static void damage_header(size_t n)
{
    damage_zero(api_segment(queue_path, n), 0, LQI_SEGMENT_HEADER);
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
    uint64_t last = 0, firsts[SEGMENTS + 1], seen = 0, wanted = 0;

    for (size_t n = 0; n < SEGMENTS; n++) firsts[n] = first_id_of(n);
    firsts[SEGMENTS] = COUNT + 1;
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

static void whichever_headers_are_damaged_the_others_are_read_and_no_id_is_given_twice(void **state)
{
    for (unsigned bad = 1; bad < 1u << SEGMENTS; bad++) {
        char name[20];
        if (bad % 3 == 0 && bad != (1u << SEGMENTS) - 1) continue; /* enough of them */
        snprintf(name, sizeof name, "q%u", bad);
        fill(state, name);
        for (size_t n = 0; n < SEGMENTS; n++)
            if (bad & 1u << n) damage_header(n);
        damage_reboot(queue_path);
        struct api_tree *tree = api_tree_read(queue_path);
        lq_queue *queue = open_queue();
        uint64_t id = 0;
        static const char *const may_change[] = {"meta", "shared", "keep.pos", NULL};
        if (bad & 1u << (SEGMENTS - 1)) HOLDS(api_tree_same(tree, may_change)); /* else the last one goes on */
        OK(lq_put(queue, "more", 4, &id));
        HOLDS(id > COUNT);
        expect(queue, ~bad, id);
        OK(lq_close(queue));
        queue = open_queue();
        expect(queue, ~bad, id);
        OK(lq_close(queue));
        api_tree_free(tree);
    }
}

/* Damage to the last, and a newer library's file before it. */
static void a_newer_file_before_a_damaged_last_one_is_stepped_over(void **state)
{
    fill(state, "q");
    damage_header(SEGMENTS - 1);
    make_newer(SEGMENTS - 2);
    damage_reboot(queue_path);
    lq_queue *queue = open_queue();
    uint64_t id = 0;
    OK(lq_put(queue, "more", 4, &id));
    HOLDS(id > COUNT);
    expect(queue, (1u << (SEGMENTS - 2)) - 1, id);
    OK(lq_close(queue));
}

static void open_it(struct io_fault *fault, void *context)
{
    const unsigned *good = context;
    struct api_tree *tree = api_tree_read(queue_path);
    lq_queue *queue;
    static const char *const may_change[] = {"meta", "shared", "keep.pos", NULL};

    int err = lqi_open_io(&fault->io, queue_path, &(lq_options){.size = sizeof(lq_options), .flags = LQ_READ_ONLY}, &queue);
    if (!err) OK(lq_close(queue));
    HOLDS(err == LQ_OK || err == LQ_EIO);
    io_fault_end(fault);
    OK(lqi_open_io(&fault->io, queue_path, &(lq_options){.size = sizeof(lq_options), .flags = LQ_READ_ONLY}, &queue));
    expect(queue, *good, (first_id_of(SEGMENTS - 2) - 1));
    OK(lq_close(queue));
    HOLDS(api_tree_same(tree, may_change));
    api_tree_free(tree);
}

static void where_the_machine_fails_no_end_is_made_up(void **state)
{
    unsigned good = (1u << (SEGMENTS - 2)) - 1;
    fill(state, "q");
    damage_header(SEGMENTS - 1);
    damage_header(SEGMENTS - 2);
    damage_reboot(queue_path);
    HOLDS(each_fault(open_it, &good) > 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_DIRECTORY(whichever_headers_are_damaged_the_others_are_read_and_no_id_is_given_twice),
        IN_DIRECTORY(a_newer_file_before_a_damaged_last_one_is_stepped_over),
        IN_DIRECTORY(where_the_machine_fails_no_end_is_made_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
