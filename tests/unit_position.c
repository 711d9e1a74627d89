/* Offset files: the fixed part proves whose they are, and the newest valid entry counts. */
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
#include "position_parts.h"
#include "support/hex.h"
#include "support/offset_file.h"

/* Both copies with a right checksum, whatever is in copy A. */
static void sign(uint8_t *bytes)
{
    lqi_put64(bytes + 504, lqi_checksum(bytes, 504));
    memcpy(bytes + COPY, bytes, COPY);
}
/* ---- names ------------------------------------------------------------- */

static void names_are_letters_digits_and_a_few_signs(void **state)
{
    (void)state;
    static const char *const good[] = {"a", "Z", "0", "_", "a.b-c_d", "billing.pos", "x.new", "9-"};
    static const char *const bad[] = {
        "", ".", "..", ".a", "-", "-a", "a/b", "a b", "a\n", "\xc3\xa4", "a*", "a\x7f", "a:b", "a@",
    };
    char name[LQ_NAME_MAX + 2];

    for (size_t i = 0; i < sizeof good / sizeof *good; i++) assert_int_equal(lqi_name_check(good[i]), LQ_OK);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) assert_int_equal(lqi_name_check(bad[i]), LQ_ENAME);
    assert_int_equal(lqi_name_check(NULL), LQ_EINVAL);
    memset(name, 'n', sizeof name);
    name[LQ_NAME_MAX + 1] = 0;
    assert_int_equal(lqi_name_check(name), LQ_ENAME);
    name[LQ_NAME_MAX] = 0;
    assert_int_equal(lqi_name_check(name), LQ_OK);
}

static void every_byte_is_either_of_a_name_or_not(void **state)
{
    (void)state;
    for (int c = 1; c < 256; c++) {
        char name[3] = {'a', (char)c, 0};
        bool may = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                   c == '.' || c == '_' || c == '-';
        assert_int_equal(lqi_name_check(name), may ? LQ_OK : LQ_ENAME);
        name[0] = (char)c;
        name[1] = 'a';
        assert_int_equal(lqi_name_check(name), may && c != '.' && c != '-' ? LQ_OK : LQ_ENAME);
    }
}

static void of_a_name_that_is_too_long_one_letter_more_than_it_may_have_is_told(void **state)
{
    (void)state;
    char name[LQ_NAME_MAX + 10] = {0}, text[200];
    memset(name, 'n', sizeof name - 1);
    assert_int_equal(lqi_name_check(name), LQ_ENAME);
    name[LQ_NAME_MAX + 1] = 0;
    snprintf(text, sizeof text, "'%s' is not a name: 1 to 100 of A-Z a-z 0-9 . _ -, not starting with . or -", name);
    assert_string_equal(lq_error_text(), text);
}

/* ---- create and open --------------------------------------------------- */

static void a_new_offset_file_has_these_bytes(void **state)
{
    int dir = open_dir(state);
    static uint8_t bytes[FILE_SIZE], zeroes[FILE_SIZE];

    create(dir);
    read_file(dir, bytes);
    hex_assert_equal(bytes, 64,
                     "4c51706f 730d0a00  01000000 00000000"
                     "00000000 00000000  30313233 34353637"
                     "38396162 63646500  e8030000 0a000000"
                     "00401e18 240a0600  62696c6c 696e6700");
    assert_memory_equal(bytes + 64, zeroes, 504 - 64);
    hex_assert_equal(bytes + 504, 8, "e3eb64e9 f8243d55");
    assert_memory_equal(bytes + COPY, bytes, COPY);
    assert_memory_equal(bytes + 1024, zeroes, 4096 - 1024 + LQI_POSITION_ENTRY);
    hex_assert_equal(bytes + 4096 + LQI_POSITION_ENTRY, LQI_POSITION_ENTRY,
                     "01000000 00000000  f4010000 00000000"
                     "f4010000 00000000  00000400 00000000"
                     "00010400 00000000  fe010000 00000000"
                     "00401e18 240a0600  f3aa4cdb da6c5f47");
    assert_memory_equal(bytes + 4096 + 128, zeroes, FILE_SIZE - 4096 - 128);
    io->close(io, dir);
}

static void what_was_created_is_opened(void **state)
{
    int dir = open_dir(state);
    struct lqi_position position;
    struct lqi_position_entry other = first;

    assert_int_equal(open_position(&position, dir), LQ_ENOTFOUND);
    assert_non_null(strstr(lq_error_text(), "consumers/billing.pos"));
    assert_int_equal(position.file.fd, -1);
    create(dir);
    /* Created again: it stays as it is. */
    other.floor = other.delivered = 7;
    assert_int_equal(lqi_position_create(io, dir, "billing", uuid, 64, &other, 0600), LQ_OK);

    assert_int_equal(open_position(&position, dir), LQ_OK);
    assert_int_equal(position.window, WINDOW);
    assert_int_equal(position.block_count, BLOCKS);
    assert_int_equal(position.newest.sequence, 1);
    assert_same_entry(&position.newest, &first);
    assert_int_equal(position.damaged_entries, 0);
    assert_int_equal(position.damaged_copy, -1);
    lqi_position_close(&position);
    lqi_position_close(&position);
    io->close(io, dir);
}

static void a_name_that_is_none_is_refused_everywhere(void **state)
{
    int dir = open_dir(state);
    struct lqi_position position;

    assert_int_equal(lqi_position_create(io, dir, "../x", uuid, WINDOW, &first, 0600), LQ_ENAME);
    assert_int_equal(lqi_position_open(&position, io, dir, "../x", uuid, false), LQ_ENAME);
    assert_int_equal(lqi_position_open(&position, io, dir, NULL, uuid, false), LQ_EINVAL);
    assert_int_equal(lqi_position_open(&position, io, -1, "x", uuid, false), LQ_ENOTFOUND);
    assert_string_equal(lq_error_text(), "consumers/x.pos is missing, with its directory");
    assert_int_equal(io->dir_make(io, dir, "x.pos", 0700), 0);
    assert_int_equal(lqi_position_open(&position, io, dir, "x", uuid, false), LQ_ECORRUPT);
    assert_int_equal(lqi_position_delete(io, dir, "../x", NULL), LQ_ENAME);
    assert_int_equal(lqi_position_delete(io, dir, NULL, NULL), LQ_EINVAL);
    io->close(io, dir);
}

static void a_consumer_without_a_sensible_window_is_not_created(void **state)
{
    static const struct {
        uint32_t window;
        uint64_t floor, delivered;
    } cases[] = {
        {63, 1, 1}, {16777217, 1, 1}, {0, 1, 1}, {WINDOW, 2, 1}, {WINDOW, 0, WINDOW + 1}, {WINDOW, UINT64_MAX, UINT64_MAX},
    };
    int dir = open_dir(state);
    struct lqi_position position;

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct lqi_position_entry entry = {.floor = cases[i].floor, .delivered = cases[i].delivered};
        assert_int_equal(lqi_position_create(io, dir, "billing", uuid, cases[i].window, &entry, 0600), LQ_EINVAL);
        assert_int_equal(open_position(&position, dir), LQ_ENOTFOUND);
    }
    io->close(io, dir);
}

static void the_longest_name_and_the_windows_at_the_limits_work(void **state)
{
    static const uint32_t windows[] = {64, 16777216};
    int dir = open_dir(state);
    char name[LQ_NAME_MAX + 1] = {0};

    memset(name, 'n', LQ_NAME_MAX);
    for (size_t i = 0; i < 2; i++) {
        struct lqi_position position;
        struct lqi_position_entry entry = first;

        assert_int_equal(lqi_position_create(io, dir, name, uuid, windows[i], &first, 0600), LQ_OK);
        assert_int_equal(lqi_position_open(&position, io, dir, name, uuid, true), LQ_OK);
        assert_int_equal(position.window, windows[i]);
        entry.delivered = entry.floor + windows[i];
        assert_int_equal(lqi_position_save(&position, &entry, 1, 0, NULL, NULL, NULL), LQ_OK);
        lqi_position_close(&position);
        assert_int_equal(lqi_position_open(&position, io, dir, name, uuid, true), LQ_OK);
        assert_int_equal(position.newest.delivered, entry.delivered);
        lqi_position_close(&position);
        assert_int_equal(lqi_position_delete(io, dir, name, NULL), LQ_OK);
    }
    io->close(io, dir);
}

static void one_flipped_bit_in_the_fixed_part_is_noticed_and_survived(void **state)
{
    int dir = open_dir(state);
    static uint8_t bytes[FILE_SIZE];
    struct lqi_position position;

    create(dir);
    read_file(dir, bytes);
    for (unsigned bit = 0; bit < 2 * COPY * 8; bit += 5) {
        bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
        write_file(dir, "billing.pos", bytes, FILE_SIZE);
        assert_int_equal(open_position(&position, dir), LQ_OK);
        assert_int_equal(position.damaged_copy, bit / 8 < COPY ? 0 : COPY);
        assert_int_equal(position.window, WINDOW);
        lqi_position_close(&position);
        /* And in both copies: nothing of it is believed. */
        bytes[(bit / 8 + COPY) % (2 * COPY)] ^= (uint8_t)(1 << bit % 8);
        write_file(dir, "billing.pos", bytes, FILE_SIZE);
        assert_int_equal(open_position(&position, dir), LQ_ECORRUPT);
        assert_non_null(strstr(lq_error_text(), "consumers/billing.pos at byte"));
        bytes[(bit / 8 + COPY) % (2 * COPY)] ^= (uint8_t)(1 << bit % 8);
        bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    io->close(io, dir);
}

static void an_offset_file_cut_anywhere_is_damaged(void **state)
{
    int dir = open_dir(state);
    static uint8_t bytes[FILE_SIZE];
    struct lqi_position position;

    create(dir);
    read_file(dir, bytes);
    for (unsigned size = 0; size < FILE_SIZE; size += size < 1030 || size > FILE_SIZE - 9 ? 1 : 61) {
        char expected[100];
        write_file(dir, "billing.pos", bytes, size);
        assert_int_equal(open_position(&position, dir), LQ_ECORRUPT);
        assert_int_equal(position.file.fd, -1);
        snprintf(expected, sizeof expected, "consumers/billing.pos at byte %u: the file ends, %s", size,
                 size < LQI_POSITION_BLOCKS_AT ? "before its window" : "it should have");
        assert_non_null(strstr(lq_error_text(), expected));
    }
    io->close(io, dir);
}

static void the_file_of_another_consumer_or_queue_is_refused(void **state)
{
    int dir = open_dir(state);
    static uint8_t bytes[FILE_SIZE];
    struct lqi_position position;

    create(dir);
    read_file(dir, bytes);
    write_file(dir, "other.pos", bytes, FILE_SIZE);
    assert_int_equal(lqi_position_open(&position, io, dir, "other", uuid, false), LQ_ECORRUPT);
    assert_string_equal(lq_error_text(), "consumers/other.pos at byte 56: belongs to another consumer");
    write_file(dir, "bill.pos", bytes, FILE_SIZE);
    assert_int_equal(lqi_position_open(&position, io, dir, "bill", uuid, false), LQ_ECORRUPT);
    assert_int_equal(lqi_position_open(&position, io, dir, "billing", (const uint8_t *)"another uuid....", false), LQ_ECORRUPT);
    bytes[159] = 'x'; /* behind the name there is nothing, to the last byte */
    sign(bytes);
    write_file(dir, "billing.pos", bytes, FILE_SIZE);
    assert_int_equal(open_position(&position, dir), LQ_ECORRUPT);
    io->close(io, dir);
}

static int open_flags;

static int note_open(const struct lqi_io *unused, int dir, const char *name, int flags, uint32_t mode, int *fd_out)
{
    (void)unused;
    open_flags = flags;
    return io->open(io, dir, name, flags, mode, fd_out);
}

static void who_only_looks_opens_nothing_to_write(void **state)
{
    int dir = open_dir(state);
    struct lqi_io noting = *io;
    struct lqi_position position;

    create(dir);
    noting.open = note_open;
    for (int writable = 0; writable < 2; writable++) {
        assert_int_equal(lqi_position_open(&position, &noting, dir, "billing", uuid, writable), LQ_OK);
        assert_int_equal(open_flags, writable ? LQI_OPEN_WRITE : LQI_OPEN_READ);
        lqi_position_close(&position);
    }
    io->close(io, dir);
}

/* Either copy tells it. */
static void the_queue_of_an_offset_file_is_known_from_it(void **state)
{
    int dir = open_dir(state);
    static uint8_t bytes[FILE_SIZE];
    uint8_t found[17];

    create(dir);
    read_file(dir, bytes);
    for (int broken = 0; broken < 3; broken++) {
        memset(found, 0x77, sizeof found);
        assert_int_equal(lqi_position_uuid(io, dir, "billing", found), broken < 2 ? LQ_OK : LQ_ECORRUPT);
        if (broken < 2) assert_memory_equal(found, uuid, sizeof uuid);
        else assert_int_equal(found[0], 0x77);
        assert_int_equal(found[16], 0x77);
        bytes[broken * COPY + 100]++;
        write_file(dir, "billing.pos", bytes, FILE_SIZE);
    }
    assert_non_null(strstr(lq_error_text(), "consumers/billing.pos"));
    assert_int_equal(lqi_position_uuid(io, dir, "none", found), LQ_ENOTFOUND);
    assert_non_null(strstr(lq_error_text(), "consumers/none.pos"));
    int same = open_dir(state);
    assert_int_equal(same, dir + 1); /* all that was opened is closed */
    io->close(io, same);
    io->close(io, dir);
}

static void a_newer_offset_file_is_told_from_damage(void **state)
{
    int dir = open_dir(state);
    static uint8_t bytes[FILE_SIZE];
    struct lqi_position position;

    create(dir);
    read_file(dir, bytes);
    bytes[8]++;
    sign(bytes);
    write_file(dir, "billing.pos", bytes, FILE_SIZE);
    assert_int_equal(open_position(&position, dir), LQ_EVERSION);
    bytes[8]--;
    bytes[20] = 1;
    sign(bytes);
    write_file(dir, "billing.pos", bytes, FILE_SIZE);
    assert_int_equal(open_position(&position, dir), LQ_EVERSION);
    io->close(io, dir);
}

static void windows_that_make_no_sense_are_refused(void **state)
{
    static const struct {
        uint32_t window, block_count;
    } cases[] = {
        {0, 2}, {63, 2}, {16777217, 16777217 / WORDS + 2}, {UINT32_MAX, UINT32_MAX / WORDS + 2}, {WINDOW, BLOCKS - 1}, {WINDOW, 0},
        {WINDOW, UINT32_MAX},
    };
    int dir = open_dir(state);
    static uint8_t bytes[FILE_SIZE];
    struct lqi_position position;

    create(dir);
    read_file(dir, bytes);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        lqi_put32(bytes + 40, cases[i].window);
        lqi_put32(bytes + 44, cases[i].block_count);
        sign(bytes);
        write_file(dir, "billing.pos", bytes, FILE_SIZE);
        assert_int_equal(open_position(&position, dir), LQ_ECORRUPT);
        assert_non_null(strstr(lq_error_text(), "consumers/billing.pos at byte 40: a window of "));
        bytes[100]++; /* the other copy will do, and is no better */
        write_file(dir, "billing.pos", bytes, FILE_SIZE);
        assert_int_equal(open_position(&position, dir), LQ_ECORRUPT);
        assert_non_null(strstr(lq_error_text(), "consumers/billing.pos at byte 552: a window of "));
        bytes[100]--;
    }
    io->close(io, dir);
}

static void numbers_of_an_entry_have_their_limits(void **state)
{
    (void)state;
    const uint64_t sequence_end = (uint64_t)1 << 62, id_end = (uint64_t)1 << 63;
    const struct {
        struct lqi_position_entry entry;
        bool good;
    } cases[] = {
        {{.sequence = 0}, false}, {{.sequence = 1}, true}, {{.sequence = sequence_end - 1}, true}, {{.sequence = sequence_end}, false},
        {{.sequence = 1, .floor = id_end - 1, .delivered = id_end - 1}, true}, {{.sequence = 1, .floor = id_end, .delivered = id_end}, false},
        {{.sequence = 1, .floor = 1, .delivered = 0}, false}, {{.sequence = 1, .floor = 1, .delivered = 1}, true},
        {{.sequence = 1, .floor = 1, .delivered = 1 + WINDOW}, true}, {{.sequence = 1, .floor = 1, .delivered = 2 + WINDOW}, false},
        {{.sequence = 1, .durable = id_end - 1}, true}, {{.sequence = 1, .durable = id_end}, false},
        {{.sequence = 1, .durable_id = id_end - 2}, true}, {{.sequence = 1, .durable_id = id_end - 1}, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_int_equal(lqi_position_entry_makes_sense(&cases[i].entry, WINDOW), cases[i].good);
}

/* ---- entries ----------------------------------------------------------- */

/* Saves entries until the newest has this sequence; floor and delivered are 1000 * sequence. */
static void save_up_to(struct lqi_position *position, uint64_t sequence)
{
    while (position->newest.sequence < sequence) {
        struct lqi_position_entry entry = first;
        entry.floor = entry.delivered = 1000 * (position->newest.sequence + 1);
        assert_int_equal(lqi_position_save(position, &entry, 1, 0, NULL, NULL, NULL), LQ_OK);
    }
}

static void the_newest_entry_counts_however_often_the_ring_has_turned(void **state)
{
    int dir = open_dir(state);
    struct lqi_position position;

    create(dir);
    for (uint64_t sequence = 2; sequence < 3 * LQI_POSITION_ENTRIES; sequence += 7) {
        assert_int_equal(open_position(&position, dir), LQ_OK);
        save_up_to(&position, sequence);
        lqi_position_close(&position);
        assert_int_equal(open_position(&position, dir), LQ_OK);
        assert_int_equal(position.newest.sequence, sequence);
        assert_int_equal(position.newest.floor, 1000 * sequence);
        assert_int_equal(position.damaged_entries, 0);
        lqi_position_close(&position);
    }
    io->close(io, dir);
}

static void a_damaged_newest_entry_falls_back_to_the_one_before(void **state)
{
    int dir = open_dir(state);
    static uint8_t bytes[FILE_SIZE];
    struct lqi_position position;
    uint8_t *newest = bytes + LQI_POSITION_ENTRIES_AT + 100 % LQI_POSITION_ENTRIES * LQI_POSITION_ENTRY;

    create(dir);
    assert_int_equal(open_position(&position, dir), LQ_OK);
    save_up_to(&position, 100);
    lqi_position_close(&position);
    read_file(dir, bytes);
    for (unsigned bit = 0; bit < LQI_POSITION_ENTRY * 8; bit++) {
        newest[bit / 8] ^= (uint8_t)(1 << bit % 8);
        write_file(dir, "billing.pos", bytes, FILE_SIZE);
        assert_int_equal(open_position(&position, dir), LQ_OK);
        assert_int_equal(position.newest.sequence, 99);
        assert_int_equal(position.damaged_entries, (uint64_t)1 << 100 % LQI_POSITION_ENTRIES);
        lqi_position_close(&position);
        newest[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    io->close(io, dir);
}

static void without_a_valid_entry_nothing_is_believed(void **state)
{
    int dir = open_dir(state);
    static uint8_t bytes[FILE_SIZE];
    struct lqi_position position;

    create(dir);
    read_file(dir, bytes);
    memset(bytes + LQI_POSITION_ENTRIES_AT, 0, LQI_POSITION_ENTRIES * LQI_POSITION_ENTRY);
    write_file(dir, "billing.pos", bytes, FILE_SIZE);
    assert_int_equal(open_position(&position, dir), LQ_ECORRUPT);
    assert_string_equal(lq_error_text(), "consumers/billing.pos at byte 4096: no valid entry");
    memset(bytes + LQI_POSITION_ENTRIES_AT, 0xff, LQI_POSITION_ENTRIES * LQI_POSITION_ENTRY);
    write_file(dir, "billing.pos", bytes, FILE_SIZE);
    assert_int_equal(open_position(&position, dir), LQ_ECORRUPT);
    io->close(io, dir);
}

static void entries_in_other_slots_or_with_senseless_numbers_do_not_count(void **state)
{
    static const struct {
        unsigned slot;
        uint64_t sequence, floor, delivered;
    } cases[] = {
        {3, 2, 500, 500}, {2, 66 * 64, 500, 500}, {0, 0, 500, 500}, {2, 2, 501, 500}, {2, 2, 0, WINDOW + 1},
        {2, 2, UINT64_MAX - 1, UINT64_MAX}, {2, 2, (uint64_t)1 << 63, (uint64_t)1 << 63},
    };
    int dir = open_dir(state);
    static uint8_t bytes[FILE_SIZE];
    struct lqi_position position;

    create(dir);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint8_t *entry = bytes + LQI_POSITION_ENTRIES_AT + cases[i].slot * LQI_POSITION_ENTRY;
        assert_int_equal(lqi_position_create(io, dir, "billing", uuid, WINDOW, &first, 0600), LQ_OK);
        read_file(dir, bytes);
        lqi_put64(entry, cases[i].sequence);
        lqi_put64(entry + 8, cases[i].floor);
        lqi_put64(entry + 16, cases[i].delivered);
        lqi_put64(entry + 56, lqi_checksum_at(entry, 56, lqi_get64(uuid)));
        write_file(dir, "billing.pos", bytes, FILE_SIZE);
        assert_int_equal(open_position(&position, dir), LQ_OK);
        assert_int_equal(position.newest.sequence, 1);
        assert_int_equal(position.damaged_entries, (uint64_t)1 << cases[i].slot);
        lqi_position_close(&position);
        (void)io->unlink(io, dir, "billing.pos");
    }
    io->close(io, dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_are_letters_digits_and_a_few_signs),
        cmocka_unit_test(every_byte_is_either_of_a_name_or_not),
        cmocka_unit_test(of_a_name_that_is_too_long_one_letter_more_than_it_may_have_is_told),
        cmocka_unit_test(numbers_of_an_entry_have_their_limits),
        with_files(a_new_offset_file_has_these_bytes),
        with_files(what_was_created_is_opened),
        with_files(a_name_that_is_none_is_refused_everywhere),
        with_files(a_consumer_without_a_sensible_window_is_not_created),
        with_files(the_longest_name_and_the_windows_at_the_limits_work),
        with_files(one_flipped_bit_in_the_fixed_part_is_noticed_and_survived),
        with_files(an_offset_file_cut_anywhere_is_damaged),
        with_files(the_file_of_another_consumer_or_queue_is_refused),
        with_files(a_newer_offset_file_is_told_from_damage),
        with_files(windows_that_make_no_sense_are_refused),
        with_files(the_newest_entry_counts_however_often_the_ring_has_turned),
        with_files(a_damaged_newest_entry_falls_back_to_the_one_before),
        with_files(without_a_valid_entry_nothing_is_believed),
        with_files(entries_in_other_slots_or_with_senseless_numbers_do_not_count),
        with_files(who_only_looks_opens_nothing_to_write),
        with_files(the_queue_of_an_offset_file_is_known_from_it),
    };
    return cmocka_run_group_tests_name("position", tests, NULL, NULL);
}
