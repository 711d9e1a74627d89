/* lq replay QUEUE DEST: a stretch of the log again, into another queue or to
 * standard output; as fast as it goes, at a rate, or at the pace it was put. */
#include "args.h"
#include "feed.h"
#include "human.h"
#include "locate.h"
#include "make.h"
#include "out.h"
#include "parse.h"
#include "print.h"
#include "progress.h"
#include "range.h"
#include "report.h"
#include "stop.h"
#include "verb.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FLAG_RATE = FLAGS_VERB, FLAG_PACE, FLAG_BATCH, LOOK_EVERY = 1024 };

static const struct flag replay_flags[] = {
    {"count", 'n', "N", "at most N messages"},
    {"rate", FLAG_RATE, "N/s", "so many messages a second (as fast as it goes); also N/m, N/h"},
    {"pace", FLAG_PACE, "Nx", "at the pace it was put: 1x; twice as fast: 2x"},
    {"batch", FLAG_BATCH, "N", "at most N messages in a batch (256)"},
    {NULL, 0, NULL, NULL},
};

#define LONGEST_US 1e17 /* 3,000 years: times in files may be any */

struct replay {
    const char *name, *to_name;
    struct range range;
    struct print print;
    lq_options options;      /* of the queue that is made */
    bool makes;              /* an option for it was given */
    uint64_t most, batch;
    double rate, pace;       /* messages per second; factor; 0: not asked for */

    bool to_output;
    struct feed feed;
    struct progress progress;
    uint64_t done, bytes;
    int64_t start_us;        /* steady */
    int64_t first_time_us;   /* when the first message was put */
};

static double parse_rate(const char *text)
{
    static const struct {
        const char *unit;
        double seconds;
    } units[] = {{"", 1}, {"/s", 1}, {"/m", 60}, {"/h", 3600}};
    char *end = NULL;
    double rate = *text >= '0' && *text <= '9' ? strtod(text, &end) : 0;

    for (size_t i = 0; end && rate > 0 && rate < 1e12 && i < sizeof units / sizeof *units; i++)
        if (strcmp(end, units[i].unit) == 0) return rate / units[i].seconds;
    usage("--rate: '%s' is not a rate such as 500/s or 10/m", text);
}

static double parse_pace(const char *text)
{
    char *end = NULL;
    double pace = *text >= '0' && *text <= '9' ? strtod(text, &end) : 0;

    if (!end || !(pace > 0 && pace < 1e9) || (*end && strcmp(end, "x") != 0))
        usage("--pace: '%s' is not a pace such as 1x or 0.5x", text);
    return pace;
}

static void read_flags(struct replay *replay, struct args *args)
{
    int flag;

    while ((flag = args_next(args)) != ARGS_END) {
        switch (flag) {
        case 'n': replay->most = parse_count_flag("--count", args->value, 0, UINT64_MAX); break;
        case FLAG_RATE: replay->rate = parse_rate(args->value); break;
        case FLAG_PACE: replay->pace = parse_pace(args->value); break;
        case FLAG_BATCH: replay->batch = parse_count_flag("--batch", args->value, 1, LQ_BATCH_MAX); break;
        default:
            if (range_flag(&replay->range, flag, args->value) || print_flag(&replay->print, flag, args->value)) break;
            make_flag(&replay->options, flag, args->value);
            replay->makes = true;
            break;
        }
    }
    args_expect(args, 2, 2, args->count ? "the destination: a queue, or - for standard output" : "the queue");
    if (replay->rate > 0 && replay->pace > 0) usage("--rate and --pace do not go together");
    replay->name = args->operands[0];
    replay->to_name = args->operands[1];
    locate_check(replay->name);
    locate_check(replay->to_name);
    replay->to_output = strcmp(replay->to_name, "-") == 0;
    if (replay->to_output && replay->makes) usage("options of a queue, but the destination is standard output");
    if (!replay->to_output && replay->print.chosen) usage("a form of output, but the destination is a queue");
    range_check(&replay->range);
}

static int tell(const struct replay *replay, int code)
{
    if (code == LQ_TIMEOUT) return END_NO; /* it was waiting for room, for ever, and a signal has ended that */
    return report_code(replay->to_name, "cannot put", code);
}

/* Everything so far to where it belongs. */
static int flush(struct replay *replay)
{
    int code;

    if (replay->to_output) {
        out_flush();
        return END_DONE;
    }
    code = feed_flush(&replay->feed);
    if (code == LQ_OK) code = feed_sync_sometimes(&replay->feed);
    return code == LQ_OK ? END_DONE : tell(replay, code);
}

static void show_progress(struct replay *replay)
{
    progress_show(&replay->progress, replay->range.read_count, replay->done, replay->bytes);
}

/* Waits until it is this message's turn; what came before is not held back meanwhile. */
static int keep_pace(struct replay *replay, const lq_message *message)
{
    double due_us;
    int64_t wait_us;
    int end = END_DONE;

    if (replay->done == 0) replay->first_time_us = message->time_us;
    if (replay->rate > 0) due_us = (double)replay->done / replay->rate * 1e6;
    else if (replay->pace > 0) due_us = ((double)message->time_us - (double)replay->first_time_us) / replay->pace;
    else return END_DONE;
    if (due_us > LONGEST_US) due_us = LONGEST_US;
    wait_us = replay->start_us + (due_us > 0 ? (int64_t)due_us : 0) - steady_time_us();
    if (wait_us <= 0) return END_DONE;
    end = flush(replay);
    show_progress(replay);
    stop_sleep_us(wait_us);
    return end;
}

static int pass_on(struct replay *replay, const lq_message *message)
{
    int code = LQ_OK;

    if (replay->to_output) print_message(&replay->print, message);
    else code = feed_add(&replay->feed, message);
    if (code != LQ_OK) return tell(replay, code);
    replay->done++;
    replay->bytes += message->size;
    if (replay->done % LOOK_EVERY == 0) show_progress(replay);
    return END_DONE;
}

static int copy(struct replay *replay)
{
    lq_message message;
    int end = END_DONE;

    progress_init(&replay->progress, replay->to_output && out_is_terminal() ? 0 : range_count(&replay->range));
    replay->start_us = steady_time_us();
    while (replay->done < replay->most && end == END_DONE && !out_ended() && !stop_asked()) {
        if (range_next(&replay->range, &message) != LQ_OK) break;
        end = keep_pace(replay, &message);
        if (end == END_DONE && !stop_asked()) end = pass_on(replay, &message);
    }
    progress_end(&replay->progress);
    end = end_worse(end, flush(replay));
    return end_worse(end, replay->range.end);
}

static int copy_to_queue(struct replay *replay, const struct args *args)
{
    lq_queue *queue;
    int code, end;

    replay->options.flags |= FEED_OPEN_FLAGS;
    replay->options.full_timeout_ms = STOP_SLICE_MS;
    end = locate_open(args, replay->to_name, &replay->options, &queue);
    if (end != END_DONE) return end;
    code = feed_init(&replay->feed, queue, replay->batch);
    if (code != LQ_OK) end = report_code(replay->to_name, "cannot put", code);
    else end = copy(replay);
    code = feed_sync(&replay->feed);
    if (code != LQ_OK) end = end_worse(end, report_code(replay->to_name, "cannot sync", code));
    feed_release(&replay->feed);
    return locate_close(queue, replay->to_name, end);
}

static int run(struct args *args)
{
    struct replay replay = {.most = UINT64_MAX, .options = {.size = sizeof(lq_options)}};
    lq_queue *queue;
    int end;

    range_init(&replay.range);
    print_init(&replay.print, PRINT_PLAIN);
    read_flags(&replay, args);
    end = locate_look(args, replay.name, &queue);
    if (end != END_DONE) {
        range_release(&replay.range);
        return end;
    }

    stop_watch();
    end = range_open(&replay.range, queue, replay.name);
    if (end == END_DONE) end = replay.to_output ? copy(&replay) : copy_to_queue(&replay, args);
    range_release(&replay.range);
    return locate_close(queue, replay.name, end);
}

static const struct flag *const groups[] = {replay_flags, range_flags, print_flags, make_flags, NULL};

const struct verb verb_replay = {
    .name = "replay",
    .synopsis = "replay QUEUE DEST",
    .summary = "copy a stretch into another queue (made when missing), or to standard output (-)",
    .examples = "  lq replay orders test\n"
                "  lq replay orders test --since -1h --rate 100/s\n"
                "  lq replay orders - --pace 1x --json\n",
    .about = "Bodies, keys and headers are kept; ids and times are new. DEST may be QUEUE itself:\n"
             "what is there when it begins is put once more.\n",
    .groups = groups,
    .changes = true,
    .run = run,
};
