/* Offset files that are damaged, or may be: what is wrong is told, swept away, written again, or read around. */
#include <inttypes.h>

#include "position_parts.h"

int lqi_position_write_again(const struct lqi_position *position)
{
    return lqi_file_copy(&position->file, &position->file, lqi_position_file_size(position->window));
}

int lqi_position_sweep(struct lqi_position *position)
{
    static const uint8_t zeroes[LQI_POSITION_ENTRY];

    for (size_t slot = 0; slot < LQI_POSITION_ENTRIES; slot++) {
        if (!(position->damaged_entries >> slot & 1)) continue;
        int err = lqi_file_write(&position->file, LQI_POSITION_ENTRIES_AT + slot * LQI_POSITION_ENTRY, zeroes, sizeof zeroes);
        if (err) return err;
    }
    position->damaged_entries = 0;
    return LQ_OK;
}

/* ---- telling ------------------------------------------------------------- */

#define EMPTY_AT ((size_t)2 * LQI_POSITION_COPY)

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
    uint64_t file_size, right_size = lqi_position_file_size(position->window);
    uint32_t blocks;

    int err = lqi_position_read_head(&position->file, bytes);
    if (err) return err;
    err = lqi_file_size(&position->file, &file_size);
    if (err) return err;
    err = lqi_position_load(position, ignore_word, NULL, NULL, &blocks);
    if (err) return err;
    if (position->damaged_copy >= 0)
        each(context, (uint64_t)position->damaged_copy, "one of the two copies of the fixed part does not verify");
    if (!lqi_all_zero(bytes + EMPTY_AT, LQI_POSITION_ENTRIES_AT - EMPTY_AT))
        each(context, EMPTY_AT, "bytes that should be zero are not");
    for (size_t slot = 0; slot < LQI_POSITION_ENTRIES; slot++) {
        uint64_t offset = LQI_POSITION_ENTRIES_AT + slot * LQI_POSITION_ENTRY;
        if (!lqi_position_entry_decode(bytes + offset, slot, position, &entry) && !lqi_all_zero(bytes + offset, LQI_POSITION_ENTRY))
            each(context, offset, "a commit entry does not verify: an older position may be lost, the newest good one counts");
    }
    if (file_size > right_size) each(context, right_size, "the file is longer than it should be");
    if (blocks) each(context, (uint64_t)position->damaged_block, "blocks of the window do not verify: their messages come again");
    return LQ_OK;
}

/* ---- salvaging ----------------------------------------------------------- */

/* The largest window is tried that a file of this size may have: it takes every entry that a smaller one does. */
static uint32_t window_of_size(uint64_t file_size)
{
    if (file_size == lqi_position_file_size(LQI_POSITION_WINDOW)) return LQI_POSITION_WINDOW;
    uint64_t blocks = (lqi_max64(file_size, LQI_POSITION_BLOCKS_AT) - LQI_POSITION_BLOCKS_AT) / ((uint64_t)2 * LQI_POSITION_BLOCK);
    if (blocks < 2) return LQI_POSITION_WINDOW;
    return (uint32_t)lqi_min64((blocks - 2) * LQI_POSITION_BLOCK_WORDS + LQI_POSITION_BLOCK_WORDS - 1, LQI_POSITION_WINDOW_MAX);
}

int lqi_position_salvage(struct lqi_position *position, const struct lqi_io *io, int consumers_dir, const char *consumer,
                         const uint8_t uuid[16])
{
    uint8_t bytes[LQI_POSITION_BLOCKS_AT] = {0};
    uint64_t file_size;
    size_t got;

    *position = (struct lqi_position){.file = LQI_FILE_NONE, .window = LQI_POSITION_WINDOW, .damaged_copy = -1};
    memcpy(position->uuid, uuid, sizeof position->uuid);
    memcpy(position->consumer, consumer, strlen(consumer));
    int err = lqi_position_open_file(&position->file, io, consumers_dir, consumer);
    if (err == LQ_ENOTQUEUE) err = lqi_fail(LQ_ENOTFOUND, "%s is no file", position->file.name);
    if (!err) err = lqi_file_size(&position->file, &file_size);
    if (!err) err = lqi_file_read(&position->file, 0, bytes, sizeof bytes, &got);
    if (!err && lqi_position_fixed_decode(bytes, got, position)) {
        position->window = window_of_size(file_size);
        position->block_count = lqi_position_block_count(position->window);
    }
    if (!err && lqi_position_entries_decode(bytes + LQI_POSITION_ENTRIES_AT, position)) err = LQ_ENOTFOUND;
    if (err) lqi_position_close(position);
    return err;
}
