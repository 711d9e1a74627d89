/* lq cat QUEUE: a stretch of the log to standard output, then it ends. Consumes nothing. */
#include "args.h"
#include "locate.h"
#include "out.h"
#include "parse.h"
#include "print.h"
#include "range.h"
#include "report.h"
#include "verb.h"

static const struct flag cat_flags[] = {
    {"count", 'n', "N", "at most N messages"},
    {NULL, 0, NULL, NULL},
};

static int show(struct range *range, const struct print *print, uint64_t most)
{
    lq_message message;

    while (most > 0 && !out_ended() && range_next(range, &message) == LQ_OK) {
        print_message(print, &message);
        most--;
    }
    return range->end;
}

static int run(struct args *args)
{
    uint64_t most = UINT64_MAX;
    struct range range;
    struct print print;
    lq_queue *queue;
    int flag, end;

    range_init(&range);
    print_init(&print, PRINT_VIEW);
    while ((flag = args_next(args)) != ARGS_END) {
        if (flag == 'n') most = parse_count_flag("--count", args->value, 0, UINT64_MAX);
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
    end = range_open(&range, queue, args->operands[0]);
    if (end == END_DONE) end = show(&range, &print, most);
    range_release(&range);
    return locate_close(queue, args->operands[0], end);
}

static const struct flag *const groups[] = {range_flags, cat_flags, print_flags, NULL};

const struct verb verb_cat = {
    .name = "cat",
    .synopsis = "cat QUEUE",
    .summary = "a stretch of the log, then it ends; consumes nothing",
    .examples = "  lq cat orders\n"
                "  lq cat orders --raw > file                what `lq put orders < file` took in, byte for byte\n"
                "  lq cat orders --from billing --json       what 'billing' has not yet settled\n"
                "  lq cat orders --since -15m --grep 'error|fail'\n"
                "  lq cat orders --from 100 --to 199 -F '%i %k %s\\n'\n",
    .about = "The view shows one line per message, escaped, and the first 2,000 bytes of its body;\n"
             "all other forms show everything. Damaged messages are told on standard error, with\n"
             "file and byte; the rest is shown, and lq ends with 3.\n",
    .groups = groups,
    .run = run,
};
