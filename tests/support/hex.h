/* Bytes in tests, written as hex: "4c51 7365", spaces and newlines as you like. */
#ifndef SUPPORT_HEX_H
#define SUPPORT_HEX_H

#include <stddef.h>
#include <stdint.h>

/* Returns how many bytes it stands for; they are in `bytes`, which has room for `room`. */
size_t hex_bytes(const char *hex, uint8_t *bytes, size_t room);

/* Fails the test, showing the line of 16 bytes that differs, unless the bytes are those of `hex` (1024 at
 * most). */
void hex_assert_equal(const uint8_t *bytes, size_t size, const char *hex);

#endif
