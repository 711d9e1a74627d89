/* Out of the way, under a name that tells when and what. */
#include "aside.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define NEW LQI_ASIDE_NAME "/new"
#define TRIES 1000
#define NAME_ROOM 200 /* of a stranger's name: with the time and a number it must fit into the 255 of a file's name */

/* ---- what may be set aside ---------------------------------------------- */

int lqi_aside_check(const struct lqi_io *io, int dir, const char *name, const char *shown)
{
    int fd = -1, error = io->open(io, dir, name, LQI_OPEN_READ, 0, &fd);

    io->close(io, fd);
    switch (error) {
    case 0: case EISDIR: case ENXIO: return LQ_OK;
    case EMLINK:
        return lqi_fail(LQ_ECORRUPT, "%s has another name somewhere (a hard link), and may be good: remove that one, or put a copy in its place",
                        shown);
    case ELOOP:
        return lqi_fail(LQ_ECORRUPT, "%s is a symbolic link, and what it leads to may be good: put that in its place, or remove it", shown);
    default: return lqi_fail_errno(error, "open", shown, -1);
    }
}

/* ---- open, close -------------------------------------------------------- */

static int make_dir(const struct lqi_aside *aside, const char *path, uint32_t mode)
{
    int error = aside->io->dir_make(aside->io, aside->queue_dir, path, mode | (mode & 0444) >> 2);
    return error && error != EEXIST ? lqi_fail_errno(error, "make directory", path, -1) : LQ_OK;
}

static int open_dir(const struct lqi_aside *aside, int parent, const char *name, int *dir_out)
{
    int error = aside->io->dir_open(aside->io, parent, name, dir_out);
    return error ? lqi_fail_errno(error, "open directory", name, -1) : LQ_OK;
}

static int sync_dir(const struct lqi_aside *aside, int dir, const char *shown)
{
    int error = aside->io->dir_sync(aside->io, dir);
    return error ? lqi_fail_errno(error, "sync directory", shown, -1) : LQ_OK;
}

/* The directory that `path` is in; its name is left in `shown`. */
static int open_place(const struct lqi_aside *aside, const char *path, int *dir_out, char shown[LQI_ASIDE_PATH_SIZE])
{
    const char *slash = strrchr(path, '/');

    if (slash) snprintf(shown, LQI_ASIDE_PATH_SIZE, "%.*s", (int)(slash - path), path);
    else snprintf(shown, LQI_ASIDE_PATH_SIZE, ".");
    return open_dir(aside, aside->queue_dir, shown, dir_out);
}

static int sync_place(const struct lqi_aside *aside, const char *path)
{
    char shown[LQI_ASIDE_PATH_SIZE];
    int dir = -1;

    int err = open_place(aside, path, &dir, shown);
    if (!err) err = sync_dir(aside, dir, shown);
    aside->io->close(aside->io, dir);
    return err;
}

static void format_when(char when[32], int64_t when_us)
{
    time_t seconds = (time_t)(when_us / 1000000);
    struct tm tm = {0};
    char text[24] = "";

    gmtime_r(&seconds, &tm);
    strftime(text, sizeof text, "%Y%m%dT%H%M%S", &tm);
    snprintf(when, 32, "%.15s.%06dZ", text, (int)(when_us % 1000000));
}

/* Renames to WHEN-WHAT in aside/, or WHEN-WHAT.2 and so on where that is taken. */
static int file_away(struct lqi_aside *aside, const char *from, const char *what)
{
    int error = EEXIST;

    for (int number = 1; error == EEXIST && number <= TRIES; number++) {
        char suffix[16] = "";
        if (number > 1) snprintf(suffix, sizeof suffix, ".%d", number);
        snprintf(aside->last, sizeof aside->last, LQI_ASIDE_NAME "/%s-%.*s%s", aside->when, NAME_ROOM, what, suffix);
        for (char *c = aside->last + strlen(LQI_ASIDE_NAME) + 1; *c; c++)
            if (*c == '/') *c = '-';
        error = aside->io->rename(aside->io, aside->queue_dir, from, aside->last, false);
    }
    return error ? lqi_fail_errno(error, "set aside", from, -1) : LQ_OK;
}

static int note_first(void *context, const char *name)
{
    snprintf(context, LQI_ASIDE_PATH_SIZE, "%s", name);
    return 1;
}

/* Something in aside/new: an earlier repair ended there. */
static int file_leftovers_away(struct lqi_aside *aside)
{
    for (;;) {
        char name[LQI_ASIDE_PATH_SIZE] = "", path[LQI_ASIDE_PATH_SIZE + 16], what[LQI_ASIDE_PATH_SIZE + 16];
        int error = aside->io->dir_list(aside->io, aside->new_dir, note_first, name);
        if (error) return lqi_fail_errno(error, "list", NEW, -1);
        if (!name[0]) return LQ_OK;
        snprintf(path, sizeof path, NEW "/%s", name);
        snprintf(what, sizeof what, "unfinished-%s", name);
        int err = file_away(aside, path, what);
        if (!err) err = sync_dir(aside, aside->new_dir, NEW);
        if (!err) err = sync_dir(aside, aside->dir, LQI_ASIDE_NAME);
        if (err) return err;
    }
}

int lqi_aside_open(struct lqi_aside *aside, const struct lqi_io *io, int queue_dir, uint32_t mode, int64_t when_us)
{
    *aside = (struct lqi_aside)LQI_ASIDE_NONE;
    aside->io = io;
    aside->queue_dir = queue_dir;
    format_when(aside->when, when_us);

    int err = make_dir(aside, LQI_ASIDE_NAME, mode);
    if (!err) err = make_dir(aside, NEW, mode);
    if (!err) err = open_dir(aside, queue_dir, LQI_ASIDE_NAME, &aside->dir);
    if (!err) err = open_dir(aside, aside->dir, "new", &aside->new_dir);
    if (!err) err = sync_dir(aside, aside->dir, LQI_ASIDE_NAME);
    if (!err) err = sync_dir(aside, queue_dir, "of the queue");
    if (!err) err = file_leftovers_away(aside);
    if (err) lqi_aside_close(aside);
    return err;
}

void lqi_aside_close(struct lqi_aside *aside)
{
    if (!aside->io) return;
    aside->io->close(aside->io, aside->new_dir);
    aside->io->close(aside->io, aside->dir);
    aside->new_dir = aside->dir = -1;
}

/* ---- moving ------------------------------------------------------------- */

int lqi_aside_take(struct lqi_aside *aside, const char *path)
{
    int err = file_away(aside, path, path);
    if (!err) err = sync_place(aside, path);
    return err ? err : sync_dir(aside, aside->dir, LQI_ASIDE_NAME);
}

/* Whose the old file is, is the new one; what was no file there has no say in it. */
static int inherit(const struct lqi_aside *aside, const char *name, const char *path)
{
    struct lqi_file made = LQI_FILE_NONE, old = LQI_FILE_NONE;
    char shown[LQI_ASIDE_PATH_SIZE];
    const char *slash = strrchr(path, '/');
    int dir = -1;

    int err = open_place(aside, path, &dir, shown);
    if (!err) err = lqi_file_open(&old, aside->io, dir, slash ? slash + 1 : path, path, LQI_OPEN_READ, 0);
    aside->io->close(aside->io, dir);
    if (err) return err == LQ_ENOTQUEUE ? LQ_OK : err;
    err = lqi_file_open(&made, aside->io, aside->new_dir, name, name, LQI_OPEN_WRITE, 0);
    if (!err) err = lqi_file_own(&made, &old);
    if (!err) err = lqi_file_sync(&made);
    lqi_file_close(&made);
    lqi_file_close(&old);
    return err;
}

int lqi_aside_replace(struct lqi_aside *aside, const char *name, const char *path)
{
    char made[LQI_ASIDE_PATH_SIZE + 16];

    snprintf(made, sizeof made, NEW "/%s", name);
    int err = inherit(aside, name, path);
    /* The name first: or it might, made late, take the place of what the swap has put there. */
    if (!err) err = sync_dir(aside, aside->new_dir, NEW);
    if (err) return err;
    int error = aside->io->swap(aside->io, aside->queue_dir, made, path);
    if (error == EOPNOTSUPP)
        return lqi_fail(LQ_EUNSUPPORTED, "this file system cannot swap two names: repair a copy of the queue on another one");
    if (error) return lqi_fail_errno(error, "swap with its replacement", path, -1);
    err = sync_place(aside, path);
    if (!err) err = sync_dir(aside, aside->new_dir, NEW);
    if (!err) err = file_away(aside, made, path);
    if (!err) err = sync_dir(aside, aside->new_dir, NEW);
    return err ? err : sync_dir(aside, aside->dir, LQI_ASIDE_NAME);
}

int lqi_aside_place(struct lqi_aside *aside, const char *name, const char *path)
{
    char made[LQI_ASIDE_PATH_SIZE + 16];

    snprintf(made, sizeof made, NEW "/%s", name);
    int err = sync_dir(aside, aside->new_dir, NEW);
    if (err) return err;
    int error = aside->io->rename(aside->io, aside->queue_dir, made, path, false);
    if (error) return lqi_fail_errno(error, "put in its place", path, -1);
    err = sync_place(aside, path);
    return err ? err : sync_dir(aside, aside->new_dir, NEW);
}
