/* The order of a repair, and what it says: each step with its file, where that went, what was wrong and what became of it. What
 * is none of its business stays, and a dry run says the same and does nothing. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "support/damage.h"
#include "support/repaired_queue.h"

/* ---- what is said --------------------------------------------------------------------------- */

static void of_a_sound_queue_nothing_is_said(void **state)
{
    new_queue(state);
    bool aside;
    struct api_tree *before = look(&aside);
    says("", "");
    is_unchanged(before, aside);
    drop_queue();
}

static void a_damaged_segment_is_told_with_the_messages_that_are_given_up(void **state)
{
    new_queue(state);
    api_file_flip(in_queue("log/00000000000000000001.seg"), LQI_SEGMENT_HEADER + 48 + LQI_RECORD_HEADER, 1);
    bool aside;
    struct api_tree *before = look(&aside);
    OK(repair(LQ_REPAIR_DRY_RUN));
    HOLDS(strncmp(said, "log/00000000000000000001.seg (): byte 304: body checksum ", 57) == 0);
    HOLDS(strstr(said, " -> written anew with all that is good in it, 1 from 2\n") != NULL);
    is_unchanged(before, aside);
    EQUAL(result.steps, 1);
    EQUAL(result.lost, 1);
    OK(repair(0));
    HOLDS(strncmp(said, "log/00000000000000000001.seg (aside/" WHEN "-log-00000000000000000001.seg): byte 304: ", 93) == 0);
    EQUAL(result.steps, 1);
    EQUAL(result.lost, 1);
    says("", "");
    drop_queue();
}

static void a_missing_segment_is_told_as_a_hole(void **state)
{
    new_queue(state);
    damage_remove(in_queue("log/00000000000000000001.seg"));
    says("log/00000000000000000001.seg (): this segment is missing -> a hole takes its place, 3 from 1\n",
         "log/00000000000000000001.seg (): this segment is missing -> a hole takes its place, 3 from 1\n");
    drop_queue();
}

/* It has the name of a message in the middle of another one. */
static void a_segment_whose_place_another_one_has_is_set_aside(void **state)
{
    new_queue(state);
    api_file_write(in_queue("log/00000000000000000002.seg"), "broken", 6);
    OK(repair(LQ_REPAIR_DRY_RUN));
    HOLDS(strncmp(said, "log/00000000000000000002.seg (): log/00000000000000000002.seg at byte ", 70) == 0);
    HOLDS(strstr(said, " -> set aside, 0 from 0\n") != NULL);
    EQUAL(result.steps, 1);
    OK(repair(0));
    HOLDS(strncmp(said, "log/00000000000000000002.seg (aside/" WHEN "-log-00000000000000000002.seg): ", 80) == 0);
    says("", "");
    drop_queue();
}

/* It has seen ids, and a place of the log, that are no more. */
static void what_an_offset_file_has_seen_durable_is_missing(void **state)
{
    new_queue(state);
    forge_position(queue, "c", 64, 2, &(struct forge_position_entry){.sequence = 1, .incarnation = 1, .durable = 1000, .durable_id = 9}, 1);
    says("log/00000000000000000004.seg (): its end is missing -> written anew with all that is good in it, 3 from 7\n",
         "log/00000000000000000004.seg (aside/" WHEN "-log-00000000000000000004.seg): its end is missing -> written anew with all that is good in it, 3 from 7\n");
    drop_queue();
}

/* By who mends it (libqueue/repair_consumers.c). */
static void a_damaged_offset_file_is_told_and_set_aside(void **state)
{
    new_queue(state);
    forge_position(queue, "c", 64, 2, &(struct forge_position_entry){.sequence = 1, .incarnation = 1, .floor = 2, .delivered = 2}, 1);
    api_file_flip(in_queue("consumers/c.pos"), 20, 1);
    OK(repair(LQ_REPAIR_DRY_RUN));
    HOLDS(strncmp(said, "consumers/c.pos (): ", 20) == 0);
    EQUAL(result.steps, 1);
    OK(repair(0));
    HOLDS(strncmp(said, "consumers/c.pos (aside/" WHEN "-consumers-c.pos): ", 55) == 0);
    EQUAL(result.steps, 1);
    says("", "");
    drop_queue();
}

static void the_messages_of_all_steps_are_counted_together(void **state)
{
    new_queue(state);
    for (int i = 0; i < 2; i++)
        api_file_flip(in_queue(i ? "log/00000000000000000004.seg" : "log/00000000000000000001.seg"), LQI_SEGMENT_HEADER + LQI_RECORD_HEADER, 1);
    OK(repair(0));
    EQUAL(result.steps, 2);
    EQUAL(result.lost, 2);
    drop_queue();
}

/* Nobody has to listen, or to ask for a result. */
static void it_can_be_done_silently(void **state)
{
    new_queue(state);
    api_file_write(in_queue("log/x"), "x", 1);
    OK(lqi_repair_io(&machine, queue, 0, NULL, NULL, NULL));
    HOLDS(!api_file_exists(in_queue("log/x")));
    drop_queue();
}

/* ---- directories ------------------------------------------------------------------------------- */

static unsigned mode_of(const char *name)
{
    struct stat stat_of_it;
    HOLDS(stat(in_queue(name), &stat_of_it) == 0);
    return stat_of_it.st_mode & 07777;
}

static char deeds[20]; /* a directory made, a directory synced */

static int note_make(const struct lqi_io *io, int parent, const char *name, uint32_t mode)
{
    if (strlen(deeds) + 1 < sizeof deeds) strcat(deeds, "m");
    return lqi_io_posix.dir_make(io, parent, name, mode);
}

static int note_sync(const struct lqi_io *io, int dir)
{
    if (strlen(deeds) + 1 < sizeof deeds) strcat(deeds, "s");
    return lqi_io_posix.dir_sync(io, dir);
}

static void a_directory_is_made_durably_whatever_the_mode(void **state)
{
    static const unsigned modes[][2] = {{0600, 0700}, {0660, 0770}, {0644, 0755}, {0666, 0777}};
    for (size_t i = 0; i < 4; i++) {
        new_queue(state);
        struct forge_meta meta = forge_meta;
        meta.mode = modes[i][0];
        HOLDS(scratch_delete(queue) == 0);
        forge_queue(queue, &meta);
        HOLDS(rmdir(in_queue("consumers")) == 0);
        machine.dir_make = note_make;
        machine.dir_sync = note_sync;
        deeds[0] = 0;
        OK(repair(0));
        assert_string_equal(deeds, "ms");
        EQUAL(mode_of("consumers"), modes[i][1]);
        drop_queue();
    }
}

static void a_missing_directory_is_made_for_those_who_may_use_the_queue(void **state)
{
    new_queue(state);
    HOLDS(rmdir(in_queue("consumers")) == 0);
    says("consumers (): the directory is missing -> made, empty, 0 from 0\n", "consumers (): the directory is missing -> made, empty, 0 from 0\n");
    EQUAL(mode_of("consumers"), 0750);
    drop_queue();
}

static void what_is_no_directory_is_set_aside_for_one(void **state)
{
    new_queue(state);
    HOLDS(rmdir(in_queue("consumers")) == 0);
    api_file_write(in_queue("consumers"), "a file", 6);
    says("consumers (): this is no directory -> set aside, 0 from 0\n"
         "consumers (): the directory is missing -> made, empty, 0 from 0\n",
         "consumers (aside/" WHEN "-consumers): this is no directory -> set aside, 0 from 0\n"
         "consumers (): the directory is missing -> made, empty, 0 from 0\n");
    HOLDS(api_file_exists(in_queue("aside/" WHEN "-consumers")));
    drop_queue();
}

static void a_missing_log_is_made_and_what_was_in_it_given_up(void **state)
{
    new_queue(state);
    HOLDS(scratch_delete(in_queue("log")) == 0);
    says("log (): the directory is missing -> made, empty, 0 from 0\n"
         "log/00000000000000000001.seg (): this segment is missing -> a hole takes its place, 6 from 1\n",
         "log (): the directory is missing -> made, empty, 0 from 0\n"
         "log/00000000000000000001.seg (): this segment is missing -> a hole takes its place, 6 from 1\n");
    EQUAL(mode_of("log"), 0750);
    EQUAL(mode_of("log/00000000000000000001.seg"), 0640);
    drop_queue();
}

/* ---- working memory ------------------------------------------------------------------------------- */

static void working_memory_that_is_none_is_set_aside(void **state)
{
    for (int kind = 0; kind < 2; kind++) {
        new_queue(state);
        if (kind) HOLDS(mkdir(in_queue("shared"), 0700) == 0);
        else HOLDS(mkfifo(in_queue("shared"), 0600) == 0);
        OK(repair(LQ_REPAIR_DRY_RUN));
        HOLDS(strncmp(said, "shared (): ", 11) == 0 && strstr(said, " -> set aside, 0 from 0\n") != NULL);
        EQUAL(result.steps, 1);
        OK(repair(0));
        HOLDS(strncmp(said, "shared (aside/" WHEN "-shared): ", 30) == 0);
        HOLDS(strstr(said, ": open shared") != NULL);
        EQUAL(result.steps, 1);
        OK(repair(0));
        assert_string_equal(said, "");
        drop_queue();
    }
}

static void put_and_die(void)
{
    pid_t child = fork();
    if (child == 0) {
        lq_queue *opened;
        if (lq_open(queue, &(lq_options){.size = sizeof(lq_options), .flags = LQ_NO_CREATE}, &opened)) _exit(1);
        _exit(lq_put(opened, "left", 4, NULL) != LQ_OK);
    }
    int status;
    HOLDS(waitpid(child, &status, 0) == child && status == 0);
}

static uint64_t messages_in(void)
{
    lq_verify_result found = {.size = sizeof found};
    OK(lqi_verify_io(&machine, queue, 0, NULL, NULL, &found));
    return found.messages;
}

static unsigned opened_to_write; /* `shared`: it was opened as openers do */

static int note_open(const struct lqi_io *io, int dir, const char *name, int flags, uint32_t mode, int *fd_out)
{
    opened_to_write += strcmp(name, "shared") == 0 && flags != LQI_OPEN_READ;
    return lqi_io_posix.open(io, dir, name, flags, mode, fd_out);
}

/* Before the log is looked at: it would be called torn, or missing. */
static void what_the_dead_have_left_is_brought_into_the_files_first(void **state)
{
    new_queue(state);
    put_and_die();
    api_file_write(in_queue("log/x"), "x", 1);
    machine.open = note_open;
    opened_to_write = 0;
    OK(repair(LQ_REPAIR_DRY_RUN));
    EQUAL(opened_to_write, 0);
    OK(repair(0));
    HOLDS(opened_to_write > 0);
    assert_string_equal(said, "log/x (aside/" WHEN "-log-x): this file is not the queue's -> set aside, 0 from 0\n");
    EQUAL(messages_in(), 7);
    opened_to_write = 0; /* it was closed as it should be: nothing is left in it */
    says("", "");
    EQUAL(opened_to_write, 0);
    drop_queue();
}

static int opens_left, opens_error; /* of `shared`, until one fails */

static int sick_open(const struct lqi_io *io, int dir, const char *name, int flags, uint32_t mode, int *fd_out)
{
    if (strcmp(name, "shared") == 0 && opens_left-- == 0) return opens_error;
    return lqi_io_posix.open(io, dir, name, flags, mode, fd_out);
}

static void working_memory_that_cannot_be_opened_is_an_error(void **state)
{
    new_queue(state);
    put_and_die();
    machine.open = sick_open;
    opens_error = EIO;
    for (opens_left = 0; opens_left < 2;) {
        int n = opens_left;
        IS(LQ_EIO, repair(LQ_REPAIR_DRY_RUN));
        TEXT_HAS("open shared: Input/output error");
        opens_left = n + 1;
    }
    drop_queue();
}

static int locks_left; /* until somebody else has it */

static int taken_lock(const struct lqi_io *io, int fd, uint64_t byte)
{
    return byte == LQI_BYTE_OPEN && locks_left-- == 0 ? EAGAIN : lqi_io_posix.lock(io, fd, byte);
}

/* The queue is opened and closed for it, and somebody may come in between. */
static void who_loses_the_lock_while_the_dead_are_looked_after_does_not_go_on(void **state)
{
    int refused = 0;
    new_queue(state);
    for (int n = 1; n < 6; n++) {
        put_and_die();
        api_file_write(in_queue("log/x"), "x", 1);
        machine.lock = taken_lock;
        locks_left = n;
        int err = repair(0);
        if (err) {
            IS(LQ_EBUSY, err);
            HOLDS(api_file_exists(in_queue("log/x")));
            refused++;
        }
        machine.lock = lqi_io_posix.lock;
    }
    HOLDS(refused >= 1);
    OK(repair(0));
    drop_queue();
}

static bool others_came;

/* Whoever waited for it takes all there is, so that the first segment is not needed any more. */
static void take_all(void)
{
    lq_queue *opened;
    OK(lq_open(queue, &(lq_options){.size = sizeof(lq_options), .flags = LQ_NO_CREATE}, &opened));
    lq_consumer *consumer = api_consumer(opened, "c", NULL);
    for (int i = 0; i < 6; i++) api_get_ack(consumer, "body");
    api_get_ack(consumer, "left");
    OK(lq_consumer_close(consumer));
    OK(lq_close(opened));
    HOLDS(!api_file_exists(in_queue("log/00000000000000000001.seg")));
}

static int let_others_in(const struct lqi_io *io, int fd, uint64_t byte)
{
    int error = lqi_io_posix.unlock(io, fd, byte);
    if (!others_came) others_came = true, take_all();
    return error;
}

/* The lock is let go while what the dead have left is brought in. */
static void what_others_delete_in_between_is_not_missing(void **state)
{
    new_queue(state);
    put_and_die();
    machine.unlock = let_others_in;
    others_came = false;
    OK(repair(0));
    HOLDS(others_came);
    assert_string_equal(said, "");
    drop_queue();
}

/* ---- what is not the queue's ------------------------------------------------------------------------- */

static void files_that_are_not_the_queues_are_set_aside_and_its_own_stay(void **state)
{
    new_queue(state);
    api_file_write(in_queue("log/00000000000000000009.new"), "prepared", 8); /* swept away by the next opener */
    api_file_write(in_queue("log/c.pos"), "x", 1);
    api_file_write(in_queue("consumers/00000000000000000009.seg"), "x", 1);
    api_file_write(in_queue("stranger"), "x", 1); /* in nobody's way */
    HOLDS(mkdir(in_queue("log/dir"), 0700) == 0);
    api_file_write(in_queue("log/00000000000000000008.new"), "prepared", 8); /* some are listed before what is not the queue's, some behind it */
    OK(repair(0));
    EQUAL(result.steps, 3);
    HOLDS(strstr(said, "log/c.pos (aside/" WHEN "-log-c.pos): this file is not the queue's -> set aside, 0 from 0\n") != NULL);
    HOLDS(strstr(said, "log/dir (aside/" WHEN "-log-dir): this file is not the queue's -> set aside, 0 from 0\n") != NULL);
    HOLDS(strstr(said, "consumers/00000000000000000009.seg (aside/" WHEN "-consumers-00000000000000000009.seg): ") != NULL);
    HOLDS(api_file_exists(in_queue("stranger")) && api_file_exists(in_queue("log/00000000000000000009.new")));
    says("", "");
    drop_queue();
}

/* Nothing else is wrong; and where there is no such directory, there is nothing to finish. */
static void what_an_earlier_repair_left_is_seen_to(void **state)
{
    new_queue(state);
    HOLDS(mkdir(in_queue("aside"), 0700) == 0 && mkdir(in_queue("aside/new"), 0700) == 0);
    api_file_write(in_queue("aside/new/x"), "x", 1);
    OK(repair(LQ_REPAIR_DRY_RUN));
    HOLDS(api_file_exists(in_queue("aside/new/x")));
    OK(repair(0));
    assert_string_equal(said, "");
    HOLDS(!api_file_exists(in_queue("aside/new/x")) && api_file_exists(in_queue("aside/" WHEN "-unfinished-x")));
    HOLDS(scratch_delete(in_queue("aside")) == 0);
    api_file_write(in_queue("aside"), "a file", 6);
    OK(repair(0));
    drop_queue();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_DIRECTORY(of_a_sound_queue_nothing_is_said),
        IN_DIRECTORY(a_damaged_segment_is_told_with_the_messages_that_are_given_up),
        IN_DIRECTORY(a_missing_segment_is_told_as_a_hole),
        IN_DIRECTORY(a_segment_whose_place_another_one_has_is_set_aside),
        IN_DIRECTORY(what_an_offset_file_has_seen_durable_is_missing),
        IN_DIRECTORY(a_damaged_offset_file_is_told_and_set_aside),
        IN_DIRECTORY(the_messages_of_all_steps_are_counted_together),
        IN_DIRECTORY(it_can_be_done_silently),
        IN_DIRECTORY(a_directory_is_made_durably_whatever_the_mode),
        IN_DIRECTORY(a_missing_directory_is_made_for_those_who_may_use_the_queue),
        IN_DIRECTORY(what_is_no_directory_is_set_aside_for_one),
        IN_DIRECTORY(a_missing_log_is_made_and_what_was_in_it_given_up),
        IN_DIRECTORY(working_memory_that_is_none_is_set_aside),
        IN_DIRECTORY(what_the_dead_have_left_is_brought_into_the_files_first),
        IN_DIRECTORY(working_memory_that_cannot_be_opened_is_an_error),
        IN_DIRECTORY(who_loses_the_lock_while_the_dead_are_looked_after_does_not_go_on),
        IN_DIRECTORY(what_others_delete_in_between_is_not_missing),
        IN_DIRECTORY(files_that_are_not_the_queues_are_set_aside_and_its_own_stay),
        IN_DIRECTORY(what_an_earlier_repair_left_is_seen_to),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
