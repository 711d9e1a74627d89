/* Offset files of one made-up consumer, as its tests want them: made, opened, and looked at byte by byte.
 * For the few programs that look inside offset files: included by one file of each. */
#ifndef SUPPORT_OFFSET_FILE_H
#define SUPPORT_OFFSET_FILE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "position.h"
#include "scratch.h"

enum {
    COPY = 512,
    WINDOW = 1000,
    BLOCKS = WINDOW / LQI_POSITION_BLOCK_WORDS + 2,
    WORDS = LQI_POSITION_BLOCK_WORDS,
    SIDE_SIZE = BLOCKS * LQI_POSITION_BLOCK,
    FILE_SIZE = LQI_POSITION_BLOCKS_AT + 2 * SIDE_SIZE
};

static const uint8_t uuid[16] = "0123456789abcde";
static const struct lqi_io *const io = &lqi_io_posix;

static const struct lqi_position_entry first = {
    .floor = 500, .delivered = 500, .incarnation = 0x40000, .durable = 0x40100, .durable_id = 510, .time_us = 1700000000000000,
};

/* Of the one consumer that a test saves; create() makes them those of a new one. */
static uint64_t side_of[BLOCKS];
static struct lqi_position_sides sides = {side_of, 1};

static inline int open_dir(void **state)
{
    int dir = -1;
    assert_int_equal(io->dir_open(io, -1, *state, &dir), 0);
    return dir;
}

static inline void assert_same_entry(const struct lqi_position_entry *a, const struct lqi_position_entry *b)
{
    assert_int_equal(a->floor, b->floor);
    assert_int_equal(a->delivered, b->delivered);
    assert_int_equal(a->incarnation, b->incarnation);
    assert_int_equal(a->durable, b->durable);
    assert_int_equal(a->durable_id, b->durable_id);
    assert_int_equal(a->time_us, b->time_us);
}

static inline void create(int dir)
{
    assert_int_equal(lqi_position_create(io, dir, "billing", uuid, WINDOW, &first, 0600), LQ_OK);
    memset(side_of, 0, sizeof side_of);
    sides.epoch = 1;
}

static inline int open_position(struct lqi_position *position, int dir)
{
    return lqi_position_open(position, io, dir, "billing", uuid, true);
}

/* As a sync does. */
static inline void begin_epoch(const struct lqi_position *position)
{
    sides.epoch = position->newest.sequence;
}

static inline void read_file(int dir, uint8_t bytes[FILE_SIZE])
{
    size_t got;
    int fd = -1;

    assert_int_equal(io->open(io, dir, "billing.pos", LQI_OPEN_READ, 0, &fd), 0);
    assert_int_equal(io->read(io, fd, 0, bytes, FILE_SIZE, &got), 0);
    assert_int_equal(got, FILE_SIZE);
    io->close(io, fd);
}

static inline void write_file(int dir, const char *name, const uint8_t *bytes, size_t size)
{
    int fd = -1;

    (void)io->unlink(io, dir, name);
    assert_int_equal(io->open(io, dir, name, LQI_OPEN_NEW, 0600, &fd), 0);
    assert_int_equal(io->write(io, fd, 0, bytes, size), 0);
    io->close(io, fd);
}

/* Sides are 0 and 1. What was never saved goes to side 1 first. */
static inline uint8_t *block_at(uint8_t *bytes, unsigned side, uint64_t number)
{
    return bytes + LQI_POSITION_BLOCKS_AT + side * SIDE_SIZE + number % BLOCKS * LQI_POSITION_BLOCK;
}

#define with_files(test) cmocka_unit_test_setup_teardown(test, scratch_make, scratch_remove)

#endif
