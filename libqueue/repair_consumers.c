/* Offset files: the newest position in them that verifies is kept, and what is known of the messages above it. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "bytes.h"
#include "repair_parts.h"

struct words {
    uint64_t floor; /* below the first id: words[0] is nobody's */
    uint32_t *words;
};

static void put_word(void *context, uint64_t id, uint32_t word)
{
    struct words *words = context;
    words->words[id - words->floor] = word;
}

static uint32_t get_word(void *context, uint64_t id)
{
    const struct words *words = context;
    return words->words[id - words->floor];
}

/* The new file, in aside/new. Its history is the one entry; it is an incarnation of its own. */
static int write_position(struct repair *repair, const char *name, uint32_t window, const struct lqi_position_entry *entry, struct words *words)
{
    struct lqi_position made;
    struct lqi_position_entry first = {.floor = entry->floor, .delivered = entry->floor, .incarnation = entry->incarnation,
                                       .time_us = repair->io->wall_us(repair->io)};

    int err = lqi_position_create(repair->io, repair->aside.new_dir, name, repair->meta.uuid, window, &first, repair->meta.options.mode);
    if (!err) err = lqi_position_open(&made, repair->io, repair->aside.new_dir, name, repair->meta.uuid, true);
    if (err) return err;
    struct lqi_position_sides sides = {.side = calloc(made.block_count, sizeof *sides.side)};
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

    kept->words = (struct words){kept->entry.floor, calloc(count + 1, sizeof *kept->words.words)};
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
    struct kept kept = {.remedy = ""};

    snprintf(path, sizeof path, "consumers/%s.pos", name);
    snprintf(file, sizeof file, "%s.pos", name);
    int err = keep_position(repair, name, &kept);
    if (!err && !repair->dry) {
        err = lqi_repair_need_aside(repair);
        if (!err) err = write_position(repair, name, kept.window, &kept.entry, &kept.words);
        if (!err) err = lqi_aside_replace(&repair->aside, file, path);
    }
    free(kept.words.words);
    return err ? err : lqi_repair_tell(repair, path, true, damage, kept.remedy, 0, 0);
}

static int look_at_position(struct repair *repair, const char *name, struct first_damage *damage)
{
    struct lqi_position position;
    int err = lqi_position_open(&position, repair->io, repair->consumers_dir, name, repair->meta.uuid, false);

    if (err == LQ_ECORRUPT) {
        char file[LQI_POSITION_NAME_SIZE];
        lqi_repair_note(damage, 0, lq_error_text());
        snprintf(file, sizeof file, "%s.pos", name);
        return lqi_aside_check(repair->io, repair->consumers_dir, file, position.file.name);
    }
    if (err) return err;
    err = lqi_position_check(&position, lqi_repair_note, damage);
    lqi_position_close(&position);
    return err;
}

int lqi_repair_consumers(struct repair *repair)
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
