/* No space, no larger files, no descriptors: each is an ordinary answer, in every step of a queue's life; nothing accepted is
 * lost, GET and ack go on, and all works again when there is room. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmocka.h>

#include "support/api.h"
#include "support/child.h"
#include "support/victim.h"

/* ---- space ------------------------------------------------------------------------------ */

static void fill_the_disk(const char *path)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    static const char block[4096];
    HOLDS(fd >= 0);
    while (write(fd, block, sizeof block) > 0) {}
    HOLDS(errno == ENOSPC);
    close(fd);
}

static int use_a_full_disk(void *context)
{
    void **state = context;
    char filler[4096];
    if (!child_unshare_mounts() || mount("none", *state, "tmpfs", 0, "size=4m") != 0) return CHILD_SKIP;
    strcpy(filler, api_path(*state, "filler"));

    lq_options options = victim_options;
    options.full = LQ_FULL_REJECT;
    lq_queue *queue = api_open(state, &options);
    lq_consumer *consumer = api_consumer(queue, "c", &(lq_consumer_options){.window = 100});
    char body[1000] = {0};
    lq_message message;
    uint64_t accepted = 0, taken = 0;

    for (; accepted < 200; accepted++) OK(lq_put(queue, body, sizeof body, NULL));
    fill_the_disk(filler);
    int err;
    while ((err = lq_put(queue, body, sizeof body, NULL)) == LQ_OK) accepted++;
    IS(LQ_ENOSPC, err);
    TEXT_HAS("log/", "No space");
    EQUAL(api_stats(queue).last_id, accepted); /* what was refused is not in the queue */
    IS(LQ_ENOSPC, lq_put(queue, body, sizeof body, NULL));
    char *large = calloc(1, 100 << 10);
    IS(LQ_ENOSPC, lq_put(queue, large, 100 << 10, NULL));
    EQUAL(api_stats(queue).poisoned, 0);
    OK(lq_sync(queue));
    lq_consumer *more = NULL;
    IS(LQ_ENOSPC, lq_consumer_open(queue, "new", NULL, &more));

    for (; taken < 10; taken++) { /* GET and ack go on */
        OK(lq_poll(consumer, &message));
        EQUAL(message.id, taken + 1);
        OK(lq_ack(consumer, &message));
    }
    OK(lq_poll(consumer, &message));
    OK(lq_release(consumer, &message));
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));

    fill_the_disk(filler); /* what closing gave back, too */
    queue = api_open(state, NULL); /* opening works on a full disk */
    EQUAL(api_stats(queue).last_id, accepted);
    EQUAL(api_stats(queue).damage, 0);
    consumer = api_consumer(queue, "c", NULL);
    OK(lq_poll(consumer, &message));
    EQUAL(message.id, taken + 1);
    OK(lq_ack(consumer, &message));
    taken++;
    IS(LQ_ENOSPC, lq_put(queue, body, sizeof body, NULL));
    while (taken < accepted && (err = lq_put(queue, body, sizeof body, NULL)) == LQ_ENOSPC) { /* consuming makes room by itself */
        OK(lq_poll(consumer, &message));
        OK(lq_ack(consumer, &message));
        taken++;
    }
    OK(err);
    accepted++;
    HOLDS(api_stats(queue).first_id > 1);
    HOLDS(unlink(filler) == 0);
    for (int i = 0; i < 200; i++, accepted++) OK(lq_put(queue, body, sizeof body, NULL));
    while (lq_poll(consumer, &message) == LQ_OK) {
        EQUAL(message.id, ++taken);
        OK(lq_ack(consumer, &message));
    }
    EQUAL(taken, accepted);
    free(large);
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
    OK(lq_verify(api_path(*state, "q"), 0, NULL, NULL, NULL));

    fill_the_disk(filler); /* and a new queue cannot be made, and leaves nothing that is in the way of the next try */
    lq_queue *other = NULL;
    IS(LQ_ENOSPC, lq_open(api_path(*state, "other"), NULL, &other));
    HOLDS(unlink(filler) == 0);
    lq_options tiny = victim_options;
    tiny.size = sizeof tiny;
    OK(lq_open(api_path(*state, "other"), &tiny, &other));
    api_put(other, "works");
    OK(lq_close(other));
    return 0;
}

static void a_full_disk_is_an_ordinary_answer(void **state)
{
    int result = child_run(use_a_full_disk, state);
    if (result == CHILD_SKIP) skip();
    EQUAL(result, 0);
}

static int put_beyond_the_file_size_limit(void *context)
{
    void **state = context;
    struct rlimit limit = {700 << 10, RLIM_INFINITY};
    HOLDS(setrlimit(RLIMIT_FSIZE, &limit) == 0);
    lq_queue *queue = api_open(state, &victim_options), *wide = NULL;
    lq_consumer *consumer = api_consumer(queue, "c", &(lq_consumer_options){.window = 100});
    char *large = calloc(1, 1 << 20);

    api_put(queue, "before");
    IS(LQ_ENOSPC, lq_put(queue, large, 1 << 20, NULL)); /* and no SIGXFSZ */
    TEXT_HAS("log/", "too large");
    api_put(queue, "after");
    api_get_ack(consumer, "before");
    api_get_ack(consumer, "after");
    lq_options options = {.size = sizeof options, .segment_size = 1 << 20, .ring_size = 64 << 10};
    OK(lq_open(api_path(*state, "wide"), &options, &wide));
    IS(LQ_ENOSPC, lq_put(wide, "x", 1, NULL));
    limit.rlim_cur = RLIM_INFINITY;
    HOLDS(setrlimit(RLIMIT_FSIZE, &limit) == 0);
    EQUAL(api_put(wide, "x"), 1);
    OK(lq_put(queue, large, 1 << 20, NULL));
    free(large);
    OK(lq_consumer_close(consumer));
    OK(lq_close(wide));
    OK(lq_close(queue));
    return 0;
}

static void a_file_size_limit_is_no_signal(void **state)
{
    EQUAL(child_run(put_beyond_the_file_size_limit, state), 0);
}

/* ---- descriptors --------------------------------------------------------------------------- */

static void allow_descriptors(rlim_t count)
{
    struct rlimit limit;
    HOLDS(getrlimit(RLIMIT_NOFILE, &limit) == 0);
    limit.rlim_cur = count;
    HOLDS(setrlimit(RLIMIT_NOFILE, &limit) == 0);
}

static rlim_t next_descriptor(void)
{
    int fd = dup(0);
    HOLDS(fd >= 0);
    close(fd);
    return (rlim_t)fd;
}

static int run_out_of_descriptors(void *context)
{
    void **state = context;
    char path[4096];
    strcpy(path, api_path(*state, "q"));
    rlim_t free_from = next_descriptor();
    int err = LQ_ELIMIT;
    rlim_t more;

    for (more = 0; more < 100 && err == LQ_ELIMIT; more++) { /* opening */
        allow_descriptors(free_from + more);
        err = victim_open(path, 0);
        allow_descriptors(1000);
        EQUAL(next_descriptor(), free_from); /* none is left open */
    }
    OK(err);
    HOLDS(more > 3);
    err = LQ_ELIMIT;
    for (more = 0; more < 100 && err == LQ_ELIMIT; more++) { /* making */
        allow_descriptors(free_from + more);
        err = victim_open(api_path(*state, "new"), 0);
    }
    OK(err);

    allow_descriptors(1000);
    lq_queue *queue = api_open(state, NULL);
    lq_consumer *consumer = NULL;
    lq_reader *reader = NULL;
    lq_message message;
    free_from = next_descriptor();
    allow_descriptors(free_from);
    IS(LQ_ELIMIT, lq_consumer_open(queue, "c", NULL, &consumer));
    IS(LQ_ELIMIT, lq_consumer_open(queue, "new", NULL, &consumer));
    err = lq_reader_open(queue, &reader);
    if (err == LQ_OK) {
        IS(LQ_ELIMIT, lq_reader_next(reader, &message));
        allow_descriptors(1000);
        OK(lq_reader_next(reader, &message)); /* tried again, nothing was skipped */
        EQUAL(message.id, 1);
        allow_descriptors(free_from);
        lq_reader_close(reader);
    } else {
        IS(LQ_ELIMIT, err);
    }
    uint64_t last = VICTIM_MESSAGES;
    uint8_t body[VICTIM_BODY];
    for (int i = 0; i < 1000; i++) { /* puts may go on, or not; what was refused is not there */
        api_fill(body, VICTIM_BODY, last + 1);
        err = lq_put(queue, body, VICTIM_BODY, NULL);
        if (err) break;
        last++;
    }
    if (err) HOLDS(err == LQ_ELIMIT || err == LQ_EBUSY);
    api_note("without descriptors put says %s", lq_error_name(err));
    uint64_t maybe = err == LQ_EBUSY;
    allow_descriptors(1000);
    OK(lq_sync(queue));
    EQUAL(api_stats(queue).last_id, last + maybe);
    api_read_range(queue, 1, last + maybe, VICTIM_BODY);
    EQUAL(api_stats(queue).poisoned, 0);

    consumer = api_consumer(queue, "c", NULL);
    free_from = next_descriptor();
    allow_descriptors(free_from);
    IS(LQ_ELIMIT, lq_fd(consumer));
    err = lq_poll(consumer, &message);
    HOLDS(err == LQ_OK || err == LQ_ELIMIT);
    if (err == LQ_OK) OK(lq_release(consumer, &message));
    allow_descriptors(1000);
    api_take_range(consumer, 11, last, VICTIM_BODY);
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
    return 0;
}

static void without_descriptors_one_is_told_so_and_nothing_is_lost(void **state)
{
    victim_make(state);
    EQUAL(child_run(run_out_of_descriptors, state), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_DIRECTORY(a_full_disk_is_an_ordinary_answer),
        IN_DIRECTORY(a_file_size_limit_is_no_signal),
        IN_DIRECTORY(without_descriptors_one_is_told_so_and_nothing_is_lost),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
