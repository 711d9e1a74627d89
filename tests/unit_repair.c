/* The order of a repair, and what it says: each step with its file, where that went, what was wrong and what became of it. What
 * is none of its business stays, what cannot be done is an error with the file in it, and a dry run says the same and does nothing. */
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

#include "repair_parts.h"
#include "support/api.h"
#include "support/damage.h"
#include "support/forge.h"
#include "support/scratch.h"

#define NOON INT64_C(1800000000000007)
#define WHEN "20270115T080000.000007Z"

/* ---- a queue, and what is said of its repair ----------------------------------------------- */

static char queue[4200];
static struct lqi_io machine;
static lq_repair_result result;

static int64_t noon(const struct lqi_io *io)
{
    (void)io;
    return NOON;
}

/* Messages 1 to 3 in a segment, and 4 to 6 in another one, which is open. */
static void new_queue(void **state)
{
    struct forge_segment *parts[2];
    struct forge_meta meta = forge_meta;
    snprintf(queue, sizeof queue, "%s", api_path(*state, "q"));
    for (unsigned i = 0; i < 2; i++) {
        parts[i] = forge_segment_new(1 + 3 * i, i ? parts[0]->end : 0);
        for (uint64_t id = 1 + 3 * i; id < 4 + 3 * i; id++) forge_message(parts[i], id, "body");
    }
    meta.mode = 0640;
    meta.trims[1].synced = parts[1]->end;
    meta.trims[1].next_id = 7;
    forge_queue(queue, &meta);
    forge_trailer(parts[0], NULL, 0, 0, 0);
    for (unsigned i = 0; i < 2; i++) forge_segment_write(parts[i], queue);
    machine = lqi_io_posix;
    machine.wall_us = noon;
}

static void drop_queue(void)
{
    HOLDS(scratch_delete(queue) == 0);
}

static const char *in_queue(const char *name)
{
    return api_path(queue, name);
}

static char said[4000]; /* FILE (ASIDE): DAMAGE -> REMEDY, ids */

static void note(void *context, const lq_repair_step *step)
{
    size_t length = strlen(said);
    HOLDS(context == said && step->size == sizeof *step);
    HOLDS((step->count == 0) == (step->first_id == 0));
    snprintf(said + length, sizeof said - length, "%s (%s): %s -> %s, %d from %d\n", step->file, step->aside, step->damage, step->remedy,
             (int)step->count, (int)step->first_id);
}

static int next_descriptor(void)
{
    int fd = dup(STDOUT_FILENO);
    HOLDS(fd >= 0);
    close(fd);
    return fd;
}

/* Whatever comes of it, nothing is left open, and nobody else's file is closed. */
static int repair(unsigned flags)
{
    int before = next_descriptor();
    said[0] = 0;
    result = (lq_repair_result){.size = sizeof result};
    int err = lqi_repair_io(&machine, queue, flags, note, said, &result);
    EQUAL(next_descriptor(), before);
    return err;
}

static struct api_tree *look(bool *aside_out)
{
    *aside_out = api_file_exists(in_queue("aside"));
    return api_tree_read(queue);
}

static void is_unchanged(struct api_tree *before, bool aside)
{
    HOLDS(api_tree_same(before, NULL));
    EQUAL(api_file_exists(in_queue("aside")), aside);
    api_tree_free(before);
}

/* A dry run says `dry` and does nothing, a repair `steps`; the next one has nothing to do. */
static void says(const char *dry, const char *steps)
{
    bool aside;
    struct api_tree *before = look(&aside);
    OK(repair(LQ_REPAIR_DRY_RUN));
    assert_string_equal(said, dry);
    is_unchanged(before, aside);
    lq_repair_result planned = result;
    OK(repair(0));
    assert_string_equal(said, steps);
    EQUAL(result.steps, planned.steps);
    EQUAL(result.lost, planned.lost);
    OK(repair(0));
    assert_string_equal(said, "");
    EQUAL(result.steps, 0);
    EQUAL(result.lost, 0);
}

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

/* ---- what is not the queue's ------------------------------------------------------------------------- */

static void files_that_are_not_the_queues_are_set_aside_and_its_own_stay(void **state)
{
    new_queue(state);
    api_file_write(in_queue("log/00000000000000000009.new"), "prepared", 8); /* swept away by the next opener */
    api_file_write(in_queue("log/c.pos"), "x", 1);
    api_file_write(in_queue("consumers/00000000000000000009.seg"), "x", 1);
    api_file_write(in_queue("stranger"), "x", 1); /* in nobody's way */
    HOLDS(mkdir(in_queue("log/dir"), 0700) == 0);
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

/* ---- what cannot be done ------------------------------------------------------------------------------- */

static void fails(int code, const char *text)
{
    IS(code, repair(0));
    if (strncmp(lq_error_text(), text, strlen(text)) != 0) api_note("it said %s", lq_error_text());
    HOLDS(strncmp(lq_error_text(), text, strlen(text)) == 0);
}

static const char *sick_name;
static int sick_error;

static int sick_dir_open(const struct lqi_io *io, int parent, const char *name, int *dir_out)
{
    if (sick_name && strcmp(name, sick_name) == 0) return sick_error;
    return lqi_io_posix.dir_open(io, parent, name, dir_out);
}

static int sick_dir_make(const struct lqi_io *io, int parent, const char *name, uint32_t mode)
{
    if (sick_name && strcmp(name, sick_name) == 0) return sick_error;
    return lqi_io_posix.dir_make(io, parent, name, mode);
}

static int lists_left; /* until one fails */

static int sick_dir_list(const struct lqi_io *io, int dir, lqi_name_callback *each, void *context)
{
    return lists_left-- == 0 ? EIO : lqi_io_posix.dir_list(io, dir, each, context);
}

static bool on_network;

static int where_it_is(const struct lqi_io *io, int dir, bool *shared_out)
{
    (void)io, (void)dir;
    *shared_out = !on_network;
    return on_network ? 0 : EIO;
}

static void what_cannot_be_opened_or_made_is_named(void **state)
{
    static const char *const names[] = {"log", "consumers", "aside"};
    char text[5000];
    new_queue(state);
    machine.dir_open = sick_dir_open;
    sick_error = EMFILE;
    for (int i = 0; i < 3; i++) {
        sick_name = names[i];
        snprintf(text, sizeof text, "open %s: Too many open files", names[i]);
        fails(LQ_ELIMIT, text);
    }
    sick_name = queue;
    sick_error = ENOENT;
    snprintf(text, sizeof text, "open queue %s: No such file or directory", queue);
    fails(LQ_ENOTFOUND, text);
    machine.dir_open = lqi_io_posix.dir_open;
    machine.dir_make = sick_dir_make;
    sick_name = "consumers";
    sick_error = ENOSPC;
    HOLDS(rmdir(in_queue("consumers")) == 0);
    fails(LQ_ENOSPC, "make directory consumers: No space left on device");
    OK(repair(LQ_REPAIR_DRY_RUN));
    sick_name = NULL;
    OK(repair(0));
    drop_queue();
}

static void a_queue_on_a_network_is_not_repaired(void **state)
{
    char text[5000];
    new_queue(state);
    machine.dir_shared = where_it_is;
    on_network = true;
    snprintf(text, sizeof text, "%s is on a network file system, where locks and memory are not shared", queue);
    fails(LQ_EUNSUPPORTED, text);
    on_network = false; /* nobody knows */
    snprintf(text, sizeof text, "look at the file system of %s: Input/output error", queue);
    fails(LQ_EIO, text);
    IS(LQ_EIO, repair(LQ_REPAIR_DRY_RUN)); /* which has no proof at its end that would say the same */
    drop_queue();
}

/* The n-th listing of a directory fails; a text tells which. */
static void what_cannot_be_listed_is_an_error(void **state)
{
    int failed = 0;
    new_queue(state);
    machine.dir_list = sick_dir_list;
    for (int n = 0;; n++) {
        lists_left = n;
        int err = repair(LQ_REPAIR_DRY_RUN); /* the proof at the end looks twice */
        if (lists_left >= 0) break;
        IS(LQ_EIO, err);
        HOLDS(strncmp(lq_error_text(), "list log: ", 10) == 0 || strncmp(lq_error_text(), "list consumers: ", 16) == 0);
        failed++;
    }
    HOLDS(failed >= 6);
    drop_queue();
}

/* The lock of a directory in the way is not asked for: a link, which may lead to something good. */
static void a_link_in_the_place_of_a_directory_is_left_alone(void **state)
{
    new_queue(state);
    HOLDS(rename(in_queue("consumers"), in_queue("elsewhere")) == 0 && symlink("elsewhere", in_queue("consumers")) == 0);
    bool aside;
    struct api_tree *before = look(&aside);
    fails(LQ_ECORRUPT, "consumers is a symbolic link");
    is_unchanged(before, aside);
    drop_queue();
}

/* Two records say that they have the same message. Both verify, and nothing but the two together is wrong. */
static void what_repair_cannot_mend_is_told_at_the_end(void **state)
{
    new_queue(state);
    struct forge_segment *twice = forge_segment_new(4, 3 * 48);
    const struct forge_entry entries[] = {{.size = 1}, {.size = 1}};
    size_t size;
    uint8_t *payload = forge_payload(entries, 2, 2, &size);
    forge_message(twice, 4, "body");
    forge_record(twice, &(struct forge_record){.first_id = 4, .count = 2, .time_us = 1, .payload = payload, .payload_size = size});
    forge_message(twice, 6, "body");
    free(payload);
    damage_remove(in_queue("log/00000000000000000004.seg"));
    forge_segment_write(twice, queue);
    OK(repair(LQ_REPAIR_DRY_RUN)); /* which has mended nothing that could be looked at */
    fails(LQ_ECORRUPT, "repaired as far as it can be, but log/00000000000000000004.seg: ");
    HOLDS(strlen(lq_error_text()) > 70);
    drop_queue();
}

/* With the words of who could not look, and not of one who has found something. */
static void where_the_proof_cannot_be_had_nothing_is_said_to_be_left(void **state)
{
    int failed = 0;
    new_queue(state);
    machine.dir_list = sick_dir_list;
    for (int n = 0;; n++) {
        lists_left = n;
        int err = repair(0);
        if (lists_left >= 0) break;
        if (err) HOLDS(strncmp(lq_error_text(), "list ", 5) == 0);
        failed += err != 0;
    }
    HOLDS(failed > 6);
    drop_queue();
}

static void a_path_may_be_relative(void **state)
{
    new_queue(state);
    HOLDS(chdir(*state) == 0);
    OK(lqi_repair_io(&machine, "q", 0, note, said, NULL));
    HOLDS(chdir("/") == 0);
    drop_queue();
}

/* ---- the call -------------------------------------------------------------------------------------------- */

static void the_arguments_are_checked_first(void **state)
{
    new_queue(state);
    api_file_write(in_queue("log/x"), "x", 1);
    IS(LQ_EINVAL, lqi_repair_io(&machine, NULL, 0, NULL, NULL, NULL));
    assert_string_equal(lq_error_text(), "lq_repair: the path is empty");
    IS(LQ_EINVAL, lqi_repair_io(&machine, "", 0, NULL, NULL, NULL));
    IS(LQ_EINVAL, lqi_repair_io(&machine, queue, LQ_REPAIR_DRY_RUN | 0x10, NULL, NULL, NULL));
    assert_string_equal(lq_error_text(), "lq_repair: flags 0x11 mean nothing");
    lq_repair_result none = {.size = 0};
    IS(LQ_EINVAL, lqi_repair_io(&machine, queue, 0, NULL, NULL, &none));
    assert_string_equal(lq_error_text(), "lq_repair: set `size` of the result before the call");
    HOLDS(api_file_exists(in_queue("log/x")));
    /* The result of an older program is smaller; that of a newer one has more, which is left alone. */
    for (size_t size = sizeof none.size; size <= sizeof none + 8; size += 4) {
        struct {
            lq_repair_result result;
            uint8_t more[16];
        } larger;
        memset(&larger, 0x77, sizeof larger);
        larger.result.size = size;
        OK(lqi_repair_io(&machine, queue, LQ_REPAIR_DRY_RUN, NULL, NULL, &larger.result));
        EQUAL(larger.result.size, size);
        const uint8_t *bytes = (const uint8_t *)&larger;
        for (size_t i = size < sizeof none ? size : sizeof none; i < sizeof larger; i++) EQUAL(bytes[i], 0x77);
        if (size >= sizeof none) EQUAL(larger.result.steps, 1);
    }
    drop_queue();
}

static int unlocked;

static int count_unlock(const struct lqi_io *io, int fd, uint64_t byte)
{
    unlocked += byte == LQI_BYTE_OPEN;
    return lqi_io_posix.unlock(io, fd, byte);
}

/* Of meta, and of the one that it has replaced. A dry run has none. */
static void locks_are_let_go_one_by_one(void **state)
{
    new_queue(state);
    machine.unlock = count_unlock;
    unlocked = 0;
    OK(repair(0));
    EQUAL(unlocked, 1);
    api_file_flip(in_queue("meta"), 100, 1);
    unlocked = 0;
    OK(repair(LQ_REPAIR_DRY_RUN));
    EQUAL(unlocked, 0);
    OK(repair(0));
    EQUAL(unlocked, 2);
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
        IN_DIRECTORY(files_that_are_not_the_queues_are_set_aside_and_its_own_stay),
        IN_DIRECTORY(what_an_earlier_repair_left_is_seen_to),
        IN_DIRECTORY(what_cannot_be_opened_or_made_is_named),
        IN_DIRECTORY(a_queue_on_a_network_is_not_repaired),
        IN_DIRECTORY(what_cannot_be_listed_is_an_error),
        IN_DIRECTORY(a_link_in_the_place_of_a_directory_is_left_alone),
        IN_DIRECTORY(what_repair_cannot_mend_is_told_at_the_end),
        IN_DIRECTORY(where_the_proof_cannot_be_had_nothing_is_said_to_be_left),
        IN_DIRECTORY(a_path_may_be_relative),
        IN_DIRECTORY(the_arguments_are_checked_first),
        IN_DIRECTORY(locks_are_let_go_one_by_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
