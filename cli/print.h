/* How a message is shown: the flags of cat, tail, peek, get and replay.
 *
 *   view    id, time, size, key and the body's beginning on one line, escaped: for people (cat, tail, peek)
 *   plain   the body and a newline; escaped only when it goes to a terminal (get, replay)
 *   raw     the body as it is and a newline (-0: a NUL; -j: nothing)
 *   json    an object per line: everything, nothing cut; `lq put --json` takes it back
 *   hex     a heading and sixteen bytes per line
 *   format  as -F says; parts of the message escaped only when it goes to a terminal */
#ifndef CLI_PRINT_H
#define CLI_PRINT_H

#include "libqueue.h"
#include "verb.h"

#include <stdbool.h>

enum print_style { PRINT_VIEW, PRINT_PLAIN, PRINT_RAW, PRINT_JSON, PRINT_HEX, PRINT_FORMAT };

struct print {
    enum print_style style;
    const char *format;   /* PRINT_FORMAT */
    const char *ending;   /* PRINT_RAW: one byte behind each body */
    size_t ending_size;
    bool chosen;          /* a flag has set the style */
};

extern const struct flag print_flags[];

void print_init(struct print *print, enum print_style style);

/* True when the flag was one of print_flags. Two different styles are a usage error. */
bool print_flag(struct print *print, int flag, const char *value);

/* To standard output; not flushed. */
void print_message(const struct print *print, const lq_message *message);

#endif
