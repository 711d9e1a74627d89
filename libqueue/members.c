/* Leases and settlements, in an order that survives death. See members.h. */
#include "members.h"

#include "bytes.h"

/* ---- small steps --------------------------------------------------------- */

static void set(_Atomic uint64_t *value, uint64_t to)
{
    atomic_store_explicit(value, to, memory_order_release);
}

static void add(_Atomic uint64_t *value, int64_t by)
{
    set(value, atomic_load_explicit(value, memory_order_relaxed) + (uint64_t)by);
}

static void touch(struct lqi_consumer_slot *consumer, uint64_t id)
{
    consumer->dirty_low = lqi_min64(consumer->dirty_low, id);
    consumer->dirty_high = lqi_max64(consumer->dirty_high, id);
    add(&consumer->unsaved, 1);
}

static uint64_t seal_of(const struct lqi_consumer_slot *consumer, uint64_t id)
{
    return consumer->incarnation ^ ~id;
}

/* Death between the two stores: the ack had not been answered, and the message comes again. */
void lqi_slot_settle(const struct lqi_consumer_slot *consumer, struct lqi_slot *slot, uint64_t id)
{
    slot->state = LQI_SLOT_SETTLED;
    slot->position = seal_of(consumer, id);
}

bool lqi_slot_is_settled(const struct lqi_consumer_slot *consumer, const struct lqi_slot *slot, uint64_t id)
{
    return slot->state == LQI_SLOT_SETTLED && slot->position == seal_of(consumer, id);
}

void lqi_consumer_reincarnate(struct lqi_consumer_slot *consumer, struct lqi_region *region, uint64_t incarnation)
{
    for (uint64_t id = lqi_floor(consumer) + 1; id <= lqi_delivered(consumer); id++) {
        struct lqi_slot *slot = lqi_slot_of(consumer, region, id);
        if (lqi_slot_is_settled(consumer, slot, id)) slot->position ^= consumer->incarnation ^ incarnation;
    }
    consumer->incarnation = incarnation;
}

static void advance_floor(struct lqi_consumer_slot *consumer, struct lqi_region *region)
{
    uint64_t floor = lqi_floor(consumer), delivered = lqi_delivered(consumer);

    while (floor < delivered && lqi_slot_is_settled(consumer, lqi_slot_of(consumer, region, floor + 1), floor + 1)) floor++;
    lqi_set_floor(consumer, floor);
}

/* ---- the lock ----------------------------------------------------------- */

void lqi_consumer_mend(struct lqi_consumer_slot *consumer, struct lqi_region *region)
{
    uint64_t unacked = 0, returned = 0;

    if (lqi_delivered(consumer) < lqi_floor(consumer)) set(&consumer->delivered, lqi_floor(consumer));
    advance_floor(consumer, region);
    for (uint64_t id = lqi_floor(consumer) + 1; id <= lqi_delivered(consumer); id++) {
        struct lqi_slot *slot = lqi_slot_of(consumer, region, id);
        if (lqi_slot_is_settled(consumer, slot, id)) continue;
        if (slot->state != LQI_SLOT_LEASED) slot->state = LQI_SLOT_READY;
        unacked += slot->state == LQI_SLOT_LEASED;
        returned += slot->state == LQI_SLOT_READY;
    }
    set(&consumer->unacked, unacked);
    set(&consumer->returned, returned);
    consumer->returned_hint = lqi_floor(consumer) + 1;
    consumer->member_count = 0;
    for (size_t i = 0; i < LQI_MEMBERS_MAX; i++)
        if (region->members[i].handle_generation) consumer->member_count++;
    consumer->dirty_low = lqi_floor(consumer) + 1;
    consumer->dirty_high = lqi_delivered(consumer);
    add(&consumer->unsaved, 1);
}

/* Could a member have left these numbers, dead or not? Else somebody has written over the file, and loops over them would never
 * end. Not LQ_ECORRUPT, by which GET says that the next call goes on behind the damage: here none does. */
static int check_numbers(const struct lqi_shared_map *map, const struct lqi_consumer_slot *consumer)
{
    uint64_t floor = lqi_floor(consumer), delivered = lqi_delivered(consumer);

    if (atomic_load_explicit(&consumer->state, memory_order_acquire) != LQI_CONSUMER_USED) return LQ_OK; /* about to be made, perhaps */
    if (delivered <= floor || delivered - floor <= consumer->window) return LQ_OK; /* below: see lqi_skip_to() */
    return lqi_fail(LQ_EIO, "%s: the numbers of consumer '%.100s' make no sense: was it written over while in use? Close all handles and open the queue again",
                    map->file.name, consumer->name);
}

/* The lock's owner died inside; the state is mended by the first who can reach the slots. */
static int mend_after_death(struct lqi_shared_map *map, struct lqi_consumer_slot *consumer, struct lqi_region *region)
{
    struct lqi_region *mapped = NULL;
    if (!region && consumer->region_ready) {
        int err = lqi_region_map(map, consumer, &mapped);
        if (err) return err;
    }
    if (consumer->region_ready) lqi_consumer_mend(consumer, region ? region : mapped);
    lqi_region_unmap(map, mapped, consumer->window);
    consumer->broken = 0;
    return LQ_OK;
}

int lqi_consumer_lock(struct lqi_shared_map *map, struct lqi_consumer_slot *consumer, struct lqi_region *region)
{
    int got = lqi_lock(&consumer->lock, "consumer lock");
    if (got < 0) return got;
    if (got == LQI_INHERITED) {
        /* In this order: a lock that is given up unmended is lost for ever. */
        consumer->broken = 1;
        lqi_lock_mend(&consumer->lock);
    }
    int err = check_numbers(map, consumer);
    if (!err && consumer->broken) err = mend_after_death(map, consumer, region);
    if (err) lqi_unlock(&consumer->lock);
    return err;
}

void lqi_consumer_unlock(struct lqi_consumer_slot *consumer)
{
    lqi_unlock(&consumer->lock);
}

/* ---- who lives ---------------------------------------------------------- */

bool lqi_handle_alive(struct lqi_shared_map *map, const struct lqi_file *meta_file, uint32_t own_handle, uint32_t handle,
                      uint64_t generation)
{
    bool locked = false;

    if (handle >= LQI_HANDLES_MAX || atomic_load(&map->head->handles[handle].generation) != generation) return false;
    if (handle == own_handle) return true;
    /* When in doubt, alive: a message must not be handed out twice because a call failed. */
    if (map->io->locked(map->io, meta_file->fd, LQI_BYTE_HANDLE + handle, 1, &locked)) return true;
    return locked;
}

static void give_back(struct lqi_consumer_slot *consumer, struct lqi_slot *slot, uint64_t id)
{
    slot->state = LQI_SLOT_READY;
    consumer->returned_hint = lqi_min64(consumer->returned_hint, id);
    add(&consumer->returned, 1);
    add(&consumer->unacked, -1);
    touch(consumer, id);
}

/* Takes back everything that the member holds. */
static void take_back(struct lqi_member *member, uint32_t index)
{
    struct lqi_consumer_slot *consumer = member->consumer;

    for (uint64_t id = lqi_floor(consumer) + 1; id <= lqi_delivered(consumer); id++) {
        struct lqi_slot *slot = lqi_slot_of(consumer, member->region, id);
        if (slot->state == LQI_SLOT_LEASED && slot->member == index) give_back(consumer, slot, id);
    }
    member->region->members[index].handle_generation = 0;
    if (consumer->member_count) consumer->member_count--;
}

static bool is_dead(struct lqi_member *member, uint32_t index)
{
    const struct lqi_member_slot *other = &member->region->members[index];
    return other->handle_generation && !lqi_handle_alive(member->map, member->meta_file, member->handle, other->handle,
                                                         other->handle_generation);
}

static void bury_the_dead(struct lqi_member *member)
{
    uint64_t before = atomic_load(&member->consumer->returned);

    for (uint32_t i = 0; i < LQI_MEMBERS_MAX; i++)
        if (is_dead(member, i)) take_back(member, i);
    if (atomic_load(&member->consumer->returned) > before) lqi_bell_ring(&member->map->head->log.arrived);
}

void lqi_reap(struct lqi_member *member)
{
    struct lqi_consumer_slot *consumer = member->consumer;
    int64_t now;

    if (atomic_load_explicit(&consumer->unacked, memory_order_relaxed) == 0 || consumer->member_count < 2) return;
    now = lqi_now_us();
    if (now - atomic_load_explicit(&consumer->reaped_us, memory_order_relaxed) < LQI_REAP_US) return;
    atomic_store_explicit(&consumer->reaped_us, now, memory_order_relaxed);
    bury_the_dead(member);
}

int lqi_member_join(struct lqi_member *member)
{
    bury_the_dead(member);
    for (uint32_t i = 0; i < LQI_MEMBERS_MAX; i++) {
        struct lqi_member_slot *slot = &member->region->members[i];
        if (slot->handle_generation) continue;
        member->index = i;
        slot->handle = member->handle;
        slot->handle_generation = member->handle_generation;
        member->consumer->member_count++;
        return LQ_OK;
    }
    return lqi_fail(LQ_ELIMIT, "consumer '%s' has %d members already", member->consumer->name, LQI_MEMBERS_MAX);
}

void lqi_member_leave(struct lqi_member *member)
{
    uint64_t before = atomic_load(&member->consumer->returned);
    take_back(member, member->index);
    if (atomic_load(&member->consumer->returned) > before) lqi_bell_ring(&member->map->head->log.arrived);
}

void lqi_member_abandon(struct lqi_member *member)
{
    atomic_store(&member->region->members[member->index].handle_generation, UINT64_MAX);
}

/* ---- handing out -------------------------------------------------------- */

static void lease(struct lqi_member *member, struct lqi_slot *slot, uint64_t id, struct lqi_grant *grant_out)
{
    struct lqi_consumer_slot *consumer = member->consumer;

    if (++consumer->lease == 0) consumer->lease = 1;
    slot->lease = consumer->lease;
    slot->member = (uint16_t)member->index;
    if (slot->attempts < LQI_ATTEMPTS_MAX) slot->attempts++;
    slot->state = LQI_SLOT_LEASED;
    add(&consumer->unacked, 1);
    touch(consumer, id);
    *grant_out = (struct lqi_grant){id, slot->position, slot->lease, slot->attempts};
}

void lqi_lease_next(struct lqi_member *member, uint64_t position, struct lqi_grant *grant_out)
{
    uint64_t id = lqi_delivered(member->consumer) + 1;
    struct lqi_slot *slot = lqi_slot_of(member->consumer, member->region, id);

    *slot = (struct lqi_slot){.position = position};
    lease(member, slot, id, grant_out);
    set(&member->consumer->delivered, id);
}

bool lqi_lease_returned(struct lqi_member *member, struct lqi_grant *grant_out)
{
    struct lqi_consumer_slot *consumer = member->consumer;
    uint64_t id = lqi_max64(consumer->returned_hint, lqi_floor(consumer) + 1);

    if (atomic_load_explicit(&consumer->returned, memory_order_relaxed) == 0) return false;
    for (; id <= lqi_delivered(consumer); id++) {
        struct lqi_slot *slot = lqi_slot_of(consumer, member->region, id);
        if (slot->state != LQI_SLOT_READY) continue;
        consumer->returned_hint = id + 1;
        lease(member, slot, id, grant_out);
        add(&consumer->returned, -1);
        return true;
    }
    set(&consumer->returned, 0);
    return false;
}

bool lqi_skip_to(struct lqi_member *member, uint64_t last, bool dropped)
{
    struct lqi_consumer_slot *consumer = member->consumer;
    uint64_t floor = lqi_floor(consumer), id = lqi_delivered(consumer);

    if (last <= id) return true;
    if (dropped) add(&consumer->dropped, (int64_t)(last - id));
    add(&consumer->unsaved, 1);
    if (floor == id) { /* nothing is out: no slots are needed, and none may come to count if we die in between */
        lqi_set_floor(consumer, last);
        set(&consumer->delivered, last);
        return true;
    }
    while (id < last && id - floor < consumer->window) {
        struct lqi_slot *slot = lqi_slot_of(consumer, member->region, ++id);
        *slot = (struct lqi_slot){0};
        lqi_slot_settle(consumer, slot, id);
        set(&consumer->delivered, id);
        touch(consumer, id);
    }
    if (dropped) add(&consumer->dropped, -(int64_t)(last - id));
    return id == last;
}

/* ---- settling ----------------------------------------------------------- */

static int not_held(uint64_t id)
{
    return lqi_fail(LQ_ELEASE, "message %llu is not leased to this member (any more)", (unsigned long long)id);
}

int lqi_settle(struct lqi_member *member, uint64_t id, uint32_t token, enum lqi_settlement how)
{
    struct lqi_consumer_slot *consumer = member->consumer;
    uint64_t delivered = lqi_delivered(consumer);

    /* Slots of ids a window behind have been used again. */
    if (id == 0 || id > delivered || delivered - id >= consumer->window) return not_held(id);
    struct lqi_slot *slot = lqi_slot_of(consumer, member->region, id);
    if (slot->lease != token || slot->member != member->index) return not_held(id);
    if (slot->state == LQI_SLOT_SETTLED && how == LQI_ACK) return LQ_OK;
    if (slot->state != LQI_SLOT_LEASED) return not_held(id);

    if (how == LQI_ACK || how == LQI_DROP) {
        if (how == LQI_DROP) add(&consumer->dropped, 1);
        lqi_slot_settle(consumer, slot, id);
        add(&consumer->unacked, -1);
        touch(consumer, id);
        if (id == lqi_floor(consumer) + 1) {
            bool full = delivered - lqi_floor(consumer) >= consumer->window;
            advance_floor(consumer, member->region);
            if (full) lqi_bell_ring(&member->map->head->log.arrived); /* others may wait for the window to move */
        }
        return LQ_OK;
    }
    if (how == LQI_UNDO && slot->attempts) slot->attempts--;
    give_back(consumer, slot, id);
    lqi_bell_ring(&member->map->head->log.arrived);
    return LQ_OK;
}
