/* The common fixed part of our files. */
#include "stamp.h"

#include "bytes.h"
#include "checksum.h"
#include "error.h"

_Static_assert(LQI_STAMP_HEAD == 8 + 2 + 6 + 4 + 4 + 16, "the head that stamp.h describes");

void lqi_stamp_begin(uint8_t *bytes, const struct lqi_stamp *stamp, const uint8_t uuid[16])
{
    memset(bytes, 0, stamp->size);
    memcpy(bytes, stamp->magic, 8);
    lqi_put16(bytes + 8, stamp->version);
    memcpy(bytes + 24, uuid, 16);
}

void lqi_stamp_end(uint8_t *bytes, const struct lqi_stamp *stamp)
{
    lqi_put64(bytes + stamp->size - 8, lqi_checksum(bytes, stamp->size - 8u));
    memcpy(bytes + stamp->size, bytes, stamp->size);
}

struct reason {
    int code;
    unsigned byte; /* in the copy */
    const char *text;
};

static struct reason examine(const uint8_t *copy, const struct lqi_stamp *stamp, const uint8_t *uuid)
{
    unsigned check_at = stamp->size - 8u;

    if (memcmp(copy, stamp->magic, 8) != 0) return (struct reason){LQ_ECORRUPT, 0, "wrong magic"};
    if (lqi_get64(copy + check_at) != lqi_checksum(copy, check_at))
        return (struct reason){LQ_ECORRUPT, 0, "the header's checksum does not match"};
    if (lqi_get16(copy + 8) > stamp->version) return (struct reason){LQ_EVERSION, 8, "written in a newer version"};
    if (lqi_get32(copy + 20) != 0) return (struct reason){LQ_EVERSION, 20, "needs features of a newer version"};
    if (lqi_get16(copy + 8) == 0) return (struct reason){LQ_ECORRUPT, 8, "there is no version 0"};
    if (uuid && memcmp(copy + 24, uuid, 16) != 0)
        return (struct reason){LQ_ECORRUPT, 24, "belongs to another queue (uuid)"};
    return (struct reason){LQ_OK, 0, ""};
}

int lqi_stamp_find(const uint8_t *bytes, size_t size, const struct lqi_stamp *stamp, const uint8_t *uuid,
                   const char *name, const uint8_t **copy_out, int64_t *damaged_out)
{
    const uint8_t *second;
    struct reason a, b;

    if (size < 2 * (size_t)stamp->size)
        return lqi_fail(LQ_ECORRUPT, "%s at byte %zu: the file ends inside its header", name, size);
    second = bytes + stamp->size; /* not before: there may be no such place */

    a = examine(bytes, stamp, uuid);
    if (a.code == LQ_OK) {
        *copy_out = bytes;
        if (damaged_out) *damaged_out = memcmp(bytes, second, stamp->size) == 0 ? -1 : stamp->size;
        return LQ_OK;
    }
    b = examine(second, stamp, uuid);
    if (b.code == LQ_OK) {
        *copy_out = second;
        if (damaged_out) *damaged_out = 0;
        return LQ_OK;
    }
    /* "Newer" is something the user can act upon, and it has a checksum to prove it. */
    if (a.code != LQ_EVERSION && b.code == LQ_EVERSION)
        return lqi_fail(b.code, "%s at byte %u: %s", name, stamp->size + b.byte, b.text);
    return lqi_fail(a.code, "%s at byte %u: %s", name, a.byte, a.text);
}
