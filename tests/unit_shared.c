/* The working memory: how it is set up, what it says, and the regions of consumers behind its ring. What of one that is there is
 * believed: unit_shared_attach. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "bytes.h"
#include "shared.h"
#include "support/api.h"
#include "support/child.h"
#include "support/each_fault.h"
#include "support/io_fault.h"
#include "support/libc_fault.h"
#include "support/own_shared.h"

/* ---- setting up --------------------------------------------------------------------- */

/* One of its locks cannot be made: nothing counts. */
static void without_all_of_its_locks_it_is_not_set_up(void **state)
{
    (void)state;
    struct lqi_shared_map map;
    lqi_shared_detach(&made);
    for (unsigned n = 0; n < 5 + LQI_CONSUMERS_MAX; n++) {
        fail_calls(MUTEX_INIT, n, 1, ENOMEM);
        IS(LQ_ENOMEM, lqi_shared_create(&map, &lqi_io_posix, dir, uuid, RING, 0600));
        all_failed();
        IS(LQ_ENOTFOUND, attach());
    }
    fail_calls(MUTEX_INIT, 5 + LQI_CONSUMERS_MAX, 1, ENOMEM);
    OK(lqi_shared_create(&made, &lqi_io_posix, dir, uuid, RING, 0600));
    fail_calls(NONE, 0, 0, 0);
}

/* What was asked of the machine last. */
static struct {
    int flags, opens;
    uint32_t mode;
    size_t mapped, mirrored, unmapped, unmirrored;
    uint64_t offset;
    bool writable;
    int map_error;
} asked;

static int open_noting(const struct lqi_io *io, int in, const char *name, int flags, uint32_t mode, int *fd_out)
{
    (void)io;
    asked.opens++;
    asked.flags = flags;
    asked.mode = mode;
    return lqi_io_posix.open(&lqi_io_posix, in, name, flags, mode, fd_out);
}

static int map_noting(const struct lqi_io *io, int fd, uint64_t offset, size_t size, size_t mirrored, bool writable, void **map_out)
{
    (void)io;
    asked.mapped = size;
    asked.mirrored = mirrored;
    asked.offset = offset;
    asked.writable = writable;
    return asked.map_error ? asked.map_error : lqi_io_posix.map(&lqi_io_posix, fd, offset, size, mirrored, writable, map_out);
}

static void unmap_noting(const struct lqi_io *io, void *map, size_t size, size_t mirrored)
{
    (void)io;
    asked.unmapped = size;
    asked.unmirrored = mirrored;
    lqi_io_posix.unmap(&lqi_io_posix, map, size, mirrored);
}

/* A file system that has no such call. */
static int never_allocates(const struct lqi_io *io, int fd, uint64_t size)
{
    (void)io;
    int error = lqi_io_posix.truncate(&lqi_io_posix, fd, size);
    return error ? error : EOPNOTSUPP;
}

static void note_all(void)
{
    memset(&asked, 0, sizeof asked);
    fault.io.open = open_noting;
    fault.io.map = map_noting;
    fault.io.unmap = unmap_noting;
}

static void a_look_asks_for_no_more_than_a_look(void **state)
{
    struct lqi_shared_map map;
    (void)state;
    note_all();
    for (int writable = 0; writable < 2; writable++) {
        OK(lqi_shared_attach(&map, &fault.io, dir, uuid, writable));
        EQUAL(asked.flags, writable ? LQI_OPEN_WRITE : LQI_OPEN_READ);
        EQUAL(asked.writable, writable);
        EQUAL(map.writable, writable);
        EQUAL(asked.offset, 0);
        EQUAL(asked.mapped, LQI_SHARED_HEAD + RING);
        EQUAL(asked.mirrored, RING);
        lqi_shared_detach(&map);
        HOLDS(asked.unmapped == asked.mapped && asked.unmirrored == RING && !map.head && map.file.fd < 0);
        lqi_shared_detach(&map); /* which may be done again */
    }
}

static void what_is_there_is_set_up_in_place_and_what_is_missing_is_made(void **state)
{
    struct lqi_shared_map map;
    struct lqi_io_stat stat;
    (void)state;
    note_all();
    uint64_t inode = made.head->identity.inode;
    HOLDS(ftruncate(made.file.fd, (off_t)(LQI_SHARED_HEAD + RING + 8192)) == 0); /* room that consumers have had */
    memset((uint8_t *)made.head + sizeof(struct lqi_identity), 0x5a, sizeof(struct lqi_shared) - sizeof(struct lqi_identity));
    OK(lqi_shared_create(&map, &fault.io, dir, uuid, RING, 0640));
    EQUAL(asked.opens, 1);
    EQUAL(asked.flags, LQI_OPEN_WRITE);
    HOLDS(asked.writable && map.writable);
    EQUAL(map.head->identity.inode, inode);
    EQUAL(lqi_io_posix.stat(&lqi_io_posix, map.file.fd, &stat), 0);
    EQUAL(stat.size, LQI_SHARED_HEAD + RING + 8192);
    EQUAL(atomic_load(&map.head->size), LQI_SHARED_HEAD + RING);
    EQUAL(atomic_load(&map.head->identity.ready), 0);
    lqi_shared_detach(&map);

    HOLDS(unlinkat(dir, "shared", 0) == 0);
    OK(lqi_shared_create(&map, &fault.io, dir, uuid, 2 * RING, 0640));
    EQUAL(asked.opens, 3);
    EQUAL(asked.flags, LQI_OPEN_NEW | LQI_OPEN_IN_PLACE);
    EQUAL(asked.mode, 0640);
    EQUAL(lqi_io_posix.stat(&lqi_io_posix, map.file.fd, &stat), 0);
    EQUAL(stat.size, LQI_SHARED_HEAD + 2 * RING);
    EQUAL(map.head->identity.inode, stat.inode);
    EQUAL(map.head->identity.ring_size, 2 * RING);
    EQUAL(map.ring_size, 2 * RING);
    lqi_shared_detach(&map);
}

static unsigned looks;

static int stat_looking(const struct lqi_io *io, int fd, struct lqi_io_stat *stat_out)
{
    (void)io;
    looks++;
    EQUAL(atomic_load(&made.head->identity.ready), 0); /* nothing of it counts any more */
    EQUAL(made.head->identity.ring_size, RING);        /* and that was said first */
    return lqi_io_posix.stat(&lqi_io_posix, fd, stat_out);
}

static void it_counts_for_nothing_before_the_first_of_it_is_changed(void **state)
{
    struct lqi_shared_map map;
    (void)state;
    fault.io.stat = stat_looking;
    OK(lqi_shared_create(&map, &fault.io, dir, uuid, RING, 0600));
    EQUAL(looks, 1);
    lqi_shared_detach(&map);
}

/* Of those before nothing is left but the disk space: no number, no lock that somebody has died with. */
static void everything_in_it_is_new_but_for_what_it_is(void **state)
{
    const struct lqi_lock nothing = {0};
    (void)state;
    memset((uint8_t *)made.head, 0x5a, sizeof(struct lqi_shared));
    lqi_shared_detach(&made);
    OK(lqi_shared_create(&made, &lqi_io_posix, dir, uuid, RING, 0600));
    struct lqi_shared *head = made.head, *copy = malloc(sizeof *copy);
    memcpy(copy, head, sizeof *copy);
    HOLDS(memcmp(copy->identity.uuid, uuid, 16) == 0);
    memset(&copy->identity, 0, sizeof copy->identity);
    atomic_store(&copy->size, 0);
    copy->admin = copy->log.append = copy->log.write = copy->log.sync = copy->log.trim = nothing;
    for (size_t i = 0; i < LQI_CONSUMERS_MAX; i++) copy->consumers[i].lock = nothing;
    for (size_t i = 0; i < sizeof *copy; i++)
        if (((const uint8_t *)copy)[i]) EQUAL(i, SIZE_MAX);
    free(copy);
}

static struct lqi_lock *lock_of(struct lqi_shared *head, size_t n)
{
    struct lqi_lock *first[] = {&head->admin, &head->log.append, &head->log.write, &head->log.sync, &head->log.trim};
    return n < 5 ? first[n] : &head->consumers[n - 5].lock;
}

enum { LOCKS = 5 + LQI_CONSUMERS_MAX, AT_ONCE = 50 /* ThreadSanitizer counts up to 64 in one hand */ };

static int die_with_locks(void *context)
{
    size_t first = *(const size_t *)context;
    for (size_t n = first; n < LOCKS && n < first + AT_ONCE; n++) CHECK(lqi_lock_try(lock_of(made.head, n)) == LQI_LOCKED);
    return 0;
}

static void whichever_of_its_locks_somebody_dies_with_the_next_one_has_it(void **state)
{
    (void)state;
    for (size_t first = 0; first < LOCKS; first += AT_ONCE) EQUAL(child_run(die_with_locks, &first), 0);
    for (size_t n = 0; n < LOCKS; n++) {
        EQUAL(lqi_lock_try(lock_of(made.head, n)), LQI_INHERITED);
        lqi_lock_mend(lock_of(made.head, n));
        lqi_unlock(lock_of(made.head, n));
    }
}

static void set_up_or_attach(struct io_fault *with, void *context)
{
    struct lqi_shared_map map;
    const bool *create = context;
    int err = *create ? lqi_shared_create(&map, &with->io, dir, uuid, RING, 0600) : lqi_shared_attach(&map, &with->io, dir, uuid, true);
    HOLDS(!err == !with->hits);
    if (err) HOLDS(!map.head && map.file.fd < 0 && *lq_error_text() && !strstr(lq_error_text(), "at byte 1"));
    if (*create) IS(LQ_ENOTFOUND, attach()); /* the caller has to fill it */
    lqi_shared_detach(&map);
}

static void whichever_call_fails_nothing_stays_open_and_nothing_counts(void **state)
{
    bool create = false;
    (void)state;
    HOLDS(each_fault(set_up_or_attach, &create) >= 6);
    create = true;
    HOLDS(each_fault(set_up_or_attach, &create) >= 6);
}

/* Zeroes are written then, and only they prove that there is room. */
static void where_nothing_can_be_reserved_a_full_disk_is_told_all_the_same(void **state)
{
    struct lqi_shared_map map;
    uint64_t writes = 0;
    (void)state;
    for (uint64_t nth = 1; nth == 1 || fault.hits; nth++) {
        io_fault_plan(&fault, IO_WRITE, nth, false, ENOSPC);
        fault.io.allocate = never_allocates;
        int err = lqi_shared_create(&map, &fault.io, dir, uuid, RING, 0600);
        IS(fault.hits ? LQ_ENOSPC : LQ_OK, err);
        if (err) TEXT_HAS("write shared", "space");
        lqi_shared_detach(&map);
        writes = nth - 1;
    }
    EQUAL(writes, (LQI_SHARED_HEAD + RING + 65535) / 65536);
    io_fault_end(&fault);
}

static void the_largest_ring_is_no_damage(void **state)
{
    const uint64_t largest = (uint64_t)1 << 30;
    (void)state;
    note_all();
    asked.map_error = ENOMEM; /* that it would be mapped is all we want to know */
    HOLDS(ftruncate(made.file.fd, (off_t)(LQI_SHARED_HEAD + largest)) == 0);
    made.head->identity.ring_size = largest;
    IS(LQ_ENOMEM, attach());
    TEXT_HAS("map shared");
    HOLDS(!strstr(lq_error_text(), "at byte")); /* it is the whole */
    EQUAL(asked.mapped, LQI_SHARED_HEAD + largest);
    HOLDS(ftruncate(made.file.fd, (off_t)(LQI_SHARED_HEAD + largest - 1)) == 0);
    IS(LQ_ECORRUPT, attach());
    made.head->identity.ring_size = RING;
}

/* ---- what it says ------------------------------------------------------------------- */

static void a_failed_sync_is_noted_where_there_is_a_memory(void **state)
{
    struct lqi_file file = made.file;
    (void)state;
    file.io = &fault.io;
    OK(lqi_shared_sync(&made, &file));
    EQUAL(atomic_load(&made.head->poisoned), 0);
    OK(lqi_shared_sync(NULL, &file));
    io_fault_plan(&fault, IO_SYNC, 1, true, EIO);
    IS(LQ_EIO, lqi_shared_sync(NULL, &file));
    EQUAL(atomic_load(&made.head->poisoned), 0);
    IS(LQ_EIO, lqi_shared_sync(&made, &file));
    EQUAL(atomic_load(&made.head->poisoned), 1);
    io_fault_end(&fault);
}

static void each_kind_of_doubt_about_a_sync_is_one(void **state)
{
    struct lqi_shared *head = made.head;
    _Atomic uint32_t *doubts[] = {&head->poisoned, &head->log.lead_in_doubt, &head->log.roll_in_doubt};
    (void)state;
    HOLDS(!lqi_sync_doubtful(head));
    for (size_t i = 0; i < 3; i++) {
        atomic_store(doubts[i], 1);
        HOLDS(lqi_sync_doubtful(head));
        atomic_store(doubts[i], 0);
    }
    HOLDS(!lqi_sync_doubtful(head));
}

static void the_ring_lies_behind_the_head_and_has_no_seam(void **state)
{
    struct lqi_ring ring;
    (void)state;
    lqi_shared_ring(&made, &ring);
    EQUAL(ring.size, RING);
    HOLDS(ring.bytes == (uint8_t *)made.head + LQI_SHARED_HEAD && ring.state == &made.head->log.ring);
    ring.bytes[0] = 11;
    ring.bytes[RING - 1] = 22;
    EQUAL(ring.bytes[RING], 11);
    ring.bytes[2 * RING - 1] = 33;
    EQUAL(ring.bytes[RING - 1], 33);
}

/* ---- regions -------------------------------------------------------------------------- */

/* What a consumer of this window keeps: members, a slot for each message, a side for each block that they may be in. */
static uint64_t needed(uint32_t window)
{
    return 256 * 16 + (uint64_t)window * 16 + (uint64_t)(window / LQI_POSITION_BLOCK_WORDS + 2) * 8;
}

static void a_region_has_room_for_all_of_its_window_and_no_page_more(void **state)
{
    (void)state;
    for (uint32_t window = 64; window < 16777216; window += window / 7) {
        size_t size = lqi_region_size(window);
        EQUAL(size % 4096, 0);
        HOLDS(size >= needed(window) && size < needed(window) + 4096);
    }
    for (uint32_t window = 64; window < 10000; window++) HOLDS(lqi_region_size(window) >= needed(window) && lqi_region_size(window) < needed(window) + 4096);
}

static void a_region_is_made_behind_the_others_and_one_that_is_large_enough_is_used_again(void **state)
{
    struct lqi_consumer_slot *first = &made.head->consumers[0], *second = &made.head->consumers[1];
    uint64_t end = LQI_SHARED_HEAD + RING, size;
    (void)state;
    first->window = second->window = 1000;
    OK(lqi_region_make(&made, first));
    EQUAL(first->region_offset, end);
    EQUAL(first->region_size, lqi_region_size(1000));
    end += first->region_size;
    EQUAL(atomic_load(&made.head->size), end);
    OK(lqi_file_size(&made.file, &size));
    EQUAL(size, end);

    OK(lqi_region_make(&made, second));
    EQUAL(second->region_offset, end);
    end += second->region_size;
    EQUAL(atomic_load(&made.head->size), end);

    uint64_t offset = first->region_offset;
    first->window = 64; /* another consumer has the slot: of no larger window, of a larger one */
    OK(lqi_region_make(&made, first));
    first->window = 1000;
    OK(lqi_region_make(&made, first));
    EQUAL(first->region_offset, offset);
    EQUAL(atomic_load(&made.head->size), end);
    first->window = 2000;
    OK(lqi_region_make(&made, first));
    EQUAL(first->region_offset, end);
    EQUAL(first->region_size, lqi_region_size(2000));
}

static void a_region_for_which_there_is_no_room_changes_nothing(void **state)
{
    struct lqi_consumer_slot *consumer = &made.head->consumers[0];
    struct lqi_region *region;
    (void)state;
    consumer->window = 64;
    made.file.io = &fault.io;
    made.io = &fault.io;
    io_fault_plan(&fault, IO_ALLOCATE, 1, false, ENOSPC);
    IS(LQ_ENOSPC, lqi_region_make(&made, consumer));
    EQUAL(consumer->region_offset, 0);
    EQUAL(consumer->region_size, 0);
    EQUAL(atomic_load(&made.head->size), LQI_SHARED_HEAD + RING);
    OK(lqi_region_make(&made, consumer));
    io_fault_plan(&fault, IO_STAT, 1, false, EIO);
    IS(LQ_EIO, lqi_region_map(&made, consumer, &region));
    io_fault_plan(&fault, IO_MAP, 1, false, ENOMEM);
    IS(LQ_ENOMEM, lqi_region_map(&made, consumer, &region));
    TEXT_HAS("map shared at byte");
    io_fault_end(&fault);
}

static void a_region_is_mapped_where_it_is_and_as_large_as_its_window(void **state)
{
    struct lqi_consumer_slot *consumer = &made.head->consumers[0];
    struct lqi_region *region = NULL, *again = NULL;
    (void)state;
    note_all();
    consumer->window = 1000;
    OK(lqi_region_make(&made, consumer));
    made.io = &fault.io;
    OK(lqi_region_map(&made, consumer, &region));
    EQUAL(asked.offset, consumer->region_offset);
    EQUAL(asked.mapped, lqi_region_size(1000));
    EQUAL(asked.mirrored, 0);
    HOLDS(asked.writable);
    region->slots[999].position = 77;
    made.writable = false;
    OK(lqi_region_map(&made, consumer, &again));
    HOLDS(!asked.writable);
    EQUAL(again->slots[999].position, 77);
    made.writable = true;
    lqi_region_unmap(&made, region, 1000);
    EQUAL(asked.unmapped, lqi_region_size(1000));
    EQUAL(asked.unmirrored, 0);
    lqi_region_unmap(&made, again, 1000);
    asked.unmapped = 0;
    lqi_region_unmap(&made, NULL, 1000);
    EQUAL(asked.unmapped, 0);
}

/* Whoever writes over it has chosen these numbers. */
static void a_region_that_leads_out_of_the_file_or_into_the_head_is_damage(void **state)
{
    struct lqi_consumer_slot *consumer = &made.head->consumers[0];
    struct lqi_region *region;
    uint64_t file_size;
    (void)state;
    consumer->window = 1000;
    OK(lqi_region_make(&made, consumer));
    OK(lqi_file_size(&made.file, &file_size));
    const struct {
        uint64_t offset, size;
        int answer;
    } rows[] = {
        {LQI_SHARED_HEAD, consumer->region_size, LQ_OK}, /* over the ring: harm to nobody but who did it */
        {LQI_SHARED_HEAD - 4096, consumer->region_size, LQ_ECORRUPT},
        {0, consumer->region_size, LQ_ECORRUPT},
        {consumer->region_offset + 8, consumer->region_size - 8, LQ_ECORRUPT},
        {consumer->region_offset - 1, consumer->region_size, LQ_ECORRUPT},
        {consumer->region_offset, consumer->region_size - 1, LQ_ECORRUPT},
        {consumer->region_offset, 0, LQ_ECORRUPT},
        {consumer->region_offset, consumer->region_size + 1, LQ_ECORRUPT},
        {consumer->region_offset + 4096, consumer->region_size, LQ_ECORRUPT},
        {consumer->region_offset - 4096, consumer->region_size + 4096, LQ_OK},
        {LQI_SHARED_HEAD, file_size - LQI_SHARED_HEAD, LQ_OK},
        {LQI_SHARED_HEAD, file_size, LQ_ECORRUPT},
        {LQI_SHARED_HEAD, file_size + 4096, LQ_ECORRUPT},
        {LQI_SHARED_HEAD, UINT64_MAX, LQ_ECORRUPT},
        {UINT64_MAX - 4095, consumer->region_size, LQ_ECORRUPT},
    };
    strcpy(consumer->name, "billing");
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        consumer->region_offset = rows[i].offset;
        consumer->region_size = rows[i].size;
        IS(rows[i].answer, lqi_region_map(&made, consumer, &region));
        if (rows[i].answer) TEXT_HAS("shared", "billing");
        else lqi_region_unmap(&made, region, 1000);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_SHARED(without_all_of_its_locks_it_is_not_set_up),
        WITH_SHARED(a_look_asks_for_no_more_than_a_look),
        WITH_SHARED(what_is_there_is_set_up_in_place_and_what_is_missing_is_made),
        WITH_SHARED(it_counts_for_nothing_before_the_first_of_it_is_changed),
        WITH_SHARED(everything_in_it_is_new_but_for_what_it_is),
        WITH_SHARED(whichever_of_its_locks_somebody_dies_with_the_next_one_has_it),
        WITH_SHARED(whichever_call_fails_nothing_stays_open_and_nothing_counts),
        WITH_SHARED(where_nothing_can_be_reserved_a_full_disk_is_told_all_the_same),
        WITH_SHARED(the_largest_ring_is_no_damage),
        WITH_SHARED(a_failed_sync_is_noted_where_there_is_a_memory),
        WITH_SHARED(each_kind_of_doubt_about_a_sync_is_one),
        WITH_SHARED(the_ring_lies_behind_the_head_and_has_no_seam),
        WITH_SHARED(a_region_has_room_for_all_of_its_window_and_no_page_more),
        WITH_SHARED(a_region_is_made_behind_the_others_and_one_that_is_large_enough_is_used_again),
        WITH_SHARED(a_region_for_which_there_is_no_room_changes_nothing),
        WITH_SHARED(a_region_is_mapped_where_it_is_and_as_large_as_its_window),
        WITH_SHARED(a_region_that_leads_out_of_the_file_or_into_the_head_is_damage),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
