/* What the program that links the library notices of it: nothing that it did not ask for. No thread, no output, no
 * change to its signals, its locale, its mask or its directory; and what was opened is all given back. */
#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "support/api.h"
#include "support/child.h"

static char queue_path[4200];

static size_t entries_of(const char *directory)
{
    DIR *listing = opendir(directory);
    size_t count = 0;
    CHECK(listing != NULL);
    for (const struct dirent *entry = readdir(listing); entry; entry = readdir(listing)) count++;
    closedir(listing);
    return count;
}

static size_t threads(void)
{
    return entries_of("/proc/self/task") - 2; /* . and .. */
}

/* Everything that should need no thread: put, get, read, look. */
static void use_all(const lq_options *options)
{
    lq_queue *queue;
    lq_consumer *consumer;
    lq_reader *reader;
    lq_message message;

    OK(lq_open(queue_path, options, &queue));
    OK(lq_consumer_open(queue, "c", NULL, &consumer));
    OK(lq_put(queue, "text", 4, NULL));
    OK(lq_get(consumer, &message, 1000));
    OK(lq_ack(consumer, &message));
    IS(LQ_TIMEOUT, lq_get(consumer, &message, 10));
    OK(lq_reader_open(queue, &reader));
    OK(lq_reader_next(reader, &message));
    lq_reader_close(reader);
    (void)api_stats(queue);
    IS(LQ_ENAME, lq_consumer_open(queue, "../x", NULL, &(lq_consumer *){NULL})); /* failures, too */
    OK(lq_verify(queue_path, 0, NULL, NULL, NULL));
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
}

/* ---- threads -------------------------------------------------------------- */

static int use_without_threads(void *context)
{
    static const int modes[] = {LQ_SYNC_ALWAYS, LQ_SYNC_NEVER};
    lq_queue *queue;
    lq_consumer *consumer;
    size_t before = threads();
    (void)context;

    OK(lq_open(queue_path, &(lq_options){.size = sizeof(lq_options), .sync = modes[0]}, &queue));
    OK(lq_consumer_open(queue, "c", &(lq_consumer_options){.size = sizeof(lq_consumer_options)}, &consumer));
    OK(lq_put(queue, "text", 4, NULL));
    EQUAL(threads(), before);
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
    EQUAL(threads(), before);
    return 0;
}

static void no_thread_is_started_unless_a_feature_needs_one(void **state)
{
    snprintf(queue_path, sizeof queue_path, "%s", api_path(*state, "q"));
    EQUAL(child_run(use_without_threads, NULL), 0);
}

static int handle(void *context, int code, const lq_message *message)
{
    (void)context;
    (void)code;
    (void)message;
    return LQ_SETTLE_ACK;
}

static int use_handlers(void *context)
{
    enum { CONSUMERS = 5 };
    lq_queue *queues[2];
    lq_consumer *consumers[2][CONSUMERS];
    size_t with_one = 0; /* a sanitizer starts a thread of its own beside the first */
    (void)context;

    for (int q = 0; q < 2; q++) {
        char path[sizeof queue_path + 2], name[2] = "a";
        snprintf(path, sizeof path, "%s%d", queue_path, q);
        OK(lq_open(path, &(lq_options){.size = sizeof(lq_options), .sync = LQ_SYNC_INTERVAL}, &queues[q]));
        for (int c = 0; c < CONSUMERS; c++, name[0]++) {
            OK(lq_consumer_open(queues[q], name, NULL, &consumers[q][c]));
            OK(lq_notify(consumers[q][c], handle, NULL));
            if (!with_one) with_one = threads();
        }
    }
    EQUAL(threads(), with_one);
    for (int q = 0; q < 2; q++) {
        for (int c = 0; c < CONSUMERS; c++) OK(lq_consumer_close(consumers[q][c]));
        OK(lq_close(queues[q]));
    }
    return 0;
}

static void all_queues_and_handlers_of_a_process_share_one_thread(void **state)
{
    snprintf(queue_path, sizeof queue_path, "%s", api_path(*state, "q"));
    EQUAL(child_run(use_handlers, NULL), 0);
}

/* ---- output ---------------------------------------------------------------- */

static int use_in_silence(void *context)
{
    const char *said = context;
    struct stat status;
    int fd = open(said, O_RDWR | O_CREAT | O_TRUNC, 0600);
    CHECK(fd >= 0 && dup2(fd, 1) == 1);
    int errors = dup(2);
    CHECK(dup2(fd, 2) == 2);
    use_all(NULL);
    lq_queue *queue;
    IS(LQ_ENOTFOUND, lq_open("no/such/queue", NULL, &queue));
    fflush(NULL);
    CHECK(dup2(errors, 2) == 2);
    CHECK(fstat(fd, &status) == 0);
    EQUAL(status.st_size, 0);
    return 0;
}

static void nothing_is_printed(void **state)
{
    char said[4200];
    snprintf(queue_path, sizeof queue_path, "%s", api_path(*state, "q"));
    snprintf(said, sizeof said, "%s", api_path(*state, "said"));
    EQUAL(child_run(use_in_silence, said), 0);
}

/* ---- the process's own things ------------------------------------------------ */

struct state {
    struct sigaction actions[65];
    sigset_t blocked;
    mode_t mask;
    char directory[4096];
};

static void take(struct state *state)
{
    memset(state, 0, sizeof *state);
    for (int s = 1; s < 65; s++) (void)sigaction(s, NULL, &state->actions[s]);
    CHECK(sigprocmask(SIG_SETMASK, NULL, &state->blocked) == 0);
    state->mask = umask(077);
    umask(state->mask);
    CHECK(getcwd(state->directory, sizeof state->directory) != NULL);
}

static int use_and_compare(void *context)
{
    struct state before, after;
    (void)context;
    umask(027);
    take(&before);
    use_all(NULL);
    EQUAL(use_handlers(NULL), 0);
    take(&after);
    for (int s = 1; s < 65; s++) HOLDS(before.actions[s].sa_handler == after.actions[s].sa_handler);
    for (int s = 1; s < 65; s++) EQUAL(sigismember(&before.blocked, s), sigismember(&after.blocked, s));
    EQUAL(before.mask, after.mask);
    HOLDS(strcmp(before.directory, after.directory) == 0);
    return 0;
}

static void signals_mask_and_directory_of_the_process_stay_as_they_are(void **state)
{
    snprintf(queue_path, sizeof queue_path, "%s", api_path(*state, "q"));
    EQUAL(child_run(use_and_compare, NULL), 0);
}

/* ---- what is taken is given back ---------------------------------------------- */

static size_t lines_of(const char *path)
{
    FILE *file = fopen(path, "r");
    size_t lines = 0;
    CHECK(file != NULL);
    for (int c = getc(file); c != EOF; c = getc(file)) lines += c == '\n';
    fclose(file);
    return lines;
}

static int use_again_and_again(void *context)
{
    (void)context;
    use_all(NULL); /* what libc and the library's own first use keep */
    size_t descriptors = entries_of("/proc/self/fd"), maps = lines_of("/proc/self/maps");
    for (int i = 0; i < 20; i++) use_all(NULL);
    EQUAL(entries_of("/proc/self/fd"), descriptors);
    if (!api_sanitized) HOLDS(lines_of("/proc/self/maps") <= maps + 3); /* the heap may have grown */
    return 0;
}

static void descriptors_and_maps_are_all_given_back(void **state)
{
    snprintf(queue_path, sizeof queue_path, "%s", api_path(*state, "q"));
    EQUAL(child_run(use_again_and_again, NULL), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_DIRECTORY(no_thread_is_started_unless_a_feature_needs_one),
        IN_DIRECTORY(all_queues_and_handlers_of_a_process_share_one_thread),
        IN_DIRECTORY(nothing_is_printed),
        IN_DIRECTORY(signals_mask_and_directory_of_the_process_stay_as_they_are),
        IN_DIRECTORY(descriptors_and_maps_are_all_given_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
