/* The file `meta`: a good one, which the input writes over (fuzz_support.h), or, if it is of that size, the input
 * itself. It is read, and its trim slots written; as it is, and with all checksums
 * mended. And the input as options of a caller. */
#include "bytes.h"
#include "checksum.h"
#include "fuzz_support.h"
#include "meta.h"

enum { COPY = 512, SLOTS_AT = 1024, SLOT = 512 };

static void same_options(const lq_options *a, const lq_options *b)
{
    CHECK(a->flags == b->flags && a->mode == b->mode && a->full_timeout_ms == b->full_timeout_ms && a->sync == b->sync);
    CHECK(a->sync_interval_ms == b->sync_interval_ms && a->retention == b->retention && a->full == b->full);
    CHECK(a->size_max == b->size_max && a->age_max_ms == b->age_max_ms && a->segment_size == b->segment_size);
    CHECK(a->ring_size == b->ring_size && a->message_size_max == b->message_size_max && a->compression == b->compression);
}

static void are_complete(const lq_options *options)
{
    lq_options again;

    CHECK(lqi_options_complete(options, &again) == LQ_OK);
    same_options(options, &again);
    CHECK(lqi_options_match(options, options) == LQ_OK);
}

static void look(uint8_t *bytes, size_t size)
{
    uint8_t again[LQI_META_SIZE];
    struct lqi_meta meta, meta_again;
    struct lqi_trim trim, later, found;
    struct memory_file memory;
    struct lqi_file file;

    memory_init(&memory, bytes, size);
    int err = lqi_meta_open(&memory.io, 0, true, &file, &meta, &trim);
    if (err) {
        CHECK(err == LQ_ECORRUPT || err == LQ_EVERSION || err == LQ_ENOTQUEUE);
        CHECK(file.fd == -1);
        return;
    }
    are_complete(&meta.options);

    /* Written again, it says the same. */
    lqi_meta_encode(again, &meta, &trim);
    CHECK(lqi_meta_decode(again, sizeof again, &meta_again) == LQ_OK);
    same_options(&meta.options, &meta_again.options);
    CHECK(meta.created_us == meta_again.created_us && memcmp(meta.uuid, meta_again.uuid, 16) == 0);
    CHECK(lqi_trim_decode(again, sizeof again, meta.uuid, &found) == (trim.sequence ? LQ_OK : LQ_ECORRUPT));
    CHECK(memcmp(&found, &trim, sizeof trim) == 0);
    if (trim.sequence) {
        CHECK(trim.first_id >= 1 && trim.first_id <= trim.next_id && trim.next_id < LQI_ID_END);
        CHECK(trim.position % 8 == 0 && trim.position <= LQI_POSITION_END && trim.position <= trim.synced && trim.synced < LQI_ID_END);
    }

    /* A new slot counts, and the one that counted is untouched. */
    later = trim;
    if (!trim.sequence) later.first_id = later.next_id = 1;
    if (trim.sequence == LQI_ID_END - 1) goto done;
    CHECK(lqi_trim_store(&file, meta.uuid, &later) == LQ_OK && later.sequence == trim.sequence + 1);
    CHECK(lqi_trim_load(&file, meta.uuid, &found) == LQ_OK && memcmp(&found, &later, sizeof later) == 0);
    memset(bytes + SLOTS_AT + later.sequence % 2 * SLOT, 0xee, SLOT);
    CHECK(lqi_trim_load(&file, meta.uuid, &found) == (trim.sequence ? LQ_OK : LQ_ECORRUPT));
    CHECK(memcmp(&found, &trim, sizeof trim) == 0);

done:
    lqi_file_close(&file);
}

static void is_place(void *context, uint64_t offset, const char *text)
{
    CHECK(offset <= *(const size_t *)context && text && *text);
}

/* What does not open is not as it should be. */
static void check(const uint8_t *bytes, size_t size)
{
    uint8_t padded[LQI_META_SIZE] = {0};
    size_t most = size > LQI_META_SIZE ? size : LQI_META_SIZE;
    struct lqi_meta meta;

    memcpy(padded, bytes, size < sizeof padded ? size : sizeof padded);
    bool damaged = lqi_meta_check(padded, size, is_place, &most);
    CHECK(damaged || lqi_meta_decode(bytes, size, &meta) == LQ_OK);
}

static void mend(uint8_t *bytes)
{
    uint64_t seed = lqi_get64(bytes + 24);

    memcpy(bytes, "LQmeta\r\n", 8);
    lqi_put64(bytes + 504, lqi_checksum(bytes, 504));
    lqi_put64(bytes + COPY + 504, lqi_checksum(bytes + COPY, 504));
    for (int slot = 0; slot < 2; slot++) {
        uint8_t *at = bytes + SLOTS_AT + slot * SLOT;
        lqi_put64(at + 504, lqi_checksum_at(at, 504, seed));
    }
}

static void good_file(uint8_t bytes[LQI_META_SIZE])
{
    struct lqi_meta meta = {.uuid = "uuid of a queue", .created_us = 1};
    struct lqi_trim trim = {.sequence = 1, .first_id = 1, .next_id = 1};

    CHECK(lqi_options_complete(NULL, &meta.options) == LQ_OK);
    lqi_meta_encode(bytes, &meta, &trim);
}

static void options_of_a_caller(const uint8_t *data, size_t size)
{
    lq_options complete;

    if (size < sizeof(size_t)) return;
    uint8_t *bytes = copy_of(data, size);
    memcpy(bytes, &size, sizeof size);
    if (lqi_options_complete((const lq_options *)(void *)bytes, &complete) == LQ_OK) {
        are_complete(&complete);
        CHECK(lqi_options_match((const lq_options *)(void *)bytes, &complete) == LQ_OK);
    }
    free(bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input input = {data, size};
    size_t file_size = size >= LQI_META_SIZE - 8 ? size : LQI_META_SIZE;
    uint8_t *bytes = malloc(file_size);

    options_of_a_caller(data, size);
    CHECK(bytes != NULL);
    if (size >= LQI_META_SIZE - 8) {
        memcpy(bytes, data, size);
    } else {
        good_file(bytes);
        patch(&input, bytes, file_size);
    }
    uint8_t *mended = copy_of(bytes, file_size);
    if (file_size >= LQI_META_SIZE) mend(mended);
    check(bytes, file_size);
    check(mended, file_size);
    look(bytes, file_size);
    look(mended, file_size);
    free(mended);
    free(bytes);
    return 0;
}
