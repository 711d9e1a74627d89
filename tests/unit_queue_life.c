/* What opening a queue sets up in the working memory, and what closing it leaves in `meta`, number by number; and how long either
 * waits for others. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "bytes.h"
#include "queue.h"
#include "support/api.h"
#include "support/child.h"
#include "support/damage.h"
#include "support/io_fault.h"
#include "support/own_clock.h"

enum { KIB = 1024 };

static struct io_fault fault;
static char path[4096];
static const lq_options small = {.size = sizeof small, .sync = LQ_SYNC_NEVER, .segment_size = 64 * KIB, .ring_size = 64 * KIB};
static const lq_options looking = {.size = sizeof looking, .flags = LQ_READ_ONLY};

static int set_up(void **state)
{
    if (api_setup(state)) return -1;
    io_fault_init(&fault, &lqi_io_posix);
    snprintf(path, sizeof path, "%s", api_path(*state, "q"));
    return 0;
}

static int tear_down(void **state)
{
    memset(&own_clock, 0, sizeof own_clock);
    io_fault_release(&fault);
    return api_teardown(state);
}

static lq_queue *open_it(const lq_options *options)
{
    lq_queue *queue;
    OK(lqi_open_io(&fault.io, path, options, &queue));
    return queue;
}

static int try_open(const lq_options *options)
{
    lq_queue *queue;
    int err = lqi_open_io(&fault.io, path, options, &queue);
    if (!err) OK(lq_close(queue));
    return err;
}

static const uint8_t *queue_uuid(void)
{
    static struct lqi_meta meta;
    char name[4200];
    snprintf(name, sizeof name, "%s/meta", path);
    struct api_bytes bytes = api_file_read(name);
    OK(lqi_meta_decode(bytes.bytes, bytes.size, &meta));
    free(bytes.bytes);
    return meta.uuid;
}

static struct lqi_trim trim_in_meta(void)
{
    struct lqi_trim trim;
    char name[4200];
    snprintf(name, sizeof name, "%s/meta", path);
    struct api_bytes meta = api_file_read(name);
    OK(lqi_trim_decode(meta.bytes, meta.size, queue_uuid(), &trim));
    free(meta.bytes);
    return trim;
}

/* ---- what is given --------------------------------------------------------- */

struct today {
    size_t size;
    uint32_t flags, number;
};

struct tomorrow {
    struct today known;
    uint8_t unknown[8192];
};

static void of_a_struct_as_much_is_taken_as_is_given_and_known(void **state)
{
    static struct tomorrow theirs;
    struct today ours;
    (void)state;
    theirs.known = (struct today){.flags = 7, .number = 9};
    static const struct {
        size_t given;
        uint32_t flags, number;
    } rows[] = {{sizeof(size_t), 0, 0}, {offsetof(struct today, number), 7, 0}, {sizeof(struct today), 7, 9}, {sizeof(struct today) + 1, 7, 9}, {4096, 7, 9}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        memset(&ours, 0xff, sizeof ours);
        theirs.known.size = rows[i].given;
        OK(lqi_take_options(&ours, sizeof ours, &theirs, "a_struct"));
        EQUAL(ours.flags, rows[i].flags);
        EQUAL(ours.number, rows[i].number);
    }
    OK(lqi_take_options(&ours, sizeof ours, NULL, "a_struct"));
    HOLDS(ours.size == 0 && ours.flags == 0 && ours.number == 0);
}

static void a_struct_of_no_size_or_with_more_than_is_known_is_refused(void **state)
{
    static struct tomorrow theirs;
    static const size_t sizes[] = {0, 1, sizeof(size_t) - 1, 4097, 8192, SIZE_MAX};
    struct today ours;
    (void)state;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        theirs.known.size = sizes[i];
        IS(LQ_EINVAL, lqi_take_options(&ours, sizeof ours, &theirs, "a_struct"));
        TEXT_HAS("a_struct", "sizeof");
    }
    theirs.known.size = sizeof(struct today) + 10;
    for (size_t i = 0; i < 12; i++) {
        theirs.unknown[i] = 1;
        IS(i < 10 ? LQ_EINVAL : LQ_OK, lqi_take_options(&ours, sizeof ours, &theirs, "a_struct"));
        if (i < 10) TEXT_HAS("a_struct", "does not know");
        theirs.unknown[i] = 0;
    }
}

static void who_may_do_what_with_a_handle(void **state)
{
    (void)state;
    IS(LQ_EINVAL, lqi_queue_check(NULL, false));
    TEXT_HAS("NULL");
    IS(LQ_EINVAL, lq_sync(NULL));
    OK(lq_close(NULL));
    lq_queue *queue = open_it(&small);
    OK(lqi_queue_check(queue, true));
    OK(lqi_queue_check(queue, false));
    OK(lq_sync(queue));
    HOLDS(!queue->syncs_by_interval);
    lq_queue *reader = open_it(&looking);
    OK(lqi_queue_check(reader, false));
    IS(LQ_EREADONLY, lqi_queue_check(reader, true));
    IS(LQ_EREADONLY, lq_sync(reader));
    OK(lq_close(reader));
    atomic_store(&queue->forkable.forked, 1);
    IS(LQ_EFORKED, lqi_queue_check(queue, false));
    IS(LQ_EFORKED, lq_sync(queue));
    atomic_store(&queue->forkable.forked, 0);
    atomic_fetch_add(&queue->users, 1);
    IS(LQ_EINVAL, lq_close(queue));
    TEXT_HAS("close them first");
    atomic_fetch_sub(&queue->users, 1);
    OK(lq_close(queue));
}

/* ---- the working memory of a new population ----------------------------------- */

static void a_new_queue_begins_with_nothing_and_no_file_to_append_to(void **state)
{
    (void)state;
    lq_queue *queue = open_it(&small);
    struct lqi_log_state *log = queue->log.state;
    struct lqi_span *span = &log->spans[1];
    EQUAL(atomic_load(&span->first_id), 1);
    EQUAL(atomic_load(&span->position), 0);
    EQUAL(atomic_load(&span->salt), 0);
    EQUAL(span->limit, 0);
    EQUAL(span->sealed, 1);
    EQUAL(log->tails[0].end, 0);
    EQUAL(log->tails[0].next_id, 1);
    EQUAL(atomic_load(&log->first_id), 1);
    EQUAL(atomic_load(&log->synced_id), 0);
    EQUAL(atomic_load(&queue->map.head->identity.ready), 1);
    api_put_range(queue, 1, 3, 100);
    OK(lq_close(queue));
}

/* `count` messages of `size` bytes are in the files. */
static void look_at_memory(const lq_options *options, uint64_t count, size_t size, uint64_t second_id)
{
    lq_queue *queue = open_it(options);
    struct lqi_log_state *log = queue->log.state;
    struct lqi_span *span = &log->spans[1];
    struct lqi_tail *tail = &log->tails[0];
    lq_stats stats = api_stats(queue);
    EQUAL(atomic_load(&log->turn) & 1, 0);
    EQUAL(tail->next_id, count + 1);
    EQUAL(tail->span, 1);
    EQUAL(tail->records, 0);
    EQUAL(tail->direct, tail->end);
    EQUAL(tail->mark, tail->end); /* it was closed in peace */
    EQUAL(tail->time_us, stats.last_time_us);
    EQUAL(atomic_load(&log->append_span), 1);
    EQUAL(atomic_load(&log->write_span), 1);
    EQUAL(atomic_load(&log->written), tail->end);
    EQUAL(atomic_load(&log->synced), tail->end);
    EQUAL(atomic_load(&log->synced_id), count);
    EQUAL(atomic_load(&log->ring.appended), tail->end);
    EQUAL(atomic_load(&log->ring.reserved), tail->end);
    EQUAL(atomic_load(&log->ring.ring_from), tail->end);
    EQUAL(atomic_load(&log->first_id), 1);
    EQUAL(atomic_load(&log->first_position), 0);
    EQUAL(atomic_load(&log->second_id), second_id);
    EQUAL(span->sealed, 0);
    HOLDS(atomic_load(&span->salt) != 0);
    HOLDS(tail->end > atomic_load(&span->position) && tail->end - atomic_load(&span->position) < 64 * KIB + 2 * size);
    EQUAL(span->limit - atomic_load(&span->position), lqi_max64(lqi_segment_capacity(&queue->log.options), tail->end - atomic_load(&span->position)));
    HOLDS(span->first_time_us > 0 && span->first_time_us <= tail->time_us);
    EQUAL(api_put(queue, "goes on"), count + 1);
    OK(lq_close(queue));
}

static void a_population_begins_where_the_files_end(void **state)
{
    (void)state;
    lq_queue *queue = open_it(&small);
    api_put_range(queue, 1, 5, 1000);
    OK(lq_close(queue));
    look_at_memory(&small, 5, 1000, 0);
    queue = open_it(&small);
    api_put_range(queue, 7, 100, 1000); /* 7 and on, as one went on */
    uint64_t second = atomic_load(&queue->log.state->second_id);
    HOLDS(second > 50 && second < 70);
    OK(lq_close(queue));
    look_at_memory(&small, 100, 1000, second);
}

static void a_segment_that_is_longer_than_usual_ends_where_its_record_ends(void **state)
{
    (void)state;
    lq_queue *queue = open_it(&small);
    api_put_range(queue, 1, 1, 200 * KIB);
    OK(lq_close(queue));
    queue = open_it(&small);
    struct lqi_log_state *log = queue->log.state;
    HOLDS(log->spans[1].sealed || log->spans[1].limit >= log->tails[0].end);
    EQUAL(api_put(queue, "goes on"), 2);
    OK(lq_close(queue));
    queue = open_it(&looking);
    EQUAL(api_stats(queue).last_id, 2);
    OK(lq_close(queue));
}

static void a_log_that_was_trimmed_begins_there_again(void **state)
{
    const lq_options limited = {.size = sizeof limited, .sync = LQ_SYNC_NEVER, .retention = LQ_RETAIN_LIMITS, .size_max = 128 * KIB,
                                .segment_size = 64 * KIB, .ring_size = 64 * KIB};
    (void)state;
    lq_queue *queue = open_it(&limited);
    api_put_range(queue, 1, 300, 1000);
    struct lqi_log_state *log = queue->log.state;
    uint64_t id = atomic_load(&log->first_id), position = atomic_load(&log->first_position), second = atomic_load(&log->second_id);
    HOLDS(id > 100 && position > 100000 && second > id);
    OK(lq_close(queue));
    EQUAL(trim_in_meta().first_id, id);
    queue = open_it(&limited);
    log = queue->log.state;
    EQUAL(atomic_load(&log->first_id), id);
    EQUAL(atomic_load(&log->first_position), position);
    EQUAL(atomic_load(&log->second_id), second);
    struct lqi_tail *tail = &log->tails[0];
    HOLDS(tail->index_count > 0);
    for (uint32_t i = 0; i < tail->index_count; i++) { /* by which a reader will find its way in it */
        struct lqi_index_entry *entry = &log->spans[1].index[i];
        HOLDS(entry->first_id > id && entry->first_id <= 300 && (i == 0 || entry->first_id > entry[-1].first_id));
    }
    OK(lq_close(queue));
}

/* ---- what meta remembers -------------------------------------------------------- */

static void closing_notes_how_far_the_log_went_and_only_what_is_new(void **state)
{
    (void)state;
    lq_queue *queue = open_it(&small);
    api_put_range(queue, 1, 3, 100);
    OK(lq_close(queue));
    struct lqi_trim first = trim_in_meta();
    EQUAL(first.next_id, 4);
    EQUAL(first.first_id, 1);
    EQUAL(first.position, 0);
    queue = open_it(&small);
    EQUAL(first.synced, queue->log.state->tails[0].end);
    OK(lq_close(queue));
    EQUAL(trim_in_meta().sequence, first.sequence); /* nothing new, nothing written */
    queue = open_it(&small);
    api_put(queue, "more");
    OK(lq_close(queue));
    struct lqi_trim second = trim_in_meta();
    EQUAL(second.sequence, first.sequence + 1);
    EQUAL(second.next_id, 5);
    HOLDS(second.synced > first.synced);
}

/* The handle in this slot lives, say `meta` and `shared`. */
static bool is_locked(const lq_queue *queue, uint64_t handle)
{
    static const char *const names[] = {LQI_META_NAME, LQI_SHARED_NAME};
    bool locked[2];
    for (size_t i = 0; i < 2; i++) {
        struct lqi_file file;
        OK(lqi_file_open(&file, &lqi_io_posix, queue->dir, names[i], names[i], LQI_OPEN_WRITE, 0));
        EQUAL(lqi_io_posix.locked(&lqi_io_posix, file.fd, LQI_BYTE_HANDLE + handle, 1, &locked[i]), 0);
        lqi_file_close(&file);
    }
    EQUAL(locked[0], locked[1]);
    return locked[0];
}

/* Two handles: the one that goes first leaves the log to the other. */
static void only_the_last_handle_to_close_ends_the_log(void **state)
{
    (void)state;
    lq_queue *first = open_it(&small), *second = open_it(&small);
    struct lqi_shared_map map = LQI_SHARED_NONE;
    api_put(first, "one");
    struct lqi_handle_slot *handles = second->map.head->handles;
    EQUAL(first->handle, 0);
    EQUAL(second->handle, 1);
    HOLDS(atomic_load(&handles[0].generation) == first->handle_generation && first->handle_generation % 2 == 1);
    uint64_t generation = first->handle_generation;
    OK(lq_close(first));
    EQUAL(atomic_load(&handles[0].generation), generation + 1);
    EQUAL(trim_in_meta().next_id, 1);
    HOLDS(!atomic_load(&second->map.head->clean));
    HOLDS(!is_locked(second, 0) && is_locked(second, 1));
    first = open_it(&small);
    HOLDS(is_locked(second, 0) && is_locked(second, 1) && !is_locked(second, 2));
    EQUAL(first->handle, 0);
    EQUAL(first->handle_generation, generation + 2);
    OK(lq_close(first));
    atomic_store(&handles[0].generation, generation + 4); /* as somebody leaves it who dies */
    first = open_it(&small);
    EQUAL(first->handle_generation, generation + 6);
    OK(lq_close(first));
    int dir = second->dir;
    OK(lqi_shared_attach(&map, &lqi_io_posix, dir, queue_uuid(), false));
    OK(lq_close(second));
    HOLDS(atomic_load(&map.head->clean));
    lqi_shared_detach(&map);
    EQUAL(trim_in_meta().next_id, 2);
}

/* ---- waiting for who opens or closes ---------------------------------------------- */

static unsigned refusals[2]; /* of the open lock: so many before it is had, and before it is had again */

static int lock_later(const struct lqi_io *io, int fd, uint64_t byte)
{
    (void)io;
    if (byte == LQI_BYTE_OPEN) {
        if (refusals[0]) return refusals[0]--, EAGAIN;
        refusals[0] = refusals[1];
        refusals[1] = 0;
    }
    return lqi_io_posix.lock(&lqi_io_posix, fd, byte);
}

static void refuse(unsigned first, unsigned second)
{
    fault.io.lock = lock_later;
    refusals[0] = first;
    refusals[1] = second;
    own_clock.now_us = 7000000;
}

static void who_is_opening_is_waited_for_and_then_named(void **state)
{
    (void)state;
    OK(try_open(&small));
    refuse(9999, 0);
    lq_queue *queue = open_it(&small);
    EQUAL(own_clock.now_us, 7000000 + 9999000);
    refuse(9999, 0); /* closing has a patience of its own */
    OK(lq_close(queue));
    EQUAL(own_clock.now_us, 7000000 + 9999000);

    refuse(UINT32_MAX, 0);
    IS(LQ_EBUSY, try_open(&small));
    EQUAL(own_clock.now_us, 7000000 + 10000000);
    TEXT_HAS("10000 ms", "stopped");
    refuse(0, 0);
    queue = open_it(&small);
    refuse(UINT32_MAX, 0);
    IS(LQ_EBUSY, lq_close(queue));
    EQUAL(own_clock.now_us, 7000000 + 10000000);
    refuse(0, 0);
    OK(try_open(&small));
}

/* Who cannot open what he has made wants the lock again, to take it away. */
static void the_patience_is_for_all_of_opening(void **state)
{
    static const unsigned firsts[] = {0, 4000, 9999, 10000};
    (void)state;
    for (size_t i = 0; i < sizeof firsts / sizeof *firsts; i++) {
        snprintf(path, sizeof path, "%s", api_path(*state, (const char *[]){"a", "b", "c", "d"}[i]));
        refuse(firsts[i], UINT32_MAX);
        io_fault_plan(&fault, IO_MAP, 1, false, ENOMEM);
        IS(LQ_ENOMEM, try_open(&small));
        EQUAL(fault.hits, 1);
        io_fault_end(&fault);
        EQUAL(own_clock.now_us, 7000000 + 10000000);
        refuse(0, 0);
        OK(try_open(&small));
    }
}

/* Whoever repairs, or fails with what he has made, does so under the open lock; who has opened `meta` before him and waited for it has
 * the wrong file in his hands. */
static unsigned to_replace;
static bool to_remove;

static int lock_too_late(const struct lqi_io *io, int fd, uint64_t byte)
{
    (void)io;
    if (byte == LQI_BYTE_OPEN && to_replace) {
        char meta[4200], other[4200];
        snprintf(meta, sizeof meta, "%s/meta", path);
        snprintf(other, sizeof other, "%s/meta.new", path);
        struct api_bytes bytes = api_file_read(meta);
        if (!to_remove) api_file_write(other, bytes.bytes, bytes.size);
        HOLDS((to_remove ? unlink(meta) : rename(other, meta)) == 0);
        free(bytes.bytes);
        to_replace--;
    }
    return lqi_io_posix.lock(&lqi_io_posix, fd, byte);
}

static void who_has_opened_a_file_that_is_replaced_meanwhile_opens_the_other(void **state)
{
    (void)state;
    for (int removed = 0; removed < 2; removed++) {
        OK(try_open(&small));
        fault.io.lock = lock_too_late;
        to_remove = removed;
        to_replace = 3;
        lq_queue *queue = open_it(&small);
        EQUAL(to_replace, 0);
        OK(lqi_meta_check_in_place(&queue->meta_file, queue->dir));
        HOLDS(is_locked(queue, 0));
        OK(lq_close(queue));
        to_replace = 1000; /* but not for ever */
        int err = try_open(&small);
        HOLDS(err == (removed ? LQ_ENOTFOUND : LQ_EBUSY));
        EQUAL(to_replace, 990);
        to_replace = 0;
    }
}

static unsigned looks, dying; /* so many looks find somebody on the second file that is looked at */

static int somebody_is_dying(const struct lqi_io *io, int fd, uint64_t first, uint64_t count, bool *by_others_out)
{
    (void)io;
    int error = lqi_io_posix.locked(&lqi_io_posix, fd, first, count, by_others_out);
    if (looks++ && dying) {
        dying--;
        *by_others_out = true;
    }
    return error;
}

static int put_and_die(void *context)
{
    (void)context;
    api_put(open_it(&small), "left");
    return 0;
}

/* It lets its files go one by one: `meta` first. Who holds on to `shared` has another `meta`. */
static void who_is_dying_is_given_a_second(void **state)
{
    (void)state;
    EQUAL(child_run(put_and_die, NULL), 0);
    const struct lqi_io usual = fault.io;
    fault.io.locked = somebody_is_dying;
    own_clock.now_us = 7000000;
    looks = 0;
    dying = UINT32_MAX;
    IS(LQ_EBUSY, try_open(&small));
    TEXT_HAS("meta", "replaced", "close them first");
    HOLDS(own_clock.now_us > 8000000 && own_clock.now_us <= 8001000);
    own_clock.now_us = 7000000;
    looks = 0;
    dying = 1000;
    lq_queue *queue = open_it(&small);
    EQUAL(dying, 0);
    EQUAL(own_clock.now_us, 8000000);
    EQUAL(api_stats(queue).last_id, 1);
    fault.io = usual;
    OK(lq_close(queue));

    own_clock.now_us = 0;
    EQUAL(child_run(put_and_die, NULL), 0);
    io_fault_plan(&fault, IO_LOCKED, 2, false, ENOLCK);
    IS(LQ_EIO, try_open(&small));
    EQUAL(fault.hits, 1);
    TEXT_HAS("look at the locks of", "shared");
    HOLDS(!strstr(lq_error_text(), "at byte"));
    io_fault_end(&fault);
    queue = open_it(&small);
    EQUAL(api_stats(queue).last_id, 2);
    OK(lq_close(queue));
}

static void a_lock_that_cannot_be_had_or_looked_at_says_why(void **state)
{
    (void)state;
    OK(try_open(&small));
    io_fault_plan(&fault, IO_LOCK, 1, false, ENOLCK);
    IS(LQ_EIO, try_open(&small));
    TEXT_HAS("lock", "meta");
    HOLDS(!strstr(lq_error_text(), "at byte"));
    io_fault_plan(&fault, IO_LOCKED, 1, false, ENOLCK);
    IS(LQ_EIO, try_open(&small));
    TEXT_HAS("look at the locks of", "meta");
    HOLDS(!strstr(lq_error_text(), "at byte"));
    io_fault_end(&fault);
    lq_queue *queue = open_it(&small);
    api_put(queue, "stays");
    io_fault_plan(&fault, IO_LOCKED, 1, false, ENOLCK);
    IS(LQ_EIO, lq_close(queue));
    io_fault_end(&fault);
    queue = open_it(&small);
    EQUAL(api_stats(queue).last_id, 1);
    OK(lq_close(queue));
}

static void what_says_where_the_log_begins_and_ends_must_be_readable(void **state)
{
    (void)state;
    lq_queue *queue = open_it(&small);
    api_put_range(queue, 1, 10, 100);
    OK(lq_close(queue));
    for (uint64_t nth = 1; nth <= 3; nth++) { /* meta: what the queue is; and where it begins; shared */
        io_fault_plan(&fault, IO_READ, nth, false, EIO);
        IS(LQ_EIO, try_open(&small));
        EQUAL(fault.hits, 1);
    }
    io_fault_end(&fault);
    OK(try_open(&small));
}

static void without_descriptors_nothing_is_opened_half(void **state)
{
    uint64_t opened = 0;
    (void)state;
    OK(try_open(&small));
    do {
        io_fault_plan(&fault, IO_OPEN, ++opened, false, EMFILE);
        IS(opened <= 5 ? LQ_ELIMIT : LQ_OK, try_open(&small)); /* meta, shared, the segment; shared again, for its locks */
    } while (fault.hits);
    HOLDS(opened == 6);
    io_fault_end(&fault);
    OK(try_open(&small));
}

static void the_queues_directories_are_synced_before_anything_is_built_on_them(void **state)
{
    (void)state;
    OK(try_open(&small));
    for (uint64_t nth = 1; nth <= 4; nth++) { /* consumers, log, the queue's own, and its parent */
        io_fault_plan(&fault, IO_DIR_SYNC, nth, false, EIO);
        IS(LQ_EIO, try_open(&small));
        EQUAL(fault.hits, 1);
        TEXT_HAS("sync", nth < 4 ? "the queue's directories" : "parent");
        HOLDS(!strstr(lq_error_text(), "at byte"));
    }
    io_fault_end(&fault);
    OK(try_open(&small));
}

static void there_is_room_for_so_many_handles_and_then_it_is_said(void **state)
{
    (void)state;
    lq_queue *queue = open_it(&small);
    static struct lqi_file other;
    OK(lqi_file_open(&other, &lqi_io_posix, queue->dir, LQI_META_NAME, LQI_META_NAME, LQI_OPEN_WRITE, 0));
    for (uint32_t i = 1; i + 1 < LQI_HANDLES_MAX; i++) EQUAL(lqi_io_posix.lock(&lqi_io_posix, other.fd, LQI_BYTE_HANDLE + i), 0);
    lq_queue *last = open_it(&small);
    EQUAL(last->handle, LQI_HANDLES_MAX - 1);
    IS(LQ_ELIMIT, try_open(&small));
    TEXT_HAS("256 handles");
    OK(lq_close(last));
    lqi_file_close(&other);
    OK(lq_close(queue));
}

/* ---- the thread that syncs ------------------------------------------------------------ */

static void the_interval_begins_with_the_sync_and_who_is_in_the_way_is_asked_again_soon(void **state)
{
    const lq_options interval = {.size = sizeof interval, .sync = LQ_SYNC_INTERVAL, .sync_interval_ms = 3600000};
    (void)state;
    lq_queue *queue = open_it(&interval);
    HOLDS(queue->syncs_by_interval);
    api_put(queue, "one");
    lqi_lock_limit(1234);
    int64_t from = lqi_now_us(), due = queue->sync_task.step(queue->sync_task.context), to = lqi_now_us();
    EQUAL(lqi_lock_limit(1234), 1234); /* as it was */
    HOLDS(due >= from + 3600000000 && due <= to + 3600000000);
    EQUAL(atomic_load(&queue->log.state->synced), atomic_load(&queue->log.state->ring.appended));
    api_put(queue, "two");
    EQUAL(lqi_lock(&queue->log.state->sync, "a test"), LQI_LOCKED);
    from = lqi_now_us();
    due = queue->sync_task.step(queue->sync_task.context);
    to = lqi_now_us();
    lqi_unlock(&queue->log.state->sync);
    HOLDS(to - from >= 10000 && to - from < 5000000); /* the thread is everybody's */
    HOLDS(due >= from + 20000 && due <= to + 10000);
    lqi_lock_limit(LQI_LOCK_UNLIMITED);
    OK(lq_close(queue));
}

int main(void)
{
#define WITH_FAULTS(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(of_a_struct_as_much_is_taken_as_is_given_and_known),
        cmocka_unit_test(a_struct_of_no_size_or_with_more_than_is_known_is_refused),
        WITH_FAULTS(who_may_do_what_with_a_handle),
        WITH_FAULTS(a_new_queue_begins_with_nothing_and_no_file_to_append_to),
        WITH_FAULTS(a_population_begins_where_the_files_end),
        WITH_FAULTS(a_segment_that_is_longer_than_usual_ends_where_its_record_ends),
        WITH_FAULTS(a_log_that_was_trimmed_begins_there_again),
        WITH_FAULTS(closing_notes_how_far_the_log_went_and_only_what_is_new),
        WITH_FAULTS(only_the_last_handle_to_close_ends_the_log),
        WITH_FAULTS(who_is_opening_is_waited_for_and_then_named),
        WITH_FAULTS(the_patience_is_for_all_of_opening),
        WITH_FAULTS(who_has_opened_a_file_that_is_replaced_meanwhile_opens_the_other),
        WITH_FAULTS(who_is_dying_is_given_a_second),
        WITH_FAULTS(a_lock_that_cannot_be_had_or_looked_at_says_why),
        WITH_FAULTS(what_says_where_the_log_begins_and_ends_must_be_readable),
        WITH_FAULTS(without_descriptors_nothing_is_opened_half),
        WITH_FAULTS(the_queues_directories_are_synced_before_anything_is_built_on_them),
        WITH_FAULTS(there_is_room_for_so_many_handles_and_then_it_is_said),
        WITH_FAULTS(the_interval_begins_with_the_sync_and_who_is_in_the_way_is_asked_again_soon),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
