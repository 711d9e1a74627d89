/* The options of a queue: defaults, ranges, rounding; stored, and never changed by opening. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "support/api.h"

enum { SIZE = sizeof(lq_options) };

static int try_open(void **state, lq_options options)
{
    lq_queue *queue = NULL;
    options.size = SIZE;
    int err = lq_open(api_path(*state, "q"), &options, &queue);
    if (err) HOLDS(queue == NULL);
    else OK(lq_close(queue));
    return err;
}

static void zero_is_the_default_everywhere(void **state)
{
    for (int pass = 0; pass < 2; pass++) {
        lq_queue *queue;
        OK(lq_open(api_path(*state, pass ? "a" : "b"), pass ? NULL : &(lq_options){.size = SIZE}, &queue));
        lq_stats stats = api_stats(queue);
        EQUAL(stats.sync, LQ_SYNC_ALWAYS);
        EQUAL(stats.sync_interval_ms, 100);
        EQUAL(stats.retention, LQ_RETAIN_CONSUMED);
        EQUAL(stats.full, LQ_FULL_REJECT);
        EQUAL(stats.size_max, 0);
        EQUAL(stats.age_max_ms, 0);
        EQUAL(stats.segment_size, 64 << 20);
        EQUAL(stats.ring_size, 4 << 20);
        EQUAL(stats.message_size_max, 1 << 30);
        EQUAL(stats.compression, 0);
        OK(lq_close(queue));
    }
}

static void what_is_out_of_range_is_refused_and_nothing_is_made(void **state)
{
    const struct {
        lq_options options;
        const char *named;
    } bad[] = {
        {{.flags = 8}, "flags"}, {{.flags = 1u << 31}, "flags"},
        {{.mode = 01777}, "mode"}, {{.mode = 0400}, "mode"}, {{.mode = 0066}, "mode"},
        {{.full_timeout_ms = -2}, "full_timeout_ms"},
        {{.sync = 4}, "sync"}, {{.sync = -1}, "sync"},
        {{.sync_interval_ms = 3600001}, "sync_interval_ms"},
        {{.retention = 4}, "retention"}, {{.retention = -1}, "retention"},
        {{.full = 4}, "full"}, {{.full = -1}, "full"},
        {{.size_max = 1}, "size_max"}, {{.size_max = (128 << 20) - 1}, "size_max"},
        {{.size_max = (128 << 10) - 1, .segment_size = 64 << 10}, "size_max"},
        {{.age_max_ms = -1}, "age_max_ms"},
        {{.segment_size = 1}, "segment_size"}, {{.segment_size = (64 << 10) - 1}, "segment_size"},
        {{.segment_size = ((uint64_t)4 << 30) + 1}, "segment_size"}, {{.segment_size = UINT64_MAX}, "segment_size"},
        {{.ring_size = 1}, "ring_size"}, {{.ring_size = (64 << 10) - 1}, "ring_size"},
        {{.ring_size = (1 << 30) + 1}, "ring_size"}, {{.ring_size = UINT64_MAX}, "ring_size"},
        {{.message_size_max = (1 << 30) + 1}, "message_size_max"}, {{.message_size_max = UINT64_MAX}, "message_size_max"},
        {{.compression = -1}, "compression"}, {{.compression = 10}, "compression"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        IS(LQ_EINVAL, try_open(state, bad[i].options));
        TEXT_HAS(bad[i].named);
        HOLDS(!api_file_exists(api_path(*state, "q")));
    }
}

static void the_ends_of_the_ranges_are_taken(void **state)
{
    const lq_options good[] = {
        {.sync = LQ_SYNC_INTERVAL, .sync_interval_ms = 1}, {.sync_interval_ms = 3600000}, {.sync = LQ_SYNC_NEVER},
        {.segment_size = 64 << 10}, {.segment_size = (uint64_t)4 << 30}, {.ring_size = 64 << 10},
        {.message_size_max = 1}, {.message_size_max = 1 << 30}, {.compression = 1}, {.compression = 9},
        {.size_max = 128 << 20}, {.size_max = UINT64_MAX}, {.age_max_ms = INT64_MAX}, {.age_max_ms = 1},
        {.full_timeout_ms = INT64_MAX}, {.full_timeout_ms = -1}, {.mode = 0777},
    };
    char name[] = "qa";
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        lq_options options = good[i];
        lq_queue *queue;
        options.size = SIZE;
        name[1] = (char)('a' + i);
        OK(lq_open(api_path(*state, name), &options, &queue));
        api_put(queue, "x");
        OK(lq_close(queue));
        OK(lq_open(api_path(*state, name), &options, &queue)); /* the same again fits */
        OK(lq_close(queue));
    }
}

static void sizes_are_rounded_up(void **state)
{
    lq_queue *queue = api_open(state, &(lq_options){.segment_size = 100000, .ring_size = 100000});
    lq_stats stats = api_stats(queue);
    EQUAL(stats.segment_size, 102400);
    EQUAL(stats.ring_size, 131072);
    OK(lq_close(queue));
    OK(try_open(state, (lq_options){.segment_size = 100000, .ring_size = 100000}));
    OK(try_open(state, (lq_options){.segment_size = 102400, .ring_size = 131072}));
}

static void another_value_than_the_stored_one_is_a_mismatch(void **state)
{
    const lq_options stored = {.sync = LQ_SYNC_INTERVAL, .sync_interval_ms = 50, .retention = LQ_RETAIN_LIMITS, .full = LQ_FULL_BLOCK,
                               .size_max = 1 << 20, .age_max_ms = 1000, .segment_size = 64 << 10, .ring_size = 64 << 10,
                               .message_size_max = 1000, .compression = 5};
    const struct {
        lq_options options;
        const char *named;
    } others[] = {
        {{.sync = LQ_SYNC_ALWAYS}, "sync"}, {{.sync_interval_ms = 51}, "sync_interval_ms"},
        {{.retention = LQ_RETAIN_CONSUMED}, "retention"}, {{.full = LQ_FULL_REJECT}, "full"},
        {{.size_max = 2 << 20}, "size_max"}, {{.age_max_ms = 1001}, "age_max_ms"}, {{.segment_size = 128 << 10}, "segment_size"},
        {{.ring_size = 128 << 10}, "ring_size"}, {{.message_size_max = 1001}, "message_size_max"}, {{.compression = 6}, "compression"},
    };
    lq_queue *queue = api_open(state, &stored);
    for (int live = 1; live >= 0; live--) {
        for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
            IS(LQ_EMISMATCH, try_open(state, others[i].options));
            TEXT_HAS(others[i].named);
        }
        OK(try_open(state, stored));
        OK(try_open(state, (lq_options){0}));
        OK(try_open(state, (lq_options){.mode = 0777, .full_timeout_ms = 5, .flags = LQ_DEFER_SYNC})); /* of the handle */
        if (live) OK(lq_close(queue));
    }
}

static void a_newer_programs_struct_is_taken_if_it_asks_nothing_new(void **state)
{
    struct {
        lq_options options;
        uint64_t newer[4];
    } larger = {.options = {.size = sizeof larger, .sync = LQ_SYNC_NEVER}};
    lq_queue *queue = NULL;

    OK(lq_open(api_path(*state, "q"), &larger.options, &queue));
    EQUAL(api_stats(queue).sync, LQ_SYNC_NEVER);
    OK(lq_close(queue));
    larger.newer[2] = 1;
    queue = NULL;
    IS(LQ_EINVAL, lq_open(api_path(*state, "q"), &larger.options, &queue));
    HOLDS(queue == NULL);
}

static void a_struct_without_its_size_is_refused(void **state)
{
    static const size_t sizes[] = {0, 1, sizeof(size_t) - 1, 4097, SIZE_MAX};
    lq_queue *queue = NULL;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        lq_options options = {.size = sizes[i]};
        IS(LQ_EINVAL, lq_open(api_path(*state, "q"), &options, &queue));
        TEXT_HAS("size");
        HOLDS(!api_file_exists(api_path(*state, "q")));
    }
}

static void a_consumers_struct_may_be_of_another_version_too(void **state)
{
    lq_queue *queue = api_open(state, NULL);
    lq_consumer *consumer;
    struct {
        lq_consumer_options options;
        uint64_t newer[4];
    } larger = {.options = {.size = sizeof larger, .start = LQ_START_END}};
    lq_consumer_options smaller = {.size = offsetof(lq_consumer_options, window), .start = LQ_START_END, .window = 1};

    api_put(queue, "x");
    OK(lq_consumer_open(queue, "a", &larger.options, &consumer));
    OK(lq_consumer_close(consumer));
    EQUAL(api_consumer_stats(queue, "a").floor, 1);
    larger.newer[0] = 1;
    IS(LQ_EINVAL, lq_consumer_open(queue, "b", &larger.options, &consumer));
    OK(lq_consumer_open(queue, "c", &smaller, &consumer)); /* its window is not part of what was passed */
    OK(lq_consumer_close(consumer));
    EQUAL(api_consumer_stats(queue, "c").window, 65536);
    OK(lq_close(queue));
}

static mode_t mode_of(const char *path)
{
    struct stat stat;
    HOLDS(lstat(path, &stat) == 0);
    return stat.st_mode & 07777;
}

static void files_are_private_unless_asked(void **state)
{
    mode_t mask = umask(0);
    for (int pass = 0; pass < 2; pass++) {
        lq_queue *queue;
        char path[4096];
        strcpy(path, api_path(*state, pass ? "open" : "private"));
        OK(lq_open(path, &(lq_options){.size = SIZE, .mode = pass ? 0664 : 0}, &queue));
        OK(lq_consumer_close(api_consumer(queue, "c", NULL)));
        api_put(queue, "x");
        mode_t file = pass ? 0664 : 0600, directory = pass ? 0775 : 0700;
        EQUAL(mode_of(path), directory);
        EQUAL(mode_of(api_path(path, "log")), directory);
        EQUAL(mode_of(api_path(path, "consumers")), directory);
        EQUAL(mode_of(api_path(path, "meta")), file);
        EQUAL(mode_of(api_path(path, "shared")), file);
        EQUAL(mode_of(api_segment(path, 0)), file);
        EQUAL(mode_of(api_path(path, "consumers/c.pos")), file);
        OK(lq_close(queue));
    }
    umask(mask);
}

static void a_queue_that_is_not_there_is_made_only_if_allowed(void **state)
{
    IS(LQ_ENOTFOUND, try_open(state, (lq_options){.flags = LQ_NO_CREATE}));
    HOLDS(!api_file_exists(api_path(*state, "q")));
    OK(try_open(state, (lq_options){0}));
    OK(try_open(state, (lq_options){.flags = LQ_NO_CREATE}));
}

static void there_is_a_limit_of_handles_and_the_next_one_is_told(void **state)
{
    lq_queue *queues[257] = {NULL};
    int count = 0, err = LQ_OK;
    lq_options options = {.size = SIZE, .ring_size = 64 << 10, .sync = LQ_SYNC_NEVER};

    struct rlimit limit;
    HOLDS(getrlimit(RLIMIT_NOFILE, &limit) == 0);
    limit.rlim_cur = limit.rlim_max < 4096 ? limit.rlim_max : 4096;
    HOLDS(setrlimit(RLIMIT_NOFILE, &limit) == 0);
    if (limit.rlim_cur < 4000) skip();
    while (count < 257 && (err = lq_open(api_path(*state, "q"), &options, &queues[count])) == LQ_OK) count++;
    IS(LQ_ELIMIT, err);
    TEXT_HAS("256");
    EQUAL(count, 256);
    EQUAL(api_stats(queues[0]).handles, 256);
    OK(lq_close(queues[100]));
    queues[100] = NULL;
    OK(lq_open(api_path(*state, "q"), &options, &queues[100]));
    for (int i = 0; i < 256; i++) OK(lq_close(queues[i]));
}

static void every_code_has_a_name_and_a_sentence(void **state)
{
    (void)state;
    for (int code = LQ_EUNSUPPORTED; code <= LQ_TIMEOUT; code++) {
        HOLDS(strncmp(lq_error_name(code), "LQ_", 3) == 0 && strcmp(lq_error_name(code), "LQ_?") != 0);
        HOLDS(strlen(lq_strerror(code)) > 3);
        for (int other = LQ_EUNSUPPORTED; other < code; other++) HOLDS(strcmp(lq_error_name(code), lq_error_name(other)) != 0);
    }
    assert_string_equal(lq_error_name(1000), "LQ_?");
    assert_string_equal(lq_error_name(-1000), "LQ_?");
    HOLDS(lq_strerror(-1000) != NULL);
    assert_string_equal(lq_version(), LQ_VERSION);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_DIRECTORY(zero_is_the_default_everywhere),
        IN_DIRECTORY(what_is_out_of_range_is_refused_and_nothing_is_made),
        IN_DIRECTORY(the_ends_of_the_ranges_are_taken),
        IN_DIRECTORY(sizes_are_rounded_up),
        IN_DIRECTORY(another_value_than_the_stored_one_is_a_mismatch),
        IN_DIRECTORY(a_newer_programs_struct_is_taken_if_it_asks_nothing_new),
        IN_DIRECTORY(a_struct_without_its_size_is_refused),
        IN_DIRECTORY(a_consumers_struct_may_be_of_another_version_too),
        IN_DIRECTORY(files_are_private_unless_asked),
        IN_DIRECTORY(a_queue_that_is_not_there_is_made_only_if_allowed),
        IN_DIRECTORY(there_is_a_limit_of_handles_and_the_next_one_is_told),
        IN_DIRECTORY(every_code_has_a_name_and_a_sentence),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
