/* The head that all our files have, twice: one good copy is enough, and what is wrong with a bad one is said. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "bytes.h"
#include "checksum.h"
#include "stamp.h"
#include "support/api.h"
#include "support/hex.h"

enum { COPY = 64, VERSION = 8, IGNORE = 16, REFUSE = 20, UUID = 24, OWN = LQI_STAMP_HEAD };

static const struct lqi_stamp kind = {"LQtest\r\n", 3, COPY};
static const uint8_t uuid[] = {"0123456789abcdef and what lies behind it"}, other[16] = "fedcba987654321";
static uint8_t file[2 * COPY + 1];

static void make(void)
{
    memset(file, 0xaa, sizeof file);
    lqi_stamp_begin(file, &kind, uuid);
    for (size_t at = OWN; at < COPY; at++) EQUAL(file[at], 0);
    memcpy(file + OWN, "its own", 7);
    lqi_stamp_end(file, &kind);
}

/* Changes a byte, and mends the checksum: whoever wrote that meant it. */
static void write_so(int copy, size_t at, uint8_t value)
{
    uint8_t *bytes = file + copy * COPY;
    bytes[at] = value;
    lqi_put64(bytes + COPY - 8, lqi_checksum(bytes, COPY - 8));
}

/* The copy that counts is `copy`, 0 or 1, and `damaged` is told of the other. */
static void good(int copy, int64_t damaged)
{
    const uint8_t *found = NULL;
    int64_t told = 77;
    OK(lqi_stamp_find(file, sizeof file, &kind, uuid, "the/file", &found, &told));
    HOLDS(found == file + copy * COPY);
    EQUAL(told, damaged);
    OK(lqi_stamp_find(file, 2 * COPY, &kind, NULL, "the/file", &found, NULL));
    HOLDS(found == file + copy * COPY);
}

static void bad(size_t size, const uint8_t *of, int code, unsigned byte, const char *why)
{
    const uint8_t *found = NULL;
    int64_t told = 77;
    char place[16];
    snprintf(place, sizeof place, "at byte %u:", byte);
    IS(code, lqi_stamp_find(file, size, &kind, of, "the/file", &found, &told));
    TEXT_HAS("the/file", place, why);
    HOLDS(found == NULL);
    EQUAL(told, 77);
}

static void a_head_is_these_bytes_twice(void **state)
{
    (void)state;
    make();
    for (int copy = 0; copy < 2; copy++)
        hex_assert_equal(file + copy * COPY, COPY - 8,
                         "4c51746573740d0a 0300 000000000000 00000000 00000000 "
                         "30313233343536373839616263646566 697473206f776e00 0000000000000000");
    EQUAL(lqi_get64(file + COPY - 8), lqi_checksum(file, COPY - 8));
    HOLDS(memcmp(file, file + COPY, COPY) == 0);
    EQUAL(file[2 * COPY], 0xaa);
    good(0, -1);
}

static void whatever_byte_is_damaged_the_other_copy_counts(void **state)
{
    (void)state;
    for (int at = 0; at < 2 * COPY; at++) {
        make();
        file[at] ^= 0x10;
        good(at < COPY, at < COPY ? 0 : COPY);
    }
}

static void two_damaged_copies_are_told_with_what_is_wrong_in_the_first(void **state)
{
    (void)state;
    make();
    file[0] = file[COPY] = 'l';
    bad(sizeof file, uuid, LQ_ECORRUPT, 0, "magic");
    make();
    file[7] = file[COPY + 40] = 'l';
    bad(sizeof file, uuid, LQ_ECORRUPT, 0, "magic");
    make();
    file[OWN] = file[COPY] = 'x';
    bad(sizeof file, uuid, LQ_ECORRUPT, 0, "checksum");
    make();
    memset(file, 0, sizeof file);
    bad(sizeof file, NULL, LQ_ECORRUPT, 0, "magic");
}

static void a_file_that_ends_inside_its_head_is_told(void **state)
{
    (void)state;
    for (size_t size = 0; size < 2 * COPY; size++) {
        make();
        bad(size, uuid, LQ_ECORRUPT, (unsigned)size, "ends inside its header");
    }
    good(0, -1);
}

static void what_a_newer_library_wrote_is_refused_as_such(void **state)
{
    static const struct { size_t at; uint8_t value; const char *why; } cases[] = {
        {VERSION, 4, "newer version"}, {VERSION + 1, 1, "newer version"}, {REFUSE, 1, "features"}, {REFUSE + 3, 0x80, "features"}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        unsigned byte = cases[i].at < REFUSE ? VERSION : REFUSE;
        make();
        for (int copy = 0; copy < 2; copy++) write_so(copy, cases[i].at, cases[i].value);
        bad(sizeof file, uuid, LQ_EVERSION, byte, cases[i].why);
        /* It can be proved by either copy, when the other one is damaged. */
        file[OWN] ^= 1;
        bad(sizeof file, uuid, LQ_EVERSION, COPY + byte, cases[i].why);
        file[OWN] ^= 1;
        file[COPY + OWN] ^= 1;
        bad(sizeof file, uuid, LQ_EVERSION, byte, cases[i].why);
        /* A flipped bit is no newer library. */
        make();
        file[cases[i].at] = file[COPY + cases[i].at] = cases[i].value;
        bad(sizeof file, uuid, LQ_ECORRUPT, 0, "checksum");
    }
}

static void older_versions_and_features_to_ignore_are_read(void **state)
{
    (void)state;
    for (uint8_t version = 1; version <= 3; version++) {
        make();
        for (int copy = 0; copy < 2; copy++) write_so(copy, VERSION, version);
        good(0, -1);
    }
    make();
    for (int copy = 0; copy < 2; copy++)
        for (size_t at = IGNORE; at < REFUSE; at++) write_so(copy, at, 0xff);
    good(0, -1);
    make();
    for (int copy = 0; copy < 2; copy++) write_so(copy, VERSION, 0);
    bad(sizeof file, uuid, LQ_ECORRUPT, VERSION, "no version 0");
}

static void a_file_of_another_queue_is_refused_by_who_knows_the_queue(void **state)
{
    const uint8_t *found = NULL;
    (void)state;
    make();
    bad(sizeof file, other, LQ_ECORRUPT, UUID, "another queue");
    OK(lqi_stamp_find(file, sizeof file, &kind, NULL, "the/file", &found, NULL));
    for (int byte = 0; byte < 16; byte++) { /* a copy of it does not count: the file is ours as long as one says so */
        make();
        write_so(0, UUID + (size_t)byte, 'X');
        OK(lqi_stamp_find(file, sizeof file, &kind, uuid, "the/file", &found, NULL));
        HOLDS(found == file + COPY);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_head_is_these_bytes_twice),
        cmocka_unit_test(whatever_byte_is_damaged_the_other_copy_counts),
        cmocka_unit_test(two_damaged_copies_are_told_with_what_is_wrong_in_the_first),
        cmocka_unit_test(a_file_that_ends_inside_its_head_is_told),
        cmocka_unit_test(what_a_newer_library_wrote_is_refused_as_such),
        cmocka_unit_test(older_versions_and_features_to_ignore_are_read),
        cmocka_unit_test(a_file_of_another_queue_is_refused_by_who_knows_the_queue),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
