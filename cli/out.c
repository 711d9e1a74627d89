/* The buffer in front of standard output, and colour. */
#include "out.h"

#include "report.h"
#include "utf8.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { BUFFER_SIZE = 256 * 1024 };

static char buffer[BUFFER_SIZE];
static size_t used;
static int failed; /* the errno of the first failure, 0: none */

/* Writes all of it or sets `failed`. */
static void write_all(const char *bytes, size_t size)
{
    while (size > 0 && !failed) {
        ssize_t written = write(STDOUT_FILENO, bytes, size);

        if (written >= 0) {
            bytes += written;
            size -= (size_t)written;
        } else if (errno == EAGAIN) {
            /* Somebody who shares the pipe with us has made it non-blocking. */
            poll(&(struct pollfd){.fd = STDOUT_FILENO, .events = POLLOUT}, 1, -1);
        } else if (errno != EINTR) {
            failed = errno;
        }
    }
}

bool out_flush(void)
{
    write_all(buffer, used);
    used = 0;
    return !failed;
}

bool out_ended(void)
{
    return failed != 0;
}

bool out_abandoned(void)
{
    struct pollfd output = {.fd = STDOUT_FILENO};

    if (!failed && poll(&output, 1, 0) == 1) failed = EPIPE;
    return failed != 0;
}

void out_bytes(const void *bytes, size_t size)
{
    if (size > sizeof buffer - used) out_flush();
    if (size > sizeof buffer) {
        write_all(bytes, size);
        return;
    }
    if (size) memcpy(buffer + used, bytes, size);
    used += size;
}

void out_text(const char *text)
{
    out_bytes(text, strlen(text));
}

void out_char(char byte)
{
    if (used == sizeof buffer) out_flush();
    buffer[used++] = byte;
}

void out_format(const char *format, ...)
{
    char text[1024];
    va_list arguments;
    int size;

    va_start(arguments, format);
    size = vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    assert(size >= 0 && (size_t)size < sizeof text);
    out_bytes(text, (size_t)size);
}

void out_escaped(const void *bytes, size_t size)
{
    const char *from = bytes;

    while (size > 0) {
        size_t taken;

        if (sizeof buffer - used < UTF8_ESCAPE_MAX) out_flush();
        used += utf8_escape(from, size, buffer + used, sizeof buffer - used, &taken);
        from += taken;
        size -= taken;
    }
}

int out_finish(int end)
{
    out_flush();
    if (!failed) return end;
    if (failed == EPIPE) return end == END_NO ? END_DONE : end;
    errno = failed;
    return end_worse(end, report_errno(NULL, "cannot write to standard output"));
}

/* ---- colour ------------------------------------------------------------ */

static enum paint_when colour_when = PAINT_AUTO;

void paint_when(enum paint_when when)
{
    colour_when = when;
}

bool out_is_terminal(void)
{
    static int known = -1;

    if (known < 0) known = isatty(STDOUT_FILENO);
    return known == 1;
}

static bool wants_colour(void)
{
    const char *no_colour = getenv("NO_COLOR"), *term = getenv("TERM");

    if (colour_when != PAINT_AUTO) return colour_when == PAINT_ALWAYS;
    return out_is_terminal() && !(no_colour && *no_colour) && term && strcmp(term, "dumb") != 0;
}

const char *paint(enum paint colour)
{
    static const char *const codes[] = {
        [PAINT_NONE] = "\033[0m", [PAINT_BOLD] = "\033[1m",    [PAINT_DIM] = "\033[2m",   [PAINT_RED] = "\033[1;31m",
        [PAINT_GREEN] = "\033[32m", [PAINT_YELLOW] = "\033[33m", [PAINT_CYAN] = "\033[36m",
    };

    return wants_colour() ? codes[colour] : "";
}
