/* The file that says what a queue is: its bytes, its trim slots, and what is read of it in spite of damage. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "bytes.h"
#include "checksum.h"
#include "support/each_fault.h"
#include "support/hex.h"
#include "support/sample_meta.h"
#include "support/scratch.h"

static void assert_same_trim(const struct lqi_trim *a, const struct lqi_trim *b)
{
    assert_int_equal(a->sequence, b->sequence);
    assert_int_equal(a->first_id, b->first_id);
    assert_int_equal(a->position, b->position);
    assert_int_equal(a->synced, b->synced);
    assert_int_equal(a->next_id, b->next_id);
}

/* ---- bytes ------------------------------------------------------------- */

/* Both copies with a right checksum, whatever is in copy A. */
static void sign(uint8_t *bytes)
{
    lqi_put64(bytes + 504, lqi_checksum(bytes, 504));
    memcpy(bytes + COPY, bytes, COPY);
}

static int decode(const uint8_t *bytes)
{
    struct lqi_meta meta;
    return lqi_meta_decode(bytes, LQI_META_SIZE, &meta);
}

static void a_meta_has_these_bytes(void **state)
{
    (void)state;
    uint8_t bytes[LQI_META_SIZE], zeroes[504] = {0};

    lqi_meta_encode(bytes, &sample, &trim7);
    hex_assert_equal(bytes, 112,
                     "4c516d65 74610d0a  01000000 00000000"
                     "00000000 00000000  30313233 34353637"
                     "38396162 63646500  00401e18 240a0600"
                     "02000000 fa000000  03000000 02000000"
                     "00000040 00000000  005c2605 00000000"
                     "00001000 00000000  00000200 00000000"
                     "00000100 00000000  06000000 a0010000");
    assert_memory_equal(bytes + 112, zeroes, 504 - 112);
    hex_assert_equal(bytes + 504, 8, "325b0e29 76e06682");
    assert_memory_equal(bytes + COPY, bytes, COPY);
    assert_memory_equal(bytes + SLOT0, zeroes, 504);
    hex_assert_equal(bytes + SLOT1, 40,
                     "07000000 00000000  e9030000 00000000"
                     "00000400 00000000  00010400 00000000"
                     "f2030000 00000000");
    assert_memory_equal(bytes + SLOT1 + 40, zeroes, 504 - 40);
    hex_assert_equal(bytes + SLOT1 + 504, 8, "97bc07cc 28f3fecf");
}

static void a_meta_is_read_back(void **state)
{
    (void)state;
    uint8_t bytes[LQI_META_SIZE];
    struct lqi_meta meta;
    struct lqi_trim trim;

    lqi_meta_encode(bytes, &sample, &trim7);
    assert_int_equal(lqi_meta_decode(bytes, sizeof bytes, &meta), LQ_OK);
    assert_memory_equal(meta.uuid, sample.uuid, 16);
    assert_int_equal(meta.created_us, sample.created_us);
    assert_same_options(&meta.options, &sample.options);
    assert_int_equal(lqi_trim_decode(bytes, sizeof bytes, meta.uuid, &trim), LQ_OK);
    assert_same_trim(&trim, &trim7);
}

static void a_file_of_something_else_is_no_queue(void **state)
{
    (void)state;
    uint8_t bytes[LQI_META_SIZE];

    memset(bytes, 'x', sizeof bytes);
    assert_int_equal(decode(bytes), LQ_ENOTQUEUE);
    assert_string_equal(lq_error_text(), "meta: not a libqueue file");
    /* Zeroes are what a power cut leaves of a file, so they are damage, */
    memset(bytes, 0, sizeof bytes);
    assert_int_equal(decode(bytes), LQ_ECORRUPT);
    for (size_t at = 0; at < sizeof bytes; at++) { /* unlike what has any byte of its own */
        bytes[at] = 1;
        assert_int_equal(decode(bytes), LQ_ENOTQUEUE);
        bytes[at] = 0;
    }
    /* and so is a file that still has one of our marks. */
    memset(bytes, 'x', sizeof bytes);
    memcpy(bytes + COPY, "LQmeta\r\n", 8);
    assert_int_equal(decode(bytes), LQ_ECORRUPT);
}

static void a_newer_meta_is_told_from_damage(void **state)
{
    (void)state;
    uint8_t bytes[LQI_META_SIZE];

    lqi_meta_encode(bytes, &sample, &trim7);
    lqi_put16(bytes + 8, LQI_META_VERSION + 1);
    sign(bytes);
    assert_int_equal(decode(bytes), LQ_EVERSION);
    bytes[100] ^= 1; /* copy B still tells */
    assert_int_equal(decode(bytes), LQ_EVERSION);
    bytes[COPY + 100] ^= 1;
    assert_int_equal(decode(bytes), LQ_ECORRUPT);

    lqi_meta_encode(bytes, &sample, &trim7);
    bytes[23] = 0x80;
    sign(bytes);
    assert_int_equal(decode(bytes), LQ_EVERSION);
    bytes[23] = 0;
    bytes[16] = 0xff;
    sign(bytes);
    assert_int_equal(decode(bytes), LQ_OK);
}

static void stored_options_that_make_no_sense_are_damage(void **state)
{
    (void)state;
    static const struct {
        unsigned offset, size;
        uint64_t value;
    } cases[] = {
        {48, 4, 0}, {48, 4, 4}, {48, 4, UINT32_MAX}, {52, 4, 0}, {52, 4, 3600001}, {56, 4, 0}, {56, 4, 9}, {60, 4, 0}, {60, 4, 9},
        {64, 8, 1}, {72, 8, UINT64_MAX}, {80, 8, 0}, {80, 8, 65535}, {80, 8, (1 << 20) + 1}, {80, 8, UINT64_MAX},
        {88, 8, 0}, {88, 8, (1 << 17) + 1}, {88, 8, (uint64_t)1 << 31}, {96, 8, 0}, {96, 8, (1 << 30) + 1},
        {104, 4, 10}, {104, 4, UINT32_MAX}, {108, 4, 0}, {108, 4, 01777}, {108, 4, UINT32_MAX},
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint8_t bytes[LQI_META_SIZE];
        lqi_meta_encode(bytes, &sample, &trim7);
        if (cases[i].size == 4) lqi_put32(bytes + cases[i].offset, (uint32_t)cases[i].value);
        else lqi_put64(bytes + cases[i].offset, cases[i].value);
        sign(bytes);
        if (decode(bytes) != LQ_ECORRUPT) fail_msg("case %zu", i);
    }
}

/* ---- trim slots -------------------------------------------------------- */

static uint64_t newest_of(const uint8_t *bytes)
{
    struct lqi_trim trim;
    int err = lqi_trim_decode(bytes, LQI_META_SIZE, sample.uuid, &trim);

    assert_int_equal(err, trim.sequence ? LQ_OK : LQ_ECORRUPT);
    if (err) assert_same_trim(&trim, &(struct lqi_trim){0});
    return trim.sequence;
}

static void the_newer_trim_slot_counts_and_the_older_stands_in(void **state)
{
    (void)state;
    uint8_t bytes[LQI_META_SIZE];

    two_slots(bytes);
    assert_int_equal(newest_of(bytes), 7);
    for (unsigned bit = 0; bit < 512 * 8; bit++) {
        bytes[SLOT1 + bit / 8] ^= (uint8_t)(1 << bit % 8);
        assert_int_equal(newest_of(bytes), 6);
        bytes[SLOT0 + bit / 8] ^= (uint8_t)(1 << bit % 8);
        assert_int_equal(newest_of(bytes), 0);
        bytes[SLOT1 + bit / 8] ^= (uint8_t)(1 << bit % 8);
        assert_int_equal(newest_of(bytes), 7);
        bytes[SLOT0 + bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
}

static void a_trim_slot_of_another_place_or_queue_does_not_count(void **state)
{
    (void)state;
    uint8_t bytes[LQI_META_SIZE], other_uuid[16] = {1};
    struct lqi_trim trim;

    two_slots(bytes);
    assert_int_equal(lqi_trim_decode(bytes, sizeof bytes, other_uuid, &trim), LQ_ECORRUPT);
    assert_int_equal(lqi_trim_decode(bytes, SLOT1, sample.uuid, &trim), LQ_OK);
    assert_int_equal(trim.sequence, 6);
    assert_int_equal(lqi_trim_decode(bytes, SLOT1 - 1, sample.uuid, &trim), LQ_ECORRUPT);
    /* 7 in the place of 6: the next one would be written over it. */
    memcpy(bytes + SLOT0, bytes + SLOT1, 512);
    memset(bytes + SLOT1, 0, 512);
    assert_int_equal(newest_of(bytes), 0);
}

/* A meta with nothing but this in slot 0, where even numbers belong. */
static const uint8_t *meta_with(const struct lqi_trim *trim)
{
    static uint8_t bytes[LQI_META_SIZE];
    struct lqi_trim even = *trim;

    even.sequence = 0;
    lqi_meta_encode(bytes, &sample, &even);
    lqi_put64(bytes + SLOT0, trim->sequence);
    lqi_put64(bytes + SLOT0 + 504, lqi_checksum_at(bytes + SLOT0, 504, lqi_get64(sample.uuid)));
    return bytes;
}

static void trim_slots_with_senseless_numbers_do_not_count(void **state)
{
    (void)state;
    const struct lqi_trim good[] = {
        {2, 1, 0, 0, 1},
        {6, 1010, 0x40100, 0x40100, 1010},
        {LQI_ID_END - 2, LQI_ID_END - 1, LQI_POSITION_END, LQI_ID_END - 1, LQI_ID_END - 1},
    }, bad[] = {
        {0, 1, 0, 0, 1}, {7, 1, 0, 0, 1}, {LQI_ID_END, 1, 0, 0, 1}, /* sequence */
        {6, 0, 0, 0, 1}, {6, 1011, 0, 0, 1010}, {6, LQI_ID_END, 0, 0, LQI_ID_END}, {6, 1, 0, 0, LQI_ID_END}, /* ids */
        {6, 1, 0x40001, 0x40100, 1}, {6, 1, 0x40108, 0x40100, 1}, /* positions */
        {6, 1, LQI_POSITION_END + 8, LQI_ID_END - 1, 1}, {6, 1, 0, LQI_ID_END, 1},
    };

    for (size_t i = 0; i < sizeof good / sizeof *good; i++) assert_int_equal(newest_of(meta_with(&good[i])), good[i].sequence);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (newest_of(meta_with(&bad[i])) != 0) fail_msg("case %zu counts", i);
}

static void the_byte_is_told_where_a_meta_is_damaged(void **state)
{
    (void)state;
    uint8_t bytes[LQI_META_SIZE];
    struct lqi_meta meta;
    struct lqi_trim trim;

    lqi_meta_encode(bytes, &sample, &trim7);
    assert_int_equal(lqi_meta_decode(bytes, 2000, &meta), LQ_ECORRUPT);
    assert_string_equal(lq_error_text(), "meta at byte 2000: the file ends, it should have 2048 bytes");
    assert_int_equal(lqi_trim_decode(bytes, SLOT1, sample.uuid, &trim), LQ_ECORRUPT);
    assert_string_equal(lq_error_text(), "meta at byte 1024: neither trim slot verifies");
    lqi_put32(bytes + 48, 77);
    sign(bytes);
    assert_int_equal(decode(bytes), LQ_ECORRUPT);
    assert_string_equal(lq_error_text(), "meta at byte 48: an option makes no sense");
    bytes[0] ^= 1;
    assert_int_equal(decode(bytes), LQ_ECORRUPT);
    assert_string_equal(lq_error_text(), "meta at byte 560: an option makes no sense");
}

/* ---- the file ---------------------------------------------------------- */

static const struct lqi_io *const io = &lqi_io_posix;

static int open_dir(void **state)
{
    int dir = -1;
    assert_int_equal(io->dir_open(io, -1, *state, &dir), 0);
    return dir;
}

static int count_one(void *context, const char *name)
{
    (void)name;
    ++*(int *)context;
    return 0;
}

static int count_files(int dir)
{
    int count = 0;
    assert_int_equal(io->dir_list(io, dir, count_one, &count), 0);
    return count;
}

static void a_meta_is_made_once(void **state)
{
    int dir = open_dir(state);
    struct lqi_meta other = sample, meta;
    struct lqi_trim trim;
    struct lqi_file file;

    assert_int_equal(lqi_meta_open(io, dir, true, &file, &meta, &trim), LQ_ENOTFOUND);
    assert_int_equal(file.fd, -1);
    assert_int_equal(lqi_meta_create(io, dir, &sample), LQ_OK);
    other.created_us++;
    assert_int_equal(lqi_meta_create(io, dir, &other), LQ_OK);
    assert_int_equal(count_files(dir), 1);

    assert_int_equal(lqi_meta_open(io, dir, false, &file, &meta, &trim), LQ_OK);
    assert_int_equal(meta.created_us, sample.created_us);
    assert_same_options(&meta.options, &sample.options);
    assert_same_trim(&trim, &(struct lqi_trim){.sequence = 1, .first_id = 1, .next_id = 1});
    lqi_file_close(&file);
    io->close(io, dir);
}

static void trims_are_kept_in_turn(void **state)
{
    int dir = open_dir(state);
    struct lqi_meta meta;
    struct lqi_trim trim, back;
    struct lqi_file file;

    assert_int_equal(lqi_meta_create(io, dir, &sample), LQ_OK);
    assert_int_equal(lqi_meta_open(io, dir, true, &file, &meta, &trim), LQ_OK);
    for (uint64_t sequence = 2; sequence < 20; sequence++) {
        uint8_t bytes[LQI_META_SIZE];
        size_t got;

        trim.first_id = sequence * 100;
        trim.next_id = trim.first_id + sequence - 2;
        trim.position = sequence * 800;
        trim.synced = trim.position + 8 * (sequence - 2);
        assert_int_equal(lqi_trim_store(&file, sample.uuid, &trim), LQ_OK);
        assert_int_equal(trim.sequence, sequence);
        assert_int_equal(lqi_trim_load(&file, sample.uuid, &back), LQ_OK);
        assert_same_trim(&back, &trim);
        /* Torn while it was written: the one before is still there. */
        assert_int_equal(lqi_file_read(&file, 0, bytes, sizeof bytes, &got), LQ_OK);
        memset(bytes + (sequence % 2 ? SLOT1 : SLOT0) + 256, 0xff, 256);
        assert_int_equal(newest_of(bytes), sequence - 1);
    }
    lqi_file_close(&file);
    io->close(io, dir);
}

static int opened_with; /* flags */

static int note_flags(const struct lqi_io *table, int dir, const char *name, int flags, uint32_t mode, int *fd_out)
{
    (void)table;
    opened_with = flags;
    return lqi_io_posix.open(io, dir, name, flags, mode, fd_out);
}

static void whoever_only_looks_opens_a_meta_to_read(void **state)
{
    int dir = open_dir(state);
    struct lqi_io machine = lqi_io_posix;
    struct lqi_meta meta;
    struct lqi_trim trim;
    struct lqi_file file;

    machine.open = note_flags;
    assert_int_equal(lqi_meta_create(io, dir, &sample), LQ_OK);
    for (int writable = 0; writable < 2; writable++) {
        assert_int_equal(lqi_meta_open(&machine, dir, writable, &file, &meta, &trim), LQ_OK);
        assert_int_equal(opened_with, writable ? LQI_OPEN_WRITE : LQI_OPEN_READ);
        lqi_file_close(&file);
    }
    io->close(io, dir);
}

static void of_a_meta_beyond_reading_nothing_is_told_and_nothing_stays_open(void **state)
{
    int dir = open_dir(state);
    uint8_t noise[SLOT0];
    struct lqi_meta meta;
    struct lqi_trim trim;
    struct lqi_file file;

    assert_int_equal(lqi_meta_create(io, dir, &sample), LQ_OK);
    assert_int_equal(lqi_meta_open(io, dir, true, &file, &meta, &trim), LQ_OK);
    memset(noise, 0xaa, sizeof noise);
    memcpy(noise, "LQmeta\r\n", 8);
    assert_int_equal(lqi_file_write(&file, 0, noise, sizeof noise), LQ_OK);
    lqi_file_close(&file);

    meta.created_us = 77;
    trim = trim7;
    assert_int_equal(lqi_meta_open(io, dir, true, &file, &meta, &trim), LQ_ECORRUPT);
    assert_int_equal(file.fd, -1);
    assert_int_equal(meta.created_us, 77);
    assert_same_trim(&trim, &trim7);
    io->close(io, dir);
}

static void damaged_trim_slots_do_not_keep_a_queue_shut(void **state)
{
    int dir = open_dir(state);
    uint8_t noise[1024];
    struct lqi_meta meta;
    struct lqi_trim trim;
    struct lqi_file file;

    assert_int_equal(lqi_meta_create(io, dir, &sample), LQ_OK);
    assert_int_equal(lqi_meta_open(io, dir, true, &file, &meta, &trim), LQ_OK);
    memset(noise, 0xaa, sizeof noise);
    assert_int_equal(lqi_file_write(&file, SLOT0, noise, sizeof noise), LQ_OK);
    lqi_file_close(&file);

    assert_int_equal(lqi_meta_open(io, dir, true, &file, &meta, &trim), LQ_OK);
    assert_same_trim(&trim, &(struct lqi_trim){0});
    assert_int_equal(lqi_trim_load(&file, sample.uuid, &trim), LQ_ECORRUPT);
    trim = (struct lqi_trim){.first_id = 5, .next_id = 9};
    assert_int_equal(lqi_trim_store(&file, sample.uuid, &trim), LQ_OK);
    assert_int_equal(lqi_trim_load(&file, sample.uuid, &trim), LQ_OK);
    assert_int_equal(trim.sequence, 1);
    lqi_file_close(&file);
    io->close(io, dir);
}

/* ---- failing calls ----------------------------------------------------- */

static void create(struct io_fault *fault, void *context)
{
    int dir = *(int *)context;
    struct lqi_meta meta;
    struct lqi_trim trim;
    struct lqi_file file;

    int err = lqi_meta_create(&fault->io, dir, &sample);
    assert_int_equal(err, fault->hits ? LQ_EIO : LQ_OK);

    int found = lqi_meta_open(io, dir, false, &file, &meta, &trim);
    assert_true(found == LQ_OK || (err && found == LQ_ENOTFOUND));
    assert_int_equal(count_files(dir), found == LQ_OK);
    lqi_file_close(&file);
    (void)io->unlink(io, dir, LQI_META_NAME);
}

static void a_creation_that_fails_leaves_nothing_or_all(void **state)
{
    int dir = open_dir(state);

    assert_int_equal(each_fault(create, &dir), 2 * 7);
    io->close(io, dir);
}

static void open_and_load(struct io_fault *fault, void *context)
{
    struct lqi_meta meta;
    struct lqi_trim trim;
    struct lqi_file file;

    int err = lqi_meta_open(&fault->io, *(int *)context, false, &file, &meta, &trim);
    if (!err) err = lqi_trim_load(&file, sample.uuid, &trim);
    assert_int_equal(err, fault->hits ? LQ_EIO : LQ_OK);
    lqi_file_close(&file);
}

static void an_opening_that_fails_leaks_nothing(void **state)
{
    int dir = open_dir(state);

    assert_int_equal(lqi_meta_create(io, dir, &sample), LQ_OK);
    assert_int_equal(each_fault(open_and_load, &dir), 2 * 3);
    io->close(io, dir);
}

static void store(struct io_fault *fault, void *context)
{
    struct lqi_meta meta;
    struct lqi_trim trim, before, after;
    struct lqi_file file;

    assert_int_equal(lqi_meta_open(io, *(int *)context, true, &file, &meta, &before), LQ_OK);
    trim = before;
    trim.first_id += 100;
    trim.next_id += 100;
    file.io = &fault->io;
    int err = lqi_trim_store(&file, sample.uuid, &trim);
    assert_int_equal(err, fault->hits ? LQ_EIO : LQ_OK);
    assert_int_equal(trim.sequence, before.sequence + !err);

    file.io = io;
    assert_int_equal(lqi_trim_load(&file, sample.uuid, &after), LQ_OK);
    if (!err) assert_same_trim(&after, &trim);
    if (after.sequence == before.sequence) assert_same_trim(&after, &before);
    else assert_true(after.sequence == before.sequence + 1 && after.first_id == before.first_id + 100);
    lqi_file_close(&file);
}

static void a_trim_that_fails_leaves_the_old_or_the_new(void **state)
{
    int dir = open_dir(state);

    assert_int_equal(lqi_meta_create(io, dir, &sample), LQ_OK);
    assert_int_equal(each_fault(store, &dir), 3 * 2);
    io->close(io, dir);
}

/* ---- repaired meanwhile --------------------------------------------------- */

static void look_in_place(struct io_fault *fault, void *context)
{
    struct lqi_meta meta;
    struct lqi_trim trim;
    struct lqi_file file;

    assert_int_equal(lqi_meta_open(io, *(int *)context, false, &file, &meta, &trim), LQ_OK);
    file.io = &fault->io;
    int err = lqi_meta_check_in_place(&file, *(int *)context);
    assert_int_equal(err, fault->hits ? LQ_EIO : LQ_OK);
    if (err) assert_null(strstr(lq_error_text(), " at byte ")); /* it is of no byte */
    file.io = io;
    lqi_file_close(&file);
}

static void whoever_holds_a_meta_that_was_replaced_is_told(void **state)
{
    int dir = open_dir(state);
    struct lqi_meta meta;
    struct lqi_trim trim;
    struct lqi_file file;

    assert_int_equal(lqi_meta_create(io, dir, &sample), LQ_OK);
    assert_int_equal(each_fault(look_in_place, &dir), 2 + 2 * 2);
    assert_int_equal(lqi_meta_open(io, dir, true, &file, &meta, &trim), LQ_OK);
    assert_int_equal(lqi_meta_check_in_place(&file, dir), LQ_OK);
    assert_int_equal(io->unlink(io, dir, LQI_META_NAME), 0);
    assert_int_equal(lqi_meta_check_in_place(&file, dir), LQ_ENOTFOUND);
    assert_int_equal(lqi_meta_create(io, dir, &sample), LQ_OK);
    assert_int_equal(lqi_meta_check_in_place(&file, dir), LQ_EBUSY);
    assert_non_null(strstr(lq_error_text(), "repaired"));
    lqi_file_close(&file);
    io->close(io, dir);
}

static void a_meta_that_could_not_be_opened_has_no_trim(void **state)
{
    (void)state;
    const struct lqi_file none = LQI_FILE_NONE;
    struct lqi_trim trim = trim7;

    assert_int_equal(lqi_trim_load(&none, sample.uuid, &trim), LQ_ECORRUPT);
    assert_string_equal(lq_error_text(), "meta cannot be read");
    assert_same_trim(&trim, &(struct lqi_trim){0});
}

/* Whoever wrote it may have died before he had synced it. */
static void no_slot_is_written_over_before_the_other_is_durable(void **state)
{
    int dir = open_dir(state);
    struct io_fault fault;

    io_fault_init(&fault, io);
    assert_int_equal(lqi_meta_create(io, dir, &sample), LQ_OK);
    io_fault_plan(&fault, IO_SYNC, 1, false, EIO);
    store(&fault, &dir);
    assert_int_equal(fault.hits, 1);
    assert_int_equal(fault.calls[IO_WRITE], 0);
    io_fault_release(&fault);
    io->close(io, dir);
}

#define with_files(test) cmocka_unit_test_setup_teardown(test, scratch_make, scratch_remove)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_meta_has_these_bytes),
        cmocka_unit_test(a_meta_is_read_back),
        cmocka_unit_test(a_file_of_something_else_is_no_queue),
        cmocka_unit_test(a_newer_meta_is_told_from_damage),
        cmocka_unit_test(stored_options_that_make_no_sense_are_damage),
        cmocka_unit_test(the_newer_trim_slot_counts_and_the_older_stands_in),
        cmocka_unit_test(a_trim_slot_of_another_place_or_queue_does_not_count),
        cmocka_unit_test(trim_slots_with_senseless_numbers_do_not_count),
        cmocka_unit_test(the_byte_is_told_where_a_meta_is_damaged),
        cmocka_unit_test(a_meta_that_could_not_be_opened_has_no_trim),
        with_files(whoever_holds_a_meta_that_was_replaced_is_told),
        with_files(a_meta_is_made_once),
        with_files(trims_are_kept_in_turn),
        with_files(whoever_only_looks_opens_a_meta_to_read),
        with_files(of_a_meta_beyond_reading_nothing_is_told_and_nothing_stays_open),
        with_files(damaged_trim_slots_do_not_keep_a_queue_shut),
        with_files(a_creation_that_fails_leaves_nothing_or_all),
        with_files(an_opening_that_fails_leaks_nothing),
        with_files(a_trim_that_fails_leaves_the_old_or_the_new),
        with_files(no_slot_is_written_over_before_the_other_is_durable),
    };
    return cmocka_run_group_tests_name("meta", tests, NULL, NULL);
}
