/* A consumer that was ahead of the log after a torn tail must not wait for ids that were taken back: it receives
 * what is put now under them. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "queue.h"
#include "support/api.h"
#include "support/child.h"
#include "support/damage.h"
#include "support/io_fault.h"

enum { KIB = 1024, MESSAGES = 200, SIZE = 60, LEFT = 80 };

static char queue_path[4096];
static lq_options options;
static bool in_order;

static lq_queue *open_queue(void)
{
    lq_queue *queue;
    OK(lq_open(queue_path, &options, &queue));
    return queue;
}

static int put_and_write(void *context)
{
    (void)context;
    lq_queue *queue = open_queue();
    api_put_range(queue, 1, LEFT, SIZE);
    OK(lq_close(queue));
    return 0;
}

/* Consumes all, in order or every second one, and has the position saved, but not the log. */
static int consume_more_and_die(void *context)
{
    lq_message message;
    lq_consumer_options how = {.size = sizeof how, .window = 256};
    (void)context;
    lq_queue *queue = open_queue();
    lq_consumer *consumer = api_consumer(queue, "c", &how);
    api_put_range(queue, LEFT + 1, MESSAGES, SIZE);
    for (uint64_t id = 1; id <= MESSAGES; id++) {
        OK(lq_get(consumer, &message, 0));
        EQUAL(message.id, id);
        if (in_order || id % 2 == 0) OK(lq_ack(consumer, &message));
    }
    OK(lq_consumer_close(consumer));
    return 0;
}

static void prepare(void **state, bool ordered)
{
    options = (lq_options){.size = sizeof options, .sync = LQ_SYNC_NEVER, .segment_size = 64 * KIB, .ring_size = 64 * KIB};
    in_order = ordered;
    snprintf(queue_path, sizeof queue_path, "%s", api_path(*state, "q"));
    assert_int_equal(child_run(put_and_write, NULL), 0);
    assert_int_equal(child_run(consume_more_and_die, NULL), 0);
    damage_reboot(queue_path); /* the ring is gone, the offset file had reached the disk */
}

static void a_consumer_ahead_of_the_log_receives_what_is_put_next(void **state)
{
    prepare(state, true);
    lq_queue *queue = open_queue();
    EQUAL(api_stats(queue).last_id, LEFT);
    EQUAL(api_consumer_stats(queue, "c").floor, LEFT);
    EQUAL(api_consumer_stats(queue, "c").delivered, LEFT);
    lq_consumer *consumer = api_consumer(queue, "c", NULL);
    lq_message message;
    IS(LQ_EMPTY, lq_poll(consumer, &message));
    api_put_range(queue, LEFT + 1, LEFT + 50, SIZE); /* the same ids again */
    api_take_range(consumer, LEFT + 1, LEFT + 50, SIZE);
    IS(LQ_EMPTY, lq_poll(consumer, &message));
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
}

static void words_of_messages_that_were_taken_back_do_not_settle_those_that_come_in_their_place(void **state)
{
    lq_message message;
    prepare(state, false); /* every second one was acked, those that are gone now too */
    lq_queue *queue = open_queue();
    EQUAL(api_stats(queue).last_id, LEFT);
    lq_consumer *consumer = api_consumer(queue, "c", NULL);
    api_put_range(queue, LEFT + 1, MESSAGES, SIZE);
    for (uint64_t id = 1; id <= MESSAGES; id++) {
        if (id <= LEFT && id % 2 == 0) continue;
        OK(lq_get(consumer, &message, 0));
        EQUAL(message.id, id);
        EQUAL(message.attempts, id <= LEFT ? 2 : 1);
        HOLDS(api_is_filled(&message, SIZE, id));
    }
    IS(LQ_EMPTY, lq_poll(consumer, &message));
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
}

static void the_clamped_position_survives_another_power_loss(void **state)
{
    prepare(state, true);
    OK(lq_close(open_queue()));
    damage_reboot(queue_path);
    lq_queue *queue = open_queue();
    EQUAL(api_consumer_stats(queue, "c").delivered, LEFT);
    api_put_range(queue, LEFT + 1, LEFT + 5, SIZE);
    lq_consumer *consumer = api_consumer(queue, "c", NULL);
    api_take_range(consumer, LEFT + 1, LEFT + 5, SIZE);
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
}

static void a_clamp_that_cannot_be_written_is_left_to_the_next_opener(void **state)
{
    struct io_fault fault;
    lq_queue *queue;
    int err = LQ_EIO;

    prepare(state, false);
    io_fault_init(&fault, &lqi_io_posix);
    for (uint64_t nth = 1; err; nth++) {
        io_fault_plan(&fault, IO_WRITE, nth, false, EIO);
        err = lqi_open_io(&fault.io, queue_path, &options, &queue);
        io_fault_end(&fault);
        IS(fault.hits ? LQ_EIO : LQ_OK, err);
    }
    EQUAL(api_consumer_stats(queue, "c").delivered, LEFT);
    EQUAL(api_consumer_stats(queue, "c").ready, LEFT / 2);
    OK(lq_close(queue));
    io_fault_release(&fault);
}

/* ---- durable before an id is given again ---------------------------------------- */

static int position_fd;
static unsigned writes, unsynced;

static int watch_open(const struct lqi_io *io, int dir, const char *name, int flags, uint32_t mode, int *fd_out)
{
    int error = lqi_io_posix.open(io, dir, name, flags, mode, fd_out);
    if (!error && *fd_out == position_fd) position_fd = -1;
    if (!error && strcmp(name, "c.pos") == 0) position_fd = *fd_out;
    return error;
}

static int watch_write(const struct lqi_io *io, int fd, uint64_t offset, const void *data, size_t size)
{
    if (fd == position_fd) writes++, unsynced++;
    return lqi_io_posix.write(io, fd, offset, data, size);
}

static int watch_sync(const struct lqi_io *io, int fd)
{
    if (fd == position_fd) unsynced = 0;
    return lqi_io_posix.sync(io, fd);
}

static void the_clamped_position_is_durable_when_the_queue_is_open(void **state)
{
    struct lqi_io io = lqi_io_posix;
    lq_queue *queue;
    io.open = watch_open;
    io.write = watch_write;
    io.sync = watch_sync;
    prepare(state, true);
    writes = unsynced = 0;
    OK(lqi_open_io(&io, queue_path, &options, &queue));
    HOLDS(writes > 0);
    EQUAL(unsynced, 0);
    EQUAL(api_consumer_stats(queue, "c").delivered, LEFT);
    OK(lq_close(queue));
}

static unsigned good_syncs; /* of the offset file, before one fails */

static int failing_sync(const struct lqi_io *io, int fd)
{
    return fd == position_fd && !good_syncs-- ? EIO : lqi_io_posix.sync(io, fd);
}

static void other_file_after_failed_sync(void **state, unsigned good)
{
    struct lqi_io io = lqi_io_posix;
    struct stat before, after;
    char path[4200];
    lq_queue *queue;
    io.open = watch_open;
    io.sync = failing_sync;
    prepare(state, true);
    good_syncs = good;
    snprintf(path, sizeof path, "%s/consumers/c.pos", queue_path);
    EQUAL(stat(path, &before), 0);
    position_fd = -1;
    IS(LQ_EIO, lqi_open_io(&io, queue_path, &options, &queue));
    TEXT_HAS("sync", "consumers/c.pos");

    queue = open_queue();
    EQUAL(stat(path, &after), 0);
    HOLDS(after.st_ino != before.st_ino);
    EQUAL(api_stats(queue).poisoned, 0);
    EQUAL(api_stats(queue).last_id, LEFT);
    EQUAL(api_consumer_stats(queue, "c").delivered, LEFT);
    OK(lq_close(queue));
}

static void a_position_that_was_found_and_whose_sync_failed_goes_into_another_file(void **state)
{
    other_file_after_failed_sync(state, 0);
}

/* The clamped position is in the page cache now, and perhaps nowhere else: who opens next sees nothing that is ahead. */
static void a_clamped_position_whose_sync_failed_goes_into_another_file(void **state)
{
    other_file_after_failed_sync(state, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_DIRECTORY(a_consumer_ahead_of_the_log_receives_what_is_put_next),
        IN_DIRECTORY(words_of_messages_that_were_taken_back_do_not_settle_those_that_come_in_their_place),
        IN_DIRECTORY(the_clamped_position_survives_another_power_loss),
        IN_DIRECTORY(a_clamp_that_cannot_be_written_is_left_to_the_next_opener),
        IN_DIRECTORY(the_clamped_position_is_durable_when_the_queue_is_open),
        IN_DIRECTORY(a_position_that_was_found_and_whose_sync_failed_goes_into_another_file),
        IN_DIRECTORY(a_clamped_position_whose_sync_failed_goes_into_another_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
