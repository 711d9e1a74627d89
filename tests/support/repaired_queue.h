/* A small queue, its repair on a machine of the test's own, and what is said of it: for the programs that look inside repair,
 * included by one file of each. */
#ifndef SUPPORT_REPAIRED_QUEUE_H
#define SUPPORT_REPAIRED_QUEUE_H

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "api.h"
#include "forge.h"
#include "repair_parts.h"
#include "scratch.h"

#define NOON INT64_C(1800000000000007)
#define WHEN "20270115T080000.000007Z"

/* ---- a queue, and what is said of its repair ----------------------------------------------- */

static char queue[4200];
static struct lqi_io machine;
static lq_repair_result result;

static inline int64_t noon(const struct lqi_io *io)
{
    (void)io;
    return NOON;
}

/* Messages 1 to 3 in a segment, and 4 to 6 in another one, which is open. */
static inline void new_queue(void **state)
{
    struct forge_segment *parts[2];
    struct forge_meta meta = forge_meta;
    snprintf(queue, sizeof queue, "%s", api_path(*state, "q"));
    for (unsigned i = 0; i < 2; i++) {
        parts[i] = forge_segment_new(1 + 3 * i, i ? parts[0]->end : 0);
        for (uint64_t id = 1 + 3 * i; id < 4 + 3 * i; id++) forge_message(parts[i], id, "body");
    }
    meta.mode = 0640;
    meta.trims[1].synced = parts[1]->end;
    meta.trims[1].next_id = 7;
    forge_queue(queue, &meta);
    forge_trailer(parts[0], NULL, 0, 0, 0);
    for (unsigned i = 0; i < 2; i++) forge_segment_write(parts[i], queue);
    machine = lqi_io_posix;
    machine.wall_us = noon;
}

static inline void drop_queue(void)
{
    HOLDS(scratch_delete(queue) == 0);
}

static inline const char *in_queue(const char *name)
{
    return api_path(queue, name);
}

static char said[4000]; /* FILE (ASIDE): DAMAGE -> REMEDY, ids */

static inline void note(void *context, const lq_repair_step *step)
{
    size_t length = strlen(said);
    HOLDS(context == said && step->size == sizeof *step);
    HOLDS((step->count == 0) == (step->first_id == 0));
    snprintf(said + length, sizeof said - length, "%s (%s): %s -> %s, %d from %d\n", step->file, step->aside, step->damage, step->remedy,
             (int)step->count, (int)step->first_id);
}

/* Whatever comes of it, nothing is left open, and nobody else's file is closed. */
static inline int repair(unsigned flags)
{
    unsigned before = api_open_files();
    said[0] = 0;
    result = (lq_repair_result){.size = sizeof result};
    int err = lqi_repair_io(&machine, queue, flags, note, said, &result);
    EQUAL(api_open_files(), before);
    return err;
}

static inline struct api_tree *look(bool *aside_out)
{
    *aside_out = api_file_exists(in_queue("aside"));
    return api_tree_read(queue);
}

static inline void is_unchanged(struct api_tree *before, bool aside)
{
    HOLDS(api_tree_same(before, NULL));
    EQUAL(api_file_exists(in_queue("aside")), aside);
    api_tree_free(before);
}

/* A dry run says `dry` and does nothing, a repair `steps`; the next one has nothing to do. */
static inline void says(const char *dry, const char *steps)
{
    bool aside;
    struct api_tree *before = look(&aside);
    OK(repair(LQ_REPAIR_DRY_RUN));
    assert_string_equal(said, dry);
    is_unchanged(before, aside);
    lq_repair_result planned = result;
    OK(repair(0));
    assert_string_equal(said, steps);
    EQUAL(result.steps, planned.steps);
    EQUAL(result.lost, planned.lost);
    OK(repair(0));
    assert_string_equal(said, "");
    EQUAL(result.steps, 0);
    EQUAL(result.lost, 0);
}

#endif
