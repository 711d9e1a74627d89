/* A consumer that goes, or was made in vain, where others or the machine are in the way. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "consumers_parts.h"
#include "support/count_maps.h"
#include "support/hold.h"
#include "support/noted_consumer.h"

static int lock_it_and_fail(void *context, struct lqi_consumer_slot *made)
{
    (void)context;
    hold(&made->lock);
    lqi_lock_patience_ms = 50;
    return lqi_fail(LQ_ELIMIT, "no more than the test allows");
}

/* It is taken away again, but not from under the hands of who is just saving it, and is stopped. */
static void a_consumer_that_somebody_has_locked_stays_though_its_maker_has_failed(void **state)
{
    const lq_consumer_options small = {.size = sizeof small, .window = 64};
    begin(state);
    IS(LQ_ELIMIT, lqi_consumers_open(&queue->consumers, "next", &small, lock_it_and_fail, NULL));
    TEXT_HAS("no more than the test allows");
    lqi_lock_patience_ms = LQI_LOCK_PATIENCE_MS;
    let_go();
    EQUAL(api_consumer_stats(queue, "next").floor, 0);
    lq_consumer *next = api_consumer(queue, "next", &small);
    lq_message first;
    OK(lq_poll(next, &first));
    EQUAL(first.id, 1);
    OK(lq_consumer_close(next));
    end();
}

static int fail_open(const struct lqi_io *io, int dir, const char *name, int flags, uint32_t mode, int *fd_out)
{
    (void)io, (void)dir, (void)name, (void)flags, (void)mode, (void)fd_out;
    return EMFILE;
}

/* Whoever was deleting it has died, before its file was gone or after it. */
static void a_consumer_of_which_nobody_can_see_that_it_is_gone_is_there(void **state)
{
    begin(state);
    OK(lq_consumer_close(consumer));
    consumer = NULL;
    atomic_store(&slot->going, 1);
    for (int deleted = 0; deleted < 2; deleted++) {
        if (deleted) HOLDS(unlink(api_path(*state, "q/consumers/c.pos")) == 0);
        machine.open = fail_open;
        HOLDS(!lqi_consumer_is_gone(&queue->log, slot));
        HOLDS(!lqi_consumer_is_gone_for_good(&queue->log, slot));
        machine.open = lqi_io_posix.open;
        EQUAL(lqi_consumer_is_gone(&queue->log, slot), deleted);
        EQUAL(lqi_consumer_is_gone_for_good(&queue->log, slot), deleted);
    }
    IS(LQ_ENOTFOUND, lq_consumer_delete(queue, "c")); /* who comes next gives its place away: then nobody is there to be gone */
    EQUAL(atomic_load(&slot->state), LQI_CONSUMER_FREE);
    HOLDS(!lqi_consumer_is_gone(&queue->log, slot));
    HOLDS(!lqi_consumer_is_gone_for_good(&queue->log, slot));
    end();
}

static void has_members(void)
{
    machine.map = count_map;
    machine.unmap = count_unmap;
    maps = 0;
    IS(LQ_EBUSY, lq_consumer_delete(queue, "c"));
    TEXT_HAS("consumer 'c' has members");
    EQUAL(maps, 0);
    machine.map = lqi_io_posix.map;
    machine.unmap = lqi_io_posix.unmap;
}

static void a_consumer_goes_only_when_its_last_member_has_left(void **state)
{
    begin(state);
    has_members();
    lq_consumer *second = api_consumer(queue, "c", NULL);
    OK(lq_consumer_close(consumer)); /* the first leaves its place */
    has_members();
    consumer = api_consumer(queue, "c", NULL);
    OK(lq_consumer_close(second));
    has_members();
    /* Nor is a message one, though its numbers be those of a handle. */
    struct lqi_slot *behind = consumer->member.region->slots;
    *behind = (struct lqi_slot){.position = queue->handle_generation, .lease = queue->handle};
    OK(lq_consumer_close(consumer));
    consumer = NULL;
    OK(lq_consumer_delete(queue, "c"));
    end();
}

static void while_somebody_is_stopped_at_the_table_nothing_is_made_or_deleted(void **state)
{
    lq_consumer *next;
    begin(state);
    OK(lq_consumer_close(consumer));
    consumer = NULL;
    hold(&queue->map.head->admin);
    lqi_lock_patience_ms = 50;
    IS(LQ_EBUSY, lq_consumer_delete(queue, "c"));
    IS(LQ_EBUSY, lq_consumer_open(queue, "next", NULL, &next));
    lqi_lock_patience_ms = LQI_LOCK_PATIENCE_MS;
    EQUAL(api_stats(queue).consumers, 1);
    let_go();
    OK(lq_consumer_delete(queue, "c"));
    end();
}

static int fail_unlink(const struct lqi_io *io, int dir, const char *name)
{
    (void)io, (void)dir, (void)name;
    return EIO;
}

static unsigned opened;

static int count_open(const struct lqi_io *io, int dir, const char *name, int flags, uint32_t mode, int *fd_out)
{
    opened++;
    return lqi_io_posix.open(io, dir, name, flags, mode, fd_out);
}

/* Retention asks after each ack that may be the last one. */
static void the_disk_is_asked_only_of_a_consumer_that_somebody_deletes(void **state)
{
    begin(state);
    machine.open = count_open;
    opened = 0;
    HOLDS(!lqi_consumer_is_gone(&queue->log, slot));
    EQUAL(lqi_consumers_floor(&queue->log), 0);
    EQUAL(opened, 0);
    atomic_store(&slot->going, 1);
    EQUAL(lqi_consumers_floor(&queue->log), 0);
    EQUAL(opened, 1);
    OK(lq_consumer_close(api_consumer(queue, "c", NULL))); /* whoever was at it has died before: it stays */
    EQUAL(atomic_load(&slot->going), 0);
    opened = 0;
    EQUAL(lqi_consumers_floor(&queue->log), 0);
    EQUAL(opened, 0);
    OK(lq_consumer_close(consumer));
    consumer = NULL;
    machine.unlink = fail_unlink; /* nor is it going any more when that has failed */
    IS(LQ_EIO, lq_consumer_delete(queue, "c"));
    machine.unlink = lqi_io_posix.unlink;
    opened = 0;
    EQUAL(lqi_consumers_floor(&queue->log), 0);
    EQUAL(opened, 0);
    machine.open = lqi_io_posix.open;
    end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_DIRECTORY(a_consumer_that_somebody_has_locked_stays_though_its_maker_has_failed),
        IN_DIRECTORY(a_consumer_of_which_nobody_can_see_that_it_is_gone_is_there),
        IN_DIRECTORY(a_consumer_goes_only_when_its_last_member_has_left),
        IN_DIRECTORY(while_somebody_is_stopped_at_the_table_nothing_is_made_or_deleted),
        IN_DIRECTORY(the_disk_is_asked_only_of_a_consumer_that_somebody_deletes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
