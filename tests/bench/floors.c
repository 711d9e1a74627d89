#include "floors.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <xxhash.h>

#include "host.h"

/* A message as both floors frame it; returns where the next one goes. */
static uint8_t *frame(uint8_t *to, const lq_message *message)
{
    uint64_t head[2] = {message->size, XXH3_64bits(message->data, message->size)};

    memcpy(to, head, sizeof head);
    memcpy(to + FLOOR_HEADER, message->data, message->size);
    return to + FLOOR_HEADER + message->size;
}

static size_t verify(const uint8_t *from)
{
    uint64_t head[2];
    memcpy(head, from, sizeof head);
    if (XXH3_64bits(from + FLOOR_HEADER, head[0]) != head[1]) abort();
    return FLOOR_HEADER + head[0];
}

static void make_lock(pthread_mutex_t *lock)
{
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
    pthread_mutex_init(lock, &attributes);
    pthread_mutexattr_destroy(&attributes);
}

/* ---- memory -------------------------------------------------------------- */

struct floor_ring *floor_ring_new(void)
{
    struct floor_ring *ring = shared_memory(sizeof *ring);
    make_lock(&ring->lock);
    return ring;
}

void floor_ring_free(struct floor_ring *ring)
{
    munmap(ring, sizeof *ring);
}

void floor_ring_put(struct floor_ring *ring, const lq_message *messages, unsigned count, bool wait)
{
    uint64_t bytes = count * (FLOOR_HEADER + messages->size);

    pthread_mutex_lock(&ring->lock);
    uint64_t head = atomic_load_explicit(&ring->head, memory_order_relaxed);
    while (wait && head + bytes - atomic_load_explicit(&ring->tail, memory_order_acquire) > FLOOR_RING) sched_yield();
    for (unsigned i = 0; i < count; i++) {
        frame(ring->bytes + head % FLOOR_RING, &messages[i]);
        head += FLOOR_HEADER + messages[i].size;
    }
    atomic_store_explicit(&ring->head, head, memory_order_release);
    pthread_mutex_unlock(&ring->lock);

    atomic_thread_fence(memory_order_seq_cst);
    if (atomic_load_explicit(&ring->sleeping, memory_order_relaxed)) {
        atomic_store(&ring->sleeping, 0);
        futex_wake(&ring->sleeping);
    }
}

static void sleep_for_head(struct floor_ring *ring, uint64_t tail)
{
    while (atomic_load_explicit(&ring->head, memory_order_acquire) == tail) {
        atomic_store(&ring->sleeping, 1);
        if (atomic_load(&ring->head) == tail) futex_wait(&ring->sleeping, 1);
        atomic_store(&ring->sleeping, 0);
    }
}

void floor_ring_take(struct floor_ring *ring, unsigned count)
{
    static uint8_t copy[FLOOR_HEADER + BENCH_SIZE_MAX];
    uint64_t tail = atomic_load_explicit(&ring->tail, memory_order_relaxed);

    sleep_for_head(ring, tail);
    for (unsigned i = 0; i < count; i++) {
        const uint8_t *from = ring->bytes + tail % FLOOR_RING;
        uint64_t size;
        if (atomic_load_explicit(&ring->head, memory_order_acquire) == tail) break;
        memcpy(&size, from, sizeof size);
        memcpy(copy, from, FLOOR_HEADER + size);
        tail += verify(copy);
    }
    atomic_store_explicit(&ring->tail, tail, memory_order_release);
}

/* ---- file ---------------------------------------------------------------- */

struct floor_file *floor_file_new(const char *path)
{
    struct floor_file *file = calloc(1, sizeof *file);
    if (!file) die("calloc");
    file->fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (file->fd < 0) die(path);
    unlink(path);
    return file;
}

void floor_file_free(struct floor_file *file)
{
    close(file->fd);
    free(file);
}

static void write_at_end(struct floor_file *file, const uint8_t *bytes, size_t size)
{
    while (file->size + size > file->allocated) {
        int error = posix_fallocate(file->fd, (off_t)file->allocated, (off_t)FLOOR_GROW);
        if (error) errno = error, die("fallocate");
        file->allocated += FLOOR_GROW;
    }
    if (pwrite(file->fd, bytes, size, (off_t)file->size) != (ssize_t)size) die("pwrite");
    file->size += size;
}

void floor_file_flush(struct floor_file *file)
{
    write_at_end(file, file->piece, file->filled);
    file->filled = 0;
}

void floor_file_add(struct floor_file *file, const lq_message *message)
{
    file->filled = (size_t)(frame(file->piece + file->filled, message) - file->piece);
    if (file->filled >= FLOOR_PIECE) floor_file_flush(file);
}

void floor_file_scan(struct floor_file *file)
{
    uint64_t at = 0;
    while (at < file->size) {
        ssize_t got = pread(file->fd, file->piece, sizeof file->piece, (off_t)at);
        if (got <= 0) die("pread");
        size_t used = 0, size = (size_t)got;
        if (size > file->size - at) size = (size_t)(file->size - at); /* behind it there are zeroes */
        while (used + FLOOR_HEADER <= size && used < FLOOR_PIECE) used += verify(file->piece + used);
        at += used;
    }
}

/* ---- group commit -------------------------------------------------------- */

#define GROUP_WAIT_NS 60000
#define GROUP_BYTES ((size_t)BENCH_BATCH_MAX * (FLOOR_HEADER + BENCH_SIZE_MAX))

struct floor_group *floor_group_new(const char *path)
{
    struct floor_group *group = calloc(1, sizeof *group);
    if (!group) die("calloc");
    make_lock(&group->lock);
    group->file = floor_file_new(path);
    group->pending = malloc(GROUP_BYTES);
    group->writing = malloc(GROUP_BYTES);
    if (!group->pending || !group->writing) die("malloc");
    return group;
}

void floor_group_free(struct floor_group *group)
{
    floor_file_free(group->file);
    free(group->pending);
    free(group->writing);
    free(group);
}

static uint64_t accept(struct floor_group *group, const lq_message *messages, unsigned count)
{
    pthread_mutex_lock(&group->lock);
    uint8_t *to = group->pending + group->pending_size;
    for (unsigned i = 0; i < count; i++) to = frame(to, &messages[i]);
    group->pending_size = (size_t)(to - group->pending);
    uint64_t number = ++group->accepted;
    atomic_store_explicit(&group->arrived, number, memory_order_relaxed);
    pthread_mutex_unlock(&group->lock);
    return number;
}

static void lead(struct floor_group *group)
{
    uint64_t before = atomic_load(&group->synced), deadline = now_ns() + GROUP_WAIT_NS;
    while (group->group_last > 1 && atomic_load(&group->arrived) - before < group->group_last && now_ns() < deadline)
        sched_yield();

    pthread_mutex_lock(&group->lock);
    uint8_t *bytes = group->pending;
    size_t size = group->pending_size;
    uint64_t number = group->accepted;
    group->pending = group->writing;
    group->writing = bytes;
    group->pending_size = 0;
    pthread_mutex_unlock(&group->lock);

    write_at_end(group->file, bytes, size);
    if (fdatasync(group->file->fd) != 0) die("fdatasync");
    group->group_last = number - before;
    atomic_store(&group->synced, number);
}

void floor_group_put(struct floor_group *group, const lq_message *messages, unsigned count)
{
    uint64_t number = accept(group, messages, count);

    for (;;) {
        uint32_t seen = atomic_load(&group->bell);
        if (atomic_load(&group->synced) >= number) return;
        if (atomic_exchange(&group->led, true)) {
            futex_wait(&group->bell, seen);
            continue;
        }
        if (atomic_load(&group->synced) < number) lead(group);
        atomic_store(&group->led, false);
        atomic_fetch_add(&group->bell, 1);
        futex_wake(&group->bell);
    }
}
