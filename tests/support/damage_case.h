/* One case of tests/sweep_damage.c: a damage is done to a copy of a queue, and all that is promised of it is tried: verify, contain, keep,
 * repair, as told there. What is not so is printed with what plays the case again, and counted. */
#ifndef SUPPORT_DAMAGE_CASE_H
#define SUPPORT_DAMAGE_CASE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "specimen_damage.h"

struct damage_tally {
    uint64_t cases[DAMAGE_KINDS], repairs, overlooked, whole, memory;
    struct damage now; /* the case at hand, for whoever finds this process dead */
};

/* "LQ_SWEEP=...: " and what that is. */
void damage_case_print(const struct damage *damage);

/* `thorough`: opened for writing, too, and repaired. */
bool damage_case_check(const struct damage *damage, bool thorough, struct damage_tally *counts, _Atomic uint64_t *wrong);

#endif
