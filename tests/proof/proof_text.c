/* What lq reads and shows of strangers: cli/utf8.c, the decoder of cli/base64.c.
 *
 *   holds  -DCHARACTER
 *   holds  -DBYTES
 *   holds  -DESCAPE
 *   holds  -DBASE64
 *   fails  -DCHARACTER  utf8.c  s/0xf0 | code >> 18/0xf0 | code >> 19/
 *   fails  -DBYTES  utf8.c  s/if (length > size) return 0;//
 *   fails  -DBYTES  utf8.c  s/code < smallest\[length\] ||//
 *   fails  -DESCAPE  utf8.c  s/step_size > room - written/step_size > room/
 *   fails  -DBASE64  base64.c  s/if (bits \& ((1u << count) - 1)) return false;//
 *
 * cbmc: --unwind 13
 */
#include "proof.h"

#include <stdio.h>

#include "base64.c"
/* As printf does it, as far as it is used here: \\x and two digits, \\u and four, or two letters. */
static int shown(char *to, const char *format, unsigned value);
#define sprintf(to, ...) shown(to, __VA_ARGS__, 0u)
#define shown(to, format, value, ...) shown(to, format, value)
#include "utf8.c"
#undef shown

static int shown(char *to, const char *format, unsigned value)
{
    int digits = format[1] == 'x' || format[2] == 'x' ? 2 : format[1] == 'u' || format[2] == 'u' ? 4 : 0;
    for (int i = 0; i < 2 + digits; i++) to[i] = '0';
    to[2 + digits] = 0;
    PROVE(digits == 0 || value < (digits == 2 ? 0x100u : 0x10000u));
    return 2 + digits;
}

void out_bytes(const void *bytes, size_t size)
{
    (void)bytes;
    (void)size;
}

static void each_character_comes_back(void)
{
    char text[4];
    uint32_t code = nondet_u32(), out;
    ASSUME(code <= 0x10ffff && !(code >= 0xd800 && code < 0xe000));
    size_t size = utf8_encode(code, text);
    PROVE(size >= 1 && size <= 4);
    PROVE(utf8_decode(text, size, &out) == size && out == code);
    PROVE(size == 1 || utf8_decode(text, size - 1, &out) == 0);
}

/* What is taken for a character is the one encoding of it. */
static void any_bytes_are_one_encoding_or_none(void)
{
    size_t size = nondet_size();
    ASSUME(size >= 1 && size <= 4);
    uint8_t *bytes = any_bytes(size);
    char text[4];
    uint32_t code;
    size_t length = utf8_decode(bytes, size, &code);

    PROVE(length <= size);
    if (length == 0) return;
    PROVE(code <= 0x10ffff && !(code >= 0xd800 && code < 0xe000));
    PROVE(utf8_encode(code, text) == length);
    for (size_t i = 0; i < length; i++) PROVE((uint8_t)text[i] == bytes[i]);
}

static void escapes_stay_in_their_room(void)
{
    size_t size = nondet_size(), room = nondet_size(), taken;
    uint8_t bytes[2] = {nondet_u8(), nondet_u8()};
    char to[8];
    ASSUME(size <= sizeof bytes && room <= sizeof to);
    size_t written = utf8_escape(bytes, size, to, room, &taken);
    PROVE(written <= room && taken <= size);
    for (size_t i = 0; i < written; i++) PROVE((uint8_t)to[i] >= 0x20 && to[i] != 0x7f);
}

static void base64_of_any_text(void)
{
    char text[8];
    size_t size = nondet_size(), out = 99, i = nondet_size();
    ASSUME(size <= sizeof text);
    for (size_t n = 0; n < sizeof text; n++) text[n] = (char)nondet_u8();
    char before[8];
    memcpy(before, text, sizeof text);
    if (!base64_decode(text, size, &out)) {
        PROVE(out == 99);
        return;
    }
    PROVE(size % 4 == 0 && out <= size / 4 * 3 && out + 2 >= size / 4 * 3);
    /* Strict: letter `i` is what encoding the bytes again would say. */
    ASSUME(i < size && before[i] != '=');
    unsigned first = i % 4 == 0 ? 0 : (unsigned char)text[i / 4 * 3 + i % 4 - 1];
    unsigned second = i / 4 * 3 + i % 4 < out ? (unsigned char)text[i / 4 * 3 + i % 4] : 0;
    unsigned shift = (unsigned)(i % 4) * 2;
    PROVE(letters[((first << 8 | second) >> (2 + shift)) & 63] == before[i] || i % 4 == 3);
}

void proof(void)
{
#if defined(CHARACTER)
    each_character_comes_back();
#elif defined(BYTES)
    any_bytes_are_one_encoding_or_none();
#elif defined(ESCAPE)
    escapes_stay_in_their_room();
#else
    base64_of_any_text();
#endif
}
