/* lq get QUEUE -c CONSUMER [-- COMMAND]
 *
 * Takes messages, shows them, acks them, in this order: a message is acked only
 * when all of its bytes have left through standard output, or when the command
 * run for it has ended with 0. What this process still holds when it ends, in
 * whatever manner, goes back to the consumer at once. */
#include "args.h"
#include "child.h"
#include "human.h"
#include "locate.h"
#include "out.h"
#include "parse.h"
#include "position.h"
#include "print.h"
#include "report.h"
#include "stop.h"
#include "verb.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum {
    FLAG_START = FLAGS_VERB, FLAG_NO_CREATE,
    BATCH_MAX = 256,          /* messages held at a time: what a killed process delays */
    BATCH_BYTES = 1024 * 1024 /* and their bytes, about */
};

static const struct flag get_flags[] = {
    {"consumer", 'c', "NAME", "as which consumer; it is made when there is none"},
    {"count", 'n', "N", "so many messages (1); 0: until the queue is empty"},
    {"all", 'a', NULL, "until the queue is empty"},
    {"wait", 'w', "TIME", "when there is nothing, wait so long for the next one (not at all)"},
    {"follow", 'f', NULL, "never end: wait for ever"},
    {"start", FLAG_START, "POS", "where a new consumer begins (begin):\nbegin, end, N, -N, @TIME or a consumer's name"},
    {"no-create", FLAG_NO_CREATE, NULL, "fail when there is no such consumer"},
    {NULL, 0, NULL, NULL},
};

struct get {
    const char *name, *consumer_name;
    struct position start;    /* of a new consumer */
    lq_consumer_options options;
    uint64_t wanted;          /* messages still to take */
    int64_t wait_ms;          /* -1: for ever */
    char **command;           /* NULL: print */
    struct print print;

    lq_queue *queue;
    lq_consumer *consumer;
    lq_message held[BATCH_MAX];
    size_t batch;             /* how many to take next */
    bool any;                 /* was taken */
    int end;                  /* the gravest so far */
};

static void read_flags(struct get *get, struct args *args)
{
    const char *start = "begin";
    bool follow = false, counted = false;
    int flag;

    while ((flag = args_next(args)) != ARGS_END) {
        switch (flag) {
        case 'c': get->consumer_name = args->value; break;
        case 'n':
            get->wanted = parse_count_flag("--count", args->value, 0, UINT64_MAX);
            counted = true;
            break;
        case 'a': get->wanted = 0; break;
        case 'w': get->wait_ms = parse_span_flag("--wait", args->value) / 1000; break;
        case 'f': follow = true; break;
        case FLAG_START: start = args->value; break;
        case FLAG_NO_CREATE: get->options.flags |= LQ_CONSUMER_NO_CREATE; break;
        default: print_flag(&get->print, flag, args->value); break;
        }
    }
    if (follow) get->wait_ms = -1;
    if (follow && !counted) get->wanted = 0;
    if (get->wanted == 0) get->wanted = UINT64_MAX;

    args_expect(args, 1, args->dashes >= 0 ? -1 : 1, "the queue");
    get->name = args->operands[0];
    if (args->dashes == 0) usage("the queue is missing before --");
    if (args->dashes > 1) usage("one operand too many: '%s'", args->operands[1]);
    if (args->dashes == 1) get->command = args->operands + 1;
    if (get->command && get->print.chosen) usage("with a command, the output is the command's");
    if (!get->consumer_name) usage("-c CONSUMER is missing: a name of your choice, which keeps the place in the queue");
    get->start = position_parse("--start", start);
}

/* Where a new consumer begins. */
static int set_start(struct get *get)
{
    switch (get->start.kind) {
    case POSITION_BEGIN: return END_DONE; /* as when nothing is said */
    case POSITION_END: get->options.start = LQ_START_END; return END_DONE;
    case POSITION_TIME:
        get->options.start = LQ_START_TIME;
        get->options.start_time_us = get->start.time_us;
        return END_DONE;
    default:
        get->options.start = LQ_START_ID;
        return position_id(&get->start, get->queue, get->name, 0, &get->options.start_id);
    }
}

/* A consumer made by a slip of the finger keeps messages from being deleted: say that it is new. */
static void tell_new(const struct get *get)
{
    lq_consumer_stats stats = {.size = sizeof stats};

    if (!isatty(STDERR_FILENO)) return;
    if (lq_get_consumer_stats(get->queue, get->consumer_name, &stats) == LQ_ENOTFOUND)
        report(get->name, "'%s' is a new consumer", get->consumer_name);
}

static int join(struct get *get)
{
    int code, end = set_start(get);

    if (end != END_DONE) return end;
    if (!(get->options.flags & LQ_CONSUMER_NO_CREATE)) tell_new(get);
    code = lq_consumer_open(get->queue, get->consumer_name, &get->options, &get->consumer);
    if (code == LQ_ENOTFOUND) return locate_no_consumer(get->queue, get->name, get->consumer_name);
    if (code != LQ_OK) return report_code(get->name, "cannot open the consumer", code);
    return END_DONE;
}

/* Waits for messages in slices, so that a signal can end it; `count` of them are then held. */
static int take(struct get *get, size_t max, size_t *count_out)
{
    int64_t deadline_us = steady_time_us() + get->wait_ms * 1000;

    for (;;) {
        int64_t left_ms = get->wait_ms < 0 ? STOP_SLICE_MS : (deadline_us - steady_time_us() + 999) / 1000;
        int code;

        if (left_ms < 0) left_ms = 0;
        if (left_ms > STOP_SLICE_MS) left_ms = STOP_SLICE_MS;
        code = lq_get_batch(get->consumer, get->held, max, count_out, left_ms);
        if (code == LQ_ECORRUPT) {
            /* Said once; the next call is behind it. */
            get->end = end_worse(get->end, report_code(get->name, "messages are lost", code));
            continue;
        }
        if (code != LQ_EMPTY && code != LQ_TIMEOUT) return code;
        if (stop_asked() || (get->wait_ms >= 0 && steady_time_us() >= deadline_us)) return LQ_EMPTY;
        if (!get->command && out_abandoned()) return LQ_EMPTY;
    }
}

static int ack(struct get *get, size_t count)
{
    int code = lq_ack_batch(get->consumer, get->held, count);

    if (code == LQ_OK) return END_DONE;
    return report_code(get->name, code == LQ_ELEASE ? "some messages will come again" : "cannot ack", code);
}

/* All that is held goes out, and only then is it acked. */
static int print_held(struct get *get, size_t count)
{
    for (size_t i = 0; i < count; i++) print_message(&get->print, &get->held[i]);
    if (out_flush()) return ack(get, count);
    return END_NO; /* out_finish() knows whether this was the reader's wish or a failure */
}

static int run_command(struct get *get)
{
    const lq_message *message = &get->held[0];
    int status;

    /* A command that would be told to stop as soon as it begins would cost the message an attempt. */
    if (stop_asked()) {
        lq_release(get->consumer, message);
        return END_NO;
    }
    status = child_run(get->command, get->name, get->consumer_name, message);
    if (status == 0) return ack(get, 1);
    if (status < 0) {
        int error = errno;

        /* The message is not to blame: this hand-out does not count. */
        lq_release(get->consumer, message);
        errno = error;
        return report_errno(get->name, get->command[0]);
    }
    if (status > 128)
        report(get->name, "message %" PRIu64 " was given back: %s was killed by signal %d", message->id,
               get->command[0], status - 128);
    else
        report(get->name, "message %" PRIu64 " was given back: %s ended with %d", message->id, get->command[0], status);
    /* Not released, which would forget the attempt: when this member leaves, it
     * comes again at once with one attempt more. */
    return END_NO;
}

/* Few at first, for they may be large; then as many as make up BATCH_BYTES. */
static void size_batch(struct get *get, size_t count)
{
    uint64_t bytes = 0;

    for (size_t i = 0; i < count; i++) bytes += get->held[i].size;
    if (bytes > BATCH_BYTES && get->batch > 1) get->batch /= 2;
    else if (bytes < BATCH_BYTES / 4 && count == get->batch && get->batch < BATCH_MAX) get->batch *= 2;
}

static int take_all(struct get *get)
{
    while (get->wanted > 0 && !stop_asked()) {
        size_t max = get->wanted < get->batch ? (size_t)get->wanted : get->batch, count = 0;
        int code = take(get, max, &count), end;

        if (code == LQ_EMPTY) return get->any ? END_DONE : END_NO;
        if (code != LQ_OK) return report_code(get->name, "cannot get", code);
        if (!get->command) size_batch(get, count); /* looks at the messages, whose bytes an ack takes away */
        end = get->command ? run_command(get) : print_held(get, count);
        if (end != END_DONE) return end;
        get->any = true;
        if (get->wanted != UINT64_MAX) get->wanted -= count;
    }
    return END_DONE;
}

static int run(struct args *args)
{
    struct get get = {.wanted = 1, .batch = 1, .options = {.size = sizeof(lq_consumer_options)}};
    lq_options options = {.size = sizeof options, .flags = LQ_NO_CREATE};
    int code, end;

    print_init(&get.print, PRINT_PLAIN);
    read_flags(&get, args);
    end = locate_open(args, get.name, &options, &get.queue);
    if (end != END_DONE) return end;

    stop_watch();
    end = join(&get);
    if (end == END_DONE) end = take_all(&get);
    end = end_worse(end, get.end);
    code = lq_consumer_close(get.consumer);
    if (code != LQ_OK) end = end_worse(end, report_code(get.name, "cannot leave", code));
    return locate_close(get.queue, get.name, end);
}

static const struct flag *const groups[] = {get_flags, print_flags, NULL};

const struct verb verb_get = {
    .name = "get",
    .synopsis = "get QUEUE -c CONSUMER [-- COMMAND [ARGUMENT...]]",
    .summary = "take messages, show them, ack them; or run a command for each",
    .examples = "  lq get orders -c billing                  one message, exit 1 when there is none\n"
                "  lq get orders -c billing --all > orders.txt\n"
                "  lq get orders -c billing -f -- ./charge   the body is its standard input\n"
                "  lq get orders -c audit --start end --wait 30s --json\n",
    .about = "Consumers of different names each get every message; several processes with one\n"
             "name share them. A message is acked when it has been written to standard output,\n"
             "or when COMMAND ended with 0. If COMMAND fails, the message goes back, to come\n"
             "again with one attempt more, and lq ends with 1. COMMAND finds LQ_ID, LQ_KEY,\n"
             "LQ_ATTEMPTS, LQ_TIME, LQ_SIZE, LQ_QUEUE and LQ_CONSUMER in its environment.\n"
             "Bodies are printed as they are and a newline behind each; on a terminal control\n"
             "characters are escaped unless --raw is given. At most 256 messages are held at a time.\n",
    .groups = groups,
    .changes = true,
    .run = run,
};
