/* What repair plans for a made log, file by file, to be held against what it must. Beside made_log.h, for programs that look inside repair. */
#ifndef SUPPORT_MADE_PLAN_H
#define SUPPORT_MADE_PLAN_H

#include "made_log.h"
#include "mend.h"

/* ---- planning ------------------------------------------------------------------- */

enum { PLANS_MAX = 8, PATCHES_MAX = 16 };

struct planned {
    char path[64], text[200];
    bool only_taken; /* set aside, and another file takes its place */
    struct lqi_mending mending;
    struct lqi_patch patches[PATCHES_MAX];
};

static struct planned plans[PLANS_MAX];
static size_t plan_count;
static size_t plans_wanted; /* so many, and then LQ_EIO is what the caller says; 0: all */

static inline int note_plan(void *context, const char *path, const char *text, const struct lqi_mending *mending)
{
    HOLDS(context == plans && plan_count < PLANS_MAX);
    struct planned *plan = &plans[plan_count++];
    memset(plan, 0, sizeof *plan);
    snprintf(plan->path, sizeof plan->path, "%s", path);
    snprintf(plan->text, sizeof plan->text, "%s", text);
    plan->only_taken = !mending;
    if (mending) {
        HOLDS(mending->patch_count <= PATCHES_MAX && text == mending->text);
        plan->mending = *mending;
        plan->mending.patches = plan->patches;
        if (mending->patch_count) memcpy(plan->patches, mending->patches, mending->patch_count * sizeof *plan->patches);
    }
    return plan_count == plans_wanted ? LQ_EIO : LQ_OK;
}

/* On the machine of the_log. */
static inline int plan_log(const struct lqi_trim *trim, const struct lqi_promise *promise)
{
    static struct lqi_found found;
    plan_count = 0;
    int err = lqi_find_end(&the_log, trim, promise, &found);
    return err ? err : lqi_mend_log(&the_log, trim, &found, note_plan, plans);
}

/* ---- what must be planned ---------------------------------------------------------- */

struct expected {
    uint64_t id;
    const char *text; /* how it begins */
    bool there, readable, sealed, only_taken;
    uint64_t end, next_id, first_lost, lost;
    size_t patch_count;
    struct lqi_patch patches[PATCHES_MAX];
};

static inline void is_planned(size_t index, const struct expected *expected)
{
    const struct planned *plan = &plans[index];
    const struct lqi_mending *mending = &plan->mending;
    char path[64], name[LQI_SEGMENT_NAME_SIZE];

    lqi_segment_name(name, expected->id);
    snprintf(path, sizeof path, "log/%s", name);
    HOLDS(index < plan_count && strcmp(plan->path, path) == 0);
    if (strncmp(plan->text, expected->text, strlen(expected->text)) != 0) api_note("it said %s", plan->text);
    HOLDS(strncmp(plan->text, expected->text, strlen(expected->text)) == 0);
    EQUAL(plan->only_taken, expected->only_taken);
    if (expected->only_taken) return;
    HOLDS(strcmp(mending->name, name) == 0);
    EQUAL(mending->head.first_id, expected->id);
    HOLDS(memcmp(mending->head.uuid, uuid, sizeof uuid) == 0);
    EQUAL(mending->there, expected->there);
    EQUAL(mending->readable, expected->readable);
    EQUAL(mending->sealed, expected->sealed);
    EQUAL(mending->end, expected->end);
    EQUAL(mending->next_id, expected->next_id);
    EQUAL(mending->first_lost, expected->first_lost);
    EQUAL(mending->lost, expected->lost);
    EQUAL(mending->patch_count, expected->patch_count);
    for (size_t i = 0; i < expected->patch_count; i++) {
        EQUAL(mending->patches[i].position, expected->patches[i].position);
        EQUAL(mending->patches[i].to, expected->patches[i].to);
        EQUAL(mending->patches[i].first_id, expected->patches[i].first_id);
        EQUAL(mending->patches[i].next_id, expected->patches[i].next_id);
        EQUAL(mending->patches[i].time_us, expected->patches[i].time_us);
    }
}

/* This and nothing else. */
static inline void only_planned(const struct lqi_trim *trim, const struct lqi_promise *promise, const struct expected *expected)
{
    OK(plan_log(trim, promise));
    EQUAL(plan_count, expected ? 1 : 0);
    if (expected) is_planned(0, expected);
}

/* Header, times and index of what is written anew are those of what is good in it. */
static inline void keeps(const struct lqi_mending *mending, const struct made *good)
{
    EQUAL(mending->head.position, good->head.position);
    EQUAL(mending->head.salt, good->head.salt);
    EQUAL(mending->head.durable, good->head.durable);
    EQUAL(mending->head.created_us, good->head.created_us);
    EQUAL(mending->first_time_us, good->found.first_time_us);
    EQUAL(mending->last_time_us, good->found.first_time_us ? good->found.time_us : 0);
    EQUAL(mending->index_count, good->found.index_count);
    for (uint32_t i = 0; i < good->found.index_count; i++) {
        EQUAL(mending->index[i].first_id, good->found.index[i].first_id);
        EQUAL(mending->index[i].time_us, good->found.index[i].time_us);
        EQUAL(mending->index[i].position, good->found.index[i].position);
    }
}

#endif
