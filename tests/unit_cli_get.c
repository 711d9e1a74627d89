/* lq get: which messages it takes, how long it waits for them, and what has become of each when it ends. A message is acked
 * when all of it has left, or when its command has ended with 0; every other one is there for the next who asks.
 */
#include "support/cli_calls.h"

/* The ids from `first` on, each with a body of this size. */
static void put_more(void **state, unsigned count, size_t size)
{
    static char body[3 << 20];
    lq_queue *queue;

    OK(lq_open(api_path(*state, "q"), NULL, &queue));
    for (unsigned i = 0; i < count; i++) OK(lq_put(queue, memset(body, 'm', size), size, NULL));
    OK(lq_close(queue));
}

static void is_usage(void **state, const char *line, const char *text)
{
    assert_int_equal(lq(state, line), END_USAGE);
    says(err, text);
    assert_string_equal(out, "");
}

/* ---- what is asked for ----------------------------------------------------------- */

static void one_message_is_taken_unless_more_are_asked_for(void **state)
{
    make_scene(state);
    assert_int_equal(lq(state, "lq get q -c n"), END_DONE);
    assert_string_equal(out, "one\n");
    assert_int_equal(floor_of(state, "n"), 1);
    assert_int_equal(lq(state, "lq get q -c n -n 3"), END_DONE);
    assert_string_equal(out, "two\nthree\nfour\n");
    assert_int_equal(floor_of(state, "n"), 4);
    assert_int_equal(lq(state, "lq get q -c n -n 3"), END_DONE); /* there is one more */
    assert_string_equal(out, "five\n");
    assert_int_equal(lq(state, "lq get q -c n -n 3"), END_NO);
    assert_string_equal(out, "");
    assert_string_equal(err, "");
}

static void all_of_them_are_taken_in_three_ways_to_say_so(void **state)
{
    static const char *const lines[] = {"lq get q -c a --all", "lq get q -c b -n 0", "lq get q -c c -a", "lq get q -c d -n 18446744073709551615"};

    make_scene(state);
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        assert_int_equal(lq(state, lines[i]), END_DONE);
        assert_string_equal(out, "one\ntwo\nthree\nfour\nfive\n");
        assert_int_equal(lq(state, lines[i]), END_NO);
    }
}

static void a_slip_is_told_before_anything_is_taken(void **state)
{
    make_scene(state);
    is_usage(state, "lq get", "lq: get: the queue is missing\n");
    is_usage(state, "lq get -c x", "lq: get: the queue is missing\n");
    is_usage(state, "lq get -c x -- cat -u", "the queue is missing before --");
    is_usage(state, "lq get q", "-c CONSUMER is missing");
    is_usage(state, "lq get -c x -- cat", "the queue is missing before --");
    is_usage(state, "lq get q r -c x", "r");
    is_usage(state, "lq get q r -c x -- cat", "one operand too many: 'r'");
    is_usage(state, "lq get q -c x --json -- cat", "the output is the command's");
    is_usage(state, "lq get q -c x -n many", "--count: 'many' is not a number");
    is_usage(state, "lq get q -c x --wait never", "--wait: 'never' is not a time");
    is_usage(state, "lq get q -c n --start a/b", "--start: 'a/b' is no position");
    assert_int_equal(floor_of(state, "x"), 2);
}

static void a_new_consumer_begins_where_start_says(void **state)
{
    static const struct {
        const char *start, *first;
    } starts[] = {
        {"begin", "one"}, {"1", "one"}, {"4", "four"}, {"-2", "four"}, {"-5", "one"}, {"-90", "one"}, {"x", "three"},
        {"@-1h", "one"},  {"@2026-01-01", "one"}, {"@9999-01-01", ""}, {"end", ""}, {"6", ""},
    };
    char line[80], wanted[20];

    make_scene(state);
    for (size_t i = 0; i < sizeof starts / sizeof *starts; i++) {
        snprintf(line, sizeof line, "lq get q -c new%zu --start %s", i, starts[i].start);
        snprintf(wanted, sizeof wanted, *starts[i].first ? "%s\n" : "%s", starts[i].first);
        int end = lq(state, line);
        if (strcmp(out, wanted) != 0) fail_msg("%s: %s", line, out);
        assert_int_equal(end, *wanted ? END_DONE : END_NO);
    }
    assert_int_equal(lq(state, "lq get q -c new2 --start begin"), END_DONE); /* and one that is there stays where it is */
    assert_string_equal(out, "five\n");
    assert_int_equal(lq(state, "lq get q -c follows --start 4 -f -n 1"), END_DONE);
    assert_string_equal(out, "four\n");
    assert_int_equal(lq(state, "lq get q -c lost --start nobody"), END_CANNOT);
    says(err, "no consumer is called 'nobody'");
    assert_int_equal(lq(state, "lq get q -c lost --no-create"), END_CANNOT);
    says(err, "lq: q: no consumer is called 'lost'");
}

static void a_terminal_is_told_of_a_consumer_that_is_made(void **state)
{
    make_scene(state);
    assert_int_equal(lq(state, "lq get q -c silent"), END_DONE);
    assert_string_equal(err, "");
    terminals = ALL_TERMINALS;
    assert_int_equal(lq(state, "lq get q -c slip"), END_DONE);
    assert_string_equal(err, "lq: q: 'slip' is a new consumer\n");
    assert_int_equal(lq(state, "lq get q -c slip"), END_DONE);
    assert_string_equal(err, "");
    assert_int_equal(lq(state, "lq get q -c no --no-create"), END_CANNOT);
    assert_null(strstr(err, "a new consumer"));
    terminals = 0;
}

/* ---- waiting --------------------------------------------------------------------- */

static void it_waits_as_long_as_it_is_told_to_and_no_longer(void **state)
{
    static const struct {
        const char *wait;
        int64_t us, longest_ms;
    } waits[] = {{"600ms", 600000, 250}, {"250ms", 250000, 250}, {"40ms", 40000, 40}, {"1h", INT64_C(3600000000), 250}, {"1s", 1000000, 250}, {"0s", 0, 0}};
    char line[80];

    make_scene(state);
    clock_us = 1000;
    assert_int_equal(lq(state, "lq get q -c x --all --wait 1s"), END_DONE); /* after the last one, as well */
    assert_string_equal(out, "three\nfour\nfive\n");
    assert_int_equal(seen->waited_us, 1000000);
    for (size_t i = 0; i < sizeof waits / sizeof *waits; i++) {
        snprintf(line, sizeof line, "lq get q -c x --wait %s", waits[i].wait);
        assert_int_equal(lq(state, line), END_NO);
        assert_int_equal(seen->waited_us, waits[i].us);
        assert_int_equal(seen->longest_ms, waits[i].longest_ms);
    }
    assert_int_equal(lq(state, "lq get q -c x --all"), END_NO);
    assert_int_equal(seen->waited_us, 0);
    clock_us = 0;
}

/* Forty waits of a quarter of a second: ten seconds, and no sign of an end. */
static void following_ends_by_a_signal_only(void **state)
{
    static const struct {
        const char *line, *taken;
    } follows[] = {{"lq get q -c x -f", "three\nfour\nfive\n"}, {"lq get q -c x -f -a", ""}, {"lq get q -c y -f -n 0 --wait 1s", "one\ntwo\nthree\nfour\nfive\n"},
                   {"lq get q -c y -f -n 3", ""}, {"lq get q -c y -f -- cat", ""}};

    make_scene(state);
    clock_us = 1000;
    arriving = SIGTERM;
    for (size_t i = 0; i < sizeof follows / sizeof *follows; i++) {
        assert_int_equal(lq_with(state, follows[i].line, "lq_get_batch", 44, 0), 128 + SIGTERM);
        assert_string_equal(out, follows[i].taken);
        assert_string_equal(err, "");
        assert_in_range(seen->waited_us, 9750000, 11000000);
        assert_int_equal(seen->calls, 44);
    }
    arriving = 0;
    assert_int_equal(lq(state, "lq get q -c z -f -n 2"), END_DONE); /* unless a number was given */
    assert_string_equal(out, "one\ntwo\n");
    assert_int_equal(floor_of(state, "z"), 2);
    clock_us = 0;
}

static void nothing_is_waited_for_when_nobody_reads_any_more(void **state)
{
    make_scene(state);
    assert_int_equal(lq(state, "lq get q -c x --all"), END_DONE);
    clock_us = 1000;
    unread = true;
    assert_int_equal(lq(state, "lq get q -c x -f"), END_DONE);
    assert_string_equal(err, "");
    assert_in_range(seen->waited_us, 0, 250000);
    assert_int_equal(lq(state, "lq get q -c x --wait 1s -- cat"), END_NO); /* the output is not lq's affair */
    assert_int_equal(seen->waited_us, 1000000);
    unread = false;
    clock_us = 0;
}

/* ---- acks ------------------------------------------------------------------------ */

static void what_did_not_leave_is_not_acked(void **state)
{
    make_scene(state);
    assert_int_equal(lq_with(state, "lq get q -c x --all", "write", 1, ENOSPC), END_CANNOT);
    assert_string_equal(err, "lq: cannot write to standard output: No space left on device\n");
    assert_int_equal(floor_of(state, "x"), 2);
    assert_int_equal(lq_with(state, "lq get q -c x --all", "write", 2, ENOSPC), END_CANNOT); /* "three" had a write of its own */
    assert_string_equal(out, "three\n");
    assert_int_equal(floor_of(state, "x"), 3);
    unread = true;
    assert_int_equal(lq(state, "lq get q -c x --all"), END_DONE);
    unread = false;
    assert_string_equal(err, "");
    assert_int_equal(lq(state, "lq get q -c x --all -F %s:%a,"), END_DONE);
    assert_string_equal(out, "four:3,five:2,");
}

static void an_ack_that_fails_is_told_as_what_it_is(void **state)
{
    make_scene(state);
    assert_int_equal(lq_with(state, "lq get q -c x", "lq_ack_batch", 1, LQ_EIO), END_CANNOT);
    says(err, "lq: q: cannot ack: " PLANTED);
    assert_int_equal(lq_with(state, "lq get q -c x -- cat", "lq_ack_batch", 1, LQ_ELEASE), END_CANNOT);
    says(err, "lq: q: some messages will come again: ");
    assert_string_equal(out, "three");
}

static void a_command_decides_about_its_message(void **state)
{
    static const struct {
        const char *command, *said;
    } fails[] = {
        {"false", "false ended with 1\n"},
        {"sh -c exit\t128", "sh ended with 128\n"},
        {"sh -c kill\t-9\t$$", "sh was killed by signal 9\n"},
        {"sh -c kill\t-1\t$$", "sh was killed by signal 1\n"},
    };
    char line[80], wanted[120];

    make_scene(state);
    for (size_t i = 0; i < sizeof fails / sizeof *fails; i++) {
        snprintf(line, sizeof line, "lq get q -c x --all -- %s", fails[i].command);
        assert_int_equal(lq(state, line), END_NO);
        snprintf(wanted, sizeof wanted, "lq: q: message 3 was given back: %s", fails[i].said);
        assert_string_equal(err, wanted);
        assert_int_equal(floor_of(state, "x"), 2);
    }
    assert_int_equal(lq(state, "lq get q -c x -- ./none"), END_CANNOT);
    assert_string_equal(err, "lq: q: ./none: No such file or directory\n");
    assert_int_equal(lq(state, "lq get q -c x -n 2 -- sh -c cat;echo\t:$LQ_ID:$LQ_ATTEMPTS"), END_DONE);
    assert_string_equal(out, "three:3:5\nfour:4:1\n");
    assert_int_equal(floor_of(state, "x"), 4);
}

/* It comes again at once, and as if it had never been handed out: nobody has had it. */
static void a_command_is_not_begun_when_the_end_was_asked_for(void **state)
{
    make_scene(state);
    arriving = SIGTERM;
    assert_int_equal(lq_with(state, "lq get q -c x -f -- cat", "lq_get_batch", 1, LQ_OK), 128 + SIGTERM);
    arriving = 0;
    assert_string_equal(out, "");
    assert_string_equal(err, "");
    assert_int_equal(lq(state, "lq get q -c x -F %s:%a"), END_DONE);
    assert_string_equal(out, "three:1");
}

static void damage_in_the_way_is_told_and_what_is_behind_it_is_taken(void **state)
{
    make_scene(state);
    assert_int_equal(lq_with(state, "lq get q -c x --all", "lq_get_batch", 2, LQ_ECORRUPT), END_DAMAGE);
    assert_string_equal(out, "three\nfour\nfive\n");
    says(err, "lq: q: messages are lost: " PLANTED);
    assert_int_equal(floor_of(state, "x"), 5);
}

/* A command is given one at a time: those it has not been asked about stay with the queue. */
static void only_what_is_worked_on_is_held(void **state)
{
    make_scene(state);
    assert_int_equal(lq(state, "lq get q -c x -a -- true"), END_DONE);
    for (unsigned i = 0; i < seen->gets; i++) assert_int_equal(seen->asked[i], 1);
    assert_int_equal(lq(state, "lq get q -c y -n 3"), END_DONE);
    assert_int_equal(seen->asked[0], 1);
    assert_int_equal(seen->asked[1], 2);
}

static void at_most_256_messages_are_held_at_a_time(void **state)
{
    make_scene(state);
    put_more(state, 1500, 10);
    assert_int_equal(lq(state, "lq get q -c x -n 1400"), END_DONE);
    assert_int_equal(lines_of(out), 1400);
    assert_int_equal(floor_of(state, "x"), 1402);
    assert_int_equal(seen->asked[0], 1);
    for (unsigned i = 1; i <= 8; i++) assert_int_equal(seen->asked[i], 1u << i);
    for (unsigned i = 9; i < 12; i++) assert_int_equal(seen->asked[i], 256);
}

/* It has as many in hand as make up a megabyte, of which it cannot know how large they are: it learns from those before. */
static void large_messages_are_held_in_small_numbers(void **state)
{
    static const struct {
        unsigned small, large;
        size_t size;
        unsigned asked[10];
    } queues[] = {
        {0, 40, 100000, {1, 2, 4, 4, 4}},
        {0, 5, 300000, {1, 1, 1, 1, 1}},
        {0, 3, 1100000, {1, 1, 1}},
        {1, 5, 600000, {1, 2, 1, 1}},
        {31, 70, 100000, {1, 2, 4, 8, 16, 32, 16, 8, 8}},
    };

    for (size_t i = 0; i < sizeof queues / sizeof *queues; i++) {
        make_scene(state);
        put_more(state, queues[i].small, 10);
        put_more(state, queues[i].large, queues[i].size);
        assert_int_equal(lq(state, "lq get q -c y --start 6 -a -F %i\\n"), END_DONE);
        assert_int_equal(lines_of(out), queues[i].small + queues[i].large);
        assert_int_equal(floor_of(state, "y"), 5 + queues[i].small + queues[i].large);
        for (unsigned n = 0; queues[i].asked[n]; n++) assert_int_equal(seen->asked[n], queues[i].asked[n]);
    }
}

/* ---- signals --------------------------------------------------------------------- */

/* What of "three", "four" and "five" is settled. */
static const char *settled_of(void **state, const char *ending)
{
    static char text[40];
    uint64_t settled = floor_of(state, "x");

    text[0] = '\0';
    for (uint64_t id = 3; id <= settled; id++)
        sprintf(text + strlen(text), "%s%s", (const char *[]){"three", "four", "five"}[id - 3], ending);
    return text;
}

static void a_signal_at_any_call_ends_it_and_loses_nothing(void **state)
{
    static const char *const lines[] = {"lq get q -c x -n 3", "lq get q -c x -a", "lq get q -c x -a -- cat"};
    static const char *const calls[] = {"lq_consumer_open", "lq_ack_batch", "lq_consumer_close", "lq_get_batch", "write"};
    unsigned signals = 0;

    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        for (size_t c = 0; c < (i < 2 ? 5 : 3); c++) { /* a command that has begun hears the signal, too, and has the choice */
            for (unsigned nth = 1;; nth++) {
                make_scene(state);
                arriving = SIGTERM;
                int end = lq_with(state, lines[i], calls[c], nth, LQ_OK);
                arriving = 0;
                if (!seen->met) break;
                signals++;
                if (end != 128 + SIGTERM) fail_msg("%s ended with %d at the %uth %s()", lines[i], end, nth, calls[c]);
                assert_string_equal(err, "");
                assert_string_equal(out, settled_of(state, i < 2 ? "\n" : ""));
                if (floor_of(state, "x") < 5) assert_int_equal(lq(state, "lq get q -c x"), END_DONE); /* at once */
            }
        }
    }
    assert_in_range(signals, 20, 60);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        IN_DIRECTORY(one_message_is_taken_unless_more_are_asked_for),
        IN_DIRECTORY(all_of_them_are_taken_in_three_ways_to_say_so),
        IN_DIRECTORY(a_slip_is_told_before_anything_is_taken),
        IN_DIRECTORY(a_new_consumer_begins_where_start_says),
        IN_DIRECTORY(a_terminal_is_told_of_a_consumer_that_is_made),
        IN_DIRECTORY(it_waits_as_long_as_it_is_told_to_and_no_longer),
        IN_DIRECTORY(following_ends_by_a_signal_only),
        IN_DIRECTORY(nothing_is_waited_for_when_nobody_reads_any_more),
        IN_DIRECTORY(what_did_not_leave_is_not_acked),
        IN_DIRECTORY(an_ack_that_fails_is_told_as_what_it_is),
        IN_DIRECTORY(a_command_decides_about_its_message),
        IN_DIRECTORY(a_command_is_not_begun_when_the_end_was_asked_for),
        IN_DIRECTORY(damage_in_the_way_is_told_and_what_is_behind_it_is_taken),
        IN_DIRECTORY(only_what_is_worked_on_is_held),
        IN_DIRECTORY(at_most_256_messages_are_held_at_a_time),
        IN_DIRECTORY(large_messages_are_held_in_small_numbers),
        IN_DIRECTORY(a_signal_at_any_call_ends_it_and_loses_nothing),
    };

    return cmocka_run_group_tests_name("lq get", tests, share_what_is_seen, NULL);
}
