/* Offset files that are damaged: what is told of them, what is swept away, what can still be read. */
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
#include "support/offset_file.h"

/* What lqi_position_check() has told, in its order. */
static uint64_t told[8];
static size_t told_count;

static void note_place(void *context, uint64_t offset, const char *text)
{
    (void)context;
    assert_non_null(text);
    assert_true(told_count < 8);
    told[told_count++] = offset;
}

static size_t check(int dir)
{
    struct lqi_position position;
    told_count = 0;
    assert_int_equal(open_position(&position, dir), LQ_OK);
    assert_int_equal(lqi_position_check(&position, note_place, NULL), LQ_OK);
    lqi_position_close(&position);
    return told_count;
}

static uint32_t count_word(void *context, uint64_t id)
{
    ++*(unsigned *)context;
    return (uint32_t)(id % 5);
}

/* A consumer with `saves` entries, and words of ids up to `delivered`. */
static void create_with_words(int dir, unsigned saves, uint64_t delivered)
{
    struct lqi_position position;
    struct lqi_position_entry entry = first;
    unsigned words = 0;

    create(dir);
    assert_int_equal(open_position(&position, dir), LQ_OK);
    entry.delivered = delivered;
    for (unsigned i = 0; i < saves; i++)
        assert_int_equal(lqi_position_save(&position, &entry, entry.floor + 1, delivered, &sides, count_word, &words), LQ_OK);
    lqi_position_close(&position);
}

/* ---- telling ------------------------------------------------------------ */

static void each_damaged_place_of_an_open_file_is_told_with_its_byte(void **state)
{
    int dir = open_dir(state);
    static uint8_t bytes[FILE_SIZE + 1];
    const uint64_t places[] = {COPY, 2 * COPY, LQI_POSITION_ENTRIES_AT + 5 * LQI_POSITION_ENTRY, FILE_SIZE,
                               (uint64_t)(block_at(bytes, 1, 501 / WORDS) - bytes)};

    create_with_words(dir, 1, 600);
    assert_int_equal(check(dir), 0);
    read_file(dir, bytes);
    bytes[COPY + 100] ^= 1;
    bytes[2 * COPY + 1000] = 1; /* where all should be zero */
    bytes[LQI_POSITION_ENTRIES_AT + 5 * LQI_POSITION_ENTRY + 40] = 1;
    block_at(bytes, 1, 501 / WORDS)[100] ^= 1;
    write_file(dir, "billing.pos", bytes, FILE_SIZE + 1);
    assert_int_equal(check(dir), 5);
    for (size_t i = 0; i < 5; i++) assert_int_equal(told[i], places[i]);

    bytes[COPY + 100] ^= 1;
    bytes[100] ^= 1; /* the other copy */
    bytes[LQI_POSITION_ENTRIES_AT] = 1; /* the first entry */
    bytes[LQI_POSITION_BLOCKS_AT - 1] = 1; /* and the last */
    write_file(dir, "billing.pos", bytes, FILE_SIZE);
    assert_int_equal(check(dir), 6);
    assert_int_equal(told[0], 0);
    assert_int_equal(told[2], LQI_POSITION_ENTRIES_AT);
    assert_int_equal(told[3], places[2]);
    assert_int_equal(told[4], LQI_POSITION_BLOCKS_AT - LQI_POSITION_ENTRY);
    io->close(io, dir);
}

static void check_it(struct io_fault *fault, void *context)
{
    struct lqi_position position;
    told_count = 0;
    int err = lqi_position_open(&position, &fault->io, *(int *)context, "billing", uuid, false);
    if (!err) err = lqi_position_check(&position, note_place, NULL);
    lqi_position_close(&position);
    assert_int_equal(err, fault->hits ? LQ_EIO : LQ_OK);
    assert_int_equal(told_count, 0);
}

static void a_file_that_cannot_be_read_is_not_called_damaged(void **state)
{
    int dir = open_dir(state);
    create_with_words(dir, 1, 600);
    /* open, read, stat; read, stat, and the blocks of both sides. */
    assert_int_equal(each_fault(check_it, &dir), 2 * 7);
    io->close(io, dir);
}

/* ---- sweeping ----------------------------------------------------------- */

static void sweeping_makes_zeroes_of_what_does_not_verify_and_of_nothing_else(void **state)
{
    static uint8_t before[FILE_SIZE], after[FILE_SIZE];
    struct lqi_position position;
    struct io_fault fault;
    int dir = open_dir(state);

    create_with_words(dir, 20, 600);
    read_file(dir, before);
    for (unsigned slot = 0; slot < LQI_POSITION_ENTRIES; slot += 9) before[LQI_POSITION_ENTRIES_AT + slot * LQI_POSITION_ENTRY + 20] ^= 4;
    before[LQI_POSITION_BLOCKS_AT] = 1; /* right behind the entries; a block that no id needs */
    write_file(dir, "billing.pos", before, FILE_SIZE);
    io_fault_init(&fault, io);
    assert_int_equal(lqi_position_open(&position, &fault.io, dir, "billing", uuid, true), LQ_OK);
    assert_int_equal(lqi_position_sweep(&position), LQ_OK);
    assert_int_equal(fault.calls[IO_WRITE], 8);
    assert_int_equal(lqi_position_sweep(&position), LQ_OK); /* once */
    assert_int_equal(fault.calls[IO_WRITE], 8);
    for (unsigned slot = 0; slot < LQI_POSITION_ENTRIES; slot += 9) memset(before + LQI_POSITION_ENTRIES_AT + slot * LQI_POSITION_ENTRY, 0, LQI_POSITION_ENTRY);
    read_file(dir, after);
    assert_memory_equal(after, before, FILE_SIZE);
    lqi_position_close(&position);
    io_fault_release(&fault);
    assert_int_equal(check(dir), 0);
    io->close(io, dir);
}

static void what_a_save_has_put_in_the_place_of_a_damaged_entry_is_not_swept_away(void **state)
{
    static uint8_t bytes[FILE_SIZE];
    struct lqi_position position;
    unsigned words = 0;
    int dir = open_dir(state);

    create_with_words(dir, 1, 600);
    read_file(dir, bytes);
    bytes[LQI_POSITION_ENTRIES_AT + 3 * LQI_POSITION_ENTRY] = 1; /* as a save that power loss has torn */
    write_file(dir, "billing.pos", bytes, FILE_SIZE);
    assert_int_equal(open_position(&position, dir), LQ_OK);
    struct lqi_position_entry entry = position.newest;
    assert_int_equal(lqi_position_save(&position, &entry, 501, 600, &sides, count_word, &words), LQ_OK);
    assert_int_equal(position.newest.sequence, 3);
    assert_int_equal(lqi_position_sweep(&position), LQ_OK);
    lqi_position_close(&position);
    assert_int_equal(open_position(&position, dir), LQ_OK);
    assert_int_equal(position.newest.sequence, 3);
    lqi_position_close(&position);
    io->close(io, dir);
}

static void sweep_it(struct io_fault *fault, void *context)
{
    static uint8_t bytes[FILE_SIZE];
    struct lqi_position position;
    int dir = *(int *)context;

    (void)io->unlink(io, dir, "billing.pos");
    create_with_words(dir, 4, 600);
    read_file(dir, bytes);
    bytes[LQI_POSITION_ENTRIES_AT + 2 * LQI_POSITION_ENTRY] ^= 1;
    bytes[LQI_POSITION_ENTRIES_AT + 3 * LQI_POSITION_ENTRY] ^= 1;
    write_file(dir, "billing.pos", bytes, FILE_SIZE);
    int err = lqi_position_open(&position, &fault->io, dir, "billing", uuid, true);
    if (!err) err = lqi_position_sweep(&position);
    lqi_position_close(&position);
    assert_int_equal(err, fault->hits ? LQ_EIO : LQ_OK);
    assert_int_equal(open_position(&position, dir), LQ_OK);
    assert_int_equal(position.newest.sequence, 5);
    lqi_position_close(&position);
}

static void a_sweep_that_fails_leaves_the_newest_entry(void **state)
{
    int dir = open_dir(state);
    assert_int_equal(each_fault(sweep_it, &dir), 2 * 5); /* open, read, stat; two writes */
    io->close(io, dir);
}

/* ---- salvaging ---------------------------------------------------------- */

static int salvage(struct lqi_position *position, int dir)
{
    return lqi_position_salvage(position, io, dir, "billing", uuid);
}

/* Without its fixed part, the window is the largest that goes with the size. */
static void without_its_fixed_part_a_file_has_the_window_of_its_size(void **state)
{
    static const struct {
        uint32_t made, found;
    } cases[] = {{64, 121}, {WINDOW, 1097}, {LQI_POSITION_WINDOW - 1, LQI_POSITION_WINDOW}, {LQI_POSITION_WINDOW, LQI_POSITION_WINDOW},
                 {LQI_POSITION_WINDOW + 122, LQI_POSITION_WINDOW + 221}};
    int dir = open_dir(state);
    struct lqi_position position;
    struct lqi_file file = LQI_FILE_NONE;
    const uint8_t garbage[2 * COPY] = {1};

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(lqi_position_create(io, dir, "billing", uuid, cases[i].made, &first, 0600), LQ_OK);
        assert_int_equal(lqi_file_open(&file, io, dir, "billing.pos", "billing.pos", LQI_OPEN_WRITE, 0), LQ_OK);
        assert_int_equal(lqi_file_write(&file, 0, garbage, sizeof garbage), LQ_OK);
        lqi_file_close(&file);
        assert_int_equal(open_position(&position, dir), LQ_ECORRUPT);
        assert_int_equal(salvage(&position, dir), LQ_OK);
        assert_int_equal(position.window, cases[i].found);
        assert_same_entry(&position.newest, &first);
        lqi_position_close(&position);
        (void)io->unlink(io, dir, "billing.pos");
    }
    io->close(io, dir);
}

static void count_settled(void *context, uint64_t id, uint32_t word)
{
    assert_int_equal(word, id % 5);
    ++*(unsigned *)context;
}

static void what_is_salvaged_without_its_fixed_part_has_the_words_it_had(void **state)
{
    static uint8_t bytes[FILE_SIZE];
    struct lqi_position position;
    unsigned words = 0;
    int dir = open_dir(state);

    create_with_words(dir, 1, 900);
    read_file(dir, bytes);
    bytes[0] ^= 1;
    bytes[COPY] ^= 1;
    write_file(dir, "billing.pos", bytes, FILE_SIZE);
    assert_int_equal(salvage(&position, dir), LQ_OK);
    assert_int_equal(lqi_position_load(&position, count_settled, &words, NULL, NULL), LQ_OK);
    assert_int_equal(words, 400 - 80); /* of 400, each fifth is none */
    lqi_position_close(&position);
    io->close(io, dir);
}

static void nothing_is_salvaged_from_what_has_no_entry_or_is_no_file(void **state)
{
    static uint8_t bytes[FILE_SIZE];
    int dir = open_dir(state), inner = -1;
    struct lqi_position position;

    assert_int_equal(salvage(&position, dir), LQ_ENOTFOUND);
    write_file(dir, "billing.pos", bytes, 5000);
    assert_int_equal(salvage(&position, dir), LQ_ENOTFOUND);
    assert_int_equal(position.window, LQI_POSITION_WINDOW); /* what a new one has */
    assert_int_equal(position.file.fd, -1);
    write_file(dir, "billing.pos", bytes, LQI_POSITION_BLOCKS_AT + 2 * LQI_POSITION_BLOCK);
    assert_int_equal(salvage(&position, dir), LQ_ENOTFOUND);
    assert_int_equal(position.window, LQI_POSITION_WINDOW);
    (void)io->unlink(io, dir, "billing.pos");
    assert_int_equal(io->dir_make(io, dir, "billing.pos", 0700), 0);
    assert_int_equal(io->dir_open(io, dir, "billing.pos", &inner), 0);
    assert_int_equal(salvage(&position, dir), LQ_ENOTFOUND);
    assert_int_equal(position.file.fd, -1);
    io->close(io, inner);
    io->close(io, dir);
}

static void salvage_and_ask(struct io_fault *fault, void *context)
{
    int dir = *(int *)context;
    struct lqi_position position;
    uint8_t found[16];
    int err = lqi_position_salvage(&position, &fault->io, dir, "billing", uuid);
    assert_int_equal(position.window, err ? LQI_POSITION_WINDOW : WINDOW);
    lqi_position_close(&position);
    if (!err) err = lqi_position_uuid(&fault->io, dir, "billing", found);
    if (!err) assert_memory_equal(found, uuid, sizeof found);
    assert_int_equal(err, fault->hits ? LQ_EIO : LQ_OK);
}

static void a_file_that_cannot_be_read_is_not_given_up(void **state)
{
    int dir = open_dir(state);
    create(dir);
    assert_int_equal(each_fault(salvage_and_ask, &dir), 2 * 5); /* open, stat, read; open, read */
    io->close(io, dir);
}

/* ---- writing again ------------------------------------------------------ */

static void write_it_again(struct io_fault *fault, void *context)
{
    static uint8_t before[FILE_SIZE], after[FILE_SIZE];
    int dir = *(int *)context;
    struct lqi_position position;

    read_file(dir, before);
    int err = lqi_position_open(&position, &fault->io, dir, "billing", uuid, true);
    if (!err) err = lqi_position_write_again(&position);
    lqi_position_close(&position);
    assert_int_equal(err, fault->hits ? LQ_EIO : LQ_OK);
    read_file(dir, after);
    assert_memory_equal(after, before, FILE_SIZE);
}

static void written_again_a_file_has_the_same_bytes_also_if_that_fails(void **state)
{
    int dir = open_dir(state);
    create_with_words(dir, 3, 600);
    assert_int_equal(each_fault(write_it_again, &dir), 2 * 7); /* open, read, stat; two pieces */
    io->close(io, dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        with_files(each_damaged_place_of_an_open_file_is_told_with_its_byte),
        with_files(a_file_that_cannot_be_read_is_not_called_damaged),
        with_files(sweeping_makes_zeroes_of_what_does_not_verify_and_of_nothing_else),
        with_files(what_a_save_has_put_in_the_place_of_a_damaged_entry_is_not_swept_away),
        with_files(a_sweep_that_fails_leaves_the_newest_entry),
        with_files(without_its_fixed_part_a_file_has_the_window_of_its_size),
        with_files(what_is_salvaged_without_its_fixed_part_has_the_words_it_had),
        with_files(nothing_is_salvaged_from_what_has_no_entry_or_is_no_file),
        with_files(a_file_that_cannot_be_read_is_not_given_up),
        with_files(written_again_a_file_has_the_same_bytes_also_if_that_fails),
    };
    return cmocka_run_group_tests_name("position_damage", tests, NULL, NULL);
}
