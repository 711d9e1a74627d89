/* Retention, to the message, the byte and the microsecond: what may go, in which order, and what stays. The machine is watched:
 * when a file goes, `meta` must say so already, durably. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "bytes.h"
#include "checksum.h"
#include "queue.h"
#include "retain.h"
#include "support/api.h"
#include "support/damage.h"
#include "support/forge.h"
#include "support/io_fault.h"

enum { KIB = 1024, BODY = 1000, MESSAGES = 300 };

/* ---- the machine, watched ------------------------------------------------------- */

static struct {
    lq_queue *queue;
    bool meta_unsynced;
    bool sync_fails;
    unsigned put_meanwhile; /* messages, by another thread, while meta is being synced */
    uint64_t deleted; /* the last segment that went */
    uint64_t unreadable_id; /* of a segment that cannot be opened just now */
    int64_t now_us;   /* 0: as it is */
} watched;

static int watch_write(const struct lqi_io *io, int fd, uint64_t offset, const void *data, size_t size)
{
    if (watched.queue && fd == watched.queue->meta_file.fd) watched.meta_unsynced = true;
    return lqi_io_posix.write(io, fd, offset, data, size);
}

static int watch_sync(const struct lqi_io *io, int fd)
{
    bool meta = watched.queue && fd == watched.queue->meta_file.fd;
    if (meta && watched.sync_fails) return EIO;
    if (meta) watched.meta_unsynced = false;
    if (meta && watched.put_meanwhile) {
        unsigned count = watched.put_meanwhile;
        watched.put_meanwhile = 0;
        api_put_range(watched.queue, MESSAGES + 1, MESSAGES + count, BODY);
        OK(lq_sync(watched.queue));
    }
    return lqi_io_posix.sync(io, fd);
}

static int watch_unlink(const struct lqi_io *io, int dir, const char *name)
{
    struct lqi_trim trim;
    uint64_t id;
    if (lqi_segment_name_parse(name, &id)) {
        HOLDS(!watched.meta_unsynced);
        OK(lqi_trim_load(&watched.queue->meta_file, watched.queue->meta.uuid, &trim));
        HOLDS(trim.first_id > id);
        HOLDS(id > watched.deleted); /* the oldest first */
        watched.deleted = id;
    }
    return lqi_io_posix.unlink(io, dir, name);
}

static int watch_open(const struct lqi_io *io, int dir, const char *name, int flags, uint32_t mode, int *fd_out)
{
    uint64_t id;
    if (watched.unreadable_id && lqi_segment_name_parse(name, &id) && id == watched.unreadable_id) return EIO;
    return lqi_io_posix.open(io, dir, name, flags, mode, fd_out);
}

static int64_t watch_wall_us(const struct lqi_io *io)
{
    return watched.now_us ? watched.now_us : lqi_io_posix.wall_us(io);
}

static struct lqi_io io;

/* A queue with messages in some segments, all in their files; nothing of it may go by itself. */
static lq_queue *make_queue(void **state, lq_options options)
{
    lq_queue *queue;
    io = lqi_io_posix;
    io.write = watch_write;
    io.sync = watch_sync;
    io.unlink = watch_unlink;
    io.open = watch_open;
    io.wall_us = watch_wall_us;
    memset(&watched, 0, sizeof watched);
    options.size = sizeof options;
    options.segment_size = options.ring_size = 64 * KIB;
    options.sync = LQ_SYNC_NEVER;
    OK(lqi_open_io(&io, api_path(*state, "q"), &options, &queue));
    watched.queue = queue;
    api_put_range(queue, 1, MESSAGES, BODY);
    OK(lq_sync(queue));
    return queue;
}

static void close_queue(lq_queue *queue)
{
    watched.queue = NULL;
    OK(lq_close(queue));
}

/* The first ids of the segments there are. */
struct segments {
    uint64_t ids[20];
    size_t count;
};

static struct segments list(lq_queue *queue)
{
    struct segments segments;
    uint64_t *ids;
    OK(lqi_segment_list(queue->io, queue->log.log_dir, &ids, &segments.count, NULL));
    HOLDS(segments.count <= 20);
    memcpy(segments.ids, ids, segments.count * sizeof *ids);
    free(ids);
    return segments;
}

static size_t retain(lq_queue *queue, uint64_t bytes, bool drop)
{
    size_t gone = 77;
    OK(lqi_retain(&queue->log, bytes, drop, &gone));
    return gone;
}

/* What is told of the log's beginning is true. */
static void begins_with(lq_queue *queue, uint64_t id)
{
    const struct lqi_log_state *state = queue->log.state;
    struct segments now = list(queue);
    struct lqi_segment segment;
    struct lqi_trim trim;

    EQUAL(now.ids[0], id);
    OK(lqi_segment_open(&segment, queue->io, queue->log.log_dir, id, queue->meta.uuid, false));
    EQUAL(atomic_load(&state->first_id), id);
    EQUAL(atomic_load(&state->first_position), segment.head.position);
    EQUAL(atomic_load(&state->second_id), now.count > 1 ? now.ids[1] : 0);
    if (id > 1) {
        OK(lqi_trim_load(&queue->meta_file, queue->meta.uuid, &trim));
        EQUAL(trim.first_id, id);
        EQUAL(trim.position, segment.head.position);
        EQUAL(trim.synced, atomic_load(&state->synced));
        EQUAL(trim.next_id, atomic_load(&state->synced_id) + 1);
    }
    lqi_segment_close(&segment);
}

/* ---- what is consumed -------------------------------------------------------------- */

static void a_segment_goes_when_its_last_message_is_settled_and_not_before(void **state)
{
    lq_queue *queue = make_queue(state, (lq_options){0});
    lq_consumer *consumer = api_consumer(queue, "c", NULL);
    struct segments all = list(queue);
    HOLDS(all.count >= 4);
    begins_with(queue, 1);

    api_take_range(consumer, 1, all.ids[1] - 2, BODY);
    EQUAL(retain(queue, 0, false), 0);
    begins_with(queue, 1);
    api_take_range(consumer, all.ids[1] - 1, all.ids[1] - 1, BODY); /* the ack itself sees to it */
    begins_with(queue, all.ids[1]);
    EQUAL(retain(queue, 0, false), 0);
    api_take_range(consumer, all.ids[1], all.ids[2] - 2, BODY);
    EQUAL(retain(queue, 0, false), 0);
    begins_with(queue, all.ids[1]);
    OK(lq_consumer_close(consumer));
    close_queue(queue);
}

static void all_but_the_last_segment_go_at_once_the_oldest_first(void **state)
{
    lq_queue *queue = make_queue(state, (lq_options){0});
    struct segments all = list(queue);
    lq_consumer *consumer = api_consumer(queue, "c", &(lq_consumer_options){.start = LQ_START_END});
    EQUAL(retain(queue, 0, false), all.count - 1);
    EQUAL(watched.deleted, all.ids[all.count - 2]);
    EQUAL(list(queue).count, 1);
    begins_with(queue, all.ids[all.count - 1]);
    api_put_range(queue, MESSAGES + 1, MESSAGES + 100, BODY); /* and the next one is the second */
    EQUAL(atomic_load(&queue->log.state->second_id), list(queue).ids[1]);
    OK(lq_consumer_close(consumer));
    close_queue(queue);
}

static void the_slowest_consumer_decides_and_one_who_cannot_be_read_keeps_everything(void **state)
{
    lq_queue *queue = make_queue(state, (lq_options){0});
    struct segments all = list(queue);
    OK(lq_consumer_close(api_consumer(queue, "slow", &(lq_consumer_options){.start = LQ_START_ID, .start_id = all.ids[1]})));
    close_queue(queue);
    const char *file = api_path(*state, "q/consumers/slow.pos");
    struct api_bytes good = api_file_read(file);
    damage_fill(file, 0, 8192, 5);

    OK(lqi_open_io(&io, api_path(*state, "q"), NULL, &queue));
    watched.queue = queue;
    lq_consumer *fast = api_consumer(queue, "fast", &(lq_consumer_options){.start = LQ_START_END});
    EQUAL(retain(queue, 0, false), 0);
    OK(lq_consumer_close(fast));
    close_queue(queue);
    api_file_write(file, good.bytes, good.size);
    free(good.bytes);

    OK(lqi_open_io(&io, api_path(*state, "q"), NULL, &queue));
    watched.queue = queue;
    EQUAL(retain(queue, 0, false), 1);
    begins_with(queue, all.ids[1]);
    close_queue(queue);
}

static void without_consumers_only_limits_delete(void **state)
{
    lq_queue *queue = make_queue(state, (lq_options){0});
    EQUAL(retain(queue, 0, false), 0);
    begins_with(queue, 1);
    close_queue(queue);
}

static void who_waits_for_room_is_told(void **state)
{
    lq_queue *queue = make_queue(state, (lq_options){0});
    lq_consumer *consumer = api_consumer(queue, "c", &(lq_consumer_options){.start = LQ_START_END});
    struct lqi_bell *room = &queue->log.state->room;
    uint32_t seen = lqi_bell_listen(room);
    HOLDS(retain(queue, 0, false) > 0);
    HOLDS(atomic_load(&room->word) != seen);
    OK(lq_consumer_close(consumer));
    close_queue(queue);
}

/* ---- limits ------------------------------------------------------------------------ */

/* How many bytes more fit into the queue. */
static uint64_t room_of(lq_queue *queue)
{
    lq_stats stats = api_stats(queue);
    return stats.size_max - stats.bytes;
}

static void to_make_room_as_many_go_as_it_takes_to_the_byte(void **state)
{
    lq_queue *queue = make_queue(state, (lq_options){.size_max = 1 << 20});
    struct segments all = list(queue);
    uint64_t room = room_of(queue);
    EQUAL(retain(queue, room, true), 0);
    EQUAL(retain(queue, room + 1, false), 0); /* nobody has asked to drop anything */
    EQUAL(retain(queue, room + 1, true), 1);
    begins_with(queue, all.ids[1]);
    room = room_of(queue);
    EQUAL(retain(queue, room, true), 0);
    begins_with(queue, all.ids[1]);
    close_queue(queue);
}

static void over_size_max_the_oldest_go_without_being_asked_where_limits_count(void **state)
{
    lq_queue *queue = make_queue(state, (lq_options){.size_max = 1 << 20, .retention = LQ_RETAIN_LIMITS});
    struct segments all = list(queue);
    lq_consumer *consumer = api_consumer(queue, "c", &(lq_consumer_options){.start = LQ_START_END});
    EQUAL(retain(queue, 0, false), 0); /* what is consumed does not go for that */
    EQUAL(retain(queue, room_of(queue), false), 0);
    EQUAL(retain(queue, room_of(queue) + 1, false), 1);
    begins_with(queue, all.ids[1]);
    OK(lq_consumer_close(consumer));
    close_queue(queue);
}

static int64_t made_us(lq_queue *queue, uint64_t first_id)
{
    struct lqi_segment segment;
    OK(lqi_segment_open(&segment, queue->io, queue->log.log_dir, first_id, queue->meta.uuid, false));
    lqi_segment_close(&segment);
    return segment.head.created_us;
}

static void a_segment_is_too_old_when_the_next_one_is_to_the_microsecond(void **state)
{
    lq_queue *queue = make_queue(state, (lq_options){.age_max_ms = 3600000, .retention = LQ_RETAIN_BOTH});
    struct segments all = list(queue);
    const int64_t hour_us = (int64_t)3600 * 1000000;
    HOLDS(made_us(queue, all.ids[1]) < made_us(queue, all.ids[2]));
    watched.now_us = made_us(queue, all.ids[1]) + hour_us;
    EQUAL(retain(queue, 0, false), 0);
    watched.now_us++;
    EQUAL(retain(queue, 0, false), 1);
    begins_with(queue, all.ids[1]);
    watched.now_us = made_us(queue, all.ids[3]) + hour_us;
    EQUAL(retain(queue, 0, false), 1);
    begins_with(queue, all.ids[2]);
    close_queue(queue);
}

static void no_age_is_over_an_age_without_end(void **state)
{
    lq_queue *queue = make_queue(state, (lq_options){.age_max_ms = INT64_MAX, .retention = LQ_RETAIN_LIMITS});
    EQUAL(retain(queue, 0, false), 0);
    close_queue(queue);
    lq_options options = {.size = sizeof options, .retention = LQ_RETAIN_LIMITS}; /* and none is given */
    OK(lqi_open_io(&io, api_path(*state, "r"), &options, &queue));
    api_put_range(queue, 1, 10, BODY);
    watched.now_us = INT64_MAX;
    EQUAL(retain(queue, 0, false), 0);
    watched.now_us = 0;
    OK(lq_close(queue));
}

/* ---- failures ---------------------------------------------------------------------- */

static void what_cannot_be_noted_durably_stays(void **state)
{
    lq_queue *queue = make_queue(state, (lq_options){0});
    struct segments all = list(queue);
    lq_consumer *consumer = api_consumer(queue, "c", &(lq_consumer_options){.start = LQ_START_END});
    size_t gone = 77;
    watched.sync_fails = true;
    IS(LQ_EIO, lqi_retain(&queue->log, 0, false, &gone));
    EQUAL(gone, 0);
    EQUAL(list(queue).count, all.count);
    EQUAL(atomic_load(&queue->log.state->first_id), 1);
    watched.sync_fails = false;
    EQUAL(retain(queue, 0, false), all.count - 1);
    begins_with(queue, all.ids[all.count - 1]);
    OK(lq_consumer_close(consumer));
    close_queue(queue);
}

static void a_queue_whose_old_segments_cannot_go_just_now_opens_all_the_same(void **state)
{
    struct io_fault fault;
    lq_queue *queue = make_queue(state, (lq_options){.retention = LQ_RETAIN_LIMITS, .age_max_ms = 1000});
    size_t count = list(queue).count;
    close_queue(queue);
    watched.now_us = INT64_MAX;
    io_fault_init(&fault, &io);
    io_fault_plan(&fault, IO_WRITE, 1, true, EIO);
    OK(lqi_open_io(&fault.io, api_path(*state, "q"), NULL, &queue));
    EQUAL(fault.hits, 1); /* it was tried */
    io_fault_end(&fault);
    watched.queue = queue;
    EQUAL(list(queue).count, count);
    EQUAL(retain(queue, 0, false), count - 1);
    close_queue(queue);
    io_fault_release(&fault);
}

static void with_both_trim_slots_damaged_a_new_one_is_begun(void **state)
{
    lq_queue *queue = make_queue(state, (lq_options){0});
    struct segments all = list(queue);
    lq_consumer *consumer = api_consumer(queue, "c", &(lq_consumer_options){.start = LQ_START_END});
    damage_fill(api_path(*state, "q/meta"), 1024, 1024, 3);
    EQUAL(retain(queue, 0, false), all.count - 1);
    begins_with(queue, all.ids[all.count - 1]);
    OK(lq_consumer_close(consumer));
    close_queue(queue);
}

/* ---- segments that cannot be read ---------------------------------------------------- */

enum broken { HEADER, HEADER_AND_TRAILER, OTHERS, NEWER };

/* The header of the n-th file is gone; or that of another queue, or of a newer version, is in its place. */
static void break_segment(void **state, size_t n, enum broken how)
{
    char path[4300];
    strcpy(path, api_segment(api_path(*state, "q"), n));
    struct api_bytes file = api_file_read(path);
    if (how == HEADER || how == HEADER_AND_TRAILER) damage_fill(path, 0, LQI_SEGMENT_HEADER, 9);
    if (how == HEADER_AND_TRAILER) damage_fill(path, file.size - LQI_SEGMENT_TRAILER, LQI_SEGMENT_TRAILER, 10);
    if (how == OTHERS || how == NEWER) {
        for (uint8_t *copy = file.bytes; copy < file.bytes + LQI_SEGMENT_HEADER; copy += LQI_SEGMENT_HEADER_COPY) {
            copy[how == OTHERS ? 24 : 8] ^= 2;
            lqi_put64(copy + LQI_SEGMENT_HEADER_COPY - 8, lqi_checksum(copy, LQI_SEGMENT_HEADER_COPY - 8));
        }
        api_file_write(path, file.bytes, file.size);
    }
    free(file.bytes);
}

/* Gets and acks, or is told that they are lost, up to the message `last`. */
static void go_through(lq_consumer *consumer, uint64_t last)
{
    lq_message message;
    uint64_t id = 0;
    while (id < last) {
        int err = lq_poll(consumer, &message);
        HOLDS(err == LQ_OK || err == LQ_ECORRUPT);
        if (!err) id = message.id;
        if (!err) OK(lq_ack(consumer, &message));
    }
    EQUAL(id, last);
}

static void what_is_consumed_goes_though_the_headers_of_some_segments_are_beyond_reading(void **state)
{
    for (enum broken how = HEADER; how <= HEADER_AND_TRAILER; how++) {
        lq_queue *queue = make_queue(state, (lq_options){0});
        struct segments all = list(queue);
        HOLDS(all.count >= 5);
        lq_consumer *consumer = api_consumer(queue, "c", NULL);
        break_segment(state, 1, how);
        break_segment(state, 2, how);
        go_through(consumer, MESSAGES); /* the acks see to it */
        begins_with(queue, all.ids[all.count - 1]);
        EQUAL(list(queue).count, 1);
        OK(lq_consumer_close(consumer));
        close_queue(queue);
        OK(lq_verify(api_path(*state, "q"), 0, NULL, NULL, NULL));
        HOLDS(!api_teardown(state) && !api_setup(state)); /* another directory */
    }
}

/* The trailer tells where the segment begins, so that it can be the oldest. */
static void a_segment_of_which_the_trailer_is_left_keeps_itself_but_not_those_before_it(void **state)
{
    lq_queue *queue = make_queue(state, (lq_options){0});
    struct segments all = list(queue);
    lq_consumer *consumer = api_consumer(queue, "c", NULL);
    break_segment(state, 1, HEADER);
    go_through(consumer, all.ids[1] - 1);
    EQUAL(list(queue).ids[0], all.ids[1]);
    EQUAL(api_stats(queue).first_id, all.ids[1]);
    EQUAL(atomic_load(&queue->log.state->second_id), all.ids[2]);
    go_through(consumer, all.ids[2] - 2);
    EQUAL(list(queue).ids[0], all.ids[1]);
    api_take_range(consumer, all.ids[2] - 1, MESSAGES, BODY);
    begins_with(queue, all.ids[all.count - 1]);
    OK(lq_consumer_close(consumer));
    close_queue(queue);
}

/* Where it begins nobody knows: it goes with those before it, when the one behind it says so. */
static void a_segment_of_which_nothing_is_left_goes_when_the_next_one_is_begun(void **state)
{
    lq_queue *queue = make_queue(state, (lq_options){0});
    struct segments all = list(queue);
    lq_consumer *consumer = api_consumer(queue, "c", NULL);
    break_segment(state, 1, HEADER_AND_TRAILER);
    api_take_range(consumer, 1, all.ids[1] - 1, BODY);
    EQUAL(list(queue).ids[0], 1);
    EQUAL(atomic_load(&queue->log.state->second_id), all.ids[2]); /* so that somebody asks again then */
    lq_message message;
    IS(LQ_ECORRUPT, lq_poll(consumer, &message));
    begins_with(queue, all.ids[2]);
    api_take_range(consumer, all.ids[2], all.ids[3] - 1, BODY);
    begins_with(queue, all.ids[3]);
    OK(lq_consumer_close(consumer));
    close_queue(queue);
}

static void a_segment_that_is_whole_for_others_to_read_stays_with_all_behind_it(void **state)
{
    for (enum broken how = OTHERS; how <= NEWER; how++) {
        for (size_t n = 0; n <= 2; n += 2) {
            lq_queue *queue = make_queue(state, (lq_options){0});
            struct segments all = list(queue);
            lq_consumer *consumer = api_consumer(queue, "c", &(lq_consumer_options){.start = LQ_START_END});
            break_segment(state, n, how);
            EQUAL(retain(queue, 0, false), n ? 1 : 0);
            EQUAL(list(queue).count, n ? all.count - 1 : all.count);
            OK(lq_consumer_close(consumer));
            close_queue(queue);
            HOLDS(!api_teardown(state) && !api_setup(state)); /* another directory */
        }
    }
}

/* A trailer tells no time when its segment was made. */
static void by_its_age_a_segment_goes_with_one_whose_header_is_lost_behind_it(void **state)
{
    lq_queue *queue = make_queue(state, (lq_options){.age_max_ms = 3600000, .retention = LQ_RETAIN_LIMITS});
    struct segments all = list(queue);
    const int64_t hour_us = (int64_t)3600 * 1000000;
    int64_t third_us = made_us(queue, all.ids[2]);
    break_segment(state, 1, HEADER);
    watched.now_us = third_us + hour_us;
    EQUAL(retain(queue, 0, false), 0);
    EQUAL(atomic_load(&queue->log.state->second_id), all.ids[1]);
    watched.now_us++;
    EQUAL(retain(queue, 0, false), 2);
    begins_with(queue, all.ids[2]);
    close_queue(queue);
}

/* What the machine cannot read just now may be whole. The oldest needs no reading. */
static void a_failing_read_keeps_everything_but_the_oldest(void **state)
{
    lq_queue *queue = make_queue(state, (lq_options){0});
    struct segments all = list(queue);
    lq_consumer *consumer = api_consumer(queue, "c", &(lq_consumer_options){.start = LQ_START_END});
    watched.unreadable_id = all.ids[2];
    EQUAL(retain(queue, 0, false), 1);
    begins_with(queue, all.ids[1]);
    EQUAL(retain(queue, 0, false), 0);
    watched.unreadable_id = all.ids[1];
    EQUAL(retain(queue, 0, false), all.count - 2);
    OK(lq_consumer_close(consumer));
    close_queue(queue);
}

/* Headers that verify, and say of the segment before them that it ends where nothing durable is yet, or with messages that nobody has put. */
static void what_lies_about_the_end_of_the_last_segment_does_not_delete_it(void **state)
{
    lq_queue *queue = make_queue(state, (lq_options){.size_max = 1 << 20});
    struct segments all = list(queue);
    uint64_t synced = atomic_load(&queue->log.state->synced), last = all.ids[all.count - 1];
    const struct { uint64_t id, position; } lies[] = {{1000000, synced}, {MESSAGES + 1, synced + 8}};
    for (size_t i = 0; i < 2; i++) {
        char path[4300];
        struct forge_segment *lie = forge_segment_new(lies[i].id, lies[i].position);
        memcpy(lie->uuid, queue->meta.uuid, sizeof lie->uuid);
        forge_segment_write(lie, api_path(*state, "q"));
        EQUAL(retain(queue, 1 << 20, true), i == 0 ? all.count - 1 : 0);
        EQUAL(list(queue).ids[0], last);
        strcpy(path, api_segment(api_path(*state, "q"), 1));
        damage_remove(path);
    }
    EQUAL(api_stats(queue).first_id, last);
    close_queue(queue);
}

/* Whoever made a segment while others were deleted did not see that it is the second. */
static void the_second_segment_is_known_though_it_was_made_meanwhile(void **state)
{
    lq_queue *queue = make_queue(state, (lq_options){0});
    struct lqi_log_state *log = queue->log.state;
    lq_consumer *consumer = api_consumer(queue, "c", &(lq_consumer_options){.start = LQ_START_END});
    size_t before = list(queue).count;
    watched.put_meanwhile = 40;
    EQUAL(retain(queue, 0, false), before - 1);
    EQUAL(watched.put_meanwhile, 0);
    struct segments now = list(queue);
    EQUAL(now.count, 2);
    EQUAL(atomic_load(&log->first_id), now.ids[0]);
    EQUAL(atomic_load(&log->second_id), now.ids[1]);
    EQUAL(retain(queue, 0, false), 0);
    EQUAL(atomic_load(&log->second_id), now.ids[1]);
    OK(lq_consumer_close(consumer));
    close_queue(queue);
}

/* Whoever asks what may go mends it. */
static void the_second_segment_is_found_again(void **state)
{
    lq_queue *queue = make_queue(state, (lq_options){0});
    struct segments all = list(queue);
    atomic_store(&queue->log.state->second_id, 0);
    lq_consumer *consumer = api_consumer(queue, "c", NULL);
    EQUAL(retain(queue, 0, false), 0);
    EQUAL(atomic_load(&queue->log.state->second_id), all.ids[1]);
    OK(lq_consumer_close(consumer));
    close_queue(queue);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_DIRECTORY(a_segment_goes_when_its_last_message_is_settled_and_not_before),
        IN_DIRECTORY(all_but_the_last_segment_go_at_once_the_oldest_first),
        IN_DIRECTORY(the_slowest_consumer_decides_and_one_who_cannot_be_read_keeps_everything),
        IN_DIRECTORY(without_consumers_only_limits_delete),
        IN_DIRECTORY(who_waits_for_room_is_told),
        IN_DIRECTORY(to_make_room_as_many_go_as_it_takes_to_the_byte),
        IN_DIRECTORY(over_size_max_the_oldest_go_without_being_asked_where_limits_count),
        IN_DIRECTORY(a_segment_is_too_old_when_the_next_one_is_to_the_microsecond),
        IN_DIRECTORY(no_age_is_over_an_age_without_end),
        IN_DIRECTORY(what_cannot_be_noted_durably_stays),
        IN_DIRECTORY(a_queue_whose_old_segments_cannot_go_just_now_opens_all_the_same),
        IN_DIRECTORY(with_both_trim_slots_damaged_a_new_one_is_begun),
        IN_DIRECTORY(what_is_consumed_goes_though_the_headers_of_some_segments_are_beyond_reading),
        IN_DIRECTORY(a_segment_of_which_the_trailer_is_left_keeps_itself_but_not_those_before_it),
        IN_DIRECTORY(a_segment_of_which_nothing_is_left_goes_when_the_next_one_is_begun),
        IN_DIRECTORY(a_segment_that_is_whole_for_others_to_read_stays_with_all_behind_it),
        IN_DIRECTORY(by_its_age_a_segment_goes_with_one_whose_header_is_lost_behind_it),
        IN_DIRECTORY(a_failing_read_keeps_everything_but_the_oldest),
        IN_DIRECTORY(what_lies_about_the_end_of_the_last_segment_does_not_delete_it),
        IN_DIRECTORY(the_second_segment_is_known_though_it_was_made_meanwhile),
        IN_DIRECTORY(the_second_segment_is_found_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
