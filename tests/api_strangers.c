/* Strangers: links, pipes, devices and sockets where a queue's files should be, directories swapped under an open handle,
 * other users, umasks, shared directories in which everybody may make names. Nothing is followed, nothing hangs, nothing
 * outside of the queue is read or written, and when the stranger is gone, everything is back. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "support/api.h"
#include "support/child.h"
#include "support/survey.h"

enum { MESSAGES = 40, BODY = 4000, NOBODY = 65534 }; /* three segments */

static const lq_options small = {.sync = LQ_SYNC_NEVER, .segment_size = 64 << 10, .ring_size = 64 << 10};

/* "q", with consumers c and survey that have consumed nothing. */
static void make_queue(void **state, const lq_options *options)
{
    lq_queue *queue = api_open(state, options);
    OK(lq_consumer_close(api_consumer(queue, "c", NULL)));
    OK(lq_consumer_close(api_consumer(queue, "survey", NULL)));
    api_put_range(queue, 1, MESSAGES, BODY);
    OK(lq_close(queue));
}

/* ---- strangers in the place of a file --------------------------------------------- */

/* Each makes something called `path`; the file that was there is at `away` now, the victim's is at `victim`. */
static bool symlink_to_itself(const char *path, const char *away, const char *victim)
{
    (void)victim;
    return symlink(away, path) == 0;
}

static bool symlink_to_victim(const char *path, const char *away, const char *victim)
{
    (void)away;
    return symlink(victim, path) == 0;
}

static bool symlink_to_nothing(const char *path, const char *away, const char *victim)
{
    (void)away, (void)victim;
    return symlink("/nonexistent/anything", path) == 0;
}

static bool symlink_in_a_ring(const char *path, const char *away, const char *victim)
{
    (void)away, (void)victim;
    return symlink(path, path) == 0;
}

static bool hard_link(const char *path, const char *away, const char *victim)
{
    (void)victim;
    return link(away, path) == 0; /* its own bytes, but somebody else has a hold of them */
}

static bool hard_link_to_victim(const char *path, const char *away, const char *victim)
{
    (void)away;
    return link(victim, path) == 0;
}

static bool pipe_without_reader(const char *path, const char *away, const char *victim)
{
    (void)away, (void)victim;
    return mkfifo(path, 0666) == 0;
}

static bool directory(const char *path, const char *away, const char *victim)
{
    (void)away, (void)victim;
    return mkdir(path, 0777) == 0;
}

static bool sleeping_socket(const char *path, const char *away, const char *victim)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    (void)away, (void)victim;
    if (fd < 0 || strlen(path) >= sizeof name.sun_path) return false;
    strcpy(name.sun_path, path);
    bool made = bind(fd, (struct sockaddr *)&name, sizeof name) == 0;
    close(fd);
    return made;
}

static bool device_of_zeroes(const char *path, const char *away, const char *victim)
{
    (void)away, (void)victim;
    return mknod(path, S_IFCHR | 0666, makedev(1, 5)) == 0;
}

static const struct {
    const char *name;
    bool (*make)(const char *path, const char *away, const char *victim);
} strangers[] = {
    {"a symbolic link to the file itself", symlink_to_itself}, {"a symbolic link to a victim", symlink_to_victim},
    {"a dangling symbolic link", symlink_to_nothing}, {"a symbolic link to itself", symlink_in_a_ring}, {"a hard link", hard_link},
    {"a hard link to a victim", hard_link_to_victim}, {"a pipe", pipe_without_reader}, {"a directory", directory},
    {"a socket", sleeping_socket}, {"a device", device_of_zeroes},
};
enum { STRANGERS = sizeof strangers / sizeof *strangers };

static const char victims_text[] = "nobody else's business";

static void victim_is_untouched(const char *victim)
{
    struct api_bytes file = api_file_read(victim);
    HOLDS(file.size == sizeof victims_text && memcmp(file.bytes, victims_text, file.size) == 0);
    free(file.bytes);
}

static void no_survivor(const char *path)
{
    if (unlink(path) != 0) HOLDS(rmdir(path) == 0);
}

typedef void expectation(const struct survey *survey, const char *stranger);

/* Puts every stranger in the place of q/`part`, surveys the queue, and puts the file back. */
static void meet_strangers(void **state, const char *part, expectation *expect)
{
    char path[4096], away[4096], victim[4096];
    snprintf(path, sizeof path, "%s/q/%s", (const char *)*state, part);
    snprintf(away, sizeof away, "%s/away", (const char *)*state);
    snprintf(victim, sizeof victim, "%s/victim", (const char *)*state);
    api_file_write(victim, victims_text, sizeof victims_text);

    for (size_t i = 0; i < STRANGERS; i++) {
        /* An empty directory in the place of one is a queue that has lost its files. */
        if (strangers[i].make == directory && !strchr(part, '/') && strcmp(part, "meta") != 0) continue;
        HOLDS(rename(path, away) == 0);
        if (strangers[i].make(path, away, victim)) {
            struct survey found = survey(api_path(*state, "q"));
            expect(&found, strangers[i].name);
            struct stat there;
            HOLDS(lstat(path, &there) == 0); /* and nobody has removed it */
            no_survivor(path);
        }
        victim_is_untouched(victim);
        HOLDS(rename(away, path) == 0);
    }
    EQUAL(survey_look(api_path(*state, "q")).opened, LQ_OK);
}

static void says(const struct survey *survey, const char *stranger, bool as_expected)
{
    if (!as_expected)
        api_note("%s: verify %s, open %s, to write %s, consumer %s, put %s, read %llu: %s", stranger, lq_error_name(survey->verified),
                 lq_error_name(survey->opened), lq_error_name(survey->opened_to_write), lq_error_name(survey->consumer_opened),
                 lq_error_name(survey->put), (unsigned long long)survey->read, survey->text);
    HOLDS(as_expected);
}

static void not_written_but_read(const struct survey *survey, const char *stranger)
{
    bool told = survey->opened_to_write == LQ_ENOTQUEUE || survey->opened_to_write == LQ_ECORRUPT;
    says(survey, stranger, told && survey->verified < 0);
}

static void a_stranger_called_meta_keeps_the_queue_shut(void **state)
{
    make_queue(state, &small);
    meet_strangers(state, "meta", not_written_but_read);
}

static void all_but_one_segment(const struct survey *survey, const char *stranger)
{
    says(survey, stranger, survey->verified == LQ_ECORRUPT && survey->opened == LQ_OK && survey->opened_to_write == LQ_OK &&
                               survey->read > MESSAGES / 2 && survey->put == LQ_OK && survey->put_read == LQ_OK && survey->closed == LQ_OK);
}

static void a_stranger_called_as_a_segment_costs_that_segment(void **state)
{
    for (size_t n = 0; n < 3; n++) {
        char inner[4096], part[64];
        void *inside[1] = {inner};
        snprintf(inner, sizeof inner, "%s/%zu", (const char *)*state, n);
        HOLDS(mkdir(inner, 0700) == 0);
        make_queue(inside, &small);
        snprintf(part, sizeof part, "%s", api_segment(api_path(inner, "q"), n) + strlen(api_path(inner, "q")) + 1);
        meet_strangers(inside, part, all_but_one_segment);
    }
}

static void all_but_the_consumer(const struct survey *survey, const char *stranger)
{
    says(survey, stranger, survey->verified == LQ_ECORRUPT && survey->opened == LQ_OK && survey->opened_to_write == LQ_OK &&
                               survey->consumer_opened == LQ_ECORRUPT && survey->read >= MESSAGES && survey->put == LQ_OK && survey->closed == LQ_OK);
}

static void a_stranger_called_as_an_offset_file_stops_that_consumer(void **state)
{
    make_queue(state, &small);
    meet_strangers(state, "consumers/survey.pos", all_but_the_consumer);
}

static void told_and_nothing_done(const struct survey *survey, const char *stranger)
{
    says(survey, stranger, survey->opened_to_write < 0 && survey->verified < 0);
}

static void a_stranger_called_as_a_directory_is_not_entered(void **state)
{
    make_queue(state, &small);
    meet_strangers(state, "log", told_and_nothing_done);
    meet_strangers(state, "consumers", told_and_nothing_done);
}

/* ---- the queue's own path ---------------------------------------------------------- */

static int try_open(const char *path, uint32_t flags)
{
    lq_queue *queue;
    int err = lq_open(path, &(lq_options){.size = sizeof(lq_options), .flags = flags}, &queue);
    if (!err) OK(lq_close(queue));
    return err;
}

static void a_stranger_called_as_the_queue_is_no_queue(void **state)
{
    char path[4096], away[4096], victim[4096];
    snprintf(path, sizeof path, "%s/q", (const char *)*state);
    snprintf(away, sizeof away, "%s/away", (const char *)*state);
    snprintf(victim, sizeof victim, "%s/victim", (const char *)*state);
    api_file_write(victim, victims_text, sizeof victims_text);
    api_file_write(away, victims_text, sizeof victims_text);

    for (size_t i = 0; i < STRANGERS; i++) {
        if (strangers[i].make == directory || !strangers[i].make(path, away, victim)) continue;
        for (unsigned flags = 0; flags < 3; flags++) { /* none, LQ_READ_ONLY, LQ_NO_CREATE */
            int err = try_open(path, flags);
            HOLDS(err == LQ_ENOTQUEUE || err == LQ_ENOTFOUND || err == LQ_EIO);
            TEXT_HAS("/q");
        }
        no_survivor(path);
        victim_is_untouched(victim);
    }
}

/* As the header says: the path may lead through links, and is followed once, when it is opened. */
static void a_symbolic_link_to_a_queue_is_followed_when_it_is_opened(void **state)
{
    char link[4096];
    strcpy(link, api_path(*state, "link"));
    make_queue(state, &small);
    HOLDS(symlink("q", link) == 0);
    lq_queue *queue;
    OK(lq_open(link, NULL, &queue));
    HOLDS(unlink(link) == 0 && symlink("elsewhere", link) == 0);
    for (uint64_t id = MESSAGES + 1; id <= 2 * MESSAGES; id++) { /* rolls */
        char body[BODY];
        api_fill(body, sizeof body, id);
        OK(lq_put(queue, body, sizeof body, NULL));
    }
    api_read_range(queue, 1, 2 * MESSAGES, BODY);
    OK(lq_close(queue));
    HOLDS(!api_file_exists(api_path(*state, "elsewhere")));
    IS(LQ_ENOTFOUND, try_open(link, LQ_NO_CREATE));
    HOLDS(try_open(link, 0) < 0); /* a link to nothing is not made into something */
    HOLDS(!api_file_exists(api_path(*state, "elsewhere")));
}

/* What is held is the directory, not its name. */
static void directories_swapped_under_an_open_handle_are_not_entered(void **state)
{
    static const char *const parts[] = {"q", "q/log", "q/consumers"};
    make_queue(state, &small);

    for (size_t i = 0; i < 3; i++) {
        char path[4096], away[4096], trap[4096];
        lq_queue *queue = api_open(state, NULL);
        snprintf(path, sizeof path, "%s/%s", (const char *)*state, parts[i]);
        snprintf(away, sizeof away, "%s/away", (const char *)*state);
        snprintf(trap, sizeof trap, "%s/trap-%zu", (const char *)*state, i);
        HOLDS(mkdir(trap, 0700) == 0);
        uint64_t first = api_stats(queue).last_id + 1, last = first + 39;
        HOLDS(rename(path, away) == 0 && symlink(trap, path) == 0);
        api_put_range(queue, first, last, BODY);
        lq_consumer *consumer = api_consumer(queue, i ? "later" : "new", NULL);
        OK(lq_consumer_close(consumer));
        OK(lq_sync(queue));
        api_read_range(queue, 1, last, BODY);
        OK(lq_close(queue));
        HOLDS(rmdir(trap) == 0); /* it is empty */
        HOLDS(unlink(path) == 0 && rename(away, path) == 0);
        queue = api_open(state, NULL);
        api_read_range(queue, 1, last, BODY);
        EQUAL(api_stats(queue).consumers, i ? 4 : 3);
        OK(lq_close(queue));
        OK(lq_verify(api_path(*state, "q"), 0, NULL, NULL, NULL));
    }
}

/* ---- permissions ---------------------------------------------------------------------- */

static mode_t mode_of(const char *path)
{
    struct stat there;
    HOLDS(lstat(path, &there) == 0);
    return there.st_mode & 07777;
}

/* Every file of a queue, that of the second segment and a consumer's too. */
static void has_mode(const char *queue, mode_t file)
{
    char path[4096];
    static const char *const files[] = {"meta", "shared", "consumers/c.pos", "consumers/survey.pos"};
    static const char *const directories[] = {"", "log", "consumers"};
    snprintf(path, sizeof path, "%s", queue);
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) EQUAL(mode_of(api_path(path, files[i])), file);
    for (size_t n = 0; api_segment(path, n); n++) EQUAL(mode_of(api_segment(path, n)), file);
    HOLDS(api_segment(path, 2) != NULL);
    for (size_t i = 0; i < sizeof directories / sizeof *directories; i++)
        EQUAL(mode_of(api_path(path, directories[i])) & 0777, file | (file & 0444) >> 2);
}

static void files_have_the_modes_that_were_asked_for_whatever_the_umask(void **state)
{
    static const mode_t masks[] = {0, 022, 027, 077, 0177, 0777};
    static const mode_t modes[] = {0, 0600, 0640, 0660, 0644, 0666, 0777};
    mode_t mask = umask(0);

    for (size_t i = 0; i < sizeof masks / sizeof *masks; i++)
        for (size_t j = 0; j < sizeof modes / sizeof *modes; j++) {
            char inner[4096];
            void *inside[1] = {inner};
            lq_options options = small;
            snprintf(inner, sizeof inner, "%s/%zu-%zu", (const char *)*state, i, j);
            HOLDS(mkdir(inner, 0700) == 0);
            options.mode = modes[j];
            umask(masks[i]);
            make_queue(inside, &options);
            umask(masks[(i + 3) % 6]); /* who comes later may have another one */
            lq_queue *queue = api_open(inside, NULL);
            api_put_range(queue, MESSAGES + 1, 2 * MESSAGES, BODY);
            OK(lq_close(queue));
            umask(0);
            has_mode(api_path(inner, "q"), modes[j] ? modes[j] : 0600);
        }
    umask(mask);
}

static void the_group_of_a_directory_is_inherited_as_ever(void **state)
{
    struct stat there;
    HOLDS(chmod(*state, 02770) == 0);
    HOLDS(stat(*state, &there) == 0);
    if (!(there.st_mode & S_ISGID)) skip();
    make_queue(state, &(lq_options){.mode = 0660, .segment_size = 64 << 10});
    HOLDS(mode_of(api_path(*state, "q")) & S_ISGID && mode_of(api_path(*state, "q/log")) & S_ISGID);
}

/* ---- other users ----------------------------------------------------------------------- */

/* In a child: to be somebody who owns nothing here. */
static bool become_nobody(const char *directory)
{
    HOLDS(chdir(directory) == 0); /* the way here may be closed to others */
    return getuid() == 0 && setresgid(NOBODY, NOBODY, NOBODY) == 0 && setresuid(NOBODY, NOBODY, NOBODY) == 0;
}

static void run_as_nobody(void **state, int (*body)(void *))
{
    HOLDS(chmod(*state, 0755) == 0);
    int result = child_run(body, *state);
    HOLDS(chmod(*state, 0700) == 0);
    if (result == CHILD_SKIP) skip();
    EQUAL(result, 0);
}

static int look_only(void *directory)
{
    if (!become_nobody(directory)) return CHILD_SKIP;
    struct survey found = survey("q");
    CHECK(found.verified == LQ_OK && found.opened == LQ_OK && found.read == MESSAGES);
    CHECK(found.opened_to_write == LQ_EACCESS);
    IS(LQ_EACCESS, try_open("q", 0));
    TEXT_HAS("meta", "ermission denied");
    return 0;
}

static void who_may_only_read_reads(void **state)
{
    lq_options options = small;
    options.mode = 0644;
    make_queue(state, &options);
    struct api_tree *tree = api_tree_read(api_path(*state, "q"));
    run_as_nobody(state, look_only);
    HOLDS(api_tree_same(tree, NULL));
    api_tree_free(tree);
}

static int write_only(void *directory)
{
    if (!become_nobody(directory)) return CHILD_SKIP;
    for (unsigned flags = 0; flags < 3; flags++) IS(LQ_EACCESS, try_open("q", flags));
    IS(LQ_EACCESS, lq_verify("q", 0, NULL, NULL, NULL));
    return 0;
}

static void who_may_only_write_is_refused(void **state)
{
    static const char *const files[] = {"q/meta", "q/shared", "q/consumers/c.pos", "q/consumers/survey.pos"};
    make_queue(state, &small);
    struct api_tree *tree = api_tree_read(api_path(*state, "q"));
    HOLDS(chmod(api_path(*state, "q"), 0733) == 0 && chmod(api_path(*state, "q/log"), 0733) == 0 && chmod(api_path(*state, "q/consumers"), 0733) == 0);
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) HOLDS(chmod(api_path(*state, files[i]), 0622) == 0);
    run_as_nobody(state, write_only);
    HOLDS(chmod(api_path(*state, "q"), 0700) == 0);
    HOLDS(api_tree_same(tree, NULL));
    api_tree_free(tree);
}

/* Half a permission: the directory is open to all, one part in it is not. */
static int half_open(void *directory)
{
    if (!become_nobody(directory)) return CHILD_SKIP;
    int err = try_open("q", 0);
    CHECK(err == LQ_EACCESS);
    CHECK(strstr(lq_error_text(), "ermission denied"));
    return 0;
}

static void what_is_half_open_is_shut_and_said(void **state)
{
    static const struct {
        const char *part;
        mode_t shut, open;
    } parts[] = {{"q/meta", 0644, 0666}, {"q/shared", 0644, 0666}, {"q/log", 0700, 0777}, {"q/consumers", 0700, 0777}};
    lq_options options = small;
    options.mode = 0666;
    make_queue(state, &options);
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        HOLDS(chmod(api_path(*state, parts[i].part), parts[i].shut) == 0);
        run_as_nobody(state, half_open);
        HOLDS(chmod(api_path(*state, parts[i].part), parts[i].open) == 0);
    }
    struct survey found = survey(api_path(*state, "q"));
    HOLDS(found.verified == LQ_OK && found.read == MESSAGES && found.put == LQ_OK);
}

static int put_and_get(void *directory)
{
    if (!become_nobody(directory)) return CHILD_SKIP;
    umask(077); /* his files are to be open to the others all the same */
    lq_queue *queue;
    CHECK(lq_open("q", NULL, &queue) == LQ_OK);
    lq_consumer *consumer = api_consumer(queue, "c", NULL);
    uint64_t last = api_stats(queue).last_id;
    api_put_range(queue, last + 1, last + 40, BODY);
    api_take_range(consumer, 1, 20, BODY);
    OK(lq_consumer_close(consumer));
    OK(lq_consumer_close(api_consumer(queue, "of-nobody", NULL)));
    OK(lq_close(queue));
    return 0;
}

static void two_users_share_a_queue_that_is_open_to_both(void **state)
{
    lq_options options = small;
    options.mode = 0666;
    mode_t mask = umask(022);
    make_queue(state, &options);
    run_as_nobody(state, put_and_get);
    lq_queue *queue = api_open(state, NULL);
    lq_consumer *consumer = api_consumer(queue, "c", NULL);
    api_take_range(consumer, 21, MESSAGES + 40, BODY);
    OK(lq_consumer_close(consumer));
    OK(lq_consumer_close(api_consumer(queue, "of-nobody", NULL)));
    api_put_range(queue, MESSAGES + 41, MESSAGES + 80, BODY);
    OK(lq_close(queue));
    umask(mask);
    /* And once more the other: what the first has made meanwhile is open to him. */
    queue = api_open(state, NULL);
    OK(lq_consumer_delete(queue, "c"));
    OK(lq_consumer_close(api_consumer(queue, "c", NULL)));
    OK(lq_close(queue));
    HOLDS(chmod(api_path(*state, "q"), 0777) == 0);
}

/* A queue that belongs to somebody else is a queue as any, for those who may write there: what its owner can do to
 * it is in the header. */
static int make_as_nobody(void *directory)
{
    if (!become_nobody(directory)) return CHILD_SKIP;
    void *state[1] = {(void *)(uintptr_t)"."};
    make_queue(state, &small);
    return 0;
}

static void a_queue_of_another_user_is_a_queue(void **state)
{
    HOLDS(chmod(*state, 0777) == 0);
    int result = child_run(make_as_nobody, *state);
    HOLDS(chmod(*state, 0700) == 0);
    if (result == CHILD_SKIP) skip();
    EQUAL(result, 0);
    struct survey found = survey(api_path(*state, "q"));
    HOLDS(found.verified == LQ_OK && found.read == MESSAGES && found.got == MESSAGES && found.put == LQ_OK && found.closed == LQ_OK);
}

/* ---- a directory where everybody may make names ------------------------------------------ */

static int set_traps(void *directory)
{
    if (!become_nobody(directory)) return CHILD_SKIP;
    /* A name that leads into somebody's directory; queues whose parts lead there. */
    CHECK(symlink("../victims", "shared/straight") == 0);
    CHECK(mkdir("shared/log-trap", 0777) == 0 && symlink("../../victims", "shared/log-trap/log") == 0);
    CHECK(mkdir("shared/consumers-trap", 0777) == 0 && symlink("../../victims", "shared/consumers-trap/consumers") == 0);
    CHECK(mkdir("shared/meta-trap", 0777) == 0 && symlink("../../victims/file", "shared/meta-trap/meta") == 0);
    CHECK(mkdir("shared/shared-trap", 0777) == 0 && symlink("../../victims/file", "shared/shared-trap/shared") == 0);
    return 0;
}

static void traps_in_a_shared_directory_catch_nothing(void **state)
{
    static const char *const traps[] = {"shared/straight", "shared/log-trap", "shared/consumers-trap", "shared/meta-trap", "shared/shared-trap"};
    const char *shared = api_path(*state, "shared"), *victims = api_path(*state, "victims");

    HOLDS(mkdir(shared, 0700) == 0 && chmod(shared, 01777) == 0 && mkdir(victims, 0700) == 0);
    api_file_write(api_path(*state, "victims/file"), victims_text, sizeof victims_text);
    run_as_nobody(state, set_traps);
    struct api_tree *tree = api_tree_read(api_path(*state, "victims"));
    for (size_t i = 0; i < sizeof traps / sizeof *traps; i++)
        for (unsigned flags = 0; flags < 3; flags++) {
            int err = try_open(api_path(*state, traps[i]), flags);
            if (!err) EQUAL(flags, LQ_READ_ONLY); /* of a queue without its consumers there is a log to read */
            else HOLDS(err == LQ_ENOTQUEUE || err == LQ_ECORRUPT || err == LQ_EACCESS || err == LQ_ENOTFOUND);
        }
    HOLDS(api_tree_same(tree, NULL));
    api_tree_free(tree);
    HOLDS(unlink(api_path(*state, "victims/file")) == 0 && rmdir(api_path(*state, "victims")) == 0); /* nothing was added */
    HOLDS(mkdir(api_path(*state, "victims"), 0700) == 0);
    api_file_write(api_path(*state, "victims/file"), victims_text, sizeof victims_text);
}

/* ---- names of consumers --------------------------------------------------------------------- */

static void hostile_names_of_consumers_are_refused_everywhere(void **state)
{
    char longest[LQ_NAME_MAX + 1], too_long[LQ_NAME_MAX + 2];
    memset(longest, 'n', sizeof longest - 1), longest[LQ_NAME_MAX] = 0;
    memset(too_long, 'n', sizeof too_long - 1), too_long[LQ_NAME_MAX + 1] = 0;
    const char *bad[] = {"", ".", "..", ".lock", "-x", "a/b", "../x", "a b", "a\nb", "\x1b[2J", "a\x7f", "caf\xc3\xa9", "\xff", "a\\b", "a:b",
                         "a*", "a\"b", "a'b", "$x", "a;b", "a%sb", "x.pos/..", too_long};
    const char *good[] = {"a", "A", "a.b", "x.pos", "a-b", "_", "0", "con", "a..b", "x.new", longest};
    lq_queue *queue = api_open(state, NULL);
    lq_consumer *consumer;
    lq_consumer_stats stats = {.size = sizeof stats};

    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        IS(LQ_ENAME, lq_consumer_open(queue, bad[i], NULL, &consumer));
        IS(LQ_ENAME, lq_consumer_delete(queue, bad[i]));
        IS(LQ_ENAME, lq_get_consumer_stats(queue, bad[i], &stats));
    }
    EQUAL(api_stats(queue).consumers, 0);
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) OK(lq_consumer_close(api_consumer(queue, good[i], NULL)));
    EQUAL(api_stats(queue).consumers, sizeof good / sizeof *good); /* "a" and "A" are two */
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) HOLDS(strcmp(api_consumer_stats(queue, good[i]).name, good[i]) == 0);
    OK(lq_close(queue));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_DIRECTORY(a_stranger_called_meta_keeps_the_queue_shut),
        IN_DIRECTORY(a_stranger_called_as_a_segment_costs_that_segment),
        IN_DIRECTORY(a_stranger_called_as_an_offset_file_stops_that_consumer),
        IN_DIRECTORY(a_stranger_called_as_a_directory_is_not_entered),
        IN_DIRECTORY(a_stranger_called_as_the_queue_is_no_queue),
        IN_DIRECTORY(a_symbolic_link_to_a_queue_is_followed_when_it_is_opened),
        IN_DIRECTORY(directories_swapped_under_an_open_handle_are_not_entered),
        IN_DIRECTORY(files_have_the_modes_that_were_asked_for_whatever_the_umask),
        IN_DIRECTORY(the_group_of_a_directory_is_inherited_as_ever),
        IN_DIRECTORY(who_may_only_read_reads),
        IN_DIRECTORY(who_may_only_write_is_refused),
        IN_DIRECTORY(what_is_half_open_is_shut_and_said),
        IN_DIRECTORY(two_users_share_a_queue_that_is_open_to_both),
        IN_DIRECTORY(a_queue_of_another_user_is_a_queue),
        IN_DIRECTORY(traps_in_a_shared_directory_catch_nothing),
        IN_DIRECTORY(hostile_names_of_consumers_are_refused_everywhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
