/* lq tail QUEUE: the last messages, and with -f those that come. Consumes nothing. */
#include "args.h"
#include "locate.h"
#include "out.h"
#include "parse.h"
#include "print.h"
#include "range.h"
#include "report.h"
#include "stop.h"
#include "verb.h"

#include <stdlib.h>

enum { COUNT_DEFAULT = 10, COUNT_MAX = 10000000 };

static const struct flag tail_flags[] = {
    {"count", 'n', "N", "the last N messages (10)"},
    {"follow", 'f', NULL, "do not end: show what comes"},
    {NULL, 0, NULL, NULL},
};

/* With a filter the last ones are known only when the log has been read: the
 * ids of the last `count` that pass are kept in a ring. Without one, ids are
 * dense, and the beginning is plain arithmetic. */
static int find_start(struct range *range, uint64_t count, uint64_t *id_out)
{
    bool follow = range->follow;
    lq_message message;
    uint64_t *ids, found = 0;

    if (!range_filters(range)) {
        static const struct position newest = {.kind = POSITION_END};
        int end = position_id(&newest, range->queue, range->name, 1, id_out);

        if (range->last_id < *id_out) *id_out = range->last_id;
        *id_out = *id_out >= count ? *id_out - count + 1 : 1;
        if (*id_out < range->first_id) *id_out = range->first_id;
        return end;
    }
    ids = malloc((count + 1) * sizeof *ids);
    if (!ids) return report_code(range->name, "cannot look", LQ_ENOMEM);
    range->follow = false;
    ids[0] = range->first_id ? range->first_id : 1;
    while (range_next(range, &message) == LQ_OK) {
        ids[count ? found % count : 0] = message.id + !count;
        found++;
    }
    range->follow = follow;
    *id_out = count && found > count ? ids[found % count] : ids[0];
    free(ids);
    return range->end == END_DAMAGE ? END_DONE : range->end;
}

static int follow(struct range *range, const struct print *print)
{
    lq_message message;

    while (!out_ended()) {
        int code = range_next(range, &message);

        if (code == LQ_OK) {
            print_message(print, &message);
            continue;
        }
        if (range->over) break;
        out_flush();
        if (out_abandoned()) break;
        code = lq_reader_wait(range->reader, STOP_SLICE_MS);
        if (code < 0 && code != LQ_ECORRUPT) return report_code(range->name, "cannot wait", code);
    }
    return range->end;
}

static int show(struct range *range, const struct print *print, uint64_t count)
{
    uint64_t id = 1;
    int end = find_start(range, count, &id);

    if (end == END_DONE) end = range_seek(range, id);
    return end == END_DONE ? follow(range, print) : end;
}

static int run(struct args *args)
{
    uint64_t count = COUNT_DEFAULT;
    struct range range;
    struct print print;
    lq_queue *queue;
    int flag, end;

    range_init(&range);
    print_init(&print, PRINT_VIEW);
    while ((flag = args_next(args)) != ARGS_END) {
        if (flag == 'n') count = parse_count_flag("--count", args->value, 0, COUNT_MAX);
        else if (flag == 'f') range.follow = true;
        else if (!range_flag(&range, flag, args->value)) print_flag(&print, flag, args->value);
    }
    args_expect(args, 1, 1, "the queue");
    locate_check(args->operands[0]);
    range_check(&range);

    end = locate_look(args, args->operands[0], &queue);
    if (end != END_DONE) {
        range_release(&range);
        return end;
    }
    stop_watch();
    end = range_open(&range, queue, args->operands[0]);
    if (end == END_DONE) end = show(&range, &print, count);
    range_release(&range);
    return locate_close(queue, args->operands[0], end);
}

static const struct flag *const groups[] = {tail_flags, range_flags, print_flags, NULL};

const struct verb verb_tail = {
    .name = "tail",
    .synopsis = "tail QUEUE",
    .summary = "the last messages, and with -f those that come; consumes nothing",
    .examples = "  lq tail orders\n"
                "  lq tail -f orders\n"
                "  lq tail -f -n 0 orders --json | jq .data\n"
                "  lq tail -f orders --grep error\n",
    .about = "With a filter, the last ones that pass it.\n",
    .groups = groups,
    .run = run,
};
