/* Flags and operands, by getopt_long. */
#include "args.h"

#include "help.h"
#include "nearest.h"
#include "out.h"
#include "parse.h"
#include "report.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum { FLAG_COLOR = FLAGS_COMMON };

const struct flag common_flags[] = {
    {"root", 'C', "ROOT", "names of queues stand for directories in ROOT (or in $LQ_ROOT)"},
    {"color", FLAG_COLOR, "WHEN", "auto, always or never"},
    {"help", 'h', NULL, "show this"},
    {NULL, 0, NULL, NULL},
};

static void add_flags(struct args *args, const struct flag *flags)
{
    size_t letters = strlen(args->letters), options = 0;

    while (args->options[options].name) options++;
    for (; flags->name; flags++) {
        assert(options < ARGS_FLAGS_MAX);
        args->options[options++] =
            (struct option){flags->name, flags->value ? required_argument : no_argument, NULL, flags->letter};
        if (flags->letter >= 256) continue;
        args->letters[letters++] = (char)flags->letter;
        if (flags->value) args->letters[letters++] = ':';
    }
}

void args_init(struct args *args, const struct verb *verb, const char *root, int argc, char **argv)
{
    memset(args, 0, sizeof *args);
    args->verb = verb;
    args->root = root;
    args->argc = argc;
    args->argv = argv;
    args->dashes = -1;
    args->operands = calloc((size_t)argc + 1, sizeof *args->operands);
    if (!args->operands) abort();
    /* "-": operands come in order, as values of a flag 1, so that the place of
     * `--` is not lost. ":": we tell of missing values ourselves. */
    strcpy(args->letters, "-:");
    for (const struct flag *const *group = verb->groups; group && *group; group++) add_flags(args, *group);
    add_flags(args, common_flags);
    opterr = 0;
    optind = 0; /* makes glibc begin anew: main() has used it before */
}

void args_release(struct args *args)
{
    free(args->operands);
    args->operands = NULL;
}

/* "--raw=1" for a flag that takes no value: getopt gives its letter as unknown. */
static bool has_unwanted_value(const struct args *args, const char *text)
{
    if (strncmp(text, "--", 2) != 0 || !strchr(text, '=')) return false;
    for (const struct option *option = args->options; option->name; option++)
        if (option->val == optopt) return option->has_arg == no_argument;
    return false;
}

_Noreturn static void unknown_flag(const struct args *args)
{
    const char *text = args->argv[optind - 1];
    struct nearest nearest = {.wanted = text + 2};

    if (optopt && has_unwanted_value(args, text)) usage("%.*s takes no value", (int)strcspn(text, "="), text);
    if (optopt) usage("unknown flag -%c", optopt);
    for (const struct option *option = args->options; option->name; option++) nearest_offer(&nearest, option->name);
    if (nearest.best[0]) usage("unknown flag %s; did you mean --%s?", text, nearest.best);
    usage("unknown flag %s", text);
}

void args_color(const char *value)
{
    static const char *const choices[] = {"auto", "always", "never", NULL};
    static const enum paint_when whens[] = {PAINT_AUTO, PAINT_ALWAYS, PAINT_NEVER};

    paint_when(whens[parse_choice_flag("--color", value, choices)]);
}

/* True when the flag was one that every command has. */
static bool common_flag(struct args *args, int flag)
{
    switch (flag) {
    case 'C': args->root = optarg; return true;
    case FLAG_COLOR: args_color(optarg); return true;
    case 'h':
        help_of(args->verb);
        exit(out_finish(END_DONE));
    default: return false;
    }
}

int args_next(struct args *args)
{
    for (;;) {
        int flag = getopt_long(args->argc, args->argv, args->letters, args->options, NULL);

        if (flag == -1) break;
        if (flag == '?') unknown_flag(args);
        if (flag == ':') usage("%s needs a value", args->argv[optind - 1]);
        if (flag == 1) {
            args->operands[args->count++] = optarg;
        } else if (!common_flag(args, flag)) {
            args->value = optarg;
            return flag;
        }
    }
    /* With "-" in front getopt stops before the end only at a `--`. */
    if (optind < args->argc) args->dashes = args->count;
    while (optind < args->argc) args->operands[args->count++] = args->argv[optind++];
    return ARGS_END;
}

void args_take_operands(struct args *args)
{
    args_next(args);
}

void args_expect(const struct args *args, int least, int most, const char *what)
{
    if (args->count < least) usage("%s is missing", what);
    if (most >= 0 && args->count > most) usage("one operand too many: '%s'", args->operands[most]);
}
