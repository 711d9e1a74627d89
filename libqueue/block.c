#include "block.h"

#include <stdlib.h>

#define KEPT_MAX 4

struct lqi_block *lqi_block_get(struct lqi_pool *pool, size_t size)
{
    struct lqi_block *block = pool->kept;

    if (block && size <= pool->standard) {
        pool->kept = block->next;
        pool->kept_count--;
    } else {
        size_t capacity = size < pool->standard ? pool->standard : size;
        block = malloc(sizeof *block + capacity);
        if (!block) return NULL;
        block->pool = pool;
        block->capacity = capacity;
    }
    block->references = 1;
    return block;
}

void lqi_block_drop(struct lqi_block *block)
{
    if (!block || --block->references) return;

    struct lqi_pool *pool = block->pool;
    if (block->capacity == pool->standard && pool->kept_count < KEPT_MAX) {
        block->next = pool->kept;
        pool->kept = block;
        pool->kept_count++;
    } else {
        free(block);
    }
}

void lqi_pool_release(struct lqi_pool *pool)
{
    while (pool->kept) {
        struct lqi_block *block = pool->kept;
        pool->kept = block->next;
        free(block);
    }
    pool->kept_count = 0;
}
