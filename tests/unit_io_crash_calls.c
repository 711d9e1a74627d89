/* The machine whose power fails, as long as it does not: it behaves like the real one, and what machines before it
 * have left is not seen. */
#include "support/io_crash.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "support/scratch.h"

static uint32_t next_random(uint32_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 17;
    *seed ^= *seed << 5;
    return *seed;
}

struct listing {
    uint32_t sum, count;
};

static int add_name(void *context, const char *name)
{
    struct listing *listing = context;
    listing->count++;
    while (*name) listing->sum += (uint8_t)*name++;
    return 0;
}

/* Does one random thing and says what came of it, as a number. */
static uint64_t act(const struct lqi_io *on, int dir, int fds[8], uint32_t seed)
{
    static const char *const names[] = {"a", "b", "c", "d"};
    uint32_t what = next_random(&seed) % 16, slot = next_random(&seed) % 8;
    const char *name = names[next_random(&seed) % 4], *other = names[next_random(&seed) % 4];
    uint64_t offset = next_random(&seed) % 20000, number = next_random(&seed);
    char bytes[5000];
    size_t size = next_random(&seed) % sizeof bytes, got = 0;
    struct lqi_io_stat stat = {0};
    struct listing listing = {0};
    bool flag = false;
    int fd = fds[slot], new = -1, error = 0;

    switch (what) {
    case 0: case 1: case 2:
        error = on->open(on, dir, name, what == 2 ? LQI_OPEN_NEW : what == 1 ? LQI_OPEN_WRITE : LQI_OPEN_READ, 0600, &new);
        if (error) return (uint64_t)error;
        on->close(on, fd);
        fds[slot] = new;
        return 0;
    case 3: return (uint64_t)on->rename(on, dir, name, other, number % 2);
    case 4: return (uint64_t)on->unlink(on, dir, name);
    case 5: error = on->dir_list(on, dir, add_name, &listing); return (uint64_t)error << 32 | listing.count << 16 | listing.sum;
    case 6: return (uint64_t)on->dir_sync(on, dir);
    default: break;
    }
    if (fd < 0) return 0;
    switch (what) {
    case 7: case 8: case 9:
        memset(bytes, (int)number, size);
        return (uint64_t)on->write(on, fd, offset, bytes, size);
    case 10: return (uint64_t)on->truncate(on, fd, offset);
    case 11: return (uint64_t)on->allocate(on, fd, offset);
    case 12: return (uint64_t)(number % 2 ? on->lock(on, fd, number % 7) : on->unlock(on, fd, number % 7));
    case 13: error = on->locked(on, fd, number % 5, number % 4, &flag); return (uint64_t)error << 1 | flag;
    case 14:
        error = on->read(on, fd, offset, bytes, size, &got);
        for (size_t i = 0; i < got; i++) number = number * 31 + (uint8_t)bytes[i];
        return (uint64_t)error << 48 ^ number ^ (uint64_t)got << 32;
    default:
        error = on->stat(on, fd, &stat) | on->sync(on, fd);
        return (uint64_t)error << 48 | (uint64_t)stat.links << 32 | stat.size;
    }
}

static void every_call_answers_like_the_real_machine(void **state)
{
    const struct lqi_io *real = &lqi_io_posix;
    char *path = *state;
    int dir = -1;
    uint32_t seed = 2463534242;

    struct io_crash *machine = io_crash_new(1);
    const struct lqi_io *io = io_crash_io(machine);
    int root = -1;
    assert_int_equal(io->dir_open(io, -1, ".", &root), 0);
    assert_int_equal(real->dir_open(real, -1, path, &dir), 0);
    int fds[8] = {-1, -1, -1, -1, -1, -1, -1, -1}, real_fds[8] = {-1, -1, -1, -1, -1, -1, -1, -1};
    for (int i = 0; i < 20000; i++) {
        uint32_t now = next_random(&seed);
        uint64_t ours = act(io, root, fds, now), theirs = act(real, dir, real_fds, now);
        if (ours != theirs) print_error("call %d, seed %u: %llx, not %llx\n", i, now, (unsigned long long)ours, (unsigned long long)theirs);
        assert_true(ours == theirs);
    }
    for (int i = 0; i < 8; i++) io->close(io, fds[i]), real->close(real, real_fds[i]);
    real->close(real, dir);
    io->close(io, root);
    io_crash_free(machine);
}

static void a_memory_that_is_used_again_is_zero(void **state)
{
    (void)state;
    for (int i = 0; i < 20; i++) {
        struct io_crash *other = io_crash_new(3);
        const struct lqi_io *that = io_crash_io(other);
        int dir = -1, fd = -1;
        void *map = NULL;
        size_t size = (size_t)(i % 3 + 1) * 4096;
        assert_int_equal(that->dir_open(that, -1, ".", &dir), 0);
        assert_int_equal(that->open(that, dir, "a", LQI_OPEN_NEW, 0, &fd), 0);
        assert_int_equal(that->allocate(that, fd, size), 0);
        assert_int_equal(that->map(that, fd, 0, size, 4096, true, &map), 0);
        uint8_t *bytes = map;
        for (size_t j = 0; j < size + 4096; j++) assert_int_equal(bytes[j], 0);
        memset(map, 0xee, size);
        that->unmap(that, map, size, 4096);
        that->close(that, fd);
        that->close(that, dir);
        io_crash_free(other);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(every_call_answers_like_the_real_machine, scratch_make, scratch_remove),
        cmocka_unit_test(a_memory_that_is_used_again_is_zero),
    };
    int failures = cmocka_run_group_tests(tests, NULL, NULL);
    io_crash_trim();
    return failures;
}
