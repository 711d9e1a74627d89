/* Recovery mends: what was half made or half deleted goes, what is torn is cut, and in which order, to the call. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "support/each_fault.h"
#include "support/made_log.h"

/* What was done to the machine, in its order: m and M write and sync `meta`, d deletes a file of the log, c cuts one, s syncs one. */
static char deeds[100];
static int meta_error;
static uint64_t written_from, written_to; /* of a log file: one stretch */

static struct lqi_shared_map *the_dead; /* what they left, if they did */

static void note(char deed)
{
    size_t length = strlen(deeds);
    HOLDS(length + 1 < sizeof deeds);
    deeds[length] = deed;
}

static int note_write(const struct lqi_io *io, int fd, uint64_t offset, const void *data, size_t size)
{
    bool meta = fd == the_log.meta_file->fd;
    note(meta ? 'm' : 'w');
    if (!meta) {
        HOLDS(size > 0);
        if (written_to) EQUAL(offset, written_to);
        else written_from = offset;
        written_to = offset + size;
    }
    return meta && meta_error ? meta_error : lqi_io_posix.write(io, fd, offset, data, size);
}

static int note_sync(const struct lqi_io *io, int fd)
{
    note(fd == the_log.meta_file->fd ? 'M' : 's');
    return lqi_io_posix.sync(io, fd);
}

static int note_truncate(const struct lqi_io *io, int fd, uint64_t size)
{
    note('c');
    return lqi_io_posix.truncate(io, fd, size);
}

static int note_unlink(const struct lqi_io *io, int dir, const char *name)
{
    note('d');
    return lqi_io_posix.unlink(io, dir, name);
}

static struct lqi_found *recover_as(const struct lqi_trim *trim, const char *expected_deeds)
{
    static struct lqi_found found;
    struct lqi_io io = lqi_io_posix;
    struct lqi_file meta = {.io = &io, .fd = open(log_path, O_RDWR | O_TMPFILE, 0600), .name = "meta"};
    uint64_t messages = 77;
    HOLDS(meta.fd >= 0);
    io.write = note_write;
    io.sync = note_sync;
    io.truncate = note_truncate;
    io.unlink = note_unlink;
    memset(deeds, 0, sizeof deeds);
    written_from = written_to = 0;
    the_log.io = &io;
    the_log.meta_file = &meta;
    OK(lqi_recover_log(&the_log, trim, &nothing, the_dead, &found, &messages));
    the_log.io = &lqi_io_posix;
    if (strchr(deeds, 'M')) { /* what was noted is what was known, with the next number */
        struct lqi_trim noted;
        meta.io = &lqi_io_posix;
        OK(lqi_trim_load(&meta, uuid, &noted));
        EQUAL(noted.sequence, trim->sequence + 1);
        EQUAL(noted.first_id, trim->first_id);
    }
    close(meta.fd);
    EQUAL(messages, 0);
    if (strcmp(deeds, expected_deeds) != 0) print_message("%s, not %s\n", deeds, expected_deeds);
    assert_string_equal(deeds, expected_deeds);
    return &found;
}

static void touch(const char *name)
{
    char path[4300];
    snprintf(path, sizeof path, "%s/%s", log_path, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0600);
    HOLDS(fd >= 0);
    close(fd);
}

static bool is_there(const char *name)
{
    char path[4300];
    struct stat stat;
    snprintf(path, sizeof path, "%s/%s", log_path, name);
    return lstat(path, &stat) == 0;
}

static void what_was_only_prepared_is_swept_away_and_nothing_else(void **state)
{
    new_log(state);
    struct made made = make_segment(1, 0, 0);
    add_many(&made, 2);
    static const char *const stay[] = {".new", "new", "2.neww", "2.new.seg", "2.old"}, *const go[] = {"2.new", "a.new"};
    for (size_t i = 0; i < 5; i++) touch(stay[i]);
    for (size_t i = 0; i < 2; i++) touch(go[i]);
    same(recover_as(&untrimmed, "dds"), &made.found);
    for (size_t i = 0; i < 5; i++) HOLDS(is_there(stay[i]));
    for (size_t i = 0; i < 2; i++) HOLDS(!is_there(go[i]));
    done(&made);
}

/* Segments begin with the messages 1, 4 and 7. */
static void what_was_trimmed_goes_once_that_is_durable_and_the_last_file_never(void **state)
{
    static const struct {
        uint64_t first_id, gone;
        const char *deeds;
    } cases[] = {{1, 0, "s"}, {3, 0, "s"}, {4, 1, "mMds"}, {6, 1, "mMds"}, {7, 2, "mMdds"}, {100, 2, "mMdds"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct made three[3];
        new_log(state);
        make_three(three);
        recover_as(&(struct lqi_trim){.sequence = 5, .first_id = cases[i].first_id, .next_id = 200}, cases[i].deeds);
        for (uint64_t n = 0; n < 3; n++) {
            EQUAL(access(path_of(three[n].head.first_id), F_OK) == 0, n >= cases[i].gone);
            done(&three[n]);
            (void)unlink(path_of(three[n].head.first_id));
        }
        HOLDS(rmdir(log_path) == 0);
    }
}

static void of_two_files_the_first_goes_by_the_same_rule(void **state)
{
    new_log(state);
    struct made first = make_segment(1, 0, 0);
    add_many(&first, 3);
    seal(&first, 4);
    struct made last = make_segment(4, first.found.end, 0);
    recover_as(&(struct lqi_trim){.sequence = 5, .first_id = 4, .next_id = 200}, "mMds");
    HOLDS(access(path_of(1), F_OK) != 0);
    EQUAL(access(path_of(4), F_OK), 0);
    done(&first);
    done(&last);
}

static void what_cannot_be_noted_as_trimmed_stays_for_another_time(void **state)
{
    struct made three[3];
    new_log(state);
    make_three(three);
    meta_error = ENOSPC;
    recover_as(&(struct lqi_trim){.sequence = 5, .first_id = 7, .next_id = 200}, "ms");
    meta_error = 0;
    drop_three(three);
}

static void a_torn_tail_is_cut_to_the_byte_and_the_rest_synced(void **state)
{
    new_log(state);
    struct made made = make_segment(1, 0, 0);
    add_many(&made, 2);
    allocate(&made);
    uint64_t size = size_of(&made);
    same(recover_as(&untrimmed, "s"), &made.found); /* zeroes are no tail */
    EQUAL(size_of(&made), size);
    put_bytes(&made, offset_of(&made, made.found.end) + 10, "x", 1);
    made.found.torn_bytes = 11;
    same(recover_as(&untrimmed, "cs"), &made.found);
    EQUAL(size_of(&made), offset_of(&made, made.found.end));
    made.found.torn_bytes = 0;
    same(recover_as(&untrimmed, "s"), &made.found);
    done(&made);
    HOLDS(unlink(path_of(1)) == 0);
    struct lqi_found empty = {.next_id = 1};
    same(recover_as(&untrimmed, ""), &empty);
}

/* Processes have died, and may have met a failing sync: what was not durable is written again, and no byte more. */
static void what_the_dead_left_in_doubt_is_written_again_to_the_byte(void **state)
{
    enum { RING = 65536, CHUNK = 16384 };
    struct lqi_shared *head = calloc(1, LQI_SHARED_HEAD + 2 * RING);
    struct lqi_shared_map dead = {.io = &lqi_io_posix, .head = head, .ring_size = RING};
    new_log(state);
    struct made made = make_segment(5, 80000, 0);
    for (int i = 0; i < 3; i++) add(&made);
    uint64_t end = made.found.end;
    const struct {
        uint64_t synced, from;
        const char *deeds;
    } cases[] = {{end, 0, "s"}, {end + 8, 0, "s"}, {end - 8, end - 8, "ws"}, {end - CHUNK, end - CHUNK, "ws"}, {end - CHUNK - 8, end - CHUNK - 8, "wws"},
                 {80000, 80000, "wws"}, {79992, 80000, "wws"}, {0, 80000, "wws"}};
    the_dead = &dead;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct api_bytes before = api_file_read(path_of(5));
        atomic_store(&head->log.synced, cases[i].synced);
        same(recover_as(&untrimmed, cases[i].deeds), &made.found);
        EQUAL(written_from, cases[i].from ? offset_of(&made, cases[i].from) : 0);
        EQUAL(written_to, cases[i].from ? offset_of(&made, end) : 0);
        struct api_bytes after = api_file_read(path_of(5));
        HOLDS(before.size == after.size && memcmp(before.bytes, after.bytes, before.size) == 0);
        free(before.bytes);
        free(after.bytes);
    }
    allocate(&made); /* before damage at the end, what is good */
    struct lqi_found *found = recover_as(&(struct lqi_trim){.first_id = 1, .synced = end + 8, .next_id = 9}, "wws");
    HOLDS(found->given_up);
    EQUAL(written_to, offset_of(&made, end));

    HOLDS(ftruncate(made.fd, (off_t)offset_of(&made, end)) == 0);
    seal(&made, made.found.next_id); /* the footer too */
    made.found.usable = false;
    made.found.mark = end;
    atomic_store(&head->log.synced, end);
    same(recover_as(&untrimmed, "ws"), &made.found);
    EQUAL(written_from, offset_of(&made, end));
    EQUAL(written_to, size_of(&made));
    done(&made);
    HOLDS(unlink(path_of(5)) == 0);
    struct lqi_found empty = {.next_id = 1};
    same(recover_as(&untrimmed, ""), &empty);
    the_dead = NULL;
    free(head);
}

/* Whatever call fails: an error, or all is done. */
static void mend_on_a_sick_machine(struct io_fault *fault, void *unused)
{
    static struct lqi_found found;
    struct lqi_file meta = {.io = &fault->io, .fd = -1, .name = "meta"};
    uint64_t messages;
    (void)unused;
    struct made made = make_segment(1, 0, 0);
    add_many(&made, 2);
    uint64_t size = size_of(&made);
    put_bytes(&made, size + 10, "x", 1);
    touch("2.new");
    the_log.io = &fault->io;
    the_log.meta_file = &meta;
    int err = lqi_recover_log(&the_log, &untrimmed, &nothing, NULL, &found, &messages);
    the_log.io = &lqi_io_posix;
    if (err) {
        IS(LQ_EIO, err);
        HOLDS(fault->hits > 0);
    } else {
        made.found.torn_bytes = 11;
        same(&found, &made.found);
        EQUAL(size_of(&made), size);
        /* Opened and read a second time, perhaps; what is left of preparing is in nobody's way. */
        HOLDS(!fault->hits || fault->kind == IO_OPEN || fault->kind == IO_READ || fault->kind == IO_UNLINK || fault->kind == IO_STAT);
    }
    done(&made);
    HOLDS(unlink(path_of(1)) == 0);
    char path[4300];
    snprintf(path, sizeof path, "%s/2.new", log_path);
    (void)unlink(path);
}

static void no_failure_of_the_machine_is_hidden(void **state)
{
    new_log(state);
    HOLDS(each_fault(mend_on_a_sick_machine, NULL) >= 2 * 8);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_DIRECTORY(what_was_only_prepared_is_swept_away_and_nothing_else),
        IN_DIRECTORY(what_was_trimmed_goes_once_that_is_durable_and_the_last_file_never),
        IN_DIRECTORY(of_two_files_the_first_goes_by_the_same_rule),
        IN_DIRECTORY(what_cannot_be_noted_as_trimmed_stays_for_another_time),
        IN_DIRECTORY(a_torn_tail_is_cut_to_the_byte_and_the_rest_synced),
        IN_DIRECTORY(what_the_dead_left_in_doubt_is_written_again_to_the_byte),
        IN_DIRECTORY(no_failure_of_the_machine_is_hidden),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
