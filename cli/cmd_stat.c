/* lq stat QUEUE: one queue, its consumers, its options and who has it open. */
#include "args.h"
#include "holders.h"
#include "human.h"
#include "json_write.h"
#include "lag.h"
#include "locate.h"
#include "out.h"
#include "report.h"
#include "table.h"
#include "verb.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FLAG_JSON = FLAGS_VERB, HOLDERS_MAX = 64 };

static const struct flag stat_flags[] = {
    {"json", FLAG_JSON, NULL, "one object"},
    {NULL, 0, NULL, NULL},
};

struct view {
    const char *name;
    lq_stats stats;
    struct lag lag;
    struct holder holders[HOLDERS_MAX];
    size_t holder_count;
};

/* The names of the options, as `put` takes them. */
static const char *sync_name(int sync)
{
    return sync == LQ_SYNC_ALWAYS ? "always" : sync == LQ_SYNC_INTERVAL ? "interval" : "never";
}

static const char *retention_name(int retention)
{
    return retention == LQ_RETAIN_CONSUMED ? "consumed" : retention == LQ_RETAIN_LIMITS ? "limits" : "both";
}

static const char *full_name(int full)
{
    return full == LQ_FULL_REJECT ? "reject" : full == LQ_FULL_BLOCK ? "block" : "drop";
}

static void label(const char *name)
{
    out_format("%s%-11s%s ", paint(PAINT_DIM), name, paint(PAINT_NONE));
}

static void line(const char *name, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void line(const char *name, const char *format, ...)
{
    char text[512];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    label(name);
    out_escaped(text, strlen(text));
    out_char('\n');
}

static void show_contents(const struct view *view)
{
    const lq_stats *stats = &view->stats;
    uint64_t kept = stats->last_id - stats->first_id + 1;

    line("queue", "%s (%s)", view->name, lag_state(stats, &view->lag));
    if (kept)
        line("messages", "%s, ids %s to %s", human_count(kept).text, human_count(stats->first_id).text,
             human_count(stats->last_id).text);
    else line("messages", "none kept; %s put so far", human_count(stats->last_id).text);
    line("size", "%s in %s segment%s", human_size(stats->bytes).text, human_count(stats->segments).text,
         stats->segments == 1 ? "" : "s");
    if (stats->first_time_us)
        line("oldest", "%s, %s ago", human_time(stats->first_time_us).text,
             human_ago(stats->first_time_us).text);
    if (stats->last_time_us)
        line("newest", "%s, %s ago", human_time(stats->last_time_us).text,
             human_ago(stats->last_time_us).text);
    line("log", "put up to %s, in files up to %s, durable up to %s", human_count(stats->appended).text,
         human_count(stats->written).text, human_count(stats->synced).text);
}

static void show_health(const struct view *view)
{
    const lq_stats *stats = &view->stats;

    if (stats->poisoned) line("poisoned", "a sync has failed: what is durable is unknown until all have closed it");
    if (stats->damage) line("damage", "%s place%s met", human_count(stats->damage).text, stats->damage == 1 ? "" : "s");
    if (stats->recovered_bytes)
        line("recovery", "%s dropped as a torn tail, not durable before the crash",
             human_size(stats->recovered_bytes).text);
    if (stats->recovered_messages)
        line("recovery", "%s message%s of dead processes saved", human_count(stats->recovered_messages).text,
             stats->recovered_messages == 1 ? "" : "s");
}

static void show_options(const lq_stats *stats)
{
    char interval[64] = "", size[64] = "no limit of size", age[64] = "no limit of age", packed[32] = "none";

    if (stats->sync == LQ_SYNC_INTERVAL)
        snprintf(interval, sizeof interval, ", %" PRIu32 " ms", stats->sync_interval_ms);
    if (stats->size_max) snprintf(size, sizeof size, "at most %s", human_capacity(stats->size_max).text);
    if (stats->age_max_ms) snprintf(age, sizeof age, "at most %s old", human_span(stats->age_max_ms > INT64_MAX / 1000 ? INT64_MAX : stats->age_max_ms * 1000).text);
    if (stats->compression) snprintf(packed, sizeof packed, "level %d", stats->compression);
    line("sync", "%s%s", sync_name(stats->sync), interval);
    line("retention", "%s, %s, %s; when full: %s", retention_name(stats->retention), size, age, full_name(stats->full));
    line("made with", "segments of %s, ring of %s, messages up to %s, compression %s, format %" PRIu32,
         human_capacity(stats->segment_size).text, human_capacity(stats->ring_size).text,
         human_capacity(stats->message_size_max).text, packed, stats->format);
}

static void show_holders(const struct view *view)
{
    if (view->holder_count == 0) {
        line("open", "nobody that can be seen");
        return;
    }
    label("open");
    for (size_t i = 0; i < view->holder_count; i++) {
        out_text(i ? ", " : "");
        out_escaped(view->holders[i].name, strlen(view->holders[i].name));
        out_format(" %d", (int)view->holders[i].pid);
    }
    out_text(view->holder_count == HOLDERS_MAX ? ", and maybe others\n" : "\n");
}

static void show_consumers(const struct lag *lag)
{
    static const char *const headings[] = {
        "CONSUMER", ">READY", ">UNACKED", ">SETTLED UP TO", ">HANDED OUT UP TO", ">MEMBERS", ">DROPPED", "SAVED", NULL};
    struct table table;

    if (lag->count == 0) {
        line("consumers", "none");
        return;
    }
    table_init(&table, headings);
    for (size_t i = 0; i < lag->count; i++) {
        const lq_consumer_stats *consumer = &lag->consumers[i];

        table_cell(&table, "%s", consumer->name);
        if (lag->codes[i] != LQ_OK) {
            for (int cell = 0; cell < 6; cell++) table_cell(&table, "-");
            table_cell(&table, "%s", lq_strerror(lag->codes[i]));
            table_paint(&table, PAINT_RED);
            continue;
        }
        table_cell(&table, "%s", human_count(consumer->ready).text);
        table_cell(&table, "%s", human_count(consumer->unacked).text);
        table_cell(&table, "%s", human_count(consumer->floor).text);
        table_cell(&table, "%s", human_count(consumer->delivered).text);
        table_cell(&table, "%" PRIu32, consumer->members);
        table_cell(&table, "%s", human_count(consumer->dropped).text);
        table_cell(&table, "%s", consumer->saved_time_us ? human_time(consumer->saved_time_us).text : "never");
    }
    out_char('\n');
    table_print(&table, "");
    table_release(&table);
}

static void json_consumers(struct json *json, const struct lag *lag)
{
    json_array(json, "consumers");
    for (size_t i = 0; i < lag->count; i++) {
        const lq_consumer_stats *consumer = &lag->consumers[i];

        json_item(json);
        json_text(json, "name", consumer->name);
        if (lag->codes[i] != LQ_OK) {
            json_text(json, "error", lq_error_name(lag->codes[i]));
        } else {
            json_count(json, "ready", consumer->ready);
            json_count(json, "unacked", consumer->unacked);
            json_count(json, "floor", consumer->floor);
            json_count(json, "delivered", consumer->delivered);
            json_count(json, "members", consumer->members);
            json_count(json, "dropped", consumer->dropped);
            json_count(json, "window", consumer->window);
            json_time(json, "saved_time", consumer->saved_time_us);
        }
        json_item_end(json);
    }
    json_array_end(json);
}

static void json_options(struct json *json, const lq_stats *stats)
{
    json_text(json, "sync", sync_name(stats->sync));
    json_count(json, "sync_interval_ms", stats->sync_interval_ms);
    json_text(json, "retention", retention_name(stats->retention));
    json_text(json, "full", full_name(stats->full));
    json_count(json, "size_max", stats->size_max);
    json_count(json, "age_max_ms", (uint64_t)stats->age_max_ms);
    json_count(json, "segment_size", stats->segment_size);
    json_count(json, "ring_size", stats->ring_size);
    json_count(json, "message_size_max", stats->message_size_max);
    json_count(json, "compression", (uint64_t)stats->compression);
    json_count(json, "format", stats->format);
}

static void write_json(const struct view *view)
{
    const lq_stats *stats = &view->stats;
    struct json json;

    json_open(&json);
    json_text(&json, "queue", view->name);
    json_text(&json, "state", lag_state(stats, &view->lag));
    json_count(&json, "first_id", stats->first_id);
    json_count(&json, "last_id", stats->last_id);
    json_count(&json, "visible_id", stats->visible_id);
    json_count(&json, "bytes", stats->bytes);
    json_count(&json, "segments", stats->segments);
    json_count(&json, "appended", stats->appended);
    json_count(&json, "written", stats->written);
    json_count(&json, "synced", stats->synced);
    json_time(&json, "first_time", stats->first_time_us);
    json_time(&json, "last_time", stats->last_time_us);
    json_count(&json, "handles", stats->handles);
    json_bool(&json, "live", stats->live);
    json_bool(&json, "poisoned", stats->poisoned);
    json_count(&json, "damage", stats->damage);
    json_count(&json, "recovered_bytes", stats->recovered_bytes);
    json_count(&json, "recovered_messages", stats->recovered_messages);
    json_options(&json, stats);
    json_array(&json, "open");
    for (size_t i = 0; i < view->holder_count; i++) {
        json_item(&json);
        json_count(&json, "pid", (uint64_t)view->holders[i].pid);
        json_text(&json, "program", view->holders[i].name);
        json_item_end(&json);
    }
    json_array_end(&json);
    json_consumers(&json, &view->lag);
    json_close(&json);
}

static void show(const struct view *view)
{
    show_contents(view);
    show_health(view);
    show_options(&view->stats);
    show_holders(view);
    show_consumers(&view->lag);
}

static int run(struct args *args)
{
    struct view view = {.stats = {.size = sizeof(lq_stats)}};
    bool json = false;
    lq_queue *queue;
    char *path;
    int code, end;

    while (args_next(args) != ARGS_END) json = true; /* the only flag */
    args_expect(args, 1, 1, "the queue");
    view.name = args->operands[0];
    end = locate_look(args, view.name, &queue);
    if (end != END_DONE) return end;

    code = lq_get_stats(queue, &view.stats);
    if (code == LQ_OK) code = lag_collect(queue, &view.stats, &view.lag);
    if (code != LQ_OK) {
        end = report_code(view.name, "cannot look", code);
    } else {
        path = locate_path(args, view.name);
        view.holder_count = holders_find(path, view.holders, HOLDERS_MAX);
        free(path);
        if (json) write_json(&view);
        else show(&view);
        if (strcmp(lag_state(&view.stats, &view.lag), "damaged") == 0) end = END_DAMAGE;
    }
    lag_release(&view.lag);
    return locate_close(queue, view.name, end);
}

static const struct flag *const groups[] = {stat_flags, NULL};

const struct verb verb_stat = {
    .name = "stat",
    .synopsis = "stat QUEUE",
    .summary = "one queue: contents, options, who has it open, consumers and their lag",
    .examples = "  lq stat orders\n"
                "  lq stat orders --json | jq '.consumers[] | {name, ready}'\n",
    .about = "Ends with 3 when damage was met since the queue was last opened; lq verify looks for it.\n",
    .groups = groups,
    .run = run,
};
