/* A log made file by file and record by record, with what recovery must find in it; and recovery's own finding, to be held against that.
 * For the few programs that look inside recovery: included by one file of each. */
#ifndef SUPPORT_MADE_LOG_H
#define SUPPORT_MADE_LOG_H

#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "api.h"
#include "bytes.h"
#include "checksum.h"
#include "recover.h"

enum { SPAN = 8192, BODY = SPAN - LQI_RECORD_HEADER, STRIDE = 65536, PER_ENTRY = STRIDE / SPAN };

static const uint8_t uuid[16] = "0123456789abcde";

/* ---- making a log --------------------------------------------------------------- */

/* A segment being made: a file, and what recovery must find in it. */
struct made {
    int fd;
    struct lqi_segment_head head;
    struct lqi_found found; /* `last`, end, next_id, times, mark, index... of what has been added so far */
};

static struct lqi_log the_log;
static lq_options the_options;
static char log_path[4200];

static inline void new_log(void **state)
{
    if (the_log.io) lqi_io_posix.close(the_log.io, the_log.log_dir);
    snprintf(log_path, sizeof log_path, "%s", api_path(*state, "log"));
    HOLDS(mkdir(log_path, 0700) == 0);
    the_options = (lq_options){.segment_size = 1 << 20, .mode = 0600};
    the_log = (struct lqi_log){.io = &lqi_io_posix, .log_dir = -1, .options = the_options};
    memcpy(the_log.uuid, uuid, sizeof uuid);
    EQUAL(lqi_io_posix.dir_open(&lqi_io_posix, -1, log_path, &the_log.log_dir), 0);
}

static const char *path_of(uint64_t first_id)
{
    static char path[4300];
    char name[LQI_SEGMENT_NAME_SIZE];
    lqi_segment_name(name, first_id);
    snprintf(path, sizeof path, "%s/%s", log_path, name);
    return path;
}

static inline void put_bytes(const struct made *made, uint64_t offset, const void *bytes, size_t size)
{
    HOLDS(pwrite(made->fd, bytes, size, (off_t)offset) == (ssize_t)size);
}

static inline uint64_t offset_of(const struct made *made, uint64_t position)
{
    return lqi_segment_offset(&made->head, position);
}

static inline uint64_t size_of(const struct made *made)
{
    struct stat stat;
    HOLDS(fstat(made->fd, &stat) == 0);
    return (uint64_t)stat.st_size;
}

static inline struct made make_segment(uint64_t first_id, uint64_t position, uint64_t durable)
{
    uint8_t bytes[LQI_SEGMENT_HEADER];
    struct made made = {.head = {.first_id = first_id, .position = position, .salt = first_id * 77 + 1, .durable = durable,
                                 .created_us = (int64_t)(1000 + first_id)}};
    memcpy(made.head.uuid, uuid, sizeof uuid);
    made.fd = open(path_of(first_id), O_RDWR | O_CREAT | O_EXCL, 0600);
    HOLDS(made.fd >= 0);
    lqi_segment_head_encode(bytes, &made.head);
    put_bytes(&made, 0, bytes, sizeof bytes);
    made.found = (struct lqi_found){.end = position, .next_id = first_id, .time_us = made.head.created_us, .any_segment = true,
                                    .usable = true, .last = made.head};
    return made;
}

/* The header of a record of `size` bytes, all zero, behind what has been added; it counts as added, and is nowhere yet. Returns its position. */
static inline uint64_t note_record(struct made *made, enum lqi_record_kind kind, uint32_t size, uint64_t durable, int64_t time_us,
                                   uint8_t header[LQI_RECORD_HEADER])
{
    uint8_t *body = calloc(1, size + 1);
    struct lqi_found *found = &made->found;
    struct lqi_record record = {.position = found->end, .durable = durable, .first_id = found->next_id, .time_us = time_us, .size = size,
                                .payload_check = lqi_checksum(body, size), .count = kind == LQI_RECORD_MESSAGES, .kind = kind};
    free(body);
    if (kind == LQI_RECORD_MESSAGES) record.flags = LQI_RECORD_LONE;
    lqi_record_encode(header, &record, made->head.salt);
    found->end += lqi_record_span(size);

    found->time_us = time_us > found->time_us ? time_us : found->time_us;
    found->mark = kind == LQI_RECORD_MARK ? found->end : 0;
    if (kind != LQI_RECORD_MESSAGES) return record.position;
    if (!found->first_time_us) found->first_time_us = time_us;
    if (!found->index_count || (record.position - found->indexed >= STRIDE && found->index_count < LQI_INDEX_MAX)) {
        found->index[found->index_count++] = (struct lqi_index_entry){found->next_id, time_us, record.position};
        found->indexed = record.position;
    }
    found->next_id++;
    return record.position;
}

/* Adds it to the file, the zeroes as a hole there, so that large ones are no matter. */
static inline uint64_t add_record(struct made *made, enum lqi_record_kind kind, uint32_t size, uint64_t durable, int64_t time_us)
{
    uint8_t header[LQI_RECORD_HEADER];
    uint64_t position = note_record(made, kind, size, durable, time_us, header), end = offset_of(made, made->found.end);
    put_bytes(made, offset_of(made, position), header, sizeof header);
    if (size_of(made) < end) HOLDS(ftruncate(made->fd, (off_t)end) == 0);
    return position;
}

static inline uint64_t add(struct made *made)
{
    return add_record(made, LQI_RECORD_MESSAGES, BODY, 0, made->found.time_us + 10);
}

static inline void add_many(struct made *made, int count)
{
    while (count-- > 0) add(made);
}

static inline uint64_t add_mark(struct made *made)
{
    return add_record(made, LQI_RECORD_MARK, 0, 0, made->found.time_us + 10);
}

static inline void seal(struct made *made, uint64_t next_id)
{
    struct lqi_segment_end end = {.end = made->found.end, .next_id = next_id, .salt = made->head.salt, .index_count = made->found.index_count,
                                  .first_time_us = made->found.first_time_us, .last_time_us = made->found.time_us};
    size_t size = end.index_count * LQI_INDEX_ENTRY + LQI_SEGMENT_TRAILER;
    uint8_t *bytes = malloc(size);
    lqi_segment_end_encode(bytes, made->found.index, &end);
    put_bytes(made, offset_of(made, end.end), bytes, size);
    free(bytes);
}

static inline void damage(const struct made *made, uint64_t position)
{
    put_bytes(made, offset_of(made, position) + 8, "damage", 6);
}

/* And the trailer, if there is one, which would tell the same. */
static inline void break_header(const struct made *made)
{
    put_bytes(made, size_of(made) - 8, "broken", 6);
    put_bytes(made, 60, "broken", 6);
    put_bytes(made, 188, "broken", 6);
}

static inline void done(struct made *made)
{
    close(made->fd);
}

/* ---- looking --------------------------------------------------------------------- */

static const struct lqi_promise nothing;
static const struct lqi_trim untrimmed = {.first_id = 1};

/* Whoever only looks opens nothing to write. */
static inline int open_to_read(const struct lqi_io *io, int dir, const char *name, int flags, uint32_t mode, int *fd_out)
{
    EQUAL(flags, LQI_OPEN_READ);
    return lqi_io_posix.open(io, dir, name, flags, mode, fd_out);
}

static inline struct lqi_found *find(const struct lqi_trim *trim, const struct lqi_promise *promise)
{
    static struct lqi_found found;
    struct lqi_io io = lqi_io_posix;
    io.open = open_to_read;
    the_log.io = &io;
    OK(lqi_find_end(&the_log, trim, promise, &found));
    the_log.io = &lqi_io_posix;
    return &found;
}

static inline struct lqi_found *find_promised(uint64_t position, uint64_t next_id)
{
    return find(&untrimmed, &(struct lqi_promise){position, next_id, 0});
}

/* All that is said of the end, but for the index behind its count. */
static inline void same(const struct lqi_found *found, const struct lqi_found *expected)
{
    EQUAL(found->end, expected->end);
    EQUAL(found->next_id, expected->next_id);
    EQUAL(found->time_us, expected->time_us);
    EQUAL(found->first_time_us, expected->first_time_us);
    EQUAL(found->mark, expected->mark);
    EQUAL(found->any_segment, expected->any_segment);
    EQUAL(found->usable, expected->usable);
    EQUAL(found->given_up, expected->given_up);
    EQUAL(found->good_end, expected->good_end);
    EQUAL(found->good_id, expected->good_id);
    EQUAL(found->torn_bytes, expected->torn_bytes);
    EQUAL(found->damage, expected->damage);
    EQUAL(found->index_count, expected->index_count);
    EQUAL(found->indexed, expected->indexed);
    for (uint32_t i = 0; i < expected->index_count; i++) {
        EQUAL(found->index[i].first_id, expected->index[i].first_id);
        EQUAL(found->index[i].time_us, expected->index[i].time_us);
        EQUAL(found->index[i].position, expected->index[i].position);
    }
    if (expected->any_segment) EQUAL(found->last.first_id, expected->last.first_id);
    if (expected->any_segment) EQUAL(found->last.salt, expected->last.salt);
}

/* The file with zeroes behind its records, as it is allocated. */
static inline void allocate(const struct made *made)
{
    HOLDS(ftruncate(made->fd, (off_t)(size_of(made) + 40001)) == 0);
}

/* Two sealed ones and an open one, of 3 messages each; the first ids are 1, 4, 7. */
static inline void make_three(struct made three[3])
{
    uint64_t position = 0, id = 1;
    for (int i = 0; i < 3; i++) {
        three[i] = make_segment(id, position, 0);
        add_many(&three[i], 3);
        position = three[i].found.end;
        id = three[i].found.next_id;
        if (i < 2) seal(&three[i], id);
    }
}

static inline void drop_three(struct made three[3])
{
    for (int i = 0; i < 3; i++) {
        done(&three[i]);
        HOLDS(unlink(path_of(three[i].head.first_id)) == 0);
    }
    HOLDS(rmdir(log_path) == 0);
}

#endif
