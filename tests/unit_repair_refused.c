/* What a repair does when it cannot: an error with the file in it, and nothing is closed, changed or called repaired that is not.
 */
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
#include "support/io_fault.h"
#include "support/repaired_queue.h"

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
    api_file_write(in_queue("log/x"), "x", 1);
    on_network = true;
    snprintf(text, sizeof text, "%s is on a network file system, where locks and memory are not shared", queue);
    fails(LQ_EUNSUPPORTED, text);
    HOLDS(api_file_exists(in_queue("log/x")));
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

static int written_wrong;

/* A disk, or a cable, that turns a bit of a body round while it is copied. */
static int write_wrong(const struct lqi_io *io, int fd, uint64_t offset, const void *data, size_t size)
{
    const uint64_t place = LQI_SEGMENT_HEADER + LQI_RECORD_HEADER;
    int error = lqi_io_posix.write(io, fd, offset, data, size);
    if (error || offset > place || offset + size <= place) return error;
    uint8_t byte = ((const uint8_t *)data)[place - offset] ^ 1;
    written_wrong++;
    return lqi_io_posix.write(io, fd, place, &byte, 1);
}

/* The bodies are looked at, too: those of messages that nothing was wrong with. */
static void of_what_was_spoilt_while_it_was_copied_the_first_is_told_at_the_end(void **state)
{
    new_queue(state);
    for (int i = 0; i < 2; i++)
        api_file_flip(in_queue(i ? "log/00000000000000000004.seg" : "log/00000000000000000001.seg"), LQI_SEGMENT_HEADER + 48 + LQI_RECORD_HEADER, 1);
    machine.write = write_wrong;
    written_wrong = 0;
    fails(LQ_ECORRUPT, "repaired as far as it can be, but log/00000000000000000001.seg: body checksum ");
    EQUAL(written_wrong, 2);
    machine.write = lqi_io_posix.write;
    OK(repair(0)); /* and what was good before is in the files that were set aside */
    EQUAL(result.lost, 2);
    drop_queue();
}

static int reads_left; /* until the disk gives nothing any more */

static int sick_read(const struct lqi_io *io, int fd, uint64_t offset, void *data, size_t size, size_t *got_out)
{
    return reads_left > 0 ? reads_left--, lqi_io_posix.read(io, fd, offset, data, size, got_out) : EIO;
}

static void what_the_disk_does_not_give_is_not_called_damaged(void **state)
{
    int proofs = 0;
    new_queue(state);
    machine.read = sick_read;
    for (int n = 0;; n++) {
        reads_left = n;
        int err = repair(0);
        if (!err) break;
        IS(LQ_EIO, err);
        EQUAL(result.steps, 0);
        proofs += strncmp(lq_error_text(), "repaired as far as it can be, but log/", 38) == 0;
    }
    HOLDS(proofs > 0);
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

/* ---- what is not done ----------------------------------------------------------------------------------- */

enum { STEPS = 5 };

static void break_five_things(void)
{
    api_file_flip(in_queue("log/00000000000000000001.seg"), LQI_SEGMENT_HEADER + 48 + LQI_RECORD_HEADER, 1);
    api_file_write(in_queue("log/x"), "x", 1);
    HOLDS(mkdir(in_queue("shared"), 0700) == 0 && rmdir(in_queue("consumers")) == 0);
    api_file_write(in_queue("consumers"), "a file", 6);
}

/* Whether the n-th call of this kind was made, which fails. */
static bool fails_at(void **state, enum io_kind kind, uint64_t n)
{
    struct io_fault fault;
    new_queue(state);
    break_five_things();
    said[0] = 0;
    result = (lq_repair_result){.size = sizeof result};
    io_fault_init(&fault, &lqi_io_posix);
    io_fault_plan(&fault, kind, n, false, EIO);
    int err = lqi_repair_io(&fault.io, queue, 0, note, said, &result);
    bool hit = fault.hits > 0;
    io_fault_release(&fault);
    uint64_t steps = result.steps;
    IS(hit ? LQ_EIO : LQ_OK, err);
    OK(repair(0));
    if (hit) HOLDS(steps + result.steps == STEPS || steps + result.steps == STEPS - 1); /* one was done, and what failed is that it is durable */
    else EQUAL(steps, STEPS);
    if (!hit) EQUAL(result.steps, 0);
    drop_queue();
    return hit;
}

static void only_what_was_done_is_said(void **state)
{
    static const enum io_kind kinds[] = {IO_RENAME, IO_SWAP, IO_WRITE, IO_DIR_MAKE, IO_DIR_SYNC};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        uint64_t n = 1;
        while (fails_at(state, kinds[i], n)) n++;
        HOLDS(n > 1);
    }
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
        IN_DIRECTORY(what_cannot_be_opened_or_made_is_named),
        IN_DIRECTORY(a_queue_on_a_network_is_not_repaired),
        IN_DIRECTORY(what_cannot_be_listed_is_an_error),
        IN_DIRECTORY(a_link_in_the_place_of_a_directory_is_left_alone),
        IN_DIRECTORY(what_repair_cannot_mend_is_told_at_the_end),
        IN_DIRECTORY(of_what_was_spoilt_while_it_was_copied_the_first_is_told_at_the_end),
        IN_DIRECTORY(what_the_disk_does_not_give_is_not_called_damaged),
        IN_DIRECTORY(where_the_proof_cannot_be_had_nothing_is_said_to_be_left),
        IN_DIRECTORY(only_what_was_done_is_said),
        IN_DIRECTORY(a_path_may_be_relative),
        IN_DIRECTORY(the_arguments_are_checked_first),
        IN_DIRECTORY(locks_are_let_go_one_by_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
