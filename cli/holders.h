/* Who has a queue open: found in /proc, for processes that we may look into. */
#ifndef CLI_HOLDERS_H
#define CLI_HOLDERS_H

#include <stddef.h>
#include <sys/types.h>

struct holder {
    pid_t pid;
    char name[32]; /* of its program, as the kernel keeps it */
};

/* Fills `holders` with up to `max` processes, ourselves left out, that have a
 * file below the directory `path` open; returns how many. */
size_t holders_find(const char *path, struct holder *holders, size_t max);

#endif
