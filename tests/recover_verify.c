/* What lq_verify() says, place by place: which file it is, how many messages were in it and why, also where nothing behind the
 * damage tells, but somebody remembers how far the log went; and that it is no more than that. */
#include <errno.h>
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

#include "checksum.h"
#include "queue.h"
#include "support/api.h"
#include "support/damage.h"
#include "support/forge.h"
#include "support/verified.h"

enum { MESSAGES = 60, BODY = 3000, SECOND = 22, THIRD = 43, SPAN = 3040 };

static const lq_options small = {.segment_size = 64 << 10, .ring_size = 64 << 10};

/* Segments of the messages 1 to 21, 22 to 42, 43 to 60. */
static const char *make_queue(void **state)
{
    lq_queue *queue = api_open(state, &small);
    api_put_range(queue, 1, MESSAGES, BODY);
    OK(lq_consumer_close(api_consumer(queue, "c", NULL)));
    OK(lq_close(queue));
    return api_path(*state, "q");
}

/* Exactly one place, and that. */
static void is_one(const char *queue, const char *file, uint64_t first_id, uint64_t last_id, const char *text)
{
    struct found found = verify(queue);
    if (found.count != 1 || strcmp(found.all[0].file, file) != 0 || !strstr(found.all[0].text, text))
        for (unsigned i = 0; i < found.count; i++) api_note("%s: %s", found.all[i].file, found.all[i].text);
    EQUAL(found.count, 1);
    HOLDS(strcmp(found.all[0].file, file) == 0 && strstr(found.all[0].text, text));
    EQUAL(found.all[0].first_id, first_id);
    EQUAL(found.all[0].count, first_id ? last_id - first_id + 1 : 0);
    EQUAL(found.result.messages, MESSAGES - found.all[0].count);
}

static const char *segment_name(uint64_t id)
{
    static char names[4][64];
    static unsigned turn;
    char *name = names[turn++ % 4];
    snprintf(name, sizeof names[0], "log/%020u.seg", (unsigned)id);
    return name;
}

/* ---- the end ------------------------------------------------------------------------ */

static void what_a_cut_last_segment_has_lost_is_counted_as_meta_remembers_the_end(void **state)
{
    char path[4096], queue[4096];
    strcpy(queue, make_queue(state));
    strcpy(path, api_segment(queue, 2));
    struct api_bytes whole = api_file_read(path);
    for (uint64_t kept = 0; kept < MESSAGES - THIRD + 1; kept++)
        for (int inside = -20; inside <= 20; inside += 10) { /* between two records, in the header of one, in the body of one */
            if (kept == 0 && inside < 0) continue;
            uint64_t good = inside < 0 ? kept - 1 : kept;
            damage_cut(path, 256 + kept * SPAN + (uint64_t)inside);
            is_one(queue, segment_name(THIRD), THIRD + good, MESSAGES, "");
            api_file_write(path, whole.bytes, whole.size);
        }
    free(whole.bytes);
    EQUAL(verify(queue).count, 0);
}

static void a_last_segment_of_which_nothing_can_be_read_has_lost_what_meta_remembers(void **state)
{
    char path[4096], queue[4096];
    strcpy(queue, make_queue(state));
    strcpy(path, api_segment(queue, 2));
    damage_zero(path, 0, 256);
    is_one(queue, segment_name(THIRD), THIRD, MESSAGES, "magic");
    damage_cut(path, 100);
    is_one(queue, segment_name(THIRD), THIRD, MESSAGES, "the file ends inside its header");
    damage_remove(path);
    is_one(queue, segment_name(THIRD), THIRD, MESSAGES, "missing");
}

/* Without meta an offset file may know. */
static void the_end_of_the_log_is_remembered_by_offset_files_too(void **state)
{
    char path[4096], queue[4096];
    strcpy(queue, make_queue(state));
    strcpy(path, api_segment(queue, 2));
    damage_cut(path, 256 + 10 * SPAN + 1000);
    damage_zero(api_path(queue, "meta"), 1024, 1024);
    struct found found = verify(queue);
    EQUAL(found.count, 2);
    HOLDS(strcmp(found.all[0].file, "meta") == 0 && strstr(found.all[0].text, "neither trim slot"));
    EQUAL(found.all[1].first_id, THIRD + 10);
    EQUAL(found.all[1].count, MESSAGES - THIRD - 9);
}

/* Nobody remembers: a torn tail, and no message that was promised. */
static void where_nobody_remembers_the_end_none_is_called_lost(void **state)
{
    const char *queue = api_path(*state, "q");
    struct forge_segment *segment = forge_segment_new(1, 0);
    for (uint64_t id = 1; id < 4; id++) forge_message(segment, id, "body");
    segment->size -= 5;
    forge_queue(queue, &forge_meta);
    forge_segment_write(segment, queue);
    struct found found = verify(queue);
    EQUAL(found.count, 1);
    EQUAL(found.all[0].count, 0);
    EQUAL(found.result.messages, 2);
    HOLDS(strstr(found.all[0].text, "a torn tail of ") && strstr(found.all[0].text, "never promised"));
}

/* ---- the middle ----------------------------------------------------------------------- */

/* The trailer is gone with it, so that nothing but the next segment's name tells how many there were. */
static void what_a_cut_segment_in_the_middle_has_lost_is_one_place_in_its_own_name(void **state)
{
    for (uint64_t kept = 1; kept < THIRD - SECOND; kept += 5) {
        char inner[4096], queue[4096];
        void *inside[1] = {inner};
        snprintf(inner, sizeof inner, "%s/%d", (const char *)*state, (int)kept);
        HOLDS(mkdir(inner, 0700) == 0);
        strcpy(queue, make_queue(inside));
        damage_cut(api_segment(queue, 1), 256 + kept * SPAN + 500);
        struct found found = verify(queue);
        EQUAL(found.count, 2);
        HOLDS(strcmp(found.all[0].file, segment_name(SECOND)) == 0 && strstr(found.all[0].text, "trailer"));
        HOLDS(strcmp(found.all[1].file, segment_name(SECOND)) == 0 && strstr(found.all[1].text, "cut off"));
        EQUAL(found.all[1].offset, 256 + kept * SPAN);
        EQUAL(found.all[1].first_id, SECOND + kept);
        EQUAL(found.all[1].count, THIRD - SECOND - kept);
        EQUAL(found.result.messages, MESSAGES - found.result.lost);
        OK(lq_repair(queue, 0, NULL, NULL, NULL));
        EQUAL(verify(queue).result.messages, MESSAGES - found.result.lost);
    }
}

static void a_segment_that_is_missing_has_lost_what_was_in_it(void **state)
{
    const char *queue = make_queue(state);
    damage_remove(api_segment(queue, 1));
    is_one(queue, segment_name(SECOND), SECOND, THIRD - 1, "this segment is missing");
}

/* ---- reasons ---------------------------------------------------------------------------- */

static void a_directory_that_is_missing_and_one_that_is_a_link_are_told_apart(void **state)
{
    static const char *const parts[] = {"log", "consumers"};
    char path[4096], away[4096], queue[4096];
    lq_queue *opened;
    strcpy(queue, make_queue(state));
    for (int i = 0; i < 2; i++) {
        strcpy(path, api_path(queue, parts[i]));
        strcpy(away, api_path(*state, "away"));
        HOLDS(rename(path, away) == 0);
        struct found missing = verify(queue);
        EQUAL(missing.count, 1);
        HOLDS(strcmp(missing.all[0].file, parts[i]) == 0 && missing.all[0].offset == 0 && strstr(missing.all[0].text, "missing"));
        IS(LQ_ECORRUPT, lq_open(queue, NULL, &opened));
        TEXT_HAS(parts[i], "missing");
        for (int file = 0; file < 2; file++) {
            if (file) api_file_write(path, "x", 1);
            else HOLDS(symlink(away, path) == 0);
            struct found other = verify(queue);
            EQUAL(other.count, 1);
            HOLDS(strcmp(other.all[0].file, parts[i]) == 0 && strstr(other.all[0].text, "no directory") && strstr(other.all[0].text, "link"));
            IS(LQ_ECORRUPT, lq_open(queue, NULL, &opened));
            TEXT_HAS(parts[i], "no directory");
            HOLDS(remove(path) == 0);
        }
        HOLDS(rename(away, path) == 0);
    }
    EQUAL(verify(queue).count, 0);
}

/* ---- what others do meanwhile ---------------------------------------------------------------- */

static struct {
    struct lqi_io io;
    unsigned opened;  /* times that the offset file was */
    unsigned garbage; /* this read of a header gives nothing but zeroes, from 1 */
} machine;

/* The consumer is deleted after its file was listed, and before it is looked at for what is in it. */
static int open_but_the_consumers(const struct lqi_io *io, int dir, const char *name, int flags, uint32_t mode, int *fd_out)
{
    if (strcmp(name, "c.pos") == 0 && ++machine.opened > 2) return ENOENT;
    return lqi_io_posix.open(io, dir, name, flags, mode, fd_out);
}

static int read_garbage(const struct lqi_io *io, int fd, uint64_t offset, void *data, size_t size, size_t *got_out)
{
    int error = lqi_io_posix.read(io, fd, offset, data, size, got_out);
    if (!error && offset == 0 && size == 256 && machine.garbage && --machine.garbage == 0) memset(data, 0, size);
    return error;
}

static void a_consumer_that_is_deleted_meanwhile_is_no_finding(void **state)
{
    const char *queue = make_queue(state);
    lq_verify_result result = {.size = sizeof result};
    memset(&machine, 0, sizeof machine);
    machine.io = lqi_io_posix;
    machine.io.open = open_but_the_consumers;
    OK(lqi_verify_io(&machine.io, queue, 0, NULL, NULL, &result));
    HOLDS(machine.opened > 2);
    EQUAL(result.findings, 0);
}

/* A disk may give garbage once. Whoever looks has seen it or not; where verify looks twice, the second look counts. */
static void a_header_that_could_not_be_read_once_is_looked_at_again(void **state)
{
    const char *queue = make_queue(state);
    unsigned unseen = 0;
    for (unsigned nth = 1;; nth++) {
        struct found found = {.count = 0};
        memset(&machine, 0, sizeof machine);
        machine.io = lqi_io_posix;
        machine.io.read = read_garbage;
        machine.garbage = nth;
        int code = lqi_verify_io(&machine.io, queue, 0, note, &found, NULL);
        HOLDS(code == LQ_OK || (code == LQ_ECORRUPT && found.count > 0));
        if (machine.garbage) break; /* there were not so many */
        unseen += !code;
    }
    HOLDS(unseen > 0);
    EQUAL(verify(queue).count, 0);
}

/* ---- what is being written just now --------------------------------------------------------------- */

static struct {
    struct lqi_io io;
    const char *file;
    int fd; /* of it */
    unsigned looks;
    unsigned from, half_done; /* at so many of them, from this one on, it is half-written */
} saving;

static int open_saved(const struct lqi_io *io, int dir, const char *name, int flags, uint32_t mode, int *fd_out)
{
    int error = lqi_io_posix.open(io, dir, name, flags, mode, fd_out);
    if (!error && strcmp(name, saving.file) == 0) saving.fd = *fd_out;
    return error;
}

/* Looks at the entries of a position (when it is opened, and for damage), or at the slots of meta. */
static int read_saved(const struct lqi_io *io, int fd, uint64_t offset, void *data, size_t size, size_t *got_out)
{
    int error = lqi_io_posix.read(io, fd, offset, data, size, got_out);
    bool meta = strcmp(saving.file, "meta") == 0;
    if (error || fd != saving.fd || offset || size != (meta ? LQI_META_SIZE : LQI_POSITION_BLOCKS_AT)) return error;
    if (++saving.looks < saving.from || saving.looks - saving.from >= saving.half_done) return 0;
    memset((uint8_t *)data + (meta ? 1024 : LQI_POSITION_ENTRIES_AT) + 8, 0x55, 16);
    return 0;
}

static int verify_while_saving(const char *queue, const char *file, unsigned from, unsigned half_done, struct found *found)
{
    memset(&saving, 0, sizeof saving);
    saving.io = lqi_io_posix;
    saving.io.open = open_saved;
    saving.io.read = read_saved;
    saving.file = file;
    saving.from = from;
    saving.half_done = half_done;
    *found = (struct found){.count = 0};
    return lqi_verify_io(&saving.io, queue, 0, note, found, NULL);
}

static void what_is_met_half_written_twice_is_not_called_damaged_and_what_stays_so_is(void **state)
{
    static const char *const files[] = {"c.pos", "meta"};
    const char *queue = make_queue(state);
    struct found found;
    for (size_t i = 0; i < 2; i++) {
        OK(verify_while_saving(queue, files[i], 0, 0, &found));
        unsigned first = saving.looks - (unsigned)i; /* the last one; behind that at meta, its trim slots are asked once more */
        int64_t start_us = api_now_us();
        OK(verify_while_saving(queue, files[i], first, i == 0 ? 3 : 2, &found));
        HOLDS(saving.looks > first + 1);
        HOLDS(api_now_us() - start_us >= 4000); /* meanwhile a save comes to its end */
        IS(LQ_ECORRUPT, verify_while_saving(queue, files[i], first, 1000, &found));
        EQUAL(found.count, 1);
    }
}

/* The queue is in use, and so is its memory: what is wrong in that is in no file yet. */
static void damage_in_the_working_memory_is_told_in_its_name(void **state)
{
    lq_queue *queue = api_open(state, &(lq_options){.sync = LQ_SYNC_NEVER, .segment_size = 64 << 10, .ring_size = 64 << 10});
    char path[4096];
    OK(lq_put(queue, "hello", 5, NULL));
    strcpy(path, api_path(*state, "q/shared"));
    api_file_flip(path, LQI_SHARED_HEAD + LQI_RECORD_HEADER + 6, 1);
    struct found found = verify(api_path(*state, "q"));
    EQUAL(found.count, 1);
    HOLDS(strcmp(found.all[0].file, "shared") == 0 && strstr(found.all[0].text, "not zero"));
    EQUAL(found.all[0].offset, LQI_SHARED_HEAD + LQI_RECORD_HEADER + 5);
    EQUAL(found.result.messages, 1);
    api_file_flip(path, LQI_SHARED_HEAD + LQI_RECORD_HEADER + 6, 1);
    EQUAL(verify(api_path(*state, "q")).count, 0);
    OK(lq_close(queue));
}

/* ---- newer, or nonsense ------------------------------------------------------------------------ */

static void make_newer(const char *path)
{
    struct api_bytes file = api_file_read(path);
    for (size_t copy = 0; copy < 256; copy += 128) {
        file.bytes[copy + 20] = 1; /* a feature that must be refused */
        uint64_t check = lqi_checksum(file.bytes + copy, 120);
        memcpy(file.bytes + copy + 120, &check, sizeof check);
    }
    api_file_write(path, file.bytes, file.size);
    free(file.bytes);
}

static void a_segment_of_a_newer_library_is_called_newer(void **state)
{
    for (size_t which = 0; which < 3; which++) {
        char inner[4096], queue[4096];
        void *inside[1] = {inner};
        snprintf(inner, sizeof inner, "%s/%zu", (const char *)*state, which);
        HOLDS(mkdir(inner, 0700) == 0);
        strcpy(queue, make_queue(inside));
        make_newer(api_segment(queue, which));
        struct found found = {.count = 0};
        int code = lq_verify(queue, 0, note, &found, NULL);
        HOLDS(which == 2 ? code == LQ_EVERSION : code == LQ_ECORRUPT);
        if (which == 2) TEXT_HAS("newer version");
        else HOLDS(found.count == 1 && strstr(found.all[0].text, "newer version"));
    }
}

/* Numbers that verify, and that nobody of ours has written. */
static void a_file_with_the_name_of_a_message_in_the_middle_of_a_segment_costs_nothing(void **state)
{
    static const unsigned strangers[] = {5, 6, 30, 50};
    char queue[4096];
    lq_queue *opened;
    lq_reader *reader;
    lq_message message;
    strcpy(queue, make_queue(state));
    for (size_t i = 0; i < sizeof strangers / sizeof *strangers; i++) api_file_write(api_path(queue, segment_name(strangers[i])), "what is this", 12);
    OK(lq_open(queue, &(lq_options){.size = sizeof(lq_options), .flags = LQ_READ_ONLY}, &opened));
    OK(lq_reader_open(opened, &reader));
    for (uint64_t id = 1; id < 50; id++) {
        OK(lq_reader_seek_id(reader, id));
        int err = lq_reader_next(reader, &message);
        if (err == LQ_OK) EQUAL(message.id, id);
        else HOLDS(err == LQ_ECORRUPT && id >= THIRD);
    }
    lq_reader_close(reader);
    OK(lq_close(opened));
    struct found found = verify(queue);
    HOLDS(found.count >= 4);
    EQUAL(found.result.messages, MESSAGES);
    OK(lq_repair(queue, 0, NULL, NULL, NULL));
    EQUAL(verify(queue).result.messages, MESSAGES);
}

/* The same of a newer library's; and where the segment that should cover it is gone, nothing does. */
static void a_newer_file_in_the_middle_of_a_segment_costs_nothing_either(void **state)
{
    char queue[4096], stranger[4096], second[4096];
    lq_queue *opened;
    lq_reader *reader;
    lq_message message;
    strcpy(queue, make_queue(state));
    strcpy(second, api_segment(queue, 1));
    strcpy(stranger, api_path(queue, segment_name(30)));
    struct api_bytes file = api_file_read(second);
    api_file_write(stranger, file.bytes, file.size);
    make_newer(stranger);
    struct found found = verify(queue);
    EQUAL(found.result.messages, MESSAGES);
    unsigned newer = 0;
    for (unsigned i = 0; i < found.count; i++) newer += found.all[i].code == LQ_EVERSION;
    EQUAL(newer, 1);

    damage_zero(second, 0, 256);
    damage_cut(second, file.size - 1);
    free(file.bytes);
    OK(lq_open(queue, &(lq_options){.size = sizeof(lq_options), .flags = LQ_READ_ONLY}, &opened));
    OK(lq_reader_open(opened, &reader));
    OK(lq_reader_seek_id(reader, 35));
    IS(LQ_ECORRUPT, lq_reader_next(reader, &message));
    OK(lq_reader_next(reader, &message));
    EQUAL(message.id, THIRD);
    lq_reader_close(reader);
    OK(lq_close(opened));
}

static struct forge_segment *forged(uint64_t first_id, uint64_t position, uint64_t count)
{
    struct forge_segment *segment = forge_segment_new(first_id, position);
    for (uint64_t id = first_id; id < first_id + count; id++) forge_message(segment, id, "body");
    return segment;
}

static void segments_in_the_wrong_order_are_told_and_what_can_be_read_is(void **state)
{
    static const struct {
        int64_t second, third; /* where they begin, from where they should */
        bool sealed, hidden;   /* the first; the third cannot be read */
        bool empty;            /* the second, and sealed */
    } cases[] = {{-8, 0, true, false, false}, {-8, 0, false, false, false}, {1 << 20, 0, true, false, false}, {1 << 20, 0, true, true, false},
                 {INT64_C(1) << 50, 0, false, true, false}, {0, -48, false, false, false}, {0, -152, false, false, false}, {0, -144, true, false, true}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct forge_segment *first = forged(1, 1024, 3), *second, *third;
        struct forge_meta meta = forge_meta;
        char queue[4096], name[16];
        lq_queue *opened;
        second = forged(4, (uint64_t)((int64_t)first->end + cases[i].second), cases[i].empty ? 0 : 3);
        if (cases[i].empty) forge_trailer(second, NULL, 0, 0, 0);
        third = forged(7, (uint64_t)((int64_t)first->end + 3 * 48 + cases[i].third), 3);
        meta.trims[1] = (struct forge_trim){1, 1, 1024, third->end, 10};
        snprintf(name, sizeof name, "f%zu", i);
        strcpy(queue, api_path(*state, name));
        forge_queue(queue, &meta);
        if (cases[i].sealed) forge_trailer(first, NULL, 0, 0, 0);
        forge_segment_write(first, queue);
        forge_segment_write(second, queue);
        forge_segment_write(third, queue);
        if (cases[i].hidden) damage_zero(api_segment(queue, 2), 0, 256);
        struct found found = {.count = 0};
        IS(LQ_ECORRUPT, lq_verify(queue, 0, note, &found, NULL));
        HOLDS(found.count > 0);
        OK(lq_open(queue, &(lq_options){.size = sizeof(lq_options), .flags = LQ_READ_ONLY}, &opened));
        lq_reader *reader;
        lq_message message;
        OK(lq_reader_open(opened, &reader));
        for (uint64_t id = 1; id < 4; id++) { /* the first one is good */
            OK(lq_reader_seek_id(reader, id));
            OK(lq_reader_next(reader, &message));
            EQUAL(message.id, id);
        }
        for (int calls = 0; lq_reader_next(reader, &message) != LQ_EMPTY; calls++) HOLDS(calls < 20);
        lq_reader_close(reader);
        OK(lq_close(opened));
    }
}

/* ---- the call ------------------------------------------------------------------------------------ */

static void the_call_is_checked_before_anything_is_read(void **state)
{
    const char *queue = make_queue(state);
    IS(LQ_EINVAL, lq_verify(queue, 8, NULL, NULL, NULL));
    IS(LQ_EINVAL, lq_verify(queue, 0, NULL, NULL, &(lq_verify_result){.size = 1}));
    IS(LQ_ENOTFOUND, lq_verify(api_path(*state, "none"), 0, NULL, NULL, NULL));
    lq_verify_result part_of = {.size = offsetof(lq_verify_result, lost), .lost = 77};
    OK(lq_verify(queue, 0, NULL, NULL, &part_of)); /* an older program's */
    HOLDS(part_of.size == offsetof(lq_verify_result, lost) && part_of.messages == MESSAGES && part_of.lost == 77);
    api_file_write(api_path(queue, "log/x"), "x", 1);
    api_file_write(api_path(queue, "consumers/x"), "x", 1);
    api_file_write(api_path(queue, "log/4.new"), "x", 1);
    EQUAL(verify(queue).count, 2);
}

static void a_link_in_the_place_of_the_working_memory_is_told(void **state)
{
    char queue[4096], path[4096];
    strcpy(queue, make_queue(state));
    strcpy(path, api_path(queue, "shared"));
    HOLDS(rename(path, api_path(*state, "away")) == 0 && symlink("../away", path) == 0);
    is_one(queue, "shared", 0, 0, "symbolic links");
    EQUAL(verify(queue).all[0].offset, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_DIRECTORY(what_a_cut_last_segment_has_lost_is_counted_as_meta_remembers_the_end),
        IN_DIRECTORY(a_last_segment_of_which_nothing_can_be_read_has_lost_what_meta_remembers),
        IN_DIRECTORY(the_end_of_the_log_is_remembered_by_offset_files_too),
        IN_DIRECTORY(where_nobody_remembers_the_end_none_is_called_lost),
        IN_DIRECTORY(what_a_cut_segment_in_the_middle_has_lost_is_one_place_in_its_own_name),
        IN_DIRECTORY(a_segment_that_is_missing_has_lost_what_was_in_it),
        IN_DIRECTORY(a_consumer_that_is_deleted_meanwhile_is_no_finding),
        IN_DIRECTORY(a_header_that_could_not_be_read_once_is_looked_at_again),
        IN_DIRECTORY(what_is_met_half_written_twice_is_not_called_damaged_and_what_stays_so_is),
        IN_DIRECTORY(damage_in_the_working_memory_is_told_in_its_name),
        IN_DIRECTORY(a_segment_of_a_newer_library_is_called_newer),
        IN_DIRECTORY(a_file_with_the_name_of_a_message_in_the_middle_of_a_segment_costs_nothing),
        IN_DIRECTORY(a_newer_file_in_the_middle_of_a_segment_costs_nothing_either),
        IN_DIRECTORY(segments_in_the_wrong_order_are_told_and_what_can_be_read_is),
        IN_DIRECTORY(a_link_in_the_place_of_the_working_memory_is_told),
        IN_DIRECTORY(the_call_is_checked_before_anything_is_read),
        IN_DIRECTORY(a_directory_that_is_missing_and_one_that_is_a_link_are_told_apart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
