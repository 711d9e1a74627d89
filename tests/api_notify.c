/* Being told: handlers on the library's thread, lq_dispatch(), and descriptors for event loops. */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <cmocka.h>

#include "support/api.h"
#include "support/child.h"
#include "support/seen.h"

/* ---- the library's thread ----------------------------------------------------- */

static void a_handler_is_called_with_what_is_there_and_what_comes(void **state)
{
    lq_queue *queue = api_open(state, NULL);
    lq_consumer *consumer = api_consumer(queue, "c", NULL);
    struct seen seen = {0};

    api_put_range(queue, 1, 10, 20);
    OK(lq_notify(consumer, seen_note, &seen));
    HOLDS(seen_calls(&seen, 10));
    HOLDS(!pthread_equal(seen.thread, pthread_self()));
    int64_t worst = 0;
    for (uint64_t id = 11; id <= 30; id++) {
        api_put_range(queue, id, id, 20);
        int64_t put = api_now_us();
        HOLDS(seen_calls(&seen, (uint32_t)id));
        EQUAL(seen.last_id, id);
        int64_t took = atomic_load(&seen.last_us) - put;
        if (took > worst) worst = took;
    }
    api_note("a handler was called at most %lld us after a put", (long long)worst);
    OK(lq_notify(consumer, NULL, NULL));
    EQUAL(api_consumer_stats(queue, "c").floor, 30);
    EQUAL(api_consumer_stats(queue, "c").unacked, 0);
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
}

static void a_handler_that_was_taken_away_is_not_called_again(void **state)
{
    lq_queue *queue = api_open(state, NULL);
    lq_consumer *consumer = api_consumer(queue, "c", NULL);
    struct seen seen = {0};

    OK(lq_notify(consumer, seen_note, &seen));
    api_put(queue, "a");
    HOLDS(seen_calls(&seen, 1));
    OK(lq_notify(consumer, NULL, NULL));
    api_put(queue, "b");
    api_sleep_ms(80);
    EQUAL(seen.calls, 1);
    api_get_ack(consumer, "b"); /* and the consumer is ours again */
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
}

static int dawdle(void *context, int code, const lq_message *message)
{
    struct seen *seen = context;
    (void)message;
    EQUAL(code, 0);
    atomic_store(&seen->running, 1);
    api_sleep_ms(100);
    atomic_fetch_add(&seen->calls, 1);
    atomic_store(&seen->running, 0);
    return LQ_SETTLE_ACK;
}

static void taking_a_handler_away_waits_until_it_is_not_running(void **state)
{
    lq_queue *queue = api_open(state, NULL);
    lq_consumer *consumer = api_consumer(queue, "c", NULL);
    struct seen seen = {0};

    OK(lq_notify(consumer, dawdle, &seen));
    api_put(queue, "a");
    while (!atomic_load(&seen.running)) api_sleep_ms(1);
    OK(lq_notify(consumer, NULL, NULL));
    EQUAL(seen.running, 0);
    EQUAL(seen.calls, 1);
    EQUAL(api_consumer_stats(queue, "c").floor, 1);
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
}

static void closing_the_consumer_takes_its_handler_away(void **state)
{
    lq_queue *queue = api_open(state, NULL);
    lq_consumer *consumer = api_consumer(queue, "c", NULL);
    struct seen seen = {0};

    OK(lq_notify(consumer, dawdle, &seen));
    api_put(queue, "a");
    api_put(queue, "b");
    while (!atomic_load(&seen.running)) api_sleep_ms(1);
    OK(lq_consumer_close(consumer));
    EQUAL(seen.running, 0);
    uint32_t calls = seen.calls;
    api_sleep_ms(60);
    EQUAL(seen.calls, calls);
    OK(lq_close(queue));
}

static void a_handler_may_be_replaced(void **state)
{
    lq_queue *queue = api_open(state, NULL);
    lq_consumer *consumer = api_consumer(queue, "c", NULL);
    struct seen a = {0}, b = {0};

    OK(lq_notify(consumer, seen_note, &a));
    api_put(queue, "1");
    HOLDS(seen_calls(&a, 1));
    OK(lq_notify(consumer, seen_note, &b));
    api_put(queue, "2");
    HOLDS(seen_calls(&b, 1));
    EQUAL(a.calls, 1);
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
}

static void released_messages_come_again_and_kept_ones_are_settled_later(void **state)
{
    lq_queue *queue = api_open(state, NULL);
    lq_consumer *consumer = api_consumer(queue, "c", NULL);
    struct seen seen = {.answer = LQ_SETTLE_KEEP};

    api_put_range(queue, 1, 3, 20);
    OK(lq_notify(consumer, seen_note, &seen));
    HOLDS(seen_calls(&seen, 3));
    OK(lq_notify(consumer, NULL, NULL));
    EQUAL(api_consumer_stats(queue, "c").unacked, 3);
    for (uint64_t i = 0; i < 3; i++) {
        HOLDS(api_is_filled(&seen.kept[i], 20, i + 1));
        OK(lq_ack(consumer, &seen.kept[i]));
    }
    struct seen again = {.answer = LQ_SETTLE_RELEASE};
    api_put(queue, "x");
    OK(lq_notify(consumer, seen_note, &again));
    HOLDS(seen_calls(&again, 20)); /* round and round */
    EQUAL(again.last_id, 4);
    OK(lq_notify(consumer, NULL, NULL));
    lq_message message = api_get(consumer, "x");
    EQUAL(message.attempts, 1);
    OK(lq_ack(consumer, &message));
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
}

static void while_a_handler_is_set_nobody_may_get(void **state)
{
    lq_queue *queue = api_open(state, NULL);
    lq_consumer *consumer = api_consumer(queue, "c", NULL);
    struct seen seen = {0};
    lq_message message;

    OK(lq_notify(consumer, seen_note, &seen));
    IS(LQ_EINVAL, lq_poll(consumer, &message));
    IS(LQ_EINVAL, lq_get(consumer, &message, 10));
    IS(LQ_EINVAL, lq_dispatch(consumer, 1, NULL));
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
}

static void many_consumers_share_the_thread(void **state)
{
    enum { CONSUMERS = 150 }; /* more than a thread can wait on at once */
    lq_queue *queue = api_open(state, &(lq_options){.sync = LQ_SYNC_NEVER});
    lq_consumer *consumers[CONSUMERS];
    struct seen *seen = calloc(CONSUMERS, sizeof *seen);
    char name[] = "c00";

    for (int i = 0; i < CONSUMERS; i++) {
        name[1] = (char)('0' + i / 16);
        name[2] = (char)('a' + i % 16);
        consumers[i] = api_consumer(queue, name, &(lq_consumer_options){.window = 64});
        OK(lq_notify(consumers[i], seen_note, &seen[i]));
    }
    api_put(queue, "to all");
    for (int i = 0; i < CONSUMERS; i++) HOLDS(seen_calls(&seen[i], 1));
    for (int i = 1; i < CONSUMERS; i++) HOLDS(pthread_equal(seen[i].thread, seen[0].thread));
    for (int i = 0; i < CONSUMERS; i++) OK(lq_consumer_close(consumers[i]));
    OK(lq_close(queue));
    free(seen);
}

/* ---- damage -------------------------------------------------------------------- */

static void a_handler_is_told_of_damage_and_called_with_what_is_behind(void **state)
{
    lq_queue *queue = api_open(state, NULL);
    api_put_range(queue, 1, 5, 100);
    OK(lq_close(queue));
    api_file_flip(api_segment(api_path(*state, "q"), 0), 256 + 2 * 144 + 40 + 50, 1); /* in the body of the third */

    queue = api_open(state, NULL);
    lq_consumer *consumer = api_consumer(queue, "c", NULL);
    struct seen seen = {0};
    OK(lq_notify(consumer, seen_note, &seen));
    HOLDS(seen_calls(&seen, 4));
    EQUAL(seen.errors, 1);
    EQUAL(seen.last_id, 5);
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
}

/* ---- in the caller's thread -------------------------------------------------------- */

static void dispatch_runs_the_handler_in_the_calling_thread_only(void **state)
{
    lq_queue *queue = api_open(state, NULL);
    lq_consumer *consumer = api_consumer(queue, "c", &(lq_consumer_options){.flags = LQ_CONSUMER_DISPATCH});
    struct seen seen = {0};
    size_t count = 77;

    IS(LQ_EINVAL, lq_dispatch(consumer, 10, &count)); /* no handler yet */
    OK(lq_notify(consumer, seen_note, &seen));
    IS(LQ_EMPTY, lq_dispatch(consumer, 10, NULL));
    api_put_range(queue, 1, 5, 20);
    api_sleep_ms(60);
    EQUAL(seen.calls, 0);
    OK(lq_dispatch(consumer, 3, &count));
    EQUAL(count, 3);
    OK(lq_dispatch(consumer, 10, &count));
    EQUAL(count, 2);
    HOLDS(pthread_equal(seen.thread, pthread_self()));
    IS(LQ_EMPTY, lq_dispatch(consumer, 10, NULL));
    EQUAL(api_consumer_stats(queue, "c").floor, 5);
    OK(lq_notify(consumer, NULL, NULL));
    IS(LQ_EINVAL, lq_dispatch(consumer, 10, &count));
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
}

/* ---- descriptors ------------------------------------------------------------------ */

static bool readable(int fd, int timeout_ms)
{
    struct pollfd one = {.fd = fd, .events = POLLIN};
    return poll(&one, 1, timeout_ms) == 1 && (one.revents & POLLIN);
}

static void a_descriptor_is_readable_while_there_is_something(void **state)
{
    lq_queue *queue = api_open(state, NULL);
    lq_consumer *consumer = api_consumer(queue, "c", NULL);
    lq_message message;

    api_put(queue, "before");
    int fd = lq_fd(consumer);
    HOLDS(fd >= 3);
    EQUAL(lq_fd(consumer), fd);
    HOLDS(readable(fd, 5000));
    api_get_ack(consumer, "before");
    IS(LQ_EMPTY, lq_poll(consumer, &message));
    HOLDS(!readable(fd, 80));
    for (int i = 0; i < 50; i++) {
        api_put(queue, "more");
        HOLDS(readable(fd, 5000));
        HOLDS(readable(fd, 0)); /* level, not edge */
        api_get_ack(consumer, "more");
        IS(LQ_EMPTY, lq_poll(consumer, &message));
        HOLDS(!readable(fd, 0));
    }
    OK(lq_consumer_close(consumer));
    errno = 0;
    HOLDS(!readable(fd, 0));
    OK(lq_close(queue));
}

static void a_get_that_times_out_makes_the_descriptor_quiet_too(void **state)
{
    lq_queue *queue = api_open(state, NULL);
    lq_consumer *consumer = api_consumer(queue, "c", NULL);
    lq_message message;

    int fd = lq_fd(consumer);
    api_put(queue, "x");
    HOLDS(readable(fd, 5000));
    api_get_ack(consumer, "x");
    IS(LQ_TIMEOUT, lq_get(consumer, &message, 10));
    HOLDS(!readable(fd, 0));
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
}

static int put_ten_slowly(void *path)
{
    lq_queue *queue;
    OK(lq_open(path, NULL, &queue));
    for (int i = 0; i < 10; i++) {
        api_sleep_ms(20);
        int64_t now = api_now_us();
        OK(lq_put(queue, &now, sizeof now, NULL));
    }
    OK(lq_close(queue));
    return 0;
}

static void an_event_loop_is_woken_by_another_process(void **state)
{
    char path[4096];
    strcpy(path, api_path(*state, "q"));
    pid_t child = child_start(put_ten_slowly, path);
    lq_queue *queue = api_open(state, NULL);
    lq_consumer *consumer = api_consumer(queue, "c", NULL);
    struct epoll_event event = {.events = EPOLLIN};
    int loop = epoll_create1(0), got = 0;
    int64_t worst = 0;
    lq_message message;

    HOLDS(epoll_ctl(loop, EPOLL_CTL_ADD, lq_fd(consumer), &event) == 0);
    while (got < 10) {
        HOLDS(epoll_wait(loop, &event, 1, 10000) == 1);
        while (lq_poll(consumer, &message) == LQ_OK) {
            int64_t put;
            memcpy(&put, message.data, sizeof put);
            if (api_now_us() - put > worst) worst = api_now_us() - put;
            OK(lq_ack(consumer, &message));
            got++;
        }
    }
    api_note("an event loop got a message at most %lld us after its put began in another process", (long long)worst);
    EQUAL(child_wait(child), 0);
    close(loop);
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
}

static void a_handler_is_called_for_puts_of_another_process(void **state)
{
    char path[4096];
    strcpy(path, api_path(*state, "q"));
    pid_t child = child_start(put_ten_slowly, path);
    lq_queue *queue = api_open(state, NULL);
    lq_consumer *consumer = api_consumer(queue, "c", NULL);
    struct seen seen = {0};

    OK(lq_notify(consumer, seen_note, &seen));
    HOLDS(seen_calls(&seen, 10));
    EQUAL(child_wait(child), 0);
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
}

static void a_descriptor_and_dispatch_go_together(void **state)
{
    lq_queue *queue = api_open(state, NULL);
    lq_consumer *consumer = api_consumer(queue, "c", &(lq_consumer_options){.flags = LQ_CONSUMER_DISPATCH});
    struct seen seen = {0};

    OK(lq_notify(consumer, seen_note, &seen));
    int fd = lq_fd(consumer);
    HOLDS(fd >= 3);
    for (uint32_t round = 1; round <= 20; round++) {
        api_put(queue, "x");
        HOLDS(readable(fd, 5000));
        OK(lq_dispatch(consumer, 100, NULL));
        HOLDS(!readable(fd, 0));
        EQUAL(seen.calls, round);
    }
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
}

static int take_one_and_wait(void *path)
{
    lq_queue *queue;
    lq_consumer *consumer;
    lq_message message;
    OK(lq_open(path, NULL, &queue));
    OK(lq_consumer_open(queue, "c", NULL, &consumer));
    OK(lq_get(consumer, &message, 5000));
    api_put(queue, "ready");
    pause();
    return 0;
}

static pid_t start_who_holds_one(lq_queue *queue, char *path)
{
    api_put(queue, "held");
    lq_consumer *watcher = api_consumer(queue, "watcher", &(lq_consumer_options){.start = LQ_START_END});
    pid_t child = child_start(take_one_and_wait, path);
    api_get_ack(watcher, "ready");
    OK(lq_consumer_close(watcher));
    return child;
}

static void a_descriptor_tells_of_what_a_killed_member_held(void **state)
{
    char path[4096];
    strcpy(path, api_path(*state, "q"));
    lq_queue *queue = api_open(state, NULL);
    lq_message message;
    pid_t child = start_who_holds_one(queue, path);
    lq_consumer *consumer = api_consumer(queue, "c", NULL);

    api_get_ack(consumer, "ready");
    int fd = lq_fd(consumer);
    IS(LQ_EMPTY, lq_poll(consumer, &message));
    HOLDS(!readable(fd, 100));
    child_kill(child);
    HOLDS(readable(fd, 5000));
    api_get_ack(consumer, "held");
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
}

static void a_handler_is_called_with_what_a_killed_member_held(void **state)
{
    char path[4096];
    strcpy(path, api_path(*state, "q"));
    lq_queue *queue = api_open(state, NULL);
    struct seen seen = {0};
    pid_t child = start_who_holds_one(queue, path);
    lq_consumer *consumer = api_consumer(queue, "c", NULL);

    api_get_ack(consumer, "ready");
    OK(lq_notify(consumer, seen_note, &seen));
    child_kill(child);
    HOLDS(seen_calls(&seen, 1));
    EQUAL(seen.last_id, 1);
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
}

static void a_consumer_has_a_descriptor_or_a_thread_but_not_both(void **state)
{
    lq_queue *queue = api_open(state, NULL);
    lq_consumer *a = api_consumer(queue, "a", NULL), *b = api_consumer(queue, "b", NULL);
    struct seen seen = {0};

    HOLDS(lq_fd(a) >= 3);
    IS(LQ_EINVAL, lq_notify(a, seen_note, &seen));
    OK(lq_notify(b, seen_note, &seen));
    IS(LQ_EINVAL, lq_fd(b));
    IS(LQ_EINVAL, lq_fd(NULL));
    IS(LQ_EINVAL, lq_notify(NULL, seen_note, &seen));
    OK(lq_consumer_close(a));
    OK(lq_consumer_close(b));
    OK(lq_close(queue));
}

/* ---- signals -------------------------------------------------------------------------- */

static _Atomic uint32_t signals_elsewhere;
static pthread_t main_thread;

static void on_signal(int number)
{
    (void)number;
    if (!pthread_equal(pthread_self(), main_thread)) atomic_fetch_add(&signals_elsewhere, 1);
}

static int blocked_signals(void *context, int code, const lq_message *message)
{
    struct seen *seen = context;
    sigset_t mask;
    (void)code;
    (void)message;
    pthread_sigmask(SIG_SETMASK, NULL, &mask);
    if (!sigismember(&mask, SIGTERM) || !sigismember(&mask, SIGUSR1) || !sigismember(&mask, SIGCHLD)) atomic_fetch_add(&seen->errors, 1);
    atomic_fetch_add(&seen->calls, 1);
    return LQ_SETTLE_ACK;
}

static void signals_never_go_to_the_librarys_thread(void **state)
{
    lq_queue *queue = api_open(state, NULL);
    lq_consumer *consumer = api_consumer(queue, "c", NULL);
    struct seen seen = {0};

    main_thread = pthread_self();
    signal(SIGUSR1, on_signal);
    OK(lq_notify(consumer, blocked_signals, &seen));
    for (int i = 0; i < 50; i++) kill(getpid(), SIGUSR1);
    api_put(queue, "x");
    HOLDS(seen_calls(&seen, 1));
    EQUAL(seen.errors, 0);
    EQUAL(signals_elsewhere, 0);
    signal(SIGUSR1, SIG_DFL);
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_DIRECTORY(a_handler_is_called_with_what_is_there_and_what_comes),
        IN_DIRECTORY(a_handler_that_was_taken_away_is_not_called_again),
        IN_DIRECTORY(taking_a_handler_away_waits_until_it_is_not_running),
        IN_DIRECTORY(closing_the_consumer_takes_its_handler_away),
        IN_DIRECTORY(a_handler_may_be_replaced),
        IN_DIRECTORY(released_messages_come_again_and_kept_ones_are_settled_later),
        IN_DIRECTORY(while_a_handler_is_set_nobody_may_get),
        IN_DIRECTORY(many_consumers_share_the_thread),
        IN_DIRECTORY(a_handler_is_told_of_damage_and_called_with_what_is_behind),
        IN_DIRECTORY(dispatch_runs_the_handler_in_the_calling_thread_only),
        IN_DIRECTORY(a_descriptor_is_readable_while_there_is_something),
        IN_DIRECTORY(a_get_that_times_out_makes_the_descriptor_quiet_too),
        IN_DIRECTORY(an_event_loop_is_woken_by_another_process),
        IN_DIRECTORY(a_handler_is_called_for_puts_of_another_process),
        IN_DIRECTORY(a_descriptor_and_dispatch_go_together),
        IN_DIRECTORY(a_descriptor_tells_of_what_a_killed_member_held),
        IN_DIRECTORY(a_handler_is_called_with_what_a_killed_member_held),
        IN_DIRECTORY(a_consumer_has_a_descriptor_or_a_thread_but_not_both),
        IN_DIRECTORY(signals_never_go_to_the_librarys_thread),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
