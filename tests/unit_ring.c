/* The ring: what was published is read back, without a seam; what was lapped is never taken for good. */
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "ring.h"
#include "support/api.h"

enum { SIZE = 65536 };

static struct lqi_ring_state state;
static struct lqi_ring ring;

/* The same memory twice in a row, as shared.c maps it. */
static int make_ring(void **unused)
{
    (void)unused;
    int fd = memfd_create("ring", 0);
    if (fd < 0 || ftruncate(fd, SIZE) != 0) return -1;
    uint8_t *place = mmap(NULL, 2 * SIZE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (place == MAP_FAILED) return -1;
    for (size_t i = 0; i < 2; i++)
        if (mmap(place + i * SIZE, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0) == MAP_FAILED) return -1;
    close(fd);
    memset(&state, 0, sizeof state);
    ring = (struct lqi_ring){&state, place, SIZE};
    return 0;
}

static int drop_ring(void **unused)
{
    (void)unused;
    return munmap(ring.bytes, 2 * SIZE);
}

/* Every byte tells its position, and the lap. */
static uint8_t byte_of(uint64_t position)
{
    return (uint8_t)(position * 7 + position / SIZE * 13 + 1);
}

/* One thread at a time; also in a signal handler, so that there is no malloc() here. */
static void append(uint64_t position, size_t size)
{
    static uint8_t bytes[SIZE];
    assert_true(size <= sizeof bytes);
    for (size_t i = 0; i < size; i++) bytes[i] = byte_of(position + i);
    lqi_ring_fill(lqi_ring_reserve(&ring, position, size), bytes, size);
    lqi_ring_publish(&ring, position + size);
}

static bool is_right(uint64_t position, const uint8_t *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++)
        if (bytes[i] != byte_of(position + i)) return false;
    return true;
}

static void what_was_published_is_read_back(void **unused)
{
    (void)unused;
    uint8_t bytes[1000];
    append(0, 1000);
    HOLDS(lqi_ring_copy(&ring, 0, bytes, 1000));
    HOLDS(is_right(0, bytes, 1000));
    HOLDS(lqi_ring_copy(&ring, 500, bytes, 500));
    HOLDS(is_right(500, bytes, 500));
    EQUAL(lqi_ring_oldest(&ring), 0);
}

static void a_stretch_over_the_end_has_no_seam(void **unused)
{
    (void)unused;
    static uint8_t bytes[SIZE];
    append(0, SIZE - 100);
    append(SIZE - 100, 5000);
    HOLDS(lqi_ring_copy(&ring, SIZE - 100, bytes, 5000));
    HOLDS(is_right(SIZE - 100, bytes, 5000));
    HOLDS(is_right(SIZE - 100, lqi_ring_at(&ring, SIZE - 100), 5000));
    append(SIZE + 4900, SIZE); /* all of it at once, from the middle */
    HOLDS(lqi_ring_copy(&ring, SIZE + 4900, bytes, SIZE));
    HOLDS(is_right(SIZE + 4900, bytes, SIZE));
}

static void what_was_lapped_is_not_given(void **unused)
{
    (void)unused;
    uint8_t bytes[100];
    append(0, SIZE);
    append(SIZE, 1000);
    EQUAL(lqi_ring_oldest(&ring), 1000);
    HOLDS(!lqi_ring_copy(&ring, 0, bytes, 100));
    HOLDS(!lqi_ring_copy(&ring, 999, bytes, 100));
    HOLDS(lqi_ring_copy(&ring, 1000, bytes, 100));
    HOLDS(is_right(1000, bytes, 100));
}

static void what_is_only_announced_counts_as_lapped_already(void **unused)
{
    (void)unused;
    uint8_t bytes[100];
    append(0, SIZE);
    (void)lqi_ring_reserve(&ring, SIZE, 1000); /* its writer may be anywhere in it, or dead */
    HOLDS(!lqi_ring_copy(&ring, 0, bytes, 100));
    HOLDS(lqi_ring_copy(&ring, 1000, bytes, 100));
}

static void what_went_to_the_files_directly_is_not_looked_for_in_the_ring(void **unused)
{
    (void)unused;
    uint8_t bytes[100];
    append(0, 5000);
    lqi_ring_skip_to(&ring, 100000);
    lqi_ring_publish(&ring, 100000);
    EQUAL(lqi_ring_oldest(&ring), 100000);
    HOLDS(!lqi_ring_copy(&ring, 4000, bytes, 100));
    append(100000, 500);
    HOLDS(lqi_ring_copy(&ring, 100000, bytes, 100));
    HOLDS(is_right(100000, bytes, 100));
    HOLDS(!lqi_ring_copy(&ring, 99999, bytes, 100));
}

static void more_than_the_ring_holds_is_not_given(void **unused)
{
    (void)unused;
    static uint8_t bytes[SIZE + 1];
    append(0, SIZE);
    HOLDS(!lqi_ring_copy(&ring, 0, bytes, SIZE + 1));
}

/* ---- lapping while reading --------------------------------------------------- */

static _Atomic int stop;
static _Atomic uint64_t good, lapped;

static void *keep_reading(void *unused)
{
    uint8_t bytes[3000];
    uint64_t seed = 1;
    (void)unused;
    while (!atomic_load(&stop)) {
        uint64_t end = atomic_load_explicit(&state.appended, memory_order_acquire);
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        uint64_t back = (seed >> 33) % SIZE; /* now and then just where the writer is */
        if (end < SIZE || back < sizeof bytes) continue;
        if (!lqi_ring_copy(&ring, end - back, bytes, sizeof bytes)) {
            atomic_fetch_add(&lapped, 1);
            continue;
        }
        HOLDS(is_right(end - back, bytes, sizeof bytes));
        atomic_fetch_add(&good, 1);
    }
    return NULL;
}

static void a_reader_that_is_lapped_while_it_copies_knows_it(void **unused)
{
    (void)unused;
    pthread_t threads[2];
    uint64_t position = 0, seed = 2;
    atomic_store(&stop, 0);
    for (int i = 0; i < 2; i++) pthread_create(&threads[i], NULL, keep_reading, NULL);
    /* For a while, and on a loaded machine until it has come to both. */
    int64_t from = api_now_us(), spent = 0;
    while (spent < 300000 || ((atomic_load(&good) == 0 || atomic_load(&lapped) == 0) && spent < 30000000)) {
        spent = api_now_us() - from;
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        size_t size = 8 * (1 + (seed >> 33) % 1000);
        append(position, size);
        position += size;
    }
    atomic_store(&stop, 1);
    for (int i = 0; i < 2; i++) pthread_join(threads[i], NULL);
    HOLDS(atomic_load(&good) > 0 && atomic_load(&lapped) > 0);
}

/* The same without chance: the copy meets a page that cannot be read, and whoever sees to that goes over it first. */
static void go_over_and_allow(int number)
{
    (void)number;
    if (mprotect(ring.bytes, SIZE, PROT_READ | PROT_WRITE) != 0) _exit(1);
    append(SIZE, 8192);
}

static void a_reader_whose_place_is_gone_over_in_the_middle_of_a_copy_knows_it(void **unused)
{
    (void)unused;
    static uint8_t bytes[12288];
    const struct sigaction ours = {.sa_handler = go_over_and_allow, .sa_flags = SA_NODEFER};
    struct sigaction before;

    append(0, SIZE);
    sigaction(SIGSEGV, &ours, &before);
    EQUAL(mprotect(ring.bytes + 4096, 4096, PROT_NONE), 0);
    bool believed = lqi_ring_copy(&ring, 0, bytes, sizeof bytes);
    sigaction(SIGSEGV, &before, NULL);
    EQUAL(atomic_load(&state.appended), SIZE + 8192);
    HOLDS(!believed);
}

int main(void)
{
#define WITH_RING(test) cmocka_unit_test_setup_teardown(test, make_ring, drop_ring)
    const struct CMUnitTest tests[] = {
        WITH_RING(what_was_published_is_read_back),
        WITH_RING(a_stretch_over_the_end_has_no_seam),
        WITH_RING(what_was_lapped_is_not_given),
        WITH_RING(what_is_only_announced_counts_as_lapped_already),
        WITH_RING(what_went_to_the_files_directly_is_not_looked_for_in_the_ring),
        WITH_RING(more_than_the_ring_holds_is_not_given),
        WITH_RING(a_reader_whose_place_is_gone_over_in_the_middle_of_a_copy_knows_it),
        WITH_RING(a_reader_that_is_lapped_while_it_copies_knows_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
