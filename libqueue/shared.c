/* Making, mapping and believing the working memory. */
#include "shared.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "bytes.h"

/* All processes must see the same layout: head_size tells most differences, these the rest. What lies here is read and written
 * by several at once, in whole words, and on cache lines as shared.h groups them. */
_Static_assert(sizeof(_Atomic uint64_t) == 8 && sizeof(_Atomic uint32_t) == 4, "atomics are nothing but their value");
_Static_assert(ATOMIC_LLONG_LOCK_FREE == 2 && ATOMIC_INT_LOCK_FREE == 2, "and need no lock, which would not be shared");
_Static_assert(offsetof(struct lqi_shared, identity) == 0 && sizeof(struct lqi_identity) == 72, "what every version finds first");
_Static_assert(sizeof(struct lqi_tail) == 72, "a tail is copied word by word");
_Static_assert(sizeof(struct lqi_slot) == 16 && sizeof(struct lqi_member_slot) == 16, "slots have no gaps");
_Static_assert(offsetof(struct lqi_region, slots) == LQI_MEMBERS_MAX * sizeof(struct lqi_member_slot), "slots stand behind the members");
_Static_assert(LQI_ATTEMPTS_MAX < 1u << 14 && LQI_ATTEMPTS_MAX <= LQI_WORD_ATTEMPTS, "attempts fit into a slot and into a word");
_Static_assert(LQI_MEMBERS_MAX <= UINT16_MAX, "a slot names its member in 16 bits");
_Static_assert(offsetof(struct lqi_shared, log) % 64 == 0 && offsetof(struct lqi_log_state, ring) % 64 == 0 &&
               offsetof(struct lqi_log_state, arrived) % 64 == 0 && offsetof(struct lqi_log_state, write) % 64 == 0 &&
               offsetof(struct lqi_log_state, first_id) % 64 == 0, "what different sides write is on different cache lines");
_Static_assert(LQI_SHARED_HEAD % 4096 == 0, "the ring begins on a page");

static const uint8_t magic[8] = "LQshared";

#define RING_SIZE_MIN ((uint64_t)64 << 10)
#define RING_SIZE_MAX ((uint64_t)1 << 30)

/* ---- mapping ------------------------------------------------------------ */

static int map_head(struct lqi_shared_map *map, uint64_t ring_size)
{
    void *memory;
    int error = map->io->map(map->io, map->file.fd, 0, LQI_SHARED_HEAD + ring_size, ring_size, map->writable, &memory);
    if (error) return lqi_fail_errno(error, "map", map->file.name, -1);
    map->head = memory;
    map->ring_size = ring_size;
    return LQ_OK;
}

void lqi_shared_detach(struct lqi_shared_map *map)
{
    if (map->head) map->io->unmap(map->io, map->head, LQI_SHARED_HEAD + map->ring_size, map->ring_size);
    map->head = NULL;
    lqi_file_close(&map->file);
}

int lqi_shared_sync(struct lqi_shared_map *map, const struct lqi_file *file)
{
    int err = lqi_file_sync(file);
    if (err && map) atomic_store(&map->head->poisoned, 1);
    return err;
}

bool lqi_sync_doubtful(const struct lqi_shared *head)
{
    return atomic_load(&head->poisoned) || atomic_load(&head->log.lead_in_doubt) || atomic_load(&head->log.roll_in_doubt);
}

void lqi_shared_ring(const struct lqi_shared_map *map, struct lqi_ring *ring_out)
{
    ring_out->state = &map->head->log.ring;
    ring_out->bytes = (uint8_t *)map->head + LQI_SHARED_HEAD;
    ring_out->size = map->ring_size;
}

/* ---- believing ---------------------------------------------------------- */

/* The numbers by which everything else in the file is reached. How they fit each other cannot be asked, as they
 * may move while we look; what lies behind them is checked where it is used. */
static bool sane(const struct lqi_shared *head, uint64_t size, uint64_t file_size)
{
    return size <= file_size && atomic_load(&head->log.ring.appended) < LQI_ID_END;
}

static bool sane_ring(uint64_t size, uint64_t file_size)
{
    return size >= RING_SIZE_MIN && size <= RING_SIZE_MAX && (size & (size - 1)) == 0 && size <= file_size - LQI_SHARED_HEAD;
}

/* What is read of it before it is mapped. */
struct opening {
    struct lqi_identity identity;
    uint32_t clean;
};
_Static_assert(sizeof(struct lqi_identity) == 72 && offsetof(struct lqi_shared, clean) == offsetof(struct opening, clean), "other versions look there");

/* Of this boot, this queue and this very file: otherwise its locks and numbers are somebody else's. */
static bool current(const struct lqi_identity *head, const uint8_t boot_id[16], const uint8_t uuid[16], uint64_t inode)
{
    return memcmp(head->magic, magic, sizeof magic) == 0 && memcmp(head->boot_id, boot_id, 16) == 0 &&
           memcmp(head->uuid, uuid, 16) == 0 && head->inode == inode && atomic_load(&head->ready);
}

static bool same_version(const struct lqi_identity *head)
{
    return head->version == LQI_SHARED_VERSION && head->head_size == sizeof(struct lqi_shared);
}

static int this_boot(const struct lqi_io *io, uint8_t id[16])
{
    int error = io->boot_id(io, id);
    return error ? lqi_fail_errno(error, "read", "the id of this boot", -1) : LQ_OK;
}

static int stale(void)
{
    return lqi_fail(LQ_ENOTFOUND, "%s is not of this boot, queue or library", LQI_SHARED_NAME);
}

static int other_version(const struct lqi_identity *head)
{
    return lqi_fail(LQ_EVERSION, "%s is in use by another build of the library, or was left by one that died (version %" PRIu32 ", %" PRIu32 " bytes; this is %d, %zu): "
                    "close or open the queue with that one; without the file what it has not written is lost",
                    LQI_SHARED_NAME, head->version, head->head_size, LQI_SHARED_VERSION, sizeof(struct lqi_shared));
}

/* Looks at the head through a small read, so that a foreign file is never mapped. */
static int read_identity(const struct lqi_file *file, const uint8_t uuid[16], uint64_t *ring_size_out)
{
    struct lqi_io_stat stat;
    struct opening opening;
    const struct lqi_identity *identity = &opening.identity;
    size_t got;
    uint8_t boot_id[16];

    int error = file->io->stat(file->io, file->fd, &stat);
    if (error) return lqi_fail_errno(error, "look at", file->name, -1);
    int err = this_boot(file->io, boot_id);
    if (!err) err = lqi_file_read(file, 0, &opening, sizeof opening, &got);
    if (err) return err;
    if (got != sizeof opening || !current(identity, boot_id, uuid, stat.inode)) return stale();
    if (!same_version(identity)) return opening.clean ? stale() : other_version(identity);
    if (stat.size < LQI_SHARED_HEAD + RING_SIZE_MIN) return stale();
    if (!sane_ring(identity->ring_size, stat.size))
        return lqi_fail(LQ_ECORRUPT, "%s: ring size %" PRIu64 " makes no sense", file->name, identity->ring_size);
    *ring_size_out = identity->ring_size;
    return LQ_OK;
}

int lqi_shared_attach(struct lqi_shared_map *map, const struct lqi_io *io, int dir, const uint8_t uuid[16],
                      bool writable)
{
    uint64_t ring_size = 0, size = 0, file_size = 0;

    *map = (struct lqi_shared_map){.io = io, .file = LQI_FILE_NONE, .writable = writable};
    int err = lqi_file_open(&map->file, io, dir, LQI_SHARED_NAME, LQI_SHARED_NAME,
                            writable ? LQI_OPEN_WRITE : LQI_OPEN_READ, 0);
    if (err) return err;
    err = read_identity(&map->file, uuid, &ring_size);
    if (!err) err = map_head(map, ring_size);
    /* In this order: both grow, the file first. */
    if (!err) size = atomic_load(&map->head->size);
    if (!err) err = lqi_file_size(&map->file, &file_size);
    if (!err && !sane(map->head, size, file_size)) err = lqi_fail(LQ_ECORRUPT, "%s: its positions make no sense", map->file.name);
    if (err) lqi_shared_detach(map);
    return err;
}

/* ---- making ------------------------------------------------------------- */

static int init_locks(struct lqi_shared *head)
{
    struct lqi_lock *locks[5 + LQI_CONSUMERS_MAX] = {&head->admin, &head->log.append, &head->log.write, &head->log.sync, &head->log.trim};
    for (size_t i = 0; i < LQI_CONSUMERS_MAX; i++) locks[5 + i] = &head->consumers[i].lock;
    return lqi_locks_init(locks, 5 + LQI_CONSUMERS_MAX);
}

static int init_head(struct lqi_shared_map *map, const uint8_t uuid[16], uint64_t ring_size)
{
    struct lqi_shared *head = map->head;
    struct lqi_identity *identity = &head->identity;
    struct lqi_io_stat stat;

    /* First of all it says that nothing in it counts; so it stays until the caller has filled it. (A call into the unknown is
     * behind that store, so that it is made before the others.) */
    atomic_store(&identity->ready, 0);
    int error = map->io->stat(map->io, map->file.fd, &stat);
    if (error) return lqi_fail_errno(error, "look at", map->file.name, -1);
    memset(head, 0, sizeof *head);
    int err = this_boot(map->io, identity->boot_id);
    if (err) return err;
    memcpy(identity->magic, magic, sizeof magic);
    memcpy(identity->uuid, uuid, 16);
    identity->version = LQI_SHARED_VERSION;
    identity->head_size = sizeof *head;
    identity->ring_size = ring_size;
    identity->inode = stat.inode;
    atomic_store(&head->size, LQI_SHARED_HEAD + ring_size);
    return init_locks(head);
}

int lqi_shared_create(struct lqi_shared_map *map, const struct lqi_io *io, int dir, const uint8_t uuid[16],
                      uint64_t ring_size, uint32_t mode)
{
    *map = (struct lqi_shared_map){.io = io, .file = LQI_FILE_NONE, .writable = true};
    int err = lqi_file_open(&map->file, io, dir, LQI_SHARED_NAME, LQI_SHARED_NAME, LQI_OPEN_WRITE, 0);
    if (err == LQ_ENOTFOUND)
        err = lqi_file_open(&map->file, io, dir, LQI_SHARED_NAME, LQI_SHARED_NAME, LQI_OPEN_NEW | LQI_OPEN_IN_PLACE, mode);
    if (!err) err = lqi_file_back(&map->file, 0, LQI_SHARED_HEAD + ring_size);
    if (!err) err = map_head(map, ring_size);
    if (!err) err = init_head(map, uuid, ring_size);
    if (err) lqi_shared_detach(map);
    return err;
}

/* ---- regions ------------------------------------------------------------ */

size_t lqi_region_size(uint32_t window)
{
    size_t sides = (size_t)(window / LQI_POSITION_BLOCK_WORDS + 2) * sizeof(uint64_t);
    return (sizeof(struct lqi_region) + (size_t)window * sizeof(struct lqi_slot) + sides + 4095) & ~(size_t)4095;
}

int lqi_region_make(struct lqi_shared_map *map, struct lqi_consumer_slot *consumer)
{
    uint64_t size = lqi_region_size(consumer->window);
    uint64_t offset = atomic_load(&map->head->size);

    if (consumer->region_size >= size) return LQ_OK; /* left by a deleted consumer; its bytes are set by the caller */
    int err = lqi_file_back(&map->file, offset, offset + size);
    if (err) return err;
    atomic_store(&map->head->size, offset + size);
    consumer->region_offset = offset;
    consumer->region_size = size;
    return LQ_OK;
}

int lqi_region_map(struct lqi_shared_map *map, const struct lqi_consumer_slot *consumer, struct lqi_region **region_out)
{
    uint64_t file_size;
    uint64_t size = lqi_region_size(consumer->window);
    void *memory;
    int err = lqi_file_size(&map->file, &file_size);

    if (err) return err;
    if (consumer->region_offset < LQI_SHARED_HEAD || consumer->region_offset % 4096 || size > consumer->region_size ||
        consumer->region_size > file_size || consumer->region_offset > file_size - consumer->region_size)
        return lqi_fail(LQ_ECORRUPT, "%s: the place of consumer '%.100s' makes no sense", map->file.name, consumer->name);
    int error = map->io->map(map->io, map->file.fd, consumer->region_offset, size, 0, map->writable, &memory);
    if (error) return lqi_fail_errno(error, "map", map->file.name, (int64_t)consumer->region_offset);
    *region_out = memory;
    return LQ_OK;
}

void lqi_region_unmap(struct lqi_shared_map *map, struct lqi_region *region, uint32_t window)
{
    if (region) map->io->unmap(map->io, region, lqi_region_size(window), 0);
}
