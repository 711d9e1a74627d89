/* The window of an offset file: words that are lost are messages that come again. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "bytes.h"
#include "checksum.h"
#include "support/each_fault.h"
#include "support/hex.h"
#include "support/offset_file.h"

/* ---- the window -------------------------------------------------------- */

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

static int64_t damaged_at; /* the first of them */

/* Loads and says how many words came, and how many blocks were damaged. */
static void load_counts(int dir, uint32_t *words_out, uint32_t *damaged_out)
{
    struct lqi_position position;

    *words_out = 0;
    assert_int_equal(open_position(&position, dir), LQ_OK);
    assert_int_equal(lqi_position_load(&position, count_word, words_out, NULL, damaged_out), LQ_OK);
    damaged_at = position.damaged_block;
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
        assert_int_equal(damaged_at, LQI_POSITION_BLOCKS_AT + SIDE_SIZE + LQI_POSITION_BLOCK);
    }
    io->close(io, dir);
}

/* What a block of number 1, of the right words, counts as under its first id and incarnation. */
static bool is_damage(int dir, uint8_t *bytes, uint64_t first_id, uint64_t incarnation)
{
    uint32_t words, damaged;
    uint8_t *block = block_at(bytes, 1, 1);
    lqi_put64(block, first_id);
    lqi_put64(block + 8, lqi_checksum_at(block + 16, 496, first_id ^ lqi_get64(uuid) ^ incarnation));
    write_file(dir, "billing.pos", bytes, FILE_SIZE);
    load_counts(dir, &words, &damaged);
    assert_int_equal(words, 0);
    assert_in_range(damaged, 0, 1);
    return damaged;
}

/* A power loss may have kept the entry of a new incarnation, and not its blocks: those of one that an entry still
 * tells of were good in their time, and are no damage. */
static void a_block_of_an_incarnation_that_has_an_entry_is_old_and_not_damaged(void **state)
{
    enum { OLD = 0x50000, NEW = 0x60000 };
    static uint8_t bytes[FILE_SIZE];
    for (uint64_t slot = 0; slot < LQI_POSITION_ENTRIES; slot += LQI_POSITION_ENTRIES - 1) { /* where the old entry is */
        int dir = open_dir(state);
        struct lqi_position position;

        create(dir);
        assert_int_equal(open_position(&position, dir), LQ_OK);
        struct lqi_position_entry entry = {.floor = WORDS - 1, .delivered = 2 * WORDS - 1, .incarnation = NEW};
        while (position.newest.sequence < 2 * LQI_POSITION_ENTRIES + 5) {
            entry.incarnation = position.newest.sequence + 1 == LQI_POSITION_ENTRIES + slot ? OLD : NEW;
            assert_int_equal(lqi_position_save(&position, &entry, 1, 0, NULL, NULL, NULL), LQ_OK);
            if (position.newest.sequence % LQI_POSITION_ENTRIES == LQI_POSITION_ENTRIES - 2 && position.newest.sequence > LQI_POSITION_ENTRIES + slot) break;
        }
        lqi_position_close(&position);
        read_file(dir, bytes);
        memset(block_at(bytes, 1, 1) + 16, 0x11, 496);
        assert_false(is_damage(dir, bytes, WORDS, OLD));
        assert_true(is_damage(dir, bytes, WORDS, OLD + 1));
        assert_true(is_damage(dir, bytes, WORDS + 1, OLD));           /* begins between two */
        assert_true(is_damage(dir, bytes, 2 * WORDS, OLD));           /* of another place */
        assert_false(is_damage(dir, bytes, (1 + BLOCKS) * WORDS, OLD)); /* of this one, a lap later */
        memset(bytes + LQI_POSITION_ENTRIES_AT + slot * LQI_POSITION_ENTRY, 0, LQI_POSITION_ENTRY);
        assert_true(is_damage(dir, bytes, WORDS, OLD)); /* nothing tells of it any more */
        assert_int_equal(io->unlink(io, dir, "billing.pos"), 0);
        io->close(io, dir);
    }
}

/* Only the blocks that the window lies in are looked at. */
static void damage_beside_the_window_is_nobodys_business(void **state)
{
    int dir = open_dir(state);
    static uint8_t bytes[FILE_SIZE];
    struct lqi_position position;
    uint32_t words, damaged;

    create(dir);
    assert_int_equal(open_position(&position, dir), LQ_OK);
    save(&position, WORDS - 1, 2 * WORDS - 1, WORDS, 2 * WORDS - 1); /* block 1, from its first id to its last */
    lqi_position_close(&position);
    read_file(dir, bytes);
    for (uint64_t number = 0; number <= 2; number += 2) block_at(bytes, 1, number)[20] = 1;
    write_file(dir, "billing.pos", bytes, FILE_SIZE);
    load_counts(dir, &words, &damaged);
    assert_true(words > 0 && damaged == 0);

    assert_int_equal(open_position(&position, dir), LQ_OK);
    save(&position, 2 * WORDS + 5, 2 * WORDS + 5, 1, 0); /* an empty one, in block 2 */
    lqi_position_close(&position);
    load_counts(dir, &words, &damaged);
    assert_true(words == 0 && damaged == 0);
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
        char text[100];
        assert_int_equal(lqi_position_load(&position, count_word, &words, NULL, NULL), LQ_ECORRUPT);
        snprintf(text, sizeof text, "consumers/billing.pos at byte %d: the file was cut", LQI_POSITION_BLOCKS_AT + side * SIDE_SIZE + 700);
        assert_string_equal(lq_error_text(), text);
    }
    lqi_position_close(&position);
    io->close(io, dir);
}

/* ---- failing calls ----------------------------------------------------- */

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        with_files(the_words_of_a_window_come_back_wherever_it_lies),
        with_files(saves_that_follow_a_consumer_add_up),
        with_files(ids_outside_the_window_are_neither_asked_for_nor_written),
        with_files(numbers_that_make_no_window_are_not_saved),
        with_files(only_blocks_that_hold_what_changed_are_written),
        with_files(a_window_has_these_bytes),
        with_files(every_flipped_bit_of_a_block_costs_that_block_only),
        with_files(blocks_that_are_not_there_count_as_never_handed_out),
        with_files(a_block_in_a_place_of_others_is_damage),
        with_files(a_block_of_an_incarnation_that_has_an_entry_is_old_and_not_damaged),
        with_files(damage_beside_the_window_is_nobodys_business),
        with_files(a_file_that_is_cut_while_open_is_damage),
        with_files(a_save_that_fails_leaves_the_old_entry_or_the_new),
    };
    return cmocka_run_group_tests_name("position window", tests, NULL, NULL);
}
