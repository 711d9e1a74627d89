/* See io_subsets.h. Which questions are asked depends on the answers before (a size that has come is not asked for in
 * part), so this is a walk through a tree of answers: each time the last "no" becomes a "yes", and what came after it
 * is asked anew. */
#include "io_subsets.h"

#include <assert.h>

static bool by_chance(struct io_subsets *subsets)
{
    subsets->random = subsets->random * 6364136223846793005u + 1442695040888963407u;
    return subsets->random >> 63;
}

static bool of_mapped(const struct io_crash_change *change)
{
    return change->kind == IO_CRASH_PAGE || change->kind == IO_CRASH_MAPPED_SIZE;
}

static bool keep(void *context, const struct io_crash_change *change)
{
    struct io_subsets *subsets = context;
    if (of_mapped(change)) return by_chance(subsets);

    unsigned number = subsets->asked++;
    if (number >= subsets->most) return false;
    if (number >= subsets->count) subsets->kept[number] = false;
    return subsets->kept[number];
}

/* Asks as much as can be asked: of files that have come to be, and of each size whether it has come in part. */
static bool count(void *context, const struct io_crash_change *change)
{
    struct io_subsets *subsets = context;
    if (of_mapped(change)) return false;
    subsets->asked++;
    return change->kind == IO_CRASH_DATA || change->kind == IO_CRASH_NAME;
}

static bool few_enough(struct io_subsets *subsets)
{
    subsets->asked = 0;
    io_crash_free(io_crash_power_loss_by(subsets->machine, subsets->unit, count, subsets));
    return subsets->asked <= subsets->most;
}

bool io_subsets_begin(struct io_subsets *subsets, const struct io_crash *machine, unsigned most)
{
    static const uint32_t units[] = {64, 512, 4096, UINT32_MAX};

    assert(most <= IO_SUBSETS_MOST);
    *subsets = (struct io_subsets){.machine = machine, .most = most, .random = io_crash_calls(machine)};
    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        subsets->unit = units[i];
        if (few_enough(subsets)) return true;
    }
    return false;
}

struct io_crash *io_subsets_next(struct io_subsets *subsets)
{
    if (subsets->over) return NULL;
    subsets->asked = 0;
    struct io_crash *after = io_crash_power_loss_by(subsets->machine, subsets->unit, keep, subsets);
    subsets->count = subsets->asked < subsets->most ? subsets->asked : subsets->most;
    while (subsets->count > 0 && subsets->kept[subsets->count - 1]) subsets->count--;
    if (subsets->count > 0) subsets->kept[subsets->count - 1] = true;
    else subsets->over = true;
    return after;
}
