/* From the QUEUE that the user typed to an open queue. */
#ifndef CLI_LOCATE_H
#define CLI_LOCATE_H

#include "libqueue.h"

struct args;

/* A usage error when the name is empty: for commands that hold something already when they open it. */
void locate_check(const char *name);

/* The directory meant by `name`: below the root, when there is one and the name
 * has no slash and does not begin with a dot; else the name as it is. Free it. */
char *locate_path(const struct args *args, const char *name);

/* Opens it. On failure all has been told (with the nearest name when there is no
 * such queue) and the END_ code is returned; END_DONE otherwise. */
int locate_open(const struct args *args, const char *name, const lq_options *options, lq_queue **queue_out);

/* The same to look only. */
int locate_look(const struct args *args, const char *name, lq_queue **queue_out);

/* Hints at a queue beside `path` that is called nearly so. */
void locate_hint(const char *name, const char *path);

/* "No such consumer", with the nearest as a hint; returns END_CANNOT. */
int locate_no_consumer(lq_queue *queue, const char *queue_name, const char *consumer);

/* Closes, and tells of a failure; returns the graver of `end` and that. NULL is fine. */
int locate_close(lq_queue *queue, const char *name, int end);

#endif
