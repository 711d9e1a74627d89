/* A sweep over the instructions of the scenes: a victim is led to one of them, and a deed done to it there.
 *
 * In the time there is: first a walk through each scene's call, then victims at each step after which others see something else,
 * then at other steps. Scenes that are too long to be walked through meet their deed after some time instead.
 *
 *     LQ_SWEEP=put_rolling/alone/1234   one victim again, as a failure names it (+567: somebody was killed there before)
 *     LQ_SWEEP=put_rolling              one scene only, with numbers
 *     LQ_SWEEP_SECONDS=3600             so long; from 300 s on every scene is walked through, shared libraries too
 *     LQ_SEED=7                         the same choice again */
#ifndef SUPPORT_STAGE_H
#define SUPPORT_STAGE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "scenes.h"

/* Done to a victim: it stands at its step (`led`), or runs. It is gone when the deed is done. 0: it went another way, and is gone
 * already. False: ledger->wrong says why. */
typedef bool stage_deed(pid_t victim, bool led);

extern struct stage {
    const struct scene *scene;
    int company;                   /* SCENES_WITNESS or SCENES_ALONE */
    char path[4200];               /* the queue */
    struct ledger *ledger;         /* shared with the victims */
    struct ledger_witness witness; /* this process's; closed while a victim is alone */
    _Atomic uint32_t *acted;       /* the victim's call has returned */
    int64_t back_us;               /* the longest until leases came back */
    stage_deed *deed;
    uint32_t victims, queues;      /* in this queue; so far */
    bool by_the_clock, whole;
    bool corpses;                  /* a test's wish: some victims come just after another one was killed in the same call */
    uint32_t before;               /* the step where that was */
} stage;

/* The victim is gone: those who go on, or come now, find all that must be there. */
bool stage_check(void);

/* What a test's main() returns. */
int stage_main(char *argv[], double seconds, int companies, stage_deed *deed);

#endif
