/* Somebody dies at each of the calls that a script of puts, rolls, acks and retention makes to the machine, right
 * before it or right after it; with the locks it holds. Then another process, that had the queue open all
 * the time, goes on at once; or, when there is none, the next one to open it. Neither lacks a message. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "queue.h"
#include "support/api.h"
#include "support/child.h"
#include "support/io_dying.h"

enum { KIB = 1024, BLOCKED_US = 1000000 };

/* ---- the script --------------------------------------------------------- */

static char queue_path[4096];
static lq_options options;

static struct account { /* in memory that outlives the child */
    _Atomic uint64_t accepted, acked, acking;
    _Atomic uint32_t finished;
} *account;

static size_t size_of(uint64_t id)
{
    return id % 11 == 0 ? 30000 : id % 17 == 0 ? 90000 : 2500;
}

enum { MESSAGES = 60, BIGGEST = 90000 };

static void put_one(lq_queue *queue, uint64_t id)
{
    static uint8_t bytes[BIGGEST];
    uint64_t got = 0;
    api_fill(bytes, size_of(id), id);
    OK(lq_put(queue, bytes, size_of(id), &got));
    EQUAL(got, id);
}

static void take_one(lq_consumer *consumer)
{
    lq_message message;
    OK(lq_get(consumer, &message, 1000));
    atomic_store(&account->acking, message.id);
    OK(lq_ack(consumer, &message));
    atomic_store(&account->acked, message.id);
}

static int play(void *context)
{
    static struct lqi_io io;
    lq_queue *queue;
    lq_consumer *consumer;
    (void)context;

    io = io_dying();
    OK(lqi_open_io(&io, queue_path, &options, &queue));
    OK(lq_consumer_open(queue, "c", NULL, &consumer));
    for (uint64_t id = 1; id <= MESSAGES; id++) {
        put_one(queue, id);
        atomic_store(&account->accepted, id);
        if (id % 8 == 0) OK(lq_sync(queue));
        if (id > 20) take_one(consumer);
    }
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
    atomic_store(&account->finished, 1);
    return IO_DYING_STATUS;
}

/* ---- afterwards --------------------------------------------------------- */

static void go_on(lq_queue *queue)
{
    uint64_t accepted = atomic_load(&account->accepted), acked = atomic_load(&account->acked), id = 0;
    int64_t start = api_now_us();
    lq_consumer *consumer;
    lq_message message;

    OK(lq_put(queue, "on", 2, &id));
    HOLDS(id == accepted + 1 || id == accepted + 2); /* what was being put is there, or not */
    OK(lq_sync(queue));
    OK(lq_consumer_open(queue, "c", NULL, &consumer));
    uint64_t next = acked + 1;
    for (;;) {
        OK(lq_get(consumer, &message, 1000));
        if (message.id == acked + 2 && next == acked + 1 && atomic_load(&account->acking) == acked + 1) next++;
        EQUAL(message.id, next);
        if (message.id == id) break;
        HOLDS(api_is_filled(&message, size_of(message.id), message.id));
        OK(lq_ack(consumer, &message));
        next++;
    }
    HOLDS(api_is_text(&message, "on"));
    OK(lq_ack(consumer, &message));
    IS(LQ_EMPTY, lq_poll(consumer, &message));
    HOLDS(api_now_us() - start < BLOCKED_US);
    OK(lq_consumer_close(consumer));
    EQUAL(api_stats(queue).damage, 0);
}

/* True when the script ran to its end without meeting its fate. */
static bool die_at(const char *directory, uint64_t at, bool after, bool survivor)
{
    char name[64];
    lq_queue *queue = NULL;
    lq_consumer *consumer;

    memset(account, 0, sizeof *account);
    io_dying_at(at, after);
    snprintf(name, sizeof name, "q%d%d%d.%d", options.sync, survivor, after, (int)at);
    snprintf(queue_path, sizeof queue_path, "%s", api_path(directory, name));
    OK(lq_open(queue_path, &options, &queue));
    OK(lq_consumer_open(queue, "c", NULL, &consumer));
    OK(lq_consumer_close(consumer));
    if (!survivor) OK(lq_close(queue));
    assert_int_equal(child_run(play, NULL), IO_DYING_STATUS);
    if (!survivor) OK(lq_open(queue_path, &options, &queue));
    go_on(queue);
    OK(lq_close(queue));
    IS(LQ_OK, lq_verify(queue_path, 0, NULL, NULL, NULL));
    return atomic_load(&account->finished);
}

static void remove_queue(void)
{
    char command[4300];
    snprintf(command, sizeof command, "rm -r '%s'", queue_path);
    assert_int_equal(system(command), 0);
}

static void die_everywhere(void **state, int sync, bool survivor, uint64_t step)
{
    options = (lq_options){.size = sizeof options, .sync = sync, .segment_size = 64 * KIB, .ring_size = 64 * KIB};
    account = mmap(NULL, sizeof *account, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(account != MAP_FAILED);
    for (int after = 0; after < 2; after++) {
        bool finished = false;
        for (uint64_t at = 1; !finished; at += step) {
            finished = die_at(*state, at, after, survivor);
            remove_queue();
        }
    }
    munmap(account, sizeof *account);
}

/* On a slow disk all of them would take minutes: every n-th, and all where nothing is synced. */
static void whoever_dies_at_a_call_another_goes_on_at_once(void **state)
{
    die_everywhere(state, LQ_SYNC_NEVER, true, 1);
}

static void whoever_dies_at_a_call_the_next_to_open_finds_all(void **state)
{
    die_everywhere(state, LQ_SYNC_NEVER, false, 1);
}

static void whoever_dies_at_a_call_in_a_queue_that_syncs_another_goes_on_at_once(void **state)
{
    die_everywhere(state, LQ_SYNC_ALWAYS, true, 17);
}

static void whoever_dies_at_a_call_in_a_queue_that_syncs_the_next_to_open_finds_all(void **state)
{
    die_everywhere(state, LQ_SYNC_ALWAYS, false, 17);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_DIRECTORY(whoever_dies_at_a_call_another_goes_on_at_once),
        IN_DIRECTORY(whoever_dies_at_a_call_the_next_to_open_finds_all),
        IN_DIRECTORY(whoever_dies_at_a_call_in_a_queue_that_syncs_another_goes_on_at_once),
        IN_DIRECTORY(whoever_dies_at_a_call_in_a_queue_that_syncs_the_next_to_open_finds_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
