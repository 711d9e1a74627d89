/* The machine whose power fails, as long as it does not: it behaves like the real one, what machines before it
 * have left is not seen, hooks see it as it is, and so do hashes. */
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

/* ---- what hooks see ----------------------------------------------------- */

/* A machine with a file of a page, which is mapped. */
struct mapped {
    struct io_crash *machine;
    const struct lqi_io *io;
    int dir, fd;
    uint8_t *bytes;
    uint8_t seen; /* by the hook, on the machine that comes up after a power loss that lost nothing */
};

static void map_one(struct mapped *mapped)
{
    void *map = NULL;
    mapped->machine = io_crash_new(3);
    const struct lqi_io *io = mapped->io = io_crash_io(mapped->machine);
    assert_int_equal(io->dir_open(io, -1, ".", &mapped->dir), 0);
    assert_int_equal(io->open(io, mapped->dir, "a", LQI_OPEN_NEW, 0, &mapped->fd), 0);
    assert_int_equal(io->allocate(io, mapped->fd, 4096), 0);
    assert_int_equal(io->map(io, mapped->fd, 0, 4096, 0, true, &map), 0);
    mapped->bytes = map;
}

static void unmap_one(struct mapped *mapped)
{
    mapped->io->unmap(mapped->io, mapped->bytes, 4096, 0);
    mapped->io->close(mapped->io, mapped->fd);
    mapped->io->close(mapped->io, mapped->dir);
    io_crash_free(mapped->machine);
}

static uint8_t first_byte(struct io_crash *machine)
{
    const struct lqi_io *io = io_crash_io(machine);
    int dir = -1, fd = -1;
    uint8_t byte = 0;
    size_t got = 0;
    assert_int_equal(io->dir_open(io, -1, ".", &dir), 0);
    assert_int_equal(io->open(io, dir, "a", LQI_OPEN_READ, 0, &fd), 0);
    assert_int_equal(io->read(io, fd, 0, &byte, 1, &got), 0);
    assert_int_equal(got, 1);
    io->close(io, fd);
    io->close(io, dir);
    return byte;
}

static void see(void *context, struct io_crash *machine, enum io_kind kind, bool changed)
{
    struct mapped *mapped = context;
    (void)kind, (void)changed;
    for (int i = 0; i < 3; i++) { /* the first one looks, the others are given what it has seen */
        struct io_crash *lost = io_crash_power_loss(machine, 1), *dead = io_crash_processes_die(machine);
        mapped->seen = first_byte(lost);
        assert_int_equal(first_byte(dead), mapped->seen);
        io_crash_free(lost);
        io_crash_free(dead);
    }
}

static void a_hook_sees_what_was_stored_before_its_call(void **state)
{
    (void)state;
    struct mapped mapped = {0};
    struct lqi_io_stat stat;
    map_one(&mapped);
    io_crash_watch(mapped.machine, see, &mapped);
    for (uint8_t byte = 1; byte < 5; byte++) {
        mapped.bytes[0] = byte;
        assert_int_equal(mapped.io->stat(mapped.io, mapped.fd, &stat), 0);
        assert_int_equal(mapped.seen, byte);
    }
    io_crash_watch(mapped.machine, NULL, NULL);
    mapped.bytes[0] = 77; /* without any hook, nothing is kept */
    see(&mapped, mapped.machine, IO_STAT, false);
    assert_int_equal(mapped.seen, 77);
    unmap_one(&mapped);
}

/* ---- what is told apart ------------------------------------------------- */

static uint64_t hash_alive(const struct io_crash *machine)
{
    struct io_crash *dead = io_crash_processes_die(machine);
    uint64_t hash = io_crash_hash_alive(dead);
    io_crash_free(dead);
    return hash;
}

static void of_those_who_die_all_is_told_apart_that_is_mapped_or_not_yet_durable(void **state)
{
    (void)state;
    struct mapped mapped = {0};
    uint64_t hashes[9];
    size_t count = 0;
    int fd = -1;
    map_one(&mapped);
    const struct lqi_io *io = mapped.io;

    hashes[count++] = hash_alive(mapped.machine);
    assert_true(hash_alive(mapped.machine) == hashes[0]);
    mapped.bytes[4095] = 1;
    hashes[count++] = hash_alive(mapped.machine);
    assert_int_equal(io->dir_sync(io, mapped.dir), 0); /* the name was there, and is durable now */
    hashes[count++] = hash_alive(mapped.machine);
    assert_int_equal(io->open(io, mapped.dir, "b", LQI_OPEN_NEW, 0, &fd), 0);
    assert_int_equal(io->dir_sync(io, mapped.dir), 0);
    hashes[count++] = hash_alive(mapped.machine);
    assert_int_equal(io->write(io, fd, 0, "ab", 2), 0);
    hashes[count++] = hash_alive(mapped.machine);
    assert_int_equal(io->write(io, fd, 0, "xx", 2), 0);
    assert_int_equal(io->write(io, fd, 0, "ab", 2), 0); /* the same now, but a power loss may leave xx */
    hashes[count++] = hash_alive(mapped.machine);
    assert_int_equal(io->sync(io, fd), 0);
    hashes[count++] = hash_alive(mapped.machine);
    assert_int_equal(io->rename(io, mapped.dir, "b", "c", true), 0);
    hashes[count++] = hash_alive(mapped.machine);
    assert_int_equal(io->dir_sync(io, mapped.dir), 0);
    hashes[count++] = hash_alive(mapped.machine);
    assert_true(hash_alive(mapped.machine) == hashes[count - 1]);
    for (size_t i = 0; i < count; i++)
        for (size_t j = 0; j < i; j++) assert_true(hashes[i] != hashes[j]);
    io->close(io, fd);
    unmap_one(&mapped);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(every_call_answers_like_the_real_machine, scratch_make, scratch_remove),
        cmocka_unit_test(a_memory_that_is_used_again_is_zero),
        cmocka_unit_test(a_hook_sees_what_was_stored_before_its_call),
        cmocka_unit_test(of_those_who_die_all_is_told_apart_that_is_mapped_or_not_yet_durable),
    };
    int failures = cmocka_run_group_tests(tests, NULL, NULL);
    io_crash_trim();
    return failures;
}
