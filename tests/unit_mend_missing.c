/* What repair plans where whole segments are missing or cannot be read, to the byte and the id; and where the numbers of
 * those that are left contradict each other, or are made up, that it plans nothing. */
#include <errno.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "support/each_fault.h"
#include "support/made_plan.h"
#include "support/scratch.h"

/* As made_log.h has them; of the ids 1, 4, 7, the last is open. */
static struct made three[3];

static void new_three(void **state)
{
    new_log(state);
    make_three(three);
}

static void drop(void)
{
    for (int i = 0; i < 3; i++) done(&three[i]);
    HOLDS(scratch_delete(log_path) == 0);
}

static void lose(int which)
{
    HOLDS(unlink(path_of(three[which].head.first_id)) == 0);
}

static const struct lqi_trim *all_known(void)
{
    static struct lqi_trim trim;
    trim = (struct lqi_trim){.sequence = 1, .first_id = 1, .synced = three[2].found.end, .next_id = 10};
    return &trim;
}

/* ---- missing ------------------------------------------------------------------------- */

static void a_missing_segment_becomes_one_hole_of_its_place_and_its_ids(void **state)
{
    for (int which = 0; which < 3; which++) {
        new_three(state);
        lose(which);
        uint64_t id = three[which].head.first_id, from = three[which].head.position, to = three[which].found.end;
        int64_t made_us = which < 2 ? three[which + 1].head.created_us : three[1].found.time_us;
        struct expected expected = {.id = id, .text = "this segment is missing", .sealed = which < 2, .end = to, .next_id = id + 3, .first_lost = id,
                                    .lost = 3, .patch_count = 1, .patches = {{from, to, id, id + 3, which < 2 ? made_us : 0}}};
        OK(plan_log(all_known(), &nothing));
        EQUAL(plan_count, 1);
        const struct lqi_mending *mending = &plans[0].mending;
        if (which == 2) expected.patches[0].time_us = mending->head.created_us; /* not known */
        is_planned(0, &expected);
        EQUAL(mending->head.position, from);
        EQUAL(mending->head.durable, from);
        if (which < 2) EQUAL(mending->head.created_us, made_us);
        EQUAL(mending->index_count, 0);
        drop();
    }
}

static void segments_made_for_holes_have_salts_of_their_own(void **state)
{
    uint64_t salt = 0;
    for (int i = 0; i < 2; i++) {
        new_three(state);
        lose(1);
        OK(plan_log(all_known(), &nothing));
        HOLDS(plans[0].mending.head.salt != salt && plans[0].mending.head.salt != three[1].head.salt);
        salt = plans[0].mending.head.salt;
        drop();
    }
}

static void segments_missing_side_by_side_are_one_hole(void **state)
{
    for (int first = 0; first < 2; first++) {
        new_three(state);
        lose(first);
        lose(first + 1);
        uint64_t id = three[first].head.first_id;
        OK(plan_log(all_known(), &nothing));
        EQUAL(plan_count, 1);
        is_planned(0, &(struct expected){.id = id, .text = "this segment is missing", .sealed = first == 0, .end = three[first + 1].found.end,
                                         .next_id = id + 6, .first_lost = id, .lost = 6, .patch_count = 1,
                                         .patches = {{three[first].head.position, three[first + 1].found.end, id, id + 6,
                                                      plans[0].mending.head.created_us}}});
        drop();
    }
}

static void of_a_log_of_which_no_file_is_left_one_hole_remains(void **state)
{
    new_three(state);
    for (int i = 0; i < 3; i++) lose(i);
    only_planned(&(struct lqi_trim){.sequence = 1, .first_id = 3, .position = 24, .synced = 1000, .next_id = 8}, &nothing,
                 &(struct expected){.id = 3, .text = "this segment is missing", .end = 1000, .next_id = 8, .first_lost = 3, .lost = 5,
                                    .patch_count = 1, .patches = {{24, 1000, 3, 8, 0}}});
    only_planned(&(struct lqi_trim){.sequence = 1, .first_id = 3, .position = 24, .synced = 24, .next_id = 3}, &nothing, NULL);
    drop();
}

/* Ids are missing, and of the room where they were next to nothing is left; or more than a file could have. */
static void a_gap_longer_than_a_hole_can_be_is_a_short_one_at_its_end(void **state)
{
    static const uint64_t most = (uint64_t)1 << 30;
    for (uint64_t length = most - 8; length <= most + 8; length += 8) {
        new_log(state);
        struct made one = make_segment(1, 0, 0);
        add_many(&one, 3);
        seal(&one, 4);
        struct made two = make_segment(9, one.found.end + length, 0);
        uint64_t from = length > most ? two.head.position - LQI_RECORD_HEADER : one.found.end;
        only_planned(&untrimmed, &nothing,
                     &(struct expected){.id = 4, .text = "this segment is missing", .sealed = true, .end = two.head.position, .next_id = 9,
                                        .first_lost = 4, .lost = 5, .patch_count = 1, .patches = {{from, two.head.position, 4, 9, two.head.created_us}}});
        EQUAL(plans[0].mending.head.position, from);
        EQUAL(plans[0].mending.head.durable, from);
        done(&one);
        done(&two);
        HOLDS(unlink(path_of(1)) == 0 && unlink(path_of(9)) == 0 && rmdir(log_path) == 0);
    }
}

/* ---- not to be read ---------------------------------------------------------------------- */

static void in_the_place_of_one_that_cannot_be_read_comes_a_hole(void **state)
{
    for (int which = 0; which < 2; which++) {
        new_three(state);
        break_header(&three[which]);
        uint64_t id = three[which].head.first_id;
        int64_t made_us = three[which + 1].head.created_us;
        char text[100];
        snprintf(text, sizeof text, "log/%020d.seg at byte 0: ", (int)id);
        only_planned(all_known(), &nothing,
                     &(struct expected){.id = id, .text = text, .there = true, .sealed = true, .end = three[which].found.end, .next_id = id + 3,
                                        .first_lost = id, .lost = 3, .patch_count = 1,
                                        .patches = {{three[which].head.position, three[which].found.end, id, id + 3, made_us}}});
        drop();
    }
}

static void one_hole_takes_the_place_of_two_and_the_second_is_set_aside(void **state)
{
    new_three(state);
    break_header(&three[0]);
    break_header(&three[1]);
    OK(plan_log(all_known(), &nothing));
    EQUAL(plan_count, 2);
    is_planned(0, &(struct expected){.id = 1, .text = "log/00000000000000000001.seg at byte 0: ", .there = true, .sealed = true,
                                     .end = three[1].found.end, .next_id = 7, .first_lost = 1, .lost = 6, .patch_count = 1,
                                     .patches = {{0, three[1].found.end, 1, 7, three[2].head.created_us}}});
    is_planned(1, &(struct expected){.id = 4, .text = "log/00000000000000000004.seg at byte 0: ", .only_taken = true});
    drop();
}

/* It has the name of a message that is in the one before it. */
static void a_stranger_with_the_name_of_a_message_is_set_aside_and_nothing_comes_in_its_place(void **state)
{
    new_three(state);
    struct made stranger = make_segment(5, three[1].head.position + SPAN, 0);
    break_header(&stranger);
    only_planned(all_known(), &nothing, &(struct expected){.id = 5, .text = "log/00000000000000000005.seg at byte 0: ", .only_taken = true});
    done(&stranger);
    drop();
}

static void a_last_segment_that_cannot_be_read_is_a_hole_that_the_log_goes_on_in(void **state)
{
    new_three(state);
    break_header(&three[2]);
    OK(plan_log(all_known(), &nothing));
    EQUAL(plan_count, 1);
    const struct lqi_mending *mending = &plans[0].mending;
    HOLDS(mending->there && !mending->sealed && !mending->readable && mending->head.first_id == 7 && mending->first_lost == 7);
    HOLDS(mending->end >= three[2].found.end && mending->next_id >= 10 && mending->lost == mending->next_id - 7);
    drop();
}

/* May be good, and its header alone be somebody else's. */
static void a_link_that_cannot_be_read_is_left_alone(void **state)
{
    char other[4400];
    new_three(state);
    break_header(&three[1]);
    snprintf(other, sizeof other, "%s.other", log_path);
    HOLDS(link(path_of(4), other) == 0);
    IS(LQ_ECORRUPT, plan_log(all_known(), &nothing));
    TEXT_HAS("log/00000000000000000004.seg has another name");
    EQUAL(plan_count, 0);
    HOLDS(unlink(other) == 0);
    OK(plan_log(all_known(), &nothing));
    drop();
}

/* ---- where it begins ------------------------------------------------------------------------ */

/* The next opener deletes them. */
static void what_was_trimmed_is_not_looked_at(void **state)
{
    for (uint64_t first_id = 1; first_id <= 9; first_id++) {
        new_three(state);
        struct lqi_trim trim = *all_known();
        trim.first_id = first_id;
        trim.position = (first_id - 1) * SPAN;
        for (int i = 0; i < 2; i++) damage(&three[i], three[i].head.position);
        OK(plan_log(&trim, &nothing));
        EQUAL(plan_count, first_id < 4 ? 2 : first_id < 7 ? 1 : 0);
        if (first_id < 7) EQUAL(plans[plan_count - 1].mending.head.first_id, 4);
        if (first_id < 4) EQUAL(plans[0].mending.head.first_id, 1);
        drop();
    }
}

/* The slot knows better than the files, which may have lost their oldest. */
static void what_is_missing_before_the_oldest_file_is_a_hole_from_where_the_log_begins(void **state)
{
    for (uint64_t first_id = 1; first_id <= 4; first_id++) {
        new_three(state);
        struct lqi_trim trim = *all_known();
        trim.first_id = first_id;
        trim.position = (first_id - 1) * SPAN;
        lose(0);
        struct expected expected = {.id = first_id, .text = "this segment is missing", .sealed = true, .end = three[1].head.position, .next_id = 4,
                                    .first_lost = first_id, .lost = 4 - first_id, .patch_count = 1,
                                    .patches = {{trim.position, three[1].head.position, first_id, 4, three[1].head.created_us}}};
        only_planned(&trim, &nothing, first_id < 4 ? &expected : NULL);
        drop();
    }
    /* Or cannot be read, and the log begins in the middle of it. */
    new_three(state);
    break_header(&three[0]);
    struct lqi_trim trim = *all_known();
    trim.first_id = 3;
    trim.position = 2 * SPAN;
    OK(plan_log(&trim, &nothing));
    EQUAL(plan_count, 2);
    is_planned(0, &(struct expected){.id = 3, .text = "this segment is missing", .sealed = true, .end = three[1].head.position, .next_id = 4,
                                     .first_lost = 3, .lost = 1, .patch_count = 1,
                                     .patches = {{2 * SPAN, three[1].head.position, 3, 4, three[1].head.created_us}}});
    is_planned(1, &(struct expected){.id = 1, .text = "log/00000000000000000001.seg at byte 0: ", .only_taken = true});
    drop();
}

/* Where they contradict each other: the slot may be older. */
static void the_oldest_file_knows_better_than_the_slot_where_it_is(void **state)
{
    for (uint64_t position = 0; position <= SPAN; position += SPAN / 2) {
        new_three(state);
        struct lqi_trim trim = *all_known();
        trim.position = position;
        only_planned(&trim, &nothing, NULL);
        drop();
    }
}

/* Its records, and the name of the segment behind it, know better. */
static void a_trailer_is_not_believed_against_all_others(void **state)
{
    for (uint64_t says = 5; says <= 20; says += 5) {
        for (int bad = 0; bad < 2; bad++) {
            new_three(state);
            seal(&three[1], says);
            uint64_t last = three[1].head.position + 2 * SPAN;
            if (bad) damage(&three[1], last);
            struct expected expected = {.id = 4, .text = "byte 16640: no record begins here", .there = true, .readable = true, .sealed = true,
                                        .end = three[1].found.end, .next_id = 7, .first_lost = 6, .lost = 1, .patch_count = 1,
                                        .patches = {{last, last + SPAN, 6, 7, three[1].head.created_us + 20}}};
            if (!bad || says > 5) only_planned(all_known(), &nothing, bad ? &expected : NULL);
            drop();
        }
    }
}

/* Of ids, or of room on the line, of which no file is left: a hole needs its header. */
static void a_hole_at_the_end_has_room_for_its_header(void **state)
{
    for (uint64_t room = 0; room <= 48; room += 8) {
        new_three(state);
        seal(&three[2], 10);
        uint64_t end = three[2].found.end, to = room > LQI_RECORD_HEADER ? end + room : end + LQI_RECORD_HEADER;
        const struct lqi_promise promise = {.position = end + room};
        struct expected expected = {.id = 10, .text = "this segment is missing", .end = to, .next_id = 10, .patch_count = 1,
                                    .patches = {{end, to, 10, 10, three[2].found.time_us}}};
        only_planned(all_known(), &promise, room ? &expected : NULL);
        drop();
    }
}

/* ---- numbers that cannot be ---------------------------------------------------------------------- */

static void is_refused(const struct lqi_trim *trim, const struct lqi_promise *promise, const char *text)
{
    IS(LQ_ECORRUPT, plan_log(trim, promise));
    EQUAL(plan_count, 0);
    if (strcmp(lq_error_text(), text) != 0) api_note("it said %s", lq_error_text());
    HOLDS(strcmp(lq_error_text(), text) == 0);
}

/* Of segments of the ids 1 and so on, 3 messages each, where the second begins at `position` with the message `id`. */
static struct made second;

static void make_second(void **state, uint64_t id, uint64_t position, bool first_sealed)
{
    new_log(state);
    three[0] = make_segment(1, 800, 0);
    add_many(&three[0], 3);
    if (first_sealed) seal(&three[0], 4);
    second = make_segment(id, position, 0);
    damage(&second, add(&second)); /* it would be mended, if all were well */
    add_many(&second, 2);
}

static void drop_second(void)
{
    done(&three[0]);
    done(&second);
    HOLDS(scratch_delete(log_path) == 0);
}

static void segments_that_overlap_are_refused(void **state)
{
    uint64_t end = 800 + 3 * SPAN;
    const struct lqi_trim trim = {.sequence = 1, .first_id = 1, .position = 800, .synced = end + 3 * SPAN};
    make_second(state, 4, end - 8, true);
    is_refused(&trim, &nothing,
               "log/00000000000000000004.seg does not fit behind the segment before it: it is not known which of them is wrong");
    drop_second();
    make_second(state, 4, end, true);
    OK(plan_log(&trim, &nothing));
    EQUAL(plan_count, 1);
    drop_second();
    make_second(state, 4, 792, false);
    is_refused(&trim, &nothing, "log/00000000000000000001.seg begins behind the segment that follows it: this cannot be mended");
    drop_second();
}

static void where_a_hole_does_not_fit_nothing_is_mended(void **state)
{
    for (uint64_t room = 8; room <= 40; room += 8) {
        for (int missing = 0; missing < 2; missing++) { /* messages between them; or the end of the first */
            uint64_t end = 800 + 3 * SPAN;
            const struct lqi_trim trim = {.sequence = 1, .first_id = 1, .position = 800, .synced = end + 4 * SPAN};
            char text[100];
            make_second(state, missing ? 9 : 4, end + room, missing);
            snprintf(text, sizeof text, "log/%020d.seg at byte %d: no room for a hole, this cannot be mended", missing ? 4 : 1,
                     missing ? LQI_SEGMENT_HEADER : LQI_SEGMENT_HEADER + 3 * SPAN);
            if (room < LQI_RECORD_HEADER) is_refused(&trim, &nothing, text);
            else OK(plan_log(&trim, &nothing));
            drop_second();
        }
    }
}

#define TIB (UINT64_C(1) << 40)

/* The line may be as long as it likes, but not more than this of it be filled with holes. */
static void more_than_can_have_been_lost_is_not_filled(void **state)
{
    uint64_t end = 800 + 3 * SPAN;
    char text[300];
    for (int over = 0; over < 2; over++) {
        uint64_t gap = TIB + (over ? 8 : 0);
        make_second(state, 9, end + gap, true);
        snprintf(text, sizeof text, "log/00000000000000000009.seg: %" PRIu64 " bytes of the log are missing before it, as no damage makes it: a position in"
                 " it, in meta or in an offset file is wrong", gap);
        const struct lqi_trim trim = {.sequence = 1, .first_id = 1, .position = 800, .synced = second.found.end};
        if (over) is_refused(&trim, &nothing, text);
        else OK(plan_log(&trim, &nothing));
        drop_second();

        make_second(state, 4, end, true);
        seal(&second, 7);
        const struct lqi_promise promise = {.position = second.found.end + gap};
        snprintf(text, sizeof text, "log/00000000000000000004.seg: %" PRIu64 " bytes of the log are missing behind it, as no damage makes it: a position in"
                 " it, in meta or in an offset file is wrong", gap);
        if (over) is_refused(&untrimmed, &promise, text);
        else OK(plan_log(&untrimmed, &promise));
        drop_second();
    }
    /* Where there is no file at all. */
    new_log(state);
    is_refused(&(struct lqi_trim){.sequence = 1, .first_id = 5, .synced = TIB + 8}, &nothing,
               "log: 1099511627784 bytes of the log are missing behind it, as no damage makes it: a position in it, in meta or in an offset file is wrong");
    OK(plan_log(&(struct lqi_trim){.sequence = 1, .first_id = 5, .synced = TIB}, &nothing));
}

/* Before, in and behind files. */
static void what_is_missing_in_several_places_counts_together(void **state)
{
    uint64_t end = 800 + 3 * SPAN;
    for (int over = 0; over < 2; over++) {
        make_second(state, 9, end + TIB / 2, true);
        seal(&second, 12);
        const struct lqi_promise promise = {.position = second.found.end + TIB / 2 + (over ? 8 : 0)};
        int err = plan_log(&(struct lqi_trim){.sequence = 1, .first_id = 1, .position = 800}, &promise);
        IS(over ? LQ_ECORRUPT : LQ_OK, err);
        EQUAL(plan_count, over ? 0 : 3);
        drop_second();
    }
}

/* An open segment with another behind it reaches to there, if there can be such a file. */
static void no_segment_is_longer_than_a_file_may_be(void **state)
{
    uint64_t most = LQI_SEGMENT_FILE_MAX - LQI_SEGMENT_HEADER;
    for (int over = 0; over < 2; over++) {
        make_second(state, 4, 800 + most + (over ? 8 : 0), false);
        const struct lqi_trim trim = {.sequence = 1, .first_id = 1, .position = 800, .synced = second.found.end};
        IS(over ? LQ_ECORRUPT : LQ_OK, plan_log(&trim, &nothing));
        EQUAL(plan_count, over ? 0 : 2);
        drop_second();
    }
}

/* ---- on a machine that fails --------------------------------------------------------------------------- */

static struct planned as_planned[PLANS_MAX];

static void plan_on_a_sick_machine(struct io_fault *fault, void *planned)
{
    static struct lqi_found found;
    memcpy(&found, planned, sizeof found);
    the_log.io = &fault->io;
    plan_count = 0;
    int err = lqi_mend_log(&the_log, all_known(), &found, note_plan, plans);
    the_log.io = &lqi_io_posix;
    if (fault->hits && err) IS(LQ_EIO, err);
    else OK(err);
    if (err) return;
    EQUAL(plan_count, 3); /* what has failed was tried again */
    for (size_t i = 0; i < plan_count; i++) {
        HOLDS(strcmp(plans[i].text, as_planned[i].text) == 0);
        EQUAL(plans[i].mending.lost, as_planned[i].mending.lost);
        EQUAL(plans[i].mending.patch_count, as_planned[i].mending.patch_count);
    }
}

static void what_the_machine_cannot_read_is_not_called_damaged(void **state)
{
    static struct lqi_found found;
    new_three(state);
    break_header(&three[0]);
    damage(&three[1], three[1].head.position + SPAN);
    HOLDS(ftruncate(three[2].fd, (off_t)offset_of(&three[2], three[2].head.position + SPAN)) == 0);
    OK(lqi_find_end(&the_log, all_known(), &nothing, &found));
    OK(plan_log(all_known(), &nothing));
    memcpy(as_planned, plans, sizeof plans);
    HOLDS(each_fault(plan_on_a_sick_machine, &found) > 2 * 12);
    drop();
}

static int no_random(const struct lqi_io *io, void *data, size_t size)
{
    (void)io, (void)data, (void)size;
    return EIO;
}

static void whoever_is_told_may_end_it(void **state)
{
    struct lqi_io io = lqi_io_posix;
    new_three(state);
    break_header(&three[0]);
    break_header(&three[1]);
    damage(&three[2], three[2].head.position);
    for (plans_wanted = 1; plans_wanted <= 4; plans_wanted++) {
        int err = plan_log(all_known(), &nothing);
        EQUAL(err, plans_wanted < 4 ? LQ_EIO : LQ_OK);
        EQUAL(plan_count, plans_wanted < 4 ? plans_wanted : 3);
    }
    plans_wanted = 0;
    io.random = no_random;
    the_log.io = &io;
    IS(LQ_EIO, plan_log(all_known(), &nothing));
    assert_string_equal(lq_error_text(), "random number for a segment: Input/output error");
    the_log.io = &lqi_io_posix;
    drop();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_DIRECTORY(a_missing_segment_becomes_one_hole_of_its_place_and_its_ids),
        IN_DIRECTORY(segments_made_for_holes_have_salts_of_their_own),
        IN_DIRECTORY(segments_missing_side_by_side_are_one_hole),
        IN_DIRECTORY(of_a_log_of_which_no_file_is_left_one_hole_remains),
        IN_DIRECTORY(a_gap_longer_than_a_hole_can_be_is_a_short_one_at_its_end),
        IN_DIRECTORY(in_the_place_of_one_that_cannot_be_read_comes_a_hole),
        IN_DIRECTORY(one_hole_takes_the_place_of_two_and_the_second_is_set_aside),
        IN_DIRECTORY(a_stranger_with_the_name_of_a_message_is_set_aside_and_nothing_comes_in_its_place),
        IN_DIRECTORY(a_last_segment_that_cannot_be_read_is_a_hole_that_the_log_goes_on_in),
        IN_DIRECTORY(a_link_that_cannot_be_read_is_left_alone),
        IN_DIRECTORY(what_was_trimmed_is_not_looked_at),
        IN_DIRECTORY(what_is_missing_before_the_oldest_file_is_a_hole_from_where_the_log_begins),
        IN_DIRECTORY(the_oldest_file_knows_better_than_the_slot_where_it_is),
        IN_DIRECTORY(a_trailer_is_not_believed_against_all_others),
        IN_DIRECTORY(a_hole_at_the_end_has_room_for_its_header),
        IN_DIRECTORY(segments_that_overlap_are_refused),
        IN_DIRECTORY(where_a_hole_does_not_fit_nothing_is_mended),
        IN_DIRECTORY(more_than_can_have_been_lost_is_not_filled),
        IN_DIRECTORY(what_is_missing_in_several_places_counts_together),
        IN_DIRECTORY(no_segment_is_longer_than_a_file_may_be),
        IN_DIRECTORY(what_the_machine_cannot_read_is_not_called_damaged),
        IN_DIRECTORY(whoever_is_told_may_end_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
