/* lq ls [ROOT]: the queues below a directory. */
#include "args.h"
#include "human.h"
#include "json_write.h"
#include "lag.h"
#include "locate.h"
#include "out.h"
#include "report.h"
#include "table.h"
#include "verb.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { FLAG_JSON = FLAGS_VERB, DEPTH_MAX = 4 };

static const struct flag ls_flags[] = {
    {"json", FLAG_JSON, NULL, "an object per queue"},
    {NULL, 0, NULL, NULL},
};

struct ls {
    bool json;
    struct table table;
    uint64_t queues;
    int end;
};

/* A row of the table, from whatever could be found out. */
struct row {
    const char *name, *state;
    lq_stats stats;
    struct lag lag;
    int64_t oldest_us;
};

static void add_row(struct ls *ls, const struct row *row)
{
    enum paint colour = PAINT_NONE;

    if (strcmp(row->state, "running") == 0) colour = PAINT_GREEN;
    else if (strcmp(row->state, "stalled") == 0) colour = PAINT_YELLOW;
    else if (strcmp(row->state, "idle") != 0) colour = PAINT_RED;
    table_cell(&ls->table, "%s", row->name);
    table_cell(&ls->table, "%s", row->state);
    table_paint(&ls->table, colour);
    table_cell(&ls->table, "%s", human_count(row->lag.ready).text);
    table_cell(&ls->table, "%s", human_count(row->lag.unacked).text);
    table_cell(&ls->table, "%s", human_size(row->stats.bytes).text);
    table_cell(&ls->table, "%zu", row->lag.count);
    table_cell(&ls->table, "%s", row->oldest_us ? human_ago(row->oldest_us).text : "-");
}

static void write_json(const struct row *row)
{
    struct json json;

    json_open(&json);
    json_text(&json, "queue", row->name);
    json_text(&json, "state", row->state);
    json_count(&json, "ready", row->lag.ready);
    json_count(&json, "unacked", row->lag.unacked);
    json_count(&json, "bytes", row->stats.bytes);
    json_count(&json, "consumers", row->lag.count);
    json_time(&json, "oldest_time", row->oldest_us);
    json_close(&json);
}

/* Shows a queue. False: there is none at `path`. */
static bool show_queue(struct ls *ls, const char *path, const char *name)
{
    lq_options options = {.size = sizeof options, .flags = LQ_READ_ONLY};
    struct row row = {.name = name, .state = "unreadable", .stats = {.size = sizeof(lq_stats)}};
    lq_queue *queue = NULL;
    int code = lq_open(path, &options, &queue);

    if (code == LQ_ENOTQUEUE || code == LQ_ENOTFOUND) return false;
    ls->queues++;
    if (code == LQ_OK) code = lq_get_stats(queue, &row.stats);
    if (code == LQ_OK) code = lag_collect(queue, &row.stats, &row.lag);
    if (code == LQ_OK) {
        row.oldest_us = lag_oldest_time(queue, &row.stats, &row.lag);
        row.state = lag_state(&row.stats, &row.lag);
        if (strcmp(row.state, "damaged") == 0) ls->end = end_worse(ls->end, END_DAMAGE);
    } else {
        if (code == LQ_ECORRUPT) row.state = "damaged";
        ls->end = end_worse(ls->end, report_code(name, "cannot look", code));
    }
    if (ls->json) write_json(&row);
    else add_row(ls, &row);
    lag_release(&row.lag);
    ls->end = locate_close(queue, name, ls->end);
    return true;
}

static int is_candidate(const struct dirent *entry)
{
    return entry->d_name[0] != '.';
}

/* Everything below `path`; `name` is what is behind the root, "" for the root itself. */
static void walk(struct ls *ls, const char *path, const char *name, int depth)
{
    struct dirent **entries;
    int count;

    if (show_queue(ls, path, *name ? name : path) || depth == DEPTH_MAX) return;
    count = scandir(path, &entries, is_candidate, alphasort);
    if (count < 0) {
        ls->end = end_worse(ls->end, report_errno(*name ? name : path, "cannot look into it"));
        return;
    }
    for (int i = 0; i < count; i++) {
        char *below_path = NULL, *below_name = NULL;
        struct stat status;

        if (asprintf(&below_path, "%s/%s", path, entries[i]->d_name) < 0) abort();
        if (asprintf(&below_name, "%s%s%s", name, *name ? "/" : "", entries[i]->d_name) < 0) abort();
        /* A link to a queue counts; what is below a link is not walked, so there are no rings. */
        if (stat(below_path, &status) == 0 && S_ISDIR(status.st_mode)) {
            bool is_link;

            lstat(below_path, &status); /* should it have gone meanwhile, it is what it was: a directory */
            is_link = S_ISLNK(status.st_mode);
            walk(ls, below_path, below_name, is_link ? DEPTH_MAX : depth + 1);
        }
        free(below_path);
        free(below_name);
        free(entries[i]);
    }
    free(entries);
}

static int run(struct args *args)
{
    static const char *const headings[] = {"NAME",       "STATE",   ">READY", ">UNACKED", ">SIZE",
                                           ">CONSUMERS", ">OLDEST", NULL};
    struct ls ls = {.end = END_DONE};
    const char *root;
    struct stat status;

    while (args_next(args) != ARGS_END) ls.json = true; /* the only flag */
    args_expect(args, 0, 1, "the directory");
    root = args->count ? args->operands[0] : args->root ? args->root : ".";
    if (stat(root, &status) != 0) return report_errno(root, "cannot look");
    if (!S_ISDIR(status.st_mode)) {
        report(root, "cannot look: not a directory");
        return END_CANNOT;
    }

    table_init(&ls.table, headings);
    walk(&ls, root, "", 0);
    if (!ls.json && ls.queues) table_print(&ls.table, "");
    table_release(&ls.table);
    if (ls.queues || ls.end != END_DONE) return ls.end;
    report(root, "no queue here or below");
    return END_NO;
}

static const struct flag *const groups[] = {ls_flags, NULL};

const struct verb verb_ls = {
    .name = "ls",
    .synopsis = "ls [ROOT]",
    .summary = "the queues below a directory",
    .examples = "  lq ls /var/spool/queues\n"
                "  lq ls --json | jq 'select(.ready > 1000)'\n",
    .about = "READY: messages that wait for the consumer that is farthest behind (without a consumer,\n"
             "all that is kept). UNACKED: handed out, not settled. OLDEST: age of the oldest message that\n"
             "some consumer has not settled. State: idle (nobody has it open to write), running, stalled\n"
             "(running, but a consumer with messages has no member), damaged, poisoned (a sync has\n"
             "failed). Looks 4 levels deep.\n",
    .groups = groups,
    .run = run,
};
