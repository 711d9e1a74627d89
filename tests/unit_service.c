/* The library's thread: steps run when they are due or their bell rings, and never after they were removed. */
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "process.h"
#include "service.h"
#include "support/api.h"
#include "support/child.h"
#include "support/libc_fault.h"

enum { FUTEX_WAITV = 449 };

struct counter {
    struct lqi_task task;
    _Atomic uint32_t steps, inside;
    int64_t every_us;    /* 0: only when the bell rings */
    unsigned dawdle_ms;
    bool remove_itself;
    _Atomic bool has_removed_itself;
    unsigned stay_ms; /* when it has */
};

static int64_t count(void *context)
{
    struct counter *counter = context;
    atomic_store(&counter->inside, 1);
    atomic_fetch_add(&counter->steps, 1);
    if (counter->dawdle_ms) api_sleep_ms(counter->dawdle_ms);
    if (counter->remove_itself) lqi_service_remove(&counter->task);
    if (counter->remove_itself) atomic_store(&counter->has_removed_itself, true);
    if (counter->stay_ms) api_sleep_ms(counter->stay_ms);
    atomic_store(&counter->inside, 0);
    return counter->every_us ? lqi_now_us() + counter->every_us : INT64_MAX;
}

static bool reaches(struct counter *counter, uint32_t steps)
{
    for (int i = 0; i < 10000 && atomic_load(&counter->steps) < steps; i++) api_sleep_ms(1);
    return atomic_load(&counter->steps) >= steps;
}

static void add(struct counter *counter)
{
    counter->task.step = count;
    counter->task.context = counter;
    OK(lqi_service_add(&counter->task));
}

static void a_step_runs_at_once_and_whenever_it_is_due(void **state)
{
    (void)state;
    struct counter counter = {.every_us = 2000};
    add(&counter);
    HOLDS(reaches(&counter, 10));
    lqi_service_remove(&counter.task);
    uint32_t steps = counter.steps;
    api_sleep_ms(30);
    EQUAL(counter.steps, steps);
}

static void a_step_runs_when_its_bell_rings(void **state)
{
    (void)state;
    struct lqi_bell bell = {0};
    struct counter counter = {.task = {.bell = &bell}};
    add(&counter);
    for (uint32_t i = 1; i <= 20; i++) {
        HOLDS(reaches(&counter, i));
        lqi_bell_ring(&bell);
    }
    HOLDS(reaches(&counter, 20));
    lqi_service_remove(&counter.task);
}

/* So many steps there were, and no more come. */
static uint32_t rests(struct counter *counter)
{
    uint32_t steps;
    do {
        steps = atomic_load(&counter->steps);
        api_sleep_ms(100); /* on a busy machine the thread may not have come to it in less */
    } while (atomic_load(&counter->steps) != steps);
    return steps;
}

static void a_deaf_task_is_not_woken_until_it_is_kicked(void **state)
{
    (void)state;
    struct lqi_bell bell = {0};
    struct counter counter = {.task = {.bell = &bell}};
    add(&counter);
    HOLDS(reaches(&counter, 1));
    atomic_store(&counter.task.deaf, 1);
    lqi_service_kick();
    uint32_t steps = rests(&counter);
    for (int i = 0; i < 10; i++) lqi_bell_ring(&bell);
    api_sleep_ms(30);
    EQUAL(counter.steps, steps);
    atomic_store(&counter.task.deaf, 0);
    lqi_service_kick();
    HOLDS(reaches(&counter, steps + 1));
    steps = rests(&counter);
    lqi_bell_ring(&bell);
    HOLDS(reaches(&counter, steps + 1));
    lqi_service_remove(&counter.task);
}

static void removing_waits_until_the_step_has_ended(void **state)
{
    (void)state;
    struct counter counter = {.dawdle_ms = 60};
    add(&counter);
    while (!atomic_load(&counter.inside)) api_sleep_ms(1);
    lqi_service_remove(&counter.task);
    EQUAL(counter.inside, 0);
}

static void removing_waits_for_a_step_that_has_removed_itself_too(void **state)
{
    (void)state;
    struct counter counter = {.remove_itself = true, .stay_ms = 60};
    add(&counter);
    while (!atomic_load(&counter.has_removed_itself)) api_sleep_ms(1);
    lqi_service_remove(&counter.task);
    EQUAL(counter.inside, 0);
}

static void a_step_may_remove_itself(void **state)
{
    (void)state;
    struct counter lone = {.every_us = 1, .remove_itself = true}, other = {.every_us = 1000};
    add(&lone); /* the thread ends with it */
    HOLDS(reaches(&lone, 1));
    api_sleep_ms(20);
    EQUAL(lone.steps, 1);
    lqi_service_remove(&lone.task); /* it has gone, and the thread with it */
    add(&other); /* and begins again */
    HOLDS(reaches(&other, 3));
    struct counter second = {.every_us = 1, .remove_itself = true};
    add(&second);
    HOLDS(reaches(&second, 1));
    uint32_t steps = other.steps;
    HOLDS(reaches(&other, steps + 3));
    EQUAL(second.steps, 1);
    lqi_service_remove(&other.task);
}

/* A step of the library's thread, which runs a handler, may close what has a task of its own: whose memory is another's then. */
struct remover {
    struct lqi_task task;
    struct counter *other;
    _Atomic uint32_t done;
};

static int64_t remove_other(void *context)
{
    struct remover *remover = context;
    if (remover->done) return INT64_MAX;
    lqi_service_remove(&remover->other->task);
    atomic_store(&remover->other->steps, 0);
    remover->other->task.removed = false; /* by its next owner */
    lqi_service_remove(&remover->other->task); /* once more: it is not known, and nothing happens */
    remover->other->task.removed = false;
    atomic_store(&remover->done, 1);
    return INT64_MAX;
}

static void a_step_may_remove_another_task_which_is_gone_at_once(void **state)
{
    (void)state;
    for (int first = 0; first < 3; first++) { /* what is removed comes behind the remover, before it, at the end of all */
        struct lqi_bell bell = {0}, gone_bell = {0};
        struct counter gone = {.task = {.bell = &gone_bell}}, stays = {.task = {.bell = &bell}};
        struct remover remover = {.task = {.step = remove_other, .context = &remover}, .other = &gone};
        if (first == 2) add(&gone);
        add(&stays);
        HOLDS(reaches(&stays, 1));
        if (first == 1) atomic_store(&remover.done, 1);
        if (first == 1) OK(lqi_service_add(&remover.task)); /* what is added last stands first */
        if (first != 2) add(&gone);
        HOLDS(reaches(&gone, 1));
        if (first != 1) OK(lqi_service_add(&remover.task));
        atomic_store(&remover.done, 0);
        lqi_service_kick();
        for (int i = 0; i < 10000 && !atomic_load(&remover.done); i++) api_sleep_ms(1);
        HOLDS(atomic_load(&remover.done));
        lqi_bell_ring(&gone_bell);
        lqi_service_kick();
        uint32_t steps = stays.steps;
        lqi_bell_ring(&bell);
        HOLDS(reaches(&stays, steps + 1)); /* those before and behind it are still there */
        lqi_service_remove(&remover.task);
        lqi_service_remove(&stays.task);
        uint32_t steps_gone = gone.steps;
        lqi_service_remove(&gone.task); /* or it would be in the way of all that follows */
        EQUAL(steps_gone, 0);
    }
}

/* The thread is held up on its way to sleep: what it is about to listen to must not be another's memory by then. */
static void a_bell_may_go_when_its_task_was_removed_and_others_stay(void **state)
{
    (void)state;
    struct lqi_bell bell = {0};
    struct counter stays = {.task = {.bell = &bell}};
    add(&stays);
    HOLDS(reaches(&stays, 1));
    for (int i = 0; i < 3; i++) {
        struct lqi_bell *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        HOLDS(page != MAP_FAILED);
        struct counter goes = {.task = {.bell = page}};
        add(&goes);
        HOLDS(reaches(&goes, 1));
        api_sleep_ms(20);
        slow_syscall(FUTEX_WAITV, 40);
        lqi_service_remove(&goes.task);
        HOLDS(munmap(page, 4096) == 0);
        api_sleep_ms(100);
        slow_syscall(0, 0);
        uint32_t steps = stays.steps;
        lqi_bell_ring(&bell);
        HOLDS(reaches(&stays, steps + 1));
    }
    lqi_service_remove(&stays.task);
}

static void one_step_that_dawdles_delays_the_others_and_loses_none(void **state)
{
    (void)state;
    struct lqi_bell bell = {0};
    struct counter slow = {.dawdle_ms = 50}, fast = {.task = {.bell = &bell}};
    add(&fast);
    HOLDS(reaches(&fast, 1));
    add(&slow);
    while (!atomic_load(&slow.inside)) api_sleep_ms(1);
    uint32_t steps = fast.steps;
    lqi_bell_ring(&bell);
    HOLDS(reaches(&fast, steps + 1));
    lqi_service_remove(&slow.task);
    lqi_service_remove(&fast.task);
}

static void more_bells_than_one_can_wait_for_are_heard(void **state)
{
    (void)state;
    enum { TASKS = 300 };
    struct lqi_bell *bells = calloc(TASKS, sizeof *bells);
    struct counter *counters = calloc(TASKS, sizeof *counters);
    for (int i = 0; i < TASKS; i++) {
        counters[i].task.bell = &bells[i];
        add(&counters[i]);
    }
    for (int i = 0; i < TASKS; i++) HOLDS(reaches(&counters[i], 1));
    for (int i = 0; i < TASKS; i += 37) {
        uint32_t steps = counters[i].steps;
        lqi_bell_ring(&bells[i]);
        HOLDS(reaches(&counters[i], steps + 1));
    }
    for (int i = 0; i < TASKS; i++) lqi_service_remove(&counters[i].task);
    free(counters);
    free(bells);
}

/* ---- asleep ------------------------------------------------------------------------- */

static uint32_t steps_in(struct counter *counter, unsigned ms)
{
    uint32_t before = atomic_load(&counter->steps);
    api_sleep_ms(ms);
    return atomic_load(&counter->steps) - before;
}

/* It may have a last look yet, late on a busy machine. */
static bool falls_asleep(struct counter *counter)
{
    for (int tries = 0; tries < 20; tries++)
        if (steps_in(counter, 60) == 0) return true;
    return false;
}

static void nobody_looks_while_nothing_rings(void **state)
{
    (void)state;
    struct lqi_bell bell = {0}, gone_bell = {0};
    struct counter stays = {.task = {.bell = &bell}}, gone = {.task = {.bell = &gone_bell}};
    add(&stays);
    HOLDS(reaches(&stays, 1));
    HOLDS(falls_asleep(&stays));
    /* Nor when a step has taken another task out, which is over then. */
    struct remover remover = {.task = {.step = remove_other, .context = &remover}, .other = &gone};
    add(&gone);
    HOLDS(reaches(&gone, 1));
    OK(lqi_service_add(&remover.task));
    for (int i = 0; i < 10000 && !atomic_load(&remover.done); i++) api_sleep_ms(1);
    HOLDS(atomic_load(&remover.done));
    HOLDS(falls_asleep(&stays));
    lqi_service_remove(&remover.task);
    lqi_service_remove(&stays.task);
}

/* It looks at them all every few milliseconds then, and not all the time. */
static void a_crowd_of_bells_is_looked_at_now_and_then(void **state)
{
    (void)state;
    enum { TASKS = 140 };
    struct lqi_bell *bells = calloc(TASKS, sizeof *bells);
    struct counter *counters = calloc(TASKS, sizeof *counters);
    for (int i = 0; i < TASKS; i++) {
        counters[i].task.bell = &bells[i];
        add(&counters[i]);
    }
    for (int i = 0; i < TASKS; i++) HOLDS(reaches(&counters[i], 1));
    int64_t from = api_now_us();
    uint32_t steps = steps_in(&counters[0], 100);
    HOLDS(steps <= (uint64_t)(api_now_us() - from) / 5000 + 2);
    HOLDS(reaches(&counters[0], counters[0].steps + 2));
    for (int i = 0; i < TASKS; i++) lqi_service_remove(&counters[i].task);
    free(counters);
    free(bells);
}

/* The thread has looked at all tasks, and is held up on its way to sleep. */
static void a_kick_on_the_way_to_sleep_is_not_lost(void **state)
{
    (void)state;
    struct lqi_bell bell = {0};
    struct counter counter = {.task = {.bell = &bell}};
    add(&counter);
    HOLDS(reaches(&counter, 1));
    for (int i = 0; i < 3; i++) {
        api_sleep_ms(20);
        slow_syscall(FUTEX_WAITV, 60);
        uint32_t steps = counter.steps;
        lqi_service_kick(); /* out of its sleep, for a look */
        HOLDS(reaches(&counter, steps + 1));
        lqi_service_kick(); /* and this comes before the next */
        HOLDS(reaches(&counter, steps + 2));
        slow_syscall(0, 0);
    }
    lqi_service_remove(&counter.task);
}

/* ---- and others ---------------------------------------------------------------------- */

static void *remove_task(void *task)
{
    lqi_service_remove(task);
    return NULL;
}

/* A step that ends when it may. */
struct gate {
    struct lqi_task task;
    _Atomic uint32_t inside, open;
};

static int64_t pass(void *context)
{
    struct gate *gate = context;
    atomic_store(&gate->inside, 1);
    while (!atomic_load(&gate->open)) api_sleep_ms(1);
    return INT64_MAX;
}

/* Somebody waits for it to go, while the step of one that comes before it takes its time. */
static void a_task_that_is_being_removed_is_not_stepped_any_more(void **state)
{
    (void)state;
    struct counter behind = {.every_us = 1000};
    struct gate gate = {.task = {.step = pass, .context = &gate}};
    pthread_t thread;
    add(&behind);
    HOLDS(reaches(&behind, 1));
    OK(lqi_service_add(&gate.task)); /* what is added last stands first */
    while (!atomic_load(&gate.inside)) api_sleep_ms(1);
    uint32_t steps = behind.steps;
    HOLDS(pthread_create(&thread, NULL, remove_task, &behind.task) == 0);
    while (!atomic_load(&behind.task.removed)) api_sleep_ms(1);
    atomic_store(&gate.open, 1);
    HOLDS(pthread_join(thread, NULL) == 0);
    EQUAL(behind.steps, steps);
    lqi_service_remove(&gate.task);
}

static void whoever_starts_the_thread_keeps_his_signals_and_has_no_thread_to_join(void **state)
{
    (void)state;
    sigset_t before, after;
    struct counter counter = {.every_us = 1000};
    HOLDS(pthread_sigmask(SIG_SETMASK, NULL, &before) == 0);
    atomic_store(&last_detach_state, -1);
    add(&counter);
    EQUAL(last_detach_state, PTHREAD_CREATE_DETACHED);
    HOLDS(pthread_sigmask(SIG_SETMASK, NULL, &after) == 0);
    for (int signal = 1; signal < 32; signal++) EQUAL(sigismember(&before, signal), sigismember(&after, signal));
    lqi_service_remove(&counter.task);
    api_sleep_ms(20); /* the next test begins with a new one */
}

static void *add_and_remove(void *unused)
{
    (void)unused;
    for (int i = 0; i < 200; i++) {
        struct counter counter = {.every_us = 100};
        add(&counter);
        if (i % 2) HOLDS(reaches(&counter, 1));
        lqi_service_remove(&counter.task);
    }
    return NULL;
}

static void threads_may_add_and_remove_at_once(void **state)
{
    (void)state;
    pthread_t threads[4];
    for (int i = 0; i < 4; i++) pthread_create(&threads[i], NULL, add_and_remove, NULL);
    for (int i = 0; i < 4; i++) pthread_join(threads[i], NULL);
}

static void a_task_that_was_removed_may_be_added_again(void **state)
{
    (void)state;
    struct counter counter = {.every_us = 1000};
    for (uint32_t i = 1; i <= 3; i++) {
        add(&counter);
        HOLDS(reaches(&counter, atomic_load(&counter.steps) + 3));
        lqi_service_remove(&counter.task);
        lqi_service_remove(&counter.task); /* what is not there: nothing */
    }
}

/* ---- forks and signals ---------------------------------------------------------- */

/* Whoever has a task has a queue, and so forks are heard of. */
static struct lqi_file no_file = LQI_FILE_NONE;
static struct lqi_forkable forkable = {.lock_files = {&no_file, &no_file}};

static int have_a_task_of_ones_own(void *context)
{
    struct counter own = {.every_us = 1000};
    (void)context;
    add(&own);
    CHECK(reaches(&own, 3));
    lqi_service_remove(&own.task);
    return 0;
}

static void a_child_has_no_task_of_its_parents_and_a_thread_of_its_own(void **state)
{
    (void)state;
    struct counter counter = {.every_us = 1000};
    if (api_sanitized) skip(); /* ThreadSanitizer starts no thread in a child */
    OK(lqi_process_add(&forkable));
    add(&counter);
    HOLDS(reaches(&counter, 1));
    EQUAL(child_run(have_a_task_of_ones_own, NULL), 0);
    uint32_t steps = atomic_load(&counter.steps);
    HOLDS(reaches(&counter, steps + 3)); /* and the parent's goes on */
    lqi_service_remove(&counter.task);
    lqi_process_remove(&forkable);
}

static struct {
    pid_t parent, child;
    _Atomic uint32_t forked, steps_in_child;
} *forks; /* shared with the child */

static int64_t fork_once(void *context)
{
    uint32_t none = 0;
    (void)context;
    if (atomic_compare_exchange_strong(&forks->forked, &none, 1)) {
        pid_t child = fork();
        if (child) forks->child = child;
        if (child) atomic_store(&forks->forked, 2);
    } else if (getpid() != forks->parent) {
        atomic_fetch_add(&forks->steps_in_child, 1);
    }
    return lqi_now_us() + 1000;
}

/* What has forked in a step is, in the child, the only thread that there is: it ends when the step does. */
static void a_step_that_forks_goes_on_in_the_parent_alone(void **state)
{
    struct lqi_task tasks[3] = {{.step = fork_once}, {.step = fork_once}, {.step = fork_once}};
    int status = -1;
    (void)state;
    if (api_sanitized) skip(); /* and AddressSanitizer finds leaks there, in what the parent still uses */
    forks = mmap(NULL, sizeof *forks, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    HOLDS(forks != MAP_FAILED);
    forks->parent = getpid();
    OK(lqi_process_add(&forkable));
    for (size_t i = 0; i < 3; i++) OK(lqi_service_add(&tasks[i]));
    while (atomic_load(&forks->forked) < 2) api_sleep_ms(1);
    pid_t ended = 0;
    for (int i = 0; i < 5000 && !ended; i++) {
        ended = waitpid(forks->child, &status, WNOHANG);
        if (!ended) api_sleep_ms(1);
    }
    if (!ended) kill(forks->child, SIGKILL);
    EQUAL(ended, forks->child);
    EQUAL(status, 0);
    EQUAL(atomic_load(&forks->steps_in_child), 0);
    for (size_t i = 0; i < 3; i++) lqi_service_remove(&tasks[i]);
    lqi_process_remove(&forkable);
    munmap(forks, sizeof *forks);
}

static sigset_t mask_of_the_thread;

static int64_t note_mask(void *context)
{
    pthread_sigmask(SIG_SETMASK, NULL, &mask_of_the_thread);
    atomic_store((_Atomic bool *)context, true);
    return INT64_MAX;
}

static void the_threads_signals_are_blocked_and_the_callers_are_as_they_were(void **state)
{
    static const int signals[] = {SIGTERM, SIGINT, SIGHUP, SIGCHLD, SIGUSR1, SIGALRM, SIGIO};
    _Atomic bool noted = false;
    struct lqi_task task = {.step = note_mask, .context = &noted};
    sigset_t before, after;
    (void)state;
    sigemptyset(&before);
    sigaddset(&before, SIGUSR2);
    HOLDS(pthread_sigmask(SIG_SETMASK, &before, NULL) == 0);
    api_sleep_ms(5); /* the thread of the test before has ended */
    OK(lqi_service_add(&task));
    while (!atomic_load(&noted)) api_sleep_ms(1);
    lqi_service_remove(&task);
    HOLDS(pthread_sigmask(SIG_SETMASK, NULL, &after) == 0);
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++)
        HOLDS(sigismember(&mask_of_the_thread, signals[i]) == 1 && sigismember(&after, signals[i]) == 0);
    HOLDS(sigismember(&after, SIGUSR2) == 1);
    sigemptyset(&before);
    HOLDS(pthread_sigmask(SIG_SETMASK, &before, NULL) == 0);
}

static void a_thread_that_cannot_be_started_is_an_error_and_its_task_is_not_there(void **state)
{
    struct counter refused = {.every_us = 1000}, next = {.every_us = 1000};
    (void)state;
    refused.task.step = count;
    refused.task.context = &refused;
    fail_calls(PTHREAD_CREATE, 0, 1, EAGAIN);
    IS(LQ_ELIMIT, lqi_service_add(&refused.task));
    all_failed();
    TEXT_HAS("thread", "11");
    add(&next);
    HOLDS(reaches(&next, 3));
    EQUAL(refused.steps, 0);
    lqi_service_remove(&next.task);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_DIRECTORY(a_step_runs_at_once_and_whenever_it_is_due),
        IN_DIRECTORY(a_step_runs_when_its_bell_rings),
        IN_DIRECTORY(a_deaf_task_is_not_woken_until_it_is_kicked),
        IN_DIRECTORY(removing_waits_until_the_step_has_ended),
        IN_DIRECTORY(removing_waits_for_a_step_that_has_removed_itself_too),
        IN_DIRECTORY(a_step_may_remove_itself),
        IN_DIRECTORY(a_step_may_remove_another_task_which_is_gone_at_once),
        IN_DIRECTORY(a_bell_may_go_when_its_task_was_removed_and_others_stay),
        IN_DIRECTORY(one_step_that_dawdles_delays_the_others_and_loses_none),
        IN_DIRECTORY(more_bells_than_one_can_wait_for_are_heard),
        IN_DIRECTORY(whoever_starts_the_thread_keeps_his_signals_and_has_no_thread_to_join),
        IN_DIRECTORY(nobody_looks_while_nothing_rings),
        IN_DIRECTORY(a_crowd_of_bells_is_looked_at_now_and_then),
        IN_DIRECTORY(a_kick_on_the_way_to_sleep_is_not_lost),
        IN_DIRECTORY(a_task_that_is_being_removed_is_not_stepped_any_more),
        IN_DIRECTORY(threads_may_add_and_remove_at_once),
        IN_DIRECTORY(a_task_that_was_removed_may_be_added_again),
        IN_DIRECTORY(a_child_has_no_task_of_its_parents_and_a_thread_of_its_own),
        IN_DIRECTORY(a_step_that_forks_goes_on_in_the_parent_alone),
        IN_DIRECTORY(the_threads_signals_are_blocked_and_the_callers_are_as_they_were),
        IN_DIRECTORY(a_thread_that_cannot_be_started_is_an_error_and_its_task_is_not_there),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
