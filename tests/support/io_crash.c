/* See io_crash.h.
 *
 * An inode has its contents twice, as programs see them now and as they were when it was last synced, and the
 * list of changes in between. A directory has its entries twice and the list likewise. Contents are pages that
 * machines share until one of them writes, changes are never altered: so making a machine from another one
 * costs little more than copying pointers.
 *
 * A file that is mapped lives in a memfd, so that the ring can be mirrored, and stores into it are not seen:
 * what may survive of it is found by comparing pages. Memfds and their maps are used again by later machines,
 * as making them takes longer than all the rest. */
#include "io_crash.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <xxhash.h>

enum { PAGE = 4096, NAME = 160, LAYOUTS = 32, FIRST_FD = 3 };
#define MEMORY_SIZE ((size_t)256 << 20)

/* One for all machines: they share pages. Never held while a hook runs. */
static pthread_mutex_t all = PTHREAD_MUTEX_INITIALIZER;

static void *must(void *memory)
{
    if (memory == NULL) abort();
    return memory;
}

static uint64_t mix(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
}

/* ---- contents ---------------------------------------------------------- */

struct page {
    unsigned refs;
    bool hashed; /* `hash` is that of the bytes */
    uint64_t hash;
    uint8_t bytes[PAGE];
};

/* Pages that are NULL, or behind the last one, are zeros. Nothing is kept beyond `size`, but for a moment in crash_file(). */
struct content {
    struct page **pages;
    size_t count;
    uint64_t size;
};

static const uint8_t zeros[PAGE];

static struct page *free_pages; /* linked through their bytes */

static struct page *page_new(void)
{
    struct page *page = free_pages;
    if (page)
        memcpy(&free_pages, page->bytes, sizeof free_pages);
    else
        page = must(malloc(sizeof *page));
    page->refs = 1;
    page->hashed = false;
    return page;
}

static void page_drop(struct page *page)
{
    if (page == NULL || --page->refs > 0) return;
    memcpy(page->bytes, &free_pages, sizeof free_pages);
    free_pages = page;
}

static const uint8_t *content_page(const struct content *content, size_t index)
{
    return index < content->count && content->pages[index] ? content->pages[index]->bytes : zeros;
}

static void content_drop(struct content *content)
{
    for (size_t i = 0; i < content->count; i++) page_drop(content->pages[i]);
    free(content->pages);
    *content = (struct content){0};
}

static struct content content_copy(const struct content *from)
{
    struct content copy = {NULL, from->count, from->size};
    if (from->count == 0) return copy;
    copy.pages = must(malloc(from->count * sizeof *copy.pages));
    memcpy(copy.pages, from->pages, from->count * sizeof *copy.pages);
    for (size_t i = 0; i < copy.count; i++)
        if (copy.pages[i]) copy.pages[i]->refs++;
    return copy;
}

static void content_reach(struct content *content, size_t index)
{
    if (index < content->count) return;
    content->pages = must(realloc(content->pages, (index + 1) * sizeof *content->pages));
    while (content->count <= index) content->pages[content->count++] = NULL;
}

/* The page as one that nobody else has, to be written. */
static uint8_t *content_own(struct content *content, size_t index)
{
    content_reach(content, index);
    struct page *old = content->pages[index];
    if (old && old->refs == 1) {
        old->hashed = false;
        return old->bytes;
    }
    struct page *page = page_new();
    memcpy(page->bytes, old ? old->bytes : zeros, PAGE);
    page_drop(old);
    content->pages[index] = page;
    return page->bytes;
}

/* A whole page. */
static void content_set(struct content *content, size_t index, const uint8_t bytes[PAGE])
{
    content_reach(content, index);
    page_drop(content->pages[index]);
    content->pages[index] = page_new();
    memcpy(content->pages[index]->bytes, bytes, PAGE);
}

/* `bytes` NULL: zeros. Leaves the size alone. */
static void content_put(struct content *content, uint64_t offset, const uint8_t *bytes, uint64_t size)
{
    while (size > 0) {
        size_t index = (size_t)(offset / PAGE), at = offset % PAGE, part = PAGE - at;
        if (part > size) part = (size_t)size;
        if (bytes)
            memcpy(content_own(content, index) + at, bytes, part);
        else if (content_page(content, index) != zeros)
            memset(content_own(content, index) + at, 0, part);
        if (bytes) bytes += part;
        offset += part;
        size -= part;
    }
}

static void content_get(const struct content *content, uint64_t offset, uint8_t *bytes, size_t size)
{
    while (size > 0) {
        size_t at = offset % PAGE, part = PAGE - at;
        if (part > size) part = size;
        memcpy(bytes, content_page(content, (size_t)(offset / PAGE)) + at, part);
        bytes += part;
        offset += part;
        size -= part;
    }
}

static void content_resize(struct content *content, uint64_t size)
{
    size_t keep = (size_t)((size + PAGE - 1) / PAGE);
    for (size_t i = keep; i < content->count; i++) page_drop(content->pages[i]);
    if (content->count > keep) content->count = keep;
    if (size % PAGE) content_put(content, size, NULL, PAGE - size % PAGE);
    content->size = size;
}

/* ---- memory that can be mapped ----------------------------------------- */

struct layout {
    uint64_t offset;
    size_t size, mirrored;
    bool writable, used;
    uint8_t *map;
};

struct memory {
    struct memory *next; /* among the free ones */
    int fd;
    uint8_t *base;
    size_t high; /* all beyond is zero */
    struct layout layouts[LAYOUTS];
    size_t layout_count;
};

static struct memory *free_memories;

static struct memory *memory_take(void)
{
    struct memory *memory = free_memories;
    if (memory) {
        free_memories = memory->next;
        memset(memory->base, 0, memory->high);
        memory->high = 0;
        return memory;
    }
    memory = must(calloc(1, sizeof *memory));
    memory->fd = memfd_create("io_crash", MFD_CLOEXEC);
    if (memory->fd < 0 || ftruncate(memory->fd, (off_t)MEMORY_SIZE) != 0) abort();
    memory->base = mmap(NULL, MEMORY_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, memory->fd, 0);
    if (memory->base == MAP_FAILED) abort();
    return memory;
}

static void layout_drop(struct layout *layout)
{
    munmap(layout->map, layout->size + layout->mirrored);
}

static void memory_give_back(struct memory *memory)
{
    for (size_t i = 0; i < memory->layout_count; i++) assert(!memory->layouts[i].used);
    memory->next = free_memories;
    free_memories = memory;
}

static void memory_destroy(struct memory *memory)
{
    for (size_t i = 0; i < memory->layout_count; i++) layout_drop(&memory->layouts[i]);
    munmap(memory->base, MEMORY_SIZE);
    close(memory->fd);
    free(memory);
}

static int memory_map(struct memory *memory, const struct layout *wanted, void **map_out)
{
    struct layout *found = NULL;
    for (size_t i = 0; i < memory->layout_count; i++) {
        struct layout *layout = &memory->layouts[i];
        if (layout->used) continue;
        if (layout->offset == wanted->offset && layout->size == wanted->size && layout->mirrored == wanted->mirrored &&
            layout->writable == wanted->writable) {
            layout->used = true;
            *map_out = layout->map;
            return 0;
        }
        found = layout; /* to be replaced */
    }

    int protection = wanted->writable ? PROT_READ | PROT_WRITE : PROT_READ;
    uint8_t *map = mmap(NULL, wanted->size + wanted->mirrored, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (map == MAP_FAILED) return ENOMEM;
    if (mmap(map, wanted->size, protection, MAP_SHARED | MAP_FIXED, memory->fd, (off_t)wanted->offset) == MAP_FAILED) abort();
    if (wanted->mirrored && mmap(map + wanted->size, wanted->mirrored, protection, MAP_SHARED | MAP_FIXED, memory->fd,
                                 (off_t)(wanted->offset + wanted->size - wanted->mirrored)) == MAP_FAILED)
        abort();
    if (memory->layout_count < LAYOUTS) {
        found = &memory->layouts[memory->layout_count++];
    } else if (found) {
        layout_drop(found);
    } else {
        munmap(map, wanted->size + wanted->mirrored);
        return ENOMEM;
    }
    *found = *wanted;
    found->map = map;
    found->used = true;
    *map_out = map;
    return 0;
}

/* ---- inodes ------------------------------------------------------------ */

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

struct entries {
    struct entry *all;
    size_t count;
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
    uint64_t moment, calls, random, boot;
    int64_t clock_us;
};

static void changes_drop(struct changes *changes)
{
    for (size_t i = 0; i < changes->count; i++)
        if (--changes->all[i]->refs == 0) free(changes->all[i]);
    free(changes->all);
    *changes = (struct changes){0};
}

static struct changes changes_copy(const struct changes *from)
{
    struct changes copy = {NULL, from->count, from->count};
    if (copy.count == 0) return copy;
    copy.all = must(malloc(copy.count * sizeof *copy.all));
    memcpy(copy.all, from->all, copy.count * sizeof *copy.all);
    for (size_t i = 0; i < copy.count; i++) copy.all[i]->refs++;
    return copy;
}

static struct change *change_add(struct io_crash *machine, struct inode *inode, enum change_kind kind, size_t bytes)
{
    struct changes *changes = &inode->changes;
    struct change *change = must(malloc(sizeof *change + bytes));
    memset(change, 0, sizeof *change);
    change->refs = 1;
    change->kind = kind;
    change->moment = machine->moment;
    if (changes->count == changes->room) {
        changes->room = changes->room * 2 + 4;
        changes->all = must(realloc(changes->all, changes->room * sizeof *changes->all));
    }
    changes->all[changes->count++] = change;
    return change;
}

static struct entry *entry_find(const struct entries *entries, const char *name)
{
    for (size_t i = 0; i < entries->count; i++)
        if (strcmp(entries->all[i].name, name) == 0) return &entries->all[i];
    return NULL;
}

static void entry_remove(struct entries *entries, struct entry *entry)
{
    *entry = entries->all[--entries->count];
}

/* The name leads to this inode now, and nothing else does. */
static void entry_set(struct entries *entries, const char *name, uint32_t inode)
{
    for (size_t i = entries->count; i-- > 0;)
        if (entries->all[i].inode == inode || strcmp(entries->all[i].name, name) == 0)
            entry_remove(entries, &entries->all[i]);
    entries->all = must(realloc(entries->all, (entries->count + 1) * sizeof *entries->all));
    struct entry *entry = &entries->all[entries->count++];
    memset(entry->name, 0, NAME);
    memcpy(entry->name, name, strlen(name));
    entry->inode = inode;
}

static struct entries entries_copy(const struct entries *from)
{
    struct entries copy = {NULL, from->count};
    if (copy.count == 0) return copy;
    copy.all = must(malloc(copy.count * sizeof *copy.all));
    memcpy(copy.all, from->all, copy.count * sizeof *copy.all);
    return copy;
}

static void entries_apply(struct entries *entries, const struct change *change)
{
    if (change->kind == UNLINK) {
        struct entry *entry = entry_find(entries, change->from);
        if (entry && entry->inode == change->inode) entry_remove(entries, entry);
    } else {
        entry_set(entries, change->kind == LINK ? change->from : change->to, change->inode);
    }
}

static uint32_t inode_make(struct io_crash *machine, bool directory)
{
    uint32_t number = machine->inode_count++;
    machine->inodes = must(realloc(machine->inodes, machine->inode_count * sizeof *machine->inodes));
    machine->inodes[number] = must(calloc(1, sizeof **machine->inodes));
    machine->inodes[number]->directory = directory;
    machine->inodes[number]->links = 1;
    return number;
}

static void inode_free(struct inode *inode)
{
    if (inode == NULL) return;
    changes_drop(&inode->changes);
    content_drop(&inode->now);
    content_drop(&inode->durable);
    if (inode->memory) memory_give_back(inode->memory);
    free(inode->names.all);
    free(inode->durable_names.all);
    free(inode);
}

/* What programs see, as pages. */
static struct content inode_content(const struct inode *inode)
{
    if (inode->memory == NULL) return content_copy(&inode->now);
    struct content content = {.size = inode->now.size};
    for (uint64_t at = 0; at < content.size; at += PAGE)
        if (memcmp(inode->memory->base + at, zeros, PAGE) != 0)
            content_set(&content, (size_t)(at / PAGE), inode->memory->base + at);
    return content;
}

/* ---- calls ------------------------------------------------------------- */

static struct io_crash *machine_of(const struct lqi_io *io)
{
    return io->context;
}

static struct io_crash *enter(const struct lqi_io *io)
{
    pthread_mutex_lock(&all);
    struct io_crash *machine = machine_of(io);
    machine->calls++;
    machine->clock_us++;
    machine->moment++;
    return machine;
}

static int leave(struct io_crash *machine, enum io_kind kind, int error, bool changed)
{
    io_crash_hook *hook = machine->hook;
    void *context = machine->hook_context;
    pthread_mutex_unlock(&all);
    if (hook) hook(context, machine, kind, changed && !error);
    return error;
}

static struct inode *inode_of(struct io_crash *machine, int fd)
{
    int index = fd - FIRST_FD;
    if (index < 0 || index >= machine->open_count || !machine->opens[index].used) return NULL;
    return machine->inodes[machine->opens[index].inode];
}

static struct inode *file_of(struct io_crash *machine, int fd, bool to_write)
{
    struct inode *inode = inode_of(machine, fd);
    if (inode == NULL || inode->directory) return NULL;
    return to_write && !machine->opens[fd - FIRST_FD].writable ? NULL : inode;
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
                struct entry *entry = entry_find(&machine->inodes[at]->names, last);
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

static int crash_dir_open(const struct lqi_io *io, int parent, const char *name, int *dir_out)
{
    struct io_crash *machine = enter(io);
    char last[NAME];
    uint32_t dir = 0;
    int error = walk(machine, parent, name, &dir, last);
    if (!error && strcmp(last, ".") != 0) {
        struct entry *entry = entry_find(&machine->inodes[dir]->names, last);
        if (entry == NULL) error = ENOENT;
        else if (!machine->inodes[entry->inode]->directory) error = ENOTDIR;
        else dir = entry->inode;
    }
    if (!error) *dir_out = open_add(machine, dir, false);
    return leave(machine, IO_DIR_OPEN, error, false);
}

static int crash_dir_make(const struct lqi_io *io, int parent, const char *name, uint32_t mode)
{
    struct io_crash *machine = enter(io);
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
    return leave(machine, IO_DIR_MAKE, error, true);
}

static int crash_dir_list(const struct lqi_io *io, int dir, lqi_name_callback *each, void *context)
{
    struct io_crash *machine = enter(io);
    struct inode *inode = inode_of(machine, dir);
    int error = inode == NULL ? EBADF : inode->directory ? 0 : ENOTDIR;
    struct entries entries = {0};
    if (!error) entries = entries_copy(&inode->names);
    pthread_mutex_unlock(&all);

    for (size_t i = 0; i < entries.count; i++)
        if (each(context, entries.all[i].name) != 0) break;
    free(entries.all);
    pthread_mutex_lock(&all);
    return leave(machine, IO_DIR_LIST, error, false);
}

static int crash_dir_sync(const struct lqi_io *io, int dir)
{
    struct io_crash *machine = enter(io);
    struct inode *inode = inode_of(machine, dir);
    int error = inode == NULL ? EBADF : inode->directory ? 0 : ENOTDIR;
    bool changed = false;
    if (!error) {
        changed = inode->changes.count > 0;
        for (size_t i = 0; i < inode->changes.count; i++)
            if (inode->changes.all[i]->paired) sync_other_half(machine, inode, inode->changes.all[i]);
        changes_drop(&inode->changes);
        free(inode->durable_names.all);
        inode->durable_names = entries_copy(&inode->names);
    }
    return leave(machine, IO_DIR_SYNC, error, changed);
}

static int crash_dir_shared(const struct lqi_io *io, int dir, bool *shared_out)
{
    struct io_crash *machine = enter(io);
    int error = inode_of(machine, dir) ? 0 : EBADF;
    if (!error) *shared_out = true;
    return leave(machine, IO_DIR_SHARED, error, false);
}

static int crash_open(const struct lqi_io *io, int parent, const char *name, int flags, uint32_t mode, int *fd_out)
{
    struct io_crash *machine = enter(io);
    char last[NAME];
    uint32_t dir = 0;
    struct entry *entry = NULL;
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
    return leave(machine, IO_OPEN, error, new);
}

static void crash_close(const struct lqi_io *io, int fd)
{
    if (fd < 0) return;
    pthread_mutex_lock(&all);
    struct io_crash *machine = machine_of(io);
    struct inode *inode = inode_of(machine, fd);
    assert(inode != NULL);
    inode->opens--;
    machine->opens[fd - FIRST_FD].used = false;
    for (size_t i = machine->lock_count; i-- > 0;)
        if (machine->locks[i].owner == fd) machine->locks[i] = machine->locks[--machine->lock_count];
    pthread_mutex_unlock(&all);
}

static int crash_read(const struct lqi_io *io, int fd, uint64_t offset, void *data, size_t size, size_t *got_out)
{
    struct io_crash *machine = enter(io);
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
    return leave(machine, IO_READ, error, false);
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
    struct io_crash *machine = enter(io);
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
    return leave(machine, IO_WRITE, error, size > 0);
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
    pthread_mutex_lock(&all);
    struct inode *inode = file_of(machine, fd, false);
    if (inode && !inode->by_pages) {
        changes_drop(&inode->changes);
        inode->forgotten = true;
    }
    pthread_mutex_unlock(&all);
}

static int crash_sync(const struct lqi_io *io, int fd)
{
    struct io_crash *machine = enter(io);
    struct inode *inode = inode_of(machine, fd);
    int error = inode == NULL || inode->directory ? EBADF : 0;
    bool changed = false;
    if (!error) {
        changed = inode->by_pages || inode->changes.count > 0;
        if (inode->forgotten) {
            sync_changes(inode);
        } else {
            content_drop(&inode->durable);
            inode->durable = inode_content(inode);
        }
        changes_drop(&inode->changes);
    }
    return leave(machine, IO_SYNC, error, changed);
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
    struct io_crash *machine = enter(io);
    bool changed = false;
    int error = change_size(machine, fd, size, true, &changed);
    if (error == EBADF && file_of(machine, fd, false)) error = EINVAL; /* opened to read only */
    return leave(machine, IO_TRUNCATE, error, changed);
}

static int crash_allocate(const struct lqi_io *io, int fd, uint64_t size)
{
    struct io_crash *machine = enter(io);
    bool changed = false;
    int error = change_size(machine, fd, size, false, &changed);
    return leave(machine, IO_ALLOCATE, error, changed);
}

static int crash_stat(const struct lqi_io *io, int fd, struct lqi_io_stat *stat_out)
{
    struct io_crash *machine = enter(io);
    struct inode *inode = inode_of(machine, fd);
    if (inode)
        *stat_out = (struct lqi_io_stat){inode->now.size, machine->opens[fd - FIRST_FD].inode + 1000u, inode->links};
    return leave(machine, IO_STAT, inode ? 0 : EBADF, false);
}

static int crash_rename(const struct lqi_io *io, int parent, const char *from, const char *to, bool replace)
{
    struct io_crash *machine = enter(io);
    char old[NAME], new[NAME];
    uint32_t dir = 0, other = 0;
    int error = walk(machine, parent, from, &dir, old);
    if (!error) error = walk(machine, parent, to, &other, new);
    if (!error) {
        struct entry *entry = entry_find(&machine->inodes[dir]->names, old);
        struct entry *there = entry_find(&machine->inodes[other]->names, new);
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
    return leave(machine, IO_RENAME, error, true);
}

static int crash_swap(const struct lqi_io *io, int parent, const char *a, const char *b)
{
    struct io_crash *machine = enter(io);
    char names[2][NAME];
    uint32_t dirs[2] = {0, 0}, inodes[2] = {0, 0};
    int error = walk(machine, parent, a, &dirs[0], names[0]);
    if (!error) error = walk(machine, parent, b, &dirs[1], names[1]);
    for (int i = 0; i < 2 && !error; i++) {
        struct entry *entry = entry_find(&machine->inodes[dirs[i]]->names, names[i]);
        if (entry) inodes[i] = entry->inode;
        if (entry == NULL) error = ENOENT;
        else if (machine->inodes[entry->inode]->directory || dirs[0] == dirs[1]) error = EINVAL; /* nobody asks for that */
    }
    if (!error) name_change_in_both(machine, dirs[0], LINK, names[0], inodes[1], dirs[1], names[1], inodes[0]);
    return leave(machine, IO_SWAP, error, true);
}

static int crash_unlink(const struct lqi_io *io, int parent, const char *name)
{
    struct io_crash *machine = enter(io);
    char last[NAME];
    uint32_t dir = 0;
    int error = walk(machine, parent, name, &dir, last);
    if (!error) {
        struct entry *entry = entry_find(&machine->inodes[dir]->names, last);
        if (entry == NULL) error = ENOENT;
        else if (machine->inodes[entry->inode]->directory) error = EISDIR;
        else {
            machine->inodes[entry->inode]->links = 0;
            name_change(machine, dir, UNLINK, last, "", entry->inode);
        }
    }
    return leave(machine, IO_UNLINK, error, true);
}

static int crash_lock(const struct lqi_io *io, int fd, uint64_t byte)
{
    struct io_crash *machine = enter(io);
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
    return leave(machine, IO_LOCK, error, false);
}

static int crash_unlock(const struct lqi_io *io, int fd, uint64_t byte)
{
    struct io_crash *machine = enter(io);
    int error = file_of(machine, fd, false) ? 0 : EBADF;
    for (size_t i = machine->lock_count; !error && i-- > 0;)
        if (machine->locks[i].owner == fd && machine->locks[i].byte == byte)
            machine->locks[i] = machine->locks[--machine->lock_count];
    return leave(machine, IO_UNLOCK, error, false);
}

static int crash_locked(const struct lqi_io *io, int fd, uint64_t first, uint64_t count, bool *by_others_out)
{
    struct io_crash *machine = enter(io);
    int error = file_of(machine, fd, false) ? 0 : EBADF;
    bool by_others = false;
    for (size_t i = 0; !error && i < machine->lock_count; i++) {
        const struct lock *lock = &machine->locks[i];
        if (lock->inode == machine->opens[fd - FIRST_FD].inode && lock->owner != fd && lock->byte >= first &&
            lock->byte - first < count)
            by_others = true;
    }
    if (!error) *by_others_out = by_others;
    return leave(machine, IO_LOCKED, error, false);
}

static int crash_map(const struct lqi_io *io, int fd, uint64_t offset, size_t size, size_t mirrored, bool writable,
                     void **map_out)
{
    struct io_crash *machine = enter(io);
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
        for (size_t i = 0; i < inode->now.count; i++)
            if (inode->now.pages[i]) memcpy(inode->memory->base + i * PAGE, inode->now.pages[i]->bytes, PAGE);
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
    return leave(machine, IO_MAP, error, false);
}

static void crash_unmap(const struct lqi_io *io, void *map, size_t size, size_t mirrored)
{
    if (map == NULL) return;
    pthread_mutex_lock(&all);
    struct io_crash *machine = machine_of(io);
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
    pthread_mutex_unlock(&all);
}

static int crash_boot_id(const struct lqi_io *io, uint8_t id[16])
{
    struct io_crash *machine = enter(io);
    memcpy(id, "io_crash", 8);
    memcpy(id + 8, &machine->boot, 8);
    return leave(machine, IO_BOOT_ID, 0, false);
}

static int crash_random(const struct lqi_io *io, void *data, size_t size)
{
    struct io_crash *machine = enter(io);
    for (size_t i = 0; i < size; i++) ((uint8_t *)data)[i] = (uint8_t)(mix(&machine->random) >> 56);
    return leave(machine, IO_RANDOM, 0, false);
}

static int64_t crash_wall_us(const struct lqi_io *io)
{
    pthread_mutex_lock(&all);
    int64_t now = ++machine_of(io)->clock_us;
    pthread_mutex_unlock(&all);
    return now;
}

/* ---- machines ---------------------------------------------------------- */

static struct io_crash *machine_new(void)
{
    struct io_crash *machine = must(calloc(1, sizeof *machine));
    machine->io = (struct lqi_io){
        .context = machine,
        .dir_open = crash_dir_open,
        .dir_make = crash_dir_make,
        .dir_list = crash_dir_list,
        .dir_sync = crash_dir_sync,
        .dir_shared = crash_dir_shared,
        .open = crash_open,
        .close = crash_close,
        .read = crash_read,
        .write = crash_write,
        .sync = crash_sync,
        .truncate = crash_truncate,
        .allocate = crash_allocate,
        .stat = crash_stat,
        .rename = crash_rename,
        .swap = crash_swap,
        .unlink = crash_unlink,
        .lock = crash_lock,
        .unlock = crash_unlock,
        .locked = crash_locked,
        .map = crash_map,
        .unmap = crash_unmap,
        .boot_id = crash_boot_id,
        .random = crash_random,
        .wall_us = crash_wall_us,
    };
    return machine;
}

struct io_crash *io_crash_new(uint64_t seed)
{
    struct io_crash *machine = machine_new();
    inode_make(machine, true);
    machine->random = seed;
    machine->clock_us = 1700000000000000;
    return machine;
}

static void machine_free(struct io_crash *machine)
{
    for (uint32_t i = 0; i < machine->inode_count; i++) inode_free(machine->inodes[i]);
    free(machine->inodes);
    free(machine->opens);
    free(machine->locks);
    free(machine);
}

void io_crash_free(struct io_crash *machine)
{
    if (machine == NULL) return;
    pthread_mutex_lock(&all);
    machine_free(machine);
    pthread_mutex_unlock(&all);
}

void io_crash_trim(void)
{
    pthread_mutex_lock(&all);
    while (free_memories) {
        struct memory *memory = free_memories;
        free_memories = memory->next;
        memory_destroy(memory);
    }
    while (free_pages) {
        struct page *page = free_pages;
        memcpy(&free_pages, page->bytes, sizeof free_pages);
        free(page);
    }
    pthread_mutex_unlock(&all);
}

const struct lqi_io *io_crash_io(struct io_crash *machine)
{
    return &machine->io;
}

void io_crash_watch(struct io_crash *machine, io_crash_hook *hook, void *context)
{
    pthread_mutex_lock(&all);
    machine->hook = hook;
    machine->hook_context = context;
    pthread_mutex_unlock(&all);
}

uint64_t io_crash_calls(const struct io_crash *machine)
{
    return machine->calls;
}

static bool is_mapped(const struct inode *inode)
{
    for (size_t i = 0; inode->memory && i < inode->memory->layout_count; i++)
        if (inode->memory->layouts[i].used) return true;
    return false;
}

bool io_crash_idle(const struct io_crash *machine)
{
    pthread_mutex_lock(&all);
    bool idle = machine->lock_count == 0;
    for (int i = 0; i < machine->open_count; i++) idle &= !machine->opens[i].used;
    for (uint32_t i = 0; i < machine->inode_count; i++) idle &= !machine->inodes[i] || !is_mapped(machine->inodes[i]);
    pthread_mutex_unlock(&all);
    return idle;
}

/* A machine with the clock and so on of the other one, and room for its inodes. */
static struct io_crash *machine_after(const struct io_crash *old)
{
    struct io_crash *machine = machine_new();
    machine->inode_count = old->inode_count;
    machine->inodes = must(calloc(old->inode_count, sizeof *machine->inodes));
    machine->random = old->random;
    machine->clock_us = old->clock_us;
    machine->moment = old->moment;
    machine->boot = old->boot;
    return machine;
}

/* Keeps what somebody may still find: by a name now, by one that is durable, or by one that may come to be. */
static void mark_names(const struct inode *directory, bool *wanted)
{
    for (size_t i = 0; i < directory->names.count; i++) wanted[directory->names.all[i].inode] = true;
    for (size_t i = 0; i < directory->durable_names.count; i++) wanted[directory->durable_names.all[i].inode] = true;
    for (size_t i = 0; i < directory->changes.count; i++) wanted[directory->changes.all[i]->inode] = true;
}

struct io_crash *io_crash_processes_die(const struct io_crash *old)
{
    pthread_mutex_lock(&all);
    struct io_crash *machine = machine_after(old);
    bool *wanted = must(calloc(old->inode_count, sizeof *wanted));
    wanted[0] = true;
    for (uint32_t i = 0; i < old->inode_count; i++)
        if (old->inodes[i] && old->inodes[i]->directory) mark_names(old->inodes[i], wanted);

    for (uint32_t i = 0; i < old->inode_count; i++) {
        const struct inode *from = old->inodes[i];
        if (from == NULL || !wanted[i]) continue;
        struct inode *inode = machine->inodes[i] = must(malloc(sizeof *inode));
        *inode = *from;
        inode->opens = 0;
        inode->memory = NULL;
        inode->changes = changes_copy(&from->changes);
        inode->now = inode_content(from);
        inode->durable = content_copy(&from->durable);
        inode->names = entries_copy(&from->names);
        inode->durable_names = entries_copy(&from->durable_names);
    }
    free(wanted);
    pthread_mutex_unlock(&all);
    return machine;
}

/* ---- power loss -------------------------------------------------------- */

struct outage {
    const struct io_crash *old;
    struct io_crash *machine;
    uint32_t unit;
    io_crash_keep *keep;
    void *context;
    struct {
        uint64_t moment;
        bool kept;
    } paired[256]; /* what was said of the first half of a pair */
    size_t paired_count;
};

static bool keeps(const struct outage *outage, enum io_crash_change_kind kind, uint64_t moment, uint32_t inode,
                  uint64_t offset, uint64_t size)
{
    struct io_crash_change change = {kind, moment, inode, offset, size};
    return outage->keep(outage->context, &change);
}

static bool keeps_name(struct outage *outage, const struct change *change, uint32_t number)
{
    for (size_t i = 0; change->paired && i < outage->paired_count; i++)
        if (outage->paired[i].moment == change->moment) return outage->paired[i].kept;
    bool kept = keeps(outage, IO_CRASH_NAME, change->moment, number, 0, 0);
    if (change->paired) {
        if (outage->paired_count == sizeof outage->paired / sizeof *outage->paired) abort();
        outage->paired[outage->paired_count].moment = change->moment;
        outage->paired[outage->paired_count++].kept = kept;
    }
    return kept;
}

/* A file that was written: each unit of each write is there or not. */
static struct content crash_file(const struct outage *outage, uint32_t number, const struct inode *from)
{
    struct content content = content_copy(&from->durable);
    uint64_t size = content.size;

    for (size_t i = 0; i < from->changes.count; i++) {
        const struct change *change = from->changes.all[i];
        uint64_t end = change->offset + change->size, last = 0;
        for (uint64_t at = change->offset; at < end;) {
            uint64_t next = at - at % outage->unit + outage->unit;
            if (next > end) next = end;
            if (keeps(outage, IO_CRASH_DATA, change->moment, number, at, next - at)) {
                content_put(&content, at, change->kind == WRITE ? change->bytes + (at - change->offset) : NULL, next - at);
                last = next;
            }
            at = next;
        }
        if (!change->sizes) continue;
        if (keeps(outage, IO_CRASH_SIZE, change->moment, number, change->size_after, 0))
            size = change->size_after;
        else if (change->kind == WRITE && last > size &&
                 keeps(outage, IO_CRASH_SIZE_PART, change->moment, number, last, 0))
            size = last;
    }
    content_resize(&content, size);
    return content;
}

/* A file that was mapped: each page is there or not. */
static struct content crash_mapped(const struct outage *outage, uint32_t number, const struct inode *from)
{
    struct content content = content_copy(&from->durable);
    size_t in_now = (size_t)((from->now.size + PAGE - 1) / PAGE);
    size_t count = in_now > content.count ? in_now : content.count;
    uint64_t moment = outage->old->moment, size = content.size;

    for (size_t i = 0; i < count; i++) {
        const uint8_t *is = !from->memory ? content_page(&from->now, i) : i < in_now ? from->memory->base + i * PAGE : zeros;
        const uint8_t *was = content_page(&content, i);
        if (is == was || memcmp(is, was, PAGE) == 0) continue;
        if (keeps(outage, IO_CRASH_PAGE, moment, number, i * PAGE, PAGE)) content_set(&content, i, is);
    }
    if (from->now.size != size && keeps(outage, IO_CRASH_MAPPED_SIZE, moment, number, from->now.size, 0)) size = from->now.size;
    content_resize(&content, size);
    return content;
}

static void crash_directory(struct outage *outage, uint32_t number, const struct inode *from)
{
    struct inode *inode = outage->machine->inodes[number] = must(calloc(1, sizeof *inode));
    inode->directory = true;
    inode->links = 1;
    inode->parent = from->parent;
    inode->names = entries_copy(&from->durable_names);
    for (size_t i = 0; i < from->changes.count; i++) {
        const struct change *change = from->changes.all[i];
        if (keeps_name(outage, change, number)) entries_apply(&inode->names, change);
    }
    inode->durable_names = entries_copy(&inode->names);

    for (size_t i = 0; i < inode->names.count; i++) {
        uint32_t child = inode->names.all[i].inode;
        const struct inode *was = outage->old->inodes[child];
        if (was->directory) {
            crash_directory(outage, child, was);
            continue;
        }
        struct inode *file = outage->machine->inodes[child] = must(calloc(1, sizeof *file));
        file->links = 1;
        file->by_pages = was->by_pages;
        file->now = was->by_pages ? crash_mapped(outage, child, was) : crash_file(outage, child, was);
        file->durable = content_copy(&file->now);
    }
}

static struct io_crash *power_loss(const struct io_crash *old, uint32_t unit, io_crash_keep *keep, void *context)
{
    struct outage outage = {.old = old, .machine = machine_after(old), .unit = unit, .keep = keep, .context = context};
    outage.machine->boot++;
    outage.machine->random = old->random + old->moment;
    crash_directory(&outage, 0, old->inodes[0]);
    return outage.machine;
}

struct io_crash *io_crash_power_loss_by(const struct io_crash *old, uint32_t unit, io_crash_keep *keep, void *context)
{
    pthread_mutex_lock(&all);
    struct io_crash *machine = power_loss(old, unit, keep, context);
    pthread_mutex_unlock(&all);
    return machine;
}

/* How a seed chooses. */
struct choice {
    enum { NOTHING, EVERYTHING, UNTIL, ALL_BUT_ONE, ONLY_ONE, COIN } how;
    uint64_t random, moment, number, asked, oldest;
    uint32_t chance; /* of 256 */
};

static bool look_around(void *context, const struct io_crash_change *change)
{
    struct choice *choice = context;
    choice->asked++;
    if (change->moment < choice->oldest) choice->oldest = change->moment;
    return true; /* so that most questions are asked */
}

static bool choose(void *context, const struct io_crash_change *change)
{
    struct choice *choice = context;
    uint64_t number = choice->asked++;
    switch (choice->how) {
    case NOTHING: return false;
    case EVERYTHING: return true;
    case UNTIL: return change->moment <= choice->moment;
    case ALL_BUT_ONE: return number != choice->number;
    case ONLY_ONE: return number == choice->number;
    case COIN: break;
    }
    return mix(&choice->random) >> 56 < choice->chance;
}

struct io_crash *io_crash_power_loss(const struct io_crash *old, uint64_t seed)
{
    static const uint32_t units[] = {64, 8, 512, 4096};
    static const uint32_t chances[] = {128, 128, 230, 26, 250, 6};
    struct choice choice = {.random = seed, .oldest = UINT64_MAX};
    uint32_t unit = seed < 18 ? 64 : units[seed % 4];

    pthread_mutex_lock(&all);
    choice.how = seed == 0 ? NOTHING : seed == 1 ? EVERYTHING : seed < 10 ? UNTIL : seed < 14 ? ALL_BUT_ONE
               : seed < 18 ? ONLY_ONE : COIN;
    if (choice.how == UNTIL || choice.how == ALL_BUT_ONE || choice.how == ONLY_ONE) {
        machine_free(power_loss(old, unit, look_around, &choice));
        choice.random += old->moment; /* another one after each call, or it would be the same one for long */
        if (choice.asked > 0) {
            choice.number = mix(&choice.random) % choice.asked;
            choice.moment = choice.oldest + mix(&choice.random) % (old->moment - choice.oldest + 1);
        }
        choice.asked = 0;
    } else if (choice.how == COIN) {
        choice.random += old->moment;
        choice.chance = chances[mix(&choice.random) % (sizeof chances / sizeof *chances)];
    }
    struct io_crash *machine = power_loss(old, unit, choose, &choice);
    pthread_mutex_unlock(&all);
    return machine;
}

/* ---- hash -------------------------------------------------------------- */

/* 0 for a page of zeros, and for none. */
static uint64_t page_hash(struct page *page)
{
    if (page == NULL) return 0;
    if (!page->hashed) page->hash = memcmp(page->bytes, zeros, PAGE) == 0 ? 0 : XXH3_64bits(page->bytes, PAGE) | 1;
    page->hashed = true;
    return page->hash;
}

static uint64_t content_hash(const struct content *content, uint64_t seed)
{
    uint64_t hash = XXH3_64bits_withSeed(&content->size, sizeof content->size, seed);
    for (size_t i = 0; i < content->count; i++) {
        uint64_t page = page_hash(content->pages[i]) + i;
        if (page != i) hash = XXH3_64bits_withSeed(&page, sizeof page, hash);
    }
    return hash;
}

uint64_t io_crash_hash(const struct io_crash *machine)
{
    uint64_t sum = 0; /* of all names: their order means nothing */

    pthread_mutex_lock(&all);
    for (uint32_t i = 0; i < machine->inode_count; i++) {
        const struct inode *directory = machine->inodes[i];
        if (directory == NULL || !directory->directory) continue;
        for (size_t j = 0; j < directory->names.count; j++) {
            const struct entry *entry = &directory->names.all[j];
            const struct inode *inode = machine->inodes[entry->inode];
            uint64_t hash = XXH3_64bits_withSeed(entry->name, strlen(entry->name), i);
            if (!inode->directory && !inode->by_pages) hash = content_hash(&inode->now, hash);
            sum += hash;
        }
    }
    pthread_mutex_unlock(&all);
    return sum;
}
