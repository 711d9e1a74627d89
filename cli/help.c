/* Help texts, made from the descriptions of the commands. */
#include "help.h"

#include "args.h"
#include "nearest.h"
#include "out.h"
#include "report.h"
#include "verb.h"

#include <string.h>

void help_short(FILE *file)
{
    fputs("lq put orders 'hello'                      append a message; makes the queue\n"
          "journalctl -f | lq put logs                standard input: a message per line\n"
          "lq get orders -c billing                   take one as consumer 'billing', print it, ack it\n"
          "lq get orders -c billing -f -- ./charge    run a command for each; acked if it ends with 0\n"
          "lq tail -f orders                          look; nothing is consumed\n"
          "lq cat orders --json | lq put copy --json  dump and load\n"
          "lq verify orders                           check every byte; lq repair mends\n"
          "lq demo                                    see it work, crash and recover in five seconds\n"
          "\n"
          "looking:  peek cat tail ls stat segments verify     changing: put get replay repair\n"
          "more:     lq help, lq help COMMAND, man lq          a queue is a directory, or a name with -C ROOT\n"
          "exit:     0 done, 1 nothing there, 2 wrong usage, 3 damage found, 4 cannot\n",
          file);
}

static void print_flag(const struct flag *flag)
{
    char text[64];
    int width = 0;

    if (flag->letter < 256) width = snprintf(text, sizeof text, "-%c, ", flag->letter);
    else width = snprintf(text, sizeof text, "    ");
    snprintf(text + width, sizeof text - (size_t)width, "--%s%s%s", flag->name, flag->value ? " " : "",
             flag->value ? flag->value : "");
    /* `about` may have more lines: each begins under the first. */
    out_format("  %-27s ", text);
    for (const char *line = flag->about; line;) {
        const char *end = strchr(line, '\n');

        out_bytes(line, end ? (size_t)(end - line) : strlen(line));
        out_char('\n');
        line = end ? end + 1 : NULL;
        if (line) out_format("  %-27s ", "");
    }
}

void help_of(const struct verb *verb)
{
    out_format("%s%s%s\n", paint(PAINT_BOLD), verb->summary, paint(PAINT_NONE));
    out_char('\n');
    out_text(verb->examples);
    out_format("\nusage: lq %s\n", verb->synopsis);
    if (verb->about) {
        out_char('\n');
        out_text(verb->about);
    }
    out_char('\n');
    for (const struct flag *const *group = verb->groups; group && *group; group++)
        for (const struct flag *flag = *group; flag->name; flag++) print_flag(flag);
    for (const struct flag *flag = common_flags; flag->name; flag++) print_flag(flag);
}

static void list_verbs(const char *title, bool changes, bool mends)
{
    out_format("%s%s%s\n", paint(PAINT_BOLD), title, paint(PAINT_NONE));
    for (const struct verb *const *verb = verbs; *verb; verb++)
        if ((*verb)->changes == changes && (*verb)->mends == mends) out_format("  %-10s %s\n", (*verb)->name, (*verb)->summary);
}

void help_all(void)
{
    out_text("lq: durable message queues in directories of this machine, without a server\n\n"
             "  lq put orders 'hello'\n"
             "  lq get orders -c billing\n"
             "  lq tail -f orders\n\n");
    list_verbs("Looking: writes nothing, locks nobody out, works on a queue in use", false, false);
    out_char('\n');
    list_verbs("Changing", true, false);
    out_char('\n');
    list_verbs("Mending: the queue must not be in use", false, true);
    out_text("\nQUEUE is a path, or a name below ROOT given by -C ROOT or $LQ_ROOT.\n"
             "Positions: begin, end, N (an id), -N (the last N), @2026-11-20T13:00, @-15m, or a consumer's name.\n"
             "Exit: 0 done, 1 nothing there or time-out, 2 wrong usage, 3 damage found, 4 cannot.\n"
             "lq help COMMAND says more; so does man lq.\n");
}

int help_unknown(const char *name)
{
    struct nearest nearest = {.wanted = name};

    report(name, "no such command");
    for (const struct verb *const *verb = verbs; *verb; verb++) nearest_offer(&nearest, (*verb)->name);
    if (nearest.best[0]) hint("did you mean 'lq %s'?", nearest.best);
    else hint("lq help lists the commands");
    return END_USAGE;
}
