/* Options of a queue that a command may have to make: put and replay. */
#ifndef CLI_MAKE_H
#define CLI_MAKE_H

#include "libqueue.h"
#include "verb.h"

#include <stdbool.h>

extern const struct flag make_flags[];

/* True when the flag was one of make_flags; fills `options`. */
bool make_flag(lq_options *options, int flag, const char *value);

#endif
