/* Of io_crash: contents of files, as pages that machines share until one of them writes. With io_crash_all locked (io_crash_machine.h). */
#ifndef SUPPORT_IO_CRASH_PAGES_H
#define SUPPORT_IO_CRASH_PAGES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

enum { PAGE = 4096 };

struct page {
    unsigned refs;
    bool hashed; /* `hash` is that of the bytes */
    uint64_t hash;
    uint8_t bytes[PAGE];
};

struct pages {
    unsigned refs;
    size_t count, room;
    struct page *all[];
};

/* A copy is the same row of pages, until one of the two is written. Pages that are NULL, or behind the last one, are zeros.
 * Nothing is kept beyond `size`, but for a moment in crash_file(). */
struct content {
    struct pages *pages;
    uint64_t size;
};

extern const uint8_t page_zeros[PAGE];

static inline void *must(void *memory)
{
    if (memory == NULL) abort();
    return memory;
}

static inline size_t content_count(const struct content *content)
{
    return content->pages ? content->pages->count : 0;
}

static inline const uint8_t *content_page(const struct content *content, size_t index)
{
    return index < content_count(content) && content->pages->all[index] ? content->pages->all[index]->bytes : page_zeros;
}

struct content content_copy(const struct content *from);
void content_drop(struct content *content);

/* The page as one that nobody else has, to be written. */
uint8_t *content_own(struct content *content, size_t index);

/* A whole page: these bytes; or the other one's. */
void content_set(struct content *content, size_t index, const uint8_t bytes[PAGE]);
void content_share(struct content *content, size_t index, const struct content *from);

/* `bytes` NULL: zeros. Leaves the size alone. */
void content_put(struct content *content, uint64_t offset, const uint8_t *bytes, uint64_t size);
void content_get(const struct content *content, uint64_t offset, uint8_t *bytes, size_t size);
void content_resize(struct content *content, uint64_t size);
uint64_t content_hash(const struct content *content, uint64_t seed);

/* Gives the memory of free pages back. */
void pages_trim(void);

#endif
