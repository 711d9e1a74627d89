/* What lq shows, in exact words: messages in every form, a queue, its consumers and files, in tables and in JSON. The views are
 * what scripts read, and what is looked at when something is wrong: every case that the library can tell of is here.
 */
#include "support/cli_calls.h"

/* 2001-09-09T01:46:40Z */
#define LONG_AGO INT64_C(1000000000000000)
#define MINUTE INT64_C(60000000)

static void shows(void **state, const char *line, int end, const char *wanted)
{
    int got = lq(state, line);
    if (strcmp(out, wanted) != 0) fail_msg("%s shows\n%snot\n%s", line, out, wanted);
    if (got != end) fail_msg("%s ended with %d: %s", line, got, err);
}

/* ---- messages -------------------------------------------------------------------- */

/* Two messages, put a second and two after that moment. */
static void make_two(void **state)
{
    setenv("TZ", "UTC", 1);
    make_scene(state);
    scratch_delete(api_path(*state, "q"));
    input = "a\0\xff\x1b[m0123\t6789abcdef~\x7f";
    input_bytes = 24;
    assert_int_equal(lq(state, "lq put q --key k --headers h --segment-size 64k --ring-size 64k one"), END_DONE);
    assert_int_equal(lq(state, "lq put q --whole"), END_DONE);
    input = "";
    input_bytes = 0;
    gap_us = 1000001;
}

static void messages_are_shown_in_every_form(void **state)
{
    make_two(state);
    shows(state, "lq cat q", END_DONE,
          "       1  2001-09-09 01:46:41.000001      3 B  [k]  one\n"
          "       2  2001-09-09 01:46:42.000002     24 B  a\\x00\\xff\\x1b[m0123\\t6789abcdef~\\x7f\\x00\n");
    shows(state, "lq cat q --json", END_DONE,
          "{\"id\":1,\"time\":\"2001-09-09T01:46:41.000001Z\",\"time_us\":1000000001000001,\"size\":3,\"key_enc\":\"utf8\",\"key\":\"k\","
          "\"headers_enc\":\"utf8\",\"headers\":\"h\",\"enc\":\"utf8\",\"data\":\"one\"}\n"
          "{\"id\":2,\"time\":\"2001-09-09T01:46:42.000002Z\",\"time_us\":1000000002000002,\"size\":24,\"enc\":\"base64\","
          "\"data\":\"YQD/G1ttMDEyMwk2Nzg5YWJjZGVmfn8A\"}\n");
    shows(state, "lq cat q --hex", END_DONE,
          "message 1  2001-09-09 01:46:41.000001  3 bytes  key k\n"
          "00000000  6f 6e 65                                          |one|\n"
          "message 2  2001-09-09 01:46:42.000002  24 bytes\n"
          "00000000  61 00 ff 1b 5b 6d 30 31  32 33 09 36 37 38 39 61  |a...[m0123.6789a|\n"
          "00000010  62 63 64 65 66 7e 7f 00                           |bcdef~..|\n");
    shows(state, "lq cat q -n 1 -F %i|%t|%l|%s|%x|%k|%h|%a|%%|\\\\|\\n|\\t|", END_DONE,
          "1|2001-09-09T01:46:41.000001Z|3|one|6f6e65|k|h|0|%|\\|\n|\t|");
    shows(state, "lq cat q --from 2 -F %x", END_DONE, "6100ff1b5b6d303132330936373839616263646566" "7e7f00");
    shows(state, "lq cat q -n 1 --raw", END_DONE, "one\n");
    shows(state, "lq cat q -n 1 -j", END_DONE, "one");
    assert_int_equal(lq(state, "lq get q -c x --json"), END_DONE);
    says(out, ",\"attempts\":1,\"size\":3,"); /* which a view does not know */
    gap_us = 0;
}

static void a_nul_ends_each_or_stands_where_the_format_has_it(void **state)
{
    make_two(state);
    assert_int_equal(lq(state, "lq cat q -n 1 -0"), END_DONE);
    assert_memory_equal(out, "one\0\0", 5); /* lq() has put the second behind it */
    assert_int_equal(lq(state, "lq cat q -n 1 -F %s\\0%s"), END_DONE);
    assert_memory_equal(out, "one\0one", 8);
    gap_us = 0;
}

static void a_terminal_is_given_nothing_that_it_would_obey_unless_it_is_asked_for_raw(void **state)
{
    make_two(state);
    terminals = ALL_TERMINALS;
    shows(state, "lq cat q --from 2 -F %s --color never", END_DONE, "a\\x00\\xff\\x1b[m0123\\t6789abcdef~\\x7f\\x00");
    shows(state, "lq get q -c x -n 2 --start 2 --color never", END_DONE, "a\\x00\\xff\\x1b[m0123\\t6789abcdef~\\x7f\\x00\n");
    assert_int_equal(lq(state, "lq cat q --from 2 --raw"), END_DONE);
    assert_memory_equal(out, "a\0\xff\x1b[m0123\t6789abcdef~\x7f\0\n", 26);
    setenv("TERM", "xterm", 1);
    shows(state, "lq cat q -n 1", END_DONE, "       1  \033[2m2001-09-09 01:46:41.000001\033[0m      3 B  \033[36m[k]\033[0m  one\n");
    shows(state, "lq cat q -n 1 --hex", END_DONE,
          "\033[1mmessage 1  2001-09-09 01:46:41.000001  3 bytes\033[0m  key k\n"
          "00000000  6f 6e 65                                          |one|\n");
    setenv("NO_COLOR", "1", 1);
    assert_int_equal(lq(state, "lq cat q -n 1"), END_DONE);
    assert_null(strchr(out, '\033'));
    setenv("NO_COLOR", "", 1); /* is none */
    assert_int_equal(lq(state, "lq cat q -n 1"), END_DONE);
    assert_non_null(strchr(out, '\033'));
    unsetenv("NO_COLOR");
    setenv("TERM", "dumb", 1);
    assert_int_equal(lq(state, "lq cat q -n 1"), END_DONE);
    assert_null(strchr(out, '\033'));
    unsetenv("TERM");
    assert_int_equal(lq(state, "lq cat q -n 1"), END_DONE);
    assert_null(strchr(out, '\033'));
    terminals = 0;
    assert_int_equal(lq(state, "lq cat q -n 1 --color always"), END_DONE);
    assert_non_null(strchr(out, '\033'));
    setenv("TERM", "xterm", 1);
    assert_int_equal(lq(state, "lq cat q -n 1 --color auto"), END_DONE);
    assert_null(strchr(out, '\033'));
    gap_us = 0;
}

static void the_view_shows_the_beginning_of_a_large_body(void **state)
{
    static char body[2001];

    make_scene(state);
    input = memset(body, 'x', 2000);
    input_bytes = 2000;
    assert_int_equal(lq(state, "lq put q --whole"), END_DONE);
    body[2000] = 'x';
    input_bytes = 2001;
    assert_int_equal(lq(state, "lq put q --whole"), END_DONE);
    input = "";
    input_bytes = 0;
    assert_int_equal(lq(state, "lq cat q --from 6 --to 6"), END_DONE);
    assert_string_equal(strstr(out, "kB  ") + 4 + 1999, "x\n");
    assert_int_equal(lq(state, "lq cat q --from 7"), END_DONE);
    assert_string_equal(strstr(out, "kB  ") + 4 + 1999, "x ... and 1 bytes more\n");
}

static void a_form_that_is_none_is_refused(void **state)
{
    static const char *const forms[] = {"-F %q", "-F %", "-F a\\", "-F \\z", "--raw --json", "--hex --raw", "-F %i --raw"};
    char line[80];

    make_scene(state);
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        snprintf(line, sizeof line, "lq cat q %s", forms[i]);
        assert_int_equal(lq(state, line), END_USAGE);
        says(err, i < 4 ? "--format: " : "two different forms of output are asked for");
    }
    assert_int_equal(lq(state, "lq cat q --raw --raw -0 -j"), END_DONE);
    assert_string_equal(out, "onetwothreefourfive");
}

/* ---- what comes next --------------------------------------------------------------- */

static void peek_shows_what_comes_next(void **state)
{
    make_scene(state);
    shows(state, "lq peek q --raw", END_DONE, "one\n");
    shows(state, "lq peek q --raw -n 2", END_DONE, "one\ntwo\n");
    shows(state, "lq peek q -c x --raw", END_DONE, "three\n");
    shows(state, "lq peek q -c x --raw -n 9", END_DONE, "three\nfour\nfive\n");
    assert_int_equal(floor_of(state, "x"), 2);
    assert_int_equal(lq(state, "lq peek q -c y"), END_CANNOT);
    says(err, "no consumer is called 'y'");
    assert_int_equal(lq(state, "lq peek q -n 0"), END_USAGE);
    assert_int_equal(lq(state, "lq peek q r"), END_USAGE);
    assert_int_equal(lq(state, "lq peek"), END_USAGE);
    says(err, "lq: peek: the queue is missing\n");
    assert_int_equal(lq(state, "lq get q -c x --all"), END_DONE);
    shows(state, "lq peek q -c x", END_NO, "");
    shows(state, "lq peek q -n 9 -c x", END_NO, "");
    assert_int_equal(lq(state, "lq put empty --segment-size 64k --ring-size 64k"), END_DONE);
    shows(state, "lq peek empty", END_NO, "");
}

/* ---- a queue ----------------------------------------------------------------------- */

static const lq_stats plain = {
    .size = sizeof plain, .first_id = 1, .last_id = 5, .visible_id = 5, .bytes = 1500, .appended = 1500, .written = 1400, .synced = 1300,
    .segments = 1, .first_time_us = LONG_AGO, .last_time_us = LONG_AGO + MINUTE, .sync = LQ_SYNC_ALWAYS, .retention = LQ_RETAIN_CONSUMED,
    .full = LQ_FULL_REJECT, .sync_interval_ms = 100, .format = 1, .segment_size = 65536, .ring_size = 4194304, .message_size_max = 1 << 30,
};

static void a_queue_is_described_in_a_few_lines(void **state)
{
    lq_stats stats = plain;

    setenv("TZ", "UTC", 1);
    make_scene(state);
    wall_us = LONG_AGO + 2 * MINUTE;
    told = (struct told){.stats = &stats};
    shows(state, "lq stat q", END_DONE,
          "queue       q (idle)\nmessages    5, ids 1 to 5\nsize        1.5 kB in 1 segment\n"
          "oldest      2001-09-09 01:46:40.000000, 2 m 00 s ago\nnewest      2001-09-09 01:47:40.000000, 1 m 00 s ago\n"
          "log         put up to 1,500, in files up to 1,400, durable up to 1,300\n"
          "sync        always\nretention   consumed, no limit of size, no limit of age; when full: reject\n"
          "made with   segments of 64k, ring of 4M, messages up to 1G, compression none, format 1\n"
          "open        nobody that can be seen\nconsumers   none\n");
    stats = (lq_stats){.size = sizeof stats, .first_id = 1001, .last_id = 1000, .segments = 2, .poisoned = 1, .damage = 2, .recovered_bytes = 2000,
                       .recovered_messages = 2, .sync = LQ_SYNC_INTERVAL, .sync_interval_ms = 250, .retention = LQ_RETAIN_BOTH,
                       .full = LQ_FULL_BLOCK, .size_max = 1 << 20, .age_max_ms = 3600000, .compression = 9, .format = 2};
    shows(state, "lq stat q", END_DONE,
          "queue       q (poisoned)\nmessages    none kept; 1,000 put so far\nsize        0 B in 2 segments\n"
          "log         put up to 0, in files up to 0, durable up to 0\n"
          "poisoned    a sync has failed: what is durable is unknown until all have closed it\ndamage      2 places met\n"
          "recovery    2.0 kB dropped as a torn tail, not durable before the crash\nrecovery    2 messages of dead processes saved\n"
          "sync        interval, 250 ms\nretention   both, at most 1M, at most 1 h 00 m old; when full: block\n"
          "made with   segments of 0, ring of 0, messages up to 0, compression level 9, format 2\n"
          "open        nobody that can be seen\nconsumers   none\n");
    stats.poisoned = 0;
    stats.damage = stats.recovered_messages = 1;
    stats.sync = LQ_SYNC_NEVER;
    stats.retention = LQ_RETAIN_LIMITS;
    stats.full = LQ_FULL_DROP;
    assert_int_equal(lq(state, "lq stat q"), END_DAMAGE);
    says(out, "queue       q (damaged)\n");
    says(out, "\ndamage      1 place met\n");
    says(out, "\nrecovery    1 message of dead processes saved\n");
    says(out, "\nsync        never\nretention   limits, at most 1M, at most 1 h 00 m old; when full: drop\n");
    told.stats = NULL;
    wall_us = 0;
    assert_int_equal(lq(state, "lq stat q q"), END_USAGE);
    assert_int_equal(lq(state, "lq stat"), END_USAGE);
}

static const struct told_consumer three[] = {
    {LQ_OK, {.size = sizeof(lq_consumer_stats), .name = "billing", .floor = 1000, .delivered = 1002, .ready = 3, .unacked = 2, .dropped = 7, .members = 1, .window = 9,
             .saved_time_us = LONG_AGO}},
    {LQ_ECORRUPT, {.size = sizeof(lq_consumer_stats), .name = "hurt"}},
    {LQ_OK, {.size = sizeof(lq_consumer_stats), .name = "young", .ready = 4}},
};

static void consumers_are_a_table(void **state)
{
    lq_stats stats = plain;

    setenv("TZ", "UTC", 1);
    make_scene(state);
    told = (struct told){.stats = &stats, .consumers = three, .count = 3};
    assert_int_equal(lq(state, "lq stat q"), END_DAMAGE);
    char wanted[600];
    snprintf(wanted, sizeof wanted,
             "\n\nCONSUMER  READY  UNACKED  SETTLED UP TO  HANDED OUT UP TO  MEMBERS  DROPPED  SAVED\n"
             "billing       3        2          1,000             1,002        1        7  2001-09-09 01:46:40.000000\n"
             "hurt          -        -              -                 -        -        -  %s\n"
             "young         4        0              0                 0        0        0  never\n",
             lq_strerror(LQ_ECORRUPT));
    assert_string_equal(strstr(out, "\n\n"), wanted);
    assert_int_equal(lq(state, "lq stat q --color always"), END_DAMAGE);
    says(out, "\033[2mqueue      \033[0m q (damaged)\n");
    says(out, "\033[1mCONSUMER\033[0m  \033[1mREADY\033[0m  ");
    says(out, "  \033[1;31m");
    told.stats = NULL;
}

static void the_same_in_json(void **state)
{
    lq_stats stats = plain;

    make_scene(state);
    told = (struct told){.stats = &stats, .consumers = three, .count = 3};
    stats.handles = 3;
    stats.live = 1;
    stats.size_max = 1 << 20;
    stats.age_max_ms = 5000;
    stats.compression = 4;
    shows(state, "lq stat q --json", END_DAMAGE,
          "{\"queue\":\"q\",\"state\":\"damaged\",\"first_id\":1,\"last_id\":5,\"visible_id\":5,\"bytes\":1500,\"segments\":1,\"appended\":1500,"
          "\"written\":1400,\"synced\":1300,\"first_time\":\"2001-09-09T01:46:40.000000Z\",\"first_time_us\":1000000000000000,"
          "\"last_time\":\"2001-09-09T01:47:40.000000Z\",\"last_time_us\":1000000060000000,\"handles\":3,\"live\":true,\"poisoned\":false,"
          "\"damage\":0,\"recovered_bytes\":0,\"recovered_messages\":0,\"sync\":\"always\",\"sync_interval_ms\":100,\"retention\":\"consumed\","
          "\"full\":\"reject\",\"size_max\":1048576,\"age_max_ms\":5000,\"segment_size\":65536,\"ring_size\":4194304,"
          "\"message_size_max\":1073741824,\"compression\":4,\"format\":1,\"open\":[],\"consumers\":["
          "{\"name\":\"billing\",\"ready\":3,\"unacked\":2,\"floor\":1000,\"delivered\":1002,\"members\":1,\"dropped\":7,\"window\":9,"
          "\"saved_time\":\"2001-09-09T01:46:40.000000Z\",\"saved_time_us\":1000000000000000},"
          "{\"name\":\"hurt\",\"error\":\"LQ_ECORRUPT\"},"
          "{\"name\":\"young\",\"ready\":4,\"unacked\":0,\"floor\":0,\"delivered\":0,\"members\":0,\"dropped\":0,\"window\":0,"
          "\"saved_time\":null,\"saved_time_us\":0}]}\n");
    stats.poisoned = 1;
    told.consumers = NULL;
    assert_int_equal(lq(state, "lq stat q --json"), END_DONE);
    says(out, "\"state\":\"poisoned\"");
    says(out, "\"poisoned\":true,");
    says(out, "\"consumers\":[]}\n");
    told.stats = NULL;
}

/* ---- queues ------------------------------------------------------------------------ */

static void queues_are_a_table(void **state)
{
    lq_stats stats = plain;
    struct told_consumer two[] = {three[0], three[2]};

    make_scene(state);
    scratch_delete(api_path(*state, "r"));
    gap_us = MINUTE;
    wall_us = LONG_AGO + 30 * MINUTE;
    told = (struct told){.stats = &stats};
    shows(state, "lq ls", END_DONE, "NAME  STATE  READY  UNACKED    SIZE  CONSUMERS     OLDEST\nq     idle       5        0  1.5 kB          0  30 m 00 s\n");
    stats.live = 1;
    two[0].stats.floor = 3; /* the fourth is the oldest that somebody has not settled */
    two[1].stats.floor = 4;
    two[1].stats.members = 1;
    told = (struct told){.stats = &stats, .consumers = two, .count = 2};
    shows(state, "lq ls", END_DONE, "NAME  STATE    READY  UNACKED    SIZE  CONSUMERS     OLDEST\nq     running      4        2  1.5 kB          2  26 m 00 s\n");
    shows(state, "lq ls . --json", END_DONE,
          "{\"queue\":\"q\",\"state\":\"running\",\"ready\":4,\"unacked\":2,\"bytes\":1500,\"consumers\":2,"
          "\"oldest_time\":\"2001-09-09T01:50:40.000000Z\",\"oldest_time_us\":1000000240000000}\n");
    two[1].stats.members = 0;
    two[0].stats.floor = two[1].stats.floor = 5;
    shows(state, "lq ls", END_DONE, "NAME  STATE    READY  UNACKED    SIZE  CONSUMERS  OLDEST\nq     stalled      4        2  1.5 kB          2       -\n");
    two[1].stats.ready = 0; /* who has nothing to do need not be there */
    assert_int_equal(lq(state, "lq ls"), END_DONE);
    says(out, "\nq     running      3");
    shows(state, "lq ls --color always", END_DONE,
          "\033[1mNAME\033[0m  \033[1mSTATE\033[0m    \033[1mREADY\033[0m  \033[1mUNACKED\033[0m    \033[1mSIZE\033[0m  \033[1mCONSUMERS\033[0m  "
          "\033[1mOLDEST\033[0m\nq     \033[32mrunning\033[0m      3        2  1.5 kB          2       -\n");
    stats.damage = 1;
    assert_int_equal(lq(state, "lq ls --color always"), END_DAMAGE);
    says(out, "\033[1;31mdamaged\033[0m");
    told.stats = NULL;
    gap_us = wall_us = 0;
    assert_int_equal(lq(state, "lq ls nothing"), END_CANNOT);
    assert_int_equal(lq(state, "lq ls . ."), END_USAGE);
}

static void queues_are_looked_for_four_levels_deep(void **state)
{
    make_scene(state);
    scratch_delete(api_path(*state, "q"));
    for (unsigned i = 0; i < 6; i++) {
        static const char *const names[] = {"b", "a", "a/b", "a/b/c", "a/b/c/d", ".hidden"};
        if (i > 0) assert_int_equal(mkdir(api_path(*state, names[i]), 0700), 0);
        if (i == 1) continue;
        char line[100];
        snprintf(line, sizeof line, "lq put %s%s m --segment-size 64k --ring-size 64k", names[i], i > 1 ? "/q" : "");
        if (i != 2) assert_int_equal(lq(state, line), END_DONE);
    }
    assert_int_equal(lq(state, "lq ls --json"), END_DONE);
    assert_int_equal(lines_of(out), 2); /* "a/b/c/d/q" is five deep, and what begins with a dot is hidden */
    says(out, "{\"queue\":\"a/b/c/q\",");
    says(out, "\n{\"queue\":\"b\",");
    assert_int_equal(lq(state, "lq ls a/b/c/d --json"), END_DONE);
    says(out, "{\"queue\":\"q\",");
    assert_int_equal(lq(state, "lq ls b --json"), END_DONE);
    says(out, "{\"queue\":\"b\",");
    assert_int_equal(lq(state, "lq -C a ls --json"), END_DONE);
    assert_int_equal(lines_of(out), 2);
    says(out, "{\"queue\":\"b/c/q\",");
    says(out, "{\"queue\":\"b/c/d/q\",");
}

/* ---- files ------------------------------------------------------------------------- */

static void files_are_a_table(void **state)
{
    static const lq_segment two[] = {
        {sizeof(lq_segment), "log/1.seg", 1, 1500, 0, 2000, 65536, LONG_AGO, LONG_AGO + MINUTE, 1, LQ_OK},
        {sizeof(lq_segment), "log/2.seg", 1501, 1501, 3000, 100, 256, LONG_AGO + MINUTE, LONG_AGO + MINUTE, 0, LQ_OK},
        {sizeof(lq_segment), "log/3.seg", 1502, 1501, 4000, 0, 256, 0, 0, 0, LQ_ECORRUPT},
    };
    char wanted[900];

    setenv("TZ", "UTC", 1);
    make_scene(state);
    told = (struct told){.segments = two, .count = 2};
    shows(state, "lq segments q", END_DONE,
          "FILE       FIRST   LAST  MESSAGES  POSITION    SIZE  FILE SIZE  OLDEST                      NEWEST                      STATE\n"
          "log/1.seg      1  1,500     1,500         0  2.0 kB      66 kB  2001-09-09 01:46:40.000000  2001-09-09 01:47:40.000000  sealed\n"
          "log/2.seg  1,501  1,501         1     3,000   100 B      256 B  2001-09-09 01:47:40.000000  2001-09-09 01:47:40.000000  open\n");
    told.count = 3;
    assert_int_equal(lq(state, "lq segments q"), END_DAMAGE);
    snprintf(wanted, sizeof wanted, "\nlog/3.seg  1,502      -         0     4,000     0 B      256 B  -                           -                           %s\n",
             lq_strerror(LQ_ECORRUPT));
    says(out, wanted);
    told.count = 1;
    shows(state, "lq segments q --json", END_DONE,
          "{\"file\":\"log/1.seg\",\"first_id\":1,\"last_id\":1500,\"messages\":1500,\"position\":0,\"bytes\":2000,\"file_bytes\":65536,"
          "\"first_time\":\"2001-09-09T01:46:40.000000Z\",\"first_time_us\":1000000000000000,\"last_time\":\"2001-09-09T01:47:40.000000Z\","
          "\"last_time_us\":1000000060000000,\"sealed\":true,\"state\":\"sealed\"}\n");
    told.segments = NULL;
    assert_int_equal(lq(state, "lq segments"), END_USAGE);
    assert_int_equal(lq(state, "lq segments q q"), END_USAGE);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        IN_DIRECTORY(messages_are_shown_in_every_form),
        IN_DIRECTORY(a_nul_ends_each_or_stands_where_the_format_has_it),
        IN_DIRECTORY(a_terminal_is_given_nothing_that_it_would_obey_unless_it_is_asked_for_raw),
        IN_DIRECTORY(the_view_shows_the_beginning_of_a_large_body),
        IN_DIRECTORY(a_form_that_is_none_is_refused),
        IN_DIRECTORY(peek_shows_what_comes_next),
        IN_DIRECTORY(a_queue_is_described_in_a_few_lines),
        IN_DIRECTORY(consumers_are_a_table),
        IN_DIRECTORY(the_same_in_json),
        IN_DIRECTORY(queues_are_a_table),
        IN_DIRECTORY(queues_are_looked_for_four_levels_deep),
        IN_DIRECTORY(files_are_a_table),
    };

    return cmocka_run_group_tests_name("lq's views", tests, share_what_is_seen, NULL);
}
