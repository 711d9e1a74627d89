/* See io_crash_memory.h. */
#include "io_crash_memory.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "io_crash_pages.h"

static struct memory *free_memories;

struct memory *memory_take(void)
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

void memory_give_back(struct memory *memory)
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

int memory_map(struct memory *memory, const struct layout *wanted, void **map_out)
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

bool memory_mapped(const struct memory *memory)
{
    for (size_t i = 0; i < memory->layout_count; i++)
        if (memory->layouts[i].used) return true;
    return false;
}

void memories_trim(void)
{
    while (free_memories) {
        struct memory *memory = free_memories;
        free_memories = memory->next;
        memory_destroy(memory);
    }
}
