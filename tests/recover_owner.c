/* Whose the files of a queue are when somebody else has been at work in it: root, who repairs it, opens it after a failed sync,
 * puts into it or consumes; or another member of the group. The owner is never locked out of his own queue. As root only. */
#include <dirent.h>
#include <errno.h>
#include <grp.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

#include "queue.h"
#include "repair.h"
#include "support/api.h"
#include "support/child.h"
#include "support/io_fault.h"

enum { OWNER = 65534, OWNERS_GROUP = 65533, FRIEND = 65532, FRIENDS_GROUP = 65531, MESSAGES = 40, BODY = 4000 }; /* three segments */

static lq_options small = {.size = sizeof small, .sync = LQ_SYNC_NEVER, .segment_size = 64 << 10, .ring_size = 64 << 10};

/* ---- being somebody else ----------------------------------------------------------- */

/* In a child: to be somebody, of his own group and one more. */
static void become(uid_t user, gid_t group, gid_t another)
{
    CHECK(setgroups(1, &another) == 0 && setresgid(group, group, group) == 0 && setresuid(user, user, user) == 0);
}

struct visit {
    const char *directory; /* where the queue "q" is */
    bool friend;           /* it is he, and not the owner */
    int (*body)(void);
};

static int visit(void *context)
{
    const struct visit *visit = context;
    CHECK(chdir(visit->directory) == 0);
    if (visit->friend) become(FRIEND, FRIENDS_GROUP, OWNERS_GROUP);
    else become(OWNER, OWNERS_GROUP, OWNERS_GROUP);
    return visit->body();
}

static void as_owner(void **state, int (*body)(void))
{
    EQUAL(child_run(visit, &(struct visit){*state, false, body}), 0);
}

static void as_friend(void **state, int (*body)(void))
{
    EQUAL(child_run(visit, &(struct visit){*state, true, body}), 0);
}

static int owner_makes(void)
{
    lq_queue *queue;
    OK(lq_open("q", &small, &queue));
    lq_consumer *consumer = api_consumer(queue, "c", NULL);
    api_put_range(queue, 1, MESSAGES, BODY);
    api_take_range(consumer, 1, 5, BODY);
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
    return 0;
}

/* All that an owner does with his queue; what he put and has not consumed is there, and comes. */
static int owner_uses(void)
{
    lq_queue *queue;
    lq_message message;
    uint64_t id, count = 0;
    char body[BODY];

    OK(lq_open("q", NULL, &queue));
    for (unsigned i = 0; i < MESSAGES; i++) { /* rolls twice */
        uint64_t next = api_stats(queue).last_id + 1;
        api_fill(body, sizeof body, next);
        OK(lq_put(queue, body, sizeof body, &id));
        EQUAL(id, next);
    }
    lq_consumer *consumer = api_consumer(queue, "c", NULL);
    while (lq_poll(consumer, &message) == LQ_OK) {
        count++;
        OK(lq_ack(consumer, &message));
    }
    HOLDS(count >= MESSAGES);
    OK(lq_consumer_close(consumer));
    OK(lq_consumer_close(api_consumer(queue, "another", NULL)));
    OK(lq_close(queue));
    OK(lq_verify("q", 0, NULL, NULL, NULL));
    OK(lq_repair("q", 0, NULL, NULL, NULL));
    return 0;
}

/* ---- looking ------------------------------------------------------------------------- */

/* Everything below `path` and the directory itself. */
static unsigned belongs_to(const char *path, uid_t user, gid_t group, mode_t mode)
{
    struct stat there;
    unsigned count = 1;
    HOLDS(lstat(path, &there) == 0);
    if (there.st_uid != user || there.st_gid != group || (there.st_mode & 0666) != mode)
        api_note("%s is of %u:%u, %o", path, (unsigned)there.st_uid, (unsigned)there.st_gid, (unsigned)there.st_mode);
    HOLDS(there.st_uid == user && there.st_gid == group && (there.st_mode & 0666) == mode);
    if (!S_ISDIR(there.st_mode)) return count;
    DIR *listing = opendir(path);
    HOLDS(listing != NULL);
    for (struct dirent *entry; (entry = readdir(listing));) {
        char inner[4096];
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
        snprintf(inner, sizeof inner, "%s/%s", path, entry->d_name);
        count += belongs_to(inner, user, group, mode);
    }
    closedir(listing);
    return count;
}

static void all_is_the_owners(void **state)
{
    HOLDS(belongs_to(api_path(*state, "q"), OWNER, OWNERS_GROUP, small.mode) >= 8);
}

static int only_root(void **state)
{
    (void)state;
    return getuid() == 0;
}

/* A directory of the owner's, and a queue in it that he has made. */
static const char *begin(void **state, uint32_t mode)
{
    if (!only_root(state)) skip();
    HOLDS(chown(*state, OWNER, OWNERS_GROUP) == 0 && chmod(*state, 0755) == 0);
    small.mode = mode;
    as_owner(state, owner_makes);
    return api_path(*state, "q");
}

/* ---- repair ---------------------------------------------------------------------------- */

static void hit_meta(const char *queue) { api_file_flip(api_path(queue, "meta"), 100, 1); }
static void lose_meta(const char *queue) { HOLDS(remove(api_path(queue, "meta")) == 0); }
static void hit_record(const char *queue) { api_file_flip(api_segment(queue, 0), 5000, 1); }
static void hit_header(const char *queue)
{
    api_file_flip(api_segment(queue, 1), 0, 1);
    api_file_flip(api_segment(queue, 1), 128, 1);
}
static void lose_segment(const char *queue) { HOLDS(remove(api_segment(queue, 1)) == 0); }
static void hit_position(const char *queue)
{
    api_file_flip(api_path(queue, "consumers/c.pos"), 60, 1);
    api_file_flip(api_path(queue, "consumers/c.pos"), 600, 1);
}
static void lose_positions(const char *queue)
{
    HOLDS(remove(api_path(queue, "consumers/c.pos")) == 0 && rmdir(api_path(queue, "consumers")) == 0);
}
static void hit_all(const char *queue)
{
    hit_meta(queue);
    hit_record(queue);
    hit_header(queue);
    hit_position(queue);
}

static void (*const damages[])(const char *) = {hit_meta, lose_meta, hit_record, hit_header, lose_segment, hit_position, lose_positions, hit_all};

static void a_queue_that_root_repairs_is_its_owners(void **state)
{
    static const uint32_t modes[] = {0600, 0664};
    char inner[4096];
    void *inside[1] = {inner};

    if (!only_root(state)) skip();
    HOLDS(chmod(*state, 0755) == 0);
    for (size_t m = 0; m < sizeof modes / sizeof *modes; m++)
        for (size_t i = 0; i < sizeof damages / sizeof *damages; i++) {
            snprintf(inner, sizeof inner, "%s/%zu-%zu", (const char *)*state, m, i);
            HOLDS(mkdir(inner, 0700) == 0);
            char queue[4096];
            strcpy(queue, begin(inside, modes[m]));
            damages[i](queue);
            OK(lq_repair(queue, 0, NULL, NULL, NULL));
            HOLDS(api_file_exists(api_path(queue, "aside")) || damages[i] == lose_positions);
            all_is_the_owners(inside);
            as_owner(inside, owner_uses);
            all_is_the_owners(inside);
        }
}

/* A queue that two use, of whom neither has made the directory. */
static void a_file_that_is_replaced_stays_with_who_it_belonged_to(void **state)
{
    char queue[4096], files[3][4096];
    strcpy(queue, begin(state, 0666));
    hit_all(queue);
    strcpy(files[0], api_path(queue, "meta"));
    strcpy(files[1], api_segment(queue, 0));
    strcpy(files[2], api_path(queue, "consumers/c.pos"));
    for (int i = 0; i < 3; i++) HOLDS(chown(files[i], FRIEND, FRIENDS_GROUP) == 0 && chmod(files[i], 0646) == 0);
    OK(lq_repair(queue, 0, NULL, NULL, NULL));
    for (int i = 0; i < 3; i++) HOLDS(belongs_to(files[i], FRIEND, FRIENDS_GROUP, 0646) == 1);
    OK(lq_verify(queue, 0, NULL, NULL, NULL));
}

static void in_the_place_of_what_is_no_file_comes_one_of_the_owners(void **state)
{
    char queue[4096], path[4096];
    strcpy(queue, begin(state, 0600));
    strcpy(path, api_segment(queue, 1));
    HOLDS(remove(path) == 0 && mkdir(path, 0700) == 0); /* root's */
    OK(lq_repair(queue, 0, NULL, NULL, NULL));
    HOLDS(belongs_to(api_segment(queue, 1), OWNER, OWNERS_GROUP, 0600) == 1);
    as_owner(state, owner_uses);
}

/* ---- other work of root's --------------------------------------------------------------- */

static int owner_poisons(void)
{
    struct io_fault fault;
    lq_queue *queue;
    io_fault_init(&fault, &lqi_io_posix);
    OK(lqi_open_io(&fault.io, "q", NULL, &queue));
    OK(lq_put(queue, "in doubt", 8, NULL));
    io_fault_plan(&fault, IO_SYNC, 1, false, EIO);
    IS(LQ_EPOISONED, lq_sync(queue));
    _exit(0);
}

static void a_queue_that_root_opens_after_a_failed_sync_is_its_owners(void **state)
{
    lq_queue *queue;
    struct stat before, after;
    char path[4096];
    strcpy(path, api_segment(begin(state, 0640), 2));
    as_owner(state, owner_poisons);
    HOLDS(stat(path, &before) == 0);
    OK(lq_open(api_path(*state, "q"), NULL, &queue));
    OK(lq_close(queue));
    HOLDS(stat(path, &after) == 0 && after.st_ino != before.st_ino); /* it was replaced */
    all_is_the_owners(state);
    as_owner(state, owner_uses);
}

static void what_root_puts_and_consumes_is_in_files_of_the_owners(void **state)
{
    lq_queue *queue;
    begin(state, 0600);
    HOLDS(remove(api_path(*state, "q/shared")) == 0);
    OK(lq_open(api_path(*state, "q"), NULL, &queue));
    api_put_range(queue, MESSAGES + 1, 3 * MESSAGES, BODY);
    OK(lq_consumer_close(api_consumer(queue, "of-root", NULL)));
    OK(lq_close(queue));
    HOLDS(api_segment(api_path(*state, "q"), 5) != NULL);
    all_is_the_owners(state);
    as_owner(state, owner_uses);
}

/* Nothing is given away that nobody asked for: it is root's queue, wherever it is. */
static void a_queue_that_root_makes_in_somebodys_directory_is_roots(void **state)
{
    lq_queue *queue;
    if (!only_root(state)) skip();
    HOLDS(chown(*state, OWNER, OWNERS_GROUP) == 0);
    OK(lq_open(api_path(*state, "q"), NULL, &queue));
    OK(lq_close(queue));
    HOLDS(belongs_to(api_path(*state, "q"), 0, getegid(), 0600) >= 5);
}

/* ---- killed in the middle of it ---------------------------------------------------------- */

/* Who makes something for others has to give it to them, and to see to its mode: he is killed at the n-th of these calls. */
static unsigned killed_at, given;

static void count_gift(void)
{
    if (++given == killed_at) raise(SIGKILL);
}

int fchown(int fd, uid_t user, gid_t group)
{
    count_gift();
    return (int)syscall(SYS_fchown, fd, user, group);
}

int fchmod(int fd, mode_t mode)
{
    count_gift();
    return (int)syscall(SYS_fchmod, fd, mode);
}

static int root_makes_uses_and_repairs(void *context)
{
    const lq_options options = {.size = sizeof options, .sync = LQ_SYNC_NEVER, .segment_size = 64 << 10, .ring_size = 64 << 10, .mode = 0660};
    lq_queue *queue;
    CHECK(chdir(context) == 0);
    umask(077);
    given = 0;
    OK(lq_open("q", &options, &queue));
    lq_consumer *consumer = api_consumer(queue, "c", NULL);
    api_put_range(queue, 1, MESSAGES, BODY);
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
    hit_meta("q");
    OK(lq_repair("q", 0, NULL, NULL, NULL));
    return 0;
}

static int friend_opens(void)
{
    lq_queue *queue;
    OK(lq_open("q", NULL, &queue));
    OK(lq_consumer_close(api_consumer(queue, "of-a-friend", NULL)));
    OK(lq_close(queue));
    return 0;
}

/* What root was about to mend, he can mend himself. */
static int owner_repairs_and_uses(void)
{
    if (api_file_exists("q/meta")) OK(lq_repair("q", 0, NULL, NULL, NULL));
    return owner_uses();
}

/* In a directory that its owner has made for the queue. */
static void root_may_be_killed_while_he_makes_files_and_locks_nobody_out(void **state)
{
    char inner[4096], queue[4200];
    void *inside[1] = {inner};
    int result = 100 + SIGKILL;

    if (!only_root(state)) skip();
    HOLDS(chmod(*state, 0755) == 0);
    for (killed_at = 1; result != 0; killed_at++) {
        snprintf(inner, sizeof inner, "%s/%u", (const char *)*state, killed_at);
        snprintf(queue, sizeof queue, "%s/q", inner);
        HOLDS(mkdir(inner, 0755) == 0 && mkdir(queue, 0770) == 0);
        HOLDS(chown(inner, OWNER, OWNERS_GROUP) == 0 && chown(queue, OWNER, OWNERS_GROUP) == 0 && chmod(queue, 0770) == 0);
        result = child_run(root_makes_uses_and_repairs, inner);
        HOLDS(result == 0 || result == 100 + SIGKILL);
        if (api_file_exists(api_path(queue, "meta"))) as_friend(inside, friend_opens);
        as_owner(inside, owner_repairs_and_uses);
    }
    HOLDS(killed_at > 12);
    killed_at = 0;
}

/* ---- a friend's work ---------------------------------------------------------------------- */

static int friend_repairs(void)
{
    OK(lq_repair("q", 0, NULL, NULL, NULL));
    return 0;
}

static int friend_puts(void)
{
    lq_queue *queue;
    OK(lq_open("q", NULL, &queue));
    api_put_range(queue, MESSAGES + 1, 3 * MESSAGES, BODY);
    OK(lq_consumer_close(api_consumer(queue, "of-a-friend", NULL)));
    OK(lq_close(queue));
    return 0;
}

static void what_a_member_of_the_group_puts_is_open_to_the_group_whichever_is_his_own(void **state)
{
    begin(state, 0660);
    as_friend(state, friend_puts);
    as_owner(state, owner_uses);
    as_friend(state, friend_repairs);
}

/* He cannot give files to somebody else, but to the group that both are in. */
static void what_a_member_of_the_group_repairs_stays_open_to_the_group(void **state)
{
    struct stat there;
    char queue[4096], files[3][4096];
    strcpy(queue, begin(state, 0660));
    hit_all(queue);
    as_friend(state, friend_repairs);
    strcpy(files[0], api_path(queue, "meta"));
    strcpy(files[1], api_segment(queue, 0));
    strcpy(files[2], api_path(queue, "consumers/c.pos"));
    for (int i = 0; i < 3; i++) {
        HOLDS(stat(files[i], &there) == 0);
        HOLDS(there.st_uid == FRIEND && there.st_gid == OWNERS_GROUP && (there.st_mode & 0777) == 0660);
    }
    as_owner(state, owner_uses);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_DIRECTORY(a_queue_that_root_repairs_is_its_owners),
        IN_DIRECTORY(a_file_that_is_replaced_stays_with_who_it_belonged_to),
        IN_DIRECTORY(in_the_place_of_what_is_no_file_comes_one_of_the_owners),
        IN_DIRECTORY(a_queue_that_root_opens_after_a_failed_sync_is_its_owners),
        IN_DIRECTORY(what_root_puts_and_consumes_is_in_files_of_the_owners),
        IN_DIRECTORY(a_queue_that_root_makes_in_somebodys_directory_is_roots),
        IN_DIRECTORY(root_may_be_killed_while_he_makes_files_and_locks_nobody_out),
        IN_DIRECTORY(what_a_member_of_the_group_puts_is_open_to_the_group_whichever_is_his_own),
        IN_DIRECTORY(what_a_member_of_the_group_repairs_stays_open_to_the_group),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
