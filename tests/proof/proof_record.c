/* Record headers, of all bytes: record.c.
 *
 *   holds  -DDECODE
 *   holds  -DROUND_TRIP
 *   fails  -DDECODE  record.c  s/back \* 8 > position/back > position/
 *   fails  -DDECODE  record.c  s/>= LQI_ID_END - record->count/>= LQI_ID_END/
 *   fails  -DROUND_TRIP  record.c  s/(uint64_t)record->flags << 24/(uint64_t)record->flags << 25/
 *
 * cbmc: --unwind 4
 */
#include "proof.h"

#include "record.c"

/* What the header of record.c promises of a record that was accepted. */
static void prove_sane(const struct lqi_record *record, uint64_t position)
{
    PROVE(record->size <= LQI_PAYLOAD_MAX);
    PROVE(record->position == position);
    PROVE(record->durable <= position);
    PROVE(record->kind != 0);
    if (record->kind == LQI_RECORD_MESSAGES) {
        PROVE(record->count >= 1 && record->first_id >= 1);
        PROVE(record->first_id < LQI_ID_END && record->first_id + record->count <= LQI_ID_END);
        PROVE(!(record->flags & LQI_RECORD_LONE) || record->count == 1);
    }
    if (record->kind == LQI_RECORD_HOLE) PROVE(record->first_id >= 1 && record->first_id <= record->payload_check);
    if (record->kind == LQI_RECORD_MARK) PROVE(record->size == 0 && record->count == 0 && record->first_id >= 1);
    PROVE(lqi_record_span(record->size) % 8 == 0 && lqi_record_span(record->size) - record->size >= LQI_RECORD_HEADER);
}

static void decode_anything(void)
{
    uint64_t position = nondet_u64();
    struct lqi_record record = {.position = 1};
    if (lqi_record_decode(any_bytes(LQI_RECORD_HEADER), position, nondet_u64(), &record)) prove_sane(&record, position);
    else PROVE(record.position == 1);
}

static void encode_and_decode(void)
{
    uint8_t *bytes = any_bytes(LQI_RECORD_HEADER);
    uint64_t salt = nondet_u64();
    struct lqi_record in = {.position = nondet_u64(), .durable = nondet_u64(), .first_id = nondet_u64(), .time_us = nondet_i64(),
                            .payload_check = nondet_u64(), .size = nondet_u32(), .count = nondet_u16(), .kind = nondet_u8(),
                            .flags = nondet_u8()};
    struct lqi_record out;

    one_hash = true;
    the_hash = nondet_u64();
    ASSUME(in.position % 8 == 0 && in.durable <= in.position && agrees(&in));
    lqi_record_encode(bytes, &in, salt);
    PROVE(lqi_record_decode(bytes, in.position, salt, &out));
    PROVE(out.first_id == in.first_id && out.time_us == in.time_us && out.payload_check == in.payload_check);
    PROVE(out.size == in.size && out.count == in.count && out.kind == in.kind && out.flags == in.flags);
    PROVE(out.durable <= in.durable);
    PROVE(out.durable == 0 || in.durable - out.durable < 8);
}

void proof(void)
{
#if defined(DECODE)
    decode_anything();
#else
    encode_and_decode();
#endif
}
