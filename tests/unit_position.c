/* Offset files: the newest valid entry counts, and words that are lost are messages that come again. */
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
#include "position.h"
#include "support/each_fault.h"
#include "support/hex.h"
#include "support/scratch.h"

enum {
    COPY = 512,
    WINDOW = 1000,
    BLOCKS = WINDOW / LQI_POSITION_BLOCK_WORDS + 2,
    WORDS = LQI_POSITION_BLOCK_WORDS,
    SIDE_SIZE = BLOCKS * LQI_POSITION_BLOCK,
    FILE_SIZE = LQI_POSITION_BLOCKS_AT + 2 * SIDE_SIZE
};

static const uint8_t uuid[16] = "0123456789abcde";
static const struct lqi_io *const io = &lqi_io_posix;

static const struct lqi_position_entry first = {
    .floor = 500, .delivered = 500, .incarnation = 0x40000, .durable = 0x40100, .durable_id = 510, .time_us = 1700000000000000,
};

/* Of the one consumer that a test saves; create() makes them those of a new one. */
static uint64_t side_of[BLOCKS];
static struct lqi_position_sides sides = {side_of, 1};

static int open_dir(void **state)
{
    int dir = -1;
    assert_int_equal(io->dir_open(io, -1, *state, &dir), 0);
    return dir;
}

static void assert_same_entry(const struct lqi_position_entry *a, const struct lqi_position_entry *b)
{
    assert_int_equal(a->floor, b->floor);
    assert_int_equal(a->delivered, b->delivered);
    assert_int_equal(a->incarnation, b->incarnation);
    assert_int_equal(a->durable, b->durable);
    assert_int_equal(a->durable_id, b->durable_id);
    assert_int_equal(a->time_us, b->time_us);
}

static void create(int dir)
{
    assert_int_equal(lqi_position_create(io, dir, "billing", uuid, WINDOW, &first, 0600), LQ_OK);
    memset(side_of, 0, sizeof side_of);
    sides.epoch = 1;
}

static int open_position(struct lqi_position *position, int dir)
{
    return lqi_position_open(position, io, dir, "billing", uuid, true);
}

/* As a sync does. */
static void begin_epoch(const struct lqi_position *position)
{
    sides.epoch = position->newest.sequence;
}

static void read_file(int dir, uint8_t bytes[FILE_SIZE])
{
    size_t got;
    int fd = -1;

    assert_int_equal(io->open(io, dir, "billing.pos", LQI_OPEN_READ, 0, &fd), 0);
    assert_int_equal(io->read(io, fd, 0, bytes, FILE_SIZE, &got), 0);
    assert_int_equal(got, FILE_SIZE);
    io->close(io, fd);
}

static void write_file(int dir, const char *name, const uint8_t *bytes, size_t size)
{
    int fd = -1;

    (void)io->unlink(io, dir, name);
    assert_int_equal(io->open(io, dir, name, LQI_OPEN_NEW, 0600, &fd), 0);
    assert_int_equal(io->write(io, fd, 0, bytes, size), 0);
    io->close(io, fd);
}

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
    }
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
        write_file(dir, "billing.pos", bytes, size);
        assert_int_equal(open_position(&position, dir), LQ_ECORRUPT);
        assert_int_equal(position.file.fd, -1);
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
    }
    io->close(io, dir);
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
        assert_int_equal(position.damaged_entries, 1);
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
        assert_int_equal(position.damaged_entries, 1);
        lqi_position_close(&position);
        (void)io->unlink(io, dir, "billing.pos");
    }
    io->close(io, dir);
}

/* ---- the window -------------------------------------------------------- */

/* Sides are 0 and 1. What was never saved goes to side 1 first. */
static uint8_t *block_at(uint8_t *bytes, unsigned side, uint64_t number)
{
    return bytes + LQI_POSITION_BLOCKS_AT + side * SIDE_SIZE + number % BLOCKS * LQI_POSITION_BLOCK;
}

/* The words of a made-up consumer: of every id its own, some of them 0. */
static uint32_t word_of(uint64_t id)
{
    return id % 7 == 0 ? 0 : id % 3 == 0 ? LQI_WORD_SETTLED : (uint32_t)(id * 2654435761u) & LQI_WORD_ATTEMPTS;
}

struct asked {
    uint64_t low, high; /* of the ids that may be asked for */
    uint32_t count;
};

static uint32_t give_word(void *context, uint64_t id)
{
    struct asked *asked = context;

    assert_in_range(id, asked->low, asked->high);
    asked->count++;
    return word_of(id);
}

struct loaded {
    uint64_t low, high; /* ids that must come, in order, if they have a word */
    uint64_t next;
};

static void take_word(void *context, uint64_t id, uint32_t word)
{
    struct loaded *loaded = context;

    while (word_of(loaded->next) == 0) loaded->next++;
    assert_int_equal(id, loaded->next);
    assert_int_equal(word, word_of(id));
    loaded->next++;
}

static void assert_loads(struct lqi_position *position, uint64_t low, uint64_t high)
{
    struct loaded loaded = {low, high, low};
    uint32_t damaged = 77;

    assert_int_equal(lqi_position_load(position, take_word, &loaded, NULL, &damaged), LQ_OK);
    assert_int_equal(damaged, 0);
    while (loaded.next <= high && word_of(loaded.next) == 0) loaded.next++;
    assert_int_equal(loaded.next, high + 1);
}

static void save(struct lqi_position *position, uint64_t floor, uint64_t delivered, uint64_t low, uint64_t high)
{
    struct lqi_position_entry entry = {.floor = floor, .delivered = delivered, .incarnation = position->newest.incarnation};
    struct asked asked = {floor + 1, delivered, 0};

    assert_int_equal(lqi_position_save(position, &entry, low, high, &sides, give_word, &asked), LQ_OK);
    assert_same_entry(&position->newest, &entry);
}

static void the_words_of_a_window_come_back_wherever_it_lies(void **state)
{
    int dir = open_dir(state);
    static const uint64_t floors[] = {0, 1, WORDS - 2, WORDS - 1, WORDS, WORDS + 1, 500, 1000, 123456, INT64_MAX - 2 * WINDOW};
    static const uint64_t widths[] = {0, 1, 2, WORDS - 1, WORDS, WORDS + 1, 2 * WORDS, 2 * WORDS + 1, WINDOW - 1, WINDOW};
    struct lqi_position position;

    create(dir);
    assert_int_equal(open_position(&position, dir), LQ_OK);
    for (size_t i = 0; i < sizeof floors / sizeof *floors; i++) {
        for (size_t j = 0; j < sizeof widths / sizeof *widths; j++) {
            uint64_t floor = floors[i], delivered = floors[i] + widths[j];
            if ((i + j) % 3 == 0) begin_epoch(&position);
            save(&position, floor, delivered, floor + 1, delivered);
            assert_loads(&position, floor + 1, delivered);
        }
    }
    lqi_position_close(&position);
    io->close(io, dir);
}

static void saves_that_follow_a_consumer_add_up(void **state)
{
    int dir = open_dir(state);
    struct lqi_position position;
    uint64_t floor = 500, delivered = 500;
    uint32_t step = 1;

    create(dir);
    assert_int_equal(open_position(&position, dir), LQ_OK);
    for (int i = 0; i < 500; i++) {
        uint64_t before = delivered;
        step = step * 1103515245 + 12345;
        delivered += step >> 16 & 127;
        if (delivered - floor > WINDOW) floor = delivered - WINDOW + (step >> 24);
        if (i % 5 == 0) begin_epoch(&position);
        /* Only what is new is given. */
        save(&position, floor, delivered, before + 1, delivered);
        assert_loads(&position, floor + 1, delivered);
    }
    lqi_position_close(&position);
    assert_int_equal(open_position(&position, dir), LQ_OK);
    assert_loads(&position, floor + 1, delivered);
    lqi_position_close(&position);
    io->close(io, dir);
}

static void ids_outside_the_window_are_neither_asked_for_nor_written(void **state)
{
    int dir = open_dir(state);
    static uint8_t before[FILE_SIZE], after[FILE_SIZE];
    struct lqi_position position;

    create(dir);
    assert_int_equal(open_position(&position, dir), LQ_OK);
    save(&position, 1000, 1300, 0, UINT64_MAX); /* give_word() looks */
    assert_loads(&position, 1001, 1300);

    read_file(dir, before);
    save(&position, 1000, 1300, 0, 1000);
    save(&position, 1000, 1300, 1301, UINT64_MAX);
    save(&position, 1000, 1300, 1200, 1199);
    read_file(dir, after);
    assert_memory_equal(before + LQI_POSITION_BLOCKS_AT, after + LQI_POSITION_BLOCKS_AT, FILE_SIZE - LQI_POSITION_BLOCKS_AT);
    lqi_position_close(&position);
    io->close(io, dir);
}

static void numbers_that_make_no_window_are_not_saved(void **state)
{
    static const struct lqi_position_entry senseless[] = {
        {.floor = 11, .delivered = 10}, {.floor = 0, .delivered = WINDOW + 1}, {.floor = UINT64_MAX - 5, .delivered = UINT64_MAX},
    };
    int dir = open_dir(state);
    static uint8_t before[FILE_SIZE], after[FILE_SIZE];
    struct lqi_position position;

    create(dir);
    read_file(dir, before);
    assert_int_equal(open_position(&position, dir), LQ_OK);
    for (size_t i = 0; i < sizeof senseless / sizeof *senseless; i++)
        assert_int_equal(lqi_position_save(&position, &senseless[i], 0, UINT64_MAX, &sides, NULL, NULL), LQ_ECORRUPT);
    for (size_t i = 0; i < sizeof senseless / sizeof *senseless; i++)
        assert_int_equal(lqi_position_save_blocks(&position, &senseless[i], 0, UINT64_MAX, &sides, NULL, NULL), LQ_ECORRUPT);
    position.newest.sequence = UINT64_MAX;
    assert_int_equal(lqi_position_save(&position, &first, 1, 0, NULL, NULL, NULL), LQ_ECORRUPT);
    lqi_position_close(&position);
    read_file(dir, after);
    assert_memory_equal(before, after, FILE_SIZE);
    io->close(io, dir);
}

static void only_blocks_that_hold_what_changed_are_written(void **state)
{
    int dir = open_dir(state);
    struct lqi_position position;
    struct lqi_position_entry entry = {.floor = 0, .delivered = 900};
    struct asked asked = {1, 900, 0};

    create(dir);
    assert_int_equal(open_position(&position, dir), LQ_OK);
    assert_int_equal(lqi_position_save(&position, &entry, 130, 131, &sides, give_word, &asked), LQ_OK);
    assert_int_equal(asked.count, LQI_POSITION_BLOCK_WORDS);
    asked.count = 0;
    assert_int_equal(lqi_position_save(&position, &entry, 2 * WORDS - 1, 2 * WORDS, &sides, give_word, &asked), LQ_OK);
    assert_int_equal(asked.count, 2 * LQI_POSITION_BLOCK_WORDS);
    lqi_position_close(&position);
    io->close(io, dir);
}

static void a_window_has_these_bytes(void **state)
{
    int dir = open_dir(state);
    static uint8_t bytes[FILE_SIZE], zeroes[FILE_SIZE];
    struct lqi_position position;

    create(dir);
    assert_int_equal(open_position(&position, dir), LQ_OK);
    save(&position, 123, 130, 124, 130);
    begin_epoch(&position);
    save(&position, 123, 131, 131, 131);
    lqi_position_close(&position);
    read_file(dir, bytes);
    uint8_t *a = block_at(bytes, 0, 1), *b = block_at(bytes, 1, 1);
    /* First id, checksum, sequence; 122 and 123 settled, as the floor says; words of 124 to 130. */
    hex_assert_equal(b, 24 + 10 * 4,
                     "7a000000 00000000  54354724 25349118"
                     "02000000 00000000  00000080 00000080"
                     "bcf10000 6d6b0000  00000000 cf5e0000"
                     "80d80000 00000080  e2cb0000 00000000");
    hex_assert_equal(a, 24 + 10 * 4,
                     "7a000000 00000000  0d52f4f2 8df3f622"
                     "03000000 00000000  00000080 00000080"
                     "bcf10000 6d6b0000  00000000 cf5e0000"
                     "80d80000 00000080  e2cb0000 93450000");
    assert_memory_equal(a + 64, zeroes, 512 - 64);
    assert_memory_equal(b + 64, zeroes, 512 - 64);
    memset(a, 0, LQI_POSITION_BLOCK);
    memset(b, 0, LQI_POSITION_BLOCK);
    assert_memory_equal(bytes + LQI_POSITION_BLOCKS_AT, zeroes, 2 * SIDE_SIZE);
    io->close(io, dir);
}

static void count_word(void *context, uint64_t id, uint32_t word)
{
    (void)id;
    (void)word;
    ++*(uint32_t *)context;
}

/* Loads and says how many words came, and how many blocks were damaged. */
static void load_counts(int dir, uint32_t *words_out, uint32_t *damaged_out)
{
    struct lqi_position position;

    *words_out = 0;
    assert_int_equal(open_position(&position, dir), LQ_OK);
    assert_int_equal(lqi_position_load(&position, count_word, words_out, NULL, damaged_out), LQ_OK);
    lqi_position_close(&position);
}

static void every_flipped_bit_of_a_block_costs_that_block_only(void **state)
{
    int dir = open_dir(state);
    static uint8_t bytes[FILE_SIZE];
    struct lqi_position position;
    uint32_t all, words, damaged, of_block = 0;

    create(dir);
    assert_int_equal(open_position(&position, dir), LQ_OK);
    save(&position, WORDS - 1, WORDS - 1 + 3 * WORDS, WORDS, WORDS - 1 + 3 * WORDS); /* exactly blocks 1, 2 and 3 */
    lqi_position_close(&position);
    load_counts(dir, &all, &damaged);
    for (uint64_t id = 2 * WORDS; id < 3 * WORDS; id++) of_block += word_of(id) != 0;

    read_file(dir, bytes);
    uint8_t *block = block_at(bytes, 1, 2);
    for (unsigned bit = 0; bit < LQI_POSITION_BLOCK * 8; bit++) {
        block[bit / 8] ^= (uint8_t)(1 << bit % 8);
        write_file(dir, "billing.pos", bytes, FILE_SIZE);
        load_counts(dir, &words, &damaged);
        assert_int_equal(damaged, 1);
        assert_int_equal(words, all - of_block);
        block[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    io->close(io, dir);
}

static void blocks_that_are_not_there_count_as_never_handed_out(void **state)
{
    int dir = open_dir(state);
    static uint8_t bytes[FILE_SIZE];
    struct lqi_position position;
    uint32_t words, damaged;

    create(dir);
    assert_int_equal(open_position(&position, dir), LQ_OK);
    save(&position, 0, WINDOW, 1, WINDOW);
    /* The entry goes on, and the blocks of the ids it covers now were never written: the places
     * still hold the older ones. */
    struct lqi_position_entry entry = {.floor = BLOCKS * WORDS, .delivered = BLOCKS * WORDS + WINDOW, .incarnation = first.incarnation};
    assert_int_equal(lqi_position_save(&position, &entry, 1, 0, NULL, NULL, NULL), LQ_OK);
    lqi_position_close(&position);
    load_counts(dir, &words, &damaged);
    assert_true(words == 0 && damaged == 0);

    read_file(dir, bytes);
    memset(bytes + LQI_POSITION_BLOCKS_AT, 0, FILE_SIZE - LQI_POSITION_BLOCKS_AT);
    write_file(dir, "billing.pos", bytes, FILE_SIZE);
    load_counts(dir, &words, &damaged);
    assert_true(words == 0 && damaged == 0);
    io->close(io, dir);
}

static void a_block_in_a_place_of_others_is_damage(void **state)
{
    int dir = open_dir(state);
    static uint8_t bytes[FILE_SIZE];
    struct lqi_position position;
    uint32_t words, damaged;

    create(dir);
    assert_int_equal(open_position(&position, dir), LQ_OK);
    save(&position, WORDS - 1, 2 * WORDS - 1, WORDS, 2 * WORDS - 1); /* block 1 */
    lqi_position_close(&position);
    read_file(dir, bytes);
    /* Block 5 where block 1 was; and one that begins between two. */
    for (int i = 0; i < 2; i++) {
        uint8_t *block = block_at(bytes, 1, 1);
        lqi_put64(block, i == 0 ? 5 * WORDS : WORDS + 1);
        lqi_put64(block + 8, lqi_checksum_at(block + 16, 496, lqi_get64(block) ^ lqi_get64(uuid) ^ first.incarnation));
        write_file(dir, "billing.pos", bytes, FILE_SIZE);
        load_counts(dir, &words, &damaged);
        assert_true(words == 0 && damaged == 1);
    }
    io->close(io, dir);
}

static void a_file_that_is_cut_while_open_is_damage(void **state)
{
    int dir = open_dir(state);
    struct lqi_position position;
    uint32_t words = 0;

    create(dir);
    assert_int_equal(open_position(&position, dir), LQ_OK);
    save(&position, 0, WINDOW, 1, WINDOW);
    for (int side = 1; side >= 0; side--) {
        assert_int_equal(lqi_file_truncate(&position.file, LQI_POSITION_BLOCKS_AT + (uint64_t)side * SIDE_SIZE + 700), LQ_OK);
        assert_int_equal(lqi_position_load(&position, count_word, &words, NULL, NULL), LQ_ECORRUPT);
    }
    lqi_position_close(&position);
    io->close(io, dir);
}

/* ---- two sides --------------------------------------------------------- */

/* A consumer as time passes: from one step to the next attempts are added, and messages settled. */
static uint32_t word_at(uint64_t id, unsigned step)
{
    return (step >= id % 11 ? LQI_WORD_SETTLED : 0) | (1 + lqi_min64(step, id % 13));
}

static uint32_t give_word_of_step(void *context, uint64_t id)
{
    return word_at(id, *(const unsigned *)context);
}

/* Everything in [low, high] as of this step. */
static void save_step(struct lqi_position *position, unsigned step, uint64_t floor, uint64_t delivered, uint64_t low,
                      uint64_t high)
{
    struct lqi_position_entry entry = {.floor = floor, .delivered = delivered, .incarnation = position->newest.incarnation};
    assert_int_equal(lqi_position_save(position, &entry, low, high, &sides, give_word_of_step, &step), LQ_OK);
}

struct loaded_words {
    uint64_t floor;
    uint32_t words[WINDOW + 1]; /* of id floor + i */
};

static void keep_word(void *context, uint64_t id, uint32_t word)
{
    struct loaded_words *loaded = context;
    assert_in_range(id, loaded->floor + 1, loaded->floor + WINDOW);
    loaded->words[id - loaded->floor] = word;
}

static uint32_t load_words(struct lqi_position *position, struct loaded_words *loaded)
{
    uint32_t damaged = 77;

    memset(loaded, 0, sizeof *loaded);
    loaded->floor = position->newest.floor;
    assert_int_equal(lqi_position_load(position, keep_word, loaded, NULL, &damaged), LQ_OK);
    return damaged;
}

/* Exactly the words of this step, all over the newest window. */
static void assert_loads_step(struct lqi_position *position, unsigned step)
{
    struct loaded_words loaded;

    assert_int_equal(load_words(position, &loaded), 0);
    for (uint64_t id = loaded.floor + 1; id <= position->newest.delivered; id++)
        assert_int_equal(loaded.words[id - loaded.floor], word_at(id, step));
}

static void within_an_epoch_the_same_side_is_written_again(void **state)
{
    int dir = open_dir(state);
    static uint8_t before[FILE_SIZE], after[FILE_SIZE];
    struct lqi_position position;

    create(dir);
    assert_int_equal(open_position(&position, dir), LQ_OK);
    save_step(&position, 0, 500, 500 + WINDOW, 0, UINT64_MAX);
    for (unsigned step = 1; step < 9; step++) {
        unsigned written = 0, other = step / 3 % 2; /* steps 1 and 2 go over step 0 on side 1, 3 to 5 to side 0... */

        if (step % 3 == 0) begin_epoch(&position);
        read_file(dir, before);
        save_step(&position, step, 500, 500 + WINDOW, 0, UINT64_MAX);
        read_file(dir, after);
        assert_memory_equal(block_at(before, other, 0), block_at(after, other, 0), SIDE_SIZE);
        for (uint64_t number = 501 / WORDS; number <= (500 + WINDOW) / WORDS; number++)
            written += memcmp(block_at(before, !other, number), block_at(after, !other, number), LQI_POSITION_BLOCK) != 0;
        assert_int_equal(written, (500 + WINDOW) / WORDS - 501 / WORDS + 1);
        assert_loads_step(&position, step);
    }
    lqi_position_close(&position);
    io->close(io, dir);
}

static void blocks_of_one_save_may_go_to_different_sides(void **state)
{
    int dir = open_dir(state);
    struct lqi_position position;
    static uint8_t bytes[FILE_SIZE];

    create(dir);
    assert_int_equal(open_position(&position, dir), LQ_OK);
    save_step(&position, 0, WORDS - 1, 6 * WORDS - 1, 0, UINT64_MAX); /* blocks 1 to 5 on side 1 */
    begin_epoch(&position);
    save_step(&position, 1, WORDS - 1, 6 * WORDS - 1, 3 * WORDS, 3 * WORDS); /* 3 on side 0, and again below */
    save_step(&position, 2, WORDS - 1, 6 * WORDS - 1, 0, UINT64_MAX);
    begin_epoch(&position);
    save_step(&position, 3, WORDS - 1, 6 * WORDS - 1, 2 * WORDS, 2 * WORDS); /* 2 on side 1 */
    begin_epoch(&position);
    save_step(&position, 4, WORDS - 1, 6 * WORDS - 1, 0, UINT64_MAX); /* 2 on side 0, the others on side 1 */
    assert_loads_step(&position, 4);
    read_file(dir, bytes);
    for (uint64_t number = 1; number <= 5; number++) {
        unsigned side = number == 2 ? 0 : 1;
        assert_int_equal(lqi_get64(block_at(bytes, side, number) + 16), position.newest.sequence);
        assert_true(lqi_get64(block_at(bytes, !side, number) + 16) < position.newest.sequence);
    }
    lqi_position_close(&position);
    io->close(io, dir);
}

static void the_higher_sequence_of_the_two_sides_counts(void **state)
{
    int dir = open_dir(state);
    static uint8_t bytes[FILE_SIZE], block[LQI_POSITION_BLOCK];
    struct lqi_position position;

    create(dir);
    assert_int_equal(open_position(&position, dir), LQ_OK);
    save_step(&position, 0, 500, 500 + WINDOW, 0, UINT64_MAX);
    begin_epoch(&position);
    save_step(&position, 1, 500, 500 + WINDOW, 0, UINT64_MAX);
    lqi_position_close(&position);
    assert_int_equal(open_position(&position, dir), LQ_OK);
    assert_loads_step(&position, 1);
    lqi_position_close(&position);

    /* The sides change places: it is not the side that tells. */
    read_file(dir, bytes);
    for (uint64_t number = 0; number < BLOCKS; number++) {
        memcpy(block, block_at(bytes, 0, number), sizeof block);
        memcpy(block_at(bytes, 0, number), block_at(bytes, 1, number), sizeof block);
        memcpy(block_at(bytes, 1, number), block, sizeof block);
    }
    write_file(dir, "billing.pos", bytes, FILE_SIZE);
    assert_int_equal(open_position(&position, dir), LQ_OK);
    assert_loads_step(&position, 1);
    lqi_position_close(&position);
    io->close(io, dir);
}

static void a_torn_side_does_not_hide_the_good_one_and_is_no_damage(void **state)
{
    int dir = open_dir(state);
    static uint8_t bytes[FILE_SIZE];
    struct lqi_position position;
    struct loaded_words loaded;

    create(dir);
    assert_int_equal(open_position(&position, dir), LQ_OK);
    save_step(&position, 0, WORDS - 1, 4 * WORDS - 1, 0, UINT64_MAX); /* blocks 1, 2 and 3 on side 1 */
    begin_epoch(&position);
    save_step(&position, 1, WORDS - 1, 4 * WORDS - 1, 0, UINT64_MAX); /* and on side 0 */
    lqi_position_close(&position);
    read_file(dir, bytes);
    for (unsigned bit = 0; bit < 2 * LQI_POSITION_BLOCK * 8; bit++) {
        unsigned side = bit % 2;
        uint8_t *byte = block_at(bytes, side, 2) + bit / 16;

        *byte ^= (uint8_t)(1 << bit / 2 % 8);
        write_file(dir, "billing.pos", bytes, FILE_SIZE);
        assert_int_equal(open_position(&position, dir), LQ_OK);
        assert_int_equal(load_words(&position, &loaded), 0);
        for (uint64_t id = WORDS; id < 4 * WORDS; id++)
            assert_int_equal(loaded.words[id - loaded.floor], word_at(id, id / WORDS == 2 ? side : 1));
        lqi_position_close(&position);
        *byte ^= (uint8_t)(1 << bit / 2 % 8);
    }
    /* Both torn: that is damage, of one block. */
    *block_at(bytes, 0, 2) ^= 1;
    *block_at(bytes, 1, 2) ^= 1;
    write_file(dir, "billing.pos", bytes, FILE_SIZE);
    assert_int_equal(open_position(&position, dir), LQ_OK);
    assert_int_equal(load_words(&position, &loaded), 1);
    for (uint64_t id = WORDS; id < 4 * WORDS; id++)
        assert_int_equal(loaded.words[id - loaded.floor], id / WORDS == 2 ? 0 : word_at(id, 1));
    lqi_position_close(&position);
    io->close(io, dir);
}

static void sides_come_back_with_a_load(void **state)
{
    int dir = open_dir(state);
    static uint8_t before[FILE_SIZE], after[FILE_SIZE];
    uint64_t known[BLOCKS];
    struct lqi_position position;
    struct loaded_words loaded;

    create(dir);
    assert_int_equal(open_position(&position, dir), LQ_OK);
    save_step(&position, 0, 500, 500 + WINDOW, 0, UINT64_MAX);
    begin_epoch(&position);
    save_step(&position, 1, 500, 500 + WINDOW, 700, 1100);
    lqi_position_close(&position);
    for (size_t i = 0; i < BLOCKS; i++) known[i] = side_of[i] & 1;

    /* Another life: nothing is known but what the file says. */
    memset(side_of, 0, sizeof side_of);
    sides.epoch = 0;
    assert_int_equal(open_position(&position, dir), LQ_OK);
    loaded.floor = position.newest.floor;
    assert_int_equal(lqi_position_load(&position, keep_word, &loaded, &sides, NULL), LQ_OK);
    for (uint64_t number = 501 / WORDS; number <= (500 + WINDOW) / WORDS; number++)
        assert_int_equal(side_of[number % BLOCKS], known[number % BLOCKS]);

    /* Its first save leaves the newest side of every block alone. */
    begin_epoch(&position);
    read_file(dir, before);
    save_step(&position, 2, 500, 500 + WINDOW, 0, UINT64_MAX);
    read_file(dir, after);
    for (uint64_t number = 501 / WORDS; number <= (500 + WINDOW) / WORDS; number++) {
        unsigned side = (unsigned)known[number % BLOCKS];
        assert_memory_equal(block_at(before, side, number), block_at(after, side, number), LQI_POSITION_BLOCK);
    }
    assert_loads_step(&position, 2);
    lqi_position_close(&position);
    io->close(io, dir);
}

static void blocks_of_another_incarnation_do_not_count(void **state)
{
    int dir = open_dir(state);
    struct lqi_position position;
    struct loaded_words loaded;
    unsigned step = 1;

    create(dir);
    assert_int_equal(open_position(&position, dir), LQ_OK);
    save_step(&position, 0, 500, 500 + WINDOW, 0, UINT64_MAX);
    begin_epoch(&position);
    struct lqi_position_entry entry = {.floor = 500, .delivered = 500 + WINDOW, .incarnation = first.incarnation + 1};
    assert_int_equal(lqi_position_save(&position, &entry, 0, 800, &sides, give_word_of_step, &step), LQ_OK);
    lqi_position_close(&position);
    assert_int_equal(open_position(&position, dir), LQ_OK);
    assert_int_equal(position.newest.incarnation, first.incarnation + 1);
    (void)load_words(&position, &loaded);
    uint64_t end = (800 / WORDS + 1) * WORDS; /* of the last block that was saved again */
    for (uint64_t id = 501; id <= 500 + WINDOW; id++)
        assert_int_equal(loaded.words[id - 500], id < end ? word_at(id, 1) : 0);
    lqi_position_close(&position);
    io->close(io, dir);
}

/* ---- torn between two syncs -------------------------------------------- */

enum { UNIT = 64, UNITS = FILE_SIZE / UNIT, SAVES_MAX = 200 };

/* The file as it was synced, what became of it since, and which units were written. */
static struct tearing {
    struct lqi_io io;
    int dir, fd;
    uint8_t synced[FILE_SIZE], states[SAVES_MAX][FILE_SIZE], torn[FILE_SIZE];
    bool written[UNITS];
    unsigned state_count, step_synced, step;
    struct lqi_position_entry entry_synced;
} tearing;

static int note_write(const struct lqi_io *unused, int fd, uint64_t offset, const void *data, size_t size)
{
    (void)unused;
    for (uint64_t at = offset / UNIT; at * UNIT < offset + size; at++) tearing.written[at] = true;
    return io->write(io, fd, offset, data, size);
}

static int note_sync(const struct lqi_io *unused, int fd)
{
    (void)unused;
    memset(tearing.written, 0, sizeof tearing.written);
    tearing.state_count = 0;
    read_file(tearing.dir, tearing.synced);
    return io->sync(io, fd);
}

static void begin_tearing(struct lqi_position *position, int dir)
{
    tearing.io = *io;
    tearing.io.write = note_write;
    tearing.io.sync = note_sync;
    tearing.dir = dir;
    tearing.fd = position->file.fd;
    tearing.step = 0;
    position->file.io = &tearing.io;
}

/* All that was saved so far is safe; a new epoch begins. */
static void end_epoch(struct lqi_position *position)
{
    assert_int_equal(lqi_file_sync(&position->file), LQ_OK);
    begin_epoch(position);
    tearing.entry_synced = position->newest;
    tearing.step_synced = tearing.step;
}

static void save_next(struct lqi_position *position, uint64_t floor, uint64_t delivered, uint64_t low, uint64_t high)
{
    save_step(position, ++tearing.step, floor, delivered, low, high);
    assert_in_range(tearing.state_count, 0, SAVES_MAX - 1);
    read_file(tearing.dir, tearing.states[tearing.state_count++]);
}

enum { AS_SYNCED, ZEROED, FLIPPED, HALF, AS_WRITTEN }; /* and as after each of the saves */

static void tear_unit(unsigned unit, unsigned how, unsigned random)
{
    uint8_t *to = tearing.torn + (size_t)unit * UNIT;
    const uint8_t *was = tearing.synced + (size_t)unit * UNIT;
    unsigned last = tearing.state_count - 1;
    const uint8_t *is = tearing.states[how >= AS_WRITTEN ? lqi_min64(how - AS_WRITTEN, last) : last] + (size_t)unit * UNIT;

    memcpy(to, how == AS_SYNCED ? was : is, UNIT);
    if (how == ZEROED) memset(to, 0, UNIT);
    if (how == FLIPPED) to[random / 8 % UNIT] ^= (uint8_t)(1 << random % 8);
    if (how == HALF) memcpy(to + random % UNIT, was + random % UNIT, UNIT - random % UNIT);
}

static bool may_be(uint32_t word, uint64_t id)
{
    for (unsigned step = tearing.step_synced; step <= tearing.step; step++)
        if (word == word_at(id, step)) return true;
    return word == LQI_WORD_SETTLED; /* a floor has passed it */
}

/* Nothing that was synced is lost. */
static void look_at_torn(void)
{
    const struct lqi_position_entry *synced = &tearing.entry_synced;
    struct lqi_position position;
    struct loaded_words loaded;

    assert_int_equal(io->write(io, tearing.fd, 0, tearing.torn, FILE_SIZE), 0);
    assert_int_equal(open_position(&position, tearing.dir), LQ_OK);
    const struct lqi_position_entry *newest = &position.newest;
    assert_true(newest->sequence >= synced->sequence && newest->floor >= synced->floor && newest->delivered >= synced->delivered);
    uint32_t damaged = load_words(&position, &loaded);
    assert_in_range(damaged, 0, newest->delivered / WORDS - synced->delivered / WORDS);
    for (uint64_t id = newest->floor + 1; id <= newest->delivered; id++) {
        uint32_t word = loaded.words[id - newest->floor];
        if (!may_be(word, id) && (word || id <= synced->delivered))
            fail_msg("of id %llu, synced in step %u: 0x%x", (unsigned long long)id, tearing.step_synced, word);
    }
    lqi_position_close(&position);
}

/* State 0 is that of the sync, the others those after the saves since. */
static const uint8_t *state_bytes(unsigned i)
{
    return i ? tearing.states[i - 1] : tearing.synced;
}

/* Entries of one time with blocks of another. */
static void mix_entries_and_blocks(void)
{
    unsigned step = tearing.state_count / 12 + 1;

    for (unsigned i = 0; i <= tearing.state_count; i += step) {
        for (unsigned j = 0; j <= tearing.state_count; j += step) {
            memcpy(tearing.torn, state_bytes(i), LQI_POSITION_BLOCKS_AT);
            memcpy(tearing.torn + LQI_POSITION_BLOCKS_AT, state_bytes(j) + LQI_POSITION_BLOCKS_AT, 2 * SIDE_SIZE);
            look_at_torn();
        }
    }
}

/* Each unit in each way, all others as they were or as they are; then many at once. */
static void tear_everything(void)
{
    static uint8_t whole[FILE_SIZE];
    unsigned random = 1, kinds = AS_WRITTEN + (tearing.state_count < 8 ? tearing.state_count : 8), units = 0;

    read_file(tearing.dir, whole);
    for (unsigned unit = 0; unit < UNITS; unit++) {
        if (!tearing.written[unit]) continue;
        units++;
        for (unsigned how = 0; how < 2 * kinds; how++) {
            random = random * 1103515245 + 12345;
            memcpy(tearing.torn, how < kinds ? whole : tearing.synced, FILE_SIZE);
            tear_unit(unit, how % kinds, random >> 16);
            look_at_torn();
        }
    }
    assert_true(units > 0);
    mix_entries_and_blocks();
    for (int i = 0; i < 400; i++) {
        memcpy(tearing.torn, tearing.synced, FILE_SIZE);
        for (unsigned unit = 0; unit < UNITS; unit++) {
            random = random * 1103515245 + 12345;
            if (tearing.written[unit]) tear_unit(unit, (random >> 16) % (AS_WRITTEN + tearing.state_count), random >> 20);
        }
        look_at_torn();
    }
    assert_int_equal(io->write(io, tearing.fd, 0, whole, FILE_SIZE), 0);
}

static void what_was_synced_is_never_written_over(void **state)
{
    int dir = open_dir(state);
    struct lqi_position position;
    uint64_t floor = 500, delivered = 500 + WINDOW;

    create(dir);
    assert_int_equal(open_position(&position, dir), LQ_OK);
    begin_tearing(&position, dir);
    save_next(&position, floor, delivered, floor + 1, delivered);
    for (int epoch = 0; epoch < 8; epoch++) {
        end_epoch(&position);
        for (int i = 0; i < 5; i++) save_next(&position, floor, delivered, floor + 1 + (uint64_t)(i * 190), floor + 300 + (uint64_t)(i * 170));
        tear_everything();
        save_next(&position, floor, delivered, floor + 1, delivered); /* so that all words are of one step or later */
    }
    lqi_position_close(&position);
    io->close(io, dir);
}

static void a_later_lap_of_ids_leaves_what_was_synced(void **state)
{
    int dir = open_dir(state);
    struct lqi_position position;
    uint64_t floor = 500, delivered = 500 + WINDOW;

    create(dir);
    assert_int_equal(open_position(&position, dir), LQ_OK);
    begin_tearing(&position, dir);
    save_next(&position, floor, delivered, floor + 1, delivered);
    for (int epoch = 0; epoch < 8; epoch++) {
        end_epoch(&position);
        /* Up to three laps of all places, all in one epoch. */
        for (int i = 0; i < 3 + epoch % 4 * 3; i++) {
            floor += 330;
            delivered += 330;
            save_next(&position, floor, delivered, i % 2 ? floor + 1 : delivered - 329, delivered);
        }
        tear_everything();
        save_next(&position, floor, delivered, floor + 1, delivered);
    }
    lqi_position_close(&position);
    io->close(io, dir);
}

static void a_new_incarnation_begins_without_losing_anything(void **state)
{
    int dir = open_dir(state);
    struct lqi_position position;
    struct lqi_position_entry entry = {.floor = 500, .delivered = 500 + WINDOW, .incarnation = first.incarnation};

    create(dir);
    assert_int_equal(open_position(&position, dir), LQ_OK);
    begin_tearing(&position, dir);
    save_next(&position, entry.floor, entry.delivered, 0, UINT64_MAX);
    for (int life = 0; life < 4; life++) {
        end_epoch(&position);
        /* The blocks, which nothing leads to yet; once they are durable, the entry. */
        entry.incarnation++;
        tearing.step++;
        assert_int_equal(lqi_position_save_blocks(&position, &entry, 0, UINT64_MAX, &sides, give_word_of_step, &tearing.step), LQ_OK);
        assert_int_equal(position.newest.incarnation, entry.incarnation - 1);
        read_file(dir, tearing.states[tearing.state_count++]);
        tear_everything();
        assert_int_equal(lqi_file_sync(&position.file), LQ_OK);
        assert_int_equal(lqi_position_save(&position, &entry, 1, 0, &sides, NULL, NULL), LQ_OK);
        read_file(dir, tearing.states[tearing.state_count++]);
        tear_everything();
        assert_loads_step(&position, tearing.step);
    }
    lqi_position_close(&position);
    io->close(io, dir);
}

static void any_number_of_saves_leaves_the_entry_that_was_synced(void **state)
{
    int dir = open_dir(state);
    struct lqi_position position;
    uint64_t floor = 500, delivered = 500 + WINDOW;

    create(dir);
    assert_int_equal(open_position(&position, dir), LQ_OK);
    begin_tearing(&position, dir);
    save_next(&position, floor, delivered, floor + 1, delivered);
    for (int epoch = 0; epoch < 4; epoch++) {
        end_epoch(&position);
        for (int i = 0; i < 60 + epoch * 40; i++) {
            floor++, delivered++;
            save_next(&position, floor, delivered, delivered, delivered);
        }
        tear_everything();
        save_next(&position, floor, delivered, floor + 1, delivered);
    }
    lqi_position_close(&position);
    io->close(io, dir);
}

/* ---- list and delete --------------------------------------------------- */

static void consumers_are_listed_by_name_and_deleted(void **state)
{
    static const char *const others[] = {"x.pos.0123456789abcdef.new", ".pos", "-a.pos", "notes.txt", "pos", "a.posx"};
    int dir = open_dir(state);
    char (*names)[LQ_NAME_MAX + 1] = NULL;
    size_t count = 77;

    assert_int_equal(lqi_position_list(io, dir, &names, &count), LQ_OK);
    assert_int_equal(count, 0);
    free(names);

    for (int i = 49; i >= 0; i--) {
        char name[32];
        snprintf(name, sizeof name, "c%02d.pos", i);
        write_file(dir, name, NULL, 0);
    }
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) write_file(dir, others[i], NULL, 0);
    assert_int_equal(lqi_position_list(io, dir, &names, &count), LQ_OK);
    assert_int_equal(count, 50);
    for (int i = 0; i < 50; i++) {
        char name[32];
        snprintf(name, sizeof name, "c%02d", i);
        assert_string_equal(names[i], name);
    }
    free(names);

    assert_int_equal(lqi_position_delete(io, dir, "c07", NULL), LQ_OK);
    assert_int_equal(lqi_position_delete(io, dir, "c07", NULL), LQ_ENOTFOUND);
    assert_int_equal(lqi_position_list(io, dir, &names, &count), LQ_OK);
    assert_int_equal(count, 49);
    free(names);
    io->close(io, dir);
}

/* ---- failing calls ----------------------------------------------------- */

static void create_open_list_delete(struct io_fault *fault, void *context)
{
    int dir = *(int *)context, found;
    char (*names)[LQ_NAME_MAX + 1] = NULL;
    struct lqi_position position, after = {.file = LQI_FILE_NONE};
    size_t count = 0;

    int err = lqi_position_create(&fault->io, dir, "billing", uuid, WINDOW, &first, 0600);
    found = open_position(&after, dir);
    assert_true(found == LQ_OK || (err && found == LQ_ENOTFOUND));
    lqi_position_close(&after);
    if (!err) {
        err = lqi_position_open(&position, &fault->io, dir, "billing", uuid, true);
        lqi_position_close(&position);
    }
    if (!err) err = lqi_position_list(&fault->io, dir, &names, &count);
    if (!err) assert_int_equal(count, 1);
    if (!err) err = lqi_position_delete(&fault->io, dir, "billing", NULL);
    assert_int_equal(err, fault->hits ? LQ_EIO : LQ_OK);
    free(names);
    (void)io->unlink(io, dir, "billing.pos");
}

static void whatever_call_fails_an_offset_file_is_whole_or_absent(void **state)
{
    int dir = open_dir(state);

    /* 7 to publish; open, read, stat; list; unlink, sync the directory. */
    assert_int_equal(each_fault(create_open_list_delete, &dir), 2 * 13);
    io->close(io, dir);
}

static void save_and_load(struct io_fault *fault, void *context)
{
    int dir = *(int *)context;
    struct lqi_position position;
    struct asked asked = {0, UINT64_MAX, 0};
    uint32_t words = 0;

    assert_int_equal(open_position(&position, dir), LQ_OK);
    struct lqi_position_entry before = position.newest, entry = before;
    entry.floor += 100;
    entry.delivered = entry.floor + WINDOW;
    position.file.io = &fault->io;
    int err = lqi_position_save(&position, &entry, 0, UINT64_MAX, &sides, give_word, &asked);
    assert_same_entry(&position.newest, err ? &before : &entry);
    assert_int_equal(position.newest.sequence, before.sequence + !err);
    if (!err) err = lqi_position_load(&position, count_word, &words, NULL, NULL);
    assert_int_equal(err, fault->hits ? LQ_EIO : LQ_OK);
    lqi_position_close(&position);

    /* The file holds the old entry or the new one. */
    assert_int_equal(open_position(&position, dir), LQ_OK);
    assert_true(position.newest.sequence - before.sequence <= 1);
    assert_same_entry(&position.newest, position.newest.sequence == before.sequence ? &before : &entry);
    lqi_position_close(&position);
}

static void a_save_that_fails_leaves_the_old_entry_or_the_new(void **state)
{
    int dir = open_dir(state);

    create(dir);
    assert_true(each_fault(save_and_load, &dir) >= 2 * 4);
    io->close(io, dir);
}

#define with_files(test) cmocka_unit_test_setup_teardown(test, scratch_make, scratch_remove)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_are_letters_digits_and_a_few_signs),
        cmocka_unit_test(every_byte_is_either_of_a_name_or_not),
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
        with_files(the_words_of_a_window_come_back_wherever_it_lies),
        with_files(saves_that_follow_a_consumer_add_up),
        with_files(ids_outside_the_window_are_neither_asked_for_nor_written),
        with_files(numbers_that_make_no_window_are_not_saved),
        with_files(only_blocks_that_hold_what_changed_are_written),
        with_files(a_window_has_these_bytes),
        with_files(every_flipped_bit_of_a_block_costs_that_block_only),
        with_files(blocks_that_are_not_there_count_as_never_handed_out),
        with_files(a_block_in_a_place_of_others_is_damage),
        with_files(a_file_that_is_cut_while_open_is_damage),
        with_files(within_an_epoch_the_same_side_is_written_again),
        with_files(blocks_of_one_save_may_go_to_different_sides),
        with_files(the_higher_sequence_of_the_two_sides_counts),
        with_files(a_torn_side_does_not_hide_the_good_one_and_is_no_damage),
        with_files(sides_come_back_with_a_load),
        with_files(blocks_of_another_incarnation_do_not_count),
        with_files(what_was_synced_is_never_written_over),
        with_files(a_later_lap_of_ids_leaves_what_was_synced),
        with_files(a_new_incarnation_begins_without_losing_anything),
        with_files(any_number_of_saves_leaves_the_entry_that_was_synced),
        with_files(consumers_are_listed_by_name_and_deleted),
        with_files(whatever_call_fails_an_offset_file_is_whole_or_absent),
        with_files(a_save_that_fails_leaves_the_old_entry_or_the_new),
    };
    return cmocka_run_group_tests_name("position", tests, NULL, NULL);
}
