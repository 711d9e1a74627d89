/* Leases: death inside a consumer's lock, between any two stores, and what the next owner makes of it. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "consumer.h"
#include "support/api.h"
#include "support/child.h"

enum { BODY = 50, MESSAGES = 20 };

/* What the child does with the lock held, before it dies. It is a member that holds messages 1 to 3. */
typedef void last_deed(lq_consumer *consumer, struct lqi_consumer_slot *slot, struct lqi_region *region);

struct death {
    char path[4096];
    last_deed *deed;
    lq_message held[3];
};

static int do_it_and_die(void *context)
{
    struct death *death = context;
    lq_queue *queue;
    lq_consumer *consumer;
    OK(lq_open(death->path, NULL, &queue));
    OK(lq_consumer_open(queue, "c", NULL, &consumer));
    for (int i = 0; i < 3; i++) OK(lq_poll(consumer, &death->held[i]));
    OK(lqi_consumer_lock(&queue->map, consumer->slot, consumer->member.region));
    death->deed(consumer, consumer->slot, consumer->member.region);
    _exit(0);
}

static struct lqi_slot *slot_of(struct lqi_consumer_slot *consumer, struct lqi_region *region, uint64_t id)
{
    return lqi_slot_of(consumer, region, id);
}

static void nothing(lq_consumer *consumer, struct lqi_consumer_slot *slot, struct lqi_region *region)
{
    (void)consumer, (void)slot, (void)region;
}

static void leased_but_not_delivered(lq_consumer *consumer, struct lqi_consumer_slot *slot, struct lqi_region *region)
{
    *slot_of(slot, region, 4) = (struct lqi_slot){.position = 12, .lease = slot->lease + 1, .member = (uint16_t)consumer->member.index,
                                                  .state = LQI_SLOT_LEASED, .attempts = 1};
    slot->lease++;
    atomic_fetch_add(&slot->unacked, 1);
}

static void delivered_but_the_next_place_not_noted(lq_consumer *consumer, struct lqi_consumer_slot *slot, struct lqi_region *region)
{
    uint64_t place = slot_of(slot, region, 3)->position;
    leased_but_not_delivered(consumer, slot, region);
    slot_of(slot, region, 4)->position = atomic_load(&slot->next_position);
    atomic_store(&slot->delivered, 4);
    atomic_store(&slot->next_position, place); /* an older place */
}

static void the_counts_wrong(lq_consumer *consumer, struct lqi_consumer_slot *slot, struct lqi_region *region)
{
    (void)consumer, (void)region;
    atomic_store(&slot->unacked, 77);
    atomic_store(&slot->returned, 0);
    slot->returned_hint = 1000;
    slot->member_count = 99;
}

static void settled_but_the_floor_behind(lq_consumer *consumer, struct lqi_consumer_slot *slot, struct lqi_region *region)
{
    (void)consumer;
    for (uint64_t id = 1; id <= 2; id++) lqi_slot_settle(slot, slot_of(slot, region, id), id);
}

static void given_back_but_not_counted(lq_consumer *consumer, struct lqi_consumer_slot *slot, struct lqi_region *region)
{
    (void)consumer;
    slot_of(slot, region, 2)->state = LQI_SLOT_READY;
}

/* Whatever happened: every message comes exactly once to the one who is left, the first `settled` excepted. */
static void check(void **state, last_deed *deed, uint64_t settled)
{
    struct death *death = mmap(NULL, sizeof *death, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    lq_queue *queue = api_open(state, NULL);
    lq_message message;

    strcpy(death->path, api_path(*state, "q"));
    death->deed = deed;
    api_put_range(queue, 1, MESSAGES, BODY);
    lq_consumer *consumer = api_consumer(queue, "c", NULL);
    EQUAL(child_run(do_it_and_die, death), 0);
    api_sleep_ms(25);
    uint64_t seen = 0;
    int err;
    while ((err = lq_poll(consumer, &message)) == LQ_OK) {
        HOLDS(message.id > settled && message.id <= MESSAGES);
        HOLDS(!(seen & (uint64_t)1 << message.id));
        seen |= (uint64_t)1 << message.id;
        HOLDS(api_is_filled(&message, BODY, message.id));
        EQUAL(api_consumer_stats(queue, "c").unacked, 1);
        OK(lq_ack(consumer, &message));
        if (message.id == MESSAGES) api_sleep_ms(25);
    }
    IS(LQ_EMPTY, err);
    for (uint64_t id = settled + 1; id <= MESSAGES; id++) HOLDS(seen & (uint64_t)1 << id);
    lq_consumer_stats stats = api_consumer_stats(queue, "c");
    EQUAL(stats.floor, MESSAGES);
    EQUAL(stats.delivered, MESSAGES);
    EQUAL(stats.unacked, 0);
    EQUAL(stats.ready, 0);
    EQUAL(stats.members, 1);
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
    munmap(death, sizeof *death);
}

static void a_lock_that_was_inherited_is_mended(void **state)
{
    check(state, nothing, 0);
}

static void a_slot_that_was_leased_does_not_count_before_it_is_delivered(void **state)
{
    check(state, leased_but_not_delivered, 0);
}

static void from_an_older_place_the_next_message_is_found(void **state)
{
    check(state, delivered_but_the_next_place_not_noted, 0);
}

static void counts_are_counted_again(void **state)
{
    check(state, the_counts_wrong, 0);
}

static void the_floor_catches_up_with_what_was_settled(void **state)
{
    check(state, settled_but_the_floor_behind, 2);
}

static void what_was_given_back_half_comes_again(void **state)
{
    check(state, given_back_but_not_counted, 0);
}

/* ---- the order of stores ----------------------------------------------------------------- */

/* Slots cannot be written until somebody tries to: that is the moment to look what else has changed. */
static struct {
    const struct lqi_consumer_slot *consumer;
    struct lqi_region *region;
    bool met;
    uint64_t floor, delivered;
} at_slot;

static uint8_t *slots_page(void)
{
    HOLDS((uintptr_t)at_slot.region->slots % 4096 == 0);
    return (uint8_t *)at_slot.region->slots;
}

static void look_and_allow(int number)
{
    (void)number;
    at_slot.met = true;
    at_slot.floor = lqi_floor(at_slot.consumer);
    at_slot.delivered = lqi_delivered(at_slot.consumer);
    if (mprotect(slots_page(), 4096, PROT_READ | PROT_WRITE) != 0) _exit(1);
}

static void look_when_a_slot_is_written(const lq_consumer *consumer)
{
    const struct sigaction look = {.sa_handler = look_and_allow, .sa_flags = SA_RESETHAND};
    at_slot.consumer = consumer->slot;
    at_slot.region = consumer->member.region;
    at_slot.met = false;
    EQUAL(sigaction(SIGSEGV, &look, NULL), 0);
    EQUAL(mprotect(slots_page(), 4096, PROT_READ), 0);
}

static void a_slot_is_written_before_its_message_counts_as_delivered_or_settled(void **state)
{
    lq_queue *queue = api_open(state, NULL);
    lq_consumer *consumer = api_consumer(queue, "c", NULL);
    lq_message first, message;
    api_put_range(queue, 1, 3, BODY);
    OK(lq_poll(consumer, &first));

    look_when_a_slot_is_written(consumer);
    OK(lq_poll(consumer, &message));
    HOLDS(at_slot.met);
    EQUAL(at_slot.delivered, 1);
    EQUAL(lqi_delivered(consumer->slot), 2);

    look_when_a_slot_is_written(consumer);
    OK(lq_ack(consumer, &first));
    HOLDS(at_slot.met);
    EQUAL(at_slot.floor, 0);
    EQUAL(lqi_floor(consumer->slot), 1);
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
}

/* ---- the floor, the window ---------------------------------------------------------------- */

static void the_floor_moves_over_what_is_settled_and_over_nothing_else(void **state)
{
    lq_queue *queue = api_open(state, NULL);
    lq_consumer *consumer = api_consumer(queue, "c", NULL);
    lq_message messages[5];
    api_put_range(queue, 1, 5, BODY);
    for (int i = 0; i < 5; i++) OK(lq_poll(consumer, &messages[i]));
    OK(lq_ack(consumer, &messages[2]));
    EQUAL(lqi_floor(consumer->slot), 0);
    OK(lq_ack(consumer, &messages[0]));
    EQUAL(lqi_floor(consumer->slot), 1); /* 2 is out */
    OK(lq_release(consumer, &messages[1]));
    OK(lq_ack(consumer, &messages[3]));
    EQUAL(lqi_floor(consumer->slot), 1); /* 2 waits to come again */
    OK(lq_poll(consumer, &messages[1]));
    EQUAL(messages[1].id, 2);
    OK(lq_ack(consumer, &messages[1]));
    EQUAL(lqi_floor(consumer->slot), 4);
    OK(lq_ack(consumer, &messages[4]));
    EQUAL(lqi_floor(consumer->slot), 5);
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
}

static void a_message_is_not_settled_by_the_one_that_took_its_slot(void **state)
{
    lq_queue *queue = api_open(state, NULL);
    lq_consumer *consumer = api_consumer(queue, "c", &(lq_consumer_options){.window = 64});
    struct lqi_member *member = &consumer->member;
    lq_message message;
    api_put_range(queue, 1, 65, BODY);
    api_take_range(consumer, 1, 64, BODY);
    OK(lq_poll(consumer, &message));
    EQUAL(message.id, 65); /* in the slot that was that of message 1 */
    OK(lqi_consumer_lock(&queue->map, consumer->slot, member->region));
    IS(LQ_ELEASE, lqi_settle(member, 1, (uint32_t)(message.lease >> 32), LQI_ACK));
    IS(LQ_ELEASE, lqi_settle(member, 66, (uint32_t)(message.lease >> 32), LQI_ACK));
    IS(LQ_ELEASE, lqi_settle(member, 0, 0, LQI_ACK));
    OK(lqi_settle(member, 65, (uint32_t)(message.lease >> 32), LQI_ACK));
    lqi_consumer_unlock(consumer->slot);
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
}

/* ---- the numbers of leases ------------------------------------------------------------- */

static void tokens_go_round_without_zero(void **state)
{
    lq_queue *queue = api_open(state, NULL);
    lq_consumer *consumer = api_consumer(queue, "c", NULL);
    lq_message message;
    api_put_range(queue, 1, 3, BODY);
    consumer->slot->lease = UINT32_MAX - 1;
    for (int i = 0; i < 3; i++) {
        OK(lq_poll(consumer, &message));
        HOLDS(message.lease >> 32 != 0);
        OK(lq_ack(consumer, &message));
    }
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
}

static void attempts_stop_counting_before_they_overflow(void **state)
{
    lq_queue *queue = api_open(state, NULL);
    lq_consumer *consumer = api_consumer(queue, "c", NULL);
    lq_message message;
    api_put(queue, "x");
    OK(lq_poll(consumer, &message));
    for (int i = 0; i < 3; i++) {
        OK(lqi_consumer_lock(&queue->map, consumer->slot, consumer->member.region));
        struct lqi_slot *slot = slot_of(consumer->slot, consumer->member.region, 1);
        slot->attempts = LQI_ATTEMPTS_MAX;
        OK(lqi_settle(&consumer->member, 1, slot->lease, LQI_GIVE_BACK));
        lqi_consumer_unlock(consumer->slot);
        OK(lq_poll(consumer, &message));
        EQUAL(message.attempts, LQI_ATTEMPTS_MAX);
    }
    OK(lq_ack(consumer, &message));
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
}

static void a_hole_larger_than_the_window_is_stepped_over_in_parts(void **state)
{
    lq_queue *queue = api_open(state, NULL);
    lq_consumer *consumer = api_consumer(queue, "c", &(lq_consumer_options){.window = 64});
    struct lqi_member *member = &consumer->member;
    struct lqi_grant grant;

    OK(lqi_consumer_lock(&queue->map, consumer->slot, member->region));
    lqi_lease_next(member, 0, &grant);
    EQUAL(grant.id, 1);
    HOLDS(!lqi_skip_to(member, 200, true)); /* message 1 is out */
    EQUAL(lqi_delivered(consumer->slot), 64);
    EQUAL(lqi_floor(consumer->slot), 0);
    HOLDS(!lqi_skip_to(member, 200, true));
    OK(lqi_settle(member, 1, grant.lease, LQI_ACK));
    EQUAL(lqi_floor(consumer->slot), 64);
    HOLDS(lqi_skip_to(member, 200, true)); /* nothing is out: no slots are needed */
    EQUAL(lqi_floor(consumer->slot), 200);
    EQUAL(consumer->slot->dropped, 199);
    HOLDS(lqi_skip_to(member, 150, true));
    EQUAL(lqi_floor(consumer->slot), 200);
    lqi_consumer_unlock(consumer->slot);
    lqi_member_leave(member);
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_DIRECTORY(a_lock_that_was_inherited_is_mended),
        IN_DIRECTORY(a_slot_that_was_leased_does_not_count_before_it_is_delivered),
        IN_DIRECTORY(from_an_older_place_the_next_message_is_found),
        IN_DIRECTORY(counts_are_counted_again),
        IN_DIRECTORY(the_floor_catches_up_with_what_was_settled),
        IN_DIRECTORY(what_was_given_back_half_comes_again),
        IN_DIRECTORY(a_slot_is_written_before_its_message_counts_as_delivered_or_settled),
        IN_DIRECTORY(the_floor_moves_over_what_is_settled_and_over_nothing_else),
        IN_DIRECTORY(a_message_is_not_settled_by_the_one_that_took_its_slot),
        IN_DIRECTORY(tokens_go_round_without_zero),
        IN_DIRECTORY(attempts_stop_counting_before_they_overflow),
        IN_DIRECTORY(a_hole_larger_than_the_window_is_stepped_over_in_parts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
