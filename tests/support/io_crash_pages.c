/* See io_crash_pages.h. Pages that nobody has any more are kept, linked through their bytes, for the next machine. */
#include "io_crash_pages.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

const uint8_t page_zeros[PAGE];

static struct page *free_pages;

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

void content_drop(struct content *content)
{
    for (size_t i = 0; i < content->count; i++) page_drop(content->pages[i]);
    free(content->pages);
    *content = (struct content){0};
}

struct content content_copy(const struct content *from)
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

uint8_t *content_own(struct content *content, size_t index)
{
    content_reach(content, index);
    struct page *old = content->pages[index];
    if (old && old->refs == 1) {
        old->hashed = false;
        return old->bytes;
    }
    struct page *page = page_new();
    memcpy(page->bytes, old ? old->bytes : page_zeros, PAGE);
    page_drop(old);
    content->pages[index] = page;
    return page->bytes;
}

void content_set(struct content *content, size_t index, const uint8_t bytes[PAGE])
{
    content_reach(content, index);
    page_drop(content->pages[index]);
    content->pages[index] = page_new();
    memcpy(content->pages[index]->bytes, bytes, PAGE);
}

void content_put(struct content *content, uint64_t offset, const uint8_t *bytes, uint64_t size)
{
    while (size > 0) {
        size_t index = (size_t)(offset / PAGE), at = offset % PAGE, part = PAGE - at;
        if (part > size) part = (size_t)size;
        if (bytes)
            memcpy(content_own(content, index) + at, bytes, part);
        else if (content_page(content, index) != page_zeros)
            memset(content_own(content, index) + at, 0, part);
        if (bytes) bytes += part;
        offset += part;
        size -= part;
    }
}

void content_get(const struct content *content, uint64_t offset, uint8_t *bytes, size_t size)
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

void content_resize(struct content *content, uint64_t size)
{
    size_t keep = (size_t)((size + PAGE - 1) / PAGE);
    for (size_t i = keep; i < content->count; i++) page_drop(content->pages[i]);
    if (content->count > keep) content->count = keep;
    if (size % PAGE) content_put(content, size, NULL, PAGE - size % PAGE);
    content->size = size;
}

void pages_trim(void)
{
    while (free_pages) {
        struct page *page = free_pages;
        memcpy(&free_pages, page->bytes, sizeof free_pages);
        free(page);
    }
}

/* ---- hash -------------------------------------------------------------- */

/* 0 for a page of zeros, and for none. */
static uint64_t page_hash(struct page *page)
{
    if (page == NULL) return 0;
    if (!page->hashed) page->hash = memcmp(page->bytes, page_zeros, PAGE) == 0 ? 0 : XXH3_64bits(page->bytes, PAGE) | 1;
    page->hashed = true;
    return page->hash;
}

uint64_t content_hash(const struct content *content, uint64_t seed)
{
    uint64_t hash = XXH3_64bits_withSeed(&content->size, sizeof content->size, seed);
    for (size_t i = 0; i < content->count; i++) {
        uint64_t page = page_hash(content->pages[i]) + i;
        if (page != i) hash = XXH3_64bits_withSeed(&page, sizeof page, hash);
    }
    return hash;
}
