/* The disk fails to sync, once. The kernel may have marked the pages clean and forgotten them, so that the next
 * sync would say "fine" of bytes that are nowhere: from then on the queue is poisoned, for every handle, and
 * no sync is tried again, until all have closed it and somebody opens it anew. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "queue.h"
#include "support/api.h"
#include "support/io_crash.h"
#include "support/io_fault.h"

enum { BEFORE = 5, SIZE = 1000 };

struct disk {
    struct io_fault fault;
    lq_queue *queue;
    lq_consumer *consumer;
};

/* A queue that syncs always, with messages in it, of which the consumer has seen none. */
static void begin(void **state, struct disk *disk, const lq_options *options)
{
    io_fault_init(&disk->fault, &lqi_io_posix);
    OK(lqi_open_io(&disk->fault.io, api_path(*state, "q"), options, &disk->queue));
    disk->consumer = api_consumer(disk->queue, "c", NULL);
    api_put_range(disk->queue, 1, BEFORE, SIZE);
    OK(lq_sync(disk->queue));
}

static void end(struct disk *disk)
{
    io_fault_end(&disk->fault);
    OK(lq_consumer_close(disk->consumer));
    (void)lq_close(disk->queue); /* it may say that it is poisoned */
    io_fault_release(&disk->fault);
}

static void fail_the_next_sync(struct disk *disk)
{
    io_fault_plan(&disk->fault, IO_SYNC, 1, false, EIO);
}

static void after_a_failed_sync_nothing_is_put_and_no_sync_is_tried_again(void **state)
{
    struct disk disk = {.queue = NULL};
    begin(state, &disk, NULL);
    fail_the_next_sync(&disk);

    IS(LQ_EPOISONED, lq_put(disk.queue, "lost?", 5, NULL));
    TEXT_HAS("sync", "log/");
    EQUAL(disk.fault.hits, 1);
    EQUAL(disk.fault.calls[IO_SYNC], 1);
    for (int i = 0; i < 3; i++) {
        IS(LQ_EPOISONED, lq_put(disk.queue, "no", 2, NULL));
        IS(LQ_EPOISONED, lq_put_batch(disk.queue, &(lq_message){.data = "no", .size = 2}, 1, NULL));
        IS(LQ_EPOISONED, lq_sync(disk.queue));
    }
    EQUAL(disk.fault.calls[IO_SYNC], 1);
    EQUAL(api_stats(disk.queue).poisoned, 1);
    end(&disk);
}

static void every_handle_of_the_queue_knows_of_the_failed_sync(void **state)
{
    struct disk disk = {.queue = NULL};
    begin(state, &disk, NULL);
    lq_queue *other = api_open(state, NULL);
    fail_the_next_sync(&disk);

    IS(LQ_EPOISONED, lq_put(disk.queue, "lost?", 5, NULL));
    IS(LQ_EPOISONED, lq_put(other, "no", 2, NULL));
    IS(LQ_EPOISONED, lq_sync(other));
    lq_queue *late = api_open(state, NULL); /* it joins those who are there */
    IS(LQ_EPOISONED, lq_put(late, "no", 2, NULL));
    EQUAL(api_stats(late).poisoned, 1);
    (void)lq_close(late);
    (void)lq_close(other);
    end(&disk);
}

static void what_was_durable_is_still_handed_out_and_acked(void **state)
{
    struct disk disk = {.queue = NULL};
    begin(state, &disk, NULL);
    fail_the_next_sync(&disk);
    IS(LQ_EPOISONED, lq_put(disk.queue, "lost?", 5, NULL));

    api_take_range(disk.consumer, 1, BEFORE, SIZE);
    IS(LQ_EMPTY, lq_poll(disk.consumer, &(lq_message){.id = 0})); /* what may not be durable is not */
    IS(LQ_TIMEOUT, lq_get(disk.consumer, &(lq_message){.id = 0}, 120)); /* and who waits for it tries no sync again */
    EQUAL(disk.fault.calls[IO_SYNC], 1);
    end(&disk);
}

static void opened_anew_the_queue_takes_messages_again(void **state)
{
    struct disk disk = {.queue = NULL};
    lq_message message;
    begin(state, &disk, NULL);
    fail_the_next_sync(&disk);
    IS(LQ_EPOISONED, lq_put(disk.queue, "lost?", 5, NULL));
    end(&disk);

    lq_queue *queue = api_open(state, NULL);
    lq_consumer *consumer = api_consumer(queue, "c", NULL);
    EQUAL(api_stats(queue).poisoned, 0);
    uint64_t id = api_put(queue, "found");
    HOLDS(id == BEFORE + 1 || id == BEFORE + 2);
    api_take_range(consumer, 1, BEFORE, SIZE);
    if (id == BEFORE + 2) api_get_ack(consumer, "lost?");
    api_get_ack(consumer, "found");
    IS(LQ_EMPTY, lq_poll(consumer, &message));
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
    OK(lq_verify(api_path(*state, "q"), 0, NULL, NULL, NULL));
}

/* The bytes that the sync should have brought to the disk are gone from the cache as well. */
static void what_the_kernel_forgot_costs_nothing_that_was_durable(void **state)
{
    struct disk disk = {.queue = NULL};
    begin(state, &disk, NULL);
    disk.fault.drop_unsynced = true;
    fail_the_next_sync(&disk);
    IS(LQ_EPOISONED, lq_put(disk.queue, "lost?", 5, NULL));
    end(&disk);

    lq_queue *queue = api_open(state, NULL);
    lq_consumer *consumer = api_consumer(queue, "c", NULL);
    api_take_range(consumer, 1, BEFORE, SIZE);
    (void)api_put(queue, "found");
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
}

static void a_sync_by_hand_that_fails_poisons_too(void **state)
{
    struct disk disk = {.queue = NULL};
    begin(state, &disk, &(lq_options){.size = sizeof(lq_options), .sync = LQ_SYNC_NEVER});
    OK(lq_put(disk.queue, "in memory", 9, NULL));
    fail_the_next_sync(&disk);

    IS(LQ_EPOISONED, lq_sync(disk.queue));
    IS(LQ_EPOISONED, lq_sync(disk.queue));
    EQUAL(disk.fault.calls[IO_SYNC], 1);
    IS(LQ_EPOISONED, lq_put(disk.queue, "no", 2, NULL));
    api_take_range(disk.consumer, 1, BEFORE, SIZE);
    end(&disk);
}

/* The log has nothing to sync; what the consumer has settled has. */
static void a_failed_sync_of_an_offset_file_poisons_too(void **state)
{
    struct disk disk = {.queue = NULL};
    begin(state, &disk, NULL);
    api_take_range(disk.consumer, 1, 2, SIZE);
    fail_the_next_sync(&disk);
    IS(LQ_EPOISONED, lq_sync(disk.queue));
    TEXT_HAS("sync", "consumers/c.pos");
    EQUAL(api_stats(disk.queue).poisoned, 1);
    IS(LQ_EPOISONED, lq_put(disk.queue, "no", 2, NULL));
    IS(LQ_EPOISONED, lq_sync(disk.queue));
    EQUAL(disk.fault.calls[IO_SYNC], 1);
    struct stat before, after;
    EQUAL(stat(api_path(*state, "q/consumers/c.pos"), &before), 0);
    end(&disk);

    /* Opened anew, it is written again, into other blocks. */
    lq_queue *queue;
    OK(lq_open(api_path(*state, "q"), NULL, &queue));
    EQUAL(stat(api_path(*state, "q/consumers/c.pos"), &after), 0);
    HOLDS(after.st_ino != before.st_ino);
    lq_consumer *consumer = api_consumer(queue, "c", NULL);
    api_take_range(consumer, 3, BEFORE, SIZE);
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
}

/* They may be clean pages that never reached the disk; another sync would not write them. */
static void opened_anew_what_is_doubtful_is_written_again_before_it_counts(void **state)
{
    struct disk disk = {.queue = NULL};
    begin(state, &disk, NULL);
    fail_the_next_sync(&disk);
    IS(LQ_EPOISONED, lq_put(disk.queue, "doubtful", 8, NULL));
    io_fault_end(&disk.fault);
    OK(lq_consumer_close(disk.consumer));
    (void)lq_close(disk.queue);

    lq_queue *queue;
    struct stat before, after;
    const char *segment = api_path(*state, "q/log/00000000000000000001.seg");
    EQUAL(stat(segment, &before), 0);
    io_fault_plan(&disk.fault, IO_WRITE, 1, false, EIO);
    IS(LQ_EIO, lqi_open_io(&disk.fault.io, api_path(*state, "q"), NULL, &queue));
    TEXT_HAS("write", "log/00000000000000000001.seg");
    EQUAL(disk.fault.calls[IO_SYNC], 0);
    EQUAL(stat(segment, &after), 0);
    EQUAL(after.st_ino, before.st_ino);
    io_fault_plan(&disk.fault, IO_WRITE, 0, false, 0);
    OK(lqi_open_io(&disk.fault.io, api_path(*state, "q"), NULL, &queue));
    HOLDS(disk.fault.calls[IO_WRITE] < 200); /* up to the log's end, and not the room behind it: that would be thousands */
    /* Into other blocks: on ext4, those whose write has failed may never be shown again (see recover.c). */
    EQUAL(stat(segment, &after), 0);
    HOLDS(after.st_ino != before.st_ino);
    EQUAL(api_stats(queue).last_id, BEFORE + 1);
    EQUAL(api_stats(queue).poisoned, 0);
    OK(lq_close(queue));
    io_fault_release(&disk.fault);
}

/* There is no room for another segment (1), or another offset file (2): what was durable is handed out and acked, and no more. */
static void on_a_full_disk_it_opens_and_stays_poisoned_until_there_is_room(void **state)
{
    for (uint64_t nth = 1; nth <= 2; nth++) {
        struct disk disk = {.queue = NULL};
        lq_queue *queue;
        char path[64];
        struct stat before, after;
        snprintf(path, sizeof path, "q%d", (int)nth);
        io_fault_init(&disk.fault, &lqi_io_posix);
        OK(lqi_open_io(&disk.fault.io, api_path(*state, path), NULL, &disk.queue));
        disk.consumer = api_consumer(disk.queue, "c", NULL);
        api_put_range(disk.queue, 1, BEFORE, SIZE);
        fail_the_next_sync(&disk);
        IS(LQ_EPOISONED, lq_put(disk.queue, "doubtful", 8, NULL));
        io_fault_end(&disk.fault);
        OK(lq_consumer_close(disk.consumer));
        (void)lq_close(disk.queue);

        for (int again = 0; again < 2; again++) {
            io_fault_plan(&disk.fault, IO_WRITE, nth, false, ENOSPC);
            OK(lqi_open_io(&disk.fault.io, api_path(*state, path), NULL, &queue));
            EQUAL(disk.fault.hits, 1);
            io_fault_end(&disk.fault);
            EQUAL(api_stats(queue).poisoned, 1);
            IS(LQ_EPOISONED, lq_put(queue, "no", 2, NULL));
            lq_consumer *consumer = api_consumer(queue, "c", NULL);
            api_take_range(consumer, 2 * (uint64_t)again + 1, 2 * (uint64_t)again + 2, SIZE);
            if (again) {
                api_take_range(consumer, 5, BEFORE, SIZE);
                IS(LQ_EMPTY, lq_poll(consumer, &(lq_message){.id = 0}));
            }
            OK(lq_consumer_close(consumer));
            (void)lq_close(queue);
        }
        snprintf(path, sizeof path, "q%d/log/00000000000000000001.seg", (int)nth);
        EQUAL(stat(api_path(*state, path), &before), 0);
        snprintf(path, sizeof path, "q%d", (int)nth);
        OK(lqi_open_io(&disk.fault.io, api_path(*state, path), NULL, &queue));
        snprintf(path, sizeof path, "q%d/log/00000000000000000001.seg", (int)nth);
        EQUAL(stat(api_path(*state, path), &after), 0);
        HOLDS(after.st_ino != before.st_ino);
        EQUAL(api_stats(queue).poisoned, 0);
        lq_consumer *consumer = api_consumer(queue, "c", NULL);
        api_get_ack(consumer, "doubtful");
        OK(lq_consumer_close(consumer));
        OK(lq_close(queue));
        io_fault_release(&disk.fault);
    }
}

static void forget(void *machine, int fd)
{
    io_crash_forget(machine, fd);
}

/* The sync that seals a segment fails, and the kernel calls its pages clean. All of it is in the page cache, trailer and all: it must
 * be written again before the next segment gets its first byte, or a power loss leaves a hole in the log. */
static void opened_anew_a_segment_whose_seal_was_not_synced_is_written_again_whole(void **state)
{
    const lq_options options = {.size = sizeof options, .sync = LQ_SYNC_NEVER, .segment_size = 65536, .ring_size = 65536};
    struct io_crash *machine = io_crash_new(1);
    struct io_fault fault;
    lq_queue *queue;
    uint64_t count;
    int err = LQ_OK;
    (void)state;

    io_fault_init(&fault, io_crash_io(machine));
    fault.sync_failed = forget;
    fault.sync_context = machine;
    OK(lqi_open_io(&fault.io, "q", &options, &queue));
    api_put_range(queue, 1, BEFORE, SIZE);
    OK(lq_sync(queue));
    io_fault_plan(&fault, IO_SYNC, 1, false, EIO);
    for (count = BEFORE; !fault.hits && !err;) {
        uint8_t body[SIZE];
        api_fill(body, SIZE, ++count);
        err = lq_put(queue, body, SIZE, NULL);
    }
    (void)lq_close(queue);
    OK(lqi_open_io(&fault.io, "q", &options, &queue));
    uint64_t last_id = api_stats(queue).last_id;
    HOLDS(last_id + 1 >= count && last_id > 50);
    api_put_range(queue, last_id + 1, last_id + 3, SIZE);
    OK(lq_close(queue));
    io_fault_release(&fault);

    struct io_crash *after = io_crash_power_loss(machine, 0); /* only what was synced */
    OK(lqi_open_io(io_crash_io(after), "q", &options, &queue));
    api_read_range(queue, 1, last_id + 3, SIZE);
    OK(lq_close(queue));
    OK(lqi_verify_io(io_crash_io(after), "q", 0, NULL, NULL, NULL));
    io_crash_free(after);
    io_crash_free(machine);
    io_crash_trim();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_DIRECTORY(after_a_failed_sync_nothing_is_put_and_no_sync_is_tried_again),
        IN_DIRECTORY(every_handle_of_the_queue_knows_of_the_failed_sync),
        IN_DIRECTORY(what_was_durable_is_still_handed_out_and_acked),
        IN_DIRECTORY(opened_anew_the_queue_takes_messages_again),
        IN_DIRECTORY(what_the_kernel_forgot_costs_nothing_that_was_durable),
        IN_DIRECTORY(a_sync_by_hand_that_fails_poisons_too),
        IN_DIRECTORY(a_failed_sync_of_an_offset_file_poisons_too),
        IN_DIRECTORY(opened_anew_what_is_doubtful_is_written_again_before_it_counts),
        IN_DIRECTORY(on_a_full_disk_it_opens_and_stays_poisoned_until_there_is_room),
        cmocka_unit_test(opened_anew_a_segment_whose_seal_was_not_synced_is_written_again_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
