/* Where a walk is sent to: before what is kept, over what is damaged, or by a time. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "support/made_walk.h"

/* ---- where the log begins -------------------------------------------------------------- */

static void is_trimmed(uint64_t first_id, uint64_t count, uint64_t limit)
{
    EQUAL(step(limit), LQI_HOLE);
    HOLDS(scan.hole.trimmed);
    EQUAL(scan.hole.first_id, first_id);
    EQUAL(scan.hole.count, count);
}

static void what_retention_has_deleted_is_told_as_no_damage_and_the_walk_goes_on_behind(void **state)
{
    struct made made[2];
    new_log(state);
    made[0] = sealed(4, 3 * SPAN, 3);
    made[1] = filled(7, 6 * SPAN, 3);
    the_log.files_first_id = 4;
    the_log.files_first_position = 3 * SPAN;
    begin(0, 1);
    is_trimmed(1, 3, 9 * SPAN);
    EQUAL(scan.position, 3 * SPAN);
    meets(4, 9, 9 * SPAN);
    OK(lqi_scan_seek_id(&scan, 2));
    is_trimmed(2, 2, 9 * SPAN);
    meets(4, 9, 9 * SPAN);
    over();
    drop(made, 2);
}

static void what_deletion_has_left_is_met_as_long_as_it_is_there(void **state)
{
    struct made made[2];
    new_log(state);
    made[0] = sealed(4, 3 * SPAN, 3);
    made[1] = filled(7, 6 * SPAN, 3);
    the_log.files_first_id = 7;
    the_log.files_first_position = 6 * SPAN;
    begin(0, 1);
    for (uint64_t id = 2; id < 7; id++) {
        OK(lqi_scan_seek_id(&scan, id));
        if (id < 4) is_trimmed(id, 4 - id, 9 * SPAN);
        meets(id < 4 ? 4 : id, 9, 9 * SPAN);
    }
    over();
    drop(made, 2);
}

static void what_is_missing_before_the_oldest_file_is_told_to_whoever_seeks_it(void **state)
{
    struct made made[2];
    new_log(state);
    made[0] = sealed(4, 3 * SPAN, 3);
    made[1] = filled(7, 6 * SPAN, 3);
    the_log.files_first_id = 1;
    begin(3 * SPAN, 4);
    meets(4, 9, 9 * SPAN);
    for (uint64_t id = 1; id < 4; id++) {
        OK(lqi_scan_seek_id(&scan, id));
        lacks(id, 0, id, 4 - id, 9 * SPAN);
        meets(4, 9, 9 * SPAN);
    }
    over();
    drop(made, 2);
}

static void who_seeks_a_lost_file_is_not_told_of_damage_in_the_one_before_it(void **state)
{
    struct made made[3];
    new_log(state);
    made[0] = sealed(1, 0, 10);
    made[1] = sealed(11, 10 * SPAN, 5);
    made[2] = filled(16, 15 * SPAN, 3);
    damage(&made[0], 9 * SPAN);
    break_header(&made[1]);
    begin(0, 1);
    OK(lqi_scan_seek_id(&scan, 11));
    lacks(11, 0, 11, 5, 18 * SPAN);
    meets(16, 18, 18 * SPAN);
    over();
    drop(made, 3);
}

/* Though the way leads over all of the good segment that covers the strange file. */
static void damage_on_the_way_to_what_is_sought_is_not_told(void **state)
{
    struct made made[3];
    new_log(state);
    made[0] = sealed(1, 0, 10);
    made[1] = sealed(11, 10 * SPAN, 10);
    made[2] = filled(21, 20 * SPAN, 3);
    damage(&made[1], 12 * SPAN);
    api_file_write(path_of(16), "what is this", 12);
    begin(0, 1);
    OK(lqi_scan_seek_id(&scan, 18));
    EQUAL(lqi_scan_next(&scan, 23 * SPAN), LQ_OK);
    EQUAL(scan.record.first_id, 18);
    meets(19, 23, 23 * SPAN);
    ends(23 * SPAN);

    lqi_scan_start(&scan, 10 * SPAN, 11); /* who goes that way is told */
    meets(11, 12, 23 * SPAN);
    lacks(11, offset_of(&made[1], 12 * SPAN), 13, 1, 23 * SPAN);
    over();
    drop(made, 3);
}

/* ---- times ------------------------------------------------------------------------------ */

/* Three files of three messages, which are 10 us apart; the first cannot be read. */
static void make_dated(struct made three[3])
{
    for (uint64_t i = 0; i < 3; i++) {
        uint8_t bytes[LQI_SEGMENT_HEADER];
        three[i] = make_segment(1 + 3 * i, 3 * i * SPAN, 0);
        three[i].head.created_us = three[i].found.time_us = TIME(3 * i);
        lqi_segment_head_encode(bytes, &three[i].head);
        put_bytes(&three[i], 0, bytes, sizeof bytes);
        add_many(&three[i], 3);
        if (i < 2) seal(&three[i], three[i].found.next_id);
    }
    break_header(&three[0]);
}

static void a_time_is_found_from_wherever_the_walk_has_come_to(void **state)
{
    struct made three[3];
    new_log(state);
    make_dated(three);
    begin(0, 1);
    lacks(1, 0, 1, 3, 9 * SPAN);
    meets(4, 9, 9 * SPAN);
    ends(9 * SPAN);
    OK(lqi_scan_seek_time(&scan, 0, 9 * SPAN));
    meets(4, 9, 9 * SPAN);
    OK(lqi_scan_seek_time(&scan, TIME(8), 9 * SPAN));
    meets(8, 9, 9 * SPAN);
    over();
    drop(three, 3);
}

static void where_nothing_is_of_a_time_or_later_the_walk_waits_at_the_end(void **state)
{
    struct made three[3];
    new_log(state);
    begin(0, 1);
    OK(lqi_scan_seek_time(&scan, 5, 0));
    ends(0);
    over();
    make_dated(three);
    begin(0, 1);
    OK(lqi_scan_seek_time(&scan, INT64_MAX, 9 * SPAN));
    ends(9 * SPAN);
    add(&three[2]);
    meets(10, 10, 10 * SPAN);
    over();
    drop(three, 3);
}

static void a_failure_on_the_way_to_a_time_is_told_and_leads_to_no_other(void **state)
{
    static const enum io_kind kinds[] = {IO_OPEN, IO_READ, IO_STAT, IO_DIR_LIST};
    struct made three[3];
    unsigned told = 0;
    new_log(state);
    make_dated(three);
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        for (uint64_t nth = 0, hits = 1; hits; nth++) {
            begin(0, 1);
            io_fault_plan(&fault, kinds[i], nth / 2 + 1, nth % 2, EMFILE);
            int err = lqi_scan_seek_time(&scan, TIME(5), 9 * SPAN);
            hits = fault.hits;
            io_fault_end(&fault);
            if (err) {
                IS(LQ_ELIMIT, err);
                HOLDS(hits);
                told++;
                OK(lqi_scan_seek_time(&scan, TIME(5), 9 * SPAN));
            }
            meets(5, 9, 9 * SPAN);
            over();
            HOLDS(nth < 60);
        }
    }
    HOLDS(told >= 4);
    drop(three, 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_DIRECTORY(what_retention_has_deleted_is_told_as_no_damage_and_the_walk_goes_on_behind),
        IN_DIRECTORY(what_deletion_has_left_is_met_as_long_as_it_is_there),
        IN_DIRECTORY(a_time_is_found_from_wherever_the_walk_has_come_to),
        IN_DIRECTORY(where_nothing_is_of_a_time_or_later_the_walk_waits_at_the_end),
        IN_DIRECTORY(a_failure_on_the_way_to_a_time_is_told_and_leads_to_no_other),
        IN_DIRECTORY(what_is_missing_before_the_oldest_file_is_told_to_whoever_seeks_it),
        IN_DIRECTORY(who_seeks_a_lost_file_is_not_told_of_damage_in_the_one_before_it),
        IN_DIRECTORY(damage_on_the_way_to_what_is_sought_is_not_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
