/* From the ring to the disk: writing out, rolling from one segment to the next,
 * preparing segments ahead, and the group commit. */
#ifndef LQI_WRITEOUT_H
#define LQI_WRITEOUT_H

#include "log.h"

/* Brings everything appended so far into the files (not: onto the disk). */
int lqi_write_out(struct lqi_log *log);

/* The same if there is enough of it and nobody else is at it; never waits. For PUT, after an append. */
#define LQI_WRITE_OUT_SIZE ((uint64_t)256 << 10)
void lqi_write_out_some(struct lqi_log *log);

/* Makes the file for span number `span` ready, or gives the current one its disk space. */
int lqi_prepare(struct lqi_log *log, uint64_t span);
int lqi_allocate(struct lqi_log *log);

/* Returns when the log is durable up to `position`: one leader writes and syncs for everybody who is waiting,
 * in all processes. LQ_EPOISONED: a sync has failed, now or before. */
int lqi_commit(struct lqi_log *log, uint64_t position);

/* Everything appended so far. */
int lqi_commit_all(struct lqi_log *log);

/* For the owner of append and write lock: writes out up to `end` (all that is committed). */
int lqi_write_up_to(struct lqi_log *log, uint64_t end);
int lqi_prepare_locked(struct lqi_log *log, uint64_t span, uint64_t capacity);
/* The file of the span being written, opened if need be. */
int lqi_writing_file(struct lqi_log *log, struct lqi_file **file_out);
/* Takes the write lock. */
int lqi_lock_write(struct lqi_log *log);

/* Cuts the file of the last segment to what is in it; nobody may append any more. */
int lqi_give_back_space(struct lqi_log *log);

void lqi_poison(struct lqi_log *log);

#endif
