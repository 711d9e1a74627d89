/* Text from strangers: what is UTF-8, and what must not reach a terminal.
 *
 * Bodies, keys, names of directories and texts of errors may hold anything. A
 * view shows them with every byte that could move a cursor, ring a bell or turn
 * the reading direction written as an escape (\n \t \x1b \u202e), so that
 * nothing in a queue can act on the terminal of the one who looks. */
#ifndef CLI_UTF8_H
#define CLI_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The size of the character at `text` and its code; 0 when the bytes are not
 * UTF-8 (overlong, surrogate, cut short, beyond U+10FFFF). `size` is at least 1. */
size_t utf8_decode(const void *text, size_t size, uint32_t *code_out);

/* Writes the character to `text` (room for 4) and returns its size. */
size_t utf8_encode(uint32_t code, char *text);

bool utf8_valid(const void *text, size_t size);

/* A control character (C0, DEL, C1), a mark that changes the reading direction,
 * or a line separator. */
bool utf8_unsafe(uint32_t code);

/* Writes `text` escaped to `to` (at most `room` bytes, no NUL is added), stops
 * before what does not fit, and says how many bytes of `text` it took. */
enum { UTF8_ESCAPE_MAX = 10 }; /* the most that one step writes */
size_t utf8_escape(const void *text, size_t size, char *to, size_t room, size_t *taken_out);

/* The same for short texts: cuts what does not fit and ends with a NUL. */
void utf8_escape_line(const char *text, char *to, size_t room);

/* Columns that valid text takes on a terminal, counting one for each character. */
size_t utf8_width(const char *text);

#endif
