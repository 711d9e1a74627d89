/* Somebody dies while a consumer is made, deleted, or stepped over a hole, or the power fails while its position is
 * saved: others go on with it, or without it. */
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
#include "support/api.h"
#include "support/child.h"
#include "support/damage.h"
#include "support/io_dying.h"
#include "support/io_fault.h"

enum { KIB = 1024, COUNT = 40, SIZE = 100 };

static char queue_path[4096];
static lq_options options;

static lq_queue *open_queue(void)
{
    lq_queue *queue;
    OK(lq_open(queue_path, &options, &queue));
    return queue;
}

static void use(void **state, const char *name)
{
    snprintf(queue_path, sizeof queue_path, "%s", api_path(*state, name));
    options = (lq_options){.size = sizeof options, .sync = LQ_SYNC_NEVER, .segment_size = 64 * KIB, .ring_size = 64 * KIB};
}

/* ---- making and deleting -------------------------------------------------- */

static _Atomic uint32_t *finished;

static int make_and_delete(void *context)
{
    static struct lqi_io io;
    lq_queue *queue;
    lq_consumer *consumer;
    lq_message message;
    (void)context;

    io = io_dying();
    OK(lqi_open_io(&io, queue_path, &options, &queue));
    OK(lq_consumer_open(queue, "made", NULL, &consumer));
    OK(lq_get(consumer, &message, 0));
    OK(lq_ack(consumer, &message));
    OK(lq_consumer_close(consumer));
    OK(lq_consumer_delete(queue, "made"));
    OK(lq_consumer_delete(queue, "old"));
    OK(lq_close(queue));
    atomic_store(finished, 1);
    return IO_DYING_STATUS;
}

static void others_go_on(lq_queue *queue)
{
    static const char *const names[] = {"made", "old", "other"};
    lq_consumer *consumer;
    lq_message message;

    OK(lq_sync(queue));
    for (size_t i = 0; i < 3; i++) {
        OK(lq_consumer_open(queue, names[i], NULL, &consumer));
        OK(lq_get(consumer, &message, 0));
        HOLDS(message.id <= 2);
        OK(lq_ack(consumer, &message));
        OK(lq_consumer_close(consumer));
        if (i < 2) OK(lq_consumer_delete(queue, names[i]));
    }
    OK(lq_sync(queue));
    IS(LQ_ENOTFOUND, lq_consumer_delete(queue, "old"));
}

static bool die_at(void **state, uint64_t at, bool after, bool survivor)
{
    char name[40];
    lq_queue *queue;
    lq_consumer *consumer;

    snprintf(name, sizeof name, "q%d%d.%d", survivor, after, (int)at);
    use(state, name);
    atomic_store(finished, 0);
    queue = open_queue();
    api_put_range(queue, 1, COUNT, SIZE);
    OK(lq_consumer_open(queue, "old", NULL, &consumer));
    OK(lq_consumer_close(consumer));
    if (!survivor) OK(lq_close(queue));
    io_dying_at(at, after);
    assert_int_equal(child_run(make_and_delete, NULL), IO_DYING_STATUS);
    if (!survivor) queue = open_queue();
    others_go_on(queue);
    OK(lq_close(queue));
    assert_int_equal(lq_verify(queue_path, 0, NULL, NULL, NULL), LQ_OK);
    return atomic_load(finished);
}

static void die_everywhere(void **state, bool survivor)
{
    finished = mmap(NULL, sizeof *finished, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(finished != MAP_FAILED);
    for (int after = 0; after < 2; after++)
        for (uint64_t at = 1; !die_at(state, at, after, survivor); at++) {}
    munmap((void *)(uintptr_t)finished, sizeof *finished);
}

static void whoever_dies_making_or_deleting_a_consumer_others_can_do_both(void **state)
{
    die_everywhere(state, true);
}

static void after_a_death_in_making_or_deleting_a_consumer_the_next_opener_can_do_both(void **state)
{
    die_everywhere(state, false);
}

/* ---- stepping over a hole -------------------------------------------------- */

enum stepped { NOT_FLOOR_TO_COME, DELIVERED_TO_COME };

/* Leaves a consumer that had acked 10, and was stepping over 11 to 20 when it died with the lock. */
static int die_stepping_over(void *context)
{
    lq_queue *queue = open_queue();
    lq_consumer *consumer;
    OK(lq_consumer_open(queue, "c", NULL, &consumer));
    api_take_range(consumer, 1, 10, SIZE);
    struct lqi_consumer_slot *slot = lqi_consumers_find(queue->map.head, "c");
    OK(lqi_lock(&slot->lock, "consumer lock"));
    atomic_store(&slot->floor, 20); /* as lqi_skip_to() does it: floor, twice, then delivered */
    if (*(const enum stepped *)context == DELIVERED_TO_COME) slot->not_floor = ~(uint64_t)20;
    _exit(0);
}

static void check_stepped_over(lq_queue *queue, uint64_t next)
{
    lq_message message;
    lq_consumer *consumer = api_consumer(queue, "c", NULL);
    api_take_range(consumer, next, COUNT, SIZE);
    IS(LQ_EMPTY, lq_poll(consumer, &message));
    EQUAL(api_consumer_stats(queue, "c").floor, COUNT);
    EQUAL(api_consumer_stats(queue, "c").unacked, 0);
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
}

static void whoever_dies_stepping_over_a_hole_another_member_goes_on_behind_it(void **state)
{
    for (enum stepped stepped = NOT_FLOOR_TO_COME; stepped <= DELIVERED_TO_COME; stepped++) {
        use(state, stepped == DELIVERED_TO_COME ? "q" : "p");
        lq_queue *queue = open_queue();
        api_put_range(queue, 1, COUNT, SIZE);
        EQUAL(child_run(die_stepping_over, &stepped), 0);
        check_stepped_over(queue, 21);
    }
}

static void when_the_last_dies_stepping_over_a_hole_its_acks_are_kept(void **state)
{
    for (enum stepped stepped = NOT_FLOOR_TO_COME; stepped <= DELIVERED_TO_COME; stepped++) {
        use(state, stepped == DELIVERED_TO_COME ? "q" : "p");
        lq_queue *queue = open_queue();
        api_put_range(queue, 1, COUNT, SIZE);
        OK(lq_close(queue));
        EQUAL(child_run(die_stepping_over, &stepped), 0);
        check_stepped_over(open_queue(), stepped == DELIVERED_TO_COME ? 21 : 11);
    }
}

/* ---- a deletion that is not durable ------------------------------------------- */

static void a_consumer_whose_deletion_could_not_be_synced_is_gone_and_in_nobodys_way(void **state)
{
    struct io_fault fault;
    lq_queue *queue;

    use(state, "q");
    io_fault_init(&fault, &lqi_io_posix);
    OK(lqi_open_io(&fault.io, queue_path, &options, &queue));
    api_put_range(queue, 1, 10, SIZE);
    lq_consumer *consumer = api_consumer(queue, "c", NULL);
    api_take_range(consumer, 1, 10, SIZE);
    OK(lq_consumer_close(consumer));
    io_fault_plan(&fault, IO_DIR_SYNC, 1, false, EIO);
    IS(LQ_EIO, lq_consumer_delete(queue, "c"));

    OK(lq_sync(queue));
    IS(LQ_ENOTFOUND, lq_consumer_delete(queue, "c"));
    consumer = api_consumer(queue, "c", NULL);
    api_take_range(consumer, 1, 10, SIZE);
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
    io_fault_release(&fault);
}

/* ---- a torn save ------------------------------------------------------------ */

static void a_save_that_power_loss_tore_is_no_damage_once_the_consumer_has_come_to_life(void **state)
{
    enum { SLOT_OF_NO_ENTRY = 20 };
    use(state, "q");
    lq_queue *queue = open_queue();
    api_put_range(queue, 1, COUNT, SIZE);
    lq_consumer *consumer = api_consumer(queue, "c", NULL);
    api_take_range(consumer, 1, 10, SIZE);
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
    IS(LQ_OK, lq_verify(queue_path, 0, NULL, NULL, NULL));

    damage_fill(api_path(*state, "q/consumers/c.pos"), LQI_POSITION_ENTRIES_AT + SLOT_OF_NO_ENTRY * LQI_POSITION_ENTRY, 8, 1);
    damage_reboot(queue_path);
    IS(LQ_ECORRUPT, lq_verify(queue_path, 0, NULL, NULL, NULL));
    queue = open_queue();
    consumer = api_consumer(queue, "c", NULL);
    api_take_range(consumer, 11, 20, SIZE);
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
    IS(LQ_OK, lq_verify(queue_path, 0, NULL, NULL, NULL));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_DIRECTORY(whoever_dies_making_or_deleting_a_consumer_others_can_do_both),
        IN_DIRECTORY(after_a_death_in_making_or_deleting_a_consumer_the_next_opener_can_do_both),
        IN_DIRECTORY(whoever_dies_stepping_over_a_hole_another_member_goes_on_behind_it),
        IN_DIRECTORY(when_the_last_dies_stepping_over_a_hole_its_acks_are_kept),
        IN_DIRECTORY(a_consumer_whose_deletion_could_not_be_synced_is_gone_and_in_nobodys_way),
        IN_DIRECTORY(a_save_that_power_loss_tore_is_no_damage_once_the_consumer_has_come_to_life),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
