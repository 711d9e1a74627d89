/* What repair plans to put in the place of what, to the byte and the id, for logs that were made record by record: nothing for
 * what is whole, and of what is damaged no more than is damaged. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "support/each_fault.h"
#include "support/made_plan.h"
#include "support/scratch.h"

/* A segment as it is, and as it would be with its good records alone. */
struct both {
    struct made made, good;
};

static struct both begin(uint64_t first_id, uint64_t position)
{
    struct both both = {.made = make_segment(first_id, position, position / 2 & ~(uint64_t)7)};
    both.good = both.made;
    return both;
}

static void add_good(struct both *both)
{
    uint8_t header[LQI_RECORD_HEADER];
    note_record(&both->good, LQI_RECORD_MESSAGES, BODY, 0, both->made.found.time_us + 10, header);
    add(&both->made);
}

enum where { HEAD, BODY_OF_IT };

static uint64_t add_bad(struct both *both, enum where where)
{
    uint64_t at = add(&both->made);
    if (where == HEAD) damage(&both->made, at);
    else put_bytes(&both->made, offset_of(&both->made, at) + LQI_RECORD_HEADER + 100, "x", 1);
    both->good.found.end = both->made.found.end;
    both->good.found.next_id = both->made.found.next_id;
    return at;
}

static void clean(void)
{
    HOLDS(scratch_delete(log_path) == 0);
}

/* The log was synced from the beginning of the one to the end of the other. */
static const struct lqi_trim *known(const struct made *first, const struct made *last)
{
    static struct lqi_trim trim;
    trim = (struct lqi_trim){.sequence = 1, .first_id = first->head.first_id, .position = first->head.position, .synced = last->found.end,
                             .next_id = last->found.next_id};
    return &trim;
}

/* ---- nothing ------------------------------------------------------------------------ */

static void of_a_log_without_damage_everything_stays(void **state)
{
    struct made three[3];
    new_log(state);
    only_planned(&untrimmed, &nothing, NULL);
    make_three(three);
    only_planned(&untrimmed, &nothing, NULL);
    only_planned(known(&three[0], &three[2]), &nothing, NULL);
    add_mark(&three[2]);
    only_planned(known(&three[0], &three[2]), &nothing, NULL);
    allocate(&three[2]);
    only_planned(known(&three[0], &three[2]), &nothing, NULL);
    HOLDS(ftruncate(three[2].fd, (off_t)offset_of(&three[2], three[2].found.end)) == 0);
    seal(&three[2], 10);
    only_planned(known(&three[0], &three[2]), &nothing, NULL);
    struct made next = make_segment(10, three[2].found.end, 0); /* still empty */
    only_planned(known(&three[0], &next), &nothing, NULL);
    done(&next);
    HOLDS(unlink(path_of(10)) == 0);
    next = make_segment(10, three[2].found.end + ((uint64_t)2 << 40), 0); /* the line may jump, where no message is missing */
    add_many(&next, 2);
    only_planned(known(&three[0], &next), &nothing, NULL);
    done(&next);
    HOLDS(unlink(path_of(10)) == 0);
    drop_three(three);
}

/* ---- bad records -------------------------------------------------------------------- */

static void a_bad_record_becomes_a_hole_of_its_place_and_its_id(void **state)
{
    for (int which = 0; which < 3; which++) {
        for (enum where where = HEAD; where <= BODY_OF_IT; where++) {
            for (int last = 0; last < 2; last++) { /* and open */
                new_log(state);
                struct both both = begin(4, 800);
                int64_t before = both.made.head.created_us;
                uint64_t bad = 0;
                for (int i = 0; i < 3; i++) {
                    if (i == which) bad = add_bad(&both, where);
                    else add_good(&both);
                    if (i < which) before = both.made.found.time_us;
                }
                struct made next = both.made, behind;
                if (!last) {
                    seal(&both.made, 7);
                    behind = next = make_segment(7, both.made.found.end, 0);
                } else if (which == 2) { /* damage at the very end: a hole to the end of the file, and behind it the log goes on */
                    next.found.end = 800 + size_of(&both.made) - LQI_SEGMENT_HEADER;
                }
                const struct lqi_trim trim = {.first_id = 4, .position = 800, .sequence = 1, .synced = next.found.end, .next_id = 7};
                struct expected expected = {.id = 4, .there = true, .readable = true, .sealed = !last, .end = both.made.found.end, .next_id = 7,
                                            .first_lost = 4 + which, .lost = 1, .patch_count = 1,
                                            .patches = {{bad, bad + SPAN, 4 + which, 5 + which, before}}};
                char text[100];
                snprintf(text, sizeof text, "byte %d: %s", LQI_SEGMENT_HEADER + which * SPAN,
                         where == HEAD ? "no record begins here: its header does not verify" : "body checksum ");
                expected.text = text;
                only_planned(&trim, &nothing, &expected);
                keeps(&plans[0].mending, &both.good);
                done(&both.made);
                if (!last) done(&behind);
                clean();
            }
        }
    }
}

static void every_bad_place_is_a_hole_of_its_own_and_the_first_is_told(void **state)
{
    for (int count = 1; count <= PATCHES_MAX; count++) {
        new_log(state);
        struct both both = begin(4, 800);
        struct expected expected = {.id = 4, .there = true, .readable = true, .text = "byte 8448: body checksum ", .first_lost = 5, .lost = (uint64_t)count,
                                    .patch_count = (size_t)count};
        add_good(&both);
        for (int i = 0; i < count; i++) {
            int64_t before = both.made.found.time_us;
            uint64_t at = add_bad(&both, i % 2 ? HEAD : BODY_OF_IT), id = both.made.found.next_id;
            expected.patches[i] = (struct lqi_patch){at, at + SPAN, id - 1, id, before};
            add_good(&both);
        }
        expected.end = both.made.found.end;
        expected.next_id = both.made.found.next_id;
        only_planned(known(&both.made, &both.made), &nothing, &expected);
        keeps(&plans[0].mending, &both.good);
        done(&both.made);
        clean();
    }
}

static void bad_records_side_by_side_are_one_hole(void **state)
{
    for (int kinds = 0; kinds < 8; kinds++) {
        new_log(state);
        struct both both = begin(4, 800);
        add_good(&both);
        int64_t before = both.made.found.time_us;
        for (int i = 0; i < 3; i++) add_bad(&both, (enum where)(kinds >> i & 1));
        add_good(&both);
        struct expected expected = {.id = 4, .there = true, .readable = true, .text = "byte 8448: ", .end = both.made.found.end, .next_id = 9,
                                    .first_lost = 5, .lost = 3, .patch_count = 1, .patches = {{800 + SPAN, 800 + 4 * SPAN, 5, 8, before}}};
        only_planned(known(&both.made, &both.made), &nothing, &expected);
        keeps(&plans[0].mending, &both.good);
        done(&both.made);
        clean();
    }
}

/* Of the good ones, one in every stretch; no more than there is room for. */
static void the_index_is_made_anew_of_the_good_records(void **state)
{
    new_log(state);
    struct both both = begin(4, 800);
    for (int i = 0; i < 4 * PER_ENTRY; i++) {
        if (i == 0 || i == PER_ENTRY + 1 || i == 3 * PER_ENTRY) add_bad(&both, HEAD);
        else add_good(&both);
    }
    add_record(&both.made, 9, 100, 0, 100000); /* of a newer library: it has no messages that we know of */
    both.good.found.end = both.made.found.end;
    OK(plan_log(known(&both.made, &both.made), &nothing));
    EQUAL(plan_count, 1);
    EQUAL(plans[0].mending.patch_count, 3);
    EQUAL(plans[0].mending.index_count, 4);
    keeps(&plans[0].mending, &both.good);
    done(&both.made);
    clean();

    new_log(state);
    both = begin(4, 800);
    add_bad(&both, BODY_OF_IT);
    for (int i = 0; i < LQI_INDEX_MAX + 3; i++) {
        uint8_t header[LQI_RECORD_HEADER];
        note_record(&both.good, LQI_RECORD_MESSAGES, STRIDE - LQI_RECORD_HEADER, 0, 2000 + i, header);
        add_record(&both.made, LQI_RECORD_MESSAGES, STRIDE - LQI_RECORD_HEADER, 0, 2000 + i);
    }
    OK(plan_log(known(&both.made, &both.made), &nothing));
    EQUAL(plan_count, 1);
    EQUAL(plans[0].mending.index_count, LQI_INDEX_MAX);
    keeps(&plans[0].mending, &both.good);
    done(&both.made);
}

static uint64_t add_hole(struct made *made, uint32_t size, uint64_t first_id, uint64_t next_id)
{
    uint8_t header[LQI_RECORD_HEADER];
    struct lqi_record record = {.position = made->found.end, .first_id = first_id, .time_us = made->found.time_us, .size = size,
                                .payload_check = next_id, .kind = LQI_RECORD_HOLE};
    lqi_record_encode(header, &record, made->head.salt);
    put_bytes(made, offset_of(made, record.position), header, sizeof header);
    made->found.end += lqi_record_span(size);
    made->found.next_id = next_id;
    HOLDS(ftruncate(made->fd, (off_t)offset_of(made, made->found.end)) == 0);
    return record.position;
}

/* Only if its kind is known: what the numbers of others mean is not ours to say. */
static void what_is_behind_a_bad_record_tells_how_many_messages_it_had(void **state)
{
    static const struct {
        enum where where;
        enum lqi_record_kind kind;
        uint64_t next_id, lost_to;
    } cases[] = {{HEAD, LQI_RECORD_MESSAGES, 21, 20}, {HEAD, LQI_RECORD_MARK, 20, 20}, {HEAD, LQI_RECORD_HOLE, 25, 20}, {BODY_OF_IT, 9, 6, 6}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        new_log(state);
        struct both both = begin(4, 800);
        struct made *made = &both.made;
        add(made);
        int64_t before = made->found.time_us;
        uint64_t bad = add_bad(&both, cases[i].where);
        made->found.next_id = 20;
        if (cases[i].kind == LQI_RECORD_HOLE) add_hole(made, 100, 20, 25);
        else add_record(made, cases[i].kind, cases[i].kind == LQI_RECORD_MARK ? 0 : 100, 0, 5000);
        made->found.next_id = cases[i].next_id;
        add(made);
        struct expected expected = {.id = 4, .there = true, .readable = true, .text = "byte 8448: ", .end = made->found.end, .next_id = made->found.next_id,
                                    .first_lost = 5, .lost = cases[i].lost_to - 5, .patch_count = 1,
                                    .patches = {{bad, bad + SPAN, 5, cases[i].lost_to, before}}};
        only_planned(known(made, made), &nothing, &expected);
        done(made);
        clean();
    }
}

/* A header that verifies is in the middle of what is bad: nothing breaks so by itself. A hole needs 40 bytes, and there are 32. */
static void a_record_that_leaves_no_room_for_a_hole_before_it_is_part_of_it(void **state)
{
    for (uint64_t room = 32; room <= 48; room += 8) {
        new_log(state);
        struct made made = make_segment(4, 800, 0);
        add(&made);
        int64_t before = made.found.time_us;
        uint64_t bad = made.found.end, from = room < LQI_RECORD_HEADER ? SPAN : 0;
        made.found.end += room;
        made.found.next_id = 9;
        add(&made);
        struct expected expected = {.id = 4, .there = true, .readable = true, .text = "byte 8448: no record begins here", .first_lost = 5,
                                    .lost = room < LQI_RECORD_HEADER ? 5 : 4, .patch_count = 1,
                                    .patches = {{bad, bad + room + from, 5, room < LQI_RECORD_HEADER ? 10 : 9, before}}};
        add(&made);
        expected.end = made.found.end;
        expected.next_id = made.found.next_id;
        only_planned(known(&made, &made), &nothing, &expected);
        done(&made);
        clean();
    }
}

static void bytes_between_two_records_are_made_zero_and_cost_nothing(void **state)
{
    for (int mark = 0; mark < 2; mark++) { /* behind it, which has no such bytes */
        for (uint32_t size = 1000; size < 1008; size++) {
            new_log(state);
            struct made made = make_segment(4, 800, 0);
            uint64_t at = add_record(&made, LQI_RECORD_MESSAGES, size, 0, 5000), end = at + LQI_RECORD_HEADER + size;
            HOLDS(ftruncate(made.fd, (off_t)offset_of(&made, made.found.end)) == 0);
            if (made.found.end > end) put_bytes(&made, offset_of(&made, made.found.end) - 1, "x", 1);
            struct expected expected = {.id = 4, .there = true, .readable = true, .text = "the bytes behind a record are not zero", .patch_count = 1,
                                        .patches = {{.position = end, .to = made.found.end}}};
            struct made then = made;
            if (mark) then.found.end = add_mark(&made);
            else add(&made), then = made;
            expected.end = made.found.end;
            expected.next_id = made.found.next_id;
            only_planned(known(&made, &made), &nothing, size == 1000 ? NULL : &expected);
            if (size > 1000) keeps(&plans[0].mending, &then);
            done(&made);
            clean();
        }
    }
}

/* ---- bad ends ---------------------------------------------------------------------------- */

/* Between two records, or in the middle of one. */
static void the_end_of_a_segment_that_was_cut_is_a_hole(void **state)
{
    for (uint64_t left = 0; left <= 64; left += left < 8 ? 1 : 8) { /* bytes of the second record */
        struct made three[3];
        new_log(state);
        make_three(three);
        uint64_t cut = three[1].head.position + SPAN;
        HOLDS(ftruncate(three[1].fd, (off_t)(offset_of(&three[1], cut) + left)) == 0);
        struct expected expected = {.id = 4, .there = true, .readable = true, .sealed = true, .end = three[1].found.end, .next_id = 7, .first_lost = 5,
                                    .lost = 2, .patch_count = 1, .patches = {{cut, three[1].found.end, 5, 7, three[1].head.created_us + 10}}};
        expected.text = left < 8 ? "its end is missing"
                        : left < LQI_RECORD_HEADER ? "byte 8448: the log ends here, in the middle of a record" : "byte 8448: the record is cut off";
        only_planned(known(&three[0], &three[2]), &nothing, &expected);
        HOLDS(unlink(path_of(7)) == 0); /* and nothing else says what was in it */
        done(&three[2]);
        OK(plan_log(&(struct lqi_trim){.sequence = 1, .first_id = 1, .synced = cut}, &nothing));
        EQUAL(plan_count, left >= 8);
        HOLDS(left < 8 || strncmp(plans[0].text, "a torn tail of ", 15) == 0);
        for (int i = 0; i < 2; i++) done(&three[i]);
        clean();
    }
}

static void a_torn_tail_is_cut(void **state)
{
    for (int sealed = 0; sealed < 2; sealed++) {
        new_log(state);
        struct made made = make_segment(4, 800, 0);
        add_many(&made, 2);
        struct made then = made;
        damage(&made, add(&made));
        if (sealed) seal(&made, 7);
        struct expected expected = {.id = 4, .there = true, .readable = true, .text = sealed ? "a torn tail of 8344 bytes, never promised to anybody"
                                    : "a torn tail of 40 bytes, never promised to anybody", .end = then.found.end, .next_id = 6};
        only_planned(known(&then, &then), &nothing, &expected);
        keeps(&plans[0].mending, &then);
        done(&made);
        clean();
    }
}

static void an_end_that_was_promised_and_is_gone_is_a_hole_that_the_log_goes_on_behind(void **state)
{
    for (int sealed = 0; sealed < 2; sealed++) {
        new_log(state);
        struct made made = make_segment(4, 800, 0);
        add_many(&made, 2);
        uint64_t end = made.found.end;
        int64_t time_us = made.found.time_us;
        const struct lqi_trim trim = {.sequence = 1, .first_id = 4, .position = 800};
        if (sealed) seal(&made, 6);
        for (int lost = 0; lost < 2; lost++) { /* messages; or only room on the line */
            const struct lqi_promise promise = {.position = end + 100, .next_id = lost ? 9 : 0};
            struct expected expected = {.id = 4, .there = true, .readable = true, .text = "its end is missing", .end = end + 104, .next_id = lost ? 9 : 6,
                                        .first_lost = lost ? 6 : 0, .lost = lost ? 3 : 0, .patch_count = 1,
                                        .patches = {{end, end + 104, 6, lost ? 9 : 6, time_us}}};
            if (sealed) {
                expected.id = 6;
                expected.there = expected.readable = false;
                expected.text = "this segment is missing";
            }
            only_planned(&trim, &promise, &expected);
            if (sealed) {
                EQUAL(plans[0].mending.head.position, end);
                EQUAL(plans[0].mending.head.durable, end);
                EQUAL(plans[0].mending.head.created_us, time_us);
            }
        }
        done(&made);
        clean();
    }
}

/* ---- what is wrong besides records ----------------------------------------------------------- */

static void what_is_wrong_is_told_though_no_message_is_hurt(void **state)
{
    static const char *const texts[] = {"one of the two copies of the header does not verify", "neither copy of the header verifies, but the trailer does",
                                        "the index does not verify", "the trailer is missing or does not verify"};
    for (int what = 0; what < 4; what++) {
        struct made three[3];
        new_log(state);
        make_three(three);
        uint64_t size = size_of(&three[1]);
        if (what <= 1) put_bytes(&three[1], 60, "broken", 6);
        if (what == 1) put_bytes(&three[1], 188, "broken", 6);
        if (what == 2) put_bytes(&three[1], size - LQI_SEGMENT_TRAILER - 2, "x", 1);
        if (what == 3) put_bytes(&three[1], size - 2, "x", 1);
        struct expected expected = {.id = 4, .there = true, .readable = true, .sealed = true, .text = texts[what], .end = three[1].found.end, .next_id = 7};
        only_planned(known(&three[0], &three[2]), &nothing, &expected);
        if (what == 1) { /* the trailer does not tell all of it */
            three[1].head.created_us = three[1].found.first_time_us;
            three[1].head.durable = three[1].head.position;
        }
        keeps(&plans[0].mending, &three[1]);
        drop_three(three);
    }
}

/* Where a segment had no message, its trailer knows of no time. */
static void a_segment_without_header_and_messages_was_made_when_the_one_before_it_was(void **state)
{
    for (int first = 0; first < 2; first++) {
        new_log(state);
        struct made one = make_segment(1, 0, 0), two = make_segment(4, SPAN, 0);
        add_hole(&one, BODY, 1, 4);
        if (!first) add_hole(&two, BODY, 4, 6);
        seal(&one, 4);
        if (!first) seal(&two, 6);
        struct made *hurt = first ? &one : &two;
        put_bytes(hurt, 60, "broken", 6);
        put_bytes(hurt, 188, "broken", 6);
        OK(plan_log(&untrimmed, &nothing));
        EQUAL(plan_count, 1);
        EQUAL(plans[0].mending.head.first_id, hurt->head.first_id);
        EQUAL(plans[0].mending.head.created_us, first ? 0 : one.head.created_us);
        EQUAL(plans[0].mending.last_time_us, 0);
        done(&one);
        done(&two);
        clean();
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_DIRECTORY(of_a_log_without_damage_everything_stays),
        IN_DIRECTORY(a_bad_record_becomes_a_hole_of_its_place_and_its_id),
        IN_DIRECTORY(every_bad_place_is_a_hole_of_its_own_and_the_first_is_told),
        IN_DIRECTORY(bad_records_side_by_side_are_one_hole),
        IN_DIRECTORY(the_index_is_made_anew_of_the_good_records),
        IN_DIRECTORY(what_is_behind_a_bad_record_tells_how_many_messages_it_had),
        IN_DIRECTORY(a_record_that_leaves_no_room_for_a_hole_before_it_is_part_of_it),
        IN_DIRECTORY(bytes_between_two_records_are_made_zero_and_cost_nothing),
        IN_DIRECTORY(the_end_of_a_segment_that_was_cut_is_a_hole),
        IN_DIRECTORY(a_torn_tail_is_cut),
        IN_DIRECTORY(an_end_that_was_promised_and_is_gone_is_a_hole_that_the_log_goes_on_behind),
        IN_DIRECTORY(what_is_wrong_is_told_though_no_message_is_hurt),
        IN_DIRECTORY(a_segment_without_header_and_messages_was_made_when_the_one_before_it_was),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
