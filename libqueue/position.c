/* Offset files: written by small checksummed writes, read back suspiciously. */
#include "position.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "bytes.h"
#include "checksum.h"
#include "publish.h"
#include "stamp.h"

#define COPY_SIZE 512u
#define WINDOW_MIN 64u
#define WINDOW_MAX 16777216u
#define SEQUENCE_END ((uint64_t)1 << 62) /* twice that must fit: see struct lqi_position_sides */
#define WORDS LQI_POSITION_BLOCK_WORDS
#define BATCH 16u /* blocks read or written in one call */

/* The bytes that position.h describes, field by field. */
_Static_assert(COPY_SIZE == LQI_STAMP_HEAD + 4 + 4 + 8 + (LQ_NAME_MAX + 4) + 344 + 8, "fixed part of an offset file");
_Static_assert(2 * COPY_SIZE <= LQI_POSITION_ENTRIES_AT, "the entries stand behind both copies");
_Static_assert(LQI_POSITION_ENTRIES_AT + LQI_POSITION_ENTRIES * LQI_POSITION_ENTRY == LQI_POSITION_BLOCKS_AT, "and the blocks behind them");
_Static_assert(LQI_POSITION_ENTRY == 8 * 8, "commit entry");
_Static_assert(LQI_POSITION_BLOCK == 3 * 8 + 4 * LQI_POSITION_BLOCK_WORDS, "block of words");
_Static_assert(LQ_NAME_MAX + sizeof ".pos" <= LQI_POSITION_NAME_SIZE, "name of an offset file");

static const struct lqi_stamp stamp = {"LQpos\r\n\0", LQI_POSITION_VERSION, COPY_SIZE};

/* ---- names ------------------------------------------------------------- */

static bool is_letter_or_digit(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

static bool is_name(const char *name, size_t size)
{
    if (size == 0 || size > LQ_NAME_MAX || name[0] == '.' || name[0] == '-') return false;
    for (size_t i = 0; i < size; i++)
        if (!is_letter_or_digit(name[i]) && name[i] != '.' && name[i] != '_' && name[i] != '-') return false;
    return true;
}

int lqi_name_check(const char *name)
{
    if (!name) return lqi_fail(LQ_EINVAL, "the name is NULL");
    if (is_name(name, strnlen(name, LQ_NAME_MAX + 1))) return LQ_OK;
    return lqi_fail(LQ_ENAME, "'%.*s' is not a name: 1 to %d of A-Z a-z 0-9 . _ -, not starting with . or -",
                    LQ_NAME_MAX + 1, name, LQ_NAME_MAX);
}

static void file_name(char name[LQI_POSITION_NAME_SIZE], const char *consumer)
{
    snprintf(name, LQI_POSITION_NAME_SIZE, "%.*s.pos", LQ_NAME_MAX, consumer);
}

#define SHOWN_SIZE (LQI_POSITION_NAME_SIZE + 16)

static void shown_name(char shown[SHOWN_SIZE], const char *consumer)
{
    snprintf(shown, SHOWN_SIZE, "consumers/%.*s.pos", LQ_NAME_MAX, consumer);
}

/* ---- fixed part -------------------------------------------------------- */

static uint32_t block_count_of(uint32_t window)
{
    return window / WORDS + 2;
}

static uint64_t file_size_of(uint32_t window)
{
    return LQI_POSITION_BLOCKS_AT + 2 * (uint64_t)block_count_of(window) * LQI_POSITION_BLOCK;
}

static void fixed_encode(uint8_t *bytes, const char *consumer, const uint8_t uuid[16], uint32_t window, int64_t created_us)
{
    lqi_stamp_begin(bytes, &stamp, uuid);
    lqi_put32(bytes + 40, window);
    lqi_put32(bytes + 44, block_count_of(window));
    lqi_put64(bytes + 48, (uint64_t)created_us);
    memcpy(bytes + 56, consumer, strlen(consumer));
    lqi_stamp_end(bytes, &stamp);
}

/* Fills window, block_count and damaged_copy of *position; its name and uuid are those to be expected. */
static int fixed_decode(const uint8_t *bytes, size_t size, struct lqi_position *position)
{
    const char *shown = position->file.name;
    char name[LQ_NAME_MAX + 4] = {0};
    const uint8_t *copy;

    int err = lqi_stamp_find(bytes, size, &stamp, position->uuid, shown, &copy, &position->damaged_copy);
    if (err) return err;

    memcpy(name, position->consumer, sizeof position->consumer);
    if (memcmp(copy + 56, name, sizeof name) != 0)
        return lqi_fail(LQ_ECORRUPT, "%s at byte %td: belongs to another consumer", shown, copy - bytes + 56);
    position->window = lqi_get32(copy + 40);
    position->block_count = lqi_get32(copy + 44);
    if (position->window < WINDOW_MIN || position->window > WINDOW_MAX ||
        position->block_count != block_count_of(position->window))
        return lqi_fail(LQ_ECORRUPT, "%s at byte %td: a window of %u in %u blocks makes no sense", shown,
                        copy - bytes + 40, position->window, position->block_count);
    return LQ_OK;
}

/* ---- commit entries ---------------------------------------------------- */

static void entry_encode(uint8_t bytes[LQI_POSITION_ENTRY], const struct lqi_position_entry *entry, const uint8_t uuid[16])
{
    lqi_put64(bytes, entry->sequence);
    lqi_put64(bytes + 8, entry->floor);
    lqi_put64(bytes + 16, entry->delivered);
    lqi_put64(bytes + 24, entry->incarnation);
    lqi_put64(bytes + 32, entry->durable);
    lqi_put64(bytes + 40, entry->durable_id);
    lqi_put64(bytes + 48, (uint64_t)entry->time_us);
    lqi_put64(bytes + 56, lqi_checksum_at(bytes, 56, lqi_get64(uuid)));
}

static bool entry_makes_sense(const struct lqi_position_entry *entry, uint32_t window)
{
    return entry->sequence != 0 && entry->sequence < SEQUENCE_END && entry->delivered < LQI_ID_END &&
           entry->floor <= entry->delivered && entry->delivered - entry->floor <= window && entry->durable < LQI_ID_END &&
           entry->durable_id < LQI_ID_END - 1;
}

static bool entry_decode(const uint8_t bytes[LQI_POSITION_ENTRY], size_t slot, const struct lqi_position *position,
                         struct lqi_position_entry *entry_out)
{
    struct lqi_position_entry entry = {
        .sequence = lqi_get64(bytes),
        .floor = lqi_get64(bytes + 8),
        .delivered = lqi_get64(bytes + 16),
        .incarnation = lqi_get64(bytes + 24),
        .durable = lqi_get64(bytes + 32),
        .durable_id = lqi_get64(bytes + 40),
        .time_us = (int64_t)lqi_get64(bytes + 48),
    };

    if (lqi_get64(bytes + 56) != lqi_checksum_at(bytes, 56, lqi_get64(position->uuid))) return false;
    if (entry.sequence % LQI_POSITION_ENTRIES != slot || !entry_makes_sense(&entry, position->window)) return false;
    *entry_out = entry;
    return true;
}

static bool all_zero(const uint8_t *bytes, size_t size)
{
    return bytes[0] == 0 && memcmp(bytes, bytes + 1, size - 1) == 0;
}

/* `bytes` are those of the whole ring of entries. */
static int entries_decode(const uint8_t *bytes, struct lqi_position *position)
{
    struct lqi_position_entry entry;

    for (size_t slot = 0; slot < LQI_POSITION_ENTRIES; slot++) {
        const uint8_t *at = bytes + slot * LQI_POSITION_ENTRY;
        if (all_zero(at, LQI_POSITION_ENTRY)) continue;
        if (!entry_decode(at, slot, position, &entry)) {
            position->damaged_entries++;
            continue;
        }
        position->incarnations[slot] = entry.incarnation;
        if (entry.sequence > position->newest.sequence) position->newest = entry;
    }
    if (position->newest.sequence) return LQ_OK;
    return lqi_fail(LQ_ECORRUPT, "%s at byte %d: no valid entry", position->file.name, LQI_POSITION_ENTRIES_AT);
}

/* ---- create, open, close ----------------------------------------------- */

int lqi_position_create(const struct lqi_io *io, int consumers_dir, const char *consumer, const uint8_t uuid[16],
                        uint32_t window, const struct lqi_position_entry *first, uint32_t mode)
{
    char name[LQI_POSITION_NAME_SIZE], shown[SHOWN_SIZE];
    uint8_t bytes[LQI_POSITION_BLOCKS_AT] = {0};
    struct lqi_position_entry entry = *first;

    int err = lqi_name_check(consumer);
    if (err) return err;
    entry.sequence = 1;
    if (window < WINDOW_MIN || window > WINDOW_MAX || !entry_makes_sense(&entry, window))
        return lqi_fail(LQ_EINVAL, "consumer '%s': a window of %u from %" PRIu64 " to %" PRIu64 " makes no sense", consumer,
                        window, first->floor, first->delivered);

    fixed_encode(bytes, consumer, uuid, window, first->time_us);
    entry_encode(bytes + LQI_POSITION_ENTRIES_AT + LQI_POSITION_ENTRY, &entry, uuid);
    file_name(name, consumer);
    shown_name(shown, consumer);
    return lqi_publish(io, consumers_dir, &(struct lqi_publication){
        .name = name,
        .shown = shown,
        .mode = mode,
        .bytes = bytes,
        .size = sizeof bytes,
        .file_size = file_size_of(window),
    });
}

static int read_fixed(struct lqi_position *position)
{
    uint8_t bytes[LQI_POSITION_BLOCKS_AT];
    uint64_t file_size;
    size_t got;

    int err = lqi_file_read(&position->file, 0, bytes, sizeof bytes, &got);
    if (err) return err;
    err = fixed_decode(bytes, got, position);
    if (err) return err;
    err = lqi_file_size(&position->file, &file_size);
    if (err) return err;
    if (got < sizeof bytes || file_size < file_size_of(position->window))
        return lqi_fail(LQ_ECORRUPT, "%s at byte %" PRIu64 ": the file ends, it should have %" PRIu64 " bytes",
                        position->file.name, file_size, file_size_of(position->window));
    return entries_decode(bytes + LQI_POSITION_ENTRIES_AT, position);
}

int lqi_position_open(struct lqi_position *position, const struct lqi_io *io, int consumers_dir, const char *consumer,
                      const uint8_t uuid[16], bool writable)
{
    char name[LQI_POSITION_NAME_SIZE], shown[SHOWN_SIZE];
    int err;

    *position = (struct lqi_position){.file = LQI_FILE_NONE, .damaged_copy = -1};
    err = lqi_name_check(consumer);
    if (err) goto done;
    memcpy(position->uuid, uuid, sizeof position->uuid);
    memcpy(position->consumer, consumer, strlen(consumer));
    file_name(name, consumer);
    shown_name(shown, consumer);

    if (consumers_dir < 0) err = lqi_fail(LQ_ENOTFOUND, "%s is missing, with its directory", shown);
    if (!err) err = lqi_file_open(&position->file, io, consumers_dir, name, shown, writable ? LQI_OPEN_WRITE : LQI_OPEN_READ, 0);
    /* A directory or a link in its place is damage like any other: it must not keep the whole queue shut. */
    if (err == LQ_ENOTQUEUE) err = lqi_fail(LQ_ECORRUPT, "%s", lq_error_text());
    if (err) goto done;
    err = read_fixed(position);

done:
    if (err) lqi_position_close(position);
    return err;
}

void lqi_position_close(struct lqi_position *position)
{
    lqi_file_close(&position->file);
}

/* ---- the window: blocks of words --------------------------------------- */

#define WORDS_AT 24u

/* A run of blocks that are neighbours on the log's line of ids and on a side of the file: it ends
 * where the ring of places turns. */
struct run {
    uint64_t number; /* of the first block: its first id / WORDS */
    size_t count;
};

static struct run run_from(const struct lqi_position *position, uint64_t number, uint64_t last)
{
    uint64_t before_turn = position->block_count - number % position->block_count;
    uint64_t count = lqi_min64(lqi_min64(before_turn, BATCH), last - number + 1);
    return (struct run){number, (size_t)count};
}

static uint64_t block_offset(const struct lqi_position *position, uint64_t number, unsigned side)
{
    return LQI_POSITION_BLOCKS_AT + (number % position->block_count + (uint64_t)side * position->block_count) * LQI_POSITION_BLOCK;
}

static uint64_t block_check(const uint8_t *block, uint64_t first_id, const uint8_t uuid[16], uint64_t incarnation)
{
    return lqi_checksum_at(block + 16, LQI_POSITION_BLOCK - 16, first_id ^ lqi_get64(uuid) ^ incarnation);
}

/* Power loss may keep a new entry and lose its blocks: what stands there instead was good in its time. */
static bool of_old_incarnation(const struct lqi_position *position, const uint8_t *block, uint64_t number)
{
    uint64_t check = lqi_get64(block + 8), first_id = lqi_get64(block);
    if (first_id % WORDS != 0 || first_id / WORDS % position->block_count != number % position->block_count) return false;
    for (size_t slot = 0; slot < LQI_POSITION_ENTRIES; slot++)
        if (check == block_check(block, first_id, position->uuid, position->incarnations[slot])) return true;
    return false;
}

enum block_state { BLOCK_THERE, BLOCK_ABSENT, BLOCK_DAMAGED };

/* Is the block of this number in its slot? An older one, which was there before, is absence. */
static enum block_state block_state(const struct lqi_position *position, const uint8_t *block, uint64_t number)
{
    uint64_t first_id = lqi_get64(block);

    if (lqi_get64(block + 8) != block_check(block, first_id, position->uuid, position->newest.incarnation))
        return all_zero(block, LQI_POSITION_BLOCK) || of_old_incarnation(position, block, number) ? BLOCK_ABSENT : BLOCK_DAMAGED;
    if (first_id % WORDS != 0 || first_id / WORDS % position->block_count != number % position->block_count)
        return BLOCK_DAMAGED;
    return first_id == number * WORDS ? BLOCK_THERE : BLOCK_ABSENT;
}

static bool in_window(const struct lqi_position_entry *entry, uint64_t id)
{
    return id > entry->floor && id <= entry->delivered;
}

static void load_block(const struct lqi_position *position, const uint8_t *block, lqi_word_put *each, void *context)
{
    uint64_t first_id = lqi_get64(block);

    for (size_t i = 0; i < WORDS; i++) {
        uint32_t word = lqi_get32(block + WORDS_AT + i * 4);
        if (word && in_window(&position->newest, first_id + i)) each(context, first_id + i, word);
    }
}

/* The blocks of a run, of both sides. */
struct both {
    uint8_t side[2][BATCH * LQI_POSITION_BLOCK];
};

static int read_both(const struct lqi_position *position, struct run run, struct both *both)
{
    size_t size = run.count * LQI_POSITION_BLOCK, got;

    for (unsigned side = 0; side < 2; side++) {
        uint64_t offset = block_offset(position, run.number, side);
        int err = lqi_file_read(&position->file, offset, both->side[side], size, &got);
        if (err) return err;
        if (got < size)
            return lqi_fail(LQ_ECORRUPT, "%s at byte %" PRIu64 ": the file was cut", position->file.name, offset + got);
    }
    return LQ_OK;
}

/* The newer of the two that are this block; NULL when none is. */
static const uint8_t *newest_of(struct lqi_position *position, const struct both *both, size_t index, uint64_t number,
                                unsigned *side_out, uint32_t *damaged)
{
    const uint8_t *newest = NULL;
    int64_t torn = -1; /* as a crash may leave the side that was being written */

    for (unsigned side = 0; side < 2; side++) {
        const uint8_t *block = both->side[side] + index * LQI_POSITION_BLOCK;
        enum block_state state = block_state(position, block, number);
        if (state == BLOCK_DAMAGED) torn = (int64_t)block_offset(position, number, side);
        if (state != BLOCK_THERE || (newest && lqi_get64(block + 16) < lqi_get64(newest + 16))) continue;
        newest = block;
        *side_out = side;
    }
    if (torn >= 0 && !newest && (*damaged)++ == 0) position->damaged_block = torn;
    return newest;
}

int lqi_position_load(struct lqi_position *position, lqi_word_put *each, void *context, struct lqi_position_sides *sides,
                      uint32_t *damaged_out)
{
    const struct lqi_position_entry *newest = &position->newest;
    uint64_t number = (newest->floor + 1) / WORDS, last = newest->delivered / WORDS;
    uint32_t damaged = 0;
    struct both both;
    unsigned side;

    /* At most window / WORDS + 2 of them: entry_makes_sense(). */
    while (newest->floor < newest->delivered && number <= last) {
        struct run run = run_from(position, number, last);
        int err = read_both(position, run, &both);
        if (err) return err;
        for (size_t i = 0; i < run.count; i++) {
            const uint8_t *block = newest_of(position, &both, i, number + i, &side, &damaged);
            if (block) load_block(position, block, each, context);
            if (block && sides) sides->side[(number + i) % position->block_count] = side;
        }
        number += run.count;
    }
    if (damaged_out) *damaged_out = damaged;
    return LQ_OK;
}

static void block_encode(uint8_t *block, uint64_t number, const struct lqi_position_entry *entry, const uint8_t uuid[16],
                         lqi_word_get *word_of, void *context)
{
    uint64_t first_id = number * WORDS;

    for (size_t i = 0; i < WORDS; i++) {
        uint64_t id = first_id + i;
        uint32_t word = in_window(entry, id) ? word_of(context, id) : id <= entry->floor ? LQI_WORD_SETTLED : 0;
        lqi_put32(block + WORDS_AT + i * 4, word);
    }
    lqi_put64(block + 16, entry->sequence);
    lqi_put64(block, first_id);
    lqi_put64(block + 8, block_check(block, first_id, uuid, entry->incarnation));
}

/* Where the block goes: over itself if it was written since the last sync, else to the other side. */
static unsigned side_for(const struct lqi_position *position, const struct lqi_position_sides *sides, uint64_t number)
{
    uint64_t newest = sides->side[number % position->block_count];
    return (unsigned)(newest & 1) ^ (newest >> 1 != sides->epoch);
}

static int save_run(const struct lqi_position *position, struct run *run, struct lqi_position_sides *sides, uint8_t *blocks,
                    const struct lqi_position_entry *entry, lqi_word_get *word_of, void *context)
{
    unsigned side = side_for(position, sides, run->number);
    size_t count = 0;

    while (count < run->count && side_for(position, sides, run->number + count) == side) {
        block_encode(blocks + count * LQI_POSITION_BLOCK, run->number + count, entry, position->uuid, word_of, context);
        count++;
    }
    run->count = count;
    int err = lqi_file_write(&position->file, block_offset(position, run->number, side), blocks, count * LQI_POSITION_BLOCK);
    for (size_t i = 0; i < count && !err; i++)
        sides->side[(run->number + i) % position->block_count] = sides->epoch << 1 | side;
    return err;
}

static int save_blocks(const struct lqi_position *position, const struct lqi_position_entry *entry, uint64_t low,
                       uint64_t high, struct lqi_position_sides *sides, lqi_word_get *word_of, void *context)
{
    uint8_t blocks[BATCH * LQI_POSITION_BLOCK];
    uint64_t number = low / WORDS, last = high / WORDS;

    while (low <= high && number <= last) {
        struct run run = run_from(position, number, last);
        int err = save_run(position, &run, sides, blocks, entry, word_of, context);
        if (err) return err;
        number += run.count;
    }
    return LQ_OK;
}

/* The entry that follows: not in the slot of the one that was synced, however many came since. */
static struct lqi_position_entry next_entry(const struct lqi_position *position, const struct lqi_position_entry *entry,
                                            const struct lqi_position_sides *sides)
{
    struct lqi_position_entry next = *entry;

    next.sequence = position->newest.sequence + 1;
    if (sides && next.sequence % LQI_POSITION_ENTRIES == sides->epoch % LQI_POSITION_ENTRIES) next.sequence++;
    return next;
}

int lqi_position_save_blocks(struct lqi_position *position, const struct lqi_position_entry *entry, uint64_t low, uint64_t high,
                             struct lqi_position_sides *sides, lqi_word_get *word_of, void *context)
{
    struct lqi_position_entry next = next_entry(position, entry, sides);

    /* Not an assertion: these numbers come from shared memory, where anybody may have written. */
    if (!entry_makes_sense(&next, position->window))
        return lqi_fail(LQ_ECORRUPT, "%s: %" PRIu64 " settled and %" PRIu64 " delivered make no sense, not saved",
                        position->file.name, next.floor, next.delivered);
    /* Outside the window no word means anything, and two blocks could claim one place. */
    return save_blocks(position, &next, lqi_max64(low, next.floor + 1), lqi_min64(high, next.delivered), sides, word_of, context);
}

int lqi_position_save(struct lqi_position *position, const struct lqi_position_entry *entry, uint64_t low, uint64_t high,
                      struct lqi_position_sides *sides, lqi_word_get *word_of, void *context)
{
    uint8_t bytes[LQI_POSITION_ENTRY];
    struct lqi_position_entry next = next_entry(position, entry, sides);

    int err = lqi_position_save_blocks(position, entry, low, high, sides, word_of, context);
    if (err) return err;
    entry_encode(bytes, &next, position->uuid);
    uint64_t slot = next.sequence % LQI_POSITION_ENTRIES;
    err = lqi_file_write(&position->file, LQI_POSITION_ENTRIES_AT + slot * LQI_POSITION_ENTRY, bytes, sizeof bytes);
    if (err) return err;
    position->newest = next;
    return LQ_OK;
}

int lqi_position_write_again(const struct lqi_position *position)
{
    return lqi_file_copy(&position->file, &position->file, file_size_of(position->window));
}

int lqi_position_sweep(const struct lqi_position *position)
{
    static const uint8_t zeroes[LQI_POSITION_ENTRY];
    uint8_t bytes[LQI_POSITION_ENTRIES * LQI_POSITION_ENTRY];
    struct lqi_position_entry entry;
    size_t got;

    if (!position->damaged_entries) return LQ_OK;
    int err = lqi_file_read(&position->file, LQI_POSITION_ENTRIES_AT, bytes, sizeof bytes, &got);
    if (!err && got < sizeof bytes) err = lqi_fail(LQ_ECORRUPT, "%s at byte %d: the file ends", position->file.name, LQI_POSITION_ENTRIES_AT);
    for (size_t slot = 0; slot < LQI_POSITION_ENTRIES && !err; slot++) {
        size_t at = slot * LQI_POSITION_ENTRY;
        if (all_zero(bytes + at, LQI_POSITION_ENTRY) || entry_decode(bytes + at, slot, position, &entry)) continue;
        err = lqi_file_write(&position->file, LQI_POSITION_ENTRIES_AT + at, zeroes, sizeof zeroes);
    }
    return err;
}

/* ---- damage ------------------------------------------------------------ */

#define EMPTY_AT ((size_t)2 * COPY_SIZE)

static void ignore_word(void *context, uint64_t id, uint32_t word)
{
    (void)context;
    (void)id;
    (void)word;
}

int lqi_position_check(struct lqi_position *position, lqi_position_damage *each, void *context)
{
    uint8_t bytes[LQI_POSITION_BLOCKS_AT];
    struct lqi_position_entry entry;
    uint32_t blocks = 0;
    uint64_t file_size;
    size_t got;

    int err = lqi_file_read(&position->file, 0, bytes, sizeof bytes, &got);
    if (!err) err = lqi_file_size(&position->file, &file_size);
    if (!err) err = lqi_position_load(position, ignore_word, NULL, NULL, &blocks);
    if (err) return err;
    if (position->damaged_copy >= 0)
        each(context, (uint64_t)position->damaged_copy, "one of the two copies of the fixed part does not verify");
    if (got == sizeof bytes && !all_zero(bytes + EMPTY_AT, LQI_POSITION_ENTRIES_AT - EMPTY_AT))
        each(context, EMPTY_AT, "bytes that should be zero are not");
    for (size_t slot = 0; slot < LQI_POSITION_ENTRIES && got == sizeof bytes; slot++) {
        uint64_t offset = LQI_POSITION_ENTRIES_AT + slot * LQI_POSITION_ENTRY;
        if (!entry_decode(bytes + offset, slot, position, &entry) && !all_zero(bytes + offset, LQI_POSITION_ENTRY))
            each(context, offset, "a commit entry does not verify: an older position may be lost, the newest good one counts");
    }
    if (file_size > file_size_of(position->window)) each(context, file_size_of(position->window), "the file is longer than it should be");
    if (blocks) each(context, (uint64_t)position->damaged_block, "blocks of the window do not verify: their messages come again");
    return LQ_OK;
}

/* The largest window is tried that a file of this size may have: it takes every entry that a smaller one does. */
static uint32_t window_of_size(uint64_t file_size)
{
    if (file_size == file_size_of(LQI_POSITION_WINDOW)) return LQI_POSITION_WINDOW;
    uint64_t blocks = file_size > LQI_POSITION_BLOCKS_AT ? (file_size - LQI_POSITION_BLOCKS_AT) / ((uint64_t)2 * LQI_POSITION_BLOCK) : 0;
    if (blocks < 2) return LQI_POSITION_WINDOW;
    return (uint32_t)lqi_max64(lqi_min64((blocks - 2) * WORDS + WORDS - 1, WINDOW_MAX), WINDOW_MIN);
}

static int open_bare(struct lqi_file *file, const struct lqi_io *io, int consumers_dir, const char *consumer)
{
    char name[LQI_POSITION_NAME_SIZE], shown[SHOWN_SIZE];

    file_name(name, consumer);
    shown_name(shown, consumer);
    return lqi_file_open(file, io, consumers_dir, name, shown, LQI_OPEN_READ, 0);
}

int lqi_position_replace(const struct lqi_io *io, int consumers_dir, const char *consumer, uint32_t mode)
{
    char name[LQI_POSITION_NAME_SIZE], shown[SHOWN_SIZE];

    file_name(name, consumer);
    shown_name(shown, consumer);
    return lqi_publish_again(io, consumers_dir, name, shown, mode, UINT64_MAX);
}

int lqi_position_salvage(struct lqi_position *position, const struct lqi_io *io, int consumers_dir, const char *consumer,
                         const uint8_t uuid[16])
{
    uint8_t bytes[LQI_POSITION_BLOCKS_AT] = {0};
    uint64_t file_size = 0;
    size_t got = 0;

    *position = (struct lqi_position){.file = LQI_FILE_NONE, .window = LQI_POSITION_WINDOW, .damaged_copy = -1};
    memcpy(position->uuid, uuid, sizeof position->uuid);
    memcpy(position->consumer, consumer, strlen(consumer));
    int err = open_bare(&position->file, io, consumers_dir, consumer);
    if (err == LQ_ENOTQUEUE) err = lqi_fail(LQ_ENOTFOUND, "%s is no file", position->file.name);
    if (!err) err = lqi_file_size(&position->file, &file_size);
    if (!err) err = lqi_file_read(&position->file, 0, bytes, sizeof bytes, &got);
    if (!err && fixed_decode(bytes, got, position)) {
        position->window = window_of_size(file_size);
        position->block_count = block_count_of(position->window);
    }
    if (!err && entries_decode(bytes + LQI_POSITION_ENTRIES_AT, position)) err = LQ_ENOTFOUND;
    if (err) lqi_position_close(position);
    return err;
}

int lqi_position_uuid(const struct lqi_io *io, int consumers_dir, const char *consumer, uint8_t uuid_out[16])
{
    struct lqi_file file = LQI_FILE_NONE;
    uint8_t bytes[2 * COPY_SIZE];
    const uint8_t *copy;
    size_t got = 0;

    int err = open_bare(&file, io, consumers_dir, consumer);
    if (!err) err = lqi_file_read(&file, 0, bytes, sizeof bytes, &got);
    if (!err) err = lqi_stamp_find(bytes, got, &stamp, NULL, file.name, &copy, NULL);
    if (!err) memcpy(uuid_out, copy + 24, 16);
    lqi_file_close(&file);
    return err;
}

/* ---- list, delete ------------------------------------------------------ */

struct listing {
    char (*names)[LQ_NAME_MAX + 1];
    size_t count, room;
    bool no_memory;
};

bool lqi_position_is_name(const char *name)
{
    size_t size = strlen(name);

    if (size >= 4 && strcmp(name + size - 4, ".new") == 0) return true; /* see publish.h */
    return size >= 4 && strcmp(name + size - 4, ".pos") == 0 && is_name(name, size - 4);
}

static int list_one(void *context, const char *name)
{
    struct listing *listing = context;
    size_t size = strlen(name);

    if (size < 4 || strcmp(name + size - 4, ".pos") != 0 || !is_name(name, size - 4)) return 0;
    if (listing->count == listing->room) {
        size_t room = listing->room ? listing->room * 2 : 16;
        void *names = realloc(listing->names, room * sizeof *listing->names);
        listing->no_memory = !names;
        if (!names) return 1;
        listing->names = names;
        listing->room = room;
    }
    memset(listing->names[listing->count], 0, sizeof *listing->names);
    memcpy(listing->names[listing->count], name, size - 4);
    listing->count++;
    return 0;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(a, b);
}

int lqi_position_list(const struct lqi_io *io, int consumers_dir, char (**names_out)[LQ_NAME_MAX + 1], size_t *count_out)
{
    struct listing listing = {0};

    int error = consumers_dir < 0 ? 0 : io->dir_list(io, consumers_dir, list_one, &listing);
    if (error || listing.no_memory) {
        free(listing.names);
        return listing.no_memory ? lqi_fail(LQ_ENOMEM, "consumers: no memory to list %zu names", listing.count)
                                 : lqi_fail_errno(error, "list", "consumers", -1);
    }
    if (listing.count > 1) qsort(listing.names, listing.count, sizeof *listing.names, by_name);
    *names_out = listing.names;
    *count_out = listing.count;
    return LQ_OK;
}

int lqi_position_delete(const struct lqi_io *io, int consumers_dir, const char *consumer, bool *gone_out)
{
    char name[LQI_POSITION_NAME_SIZE], shown[SHOWN_SIZE];

    int err = lqi_name_check(consumer);
    if (err) return err;
    file_name(name, consumer);
    shown_name(shown, consumer);
    int error = io->unlink(io, consumers_dir, name);
    if (gone_out) *gone_out = !error || error == ENOENT;
    if (error) return lqi_fail_errno(error, "delete", shown, -1);
    error = io->dir_sync(io, consumers_dir);
    return error ? lqi_fail_errno(error, "sync the directory of", shown, -1) : LQ_OK;
}
