/* Out of the way, and something else in the place: which calls that takes, in which order, and what is where afterwards; on a
 * machine that fails, nothing is lost. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "aside.h"
#include "support/api.h"
#include "support/each_fault.h"
#include "support/scratch.h"

#define NOON INT64_C(1800000000000007)
#define WHEN "20270115T080000.000007Z"

/* ---- a queue's directory ---------------------------------------------------------- */

static char queue_path[4200];
static int queue_dir;

static const char *in_queue(const char *name)
{
    return api_path(queue_path, name);
}

static void put_file(const char *name, const char *text)
{
    api_file_write(in_queue(name), text, strlen(text));
}

static void new_queue(void **state)
{
    snprintf(queue_path, sizeof queue_path, "%s", api_path(*state, "q"));
    HOLDS(mkdir(queue_path, 0700) == 0 && mkdir(in_queue("log"), 0700) == 0);
    put_file("meta", "meta");
    put_file("log/one", "one");
    EQUAL(lqi_io_posix.dir_open(&lqi_io_posix, -1, queue_path, &queue_dir), 0);
}

static void drop_queue(void)
{
    lqi_io_posix.close(&lqi_io_posix, queue_dir);
    HOLDS(scratch_delete(queue_path) == 0);
}

static bool has(const char *name, const char *text)
{
    if (!api_file_exists(in_queue(name))) return false;
    struct api_bytes file = api_file_read(in_queue(name));
    bool is = file.size == strlen(text) && memcmp(file.bytes, text, file.size) == 0;
    free(file.bytes);
    return is;
}

static int count_one(void *context, const char *name)
{
    (void)name;
    ++*(int *)context;
    return 0;
}

static int files_in(const char *name)
{
    int dir = -1, count = 0;
    EQUAL(lqi_io_posix.dir_open(&lqi_io_posix, queue_dir, name, &dir), 0);
    EQUAL(lqi_io_posix.dir_list(&lqi_io_posix, dir, count_one, &count), 0);
    lqi_io_posix.close(&lqi_io_posix, dir);
    return count;
}

/* ---- what is done, and in which order ------------------------------------------------ */

static char deeds[1000];
static char names[100][64]; /* of descriptors */

__attribute__((format(printf, 1, 2))) static void note(const char *format, ...)
{
    size_t length = strlen(deeds);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(deeds + length, sizeof deeds - length, format, arguments);
    va_end(arguments);
    HOLDS(strlen(deeds) + 1 < sizeof deeds);
}

static const char *name_of(int fd)
{
    return fd == queue_dir ? "q" : names[fd];
}

static void name_it(int fd, const char *name)
{
    HOLDS(fd >= 0 && fd < 100);
    snprintf(names[fd], sizeof names[fd], "%s", strcmp(name, ".") == 0 ? "q" : name);
}

static int note_dir_open(const struct lqi_io *io, int parent, const char *name, int *dir_out)
{
    int error = lqi_io_posix.dir_open(io, parent, name, dir_out);
    if (!error) name_it(*dir_out, name);
    return error;
}

static int note_open(const struct lqi_io *io, int dir, const char *name, int flags, uint32_t mode, int *fd_out)
{
    int error = lqi_io_posix.open(io, dir, name, flags, mode, fd_out);
    if (!error) name_it(*fd_out, name);
    return error;
}

static int note_dir_make(const struct lqi_io *io, int parent, const char *name, uint32_t mode)
{
    note("make %s %o; ", name, mode);
    return lqi_io_posix.dir_make(io, parent, name, mode);
}

static int note_dir_sync(const struct lqi_io *io, int dir)
{
    note("sync %s; ", name_of(dir));
    return lqi_io_posix.dir_sync(io, dir);
}

static int note_sync(const struct lqi_io *io, int fd)
{
    note("sync file %s; ", name_of(fd));
    return lqi_io_posix.sync(io, fd);
}

static int note_own(const struct lqi_io *io, int fd, int like)
{
    note("own %s; ", name_of(fd));
    return lqi_io_posix.own(io, fd, like);
}

static int note_rename(const struct lqi_io *io, int dir, const char *from, const char *to, bool replace)
{
    HOLDS(dir == queue_dir && !replace);
    note("%s to %s; ", from, to);
    return lqi_io_posix.rename(io, dir, from, to, replace);
}

static int note_swap(const struct lqi_io *io, int dir, const char *a, const char *b)
{
    HOLDS(dir == queue_dir);
    note("swap %s and %s; ", a, b);
    return lqi_io_posix.swap(io, dir, a, b);
}

static const struct lqi_io *noting(void)
{
    static struct lqi_io io;
    io = lqi_io_posix;
    io.dir_open = note_dir_open;
    io.open = note_open;
    io.dir_make = note_dir_make;
    io.dir_sync = note_dir_sync;
    io.sync = note_sync;
    io.own = note_own;
    io.rename = note_rename;
    io.swap = note_swap;
    deeds[0] = 0;
    return &io;
}

static void were_done(const char *expected)
{
    if (strcmp(deeds, expected) != 0) api_note("%s", deeds);
    assert_string_equal(deeds, expected);
    deeds[0] = 0;
}

static struct lqi_aside opened(const struct lqi_io *io)
{
    struct lqi_aside aside;
    OK(lqi_aside_open(&aside, io, queue_dir, 0600, NOON));
    deeds[0] = 0;
    return aside;
}

/* Neither more nor fewer are open than before, if it is the same. */
static int next_descriptor(void)
{
    int fd = dup(STDOUT_FILENO);
    HOLDS(fd >= 0);
    close(fd);
    return fd;
}

/* ---- what may be set aside --------------------------------------------------------------- */

static int no_open(const struct lqi_io *io, int dir, const char *name, int flags, uint32_t mode, int *fd_out)
{
    (void)io, (void)dir, (void)name, (void)flags, (void)mode, (void)fd_out;
    return EIO;
}

static void a_link_may_not_be_set_aside_and_everything_else_may(void **state)
{
    struct lqi_io io = lqi_io_posix;
    new_queue(state);
    int before = next_descriptor();
    OK(lqi_aside_check(&io, queue_dir, "meta", "meta"));
    OK(lqi_aside_check(&io, queue_dir, "log", "log"));
    HOLDS(mkfifo(in_queue("pipe"), 0600) == 0 && symlink("meta", in_queue("soft")) == 0 && link(in_queue("log/one"), in_queue("hard")) == 0);
    OK(lqi_aside_check(&io, queue_dir, "pipe", "pipe"));
    IS(LQ_ECORRUPT, lqi_aside_check(&io, queue_dir, "soft", "log/soft"));
    assert_string_equal(lq_error_text(), "log/soft is a symbolic link, and what it leads to may be good: put that in its place, or remove it");
    IS(LQ_ECORRUPT, lqi_aside_check(&io, queue_dir, "hard", "log/hard"));
    assert_string_equal(lq_error_text(), "log/hard has another name somewhere (a hard link), and may be good: remove that one, or put a copy in its place");
    IS(LQ_ENOTFOUND, lqi_aside_check(&io, queue_dir, "nothing", "log/nothing"));
    assert_string_equal(lq_error_text(), "open log/nothing: No such file or directory");
    io.open = no_open;
    IS(LQ_EIO, lqi_aside_check(&io, queue_dir, "meta", "meta"));
    EQUAL(next_descriptor(), before);
    drop_queue();
}

/* ---- its directories -------------------------------------------------------------------------- */

static unsigned mode_of(const char *name)
{
    struct stat stat_of_it;
    HOLDS(stat(in_queue(name), &stat_of_it) == 0);
    return stat_of_it.st_mode & 07777;
}

static void its_directories_are_made_durably_for_those_who_may_read_the_queue(void **state)
{
    static const unsigned modes[][2] = {{0600, 0700}, {0640, 0750}, {0644, 0755}};
    for (size_t i = 0; i < 3; i++) {
        struct lqi_aside aside;
        char expected[200];
        new_queue(state);
        for (int again = 0; again < 2; again++) {
            OK(lqi_aside_open(&aside, noting(), queue_dir, modes[i][0], NOON));
            snprintf(expected, sizeof expected, "make aside %o; make aside/new %o; sync aside; sync q; ", modes[i][1], modes[i][1]);
            were_done(expected);
            assert_string_equal(aside.when, WHEN);
            lqi_aside_close(&aside);
            EQUAL(aside.dir, -1);
            EQUAL(aside.new_dir, -1);
        }
        EQUAL(mode_of("aside"), modes[i][1]);
        EQUAL(mode_of("aside/new"), modes[i][1]);
        drop_queue();
    }
    struct lqi_aside none = LQI_ASIDE_NONE;
    lqi_aside_close(&none);
}

static void what_an_earlier_repair_left_is_kept_and_said_to_be_unfinished(void **state)
{
    new_queue(state);
    HOLDS(mkdir(in_queue("aside"), 0700) == 0 && mkdir(in_queue("aside/new"), 0700) == 0);
    put_file("aside/new/a.seg", "left over");
    struct lqi_aside aside;
    OK(lqi_aside_open(&aside, noting(), queue_dir, 0600, NOON));
    were_done("make aside 700; make aside/new 700; sync aside; sync q; aside/new/a.seg to aside/" WHEN "-unfinished-a.seg; sync new; sync aside; ");
    HOLDS(has("aside/" WHEN "-unfinished-a.seg", "left over"));
    lqi_aside_close(&aside);
    put_file("aside/new/a.seg", "more");
    put_file("aside/new/b", "b");
    HOLDS(mkdir(in_queue("aside/new/c"), 0700) == 0);
    aside = opened(&lqi_io_posix);
    HOLDS(has("aside/" WHEN "-unfinished-a.seg", "left over") && has("aside/" WHEN "-unfinished-a.seg.2", "more"));
    HOLDS(has("aside/" WHEN "-unfinished-b", "b") && api_file_exists(in_queue("aside/" WHEN "-unfinished-c")));
    EQUAL(files_in("aside/new"), 0);
    lqi_aside_close(&aside);
    drop_queue();
}

static void what_is_in_the_place_of_its_directories_is_an_error_that_says_so(void **state)
{
    struct lqi_aside aside;
    new_queue(state);
    int before = next_descriptor();
    memset(&aside, 0, sizeof aside); /* whatever was in it */
    put_file("aside", "a file");
    HOLDS(lqi_aside_open(&aside, &lqi_io_posix, queue_dir, 0600, NOON) < 0);
    assert_string_equal(lq_error_text(), "make directory aside/new: Not a directory");
    EQUAL(aside.dir, -1);
    HOLDS(unlink(in_queue("aside")) == 0 && mkdir(in_queue("aside"), 0700) == 0);
    put_file("aside/new", "a file");
    HOLDS(lqi_aside_open(&aside, &lqi_io_posix, queue_dir, 0600, NOON) < 0);
    assert_string_equal(lq_error_text(), "open directory new: Not a directory");
    EQUAL(aside.dir, -1);
    EQUAL(next_descriptor(), before);
    drop_queue();
}

/* ---- taking away ------------------------------------------------------------------------------------ */

static void what_is_taken_has_a_name_that_tells_when_and_what(void **state)
{
    new_queue(state);
    struct lqi_aside aside = opened(noting());
    OK(lqi_aside_take(&aside, "log/one"));
    were_done("log/one to aside/" WHEN "-log-one; sync log; sync aside; ");
    assert_string_equal(aside.last, "aside/" WHEN "-log-one");
    HOLDS(has("aside/" WHEN "-log-one", "one") && files_in("log") == 0);
    OK(lqi_aside_take(&aside, "log"));
    were_done("log to aside/" WHEN "-log; sync q; sync aside; ");
    OK(lqi_aside_take(&aside, "meta"));
    assert_string_equal(aside.last, "aside/" WHEN "-meta");
    HOLDS(lqi_aside_take(&aside, "nothing") < 0);
    assert_string_equal(lq_error_text(), "set aside nothing: No such file or directory");
    lqi_aside_close(&aside);
    drop_queue();
}

static void where_that_name_is_taken_a_number_is_added_up_to_a_thousand(void **state)
{
    new_queue(state);
    struct lqi_aside aside = opened(&lqi_io_posix);
    for (int i = 1; i <= 3; i++) {
        char name[100];
        put_file("log/x", i == 1 ? "1" : i == 2 ? "2" : "3");
        OK(lqi_aside_take(&aside, "log/x"));
        snprintf(name, sizeof name, "aside/" WHEN "-log-x%s", i == 1 ? "" : i == 2 ? ".2" : ".3");
        assert_string_equal(aside.last, name);
        HOLDS(has(name, i == 1 ? "1" : i == 2 ? "2" : "3"));
    }
    for (int i = 4; i <= 999; i++) {
        char name[100];
        snprintf(name, sizeof name, "aside/" WHEN "-log-x.%d", i);
        put_file(name, "");
    }
    put_file("log/x", "1000");
    OK(lqi_aside_take(&aside, "log/x"));
    assert_string_equal(aside.last, "aside/" WHEN "-log-x.1000");
    put_file("log/x", "1001");
    HOLDS(lqi_aside_take(&aside, "log/x") < 0);
    assert_string_equal(lq_error_text(), "set aside log/x: File exists");
    HOLDS(has("log/x", "1001"));
    lqi_aside_close(&aside);
    drop_queue();
}

/* With the time before it and a number behind it, it would not be one any more. */
static void a_name_as_long_as_can_be_is_shortened(void **state)
{
    new_queue(state);
    struct lqi_aside aside = opened(&lqi_io_posix);
    for (int i = 1; i <= 2; i++) {
        char name[256], path[300], expected[300];
        memset(name, 'n', 255);
        name[255] = 0;
        snprintf(path, sizeof path, "log/%s", name);
        put_file(path, "long");
        OK(lqi_aside_take(&aside, path));
        name[200 - 4] = 0;
        snprintf(expected, sizeof expected, "aside/" WHEN "-log-%s%s", name, i == 1 ? "" : ".2");
        assert_string_equal(aside.last, expected);
        HOLDS(has(expected, "long"));
    }
    lqi_aside_close(&aside);
    drop_queue();
}

/* ---- replacing ---------------------------------------------------------------------------------------- */

static void what_is_replaced_is_swapped_durably_and_then_set_aside(void **state)
{
    new_queue(state);
    HOLDS(chmod(in_queue("log/one"), 0640) == 0);
    struct lqi_aside aside = opened(noting());
    put_file("aside/new/made", "better");
    OK(lqi_aside_replace(&aside, "made", "log/one"));
    were_done("own made; sync file made; sync new; swap aside/new/made and log/one; sync log; sync new; "
              "aside/new/made to aside/" WHEN "-log-one; sync new; sync aside; ");
    HOLDS(has("log/one", "better") && has("aside/" WHEN "-log-one", "one") && files_in("aside/new") == 0);
    EQUAL(mode_of("log/one"), 0640);
    put_file("aside/new/meta", "new meta");
    OK(lqi_aside_replace(&aside, "meta", "meta"));
    were_done("own meta; sync file meta; sync new; swap aside/new/meta and meta; sync q; sync new; "
              "aside/new/meta to aside/" WHEN "-meta; sync new; sync aside; ");
    HOLDS(has("meta", "new meta") && has("aside/" WHEN "-meta", "meta"));
    lqi_aside_close(&aside);
    drop_queue();
}

static void what_was_no_file_has_no_say_in_whose_the_new_one_is(void **state)
{
    new_queue(state);
    HOLDS(mkdir(in_queue("log/dir"), 0755) == 0);
    struct lqi_aside aside = opened(noting());
    put_file("aside/new/made", "better");
    HOLDS(chmod(in_queue("aside/new/made"), 0600) == 0);
    OK(lqi_aside_replace(&aside, "made", "log/dir"));
    were_done("sync new; swap aside/new/made and log/dir; sync log; sync new; aside/new/made to aside/" WHEN "-log-dir; sync new; sync aside; ");
    HOLDS(has("log/dir", "better"));
    EQUAL(mode_of("log/dir"), 0600);
    lqi_aside_close(&aside);
    drop_queue();
}

static int swap_error;

static int no_swap(const struct lqi_io *io, int dir, const char *a, const char *b)
{
    (void)io, (void)dir, (void)a, (void)b;
    return swap_error;
}

static void where_nothing_can_be_swapped_nothing_is(void **state)
{
    struct lqi_io io = lqi_io_posix;
    io.swap = no_swap;
    new_queue(state);
    struct lqi_aside aside = opened(&io);
    put_file("aside/new/made", "better");
    swap_error = EOPNOTSUPP;
    IS(LQ_EUNSUPPORTED, lqi_aside_replace(&aside, "made", "log/one"));
    assert_string_equal(lq_error_text(), "this file system cannot swap two names: repair a copy of the queue on another one");
    swap_error = ENOSPC;
    IS(LQ_ENOSPC, lqi_aside_replace(&aside, "made", "log/one"));
    assert_string_equal(lq_error_text(), "swap with its replacement log/one: No space left on device");
    HOLDS(has("log/one", "one") && has("aside/new/made", "better"));
    lqi_aside_close(&aside);
    drop_queue();
}

static void where_nothing_is_a_file_is_placed_durably_and_never_over_another(void **state)
{
    new_queue(state);
    struct lqi_aside aside = opened(noting());
    put_file("aside/new/made", "new");
    OK(lqi_aside_place(&aside, "made", "log/two"));
    were_done("sync new; aside/new/made to log/two; sync log; sync new; ");
    HOLDS(has("log/two", "new") && files_in("aside/new") == 0);
    put_file("aside/new/made", "newer");
    HOLDS(lqi_aside_place(&aside, "made", "log/two") < 0);
    assert_string_equal(lq_error_text(), "put in its place log/two: File exists");
    HOLDS(has("log/two", "new") && has("aside/new/made", "newer"));
    lqi_aside_close(&aside);
    drop_queue();
}

/* ---- on a machine that fails --------------------------------------------------------------------------- */

static bool is_somewhere(const char *text)
{
    static const char *const places[] = {"meta", "log/one", "log/two", "aside/new/made", "aside/new/other", "aside/" WHEN "-log-one", "aside/" WHEN "-meta",
                                         "aside/" WHEN "-unfinished-left"};
    for (size_t i = 0; i < sizeof places / sizeof *places; i++)
        if (has(places[i], text)) return true;
    return false;
}

/* Of what was done, the last call failed; the rest is not begun. */
static void do_all_on_a_sick_machine(struct io_fault *fault, void *state)
{
    struct lqi_aside aside;
    int done = 0;
    new_queue(state);
    HOLDS(mkdir(in_queue("aside"), 0700) == 0 && mkdir(in_queue("aside/new"), 0700) == 0);
    put_file("aside/new/left", "left over");
    int err = lqi_aside_open(&aside, &fault->io, queue_dir, 0600, NOON);
    if (!err) {
        put_file("aside/new/made", "better");
        put_file("aside/new/other", "other");
    }
    if (!err && ++done) err = lqi_aside_replace(&aside, "made", "log/one");
    if (!err && ++done) err = lqi_aside_place(&aside, "other", "log/two");
    if (!err && ++done) err = lqi_aside_take(&aside, "meta");
    if (!err) done++;
    if (err) IS(LQ_EIO, err);
    EQUAL(fault->hits > 0, err != 0);
    HOLDS(is_somewhere("meta") && is_somewhere("one") && (has("aside/new/left", "left over") || is_somewhere("left over")));
    HOLDS(done < 1 || is_somewhere("better"));
    HOLDS(done < 2 || (has("log/one", "better") && has("aside/" WHEN "-log-one", "one")));
    HOLDS(done < 3 || has("log/two", "other"));
    HOLDS(done < 4 || has("aside/" WHEN "-meta", "meta"));
    lqi_aside_close(&aside);
    drop_queue();
}

static int no_sync(const struct lqi_io *io, int dir)
{
    (void)io, (void)dir;
    return EIO;
}

static int no_list(const struct lqi_io *io, int dir, lqi_name_callback *each, void *context)
{
    (void)io, (void)dir, (void)each, (void)context;
    return EIO;
}

static void an_error_says_of_which_directory_it_is(void **state)
{
    struct lqi_io io = lqi_io_posix;
    new_queue(state);
    struct lqi_aside aside = opened(&io);
    io.dir_sync = no_sync;
    IS(LQ_EIO, lqi_aside_take(&aside, "log/one"));
    assert_string_equal(lq_error_text(), "sync directory log: Input/output error");
    IS(LQ_EIO, lqi_aside_take(&aside, "meta"));
    assert_string_equal(lq_error_text(), "sync directory .: Input/output error");
    lqi_aside_close(&aside);
    IS(LQ_EIO, lqi_aside_open(&aside, &io, queue_dir, 0600, NOON));
    assert_string_equal(lq_error_text(), "sync directory aside: Input/output error");
    io = lqi_io_posix;
    io.dir_list = no_list;
    IS(LQ_EIO, lqi_aside_open(&aside, &io, queue_dir, 0600, NOON));
    assert_string_equal(lq_error_text(), "list aside/new: Input/output error");
    drop_queue();
}

static void whatever_fails_is_told_and_nothing_is_lost(void **state)
{
    HOLDS(each_fault(do_all_on_a_sick_machine, state) > 2 * 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_DIRECTORY(a_link_may_not_be_set_aside_and_everything_else_may),
        IN_DIRECTORY(its_directories_are_made_durably_for_those_who_may_read_the_queue),
        IN_DIRECTORY(what_an_earlier_repair_left_is_kept_and_said_to_be_unfinished),
        IN_DIRECTORY(what_is_in_the_place_of_its_directories_is_an_error_that_says_so),
        IN_DIRECTORY(what_is_taken_has_a_name_that_tells_when_and_what),
        IN_DIRECTORY(where_that_name_is_taken_a_number_is_added_up_to_a_thousand),
        IN_DIRECTORY(a_name_as_long_as_can_be_is_shortened),
        IN_DIRECTORY(what_is_replaced_is_swapped_durably_and_then_set_aside),
        IN_DIRECTORY(what_was_no_file_has_no_say_in_whose_the_new_one_is),
        IN_DIRECTORY(where_nothing_can_be_swapped_nothing_is),
        IN_DIRECTORY(where_nothing_is_a_file_is_placed_durably_and_never_over_another),
        IN_DIRECTORY(an_error_says_of_which_directory_it_is),
        IN_DIRECTORY(whatever_fails_is_told_and_nothing_is_lost),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
