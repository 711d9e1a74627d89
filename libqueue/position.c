/* Offset files as files: names, the fixed part and the entries; made, opened, replaced, listed, deleted. */
#include "position_parts.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "checksum.h"
#include "publish.h"
#include "stamp.h"

#define SEQUENCE_END ((uint64_t)1 << 62) /* twice that must fit: see struct lqi_position_sides */

/* The bytes that position.h describes, field by field. */
_Static_assert(LQI_POSITION_COPY == LQI_STAMP_HEAD + 4 + 4 + 8 + (LQ_NAME_MAX + 4) + 344 + 8, "fixed part of an offset file");
_Static_assert(2 * LQI_POSITION_COPY <= LQI_POSITION_ENTRIES_AT, "the entries stand behind both copies");
_Static_assert(LQI_POSITION_ENTRIES_AT + LQI_POSITION_ENTRIES * LQI_POSITION_ENTRY == LQI_POSITION_BLOCKS_AT, "and the blocks behind them");
_Static_assert(LQI_POSITION_ENTRY == 8 * 8, "commit entry");
_Static_assert(LQI_POSITION_BLOCK == 3 * 8 + 4 * LQI_POSITION_BLOCK_WORDS, "block of words");
_Static_assert(LQ_NAME_MAX + sizeof ".pos" <= LQI_POSITION_NAME_SIZE, "name of an offset file");

static const struct lqi_stamp stamp = {"LQpos\r\n\0", LQI_POSITION_VERSION, LQI_POSITION_COPY};

/* ---- names ------------------------------------------------------------- */

static bool is_letter_or_digit(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

static bool is_name(const char *name, size_t size)
{
    if (size == 0 || size > LQ_NAME_MAX || name[0] == '.' || name[0] == '-') return false;
    for (size_t i = 0; i < size; i++)
        if (!is_letter_or_digit(name[i]) && name[i] != '.' && name[i] != '_' && name[i] != '-') return false;
    return true;
}

int lqi_name_check(const char *name)
{
    if (!name) return lqi_fail(LQ_EINVAL, "the name is NULL");
    if (is_name(name, strnlen(name, LQ_NAME_MAX + 1))) return LQ_OK;
    return lqi_fail(LQ_ENAME, "'%.*s' is not a name: 1 to %d of A-Z a-z 0-9 . _ -, not starting with . or -",
                    LQ_NAME_MAX + 1, name, LQ_NAME_MAX);
}

static void file_name(char name[LQI_POSITION_NAME_SIZE], const char *consumer)
{
    size_t length = strnlen(consumer, LQ_NAME_MAX);
    memcpy(name, consumer, length);
    memcpy(name + length, ".pos", sizeof ".pos");
}

static const char directory[] = "consumers/";
#define SHOWN_SIZE (LQI_POSITION_NAME_SIZE + sizeof directory)

static void shown_name(char shown[SHOWN_SIZE], const char *consumer)
{
    memcpy(shown, directory, sizeof directory - 1);
    file_name(shown + sizeof directory - 1, consumer);
}

/* ---- fixed part -------------------------------------------------------- */

uint32_t lqi_position_block_count(uint32_t window)
{
    return window / LQI_POSITION_BLOCK_WORDS + 2;
}

uint64_t lqi_position_file_size(uint32_t window)
{
    return LQI_POSITION_BLOCKS_AT + 2 * (uint64_t)lqi_position_block_count(window) * LQI_POSITION_BLOCK;
}

static void fixed_encode(uint8_t *bytes, const char *consumer, const uint8_t uuid[16], uint32_t window, int64_t created_us)
{
    lqi_stamp_begin(bytes, &stamp, uuid);
    lqi_put32(bytes + 40, window);
    lqi_put32(bytes + 44, lqi_position_block_count(window));
    lqi_put64(bytes + 48, (uint64_t)created_us);
    memcpy(bytes + 56, consumer, strlen(consumer));
    lqi_stamp_end(bytes, &stamp);
}

int lqi_position_fixed_decode(const uint8_t *bytes, size_t size, struct lqi_position *position)
{
    const char *shown = position->file.name;
    char name[LQ_NAME_MAX + 4] = {0};
    const uint8_t *copy;

    int err = lqi_stamp_find(bytes, size, &stamp, position->uuid, shown, &copy, &position->damaged_copy);
    if (err) return err;

    memcpy(name, position->consumer, sizeof position->consumer);
    if (memcmp(copy + 56, name, sizeof name) != 0)
        return lqi_fail(LQ_ECORRUPT, "%s at byte %td: belongs to another consumer", shown, copy - bytes + 56);
    position->window = lqi_get32(copy + 40);
    position->block_count = lqi_get32(copy + 44);
    if (position->window < LQI_POSITION_WINDOW_MIN || position->window > LQI_POSITION_WINDOW_MAX ||
        position->block_count != lqi_position_block_count(position->window))
        return lqi_fail(LQ_ECORRUPT, "%s at byte %td: a window of %u in %u blocks makes no sense", shown,
                        copy - bytes + 40, position->window, position->block_count);
    return LQ_OK;
}

/* ---- commit entries ---------------------------------------------------- */

void lqi_position_entry_encode(uint8_t bytes[LQI_POSITION_ENTRY], const struct lqi_position_entry *entry, const uint8_t uuid[16])
{
    lqi_put64(bytes, entry->sequence);
    lqi_put64(bytes + 8, entry->floor);
    lqi_put64(bytes + 16, entry->delivered);
    lqi_put64(bytes + 24, entry->incarnation);
    lqi_put64(bytes + 32, entry->durable);
    lqi_put64(bytes + 40, entry->durable_id);
    lqi_put64(bytes + 48, (uint64_t)entry->time_us);
    lqi_put64(bytes + 56, lqi_checksum_at(bytes, 56, lqi_get64(uuid)));
}

bool lqi_position_entry_makes_sense(const struct lqi_position_entry *entry, uint32_t window)
{
    return entry->sequence != 0 && entry->sequence < SEQUENCE_END && entry->delivered < LQI_ID_END &&
           entry->floor <= entry->delivered && entry->delivered - entry->floor <= window && entry->durable < LQI_ID_END &&
           entry->durable_id < LQI_ID_END - 1;
}

bool lqi_position_entry_decode(const uint8_t bytes[LQI_POSITION_ENTRY], size_t slot, const struct lqi_position *position,
                         struct lqi_position_entry *entry_out)
{
    struct lqi_position_entry entry = {
        .sequence = lqi_get64(bytes),
        .floor = lqi_get64(bytes + 8),
        .delivered = lqi_get64(bytes + 16),
        .incarnation = lqi_get64(bytes + 24),
        .durable = lqi_get64(bytes + 32),
        .durable_id = lqi_get64(bytes + 40),
        .time_us = (int64_t)lqi_get64(bytes + 48),
    };

    if (lqi_get64(bytes + 56) != lqi_checksum_at(bytes, 56, lqi_get64(position->uuid))) return false;
    if (entry.sequence % LQI_POSITION_ENTRIES != slot || !lqi_position_entry_makes_sense(&entry, position->window)) return false;
    *entry_out = entry;
    return true;
}

int lqi_position_entries_decode(const uint8_t *bytes, struct lqi_position *position)
{
    struct lqi_position_entry entry;

    for (size_t slot = 0; slot < LQI_POSITION_ENTRIES; slot++) {
        const uint8_t *at = bytes + slot * LQI_POSITION_ENTRY;
        if (lqi_all_zero(at, LQI_POSITION_ENTRY)) continue;
        if (!lqi_position_entry_decode(at, slot, position, &entry)) {
            position->damaged_entries |= (uint64_t)1 << slot;
            continue;
        }
        position->incarnations[slot] = entry.incarnation;
        if (entry.sequence > position->newest.sequence) position->newest = entry;
    }
    if (position->newest.sequence) return LQ_OK;
    return lqi_fail(LQ_ECORRUPT, "%s at byte %d: no valid entry", position->file.name, LQI_POSITION_ENTRIES_AT);
}

/* ---- create, open, close ----------------------------------------------- */

int lqi_position_create(const struct lqi_io *io, int consumers_dir, const char *consumer, const uint8_t uuid[16],
                        uint32_t window, const struct lqi_position_entry *first, uint32_t mode)
{
    char name[LQI_POSITION_NAME_SIZE], shown[SHOWN_SIZE];
    uint8_t bytes[LQI_POSITION_BLOCKS_AT] = {0};
    struct lqi_position_entry entry = *first;

    int err = lqi_name_check(consumer);
    if (err) return err;
    entry.sequence = 1;
    if (window < LQI_POSITION_WINDOW_MIN || window > LQI_POSITION_WINDOW_MAX || !lqi_position_entry_makes_sense(&entry, window))
        return lqi_fail(LQ_EINVAL, "consumer '%s': a window of %u from %" PRIu64 " to %" PRIu64 " makes no sense", consumer,
                        window, first->floor, first->delivered);

    fixed_encode(bytes, consumer, uuid, window, first->time_us);
    lqi_position_entry_encode(bytes + LQI_POSITION_ENTRIES_AT + LQI_POSITION_ENTRY, &entry, uuid);
    file_name(name, consumer);
    shown_name(shown, consumer);
    return lqi_publish(io, consumers_dir, &(struct lqi_publication){
        .name = name,
        .shown = shown,
        .mode = mode,
        .bytes = bytes,
        .size = sizeof bytes,
        .file_size = lqi_position_file_size(window),
    });
}

int lqi_position_read_head(const struct lqi_file *file, uint8_t bytes[LQI_POSITION_BLOCKS_AT])
{
    size_t got;
    int err = lqi_file_read(file, 0, bytes, LQI_POSITION_BLOCKS_AT, &got);
    if (err || got == LQI_POSITION_BLOCKS_AT) return err;
    return lqi_fail(LQ_ECORRUPT, "%s at byte %zu: the file ends, before its window", file->name, got);
}

static int read_fixed(struct lqi_position *position)
{
    uint8_t bytes[LQI_POSITION_BLOCKS_AT];
    uint64_t file_size;

    int err = lqi_position_read_head(&position->file, bytes);
    if (err) return err;
    err = lqi_position_fixed_decode(bytes, sizeof bytes, position);
    if (err) return err;
    err = lqi_file_size(&position->file, &file_size);
    if (err) return err;
    if (file_size < lqi_position_file_size(position->window))
        return lqi_fail(LQ_ECORRUPT, "%s at byte %" PRIu64 ": the file ends, it should have %" PRIu64 " bytes",
                        position->file.name, file_size, lqi_position_file_size(position->window));
    return lqi_position_entries_decode(bytes + LQI_POSITION_ENTRIES_AT, position);
}

int lqi_position_open(struct lqi_position *position, const struct lqi_io *io, int consumers_dir, const char *consumer,
                      const uint8_t uuid[16], bool writable)
{
    char name[LQI_POSITION_NAME_SIZE], shown[SHOWN_SIZE];
    int err;

    *position = (struct lqi_position){.file = LQI_FILE_NONE, .damaged_copy = -1};
    err = lqi_name_check(consumer);
    if (err) goto done;
    memcpy(position->uuid, uuid, sizeof position->uuid);
    memcpy(position->consumer, consumer, strlen(consumer));
    file_name(name, consumer);
    shown_name(shown, consumer);

    if (consumers_dir < 0) return lqi_fail(LQ_ENOTFOUND, "%s is missing, with its directory", shown);
    err = lqi_file_open(&position->file, io, consumers_dir, name, shown, writable ? LQI_OPEN_WRITE : LQI_OPEN_READ, 0);
    /* A directory or a link in its place is damage like any other: it must not keep the whole queue shut. */
    if (err == LQ_ENOTQUEUE) err = lqi_fail(LQ_ECORRUPT, "%s", lq_error_text());
    if (err) goto done;
    err = read_fixed(position);

done:
    if (err) lqi_position_close(position);
    return err;
}

void lqi_position_close(struct lqi_position *position)
{
    lqi_file_close(&position->file);
}

int lqi_position_open_file(struct lqi_file *file, const struct lqi_io *io, int consumers_dir, const char *consumer)
{
    char name[LQI_POSITION_NAME_SIZE], shown[SHOWN_SIZE];

    file_name(name, consumer);
    shown_name(shown, consumer);
    return lqi_file_open(file, io, consumers_dir, name, shown, LQI_OPEN_READ, 0);
}

int lqi_position_exists(const struct lqi_io *io, int consumers_dir, const char *consumer, bool *exists_out)
{
    struct lqi_file file = LQI_FILE_NONE;

    int err = lqi_name_check(consumer);
    if (err) return err;
    err = lqi_position_open_file(&file, io, consumers_dir, consumer);
    lqi_file_close(&file);
    if (err && err != LQ_ENOTFOUND && err != LQ_ENOTQUEUE && err != LQ_EACCESS) return err;
    *exists_out = err != LQ_ENOTFOUND;
    return LQ_OK;
}

int lqi_position_uuid(const struct lqi_io *io, int consumers_dir, const char *consumer, uint8_t uuid_out[16])
{
    struct lqi_file file = LQI_FILE_NONE;
    uint8_t bytes[2 * LQI_POSITION_COPY];
    const uint8_t *copy;
    size_t got = 0;

    int err = lqi_position_open_file(&file, io, consumers_dir, consumer);
    if (!err) err = lqi_file_read(&file, 0, bytes, sizeof bytes, &got);
    if (!err) err = lqi_stamp_find(bytes, got, &stamp, NULL, file.name, &copy, NULL);
    if (!err) memcpy(uuid_out, copy + 24, 16);
    lqi_file_close(&file);
    return err;
}

/* ---- list, replace, delete ---------------------------------------------- */

struct listing {
    char (*names)[LQ_NAME_MAX + 1];
    size_t count, room;
    bool no_memory;
};

/* Of the consumer's name in the name of its file; 0 if it is no such file. */
static size_t consumer_length(const char *name)
{
    size_t size = strlen(name), length = size - lqi_min64(size, 4);
    return strcmp(name + length, ".pos") == 0 && is_name(name, length) ? length : 0;
}

bool lqi_position_is_name(const char *name)
{
    return consumer_length(name) || lqi_is_unfinished(name);
}

static int list_one(void *context, const char *name)
{
    struct listing *listing = context;
    size_t length = consumer_length(name);

    if (!length) return 0;
    if (listing->count == listing->room) {
        size_t room = listing->room ? listing->room * 2 : 16;
        void *names = realloc(listing->names, room * sizeof *listing->names);
        listing->no_memory = !names;
        if (!names) return 1;
        listing->names = names;
        listing->room = room;
    }
    memset(listing->names[listing->count], 0, sizeof *listing->names);
    memcpy(listing->names[listing->count], name, length);
    listing->count++;
    return 0;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(a, b);
}

int lqi_position_list(const struct lqi_io *io, int consumers_dir, char (**names_out)[LQ_NAME_MAX + 1], size_t *count_out)
{
    struct listing listing = {0};

    int error = consumers_dir < 0 ? 0 : io->dir_list(io, consumers_dir, list_one, &listing);
    if (error || listing.no_memory) {
        free(listing.names);
        return listing.no_memory ? lqi_fail(LQ_ENOMEM, "consumers: no memory to list %zu names", listing.count)
                                 : lqi_fail_errno(error, "list", "consumers", -1);
    }
    if (listing.count > 1) qsort(listing.names, listing.count, sizeof *listing.names, by_name);
    *names_out = listing.names;
    *count_out = listing.count;
    return LQ_OK;
}

int lqi_position_replace(const struct lqi_io *io, int consumers_dir, const char *consumer, uint32_t mode)
{
    char name[LQI_POSITION_NAME_SIZE], shown[SHOWN_SIZE];

    file_name(name, consumer);
    shown_name(shown, consumer);
    return lqi_publish_again(io, consumers_dir, name, shown, mode, UINT64_MAX);
}

int lqi_position_delete(const struct lqi_io *io, int consumers_dir, const char *consumer, bool *gone_out)
{
    char name[LQI_POSITION_NAME_SIZE], shown[SHOWN_SIZE];

    int err = lqi_name_check(consumer);
    if (err) return err;
    file_name(name, consumer);
    shown_name(shown, consumer);
    int error = io->unlink(io, consumers_dir, name);
    if (gone_out) *gone_out = !error || error == ENOENT;
    if (error) return lqi_fail_errno(error, "delete", shown, -1);
    error = io->dir_sync(io, consumers_dir);
    return error ? lqi_fail_errno(error, "sync the directory of", shown, -1) : LQ_OK;
}
