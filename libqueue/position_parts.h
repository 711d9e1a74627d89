/* What the files of this module share of an offset file's inside, and nobody else. */
#ifndef LQI_POSITION_PARTS_H
#define LQI_POSITION_PARTS_H

#include "bytes.h"
#include "position.h"

#define LQI_POSITION_COPY 512u /* of the fixed part */
#define LQI_POSITION_WINDOW_MIN 64u
#define LQI_POSITION_WINDOW_MAX 16777216u

uint32_t lqi_position_block_count(uint32_t window);
uint64_t lqi_position_file_size(uint32_t window);

/* All that comes before the window; LQ_ECORRUPT when the file ends there. */
int lqi_position_read_head(const struct lqi_file *file, uint8_t bytes[LQI_POSITION_BLOCKS_AT]);

/* Fills window, block_count and damaged_copy of *position; its name and uuid are those to be expected. */
int lqi_position_fixed_decode(const uint8_t *bytes, size_t size, struct lqi_position *position);

void lqi_position_entry_encode(uint8_t bytes[LQI_POSITION_ENTRY], const struct lqi_position_entry *entry, const uint8_t uuid[16]);
bool lqi_position_entry_decode(const uint8_t bytes[LQI_POSITION_ENTRY], size_t slot, const struct lqi_position *position,
                               struct lqi_position_entry *entry_out);
bool lqi_position_entry_makes_sense(const struct lqi_position_entry *entry, uint32_t window);
/* `bytes` are those of the whole ring of entries. Fills newest, incarnations and damaged_entries. */
int lqi_position_entries_decode(const uint8_t *bytes, struct lqi_position *position);

/* To read it only; nothing in it is looked at. */
int lqi_position_open_file(struct lqi_file *file, const struct lqi_io *io, int consumers_dir, const char *consumer);

#endif
