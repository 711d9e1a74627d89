/* The seam to the machine. Everything above calls files through this table, so
 * that a test can fail, forget, shorten or reorder any call. io_posix.c has the
 * real one; nothing else in the library asks the kernel for a file.
 *
 * Table functions return 0 or a positive errno. They retry EINTR, and short reads and
 * writes themselves: `read` stops short only at the end of the file, `write` has written
 * all or failed (then any part may be there). No call ever raises a signal: a write past
 * RLIMIT_FSIZE is EFBIG. What is made has exactly the mode given: no umask takes from it; and it has the owner and the group of
 * the held directory that it is made in, as far as we may give it away: or who works in somebody's queue would lock him out. Who is killed while he makes it leaves it
 * like that, or not at all (and maybe a stray NAME.<16 hex digits>.new). Names are relative to a held
 * directory, symbolic links in the last component are not followed, and only regular files with one link are opened.
 *
 * The lqi_file_* functions below are what the layers use: they know the name of the file
 * and turn an errno into a code and a text. */
#ifndef LQI_IO_H
#define LQI_IO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "error.h"

struct lqi_io_stat {
    uint64_t size;
    uint64_t inode;
    uint32_t links;
    uint32_t mode; /* its permission bits */
};

enum lqi_open_flags {
    LQI_OPEN_READ = 0,
    LQI_OPEN_WRITE = 1, /* read and write */
    LQI_OPEN_NEW = 2,   /* must not exist yet; implies WRITE */
    LQI_OPEN_IN_PLACE = 4 /* with NEW: will be written in place through a map; no copy-on-write, please */
};

typedef int lqi_name_callback(void *context, const char *name); /* neither "." nor ".."; not 0 ends the listing, which is no error */

struct lqi_io {
    void *context;

    int (*dir_open)(const struct lqi_io *io, int parent, const char *name, int *dir_out); /* parent -1: `name` is any path. ENOTDIR: a link, too */
    int (*dir_make)(const struct lqi_io *io, int parent, const char *name, uint32_t mode);
    int (*dir_list)(const struct lqi_io *io, int dir, lqi_name_callback *each, void *context);
    int (*dir_sync)(const struct lqi_io *io, int dir);
    int (*dir_shared)(const struct lqi_io *io, int dir, bool *shared_out); /* false: a network file system */

    int (*open)(const struct lqi_io *io, int dir, const char *name, int flags, uint32_t mode, int *fd_out);
    void (*close)(const struct lqi_io *io, int fd); /* of files and directories; -1 is fine */
    int (*read)(const struct lqi_io *io, int fd, uint64_t offset, void *data, size_t size, size_t *got_out);
    int (*write)(const struct lqi_io *io, int fd, uint64_t offset, const void *data, size_t size);
    int (*sync)(const struct lqi_io *io, int fd);               /* data, and the size it needs */
    /* The disk may begin with these bytes: nobody waits, and nothing is promised. Saves the next `sync` time, which hears of errors. */
    void (*sync_ahead)(const struct lqi_io *io, int fd, uint64_t offset, uint64_t size);
    int (*truncate)(const struct lqi_io *io, int fd, uint64_t size);
    int (*allocate)(const struct lqi_io *io, int fd, uint64_t size); /* grows the file to `size`, all of it backed by disk;
                                                                      * EOPNOTSUPP: grown, but nothing is reserved */
    int (*stat)(const struct lqi_io *io, int fd, struct lqi_io_stat *stat_out); /* of directories, too */
    int (*own)(const struct lqi_io *io, int fd, int like); /* `fd` gets the permission bits of the file `like`, and, as far as we may
                                                            * give it away, its owner and group */
    /* These two take paths as well, from `dir` on: a name may so go into another directory, as one change. */
    int (*rename)(const struct lqi_io *io, int dir, const char *from, const char *to, bool replace); /* EEXIST */
    int (*swap)(const struct lqi_io *io, int dir, const char *a, const char *b); /* each is the other from now on; EOPNOTSUPP */
    int (*unlink)(const struct lqi_io *io, int dir, const char *name);

    /* Locks of one byte, owned by the open file and thus gone with its last
     * descriptor: alive means locked. `lock` EAGAIN: somebody else has it. */
    int (*lock)(const struct lqi_io *io, int fd, uint64_t byte);
    int (*unlock)(const struct lqi_io *io, int fd, uint64_t byte);
    int (*locked)(const struct lqi_io *io, int fd, uint64_t first, uint64_t count, bool *by_others_out);

    /* A shared mapping; `mirrored` lays the last `mirrored` bytes of it a second time behind
     * the first, so that a ring in them has no seam. Populated, if writable. `unmap` takes
     * the same numbers. */
    int (*map)(const struct lqi_io *io, int fd, uint64_t offset, size_t size, size_t mirrored, bool writable, void **map_out);
    void (*unmap)(const struct lqi_io *io, void *map, size_t size, size_t mirrored);

    int (*boot_id)(const struct lqi_io *io, uint8_t id[16]); /* of this boot of the kernel */
    int (*random)(const struct lqi_io *io, void *data, size_t size);
    int64_t (*wall_us)(const struct lqi_io *io);             /* since 1970, may jump */
};

extern const struct lqi_io lqi_io_posix;

/* An open file that knows its name (relative to the queue) for error texts. */
struct lqi_file {
    const struct lqi_io *io;
    int fd; /* -1: none; every release accepts it */
    char name[128];
};

#define LQI_FILE_NONE {NULL, -1, ""}

/* Does it stand for a moment only, while it or its like is made? Its name is something with ".new" behind it. */
bool lqi_is_unfinished(const char *name);

/* `shown` is the name in texts, `name` the one in `dir`. */
int lqi_file_open(struct lqi_file *file, const struct lqi_io *io, int dir, const char *name, const char *shown,
                  int flags, uint32_t mode);
void lqi_file_close(struct lqi_file *file);
int lqi_file_read(const struct lqi_file *file, uint64_t offset, void *data, size_t size, size_t *got_out);
int lqi_file_write(const struct lqi_file *file, uint64_t offset, const void *data, size_t size);
int lqi_file_sync(const struct lqi_file *file);
void lqi_file_sync_ahead(const struct lqi_file *file, uint64_t offset, uint64_t size);
/* The first `size` bytes of one, or as many as there are, to the same places of the other; which may be itself: all its pages are dirty then. */
int lqi_file_copy(const struct lqi_file *from, const struct lqi_file *to, uint64_t size);
int lqi_file_truncate(const struct lqi_file *file, uint64_t size);
int lqi_file_allocate(const struct lqi_file *file, uint64_t size); /* where nothing can be reserved, grows it */
int lqi_file_back(const struct lqi_file *file, uint64_t from, uint64_t size); /* ... writes zeroes from `from` on: for maps */
int lqi_file_own(const struct lqi_file *file, const struct lqi_file *like);
int lqi_file_size(const struct lqi_file *file, uint64_t *size_out);

#endif
