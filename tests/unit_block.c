/* Memory on loan: it stays as long as somebody holds it, and a little of it is kept for the next one who wants some. */
#include <malloc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "block.h"
#include "support/api.h"

enum { STANDARD = 1000, KEPT = 4 };

static struct lqi_pool pool;

static struct lqi_block *take(size_t size)
{
    struct lqi_block *block = lqi_block_get(&pool, size);
    HOLDS(block != NULL);
    HOLDS(block->capacity >= size);
    memset(block->bytes, 'x', block->capacity);
    return block;
}

static void begin(void)
{
    lqi_pool_release(&pool);
    pool = (struct lqi_pool){.standard = STANDARD};
}

static size_t in_use(void)
{
    return api_sanitized ? 0 : mallinfo2().uordblks;
}

static void what_nobody_holds_any_more_serves_the_next_one(void **state)
{
    (void)state;
    begin();
    struct lqi_block *block = take(STANDARD);
    EQUAL(block->capacity, STANDARD);
    lqi_block_drop(block);
    HOLDS(take(1) == block);
    struct lqi_block *other = take(STANDARD);
    HOLDS(other != block);
    lqi_block_drop(block);
    lqi_block_drop(other);
    lqi_pool_release(&pool);
}

static void what_somebody_holds_is_nobody_elses(void **state)
{
    (void)state;
    begin();
    struct lqi_block *block = take(10);
    HOLDS(lqi_block_hold(block) == block);
    lqi_block_drop(block);
    struct lqi_block *other = take(10);
    HOLDS(other != block);
    HOLDS(block->bytes[0] == 'x');
    lqi_block_drop(block);
    HOLDS(take(10) == block);
    lqi_block_drop(block);
    lqi_block_drop(other);
    lqi_block_drop(NULL);
    lqi_pool_release(&pool);
}

static void what_is_larger_than_usual_is_not_kept(void **state)
{
    (void)state;
    begin();
    struct lqi_block *small = take(10), *large = take(STANDARD + 1);
    size_t before = in_use();
    lqi_block_drop(large);
    HOLDS(api_sanitized || in_use() < before);
    EQUAL(pool.kept_count, 0);
    /* And what is kept does not do for more than it can hold. */
    lqi_block_drop(small);
    large = take(STANDARD + 1);
    HOLDS(large != small);
    EQUAL(pool.kept_count, 1);
    lqi_block_drop(large);
    lqi_pool_release(&pool);
}

static void as_many_as_are_used_in_turn_are_kept_and_the_rest_goes(void **state)
{
    struct lqi_block *blocks[KEPT + 3];
    (void)state;
    begin();
    size_t before = in_use();
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < KEPT + 3; i++) blocks[i] = take(STANDARD);
        EQUAL(pool.kept_count, 0);
        for (int i = 0; i < KEPT + 3; i++) lqi_block_drop(blocks[i]);
        EQUAL(pool.kept_count, KEPT);
    }
    HOLDS(api_sanitized || in_use() < before + (KEPT + 1) * (STANDARD + sizeof **blocks + 64));
    lqi_pool_release(&pool);
    EQUAL(pool.kept_count, 0);
    HOLDS(pool.kept == NULL);
    EQUAL(in_use(), before);
}

static void memory_that_is_not_there_is_told(void **state)
{
    (void)state;
    if (api_sanitized) skip(); /* AddressSanitizer takes it for a mistake */
    begin();
    HOLDS(lqi_block_get(&pool, SIZE_MAX / 4) == NULL);
    EQUAL(pool.kept_count, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_nobody_holds_any_more_serves_the_next_one),
        cmocka_unit_test(what_somebody_holds_is_nobody_elses),
        cmocka_unit_test(what_is_larger_than_usual_is_not_kept),
        cmocka_unit_test(as_many_as_are_used_in_turn_are_kept_and_the_rest_goes),
        cmocka_unit_test(memory_that_is_not_there_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
