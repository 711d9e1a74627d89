/* A segment: one log file, `log/FIRSTID.seg` (20 digits). It holds a stretch
 * of the log's number line. These bytes are described here and nowhere else.
 *
 *   000-127  header, copy A      128-255  header, copy B: either will do
 *   256-...  records (record.h), the first at `position`
 *   then     once sealed: the index, and the trailer in the last 128 bytes of the file;
 *            before that: zeroes, as far as the file was allocated
 *
 * Header (a stamp.h head and tail around our own fields):
 *   000-007  magic "LQseg\r\n\0"
 *   008-009  version 1           010-015  zero
 *   016-019  features that an older library may ignore
 *   020-023  features that it must refuse
 *   024-039  uuid of the queue
 *   040-047  first_id            048-055  position of the first record
 *   056-063  salt: random, mixed into each record's header
 *   064-071  created_us: not after any message in it, not before any message of an older segment
 *   072-079  durable: the log was synced up to this position when the segment was made
 *   080-119  zero                120-127  XXH3 of bytes 000-119
 *
 * Index entry, 24 bytes: of one record in every LQI_INDEX_STRIDE bytes or so
 *   00-07 first_id   08-15 time_us   16-23 position
 *
 * Trailer:
 *   000-007  magic "LQend\r\n\0"
 *   008-011  index_count         012-015  zero
 *   016-023  end: position behind the last record
 *   024-031  next_id: one more than the last message's
 *   032-039  first_time_us       040-047  last_time_us (both 0 without a message)
 *   048-055  salt, as in the header
 *   056-063  XXH3 of the index
 *   064-119  zero                120-127  XXH3 of bytes 000-119
 *
 * A sealed segment was synced before the next one got its first byte. */
#ifndef LQI_SEGMENT_H
#define LQI_SEGMENT_H

#include "io.h"

#define LQI_SEGMENT_HEADER 256
#define LQI_SEGMENT_HEADER_COPY 128
#define LQI_SEGMENT_TRAILER 128
#define LQI_INDEX_ENTRY 24
#define LQI_SEGMENT_VERSION 1
#define LQI_SEGMENT_FILE_MAX ((uint64_t)4 << 30) /* segment_size is at most that, and so is what a lone record needs */
#define LQI_SEGMENT_NAME_SIZE 32 /* of "00000000000000000001.seg" and its 0 */

struct lqi_segment_head {
    uint8_t uuid[16];
    uint64_t first_id, position, salt, durable;
    int64_t created_us;
};

struct lqi_index_entry {
    uint64_t first_id;
    int64_t time_us;
    uint64_t position;
};

struct lqi_segment_end {
    uint64_t end, next_id, salt;
    int64_t first_time_us, last_time_us;
    uint32_t index_count;
    uint64_t index_check;
};

void lqi_segment_name(char name[LQI_SEGMENT_NAME_SIZE], uint64_t first_id);
/* True for exactly the names the function above makes, of ids from 1 below 2^63. */
bool lqi_segment_name_parse(const char *name, uint64_t *first_id_out);

/* The same, and what stands for a moment while one is made. */
bool lqi_segment_is_name(const char *name);

void lqi_segment_head_encode(uint8_t bytes[LQI_SEGMENT_HEADER], const struct lqi_segment_head *head);
/* LQ_ECORRUPT LQ_EVERSION, with the byte and the reason in the text (`name` is the file's, for the text). Accepts
 * if either copy verifies, has the uuid (if `uuid` is not NULL) and sane fields (position % 8 == 0, first_id >= 1...);
 * `*damaged_copy_out` (may be NULL) is the offset of a copy that does not verify, or -1. */
int lqi_segment_head_decode(const uint8_t *bytes, size_t size, const char *name, const uint8_t uuid[16],
                            struct lqi_segment_head *head_out, int64_t *damaged_copy_out);

/* `bytes` has room for index_count * LQI_INDEX_ENTRY + LQI_SEGMENT_TRAILER; fills end->index_check. */
void lqi_segment_end_encode(uint8_t *bytes, const struct lqi_index_entry *index, struct lqi_segment_end *end);
/* True when the last bytes of a file of `file_size` bytes are the trailer of the segment with this head: checksum,
 * salt, and end and index fill the file exactly. */
bool lqi_segment_end_decode(const uint8_t bytes[LQI_SEGMENT_TRAILER], uint64_t file_size,
                            const struct lqi_segment_head *head, struct lqi_segment_end *end_out);
/* Entries whose checksum was compared by the caller (lqi_checksum of the bytes == end.index_check). */
void lqi_index_entry_decode(const uint8_t bytes[LQI_INDEX_ENTRY], struct lqi_index_entry *entry_out);

/* A segment open for looking: its head, and its end when it is sealed. */
struct lqi_segment {
    struct lqi_file file;
    struct lqi_segment_head head;
    struct lqi_segment_end end; /* when sealed */
    bool sealed;
    uint64_t trailer_at;        /* where it is, or something that reminds of it; else where the file ends */
    bool end_damaged;           /* longer than its header, not all zero at its end, yet no trailer */
    int64_t damaged_copy;       /* offset of a header copy that does not verify, or -1 */
    bool head_lost;             /* neither does: `head` is what the trailer tells. Also after LQ_ECORRUPT of lqi_segment_open_any(): no header
                                   verifies there, of whatever queue, segment or version */
    uint64_t file_size;
};

/* Opens `log/NAME` in the held directory `log_dir`, reads header and trailer. `writable` opens it for writing.
 * LQ_ENOTFOUND LQ_ECORRUPT LQ_EVERSION...; *segment holds nothing then. The first_id in the header must be the name's. */
int lqi_segment_open(struct lqi_segment *segment, const struct lqi_io *io, int log_dir, uint64_t first_id,
                     const uint8_t uuid[16], bool writable);
/* The same, to read: also where neither copy of the header verifies, but the trailer does, which has the salt, and of which follows
 * where the records are. Not where a header verifies that is of another queue or segment, or newer. */
int lqi_segment_open_any(struct lqi_segment *segment, const struct lqi_io *io, int log_dir, uint64_t first_id,
                         const uint8_t uuid[16]);
void lqi_segment_close(struct lqi_segment *segment); /* fine when nothing is open */

/* The newest index entry with first_id <= id (or time_us < time_us: a record before one of the very time
 * may be of that time too), as a place to start scanning; the start of
 * the segment when there is none, it is not sealed, or the index does not verify (then *damaged_out, may be NULL, is true), or
 * that record is not where the entry says. */
int lqi_segment_find_id(const struct lqi_segment *segment, uint64_t id, struct lqi_index_entry *entry_out, bool *damaged_out);
int lqi_segment_find_time(const struct lqi_segment *segment, int64_t time_us, struct lqi_index_entry *entry_out, bool *damaged_out);

static inline uint64_t lqi_segment_offset(const struct lqi_segment_head *head, uint64_t position)
{
    return LQI_SEGMENT_HEADER + (position - head->position);
}

/* The first ids of all segments in the directory, ascending; *ids_out is malloced, free() it. Foreign
 * names are left out and counted (`foreign_out` may be NULL); `*.new` (prepared files) are not foreign. None when
 * there is no directory (-1). */
int lqi_segment_list(const struct lqi_io *io, int log_dir, uint64_t **ids_out, size_t *count_out, size_t *foreign_out);

#endif
