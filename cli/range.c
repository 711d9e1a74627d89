/* Reading a stretch of the log. */
#include "range.h"

#include "human.h"
#include "out.h"
#include "parse.h"
#include "position.h"
#include "report.h"
#include "stop.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { FLAG_FROM = FLAGS_RANGE, FLAG_TO, FLAG_SINCE, FLAG_UNTIL, FLAG_KEY, FLUSH_EVERY = 4096 };

const struct flag range_flags[] = {
    {"from", FLAG_FROM, "POS", "begin at: begin, end, N, -N, @TIME or a consumer's name"},
    {"to", FLAG_TO, "POS", "end with (that message included)"},
    {"since", FLAG_SINCE, "TIME", "put at or after: 2026-11-20T13:00, -15m, today"},
    {"until", FLAG_UNTIL, "TIME", "put at or before"},
    {"key", FLAG_KEY, "KEY", "with exactly this key"},
    {"grep", 'g', "REGEX", "with a body that matches (extended regular expression)"},
    {"ignore-case", 'i', NULL, "--grep: upper or lower case alike"},
    {NULL, 0, NULL, NULL},
};

void range_init(struct range *range)
{
    *range = (struct range){.since_us = INT64_MIN, .until_us = INT64_MAX};
}

bool range_flag(struct range *range, int flag, const char *value)
{
    switch (flag) {
    case FLAG_FROM: range->from = value; break;
    case FLAG_TO: range->to = value; break;
    case FLAG_SINCE: range->since_us = parse_time_flag("--since", value); break;
    case FLAG_UNTIL: range->until_us = parse_time_flag("--until", value); break;
    case FLAG_KEY: range->key = value; break;
    case 'g': range->grep = value; break;
    case 'i': range->ignore_case = true; break;
    default: return false;
    }
    return true;
}

bool range_filters(const struct range *range)
{
    return range->key || range->grep || range->since_us != INT64_MIN || range->until_us != INT64_MAX;
}

void range_check(struct range *range)
{
    int error = 0;
    char why[200];

    range->begin = position_parse("--from", range->from ? range->from : "begin");
    range->limit = position_parse("--to", range->to ? range->to : "end");
    if (range->grep)
        error = regcomp(&range->pattern, range->grep, REG_EXTENDED | REG_NOSUB | (range->ignore_case ? REG_ICASE : 0));
    if (!error) return;
    regerror(error, &range->pattern, why, sizeof why);
    usage("--grep: '%s': %s", range->grep, why);
}

/* Where it begins: first_id, or since_us alone (first_id 0). */
static int find_first(struct range *range)
{
    const struct position *from = &range->begin;

    if (from->kind == POSITION_TIME) {
        if (from->time_us > range->since_us) range->since_us = from->time_us;
        return END_DONE;
    }
    if (!range->from && range->since_us != INT64_MIN) return END_DONE;
    return position_id(from, range->queue, range->name, 0, &range->first_id);
}

/* Where it ends: last_id, until_us. Without `follow` not behind what is the
 * newest message now, so that a busy writer cannot keep us for ever. */
static int find_last(struct range *range)
{
    static const struct position newest = {.kind = POSITION_END};
    const struct position *to = &range->limit;
    uint64_t wanted = UINT64_MAX;
    int end = END_DONE;

    range->last_id = UINT64_MAX;
    if (!range->follow) end = position_id(&newest, range->queue, range->name, 1, &range->last_id);
    if (end != END_DONE || !range->to) return end;
    if (to->kind == POSITION_TIME) {
        if (to->time_us < range->until_us) range->until_us = to->time_us;
        return END_DONE;
    }
    end = position_id(to, range->queue, range->name, 1, &wanted);
    if (wanted < range->last_id) range->last_id = wanted;
    return end;
}

int range_open(struct range *range, lq_queue *queue, const char *name)
{
    int code, end;

    range->queue = queue;
    range->name = name;
    end = find_first(range);
    if (end == END_DONE) end = find_last(range);
    if (end != END_DONE) return end;

    code = lq_reader_open(queue, &range->reader);
    if (code == LQ_OK && range->first_id) code = lq_reader_seek_id(range->reader, range->first_id);
    else if (code == LQ_OK && range->since_us != INT64_MIN)
        code = lq_reader_seek_time(range->reader, range->since_us);
    return code == LQ_OK ? END_DONE : report_code(name, "cannot read", code);
}

void range_release(struct range *range)
{
    lq_reader_close(range->reader);
    range->reader = NULL;
    if (range->grep) regfree(&range->pattern);
}

int range_seek(struct range *range, uint64_t id)
{
    int code = lq_reader_seek_id(range->reader, id);

    range->over = false;
    return code == LQ_OK ? END_DONE : report_code(range->name, "cannot read", code);
}

uint64_t range_count(const struct range *range)
{
    if (!range->first_id || range->last_id < range->first_id) return 0;
    return range->last_id - range->first_id + 1;
}

/* Tells of the hole that the reader has come to, and is behind now. False: it was no hole, and there is no way on. */
static bool tell_hole(struct range *range)
{
    lq_finding hole = {.size = sizeof hole};
    char why[512];

    range->end = END_DAMAGE;
    out_flush();
    snprintf(why, sizeof why, "%s", lq_error_text()); /* before another call puts its own in the place */
    if (lq_reader_damage(range->reader, &hole) != LQ_OK) {
        report(range->name, "cannot read any further: %s", why);
        return false;
    }
    if (hole.count == 0)
        report(range->name, "damaged: %s byte %s: %s", hole.file, human_count(hole.offset).text, hole.text);
    else if (hole.count == 1)
        report(range->name, "message %s is lost: %s byte %s: %s", human_count(hole.first_id).text, hole.file,
               human_count(hole.offset).text, hole.text);
    else
        report(range->name, "%s messages from %s on are lost: %s byte %s: %s", human_count(hole.count).text,
               human_count(hole.first_id).text, hole.file, human_count(hole.offset).text, hole.text);
    return true;
}

static bool passes(struct range *range, const lq_message *message)
{
    if (message->time_us < range->since_us) return false;
    if (range->key) {
        size_t size = strlen(range->key);

        if (message->key_size != size || (size && memcmp(message->key, range->key, size) != 0)) return false;
    }
    if (!range->grep) return true;
    /* Not regexec(), which wants a NUL at the end and stops at one before: a body may
     * have it anywhere. Bodies are at most 1 GiB, so their size is an int. */
    return re_search(&range->pattern, message->size ? message->data : "", (int)message->size, 0, (int)message->size,
                     NULL) >= 0;
}

int range_next(struct range *range, lq_message *message_out)
{
    while (!range->over && !stop_asked()) {
        int code = lq_reader_next(range->reader, message_out);

        if (code == LQ_EMPTY) {
            range->over = !range->follow;
            return LQ_EMPTY;
        }
        if (code == LQ_ECORRUPT) {
            if (tell_hole(range)) continue;
            range->over = true;
            return LQ_EMPTY;
        }
        if (code != LQ_OK) {
            range->end = end_worse(range->end, report_code(range->name, "cannot read", code));
            range->over = true;
            return code;
        }
        if (message_out->id > range->last_id || message_out->time_us > range->until_us) break;
        if (message_out->id == range->last_id) range->over = true;
        /* What has passed the filter must not wait while the rest of a long log is searched. */
        if (++range->read_count % FLUSH_EVERY == 0 && range->grep) out_flush();
        if (passes(range, message_out)) return LQ_OK;
    }
    range->over = true;
    return LQ_EMPTY;
}
