/* An offset file: a good one of a few blocks, which the input writes over (fuzz_support.h), or, if it is large
 * enough, the input itself. It is opened, loaded, given a new incarnation, saved to and loaded again; as it is,
 * and with all checksums mended. */
#include "bytes.h"
#include "checksum.h"
#include "fuzz_support.h"
#include "position.h"

enum { COPY = 512, WINDOW = 300, BLOCKS = WINDOW / LQI_POSITION_BLOCK_WORDS + 2 };
enum { SIDE_SIZE = BLOCKS * LQI_POSITION_BLOCK, FILE_SIZE = LQI_POSITION_BLOCKS_AT + 2 * SIDE_SIZE };

struct words {
    const struct lqi_position_entry *entry;
    uint64_t last;
    uint64_t count;
};

static void take_word(void *context, uint64_t id, uint32_t word)
{
    struct words *words = context;

    CHECK(word != 0 && id > words->entry->floor && id <= words->entry->delivered);
    CHECK(words->count == 0 || id > words->last);
    words->last = id;
    words->count++;
}

static uint32_t word_of(void *context, uint64_t id)
{
    const struct words *words = context;
    CHECK(id > words->entry->floor && id <= words->entry->delivered);
    return id % 5 ? (uint32_t)id & LQI_WORD_ATTEMPTS : LQI_WORD_SETTLED;
}

static void take_own_word(void *context, uint64_t id, uint32_t word)
{
    take_word(context, id, word);
    CHECK(word == word_of(context, id));
}

/* Exactly the words of the newest window come back. */
static void load_own(struct lqi_position *position)
{
    struct words words = {.entry = &position->newest};
    uint64_t expected = 0;
    uint32_t damaged;

    CHECK(lqi_position_load(position, take_own_word, &words, NULL, &damaged) == LQ_OK && damaged == 0);
    for (uint64_t id = position->newest.floor + 1; id <= position->newest.delivered; id++)
        expected += word_of(&words, id) != 0;
    CHECK(words.count == expected);
}

static void save(struct lqi_position *position, const struct lqi_position_entry *entry, struct lqi_position_sides *sides)
{
    struct words words = {.entry = entry};
    uint64_t before = position->newest.sequence;

    CHECK(lqi_position_save(position, entry, entry->floor + 1, entry->delivered, sides, word_of, &words) == LQ_OK);
    CHECK(position->newest.sequence > before && position->newest.sequence <= before + 2);
    CHECK(position->newest.sequence % LQI_POSITION_ENTRIES != sides->epoch % LQI_POSITION_ENTRIES);
    load_own(position);
}

/* Comes to life with what was loaded, as a new incarnation; then moves on by some, within an epoch and in the next. */
static void save_and_load(struct lqi_position *position, struct lqi_position_sides *sides, uint64_t step)
{
    struct lqi_position_entry entry = position->newest;

    if (entry.delivered > INT64_MAX / 2 || entry.sequence > UINT64_MAX - 8) return;
    entry.incarnation++;
    sides->epoch = entry.sequence;
    save(position, &entry, sides);
    for (int i = 0; i < 3; i++) {
        if (i != 1) sides->epoch = position->newest.sequence;
        entry.delivered += step % position->window;
        if (entry.delivered - entry.floor > position->window) entry.floor = entry.delivered - position->window;
        save(position, &entry, sides);
    }
}

static void is_place(void *context, uint64_t offset, const char *text)
{
    const struct memory_file *file = context;
    CHECK(offset <= file->size && text && *text);
}

/* What lq_repair() makes of it, whatever it is. */
static void salvage(struct memory_file *file, const char *name, const uint8_t *uuid)
{
    struct lqi_position position;
    uint8_t found[16];
    uint32_t damaged;

    if (lqi_name_check(name)) return;
    int err = lqi_position_uuid(&file->io, 0, name, found);
    CHECK(err == LQ_OK || err == LQ_ECORRUPT || err == LQ_EVERSION);
    err = lqi_position_salvage(&position, &file->io, 0, name, uuid);
    CHECK(err == LQ_OK || err == LQ_ENOTFOUND);
    if (err) return;
    CHECK(position.newest.sequence >= 1 && position.newest.delivered - position.newest.floor <= position.window);
    struct words words = {.entry = &position.newest};
    err = lqi_position_load(&position, take_word, &words, NULL, &damaged);
    CHECK(err == LQ_OK || err == LQ_ECORRUPT);
    lqi_position_close(&position);
}

/* Without what does not verify, the same counts. */
static void check_and_sweep(struct memory_file *file, struct lqi_position *position, const char *name)
{
    struct lqi_position swept;

    CHECK(lqi_position_check(position, is_place, file) == LQ_OK);
    CHECK(lqi_position_sweep(position) == LQ_OK);
    CHECK(lqi_position_open(&swept, &file->io, 0, name, position->uuid, false) == LQ_OK);
    CHECK(swept.damaged_entries == 0 && memcmp(&swept.newest, &position->newest, sizeof swept.newest) == 0);
    lqi_position_close(&swept);
}

static void look(uint8_t *bytes, size_t size, uint64_t step)
{
    struct memory_file file;
    struct lqi_position position;
    char name[LQ_NAME_MAX + 2] = {0};
    uint32_t damaged;

    memory_init(&file, bytes, size);
    if (size > 56) memcpy(name, bytes + 56, size - 56 < LQ_NAME_MAX + 1 ? size - 56 : LQ_NAME_MAX + 1);
    const uint8_t *uuid = size >= 40 ? bytes + 24 : (const uint8_t *)"................";
    salvage(&file, name, uuid);
    int err = lqi_position_open(&position, &file.io, 0, name, uuid, true);
    if (err) {
        CHECK(err == LQ_ECORRUPT || err == LQ_EVERSION || err == LQ_ENAME);
        CHECK(position.file.fd == -1);
        return;
    }
    struct lqi_position_entry *newest = &position.newest;
    CHECK(newest->sequence >= 1 && newest->floor <= newest->delivered && newest->delivered - newest->floor <= position.window);
    CHECK(position.damaged_entries != UINT64_MAX);
    struct words words = {.entry = newest};
    struct lqi_position_sides sides = {calloc(position.block_count, sizeof *sides.side), 0};
    CHECK(sides.side != NULL);
    CHECK(lqi_position_load(&position, take_word, &words, &sides, &damaged) == LQ_OK);
    CHECK(words.count <= position.window && damaged <= position.block_count);
    for (uint32_t i = 0; i < position.block_count; i++) CHECK(sides.side[i] <= 1);
    check_and_sweep(&file, &position, name);
    save_and_load(&position, &sides, step);
    free(sides.side);

    struct lqi_position again;
    CHECK(lqi_position_open(&again, &file.io, 0, name, position.uuid, false) == LQ_OK);
    CHECK(again.newest.sequence == newest->sequence && again.newest.delivered == newest->delivered);
    CHECK(again.newest.incarnation == newest->incarnation);
    lqi_position_close(&again);
    lqi_position_close(&position);
}

static void mend(uint8_t *bytes, size_t size)
{
    static const uint8_t magic[8] = "LQpos\r\n";
    uint64_t seed = lqi_get64(bytes + 24), newest = 0, incarnation = 0;

    memcpy(bytes, magic, 8);
    lqi_put64(bytes + 504, lqi_checksum(bytes, 504));
    lqi_put64(bytes + COPY + 504, lqi_checksum(bytes + COPY, 504));
    for (int i = 0; i < LQI_POSITION_ENTRIES; i++) {
        uint8_t *entry = bytes + LQI_POSITION_ENTRIES_AT + i * LQI_POSITION_ENTRY;
        if (lqi_get64(entry)) lqi_put64(entry + 56, lqi_checksum_at(entry, 56, seed));
        if (lqi_get64(entry) <= newest) continue;
        newest = lqi_get64(entry);
        incarnation = lqi_get64(entry + 24);
    }
    for (size_t at = LQI_POSITION_BLOCKS_AT; at + LQI_POSITION_BLOCK <= size; at += LQI_POSITION_BLOCK)
        lqi_put64(bytes + at + 8, lqi_checksum_at(bytes + at + 16, 496, lqi_get64(bytes + at) ^ seed ^ incarnation));
}

/* A consumer "c" that was handed 200 to 400 and settled some. */
static void good_file(uint8_t *bytes)
{
    static const uint8_t head[] = "LQpos\r\n\0\1\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0uuid of a queue ";

    memcpy(bytes, head, 40);
    lqi_put32(bytes + 40, WINDOW);
    lqi_put32(bytes + 44, BLOCKS);
    bytes[56] = 'c';
    memcpy(bytes + COPY, bytes, COPY);
    uint8_t *entry = bytes + LQI_POSITION_ENTRIES_AT + LQI_POSITION_ENTRY;
    lqi_put64(entry, 1);
    lqi_put64(entry + 8, 200);
    lqi_put64(entry + 16, 400);
    for (unsigned number = 1; number <= 3; number++) {
        for (unsigned side = 0; side < (number == 3 ? 1 : 2); side++) {
            uint8_t *block = bytes + LQI_POSITION_BLOCKS_AT + side * SIDE_SIZE + number * LQI_POSITION_BLOCK;
            lqi_put64(block, number * LQI_POSITION_BLOCK_WORDS);
            block[16] = side == number % 2; /* the sequence: 1 is the newer */
            for (unsigned i = 0; i < LQI_POSITION_BLOCK_WORDS; i += 3) block[24 + i * 4] = 1;
        }
    }
    mend(bytes, FILE_SIZE);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input input = {data, size};
    uint64_t step = take(&input, 2);
    size_t file_size = size >= LQI_POSITION_BLOCKS_AT ? size : FILE_SIZE;
    uint8_t *bytes = calloc(1, file_size);

    CHECK(bytes != NULL);
    if (size >= LQI_POSITION_BLOCKS_AT) {
        memcpy(bytes, data, size);
    } else {
        good_file(bytes);
        patch(&input, bytes, file_size);
    }
    uint8_t *mended = copy_of(bytes, file_size);
    mend(mended, file_size);
    look(bytes, file_size, step);
    look(mended, file_size, step);
    free(mended);
    free(bytes);
    return 0;
}
