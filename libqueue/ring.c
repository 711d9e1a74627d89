/* Appending to and reading from memory that others write at the same time. */
#include "ring.h"

#include <string.h>

#if defined(__SANITIZE_THREAD__)
#define RING_ATOMIC_COPY 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define RING_ATOMIC_COPY 1
#endif
#endif

#ifdef RING_ATOMIC_COPY
/* A reader that is being lapped reads torn bytes and throws them away: a race by
 * the letter of C11, and by design. For the thread sanitizer both sides copy
 * by relaxed atomics, so that it sees every other race. */
static void copy(void *to, const void *from, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        uint8_t byte = __atomic_load_n((const uint8_t *)from + i, __ATOMIC_RELAXED);
        __atomic_store_n((uint8_t *)to + i, byte, __ATOMIC_RELAXED);
    }
}
#else
#define copy memcpy
#endif

uint8_t *lqi_ring_reserve(const struct lqi_ring *ring, uint64_t end, uint64_t span)
{
    atomic_store_explicit(&ring->state->reserved, end + span, memory_order_relaxed);
    atomic_thread_fence(memory_order_release);
    return ring->bytes + (end & (ring->size - 1));
}

void lqi_ring_fill(uint8_t *to, const void *from, size_t size)
{
    copy(to, from, size);
}

void lqi_ring_publish(const struct lqi_ring *ring, uint64_t end)
{
    atomic_store_explicit(&ring->state->appended, end, memory_order_release);
}

void lqi_ring_skip_to(const struct lqi_ring *ring, uint64_t end)
{
    atomic_store_explicit(&ring->state->ring_from, end, memory_order_release);
}

uint64_t lqi_ring_oldest(const struct lqi_ring *ring)
{
    uint64_t reserved = atomic_load_explicit(&ring->state->reserved, memory_order_relaxed);
    uint64_t from = atomic_load_explicit(&ring->state->ring_from, memory_order_relaxed);
    uint64_t lapped = reserved > ring->size ? reserved - ring->size : 0;
    return from > lapped ? from : lapped;
}

bool lqi_ring_copy(const struct lqi_ring *ring, uint64_t position, void *to, size_t size)
{
    if (size > ring->size || position < lqi_ring_oldest(ring)) return false;
    copy(to, lqi_ring_at(ring, position), size);
    atomic_thread_fence(memory_order_acquire);
    return position >= lqi_ring_oldest(ring);
}
