/* See io_crash_machine.h: what a disk is made of. */
#include <string.h>

#include "io_crash_machine.h"

/* ---- changes ----------------------------------------------------------- */

void changes_drop(struct changes *changes)
{
    for (size_t i = 0; i < changes->count; i++)
        if (--changes->all[i]->refs == 0) free(changes->all[i]);
    free(changes->all);
    *changes = (struct changes){0};
}

struct changes changes_copy(const struct changes *from)
{
    struct changes copy = {NULL, from->count, from->count};
    if (copy.count == 0) return copy;
    copy.all = must(malloc(copy.count * sizeof *copy.all));
    memcpy(copy.all, from->all, copy.count * sizeof *copy.all);
    for (size_t i = 0; i < copy.count; i++) copy.all[i]->refs++;
    return copy;
}

struct change *change_add(struct io_crash *machine, struct inode *inode, enum change_kind kind, size_t bytes)
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

/* ---- names ------------------------------------------------------------- */

const struct entry *entry_find(const struct entries *entries, const char *name)
{
    for (size_t i = 0; i < entries_count(entries); i++)
        if (strcmp(entries->names->all[i].name, name) == 0) return &entries->names->all[i];
    return NULL;
}

struct entries entries_copy(const struct entries *from)
{
    if (from->names) from->names->refs++;
    return *from;
}

void entries_drop(struct entries *entries)
{
    if (entries->names && --entries->names->refs == 0) free(entries->names);
    entries->names = NULL;
}

/* A list that nobody else has, with room for one more. */
static struct names *names_own(struct entries *entries)
{
    struct names *old = entries->names;
    if (old && old->refs == 1 && old->count < old->room) return old;
    size_t count = entries_count(entries), room = count + 4;
    struct names *names = must(malloc(sizeof *names + room * sizeof *names->all));
    *names = (struct names){1, count, room};
    if (count > 0) memcpy(names->all, old->all, count * sizeof *names->all);
    entries_drop(entries);
    return entries->names = names;
}

static void entry_remove(struct names *names, size_t index)
{
    names->all[index] = names->all[--names->count];
}

/* The name leads to this inode now, and nothing else does. */
static void entry_set(struct entries *entries, const char *name, uint32_t inode)
{
    struct names *names = names_own(entries);
    for (size_t i = names->count; i-- > 0;)
        if (names->all[i].inode == inode || strcmp(names->all[i].name, name) == 0) entry_remove(names, i);
    struct entry *entry = &names->all[names->count++];
    memset(entry->name, 0, NAME);
    memcpy(entry->name, name, strlen(name));
    entry->inode = inode;
}

void entries_apply(struct entries *entries, const struct change *change)
{
    if (change->kind == UNLINK) {
        const struct entry *entry = entry_find(entries, change->from);
        if (entry && entry->inode == change->inode) {
            size_t index = (size_t)(entry - entries->names->all);
            entry_remove(names_own(entries), index);
        }
    } else {
        entry_set(entries, change->kind == LINK ? change->from : change->to, change->inode);
    }
}

/* ---- inodes ------------------------------------------------------------ */

uint32_t inode_make(struct io_crash *machine, bool directory)
{
    uint32_t number = machine->inode_count++;
    machine->inodes = must(realloc(machine->inodes, machine->inode_count * sizeof *machine->inodes));
    machine->inodes[number] = must(calloc(1, sizeof **machine->inodes));
    machine->inodes[number]->directory = directory;
    machine->inodes[number]->links = 1;
    return number;
}

void inode_free(struct inode *inode)
{
    if (inode == NULL) return;
    changes_drop(&inode->changes);
    content_drop(&inode->now);
    content_drop(&inode->durable);
    inode_forget_seen(inode);
    if (inode->memory) memory_give_back(inode->memory);
    entries_drop(&inode->names);
    entries_drop(&inode->durable_names);
    free(inode);
}

static struct content memory_content(const struct memory *memory, uint64_t size)
{
    struct content content = {.size = size};
    for (uint64_t at = 0; at < size; at += PAGE)
        if (memcmp(memory->base + at, page_zeros, PAGE) != 0) content_set(&content, (size_t)(at / PAGE), memory->base + at);
    return content;
}

const struct content *inode_seen(const struct io_crash *machine, struct inode *inode)
{
    if (inode->memory == NULL) return &inode->now;
    if (!machine->watched || machine->outages < 2) return NULL;
    if (!inode->is_seen) inode->seen = memory_content(inode->memory, inode->now.size);
    inode->is_seen = true;
    ((struct io_crash *)(uintptr_t)machine)->any_seen = true; /* which is nothing that anybody can tell */
    return &inode->seen;
}

struct content inode_content(const struct io_crash *machine, struct inode *inode)
{
    const struct content *seen = inode_seen(machine, inode);
    return seen ? content_copy(seen) : memory_content(inode->memory, inode->now.size);
}

void inode_forget_seen(struct inode *inode)
{
    if (inode->is_seen) content_drop(&inode->seen);
    inode->is_seen = false;
}
