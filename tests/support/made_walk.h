/* A walk over a made log: what it meets and what it lacks, in turn. For programs that look at the walk: included by one file of each. */
#ifndef SUPPORT_MADE_WALK_H
#define SUPPORT_MADE_WALK_H

#include "io_fault.h"
#include "made_log.h"
#include "scan.h"

#define TIME(id) ((int64_t)(1001 + 10 * (id))) /* of a message in the first file, see make_segment(); of those of make_dated() in all */

static struct lqi_scan scan;
static struct io_fault fault;
static int lowest_fd; /* that is free */

static inline int free_fd(void)
{
    int fd = dup(0);
    HOLDS(fd >= 0);
    close(fd);
    return fd;
}

static inline void begin(uint64_t position, uint64_t id)
{
    io_fault_init(&fault, &lqi_io_posix);
    the_log.io = &fault.io;
    lowest_fd = free_fd();
    lqi_scan_init(&scan, &the_log, LQI_SCAN_BLOCK);
    lqi_scan_start(&scan, position, id);
}

/* No file stays open. */
static inline void over(void)
{
    lqi_scan_release(&scan);
    lqi_scan_release(&scan); /* of what is empty is fine */
    EQUAL(free_fd(), lowest_fd);
    the_log.io = &lqi_io_posix;
    io_fault_release(&fault);
}

/* Positions and ids never go back, whatever a file says. */
static inline int step(uint64_t limit)
{
    uint64_t position = scan.position, id = scan.next_id;
    int err = lqi_scan_next(&scan, limit);
    HOLDS(scan.position >= position && scan.next_id >= id);
    return err;
}

/* The same, once more if the machine failed. */
static inline int step_at_last(uint64_t limit)
{
    int err = step(limit);
    return err == LQ_ELIMIT && fault.hits ? step(limit) : err;
}

static inline void meets(uint64_t from, uint64_t to, uint64_t limit)
{
    for (uint64_t id = from; id <= to; id++) {
        EQUAL(step_at_last(limit), LQ_OK);
        EQUAL(scan.record.first_id, id);
    }
}

static inline void ends(uint64_t limit)
{
    EQUAL(step(limit), LQ_EMPTY);
}

static inline void lacks(uint64_t file, uint64_t offset, uint64_t first_id, uint64_t count, uint64_t limit)
{
    char name[LQI_SEGMENT_NAME_SIZE], words[200];
    EQUAL(step_at_last(limit), LQI_HOLE);
    HOLDS(!scan.hole.trimmed);
    EQUAL(scan.hole.first_id, first_id);
    EQUAL(scan.hole.count, count);
    lqi_segment_name(name, file);
    HOLDS(strncmp(scan.hole.file, "log/", 4) == 0);
    assert_string_equal(scan.hole.file + 4, name);
    EQUAL(scan.hole.offset, offset);
    snprintf(words, sizeof words, "%s, byte %llu: ", scan.hole.file, (unsigned long long)offset);
    HOLDS(strncmp(lq_error_text(), words, strlen(words)) == 0 && strstr(lq_error_text(), scan.hole.text));
    snprintf(words, sizeof words, "; %llu messages from id %llu are lost", (unsigned long long)count, (unsigned long long)first_id);
    EQUAL(strstr(lq_error_text(), words) != NULL, count > 0);
}

static inline struct made filled(uint64_t first_id, uint64_t position, int messages)
{
    struct made made = make_segment(first_id, position, 0);
    add_many(&made, messages);
    return made;
}

static inline struct made sealed(uint64_t first_id, uint64_t position, int messages)
{
    struct made made = filled(first_id, position, messages);
    seal(&made, made.found.next_id);
    return made;
}

static inline void drop(struct made *made, int count)
{
    for (int i = 0; i < count; i++) done(&made[i]);
}

#endif
