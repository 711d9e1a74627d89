/* What the fuzz targets share: a check that crashes, and a file in memory. */
#ifndef FUZZ_SUPPORT_H
#define FUZZ_SUPPORT_H

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io.h"

#define CHECK(condition)                                                            \
    do                                                                              \
        if (!(condition)) {                                                         \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition); \
            abort();                                                                \
        }                                                                           \
    while (0)

/* A copy in a block of the exact size: a sanitizer sees a read past its end. */
static inline uint8_t *copy_of(const uint8_t *data, size_t size)
{
    uint8_t *copy = calloc(1, size ? size : 1);
    CHECK(copy != NULL);
    if (size) memcpy(copy, data, size);
    return copy;
}

/* ---- the input, piece by piece ----------------------------------------- */

struct input {
    const uint8_t *data;
    size_t size;
};

/* The next number of so many bytes, of zeroes behind the end. */
static inline uint64_t take(struct input *input, size_t size)
{
    uint64_t number = 0;
    for (size_t i = 0; i < size; i++) {
        uint64_t byte = input->size ? *input->data : 0;
        if (input->size) input->data++, input->size--;
        number |= byte << (8 * i);
    }
    return number;
}

/* Writes over `bytes`: the rest of the input is a list of pieces, each an offset (2 bytes), a
 * length (1 byte) and so many bytes. So a few bytes of input reach any place of a large file. */
static inline void patch(struct input *input, uint8_t *bytes, size_t size)
{
    while (input->size > 3) {
        size_t offset = (size_t)take(input, 2), length = (size_t)take(input, 1);
        for (size_t i = 0; i < length && input->size; i++) {
            uint8_t byte = (uint8_t)take(input, 1);
            if (offset + i < size) bytes[offset + i] = byte;
        }
    }
}

/* ---- one file in memory ------------------------------------------------ */

struct memory_file {
    struct lqi_io io;
    uint8_t *bytes;
    size_t size;
};

static inline int memory_open(const struct lqi_io *io, int dir, const char *name, int flags, uint32_t mode, int *fd_out)
{
    (void)io, (void)dir, (void)name, (void)flags, (void)mode;
    *fd_out = 3;
    return 0;
}

static inline void memory_close(const struct lqi_io *io, int fd)
{
    (void)io, (void)fd;
}

static inline int memory_read(const struct lqi_io *io, int fd, uint64_t offset, void *data, size_t size, size_t *got_out)
{
    const struct memory_file *file = io->context;
    (void)fd;
    size_t left = offset < file->size ? file->size - (size_t)offset : 0;
    *got_out = size < left ? size : left;
    if (*got_out) memcpy(data, file->bytes + offset, *got_out);
    return 0;
}

/* Never grows: what writes in place only must stay inside. */
static inline int memory_write(const struct lqi_io *io, int fd, uint64_t offset, const void *data, size_t size)
{
    struct memory_file *file = io->context;
    (void)fd;
    if (offset > file->size || size > file->size - offset) return EFBIG;
    memcpy(file->bytes + offset, data, size);
    return 0;
}

static inline int memory_sync(const struct lqi_io *io, int fd)
{
    (void)io, (void)fd;
    return 0;
}

static inline int memory_stat(const struct lqi_io *io, int fd, struct lqi_io_stat *stat_out)
{
    const struct memory_file *file = io->context;
    (void)fd;
    *stat_out = (struct lqi_io_stat){.size = file->size, .inode = 1, .links = 1};
    return 0;
}

/* `bytes` stay the caller's. */
static inline void memory_init(struct memory_file *file, uint8_t *bytes, size_t size)
{
    *file = (struct memory_file){
        .io = {.context = file, .open = memory_open, .close = memory_close, .read = memory_read,
               .write = memory_write, .sync = memory_sync, .stat = memory_stat},
        .bytes = bytes,
        .size = size,
    };
}

#endif
