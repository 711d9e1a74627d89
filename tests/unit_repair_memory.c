/* Repair without memory: every allocation fails, the first, the second, the third... It is told, nothing is taken for damaged that
 * could not be looked at, and with memory all goes as it should. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "support/call_fault.h"
#include "support/made_plan.h"

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_DIRECTORY(a_plan_that_has_no_memory_is_none),
        IN_DIRECTORY(a_file_that_has_no_memory_is_not_said_to_be_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
