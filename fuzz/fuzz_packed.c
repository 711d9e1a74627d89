/* A packed payload, as it is; then, if it is a deflate stream at all, with its sizes and
 * zlib's own checksum mended, when it must unpack; and the input itself, packed and unpacked. */
#include <zlib.h>

#include "bytes.h"
#include "compress.h"
#include "fuzz_support.h"

#define RAW_MAX (1u << 18)

static bool unpacks(const uint8_t *packed, uint32_t size, uint8_t **raw_out, uint32_t *raw_size_out)
{
    uint8_t *raw;

    if (lqi_unpacked_size(packed, size, RAW_MAX, raw_size_out) != LQ_OK) return false;
    CHECK(*raw_size_out >= 1 && *raw_size_out <= RAW_MAX);
    raw = malloc(*raw_size_out);
    CHECK(raw != NULL);
    if (lqi_unpack(packed, size, raw, *raw_size_out) != LQ_OK) {
        free(raw);
        return false;
    }
    *raw_out = raw;
    return true;
}

/* Packs and unpacks; a block of the exact room catches a byte too many. */
static void there_and_back(const uint8_t *raw, uint32_t size, int level)
{
    uint8_t *packed = malloc(size ? size : 1), *back;
    uint32_t packed_size, back_size;

    CHECK(packed != NULL && lqi_pack(raw, size, level, packed, &packed_size) == LQ_OK);
    CHECK(packed_size <= size - size / 8);
    if (packed_size) {
        CHECK(unpacks(packed, packed_size, &back, &back_size));
        CHECK(back_size == size && memcmp(back, raw, size) == 0);
        free(back);
    }
    free(packed);
}

static void as_it_is(const uint8_t *data, size_t size)
{
    uint8_t *packed = copy_of(data, size), *raw;
    uint32_t raw_size;

    if (unpacks(packed, (uint32_t)size, &raw, &raw_size)) {
        there_and_back(raw, raw_size, 1);
        free(raw);
    }
    free(packed);
}

/* The deflate stream in `data`, with what belongs around it. */
static void mended(const uint8_t *data, size_t size)
{
    static uint8_t expected[RAW_MAX];
    z_stream stream = {.next_in = (Bytef *)(uintptr_t)data, .avail_in = (uInt)size, .next_out = expected, .avail_out = RAW_MAX};
    uint8_t *packed, *raw;
    uint32_t raw_size;

    CHECK(inflateInit2(&stream, -15) == Z_OK);
    int result = inflate(&stream, Z_FINISH);
    uint32_t used = (uint32_t)stream.total_in, made = (uint32_t)stream.total_out;
    inflateEnd(&stream);
    if (result != Z_STREAM_END || made == 0) return;

    packed = malloc(4 + 2 + (size_t)used + 4);
    CHECK(packed != NULL);
    lqi_put32(packed, made);
    packed[4] = 0x78;
    packed[5] = 0x9c;
    memcpy(packed + 6, data, used);
    uint32_t check = __builtin_bswap32((uint32_t)adler32(adler32(0, NULL, 0), expected, made));
    lqi_put32(packed + 6 + used, check);
    CHECK(unpacks(packed, 4 + 2 + used + 4, &raw, &raw_size));
    CHECK(raw_size == made && memcmp(raw, expected, made) == 0);
    free(raw);
    free(packed);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size > 1 << 16) return 0;
    as_it_is(data, size);
    if (size > 6) mended(data + 6, size - 6);
    there_and_back(data, (uint32_t)size, size ? 1 + data[0] % 9 : 1);
    return 0;
}
