/* lq, with its calls of the library and of the machine failing one after the other. No failure is passed over in silence:
 * lq says what could not be done and why, ends with the code that stands for it, and what it claims to have put or taken
 * is so. What a busy machine does to read() and write() is no failure, and nobody sees it.
 */
#include "support/cli_calls.h"

/* ---- every call of the library fails, in every command -------------------------- */

static const char *const calls[] = {
    "lq_open",        "lq_close",           "lq_put_batch",     "lq_sync",        "lq_get_stats",      "lq_get_consumer_stats",
    "lq_each_consumer", "lq_each_segment",  "lq_consumer_open", "lq_consumer_close", "lq_get_batch",   "lq_ack_batch",
    "lq_reader_open", "lq_reader_seek_id",  "lq_reader_seek_time", "lq_reader_next", "lq_verify",      "lq_repair",
};

/* What a failure costs a view that goes on without: the age of the oldest message. */
static bool goes_on(const char *line, const char *call)
{
    return strncmp(line, "lq ls", 5) == 0 && strncmp(call, "lq_reader_", 10) == 0;
}

/* "... (2 put before it)" */
static void what_it_claims_is_so(void **state)
{
    const char *claim = strstr(err, " put before it)");
    if (!claim) return;
    while (claim[-1] != '(') claim--;
    assert_int_equal(stats_of(state, "q").last_id, 5 + strtoul(claim, NULL, 10));
}

static bool changes(const char *line)
{
    return strncmp(line, "lq put", 6) == 0 || strncmp(line, "lq get", 6) == 0 || strncmp(line, "lq replay q r", 13) == 0;
}

static unsigned fail_each(void **state, const char *line, int code, int end)
{
    unsigned failures = 0;

    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
        for (unsigned nth = 1;; nth++) {
            if (changes(line) || !api_file_exists(api_path(*state, "q/meta"))) make_scene(state);
            int got = lq_with(state, line, calls[i], nth, code);
            if (!seen->met) break;
            failures++;
            if (goes_on(line, calls[i])) continue;
            if (got != end) fail_msg("%s ended with %d, not %d, when the %uth %s() failed: %s", line, got, end, nth, calls[i], err);
            if (strcmp(calls[i], "lq_verify") == 0 && code == LQ_ECORRUPT) continue; /* that is what it is there to say */
            if (strncmp(err, "lq: ", 4) != 0) fail_msg("%s, the %uth %s(): %s", line, nth, calls[i], err);
            says(err, PLANTED);
            what_it_claims_is_so(state);
            assert_true(floor_of(state, "x") <= 2 + lines_of(out));
        }
    }
    return failures;
}

static void fail_all(void **state, int code, int end)
{
    static const char *const lines[] = {
        "lq put q a b",         "lq put q",        "lq put q --ids --batch 1", "lq get q -c x -n 2",        "lq get q -c x -- awk 1",
        "lq get q -c n --start x", "lq peek q -c x", "lq cat q --from x",      "lq cat q --since -1h --to @now", "lq tail q",
        "lq tail q --grep o",   "lq ls",           "lq stat q",                "lq segments q",             "lq verify q",
        "lq repair q --yes",    "lq repair q -n --json", "lq replay q r --segment-size 64k --ring-size 64k",      "lq replay q -",
    };
    unsigned failures = 0;

    input = "c\nd\ne\n";
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        unsigned more = fail_each(state, lines[i], code, end);
        assert_true(more > 0);
        failures += more;
    }
    api_note("%u failures were answered", failures);
}

static void a_call_that_fails_is_told_and_ends_lq_with_4(void **state)
{
    fail_all(state, LQ_EIO, END_CANNOT);
}

static void damage_that_a_call_meets_is_told_and_ends_lq_with_3(void **state)
{
    fail_all(state, LQ_ECORRUPT, END_DAMAGE);
}

static void a_view_goes_on_without_the_age_of_the_oldest_message(void **state)
{
    make_scene(state);
    assert_int_equal(lq_with(state, "lq ls --json", "lq_reader_next", 1, LQ_EIO), END_DONE);
    says(out, "\"ready\":3");
    says(out, "\"oldest_time\":null");
}

static void a_directory_that_is_no_queue_after_all_is_no_row(void **state)
{
    make_scene(state);
    assert_int_equal(lq_with(state, "lq ls", "lq_open", 1, LQ_ENOTFOUND), END_DONE); /* "." itself */
    assert_int_equal(lq_with(state, "lq ls", "lq_open", 2, LQ_ENOTFOUND), END_NO);
    says(err, "no queue here or below");
}

static void a_directory_that_cannot_be_listed_is_told(void **state)
{
    make_scene(state);
    assert_int_equal(lq_with(state, "lq ls", "scandir", 1, EMFILE), END_CANNOT);
    says(err, "lq: .: cannot look into it: Too many open files");
    assert_int_equal(mkdir(api_path(*state, "beside"), 0700), 0);
    assert_int_equal(lq_with(state, "lq ls", "scandir", 2, EMFILE), END_CANNOT); /* "beside": q is none to look into */
    says(err, "lq: beside: cannot look into it: Too many open files");
    says(out, "\nq ");
}

static void without_proc_nobody_is_seen(void **state)
{
    lq_queue *queue;

    make_scene(state);
    OK(lq_open(api_path(*state, "q"), NULL, &queue));
    assert_int_equal(lq(state, "lq stat q"), END_DONE);
    says(out, "unit_cli_calls ");
    assert_int_equal(lq_with(state, "lq stat q", "opendir", 1, ENOENT), END_DONE);
    says(out, "nobody that can be seen");
    OK(lq_close(queue));
}

/* ---- following and waiting ----------------------------------------------------- */

static void a_failed_wait_ends_tail(void **state)
{
    make_scene(state);
    assert_int_equal(lq_with(state, "lq tail -f q", "lq_reader_wait", 1, LQ_EIO), END_CANNOT);
    says(err, "lq: q: cannot wait: " PLANTED);
    assert_int_equal(lines_of(out), 5);
}

/* It is the next read's to say where. */
static void damage_met_while_waiting_does_not(void **state)
{
    make_scene(state);
    plan = (struct plan){"lq_reader_wait", 1, 3, LQ_ECORRUPT, NULL};
    pid_t putter = fork();
    if (putter == 0) {
        lq_queue *queue;
        api_sleep_ms(50);
        _exit(lq_open(api_path(*state, "q"), NULL, &queue) || lq_put(queue, "six", 3, NULL) || lq_close(queue));
    }
    assert_int_equal(lq(state, "lq tail -f q --to 6 --raw"), END_DONE);
    plan = (struct plan){NULL, 0, 0, 0, NULL};
    assert_string_equal(out, "one\ntwo\nthree\nfour\nfive\nsix\n");
    int status;
    assert_true(waitpid(putter, &status, 0) == putter && status == 0);
}

/* After damage the rest of the time is waited, and no more: when it is over that is no time-out of -1. */
static void get_waits_no_longer_than_it_may_when_damage_comes_in_between(void **state)
{
    make_scene(state);
    assert_int_equal(lq(state, "lq get q -c x --all"), END_DONE);
    plan = (struct plan){"lq_get_batch", 1, 2, LQ_ECORRUPT, NULL};
    assert_int_equal(lq(state, "lq get q -c x --wait 1ms"), END_DAMAGE);
    plan = (struct plan){NULL, 0, 0, 0, NULL};
    assert_int_equal(lines_of(err), 4); /* and a hint each */
    assert_int_equal(lq(state, "lq get q -c x --wait 40ms"), END_NO);
    assert_in_range(seen->longest_ms, 20, 41);
    assert_int_equal(lq(state, "lq get q -c x"), END_NO);
    assert_int_equal(seen->longest_ms, 0);
}

static void a_reader_that_goes_away_ends_tail(void **state)
{
    make_scene(state);
    assert_int_equal(lq_with(state, "lq tail -f q", "write", 1, EPIPE), END_DONE);
    assert_string_equal(err, "");
}

static void what_is_beyond_the_usual_is_shown(void **state)
{
    lq_options options = {.segment_size = 65536, .ring_size = 65536, .retention = LQ_RETAIN_LIMITS, .age_max_ms = INT64_MAX};
    OK(lq_close(api_open(state, &options)));
    assert_int_equal(lq_with(state, "lq stat q", "lq_each_consumer", 1, LQ_OK), END_DONE);
    says(out, "at most 106751991 d 04 h old");
    says(out, "\nyoung         0        0              0                 0        1        0  never\n");
}

static void no_disk_is_waited_for_where_none_is_promised(void **state)
{
    make_scene(state);
    assert_int_equal(calls_of(state, "lq put q a b", "lq_sync"), 1);
    assert_int_equal(calls_of(state, "lq put q a b --ids", "lq_sync"), 0); /* each batch has been waited for */
    assert_int_equal(calls_of(state, "lq put never a b --sync never --segment-size 64k --ring-size 64k", "lq_sync"), 0);
    assert_int_equal(calls_of(state, "lq replay q r --from 100 --segment-size 64k --ring-size 64k", "lq_sync"), 0);
}

/* Once at the end; and when that is far, about once in a second. */
static void a_long_replay_is_synced_now_and_then(void **state)
{
    lq_queue *queue;

    make_scene(state);
    OK(lq_open(api_path(*state, "q"), NULL, &queue));
    for (int i = 0; i < 95; i++) api_put(queue, "more");
    OK(lq_close(queue));
    clock_us = 1000;
    assert_int_equal(calls_of(state, "lq replay q r --rate 2000/s --segment-size 64k --ring-size 64k", "lq_sync"), 1);
    assert_int_equal(calls_of(state, "lq replay q r --rate 20/s", "lq_sync"), 5); /* takes 4.95 s: four times, and at the end */
    clock_us = 0;
}

#define TEN "ten bytes, "
#define MUCH TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN

/* What was gathered for a batch that fails is not in, nor is what comes after it; what was put before it is. */
static void a_batch_that_fails_ends_a_replay(void **state)
{
    lq_queue *queue;

    make_scene(state);
    OK(lq_open(api_path(*state, "q"), NULL, &queue));
    for (int i = 0; i < 1000; i++) api_put(queue, MUCH);
    OK(lq_close(queue));
    for (unsigned nth = 1; nth <= 4; nth++) {
        scratch_delete(api_path(*state, "r"));
        assert_int_equal(lq_with(state, "lq replay q r --segment-size 64k --ring-size 64k --batch 300", "lq_put_batch", nth, LQ_EIO), END_CANNOT);
        assert_string_equal(err, "lq: r: cannot put: " PLANTED "\n");
        assert_int_equal(stats_of(state, "r").last_id, (nth - 1) * 300);
    }
    /* Batches are small when nobody asks for more, for damage costs a whole one. */
    scratch_delete(api_path(*state, "r"));
    assert_int_equal(lq_with(state, "lq replay q r --segment-size 64k --ring-size 64k", "lq_put_batch", 2, LQ_EIO), END_CANNOT);
    assert_in_range(stats_of(state, "r").last_id, 65536 / sizeof MUCH, 5 + 65536 / (sizeof MUCH - 1));
    scratch_delete(api_path(*state, "r"));
    assert_int_equal(lq_with(state, "lq replay q r --segment-size 64k --ring-size 64k --rate 1000/s", "lq_put_batch", 4, LQ_EIO), END_CANNOT);
    assert_string_equal(err, "lq: r: cannot put: " PLANTED "\n");
    assert_in_range(stats_of(state, "r").last_id, 3, 1004);
}

static void so_does_one_in_the_way_of_a_message_that_is_too_large(void **state)
{
    make_scene(state);
    input = "small\nmuch too large for this queue\n";
    assert_int_equal(lq_with(state, "lq put s --message-size-max 10 --segment-size 64k --ring-size 64k", "lq_put_batch", 1, LQ_EIO), END_CANNOT);
    says(err, "(0 put before it)");
    assert_int_equal(seen->calls, 1); /* that was the end of it */
    assert_int_equal(lq(state, "lq put s"), END_CANNOT);
    says(err, "(1 put before it)");
    assert_int_equal(stats_of(state, "s").last_id, 1);
}

/* ---- acks ---------------------------------------------------------------------- */

static void what_others_have_been_given_meanwhile_is_told(void **state)
{
    make_scene(state);
    assert_int_equal(lq_with(state, "lq get q -c x", "lq_ack_batch", 1, LQ_ELEASE), END_CANNOT);
    assert_string_equal(out, "three\n");
    says(err, "lq: q: some messages will come again: ");
    assert_int_equal(lq(state, "lq get q -c x -F %s:%a"), END_DONE);
    assert_string_equal(out, "three:2");
}

static void a_command_that_cannot_be_started_costs_no_attempt(void **state)
{
    make_scene(state);
    assert_int_equal(lq_with(state, "lq get q -c x -- cat", "pipe2", 1, EMFILE), END_CANNOT);
    says(err, "lq: q: cat: Too many open files");
    assert_int_equal(lq(state, "lq get q -c x -F %s:%a"), END_DONE);
    assert_string_equal(out, "three:1");
}

/* ---- what is no failure -------------------------------------------------------- */

static const struct plan hiccups[] = {
    {"write", 1, 1, EINTR, NULL}, {"write", 2, 3, EAGAIN, NULL}, {"read", 1, 1, EINTR, NULL}, {"read", 2, 3, EAGAIN, NULL}, {NULL, 0, 0, 0, NULL},
};

static void all_at_once_or_in_pieces_is_the_same(void **state)
{
    static char text[20000], wanted[20000];
    size_t size = 0;

    for (int i = 0; i < 3000; i++) size += (size_t)sprintf(text + size, "%d\n", i);
    input = text;
    for (size_t i = 0; i < sizeof hiccups / sizeof *hiccups; i++) {
        scratch_delete(api_path(*state, "p"));
        plan = hiccups[i];
        piece = i % 2 ? 7 : 4096;
        assert_int_equal(lq(state, "lq put p --segment-size 64k --ring-size 64k --sync never"), END_DONE);
        assert_int_equal(lq(state, "lq cat p --raw"), END_DONE);
        assert_string_equal(out, text);
        assert_int_equal(lq(state, "lq get p -c x -n 100 -- cat"), END_DONE); /* 0 to 99 */
        snprintf(wanted, sizeof wanted, "%s", "");
        for (int number = 0; number < 100; number++) sprintf(wanted + strlen(wanted), "%d", number);
        assert_string_equal(out, wanted);
    }
    plan = (struct plan){NULL, 0, 0, 0, NULL};
    piece = 0;
}

/* ---- a failed sync -------------------------------------------------------------- */

static void a_failed_sync_is_told_by_put_and_seen_by_all_who_look(void **state)
{
    lq_queue *queue;

    make_scene(state);
    OK(lq_open(api_path(*state, "q"), NULL, &queue)); /* as long as somebody has it, it stays poisoned */
    assert_int_equal(lq(state, "lq stat q"), END_DONE);
    assert_null(strstr(out, "poisoned"));
    assert_int_equal(lq_with(state, "lq put q six", "fdatasync", 1, EIO), END_CANNOT);
    assert_int_equal(lq(state, "lq put q seven"), END_CANNOT);
    says(err, "hint: when the disk is well, end all processes that use the queue");
    assert_int_equal(lq(state, "lq stat q"), END_DONE);
    says(out, "queue       q (poisoned)\n");
    says(out, "poisoned    a sync has failed");
    assert_int_equal(lq(state, "lq ls"), END_DONE);
    says(out, "\nq     poisoned ");
    lq_close(queue);
}

/* ---- verify and version ---------------------------------------------------------- */

static void verify_shows_findings_of_every_kind(void **state)
{
    make_scene(state);
    assert_int_equal(lq_with(state, "lq verify q", "lq_verify", 1, LQ_ECORRUPT), END_DAMAGE);
    says(out, "DAMAGED  log/2.seg  byte 4,096  message 700  the second\n");
    says(out, "UNREADABLE  log/1.seg  byte 64  messages 300 to 301  a bad sector\n");
    says(out, "DAMAGED  log/3.seg  byte 8  nobody knows how many\n");
    says(out, "NEWER  meta  byte 4  of tomorrow\n");
    /* Of 997, those from 1 to 299 are before the first hole. */
    says(out, "  3 messages lost, 698 after the first are fine.   hint: ");
}

static void what_follows_the_hole_is_not_told_when_nobody_knows(void **state)
{
    make_scene(state);
    plan = (struct plan){"lq_verify", 1, 1, LQ_ECORRUPT, "lq_get_stats"};
    assert_int_equal(lq(state, "lq verify q"), END_DAMAGE);
    says(out, "  3 messages lost.   hint: ");
    assert_int_equal(rename(api_path(*state, "q"), api_path(*state, "gone")), 0);
    assert_int_equal(lq_with(state, "lq verify q", "lq_verify", 1, LQ_ECORRUPT), END_DAMAGE);
    says(out, "  3 messages lost.   hint: ");
}

static void another_library_is_named_beside_lq(void **state)
{
    assert_int_equal(lq(state, "lq version"), END_DONE);
    assert_string_equal(out, "lq " LQ_VERSION "\n");
    plan = (struct plan){"lq_version", 1, 9, 0, NULL};
    assert_int_equal(lq(state, "lq version"), END_DONE);
    plan = (struct plan){NULL, 0, 0, 0, NULL};
    assert_string_equal(out, "lq " LQ_VERSION "\nlibqueue 9.8.7\n");
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        IN_DIRECTORY(a_call_that_fails_is_told_and_ends_lq_with_4),
        IN_DIRECTORY(damage_that_a_call_meets_is_told_and_ends_lq_with_3),
        IN_DIRECTORY(a_view_goes_on_without_the_age_of_the_oldest_message),
        IN_DIRECTORY(a_directory_that_is_no_queue_after_all_is_no_row),
        IN_DIRECTORY(a_directory_that_cannot_be_listed_is_told),
        IN_DIRECTORY(without_proc_nobody_is_seen),
        IN_DIRECTORY(a_failed_wait_ends_tail),
        IN_DIRECTORY(damage_met_while_waiting_does_not),
        IN_DIRECTORY(get_waits_no_longer_than_it_may_when_damage_comes_in_between),
        IN_DIRECTORY(a_reader_that_goes_away_ends_tail),
        IN_DIRECTORY(what_is_beyond_the_usual_is_shown),
        IN_DIRECTORY(no_disk_is_waited_for_where_none_is_promised),
        IN_DIRECTORY(a_long_replay_is_synced_now_and_then),
        IN_DIRECTORY(a_batch_that_fails_ends_a_replay),
        IN_DIRECTORY(so_does_one_in_the_way_of_a_message_that_is_too_large),
        IN_DIRECTORY(what_others_have_been_given_meanwhile_is_told),
        IN_DIRECTORY(a_command_that_cannot_be_started_costs_no_attempt),
        IN_DIRECTORY(all_at_once_or_in_pieces_is_the_same),
        IN_DIRECTORY(a_failed_sync_is_told_by_put_and_seen_by_all_who_look),
        IN_DIRECTORY(verify_shows_findings_of_every_kind),
        IN_DIRECTORY(what_follows_the_hole_is_not_told_when_nobody_knows),
        IN_DIRECTORY(another_library_is_named_beside_lq),
    };

    return cmocka_run_group_tests_name("lq and its calls", tests, share_what_is_seen, NULL);
}
