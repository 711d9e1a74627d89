/* A queue that was written long ago is read, byte for byte, and goes on.
 *
 * tests/golden/ has a frozen queue of each format: each of its files as hexdump.h shows them, but for `shared`, which is
 * made anew. It was cleanly closed, and has something of everything that stands in files:
 *
 *   log/00000000000000000002.seg  sealed: lone messages, of no byte too; a batch with keys and headers; a packed record;
 *                                 and the hole that lq_repair() left in the place of message 8
 *   log/...                       the last one, not sealed: every byte value; a packed batch; the mark of a clean close
 *   meta                          options that are not the defaults; trim slots in use: the segment of message 1 is gone
 *   consumers/some.pos            has settled 2, 4 and 6 of the messages 2 to 6 that it was given
 *   consumers/done.pos            has settled everything
 *
 * What was in it is told by the tables below. make_queue() made it, on a machine whose clock and random numbers are the
 * test's, so that today's library makes the same files again: whoever changes by mistake what is written is told too.
 *
 * WHEN A TEST HERE FAILS. What is out there was written like this, so a frozen queue is never edited or made anew.
 *
 *   Nothing of it was meant to change   The test has found a bug: queues that exist are not read any more, or what is
 *                                       written is not what older libraries read.
 *   The format changes, on purpose      Raise LQI_META_VERSION, LQI_SEGMENT_VERSION and LQI_POSITION_VERSION together,
 *                                       freeze one more queue, and add it to the end of `frozen`:
 *                                         build/plain-cc/tests/recover_golden freeze >tests/golden/format-2.txt
 *                                       The older ones stay, and are read and carried on, until the notes of a
 *                                       release (1.0 at the earliest) say that their format is given up.
 *   The format is the same, but it is   Only the last test fails. Freeze and add one more queue of this format
 *   used otherwise, on purpose: more    (format-1b.txt); the older one stays, as above.
 *   marks, other moments of saving
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "compress.h"
#include "position.h"
#include "queue.h"
#include "repair.h"
#include "segment.h"
#include "support/api.h"
#include "support/damage.h"
#include "support/hexdump.h"

/* Oldest first. */
static const struct frozen {
    unsigned format;
    const char *path;
} frozen[] = {
    {1, "tests/golden/format-1.txt"},
};

enum { FROZEN = sizeof frozen / sizeof *frozen };
static const struct frozen *const newest = &frozen[FROZEN - 1];

/* ---- what was put ---------------------------------------------------------- */

enum { FIRST = 2, HOLE = 8, LAST = 14, NEW = LAST + 1, FILES = 5, SEGMENTS = 2 };
enum { GONE_SIZE = 70000, HOLE_SIZE = 64600, RUN_SIZE = 3000, LEVEL = 6, WINDOW = 64 };

#define T(second) (1700000000000000 + (second) * 1000000)
#define BODY(text) .data = (text), .size = sizeof(text) - 1
#define KEY(text) .key = (text), .key_size = sizeof(text) - 1
#define HEADERS(text) .headers = (text), .headers_size = sizeof(text) - 1

static uint8_t every_byte[256], run[RUN_SIZE], lost[HOLE_SIZE];

/* Messages of one time were put as one batch. */
static const lq_message messages[] = {
    {.id = 2, .time_us = T(1), BODY("")},
    {.id = 3, .time_us = T(2), BODY("hello")},
    {.id = 4, .time_us = T(3), BODY("one of three"), KEY("key 1"), HEADERS("colour: green")},
    {.id = 5, .time_us = T(3), BODY(""), KEY("key 2")},
    {.id = 6, .time_us = T(3), BODY("three of three"), HEADERS("colour: \0 or none")},
    {.id = 7, .time_us = T(4), .data = run, .size = RUN_SIZE},
    {.id = HOLE, .time_us = T(5), .data = lost, .size = HOLE_SIZE},
    {.id = 9, .time_us = T(6), BODY("behind the hole")},
    {.id = 10, .time_us = T(7) + 1, .data = every_byte, .size = sizeof every_byte},
    {.id = 11, .time_us = T(8), .data = run, .size = RUN_SIZE / 2, KEY("key 11"), HEADERS("packed: 1")},
    {.id = 12, .time_us = T(8), .data = run, .size = RUN_SIZE, KEY("key 12")},
    {.id = 13, .time_us = T(9), BODY("x")},
    {.id = LAST, .time_us = T(10), BODY("the last one")},
};

static const lq_options options = {
    .size = sizeof options, .mode = 0640, .sync = LQ_SYNC_NEVER, .sync_interval_ms = 250, .retention = LQ_RETAIN_BOTH,
    .full = LQ_FULL_BLOCK, .size_max = 1 << 20, .age_max_ms = (int64_t)1000 * 365 * 86400 * 1000, /* 1000 years */
    .segment_size = 65536, .ring_size = 131072, .message_size_max = 100000, .compression = LEVEL,
};

static void make_bodies(void)
{
    for (int i = 0; i < 256; i++) every_byte[i] = (uint8_t)i;
    for (size_t i = 0; i < RUN_SIZE; i++) run[i] = "0123456789abcdef"[i % 16];
    api_fill(lost, HOLE_SIZE, HOLE);
}

static const lq_message *message_of(uint64_t id)
{
    HOLDS(id >= FIRST && id <= LAST && messages[id - FIRST].id == id);
    return &messages[id - FIRST];
}

static bool same(const void *a, size_t a_size, const void *b, size_t b_size)
{
    return a_size == b_size && (a_size == 0 || memcmp(a, b, a_size) == 0);
}

static void is_message(const lq_message *got, uint64_t id)
{
    const lq_message *put = message_of(id);
    EQUAL(got->id, id);
    EQUAL(got->time_us, put->time_us);
    HOLDS(same(got->data, got->size, put->data, put->size));
    HOLDS(same(got->key, got->key_size, put->key, put->key_size));
    HOLDS(same(got->headers, got->headers_size, put->headers, put->headers_size));
}

/* ---- how it was made --------------------------------------------------------- */

static int64_t clock_us;

static int64_t fixed_wall_us(const struct lqi_io *io)
{
    (void)io;
    return clock_us;
}

/* The same at each call, so that one call more makes no other files; but a uuid does not look like a salt. */
static int fixed_random(const struct lqi_io *io, void *data, size_t size)
{
    (void)io;
    api_fill(data, size, size);
    return 0;
}

static struct lqi_io machine(void)
{
    struct lqi_io io = lqi_io_posix;
    io.wall_us = fixed_wall_us;
    io.random = fixed_random;
    clock_us = T(0);
    return io;
}

static void put_all(lq_queue *queue)
{
    uint64_t first_id;
    for (uint64_t id = FIRST, count; id <= LAST; id += count) {
        const lq_message *first = message_of(id);
        for (count = 1; id + count <= LAST && first[count].time_us == first->time_us;) count++;
        clock_us = first->time_us;
        OK(lq_put_batch(queue, first, count, &first_id));
        EQUAL(first_id, id);
    }
}

/* Gets the messages `first` to `last` and acks those of which the bit is set. */
static void take(lq_consumer *consumer, uint64_t first, uint64_t last, uint64_t acked)
{
    lq_message message;
    for (uint64_t id = first; id <= last; id++) {
        OK(lq_poll(consumer, &message));
        EQUAL(message.id, id);
        if (acked >> id & 1) OK(lq_ack(consumer, &message));
    }
}

static void make_queue(const char *path)
{
    const struct lqi_io io = machine();
    const lq_consumer_options in_window = {.window = WINDOW};
    uint8_t *gone = malloc(GONE_SIZE);
    lq_queue *queue;

    OK(lqi_open_io(&io, path, &options, &queue));
    lq_consumer *some = api_consumer(queue, "some", &in_window), *done = api_consumer(queue, "done", &in_window);
    HOLDS(gone != NULL);
    api_fill(gone, GONE_SIZE, 1);
    OK(lq_put(queue, gone, GONE_SIZE, NULL)); /* fills a segment */
    free(gone);
    take(some, 1, 1, ~(uint64_t)0);
    take(done, 1, 1, ~(uint64_t)0);
    put_all(queue);
    take(some, 2, 6, 1 << 2 | 1 << 4 | 1 << 6);
    take(done, FIRST, LAST, ~(uint64_t)0);
    OK(lq_consumer_close(some));
    OK(lq_consumer_close(done));
    OK(lq_close(queue));

    struct damage_place place = damage_find(path, HOLE);
    damage_zero(place.path, place.offset + LQI_RECORD_HEADER, HOLE_SIZE);
    IS(LQ_ECORRUPT, lqi_verify_io(&io, path, 0, NULL, NULL, NULL));
    OK(lqi_repair_io(&io, path, 0, NULL, NULL, NULL));
}

/* ---- frozen and thawed ------------------------------------------------------- */

static const char *const files[FILES] = {
    "meta", "log/00000000000000000002.seg", "log/00000000000000000010.seg", "consumers/done.pos", "consumers/some.pos",
};

static int freeze(void)
{
    void *directory;
    HOLDS(api_setup(&directory) == 0);
    make_queue(api_path(directory, "q"));
    for (size_t i = 0; i < FILES; i++) {
        struct api_bytes file = api_file_read(api_path(api_path(directory, "q"), files[i]));
        hexdump_write(stdout, files[i], file.bytes, file.size);
        free(file.bytes);
    }
    return api_teardown(&directory) || fflush(stdout);
}

/* Makes files of it, in a queue called like it. */
static const char *thaw(void **state, const struct frozen *from)
{
    static char path[4096];
    char name[HEXDUMP_NAME_MAX + 1];
    uint8_t *bytes;
    size_t size, count = 0;

    FILE *text = fopen(from->path, "r");
    if (!text) fail_msg("cannot open %s: the test runs at the top of the source tree", from->path);
    snprintf(path, sizeof path, "%s", api_path(*state, strrchr(from->path, '/') + 1));
    HOLDS(mkdir(path, 0700) == 0 && mkdir(api_path(path, "log"), 0700) == 0 && mkdir(api_path(path, "consumers"), 0700) == 0);
    while ((bytes = hexdump_read(text, name, &size)) != NULL) {
        HOLDS(count < FILES && strcmp(name, files[count]) == 0);
        api_file_write(api_path(path, name), bytes, size);
        free(bytes);
        count++;
    }
    fclose(text);
    EQUAL(count, FILES);
    return path;
}

static lq_queue *open_to_look(const char *path)
{
    const lq_options look = {.size = sizeof look, .flags = LQ_READ_ONLY};
    lq_queue *queue;
    OK(lq_open(path, &look, &queue));
    return queue;
}

/* ---- tests --------------------------------------------------------------------- */

static void the_format_that_is_written_is_the_newest_frozen_one(void **state)
{
    const unsigned format = newest->format;
    if (LQI_META_VERSION != format || LQI_SEGMENT_VERSION != format || LQI_POSITION_VERSION != format)
        fail_msg("the versions of meta, segments and offset files are %d, %d and %d, and the newest frozen queue is of format %u: "
                 "if that is meant, freeze one more and keep the older ones, as told in tests/recover_golden.c",
                 LQI_META_VERSION, LQI_SEGMENT_VERSION, LQI_POSITION_VERSION, format);
    for (size_t n = 0; n < FROZEN; n++) {
        const char *path = thaw(state, &frozen[n]);
        for (size_t i = 0; i < FILES; i++) {
            struct api_bytes file = api_file_read(api_path(path, files[i]));
            EQUAL(file.bytes[8] | file.bytes[9] << 8, frozen[n].format);
            free(file.bytes);
        }
    }
}

static void reads_all(lq_queue *queue, uint64_t last)
{
    lq_reader *reader;
    lq_message message;
    OK(lq_reader_open(queue, &reader));
    for (uint64_t id = FIRST; id <= LAST; id++) {
        if (id == HOLE) continue;
        OK(lq_reader_next(reader, &message));
        is_message(&message, id);
    }
    for (uint64_t id = NEW; id <= last; id++) {
        OK(lq_reader_next(reader, &message));
        EQUAL(message.id, id);
        HOLDS(api_is_text(&message, "new"));
    }
    IS(LQ_EMPTY, lq_reader_next(reader, &message));
    lq_reader_close(reader);
}

static void nothing_is_wrong_with_it(void **state)
{
    for (size_t n = 0; n < FROZEN; n++) {
        const char *path = thaw(state, &frozen[n]);
        lq_verify_result result = {.size = sizeof result};
        OK(lq_verify(path, 0, NULL, NULL, &result));
        EQUAL(result.segments, SEGMENTS);
        EQUAL(result.consumers, 2);
        EQUAL(result.messages, LAST - FIRST + 1 - 1); /* without that of the hole */
        EQUAL(result.findings, 0);
    }
}

static void every_message_is_read_byte_for_byte(void **state)
{
    lq_reader *reader;
    lq_message message;
    for (size_t n = 0; n < FROZEN; n++) {
        const char *path = thaw(state, &frozen[n]);
        struct api_tree *before = api_tree_read(path);
        lq_queue *queue = open_to_look(path);
        reads_all(queue, LAST);
        OK(lq_reader_open(queue, &reader));
        for (uint64_t id = LAST; id >= FIRST; id--) {
            OK(lq_reader_seek_id(reader, id));
            OK(lq_reader_next(reader, &message));
            is_message(&message, id == HOLE ? HOLE + 1 : id);
            OK(lq_reader_seek_time(reader, message_of(id)->time_us));
            OK(lq_reader_next(reader, &message));
            EQUAL(message.time_us, message_of(id == HOLE ? HOLE + 1 : id)->time_us);
        }
        lq_reader_close(reader);
        OK(lq_close(queue));
        HOLDS(api_tree_same(before, NULL));
        api_tree_free(before);
    }
}

static int is_segment(void *context, const lq_segment *segment)
{
    static const struct { uint64_t first_id, last_id; int sealed; } expected[SEGMENTS] = {{FIRST, 9, 1}, {10, LAST, 0}};
    size_t *n = context;
    HOLDS(*n < SEGMENTS && segment->code == LQ_OK && strcmp(segment->file, files[1 + *n]) == 0);
    EQUAL(segment->first_id, expected[*n].first_id);
    EQUAL(segment->last_id, expected[*n].last_id);
    EQUAL(segment->first_time_us, message_of(segment->first_id)->time_us);
    EQUAL(segment->last_time_us, message_of(segment->last_id)->time_us);
    EQUAL(segment->sealed, expected[*n].sealed);
    ++*n;
    return 0;
}

static void its_options_and_files_are_what_they_were(void **state)
{
    for (size_t n = 0; n < FROZEN; n++) {
        lq_queue *queue = open_to_look(thaw(state, &frozen[n]));
        lq_stats stats = api_stats(queue);
        EQUAL(stats.format, frozen[n].format);
        EQUAL(stats.sync, options.sync);
        EQUAL(stats.sync_interval_ms, options.sync_interval_ms);
        EQUAL(stats.retention, options.retention);
        EQUAL(stats.full, options.full);
        EQUAL(stats.size_max, options.size_max);
        EQUAL(stats.age_max_ms, options.age_max_ms);
        EQUAL(stats.segment_size, options.segment_size);
        EQUAL(stats.ring_size, options.ring_size);
        EQUAL(stats.message_size_max, options.message_size_max);
        EQUAL(stats.compression, options.compression);
        EQUAL(stats.first_id, FIRST);
        EQUAL(stats.last_id, LAST);
        EQUAL(stats.first_time_us, message_of(FIRST)->time_us);
        EQUAL(stats.last_time_us, message_of(LAST)->time_us);
        EQUAL(stats.damage, 0);
        size_t segments = 0;
        OK(lq_each_segment(queue, is_segment, &segments));
        EQUAL(segments, SEGMENTS);
        OK(lq_close(queue));
    }
}

static void its_consumers_are_where_they_were(void **state)
{
    for (size_t n = 0; n < FROZEN; n++) {
        lq_queue *queue = open_to_look(thaw(state, &frozen[n]));
        lq_consumer_stats some = api_consumer_stats(queue, "some"), done = api_consumer_stats(queue, "done");
        EQUAL(some.floor, 2);
        EQUAL(some.delivered, 6);
        EQUAL(some.ready, 2 + LAST - 6); /* 3 and 5 come again */
        EQUAL(some.window, WINDOW);
        EQUAL(some.saved_time_us, T(10));
        EQUAL(done.floor, LAST);
        EQUAL(done.delivered, LAST);
        EQUAL(done.ready, 0);
        EQUAL(done.window, WINDOW);
        OK(lq_close(queue));
    }
}

static void gets(lq_consumer *consumer, uint64_t id, uint32_t attempts)
{
    lq_message message;
    OK(lq_poll(consumer, &message));
    is_message(&message, id);
    EQUAL(message.attempts, attempts);
    OK(lq_ack(consumer, &message));
}

static void it_goes_on(void **state)
{
    lq_message message;
    for (size_t n = 0; n < FROZEN; n++) {
        const char *path = thaw(state, &frozen[n]);
        lq_queue *queue;
        OK(lq_open(path, &options, &queue)); /* none of which is a mismatch */
        lq_consumer *some = api_consumer(queue, "some", NULL), *done = api_consumer(queue, "done", NULL);

        IS(LQ_EMPTY, lq_poll(done, &message));
        gets(some, 3, 2);
        gets(some, 5, 2);
        for (uint64_t id = 7; id <= LAST; id++)
            if (id != HOLE) gets(some, id, 1);
        IS(LQ_EMPTY, lq_poll(some, &message));
        EQUAL(api_consumer_stats(queue, "some").dropped, 1);

        EQUAL(api_put(queue, "new"), NEW);
        api_get_ack(some, "new");
        api_get_ack(done, "new");
        HOLDS(api_stats(queue).last_time_us > T(10));
        OK(lq_consumer_close(some));
        OK(lq_consumer_close(done));
        OK(lq_close(queue));
        OK(lq_verify(path, 0, NULL, NULL, NULL));
    }
}

static void it_is_read_as_before_when_more_was_put(void **state)
{
    for (size_t n = 0; n < FROZEN; n++) {
        const char *path = thaw(state, &frozen[n]);
        lq_queue *queue;
        OK(lq_open(path, NULL, &queue));
        EQUAL(api_put(queue, "new"), NEW);
        reads_all(queue, NEW);
        OK(lq_close(queue));
        queue = open_to_look(path);
        reads_all(queue, NEW);
        EQUAL(api_consumer_stats(queue, "some").floor, 2);
        EQUAL(api_consumer_stats(queue, "done").floor, LAST);
        OK(lq_close(queue));
        OK(lq_verify(path, 0, NULL, NULL, NULL));
    }
}

/* Deflate may be done in many ways: another zlib makes other bytes, that are as good. */
static bool packs_as_then(const char *path)
{
    uint8_t packed[RUN_SIZE];
    uint32_t size;
    struct api_bytes segment = api_file_read(api_path(path, files[1]));
    OK(lqi_pack(run, RUN_SIZE, LEVEL, packed, &size));
    bool found = size && memmem(segment.bytes, segment.size, packed, size) != NULL;
    free(segment.bytes);
    return found;
}

static void is_same_file(const char *name, const char *made, const char *thawed)
{
    struct api_bytes is = api_file_read(api_path(made, name)), was = api_file_read(api_path(thawed, name));
    size_t at = 0;
    while (at < is.size && at < was.size && is.bytes[at] == was.bytes[at]) at++;
    if (at < is.size || at < was.size)
        fail_msg("%s, of %zu bytes, is not what was frozen, %zu bytes, from byte %zu on: "
                 "tests/recover_golden.c tells what to do", name, is.size, was.size, at);
    free(is.bytes);
    free(was.bytes);
}

static void the_same_is_written_today_byte_for_byte(void **state)
{
    const char *thawed = thaw(state, newest);
    char made[4096];
    if (!packs_as_then(thawed)) {
        api_note("this zlib packs otherwise than the one of the frozen queue: what is written cannot be compared");
        skip();
    }
    snprintf(made, sizeof made, "%s", api_path(*state, "made"));
    make_queue(made);
    for (size_t i = 0; i < FILES; i++) is_same_file(files[i], made, thawed);
    HOLDS(api_segment(made, SEGMENTS) == NULL);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        IN_DIRECTORY(the_format_that_is_written_is_the_newest_frozen_one),
        IN_DIRECTORY(nothing_is_wrong_with_it),
        IN_DIRECTORY(every_message_is_read_byte_for_byte),
        IN_DIRECTORY(its_options_and_files_are_what_they_were),
        IN_DIRECTORY(its_consumers_are_where_they_were),
        IN_DIRECTORY(it_goes_on),
        IN_DIRECTORY(it_is_read_as_before_when_more_was_put),
        IN_DIRECTORY(the_same_is_written_today_byte_for_byte),
    };
    make_bodies();
    if (argc == 2 && strcmp(argv[1], "freeze") == 0) return freeze();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
