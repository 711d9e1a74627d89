/* The disk is full when the working memory is to be made, or was made before: an error code or an open queue, never a
 * signal; and what is in the queue can be consumed. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#include <cmocka.h>

#include "support/api.h"
#include "support/child.h"
#include "support/damage.h"

enum { KIB = 1024, COUNT = 50, SIZE = 100 };

static char directory[4096], queue_path[4200];

static lq_options options_of(uint64_t ring_size)
{
    return (lq_options){.size = sizeof(lq_options), .segment_size = 64 * KIB, .ring_size = ring_size};
}

static bool mount_small_disk(void *context, const char *size)
{
    char how[64];
    snprintf(directory, sizeof directory, "%s", (const char *)*(void **)context);
    snprintf(queue_path, sizeof queue_path, "%s/q", directory);
    snprintf(how, sizeof how, "size=%s", size);
    return child_unshare_mounts() && mount("none", directory, "tmpfs", 0, how) == 0;
}

/* Takes all space there is. */
static void fill_the_disk(void)
{
    char path[4200];
    static const char bytes[4096];
    snprintf(path, sizeof path, "%s/filler", directory);
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    while (write(fd, bytes, sizeof bytes) > 0) {}
    close(fd);
}

static void free_the_disk(void)
{
    char path[4200];
    snprintf(path, sizeof path, "%s/filler", directory);
    damage_remove(path);
}

static int no_room_for_shared(void *context)
{
    lq_options options = options_of(4096 * KIB);
    lq_queue *queue;
    if (!mount_small_disk(context, "1m")) return CHILD_SKIP;
    for (int i = 0; i < 3; i++) IS(LQ_ENOSPC, lq_open(queue_path, &options, &queue));
    CHECK(mount("none", directory, "tmpfs", MS_REMOUNT, "size=16m") == 0);
    OK(lq_open(queue_path, &options, &queue));
    api_put_range(queue, 1, COUNT, SIZE);
    api_read_range(queue, 1, COUNT, SIZE);
    OK(lq_close(queue));
    return 0;
}

static int room_for_a_smaller_one(void *context)
{
    lq_options large = options_of(4096 * KIB), small = options_of(64 * KIB);
    lq_queue *queue;
    if (!mount_small_disk(context, "1m")) return CHILD_SKIP;
    for (int i = 0; i < 3; i++) IS(LQ_ENOSPC, lq_open(queue_path, &large, &queue));
    OK(lq_open(queue_path, &small, &queue));
    api_put_range(queue, 1, COUNT, SIZE);
    OK(lq_close(queue));
    return 0;
}

static void run(void **state, int (*body)(void *context))
{
    int result = child_run(body, state); /* *state is the directory */
    if (result == CHILD_SKIP) skip();
    assert_int_equal(result, 0);
}

static void without_room_for_the_working_memory_opening_says_so_and_works_when_there_is_room(void **state)
{
    run(state, no_room_for_shared);
}

static void a_queue_that_the_disk_was_too_full_for_may_be_made_smaller(void **state)
{
    run(state, room_for_a_smaller_one);
}

static int full_since(void *context)
{
    lq_options options = options_of(64 * KIB);
    lq_queue *queue;
    if (!mount_small_disk(context, "4m")) return CHILD_SKIP;
    OK(lq_open(queue_path, &options, &queue));
    lq_consumer *consumer = api_consumer(queue, "c", NULL);
    api_put_range(queue, 1, COUNT, SIZE);
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
    fill_the_disk();

    /* Closed and opened again and again: its place was never given back. */
    for (uint64_t i = 0; i < 5; i++) {
        OK(lq_open(queue_path, &options, &queue));
        consumer = api_consumer(queue, "c", NULL);
        api_take_range(consumer, 1 + i * 10, 10 + i * 10, SIZE);
        OK(lq_consumer_close(consumer));
        OK(lq_close(queue));
    }
    OK(lq_open(queue_path, &options, &queue));
    int err = LQ_OK;
    for (int i = 0; i < 10000 && !err; i++) err = lq_put(queue, "more", 4, NULL);
    EQUAL(err, LQ_ENOSPC);
    uint64_t last = api_stats(queue).last_id;
    free_the_disk();
    EQUAL(api_put(queue, "again"), last + 1);
    OK(lq_close(queue));
    IS(LQ_OK, lq_verify(queue_path, 0, NULL, NULL, NULL));
    return 0;
}

static void on_a_full_disk_a_queue_opens_and_is_consumed_and_takes_more_when_there_is_room(void **state)
{
    run(state, full_since);
}

/* The working memory of the dead is sparse: a page of it cannot be had. */
static int sparse(void *context)
{
    lq_options options = options_of(64 * KIB);
    lq_queue *queue;
    char shared[4300];
    if (!mount_small_disk(context, "4m")) return CHILD_SKIP;
    OK(lq_open(queue_path, &options, &queue));
    api_put_range(queue, 1, COUNT, SIZE);
    OK(lq_close(queue));
    snprintf(shared, sizeof shared, "%s/shared", queue_path);
    int fd = open(shared, O_RDWR | O_CLOEXEC);
    CHECK(fd >= 0 && fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 65536, (off_t)damage_size(shared) - 65536) == 0);
    close(fd);
    fill_the_disk();
    int err = lq_open(queue_path, &options, &queue);
    if (!err) OK(lq_close(queue));
    else EQUAL(err, LQ_ENOSPC);
    free_the_disk();
    OK(lq_open(queue_path, &options, &queue));
    api_read_range(queue, 1, COUNT, SIZE);
    OK(lq_close(queue));
    return 0;
}

static void a_working_memory_with_holes_on_a_full_disk_is_an_error_and_no_signal(void **state)
{
    run(state, sparse);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_DIRECTORY(without_room_for_the_working_memory_opening_says_so_and_works_when_there_is_room),
        IN_DIRECTORY(a_queue_that_the_disk_was_too_full_for_may_be_made_smaller),
        IN_DIRECTORY(on_a_full_disk_a_queue_opens_and_is_consumed_and_takes_more_when_there_is_room),
        IN_DIRECTORY(a_working_memory_with_holes_on_a_full_disk_is_an_error_and_no_signal),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
