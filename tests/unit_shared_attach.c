/* What of the working memory is believed by who comes to it: all of its identity, or nothing; and numbers that can be. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "bytes.h"
#include "shared.h"
#include "support/api.h"
#include "support/io_fault.h"
#include "support/own_shared.h"

/* Other bytes in its place for a moment. */
static int attach_with(size_t offset, const void *other, size_t size)
{
    uint8_t before[16], *place = (uint8_t *)made.head + offset;
    memcpy(before, place, size);
    memcpy(place, other, size);
    int err = attach();
    memcpy(place, before, size);
    OK(attach());
    return err;
}

static void of_its_identity_each_part_counts(void **state)
{
    (void)state;
    static const struct {
        size_t offset, size;
    } parts[] = {
        {offsetof(struct lqi_identity, magic), 8}, {offsetof(struct lqi_identity, boot_id), 16}, {offsetof(struct lqi_identity, uuid), 16}, {offsetof(struct lqi_identity, inode), 8},
    };
    OK(attach());
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        uint8_t *part = (uint8_t *)made.head + parts[i].offset, other[16];
        for (size_t byte = 0; byte < parts[i].size; byte++) {
            memcpy(other, part, parts[i].size);
            other[byte] ^= 0x40;
            IS(LQ_ENOTFOUND, attach_with(parts[i].offset, other, parts[i].size));
            TEXT_HAS("shared", "boot");
        }
    }
    IS(LQ_ENOTFOUND, attach_with(offsetof(struct lqi_identity, ready), &(uint32_t){0}, 4));
}

/* It may have what is nowhere else; unless it has been closed. */
static void what_another_version_has_left_is_its_own_to_close(void **state)
{
    (void)state;
    static const size_t places[] = {offsetof(struct lqi_identity, version), offsetof(struct lqi_identity, head_size)};
    for (size_t i = 0; i < 2; i++) {
        for (uint32_t bit = 0; bit < 32; bit++) {
            uint32_t other;
            memcpy(&other, (uint8_t *)made.head + places[i], sizeof other);
            other ^= (uint32_t)1 << bit;
            IS(LQ_EVERSION, attach_with(places[i], &other, sizeof other));
            TEXT_HAS("shared", "another build");
            atomic_store(&made.head->clean, 1);
            IS(LQ_ENOTFOUND, attach_with(places[i], &other, sizeof other));
            atomic_store(&made.head->clean, 0);
        }
    }
    HOLDS(ftruncate(made.file.fd, 8192) == 0); /* its head may be smaller, too */
    uint32_t other = LQI_SHARED_VERSION + 1;
    memcpy((uint8_t *)made.head + places[0], &other, sizeof other);
    IS(LQ_EVERSION, attach());
}

static void a_ring_that_no_queue_has_is_damage(void **state)
{
    (void)state;
    const uint64_t sizes[] = {0, 4096, RING / 2, RING + 4096, RING * 2, (uint64_t)1 << 30, (uint64_t)1 << 31, (uint64_t)1 << 63, UINT64_MAX};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        IS(LQ_ECORRUPT, attach_with(offsetof(struct lqi_shared, identity.ring_size), &sizes[i], 8));
        TEXT_HAS("shared", "ring size");
    }
    /* Even if the file is as large. */
    HOLDS(ftruncate(made.file.fd, ((off_t)1 << 31) + (off_t)LQI_SHARED_HEAD) == 0);
    IS(LQ_ECORRUPT, attach_with(offsetof(struct lqi_shared, identity.ring_size), &sizes[6], 8));
}

static void numbers_that_lead_out_of_it_are_damage(void **state)
{
    (void)state;
    uint64_t size = LQI_SHARED_HEAD + RING;
    OK(attach_with(offsetof(struct lqi_shared, size), &size, 8));
    size++;
    IS(LQ_ECORRUPT, attach_with(offsetof(struct lqi_shared, size), &size, 8));
    TEXT_HAS("positions");
    IS(LQ_ECORRUPT, attach_with(offsetof(struct lqi_shared, log.ring.appended), &(uint64_t){LQI_ID_END}, 8));
    OK(attach_with(offsetof(struct lqi_shared, log.ring.appended), &(uint64_t){LQI_ID_END - 1}, 8));
}

static size_t given;

/* The file ends sooner than it did a moment ago. */
static int read_less(const struct lqi_io *io, int fd, uint64_t offset, void *data, size_t size, size_t *got_out)
{
    int error = lqi_io_posix.read(&lqi_io_posix, fd, offset, data, size < given ? size : given, got_out);
    (void)io;
    return error;
}

static void a_file_that_ends_too_soon_is_none(void **state)
{
    (void)state;
    struct lqi_io io = fault.io;
    fault.io.read = read_less;
    for (given = 0; given < sizeof(struct lqi_identity) + 8; given += 8) IS(LQ_ENOTFOUND, attach());
    OK(attach());
    fault.io = io;
    HOLDS(ftruncate(made.file.fd, (off_t)LQI_SHARED_HEAD + RING - 1) == 0);
    IS(LQ_ENOTFOUND, attach());
}

/* A reason that names another file sends people looking in the wrong place. */
static void a_boot_that_cannot_be_told_is_not_the_fault_of_the_file(void **state)
{
    (void)state;
    struct lqi_shared_map map;
    io_fault_plan(&fault, IO_BOOT_ID, 1, true, EMFILE);
    IS(LQ_ELIMIT, attach());
    TEXT_HAS("read the id of this boot", "open files");
    IS(LQ_ELIMIT, lqi_shared_create(&map, &fault.io, dir, uuid, RING, 0600));
    TEXT_HAS("read the id of this boot", "open files");
    HOLDS(!strstr(lq_error_text(), "shared") && !strstr(lq_error_text(), "at byte"));
    io_fault_plan(&fault, IO_STAT, 1, true, EIO);
    IS(LQ_EIO, attach());
    TEXT_HAS("look at shared");
    HOLDS(!strstr(lq_error_text(), "at byte"));
    lqi_shared_detach(&made);
    IS(LQ_EIO, lqi_shared_create(&made, &fault.io, dir, uuid, RING, 0600));
    TEXT_HAS("look at shared");
    HOLDS(!strstr(lq_error_text(), "at byte"));
    io_fault_end(&fault);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_SHARED(of_its_identity_each_part_counts),
        WITH_SHARED(what_another_version_has_left_is_its_own_to_close),
        WITH_SHARED(a_ring_that_no_queue_has_is_damage),
        WITH_SHARED(numbers_that_lead_out_of_it_are_damage),
        WITH_SHARED(a_file_that_ends_too_soon_is_none),
        WITH_SHARED(a_boot_that_cannot_be_told_is_not_the_fault_of_the_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
