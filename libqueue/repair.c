/* lq_repair: from the outside in, so that each step can rely on what was mended before it:
 *
 *   1 which queue this is: the uuid, from meta or from the files that have it
 *   2 meta, and on it the locks that keep everybody else out; the directories
 *   3 what dead processes left in `shared`, brought into the files by opening and closing the queue
 *   4 the log (mend.c), which every opener could read before, and can read after each step
 *   5 the consumers, who need to know where the log begins
 *   6 the proof: lq_verify() finds nothing any more
 *
 * Each step is an exchange of one file for another (aside.h), and leaves a queue no worse than it was. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "aside.h"
#include "bytes.h"
#include "mend.h"
#include "publish.h"
#include "queue.h"
#include "repair.h"

struct repair {
    const struct lqi_io *io;
    const char *path;
    bool dry;
    lq_repair_callback *each;
    void *context;
    lq_repair_result result;

    int dir, consumers_dir;    /* -1: missing. log_dir is in `log` */
    struct lqi_file meta_file; /* the one that is locked; none if it is missing, or no file */
    struct lqi_file old_meta;  /* the one that it has replaced, locked until the end */
    struct lqi_meta meta;
    bool options_known;        /* and not the defaults, for want of better */
    struct lqi_trim trim;
    struct lqi_log log;
    struct lqi_found found;
    struct lqi_aside aside;
};

static int tell(struct repair *repair, const char *file, bool was_there, const char *damage, const char *remedy, uint64_t first_id,
                uint64_t count)
{
    lq_repair_step step = {.size = sizeof step, .file = file, .aside = was_there && !repair->dry ? repair->aside.last : "",
                           .damage = damage, .remedy = remedy, .first_id = count ? first_id : 0, .count = count};
    repair->result.steps++;
    repair->result.lost += count;
    if (repair->each) repair->each(repair->context, &step);
    return LQ_OK;
}

/* The directory for what is set aside is made when it is first needed. */
static int need_aside(struct repair *repair)
{
    if (repair->aside.io) return LQ_OK;
    return lqi_aside_open(&repair->aside, repair->io, repair->dir, repair->meta.options.mode, repair->io->wall_us(repair->io));
}

static int take_away(struct repair *repair, const char *file, const char *damage)
{
    int err = repair->dry ? LQ_OK : need_aside(repair);
    if (!err && !repair->dry) err = lqi_aside_take(&repair->aside, file);
    return err ? err : tell(repair, file, true, damage, "set aside", 0, 0);
}

/* ---- which queue this is ------------------------------------------------- */

static bool is_no_segment(int err)
{
    return err == LQ_ECORRUPT || err == LQ_EVERSION || err == LQ_ENOTFOUND || err == LQ_ENOTQUEUE;
}

/* The uuid that most segments have: a few of another queue may have been put here by mistake. */
static int vote_of_segments(struct repair *repair, bool *found)
{
    struct lqi_segment segment;
    uint64_t *ids, votes = 0;
    size_t count;
    int err = lqi_segment_list(repair->io, repair->log.log_dir, &ids, &count, NULL);
    if (err) return err;
    for (size_t i = 0; i < count; i++) {
        err = lqi_segment_open(&segment, repair->io, repair->log.log_dir, ids[i], NULL, false);
        if (is_no_segment(err)) continue;
        if (err) break;
        if (!votes) memcpy(repair->meta.uuid, segment.head.uuid, sizeof repair->meta.uuid);
        if (memcmp(repair->meta.uuid, segment.head.uuid, sizeof repair->meta.uuid) == 0) votes++;
        else votes--;
        lqi_segment_close(&segment);
        *found = true;
    }
    free(ids);
    return is_no_segment(err) ? LQ_OK : err;
}

static int uuid_of_positions(struct repair *repair, bool *found)
{
    char (*names)[LQ_NAME_MAX + 1];
    size_t count;
    int err = lqi_position_list(repair->io, repair->consumers_dir, &names, &count);
    if (err) return err;
    for (size_t i = 0; i < count && !*found; i++)
        *found = lqi_position_uuid(repair->io, repair->consumers_dir, names[i], repair->meta.uuid) == LQ_OK;
    free(names);
    return LQ_OK;
}

/* Without meta: whose files are these? `damaged` is why it cannot be read. A queue of which nothing else is there has
 * nothing to lose, and gets a new one. */
static int recognise(struct repair *repair, int damaged)
{
    bool found = false;
    char text[LQI_TEXT_MAX];
    snprintf(text, sizeof text, "%s", lq_error_text());

    int err = vote_of_segments(repair, &found);
    if (!err && !found) err = uuid_of_positions(repair, &found);
    if (err) return err;
    if (!found && damaged == LQ_ECORRUPT && repair->log.log_dir >= 0) {
        int error = repair->io->random(repair->io, repair->meta.uuid, sizeof repair->meta.uuid);
        if (error) return lqi_fail_errno(error, "get random bytes for", LQI_META_NAME, -1);
        found = true;
    }
    if (!found) return lqi_fail(LQ_ENOTQUEUE, "%.300s is not a queue, or nothing in it says which: %.100s", repair->path, text);
    repair->meta.created_us = repair->io->wall_us(repair->io);
    return lqi_options_complete(&(lq_options){.size = sizeof(lq_options)}, &repair->meta.options);
}

/* ---- meta ---------------------------------------------------------------- */

#define ROOM_FOR_UNREADABLE 4096 /* on the number line, for a hole in the place of a segment of unknown length */

struct first_damage {
    char text[LQI_TEXT_MAX];
};

static void note_damage(void *context, uint64_t offset, const char *text)
{
    struct first_damage *first = context;
    if (!first->text[0]) snprintf(first->text, sizeof first->text, "byte %" PRIu64 ": %.400s", offset, text);
}

/* Where the log begins if no slot says so: with its oldest file. Should that be beyond reading, it begins somewhere before the
 * first that is not: the slot must never say of a file that it was given up, or the next opener would delete it. */
static int trim_of_segments(struct repair *repair)
{
    struct lqi_segment segment;
    uint64_t *ids, before = 0;
    size_t count;

    repair->trim = (struct lqi_trim){.sequence = 1, .first_id = 1, .next_id = 1};
    int err = lqi_segment_list(repair->io, repair->log.log_dir, &ids, &count, NULL);
    if (err) return err;
    if (count) repair->trim.first_id = repair->trim.next_id = ids[0];
    for (size_t i = 0; i < count; i++) {
        err = lqi_segment_open(&segment, repair->io, repair->log.log_dir, ids[i], repair->meta.uuid, false);
        if (!err) {
            repair->trim.position = segment.head.position - lqi_min64(before, segment.head.position);
            lqi_segment_close(&segment);
        }
        if (!is_no_segment(err)) break; /* LQ_OK, or the machine fails */
        before += ROOM_FOR_UNREADABLE;
        err = LQ_OK;
    }
    repair->trim.synced = repair->trim.position;
    free(ids);
    return err;
}

/* Reads meta, or what is left of it; `damage` stays empty when nothing is wrong. */
static int look_at_meta(struct repair *repair, struct first_damage *damage)
{
    uint8_t bytes[LQI_META_SIZE] = {0};
    uint64_t size = 0;
    size_t got = 0;

    int err = lqi_file_open(&repair->meta_file, repair->io, repair->dir, LQI_META_NAME, LQI_META_NAME,
                            repair->dry ? LQI_OPEN_READ : LQI_OPEN_WRITE, 0);
    if (!err) err = lqi_file_size(&repair->meta_file, &size);
    if (!err) err = lqi_file_read(&repair->meta_file, 0, bytes, sizeof bytes, &got);
    if (err && err != LQ_ENOTFOUND && err != LQ_ENOTQUEUE) return err;
    if (err) note_damage(damage, 0, err == LQ_ENOTFOUND ? "the file is missing" : lq_error_text());
    if (!err) err = lqi_meta_decode(bytes, sizeof bytes, &repair->meta);
    if (err == LQ_EVERSION) return err;
    repair->options_known = !err;
    if (err) err = recognise(repair, err);
    if (err) return err;
    if (!damage->text[0]) lqi_meta_check(bytes, size, note_damage, damage);
    if (lqi_trim_decode(bytes, sizeof bytes, repair->meta.uuid, &repair->trim)) return trim_of_segments(repair);
    return LQ_OK;
}

static int lock_meta(struct repair *repair, const struct lqi_file *file)
{
    bool live = false, opening = false;
    int error = 0;

    if (repair->dry) error = repair->io->locked(repair->io, file->fd, LQI_BYTE_OPEN, 1, &opening);
    else error = repair->io->lock(repair->io, file->fd, LQI_BYTE_OPEN);
    if (error == EAGAIN || error == EACCES) opening = true;
    else if (error) return lqi_fail_errno(error, "lock", LQI_META_NAME, -1);
    if (!opening) error = repair->io->locked(repair->io, file->fd, LQI_BYTE_HANDLE, LQI_HANDLES_MAX, &live);
    if (error && !opening) return lqi_fail_errno(error, "look at the locks of", LQI_META_NAME, -1);
    return live || opening ? lqi_fail(LQ_EBUSY, "the queue is in use: repair it when everybody has closed it") : LQ_OK;
}

/* Who has a meta open that was replaced or removed since locks `shared`, too. */
static int check_unused(struct repair *repair)
{
    struct lqi_file file;
    bool live = false;
    int error = 0;

    if (lqi_file_open(&file, repair->io, repair->dir, LQI_SHARED_NAME, LQI_SHARED_NAME, LQI_OPEN_READ, 0)) return LQ_OK;
    error = repair->io->locked(repair->io, file.fd, LQI_BYTE_HANDLE, LQI_HANDLES_MAX, &live);
    lqi_file_close(&file);
    if (error) return lqi_fail_errno(error, "look at the locks of", LQI_SHARED_NAME, -1);
    return live ? lqi_fail(LQ_EBUSY, "the queue is in use: repair it when everybody has closed it") : LQ_OK;
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

static bool has_meta(const struct repair *repair)
{
    struct lqi_file file;
    int err = lqi_file_open(&file, repair->io, repair->dir, LQI_META_NAME, LQI_META_NAME, LQI_OPEN_READ, 0);
    lqi_file_close(&file);
    return err != LQ_ENOTFOUND;
}

static int mend_meta(struct repair *repair, const char *damage)
{
    const char *remedy = repair->options_known ? "written anew from what is good in it" : "made anew, with the default options";
    struct lqi_file file = LQI_FILE_NONE;
    bool there = has_meta(repair);

    if (repair->dry) return tell(repair, LQI_META_NAME, there, damage, remedy, 0, 0);
    int err = need_aside(repair);
    if (!err) err = make_meta(repair, &file);
    if (!err) err = there ? lqi_aside_replace(&repair->aside, LQI_META_NAME, LQI_META_NAME)
                          : lqi_aside_place(&repair->aside, LQI_META_NAME, LQI_META_NAME);
    if (err) {
        lqi_file_close(&file);
        return err;
    }
    repair->old_meta = repair->meta_file;
    repair->meta_file = file;
    return tell(repair, LQI_META_NAME, there, damage, remedy, 0, 0);
}

/* ---- directories --------------------------------------------------------- */

static int make_part(struct repair *repair, const char *name, int *dir, const char *damage)
{
    uint32_t mode = repair->meta.options.mode;
    int error = repair->io->dir_make(repair->io, repair->dir, name, mode | (mode & 0444) >> 2);
    if (!error || error == EEXIST) error = repair->io->dir_sync(repair->io, repair->dir);
    if (!error) error = repair->io->dir_open(repair->io, repair->dir, name, dir);
    if (error) return lqi_fail_errno(error, "make directory", name, -1);
    return tell(repair, name, false, damage, "made, empty", 0, 0);
}

static int mend_part(struct repair *repair, const char *name, int *dir)
{
    if (*dir >= 0) return LQ_OK;
    int none = -1, error = repair->io->dir_open(repair->io, repair->dir, name, &none);
    repair->io->close(repair->io, none);
    int err = error == ENOENT ? LQ_OK : take_away(repair, name, "this is no directory");
    if (err) return err;
    if (repair->dry) return tell(repair, name, false, "the directory is missing", "made, empty", 0, 0);
    return make_part(repair, name, dir, "the directory is missing");
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
    if (!err) err = lock_meta(repair, &repair->meta_file);
    return err ? err : lqi_trim_load(&repair->meta_file, repair->meta.uuid, &repair->trim);
}

/* ---- the log ------------------------------------------------------------- */

static int mend_file(void *context, const char *path, const char *text, const struct lqi_mending *mending)
{
    struct repair *repair = context;

    if (!mending) return take_away(repair, path, text);
    if (!repair->dry) {
        int err = need_aside(repair);
        if (!err) err = lqi_mend_write(&repair->log, repair->aside.new_dir, mending);
        if (!err) err = mending->there ? lqi_aside_replace(&repair->aside, mending->name, path)
                                       : lqi_aside_place(&repair->aside, mending->name, path);
        if (err) return err;
    }
    return tell(repair, path, mending->there, text, mending->readable ? "written anew with all that is good in it" : "a hole takes its place",
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

/* ---- consumers ----------------------------------------------------------- */

struct words {
    uint64_t first; /* id of words[0] */
    uint32_t *words;
};

static void put_word(void *context, uint64_t id, uint32_t word)
{
    struct words *words = context;
    words->words[id - words->first] = word;
}

static uint32_t get_word(void *context, uint64_t id)
{
    const struct words *words = context;
    return words->words[id - words->first];
}

/* The new file, in aside/new. Its history is the one entry; it is an incarnation of its own. */
static int write_position(struct repair *repair, const char *name, uint32_t window, const struct lqi_position_entry *entry, struct words *words)
{
    struct lqi_position made;
    struct lqi_position_sides sides = {0};
    struct lqi_position_entry first = {.floor = entry->floor, .delivered = entry->floor, .incarnation = entry->incarnation,
                                       .time_us = repair->io->wall_us(repair->io)};

    int err = lqi_position_create(repair->io, repair->aside.new_dir, name, repair->meta.uuid, window, &first, repair->meta.options.mode);
    if (!err) err = lqi_position_open(&made, repair->io, repair->aside.new_dir, name, repair->meta.uuid, true);
    if (err) return err;
    sides.side = calloc(made.block_count, sizeof *sides.side);
    err = sides.side ? lqi_position_save(&made, entry, entry->floor + 1, entry->delivered, &sides, get_word, words)
                     : lqi_fail(LQ_ENOMEM, "no memory for the window of consumer '%s'", name);
    if (!err) err = lqi_file_sync(&made.file);
    free(sides.side);
    lqi_position_close(&made);
    return err;
}

/* What is to be kept of a consumer whose file is damaged; words.words is malloced. */
struct kept {
    struct lqi_position_entry entry;
    uint32_t window;
    struct words words;
    char remedy[120];
};

static int keep_words(struct lqi_position *position, struct kept *kept)
{
    uint64_t count = kept->entry.delivered - kept->entry.floor;

    kept->words = (struct words){kept->entry.floor + 1, calloc(count + 1, sizeof *kept->words.words)};
    if (!kept->words.words) return lqi_fail(LQ_ENOMEM, "no memory for the window of %s", position->file.name);
    int err = lqi_position_load(position, put_word, &kept->words, NULL, NULL);
    return err == LQ_ECORRUPT ? LQ_OK : err; /* what is cut off counts as not settled */
}

static int keep_position(struct repair *repair, const char *name, struct kept *kept)
{
    uint64_t oldest = lqi_max64(repair->found.first_id, 1);
    struct lqi_position position;

    int err = lqi_position_salvage(&position, repair->io, repair->consumers_dir, name, repair->meta.uuid);
    if (err && err != LQ_ENOTFOUND) return err;
    kept->window = position.window;
    kept->entry = position.newest;
    if (err) {
        kept->entry = (struct lqi_position_entry){.floor = oldest - 1, .delivered = oldest - 1};
        snprintf(kept->remedy, sizeof kept->remedy, "made anew: the consumer starts again at message %" PRIu64 ", the oldest", oldest);
        err = LQ_OK;
    } else {
        snprintf(kept->remedy, sizeof kept->remedy, "written anew: the consumer has settled all up to message %" PRIu64, kept->entry.floor);
        err = keep_words(&position, kept);
        lqi_position_close(&position);
    }
    if (err) return err;
    int error = repair->io->random(repair->io, &kept->entry.incarnation, sizeof kept->entry.incarnation);
    return error ? lqi_fail_errno(error, "get random bytes for", name, -1) : LQ_OK;
}

static int mend_position(struct repair *repair, const char *name, const char *damage)
{
    char path[LQ_NAME_MAX + 20], file[LQI_POSITION_NAME_SIZE];
    struct kept kept = {.words = {0, NULL}};

    snprintf(path, sizeof path, "consumers/%s.pos", name);
    snprintf(file, sizeof file, "%s.pos", name);
    int err = keep_position(repair, name, &kept);
    if (!err && !repair->dry) {
        err = need_aside(repair);
        if (!err) err = write_position(repair, name, kept.window, &kept.entry, &kept.words);
        if (!err) err = lqi_aside_replace(&repair->aside, file, path);
    }
    free(kept.words.words);
    return err ? err : tell(repair, path, true, damage, kept.remedy, 0, 0);
}

static int look_at_position(struct repair *repair, const char *name, struct first_damage *damage)
{
    struct lqi_position position;
    int err = lqi_position_open(&position, repair->io, repair->consumers_dir, name, repair->meta.uuid, false);

    if (err == LQ_ECORRUPT) note_damage(damage, 0, lq_error_text());
    if (err) return err == LQ_ECORRUPT ? LQ_OK : err;
    err = lqi_position_check(&position, note_damage, damage);
    lqi_position_close(&position);
    return err;
}

static int mend_consumers(struct repair *repair)
{
    char (*names)[LQ_NAME_MAX + 1];
    size_t count;
    int err = lqi_position_list(repair->io, repair->consumers_dir, &names, &count);
    if (err) return err;
    for (size_t i = 0; i < count && !err; i++) {
        struct first_damage damage = {""};
        err = look_at_position(repair, names[i], &damage);
        if (!err && damage.text[0]) err = mend_position(repair, names[i], damage.text);
    }
    free(names);
    return err;
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
    size_t length = strlen(name);
    uint64_t id;
    if (!log) return lqi_position_is_name(name);
    return lqi_segment_name_parse(name, &id) || (length > 4 && strcmp(name + length - 4, ".new") == 0);
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

static int open_dirs(struct repair *repair)
{
    bool shared;
    int error = repair->io->dir_open(repair->io, -1, repair->path, &repair->dir);
    if (error) return lqi_fail_errno(error, "open queue", repair->path, -1);
    error = repair->io->dir_shared(repair->io, repair->dir, &shared);
    if (error) return lqi_fail_errno(error, "look at the file system of", repair->path, -1);
    if (!shared) return lqi_fail(LQ_EUNSUPPORTED, "%s is on a network file system, where locks and memory are not shared", repair->path);

    const char *const names[] = {"log", "consumers"};
    int *dirs[] = {&repair->log.log_dir, &repair->consumers_dir};
    for (int i = 0; i < 2; i++) {
        error = repair->io->dir_open(repair->io, repair->dir, names[i], dirs[i]);
        if (error && error != ENOENT && error != ENOTDIR && error != ELOOP) return lqi_fail_errno(error, "open", names[i], -1);
    }
    return LQ_OK;
}

/* What an earlier repair was about to finish when it ended. */
static int finish_earlier(struct repair *repair)
{
    int dir = -1;
    if (repair->dry || repair->io->dir_open(repair->io, repair->dir, LQI_ASIDE_NAME, &dir)) return LQ_OK;
    repair->io->close(repair->io, dir);
    return need_aside(repair);
}

static int mend_outside(struct repair *repair)
{
    struct first_damage damage = {""};
    int err = look_at_meta(repair, &damage);

    if (!err && repair->meta_file.fd >= 0) err = lock_meta(repair, &repair->meta_file);
    if (!err) err = check_unused(repair);
    if (!err) err = finish_earlier(repair);
    if (!err && damage.text[0]) err = mend_meta(repair, damage.text);
    if (!err) err = mend_part(repair, "log", &repair->log.log_dir);
    if (!err) err = mend_part(repair, "consumers", &repair->consumers_dir);
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
    repair->log.meta_file = &repair->meta_file;
    err = mend_log(repair);
    if (!err) err = take_foreign(repair, repair->log.log_dir, "log");
    if (!err) err = mend_consumers(repair);
    return err ? err : take_foreign(repair, repair->consumers_dir, "consumers");
}

static void note_left(void *context, const lq_finding *finding)
{
    struct first_damage *left = context;
    if (!left->text[0]) snprintf(left->text, sizeof left->text, "%.100s: %.350s", finding->file, finding->text);
}

/* Files that were made up can be damaged in ways that nobody has thought of: what was mended is looked at by who has not
 * mended it. The locks are held: nobody else changes it meanwhile. */
static int prove(const struct repair *repair)
{
    struct first_damage left = {""};
    int err = lqi_verify_io(repair->io, repair->path, 0, note_left, &left, NULL);
    return err == LQ_ECORRUPT ? lqi_fail(err, "repaired as far as it can be, but %.460s", left.text) : err;
}

static void release(struct repair *repair)
{
    lqi_aside_close(&repair->aside);
    lqi_file_close(&repair->meta_file); /* with it go the locks */
    lqi_file_close(&repair->old_meta);
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

    int err = open_dirs(&repair);
    if (!err) err = mend_all(&repair);
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
