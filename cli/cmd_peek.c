/* lq peek QUEUE -c CONSUMER: what the consumer will be given next. Consumes nothing.
 *
 * Seen from outside: which of the messages between the consumer's floor and its newest
 * hand-out will come again is known to its members only. While nothing is
 * handed out, everything above the floor that is to come begins right there. */
#include "args.h"
#include "locate.h"
#include "out.h"
#include "parse.h"
#include "print.h"
#include "report.h"
#include "range.h"
#include "verb.h"

static const struct flag peek_flags[] = {
    {"consumer", 'c', "NAME", "whose next message (without: the oldest message kept)"},
    {"count", 'n', "N", "so many messages (1)"},
    {NULL, 0, NULL, NULL},
};

static int find_next(lq_queue *queue, const char *name, const char *consumer, uint64_t *id_out)
{
    lq_consumer_stats stats = {.size = sizeof stats};
    int code = lq_get_consumer_stats(queue, consumer, &stats);

    if (code == LQ_ENOTFOUND) return locate_no_consumer(queue, name, consumer);
    if (code != LQ_OK) return report_code(name, "cannot look at the consumer", code);
    *id_out = (stats.unacked == 0 ? stats.floor : stats.delivered) + 1;
    return stats.ready ? END_DONE : END_NO;
}

static int show(struct range *range, const struct print *print, uint64_t count)
{
    lq_message message;
    uint64_t shown = 0;

    while (shown < count && !out_ended() && range_next(range, &message) == LQ_OK) {
        print_message(print, &message);
        shown++;
    }
    if (range->end != END_DONE) return range->end;
    return shown ? END_DONE : END_NO;
}

static int run(struct args *args)
{
    const char *consumer = NULL;
    uint64_t count = 1, id = 0;
    struct range range;
    struct print print;
    lq_queue *queue;
    int flag, end;

    range_init(&range);
    print_init(&print, PRINT_VIEW);
    while ((flag = args_next(args)) != ARGS_END) {
        if (flag == 'n') count = parse_count_flag("--count", args->value, 1, UINT64_MAX);
        else if (flag == 'c') consumer = args->value;
        else print_flag(&print, flag, args->value);
    }
    args_expect(args, 1, 1, "the queue");
    range_check(&range);

    end = locate_look(args, args->operands[0], &queue);
    if (end != END_DONE) return end;
    if (consumer) end = find_next(queue, args->operands[0], consumer, &id);
    if (end == END_DONE) end = range_open(&range, queue, args->operands[0]);
    if (end == END_DONE && id) end = range_seek(&range, id);
    if (end == END_DONE) end = show(&range, &print, count);
    range_release(&range);
    return locate_close(queue, args->operands[0], end);
}

static const struct flag *const groups[] = {peek_flags, print_flags, NULL};

const struct verb verb_peek = {
    .name = "peek",
    .synopsis = "peek QUEUE [-c CONSUMER]",
    .summary = "the next message(s) of a consumer; consumes nothing",
    .examples = "  lq peek orders -c billing\n"
                "  lq peek orders -c billing -n 5 --json\n",
    .about = "Ends with 1 when nothing is waiting. While other members hold messages, those that\n"
             "may come again are not shown, for that depends on them.\n",
    .groups = groups,
    .run = run,
};
