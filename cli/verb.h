/* A command of lq: what it is called, what its help says, which flags it takes,
 * and the function that runs it. The help text and the option parser are both
 * made from this one description, so they cannot disagree. */
#ifndef CLI_VERB_H
#define CLI_VERB_H

#include <stdbool.h>

struct args;

/* One flag. `letter` is its short form, or a code from 256 on when it has none. */
struct flag {
    const char *name;  /* long form, without dashes; a NULL ends the table */
    int letter;
    const char *value; /* what stands behind it in the help; NULL: it takes no value */
    const char *about;
};

/* Codes of flags without a letter: each group of flags has a range of its own. */
enum { FLAGS_COMMON = 256, FLAGS_VERB = 300, FLAGS_RANGE = 400, FLAGS_PRINT = 500, FLAGS_MAKE = 600 };

struct verb {
    const char *name;
    const char *synopsis;
    const char *summary;                /* one line for the list of commands */
    const char *examples;               /* whole lines, shown first */
    const char *about;                  /* whole lines */
    const struct flag *const *groups;   /* tables of flags, ended by NULL */
    bool changes;                       /* writes to a queue */
    bool mends;                         /* writes to its files, when nobody uses it */
    int (*run)(struct args *args);      /* returns an END_ code; standard output is finished by main() */
};

/* All commands, in the order of the help, ended by NULL. */
extern const struct verb *const verbs[];

/* NULL when there is none of that name. */
const struct verb *verb_find(const char *name);

extern const struct verb verb_put, verb_get, verb_peek, verb_tail, verb_cat, verb_ls, verb_stat, verb_segments,
    verb_verify, verb_repair, verb_replay, verb_demo, verb_help, verb_version;

#endif
