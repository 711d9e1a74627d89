/* A whole segment file: opened, and searched for ids and times; as it is, and with
 * the checksums of both header copies, the trailer and the index mended. */
#include "bytes.h"
#include "checksum.h"
#include "fuzz_support.h"
#include "record.h"
#include "segment.h"

static void same_head(const struct lqi_segment_head *a, const struct lqi_segment_head *b)
{
    CHECK(memcmp(a->uuid, b->uuid, 16) == 0 && a->first_id == b->first_id && a->position == b->position);
    CHECK(a->salt == b->salt && a->durable == b->durable && a->created_us == b->created_us);
}

static void head_again(const struct lqi_segment_head *head)
{
    uint8_t bytes[LQI_SEGMENT_HEADER];
    struct lqi_segment_head again;
    int64_t damaged;

    CHECK(head->first_id >= 1 && head->position % 8 == 0 && head->durable <= head->position);
    lqi_segment_head_encode(bytes, head);
    CHECK(lqi_segment_head_decode(bytes, sizeof bytes, "x", head->uuid, &again, &damaged) == LQ_OK && damaged == -1);
    same_head(head, &again);
}

static void look_for(const struct lqi_segment *segment, uint64_t number)
{
    const struct lqi_segment_head *head = &segment->head;
    struct lqi_index_entry entry;
    bool damaged;

    for (int by_time = 0; by_time < 2; by_time++) {
        int err = by_time ? lqi_segment_find_time(segment, (int64_t)number, &entry, &damaged)
                          : lqi_segment_find_id(segment, number, &entry, &damaged);
        CHECK(err == LQ_OK);
        CHECK(!damaged || segment->sealed);
        CHECK(entry.position % 8 == 0 && entry.first_id >= head->first_id);
        if (entry.position == head->position) continue;
        CHECK(segment->sealed && !damaged);
        CHECK(entry.position > head->position && entry.position < segment->end.end);
        CHECK(by_time ? entry.time_us < (int64_t)number : entry.first_id <= number);
        CHECK(lqi_segment_offset(head, entry.position) < segment->file_size);
    }
}

static void look(uint8_t *bytes, size_t size)
{
    struct memory_file file;
    struct lqi_segment segment;

    memory_init(&file, bytes, size);
    uint64_t first_id = size >= 48 ? lqi_get64(bytes + 40) : 1;
    int err = lqi_segment_open(&segment, &file.io, 0, first_id, size >= 40 ? bytes + 24 : NULL, false);
    if (err) {
        CHECK(err == LQ_ECORRUPT || err == LQ_EVERSION);
        CHECK(segment.file.fd == -1);
        return;
    }
    CHECK(segment.file_size == size && segment.head.first_id == first_id);
    CHECK(!(segment.sealed && segment.end_damaged));
    head_again(&segment.head);
    if (segment.sealed) {
        uint64_t records = segment.end.end - segment.head.position;
        uint64_t index = (uint64_t)segment.end.index_count * LQI_INDEX_ENTRY;
        CHECK(records + index + LQI_SEGMENT_HEADER + LQI_SEGMENT_TRAILER == size);
        CHECK(segment.end.next_id >= first_id);
    }
    look_for(&segment, 0);
    look_for(&segment, first_id);
    look_for(&segment, segment.head.created_us);
    look_for(&segment, segment.end.next_id / 2);
    look_for(&segment, segment.end.next_id);
    look_for(&segment, UINT64_MAX);
    lqi_segment_close(&segment);
}

/* The record that an index entry speaks of: there, as it says, unless the fuzzer has set a bit against it. */
static void mend_indexed(uint8_t *bytes, size_t room, const uint8_t *entry)
{
    uint64_t at = lqi_get64(entry + 16) - lqi_get64(bytes + 48);

    if (room < LQI_RECORD_HEADER || at > room - LQI_RECORD_HEADER) return;
    uint8_t *record = bytes + LQI_SEGMENT_HEADER + at;
    if (record[11] & 0x80) return;
    if (!record[8] && !record[9]) record[8] = 1;
    record[10] = LQI_RECORD_MESSAGES;
    memset(record + 12, 0xff, 4);
    memcpy(record + 16, entry, 16);
    lqi_put32(record + 4, lqi_get32(record + 4) & 0xffff);
    lqi_put32(record, (uint32_t)lqi_checksum_at(record + 8, 32, lqi_get64(bytes + 56) ^ lqi_get64(entry + 16) ^ (uint64_t)lqi_get32(record + 4) << 32));
}

static void mend(uint8_t *bytes, size_t size)
{
    static const uint8_t head_magic[8] = "LQseg\r\n", end_magic[8] = "LQend\r\n";

    if (size < LQI_SEGMENT_HEADER) return;
    memcpy(bytes, head_magic, 8);
    lqi_put64(bytes + 120, lqi_checksum(bytes, 120));
    lqi_put64(bytes + 248, lqi_checksum(bytes + 128, 120));

    if (size < LQI_SEGMENT_HEADER + LQI_SEGMENT_TRAILER) return;
    uint8_t *trailer = bytes + size - LQI_SEGMENT_TRAILER;
    uint64_t room = size - LQI_SEGMENT_HEADER - LQI_SEGMENT_TRAILER;
    uint64_t index_size = (uint64_t)lqi_get32(trailer + 8) * LQI_INDEX_ENTRY;
    memcpy(trailer, end_magic, 8);
    memcpy(trailer + 48, bytes + 56, 8); /* the salt */
    if (index_size <= room) {
        /* An end that does not fit is the fuzzer's to try, too: only an odd one is mended. */
        if (trailer[16] % 2) lqi_put64(trailer + 16, lqi_get64(bytes + 48) + room - index_size);
        for (uint64_t at = 0; at < index_size && at < 8 * LQI_INDEX_ENTRY; at += LQI_INDEX_ENTRY)
            mend_indexed(bytes, (size_t)(room - index_size), trailer - index_size + at);
        lqi_put64(trailer + 56, lqi_checksum(trailer - index_size, (size_t)index_size));
    }
    lqi_put64(trailer + 120, lqi_checksum(trailer, 120));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *bytes = copy_of(data, size);

    look(bytes, size);
    mend(bytes, size);
    look(bytes, size);
    free(bytes);
    return 0;
}
