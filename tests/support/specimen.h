/* A small queue with something of everything, on a simulated machine, to be damaged: three segments, one of them of
 * a single large record; lone messages, batches, keys, packed records; two consumers that have settled some of what
 * they got, out of order. Closed, or left by processes that were killed. Its machine is never touched, only copied. */
#ifndef SUPPORT_SPECIMEN_H
#define SUPPORT_SPECIMEN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "io.h"
#include "io_crash.h"

enum { SPECIMEN_LAST = 24, SPECIMEN_SEGMENTS = 3, SPECIMEN_FILES = 12, SPECIMEN_RECORDS = 64, SPECIMEN_CONSUMERS = 2 };

/* With which it is made, in the directory "q". */
extern const lq_options specimen_options;

struct specimen_file {
    char dir[16], name[64], shown[80]; /* `shown` is the path within the queue */
    uint8_t *bytes;
    size_t size;
};

struct specimen_extent { /* of a record */
    size_t file, offset, end; /* which of the files, and where in it */
    uint64_t first_id, count;
};

struct specimen {
    const char *name;
    struct io_crash *machine;
    struct specimen_file files[SPECIMEN_FILES];
    size_t file_count;
    struct specimen_extent extents[SPECIMEN_RECORDS];
    size_t extent_count;
    bool killed;
};

/* Fills it; `name` and `killed` are set. */
void specimen_make(struct specimen *specimen);

/* A part of a file that has one meaning, and of which a report may name any byte: a record, a copy of a header, an entry. */
struct specimen_part {
    size_t from, to;
};
struct specimen_part specimen_part(const struct specimen *specimen, size_t file, size_t offset);

/* The message with this id, as it was put; one of a later id is "new". */
bool specimen_is_right(const lq_message *message);

const char *specimen_consumer(size_t consumer); /* its name */
bool specimen_is_settled(size_t consumer, uint64_t id);
bool specimen_is_segment(const struct specimen_file *file);

/* ---- files of any machine that has the queue; what should work and does not ends the program ---- */

void specimen_must(bool good, const char *what);
int specimen_dir(const struct lqi_io *io, const char *dir); /* "" the queue itself; -1: there is none. Close it */
/* Malloced; NULL when there is no such file. */
uint8_t *specimen_read(const struct lqi_io *io, const char *dir, const char *name, size_t *size);
/* Whole, in place if it is there; NULL removes it. */
void specimen_write(const struct lqi_io *io, const char *dir, const char *name, const uint8_t *bytes, size_t size);
void specimen_write_byte(const struct lqi_io *io, const struct specimen_file *file, uint64_t offset, uint8_t byte);

#endif
