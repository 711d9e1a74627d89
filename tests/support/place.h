/* Where the real I/O table is tried while calls of the C library below it fail (libc_fault.h): included by one file of a program, too. */
#ifndef SUPPORT_PLACE_H
#define SUPPORT_PLACE_H

#include "io.h"
#include "libc_fault.h"
#include "scratch.h"

static const struct lqi_io *const io = &lqi_io_posix;

/* An open directory with a file "f" of two pages, and what each call of the table is tried with. */
struct place {
    int dir, fd, files;
};

static struct place open_place(void **state)
{
    struct place place = {-1, -1, open_files()};
    assert_int_equal(io->dir_open(io, -1, *state, &place.dir), 0);
    assert_int_equal(io->open(io, place.dir, "f", LQI_OPEN_NEW, 0600, &place.fd), 0);
    assert_int_equal(io->allocate(io, place.fd, 8192), 0);
    return place;
}

static void close_place(struct place *place)
{
    io->close(io, place->fd);
    io->close(io, place->dir);
    assert_int_equal(open_files(), place->files);
}

#endif
