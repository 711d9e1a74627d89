/* Of io_crash: the ways a machine goes down, and what is found on the one that comes up. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "io_crash_machine.h"

/* ---- the death of all processes ---------------------------------------- */

/* Keeps what somebody may still find: by a name now, by one that is durable, or by one that may come to be. */
static void mark_names(const struct inode *directory, bool *wanted)
{
    const struct entries *const lists[] = {&directory->names, &directory->durable_names};
    for (size_t list = 0; list < 2; list++)
        for (size_t i = 0; i < entries_count(lists[list]); i++) wanted[lists[list]->names->all[i].inode] = true;
    for (size_t i = 0; i < directory->changes.count; i++) wanted[directory->changes.all[i]->inode] = true;
}

struct io_crash *io_crash_processes_die(const struct io_crash *old)
{
    pthread_mutex_lock(&io_crash_all);
    struct io_crash *machine = machine_after(old);
    bool *wanted = must(calloc(old->inode_count, sizeof *wanted));
    wanted[0] = true;
    for (uint32_t i = 0; i < old->inode_count; i++)
        if (old->inodes[i] && old->inodes[i]->directory) mark_names(old->inodes[i], wanted);

    for (uint32_t i = 0; i < old->inode_count; i++) {
        struct inode *from = old->inodes[i];
        if (from == NULL || !wanted[i]) continue;
        struct inode *inode = machine->inodes[i] = must(malloc(sizeof *inode));
        *inode = *from;
        inode->opens = 0;
        inode->memory = NULL;
        inode->changes = changes_copy(&from->changes);
        inode->now = inode_content(old, from);
        inode->is_seen = false;
        inode->durable = content_copy(&from->durable);
        inode->names = entries_copy(&from->names);
        inode->durable_names = entries_copy(&from->durable_names);
    }
    free(wanted);
    pthread_mutex_unlock(&io_crash_all);
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
static struct content crash_mapped(const struct outage *outage, uint32_t number, struct inode *from)
{
    const struct content *seen = inode_seen(outage->old, from); /* or NULL: page by page from memory, and only what is wanted */
    struct content content = content_copy(&from->durable);
    uint64_t moment = outage->old->moment, size = content.size;
    size_t in_now = (size_t)((from->now.size + PAGE - 1) / PAGE);
    size_t count = in_now > content_count(&content) ? in_now : content_count(&content);

    for (size_t i = 0; i < count; i++) {
        const uint8_t *is = seen ? content_page(seen, i) : i < in_now ? from->memory->base + i * PAGE : page_zeros;
        const uint8_t *was = content_page(&content, i);
        if (is == was || memcmp(is, was, PAGE) == 0 || !keeps(outage, IO_CRASH_PAGE, moment, number, i * PAGE, PAGE)) continue;
        if (seen) content_share(&content, i, seen);
        else content_set(&content, i, is);
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

    for (size_t i = 0; i < entries_count(&inode->names); i++) {
        uint32_t child = inode->names.names->all[i].inode;
        struct inode *was = outage->old->inodes[child];
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
    pthread_mutex_lock(&io_crash_all);
    struct io_crash *machine = power_loss(old, unit, keep, context);
    pthread_mutex_unlock(&io_crash_all);
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
    return io_crash_mix(&choice->random) >> 56 < choice->chance;
}

struct io_crash *io_crash_power_loss(const struct io_crash *old, uint64_t seed)
{
    static const uint32_t units[] = {64, 8, 512, 4096};
    static const uint32_t chances[] = {128, 128, 230, 26, 250, 6};
    struct choice choice = {.random = seed, .oldest = UINT64_MAX};
    uint32_t unit = seed < 18 ? 64 : units[seed % 4];

    pthread_mutex_lock(&io_crash_all);
    choice.how = seed == 0 ? NOTHING : seed == 1 ? EVERYTHING : seed < 10 ? UNTIL : seed < 14 ? ALL_BUT_ONE
               : seed < 18 ? ONLY_ONE : COIN;
    if (choice.how == UNTIL || choice.how == ALL_BUT_ONE || choice.how == ONLY_ONE) {
        machine_free(power_loss(old, unit, look_around, &choice));
        choice.random += old->moment; /* another one after each call, or it would be the same one for long */
        if (choice.asked > 0) {
            choice.number = io_crash_mix(&choice.random) % choice.asked;
            choice.moment = choice.oldest + io_crash_mix(&choice.random) % (old->moment - choice.oldest + 1);
        }
        choice.asked = 0;
    } else if (choice.how == COIN) {
        choice.random += old->moment;
        choice.chance = chances[io_crash_mix(&choice.random) % (sizeof chances / sizeof *chances)];
    }
    struct io_crash *machine = power_loss(old, unit, choose, &choice);
    pthread_mutex_unlock(&io_crash_all);
    return machine;
}

/* ---- hash -------------------------------------------------------------- */

/* Of all names, whose order means nothing, with what they lead to. */
static uint64_t hash_names(const struct io_crash *machine, const struct entries *names, uint64_t seed, bool mapped)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < entries_count(names); i++) {
        const struct entry *entry = &names->names->all[i];
        const struct inode *inode = machine->inodes[entry->inode];
        uint64_t hash = XXH3_64bits_withSeed(entry->name, strlen(entry->name), seed);
        if (!inode->directory && (mapped || !inode->by_pages)) hash = content_hash(&inode->now, hash);
        sum += hash;
    }
    return sum;
}

uint64_t io_crash_hash(const struct io_crash *machine)
{
    uint64_t sum = 0;

    pthread_mutex_lock(&io_crash_all);
    for (uint32_t i = 0; i < machine->inode_count; i++) {
        const struct inode *directory = machine->inodes[i];
        if (directory && directory->directory) sum += hash_names(machine, &directory->names, i, false);
    }
    pthread_mutex_unlock(&io_crash_all);
    return sum;
}

static uint64_t hash_changes(const struct changes *changes, uint64_t hash)
{
    for (size_t i = 0; i < changes->count; i++) {
        const struct change *change = changes->all[i];
        const uint64_t numbers[] = {change->kind, change->offset, change->size, change->size_after, change->sizes, change->inode};
        hash = XXH3_64bits_withSeed(numbers, sizeof numbers, hash);
        if (change->kind == WRITE) {
            hash = XXH3_64bits_withSeed(change->bytes, change->size, hash);
        } else {
            hash = XXH3_64bits_withSeed(change->from, sizeof change->from, hash);
            hash = XXH3_64bits_withSeed(change->to, sizeof change->to, hash);
        }
    }
    return hash;
}

uint64_t io_crash_hash_alive(const struct io_crash *machine)
{
    uint64_t sum = 0;

    pthread_mutex_lock(&io_crash_all);
    for (uint32_t i = 0; i < machine->inode_count; i++) {
        const struct inode *inode = machine->inodes[i];
        if (inode == NULL) continue;
        assert(inode->memory == NULL); /* its bytes are in `now`, as nobody has mapped it yet */
        uint64_t hash = content_hash(&inode->durable, i);
        if (inode->directory) hash += hash_names(machine, &inode->names, i, true) + 3 * hash_names(machine, &inode->durable_names, i, true);
        sum += hash_changes(&inode->changes, hash);
    }
    pthread_mutex_unlock(&io_crash_all);
    return sum;
}
