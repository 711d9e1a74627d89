/* Encoders that believe anything: those of the library assert that their numbers make sense. */
#include "forge.h"

#include <assert.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include "bytes.h"
#include "checksum.h"
#include "meta.h"
#include "position.h"
#include "record.h"
#include "segment.h"
#include "stamp.h"

static const uint8_t uuid[16] = "forged queue uui";
static const int64_t when_us = 1700000000000000;

const struct forge_meta forge_meta = {
    .sync = LQ_SYNC_NEVER, .sync_interval_ms = 100, .retention = LQ_RETAIN_CONSUMED, .full = LQ_FULL_REJECT,
    .segment_size = 65536, .ring_size = 65536, .message_size_max = 1 << 30, .mode = 0600,
    .trims = {{0}, {.sequence = 1, .first_id = 1, .next_id = 1}},
};

/* A file must not be missing without anybody noticing. */
static void must(bool done, const char *what)
{
    if (done) return;
    perror(what);
    abort();
}

static void put_file(const char *path, uint64_t offset, const void *bytes, size_t size, uint64_t file_size)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    must(fd >= 0, path);
    must(pwrite(fd, bytes, size, (off_t)offset) == (ssize_t)size, path);
    must(!file_size || ftruncate(fd, (off_t)file_size) == 0, path);
    close(fd);
}

/* ---- meta ---------------------------------------------------------------- */

static void put_trim(uint8_t *slot, const struct forge_trim *trim)
{
    if (!trim->sequence) return;
    lqi_put64(slot, trim->sequence);
    lqi_put64(slot + 8, trim->first_id);
    lqi_put64(slot + 16, trim->position);
    lqi_put64(slot + 24, trim->synced);
    lqi_put64(slot + 32, trim->next_id);
    lqi_put64(slot + 504, lqi_checksum_at(slot, 504, lqi_get64(uuid)));
}

void forge_queue(const char *queue, const struct forge_meta *meta)
{
    static const struct lqi_stamp stamp = {"LQmeta\r\n", LQI_META_VERSION, 512};
    uint8_t bytes[LQI_META_SIZE] = {0};
    char path[4096];

    must(mkdir(queue, 0700) == 0, queue);
    snprintf(path, sizeof path, "%s/log", queue);
    must(mkdir(path, 0700) == 0, path);
    snprintf(path, sizeof path, "%s/consumers", queue);
    must(mkdir(path, 0700) == 0, path);

    lqi_stamp_begin(bytes, &stamp, uuid);
    lqi_put64(bytes + 40, (uint64_t)when_us);
    lqi_put32(bytes + 48, meta->sync);
    lqi_put32(bytes + 52, meta->sync_interval_ms);
    lqi_put32(bytes + 56, meta->retention);
    lqi_put32(bytes + 60, meta->full);
    lqi_put64(bytes + 64, meta->size_max);
    lqi_put64(bytes + 72, meta->age_max_ms);
    lqi_put64(bytes + 80, meta->segment_size);
    lqi_put64(bytes + 88, meta->ring_size);
    lqi_put64(bytes + 96, meta->message_size_max);
    lqi_put32(bytes + 104, meta->compression);
    lqi_put32(bytes + 108, meta->mode);
    lqi_stamp_end(bytes, &stamp);
    for (int slot = 0; slot < 2; slot++) put_trim(bytes + 1024 + slot * 512, &meta->trims[slot]);
    snprintf(path, sizeof path, "%s/meta", queue);
    put_file(path, 0, bytes, sizeof bytes, 0);
}

/* ---- segments ------------------------------------------------------------ */

static uint8_t *add(struct forge_segment *segment, size_t size)
{
    if (segment->size + size > segment->room) {
        segment->room = 2 * (segment->size + size);
        segment->bytes = realloc(segment->bytes, segment->room);
        must(segment->bytes != NULL, "memory");
    }
    uint8_t *added = segment->bytes + segment->size;
    memset(added, 0, size);
    segment->size += size;
    return added;
}

struct forge_segment *forge_segment_new(uint64_t first_id, uint64_t position)
{
    struct forge_segment *segment = calloc(1, sizeof *segment);
    must(segment != NULL, "memory");
    *segment = (struct forge_segment){.name_id = first_id, .first_id = first_id, .position = position, .salt = first_id * 77 + position,
                                      .durable = position, .created_us = when_us, .end = position, .next_id = first_id};
    memcpy(segment->uuid, uuid, sizeof uuid);
    add(segment, LQI_SEGMENT_HEADER);
    return segment;
}

/* The header as record.h has it; lqi_record_encode() would not take every size. */
static void put_header(uint8_t *bytes, const struct forge_record *record, uint32_t size, uint64_t position, uint64_t salt)
{
    uint64_t check = lqi_checksum(record->payload ? record->payload : "", record->payload_size);
    bool mark = record->kind == FORGE_MARK;

    lqi_put32(bytes + 4, size);
    lqi_put16(bytes + 8, mark ? 0 : record->count ? record->count : 1);
    bytes[10] = record->kind ? record->kind : LQI_RECORD_MESSAGES;
    bytes[11] = record->flags;
    lqi_put32(bytes + 12, record->back ? record->back : UINT32_MAX);
    lqi_put64(bytes + 16, record->first_id);
    lqi_put64(bytes + 24, (uint64_t)record->time_us);
    lqi_put64(bytes + 32, mark ? 0 : check);
    lqi_put32(bytes, (uint32_t)lqi_checksum_at(bytes + 8, 32, salt ^ position ^ (uint64_t)size << 32));
}

uint64_t forge_record(struct forge_segment *segment, const struct forge_record *record)
{
    uint32_t size = record->empty ? 0 : record->size ? record->size : (uint32_t)record->payload_size;
    uint64_t position = segment->end;
    uint8_t *bytes = add(segment, LQI_RECORD_HEADER + ((record->payload_size + 7) & ~(size_t)7));

    put_header(bytes, record, size, position, segment->salt);
    if (record->payload_size) memcpy(bytes + LQI_RECORD_HEADER, record->payload, record->payload_size);
    segment->end = segment->position + segment->size - LQI_SEGMENT_HEADER;
    if (record->kind != FORGE_MARK) segment->next_id = record->first_id + (record->count ? record->count : 1);
    return position;
}

uint64_t forge_message(struct forge_segment *segment, uint64_t id, const char *text)
{
    return forge_record(segment, &(struct forge_record){.first_id = id, .time_us = when_us, .flags = FORGE_LONE, .payload = text,
                                                        .payload_size = strlen(text), .empty = !*text});
}

void forge_trailer(struct forge_segment *segment, const struct forge_index_entry *index, uint32_t count, uint64_t end_position,
                   uint64_t next_id)
{
    size_t index_size = (size_t)count * LQI_INDEX_ENTRY;
    uint8_t *bytes = add(segment, index_size + LQI_SEGMENT_TRAILER);
    struct lqi_segment_end end = {
        .end = end_position ? end_position : segment->end, .next_id = next_id ? next_id : segment->next_id, .salt = segment->salt,
        .first_time_us = when_us, .last_time_us = when_us, .index_count = count,
    };
    struct lqi_index_entry *entries = calloc(count + 1, sizeof *entries);

    must(entries != NULL, "memory");
    for (uint32_t i = 0; i < count; i++)
        entries[i] = (struct lqi_index_entry){index[i].first_id, index[i].time_us, index[i].position};
    lqi_segment_end_encode(bytes, entries, &end);
    free(entries);
}

void forge_segment_write(struct forge_segment *segment, const char *queue)
{
    struct lqi_segment_head head = {.first_id = segment->first_id, .position = segment->position, .salt = segment->salt,
                                    .durable = segment->durable, .created_us = segment->created_us};
    char path[4096];

    memcpy(head.uuid, segment->uuid, sizeof head.uuid);
    lqi_segment_head_encode(segment->bytes, &head);
    snprintf(path, sizeof path, "%s/log/%020llu.seg", queue, (unsigned long long)segment->name_id);
    put_file(path, 0, segment->bytes, segment->size, 0);
    free(segment->bytes);
    free(segment);
}

uint8_t *forge_payload(const struct forge_entry *entries, size_t count, size_t body_size, size_t *size_out)
{
    uint8_t *bytes = calloc(1, count * LQI_MESSAGE_ENTRY + body_size + 1);
    must(bytes != NULL, "memory");
    for (size_t i = 0; i < count; i++) {
        lqi_put32(bytes + i * LQI_MESSAGE_ENTRY, entries[i].size);
        lqi_put16(bytes + i * LQI_MESSAGE_ENTRY + 4, entries[i].key_size);
        lqi_put16(bytes + i * LQI_MESSAGE_ENTRY + 6, entries[i].headers_size);
    }
    memset(bytes + count * LQI_MESSAGE_ENTRY, 'x', body_size);
    *size_out = count * LQI_MESSAGE_ENTRY + body_size;
    return bytes;
}

/* In chunks: what it unpacks to need not fit into memory. */
uint8_t *forge_packed(size_t raw_size, uint32_t claimed, size_t *size_out)
{
    static const uint8_t zeroes[65536];
    z_stream stream = {0};
    size_t room = raw_size / 900 + 4096;
    uint8_t *bytes = malloc(room);

    must(bytes && deflateInit(&stream, 9) == Z_OK, "memory");
    lqi_put32(bytes, claimed);
    stream.next_out = bytes + 4;
    stream.avail_out = (uInt)(room - 4);
    for (size_t left = raw_size; left || !raw_size;) {
        stream.next_in = (Bytef *)(uintptr_t)zeroes;
        stream.avail_in = (uInt)lqi_min64(left, sizeof zeroes);
        left -= stream.avail_in;
        int result = deflate(&stream, left ? Z_NO_FLUSH : Z_FINISH);
        must(result == (left ? Z_OK : Z_STREAM_END) && stream.avail_in == 0, "deflate");
        if (!left) break;
    }
    *size_out = 4 + stream.total_out;
    deflateEnd(&stream);
    return bytes;
}

/* ---- offset files ---------------------------------------------------------- */

static void position_path(char *path, size_t room, const char *queue, const char *name)
{
    snprintf(path, room, "%s/consumers/%s.pos", queue, name);
}

void forge_position(const char *queue, const char *name, uint32_t window, uint32_t block_count,
                    const struct forge_position_entry *entries, size_t count)
{
    static const struct lqi_stamp stamp = {"LQpos\r\n\0", LQI_POSITION_VERSION, 512};
    uint8_t bytes[LQI_POSITION_BLOCKS_AT] = {0};
    uint64_t blocks = (uint64_t)lqi_min64(block_count, 1 << 18) * 2 * LQI_POSITION_BLOCK;
    char path[4096];

    lqi_stamp_begin(bytes, &stamp, uuid);
    lqi_put32(bytes + 40, window);
    lqi_put32(bytes + 44, block_count);
    lqi_put64(bytes + 48, (uint64_t)when_us);
    memcpy(bytes + 56, name, strlen(name));
    lqi_stamp_end(bytes, &stamp);
    for (size_t i = 0; i < count; i++) {
        uint8_t *at = bytes + LQI_POSITION_ENTRIES_AT + entries[i].sequence % LQI_POSITION_ENTRIES * LQI_POSITION_ENTRY;
        lqi_put64(at, entries[i].sequence);
        lqi_put64(at + 8, entries[i].floor);
        lqi_put64(at + 16, entries[i].delivered);
        lqi_put64(at + 24, entries[i].incarnation);
        lqi_put64(at + 32, entries[i].durable);
        lqi_put64(at + 40, entries[i].durable_id);
        lqi_put64(at + 48, (uint64_t)entries[i].time_us);
        lqi_put64(at + 56, lqi_checksum_at(at, 56, lqi_get64(uuid)));
    }
    position_path(path, sizeof path, queue, name);
    put_file(path, 0, bytes, sizeof bytes, sizeof bytes + blocks);
}

void forge_block(const char *queue, const char *name, uint32_t place, uint64_t first_id, uint64_t incarnation, uint64_t sequence,
                 uint32_t word)
{
    uint8_t block[LQI_POSITION_BLOCK];
    char path[4096];

    lqi_put64(block, first_id);
    lqi_put64(block + 16, sequence);
    for (size_t i = 0; i < LQI_POSITION_BLOCK_WORDS; i++) lqi_put32(block + 24 + 4 * i, word);
    lqi_put64(block + 8, lqi_checksum_at(block + 16, sizeof block - 16, first_id ^ lqi_get64(uuid) ^ incarnation));
    position_path(path, sizeof path, queue, name);
    put_file(path, LQI_POSITION_BLOCKS_AT + (uint64_t)place * LQI_POSITION_BLOCK, block, sizeof block, 0);
}
