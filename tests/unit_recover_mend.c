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
static struct lqi_promise promised;

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

static int next_descriptor(void)
{
    int fd = dup(0);
    HOLDS(fd >= 0);
    close(fd);
    return fd;
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
    int before = next_descriptor();
    OK(lqi_recover_log(&the_log, trim, &promised, the_dead, &found, &messages));
    EQUAL(next_descriptor(), before);
    the_log.io = &lqi_io_posix;
    if (strstr(deeds, "mM")) { /* what was noted is what was known, with the next number */
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
    } cases[] = {{1, 0, "s"}, {3, 0, "s"}, {4, 1, "MmMds"}, {6, 1, "MmMds"}, {7, 2, "MmMdds"}, {100, 2, "MmMdds"}};
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
    recover_as(&(struct lqi_trim){.sequence = 5, .first_id = 4, .next_id = 200}, "MmMds");
    HOLDS(access(path_of(1), F_OK) != 0);
    EQUAL(access(path_of(4), F_OK), 0);
    done(&first);
    done(&last);
}

/* Whatever is in memory behind the list of files, it is no file. */
static void the_only_file_stays_whatever_was_trimmed(void **state)
{
    new_log(state);
    struct made made = make_segment(1, 0, 0);
    add_many(&made, 2);
    recover_as(&(struct lqi_trim){.sequence = 5, .first_id = UINT64_MAX}, "s");
    EQUAL(access(path_of(1), F_OK), 0);
    done(&made);
}

static void what_cannot_be_noted_as_trimmed_stays_for_another_time(void **state)
{
    struct made three[3];
    new_log(state);
    make_three(three);
    meta_error = ENOSPC;
    recover_as(&(struct lqi_trim){.sequence = 5, .first_id = 7, .next_id = 200}, "Mms");
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

/* They had the log open, and knew nothing of it as far as is known. */
static struct lqi_shared *let_them_die(void)
{
    enum { RING = 65536 };
    static struct lqi_shared_map dead = {.io = &lqi_io_posix, .ring_size = RING};
    dead.head = calloc(1, LQI_SHARED_HEAD + 2 * RING);
    the_dead = &dead;
    return dead.head;
}

static void bury(void)
{
    free(the_dead->head);
    the_dead = NULL;
}

/* Processes have died, and may have met a failing sync: what was not durable is written again, and no byte more. */
static void what_the_dead_left_in_doubt_is_written_again_to_the_byte(void **state)
{
    enum { CHUNK = 16384 };
    struct lqi_shared *head = let_them_die();
    new_log(state);
    struct made made = make_segment(5, 80000, 0);
    for (int i = 0; i < 3; i++) add(&made);
    uint64_t end = made.found.end;
    const struct {
        uint64_t synced, from;
        const char *deeds;
    } cases[] = {{end, 0, "s"}, {end + 8, 0, "s"}, {end - 8, end - 8, "ws"}, {end - CHUNK, end - CHUNK, "ws"}, {end - CHUNK - 8, end - CHUNK - 8, "wws"},
                 {80000, 80000, "wws"}, {79992, 80000, "wws"}, {0, 80000, "wws"}};
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
    allocate(&made); /* not what is only allocated */
    atomic_store(&head->log.synced, end - 8);
    same(recover_as(&untrimmed, "ws"), &made.found);
    EQUAL(written_to, offset_of(&made, end));
    atomic_store(&head->log.synced, 0); /* before damage at the end, what is good */
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
    atomic_store(&head->poisoned, 1); /* and nothing is there to be replaced */
    same(recover_as(&untrimmed, ""), &empty);
    bury();
}

/* A sync has failed: another file takes the place of the last one. Of one in which nothing may be appended any more, not a byte is missing
 * there; of another one, what is behind the end. */
static void what_replaces_a_doubtful_file_has_all_that_is_to_be_kept(void **state)
{
    struct lqi_shared *head = let_them_die();
    for (int sealed = 0; sealed < 2; sealed++) {
        new_log(state);
        struct made made = make_segment(5, 80000, 0);
        add_many(&made, 3);
        uint64_t end = offset_of(&made, made.found.end);
        if (sealed) seal(&made, made.found.next_id);
        else allocate(&made);
        made.found.usable = !sealed;
        made.found.mark = sealed ? made.found.end : 0;
        atomic_store(&head->poisoned, 1);
        struct api_bytes before = api_file_read(path_of(5));
        same(recover_as(&untrimmed, "wwss"), &made.found);
        struct api_bytes after = api_file_read(path_of(5));
        EQUAL(after.size, sealed ? before.size : end);
        HOLDS(memcmp(before.bytes, after.bytes, after.size) == 0);
        free(before.bytes);
        free(after.bytes);
        done(&made);
        HOLDS(unlink(path_of(5)) == 0 && rmdir(log_path) == 0);
    }
    bury();
}

static int open_on_a_full_disk(const struct lqi_io *io, int dir, const char *name, int flags, uint32_t mode, int *fd_out)
{
    return flags == LQI_OPEN_NEW ? ENOSPC : lqi_io_posix.open(io, dir, name, flags, mode, fd_out);
}

/* It can be consumed, which makes room; who opened it knows. */
static void a_doubtful_log_on_a_full_disk_opens_and_is_called_doubtful(void **state)
{
    struct lqi_found found = {0};
    struct lqi_io io = lqi_io_posix;
    uint64_t messages;
    struct lqi_shared *head = let_them_die();
    new_log(state);
    struct made made = make_segment(5, 80000, 0);
    add_many(&made, 3);
    io.open = open_on_a_full_disk;
    the_log.io = &io;
    for (unsigned poisoned = 0; poisoned < 2; poisoned++) {
        atomic_store(&head->poisoned, poisoned);
        OK(lqi_recover_log(&the_log, &untrimmed, &nothing, the_dead, &found, &messages));
        same(&found, &made.found);
        EQUAL(found.doubtful, poisoned);
    }
    OK(lqi_recover_log(&the_log, &untrimmed, &nothing, NULL, &found, &messages));
    EQUAL(found.doubtful, false);
    the_log.io = &lqi_io_posix;
    OK(lqi_recover_log(&the_log, &untrimmed, &nothing, the_dead, &found, &messages));
    EQUAL(found.doubtful, false);
    done(&made);
    bury();
}

/* What was in their ring is written behind what was found: a record they were in the middle of was nobody's. */
static void what_is_torn_behind_all_that_was_committed_is_not_counted(void **state)
{
    let_them_die();
    new_log(state);
    struct made made = make_segment(5, 80000, 0);
    add_many(&made, 3);
    uint64_t end = made.found.end;
    const struct {
        uint64_t committed, torn;
    } cases[] = {{0, 11}, {end + 1, 11}, {end, 0}, {end - 1, 0}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        put_bytes(&made, offset_of(&made, end) + 10, "x", 1);
        promised.committed = cases[i].committed;
        made.found.torn_bytes = cases[i].torn;
        same(recover_as(&untrimmed, "wwcs"), &made.found);
        EQUAL(size_of(&made), offset_of(&made, end));
    }
    promised.committed = 0;
    done(&made);
    bury();
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

/* Fails the opening of a file that is to be written, or reading one at an offset; the next one works. */
static uint64_t sick_at;
static int writable = -1;
#define WHEN_OPENED (UINT64_MAX - 1)
#define NEVER UINT64_MAX

static int open_once(const struct lqi_io *io, int dir, const char *name, int flags, uint32_t mode, int *fd_out)
{
    if (flags == LQI_OPEN_WRITE && sick_at == WHEN_OPENED) {
        sick_at = NEVER;
        return EACCES;
    }
    int error = lqi_io_posix.open(io, dir, name, flags, mode, fd_out);
    if (!error && flags == LQI_OPEN_WRITE) writable = *fd_out;
    return error;
}

static int read_once(const struct lqi_io *io, int fd, uint64_t offset, void *data, size_t size, size_t *got_out)
{
    if (fd != writable || offset != sick_at) return lqi_io_posix.read(io, fd, offset, data, size, got_out);
    sick_at = NEVER;
    return EIO;
}

static void what_is_to_be_written_again_and_cannot_be_read_is_an_error(void **state)
{
    static struct lqi_found found;
    struct lqi_file meta = LQI_FILE_NONE;
    struct lqi_io io = lqi_io_posix;
    uint64_t messages;
    let_them_die();
    new_log(state);
    struct made made = make_segment(5, 80000, 0);
    add_many(&made, 3);
    io.open = open_once;
    io.read = read_once;
    const uint64_t places[] = {WHEN_OPENED, LQI_SEGMENT_HEADER, LQI_SEGMENT_HEADER + 16384, NEVER};
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        sick_at = places[i];
        the_log.io = &io;
        the_log.meta_file = &meta;
        IS(places[i] == WHEN_OPENED ? LQ_EACCESS : places[i] == NEVER ? LQ_OK : LQ_EIO,
           lqi_recover_log(&the_log, &untrimmed, &nothing, the_dead, &found, &messages));
        EQUAL(sick_at, NEVER);
    }
    the_log.io = &lqi_io_posix;
    done(&made);
    bury();
}

/* The names of files are told to people. */
static int no_rename(const struct lqi_io *io, int dir, const char *from, const char *to, bool replace)
{
    (void)io, (void)dir, (void)from, (void)to, (void)replace;
    return EIO;
}

static int no_list(const struct lqi_io *io, int dir, lqi_name_callback *each, void *context)
{
    (void)io, (void)dir, (void)each, (void)context;
    return EIO;
}

static void an_error_says_of_which_file_it_is(void **state)
{
    static struct lqi_found found;
    struct lqi_io io = lqi_io_posix;
    uint64_t messages;
    struct lqi_shared *head = let_them_die();
    new_log(state);
    struct made made = make_segment(5, 80000, 0);
    add_many(&made, 3);
    atomic_store(&head->poisoned, 1);
    the_log.io = &io;
    io.rename = no_rename;
    IS(LQ_EIO, lqi_recover_log(&the_log, &untrimmed, &nothing, the_dead, &found, &messages));
    assert_string_equal(lq_error_text(), "replace by a copy log/00000000000000000005.seg: Input/output error");
    io.dir_list = no_list;
    IS(LQ_EIO, lqi_recover_log(&the_log, &untrimmed, &nothing, the_dead, &found, &messages));
    assert_string_equal(lq_error_text(), "list log: Input/output error");
    the_log.io = &lqi_io_posix;
    done(&made);
    bury();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_DIRECTORY(what_was_only_prepared_is_swept_away_and_nothing_else),
        IN_DIRECTORY(what_was_trimmed_goes_once_that_is_durable_and_the_last_file_never),
        IN_DIRECTORY(of_two_files_the_first_goes_by_the_same_rule),
        IN_DIRECTORY(the_only_file_stays_whatever_was_trimmed),
        IN_DIRECTORY(what_cannot_be_noted_as_trimmed_stays_for_another_time),
        IN_DIRECTORY(a_torn_tail_is_cut_to_the_byte_and_the_rest_synced),
        IN_DIRECTORY(what_the_dead_left_in_doubt_is_written_again_to_the_byte),
        IN_DIRECTORY(what_replaces_a_doubtful_file_has_all_that_is_to_be_kept),
        IN_DIRECTORY(a_doubtful_log_on_a_full_disk_opens_and_is_called_doubtful),
        IN_DIRECTORY(what_is_torn_behind_all_that_was_committed_is_not_counted),
        IN_DIRECTORY(what_is_to_be_written_again_and_cannot_be_read_is_an_error),
        IN_DIRECTORY(an_error_says_of_which_file_it_is),
        IN_DIRECTORY(no_failure_of_the_machine_is_hidden),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
