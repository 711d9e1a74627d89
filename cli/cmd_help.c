/* lq help [COMMAND] */
#include "args.h"
#include "help.h"
#include "out.h"
#include "report.h"
#include "verb.h"

static int run(struct args *args)
{
    const struct verb *verb;

    args_take_operands(args);
    args_expect(args, 0, 1, "the command");
    if (args->count == 0) {
        help_all();
        return END_DONE;
    }
    verb = verb_find(args->operands[0]);
    if (!verb) return help_unknown(args->operands[0]);
    help_of(verb);
    return END_DONE;
}

const struct verb verb_help = {
    .name = "help",
    .synopsis = "help [COMMAND]",
    .summary = "the commands, or one of them in full",
    .examples = "  lq help get\n",
    .run = run,
};
