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

struct entry *entry_find(const struct entries *entries, const char *name)
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

struct entries entries_copy(const struct entries *from)
{
    struct entries copy = {NULL, from->count};
    if (copy.count == 0) return copy;
    copy.all = must(malloc(copy.count * sizeof *copy.all));
    memcpy(copy.all, from->all, copy.count * sizeof *copy.all);
    return copy;
}

void entries_apply(struct entries *entries, const struct change *change)
{
    if (change->kind == UNLINK) {
        struct entry *entry = entry_find(entries, change->from);
        if (entry && entry->inode == change->inode) entry_remove(entries, entry);
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
    if (inode->memory) memory_give_back(inode->memory);
    free(inode->names.all);
    free(inode->durable_names.all);
    free(inode);
}

struct content inode_content(const struct inode *inode)
{
    if (inode->memory == NULL) return content_copy(&inode->now);
    struct content content = {.size = inode->now.size};
    for (uint64_t at = 0; at < content.size; at += PAGE)
        if (memcmp(inode->memory->base + at, page_zeros, PAGE) != 0)
            content_set(&content, (size_t)(at / PAGE), inode->memory->base + at);
    return content;
}
