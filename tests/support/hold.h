/* A lock that another thread holds, as long as the test wants. One at a time; included by one file of a program. */
#ifndef SUPPORT_HOLD_H
#define SUPPORT_HOLD_H

#include <pthread.h>
#include <semaphore.h>

#include "api.h"
#include "wait.h"

static struct {
    struct lqi_lock *lock;
    sem_t has_it, wanted_back;
    pthread_t thread;
} hold_state;

static inline void *hold_it(void *unused)
{
    (void)unused;
    HOLDS(lqi_lock(hold_state.lock, "a lock of the test") == LQI_LOCKED);
    sem_post(&hold_state.has_it);
    sem_wait(&hold_state.wanted_back);
    lqi_unlock(hold_state.lock);
    return NULL;
}

static inline void hold(struct lqi_lock *lock)
{
    hold_state.lock = lock;
    sem_init(&hold_state.has_it, 0, 0);
    sem_init(&hold_state.wanted_back, 0, 0);
    HOLDS(pthread_create(&hold_state.thread, NULL, hold_it, NULL) == 0);
    sem_wait(&hold_state.has_it);
}

static inline void let_go(void)
{
    sem_post(&hold_state.wanted_back);
    pthread_join(hold_state.thread, NULL);
    sem_destroy(&hold_state.has_it);
    sem_destroy(&hold_state.wanted_back);
}

#endif
