/* Of io_crash: the calls about directories and the names in them. */
#include <errno.h>
#include <string.h>

#include "io_crash_machine.h"

/* ---- names ------------------------------------------------------------- */

/* The directory that the path's last component is in, and that component: "." for the directory itself. */
static int walk(struct io_crash *machine, int parent, const char *path, uint32_t *dir_out, char last[NAME])
{
    uint32_t at = 0;
    if (parent >= 0) {
        struct inode *inode = inode_of(machine, parent);
        if (inode == NULL) return EBADF;
        if (!inode->directory) return ENOTDIR;
        at = machine->opens[parent - FIRST_FD].inode;
    }
    strcpy(last, ".");
    while (*path) {
        size_t length = strcspn(path, "/");
        if (length >= NAME) return ENAMETOOLONG;
        if (length > 0) {
            /* What was last so far is a directory to go through. */
            if (strcmp(last, "..") == 0) {
                at = machine->inodes[at]->parent;
            } else if (strcmp(last, ".") != 0) {
                const struct entry *entry = entry_find(&machine->inodes[at]->names, last);
                if (entry == NULL) return ENOENT;
                if (!machine->inodes[entry->inode]->directory) return ENOTDIR;
                at = entry->inode;
            }
            memcpy(last, path, length);
            last[length] = 0;
        }
        path += length;
        while (*path == '/') path++;
    }
    if (strcmp(last, "..") == 0) {
        at = machine->inodes[at]->parent;
        strcpy(last, ".");
    }
    *dir_out = at;
    return 0;
}

static void name_change(struct io_crash *machine, uint32_t dir, enum change_kind kind, const char *from, const char *to,
                        uint32_t inode)
{
    struct change *change = change_add(machine, machine->inodes[dir], kind, 0);
    memcpy(change->from, from, strlen(from));
    memcpy(change->to, to, strlen(to));
    change->inode = inode;
    entries_apply(&machine->inodes[dir]->names, change);
}

/* The same in two directories at once. */
static void name_change_in_both(struct io_crash *machine, uint32_t dir, enum change_kind kind, const char *name, uint32_t inode,
                                uint32_t other, const char *other_name, uint32_t other_inode)
{
    name_change(machine, dir, kind, name, "", inode);
    name_change(machine, other, LINK, other_name, "", other_inode);
    const uint32_t dirs[] = {dir, other};
    for (int i = 0; i < 2; i++) {
        struct changes *changes = &machine->inodes[dirs[i]]->changes;
        changes->all[changes->count - 1]->paired = true;
    }
}

/* Syncing one directory makes durable what happened in the other at the same moment: a journal has both or none. */
static void sync_other_half(struct io_crash *machine, const struct inode *synced, const struct change *half)
{
    for (uint32_t number = 0; number < machine->inode_count; number++) {
        struct inode *inode = machine->inodes[number];
        if (inode == NULL || inode == synced || !inode->directory) continue;
        for (size_t i = 0; i < inode->changes.count; i++) {
            struct change *change = inode->changes.all[i];
            if (!change->paired || change->moment != half->moment) continue;
            entries_apply(&inode->durable_names, change);
            memmove(&inode->changes.all[i], &inode->changes.all[i + 1], (--inode->changes.count - i) * sizeof change);
            if (--change->refs == 0) free(change);
            return;
        }
    }
}

static int open_add(struct io_crash *machine, uint32_t inode, bool writable)
{
    int index = 0;
    while (index < machine->open_count && machine->opens[index].used) index++;
    if (index == machine->open_count) {
        machine->open_count++;
        machine->opens = must(realloc(machine->opens, (size_t)machine->open_count * sizeof *machine->opens));
    }
    machine->opens[index] = (struct open_file){true, writable, inode};
    machine->inodes[inode]->opens++;
    return index + FIRST_FD;
}

/* ---- directories ------------------------------------------------------- */

static int crash_dir_open(const struct lqi_io *io, int parent, const char *name, int *dir_out)
{
    struct io_crash *machine = machine_enter(io);
    char last[NAME];
    uint32_t dir = 0;
    int error = walk(machine, parent, name, &dir, last);
    if (!error && strcmp(last, ".") != 0) {
        const struct entry *entry = entry_find(&machine->inodes[dir]->names, last);
        if (entry == NULL) error = ENOENT;
        else if (!machine->inodes[entry->inode]->directory) error = ENOTDIR;
        else dir = entry->inode;
    }
    if (!error) *dir_out = open_add(machine, dir, false);
    return machine_leave(machine, IO_DIR_OPEN, error, false);
}

static int crash_dir_make(const struct lqi_io *io, int parent, const char *name, uint32_t mode)
{
    struct io_crash *machine = machine_enter(io);
    char last[NAME];
    uint32_t dir = 0;
    (void)mode;
    int error = walk(machine, parent, name, &dir, last);
    if (!error && (strcmp(last, ".") == 0 || entry_find(&machine->inodes[dir]->names, last))) error = EEXIST;
    if (!error) {
        uint32_t number = inode_make(machine, true);
        machine->inodes[number]->parent = dir;
        name_change(machine, dir, LINK, last, "", number);
    }
    return machine_leave(machine, IO_DIR_MAKE, error, true);
}

static int crash_dir_list(const struct lqi_io *io, int dir, lqi_name_callback *each, void *context)
{
    struct io_crash *machine = machine_enter(io);
    struct inode *inode = inode_of(machine, dir);
    int error = inode == NULL ? EBADF : inode->directory ? 0 : ENOTDIR;
    struct entries entries = {0};
    if (!error) entries = entries_copy(&inode->names);
    pthread_mutex_unlock(&io_crash_all);

    for (size_t i = 0; i < entries_count(&entries); i++)
        if (each(context, entries.names->all[i].name) != 0) break;
    pthread_mutex_lock(&io_crash_all);
    entries_drop(&entries);
    return machine_leave(machine, IO_DIR_LIST, error, false);
}

static int crash_dir_sync(const struct lqi_io *io, int dir)
{
    struct io_crash *machine = machine_enter(io);
    struct inode *inode = inode_of(machine, dir);
    int error = inode == NULL ? EBADF : inode->directory ? 0 : ENOTDIR;
    bool changed = false;
    if (!error) {
        changed = inode->changes.count > 0;
        for (size_t i = 0; i < inode->changes.count; i++)
            if (inode->changes.all[i]->paired) sync_other_half(machine, inode, inode->changes.all[i]);
        changes_drop(&inode->changes);
        entries_drop(&inode->durable_names);
        inode->durable_names = entries_copy(&inode->names);
    }
    return machine_leave(machine, IO_DIR_SYNC, error, changed);
}

static int crash_dir_shared(const struct lqi_io *io, int dir, bool *shared_out)
{
    struct io_crash *machine = machine_enter(io);
    int error = inode_of(machine, dir) ? 0 : EBADF;
    if (!error) *shared_out = true;
    return machine_leave(machine, IO_DIR_SHARED, error, false);
}

/* ---- files by their names ---------------------------------------------- */

static int crash_open(const struct lqi_io *io, int parent, const char *name, int flags, uint32_t mode, int *fd_out)
{
    struct io_crash *machine = machine_enter(io);
    char last[NAME];
    uint32_t dir = 0;
    const struct entry *entry = NULL;
    bool new = flags & LQI_OPEN_NEW;
    (void)mode;

    int error = walk(machine, parent, name, &dir, last);
    if (!error) {
        entry = entry_find(&machine->inodes[dir]->names, last);
        if (strcmp(last, ".") == 0) error = new ? EEXIST : EISDIR;
        else if (new && entry) error = EEXIST;
        else if (!new && !entry) error = ENOENT;
        else if (!new && machine->inodes[entry->inode]->directory) error = EISDIR;
    }
    if (!error) {
        uint32_t number;
        if (new) {
            number = inode_make(machine, false);
            name_change(machine, dir, LINK, last, "", number);
        } else {
            number = entry->inode;
        }
        *fd_out = open_add(machine, number, flags & (LQI_OPEN_WRITE | LQI_OPEN_NEW));
    }
    return machine_leave(machine, IO_OPEN, error, new);
}

static int crash_rename(const struct lqi_io *io, int parent, const char *from, const char *to, bool replace)
{
    struct io_crash *machine = machine_enter(io);
    char old[NAME], new[NAME];
    uint32_t dir = 0, other = 0;
    int error = walk(machine, parent, from, &dir, old);
    if (!error) error = walk(machine, parent, to, &other, new);
    if (!error) {
        const struct entry *entry = entry_find(&machine->inodes[dir]->names, old);
        const struct entry *there = entry_find(&machine->inodes[other]->names, new);
        if (entry == NULL) error = ENOENT;
        else if (machine->inodes[entry->inode]->directory) error = EINVAL;
        else if (there && !replace) error = EEXIST;
        else if (there && machine->inodes[there->inode]->directory) error = EISDIR;
        else if (there != entry) {
            if (there) machine->inodes[there->inode]->links = 0;
            if (dir == other) name_change(machine, dir, RENAME, old, new, entry->inode);
            else name_change_in_both(machine, dir, UNLINK, old, entry->inode, other, new, entry->inode);
        }
    }
    return machine_leave(machine, IO_RENAME, error, true);
}

static int crash_swap(const struct lqi_io *io, int parent, const char *a, const char *b)
{
    struct io_crash *machine = machine_enter(io);
    char names[2][NAME];
    uint32_t dirs[2] = {0, 0}, inodes[2] = {0, 0};
    int error = walk(machine, parent, a, &dirs[0], names[0]);
    if (!error) error = walk(machine, parent, b, &dirs[1], names[1]);
    for (int i = 0; i < 2 && !error; i++) {
        const struct entry *entry = entry_find(&machine->inodes[dirs[i]]->names, names[i]);
        if (entry) inodes[i] = entry->inode;
        if (entry == NULL) error = ENOENT;
        else if (machine->inodes[entry->inode]->directory || dirs[0] == dirs[1]) error = EINVAL; /* nobody asks for that */
    }
    if (!error) name_change_in_both(machine, dirs[0], LINK, names[0], inodes[1], dirs[1], names[1], inodes[0]);
    return machine_leave(machine, IO_SWAP, error, true);
}

static int crash_unlink(const struct lqi_io *io, int parent, const char *name)
{
    struct io_crash *machine = machine_enter(io);
    char last[NAME];
    uint32_t dir = 0;
    int error = walk(machine, parent, name, &dir, last);
    if (!error) {
        const struct entry *entry = entry_find(&machine->inodes[dir]->names, last);
        if (entry == NULL) error = ENOENT;
        else if (machine->inodes[entry->inode]->directory) error = EISDIR;
        else {
            machine->inodes[entry->inode]->links = 0;
            name_change(machine, dir, UNLINK, last, "", entry->inode);
        }
    }
    return machine_leave(machine, IO_UNLINK, error, true);
}

void io_crash_set_name_calls(struct lqi_io *io)
{
    io->dir_open = crash_dir_open;
    io->dir_make = crash_dir_make;
    io->dir_list = crash_dir_list;
    io->dir_sync = crash_dir_sync;
    io->dir_shared = crash_dir_shared;
    io->open = crash_open;
    io->rename = crash_rename;
    io->swap = crash_swap;
    io->unlink = crash_unlink;
}
