/* The power failed while records were on their way: the log ends before the first that is not whole, whatever is
 * behind it, and goes on there. Unless somebody was promised more. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "queue.h"
#include "support/api.h"
#include "support/child.h"
#include "support/damage.h"
#include "support/io_crash.h"

enum { KIB = 1024, MESSAGES = 12, SIZE = 60, SPAN = 40 + 64 };

static char queue_path[4096];
static lq_options options;

static lq_queue *open_queue(void)
{
    lq_queue *queue;
    OK(lq_open(queue_path, &options, &queue));
    return queue;
}

static uint64_t to_put;

/* In the file, and known to be durable to nobody once the machine has gone down. */
static int put_and_die(void *context)
{
    (void)context;
    lq_queue *queue = open_queue();
    uint64_t first = api_stats(queue).last_id + 1;
    api_put_range(queue, first, first + to_put - 1, SIZE);
    OK(lq_sync(queue));
    return 0;
}

static void lose_power(void)
{
    assert_int_equal(child_run(put_and_die, NULL), 0);
    damage_reboot(queue_path);
}

/* A queue in which power was lost; its segment's path. */
static const char *torn(void **state, const char *name, int sync)
{
    snprintf(queue_path, sizeof queue_path, "%s", api_path(*state, name));
    options = (lq_options){.size = sizeof options, .sync = sync, .segment_size = 64 * KIB, .ring_size = 64 * KIB};
    to_put = MESSAGES;
    lose_power();
    return api_segment(queue_path, 0);
}

/* Messages 1 to `last` are there and nothing else, now and after more were put and power was lost again. */
static void expect(uint64_t last, uint64_t dropped)
{
    lq_queue *queue = open_queue();
    lq_stats stats = api_stats(queue);

    EQUAL(stats.last_id, last);
    EQUAL(stats.recovered_bytes, dropped);
    EQUAL(stats.damage, 0);
    api_read_range(queue, 1, last, SIZE);
    OK(lq_close(queue));
    to_put = 2;
    lose_power();
    queue = open_queue();
    EQUAL(api_stats(queue).recovered_bytes, 0);
    api_read_range(queue, 1, last + 2, SIZE);
    OK(lq_close(queue));
    assert_int_equal(lq_verify(queue_path, 0, NULL, NULL, NULL), LQ_OK);
}

static uint64_t place_of(uint64_t id)
{
    return LQI_SEGMENT_HEADER + (id - 1) * SPAN;
}

/* ---- torn --------------------------------------------------------------- */

static void a_file_cut_anywhere_in_its_last_records_ends_before_the_first_that_is_not_whole(void **state)
{
    for (uint64_t cut = 1; cut < 2 * SPAN; cut += 5) {
        char name[20];
        snprintf(name, sizeof name, "q%d", (int)cut);
        const char *segment = torn(state, name, LQ_SYNC_NEVER);
        uint64_t size = place_of(MESSAGES + 1) - cut;
        damage_cut(segment, size);
        uint64_t whole = (size - LQI_SEGMENT_HEADER) / SPAN;
        lq_queue *queue = open_queue();
        EQUAL(api_stats(queue).last_id, whole);
        /* Zeroes at the end, of a body or of padding, are dropped but not counted. */
        HOLDS(api_stats(queue).recovered_bytes <= size - place_of(whole + 1));
        api_read_range(queue, 1, whole, SIZE);
        OK(lq_close(queue));
    }
}

static void a_tail_that_never_reached_the_disk_is_zeroes_and_simply_not_there(void **state)
{
    const char *segment = torn(state, "q", LQ_SYNC_NEVER);
    damage_zero(segment, place_of(9), damage_size(segment) - place_of(9));
    expect(8, 0);
}

static void a_record_of_which_the_end_is_zeroes_is_dropped_and_counted(void **state)
{
    const char *segment = torn(state, "q", LQ_SYNC_NEVER);
    damage_zero(segment, place_of(9) + 48, damage_size(segment) - place_of(9) - 48);
    expect(8, 48);
}

static void later_records_behind_one_that_did_not_reach_the_disk_are_not_there_and_do_not_come_back(void **state)
{
    const char *segment = torn(state, "q", LQ_SYNC_NEVER);
    damage_zero(segment, place_of(5), SPAN);
    expect(4, place_of(MESSAGES + 1) - 4 /* of padding */ - place_of(5));
}

/* The one who put it did not come to close, which would have cut the file too. */
static void records_that_were_cut_do_not_come_back_behind_one_put_in_their_place(void **state)
{
    const char *segment = torn(state, "q", LQ_SYNC_NEVER);
    damage_zero(segment, place_of(5), SPAN);
    to_put = 1;
    lose_power();
    lq_queue *queue = open_queue();
    EQUAL(api_stats(queue).last_id, 5);
    api_read_range(queue, 1, 5, SIZE);
    OK(lq_close(queue));
}

static void garbage_behind_the_last_record_is_dropped_and_counted(void **state)
{
    const char *segment = torn(state, "q", LQ_SYNC_NEVER);
    damage_fill(segment, place_of(MESSAGES + 1), 1000, 7);
    expect(MESSAGES, 1000);
}

static void what_was_torn_is_reported_by_the_population_that_met_it_only(void **state)
{
    const char *segment = torn(state, "q", LQ_SYNC_NEVER);
    damage_zero(segment, place_of(9) + 48, damage_size(segment) - place_of(9) - 48);
    lq_queue *queue = open_queue(), *second = open_queue();
    EQUAL(api_stats(queue).recovered_bytes, 48);
    EQUAL(api_stats(second).recovered_bytes, 48);
    OK(lq_close(second));
    OK(lq_close(queue));
    queue = open_queue();
    EQUAL(api_stats(queue).recovered_bytes, 0);
    OK(lq_close(queue));
}

static void a_read_only_look_at_a_torn_tail_changes_nothing(void **state)
{
    lq_queue *queue;
    const char *segment = torn(state, "q", LQ_SYNC_NEVER);
    damage_fill(segment, place_of(9), 100, 3);
    struct api_tree *before = api_tree_read(queue_path);
    options.flags = LQ_READ_ONLY;
    queue = open_queue();
    api_read_range(queue, 1, 8, SIZE);
    OK(lq_close(queue));
    HOLDS(api_tree_same(before, NULL));
    api_tree_free(before);
}

/* A roll ended between the trailer and the next segment. The trailer was on the disk before what it closes. */
static void a_sealed_segment_ends_before_a_record_that_never_reached_the_disk(void **state)
{
    torn(state, "q", LQ_SYNC_NEVER);
    to_put = 700;
    lose_power();
    const char *segment = api_segment(queue_path, 0);
    HOLDS(api_segment(queue_path, 1) && !api_segment(queue_path, 2));
    damage_remove(api_segment(queue_path, 1));
    damage_zero(segment, place_of(100), SPAN);
    lq_queue *queue = open_queue();
    EQUAL(api_stats(queue).last_id, 99);
    EQUAL(api_stats(queue).damage, 0);
    api_read_range(queue, 1, 99, SIZE);
    api_put_range(queue, 100, 150, SIZE);
    api_read_range(queue, 1, 150, SIZE);
    OK(lq_close(queue));
}

/* ---- not torn: promised ------------------------------------------------- */

static unsigned count_readable(lq_queue *queue, unsigned *damage_out)
{
    lq_reader *reader;
    lq_message message;
    unsigned count = 0;

    *damage_out = 0;
    OK(lq_reader_open(queue, &reader));
    for (;;) {
        int err = lq_reader_next(reader, &message);
        if (err == LQ_EMPTY) break;
        if (err == LQ_ECORRUPT) {
            ++*damage_out;
            continue;
        }
        OK(err);
        HOLDS(api_is_filled(&message, SIZE, message.id));
        count++;
    }
    lq_reader_close(reader);
    return count;
}

static void a_bad_record_before_one_that_knows_of_its_sync_is_damage_and_costs_itself(void **state)
{
    unsigned damage;
    const char *segment = torn(state, "q", LQ_SYNC_ALWAYS);
    damage_zero(segment, place_of(5), SPAN);
    struct api_tree *before = api_tree_read(queue_path);

    lq_queue *queue = open_queue();
    EQUAL(api_stats(queue).last_id, MESSAGES);
    EQUAL(api_stats(queue).recovered_bytes, 0);
    EQUAL(count_readable(queue, &damage), MESSAGES - 1);
    EQUAL(damage, 1);
    HOLDS(api_tree_same(before, (const char *[]){"shared", NULL}));
    OK(lq_close(queue));
    api_tree_free(before);
}

/* The last of all: only the consumer's offset file knows that it was promised. */
static int consume_and_die(void *context)
{
    (void)context;
    lq_queue *queue = open_queue();
    api_put_range(queue, 1, MESSAGES, SIZE);
    OK(lq_sync(queue));
    lq_consumer *consumer = api_consumer(queue, "c", NULL);
    api_take_range(consumer, 1, 3, SIZE);
    OK(lq_sync(queue));
    return 0;
}

static void the_last_record_is_damaged_and_not_torn_when_an_offset_file_saw_it_synced(void **state)
{
    snprintf(queue_path, sizeof queue_path, "%s", api_path(*state, "q"));
    options = (lq_options){.size = sizeof options, .sync = LQ_SYNC_NEVER, .segment_size = 64 * KIB, .ring_size = 64 * KIB};
    assert_int_equal(child_run(consume_and_die, NULL), 0);
    damage_reboot(queue_path);
    char segment[4200];
    snprintf(segment, sizeof segment, "%s", api_segment(queue_path, 0));
    api_file_flip(segment, place_of(MESSAGES) + 3, 1);
    struct api_tree *before = api_tree_read(api_path(queue_path, "log"));

    lq_queue *queue = open_queue();
    HOLDS(api_stats(queue).last_id >= MESSAGES);
    HOLDS(api_stats(queue).damage > 0);
    EQUAL(api_stats(queue).recovered_bytes, 0);
    uint64_t id = api_put(queue, "next");
    HOLDS(id > MESSAGES); /* no id is given twice */
    OK(lq_sync(queue));
    HOLDS(api_tree_same(before, NULL));
    OK(lq_close(queue));
    api_tree_free(before);

    api_file_flip(segment, place_of(MESSAGES) + 3, 1); /* undone: all is back */
    queue = open_queue();
    lq_reader *reader;
    lq_message message;
    OK(lq_reader_open(queue, &reader));
    for (uint64_t i = 1; i <= MESSAGES; i++) {
        OK(lq_reader_next(reader, &message));
        EQUAL(message.id, i);
        HOLDS(api_is_filled(&message, SIZE, i));
    }
    int err = lq_reader_next(reader, &message);
    if (err == LQ_ECORRUPT) err = lq_reader_next(reader, &message); /* the place that was left free */
    OK(err);
    HOLDS(api_is_text(&message, "next"));
    lq_reader_close(reader);
    OK(lq_close(queue));
}

/* A segment gets its name only when its header is durable: one without is damage. */
static void a_last_segment_without_a_header_is_damage_and_keeps_its_ids_to_itself(void **state)
{
    for (uint64_t size = 0; size <= 200; size += 100) {
        char name[20];
        snprintf(name, sizeof name, "q%d", (int)size);
        char segment[4200];
        snprintf(segment, sizeof segment, "%s", torn(state, name, LQ_SYNC_ALWAYS));
        damage_zero(segment, 0, LQI_SEGMENT_HEADER);
        if (size < 200) damage_cut(segment, size);

        lq_queue *queue = open_queue();
        HOLDS(api_stats(queue).damage > 0);
        uint64_t id = api_put(queue, "next");
        if (size == 200) HOLDS(id > MESSAGES);
        IS(LQ_ECORRUPT, lq_verify(queue_path, 0, NULL, NULL, NULL));
        lq_consumer *consumer = api_consumer(queue, "c", NULL);
        lq_message message;
        int err = lq_get(consumer, &message, 0);
        IS(LQ_ECORRUPT, err);
        do err = lq_get(consumer, &message, 0); while (err == LQ_ECORRUPT);
        OK(err);
        HOLDS(api_is_text(&message, "next"));
        OK(lq_consumer_close(consumer));
        OK(lq_close(queue));
    }
}

/* ---- a seal that is torn ------------------------------------------------------ */

/* What power loss leaves of a segment that was being sealed: all but the first bytes of its index. */
struct torn_seal {
    uint64_t index_offset; /* 0: not known yet */
    struct io_crash *after;
};

static bool keep_all_but_the_index(void *context, const struct io_crash_change *change)
{
    const struct torn_seal *seal = context;
    return change->kind != IO_CRASH_DATA || change->offset != seal->index_offset;
}

static int note_index(void *context, const lq_segment *segment)
{
    ((struct torn_seal *)context)->index_offset = LQI_SEGMENT_HEADER + segment->bytes;
    return 1;
}

static void tear_the_first_seal(void *context, struct io_crash *machine, enum io_kind kind, bool changed)
{
    const lq_options look = {.size = sizeof look, .flags = LQ_READ_ONLY};
    struct torn_seal *seal = context;
    lq_queue *queue;

    if (kind != IO_TRUNCATE || !changed || seal->after) return;
    struct io_crash *whole = io_crash_power_loss(machine, 1);
    OK(lqi_open_io(io_crash_io(whole), "q", &look, &queue));
    EQUAL(lq_each_segment(queue, note_index, seal), 1);
    OK(lq_close(queue));
    io_crash_free(whole);
    seal->after = io_crash_power_loss_by(machine, 8, keep_all_but_the_index, seal);
}

static void a_segment_whose_index_was_torn_when_it_was_sealed_is_sealed_anew(void **state)
{
    const lq_options small = {.size = sizeof small, .sync = LQ_SYNC_ALWAYS, .segment_size = 65536, .ring_size = 65536};
    struct io_crash *machine = io_crash_new(1);
    struct torn_seal seal = {0};
    lq_queue *queue;
    uint64_t count = 0;
    (void)state;

    OK(lqi_open_io(io_crash_io(machine), "q", &small, &queue));
    io_crash_watch(machine, tear_the_first_seal, &seal);
    for (; !seal.after; count++) api_put_range(queue, count + 1, count + 1, 1000);
    io_crash_watch(machine, NULL, NULL);
    OK(lq_close(queue));
    HOLDS(count > 50);

    OK(lqi_open_io(io_crash_io(seal.after), "q", &small, &queue));
    uint64_t last_id = api_stats(queue).last_id;
    EQUAL(last_id, count - 1); /* the message that made the segment roll was not put yet */
    api_put_range(queue, last_id + 1, last_id + 100, 1000);
    api_read_range(queue, 1, last_id + 100, 1000);
    OK(lq_close(queue));
    OK(lqi_verify_io(io_crash_io(seal.after), "q", 0, NULL, NULL, NULL));
    io_crash_free(seal.after);
    io_crash_free(machine);
    io_crash_trim();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_DIRECTORY(a_file_cut_anywhere_in_its_last_records_ends_before_the_first_that_is_not_whole),
        IN_DIRECTORY(a_tail_that_never_reached_the_disk_is_zeroes_and_simply_not_there),
        IN_DIRECTORY(a_record_of_which_the_end_is_zeroes_is_dropped_and_counted),
        IN_DIRECTORY(later_records_behind_one_that_did_not_reach_the_disk_are_not_there_and_do_not_come_back),
        IN_DIRECTORY(records_that_were_cut_do_not_come_back_behind_one_put_in_their_place),
        IN_DIRECTORY(a_sealed_segment_ends_before_a_record_that_never_reached_the_disk),
        IN_DIRECTORY(garbage_behind_the_last_record_is_dropped_and_counted),
        IN_DIRECTORY(what_was_torn_is_reported_by_the_population_that_met_it_only),
        IN_DIRECTORY(a_read_only_look_at_a_torn_tail_changes_nothing),
        IN_DIRECTORY(a_bad_record_before_one_that_knows_of_its_sync_is_damage_and_costs_itself),
        IN_DIRECTORY(the_last_record_is_damaged_and_not_torn_when_an_offset_file_saw_it_synced),
        IN_DIRECTORY(a_last_segment_without_a_header_is_damage_and_keeps_its_ids_to_itself),
        cmocka_unit_test(a_segment_whose_index_was_torn_when_it_was_sealed_is_sealed_anew),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
