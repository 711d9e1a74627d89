/* Of io_crash: files that are mapped. Each lives in a memfd, so that the ring can be mirrored. Memfds and their maps are used
 * again by later machines, as making them takes longer than all the rest. With io_crash_all locked (io_crash_machine.h). */
#ifndef SUPPORT_IO_CRASH_MEMORY_H
#define SUPPORT_IO_CRASH_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { LAYOUTS = 32 };
#define MEMORY_SIZE ((size_t)256 << 20)

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

struct memory *memory_take(void);
void memory_give_back(struct memory *memory); /* nothing of it is mapped any more */

/* An errno, or 0. A map of that layout that was unmapped before is used again. */
int memory_map(struct memory *memory, const struct layout *wanted, void **map_out);
bool memory_mapped(const struct memory *memory);

/* Gives what is free back to the system. */
void memories_trim(void);

#endif
