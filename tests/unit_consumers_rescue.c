/* What all offset files together witness of the log. And what the dead leave in the working memory of a consumer goes into its offset
 * file when the queue is opened next: all of it that makes sense, on a machine that fails, too, and never over what was durable. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "bytes.h"
#include "checksum.h"
#include "consumer.h"
#include "support/child.h"
#include "support/count_maps.h"
#include "support/damage.h"
#include "support/each_fault.h"
#include "support/small_queue.h"

/* ---- witnesses ------------------------------------------------------------------------------- */

static const uint8_t uuid[16] = "0123456789abcde";

static void make_file(int dir, const char *name, uint64_t durable, uint64_t durable_id)
{
    const struct lqi_position_entry first = {.durable = durable, .durable_id = durable_id, .time_us = 1};
    OK(lqi_position_create(&lqi_io_posix, dir, name, uuid, 64, &first, 0600));
}

static int open_to_read(const struct lqi_io *io, int dir, const char *name, int flags, uint32_t mode, int *fd_out)
{
    EQUAL(flags, LQI_OPEN_READ);
    return lqi_io_posix.open(io, dir, name, flags, mode, fd_out);
}

static void ask_on_a_sick_machine(struct io_fault *fault, void *context)
{
    struct lqi_position_entry promise;
    int err = lqi_consumers_promise(&fault->io, *(int *)context, uuid, &promise);
    IS(fault->hits ? LQ_EIO : LQ_OK, err);
    if (!err) EQUAL(promise.durable, 5000);
    if (!err) EQUAL(promise.durable_id, 70);
}

/* Each may know more of one thing; what is damaged knows nothing, and what cannot be read just now might know the most. */
static void the_most_that_any_offset_file_witnesses_counts(void **state)
{
    struct lqi_position_entry promise = {.durable = 1, .durable_id = 1};
    struct lqi_io io = lqi_io_posix;
    char path[4300];
    int dir = -1;
    EQUAL(io.dir_open(&io, -1, *state, &dir), 0);
    io.open = open_to_read;
    OK(lqi_consumers_promise(&io, dir, uuid, &promise));
    EQUAL(promise.durable, 0);
    EQUAL(promise.durable_id, 0);
    make_file(dir, "a", 5000, 10);
    make_file(dir, "b", 3000, 70);
    make_file(dir, "c", 4000, 20);
    OK(lqi_consumers_promise(&io, dir, uuid, &promise));
    EQUAL(promise.durable, 5000);
    EQUAL(promise.durable_id, 70);

    make_file(dir, "aa", 9000, 90); /* damaged, and before others in the list */
    snprintf(path, sizeof path, "%s/aa.pos", (char *)*state);
    api_file_flip(path, 100, 1);
    api_file_flip(path, 612, 1);
    snprintf(path, sizeof path, "%s/d.pos", (char *)*state);
    HOLDS(mkdir(path, 0700) == 0);
    OK(lqi_consumers_promise(&io, dir, uuid, &promise));
    EQUAL(promise.durable, 5000);
    EQUAL(promise.durable_id, 70);
    HOLDS(each_fault(ask_on_a_sick_machine, &dir) > 2 * 5);
    io.close(&io, dir);
}

static void a_consumer_in_doubt_is_known_wherever_it_is(void **state)
{
    (void)state;
    struct lqi_shared *head = calloc(1, sizeof *head);
    HOLDS(!lqi_consumers_doubtful(head));
    for (size_t i = 0; i < LQI_CONSUMERS_MAX; i += LQI_CONSUMERS_MAX - 1) {
        atomic_store(&head->consumers[i].in_doubt, 1);
        HOLDS(!lqi_consumers_doubtful(head)); /* of nobody */
        atomic_store(&head->consumers[i].state, LQI_CONSUMER_USED);
        HOLDS(lqi_consumers_doubtful(head));
        atomic_store(&head->consumers[i].in_doubt, 0);
        HOLDS(!lqi_consumers_doubtful(head));
    }
    free(head);
}

/* ---- numbers that make no sense --------------------------------------------- */

static void (*change_of_slot)(struct lqi_consumer_slot *slot);

static void change_slot(struct lqi_shared *head)
{
    struct lqi_consumer_slot *slot = lqi_consumers_find(head, "c");
    HOLDS(slot != NULL);
    change_of_slot(slot);
}

static void edit_slot(void (*change)(struct lqi_consumer_slot *slot))
{
    change_of_slot = change;
    damage_shared(queue_path, change_slot);
}

static void nothing(struct lqi_consumer_slot *slot) { (void)slot; }
static void name_foreign(struct lqi_consumer_slot *slot) { slot->name[0] = '/'; }
static void window_other(struct lqi_consumer_slot *slot) { slot->window = 128; }
static void floor_beyond_delivered(struct lqi_consumer_slot *slot) { lqi_set_floor(slot, MESSAGES + 500); }
static void floor_that_is_said_once(struct lqi_consumer_slot *slot) { atomic_store(&slot->floor, ACKED | 32); }
static void slots_not_ready(struct lqi_consumer_slot *slot) { slot->region_ready = 0; } /* as of one whose place this was before */
static void state_damaged(struct lqi_consumer_slot *slot) { atomic_store(&slot->state, LQI_CONSUMER_DAMAGED); }
static void delivered_beyond_the_log(struct lqi_consumer_slot *slot) { atomic_store(&slot->delivered, MESSAGES + 1); }
static void place_in_the_head(struct lqi_consumer_slot *slot) { slot->region_offset = 4096; }
static void place_unaligned(struct lqi_consumer_slot *slot) { slot->region_offset += 8; }
static void place_too_small(struct lqi_consumer_slot *slot) { slot->region_size = 4096; }
static void place_larger_than_the_file(struct lqi_consumer_slot *slot) { slot->region_size = (uint64_t)1 << 40; }
static void place_behind_the_file(struct lqi_consumer_slot *slot) { slot->region_offset = (uint64_t)1 << 40; }

static void numbers_of_the_dead_that_make_no_sense_cost_acks_and_no_message(void **state)
{
    static const struct { void (*change)(struct lqi_consumer_slot *slot); bool believed; } edits[] = {
        {nothing, true}, {floor_that_is_said_once, true}, {name_foreign, false}, {slots_not_ready, false}, {state_damaged, false}, {window_other, false}, {floor_beyond_delivered, false},
        {delivered_beyond_the_log, false}, {place_in_the_head, false}, {place_unaligned, false}, {place_too_small, false},
        {place_larger_than_the_file, false}, {place_behind_the_file, false},
    };
    for (size_t i = 0; i < sizeof edits / sizeof *edits; i++) {
        char name[20];
        lq_message message;
        snprintf(name, sizeof name, "q%zu", i);
        use_queue(state, name);
        assert_int_equal(child_run(take_and_die, (void *)(uintptr_t)&in_window), 0);
        edit_slot(edits[i].change);

        lq_queue *queue = open_on(&lqi_io_posix);
        EQUAL(api_stats(queue).last_id, MESSAGES);
        lq_consumer *consumer = api_consumer(queue, "c", NULL);
        for (uint64_t id = edits[i].believed ? ACKED + 1 : 1; id <= MESSAGES; id++) {
            if (edits[i].believed && id == ACKED + 6) continue;
            OK(lq_poll(consumer, &message));
            EQUAL(message.id, id);
            EQUAL(message.attempts, edits[i].believed ? 2 : 1);
            OK(lq_ack(consumer, &message));
        }
        IS(LQ_EMPTY, lq_poll(consumer, &message));
        OK(lq_consumer_close(consumer));
        OK(lq_close(queue));
    }
}

/* Numbers that fit each other, but not the file, which knows better. */
static void delivered_far(struct lqi_consumer_slot *slot)
{
    atomic_store(&slot->floor, 0);
    atomic_store(&slot->delivered, 200);
}
static void floor_before_the_files(struct lqi_consumer_slot *slot) { atomic_store(&slot->floor, 3); }

static int save_and_die(void *context)
{
    lq_queue *queue = open_on(&lqi_io_posix);
    lq_consumer *consumer = api_consumer(queue, "c", &in_window);
    api_consumer(queue, "keep", &in_window);
    api_put_range(queue, 1, 220, SIZE);
    api_take_range(consumer, 1, 40, SIZE);
    OK(lq_sync(queue));
    (void)context;
    return 0;
}

static void what_the_offset_file_has_is_not_taken_back(void **state)
{
    static void (*const edits[])(struct lqi_consumer_slot *slot) = {floor_before_the_files, delivered_far};
    for (size_t i = 0; i < 2; i++) {
        use_queue(state, i ? "far" : "before");
        assert_int_equal(child_run(save_and_die, NULL), 0);
        edit_slot(edits[i]);
        lq_queue *queue = open_on(&lqi_io_posix);
        lq_consumer *consumer = api_consumer(queue, "c", NULL);
        api_take_range(consumer, 41, 220, SIZE);
        OK(lq_consumer_close(consumer));
        OK(lq_close(queue));
    }
}

/* The offset file of a consumer that was in use: gone, damaged, of a newer library. Others are not touched by it. */
static void make_newer(const char *path)
{
    struct api_bytes file = api_file_read(path);
    for (size_t copy = 0; copy < 1024; copy += 512) {
        lqi_put32(file.bytes + copy + 20, 1); /* a feature that must be refused */
        lqi_put64(file.bytes + copy + 504, lqi_checksum(file.bytes + copy, 504));
    }
    api_file_write(path, file.bytes, file.size);
    free(file.bytes);
}

static void a_dead_consumers_file_may_be_gone_or_damaged(void **state)
{
    for (int kind = 0; kind < 3; kind++) {
        char name[20];
        lq_consumer *consumer;
        snprintf(name, sizeof name, "q%d", kind);
        use_queue(state, name);
        assert_int_equal(child_run(take_and_die, (void *)(uintptr_t)&in_window), 0);
        if (kind == 0) damage_remove(offset_file("c"));
        if (kind == 1) damage_zero(offset_file("c"), 0, damage_size(offset_file("c")));
        if (kind == 2) make_newer(offset_file("c"));
        lq_queue *queue = open_on(&lqi_io_posix);
        int err = lq_consumer_open(queue, "c", &(lq_consumer_options){.size = sizeof(lq_consumer_options), .flags = LQ_CONSUMER_NO_CREATE}, &consumer);
        if (kind == 0) EQUAL(err, LQ_ENOTFOUND);
        if (kind == 1) EQUAL(err, LQ_ECORRUPT);
        if (kind == 2) EQUAL(err, LQ_EVERSION);
        lq_consumer *keeper = api_consumer(queue, "keep", NULL);
        api_take_range(keeper, 1, MESSAGES, SIZE);
        OK(lq_consumer_close(keeper));
        OK(lq_close(queue));
    }
}

/* ---- numbers that do -------------------------------------------------------- */

/* In the queue of the test: messages up to 300, of which `c` has settled the first hundred, durably, and holds as many as it may.
 * It has settled one more, out of order, and dies. */
static int fill_the_window_and_die(void *context)
{
    lq_message messages[WINDOW];
    size_t count;
    lq_queue *queue = open_on(&lqi_io_posix);
    lq_consumer *consumer = api_consumer(queue, "c", &in_window);
    (void)context;
    api_put_range(queue, 1, 300, SIZE);
    api_take_range(consumer, 1, 100, SIZE);
    OK(lq_sync(queue));
    OK(lq_get_batch(consumer, messages, WINDOW, &count, 0));
    EQUAL(count, WINDOW);
    OK(lq_ack(consumer, &messages[9]));
    return 0;
}

static void a_full_window_of_the_dead_is_believed(void **state)
{
    lq_message message;
    use_queue(state, "q");
    assert_int_equal(child_run(fill_the_window_and_die, NULL), 0);
    lq_queue *queue = open_on(&lqi_io_posix);
    EQUAL(api_consumer_stats(queue, "c").floor, 100);
    EQUAL(api_consumer_stats(queue, "c").delivered, 100 + WINDOW);
    lq_consumer *consumer = api_consumer(queue, "c", NULL);
    for (uint64_t id = 101; id <= 100 + WINDOW + 1; id++) {
        if (id == 110) continue;
        OK(lq_poll(consumer, &message));
        EQUAL(message.id, id);
        EQUAL(message.attempts, id <= 100 + WINDOW ? 2 : 1);
        OK(lq_ack(consumer, &message));
    }
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
}

/* ---- what was durable --------------------------------------------------------- */

/* Settles 3, then 4 (`syncs` of them durably), then 5, which only the working memory knows, and dies. `half_saved`: in between
 * somebody else has died in the middle of a save: the words are written, without 5, and the entry is not. */
struct death {
    int syncs;
    bool half_saved;
};

static uint32_t word_of_then(void *context, uint64_t id)
{
    lq_consumer *consumer = context;
    const struct lqi_slot *slot = lqi_slot_of(consumer->slot, consumer->member.region, id);
    return (slot->state == LQI_SLOT_SETTLED ? LQI_WORD_SETTLED : 0) | slot->attempts;
}

static void save_half(lq_consumer *consumer)
{
    struct lqi_consumer_slot *slot = consumer->slot;
    struct lqi_position_sides sides = {lqi_region_sides(consumer->member.region, slot->window), slot->epoch};
    struct lqi_position_entry entry = consumer->position.newest;
    consumer->position.newest.sequence = slot->sequence;
    entry.delivered = lqi_delivered(slot);
    OK(lqi_position_save_blocks(&consumer->position, &entry, 1, UINT64_MAX, &sides, word_of_then, consumer));
}

static int settle_and_die(void *context)
{
    const struct death *death = context;
    lq_message messages[8];
    size_t count;
    lq_queue *queue = open_on(&lqi_io_posix);
    lq_consumer *consumer = api_consumer(queue, "c", &in_window);
    api_put_range(queue, 1, MESSAGES, SIZE);
    OK(lq_get_batch(consumer, messages, 8, &count, 0));
    EQUAL(count, 8);
    OK(lq_ack(consumer, &messages[2]));
    OK(lq_sync(queue));
    OK(lq_ack(consumer, &messages[3]));
    if (death->syncs == 2) OK(lq_sync(queue));
    if (death->half_saved) save_half(consumer);
    OK(lq_ack(consumer, &messages[4]));
    return 0;
}

static void has_lost_no_ack(lq_queue *queue)
{
    static const uint64_t ids[] = {1, 2, 6, 7, 8, 9};
    lq_message message;
    lq_consumer *consumer = api_consumer(queue, "c", NULL);
    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++) {
        OK(lq_poll(consumer, &message));
        EQUAL(message.id, ids[i]);
        EQUAL(message.attempts, ids[i] < 9 ? 2 : 1);
    }
    OK(lq_consumer_close(consumer));
}

/* The places of the newest entry, and of the newest of the two sides of the only block. */
static struct kept {
    uint64_t entry, block, sequence;
} kept;

static void find_kept(void)
{
    struct api_bytes file = api_file_read(offset_file("c"));
    uint64_t side = file.size - LQI_POSITION_BLOCKS_AT, newest = 0;
    side /= 2;
    kept = (struct kept){0};
    for (uint64_t slot = 0; slot < LQI_POSITION_ENTRIES; slot++) {
        uint64_t at = LQI_POSITION_ENTRIES_AT + slot * LQI_POSITION_ENTRY;
        if (lqi_get64(file.bytes + at) > kept.sequence) kept.entry = at;
        kept.sequence = lqi_max64(kept.sequence, lqi_get64(file.bytes + at));
    }
    for (uint64_t at = LQI_POSITION_BLOCKS_AT; at < file.size; at += side) {
        if (lqi_get64(file.bytes + at + 16) > newest) kept.block = at;
        newest = lqi_max64(newest, lqi_get64(file.bytes + at + 16));
    }
    HOLDS(kept.entry && kept.block);
    free(file.bytes);
}

static struct lqi_io machine;
static unsigned writes;
static int written = -1; /* the file that is, and is not synced since */
/* Of the offset file: everything else is written through maps, or in places that are none of ours. */
static int write_beside_what_is_kept(const struct lqi_io *io, int fd, uint64_t offset, const void *data, size_t size)
{
    (void)io;
    if (size == LQI_POSITION_ENTRY || size % LQI_POSITION_BLOCK == 0) {
        HOLDS(offset + size <= kept.entry || offset >= kept.entry + LQI_POSITION_ENTRY);
        HOLDS(offset + size <= kept.block || offset >= kept.block + LQI_POSITION_BLOCK);
        writes++;
        written = fd;
    }
    return lqi_io_posix.write(&lqi_io_posix, fd, offset, data, size);
}

static int note_sync(const struct lqi_io *io, int fd)
{
    if (fd == written) written = -1;
    return lqi_io_posix.sync(io, fd);
}

/* The working memory of the dead is given up soon after, and with it all that a sync that fails only then would lose. */
static void close_what_is_synced(const struct lqi_io *io, int fd)
{
    HOLDS(fd < 0 || fd != written);
    lqi_io_posix.close(io, fd);
}

static uint64_t scribble;

/* What the dead say of what is durable, and of what has changed, is not asked. */
static void scribble_slot(struct lqi_shared *head)
{
    struct lqi_consumer_slot *slot = lqi_consumers_find(head, "c");
    struct lqi_region *region = (struct lqi_region *)(void *)((uint8_t *)head + slot->region_offset);
    uint64_t *sides = lqi_region_sides(region, slot->window);
    for (size_t i = 0; i < WINDOW / LQI_POSITION_BLOCK_WORDS + 2; i++) sides[i] = scribble;
    slot->epoch = 0;
    slot->sequence = 1;
    slot->dirty_low = UINT64_MAX;
    slot->dirty_high = 0;
}

static void what_was_durable_is_not_written_over_whatever_the_dead_have_left(void **state)
{
    unsigned number = 0;
    for (int syncs = 1; syncs <= 2; syncs++) {
        for (scribble = 0; scribble < 4; scribble++) {
            struct death death = {.syncs = syncs};
            char name[20];
            snprintf(name, sizeof name, "q%u", number++);
            use_queue(state, name);
            assert_int_equal(child_run(settle_and_die, &death), 0);
            damage_shared(queue_path, scribble_slot);
            find_kept();
            machine = lqi_io_posix;
            machine.write = write_beside_what_is_kept;
            machine.sync = note_sync;
            machine.close = close_what_is_synced;
            machine.map = count_map;
            machine.unmap = count_unmap;
            writes = 0;
            unsigned open_files = api_open_files();
            lq_queue *queue = open_on(&machine);
            EQUAL(writes, 2); /* the words and the entry */
            EQUAL(written, -1);
            machine.write = lqi_io_posix.write;
            has_lost_no_ack(queue);
            OK(lq_close(queue));
            EQUAL(maps, 0);
            EQUAL(api_open_files(), open_files);
        }
    }
}

static void a_save_that_was_under_way_is_not_taken_for_the_one_that_follows(void **state)
{
    for (int syncs = 1; syncs <= 2; syncs++) {
        struct death death = {.syncs = syncs, .half_saved = true};
        use_queue(state, syncs == 1 ? "once" : "twice");
        assert_int_equal(child_run(settle_and_die, &death), 0);
        lq_queue *queue = open_on(&lqi_io_posix);
        has_lost_no_ack(queue);
        OK(lq_close(queue));
    }
}

/* ---- a machine that fails ------------------------------------------------------ */

/* Where a call fails, the queue does not open, or has everything; and the next time it has. */
static void acks_of_the_dead_are_not_lost_because_a_call_has_failed(void **state)
{
    static const enum io_kind kinds[] = {IO_OPEN, IO_READ, IO_STAT, IO_MAP, IO_WRITE, IO_SYNC};
    struct death death = {.syncs = 1};
    struct io_fault fault;
    unsigned failures = 0, number = 0;
    io_fault_init(&fault, &lqi_io_posix);
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        for (uint64_t nth = 1, hits = 1; hits; nth++) {
            char name[20];
            lq_queue *queue;
            snprintf(name, sizeof name, "q%u", number++);
            use_queue(state, name);
            assert_int_equal(child_run(settle_and_die, &death), 0);
            io_fault_plan(&fault, kinds[i], nth, false, EIO);
            int err = lqi_open_io(&fault.io, queue_path, &small, &queue);
            hits = fault.hits;
            HOLDS(hits || !err);
            if (kinds[i] == IO_SYNC) EQUAL(err != LQ_OK, hits); /* what is not durable is not called so */
            io_fault_end(&fault);
            failures += err != LQ_OK;
            if (err) queue = open_on(&lqi_io_posix);
            has_lost_no_ack(queue);
            OK(lq_close(queue));
        }
    }
    HOLDS(failures > 20);
    io_fault_release(&fault);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_DIRECTORY(the_most_that_any_offset_file_witnesses_counts),
        IN_DIRECTORY(a_consumer_in_doubt_is_known_wherever_it_is),
        IN_DIRECTORY(numbers_of_the_dead_that_make_no_sense_cost_acks_and_no_message),
        IN_DIRECTORY(what_the_offset_file_has_is_not_taken_back),
        IN_DIRECTORY(a_dead_consumers_file_may_be_gone_or_damaged),
        IN_DIRECTORY(a_full_window_of_the_dead_is_believed),
        IN_DIRECTORY(what_was_durable_is_not_written_over_whatever_the_dead_have_left),
        IN_DIRECTORY(a_save_that_was_under_way_is_not_taken_for_the_one_that_follows),
        IN_DIRECTORY(acks_of_the_dead_are_not_lost_because_a_call_has_failed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
