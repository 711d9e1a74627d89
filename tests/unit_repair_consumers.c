/* Repair of offset files, to the word: what of a damaged one is kept, what is made up where nothing is left, and that nothing is
 * done to a sound one. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "repair_parts.h"
#include "support/api.h"
#include "support/damage.h"
#include "support/each_fault.h"
#include "support/offset_file.h"

#define NOON INT64_C(1800000000000007)
#define WHEN "20270115T080000.000007Z"
/* The first id above the floor is the last of its block. */
enum { FLOOR = 730, DELIVERED = 1400, OLDEST = 321, MODE = 0640 };
enum { OF_ITS_SIZE = (BLOCKS - 2) * WORDS + WORDS - 1 }; /* the largest window that such a file can have */

/* ---- a queue that is repaired ----------------------------------------------------------- */

static char queue_path[4200];
static struct repair repair;

static struct {
    unsigned count;
    char file[200], aside[300], damage[600], remedy[200];
    char files[600];
} told;

static int64_t noon(const struct lqi_io *machine)
{
    (void)machine;
    return NOON;
}

static const struct lqi_io *stopped(void)
{
    static struct lqi_io machine;
    machine = lqi_io_posix;
    machine.wall_us = noon;
    return &machine;
}

static void note(void *context, const lq_repair_step *step)
{
    HOLDS(context == &told && step->size == sizeof *step && step->first_id == 0 && step->count == 0);
    told.count++;
    snprintf(told.file, sizeof told.file, "%s", step->file);
    snprintf(told.aside, sizeof told.aside, "%s", step->aside);
    snprintf(told.damage, sizeof told.damage, "%s", step->damage);
    snprintf(told.remedy, sizeof told.remedy, "%s", step->remedy);
    size_t length = strlen(told.files);
    snprintf(told.files + length, sizeof told.files - length, "%s ", step->file);
}

static void open_queue(const struct lqi_io *machine)
{
    memset(&told, 0, sizeof told);
    repair = (struct repair){.io = machine, .path = queue_path, .each = note, .context = &told, .dir = -1, .consumers_dir = -1, .aside = LQI_ASIDE_NONE};
    repair.meta.options.mode = MODE;
    repair.found.first_id = OLDEST;
    memcpy(repair.meta.uuid, uuid, sizeof uuid);
    EQUAL(lqi_io_posix.dir_open(&lqi_io_posix, -1, queue_path, &repair.dir), 0);
    EQUAL(lqi_io_posix.dir_open(&lqi_io_posix, repair.dir, "consumers", &repair.consumers_dir), 0);
}

static void close_queue(void)
{
    lqi_aside_close(&repair.aside);
    lqi_io_posix.close(&lqi_io_posix, repair.consumers_dir);
    lqi_io_posix.close(&lqi_io_posix, repair.dir);
}

static const char *in_queue(const char *name)
{
    return api_path(queue_path, name);
}

static const char *offset_file(void)
{
    return in_queue("consumers/billing.pos");
}

static uint32_t word_of(void *context, uint64_t id)
{
    (void)context;
    return id % 3 == 0 ? 0 : id % 3 == 1 ? LQI_WORD_SETTLED : (uint32_t)(id % 7);
}

static const struct lqi_position_entry saved = {
    .floor = FLOOR, .delivered = DELIVERED, .incarnation = 0x40000, .durable = 0x50100, .durable_id = 1410, .time_us = 1700000000000777,
};

static void new_queue(void **state)
{
    struct lqi_position position;
    snprintf(queue_path, sizeof queue_path, "%s", api_path(*state, "q"));
    HOLDS(mkdir(queue_path, 0700) == 0 && mkdir(in_queue("consumers"), 0700) == 0);
    open_queue(stopped());
    create(repair.consumers_dir);
    OK(open_position(&position, repair.consumers_dir));
    OK(lqi_position_save(&position, &saved, FLOOR + 1, DELIVERED, &sides, word_of, NULL));
    lqi_position_close(&position);
}

static void drop_queue(void)
{
    close_queue();
    HOLDS(scratch_delete(queue_path) == 0);
}

/* Both copies of the fixed part, or all entries. */
static void lose_fixed(void) { damage_zero(offset_file(), 0, 1024); }
static void lose_entries(void) { damage_fill(offset_file(), LQI_POSITION_ENTRIES_AT, (uint64_t)LQI_POSITION_ENTRIES * LQI_POSITION_ENTRY, 1); }

/* ---- what it is afterwards ------------------------------------------------------------------ */

static unsigned words_found;

static void compare_word(void *context, uint64_t id, uint32_t word)
{
    const uint64_t *kept_below = context; /* what is above was cut off */
    HOLDS(id > FLOOR && id <= DELIVERED && id < *kept_below);
    EQUAL(word, word_of(NULL, id));
    words_found++;
}

static void nothing_is_wrong(void *context, uint64_t offset, const char *text)
{
    (void)context, (void)offset;
    api_note("%s", text);
    HOLDS(!"damaged");
}

static struct lqi_position_entry repaired(const char *name, uint32_t window)
{
    struct lqi_position position;
    uint32_t damaged;
    uint64_t all = UINT64_MAX;
    OK(lqi_position_open(&position, &lqi_io_posix, repair.consumers_dir, name, uuid, false));
    OK(lqi_position_check(&position, nothing_is_wrong, NULL));
    EQUAL(position.window, window);
    EQUAL(position.newest.sequence, 2);
    HOLDS(position.newest.incarnation != 0 && position.newest.incarnation != saved.incarnation);
    EQUAL(position.incarnations[1], position.newest.incarnation);
    EQUAL(position.damaged_copy, -1);
    words_found = 0;
    OK(lqi_position_load(&position, compare_word, &all, NULL, &damaged));
    EQUAL(damaged, 0);
    struct lqi_position_entry newest = position.newest;
    lqi_position_close(&position);
    return newest;
}

static unsigned words_between(uint64_t low, uint64_t high)
{
    unsigned count = 0;
    for (uint64_t id = low; id <= high; id++) count += word_of(NULL, id) != 0;
    return count;
}

/* ---- kept -------------------------------------------------------------------------------------- */

static int open_to_read(const struct lqi_io *machine, int dir, const char *name, int flags, uint32_t mode, int *fd_out)
{
    EQUAL(flags, LQI_OPEN_READ);
    return lqi_io_posix.open(machine, dir, name, flags, mode, fd_out);
}

static int next_descriptor(void)
{
    int fd = dup(STDOUT_FILENO);
    HOLDS(fd >= 0);
    close(fd);
    return fd;
}

static void a_sound_offset_file_is_left_alone(void **state)
{
    struct lqi_io machine = *stopped();
    new_queue(state);
    struct api_tree *before = api_tree_read(queue_path);
    int descriptor = next_descriptor();
    machine.open = open_to_read;
    repair.io = &machine;
    OK(lqi_repair_consumers(&repair));
    EQUAL(next_descriptor(), descriptor);
    EQUAL(told.count, 0);
    HOLDS(api_tree_same(before, NULL) && !api_file_exists(in_queue("aside")));
    api_tree_free(before);
    drop_queue();
}

static void of_a_damaged_one_position_and_words_are_kept_and_its_history_is_not(void **state)
{
    for (int which = 0; which < 3; which++) { /* copies of the fixed part; an entry */
        new_queue(state);
        struct api_bytes old, aside;
        if (which < 2) api_file_flip(offset_file(), which * 512 + 50, 1);
        else damage_fill(offset_file(), LQI_POSITION_ENTRIES_AT + 50 * LQI_POSITION_ENTRY, LQI_POSITION_ENTRY, 1);
        HOLDS(chmod(offset_file(), 0604) == 0);
        old = api_file_read(offset_file());
        OK(lqi_repair_consumers(&repair));
        EQUAL(told.count, 1);
        assert_string_equal(told.file, "consumers/billing.pos");
        assert_string_equal(told.aside, "aside/" WHEN "-consumers-billing.pos");
        assert_string_equal(told.remedy, "written anew: the consumer has settled all up to message 730");
        HOLDS(strncmp(told.damage, which == 0 ? "byte 0: " : which == 1 ? "byte 512: " : "byte 7296: ", 8) == 0);
        EQUAL(repair.result.steps, 1);
        EQUAL(repair.result.lost, 0);
        struct lqi_position_entry newest = repaired("billing", WINDOW);
        struct lqi_position_entry expected = saved;
        expected.incarnation = newest.incarnation;
        assert_same_entry(&newest, &expected);
        EQUAL(words_found, words_between(FLOOR + 1, DELIVERED));
        aside = api_file_read(in_queue("aside/" WHEN "-consumers-billing.pos"));
        HOLDS(aside.size == old.size && memcmp(aside.bytes, old.bytes, old.size) == 0);
        free(old.bytes);
        free(aside.bytes);
        struct stat stat_of_it;
        HOLDS(stat(offset_file(), &stat_of_it) == 0 && (stat_of_it.st_mode & 0777) == 0604); /* whose it was, it is */
        drop_queue();
    }
}

/* Should the newer entry be torn: nothing above its floor has been handed out then. */
static void the_first_entry_of_a_new_one_is_the_floor_alone(void **state)
{
    struct lqi_position position;
    new_queue(state);
    api_file_flip(offset_file(), 50, 1);
    OK(lqi_repair_consumers(&repair));
    uint64_t incarnation = repaired("billing", WINDOW).incarnation;
    damage_zero(offset_file(), LQI_POSITION_ENTRIES_AT + 2 * LQI_POSITION_ENTRY, LQI_POSITION_ENTRY);
    OK(open_position(&position, repair.consumers_dir));
    EQUAL(position.newest.sequence, 1);
    EQUAL(position.newest.floor, FLOOR);
    EQUAL(position.newest.delivered, FLOOR);
    EQUAL(position.newest.incarnation, incarnation);
    EQUAL(position.newest.durable, 0);
    EQUAL(position.newest.time_us, NOON);
    lqi_position_close(&position);
    drop_queue();
}

/* Its size tells the window. */
static void without_its_fixed_part_a_file_tells_the_rest(void **state)
{
    new_queue(state);
    lose_fixed();
    OK(lqi_repair_consumers(&repair));
    EQUAL(told.count, 1);
    HOLDS(strncmp(told.damage, "byte 0: consumers/billing.pos at byte 0: ", 30) == 0);
    assert_string_equal(told.remedy, "written anew: the consumer has settled all up to message 730");
    struct lqi_position_entry newest = repaired("billing", OF_ITS_SIZE);
    EQUAL(newest.delivered, DELIVERED);
    EQUAL(words_found, words_between(FLOOR + 1, DELIVERED));
    drop_queue();
}

static void what_is_cut_off_counts_as_not_settled(void **state)
{
    for (unsigned blocks = 0; blocks < BLOCKS; blocks += 3) { /* that are left of a side */
        new_queue(state);
        damage_cut(offset_file(), LQI_POSITION_BLOCKS_AT + SIDE_SIZE + blocks * LQI_POSITION_BLOCK);
        OK(lqi_repair_consumers(&repair));
        EQUAL(told.count, 1);
        struct lqi_position_entry newest = repaired("billing", WINDOW);
        EQUAL(newest.delivered, DELIVERED);
        HOLDS(words_found < words_between(FLOOR + 1, DELIVERED));
        drop_queue();
    }
}

/* ---- made up ------------------------------------------------------------------------------------ */

static void of_which_nothing_is_left_starts_again_at_the_oldest_message(void **state)
{
    for (int what = 0; what < 4; what++) {
        char remedy[200];
        uint64_t oldest = what == 3 ? 0 : OLDEST; /* 0: none was ever put */
        new_queue(state);
        if (what == 1) {
            HOLDS(unlink(offset_file()) == 0 && mkdir(offset_file(), 0700) == 0);
        } else {
            lose_entries();
            if (what == 2) lose_fixed();
        }
        repair.found.first_id = oldest;
        OK(lqi_repair_consumers(&repair));
        EQUAL(told.count, 1);
        snprintf(remedy, sizeof remedy, "made anew: the consumer starts again at message %d, the oldest", oldest ? OLDEST : 1);
        assert_string_equal(told.remedy, remedy);
        struct lqi_position_entry newest = repaired("billing", what == 1 ? LQI_POSITION_WINDOW : what == 2 ? OF_ITS_SIZE : WINDOW);
        EQUAL(newest.floor, oldest ? OLDEST - 1 : 0);
        EQUAL(newest.delivered, newest.floor);
        EQUAL(words_found, 0);
        struct stat stat_of_it;
        HOLDS(stat(offset_file(), &stat_of_it) == 0);
        if (what == 1) EQUAL(stat_of_it.st_mode & 0777, MODE); /* what was no file has no owner to inherit from */
        drop_queue();
    }
}

/* ---- several; and a plan ---------------------------------------------------------------------------- */

static const char *longest(void)
{
    static char name[LQ_NAME_MAX + 1];
    memset(name, 'n', LQ_NAME_MAX);
    return name;
}

static void each_gets_an_incarnation_of_its_own(void **state)
{
    char path[300];
    new_queue(state);
    lose_entries();
    snprintf(path, sizeof path, "consumers/%s.pos", longest());
    api_file_write(in_queue(path), "short", 5);
    api_file_write(in_queue("consumers/a.pos"), "", 0);
    OK(lqi_repair_consumers(&repair));
    EQUAL(told.count, 3);
    char all[600];
    snprintf(all, sizeof all, "consumers/a.pos consumers/billing.pos %s ", path);
    assert_string_equal(told.files, all);
    assert_string_equal(told.file, path);
    uint64_t a = repaired("a", LQI_POSITION_WINDOW).incarnation, b = repaired("billing", WINDOW).incarnation;
    uint64_t c = repaired(longest(), LQI_POSITION_WINDOW).incarnation;
    HOLDS(a != b && b != c && a != c);
    drop_queue();
}

static void a_dry_run_says_the_same_and_changes_nothing(void **state)
{
    new_queue(state);
    api_file_flip(offset_file(), 50, 1);
    api_file_write(in_queue("consumers/a.pos"), "", 0);
    struct api_tree *before = api_tree_read(queue_path);
    repair.dry = true;
    OK(lqi_repair_consumers(&repair));
    EQUAL(told.count, 2);
    assert_string_equal(told.files, "consumers/a.pos consumers/billing.pos ");
    assert_string_equal(told.remedy, "written anew: the consumer has settled all up to message 730");
    assert_string_equal(told.aside, "");
    HOLDS(api_tree_same(before, NULL) && !api_file_exists(in_queue("aside")));
    api_tree_free(before);
    drop_queue();
}

/* ---- what is refused, and a machine that fails --------------------------------------------------------- */

static void a_link_is_refused_and_ends_it(void **state)
{
    new_queue(state);
    api_file_flip(offset_file(), 50, 1);
    HOLDS(symlink("billing.pos", in_queue("consumers/a.pos")) == 0);
    IS(LQ_ECORRUPT, lqi_repair_consumers(&repair));
    TEXT_HAS("consumers/a.pos is a symbolic link");
    EQUAL(told.count, 0);
    drop_queue();
}

static int no_random(const struct lqi_io *machine, void *data, size_t size)
{
    (void)machine, (void)data, (void)size;
    return EIO;
}

static char deeds[200]; /* w: a write to a file, s: a file synced, x: two names swapped */

static void deed(char what)
{
    size_t length = strlen(deeds);
    if (length && deeds[length - 1] == what) return;
    HOLDS(length + 1 < sizeof deeds);
    deeds[length] = what;
}

static int note_write(const struct lqi_io *machine, int fd, uint64_t offset, const void *data, size_t size)
{
    deed('w');
    return lqi_io_posix.write(machine, fd, offset, data, size);
}

static int note_sync(const struct lqi_io *machine, int fd)
{
    deed('s');
    return lqi_io_posix.sync(machine, fd);
}

static int note_swap(const struct lqi_io *machine, int dir, const char *a, const char *b)
{
    deed('x');
    return lqi_io_posix.swap(machine, dir, a, b);
}

static void a_new_one_is_durable_before_it_is_in_its_place(void **state)
{
    struct lqi_io machine = *stopped();
    for (int is_file = 0; is_file < 2; is_file++) {
        new_queue(state);
        if (is_file) lose_entries();
        else HOLDS(unlink(offset_file()) == 0 && mkdir(offset_file(), 0700) == 0);
        machine.write = note_write;
        machine.sync = note_sync;
        machine.swap = note_swap;
        repair.io = &machine;
        memset(deeds, 0, sizeof deeds);
        OK(lqi_repair_consumers(&repair));
        HOLDS(strstr(deeds, "wsx") != NULL && strstr(deeds, "wx") == NULL);
        EQUAL(deeds[strlen(deeds) - 1], 'x');
        drop_queue();
    }
}

/* Of the sound one, nothing is said unless all of it could be looked at. */
static void look_on_a_sick_machine(struct io_fault *fault, void *state)
{
    new_queue(state);
    close_queue();
    open_queue(&fault->io);
    int err = lqi_repair_consumers(&repair);
    EQUAL(told.count, 0);
    if (err) IS(LQ_EIO, err);
    EQUAL(fault->hits > 0, err != 0);
    drop_queue();
}

static void repair_on_a_sick_machine(struct io_fault *fault, void *state)
{
    new_queue(state);
    lose_fixed();
    close_queue();
    open_queue(&fault->io);
    int err = lqi_repair_consumers(&repair);
    if (err) {
        HOLDS(fault->hits > 0);
        IS(LQ_EIO, err);
        EQUAL(told.count, 0);
    } else {
        EQUAL(told.count, 1);
        EQUAL(repaired("billing", OF_ITS_SIZE).delivered, DELIVERED);
        EQUAL(words_found, words_between(FLOOR + 1, DELIVERED)); /* nothing that could not be read is given up */
    }
    drop_queue();
}

static void what_the_machine_cannot_read_or_write_is_an_error(void **state)
{
    struct lqi_io machine = *stopped();
    HOLDS(each_fault(look_on_a_sick_machine, state) > 2 * 4);
    HOLDS(each_fault(repair_on_a_sick_machine, state) > 2 * 20);
    new_queue(state);
    lose_fixed();
    machine.random = no_random;
    repair.io = &machine;
    IS(LQ_EIO, lqi_repair_consumers(&repair));
    assert_string_equal(lq_error_text(), "get random bytes for billing: Input/output error");
    drop_queue();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_DIRECTORY(a_sound_offset_file_is_left_alone),
        IN_DIRECTORY(of_a_damaged_one_position_and_words_are_kept_and_its_history_is_not),
        IN_DIRECTORY(the_first_entry_of_a_new_one_is_the_floor_alone),
        IN_DIRECTORY(without_its_fixed_part_a_file_tells_the_rest),
        IN_DIRECTORY(what_is_cut_off_counts_as_not_settled),
        IN_DIRECTORY(of_which_nothing_is_left_starts_again_at_the_oldest_message),
        IN_DIRECTORY(each_gets_an_incarnation_of_its_own),
        IN_DIRECTORY(a_dry_run_says_the_same_and_changes_nothing),
        IN_DIRECTORY(a_link_is_refused_and_ends_it),
        IN_DIRECTORY(a_new_one_is_durable_before_it_is_in_its_place),
        IN_DIRECTORY(what_the_machine_cannot_read_or_write_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
