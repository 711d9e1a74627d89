/* The ring: the last stretch of the log, in memory that processes share, as
 * the very bytes that go to the segments. Mapped twice in a row, so that a
 * stretch of up to its size has no seam wherever it begins.
 *
 * Readers take no lock. They copy, and look afterwards whether a writer may
 * have been over the place meanwhile:
 *
 *          ring_from        written            appended   reserved
 *   ----------|----------------|------------------|----------|---> positions
 *   files only  ring and files   ring only          being copied in
 *
 *   writer                              reader of [p, q), q <= appended
 *   1 reserved = new end                1 copy
 *   2 (fence) copy the record in        2 (fence)
 *   3 appended = new end (release)      3 good if p >= ring_from and p + size >= reserved
 *
 * A writer never goes over bytes that are not written to a file yet (new end <=
 * written + size), so a reader that was lapped finds its bytes there.
 *
 * tests/model/ring.pml is a model of this and of log.c, store by store: it changes with them. */
#ifndef LQI_RING_H
#define LQI_RING_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct lqi_ring_state { /* lies in shared memory */
    _Atomic uint64_t appended, reserved, ring_from;
};

struct lqi_ring {
    struct lqi_ring_state *state;
    uint8_t *bytes; /* `size` of them, and the same ones again behind */
    uint64_t size;  /* a power of two */
};

/* The owner of the append lock: announces a record of `span` bytes at `end` and returns where it goes. */
uint8_t *lqi_ring_reserve(const struct lqi_ring *ring, uint64_t end, uint64_t span);
void lqi_ring_fill(uint8_t *to, const void *from, size_t size);
void lqi_ring_publish(const struct lqi_ring *ring, uint64_t end);

/* The owner of the append lock, when bytes up to `end` went to the files directly: the ring starts anew there. */
void lqi_ring_skip_to(const struct lqi_ring *ring, uint64_t end);

/* Copies [position, position + size), which was published; false when the ring does not hold it any more. */
bool lqi_ring_copy(const struct lqi_ring *ring, uint64_t position, void *to, size_t size);

/* The bytes in place: for those who know that no writer comes near (not yet written out, or all dead). */
static inline const uint8_t *lqi_ring_at(const struct lqi_ring *ring, uint64_t position)
{
    return ring->bytes + (position & (ring->size - 1));
}

/* The oldest position that the ring can hold now. */
uint64_t lqi_ring_oldest(const struct lqi_ring *ring);

#endif
