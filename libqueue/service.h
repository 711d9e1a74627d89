/* The library's one thread: started with the first task, ended with the last.
 * A task is a step that is run when its time has come or its bell has rung. */
#ifndef LQI_SERVICE_H
#define LQI_SERVICE_H

#include <stdbool.h>

#include "wait.h"

struct lqi_task {
    /* Runs in the thread; returns when to run again at the latest (lqi_now_us time). */
    int64_t (*step)(void *context);
    void *context;
    struct lqi_bell *bell;       /* run when it rings; NULL: by time only */
    _Atomic uint32_t deaf;       /* not 0: never mind the bell just now (lqi_service_kick() when that changes) */
    int64_t due_us;
    _Atomic bool removed;        /* a step may look whether it is the last */
    struct lqi_task *next;
};

int lqi_service_add(struct lqi_task *task); /* LQ_ELIMIT: no thread could be started */
/* On return the step is not running and the task is not known any more, unless the caller is that very step. Another step may be it: a
 * handler closes what it likes, but for its own consumer. */
void lqi_service_remove(struct lqi_task *task);
void lqi_service_kick(void); /* have it look at all tasks now */

#endif
