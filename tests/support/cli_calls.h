/* lq in a child, with its calls of the library and of the machine answered by plan. The linker puts a __wrap_ in the place of
 * each (CLI_CALLS in the Makefile); this is included by one file of a program, whose tests begin with make_scene():
 *
 *     lq(state, "lq put q a b")                                  runs it and returns how it ended; what it said is in out and err
 *     lq_with(state, "lq put q a", "lq_put_batch", 2, LQ_EIO)    the same, and the second call of this name answers so */
#ifndef SUPPORT_CLI_CALLS_H
#define SUPPORT_CLI_CALLS_H

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "api.h"
#include "scratch.h"

int lq_main(int argc, char **argv);
#define main lq_main
#include "../../cli/main.c"
#undef main

/* ---- the plan, and what the linker puts in the place of the calls --------------- */

#define PLANTED "planted: the reason is known to the test alone"

/* The calls number `nth` to `last` of this name, from 1, are answered so and not made; and all calls of another name. */
static struct plan {
    const char *call;
    unsigned nth, last;
    int answer;
    const char *other;
} plan;

static bool on;      /* lq runs, in this process */
static int64_t clock_us; /* if not 0: its clock, which goes on by its own waiting only, in no time */
static size_t piece; /* the most that read() and write() do at once, if not 0 */
static int arriving; /* if not 0: this signal comes with the planned calls, which are made if the plan's answer is LQ_OK */
static int64_t read_us; /* so long read() takes, by that clock */
static unsigned terminals; /* bit n: descriptor n is one */
enum { ALL_TERMINALS = 7 };
enum { ASKED_MAX = 16 };
static struct seen {
    _Atomic unsigned calls, met; /* of plan.call; how many of these were answered by the plan */
    _Atomic int64_t longest_ms;  /* that it was ready to wait in one lq_get_batch() */
    _Atomic int64_t waited_us;   /* in all, by clock_us */
    _Atomic unsigned asked[ASKED_MAX]; /* so many messages with the first calls of lq_get_batch() */
    _Atomic unsigned gets;
    _Atomic unsigned dry_runs, repairs, verify_flags;
    _Atomic bool dirty;          /* something was put, and lq_sync() not called since */
} *seen;                         /* shared with the child */

static bool planted(const char *call)
{
    if (!on || !plan.call) return false;
    if (plan.other && strcmp(call, plan.other) == 0) return true;
    if (strcmp(call, plan.call) != 0) return false;
    unsigned number = ++seen->calls;
    if (number < plan.nth || number > plan.last) return false;
    seen->met++;
    if (arriving) raise(arriving);
    return !arriving || plan.answer != LQ_OK;
}

/* It waits by the clock of the test. */
static void pass_time(int64_t microseconds)
{
    clock_us += microseconds;
    seen->waited_us += microseconds;
}

#define WRAPPED(type, name, parameters, arguments)                           \
    type __real_##name parameters;                                           \
    type __wrap_##name parameters;                                           \
    type __wrap_##name parameters

/* Of the library: the plan's code in the place of the call. Nothing is promised about errno. */
#define PLAIN(name, parameters, arguments)                                   \
    WRAPPED(int, name, parameters, arguments)                                \
    {                                                                        \
        int code = planted(#name) ? plan.answer : __real_##name arguments;   \
        errno = 0;                                                           \
        return code;                                                         \
    }

/* What frees: it does so, whatever it answers. */
#define CLOSING(name, type)                                                  \
    WRAPPED(int, name, (type * handle), (handle))                            \
    {                                                                        \
        int code = __real_##name(handle);                                    \
        return planted(#name) ? plan.answer : code;                          \
    }

CLOSING(lq_close, lq_queue)
WRAPPED(int, lq_sync, (lq_queue * queue), )
{
    if (planted("lq_sync")) return plan.answer;
    seen->dirty = false;
    return __real_lq_sync(queue);
}

PLAIN(lq_get_consumer_stats, (lq_queue * queue, const char *name, lq_consumer_stats *out), (queue, name, out))
PLAIN(lq_consumer_open, (lq_queue * queue, const char *name, const lq_consumer_options *options, lq_consumer **out),
      (queue, name, options, out))
CLOSING(lq_consumer_close, lq_consumer)
PLAIN(lq_ack_batch, (lq_consumer * consumer, const lq_message *messages, size_t count), (consumer, messages, count))
PLAIN(lq_release, (lq_consumer * consumer, const lq_message *message), (consumer, message))
PLAIN(lq_reader_open, (lq_queue * queue, lq_reader **out), (queue, out))
PLAIN(lq_reader_seek_id, (lq_reader * reader, uint64_t id), (reader, id))
PLAIN(lq_reader_seek_time, (lq_reader * reader, int64_t time_us), (reader, time_us))

/* By the clock of the test nothing comes while it waits. */
WRAPPED(int, lq_reader_wait, (lq_reader * reader, int64_t timeout_ms), )
{
    if (planted("lq_reader_wait")) return plan.answer;
    if (!on || !clock_us) return __real_lq_reader_wait(reader, timeout_ms);
    pass_time(timeout_ms * 1000);
    return LQ_TIMEOUT;
}

/* As if so long had passed between two messages, if not 0. */
static int64_t gap_us;

WRAPPED(int, lq_reader_next, (lq_reader * reader, lq_message *out), )
{
    if (planted("lq_reader_next")) return plan.answer;
    int code = __real_lq_reader_next(reader, out);
    if (on && code == LQ_OK && gap_us) out->time_us = INT64_C(1000000000000000) + (int64_t)out->id * gap_us;
    return code;
}

/* What a reader that has been made to find damage tells of it, if not NULL. */
static const lq_finding *hole;

WRAPPED(int, lq_reader_damage, (lq_reader * reader, lq_finding *out), )
{
    if (planted("lq_reader_damage")) return plan.answer;
    if (!hole) return __real_lq_reader_damage(reader, out);
    *out = *hole;
    return LQ_OK;
}

static int64_t room_wait_ms; /* the longest that a put waits */

WRAPPED(int, lq_open, (const char *path, const lq_options *options, lq_queue **queue_out), )
{
    if (planted("lq_open")) return plan.answer;
    if (on && options && options->full_timeout_ms) room_wait_ms = options->full_timeout_ms;
    return __real_lq_open(path, options, queue_out);
}

/* There is no room, if it answers so, until the time is over. */
WRAPPED(int, lq_put_batch, (lq_queue * queue, const lq_message *messages, size_t count, uint64_t *id_out), )
{
    if (!planted("lq_put_batch")) {
        seen->dirty = true;
        return __real_lq_put_batch(queue, messages, count, id_out);
    }
    if (clock_us && plan.answer == LQ_TIMEOUT) pass_time(room_wait_ms * 1000);
    return plan.answer;
}

/* lq waits in slices, so that a signal can end it; never for ever. A failure here may have taken its time. */
WRAPPED(int, lq_get_batch, (lq_consumer * consumer, lq_message *out, size_t max, size_t *count, int64_t timeout_ms), )
{
    if (on && (timeout_ms < 0 || timeout_ms > STOP_SLICE_MS)) abort();
    if (on && timeout_ms > seen->longest_ms) seen->longest_ms = timeout_ms;
    if (on && seen->gets < ASKED_MAX) seen->asked[seen->gets++] = (unsigned)max;
    if (planted("lq_get_batch")) {
        api_sleep_ms(5);
        return plan.answer;
    }
    if (!on || !clock_us) return __real_lq_get_batch(consumer, out, max, count, timeout_ms);
    int code = __real_lq_get_batch(consumer, out, max, count, 0);
    if (code == LQ_EMPTY) pass_time(timeout_ms * 1000);
    return code;
}

/* What the library tells of a queue, if not NULL. */
static struct told {
    const lq_stats *stats;
    const struct told_consumer {
        int code;
        lq_consumer_stats stats;
    } *consumers;
    const lq_segment *segments;
    size_t count; /* of consumers, or segments */
} told;

WRAPPED(int, lq_get_stats, (lq_queue * queue, lq_stats *stats), )
{
    if (planted("lq_get_stats")) return plan.answer;
    if (!on || !told.stats) return __real_lq_get_stats(queue, stats);
    *stats = *told.stats;
    return LQ_OK;
}

/* With the plan's answer being LQ_OK it tells of a consumer that is being made. */
WRAPPED(int, lq_each_consumer, (lq_queue * queue, lq_consumer_callback *each, void *context), )
{
    static const lq_consumer_stats young = {.size = sizeof young, .name = "young", .members = 1};
    if (planted("lq_each_consumer")) return plan.answer != LQ_OK ? plan.answer : each(context, LQ_OK, &young);
    if (!on || !told.stats) return __real_lq_each_consumer(queue, each, context);
    for (size_t i = 0; told.consumers && i < told.count; i++) each(context, told.consumers[i].code, &told.consumers[i].stats);
    return LQ_OK;
}

WRAPPED(int, lq_each_segment, (lq_queue * queue, lq_segment_callback *each, void *context), )
{
    int end = LQ_OK;
    if (planted("lq_each_segment")) return plan.answer;
    if (!on || !told.segments) return __real_lq_each_segment(queue, each, context);
    for (size_t i = 0; i < told.count && end == LQ_OK; i++) end = each(context, &told.segments[i]);
    return end;
}

/* What it finds and mends, with the plan's answer being LQ_OK or LQ_ECORRUPT: here, what no sound library would, in any order,
 * of any kind. */
static const lq_finding strange[] = {
    {sizeof(lq_finding), LQ_ECORRUPT, "log/2.seg", 4096, 700, 1, "the second"},
    {sizeof(lq_finding), LQ_EIO, "log/1.seg", 64, 300, 2, "a bad sector"},
    {sizeof(lq_finding), LQ_ECORRUPT, "log/3.seg", 8, 900, 0, "nobody knows how many"},
    {sizeof(lq_finding), LQ_EVERSION, "meta", 4, 0, 0, "of tomorrow"},
};
static const lq_finding *findings = strange;
static size_t findings_count = sizeof strange / sizeof *strange;
static lq_verify_result totals = {.messages = 997};
static const lq_repair_step *steps; /* NULL: it just answers */
static size_t steps_count;

/* What these two call is no affair of lq's. */
WRAPPED(int, lq_repair, (const char *path, unsigned flags, lq_repair_callback *each, void *context, lq_repair_result *result), )
{
    if (flags & LQ_REPAIR_DRY_RUN) seen->dry_runs++;
    else seen->repairs++;
    if (planted("lq_repair")) {
        for (size_t i = 0; steps && i < steps_count; i++) {
            each(context, &steps[i]);
            result->steps++;
            result->lost += steps[i].count;
        }
        return plan.answer;
    }
    on = false;
    int code = __real_lq_repair(path, flags, each, context, result);
    on = true;
    return code;
}

WRAPPED(int, lq_verify, (const char *path, unsigned flags, lq_finding_callback *each, void *context, lq_verify_result *result), )
{
    seen->verify_flags = flags;
    if (clock_us) pass_time(2000000); /* it is thorough */
    if (!planted("lq_verify")) {
        on = false;
        int code = __real_lq_verify(path, flags, each, context, result);
        on = true;
        return code;
    }
    if (plan.answer != LQ_OK && plan.answer != LQ_ECORRUPT) return plan.answer;
    *result = totals;
    for (size_t i = 0; i < findings_count; i++) {
        each(context, &findings[i]);
        result->findings++;
        result->lost += findings[i].count;
    }
    return plan.answer;
}

WRAPPED(const char *, lq_error_text, (void), ())
{
    return on && seen->met ? PLANTED : __real_lq_error_text();
}

WRAPPED(const char *, lq_version, (void), ())
{
    return planted("lq_version") ? "9.8.7" : __real_lq_version();
}

/* ---- the machine: the plan's answer is an errno --------------------------------- */

#define SYSTEM(type, name, failure, parameters, arguments)                   \
    WRAPPED(type, name, parameters, arguments)                               \
    {                                                                        \
        if (!planted(#name)) return __real_##name arguments;                 \
        errno = plan.answer;                                                 \
        return failure;                                                      \
    }

SYSTEM(int, pipe2, -1, (int fds[2], int flags), (fds, flags))
SYSTEM(int, scandir, -1,
       (const char *path, struct dirent ***list, int (*choose)(const struct dirent *),
        int (*compare)(const struct dirent **, const struct dirent **)),
       (path, list, choose, compare))

WRAPPED(int64_t, steady_time_us, (void), ())
{
    return clock_us ? clock_us : __real_steady_time_us();
}

static int64_t wall_us; /* what the clock on the wall shows, if not 0 */

WRAPPED(int, clock_gettime, (clockid_t clock, struct timespec *now), )
{
    if (!on || !wall_us || clock != CLOCK_REALTIME) return __real_clock_gettime(clock, now);
    *now = (struct timespec){.tv_sec = wall_us / 1000000, .tv_nsec = wall_us % 1000000 * 1000};
    return 0;
}

WRAPPED(void, stop_sleep_us, (int64_t microseconds), )
{
    planted("stop_sleep_us");
    if (clock_us) pass_time(microseconds);
    else __real_stop_sleep_us(microseconds);
}

WRAPPED(int, isatty, (int fd), )
{
    return on && (terminals >> fd & 1);
}

/* Nobody cuts the power here: a sync that does not fail has nothing to do. */
WRAPPED(int, fdatasync, (int fd), )
{
    (void)fd;
    if (!planted("fdatasync")) return 0;
    errno = plan.answer;
    return -1;
}

WRAPPED(int, fsync, (int fd), )
{
    (void)fd;
    return 0;
}

/* Those of the library are its own tests' affair. */
WRAPPED(DIR *, opendir, (const char *path), )
{
    if (strcmp(path, "/proc") != 0 || !planted("opendir")) return __real_opendir(path);
    errno = plan.answer;
    return NULL;
}

static size_t no_more_than_a_piece(size_t size)
{
    return on && piece && size > piece ? piece : size;
}

WRAPPED(ssize_t, read, (int fd, void *bytes, size_t size), )
{
    if (fd != STDIN_FILENO) return __real_read(fd, bytes, size);
    if (on && clock_us) pass_time(read_us);
    if (!planted("read")) return __real_read(fd, bytes, no_more_than_a_piece(size));
    errno = plan.answer;
    return -1;
}

WRAPPED(ssize_t, write, (int fd, const void *bytes, size_t size), )
{
    if (!planted("write")) return __real_write(fd, bytes, no_more_than_a_piece(size));
    errno = plan.answer;
    return -1;
}

/* ---- running lq ------------------------------------------------------------------ */

enum { SAID_MAX = 1 << 18, WORDS_MAX = 20, LIMIT_S = 20 };

static char out[SAID_MAX], err[SAID_MAX]; /* what it said */
static const char *input = "";            /* for its standard input */
static size_t input_bytes;                /* 0: up to the NUL */
static int input_pipe = -1;               /* or this end of a pipe */
static bool unread;                       /* its output is a pipe that nobody reads any more */

static void redirect(const char *path, int flags, int to)
{
    int fd = open(path, flags, 0600);
    if (fd < 0 || dup2(fd, to) < 0) _exit(90);
    close(fd);
}

static void be_unread(void)
{
    int fds[2];
    if (pipe(fds) != 0 || dup2(fds[1], STDOUT_FILENO) < 0) _exit(90);
    close(fds[0]);
    close(fds[1]);
}

_Noreturn static void be_lq(const char *directory, char *line)
{
    char *words[WORDS_MAX + 1] = {NULL};
    int count = 0;

    for (char *word = strtok(line, " "); word && count < WORDS_MAX; word = strtok(NULL, " ")) words[count++] = strcmp(word, "''") == 0 ? word + 2 : word;
    if (chdir(directory) != 0) _exit(90);
    alarm(LIMIT_S);
    redirect("in", O_RDONLY, STDIN_FILENO);
    if (input_pipe >= 0 && dup2(input_pipe, STDIN_FILENO) < 0) _exit(90);
    redirect("out", O_WRONLY | O_CREAT | O_TRUNC, STDOUT_FILENO);
    if (unread) be_unread();
    redirect("err", O_WRONLY | O_CREAT | O_TRUNC, STDERR_FILENO);
    on = true;
    _exit(lq_main(count, words));
}

static void read_back(void **state, const char *name, char *text)
{
    struct api_bytes got = api_file_read(api_path(*state, name));
    assert_true(got.size < SAID_MAX);
    memcpy(text, got.bytes, got.size);
    text[got.size] = '\0';
    free(got.bytes);
}

/* cmocka's setup of the whole program. */
static int share_what_is_seen(void **state)
{
    (void)state;
    seen = mmap(NULL, sizeof *seen, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return seen == MAP_FAILED ? -1 : 0;
}

/* Runs a line such as "lq put q a" and returns how it ended; 128 + a signal is told as a shell does. The queue q is in its directory. */
static int lq(void **state, const char *line)
{
    char copy[400];
    int status;

    snprintf(copy, sizeof copy, "%s", line);
    api_file_write(api_path(*state, "in"), input, input_bytes ? input_bytes : strlen(input));
    memset(seen, 0, sizeof *seen);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) be_lq(*state, copy);
    assert_true(waitpid(child, &status, 0) == child);
    read_back(state, "out", out);
    read_back(state, "err", err);
    if (WIFSIGNALED(status) && WTERMSIG(status) == arriving) return 128 + arriving;
    if (!WIFEXITED(status)) fail_msg("%s: killed by %d; %s", line, WTERMSIG(status), err);
    return WEXITSTATUS(status);
}

static inline int lq_with(void **state, const char *line, const char *call, unsigned nth, int answer)
{
    plan = (struct plan){call, nth, nth, answer, NULL};
    int end = lq(state, line);
    plan = (struct plan){NULL, 0, 0, 0, NULL};
    return end;
}

/* How often it calls that. */
static inline unsigned calls_of(void **state, const char *line, const char *call)
{
    assert_int_equal(lq_with(state, line, call, UINT32_MAX, 0), END_DONE);
    return seen->calls;
}

static inline void says(const char *where, const char *text)
{
    if (!strstr(where, text)) fail_msg("'%s' is not in: %s", text, where);
}

static inline unsigned lines_of(const char *text)
{
    unsigned count = 0;
    for (; *text; text++) count += *text == '\n';
    return count;
}

/* Five messages; x has settled two of them. */
static inline void make_scene(void **state)
{
    scratch_delete(api_path(*state, "q"));
    scratch_delete(api_path(*state, "r"));

    lq_options options = {.segment_size = 65536, .ring_size = 65536};
    lq_queue *queue = api_open(state, &options);
    lq_consumer *consumer = api_consumer(queue, "x", NULL);

    for (unsigned i = 0; i < 5; i++) api_put(queue, (const char *[]){"one", "two", "three", "four", "five"}[i]);
    api_get_ack(consumer, "one");
    api_get_ack(consumer, "two");
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
}

static inline lq_stats stats_of(void **state, const char *name)
{
    lq_options options = {.size = sizeof options, .flags = LQ_READ_ONLY};
    lq_queue *queue;

    OK(lq_open(api_path(*state, name), &options, &queue));
    lq_stats stats = api_stats(queue);
    OK(lq_close(queue));
    return stats;
}

static inline uint64_t floor_of(void **state, const char *consumer)
{
    lq_options options = {.size = sizeof options, .flags = LQ_READ_ONLY};
    lq_queue *queue;

    OK(lq_open(api_path(*state, "q"), &options, &queue));
    uint64_t settled = api_consumer_stats(queue, consumer).floor;
    OK(lq_close(queue));
    return settled;
}

#endif
