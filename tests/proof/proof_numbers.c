/* Arithmetic, and the sizes that packed payloads claim: bytes.h, compress.c, lqi_record_span().
 *
 *   holds
 *   fails  bytes.h  s/(value + to - 1)/(value + to)/
 *   fails  bytes.h  s/a < b ? a : b/a < b ? b : a/
 *   fails  compress.c  s/RATIO_MAX 1032u/RATIO_MAX 1031u/
 *   fails  compress.c  s/raw_size == 0/raw_size == 1/
 *   fails  record.h  s/((uint64_t)size + 7)/(size + 7)/
 *
 * cbmc: --unwind 2
 */
#include "proof.h"

#include "bytes.h"
#include "compress.c"
#include "record.h"

static void integers_come_back(void)
{
    uint8_t *bytes = any_bytes(8);
    uint64_t value = nondet_u64(), other = nondet_u64();
    lqi_put64(bytes, value);
    PROVE(lqi_get64(bytes) == value && bytes[0] == (uint8_t)value && bytes[7] == value >> 56);
    lqi_put32(bytes, (uint32_t)value);
    PROVE(lqi_get32(bytes) == (uint32_t)value && bytes[3] == (uint8_t)(value >> 24));
    lqi_put16(bytes, (uint16_t)value);
    PROVE(lqi_get16(bytes) == (uint16_t)value && bytes[1] == (uint8_t)(value >> 8));
    PROVE(lqi_min64(value, other) <= value && lqi_min64(value, other) <= other);
    PROVE(lqi_max64(value, other) >= value && lqi_max64(value, other) >= other);
}

static void rounding_is_up_and_least(void)
{
    uint64_t value = nondet_u64(), bit = nondet_u64();
    ASSUME(bit < 32 && value < (uint64_t)1 << 63);
    uint64_t to = (uint64_t)1 << bit, rounded = lqi_round_up(value, to);
    PROVE((rounded & (to - 1)) == 0 && rounded >= value && rounded - value < to);
}

static void spans_hold_header_and_payload(void)
{
    uint32_t size = nondet_u32();
    uint64_t span = lqi_record_span(size);
    PROVE(span % 8 == 0 && span >= LQI_RECORD_HEADER + (uint64_t)size && span < LQI_RECORD_HEADER + (uint64_t)size + 8);
}

/* What a stranger's header says must be unpacked to is within the limit, and within what deflate can do. */
static void claims_are_bounded(void)
{
    uint32_t packed_size = nondet_u32(), max = nondet_u32(), raw_size = 0;
    uint8_t bytes[8] = {nondet_u8(), nondet_u8(), nondet_u8(), nondet_u8()};
    if (lqi_unpacked_size(bytes, packed_size, max, &raw_size) != LQ_OK) {
        PROVE(raw_size == 0);
        return;
    }
    PROVE(raw_size >= 1 && raw_size <= max && packed_size > LQI_PACK_HEADER);
    PROVE(raw_size <= 1032 * (uint64_t)(packed_size - LQI_PACK_HEADER));
}

static void what_deflate_can_make_is_taken(void)
{
    uint32_t packed_size = nondet_u32(), raw_size = nondet_u32(), said = 0;
    uint8_t bytes[4];
    ASSUME(packed_size > LQI_PACK_HEADER && raw_size >= 1 && raw_size <= (uint64_t)(packed_size - LQI_PACK_HEADER) * 1032);
    lqi_put32(bytes, raw_size);
    PROVE(lqi_unpacked_size(bytes, packed_size, raw_size, &said) == LQ_OK && said == raw_size);
}

void proof(void)
{
    integers_come_back();
    rounding_is_up_and_least();
    spans_hold_header_and_payload();
    claims_are_bounded();
    what_deflate_can_make_is_taken();
}
