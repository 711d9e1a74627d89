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

/* ---- rows of pages ------------------------------------------------------ */

static void pages_drop(struct pages *pages)
{
    if (pages == NULL || --pages->refs > 0) return;
    for (size_t i = 0; i < pages->count; i++) page_drop(pages->all[i]);
    free(pages);
}

/* One that nobody else has, of `count` pages at least. */
static struct pages *pages_own(struct content *content, size_t count)
{
    struct pages *old = content->pages;
    if (old && old->refs == 1 && count <= old->room) {
        while (old->count < count) old->all[old->count++] = NULL;
        return old;
    }
    size_t had = old ? old->count : 0, room = count > had ? count + 4 : had;
    struct pages *pages = must(malloc(sizeof *pages + room * sizeof *pages->all));
    *pages = (struct pages){1, had > count ? had : count, room};
    for (size_t i = 0; i < pages->count; i++) {
        pages->all[i] = i < had ? old->all[i] : NULL;
        if (pages->all[i]) pages->all[i]->refs++;
    }
    pages_drop(old);
    return content->pages = pages;
}

/* ---- contents ---------------------------------------------------------- */

void content_drop(struct content *content)
{
    pages_drop(content->pages);
    *content = (struct content){0};
}

struct content content_copy(const struct content *from)
{
    if (from->pages) from->pages->refs++;
    return *from;
}

uint8_t *content_own(struct content *content, size_t index)
{
    struct page **place = &pages_own(content, index + 1)->all[index], *old = *place;
    if (old && old->refs == 1) {
        old->hashed = false;
        return old->bytes;
    }
    struct page *page = page_new();
    memcpy(page->bytes, old ? old->bytes : page_zeros, PAGE);
    page_drop(old);
    *place = page;
    return page->bytes;
}

void content_set(struct content *content, size_t index, const uint8_t bytes[PAGE])
{
    struct page **place = &pages_own(content, index + 1)->all[index];
    page_drop(*place);
    *place = page_new();
    memcpy((*place)->bytes, bytes, PAGE);
}

void content_share(struct content *content, size_t index, const struct content *from)
{
    struct page *page = index < content_count(from) ? from->pages->all[index] : NULL;
    struct page **place = &pages_own(content, index + 1)->all[index];
    if (page) page->refs++;
    page_drop(*place);
    *place = page;
}

void content_put(struct content *content, uint64_t offset, const uint8_t *bytes, uint64_t size)
{
    while (size > 0) {
        size_t index = (size_t)(offset / PAGE), at = offset % PAGE, part = PAGE - at;
        if (part > size) part = (size_t)size;
        if (bytes)
            memcpy(content_own(content, index) + at, bytes, part);
        else if (memcmp(content_page(content, index) + at, page_zeros, part) != 0)
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
    if (content_count(content) > keep) {
        struct pages *pages = pages_own(content, keep);
        while (pages->count > keep) page_drop(pages->all[--pages->count]);
    }
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
    for (size_t i = 0; i < content_count(content); i++) {
        uint64_t page = page_hash(content->pages->all[i]) + i;
        if (page != i) hash = XXH3_64bits_withSeed(&page, sizeof page, hash);
    }
    return hash;
}
