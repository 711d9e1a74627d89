/* What is promised by the memory of dead processes: how far the log went, and which ids were given. Here their ring is lost, so that
 * nothing else knows. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "bytes.h"
#include "queue.h"
#include "support/api.h"
#include "support/child.h"
#include "support/damage.h"
#include "support/io_fault.h"

enum { KIB = 1024, SYNCED = 2 };

static char path[4096];
static const lq_options small = {.size = sizeof small, .sync = LQ_SYNC_NEVER, .segment_size = 64 * KIB, .ring_size = 64 * KIB};

static int put_and_die(void *count)
{
    lq_queue *queue;
    OK(lq_open(path, &small, &queue));
    api_put_range(queue, 1, SYNCED, 10);
    OK(lq_sync(queue));
    api_put_range(queue, SYNCED + 1, SYNCED + *(uint64_t *)count, 10);
    return 0;
}

/* They synced some messages, and some not. What they left in memory is changed then; and their ring is lost, and the last message that
 * they synced is damaged, if `lost`. */
static void be_dead(void **state, uint64_t unsynced, void (*change)(struct lqi_shared *head), bool lost)
{
    struct lqi_shared_map map = LQI_SHARED_NONE;
    struct lqi_file file;
    struct lqi_meta meta;
    struct lqi_trim trim;
    static unsigned number;
    char name[20];
    int dir;
    snprintf(name, sizeof name, "q%u", number++);
    snprintf(path, sizeof path, "%s", api_path(*state, name));
    EQUAL(child_run(put_and_die, &unsynced), 0);
    EQUAL(lqi_io_posix.dir_open(&lqi_io_posix, -1, path, &dir), 0);
    OK(lqi_meta_open(&lqi_io_posix, dir, false, &file, &meta, &trim));
    OK(lqi_shared_attach(&map, &lqi_io_posix, dir, meta.uuid, true));
    struct lqi_ring ring;
    lqi_shared_ring(&map, &ring);
    if (lost) memset(ring.bytes, 0, map.ring_size);
    if (change) change(map.head);
    lqi_shared_detach(&map);
    lqi_file_close(&file);
    lqi_io_posix.close(&lqi_io_posix, dir);
    struct damage_place place = damage_find(path, SYNCED);
    if (lost) damage_fill(place.path, place.offset + LQI_RECORD_HEADER, 8, 1);
    else damage_fill(place.path, place.offset + LQI_RECORD_HEADER + 16, 8, 1); /* what they were in the middle of writing */
}

static struct lqi_tail *tail_of(struct lqi_shared *head)
{
    return &head->log.tails[atomic_load(&head->log.turn) & 1];
}

static void poison(struct lqi_shared *head) { atomic_store(&head->poisoned, 1); }
static void more_synced_than_written(struct lqi_shared *head) { atomic_store(&head->log.synced, atomic_load(&head->log.written) + 8); }
static void more_written_than_there_is(struct lqi_shared *head) { atomic_store(&head->log.written, tail_of(head)->end + 8); }
static void more_than_fits_the_ring(struct lqi_shared *head) { tail_of(head)->end = atomic_load(&head->log.written) + 64 * KIB + 8; }
static void as_much_as_fits_the_ring(struct lqi_shared *head) { atomic_store(&head->log.ring.appended, atomic_load(&head->log.written) + 64 * KIB); }
static void an_end_beyond_all(struct lqi_shared *head)
{
    atomic_store(&head->log.ring.appended, LQI_ID_END);
    atomic_store(&head->log.written, LQI_ID_END - 8);
}
static void ids_beyond_all(struct lqi_shared *head) { tail_of(head)->next_id = LQI_ID_END; }
static void nothing_synced(struct lqi_shared *head) { atomic_store(&head->log.synced, 0); }
static void poison_and_nothing_synced(struct lqi_shared *head)
{
    poison(head);
    nothing_synced(head);
}

struct next {
    uint64_t id, damage, torn_bytes;
};

static struct next put_next(void)
{
    lq_queue *queue;
    OK(lq_open(path, &small, &queue));
    lq_stats stats = api_stats(queue);
    struct next next = {api_put(queue, "next"), stats.damage, stats.recovered_bytes};
    OK(lq_close(queue));
    return next;
}

static void ids_that_the_dead_have_given_never_come_again(void **state)
{
    for (uint64_t unsynced = 0; unsynced < 4; unsynced++) {
        be_dead(state, unsynced, NULL, true);
        struct next next = put_next();
        EQUAL(next.id, SYNCED + unsynced + 1);
        HOLDS(next.damage > 0); /* it is told, not cut */
    }
}

static void what_they_had_written_is_promised_synced_or_not(void **state)
{
    be_dead(state, 2, nothing_synced, true);
    struct next next = put_next();
    EQUAL(next.id, SYNCED + 3);
    HOLDS(next.damage > 0);
}

static void when_a_sync_had_failed_only_what_was_synced_before_is_promised(void **state)
{
    be_dead(state, 2, poison, true);
    struct next next = put_next();
    EQUAL(next.id, SYNCED + 1);
    HOLDS(next.damage > 0);
    be_dead(state, 2, poison_and_nothing_synced, true);
    next = put_next();
    EQUAL(next.id, SYNCED);
    EQUAL(next.damage, 0);
}

static void numbers_of_the_dead_that_do_not_fit_each_other_promise_nothing(void **state)
{
    static const struct {
        void (*change)(struct lqi_shared *head);
        bool believed;
    } rows[] = {{more_synced_than_written, false}, {more_written_than_there_is, false}, {more_than_fits_the_ring, false},
                {as_much_as_fits_the_ring, true}, {an_end_beyond_all, false}, {ids_beyond_all, false}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        be_dead(state, 2, rows[i].change, true);
        struct next next = put_next();
        EQUAL(next.id, rows[i].believed ? SYNCED + 3 : SYNCED);
        HOLDS((next.damage > 0) == rows[i].believed);
    }
}

static void what_they_were_in_the_middle_of_writing_is_no_loss_unless_a_sync_had_failed(void **state)
{
    be_dead(state, 0, NULL, false);
    struct next next = put_next();
    HOLDS(next.id == SYNCED + 1 && next.damage == 0 && next.torn_bytes == 0);
    be_dead(state, 0, poison, false);
    next = put_next();
    HOLDS(next.id == SYNCED + 1 && next.damage == 0 && next.torn_bytes > 0);
}

static void lie(struct lqi_shared *head)
{
    tail_of(head)->next_id = 1000;
    atomic_store(&head->clean, 1);
}

static void memory_that_was_closed_in_peace_is_not_looked_at_again(void **state)
{
    be_dead(state, 0, lie, true);
    struct next next = put_next();
    HOLDS(next.id == SYNCED && next.damage == 0);
}

/* Else what is nowhere but in memory would be lost for want of some memory. */
static void memory_that_cannot_be_had_just_now_keeps_the_queue_shut(void **state)
{
    struct io_fault fault;
    lq_queue *queue;
    io_fault_init(&fault, &lqi_io_posix);
    be_dead(state, 2, NULL, false);
    io_fault_plan(&fault, IO_MAP, 1, false, ENOMEM);
    IS(LQ_ENOMEM, lqi_open_io(&fault.io, path, &small, &queue));
    EQUAL(fault.hits, 1);
    io_fault_end(&fault);
    EQUAL(put_next().id, SYNCED + 3);
    io_fault_release(&fault);
}

static void behind_an_end_that_is_given_up_there_is_no_file_to_append_to(void **state)
{
    lq_queue *queue;
    be_dead(state, 2, NULL, true);
    OK(lq_open(path, &small, &queue));
    struct lqi_log_state *log = queue->log.state;
    struct lqi_span *span = &log->spans[1];
    EQUAL(span->sealed, 1);
    EQUAL(atomic_load(&span->position), log->tails[0].end);
    EQUAL(span->limit, log->tails[0].end);
    EQUAL(atomic_load(&span->salt), 0);
    EQUAL(atomic_load(&span->first_id), SYNCED + 3);
    EQUAL(atomic_load(&log->synced_id), SYNCED + 2);
    OK(lq_close(queue));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_DIRECTORY(ids_that_the_dead_have_given_never_come_again),
        IN_DIRECTORY(what_they_had_written_is_promised_synced_or_not),
        IN_DIRECTORY(when_a_sync_had_failed_only_what_was_synced_before_is_promised),
        IN_DIRECTORY(numbers_of_the_dead_that_do_not_fit_each_other_promise_nothing),
        IN_DIRECTORY(what_they_were_in_the_middle_of_writing_is_no_loss_unless_a_sync_had_failed),
        IN_DIRECTORY(memory_that_was_closed_in_peace_is_not_looked_at_again),
        IN_DIRECTORY(memory_that_cannot_be_had_just_now_keeps_the_queue_shut),
        IN_DIRECTORY(behind_an_end_that_is_given_up_there_is_no_file_to_append_to),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
