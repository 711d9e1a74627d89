/* `shared`: the working memory of all processes that have a queue open. One mapped file:
 *
 *   head (struct lqi_shared)  |  ring  |  consumers' regions, one after the other
 *
 * It survives the death of every process and is believed only as far as it
 * verifies; it never survives a boot, for its robust locks would hang. Each
 * population of handles, from the first that opens to the last that closes,
 * sets it up anew, in place: the disk space it has taken stays its own, so that a queue
 * on a full disk can still be opened and consumed.
 *
 * Who is alive is proved by kernel locks on bytes of the file `meta` (which, unlike this one,
 * nobody has a reason to delete), never by process numbers or time-outs:
 *
 *   LQI_BYTE_OPEN       whoever opens or closes a handle, for that moment
 *   LQI_BYTE_HANDLE+i   the handle in slot i, as long as it lives (and on that byte of this file, too, in case somebody
 *                       replaces `meta` nevertheless)
 *
 * The locks belong to the open file, so they go with the process; a forked child gives up
 * its copy at once (process.c). */
#ifndef LQI_SHARED_H
#define LQI_SHARED_H

#include "io.h"
#include "position.h"
#include "ring.h"
#include "segment.h"
#include "wait.h"

#define LQI_SHARED_NAME "shared"
#define LQI_SHARED_VERSION 4
#define LQI_BYTE_OPEN ((uint64_t)1 << 30)
#define LQI_BYTE_HANDLE (LQI_BYTE_OPEN + 1)
#define LQI_HANDLES_MAX 256
#define LQI_CONSUMERS_MAX 256
#define LQI_MEMBERS_MAX 256
#define LQI_INDEX_MAX 1024

/* What the owner of the append lock knows of the log's end. Two copies: the next
 * one is filled while the other stands, and log.turn commits it in one store, so
 * that death in between leaves the old one. */
struct lqi_tail {
    uint64_t end;      /* position of the next record */
    uint64_t next_id;
    int64_t time_us;   /* of the last record: time never goes back */
    uint64_t records;  /* appended by this population */
    uint64_t span;     /* number of the span that `end` lies in */
    uint32_t index_count, unused;
    uint64_t indexed;  /* position of the last index entry */
    uint64_t mark;     /* end of the last record, if that is a mark of all before it; else 0 */
    uint64_t direct;   /* end of the last record that went to its file directly: the ring starts there */
};

/* Copied word by word, for those who look without the lock, and find out afterwards whether they may believe it. */
static inline void lqi_tail_copy(struct lqi_tail *to, const struct lqi_tail *from)
{
    typedef uint64_t __attribute__((may_alias)) word;
    const word *source = (const word *)from;
    word *target = (word *)to;
    for (size_t i = 0; i < sizeof *to / sizeof *target; i++)
        __atomic_store_n(&target[i], __atomic_load_n(&source[i], __ATOMIC_RELAXED), __ATOMIC_RELAXED);
}

/* A segment of which bytes are, or may be, in the ring. At most two: the
 * one that is being written out, and the next. Number n is in slot n % 2. */
struct lqi_span {
    _Atomic uint64_t position, salt, first_id;
    uint64_t durable;
    int64_t created_us;
    uint64_t limit;          /* records end here at the latest */
    int64_t first_time_us;   /* of its first record */
    uint32_t sealed;         /* it cannot be written: sealed already, or not there at all */
    _Atomic uint32_t allocated; /* its file has disk space up to `limit` and for its index */
    struct lqi_segment_end end; /* filled when the next span begins */
    struct lqi_index_entry index[LQI_INDEX_MAX];
};

/* In groups on cache lines of their own: what the putter alone writes at each append, what readers then look at, and what
 * hardly changes, must not drag each other from one CPU to another. */
struct lqi_log_state {
    _Alignas(64) struct lqi_lock append;
    _Atomic uint64_t turn;       /* tails[turn % 2] counts */
    struct lqi_tail tails[2];

    _Alignas(64) struct lqi_ring_state ring;
    _Atomic uint64_t append_span; /* = span of the committed tail, for readers */
    _Atomic uint64_t written;    /* in the files up to here */
    _Atomic uint64_t synced;     /* durable up to here */
    _Atomic uint64_t synced_id;  /* and every message up to this id */
    _Atomic uint64_t write_span; /* number of the span whose file is being written */

    _Alignas(64) struct lqi_bell arrived; /* rung when messages become visible or come back */
    struct lqi_bell durable;     /* rung when `synced` has moved */
    struct lqi_bell room;        /* rung when segments were deleted */

    _Alignas(64) struct lqi_lock write, sync, trim;
    _Atomic uint32_t lead_in_doubt, roll_in_doubt; /* a sync is under way, or has failed, or whoever knows has died: see writeout.c */
    _Atomic uint64_t last_group; /* records in the last group commit */
    _Atomic uint64_t synced_records;

    _Alignas(64) _Atomic uint64_t first_id; /* the oldest message kept */
    _Atomic uint64_t first_position; /* of its segment */
    _Atomic uint64_t second_id;      /* first id of the oldest segment behind it that decides what goes (retain.c); 0: none */
    _Atomic uint64_t prepared;   /* number of a span for which an empty file is ready; 0 none */
    struct lqi_span spans[2];
};

struct lqi_handle_slot {
    _Atomic uint64_t generation; /* odd: taken. Counts up at each taking and leaving */
};

/* A member of a consumer, in the consumer's region. */
struct lqi_member_slot {
    _Atomic uint64_t handle_generation; /* 0: free; that of no handle: the member has gone without the lock */
    uint32_t handle;
    uint32_t unused;
};

/* A message above the floor: settled, handed out, or waiting to come again. */
enum lqi_slot_state { LQI_SLOT_READY = 0, LQI_SLOT_LEASED = 1, LQI_SLOT_SETTLED = 2 };
#define LQI_ATTEMPTS_MAX 0x3fffu

struct lqi_slot {
    uint64_t position; /* of its record; LQI_POSITION_UNKNOWN after a restart; settled: the seal, see lqi_slot_is_settled() */
    uint32_t lease;    /* token of the last hand-out */
    uint16_t member;
    uint16_t state : 2, attempts : 14;
};
#define LQI_POSITION_UNKNOWN UINT64_MAX

struct lqi_region { /* of one consumer, behind the ring */
    struct lqi_member_slot members[LQI_MEMBERS_MAX];
    struct lqi_slot slots[]; /* `window` of them; id i in slot i % window. Then the sides of the blocks of the offset file */
};

static inline uint64_t *lqi_region_sides(struct lqi_region *region, uint32_t window)
{
    return (uint64_t *)(region->slots + window);
}

enum lqi_consumer_state { LQI_CONSUMER_FREE = 0, LQI_CONSUMER_USED = 1, LQI_CONSUMER_DAMAGED = 2 };

/* A consumer's live state. All but the atomics is guarded by `lock`; the order in
 * which members.c stores makes it mendable wherever its owner dies. */
struct lqi_consumer_slot {
    struct lqi_lock lock;
    _Atomic uint32_t state;
    _Atomic uint32_t going;       /* its deletion has begun: when its file is gone so is it, whatever `state` says */
    uint32_t window;
    char name[LQ_NAME_MAX + 4];
    _Atomic uint64_t floor, delivered;
    uint64_t not_floor;           /* ~floor, stored behind it: of the dead the lower of the two counts, and the slots tell the rest */
    _Atomic uint64_t next_position; /* of the record that holds delivered + 1, or one before it */
    _Atomic uint64_t unacked, returned, dropped; /* counts; returned: waiting to come again */
    uint64_t returned_hint;       /* no message below it waits to come again */
    uint32_t lease;               /* the last token given */
    uint32_t member_count;
    uint64_t region_offset;       /* in `shared`; 0: none yet */
    uint64_t region_size;
    uint32_t region_ready;        /* its slots hold this consumer's state */
    uint32_t broken;              /* somebody died with the lock, and nobody has mended it yet */
    /* the offset file */
    uint64_t sequence;            /* of its newest entry */
    uint64_t epoch;               /* ends with each sync */
    uint64_t incarnation;
    uint64_t dirty_low, dirty_high; /* ids whose words changed since; low > high: none */
    _Atomic uint64_t unsaved;     /* changes since */
    _Atomic uint32_t unsynced;    /* written, but not synced */
    _Atomic uint32_t in_doubt;    /* a sync of it is under way, or has failed, or whoever knows has died */
    int64_t saved_us;
    _Atomic int64_t reaped_us;    /* when somebody last looked for dead members */
};

/* This and `clean` behind it are at the same places in every version, so that each can tell what another has left. */
struct lqi_identity {
    uint8_t magic[8];
    uint32_t version, head_size;
    uint64_t ring_size;
    uint8_t boot_id[16], uuid[16];
    uint64_t inode;               /* of this very file: a copy is not it */
    _Atomic uint32_t ready;       /* set up to the end */
    uint32_t unused;
};

struct lqi_shared {
    struct lqi_identity identity;
    _Atomic uint32_t clean;       /* closed by its last handle: everything is in the files */
    _Atomic uint32_t poisoned;
    _Atomic uint64_t size;        /* of the file, as far as regions have been given out */
    _Atomic uint64_t recovered_bytes, recovered_messages, damage;
    struct lqi_lock admin;        /* guards regions and the naming of consumers */
    struct lqi_log_state log;
    struct lqi_handle_slot handles[LQI_HANDLES_MAX];
    struct lqi_consumer_slot consumers[LQI_CONSUMERS_MAX];
};

#define LQI_SHARED_HEAD ((sizeof(struct lqi_shared) + 4095) & ~(size_t)4095)

/* One handle's hold on it. */
struct lqi_shared_map {
    const struct lqi_io *io;
    struct lqi_file file;
    struct lqi_shared *head; /* NULL: not mapped */
    size_t ring_size;
    bool writable;
};

#define LQI_SHARED_NONE {NULL, LQI_FILE_NONE, NULL, 0, false}

/* Maps the file if it is a working memory of this queue and this boot, whole and set up; LQ_ENOTFOUND if there is none
 * or it is stale (nothing in it counts), LQ_ECORRUPT if it is of this boot and queue but its numbers make no sense, LQ_EVERSION if it is
 * another version's, and that one's to close, as it may have what is nowhere else. */
int lqi_shared_attach(struct lqi_shared_map *map, const struct lqi_io *io, int dir, const uint8_t uuid[16],
                      bool writable);

/* Makes the file or takes the one that is there, all disk space backed, and sets its head to zero but for its identity;
 * `ready` is left 0. Only with the open lock, when no handle lives. LQ_ENOSPC leaves it unusable, which loses nothing. */
int lqi_shared_create(struct lqi_shared_map *map, const struct lqi_io *io, int dir, const uint8_t uuid[16],
                      uint64_t ring_size, uint32_t mode);
void lqi_shared_detach(struct lqi_shared_map *map);

/* Syncs a file of the queue while nobody lives who could be told of a failure: that is noted in `map`, the memory of the dead
 * or a new one, for whoever opens next; what the sync was for may be in the page cache only. `map` may be NULL. */
int lqi_shared_sync(struct lqi_shared_map *map, const struct lqi_file *file);

/* Has a sync failed in that population, or may one have, and who was told has died before he could say so? */
bool lqi_sync_doubtful(const struct lqi_shared *head);

void lqi_shared_ring(const struct lqi_shared_map *map, struct lqi_ring *ring_out);

/* A consumer's region: makes one of `window` slots (with the admin lock; reuses a free one's), maps, unmaps. */
size_t lqi_region_size(uint32_t window);
int lqi_region_make(struct lqi_shared_map *map, struct lqi_consumer_slot *consumer);
int lqi_region_map(struct lqi_shared_map *map, const struct lqi_consumer_slot *consumer, struct lqi_region **region_out);
void lqi_region_unmap(struct lqi_shared_map *map, struct lqi_region *region, uint32_t window);

#endif
