/* A command run for a message: the body on its standard input, and in its
 * environment LQ_QUEUE, LQ_CONSUMER, LQ_ID, LQ_TIME, LQ_ATTEMPTS, LQ_SIZE and LQ_KEY (when the
 * message has a key without NUL). */
#ifndef CLI_CHILD_H
#define CLI_CHILD_H

#include "libqueue.h"

/* Runs argv[0], found by PATH, and waits for its end. Returns its exit code, or
 * 128 + the signal that killed it, or -1 with errno when it could not be started.
 * A stop that is asked for meanwhile is passed on to it. */
int child_run(char *const argv[], const char *queue, const char *consumer, const lq_message *message);

#endif
