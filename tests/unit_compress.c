/* Packed payloads: what was packed comes back, and nothing else is ever taken for it. */
#include <dlfcn.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <zlib.h>

#include "bytes.h"
#include "compress.h"
#include "libqueue.h"
#include "support/hex.h"
#include "support/random64.h"

/* ---- a machine without memory -------------------------------------------- */

static unsigned lent, lent_max = UINT_MAX; /* allocations of zlib, and how many succeed */
static int held;                           /* that have not come back */

static void *lend(void *unused, unsigned items, unsigned size)
{
    (void)unused;
    void *memory = lent++ < lent_max ? calloc(items, size) : NULL;
    held += memory != NULL;
    return memory;
}

static void take_back(void *unused, void *memory)
{
    (void)unused;
    held -= memory != NULL;
    free(memory);
}

static void find(void *function, const char *name)
{
    void *found = dlsym(RTLD_NEXT, name);
    memcpy(function, &found, sizeof found);
}

/* In the place of zlib's own, for the whole program: what deflateInit2() and inflateInit() call. */
int deflateInit2_(z_streamp stream, int level, int method, int bits, int memory, int strategy, const char *version, int size)
{
    static __typeof__(&deflateInit2_) real;
    if (!real) find(&real, "deflateInit2_");
    stream->zalloc = lend;
    stream->zfree = take_back;
    return real(stream, level, method, bits, memory, strategy, version, size);
}

int inflateInit_(z_streamp stream, const char *version, int size)
{
    static __typeof__(&inflateInit_) real;
    if (!real) find(&real, "inflateInit_");
    stream->zalloc = lend;
    stream->zfree = take_back;
    return real(stream, version, size);
}

/* ---- bytes ----------------------------------------------------------------- */

static uint8_t *block(uint32_t size)
{
    uint8_t *bytes = malloc(size ? size : 1);
    assert_non_null(bytes);
    return bytes;
}

/* Words of a small vocabulary, as in logs and JSON. */
static uint8_t *some_text(uint32_t size)
{
    static const char *const words[] = {"\"order\":", "\"price\":", "12.50", "{", "}", "null,", "\"name\":", "\"Ada\""};
    uint8_t *text = block(size + 16);
    uint32_t used = 0;

    while (used < size) {
        const char *word = words[random64() % 8];
        memcpy(text + used, word, strlen(word));
        used += (uint32_t)strlen(word);
    }
    return text;
}

/* "hello hello hello hello " by zlib, and what it is. */
static const char *const golden = "18000000 789c cb48cdc9c957c8c02001 70d408d1";
static const char *const golden_raw = "hello hello hello hello ";

static size_t golden_bytes(uint8_t bytes[64])
{
    return hex_bytes(golden, bytes, 64);
}

static void what_was_packed_comes_back(void **state)
{
    (void)state;
    static const uint32_t sizes[] = {256, 511, 512, 513, 4096, 65535, 65536, 1000000};

    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        for (int level = 1; level <= 9; level++) {
            uint32_t size = sizes[i], packed_size = 0, raw_size = 0;
            uint8_t *raw = some_text(size), *packed = block(size), *back = block(size);

            assert_int_equal(lqi_pack(raw, size, level, packed, &packed_size), LQ_OK);
            assert_in_range(packed_size, LQI_PACK_HEADER + 1, size - size / 8);
            /* In a block of the exact size: a sanitizer sees one byte too many. */
            uint8_t *exact = block(packed_size);
            memcpy(exact, packed, packed_size);
            assert_int_equal(lqi_unpacked_size(exact, packed_size, size, &raw_size), LQ_OK);
            assert_int_equal(raw_size, size);
            assert_int_equal(lqi_unpack(exact, packed_size, back, raw_size), LQ_OK);
            assert_memory_equal(back, raw, size);
            free(exact);
            free(raw);
            free(packed);
            free(back);
        }
    }
}

static void bytes_packed_once_come_back_for_ever(void **state)
{
    (void)state;
    uint8_t packed[64], raw[64];
    uint32_t raw_size;
    size_t size = golden_bytes(packed);

    assert_int_equal(lqi_unpacked_size(packed, (uint32_t)size, sizeof raw, &raw_size), LQ_OK);
    assert_int_equal(raw_size, strlen(golden_raw));
    assert_int_equal(lqi_unpack(packed, (uint32_t)size, raw, raw_size), LQ_OK);
    assert_memory_equal(raw, golden_raw, raw_size);
}

static void noise_is_not_packed(void **state)
{
    (void)state;
    for (uint32_t size = 0; size < 3000; size += 7) {
        uint8_t *raw = block(size), *packed = block(size);
        uint32_t packed_size = 77;

        for (uint32_t i = 0; i < size; i++) raw[i] = (uint8_t)random64();
        assert_int_equal(lqi_pack(raw, size, 9, packed, &packed_size), LQ_OK);
        assert_int_equal(packed_size, 0);
        free(raw);
        free(packed);
    }
}

static void what_saves_less_than_an_eighth_is_not_packed(void **state)
{
    (void)state;
    enum { SIZE = 8000 };
    uint32_t least = SIZE;

    /* More and more zeroes before the noise: at some point it begins to pay. */
    for (uint32_t zeroes = 0; zeroes < SIZE / 4; zeroes += 50) {
        uint8_t *raw = block(SIZE), *packed = block(SIZE);
        uint32_t packed_size;

        for (uint32_t i = 0; i < SIZE; i++) raw[i] = i < zeroes ? 0 : (uint8_t)random64();
        assert_int_equal(lqi_pack(raw, SIZE, 6, packed, &packed_size), LQ_OK);
        assert_true(packed_size <= SIZE - SIZE / 8);
        if (packed_size && zeroes < least) least = zeroes;
        if (!packed_size) assert_true(zeroes < SIZE / 8 + 100);
        free(raw);
        free(packed);
    }
    assert_in_range(least, SIZE / 8, SIZE / 8 + 100);
}

static bool says(const char *words)
{
    return strstr(lq_error_text(), words) != NULL;
}

/* How long the stream is that zlib makes of so many bytes between 512 and 1023. */
static uint32_t stream_size(uint8_t *raw, uint32_t size)
{
    uint8_t stream_bytes[2048];
    z_stream stream = {.next_in = raw, .avail_in = size, .next_out = stream_bytes, .avail_out = sizeof stream_bytes};
    assert_int_equal(deflateInit2(&stream, 6, Z_DEFLATED, 10, 3, Z_DEFAULT_STRATEGY), Z_OK);
    assert_int_equal(deflate(&stream, Z_FINISH), Z_STREAM_END);
    deflateEnd(&stream);
    return (uint32_t)sizeof stream_bytes - stream.avail_out;
}

static void an_eighth_is_enough_to_the_byte(void **state)
{
    (void)state;
    unsigned just_enough = 0, just_too_little = 0;

    for (uint32_t size = 600; size < 608; size++) {
        for (uint32_t zeroes = 60; zeroes < 120; zeroes++) {
            uint8_t *raw = block(size), *packed = block(size);
            uint32_t packed_size, takes;

            for (uint32_t i = 0; i < size; i++) raw[i] = i < zeroes ? 0 : (uint8_t)random64();
            takes = LQI_PACK_HEADER + stream_size(raw, size);
            assert_int_equal(lqi_pack(raw, size, 6, packed, &packed_size), LQ_OK);
            assert_int_equal(packed_size, 8 * (size - takes) >= size && takes < size ? takes : 0);
            just_enough += packed_size && 8 * (size - takes - 1) < size;
            just_too_little += !packed_size && takes <= size && 8 * (size - takes + 1) >= size;
            free(raw);
            free(packed);
        }
    }
    assert_true(just_enough > 0);
    assert_true(just_too_little > 0);
}

/* So that who reads it needs no more memory than that. */
static void a_stream_asks_for_no_larger_window_than_its_bytes(void **state)
{
    (void)state;
    for (uint32_t power = 256; power <= 65536; power *= 2) {
        for (uint32_t size = power - 1; size <= power; size++) {
            uint8_t *raw = calloc(1, size), *packed = block(size);
            uint32_t packed_size;

            assert_non_null(raw);
            assert_int_equal(lqi_pack(raw, size, 6, packed, &packed_size), LQ_OK);
            uint32_t window = 256u << (packed[LQI_PACK_HEADER] >> 4);
            assert_true(window > size || window == 32768);
            assert_true(window / 2 <= size || window == 512);
            free(raw);
            free(packed);
        }
    }
}

static void small_payloads_pack_too(void **state)
{
    (void)state;
    uint8_t raw[64] = {0}, packed[64];
    uint32_t packed_size;

    for (uint32_t size = 0; size <= sizeof raw; size++) {
        assert_int_equal(lqi_pack(raw, size, 6, packed, &packed_size), LQ_OK);
        assert_true(packed_size <= size - size / 8);
    }
    assert_true(packed_size > 0);
}

static void a_level_that_is_none_is_refused(void **state)
{
    (void)state;
    uint8_t raw[64] = {0}, packed[64];
    uint32_t packed_size = 77;

    assert_int_equal(lqi_pack(raw, sizeof raw, 10, packed, &packed_size), LQ_EINVAL);
    assert_int_equal(packed_size, 77);
}

static void a_raw_size_that_cannot_be_true_is_refused(void **state)
{
    (void)state;
    uint8_t packed[100] = {0};
    uint32_t raw_size = 77;
    const struct {
        uint32_t packed_size, says, raw_size_max;
        int code;
    } cases[] = {
        {0, 0, 1000, LQ_ECORRUPT},
        {3, 0, 1000, LQ_ECORRUPT},
        {3, 10, 1000, LQ_ECORRUPT},
        {4, 10, 1000, LQ_ECORRUPT},
        {5, 0, 1000, LQ_ECORRUPT},
        {5, 1000, 1000, LQ_OK},
        {5, 1001, 1000, LQ_ECORRUPT},
        {5, 1032, UINT32_MAX, LQ_OK},
        {5, 1033, UINT32_MAX, LQ_ECORRUPT},
        {100, 96 * 1032, UINT32_MAX, LQ_OK},
        {100, 96 * 1032 + 1, UINT32_MAX, LQ_ECORRUPT},
        {100, UINT32_MAX, UINT32_MAX, LQ_ECORRUPT},
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        lqi_put32(packed, cases[i].says);
        raw_size = 77;
        assert_int_equal(lqi_unpacked_size(packed, cases[i].packed_size, cases[i].raw_size_max, &raw_size), cases[i].code);
        assert_int_equal(raw_size, cases[i].code ? 77 : cases[i].says);
        if (cases[i].packed_size <= LQI_PACK_HEADER) assert_true(says("nothing in it"));
    }
}

static void the_best_that_deflate_can_do_is_not_refused(void **state)
{
    (void)state;
    const uint32_t size = 100 << 20;
    uint8_t *raw = calloc(1, size), *packed = block(size);
    uint32_t packed_size, raw_size;

    assert_non_null(raw);
    assert_int_equal(lqi_pack(raw, size, 9, packed, &packed_size), LQ_OK);
    assert_int_equal(lqi_unpacked_size(packed, packed_size, size, &raw_size), LQ_OK);
    assert_int_equal(raw_size, size);
    free(raw);
    free(packed);
}

static void a_stream_of_another_length_is_refused(void **state)
{
    (void)state;
    uint8_t packed[64], raw[64];
    uint32_t size = (uint32_t)golden_bytes(packed), right = (uint32_t)strlen(golden_raw);

    for (uint32_t wrong = 0; wrong < sizeof raw; wrong++) {
        assert_int_equal(lqi_unpack(packed, size, raw, wrong), wrong == right ? LQ_OK : LQ_ECORRUPT);
        if (wrong != right) assert_true(says("does not unpack to"));
        /* And when the header tells the same lie. */
        lqi_put32(packed, wrong);
        uint8_t *exact = block(wrong);
        assert_int_equal(lqi_unpack(packed, size, exact, wrong), wrong == right ? LQ_OK : LQ_ECORRUPT);
        if (wrong > 0 && wrong < right) assert_true(says("unpacks to more"));
        if (wrong > right) assert_true(says("unpacks to less"));
        free(exact);
        lqi_put32(packed, right);
    }
}

static void one_byte_may_be_packed_and_nothing_may_not(void **state)
{
    (void)state;
    uint8_t packed[64], raw[64];
    uint32_t size = (uint32_t)hex_bytes("01000000 789c 4b0400 00620062", packed, sizeof packed);

    assert_int_equal(lqi_unpack(packed, size, raw, 1), LQ_OK);
    assert_int_equal(raw[0], 'a');
    size = (uint32_t)hex_bytes("00000000 789c 0300 00000001", packed, sizeof packed);
    assert_int_equal(lqi_unpack(packed, size, raw, 0), LQ_ECORRUPT);
}

static void what_is_no_stream_is_refused_in_the_words_of_zlib(void **state)
{
    (void)state;
    uint8_t packed[64], raw[64];
    uint32_t size = (uint32_t)golden_bytes(packed);

    packed[LQI_PACK_HEADER] ^= 1;
    assert_int_equal(lqi_unpack(packed, size, raw, (uint32_t)strlen(golden_raw)), LQ_ECORRUPT);
    assert_true(says("incorrect header check"));
}

static void a_stream_cut_anywhere_is_refused(void **state)
{
    (void)state;
    uint8_t packed[64], raw[64];
    uint32_t size = (uint32_t)golden_bytes(packed);

    for (uint32_t cut = 0; cut < size; cut++) {
        uint8_t *exact = block(cut);
        memcpy(exact, packed, cut);
        assert_int_equal(lqi_unpack(exact, cut, raw, (uint32_t)strlen(golden_raw)), LQ_ECORRUPT);
        if (cut <= LQI_PACK_HEADER) assert_true(says("does not unpack to"));
        else if (cut < size / 2) assert_true(says("ends too early"));
        free(exact);
    }
}

static void bytes_behind_the_stream_are_refused(void **state)
{
    (void)state;
    uint8_t packed[64] = {0}, raw[64];
    uint32_t size = (uint32_t)golden_bytes(packed);

    for (uint32_t more = 1; more <= 8; more++) {
        assert_int_equal(lqi_unpack(packed, size + more, raw, (uint32_t)strlen(golden_raw)), LQ_ECORRUPT);
        assert_non_null(strstr(lq_error_text(), "bytes behind"));
    }
}

static void a_flipped_bit_never_makes_other_bytes(void **state)
{
    (void)state;
    uint8_t packed[64], raw[64];
    uint32_t size = (uint32_t)golden_bytes(packed), raw_size, noticed = 0;

    for (unsigned bit = 0; bit < size * 8; bit++) {
        packed[bit / 8] ^= (uint8_t)(1 << bit % 8);
        memset(raw, 0, sizeof raw);
        int err = lqi_unpacked_size(packed, size, sizeof raw, &raw_size);
        if (!err) err = lqi_unpack(packed, size, raw, raw_size);
        assert_true(err == LQ_OK || err == LQ_ECORRUPT);
        if (!err) assert_true(raw_size == strlen(golden_raw) && memcmp(raw, golden_raw, raw_size) == 0);
        noticed += err != LQ_OK;
        packed[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    /* All but the few that fill the byte before zlib's own checksum. */
    assert_in_range(noticed, size * 8 - 7, size * 8);
}

static void a_stream_that_asks_for_a_dictionary_is_refused(void **state)
{
    (void)state;
    uint8_t packed[64], raw[64];
    size_t size = hex_bytes("18000000 78bb 00000001 cb48cdc9c957c8c02001 70d408d1", packed, sizeof packed);

    assert_int_equal(lqi_unpack(packed, (uint32_t)size, raw, 0x18), LQ_ECORRUPT);
    assert_non_null(strstr(lq_error_text(), "dictionary"));
}

static void without_memory_nothing_is_packed_and_nothing_called_damaged(void **state)
{
    (void)state;
    uint8_t *raw = some_text(4000), *packed = block(4000), *back = block(4000);
    uint32_t packed_size = 77, failures = 0;

    lent = lent_max = 0;
    for (int err; (err = lqi_pack(raw, 4000, 6, packed, &packed_size)) != LQ_OK;) {
        assert_int_equal(err, LQ_ENOMEM);
        assert_int_equal(packed_size, 77);
        lent = 0;
        lent_max = ++failures;
    }
    assert_true(failures >= 3);
    lent = lent_max = 0;
    for (failures = 0; lqi_unpack(packed, packed_size, back, 4000) == LQ_ENOMEM; lent = 0, lent_max = ++failures) {}
    assert_int_equal(failures, 1);
    /* Of a stream that is cut off zlib keeps what it has, which takes more. */
    lent = 0;
    assert_int_equal(lqi_unpack(packed, packed_size - 20, back, 4000), LQ_ENOMEM);
    lent_max = UINT_MAX;
    assert_int_equal(lqi_unpack(packed, packed_size - 20, back, 4000), LQ_ECORRUPT);
    assert_int_equal(lqi_unpack(packed, packed_size, back, 4000), LQ_OK);
    assert_memory_equal(raw, back, 4000);
    free(raw);
    free(packed);
    free(back);
}

static void all_memory_has_come_back(void **state)
{
    (void)state;
    assert_int_equal(held, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_packed_comes_back),
        cmocka_unit_test(bytes_packed_once_come_back_for_ever),
        cmocka_unit_test(noise_is_not_packed),
        cmocka_unit_test(what_saves_less_than_an_eighth_is_not_packed),
        cmocka_unit_test(an_eighth_is_enough_to_the_byte),
        cmocka_unit_test(a_stream_asks_for_no_larger_window_than_its_bytes),
        cmocka_unit_test(small_payloads_pack_too),
        cmocka_unit_test(a_level_that_is_none_is_refused),
        cmocka_unit_test(a_raw_size_that_cannot_be_true_is_refused),
        cmocka_unit_test(the_best_that_deflate_can_do_is_not_refused),
        cmocka_unit_test(a_stream_of_another_length_is_refused),
        cmocka_unit_test(one_byte_may_be_packed_and_nothing_may_not),
        cmocka_unit_test(what_is_no_stream_is_refused_in_the_words_of_zlib),
        cmocka_unit_test(a_stream_cut_anywhere_is_refused),
        cmocka_unit_test(bytes_behind_the_stream_are_refused),
        cmocka_unit_test(a_flipped_bit_never_makes_other_bytes),
        cmocka_unit_test(a_stream_that_asks_for_a_dictionary_is_refused),
        cmocka_unit_test(without_memory_nothing_is_packed_and_nothing_called_damaged),
        cmocka_unit_test(all_memory_has_come_back), /* of all the others */
    };
    return cmocka_run_group_tests_name("compress", tests, NULL, NULL);
}
