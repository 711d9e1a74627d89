/* Records: what is framed is read back, what was not framed is never believed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "bytes.h"
#include "checksum.h"
#include "record.h"
#include "support/hex.h"
#include "support/random64.h"

#define SALT 0x1122334455667788u

static const struct lqi_record sample = {
    .position = 0x10000,
    .durable = 0xff00,
    .first_id = 1000,
    .time_us = 1700000000000000,
    .payload_check = 0x0123456789abcdef,
    .size = 300,
    .count = 2,
    .kind = LQI_RECORD_MESSAGES,
};

static void assert_same(const struct lqi_record *a, const struct lqi_record *b)
{
    assert_int_equal(a->position, b->position);
    assert_int_equal(a->durable, b->durable);
    assert_int_equal(a->first_id, b->first_id);
    assert_int_equal(a->time_us, b->time_us);
    assert_int_equal(a->payload_check, b->payload_check);
    assert_int_equal(a->size, b->size);
    assert_int_equal(a->count, b->count);
    assert_int_equal(a->kind, b->kind);
    assert_int_equal(a->flags, b->flags);
}

static bool decodes(const uint8_t *bytes)
{
    struct lqi_record record;
    return lqi_record_decode(bytes, sample.position, SALT, &record);
}

/* For headers that our own encoder would refuse to make. */
static void sign(uint8_t *bytes)
{
    uint64_t size = lqi_get32(bytes + 4);
    lqi_put32(bytes, (uint32_t)lqi_checksum_at(bytes + 8, LQI_RECORD_HEADER - 8, SALT ^ sample.position ^ size << 32));
}

/* ---- headers ----------------------------------------------------------- */

static void a_header_has_these_bytes(void **state)
{
    (void)state;
    uint8_t bytes[LQI_RECORD_HEADER];

    lqi_record_encode(bytes, &sample, SALT);
    hex_assert_equal(bytes, sizeof bytes,
                     "668101ff 2c010000 0200 01 00 20000000 e803000000000000"
                     "00401e18240a0600 efcdab8967452301");
}

static void a_mark_has_these_bytes(void **state)
{
    (void)state;
    uint8_t bytes[LQI_RECORD_HEADER];
    const struct lqi_record mark = {.position = 64, .durable = 64, .first_id = 7, .time_us = -1,
                                    .payload_check = lqi_checksum("", 0), .kind = LQI_RECORD_MARK};

    lqi_record_encode(bytes, &mark, SALT);
    hex_assert_equal(bytes, sizeof bytes,
                     "5343f995 00000000 0000 02 00 00000000 0700000000000000"
                     "ffffffffffffffff c294d3380580062d");
}

static void what_is_framed_is_read_back(void **state)
{
    (void)state;
    for (int i = 0; i < 10000; i++) {
        uint8_t bytes[LQI_RECORD_HEADER];
        uint64_t salt = random64(), place = (random64() >> 8) & ~(uint64_t)7;
        struct lqi_record out, in = {
            .position = place + 0x800000000,
            .durable = place + 8 + (random64() & 0x7ffffffc0),
            .first_id = random64() >> 2 | 1,
            .time_us = (int64_t)random64(),
            .payload_check = random64(),
            .size = (uint32_t)random64() >> 3,
            .count = (uint16_t)(random64() | 1),
            .kind = LQI_RECORD_MESSAGES,
            .flags = LQI_RECORD_PACKED,
        };
        lqi_record_encode(bytes, &in, salt);
        assert_true(lqi_record_decode(bytes, in.position, salt, &out));
        assert_same(&in, &out);
    }
}

static void zeroes_are_no_record(void **state)
{
    (void)state;
    const uint8_t zeroes[LQI_RECORD_HEADER] = {0};
    struct lqi_record record;

    for (uint64_t position = 0; position < 1 << 20; position += 8) {
        assert_false(lqi_record_decode(zeroes, position, SALT, &record));
        assert_false(lqi_record_decode(zeroes, position, 0, &record));
    }
}

static void zeroes_with_a_right_checksum_are_no_record_either(void **state)
{
    (void)state;
    uint8_t bytes[LQI_RECORD_HEADER] = {0};

    sign(bytes);
    assert_false(decodes(bytes));
}

static void every_flipped_bit_of_a_header_is_noticed(void **state)
{
    (void)state;
    uint8_t bytes[LQI_RECORD_HEADER];

    lqi_record_encode(bytes, &sample, SALT);
    for (unsigned bit = 0; bit < sizeof bytes * 8; bit++) {
        bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
        assert_false(decodes(bytes));
        bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    assert_true(decodes(bytes));
}

static void a_header_that_was_half_written_is_noticed(void **state)
{
    (void)state;
    uint8_t bytes[LQI_RECORD_HEADER], torn[LQI_RECORD_HEADER];

    lqi_record_encode(bytes, &sample, SALT);
    for (unsigned size = 0; size < sizeof bytes; size++) {
        memset(torn, 0, sizeof torn);
        memcpy(torn, bytes, size);
        assert_false(decodes(torn));
        /* The other way round: the end reached the disk, the beginning did not. */
        memset(torn, 0, size + 1);
        memcpy(torn + size + 1, bytes + size + 1, sizeof bytes - size - 1);
        assert_false(decodes(torn));
    }
}

static void a_record_of_another_place_does_not_verify(void **state)
{
    (void)state;
    uint8_t bytes[LQI_RECORD_HEADER];
    struct lqi_record record;

    lqi_record_encode(bytes, &sample, SALT);
    for (uint64_t position = 0; position < 0x20000; position += 8)
        assert_int_equal(lqi_record_decode(bytes, position, SALT, &record), position == sample.position);
}

static void a_record_of_another_segment_does_not_verify(void **state)
{
    (void)state;
    uint8_t bytes[LQI_RECORD_HEADER];
    struct lqi_record record;

    lqi_record_encode(bytes, &sample, SALT);
    for (int bit = 0; bit < 64; bit++)
        assert_false(lqi_record_decode(bytes, sample.position, SALT ^ (uint64_t)1 << bit, &record));
}

static void headers_whose_fields_disagree_are_refused(void **state)
{
    (void)state;
    static const struct lqi_record senseless[] = {
        {.kind = LQI_RECORD_MESSAGES, .count = 0, .first_id = 1},
        {.kind = LQI_RECORD_MESSAGES, .count = 1, .first_id = 0},
        {.kind = LQI_RECORD_MESSAGES, .count = 1, .first_id = INT64_MAX},
        {.kind = LQI_RECORD_MESSAGES, .count = 65535, .first_id = INT64_MAX - 65534},
        {.kind = LQI_RECORD_MESSAGES, .count = 1, .first_id = UINT64_MAX},
        {.kind = LQI_RECORD_MESSAGES, .count = 2, .first_id = 1, .flags = LQI_RECORD_LONE},
        {.kind = LQI_RECORD_MARK, .count = 1, .first_id = 1},
        {.kind = LQI_RECORD_MARK, .size = 8, .first_id = 1},
        {.kind = LQI_RECORD_MARK, .first_id = 0},
        {.kind = LQI_RECORD_MARK, .first_id = UINT64_MAX},
        {.kind = 0, .count = 1, .first_id = 1},
    };

    for (size_t i = 0; i < sizeof senseless / sizeof *senseless; i++) {
        uint8_t bytes[LQI_RECORD_HEADER];
        struct lqi_record record = senseless[i];
        record.position = sample.position;
        lqi_record_encode(bytes, &record, SALT);
        assert_false(decodes(bytes));
    }
}

static void a_size_over_the_most_is_refused(void **state)
{
    (void)state;
    static const uint32_t sizes[] = {LQI_PAYLOAD_MAX + 1, INT32_MAX, UINT32_MAX - 7, UINT32_MAX};
    uint8_t bytes[LQI_RECORD_HEADER];

    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        for (uint8_t kind = 1; kind < 4; kind++) {
            lqi_record_encode(bytes, &sample, SALT);
            bytes[10] = kind;
            lqi_put32(bytes + 4, sizes[i]);
            sign(bytes);
            assert_false(decodes(bytes));
        }
    }
}

static void the_last_id_that_can_be_given_is_accepted(void **state)
{
    (void)state;
    uint8_t bytes[LQI_RECORD_HEADER];
    struct lqi_record record = sample;

    record.count = 65535;
    record.first_id = (uint64_t)INT64_MAX - 65535;
    lqi_record_encode(bytes, &record, SALT);
    assert_true(decodes(bytes));
}

static void a_record_of_an_unknown_kind_can_be_stepped_over(void **state)
{
    (void)state;
    uint8_t bytes[LQI_RECORD_HEADER];
    struct lqi_record record = {.position = sample.position, .size = 1234, .kind = 200, .flags = 0xff}, out;

    lqi_record_encode(bytes, &record, SALT);
    assert_true(lqi_record_decode(bytes, record.position, SALT, &out));
    assert_same(&record, &out);
}

/* A header may verify and say what nobody of ours writes. */
static void fields_that_do_not_agree_make_no_record(void **state)
{
    (void)state;
    enum { MESSAGES = LQI_RECORD_MESSAGES, MARK = LQI_RECORD_MARK, HOLE = LQI_RECORD_HOLE, LONE = LQI_RECORD_LONE, PACKED = LQI_RECORD_PACKED };
    static const struct {
        bool agree;
        uint8_t kind, flags;
        uint16_t count;
        uint32_t size;
        uint64_t first_id, next_id; /* a hole says where it ends */
    } cases[] = {
        {true, MESSAGES, LONE, 1, 5, 1, 0}, {true, MESSAGES, 0, 1, 8, 1, 0}, {true, MESSAGES, PACKED, UINT16_MAX, LQI_PAYLOAD_MAX, 7, 0},
        {false, MESSAGES, 0, 0, 5, 1, 0}, {false, MESSAGES, LONE, 1, 5, 0, 0}, {false, MESSAGES, LONE, 2, 5, 1, 0},
        {true, MESSAGES, 0, 9, 72, LQI_ID_END - 10, 0}, {false, MESSAGES, 0, 9, 72, LQI_ID_END - 9, 0},
        {false, MESSAGES, LONE, 1, LQI_PAYLOAD_MAX + 1, 1, 0},
        {true, MARK, 0, 0, 0, 1, 0}, {true, MARK, 0, 0, 0, LQI_ID_END - 1, 0},
        {false, MARK, 0, 0, 1, 1, 0}, {false, MARK, 0, 1, 0, 1, 0}, {false, MARK, 0, 0, 0, 0, 0}, {false, MARK, 0, 0, 0, LQI_ID_END, 0},
        {true, HOLE, 0, 0, 0, 1, 1}, {true, HOLE, 0, 0, 100, 1, LQI_ID_END - 1},
        {false, HOLE, 0, 1, 0, 1, 2}, {false, HOLE, LONE, 0, 0, 1, 2}, {false, HOLE, 0, 0, 0, 0, 2}, {false, HOLE, 0, 0, 0, 5, 4},
        {false, HOLE, 0, 0, 0, 1, LQI_ID_END},
        {false, 0, 0, 1, 8, 1, 0}, {true, 200, 77, 0, 3, 0, 0}, /* what a newer library may have written is stepped over */
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint8_t bytes[LQI_RECORD_HEADER];
        struct lqi_record record = {.position = 64, .first_id = cases[i].first_id, .payload_check = cases[i].next_id, .count = cases[i].count,
                                    .kind = cases[i].kind, .flags = cases[i].flags}, out;
        lqi_record_encode(bytes, &record, SALT);
        lqi_put32(bytes + 4, cases[i].size);
        if (lqi_record_fields(bytes, &out) != cases[i].agree) fail_msg("case %zu", i);
    }
}

static void the_durable_mark_never_claims_more_than_it_was_given(void **state)
{
    (void)state;
    const uint64_t far = (uint64_t)1 << 40;
    const struct {
        uint64_t position, durable, read_back;
    } cases[] = {
        {far, 0, 0},
        {far, far, far},
        {far, far + 8, far},                     /* behind the record itself: up to it */
        {far, far - 8, far - 8},
        {far, far - 1, far - 8},                 /* no multiple of 8: less, not more */
        {far, far - 7, far - 8},
        {far, far - 8 * (uint64_t)0xfffffffe, far - 8 * (uint64_t)0xfffffffe},
        {far, far - 8 * (uint64_t)0xffffffff, 0}, /* too far back to be said */
        {far, far - 8 * (uint64_t)0x100000005, 0},
        {far, 8, 0},
        {0, 0, 0},
        {8, 8, 8},
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint8_t bytes[LQI_RECORD_HEADER];
        struct lqi_record record = sample, out;
        record.position = cases[i].position;
        record.durable = cases[i].durable;
        lqi_record_encode(bytes, &record, SALT);
        assert_int_equal(lqi_get32(bytes + 12) == UINT32_MAX, cases[i].read_back == 0); /* which is to say: no idea */
        assert_true(lqi_record_decode(bytes, record.position, SALT, &out));
        assert_int_equal(out.durable, cases[i].read_back);
    }
}

static void a_durable_mark_before_the_beginning_is_refused(void **state)
{
    (void)state;
    uint8_t bytes[LQI_RECORD_HEADER];

    lqi_record_encode(bytes, &sample, SALT);
    lqi_put32(bytes + 12, (uint32_t)(sample.position / 8 + 1));
    sign(bytes);
    assert_false(decodes(bytes));
    lqi_put32(bytes + 12, (uint32_t)(sample.position / 8));
    sign(bytes);
    assert_true(decodes(bytes));
}

static void a_record_takes_whole_units_of_8_bytes(void **state)
{
    (void)state;
    assert_int_equal(lqi_record_span(0), 40);
    assert_int_equal(lqi_record_span(1), 48);
    assert_int_equal(lqi_record_span(8), 48);
    assert_int_equal(lqi_record_span(9), 56);
    assert_int_equal(lqi_record_span(UINT32_MAX), (uint64_t)UINT32_MAX + 1 + 40);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_header_has_these_bytes),
        cmocka_unit_test(a_mark_has_these_bytes),
        cmocka_unit_test(what_is_framed_is_read_back),
        cmocka_unit_test(zeroes_are_no_record),
        cmocka_unit_test(zeroes_with_a_right_checksum_are_no_record_either),
        cmocka_unit_test(every_flipped_bit_of_a_header_is_noticed),
        cmocka_unit_test(a_header_that_was_half_written_is_noticed),
        cmocka_unit_test(a_record_of_another_place_does_not_verify),
        cmocka_unit_test(a_record_of_another_segment_does_not_verify),
        cmocka_unit_test(headers_whose_fields_disagree_are_refused),
        cmocka_unit_test(a_size_over_the_most_is_refused),
        cmocka_unit_test(the_last_id_that_can_be_given_is_accepted),
        cmocka_unit_test(a_record_of_an_unknown_kind_can_be_stepped_over),
        cmocka_unit_test(fields_that_do_not_agree_make_no_record),
        cmocka_unit_test(the_durable_mark_never_claims_more_than_it_was_given),
        cmocka_unit_test(a_durable_mark_before_the_beginning_is_refused),
        cmocka_unit_test(a_record_takes_whole_units_of_8_bytes),
    };
    return cmocka_run_group_tests_name("record", tests, NULL, NULL);
}
