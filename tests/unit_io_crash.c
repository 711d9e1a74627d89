/* The machine whose power fails: does it keep what was synced, and lose what it may lose? What it is like
 * as long as it runs: unit_io_crash_calls.c. */
#include "support/io_crash.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include <cmocka.h>

#include "support/io_subsets.h"

/* ---- helpers ----------------------------------------------------------- */

static struct io_crash *machine;
static const struct lqi_io *io;
static int root;

static int switch_on(void **state)
{
    (void)state;
    machine = io_crash_new(1);
    io = io_crash_io(machine);
    return io->dir_open(io, -1, ".", &root);
}

static int switch_off(void **state)
{
    (void)state;
    io->close(io, root);
    io_crash_free(machine);
    io_crash_trim();
    return 0;
}

static int make_file(const char *name)
{
    int fd = -1;
    assert_int_equal(io->open(io, root, name, LQI_OPEN_NEW, 0600, &fd), 0);
    return fd;
}

/* A file of so many of the letter, all durable. */
static int make_durable(const char *name, char letter, size_t size)
{
    char bytes[1024];
    int fd = make_file(name);
    memset(bytes, letter, sizeof bytes);
    assert_int_equal(io->write(io, fd, 0, bytes, size), 0);
    assert_int_equal(io->sync(io, fd), 0);
    assert_int_equal(io->dir_sync(io, root), 0);
    return fd;
}

static void put_letters(int fd, uint64_t offset, char letter, size_t size)
{
    char bytes[1024];
    memset(bytes, letter, sizeof bytes);
    assert_int_equal(io->write(io, fd, offset, bytes, size), 0);
}

/* What another machine has under the name, shortened: "a2b1" is two units of 64 a and one of b, '.' zeros,
 * '?' a mixture, and 'x' more a shorter unit; "-" is no such file. */
static const char *summary(struct io_crash *other, const char *name)
{
    static char text[256];
    const struct lqi_io *that = io_crash_io(other);
    char bytes[8192], kind = 0;
    size_t got = 0, run = 0, length = 0;
    int dir = -1, fd = -1;

    assert_int_equal(that->dir_open(that, -1, "", &dir), 0);
    if (that->open(that, dir, name, LQI_OPEN_READ, 0, &fd)) {
        that->close(that, dir);
        return "-";
    }
    assert_int_equal(that->read(that, fd, 0, bytes, sizeof bytes, &got), 0);
    that->close(that, fd);
    that->close(that, dir);
    text[0] = 0;
    for (size_t at = 0; at <= got; at += 64) {
        char now = 0;
        if (at < got) {
            now = bytes[at] ? bytes[at] : '.';
            for (size_t i = at; i < at + 64 && i < got; i++)
                if (bytes[i] != bytes[at]) now = '?';
        }
        if (now == kind) {
            run++;
            continue;
        }
        if (kind) length += (size_t)snprintf(text + length, sizeof text - length, "%c%zu", kind, run);
        kind = now;
        run = 1;
    }
    if (got % 64) snprintf(text + length, sizeof text - length, "x%zu", got % 64);
    return text;
}

/* All answers that can be given to a power loss, one after the other. */
struct answers {
    bool given[64];
    size_t count, asked;
};

static bool answer(void *context, const struct io_crash_change *change)
{
    struct answers *answers = context;
    (void)change;
    assert_true(answers->asked < 64);
    if (answers->asked == answers->count) answers->given[answers->count++] = false;
    return answers->given[answers->asked++];
}

static bool next_answers(struct answers *answers)
{
    answers->count = answers->asked;
    answers->asked = 0;
    while (answers->count > 0 && answers->given[answers->count - 1]) answers->count--;
    if (answers->count == 0) return false;
    answers->given[answers->count - 1] = true;
    return true;
}

/* The different things that a power loss now can leave of the files, each told once; '|' between names, "\n" between things. */
static const char *outcomes(const char *one, const char *two)
{
    static char text[65536];
    struct answers answers = {.count = 0};
    strcpy(text, "\n");
    do {
        char line[600] = "\n", found[602];
        struct io_crash *after = io_crash_power_loss_by(machine, 64, answer, &answers);
        snprintf(line + 1, sizeof line - 1, "%s", summary(after, one));
        if (two) snprintf(line + strlen(line), sizeof line - strlen(line), "|%s", summary(after, two));
        snprintf(found, sizeof found, "%s\n", line);
        if (strstr(text, found) == NULL) {
            assert_true(strlen(text) + strlen(found) < sizeof text);
            strcat(text, found + 1);
        }
        io_crash_free(after);
    } while (next_answers(&answers));
    return text;
}

static int count_lines(const char *text)
{
    int lines = 0;
    for (text++; *text; text++) lines += *text == '\n';
    return lines;
}

/* ---- what survives ----------------------------------------------------- */

static void what_was_synced_survives_every_power_loss(void **state)
{
    (void)state;
    io->close(io, make_durable("a", 'a', 640));
    for (uint64_t seed = 0; seed < 300; seed++) {
        struct io_crash *after = io_crash_power_loss(machine, seed);
        assert_string_equal(summary(after, "a"), "a10");
        assert_true(io_crash_hash(after) == io_crash_hash(machine));
        io_crash_free(after);
    }
}

static void of_a_file_without_sync_anything_may_survive(void **state)
{
    (void)state;
    int fd = make_file("a");
    assert_int_equal(io->dir_sync(io, root), 0);
    put_letters(fd, 0, 'a', 128);
    /* Nothing; all; either half with the full size; the first half alone; zeros of the full size. */
    assert_string_equal(outcomes("a", NULL), "\n\n.2\n.1a1\na1\na1.1\na2\n");
    io->close(io, fd);
}

static void a_file_whose_directory_was_not_synced_may_be_missing_though_it_was(void **state)
{
    (void)state;
    int fd = make_file("a");
    put_letters(fd, 0, 'a', 64);
    assert_int_equal(io->sync(io, fd), 0);
    assert_string_equal(outcomes("a", NULL), "\n-\na1\n");
    assert_int_equal(io->dir_sync(io, root), 0);
    assert_string_equal(outcomes("a", NULL), "\na1\n");
    io->close(io, fd);
}

static void a_later_write_may_survive_without_an_earlier_one(void **state)
{
    (void)state;
    int fd = make_durable("a", 'a', 192);
    put_letters(fd, 0, 'b', 128);
    put_letters(fd, 64, 'c', 128);
    const char *all = outcomes("a", NULL);
    assert_int_equal(count_lines(all), 2 * 3 * 2); /* a or b; a, b or c; a or c */
    assert_non_null(strstr(all, "\na1c2\n"));
    assert_non_null(strstr(all, "\nb1a2\n"));
    assert_non_null(strstr(all, "\nb2c1\n"));
    io->close(io, fd);
}

static void a_write_tears_at_the_units_of_the_file_not_of_the_write(void **state)
{
    (void)state;
    int fd = make_durable("a", 'a', 128);
    put_letters(fd, 60, 'b', 8);
    assert_string_equal(outcomes("a", NULL), "\na2\na1?1\n?1a1\n?2\n");
    io->close(io, fd);
}

static void a_file_that_grew_may_have_any_size_it_had_and_zeros(void **state)
{
    (void)state;
    int fd = make_durable("a", 'a', 64);
    assert_int_equal(io->allocate(io, fd, 256), 0);
    assert_int_equal(io->allocate(io, fd, 128), 0); /* does nothing */
    put_letters(fd, 64, 'b', 64);
    assert_string_equal(outcomes("a", NULL), "\na1\na1.3\na1b1.2\n");
    io->close(io, fd);
}

static void a_cut_may_be_lost_and_what_was_cut_off_does_not_come_back_whole_later(void **state)
{
    (void)state;
    int fd = make_durable("a", 'a', 128);
    assert_int_equal(io->truncate(io, fd, 64), 0);
    assert_string_equal(summary(machine, "a"), "a1");
    assert_int_equal(io->truncate(io, fd, 128), 0);
    assert_string_equal(summary(machine, "a"), "a1.1");
    const char *all = outcomes("a", NULL);
    assert_int_equal(count_lines(all), 3);
    assert_non_null(strstr(all, "\na2\n"));
    assert_non_null(strstr(all, "\na1\n"));
    assert_non_null(strstr(all, "\na1.1\n"));
    assert_int_equal(io->sync(io, fd), 0);
    assert_string_equal(outcomes("a", NULL), "\na1.1\n");
    io->close(io, fd);
}

static void a_rename_happened_or_did_not_and_the_name_is_never_empty(void **state)
{
    (void)state;
    io->close(io, make_durable("a", 'a', 64));
    int fd = make_durable("new", 'b', 64);
    assert_int_equal(io->rename(io, root, "new", "a", true), 0);
    assert_string_equal(outcomes("a", "new"), "\na1|b1\nb1|-\n");
    assert_int_equal(io->dir_sync(io, root), 0);
    assert_string_equal(outcomes("a", "new"), "\nb1|-\n");
    io->close(io, fd);
}

static void a_swap_between_directories_happened_in_both_or_in_none(void **state)
{
    (void)state;
    for (int synced = 0; synced < 2; synced++) {
        int dir = -1;
        const char *a = synced ? "a2" : "a", *inner = synced ? "d2" : "d", *b = synced ? "d2/b" : "d/b";
        assert_int_equal(io->dir_make(io, root, inner, 0700), 0);
        io->close(io, make_durable(a, 'a', 64));
        io->close(io, make_durable(b, 'b', 64));
        assert_int_equal(io->dir_open(io, root, inner, &dir), 0);
        assert_int_equal(io->dir_sync(io, dir), 0);
        assert_int_equal(io->swap(io, root, a, synced ? "d2/none" : "d/none"), ENOENT);
        assert_int_equal(io->swap(io, root, a, b), 0);
        assert_string_equal(summary(machine, a), "b1");
        assert_string_equal(outcomes(a, b), "\na1|b1\nb1|a1\n");
        assert_int_equal(io->dir_sync(io, synced ? dir : root), 0); /* either will do */
        assert_string_equal(outcomes(a, b), "\nb1|a1\n");
        io->close(io, dir);
    }
}

static void a_rename_into_another_directory_is_one_change(void **state)
{
    (void)state;
    int dir = -1;
    assert_int_equal(io->dir_make(io, root, "d", 0700), 0);
    io->close(io, make_durable("a", 'a', 64));
    assert_int_equal(io->rename(io, root, "a", "d/b", false), 0);
    assert_string_equal(outcomes("a", "d/b"), "\na1|-\n-|a1\n");
    assert_int_equal(io->dir_open(io, root, "d", &dir), 0);
    assert_int_equal(io->dir_sync(io, dir), 0);
    assert_string_equal(outcomes("a", "d/b"), "\n-|a1\n");
    io->close(io, dir);
}

static void a_rename_may_overtake_the_bytes_of_its_file(void **state)
{
    (void)state;
    io->close(io, make_durable("a", 'a', 64));
    int fd = make_file("new");
    put_letters(fd, 0, 'b', 64);
    assert_int_equal(io->rename(io, root, "new", "a", true), 0);
    const char *all = outcomes("a", "new");
    assert_non_null(strstr(all, "\n|-\n")); /* an empty file */
    assert_non_null(strstr(all, "\n.1|-\n"));
    assert_non_null(strstr(all, "\nb1|-\n"));
    assert_non_null(strstr(all, "\na1|b1\n"));
    assert_non_null(strstr(all, "\na1|-\n"));
    io->close(io, fd);
}

static void names_change_in_any_order(void **state)
{
    (void)state;
    io->close(io, make_durable("a", 'a', 64));
    io->close(io, make_durable("b", 'b', 64));
    assert_int_equal(io->unlink(io, root, "a"), 0);
    assert_int_equal(io->unlink(io, root, "b"), 0);
    assert_string_equal(outcomes("a", "b"), "\na1|b1\na1|-\n-|b1\n-|-\n");
    assert_int_equal(io->dir_sync(io, root), 0);
    assert_string_equal(outcomes("a", "b"), "\n-|-\n");
}

static void directories_nest_and_are_synced_one_by_one(void **state)
{
    (void)state;
    int inner = -1, fd = -1;
    assert_int_equal(io->dir_make(io, -1, "d", 0700), 0);
    assert_int_equal(io->dir_open(io, root, "d", &inner), 0);
    assert_int_equal(io->open(io, inner, "f", LQI_OPEN_NEW, 0600, &fd), 0);
    put_letters(fd, 0, 'f', 64);
    assert_int_equal(io->sync(io, fd), 0);
    assert_string_equal(outcomes("d/f", NULL), "\n-\nf1\n");
    assert_int_equal(io->dir_sync(io, inner), 0);
    assert_string_equal(outcomes("d/f", NULL), "\n-\nf1\n"); /* the outer name is not durable yet */
    assert_int_equal(io->dir_sync(io, root), 0);
    assert_string_equal(outcomes("/d/../d/./f", NULL), "\nf1\n");
    io->close(io, fd);
    io->close(io, inner);
}

static void the_subsets_of_a_few_changes_are_every_outcome_and_too_many_are_refused(void **state)
{
    (void)state;
    struct io_subsets subsets;
    struct io_crash *after;
    char found[4096] = "\n";
    int fd = make_durable("a", 'a', 192), other = make_file("b");
    put_letters(fd, 64, 'b', 128);
    put_letters(fd, 64, 'c', 64);
    put_letters(other, 0, 'd', 64);

    assert_true(io_subsets_begin(&subsets, machine, 8));
    while ((after = io_subsets_next(&subsets))) {
        char line[600], whole[602];
        snprintf(line, sizeof line, "%s|", summary(after, "a"));
        snprintf(line + strlen(line), sizeof line - strlen(line), "%s", summary(after, "b"));
        snprintf(whole, sizeof whole, "\n%s\n", line);
        if (strstr(found, whole) == NULL) strcat(found, whole + 1);
        io_crash_free(after);
    }
    const char *all = outcomes("a", "b");
    assert_int_equal(count_lines(found), count_lines(all));
    assert_int_equal(strlen(found), strlen(all));
    assert_false(io_subsets_begin(&subsets, machine, 4));
    io->close(io, fd);
    io->close(io, other);
}

static void seeds_find_every_outcome(void **state)
{
    (void)state;
    int fd = make_durable("a", 'a', 192);
    put_letters(fd, 0, 'b', 128);
    put_letters(fd, 64, 'c', 128);
    put_letters(fd, 192, 'd', 64);
    assert_int_equal(io->unlink(io, root, "a"), 0);
    char wanted[65536];
    strcpy(wanted, outcomes("a", NULL));
    int count = count_lines(wanted), found = 0;
    assert_int_equal(count, 2 * 3 * 2 * 3 + 1);
    char seen[65536] = "\n";
    for (uint64_t seed = 0; seed < 30000; seed++) {
        struct io_crash *after = io_crash_power_loss(machine, seed);
        char line[300];
        snprintf(line, sizeof line, "\n%s\n", summary(after, "a"));
        if (seed < 18 || seed % 4 == 0) { /* the others have units of other sizes */
            assert_non_null(strstr(wanted, line));
            if (strstr(seen, line) == NULL) {
                strcat(seen, line + 1);
                found++;
            }
        }
        if (seed == 0) assert_string_equal(line, "\na3\n");
        if (seed == 1) assert_string_equal(line, "\n-\n");
        io_crash_free(after);
    }
    assert_int_equal(found, count);
    io->close(io, fd);
}

/* ---- processes, locks, maps -------------------------------------------- */

static void the_death_of_processes_loses_nothing_but_a_power_loss_after_it_may(void **state)
{
    (void)state;
    int fd = make_durable("a", 'a', 64);
    uint8_t before[16], now[16];
    bool locked = true;
    put_letters(fd, 0, 'b', 128);
    assert_int_equal(io->lock(io, fd, 9), 0);
    assert_int_equal(io->boot_id(io, before), 0);
    char same[2000];
    strcpy(same, outcomes("a", NULL));

    struct io_crash *old = machine;
    machine = io_crash_processes_die(old);
    assert_string_equal(summary(machine, "a"), "b2");
    assert_string_equal(outcomes("a", NULL), same);
    const struct lqi_io *that = io_crash_io(machine);
    int other = -1, dir = -1;
    assert_int_equal(that->dir_open(that, -1, ".", &dir), 0);
    assert_int_equal(that->open(that, dir, "a", LQI_OPEN_WRITE, 0, &other), 0);
    assert_int_equal(that->locked(that, other, 0, 100, &locked), 0);
    assert_false(locked);
    assert_int_equal(that->boot_id(that, now), 0);
    assert_memory_equal(before, now, 16);
    that->close(that, other);
    that->close(that, dir);

    struct io_crash *after = io_crash_power_loss(machine, 1);
    that = io_crash_io(after);
    assert_int_equal(that->boot_id(that, now), 0);
    assert_memory_not_equal(before, now, 16);
    io_crash_free(after);
    io_crash_free(machine);
    machine = old;
    io->close(io, fd);
}

static void a_mapped_file_is_one_memory_mirrored_and_may_lose_its_pages(void **state)
{
    (void)state;
    int fd = make_file("a"), other = -1;
    void *one = NULL, *two = NULL;
    char back[8];
    size_t got;

    assert_int_equal(io->dir_sync(io, root), 0);
    assert_int_equal(io->map(io, fd, 0, 4096, 0, true, &one), EINVAL); /* the file is empty */
    put_letters(fd, 0, 'a', 64);
    assert_int_equal(io->allocate(io, fd, 12288), 0);
    assert_int_equal(io->open(io, root, "a", LQI_OPEN_WRITE, 0, &other), 0);
    assert_int_equal(io->map(io, fd, 0, 12288, 8192, true, &one), 0);
    assert_int_equal(io->map(io, other, 0, 12288, 8192, false, &two), 0);
    uint8_t *bytes = one;
    assert_int_equal(bytes[63], 'a');
    memcpy(bytes + 12286, "seam", 4);
    assert_memory_equal(bytes + 4096, "am", 2);
    assert_memory_equal((uint8_t *)two + 12286, "seam", 4);
    assert_int_equal(io->read(io, other, 4096, back, 2, &got), 0);
    assert_memory_equal(back, "am", 2);
    put_letters(other, 100, 'z', 4);
    assert_int_equal(bytes[101], 'z');

    struct answers answers = {.count = 0};
    int count = 0;
    do {
        io_crash_free(io_crash_power_loss_by(machine, 64, answer, &answers));
        count++;
    } while (next_answers(&answers));
    assert_int_equal(count, 2 * 2 * 2 * 2); /* three pages and the size */

    struct io_crash *dead = io_crash_processes_die(machine);
    bytes[0] = 'X'; /* too late for the dead */
    const struct lqi_io *that = io_crash_io(dead);
    int dir = -1, third = -1;
    void *three = NULL;
    assert_int_equal(that->dir_open(that, -1, ".", &dir), 0);
    assert_int_equal(that->open(that, dir, "a", LQI_OPEN_WRITE, 0, &third), 0);
    assert_int_equal(that->map(that, third, 4096, 8192, 8192, true, &three), 0);
    assert_memory_equal((uint8_t *)three + 8190, "seam", 4);
    assert_int_equal(that->read(that, third, 0, back, 1, &got), 0);
    assert_int_equal(back[0], 'a');
    that->unmap(that, three, 8192, 8192);
    that->close(that, third);
    that->close(that, dir);
    io_crash_free(dead);

    assert_int_equal(io->sync(io, fd), 0);
    io->unmap(io, one, 12288, 8192);
    io->unmap(io, two, 12288, 8192);
    assert_int_equal(io->truncate(io, fd, 4096), 0);
    assert_int_equal(io->truncate(io, fd, 8192), 0);
    assert_int_equal(io->read(io, fd, 4096, back, 2, &got), 0);
    assert_memory_equal(back, "\0\0", 2);
    io->close(io, fd);
    io->close(io, other);
}

struct watcher {
    int calls, changed, crashes;
    enum io_kind last;
};

static void watch(void *context, struct io_crash *watched, enum io_kind kind, bool changed)
{
    struct watcher *watcher = context;
    watcher->calls++;
    watcher->changed += changed;
    watcher->last = kind;
    if (!changed) return;
    io_crash_free(io_crash_power_loss(watched, 20));
    io_crash_free(io_crash_processes_die(watched));
    watcher->crashes++;
}

static void every_call_can_be_watched_and_crashed_after(void **state)
{
    (void)state;
    struct watcher watcher = {0};
    uint64_t before = io_crash_calls(machine);
    io_crash_watch(machine, watch, &watcher);
    int fd = make_durable("a", 'a', 64); /* open, write, sync, dir_sync */
    assert_int_equal(watcher.calls, 4);
    assert_int_equal(watcher.changed, 4);
    assert_int_equal(watcher.last, IO_DIR_SYNC);
    assert_int_equal(io->sync(io, fd), 0);
    assert_int_equal(io->dir_sync(io, root), 0);
    assert_int_equal(io->truncate(io, fd, 64), 0);
    assert_int_equal(io->unlink(io, root, "none"), ENOENT);
    assert_int_equal(watcher.calls, 8);
    assert_int_equal(watcher.crashes, 4);
    assert_int_equal(io_crash_calls(machine) - before, 8);
    io_crash_watch(machine, NULL, NULL);
    io->close(io, fd);
}

static void crashing_is_fast(void **state)
{
    (void)state;
    int fd = make_durable("a", 'a', 1024), log = make_file("log"), pos = make_durable("pos", 'p', 500);
    assert_int_equal(io->allocate(io, log, 65536), 0);
    assert_int_equal(io->sync(io, log), 0);
    for (uint64_t i = 0; i < 4; i++) put_letters(log, 256 + i * 200, 'l', 200);
    put_letters(pos, 0, 'q', 64);
    uint64_t sum = 0;
    enum { STATES = 100000 };
    clock_t began = clock();
    for (uint64_t seed = 0; seed < STATES; seed++) {
        struct io_crash *after = io_crash_power_loss(machine, seed);
        char byte = 0;
        size_t got;
        int dir = -1, there = -1;
        const struct lqi_io *that = io_crash_io(after);
        that->dir_open(that, -1, ".", &dir);
        if (that->open(that, dir, "log", LQI_OPEN_READ, 0, &there) == 0) that->read(that, there, 300, &byte, 1, &got);
        sum += (uint64_t)byte;
        that->close(that, there);
        that->close(that, dir);
        io_crash_free(after);
    }
    double seconds = (double)(clock() - began) / CLOCKS_PER_SEC;
    print_message("%.0f states/s\n", STATES / seconds);
    assert_true(sum > 0);
    io->close(io, pos);
    io->close(io, log);
    io->close(io, fd);
}

int main(void)
{
#define SWITCHED_ON(test) cmocka_unit_test_setup_teardown(test, switch_on, switch_off)
    const struct CMUnitTest tests[] = {
        SWITCHED_ON(what_was_synced_survives_every_power_loss),
        SWITCHED_ON(of_a_file_without_sync_anything_may_survive),
        SWITCHED_ON(a_file_whose_directory_was_not_synced_may_be_missing_though_it_was),
        SWITCHED_ON(a_later_write_may_survive_without_an_earlier_one),
        SWITCHED_ON(a_write_tears_at_the_units_of_the_file_not_of_the_write),
        SWITCHED_ON(a_file_that_grew_may_have_any_size_it_had_and_zeros),
        SWITCHED_ON(a_cut_may_be_lost_and_what_was_cut_off_does_not_come_back_whole_later),
        SWITCHED_ON(a_rename_happened_or_did_not_and_the_name_is_never_empty),
        SWITCHED_ON(a_swap_between_directories_happened_in_both_or_in_none),
        SWITCHED_ON(a_rename_into_another_directory_is_one_change),
        SWITCHED_ON(a_rename_may_overtake_the_bytes_of_its_file),
        SWITCHED_ON(names_change_in_any_order),
        SWITCHED_ON(directories_nest_and_are_synced_one_by_one),
        SWITCHED_ON(the_subsets_of_a_few_changes_are_every_outcome_and_too_many_are_refused),
        SWITCHED_ON(seeds_find_every_outcome),
        SWITCHED_ON(the_death_of_processes_loses_nothing_but_a_power_loss_after_it_may),
        SWITCHED_ON(a_mapped_file_is_one_memory_mirrored_and_may_lose_its_pages),
        SWITCHED_ON(every_call_can_be_watched_and_crashed_after),
        SWITCHED_ON(crashing_is_fast),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
