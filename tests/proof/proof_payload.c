/* The payload of a record, of all bytes and all messages: record.c.
 *
 *   holds  -DWALK
 *   holds  -DSIZE
 *   holds  -DROUND_TRIP
 *   fails  -DWALK  record.c  s/left != 0) return false/left > 4) return false/
 *   fails  -DWALK  record.c  s/if (table > size) return false;//
 *   fails  -DSIZE  record.c  s/message->size > size_max || extra/extra/
 *   fails  -DROUND_TRIP  record.c  s/bytes + count \* LQI_MESSAGE_ENTRY;/bytes + LQI_MESSAGE_ENTRY;/
 *   fails  -DROUND_TRIP  record.c  s/put16(entry + 6, (uint16_t)message->headers_size/put16(entry + 6, (uint16_t)message->key_size/
 *
 * cbmc: --unwind 4
 */
#include "proof.h"

#include "bytes.h"

/* CBMC's own takes any size, and its time for that. */
static void copy_bytes(void *to, const void *from, size_t size)
{
    PROVE(__CPROVER_w_ok(to, size) && __CPROVER_r_ok(from, size));
    for (size_t i = 0; i < size; i++) ((uint8_t *)to)[i] = ((const uint8_t *)from)[i];
}

#ifdef ROUND_TRIP
#define memcpy copy_bytes
#endif
#include "record.c"
#undef memcpy

static void prove_inside(const struct lqi_payload *payload, const void *part, size_t size)
{
    size_t at = (size_t)((const uint8_t *)part - payload->bytes);
    PROVE(at <= payload->size && size <= payload->size - at);
}

/* Any payload of up to 32 bytes, and up to 2 messages. */
static void walk_anything(void)
{
    size_t size = nondet_size();
    uint32_t count = nondet_u32(), skip = nondet_u32(), seen = 0;
    struct lqi_payload payload;
    lq_message message;

    ASSUME(size <= 32 && count <= 2);
    if (!lqi_payload_open(&payload, any_bytes(size), size, count, nondet_u8())) return;
    PROVE(payload.count == count && count >= 1);
    if (nondet_bool()) {
        lqi_payload_skip_to(&payload, skip);
        seen = payload.index;
        PROVE(seen == (skip < count ? skip : count));
    }
    while (lqi_payload_next(&payload, &message)) {
        prove_inside(&payload, message.key, message.key_size);
        prove_inside(&payload, message.headers, message.headers_size);
        prove_inside(&payload, message.data, message.size);
        seen++;
    }
    PROVE(seen == count);
    PROVE(payload.lone || payload.offset == size);
}

/* Of any size; what is to be read has `room` bytes. */
static lq_message any_message(size_t room)
{
    return (lq_message){.data = nondet_bool() ? any_bytes(room) : NULL, .size = nondet_size(),
                        .key = nondet_bool() ? any_bytes(room) : NULL, .key_size = nondet_size(),
                        .headers = nondet_bool() ? any_bytes(room) : NULL, .headers_size = nondet_size()};
}

/* Of up to 3 messages, each part of any size there is. */
static void size_anything(void)
{
    lq_message messages[3] = {any_message(1), any_message(1), any_message(1)};
    size_t count = nondet_size();
    uint64_t size_max = nondet_u64(), sum = 0;
    uint32_t size;
    uint8_t flags;

    ASSUME(count <= 3);
    if (lqi_payload_size(messages, count, size_max, &size, &flags) != LQ_OK) return;
    PROVE(count >= 1);
    for (size_t i = 0; i < count; i++) {
        const lq_message *message = &messages[i];
        PROVE(message->key_size <= LQ_KEY_MAX && message->headers_size <= LQ_KEY_MAX && message->size <= LQI_MESSAGE_MAX);
        PROVE(message->size + message->key_size + message->headers_size <= size_max);
        PROVE((message->data || !message->size) && (message->key || !message->key_size) && (message->headers || !message->headers_size));
        sum += message->size + message->key_size + message->headers_size;
    }
    PROVE(flags == (count == 1 && !messages->key_size && !messages->headers_size ? LQI_RECORD_LONE : 0));
    PROVE(size == sum + (flags ? 0 : count * LQI_MESSAGE_ENTRY) && size <= LQI_PAYLOAD_MAX);
}

static void prove_same(const void *in, size_t in_size, const void *out, size_t out_size)
{
    size_t at = nondet_size();
    PROVE(in_size == out_size);
    if (at < in_size) PROVE(((const uint8_t *)in)[at] == ((const uint8_t *)out)[at]);
}

/* Up to 2 messages, each part of up to 2 bytes, of the second one of 1 at most. The room is larger than it need be, as what has a known size is proved much
 * faster; so what is behind the payload must stay as it was. */
static void payload_and_back(void)
{
    static uint8_t bytes[32];
    lq_message in[2] = {any_message(2), any_message(2)}, out;
    size_t count = nondet_size(), beyond = nondet_size();
    struct lqi_payload payload;
    uint32_t size;
    uint8_t flags;

    ASSUME(count <= 2);
    ASSUME(in[0].size <= 2 && in[0].key_size <= 2 && in[0].headers_size <= 2);
    ASSUME(in[1].size <= 1 && in[1].key_size <= 1 && in[1].headers_size <= 1);
    if (lqi_payload_size(in, count, nondet_u64(), &size, &flags) != LQ_OK) return;
    lqi_payload_encode(bytes, in, count, flags);
    if (beyond >= size && beyond < sizeof bytes) PROVE(bytes[beyond] == 0);
    PROVE(lqi_payload_open(&payload, bytes, size, (uint32_t)count, flags));
    for (size_t i = 0; i < count; i++) {
        PROVE(lqi_payload_next(&payload, &out));
        prove_same(in[i].data, in[i].size, out.data, out.size);
        prove_same(in[i].key, in[i].key_size, out.key, out.key_size);
        prove_same(in[i].headers, in[i].headers_size, out.headers, out.headers_size);
    }
    PROVE(!lqi_payload_next(&payload, &out));
}

void proof(void)
{
#if defined(WALK)
    walk_anything();
#elif defined(SIZE)
    size_anything();
#else
    payload_and_back();
#endif
}
