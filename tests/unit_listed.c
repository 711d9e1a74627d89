/* What a directory lists, and what is gone when it is looked at: somebody has deleted it in between, and it is no damage. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "queue.h"
#include "support/api.h"

enum { MESSAGES = 200, BODY = 1000 };

/* ---- a machine that lists too much ------------------------------------------------ */

static struct lqi_io machine;
static char ghost[64]; /* listed with those of its kind, and not there */

struct listing {
    lqi_name_callback *each;
    void *context;
    bool its_kind;
};

static int note_kind(void *context, const char *name)
{
    struct listing *listing = context;
    const char *end = strrchr(name, '.');
    if (end && strcmp(end, strrchr(ghost, '.')) == 0) listing->its_kind = true;
    return listing->each(listing->context, name);
}

static int list_with_ghost(const struct lqi_io *io, int dir, lqi_name_callback *each, void *context)
{
    struct listing listing = {each, context, false};
    int error = lqi_io_posix.dir_list(io, dir, note_kind, &listing);
    if (!error && listing.its_kind) each(context, ghost);
    return error;
}

/* Some segments, and the consumers "a" and "b". */
static lq_queue *look(void **state, const char *name)
{
    lq_queue *queue = api_open(state, &(lq_options){.sync = LQ_SYNC_NEVER, .segment_size = 64 << 10, .ring_size = 64 << 10});
    api_put_range(queue, 1, MESSAGES, BODY);
    OK(lq_consumer_close(api_consumer(queue, "a", NULL)));
    OK(lq_consumer_close(api_consumer(queue, "b", NULL)));
    OK(lq_close(queue));
    strcpy(ghost, name);
    machine = lqi_io_posix;
    machine.dir_list = list_with_ghost;
    OK(lqi_open_io(&machine, api_path(*state, "q"), &(lq_options){.size = sizeof(lq_options), .flags = LQ_READ_ONLY}, &queue));
    return queue;
}

/* ---- what is told ------------------------------------------------------------------ */

static int take_consumer(void *context, int code, const lq_consumer_stats *stats)
{
    IS(LQ_OK, code);
    strcat(context, stats->name);
    return 0;
}

static void a_consumer_that_is_deleted_while_all_are_told_is_not_told(void **state)
{
    char told[3 * (LQ_NAME_MAX + 1)] = "";
    lq_queue *queue = look(state, "aa.pos");
    OK(lq_each_consumer(queue, take_consumer, told));
    HOLDS(strcmp(told, "ab") == 0 || strcmp(told, "ba") == 0);
    OK(lq_close(queue));
}

static int take_segment(void *context, const lq_segment *segment)
{
    uint64_t *next_id = context;
    IS(LQ_OK, segment->code);
    EQUAL(segment->first_id, *next_id);
    *next_id = segment->last_id + 1;
    return 0;
}

static void a_segment_that_is_deleted_while_all_are_told_is_not_told(void **state)
{
    uint64_t next_id = 1;
    lq_queue *queue = look(state, "00000000000000000010.seg");
    OK(lq_each_segment(queue, take_segment, &next_id));
    EQUAL(next_id, MESSAGES + 1);
    OK(lq_close(queue));
}

/* Nor counted. */
static void what_is_deleted_while_all_is_verified_is_no_finding(void **state)
{
    lq_verify_result result[3];
    static const char *const ghosts[] = {"none.at.all", "00000000000000000010.seg", "aa.pos"};
    for (int i = 0; i < 3; i++) {
        result[i] = (lq_verify_result){.size = sizeof result[i]};
        OK(lq_close(look(state, ghosts[i])));
        OK(lqi_verify_io(&machine, api_path(*state, "q"), 0, NULL, NULL, &result[i]));
        EQUAL(result[i].messages, MESSAGES);
        EQUAL(result[i].segments, result[0].segments);
        EQUAL(result[i].consumers, 2);
        HOLDS(!api_teardown(state) && !api_setup(state)); /* another directory */
    }
    HOLDS(result[0].segments > 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_DIRECTORY(a_consumer_that_is_deleted_while_all_are_told_is_not_told),
        IN_DIRECTORY(a_segment_that_is_deleted_while_all_are_told_is_not_told),
        IN_DIRECTORY(what_is_deleted_while_all_is_verified_is_no_finding),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
