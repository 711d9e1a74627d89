/* lq_repair: from the outside in, so that each step can rely on what was mended before it:
 *
 *   1 meta is locked, which keeps everybody else out, and says which queue this is, or the files do that have the uuid
 *   2 meta, if it is damaged; the directories
 *   3 what dead processes left in `shared`, brought into the files by opening and closing the queue
 *   4 the log (mend.c), which every opener could read before, and can read after each step
 *   5 the consumers, who need to know where the log begins
 *   6 the proof: lq_verify() finds nothing any more
 *
 * Each step is an exchange of one file for another (aside.h), and leaves a queue no worse than it was. */
#include "repair.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "repair_parts.h"

/* ---- telling, and setting aside ------------------------------------------ */

int lqi_repair_tell(struct repair *repair, const char *file, bool was_there, const char *damage, const char *remedy, uint64_t first_id,
                    uint64_t count)
{
    lq_repair_step step = {.size = sizeof step, .file = file, .aside = was_there && !repair->dry ? repair->aside.last : "",
                           .damage = damage, .remedy = remedy, .first_id = first_id, .count = count};
    repair->result.steps++;
    repair->result.lost += count;
    if (repair->each) repair->each(repair->context, &step);
    return LQ_OK;
}

int lqi_repair_need_aside(struct repair *repair)
{
    if (repair->aside.io) return LQ_OK;
    return lqi_aside_open(&repair->aside, repair->io, repair->dir, repair->meta.options.mode, repair->io->wall_us(repair->io));
}

static int take_away(struct repair *repair, const char *file, const char *damage)
{
    int err = repair->dry ? LQ_OK : lqi_repair_need_aside(repair);
    if (!err && !repair->dry) err = lqi_aside_take(&repair->aside, file);
    return err ? err : lqi_repair_tell(repair, file, true, damage, "set aside", 0, 0);
}

void lqi_repair_note(void *context, uint64_t offset, const char *text)
{
    struct first_damage *first = context;
    if (!first->text[0]) snprintf(first->text, sizeof first->text, "byte %" PRIu64 ": %.400s", offset, text);
}

/* ---- directories --------------------------------------------------------- */

static int make_part(struct repair *repair, const char *name, const char *damage)
{
    uint32_t mode = repair->meta.options.mode;
    int error = repair->io->dir_make(repair->io, repair->dir, name, mode | (mode & 0444) >> 2);
    if (!error) error = repair->io->dir_sync(repair->io, repair->dir);
    if (error) return lqi_fail_errno(error, "make directory", name, -1);
    return lqi_repair_tell(repair, name, false, damage, "made, empty", 0, 0);
}

/* One that is made stays closed: nothing is in it that is to be looked at. */
static int mend_part(struct repair *repair, const char *name, int dir)
{
    if (dir >= 0) return LQ_OK;
    int err = lqi_aside_check(repair->io, repair->dir, name, name);
    if (!err) err = take_away(repair, name, "this is no directory");
    if (err && err != LQ_ENOTFOUND) return err;
    if (repair->dry) return lqi_repair_tell(repair, name, false, "the directory is missing", "made, empty", 0, 0);
    return make_part(repair, name, "the directory is missing");
}

/* ---- shared -------------------------------------------------------------- */

/* Whatever can be opened as a file there is taken over by the next opener. */
static int mend_shared(struct repair *repair, bool *left_over)
{
    struct lqi_shared_map map;
    int err = lqi_shared_attach(&map, repair->io, repair->dir, repair->meta.uuid, false);

    *left_over = !err && !atomic_load(&map.head->clean);
    lqi_shared_detach(&map);
    if (err == LQ_ENOTQUEUE || err == LQ_ECORRUPT) {
        char damage[LQI_TEXT_MAX];
        snprintf(damage, sizeof damage, "%s", lq_error_text());
        return take_away(repair, LQI_SHARED_NAME, damage);
    }
    return err == LQ_ENOTFOUND ? LQ_OK : err;
}

/* The locks are given up for the moment: opening needs them. */
static int bring_in_what_was_left(struct repair *repair)
{
    lq_options options = {.size = sizeof options, .flags = LQ_NO_CREATE};
    lq_queue *queue;

    if (repair->dry) return LQ_OK;
    repair->io->unlock(repair->io, repair->meta_file.fd, LQI_BYTE_OPEN);
    int err = lqi_open_io(repair->io, repair->path, &options, &queue);
    if (!err) err = lq_close(queue);
    if (!err) err = lqi_repair_lock(repair);
    return err ? err : lqi_trim_load(&repair->meta_file, repair->meta.uuid, &repair->trim);
}

/* ---- the log ------------------------------------------------------------- */

static int mend_file(void *context, const char *path, const char *text, const struct lqi_mending *mending)
{
    struct repair *repair = context;

    if (!mending) return take_away(repair, path, text);
    if (!repair->dry) {
        int err = lqi_repair_need_aside(repair);
        if (!err) err = lqi_mend_write(&repair->log, repair->aside.new_dir, mending);
        if (!err) err = mending->there ? lqi_aside_replace(&repair->aside, mending->name, path)
                                       : lqi_aside_place(&repair->aside, mending->name, path);
        if (err) return err;
    }
    return lqi_repair_tell(repair, path, mending->there, text, mending->readable ? "written anew with all that is good in it" : "a hole takes its place",
                mending->first_lost, mending->lost);
}

static int mend_log(struct repair *repair)
{
    struct lqi_position_entry witness;
    int err = lqi_consumers_promise(repair->io, repair->consumers_dir, repair->meta.uuid, &witness);
    struct lqi_promise promise = {.position = witness.durable, .next_id = witness.durable_id + 1};

    if (!err) err = lqi_find_end(&repair->log, &repair->trim, &promise, &repair->found);
    return err ? err : lqi_mend_log(&repair->log, &repair->trim, &repair->found, mend_file, repair);
}

/* ---- foreign files ------------------------------------------------------- */

struct foreign {
    bool log;
    char (*names)[256];
    size_t count;
    bool no_memory;
};

static bool is_ours(bool log, const char *name)
{
    return log ? lqi_segment_is_name(name) : lqi_position_is_name(name);
}

static int note_foreign(void *context, const char *name)
{
    struct foreign *foreign = context;

    if (is_ours(foreign->log, name)) return 0;
    void *names = realloc(foreign->names, (foreign->count + 1) * sizeof *foreign->names);
    foreign->no_memory = !names;
    if (!names) return 1;
    foreign->names = names;
    snprintf(foreign->names[foreign->count++], sizeof *foreign->names, "%s", name);
    return 0;
}

static int take_foreign(struct repair *repair, int dir, const char *shown)
{
    struct foreign foreign = {.log = strcmp(shown, "log") == 0};
    int error = dir < 0 ? 0 : repair->io->dir_list(repair->io, dir, note_foreign, &foreign);
    int err = error ? lqi_fail_errno(error, "list", shown, -1) : LQ_OK;

    if (foreign.no_memory) err = lqi_fail(LQ_ENOMEM, "no memory to list %s", shown);
    for (size_t i = 0; i < foreign.count && !err; i++) {
        char path[LQI_ASIDE_PATH_SIZE];
        snprintf(path, sizeof path, "%s/%s", shown, foreign.names[i]);
        err = take_away(repair, path, "this file is not the queue's");
    }
    free(foreign.names);
    return err;
}

/* ---- the verb ------------------------------------------------------------ */

static int open_queue(struct repair *repair)
{
    bool shared;
    int error = repair->io->dir_open(repair->io, -1, repair->path, &repair->dir);
    if (error) return lqi_fail_errno(error, "open queue", repair->path, -1);
    error = repair->io->dir_shared(repair->io, repair->dir, &shared);
    if (error) return lqi_fail_errno(error, "look at the file system of", repair->path, -1);
    if (!shared) return lqi_fail(LQ_EUNSUPPORTED, "%s is on a network file system, where locks and memory are not shared", repair->path);
    return LQ_OK;
}

static int open_parts(struct repair *repair)
{
    const char *const names[] = {"log", "consumers"};
    int *dirs[] = {&repair->log.log_dir, &repair->consumers_dir};
    for (int i = 0; i < 2; i++) {
        int error = repair->io->dir_open(repair->io, repair->dir, names[i], dirs[i]);
        if (error && error != ENOENT && error != ENOTDIR) return lqi_fail_errno(error, "open", names[i], -1);
    }
    return LQ_OK;
}

/* What an earlier repair was about to finish when it ended. */
static int finish_earlier(struct repair *repair)
{
    int dir = -1;
    if (repair->dry) return LQ_OK;
    int error = repair->io->dir_open(repair->io, repair->dir, LQI_ASIDE_NAME, &dir);
    repair->io->close(repair->io, dir);
    if (error == ENOENT || error == ENOTDIR) return LQ_OK; /* what it may be instead is in nobody's way yet */
    return error ? lqi_fail_errno(error, "open", LQI_ASIDE_NAME, -1) : lqi_repair_need_aside(repair);
}

static int mend_outside(struct repair *repair)
{
    struct first_damage damage = {""};
    int err = open_queue(repair);

    if (!err) err = lqi_repair_hold_meta(repair, &damage);
    if (!err) err = open_parts(repair);
    if (!err) err = lqi_repair_look_at_meta(repair, &damage);
    if (!err) err = finish_earlier(repair);
    if (!err && damage.text[0]) err = lqi_repair_meta(repair, damage.text);
    if (!err) err = mend_part(repair, "log", repair->log.log_dir);
    if (!err) err = mend_part(repair, "consumers", repair->consumers_dir);
    return err;
}

static int mend_all(struct repair *repair)
{
    bool left_over = false;
    int err = mend_outside(repair);

    if (!err) err = mend_shared(repair, &left_over);
    if (!err && left_over) err = bring_in_what_was_left(repair);
    if (err) return err;
    repair->log.io = repair->io;
    memcpy(repair->log.uuid, repair->meta.uuid, sizeof repair->log.uuid);
    repair->log.options = repair->meta.options;
    err = mend_log(repair);
    if (!err) err = take_foreign(repair, repair->log.log_dir, "log");
    if (!err) err = lqi_repair_consumers(repair);
    return err ? err : take_foreign(repair, repair->consumers_dir, "consumers");
}

struct left {
    int code;
    struct first_damage first;
};

static void note_left(void *context, const lq_finding *finding)
{
    struct left *left = context;
    if (left->code) return;
    left->code = finding->code;
    snprintf(left->first.text, sizeof left->first.text, "%.100s: %.350s", finding->file, finding->text);
}

/* Files that were made up can be damaged in ways that nobody has thought of: what was mended is looked at by who has not
 * mended it. The locks are held: nobody else changes it meanwhile. */
static int prove(const struct repair *repair)
{
    struct left left = {.code = LQ_OK};
    int err = lqi_verify_io(repair->io, repair->path, 0, note_left, &left, NULL);
    if (err != LQ_ECORRUPT) return err;
    /* What the disk does not give just now is no damage that was left. */
    return lqi_fail(left.code == LQ_EIO ? LQ_EIO : err, "repaired as far as it can be, but %.460s", left.first.text);
}

/* Not by closing it alone: a child that was forked meanwhile has it open, too. */
static void let_go(const struct repair *repair, struct lqi_file *meta)
{
    if (meta->fd >= 0 && !repair->dry) repair->io->unlock(repair->io, meta->fd, LQI_BYTE_OPEN);
    lqi_file_close(meta);
}

static void release(struct repair *repair)
{
    lqi_aside_close(&repair->aside);
    let_go(repair, &repair->meta_file);
    let_go(repair, &repair->old_meta);
    repair->io->close(repair->io, repair->log.log_dir);
    repair->io->close(repair->io, repair->consumers_dir);
    repair->io->close(repair->io, repair->dir);
}

int lqi_repair_io(const struct lqi_io *io, const char *path, unsigned flags, lq_repair_callback *each, void *context,
                  lq_repair_result *result_out)
{
    if (!path || !*path) return lqi_fail(LQ_EINVAL, "lq_repair: the path is empty");
    if (flags & ~(unsigned)LQ_REPAIR_DRY_RUN) return lqi_fail(LQ_EINVAL, "lq_repair: flags 0x%x mean nothing", flags);
    if (result_out && result_out->size < sizeof result_out->size)
        return lqi_fail(LQ_EINVAL, "lq_repair: set `size` of the result before the call");
    struct repair repair = {.io = io, .path = path, .dry = flags & LQ_REPAIR_DRY_RUN, .each = each, .context = context, .dir = -1,
                            .consumers_dir = -1, .meta_file = LQI_FILE_NONE, .old_meta = LQI_FILE_NONE, .aside = LQI_ASIDE_NONE};
    repair.log.log_dir = -1;

    int err = mend_all(&repair);
    if (!err && !repair.dry) err = prove(&repair);
    release(&repair);
    if (result_out) {
        size_t size = result_out->size;
        memcpy(result_out, &repair.result, size < sizeof repair.result ? size : sizeof repair.result);
        result_out->size = size;
    }
    return err;
}

int lq_repair(const char *path, unsigned flags, lq_repair_callback *each, void *context, lq_repair_result *result_out)
{
    return lqi_repair_io(&lqi_io_posix, path, flags, each, context, result_out);
}
