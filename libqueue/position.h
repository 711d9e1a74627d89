/* One consumer's offset file, `consumers/NAME.pos`: its durable position. Fixed
 * size, made once under another name and renamed; then written in place, by
 * small checksummed writes that need no disk space. These bytes are described
 * here and nowhere else.
 *
 *   0000-0511  copy A of the fixed part    0512-1023  copy B: either will do
 *   1024-4095  zero
 *   4096-8191  64 commit entries of 64 bytes: a ring; entry of sequence s in slot s % 64
 *   8192-....  the window: block_count blocks of 512 bytes (side A), and as many again (side B)
 *
 * Fixed part (a stamp.h head and tail around our own fields):
 *   000-007  magic "LQpos\r\n\0"
 *   008-009  version 1           010-015  zero
 *   016-019  features that an older library may ignore    020-023  features that it must refuse
 *   024-039  uuid of the queue
 *   040-043  window              044-047  block_count = window / LQI_POSITION_BLOCK_WORDS + 2
 *   048-055  created_us
 *   056-159  name, zero-padded
 *   160-503  zero                504-511  XXH3 of bytes 000-503
 *
 * Commit entry: the newest valid one counts, the older ones are history. Valid: verifies, in its slot,
 * and 0 <= delivered - floor <= window.
 *   00-07  sequence, from 1      08-15  floor           16-23  delivered
 *   24-31  incarnation: chosen anew whenever the consumer comes to life; blocks of another one do not count
 *   32-39  durable: the log was synced up to this position when this was written
 *   40-47  durable_id: and every message up to this id with it
 *   48-55  time_us               56-63  XXH3 of bytes 00-55, seeded with the uuid's first 8 bytes
 *
 * Block: the words of ids [first_id, first_id + LQI_POSITION_BLOCK_WORDS), first_id a multiple of that
 * number; place (first_id / LQI_POSITION_BLOCK_WORDS) % block_count of either side.
 *   000-007  first_id            008-015  XXH3 of bytes 016-511, seeded with first_id ^ the uuid's first 8 bytes ^ incarnation
 *   016-023  sequence of the entry it was written for; the higher one of the two sides counts
 *   024-511  122 words of 4 bytes: bit 31 settled; bits 0-15 attempts; the rest zero (room for retry times)
 *
 * No write is atomic, so what was synced is never written over before what replaces it is synced too: between two
 * syncs a block is written to the one side that was not its newest at the first of them. (An entry that is
 * torn leaves one before it: that of the last sync at the latest, whose slot is skipped until the next one.) A block may thus be newer than the entry that counts; so it says of ids at or below
 * its floor that they are settled, and not nothing. And after power loss ids may be given again that a block, newer than all
 * entries, calls settled: that is what incarnations are for.
 *
 * Words are written before the entry that needs them. Only ids in (floor, delivered] of the newest entry
 * have words that mean anything; one whose block is not there counts as never handed out. So any mixture of old and new pages
 * is a valid state in which some messages come again. */
#ifndef LQI_POSITION_H
#define LQI_POSITION_H

#include "io.h"

#define LQI_POSITION_VERSION 1
#define LQI_POSITION_ENTRIES 64
#define LQI_POSITION_ENTRY 64
#define LQI_POSITION_BLOCK 512
#define LQI_POSITION_BLOCK_WORDS 122
#define LQI_POSITION_ENTRIES_AT 4096
#define LQI_POSITION_BLOCKS_AT 8192
#define LQI_POSITION_WINDOW 65536 /* the default */
#define LQI_POSITION_NAME_SIZE 112 /* of NAME.pos and its 0 */

#define LQI_WORD_SETTLED (1u << 31)
#define LQI_WORD_ATTEMPTS 0xffffu

struct lqi_position_entry {
    uint64_t sequence, floor, delivered, incarnation, durable, durable_id;
    int64_t time_us;
};

struct lqi_position {
    struct lqi_file file;
    uint8_t uuid[16];
    char consumer[LQ_NAME_MAX + 1];
    uint32_t window, block_count;
    struct lqi_position_entry newest;
    uint64_t incarnations[LQI_POSITION_ENTRIES]; /* of all valid entries, of slot s at s: a block of one of them is old, not damaged */
    uint64_t damaged_entries; /* bit s: the one in slot s is neither zero nor valid */
    int64_t damaged_copy;     /* offset of a fixed part that does not verify, or -1 */
    int64_t damaged_block;    /* offset of the first block that load counted as damaged */
};

/* LQ_ENAME with text unless it is a name for queues and consumers as the public header says. NULL is LQ_EINVAL. */
int lqi_name_check(const char *name);

/* Makes the file with a first entry (sequence 1; its time_us is created_us, too), durably: another name, allocated, synced, renamed without replacing,
 * directory synced. If it is there already that is LQ_OK and it is left as it is.
 * LQ_ENAME; LQ_EINVAL when window and entry make no sense. */
int lqi_position_create(const struct lqi_io *io, int consumers_dir, const char *consumer, const uint8_t uuid[16],
                        uint32_t window, const struct lqi_position_entry *first, uint32_t mode);

/* Opens and reads fixed part and entries. LQ_ENOTFOUND; LQ_ECORRUPT (naming file, byte and reason: neither copy verifies, another queue's
 * or consumer's, shorter than it says, no valid entry); LQ_EVERSION. *position holds nothing then. */
int lqi_position_open(struct lqi_position *position, const struct lqi_io *io, int consumers_dir, const char *consumer,
                      const uint8_t uuid[16], bool writable);
void lqi_position_close(struct lqi_position *position);

/* Which side of each block is the newest, and since which epoch. An epoch ends with each sync, and the next one is
 * called by the sequence of the newest entry then: its slot is left alone until the next sync. For those who
 * save: `side` has block_count entries, (epoch << 1 | side), zero at first, filled by load. */
struct lqi_position_sides {
    uint64_t *side;
    uint64_t epoch;
};

/* Calls `each` with the word of every id in (floor, delivered] of the newest entry whose block is valid and whose word is not 0.
 * `sides` may be NULL. `*damaged_out` (may be NULL) counts blocks of which one side is damaged and
 * the other is no help. */
typedef void lqi_word_put(void *context, uint64_t id, uint32_t word);
int lqi_position_load(struct lqi_position *position, lqi_word_put *each, void *context, struct lqi_position_sides *sides,
                      uint32_t *damaged_out);

/* Writes the blocks that hold ids in [low, high] (none when low > high; `sides` may be NULL then), asking `word_of` for each word of theirs in
 * (entry->floor, entry->delivered] (settled below, 0 above), then the entry with the next sequence. Does not sync. */
typedef uint32_t lqi_word_get(void *context, uint64_t id);
int lqi_position_save(struct lqi_position *position, const struct lqi_position_entry *entry, uint64_t low, uint64_t high,
                      struct lqi_position_sides *sides, lqi_word_get *word_of, void *context);

/* All bytes of the file once more, as they are: for a sync that must not rely on what an earlier one has done. */
int lqi_position_write_again(const struct lqi_position *position);

/* Only the blocks: when the entry must not be there before they are durable. */
int lqi_position_save_blocks(struct lqi_position *position, const struct lqi_position_entry *entry, uint64_t low, uint64_t high,
                             struct lqi_position_sides *sides, lqi_word_get *word_of, void *context);

/* Makes zeroes of the entries that do not verify. A power loss leaves such ones of saves that were not synced, and they
 * would be called damage until their turn comes again. For when the consumer comes to life. Does not sync. */
int lqi_position_sweep(struct lqi_position *position);

/* Calls `each` with every place of an open file that is not as it should be, needed or not; but for blocks that no id of the
 * window needs, and sides that have a newer one: power loss may leave those in any state. */
typedef void lqi_position_damage(void *context, uint64_t offset, const char *text);
int lqi_position_check(struct lqi_position *position, lqi_position_damage *each, void *context);

/* Opens also what lqi_position_open() calls LQ_ECORRUPT, as long as one entry verifies: without a fixed part, with a window
 * that goes with the file's size; lqi_position_load() then says LQ_ECORRUPT where it was cut. LQ_ENOTFOUND: no entry does, and
 * *position holds nothing but a window. */
int lqi_position_salvage(struct lqi_position *position, const struct lqi_io *io, int consumers_dir, const char *consumer,
                         const uint8_t uuid[16]);

/* Of which queue the file is. */
int lqi_position_uuid(const struct lqi_io *io, int consumers_dir, const char *consumer, uint8_t uuid_out[16]);

/* True for NAME.pos of a consumer's name, and what stands for a moment while one is made. */
bool lqi_position_is_name(const char *name);

/* The names of all consumers that have an offset file, sorted; *names_out is one malloced array of
 * char[LQ_NAME_MAX + 1], free() it. Other names are left out. None when there is no directory (-1). */
int lqi_position_list(const struct lqi_io *io, int consumers_dir, char (**names_out)[LQ_NAME_MAX + 1], size_t *count_out);

/* Another file, of the same bytes, takes its place, durably: see lqi_publish_again(). LQ_ENOTFOUND. */
int lqi_position_replace(const struct lqi_io *io, int consumers_dir, const char *consumer, uint32_t mode);

/* Is there a file, or whatever else, of that name? When in doubt, an error. */
int lqi_position_exists(const struct lqi_io *io, int consumers_dir, const char *consumer, bool *exists_out);

/* Deletes the file, durably. LQ_ENOTFOUND. `*gone_out` (may be NULL): no file is there any more, whatever is returned; but if
 * only the directory could not be synced, a power loss may bring it back. */
int lqi_position_delete(const struct lqi_io *io, int consumers_dir, const char *consumer, bool *gone_out);

#endif
