#include "process.h"

#include <pthread.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static struct lqi_forkable *queues;
static int atfork_error;
static _Atomic unsigned forks;
static void (*also_prepare)(void), (*also_parent)(void), (*also_child)(void);

static void prepare(void)
{
    pthread_mutex_lock(&lock);
    atomic_fetch_add(&forks, 1);
    if (also_prepare) also_prepare();
}

static void in_parent(void)
{
    if (also_parent) also_parent();
    pthread_mutex_unlock(&lock);
}

static void in_child(void)
{
    for (struct lqi_forkable *queue = queues; queue; queue = queue->next) {
        for (size_t i = 0; i < sizeof queue->lock_files / sizeof queue->lock_files[0]; i++)
            lqi_file_close(queue->lock_files[i]);
        atomic_store(&queue->forked, 1);
    }
    if (also_child) also_child();
    pthread_mutex_unlock(&lock);
}

static void install(void)
{
    atfork_error = pthread_atfork(prepare, in_parent, in_child);
}

int lqi_process_add(struct lqi_forkable *queue)
{
    pthread_once(&once, install);
    if (atfork_error) return lqi_fail_errno(atfork_error, "prepare for forks of", "this process", -1);
    pthread_mutex_lock(&lock);
    queue->next = queues;
    queues = queue;
    pthread_mutex_unlock(&lock);
    return LQ_OK;
}

unsigned lqi_process_forks(void)
{
    pthread_mutex_lock(&lock); /* which who forks has until the child is there */
    unsigned count = atomic_load(&forks);
    pthread_mutex_unlock(&lock);
    return count;
}

bool lqi_process_forked_since(unsigned count)
{
    return atomic_load(&forks) != count;
}

void lqi_process_remove(struct lqi_forkable *queue)
{
    pthread_mutex_lock(&lock);
    for (struct lqi_forkable **place = &queues; *place; place = &(*place)->next) {
        if (*place != queue) continue;
        *place = queue->next;
        break;
    }
    /* Before anybody can fork: a child that does not know of them would hold our locks as long as it lives. */
    for (size_t i = 0; i < sizeof queue->lock_files / sizeof queue->lock_files[0]; i++) lqi_file_close(queue->lock_files[i]);
    pthread_mutex_unlock(&lock);
}

void lqi_process_on_fork(void (*before)(void), void (*parent)(void), void (*child)(void))
{
    pthread_mutex_lock(&lock);
    also_prepare = before;
    also_parent = parent;
    also_child = child;
    pthread_mutex_unlock(&lock);
}
