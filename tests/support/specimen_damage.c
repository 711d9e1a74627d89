/* See specimen_damage.h. */
#include "specimen_damage.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api.h"
#include "bytes.h"
#include "position.h"
#include "segment.h"
#include "shared.h"

const char *const damage_kind_names[DAMAGE_KINDS] = {"bit flipped",    "cut",           "zeroed",  "random bytes",
                                                     "blocks swapped", "block doubled", "removed", "foreign file"};

static const char *const foreign_names[DAMAGE_FOREIGNERS][2] = {{"log", "stranger"}, {"consumers", "stranger"}, {"consumers", "e.pos"},
                                                                {"log", "00000000000000000006.seg"}, {"log", "00000000000000000099.seg"}};

bool id_set_covers(const struct id_set *set, const struct id_set *part)
{
    for (uint64_t id = 1; id <= SPECIMEN_LAST; id++)
        if (part->has[id] && !set->has[id]) return false;
    return true;
}

struct id_set id_set_all_but(const struct id_set *missing)
{
    struct id_set set = {{false}};
    for (uint64_t id = 1; id <= SPECIMEN_LAST; id++) set.has[id] = !missing->has[id];
    return set;
}

/* ---- planning ---------------------------------------------------------------- */

static void make_bytes(struct damaged *damaged)
{
    const struct damage *damage = &damaged->damage;
    const struct specimen_file *file = damaged->file;
    uint64_t at = lqi_min64(damage->at, file->size), run = lqi_min64(damage->size, file->size - at);
    uint64_t paired = lqi_min64(run, file->size > at + run ? file->size - at - run : 0); /* with the block behind it */
    uint8_t *bytes = malloc(file->size + damage->size + 8);

    specimen_must(bytes != NULL, "hold a file");
    memcpy(bytes, file->bytes, file->size);
    damaged->bytes = bytes;
    damaged->size = file->size;
    switch (damage->kind) {
    case DAMAGE_FLIP: bytes[damage->at / 8] ^= (uint8_t)(1u << damage->at % 8); break;
    case DAMAGE_CUT: damaged->size = damage->at; break;
    case DAMAGE_ZERO: memset(bytes + at, 0, run); break;
    case DAMAGE_RANDOM: api_fill(bytes + at, run, damage->at + 99); break;
    case DAMAGE_SWAP: memcpy(bytes + at, file->bytes + at + paired, paired); /* fallthrough */
    default: memcpy(bytes + at + paired, file->bytes + at, paired);
    }
}

bool damage_changed(const struct damaged *damaged, size_t from, size_t to)
{
    return !damaged->bytes || damaged->size < to || memcmp(damaged->bytes + from, damaged->file->bytes + from, to - from) != 0;
}

static void find_hit(struct damaged *damaged)
{
    const struct specimen *specimen = damaged->damage.specimen;

    if (!specimen_is_segment(damaged->file)) return;
    bool all = damage_changed(damaged, 0, LQI_SEGMENT_HEADER_COPY) && damage_changed(damaged, LQI_SEGMENT_HEADER_COPY, LQI_SEGMENT_HEADER);
    for (size_t i = 0; i < specimen->extent_count; i++) {
        const struct specimen_extent *extent = &specimen->extents[i];
        if (extent->file != damaged->damage.file || (!all && !damage_changed(damaged, extent->offset, extent->end))) continue;
        for (uint64_t id = extent->first_id; id < extent->first_id + extent->count; id++) damaged->hit.has[id] = true;
    }
}

bool damage_plan(struct damaged *damaged, const struct damage *damage)
{
    *damaged = (struct damaged){.damage = *damage, .file = &damage->specimen->files[damage->file]};
    if (damage->kind == DAMAGE_FOREIGN) {
        snprintf(damaged->foreign, sizeof damaged->foreign, "%s/%s", foreign_names[damage->at][0], foreign_names[damage->at][1]);
        return true;
    }
    if (damage->kind != DAMAGE_REMOVE) make_bytes(damaged);
    if (damaged->bytes && damaged->size == damaged->file->size && !damage_changed(damaged, 0, damaged->size)) {
        damage_free(damaged);
        return false;
    }
    find_hit(damaged);
    return true;
}

void damage_free(struct damaged *damaged)
{
    free(damaged->bytes);
    damaged->bytes = NULL;
}

/* ---- doing and undoing ----------------------------------------------------------- */

void damage_do(const struct damaged *damaged, const struct lqi_io *io)
{
    const struct damage *damage = &damaged->damage;
    const struct specimen_file *file = damaged->file;

    if (damage->kind == DAMAGE_FOREIGN) {
        const char *const *name = foreign_names[damage->at];
        if (damage->size) specimen_write(io, name[0], name[1], file->bytes, file->size);
        else specimen_write(io, name[0], name[1], (const uint8_t *)"Dear queue,\n", 12);
    } else if (damage->kind == DAMAGE_FLIP) {
        specimen_write_byte(io, file, damage->at / 8, damaged->bytes[damage->at / 8]);
    } else {
        specimen_write(io, file->dir, file->name, damaged->bytes, damaged->size);
    }
}

void damage_undo(const struct damaged *damaged, const struct lqi_io *io)
{
    const struct damage *damage = &damaged->damage;
    const struct specimen_file *file = damaged->file;

    if (damage->kind == DAMAGE_FOREIGN) specimen_write(io, foreign_names[damage->at][0], foreign_names[damage->at][1], NULL, 0);
    else if (damage->kind == DAMAGE_CUT || damage->kind == DAMAGE_REMOVE) specimen_write(io, file->dir, file->name, file->bytes, file->size);
    else if (damage->kind == DAMAGE_FLIP) specimen_write_byte(io, file, damage->at / 8, file->bytes[damage->at / 8]);
    else
        for (size_t i = 0; i < damaged->size; i++)
            if (damaged->bytes[i] != file->bytes[i]) specimen_write_byte(io, file, i, file->bytes[i]);
}

/* ---- what it is -------------------------------------------------------------------- */

bool damage_is_in_shared(const struct damaged *damaged)
{
    return damaged->damage.kind != DAMAGE_FOREIGN && strcmp(damaged->file->name, LQI_SHARED_NAME) == 0;
}

bool damage_is_at(const struct damaged *damaged, uint64_t offset)
{
    const struct damage *damage = &damaged->damage;

    if (damage->kind == DAMAGE_FOREIGN) return offset <= lqi_max64(damaged->file->size, LQI_SEGMENT_HEADER); /* all of it is, and its end */
    if (!damaged->bytes) return offset == 0;
    /* Where it ends lacks what should stand before the end. */
    if (damage->kind != DAMAGE_FLIP && offset > 0 && offset == lqi_max64(damaged->size, damaged->file->size)) offset--;
    if (offset >= damaged->file->size) return false;
    if (specimen_is_segment(damaged->file) && damaged->size < LQI_SEGMENT_HEADER) return offset < LQI_SEGMENT_HEADER; /* it is no header at all */
    struct specimen_part part = specimen_part(damage->specimen, damage->file, (size_t)offset);
    if (damage->kind != DAMAGE_FLIP && strcmp(damaged->file->dir, "consumers") == 0 && part.from == LQI_POSITION_ENTRIES_AT)
        part.to = LQI_POSITION_BLOCKS_AT; /* where they begin, when none of them is left */
    return damage_changed(damaged, part.from, part.to);
}

static const struct specimen_extent *last_record(const struct damaged *damaged)
{
    const struct specimen *specimen = damaged->damage.specimen;
    const struct specimen_extent *last = &specimen->extents[specimen->extent_count - 1];
    return damaged->damage.file == last->file ? last : NULL;
}

size_t damage_end_at(const struct damaged *damaged)
{
    const struct specimen_extent *last = last_record(damaged);
    return last ? last->offset : SIZE_MAX;
}

bool damage_is_at_end(const struct damaged *damaged)
{
    const struct specimen_extent *last = last_record(damaged);
    return last && !damage_changed(damaged, 0, last->offset);
}

bool damage_reaches_end(const struct damaged *damaged)
{
    const struct specimen_extent *last = last_record(damaged);
    return last && damage_changed(damaged, last->offset, last->end);
}

bool damage_is_behind_records(const struct damaged *damaged)
{
    const struct specimen_extent *last = last_record(damaged);
    return last && !damage_changed(damaged, 0, last->end);
}

static bool are_zeroes(const uint8_t *bytes, struct specimen_part part)
{
    for (size_t i = part.from; i < part.to; i++)
        if (bytes[i]) return false;
    return true;
}

bool damage_is_of_unwritten(const struct damaged *damaged, size_t from, size_t needless)
{
    struct specimen_part part;

    if (!damaged->bytes || damaged->size != damaged->file->size || damage_changed(damaged, 0, from)) return false;
    for (size_t at = from; at < damaged->size; at = part.to) {
        part = specimen_part(damaged->damage.specimen, damaged->damage.file, at);
        if (damage_changed(damaged, part.from, part.to) && !are_zeroes(damaged->bytes, part) &&
            !(at >= needless && are_zeroes(damaged->file->bytes, part))) return false;
    }
    return true;
}
