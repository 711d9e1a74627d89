/* The hash is XXH3 with 64 bits, in files for ever: values known from its specification. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "checksum.h"
#include "support/api.h"

static void the_hash_of_the_same_bytes_never_changes(void **state)
{
    (void)state;
    EQUAL(lqi_checksum("", 0), 0x2d06800538d394c2u);
    EQUAL(lqi_checksum("abc", 3), 0x78af5f94892f3950u);
    EQUAL(lqi_checksum_at("", 0, 0), lqi_checksum("", 0));
    EQUAL(lqi_checksum_at("abc", 3, 0), lqi_checksum("abc", 3));
}

static void the_hash_depends_on_the_seed_in_all_its_bits(void **state)
{
    (void)state;
    uint64_t unseeded = lqi_checksum_at("abc", 3, 0);
    for (int bit = 0; bit < 64; bit++) HOLDS(lqi_checksum_at("abc", 3, (uint64_t)1 << bit) != unseeded);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_hash_of_the_same_bytes_never_changes),
        cmocka_unit_test(the_hash_depends_on_the_seed_in_all_its_bits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
