/* Segments as files: how they are opened, where in them to begin to look, how they are listed; whatever the machine or somebody does meanwhile. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "bytes.h"
#include "checksum.h"
#include "support/each_fault.h"
#include "support/sample_segment.h"
#include "support/scratch.h"

static const struct lqi_io *const io = &lqi_io_posix;

static int open_dir(void **state)
{
    int dir = -1;
    assert_int_equal(io->dir_open(io, -1, *state, &dir), 0);
    return dir;
}

static void write_file(int dir, const char *name, const uint8_t *bytes, size_t size)
{
    int fd = -1;
    (void)io->unlink(io, dir, name);
    assert_int_equal(io->open(io, dir, name, LQI_OPEN_NEW, 0600, &fd), 0);
    assert_int_equal(io->write(io, fd, 0, bytes, size), 0);
    io->close(io, fd);
}

/* The file of the sample; free() it. */
/* An index entry counts only where the record that it speaks of begins. */
static void put_records(uint8_t *bytes, const struct lqi_index_entry *index, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct lqi_record record = {.position = index[i].position, .first_id = index[i].first_id, .time_us = index[i].time_us, .count = 1,
                                    .kind = LQI_RECORD_MESSAGES};
        lqi_record_encode(bytes + lqi_segment_offset(&sample, record.position), &record, SALT);
    }
}

static uint8_t *sealed_bytes(const struct lqi_index_entry *index)
{
    uint8_t *bytes = malloc(SEALED_SIZE);
    struct lqi_segment_end end = sample_end();

    assert_non_null(bytes);
    lqi_segment_head_encode(bytes, &sample);
    memset(bytes + LQI_SEGMENT_HEADER, 0xab, RECORDS_SIZE);
    put_records(bytes, index3, 3);
    lqi_segment_end_encode(bytes + LQI_SEGMENT_HEADER + RECORDS_SIZE, index, &end);
    return bytes;
}

static int open_sample(struct lqi_segment *segment, int dir)
{
    return lqi_segment_open(segment, io, dir, sample.first_id, sample.uuid, false);
}

static const char *const sample_name = "00000000000000001001.seg";

static void a_sealed_segment_is_opened(void **state)
{
    int dir = open_dir(state);
    uint8_t *bytes = sealed_bytes(index3);
    struct lqi_segment segment;

    write_file(dir, sample_name, bytes, SEALED_SIZE);
    assert_int_equal(open_sample(&segment, dir), LQ_OK);
    assert_true(segment.sealed && !segment.end_damaged);
    assert_int_equal(segment.damaged_copy, -1);
    assert_int_equal(segment.file_size, SEALED_SIZE);
    assert_int_equal(segment.end.next_id, 1030);
    assert_same_head(&segment.head, &sample);
    assert_string_equal(segment.file.name, "log/00000000000000001001.seg");
    lqi_segment_close(&segment);
    lqi_segment_close(&segment);
    free(bytes);
    io->close(io, dir);
}

static void a_segment_that_ends_in_zeroes_is_not_sealed(void **state)
{
    static const size_t sizes[] = {LQI_SEGMENT_HEADER, LQI_SEGMENT_HEADER + 1, LQI_SEGMENT_HEADER + 127,
                                   LQI_SEGMENT_HEADER + 128, 65536};
    uint8_t bytes[65536] = {0};
    int dir = open_dir(state);
    struct lqi_segment segment;

    lqi_segment_head_encode(bytes, &sample);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        write_file(dir, sample_name, bytes, sizes[i]);
        assert_int_equal(open_sample(&segment, dir), LQ_OK);
        assert_false(segment.sealed || segment.end_damaged);
        lqi_segment_close(&segment);
    }
    io->close(io, dir);
}

static void a_damaged_trailer_is_noticed(void **state)
{
    int dir = open_dir(state);
    uint8_t *bytes = sealed_bytes(index3);
    struct lqi_segment segment;

    for (unsigned byte = SEALED_SIZE - LQI_SEGMENT_TRAILER; byte < SEALED_SIZE; byte++) {
        bytes[byte] ^= 0x10;
        write_file(dir, sample_name, bytes, SEALED_SIZE);
        assert_int_equal(open_sample(&segment, dir), LQ_OK);
        assert_true(!segment.sealed && segment.end_damaged);
        lqi_segment_close(&segment);
        bytes[byte] ^= 0x10;
    }
    free(bytes);
    io->close(io, dir);
}

static void a_sealed_segment_cut_anywhere_is_not_sealed(void **state)
{
    int dir = open_dir(state);
    uint8_t *bytes = sealed_bytes(index3);
    struct lqi_segment segment;

    for (unsigned size = 0; size < SEALED_SIZE; size += size < 600 || size > SEALED_SIZE - 300 ? 1 : 97) {
        write_file(dir, sample_name, bytes, size);
        int err = open_sample(&segment, dir);
        assert_int_equal(err, size < LQI_SEGMENT_HEADER ? LQ_ECORRUPT : LQ_OK);
        if (!err) assert_true(!segment.sealed && segment.end_damaged == (size > LQI_SEGMENT_HEADER));
        lqi_segment_close(&segment);
    }
    free(bytes);
    io->close(io, dir);
}

static void a_renamed_segment_is_refused(void **state)
{
    int dir = open_dir(state);
    uint8_t *bytes = sealed_bytes(index3);
    struct lqi_segment segment;

    write_file(dir, "00000000000000001002.seg", bytes, SEALED_SIZE);
    assert_int_equal(lqi_segment_open(&segment, io, dir, 1002, sample.uuid, false), LQ_ECORRUPT);
    assert_string_equal(lq_error_text(), "log/00000000000000001002.seg at byte 40: the header is of another segment, 1001");
    assert_int_equal(segment.file.fd, -1);
    free(bytes);
    io->close(io, dir);
}

static void a_missing_segment_is_not_found(void **state)
{
    int dir = open_dir(state);
    struct lqi_segment segment;

    assert_int_equal(open_sample(&segment, dir), LQ_ENOTFOUND);
    assert_non_null(strstr(lq_error_text(), "log/00000000000000001001.seg"));
    lqi_segment_close(&segment);
    io->close(io, dir);
}

/* ---- finding ----------------------------------------------------------- */

static void a_search_begins_at_the_newest_entry_not_behind_what_is_wanted(void **state)
{
    const struct {
        uint64_t id, from_id;
    } ids[] = {{0, 1001}, {1001, 1001}, {1009, 1001}, {1010, 1010}, {1019, 1010}, {1020, 1020}, {UINT64_MAX, 1020}};
    const struct {
        int64_t time_us;
        uint64_t from_id;
    } times[] = {{INT64_MIN, 1001}, {1700000000000001, 1001}, {1700000000000002, 1001},
                 {1700000000000010, 1001}, /* two entries have this time, and records before them may have it too */
                 {1700000000000011, 1020}, {INT64_MAX, 1020}};
    int dir = open_dir(state);
    uint8_t *bytes = sealed_bytes(index3);
    struct lqi_index_entry entry;
    struct lqi_segment segment;
    bool damaged = true;

    write_file(dir, sample_name, bytes, SEALED_SIZE);
    assert_int_equal(open_sample(&segment, dir), LQ_OK);
    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++) {
        assert_int_equal(lqi_segment_find_id(&segment, ids[i].id, &entry, &damaged), LQ_OK);
        assert_false(damaged);
        assert_int_equal(entry.first_id, ids[i].from_id);
    }
    for (size_t i = 0; i < sizeof times / sizeof *times; i++) {
        assert_int_equal(lqi_segment_find_time(&segment, times[i].time_us, &entry, NULL), LQ_OK);
        assert_int_equal(entry.first_id, times[i].from_id);
    }
    assert_int_equal(entry.position, 0x41000);
    lqi_segment_close(&segment);
    free(bytes);
    io->close(io, dir);
}

static void an_entry_that_speaks_of_no_record_is_no_place_to_begin(void **state)
{
    const struct lqi_index_entry lies[] = {
        {1010, 1700000000000010, 0x40808}, /* the middle of a record */
        {1011, 1700000000000010, 0x40800}, /* another record than that */
        {1010, 1700000000000011, 0x40800},
        {1010, 1700000000000010, 0x41000},
    };
    int dir = open_dir(state);
    struct lqi_index_entry index[3], entry;
    struct lqi_segment segment;

    for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
        memcpy(index, index3, sizeof index);
        index[1] = lies[i];
        uint8_t *bytes = sealed_bytes(index);
        write_file(dir, sample_name, bytes, SEALED_SIZE);
        assert_int_equal(open_sample(&segment, dir), LQ_OK);
        assert_int_equal(lqi_segment_find_id(&segment, 1015, &entry, NULL), LQ_OK);
        assert_true(entry.first_id == sample.first_id && entry.position == sample.position);
        assert_int_equal(lqi_segment_find_id(&segment, 1020, &entry, NULL), LQ_OK);
        assert_true(entry.first_id == 1020 && entry.position == 0x41000);
        lqi_segment_close(&segment);
        free(bytes);
    }
    io->close(io, dir);
}

static void a_segment_longer_than_any_can_be_is_damaged(void **state)
{
    int dir = open_dir(state);
    struct lqi_segment segment;
    uint8_t *bytes = sealed_bytes(index3);
    char path[4300];

    write_file(dir, sample_name, bytes, SEALED_SIZE);
    snprintf(path, sizeof path, "%s/%s", (const char *)*state, sample_name);
    for (int more = 0; more < 2; more++) {
        assert_int_equal(truncate(path, (off_t)(LQI_SEGMENT_FILE_MAX + more)), 0);
        assert_int_equal(open_sample(&segment, dir), more ? LQ_ECORRUPT : LQ_OK);
        lqi_segment_close(&segment);
    }
    free(bytes);
    io->close(io, dir);
}

static void a_long_index_is_searched_as_if_one_by_one(void **state)
{
    enum { COUNT = 333, SIZE = LQI_SEGMENT_HEADER + COUNT * 80 + COUNT * LQI_INDEX_ENTRY + LQI_SEGMENT_TRAILER };
    static uint8_t bytes[SIZE];
    struct lqi_index_entry index[COUNT], entry;
    struct lqi_segment_end end = {
        .end = sample.position + COUNT * 80, .next_id = 1001 + COUNT * 5, .salt = SALT, .index_count = COUNT,
    };
    struct lqi_segment segment;
    int dir = open_dir(state);

    for (unsigned i = 0; i < COUNT; i++)
        index[i] = (struct lqi_index_entry){1001 + i * 5, 1000 + i / 3 * 10, sample.position + i * 80};
    lqi_segment_head_encode(bytes, &sample);
    put_records(bytes, index, COUNT);
    lqi_segment_end_encode(bytes + LQI_SEGMENT_HEADER + COUNT * 80, index, &end);
    write_file(dir, sample_name, bytes, SIZE);
    assert_int_equal(open_sample(&segment, dir), LQ_OK);

    for (uint64_t id = 1001; id < end.next_id + 3; id++) {
        unsigned at = 0;
        while (at + 1 < COUNT && index[at + 1].first_id <= id) at++;
        assert_int_equal(lqi_segment_find_id(&segment, id, &entry, NULL), LQ_OK);
        assert_int_equal(entry.first_id, index[at].first_id);
    }
    for (int64_t time = 1001; time < 1000 + COUNT * 4; time++) {
        unsigned at = 0;
        while (at + 1 < COUNT && index[at + 1].time_us < time) at++;
        assert_int_equal(lqi_segment_find_time(&segment, time, &entry, NULL), LQ_OK);
        assert_int_equal(entry.first_id, index[at].first_id);
    }
    lqi_segment_close(&segment);
    io->close(io, dir);
}

static void assert_starts_at_the_beginning(int dir, bool damaged_expected)
{
    struct lqi_index_entry entry;
    struct lqi_segment segment;
    bool damaged = !damaged_expected;

    assert_int_equal(open_sample(&segment, dir), LQ_OK);
    assert_int_equal(lqi_segment_find_id(&segment, UINT64_MAX, &entry, &damaged), LQ_OK);
    assert_int_equal(damaged, damaged_expected);
    assert_int_equal(entry.first_id, sample.first_id);
    assert_int_equal(entry.position, sample.position);
    lqi_segment_close(&segment);
}

static void without_a_trailer_the_search_begins_at_the_beginning(void **state)
{
    int dir = open_dir(state);
    uint8_t *bytes = sealed_bytes(index3);

    write_file(dir, sample_name, bytes, SEALED_SIZE - 1);
    assert_starts_at_the_beginning(dir, false);
    free(bytes);
    io->close(io, dir);
}

static void a_flipped_bit_in_an_index_sends_the_search_to_the_beginning(void **state)
{
    int dir = open_dir(state);
    uint8_t *bytes = sealed_bytes(index3);

    for (unsigned bit = 0; bit < INDEX3_SIZE * 8; bit++) {
        uint8_t *byte = bytes + LQI_SEGMENT_HEADER + RECORDS_SIZE + bit / 8;
        *byte ^= (uint8_t)(1 << bit % 8);
        write_file(dir, sample_name, bytes, SEALED_SIZE);
        assert_starts_at_the_beginning(dir, true);
        *byte ^= (uint8_t)(1 << bit % 8);
    }
    free(bytes);
    io->close(io, dir);
}

static void an_index_that_points_elsewhere_is_not_followed(void **state)
{
    static const struct lqi_index_entry senseless[] = {
        {1010, 0, 0x40000 + RECORDS_SIZE}, {1010, 0, 0x40000 - 8}, {1010, 0, 0x40804}, {1010, 0, UINT64_MAX}, {1000, 0, 0x40800},
    };
    int dir = open_dir(state);

    for (size_t i = 0; i < sizeof senseless / sizeof *senseless; i++) {
        struct lqi_index_entry index[] = {index3[0], senseless[i], index3[2]};
        uint8_t *bytes = sealed_bytes(index);
        write_file(dir, sample_name, bytes, SEALED_SIZE);
        assert_starts_at_the_beginning(dir, true);
        free(bytes);
    }
    io->close(io, dir);
}

/* ---- list -------------------------------------------------------------- */

static void segments_are_listed_in_order_and_other_files_counted(void **state)
{
    static const char *const names[] = {
        "00000000000000000300.seg", "00000000000000000001.seg", "00000000000000000020.seg", "00000000000000000020.seg.new",
        "next.new", "notes.txt", "00000000000000000000.seg", "1.seg",
    };
    uint64_t *ids = NULL;
    size_t count = 77, foreign = 77;
    int dir = open_dir(state);

    assert_int_equal(lqi_segment_list(io, dir, &ids, &count, &foreign), LQ_OK);
    assert_true(count == 0 && foreign == 0);
    free(ids);

    for (size_t i = 0; i < sizeof names / sizeof *names; i++) write_file(dir, names[i], NULL, 0);
    assert_int_equal(lqi_segment_list(io, dir, &ids, &count, &foreign), LQ_OK);
    assert_int_equal(count, 3);
    assert_int_equal(foreign, 3);
    assert_true(ids[0] == 1 && ids[1] == 20 && ids[2] == 300);
    free(ids);

    for (uint64_t id = 1000; id < 1200; id++) {
        char name[LQI_SEGMENT_NAME_SIZE];
        lqi_segment_name(name, id);
        write_file(dir, name, NULL, 0);
    }
    assert_int_equal(lqi_segment_list(io, dir, &ids, &count, NULL), LQ_OK);
    assert_int_equal(count, 203);
    for (size_t i = 1; i < count; i++) assert_true(ids[i - 1] < ids[i]);
    free(ids);
    io->close(io, dir);
}

/* ---- failing calls ----------------------------------------------------- */

static void open_find_list(struct io_fault *fault, void *context)
{
    int dir = *(int *)context;
    struct lqi_segment segment;
    struct lqi_index_entry entry;
    uint64_t *ids = NULL;
    size_t count;

    int err = lqi_segment_open(&segment, &fault->io, dir, sample.first_id, sample.uuid, true);
    if (!err) err = lqi_segment_find_id(&segment, 1015, &entry, NULL);
    if (!err) assert_int_equal(entry.first_id, 1010);
    if (!err) err = lqi_segment_list(&fault->io, dir, &ids, &count, NULL);
    if (!err) assert_int_equal(count, 1);
    assert_int_equal(err, fault->hits ? LQ_EIO : LQ_OK);
    free(ids);
    lqi_segment_close(&segment);
}

static void whatever_call_fails_is_told_and_nothing_leaks(void **state)
{
    int dir = open_dir(state);
    uint8_t *bytes = sealed_bytes(index3);

    write_file(dir, sample_name, bytes, SEALED_SIZE);
    assert_int_equal(each_fault(open_find_list, &dir), 2 * 7);
    free(bytes);
    io->close(io, dir);
}

/* ---- a file that somebody cuts meanwhile ------------------------------- */

static unsigned reads, cut_at;

static int read_less(const struct lqi_io *unused, int fd, uint64_t offset, void *data, size_t size, size_t *got_out)
{
    (void)unused;
    return io->read(io, fd, offset, data, ++reads == cut_at ? size / 2 : size, got_out);
}

static int stat_less(const struct lqi_io *unused, int fd, struct lqi_io_stat *stat_out)
{
    (void)unused;
    int error = io->stat(io, fd, stat_out);
    stat_out->size = LQI_SEGMENT_HEADER - 1;
    return error;
}

static void a_segment_cut_while_it_is_looked_at_is_searched_from_its_beginning(void **state)
{
    int dir = open_dir(state);
    uint8_t *bytes = sealed_bytes(index3);
    struct lqi_io cut = *io;
    struct lqi_segment segment;
    struct lqi_index_entry entry;
    bool damaged;

    write_file(dir, sample_name, bytes, SEALED_SIZE);
    cut.read = read_less;
    cut_at = reads = 0;
    assert_int_equal(lqi_segment_open(&segment, &cut, dir, sample.first_id, sample.uuid, false), LQ_OK);
    for (unsigned n = 1; n <= 3; n++) { /* the index, the record, nothing */
        cut_at = reads + n;
        assert_int_equal(lqi_segment_find_id(&segment, 1015, &entry, &damaged), LQ_OK);
        assert_int_equal(entry.first_id, n < 3 ? 1001 : 1010);
        assert_int_equal(damaged, n == 1);
    }
    lqi_segment_close(&segment);

    /* Without a header it is read by its trailer, if that is there. */
    memset(bytes, 0x11, LQI_SEGMENT_HEADER);
    assert_int_equal(unlinkat(dir, sample_name, 0), 0);
    write_file(dir, sample_name, bytes, SEALED_SIZE);
    for (unsigned n = 1; n <= 4; n++) { /* both looks at the header, the trailer, nothing */
        cut_at = n;
        reads = 0;
        int err = lqi_segment_open_any(&segment, &cut, dir, sample.first_id, sample.uuid);
        assert_int_equal(err, n == 3 ? LQ_ECORRUPT : LQ_OK);
        lqi_segment_close(&segment);
    }

    cut_at = 0;
    assert_int_equal(unlinkat(dir, sample_name, 0), 0);
    free(bytes);
    bytes = sealed_bytes(index3);
    write_file(dir, sample_name, bytes, SEALED_SIZE);
    cut.stat = stat_less;
    assert_int_equal(lqi_segment_open(&segment, &cut, dir, sample.first_id, sample.uuid, false), LQ_ECORRUPT);
    assert_non_null(strstr(lq_error_text(), "cut while it was opened"));
    assert_int_equal(segment.file.fd, -1);
    free(bytes);
    io->close(io, dir);
}

static void without_its_directory_a_segment_is_not_found(void **state)
{
    struct lqi_segment segment;
    (void)state;
    assert_int_equal(lqi_segment_open(&segment, io, -1, sample.first_id, sample.uuid, false), LQ_ENOTFOUND);
    assert_non_null(strstr(lq_error_text(), "log/00000000000000001001.seg"));
    assert_non_null(strstr(lq_error_text(), "directory"));
}

#define with_files(test) cmocka_unit_test_setup_teardown(test, scratch_make, scratch_remove)

int main(void)
{
    const struct CMUnitTest tests[] = {
        with_files(a_sealed_segment_is_opened),
        with_files(a_segment_that_ends_in_zeroes_is_not_sealed),
        with_files(a_damaged_trailer_is_noticed),
        with_files(a_sealed_segment_cut_anywhere_is_not_sealed),
        with_files(a_renamed_segment_is_refused),
        with_files(a_missing_segment_is_not_found),
        with_files(a_search_begins_at_the_newest_entry_not_behind_what_is_wanted),
        with_files(an_entry_that_speaks_of_no_record_is_no_place_to_begin),
        with_files(a_segment_longer_than_any_can_be_is_damaged),
        with_files(a_long_index_is_searched_as_if_one_by_one),
        with_files(without_a_trailer_the_search_begins_at_the_beginning),
        with_files(a_flipped_bit_in_an_index_sends_the_search_to_the_beginning),
        with_files(an_index_that_points_elsewhere_is_not_followed),
        with_files(segments_are_listed_in_order_and_other_files_counted),
        with_files(a_segment_cut_while_it_is_looked_at_is_searched_from_its_beginning),
        cmocka_unit_test(without_its_directory_a_segment_is_not_found),
        with_files(whatever_call_fails_is_told_and_nothing_leaks),
    };
    return cmocka_run_group_tests_name("segment files", tests, NULL, NULL);
}
