/* See damage.h. */
#include "damage.h"

#include <fcntl.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "api.h"
#include "bytes.h"
#include "segment.h"
#include "shared.h"

static void or_fail(bool good, const char *what, const char *path)
{
    if (!good) fail_msg("cannot %s %s", what, path);
}

static void overwrite(const char *path, uint64_t offset, const void *bytes, size_t size)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    or_fail(fd >= 0, "open", path);
    or_fail(pwrite(fd, bytes, size, (off_t)offset) == (ssize_t)size, "write", path);
    close(fd);
}

void damage_zero(const char *path, uint64_t offset, uint64_t size)
{
    uint8_t *bytes = calloc(1, size ? size : 1);
    or_fail(bytes != NULL, "zero", path);
    overwrite(path, offset, bytes, size);
    free(bytes);
}

void damage_fill(const char *path, uint64_t offset, uint64_t size, uint64_t seed)
{
    uint8_t *bytes = malloc(size ? size : 1);
    or_fail(bytes != NULL, "fill", path);
    for (uint64_t i = 0; i < size; i++) {
        seed = seed * 6364136223846793005 + 1442695040888963407;
        bytes[i] = (uint8_t)(seed >> 56);
    }
    overwrite(path, offset, bytes, size);
    free(bytes);
}

void damage_cut(const char *path, uint64_t size)
{
    or_fail(truncate(path, (off_t)size) == 0, "cut", path);
}

void damage_grow(const char *path, uint64_t size)
{
    damage_cut(path, size);
}

void damage_remove(const char *path)
{
    or_fail(unlink(path) == 0, "remove", path);
}

uint64_t damage_size(const char *path)
{
    struct stat stat_of;
    or_fail(stat(path, &stat_of) == 0, "look at", path);
    return (uint64_t)stat_of.st_size;
}

void damage_reboot(const char *queue)
{
    char path[4200];
    snprintf(path, sizeof path, "%s/" LQI_SHARED_NAME, queue);
    damage_fill(path, offsetof(struct lqi_identity, boot_id), 16, 1);
}

void damage_shared(const char *queue, void (*change)(struct lqi_shared *head))
{
    char path[4200];
    snprintf(path, sizeof path, "%s/" LQI_SHARED_NAME, queue);
    struct api_bytes bytes = api_file_read(path);
    change((struct lqi_shared *)(void *)bytes.bytes);
    FILE *file = fopen(path, "r+b");
    or_fail(file != NULL && fwrite(bytes.bytes, 1, bytes.size, file) == bytes.size && fclose(file) == 0, "edit", path);
    free(bytes.bytes);
}

/* ---- records ------------------------------------------------------------ */

/* Walks the good records of a segment's file from its start; true, and the place, at the one that holds `id`. */
static bool walk(const char *path, uint64_t id, uint64_t *offset, struct lqi_record *record)
{
    struct api_bytes file = api_file_read(path);
    struct lqi_segment_head head;
    bool found = false;

    *offset = LQI_SEGMENT_HEADER;
    if (lqi_segment_head_decode(file.bytes, file.size, path, NULL, &head, NULL) == LQ_OK) {
        while (!found && *offset + LQI_RECORD_HEADER <= file.size &&
               lqi_record_decode(file.bytes + *offset, head.position + *offset - LQI_SEGMENT_HEADER, head.salt, record)) {
            found = id >= record->first_id && id - record->first_id < record->count;
            if (!found) *offset += lqi_record_span(record->size);
        }
    }
    free(file.bytes);
    return found;
}

struct damage_place damage_find(const char *queue, uint64_t id)
{
    struct damage_place place;
    const char *segment;

    for (size_t i = 0; (segment = api_segment(queue, i)) != NULL; i++) {
        snprintf(place.path, sizeof place.path, "%s", segment);
        if (walk(place.path, id, &place.offset, &place.record)) return place;
    }
    fail_msg("no record with message %" PRIu64 " in %s", id, queue);
    return place;
}

uint64_t damage_end_of_records(const char *path)
{
    struct lqi_record record;
    uint64_t end;
    walk(path, 0, &end, &record);
    return end;
}
