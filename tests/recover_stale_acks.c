/* Acks that reached the disk while the messages they were for did not. The ids are given again, to other
 * messages: the old acks must not be taken for theirs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "position.h"
#include "queue.h"
#include "support/io_crash.h"

static const lq_options options = {.size = sizeof options, .sync = LQ_SYNC_NEVER, .segment_size = 65536, .ring_size = 65536};

struct life {
    struct io_crash *machine;
    lq_queue *queue;
    lq_consumer *consumer;
};

static void begin(struct life *life, struct io_crash *machine)
{
    life->machine = machine;
    assert_int_equal(lqi_open_io(io_crash_io(machine), "queue", &options, &life->queue), LQ_OK);
    assert_int_equal(lq_consumer_open(life->queue, "c", NULL, &life->consumer), LQ_OK);
}

static void end(struct life *life)
{
    lq_consumer_close(life->consumer);
    lq_close(life->queue);
    io_crash_free(life->machine);
}

static uint64_t put(struct life *life, const char *text)
{
    uint64_t id = 0;
    assert_int_equal(lq_put(life->queue, text, strlen(text), &id), LQ_OK);
    return id;
}

static void get(struct life *life, const char *text, bool ack)
{
    lq_message message;
    assert_int_equal(lq_poll(life->consumer, &message), LQ_OK);
    assert_int_equal(message.size, strlen(text));
    assert_memory_equal(message.data, text, message.size);
    if (ack) assert_int_equal(lq_ack(life->consumer, &message), LQ_OK);
}

/* Saves the consumer's position to its file, without a sync. */
static void save(struct life *life)
{
    assert_int_equal(lq_consumer_close(life->consumer), LQ_OK);
    assert_int_equal(lq_consumer_open(life->queue, "c", NULL, &life->consumer), LQ_OK);
}

struct part {
    uint64_t inode, from, to;
};

static bool only_that(void *context, const struct io_crash_change *change)
{
    const struct part *part = context;
    return change->kind == IO_CRASH_DATA && change->inode + 1000 == part->inode && change->offset >= part->from &&
           change->offset < part->to;
}

/* Of all that was not synced, the power loss leaves only these bytes of the offset file. */
static struct io_crash *leave_of_offset_file(struct life *life, uint64_t from, uint64_t to)
{
    const struct lqi_io *io = io_crash_io(life->machine);
    struct lqi_io_stat stat;
    int dir = -1, fd = -1;

    assert_int_equal(io->dir_open(io, -1, "queue/consumers", &dir), 0);
    assert_int_equal(io->open(io, dir, "c.pos", LQI_OPEN_READ, 0, &fd), 0);
    assert_int_equal(io->stat(io, fd, &stat), 0);
    io->close(io, fd);
    io->close(io, dir);
    struct part part = {stat.inode, from, to};
    return io_crash_power_loss_by(life->machine, 512, only_that, &part);
}

static void an_ack_is_not_taken_for_that_of_another_message_with_the_same_id(void **state)
{
    struct life first, second, third;
    (void)state;

    begin(&first, io_crash_new(1));
    put(&first, "stays");
    assert_int_equal(lq_sync(first.queue), LQ_OK);
    get(&first, "stays", false);
    assert_int_equal(put(&first, "vanishes"), 2);
    get(&first, "vanishes", true);
    save(&first);

    begin(&second, leave_of_offset_file(&first, LQI_POSITION_BLOCKS_AT, UINT64_MAX)); /* the ack, not its message */
    end(&first);
    get(&second, "stays", false);
    assert_int_equal(put(&second, "another"), 2);
    assert_int_equal(lqi_commit_all(&second.queue->log), LQ_OK); /* the message is durable, the acks are not */
    get(&second, "another", false);
    save(&second);

    begin(&third, leave_of_offset_file(&second, LQI_POSITION_ENTRIES_AT, LQI_POSITION_BLOCKS_AT)); /* "handed out up to 2" */
    end(&second);
    get(&third, "stays", true);
    get(&third, "another", true);
    end(&third);
    io_crash_trim();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_ack_is_not_taken_for_that_of_another_message_with_the_same_id),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
