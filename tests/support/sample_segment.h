/* A segment as tests of its bytes and of its files take it: header, index and trailer. Included by one file of each program. */
#ifndef SUPPORT_SAMPLE_SEGMENT_H
#define SUPPORT_SAMPLE_SEGMENT_H

#include "record.h"
#include "segment.h"

#define SALT 0x1122334455667788u

static const struct lqi_segment_head sample = {
    .uuid = "0123456789abcde",
    .first_id = 1001,
    .position = 0x40000,
    .salt = SALT,
    .durable = 0x3fff8,
    .created_us = 1700000000000000,
};

static inline void assert_same_head(const struct lqi_segment_head *a, const struct lqi_segment_head *b)
{
    assert_memory_equal(a->uuid, b->uuid, 16);
    assert_int_equal(a->first_id, b->first_id);
    assert_int_equal(a->position, b->position);
    assert_int_equal(a->salt, b->salt);
    assert_int_equal(a->durable, b->durable);
    assert_int_equal(a->created_us, b->created_us);
}

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

static inline struct lqi_segment_end sample_end(void)
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

#endif
