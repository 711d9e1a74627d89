/* Finding and opening queues, and the hints when there is none. */
#include "locate.h"

#include "args.h"
#include "nearest.h"
#include "report.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void locate_check(const char *name)
{
    if (!*name) usage("the name of the queue is empty");
}

char *locate_path(const struct args *args, const char *name)
{
    char *path = NULL;

    locate_check(name);
    if (args->root && !strchr(name, '/') && *name != '.') {
        if (asprintf(&path, "%s/%s", args->root, name) < 0) path = NULL;
    } else {
        path = strdup(name);
    }
    if (!path) abort();
    return path;
}

static int is_queue(const char *path)
{
    lq_options options = {.size = sizeof options, .flags = LQ_READ_ONLY};
    lq_queue *queue;

    if (lq_open(path, &options, &queue) != LQ_OK) return 0;
    lq_close(queue);
    return 1;
}

void locate_hint(const char *name, const char *path)
{
    const char *slash = strrchr(path, '/'), *base = slash ? slash + 1 : path;
    char *parent = slash ? strndup(path, (size_t)(slash - path) + 1) : strdup(".");
    struct nearest nearest = {.wanted = base};
    struct dirent *entry;
    DIR *dir = parent ? opendir(parent) : NULL;
    char *candidate = NULL;

    while (dir && (entry = readdir(dir)) != NULL)
        if (entry->d_name[0] != '.' && strcmp(entry->d_name, base) != 0) nearest_offer(&nearest, entry->d_name);
    if (nearest.best[0] && asprintf(&candidate, "%s%s", slash ? parent : "", nearest.best) >= 0) {
        /* Offered in the form in which it was typed. */
        const char *typed = strrchr(name, '/');

        if (is_queue(candidate))
            hint("did you mean '%.*s%s'?", typed ? (int)(typed - name) + 1 : 0, name, nearest.best);
    } else if (!strchr(name, '/') && slash && is_queue(name)) {
        hint("there is a queue in this directory: ./%s", name);
    }
    free(candidate);
    free(parent);
    if (dir) closedir(dir);
}

/* When making it failed: the directory around it is not there. */
static void hint_parent(const char *path)
{
    const char *slash = strrchr(path, '/');

    if (slash && slash > path) hint("mkdir -p %.*s", (int)(slash - path), path);
}

int locate_open(const struct args *args, const char *name, const lq_options *options, lq_queue **queue_out)
{
    char *path = locate_path(args, name);
    int code = lq_open(path, options, queue_out), end = END_DONE;

    if (code != LQ_OK) end = report_code(name, "cannot open", code);
    if (code == LQ_ENOTFOUND && (options->flags & (LQ_READ_ONLY | LQ_NO_CREATE))) locate_hint(name, path);
    else if (code == LQ_ENOTFOUND) hint_parent(path);
    free(path);
    return end;
}

int locate_look(const struct args *args, const char *name, lq_queue **queue_out)
{
    lq_options options = {.size = sizeof options, .flags = LQ_READ_ONLY};

    return locate_open(args, name, &options, queue_out);
}

static int offer_consumer(void *context, int code, const lq_consumer_stats *stats)
{
    (void)code;
    nearest_offer(context, stats->name);
    return 0;
}

int locate_no_consumer(lq_queue *queue, const char *queue_name, const char *consumer)
{
    struct nearest nearest = {.wanted = consumer};

    report(queue_name, "no consumer is called '%s'", consumer);
    lq_each_consumer(queue, offer_consumer, &nearest);
    if (nearest.best[0]) hint("did you mean '%s'?", nearest.best);
    else hint("lq stat %s lists the consumers", queue_name);
    return END_CANNOT;
}

int locate_close(lq_queue *queue, const char *name, int end)
{
    int code = lq_close(queue);

    return code == LQ_OK ? end : end_worse(end, report_code(name, "cannot close", code));
}
