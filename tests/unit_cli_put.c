/* lq put: what becomes of what it is given. When it ends with 0 all of it is in the queue, once, in order, and synced; in
 * every other case it says how much of it is.
 */
#include "support/cli_calls.h"

#include <signal.h>

#define SMALL " --segment-size 64k --ring-size 64k"

/* ---- looking at what is in ------------------------------------------------------- */

/* The bodies from this id on are the pieces of `text` that end with `delimiter`. */
static void bodies_are(void **state, const char *name, uint64_t id, const char *text, size_t size, char delimiter)
{
    lq_options options = {.size = sizeof options, .flags = LQ_READ_ONLY};
    lq_queue *queue;
    lq_reader *reader;
    lq_message message;

    OK(lq_open(api_path(*state, name), &options, &queue));
    OK(lq_reader_open(queue, &reader));
    OK(lq_reader_seek_id(reader, id));
    for (const char *at = text; at < text + size; id++) {
        const char *end = memchr(at, delimiter, size - (size_t)(at - text));
        size_t length = end ? (size_t)(end - at) : size - (size_t)(at - text);
        OK(lq_reader_next(reader, &message));
        assert_int_equal(message.id, id);
        assert_int_equal(message.size, length);
        assert_memory_equal(message.data, at, length);
        at += length + 1;
    }
    IS(LQ_EMPTY, lq_reader_next(reader, &message));
    lq_reader_close(reader);
    OK(lq_close(queue));
}

static void is_usage(void **state, const char *line, const char *text)
{
    assert_int_equal(lq(state, line), END_USAGE);
    says(err, text);
    assert_int_equal(stats_of(state, "q").last_id, 5);
}

/* In who feeds it: until it has called what the plan is about once more. */
static void await_call(unsigned calls)
{
    for (int ms = 0; ms < 10000 && seen->calls == calls; ms++) api_sleep_ms(1);
}

/* Its input comes through a pipe: these pieces, and with `pauses` each when it has done something about the one before. */
static int lq_fed(void **state, const char *line, const char *const pieces[], bool pauses)
{
    int fds[2], status;

    assert_int_equal(pipe(fds), 0);
    memset(seen, 0, sizeof *seen);
    pid_t feeder = fork();
    assert_true(feeder >= 0);
    if (feeder == 0) {
        close(fds[0]);
        signal(SIGPIPE, SIG_IGN); /* it may have ended */
        for (; *pieces; pieces++) {
            unsigned calls = seen->calls;
            if (write(fds[1], *pieces, strlen(*pieces)) < 0) _exit(0);
            if (pauses) await_call(calls);
        }
        _exit(0);
    }
    close(fds[1]);
    input_pipe = fds[0];
    int end = lq(state, line);
    close(fds[0]);
    input_pipe = -1;
    assert_true(waitpid(feeder, &status, 0) == feeder && status == 0);
    return end;
}

/* ---- messages -------------------------------------------------------------------- */

static void arguments_go_in_as_one_batch_unless_smaller_ones_are_asked_for(void **state)
{
    make_scene(state);
    assert_int_equal(calls_of(state, "lq put q a bc def", "lq_put_batch"), 1);
    assert_int_equal(calls_of(state, "lq put q a bc def --batch 1", "lq_put_batch"), 3);
    assert_int_equal(calls_of(state, "lq put q a bc def --batch 2", "lq_put_batch"), 2);
    assert_string_equal(out, "");
    bodies_are(state, "q", 6, "a,bc,def,a,bc,def,a,bc,def,", 27, ',');
}

static void the_disk_is_waited_for_once_however_many_batches_there_are(void **state)
{
    make_scene(state);
    unsigned few = calls_of(state, "lq put q a --batch 1", "fdatasync");
    assert_in_range(few, 1, 10);
    assert_int_equal(calls_of(state, "lq put q a b c d e f g h --batch 1", "fdatasync"), few);
    assert_in_range(calls_of(state, "lq put q a b c d e f g h --batch 1 --ids", "fdatasync"), few + 7, 100);
}

static void no_create_makes_no_queue(void **state)
{
    make_scene(state);
    assert_int_equal(lq(state, "lq put ghost a --no-create"), END_CANNOT);
    assert_false(api_file_exists(api_path(*state, "ghost")));
    assert_int_equal(lq(state, "lq put q a --no-create"), END_DONE);
    assert_int_equal(stats_of(state, "q").last_id, 6);
}

static void input_is_cut_where_it_is_asked_to_be(void **state)
{
    static const char text[] = "one\ntwo\0three\n\n\xff" "five";

    make_scene(state);
    input = text;
    input_bytes = sizeof text - 1;
    assert_int_equal(lq(state, "lq put l" SMALL), END_DONE);
    bodies_are(state, "l", 1, text, sizeof text - 1, '\n');
    assert_int_equal(lq(state, "lq put z -0" SMALL), END_DONE);
    bodies_are(state, "z", 1, text, sizeof text - 1, '\0');
    assert_int_equal(lq(state, "lq put w --whole" SMALL), END_DONE);
    bodies_are(state, "w", 1, text, sizeof text - 1, '%');
    input_bytes = 0;
    input = "";
    assert_int_equal(lq(state, "lq put w --whole"), END_DONE); /* one, of no bytes */
    assert_int_equal(stats_of(state, "w").last_id, 2);
    assert_int_equal(lq(state, "lq put l"), END_DONE); /* none */
    assert_int_equal(stats_of(state, "l").last_id, 4);
}

static void key_and_headers_are_for_all(void **state)
{
    make_scene(state);
    input = "c\nd\n";
    assert_int_equal(lq(state, "lq put q a b --key k --headers h"), END_DONE);
    assert_int_equal(lq(state, "lq put q --headers hh -k kk"), END_DONE);
    assert_int_equal(lq(state, "lq cat q --from 6 -F %s:%k:%h;"), END_DONE);
    assert_string_equal(out, "a:k:h;b:k:h;c:kk:hh;d:kk:hh;");
}

static void those_of_a_json_line_outdo_them(void **state)
{
    make_scene(state);
    input = "{\"data\":\"a\"}\n\n{\"key\":\"own\",\"data\":\"b\"}\n \t\r\n{\"headers\":\"mine\",\"data\":\"c\"}\n{\"data\":\"\"}\n \t";
    assert_int_equal(lq(state, "lq put q --json --key k --headers h"), END_DONE);
    assert_int_equal(lq(state, "lq cat q --from 6 -F %s:%k:%h;"), END_DONE);
    assert_string_equal(out, "a:k:h;b:own:h;c:k:mine;:k:h;");
}

static void a_slip_in_json_is_told_with_line_and_column_and_those_before_it_are_in(void **state)
{
    make_scene(state);
    input = "{\"data\":\"a\"}\n\n{\"data\":\"b\"}\n{\"data\":b}\n{\"data\":\"c\"}\n";
    assert_int_equal(lq(state, "lq put q --json"), END_USAGE);
    says(err, "lq: q: cannot put standard input, line 4 column 9: ");
    says(err, " (2 put before it)\n");
    assert_false(seen->dirty);
    bodies_are(state, "q", 6, "a,b", 3, ',');
}

static void ids_are_printed_for_each(void **state)
{
    make_scene(state);
    input = "c\nd\ne\n";
    assert_int_equal(lq(state, "lq put q --ids a b"), END_DONE);
    assert_string_equal(out, "6\n7\n");
    assert_int_equal(lq(state, "lq put q --ids --batch 2"), END_DONE);
    assert_string_equal(out, "8\n9\n10\n");
    /* And not before the disk has it. */
    for (unsigned nth = 1;; nth++) {
        make_scene(state);
        int end = lq_with(state, "lq put q --ids --batch 1", "fdatasync", nth, EIO);
        if (!seen->met) break;
        assert_int_equal(strncmp(out, "6\n7\n8\n", strlen(out)), 0);
        if (nth == 1) assert_string_equal(out, "");
        if (strlen(out) < 6) assert_int_equal(end, END_CANNOT); /* what is synced while it closes is no message */
    }
    assert_string_equal(out, "6\n7\n8\n");
}

static void nobody_who_reads_the_ids_is_no_failure(void **state)
{
    make_scene(state);
    input = "c\nd\ne\n";
    piece = 2;
    unread = true;
    assert_int_equal(calls_of(state, "lq put q --ids", "read"), 1); /* and no reason to go on */
    unread = false;
    piece = 0;
    assert_string_equal(err, "");
    assert_int_equal(stats_of(state, "q").last_id, 6);
}

static void a_slip_on_the_line_is_told_before_anything_is_put(void **state)
{
    make_scene(state);
    input = "c\n";
    is_usage(state, "lq put", "the queue");
    is_usage(state, "lq put q --json -0", "--json does not go with --null or --whole");
    is_usage(state, "lq put q --whole --json", "--json does not go with --null or --whole");
    is_usage(state, "lq put q a --json", "messages are given as arguments");
    is_usage(state, "lq put q a -0", "messages are given as arguments");
    is_usage(state, "lq put q a --whole", "messages are given as arguments");
    is_usage(state, "lq put q a --batch 0", "--batch: 0 is not between 1 and 65535");
    is_usage(state, "lq put q a --batch 65536", "--batch: 65536 is not between 1 and 65535");
    is_usage(state, "lq put q a --wait x", "--wait: 'x' is not a time");
    assert_int_equal(lq(state, "lq put q a --batch 65535"), END_DONE);
}

/* ---- sizes ----------------------------------------------------------------------- */

/* Around what a batch gathers (64 KiB) and a block that is read (256 KiB), and with keys that are larger than bodies. */
static void messages_of_any_size_go_in_as_they_are(void **state)
{
    static const size_t sizes[] = {0, 1, 65535, 1, 65536, 2, 65537, 100, 262143, 0, 0, 262144, 262145, 5, 700000, 3, 40000, 40000, 30000, 35536, 1};
    static char text[2000000];
    size_t size = 0;

    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        memset(text + size, (int)('a' + i), sizes[i]);
        text[size + sizes[i]] = '\n';
        size += sizes[i] + 1;
    }
    make_scene(state);
    input = text;
    input_bytes = size;
    for (unsigned way = 0; way < 4; way++) {
        piece = (size_t[]){0, 131072, 99991, 262144}[way];
        assert_int_equal(lq(state, way % 2 ? "lq put q --batch 300" : "lq put q"), END_DONE);
        bodies_are(state, "q", 6 + way * sizeof sizes / sizeof *sizes, text, size, '\n');
    }
    assert_int_equal(stats_of(state, "q").last_id, 5 + 4 * sizeof sizes / sizeof *sizes);
    piece = 0;
    input_bytes = 0;
}

/* With keys and headers, many times what is gathered would be in a batch of which only the bodies were counted. */
static void keys_take_room_too(void **state)
{
    enum { BODY = 30000, PART = 20000, LINES = 60 };
    static char lines[LINES * (BODY + PART + 40)], wanted[BODY + 1];
    lq_options options = {.size = sizeof options, .flags = LQ_READ_ONLY};
    lq_queue *queue;
    lq_reader *reader;
    lq_message message;
    size_t size = 0;

    for (int i = 0; i < LINES; i++)
        size += (size_t)sprintf(lines + size, "{\"data\":\"%0*d\",\"%s\":\"%0*d\"}\n", BODY, i, i < LINES / 2 ? "key" : "headers", PART, i);
    make_scene(state);
    input = lines;
    assert_int_equal(lq(state, "lq put q --json"), END_DONE);
    OK(lq_open(api_path(*state, "q"), &options, &queue));
    OK(lq_reader_open(queue, &reader));
    OK(lq_reader_seek_id(reader, 6));
    for (int i = 0; i < LINES; i++) {
        bool has_key = i < LINES / 2;
        OK(lq_reader_next(reader, &message));
        assert_true(message.size == BODY && message.key_size == (has_key ? PART : 0) && message.headers_size == (has_key ? 0 : PART));
        sprintf(wanted, "%0*d", BODY, i);
        assert_memory_equal(message.data, wanted, BODY);
        assert_memory_equal(has_key ? message.key : message.headers, wanted + BODY - PART, PART);
    }
    lq_reader_close(reader);
    OK(lq_close(queue));
}

static void a_message_may_be_as_large_as_the_queue_takes_and_no_larger(void **state)
{
    make_scene(state);
    assert_int_equal(lq(state, "lq put s --message-size-max 10 1234567890 --key k" SMALL), END_CANNOT);
    says(err, "cannot put message 1 (0 put before it)");
    assert_int_equal(lq(state, "lq put s 1 1234567890 2"), END_DONE);
    assert_int_equal(lq(state, "lq put s 3 12345678901 4"), END_CANNOT);
    says(err, "cannot put message 2 (1 put before it): ");
    says(err, "11 bytes");
    input = "5\n12345678901\n6\n";
    assert_int_equal(lq(state, "lq put s"), END_CANNOT);
    says(err, "cannot put message 2 (1 put before it): ");
    bodies_are(state, "s", 1, "1,1234567890,2,3,5,", 19, ',');
}

/* It is not read into memory to its end, which may never come. */
static void of_a_line_that_is_too_long_not_all_is_read(void **state)
{
    static char text[3000001];

    make_scene(state);
    assert_int_equal(lq(state, "lq put s --message-size-max 300000 first" SMALL), END_DONE);
    input = memset(text, 'x', sizeof text - 1);
    input_bytes = sizeof text - 1;
    assert_int_equal(lq_with(state, "lq put s", "read", UINT32_MAX, 0), END_CANNOT);
    says(err, "300001 bytes");
    assert_in_range(seen->calls, 2, 4);
    text[300000] = '\n';
    input_bytes = 300001;
    assert_int_equal(lq(state, "lq put s"), END_DONE);
    piece = 1000; /* it is as long as it is, however it comes */
    assert_int_equal(lq(state, "lq put s"), END_DONE);
    piece = 0;
    input_bytes = 0;
    assert_int_equal(stats_of(state, "s").last_id, 3);
}

/* An object is longer than what is in it: by escapes, and by the members that lq cat writes around it. */
static void lines_of_json_may_come_in_pieces_of_any_size(void **state)
{
    make_scene(state);
    assert_int_equal(lq(state, "lq put s --message-size-max 16 --headers hh --key k \1\2\3\4\5\6\7\16\17\20\21\22\23 short" SMALL), END_DONE);
    assert_int_equal(lq(state, "lq cat s --json"), END_DONE);
    static char lines[SAID_MAX];
    strcpy(lines, out);
    assert_true(strlen(lines) > 2 * 96);
    input = lines;
    for (piece = 1; piece < 200; piece = piece * 3 + 1) {
        scratch_delete(api_path(*state, "c"));
        assert_int_equal(lq(state, "lq put c --json --message-size-max 16" SMALL), END_DONE);
        assert_int_equal(lq(state, "lq cat c --raw -F %s:%k:%h,"), END_USAGE);
        assert_int_equal(lq(state, "lq cat c -F %s:%k:%h,"), END_DONE);
        assert_string_equal(out, "\1\2\3\4\5\6\7\16\17\20\21\22\23:k:hh,short:k:hh,");
    }
    piece = 0;
}

static void a_line_of_json_may_be_six_times_as_long_as_its_message(void **state)
{
    enum { COUNT = 15000 };
    static char line[6 * COUNT + 20];
    size_t size = (size_t)sprintf(line, "{\"data\":\"");

    for (int i = 0; i < COUNT; i++) size += (size_t)sprintf(line + size, "\\u0001");
    strcpy(line + size, "\"}");
    make_scene(state);
    input = line;
    piece = 9999;
    assert_int_equal(lq(state, "lq put s --json --message-size-max 15000" SMALL), END_DONE);
    assert_int_equal(lq(state, "lq cat s -F %l"), END_DONE);
    assert_string_equal(out, "15000");
    piece = 0;
}

/* Blanks are no object; but so many are no line either, and what is behind them has not been read. */
static void blanks_without_end_are_no_end(void **state)
{
    static char text[200000];

    make_scene(state);
    memset(text, ' ', sizeof text);
    strcpy(text + 150000, "\n{\"data\":\"a\"}\n");
    input = text;
    piece = 10000;
    assert_int_equal(lq(state, "lq put s --json --message-size-max 16" SMALL), END_USAGE);
    says(err, "line 1 column ");
    says(err, "expected an object");
    input = text + 90000; /* fewer are */
    assert_int_equal(lq(state, "lq put s --json"), END_DONE);
    assert_int_equal(stats_of(state, "s").last_id, 1);
    piece = 0;
}

/* ---- what comes late -------------------------------------------------------------- */

static void what_a_pipe_brought_is_synced_when_it_pauses_and_at_its_end(void **state)
{
    static const char *const pauses[] = {"a\n", "b\n", "c\n", NULL}, *const none[] = {"a\nb\nc\n", NULL};

    make_scene(state);
    plan = (struct plan){"lq_sync", UINT32_MAX, UINT32_MAX, 0, NULL};
    assert_int_equal(lq_fed(state, "lq put q", pauses, true), END_DONE);
    assert_int_equal(seen->calls, 3);
    assert_false(seen->dirty);
    assert_int_equal(lq_fed(state, "lq put q", none, false), END_DONE);
    assert_int_equal(seen->calls, 1);
    assert_false(seen->dirty);
    assert_int_equal(lq_fed(state, "lq put n --sync never" SMALL, pauses, false), END_DONE);
    assert_int_equal(seen->calls, 0);
    plan = (struct plan){NULL, 0, 0, 0, NULL};
    bodies_are(state, "q", 6, "a,b,c,a,b,c", 11, ',');
}

/* Where something is always there to be read, about once in a second. */
static void a_pipe_that_never_pauses_is_synced_now_and_then(void **state)
{
    static const char *const pieces[] = {"a\nb\nc\nd\ne\nf\ng\nh\ni\nj\nk\nl\n", NULL};

    make_scene(state);
    clock_us = 5000000;
    read_us = 400000;
    piece = 2;
    plan = (struct plan){"lq_sync", UINT32_MAX, UINT32_MAX, 0, NULL};
    assert_int_equal(lq_fed(state, "lq put q", pieces, false), END_DONE);
    assert_int_equal(seen->calls, 4); /* after 1.2, 2.4, 3.6 and 4.8 s, when all has been read */
    input = pieces[0];
    assert_int_equal(lq(state, "lq put q"), END_DONE); /* a file is in one pass */
    assert_int_equal(seen->calls, 1);
    plan = (struct plan){NULL, 0, 0, 0, NULL};
    piece = 0;
    read_us = clock_us = 0;
}

static void a_failed_sync_in_between_ends_it(void **state)
{
    static const char *const pauses[] = {"a\n", "b\n", NULL};

    make_scene(state);
    plan = (struct plan){"lq_sync", 1, 1, LQ_EIO, NULL};
    assert_int_equal(lq_fed(state, "lq put q", pauses, true), END_CANNOT);
    plan = (struct plan){NULL, 0, 0, 0, NULL};
    says(err, "lq: q: cannot put message 2 (1 put before it): " PLANTED);
    assert_int_equal(stats_of(state, "q").last_id, 6);
}

static void input_that_cannot_be_read_is_told_and_what_came_before_is_in(void **state)
{
    make_scene(state);
    input = "c\nd\ne";
    piece = 2;
    assert_int_equal(lq_with(state, "lq put q", "read", 3, EIO), END_CANNOT);
    assert_string_equal(err, "lq: q: cannot read standard input: Input/output error\n");
    assert_false(seen->dirty);
    bodies_are(state, "q", 6, "c,d", 3, ',');
    piece = 0;
}

/* ---- room ------------------------------------------------------------------------ */

static void it_waits_for_room_as_long_as_it_may(void **state)
{
    static const struct {
        const char *wait;
        int64_t us;
    } waits[] = {{"600ms", 750000}, {"500ms", 500000}, {"100ms", 101000}, {"0s", 1000}, {"249ms", 250000}, {"1000s", 1000000000}, {"250ms", 250000}};
    char line[80];

    make_scene(state);
    clock_us = 1000;
    for (size_t i = 0; i < sizeof waits / sizeof *waits; i++) {
        snprintf(line, sizeof line, "lq put q a --wait %s", waits[i].wait);
        plan = (struct plan){"lq_put_batch", 1, UINT32_MAX, LQ_TIMEOUT, NULL};
        assert_int_equal(lq(state, line), END_NO);
        assert_string_equal(err, "lq: q: cannot put message 1 (0 put before it): the queue is full and no room was made in time\n");
        assert_int_equal(seen->waited_us, waits[i].us);
    }
    plan = (struct plan){"lq_put_batch", 2, 3, LQ_TIMEOUT, NULL}; /* somebody makes room */
    assert_int_equal(lq(state, "lq put q a b --batch 1 --wait 600ms"), END_DONE);
    plan = (struct plan){"lq_put_batch", 2, 1000, LQ_TIMEOUT, NULL}; /* it waits for ever if nothing else is said */
    assert_int_equal(lq(state, "lq put q c d --batch 1"), END_DONE);
    assert_int_equal(seen->waited_us, 999 * 250000);
    assert_string_equal(err, "");
    plan = (struct plan){NULL, 0, 0, 0, NULL};
    bodies_are(state, "q", 6, "a,b,c,d", 7, ',');
    clock_us = 0;
}

static void a_signal_ends_the_wait_and_nothing_is_said(void **state)
{
    make_scene(state);
    arriving = SIGTERM;
    assert_int_equal(lq_with(state, "lq put q a b --batch 1", "lq_put_batch", 2, LQ_TIMEOUT), 128 + SIGTERM);
    arriving = 0;
    assert_string_equal(err, "");
    bodies_are(state, "q", 6, "a", 1, ',');
}

/* ---- ends ------------------------------------------------------------------------ */

/* What had been read is in, and whatever is in is synced. */
static void a_signal_at_any_call_ends_it_and_what_is_in_is_safe(void **state)
{
    static const char *const lines[] = {"lq put q", "lq put q --batch 1", "lq put q c d e"};
    static const char *const calls[] = {"lq_put_batch", "read", "lq_sync", "lq_close"};
    unsigned signals = 0;

    input = "c\nd\ne\n";
    piece = 2;
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        for (size_t c = 0; c < sizeof calls / sizeof *calls; c++) {
            for (unsigned nth = 1;; nth++) {
                make_scene(state);
                arriving = SIGTERM;
                int end = lq_with(state, lines[i], calls[c], nth, LQ_OK);
                arriving = 0;
                if (!seen->met) break;
                signals++;
                if (end != 128 + SIGTERM) fail_msg("%s ended with %d at the %uth %s()", lines[i], end, nth, calls[c]);
                assert_string_equal(err, "");
                assert_false(seen->dirty);
                uint64_t last_id = stats_of(state, "q").last_id;
                bodies_are(state, "q", 6, "c,d,e", last_id > 5 ? 2 * (last_id - 5) - 1 : 0, ',');
                if (c < 2 && i < 2) assert_int_equal(last_id, 5 + (nth < 3 ? nth : 3));
            }
        }
    }
    piece = 0;
    assert_in_range(signals, 20, 40);
}

static void a_terminal_is_told_what_is_expected_and_how_far_it_is(void **state)
{
    make_scene(state);
    input = "c\nd\nee\n";
    for (terminals = 0; terminals < ALL_TERMINALS; terminals++) { /* nobody types, or nobody would see it */
        if ((terminals & 5) == 5) continue;
        assert_int_equal(lq(state, "lq put q"), END_DONE);
        assert_string_equal(err, "");
    }
    terminals = ALL_TERMINALS;
    clock_us = 1000;
    read_us = 2000000;
    piece = 4;
    assert_int_equal(lq(state, "lq put q"), END_DONE);
    terminals = 0;
    says(err, "lq: reading messages, one per line; Ctrl-D ends\n");
    says(err, " 57 %  2 messages  1/s  2 B  1 B/s  1.5 s left");
    says(err, "100 %  3 messages  0/s  4 B  1 B/s  ");
    assert_string_equal(err + strlen(err) - 4, "\r\033[K"); /* and it is wiped out */
    clock_us = read_us = 0;
    piece = 0;
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        IN_DIRECTORY(arguments_go_in_as_one_batch_unless_smaller_ones_are_asked_for),
        IN_DIRECTORY(the_disk_is_waited_for_once_however_many_batches_there_are),
        IN_DIRECTORY(no_create_makes_no_queue),
        IN_DIRECTORY(input_is_cut_where_it_is_asked_to_be),
        IN_DIRECTORY(key_and_headers_are_for_all),
        IN_DIRECTORY(those_of_a_json_line_outdo_them),
        IN_DIRECTORY(a_slip_in_json_is_told_with_line_and_column_and_those_before_it_are_in),
        IN_DIRECTORY(ids_are_printed_for_each),
        IN_DIRECTORY(nobody_who_reads_the_ids_is_no_failure),
        IN_DIRECTORY(a_slip_on_the_line_is_told_before_anything_is_put),
        IN_DIRECTORY(messages_of_any_size_go_in_as_they_are),
        IN_DIRECTORY(keys_take_room_too),
        IN_DIRECTORY(a_message_may_be_as_large_as_the_queue_takes_and_no_larger),
        IN_DIRECTORY(of_a_line_that_is_too_long_not_all_is_read),
        IN_DIRECTORY(lines_of_json_may_come_in_pieces_of_any_size),
        IN_DIRECTORY(a_line_of_json_may_be_six_times_as_long_as_its_message),
        IN_DIRECTORY(blanks_without_end_are_no_end),
        IN_DIRECTORY(what_a_pipe_brought_is_synced_when_it_pauses_and_at_its_end),
        IN_DIRECTORY(a_pipe_that_never_pauses_is_synced_now_and_then),
        IN_DIRECTORY(a_failed_sync_in_between_ends_it),
        IN_DIRECTORY(input_that_cannot_be_read_is_told_and_what_came_before_is_in),
        IN_DIRECTORY(it_waits_for_room_as_long_as_it_may),
        IN_DIRECTORY(a_signal_ends_the_wait_and_nothing_is_said),
        IN_DIRECTORY(a_signal_at_any_call_ends_it_and_what_is_in_is_safe),
        IN_DIRECTORY(a_terminal_is_told_what_is_expected_and_how_far_it_is),
    };

    return cmocka_run_group_tests_name("lq put", tests, share_what_is_seen, NULL);
}
