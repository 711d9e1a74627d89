/* What repair leaves alone: links, which lead to something that may be good; a queue that somebody uses, or about which that cannot
 * be known; and what others do while it is about to begin, which is no damage. */
#include <errno.h>
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

#include "queue.h"
#include "repair.h"
#include "support/api.h"
#include "support/io_fault.h"

enum { MESSAGES = 40, BODY = 4000 }; /* three segments */

static const lq_options small = {.sync = LQ_SYNC_NEVER, .segment_size = 64 << 10, .ring_size = 64 << 10};

/* "q", of which the consumer c has settled the first half. */
static const char *make_queue(void **state)
{
    lq_queue *queue = api_open(state, &small);
    lq_consumer *consumer = api_consumer(queue, "c", NULL);
    api_put_range(queue, 1, MESSAGES, BODY);
    api_take_range(consumer, 1, 10, BODY);
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
    return api_path(*state, "q");
}

/* Neither a dry run nor a repair, and neither has changed anything. */
static void is_refused(const char *queue, int code, const char *file, const char *why)
{
    struct api_tree *before = api_tree_read(queue);
    for (unsigned flags = LQ_REPAIR_DRY_RUN;; flags = 0) {
        lq_repair_result result = {.size = sizeof result};
        IS(code, lq_repair(queue, flags, NULL, NULL, &result));
        TEXT_HAS(file, why);
        EQUAL(result.steps, 0);
        if (!flags) break;
    }
    HOLDS(api_tree_same(before, NULL));
    HOLDS(!api_file_exists(api_path(queue, "aside")));
    api_tree_free(before);
}

static void is_sound(const char *queue)
{
    lq_repair_result result = {.size = sizeof result};
    OK(lq_repair(queue, 0, NULL, NULL, &result));
    EQUAL(result.steps, 0);
    OK(lq_verify(queue, 0, NULL, NULL, NULL));
}

static const char *part_of(const char *queue, int which)
{
    static const char *const parts[] = {"meta", "consumers/c.pos", "shared", "consumers", "log"};
    return which < 5 ? parts[which] : api_segment(queue, (size_t)which - 5) + strlen(queue) + 1;
}
enum { DIRECTORIES = 3, SEGMENTS = 5, PARTS = 8 };

/* ---- links ---------------------------------------------------------------------- */

static void a_file_that_has_another_name_is_not_set_aside(void **state)
{
    char queue[4096], path[4096], other[4096];
    strcpy(queue, make_queue(state));
    for (int which = 0; which < PARTS; which++) {
        if (which >= DIRECTORIES && which < SEGMENTS) continue;
        strcpy(path, api_path(queue, part_of(queue, which)));
        strcpy(other, api_path(*state, "other"));
        HOLDS(link(path, other) == 0);
        is_refused(queue, LQ_ECORRUPT, part_of(queue, which), "hard link");
        HOLDS(unlink(other) == 0);
        is_sound(queue);
    }
}

static void a_symbolic_link_is_not_set_aside_though_its_target_may_be_gone(void **state)
{
    char queue[4096], path[4096], away[4096];
    strcpy(queue, make_queue(state));
    for (int which = 0; which < PARTS; which++) {
        const char *part = part_of(queue, which);
        strcpy(path, api_path(queue, part));
        strcpy(away, api_path(*state, "away"));
        HOLDS(rename(path, away) == 0);
        for (int dangling = 0; dangling < 2; dangling++) {
            HOLDS(symlink(dangling ? "nowhere" : away, path) == 0);
            is_refused(queue, LQ_ECORRUPT, part, "symbolic link");
            HOLDS(unlink(path) == 0);
        }
        HOLDS(rename(away, path) == 0);
        is_sound(queue);
    }
}

static void a_directory_or_a_pipe_in_the_place_of_a_file_is_set_aside(void **state)
{
    for (int pipe = 0; pipe < 2; pipe++)
        for (int which = 0; which < PARTS; which++) {
            char inner[4096], queue[4096], path[4096];
            void *inside[1] = {inner};
            lq_repair_result result = {.size = sizeof result};
            if (!pipe && which >= DIRECTORIES && which < SEGMENTS) continue; /* that is what it should be */
            snprintf(inner, sizeof inner, "%s/%d-%d", (const char *)*state, pipe, which);
            HOLDS(mkdir(inner, 0700) == 0);
            strcpy(queue, make_queue(inside));
            strcpy(path, api_path(queue, part_of(queue, which)));
            HOLDS(rename(path, api_path(inner, "away")) == 0);
            HOLDS(pipe ? mkfifo(path, 0600) == 0 : mkdir(path, 0700) == 0);
            OK(lq_repair(queue, LQ_REPAIR_DRY_RUN, NULL, NULL, &result));
            HOLDS(result.steps >= 1);
            OK(lq_repair(queue, 0, NULL, NULL, &result));
            HOLDS(result.steps >= 1);
            HOLDS(api_file_exists(api_path(queue, "aside")));
            is_sound(queue);
        }
}

/* ---- who may have it open --------------------------------------------------------- */

static struct {
    struct lqi_io io;
    const char *name; /* of the file whose opening fails */
    int error;
    void (*before_lock)(const char *queue); /* what others do before repair has the lock */
    const char *queue;
} machine;

static int machine_open(const struct lqi_io *io, int dir, const char *name, int flags, uint32_t mode, int *fd_out)
{
    if (machine.name && strcmp(name, machine.name) == 0) return machine.error;
    return lqi_io_posix.open(io, dir, name, flags, mode, fd_out);
}

static int machine_lock(const struct lqi_io *io, int fd, uint64_t byte)
{
    void (*first)(const char *queue) = machine.before_lock;
    machine.before_lock = NULL;
    if (first) first(machine.queue);
    return lqi_io_posix.lock(io, fd, byte);
}

static const struct lqi_io *use_machine(const char *queue)
{
    memset(&machine, 0, sizeof machine);
    machine.io = lqi_io_posix;
    machine.io.open = machine_open;
    machine.io.lock = machine_lock;
    machine.queue = queue;
    return &machine.io;
}

static void who_cannot_look_whether_the_working_memory_is_locked_does_not_repair(void **state)
{
    static const struct {
        int error, code;
    } cases[] = {{EMFILE, LQ_ELIMIT}, {EACCES, LQ_EACCESS}, {ENOMEM, LQ_ENOMEM}, {EIO, LQ_EIO}};
    char queue[4096];
    strcpy(queue, make_queue(state));
    /* It is in use, and `shared` alone tells. */
    lq_queue *user = api_open(state, NULL);
    HOLDS(remove(api_path(queue, "meta")) == 0);
    const struct lqi_io *io = use_machine(queue);
    machine.name = "shared";
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        machine.error = cases[i].error;
        IS(cases[i].code, lqi_repair_io(io, queue, 0, NULL, NULL, NULL));
        TEXT_HAS("shared");
    }
    machine.name = NULL;
    IS(LQ_EBUSY, lqi_repair_io(io, queue, 0, NULL, NULL, NULL));
    HOLDS(!api_file_exists(api_path(queue, "meta")) && !api_file_exists(api_path(queue, "aside")));
    OK(lq_close(user));
    OK(lq_repair(queue, 0, NULL, NULL, NULL));
    is_sound(queue);
}

/* Two of three segments go. */
static void consume_all(const char *path)
{
    lq_queue *queue;
    OK(lq_open(path, NULL, &queue));
    lq_consumer *consumer = api_consumer(queue, "c", NULL);
    api_take_range(consumer, 11, MESSAGES, BODY);
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
}

static void what_retention_deletes_before_repair_has_the_lock_is_not_missing(void **state)
{
    lq_repair_result result = {.size = sizeof result};
    char queue[4096];
    strcpy(queue, make_queue(state));
    const struct lqi_io *io = use_machine(queue);
    machine.before_lock = consume_all;
    OK(lqi_repair_io(io, queue, 0, NULL, NULL, &result));
    HOLDS(machine.before_lock == NULL);
    EQUAL(result.steps, 0);
    EQUAL(result.lost, 0);
    HOLDS(api_segment(queue, 1) == NULL);
    is_sound(queue);
}

static void repair_first(const char *queue)
{
    OK(lq_repair(queue, 0, NULL, NULL, NULL));
}

/* It has the lock of a file that is no longer the queue's. */
static void of_two_repairs_at_once_the_slower_is_refused(void **state)
{
    char queue[4096];
    strcpy(queue, make_queue(state));
    api_file_flip(api_path(queue, "meta"), 100, 1);
    const struct lqi_io *io = use_machine(queue);
    machine.before_lock = repair_first;
    IS(LQ_EBUSY, lqi_repair_io(io, queue, 0, NULL, NULL, NULL));
    is_sound(queue);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_DIRECTORY(a_file_that_has_another_name_is_not_set_aside),
        IN_DIRECTORY(a_symbolic_link_is_not_set_aside_though_its_target_may_be_gone),
        IN_DIRECTORY(a_directory_or_a_pipe_in_the_place_of_a_file_is_set_aside),
        IN_DIRECTORY(who_cannot_look_whether_the_working_memory_is_locked_does_not_repair),
        IN_DIRECTORY(what_retention_deletes_before_repair_has_the_lock_is_not_missing),
        IN_DIRECTORY(of_two_repairs_at_once_the_slower_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
