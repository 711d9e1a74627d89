/* Settling, beneath the verbs: the loans that a settlement ends and those that it must not, and when the consumer's state is written down. */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "consumer.h"
#include "support/api.h"
#include "support/io_fault.h"

enum { BODY = 50, SAVE_EVERY = 8192, LOANS_AT_FIRST = 16 };

struct world {
    struct io_fault machine;
    lq_queue *queue;
    lq_consumer *consumer;
};

static void begin(void **state, struct world *world, int sync, uint32_t flags)
{
    lq_options options = {.size = sizeof options, .sync = sync};
    io_fault_init(&world->machine, &lqi_io_posix);
    OK(lqi_open_io(&world->machine.io, api_path(*state, "q"), &options, &world->queue));
    api_put_range(world->queue, 1, 100, BODY);
    world->consumer = api_consumer(world->queue, "c", &(lq_consumer_options){.flags = flags});
}

static void end(struct world *world)
{
    OK(lq_consumer_close(world->consumer));
    OK(lq_close(world->queue));
    io_fault_release(&world->machine);
}

static uint64_t unsaved(const struct world *world)
{
    return atomic_load(&world->consumer->slot->unsaved);
}

/* ---- loans ------------------------------------------------------------------------ */

static uint32_t count_lent(const lq_consumer *consumer)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < consumer->loan_capacity; i++) count += consumer->loans[i].block != NULL;
    return count;
}

/* Each place is lent or on the free list, once. */
static void loans_add_up(const lq_consumer *consumer, uint32_t lent)
{
    uint64_t seen = 0;
    HOLDS(consumer->loan_capacity <= 64);
    EQUAL(count_lent(consumer), lent);
    uint32_t free = 0;
    for (uint32_t i = consumer->loan_free; i; i = consumer->loans[i - 1].next_free) {
        HOLDS(i <= consumer->loan_capacity && !(seen & (uint64_t)1 << (i - 1)));
        HOLDS(!consumer->loans[i - 1].block);
        seen |= (uint64_t)1 << (i - 1);
        free++;
    }
    EQUAL(free + lent, consumer->loan_capacity);
}

static void a_loan_ends_with_its_settlement_and_its_place_is_used_again(void **state)
{
    struct world world;
    lq_message messages[10];
    begin(state, &world, LQ_SYNC_NEVER, 0);
    for (int round = 0; round < 5; round++) {
        for (int i = 0; i < 10; i++) OK(lq_poll(world.consumer, &messages[i]));
        EQUAL(world.consumer->loan_capacity, LOANS_AT_FIRST);
        loans_add_up(world.consumer, 10);
        for (int i = 0; i < 10; i += 2) OK(lq_ack(world.consumer, &messages[i]));
        loans_add_up(world.consumer, 5);
        for (int i = 1; i < 10; i += 2) HOLDS(api_is_filled(&messages[i], BODY, messages[i].id));
        for (int i = 9; i > 0; i -= 2) OK(round % 2 ? lq_release(world.consumer, &messages[i]) : lq_ack(world.consumer, &messages[i]));
        loans_add_up(world.consumer, 0);
    }
    end(&world);
}

static void one_settlement_is_of_one_message(void **state)
{
    struct world world;
    lq_message messages[3];
    begin(state, &world, LQ_SYNC_NEVER, 0);
    for (int i = 0; i < 3; i++) OK(lq_poll(world.consumer, &messages[i]));
    const struct lqi_block *block = world.consumer->loans[(uint32_t)messages[0].lease].block; /* that of all three */
    EQUAL(block->references, 4); /* and of the scan */
    OK(lq_ack(world.consumer, &messages[0]));
    EQUAL(block->references, 3);
    EQUAL(api_consumer_stats(world.queue, "c").unacked, 2);
    OK(lq_release(world.consumer, &messages[1]));
    EQUAL(api_consumer_stats(world.queue, "c").unacked, 1);
    loans_add_up(world.consumer, 1);
    end(&world);
}

static void a_batch_is_settled_from_the_first_to_the_last_and_none_is_fine(void **state)
{
    struct world world;
    lq_message messages[10];
    size_t count;
    begin(state, &world, LQ_SYNC_NEVER, 0);
    OK(lq_get_batch(world.consumer, messages, 10, &count, 0));
    EQUAL(count, 10);
    OK(lq_ack_batch(world.consumer, NULL, 0));
    EQUAL(count_lent(world.consumer), 10);
    OK(lq_ack_batch(world.consumer, messages, 10));
    loans_add_up(world.consumer, 0);
    EQUAL(api_consumer_stats(world.queue, "c").floor, 10);
    end(&world);
}

static void who_was_never_given_anything_can_settle_nothing(void **state)
{
    struct world world;
    lq_message message = {.id = 1};
    begin(state, &world, LQ_SYNC_NEVER, 0);
    IS(LQ_ELEASE, lq_ack(world.consumer, &message));
    IS(LQ_ELEASE, lq_release(world.consumer, &message));
    end(&world);
}

static void what_is_not_that_very_hand_out_ends_no_loan(void **state)
{
    struct world world;
    lq_message message;
    begin(state, &world, LQ_SYNC_NEVER, 0);
    OK(lq_poll(world.consumer, &message));
    const struct lqi_loan *loan = &world.consumer->loans[(uint32_t)message.lease];
    lq_message wrong[] = {message, message, message, message};
    wrong[0].id++;
    wrong[1].lease ^= (uint64_t)1 << 32; /* the token */
    wrong[2].lease ^= (uint64_t)1 << 63;
    wrong[3].lease ^= 1; /* the place */
    for (int i = 0; i < 3; i++) {
        IS(LQ_ELEASE, lq_ack(world.consumer, &wrong[i]));
        HOLDS(loan->block && loan->id == message.id);
        EQUAL(count_lent(world.consumer), 1);
    }
    OK(lq_ack(world.consumer, &wrong[3])); /* the lease is right; whose bytes it speaks of is not known */
    EQUAL(count_lent(world.consumer), 1);
    HOLDS(api_is_filled(&message, BODY, 1));
    end(&world);
}

/* ---- what is written down, and when ------------------------------------------------- */

static void take(const struct world *world, lq_message *message)
{
    OK(lq_poll(world->consumer, message));
}

static void the_state_is_written_after_so_many_changes_and_not_before(void **state)
{
    struct world world;
    lq_message messages[3];
    begin(state, &world, LQ_SYNC_NEVER, 0);
    for (int i = 0; i < 3; i++) take(&world, &messages[i]);
    OK(lq_ack(world.consumer, &messages[0]));
    HOLDS(unsaved(&world) > 0);
    atomic_store(&world.consumer->slot->unsaved, SAVE_EVERY - 2);
    OK(lq_ack(world.consumer, &messages[1])); /* one change */
    EQUAL(unsaved(&world), SAVE_EVERY - 1);
    OK(lq_ack(world.consumer, &messages[2]));
    EQUAL(unsaved(&world), 0);
    EQUAL(atomic_load(&world.consumer->slot->unsynced), 1);
    end(&world);
}

static void what_cannot_be_written_yet_is_no_failure_of_the_ack(void **state)
{
    struct world world;
    lq_message message;
    begin(state, &world, LQ_SYNC_NEVER, 0);
    take(&world, &message);
    atomic_store(&world.consumer->slot->unsaved, SAVE_EVERY);
    io_fault_plan(&world.machine, IO_WRITE, 1, true, ENOSPC);
    OK(lq_ack(world.consumer, &message));
    EQUAL(world.machine.hits, 1);
    HOLDS(unsaved(&world) > SAVE_EVERY);
    io_fault_end(&world.machine);
    end(&world);
}

/* Whether an ack was written, and synced. */
static void ack_and_count(struct world *world, const lq_message *message, uint64_t writes, uint64_t syncs)
{
    io_fault_plan(&world->machine, IO_WRITE, 0, false, 0);
    OK(lq_ack(world->consumer, message));
    EQUAL(world->machine.calls[IO_WRITE] > 0, writes > 0);
    EQUAL(world->machine.calls[IO_SYNC], syncs);
}

static void an_ack_that_is_to_be_saved_is_written_and_synced_as_puts_are(void **state)
{
    struct world world;
    lq_message messages[2];
    begin(state, &world, LQ_SYNC_ALWAYS, LQ_CONSUMER_SAVE_ACKS);
    take(&world, &messages[0]);
    take(&world, &messages[1]);
    ack_and_count(&world, &messages[0], 1, 1);
    EQUAL(unsaved(&world), 0);
    EQUAL(atomic_load(&world.consumer->slot->unsynced), 0);
    ack_and_count(&world, &messages[0], 0, 0); /* acked already */
    OK(lq_release(world.consumer, &messages[1]));
    HOLDS(unsaved(&world) > 0); /* that is no ack */
    end(&world);
}

static void where_nothing_is_synced_an_ack_to_be_saved_is_only_written(void **state)
{
    struct world world;
    lq_message messages[2];
    begin(state, &world, LQ_SYNC_NEVER, LQ_CONSUMER_SAVE_ACKS);
    take(&world, &messages[0]);
    take(&world, &messages[1]);
    ack_and_count(&world, &messages[0], 1, 0);
    EQUAL(unsaved(&world), 0);
    EQUAL(atomic_load(&world.consumer->slot->unsynced), 1);
    ack_and_count(&world, &messages[0], 0, 0);
    end(&world);
}

static void an_ack_that_cannot_be_saved_says_so_and_holds(void **state)
{
    struct world world;
    lq_message message;
    begin(state, &world, LQ_SYNC_NEVER, LQ_CONSUMER_SAVE_ACKS);
    take(&world, &message);
    io_fault_plan(&world.machine, IO_WRITE, 1, true, ENOSPC);
    IS(LQ_ENOSPC, lq_ack(world.consumer, &message));
    io_fault_end(&world.machine);
    EQUAL(api_consumer_stats(world.queue, "c").floor, message.id);
    loans_add_up(world.consumer, 0);
    OK(lq_ack(world.consumer, &message)); /* now it is written */
    EQUAL(unsaved(&world), 0);
    end(&world);
}

/* ---- texts ---------------------------------------------------------------------------- */

/* What an ack does besides may fail without a word: the text goes on speaking of the ack. */
static void the_text_is_of_what_the_settlement_says_whatever_fails_besides(void **state)
{
    enum { KIB = 1024, BIG = 1000 };
    lq_options options = {.size = sizeof options, .sync = LQ_SYNC_NEVER, .segment_size = 64 * KIB, .ring_size = 64 * KIB};
    lq_message messages[101];
    struct world world;
    size_t count;
    io_fault_init(&world.machine, &lqi_io_posix);
    OK(lqi_open_io(&world.machine.io, api_path(*state, "q"), &options, &world.queue));
    api_put_range(world.queue, 1, 200, BIG);
    OK(lq_sync(world.queue));
    world.consumer = api_consumer(world.queue, "c", NULL);
    OK(lq_get_batch(world.consumer, messages, 100, &count, 0));
    EQUAL(count, 100);
    messages[100] = (lq_message){.id = 150}; /* which nobody was given */

    atomic_store(&world.consumer->slot->unsaved, SAVE_EVERY);
    io_fault_plan(&world.machine, IO_WRITE, 1, true, ENOSPC);
    IS(LQ_ELEASE, lq_ack_batch(world.consumer, (lq_message[]){messages[100], messages[1]}, 2));
    EQUAL(world.machine.hits, 1); /* the state could not be written */
    TEXT_HAS("message 150 is not leased");

    messages[1] = messages[100];
    IS(LQ_ELEASE, lq_ack_batch(world.consumer, messages, 100));
    EQUAL(world.machine.hits, 3); /* nor could it be noted that the first segment is not needed any more */
    TEXT_HAS("message 150 is not leased");
    io_fault_end(&world.machine);
    EQUAL(api_consumer_stats(world.queue, "c").floor, 100);
    end(&world);
}

/* ---- a lock that is not had ---------------------------------------------------------- */

static pthread_barrier_t barrier;

static void *hold_the_lock(void *context)
{
    lq_consumer *consumer = context;
    OK(lqi_consumer_lock(&consumer->queue->map, consumer->slot, consumer->member.region));
    pthread_barrier_wait(&barrier);
    pthread_barrier_wait(&barrier);
    lqi_consumer_unlock(consumer->slot);
    return NULL;
}

static void who_does_not_get_the_lock_settles_nothing(void **state)
{
    struct world world;
    lq_message message;
    pthread_t thread;
    int patience = lqi_lock_patience_ms;
    begin(state, &world, LQ_SYNC_NEVER, 0);
    take(&world, &message);
    pthread_barrier_init(&barrier, NULL, 2);
    EQUAL(pthread_create(&thread, NULL, hold_the_lock, world.consumer), 0);
    pthread_barrier_wait(&barrier);
    lqi_lock_patience_ms = 1;
    IS(LQ_EBUSY, lq_ack(world.consumer, &message));
    IS(LQ_EBUSY, lq_ack_batch(world.consumer, &message, 1));
    IS(LQ_EBUSY, lq_release(world.consumer, &message));
    OK(lq_ack_batch(world.consumer, &message, 0)); /* there is nothing that it would need it for */
    lqi_lock_patience_ms = patience;
    pthread_barrier_wait(&barrier);
    pthread_join(thread, NULL);
    pthread_barrier_destroy(&barrier);
    loans_add_up(world.consumer, 1);
    EQUAL(api_consumer_stats(world.queue, "c").unacked, 1);
    OK(lq_ack(world.consumer, &message));
    end(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_DIRECTORY(a_loan_ends_with_its_settlement_and_its_place_is_used_again),
        IN_DIRECTORY(one_settlement_is_of_one_message),
        IN_DIRECTORY(a_batch_is_settled_from_the_first_to_the_last_and_none_is_fine),
        IN_DIRECTORY(who_was_never_given_anything_can_settle_nothing),
        IN_DIRECTORY(what_is_not_that_very_hand_out_ends_no_loan),
        IN_DIRECTORY(the_state_is_written_after_so_many_changes_and_not_before),
        IN_DIRECTORY(what_cannot_be_written_yet_is_no_failure_of_the_ack),
        IN_DIRECTORY(an_ack_that_is_to_be_saved_is_written_and_synced_as_puts_are),
        IN_DIRECTORY(where_nothing_is_synced_an_ack_to_be_saved_is_only_written),
        IN_DIRECTORY(an_ack_that_cannot_be_saved_says_so_and_holds),
        IN_DIRECTORY(the_text_is_of_what_the_settlement_says_whatever_fails_besides),
        IN_DIRECTORY(who_does_not_get_the_lock_settles_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
