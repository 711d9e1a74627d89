/* Child processes for tests: to close descriptors, change limits, die. */
#ifndef SUPPORT_CHILD_H
#define SUPPORT_CHILD_H

#include <stdbool.h>
#include <sys/types.h>

/* Runs body(context) in a child and returns what it returned (0 to 99), or 100 + the signal that
 * killed it. Under a time limit of 60 s (SIGALRM). */
int child_run(int (*body)(void *context), void *context);

/* The same without waiting; child_wait() gives the result. The child dies with its parent. */
pid_t child_start(int (*body)(void *context), void *context);
int child_wait(pid_t child);

/* SIGKILL, and gone on return. */
void child_kill(pid_t child);

/* For bodies: leave with a number and a line on stderr unless the condition holds. */
#define CHECK(condition)                                                                         \
    do                                                                                           \
        if (!(condition)) child_fail(__FILE__, __LINE__, #condition);                            \
    while (0)
_Noreturn void child_fail(const char *file, int line, const char *condition);

/* From now on the system call `number` answers `error` in this process, as an older kernel would.
 * False when filters cannot be set here. */
bool child_refuse(int number, int error);

/* Own mounts for this process. False when that is not allowed here. */
bool child_unshare_mounts(void);

enum { CHILD_SKIP = 77 }; /* what a body returns when the thing cannot be tried here */

#endif
