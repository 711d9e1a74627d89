/* A consumer that goes, or was made in vain, where others or the machine are in the way. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "consumers_parts.h"
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
    end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_DIRECTORY(a_consumer_that_somebody_has_locked_stays_though_its_maker_has_failed),
        IN_DIRECTORY(a_consumer_of_which_nobody_can_see_that_it_is_gone_is_there),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
