/* Which queue it is that is repaired, when its meta is damaged or gone; where its log begins then; and that nobody else has it open
 * meanwhile. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "repair_parts.h"
#include "support/each_fault.h"
#include "support/made_log.h"
#include "support/scratch.h"

#define NOON INT64_C(1800000000000007)
#define WHEN "20270115T080000.000007Z"

static const uint8_t other[16] = "of another queue", third[16] = "of a third queue";

/* ---- a queue ------------------------------------------------------------------------------ */

static char queue_path[4100];
static struct repair repair;
static struct first_damage damaged;
static struct lqi_meta meta;
static struct lqi_trim trim;

static struct {
    unsigned count;
    char file[100], aside[300], damage[600], remedy[200];
} told;

static void note(void *context, const lq_repair_step *step)
{
    HOLDS(context == &told && step->count == 0);
    told.count++;
    snprintf(told.file, sizeof told.file, "%s", step->file);
    snprintf(told.aside, sizeof told.aside, "%s", step->aside);
    snprintf(told.damage, sizeof told.damage, "%s", step->damage);
    snprintf(told.remedy, sizeof told.remedy, "%s", step->remedy);
}

static int64_t noon(const struct lqi_io *io)
{
    (void)io;
    return NOON;
}

static struct lqi_io machine;

static const char *in_queue(const char *name)
{
    return api_path(queue_path, name);
}

static void open_repair(const struct lqi_io *io, bool dry)
{
    memset(&told, 0, sizeof told);
    damaged.text[0] = 0;
    repair = (struct repair){.io = io, .path = queue_path, .dry = dry, .each = note, .context = &told, .dir = -1, .consumers_dir = -1,
                             .meta_file = LQI_FILE_NONE, .old_meta = LQI_FILE_NONE, .aside = LQI_ASIDE_NONE};
    repair.log.log_dir = -1;
    EQUAL(lqi_io_posix.dir_open(&lqi_io_posix, -1, queue_path, &repair.dir), 0);
    if (api_file_exists(in_queue("log"))) EQUAL(lqi_io_posix.dir_open(&lqi_io_posix, repair.dir, "log", &repair.log.log_dir), 0);
    if (api_file_exists(in_queue("consumers"))) EQUAL(lqi_io_posix.dir_open(&lqi_io_posix, repair.dir, "consumers", &repair.consumers_dir), 0);
}

static void close_repair(void)
{
    lqi_aside_close(&repair.aside);
    lqi_file_close(&repair.meta_file);
    lqi_file_close(&repair.old_meta);
    lqi_io_posix.close(&lqi_io_posix, repair.log.log_dir);
    lqi_io_posix.close(&lqi_io_posix, repair.consumers_dir);
    lqi_io_posix.close(&lqi_io_posix, repair.dir);
}

static void write_meta(void)
{
    uint8_t bytes[LQI_META_SIZE];
    struct lqi_file file = {.io = &lqi_io_posix, .name = "meta"};
    struct lqi_trim older = trim;
    older.sequence = 1;
    lqi_meta_encode(bytes, &meta, &older);
    api_file_write(in_queue("meta"), bytes, sizeof bytes);
    file.fd = open(in_queue("meta"), O_RDWR);
    while (older.sequence < trim.sequence) OK(lqi_trim_store(&file, uuid, &older)); /* both slots are used */
    lqi_file_close(&file);
}

/* As a power loss may leave a file that was made just now. */
static void empty_meta(void)
{
    uint8_t zeroes[LQI_META_SIZE] = {0};
    api_file_write(in_queue("meta"), zeroes, sizeof zeroes);
}

/* With an empty log and no consumer. */
static void new_queue(void **state)
{
    void *inside[1] = {queue_path};
    snprintf(queue_path, sizeof queue_path, "%s", api_path(*state, "q"));
    HOLDS(mkdir(queue_path, 0750) == 0 && mkdir(in_queue("consumers"), 0700) == 0);
    new_log(inside);
    machine = lqi_io_posix;
    machine.wall_us = noon;
    memset(&meta, 0, sizeof meta);
    memcpy(meta.uuid, uuid, sizeof uuid);
    meta.created_us = 1700000000000000;
    OK(lqi_options_complete(&(lq_options){.size = sizeof(lq_options), .segment_size = 3 << 20, .mode = 0640}, &meta.options));
    trim = (struct lqi_trim){.sequence = 6, .first_id = 3, .position = 160, .synced = 3200, .next_id = 9};
    write_meta();
}

static void drop_queue(void)
{
    HOLDS(scratch_delete(queue_path) == 0);
}

/* As lq_repair() does it first. */
static int look(const struct lqi_io *io, bool dry)
{
    open_repair(io, dry);
    int err = lqi_repair_hold_meta(&repair, &damaged);
    return err ? err : lqi_repair_look_at_meta(&repair, &damaged);
}

static bool is_locked(void)
{
    int fd = open(in_queue("meta"), O_RDWR);
    bool locked = false;
    EQUAL(lqi_io_posix.locked(&lqi_io_posix, fd, LQI_BYTE_OPEN, 1, &locked), 0);
    close(fd);
    return locked;
}

/* A segment of some queue's, without messages. */
static void put_segment(uint64_t first_id, uint64_t position, const uint8_t whose[16])
{
    struct made made = make_segment(first_id, position, 0);
    uint8_t bytes[LQI_SEGMENT_HEADER];
    memcpy(made.head.uuid, whose, 16);
    lqi_segment_head_encode(bytes, &made.head);
    put_bytes(&made, 0, bytes, sizeof bytes);
    done(&made);
}

static void break_segment(uint64_t first_id)
{
    api_file_write(path_of(first_id), "broken", 6);
}

static void put_position(const char *name, const uint8_t whose[16])
{
    int dir = -1;
    EQUAL(lqi_io_posix.dir_open(&lqi_io_posix, -1, in_queue("consumers"), &dir), 0);
    OK(lqi_position_create(&lqi_io_posix, dir, name, whose, 64, &(struct lqi_position_entry){.incarnation = 1}, 0600));
    lqi_io_posix.close(&lqi_io_posix, dir);
}

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

static void is_of(const uint8_t whose[16])
{
    HOLDS(!repair.options_known && memcmp(repair.meta.uuid, whose, 16) == 0);
    EQUAL(repair.meta.created_us, NOON);
    EQUAL(repair.meta.options.segment_size, 64 << 20);
}

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

static void lose_trim_slots(void)
{
    api_file_flip(in_queue("meta"), 1030, 1);
    api_file_flip(in_queue("meta"), 1540, 1);
}

static void trim_is(uint64_t first_id, uint64_t position)
{
    EQUAL(repair.trim.sequence, 1);
    EQUAL(repair.trim.first_id, first_id);
    EQUAL(repair.trim.next_id, first_id);
    EQUAL(repair.trim.position, position);
    EQUAL(repair.trim.synced, position);
}

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

/* ---- who else has it open -------------------------------------------------------------------------------- */

static int lock_file(const char *name, uint64_t byte)
{
    int fd = open(in_queue(name), O_RDWR | O_CREAT, 0600);
    EQUAL(lqi_io_posix.lock(&lqi_io_posix, fd, byte), 0);
    return fd;
}

static void whoever_has_it_open_or_opens_it_keeps_repair_out(void **state)
{
    static const struct {
        const char *file;
        uint64_t byte;
        bool out;
    } locks[] = {
        {"meta", LQI_BYTE_OPEN, true}, {"meta", LQI_BYTE_HANDLE, true}, {"meta", LQI_BYTE_HANDLE + LQI_HANDLES_MAX - 1, true},
        {"meta", LQI_BYTE_HANDLE + LQI_HANDLES_MAX, false}, {"meta", LQI_BYTE_OPEN - 1, false},
        {"shared", LQI_BYTE_HANDLE, true}, {"shared", LQI_BYTE_HANDLE + LQI_HANDLES_MAX - 1, true},
        {"shared", LQI_BYTE_HANDLE + LQI_HANDLES_MAX, false}, {"shared", LQI_BYTE_OPEN, false},
    };
    for (int dry = 0; dry < 2; dry++) {
        for (size_t i = 0; i < sizeof locks / sizeof *locks; i++) {
            new_queue(state);
            int fd = lock_file(locks[i].file, locks[i].byte), before = dup(fd);
            close(before);
            IS(locks[i].out ? LQ_EBUSY : LQ_OK, look(&machine, dry));
            if (locks[i].out) assert_string_equal(lq_error_text(), "the queue is in use: repair it when everybody has closed it");
            close_repair();
            EQUAL(dup(fd), before); /* nothing is left open */
            close(before);
            close(fd);
            OK(look(&machine, dry));
            close_repair();
            drop_queue();
        }
    }
}

static int lock_when_replaced(const struct lqi_io *io, int fd, uint64_t byte)
{
    struct api_bytes file = api_file_read(in_queue("meta")); /* by another repair, which was faster */
    HOLDS(unlink(in_queue("meta")) == 0);
    api_file_write(in_queue("meta"), file.bytes, file.size);
    free(file.bytes);
    return lqi_io_posix.lock(io, fd, byte);
}

static void the_lock_of_a_meta_that_was_replaced_is_none(void **state)
{
    new_queue(state);
    machine.lock = lock_when_replaced;
    IS(LQ_EBUSY, look(&machine, false));
    TEXT_HAS("repaired just now");
    close_repair();
    drop_queue();
}

static int lock_error, locked_error;
static const char *locked_file;

static int sick_lock(const struct lqi_io *io, int fd, uint64_t byte)
{
    return lock_error ? lock_error : lqi_io_posix.lock(io, fd, byte);
}

static int sick_locked(const struct lqi_io *io, int fd, uint64_t first, uint64_t count, bool *by_others_out)
{
    bool is_meta = fd == repair.meta_file.fd;
    if (locked_error && is_meta == (strcmp(locked_file, "meta") == 0)) return locked_error;
    return lqi_io_posix.locked(io, fd, first, count, by_others_out);
}

static void who_cannot_know_whether_it_is_in_use_does_not_repair_it(void **state)
{
    new_queue(state);
    machine.lock = sick_lock;
    machine.locked = sick_locked;
    close(lock_file("shared", 1));
    lock_error = ENOLCK;
    IS(LQ_EIO, look(&machine, false));
    assert_string_equal(lq_error_text(), "lock meta: No locks available");
    close_repair();
    lock_error = 0;
    locked_error = EIO;
    locked_file = "meta";
    IS(LQ_EIO, look(&machine, false));
    assert_string_equal(lq_error_text(), "look at the locks of meta: Input/output error");
    close_repair();
    IS(LQ_EIO, look(&machine, true));
    assert_string_equal(lq_error_text(), "lock meta: Input/output error");
    close_repair();
    locked_file = "shared";
    IS(LQ_EIO, look(&machine, false));
    assert_string_equal(lq_error_text(), "look at the locks of shared: Input/output error");
    close_repair();
    locked_error = 0;
    OK(look(&machine, false));
    close_repair();
    /* What is no file is nobody's memory; a link may be. */
    HOLDS(unlink(in_queue("shared")) == 0 && mkdir(in_queue("shared"), 0700) == 0);
    OK(look(&machine, false));
    close_repair();
    HOLDS(rmdir(in_queue("shared")) == 0 && symlink("elsewhere", in_queue("shared")) == 0);
    IS(LQ_ECORRUPT, look(&machine, false));
    TEXT_HAS("shared is a symbolic link");
    close_repair();
    HOLDS(unlink(in_queue("shared")) == 0 && unlink(in_queue("meta")) == 0 && symlink("elsewhere", in_queue("meta")) == 0);
    IS(LQ_ECORRUPT, look(&machine, false));
    TEXT_HAS("meta is a symbolic link");
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
        IN_DIRECTORY(whoever_has_it_open_or_opens_it_keeps_repair_out),
        IN_DIRECTORY(the_lock_of_a_meta_that_was_replaced_is_none),
        IN_DIRECTORY(who_cannot_know_whether_it_is_in_use_does_not_repair_it),
        IN_DIRECTORY(a_damaged_meta_is_replaced_by_what_is_good_in_it_and_both_are_locked),
        IN_DIRECTORY(a_missing_one_is_made_with_the_default_options),
        IN_DIRECTORY(what_is_no_file_is_set_aside_for_it),
        IN_DIRECTORY(whatever_fails_is_an_error_or_done),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
