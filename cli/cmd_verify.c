/* lq verify QUEUE...: checks every byte; says what is damaged and what is lost. */
#include "args.h"
#include "human.h"
#include "json_write.h"
#include "locate.h"
#include "out.h"
#include "report.h"
#include "verb.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FLAG_JSON = FLAGS_VERB, FLAG_QUICK, FINDINGS_MAX = 10000 };

static const struct flag verify_flags[] = {
    {"quick", FLAG_QUICK, NULL, "headers, footers and positions only, not the bodies"},
    {"json", FLAG_JSON, NULL, "an object per finding, and one per queue"},
    {NULL, 0, NULL, NULL},
};

/* Findings come before the totals that are shown above them, so they are kept. */
struct finding {
    char *file, *text;
    int code;
    uint64_t offset, first_id, count;
};

struct check {
    const char *name;
    bool json;
    struct finding *findings; /* the first FINDINGS_MAX */
    size_t count;
    uint64_t first_lost;      /* the lowest id lost, 0: none */
};

static void write_finding(const struct check *check, const lq_finding *finding)
{
    struct json json;

    json_open(&json);
    json_text(&json, "type", "finding");
    json_text(&json, "queue", check->name);
    json_text(&json, "code", lq_error_name(finding->code));
    json_text(&json, "file", finding->file);
    json_count(&json, "byte", finding->offset);
    json_count(&json, "first_id", finding->first_id);
    json_count(&json, "lost", finding->count);
    json_text(&json, "text", finding->text);
    json_close(&json);
}

static void take_finding(void *context, const lq_finding *finding)
{
    struct check *check = context;
    struct finding *kept;

    if (finding->first_id && finding->count && (!check->first_lost || finding->first_id < check->first_lost))
        check->first_lost = finding->first_id;
    if (check->json) {
        write_finding(check, finding);
        return;
    }
    if (check->count == FINDINGS_MAX) return;
    if (!check->findings) check->findings = calloc(FINDINGS_MAX, sizeof *check->findings);
    if (!check->findings) abort();
    kept = &check->findings[check->count++];
    *kept = (struct finding){strdup(finding->file), strdup(finding->text), finding->code,
                             finding->offset, finding->first_id, finding->count};
    if (!kept->file || !kept->text) abort();
}

/* "DAMAGED  log/....seg  byte 28,416  message 109,551  body checksum ..." */
static void show_finding(const struct finding *finding)
{
    const char *word = finding->code == LQ_EIO ? "UNREADABLE" : finding->code == LQ_EVERSION ? "NEWER" : "DAMAGED";

    out_format("%s%s%s  ", paint(PAINT_RED), word, paint(PAINT_NONE));
    out_escaped(finding->file, strlen(finding->file));
    out_format("  byte %s  ", human_count(finding->offset).text);
    if (finding->first_id && finding->count == 1) out_format("message %s  ", human_count(finding->first_id).text);
    else if (finding->first_id && finding->count > 1)
        out_format("messages %s to %s  ", human_count(finding->first_id).text,
                   human_count(finding->first_id + finding->count - 1).text);
    out_escaped(finding->text, strlen(finding->text));
    out_char('\n');
}

static const char *plural(uint64_t count)
{
    return count == 1 ? "" : "s";
}

/* How many of the messages behind the first hole are fine: all that were found, but for those before it. */
static uint64_t fine_after(const char *path, const struct check *check, uint64_t found)
{
    lq_options options = {.size = sizeof options, .flags = LQ_READ_ONLY};
    lq_stats stats = {.size = sizeof stats};
    lq_queue *queue;
    uint64_t before = 0;

    if (!check->first_lost || lq_open(path, &options, &queue) != LQ_OK) return 0;
    if (lq_get_stats(queue, &stats) != LQ_OK) found = 0;
    else if (stats.first_id < check->first_lost) before = check->first_lost - stats.first_id;
    lq_close(queue);
    return found > before ? found - before : 0;
}

static void show_result(const struct check *check, const char *path, const lq_verify_result *result, int64_t took_us)
{
    uint64_t after;

    out_escaped(check->name, strlen(check->name));
    out_format(": %s segment%s, %s message%s, ", human_count(result->segments).text, plural(result->segments),
               human_count(result->messages).text, plural(result->messages));
    out_format("%s checked in %s%s\n", human_size(result->bytes).text, human_span(took_us).text,
               result->findings ? "" : ": no damage");
    for (size_t i = 0; i < check->count; i++) show_finding(&check->findings[i]);
    if (result->findings > check->count)
        out_format("... and %s places more\n", human_count(result->findings - check->count).text);
    if (!result->findings) return;

    after = fine_after(path, check, result->messages);
    /* Where nobody knows how much was in a place, none is counted. */
    if (!result->lost) out_text("  no message is known to be lost");
    else out_format("  %s message%s lost", human_count(result->lost).text, plural(result->lost));
    if (after) out_format(", %s after %s are fine", human_count(after).text, result->lost == 1 ? "it" : "the first");
    out_text(".   hint: lq repair --dry-run ");
    out_escaped(check->name, strlen(check->name));
    out_char('\n');
}

static void write_result(const struct check *check, const lq_verify_result *result, int64_t took_us, int code)
{
    struct json json;

    json_open(&json);
    json_text(&json, "type", "result");
    json_text(&json, "queue", check->name);
    json_text(&json, "code", lq_error_name(code));
    json_count(&json, "segments", result->segments);
    json_count(&json, "consumers", result->consumers);
    json_count(&json, "messages", result->messages);
    json_count(&json, "bytes", result->bytes);
    json_count(&json, "findings", result->findings);
    json_count(&json, "lost", result->lost);
    json_number(&json, "seconds", (double)took_us / 1e6);
    json_close(&json);
}

static int verify(const struct args *args, const char *name, unsigned flags, bool json)
{
    struct check check = {.name = name, .json = json};
    lq_verify_result result = {.size = sizeof result};
    char *path = locate_path(args, name);
    int64_t start_us = steady_time_us(), took_us;
    int code, end = END_DONE;

    code = lq_verify(path, flags, take_finding, &check, &result);
    took_us = steady_time_us() - start_us;
    if (code == LQ_OK || code == LQ_ECORRUPT) {
        if (json) write_result(&check, &result, took_us, code);
        else show_result(&check, path, &result, took_us);
        end = code == LQ_OK ? END_DONE : END_DAMAGE;
    } else {
        end = report_code(name, "cannot verify", code);
        if (code == LQ_ENOTFOUND) locate_hint(name, path);
    }
    for (size_t i = 0; i < check.count; i++) {
        free(check.findings[i].file);
        free(check.findings[i].text);
    }
    free(check.findings);
    free(path);
    return end;
}

static int run(struct args *args)
{
    unsigned flags = 0;
    bool json = false;
    int flag, end = END_DONE;

    while ((flag = args_next(args)) != ARGS_END) {
        if (flag == FLAG_QUICK) flags |= LQ_VERIFY_QUICK;
        else json = true;
    }
    args_expect(args, 1, -1, "the queue");
    for (int i = 0; i < args->count; i++) locate_check(args->operands[i]);
    for (int i = 0; i < args->count; i++) end = end_worse(end, verify(args, args->operands[i], flags, json));
    return end;
}

static const struct flag *const groups[] = {verify_flags, NULL};

const struct verb verb_verify = {
    .name = "verify",
    .synopsis = "verify QUEUE...",
    .summary = "check every byte; say what is damaged and what is lost",
    .examples = "  lq verify orders\n"
                "  lq verify --quick /var/spool/queues/*\n",
    .about = "Every header, checksum and offset file. Changes nothing; also on a queue in use.\n"
             "Ends with 3 on damage, never with 0.\n",
    .groups = groups,
    .run = run,
};
