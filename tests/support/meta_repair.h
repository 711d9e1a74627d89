/* A queue whose meta is damaged, and what repair makes of it, for the programs that look inside that part of it
 * (libqueue/repair_meta.c): included by one file of each. */
#ifndef SUPPORT_META_REPAIR_H
#define SUPPORT_META_REPAIR_H

#include <fcntl.h>
#include <string.h>

#include "made_log.h"
#include "repair_parts.h"
#include "scratch.h"

#define NOON INT64_C(1800000000000007)
#define WHEN "20270115T080000.000007Z"

/* ---- a queue ------------------------------------------------------------------------------ */

static char queue_path[4100];
static struct repair repair;
static struct first_damage damaged;
static struct lqi_meta meta;
static struct lqi_trim trim;

static struct {
    unsigned count;
    char file[100], aside[300], damage[600], remedy[200];
} told;

static inline void note(void *context, const lq_repair_step *step)
{
    HOLDS(context == &told && step->first_id == 0 && step->count == 0); /* no message is lost */
    told.count++;
    snprintf(told.file, sizeof told.file, "%s", step->file);
    snprintf(told.aside, sizeof told.aside, "%s", step->aside);
    snprintf(told.damage, sizeof told.damage, "%s", step->damage);
    snprintf(told.remedy, sizeof told.remedy, "%s", step->remedy);
}

static inline int64_t noon(const struct lqi_io *io)
{
    (void)io;
    return NOON;
}

static struct lqi_io machine;

static inline const char *in_queue(const char *name)
{
    return api_path(queue_path, name);
}

static inline void open_repair(const struct lqi_io *io, bool dry)
{
    memset(&told, 0, sizeof told);
    damaged.text[0] = 0;
    repair = (struct repair){.io = io, .path = queue_path, .dry = dry, .each = note, .context = &told, .dir = -1, .consumers_dir = -1,
                             .meta_file = LQI_FILE_NONE, .old_meta = LQI_FILE_NONE, .aside = LQI_ASIDE_NONE};
    repair.log.log_dir = -1;
    EQUAL(lqi_io_posix.dir_open(&lqi_io_posix, -1, queue_path, &repair.dir), 0);
    if (api_file_exists(in_queue("log"))) EQUAL(lqi_io_posix.dir_open(&lqi_io_posix, repair.dir, "log", &repair.log.log_dir), 0);
    if (api_file_exists(in_queue("consumers"))) EQUAL(lqi_io_posix.dir_open(&lqi_io_posix, repair.dir, "consumers", &repair.consumers_dir), 0);
}

static inline void close_repair(void)
{
    lqi_aside_close(&repair.aside);
    lqi_file_close(&repair.meta_file);
    lqi_file_close(&repair.old_meta);
    lqi_io_posix.close(&lqi_io_posix, repair.log.log_dir);
    lqi_io_posix.close(&lqi_io_posix, repair.consumers_dir);
    lqi_io_posix.close(&lqi_io_posix, repair.dir);
}

static inline void write_meta(void)
{
    uint8_t bytes[LQI_META_SIZE];
    struct lqi_file file = {.io = &lqi_io_posix, .name = "meta"};
    struct lqi_trim older = trim;
    older.sequence = 1;
    lqi_meta_encode(bytes, &meta, &older);
    api_file_write(in_queue("meta"), bytes, sizeof bytes);
    file.fd = open(in_queue("meta"), O_RDWR);
    while (older.sequence < trim.sequence) OK(lqi_trim_store(&file, uuid, &older)); /* both slots are used */
    lqi_file_close(&file);
}

/* As a power loss may leave a file that was made just now. */
static inline void empty_meta(void)
{
    uint8_t zeroes[LQI_META_SIZE] = {0};
    api_file_write(in_queue("meta"), zeroes, sizeof zeroes);
}

/* With an empty log and no consumer. */
static inline void new_queue(void **state)
{
    void *inside[1] = {queue_path};
    snprintf(queue_path, sizeof queue_path, "%s", api_path(*state, "q"));
    HOLDS(mkdir(queue_path, 0750) == 0 && mkdir(in_queue("consumers"), 0700) == 0);
    new_log(inside);
    machine = lqi_io_posix;
    machine.wall_us = noon;
    memset(&meta, 0, sizeof meta);
    memcpy(meta.uuid, uuid, sizeof uuid);
    meta.created_us = 1700000000000000;
    OK(lqi_options_complete(&(lq_options){.size = sizeof(lq_options), .segment_size = 3 << 20, .mode = 0640}, &meta.options));
    trim = (struct lqi_trim){.sequence = 6, .first_id = 3, .position = 160, .synced = 3200, .next_id = 9};
    write_meta();
}

static inline void drop_queue(void)
{
    HOLDS(scratch_delete(queue_path) == 0);
}

/* As lq_repair() does it first. */
static inline int look(const struct lqi_io *io, bool dry)
{
    open_repair(io, dry);
    int err = lqi_repair_hold_meta(&repair, &damaged);
    return err ? err : lqi_repair_look_at_meta(&repair, &damaged);
}

static inline bool is_locked(void)
{
    int fd = open(in_queue("meta"), O_RDWR);
    bool locked = false;
    EQUAL(lqi_io_posix.locked(&lqi_io_posix, fd, LQI_BYTE_OPEN, 1, &locked), 0);
    close(fd);
    return locked;
}

/* A segment of some queue's, without messages. */
static inline void put_segment(uint64_t first_id, uint64_t position, const uint8_t whose[16])
{
    struct made made = make_segment(first_id, position, 0);
    uint8_t bytes[LQI_SEGMENT_HEADER];
    memcpy(made.head.uuid, whose, 16);
    lqi_segment_head_encode(bytes, &made.head);
    put_bytes(&made, 0, bytes, sizeof bytes);
    done(&made);
}

static inline void break_segment(uint64_t first_id)
{
    api_file_write(path_of(first_id), "broken", 6);
}

static inline void put_position(const char *name, const uint8_t whose[16])
{
    int dir = -1;
    EQUAL(lqi_io_posix.dir_open(&lqi_io_posix, -1, in_queue("consumers"), &dir), 0);
    OK(lqi_position_create(&lqi_io_posix, dir, name, whose, 64, &(struct lqi_position_entry){.incarnation = 1}, 0600));
    lqi_io_posix.close(&lqi_io_posix, dir);
}

/* ---- what is known of it then -------------------------------------------------------------- */

static inline void is_of(const uint8_t whose[16])
{
    HOLDS(!repair.options_known && memcmp(repair.meta.uuid, whose, 16) == 0);
    EQUAL(repair.meta.created_us, NOON);
    EQUAL(repair.meta.options.segment_size, 64 << 20);
}

static inline void lose_trim_slots(void)
{
    api_file_flip(in_queue("meta"), 1030, 1);
    api_file_flip(in_queue("meta"), 1540, 1);
}

static inline void trim_is(uint64_t first_id, uint64_t position)
{
    EQUAL(repair.trim.sequence, 1);
    EQUAL(repair.trim.first_id, first_id);
    EQUAL(repair.trim.next_id, first_id);
    EQUAL(repair.trim.position, position);
    EQUAL(repair.trim.synced, position);
}

#endif
