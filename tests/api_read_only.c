/* Read-only handles, on queues in all states: at rest, in use, of the dead, on a read-only mount, of somebody else, copied. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "support/api.h"
#include "support/child.h"

static lq_queue *open_read_only(void **state)
{
    return api_open(state, &(lq_options){.flags = LQ_READ_ONLY});
}

static void a_read_only_handle_changes_nothing_and_may_only_look(void **state)
{
    lq_queue *queue = api_open(state, NULL);
    lq_consumer *consumer = api_consumer(queue, "c", NULL);
    api_put_range(queue, 1, 20, 100);
    api_take_range(consumer, 1, 7, 100);
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));

    struct api_tree *before = api_tree_read(api_path(*state, "q"));
    queue = open_read_only(state);
    api_read_range(queue, 1, 20, 100);
    lq_stats stats = api_stats(queue);
    EQUAL(stats.last_id, 20);
    EQUAL(stats.consumers, 1);
    EQUAL(stats.live, 0);
    lq_consumer_stats of_c = api_consumer_stats(queue, "c");
    EQUAL(of_c.floor, 7);
    EQUAL(of_c.ready, 13);
    IS(LQ_EREADONLY, lq_consumer_open(queue, "c", NULL, &consumer));
    IS(LQ_EREADONLY, lq_consumer_delete(queue, "c"));
    IS(LQ_EREADONLY, lq_sync(queue));
    OK(lq_close(queue));
    HOLDS(api_tree_same(before, NULL));
    api_tree_free(before);
}

static void a_read_only_handle_makes_no_queue(void **state)
{
    lq_queue *queue = NULL;
    lq_options options = {.size = sizeof options, .flags = LQ_READ_ONLY};
    IS(LQ_ENOTFOUND, lq_open(api_path(*state, "none"), &options, &queue));
    TEXT_HAS("none");
    HOLDS(queue == NULL);
    HOLDS(!api_file_exists(api_path(*state, "none")));
}

static void a_read_only_handle_follows_a_queue_in_use(void **state)
{
    lq_queue *queue = api_open(state, &(lq_options){.ring_size = 1 << 20, .sync = LQ_SYNC_NEVER});
    api_put_range(queue, 1, 5, 100);
    lq_queue *looker = open_read_only(state);
    lq_reader *reader;
    lq_message message;

    OK(lq_reader_open(looker, &reader));
    EQUAL(api_stats(looker).live, 1);
    EQUAL(api_stats(looker).handles, 1);
    for (uint64_t id = 1; id <= 5; id++) {
        OK(lq_reader_next(reader, &message));
        EQUAL(message.id, id);
    }
    IS(LQ_EMPTY, lq_reader_next(reader, &message));
    api_put_range(queue, 6, 300, 100);
    for (uint64_t id = 6; id <= 300; id++) {
        OK(lq_reader_wait(reader, 5000));
        OK(lq_reader_next(reader, &message));
        EQUAL(message.id, id);
        HOLDS(api_is_filled(&message, 100, id));
    }
    OK(lq_close(queue)); /* now it is in the files only */
    IS(LQ_EMPTY, lq_reader_next(reader, &message));
    queue = api_open(state, NULL); /* and now another population */
    api_put_range(queue, 301, 310, 100);
    for (uint64_t id = 301; id <= 310; id++) {
        OK(lq_reader_wait(reader, 5000));
        OK(lq_reader_next(reader, &message));
        EQUAL(message.id, id);
    }
    EQUAL(api_stats(looker).last_id, 310);
    lq_reader_close(reader);
    OK(lq_close(looker));
    OK(lq_close(queue));
}

static int put_and_be_killed(void *path)
{
    lq_queue *queue;
    OK(lq_open(path, NULL, &queue));
    api_put_range(queue, 1, 100, 100);
    raise(SIGKILL);
    return 0;
}

static void a_read_only_handle_sees_what_the_killed_had_put(void **state)
{
    char path[4096];
    strcpy(path, api_path(*state, "q"));
    OK(lq_close(api_open(state, &(lq_options){.sync = LQ_SYNC_NEVER})));
    EQUAL(child_run(put_and_be_killed, path), 100 + SIGKILL);

    struct api_tree *before = api_tree_read(path);
    lq_queue *looker = open_read_only(state);
    api_read_range(looker, 1, 100, 100);
    EQUAL(api_stats(looker).last_id, 100);
    EQUAL(api_stats(looker).live, 0);
    OK(lq_close(looker));
    HOLDS(api_tree_same(before, NULL));
    api_tree_free(before);

    lq_queue *queue = api_open(state, NULL);
    EQUAL(api_stats(queue).recovered_messages, 100);
    api_read_range(queue, 1, 100, 100);
    OK(lq_close(queue));
}

static int look_as_nobody(void *directory)
{
    lq_queue *queue = NULL;
    lq_options options = {.size = sizeof options, .flags = LQ_READ_ONLY};
    HOLDS(chdir(directory) == 0); /* the way here may be closed to others */
    if (getuid() == 0 && setuid(65534) != 0) return CHILD_SKIP;
    OK(lq_open("q", &options, &queue));
    api_read_range(queue, 1, 20, 100);
    EQUAL(api_stats(queue).last_id, 20);
    EQUAL(api_consumer_stats(queue, "c").floor, 7);
    OK(lq_close(queue));
    queue = NULL;
    IS(LQ_EACCESS, lq_open("q", NULL, &queue));
    TEXT_HAS("meta");
    return 0;
}

static void a_queue_that_one_may_only_read_can_be_looked_at(void **state)
{
    chmod(*state, 0755);
    lq_queue *queue = api_open(state, &(lq_options){.mode = 0644});
    lq_consumer *consumer = api_consumer(queue, "c", NULL);
    api_put_range(queue, 1, 20, 100);
    api_take_range(consumer, 1, 7, 100);
    OK(lq_consumer_close(consumer));

    int in_use = child_run(look_as_nobody, *state);
    OK(lq_close(queue));
    if (getuid() != 0) {
        const char *parts[] = {"q", "q/log", "q/consumers", "q/meta", "q/shared", "q/log/00000000000000000001.seg", "q/consumers/c.pos"};
        for (size_t i = 0; i < 7; i++) chmod(api_path(*state, parts[i]), i < 3 ? 0500 : 0400);
    }
    int closed = child_run(look_as_nobody, *state);
    if (in_use == CHILD_SKIP || closed == CHILD_SKIP) skip();
    EQUAL(closed, 0);
    EQUAL(in_use, 0);
}

static int look_at_a_read_only_mount(void *path)
{
    lq_queue *queue = NULL;
    lq_options options = {.size = sizeof options, .flags = LQ_READ_ONLY};
    if (!child_unshare_mounts()) return CHILD_SKIP;
    if (mount(path, path, NULL, MS_BIND, NULL) != 0) return CHILD_SKIP;
    if (mount(NULL, path, NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL) != 0) return CHILD_SKIP;
    IS(LQ_EREADONLY, lq_open(path, NULL, &queue));
    OK(lq_open(path, &options, &queue));
    api_read_range(queue, 1, 20, 100);
    OK(lq_close(queue));
    IS(LQ_OK, lq_verify(path, 0, NULL, NULL, NULL));
    return 0;
}

static void a_queue_on_a_read_only_mount_can_be_looked_at(void **state)
{
    char path[4096];
    strcpy(path, api_path(*state, "q"));
    lq_queue *queue = api_open(state, NULL);
    api_put_range(queue, 1, 20, 100);
    OK(lq_close(queue));
    int result = child_run(look_at_a_read_only_mount, path);
    if (result == CHILD_SKIP) skip();
    EQUAL(result, 0);
}

static void a_copy_of_a_queue_in_use_can_be_looked_at(void **state)
{
    lq_queue *queue = api_open(state, NULL);
    api_put_range(queue, 1, 50, 100);
    api_tree_copy(api_path(*state, "q"), api_path(*state, "copy"));
    lq_options options = {.size = sizeof options, .flags = LQ_READ_ONLY};
    lq_queue *copy;
    OK(lq_open(api_path(*state, "copy"), &options, &copy));
    api_read_range(copy, 1, 50, 100);
    EQUAL(api_stats(copy).live, 0);
    OK(lq_close(copy));
    OK(lq_open(api_path(*state, "copy"), NULL, &copy)); /* and used, apart from the original */
    EQUAL(api_put(copy, "in the copy"), 51);
    EQUAL(api_put(queue, "in the original"), 51);
    OK(lq_close(copy));
    OK(lq_close(queue));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_DIRECTORY(a_read_only_handle_changes_nothing_and_may_only_look),
        IN_DIRECTORY(a_read_only_handle_makes_no_queue),
        IN_DIRECTORY(a_read_only_handle_follows_a_queue_in_use),
        IN_DIRECTORY(a_read_only_handle_sees_what_the_killed_had_put),
        IN_DIRECTORY(a_queue_that_one_may_only_read_can_be_looked_at),
        IN_DIRECTORY(a_queue_on_a_read_only_mount_can_be_looked_at),
        IN_DIRECTORY(a_copy_of_a_queue_in_use_can_be_looked_at),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
