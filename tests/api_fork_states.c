/* Forks at every moment: inside a handler, beside threads that put, sync, wait and close, of a child; and exec in all its ways. The
 * child may only close and open anew; the parent's messages are nobody else's; no descriptor gets through exec, none is below 3. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "support/api.h"
#include "support/child.h"

extern char **environ;

/* ThreadSanitizer knows no threads in the child of a process with threads. */
#if defined(__SANITIZE_THREAD__)
enum { THREADS_IN_CHILDREN = 0 };
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
enum { THREADS_IN_CHILDREN = 0 };
#else
enum { THREADS_IN_CHILDREN = 1 };
#endif
#else
enum { THREADS_IN_CHILDREN = 1 };
#endif

/* ---- the child opens anew -------------------------------------------------- */

static _Atomic uint32_t told;

static int count_told(void *context, int code, const lq_message *message)
{
    (void)context;
    if (code == LQ_OK && message) atomic_fetch_add(&told, 1);
    return LQ_SETTLE_ACK;
}

/* Everything a program may do, in a child that has nothing of its parent's; with a thread of the library's, too. */
static int live_anew(void *path)
{
    lq_queue *queue;
    lq_consumer *consumer, *own;
    OK(lq_open(path, NULL, &queue));
    OK(lq_consumer_open(queue, "shared-out", NULL, &consumer));
    OK(lq_consumer_open(queue, "of-the-child", &(lq_consumer_options){.size = sizeof(lq_consumer_options), .start = LQ_START_END}, &own));
    atomic_store(&told, 0);
    if (THREADS_IN_CHILDREN) OK(lq_notify(own, count_told, NULL));
    OK(lq_put(queue, "by a child", 10, NULL));
    for (int i = 0; i < 10000 && THREADS_IN_CHILDREN && atomic_load(&told) == 0; i++) api_sleep_ms(1);
    HOLDS(!THREADS_IN_CHILDREN || atomic_load(&told) > 0);
    OK(lq_consumer_close(own));
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
    return 0;
}

/* ---- inside a handler ------------------------------------------------------ */

enum answer { ANSWER_IN_CHILD = LQ_SETTLE_ACK, ANSWER_IN_PARENT = LQ_SETTLE_KEEP };

static struct {
    lq_queue *queue;
    lq_consumer *consumer;
    lq_message kept;
    _Atomic pid_t child;
} forking;

/* What it leaves open when its one thread has ended is no leak. */
static void end_at_once(void)
{
    _exit(0);
}

/* The child answers too, as if nothing had been: it must settle nothing. */
static int fork_in_handler(void *context, int code, const lq_message *message)
{
    (void)context;
    if (code || atomic_load(&forking.child)) return LQ_SETTLE_KEEP;
    forking.kept = *message;
    pid_t child = fork();
    if (child == 0) {
        alarm(60);
        atexit(end_at_once);
        IS(LQ_EFORKED, lq_put(forking.queue, "x", 1, NULL));
        IS(LQ_EFORKED, lq_ack(forking.consumer, message));
        IS(LQ_EFORKED, lq_notify(forking.consumer, NULL, NULL));
        return ANSWER_IN_CHILD;
    }
    atomic_store(&forking.child, child);
    return ANSWER_IN_PARENT;
}

static void check_kept(lq_queue *queue)
{
    lq_consumer_stats stats = api_consumer_stats(queue, "c");
    EQUAL(stats.floor, 0);
    EQUAL(stats.unacked, 1);
    HOLDS(api_is_text(&forking.kept, "one"));
}

static void a_child_forked_in_a_handler_on_the_librarys_thread_settles_nothing(void **state)
{
    lq_queue *queue = api_open(state, NULL);
    memset(&forking, 0, sizeof forking);
    forking.queue = queue;
    forking.consumer = api_consumer(queue, "c", NULL);
    OK(lq_notify(forking.consumer, fork_in_handler, NULL));
    api_put(queue, "one");
    for (int i = 0; i < 10000 && !atomic_load(&forking.child); i++) api_sleep_ms(1);
    HOLDS(atomic_load(&forking.child) > 0);
    EQUAL(child_wait(atomic_load(&forking.child)), 0); /* its one thread has ended */
    check_kept(queue);
    OK(lq_notify(forking.consumer, NULL, NULL));
    OK(lq_ack(forking.consumer, &forking.kept));
    OK(lq_consumer_close(forking.consumer));
    OK(lq_close(queue));
}

static pid_t the_parent;
static pthread_t first_thread;
static const char *other_path;

static int end_the_child(void *context, int code, const lq_message *message)
{
    (void)context;
    (void)code;
    (void)message;
    if (getpid() != the_parent) _exit(3);
    return LQ_SETTLE_ACK;
}

/* Two threads in one handler would be more than one consumer can take. */
static int end_after_some(void *context, int code, const lq_message *message)
{
    if (code || !message || (atomic_load(&told) && !pthread_equal(first_thread, pthread_self()))) _exit(4);
    first_thread = pthread_self();
    if (atomic_fetch_add(&told, 1) == 20) _exit(42);
    api_put(context, "again");
    return LQ_SETTLE_ACK;
}

static int fork_and_begin_anew(void *context, int code, const lq_message *message)
{
    lq_queue *queue;
    lq_consumer *consumer;
    (void)context;
    if (code || !message || atomic_load(&forking.child)) return LQ_SETTLE_ACK;
    pid_t child = fork();
    if (child == 0) {
        alarm(60);
        if (!THREADS_IN_CHILDREN) _exit(42);
        atomic_store(&told, 0);
        OK(lq_open(other_path, NULL, &queue));
        consumer = api_consumer(queue, "c", NULL);
        OK(lq_notify(consumer, end_after_some, queue));
        api_put(queue, "first");
        return LQ_SETTLE_KEEP;
    }
    atomic_store(&forking.child, child);
    return LQ_SETTLE_ACK;
}

/* The thread that comes out of the handler in the child serves nobody there: not the parent's other consumers, and not those of the
 * child, which have a thread of their own. */
static void a_child_forked_on_the_librarys_thread_has_its_own(void **state)
{
    lq_queue *queue = api_open(state, NULL);
    lq_consumer *other = api_consumer(queue, "other", NULL), *consumer = api_consumer(queue, "c", NULL);
    memset(&forking, 0, sizeof forking);
    the_parent = getpid();
    other_path = api_path(*state, "of-the-child");
    OK(lq_notify(other, end_the_child, NULL));
    OK(lq_notify(consumer, fork_and_begin_anew, NULL));
    api_put(queue, "one");
    for (int i = 0; i < 10000 && !atomic_load(&forking.child); i++) api_sleep_ms(1);
    HOLDS(atomic_load(&forking.child) > 0);
    EQUAL(child_wait(atomic_load(&forking.child)), 42);
    OK(lq_consumer_close(other));
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
}

static volatile sig_atomic_t forked_by_signal;

static void fork_now(int signal)
{
    (void)signal;
    forked_by_signal = (sig_atomic_t)fork();
}

/* Who forks in the middle of GET, as only a signal can, returns into it twice. */
static void a_child_forked_by_a_signal_while_get_waits_is_told_so(void **state)
{
    lq_queue *queue = api_open(state, NULL);
    lq_consumer *consumer = api_consumer(queue, "c", NULL);
    lq_message message;
    struct sigaction old, forking_action = {.sa_handler = fork_now};
    int status;

    forked_by_signal = -1;
    HOLDS(sigaction(SIGALRM, &forking_action, &old) == 0);
    HOLDS(setitimer(ITIMER_REAL, &(struct itimerval){.it_value.tv_usec = 20000}, NULL) == 0);
    int err = lq_get(consumer, &message, 1000);
    if (forked_by_signal == 0) _exit(err == LQ_EFORKED ? 42 : 1);
    HOLDS(sigaction(SIGALRM, &old, NULL) == 0);
    IS(LQ_TIMEOUT, err);
    HOLDS(forked_by_signal > 0);
    HOLDS(waitpid((pid_t)forked_by_signal, &status, 0) == (pid_t)forked_by_signal);
    HOLDS(WIFEXITED(status) && WEXITSTATUS(status) == 42);
    api_put(queue, "for the parent");
    api_get_ack(consumer, "for the parent");
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
}

static void a_child_forked_in_a_dispatched_handler_settles_nothing(void **state)
{
    lq_queue *queue = api_open(state, NULL);
    size_t count = 0;
    memset(&forking, 0, sizeof forking);
    forking.queue = queue;
    forking.consumer = api_consumer(queue, "c", &(lq_consumer_options){.flags = LQ_CONSUMER_DISPATCH});
    OK(lq_notify(forking.consumer, fork_in_handler, NULL));
    api_put(queue, "one");
    api_put(queue, "two");
    const pid_t parent = getpid();
    int err = lq_dispatch(forking.consumer, 1, &count);
    if (getpid() != parent) { /* and goes on behind lq_dispatch() */
        bool good = err == LQ_EFORKED && lq_dispatch(forking.consumer, 1, &count) == LQ_EFORKED &&
                    lq_consumer_close(forking.consumer) == LQ_OK && lq_close(queue) == LQ_OK;
        _exit(good ? live_anew((void *)(uintptr_t)api_path(*state, "q")) : 1);
    }
    OK(err);
    EQUAL(child_wait(atomic_load(&forking.child)), 0);
    check_kept(queue);
    OK(lq_ack(forking.consumer, &forking.kept));
    OK(lq_consumer_close(forking.consumer));
    OK(lq_close(queue));
}

/* ---- beside busy threads --------------------------------------------------- */

enum { BUSY = 6, FORKS = 40 };

static struct {
    lq_queue *queue;
    char path[4096];
    _Atomic int stop;
    _Atomic uint64_t put, taken;
} busy;

static void *put_and_wait_for_the_disk(void *unused)
{
    (void)unused;
    while (!atomic_load(&busy.stop)) {
        OK(lq_put(busy.queue, "busy", 4, NULL));
        atomic_fetch_add(&busy.put, 1);
    }
    return NULL;
}

static void *take_and_ack(void *unused)
{
    lq_consumer *consumer = api_consumer(busy.queue, "shared-out", NULL);
    (void)unused;
    while (!atomic_load(&busy.stop)) {
        lq_message message;
        int err = lq_get(consumer, &message, 50);
        if (err == LQ_TIMEOUT) continue;
        OK(err);
        OK(lq_ack(consumer, &message));
        atomic_fetch_add(&busy.taken, 1);
    }
    OK(lq_consumer_close(consumer));
    return NULL;
}

static int take_your_time(void *context, int code, const lq_message *message)
{
    (void)context, (void)code, (void)message;
    api_sleep_ms(1);
    return LQ_SETTLE_ACK;
}

/* Most of the time in the midst of having a handler taken away that runs. */
static void *be_told_and_close(void *unused)
{
    (void)unused;
    while (!atomic_load(&busy.stop)) {
        lq_consumer *consumer = api_consumer(busy.queue, "told", NULL);
        OK(lq_notify(consumer, take_your_time, NULL));
        api_sleep_ms(2);
        OK(lq_consumer_close(consumer));
    }
    return NULL;
}

static void *open_and_close(void *unused)
{
    (void)unused;
    while (!atomic_load(&busy.stop)) {
        lq_queue *queue;
        OK(lq_open(busy.path, NULL, &queue));
        OK(lq_sync(queue));
        OK(lq_close(queue));
    }
    return NULL;
}

static int be_a_child(void *context)
{
    const int *depth = context;
    lq_message message;
    (void)message;
    IS(LQ_EFORKED, lq_put(busy.queue, "x", 1, NULL));
    IS(LQ_EFORKED, lq_sync(busy.queue));
    if (*depth > 0) { /* a child of the child: it has two generations of handles */
        int less = *depth - 1;
        EQUAL(child_run(be_a_child, &less), 0);
    }
    return live_anew(busy.path);
}

/* A new thread has nothing at hand: for each size it goes to what all threads share, and when it ends it gives back there. */
static void *allocate_all_sizes(void *unused)
{
    for (size_t size = 1; size < (size_t)1 << 20; size += size / 8 + 8) {
        void *volatile bytes = malloc(size); /* or the compiler leaves it out */
        free(bytes);
    }
    return unused;
}

static int allocate_in_a_thread(void *unused)
{
    pthread_t thread;
    alarm(5);
    CHECK(pthread_create(&thread, NULL, allocate_all_sizes, unused) == 0);
    CHECK(pthread_join(thread, NULL) == 0);
    return 0;
}

/* AddressSanitizer's allocator is not ready for forks (as of GCC 12): a lock that another thread had in it just then stays
 * locked in the child, and the library's thread would hang before its first line. Such a child says nothing about the
 * library: CHILD_SKIP. A child of the child finds out, without the library: it has the same memory, and may hang. */
static int be_a_child_that_can_allocate(void *context)
{
    int result = api_sanitized && THREADS_IN_CHILDREN ? child_run(allocate_in_a_thread, NULL) : 0;
    if (result == 100 + SIGALRM) return CHILD_SKIP;
    EQUAL(result, 0);
    return be_a_child(context);
}

/* Forks until there was a child that could allocate. */
static void fork_once(int depth)
{
    int result = CHILD_SKIP;
    for (int tries = 0; tries < 5 && result == CHILD_SKIP; tries++) result = child_run(be_a_child_that_can_allocate, &depth);
    EQUAL(result, 0);
}

static void forks_beside_threads_that_put_sync_take_and_close_harm_nobody(void **state)
{
    void *(*const bodies[BUSY])(void *) = {put_and_wait_for_the_disk, put_and_wait_for_the_disk, take_and_ack, take_and_ack,
                                          be_told_and_close, open_and_close};
    pthread_t threads[BUSY];

    memset(&busy, 0, sizeof busy);
    snprintf(busy.path, sizeof busy.path, "%s", api_path(*state, "q"));
    busy.queue = api_open(state, NULL);
    OK(lq_consumer_close(api_consumer(busy.queue, "shared-out", NULL)));
    for (int i = 0; i < BUSY; i++) HOLDS(pthread_create(&threads[i], NULL, bodies[i], NULL) == 0);
    for (int i = 0; i < FORKS; i++) fork_once(i % 4 == 0);
    uint64_t put = atomic_load(&busy.put);
    for (int i = 0; i < 5000 && atomic_load(&busy.put) == put; i++) api_sleep_ms(1);
    HOLDS(atomic_load(&busy.put) > put);
    atomic_store(&busy.stop, 1);
    for (int i = 0; i < BUSY; i++) pthread_join(threads[i], NULL);

    /* Nothing is held by anybody, and nothing came twice or never. */
    lq_consumer *consumer = api_consumer(busy.queue, "shared-out", NULL);
    lq_message message;
    while (lq_get(consumer, &message, 0) == LQ_OK) {
        OK(lq_ack(consumer, &message));
        atomic_fetch_add(&busy.taken, 1);
    }
    EQUAL(busy.taken, api_stats(busy.queue).last_id);
    EQUAL(api_consumer_stats(busy.queue, "shared-out").unacked, 0);
    OK(lq_consumer_close(consumer));
    OK(lq_close(busy.queue));
    OK(lq_verify(busy.path, 0, NULL, NULL, NULL));
}

/* ---- exec ------------------------------------------------------------------ */

/* What the program says that is started: how many descriptors it has besides 0, 1, 2, and the one it lists them with. */
static int count_descriptors(void)
{
    DIR *list = opendir("/proc/self/fd");
    int count = 0;
    if (!list) return CHILD_SKIP;
    for (const struct dirent *entry; (entry = readdir(list)) != NULL;) {
        char link[64], target[512];
        int fd = atoi(entry->d_name);
        if (entry->d_name[0] == '.' || fd <= 2 || fd == dirfd(list)) continue;
        snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        ssize_t length = readlink(link, target, sizeof target - 1);
        target[length > 0 ? length : 0] = 0;
        /* Of others who have started us, perhaps; ours are of the queue or have no name. */
        if (!strstr(target, "/scratch.") && !strstr(target, "anon_inode")) continue;
        dprintf(2, "descriptor %d of %s got through exec\n", fd, target);
        count++;
    }
    closedir(list);
    return count;
}

enum way { BY_FORK, BY_VFORK, BY_SPAWN, WAYS };

static char *const list_yourself[] = {(char *)(uintptr_t)"api_fork_states", (char *)(uintptr_t)"--descriptors", NULL};

static int run_program(enum way way)
{
    pid_t child = -1;
    switch (way) {
    case BY_FORK: child = fork(); break;
    case BY_VFORK: child = vfork(); break;
    default:
        if (posix_spawn(&child, "/proc/self/exe", NULL, NULL, list_yourself, environ) != 0) return 99;
        return child_wait(child);
    }
    if (child == 0) {
        execv("/proc/self/exe", list_yourself);
        _exit(97);
    }
    return child_wait(child);
}

struct everything {
    lq_queue *queue, *looking;
    lq_consumer *holding, *told, *polled;
    lq_reader *reader;
    lq_message held;
};

static struct everything have_everything_open(const char *path)
{
    struct everything all = {0};
    static char bytes[30000];
    lq_message message;
    OK(lq_open(path, &(lq_options){.size = sizeof(lq_options), .sync = LQ_SYNC_INTERVAL, .segment_size = 65536, .ring_size = 65536}, &all.queue));
    all.holding = api_consumer(all.queue, "c", NULL);
    all.told = api_consumer(all.queue, "told", NULL);
    all.polled = api_consumer(all.queue, "polled", NULL);
    OK(lq_notify(all.told, count_told, NULL));
    HOLDS(lq_fd(all.polled) >= 3);
    for (int i = 0; i < 10; i++) OK(lq_put(all.queue, bytes, sizeof bytes, NULL));
    OK(lq_sync(all.queue));
    OK(lq_get(all.holding, &all.held, 1000));
    OK(lq_open(path, &(lq_options){.size = sizeof(lq_options), .flags = LQ_READ_ONLY}, &all.looking));
    OK(lq_reader_open(all.looking, &all.reader));
    OK(lq_reader_next(all.reader, &message));
    return all;
}

static void close_everything(struct everything *all)
{
    lq_reader_close(all->reader);
    OK(lq_close(all->looking));
    OK(lq_consumer_close(all->holding));
    OK(lq_consumer_close(all->told));
    OK(lq_consumer_close(all->polled));
    OK(lq_close(all->queue));
}

static void no_descriptor_gets_through_exec_and_the_leases_stay(void **state)
{
    const char *path = api_path(*state, "q");
    struct everything all = have_everything_open(path);
    for (enum way way = BY_FORK; way < WAYS; way++) {
        int result = run_program(way);
        if (result == CHILD_SKIP) skip();
        EQUAL(result, 0);
        /* Nobody took us for dead. */
        lq_consumer *other = api_consumer(all.queue, "c", NULL);
        lq_message message;
        OK(lq_get(other, &message, 1000));
        HOLDS(message.id != all.held.id);
        OK(lq_release(other, &message));
        OK(lq_consumer_close(other));
        EQUAL(api_stats(all.queue).handles, 1);
    }
    OK(lq_ack(all.holding, &all.held));
    close_everything(&all);
}

static int without_standard_descriptors(void *path)
{
    int kept = dup(2);
    for (int fd = 0; fd <= 2; fd++) close(fd);
    struct everything all = have_everything_open(path);
    bool free_still = true;
    for (int fd = 0; fd <= 2; fd++) free_still = free_still && fcntl(fd, F_GETFD) < 0 && errno == EBADF;
    close_everything(&all);
    dup2(kept, 2);
    HOLDS(free_still);
    return 0;
}

static void descriptors_0_to_2_are_left_free_when_the_program_has_closed_them(void **state)
{
    EQUAL(child_run(without_standard_descriptors, (void *)(uintptr_t)api_path(*state, "q")), 0);
}

int main(int argc, char *argv[])
{
    if (argc == 2 && strcmp(argv[1], "--descriptors") == 0) return count_descriptors();
    const struct CMUnitTest tests[] = {
        IN_DIRECTORY(a_child_forked_in_a_handler_on_the_librarys_thread_settles_nothing),
        IN_DIRECTORY(a_child_forked_on_the_librarys_thread_has_its_own),
        IN_DIRECTORY(a_child_forked_by_a_signal_while_get_waits_is_told_so),
        IN_DIRECTORY(a_child_forked_in_a_dispatched_handler_settles_nothing),
        IN_DIRECTORY(forks_beside_threads_that_put_sync_take_and_close_harm_nobody),
        IN_DIRECTORY(no_descriptor_gets_through_exec_and_the_leases_stay),
        IN_DIRECTORY(descriptors_0_to_2_are_left_free_when_the_program_has_closed_them),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
