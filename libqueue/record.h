/* A record: one framed, checksummed append of one message, of a batch, of a
 * mark, or a hole that repair has put in the place of damage. Pure: bytes <-> structs. These bytes are described here and nowhere else.
 *
 * Header, 40 bytes, at a position divisible by 8:
 *
 *   bytes  field       meaning
 *   00-03  check       low half of XXH3 of bytes 08-39, seeded with the segment's
 *                      salt xor the position xor size << 32: proves the header, in this place
 *   04-07  size        bytes of payload behind the header
 *   08-09  count       messages in it; 0 in a mark and in a hole
 *   10     kind        1 messages, 2 mark, 3 hole; 0 never, so that zeroes are no record;
 *                      others: by a newer library, stepped over
 *   11     flags       1 lone: one message with neither key nor headers, the payload is its body
 *                      2 packed: the payload is deflated, see compress.h
 *                      others: by a newer library, the payload cannot be read
 *   12-15  back        durable mark: how far, in units of 8 bytes, the log was known to be
 *                      synced before this position when the record was framed; all ones: no idea
 *   16-23  first_id    of the first message; in a mark, of the next one to come
 *   24-31  time_us     when it was put
 *   32-39  payload_check  XXH3 of the payload as it stands in the file; in a hole: the id of the first
 *                      message behind it
 *
 * Then the payload, and zeroes up to the next position divisible by 8. The
 * payload that is not lone (unpacked, if packed) starts with 8 bytes per message,
 *
 *   00-03  size        of the body
 *   04-05  key_size
 *   06-07  headers_size
 *
 * and goes on with key, headers, body of the first message, of the second...
 * without gaps; it ends with the last body.
 *
 * Because the header proves itself, a bad payload costs one record: its size
 * still tells where the next one is. A mark carries nothing but its durable mark. A
 * hole says that the messages [first_id, payload_check) are given up, and takes up the room where they were, so that
 * all behind it keep their positions; its payload is nothing, and may be no disk space either. */
#ifndef LQI_RECORD_H
#define LQI_RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "libqueue.h"

#define LQI_RECORD_HEADER 40
#define LQI_MESSAGE_ENTRY 8
/* The most a payload may have: a batch of 1 GiB and its table. */
#define LQI_PAYLOAD_MAX ((1u << 30) + LQI_MESSAGE_ENTRY * 65536u)
#define LQI_MESSAGE_MAX (1u << 30)

enum lqi_record_kind { LQI_RECORD_MESSAGES = 1, LQI_RECORD_MARK = 2, LQI_RECORD_HOLE = 3 };
enum lqi_record_flags { LQI_RECORD_LONE = 1, LQI_RECORD_PACKED = 2 };

struct lqi_record {
    uint64_t position;
    uint64_t durable; /* the log was known to be synced up to here; 0: no idea */
    uint64_t first_id;
    int64_t time_us;
    uint64_t payload_check;
    uint32_t size;
    uint16_t count;
    uint8_t kind;
    uint8_t flags;
};

/* Bytes on the number line taken by a record with `size` bytes of payload. */
static inline uint64_t lqi_record_span(uint32_t size)
{
    return LQI_RECORD_HEADER + (((uint64_t)size + 7) & ~(uint64_t)7);
}

/* The id of the first message behind it. */
static inline uint64_t lqi_record_next_id(const struct lqi_record *record)
{
    return record->kind == LQI_RECORD_HOLE ? record->payload_check : record->first_id + record->count;
}

void lqi_record_encode(uint8_t bytes[LQI_RECORD_HEADER], const struct lqi_record *record, uint64_t salt);

/* True when the bytes are a header that was framed for `position` in the segment
 * with this salt, and its fields agree with each other (size at most LQI_PAYLOAD_MAX, a mark
 * is empty, messages have a count and a first_id from 1 below 2^63 - count...). Of a kind we do
 * not know only the size is checked. Cheap for zeroes, which are not even hashed. */
bool lqi_record_decode(const uint8_t bytes[LQI_RECORD_HEADER], uint64_t position, uint64_t salt,
                       struct lqi_record *record_out);

/* The same fields, of bytes that nothing proves: for who has lost the salt, and with it position and durable mark (both are 0). False when
 * they do not agree with each other. */
bool lqi_record_fields(const uint8_t bytes[LQI_RECORD_HEADER], struct lqi_record *record_out);

/* The payload of `count` messages. `messages` are the caller's: sizes are checked against
 * `message_size_max` (body + key + headers of each), LQI_PAYLOAD_MAX and LQ_KEY_MAX here: LQ_ETOOBIG;
 * a NULL pointer with a size, or count 0 or over LQ_BATCH_MAX: LQ_EINVAL. `flags_out`: LONE or 0. */
int lqi_payload_size(const lq_message *messages, size_t count, uint64_t message_size_max, uint32_t *size_out,
                     uint8_t *flags_out);
/* Writes exactly the size above; the zeroes behind it are the caller's. */
void lqi_payload_encode(uint8_t *bytes, const lq_message *messages, size_t count, uint8_t flags);

/* A walk over the messages of a payload that is whole and unpacked. */
struct lqi_payload {
    const uint8_t *bytes;
    size_t size;
    uint32_t count, index; /* index: of the next message */
    size_t offset;         /* of its key */
    bool lone;
};

/* False when table and bodies do not fill the payload exactly, or a flag is unknown: every
 * length is checked here, so the walk needs no check. `flags` are the record's; PACKED
 * is ignored. */
bool lqi_payload_open(struct lqi_payload *payload, const uint8_t *bytes, size_t size, uint32_t count, uint8_t flags);
/* Sets data, key, headers and their sizes in *message_out (they point into the
 * payload); false behind the last. */
bool lqi_payload_next(struct lqi_payload *payload, lq_message *message_out);
/* Steps over messages so that `index` is the next; at most `count`. */
void lqi_payload_skip_to(struct lqi_payload *payload, uint32_t index);

#endif
