/* The end of the log, to the byte: what recovery finds in files that were made for it, record by record. Each is
 * held against what it must find, all of it: an index that lost an entry or a time that is not taken back would only show much later. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "support/each_fault.h"
#include "support/made_log.h"

/* ---- all is well ------------------------------------------------------------------- */

static void of_a_whole_segment_everything_is_known(void **state)
{
    new_log(state);
    struct made made = make_segment(100, 8000, 0);
    for (int i = 0; i < 3 * PER_ENTRY + 1; i++) {
        add(&made);
        same(find(&untrimmed, &nothing), &made.found);
    }
    EQUAL(made.found.index_count, 4);
    allocate(&made);
    struct lqi_found *found = find(&untrimmed, &nothing);
    same(found, &made.found);
    EQUAL(found->file_size, size_of(&made));
    EQUAL(found->first_id, 100);
    EQUAL(found->first_position, 8000);
    EQUAL(found->second_id, 0);
    done(&made);
}

static void an_empty_segment_ends_where_it_begins(void **state)
{
    new_log(state);
    struct made made = make_segment(100, 8000, 8000);
    same(find(&untrimmed, &nothing), &made.found);
    allocate(&made);
    same(find_promised(8000, 100), &made.found);
    done(&made);
}

static void a_mark_at_the_end_is_known_and_counts_as_no_message(void **state)
{
    new_log(state);
    struct made made = make_segment(1, 0, 0);
    add_mark(&made);
    EQUAL(made.found.mark, made.found.end);
    same(find(&untrimmed, &nothing), &made.found);
    add_many(&made, 3);
    same(find(&untrimmed, &nothing), &made.found);
    add_mark(&made);
    same(find(&untrimmed, &nothing), &made.found);
    add_record(&made, 9, 100, 0, 5000); /* of a newer library */
    same(find(&untrimmed, &nothing), &made.found);
    done(&made);
}

static void time_is_that_of_the_newest_record_wherever_it_is(void **state)
{
    new_log(state);
    struct made made = make_segment(1, 0, 0);
    add_record(&made, LQI_RECORD_MESSAGES, 8, 0, 900); /* before the segment was made */
    EQUAL(made.found.time_us, made.head.created_us);
    same(find(&untrimmed, &nothing), &made.found);
    add_record(&made, LQI_RECORD_MESSAGES, 8, 0, 70000);
    add_record(&made, LQI_RECORD_MESSAGES, 8, 0, 60000);
    same(find(&untrimmed, &nothing), &made.found);
    done(&made);
}

/* Such a segment is larger than any that is made now: a queue's segment_size may have been another. */
static void an_index_has_no_more_entries_than_it_has_room_for(void **state)
{
    new_log(state);
    struct made made = make_segment(1, 0, 0);
    for (int i = 0; i < LQI_INDEX_MAX + 3; i++) add_record(&made, LQI_RECORD_MESSAGES, STRIDE - LQI_RECORD_HEADER, 0, 2000 + i);
    EQUAL(made.found.index_count, LQI_INDEX_MAX);
    same(find(&untrimmed, &nothing), &made.found);
    done(&made);
}

/* ---- torn, or damaged ---------------------------------------------------------------- */

/* A bad record, and behind it good ones, marks and index entries, in one who was promised nothing of it. */
static void behind_a_torn_record_nothing_of_what_follows_is_left(void **state)
{
    for (int before = 0; before < PER_ENTRY + 2; before++) {
        for (int mark = 0; mark < 2; mark++) {
            new_log(state);
            struct made made = make_segment(7, 800, 0);
            add_many(&made, before);
            if (mark) add_mark(&made);
            struct made then = made;
            uint64_t bad = add(&made);
            add_many(&made, 2 * PER_ENTRY);
            add_mark(&made);
            damage(&made, bad);
            allocate(&made);
            struct lqi_found *found = find(&untrimmed, &nothing);
            then.found.torn_bytes = found->torn_bytes; /* to the byte: below */
            HOLDS(found->torn_bytes > made.found.end - bad - 8 && found->torn_bytes <= made.found.end - bad);
            same(found, &then.found);
            done(&made);
            HOLDS(unlink(path_of(7)) == 0 && rmdir(log_path) == 0);
        }
    }
}

static void a_promise_beyond_the_bad_place_makes_it_damage_and_not_one_up_to_it(void **state)
{
    for (int by = 0; by < 4; by++) { /* who promises */
        for (int beyond = 0; beyond < 2; beyond++) {
            new_log(state);
            uint64_t bad = 800 + 2 * SPAN, promised = bad + (beyond ? 8 : 0);
            struct made made = make_segment(7, 800, by == 3 ? 800 : 0);
            add_many(&made, 2);
            struct made then = made;
            EQUAL(add(&made), bad);
            add_many(&made, 2);
            add_record(&made, LQI_RECORD_MESSAGES, BODY, by == 0 ? promised : 0, made.found.time_us + 10);
            add_many(&made, 2);
            damage(&made, bad);
            struct lqi_found *found = find(&(struct lqi_trim){.first_id = 1, .synced = by == 1 ? promised : 0},
                                           &(struct lqi_promise){by == 2 ? promised : 0, 0, 0});
            made.found.damage = 1;
            then.found.torn_bytes = found->torn_bytes;
            same(found, beyond && by < 3 ? &made.found : &then.found);
            done(&made);
            HOLDS(unlink(path_of(7)) == 0 && rmdir(log_path) == 0);
        }
    }
}

static void the_log_may_be_torn_behind_damage(void **state)
{
    new_log(state);
    struct made made = make_segment(1, 0, 0);
    add_many(&made, 2);
    uint64_t first = add(&made);
    add_record(&made, LQI_RECORD_MESSAGES, BODY, first + SPAN, made.found.time_us + 10); /* knows of the first */
    add_many(&made, 2);
    struct made then = made;
    uint64_t second = add(&made);
    add_many(&made, 3);
    uint64_t third = add(&made);
    add_many(&made, 1);
    damage(&made, first);
    damage(&made, second);
    damage(&made, third);
    then.found.damage = 1;
    struct lqi_found *found = find(&untrimmed, &nothing);
    then.found.torn_bytes = found->torn_bytes;
    same(found, &then.found);

    made.found.damage = 3; /* all of it was promised */
    same(find_promised(third + 8, 0), &made.found);
    done(&made);
}

static void torn_bytes_are_counted_to_the_last_that_is_not_zero(void **state)
{
    static const uint64_t places[] = {1, 2, 7, 8, 9, 100, 7233, 7234, 16384, 23616, 23617, 23618, 40000, 40001};
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        new_log(state);
        struct made made = make_segment(1, 0, 0);
        add_many(&made, 2);
        allocate(&made); /* by no multiple of what is read at once */
        put_bytes(&made, offset_of(&made, made.found.end) + places[i] - 1, "x", 1);
        made.found.torn_bytes = places[i];
        same(find(&untrimmed, &nothing), &made.found);
        put_bytes(&made, offset_of(&made, made.found.end), "y", 1);
        same(find(&untrimmed, &nothing), &made.found);
        done(&made);
        HOLDS(unlink(path_of(1)) == 0 && rmdir(log_path) == 0);
    }
}

static void garbage_is_counted_whatever_it_looks_like(void **state)
{
    static uint8_t bytes[40000];
    for (int kind = 0; kind < 2; kind++) {
        new_log(state);
        struct made made = make_segment(1, 0, 0);
        add_many(&made, 2);
        allocate(&made);
        for (size_t i = 0; i < sizeof bytes; i++) bytes[i] = kind ? 1 : i % 2 ? 0xff : 0; /* from an even place on */
        put_bytes(&made, offset_of(&made, made.found.end), bytes, sizeof bytes);
        made.found.torn_bytes = sizeof bytes;
        same(find(&untrimmed, &nothing), &made.found);
        /* Up to the last byte, where no zero tells it from a stretch without anything; and before such a stretch. */
        HOLDS(ftruncate(made.fd, (off_t)(offset_of(&made, made.found.end) + sizeof bytes)) == 0);
        same(find(&untrimmed, &nothing), &made.found);
        HOLDS(ftruncate(made.fd, (off_t)(offset_of(&made, made.found.end) + 1000)) == 0);
        HOLDS(ftruncate(made.fd, (off_t)(offset_of(&made, made.found.end) + 1000 + 16384)) == 0);
        made.found.torn_bytes = 1000;
        same(find(&untrimmed, &nothing), &made.found);
        done(&made);
        HOLDS(unlink(path_of(1)) == 0 && rmdir(log_path) == 0);
    }
}

/* ---- an end that was promised, and is not there ------------------------------------------ */

/* What is expected when the log goes on in a new segment. */
static struct lqi_found given_up(const struct made *made, uint64_t end, uint64_t next_id, uint64_t damage)
{
    struct lqi_found found = made->found;
    found.good_end = found.end;
    found.good_id = found.next_id;
    found.end = found.mark = end;
    found.next_id = next_id;
    found.given_up = true;
    found.usable = false;
    found.torn_bytes = 0;
    found.damage = damage;
    return found;
}

static void a_lost_end_is_left_behind_with_all_that_may_have_been_there(void **state)
{
    new_log(state);
    struct made made = make_segment(7, 800, 0);
    add_many(&made, 3);
    uint64_t end = made.found.end;
    allocate(&made);
    same(find_promised(end, 10), &made.found); /* nothing is lost */
    uint64_t behind = 800 + ((size_of(&made) - LQI_SEGMENT_HEADER) & ~(uint64_t)7);
    struct lqi_found expected = given_up(&made, behind, 10, 1);
    same(find_promised(end + 8, 10), &expected);
    same(find_promised(end + 1, 3), &expected);
    expected = given_up(&made, behind, 55, 1);
    same(find_promised(behind, 55), &expected);
    expected = given_up(&made, behind + 8, 55, 1);
    same(find_promised(behind + 1, 55), &expected);

    struct made then = made;
    uint64_t bad = add(&made); /* something was there, and is bad */
    damage(&made, bad);
    expected = given_up(&then, behind, 55, 1);
    same(find_promised(bad + 8, 55), &expected);
    done(&made);
}

/* Its header tells how many messages it had: their ids are not given again, whoever else knows of them. */
static void a_damaged_last_record_keeps_its_ids_to_itself(void **state)
{
    new_log(state);
    struct made made = make_segment(7, 800, 0);
    add_many(&made, 3);
    struct made then = made;
    uint64_t bad = add(&made);
    put_bytes(&made, offset_of(&made, bad) + LQI_RECORD_HEADER + 100, "damage", 6); /* to its body */
    allocate(&made);
    uint64_t behind = 800 + ((size_of(&made) - LQI_SEGMENT_HEADER) & ~(uint64_t)7);
    struct lqi_found expected = given_up(&then, behind, 11, 2);
    expected.good_id = 11;
    same(find_promised(bad + 8, 0), &expected);
    done(&made);
}

/* Wherever the machine fails, an end is not made up: it is the right one (some calls are tried again), or an error. */
static void look_on_a_sick_machine(struct io_fault *fault, void *expected)
{
    static struct lqi_found found;
    the_log.io = &fault->io;
    int err = lqi_find_end(&the_log, &untrimmed, &nothing, &found);
    the_log.io = &lqi_io_posix;
    if (err && fault->hits) IS(LQ_EIO, err);
    else OK(err);
    if (err) return;
    struct lqi_found at_least = *(const struct lqi_found *)expected;
    /* Only how many ids a file without header has used up is guessed where it cannot be read: there are enough of them. */
    if (at_least.given_up && found.next_id > at_least.next_id && fault->hits && fault->kind == IO_READ) at_least.next_id = found.next_id;
    same(&found, &at_least);
    EQUAL(found.first_position, 800);
}

static void what_cannot_be_read_is_an_error_and_not_the_end(void **state)
{
    new_log(state);
    struct made made = make_segment(7, 800, 0);
    add_many(&made, 3);
    struct made torn = made;
    add_many(&made, 2);
    damage(&made, torn.found.end);
    torn.found.torn_bytes = find(&untrimmed, &nothing)->torn_bytes;
    HOLDS(each_fault(look_on_a_sick_machine, &torn.found) >= 2 * 6);
    struct made last = make_segment(12, made.found.end, 0);
    seal(&made, 12);
    break_header(&last);
    struct lqi_found expected = *find(&untrimmed, &nothing);
    HOLDS(expected.given_up);
    HOLDS(each_fault(look_on_a_sick_machine, &expected) >= 2 * 6);
    done(&made);
    done(&last);
}

static void the_next_segment_has_a_name_of_its_own(void **state)
{
    new_log(state);
    struct made made = make_segment(7, 800, 0);
    allocate(&made);
    struct lqi_found expected = given_up(&made, 800 + 40000, 8, 1);
    same(find_promised(808, 7), &expected);
    expected.next_id = 9;
    same(find_promised(808, 9), &expected);
    done(&made);
}

static void without_any_file_the_log_goes_on_where_it_was_promised_to_end(void **state)
{
    struct lqi_trim trim = {.sequence = 3, .first_id = 20, .position = 4000, .synced = 4000, .next_id = 20};
    new_log(state);
    struct lqi_found expected = {.end = 4000, .next_id = 20, .mark = 4000}, *found = find(&trim, &nothing);
    same(found, &expected);
    EQUAL(found->first_id, 20);
    EQUAL(found->first_position, 4000);
    trim.synced = 4008;
    trim.next_id = 31;
    expected = (struct lqi_found){.end = 4008, .next_id = 31, .mark = 4008, .given_up = true, .good_end = 4000, .good_id = 20, .damage = 1};
    same(find(&trim, &nothing), &expected);
    expected.end = expected.mark = 5008;
    expected.next_id = 41;
    same(find(&trim, &(struct lqi_promise){5002, 41, 0}), &expected);
}

static void ids_are_neither_below_what_was_trimmed_nor_beyond_their_end(void **state)
{
    new_log(state);
    struct lqi_found expected = {.next_id = 1}, *found = find(&(struct lqi_trim){0}, &nothing);
    same(found, &expected);
    EQUAL(found->first_id, 1);
    struct made made = make_segment(7, 800, 0);
    add_many(&made, 3);
    made.found.next_id = 100;
    found = find(&(struct lqi_trim){.sequence = 2, .first_id = 100, .position = 800}, &nothing);
    same(found, &made.found);
    EQUAL(found->first_id, 100);
    EQUAL(find_promised(1 << 20, LQI_ID_END - 2)->next_id, LQI_ID_END - 2);
    EQUAL(find_promised(1 << 20, LQI_ID_END - 1)->next_id, LQI_ID_END - 1);
    EQUAL(find_promised(1 << 20, LQI_ID_END)->next_id, LQI_ID_END - 1);
    EQUAL(find_promised(1 << 20, UINT64_MAX)->next_id, LQI_ID_END - 1);
    EQUAL(find_promised(LQI_POSITION_END, 0)->end, LQI_POSITION_END);
    EQUAL(find_promised(UINT64_MAX, 0)->end, LQI_POSITION_END);
    done(&made);
}

/* ---- sealed segments ---------------------------------------------------------------------- */

static void behind_a_sealed_segment_the_next_one_begins(void **state)
{
    new_log(state);
    struct made made = make_segment(7, 800, 0);
    add_many(&made, 3);
    struct made then = made;
    seal(&made, 10);
    then.found.usable = false;
    then.found.mark = then.found.end;
    same(find(&untrimmed, &nothing), &then.found);
    same(find_promised(then.found.end, 10), &then.found);
    done(&made);
}

static void a_trailer_knows_of_ids_that_no_record_has(void **state)
{
    new_log(state);
    struct made made = make_segment(7, 800, 0);
    add_many(&made, 3);
    struct made then = made;
    seal(&made, 15);
    then.found.usable = false;
    then.found.mark = then.found.end;
    then.found.next_id = 15;
    same(find(&untrimmed, &nothing), &then.found);
    done(&made);
}

static void a_sealed_segment_without_its_last_record_is_torn_or_given_up(void **state)
{
    new_log(state);
    struct made made = make_segment(7, 800, 0);
    add_many(&made, 3);
    struct made then = made;
    uint64_t bad = add(&made);
    damage(&made, bad);
    seal(&made, 11);
    struct lqi_found *found = find(&untrimmed, &nothing);
    HOLDS(found->torn_bytes > 0);
    then.found.torn_bytes = size_of(&made) - offset_of(&made, bad);
    same(found, &then.found);
    struct lqi_found expected = given_up(&then, made.found.end, 11, 1);
    same(find_promised(bad + 8, 11), &expected);
    done(&made);
}

/* Sealing was not over: the footer is made anew when the segment is full again. */
static void a_segment_whose_index_does_not_verify_goes_on_where_its_records_end(void **state)
{
    new_log(state);
    struct made made = make_segment(7, 800, 0);
    add_many(&made, 3);
    uint64_t end = offset_of(&made, made.found.end);
    seal(&made, 10);
    put_bytes(&made, end + 3, "index", 5);
    made.found.torn_bytes = size_of(&made) - end;
    same(find(&untrimmed, &nothing), &made.found);
    same(find_promised(made.found.end, 10), &made.found);
    done(&made);
}

/* Read last of all. What it says is only held against its checksum: no wrong end would show that it was not read. */
static void an_index_that_cannot_be_read_is_no_good_index(void **state)
{
    static struct lqi_found found;
    struct io_fault fault;
    new_log(state);
    struct made made = make_segment(7, 800, 0);
    add_many(&made, 3);
    seal(&made, 10);
    io_fault_init(&fault, &lqi_io_posix);
    the_log.io = &fault.io;
    OK(lqi_find_end(&the_log, &untrimmed, &nothing, &found));
    io_fault_plan(&fault, IO_READ, fault.calls[IO_READ], false, EIO);
    IS(LQ_EIO, lqi_find_end(&the_log, &untrimmed, &nothing, &found));
    EQUAL(fault.hits, 1);
    the_log.io = &lqi_io_posix;
    io_fault_release(&fault);
    done(&made);
}

/* ---- several segments ---------------------------------------------------------------------- */

static void the_log_begins_where_the_trim_slot_says_or_else_where_the_files_do(void **state)
{
    struct made three[3];
    new_log(state);
    make_three(three);
    struct lqi_found *found = find(&untrimmed, &nothing);
    same(found, &three[2].found);
    EQUAL(found->first_id, 1);
    EQUAL(found->first_position, 0);
    EQUAL(found->second_id, 4);
    found = find(&(struct lqi_trim){.sequence = 2, .first_id = 3, .position = 16}, &nothing);
    EQUAL(found->first_id, 3);
    EQUAL(found->first_position, 16);
    EQUAL(found->second_id, 4);
    break_header(&three[0]);
    found = find(&untrimmed, &nothing);
    EQUAL(found->first_id, 1);
    EQUAL(found->first_position, three[1].head.position);
    drop_three(three);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_DIRECTORY(of_a_whole_segment_everything_is_known),
        IN_DIRECTORY(an_empty_segment_ends_where_it_begins),
        IN_DIRECTORY(a_mark_at_the_end_is_known_and_counts_as_no_message),
        IN_DIRECTORY(time_is_that_of_the_newest_record_wherever_it_is),
        IN_DIRECTORY(an_index_has_no_more_entries_than_it_has_room_for),
        IN_DIRECTORY(behind_a_torn_record_nothing_of_what_follows_is_left),
        IN_DIRECTORY(a_promise_beyond_the_bad_place_makes_it_damage_and_not_one_up_to_it),
        IN_DIRECTORY(the_log_may_be_torn_behind_damage),
        IN_DIRECTORY(torn_bytes_are_counted_to_the_last_that_is_not_zero),
        IN_DIRECTORY(garbage_is_counted_whatever_it_looks_like),
        IN_DIRECTORY(a_lost_end_is_left_behind_with_all_that_may_have_been_there),
        IN_DIRECTORY(a_damaged_last_record_keeps_its_ids_to_itself),
        IN_DIRECTORY(what_cannot_be_read_is_an_error_and_not_the_end),
        IN_DIRECTORY(the_next_segment_has_a_name_of_its_own),
        IN_DIRECTORY(without_any_file_the_log_goes_on_where_it_was_promised_to_end),
        IN_DIRECTORY(ids_are_neither_below_what_was_trimmed_nor_beyond_their_end),
        IN_DIRECTORY(behind_a_sealed_segment_the_next_one_begins),
        IN_DIRECTORY(a_trailer_knows_of_ids_that_no_record_has),
        IN_DIRECTORY(a_sealed_segment_without_its_last_record_is_torn_or_given_up),
        IN_DIRECTORY(a_segment_whose_index_does_not_verify_goes_on_where_its_records_end),
        IN_DIRECTORY(an_index_that_cannot_be_read_is_no_good_index),
        IN_DIRECTORY(the_log_begins_where_the_trim_slot_says_or_else_where_the_files_do),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
