/* One damage at a time, and what repair makes of it: how many files it mends, how many messages are given up, which words it has for
 * it; and a dry run says the same. Where files contradict each other it does nothing and says so. */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
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

#include "checksum.h"
#include "queue.h"
#include "repair.h"
#include "support/api.h"
#include "support/damage.h"
#include "support/forge.h"
#include "support/io_fault.h"

enum { MESSAGES = 60, BODY = 3001, SPAN = 3048, SECOND = 22, THIRD = 43, WINDOW = 256 };

static const lq_options small = {.sync = LQ_SYNC_NEVER, .segment_size = 64 << 10, .ring_size = 64 << 10};

/* Segments of the messages 1 to 21, 22 to 42, 43 to 60; of the first ten the consumer c has all, and has settled the odd ones. */
static const char *make_queue(void **state)
{
    static unsigned count;
    char inner[4096];
    void *inside[1] = {inner};
    lq_message message;
    snprintf(inner, sizeof inner, "%s/%u", (const char *)*state, count++);
    HOLDS(mkdir(inner, 0700) == 0);
    lq_queue *queue = api_open(inside, &small);
    lq_consumer *consumer = api_consumer(queue, "c", &(lq_consumer_options){.window = WINDOW});
    api_put_range(queue, 1, MESSAGES, BODY);
    for (uint64_t id = 1; id <= 10; id++) {
        OK(lq_get(consumer, &message, 0));
        if (id % 2) OK(lq_ack(consumer, &message));
    }
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
    return api_path(inner, "q");
}

static uint64_t place_of(uint64_t id)
{
    return LQI_SEGMENT_HEADER + (id - (id < SECOND ? 1 : id < THIRD ? SECOND : THIRD)) * SPAN;
}

static const char *segment_of(const char *queue, uint64_t id)
{
    return api_segment(queue, id < SECOND ? 0 : id < THIRD ? 1 : 2);
}

static void flip_body(const char *queue, uint64_t id)
{
    api_file_flip(segment_of(queue, id), place_of(id) + 1000, 1);
}

static void lose_header(const char *queue, uint64_t id)
{
    damage_zero(segment_of(queue, id), 0, LQI_SEGMENT_HEADER);
}

/* ---- what a repair says ---------------------------------------------------------------- */

struct told {
    unsigned count;
    uint64_t lost;
    char texts[1000];
};

static void note(void *context, const lq_repair_step *step)
{
    struct told *told = context;
    size_t used = strlen(told->texts);
    told->count++;
    told->lost += step->count;
    snprintf(told->texts + used, sizeof told->texts - used, "%s: %s -> %s\n", step->file, step->damage, step->remedy);
}

static void is_repaired(const char *queue, unsigned steps, uint64_t lost, const char *words)
{
    struct told dry = {.count = 0}, told = {.count = 0};
    lq_verify_result result = {.size = sizeof result};
    IS(LQ_ECORRUPT, lq_verify(queue, 0, NULL, NULL, NULL));
    OK(lq_repair(queue, LQ_REPAIR_DRY_RUN, note, &dry, NULL));
    OK(lq_repair(queue, 0, note, &told, NULL));
    if (told.count != steps || told.lost != lost || !strstr(told.texts, words)) api_note("it said %s", told.texts);
    EQUAL(told.count, steps);
    EQUAL(told.lost, lost);
    HOLDS(strstr(told.texts, words) != NULL);
    EQUAL(dry.count, steps);
    EQUAL(dry.lost, lost);
    OK(lq_verify(queue, 0, NULL, NULL, &result));
    struct told again = {.count = 0};
    OK(lq_repair(queue, 0, note, &again, NULL));
    EQUAL(again.count, 0);
}

/* Nothing is touched. */
static void is_refused(const char *queue, int code, const char *words)
{
    struct api_tree *before = api_tree_read(queue);
    IS(code, lq_repair(queue, LQ_REPAIR_DRY_RUN, NULL, NULL, NULL));
    TEXT_HAS(words);
    IS(code, lq_repair(queue, 0, NULL, NULL, NULL));
    TEXT_HAS(words);
    HOLDS(api_tree_same(before, NULL));
    api_tree_free(before);
}

static uint64_t messages_in(const char *queue)
{
    lq_verify_result result = {.size = sizeof result};
    OK(lq_verify(queue, 0, NULL, NULL, &result));
    return result.messages;
}

/* ---- one file ---------------------------------------------------------------------------- */

static void one_copy(const char *queue) { api_file_flip(api_segment(queue, 0), 130, 1); }
static void only_the_index(const char *queue)
{
    api_file_flip(api_segment(queue, 1), damage_size(api_segment(queue, 1)) - LQI_SEGMENT_TRAILER - 3, 1);
}
static void padding(const char *queue) { api_file_flip(api_segment(queue, 0), place_of(3) + LQI_RECORD_HEADER + BODY, 1); }
static void padding_of_the_last(const char *queue) { api_file_flip(api_segment(queue, 2), place_of(MESSAGES) + LQI_RECORD_HEADER + BODY, 1); }
static void many_apart(const char *queue)
{
    for (uint64_t id = 1; id < 12; id += 2) flip_body(queue, id);
}
static void two_together(const char *queue)
{
    flip_body(queue, 2);
    flip_body(queue, 3);
}
static void the_last(const char *queue) { flip_body(queue, MESSAGES); }
static void one_and_the_end(const char *queue)
{
    flip_body(queue, 30);
    damage_cut(api_segment(queue, 1), place_of(41)); /* between two records */
}
static void no_trailer(const char *queue) { damage_cut(api_segment(queue, 0), damage_size(api_segment(queue, 0)) - 1); }
static void header_and_record(const char *queue)
{
    lose_header(queue, 30);
    flip_body(queue, 30);
}
static void two_places(const char *queue)
{
    api_file_flip(api_path(queue, "consumers/c.pos"), 50, 1);
    damage_fill(api_path(queue, "consumers/c.pos"), LQI_POSITION_ENTRIES_AT + 50 * LQI_POSITION_ENTRY, LQI_POSITION_ENTRY, 1);
}
static void cut_window(const char *queue) { damage_cut(api_path(queue, "consumers/c.pos"), LQI_POSITION_BLOCKS_AT + 100); }
static void short_names(const char *queue)
{
    api_file_write(api_path(queue, "log/x"), "x", 1);
    api_file_write(api_path(queue, "log/12.new"), "x", 1); /* who prepares a file calls it so */
    api_file_write(api_path(queue, "consumers/x"), "x", 1);
}

static const struct {
    void (*damage)(const char *queue);
    unsigned steps, lost;
    const char *words;
} cases[] = {
    {one_copy, 1, 0, "one of the two copies of the header"},
    {only_the_index, 1, 0, "the index does not verify"},
    {padding, 1, 0, "the bytes behind a record are not zero"},
    {padding_of_the_last, 1, 0, "the bytes behind a record are not zero"},
    {many_apart, 1, 6, "body checksum"},
    {two_together, 1, 2, "body checksum"},
    {the_last, 1, 1, "body checksum"},
    {one_and_the_end, 1, 3, "body checksum"},
    {no_trailer, 1, 0, "the trailer is missing"},
    {header_and_record, 1, 1, "body checksum"},
    {two_places, 1, 0, "the consumer has settled all up to message 1"},
    {cut_window, 1, 0, "the consumer has settled all up to message 1"},
    {short_names, 2, 0, "not the queue's"},
};

static void each_damage_is_mended_for_what_it_is(void **state)
{
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char queue[4096];
        strcpy(queue, make_queue(state));
        cases[i].damage(queue);
        is_repaired(queue, cases[i].steps, cases[i].lost, cases[i].words);
        EQUAL(messages_in(queue), MESSAGES - cases[i].lost);
    }
}

/* Of what was settled out of order in the part that is cut off nobody knows: it comes again, and nothing is skipped. */
static void a_consumer_whose_window_is_cut_gets_all_behind_its_floor(void **state)
{
    char queue[4096];
    lq_message message;
    lq_queue *opened;
    strcpy(queue, make_queue(state));
    cut_window(queue);
    OK(lq_repair(queue, 0, NULL, NULL, NULL));
    OK(lq_open(queue, NULL, &opened));
    lq_consumer *consumer = api_consumer(opened, "c", NULL);
    for (uint64_t id = 2; id <= MESSAGES; id++) {
        OK(lq_get(consumer, &message, 0));
        if (message.id != id) EQUAL(message.id, id + 1); /* one that was known to be settled */
        id = message.id;
        OK(lq_ack(consumer, &message));
    }
    OK(lq_consumer_close(consumer));
    OK(lq_close(opened));
}

/* ---- what was repaired before --------------------------------------------------------------- */

static void a_hole_that_has_lost_its_header_is_a_hole_again(void **state)
{
    for (size_t which = 0; which < 2; which++) { /* the very first, before which there is none to have the time from */
        char queue[4096];
        strcpy(queue, make_queue(state));
        damage_remove(api_segment(queue, which));
        OK(lq_repair(queue, 0, NULL, NULL, NULL));
        uint64_t left = messages_in(queue);
        HOLDS(left < MESSAGES);
        damage_zero(api_segment(queue, which), 0, LQI_SEGMENT_HEADER);
        is_repaired(queue, 1, 0, "neither copy of the header verifies, but the trailer does");
        EQUAL(messages_in(queue), left);
    }
}

/* Of one record in every 64 KiB the index knows, also of what is written anew. */
static void a_long_segment_is_found_through_as_before(void **state)
{
    lq_queue *queue = api_open(state, &(lq_options){.sync = LQ_SYNC_NEVER, .segment_size = 256 << 10, .ring_size = 64 << 10});
    const char *path = api_path(*state, "q");
    lq_reader *reader;
    lq_message message;
    api_put_range(queue, 1, 150, BODY);
    OK(lq_close(queue));
    api_file_flip(api_segment(path, 0), LQI_SEGMENT_HEADER + 10 * SPAN + 1000, 1);
    is_repaired(path, 1, 1, "body checksum");
    queue = api_open(state, NULL);
    OK(lq_reader_open(queue, &reader));
    for (uint64_t id = 12; id <= 150; id++) {
        OK(lq_reader_seek_id(reader, id));
        OK(lq_reader_next(reader, &message));
        HOLDS(message.id == id && api_is_filled(&message, BODY, id));
    }
    lq_reader_close(reader);
    OK(lq_close(queue));
}

/* Its header tells all of a hole. */
static void a_hole_at_the_end_that_is_cut_is_whole_again(void **state)
{
    char queue[4096];
    strcpy(queue, make_queue(state));
    damage_cut(api_segment(queue, 2), place_of(50) + 100);
    OK(lq_repair(queue, 0, NULL, NULL, NULL));
    EQUAL(messages_in(queue), 49);
    uint64_t size = damage_size(api_segment(queue, 2));
    damage_cut(api_segment(queue, 2), size - 1000);
    api_file_flip(api_segment(queue, 2), 3, 1);
    OK(lq_repair(queue, 0, NULL, NULL, NULL));
    EQUAL(messages_in(queue), 49);
    EQUAL(damage_size(api_segment(queue, 2)), size);
}

static int64_t noon(const struct lqi_io *io)
{
    (void)io;
    return INT64_C(1800000000000000);
}

static const struct lqi_io *stopped_clock(void)
{
    static struct lqi_io io;
    io = lqi_io_posix;
    io.wall_us = noon;
    return &io;
}

static void what_is_set_aside_at_the_same_time_gets_a_number(void **state)
{
    char queue[4096], name[4096];
    strcpy(queue, make_queue(state));
    for (int i = 1; i <= 3; i++) {
        api_file_write(api_path(queue, "log/stranger"), &i, 1);
        OK(lqi_repair_io(stopped_clock(), queue, 0, NULL, NULL, NULL));
        snprintf(name, sizeof name, "aside/20270115T080000.000000Z-log-stranger%s", i == 1 ? "" : i == 2 ? ".2" : ".3");
        struct api_bytes file = api_file_read(api_path(queue, name));
        HOLDS(file.size == 1 && file.bytes[0] == i);
        free(file.bytes);
    }
    for (int i = 4; i <= 1000; i++) {
        snprintf(name, sizeof name, "aside/20270115T080000.000000Z-log-stranger.%d", i);
        api_file_write(api_path(queue, name), "x", 1);
    }
    api_file_write(api_path(queue, "log/stranger"), "y", 1);
    HOLDS(lqi_repair_io(stopped_clock(), queue, 0, NULL, NULL, NULL) < 0);
    TEXT_HAS("log/stranger", "exists");
    HOLDS(api_file_exists(api_path(queue, "log/stranger")));
    OK(lq_repair(queue, 0, NULL, NULL, NULL));
}

/* ---- numbers --------------------------------------------------------------------------------- */

static const char *forged(void **state, const struct forge_meta *meta)
{
    static unsigned count;
    char name[16];
    snprintf(name, sizeof name, "f%u", count++);
    const char *queue = api_path(*state, name);
    forge_queue(queue, meta);
    return queue;
}

/* Three messages. */
static struct forge_segment *part(uint64_t first_id, uint64_t position)
{
    struct forge_segment *segment = forge_segment_new(first_id, position);
    for (uint64_t id = first_id; id < first_id + 3; id++) forge_message(segment, id, "body");
    return segment;
}

static struct forge_meta ends_at(uint64_t synced, uint64_t next_id)
{
    struct forge_meta meta = forge_meta;
    meta.trims[1].synced = synced;
    meta.trims[1].next_id = next_id;
    return meta;
}

static void a_last_segment_whose_index_was_torn_as_it_was_sealed_goes_on(void **state)
{
    struct forge_segment *last = part(1, 0);
    const struct forge_index_entry entry = {1, 1, 0};
    char queue[4096];
    strcpy(queue, forged(state, &forge_meta));
    forge_trailer(last, &entry, 1, 0, 0);
    last->bytes[last->size - LQI_SEGMENT_TRAILER - 5] ^= 1;
    forge_segment_write(last, queue);
    is_repaired(queue, 1, 0, "torn tail");
    EQUAL(messages_in(queue), 3);
}

static void ids_that_were_given_and_of_which_no_byte_is_left_are_not_given_again(void **state)
{
    struct forge_segment *last = part(1, 0);
    struct forge_meta meta = ends_at(last->end, 1000);
    char queue[4096];
    lq_queue *opened;
    uint64_t id;
    strcpy(queue, forged(state, &meta));
    forge_trailer(last, NULL, 0, 0, 0);
    last->bytes[last->size - LQI_SEGMENT_TRAILER - 10] ^= 1; /* the last record */
    forge_segment_write(last, queue);
    is_repaired(queue, 2, 997, "missing");
    OK(lq_open(queue, NULL, &opened));
    OK(lq_put(opened, "x", 1, &id));
    EQUAL(id, 1000);
    OK(lq_close(opened));
}

/* Of a kind that only newer libraries know: what its numbers mean is not ours to say. */
static void a_record_of_an_unknown_kind_behind_a_bad_one_stays(void **state)
{
    struct forge_segment *last = forge_segment_new(1, 0);
    char queue[4096];
    forge_message(last, 1, "body");
    uint64_t bad = forge_message(last, 2, "body");
    forge_record(last, &(struct forge_record){.first_id = 77, .kind = 9, .payload = "unknown", .payload_size = 7, .time_us = 1});
    forge_message(last, 3, "body");
    struct forge_meta meta = ends_at(last->end, 4);
    strcpy(queue, forged(state, &meta));
    last->bytes[LQI_SEGMENT_HEADER + bad + LQI_RECORD_HEADER] ^= 1;
    forge_segment_write(last, queue);
    is_repaired(queue, 1, 1, "body checksum");
    EQUAL(messages_in(queue), 2);
}

/* A record needs 40 bytes, and so does a hole. */
static void where_there_is_no_room_for_a_hole_nothing_can_be_mended(void **state)
{
    for (int behind = 0; behind < 2; behind++) {
        struct forge_segment *first = part(1, 0), *second = part(behind ? 4 : 7, first->end + (behind ? 8 : 0));
        struct forge_meta meta = ends_at(second->end, second->next_id);
        char queue[4096];
        strcpy(queue, forged(state, &meta));
        if (!behind) forge_trailer(first, NULL, 0, 0, 0);
        forge_segment_write(first, queue);
        forge_segment_write(second, queue);
        is_refused(queue, LQ_ECORRUPT, "no room for a hole");
    }
}

static void segments_that_overlap_are_not_mended(void **state)
{
    struct forge_segment *first = part(1, 0), *second = part(4, 8);
    struct forge_meta meta = ends_at(second->end, second->next_id);
    char queue[4096];
    strcpy(queue, forged(state, &meta));
    forge_trailer(first, NULL, 0, 0, 0);
    forge_segment_write(first, queue);
    forge_segment_write(second, queue);
    is_refused(queue, LQ_ECORRUPT, "does not fit behind the segment before it");
}

/* More than a record of a hole can be: they follow each other, and each write of them may fail. */
static void a_long_stretch_within_a_segment_is_many_holes(void **state)
{
    static const uint64_t lengths[] = {(UINT64_C(3) << 30) - 8192, (UINT64_C(1) << 30) + 16};
    for (size_t i = 0; i < 2; i++) {
        struct forge_segment *first = part(1, 0), *second = part(10, first->end + lengths[i]);
        struct forge_meta meta = ends_at(second->end, second->next_id);
        struct io_fault fault;
        char queue[4096];
        strcpy(queue, forged(state, &meta));
        forge_segment_write(first, queue);
        forge_segment_write(second, queue);
        uint64_t used = api_disk_used(queue);
        io_fault_init(&fault, &lqi_io_posix);
        for (unsigned n = 1;; n++) {
            io_fault_plan(&fault, IO_WRITE, n, false, ENOSPC);
            int err = lqi_repair_io(&fault.io, queue, 0, NULL, NULL, NULL);
            if (!fault.hits) break;
            IS(LQ_ENOSPC, err);
        }
        io_fault_release(&fault);
        EQUAL(messages_in(queue), 6);
        HOLDS(api_disk_used(queue) < used + (512 << 10));
        OK(lq_repair(queue, 0, NULL, NULL, NULL));
    }
}

/* ---- which queue it is -------------------------------------------------------------------------- */

static void make_newer(const char *path, size_t copy_size, unsigned version_at)
{
    struct api_bytes file = api_file_read(path);
    for (size_t copy = 0; copy < 2 * copy_size; copy += copy_size) {
        file.bytes[copy + version_at] = 9;
        uint64_t check = lqi_checksum(file.bytes + copy, copy_size - 8);
        memcpy(file.bytes + copy + copy_size - 8, &check, sizeof check);
    }
    api_file_write(path, file.bytes, file.size);
    free(file.bytes);
}

static void what_a_newer_library_has_written_is_not_repaired(void **state)
{
    char queue[4096];
    strcpy(queue, make_queue(state));
    make_newer(api_segment(queue, 1), LQI_SEGMENT_HEADER_COPY, 8);
    is_refused(queue, LQ_EVERSION, "newer version");
    strcpy(queue, make_queue(state));
    make_newer(api_path(queue, "consumers/c.pos"), 512, 8);
    is_refused(queue, LQ_EVERSION, "newer version");
    strcpy(queue, make_queue(state));
    make_newer(api_path(queue, "meta"), 512, 8);
    is_refused(queue, LQ_EVERSION, "newer version");
}

/* Without meta most files say which queue it is, in whatever order they come; some may not say it at all. */
static void most_segments_say_which_queue_it_is(void **state)
{
    for (size_t foreign = 0; foreign < 3; foreign++) {
        char queue[4096], other[4096], path[4096];
        strcpy(queue, make_queue(state));
        strcpy(other, make_queue(state));
        strcpy(path, api_segment(queue, foreign));
        struct api_bytes file = api_file_read(api_segment(other, foreign));
        api_file_write(path, file.bytes, file.size);
        free(file.bytes);
        damage_remove(api_path(queue, "meta"));
        OK(lq_repair(queue, 0, NULL, NULL, NULL));
        EQUAL(messages_in(queue), foreign == 2 ? 42 : 39);
    }
    char queue[4096];
    strcpy(queue, make_queue(state));
    damage_remove(api_path(queue, "meta"));
    lose_header(queue, MESSAGES);
    OK(lq_repair(queue, 0, NULL, NULL, NULL));
    EQUAL(messages_in(queue), THIRD - 1);
}

static void where_no_file_says_which_queue_it_is_it_is_none(void **state)
{
    for (int with_log = 0; with_log < 2; with_log++) {
        char queue[4096];
        strcpy(queue, make_queue(state));
        for (int i = 0; i < 3; i++) damage_remove(api_segment(queue, 0));
        damage_zero(api_path(queue, "consumers/c.pos"), 0, 1024);
        if (with_log) damage_remove(api_path(queue, "meta"));
        else HOLDS(rmdir(api_path(queue, "log")) == 0);
        if (!with_log) damage_zero(api_path(queue, "meta"), 0, LQI_META_SIZE);
        is_refused(queue, LQ_ENOTQUEUE, "is not a queue");
    }
}

static void a_directory_that_cannot_be_made_is_an_answer(void **state)
{
    static const struct {
        enum io_kind kind;
        int error;
    } faults[] = {{IO_DIR_MAKE, ENOSPC}, {IO_DIR_MAKE, EEXIST}, {IO_DIR_SYNC, EIO}, {IO_DIR_OPEN, EMFILE}};
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++)
        for (unsigned n = 1, hit = 1; hit; n++) {
            struct io_fault fault;
            char queue[4096];
            strcpy(queue, make_queue(state));
            damage_remove(api_path(queue, "consumers/c.pos"));
            HOLDS(rmdir(api_path(queue, "consumers")) == 0);
            io_fault_init(&fault, &lqi_io_posix);
            io_fault_plan(&fault, faults[i].kind, n, false, faults[i].error);
            int err = lqi_repair_io(&fault.io, queue, 0, NULL, NULL, NULL);
            hit = fault.hits > 0;
            HOLDS(!err == !hit);
            io_fault_release(&fault);
            OK(lq_repair(queue, 0, NULL, NULL, NULL));
            EQUAL(messages_in(queue), MESSAGES);
        }
}

/* ---- the call -------------------------------------------------------------------------------------- */

static int not_shared(const struct lqi_io *io, int dir, bool *shared_out)
{
    (void)io, (void)dir;
    *shared_out = false;
    return 0;
}

static void the_call_is_checked_before_anything_is_done(void **state)
{
    char queue[4096];
    strcpy(queue, make_queue(state));
    flip_body(queue, 3);
    struct lqi_io io = lqi_io_posix;
    io.dir_shared = not_shared;
    IS(LQ_EUNSUPPORTED, lqi_repair_io(&io, queue, 0, NULL, NULL, NULL));
    IS(LQ_EINVAL, lq_repair("", 0, NULL, NULL, NULL));
    lq_repair_result part_of = {.size = offsetof(lq_repair_result, lost), .lost = 77};
    OK(lq_repair(queue, 0, NULL, NULL, &part_of)); /* an older program's */
    HOLDS(part_of.size == offsetof(lq_repair_result, lost) && part_of.steps == 1 && part_of.lost == 77);
    api_file_write(api_path(queue, "log/stranger"), "x", 1);
    HOLDS(rename(api_path(queue, "aside"), api_path(*state, "elsewhere")) == 0);
    api_file_write(api_path(queue, "aside"), "a file", 6);
    HOLDS(lq_repair(queue, 0, NULL, NULL, NULL) < 0);
    TEXT_HAS("aside");
    damage_remove(api_path(queue, "log/stranger"));
    OK(lq_repair(queue, 0, NULL, NULL, NULL)); /* there is nothing to set aside */
}

/* Somebody is opening it just now. */
static void a_queue_that_is_being_opened_is_in_use(void **state)
{
    char queue[4096];
    int dir = -1, fd = -1;
    strcpy(queue, make_queue(state));
    const struct lqi_io *io = &lqi_io_posix;
    HOLDS(io->dir_open(io, -1, queue, &dir) == 0 && io->open(io, dir, "meta", LQI_OPEN_WRITE, 0, &fd) == 0);
    HOLDS(io->lock(io, fd, LQI_BYTE_OPEN) == 0);
    is_refused(queue, LQ_EBUSY, "in use");
    io->close(io, fd);
    io->close(io, dir);
    OK(lq_repair(queue, 0, NULL, NULL, NULL));
}

static void fork_a_child(void *context, const lq_repair_step *step)
{
    pid_t *child = context;
    (void)step;
    *child = fork();
    for (; *child == 0;) pause();
}

/* Any thread of the program may do so: the child has the files of the repair, with their locks, for as long as it lives. */
static void a_child_that_was_forked_meanwhile_keeps_nobody_out(void **state)
{
    char queue[4096], path[4200];
    const struct lqi_io *io = &lqi_io_posix;
    int dir = -1, fd = -1;
    bool locked = true;
    pid_t child = -1;
    strcpy(queue, make_queue(state));
    snprintf(path, sizeof path, "%s/meta", queue);
    api_file_flip(path, 100, 1);
    OK(lq_repair(queue, 0, fork_a_child, &child, NULL));
    HOLDS(child > 0);
    HOLDS(io->dir_open(io, -1, queue, &dir) == 0 && io->open(io, dir, "meta", LQI_OPEN_READ, 0, &fd) == 0);
    HOLDS(io->locked(io, fd, LQI_BYTE_OPEN, 1, &locked) == 0);
    io->close(io, fd);
    io->close(io, dir);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    HOLDS(!locked);
}

static void change_ring_size(struct lqi_shared *head)
{
    head->identity.ring_size = 12345;
}

static int die_with_it_open(const char *queue)
{
    lq_queue *opened;
    pid_t child = fork();
    if (child == 0) _exit(lq_open(queue, NULL, &opened) != LQ_OK);
    int status;
    HOLDS(waitpid(child, &status, 0) == child && status == 0);
    return 0;
}

static void working_memory_that_makes_no_sense_is_set_aside(void **state)
{
    char queue[4096];
    strcpy(queue, make_queue(state));
    die_with_it_open(queue);
    damage_shared(queue, change_ring_size);
    is_repaired(queue, 1, 0, "ring size 12345 makes no sense");
    EQUAL(messages_in(queue), MESSAGES);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_DIRECTORY(each_damage_is_mended_for_what_it_is),
        IN_DIRECTORY(a_consumer_whose_window_is_cut_gets_all_behind_its_floor),
        IN_DIRECTORY(a_hole_that_has_lost_its_header_is_a_hole_again),
        IN_DIRECTORY(a_hole_at_the_end_that_is_cut_is_whole_again),
        IN_DIRECTORY(what_is_set_aside_at_the_same_time_gets_a_number),
        IN_DIRECTORY(a_last_segment_whose_index_was_torn_as_it_was_sealed_goes_on),
        IN_DIRECTORY(ids_that_were_given_and_of_which_no_byte_is_left_are_not_given_again),
        IN_DIRECTORY(a_long_segment_is_found_through_as_before),
        IN_DIRECTORY(a_record_of_an_unknown_kind_behind_a_bad_one_stays),
        IN_DIRECTORY(where_there_is_no_room_for_a_hole_nothing_can_be_mended),
        IN_DIRECTORY(segments_that_overlap_are_not_mended),
        IN_DIRECTORY(a_long_stretch_within_a_segment_is_many_holes),
        IN_DIRECTORY(what_a_newer_library_has_written_is_not_repaired),
        IN_DIRECTORY(most_segments_say_which_queue_it_is),
        IN_DIRECTORY(where_no_file_says_which_queue_it_is_it_is_none),
        IN_DIRECTORY(a_directory_that_cannot_be_made_is_an_answer),
        IN_DIRECTORY(the_call_is_checked_before_anything_is_done),
        IN_DIRECTORY(a_queue_that_is_being_opened_is_in_use),
        IN_DIRECTORY(a_child_that_was_forked_meanwhile_keeps_nobody_out),
        IN_DIRECTORY(working_memory_that_makes_no_sense_is_set_aside),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
