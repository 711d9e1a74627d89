/* What may happen to one file of a specimen, and what it may cost. */
#ifndef SUPPORT_SPECIMEN_DAMAGE_H
#define SUPPORT_SPECIMEN_DAMAGE_H

#include "specimen.h"

enum damage_kind {
    DAMAGE_FLIP,    /* of the bit `at` */
    DAMAGE_CUT,     /* to the length `at` */
    DAMAGE_ZERO,    /* this and the next: `size` bytes at `at` */
    DAMAGE_RANDOM,
    DAMAGE_SWAP,    /* with the block of the same size behind it */
    DAMAGE_DOUBLE,  /* over the block behind it */
    DAMAGE_REMOVE,
    DAMAGE_FOREIGN, /* another file, of name number `at`, put beside it: a line of text, or with `size` a copy of it */
    DAMAGE_KINDS
};
enum { DAMAGE_FOREIGNERS = 5 };

extern const char *const damage_kind_names[DAMAGE_KINDS];

struct id_set {
    bool has[SPECIMEN_LAST + 2];
};
bool id_set_covers(const struct id_set *set, const struct id_set *part);
struct id_set id_set_all_but(const struct id_set *missing);

struct damage {
    const struct specimen *specimen;
    enum damage_kind kind;
    size_t file;
    uint64_t at, size;
};

/* The damage, and the file as it is then. */
struct damaged {
    struct damage damage;
    const struct specimen_file *file;
    uint8_t *bytes;          /* NULL: gone, or not touched, as with a foreign file */
    size_t size;
    struct id_set hit;       /* the messages that may be lost: of the records that were hit; without a header, of the whole file */
    char foreign[40];        /* the path of a foreign file */
};

/* False: it would change nothing, and there is nothing to free. */
bool damage_plan(struct damaged *damaged, const struct damage *damage);
void damage_free(struct damaged *damaged);

void damage_do(const struct damaged *damaged, const struct lqi_io *io);
/* Only those bytes are put back: others may have been written since, as they should. */
void damage_undo(const struct damaged *damaged, const struct lqi_io *io);

bool damage_is_in_shared(const struct damaged *damaged);
/* Some byte of [from, to) has changed. */
bool damage_changed(const struct damaged *damaged, size_t from, size_t to);
/* The byte lies within a part (see specimen_part()) of which something has changed, or the file begins or ends there, where it
 * did not. */
bool damage_is_at(const struct damaged *damaged, uint64_t offset);
/* Where the last record of all begins; SIZE_MAX in another file than that. */
size_t damage_end_at(const struct damaged *damaged);
/* All that has changed is within the last record, or behind it. */
bool damage_is_at_end(const struct damaged *damaged);
bool damage_reaches_end(const struct damaged *damaged); /* something within it has changed */
bool damage_is_behind_records(const struct damaged *damaged);
/* Nothing was changed but parts, from `from` on, that are nothing but zeroes now, or, from `needless` on, that have been:
 * as if they had never been written. */
bool damage_is_of_unwritten(const struct damaged *damaged, size_t from, size_t needless);

#endif
