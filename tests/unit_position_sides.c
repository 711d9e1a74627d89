/* The two sides of each block of an offset file: whatever a power loss leaves of saves that were not synced, what was synced is there. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "bytes.h"
#include "support/offset_file.h"

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
            uint64_t before = position.newest.sequence;
            floor++, delivered++;
            save_next(&position, floor, delivered, delivered, delivered);
            assert_true(position.newest.sequence > before); /* no two bear one number */
        }
        tear_everything();
        save_next(&position, floor, delivered, floor + 1, delivered);
    }
    lqi_position_close(&position);
    io->close(io, dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
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
    };
    return cmocka_run_group_tests_name("position sides", tests, NULL, NULL);
}
