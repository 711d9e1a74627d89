/* What a queue is: its options, checked and completed, and the file that keeps them. */
#include "meta.h"

#include <assert.h>
#include <inttypes.h>
#include <stddef.h>

#include "bytes.h"
#include "checksum.h"
#include "publish.h"
#include "stamp.h"

#define COPY_SIZE 512u
#define SLOTS_AT 1024u
#define SLOT_SIZE 512u

/* The bytes that meta.h describes, field by field. */
_Static_assert(2 * COPY_SIZE == SLOTS_AT && SLOTS_AT + 2 * SLOT_SIZE == LQI_META_SIZE, "two copies, two slots");
_Static_assert(COPY_SIZE == LQI_STAMP_HEAD + 8 + 4 * 4 + 5 * 8 + 2 * 4 + 392 + 8, "fixed part of meta");
_Static_assert(SLOT_SIZE == 5 * 8 + 464 + 8, "trim slot");

static const struct lqi_stamp stamp = {"LQmeta\r\n", LQI_META_VERSION, COPY_SIZE};

/* ---- options ----------------------------------------------------------- */

/* Up to here went the struct of the first version; a caller's may be shorter than ours from there on, or longer. */
#define OPTIONS_SIZE_FIRST (offsetof(lq_options, compression) + sizeof(int))
#define OPTIONS_SIZE_LAST 4096 /* more is not a struct but a forgotten initialization */

/* The caller's struct, of the caller's size, in one of ours. */
static int options_copy(const lq_options *options, lq_options *copy_out)
{
    *copy_out = (lq_options){.size = sizeof *copy_out};
    if (!options) return LQ_OK;
    if (options->size < OPTIONS_SIZE_FIRST || options->size > OPTIONS_SIZE_LAST)
        return lqi_fail(LQ_EINVAL, "options: size is %zu, not sizeof(lq_options)", options->size);

    const uint8_t *bytes = (const uint8_t *)options;
    for (size_t i = sizeof *options; i < options->size; i++)
        if (bytes[i]) return lqi_fail(LQ_EINVAL, "options: byte %zu is of a newer version and not zero", i);
    memcpy(copy_out, options, lqi_min64(options->size, sizeof *copy_out));
    copy_out->size = sizeof *copy_out;
    return LQ_OK;
}

static void fill_in_defaults(lq_options *o)
{
    if (!o->mode) o->mode = 0600;
    if (!o->full_timeout_ms) o->full_timeout_ms = -1;
    if (!o->sync) o->sync = LQ_SYNC_ALWAYS;
    if (!o->sync_interval_ms) o->sync_interval_ms = 100;
    if (!o->retention) o->retention = LQ_RETAIN_CONSUMED;
    if (!o->full) o->full = LQ_FULL_REJECT;
    if (!o->segment_size) o->segment_size = 64 << 20;
    if (!o->ring_size) o->ring_size = 4 << 20;
    if (!o->message_size_max) o->message_size_max = 1 << 30;
}

static int in_range(const char *field, int64_t value, int64_t low, int64_t high)
{
    if (value >= low && value <= high) return LQ_OK;
    return lqi_fail(LQ_EINVAL, "options: %s is %" PRId64 ", not %" PRId64 " to %" PRId64, field, value, low, high);
}

/* An unsigned field, which may be over what int64_t holds; that is out of every range here. */
static int64_t clipped(uint64_t value)
{
    return (int64_t)lqi_min64(value, INT64_MAX);
}

static int check_ranges(const lq_options *o)
{
    const struct {
        const char *field;
        int64_t value, low, high;
    } ranges[] = {
        {"full_timeout_ms", o->full_timeout_ms, -1, INT64_MAX},
        {"sync", o->sync, LQ_SYNC_ALWAYS, LQ_SYNC_NEVER},
        {"sync_interval_ms", o->sync_interval_ms, 1, 3600000},
        {"retention", o->retention, LQ_RETAIN_CONSUMED, LQ_RETAIN_BOTH},
        {"full", o->full, LQ_FULL_REJECT, LQ_FULL_DROP},
        {"age_max_ms", o->age_max_ms, 0, INT64_MAX},
        {"segment_size", clipped(o->segment_size), 64 << 10, (int64_t)4 << 30},
        {"ring_size", clipped(o->ring_size), 64 << 10, 1 << 30},
        {"message_size_max", clipped(o->message_size_max), 1, 1 << 30},
        {"compression", o->compression, 0, 9},
    };

    for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++) {
        int err = in_range(ranges[i].field, ranges[i].value, ranges[i].low, ranges[i].high);
        if (err) return err;
    }
    return LQ_OK;
}

static uint64_t power_of_two(uint64_t value)
{
    uint64_t power = 1;
    while (power < value) power *= 2;
    return power;
}

/* After the ranges: rounding needs values that cannot overflow. */
static int round_and_compare(lq_options *o)
{
    const uint32_t known = LQ_READ_ONLY | LQ_NO_CREATE | LQ_DEFER_SYNC;

    if (o->flags & ~known) return lqi_fail(LQ_EINVAL, "options: flags are %#x, unknown: %#x", o->flags, o->flags & ~known);
    if (o->mode & ~0777u || (o->mode & 0600) != 0600)
        return lqi_fail(LQ_EINVAL, "options: mode is %#o, not of 0600 to 0777", o->mode);

    o->segment_size = lqi_round_up(o->segment_size, 4096);
    o->ring_size = power_of_two(o->ring_size);
    if (o->size_max && o->size_max < 2 * o->segment_size)
        return lqi_fail(LQ_EINVAL, "options: size_max is %" PRIu64 ", less than 2 segments of %" PRIu64, o->size_max,
                        o->segment_size);
    return LQ_OK;
}

int lqi_options_complete(const lq_options *options, lq_options *complete_out)
{
    lq_options complete;

    int err = options_copy(options, &complete);
    if (err) return err;
    fill_in_defaults(&complete);
    err = check_ranges(&complete);
    if (err) return err;
    err = round_and_compare(&complete);
    if (err) return err;
    *complete_out = complete;
    return LQ_OK;
}

static int match(const char *field, int64_t asked, int64_t stored)
{
    if (asked == 0 || asked == stored) return LQ_OK;
    return lqi_fail(LQ_EMISMATCH, "options: %s is %" PRId64 ", the queue was made with %" PRId64, field, asked, stored);
}

int lqi_options_match(const lq_options *asked, const lq_options *stored)
{
    lq_options a;

    int err = options_copy(asked, &a);
    if (err) return err;
    /* Rounded as they were when the queue was made; what is too large to be rounded is no match. */
    if (a.segment_size && a.segment_size <= INT64_MAX) a.segment_size = lqi_round_up(a.segment_size, 4096);
    if (a.ring_size && a.ring_size <= (1 << 30)) a.ring_size = power_of_two(a.ring_size);

    const struct {
        const char *field;
        int64_t asked, stored;
    } pairs[] = {
        {"sync", a.sync, stored->sync},
        {"sync_interval_ms", a.sync_interval_ms, stored->sync_interval_ms},
        {"retention", a.retention, stored->retention},
        {"full", a.full, stored->full},
        {"size_max", clipped(a.size_max), clipped(stored->size_max)},
        {"age_max_ms", a.age_max_ms, stored->age_max_ms},
        {"segment_size", clipped(a.segment_size), clipped(stored->segment_size)},
        {"ring_size", clipped(a.ring_size), clipped(stored->ring_size)},
        {"message_size_max", clipped(a.message_size_max), clipped(stored->message_size_max)},
        {"compression", a.compression, stored->compression},
    };
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        err = match(pairs[i].field, pairs[i].asked, pairs[i].stored);
        if (err) return err;
    }
    return LQ_OK;
}

/* ---- trim slots -------------------------------------------------------- */

/* `bytes` are zeroes before. */
static void slot_encode(uint8_t bytes[SLOT_SIZE], const uint8_t uuid[16], const struct lqi_trim *trim)
{
    lqi_put64(bytes, trim->sequence);
    lqi_put64(bytes + 8, trim->first_id);
    lqi_put64(bytes + 16, trim->position);
    lqi_put64(bytes + 24, trim->synced);
    lqi_put64(bytes + 32, trim->next_id);
    lqi_put64(bytes + 504, lqi_checksum_at(bytes, 504, lqi_get64(uuid)));
}

static bool slot_decode(const uint8_t bytes[SLOT_SIZE], unsigned slot, const uint8_t uuid[16], struct lqi_trim *trim_out)
{
    struct lqi_trim trim = {
        .sequence = lqi_get64(bytes),
        .first_id = lqi_get64(bytes + 8),
        .position = lqi_get64(bytes + 16),
        .synced = lqi_get64(bytes + 24),
        .next_id = lqi_get64(bytes + 32),
    };

    if (lqi_get64(bytes + 504) != lqi_checksum_at(bytes, 504, lqi_get64(uuid))) return false;
    if (trim.sequence == 0 || trim.sequence % 2 != slot || trim.sequence >= LQI_ID_END) return false;
    /* What was given up was durable before. */
    if (trim.first_id == 0 || trim.first_id > trim.next_id || trim.next_id >= LQI_ID_END) return false;
    if (trim.position % 8 != 0 || trim.position > LQI_POSITION_END) return false;
    if (trim.position > trim.synced || trim.synced >= LQI_ID_END) return false;
    *trim_out = trim;
    return true;
}

int lqi_trim_decode(const uint8_t *bytes, size_t size, const uint8_t uuid[16], struct lqi_trim *trim_out)
{
    struct lqi_trim newest = {0}, trim;

    for (unsigned slot = 0; slot < 2; slot++) {
        size_t at = SLOTS_AT + slot * SLOT_SIZE;
        if (size < at + SLOT_SIZE || !slot_decode(bytes + at, slot, uuid, &trim)) continue;
        if (trim.sequence > newest.sequence) newest = trim;
    }
    *trim_out = newest;
    if (newest.sequence) return LQ_OK;
    return lqi_fail(LQ_ECORRUPT, LQI_META_NAME " at byte %u: neither trim slot verifies", SLOTS_AT);
}

int lqi_trim_load(const struct lqi_file *file, const uint8_t uuid[16], struct lqi_trim *trim_out)
{
    memset(trim_out, 0, sizeof *trim_out);
    if (file->fd < 0) return lqi_fail(LQ_ECORRUPT, "%s cannot be read", LQI_META_NAME);

    uint8_t bytes[LQI_META_SIZE];
    size_t got;

    int err = lqi_file_read(file, 0, bytes, sizeof bytes, &got);
    if (err) return err;
    return lqi_trim_decode(bytes, got, uuid, trim_out);
}

int lqi_trim_store(const struct lqi_file *file, const uint8_t uuid[16], struct lqi_trim *trim)
{
    struct lqi_trim next = *trim;
    uint8_t bytes[SLOT_SIZE] = {0};

    assert(trim->first_id >= 1 && trim->first_id <= trim->next_id);
    assert(trim->position % 8 == 0 && trim->position <= trim->synced);
    next.sequence++;
    slot_encode(bytes, uuid, &next);
    /* Of the two slots one is durable at any time. Who wrote the newest may have died before he had synced it: what we have read
     * is in the page cache then, and the disk has the one that we are about to write over. */
    int err = lqi_file_sync(file);
    if (err) return err;
    err = lqi_file_write(file, SLOTS_AT + next.sequence % 2 * SLOT_SIZE, bytes, sizeof bytes);
    if (err) return err;
    err = lqi_file_sync(file);
    if (err) return err;
    *trim = next;
    return LQ_OK;
}

/* ---- the file ---------------------------------------------------------- */

void lqi_meta_encode(uint8_t bytes[LQI_META_SIZE], const struct lqi_meta *meta, const struct lqi_trim *trim)
{
    const lq_options *o = &meta->options;

    memset(bytes, 0, LQI_META_SIZE);
    lqi_stamp_begin(bytes, &stamp, meta->uuid);
    lqi_put64(bytes + 40, (uint64_t)meta->created_us);
    lqi_put32(bytes + 48, (uint32_t)o->sync);
    lqi_put32(bytes + 52, o->sync_interval_ms);
    lqi_put32(bytes + 56, (uint32_t)o->retention);
    lqi_put32(bytes + 60, (uint32_t)o->full);
    lqi_put64(bytes + 64, o->size_max);
    lqi_put64(bytes + 72, (uint64_t)o->age_max_ms);
    lqi_put64(bytes + 80, o->segment_size);
    lqi_put64(bytes + 88, o->ring_size);
    lqi_put64(bytes + 96, o->message_size_max);
    lqi_put32(bytes + 104, (uint32_t)o->compression);
    lqi_put32(bytes + 108, o->mode);
    lqi_stamp_end(bytes, &stamp);
    slot_encode(bytes + SLOTS_AT + trim->sequence % 2 * SLOT_SIZE, meta->uuid, trim);
}

/* The stored options, which must be complete and within their ranges. */
static int options_decode(const uint8_t *copy, int64_t at, lq_options *options_out)
{
    lq_options stored = {
        .size = sizeof stored,
        .mode = lqi_get32(copy + 108),
        .full_timeout_ms = -1, /* not stored: the handle's */
        .sync = (int)lqi_get32(copy + 48),
        .sync_interval_ms = lqi_get32(copy + 52),
        .retention = (int)lqi_get32(copy + 56),
        .full = (int)lqi_get32(copy + 60),
        .size_max = lqi_get64(copy + 64),
        .age_max_ms = (int64_t)lqi_get64(copy + 72),
        .segment_size = lqi_get64(copy + 80),
        .ring_size = lqi_get64(copy + 88),
        .message_size_max = lqi_get64(copy + 96),
        .compression = (int)lqi_get32(copy + 104),
    };
    lq_options complete;

    if (lqi_options_complete(&stored, &complete) || lqi_options_match(&complete, &stored) || !stored.mode)
        return lqi_fail(LQ_ECORRUPT, LQI_META_NAME " at byte %" PRId64 ": an option makes no sense", at + 48);
    *options_out = complete;
    return LQ_OK;
}

/* A whole file in which nothing reminds of ours. */
static bool is_foreign(const uint8_t *bytes, size_t size)
{
    uint8_t any = 0;

    if (size < LQI_META_SIZE || memcmp(bytes, stamp.magic, 8) == 0 || memcmp(bytes + COPY_SIZE, stamp.magic, 8) == 0)
        return false;
    for (size_t i = 0; i < size; i++) any |= bytes[i];
    return any != 0;
}

int lqi_meta_decode(const uint8_t *bytes, size_t size, struct lqi_meta *meta_out)
{
    struct lqi_meta meta;
    const uint8_t *copy;
    int err;

    if (is_foreign(bytes, size)) return lqi_fail(LQ_ENOTQUEUE, LQI_META_NAME ": not a libqueue file");
    if (size < LQI_META_SIZE)
        return lqi_fail(LQ_ECORRUPT, LQI_META_NAME " at byte %zu: the file ends, it should have %d bytes", size,
                        LQI_META_SIZE);
    err = lqi_stamp_find(bytes, size, &stamp, NULL, LQI_META_NAME, &copy, NULL);
    if (err) return err;

    memcpy(meta.uuid, copy + 24, sizeof meta.uuid);
    meta.created_us = (int64_t)lqi_get64(copy + 40);
    err = options_decode(copy, copy - bytes, &meta.options);
    if (err) return err;
    *meta_out = meta;
    return LQ_OK;
}

static bool check_slots(const uint8_t *bytes, const uint8_t uuid[16], lqi_meta_damage *each, void *context)
{
    static const uint8_t zeroes[SLOT_SIZE];
    struct lqi_trim newest, trim;
    bool damaged = false;

    if (lqi_trim_decode(bytes, LQI_META_SIZE, uuid, &newest)) {
        bool first_is_zero = memcmp(bytes + SLOTS_AT, zeroes, sizeof zeroes) == 0; /* it may never have been written */
        each(context, SLOTS_AT + (first_is_zero ? SLOT_SIZE : 0), "neither trim slot verifies");
        return true;
    }
    for (unsigned slot = 0; slot < 2; slot++) {
        const uint8_t *at = bytes + SLOTS_AT + (size_t)slot * SLOT_SIZE;
        bool never_written = newest.sequence == 1 && memcmp(at, zeroes, sizeof zeroes) == 0;
        if (never_written || slot_decode(at, slot, uuid, &trim)) continue;
        each(context, SLOTS_AT + slot * SLOT_SIZE, "a trim slot does not verify: the other one counts");
        damaged = true;
    }
    return damaged;
}

bool lqi_meta_check(const uint8_t bytes[LQI_META_SIZE], uint64_t size, lqi_meta_damage *each, void *context)
{
    bool damaged = size != LQI_META_SIZE;
    struct lqi_meta meta;
    const uint8_t *copy;
    int64_t bad_copy;

    if (size != LQI_META_SIZE)
        each(context, lqi_min64(size, LQI_META_SIZE), size < LQI_META_SIZE ? "the file is shorter than it should be" : "the file is longer than it should be");
    if (lqi_meta_decode(bytes, LQI_META_SIZE, &meta)) {
        each(context, 0, lq_error_text());
        return true;
    }
    (void)lqi_stamp_find(bytes, LQI_META_SIZE, &stamp, NULL, LQI_META_NAME, &copy, &bad_copy); /* as lqi_meta_decode() has, so that it is there */
    if (bad_copy >= 0) {
        each(context, (uint64_t)bad_copy, "one of the two copies of the fixed part does not verify");
        damaged = true;
    }
    return check_slots(bytes, meta.uuid, each, context) || damaged;
}

int lqi_meta_create(const struct lqi_io *io, int dir, const struct lqi_meta *meta)
{
    const struct lqi_trim nothing_yet = {.sequence = 1, .first_id = 1, .next_id = 1};
    uint8_t bytes[LQI_META_SIZE];

    lqi_meta_encode(bytes, meta, &nothing_yet);
    return lqi_publish(io, dir, &(struct lqi_publication){
        .name = LQI_META_NAME,
        .shown = LQI_META_NAME,
        .mode = meta->options.mode,
        .bytes = bytes,
        .size = sizeof bytes,
        .file_size = sizeof bytes,
    });
}

int lqi_meta_open(const struct lqi_io *io, int dir, bool writable, struct lqi_file *file, struct lqi_meta *meta_out,
                  struct lqi_trim *trim_out)
{
    uint8_t bytes[LQI_META_SIZE];
    struct lqi_meta meta;
    size_t got;
    int err;

    err = lqi_file_open(file, io, dir, LQI_META_NAME, LQI_META_NAME, writable ? LQI_OPEN_WRITE : LQI_OPEN_READ, 0);
    if (err) goto done;
    err = lqi_file_read(file, 0, bytes, sizeof bytes, &got);
    if (err) goto done;
    err = lqi_meta_decode(bytes, got, &meta);
    if (err) goto done;
    *meta_out = meta;
    (void)lqi_trim_decode(bytes, got, meta.uuid, trim_out);

done:
    if (err) lqi_file_close(file);
    return err;
}

int lqi_meta_check_in_place(const struct lqi_file *file, int dir)
{
    struct lqi_file there;
    struct lqi_io_stat ours, theirs;

    int err = lqi_file_open(&there, file->io, dir, LQI_META_NAME, LQI_META_NAME, LQI_OPEN_READ, 0);
    if (err) return err;
    int error = file->io->stat(file->io, file->fd, &ours);
    if (!error) error = file->io->stat(file->io, there.fd, &theirs);
    lqi_file_close(&there);
    if (error) return lqi_fail_errno(error, "look at", LQI_META_NAME, -1);
    return ours.inode == theirs.inode ? LQ_OK : lqi_fail(LQ_EBUSY, "the queue was repaired just now: open it again");
}
