/* Segments: whose they are, where they end, where to begin to look; and what is believed of damaged ones. */
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
#include "record.h"
#include "segment.h"
#include "support/each_fault.h"
#include "support/hex.h"
#include "support/scratch.h"

#define SALT 0x1122334455667788u

static const struct lqi_segment_head sample = {
    .uuid = "0123456789abcde",
    .first_id = 1001,
    .position = 0x40000,
    .salt = SALT,
    .durable = 0x3fff8,
    .created_us = 1700000000000000,
};

/* ---- header ------------------------------------------------------------ */

static void assert_same_head(const struct lqi_segment_head *a, const struct lqi_segment_head *b)
{
    assert_memory_equal(a->uuid, b->uuid, 16);
    assert_int_equal(a->first_id, b->first_id);
    assert_int_equal(a->position, b->position);
    assert_int_equal(a->salt, b->salt);
    assert_int_equal(a->durable, b->durable);
    assert_int_equal(a->created_us, b->created_us);
}

static int decode(const uint8_t *bytes, size_t size, struct lqi_segment_head *head, int64_t *damaged)
{
    return lqi_segment_head_decode(bytes, size, "log/x.seg", sample.uuid, head, damaged);
}

/* Both copies with a right checksum, whatever is in copy A. */
static void sign(uint8_t bytes[LQI_SEGMENT_HEADER])
{
    lqi_put64(bytes + 120, lqi_checksum(bytes, 120));
    memcpy(bytes + LQI_SEGMENT_HEADER_COPY, bytes, LQI_SEGMENT_HEADER_COPY);
}

static void a_header_has_these_bytes(void **state)
{
    (void)state;
    uint8_t bytes[LQI_SEGMENT_HEADER];

    lqi_segment_head_encode(bytes, &sample);
    hex_assert_equal(bytes, LQI_SEGMENT_HEADER_COPY,
                     "4c517365 670d0a00  01000000 00000000"
                     "00000000 00000000  30313233 34353637"
                     "38396162 63646500  e9030000 00000000"
                     "00000400 00000000  88776655 44332211"
                     "00401e18 240a0600  f8ff0300 00000000"
                     "00000000 00000000  00000000 00000000"
                     "00000000 00000000  00000000 00000000"
                     "00000000 00000000  678069c1 8c4c78be");
    assert_memory_equal(bytes, bytes + LQI_SEGMENT_HEADER_COPY, LQI_SEGMENT_HEADER_COPY);
}

static void a_header_is_read_back(void **state)
{
    (void)state;
    uint8_t bytes[LQI_SEGMENT_HEADER];
    struct lqi_segment_head head;
    int64_t damaged = 77;

    lqi_segment_head_encode(bytes, &sample);
    assert_int_equal(decode(bytes, sizeof bytes, &head, &damaged), LQ_OK);
    assert_same_head(&head, &sample);
    assert_int_equal(damaged, -1);
    assert_int_equal(lqi_segment_head_decode(bytes, sizeof bytes, "x", NULL, &head, NULL), LQ_OK);
}

static void one_flipped_bit_in_a_header_is_noticed_and_survived(void **state)
{
    (void)state;
    uint8_t bytes[LQI_SEGMENT_HEADER];
    struct lqi_segment_head head;
    int64_t damaged;

    lqi_segment_head_encode(bytes, &sample);
    for (unsigned bit = 0; bit < sizeof bytes * 8; bit++) {
        bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
        assert_int_equal(decode(bytes, sizeof bytes, &head, &damaged), LQ_OK);
        assert_same_head(&head, &sample);
        assert_int_equal(damaged, bit / 8 < LQI_SEGMENT_HEADER_COPY ? 0 : LQI_SEGMENT_HEADER_COPY);
        bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
}

static void a_bit_flipped_in_both_copies_is_corruption(void **state)
{
    (void)state;
    uint8_t bytes[LQI_SEGMENT_HEADER];
    struct lqi_segment_head head = {.first_id = 77};
    int64_t damaged = 77;

    lqi_segment_head_encode(bytes, &sample);
    for (unsigned bit = 0; bit < LQI_SEGMENT_HEADER_COPY * 8; bit++) {
        for (unsigned copy = 0; copy < 2; copy++) bytes[copy * LQI_SEGMENT_HEADER_COPY + bit / 8] ^= (uint8_t)(1 << bit % 8);
        assert_int_equal(decode(bytes, sizeof bytes, &head, &damaged), LQ_ECORRUPT);
        assert_non_null(strstr(lq_error_text(), "log/x.seg at byte 0"));
        for (unsigned copy = 0; copy < 2; copy++) bytes[copy * LQI_SEGMENT_HEADER_COPY + bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    assert_true(head.first_id == 77 && damaged == 77);
}

static void a_header_cut_anywhere_is_corruption(void **state)
{
    (void)state;
    uint8_t bytes[LQI_SEGMENT_HEADER];
    struct lqi_segment_head head;

    lqi_segment_head_encode(bytes, &sample);
    for (size_t size = 0; size < sizeof bytes; size++) {
        uint8_t *exact = malloc(size + 1);
        assert_non_null(exact);
        memcpy(exact, bytes, size);
        assert_int_equal(decode(exact, size, &head, NULL), LQ_ECORRUPT);
        free(exact);
    }
}

static void zeroes_are_no_header(void **state)
{
    (void)state;
    const uint8_t bytes[LQI_SEGMENT_HEADER] = {0};
    struct lqi_segment_head head;

    assert_int_equal(decode(bytes, sizeof bytes, &head, NULL), LQ_ECORRUPT);
}

static void a_newer_version_is_told_from_damage(void **state)
{
    (void)state;
    uint8_t bytes[LQI_SEGMENT_HEADER];
    struct lqi_segment_head head;

    lqi_segment_head_encode(bytes, &sample);
    lqi_put16(bytes + 8, LQI_SEGMENT_VERSION + 1);
    sign(bytes);
    assert_int_equal(decode(bytes, sizeof bytes, &head, NULL), LQ_EVERSION);
    /* One copy is enough to know. */
    bytes[50] ^= 1;
    assert_int_equal(decode(bytes, sizeof bytes, &head, NULL), LQ_EVERSION);
    bytes[LQI_SEGMENT_HEADER_COPY + 50] ^= 1;
    assert_int_equal(decode(bytes, sizeof bytes, &head, NULL), LQ_ECORRUPT);

    lqi_segment_head_encode(bytes, &sample);
    lqi_put16(bytes + 8, 0);
    sign(bytes);
    assert_int_equal(decode(bytes, sizeof bytes, &head, NULL), LQ_ECORRUPT);
}

static void features_that_are_needed_are_refused_and_others_ignored(void **state)
{
    (void)state;
    uint8_t bytes[LQI_SEGMENT_HEADER];
    struct lqi_segment_head head;

    lqi_segment_head_encode(bytes, &sample);
    for (int bit = 0; bit < 32; bit++) {
        lqi_put32(bytes + 20, (uint32_t)1 << bit);
        sign(bytes);
        assert_int_equal(decode(bytes, sizeof bytes, &head, NULL), LQ_EVERSION);
    }
    lqi_put32(bytes + 20, 0);
    lqi_put32(bytes + 16, UINT32_MAX);
    sign(bytes);
    assert_int_equal(decode(bytes, sizeof bytes, &head, NULL), LQ_OK);
}

static void a_segment_of_another_queue_is_refused(void **state)
{
    (void)state;
    uint8_t bytes[LQI_SEGMENT_HEADER], other[16] = {0};
    struct lqi_segment_head head;

    lqi_segment_head_encode(bytes, &sample);
    assert_int_equal(lqi_segment_head_decode(bytes, sizeof bytes, "x", other, &head, NULL), LQ_ECORRUPT);
    assert_string_equal(lq_error_text(), "x at byte 24: belongs to another queue (uuid)");
    /* A valid header of another queue in the place of copy A: ours is in copy B. */
    struct lqi_segment_head foreign = sample;
    memcpy(foreign.uuid, other, 16);
    uint8_t mixed[LQI_SEGMENT_HEADER];
    int64_t damaged;
    lqi_segment_head_encode(mixed, &foreign);
    memcpy(mixed + LQI_SEGMENT_HEADER_COPY, bytes, LQI_SEGMENT_HEADER_COPY);
    assert_int_equal(decode(mixed, sizeof mixed, &head, &damaged), LQ_OK);
    assert_same_head(&head, &sample);
    assert_int_equal(damaged, 0);
}

static void headers_with_senseless_fields_are_refused(void **state)
{
    (void)state;
    const struct {
        unsigned offset;
        uint64_t value;
    } cases[] = {
        {40, 0}, {40, (uint64_t)1 << 63}, {40, UINT64_MAX},
        {48, 0x40001}, {48, 0x40004}, {48, (uint64_t)1 << 63}, {48, UINT64_MAX - 7},
        {48, 0}, /* then `durable` is behind it */
        {72, 0x40008}, {72, UINT64_MAX},
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint8_t bytes[LQI_SEGMENT_HEADER];
        struct lqi_segment_head head;
        lqi_segment_head_encode(bytes, &sample);
        lqi_put64(bytes + cases[i].offset, cases[i].value);
        sign(bytes);
        assert_int_equal(decode(bytes, sizeof bytes, &head, NULL), LQ_ECORRUPT);
    }
}

/* ---- names ------------------------------------------------------------- */

static void names_are_ids_of_20_digits(void **state)
{
    (void)state;
    static const uint64_t ids[] = {1, 9, 10, 1001, (uint64_t)1 << 40, INT64_MAX};
    char name[LQI_SEGMENT_NAME_SIZE];
    uint64_t id;

    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++) {
        lqi_segment_name(name, ids[i]);
        assert_int_equal(strlen(name), 24);
        assert_true(lqi_segment_name_parse(name, &id));
        assert_int_equal(id, ids[i]);
    }
    lqi_segment_name(name, 1);
    assert_string_equal(name, "00000000000000000001.seg");
}

static void other_names_are_not_segments(void **state)
{
    (void)state;
    static const char *const names[] = {
        "", "1.seg", ".seg", "00000000000000000000.seg", "0000000000000000001.seg", "000000000000000000001.seg",
        "00000000000000000001", "00000000000000000001.se", "00000000000000000001.segx", "00000000000000000001.SEG",
        "0000000000000000000a.seg", "-0000000000000000001.seg", "+0000000000000000001.seg", " 0000000000000000001.seg",
        "09223372036854775808.seg", "18446744073709551616.seg", "18446744073709551617.seg", "99999999999999999999.seg",
        "00000000000000000001.seg.new", "00000000000000000001 seg",
    };
    uint64_t id = 77;

    for (size_t i = 0; i < sizeof names / sizeof *names; i++) assert_false(lqi_segment_name_parse(names[i], &id));
    assert_int_equal(id, 77);
    assert_true(lqi_segment_name_parse("09223372036854775807.seg", &id));
}

/* ---- trailer ----------------------------------------------------------- */

/* Records of 10,000 bytes, an index of 3. */
static const struct lqi_index_entry index3[] = {
    {1001, 1700000000000001, 0x40000},
    {1010, 1700000000000010, 0x40800},
    {1020, 1700000000000010, 0x41000},
};
enum {
    RECORDS_SIZE = 10000,
    INDEX3_SIZE = 3 * LQI_INDEX_ENTRY,
    SEALED_SIZE = LQI_SEGMENT_HEADER + RECORDS_SIZE + INDEX3_SIZE + LQI_SEGMENT_TRAILER
};

static struct lqi_segment_end sample_end(void)
{
    return (struct lqi_segment_end){
        .end = sample.position + RECORDS_SIZE,
        .next_id = 1030,
        .salt = SALT,
        .first_time_us = 1700000000000001,
        .last_time_us = 1700000000000020,
        .index_count = 3,
    };
}

static void a_trailer_has_these_bytes(void **state)
{
    (void)state;
    uint8_t bytes[INDEX3_SIZE + LQI_SEGMENT_TRAILER];
    struct lqi_segment_end end = sample_end();

    lqi_segment_end_encode(bytes, index3, &end);
    hex_assert_equal(bytes, sizeof bytes,
                     "e9030000 00000000  01401e18 240a0600"
                     "00000400 00000000  f2030000 00000000"
                     "0a401e18 240a0600  00080400 00000000"
                     "fc030000 00000000  0a401e18 240a0600"
                     "00100400 00000000  4c51656e 640d0a00"
                     "03000000 00000000  10270400 00000000"
                     "06040000 00000000  01401e18 240a0600"
                     "14401e18 240a0600  88776655 44332211"
                     "c997fccb 16fe47be  00000000 00000000"
                     "00000000 00000000  00000000 00000000"
                     "00000000 00000000  00000000 00000000"
                     "00000000 00000000  00000000 00000000"
                     "976dd402 df2142a8");
}

static void a_trailer_is_read_back(void **state)
{
    (void)state;
    uint8_t bytes[INDEX3_SIZE + LQI_SEGMENT_TRAILER];
    struct lqi_segment_end end = sample_end(), back;

    lqi_segment_end_encode(bytes, index3, &end);
    assert_int_equal(end.index_check, lqi_checksum(bytes, INDEX3_SIZE));
    assert_true(lqi_segment_end_decode(bytes + INDEX3_SIZE, SEALED_SIZE, &sample, &back));
    assert_int_equal(back.end, end.end);
    assert_int_equal(back.next_id, end.next_id);
    assert_int_equal(back.salt, end.salt);
    assert_int_equal(back.first_time_us, end.first_time_us);
    assert_int_equal(back.last_time_us, end.last_time_us);
    assert_int_equal(back.index_count, end.index_count);
    assert_int_equal(back.index_check, end.index_check);
    for (int i = 0; i < 3; i++) {
        struct lqi_index_entry entry;
        lqi_index_entry_decode(bytes + i * LQI_INDEX_ENTRY, &entry);
        assert_true(entry.first_id == index3[i].first_id && entry.time_us == index3[i].time_us &&
                    entry.position == index3[i].position);
    }
}

static void every_flipped_bit_of_a_trailer_is_noticed(void **state)
{
    (void)state;
    uint8_t bytes[INDEX3_SIZE + LQI_SEGMENT_TRAILER], *trailer = bytes + INDEX3_SIZE;
    struct lqi_segment_end end = sample_end();

    lqi_segment_end_encode(bytes, index3, &end);
    for (unsigned bit = 0; bit < LQI_SEGMENT_TRAILER * 8; bit++) {
        trailer[bit / 8] ^= (uint8_t)(1 << bit % 8);
        assert_false(lqi_segment_end_decode(trailer, SEALED_SIZE, &sample, &end));
        trailer[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
}

static void a_trailer_holds_only_for_its_own_file(void **state)
{
    (void)state;
    uint8_t bytes[INDEX3_SIZE + LQI_SEGMENT_TRAILER], *trailer = bytes + INDEX3_SIZE;
    struct lqi_segment_end end = sample_end();
    struct lqi_segment_head other;

    lqi_segment_end_encode(bytes, index3, &end);
    for (uint64_t size = 0; size < 2 * SEALED_SIZE; size++)
        assert_int_equal(lqi_segment_end_decode(trailer, size, &sample, &end), size == SEALED_SIZE);
    other = sample;
    other.salt++;
    assert_false(lqi_segment_end_decode(trailer, SEALED_SIZE, &other, &end));
    other = sample;
    other.position += 8;
    assert_false(lqi_segment_end_decode(trailer, SEALED_SIZE, &other, &end));
    other.position = end.end + 8;
    assert_false(lqi_segment_end_decode(trailer, SEALED_SIZE, &other, &end));
    other = sample;
    other.first_id = end.next_id + 1;
    assert_false(lqi_segment_end_decode(trailer, SEALED_SIZE, &other, &end));
}

static void trailers_with_senseless_numbers_are_refused(void **state)
{
    (void)state;
    const struct {
        uint32_t index_count;
        uint64_t end, next_id;
    } cases[] = {
        {UINT32_MAX, 0x40000 + RECORDS_SIZE, 1030},
        {4, 0x40000 + RECORDS_SIZE, 1030},
        {2, 0x40000 + RECORDS_SIZE, 1030},
        {3, 0, 1030},
        {3, 0x40000 - 8, 1030},
        {3, UINT64_MAX - 7, 1030},
        {3, 0x40000 + RECORDS_SIZE, 1000},
        {3, 0x40000 + RECORDS_SIZE, 0},
        {3, 0x40000 + RECORDS_SIZE, UINT64_MAX},
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint8_t bytes[INDEX3_SIZE + LQI_SEGMENT_TRAILER], *trailer = bytes + INDEX3_SIZE;
        struct lqi_segment_end end = sample_end();
        lqi_segment_end_encode(bytes, index3, &end);
        lqi_put32(trailer + 8, cases[i].index_count);
        lqi_put64(trailer + 16, cases[i].end);
        lqi_put64(trailer + 24, cases[i].next_id);
        lqi_put64(trailer + 120, lqi_checksum(trailer, 120));
        assert_false(lqi_segment_end_decode(trailer, SEALED_SIZE, &sample, &end));
    }
}

static void a_segment_without_messages_can_be_sealed(void **state)
{
    (void)state;
    uint8_t bytes[LQI_SEGMENT_TRAILER];
    struct lqi_segment_end end = {.end = sample.position, .next_id = sample.first_id, .salt = SALT}, back;

    lqi_segment_end_encode(bytes, NULL, &end);
    assert_true(lqi_segment_end_decode(bytes, LQI_SEGMENT_HEADER + LQI_SEGMENT_TRAILER, &sample, &back));
    assert_int_equal(back.index_count, 0);
}

/* ---- files ------------------------------------------------------------- */

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
        cmocka_unit_test(a_header_has_these_bytes),
        cmocka_unit_test(a_header_is_read_back),
        cmocka_unit_test(one_flipped_bit_in_a_header_is_noticed_and_survived),
        cmocka_unit_test(a_bit_flipped_in_both_copies_is_corruption),
        cmocka_unit_test(a_header_cut_anywhere_is_corruption),
        cmocka_unit_test(zeroes_are_no_header),
        cmocka_unit_test(a_newer_version_is_told_from_damage),
        cmocka_unit_test(features_that_are_needed_are_refused_and_others_ignored),
        cmocka_unit_test(a_segment_of_another_queue_is_refused),
        cmocka_unit_test(headers_with_senseless_fields_are_refused),
        cmocka_unit_test(names_are_ids_of_20_digits),
        cmocka_unit_test(other_names_are_not_segments),
        cmocka_unit_test(a_trailer_has_these_bytes),
        cmocka_unit_test(a_trailer_is_read_back),
        cmocka_unit_test(every_flipped_bit_of_a_trailer_is_noticed),
        cmocka_unit_test(a_trailer_holds_only_for_its_own_file),
        cmocka_unit_test(trailers_with_senseless_numbers_are_refused),
        cmocka_unit_test(a_segment_without_messages_can_be_sealed),
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
    return cmocka_run_group_tests_name("segment", tests, NULL, NULL);
}
