/* Leases, step by step: what each changes in the consumer's numbers, and all that it leaves as it was. Who counts as dead, and when
 * anybody asks. */
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

enum { BODY = 50, MESSAGES = 64, WINDOW = 64 };

/* The machine; it says how often it was asked who lives, and may be unable to tell. */
static uint64_t asked;
static int cannot_tell;

static int ask(const struct lqi_io *io, int fd, uint64_t first, uint64_t count, bool *by_others_out)
{
    if (first >= LQI_BYTE_HANDLE && count == 1) asked++;
    if (cannot_tell) return cannot_tell;
    return lqi_io_posix.locked(io, fd, first, count, by_others_out);
}

/* And its maps are counted. */
static int maps;

static int map(const struct lqi_io *io, int fd, uint64_t offset, size_t size, size_t mirrored, bool writable, void **map_out)
{
    int error = lqi_io_posix.map(io, fd, offset, size, mirrored, writable, map_out);
    maps += !error;
    return error;
}

static void unmap(const struct lqi_io *io, void *memory, size_t size, size_t mirrored)
{
    maps -= memory != NULL;
    lqi_io_posix.unmap(io, memory, size, mirrored);
}

static struct world {
    lq_queue *queue;
    lq_consumer *consumer;
    struct lqi_consumer_slot *slot;
    struct lqi_member *member;
    struct lqi_region *region;
} world;

static void begin(void **state)
{
    static struct lqi_io io;
    lq_options options = {.size = sizeof options, .sync = LQ_SYNC_NEVER};
    io = lqi_io_posix;
    io.locked = ask;
    io.map = map;
    io.unmap = unmap;
    cannot_tell = 0;
    OK(lqi_open_io(&io, api_path(*state, "q"), &options, &world.queue));
    api_put_range(world.queue, 1, MESSAGES, BODY);
    world.consumer = api_consumer(world.queue, "c", &(lq_consumer_options){.window = WINDOW});
    world.slot = world.consumer->slot;
    world.member = &world.consumer->member;
    world.region = world.member->region;
    world.slot->dirty_low = UINT64_MAX; /* as after a save */
    world.slot->dirty_high = 0;
    atomic_store(&world.slot->unsaved, 0);
}

static void end(void)
{
    OK(lq_consumer_close(world.consumer));
    OK(lq_close(world.queue));
}

static void lock(void)
{
    OK(lqi_consumer_lock(&world.queue->map, world.slot, world.region));
}

static void unlock(void)
{
    lqi_consumer_unlock(world.slot);
}

/* ---- the account ------------------------------------------------------------------ */

struct account {
    uint64_t floor, delivered, unacked, returned, dropped, unsaved, dirty_low, dirty_high;
};

static void is(const struct account *expected)
{
    EQUAL(lqi_floor(world.slot), expected->floor);
    EQUAL(lqi_delivered(world.slot), expected->delivered);
    EQUAL(atomic_load(&world.slot->unacked), expected->unacked);
    EQUAL(atomic_load(&world.slot->returned), expected->returned);
    EQUAL(atomic_load(&world.slot->dropped), expected->dropped);
    EQUAL(atomic_load(&world.slot->unsaved), expected->unsaved);
    EQUAL(world.slot->dirty_low, expected->dirty_low);
    EQUAL(world.slot->dirty_high, expected->dirty_high);
}

#define IS_NOW(...) is(&(struct account){__VA_ARGS__})

static struct lqi_slot *slot_of(uint64_t id)
{
    return lqi_slot_of(world.slot, world.region, id);
}

static struct lqi_grant lease_next(uint64_t position)
{
    struct lqi_grant grant;
    lqi_lease_next(world.member, position, &grant);
    return grant;
}

static void a_lease_is_accounted_for(void **state)
{
    begin(state);
    lock();
    for (uint64_t id = 1; id <= 3; id++) {
        *slot_of(id) = (struct lqi_slot){.attempts = 9, .state = LQI_SLOT_SETTLED, .lease = 77}; /* of a lap ago */
        uint32_t last = world.slot->lease;
        struct lqi_grant grant = lease_next(id * 1000);
        IS_NOW(.delivered = id, .unacked = id, .unsaved = id, .dirty_low = 1, .dirty_high = id);
        EQUAL(world.slot->lease, last + 1);
        EQUAL(grant.id, id);
        EQUAL(grant.position, id * 1000);
        EQUAL(grant.lease, last + 1);
        EQUAL(grant.attempts, 1);
        EQUAL(slot_of(id)->position, id * 1000);
        EQUAL(slot_of(id)->lease, last + 1);
        EQUAL(slot_of(id)->member, world.member->index);
        EQUAL(slot_of(id)->state, LQI_SLOT_LEASED);
        EQUAL(slot_of(id)->attempts, 1);
    }
    unlock();
    end();
}

static void each_settlement_is_accounted_for(void **state)
{
    begin(state);
    lock();
    struct lqi_grant a = lease_next(1), b = lease_next(2), c = lease_next(3), d = lease_next(4);
    world.slot->dirty_low = UINT64_MAX;
    world.slot->dirty_high = 0;
    OK(lqi_settle(world.member, b.id, b.lease, LQI_UNDO)); /* released: it was no attempt */
    IS_NOW(.delivered = 4, .unacked = 3, .returned = 1, .unsaved = 5, .dirty_low = 2, .dirty_high = 2);
    EQUAL(slot_of(2)->state, LQI_SLOT_READY);
    EQUAL(slot_of(2)->attempts, 0);
    OK(lqi_settle(world.member, d.id, d.lease, LQI_GIVE_BACK)); /* it was one */
    IS_NOW(.delivered = 4, .unacked = 2, .returned = 2, .unsaved = 6, .dirty_low = 2, .dirty_high = 4);
    EQUAL(slot_of(4)->attempts, 1);
    OK(lqi_settle(world.member, c.id, c.lease, LQI_DROP));
    IS_NOW(.delivered = 4, .unacked = 1, .returned = 2, .dropped = 1, .unsaved = 7, .dirty_low = 2, .dirty_high = 4);
    EQUAL(slot_of(3)->state, LQI_SLOT_SETTLED);
    OK(lqi_settle(world.member, a.id, a.lease, LQI_ACK));
    IS_NOW(.floor = 1, .delivered = 4, .returned = 2, .dropped = 1, .unsaved = 8, .dirty_low = 1, .dirty_high = 4);
    OK(lqi_settle(world.member, a.id, a.lease, LQI_ACK)); /* again */
    IS_NOW(.floor = 1, .delivered = 4, .returned = 2, .dropped = 1, .unsaved = 8, .dirty_low = 1, .dirty_high = 4);
    IS(LQ_ELEASE, lqi_settle(world.member, a.id, a.lease, LQI_UNDO)); /* what was acked cannot be given back */
    IS(LQ_ELEASE, lqi_settle(world.member, d.id, d.lease, LQI_ACK));  /* nor the other way */
    IS_NOW(.floor = 1, .delivered = 4, .returned = 2, .dropped = 1, .unsaved = 8, .dirty_low = 1, .dirty_high = 4);
    unlock();
    end();
}

static void only_the_member_that_holds_it_may_settle(void **state)
{
    begin(state);
    lock();
    struct lqi_grant a = lease_next(1);
    slot_of(1)->member++;
    IS(LQ_ELEASE, lqi_settle(world.member, a.id, a.lease, LQI_ACK));
    slot_of(1)->member--;
    IS(LQ_ELEASE, lqi_settle(world.member, a.id, a.lease + 1, LQI_ACK));
    IS(LQ_ELEASE, lqi_settle(world.member, a.id + 1, a.lease, LQI_ACK));
    slot_of(1)->attempts = 0;
    OK(lqi_settle(world.member, a.id, a.lease, LQI_UNDO));
    EQUAL(slot_of(1)->attempts, 0); /* there is less than none */
    unlock();
    end();
}

static void what_came_back_goes_out_again_the_lowest_first(void **state)
{
    struct lqi_grant grants[6], grant;
    begin(state);
    lock();
    HOLDS(!lqi_lease_returned(world.member, &grant));
    for (int i = 1; i < 6; i++) grants[i] = lease_next((uint64_t)i * 8);
    world.slot->returned_hint = WINDOW;
    static const int given_back[] = {4, 2, 3};
    for (int i = 0; i < 3; i++) OK(lqi_settle(world.member, grants[given_back[i]].id, grants[given_back[i]].lease, LQI_GIVE_BACK));
    EQUAL(world.slot->returned_hint, 2);
    for (uint64_t id = 2; id <= 4; id++) {
        HOLDS(lqi_lease_returned(world.member, &grant));
        EQUAL(grant.id, id);
        EQUAL(grant.position, id * 8);
        EQUAL(grant.attempts, 2);
        EQUAL(atomic_load(&world.slot->returned), 4 - id);
        EQUAL(atomic_load(&world.slot->unacked), id + 1);
        EQUAL(world.slot->returned_hint, id + 1);
    }
    HOLDS(!lqi_lease_returned(world.member, &grant));
    atomic_store(&world.slot->returned, 7); /* a count that is wrong is put right */
    HOLDS(!lqi_lease_returned(world.member, &grant));
    EQUAL(atomic_load(&world.slot->returned), 0);
    unlock();
    end();
}

/* The last one that is out counts, and one at the floor does not. */
static void only_what_is_out_is_looked_through(void **state)
{
    struct lqi_grant grant;
    begin(state);
    lock();
    for (int i = 1; i <= 3; i++) lease_next(1);
    OK(lqi_settle(world.member, 1, slot_of(1)->lease, LQI_ACK));
    slot_of(1)->state = slot_of(4)->state = LQI_SLOT_READY; /* at the floor, and not delivered */
    world.slot->returned_hint = 1;
    atomic_store(&world.slot->returned, 1);
    HOLDS(!lqi_lease_returned(world.member, &grant));
    OK(lqi_settle(world.member, 3, slot_of(3)->lease, LQI_GIVE_BACK));
    world.slot->returned_hint = 1;
    atomic_store(&world.slot->returned, 0); /* where none is counted, nobody looks */
    HOLDS(!lqi_lease_returned(world.member, &grant));
    atomic_store(&world.slot->returned, 1);
    HOLDS(lqi_lease_returned(world.member, &grant));
    EQUAL(grant.id, 3);
    unlock();
    end();
}

static void stepping_over_is_accounted_for(void **state)
{
    begin(state);
    lock();
    HOLDS(lqi_skip_to(world.member, 0, true));
    IS_NOW(.dirty_low = UINT64_MAX);
    HOLDS(lqi_skip_to(world.member, 5, false)); /* nothing is out: the floor goes along */
    IS_NOW(.floor = 5, .delivered = 5, .unsaved = 1, .dirty_low = UINT64_MAX);
    HOLDS(lqi_skip_to(world.member, 7, true));
    IS_NOW(.floor = 7, .delivered = 7, .dropped = 2, .unsaved = 2, .dirty_low = UINT64_MAX);
    lease_next(1);
    for (uint64_t id = 9; id <= 12; id++) slot_of(id)->state = LQI_SLOT_READY;
    HOLDS(lqi_skip_to(world.member, 10, true));
    IS_NOW(.floor = 7, .delivered = 10, .unacked = 1, .dropped = 4, .unsaved = 6, .dirty_low = 8, .dirty_high = 10);
    EQUAL(slot_of(9)->state, LQI_SLOT_SETTLED);
    EQUAL(slot_of(10)->state, LQI_SLOT_SETTLED);
    EQUAL(slot_of(11)->state, LQI_SLOT_READY);
    HOLDS(lqi_skip_to(world.member, 10, true));
    HOLDS(lqi_skip_to(world.member, 9, true));
    EQUAL(lqi_delivered(world.slot), 10);
    HOLDS(!lqi_skip_to(world.member, 7 + WINDOW + 2, true)); /* two too many */
    EQUAL(lqi_delivered(world.slot), 7 + WINDOW);
    EQUAL(atomic_load(&world.slot->dropped), WINDOW - 1 + 2);
    HOLDS(!lqi_skip_to(world.member, 7 + WINDOW + 2, false));
    EQUAL(atomic_load(&world.slot->dropped), WINDOW - 1 + 2);
    OK(lqi_settle(world.member, 8, slot_of(8)->lease, LQI_ACK));
    EQUAL(lqi_floor(world.slot), 7 + WINDOW);
    unlock();
    end();
}

/* ---- mending ------------------------------------------------------------------------ */

static void after_a_death_everything_is_counted_anew(void **state)
{
    begin(state);
    lock();
    for (int i = 0; i < 6; i++) lease_next(1);
    lqi_slot_settle(world.slot, slot_of(1), 1);
    lqi_slot_settle(world.slot, slot_of(2), 2);
    lqi_slot_settle(world.slot, slot_of(5), 5);
    slot_of(4)->state = LQI_SLOT_READY;
    slot_of(7)->state = LQI_SLOT_READY; /* not delivered */
    atomic_store(&world.slot->unacked, 50);
    atomic_store(&world.slot->returned, 60);
    atomic_store(&world.slot->unsaved, 0);
    world.slot->member_count = 70;
    world.slot->returned_hint = world.slot->dirty_low = world.slot->dirty_high = 80;
    world.region->members[200].handle_generation = 1;
    lqi_consumer_mend(world.slot, world.region);
    IS_NOW(.floor = 2, .delivered = 6, .unacked = 2, .returned = 1, .unsaved = 1, .dirty_low = 3, .dirty_high = 6);
    EQUAL(world.slot->returned_hint, 3);
    EQUAL(world.slot->member_count, 2);
    world.region->members[200].handle_generation = 0;
    world.region->members[LQI_MEMBERS_MAX - 1].handle_generation = 1;
    lqi_consumer_mend(world.slot, world.region);
    EQUAL(world.slot->member_count, 2);
    world.region->members[LQI_MEMBERS_MAX - 1].handle_generation = 0;
    atomic_store(&world.slot->floor, 9); /* died between the floor and what is delivered */
    lqi_consumer_mend(world.slot, world.region);
    EQUAL(lqi_delivered(world.slot), 9);
    EQUAL(lqi_floor(world.slot), 9);
    EQUAL(world.slot->member_count, 1);
    unlock();
    end();
}

/* One stray byte in the memory of the dead is no ack, and what was not delivered yet is not settled. */
static void a_message_is_settled_when_its_slot_says_so_twice_and_it_was_delivered(void **state)
{
    begin(state);
    lock();
    for (int i = 0; i < 4; i++) lease_next(8);
    slot_of(1)->state = LQI_SLOT_SETTLED;
    lqi_slot_settle(world.slot, slot_of(2), 2);
    lqi_slot_settle(world.slot, slot_of(3), 3);
    slot_of(3)->state = LQI_SLOT_READY;
    atomic_store(&world.slot->unsaved, 0);
    lqi_consumer_mend(world.slot, world.region);
    IS_NOW(.delivered = 4, .unacked = 1, .returned = 2, .unsaved = 1, .dirty_low = 1, .dirty_high = 4);
    struct lqi_grant grant;
    HOLDS(lqi_lease_returned(world.member, &grant));
    EQUAL(grant.id, 1);
    HOLDS(lqi_lease_returned(world.member, &grant));
    EQUAL(grant.id, 3);

    for (uint64_t id = 1; id <= 5; id++) lqi_slot_settle(world.slot, slot_of(id), id); /* died between the fifth and that it counts */
    lqi_consumer_mend(world.slot, world.region);
    EQUAL(lqi_floor(world.slot), 4);
    EQUAL(lqi_delivered(world.slot), 4);
    unlock();
    end();
}

static void *die_with_the_lock(void *unused)
{
    HOLDS(lqi_lock(&world.slot->lock, "test") == LQI_LOCKED);
    return unused;
}

static void die(void)
{
    pthread_t thread;
    EQUAL(pthread_create(&thread, NULL, die_with_the_lock, NULL), 0);
    pthread_join(thread, NULL);
}

/* With the slots at hand or without; and as long as they cannot be had, the next one tries again. */
static void whoever_inherits_the_lock_mends_by_whatever_way_he_has(void **state)
{
    begin(state);
    int before = maps;
    for (int way = 0; way < 2; way++) {
        die();
        atomic_store(&world.slot->unacked, 50);
        OK(lqi_consumer_lock(&world.queue->map, world.slot, way ? world.region : NULL));
        EQUAL(atomic_load(&world.slot->unacked), 0);
        EQUAL(world.slot->broken, 0);
        atomic_store(&world.slot->unacked, 50);
        unlock();
        lock(); /* nobody has died: nothing is mended */
        EQUAL(atomic_load(&world.slot->unacked), 50);
        unlock();
    }
    die();
    uint64_t size = world.slot->region_size;
    world.slot->region_size = 0;
    IS(LQ_ECORRUPT, lqi_consumer_lock(&world.queue->map, world.slot, NULL));
    EQUAL(world.slot->broken, 1);
    world.slot->region_size = size;
    OK(lqi_consumer_lock(&world.queue->map, world.slot, NULL));
    EQUAL(atomic_load(&world.slot->unacked), 0);
    EQUAL(world.slot->broken, 0);
    unlock();
    EQUAL(maps, before);
    world.slot->region_ready = 0; /* there are no slots yet */
    die();
    atomic_store(&world.slot->unacked, 50);
    OK(lqi_consumer_lock(&world.queue->map, world.slot, world.region));
    EQUAL(atomic_load(&world.slot->unacked), 50);
    EQUAL(world.slot->broken, 0);
    unlock();
    world.slot->region_size = 0; /* nor room for them */
    die();
    OK(lqi_consumer_lock(&world.queue->map, world.slot, NULL));
    EQUAL(world.slot->broken, 0);
    unlock();
    world.slot->region_size = size;
    world.slot->region_ready = 1;
    atomic_store(&world.slot->unacked, 0);
    end();
}

static void numbers_that_no_member_leaves_are_not_worked_with(void **state)
{
    begin(state);
    atomic_store(&world.slot->delivered, WINDOW);
    lock();
    unlock();
    atomic_store(&world.slot->delivered, WINDOW + 1);
    IS(LQ_EIO, lqi_consumer_lock(&world.queue->map, world.slot, world.region));
    TEXT_HAS("'c'");
    atomic_store(&world.slot->state, LQI_CONSUMER_FREE); /* about to be made, perhaps, of what a deleted one left */
    lock();
    unlock();
    atomic_store(&world.slot->state, LQI_CONSUMER_USED);
    atomic_store(&world.slot->floor, WINDOW + 5); /* as one may leave them who died stepping over a hole */
    lock();
    unlock();
    atomic_store(&world.slot->delivered, 0);
    atomic_store(&world.slot->floor, 0);
    end();
}

/* ---- who lives ------------------------------------------------------------------------ */

static bool alive(uint32_t handle, uint64_t generation)
{
    return lqi_handle_alive(&world.queue->map, &world.queue->meta_file, world.queue->handle, handle, generation);
}

static void a_handle_lives_while_its_byte_is_locked_and_nobody_has_taken_its_place(void **state)
{
    begin(state);
    lq_queue *other = api_open(state, NULL);
    HOLDS(other->handle != world.queue->handle);
    asked = 0;
    HOLDS(alive(world.queue->handle, world.queue->handle_generation)); /* oneself need not be asked for */
    HOLDS(!alive(world.queue->handle, world.queue->handle_generation + 2));
    HOLDS(!alive(LQI_HANDLES_MAX, 0));
    EQUAL(asked, 0);
    HOLDS(alive(other->handle, other->handle_generation));
    EQUAL(asked, 1);
    HOLDS(!alive(other->handle, other->handle_generation + 2));
    uint32_t handle = other->handle;
    uint64_t generation = other->handle_generation;
    OK(lq_close(other));
    HOLDS(!alive(handle, generation));
    atomic_store(&world.queue->map.head->handles[handle].generation, generation); /* killed: it did not come to say so */
    HOLDS(!alive(handle, generation));
    cannot_tell = ENOLCK;
    HOLDS(alive(handle, generation)); /* in doubt */
    memcpy(&generation, (const char *)world.queue->map.head->handles + sizeof world.queue->map.head->handles, sizeof generation);
    HOLDS(!alive(LQI_HANDLES_MAX, generation)); /* that is behind them all */
    cannot_tell = 0;
    end();
}

/* Makes it look as if a second member had died holding messages 2 and 4. */
static void let_a_member_die(uint32_t index)
{
    for (int i = 0; i < 4; i++) lease_next(8);
    slot_of(2)->member = slot_of(4)->member = (uint16_t)index;
    world.region->members[index] = (struct lqi_member_slot){.handle = LQI_HANDLES_MAX - 1, .handle_generation = 77};
    world.slot->member_count++;
}

static void the_dead_are_looked_for_when_something_is_out_and_not_too_often(void **state)
{
    begin(state);
    lock();
    let_a_member_die(5);
    int64_t now = lqi_now_us();
    atomic_store(&world.slot->reaped_us, now);
    lqi_reap(world.member); /* somebody has just looked */
    EQUAL(atomic_load(&world.slot->returned), 0);
    EQUAL(atomic_load(&world.slot->reaped_us), now);
    atomic_store(&world.slot->reaped_us, now - LQI_REAP_US);

    atomic_store(&world.slot->unacked, 0); /* nothing is out */
    lqi_reap(world.member);
    EQUAL(atomic_load(&world.slot->returned), 0);
    atomic_store(&world.slot->unacked, 4);
    world.slot->member_count = 1; /* nobody else is there */
    lqi_reap(world.member);
    EQUAL(atomic_load(&world.slot->returned), 0);
    world.slot->member_count = 2;
    world.slot->returned_hint = WINDOW;
    lqi_reap(world.member);
    IS_NOW(.delivered = 4, .unacked = 2, .returned = 2, .unsaved = 6, .dirty_low = 1, .dirty_high = 4);
    EQUAL(world.slot->member_count, 1);
    EQUAL(world.slot->returned_hint, 2);
    EQUAL(world.region->members[5].handle_generation, 0);
    HOLDS(atomic_load(&world.slot->reaped_us) >= now);
    EQUAL(slot_of(1)->state, LQI_SLOT_LEASED); /* our own */
    EQUAL(slot_of(2)->state, LQI_SLOT_READY);
    EQUAL(slot_of(3)->state, LQI_SLOT_LEASED);
    EQUAL(slot_of(4)->state, LQI_SLOT_READY);
    unlock();
    end();
}

static void the_first_of_the_members_may_be_dead_too(void **state)
{
    begin(state);
    lock();
    EQUAL(world.member->index, 0);
    world.region->members[3] = world.region->members[0]; /* as if we had come later */
    world.member->index = 3;
    let_a_member_die(0);
    struct lqi_member another = *world.member;
    OK(lqi_member_join(&another));
    EQUAL(another.index, 0);
    EQUAL(atomic_load(&world.slot->returned), 2);
    EQUAL(world.slot->member_count, 2);
    lqi_member_leave(&another);
    unlock();
    end();
}

static void who_has_gone_without_the_lock_is_dead_though_its_handle_lives(void **state)
{
    begin(state);
    lock();
    struct lqi_member another = *world.member, third = *world.member;
    struct lqi_grant grant;
    OK(lqi_member_join(&another));
    EQUAL(another.index, 1);
    lqi_lease_next(&another, 8, &grant);
    unlock();
    lqi_member_abandon(&another);
    lock();
    OK(lqi_member_join(&third));
    EQUAL(third.index, 1);
    EQUAL(atomic_load(&world.slot->returned), 1);
    EQUAL(world.slot->member_count, 2);
    lqi_member_leave(&third);
    unlock();
    end();
}

static void no_more_members_join_than_there_are_places(void **state)
{
    begin(state);
    lock();
    for (size_t i = 1; i < LQI_MEMBERS_MAX; i++) world.region->members[i] = world.region->members[0];
    slot_of(WINDOW)->position = 0; /* what lies behind the members is no place */
    struct lqi_member another = *world.member;
    IS(LQ_ELIMIT, lqi_member_join(&another));
    TEXT_HAS("'c'", "256");
    world.region->members[LQI_MEMBERS_MAX - 1].handle_generation = 0;
    OK(lqi_member_join(&another));
    EQUAL(another.index, LQI_MEMBERS_MAX - 1);
    for (size_t i = 1; i < LQI_MEMBERS_MAX; i++) world.region->members[i].handle_generation = 0;
    unlock();
    end();
}

static void whoever_joins_buries_the_dead_and_takes_the_first_free_place(void **state)
{
    begin(state);
    lock();
    let_a_member_die(1);
    slot_of(WINDOW)->position = 1234; /* what lies behind the members is none, and nobody's death */
    struct lqi_member another = *world.member;
    OK(lqi_member_join(&another));
    EQUAL(another.index, 1);
    EQUAL(world.region->members[1].handle, another.handle);
    EQUAL(world.region->members[1].handle_generation, another.handle_generation);
    EQUAL(world.slot->member_count, 2);
    EQUAL(atomic_load(&world.slot->returned), 2);
    struct lqi_grant grant;
    HOLDS(lqi_lease_returned(&another, &grant));
    EQUAL(grant.id, 2);
    EQUAL(slot_of(2)->member, 1);
    lqi_member_leave(&another); /* and gives back what it holds, and that only */
    EQUAL(world.slot->member_count, 1);
    EQUAL(world.region->members[1].handle_generation, 0);
    EQUAL(atomic_load(&world.slot->returned), 2);
    EQUAL(atomic_load(&world.slot->unacked), 2);
    world.slot->member_count = 0;
    lqi_member_leave(&another);
    EQUAL(world.slot->member_count, 0);
    unlock();
    end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_DIRECTORY(a_lease_is_accounted_for),
        IN_DIRECTORY(each_settlement_is_accounted_for),
        IN_DIRECTORY(only_the_member_that_holds_it_may_settle),
        IN_DIRECTORY(what_came_back_goes_out_again_the_lowest_first),
        IN_DIRECTORY(only_what_is_out_is_looked_through),
        IN_DIRECTORY(stepping_over_is_accounted_for),
        IN_DIRECTORY(after_a_death_everything_is_counted_anew),
        IN_DIRECTORY(a_message_is_settled_when_its_slot_says_so_twice_and_it_was_delivered),
        IN_DIRECTORY(whoever_inherits_the_lock_mends_by_whatever_way_he_has),
        IN_DIRECTORY(numbers_that_no_member_leaves_are_not_worked_with),
        IN_DIRECTORY(a_handle_lives_while_its_byte_is_locked_and_nobody_has_taken_its_place),
        IN_DIRECTORY(the_dead_are_looked_for_when_something_is_out_and_not_too_often),
        IN_DIRECTORY(the_first_of_the_members_may_be_dead_too),
        IN_DIRECTORY(who_has_gone_without_the_lock_is_dead_though_its_handle_lives),
        IN_DIRECTORY(no_more_members_join_than_there_are_places),
        IN_DIRECTORY(whoever_joins_buries_the_dead_and_takes_the_first_free_place),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
