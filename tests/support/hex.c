/* See hex.h. */
#include "hex.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

size_t hex_bytes(const char *hex, uint8_t *bytes, size_t room)
{
    static const char digits[] = "0123456789abcdef";
    size_t count = 0;

    for (const char *at = hex; *at; at++) {
        if (!strchr(digits, *at)) continue;
        if (!at[1] || !strchr(digits, at[1])) fail_msg("half a byte: %s", at);
        if (count == room) fail_msg("more than %zu bytes: %s", room, at);
        bytes[count++] = (uint8_t)((strchr(digits, at[0]) - digits) * 16 + (strchr(digits, at[1]) - digits));
        at++;
    }
    return count;
}

static void line_of(char line[16 * 3 + 1], const uint8_t *bytes, size_t size)
{
    line[0] = 0;
    for (size_t i = 0; i < size; i++) snprintf(line + i * 3, 4, "%02x ", bytes[i]);
}

void hex_assert_equal(const uint8_t *bytes, size_t size, const char *hex)
{
    uint8_t wanted[1024];
    char is[16 * 3 + 1], should[16 * 3 + 1];

    assert_int_equal(size, hex_bytes(hex, wanted, sizeof wanted));
    for (size_t at = 0; at < size; at += 16) {
        size_t piece = size - at < 16 ? size - at : 16;
        if (memcmp(bytes + at, wanted + at, piece) == 0) continue;
        line_of(is, bytes + at, piece);
        line_of(should, wanted + at, piece);
        fail_msg("at byte %zu\n  is        %s\n  should be %s", at, is, should);
    }
}
