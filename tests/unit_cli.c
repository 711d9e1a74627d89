/* The parts of lq that know nothing of queues: numbers, sizes and times as people type and read them, text for a
 * terminal, base64, and what is near to a word. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include <libqueue.h>

#include "../cli/base64.h"
#include "../cli/human.h"
#include "../cli/nearest.h"
#include "../cli/parse.h"
#include "../cli/progress.h"
#include "../cli/report.h"
#include "../cli/utf8.h"

/* help.c has them from main.c, which is not linked here. */
struct verb;
extern const struct verb *const verbs[];
const struct verb *const verbs[] = {NULL};
const struct verb *verb_find(const char *name);
const struct verb *verb_find(const char *name)
{
    (void)name;
    return NULL;
}

/* ---- typed ----------------------------------------------------------------- */

static void numbers_are_digits_that_fit(void **state)
{
    (void)state;
    static const char *const bad[] = {"", "-1", "+1", " 1", "1 ", "0x10", "1e3", "18446744073709551616", "99999999999999999999", "1,000"};
    uint64_t count = 7;

    assert_true(parse_count("0", &count) && count == 0);
    assert_true(parse_count("007", &count) && count == 7);
    assert_true(parse_count("18446744073709551615", &count) && count == UINT64_MAX);
    count = 7;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) assert_false(parse_count(bad[i], &count));
    assert_int_equal(count, 7);
}

static void sizes_have_letters_of_powers_of_1024(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint64_t bytes;
    } good[] = {
        {"512", 512},          {"64k", 65536},          {"64K", 65536},       {"1kb", 1024},
        {"1KiB", 1024},        {"1.5M", 1572864},       {"2G", 2147483648u},  {"1T", UINT64_C(1) << 40},
        {"0.5k", 512},         {"18446744073709551615", UINT64_MAX},          {"8300000T", UINT64_C(8300000) << 40},
    };
    static const char *const bad[] = {"", "k", "1z", "1kk", "1kib ", "1.k", ".5k", "1.5", "-1k", "1 k", "8388608T", "99999999999999999999k", "1kx", "1bk"};
    uint64_t bytes = 7;

    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        assert_true(parse_size(good[i].text, &bytes));
        assert_true(bytes == good[i].bytes);
    }
    bytes = 7;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) assert_false(parse_size(bad[i], &bytes));
    assert_int_equal(bytes, 7);
}

static void spans_have_units(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t us;
    } good[] = {
        {"1", 1000000},     {"0", 0},         {"10us", 10},         {"500ms", 500000},      {"30s", 30000000}, {"1.5s", 1500000},
        {"5m", 300000000},  {"2min", 120000000}, {"2h", INT64_C(7200000000)}, {"1d", INT64_C(86400000000)}, {"1w", INT64_C(604800000000)},
        {"100000000000", INT64_C(100000000000000000)},
    };
    static const char *const bad[] = {"", "s", "-1s", "1 s", "5y", "1e3", "1.s", "99999999999d", "100000000001", "0x1s"};
    int64_t us = 7;

    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        assert_true(parse_span(good[i].text, &us));
        assert_true(us == good[i].us);
    }
    us = 7;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) assert_false(parse_span(bad[i], &us));
    assert_int_equal(us, 7);
}

static void times_are_dates_seconds_or_ago(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t us;
    } good[] = {
        {"1970-01-01T00:00Z", 0},
        {"@2026-11-20T13:00:01.5Z", INT64_C(1795179601500000)},
        {"2026-11-20T13:00:01.000001Z", INT64_C(1795179601000001)},
        {"2026-11-20 13:00:01+02:00", INT64_C(1795172401000000)},
        {"2026-11-20t13:00:01-0530", INT64_C(1795199401000000)},
        {"2028-02-29T23:59:60z", INT64_C(1835481600000000)},
        {"2026-12-31T23:59+00:59", INT64_C(1798758000000000)},
        {"1795179601.25", INT64_C(1795179601250000)},
    };
    static const char *const bad[] = {
        "",           "@",          "2026",        "2026-11",    "2026-13-01", "2026-00-01",       "2026-11-31",       "2026-02-29", "1969-12-31",
        "2026-11-20T24:00", "2026-11-20T13", "2026-11-20T13:60", "2026-11-20T13:00:61", "2026-11-20T13:00:00.", "2026-11-20T13:00X", "2026-11-20T13:00+24:00",
        "2026-11-20T13:00+02:60", "2026-11-20T13:00+02:00Z", "-5x", "tomorrow", "9000000000000",
    };
    int64_t us = 7, now = wall_time_us();

    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        if (!parse_time(good[i].text, &us)) fail_msg("%s", good[i].text);
        if (us != good[i].us) fail_msg("%s is %lld", good[i].text, (long long)us);
    }
    us = 7;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (parse_time(bad[i], &us) && strcmp(bad[i], "2026") != 0) fail_msg("%s is %lld", bad[i], (long long)us);
    assert_true(parse_time("now", &us) && us >= now && us < now + 60000000);
    assert_true(parse_time("-15m", &us) && us >= now - 900000000 && us < now - 840000000);
}

static void today_begins_at_midnight_here(void **state)
{
    (void)state;
    int64_t today = 0, yesterday = 0, now = wall_time_us();

    assert_true(parse_time("today", &today) && parse_time("@yesterday", &yesterday));
    assert_true(today <= now && now - today <= INT64_C(25) * 3600 * 1000000);
    assert_true(today - yesterday >= INT64_C(23) * 3600 * 1000000 && today - yesterday <= INT64_C(25) * 3600 * 1000000);
    assert_non_null(strstr(human_time(today).text, " 00:00:00.000000"));
    assert_non_null(strstr(human_time(yesterday).text, " 00:00:00.000000"));
}

static void times_without_a_zone_are_local_in_summer_and_winter(void **state)
{
    (void)state;
    int64_t us = 0;
    const char *was = getenv("TZ");
    char kept[200];

    snprintf(kept, sizeof kept, "%s", was ? was : "");
    setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3", 1);
    tzset();
    assert_true(parse_time("2026-07-01T12:00", &us) && us == INT64_C(1782900000000000));
    assert_true(parse_time("2026-01-01T12:00", &us) && us == INT64_C(1767265200000000));
    assert_string_equal(human_time(INT64_C(1782900000000000)).text, "2026-07-01 12:00:00.000000");
    if (was) setenv("TZ", kept, 1);
    else unsetenv("TZ");
    tzset();
}

/* ---- shown ----------------------------------------------------------------- */

static void large_numbers_have_commas(void **state)
{
    (void)state;
    assert_string_equal(human_count(0).text, "0");
    assert_string_equal(human_count(999).text, "999");
    assert_string_equal(human_count(1000).text, "1,000");
    assert_string_equal(human_count(100000).text, "100,000");
    assert_string_equal(human_count(UINT64_MAX).text, "18,446,744,073,709,551,615");
}

static void sizes_have_two_digits_or_three(void **state)
{
    (void)state;
    assert_string_equal(human_size(0).text, "0 B");
    assert_string_equal(human_size(999).text, "999 B");
    assert_string_equal(human_size(1000).text, "1.0 kB");
    assert_string_equal(human_size(9949).text, "9.9 kB");
    assert_string_equal(human_size(9950).text, "10 kB");
    assert_string_equal(human_size(999499).text, "999 kB");
    assert_string_equal(human_size(999500).text, "1.0 MB");
    assert_string_equal(human_size(176000000).text, "176 MB");
    assert_string_equal(human_size(UINT64_MAX).text, "18 EB");
}

static void capacities_are_shown_as_they_are_typed(void **state)
{
    (void)state;
    static const uint64_t capacities[] = {0, 1, 1000, 1024, 1536, 65536, UINT64_C(67108864), UINT64_C(1) << 30, UINT64_C(1) << 40, UINT64_C(1) << 60};
    uint64_t bytes;

    for (size_t i = 0; i < sizeof capacities / sizeof *capacities; i++)
        assert_true(parse_size(human_capacity(capacities[i]).text, &bytes) && bytes == capacities[i]);
    assert_string_equal(human_capacity(0).text, "0");
    assert_string_equal(human_capacity(1000).text, "1000");
    assert_string_equal(human_capacity(UINT64_C(67108864)).text, "64M");
    assert_string_equal(human_capacity(UINT64_C(1) << 60).text, "1048576T");
}

static void spans_are_shown_in_the_unit_that_fits(void **state)
{
    (void)state;
    static const int64_t s = 1000000;

    assert_string_equal(human_span(-1).text, "0 s");
    assert_string_equal(human_span(0).text, "0 us");
    assert_string_equal(human_span(999).text, "999 us");
    assert_string_equal(human_span(1000).text, "1 ms");
    assert_string_equal(human_span(99999).text, "99 ms");
    assert_string_equal(human_span(100000).text, "0.1 s");
    assert_string_equal(human_span(9 * s).text, "9.0 s");
    assert_string_equal(human_span(10 * s).text, "10 s");
    assert_string_equal(human_span(60 * s - 1).text, "59 s");
    assert_string_equal(human_span(60 * s).text, "1 m 00 s");
    assert_string_equal(human_span(200 * s).text, "3 m 20 s");
    assert_string_equal(human_span(3600 * s - 1).text, "59 m 59 s");
    assert_string_equal(human_span(3600 * s).text, "1 h 00 m");
    assert_string_equal(human_span(18120 * s).text, "5 h 02 m");
    assert_string_equal(human_span(86400 * s).text, "1 d 00 h");
    assert_string_equal(human_span(86400 * s * 12 + 3600 * s * 3).text, "12 d 03 h");
    assert_string_equal(human_span(INT64_MAX).text, "106751991 d 04 h");
    assert_string_equal(human_ago(INT64_MIN).text, "106751991 d 04 h");
}

static void every_time_can_be_shown(void **state)
{
    (void)state;
    int64_t back;

    assert_string_equal(human_rfc3339(0).text, "1970-01-01T00:00:00.000000Z");
    assert_string_equal(human_rfc3339(INT64_C(1795179601000001)).text, "2026-11-20T13:00:01.000001Z");
    assert_string_equal(human_rfc3339(-1).text, "1969-12-31T23:59:59.999999Z");
    assert_string_equal(human_rfc3339(INT64_MAX).text, "294247-01-10T04:00:54.775807Z");
    assert_string_equal(human_rfc3339(INT64_MIN).text, "-290308-12-21T19:59:05.224192Z");
    assert_true(parse_time(human_rfc3339(INT64_C(1795179601987654)).text, &back) && back == INT64_C(1795179601987654));
    assert_true(parse_time(human_time(INT64_C(1795179601987654)).text, &back) && back == INT64_C(1795179601987654));
}

/* ---- text ------------------------------------------------------------------ */

static const char *escaped(const char *text)
{
    static char safe[200];
    utf8_escape_line(text, safe, sizeof safe);
    return safe;
}

static void signs_that_do_no_harm_are_left_as_they_are(void **state)
{
    (void)state;
    static const char *const harmless[] = {"plain", "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80", "\xe2\x80\xa7", "\xe2\x80\xaf", "\xe2\x81\xa5", "\xe2\x81\xaa",
                                           "\xd8\x9b", "\xe2\x80\x8d", "\xe2\x80\x90", "\xc2\xa0", "~ "};
    for (size_t i = 0; i < sizeof harmless / sizeof *harmless; i++) assert_string_equal(escaped(harmless[i]), harmless[i]);
}

static void what_a_terminal_would_obey_is_escaped(void **state)
{
    (void)state;
    assert_string_equal(escaped("\x1b[2J\x7f\x01"), "\\x1b[2J\\x7f\\x01");
    assert_string_equal(escaped("a\tb\nc\rd\\"), "a\\tb\\nc\\rd\\\\");
    assert_string_equal(escaped("\xc2\x80\xc2\x9f"), "\\u0080\\u009f");
    assert_string_equal(escaped("\xe2\x80\xa8\xe2\x80\xae\xe2\x81\xa6\xe2\x81\xa9"), "\\u2028\\u202e\\u2066\\u2069");
    assert_string_equal(escaped("\xd8\x9c\xe2\x80\x8e\xe2\x80\x8f"), "\\u061c\\u200e\\u200f");
    assert_string_equal(escaped("\xff\xc3"), "\\xff\\xc3");
}

static void columns_are_counted_in_characters(void **state)
{
    (void)state;
    assert_int_equal(utf8_width(""), 0);
    assert_int_equal(utf8_width("abc"), 3);
    assert_int_equal(utf8_width("\xc3\xa9\xe2\x82\xac"), 2);
}

static void base64_is_taken_in_one_form_only(void **state)
{
    (void)state;
    static const char *const bad[] = {"A", "AA", "AAA", "AA=A", "A===", "====", "AAA{", "AA|=", "AA\x01=", "AAB=", "AB==", "AA-_", "AA A", "AAA=AAAA"};
    static const char *const good[][2] = {{"", ""}, {"QQ==", "A"}, {"QUI=", "AB"}, {"QUJD", "ABC"}, {"+/+/", "\xfb\xff\xbf"}, {"QUJDeno5", "ABCzz9"}};
    char text[16];
    size_t size;

    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        snprintf(text, sizeof text, "%s", bad[i]);
        if (base64_decode(text, strlen(text), &size)) fail_msg("%s", bad[i]);
    }
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        snprintf(text, sizeof text, "%s", good[i][0]);
        assert_true(base64_decode(text, strlen(text), &size));
        assert_int_equal(size, strlen(good[i][1]));
        assert_memory_equal(text, good[i][1], size);
    }
}

static const char *nearest_to(const char *wanted, const char *const candidates[])
{
    static struct nearest nearest;
    nearest = (struct nearest){.wanted = wanted};
    for (; *candidates; candidates++) nearest_offer(&nearest, *candidates);
    return nearest.best;
}

static void a_slip_in_three_letters_is_a_typo(void **state)
{
    (void)state;
    static const char *const verbs_here[] = {"tail", "cat", "replay", "segments", NULL};
    static char long_name[102];

    memset(long_name, 'a', 101);
    assert_string_equal(nearest_to("tial", verbs_here), "tail");
    assert_string_equal(nearest_to("TAIL", verbs_here), "tail");
    assert_string_equal(nearest_to("catt", verbs_here), "cat");
    assert_string_equal(nearest_to("ct", verbs_here), "cat");
    assert_string_equal(nearest_to("segm", verbs_here), "segments");
    assert_string_equal(nearest_to("xyz", verbs_here), "");
    assert_string_equal(nearest_to("x", verbs_here), "");
    assert_string_equal(nearest_to("", verbs_here), "");
    assert_string_equal(nearest_to(long_name, verbs_here), "");
    assert_string_equal(nearest_to("aaaa", (const char *const[]){long_name, "aaba", NULL}), long_name); /* half typed */
    assert_string_equal(nearest_to("b", (const char *const[]){long_name, NULL}), "");
}

/* ---- how it ends ------------------------------------------------------------- */

static void each_answer_of_the_library_has_its_exit_code(void **state)
{
    (void)state;
    assert_int_equal(end_of_code(LQ_OK), END_DONE);
    assert_int_equal(end_of_code(LQ_EMPTY), END_NO);
    assert_int_equal(end_of_code(LQ_TIMEOUT), END_NO);
    for (int code = LQ_EUNSUPPORTED; code < LQ_OK; code++)
        assert_int_equal(end_of_code(code), code == LQ_EINVAL || code == LQ_ENAME ? END_USAGE : code == LQ_ECORRUPT ? END_DAMAGE : END_CANNOT);
}

static void damage_is_graver_than_all_else(void **state)
{
    (void)state;
    static const int by_gravity[] = {END_DONE, END_NO, END_USAGE, END_CANNOT, END_DAMAGE};

    for (int i = 0; i < 5; i++)
        for (int j = 0; j < 5; j++) assert_int_equal(end_worse(by_gravity[i], by_gravity[j]), by_gravity[i > j ? i : j]);
}

/* ---- on standard error --------------------------------------------------------- */

static int kept_stderr;
static char said[4000];

static void listen_to_stderr(void)
{
    char path[] = "/tmp/lq-said.XXXXXX";
    int fd = mkstemp(path);

    assert_true(fd >= 0 && unlink(path) == 0);
    kept_stderr = dup(STDERR_FILENO);
    assert_true(dup2(fd, STDERR_FILENO) >= 0);
    close(fd);
}

static void stop_listening(void)
{
    ssize_t size = pread(STDERR_FILENO, said, sizeof said - 1, 0);
    said[size < 0 ? 0 : size] = '\0';
    dup2(kept_stderr, STDERR_FILENO);
    close(kept_stderr);
}

static void nothing_there_is_no_failure_and_has_a_text(void **state)
{
    (void)state;
    listen_to_stderr();
    int end = report_code("q", "cannot get", LQ_TIMEOUT);
    stop_listening();
    assert_int_equal(end, END_NO);
    assert_non_null(strstr(said, "lq: q: cannot get: "));
    assert_non_null(strstr(said, lq_strerror(LQ_TIMEOUT)));
}

/* A file that grows while it is put has more in it than it had. */
static void progress_ends_at_a_hundred_percent(void **state)
{
    (void)state;
    struct progress progress = {.on = true, .start_us = steady_time_us() - 2000000, .total = 10};

    listen_to_stderr();
    progress_show(&progress, 20, 8, 100);
    progress_end(&progress);
    stop_listening();
    assert_non_null(strstr(said, "[========================] 100 %  8 messages  "));
    assert_non_null(strstr(said, "  0 us left"));
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_are_digits_that_fit),
        cmocka_unit_test(sizes_have_letters_of_powers_of_1024),
        cmocka_unit_test(spans_have_units),
        cmocka_unit_test(times_are_dates_seconds_or_ago),
        cmocka_unit_test(times_without_a_zone_are_local_in_summer_and_winter),
        cmocka_unit_test(today_begins_at_midnight_here),
        cmocka_unit_test(large_numbers_have_commas),
        cmocka_unit_test(sizes_have_two_digits_or_three),
        cmocka_unit_test(capacities_are_shown_as_they_are_typed),
        cmocka_unit_test(spans_are_shown_in_the_unit_that_fits),
        cmocka_unit_test(every_time_can_be_shown),
        cmocka_unit_test(signs_that_do_no_harm_are_left_as_they_are),
        cmocka_unit_test(what_a_terminal_would_obey_is_escaped),
        cmocka_unit_test(columns_are_counted_in_characters),
        cmocka_unit_test(base64_is_taken_in_one_form_only),
        cmocka_unit_test(a_slip_in_three_letters_is_a_typo),
        cmocka_unit_test(each_answer_of_the_library_has_its_exit_code),
        cmocka_unit_test(damage_is_graver_than_all_else),
        cmocka_unit_test(nothing_there_is_no_failure_and_has_a_text),
        cmocka_unit_test(progress_ends_at_a_hundred_percent),
    };
    return cmocka_run_group_tests_name("the parts of lq", tests, NULL, NULL);
}
