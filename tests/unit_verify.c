/* lq_verify(), finding by finding: the file, the byte and the code of each, and what it counts; and what it says when the machine fails it. */
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

#include "meta.h"
#include "position.h"
#include "queue.h"
#include "segment.h"
#include "support/damage.h"
#include "support/forge.h"
#include "support/io_fault.h"
#include "support/verified.h"

enum { MESSAGES = 60, BODY = 3001, SPAN = 3048, PER_SEGMENT = 21 };

static char path[4096];  /* of the queue */
static char files[3][64]; /* its segments as findings name them: of the messages 1 to 21, 22 to 42, 43 to 60 */

static void make_queue(void **state)
{
    lq_queue *queue = api_open(state, &(lq_options){.segment_size = 64 << 10, .ring_size = 64 << 10});
    api_put_range(queue, 1, MESSAGES, BODY);
    OK(lq_consumer_close(api_consumer(queue, "c", NULL)));
    OK(lq_close(queue));
    strcpy(path, api_path(*state, "q"));
    for (unsigned i = 0; i < 3; i++) {
        snprintf(files[i], sizeof files[i], "log/%020u.seg", 1 + i * PER_SEGMENT);
        HOLDS(api_file_exists(api_path(path, files[i])));
    }
}

/* There is one finding, which costs no message. */
static void is_found(const char *file, uint64_t offset, const char *words)
{
    struct found found = verify(path);
    EQUAL(found.count, 1);
    if (strcmp(found.all[0].file, file) != 0 || found.all[0].offset != offset || !strstr(found.all[0].text, words))
        api_note("%s, byte %llu: %s", found.all[0].file, (unsigned long long)found.all[0].offset, found.all[0].text);
    assert_string_equal(found.all[0].file, file);
    EQUAL(found.all[0].offset, offset);
    HOLDS(strstr(found.all[0].text, words) != NULL);
    IS(LQ_ECORRUPT, found.all[0].code);
    EQUAL(found.all[0].count, 0);
    EQUAL(found.result.messages, MESSAGES);
}

/* One bit there is another one; and is the old one afterwards. */
static void flipped(const char *file, uint64_t byte, uint64_t offset, const char *words)
{
    char changed[4200];
    strcpy(changed, api_path(path, file));
    api_file_flip(changed, byte, 1);
    is_found(file, offset, words);
    api_file_flip(changed, byte, 1);
}

static void a_whole_queue_is_counted_and_nothing_is_found(void **state)
{
    make_queue(state);
    struct found found = verify(path);
    EQUAL(found.count, 0);
    EQUAL(found.result.segments, 3);
    EQUAL(found.result.consumers, 1);
    EQUAL(found.result.messages, MESSAGES);
    HOLDS(found.result.bytes >= MESSAGES * SPAN && found.result.bytes <= MESSAGES * SPAN + LQI_RECORD_HEADER); /* a mark may be at the end */
}

static void each_part_of_a_segment_is_told_with_its_byte(void **state)
{
    make_queue(state);
    uint64_t end = LQI_SEGMENT_HEADER + PER_SEGMENT * SPAN, size = damage_size(api_segment(path, 0));
    HOLDS(end + LQI_INDEX_ENTRY + LQI_SEGMENT_TRAILER <= size);
    for (int i = 0; i < 3; i++) {
        flipped(files[i], 20, 0, "one of the two copies of the header");
        flipped(files[i], 128 + 20, 128, "one of the two copies of the header");
        flipped(files[i], LQI_SEGMENT_HEADER + SPAN - 1, LQI_SEGMENT_HEADER + SPAN - 7, "behind a record are not zero");
    }
    for (int i = 0; i < 2; i++) {
        flipped(files[i], end, end, "the index does not verify");
        flipped(files[i], size - 100, size - LQI_SEGMENT_TRAILER, "the trailer is missing or does not verify");
    }
    /* Of which nothing is left, it would begin where the file ends. */
    damage_cut(api_segment(path, 1), end);
    is_found(files[1], end, "the trailer is missing or does not verify");
}

static void each_part_of_meta_is_told_with_its_byte(void **state)
{
    make_queue(state);
    uint64_t size = damage_size(api_path(path, LQI_META_NAME));
    flipped(LQI_META_NAME, 30, 0, "one of the two copies of the fixed part");
    flipped(LQI_META_NAME, 512 + 30, 512, "one of the two copies of the fixed part");
    flipped(LQI_META_NAME, 1024 + 30, 1024, "the other one counts");
    flipped(LQI_META_NAME, 1536 + 30, 1536, "the other one counts");
    damage_grow(api_path(path, LQI_META_NAME), size + 1);
    is_found(LQI_META_NAME, size, "longer");
}

static void each_entry_of_an_offset_file_is_told_with_its_byte(void **state)
{
    make_queue(state);
    struct found found = verify(path);
    EQUAL(found.count, 0);
    uint64_t size = damage_size(api_path(path, "consumers/c.pos"));
    flipped("consumers/c.pos", 20, 0, "");
    damage_grow(api_path(path, "consumers/c.pos"), size + 1);
    is_found("consumers/c.pos", size, "");
    damage_cut(api_path(path, "consumers/c.pos"), size);
    char file[LQ_NAME_MAX + 20], name[LQ_NAME_MAX + 1] = {0};
    memset(name, 'n', LQ_NAME_MAX); /* as long as they may be */
    lq_queue *queue = api_open(state, NULL);
    OK(lq_consumer_close(api_consumer(queue, name, NULL)));
    OK(lq_close(queue));
    snprintf(file, sizeof file, "consumers/%s.pos", name);
    flipped(file, 20, 0, "");
    damage_remove(api_path(path, file));
    damage_zero(api_path(path, "consumers/c.pos"), 0, LQI_POSITION_ENTRIES_AT);
    is_found("consumers/c.pos", 0, "at byte 0");
}

static void what_is_not_the_queues_is_told_by_its_name(void **state)
{
    make_queue(state);
    static const char *const strange[] = {"log/x", "log/00000000000000000001.seg2", "consumers/x", "consumers/-.pos"};
    for (size_t i = 0; i < sizeof strange / sizeof *strange; i++) {
        api_file_write(api_path(path, strange[i]), "x", 1);
        is_found(strange[i], 0, "this file is not the queue's");
        damage_remove(api_path(path, strange[i]));
    }
    for (size_t i = 0; i < sizeof strange / sizeof *strange; i++) api_file_write(api_path(path, strange[i]), "x", 1);
    EQUAL(verify(path).count, sizeof strange / sizeof *strange);
}

static void each_of_two_lost_segments_is_told_once(void **state)
{
    make_queue(state);
    for (unsigned i = 0; i < 3; i += 2) damage_fill(api_path(path, files[i]), 0, damage_size(api_path(path, files[i])), i);
    struct found found = verify(path);
    EQUAL(found.count, 2);
    for (unsigned i = 0; i < 2; i++) {
        assert_string_equal(found.all[i].file, files[2 * i]);
        EQUAL(found.all[i].first_id, 1 + 2 * i * PER_SEGMENT);
    }
    EQUAL(found.result.messages, PER_SEGMENT);
}

/* Readers are given the good bytes of memory; it is gone when the last process is. */
static void what_is_bad_in_a_file_is_found_though_memory_has_it(void **state)
{
    lq_queue *queue = api_open(state, NULL);
    OK(lq_put(queue, "hello", 5, NULL));
    strcpy(path, api_path(*state, "q"));
    EQUAL(verify(path).count, 0);
    api_file_flip(api_segment(path, 0), LQI_SEGMENT_HEADER + LQI_RECORD_HEADER, 1);
    struct found found = verify(path);
    EQUAL(found.count, 1);
    EQUAL(found.all[0].offset, LQI_SEGMENT_HEADER);
    EQUAL(found.all[0].count, 1);
    OK(lq_close(queue));
}

static void who_asks_for_it_quick_does_not_hear_of_bodies(void **state)
{
    make_queue(state);
    lq_verify_result result = {.size = sizeof result};
    api_file_flip(api_segment(path, 0), LQI_SEGMENT_HEADER + LQI_RECORD_HEADER + 100, 1);
    EQUAL(verify(path).result.lost, 1);
    OK(lq_verify(path, LQ_VERIFY_QUICK, NULL, NULL, &result));
    EQUAL(result.messages, MESSAGES);
    api_file_flip(api_segment(path, 0), LQI_SEGMENT_HEADER + 20, 1);
    IS(LQ_ECORRUPT, lq_verify(path, LQ_VERIFY_QUICK, NULL, NULL, &result));
    TEXT_HAS(path, "1 damaged places", "1 messages lost");
    EQUAL(result.lost, 1);
    EQUAL(result.messages, MESSAGES - 1);
}

/* Records and segments that verify, and that nobody of ours has written: not the queue's own are their numbers. */
static void ids_and_places_that_were_there_before_are_told_and_counted_once(void **state)
{
    static const struct forge_entry entries[] = {{4, 0, 0}, {4, 0, 0}, {4, 0, 0}};
    size_t size;
    uint8_t *payload = forge_payload(entries, 3, 12, &size);
    struct forge_segment *first = forge_segment_new(1, 0), *second;
    for (uint64_t id = 1; id < 4; id++) forge_message(first, id, "body");
    uint64_t again = forge_record(first, &(struct forge_record){.first_id = 2, .count = 3, .payload = payload, .payload_size = size});
    uint64_t end = first->end;
    forge_trailer(first, NULL, 0, 0, 0);
    second = forge_segment_new(5, end - 8);
    forge_message(second, 5, "body");
    struct forge_meta meta = forge_meta;
    meta.trims[1] = (struct forge_trim){1, 1, 0, end, 5};
    strcpy(path, api_path(*state, "q"));
    forge_queue(path, &meta);
    forge_segment_write(first, path);
    forge_segment_write(second, path);
    free(payload);

    struct found found = verify(path);
    HOLDS(found.count >= 2);
    assert_string_equal(found.all[0].file, "log/00000000000000000005.seg");
    EQUAL(found.all[0].offset, 48);
    HOLDS(strstr(found.all[0].text, "begins before"));
    assert_string_equal(found.all[1].file, "log/00000000000000000001.seg");
    EQUAL(found.all[1].offset, LQI_SEGMENT_HEADER + again);
    HOLDS(strstr(found.all[1].text, "messages before it"));
    EQUAL(found.result.messages, 4);
}

static void a_torn_tail_is_told_where_it_begins(void **state)
{
    enum { FROM = 4096 }; /* before that all is given up */
    struct forge_segment *segment = forge_segment_new(1, FROM);
    struct forge_meta meta = forge_meta;
    for (uint64_t id = 1; id < 4; id++) forge_message(segment, id, "body");
    uint64_t end = segment->end - FROM;
    segment->size -= 5;
    meta.trims[1] = (struct forge_trim){1, 1, FROM, FROM, 1};
    strcpy(path, api_path(*state, "q"));
    forge_queue(path, &meta);
    forge_segment_write(segment, path);
    struct found found = verify(path);
    EQUAL(found.count, 1);
    assert_string_equal(found.all[0].file, "log/00000000000000000001.seg");
    EQUAL(found.all[0].offset, LQI_SEGMENT_HEADER + end / 3 * 2);
    HOLDS(strstr(found.all[0].text, "a torn tail of 43 bytes"));
    EQUAL(found.result.messages, 2);
    EQUAL(found.result.bytes, end / 3 * 2);
}

/* What cannot be read at all is told with the byte that is the reason. */
static void a_file_that_cannot_be_read_is_told_with_the_byte_that_keeps_it_from_that(void **state)
{
    char stranger[64];
    make_queue(state);
    snprintf(stranger, sizeof stranger, "log/%020u.seg", PER_SEGMENT + 10);
    struct api_bytes file = api_file_read(api_segment(path, 1));
    api_file_write(api_path(path, stranger), file.bytes, file.size);
    is_found(stranger, 40, "the header is of another segment");
    free(file.bytes);
    damage_remove(api_path(path, stranger));
    damage_cut(api_path(path, LQI_META_NAME), 100);
    struct found found = verify(path);
    EQUAL(found.count, 1);
    assert_string_equal(found.all[0].file, LQI_META_NAME);
    EQUAL(found.all[0].offset, 100);
    damage_remove(api_path(path, LQI_META_NAME));
    HOLDS(mkdir(api_path(path, LQI_META_NAME), 0700) == 0); /* of which no byte is the reason */
    found = verify(path);
    EQUAL(found.count, 1);
    assert_string_equal(found.all[0].file, LQI_META_NAME);
    EQUAL(found.all[0].offset, 0);
}

/* No segment has the name that stands for "told already" inside, but a file may have it. */
static void a_file_of_the_messages_from_0_on_is_told_once_whatever_else_cannot_be_read(void **state)
{
    static const char none[] = "log/00000000000000000000.seg";
    unsigned told = 0;
    make_queue(state);
    api_file_write(api_path(path, none), "x", 1);
    for (unsigned i = 0; i < 3; i++) {
        char segment[4200];
        strcpy(segment, api_path(path, files[i]));
        damage_fill(segment, 0, LQI_SEGMENT_HEADER, 1);
    }
    struct found found = verify(path);
    for (size_t i = 0; i < found.count; i++) told += strcmp(found.all[i].file, none) == 0;
    EQUAL(told, 1);
}

static int lowest_free(void)
{
    int fd = dup(0);
    HOLDS(fd >= 0);
    close(fd);
    return fd;
}

/* Nor is one closed that is somebody else's. */
static void no_file_stays_open_whatever_is_missing_or_damaged(void **state)
{
    static const char *const parts[] = {"log", "consumers", "shared", LQI_META_NAME};
    char away[4200], there[4200];
    make_queue(state);
    int lowest = lowest_free();
    snprintf(away, sizeof away, "%s.away", path);
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        snprintf(there, sizeof there, "%s/%s", path, parts[i]);
        HOLDS(rename(there, away) == 0);
        (void)lq_verify(path, 0, NULL, NULL, NULL);
        EQUAL(lowest_free(), lowest);
        HOLDS(rename(away, there) == 0);
    }
    for (unsigned i = 0; i < 3; i++) {
        damage_fill(api_path(path, files[i]), 0, LQI_SEGMENT_HEADER, i);
        HOLDS(verify(path).count > 0);
        EQUAL(lowest_free(), lowest);
    }
    damage_cut(api_path(path, LQI_META_NAME), 100);
    EQUAL(verify(path).count, 1);
    EQUAL(lowest_free(), lowest);
}

static int open_to_read_only(const struct lqi_io *table, int dir, const char *name, int flags, uint32_t mode, int *fd_out)
{
    (void)table;
    EQUAL(flags, LQI_OPEN_READ);
    return lqi_io_posix.open(&lqi_io_posix, dir, name, flags, mode, fd_out);
}

static void nothing_is_opened_to_write(void **state)
{
    struct lqi_io machine = lqi_io_posix;
    make_queue(state);
    machine.open = open_to_read_only;
    OK(lqi_verify_io(&machine, path, 0, NULL, NULL, NULL));
}

/* ---- failures ---------------------------------------------------------------------- */

static bool has(const struct found *found, const char *file, const char *text)
{
    for (unsigned i = 0; i < found->count; i++)
        if (strcmp(found->all[i].file, file) == 0 && strcmp(found->all[i].text, text) == 0) return true;
    return false;
}

/* Of a failure somebody hears: it is what the call returns, or a finding that is there for no other reason. */
static bool is_told(const struct found *found, const struct found *usual, int code)
{
    for (unsigned i = 0; i < found->count; i++)
        if (!has(usual, found->all[i].file, found->all[i].text)) return true;
    return code != LQ_OK && code != LQ_ECORRUPT;
}

static const int errors[] = {EIO, EMFILE};

/* A machine that fails once, or from then on, makes verify say so; or it has looked again, and says what it says otherwise. */
static void a_failure_is_told_or_changes_nothing_of_what_is_said(void **state)
{
    static const enum io_kind kinds[] = {IO_DIR_OPEN, IO_DIR_LIST, IO_OPEN, IO_READ, IO_STAT, IO_MAP};
    struct io_fault fault;
    make_queue(state);
    api_file_write(api_path(path, "log/x"), "x", 1);
    api_file_write(api_path(path, "consumers/x"), "x", 1);
    api_file_flip(api_segment(path, 0), 20, 1);
    api_file_flip(api_segment(path, 1), damage_size(api_segment(path, 1)) - 100, 1);
    api_file_flip(api_segment(path, 1), LQI_SEGMENT_HEADER + LQI_RECORD_HEADER, 1);
    api_file_flip(api_segment(path, 0), LQI_SEGMENT_HEADER + PER_SEGMENT * SPAN, 1);
    api_file_flip(api_path(path, "consumers/c.pos"), 20, 1);
    struct found usual = verify(path);
    EQUAL(usual.count, 7);
    io_fault_init(&fault, &lqi_io_posix);
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        uint64_t told = 0;
        for (uint64_t nth = 1, hits = 1; hits; nth++) {
            for (int how = 0; how < 4; how++) {
                struct found found = {.result = {.size = sizeof found.result}};
                io_fault_plan(&fault, kinds[i], nth, how % 2, errors[how / 2]);
                int code = lqi_verify_io(&fault.io, path, 0, note, &found, &found.result);
                hits = fault.hits;
                bool heard = is_told(&found, &usual, code);
                HOLDS(code < 0 && (heard || memcmp(&found.result, &usual.result, sizeof usual.result) == 0));
                for (unsigned k = 0; k < found.count; k++) {
                    bool failed = found.all[k].code == (how < 2 ? LQ_EIO : LQ_ELIMIT);
                    HOLDS(failed ? found.all[k].offset == 0 || strstr(found.all[k].text, "byte ") : has(&usual, found.all[k].file, found.all[k].text));
                }
                told += heard;
            }
        }
        if (!told) api_note("of %s nobody hears", io_kind_names[kinds[i]]);
        HOLDS(told > 0 || kinds[i] == IO_MAP); /* which is of the working memory, that nobody uses */
    }
    io_fault_release(&fault);
}

/* What is around the records of a segment is looked at again, where that could not be done. */
static void damage_that_the_disk_did_not_show_at_first_is_found(void **state)
{
    struct io_fault fault;
    make_queue(state);
    api_file_flip(api_segment(path, 1), 20, 1);
    io_fault_init(&fault, &lqi_io_posix);
    for (uint64_t nth = 1, hits = 1; hits; nth++) {
        struct found found = {.count = 0};
        io_fault_plan(&fault, IO_OPEN, nth, false, EIO);
        int code = lqi_verify_io(&fault.io, path, 0, note, &found, NULL);
        hits = fault.hits;
        HOLDS(code == LQ_EIO || code == LQ_ECORRUPT);
    }
    io_fault_release(&fault);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_DIRECTORY(a_whole_queue_is_counted_and_nothing_is_found),
        IN_DIRECTORY(each_part_of_a_segment_is_told_with_its_byte),
        IN_DIRECTORY(each_part_of_meta_is_told_with_its_byte),
        IN_DIRECTORY(each_entry_of_an_offset_file_is_told_with_its_byte),
        IN_DIRECTORY(what_is_not_the_queues_is_told_by_its_name),
        IN_DIRECTORY(each_of_two_lost_segments_is_told_once),
        IN_DIRECTORY(what_is_bad_in_a_file_is_found_though_memory_has_it),
        IN_DIRECTORY(who_asks_for_it_quick_does_not_hear_of_bodies),
        IN_DIRECTORY(ids_and_places_that_were_there_before_are_told_and_counted_once),
        IN_DIRECTORY(a_torn_tail_is_told_where_it_begins),
        IN_DIRECTORY(a_file_that_cannot_be_read_is_told_with_the_byte_that_keeps_it_from_that),
        IN_DIRECTORY(a_file_of_the_messages_from_0_on_is_told_once_whatever_else_cannot_be_read),
        IN_DIRECTORY(no_file_stays_open_whatever_is_missing_or_damaged),
        IN_DIRECTORY(nothing_is_opened_to_write),
        IN_DIRECTORY(a_failure_is_told_or_changes_nothing_of_what_is_said),
        IN_DIRECTORY(damage_that_the_disk_did_not_show_at_first_is_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
