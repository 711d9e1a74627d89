/* The window of an offset file: blocks of words, each on one of two sides; and the entry that follows them. */
#include <inttypes.h>

#include "checksum.h"
#include "position_parts.h"

#define WORDS LQI_POSITION_BLOCK_WORDS
#define BATCH 16u /* blocks read or written in one call */
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
        return lqi_all_zero(block, LQI_POSITION_BLOCK) || of_old_incarnation(position, block, number) ? BLOCK_ABSENT : BLOCK_DAMAGED;
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

    /* At most window / WORDS + 2 of them: lqi_position_entry_makes_sense(). */
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

/* ---- saving ------------------------------------------------------------- */

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
    if (!lqi_position_entry_makes_sense(&next, position->window))
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
    lqi_position_entry_encode(bytes, &next, position->uuid);
    uint64_t slot = next.sequence % LQI_POSITION_ENTRIES;
    err = lqi_file_write(&position->file, LQI_POSITION_ENTRIES_AT + slot * LQI_POSITION_ENTRY, bytes, sizeof bytes);
    if (err) return err;
    position->newest = next;
    position->damaged_entries &= ~((uint64_t)1 << slot);
    return LQ_OK;
}
