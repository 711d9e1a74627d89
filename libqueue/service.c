#include "service.h"

#include <signal.h>

#include "error.h"
#include "process.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t step_done = PTHREAD_COND_INITIALIZER; /* in this process's own memory, where it is safe */
static struct lqi_task *tasks;
static pthread_t thread;
static bool thread_runs;
static struct lqi_task *running; /* whose step the thread is in, if it is in one */
static bool taken_out;           /* a step has removed another task, which we may be listening to */
static unsigned generation;      /* of the process; a thread that comes out of a step in another one than it went in has been forked there */
static _Atomic uint32_t kicks;

#define BELLS_MAX (LQI_WAIT_MANY - 1)
#define CROWDED_WAIT_US 5000 /* more bells than can be waited on: look now and then */

/* ---- the thread --------------------------------------------------------- */

/* What to sleep on until something happens. Listening comes before the steps look for work. */
struct sleep {
    _Atomic uint32_t *words[LQI_WAIT_MANY];
    uint32_t seen[LQI_WAIT_MANY];
    size_t count;
    int64_t until;
};

static void listen_to_all(struct sleep *sleep)
{
    sleep->words[0] = &kicks;
    sleep->seen[0] = atomic_load(&kicks);
    sleep->count = 1;
    sleep->until = INT64_MAX;
    for (struct lqi_task *task = tasks; task; task = task->next) {
        if (!task->bell || atomic_load(&task->deaf)) continue;
        if (sleep->count > BELLS_MAX) {
            sleep->until = lqi_now_us() + CROWDED_WAIT_US;
            continue;
        }
        sleep->seen[sleep->count] = lqi_bell_listen(task->bell);
        sleep->words[sleep->count++] = &task->bell->word;
    }
}

static bool sweep_removed(void)
{
    bool any = taken_out;
    taken_out = false;
    for (struct lqi_task **place = &tasks; *place;) {
        if ((*place)->removed) {
            *place = (*place)->next;
            any = true;
        } else {
            place = &(*place)->next;
        }
    }
    if (any) pthread_cond_broadcast(&step_done);
    return any;
}

/* Every task gets its step; the list may grow at its head and tasks be marked removed meanwhile, and the step itself may take others
 * out. True: some of those that we listen to have gone. */
static bool run_all(struct sleep *sleep, unsigned mine)
{
    for (struct lqi_task *task = tasks; task; task = task->next) {
        if (task->removed) continue;
        running = task;
        pthread_mutex_unlock(&lock);
        int64_t due = task->step(task->context);
        pthread_mutex_lock(&lock);
        if (generation != mine) return true; /* the other tasks are the parent's, and what has begun here has its own thread */
        if (due < sleep->until) sleep->until = due;
    }
    return sweep_removed();
}

static void *serve(void *unused)
{
    struct sleep sleep;
    (void)unused;

    pthread_mutex_lock(&lock);
    unsigned mine = generation;
    while (tasks && generation == mine) {
        listen_to_all(&sleep);
        /* Who has removed a task may unmap its bell as soon as we let go of the lock: we listen anew, to those that are left. */
        if (run_all(&sleep, mine)) continue;
        pthread_mutex_unlock(&lock);
        lqi_wait_many(sleep.words, sleep.seen, sleep.count, sleep.until);
        pthread_mutex_lock(&lock);
    }
    if (generation == mine) thread_runs = false;
    pthread_mutex_unlock(&lock);
    return NULL;
}

/* ---- fork: the child has no such thread ---------------------------------- */

static void before_fork(void)
{
    pthread_mutex_lock(&lock);
}

static void after_fork_in_parent(void)
{
    pthread_mutex_unlock(&lock);
}

static void after_fork_in_child(void)
{
    static const pthread_cond_t unused = PTHREAD_COND_INITIALIZER;
    step_done = unused; /* it remembers waiters who are not in this process, and would wait for them */
    tasks = NULL;
    thread_runs = taken_out = false;
    generation++;
    pthread_mutex_unlock(&lock);
}

static void watch_forks(void)
{
    lqi_process_on_fork(before_fork, after_fork_in_parent, after_fork_in_child);
}

/* ---- tasks -------------------------------------------------------------- */

static int start(void)
{
    sigset_t all, before;
    pthread_attr_t attributes;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before); /* the program's signals are not for our thread */
    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    int error = pthread_create(&thread, &attributes, serve, NULL);
    pthread_attr_destroy(&attributes);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error) return lqi_fail(LQ_ELIMIT, "cannot start the library's thread: error %d", error);
    thread_runs = true;
    return LQ_OK;
}

void lqi_service_kick(void)
{
    atomic_fetch_add(&kicks, 1);
    lqi_wake_all(&kicks);
}

int lqi_service_add(struct lqi_task *task)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, watch_forks); /* outside our lock: a fork takes the two in the other order */
    pthread_mutex_lock(&lock);
    task->removed = false;
    task->next = tasks;
    tasks = task;
    int err = thread_runs ? LQ_OK : start();
    if (err) tasks = task->next;
    pthread_mutex_unlock(&lock);
    lqi_service_kick();
    return err;
}

static bool is_there(const struct lqi_task *task)
{
    for (const struct lqi_task *each = tasks; each; each = each->next)
        if (each == task) return true;
    return false;
}

/* In a step of another task, for the thread cannot wait for itself. Nobody else can wait for this one: it has one owner. */
static void take_out(const struct lqi_task *task)
{
    for (struct lqi_task **place = &tasks; *place; place = &(*place)->next) {
        if (*place != task) continue;
        *place = task->next;
        taken_out = true;
        return;
    }
}

void lqi_service_remove(struct lqi_task *task)
{
    pthread_mutex_lock(&lock);
    bool own = thread_runs && pthread_equal(thread, pthread_self());
    task->removed = true;
    if (own && task != running) take_out(task);
    lqi_service_kick();
    while (!own && is_there(task)) pthread_cond_wait(&step_done, &lock);
    pthread_mutex_unlock(&lock);
}
