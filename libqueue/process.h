/* What a process must remember across fork: its open queues.
 *
 * A child inherits descriptors, and with the descriptor of `meta` the locks that prove
 * its parent alive. So in the child, at once, those descriptors (of `meta` and `shared`) are closed
 * and the handles marked as the parent's. Who forks while one is being opened has a child that cannot know of it:
 * then it is opened again, and the child's copy is of an open file that never gets a lock. (To hold forks
 * off meanwhile would be to hang the program with a disk that hangs.) */
#ifndef LQI_PROCESS_H
#define LQI_PROCESS_H

#include <stdatomic.h>

#include "io.h"

struct lqi_forkable {
    struct lqi_file *lock_files[2]; /* whose descriptors the child must not keep */
    _Atomic int forked;          /* set in the child */
    struct lqi_forkable *next;
};

int lqi_process_add(struct lqi_forkable *queue); /* LQ_ENOMEM */
/* How many forks have begun, of which none is under way. Unchanged after a descriptor was opened and noted: no child has it unknown. */
unsigned lqi_process_forks(void);
bool lqi_process_forked_since(unsigned forks);
void lqi_process_remove(struct lqi_forkable *queue); /* and closes those files: there is no moment between the two for a fork */

/* Called in the child, after the queues were marked; for the service thread, which is not there. One only. */
void lqi_process_on_fork(void (*prepare)(void), void (*parent)(void), void (*child)(void));

#endif
