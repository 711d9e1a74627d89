/* What the world may do to a queue: hostile names, foreign and damaged files, no permission, no space, no descriptors.
 * Each has its own code and a text that names the file and the reason; nothing crashes; what was accepted and is not
 * itself damaged stays readable; and once the damage is undone, everything is back. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>
#include <xxhash.h>

#include "support/api.h"
#include "support/child.h"

enum { MESSAGES = 1200, BODY = 200 }; /* five segments and a bit */

static const lq_options small = {.segment_size = 64 << 10, .ring_size = 64 << 10};

static void make_queue(void **state)
{
    lq_options options = small;
    options.flags = LQ_DEFER_SYNC;
    lq_queue *queue = api_open(state, &options);
    lq_consumer *consumer = api_consumer(queue, "c", &(lq_consumer_options){.window = 2000});
    lq_message message;

    api_put_range(queue, 1, MESSAGES, BODY);
    OK(lq_sync(queue));
    api_take_range(consumer, 1, 10, BODY);
    for (int i = 0; i < 10; i++) OK(lq_poll(consumer, &message)); /* they come again */
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
}

static int try_open(const char *path, uint32_t flags)
{
    lq_options options = {.size = sizeof options, .flags = flags};
    lq_queue *queue = NULL;
    int err = lq_open(path, &options, &queue);
    if (err) HOLDS(queue == NULL);
    else OK(lq_close(queue));
    return err;
}

/* Everything is there, for reader and consumer, and verify has nothing to say. */
static void check_all_back(void **state, bool end_was_lost)
{
    lq_queue *queue = api_open(state, NULL);
    lq_reader *reader;
    lq_message message;
    OK(lq_reader_open(queue, &reader));
    for (uint64_t id = 1; id <= MESSAGES; id++) {
        OK(lq_reader_next(reader, &message));
        EQUAL(message.id, id);
        HOLDS(api_is_filled(&message, BODY, id));
    }
    int err = lq_reader_next(reader, &message);
    if (err == LQ_ECORRUPT && end_was_lost) { /* a stretch without messages was given up behind them */
        lq_finding finding = {.size = sizeof finding};
        OK(lq_reader_damage(reader, &finding));
        EQUAL(finding.count, 0);
        err = lq_reader_next(reader, &message);
    }
    IS(LQ_EMPTY, err);
    lq_reader_close(reader);
    OK(lq_close(queue));
}

/* ---- paths ------------------------------------------------------------------- */

static void hostile_paths_are_refused_and_nothing_is_made(void **state)
{
    char huge[10241];
    memset(huge, 'x', 10240);
    huge[10240] = 0;
    IS(LQ_EINVAL, try_open("", 0));
    IS(LQ_EINVAL, lq_open(NULL, NULL, &(lq_queue *){NULL}));
    IS(LQ_EINVAL, lq_open(api_path(*state, "q"), NULL, NULL));
    HOLDS(try_open(huge, 0) < 0);
    TEXT_HAS("too long");
    IS(LQ_ENOTFOUND, try_open(api_path(*state, "no/such/parent"), 0));
    TEXT_HAS("no/such/parent", "No such file");
    IS(LQ_ENOTFOUND, try_open(api_path(*state, "q"), LQ_NO_CREATE));
    HOLDS(rmdir(*state) == 0 && mkdir(*state, 0700) == 0); /* it is empty */
}

static void a_path_that_is_no_queue_is_told_from_one_that_is_not_there(void **state)
{
    api_file_write(api_path(*state, "file"), "text", 4);
    IS(LQ_ENOTQUEUE, try_open(api_path(*state, "file"), 0));
    TEXT_HAS("file");
    IS(LQ_ENOTQUEUE, try_open(api_path(*state, "file"), LQ_READ_ONLY));
    IS(LQ_ENOTQUEUE, try_open(api_path(*state, "file/q"), 0));
    IS(LQ_ENOTQUEUE, try_open(*state, 0)); /* a directory of something else */
    TEXT_HAS("meta");
    IS(LQ_ENOTQUEUE, try_open(*state, LQ_READ_ONLY));
    struct api_bytes same = api_file_read(api_path(*state, "file"));
    HOLDS(same.size == 4 && memcmp(same.bytes, "text", 4) == 0);
    free(same.bytes);
    HOLDS(!api_file_exists(api_path(*state, "log")));

    HOLDS(mkdir(api_path(*state, "dir"), 0700) == 0);
    api_file_write(api_path(*state, "dir/meta"), "This is a text file that happens to be called meta.", 50);
    int err = try_open(api_path(*state, "dir"), 0);
    HOLDS(err == LQ_ENOTQUEUE || err == LQ_ECORRUPT);
    TEXT_HAS("meta");
}

static void odd_characters_in_a_path_are_fine(void **state)
{
    const char *names[] = {"with space", "new\nline", "\x01\x02", "caf\xc3\xa9", "-dash", "a'b\"c", "..x"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        OK(try_open(api_path(*state, names[i]), 0));
        OK(try_open(api_path(*state, names[i]), LQ_NO_CREATE));
    }
}

static void a_symbolic_link_to_a_queue_is_the_queue_but_links_inside_are_refused(void **state)
{
    make_queue(state);
    HOLDS(symlink(api_path(*state, "q"), api_path(*state, "link")) == 0);
    OK(try_open(api_path(*state, "link"), 0));

    const char *meta = api_path(*state, "q/meta"), *away = api_path(*state, "away");
    HOLDS(rename(meta, away) == 0 && symlink(away, meta) == 0);
    HOLDS(try_open(api_path(*state, "q"), 0) < 0);
    TEXT_HAS("meta");
    HOLDS(unlink(meta) == 0 && mkfifo(meta, 0600) == 0);
    HOLDS(try_open(api_path(*state, "q"), 0) < 0); /* and does not hang */
    TEXT_HAS("meta");
    HOLDS(unlink(meta) == 0 && mkdir(meta, 0700) == 0);
    HOLDS(try_open(api_path(*state, "q"), 0) < 0);
    HOLDS(rmdir(meta) == 0 && link(away, meta) == 0);
    HOLDS(try_open(api_path(*state, "q"), 0) < 0); /* it has another name */
    HOLDS(unlink(meta) == 0 && rename(away, meta) == 0);
    check_all_back(state, false);
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
    make_queue(state);
    static const size_t version = 8, must_refuse = 20;
    for (int i = 0; i < 2; i++) {
        const char *meta = api_path(*state, "q/meta");
        patch_stamp(meta, 512, i ? must_refuse : version, i ? 1 : 2);
        struct api_tree *before = api_tree_read(api_path(*state, "q"));
        IS(LQ_EVERSION, try_open(api_path(*state, "q"), 0));
        TEXT_HAS("meta");
        IS(LQ_EVERSION, try_open(api_path(*state, "q"), LQ_READ_ONLY));
        IS(LQ_EVERSION, lq_verify(api_path(*state, "q"), 0, NULL, NULL, NULL));
        HOLDS(api_tree_same(before, NULL));
        api_tree_free(before);
        patch_stamp(meta, 512, i ? must_refuse : version, i ? 0 : 1);
    }
    check_all_back(state, false);
}

static void a_segment_of_a_newer_format_is_stepped_over_and_told(void **state)
{
    make_queue(state);
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
    HOLDS(got > MESSAGES / 2 && got < MESSAGES);
    lq_reader_close(reader);
    OK(lq_close(queue));
    patch_stamp(segment, 128, 8, 1);
    check_all_back(state, false);
}

static void foreign_files_in_the_queue_are_left_alone(void **state)
{
    make_queue(state);
    const char *names[] = {"q/notes.txt", "q/log/notes.txt", "q/log/00000000000000000001.seg.bak", "q/log/1.seg",
                           "q/log/99999999999999999999.seg", "q/log/0000000000000000000x.seg", "q/consumers/readme", "q/consumers/.pos",
                           "q/consumers/a b.pos"};
    enum { NAMES = sizeof names / sizeof *names };
    for (size_t i = 0; i < NAMES; i++) api_file_write(api_path(*state, names[i]), "mine", 4);
    HOLDS(mkdir(api_path(*state, "q/log/dir"), 0700) == 0);
    HOLDS(mkfifo(api_path(*state, "q/log/fifo"), 0600) == 0);
    check_all_back(state, false);
    lq_queue *queue = api_open(state, NULL);
    EQUAL(api_stats(queue).consumers, 1);
    api_put_range(queue, MESSAGES + 1, MESSAGES + 300, BODY);
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
        make_queue(inner);
        strcpy(path, api_path(inside, "q/log/00000000000000009000.seg")); /* it would be the last one */
        if (kind == 0) api_file_write(path, "this is not a segment", 21);
        else if (kind == 1) HOLDS(mkdir(path, 0700) == 0);
        else HOLDS(symlink("/dev/null", path) == 0);
        lq_queue *queue = api_open(inner, NULL);
        lq_reader *reader;
        lq_message message;
        OK(lq_reader_open(queue, &reader));
        for (uint64_t id = 1; id <= MESSAGES; id++) {
            OK(lq_reader_next(reader, &message));
            EQUAL(message.id, id);
        }
        lq_reader_close(reader);
        HOLDS(api_put(queue, "more") > MESSAGES);
        OK(lq_close(queue));
        HOLDS(lq_verify(api_path(inside, "q"), 0, NULL, NULL, NULL) != LQ_OK);
    }
}

/* ---- damage ------------------------------------------------------------------------- */

struct damage {
    const char *what;
    void (*damage)(const char *path, struct api_bytes file);
};

static void cut(const char *path, struct api_bytes file, size_t size)
{
    api_file_write(path, file.bytes, size < file.size ? size : file.size);
}

static void zero(const char *path, struct api_bytes file, size_t from, size_t to)
{
    uint8_t *copy = malloc(file.size + 1);
    memcpy(copy, file.bytes, file.size);
    for (size_t i = from; i < to && i < file.size; i++) copy[i] = 0;
    api_file_write(path, copy, file.size);
    free(copy);
}

static void empty(const char *path, struct api_bytes file) { cut(path, file, 0); }
static void cut_to_100(const char *path, struct api_bytes file) { cut(path, file, 100); }
static void cut_in_half(const char *path, struct api_bytes file) { cut(path, file, file.size / 2); }
static void cut_by_one(const char *path, struct api_bytes file) { cut(path, file, file.size - 1); }
static void zero_all(const char *path, struct api_bytes file) { zero(path, file, 0, file.size); }
static void zero_start(const char *path, struct api_bytes file) { zero(path, file, 0, 4096); }
static void zero_middle(const char *path, struct api_bytes file) { zero(path, file, file.size / 2, file.size / 2 + 4096); }
static void zero_end(const char *path, struct api_bytes file) { zero(path, file, file.size > 8192 ? file.size - 4096 : file.size / 2, file.size); }
static void remove_it(const char *path, struct api_bytes file) { (void)file, HOLDS(unlink(path) == 0); }

static void flip_many(const char *path, struct api_bytes file)
{
    for (size_t i = 77; i < file.size; i += 5003) api_file_flip(path, i, (uint8_t)(1 << i % 8));
}

static void noise(const char *path, struct api_bytes file)
{
    uint8_t *bytes = malloc(file.size + 8);
    api_fill(bytes, file.size, 12345);
    api_file_write(path, bytes, file.size);
    free(bytes);
}

static const struct damage damages[] = {
    {"empty", empty}, {"cut to 100", cut_to_100}, {"cut in half", cut_in_half}, {"cut by one", cut_by_one}, {"zeroes", zero_all},
    {"start zeroed", zero_start}, {"middle zeroed", zero_middle}, {"end zeroed", zero_end}, {"removed", remove_it},
    {"flipped", flip_many}, {"noise", noise},
};
enum { DAMAGES = sizeof damages / sizeof *damages };

/* Reads everything: whatever comes is right and in order, and no gap goes untold. Gives how many came. */
static uint64_t read_what_is_left(lq_queue *queue, const char *what)
{
    lq_reader *reader;
    lq_message message;
    uint64_t last = 0, got = 0;
    int err, told = 0, calls = 0;

    OK(lq_reader_open(queue, &reader));
    while ((err = lq_reader_next(reader, &message)) != LQ_EMPTY) {
        HOLDS(++calls < 5000);
        if (err) {
            IS(LQ_ECORRUPT, err);
            HOLDS(strstr(lq_error_text(), "seg") != NULL || strstr(lq_error_text(), "shared") != NULL);
            told = 1;
            continue;
        }
        HOLDS(message.id > last);
        if (message.id != last + 1 && !told) {
            printf("%s: from %" PRIu64 " to %" PRIu64 " without a word\n", what, last, message.id);
            HOLDS(!"a gap is told");
        }
        if (message.id <= MESSAGES) HOLDS(api_is_filled(&message, BODY, message.id));
        last = message.id;
        told = 0;
        got += message.id <= MESSAGES;
    }
    if (last < MESSAGES && !told && api_stats(queue).damage == 0) {
        printf("%s: ends at %" PRIu64 " without a word\n", what, last);
        HOLDS(!"a lost end is told");
    }
    lq_reader_close(reader);
    return got;
}

/* The same through a consumer. */
static uint64_t take_what_is_left(lq_queue *queue, const char *name)
{
    lq_consumer *consumer = api_consumer(queue, name, NULL);
    lq_message message;
    uint64_t got = 0, last = 0;
    int err, calls = 0;

    while ((err = lq_poll(consumer, &message)) != LQ_EMPTY) {
        HOLDS(++calls < 5000);
        if (err) {
            IS(LQ_ECORRUPT, err);
            continue;
        }
        HOLDS(message.id > last);
        last = message.id;
        if (message.id <= MESSAGES) HOLDS(api_is_filled(&message, BODY, message.id));
        got++;
    }
    OK(lq_consumer_close(consumer));
    return got;
}

/* A consumer to whom everything was handed out once, and will be again. */
static void hand_out_everything(void **state)
{
    lq_queue *queue = api_open(state, NULL);
    lq_consumer *consumer = api_consumer(queue, "again", &(lq_consumer_options){.window = 2000});
    lq_message message;
    for (int i = 0; i < MESSAGES; i++) OK(lq_poll(consumer, &message));
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
}

static void forget_consumers(void **state)
{
    lq_queue *queue = api_open(state, NULL);
    OK(lq_consumer_delete(queue, "new"));
    OK(lq_consumer_delete(queue, "again"));
    OK(lq_close(queue));
}

static void damage_and_undo(void **state, const char *path, const char *where, bool at_the_end)
{
    static const char *const written[] = {"meta", "shared", "c.pos", "again.pos", NULL};
    struct api_bytes good = api_file_read(path);
    char what[200];

    for (size_t i = 0; i < DAMAGES; i++) {
        snprintf(what, sizeof what, "%s %s", where, damages[i].what);
        hand_out_everything(state);
        damages[i].damage(path, good);
        struct api_tree *before = api_tree_read(api_path(*state, "q"));

        lq_queue *queue = api_open(state, NULL);
        uint64_t left = read_what_is_left(queue, what);
        HOLDS(left >= MESSAGES / 2);
        uint64_t taken = take_what_is_left(queue, "new"), again = take_what_is_left(queue, "again");
        if (taken != left || again != left) {
            printf("%s: a reader finds %" PRIu64 " messages, a new consumer %" PRIu64 ", one to whom they come again %" PRIu64 "\n",
                   what, left, taken, again);
            HOLDS(!"consumers get what readers see");
        }
        bool torn = api_stats(queue).recovered_bytes > 0; /* a mark that was cut is no damage, nobody was promised it */
        OK(lq_close(queue));
        if (torn) HOLDS(damages[i].damage == cut_by_one && left == MESSAGES);
        if (!torn && !api_tree_same(before, written)) {
            printf("%s: opening has changed it\n", what);
            HOLDS(!"opening changes no byte");
        }
        api_tree_free(before);
        IS(torn ? LQ_OK : LQ_ECORRUPT, lq_verify(api_path(*state, "q"), 0, NULL, NULL, NULL));

        api_file_write(path, good.bytes, good.size);
        check_all_back(state, at_the_end);
        forget_consumers(state);
    }
    free(good.bytes);
}

static void damage_to_a_segment_costs_what_it_hits_and_undone_everything_is_back(void **state)
{
    make_queue(state);
    char path[4096];
    size_t count = 0;
    while (api_segment(api_path(*state, "q"), count)) count++;
    HOLDS(count >= 5);
    strcpy(path, api_segment(api_path(*state, "q"), count / 2));
    damage_and_undo(state, path, "a segment in the middle", false);
    strcpy(path, api_segment(api_path(*state, "q"), 0));
    damage_and_undo(state, path, "the first segment", false);
}

static void damage_to_the_last_segment_too(void **state)
{
    make_queue(state);
    char path[4096];
    size_t count = 0;
    while (api_segment(api_path(*state, "q"), count)) count++;
    strcpy(path, api_segment(api_path(*state, "q"), count - 1));
    damage_and_undo(state, path, "the last segment", true);
}

static void ids_are_never_given_twice_behind_a_lost_end(void **state)
{
    for (size_t i = 0; i < DAMAGES; i++) {
        char directory[4096], name[20], path[4096];
        snprintf(name, sizeof name, "%zu", i);
        strcpy(directory, api_path(*state, name));
        HOLDS(mkdir(directory, 0700) == 0);
        void *inner[1] = {directory};
        make_queue(inner);
        size_t count = 0;
        while (api_segment(api_path(directory, "q"), count)) count++;
        strcpy(path, api_segment(api_path(directory, "q"), count - 1));
        struct api_bytes good = api_file_read(path);
        damages[i].damage(path, good);
        lq_queue *queue = api_open(inner, NULL);
        uint64_t id = api_put(queue, "behind");
        HOLDS(id > MESSAGES);
        OK(lq_close(queue));
        free(good.bytes);
        queue = api_open(inner, NULL);
        HOLDS(api_put(queue, "behind") == id + 1);
        OK(lq_close(queue));
    }
}

static void a_damaged_meta_is_told_and_undone_everything_is_back(void **state)
{
    make_queue(state);
    char path[4096];
    strcpy(path, api_path(*state, "q/meta"));
    struct api_bytes good = api_file_read(path);

    for (size_t i = 0; i < DAMAGES; i++) {
        damages[i].damage(path, good);
        struct api_tree *before = api_tree_read(api_path(*state, "q"));
        int err = try_open(api_path(*state, "q"), 0);
        if (damages[i].damage == flip_many || damages[i].damage == zero_middle || damages[i].damage == zero_end || damages[i].damage == noise)
            HOLDS(err == LQ_OK || err == LQ_ECORRUPT || err == LQ_ENOTQUEUE);
        else
            IS(LQ_ECORRUPT, err);
        if (err) {
            TEXT_HAS("meta");
            HOLDS(api_tree_same(before, (const char *[]){"shared", NULL}));
        }
        api_tree_free(before);
        api_file_write(path, good.bytes, good.size);
        check_all_back(state, false);
    }
    free(good.bytes);
}

static void one_damaged_copy_of_meta_is_no_harm(void **state)
{
    make_queue(state);
    for (size_t at = 0; at < 2048; at += 37) {
        api_file_flip(api_path(*state, "q/meta"), at, 0x40);
        OK(try_open(api_path(*state, "q"), 0));
        OK(try_open(api_path(*state, "q"), LQ_READ_ONLY));
        api_file_flip(api_path(*state, "q/meta"), at, 0x40);
    }
    check_all_back(state, false);
}

static void a_damaged_offset_file_stops_its_own_consumer_only(void **state)
{
    make_queue(state);
    char path[4096];
    strcpy(path, api_path(*state, "q/consumers/c.pos"));
    lq_queue *queue = api_open(state, NULL);
    OK(lq_consumer_close(api_consumer(queue, "other", NULL)));
    OK(lq_close(queue));
    struct api_bytes good = api_file_read(path);

    for (size_t i = 0; i < DAMAGES; i++) {
        if (damages[i].damage == remove_it) continue; /* then there is no such consumer */
        damages[i].damage(path, good);
        queue = api_open(state, NULL);
        lq_consumer *consumer = NULL, *other = api_consumer(queue, "other", NULL);
        lq_message message;
        OK(lq_poll(other, &message));
        OK(lq_consumer_close(other));
        int err = lq_consumer_open(queue, "c", NULL, &consumer);
        if (err == LQ_OK) { /* a window's words may be gone: messages come again, none is lost */
            OK(lq_poll(consumer, &message));
            HOLDS(message.id <= 11);
            OK(lq_consumer_close(consumer));
        } else {
            IS(LQ_ECORRUPT, err);
            TEXT_HAS("c.pos");
            IS(LQ_ECORRUPT, lq_get_consumer_stats(queue, "c", &(lq_consumer_stats){.size = sizeof(lq_consumer_stats)}));
        }
        api_put(queue, "goes on");
        OK(lq_close(queue));
        if (err) IS(LQ_ECORRUPT, lq_verify(api_path(*state, "q"), 0, NULL, NULL, NULL));
        api_file_write(path, good.bytes, good.size);
    }
    queue = api_open(state, NULL);
    lq_consumer *consumer = api_consumer(queue, "c", NULL);
    lq_message message;
    OK(lq_poll(consumer, &message));
    EQUAL(message.id, 11);
    EQUAL(message.attempts, 2);
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
    free(good.bytes);
}

static void a_damaged_working_memory_is_ignored(void **state)
{
    make_queue(state);
    struct api_bytes good = api_file_read(api_path(*state, "q/shared"));
    for (size_t i = 0; i < DAMAGES; i++) {
        api_file_write(api_path(*state, "q/shared"), good.bytes, good.size);
        damages[i].damage(api_path(*state, "q/shared"), good);
        check_all_back(state, false);
    }
    free(good.bytes);
}

static int put_and_die(void *path)
{
    lq_queue *queue;
    OK(lq_open(path, NULL, &queue));
    api_put_range(queue, MESSAGES + 1, MESSAGES + 20, BODY); /* synced: they are in the file */
    raise(SIGKILL);
    return 0;
}

static void a_damaged_working_memory_of_the_killed_costs_nothing_that_was_synced(void **state)
{
    for (size_t i = 0; i < DAMAGES; i++) {
        char directory[4096], name[20];
        snprintf(name, sizeof name, "%zu", i);
        strcpy(directory, api_path(*state, name));
        HOLDS(mkdir(directory, 0700) == 0);
        void *inner[1] = {directory};
        make_queue(inner);
        char path[4096];
        strcpy(path, api_path(directory, "q"));
        EQUAL(child_run(put_and_die, path), 100 + SIGKILL);
        struct api_bytes good = api_file_read(api_path(directory, "q/shared"));
        damages[i].damage(api_path(directory, "q/shared"), good);
        free(good.bytes);
        lq_queue *queue = api_open(inner, NULL);
        api_read_range(queue, 1, MESSAGES + 20, BODY);
        lq_consumer *consumer = api_consumer(queue, "c", NULL);
        api_take_range(consumer, 11, MESSAGES + 20, BODY);
        OK(lq_consumer_close(consumer));
        OK(lq_close(queue));
    }
}

static void a_working_memory_removed_in_use_makes_no_second_one(void **state)
{
    make_queue(state);
    lq_queue *queue = api_open(state, NULL);
    HOLDS(unlink(api_path(*state, "q/shared")) == 0);
    IS(LQ_EBUSY, try_open(api_path(*state, "q"), 0));
    TEXT_HAS("shared");
    EQUAL(api_put(queue, "goes on"), MESSAGES + 1);
    OK(lq_close(queue));
    OK(try_open(api_path(*state, "q"), 0));
}

static void a_missing_directory_of_the_queue_is_damage(void **state)
{
    make_queue(state);
    static const char *const parts[] = {"q/log", "q/consumers"};
    for (int i = 0; i < 2; i++) {
        HOLDS(rename(api_path(*state, parts[i]), api_path(*state, "away")) == 0);
        IS(LQ_ECORRUPT, try_open(api_path(*state, "q"), 0));
        TEXT_HAS(parts[i] + 2);
        /* Without its consumers there is still everything to read. */
        IS(i == 0 ? LQ_ECORRUPT : LQ_OK, try_open(api_path(*state, "q"), LQ_READ_ONLY));
        IS(LQ_ECORRUPT, lq_verify(api_path(*state, "q"), 0, NULL, NULL, NULL));
        HOLDS(!api_file_exists(api_path(*state, parts[i])));
        HOLDS(rename(api_path(*state, "away"), api_path(*state, parts[i])) == 0);
    }
    HOLDS(rename(api_path(*state, "q/meta"), api_path(*state, "away")) == 0);
    IS(LQ_ECORRUPT, try_open(api_path(*state, "q"), 0)); /* and not: a new queue in its place */
    TEXT_HAS("meta");
    HOLDS(rename(api_path(*state, "away"), api_path(*state, "q/meta")) == 0);
    check_all_back(state, false);
}

/* ---- permission ------------------------------------------------------------------------ */

static int open_as_nobody(void *directory)
{
    HOLDS(chdir(directory) == 0); /* the way here may be closed to others */
    if (getuid() == 0 && setuid(65534) != 0) return CHILD_SKIP;
    IS(LQ_EACCESS, try_open("q", 0));
    TEXT_HAS("q", "ermission denied");
    IS(LQ_EACCESS, try_open("q", LQ_READ_ONLY));
    IS(LQ_EACCESS, try_open("new", 0));
    IS(LQ_EACCESS, lq_verify("q", 0, NULL, NULL, NULL));
    return 0;
}

static void without_permission_one_is_told_so(void **state)
{
    char path[4096];
    strcpy(path, api_path(*state, "q"));
    make_queue(state);
    chmod(*state, 0555);
    if (getuid() != 0) chmod(path, 0);
    int result = child_run(open_as_nobody, *state);
    chmod(path, 0700);
    chmod(*state, 0700);
    if (result == CHILD_SKIP) skip();
    EQUAL(result, 0);
    check_all_back(state, false);
}

/* ---- space ------------------------------------------------------------------------------ */

static void fill_the_disk(const char *path)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    static const char block[4096];
    HOLDS(fd >= 0);
    while (write(fd, block, sizeof block) > 0) {}
    HOLDS(errno == ENOSPC);
    close(fd);
}

static int use_a_full_disk(void *context)
{
    void **state = context;
    char filler[4096];
    if (!child_unshare_mounts() || mount("none", *state, "tmpfs", 0, "size=4m") != 0) return CHILD_SKIP;
    strcpy(filler, api_path(*state, "filler"));

    lq_options options = small;
    options.full = LQ_FULL_REJECT;
    lq_queue *queue = api_open(state, &options);
    lq_consumer *consumer = api_consumer(queue, "c", &(lq_consumer_options){.window = 100});
    char body[1000] = {0};
    lq_message message;
    uint64_t accepted = 0, taken = 0;

    for (; accepted < 200; accepted++) OK(lq_put(queue, body, sizeof body, NULL));
    fill_the_disk(filler);
    int err;
    while ((err = lq_put(queue, body, sizeof body, NULL)) == LQ_OK) accepted++;
    IS(LQ_ENOSPC, err);
    TEXT_HAS("log/", "No space");
    EQUAL(api_stats(queue).last_id, accepted); /* what was refused is not in the queue */
    IS(LQ_ENOSPC, lq_put(queue, body, sizeof body, NULL));
    char *large = calloc(1, 100 << 10);
    IS(LQ_ENOSPC, lq_put(queue, large, 100 << 10, NULL));
    EQUAL(api_stats(queue).poisoned, 0);
    OK(lq_sync(queue));
    lq_consumer *more = NULL;
    IS(LQ_ENOSPC, lq_consumer_open(queue, "new", NULL, &more));

    for (; taken < 10; taken++) { /* GET and ack go on */
        OK(lq_poll(consumer, &message));
        EQUAL(message.id, taken + 1);
        OK(lq_ack(consumer, &message));
    }
    OK(lq_poll(consumer, &message));
    OK(lq_release(consumer, &message));
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));

    fill_the_disk(filler); /* what closing gave back, too */
    queue = api_open(state, NULL); /* opening works on a full disk */
    EQUAL(api_stats(queue).last_id, accepted);
    EQUAL(api_stats(queue).damage, 0);
    consumer = api_consumer(queue, "c", NULL);
    OK(lq_poll(consumer, &message));
    EQUAL(message.id, taken + 1);
    OK(lq_ack(consumer, &message));
    taken++;
    IS(LQ_ENOSPC, lq_put(queue, body, sizeof body, NULL));
    while (taken < accepted && (err = lq_put(queue, body, sizeof body, NULL)) == LQ_ENOSPC) { /* consuming makes room by itself */
        OK(lq_poll(consumer, &message));
        OK(lq_ack(consumer, &message));
        taken++;
    }
    OK(err);
    accepted++;
    HOLDS(api_stats(queue).first_id > 1);
    HOLDS(unlink(filler) == 0);
    for (int i = 0; i < 200; i++, accepted++) OK(lq_put(queue, body, sizeof body, NULL));
    while (lq_poll(consumer, &message) == LQ_OK) {
        EQUAL(message.id, ++taken);
        OK(lq_ack(consumer, &message));
    }
    EQUAL(taken, accepted);
    free(large);
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
    OK(lq_verify(api_path(*state, "q"), 0, NULL, NULL, NULL));

    fill_the_disk(filler); /* and a new queue cannot be made, and leaves nothing that is in the way of the next try */
    lq_queue *other = NULL;
    IS(LQ_ENOSPC, lq_open(api_path(*state, "other"), NULL, &other));
    HOLDS(unlink(filler) == 0);
    lq_options tiny = small;
    tiny.size = sizeof tiny;
    OK(lq_open(api_path(*state, "other"), &tiny, &other));
    api_put(other, "works");
    OK(lq_close(other));
    return 0;
}

static void a_full_disk_is_an_ordinary_answer(void **state)
{
    int result = child_run(use_a_full_disk, state);
    if (result == CHILD_SKIP) skip();
    EQUAL(result, 0);
}

static int put_beyond_the_file_size_limit(void *context)
{
    void **state = context;
    struct rlimit limit = {700 << 10, RLIM_INFINITY};
    HOLDS(setrlimit(RLIMIT_FSIZE, &limit) == 0);
    lq_queue *queue = api_open(state, &small), *wide = NULL;
    lq_consumer *consumer = api_consumer(queue, "c", &(lq_consumer_options){.window = 100});
    char *large = calloc(1, 1 << 20);

    api_put(queue, "before");
    IS(LQ_ENOSPC, lq_put(queue, large, 1 << 20, NULL)); /* and no SIGXFSZ */
    TEXT_HAS("log/", "too large");
    api_put(queue, "after");
    api_get_ack(consumer, "before");
    api_get_ack(consumer, "after");
    lq_options options = {.size = sizeof options, .segment_size = 1 << 20, .ring_size = 64 << 10};
    OK(lq_open(api_path(*state, "wide"), &options, &wide));
    IS(LQ_ENOSPC, lq_put(wide, "x", 1, NULL));
    limit.rlim_cur = RLIM_INFINITY;
    HOLDS(setrlimit(RLIMIT_FSIZE, &limit) == 0);
    EQUAL(api_put(wide, "x"), 1);
    OK(lq_put(queue, large, 1 << 20, NULL));
    free(large);
    OK(lq_consumer_close(consumer));
    OK(lq_close(wide));
    OK(lq_close(queue));
    return 0;
}

static void a_file_size_limit_is_no_signal(void **state)
{
    EQUAL(child_run(put_beyond_the_file_size_limit, state), 0);
}

/* ---- descriptors --------------------------------------------------------------------------- */

static void allow_descriptors(rlim_t count)
{
    struct rlimit limit;
    HOLDS(getrlimit(RLIMIT_NOFILE, &limit) == 0);
    limit.rlim_cur = count;
    HOLDS(setrlimit(RLIMIT_NOFILE, &limit) == 0);
}

static rlim_t next_descriptor(void)
{
    int fd = dup(0);
    HOLDS(fd >= 0);
    close(fd);
    return (rlim_t)fd;
}

static int run_out_of_descriptors(void *context)
{
    void **state = context;
    char path[4096];
    strcpy(path, api_path(*state, "q"));
    rlim_t free_from = next_descriptor();
    int err = LQ_ELIMIT;
    rlim_t more;

    for (more = 0; more < 100 && err == LQ_ELIMIT; more++) { /* opening */
        allow_descriptors(free_from + more);
        err = try_open(path, 0);
        allow_descriptors(1000);
        EQUAL(next_descriptor(), free_from); /* none is left open */
    }
    OK(err);
    HOLDS(more > 3);
    err = LQ_ELIMIT;
    for (more = 0; more < 100 && err == LQ_ELIMIT; more++) { /* making */
        allow_descriptors(free_from + more);
        err = try_open(api_path(*state, "new"), 0);
    }
    OK(err);

    allow_descriptors(1000);
    lq_queue *queue = api_open(state, NULL);
    lq_consumer *consumer = NULL;
    lq_reader *reader = NULL;
    lq_message message;
    free_from = next_descriptor();
    allow_descriptors(free_from);
    IS(LQ_ELIMIT, lq_consumer_open(queue, "c", NULL, &consumer));
    IS(LQ_ELIMIT, lq_consumer_open(queue, "new", NULL, &consumer));
    err = lq_reader_open(queue, &reader);
    if (err == LQ_OK) {
        IS(LQ_ELIMIT, lq_reader_next(reader, &message));
        allow_descriptors(1000);
        OK(lq_reader_next(reader, &message)); /* tried again, nothing was skipped */
        EQUAL(message.id, 1);
        allow_descriptors(free_from);
        lq_reader_close(reader);
    } else {
        IS(LQ_ELIMIT, err);
    }
    uint64_t last = MESSAGES;
    uint8_t body[BODY];
    for (int i = 0; i < 1000; i++) { /* puts may go on, or not; what was refused is not there */
        api_fill(body, BODY, last + 1);
        err = lq_put(queue, body, BODY, NULL);
        if (err) break;
        last++;
    }
    if (err) HOLDS(err == LQ_ELIMIT || err == LQ_EBUSY);
    api_note("without descriptors put says %s", lq_error_name(err));
    uint64_t maybe = err == LQ_EBUSY;
    allow_descriptors(1000);
    OK(lq_sync(queue));
    EQUAL(api_stats(queue).last_id, last + maybe);
    api_read_range(queue, 1, last + maybe, BODY);
    EQUAL(api_stats(queue).poisoned, 0);

    consumer = api_consumer(queue, "c", NULL);
    free_from = next_descriptor();
    allow_descriptors(free_from);
    IS(LQ_ELIMIT, lq_fd(consumer));
    err = lq_poll(consumer, &message);
    HOLDS(err == LQ_OK || err == LQ_ELIMIT);
    if (err == LQ_OK) OK(lq_release(consumer, &message));
    allow_descriptors(1000);
    api_take_range(consumer, 11, last, BODY);
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
    return 0;
}

static void without_descriptors_one_is_told_so_and_nothing_is_lost(void **state)
{
    make_queue(state);
    EQUAL(child_run(run_out_of_descriptors, state), 0);
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
        IN_DIRECTORY(damage_to_a_segment_costs_what_it_hits_and_undone_everything_is_back),
        IN_DIRECTORY(damage_to_the_last_segment_too),
        IN_DIRECTORY(ids_are_never_given_twice_behind_a_lost_end),
        IN_DIRECTORY(a_damaged_meta_is_told_and_undone_everything_is_back),
        IN_DIRECTORY(one_damaged_copy_of_meta_is_no_harm),
        IN_DIRECTORY(a_damaged_offset_file_stops_its_own_consumer_only),
        IN_DIRECTORY(a_damaged_working_memory_is_ignored),
        IN_DIRECTORY(a_damaged_working_memory_of_the_killed_costs_nothing_that_was_synced),
        IN_DIRECTORY(a_working_memory_removed_in_use_makes_no_second_one),
        IN_DIRECTORY(a_missing_directory_of_the_queue_is_damage),
        IN_DIRECTORY(without_permission_one_is_told_so),
        IN_DIRECTORY(a_full_disk_is_an_ordinary_answer),
        IN_DIRECTORY(a_file_size_limit_is_no_signal),
        IN_DIRECTORY(without_descriptors_one_is_told_so_and_nothing_is_lost),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
