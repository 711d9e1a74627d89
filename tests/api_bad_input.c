/* What is no queue, no name, of somebody else or of tomorrow: hostile paths, foreign files in and instead of a queue, newer
 * formats, no permission. Each has its own code and a text that names the file and the reason; nothing crashes; nothing
 * is made or changed. */
#include <fcntl.h>
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
#include <xxhash.h>

#include "support/api.h"
#include "support/child.h"
#include "support/victim.h"

/* ---- paths ------------------------------------------------------------------- */

static void hostile_paths_are_refused_and_nothing_is_made(void **state)
{
    char huge[10241];
    memset(huge, 'x', 10240);
    huge[10240] = 0;
    IS(LQ_EINVAL, victim_open("", 0));
    IS(LQ_EINVAL, lq_open(NULL, NULL, &(lq_queue *){NULL}));
    IS(LQ_EINVAL, lq_open(api_path(*state, "q"), NULL, NULL));
    HOLDS(victim_open(huge, 0) < 0);
    TEXT_HAS("too long");
    IS(LQ_ENOTFOUND, victim_open(api_path(*state, "no/such/parent"), 0));
    TEXT_HAS("no/such/parent", "No such file");
    IS(LQ_ENOTFOUND, victim_open(api_path(*state, "q"), LQ_NO_CREATE));
    HOLDS(rmdir(*state) == 0 && mkdir(*state, 0700) == 0); /* it is empty */
}

static void a_path_that_is_no_queue_is_told_from_one_that_is_not_there(void **state)
{
    api_file_write(api_path(*state, "file"), "text", 4);
    IS(LQ_ENOTQUEUE, victim_open(api_path(*state, "file"), 0));
    TEXT_HAS("file");
    IS(LQ_ENOTQUEUE, victim_open(api_path(*state, "file"), LQ_READ_ONLY));
    IS(LQ_ENOTQUEUE, victim_open(api_path(*state, "file/q"), 0));
    IS(LQ_ENOTQUEUE, victim_open(*state, 0)); /* a directory of something else */
    TEXT_HAS("meta");
    IS(LQ_ENOTQUEUE, victim_open(*state, LQ_READ_ONLY));
    struct api_bytes same = api_file_read(api_path(*state, "file"));
    HOLDS(same.size == 4 && memcmp(same.bytes, "text", 4) == 0);
    free(same.bytes);
    HOLDS(!api_file_exists(api_path(*state, "log")));

    HOLDS(mkdir(api_path(*state, "dir"), 0700) == 0);
    api_file_write(api_path(*state, "dir/meta"), "This is a text file that happens to be called meta.", 50);
    int err = victim_open(api_path(*state, "dir"), 0);
    HOLDS(err == LQ_ENOTQUEUE || err == LQ_ECORRUPT);
    TEXT_HAS("meta");
}

static void odd_characters_in_a_path_are_fine(void **state)
{
    const char *names[] = {"with space", "new\nline", "\x01\x02", "caf\xc3\xa9", "-dash", "a'b\"c", "..x"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        OK(victim_open(api_path(*state, names[i]), 0));
        OK(victim_open(api_path(*state, names[i]), LQ_NO_CREATE));
    }
}

static void a_symbolic_link_to_a_queue_is_the_queue_but_links_inside_are_refused(void **state)
{
    victim_make(state);
    HOLDS(symlink(api_path(*state, "q"), api_path(*state, "link")) == 0);
    OK(victim_open(api_path(*state, "link"), 0));

    const char *meta = api_path(*state, "q/meta"), *away = api_path(*state, "away");
    HOLDS(rename(meta, away) == 0 && symlink(away, meta) == 0);
    HOLDS(victim_open(api_path(*state, "q"), 0) < 0);
    TEXT_HAS("meta");
    HOLDS(unlink(meta) == 0 && mkfifo(meta, 0600) == 0);
    HOLDS(victim_open(api_path(*state, "q"), 0) < 0); /* and does not hang */
    TEXT_HAS("meta");
    HOLDS(unlink(meta) == 0 && mkdir(meta, 0700) == 0);
    HOLDS(victim_open(api_path(*state, "q"), 0) < 0);
    HOLDS(rmdir(meta) == 0 && link(away, meta) == 0);
    HOLDS(victim_open(api_path(*state, "q"), 0) < 0); /* it has another name */
    HOLDS(unlink(meta) == 0 && rename(away, meta) == 0);
    victim_is_whole(state, false);
}

/* ---- newer and foreign files ---------------------------------------------------- */

/* In both copies of a file's fixed part of `size` bytes: sets two bytes, and mends the checksum. */
static void patch_stamp(const char *path, size_t size, size_t at, uint8_t value)
{
    struct api_bytes file = api_file_read(path);
    for (size_t copy = 0; copy < 2; copy++) {
        uint8_t *bytes = file.bytes + copy * size;
        bytes[at] = value;
        XXH64_hash_t check = XXH3_64bits(bytes, size - 8);
        for (int i = 0; i < 8; i++) bytes[size - 8 + i] = (uint8_t)(check >> 8 * i);
    }
    api_file_write(path, file.bytes, file.size);
    free(file.bytes);
}

static void a_queue_of_a_newer_format_is_refused_and_left_alone(void **state)
{
    victim_make(state);
    static const size_t version = 8, must_refuse = 20;
    for (int i = 0; i < 2; i++) {
        const char *meta = api_path(*state, "q/meta");
        patch_stamp(meta, 512, i ? must_refuse : version, i ? 1 : 2);
        struct api_tree *before = api_tree_read(api_path(*state, "q"));
        IS(LQ_EVERSION, victim_open(api_path(*state, "q"), 0));
        TEXT_HAS("meta");
        IS(LQ_EVERSION, victim_open(api_path(*state, "q"), LQ_READ_ONLY));
        IS(LQ_EVERSION, lq_verify(api_path(*state, "q"), 0, NULL, NULL, NULL));
        HOLDS(api_tree_same(before, NULL));
        api_tree_free(before);
        patch_stamp(meta, 512, i ? must_refuse : version, i ? 0 : 1);
    }
    victim_is_whole(state, false);
}

static void a_segment_of_a_newer_format_is_stepped_over_and_told(void **state)
{
    victim_make(state);
    char segment[4096];
    strcpy(segment, api_segment(api_path(*state, "q"), 2));
    patch_stamp(segment, 128, 8, 2);
    lq_queue *queue = api_open(state, NULL);
    lq_reader *reader;
    lq_message message;
    uint64_t got = 0;
    int err, told = 0;
    OK(lq_reader_open(queue, &reader));
    while ((err = lq_reader_next(reader, &message)) != LQ_EMPTY) {
        if (err == LQ_OK) got++;
        else told++;
        HOLDS(err == LQ_OK || err == LQ_ECORRUPT || err == LQ_EVERSION);
        HOLDS(told < 10);
    }
    EQUAL(told, 1);
    HOLDS(got > VICTIM_MESSAGES / 2 && got < VICTIM_MESSAGES);
    lq_reader_close(reader);
    OK(lq_close(queue));
    patch_stamp(segment, 128, 8, 1);
    victim_is_whole(state, false);
}

static void foreign_files_in_the_queue_are_left_alone(void **state)
{
    victim_make(state);
    const char *names[] = {"q/notes.txt", "q/log/notes.txt", "q/log/00000000000000000001.seg.bak", "q/log/1.seg",
                           "q/log/99999999999999999999.seg", "q/log/0000000000000000000x.seg", "q/consumers/readme", "q/consumers/.pos",
                           "q/consumers/a b.pos"};
    enum { NAMES = sizeof names / sizeof *names };
    for (size_t i = 0; i < NAMES; i++) api_file_write(api_path(*state, names[i]), "mine", 4);
    HOLDS(mkdir(api_path(*state, "q/log/dir"), 0700) == 0);
    HOLDS(mkfifo(api_path(*state, "q/log/fifo"), 0600) == 0);
    victim_is_whole(state, false);
    lq_queue *queue = api_open(state, NULL);
    EQUAL(api_stats(queue).consumers, 1);
    api_put_range(queue, VICTIM_MESSAGES + 1, VICTIM_MESSAGES + 300, VICTIM_BODY);
    OK(lq_close(queue));
    for (size_t i = 0; i < NAMES; i++) {
        struct api_bytes file = api_file_read(api_path(*state, names[i]));
        HOLDS(file.size == 4 && memcmp(file.bytes, "mine", 4) == 0);
        free(file.bytes);
    }
}

/* Something with a segment's name that is none: costs nothing but being told. */
static void a_foreign_thing_with_a_segments_name_costs_nothing_else(void **state)
{
    for (int kind = 0; kind < 3; kind++) {
        char path[4096], name[20];
        snprintf(name, sizeof name, "kind%d", kind);
        HOLDS(mkdir(api_path(*state, name), 0700) == 0);
        void *inner[1] = {(void *)(uintptr_t)api_path(*state, name)};
        char inside[4096];
        strcpy(inside, inner[0]);
        inner[0] = inside;
        victim_make(inner);
        strcpy(path, api_path(inside, "q/log/00000000000000009000.seg")); /* it would be the last one */
        if (kind == 0) api_file_write(path, "this is not a segment", 21);
        else if (kind == 1) HOLDS(mkdir(path, 0700) == 0);
        else HOLDS(symlink("/dev/null", path) == 0);
        lq_queue *queue = api_open(inner, NULL);
        lq_reader *reader;
        lq_message message;
        OK(lq_reader_open(queue, &reader));
        for (uint64_t id = 1; id <= VICTIM_MESSAGES; id++) {
            OK(lq_reader_next(reader, &message));
            EQUAL(message.id, id);
        }
        lq_reader_close(reader);
        HOLDS(api_put(queue, "more") > VICTIM_MESSAGES);
        OK(lq_close(queue));
        HOLDS(lq_verify(api_path(inside, "q"), 0, NULL, NULL, NULL) != LQ_OK);
    }
}

/* ---- permission ------------------------------------------------------------------------ */

static int open_as_nobody(void *directory)
{
    HOLDS(chdir(directory) == 0); /* the way here may be closed to others */
    if (getuid() == 0 && setuid(65534) != 0) return CHILD_SKIP;
    IS(LQ_EACCESS, victim_open("q", 0));
    TEXT_HAS("q", "ermission denied");
    IS(LQ_EACCESS, victim_open("q", LQ_READ_ONLY));
    IS(LQ_EACCESS, victim_open("new", 0));
    IS(LQ_EACCESS, lq_verify("q", 0, NULL, NULL, NULL));
    return 0;
}

static void without_permission_one_is_told_so(void **state)
{
    char path[4096];
    strcpy(path, api_path(*state, "q"));
    victim_make(state);
    chmod(*state, 0555);
    if (getuid() != 0) chmod(path, 0);
    int result = child_run(open_as_nobody, *state);
    chmod(path, 0700);
    chmod(*state, 0700);
    if (result == CHILD_SKIP) skip();
    EQUAL(result, 0);
    victim_is_whole(state, false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_DIRECTORY(hostile_paths_are_refused_and_nothing_is_made),
        IN_DIRECTORY(a_path_that_is_no_queue_is_told_from_one_that_is_not_there),
        IN_DIRECTORY(odd_characters_in_a_path_are_fine),
        IN_DIRECTORY(a_symbolic_link_to_a_queue_is_the_queue_but_links_inside_are_refused),
        IN_DIRECTORY(a_queue_of_a_newer_format_is_refused_and_left_alone),
        IN_DIRECTORY(a_segment_of_a_newer_format_is_stepped_over_and_told),
        IN_DIRECTORY(foreign_files_in_the_queue_are_left_alone),
        IN_DIRECTORY(a_foreign_thing_with_a_segments_name_costs_nothing_else),
        IN_DIRECTORY(without_permission_one_is_told_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
