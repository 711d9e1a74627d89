/* Which queue it is that is repaired, when its meta is damaged or gone; where its log begins then; and the new meta that is put in its
 * place. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "support/each_fault.h"
#include "support/meta_repair.h"

static const uint8_t other[16] = "of another queue", third[16] = "of a third queue";

/* ---- meta as it is -------------------------------------------------------------------------- */

static int open_to_read_alone(const struct lqi_io *io, int dir, const char *name, int flags, uint32_t mode, int *fd_out)
{
    EQUAL(flags, LQI_OPEN_READ);
    return lqi_io_posix.open(io, dir, name, flags, mode, fd_out);
}

static void a_sound_meta_is_believed_and_locked(void **state)
{
    for (int dry = 0; dry < 2; dry++) {
        new_queue(state);
        if (dry) machine.open = open_to_read_alone;
        OK(look(&machine, dry));
        assert_string_equal(damaged.text, "");
        HOLDS(repair.options_known && memcmp(repair.meta.uuid, uuid, 16) == 0);
        EQUAL(repair.meta.options.segment_size, 3 << 20);
        EQUAL(repair.trim.sequence, 6);
        EQUAL(repair.trim.first_id, 3);
        EQUAL(is_locked(), !dry);
        close_repair();
        HOLDS(!is_locked());
        drop_queue();
    }
}

static void what_is_damaged_in_meta_is_told_and_the_rest_believed(void **state)
{
    static const struct {
        size_t at;
        const char *text;
    } places[] = {{100, "byte 0: "}, {600, "byte 512: "}, {1030, "byte 1024: "}, {2047 - 5 + 512, "byte 2048: "}};
    for (size_t i = 0; i < 4; i++) {
        new_queue(state);
        if (places[i].at < LQI_META_SIZE) api_file_flip(in_queue("meta"), places[i].at, 1);
        else HOLDS(truncate(in_queue("meta"), 2100) == 0);
        OK(look(&machine, false));
        HOLDS(strncmp(damaged.text, places[i].text, strlen(places[i].text)) == 0);
        HOLDS(repair.options_known);
        EQUAL(repair.meta.options.segment_size, 3 << 20);
        close_repair();
        drop_queue();
    }
}

static void a_newer_meta_is_not_touched(void **state)
{
    new_queue(state);
    struct api_bytes file = api_file_read(in_queue("meta"));
    for (int copy = 0; copy < 2; copy++) {
        uint8_t *bytes = file.bytes + (size_t)copy * 512;
        bytes[8] = 9;
        lqi_put64(bytes + 504, lqi_checksum(bytes, 504));
    }
    api_file_write(in_queue("meta"), file.bytes, file.size);
    free(file.bytes);
    put_segment(1, 0, uuid);
    IS(LQ_EVERSION, look(&machine, false));
    close_repair();
    drop_queue();
}

/* ---- and what stands in for it ------------------------------------------------------------------- */

static int open_to_lock_meta_alone(const struct lqi_io *io, int dir, const char *name, int flags, uint32_t mode, int *fd_out)
{
    HOLDS(flags == LQI_OPEN_READ || strcmp(name, "meta") == 0);
    return lqi_io_posix.open(io, dir, name, flags, mode, fd_out);
}

/* In whatever order: of five, three. */
static void the_queue_is_that_of_most_segments(void **state)
{
    for (unsigned which = 0; which < 32; which++) {
        if (__builtin_popcount(which) != 3) continue;
        new_queue(state);
        for (unsigned i = 0; i < 5; i++) put_segment(1 + i, 0, which >> i & 1 ? uuid : other);
        HOLDS(unlink(in_queue("meta")) == 0);
        put_position("c", third); /* is not asked */
        machine.open = open_to_lock_meta_alone;
        OK(look(&machine, false));
        is_of(uuid);
        assert_string_equal(damaged.text, "byte 0: the file is missing");
        EQUAL(repair.meta_bad, LQ_ENOTFOUND);
        close_repair();
        drop_queue();
    }
}

static void segments_that_cannot_be_read_have_no_vote(void **state)
{
    new_queue(state);
    for (unsigned i = 0; i < 4; i++) put_segment(1 + i, 0, other);
    for (unsigned i = 1; i < 4; i++) break_segment(1 + i);
    put_segment(9, 0, uuid);
    put_segment(10, 0, uuid);
    api_file_write(in_queue("meta"), "", 0);
    OK(look(&machine, false));
    is_of(uuid);
    close_repair();
    drop_queue();
}

static void where_no_segment_says_it_an_offset_file_does(void **state)
{
    new_queue(state);
    put_position("a", uuid);
    HOLDS(unlink(in_queue("meta")) == 0);
    OK(look(&machine, false));
    is_of(uuid);
    close_repair();
    drop_queue();

    new_queue(state);
    put_segment(1, 0, other);
    break_segment(1);
    api_file_write(in_queue("consumers/a.pos"), "broken", 6);
    put_position("b", uuid);
    put_position("c", other);
    api_file_write(in_queue("consumers/d.pos"), "broken", 6);
    HOLDS(unlink(in_queue("meta")) == 0);
    OK(look(&machine, false));
    is_of(uuid);
    close_repair();
    drop_queue();
}

/* It has nothing to lose; but what never was a queue is not made one. */
static void a_queue_of_which_nothing_is_left_becomes_a_new_one(void **state)
{
    uint8_t before[16] = {0};
    for (int i = 0; i < 2; i++) {
        new_queue(state);
        empty_meta();
        if (i) api_file_write(in_queue("consumers/a.pos"), "broken", 6); /* nor does this say anything */
        OK(look(&machine, false));
        HOLDS(memcmp(repair.meta.uuid, before, 16) != 0);
        memcpy(before, repair.meta.uuid, 16);
        close_repair();
        drop_queue();
    }
    for (int what = 0; what < 3; what++) {
        char expected[5000];
        new_queue(state);
        if (what == 0) HOLDS(unlink(in_queue("meta")) == 0);
        else if (what == 1) empty_meta(), HOLDS(rmdir(in_queue("log")) == 0);
        else HOLDS(unlink(in_queue("meta")) == 0 && mkdir(in_queue("meta"), 0700) == 0);
        IS(LQ_ENOTQUEUE, look(&machine, false));
        snprintf(expected, sizeof expected, "%.300s is not a queue, or nothing in it says which: byte 0: ", queue_path);
        HOLDS(strncmp(lq_error_text(), expected, strlen(expected)) == 0);
        if (what == 0) TEXT_HAS("the file is missing");
        close_repair();
        drop_queue();
    }
}

static int no_random(const struct lqi_io *io, void *data, size_t size)
{
    (void)io, (void)data, (void)size;
    return EIO;
}

static int no_stat(const struct lqi_io *io, int fd, struct lqi_io_stat *stat_out)
{
    if (fd == repair.dir) return EIO;
    return lqi_io_posix.stat(io, fd, stat_out);
}

static int list_from; /* the n-th listing fails, as if there were nothing: no reason to believe it */

static int no_list(const struct lqi_io *io, int dir, lqi_name_callback *each, void *context)
{
    return list_from-- == 0 ? ENOENT : lqi_io_posix.dir_list(io, dir, each, context);
}

static void what_cannot_be_listed_is_not_taken_for_empty(void **state)
{
    for (int first = 0; first < 3; first++) {
        new_queue(state);
        empty_meta();
        machine.dir_list = no_list;
        list_from = first;
        IS(LQ_ENOTFOUND, look(&machine, false));
        HOLDS(strncmp(lq_error_text(), first == 1 ? "list consumers: " : "list log: ", first == 1 ? 16 : 10) == 0);
        close_repair();
        drop_queue();
    }
}

static void what_fails_on_the_way_is_an_error(void **state)
{
    new_queue(state);
    empty_meta();
    machine.random = no_random;
    IS(LQ_EIO, look(&machine, false));
    assert_string_equal(lq_error_text(), "get random bytes for meta: Input/output error");
    close_repair();
    drop_queue();
    new_queue(state);
    put_segment(1, 0, uuid);
    HOLDS(unlink(in_queue("meta")) == 0);
    machine.stat = no_stat;
    IS(LQ_EIO, look(&machine, false));
    char text[4200];
    snprintf(text, sizeof text, "look at %.300s: Input/output error", queue_path);
    assert_string_equal(lq_error_text(), text);
    close_repair();
    drop_queue();
}

/* All is lost but who could use it: who may read or write the file, or without it the directory. */
static void the_new_one_can_be_used_by_those_who_could_use_the_old_one(void **state)
{
    static const unsigned modes[][2] = {{0600, 0600}, {0640, 0640}, {0664, 0664}, {0755, 0644}, {0700, 0600}};
    for (int there = 0; there < 2; there++) {
        for (size_t i = 0; i < 5; i++) {
            new_queue(state);
            put_segment(1, 0, uuid);
            HOLDS(chmod(queue_path, there ? 0700 : modes[i][0] | 0700) == 0);
            if (there) empty_meta(), HOLDS(chmod(in_queue("meta"), modes[i][0]) == 0);
            else HOLDS(unlink(in_queue("meta")) == 0);
            OK(look(&machine, false));
            EQUAL(repair.meta.options.mode, modes[i][1]);
            close_repair();
            drop_queue();
        }
    }
}

/* ---- where the log begins ---------------------------------------------------------------------------- */

static void without_a_trim_slot_the_log_begins_with_its_oldest_file(void **state)
{
    new_queue(state);
    lose_trim_slots();
    OK(look(&machine, false));
    trim_is(1, 0);
    close_repair();
    put_segment(7, 80000, uuid);
    put_segment(9, 90000, uuid);
    OK(look(&machine, false));
    trim_is(7, 80000);
    close_repair();
    drop_queue();
}

/* Or with one before it that cannot be read: that has some room on the line, if there is any. */
static void a_file_that_cannot_be_read_is_never_before_the_beginning(void **state)
{
    for (uint64_t position = 0; position <= 10000; position += 5000) {
        new_queue(state);
        lose_trim_slots();
        for (uint64_t id = 5; id < 7; id++) {
            put_segment(id, 0, uuid);
            break_segment(id);
        }
        put_segment(7, position, uuid);
        put_segment(9, 90000, uuid);
        OK(look(&machine, false));
        trim_is(5, position > 2 * 4096 ? position - 2 * 4096 : 0);
        close_repair();
        drop_queue();
    }
    new_queue(state);
    lose_trim_slots();
    put_segment(5, 0, uuid);
    break_segment(5);
    OK(look(&machine, false));
    trim_is(5, 0);
    close_repair();
    drop_queue();
}

/* ---- a new one in its place ---------------------------------------------------------------------------------- */

static void a_damaged_meta_is_replaced_by_what_is_good_in_it_and_both_are_locked(void **state)
{
    new_queue(state);
    api_file_flip(in_queue("meta"), 100, 1);
    struct api_bytes old = api_file_read(in_queue("meta"));
    OK(look(&machine, false));
    int locked_fd = repair.meta_file.fd;
    OK(lqi_repair_meta(&repair, damaged.text));
    EQUAL(told.count, 1);
    assert_string_equal(told.file, "meta");
    assert_string_equal(told.aside, "aside/" WHEN "-meta");
    assert_string_equal(told.damage, damaged.text);
    assert_string_equal(told.remedy, "written anew from what is good in it");
    EQUAL(repair.old_meta.fd, locked_fd);
    HOLDS(is_locked());
    bool locked = false;
    int fd = open(in_queue("aside/" WHEN "-meta"), O_RDWR);
    EQUAL(lqi_io_posix.locked(&lqi_io_posix, fd, LQI_BYTE_OPEN, 1, &locked), 0);
    HOLDS(locked);
    close(fd);
    struct api_bytes aside = api_file_read(in_queue("aside/" WHEN "-meta")), made = api_file_read(in_queue("meta"));
    HOLDS(aside.size == old.size && memcmp(aside.bytes, old.bytes, old.size) == 0);
    /* As if it had been made so: the slot has its place and number, and says the same. */
    uint8_t expected[LQI_META_SIZE];
    struct lqi_trim first = trim;
    first.sequence = 1;
    lqi_meta_encode(expected, &meta, &first);
    HOLDS(made.size == sizeof expected && memcmp(made.bytes, expected, sizeof expected) == 0);
    EQUAL(repair.trim.sequence, 1);
    free(old.bytes);
    free(aside.bytes);
    free(made.bytes);
    close_repair();
    drop_queue();
}

static void a_missing_one_is_made_with_the_default_options(void **state)
{
    for (int dry = 0; dry < 2; dry++) {
        struct lqi_meta made;
        struct lqi_trim slot;
        struct lqi_file file;
        new_queue(state);
        put_segment(7, 800, uuid);
        HOLDS(unlink(in_queue("meta")) == 0);
        OK(look(&machine, dry));
        OK(lqi_repair_meta(&repair, damaged.text));
        EQUAL(told.count, 1);
        assert_string_equal(told.aside, "");
        assert_string_equal(told.remedy, "made anew, with the default options");
        EQUAL(api_file_exists(in_queue("meta")), !dry);
        EQUAL(api_file_exists(in_queue("aside")), !dry);
        if (!dry) {
            HOLDS(is_locked());
            OK(lqi_meta_open(&lqi_io_posix, repair.dir, false, &file, &made, &slot));
            lqi_file_close(&file);
            HOLDS(memcmp(made.uuid, uuid, 16) == 0 && slot.first_id == 7 && slot.position == 800 && made.created_us == NOON);
        }
        close_repair();
        drop_queue();
    }
}

static void what_is_no_file_is_set_aside_for_it(void **state)
{
    new_queue(state);
    put_segment(7, 800, uuid);
    HOLDS(unlink(in_queue("meta")) == 0 && mkdir(in_queue("meta"), 0700) == 0);
    OK(look(&machine, false));
    EQUAL(repair.meta_bad, LQ_ENOTQUEUE);
    HOLDS(strncmp(damaged.text, "byte 0: ", 8) == 0 && strstr(damaged.text, "meta") != NULL);
    OK(lqi_repair_meta(&repair, damaged.text));
    assert_string_equal(told.aside, "aside/" WHEN "-meta");
    HOLDS(is_locked());
    close_repair();
    drop_queue();
}

static void repair_on_a_sick_machine(struct io_fault *fault, void *state)
{
    new_queue(state);
    put_segment(7, 800, uuid);
    put_segment(9, 8000, uuid);
    api_file_flip(in_queue("meta"), 100, 1);
    api_file_flip(in_queue("meta"), 600, 1);
    lose_trim_slots();
    fault->io.wall_us = noon;
    int err = look(&fault->io, false);
    if (!err) err = lqi_repair_meta(&repair, damaged.text);
    if (err) {
        HOLDS(fault->hits > 0);
        IS(LQ_EIO, err);
        EQUAL(told.count, 0);
    } else {
        EQUAL(told.count, 1);
        is_of(uuid);
        trim_is(7, 800);
        HOLDS(is_locked());
        struct lqi_file file;
        struct lqi_meta made;
        struct lqi_trim slot;
        OK(lqi_meta_open(&lqi_io_posix, repair.dir, false, &file, &made, &slot));
        lqi_file_close(&file);
        HOLDS(memcmp(made.uuid, uuid, 16) == 0 && slot.first_id == 7);
    }
    close_repair();
    lqi_io_posix.close(&lqi_io_posix, the_log.log_dir);
    the_log.io = NULL;
    drop_queue();
}

/* It is not taken for damaged because it cannot be read just now. */
static void look_at_a_sound_meta_on_a_sick_machine(struct io_fault *fault, void *state)
{
    new_queue(state);
    put_segment(3, 160, uuid);
    int err = look(&fault->io, false);
    if (err) {
        HOLDS(fault->hits > 0);
        IS(LQ_EIO, err);
    } else {
        assert_string_equal(damaged.text, "");
        HOLDS(repair.options_known && repair.trim.sequence == 6);
    }
    close_repair();
    lqi_io_posix.close(&lqi_io_posix, the_log.log_dir);
    the_log.io = NULL;
    drop_queue();
}

static void ask_consumers_on_a_sick_machine(struct io_fault *fault, void *state)
{
    new_queue(state);
    put_position("a", uuid);
    api_file_write(in_queue("consumers/b.pos"), "broken", 6);
    empty_meta();
    fault->io.wall_us = noon;
    int err = look(&fault->io, false);
    if (err) {
        HOLDS(fault->hits > 0);
        IS(LQ_EIO, err);
    } else {
        is_of(uuid); /* and not a new one */
    }
    close_repair();
    lqi_io_posix.close(&lqi_io_posix, the_log.log_dir);
    the_log.io = NULL;
    drop_queue();
}

static void whatever_fails_is_an_error_or_done(void **state)
{
    if (the_log.io) lqi_io_posix.close(&lqi_io_posix, the_log.log_dir);
    the_log.io = NULL;
    HOLDS(each_fault(repair_on_a_sick_machine, state) > 2 * 20);
    HOLDS(each_fault(look_at_a_sound_meta_on_a_sick_machine, state) > 2 * 6);
    HOLDS(each_fault(ask_consumers_on_a_sick_machine, state) > 2 * 8);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_DIRECTORY(a_sound_meta_is_believed_and_locked),
        IN_DIRECTORY(what_is_damaged_in_meta_is_told_and_the_rest_believed),
        IN_DIRECTORY(a_newer_meta_is_not_touched),
        IN_DIRECTORY(the_queue_is_that_of_most_segments),
        IN_DIRECTORY(segments_that_cannot_be_read_have_no_vote),
        IN_DIRECTORY(where_no_segment_says_it_an_offset_file_does),
        IN_DIRECTORY(a_queue_of_which_nothing_is_left_becomes_a_new_one),
        IN_DIRECTORY(what_cannot_be_listed_is_not_taken_for_empty),
        IN_DIRECTORY(what_fails_on_the_way_is_an_error),
        IN_DIRECTORY(the_new_one_can_be_used_by_those_who_could_use_the_old_one),
        IN_DIRECTORY(without_a_trim_slot_the_log_begins_with_its_oldest_file),
        IN_DIRECTORY(a_file_that_cannot_be_read_is_never_before_the_beginning),
        IN_DIRECTORY(a_damaged_meta_is_replaced_by_what_is_good_in_it_and_both_are_locked),
        IN_DIRECTORY(a_missing_one_is_made_with_the_default_options),
        IN_DIRECTORY(what_is_no_file_is_set_aside_for_it),
        IN_DIRECTORY(whatever_fails_is_an_error_or_done),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
