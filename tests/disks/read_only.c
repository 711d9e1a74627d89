/* A file system that takes no more writes: because somebody remounts it, or because its disk fails each of them.
 *
 * The kernel does not remount a file system while a file on it is open for writing, so that a queue in use is safe from
 * that, and a queue at rest is as its last user left it. A disk that fails (our recorder says EIO to each write and flush)
 * makes ext4 and btrfs read-only, and in the end xfs shut down, under the running queue: the first PUT that must sync says
 * why, the queue is poisoned, and GET and ack go on with all that was accepted, from memory and from files. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>

#include "../support/api.h"
#include "../support/child.h"
#include "disk.h"
#include "recorder.h"

enum { SIZE = 200, FEW = 150 /* in the ring, with these options */, MANY = 600, LARGE = 12000 /* of several pages */, BASE = 1500 };

static const lq_options options = {.size = sizeof options, .segment_size = 64 * KIB, .ring_size = 64 * KIB};

static lq_queue *open_queue(const struct disk *disk, uint32_t flags)
{
    lq_options how = options;
    lq_queue *queue = NULL;
    how.flags = flags;
    OK(lq_open(disk->queue, &how, &queue));
    return queue;
}

/* ---- remounted ---------------------------------------------------------- */

static int lq(const struct disk *disk, const char *command)
{
    char line[9000];
    const char *program = getenv("LQ");
    snprintf(line, sizeof line, "'%s' %s '%s' >/dev/null 2>&1 </dev/null", program ? program : "./lq", command, disk->queue);
    fflush(NULL);
    return system(line) >> 8;
}

static void look_at_it_read_only(const struct disk *disk)
{
    lq_options how = options;
    lq_queue *queue = NULL;
    IS(LQ_EREADONLY, lq_open(disk->queue, &how, &queue));
    TEXT_HAS("Read-only file system");
    IS(LQ_EREADONLY, lq_open(api_path(disk->mount, "new"), &how, &queue));
    TEXT_HAS("Read-only file system");

    struct api_tree *before = api_tree_read(disk->queue);
    queue = open_queue(disk, LQ_READ_ONLY);
    api_read_range(queue, 1, FEW, SIZE);
    IS(LQ_EREADONLY, lq_put(queue, "no", 2, NULL));
    EQUAL(api_consumer_stats(queue, "c").floor, 10);
    OK(lq_close(queue));
    OK(lq_verify(disk->queue, 0, NULL, NULL, NULL));
    EQUAL(lq(disk, "verify"), 0);
    EQUAL(lq(disk, "cat"), 0);
    EQUAL(lq(disk, "stat"), 0);
    EQUAL(lq(disk, "put --whole"), 4);
    HOLDS(api_tree_same(before, NULL));
    api_tree_free(before);
}

static void a_queue_in_use_cannot_be_remounted_and_one_at_rest_can_be_read(void **state)
{
    struct disk *disk = *state;
    disk_fresh(disk);
    lq_queue *queue = open_queue(disk, 0);
    lq_consumer *consumer = api_consumer(queue, "c", NULL);
    api_put_range(queue, 1, FEW - 20, SIZE);
    EQUAL(disk_remount(disk, MS_RDONLY, NULL), EBUSY);
    api_put_range(queue, FEW - 19, FEW, SIZE);
    api_take_range(consumer, 1, 10, SIZE);
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));

    EQUAL(disk_remount(disk, MS_RDONLY, NULL), 0);
    look_at_it_read_only(disk);
    EQUAL(disk_remount(disk, 0, NULL), 0);

    queue = open_queue(disk, 0);
    consumer = api_consumer(queue, "c", NULL);
    api_put_range(queue, FEW + 1, FEW + 10, SIZE);
    api_take_range(consumer, 11, FEW + 10, SIZE);
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
}

/* A process has died with the queue open: there are locks, and memory that nobody has brought to the files. */
static int die_with_it_open(void *context)
{
    const struct disk *disk = context;
    lq_options how = options;
    lq_queue *queue;
    how.sync = LQ_SYNC_NEVER;
    OK(lq_open(disk->queue, &how, &queue));
    api_put_range(queue, 1, FEW, SIZE);
    return 0;
}

static void what_the_dead_left_can_be_read_on_a_read_only_mount(void **state)
{
    struct disk *disk = *state;
    disk_fresh(disk);
    EQUAL(child_run(die_with_it_open, disk), 0);
    EQUAL(disk_remount(disk, MS_RDONLY, NULL), 0);
    lq_queue *queue = open_queue(disk, LQ_READ_ONLY);
    api_read_range(queue, 1, FEW, SIZE);
    OK(lq_close(queue));
    EQUAL(disk_remount(disk, 0, NULL), 0);
    queue = open_queue(disk, 0);
    api_put_range(queue, FEW + 1, FEW + 10, SIZE);
    api_read_range(queue, 1, FEW + 10, SIZE);
    OK(lq_close(queue));
}

/* ---- failing ------------------------------------------------------------ */

/* Puts until it is refused; returns the last id that was accepted. */
static uint64_t put_until_refused(lq_queue *queue, uint64_t last)
{
    uint8_t body[SIZE];
    int code = LQ_OK;
    for (int i = 0; i < 1000 && !code; i++) {
        api_fill(body, sizeof body, last + 1);
        code = lq_put(queue, body, sizeof body, NULL);
        last += !code;
    }
    IS(LQ_EPOISONED, code);
    TEXT_HAS("log/", "poisoned");
    HOLDS(strstr(lq_error_text(), "Input/output error") || strstr(lq_error_text(), "Read-only file system"));
    return last;
}

/* With a disk that has begun to fail. Returns the last id that was accepted. */
static uint64_t go_on_without_disk(const struct disk *disk, lq_queue *queue, lq_consumer *consumer, uint64_t count)
{
    lq_options how = options;
    lq_queue *second = NULL;
    lq_message message;
    uint64_t last = put_until_refused(queue, count);
    EQUAL(last, count); /* its first sync has failed */
    for (int i = 0; i < 3; i++) IS(LQ_EPOISONED, lq_put(queue, "no", 2, NULL));
    IS(LQ_EPOISONED, lq_sync(queue));
    EQUAL(api_stats(queue).poisoned, 1);

    api_take_range(consumer, 1, count, SIZE);
    IS(LQ_EMPTY, lq_poll(consumer, &message));
    int code = lq_open(disk->queue, &how, &second); /* joins us, as long as its files can be opened */
    if (!code) {
        IS(LQ_EPOISONED, lq_put(second, "no", 2, NULL));
        OK(lq_close(second));
    } else {
        HOLDS(code == LQ_EREADONLY || code == LQ_EIO);
    }
    return last;
}

/* Mounts an empty disk whose writes can be made to fail, or skips the test. */
static void mount_recorded(struct disk *disk, struct recorder *recorder)
{
    static struct witness *witness;
    if (!witness) witness = witness_new(); /* of nothing: the recorder wants one */
    disk_fresh(disk);
    disk_unmount(disk);
    if (!recorder_start(recorder, disk->directory, disk->image, disk->kind->size, witness)) skip();
    EQUAL(disk_mount(disk, recorder->file), 0);
}

/* Everything accepted is there, and it goes on. */
static void check_it_is_well(const struct disk *disk, uint64_t last, size_t size)
{
    lq_queue *queue = open_queue(disk, 0);
    lq_stats stats = api_stats(queue);
    HOLDS(stats.last_id >= last && stats.poisoned == 0);
    last = stats.last_id;
    api_read_range(queue, 1, last, size);
    lq_consumer *consumer = api_consumer(queue, "c", NULL);
    api_put_range(queue, last + 1, last + 10, size);
    api_take_range(consumer, api_consumer_stats(queue, "c").floor + 1, last + 10, size);
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
    OK(lq_verify(disk->queue, 0, NULL, NULL, NULL));
}

static void use_a_failing_disk(struct disk *disk, uint64_t count)
{
    struct recorder recorder;
    lq_options how = options;
    mount_recorded(disk, &recorder);

    lq_queue *queue = open_queue(disk, 0);
    lq_consumer *consumer = api_consumer(queue, "c", NULL);
    api_put_range(queue, 1, count, SIZE);
    atomic_store(&recorder.record->failing, 1);
    uint64_t last = go_on_without_disk(disk, queue, consumer, count);
    lq_consumer_close(consumer); /* says what it cannot save */
    IS(LQ_EPOISONED, lq_close(queue));
    int code = lq_open(disk->queue, &how, &queue);
    HOLDS(code == LQ_EREADONLY || code == LQ_EIO || code == LQ_EPOISONED);

    /* The disk is well again. */
    disk_unmount(disk);
    atomic_store(&recorder.record->failing, 0);
    EQUAL(disk_mount(disk, recorder.file), 0);
    check_it_is_well(disk, last, SIZE);
    disk_unmount(disk);
    recorder_stop(&recorder);
    recorder_release(&recorder);
}

static void a_disk_that_fails_each_write_poisons_and_what_is_there_can_be_consumed(void **state)
{
    use_a_failing_disk(*state, FEW);
    use_a_failing_disk(*state, MANY);
}

/* One write has failed, and the kernel calls the pages clean that never reached the disk. As long as it
 * remembers them, reading shows what is in them: what is shown has to be brought to the disk, too, and what is put then. */
static void after_a_moment_of_failure_opening_anew_brings_all_to_the_disk(void **state)
{
    struct disk *disk = *state;
    struct recorder recorder;
    static uint8_t body[LARGE];
    mount_recorded(disk, &recorder);
    lq_queue *queue = open_queue(disk, 0);
    api_put_range(queue, 1, 2, LARGE);
    api_fill(body, sizeof body, 3);
    atomic_store(&recorder.record->failing, 1);
    IS(LQ_EPOISONED, lq_put(queue, body, sizeof body, NULL));
    atomic_store(&recorder.record->failing, 0);
    IS(LQ_EPOISONED, lq_put(queue, body, sizeof body, NULL));
    IS(LQ_EPOISONED, lq_close(queue));

    uint64_t last = 2;
    lq_options how = options;
    int code = lq_open(disk->queue, &how, &queue);
    if (code == LQ_OK) {
        last = api_stats(queue).last_id + 10;
        api_put_range(queue, last - 9, last, LARGE);
        OK(lq_close(queue));
    } else {
        HOLDS(code == LQ_EREADONLY || code == LQ_EIO); /* the file system has given up */
    }
    printf("# %s: after one failed write a queue is opened again: %s\n", disk->kind->name, lq_error_name(code));
    disk_unmount(disk); /* and nothing is remembered */
    EQUAL(disk_mount(disk, recorder.file), 0);
    check_it_is_well(disk, last, LARGE);
    disk_unmount(disk);
    recorder_stop(&recorder);
    recorder_release(&recorder);
}

/* The same for acks, saved in either half of the offset file, and before a power loss. */
static const lq_consumer_options saving = {.flags = LQ_CONSUMER_SAVE_ACKS};

struct acks {
    const struct disk *disk;
    uint64_t count;
};

/* Acks `count` of the messages behind BASE + 1, one by one, not in order, and dies. */
static int ack_and_die(void *context)
{
    const struct acks *acks = context;
    lq_queue *queue = open_queue(acks->disk, 0);
    lq_consumer *consumer = api_consumer(queue, "c", &saving);
    lq_message message, first;
    OK(lq_poll(consumer, &first));
    EQUAL(first.id, BASE + 1);
    for (uint64_t i = 0; i < acks->count; i++) {
        OK(lq_poll(consumer, &message));
        EQUAL(message.id, BASE + 2 + i);
        OK(lq_ack(consumer, &message));
    }
    return 0;
}

static void save_acks_after_a_failure(struct disk *disk, uint64_t acked)
{
    static lq_message messages[BASE];
    struct acks acks = {disk, acked};
    struct recorder recorder;
    size_t count;
    mount_recorded(disk, &recorder);
    lq_queue *queue = open_queue(disk, 0);
    lq_consumer *consumer = api_consumer(queue, "c", &saving);
    api_put_range(queue, 1, BASE, SIZE); /* so that the next ones are in blocks of the offset file that were never written */
    OK(lq_get_batch(consumer, messages, BASE, &count, 0));
    OK(lq_ack_batch(consumer, messages, count));
    api_take_range(consumer, count + 1, BASE, SIZE);
    api_put_range(queue, BASE + 1, BASE + 10, SIZE);
    OK(lq_get_batch(consumer, messages, 10, &count, 0));
    EQUAL(count, 10);
    atomic_store(&recorder.record->failing, 1);
    IS(LQ_EPOISONED, lq_ack(consumer, &messages[9])); /* acked, but maybe not durable: it may come again */
    atomic_store(&recorder.record->failing, 0);
    lq_consumer_close(consumer);
    IS(LQ_EPOISONED, lq_close(queue));
    EQUAL(child_run(ack_and_die, &acks), 0);
    disk_unmount(disk);
    disk_next_boot();
    EQUAL(disk_mount(disk, recorder.file), 0);

    queue = open_queue(disk, 0);
    consumer = api_consumer(queue, "c", &saving);
    api_take_range(consumer, BASE + 1, BASE + 1, SIZE);
    api_take_range(consumer, BASE + 2 + acked, BASE + 9, SIZE);
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
    OK(lq_verify(disk->queue, 0, NULL, NULL, NULL));
    disk_unmount(disk);
    recorder_stop(&recorder);
    recorder_release(&recorder);
}

static void after_a_moment_of_failure_acks_are_saved_for_good(void **state)
{
    for (uint64_t acked = 1; acked <= 5; acked++) save_acks_after_a_failure(*state, acked);
}

int main(void)
{
    int skip_code = disk_begin();
    if (skip_code) return skip_code;
    const struct CMUnitTest tests[] = {
        ON_DISK(ext4, a_queue_in_use_cannot_be_remounted_and_one_at_rest_can_be_read),
        ON_DISK(xfs, a_queue_in_use_cannot_be_remounted_and_one_at_rest_can_be_read),
        ON_DISK(btrfs, a_queue_in_use_cannot_be_remounted_and_one_at_rest_can_be_read),
        ON_DISK(tmpfs, a_queue_in_use_cannot_be_remounted_and_one_at_rest_can_be_read),
        ON_DISK(ext4, what_the_dead_left_can_be_read_on_a_read_only_mount),
        ON_DISK(xfs, what_the_dead_left_can_be_read_on_a_read_only_mount),
        ON_DISK(btrfs, what_the_dead_left_can_be_read_on_a_read_only_mount),
        ON_DISK(tmpfs, what_the_dead_left_can_be_read_on_a_read_only_mount),
        ON_DISK(ext4, a_disk_that_fails_each_write_poisons_and_what_is_there_can_be_consumed),
        ON_DISK(xfs, a_disk_that_fails_each_write_poisons_and_what_is_there_can_be_consumed),
        ON_DISK(btrfs, a_disk_that_fails_each_write_poisons_and_what_is_there_can_be_consumed),
        ON_DISK(ext4, after_a_moment_of_failure_opening_anew_brings_all_to_the_disk),
        ON_DISK(xfs, after_a_moment_of_failure_opening_anew_brings_all_to_the_disk),
        ON_DISK(btrfs, after_a_moment_of_failure_opening_anew_brings_all_to_the_disk),
        ON_DISK(ext4, after_a_moment_of_failure_acks_are_saved_for_good),
        ON_DISK(xfs, after_a_moment_of_failure_acks_are_saved_for_good),
        ON_DISK(btrfs, after_a_moment_of_failure_acks_are_saved_for_good),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
