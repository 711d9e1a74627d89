/* lq verify and lq repair: how what the library has found and mended is told, with which code they end, and that nothing is
 * mended that nobody has agreed to.
 */
#include "support/cli_calls.h"

#define FINDING(code, file, byte, first_id, count, text) {sizeof(lq_finding), code, file, byte, first_id, count, text}

/* ---- verify ----------------------------------------------------------------------- */

struct case_of_verify {
    lq_verify_result totals;
    size_t count;
    lq_finding findings[2];
    const char *said;
};

/* The library says so, and lq so. The queue has the messages from 1 on. */
static void verify_says(void **state, const char *line, const struct case_of_verify *one)
{
    totals = one->totals;
    findings = one->findings;
    findings_count = one->count;
    int end = lq_with(state, line, "lq_verify", 1, one->count ? LQ_ECORRUPT : LQ_OK);
    assert_string_equal(out, one->said);
    assert_string_equal(err, "");
    assert_int_equal(end, one->count ? END_DAMAGE : END_DONE);
}

static void what_is_damaged_and_what_is_lost_is_told_in_a_few_lines(void **state)
{
    static const struct case_of_verify cases[] = {
        {{.segments = 1, .messages = 1, .bytes = 1}, 0, {{0}}, "q: 1 segment, 1 message, 1 B checked in 2.0 s: no damage\n"},
        {{.segments = 2, .messages = 12345, .bytes = 2048}, 0, {{0}}, "q: 2 segments, 12,345 messages, 2.0 kB checked in 2.0 s: no damage\n"},
        {{.segments = 1, .messages = 90},
         1,
         {FINDING(LQ_ECORRUPT, "log/1.seg", 28416, 11, 1, "why")},
         "q: 1 segment, 90 messages, 0 B checked in 2.0 s\nDAMAGED  log/1.seg  byte 28,416  message 11  why\n"
         "  1 message lost, 80 after it are fine.   hint: lq repair --dry-run q\n"},
        {{.messages = 90},
         2,
         {FINDING(LQ_EIO, "log/1.seg", 1, 31, 2, "why"), FINDING(LQ_ECORRUPT, "log/0.seg", 8, 2, 3, "that")},
         "q: 0 segments, 90 messages, 0 B checked in 2.0 s\nUNREADABLE  log/1.seg  byte 1  messages 31 to 32  why\n"
         "DAMAGED  log/0.seg  byte 8  messages 2 to 4  that\n  5 messages lost, 89 after the first are fine.   hint: lq repair --dry-run q\n"},
        {{.messages = 90},
         1,
         {FINDING(LQ_ECORRUPT, "log/1.seg", 1, 1, 1, "the oldest")},
         "q: 0 segments, 90 messages, 0 B checked in 2.0 s\nDAMAGED  log/1.seg  byte 1  message 1  the oldest\n"
         "  1 message lost, 90 after it are fine.   hint: lq repair --dry-run q\n"},
        {{.messages = 90},
         1,
         {FINDING(LQ_ECORRUPT, "log/1.seg", 1, 91, 1, "the newest")},
         "q: 0 segments, 90 messages, 0 B checked in 2.0 s\nDAMAGED  log/1.seg  byte 1  message 91  the newest\n"
         "  1 message lost.   hint: lq repair --dry-run q\n"},
        {{.messages = 90},
         2,
         {FINDING(LQ_EVERSION, "meta", 0, 0, 0, "newer"), FINDING(LQ_ECORRUPT, "log/1.seg", 3, 7, 0, "of 7 and more")},
         "q: 0 segments, 90 messages, 0 B checked in 2.0 s\nNEWER  meta  byte 0  newer\nDAMAGED  log/1.seg  byte 3  of 7 and more\n"
         "  no message is known to be lost.   hint: lq repair --dry-run q\n"},
        {{.messages = 90}, /* an offset file has no messages, though somebody counts one */
         1,
         {FINDING(LQ_ECORRUPT, "consumers/x.pos", 3, 0, 1, "a position")},
         "q: 0 segments, 90 messages, 0 B checked in 2.0 s\nDAMAGED  consumers/x.pos  byte 3  a position\n"
         "  1 message lost.   hint: lq repair --dry-run q\n"},
    };

    make_scene(state);
    clock_us = 1000;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) verify_says(state, "lq verify q", &cases[i]);
    clock_us = 0;
}

static void in_json_each_finding_is_an_object(void **state)
{
    static const struct case_of_verify
        one = {{.segments = 1, .consumers = 2, .messages = 3, .bytes = 4},
               2,
               {FINDING(LQ_EIO, "log/1.seg", 10, 31, 2, "why"), FINDING(LQ_ECORRUPT, "meta", 8, 0, 0, "that")},
               "{\"type\":\"finding\",\"queue\":\"q\",\"code\":\"LQ_EIO\",\"file\":\"log/1.seg\",\"byte\":10,\"first_id\":31,\"lost\":2,\"text\":\"why\"}\n"
               "{\"type\":\"finding\",\"queue\":\"q\",\"code\":\"LQ_ECORRUPT\",\"file\":\"meta\",\"byte\":8,\"first_id\":0,\"lost\":0,\"text\":\"that\"}\n"
               "{\"type\":\"result\",\"queue\":\"q\",\"code\":\"LQ_ECORRUPT\",\"segments\":1,\"consumers\":2,\"messages\":3,\"bytes\":4,\"findings\":2,\"lost\":2,\"seconds\":2.000000}\n"},
        none = {{.segments = 1},
                0,
                {{0}},
                "{\"type\":\"result\",\"queue\":\"q\",\"code\":\"LQ_OK\",\"segments\":1,\"consumers\":0,\"messages\":0,\"bytes\":0,\"findings\":0,\"lost\":0,\"seconds\":2.000000}\n"};

    make_scene(state);
    clock_us = 1000;
    verify_says(state, "lq verify q --json", &one);
    verify_says(state, "lq verify --json q", &none);
    clock_us = 0;
}

/* They are kept until the totals are known; but not without end. */
static void of_very_many_places_the_first_are_shown(void **state)
{
    enum { SHOWN = 10000 };
    static lq_finding many[SHOWN + 2];

    make_scene(state);
    for (size_t i = 0; i < SHOWN + 2; i++) many[i] = (lq_finding){sizeof *many, LQ_ECORRUPT, "f", 0, 0, 0, ""};
    totals = (lq_verify_result){.messages = 90};
    findings = many;
    for (findings_count = SHOWN; findings_count <= SHOWN + 2; findings_count++) {
        assert_int_equal(lq_with(state, "lq verify q -C .", "lq_verify", 1, LQ_ECORRUPT), END_DAMAGE);
        assert_int_equal(lines_of(out), SHOWN + 2 + (findings_count > SHOWN));
        if (findings_count == SHOWN) assert_null(strstr(out, "more"));
        if (findings_count == SHOWN + 2) says(out, "\n... and 2 places more\n  no message");
    }
}

static void verify_looks_as_closely_as_it_is_told_to(void **state)
{
    make_scene(state);
    assert_int_equal(lq(state, "lq verify q"), END_DONE);
    assert_int_equal(seen->verify_flags, 0);
    assert_int_equal(lq(state, "lq verify --quick q"), END_DONE);
    assert_int_equal(seen->verify_flags, LQ_VERIFY_QUICK);
    assert_int_equal(lq(state, "lq verify --quick q --json"), END_DONE);
    assert_int_equal(seen->verify_flags, LQ_VERIFY_QUICK);
    assert_int_equal(lines_of(out), 1);
}

static void of_several_queues_the_gravest_end_counts_and_none_is_left_out(void **state)
{
    make_scene(state);
    assert_int_equal(lq(state, "lq verify q qq q"), END_CANNOT);
    assert_int_equal(lines_of(out), 2);
    says(err, "lq: qq: cannot verify: ");
    says(err, "hint: did you mean 'q'?\n");
    totals = (lq_verify_result){.messages = 5};
    findings = strange;
    findings_count = 1;
    assert_int_equal(lq_with(state, "lq verify q qq q", "lq_verify", 1, LQ_ECORRUPT), END_DAMAGE);
    assert_int_equal(lq_with(state, "lq verify q qq q", "lq_verify", 3, LQ_ECORRUPT), END_DAMAGE);
    assert_int_equal(lq_with(state, "lq verify q", "lq_verify", 1, LQ_EIO), END_CANNOT);
    assert_null(strstr(err, "did you mean"));
    assert_int_equal(lq(state, "lq verify --json q ''"), END_USAGE); /* which is seen before anything is done */
    assert_string_equal(out, "");
    assert_int_equal(lq(state, "lq verify"), END_USAGE);
    says(err, "lq: verify: the queue is missing\n");
}

/* ---- repair ----------------------------------------------------------------------- */

static const lq_repair_step mended[] = {
    {sizeof *mended, "log/1.seg", "aside/log-1.seg", "a flipped bit", "written anew", 700, 1},
    {sizeof *mended, "log/notes.txt", "", "is none of ours", "set aside", 0, 0},
    {sizeof *mended, "log/2.seg", "", "is missing", "made as a hole", 1001, 2},
};

static int repair_of(void **state, const char *line, size_t count)
{
    steps = mended;
    steps_count = count;
    plan = (struct plan){"lq_repair", 1, 2, LQ_OK, NULL};
    int end = lq(state, line);
    plan = (struct plan){NULL, 0, 0, 0, NULL};
    steps = NULL;
    return end;
}

static void a_dry_run_says_what_would_be_done_and_does_nothing(void **state)
{
    make_scene(state);
    for (unsigned way = 0; way < 2; way++) {
        assert_int_equal(repair_of(state, way ? "lq repair --yes --dry-run q" : "lq repair -n q", 3), END_DAMAGE);
        assert_string_equal(out, "log/1.seg  a flipped bit\n  would be written anew; message 700 is given up\n  what was there is now aside/log-1.seg\n"
                                 "log/notes.txt  is none of ours\n  would be set aside\n"
                                 "log/2.seg  is missing\n  would be made as a hole; messages 1,001 to 1,002 are given up\n"
                                 "q: 3 things to repair, 3 messages given up\n");
        assert_int_equal(seen->dry_runs, 1);
        assert_int_equal(seen->repairs, 0);
    }
}

static void with_yes_it_is_done_and_told(void **state)
{
    static const char *const ends[] = {"q: nothing to repair\n", "q: 1 thing repaired, 1 message given up\n", "q: 2 things repaired, 1 message given up\n",
                                       "q: 3 things repaired, 3 messages given up\n"};

    make_scene(state);
    for (size_t count = 0; count <= 3; count++) {
        assert_int_equal(repair_of(state, "lq repair --yes q", count), END_DONE);
        assert_string_equal(strstr(out, "q: "), ends[count]);
        assert_null(strstr(out, "would be"));
        assert_int_equal(seen->dry_runs, 0);
        assert_int_equal(seen->repairs, 1);
    }
    says(out, "\nlog/notes.txt  is none of ours\n  set aside\nlog/2.seg");
    says(out, "  written anew; message 700 is given up\n  what was there is now aside/log-1.seg\n");
    assert_int_equal(repair_of(state, "lq repair --yes q --color always", 1), END_DONE);
    says(out, "\033[1mlog/1.seg\033[0m  a flipped bit\n");
}

static void in_json_each_step_is_an_object(void **state)
{
    make_scene(state);
    for (unsigned dry = 0; dry < 2; dry++) {
        char wanted[500];
        assert_int_equal(repair_of(state, dry ? "lq repair --json -n q" : "lq repair -y --json q", 1), dry ? END_DAMAGE : END_DONE);
        snprintf(wanted, sizeof wanted,
                 "{\"type\":\"step\",\"queue\":\"q\",\"dry_run\":%s,\"file\":\"log/1.seg\",\"damage\":\"a flipped bit\",\"remedy\":\"written anew\","
                 "\"aside\":\"aside/log-1.seg\",\"first_id\":700,\"lost\":1}\n"
                 "{\"type\":\"result\",\"queue\":\"q\",\"dry_run\":%s,\"code\":\"LQ_OK\",\"steps\":1,\"lost\":1}\n",
                 dry ? "true" : "false", dry ? "true" : "false");
        assert_string_equal(out, wanted);
    }
    assert_int_equal(lq_with(state, "lq repair -y --json q", "lq_repair", 1, LQ_EIO), END_CANNOT);
    says(out, "{\"type\":\"result\",\"queue\":\"q\",\"dry_run\":false,\"code\":\"LQ_EIO\",\"steps\":0,\"lost\":0}\n");
    says(err, "lq: q: cannot repair: " PLANTED);
    assert_int_equal(lq_with(state, "lq repair -n q", "lq_repair", 1, LQ_EIO), END_CANNOT);
    says(err, "lq: q: cannot plan a repair: " PLANTED);
    assert_string_equal(out, "");
}

static void where_nobody_can_be_asked_nothing_is_done_without_yes(void **state)
{
    make_scene(state);
    input = "y\n";
    for (terminals = 0; terminals < ALL_TERMINALS; terminals++) {
        if ((terminals & 5) == 5) continue;
        assert_int_equal(repair_of(state, "lq repair q", 1), END_USAGE);
        assert_string_equal(err, "lq: q: not repaired: there is no terminal to ask at\nhint: lq repair --yes does it\n");
        says(out, "would be");
        assert_int_equal(seen->repairs, 0);
        assert_int_equal(repair_of(state, "lq repair q", 0), END_DONE); /* a sound queue is no question */
        assert_string_equal(out, "q: nothing to repair\n");
        assert_string_equal(err, "");
    }
    terminals = 0;
}

static void on_a_terminal_it_does_so_if_the_answer_is_yes(void **state)
{
    static const struct {
        const char *answer;
        bool yes;
    } answers[] = {{"y\n", true}, {"Y\n", true}, {"yes", true}, {"n\n", false}, {"\n", false}, {"", false}, {"x\ny\n", false}, {"ny\n", false}};

    make_scene(state);
    terminals = ALL_TERMINALS;
    for (size_t i = 0; i < sizeof answers / sizeof *answers; i++) {
        input = answers[i].answer;
        assert_int_equal(repair_of(state, "lq repair q", 1), answers[i].yes ? END_DONE : END_DAMAGE);
        assert_string_equal(err, "Repair it? [y/N] ");
        assert_int_equal(seen->dry_runs, 1);
        assert_int_equal(seen->repairs, answers[i].yes);
        says(out, "would be ");
        if (answers[i].yes) says(out, "q: 1 thing repaired");
    }
    input = "";
    assert_int_equal(repair_of(state, "lq repair q", 0), END_DONE);
    assert_string_equal(err, "");
    terminals = 0;
}

static void several_queues_are_repaired_one_after_the_other(void **state)
{
    make_scene(state);
    assert_int_equal(lq(state, "lq repair --yes qq q"), END_CANNOT);
    assert_string_equal(out, "q: nothing to repair\n");
    says(err, "hint: did you mean 'q'?\n");
    assert_int_equal(lq(state, "lq repair q qq -n"), END_CANNOT);
    assert_int_equal(repair_of(state, "lq repair q q -n", 1), END_DAMAGE);
    assert_int_equal(seen->dry_runs, 2);
    assert_int_equal(lq_with(state, "lq repair -n q", "lq_repair", 1, LQ_EIO), END_CANNOT);
    assert_null(strstr(err, "did you mean"));
    assert_int_equal(repair_of(state, "lq repair --yes q ''", 1), END_USAGE); /* which is seen before anything is done */
    assert_int_equal(seen->repairs, 0);
    assert_int_equal(lq(state, "lq repair"), END_USAGE);
    says(err, "lq: repair: the queue is missing\n");
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        IN_DIRECTORY(what_is_damaged_and_what_is_lost_is_told_in_a_few_lines),
        IN_DIRECTORY(in_json_each_finding_is_an_object),
        IN_DIRECTORY(of_very_many_places_the_first_are_shown),
        IN_DIRECTORY(verify_looks_as_closely_as_it_is_told_to),
        IN_DIRECTORY(of_several_queues_the_gravest_end_counts_and_none_is_left_out),
        IN_DIRECTORY(a_dry_run_says_what_would_be_done_and_does_nothing),
        IN_DIRECTORY(with_yes_it_is_done_and_told),
        IN_DIRECTORY(in_json_each_step_is_an_object),
        IN_DIRECTORY(where_nobody_can_be_asked_nothing_is_done_without_yes),
        IN_DIRECTORY(on_a_terminal_it_does_so_if_the_answer_is_yes),
        IN_DIRECTORY(several_queues_are_repaired_one_after_the_other),
    };

    return cmocka_run_group_tests_name("lq verify and lq repair", tests, share_what_is_seen, NULL);
}
