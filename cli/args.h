/* The arguments of a command: flags anywhere, operands collected, `--` ends the flags.
 *
 *     while ((flag = args_next(args)) != ARGS_END)
 *         switch (flag) { case 'n': ... args->value ... }
 *
 * Flags that every command has (--help, -C, --color) are dealt with here; a
 * flag that does not exist ends the program with a usage error. */
#ifndef CLI_ARGS_H
#define CLI_ARGS_H

#include "verb.h"

#include <getopt.h>

enum { ARGS_END = -1, ARGS_FLAGS_MAX = 64 };

struct args {
    const struct verb *verb;
    const char *root;     /* from -C or LQ_ROOT, NULL: none */
    const char *value;    /* of the flag that args_next() gave */
    char **operands;      /* what is no flag, in order, ended by NULL */
    int count;
    int dashes;           /* index of the first operand behind `--`, or -1 */

    int argc;
    char **argv;
    char letters[2 * ARGS_FLAGS_MAX + 3];
    struct option options[ARGS_FLAGS_MAX + 1];
};

/* argv[0] is the command's name. Release with args_release(). */
void args_init(struct args *args, const struct verb *verb, const char *root, int argc, char **argv);
void args_release(struct args *args);

int args_next(struct args *args);

/* For a command without flags of its own: collects the operands. */
void args_take_operands(struct args *args);

/* Usage errors unless there are so many operands; most -1: any number. */
void args_expect(const struct args *args, int least, int most, const char *what);

/* Sets the colour from the value of --color. */
void args_color(const char *value);

extern const struct flag common_flags[];

#endif
