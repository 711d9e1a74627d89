/* Somebody dies at a call that the deletion of a consumer makes to the machine, or that call fails: whoever looks, retains,
 * syncs, opens or deletes then finds the consumer as it was, to the last ack, or finds none; and all of them the same. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "queue.h"
#include "retain.h"
#include "support/api.h"
#include "support/child.h"
#include "support/damage.h"
#include "support/io_dying.h"
#include "support/io_fault.h"

enum { KIB = 1024, SIZE = 1000, MESSAGES = 130, SAVED = 10, ACKED = 40 };

static char queue_path[4096];
static const lq_options small = {.size = sizeof(lq_options), .sync = LQ_SYNC_NEVER, .segment_size = 64 * KIB, .ring_size = 64 * KIB};
static const lq_consumer_options only_old = {.size = sizeof(lq_consumer_options), .flags = LQ_CONSUMER_NO_CREATE};
static const char *offset_file;

static lq_queue *open_on(const struct lqi_io *io)
{
    lq_queue *queue;
    OK(lqi_open_io(io, queue_path, &small, &queue));
    return queue;
}

/* Then there is something that only the working memory knows: acks since the file was written. */
static int ack_and_die(void *context)
{
    lq_queue *queue = open_on(&lqi_io_posix);
    (void)context;
    api_take_range(api_consumer(queue, "c", NULL), SAVED + 1, ACKED, SIZE);
    return 0;
}

static lq_queue *begin(void **state, const char *name, const struct lqi_io *io)
{
    snprintf(queue_path, sizeof queue_path, "%s", api_path(*state, name));
    lq_queue *queue = open_on(io);
    OK(lq_consumer_close(api_consumer(queue, "c", NULL)));
    api_put_range(queue, 1, MESSAGES, SIZE);
    lq_consumer *consumer = api_consumer(queue, "c", NULL);
    api_take_range(consumer, 1, SAVED, SIZE);
    OK(lq_consumer_close(consumer));
    /* Without "c", retention may have all but the last segment. */
    OK(lq_consumer_close(api_consumer(queue, "ahead", &(lq_consumer_options){.start = LQ_START_END})));
    offset_file = api_path(queue_path, "consumers/c.pos");
    return queue;
}

/* Whether there is one; of everybody who looks, and nobody may notice more of it than that. */
static bool is_there(lq_queue *queue)
{
    bool there = api_file_exists(offset_file);
    lq_consumer_stats stats = {.size = sizeof stats};
    IS(there ? LQ_OK : LQ_ENOTFOUND, lq_get_consumer_stats(queue, "c", &stats));
    EQUAL(api_stats(queue).consumers, there + 1);
    EQUAL(lqi_consumers_floor(&queue->log), there ? ACKED : MESSAGES);
    if (there) EQUAL(stats.floor, ACKED);
    if (there) EQUAL(stats.ready, MESSAGES - ACKED);
    return there;
}

static void goes_on(lq_queue *queue, bool there)
{
    lq_consumer *consumer;
    int err = lq_consumer_open(queue, "c", &only_old, &consumer);
    IS(there ? LQ_OK : LQ_ENOTFOUND, err);
    if (there) {
        api_take_range(consumer, ACKED + 1, ACKED + 1, SIZE);
        OK(lq_consumer_close(consumer));
        OK(lq_consumer_delete(queue, "c"));
    } else {
        IS(LQ_ENOTFOUND, lq_consumer_delete(queue, "c"));
    }
    consumer = api_consumer(queue, "c", &(lq_consumer_options){.window = 64}); /* as no old one would allow */
    api_take_range(consumer, api_stats(queue).first_id, MESSAGES, SIZE);
    EQUAL(api_consumer_stats(queue, "c").dropped, 0);
    OK(lq_consumer_close(consumer));
}

/* ---- death ---------------------------------------------------------------- */

static _Atomic uint32_t *finished;
static uint64_t die_at;
static bool die_after;

static int delete_and_die(void *context)
{
    static struct lqi_io io;
    (void)context;
    io = io_dying();
    lq_queue *queue = open_on(&io);
    EQUAL(child_run(ack_and_die, NULL), 0);
    io_dying_at(die_at, die_after);
    OK(lq_consumer_delete(queue, "c"));
    atomic_store(finished, 1);
    return IO_DYING_STATUS;
}

enum company { ALONE, WITNESS, WITNESS_LEAVES, POWER_FAILS };

static void look_after_the_death(enum company company, lq_queue *queue)
{
    if (company == WITNESS || company == WITNESS_LEAVES) {
        bool there = is_there(queue);
        OK(lq_sync(queue));
        EQUAL(is_there(queue), there);
        if (company == WITNESS_LEAVES) {
            OK(lq_close(queue));
            queue = open_on(&lqi_io_posix);
            EQUAL(is_there(queue), there);
        }
        goes_on(queue, there);
    } else {
        bool there = api_file_exists(offset_file);
        if (company == POWER_FAILS) damage_reboot(queue_path);
        queue = open_on(&lqi_io_posix);
        EQUAL(api_stats(queue).consumers, there + 1);
        if (there && company == POWER_FAILS) {
            EQUAL(api_consumer_stats(queue, "c").floor, SAVED);
            OK(lq_consumer_delete(queue, "c"));
            there = false;
        } else {
            EQUAL(is_there(queue), there);
        }
        goes_on(queue, there);
    }
    OK(lq_close(queue));
    IS(LQ_OK, lq_verify(queue_path, 0, NULL, NULL, NULL));
}

static void die_everywhere(void **state, enum company company)
{
    unsigned deaths = 0;
    finished = mmap(NULL, sizeof *finished, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(finished != MAP_FAILED);
    /* Right before a call, and right after it: of those who do no more than open the queue, that is enough. */
    for (int after = company == ALONE || company == WITNESS ? 0 : 1; after < 2; after++) {
        atomic_store(finished, 0);
        for (die_at = 1; !atomic_load(finished); die_at++, deaths++) {
            char name[40];
            snprintf(name, sizeof name, "q%d.%d", after, (int)die_at);
            die_after = after;
            lq_queue *queue = begin(state, name, &lqi_io_posix);
            if (company == ALONE || company == POWER_FAILS) OK(lq_close(queue));
            assert_int_equal(child_run(delete_and_die, NULL), IO_DYING_STATUS);
            look_after_the_death(company, queue);
        }
    }
    munmap((void *)(uintptr_t)finished, sizeof *finished);
    HOLDS(deaths > 6);
}

static void whoever_dies_deleting_a_consumer_others_find_it_as_it_was_or_none(void **state)
{
    die_everywhere(state, WITNESS);
}

static void whoever_dies_deleting_a_consumer_the_last_to_close_leaves_it_as_it_was_or_none(void **state)
{
    die_everywhere(state, WITNESS_LEAVES);
}

static void when_the_last_dies_deleting_a_consumer_the_next_opener_finds_it_as_it_was_or_none(void **state)
{
    die_everywhere(state, ALONE);
}

static void when_the_power_fails_in_a_deletion_the_consumer_stands_where_it_was_saved_or_is_none(void **state)
{
    die_everywhere(state, POWER_FAILS);
}

/* ---- what others do meanwhile -------------------------------------------------- */

static struct lqi_io machine;
static lq_queue *other;
static int unlink_error;
static bool looked;

/* In the middle of a deletion, another one looks and retains. The file is still there. */
static int look_and_unlink(const struct lqi_io *io, int dir, const char *name)
{
    (void)io;
    if (strcmp(name, "c.pos") != 0) return lqi_io_posix.unlink(&lqi_io_posix, dir, name);
    HOLDS(is_there(other));
    OK(lqi_retain(&other->log, 0, false, NULL));
    looked = true;
    return unlink_error ? unlink_error : lqi_io_posix.unlink(&lqi_io_posix, dir, name);
}

/* And right behind it. */
static int look_and_sync(const struct lqi_io *io, int dir)
{
    HOLDS(!is_there(other));
    OK(lqi_retain(&other->log, 0, false, NULL));
    HOLDS(api_stats(other).first_id > ACKED); /* what it held back has gone */
    looked = true;
    return lqi_io_posix.dir_sync(io, dir);
}

static lq_queue *begin_with_another(void **state)
{
    machine = lqi_io_posix;
    looked = false;
    other = begin(state, "q", &lqi_io_posix);
    lq_queue *queue = open_on(&machine);
    assert_int_equal(child_run(ack_and_die, NULL), 0);
    machine.unlink = look_and_unlink;
    return queue;
}

static void a_consumer_that_cannot_be_deleted_has_lost_nothing_meanwhile(void **state)
{
    lq_queue *queue = begin_with_another(state);
    unlink_error = EACCES;
    IS(LQ_EACCESS, lq_consumer_delete(queue, "c"));
    HOLDS(looked);
    HOLDS(is_there(other) && is_there(queue));
    lq_consumer *consumer = api_consumer(other, "c", NULL);
    api_take_range(consumer, ACKED + 1, MESSAGES, SIZE);
    EQUAL(api_consumer_stats(other, "c").dropped, 0);
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
    OK(lq_close(other));
}

static void a_consumer_is_gone_for_everybody_when_its_file_is(void **state)
{
    lq_queue *queue = begin_with_another(state);
    unlink_error = 0;
    machine.dir_sync = look_and_sync;
    OK(lq_consumer_delete(queue, "c"));
    HOLDS(looked);
    goes_on(other, false);
    OK(lq_close(queue));
    OK(lq_close(other));
}

/* Whether it is gone cannot be told just now: then nobody says so, and retention takes it for there. */
static void a_death_in_a_deletion_is_not_judged_by_who_cannot_look(void **state)
{
    struct io_fault fault;
    lq_consumer *consumer;
    io_fault_init(&fault, &lqi_io_posix);
    lq_queue *queue = begin(state, "q", &fault.io);
    lqi_consumers_find(queue->map.head, "c")->going = 1;
    damage_remove(offset_file);
    EQUAL(lqi_consumers_floor(&queue->log), MESSAGES);
    io_fault_plan(&fault, IO_OPEN, 1, true, EIO);
    EQUAL(lqi_consumers_floor(&queue->log), SAVED);
    IS(LQ_EIO, lq_consumer_open(queue, "c", NULL, &consumer));
    IS(LQ_EIO, lq_consumer_open(queue, "another", NULL, &consumer));
    IS(LQ_EIO, lq_consumer_delete(queue, "c"));
    /* Nor is it gone as long as a power loss may bring it back. */
    io_fault_plan(&fault, IO_DIR_SYNC, 1, true, EIO);
    EQUAL(lqi_consumers_floor(&queue->log), SAVED);
    IS(LQ_EIO, lq_consumer_delete(queue, "c"));
    io_fault_end(&fault);
    IS(LQ_ENOTFOUND, lq_consumer_delete(queue, "c"));
    goes_on(queue, false);
    OK(lq_close(queue));
    io_fault_release(&fault);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_DIRECTORY(whoever_dies_deleting_a_consumer_others_find_it_as_it_was_or_none),
        IN_DIRECTORY(whoever_dies_deleting_a_consumer_the_last_to_close_leaves_it_as_it_was_or_none),
        IN_DIRECTORY(when_the_last_dies_deleting_a_consumer_the_next_opener_finds_it_as_it_was_or_none),
        IN_DIRECTORY(when_the_power_fails_in_a_deletion_the_consumer_stands_where_it_was_saved_or_is_none),
        IN_DIRECTORY(a_consumer_that_cannot_be_deleted_has_lost_nothing_meanwhile),
        IN_DIRECTORY(a_consumer_is_gone_for_everybody_when_its_file_is),
        IN_DIRECTORY(a_death_in_a_deletion_is_not_judged_by_who_cannot_look),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
