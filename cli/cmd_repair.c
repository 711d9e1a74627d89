/* lq repair QUEUE...: sets damage aside, and makes what is left a whole queue again. */
#include "args.h"
#include "human.h"
#include "json_write.h"
#include "locate.h"
#include "out.h"
#include "report.h"
#include "verb.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { FLAG_JSON = FLAGS_VERB };

static const struct flag repair_flags[] = {
    {"dry-run", 'n', NULL, "only say what would be done; ends with 3 if there is something"},
    {"yes", 'y', NULL, "do it without asking"},
    {"json", FLAG_JSON, NULL, "an object per step, and one per queue"},
    {NULL, 0, NULL, NULL},
};

struct work {
    const char *name;
    bool dry, yes, json;
};

static void write_step(const struct work *work, const lq_repair_step *step)
{
    struct json json;

    json_open(&json);
    json_text(&json, "type", "step");
    json_text(&json, "queue", work->name);
    json_bool(&json, "dry_run", work->dry);
    json_text(&json, "file", step->file);
    json_text(&json, "damage", step->damage);
    json_text(&json, "remedy", step->remedy);
    json_text(&json, "aside", step->aside);
    json_count(&json, "first_id", step->first_id);
    json_count(&json, "lost", step->count);
    json_close(&json);
}

static void show_text(const char *text)
{
    out_escaped(text, strlen(text));
}

/* "log/....seg  byte 4,096: body checksum ..." and, indented, what is done about it. */
static void show_step(const struct work *work, const lq_repair_step *step)
{
    out_format("%s", paint(PAINT_BOLD));
    show_text(step->file);
    out_format("%s  ", paint(PAINT_NONE));
    show_text(step->damage);
    out_format("\n  %s", work->dry ? "would be " : "");
    show_text(step->remedy);
    if (step->count == 1) out_format("; message %s is given up", human_count(step->first_id).text);
    if (step->count > 1)
        out_format("; messages %s to %s are given up", human_count(step->first_id).text,
                   human_count(step->first_id + step->count - 1).text);
    if (step->aside[0]) {
        out_text("\n  what was there is now ");
        show_text(step->aside);
    }
    out_char('\n');
}

static void take_step(void *context, const lq_repair_step *step)
{
    const struct work *work = context;

    if (work->json) write_step(work, step);
    else show_step(work, step);
}

static void show_result(const struct work *work, const lq_repair_result *result, int code)
{
    struct json json;

    if (!work->json) {
        show_text(work->name);
        if (!result->steps) out_text(": nothing to repair\n");
        else
            out_format(": %s thing%s %s, %s message%s given up\n", human_count(result->steps).text, result->steps == 1 ? "" : "s",
                       work->dry ? "to repair" : "repaired", human_count(result->lost).text, result->lost == 1 ? "" : "s");
        return;
    }
    json_open(&json);
    json_text(&json, "type", "result");
    json_text(&json, "queue", work->name);
    json_bool(&json, "dry_run", work->dry);
    json_text(&json, "code", lq_error_name(code));
    json_count(&json, "steps", result->steps);
    json_count(&json, "lost", result->lost);
    json_close(&json);
}

static int run_once(struct work *work, const char *path, bool dry, lq_repair_result *result)
{
    int end = END_DONE;

    work->dry = dry;
    *result = (lq_repair_result){.size = sizeof *result};
    int code = lq_repair(path, dry ? LQ_REPAIR_DRY_RUN : 0, take_step, work, result);
    if (code == LQ_OK) {
        show_result(work, result, code);
        return END_DONE;
    }
    /* Told before anything else can change the library's text. */
    end = report_code(work->name, dry ? "cannot plan a repair" : "cannot repair", code);
    if (work->json) show_result(work, result, code);
    if (code == LQ_ENOTFOUND) locate_hint(work->name, path);
    return end;
}

/* Asked for on a terminal; elsewhere --yes says it. */
static bool may_go_on(const struct work *work, int *end)
{
    char answer[16] = "";

    *end = END_DAMAGE;
    if (!isatty(STDIN_FILENO) || !isatty(STDERR_FILENO)) {
        report(work->name, "not repaired: there is no terminal to ask at");
        hint("lq repair --yes does it");
        *end = END_USAGE;
        return false;
    }
    out_flush();
    fprintf(stderr, "Repair it? [y/N] ");
    return fgets(answer, sizeof answer, stdin) && (answer[0] == 'y' || answer[0] == 'Y');
}

static int repair(const struct args *args, struct work work, bool dry_run)
{
    char *path = locate_path(args, work.name);
    lq_repair_result result;
    int end = END_DONE;

    if (dry_run || !work.yes) {
        end = run_once(&work, path, true, &result);
        if (end == END_DONE && result.steps) {
            if (dry_run) end = END_DAMAGE;
            else if (may_go_on(&work, &end)) end = run_once(&work, path, false, &result);
        }
    } else {
        end = run_once(&work, path, false, &result);
    }
    free(path);
    return end;
}

static int run(struct args *args)
{
    struct work work = {.name = NULL};
    bool dry_run = false;
    int flag, end = END_DONE;

    while ((flag = args_next(args)) != ARGS_END) {
        if (flag == 'n') dry_run = true;
        else if (flag == 'y') work.yes = true;
        else work.json = true;
    }
    args_expect(args, 1, -1, "the queue");
    for (int i = 0; i < args->count; i++) locate_check(args->operands[i]);
    for (int i = 0; i < args->count; i++) {
        work.name = args->operands[i];
        end = end_worse(end, repair(args, work, dry_run));
    }
    return end;
}

static const struct flag *const groups[] = {repair_flags, NULL};

const struct verb verb_repair = {
    .name = "repair",
    .synopsis = "repair [-n] [-y] QUEUE...",
    .summary = "set damage aside, so that the rest is a whole queue again",
    .examples = "  lq repair --dry-run orders\n"
                "  lq repair --yes orders\n",
    .about = "Every message that was not hit keeps its id. Nothing is deleted: a damaged file goes, as\n"
             "it is, into the directory `aside` of the queue, under a name that says when and what. Says\n"
             "what it would do and asks; where there is no terminal it wants --yes. The queue must not\n"
             "be in use. May be ended at any moment, and run again.\n",
    .groups = groups,
    .mends = true,
    .run = run,
};
