/* Error lines, hints and exit codes. */
#include "report.h"

#include "libqueue.h"
#include "utf8.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LINE_MAX_SIZE = 4096 };

/* Whose help a wrong usage points to. */
static const char *command_name;

int end_of_code(int code)
{
    switch (code) {
    case LQ_OK: return END_DONE;
    case LQ_EMPTY:
    case LQ_TIMEOUT: return END_NO;
    case LQ_EINVAL:
    case LQ_ENAME: return END_USAGE;
    case LQ_ECORRUPT: return END_DAMAGE;
    default: return END_CANNOT;
    }
}

int end_worse(int one, int other)
{
    static const int gravity[] = {[END_DONE] = 0, [END_NO] = 1, [END_USAGE] = 2, [END_CANNOT] = 3, [END_DAMAGE] = 4};

    return gravity[one] >= gravity[other] ? one : other;
}

/* Writes one line in one piece, so that lines of several processes do not mix. */
static void put_line(const char *prefix, const char *subject, const char *format, va_list arguments)
{
    char text[LINE_MAX_SIZE], safe[LINE_MAX_SIZE], name[LINE_MAX_SIZE / 4] = "";

    vsnprintf(text, sizeof text, format, arguments);
    utf8_escape_line(text, safe, sizeof safe);
    if (subject) utf8_escape_line(subject, name, sizeof name);
    fprintf(stderr, "%s%s%s%s\n", prefix, name, subject ? ": " : "", safe);
    fflush(stderr);
}

void report(const char *subject, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    put_line("lq: ", subject, format, arguments);
    va_end(arguments);
}

void hint(const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    put_line("hint: ", NULL, format, arguments);
    va_end(arguments);
}

static void hint_for_code(const char *queue, int code)
{
    switch (code) {
    case LQ_EMISMATCH: hint("lq stat %s shows the options that it was made with", queue); break;
    case LQ_ENOTQUEUE: hint("lq ls DIRECTORY lists the queues below a directory"); break;
    case LQ_EPOISONED: hint("when the disk is well, end all processes that use the queue and start them anew"); break;
    case LQ_ECORRUPT: hint("lq verify %s says what is damaged and what is lost", queue); break;
    case LQ_EFULL: hint("lq stat %s shows which consumer holds back the deletion of old messages", queue); break;
    case LQ_ENAME: hint("a name is 1 to %d of A-Z a-z 0-9 . _ - and does not begin with . or -", LQ_NAME_MAX); break;
    default: break;
    }
}

int report_code(const char *queue, const char *what, int code)
{
    const char *why = lq_error_text();

    /* "Nothing there" is no failure and leaves no text behind. */
    if (code > 0 || !*why) why = lq_strerror(code);
    report(queue, "%s: %s", what, why);
    hint_for_code(queue, code);
    return end_of_code(code);
}

int report_errno(const char *subject, const char *what)
{
    report(subject, "%s: %s", what, strerror(errno));
    return END_CANNOT;
}

void usage_of(const char *command)
{
    command_name = command;
}

void usage(const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    put_line("lq: ", command_name, format, arguments);
    va_end(arguments);
    if (command_name) hint("lq help %s", command_name);
    else hint("lq help");
    exit(END_USAGE);
}
