/* The bytes of a segment: whose it is, where it ends, and what is believed of damaged ones. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "bytes.h"
#include "checksum.h"
#include "support/hex.h"
#include "support/sample_segment.h"

/* ---- header ------------------------------------------------------------ */

static int decode(const uint8_t *bytes, size_t size, struct lqi_segment_head *head, int64_t *damaged)
{
    return lqi_segment_head_decode(bytes, size, "log/x.seg", sample.uuid, head, damaged);
}

/* Both copies with a right checksum, whatever is in copy A. */
static void sign(uint8_t bytes[LQI_SEGMENT_HEADER])
{
    lqi_put64(bytes + 120, lqi_checksum(bytes, 120));
    memcpy(bytes + LQI_SEGMENT_HEADER_COPY, bytes, LQI_SEGMENT_HEADER_COPY);
}

static void a_header_has_these_bytes(void **state)
{
    (void)state;
    uint8_t bytes[LQI_SEGMENT_HEADER];

    lqi_segment_head_encode(bytes, &sample);
    hex_assert_equal(bytes, LQI_SEGMENT_HEADER_COPY,
                     "4c517365 670d0a00  01000000 00000000"
                     "00000000 00000000  30313233 34353637"
                     "38396162 63646500  e9030000 00000000"
                     "00000400 00000000  88776655 44332211"
                     "00401e18 240a0600  f8ff0300 00000000"
                     "00000000 00000000  00000000 00000000"
                     "00000000 00000000  00000000 00000000"
                     "00000000 00000000  678069c1 8c4c78be");
    assert_memory_equal(bytes, bytes + LQI_SEGMENT_HEADER_COPY, LQI_SEGMENT_HEADER_COPY);
}

static void a_header_is_read_back(void **state)
{
    (void)state;
    uint8_t bytes[LQI_SEGMENT_HEADER];
    struct lqi_segment_head head;
    int64_t damaged = 77;

    lqi_segment_head_encode(bytes, &sample);
    assert_int_equal(decode(bytes, sizeof bytes, &head, &damaged), LQ_OK);
    assert_same_head(&head, &sample);
    assert_int_equal(damaged, -1);
    assert_int_equal(lqi_segment_head_decode(bytes, sizeof bytes, "x", NULL, &head, NULL), LQ_OK);
}

static void one_flipped_bit_in_a_header_is_noticed_and_survived(void **state)
{
    (void)state;
    uint8_t bytes[LQI_SEGMENT_HEADER];
    struct lqi_segment_head head;
    int64_t damaged;

    lqi_segment_head_encode(bytes, &sample);
    for (unsigned bit = 0; bit < sizeof bytes * 8; bit++) {
        bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
        assert_int_equal(decode(bytes, sizeof bytes, &head, &damaged), LQ_OK);
        assert_same_head(&head, &sample);
        assert_int_equal(damaged, bit / 8 < LQI_SEGMENT_HEADER_COPY ? 0 : LQI_SEGMENT_HEADER_COPY);
        bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
}

static void a_bit_flipped_in_both_copies_is_corruption(void **state)
{
    (void)state;
    uint8_t bytes[LQI_SEGMENT_HEADER];
    struct lqi_segment_head head = {.first_id = 77};
    int64_t damaged = 77;

    lqi_segment_head_encode(bytes, &sample);
    for (unsigned bit = 0; bit < LQI_SEGMENT_HEADER_COPY * 8; bit++) {
        for (unsigned copy = 0; copy < 2; copy++) bytes[copy * LQI_SEGMENT_HEADER_COPY + bit / 8] ^= (uint8_t)(1 << bit % 8);
        assert_int_equal(decode(bytes, sizeof bytes, &head, &damaged), LQ_ECORRUPT);
        assert_non_null(strstr(lq_error_text(), "log/x.seg at byte 0"));
        for (unsigned copy = 0; copy < 2; copy++) bytes[copy * LQI_SEGMENT_HEADER_COPY + bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    assert_true(head.first_id == 77 && damaged == 77);
}

static void a_header_cut_anywhere_is_corruption(void **state)
{
    (void)state;
    uint8_t bytes[LQI_SEGMENT_HEADER];
    struct lqi_segment_head head;

    lqi_segment_head_encode(bytes, &sample);
    for (size_t size = 0; size < sizeof bytes; size++) {
        uint8_t *exact = malloc(size + 1);
        assert_non_null(exact);
        memcpy(exact, bytes, size);
        assert_int_equal(decode(exact, size, &head, NULL), LQ_ECORRUPT);
        free(exact);
    }
}

static void zeroes_are_no_header(void **state)
{
    (void)state;
    const uint8_t bytes[LQI_SEGMENT_HEADER] = {0};
    struct lqi_segment_head head;

    assert_int_equal(decode(bytes, sizeof bytes, &head, NULL), LQ_ECORRUPT);
}

static void a_newer_version_is_told_from_damage(void **state)
{
    (void)state;
    uint8_t bytes[LQI_SEGMENT_HEADER];
    struct lqi_segment_head head;

    lqi_segment_head_encode(bytes, &sample);
    lqi_put16(bytes + 8, LQI_SEGMENT_VERSION + 1);
    sign(bytes);
    assert_int_equal(decode(bytes, sizeof bytes, &head, NULL), LQ_EVERSION);
    /* One copy is enough to know. */
    bytes[50] ^= 1;
    assert_int_equal(decode(bytes, sizeof bytes, &head, NULL), LQ_EVERSION);
    bytes[LQI_SEGMENT_HEADER_COPY + 50] ^= 1;
    assert_int_equal(decode(bytes, sizeof bytes, &head, NULL), LQ_ECORRUPT);

    lqi_segment_head_encode(bytes, &sample);
    lqi_put16(bytes + 8, 0);
    sign(bytes);
    assert_int_equal(decode(bytes, sizeof bytes, &head, NULL), LQ_ECORRUPT);
}

static void features_that_are_needed_are_refused_and_others_ignored(void **state)
{
    (void)state;
    uint8_t bytes[LQI_SEGMENT_HEADER];
    struct lqi_segment_head head;

    lqi_segment_head_encode(bytes, &sample);
    for (int bit = 0; bit < 32; bit++) {
        lqi_put32(bytes + 20, (uint32_t)1 << bit);
        sign(bytes);
        assert_int_equal(decode(bytes, sizeof bytes, &head, NULL), LQ_EVERSION);
    }
    lqi_put32(bytes + 20, 0);
    lqi_put32(bytes + 16, UINT32_MAX);
    sign(bytes);
    assert_int_equal(decode(bytes, sizeof bytes, &head, NULL), LQ_OK);
}

static void a_segment_of_another_queue_is_refused(void **state)
{
    (void)state;
    uint8_t bytes[LQI_SEGMENT_HEADER], other[16] = {0};
    struct lqi_segment_head head;

    lqi_segment_head_encode(bytes, &sample);
    assert_int_equal(lqi_segment_head_decode(bytes, sizeof bytes, "x", other, &head, NULL), LQ_ECORRUPT);
    assert_string_equal(lq_error_text(), "x at byte 24: belongs to another queue (uuid)");
    /* A valid header of another queue in the place of copy A: ours is in copy B. */
    struct lqi_segment_head foreign = sample;
    memcpy(foreign.uuid, other, 16);
    uint8_t mixed[LQI_SEGMENT_HEADER];
    int64_t damaged;
    lqi_segment_head_encode(mixed, &foreign);
    memcpy(mixed + LQI_SEGMENT_HEADER_COPY, bytes, LQI_SEGMENT_HEADER_COPY);
    assert_int_equal(decode(mixed, sizeof mixed, &head, &damaged), LQ_OK);
    assert_same_head(&head, &sample);
    assert_int_equal(damaged, 0);
}

static void headers_with_senseless_fields_are_refused(void **state)
{
    (void)state;
    const struct {
        unsigned offset;
        uint64_t value;
    } cases[] = {
        {40, 0}, {40, (uint64_t)1 << 63}, {40, UINT64_MAX},
        {48, 0x40001}, {48, 0x40004}, {48, (uint64_t)1 << 63}, {48, UINT64_MAX - 7},
        {48, 0}, /* then `durable` is behind it */
        {72, 0x40008}, {72, UINT64_MAX},
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint8_t bytes[LQI_SEGMENT_HEADER];
        struct lqi_segment_head head;
        lqi_segment_head_encode(bytes, &sample);
        lqi_put64(bytes + cases[i].offset, cases[i].value);
        sign(bytes);
        assert_int_equal(decode(bytes, sizeof bytes, &head, NULL), LQ_ECORRUPT);
    }
}

/* ---- names ------------------------------------------------------------- */

static void names_are_ids_of_20_digits(void **state)
{
    (void)state;
    static const uint64_t ids[] = {1, 9, 10, 1001, (uint64_t)1 << 40, INT64_MAX};
    char name[LQI_SEGMENT_NAME_SIZE];
    uint64_t id;

    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++) {
        lqi_segment_name(name, ids[i]);
        assert_int_equal(strlen(name), 24);
        assert_true(lqi_segment_name_parse(name, &id));
        assert_int_equal(id, ids[i]);
    }
    lqi_segment_name(name, 1);
    assert_string_equal(name, "00000000000000000001.seg");
}

static void other_names_are_not_segments(void **state)
{
    (void)state;
    static const char *const names[] = {
        "", "1.seg", ".seg", "00000000000000000000.seg", "0000000000000000001.seg", "000000000000000000001.seg",
        "00000000000000000001", "00000000000000000001.se", "00000000000000000001.segx", "00000000000000000001.SEG",
        "0000000000000000000a.seg", "-0000000000000000001.seg", "+0000000000000000001.seg", " 0000000000000000001.seg",
        "09223372036854775808.seg", "18446744073709551616.seg", "18446744073709551617.seg", "99999999999999999999.seg",
        "00000000000000000001.seg.new", "00000000000000000001 seg",
    };
    uint64_t id = 77;

    for (size_t i = 0; i < sizeof names / sizeof *names; i++) assert_false(lqi_segment_name_parse(names[i], &id));
    assert_int_equal(id, 77);
    assert_true(lqi_segment_name_parse("09223372036854775807.seg", &id));
}

/* ---- trailer ----------------------------------------------------------- */

static void a_trailer_has_these_bytes(void **state)
{
    (void)state;
    uint8_t bytes[INDEX3_SIZE + LQI_SEGMENT_TRAILER];
    struct lqi_segment_end end = sample_end();

    lqi_segment_end_encode(bytes, index3, &end);
    hex_assert_equal(bytes, sizeof bytes,
                     "e9030000 00000000  01401e18 240a0600"
                     "00000400 00000000  f2030000 00000000"
                     "0a401e18 240a0600  00080400 00000000"
                     "fc030000 00000000  0a401e18 240a0600"
                     "00100400 00000000  4c51656e 640d0a00"
                     "03000000 00000000  10270400 00000000"
                     "06040000 00000000  01401e18 240a0600"
                     "14401e18 240a0600  88776655 44332211"
                     "c997fccb 16fe47be  00000000 00000000"
                     "00000000 00000000  00000000 00000000"
                     "00000000 00000000  00000000 00000000"
                     "00000000 00000000  00000000 00000000"
                     "976dd402 df2142a8");
}

static void a_trailer_is_read_back(void **state)
{
    (void)state;
    uint8_t bytes[INDEX3_SIZE + LQI_SEGMENT_TRAILER];
    struct lqi_segment_end end = sample_end(), back;

    lqi_segment_end_encode(bytes, index3, &end);
    assert_int_equal(end.index_check, lqi_checksum(bytes, INDEX3_SIZE));
    assert_true(lqi_segment_end_decode(bytes + INDEX3_SIZE, SEALED_SIZE, &sample, &back));
    assert_int_equal(back.end, end.end);
    assert_int_equal(back.next_id, end.next_id);
    assert_int_equal(back.salt, end.salt);
    assert_int_equal(back.first_time_us, end.first_time_us);
    assert_int_equal(back.last_time_us, end.last_time_us);
    assert_int_equal(back.index_count, end.index_count);
    assert_int_equal(back.index_check, end.index_check);
    for (int i = 0; i < 3; i++) {
        struct lqi_index_entry entry;
        lqi_index_entry_decode(bytes + i * LQI_INDEX_ENTRY, &entry);
        assert_true(entry.first_id == index3[i].first_id && entry.time_us == index3[i].time_us &&
                    entry.position == index3[i].position);
    }
}

static void every_flipped_bit_of_a_trailer_is_noticed(void **state)
{
    (void)state;
    uint8_t bytes[INDEX3_SIZE + LQI_SEGMENT_TRAILER], *trailer = bytes + INDEX3_SIZE;
    struct lqi_segment_end end = sample_end();

    lqi_segment_end_encode(bytes, index3, &end);
    for (unsigned bit = 0; bit < LQI_SEGMENT_TRAILER * 8; bit++) {
        trailer[bit / 8] ^= (uint8_t)(1 << bit % 8);
        assert_false(lqi_segment_end_decode(trailer, SEALED_SIZE, &sample, &end));
        trailer[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
}

static void a_trailer_holds_only_for_its_own_file(void **state)
{
    (void)state;
    uint8_t bytes[INDEX3_SIZE + LQI_SEGMENT_TRAILER], *trailer = bytes + INDEX3_SIZE;
    struct lqi_segment_end end = sample_end();
    struct lqi_segment_head other;

    lqi_segment_end_encode(bytes, index3, &end);
    for (uint64_t size = 0; size < 2 * SEALED_SIZE; size++)
        assert_int_equal(lqi_segment_end_decode(trailer, size, &sample, &end), size == SEALED_SIZE);
    other = sample;
    other.salt++;
    assert_false(lqi_segment_end_decode(trailer, SEALED_SIZE, &other, &end));
    other = sample;
    other.position += 8;
    assert_false(lqi_segment_end_decode(trailer, SEALED_SIZE, &other, &end));
    other.position = end.end + 8;
    assert_false(lqi_segment_end_decode(trailer, SEALED_SIZE, &other, &end));
    other = sample;
    other.first_id = end.next_id + 1;
    assert_false(lqi_segment_end_decode(trailer, SEALED_SIZE, &other, &end));
}

static void trailers_with_senseless_numbers_are_refused(void **state)
{
    (void)state;
    const struct {
        uint32_t index_count;
        uint64_t end, next_id;
    } cases[] = {
        {UINT32_MAX, 0x40000 + RECORDS_SIZE, 1030},
        {4, 0x40000 + RECORDS_SIZE, 1030},
        {2, 0x40000 + RECORDS_SIZE, 1030},
        {3, 0, 1030},
        {3, 0x40000 - 8, 1030},
        {3, UINT64_MAX - 7, 1030},
        {3, 0x40000 + RECORDS_SIZE, 1000},
        {3, 0x40000 + RECORDS_SIZE, 0},
        {3, 0x40000 + RECORDS_SIZE, UINT64_MAX},
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint8_t bytes[INDEX3_SIZE + LQI_SEGMENT_TRAILER], *trailer = bytes + INDEX3_SIZE;
        struct lqi_segment_end end = sample_end();
        lqi_segment_end_encode(bytes, index3, &end);
        lqi_put32(trailer + 8, cases[i].index_count);
        lqi_put64(trailer + 16, cases[i].end);
        lqi_put64(trailer + 24, cases[i].next_id);
        lqi_put64(trailer + 120, lqi_checksum(trailer, 120));
        assert_false(lqi_segment_end_decode(trailer, SEALED_SIZE, &sample, &end));
    }
}

static void a_segment_without_messages_can_be_sealed(void **state)
{
    (void)state;
    uint8_t bytes[LQI_SEGMENT_TRAILER];
    struct lqi_segment_end end = {.end = sample.position, .next_id = sample.first_id, .salt = SALT}, back;

    lqi_segment_end_encode(bytes, NULL, &end);
    assert_true(lqi_segment_end_decode(bytes, LQI_SEGMENT_HEADER + LQI_SEGMENT_TRAILER, &sample, &back));
    assert_int_equal(back.index_count, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_header_has_these_bytes),
        cmocka_unit_test(a_header_is_read_back),
        cmocka_unit_test(one_flipped_bit_in_a_header_is_noticed_and_survived),
        cmocka_unit_test(a_bit_flipped_in_both_copies_is_corruption),
        cmocka_unit_test(a_header_cut_anywhere_is_corruption),
        cmocka_unit_test(zeroes_are_no_header),
        cmocka_unit_test(a_newer_version_is_told_from_damage),
        cmocka_unit_test(features_that_are_needed_are_refused_and_others_ignored),
        cmocka_unit_test(a_segment_of_another_queue_is_refused),
        cmocka_unit_test(headers_with_senseless_fields_are_refused),
        cmocka_unit_test(names_are_ids_of_20_digits),
        cmocka_unit_test(other_names_are_not_segments),
        cmocka_unit_test(a_trailer_has_these_bytes),
        cmocka_unit_test(a_trailer_is_read_back),
        cmocka_unit_test(every_flipped_bit_of_a_trailer_is_noticed),
        cmocka_unit_test(a_trailer_holds_only_for_its_own_file),
        cmocka_unit_test(trailers_with_senseless_numbers_are_refused),
        cmocka_unit_test(a_segment_without_messages_can_be_sealed),
    };
    return cmocka_run_group_tests_name("segment", tests, NULL, NULL);
}
