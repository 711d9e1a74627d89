/* Strangers: links, pipes, devices and sockets where a queue's files should be, directories swapped under an open handle, names
 * that are none. Nothing is followed, nothing hangs, nothing outside of the queue is read or written, and when the stranger is
 * gone, everything is back. */
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
#include "support/place_of_strangers.h"
#include "support/survey.h"

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
        IN_DIRECTORY(hostile_names_of_consumers_are_refused_everywhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
