/* Of io_crash: the calls about open files: what is in them, their locks and maps. */
#include <assert.h>
#include <errno.h>
#include <string.h>

#include "io_crash_machine.h"

/* ---- open files -------------------------------------------------------- */

static struct inode *file_of(struct io_crash *machine, int fd, bool to_write)
{
    struct inode *inode = inode_of(machine, fd);
    if (inode == NULL || inode->directory) return NULL;
    return to_write && !machine->opens[fd - FIRST_FD].writable ? NULL : inode;
}

static void crash_close(const struct lqi_io *io, int fd)
{
    if (fd < 0) return;
    pthread_mutex_lock(&io_crash_all);
    struct io_crash *machine = ((struct io_crash *)io->context);
    struct inode *inode = inode_of(machine, fd);
    assert(inode != NULL);
    inode->opens--;
    machine->opens[fd - FIRST_FD].used = false;
    for (size_t i = machine->lock_count; i-- > 0;)
        if (machine->locks[i].owner == fd) machine->locks[i] = machine->locks[--machine->lock_count];
    pthread_mutex_unlock(&io_crash_all);
}

static int crash_stat(const struct lqi_io *io, int fd, struct lqi_io_stat *stat_out)
{
    struct io_crash *machine = machine_enter(io);
    struct inode *inode = inode_of(machine, fd);
    if (inode)
        *stat_out = (struct lqi_io_stat){.size = inode->now.size, .inode = machine->opens[fd - FIRST_FD].inode + 1000u,
                                          .links = inode->links, .mode = inode->directory ? 0700 : 0600};
    return machine_leave(machine, IO_STAT, inode ? 0 : EBADF, false);
}

/* Everything belongs to the only user that there is. */
static int crash_own(const struct lqi_io *io, int fd, int like)
{
    struct io_crash *machine = machine_enter(io);
    bool both = file_of(machine, fd, false) && inode_of(machine, like);
    return machine_leave(machine, IO_OWN, both ? 0 : EBADF, false);
}

/* ---- contents ---------------------------------------------------------- */

static int crash_read(const struct lqi_io *io, int fd, uint64_t offset, void *data, size_t size, size_t *got_out)
{
    struct io_crash *machine = machine_enter(io);
    struct inode *inode = file_of(machine, fd, false);
    int error = inode ? 0 : EBADF;
    if (!error) {
        uint64_t there = offset < inode->now.size ? inode->now.size - offset : 0;
        if (size > there) size = (size_t)there;
        if (inode->memory)
            memcpy(data, inode->memory->base + (size ? offset : 0), size);
        else
            content_get(&inode->now, offset, data, size);
        *got_out = size;
    }
    return machine_leave(machine, IO_READ, error, false);
}

static void set_size(struct inode *inode, uint64_t size)
{
    if (inode->memory) {
        if (size < inode->now.size) memset(inode->memory->base + size, 0, (size_t)(inode->now.size - size));
        if (size > inode->memory->high) inode->memory->high = (size_t)size;
        inode->now.size = size;
    } else {
        content_resize(&inode->now, size);
    }
}

static int size_limit(const struct inode *inode, uint64_t size)
{
    return size > (inode->memory ? MEMORY_SIZE : (uint64_t)1 << 40) ? EFBIG : 0;
}

static int crash_write(const struct lqi_io *io, int fd, uint64_t offset, const void *data, size_t size)
{
    struct io_crash *machine = machine_enter(io);
    struct inode *inode = file_of(machine, fd, size > 0);
    int error = !inode ? EBADF : size > UINT64_MAX - offset ? EFBIG : size_limit(inode, offset + size);
    if (!error && size > 0) {
        bool grows = offset + size > inode->now.size;
        if (!inode->by_pages) {
            struct change *change = change_add(machine, inode, WRITE, size);
            change->offset = offset;
            change->size = size;
            memcpy(change->bytes, data, size);
            change->sizes = grows;
            change->size_after = grows ? offset + size : inode->now.size;
        }
        if (grows) set_size(inode, offset + size);
        if (inode->memory)
            memcpy(inode->memory->base + offset, data, size);
        else
            content_put(&inode->now, offset, data, size);
    }
    return machine_leave(machine, IO_WRITE, error, size > 0);
}

/* Only what was changed since the failure. */
static void sync_changes(struct inode *inode)
{
    for (size_t i = 0; i < inode->changes.count; i++) {
        const struct change *change = inode->changes.all[i];
        content_put(&inode->durable, change->offset, change->kind == WRITE ? change->bytes : NULL, change->size);
    }
    content_resize(&inode->durable, inode->now.size);
}

void io_crash_forget(struct io_crash *machine, int fd)
{
    pthread_mutex_lock(&io_crash_all);
    struct inode *inode = file_of(machine, fd, false);
    if (inode && !inode->by_pages) {
        changes_drop(&inode->changes);
        inode->forgotten = true;
    }
    pthread_mutex_unlock(&io_crash_all);
}

static int crash_sync(const struct lqi_io *io, int fd)
{
    struct io_crash *machine = machine_enter(io);
    struct inode *inode = inode_of(machine, fd);
    int error = inode == NULL || inode->directory ? EBADF : 0;
    bool changed = false;
    if (!error) {
        changed = inode->by_pages || inode->changes.count > 0;
        if (inode->forgotten) {
            sync_changes(inode);
        } else {
            content_drop(&inode->durable);
            inode->durable = inode_content(machine, inode);
        }
        changes_drop(&inode->changes);
    }
    return machine_leave(machine, IO_SYNC, error, changed);
}

static int change_size(struct io_crash *machine, int fd, uint64_t size, bool may_shrink, bool *changed_out)
{
    struct inode *inode = file_of(machine, fd, may_shrink || size > 0);
    int error = inode ? size_limit(inode, size) : EBADF;
    if (error || size == inode->now.size || (size < inode->now.size && !may_shrink)) return error;
    if (!inode->by_pages) {
        struct change *change = change_add(machine, inode, size < inode->now.size ? CUT : GROW, 0);
        change->sizes = true;
        change->size_after = size;
        change->offset = size;
        change->size = size < inode->now.size ? inode->now.size - size : 0;
    }
    set_size(inode, size);
    *changed_out = true;
    return 0;
}

static int crash_truncate(const struct lqi_io *io, int fd, uint64_t size)
{
    struct io_crash *machine = machine_enter(io);
    bool changed = false;
    int error = change_size(machine, fd, size, true, &changed);
    if (error == EBADF && file_of(machine, fd, false)) error = EINVAL; /* opened to read only */
    return machine_leave(machine, IO_TRUNCATE, error, changed);
}

static int crash_allocate(const struct lqi_io *io, int fd, uint64_t size)
{
    struct io_crash *machine = machine_enter(io);
    bool changed = false;
    int error = change_size(machine, fd, size, false, &changed);
    return machine_leave(machine, IO_ALLOCATE, error, changed);
}

/* ---- locks ------------------------------------------------------------- */

static int crash_lock(const struct lqi_io *io, int fd, uint64_t byte)
{
    struct io_crash *machine = machine_enter(io);
    struct inode *inode = file_of(machine, fd, true);
    int error = inode ? 0 : EBADF;
    bool have = false;
    for (size_t i = 0; !error && i < machine->lock_count; i++) {
        struct lock *lock = &machine->locks[i];
        if (lock->inode != machine->opens[fd - FIRST_FD].inode || lock->byte != byte) continue;
        if (lock->owner == fd) have = true;
        else error = EAGAIN;
    }
    if (!error && !have) {
        machine->locks = must(realloc(machine->locks, (machine->lock_count + 1) * sizeof *machine->locks));
        machine->locks[machine->lock_count++] = (struct lock){machine->opens[fd - FIRST_FD].inode, fd, byte};
    }
    return machine_leave(machine, IO_LOCK, error, false);
}

static int crash_unlock(const struct lqi_io *io, int fd, uint64_t byte)
{
    struct io_crash *machine = machine_enter(io);
    int error = file_of(machine, fd, false) ? 0 : EBADF;
    for (size_t i = machine->lock_count; !error && i-- > 0;)
        if (machine->locks[i].owner == fd && machine->locks[i].byte == byte)
            machine->locks[i] = machine->locks[--machine->lock_count];
    return machine_leave(machine, IO_UNLOCK, error, false);
}

static int crash_locked(const struct lqi_io *io, int fd, uint64_t first, uint64_t count, bool *by_others_out)
{
    struct io_crash *machine = machine_enter(io);
    int error = file_of(machine, fd, false) ? 0 : EBADF;
    bool by_others = false;
    for (size_t i = 0; !error && i < machine->lock_count; i++) {
        const struct lock *lock = &machine->locks[i];
        if (lock->inode == machine->opens[fd - FIRST_FD].inode && lock->owner != fd && lock->byte >= first &&
            lock->byte - first < count)
            by_others = true;
    }
    if (!error) *by_others_out = by_others;
    return machine_leave(machine, IO_LOCKED, error, false);
}

/* ---- maps -------------------------------------------------------------- */

static int crash_map(const struct lqi_io *io, int fd, uint64_t offset, size_t size, size_t mirrored, bool writable,
                     void **map_out)
{
    struct io_crash *machine = machine_enter(io);
    struct inode *inode = file_of(machine, fd, false);
    int error = 0;
    if (inode == NULL) error = EBADF;
    else if (writable && !machine->opens[fd - FIRST_FD].writable) error = EACCES;
    else if (size == 0 || mirrored > size || offset % PAGE || (mirrored && (size % PAGE || mirrored % PAGE)) ||
             inode->now.size < offset || inode->now.size - offset < size)
        error = EINVAL;
    else if (inode->now.size > MEMORY_SIZE) error = ENOMEM;

    if (!error && inode->memory == NULL) {
        inode->memory = memory_take();
        inode->memory->high = (size_t)inode->now.size;
        for (size_t i = 0; i < content_count(&inode->now); i++)
            if (inode->now.pages->all[i]) memcpy(inode->memory->base + i * PAGE, inode->now.pages->all[i]->bytes, PAGE);
        uint64_t whole = inode->now.size;
        content_drop(&inode->now);
        inode->now.size = whole;
        changes_drop(&inode->changes);
        inode->by_pages = true;
    }
    if (!error) {
        struct layout wanted = {.offset = offset, .size = size, .mirrored = mirrored, .writable = writable};
        error = memory_map(inode->memory, &wanted, map_out);
    }
    return machine_leave(machine, IO_MAP, error, false);
}

static void crash_unmap(const struct lqi_io *io, void *map, size_t size, size_t mirrored)
{
    if (map == NULL) return;
    pthread_mutex_lock(&io_crash_all);
    struct io_crash *machine = ((struct io_crash *)io->context);
    bool found = false;
    for (uint32_t i = 0; i < machine->inode_count && !found; i++) {
        struct memory *memory = machine->inodes[i] ? machine->inodes[i]->memory : NULL;
        for (size_t j = 0; memory && j < memory->layout_count; j++) {
            struct layout *layout = &memory->layouts[j];
            if (layout->map != map || !layout->used) continue;
            assert(layout->size == size && layout->mirrored == mirrored);
            layout->used = false;
            found = true;
        }
    }
    assert(found);
    pthread_mutex_unlock(&io_crash_all);
}

/* A crash finds any part of what was not synced on the disk as it is. */
static void crash_sync_ahead(const struct lqi_io *io, int fd, uint64_t offset, uint64_t size)
{
    (void)io, (void)fd, (void)offset, (void)size;
}

void io_crash_set_file_calls(struct lqi_io *io)
{
    io->close = crash_close;
    io->stat = crash_stat;
    io->own = crash_own;
    io->read = crash_read;
    io->write = crash_write;
    io->sync = crash_sync;
    io->sync_ahead = crash_sync_ahead;
    io->truncate = crash_truncate;
    io->allocate = crash_allocate;
    io->lock = crash_lock;
    io->unlock = crash_unlock;
    io->locked = crash_locked;
    io->map = crash_map;
    io->unmap = crash_unmap;
}
