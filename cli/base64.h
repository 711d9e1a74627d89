/* Base64 (RFC 4648, section 4), for bodies that are not UTF-8. */
#ifndef CLI_BASE64_H
#define CLI_BASE64_H

#include <stdbool.h>
#include <stddef.h>

/* `size` bytes as text to standard output. */
void base64_write(const void *bytes, size_t size);

/* Decodes in place. Strict: padding is wanted, spaces and stray bits are not. */
bool base64_decode(char *text, size_t size, size_t *size_out);

#endif
