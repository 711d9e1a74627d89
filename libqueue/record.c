/* Framing, and the walk over the messages inside a frame.
 *
 * This runs for every message, so it looks at each record once: decoding first
 * asks for the kind, which is 0 in the zeroes behind the last record, and hashes
 * only what might be one. */
#include "record.h"

#include <assert.h>
#include <inttypes.h>

#include "bytes.h"
#include "checksum.h"
#include "error.h"

/* The bytes that record.h describes, field by field. */
_Static_assert(LQI_RECORD_HEADER == 4 + 4 + 2 + 1 + 1 + 4 + 8 + 8 + 8, "header of a record");
_Static_assert(LQI_RECORD_HEADER % 8 == 0 && LQI_MESSAGE_ENTRY == 4 + 2 + 2, "what follows a header is aligned as it is");
_Static_assert(LQ_KEY_MAX <= UINT16_MAX && LQ_BATCH_MAX <= UINT16_MAX, "sizes of keys and counts have 16 bits");
_Static_assert(LQI_MESSAGE_MAX + (uint64_t)LQ_BATCH_MAX * LQI_MESSAGE_ENTRY <= LQI_PAYLOAD_MAX, "a payload holds the largest batch");

#define NO_IDEA UINT32_MAX /* of `back` */
#define KNOWN_FLAGS (LQI_RECORD_LONE | LQI_RECORD_PACKED)

/* Position, salt and size choose the seed: what was framed for another place in this
 * segment, or for any place in another one, does not verify. The 32 bytes hashed are four
 * whole words, each stored as one: the hash reads them straight from the store buffer. */
static uint32_t header_check(const uint8_t *bytes, uint32_t size, uint64_t position, uint64_t salt)
{
    return (uint32_t)lqi_checksum_at(bytes + 8, LQI_RECORD_HEADER - 8, salt ^ position ^ (uint64_t)size << 32);
}

/* Rounds away from the record: a mark may claim less than was synced, never more. */
static uint32_t back_of(uint64_t position, uint64_t durable)
{
    if (durable == 0) return NO_IDEA;
    uint64_t units = (position - lqi_min64(durable, position) + 7) / 8;
    return units < NO_IDEA ? (uint32_t)units : NO_IDEA;
}

void lqi_record_encode(uint8_t bytes[LQI_RECORD_HEADER], const struct lqi_record *record, uint64_t salt)
{
    assert(record->size <= LQI_PAYLOAD_MAX);

    uint64_t durable = back_of(record->position, record->durable);
    lqi_put64(bytes + 8, record->count | (uint64_t)record->kind << 16 | (uint64_t)record->flags << 24 | durable << 32);
    lqi_put64(bytes + 16, record->first_id);
    lqi_put64(bytes + 24, (uint64_t)record->time_us);
    lqi_put64(bytes + 32, record->payload_check);
    lqi_put64(bytes, header_check(bytes, record->size, record->position, salt) | (uint64_t)record->size << 32);
}

/* What the fields of a header that verifies must still promise each other. */
static bool agrees(const struct lqi_record *record)
{
    if (record->size > LQI_PAYLOAD_MAX) return false;
    switch (record->kind) {
    case LQI_RECORD_MESSAGES:
        if (record->count == 0 || record->first_id == 0 || record->first_id >= LQI_ID_END - record->count) return false;
        return !(record->flags & LQI_RECORD_LONE) || record->count == 1;
    case LQI_RECORD_MARK:
        return record->size == 0 && record->count == 0 && record->first_id >= 1 && record->first_id < LQI_ID_END;
    case LQI_RECORD_HOLE:
        return record->count == 0 && record->flags == 0 && record->first_id >= 1 && record->first_id <= record->payload_check &&
               record->payload_check < LQI_ID_END;
    default:
        return record->kind != 0;
    }
}

bool lqi_record_fields(const uint8_t bytes[LQI_RECORD_HEADER], struct lqi_record *record_out)
{
    struct lqi_record record = {
        .first_id = lqi_get64(bytes + 16),
        .time_us = (int64_t)lqi_get64(bytes + 24),
        .payload_check = lqi_get64(bytes + 32),
        .size = lqi_get32(bytes + 4),
        .count = lqi_get16(bytes + 8),
        .kind = bytes[10],
        .flags = bytes[11],
    };
    if (!agrees(&record)) return false;
    *record_out = record;
    return true;
}

bool lqi_record_decode(const uint8_t bytes[LQI_RECORD_HEADER], uint64_t position, uint64_t salt,
                       struct lqi_record *record_out)
{
    if (bytes[10] == 0) return false;
    if (lqi_get32(bytes) != header_check(bytes, lqi_get32(bytes + 4), position, salt)) return false;

    uint64_t back = lqi_get32(bytes + 12);
    if (back != NO_IDEA && back * 8 > position) return false;
    if (!lqi_record_fields(bytes, record_out)) return false;
    record_out->position = position;
    record_out->durable = back == NO_IDEA ? 0 : position - back * 8;
    return true;
}

/* ---- payloads ---------------------------------------------------------- */

/* Adds one message to the total; `size_max` is at most 1 GiB, so nothing here overflows. */
static int message_size(const lq_message *message, uint64_t size_max, uint64_t *total)
{
    if ((message->size && !message->data) || (message->key_size && !message->key) ||
        (message->headers_size && !message->headers))
        return lqi_fail(LQ_EINVAL, "message: a part has a size but its pointer is NULL");
    if (message->key_size > LQ_KEY_MAX || message->headers_size > LQ_KEY_MAX)
        return lqi_fail(LQ_ETOOBIG, "message: key of %zu and headers of %zu bytes, at most %d each", message->key_size,
                        message->headers_size, LQ_KEY_MAX);

    uint64_t extra = message->key_size + message->headers_size;
    if (message->size > size_max || extra > size_max - message->size)
        return lqi_fail(LQ_ETOOBIG, "a message of %zu bytes and %" PRIu64 " of key and headers, this queue takes %" PRIu64 " in all",
                        message->size, extra, size_max);
    *total += message->size + extra;
    return LQ_OK;
}

int lqi_payload_size(const lq_message *messages, size_t count, uint64_t message_size_max, uint32_t *size_out,
                     uint8_t *flags_out)
{
    uint64_t size_max = lqi_min64(message_size_max, LQI_MESSAGE_MAX), total = 0;

    if (count == 0 || count > LQ_BATCH_MAX)
        return lqi_fail(LQ_EINVAL, "batch: %zu messages, 1 to %d can be put at once", count, LQ_BATCH_MAX);
    for (size_t i = 0; i < count; i++) {
        int err = message_size(&messages[i], size_max, &total);
        if (err) return err;
    }
    if (total > LQI_MESSAGE_MAX)
        return lqi_fail(LQ_ETOOBIG, "batch: %" PRIu64 " bytes in all, at most %u", total, LQI_MESSAGE_MAX);

    bool lone = count == 1 && messages->key_size == 0 && messages->headers_size == 0;
    *size_out = (uint32_t)(total + (lone ? 0 : count * LQI_MESSAGE_ENTRY));
    *flags_out = lone ? LQI_RECORD_LONE : 0;
    return LQ_OK;
}

/* memcpy may not be asked to copy nothing from NULL. */
static inline uint8_t *append(uint8_t *to, const void *from, size_t size)
{
    if (size) memcpy(to, from, size);
    return to + size;
}

void lqi_payload_encode(uint8_t *bytes, const lq_message *messages, size_t count, uint8_t flags)
{
    if (flags & LQI_RECORD_LONE) {
        assert(count == 1);
        append(bytes, messages->data, messages->size);
        return;
    }

    uint8_t *to = bytes + count * LQI_MESSAGE_ENTRY;
    for (size_t i = 0; i < count; i++) {
        const lq_message *message = &messages[i];
        uint8_t *entry = bytes + i * LQI_MESSAGE_ENTRY;

        lqi_put32(entry, (uint32_t)message->size);
        lqi_put16(entry + 4, (uint16_t)message->key_size);
        lqi_put16(entry + 6, (uint16_t)message->headers_size);
        to = append(to, message->key, message->key_size);
        to = append(to, message->headers, message->headers_size);
        to = append(to, message->data, message->size);
    }
}

/* Key, headers and body of the message with this table entry. */
static inline uint64_t entry_span(const uint8_t *entry)
{
    return (uint64_t)lqi_get32(entry) + lqi_get16(entry + 4) + lqi_get16(entry + 6);
}

bool lqi_payload_open(struct lqi_payload *payload, const uint8_t *bytes, size_t size, uint32_t count, uint8_t flags)
{
    bool lone = flags & LQI_RECORD_LONE;
    uint64_t table = lone ? 0 : (uint64_t)count * LQI_MESSAGE_ENTRY, left;

    /* An unknown flag may mean any other layout. */
    if (flags & ~KNOWN_FLAGS || count == 0 || count > LQ_BATCH_MAX || (lone && count != 1)) return false;
    if (table > size) return false;

    left = size - table;
    for (uint32_t i = 0; !lone && i < count; i++) {
        uint64_t span = entry_span(bytes + (size_t)i * LQI_MESSAGE_ENTRY);
        if (span > left) return false;
        left -= span;
    }
    if (!lone && left != 0) return false;

    *payload = (struct lqi_payload){
        .bytes = bytes ? bytes : (const uint8_t *)"",
        .size = size,
        .count = count,
        .offset = (size_t)table,
        .lone = lone,
    };
    return true;
}

bool lqi_payload_next(struct lqi_payload *payload, lq_message *message_out)
{
    if (payload->index >= payload->count) return false;
    const uint8_t *entry = payload->bytes + (size_t)payload->index * LQI_MESSAGE_ENTRY;
    const uint8_t *parts = payload->bytes + payload->offset;
    payload->index++;

    message_out->key_size = payload->lone ? 0 : lqi_get16(entry + 4);
    message_out->headers_size = payload->lone ? 0 : lqi_get16(entry + 6);
    message_out->size = payload->lone ? payload->size : lqi_get32(entry);
    message_out->key = parts;
    message_out->headers = parts + message_out->key_size;
    message_out->data = parts + message_out->key_size + message_out->headers_size;
    payload->offset += message_out->key_size + message_out->headers_size + message_out->size;
    return true;
}

void lqi_payload_skip_to(struct lqi_payload *payload, uint32_t index)
{
    if (payload->lone && index > 0) {
        payload->index = 1;
        payload->offset = payload->size;
        return;
    }
    while (payload->index < index && payload->index < payload->count) {
        payload->offset += (size_t)entry_span(payload->bytes + (size_t)payload->index * LQI_MESSAGE_ENTRY);
        payload->index++;
    }
}
