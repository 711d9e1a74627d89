/* What the fixed parts of all our files have in common: which file it is, of
 * which version, of which queue; twice, so that one damaged sector does not lose
 * it. Pure. A copy is `size` bytes, copy B stands right behind copy A:
 *
 *   000-007      magic             008-009  version         010-015  zero
 *   016-019      features that an older library may ignore
 *   020-023      features that it must refuse
 *   024-039      uuid of the queue
 *   040-...      the file's own fields
 *   last 8       XXH3 of all bytes before them
 *
 * A copy counts when magic and checksum are right; only then are version and
 * features looked at, for a flipped bit is no newer library. */
#ifndef LQI_STAMP_H
#define LQI_STAMP_H

#include <stddef.h>
#include <stdint.h>

#define LQI_STAMP_HEAD 40 /* the file's own fields start here */

struct lqi_stamp {
    char magic[9];
    uint16_t version; /* the newest that this library reads */
    uint16_t size;    /* of one copy */
};

/* Zeroes copy A and writes its first LQI_STAMP_HEAD bytes. */
void lqi_stamp_begin(uint8_t *bytes, const struct lqi_stamp *stamp, const uint8_t uuid[16]);
/* Puts the checksum under copy A, and makes copy B. */
void lqi_stamp_end(uint8_t *bytes, const struct lqi_stamp *stamp);

/* The copy to believe, of a file of which `size` bytes are here. `uuid` NULL: of any queue.
 * `*damaged_out` (may be NULL) is the offset of a copy that is not as it should be, or -1.
 * LQ_ECORRUPT LQ_EVERSION, with `name`, byte and reason in the text; outputs untouched then. */
int lqi_stamp_find(const uint8_t *bytes, size_t size, const struct lqi_stamp *stamp, const uint8_t *uuid,
                   const char *name, const uint8_t **copy_out, int64_t *damaged_out);

#endif
