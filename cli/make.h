/* Options of a queue that a command may have to make: put and replay. */
#ifndef CLI_MAKE_H
#define CLI_MAKE_H

#include "libqueue.h"
#include "verb.h"

extern const struct flag make_flags[];

/* Fills `options`; the flag is one of make_flags. */
void make_flag(lq_options *options, int flag, const char *value);

#endif
