/* What the files of the real machine share: io_posix.c (bytes of open files, and the table), io_posix_names.c (names: opening, making,
 * renaming) and io_posix_memory.c (locks and maps). What each function must do is told in io.h. */
#ifndef LQI_IO_POSIX_H
#define LQI_IO_POSIX_H

#include <errno.h>
#include <sys/types.h>

#include "io.h"

#define RETRY_EINTR(result, call) \
    do (result) = (call);         \
    while ((result) < 0 && errno == EINTR)

int lqi_posix_random(const struct lqi_io *io, void *data, size_t size);

/* openat, above 2, close-on-exec. Returns the descriptor, or -1 with errno. */
int lqi_open_above_2(int dir, const char *name, int flags, mode_t mode);

void lqi_posix_close(const struct lqi_io *io, int fd);
int lqi_posix_own(const struct lqi_io *io, int fd, int like);
int lqi_posix_open(const struct lqi_io *io, int dir, const char *name, int flags, uint32_t mode, int *fd_out);
int lqi_posix_dir_open(const struct lqi_io *io, int parent, const char *name, int *dir_out);
int lqi_posix_dir_list(const struct lqi_io *io, int dir, lqi_name_callback *each, void *context);
int lqi_posix_dir_make(const struct lqi_io *io, int parent, const char *name, uint32_t mode);
int lqi_posix_dir_sync(const struct lqi_io *io, int dir);
int lqi_posix_dir_shared(const struct lqi_io *io, int dir, bool *shared_out);
int lqi_posix_rename(const struct lqi_io *io, int dir, const char *from, const char *to, bool replace);
int lqi_posix_swap(const struct lqi_io *io, int dir, const char *a, const char *b);
int lqi_posix_unlink(const struct lqi_io *io, int dir, const char *name);

int lqi_posix_lock(const struct lqi_io *io, int fd, uint64_t byte);
int lqi_posix_unlock(const struct lqi_io *io, int fd, uint64_t byte);
int lqi_posix_locked(const struct lqi_io *io, int fd, uint64_t first, uint64_t count, bool *by_others_out);
int lqi_posix_map(const struct lqi_io *io, int fd, uint64_t offset, size_t size, size_t mirrored, bool writable, void **map_out);
void lqi_posix_unmap(const struct lqi_io *io, void *map, size_t size, size_t mirrored);

#endif
