/* A meta as tests of its bytes and of its options take it. Included by one file of each program. */
#ifndef SUPPORT_SAMPLE_META_H
#define SUPPORT_SAMPLE_META_H

#include "meta.h"

static const struct lqi_meta sample = {
    .uuid = "0123456789abcde",
    .created_us = 1700000000000000,
    .options = {
        .size = sizeof(lq_options),
        .mode = 0640,
        .full_timeout_ms = -1,
        .sync = LQ_SYNC_INTERVAL,
        .sync_interval_ms = 250,
        .retention = LQ_RETAIN_BOTH,
        .full = LQ_FULL_BLOCK,
        .size_max = 1 << 30,
        .age_max_ms = 86400000,
        .segment_size = 1 << 20,
        .ring_size = 1 << 17,
        .message_size_max = 1 << 16,
        .compression = 6,
    },
};

enum { COPY = 512, SLOT0 = 1024, SLOT1 = 1536 };

static const struct lqi_trim trim7 = {.sequence = 7, .first_id = 1001, .position = 0x40000, .synced = 0x40100, .next_id = 1010};

/* A meta with both slots in use: 6 in slot 0, 7 in slot 1. */
static inline void two_slots(uint8_t bytes[LQI_META_SIZE])
{
    uint8_t other[LQI_META_SIZE];
    struct lqi_trim trim6 = trim7;

    trim6.sequence = 6;
    trim6.first_id = 501;
    lqi_meta_encode(other, &sample, &trim6);
    lqi_meta_encode(bytes, &sample, &trim7);
    memcpy(bytes + SLOT0, other + SLOT0, 512);
}

static inline void assert_same_options(const lq_options *a, const lq_options *b)
{
    assert_int_equal(a->size, b->size);
    assert_int_equal(a->flags, b->flags);
    assert_int_equal(a->mode, b->mode);
    assert_int_equal(a->full_timeout_ms, b->full_timeout_ms);
    assert_int_equal(a->sync, b->sync);
    assert_int_equal(a->sync_interval_ms, b->sync_interval_ms);
    assert_int_equal(a->retention, b->retention);
    assert_int_equal(a->full, b->full);
    assert_int_equal(a->size_max, b->size_max);
    assert_int_equal(a->age_max_ms, b->age_max_ms);
    assert_int_equal(a->segment_size, b->segment_size);
    assert_int_equal(a->ring_size, b->ring_size);
    assert_int_equal(a->message_size_max, b->message_size_max);
    assert_int_equal(a->compression, b->compression);
}

#endif
