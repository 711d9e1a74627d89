/* The options of a queue: their defaults and ranges, structs of older and newer callers, and what is stored against what is asked for. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "support/sample_meta.h"

static const lq_options defaults = {
    .size = sizeof(lq_options),
    .mode = 0600,
    .full_timeout_ms = -1,
    .sync = LQ_SYNC_ALWAYS,
    .sync_interval_ms = 100,
    .retention = LQ_RETAIN_CONSUMED,
    .full = LQ_FULL_REJECT,
    .segment_size = 64 << 20,
    .ring_size = 4 << 20,
    .message_size_max = 1 << 30,
};

static void what_is_zero_becomes_the_default(void **state)
{
    (void)state;
    lq_options asked = {.size = sizeof asked}, complete;

    assert_int_equal(lqi_options_complete(NULL, &complete), LQ_OK);
    assert_same_options(&complete, &defaults);
    assert_int_equal(lqi_options_complete(&asked, &complete), LQ_OK);
    assert_same_options(&complete, &defaults);
}

static void what_is_set_stays_as_it_is(void **state)
{
    (void)state;
    lq_options asked = sample.options, complete;

    asked.flags = LQ_READ_ONLY | LQ_NO_CREATE | LQ_DEFER_SYNC;
    asked.full_timeout_ms = 5;
    assert_int_equal(lqi_options_complete(&asked, &complete), LQ_OK);
    assert_same_options(&complete, &asked);
    assert_int_equal(lqi_options_complete(&complete, &complete), LQ_OK);
    assert_same_options(&complete, &asked);
}

static void sizes_are_rounded_up(void **state)
{
    (void)state;
    const struct {
        uint64_t segment_size, rounded_segment, ring_size, rounded_ring;
    } cases[] = {
        {65536, 65536, 65536, 65536},
        {65537, 65536 + 4096, 65537, 131072},
        {((uint64_t)4 << 30) - 1, (uint64_t)4 << 30, (1 << 30) - 1, 1 << 30},
        {(uint64_t)4 << 30, (uint64_t)4 << 30, 1 << 30, 1 << 30},
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        lq_options asked = {.size = sizeof asked, .segment_size = cases[i].segment_size, .ring_size = cases[i].ring_size};
        lq_options complete;
        assert_int_equal(lqi_options_complete(&asked, &complete), LQ_OK);
        assert_int_equal(complete.segment_size, cases[i].rounded_segment);
        assert_int_equal(complete.ring_size, cases[i].rounded_ring);
    }
}

#define TRY(field_, value_, code_) {.options = {.size = sizeof(lq_options), .field_ = value_}, .field = #field_, .code = code_}

static void every_option_has_its_range(void **state)
{
    (void)state;
    static const struct {
        lq_options options;
        const char *field;
        int code;
    } cases[] = {
        TRY(flags, 8, LQ_EINVAL), TRY(flags, 7, LQ_OK), TRY(flags, 1u << 31, LQ_EINVAL),
        TRY(mode, 0777, LQ_OK), TRY(mode, 01600, LQ_EINVAL), TRY(mode, 0400, LQ_EINVAL), TRY(mode, 0077, LQ_EINVAL),
        TRY(full_timeout_ms, -2, LQ_EINVAL), TRY(full_timeout_ms, INT64_MAX, LQ_OK),
        TRY(sync, -1, LQ_EINVAL), TRY(sync, 3, LQ_OK), TRY(sync, 4, LQ_EINVAL),
        TRY(sync_interval_ms, 1, LQ_OK), TRY(sync_interval_ms, 3600000, LQ_OK), TRY(sync_interval_ms, 3600001, LQ_EINVAL),
        TRY(sync_interval_ms, UINT32_MAX, LQ_EINVAL),
        TRY(retention, -1, LQ_EINVAL), TRY(retention, 4, LQ_EINVAL), TRY(full, -1, LQ_EINVAL), TRY(full, 4, LQ_EINVAL),
        TRY(age_max_ms, -1, LQ_EINVAL), TRY(age_max_ms, INT64_MIN, LQ_EINVAL), TRY(age_max_ms, INT64_MAX, LQ_OK),
        TRY(segment_size, 65535, LQ_EINVAL), TRY(segment_size, ((uint64_t)4 << 30) + 1, LQ_EINVAL),
        TRY(segment_size, UINT64_MAX, LQ_EINVAL),
        TRY(ring_size, 65535, LQ_EINVAL), TRY(ring_size, (1 << 30) + 1, LQ_EINVAL), TRY(ring_size, UINT64_MAX, LQ_EINVAL),
        TRY(message_size_max, 1, LQ_OK), TRY(message_size_max, (1 << 30) + 1, LQ_EINVAL),
        TRY(message_size_max, UINT64_MAX, LQ_EINVAL),
        TRY(compression, 1, LQ_OK), TRY(compression, 9, LQ_OK), TRY(compression, 10, LQ_EINVAL), TRY(compression, -1, LQ_EINVAL),
        TRY(size_max, 2 * (64 << 20), LQ_OK), TRY(size_max, 2 * (64 << 20) - 1, LQ_EINVAL), TRY(size_max, 1, LQ_EINVAL),
        TRY(size_max, UINT64_MAX, LQ_OK),
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        lq_options complete = {.mode = 77};
        int code = lqi_options_complete(&cases[i].options, &complete);
        if (code != cases[i].code) fail_msg("case %zu, %s: %d", i, cases[i].field, code);
        if (code == LQ_OK) continue;
        assert_int_equal(complete.mode, 77);
        if (!strstr(lq_error_text(), cases[i].field)) fail_msg("'%s' does not name %s", lq_error_text(), cases[i].field);
    }
}

static void flags_that_nobody_knows_are_named(void **state)
{
    (void)state;
    lq_options asked = {.size = sizeof asked, .flags = LQ_READ_ONLY | 0x108}, complete;

    assert_int_equal(lqi_options_complete(&asked, &complete), LQ_EINVAL);
    assert_non_null(strstr(lq_error_text(), "unknown: 0x108"));
}

static void a_queue_is_at_least_two_rounded_segments(void **state)
{
    (void)state;
    lq_options asked = {.size = sizeof asked, .segment_size = 65537, .size_max = 2 * 65537}, complete;

    assert_int_equal(lqi_options_complete(&asked, &complete), LQ_EINVAL);
    asked.size_max = 2 * (65536 + 4096);
    assert_int_equal(lqi_options_complete(&asked, &complete), LQ_OK);
}

static void structs_of_older_and_newer_callers_are_understood(void **state)
{
    (void)state;
    union {
        lq_options options;
        uint8_t bytes[8192];
    } caller;
    lq_options complete;
    const size_t first = offsetof(lq_options, compression) + sizeof(int);

    memset(&caller, 0, sizeof caller);
    caller.options = sample.options;
    for (size_t size = 0; size <= sizeof caller; size++) {
        caller.options.size = size;
        assert_int_equal(lqi_options_complete(&caller.options, &complete), size < first || size > 4096 ? LQ_EINVAL : LQ_OK);
    }
    caller.options.size = SIZE_MAX;
    assert_int_equal(lqi_options_complete(&caller.options, &complete), LQ_EINVAL);

    /* What an older caller's struct has not is not looked at. */
    memset(caller.bytes + first, 0xff, sizeof caller - first);
    caller.options.size = first;
    assert_int_equal(lqi_options_complete(&caller.options, &complete), LQ_OK);
    assert_int_equal(complete.size, sizeof complete);
    assert_int_equal(complete.compression, sample.options.compression);

    /* What only a newer caller's struct has must not be asked for. */
    memset(caller.bytes + first, 0, sizeof caller - first);
    for (size_t at = sizeof(lq_options); at < 200; at++) {
        caller.options.size = 200;
        caller.bytes[at] = 1;
        assert_int_equal(lqi_options_complete(&caller.options, &complete), LQ_EINVAL);
        assert_int_equal(lqi_options_match(&caller.options, &sample.options), LQ_EINVAL);
        caller.bytes[at] = 0;
    }
    assert_int_equal(lqi_options_complete(&caller.options, &complete), LQ_OK);
}

static void options_match_when_they_are_the_stored_ones_or_not_asked_for(void **state)
{
    (void)state;
    lq_options asked = {.size = sizeof asked};

    assert_int_equal(lqi_options_match(NULL, &sample.options), LQ_OK);
    assert_int_equal(lqi_options_match(&asked, &sample.options), LQ_OK);
    assert_int_equal(lqi_options_match(&sample.options, &sample.options), LQ_OK);
    /* These belong to the handle. */
    asked.flags = LQ_DEFER_SYNC;
    asked.mode = 0666;
    asked.full_timeout_ms = 7;
    /* And these are compared as they would have been stored. */
    asked.segment_size = (1 << 20) - 100;
    asked.ring_size = (1 << 16) + 1;
    assert_int_equal(lqi_options_match(&asked, &sample.options), LQ_OK);
}

static void sizes_match_when_they_are_rounded_to_the_stored_ones(void **state)
{
    (void)state;
    lq_options stored = sample.options, asked = {.size = sizeof asked};

    for (uint64_t size = stored.segment_size - 5000; size < stored.segment_size + 5000; size++) {
        asked.segment_size = size;
        bool same = size > stored.segment_size - 4096 && size <= stored.segment_size;
        assert_int_equal(lqi_options_match(&asked, &stored), same ? LQ_OK : LQ_EMISMATCH);
    }
    asked.segment_size = 0;
    for (stored.ring_size = 1 << 16; stored.ring_size <= 1 << 30; stored.ring_size *= 2) {
        for (int step = -1; step <= 1; step++) {
            asked.ring_size = stored.ring_size + (uint64_t)step;
            assert_int_equal(lqi_options_match(&asked, &stored), step > 0 ? LQ_EMISMATCH : LQ_OK);
            asked.ring_size = stored.ring_size / 2 + (uint64_t)step;
            assert_int_equal(lqi_options_match(&asked, &stored), step > 0 ? LQ_OK : LQ_EMISMATCH);
        }
    }
}

static void an_option_that_differs_is_named(void **state)
{
    (void)state;
    static const struct {
        lq_options options;
        const char *field;
        int code;
    } cases[] = {
        TRY(sync, LQ_SYNC_ALWAYS, LQ_EMISMATCH), TRY(sync_interval_ms, 100, LQ_EMISMATCH),
        TRY(retention, LQ_RETAIN_LIMITS, LQ_EMISMATCH), TRY(full, LQ_FULL_DROP, LQ_EMISMATCH),
        TRY(size_max, (1 << 30) + 1, LQ_EMISMATCH), TRY(age_max_ms, 1, LQ_EMISMATCH),
        TRY(segment_size, (1 << 20) + 1, LQ_EMISMATCH), TRY(segment_size, UINT64_MAX, LQ_EMISMATCH),
        TRY(ring_size, 1 << 16, LQ_EMISMATCH), TRY(ring_size, UINT64_MAX, LQ_EMISMATCH),
        TRY(ring_size, ((uint64_t)1 << 63) + 1, LQ_EMISMATCH), TRY(ring_size, ((uint64_t)1 << 32) + 1, LQ_EMISMATCH),
        TRY(message_size_max, 1 << 20, LQ_EMISMATCH), TRY(compression, 9, LQ_EMISMATCH),
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int code = lqi_options_match(&cases[i].options, &sample.options);
        if (code != cases[i].code) fail_msg("case %zu, %s: %d", i, cases[i].field, code);
        if (!strstr(lq_error_text(), cases[i].field)) fail_msg("'%s' does not name %s", lq_error_text(), cases[i].field);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_zero_becomes_the_default),
        cmocka_unit_test(what_is_set_stays_as_it_is),
        cmocka_unit_test(sizes_are_rounded_up),
        cmocka_unit_test(every_option_has_its_range),
        cmocka_unit_test(flags_that_nobody_knows_are_named),
        cmocka_unit_test(a_queue_is_at_least_two_rounded_segments),
        cmocka_unit_test(structs_of_older_and_newer_callers_are_understood),
        cmocka_unit_test(options_match_when_they_are_the_stored_ones_or_not_asked_for),
        cmocka_unit_test(sizes_match_when_they_are_rounded_to_the_stored_ones),
        cmocka_unit_test(an_option_that_differs_is_named),
    };
    return cmocka_run_group_tests_name("options", tests, NULL, NULL);
}
