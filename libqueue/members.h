/* A consumer's messages above its floor, and the members who hold them: leasing,
 * settling, giving back, and taking back from the dead.
 *
 * All of it lies in shared memory and is guarded by the consumer's lock. Its owner may
 * die between any two stores; so every change is made in an order in which
 * the next owner can mend it from the slots alone:
 *
 *   hand out     slot (leased, attempt counted), then delivered        not delivered: the slot does not count
 *   settle       slot (settled), then floor                            the floor catches up
 *   step over    floor, then delivered                                 delivered catches up
 *   next record  delivered, then next_position                         an older place is walked on from
 *
 * The counts (unacked, returned) are counted again. tests/model/lease.pml is a model of this and of members.c, store by
 * store: it changes with them. */
#ifndef LQI_MEMBERS_H
#define LQI_MEMBERS_H

#include "shared.h"

/* One member's way to its consumer. */
struct lqi_member {
    struct lqi_shared_map *map;
    const struct lqi_file *meta_file; /* whose bytes prove who is alive */
    struct lqi_consumer_slot *consumer;
    struct lqi_region *region;
    uint32_t window;                  /* as mapped: the slot may be another consumer's once this member has left */
    uint64_t handle_generation;
    uint32_t handle;
    uint32_t index;
};

struct lqi_grant {
    uint64_t id, position;
    uint32_t lease, attempts;
};

/* Takes the consumer's lock, mending what a dead owner left. LQ_EBUSY; LQ_EIO, also when its numbers make no sense. */
int lqi_consumer_lock(struct lqi_shared_map *map, struct lqi_consumer_slot *consumer, struct lqi_region *region);
void lqi_consumer_unlock(struct lqi_consumer_slot *consumer);

/* For the owner of the lock: */
int lqi_member_join(struct lqi_member *member); /* sets index; LQ_ELIMIT */
void lqi_member_leave(struct lqi_member *member); /* gives back all it holds */

/* Without the lock, for one who cannot have it and goes: it counts as dead from now on, as if its handle did not live any more. */
void lqi_member_abandon(struct lqi_member *member);

/* For the owner of the lock again: */
/* Leases the message `id` = delivered + 1, in the record at `position`. */
void lqi_lease_next(struct lqi_member *member, uint64_t position, struct lqi_grant *grant_out);
/* Leases the lowest message that waits to come again; false when there is none. */
bool lqi_lease_returned(struct lqi_member *member, struct lqi_grant *grant_out);
/* Marks the messages up to `last` (from delivered + 1 on) as settled without handing them out, as far
 * as the window allows; true when all were. */
bool lqi_skip_to(struct lqi_member *member, uint64_t last, bool dropped);

/* UNDO: give back, and the attempt did not happen. DROP: settled, because retention has deleted it. */
enum lqi_settlement { LQI_ACK, LQI_GIVE_BACK, LQI_UNDO, LQI_DROP };
/* LQ_OK; LQ_ELEASE when this member does not hold it; an ack that was done already is LQ_OK. */
int lqi_settle(struct lqi_member *member, uint64_t id, uint32_t lease, enum lqi_settlement how);

/* Takes back what dead members hold, if anybody else's messages are out and nobody has looked for LQI_REAP_US. */
#define LQI_REAP_US 20000
void lqi_reap(struct lqi_member *member);

/* True when the handle in this slot, of this generation, lives. */
bool lqi_handle_alive(struct lqi_shared_map *map, const struct lqi_file *meta_file, uint32_t own_handle, uint32_t handle,
                      uint64_t generation);

/* That a message is settled is said twice, by the state and by a seal in place of the position that nobody needs any more. So no
 * stray byte in the memory of the dead takes a message away, nor does the slot of another id or of another consumer. */
void lqi_slot_settle(const struct lqi_consumer_slot *consumer, struct lqi_slot *slot, uint64_t id);
bool lqi_slot_is_settled(const struct lqi_consumer_slot *consumer, const struct lqi_slot *slot, uint64_t id);

/* Changes the incarnation, and with it the seals. */
void lqi_consumer_reincarnate(struct lqi_consumer_slot *consumer, struct lqi_region *region, uint64_t incarnation);

/* Moves the floor over settled messages; counts what is out; after load or death. */
void lqi_consumer_mend(struct lqi_consumer_slot *consumer, struct lqi_region *region);

static inline struct lqi_slot *lqi_slot_of(const struct lqi_consumer_slot *consumer, struct lqi_region *region, uint64_t id)
{
    return &region->slots[id % consumer->window];
}

static inline uint64_t lqi_floor(const struct lqi_consumer_slot *consumer)
{
    return atomic_load_explicit(&consumer->floor, memory_order_relaxed);
}

static inline void lqi_set_floor(struct lqi_consumer_slot *consumer, uint64_t floor)
{
    atomic_store_explicit(&consumer->floor, floor, memory_order_release);
    consumer->not_floor = ~floor;
}

static inline uint64_t lqi_delivered(const struct lqi_consumer_slot *consumer)
{
    return atomic_load_explicit(&consumer->delivered, memory_order_relaxed);
}

#endif
