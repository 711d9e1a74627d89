/* Base64 both ways. */
#include "base64.h"

#include "out.h"

#include <stdint.h>
#include <string.h>

static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void base64_write(const void *bytes, size_t size)
{
    const unsigned char *byte = bytes;
    char four[4];

    for (; size >= 3; size -= 3, byte += 3) {
        four[0] = letters[byte[0] >> 2];
        four[1] = letters[(byte[0] & 3) << 4 | byte[1] >> 4];
        four[2] = letters[(byte[1] & 15) << 2 | byte[2] >> 6];
        four[3] = letters[byte[2] & 63];
        out_bytes(four, 4);
    }
    if (size == 0) return;
    four[0] = letters[byte[0] >> 2];
    four[1] = letters[(byte[0] & 3) << 4 | (size == 2 ? byte[1] >> 4 : 0)];
    four[2] = size == 2 ? letters[(byte[1] & 15) << 2] : '=';
    four[3] = '=';
    out_bytes(four, 4);
}

/* 0 to 63, or -1. */
static int value_of(char letter)
{
    if (letter >= 'A' && letter <= 'Z') return letter - 'A';
    if (letter >= 'a' && letter <= 'z') return letter - 'a' + 26;
    if (letter >= '0' && letter <= '9') return letter - '0' + 52;
    if (letter == '+') return 62;
    return letter == '/' ? 63 : -1;
}

bool base64_decode(char *text, size_t size, size_t *size_out)
{
    size_t padding = 0, written = 0;
    uint32_t bits = 0;
    unsigned count = 0;

    if (size % 4 != 0) return false;
    while (padding < 2 && size > 0 && text[size - 1] == '=') size--, padding++;
    for (size_t i = 0; i < size; i++) {
        int value = value_of(text[i]);

        if (value < 0) return false;
        bits = bits << 6 | (uint32_t)value;
        count += 6;
        if (count < 8) continue;
        count -= 8;
        text[written++] = (char)(bits >> count);
    }
    if (bits & ((1u << count) - 1)) return false; /* not zero: another text would decode to the same */
    *size_out = written;
    return true;
}
