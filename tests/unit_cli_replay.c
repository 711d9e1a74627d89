/* lq replay and the views that show a stretch of the log: which messages belong to it, when each is due, what a hole in it is
 * called, and that nothing that was passed on is held back, lost or there twice.
 */
#include "support/cli_calls.h"

#include "../cli/human.h"

#define TO_NEW " --segment-size 64k --ring-size 64k"

static void is_usage(void **state, const char *line, const char *text)
{
    assert_int_equal(lq(state, line), END_USAGE);
    says(err, text);
    assert_string_equal(out, "");
    assert_false(api_file_exists(api_path(*state, "r")));
}

/* ---- which messages --------------------------------------------------------------- */

static int64_t times[6]; /* when each of the five was put: all differ */

static void make_scene_in_time(void **state)
{
    lq_options options = {.size = sizeof options, .flags = LQ_READ_ONLY};
    lq_queue *queue;
    lq_reader *reader;
    lq_message message;

    make_scene(state);
    scratch_delete(api_path(*state, "q"));
    for (unsigned i = 0; i < 5; i++) {
        char line[60];
        snprintf(line, sizeof line, "lq put q %s --key %s%s", (const char *[]){"one", "two", "three", "four", "five"}[i], i % 2 ? "k" : "kk",
                 i ? "" : TO_NEW);
        assert_int_equal(lq(state, line), END_DONE);
        api_sleep_ms(2);
    }
    assert_int_equal(lq(state, "lq get q -c x -n 2"), END_DONE);
    OK(lq_open(api_path(*state, "q"), &options, &queue));
    OK(lq_reader_open(queue, &reader));
    for (unsigned i = 1; i <= 5; i++) {
        OK(lq_reader_next(reader, &message));
        times[i] = message.time_us;
        assert_true(i == 1 || times[i] > times[i - 1]);
    }
    lq_reader_close(reader);
    OK(lq_close(queue));
}

/* The line with each # replaced by the time of the message that it names: #3. */
static const char *with_times(const char *line)
{
    static char text[300];
    char *to = text;

    for (; *line; line++) {
        if (*line == '#') to += sprintf(to, "%s", human_rfc3339(times[*++line - '0']).text);
        else *to++ = *line;
    }
    *to = '\0';
    return text;
}

static void a_stretch_has_both_its_ends(void **state)
{
    static const struct {
        const char *range, *ids;
    } stretches[] = {
        {"", "12345"},                      {"--from 3", "345"},                {"--to 3", "123"},               {"--from 2 --to 4", "234"},
        {"--from 3 --to 3", "3"},           {"--from 4 --to 3", ""},            {"--from begin", "12345"},       {"--from end", ""},
        {"--to begin", "1"},                {"--to end", "12345"},              {"--from -2", "45"},             {"--to -2", "1234"},
        {"--from -9", "12345"},             {"--from 6", ""},                   {"--to 99", "12345"},            {"--from x", "345"},
        {"--to x", "12"},                   {"--from @#3", "345"},              {"--to @#3", "123"},             {"--since #3", "345"},
        {"--until #3", "123"},              {"--since #2 --until #4", "234"},   {"--from @#2 --since #4", "45"}, {"--from @#4 --since #2", "45"},
        {"--to @#2 --until #4", "12"},      {"--to @#4 --until #2", "12"},      {"--since #3 --from 4", "45"},   {"--since #3 --from 2", "345"},
        {"--until #3 --to 4", "123"},       {"--until #3 --to 2", "12"},        {"--since @9999-01-01", ""},     {"--until @1", ""},
        {"--key k", "24"},                  {"--key kk", "135"},                {"--key kkk", ""},               {"--grep ^t", "23"},
        {"--grep O", ""},                   {"--grep O -i", "124"},             {"--grep o|i", "1245"},          {"--key k --grep t", "2"},
        {"--from 2 --to 4 --key k", "24"},  {"--grep e$ --since #2", "35"},     {"--since #3 --to @#4", "34"},   {"--from begin --since #4", "45"},
        {"--to 0", ""},                     {"--from 0 --to 2", "12"},
    };
    char line[200];

    make_scene_in_time(state);
    for (size_t i = 0; i < sizeof stretches / sizeof *stretches; i++) {
        for (unsigned way = 0; way < 3; way++) {
            snprintf(line, sizeof line, "lq %s %s -F %%i", (const char *[]){"cat q", "tail q", "replay q -"}[way], stretches[i].range);
            assert_int_equal(lq(state, with_times(line)), END_DONE);
            if (strcmp(out, stretches[i].ids) != 0) fail_msg("%s: %s, not %s", line, out, stretches[i].ids);
            assert_string_equal(err, "");
        }
        scratch_delete(api_path(*state, "r"));
        snprintf(line, sizeof line, "lq replay q r %s" TO_NEW, stretches[i].range);
        assert_int_equal(lq(state, with_times(line)), END_DONE);
        assert_int_equal(stats_of(state, "r").last_id, strlen(stretches[i].ids));
    }
}

static void the_last_are_counted_in_the_stretch(void **state)
{
    static const struct {
        const char *line, *ids;
    } tails[] = {
        {"lq tail q -n 2", "45"},           {"lq tail q -n 2 --to 3", "23"},   {"lq tail q -n 2 --from 5", "5"}, {"lq tail q -n 9 --from 3", "345"},
        {"lq tail q -n 0", ""},             {"lq tail q -n 1 --key k", "4"},   {"lq tail q -n 2 --key kk", "35"}, {"lq tail q -n 9 --key kk", "135"},
        {"lq tail q -n 0 --grep o", ""},    {"lq tail q -n 2 --until #3", "23"}, {"lq tail q -n 1 --since #3", "5"}, {"lq tail q -n 3 --to x", "12"},
        {"lq tail q -n 1 --grep two", "2"}, {"lq tail q -n 1 --until #4", "4"}, {"lq tail q -n 1 --grep ^[^f] --since #2", "3"},
        {"lq cat q -n 2", "12"},            {"lq cat q -n 0", ""},             {"lq cat q -n 9", "12345"},       {"lq cat q -n 1 --key k --from 3", "4"},
        {"lq replay q - -n 2", "12"},       {"lq replay q - -n 0", ""},        {"lq replay q - -n 2 --key k", "24"}, {"lq replay q - -n 9", "12345"},
    };
    char line[200];

    make_scene_in_time(state);
    for (size_t i = 0; i < sizeof tails / sizeof *tails; i++) {
        snprintf(line, sizeof line, "%s -F %%i", tails[i].line);
        assert_int_equal(lq(state, with_times(line)), END_DONE);
        if (strcmp(out, tails[i].ids) != 0) fail_msg("%s: %s, not %s", line, out, tails[i].ids);
    }
}

/* Until a signal comes, or the end that was named, or there is no way on. */
static void a_view_that_follows_has_no_end_of_its_own(void **state)
{
    make_scene(state);
    clock_us = 1000;
    arriving = SIGTERM;
    assert_int_equal(lq_with(state, "lq tail -f q -F %i", "lq_reader_wait", 40, LQ_OK), 128 + SIGTERM);
    assert_string_equal(out, "12345");
    assert_int_equal(lq_with(state, "lq tail -f q -n 2 --grep e -F %i", "lq_reader_wait", 40, LQ_OK), 128 + SIGTERM);
    assert_string_equal(out, "35");
    assert_int_equal(lq_with(state, "lq tail -f q --to 6 -F %i", "lq_reader_wait", 40, LQ_OK), 128 + SIGTERM);
    assert_string_equal(out, "12345");
    arriving = 0;
    assert_int_equal(lq(state, "lq tail -f q --to 5 -F %i"), END_DONE);
    assert_string_equal(out, "12345");
    assert_int_equal(lq(state, "lq tail -f q --to 3 -F %i"), END_DONE);
    assert_string_equal(out, "123");
    assert_int_equal(lq_with(state, "lq tail -f q -F %i", "lq_reader_next", 3, LQ_ECORRUPT), END_DAMAGE);
    assert_string_equal(out, "12");
    unread = true;
    assert_int_equal(lq(state, "lq tail -f q"), END_DONE);
    assert_string_equal(err, "");
    unread = false;
    clock_us = 0;
}

static void a_slip_is_told_and_nothing_is_made(void **state)
{
    make_scene(state);
    is_usage(state, "lq replay", "lq: replay: the queue is missing\n");
    is_usage(state, "lq replay q", "lq: replay: the destination: a queue, or - for standard output is missing\n");
    is_usage(state, "lq replay q r s", "one operand too many: 's'");
    is_usage(state, "lq replay q r --rate 1 --pace 1x", "--rate and --pace do not go together");
    is_usage(state, "lq replay q - --sync never", "options of a queue, but the destination is standard output");
    is_usage(state, "lq replay q r --json", "a form of output, but the destination is a queue");
    is_usage(state, "lq replay q r --batch 0", "--batch: 0 is not between 1 and 65535");
    is_usage(state, "lq replay q r --batch 65536", "--batch: 65536 is not between");
    is_usage(state, "lq replay q r --grep (", "--grep: '(': Unmatched ( or ");
    is_usage(state, "lq replay q r --from a/b", "--from: 'a/b' is no position");
    is_usage(state, "lq replay q r --to a/b", "--to: 'a/b' is no position");
    is_usage(state, "lq replay q r --since x", "--since: 'x' is not a time");
    is_usage(state, "lq replay q r --until x", "--until: 'x' is not a time");
    for (size_t i = 0; i < 10; i++) {
        static const char *const rates[] = {"0", "-1", "x", "1/y", "nan", "inf", "1e12", "/s", "1/s/s", "+1"};
        char line[60], text[80];
        snprintf(line, sizeof line, "lq replay q r --rate %s", rates[i]);
        snprintf(text, sizeof text, "--rate: '%s' is not a rate such as 500/s or 10/m", rates[i]);
        is_usage(state, line, text);
    }
    is_usage(state, "lq replay '' r", "the name of the queue is empty");
    is_usage(state, "lq replay q ''", "the name of the queue is empty");
    for (size_t i = 0; i < 9; i++) {
        static const char *const paces[] = {"0", "-1", "x", "1y", "nan", "1e9", "1xx", "0x", "+1x"};
        char line[60], text[80];
        snprintf(line, sizeof line, "lq replay q r --pace %s", paces[i]);
        snprintf(text, sizeof text, "--pace: '%s' is not a pace such as 1x or 0.5x", paces[i]);
        is_usage(state, line, text);
    }
    assert_int_equal(lq(state, "lq replay q r --from nobody"), END_CANNOT);
    assert_int_equal(lq(state, "lq replay q r --to nobody"), END_CANNOT);
    assert_false(api_file_exists(api_path(*state, "r")));
    assert_int_equal(lq(state, "lq replay nothing r"), END_CANNOT);
    assert_int_equal(lq(state, "lq replay q r --no-create"), END_CANNOT);
    assert_false(api_file_exists(api_path(*state, "r")));
}

/* ---- when each is due ------------------------------------------------------------- */

/* Five messages: the fifth is due four intervals after the first. */
static void a_rate_is_kept_to(void **state)
{
    static const struct {
        const char *rate;
        int64_t us;
    } rates[] = {
        {"--rate 20/s", 200000},   {"--rate 20", 200000},     {"--rate 60/m", 4000000}, {"--rate 3600/h", 4000000}, {"--rate 0.5", 8000000},
        {"--rate 9e11", 0},        {"--pace 1x", 40000000},   {"--pace 2x", 20000000},  {"--pace 0.5x", 80000000},  {"--pace 4", 10000000},
        {"--pace 9e8x", 0},        {"", 0},                   {"--rate 1/h", INT64_C(14400000000)},
        {"--rate 0.0000000000000001/h", INT64_C(100000000000000000)}, /* never, but for 3,000 years */
        {"--pace 0.0000000000000001x", INT64_C(100000000000000000)},
    };
    char line[80];

    make_scene(state);
    clock_us = 1000;
    gap_us = 10000000;
    for (size_t i = 0; i < sizeof rates / sizeof *rates; i++) {
        snprintf(line, sizeof line, "lq replay q - %s", rates[i].rate);
        assert_int_equal(lq(state, line), END_DONE);
        assert_string_equal(out, "one\ntwo\nthree\nfour\nfive\n");
        assert_int_equal(seen->waited_us, rates[i].us);
    }
    assert_false(api_file_exists(api_path(*state, "-"))); /* which is no name here */
    assert_int_equal(lq(state, "lq replay q - --from 4 --pace 1x"), END_DONE); /* the first is due at once */
    assert_int_equal(seen->waited_us, 10000000);
    gap_us = -10000000; /* the clock was set back */
    assert_int_equal(lq(state, "lq replay q - --pace 1x"), END_DONE);
    assert_int_equal(seen->waited_us, 0);
    assert_int_equal(lines_of(out), 5);
    gap_us = clock_us = 0;
}

/* Whoever waits for the third has the first and the second. */
static void what_is_done_is_not_held_back_while_the_next_is_waited_for(void **state)
{
    make_scene(state);
    clock_us = 1000;
    arriving = SIGKILL;
    assert_int_equal(lq_with(state, "lq replay q - --rate 1/s", "stop_sleep_us", 2, LQ_OK), 128 + SIGKILL);
    assert_string_equal(out, "one\ntwo\n");
    assert_int_equal(lq_with(state, "lq replay q r --rate 1/s" TO_NEW, "stop_sleep_us", 2, LQ_OK), 128 + SIGKILL);
    assert_int_equal(stats_of(state, "r").last_id, 2);
    arriving = clock_us = 0;
}

/* Where no clock is asked for: four thousand are read, and what was found among them is out. */
static void what_was_found_is_not_held_back_while_the_rest_is_searched(void **state)
{
    lq_queue *queue;

    make_scene(state);
    OK(lq_open(api_path(*state, "q"), NULL, &queue));
    for (int i = 0; i < 4200; i++) api_put(queue, "more");
    OK(lq_close(queue));
    arriving = SIGKILL;
    assert_int_equal(lq_with(state, "lq cat q --grep two --raw", "lq_reader_next", 4200, LQ_OK), 128 + SIGKILL);
    assert_string_equal(out, "two\n");
    arriving = 0;
    assert_int_equal(calls_of(state, "lq cat q --raw", "write"), 1); /* where all pass, large pieces are faster */
}

/* ---- holes ------------------------------------------------------------------------ */

static void a_hole_is_told_as_what_it_is_and_stepped_over(void **state)
{
    static const struct {
        lq_finding hole;
        const char *told;
    } holes[] = {
        {{sizeof(lq_finding), LQ_ECORRUPT, "log/1.seg", 4096, 700, 1, "why"}, "lq: q: message 700 is lost: log/1.seg byte 4,096: why\n"},
        {{sizeof(lq_finding), LQ_ECORRUPT, "log/1.seg", 8, 1700, 2, "why"}, "lq: q: 2 messages from 1,700 on are lost: log/1.seg byte 8: why\n"},
        {{sizeof(lq_finding), LQ_EIO, "log/2.seg", 0, 0, 0, "nobody knows"}, "lq: q: damaged: log/2.seg byte 0: nobody knows\n"},
    };

    make_scene(state);
    for (size_t i = 0; i < sizeof holes / sizeof *holes; i++) {
        hole = &holes[i].hole;
        assert_int_equal(lq_with(state, "lq cat q --raw", "lq_reader_next", 3, LQ_ECORRUPT), END_DAMAGE);
        assert_string_equal(out, "one\ntwo\nthree\nfour\nfive\n");
        assert_string_equal(err, holes[i].told);
        assert_int_equal(lq_with(state, "lq replay q r" TO_NEW, "lq_reader_next", 3, LQ_ECORRUPT), END_DAMAGE);
        assert_int_equal(stats_of(state, "r").last_id, 5);
        scratch_delete(api_path(*state, "r"));
    }
    /* What stands before it is out before it is told. */
    arriving = SIGKILL;
    assert_int_equal(lq_with(state, "lq cat q --raw", "lq_reader_next", 3, LQ_ECORRUPT), 128 + SIGKILL);
    assert_string_equal(out, "");
    assert_int_equal(lq_with(state, "lq cat q --raw", "lq_reader_damage", 1, LQ_OK), END_DONE);
    arriving = 0;
    hole = NULL;
    assert_int_equal(lq_with(state, "lq cat q --raw", "lq_reader_next", 3, LQ_ECORRUPT), END_DAMAGE);
    assert_string_equal(out, "one\ntwo\n");
    assert_string_equal(err, "lq: q: cannot read any further: " PLANTED "\n");
    assert_int_equal(lq_with(state, "lq cat q --raw", "lq_reader_next", 3, LQ_EIO), END_CANNOT);
    assert_string_equal(out, "one\ntwo\n");
}

/* ---- ends ------------------------------------------------------------------------- */

/* Of "one" to "five", so many are in `r`, and each is itself. */
static void is_a_beginning(void **state, uint64_t count)
{
    char wanted[60] = "";

    assert_in_range(count, 0, 5);
    for (uint64_t i = 0; i < count; i++) strcat(strcat(wanted, (const char *[]){"one", "two", "three", "four", "five"}[i]), "\n");
    assert_int_equal(lq(state, "lq cat r --raw"), END_DONE);
    assert_string_equal(out, wanted);
}

static void a_signal_at_any_call_ends_it_and_what_is_in_is_a_beginning_and_safe(void **state)
{
    static const char *const calls[] = {"lq_reader_next", "lq_put_batch", "stop_sleep_us", "lq_sync", "lq_close"};
    unsigned signals = 0;

    clock_us = 1000;
    for (size_t c = 0; c < sizeof calls / sizeof *calls; c++) {
        for (unsigned nth = 1;; nth++) {
            make_scene(state);
            arriving = SIGTERM;
            int end = lq_with(state, "lq replay q r --rate 1/s" TO_NEW, calls[c], nth, LQ_OK);
            arriving = 0;
            if (!seen->met) break;
            signals++;
            if (end != 128 + SIGTERM) fail_msg("it ended with %d at the %uth %s(): %s", end, nth, calls[c], err);
            assert_string_equal(err, "");
            assert_false(seen->dirty);
            uint64_t count = stats_of(state, "r").last_id;
            if (c == 2) assert_int_equal(count, nth); /* it was not the next one's turn */
            is_a_beginning(state, count);
        }
    }
    arriving = SIGTERM;
    make_scene(state);
    assert_int_equal(lq_with(state, "lq replay q r" TO_NEW, "lq_put_batch", 1, LQ_TIMEOUT), 128 + SIGTERM); /* it was waiting for room */
    assert_string_equal(err, "");
    arriving = 0;
    clock_us = 0;
    assert_in_range(signals, 14, 40);
}

static void nobody_who_reads_any_more_is_no_failure(void **state)
{
    make_scene(state);
    unread = true;
    clock_us = 1000;
    assert_int_equal(lq(state, "lq replay q - --rate 1/s"), END_DONE);
    assert_string_equal(err, "");
    assert_in_range(seen->waited_us, 0, 2000000);
    assert_int_equal(lq(state, "lq cat q"), END_DONE);
    assert_string_equal(err, "");
    unread = false;
    clock_us = 0;
}

static void room_is_waited_for_without_end(void **state)
{
    make_scene(state);
    clock_us = 1000;
    plan = (struct plan){"lq_put_batch", 1, 1000, LQ_TIMEOUT, NULL};
    assert_int_equal(lq(state, "lq replay q r" TO_NEW), END_DONE);
    assert_int_equal(seen->waited_us, 1000 * 250000);
    plan = (struct plan){NULL, 0, 0, 0, NULL};
    clock_us = 0;
    is_a_beginning(state, 5);
}

static void batches_are_as_large_as_is_asked_for(void **state)
{
    make_scene(state);
    assert_int_equal(calls_of(state, "lq replay q r" TO_NEW, "lq_put_batch"), 1);
    assert_int_equal(calls_of(state, "lq replay q r --batch 2", "lq_put_batch"), 3);
    assert_int_equal(calls_of(state, "lq replay r r --batch 1", "lq_put_batch"), 10); /* what is there when it begins */
    assert_int_equal(stats_of(state, "r").last_id, 20);
    /* Nor is the disk waited for more often. */
    assert_int_equal(calls_of(state, "lq replay q r --batch 1", "fdatasync"), calls_of(state, "lq replay q r", "fdatasync"));
}

static void a_terminal_is_shown_how_far_it_is(void **state)
{
    make_scene(state);
    clock_us = 1000;
    assert_int_equal(lq(state, "lq replay q r --rate 1/s" TO_NEW), END_DONE);
    assert_string_equal(err, "");
    terminals = ALL_TERMINALS;
    assert_int_equal(lq(state, "lq replay q r --rate 1/s"), END_DONE);
    says(err, "]  80 %  3 messages  1/s  11 B  5 B/s  0.5 s left");
    assert_string_equal(err + strlen(err) - 4, "\r\033[K");
    assert_int_equal(lq(state, "lq replay q - --rate 1/s"), END_DONE); /* among the messages there is no bar */
    assert_null(strstr(err, "%"));
    assert_int_equal(lq(state, "lq replay q r --rate 1/s --since @1"), END_DONE); /* nor where nobody knows how many there are */
    assert_null(strstr(err, "%"));
    says(err, "3 messages  1/s");
    terminals = ALL_TERMINALS & ~2u;
    assert_int_equal(lq(state, "lq replay q - --rate 1/s"), END_DONE); /* which go elsewhere here */
    says(err, " 80 %");
    terminals = 0;
    clock_us = 0;
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        IN_DIRECTORY(a_stretch_has_both_its_ends),
        IN_DIRECTORY(the_last_are_counted_in_the_stretch),
        IN_DIRECTORY(a_view_that_follows_has_no_end_of_its_own),
        IN_DIRECTORY(a_slip_is_told_and_nothing_is_made),
        IN_DIRECTORY(a_rate_is_kept_to),
        IN_DIRECTORY(what_is_done_is_not_held_back_while_the_next_is_waited_for),
        IN_DIRECTORY(what_was_found_is_not_held_back_while_the_rest_is_searched),
        IN_DIRECTORY(a_hole_is_told_as_what_it_is_and_stepped_over),
        IN_DIRECTORY(a_signal_at_any_call_ends_it_and_what_is_in_is_a_beginning_and_safe),
        IN_DIRECTORY(nobody_who_reads_any_more_is_no_failure),
        IN_DIRECTORY(room_is_waited_for_without_end),
        IN_DIRECTORY(batches_are_as_large_as_is_asked_for),
        IN_DIRECTORY(a_terminal_is_shown_how_far_it_is),
    };

    return cmocka_run_group_tests_name("lq replay", tests, share_what_is_seen, NULL);
}
