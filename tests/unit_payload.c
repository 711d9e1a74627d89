/* The payload of a record: messages to bytes and back, whatever the bytes say. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "bytes.h"
#include "record.h"
#include "support/hex.h"
#include "support/random64.h"

static void assert_part(const void *is, size_t is_size, const void *should, size_t should_size)
{
    assert_int_equal(is_size, should_size);
    assert_non_null(is);
    if (is_size) assert_memory_equal(is, should, is_size);
}

/* Encodes into a block of the exact size, so that a sanitizer sees one byte too many. */
static uint8_t *encoded(const lq_message *messages, size_t count, uint32_t *size_out, uint8_t *flags_out)
{
    assert_int_equal(lqi_payload_size(messages, count, LQI_MESSAGE_MAX, size_out, flags_out), LQ_OK);
    uint8_t *bytes = malloc(*size_out ? *size_out : 1);
    assert_non_null(bytes);
    lqi_payload_encode(bytes, messages, count, *flags_out);
    return bytes;
}

static void assert_comes_back(const lq_message *messages, size_t count)
{
    struct lqi_payload payload;
    lq_message message;
    uint32_t size;
    uint8_t flags;

    uint8_t *bytes = encoded(messages, count, &size, &flags);
    assert_true(lqi_payload_open(&payload, bytes, size, (uint32_t)count, flags));
    for (size_t i = 0; i < count; i++) {
        assert_true(lqi_payload_next(&payload, &message));
        assert_part(message.key, message.key_size, messages[i].key, messages[i].key_size);
        assert_part(message.headers, message.headers_size, messages[i].headers, messages[i].headers_size);
        assert_part(message.data, message.size, messages[i].data, messages[i].size);
    }
    assert_false(lqi_payload_next(&payload, &message));
    assert_int_equal(payload.offset, size);
    free(bytes);
}

static const lq_message three[] = {
    {.data = "body one", .size = 8, .key = "k1", .key_size = 2, .headers = "h", .headers_size = 1},
    {.data = NULL, .size = 0},
    {.data = "third", .size = 5, .headers = "a=b", .headers_size = 3},
};

static void a_payload_has_these_bytes(void **state)
{
    (void)state;
    uint32_t size;
    uint8_t flags, *bytes = encoded(three, 3, &size, &flags);

    assert_int_equal(flags, 0);
    hex_assert_equal(bytes, size,
                     "08000000 0200 0100  00000000 0000 0000  05000000 0000 0300"
                     "6b31 68 626f6479206f6e65"
                     "613d62 7468697264");
    free(bytes);
}

static void a_lone_payload_is_its_body(void **state)
{
    (void)state;
    const lq_message message = {.data = "hello", .size = 5};
    uint32_t size;
    uint8_t flags, *bytes = encoded(&message, 1, &size, &flags);

    assert_int_equal(flags, LQI_RECORD_LONE);
    hex_assert_equal(bytes, size, "68656c6c6f");
    free(bytes);
}

static void messages_of_all_shapes_come_back(void **state)
{
    (void)state;
    static uint8_t bytes[LQ_KEY_MAX + 64];
    const lq_message shapes[] = {
        {.size = 0},
        {.data = bytes, .size = 1},
        {.data = bytes, .size = 4000},
        {.key = bytes, .key_size = 1},
        {.key = bytes + 1, .key_size = LQ_KEY_MAX},
        {.headers = bytes + 2, .headers_size = LQ_KEY_MAX, .data = bytes, .size = 3},
        {.key = bytes, .key_size = 7, .headers = bytes + 9, .headers_size = 8, .data = bytes + 20, .size = 9},
    };
    const size_t count = sizeof shapes / sizeof *shapes;

    for (size_t i = 0; i < sizeof bytes; i++) bytes[i] = (uint8_t)random64();
    for (size_t from = 0; from < count; from++)
        for (size_t to = from + 1; to <= count; to++) assert_comes_back(shapes + from, to - from);
}

static void the_largest_batch_comes_back(void **state)
{
    (void)state;
    lq_message *messages = calloc(LQ_BATCH_MAX, sizeof *messages);

    assert_non_null(messages);
    assert_comes_back(messages, LQ_BATCH_MAX); /* all empty */
    for (int i = 0; i < LQ_BATCH_MAX; i += 3) {
        messages[i].data = &messages[i].size;
        messages[i].size = sizeof messages[i].size;
    }
    assert_comes_back(messages, LQ_BATCH_MAX);
    free(messages);
}

static void messages_that_are_too_large_are_refused(void **state)
{
    (void)state;
    /* Only the sizes are looked at. */
    const struct {
        lq_message message;
        uint64_t size_max;
        int code;
    } cases[] = {
        {{.data = "", .size = 10}, 10, LQ_OK},
        {{.data = "", .size = 11}, 10, LQ_ETOOBIG},
        {{.data = "", .size = 9, .key = "", .key_size = 1}, 10, LQ_OK},
        {{.data = "", .size = 9, .key = "", .key_size = 1, .headers = "", .headers_size = 1}, 10, LQ_ETOOBIG},
        {{.data = "", .size = LQI_MESSAGE_MAX}, LQI_MESSAGE_MAX, LQ_OK},
        {{.data = "", .size = LQI_MESSAGE_MAX + 1u}, LQI_MESSAGE_MAX, LQ_ETOOBIG},
        {{.data = "", .size = LQI_MESSAGE_MAX + 1u}, UINT64_MAX, LQ_ETOOBIG},
        {{.data = "", .size = SIZE_MAX}, UINT64_MAX, LQ_ETOOBIG},
        {{.data = "", .size = SIZE_MAX, .key = "", .key_size = 2}, LQI_MESSAGE_MAX, LQ_ETOOBIG},
        {{.key = "", .key_size = LQ_KEY_MAX}, LQI_MESSAGE_MAX, LQ_OK},
        {{.key = "", .key_size = LQ_KEY_MAX + 1}, LQI_MESSAGE_MAX, LQ_ETOOBIG},
        {{.key = "", .key_size = SIZE_MAX}, LQI_MESSAGE_MAX, LQ_ETOOBIG},
        {{.headers = "", .headers_size = LQ_KEY_MAX + 1}, LQI_MESSAGE_MAX, LQ_ETOOBIG},
        {{.headers = "", .headers_size = SIZE_MAX}, LQI_MESSAGE_MAX, LQ_ETOOBIG},
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint32_t size = 77;
        uint8_t flags = 77;
        int code = lqi_payload_size(&cases[i].message, 1, cases[i].size_max, &size, &flags);
        assert_int_equal(code, cases[i].code);
        if (code) assert_true(size == 77 && flags == 77);
    }
}

static void a_batch_over_1_gib_is_refused(void **state)
{
    (void)state;
    lq_message messages[5];
    uint32_t size;
    uint8_t flags;

    for (int i = 0; i < 5; i++) messages[i] = (lq_message){.data = "", .size = LQI_MESSAGE_MAX / 4};
    assert_int_equal(lqi_payload_size(messages, 4, LQI_MESSAGE_MAX, &size, &flags), LQ_OK);
    assert_int_equal(size, LQI_MESSAGE_MAX + 4 * LQI_MESSAGE_ENTRY);
    messages[4].size = 1;
    assert_int_equal(lqi_payload_size(messages, 5, LQI_MESSAGE_MAX, &size, &flags), LQ_ETOOBIG);
    messages[4].size = 0;
    messages[4].key = "";
    messages[4].key_size = 1;
    assert_int_equal(lqi_payload_size(messages, 5, LQI_MESSAGE_MAX, &size, &flags), LQ_ETOOBIG);
}

static void senseless_messages_are_refused(void **state)
{
    (void)state;
    const lq_message fine = {.data = "x", .size = 1}, senseless[] = {{.size = 1}, {.key_size = 1}, {.headers_size = 1}};
    uint32_t size;
    uint8_t flags;

    for (size_t i = 0; i < sizeof senseless / sizeof *senseless; i++)
        assert_int_equal(lqi_payload_size(&senseless[i], 1, LQI_MESSAGE_MAX, &size, &flags), LQ_EINVAL);
    assert_int_equal(lqi_payload_size(&fine, 0, LQI_MESSAGE_MAX, &size, &flags), LQ_EINVAL);
    assert_int_equal(lqi_payload_size(&fine, LQ_BATCH_MAX + 1, LQI_MESSAGE_MAX, &size, &flags), LQ_EINVAL);
}

static void a_payload_of_another_length_is_refused(void **state)
{
    (void)state;
    struct lqi_payload payload;
    uint32_t size;
    uint8_t flags, *bytes = encoded(three, 3, &size, &flags), *more = calloc(1, size + 8u);

    assert_non_null(more);
    memcpy(more, bytes, size);
    for (uint32_t cut = 0; cut < size; cut++) {
        uint8_t *shorter = malloc(cut ? cut : 1);
        memcpy(shorter, bytes, cut);
        assert_false(lqi_payload_open(&payload, shorter, cut, 3, flags));
        free(shorter);
    }
    for (uint32_t extra = 1; extra <= 8; extra++) assert_false(lqi_payload_open(&payload, more, size + extra, 3, flags));
    assert_true(lqi_payload_open(&payload, more, size, 3, flags));
    free(more);
    free(bytes);
}

/* Behind it is memory that nobody may read. */
static void a_table_that_is_longer_than_the_payload_is_not_read(void **state)
{
    (void)state;
    struct lqi_payload payload;
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    uint8_t *pages = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    assert_true(pages != MAP_FAILED);
    assert_int_equal(mprotect(pages + page, page, PROT_NONE), 0);
    assert_false(lqi_payload_open(&payload, pages + page - LQI_MESSAGE_ENTRY, LQI_MESSAGE_ENTRY, 2, 0));
    assert_true(lqi_payload_open(&payload, pages + page - LQI_MESSAGE_ENTRY, LQI_MESSAGE_ENTRY, 1, 0));
    munmap(pages, 2 * page);
}

/* Even where the sizes add up. */
static void a_payload_of_none_or_too_many_messages_is_refused(void **state)
{
    (void)state;
    struct lqi_payload payload;
    uint8_t *zeroes = calloc(LQ_BATCH_MAX + 1, LQI_MESSAGE_ENTRY);

    assert_non_null(zeroes);
    for (uint32_t count = LQ_BATCH_MAX - 1; count <= LQ_BATCH_MAX + 1; count++)
        assert_int_equal(lqi_payload_open(&payload, zeroes, (size_t)count * LQI_MESSAGE_ENTRY, count, 0), count <= LQ_BATCH_MAX);
    assert_false(lqi_payload_open(&payload, zeroes, 0, 0, 0));
    free(zeroes);
}

static void a_payload_of_another_count_is_refused(void **state)
{
    (void)state;
    static const uint32_t counts[] = {0, 2, 4, LQ_BATCH_MAX, LQ_BATCH_MAX + 1, UINT32_MAX / 8, UINT32_MAX};
    struct lqi_payload payload;
    uint32_t size;
    uint8_t flags, *bytes = encoded(three, 3, &size, &flags);

    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        assert_false(lqi_payload_open(&payload, bytes, size, counts[i], flags));
        assert_false(lqi_payload_open(&payload, bytes, size, counts[i], LQI_RECORD_LONE));
    }
    free(bytes);
}

static void a_table_that_is_wrong_by_a_bit_is_refused(void **state)
{
    (void)state;
    struct lqi_payload payload;
    uint32_t size;
    uint8_t flags, *bytes = encoded(three, 3, &size, &flags);

    for (unsigned bit = 0; bit < 3 * LQI_MESSAGE_ENTRY * 8; bit++) {
        bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
        assert_false(lqi_payload_open(&payload, bytes, size, 3, flags));
        bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    free(bytes);
}

static void lengths_that_overflow_are_refused(void **state)
{
    (void)state;
    struct lqi_payload payload;
    uint8_t bytes[64];

    /* 2^32 - 1 of body, and more of key, would be a small number in 32 bits. */
    memset(bytes, 0xff, sizeof bytes);
    for (uint32_t count = 1; count <= 8; count++) assert_false(lqi_payload_open(&payload, bytes, sizeof bytes, count, 0));
}

static void a_payload_with_unknown_flags_is_not_read(void **state)
{
    (void)state;
    struct lqi_payload payload;

    assert_true(lqi_payload_open(&payload, (const uint8_t *)"x", 1, 1, LQI_RECORD_LONE | LQI_RECORD_PACKED));
    for (int bit = 2; bit < 8; bit++)
        assert_false(lqi_payload_open(&payload, (const uint8_t *)"x", 1, 1, (uint8_t)(LQI_RECORD_LONE | 1 << bit)));
}

static void an_empty_part_is_no_null(void **state)
{
    (void)state;
    struct lqi_payload payload;
    lq_message message;

    assert_true(lqi_payload_open(&payload, NULL, 0, 1, LQI_RECORD_LONE));
    assert_true(lqi_payload_next(&payload, &message));
    assert_part(message.data, message.size, "", 0);
    assert_part(message.key, message.key_size, "", 0);
    assert_part(message.headers, message.headers_size, "", 0);
}

static void skipping_arrives_where_walking_does(void **state)
{
    (void)state;
    uint32_t size;
    uint8_t flags, *bytes = encoded(three, 3, &size, &flags);

    for (uint32_t from = 0; from <= 3; from++) {
        for (uint32_t to = 0; to <= 5; to++) {
            struct lqi_payload walked, skipped;
            lq_message message;
            assert_true(lqi_payload_open(&walked, bytes, size, 3, flags));
            for (uint32_t i = 0; i < from; i++) lqi_payload_next(&walked, &message);
            skipped = walked;
            lqi_payload_skip_to(&skipped, to);
            while (walked.index < to && lqi_payload_next(&walked, &message)) continue;
            assert_int_equal(walked.index, skipped.index);
            assert_int_equal(walked.offset, skipped.offset);
        }
    }
    free(bytes);
}

static void a_lone_message_can_be_skipped(void **state)
{
    (void)state;
    struct lqi_payload payload;
    lq_message message;

    assert_true(lqi_payload_open(&payload, (const uint8_t *)"hello", 5, 1, LQI_RECORD_LONE));
    lqi_payload_skip_to(&payload, 0);
    assert_int_equal(payload.index, 0);
    lqi_payload_skip_to(&payload, 9);
    assert_false(lqi_payload_next(&payload, &message));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_payload_has_these_bytes),
        cmocka_unit_test(a_lone_payload_is_its_body),
        cmocka_unit_test(messages_of_all_shapes_come_back),
        cmocka_unit_test(the_largest_batch_comes_back),
        cmocka_unit_test(messages_that_are_too_large_are_refused),
        cmocka_unit_test(a_batch_over_1_gib_is_refused),
        cmocka_unit_test(senseless_messages_are_refused),
        cmocka_unit_test(a_payload_of_another_length_is_refused),
        cmocka_unit_test(a_table_that_is_longer_than_the_payload_is_not_read),
        cmocka_unit_test(a_payload_of_none_or_too_many_messages_is_refused),
        cmocka_unit_test(a_payload_of_another_count_is_refused),
        cmocka_unit_test(a_table_that_is_wrong_by_a_bit_is_refused),
        cmocka_unit_test(lengths_that_overflow_are_refused),
        cmocka_unit_test(a_payload_with_unknown_flags_is_not_read),
        cmocka_unit_test(an_empty_part_is_no_null),
        cmocka_unit_test(skipping_arrives_where_walking_does),
        cmocka_unit_test(a_lone_message_can_be_skipped),
    };
    return cmocka_run_group_tests_name("record", tests, NULL, NULL);
}
