/* A payload: flags (1 byte), count (2 bytes), then its bytes. What can be opened is taken apart
 * and put together again. The same input also describes messages (sizes of their parts), which are
 * put together, and must come apart as they were. */
#include "bytes.h"
#include "fuzz_support.h"
#include "record.h"

static void same_part(const void *a, size_t a_size, const void *b, size_t b_size)
{
    CHECK(a_size == b_size && a != NULL);
    if (a_size) CHECK(memcmp(a, b, a_size) == 0);
}

static void put_together(const lq_message *messages, size_t count, const uint8_t *bytes, size_t size, uint8_t flags)
{
    uint32_t again_size;
    uint8_t again_flags;

    CHECK(lqi_payload_size(messages, count, LQI_MESSAGE_MAX, &again_size, &again_flags) == LQ_OK);
    /* One message without key and headers may stand in a table, but is not written so. */
    if ((again_flags ^ flags) & LQI_RECORD_LONE) {
        CHECK(again_flags == LQI_RECORD_LONE && count == 1 && size == again_size + (size_t)LQI_MESSAGE_ENTRY);
        return;
    }
    CHECK(again_size == size);
    uint8_t *again = malloc(size ? size : 1);
    CHECK(again != NULL);
    lqi_payload_encode(again, messages, count, again_flags);
    if (size) CHECK(memcmp(again, bytes, size) == 0);
    free(again);
}

static void take_apart(struct input input)
{
    uint8_t flags = (uint8_t)take(&input, 1);
    uint32_t count = (uint32_t)take(&input, 2);
    uint8_t *bytes = copy_of(input.data, input.size);
    struct lqi_payload payload;

    if (lqi_payload_open(&payload, bytes, input.size, count, flags)) {
        lq_message *messages = calloc(count, sizeof *messages);
        CHECK(messages != NULL && count >= 1 && count <= LQ_BATCH_MAX);
        for (uint32_t i = 0; i < count; i++) CHECK(lqi_payload_next(&payload, &messages[i]));
        CHECK(!lqi_payload_next(&payload, messages) && payload.offset == input.size);
        put_together(messages, count, bytes, input.size, flags);
        free(messages);
    }
    free(bytes);
}

static void round_trip(struct input input)
{
    static uint8_t bytes[70000];
    lq_message messages[64], message;
    struct lqi_payload payload;
    uint32_t size, count = 1 + (uint32_t)take(&input, 1) % 64;
    uint8_t flags;

    for (uint32_t i = 0; i < count; i++) {
        uint64_t shape = take(&input, 1);
        messages[i] = (lq_message){.data = bytes + i, .key = bytes + 100 + i, .headers = bytes + 200 + i};
        if (shape & 1) messages[i].size = (size_t)take(&input, 1);
        if (shape & 2) messages[i].key_size = (size_t)take(&input, 1);
        if (shape & 4) messages[i].headers_size = (size_t)take(&input, 1);
        if (shape == 0x89) messages[i].size += 65000;
        if (shape == 0x8a) messages[i].key_size += 65300; /* LQ_KEY_MAX, and more */
        if (shape == 0x8c) messages[i].headers_size += 65300;
    }
    for (size_t i = 0; i < 600; i++) bytes[i] = (uint8_t)i;

    if (lqi_payload_size(messages, count, 1 << 17, &size, &flags) != LQ_OK || size > 1 << 18) return;
    uint8_t *encoded = malloc(size ? size : 1);
    CHECK(encoded != NULL);
    lqi_payload_encode(encoded, messages, count, flags);
    CHECK(lqi_payload_open(&payload, encoded, size, count, flags));
    for (uint32_t i = 0; i < count; i++) {
        CHECK(lqi_payload_next(&payload, &message));
        same_part(message.data, message.size, messages[i].data, messages[i].size);
        same_part(message.key, message.key_size, messages[i].key, messages[i].key_size);
        same_part(message.headers, message.headers_size, messages[i].headers, messages[i].headers_size);
    }
    free(encoded);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input input = {data, size};

    take_apart(input);
    round_trip(input);
    return 0;
}
