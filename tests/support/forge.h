/* Forged queues: files that verify, with any numbers in their fields. Damage is what power, disks
 * and bugs do, and checksums find it; this is what somebody does who knows the format and
 * wishes us ill. A queue is built file by file:
 *
 *     forge_queue("q", &forge_meta);
 *     struct forge_segment *segment = forge_segment_new(1, 0);
 *     forge_message(segment, 1, "hello");
 *     forge_segment_write(segment, "q");
 *
 * All is little-endian and as described in libqueue/{meta,segment,record,position}.h. */
#ifndef SUPPORT_FORGE_H
#define SUPPORT_FORGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- meta ---------------------------------------------------------------- */

struct forge_trim {
    uint64_t sequence, first_id, position, synced, next_id; /* sequence 0: this slot is left empty */
};

struct forge_meta {
    uint32_t sync, sync_interval_ms, retention, full;
    uint64_t size_max, age_max_ms, segment_size, ring_size, message_size_max;
    uint32_t compression, mode;
    struct forge_trim trims[2]; /* of slot 0 and 1 */
};

/* What a queue of the library's own has when it is new: small ring and segments, never synced. */
extern const struct forge_meta forge_meta;

/* Makes the directory and what must be in it. */
void forge_queue(const char *queue, const struct forge_meta *meta);

/* ---- segments ------------------------------------------------------------ */

/* A record's header. What is zero is filled in: kind 1, count 1, back "no idea", the payload's check. */
struct forge_record {
    uint64_t first_id;
    int64_t time_us;
    uint32_t size;       /* as the header tells it; 0: that of the payload */
    bool empty;          /* size is 0 and means it */
    uint16_t count;
    uint8_t kind, flags;
    uint32_t back;       /* in units of 8 bytes; 0: all ones */
    const void *payload;
    size_t payload_size; /* what is really there */
};

enum { FORGE_LONE = 1, FORGE_PACKED = 2, FORGE_MARK = 2 };

struct forge_index_entry {
    uint64_t first_id;
    int64_t time_us;
    uint64_t position;
};

struct forge_segment {
    uint64_t name_id;            /* of the file's name; the others are the header's */
    uint64_t first_id, position, salt, durable;
    int64_t created_us;
    uint8_t uuid[16];
    uint8_t *bytes;              /* the file so far */
    size_t size, room;
    uint64_t end;                /* position behind the last record */
    uint64_t next_id;
};

/* Begins one, with a header that makes sense; change the fields before it is written. */
struct forge_segment *forge_segment_new(uint64_t first_id, uint64_t position);
/* Both give the position of the record. */
uint64_t forge_record(struct forge_segment *segment, const struct forge_record *record);
uint64_t forge_message(struct forge_segment *segment, uint64_t id, const char *text);
/* Seals it. `end_position`, `next_id` 0: what is true. */
void forge_trailer(struct forge_segment *segment, const struct forge_index_entry *index, uint32_t count, uint64_t end_position,
                   uint64_t next_id);
/* Writes log/ID.seg and frees the segment. */
void forge_segment_write(struct forge_segment *segment, const char *queue);

/* A payload of messages with these table entries (size, key_size, headers_size), and `body_size` bytes of whatever behind. */
struct forge_entry {
    uint32_t size;
    uint16_t key_size, headers_size;
};
uint8_t *forge_payload(const struct forge_entry *entries, size_t count, size_t body_size, size_t *size_out);

/* A packed payload of `raw_size` zeroes that claims to have `claimed`; free() it. */
uint8_t *forge_packed(size_t raw_size, uint32_t claimed, size_t *size_out);

/* ---- offset files ---------------------------------------------------------- */

struct forge_position_entry {
    uint64_t sequence, floor, delivered, incarnation, durable, durable_id;
    int64_t time_us;
};

/* Writes consumers/NAME.pos, of the size that the window asks for; `count` entries. */
void forge_position(const char *queue, const char *name, uint32_t window, uint32_t block_count,
                    const struct forge_position_entry *entries, size_t count);
/* Puts a block of words, all `word`, into it, for ids from first_id on, at this place of side A. */
void forge_block(const char *queue, const char *name, uint32_t place, uint64_t first_id, uint64_t incarnation, uint64_t sequence,
                 uint32_t word);

#endif
