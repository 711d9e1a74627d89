/* lq: looks at libqueue's queues, puts into them and takes from them. It is thin: all it
 * knows about queues it has from <libqueue.h>.
 *
 * This file finds the command and runs it. The commands are described in
 * cmd_VERB.c, one each; what they share:
 *
 *   the line typed   args (flags), parse (numbers, times), position, range, locate (which queue), make (options)
 *   data out         out (standard output), print (messages), table, json_write, human, utf8, base64
 *   data in          input (standard input), json_read, feed (batches into a queue)
 *   all the rest     report (errors, exit codes), stop (signals), progress, child (a command for a message) */
#include "args.h"
#include "help.h"
#include "out.h"
#include "report.h"
#include "stop.h"
#include "verb.h"

#include <fcntl.h>
#include <getopt.h>
#include <locale.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const struct verb *const verbs[] = {
    &verb_peek, &verb_cat,  &verb_tail,   &verb_ls,   &verb_stat, &verb_segments, &verb_verify,
    &verb_put,  &verb_get,  &verb_replay, &verb_demo, &verb_help, &verb_version,  &verb_repair,
    NULL,
};

const struct verb *verb_find(const char *name)
{
    for (const struct verb *const *verb = verbs; *verb; verb++)
        if (strcmp((*verb)->name, name) == 0) return *verb;
    return NULL;
}

/* Descriptors 0 to 2 may be closed. Then a queue's file must not take their
 * place, to be written over by an error message; and what is written to a
 * closed standard output must fail, for a message that went nowhere must not
 * be acked. So each is opened the wrong way round: it is there, and refuses. */
static void occupy_standard_files(void)
{
    for (int fd = 0; fd <= 2; fd++) {
        if (fcntl(fd, F_GETFD) >= 0) continue;
        if (open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY) != fd) _exit(END_CANNOT);
    }
}

/* Flags before the command; returns the command's place in argv. */
static int leading_flags(int argc, char **argv, const char **root)
{
    static const struct option options[] = {
        {"root", required_argument, NULL, 'C'},  {"color", required_argument, NULL, 'c'},
        {"help", no_argument, NULL, 'h'},        {"version", no_argument, NULL, 'V'},
        {NULL, 0, NULL, 0},
    };
    static char version[] = "version";
    int flag;

    opterr = 0;
    while ((flag = getopt_long(argc, argv, "+:C:hV", options, NULL)) != -1) {
        switch (flag) {
        case 'C': *root = optarg; break;
        case 'c': args_color(optarg); break;
        case 'h': help_all(); exit(out_finish(END_DONE));
        case 'V': argv[optind - 1] = version; return optind - 1;
        case ':': usage("%s needs a value", argv[optind - 1]);
        default: usage("unknown flag %s before the command", argv[optind - 1]);
        }
    }
    return optind;
}

int main(int argc, char **argv)
{
    const char *root = getenv("LQ_ROOT");
    const struct verb *verb;
    struct args args;
    int at, end;

    occupy_standard_files();
    setlocale(LC_NUMERIC, "C");
    /* A closed pipe and a file size limit are errors of write(2), not our death. */
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);

    if (root && !*root) root = NULL;
    at = leading_flags(argc, argv, &root);
    if (at >= argc) {
        help_short(stderr);
        return END_USAGE;
    }
    verb = verb_find(argv[at]);
    if (!verb) return help_unknown(argv[at]);

    usage_of(verb->name);
    args_init(&args, verb, root, argc - at, argv + at);
    end = verb->run(&args);
    args_release(&args);
    end = out_finish(end);
    stop_finish();
    return end;
}
