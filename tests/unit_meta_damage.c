/* A meta that is not as it should be: what is read of it all the same, and what is told of each place, once, whether it is needed or not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "error.h"
#include "support/sample_meta.h"

static void one_flipped_bit_in_a_meta_is_survived(void **state)
{
    (void)state;
    uint8_t bytes[LQI_META_SIZE];
    struct lqi_meta meta;

    lqi_meta_encode(bytes, &sample, &trim7);
    for (unsigned bit = 0; bit < LQI_META_SIZE * 8; bit++) {
        bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
        assert_int_equal(lqi_meta_decode(bytes, sizeof bytes, &meta), LQ_OK);
        assert_same_options(&meta.options, &sample.options);
        bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
}

static void a_bit_flipped_in_both_copies_of_a_meta_is_noticed(void **state)
{
    (void)state;
    uint8_t bytes[LQI_META_SIZE];
    struct lqi_meta meta = {.created_us = 77};

    lqi_meta_encode(bytes, &sample, &trim7);
    for (unsigned bit = 0; bit < COPY * 8; bit++) {
        for (unsigned copy = 0; copy < 2; copy++) bytes[copy * COPY + bit / 8] ^= (uint8_t)(1 << bit % 8);
        assert_int_equal(lqi_meta_decode(bytes, sizeof bytes, &meta), bit < 64 ? LQ_ENOTQUEUE : LQ_ECORRUPT);
        for (unsigned copy = 0; copy < 2; copy++) bytes[copy * COPY + bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    assert_int_equal(meta.created_us, 77);
}

static void a_meta_cut_anywhere_is_damaged_and_not_foreign(void **state)
{
    (void)state;
    uint8_t bytes[LQI_META_SIZE];
    struct lqi_meta meta;

    lqi_meta_encode(bytes, &sample, &trim7);
    for (size_t size = 0; size < sizeof bytes; size++) {
        uint8_t *exact = malloc(size + 1);
        assert_non_null(exact);
        memcpy(exact, bytes, size);
        assert_int_equal(lqi_meta_decode(exact, size, &meta), LQ_ECORRUPT);
        free(exact);
    }
}

struct told {
    size_t count;
    uint64_t offsets[8];
    char texts[8][LQI_TEXT_MAX];
};

static void tell(void *context, uint64_t offset, const char *text)
{
    struct told *told = context;
    assert_in_range(told->count, 0, 7);
    told->offsets[told->count] = offset;
    snprintf(told->texts[told->count++], sizeof told->texts[0], "%s", text);
}

/* What is told of a file of `size` bytes with these, and zeroes behind. */
static const struct told *check(const uint8_t *bytes, uint64_t size)
{
    static struct told told;
    told.count = 0;
    bool damaged = lqi_meta_check(bytes, size, tell, &told);
    assert_int_equal(damaged, told.count > 0);
    return &told;
}

static void assert_told(const uint8_t *bytes, uint64_t offset, const char *words)
{
    const struct told *told = check(bytes, LQI_META_SIZE);
    assert_int_equal(told->count, 1);
    assert_int_equal(told->offsets[0], offset);
    assert_non_null(strstr(told->texts[0], words));
}

static void every_bit_that_is_not_as_it_was_is_told_of_its_place(void **state)
{
    (void)state;
    uint8_t bytes[LQI_META_SIZE];

    two_slots(bytes);
    assert_int_equal(check(bytes, sizeof bytes)->count, 0);
    for (unsigned bit = 0; bit < LQI_META_SIZE * 8; bit++) {
        bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
        assert_told(bytes, bit / 8 / 512 * 512, bit / 8 < SLOT0 ? "one of the two copies" : "the other one counts");
        bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
}

static void a_meta_beyond_reading_is_told_once_and_with_the_reason(void **state)
{
    (void)state;
    uint8_t bytes[LQI_META_SIZE];

    two_slots(bytes);
    bytes[100] ^= 1;
    bytes[COPY + 100] ^= 1;
    bytes[SLOT0 + 100] ^= 1;
    assert_told(bytes, 0, "meta at byte");
}

/* Of a new queue one slot is all zero, as it was never written; later none is. */
static void a_trim_slot_of_zeroes_is_told_unless_it_was_never_written(void **state)
{
    (void)state;
    uint8_t bytes[LQI_META_SIZE];
    const struct lqi_trim first = {.sequence = 1, .first_id = 1, .next_id = 1}, second = {.sequence = 2, .first_id = 1, .next_id = 1};

    lqi_meta_encode(bytes, &sample, &first);
    assert_int_equal(check(bytes, sizeof bytes)->count, 0);
    bytes[SLOT0 + 511] = 1;
    assert_told(bytes, SLOT0, "the other one counts");
    lqi_meta_encode(bytes, &sample, &second);
    assert_told(bytes, SLOT1, "the other one counts");

    /* Where neither is any good, the one that has been written is told. */
    bytes[SLOT0] ^= 1;
    assert_told(bytes, SLOT0, "neither");
    lqi_meta_encode(bytes, &sample, &first);
    bytes[SLOT1] ^= 1;
    assert_told(bytes, SLOT1, "neither");
}

static void a_meta_of_another_length_is_told_and_so_is_what_else_is_wrong_in_it(void **state)
{
    (void)state;
    uint8_t bytes[LQI_META_SIZE];

    lqi_meta_encode(bytes, &sample, &trim7);
    for (int longer = 0; longer < 2; longer++) {
        const struct told *told = check(bytes, longer ? LQI_META_SIZE + 1 : LQI_META_SIZE - 1);
        assert_int_equal(told->count, 2); /* trim7 is alone, which is not its first time */
        assert_int_equal(told->offsets[0], longer ? LQI_META_SIZE : LQI_META_SIZE - 1);
        assert_string_equal(told->texts[0], longer ? "the file is longer than it should be" : "the file is shorter than it should be");
        assert_int_equal(told->offsets[1], SLOT0);
    }
    two_slots(bytes);
    assert_int_equal(check(bytes, LQI_META_SIZE + 5)->count, 1);
    bytes[30] ^= 1;
    const struct told *told = check(bytes, LQI_META_SIZE + 5);
    assert_int_equal(told->count, 2);
    assert_int_equal(told->offsets[1], 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_flipped_bit_in_a_meta_is_survived),
        cmocka_unit_test(a_bit_flipped_in_both_copies_of_a_meta_is_noticed),
        cmocka_unit_test(a_meta_cut_anywhere_is_damaged_and_not_foreign),
        cmocka_unit_test(every_bit_that_is_not_as_it_was_is_told_of_its_place),
        cmocka_unit_test(a_meta_beyond_reading_is_told_once_and_with_the_reason),
        cmocka_unit_test(a_trim_slot_of_zeroes_is_told_unless_it_was_never_written),
        cmocka_unit_test(a_meta_of_another_length_is_told_and_so_is_what_else_is_wrong_in_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
