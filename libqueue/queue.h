/* A queue handle and what hangs on it; the verbs (put.c, get.c, settle.c,
 * notify.c, inspect.c, verify.c) share it. The lock order stands in log.h. */
#ifndef LQI_QUEUE_H
#define LQI_QUEUE_H

#include "consumers.h"
#include "process.h"
#include "recover.h"
#include "retain.h"
#include "service.h"
#include "writeout.h"

struct lq_queue {
    const struct lqi_io *io;
    struct lqi_log log;
    struct lqi_meta meta;
    struct lqi_file meta_file;        /* none if it is beyond reading, and the queue only looked at */
    char meta_damage[LQI_TEXT_MAX];   /* and why it is */
    bool meta_moved;                  /* another one is in its place now, or none: open anew */
    bool made;                        /* this handle has made the queue, or tried to: with this uuid */
    uint8_t made_uuid[16];
    struct lqi_file shared_locks;     /* `shared`, opened once more: a map, which a child keeps, would keep its locks */
    struct lqi_shared_map map;
    struct lqi_consumers consumers;
    int dir, consumers_dir;           /* log_dir is in `log` */
    int64_t open_patience_us;         /* what is left of it, of this call, with who is opening or closing */
    uint32_t flags;
    int64_t full_timeout_ms;
    uint32_t handle;                  /* slot in `shared` */
    uint64_t handle_generation;
    _Atomic uint32_t users;           /* open consumers and readers */
    _Atomic uint64_t retained_span;   /* retention by limits was looked at when this span began */
    struct lqi_forkable forkable;
    struct lqi_task sync_task;        /* LQ_SYNC_INTERVAL */
    bool syncs_by_interval;
};

/* How long lq_open() and lq_close() wait for another process that is in the middle of it, in all; tests have less patience. */
extern int lqi_open_patience_ms;

/* lq_open() and lq_verify() on another machine than the real one, for tests. */
int lqi_open_io(const struct lqi_io *io, const char *path, const lq_options *options, lq_queue **queue_out);
int lqi_verify_io(const struct lqi_io *io, const char *path, unsigned flags, lq_finding_callback *each, void *context,
                  lq_verify_result *result_out);

/* LQ_EINVAL for NULL, LQ_EFORKED in a child; LQ_EREADONLY if `writing`. */
int lqi_queue_check(const lq_queue *queue, bool writing);

/* Copies a public struct of the caller's size into ours of `size`, zero-filled; LQ_EINVAL if it is larger and what we do not know is not zero. */
int lqi_take_options(void *ours, size_t size, const void *theirs, const char *what);

#endif
