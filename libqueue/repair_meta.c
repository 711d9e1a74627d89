/* Which queue this is, what it is like, and that nobody else has it: meta, or what is left of it. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bytes.h"
#include "publish.h"
#include "repair_parts.h"

#define ROOM_FOR_UNREADABLE 4096 /* on the number line, for a hole in the place of a segment of unknown length */

/* ---- which queue this is ------------------------------------------------- */

/* The uuid that most segments have: a few of another queue may have been put here by mistake. */
static int vote_of_segments(struct repair *repair, bool *found)
{
    struct lqi_segment segment;
    uint64_t *ids = NULL, votes = 0;
    size_t count = 0;
    int err = lqi_segment_list(repair->io, repair->log.log_dir, &ids, &count, NULL);
    if (err) return err;
    for (size_t i = 0; i < count; i++) {
        err = lqi_segment_open(&segment, repair->io, repair->log.log_dir, ids[i], NULL, false);
        if (lqi_is_unreadable(err)) continue;
        if (err) break;
        if (!votes) memcpy(repair->meta.uuid, segment.head.uuid, sizeof repair->meta.uuid);
        if (memcmp(repair->meta.uuid, segment.head.uuid, sizeof repair->meta.uuid) == 0) votes++;
        else votes--;
        lqi_segment_close(&segment);
        *found = true;
    }
    free(ids);
    return lqi_is_unreadable(err) ? LQ_OK : err;
}

static int uuid_of_positions(struct repair *repair, bool *found)
{
    char (*names)[LQ_NAME_MAX + 1] = NULL;
    size_t count = 0;
    int err = lqi_position_list(repair->io, repair->consumers_dir, &names, &count);
    if (err) return err;
    for (size_t i = 0; i < count && !*found; i++) {
        err = lqi_position_uuid(repair->io, repair->consumers_dir, names[i], repair->meta.uuid);
        *found = !err;
        if (err && !lqi_is_unreadable(err)) break;
    }
    free(names);
    return lqi_is_unreadable(err) ? LQ_OK : err;
}

/* Without meta: whose files are these? `damaged` and `text` say why it cannot be read. A queue of which nothing else is there
 * has nothing to lose, and gets a new one. */
static int recognise(struct repair *repair, int damaged, const char *text)
{
    bool found = false;

    int err = vote_of_segments(repair, &found);
    if (!err && !found) err = uuid_of_positions(repair, &found);
    if (err) return err;
    if (!found && damaged == LQ_ECORRUPT && repair->log.log_dir >= 0) {
        int error = repair->io->random(repair->io, repair->meta.uuid, sizeof repair->meta.uuid);
        if (error) return lqi_fail_errno(error, "get random bytes for", LQI_META_NAME, -1);
        found = true;
    }
    if (!found) return lqi_fail(LQ_ENOTQUEUE, "%.300s is not a queue, or nothing in it says which: %.100s", repair->path, text);
    /* All is unknown but who could use it. */
    struct lqi_io_stat stat;
    int error = repair->io->stat(repair->io, repair->meta_file.fd < 0 ? repair->dir : repair->meta_file.fd, &stat);
    if (error) return lqi_fail_errno(error, "look at", repair->path, -1);
    repair->meta.created_us = repair->io->wall_us(repair->io);
    return lqi_options_complete(&(lq_options){.size = sizeof(lq_options), .mode = (stat.mode & 0666) | 0600}, &repair->meta.options);
}

/* ---- meta ---------------------------------------------------------------- */

/* Where the log begins if no slot says so: with its oldest file. Should that be beyond reading, it begins somewhere before the
 * first that is not: the slot must never say of a file that it was given up, or the next opener would delete it. */
static int trim_of_segments(struct repair *repair)
{
    struct lqi_segment segment;
    uint64_t *ids = NULL, before = 0;
    size_t count = 0;

    repair->trim = (struct lqi_trim){.sequence = 1, .first_id = 1, .next_id = 1};
    int err = lqi_segment_list(repair->io, repair->log.log_dir, &ids, &count, NULL); /* if that fails, there are none to look at */
    if (count) repair->trim.first_id = repair->trim.next_id = ids[0];
    for (size_t i = 0; i < count; i++) {
        err = lqi_segment_open_any(&segment, repair->io, repair->log.log_dir, ids[i], repair->meta.uuid);
        if (!err) {
            repair->trim.position = segment.head.position - lqi_min64(before, segment.head.position);
            lqi_segment_close(&segment);
        }
        if (!lqi_is_unreadable(err)) break; /* LQ_OK, or the machine fails */
        before += ROOM_FOR_UNREADABLE;
        err = LQ_OK;
    }
    repair->trim.synced = repair->trim.position;
    free(ids);
    return err;
}

/* Nobody else has the queue open, nor can open it until the lock is let go; a dry run only looks. */
static int lock_meta(const struct repair *repair, const struct lqi_file *file)
{
    bool live = false, opening = false;
    int error = 0;

    if (repair->dry) error = repair->io->locked(repair->io, file->fd, LQI_BYTE_OPEN, 1, &opening);
    else error = repair->io->lock(repair->io, file->fd, LQI_BYTE_OPEN);
    if (error == EAGAIN) opening = true;
    else if (error) return lqi_fail_errno(error, "lock", LQI_META_NAME, -1);
    if (!opening) error = repair->io->locked(repair->io, file->fd, LQI_BYTE_HANDLE, LQI_HANDLES_MAX, &live);
    if (error && !opening) return lqi_fail_errno(error, "look at the locks of", LQI_META_NAME, -1);
    return live || opening ? lqi_fail(LQ_EBUSY, "the queue is in use: repair it when everybody has closed it") : LQ_OK;
}

int lqi_repair_lock(const struct repair *repair)
{
    int err = lock_meta(repair, &repair->meta_file);
    return err ? err : lqi_meta_check_in_place(&repair->meta_file, repair->dir); /* another repair may have been faster */
}

/* Who has a meta open that was replaced or removed since locks `shared`, too. */
static int check_unused(const struct repair *repair)
{
    struct lqi_file file;
    bool live = false;

    int err = lqi_file_open(&file, repair->io, repair->dir, LQI_SHARED_NAME, LQI_SHARED_NAME, LQI_OPEN_READ, 0);
    if (err == LQ_ENOTQUEUE) err = lqi_aside_check(repair->io, repair->dir, LQI_SHARED_NAME, LQI_SHARED_NAME);
    if (err || file.fd < 0) return err == LQ_ENOTFOUND ? LQ_OK : err; /* what is no file is nobody's memory */
    int error = repair->io->locked(repair->io, file.fd, LQI_BYTE_HANDLE, LQI_HANDLES_MAX, &live);
    lqi_file_close(&file);
    if (error) return lqi_fail_errno(error, "look at the locks of", LQI_SHARED_NAME, -1);
    return live ? lqi_fail(LQ_EBUSY, "the queue is in use: repair it when everybody has closed it") : LQ_OK;
}

int lqi_repair_hold_meta(struct repair *repair, struct first_damage *damage)
{
    int err = lqi_file_open(&repair->meta_file, repair->io, repair->dir, LQI_META_NAME, LQI_META_NAME,
                            repair->dry ? LQI_OPEN_READ : LQI_OPEN_WRITE, 0);
    repair->meta_bad = err;
    if (err == LQ_ENOTFOUND || err == LQ_ENOTQUEUE) lqi_repair_note(damage, 0, err == LQ_ENOTFOUND ? "the file is missing" : lq_error_text());
    if (err == LQ_ENOTFOUND) err = LQ_OK;
    else if (err == LQ_ENOTQUEUE) err = lqi_aside_check(repair->io, repair->dir, LQI_META_NAME, LQI_META_NAME);
    else if (!err) err = lqi_repair_lock(repair);
    return err ? err : check_unused(repair);
}

static int read_meta(const struct repair *repair, uint8_t bytes[LQI_META_SIZE], uint64_t *size_out)
{
    size_t got;
    int err = lqi_file_size(&repair->meta_file, size_out);
    return err ? err : lqi_file_read(&repair->meta_file, 0, bytes, LQI_META_SIZE, &got);
}

/* Reads meta, or what is left of it; `damage` stays empty when nothing is wrong. */
int lqi_repair_look_at_meta(struct repair *repair, struct first_damage *damage)
{
    uint8_t bytes[LQI_META_SIZE] = {0};
    int err = LQ_OK, bad = repair->meta_bad;

    if (!bad) {
        uint64_t size;
        err = read_meta(repair, bytes, &size);
        if (err) return err;
        bad = lqi_meta_decode(bytes, sizeof bytes, &repair->meta);
        if (bad == LQ_EVERSION) return bad;
        lqi_meta_check(bytes, size, lqi_repair_note, damage);
    }
    repair->options_known = !bad;
    if (bad) err = recognise(repair, bad, damage->text);
    if (err) return err;
    if (lqi_trim_decode(bytes, sizeof bytes, repair->meta.uuid, &repair->trim)) return trim_of_segments(repair);
    return LQ_OK;
}

/* A new meta in aside/new, locked before it is anybody else's to lock. */
static int make_meta(struct repair *repair, struct lqi_file *file)
{
    uint8_t bytes[LQI_META_SIZE];
    struct lqi_trim first = repair->trim;

    first.sequence = 1;
    lqi_meta_encode(bytes, &repair->meta, &first);
    int err = lqi_publish(repair->io, repair->aside.new_dir, &(struct lqi_publication){
        .name = LQI_META_NAME, .shown = LQI_META_NAME, .mode = repair->meta.options.mode, .bytes = bytes, .size = sizeof bytes,
        .file_size = sizeof bytes});
    if (!err) err = lqi_file_open(file, repair->io, repair->aside.new_dir, LQI_META_NAME, LQI_META_NAME, LQI_OPEN_WRITE, 0);
    if (!err) err = lock_meta(repair, file);
    if (!err) repair->trim = first;
    return err;
}

int lqi_repair_meta(struct repair *repair, const char *damage)
{
    const char *remedy = repair->options_known ? "written anew from what is good in it" : "made anew, with the default options";
    struct lqi_file file = LQI_FILE_NONE;
    bool there = repair->meta_bad != LQ_ENOTFOUND;

    if (repair->dry) return lqi_repair_tell(repair, LQI_META_NAME, there, damage, remedy, 0, 0);
    int err = lqi_repair_need_aside(repair);
    if (!err) err = make_meta(repair, &file);
    if (!err) err = there ? lqi_aside_replace(&repair->aside, LQI_META_NAME, LQI_META_NAME)
                          : lqi_aside_place(&repair->aside, LQI_META_NAME, LQI_META_NAME);
    if (err) {
        lqi_file_close(&file);
        return err;
    }
    repair->old_meta = repair->meta_file;
    repair->meta_file = file;
    return lqi_repair_tell(repair, LQI_META_NAME, there, damage, remedy, 0, 0);
}
