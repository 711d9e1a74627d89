/* Repair without memory: every allocation fails, the first, the second, the third... It is told, nothing is taken for damaged that
 * could not be looked at, and with memory all goes as it should. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "repair_parts.h"
#include "support/call_fault.h"
#include "support/forge.h"
#include "support/made_plan.h"
#include "support/scratch.h"

/* Two segments that are damaged in several places, one that cannot be read, and an open one. */
static struct made four[4];

static struct lqi_trim make_four(void **state)
{
    uint64_t position = 0, id = 1;
    new_log(state);
    for (int i = 0; i < 4; i++) {
        four[i] = make_segment(id, position, 0);
        add_many(&four[i], 7);
        position = four[i].found.end;
        id = four[i].found.next_id;
        for (int k = 1; k < 7 && i != 3; k += 2) damage(&four[i], four[i].head.position + (uint64_t)k * SPAN);
        if (i < 3) seal(&four[i], id);
    }
    break_header(&four[2]);
    return (struct lqi_trim){.sequence = 1, .first_id = 1, .synced = position, .next_id = id};
}

static void an_end_that_there_is_no_memory_to_look_for_is_not_made_up(void **state)
{
    static struct lqi_found found;
    const struct lqi_trim trim = make_four(state);
    unsigned n = 1;
    put_bytes(&four[3], 60, "broken", 6);
    put_bytes(&four[3], 188, "broken", 6);
    for (;; n++) {
        call_fault_plan(CALL_ALLOCATE, n, false, ENOMEM);
        int err = lqi_find_end(&the_log, &trim, &nothing, &found);
        bool hit = call_fault_hits() > 0;
        call_fault_end();
        if (!hit) break;
        IS(LQ_ENOMEM, err);
        TEXT_HAS("no memory");
    }
    HOLDS(n > 7); /* a list, and seven bodies */
    EQUAL(found.next_id, 29);
    for (int i = 0; i < 4; i++) done(&four[i]);
}

static void a_plan_that_has_no_memory_is_none(void **state)
{
    static struct lqi_found found;
    const struct lqi_trim trim = make_four(state);
    unsigned n = 1;
    OK(lqi_find_end(&the_log, &trim, &nothing, &found));
    for (;; n++) {
        plan_count = 0;
        call_fault_plan(CALL_ALLOCATE, n, false, ENOMEM);
        int err = lqi_mend_log(&the_log, &trim, &found, note_plan, plans);
        bool hit = call_fault_hits() > 0;
        call_fault_end();
        if (!hit) break;
        IS(LQ_ENOMEM, err);
        TEXT_HAS("no memory");
    }
    HOLDS(n > 8);
    EQUAL(plan_count, 3);
    for (int i = 0; i < 2; i++) EQUAL(plans[i].mending.lost, 3);
    EQUAL(plans[2].mending.lost, 7);
    for (int i = 0; i < 4; i++) done(&four[i]);
}

static void a_file_that_has_no_memory_is_not_said_to_be_written(void **state)
{
    const struct lqi_trim trim = make_four(state);
    unsigned n = 1;
    OK(plan_log(&trim, &nothing));
    for (;; n++) {
        char made[4300];
        snprintf(made, sizeof made, "%s/%s", log_path, "made");
        struct lqi_mending mending = plans[0].mending;
        strcpy(mending.name, "made");
        call_fault_plan(CALL_ALLOCATE, n, false, ENOMEM);
        int err = lqi_mend_write(&the_log, the_log.log_dir, &mending);
        bool hit = call_fault_hits() > 0;
        call_fault_end();
        HOLDS(unlink(made) == 0);
        if (!hit) break;
        IS(LQ_ENOMEM, err);
        TEXT_HAS("no memory");
    }
    HOLDS(n > 2);
    for (int i = 0; i < 4; i++) done(&four[i]);
}

/* ---- consumers ------------------------------------------------------------------------- */

static uint32_t settled(void *context, uint64_t id)
{
    (void)context;
    return id % 2 ? LQI_WORD_SETTLED : 0;
}

static const struct lqi_position_entry saved = {.floor = 10, .delivered = 200, .incarnation = 5};

/* Of which a copy of the fixed part is damaged, and a few odd messages settled. */
static void make_position(int dir, const char *path)
{
    struct lqi_position position;
    uint64_t side[8] = {0};
    OK(lqi_position_create(&lqi_io_posix, dir, "c", uuid, 400, &saved, 0600));
    OK(lqi_position_open(&position, &lqi_io_posix, dir, "c", uuid, true));
    OK(lqi_position_save(&position, &saved, 11, 200, &(struct lqi_position_sides){side, 1}, settled, NULL));
    lqi_position_close(&position);
    api_file_flip(path, 50, 1);
}

static void a_consumer_that_there_is_no_memory_for_stays_as_it_is(void **state)
{
    const char *path = api_path(*state, "consumers/c.pos");
    unsigned n = 1;
    for (;; n++) {
        struct repair repair = {.io = &lqi_io_posix, .path = *state, .dir = -1, .consumers_dir = -1, .aside = LQI_ASIDE_NONE, .found = {.first_id = 1}};
        memcpy(repair.meta.uuid, uuid, sizeof uuid);
        repair.meta.options.mode = 0600;
        HOLDS(mkdir(api_path(*state, "consumers"), 0700) == 0);
        EQUAL(lqi_io_posix.dir_open(&lqi_io_posix, -1, *state, &repair.dir), 0);
        EQUAL(lqi_io_posix.dir_open(&lqi_io_posix, repair.dir, "consumers", &repair.consumers_dir), 0);
        make_position(repair.consumers_dir, path);
        OK(lqi_position_create(&lqi_io_posix, repair.consumers_dir, "d", uuid, 400, &saved, 0600)); /* a second one to be listed */
        struct api_bytes before = api_file_read(path);
        call_fault_plan(CALL_ALLOCATE, n, false, ENOMEM);
        int err = lqi_repair_consumers(&repair);
        bool hit = call_fault_hits() > 0;
        call_fault_end();
        struct api_bytes after = api_file_read(path);
        EQUAL(after.size, before.size);
        EQUAL(repair.result.steps, hit ? 0 : 1);
        EQUAL(memcmp(after.bytes, before.bytes, before.size) == 0, hit);
        free(before.bytes);
        free(after.bytes);
        if (hit) IS(LQ_ENOMEM, err);
        else OK(err);
        if (hit) TEXT_HAS("no memory");
        lqi_aside_close(&repair.aside);
        lqi_io_posix.close(&lqi_io_posix, repair.consumers_dir);
        lqi_io_posix.close(&lqi_io_posix, repair.dir);
        HOLDS(scratch_delete(api_path(*state, "consumers")) == 0);
        if (!hit) break;
    }
    HOLDS(n > 3);
}

/* ---- files that are not the queue's ------------------------------------------------------ */

static void strangers_that_there_is_no_memory_for_are_not_forgotten(void **state)
{
    const char *queue = api_path(*state, "q");
    unsigned n = 1;
    forge_queue(queue, &forge_meta);
    api_file_write(api_path(queue, "log/x"), "x", 1);
    api_file_write(api_path(queue, "log/y"), "y", 1);
    for (;; n++) {
        lq_repair_result result = {.size = sizeof result};
        call_fault_plan(CALL_ALLOCATE, n, false, ENOMEM);
        int err = lqi_repair_io(&lqi_io_posix, queue, LQ_REPAIR_DRY_RUN, NULL, NULL, &result);
        bool hit = call_fault_hits() > 0;
        call_fault_end();
        if (!hit) {
            OK(err);
            EQUAL(result.steps, 2);
            break;
        }
        IS(LQ_ENOMEM, err);
        TEXT_HAS("no memory");
    }
    HOLDS(n > 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_DIRECTORY(an_end_that_there_is_no_memory_to_look_for_is_not_made_up),
        IN_DIRECTORY(a_plan_that_has_no_memory_is_none),
        IN_DIRECTORY(a_file_that_has_no_memory_is_not_said_to_be_written),
        IN_DIRECTORY(a_consumer_that_there_is_no_memory_for_stays_as_it_is),
        IN_DIRECTORY(strangers_that_there_is_no_memory_for_are_not_forgotten),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
