/* A stretch of log: salt (8 bytes), position of its first byte (8 bytes), then bytes. They
 * are walked as recovery walks them, first as they are, then with each header's check
 * mended just before it is looked at. */
#include "bytes.h"
#include "checksum.h"
#include "compress.h"
#include "fuzz_support.h"
#include "record.h"

#define RAW_MAX (1u << 20)

static void inside(const void *part, size_t part_size, const uint8_t *bytes, size_t size)
{
    const uint8_t *at = part;
    CHECK(at != NULL && at >= bytes && part_size <= size && (size_t)(at - bytes) <= size - part_size);
}

static void walk_messages(const uint8_t *bytes, size_t size, const struct lqi_record *record)
{
    struct lqi_payload payload, skipped;
    lq_message message;
    uint32_t count = 0;
    size_t sum = 0;

    if (!lqi_payload_open(&payload, bytes, size, record->count, record->flags)) return;
    skipped = payload;
    while (lqi_payload_next(&payload, &message)) {
        inside(message.data, message.size, bytes, size);
        inside(message.key, message.key_size, bytes, size);
        inside(message.headers, message.headers_size, bytes, size);
        sum += message.size + message.key_size + message.headers_size;
        count++;
        lqi_payload_skip_to(&skipped, count);
        CHECK(skipped.index == payload.index && skipped.offset == payload.offset);
    }
    CHECK(count == record->count);
    CHECK(sum == size - (record->flags & LQI_RECORD_LONE ? 0 : count * (size_t)LQI_MESSAGE_ENTRY));
}

static void look_at_payload(const uint8_t *bytes, const struct lqi_record *record)
{
    uint32_t raw_size;

    if (record->kind != LQI_RECORD_MESSAGES) return;
    uint8_t *payload = copy_of(bytes, record->size);
    if (!(record->flags & LQI_RECORD_PACKED)) {
        walk_messages(payload, record->size, record);
    } else if (lqi_unpacked_size(payload, record->size, RAW_MAX, &raw_size) == LQ_OK) {
        CHECK(raw_size <= RAW_MAX);
        uint8_t *raw = malloc(raw_size);
        CHECK(raw != NULL);
        if (lqi_unpack(payload, record->size, raw, raw_size) == LQ_OK) walk_messages(raw, raw_size, record);
        free(raw);
    }
    free(payload);
}

static void reframe(const struct lqi_record *record, uint64_t salt)
{
    uint8_t bytes[LQI_RECORD_HEADER];
    struct lqi_record again;

    lqi_record_encode(bytes, record, salt);
    CHECK(lqi_record_decode(bytes, record->position, salt, &again));
    CHECK(again.position == record->position && again.durable == record->durable && again.first_id == record->first_id);
    CHECK(again.time_us == record->time_us && again.payload_check == record->payload_check);
    CHECK(again.size == record->size && again.count == record->count && again.kind == record->kind);
    CHECK(again.flags == record->flags && again.durable <= record->position);
}

static void walk(const uint8_t *bytes, size_t size, uint64_t salt, uint64_t position, bool mend)
{
    size_t at = 0;

    while (size - at >= LQI_RECORD_HEADER) {
        uint8_t header[LQI_RECORD_HEADER];
        struct lqi_record record;

        memcpy(header, bytes + at, sizeof header);
        if (mend)
            lqi_put32(header, (uint32_t)lqi_checksum_at(header + 8, sizeof header - 8,
                                                        salt ^ (position + at) ^ (uint64_t)lqi_get32(header + 4) << 32));
        if (!lqi_record_decode(header, position + at, salt, &record)) {
            at += 8;
            continue;
        }
        CHECK(record.kind != 0 && record.size <= LQI_PAYLOAD_MAX);
        reframe(&record, salt);
        uint64_t span = lqi_record_span(record.size);
        CHECK(span >= LQI_RECORD_HEADER + record.size && span % 8 == 0);
        if (record.size <= size - at - LQI_RECORD_HEADER) look_at_payload(bytes + at + LQI_RECORD_HEADER, &record);
        if (span > size - at) break;
        at += (size_t)span;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input input = {data, size};
    uint64_t salt = take(&input, 8), position = take(&input, 8) & ~(uint64_t)7;

    walk(input.data, input.size, salt, position, false);
    walk(input.data, input.size, salt, position, true);
    return 0;
}
