/* Which ids a segment has given that has lost its header, and with it the salt that its records' headers verify with.
 *
 *   |lost| a a | b b b | ????? | d | e e | ?? 0000000000000000
 *                              proven ----^
 *
 * Bodies have checksums of their own, without a salt: a header whose body verifies, and whose id is none that went before, is one,
 * and tells its ids. So the end is found as a scan would find it, over bad places too. A mark and a hole have no body: they are
 * believed where a record must begin, if they go on with the very id that must come.
 *
 * What follows the last of them and is not zero may have been anything, but no more messages than bytes can have: a message takes
 * 8 bytes in a record's table, which may be packed. */
#include <stdlib.h>

#include "bytes.h"
#include "checksum.h"
#include "recover_parts.h"

/* Deflate makes at most 1032 bytes of one (compress.c believes no more), and 8 are a message. */
#define MESSAGES_PER_BYTE 129u

struct look {
    const struct lqi_file *file;
    uint64_t size;        /* of it */
    uint64_t to_read;     /* so many bytes of bodies at most: what was made up must not be read for ever */
    uint64_t at;          /* of the bytes at hand */
    size_t got;
    uint8_t bytes[16384];
};

/* Offsets only rise from call to call. Where the file ends in the middle of it, what is behind is as it was: no record has room there,
 * whatever it says. */
static int header_at(struct look *look, uint64_t offset, const uint8_t **header_out)
{
    if (offset + LQI_RECORD_HEADER > look->at + look->got) {
        int err = lqi_file_read(look->file, offset, look->bytes, sizeof look->bytes, &look->got);
        if (err) return err;
        look->at = offset;
    }
    *header_out = look->bytes + (offset - look->at);
    return LQ_OK;
}

static int body_verifies(struct look *look, uint64_t offset, const struct lqi_record *record, bool *verifies_out)
{
    size_t got;

    *verifies_out = false;
    if (record->size > look->to_read) return LQ_OK;
    look->to_read -= record->size;
    uint8_t *body = malloc((size_t)record->size + 1);
    if (!body) return lqi_fail(LQ_ENOMEM, "%s: no memory for a record of %u bytes", look->file->name, record->size);
    int err = lqi_file_read(look->file, offset + LQI_RECORD_HEADER, body, record->size, &got);
    *verifies_out = !err && got == record->size && lqi_checksum(body, got) == record->payload_check;
    free(body);
    return err;
}

/* Is there a record at `offset` whose ids can be believed? `proven`: one before it ends there, with the id before `next_id`. */
static int record_at(struct look *look, uint64_t offset, bool proven, uint64_t next_id, struct lqi_record *record, bool *is_out)
{
    const uint8_t *header;

    *is_out = false;
    int err = header_at(look, offset, &header);
    if (err) return err;
    if (!lqi_record_fields(header, record) || record->first_id < next_id || lqi_record_span(record->size) > look->size - offset) return LQ_OK;
    switch (record->kind) {
    case LQI_RECORD_MESSAGES: return body_verifies(look, offset, record, is_out);
    case LQI_RECORD_MARK: case LQI_RECORD_HOLE: *is_out = proven && record->first_id == next_id;
    }
    return LQ_OK;
}

int lqi_recover_ids(const struct lqi_file *file, uint64_t size, uint64_t *next_id)
{
    struct look look = {.file = file, .size = size, .to_read = 2 * size};
    uint64_t used = 0, proven = LQI_SEGMENT_HEADER, end;
    struct lqi_record record;
    bool is;

    int err = lqi_recover_nonzero(file, proven, size, &used);
    end = proven + used;
    for (uint64_t offset = proven; !err && offset < end; offset += is ? 0 : 8) {
        err = record_at(&look, offset, offset == proven, *next_id, &record, &is);
        if (err || !is) continue;
        *next_id = lqi_record_next_id(&record);
        offset = proven = offset + lqi_record_span(record.size);
    }
    /* Where the disk gives nothing, anything may be. */
    if (err == LQ_EIO) end = size;
    if (end > proven) *next_id += (end - proven) * MESSAGES_PER_BYTE + LQ_BATCH_MAX;
    return err == LQ_EIO ? LQ_OK : err;
}
