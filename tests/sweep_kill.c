/* A process is killed (-9) at an instruction of a call of the library: at each one after which others see something else,
 * and at as many of those in between as there is time for. Others who have the queue open go on at once; or nobody has, and the
 * next one recovers. Either way all that was accepted is there once and in order, what was acked
 * stays so, and what the dead one held comes back. Now and then another one has died just before in the same call, so that
 * death also comes in the middle of mending.
 *
 * How to have one death again, or more of them: support/stage.h. */
#include "support/child.h"
#include "support/stage.h"

enum { PATIENCE_MS = 4000 }; /* nobody is stopped: whoever waits so long waits for the dead */

static bool kill_it(pid_t victim, bool led)
{
    (void)led;
    if (victim) child_kill(victim);
    return stage_check();
}

int main(int argc, char *argv[])
{
    (void)argc;
    lqi_lock_patience_ms = PATIENCE_MS;
    stage.corpses = true;
    return stage_main(argv, 15, SCENES_WITNESS | SCENES_ALONE, kill_it);
}
