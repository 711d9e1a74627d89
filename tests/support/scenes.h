/* What a process may be doing when it is killed or stopped: one call, and all that leads up to it. */
#ifndef SUPPORT_SCENES_H
#define SUPPORT_SCENES_H

#include <stdbool.h>
#include <stdint.h>

#include "ledger.h"
#include "queue.h"

enum { SCENES_SEGMENT = 65536, SCENES_RING = 65536 };

/* The one who does it, in a process of its own. */
struct scenes_actor {
    const char *path;
    lq_options options;
    struct ledger *ledger;
    lq_queue *queue;
    lq_consumer *pool, *temp;
    struct ledger_held held;
    struct ledger_batch batch; /* announced */
    size_t got;                /* messages, behind those in hand */
};

enum { /* who else lives */
    SCENES_WITNESS = 1, /* a process that has everything open, and goes on */
    SCENES_ALONE = 2    /* nobody: whoever comes next recovers */
};

struct scene {
    const char *name;
    int sync;
    uint32_t flags;                             /* of the actor's handle */
    int compression;
    int company;                                /* SCENES_WITNESS, _ALONE, or both */
    uint32_t stock_size, stock_count;           /* messages put before, which the witness has looked at if there is one */
    bool corpse;                                /* before, another process died, with messages put and held */
    bool is_long;                               /* more than 20,000 instructions */
    bool temp;                                  /* it is about the consumer "temp" */
    int (*prepare)(struct scenes_actor *actor); /* what the library said */
    int (*act)(struct scenes_actor *actor);     /* the call, and nothing else; the same */
    void (*conclude)(struct scenes_actor *actor, int result); /* what became of it; may be NULL */
};

extern const struct scene scenes[];
extern const uint32_t scenes_count;

lq_options scenes_options(const struct scene *scene);
/* What comes before `prepare`, by whoever does it. */
int scenes_stock(const struct scene *scene, struct ledger *ledger, lq_queue *queue);
/* A process that has put and holds messages, and is dead on return. */
bool scenes_leave_corpse(const struct scene *scene, struct ledger *ledger, const char *path);
/* Closes what the actor has open. */
int scenes_finish(struct scenes_actor *actor);

#endif
