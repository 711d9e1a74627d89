/* Memory that message bytes are lent from: a block is freed, or kept for the
 * next use, when nobody holds a reference any more. For one thread at a time. */
#ifndef LQI_BLOCK_H
#define LQI_BLOCK_H

#include <stddef.h>
#include <stdint.h>

struct lqi_pool;

struct lqi_block {
    struct lqi_pool *pool;
    struct lqi_block *next;
    size_t capacity;
    uint32_t references;
    _Alignas(16) uint8_t bytes[];
};

/* Keeps a few blocks of the standard size: fresh memory costs a page fault every 4 KiB. */
struct lqi_pool {
    size_t standard;
    struct lqi_block *kept;
    uint32_t kept_count;
};

/* A block of at least `size` bytes with one reference; NULL without memory. */
struct lqi_block *lqi_block_get(struct lqi_pool *pool, size_t size);
static inline struct lqi_block *lqi_block_hold(struct lqi_block *block)
{
    block->references++;
    return block;
}
void lqi_block_drop(struct lqi_block *block); /* NULL is fine */
void lqi_pool_release(struct lqi_pool *pool); /* every block was dropped before */

#endif
