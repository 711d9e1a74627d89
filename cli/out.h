/* Standard output: the data, and nothing else.
 *
 * One buffer, written with write(2), so that a command knows what has really
 * left before it acks a message. The first failure is kept: after it nothing is
 * written any more, commands see it in out_flush() or out_ended() and stop.
 * A closed pipe (lq cat Q | head) is no failure: the reader has had enough. */
#ifndef CLI_OUT_H
#define CLI_OUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

void out_bytes(const void *bytes, size_t size);
void out_text(const char *text);
void out_char(char byte);
void out_format(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* With every byte escaped that a terminal would obey. */
void out_escaped(const void *bytes, size_t size);

/* Everything so far to the system. True when all of it has been taken. */
bool out_flush(void);

/* Nobody reads any more, or writing failed: no use to go on. */
bool out_ended(void);

/* The same, asked of the system: a pipe's reader may have gone while nothing was written. */
bool out_abandoned(void);

/* Flushes, tells of a failure, and returns the end of the command: `end`, or
 * END_DONE when the reader has closed the pipe, or END_CANNOT. */
int out_finish(int end);

/* ---- colour ------------------------------------------------------------ */

enum paint { PAINT_NONE, PAINT_BOLD, PAINT_DIM, PAINT_RED, PAINT_GREEN, PAINT_YELLOW, PAINT_CYAN };
enum paint_when { PAINT_AUTO, PAINT_ALWAYS, PAINT_NEVER };

/* AUTO: only when standard output is a terminal, NO_COLOR is not set and TERM is not "dumb". */
void paint_when(enum paint_when when);

/* The escape code, or "" when there is to be no colour; PAINT_NONE ends a colour. */
const char *paint(enum paint colour);

bool out_is_terminal(void);

#endif
