/* lq put QUEUE [MESSAGE...]
 *
 * Messages come from the command line or from standard input. They go in as
 * they come: before it waits for more input it puts what it has, and when a
 * pipe pauses it also syncs, so that `tail -f log | lq put Q` is never behind.
 * A file is put in one unsynced pass with one sync at its end. When it ends
 * with 0, everything is in the queue, as durable as the queue's mode promises. */
#include "args.h"
#include "feed.h"
#include "human.h"
#include "input.h"
#include "json_read.h"
#include "locate.h"
#include "make.h"
#include "out.h"
#include "parse.h"
#include "progress.h"
#include "report.h"
#include "stop.h"
#include "verb.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum {
    FLAG_WHOLE = FLAGS_VERB, FLAG_JSON, FLAG_HEADERS, FLAG_BATCH, FLAG_IDS, FLAG_WAIT,
    PAUSE_MS = 100, /* so long a pipe must be silent before what it brought is synced */
    JSON_PER_BYTE = 6, JSON_AROUND = 64 * 1024 /* what a line of JSON may have for a byte of the message, and around it */
};

static const struct flag put_flags[] = {
    {"null", '0', NULL, "standard input: a NUL ends a message, not a newline"},
    {"whole", FLAG_WHOLE, NULL, "standard input is one message"},
    {"json", FLAG_JSON, NULL, "standard input: an object per line, as cat --json writes it"},
    {"key", 'k', "KEY", "key of the messages"},
    {"headers", FLAG_HEADERS, "TEXT", "headers of the messages: bytes that lq does not look into"},
    {"batch", FLAG_BATCH, "N", "at most N messages in a batch (256), which is in whole or not at all"},
    {"ids", FLAG_IDS, NULL, "print the ids, each once its message is durable (slower)"},
    {"wait", FLAG_WAIT, "TIME", "how long to wait for room in a full queue that blocks (for ever)"},
    {NULL, 0, NULL, NULL},
};

struct put {
    const char *name;
    lq_options options;
    lq_message message;  /* key and headers for all */
    int delimiter;
    bool json, ids, paced; /* paced: from a pipe, which may pause */
    uint64_t batch;
    int64_t wait_ms;
    struct feed feed;
    struct input input;
};

static void read_flags(struct put *put, struct args *args)
{
    int flag;

    while ((flag = args_next(args)) != ARGS_END) {
        switch (flag) {
        case '0': put->delimiter = '\0'; break;
        case FLAG_WHOLE: put->delimiter = INPUT_WHOLE; break;
        case FLAG_JSON: put->json = true; break;
        case 'k':
            put->message.key = args->value;
            put->message.key_size = strlen(args->value);
            break;
        case FLAG_HEADERS:
            put->message.headers = args->value;
            put->message.headers_size = strlen(args->value);
            break;
        case FLAG_BATCH: put->batch = parse_count_flag("--batch", args->value, 1, LQ_BATCH_MAX); break;
        case FLAG_IDS: put->ids = true; break;
        case FLAG_WAIT: put->wait_ms = parse_span_flag("--wait", args->value) / 1000; break;
        default: make_flag(&put->options, flag, args->value); break;
        }
    }
    args_expect(args, 1, -1, "the queue");
    if (put->json && put->delimiter != '\n') usage("--json does not go with --null or --whole");
    if (args->count > 1 && (put->json || put->delimiter != '\n'))
        usage("messages are given as arguments, and --json, --null and --whole are about standard input");
    put->name = args->operands[0];
}

/* What went wrong with which message, and that the ones before it are in. */
static int tell(const struct put *put, int code)
{
    char what[160];

    snprintf(what, sizeof what, "cannot put message %s (%s put before it)", human_count(put->feed.put + 1).text,
             human_count(put->feed.put).text);
    if (code != LQ_TIMEOUT) return report_code(put->name, what, code);
    if (stop_asked()) return END_NO; /* it was waiting for room */
    report(put->name, "%s: the queue is full and no room was made in time", what);
    return END_NO;
}

static int put_arguments(struct put *put, char **messages)
{
    for (int i = 0; messages[i]; i++) {
        lq_message message = put->message;
        int code;

        message.data = messages[i];
        message.size = strlen(messages[i]);
        code = feed_add(&put->feed, &message);
        if (code == LQ_OK && (!messages[i + 1] || put->batch == 1)) code = feed_flush(&put->feed);
        if (code != LQ_OK) return tell(put, code);
    }
    return END_DONE;
}

/* A record of JSON becomes a message; its own key and headers outdo those of the flags. */
static int parse_record(struct put *put, char *record, size_t size, lq_message *message)
{
    lq_message parsed;
    const char *why;
    size_t column;

    if (!json_read_message(record, size, &parsed, &why, &column)) {
        feed_flush(&put->feed);
        report(put->name, "cannot put standard input, line %s column %s: %s (%s put before it)",
               human_count(put->input.records).text, human_count(column).text, why, human_count(put->feed.put).text);
        return END_USAGE;
    }
    message->data = parsed.data;
    message->size = parsed.size;
    if (parsed.key_size) {
        message->key = parsed.key;
        message->key_size = parsed.key_size;
    }
    if (parsed.headers_size) {
        message->headers = parsed.headers;
        message->headers_size = parsed.headers_size;
    }
    return END_DONE;
}

static bool is_blank(const char *record, size_t size)
{
    while (size > 0 && strchr(" \t\r", record[size - 1])) size--;
    return size == 0;
}

/* All records that are in the buffer. */
static int put_records(struct put *put)
{
    char *record;
    size_t size;

    while (input_next(&put->input, &record, &size)) {
        lq_message message = put->message;
        int code, end;

        message.data = record;
        message.size = size;
        if (put->json) {
            /* What is longer than any object is the end of what was read, blank or not. */
            if (size <= put->input.record_max && is_blank(record, size)) continue;
            end = parse_record(put, record, size, &message);
            if (end != END_DONE) return end;
        }
        code = feed_add(&put->feed, &message);
        if (code != LQ_OK) return tell(put, code);
    }
    return END_DONE;
}

/* Before it waits for input: nothing may be held back meanwhile. */
static int before_waiting(struct put *put)
{
    int code = feed_flush(&put->feed);

    if (code == LQ_OK && put->paced && put->feed.dirty && !input_ready(PAUSE_MS)) code = feed_sync(&put->feed);
    if (code == LQ_OK && put->paced) code = feed_sync_sometimes(&put->feed);
    if (put->ids) out_flush();
    return code == LQ_OK ? END_DONE : tell(put, code);
}

static int put_input(struct put *put)
{
    uint64_t total = input_size(), longest = put->feed.message_size_max;
    struct progress progress;
    enum input_got got;
    int end = END_DONE;

    put->paced = total == 0;
    if (isatty(STDIN_FILENO) && isatty(STDERR_FILENO))
        fputs("lq: reading messages, one per line; Ctrl-D ends\n", stderr);
    if (put->json) longest = longest * JSON_PER_BYTE + JSON_AROUND; /* "\u0001" is one byte */
    if (!input_init(&put->input, put->delimiter, longest))
        return report_code(put->name, "cannot read standard input", LQ_ENOMEM);
    progress_init(&progress, total);
    do {
        got = input_fill(&put->input);
        end = got == INPUT_MORE ? put_records(put) : END_DONE;
        if (end == END_DONE) end = before_waiting(put);
        progress_show(&progress, put->input.bytes, put->feed.put, put->feed.bytes);
    } while (got == INPUT_MORE && end == END_DONE && !out_ended());
    progress_end(&progress);
    if (got == INPUT_FAILED) end = report_errno(put->name, "cannot read standard input");
    input_release(&put->input);
    return end;
}

static int run(struct args *args)
{
    struct put put = {.delimiter = '\n', .wait_ms = -1, .options = {.size = sizeof(lq_options)}};
    lq_queue *queue;
    int code, end;

    read_flags(&put, args);
    /* An id that is printed is a promise: then the disk is waited for, batch by batch. */
    if (!put.ids) put.options.flags |= FEED_OPEN_FLAGS;
    put.options.full_timeout_ms = put.wait_ms >= 0 && put.wait_ms < STOP_SLICE_MS ? put.wait_ms + 1 : STOP_SLICE_MS;
    end = locate_open(args, put.name, &put.options, &queue);
    if (end != END_DONE) return end;

    stop_watch();
    code = feed_init(&put.feed, queue, put.batch);
    put.feed.print_ids = put.ids;
    put.feed.room_wait_ms = put.wait_ms;
    if (code != LQ_OK) end = report_code(put.name, "cannot put", code);
    else end = args->count > 1 ? put_arguments(&put, args->operands + 1) : put_input(&put);

    /* What went in before an error is in, and is to be as safe as the rest. */
    if (!put.ids) {
        code = feed_sync(&put.feed);
        if (code != LQ_OK) end = end_worse(end, report_code(put.name, "cannot sync", code));
    }
    feed_release(&put.feed);
    return locate_close(queue, put.name, end);
}

static const struct flag *const groups[] = {put_flags, make_flags, NULL};

const struct verb verb_put = {
    .name = "put",
    .synopsis = "put QUEUE [MESSAGE...]",
    .summary = "append messages; makes the queue when there is none",
    .examples = "  lq put orders 'hello' 'world'\n"
                "  journalctl -f | lq put logs\n"
                "  lq put files --whole --key report.pdf < report.pdf\n"
                "  lq cat orders --json | lq put copy --json\n"
                "  lq put cache 'x' --sync never --size-max 1G --full drop\n",
    .about = "Without MESSAGE each line of standard input is one (a last line without newline too,\n"
             "and an empty line is an empty message). Ends with 0 when all of it is in the queue\n"
             "and as durable as the queue's mode (--sync) promises.\n"
             "Sizes: 512, 64k, 1.5M, 2G (powers of 1024). Times: 500ms, 30s, 5m, 2h, 1d.\n",
    .groups = groups,
    .changes = true,
    .run = run,
};
