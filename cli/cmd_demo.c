/* lq demo: see it work, crash and recover in a few seconds.
 *
 * Everything happens in a temporary directory, by separate processes, and each
 * sentence that begins with "ok" has been checked before it is printed. If one
 * is not true, the demo says which and fails. */
#include "args.h"
#include "demo_actors.h"
#include "human.h"
#include "out.h"
#include "report.h"
#include "stop.h"
#include "verb.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { KILLS = 3, WRITER_LIFE_US = 250000, PATIENCE_US = 20000000 };

struct demo {
    char dir[4000], queue[4096];
    struct notebook *notebook;
    uint64_t accepted; /* everything up to this id must be there */
    int end;           /* END_DONE until something is not true */
};

static void say(const char *format, ...) __attribute__((format(printf, 1, 2)));

static void say(const char *format, ...)
{
    char text[512];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    out_text(text);
    out_char('\n');
    out_flush();
}

static void title(const char *text)
{
    say("\n%s%s%s", paint(PAINT_BOLD), text, paint(PAINT_NONE));
}

/* Prints the claim if it is true, else fails the demo. */
static bool claim(struct demo *demo, bool is_true, const char *format, ...) __attribute__((format(printf, 3, 4)));

static bool claim(struct demo *demo, bool is_true, const char *format, ...)
{
    char text[400];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    if (is_true) {
        say("  %sok%s  %s", paint(PAINT_GREEN), paint(PAINT_NONE), text);
        return true;
    }
    out_flush();
    if (!stop_asked()) report("demo", "this is not true: %s", text);
    demo->end = END_CANNOT;
    return false;
}

/* A call of the library that must work. */
static bool works(struct demo *demo, const char *what, int code)
{
    if (code == LQ_OK) return true;
    out_flush();
    demo->end = end_worse(END_CANNOT, report_code("demo", what, code));
    return false;
}

/* The exit code of a process, -1 when it was killed or does not end. */
static int wait_for(pid_t pid)
{
    int64_t deadline_us = steady_time_us() + PATIENCE_US;
    int status;
    pid_t got;

    if (pid < 0) return -1;
    while ((got = waitpid(pid, &status, WNOHANG)) == 0 && !stop_asked() && steady_time_us() < deadline_us)
        stop_sleep_us(2000);
    if (got == 0) {
        kill(pid, SIGKILL);
        waitpid(pid, &status, 0);
    }
    return got == pid && WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void kill_9(pid_t pid)
{
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
}

/* ---- the acts ---------------------------------------------------------- */

static bool act_put(struct demo *demo)
{
    lq_options options = {.size = sizeof options, .flags = LQ_DEFER_SYNC};
    char body[DEMO_BODY_MAX];
    int64_t start_us = steady_time_us(), took_us;
    uint64_t id = 0;
    lq_queue *queue;
    int code;

    title("1. A queue is a directory. One process puts, then syncs.");
    if (!works(demo, "cannot make a queue", lq_open(demo->queue, &options, &queue))) return false;
    code = LQ_OK;
    while (code == LQ_OK && id < DEMO_MESSAGES) code = lq_put(queue, body, demo_body(id + 1, body), &id);
    if (code == LQ_OK) code = lq_sync(queue);
    took_us = steady_time_us() - start_us;
    works(demo, "cannot put", code);
    code = lq_close(queue);
    if (demo->end != END_DONE || !works(demo, "cannot close", code)) return false;
    demo->accepted = id;
    return claim(demo, id == DEMO_MESSAGES, "%s messages put and synced in %s", human_count(id).text,
                 human_span(took_us).text);
}

static bool all_once(_Atomic uint8_t *times)
{
    for (uint64_t id = 1; id <= DEMO_MESSAGES; id++)
        if (times[id] != 1) return false;
    return true;
}

static bool act_consume(struct demo *demo)
{
    struct notebook *notebook = demo->notebook;
    bool fine = true;
    pid_t actors[DEMO_TAKERS];

    title("2. Three processes, two consumers: 'billing' has two members, 'audit' one.");
    actors[0] = demo_take_all(notebook, demo->queue, "billing", 0);
    actors[1] = demo_take_all(notebook, demo->queue, "billing", 1);
    actors[2] = demo_take_all(notebook, demo->queue, "audit", 0);
    for (int i = 0; i < DEMO_TAKERS; i++) fine = wait_for(actors[i]) == 0 && fine;
    if (!claim(demo, fine, "all three ended well")) return false;
    return claim(demo, all_once(notebook->billing), "'billing' got each message once: one member %s, the other %s",
                 human_count(notebook->billing_count[0]).text, human_count(notebook->billing_count[1]).text) &&
           claim(demo, all_once(notebook->audit) && notebook->out_of_order == 0,
                 "'audit' got each of the %s once, too; everybody saw them in order",
                 human_count(notebook->audit_count).text);
}

/* Takes what the dead one held; true when it is just that, once more. */
static bool take_held(struct demo *demo, lq_consumer *consumer, int64_t *first_after_us)
{
    int64_t start_us = steady_time_us();
    lq_message message;

    for (uint64_t id = 1; id <= DEMO_HELD; id++) {
        if (!works(demo, "cannot get", lq_get(consumer, &message, 2000))) return false;
        if (id == 1) *first_after_us = steady_time_us() - start_us;
        if (message.id != id || message.attempts != 2 || !demo_body_is(&message)) return false;
        if (!works(demo, "cannot ack", lq_ack(consumer, &message))) return false;
    }
    return true;
}

static bool act_kill_consumer(struct demo *demo)
{
    int64_t deadline_us = steady_time_us() + PATIENCE_US, first_after_us = 0;
    lq_consumer *consumer = NULL;
    lq_queue *queue = NULL;
    bool fine;
    pid_t victim;

    title("3. A consumer is killed (kill -9) with messages in hand.");
    victim = demo_hold(demo->notebook, demo->queue, "shipping");
    while (demo->notebook->held < DEMO_HELD && steady_time_us() < deadline_us && !stop_asked()) stop_sleep_us(1000);
    fine = demo->notebook->held == DEMO_HELD && works(demo, "cannot open", lq_open(demo->queue, NULL, &queue)) &&
           works(demo, "cannot join", lq_consumer_open(queue, "shipping", NULL, &consumer));
    if (victim > 0) kill_9(victim);
    if (fine) fine = take_held(demo, consumer, &first_after_us);
    lq_consumer_close(consumer);
    lq_close(queue);
    return claim(demo, fine, "the %d messages it held came to another member after %s, marked as attempt 2", DEMO_HELD,
                 human_span(first_after_us).text);
}

/* Reads the whole log: how many messages are there and as they should be, and how many places are damaged. */
static bool read_all(struct demo *demo, uint64_t *good_out, uint64_t *holes_out)
{
    lq_options options = {.size = sizeof options, .flags = LQ_READ_ONLY};
    lq_reader *reader = NULL;
    lq_queue *queue = NULL;
    lq_message message;
    int code;

    *good_out = *holes_out = 0;
    code = lq_open(demo->queue, &options, &queue);
    if (code == LQ_OK) code = lq_reader_open(queue, &reader);
    while (code == LQ_OK && *holes_out < 100) {
        code = lq_reader_next(reader, &message);
        if (code == LQ_OK) *good_out += demo_body_is(&message);
        if (code != LQ_ECORRUPT) continue;
        ++*holes_out;
        code = LQ_OK;
    }
    if (code == LQ_EMPTY) code = LQ_OK;
    works(demo, "cannot read", code);
    lq_reader_close(reader);
    lq_close(queue);
    return code == LQ_OK;
}

/* On a busy machine it may take its time to come that far. */
static void wait_until_more_than(const struct notebook *notebook, uint64_t accepted)
{
    int64_t deadline_us = steady_time_us() + PATIENCE_US;
    while (notebook->accepted <= accepted && steady_time_us() < deadline_us && !stop_asked()) stop_sleep_us(1000);
}

static bool act_kill_writer(struct demo *demo)
{
    uint64_t good, holes, before = demo->accepted;
    lq_stats stats = {.size = sizeof stats};
    lq_queue *queue = NULL;
    bool fine = true;

    title("4. A writer is killed in the middle of putting, each message synced: three times.");
    for (int i = 0; i < KILLS && fine; i++) {
        uint64_t accepted = demo->notebook->accepted; /* by those before it */
        pid_t writer = demo_write(demo->notebook, demo->queue);

        wait_until_more_than(demo->notebook, accepted);
        stop_sleep_us(WRITER_LIFE_US);
        fine = writer > 0 && waitpid(writer, NULL, WNOHANG) == 0; /* it has not failed by itself */
        if (fine) kill_9(writer);
        fine = claim(demo, fine, "killed after %s was accepted", human_count(demo->notebook->accepted).text);
    }
    if (!fine) return false;
    if (!works(demo, "cannot open after the crash", lq_open(demo->queue, NULL, &queue))) return false;
    works(demo, "cannot look", lq_get_stats(queue, &stats));
    works(demo, "cannot close", lq_close(queue));
    if (demo->end != END_DONE || !read_all(demo, &good, &holes)) return false;
    demo->accepted = stats.last_id;
    return claim(demo, stats.last_id >= demo->notebook->accepted && demo->notebook->accepted > before,
                 "%s were accepted, %s are there: none is lost", human_count(demo->notebook->accepted).text,
                 human_count(stats.last_id).text) &&
           claim(demo, good == stats.last_id && holes == 0, "each of them reads back as it was put");
}

static bool act_verify(struct demo *demo)
{
    lq_verify_result result = {.size = sizeof result};
    int code = lq_verify(demo->queue, 0, NULL, NULL, &result);

    title("5. Every byte is checked.");
    if (!works(demo, "damage", code)) return false;
    return claim(demo, result.findings == 0 && result.messages == demo->accepted, "%s messages, %s: no damage",
                 human_count(result.messages).text, human_size(result.bytes).text);
}

/* ---- a flipped bit ----------------------------------------------------- */

struct target {
    char file[256];
    uint64_t bytes;
};

static int find_target(void *context, const lq_segment *segment)
{
    struct target *target = context;

    if (segment->bytes <= target->bytes) return 0;
    snprintf(target->file, sizeof target->file, "%s", segment->file);
    target->bytes = segment->bytes;
    return 0;
}

static bool flip_bit(struct demo *demo, const struct target *target)
{
    char *path = NULL, byte = 0;
    int fd = -1;
    bool fine;

    if (asprintf(&path, "%s/%s", demo->queue, target->file) < 0) return false;
    fd = open(path, O_RDWR | O_CLOEXEC);
    fine = fd >= 0 && pread(fd, &byte, 1, (off_t)(target->bytes / 2)) == 1;
    byte = (char)(byte ^ 16);
    fine = fine && pwrite(fd, &byte, 1, (off_t)(target->bytes / 2)) == 1;
    if (!fine) demo->end = report_errno("demo", path);
    if (fd >= 0) close(fd);
    free(path);
    return fine;
}

static void copy_finding(void *context, const lq_finding *finding)
{
    char *text = context;

    snprintf(text, 300, "%s byte %s: %s", finding->file, human_count(finding->offset).text, finding->text);
}

static bool act_damage(struct demo *demo)
{
    lq_options options = {.size = sizeof options, .flags = LQ_READ_ONLY};
    lq_verify_result result = {.size = sizeof result};
    struct target target = {"", 0};
    char text[300] = "";
    uint64_t good, holes;
    lq_queue *queue;
    int code;

    title("6. One bit of a log file is flipped, by hand.");
    if (!works(demo, "cannot look", lq_open(demo->queue, &options, &queue))) return false;
    lq_each_segment(queue, find_target, &target);
    lq_close(queue);
    if (!flip_bit(demo, &target)) return false;
    code = lq_verify(demo->queue, 0, copy_finding, text, &result);
    if (!claim(demo, code == LQ_ECORRUPT && result.findings == 1, "found: %s", text)) return false;
    if (!read_all(demo, &good, &holes)) return false;
    if (!claim(demo, good == demo->accepted - result.lost && holes == 1 && result.lost <= 1,
               "it costs %s message; the other %s read back as they were put", human_count(result.lost).text,
               human_count(good).text))
        return false;
    if (!flip_bit(demo, &target)) return false;
    code = lq_verify(demo->queue, 0, NULL, NULL, NULL);
    return claim(demo, code == LQ_OK, "flipped back: no damage, nothing else had been touched");
}

/* ---- the stage --------------------------------------------------------- */

static int remove_entry(const char *path, const struct stat *status, int kind, struct FTW *place)
{
    (void)status;
    (void)kind;
    (void)place;
    return remove(path);
}

static bool set_up(struct demo *demo)
{
    const char *tmp = getenv("TMPDIR");

    snprintf(demo->dir, sizeof demo->dir, "%s/lq-demo.XXXXXX", tmp && *tmp ? tmp : "/tmp");
    /* cppcheck-suppress invalidFunctionArg ; -1 is right for anonymous memory */
    demo->notebook = mmap(NULL, sizeof *demo->notebook, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (demo->notebook == MAP_FAILED || !mkdtemp(demo->dir)) {
        demo->end = report_errno("demo", "cannot make a temporary directory");
        return false;
    }
    snprintf(demo->queue, sizeof demo->queue, "%s/orders", demo->dir);
    return true;
}

static int run(struct args *args)
{
    static bool (*const acts[])(struct demo *) = {act_put,         act_consume, act_kill_consumer,
                                                  act_kill_writer, act_verify,  act_damage};
    struct demo demo = {.end = END_DONE};
    int64_t start_us = steady_time_us();

    args_take_operands(args);
    args_expect(args, 0, 0, "nothing");
    stop_watch();
    if (!set_up(&demo)) return demo.end;
    for (size_t i = 0; i < sizeof acts / sizeof *acts && !stop_asked(); i++)
        if (!acts[i](&demo)) break;
    if (nftw(demo.dir, remove_entry, 16, FTW_DEPTH | FTW_PHYS) != 0)
        demo.end = end_worse(demo.end, report_errno(demo.dir, "cannot remove"));
    if (stop_asked()) return END_NO;
    if (demo.end == END_DONE)
        say("\nAll of it was checked, in %s. Next: lq help", human_span(steady_time_us() - start_us).text);
    return demo.end;
}

const struct verb verb_demo = {
    .name = "demo",
    .synopsis = "demo",
    .summary = "see it work, crash and recover, in a temporary directory",
    .examples = "  lq demo\n",
    .about = "Puts, consumes with three processes, kills a consumer and a writer with kill -9, recovers,\n"
             "verifies, and flips a bit. What it says it has checked; it ends with 0 only if all of it was true.\n",
    .run = run,
};
