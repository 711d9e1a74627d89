/* All processes are killed, or one while others go on, with messages that are nowhere but in the ring. Process
 * death costs nothing that was accepted, in no mode. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "queue.h"
#include "support/api.h"
#include "support/child.h"
#include "support/damage.h"

enum { KIB = 1024 };

static char queue_path[4096];

static lq_options options_of(int sync, int compression)
{
    return (lq_options){.size = sizeof(lq_options), .flags = LQ_DEFER_SYNC, .sync = sync,
                        .sync_interval_ms = sync == LQ_SYNC_INTERVAL ? 3600000 : 0, /* never, as far as tests go */
                        .segment_size = 64 * KIB, .ring_size = 64 * KIB, .compression = compression};
}

static lq_queue *open_with(const lq_options *options)
{
    lq_queue *queue;
    OK(lq_open(queue_path, options, &queue));
    return queue;
}

/* What a child does before it dies without closing anything: puts messages 1 to `count` of changing sizes. */
struct load {
    lq_options options;
    uint64_t first, count, acked; /* of them, "c" has acked so many */
    size_t (*size_of)(uint64_t id);
    uint32_t batch;
};

static size_t small(uint64_t id)
{
    return 20 + id % 90;
}

static size_t mixed(uint64_t id)
{
    return id % 7 == 0 ? 9000 : id % 5 == 0 ? 3000 : id % 90;
}

static size_t large(uint64_t id)
{
    return id % 3 == 0 ? 50000 : id % 3 == 1 ? 17000 : 100;
}

static size_t huge(uint64_t id)
{
    return id % 4 == 0 ? 300000 : 1000;
}

static void put_load(lq_queue *queue, const struct load *load)
{
    static uint8_t bytes[64][300000];
    lq_message messages[64];

    for (uint64_t id = load->first; id < load->first + load->count; id += load->batch) {
        for (uint32_t i = 0; i < load->batch; i++) {
            size_t size = load->size_of(id + i);
            api_fill(bytes[i], size, id + i);
            messages[i] = (lq_message){.data = bytes[i], .size = size};
        }
        uint64_t got = 0;
        OK(lq_put_batch(queue, messages, load->batch, &got));
        EQUAL(got, id);
    }
}

static void take(lq_consumer *consumer, uint64_t first, uint64_t last, const struct load *load)
{
    for (uint64_t id = first; id <= last; id++) {
        lq_message message;
        OK(lq_get(consumer, &message, 1000));
        EQUAL(message.id, id);
        HOLDS(api_is_filled(&message, load->size_of(id), id));
        OK(lq_ack(consumer, &message));
    }
}

static void read_all(lq_queue *queue, uint64_t last, const struct load *load)
{
    lq_reader *reader;
    lq_message message;

    OK(lq_reader_open(queue, &reader));
    for (uint64_t id = 1; id <= last; id++) {
        OK(lq_reader_next(reader, &message));
        EQUAL(message.id, id);
        HOLDS(api_is_filled(&message, load->size_of(id), id));
    }
    IS(LQ_EMPTY, lq_reader_next(reader, &message));
    lq_reader_close(reader);
}

static int put_and_die(void *context)
{
    const struct load *load = context;
    lq_queue *queue = open_with(&load->options);
    lq_consumer *consumer;

    OK(lq_consumer_open(queue, "keep", NULL, &consumer)); /* or segments would go */
    OK(lq_consumer_open(queue, "c", NULL, &consumer));
    put_load(queue, load);
    if (load->acked && load->options.sync == LQ_SYNC_ALWAYS) OK(lq_sync(queue));
    take(consumer, load->first, load->first + load->acked - 1, load);
    return 0;
}

/* Dies, is looked at, and does it again, for a while. */
static void check_load(void **state, struct load load, int rounds)
{
    uint64_t acked = 0;

    snprintf(queue_path, sizeof queue_path, "%s", api_path(*state, "q"));
    load.first = 1;
    for (int round = 0; round < rounds; round++) {
        assert_int_equal(child_run(put_and_die, &load), 0);

        uint64_t last = load.first + load.count - 1;
        lq_queue *queue = open_with(&load.options);
        lq_stats stats = api_stats(queue);
        EQUAL(stats.last_id, last);
        EQUAL(stats.damage, 0);
        EQUAL(stats.recovered_bytes, 0);
        read_all(queue, last, &load);

        lq_consumer *consumer = api_consumer(queue, "c", NULL);
        if (load.options.sync == LQ_SYNC_ALWAYS) OK(lq_sync(queue));
        acked = load.first + load.acked - 1;
        take(consumer, acked + 1, last, &load);
        OK(lq_consumer_close(consumer));
        OK(lq_close(queue));
        assert_int_equal(lq_verify(queue_path, 0, NULL, NULL, NULL), LQ_OK);
        load.first = last + 1;
    }
}

static const int modes[] = {LQ_SYNC_ALWAYS, LQ_SYNC_INTERVAL, LQ_SYNC_NEVER};

static void for_each_mode(void **state, struct load load, int rounds)
{
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++) {
        char directory[4096], *path = directory;
        snprintf(directory, sizeof directory, "%s", api_path(*state, (const char *[]){"a", "i", "n"}[i]));
        assert_int_equal(mkdir(directory, 0700), 0);
        load.options = options_of(modes[i], load.options.compression);
        check_load((void **)&path, load, rounds);
    }
}

static void small_messages_that_are_only_in_the_ring_survive_the_death_of_all(void **state)
{
    for_each_mode(state, (struct load){.count = 40, .acked = 7, .size_of = small, .batch = 1}, 4);
}

static void batches_that_are_only_in_the_ring_survive_the_death_of_all(void **state)
{
    for_each_mode(state, (struct load){.count = 320, .acked = 100, .size_of = small, .batch = 32}, 4);
}

static void messages_across_a_roll_survive_the_death_of_all(void **state)
{
    for_each_mode(state, (struct load){.count = 40, .acked = 3, .size_of = mixed, .batch = 1}, 8);
}

static void large_messages_survive_the_death_of_all(void **state)
{
    for_each_mode(state, (struct load){.count = 10, .acked = 1, .size_of = large, .batch = 1}, 4);
}

static void messages_larger_than_a_segment_survive_the_death_of_all(void **state)
{
    for_each_mode(state, (struct load){.count = 6, .acked = 2, .size_of = huge, .batch = 1}, 4);
}

static void compressed_messages_survive_the_death_of_all(void **state)
{
    for_each_mode(state, (struct load){.count = 64, .acked = 10, .size_of = mixed, .batch = 4, .options.compression = 1}, 4);
}

/* ---- the file is damaged, too ------------------------------------------- */

/* Everything behind the damage is only in the ring. */
static int sync_then_put_and_die(void *context)
{
    struct load *load = context;
    lq_queue *queue = open_with(&load->options);
    put_load(queue, load);
    OK(lq_sync(queue));
    load->first += load->count;
    put_load(queue, load);
    return 0;
}

static void what_is_in_the_ring_survives_damage_to_the_file_before_it(void **state)
{
    struct load load = {.options = options_of(LQ_SYNC_NEVER, 0), .first = 1, .count = 10, .size_of = small, .batch = 1};
    lq_reader *reader;
    lq_message message;
    unsigned lost = 0, read = 0;

    snprintf(queue_path, sizeof queue_path, "%s", api_path(*state, "q"));
    assert_int_equal(child_run(sync_then_put_and_die, &load), 0);
    struct damage_place place = damage_find(queue_path, 10);
    api_file_flip(place.path, place.offset + 20, 1); /* the header of the last that is in the file */

    lq_queue *queue = open_with(&load.options);
    EQUAL(api_stats(queue).last_id, 20);
    OK(lq_reader_open(queue, &reader));
    for (;;) {
        int err = lq_reader_next(reader, &message);
        if (err == LQ_EMPTY) break;
        if (err == LQ_ECORRUPT) {
            lost++;
            continue;
        }
        OK(err);
        read++;
        HOLDS(api_is_filled(&message, load.size_of(message.id), message.id));
    }
    lq_reader_close(reader);
    EQUAL(read + lost, 20);
    HOLDS(lost <= 1);
    EQUAL(api_put(queue, "next"), 21);
    OK(lq_close(queue));
}

/* Written, but not synced: the processes died, not the machine, so nothing can be torn. */
static void damage_to_what_was_written_and_not_synced_costs_one_record(void **state)
{
    struct load load = {.options = options_of(LQ_SYNC_NEVER, 0), .first = 1, .count = 100, .size_of = mixed, .batch = 1};
    lq_reader *reader;
    lq_message message;
    unsigned lost = 0, read = 0;

    snprintf(queue_path, sizeof queue_path, "%s", api_path(*state, "q"));
    load.options.segment_size = 1024 * KIB;
    assert_int_equal(child_run(put_and_die, &load), 0);
    struct damage_place place = damage_find(queue_path, 10); /* the ring has gone over it long since */
    api_file_flip(place.path, place.offset, 1);

    lq_queue *queue = open_with(&load.options);
    OK(lq_reader_open(queue, &reader));
    for (;;) {
        int err = lq_reader_next(reader, &message);
        if (err == LQ_EMPTY) break;
        if (err == LQ_ECORRUPT) {
            lost++;
            continue;
        }
        OK(err);
        read++;
    }
    lq_reader_close(reader);
    EQUAL(lost, 1);
    EQUAL(read, 99);
    EQUAL(api_put(queue, "next"), 101);
    OK(lq_close(queue));
}

/* Dies in the middle of writing out: a part of what is in the ring is in the file already, or of what was never committed. */
static int die_in_writing_out(void *context)
{
    struct load *load = context;
    lq_queue *queue = open_with(&load->options);
    struct lqi_log *log = &queue->log;
    struct lqi_file *file;
    put_load(queue, load);
    OK(lqi_write_out(log));
    uint64_t from = atomic_load(&log->state->written);
    load->first += load->count;
    put_load(queue, load);
    uint64_t to = load->acked ? from + load->acked : atomic_load(&log->state->ring.appended) + 500;
    OK(lqi_writing_file(log, &file));
    OK(lqi_file_write(file, LQI_SEGMENT_HEADER + from - log->state->spans[1].position, lqi_ring_at(&log->ring, from), to - from));
    return 0;
}

static void what_the_dead_were_in_the_middle_of_writing_is_no_loss(void **state)
{
    for (uint64_t part = 0; part <= 1000; part += 100) { /* 0: more than all */
        char name[20];
        struct load load = {.options = options_of(LQ_SYNC_NEVER, 0), .first = 1, .count = 20, .acked = part, .size_of = small, .batch = 1};
        snprintf(name, sizeof name, "q%u", (unsigned)part);
        snprintf(queue_path, sizeof queue_path, "%s", api_path(*state, name));
        assert_int_equal(child_run(die_in_writing_out, &load), 0);
        lq_queue *queue = open_with(&load.options);
        lq_stats stats = api_stats(queue);
        EQUAL(stats.last_id, 40);
        EQUAL(stats.recovered_bytes, 0);
        EQUAL(stats.damage, 0);
        read_all(queue, 40, &load);
        OK(lq_close(queue));
        assert_int_equal(lq_verify(queue_path, 0, NULL, NULL, NULL), LQ_OK);
    }
}

/* ---- death inside an append --------------------------------------------- */

/* Leaves the memory as it is at some instruction of an append, and dies with the lock. */
enum instant { BEFORE_PUBLISHING, BEFORE_PUBLISHING_LARGE, IN_PUBLISHING_LARGE, IN_COPYING, IN_BEGINNING_A_SPAN };

struct death {
    enum instant instant;
    uint64_t count; /* messages that are in the queue afterwards */
    struct load load;
};

static void wreck(struct lqi_log *log, enum instant instant, uint64_t written, uint64_t appended)
{
    struct lqi_log_state *state = log->state;
    const struct lqi_tail *tail = &state->tails[atomic_load(&state->turn) & 1];

    switch (instant) {
    case BEFORE_PUBLISHING_LARGE:
        atomic_store(&state->ring.ring_from, 0);
        atomic_store(&state->ring.reserved, appended);
        /* fall through */
    case IN_PUBLISHING_LARGE: /* ring_from is stored already, the rest is not */
        atomic_store(&state->written, written);
        /* fall through */
    case BEFORE_PUBLISHING:
        atomic_store(&state->ring.appended, appended);
        break;
    case IN_COPYING: {
        uint8_t *to = lqi_ring_reserve(&log->ring, tail->end, 5000);
        for (int i = 0; i < 3000; i++) to[i] = (uint8_t)(i * 7);
        break;
    }
    case IN_BEGINNING_A_SPAN: {
        struct lqi_span *span = &state->spans[(tail->span + 1) & 1], *old = &state->spans[tail->span & 1];
        old->end = (struct lqi_segment_end){.end = tail->end, .next_id = tail->next_id};
        span->first_id = tail->next_id;
        atomic_store(&span->position, tail->end);
        atomic_store(&span->salt, 4711);
        span->sealed = 0;
        break;
    }
    }
}

static int die_in_append(void *context)
{
    struct death *death = context;
    lq_queue *queue = open_with(&death->load.options);
    struct lqi_log *log = &queue->log;
    bool is_large = death->instant == BEFORE_PUBLISHING_LARGE || death->instant == IN_PUBLISHING_LARGE;
    static uint8_t bytes[20000];

    put_load(queue, &death->load);
    uint64_t written, appended = atomic_load(&log->state->ring.appended), id = death->load.count + 1;
    /* Either comes only when all before it is in the files. */
    if (is_large || death->instant == IN_BEGINNING_A_SPAN) OK(lqi_write_out(log));
    written = atomic_load(&log->state->written);
    if (death->instant != IN_COPYING && death->instant != IN_BEGINNING_A_SPAN) {
        size_t size = is_large ? sizeof bytes : 50;
        api_fill(bytes, size, id);
        OK(lq_put(queue, bytes, size, NULL));
        death->count = id;
    } else {
        death->count = id - 1;
    }
    OK(lqi_lock(&log->state->append, "append lock"));
    if (is_large) OK(lqi_lock(&log->state->write, "write lock"));
    wreck(log, death->instant, written, appended);
    _exit(0);
}

static size_t size_in_death(uint64_t id, const struct death *death)
{
    bool is_large = death->instant == BEFORE_PUBLISHING_LARGE || death->instant == IN_PUBLISHING_LARGE;
    return id <= death->load.count ? small(id) : is_large && id == death->load.count + 1 ? 20000 : 50;
}

static void check_after_death(lq_queue *queue, struct death *death, uint64_t more)
{
    static uint8_t bytes[50];
    lq_reader *reader;
    lq_message message;

    for (uint64_t id = death->count + 1; id <= death->count + more; id++) {
        uint64_t got = 0;
        api_fill(bytes, sizeof bytes, id);
        OK(lq_put(queue, bytes, sizeof bytes, &got));
        EQUAL(got, id);
    }
    OK(lq_sync(queue));
    OK(lq_reader_open(queue, &reader));
    for (uint64_t id = 1; id <= death->count + more; id++) {
        OK(lq_reader_next(reader, &message));
        EQUAL(message.id, id);
        HOLDS(api_is_filled(&message, size_in_death(id, death), id));
    }
    IS(LQ_EMPTY, lq_reader_next(reader, &message));
    lq_reader_close(reader);
}

static void with_each_instant(void **state, bool survivor)
{
    static struct death *death; /* the child tells the count */
    death = mmap(NULL, sizeof *death, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(death != MAP_FAILED);

    for (int instant = BEFORE_PUBLISHING; instant <= IN_BEGINNING_A_SPAN; instant++) {
        char name[20];
        lq_queue *queue = NULL;
        snprintf(name, sizeof name, "q%d", instant);
        snprintf(queue_path, sizeof queue_path, "%s", api_path(*state, name));
        *death = (struct death){.instant = (enum instant)instant,
                                .load = {.options = options_of(LQ_SYNC_NEVER, 0), .first = 1, .count = 30, .size_of = small, .batch = 1}};
        if (survivor) queue = open_with(&death->load.options);
        assert_int_equal(child_run(die_in_append, death), 0);
        if (!survivor) queue = open_with(&death->load.options);
        check_after_death(queue, death, 1000);
        OK(lq_close(queue));
        queue = open_with(&death->load.options);
        death->count += 1000;
        check_after_death(queue, death, 10);
        OK(lq_close(queue));
        assert_int_equal(lq_verify(queue_path, 0, NULL, NULL, NULL), LQ_OK);
    }
    munmap(death, sizeof *death);
}

static void whoever_dies_inside_an_append_others_go_on_behind_what_was_committed(void **state)
{
    with_each_instant(state, true);
}

static void when_the_last_dies_inside_an_append_what_was_committed_is_there(void **state)
{
    with_each_instant(state, false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_DIRECTORY(small_messages_that_are_only_in_the_ring_survive_the_death_of_all),
        IN_DIRECTORY(batches_that_are_only_in_the_ring_survive_the_death_of_all),
        IN_DIRECTORY(messages_across_a_roll_survive_the_death_of_all),
        IN_DIRECTORY(large_messages_survive_the_death_of_all),
        IN_DIRECTORY(messages_larger_than_a_segment_survive_the_death_of_all),
        IN_DIRECTORY(compressed_messages_survive_the_death_of_all),
        IN_DIRECTORY(what_the_dead_were_in_the_middle_of_writing_is_no_loss),
        IN_DIRECTORY(what_is_in_the_ring_survives_damage_to_the_file_before_it),
        IN_DIRECTORY(damage_to_what_was_written_and_not_synced_costs_one_record),
        IN_DIRECTORY(whoever_dies_inside_an_append_others_go_on_behind_what_was_committed),
        IN_DIRECTORY(when_the_last_dies_inside_an_append_what_was_committed_is_there),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
