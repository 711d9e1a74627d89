/* Files that appear at once, whole and durable. */
#include "publish.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "bytes.h"

#define TEMP_NAME_SIZE 256

/* A name of its own for each attempt: two processes that make the same file at the
 * same time do not write into each other's, and a stray one is in nobody's way. */
static int temp_name(const struct lqi_io *io, const struct lqi_publication *what, char name[TEMP_NAME_SIZE])
{
    uint64_t number;

    int error = io->random(io, &number, sizeof number);
    if (error) return lqi_fail_errno(error, "random number for", what->shown, -1);
    if (snprintf(name, TEMP_NAME_SIZE, "%s.%016" PRIx64 ".new", what->name, number) >= TEMP_NAME_SIZE) return lqi_fail(LQ_ENAME, "%s: the name is too long", what->shown);
    return LQ_OK;
}

static int fill(const struct lqi_file *file, const struct lqi_publication *what)
{
    int err = lqi_file_allocate(file, what->file_size);
    if (err) return err;
    err = lqi_file_write(file, 0, what->bytes, what->size);
    if (err) return err;
    return lqi_file_sync(file);
}

int lqi_publish(const struct lqi_io *io, int dir, const struct lqi_publication *what)
{
    struct lqi_file file = LQI_FILE_NONE;
    char temp[TEMP_NAME_SIZE];
    bool temp_is_there = false;
    int err, error;

    err = temp_name(io, what, temp);
    if (err) goto done;
    err = lqi_file_open(&file, io, dir, temp, what->shown, LQI_OPEN_NEW, what->mode);
    if (err) goto done;
    temp_is_there = true;
    err = fill(&file, what);
    if (err) goto done;

    error = io->rename(io, dir, temp, what->name, false);
    temp_is_there = error != 0;
    if (error && error != EEXIST) {
        err = lqi_fail_errno(error, "rename to", what->shown, -1);
        goto done;
    }
    /* Also when another process was faster: it may not have come to this yet. */
    error = io->dir_sync(io, dir);
    if (error) err = lqi_fail_errno(error, "sync the directory of", what->shown, -1);

done:
    if (temp_is_there) (void)io->unlink(io, dir, temp);
    lqi_file_close(&file);
    return err;
}

int lqi_publish_again(const struct lqi_io *io, int dir, const char *name, const char *shown, uint32_t mode,
                      uint64_t size)
{
    struct lqi_file from = LQI_FILE_NONE, to = LQI_FILE_NONE;
    char temp[TEMP_NAME_SIZE];

    int err = temp_name(io, &(struct lqi_publication){.name = name, .shown = shown}, temp);
    if (!err) err = lqi_file_open(&from, io, dir, name, shown, LQI_OPEN_READ, 0);
    if (err) return err;
    err = lqi_file_open(&to, io, dir, temp, shown, LQI_OPEN_NEW, mode);
    if (!err) err = lqi_file_own(&to, &from); /* made by root, it would lock out whose queue it is */
    if (!err) err = lqi_file_copy(&from, &to, size);
    if (!err) err = lqi_file_sync(&to);
    if (!err) {
        int error = io->rename(io, dir, temp, name, true);
        if (!error) error = io->dir_sync(io, dir);
        if (error) err = lqi_fail_errno(error, "replace by a copy", shown, -1);
    }
    if (err) (void)io->unlink(io, dir, temp);
    lqi_file_close(&to);
    lqi_file_close(&from);
    return err;
}
