/* Files as text that can be reviewed and compared line by line: as `hexdump -C` shows them, each below a line with its
 * name. Lines that repeat the one above are left out, and `*` stands for them; the last line says the size.
 *
 *     == consumers/done.pos
 *     00000000  4c 51 70 6f 73 0d 0a 00  01 00 00 00 00 00 00 00  |LQpos...........|
 *     00000010  00 00 00 00 00 00 00 00  00 00 00 00 00 00 00 00  |................|
 *     *
 *     00000200
 */
#ifndef SUPPORT_HEXDUMP_H
#define SUPPORT_HEXDUMP_H

#include <stdint.h>
#include <stdio.h>

void hexdump_write(FILE *to, const char *name, const uint8_t *bytes, size_t size);

enum { HEXDUMP_NAME_MAX = 199 };

/* The next file: its name and its bytes, malloced; NULL behind the last. Fails the test when the text is not as above. */
uint8_t *hexdump_read(FILE *from, char name[HEXDUMP_NAME_MAX + 1], size_t *size_out);

#endif
