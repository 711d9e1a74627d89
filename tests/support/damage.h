/* What power, disks and people do to the files of a queue. */
#ifndef SUPPORT_DAMAGE_H
#define SUPPORT_DAMAGE_H

#include <stdint.h>

#include "record.h"

void damage_zero(const char *path, uint64_t offset, uint64_t size);
void damage_fill(const char *path, uint64_t offset, uint64_t size, uint64_t seed); /* with random bytes */
void damage_cut(const char *path, uint64_t size);
void damage_grow(const char *path, uint64_t size); /* zeroes at the end */
void damage_remove(const char *path);
uint64_t damage_size(const char *path);

/* Another boot: the working memory of the queue at `queue` is stale from now on. */
void damage_reboot(const char *queue);

/* Has `change` edit the working memory that dead processes left, in place: a copy would not be believed at all. */
struct lqi_shared;
void damage_shared(const char *queue, void (*change)(struct lqi_shared *head));

/* Where the record is that holds the message `id`. Fails the test when there is none. */
struct damage_place {
    char path[4300];      /* of the segment's file */
    uint64_t offset;      /* of the record in it */
    struct lqi_record record;
};
struct damage_place damage_find(const char *queue, uint64_t id);

/* Bytes of the queue's last segment up to the end of its last record. */
uint64_t damage_end_of_records(const char *path);

#endif
