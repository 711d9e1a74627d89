/* Retention among processes: several put into a queue that is full, and one dies, or is refused by the disk, while it deletes. */
#include <dirent.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "queue.h"
#include "support/api.h"
#include "support/child.h"

enum { BODY = 4000, BACKLOG = 120, SEGMENTS_LEAST = 7 };

#define SMALL .size = sizeof(lq_options), .segment_size = 64 << 10, .ring_size = 64 << 10, .sync = LQ_SYNC_NEVER, .size_max = 1 << 20

/* ---- whoever ends in a deletion ------------------------------------------------ */

static struct {
    char path[4096];
    unsigned segments;   /* unlinked so far */
    unsigned dies_at;    /* the one before which it dies; 0: it does not */
    unsigned refused;    /* or so many say ENOSPC */
} deletion;

static int hampered_unlink(const struct lqi_io *io, int dir, const char *name)
{
    (void)io;
    if (strstr(name, ".seg") && ++deletion.segments == deletion.dies_at) _exit(0);
    if (strstr(name, ".seg") && deletion.segments <= deletion.refused) return ENOSPC;
    return lqi_io_posix.unlink(&lqi_io_posix, dir, name);
}

/* So that all but the newest segments may go at once. */
static int consume_it_all_at_once(void *context)
{
    struct lqi_io io = lqi_io_posix;
    lq_message messages[BACKLOG];
    lq_queue *queue;
    size_t count;
    (void)context;
    io.unlink = hampered_unlink;
    OK(lqi_open_io(&io, deletion.path, NULL, &queue));
    lq_consumer *consumer = api_consumer(queue, "c", NULL);
    OK(lq_get_batch(consumer, messages, BACKLOG, &count, 0));
    EQUAL(count, BACKLOG);
    OK(lq_ack_batch(consumer, messages, count));
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
    return 0;
}

static uint64_t count_files(void)
{
    char path[4200];
    uint64_t count = 0;
    snprintf(path, sizeof path, "%s/log", deletion.path);
    DIR *stream = opendir(path);
    HOLDS(stream != NULL);
    for (const struct dirent *entry; (entry = readdir(stream)) != NULL;) count += strstr(entry->d_name, ".seg") != NULL;
    closedir(stream);
    return count;
}

/* Somebody else lives all the time, and goes on with a full queue's worth of messages, several times over. */
static void check_goes_on(lq_queue *queue)
{
    lq_consumer *consumer = api_consumer(queue, "c", NULL);
    for (uint64_t id = BACKLOG + 1; id <= 10 * BACKLOG; id++) {
        api_put_range(queue, id, id, BODY);
        api_take_range(consumer, id, id, BODY);
    }
    EQUAL(count_files(), api_stats(queue).segments);
    HOLDS(count_files() <= 3);
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
    OK(lq_verify(deletion.path, 0, NULL, NULL, NULL));
}

static lq_queue *queue_with_backlog(void **state, const char *name)
{
    lq_queue *queue;
    snprintf(deletion.path, sizeof deletion.path, "%s", api_path(*state, name));
    OK(lq_open(deletion.path, &(lq_options){SMALL}, &queue));
    deletion.segments = deletion.dies_at = deletion.refused = 0;
    OK(lq_consumer_close(api_consumer(queue, "c", NULL)));
    api_put_range(queue, 1, BACKLOG, BODY);
    HOLDS(api_stats(queue).segments >= SEGMENTS_LEAST);
    return queue;
}

static void whoever_dies_deleting_leaves_the_rest_to_the_next_deletion(void **state)
{
    for (unsigned at = 1; at <= SEGMENTS_LEAST - 1; at++) {
        char name[] = "q0";
        name[1] = (char)('0' + at);
        lq_queue *queue = queue_with_backlog(state, name);
        deletion.dies_at = at;
        EQUAL(child_run(consume_it_all_at_once, NULL), 0);
        check_goes_on(queue);
    }
}

static void what_the_disk_did_not_delete_goes_with_the_next_deletion(void **state)
{
    lq_queue *queue = queue_with_backlog(state, "q");
    deletion.refused = 3;
    EQUAL(child_run(consume_it_all_at_once, NULL), 0);
    check_goes_on(queue);
}

/* ---- several in a full queue ------------------------------------------------------ */

static int put_many(void *context)
{
    static uint8_t body[40000];
    unsigned random = 1 + (unsigned)(uintptr_t)context;
    lq_queue *queue;
    OK(lq_open(deletion.path, NULL, &queue));
    for (unsigned i = 0; i < 1500; i++) {
        random = random * 1103515245 + 12345;
        OK(lq_put(queue, body, random / 65536 % 50 ? random / 65536 % 2000 : random / 65536 % sizeof body, NULL));
    }
    OK(lq_close(queue));
    return 0;
}

/* Who finds the queue full may find, when he looks what may go, that another has just been there. */
static void a_queue_that_drops_is_never_full_for_any_of_several(void **state)
{
    static const lq_options dropping[] = {{SMALL, .retention = LQ_RETAIN_LIMITS}, {SMALL, .full = LQ_FULL_DROP}};
    for (unsigned kind = 0; kind < 2; kind++) {
        lq_queue *queue;
        pid_t children[3];
        snprintf(deletion.path, sizeof deletion.path, "%s", api_path(*state, kind ? "drops" : "limits"));
        OK(lq_open(deletion.path, &dropping[kind], &queue));
        for (uintptr_t i = 0; i < 3; i++) children[i] = child_start(put_many, (void *)i);
        for (unsigned i = 0; i < 3; i++) EQUAL(child_wait(children[i]), 0);
        EQUAL(api_stats(queue).last_id, 4500);
        OK(lq_close(queue));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_DIRECTORY(whoever_dies_deleting_leaves_the_rest_to_the_next_deletion),
        IN_DIRECTORY(what_the_disk_did_not_delete_goes_with_the_next_deletion),
        IN_DIRECTORY(a_queue_that_drops_is_never_full_for_any_of_several),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
