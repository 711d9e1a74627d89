/* The bare floors: no more than the machine asks for. */
#ifndef BENCH_FLOORS_H
#define BENCH_FLOORS_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>

#include "bench.h"

#define FLOOR_HEADER 16 /* size and XXH3 */
#define FLOOR_PIECE ((size_t)64 << 10)
#define FLOOR_GROW ((uint64_t)64 << 20)

/* ---- memory ---- */

#define FLOOR_RING ((uint64_t)4 << 20)

struct floor_ring {
    pthread_mutex_t lock; /* robust, between processes */
    _Alignas(64) _Atomic uint64_t head;
    _Alignas(64) _Atomic uint64_t tail; /* of the one reader: all before it is acked */
    _Alignas(64) _Atomic uint32_t sleeping;
    _Alignas(64) uint8_t bytes[FLOOR_RING + FLOOR_HEADER + BENCH_SIZE_MAX]; /* a message never wraps */
};

struct floor_ring *floor_ring_new(void);
void floor_ring_free(struct floor_ring *ring);
/* `count` messages in one go, then a look for sleepers. With `wait` only while the reader leaves room. */
void floor_ring_put(struct floor_ring *ring, const lq_message *messages, unsigned count, bool wait);
/* Copies, verifies and acks the next `count` messages; sleeps while there are none. */
void floor_ring_take(struct floor_ring *ring, unsigned count);

/* ---- file ---- */

struct floor_file {
    int fd;
    uint64_t size, allocated;
    size_t filled;
    uint8_t piece[FLOOR_PIECE + FLOOR_HEADER + BENCH_SIZE_MAX];
};

struct floor_file *floor_file_new(const char *path);
void floor_file_free(struct floor_file *file);
/* Copies a message into the piece; a full piece is written. */
void floor_file_add(struct floor_file *file, const lq_message *message);
void floor_file_flush(struct floor_file *file);
/* Reads it all by pieces, and verifies each message. */
void floor_file_scan(struct floor_file *file);

/* ---- group commit ---- */

struct floor_group {
    pthread_mutex_t lock; /* guards what follows, but not `synced` */
    struct floor_file *file;
    uint8_t *pending, *writing; /* swapped by the leader */
    size_t pending_size;
    uint64_t accepted, offset, group_last;
    _Atomic bool led;
    _Atomic uint64_t arrived, synced;
    _Atomic uint32_t bell;
};

struct floor_group *floor_group_new(const char *path);
void floor_group_free(struct floor_group *group);
/* Returns when the messages are on disk. Any thread. */
void floor_group_put(struct floor_group *group, const lq_message *messages, unsigned count);

#endif
