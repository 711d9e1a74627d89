/* Between the files of io_crash: what a machine is made of.
 *
 *   io_crash.c          makes and frees machines; its table of calls
 *   io_crash_files.c    the calls about what is in files: read, write, sync, locks, maps
 *   io_crash_names.c    the calls about directories and names
 *   io_crash_outage.c   the ways out: processes die, power fails; the hash
 *   io_crash_disk.c     inodes, the changes to them, names
 *   io_crash_pages.[hc]   contents of files
 *   io_crash_memory.[hc]  files that are mapped
 *
 * An inode has its contents twice, as programs see them now and as they were when it was last synced, and the
 * list of changes in between. A directory has its entries twice and the list likewise. Contents are pages that
 * machines share until one of them writes, changes are never altered: so making a machine from another one
 * costs little more than copying pointers.
 *
 * Stores into a mapped file are not seen: what may survive of it is found by comparing pages. As long as a hook runs there
 * are none, and it may ask for many machines: from the second one on they share pages that were made of the memory. */
#ifndef SUPPORT_IO_CRASH_MACHINE_H
#define SUPPORT_IO_CRASH_MACHINE_H

#include <pthread.h>

#include "io_crash.h"
#include "io_crash_memory.h"
#include "io_crash_pages.h"

enum { NAME = 160, FIRST_FD = 3 };

enum change_kind { WRITE, CUT, GROW, LINK, UNLINK, RENAME };

/* Never altered; shared by machines. */
struct change {
    unsigned refs;
    enum change_kind kind;
    uint64_t moment;
    uint64_t offset, size; /* bytes written; CUT: made zeros */
    uint64_t size_after;   /* of the file */
    bool sizes;            /* the size was another before */
    uint32_t inode;        /* that a name leads to */
    bool paired;           /* one of two, in two directories, that happened at once or not at all */
    char from[NAME], to[NAME];
    uint8_t bytes[];
};

struct changes {
    struct change **all;
    size_t count, room;
};

struct entry {
    char name[NAME];
    uint32_t inode;
};

struct names {
    unsigned refs;
    size_t count, room;
    struct entry all[];
};

/* A copy is the same list, until one of the two is changed. */
struct entries {
    struct names *names; /* NULL: none */
};

struct inode {
    bool directory;
    uint32_t links, opens;
    uint32_t parent;         /* of a directory */
    struct changes changes;  /* since the last sync; of a mapped file: not kept */
    struct content now, durable;
    bool by_pages;           /* it is mapped, or was: compare instead */
    bool forgotten;          /* `durable` lacks what a failed sync has forgotten, and does not get it by another */
    struct memory *memory;   /* where its bytes are, instead of in `now`; the size is there */
    struct content seen;     /* what was in memory when a hook that still runs first asked */
    bool is_seen;
    struct entries names, durable_names;
};

struct open_file {
    bool used, writable;
    uint32_t inode;
};

struct lock {
    uint32_t inode;
    int owner;
    uint64_t byte;
};

struct io_crash {
    struct lqi_io io;
    struct inode **inodes; /* by number; [0] is the root; NULL: gone */
    uint32_t inode_count;
    struct open_file *opens;
    int open_count;
    struct lock *locks;
    size_t lock_count;
    io_crash_hook *hook;
    void *hook_context;
    bool watched;  /* the hook runs: until it has returned, nothing stores into what is mapped */
    bool any_seen; /* some inode is_seen */
    uint32_t outages; /* that the hook has asked for */
    uint64_t moment, calls, random, boot;
    int64_t clock_us;
};

/* One for all machines: they share pages. Never held while a hook runs. */
extern pthread_mutex_t io_crash_all;

uint64_t io_crash_mix(uint64_t *state); /* the next random number */

/* ---- the disk ---------------------------------------------------------- */

void changes_drop(struct changes *changes);
struct changes changes_copy(const struct changes *from);
struct change *change_add(struct io_crash *machine, struct inode *inode, enum change_kind kind, size_t bytes);

static inline size_t entries_count(const struct entries *entries)
{
    return entries->names ? entries->names->count : 0;
}

const struct entry *entry_find(const struct entries *entries, const char *name);
struct entries entries_copy(const struct entries *from);
void entries_drop(struct entries *entries);
void entries_apply(struct entries *entries, const struct change *change);

uint32_t inode_make(struct io_crash *machine, bool directory); /* its number */
void inode_free(struct inode *inode);

/* What programs see, as pages. `machine` is the inode's own. inode_seen: the same, if hooks can share it; else NULL. */
struct content inode_content(const struct io_crash *machine, struct inode *inode);
const struct content *inode_seen(const struct io_crash *machine, struct inode *inode);
void inode_forget_seen(struct inode *inode);

/* ---- calls ------------------------------------------------------------- */

/* Each call begins and ends with these: locked in between. */
struct io_crash *machine_enter(const struct lqi_io *io);
int machine_leave(struct io_crash *machine, enum io_kind kind, int error, bool changed);

/* NULL: no such descriptor. */
struct inode *inode_of(struct io_crash *machine, int fd);

void io_crash_set_name_calls(struct lqi_io *io);
void io_crash_set_file_calls(struct lqi_io *io);

/* ---- machines ---------------------------------------------------------- */

/* With the clock and so on of the other one, and room for its inodes. */
struct io_crash *machine_after(const struct io_crash *old);
void machine_free(struct io_crash *machine);

#endif
