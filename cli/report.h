/* Telling what went wrong, in one manner for all commands:
 *
 *     lq: QUEUE: what failed: why
 *     hint: what to do about it
 *
 * on standard error, one line each, with control characters escaped. And the
 * one place where a code of the library becomes an exit code. */
#ifndef CLI_REPORT_H
#define CLI_REPORT_H

/* What a command ends with. A script may rely on these. */
enum {
    END_DONE = 0,   /* done */
    END_NO = 1,     /* the answer is no, nothing there, time-out */
    END_USAGE = 2,  /* wrong usage */
    END_DAMAGE = 3, /* damage found */
    END_CANNOT = 4  /* missing, permission, in use, I/O, newer format */
};

/* The exit code for a code of the library. */
int end_of_code(int code);

/* The graver of two ends, so that a loop can go on: damage outweighs the rest. */
int end_worse(int one, int other);

/* "lq: SUBJECT: text"; SUBJECT is a queue or a command, and may be NULL. */
void report(const char *subject, const char *format, ...) __attribute__((format(printf, 2, 3)));
void hint(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* "lq: QUEUE: what: why", the why from lq_error_text(), with the hint that
 * belongs to the code. Call it before anything else can fail. Returns the end. */
int report_code(const char *queue, const char *what, int code);

/* The same with strerror(errno); always END_CANNOT. */
int report_errno(const char *subject, const char *what);

/* Wrong usage: tells so, points to the command's help and exits with 2. For
 * the time before anything is open. The command is known from usage_of(). */
_Noreturn void usage(const char *format, ...) __attribute__((format(printf, 1, 2)));
void usage_of(const char *command);

#endif
