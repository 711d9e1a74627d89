/* A log whose last segments cannot be read, as their headers are gone: where recovery lets it go on, so that no byte and no
 * id that may have been there is given again, and as few as can be are given up. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "support/made_log.h"

/* The id that comes next when the last segment, of this size, has lost its header: each message takes 8 bytes at least. */
static uint64_t next_behind(uint64_t first_id, uint64_t file_size)
{
    return first_id + file_size / 8 + 1;
}

static void behind_a_last_segment_that_cannot_be_read_there_is_room_for_all_of_it(void **state)
{
    struct made three[3];
    new_log(state);
    make_three(three);
    break_header(&three[2]);
    uint64_t size = size_of(&three[2]), before = three[1].found.end;
    struct lqi_found expected = {.end = before + size, .mark = before + size, .next_id = next_behind(7, size), .given_up = true,
                                 .good_end = before, .good_id = 7, .damage = 1};
    HOLDS(expected.end % 8 == 0);
    same(find(&untrimmed, &nothing), &expected);
    expected.end = expected.mark = before + size + 1000;
    same(find_promised(before + size + 1000, 5), &expected);
    expected.next_id = 1 << 20;
    same(find_promised(before + size + 1000, 1 << 20), &expected);
    drop_three(three);
}

/* Not its header says what it holds then, but its trailer, to the byte and the id. */
static void a_last_segment_without_header_ends_where_its_trailer_says(void **state)
{
    struct made three[3];
    new_log(state);
    make_three(three);
    add_many(&three[2], 5);
    uint64_t end = three[2].found.end;
    seal(&three[2], 20);
    put_bytes(&three[2], 60, "broken", 6);
    put_bytes(&three[2], 188, "broken", 6);
    struct lqi_found expected = {.end = end, .mark = end, .next_id = 20, .given_up = true, .good_end = end, .good_id = 20, .damage = 1};
    same(find(&untrimmed, &nothing), &expected);
    drop_three(three);
}

static void several_that_cannot_be_read_are_left_behind_together(void **state)
{
    struct made three[3];
    new_log(state);
    make_three(three);
    break_header(&three[2]);
    break_header(&three[1]);
    uint64_t sizes = size_of(&three[1]) + size_of(&three[2]), before = three[0].found.end;
    struct lqi_found expected = {.end = lqi_round_up(before + sizes, 8), .next_id = next_behind(7, size_of(&three[2])), .given_up = true,
                                 .good_end = before, .good_id = 7, .damage = 1};
    expected.mark = expected.end;
    same(find(&untrimmed, &nothing), &expected);

    break_header(&three[0]); /* nothing is left but the place where the log began */
    sizes += size_of(&three[0]);
    expected.good_end = 24;
    expected.end = expected.mark = lqi_round_up(24 + sizes, 8);
    same(find(&(struct lqi_trim){.sequence = 1, .first_id = 1, .position = 24, .next_id = 1}, &nothing), &expected);
    drop_three(three);
}

/* The one before it was never sealed: all of its file may be records. */
static void an_open_segment_before_an_unreadable_one_reaches_as_far_as_its_file(void **state)
{
    new_log(state);
    struct made open = make_segment(1, 0, 0);
    add_many(&open, 2);
    allocate(&open);
    struct made last = make_segment(3, open.found.end, 0);
    break_header(&last);
    struct lqi_found expected = {.good_end = size_of(&open), .next_id = next_behind(3, LQI_SEGMENT_HEADER), .given_up = true, .good_id = 3, .damage = 1};
    expected.end = expected.mark = lqi_round_up(size_of(&open) + LQI_SEGMENT_HEADER, 8);
    struct lqi_found *found = find(&untrimmed, &nothing);
    same(found, &expected);
    EQUAL(found->second_id, 3);
    done(&open);
    done(&last);
}

static int open_but_not_the_3rd(const struct lqi_io *io, int dir, const char *name, int flags, uint32_t mode, int *fd_out)
{
    char gone[LQI_SEGMENT_NAME_SIZE];
    lqi_segment_name(gone, 3);
    return strcmp(name, gone) == 0 ? ENOENT : lqi_io_posix.open(io, dir, name, flags, mode, fd_out);
}

/* Somebody else deleted it, between the look at the directory and the look at the file. */
static void what_is_gone_takes_no_room(void **state)
{
    static struct lqi_found found;
    struct lqi_io io = lqi_io_posix;
    new_log(state);
    struct made made = make_segment(1, 0, 0);
    add_many(&made, 2);
    seal(&made, 3);
    struct made gone = make_segment(3, made.found.end, 0), last = make_segment(5, 1 << 20, 0);
    break_header(&last);
    struct lqi_found expected = {.next_id = next_behind(5, LQI_SEGMENT_HEADER), .given_up = true, .good_end = made.found.end, .good_id = 5, .damage = 1};
    expected.end = expected.mark = lqi_round_up(made.found.end + LQI_SEGMENT_HEADER, 8);
    io.open = open_but_not_the_3rd;
    the_log.io = &io;
    OK(lqi_find_end(&the_log, &untrimmed, &nothing, &found));
    the_log.io = &lqi_io_posix;
    same(&found, &expected);
    done(&made);
    done(&gone);
    done(&last);
}

static void what_is_no_file_takes_no_room(void **state)
{
    new_log(state);
    struct made made = make_segment(1, 0, 0);
    add_many(&made, 2);
    seal(&made, 3);
    HOLDS(mkdir(path_of(3), 0700) == 0);
    struct lqi_found expected = {.end = made.found.end, .mark = made.found.end, .next_id = 4, .given_up = true, .good_end = made.found.end, .good_id = 3, .damage = 1};
    same(find(&untrimmed, &nothing), &expected);
    struct made last = make_segment(5, 1 << 20, 0); /* behind it, and not its room twice */
    break_header(&last);
    expected.end = expected.mark = lqi_round_up(made.found.end + LQI_SEGMENT_HEADER, 8);
    expected.next_id = next_behind(5, LQI_SEGMENT_HEADER);
    expected.good_id = 5;
    same(find(&untrimmed, &nothing), &expected);
    HOLDS(rmdir(path_of(3)) == 0);
    done(&made);
    done(&last);
}

/* Whoever lengthened it cannot use up the positions that there are. */
static void no_file_takes_more_room_than_a_segment_can(void **state)
{
    new_log(state);
    struct made made = make_segment(1, 0, 0);
    break_header(&made);
    HOLDS(ftruncate(made.fd, (off_t)5 << 30) == 0);
    struct lqi_found expected = {.end = LQI_SEGMENT_FILE_MAX, .mark = LQI_SEGMENT_FILE_MAX, .next_id = next_behind(1, LQI_SEGMENT_FILE_MAX),
                                 .given_up = true, .good_id = 1, .damage = 1};
    same(find(&untrimmed, &nothing), &expected);
    done(&made);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_DIRECTORY(behind_a_last_segment_that_cannot_be_read_there_is_room_for_all_of_it),
        IN_DIRECTORY(a_last_segment_without_header_ends_where_its_trailer_says),
        IN_DIRECTORY(several_that_cannot_be_read_are_left_behind_together),
        IN_DIRECTORY(an_open_segment_before_an_unreadable_one_reaches_as_far_as_its_file),
        IN_DIRECTORY(what_is_gone_takes_no_room),
        IN_DIRECTORY(what_is_no_file_takes_no_room),
        IN_DIRECTORY(no_file_takes_more_room_than_a_segment_can),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
