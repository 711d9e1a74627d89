/* Help: twelve lines for `lq` alone, a list of commands, a page for each. */
#ifndef CLI_HELP_H
#define CLI_HELP_H

#include <stdio.h>

struct verb;

/* The twelve lines. */
void help_short(FILE *file);

/* To standard output: the page of one command; all commands. */
void help_of(const struct verb *verb);
void help_all(void);

/* "lq: unknown command", with the nearest as a hint; returns END_USAGE. */
int help_unknown(const char *name);

#endif
