/* lq segments QUEUE: a line for each log file. */
#include "args.h"
#include "human.h"
#include "json_write.h"
#include "locate.h"
#include "out.h"
#include "report.h"
#include "table.h"
#include "verb.h"

#include <string.h>

enum { FLAG_JSON = FLAGS_VERB };

static const struct flag segments_flags[] = {
    {"json", FLAG_JSON, NULL, "an object per segment"},
    {NULL, 0, NULL, NULL},
};

struct view {
    bool json;
    struct table table;
    int end;
};

static const char *state_of(const lq_segment *segment)
{
    if (segment->code != LQ_OK) return lq_strerror(segment->code);
    return segment->sealed ? "sealed" : "open";
}

/* Messages in it; last_id is below first_id while there is none. */
static uint64_t count_of(const lq_segment *segment)
{
    return segment->last_id < segment->first_id ? 0 : segment->last_id - segment->first_id + 1;
}

static void add_row(struct table *table, const lq_segment *segment)
{
    table_cell(table, "%s", segment->file);
    table_cell(table, "%s", human_count(segment->first_id).text);
    table_cell(table, "%s", count_of(segment) ? human_count(segment->last_id).text : "-");
    table_cell(table, "%s", human_count(count_of(segment)).text);
    table_cell(table, "%s", human_count(segment->position).text);
    table_cell(table, "%s", human_size(segment->bytes).text);
    table_cell(table, "%s", human_size(segment->file_bytes).text);
    table_cell(table, "%s", segment->first_time_us ? human_time(segment->first_time_us).text : "-");
    table_cell(table, "%s", segment->last_time_us ? human_time(segment->last_time_us).text : "-");
    table_cell(table, "%s", state_of(segment));
    if (segment->code != LQ_OK) table_paint(table, PAINT_RED);
}

static void write_json(const lq_segment *segment)
{
    struct json json;

    json_open(&json);
    json_text(&json, "file", segment->file);
    json_count(&json, "first_id", segment->first_id);
    json_count(&json, "last_id", segment->last_id);
    json_count(&json, "messages", count_of(segment));
    json_count(&json, "position", segment->position);
    json_count(&json, "bytes", segment->bytes);
    json_count(&json, "file_bytes", segment->file_bytes);
    json_time(&json, "first_time", segment->first_time_us);
    json_time(&json, "last_time", segment->last_time_us);
    json_bool(&json, "sealed", segment->sealed);
    json_text(&json, "state", state_of(segment));
    json_close(&json);
}

static int show_segment(void *context, const lq_segment *segment)
{
    struct view *view = context;

    if (segment->code != LQ_OK) view->end = end_worse(view->end, end_of_code(segment->code));
    if (view->json) write_json(segment);
    else add_row(&view->table, segment);
    return out_ended();
}

static int run(struct args *args)
{
    static const char *const headings[] = {"FILE",       ">FIRST", ">LAST",  ">MESSAGES", ">POSITION", ">SIZE",
                                           ">FILE SIZE", "OLDEST", "NEWEST", "STATE",     NULL};
    struct view view = {.end = END_DONE};
    const char *name;
    lq_queue *queue;
    int code, end;

    while (args_next(args) != ARGS_END) view.json = true; /* the only flag */
    args_expect(args, 1, 1, "the queue");
    name = args->operands[0];
    end = locate_look(args, name, &queue);
    if (end != END_DONE) return end;

    table_init(&view.table, headings);
    code = lq_each_segment(queue, show_segment, &view);
    if (!view.json) table_print(&view.table, "");
    table_release(&view.table);
    if (code < 0) view.end = end_worse(view.end, report_code(name, "cannot look", code));
    return locate_close(queue, name, view.end);
}

static const struct flag *const groups[] = {segments_flags, NULL};

const struct verb verb_segments = {
    .name = "segments",
    .synopsis = "segments QUEUE",
    .summary = "the log files of a queue, a line each",
    .examples = "  lq segments orders\n"
                "  lq segments orders --json\n",
    .about = "POSITION is where the file begins on the log's number line, which counts bytes since the queue\n"
             "was made. Ends with 3 when a file's beginning or end is damaged; lq verify looks inside.\n",
    .groups = groups,
    .run = run,
};
