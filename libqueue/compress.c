/* zlib at arm's length. */
#include "compress.h"

#include <zlib.h>

#include "bytes.h"
#include "error.h"

_Static_assert(LQI_PACK_HEADER == sizeof(uint32_t), "the header that compress.h describes");

/* Deflate's best: 258 bytes for a match of 2 bits. */
#define RATIO_MAX 1032u

/* A small payload needs no window of 32 KiB, whose memory deflate would clear
 * anew for each record. 9 to 15, as deflate takes them. */
static int window_bits(uint32_t raw_size)
{
    int bits = 9;
    while (bits < 15 && raw_size >> bits) bits++;
    return bits;
}

int lqi_pack(const uint8_t *raw, uint32_t raw_size, int level, uint8_t *packed, uint32_t *packed_size_out)
{
    uint32_t limit = raw_size - (raw_size + 7) / 8; /* at least an eighth saved */
    int bits = window_bits(raw_size);
    z_stream stream = {0};

    if (limit <= LQI_PACK_HEADER) {
        *packed_size_out = 0;
        return LQ_OK;
    }
    /* 9 bits are the only window with which memory level 1 would be too mean. */
    int result = deflateInit2(&stream, level, Z_DEFLATED, bits, bits > 9 ? bits - 7 : 3, Z_DEFAULT_STRATEGY);
    if (result == Z_MEM_ERROR) return lqi_fail(LQ_ENOMEM, "deflate: no memory");
    if (result != Z_OK) return lqi_fail(LQ_EINVAL, "deflate: level %d", level);

    stream.next_in = (Bytef *)(uintptr_t)raw; /* zlib's struct predates const */
    stream.avail_in = raw_size;
    stream.next_out = packed + LQI_PACK_HEADER;
    stream.avail_out = limit - LQI_PACK_HEADER;
    result = deflate(&stream, Z_FINISH);
    if (result == Z_STREAM_END) {
        lqi_put32(packed, raw_size);
        *packed_size_out = limit - stream.avail_out;
    } else {
        *packed_size_out = 0; /* it ran out of room: does not pay */
    }
    deflateEnd(&stream);
    return LQ_OK;
}

int lqi_unpacked_size(const uint8_t *packed, uint32_t packed_size, uint32_t raw_size_max, uint32_t *raw_size_out)
{
    if (packed_size <= LQI_PACK_HEADER)
        return lqi_fail(LQ_ECORRUPT, "packed payload of %u bytes: nothing in it", packed_size);

    uint32_t raw_size = lqi_get32(packed);
    if (raw_size == 0) return lqi_fail(LQ_ECORRUPT, "packed payload: unpacks to nothing");
    if (raw_size > raw_size_max)
        return lqi_fail(LQ_ECORRUPT, "packed payload: unpacks to %u bytes, at most %u can be", raw_size, raw_size_max);
    if (raw_size > (uint64_t)(packed_size - LQI_PACK_HEADER) * RATIO_MAX)
        return lqi_fail(LQ_ECORRUPT, "packed payload: %u bytes cannot unpack to %u", packed_size, raw_size);
    *raw_size_out = raw_size;
    return LQ_OK;
}

/* What is wrong with the stream, or NULL. */
static const char *complaint(int result, const z_stream *stream)
{
    switch (result) {
    case Z_STREAM_END:
        if (stream->avail_out) return "unpacks to less than it says";
        return stream->avail_in ? "has bytes behind its end" : NULL;
    case Z_BUF_ERROR:
        return stream->avail_out ? "ends too early" : "unpacks to more than it says";
    case Z_NEED_DICT:
        return "asks for a dictionary";
    default:
        return stream->msg ? stream->msg : "is no zlib stream";
    }
}

int lqi_unpack(const uint8_t *packed, uint32_t packed_size, uint8_t *raw, uint32_t raw_size)
{
    z_stream stream = {0};

    if (packed_size <= LQI_PACK_HEADER || lqi_get32(packed) != raw_size || raw_size == 0)
        return lqi_fail(LQ_ECORRUPT, "packed payload of %u bytes: does not unpack to %u", packed_size, raw_size);
    stream.next_in = (Bytef *)(uintptr_t)(packed + LQI_PACK_HEADER);
    stream.avail_in = packed_size - LQI_PACK_HEADER;
    if (inflateInit(&stream) != Z_OK) return lqi_fail(LQ_ENOMEM, "inflate: no memory");

    stream.next_out = raw;
    stream.avail_out = raw_size;
    int result = inflate(&stream, Z_FINISH);
    const char *wrong = complaint(result, &stream);
    inflateEnd(&stream);

    if (result == Z_MEM_ERROR) return lqi_fail(LQ_ENOMEM, "inflate: no memory");
    if (wrong) return lqi_fail(LQ_ECORRUPT, "packed payload: %s", wrong);
    return LQ_OK;
}
