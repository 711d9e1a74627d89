/* An offset file: a good one of a few blocks, which the input writes over (fuzz_support.h), or, if it is large
 * enough, the input itself. It is opened, loaded, saved to and loaded again; as it is,
 * and with all checksums mended. */
#include "bytes.h"
#include "checksum.h"
#include "fuzz_support.h"
#include "position.h"

enum { COPY = 512, WINDOW = 300, BLOCKS = WINDOW / LQI_POSITION_BLOCK_WORDS + 2 };
enum { FILE_SIZE = LQI_POSITION_BLOCKS_AT + BLOCKS * LQI_POSITION_BLOCK };

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

/* Moves on by some, and looks whether exactly that comes back. */
static void save_and_load(struct lqi_position *position, uint64_t step)
{
    struct lqi_position_entry entry = position->newest;
    uint32_t damaged;
    uint64_t expected = 0;

    if (entry.delivered > INT64_MAX / 2 || entry.sequence == UINT64_MAX) return;
    entry.delivered += step % position->window;
    if (entry.delivered - entry.floor > position->window) entry.floor = entry.delivered - position->window;
    struct words words = {.entry = &entry};
    CHECK(lqi_position_save(position, &entry, entry.floor + 1, entry.delivered, word_of, &words) == LQ_OK);
    CHECK(lqi_position_load(position, take_own_word, &words, &damaged) == LQ_OK && damaged == 0);
    for (uint64_t id = entry.floor + 1; id <= entry.delivered; id++) expected += word_of(&words, id) != 0;
    CHECK(words.count == expected);
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
    int err = lqi_position_open(&position, &file.io, 0, name, uuid, true);
    if (err) {
        CHECK(err == LQ_ECORRUPT || err == LQ_EVERSION || err == LQ_ENAME);
        CHECK(position.file.fd == -1);
        return;
    }
    struct lqi_position_entry *newest = &position.newest;
    CHECK(newest->sequence >= 1 && newest->floor <= newest->delivered && newest->delivered - newest->floor <= position.window);
    CHECK(position.damaged_entries < LQI_POSITION_ENTRIES);
    struct words words = {.entry = newest};
    CHECK(lqi_position_load(&position, take_word, &words, &damaged) == LQ_OK);
    CHECK(words.count <= position.window && damaged <= position.block_count);
    save_and_load(&position, step);

    struct lqi_position again;
    CHECK(lqi_position_open(&again, &file.io, 0, name, position.uuid, false) == LQ_OK);
    CHECK(again.newest.sequence == newest->sequence && again.newest.delivered == newest->delivered);
    lqi_position_close(&again);
    lqi_position_close(&position);
}

static void mend(uint8_t *bytes, size_t size)
{
    static const uint8_t magic[8] = "LQpos\r\n";
    uint64_t seed = lqi_get64(bytes + 24);

    memcpy(bytes, magic, 8);
    lqi_put64(bytes + 504, lqi_checksum(bytes, 504));
    lqi_put64(bytes + COPY + 504, lqi_checksum(bytes + COPY, 504));
    for (int i = 0; i < LQI_POSITION_ENTRIES; i++) {
        uint8_t *entry = bytes + LQI_POSITION_ENTRIES_AT + i * LQI_POSITION_ENTRY;
        if (lqi_get64(entry)) lqi_put64(entry + 56, lqi_checksum_at(entry, 56, seed));
    }
    for (size_t at = LQI_POSITION_BLOCKS_AT; at + LQI_POSITION_BLOCK <= size; at += LQI_POSITION_BLOCK)
        lqi_put64(bytes + at + 8, lqi_checksum_at(bytes + at + 16, 496, lqi_get64(bytes + at) ^ seed));
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
        uint8_t *block = bytes + LQI_POSITION_BLOCKS_AT + number * LQI_POSITION_BLOCK;
        lqi_put64(block, number * LQI_POSITION_BLOCK_WORDS);
        for (unsigned i = 0; i < LQI_POSITION_BLOCK_WORDS; i += 3) block[16 + i * 4] = 1;
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
