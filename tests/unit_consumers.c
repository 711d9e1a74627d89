/* Consumers between their offset files and the working memory: made, loaded and deleted, on a machine that fails, and from
 * files that are damaged. (How they come to life is in unit_consumers_life.c, what is saved
 * in unit_consumers_saves.c, and what the dead leave in unit_consumers_rescue.c.) */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "support/api.h"
#include "support/child.h"
#include "support/damage.h"
#include "support/each_fault.h"
#include "support/small_queue.h"

/* ---- a machine that fails -------------------------------------------------- */

static void make_one(struct io_fault *fault, void *context)
{
    static unsigned number;
    struct io_fault plan = *fault;
    char name[20];
    lq_consumer *consumer = NULL;
    (void)context;

    io_fault_end(fault);
    lq_queue *queue = open_on(&fault->io);
    io_fault_plan(fault, plan.kind, plan.nth, plan.for_ever, plan.error);
    snprintf(name, sizeof name, "c%u", number++ % 8);
    int err = lq_consumer_open(queue, name, &in_window, &consumer);
    HOLDS(err == LQ_OK || err == LQ_EIO || err == LQ_EPOISONED);
    HOLDS(err == LQ_OK || fault->hits > 0);
    io_fault_end(fault);
    if (err && !plan.for_ever) { /* nobody has it, and nothing is kept for it */
        HOLDS(!api_file_exists(offset_file(name)));
        HOLDS(!lqi_consumers_find(queue->map.head, name));
        EQUAL(api_stats(queue).consumers, 1);
    }
    /* Again at once, on the same handle. After a failed sync only when the queue is opened anew. */
    if (err == LQ_EPOISONED || lqi_poisoned(&queue->log)) {
        if (!err) OK(lq_consumer_close(consumer));
        (void)lq_close(queue);
        queue = open_on(&fault->io);
        err = LQ_EIO;
    }
    if (err) OK(lq_consumer_open(queue, name, &in_window, &consumer));
    api_take_range(consumer, 1, MESSAGES, SIZE);
    OK(lq_consumer_close(consumer));
    OK(lq_consumer_delete(queue, name));
    OK(lq_close(queue));
}

static void a_consumer_whose_making_failed_is_not_there_and_can_be_made_the_next_time(void **state)
{
    use_queue(state, "q");
    fill();
    HOLDS(each_fault(make_one, NULL) > 20);
}

/* The one who is told that there is no room may have no other way than to consume what is there. */
static void a_consumer_for_which_there_is_no_room_holds_nothing_back(void **state)
{
    struct io_fault fault;
    lq_consumer *consumer;
    use_queue(state, "q");
    fill();
    io_fault_init(&fault, &lqi_io_posix);
    lq_queue *queue = open_on(&fault.io);
    api_put_range(queue, MESSAGES + 1, 1000, SIZE);
    consumer = api_consumer(queue, "keep", NULL);
    io_fault_plan(&fault, IO_ALLOCATE, 2, false, ENOSPC); /* of the working memory, when the file is there */
    lq_consumer *greedy;
    IS(LQ_ENOSPC, lq_consumer_open(queue, "greedy", NULL, &greedy));
    TEXT_HAS("shared", "No space left");
    EQUAL(fault.hits, 1);
    api_take_range(consumer, 1, 1000, SIZE);
    HOLDS(api_stats(queue).first_id > 700);
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
    io_fault_release(&fault);
}

/* It was another's, of a time before: what fails now is no reason to forget where it stood. */
static void an_offset_file_that_was_there_stays_when_its_consumer_cannot_be_opened(void **state)
{
    const struct lqi_position_entry first = {.floor = ACKED, .delivered = ACKED, .time_us = 1};
    struct io_fault fault;
    lq_consumer *consumer;
    use_queue(state, "q");
    fill();
    io_fault_init(&fault, &lqi_io_posix);
    lq_queue *queue = open_on(&fault.io);
    /* In whose place it comes has been at the end, which means nothing to it. */
    OK(lq_consumer_close(api_consumer(queue, "before", &(lq_consumer_options){.window = WINDOW, .start = LQ_START_END})));
    OK(lq_consumer_delete(queue, "before"));
    OK(lqi_position_create(&lqi_io_posix, queue->consumers_dir, "c", queue->meta.uuid, WINDOW, &first, 0600));
    for (uint64_t nth = 1; nth <= 2; nth++) { /* what it would have been made as; and its entry as it comes to life */
        io_fault_plan(&fault, nth == 1 ? IO_ALLOCATE : IO_WRITE, nth, false, ENOSPC);
        IS(LQ_ENOSPC, lq_consumer_open(queue, "c", &in_window, &consumer));
        EQUAL(fault.hits, 1);
        HOLDS(api_file_exists(offset_file("c")));
    }
    consumer = api_consumer(queue, "c", NULL);
    api_take_range(consumer, ACKED + 1, MESSAGES, SIZE);
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
    io_fault_release(&fault);
}

struct deletion {
    bool damaged; /* the consumer's offset file is */
};

static void delete_one(struct io_fault *fault, void *context)
{
    const struct deletion *deletion = context;
    struct io_fault plan = *fault;
    lq_consumer *consumer;

    io_fault_end(fault);
    lq_queue *queue = open_on(&fault->io);
    consumer = api_consumer(queue, "c", &in_window);
    api_take_range(consumer, 1, ACKED, SIZE);
    OK(lq_consumer_close(consumer));
    if (deletion->damaged) {
        OK(lq_close(queue));
        damage_zero(offset_file("c"), 0, damage_size(offset_file("c")));
        queue = open_on(&fault->io);
    }
    io_fault_plan(fault, plan.kind, plan.nth, plan.for_ever, plan.error);
    int err = lq_consumer_delete(queue, "c");
    HOLDS(err == LQ_OK || fault->hits > 0);
    io_fault_end(fault);

    /* It is there as it was, or it is not there. */
    static const lq_consumer_options only_old = {.size = sizeof only_old, .flags = LQ_CONSUMER_NO_CREATE};
    int there = lq_consumer_open(queue, "c", &only_old, &consumer);
    if (err == LQ_OK) EQUAL(there, LQ_ENOTFOUND);
    if (there == LQ_OK) {
        HOLDS(!deletion->damaged);
        api_take_range(consumer, ACKED + 1, ACKED + 1, SIZE);
        OK(lq_consumer_close(consumer));
    } else {
        HOLDS(there == LQ_ENOTFOUND || (deletion->damaged && there == LQ_ECORRUPT));
    }
    if (there != LQ_ENOTFOUND) OK(lq_consumer_delete(queue, "c"));
    /* What comes under this name now is new. */
    consumer = api_consumer(queue, "c", &in_window);
    EQUAL(api_consumer_stats(queue, "c").dropped, 0);
    api_take_range(consumer, 1, ACKED, SIZE);
    OK(lq_consumer_close(consumer));
    OK(lq_consumer_delete(queue, "c"));
    OK(lq_close(queue));
}

static void a_consumer_whose_deletion_failed_is_as_it_was_or_gone(void **state)
{
    for (int damaged = 0; damaged < 2; damaged++) {
        struct deletion deletion = {.damaged = damaged};
        use_queue(state, damaged ? "damaged" : "good");
        fill();
        HOLDS(each_fault(delete_one, &deletion) > 2);
    }
}

static pthread_barrier_t barrier;

static void *hold_the_lock(void *context)
{
    lq_queue *queue = context;
    struct lqi_consumer_slot *slot = lqi_consumers_find(queue->map.head, "c");
    OK(lqi_consumer_lock(&queue->map, slot, NULL));
    pthread_barrier_wait(&barrier);
    pthread_barrier_wait(&barrier);
    lqi_consumer_unlock(slot);
    return NULL;
}

static void who_does_not_get_the_lock_of_a_consumer_neither_deletes_nor_opens_it(void **state)
{
    pthread_t thread;
    lq_consumer *consumer;
    int patience = lqi_lock_patience_ms;
    use_queue(state, "q");
    fill();
    lq_queue *queue = open_on(&lqi_io_posix);
    OK(lq_consumer_close(api_consumer(queue, "c", &in_window)));
    pthread_barrier_init(&barrier, NULL, 2);
    EQUAL(pthread_create(&thread, NULL, hold_the_lock, queue), 0);
    pthread_barrier_wait(&barrier);
    lqi_lock_patience_ms = 1;
    IS(LQ_EBUSY, lq_consumer_delete(queue, "c"));
    IS(LQ_EBUSY, lq_consumer_open(queue, "c", NULL, &consumer));
    lqi_lock_patience_ms = patience;
    HOLDS(api_file_exists(offset_file("c")));
    pthread_barrier_wait(&barrier);
    pthread_join(thread, NULL);
    pthread_barrier_destroy(&barrier);
    consumer = api_consumer(queue, "c", NULL);
    api_take_range(consumer, 1, MESSAGES, SIZE);
    OK(lq_consumer_close(consumer));
    OK(lq_consumer_delete(queue, "c"));
    OK(lq_close(queue));
}

static void an_offset_file_removed_by_hand_is_no_obstacle_to_deleting(void **state)
{
    lq_consumer *consumer;
    use_queue(state, "q");
    fill();
    lq_queue *queue = open_on(&lqi_io_posix);
    OK(lq_consumer_close(api_consumer(queue, "c", &in_window)));
    damage_remove(offset_file("c"));
    IS(LQ_ENOTFOUND, lq_consumer_open(queue, "c", &in_window, &consumer));
    IS(LQ_ENOTFOUND, lq_consumer_delete(queue, "c"));
    IS(LQ_ENOTFOUND, lq_consumer_delete(queue, "c"));
    consumer = api_consumer(queue, "c", &in_window);
    api_take_range(consumer, 1, MESSAGES, SIZE);
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
}

static void more_offset_files_than_can_be_used_are_refused(void **state)
{
    char path[4300];
    lq_queue *queue;
    use_queue(state, "q");
    fill();
    snprintf(path, sizeof path, "%s", offset_file("keep"));
    struct api_bytes bytes = api_file_read(path);
    for (int i = 0; i < LQI_CONSUMERS_MAX; i++) {
        char name[20];
        snprintf(name, sizeof name, "copy%d", i);
        api_file_write(offset_file(name), bytes.bytes, bytes.size);
    }
    IS(LQ_ELIMIT, lqi_open_io(&lqi_io_posix, queue_path, &small, &queue));
    TEXT_HAS("257", "256");
    damage_remove(offset_file("copy7"));
    queue = open_on(&lqi_io_posix);
    api_read_range(queue, 1, MESSAGES, SIZE);
    EQUAL(api_stats(queue).consumers, LQI_CONSUMERS_MAX);
    OK(lq_close(queue));
    free(bytes.bytes);
}

/* ---- damaged files -------------------------------------------------------- */

static void flip_both_copies(void)
{
    api_file_flip(offset_file("c"), 60, 1);
    api_file_flip(offset_file("c"), 512 + 60, 1);
}

static int open_to_look_only(const struct lqi_io *io, int dir, const char *name, int flags, uint32_t mode, int *fd_out)
{
    return flags == LQI_OPEN_WRITE && strcmp(name, "c.pos") == 0 ? EACCES : lqi_io_posix.open(io, dir, name, flags, mode, fd_out);
}

static void a_file_that_was_damaged_as_the_queue_was_opened_is_not_used_before_it_is_opened_again(void **state)
{
    struct lqi_io io = lqi_io_posix;
    lq_consumer *consumer;
    use_queue(state, "q");
    assert_int_equal(child_run(take_and_die, (void *)(uintptr_t)&in_window), 0);
    flip_both_copies();
    lq_queue *queue = open_on(&io);
    unsigned open_files = api_open_files();
    io.open = open_to_look_only; /* who only tells it needs no more */
    IS(LQ_ECORRUPT, lq_consumer_open(queue, "c", &in_window, &consumer));
    TEXT_HAS("consumers/c.pos", "byte");
    flip_both_copies(); /* undone */
    IS(LQ_ECORRUPT, lq_consumer_open(queue, "c", &in_window, &consumer));
    TEXT_HAS("consumers/c.pos", "was damaged when the queue was opened");
    EQUAL(api_open_files(), open_files);
    HOLDS(api_consumer_stats(queue, "c").ready > 0); /* who only asks is told what the file says now */
    OK(lq_close(queue));

    queue = open_on(&lqi_io_posix);
    consumer = api_consumer(queue, "c", &in_window);
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
}

/* Its maker has died, or somebody has put it there: to the queue that is open it is new. */
static void a_damaged_file_that_was_not_there_when_the_queue_was_opened_is_told_as_damaged_too(void **state)
{
    const lq_consumer_options ways[] = {{.window = 2 * WINDOW}, {.window = WINDOW}, {.start = LQ_START_END}, {0}};
    const struct lqi_position_entry first = {.time_us = 1};
    lq_consumer *consumer;
    use_queue(state, "q");
    fill();
    lq_queue *queue = open_on(&lqi_io_posix);
    OK(lq_consumer_close(api_consumer(queue, "c", &in_window)));
    OK(lq_consumer_delete(queue, "c")); /* the place it leaves has its window */
    uint64_t size = atomic_load(&queue->map.head->size);
    OK(lqi_position_create(&lqi_io_posix, queue->consumers_dir, "c", queue->meta.uuid, WINDOW, &first, 0600));
    flip_both_copies();
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        lq_consumer_options options = ways[i];
        options.size = sizeof options;
        IS(LQ_ECORRUPT, lq_consumer_open(queue, "c", &options, &consumer));
        TEXT_HAS("consumers/c.pos", "at byte 0");
        EQUAL(lqi_consumers_floor(&queue->log), 0); /* who cannot be read may need everything */
    }
    EQUAL(atomic_load(&queue->map.head->size), size); /* and gets no room */
    consumer = api_consumer(queue, "keep", NULL);
    api_take_range(consumer, 1, MESSAGES, SIZE);
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));

    flip_both_copies(); /* undone */
    queue = open_on(&lqi_io_posix);
    consumer = api_consumer(queue, "c", &in_window);
    api_take_range(consumer, 1, MESSAGES, SIZE);
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
}

/* Where a consumer stands is in many places of its file: one that cannot be read is an error, not a message that comes again. */
static void where_a_consumer_stands_is_not_guessed_when_its_file_cannot_be_read(void **state)
{
    const lq_options look = {.size = sizeof look, .flags = LQ_READ_ONLY};
    struct io_fault fault;
    lq_queue *queue;
    lq_message messages[5];
    size_t count;
    unsigned failures[2] = {0, 0};

    use_queue(state, "q");
    queue = open_on(&lqi_io_posix);
    lq_consumer *consumer = api_consumer(queue, "c", &in_window);
    api_put_range(queue, 1, MESSAGES, SIZE);
    OK(lq_get_batch(consumer, messages, 5, &count, 0));
    OK(lq_ack(consumer, &messages[3])); /* the others come again */
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));

    io_fault_init(&fault, &lqi_io_posix);
    for (int looking = 0; looking < 2; looking++) {
        for (uint64_t nth = 1;; nth++) {
            lq_consumer_stats stats = {.size = sizeof stats};
            io_fault_plan(&fault, IO_READ, nth, false, EIO);
            int err = lqi_open_io(&fault.io, queue_path, looking ? &look : &small, &queue), opened = err;
            if (!err) err = lq_get_consumer_stats(queue, "c", &stats);
            bool over = fault.hits == 0;
            io_fault_end(&fault);
            if (err) IS(LQ_EIO, err);
            else EQUAL(stats.ready, MESSAGES - 1);
            failures[looking] += err != LQ_OK;
            if (!opened) OK(lq_close(queue));
            if (over) break;
        }
        HOLDS(failures[looking] > 3);
    }
    io_fault_release(&fault);
}

/* After a failed sync other files take the place of all offset files, but of what is none, or has just gone, there is none to take it. */
static void every_offset_file_is_replaced_but_what_is_none_or_gone(void **state)
{
    enum { COUNT = 5 };
    char names[COUNT][10];
    struct stat before[COUNT], after;
    struct io_fault fault;
    use_queue(state, "q");
    lq_queue *queue = open_on(&lqi_io_posix);
    for (int i = 0; i < COUNT; i++) {
        snprintf(names[i], sizeof *names, "c%d", i);
        OK(lq_consumer_close(api_consumer(queue, names[i], &in_window)));
        HOLDS(stat(offset_file(names[i]), &before[i]) == 0);
    }
    HOLDS(mkdir(offset_file("a_directory"), 0700) == 0);
    io_fault_init(&fault, &lqi_io_posix);
    OK(lqi_consumers_replace(&fault.io, queue->consumers_dir, 0600));
    EQUAL(fault.calls[IO_OPEN], 2 * COUNT + 1);
    for (int i = 0; i < COUNT; i++) {
        HOLDS(stat(offset_file(names[i]), &after) == 0);
        HOLDS(after.st_ino != before[i].st_ino && after.st_size == before[i].st_size);
    }
    io_fault_plan(&fault, IO_OPEN, 2, false, ENOENT);
    OK(lqi_consumers_replace(&fault.io, queue->consumers_dir, 0600));
    EQUAL(fault.hits, 1);
    EQUAL(fault.calls[IO_OPEN], 2 * COUNT);
    io_fault_plan(&fault, IO_OPEN, 2, false, EIO);
    IS(LQ_EIO, lqi_consumers_replace(&fault.io, queue->consumers_dir, 0600));
    EQUAL(fault.calls[IO_OPEN], 2); /* no more is tried */
    io_fault_plan(&fault, IO_DIR_LIST, 1, false, EIO);
    IS(LQ_EIO, lqi_consumers_replace(&fault.io, queue->consumers_dir, 0600));
    io_fault_release(&fault);
    OK(lq_close(queue));
}

/* ---- ahead of the log ------------------------------------------------------ */

/* Power loss took messages that were acked out of order and saved: what the file says of their ids is of no message any more. */
static void words_of_messages_that_are_gone_mean_nothing_to_new_ones(void **state)
{
    static const lq_consumer_options saving = {.size = sizeof saving, .flags = LQ_CONSUMER_SAVE_ACKS, .window = WINDOW};
    use_queue(state, "q");
    assert_int_equal(child_run(take_and_die, (void *)(uintptr_t)&saving), 0);
    damage_reboot(queue_path);
    struct damage_place place = damage_find(queue_path, ACKED - 2);
    damage_cut(place.path, place.offset);
    lq_queue *queue = open_on(&lqi_io_posix);
    EQUAL(api_stats(queue).last_id, ACKED - 3);
    lq_consumer *consumer = api_consumer(queue, "c", NULL);
    api_put_range(queue, ACKED - 2, MESSAGES, SIZE);
    api_take_range(consumer, ACKED - 2, MESSAGES, SIZE);
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
}

/* ---- opening while others delete ------------------------------------------- */

enum { ROUNDS = 400 };
static lq_queue *shared_queue;

static void *open_and_close(void *unused)
{
    lq_consumer *consumer;
    lq_message message;
    for (int i = 0; i < ROUNDS; i++) {
        OK(lq_consumer_open(shared_queue, "c", &in_window, &consumer));
        OK(lq_poll(consumer, &message));
        EQUAL(message.id, 1);
        OK(lq_consumer_close(consumer));
    }
    return unused;
}

static void *delete_all_the_time(void *unused)
{
    for (int i = 0; i < ROUNDS; i++) {
        int err = lq_consumer_delete(shared_queue, "c");
        HOLDS(err == LQ_OK || err == LQ_ENOTFOUND || err == LQ_EBUSY);
    }
    return unused;
}

static void who_opens_a_consumer_that_is_deleted_just_then_makes_it_anew(void **state)
{
    pthread_t threads[3];
    use_queue(state, "q");
    fill();
    shared_queue = open_on(&lqi_io_posix);
    for (int i = 0; i < 3; i++) pthread_create(&threads[i], NULL, i ? delete_all_the_time : open_and_close, NULL);
    for (int i = 0; i < 3; i++) pthread_join(threads[i], NULL);
    OK(lq_close(shared_queue));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_DIRECTORY(a_consumer_whose_making_failed_is_not_there_and_can_be_made_the_next_time),
        IN_DIRECTORY(a_consumer_for_which_there_is_no_room_holds_nothing_back),
        IN_DIRECTORY(an_offset_file_that_was_there_stays_when_its_consumer_cannot_be_opened),
        IN_DIRECTORY(a_consumer_whose_deletion_failed_is_as_it_was_or_gone),
        IN_DIRECTORY(who_does_not_get_the_lock_of_a_consumer_neither_deletes_nor_opens_it),
        IN_DIRECTORY(an_offset_file_removed_by_hand_is_no_obstacle_to_deleting),
        IN_DIRECTORY(more_offset_files_than_can_be_used_are_refused),
        IN_DIRECTORY(a_file_that_was_damaged_as_the_queue_was_opened_is_not_used_before_it_is_opened_again),
        IN_DIRECTORY(a_damaged_file_that_was_not_there_when_the_queue_was_opened_is_told_as_damaged_too),
        IN_DIRECTORY(where_a_consumer_stands_is_not_guessed_when_its_file_cannot_be_read),
        IN_DIRECTORY(every_offset_file_is_replaced_but_what_is_none_or_gone),
        IN_DIRECTORY(words_of_messages_that_are_gone_mean_nothing_to_new_ones),
        IN_DIRECTORY(who_opens_a_consumer_that_is_deleted_just_then_makes_it_anew),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
