/* The file `meta`: what a queue is. Written once when the queue is made, under
 * another name, synced, renamed, directory synced; never replaced, for its
 * bytes are also what handles lock (see shared.h). Only the two trim slots are
 * written again, in turn, in place. These bytes are described here only.
 *
 *   0000-0511  copy A of the fixed part
 *   0512-1023  copy B, the same bytes: either will do
 *   1024-1535  trim slot 0       1536-2047  trim slot 1
 *
 * Fixed part:
 *   000-007  magic "LQmeta\r\n"
 *   008-009  version 1           010-015  zero
 *   016-019  features that an older library may ignore
 *   020-023  features that it must refuse
 *   024-039  uuid of the queue
 *   040-047  created_us
 *   048-051  sync   052-055 sync_interval_ms   056-059 retention   060-063 full
 *   064-071  size_max   072-079 age_max_ms   080-087 segment_size   088-095 ring_size
 *   096-103  message_size_max   104-107 compression   108-111 mode
 *   112-503  zero
 *   504-511  XXH3 of bytes 000-503
 *
 * That is a stamp.h head and tail around the queue's options.
 *
 * Trim slot: everything before a position has been given up. Durable before the first file is
 * deleted; a log that starts behind it lacks nothing.
 *   000-007  sequence, from 1: the higher valid one counts; an odd one stands in slot 1, an even one in slot 0
 *   008-015  first_id: the oldest message that may be there
 *   016-023  position of its segment
 *   024-031  synced: the log was durable up to this position when the slot was written
 *   032-039  next_id: and this id was the next to be given then
 *   040-503  zero
 *   504-511  XXH3 of bytes 000-503, seeded with the uuid's first 8 bytes
 */
#ifndef LQI_META_H
#define LQI_META_H

#include "io.h"

#define LQI_META_SIZE 2048
#define LQI_META_VERSION 1
#define LQI_META_NAME "meta"

struct lqi_meta {
    uint8_t uuid[16];
    int64_t created_us;
    lq_options options; /* the stored ones, none of them zero where zero means "default" */
};

struct lqi_trim {
    uint64_t sequence, first_id, position, synced, next_id;
};

/* Fills what is zero in `options` (NULL: all of it) with the defaults, rounds sizes as the header
 * says and checks every range: LQ_EINVAL with a text that names the field. full_timeout_ms
 * becomes -1 where it means for ever. */
int lqi_options_complete(const lq_options *options, lq_options *complete_out);

/* LQ_EMISMATCH, naming the field, when a stored option asked for (not 0, rounded as above) is not the
 * stored one. `asked` (may be NULL) is the caller's struct; LQ_EINVAL for its size. */
int lqi_options_match(const lq_options *asked, const lq_options *stored);

void lqi_meta_encode(uint8_t bytes[LQI_META_SIZE], const struct lqi_meta *meta, const struct lqi_trim *trim);

/* LQ_ENOTQUEUE: a whole file with another magic in both copies, and not all zero. LQ_EVERSION. LQ_ECORRUPT:
 * short, zeroed, or neither copy verifies; the text names "meta", the byte and the reason. */
int lqi_meta_decode(const uint8_t *bytes, size_t size, struct lqi_meta *meta_out);

/* The newest valid trim slot; all zero (sequence 0) with LQ_ECORRUPT when neither verifies. */
int lqi_trim_decode(const uint8_t *bytes, size_t size, const uint8_t uuid[16], struct lqi_trim *trim_out);

/* Calls `each` with every place of the file's bytes that is not as it should be, needed or not; `size` is the file's, of
 * which the first LQI_META_SIZE are at `bytes`, zeroes where it is shorter. False, and no call, when it is as it should be. */
typedef void lqi_meta_damage(void *context, uint64_t offset, const char *text);
bool lqi_meta_check(const uint8_t bytes[LQI_META_SIZE], uint64_t size, lqi_meta_damage *each, void *context);

/* Makes the queue's meta, durably, if there is none: another process may win, which is LQ_OK too.
 * Its trim slot says: sequence 1, first_id and next_id 1, position and synced 0. A crash may leave
 * a stray `meta.<16 hex digits>.new` behind, see publish.h. */
int lqi_meta_create(const struct lqi_io *io, int dir, const struct lqi_meta *meta);

/* Opens and reads it; the file stays open in *file for the locks and for lqi_trim_store. LQ_ENOTFOUND.
 * Bad trim slots do not keep a queue shut: *trim_out is all zero then (sequence 0). */
int lqi_meta_open(const struct lqi_io *io, int dir, bool writable, struct lqi_file *file, struct lqi_meta *meta_out,
                  struct lqi_trim *trim_out);

/* Is the file, which is locked by now, still the queue's? Repair may have put another one in its place between the opening of it and
 * the locking: LQ_EBUSY. `dir` is the queue's. */
int lqi_meta_check_in_place(const struct lqi_file *file, int dir);

/* Reads the trim slots again (another process may have written). */
int lqi_trim_load(const struct lqi_file *file, const uint8_t uuid[16], struct lqi_trim *trim_out);

/* Writes the slot that is not the newest, with trim->sequence + 1 (stored back), and syncs. */
int lqi_trim_store(const struct lqi_file *file, const uint8_t uuid[16], struct lqi_trim *trim);

#endif
