/* All that a power loss now could leave, one after the other:
 *
 *     struct io_subsets subsets;
 *     if (io_subsets_begin(&subsets, machine, 8))
 *         while ((after = io_subsets_next(&subsets))) ... io_crash_free(after);
 *
 * Every subset of the changes that were not synced: names made, removed and renamed, sizes, and units of what was
 * written. The unit is the finest of 64, 512 and 4096 bytes and the whole write with which there are few enough.
 * Pages of mapped files are drawn by chance, as what they hold does not count after another boot. */
#ifndef SUPPORT_IO_SUBSETS_H
#define SUPPORT_IO_SUBSETS_H

#include "io_crash.h"

enum { IO_SUBSETS_MOST = 16 };

struct io_subsets {
    const struct io_crash *machine; /* must not change meanwhile */
    uint32_t unit;
    bool kept[IO_SUBSETS_MOST]; /* the answers to the questions of io_crash_keep, in their order */
    unsigned count, asked, most;    /* answers that are set; questions so far */
    uint64_t random;
    bool over;
};

/* False when there are more than `most` changes, however they are counted. */
bool io_subsets_begin(struct io_subsets *subsets, const struct io_crash *machine, unsigned most);

/* NULL: that was all. */
struct io_crash *io_subsets_next(struct io_subsets *subsets);

#endif
