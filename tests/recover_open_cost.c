/* What opening costs, in calls to the machine and bytes read, whatever the backlog: a queue of forty segments
 * asks for no more than one of four, cleanly closed or not. Calls are counted, not time. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "queue.h"
#include "support/api.h"
#include "support/child.h"
#include "support/damage.h"
#include "support/io_fault.h"

enum { SEGMENT = 65536, SIZE = 4000, PER_SEGMENT = SEGMENT / (SIZE + 40), SMALL = 4, LARGE = 40 };

static const lq_options options = {
    .size = sizeof(lq_options), .sync = LQ_SYNC_NEVER, .segment_size = SEGMENT, .ring_size = SEGMENT};

/* ---- a queue of so many segments ---------------------------------------- */

struct backlog {
    const char *path;
    uint64_t messages;
    bool closed;
};

static int fill(void *context)
{
    const struct backlog *backlog = context;
    lq_queue *queue;
    lq_consumer *consumer;
    OK(lq_open(backlog->path, &options, &queue));
    OK(lq_consumer_open(queue, "c", NULL, &consumer));
    api_put_range(queue, 1, backlog->messages, SIZE);
    if (!backlog->closed) kill(getpid(), SIGKILL);
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
    return 0;
}

/* ---- the price ----------------------------------------------------------- */

struct price {
    struct lqi_io io;
    const struct lqi_io *under;
    uint64_t bytes;
};

static int read_and_add(const struct lqi_io *io, int fd, uint64_t offset, void *data, size_t size, size_t *got_out)
{
    struct price *price = io->context;
    int error = price->under->read(price->under, fd, offset, data, size, got_out);
    if (!error) price->bytes += *got_out;
    return error;
}

static void check_contents(lq_queue *queue, uint64_t messages)
{
    lq_consumer *consumer = api_consumer(queue, "c", NULL);
    uint64_t last = api_stats(queue).last_id;
    HOLDS(last <= messages && last > messages - 2 * PER_SEGMENT); /* another boot may lack what was never synced */
    api_take_range(consumer, 1, 3, SIZE);
    OK(lq_consumer_close(consumer));
}

/* Calls and bytes that lq_open() asks the machine for. */
static void cost_of_opening(const struct backlog *backlog, uint64_t *calls_out, uint64_t *bytes_out)
{
    struct io_fault counter;
    struct price price = {.under = &lqi_io_posix};
    lq_queue *queue;

    price.io = lqi_io_posix;
    price.io.context = &price;
    price.io.read = read_and_add;
    io_fault_init(&counter, &price.io);
    OK(lqi_open_io(&counter.io, backlog->path, &options, &queue));
    *bytes_out = price.bytes;
    *calls_out = 0;
    for (int kind = 0; kind < IO_KINDS; kind++) *calls_out += counter.calls[kind];

    check_contents(queue, backlog->messages);
    OK(lq_close(queue));
    io_fault_release(&counter);
}

static void compare(void **state, bool closed, bool rebooted)
{
    uint64_t calls[2], bytes[2];
    for (int i = 0; i < 2; i++) {
        struct backlog backlog = {api_path(*state, i ? "large" : "small"), (i ? LARGE : SMALL) * (uint64_t)PER_SEGMENT, closed};
        EQUAL(child_run(fill, &backlog), closed ? 0 : 100 + SIGKILL);
        if (rebooted) damage_reboot(backlog.path);
        cost_of_opening(&backlog, &calls[i], &bytes[i]);
    }
    api_note("%d and %d segments: %llu and %llu calls, %llu and %llu bytes read", SMALL, LARGE, (unsigned long long)calls[0],
             (unsigned long long)calls[1], (unsigned long long)bytes[0], (unsigned long long)bytes[1]);
    HOLDS(calls[1] < calls[0] + LARGE - SMALL); /* not one for each segment more; where the last one ends differs a little */
    HOLDS(bytes[1] <= bytes[0] + SEGMENT);
}

static void a_closed_queue_of_many_segments_is_opened_like_a_small_one(void **state)
{
    compare(state, true, false);
}

static void what_the_killed_left_is_opened_like_a_small_one(void **state)
{
    compare(state, false, false);
}

static void after_another_boot_it_is_opened_like_a_small_one(void **state)
{
    compare(state, false, true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_DIRECTORY(a_closed_queue_of_many_segments_is_opened_like_a_small_one),
        IN_DIRECTORY(what_the_killed_left_is_opened_like_a_small_one),
        IN_DIRECTORY(after_another_boot_it_is_opened_like_a_small_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
