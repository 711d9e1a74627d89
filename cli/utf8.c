/* Decoding UTF-8, and the escapes for what a terminal would obey. */
#include "utf8.h"

#include <stdio.h>
#include <string.h>

size_t utf8_decode(const void *text, size_t size, uint32_t *code_out)
{
    static const uint32_t smallest[] = {0, 0, 0x80, 0x800, 0x10000};
    const unsigned char *byte = text;
    uint32_t code = byte[0];
    size_t length;

    if (code < 0x80) length = 1;
    else if (code >= 0xc2 && code < 0xe0) length = 2, code &= 0x1f;
    else if (code >= 0xe0 && code < 0xf0) length = 3, code &= 0x0f;
    else if (code >= 0xf0 && code < 0xf5) length = 4, code &= 0x07;
    else return 0;
    if (length > size) return 0;
    for (size_t i = 1; i < length; i++) {
        if ((byte[i] & 0xc0) != 0x80) return 0;
        code = code << 6 | (byte[i] & 0x3f);
    }
    if (code < smallest[length] || code > 0x10ffff || (code >= 0xd800 && code < 0xe000)) return 0;
    *code_out = code;
    return length;
}

size_t utf8_encode(uint32_t code, char *text)
{
    if (code < 0x80) {
        text[0] = (char)code;
        return 1;
    }
    if (code < 0x800) {
        text[0] = (char)(0xc0 | code >> 6);
        text[1] = (char)(0x80 | (code & 0x3f));
        return 2;
    }
    if (code < 0x10000) {
        text[0] = (char)(0xe0 | code >> 12);
        text[1] = (char)(0x80 | (code >> 6 & 0x3f));
        text[2] = (char)(0x80 | (code & 0x3f));
        return 3;
    }
    text[0] = (char)(0xf0 | code >> 18);
    text[1] = (char)(0x80 | (code >> 12 & 0x3f));
    text[2] = (char)(0x80 | (code >> 6 & 0x3f));
    text[3] = (char)(0x80 | (code & 0x3f));
    return 4;
}

bool utf8_valid(const void *text, size_t size)
{
    const unsigned char *byte = text;
    uint32_t code;
    uint64_t word;

    while (size > 0) {
        /* Most bodies are plain ASCII: eight bytes at a time. */
        if (size >= sizeof word) {
            memcpy(&word, byte, sizeof word);
            if ((word & UINT64_C(0x8080808080808080)) == 0) {
                byte += sizeof word;
                size -= sizeof word;
                continue;
            }
        }
        size_t length = utf8_decode(byte, size, &code);
        if (length == 0) return false;
        byte += length;
        size -= length;
    }
    return true;
}

bool utf8_unsafe(uint32_t code)
{
    if (code < 0x20 || (code >= 0x7f && code < 0xa0)) return true;
    if (code == 0x061c || code == 0x200e || code == 0x200f) return true;
    return (code >= 0x2028 && code <= 0x202e) || (code >= 0x2066 && code <= 0x2069);
}

/* One character, or one byte that is none, escaped into `step`. */
static size_t escape_step(const unsigned char *byte, size_t size, char step[UTF8_ESCAPE_MAX + 1], size_t *taken_out)
{
    uint32_t code = 0;
    size_t length = utf8_decode(byte, size, &code);

    *taken_out = length ? length : 1;
    if (length == 0) return (size_t)sprintf(step, "\\x%02x", byte[0]);
    if (code == '\n') return (size_t)sprintf(step, "\\n");
    if (code == '\t') return (size_t)sprintf(step, "\\t");
    if (code == '\r') return (size_t)sprintf(step, "\\r");
    if (code == '\\') return (size_t)sprintf(step, "\\\\");
    if (code < 0x80) return (size_t)sprintf(step, "\\x%02x", (unsigned)code); /* what is printable does not come here */
    if (utf8_unsafe(code)) return (size_t)sprintf(step, "\\u%04x", (unsigned)code);
    memcpy(step, byte, length);
    return length;
}

size_t utf8_escape(const void *text, size_t size, char *to, size_t room, size_t *taken_out)
{
    const unsigned char *byte = text;
    char step[UTF8_ESCAPE_MAX + 1];
    size_t taken = 0, written = 0;

    while (taken < size) {
        size_t step_taken, step_size;

        if (byte[taken] >= 0x20 && byte[taken] < 0x7f && byte[taken] != '\\') { /* the common case, kept short */
            if (written == room) break;
            to[written++] = (char)byte[taken++];
            continue;
        }
        step_size = escape_step(byte + taken, size - taken, step, &step_taken);
        if (step_size > room - written) break;
        memcpy(to + written, step, step_size);
        written += step_size;
        taken += step_taken;
    }
    *taken_out = taken;
    return written;
}

void utf8_escape_line(const char *text, char *to, size_t room)
{
    size_t taken;

    to[utf8_escape(text, strlen(text), to, room - 1, &taken)] = '\0';
}

size_t utf8_width(const char *text)
{
    size_t width = 0;

    for (; *text; text++) width += ((unsigned char)*text & 0xc0) != 0x80;
    return width;
}
