/* Damage to any file of a queue: cut, zeroed, filled with noise, removed. It is told with the file and the reason; nothing
 * crashes; what was accepted and is not itself damaged stays readable; and once the damage is undone, everything is back. */
#include <inttypes.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "support/api.h"
#include "support/child.h"
#include "support/victim.h"

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
        if (message.id <= VICTIM_MESSAGES) HOLDS(api_is_filled(&message, VICTIM_BODY, message.id));
        last = message.id;
        told = 0;
        got += message.id <= VICTIM_MESSAGES;
    }
    if (last < VICTIM_MESSAGES && !told && api_stats(queue).damage == 0) {
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
        if (message.id <= VICTIM_MESSAGES) HOLDS(api_is_filled(&message, VICTIM_BODY, message.id));
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
    for (int i = 0; i < VICTIM_MESSAGES; i++) OK(lq_poll(consumer, &message));
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
        HOLDS(left >= VICTIM_MESSAGES / 2);
        uint64_t taken = take_what_is_left(queue, "new"), again = take_what_is_left(queue, "again");
        if (taken != left || again != left) {
            printf("%s: a reader finds %" PRIu64 " messages, a new consumer %" PRIu64 ", one to whom they come again %" PRIu64 "\n",
                   what, left, taken, again);
            HOLDS(!"consumers get what readers see");
        }
        bool torn = api_stats(queue).recovered_bytes > 0; /* a mark that was cut is no damage, nobody was promised it */
        OK(lq_close(queue));
        if (torn) HOLDS(damages[i].damage == cut_by_one && left == VICTIM_MESSAGES);
        if (!torn && !api_tree_same(before, written)) {
            printf("%s: opening has changed it\n", what);
            HOLDS(!"opening changes no byte");
        }
        api_tree_free(before);
        IS(torn ? LQ_OK : LQ_ECORRUPT, lq_verify(api_path(*state, "q"), 0, NULL, NULL, NULL));

        api_file_write(path, good.bytes, good.size);
        victim_is_whole(state, at_the_end);
        forget_consumers(state);
    }
    free(good.bytes);
}

static void damage_to_a_segment_costs_what_it_hits_and_undone_everything_is_back(void **state)
{
    victim_make(state);
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
    victim_make(state);
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
        victim_make(inner);
        size_t count = 0;
        while (api_segment(api_path(directory, "q"), count)) count++;
        strcpy(path, api_segment(api_path(directory, "q"), count - 1));
        struct api_bytes good = api_file_read(path);
        damages[i].damage(path, good);
        lq_queue *queue = api_open(inner, NULL);
        uint64_t id = api_put(queue, "behind");
        HOLDS(id > VICTIM_MESSAGES);
        OK(lq_close(queue));
        free(good.bytes);
        queue = api_open(inner, NULL);
        HOLDS(api_put(queue, "behind") == id + 1);
        OK(lq_close(queue));
    }
}

static void a_damaged_meta_is_told_and_undone_everything_is_back(void **state)
{
    victim_make(state);
    char path[4096];
    strcpy(path, api_path(*state, "q/meta"));
    struct api_bytes good = api_file_read(path);

    for (size_t i = 0; i < DAMAGES; i++) {
        damages[i].damage(path, good);
        struct api_tree *before = api_tree_read(api_path(*state, "q"));
        int err = victim_open(api_path(*state, "q"), 0);
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
        victim_is_whole(state, false);
    }
    free(good.bytes);
}

static void one_damaged_copy_of_meta_is_no_harm(void **state)
{
    victim_make(state);
    for (size_t at = 0; at < 2048; at += 37) {
        api_file_flip(api_path(*state, "q/meta"), at, 0x40);
        OK(victim_open(api_path(*state, "q"), 0));
        OK(victim_open(api_path(*state, "q"), LQ_READ_ONLY));
        api_file_flip(api_path(*state, "q/meta"), at, 0x40);
    }
    victim_is_whole(state, false);
}

static void a_damaged_offset_file_stops_its_own_consumer_only(void **state)
{
    victim_make(state);
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
    victim_make(state);
    struct api_bytes good = api_file_read(api_path(*state, "q/shared"));
    for (size_t i = 0; i < DAMAGES; i++) {
        api_file_write(api_path(*state, "q/shared"), good.bytes, good.size);
        damages[i].damage(api_path(*state, "q/shared"), good);
        victim_is_whole(state, false);
    }
    free(good.bytes);
}

static int put_and_die(void *path)
{
    lq_queue *queue;
    OK(lq_open(path, NULL, &queue));
    api_put_range(queue, VICTIM_MESSAGES + 1, VICTIM_MESSAGES + 20, VICTIM_BODY); /* synced: they are in the file */
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
        victim_make(inner);
        char path[4096];
        strcpy(path, api_path(directory, "q"));
        EQUAL(child_run(put_and_die, path), 100 + SIGKILL);
        struct api_bytes good = api_file_read(api_path(directory, "q/shared"));
        damages[i].damage(api_path(directory, "q/shared"), good);
        free(good.bytes);
        lq_queue *queue = api_open(inner, NULL);
        api_read_range(queue, 1, VICTIM_MESSAGES + 20, VICTIM_BODY);
        lq_consumer *consumer = api_consumer(queue, "c", NULL);
        api_take_range(consumer, 11, VICTIM_MESSAGES + 20, VICTIM_BODY);
        OK(lq_consumer_close(consumer));
        OK(lq_close(queue));
    }
}

static void a_working_memory_removed_in_use_makes_no_second_one(void **state)
{
    victim_make(state);
    lq_queue *queue = api_open(state, NULL);
    HOLDS(unlink(api_path(*state, "q/shared")) == 0);
    IS(LQ_EBUSY, victim_open(api_path(*state, "q"), 0));
    TEXT_HAS("shared");
    EQUAL(api_put(queue, "goes on"), VICTIM_MESSAGES + 1);
    OK(lq_close(queue));
    OK(victim_open(api_path(*state, "q"), 0));
}

static void a_missing_directory_of_the_queue_is_damage(void **state)
{
    victim_make(state);
    static const char *const parts[] = {"q/log", "q/consumers"};
    for (int i = 0; i < 2; i++) {
        HOLDS(rename(api_path(*state, parts[i]), api_path(*state, "away")) == 0);
        IS(LQ_ECORRUPT, victim_open(api_path(*state, "q"), 0));
        TEXT_HAS(parts[i] + 2);
        /* Without its consumers there is still everything to read. */
        IS(i == 0 ? LQ_ECORRUPT : LQ_OK, victim_open(api_path(*state, "q"), LQ_READ_ONLY));
        IS(LQ_ECORRUPT, lq_verify(api_path(*state, "q"), 0, NULL, NULL, NULL));
        HOLDS(!api_file_exists(api_path(*state, parts[i])));
        HOLDS(rename(api_path(*state, "away"), api_path(*state, parts[i])) == 0);
    }
    HOLDS(rename(api_path(*state, "q/meta"), api_path(*state, "away")) == 0);
    IS(LQ_ECORRUPT, victim_open(api_path(*state, "q"), 0)); /* and not: a new queue in its place */
    TEXT_HAS("meta");
    HOLDS(rename(api_path(*state, "away"), api_path(*state, "q/meta")) == 0);
    victim_is_whole(state, false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
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
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
