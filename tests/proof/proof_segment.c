/* Headers and trailers of segments: stamp.c, segment.c.
 *
 *   holds  -DHEAD
 *   holds  -DHEAD_ROUND_TRIP
 *   holds  -DEND
 *   holds  -DEND_ROUND_TRIP
 *   fails  -DHEAD  segment.c  s/head.durable > head.position/head.durable < head.position/
 *   fails  -DHEAD  segment.c  s/head.first_id == 0 ||//
 *   fails  -DHEAD  stamp.c  s/size < 2 \* (size_t)stamp->size/size < (size_t)stamp->size/
 *   fails  -DHEAD_ROUND_TRIP  segment.c  s/lqi_put64(bytes + 72/lqi_put64(bytes + 64/
 *   fails  -DEND  segment.c  s/head->position == room - index_size/head->position <= room - index_size/
 *   fails  -DEND_ROUND_TRIP  segment.c  s/lqi_put64(trailer + 24, end->next_id)/lqi_put64(trailer + 24, end->end)/
 *
 * cbmc: --unwind 129
 */
#include "proof.h"

#include "segment.c"
#include "stamp.c"

static void decode_any_head(void)
{
    uint8_t uuid[16];
    size_t size = nondet_size();
    struct lqi_segment_head head = {.first_id = 0};
    int64_t damaged = 7;

    ASSUME(size <= LQI_SEGMENT_HEADER);
    if (lqi_segment_head_decode(any_bytes(size), size, "", nondet_bool() ? uuid : NULL, &head, &damaged) != LQ_OK) {
        PROVE(head.first_id == 0 && damaged == 7);
        return;
    }
    PROVE(size == LQI_SEGMENT_HEADER);
    PROVE(head.first_id >= 1 && head.first_id < LQI_ID_END);
    PROVE(head.position % 8 == 0 && head.position <= LQI_POSITION_END && head.durable <= head.position);
    PROVE(damaged == -1 || damaged == 0 || damaged == LQI_SEGMENT_HEADER_COPY);
}

static void head_and_back(void)
{
    uint8_t bytes[LQI_SEGMENT_HEADER];
    struct lqi_segment_head in = {.first_id = nondet_u64(), .position = nondet_u64(), .salt = nondet_u64(), .durable = nondet_u64(),
                                  .created_us = nondet_i64()}, out;
    int64_t damaged;

    one_hash = true;
    the_hash = nondet_u64();
    ASSUME(in.first_id >= 1 && in.first_id < LQI_ID_END);
    ASSUME(in.position % 8 == 0 && in.position <= LQI_POSITION_END && in.durable <= in.position);
    lqi_segment_head_encode(bytes, &in);
    PROVE(lqi_segment_head_decode(bytes, sizeof bytes, "", in.uuid, &out, &damaged) == LQ_OK);
    PROVE(out.first_id == in.first_id && out.position == in.position && out.salt == in.salt);
    PROVE(out.durable == in.durable && out.created_us == in.created_us && damaged == -1);
}

static void decode_any_end(void)
{
    uint64_t file_size = nondet_u64();
    struct lqi_segment_head head = {.first_id = nondet_u64(), .position = nondet_u64(), .salt = nondet_u64()};
    struct lqi_segment_end end;

    ASSUME(head.first_id >= 1 && head.position % 8 == 0 && head.position < LQI_ID_END);
    if (!lqi_segment_end_decode(any_bytes(LQI_SEGMENT_TRAILER), file_size, &head, &end)) return;
    PROVE(end.end >= head.position && end.end % 8 == 0 && end.salt == head.salt);
    PROVE(end.next_id >= head.first_id);
    /* Records, index and trailer are the file, to the byte. */
    PROVE(file_size >= LQI_SEGMENT_HEADER + LQI_SEGMENT_TRAILER);
    PROVE(file_size - LQI_SEGMENT_HEADER - LQI_SEGMENT_TRAILER >= (uint64_t)end.index_count * LQI_INDEX_ENTRY);
    PROVE(end.end - head.position ==
          file_size - LQI_SEGMENT_HEADER - LQI_SEGMENT_TRAILER - (uint64_t)end.index_count * LQI_INDEX_ENTRY);
}

static void end_and_back(void)
{
    uint8_t bytes[LQI_INDEX_ENTRY + LQI_SEGMENT_TRAILER];
    struct lqi_index_entry index = {nondet_u64(), nondet_i64(), nondet_u64()}, entry;
    struct lqi_segment_head head = {.first_id = nondet_u64(), .position = nondet_u64(), .salt = nondet_u64()};
    struct lqi_segment_end in = {.end = nondet_u64(), .next_id = nondet_u64(), .salt = head.salt, .first_time_us = nondet_i64(),
                                 .last_time_us = nondet_i64(), .index_count = 1}, out;

    one_hash = true;
    the_hash = nondet_u64();
    ASSUME(head.position % 8 == 0 && in.end % 8 == 0 && in.end >= head.position && in.end <= LQI_POSITION_END);
    ASSUME(in.next_id >= head.first_id && in.next_id < LQI_ID_END);
    lqi_segment_end_encode(bytes, &index, &in);
    uint64_t file_size = LQI_SEGMENT_HEADER + (in.end - head.position) + sizeof bytes;
    PROVE(lqi_segment_end_decode(bytes + LQI_INDEX_ENTRY, file_size, &head, &out));
    PROVE(out.end == in.end && out.next_id == in.next_id && out.salt == in.salt && out.index_count == 1);
    PROVE(out.first_time_us == in.first_time_us && out.last_time_us == in.last_time_us && out.index_check == in.index_check);
    lqi_index_entry_decode(bytes, &entry);
    PROVE(entry.first_id == index.first_id && entry.time_us == index.time_us && entry.position == index.position);
}

void proof(void)
{
#if defined(HEAD)
    decode_any_head();
#elif defined(HEAD_ROUND_TRIP)
    head_and_back();
#elif defined(END)
    decode_any_end();
#else
    end_and_back();
#endif
}
