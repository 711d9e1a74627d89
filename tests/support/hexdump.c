/* See hexdump.h. */
#include "hexdump.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "api.h"

enum { LINE = 16, FILE_SIZE_MAX = 1 << 24 };

static void write_line(FILE *to, size_t at, const uint8_t *bytes, size_t count)
{
    fprintf(to, "%08zx  ", at);
    for (size_t i = 0; i < LINE; i++) {
        if (i < count) fprintf(to, "%02x ", bytes[i]);
        else fputs("   ", to);
        if (i == LINE / 2 - 1) fputc(' ', to);
    }
    fputs(" |", to);
    for (size_t i = 0; i < count; i++) fputc(bytes[i] >= ' ' && bytes[i] <= '~' ? bytes[i] : '.', to);
    fputs("|\n", to);
}

void hexdump_write(FILE *to, const char *name, const uint8_t *bytes, size_t size)
{
    bool starred = false;

    fprintf(to, "== %s\n", name);
    for (size_t at = 0; at < size; at += LINE) {
        bool repeats = at >= LINE && size - at >= LINE && memcmp(bytes + at, bytes + at - LINE, LINE) == 0;
        if (!repeats) write_line(to, at, bytes + at, size - at < LINE ? size - at : LINE);
        else if (!starred) fputs("*\n", to);
        starred = repeats;
    }
    fprintf(to, "%08zx\n", size);
}

/* How many bytes the text of a line holds, behind its offset; up to 16 of them are in `bytes`. */
static size_t read_bytes(const char *text, uint8_t bytes[LINE])
{
    size_t count = 0;
    for (char *end; count < LINE; text = end) {
        while (*text == ' ') text++;
        if (!isxdigit((unsigned char)*text)) break;
        bytes[count++] = (uint8_t)strtoul(text, &end, 16);
    }
    return count;
}

/* Fills in what a `*` stood for. */
static void repeat(uint8_t *bytes, size_t from, size_t to)
{
    HOLDS(from >= LINE && from % LINE == 0);
    for (size_t at = from; at < to; at++) bytes[at] = bytes[at - LINE];
}

static uint8_t *read_file(FILE *from, size_t *size_out)
{
    uint8_t *bytes = NULL, line_bytes[LINE];
    size_t size = 0, count = LINE;
    bool starred = false;
    char line[200], *text;

    while (count) {
        HOLDS(fgets(line, sizeof line, from) != NULL);
        if (line[0] == '*') {
            starred = true;
            continue;
        }
        size_t at = strtoul(line, &text, 16);
        count = read_bytes(text, line_bytes);
        HOLDS(text != line && at <= FILE_SIZE_MAX && (starred ? at > size : at == size));
        bytes = realloc(bytes, at + LINE);
        HOLDS(bytes != NULL);
        if (starred) repeat(bytes, size, at);
        memcpy(bytes + at, line_bytes, count);
        size = at + count;
        starred = false;
    }
    *size_out = size;
    return bytes;
}

uint8_t *hexdump_read(FILE *from, char name[HEXDUMP_NAME_MAX + 1], size_t *size_out)
{
    char line[HEXDUMP_NAME_MAX + 10];

    if (!fgets(line, sizeof line, from)) return NULL;
    HOLDS(strncmp(line, "== ", 3) == 0 && strlen(line) - 3 <= HEXDUMP_NAME_MAX);
    snprintf(name, HEXDUMP_NAME_MAX + 1, "%.*s", (int)strcspn(line + 3, "\n"), line + 3);
    return read_file(from, size_out);
}
