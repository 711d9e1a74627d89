/* Other users: umasks and modes, those who may only read or only write, those who share a queue, and directories in which
 * everybody may make names. Who may not is told so; nothing that somebody else has prepared leads out of a queue. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "support/api.h"
#include "support/child.h"
#include "support/place_of_strangers.h"
#include "support/survey.h"

enum { NOBODY = 65534 };

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_DIRECTORY(files_have_the_modes_that_were_asked_for_whatever_the_umask),
        IN_DIRECTORY(the_group_of_a_directory_is_inherited_as_ever),
        IN_DIRECTORY(who_may_only_read_reads),
        IN_DIRECTORY(who_may_only_write_is_refused),
        IN_DIRECTORY(what_is_half_open_is_shut_and_said),
        IN_DIRECTORY(two_users_share_a_queue_that_is_open_to_both),
        IN_DIRECTORY(a_queue_of_another_user_is_a_queue),
        IN_DIRECTORY(traps_in_a_shared_directory_catch_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
