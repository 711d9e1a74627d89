/* A consumer that comes to life: what it brings into its offset file and in which order, where a new one begins, and what all
 * offset files together witness of the log. */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "support/child.h"
#include "support/each_fault.h"
#include "support/hold.h"
#include "support/noted_consumer.h"

/* ---- coming to life ------------------------------------------------------------------------- */

/* A queue that is opened anew, of whose consumer 3 and 5 of ten messages are settled. */
static void begin_anew(void **state)
{
    begin(state);
    take(10);
    OK(lq_ack(consumer, &taken[2]));
    OK(lq_ack(consumer, &taken[4]));
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
    OK(lqi_open_io(&machine, queue_path, NULL, &queue));
    slot = lqi_consumers_find(queue->map.head, "c");
    HOLDS(slot != NULL);
    calls[0] = 0;
}

/* What was settled before is still, and what was tried has been tried. */
static void has_lost_no_ack(void)
{
    static const uint64_t ids[] = {1, 2, 4, 6, 7, 8, 9, 10, 11};
    size_t got;
    consumer = api_consumer(queue, "c", NULL);
    OK(lq_get_batch(consumer, taken, 9, &got, 0));
    EQUAL(got, 9);
    for (size_t i = 0; i < 9; i++) EQUAL(taken[i].id, ids[i]);
    for (size_t i = 0; i < 8; i++) EQUAL(taken[i].attempts, 2);
}

/* An entry of an incarnation whose words are not there would make all of them void. */
static void who_fails_to_bring_a_consumer_to_life_leaves_its_words_to_who_saves_next(void **state)
{
    begin_anew(state);
    write_error = EIO;
    IS(LQ_EIO, lq_consumer_open(queue, "c", NULL, &consumer));
    HOLDS(strcmp(calls, "b1") == 0); /* the words could not be written */
    write_error = 0;
    OK(lq_sync(queue));
    has_lost_no_ack();
    end();
}

static int entry_and_death(const struct lqi_io *io, int fd, uint64_t offset, const void *data, size_t size)
{
    int error = note_write(io, fd, offset, data, size);
    return offset < LQI_POSITION_BLOCKS_AT ? EIO : error;
}

static int no_entry(const struct lqi_io *io, int fd, uint64_t offset, const void *data, size_t size)
{
    if (offset >= LQI_POSITION_BLOCKS_AT) return note_write(io, fd, offset, data, size);
    note("e");
    return EIO;
}

static int blocks_and_death(const struct lqi_io *io, int fd, uint64_t offset, const void *data, size_t size)
{
    int error = note_write(io, fd, offset, data, size);
    return offset >= LQI_POSITION_BLOCKS_AT ? EIO : error;
}

/* The first has its words written and not its entry; the second writes over those words, and gets no further. */
static void who_fails_after_another_has_failed_leaves_the_words_too(void **state)
{
    begin_anew(state);
    machine.write = no_entry;
    IS(LQ_EIO, lq_consumer_open(queue, "c", NULL, &consumer));
    was_called("b1se");
    machine.write = blocks_and_death;
    IS(LQ_EIO, lq_consumer_open(queue, "c", NULL, &consumer));
    was_called("b1");
    machine.write = note_write;
    OK(lq_sync(queue));
    has_lost_no_ack();
    end();
}

/* The newest entry counts, but a power loss may take it back: the words of the one before it must not be written over. */
static void what_is_not_synced_is_synced_before_its_past_is_written_over(void **state)
{
    begin_anew(state);
    machine.write = entry_and_death; /* written, and nobody lives to note it */
    IS(LQ_EIO, lq_consumer_open(queue, "c", NULL, &consumer));
    was_called("b1se");
    machine.write = note_write;
    consumer = api_consumer(queue, "c", NULL);
    was_called("sb1ses");
    OK(lq_consumer_close(consumer));
    has_lost_no_ack();
    end();
}

/* Nor then, if it cannot be synced. */
static void what_cannot_be_synced_is_not_written_over(void **state)
{
    begin_anew(state);
    machine.write = entry_and_death;
    IS(LQ_EIO, lq_consumer_open(queue, "c", NULL, &consumer));
    was_called("b1se");
    machine.write = note_write;
    sync_error = EIO;
    IS(LQ_EPOISONED, lq_consumer_open(queue, "c", NULL, &consumer));
    was_called("s");
    sync_error = 0;
    IS(LQ_EPOISONED, lq_close(queue));
    OK(lqi_open_io(&machine, queue_path, NULL, &queue));
    has_lost_no_ack();
    end();
}

static int fail_dir_sync(const struct lqi_io *io, int dir)
{
    (void)io;
    (void)dir;
    return EIO;
}

static int fail_unlink(const struct lqi_io *io, int dir, const char *name)
{
    (void)io;
    (void)dir;
    (void)name;
    return EIO;
}

/* It is there, though its maker could neither say so nor take it away again: what came since is for it. */
static void a_consumer_whose_maker_has_failed_stands_where_its_file_says(void **state)
{
    lq_consumer *late;
    lq_message message;
    const lq_consumer_options options = {.size = sizeof options, .start = LQ_START_END};
    begin(state);
    machine.dir_sync = fail_dir_sync;
    machine.unlink = fail_unlink;
    IS(LQ_EIO, lq_consumer_open(queue, "late", &options, &late));
    machine.dir_sync = lqi_io_posix.dir_sync;
    machine.unlink = lqi_io_posix.unlink;
    api_put_range(queue, MESSAGES + 1, MESSAGES + 5, BODY);
    OK(lq_sync(queue));
    OK(lq_consumer_open(queue, "late", &options, &late));
    for (uint64_t id = MESSAGES + 1; id <= MESSAGES + 5; id++) {
        OK(lq_poll(late, &message));
        EQUAL(message.id, id);
    }
    OK(lq_consumer_close(late));
    end();
}

/* ---- witnesses ------------------------------------------------------------------------------- */

static const uint8_t uuid[16] = "0123456789abcde";

static void make_file(int dir, const char *name, uint64_t durable, uint64_t durable_id)
{
    const struct lqi_position_entry first = {.durable = durable, .durable_id = durable_id, .time_us = 1};
    OK(lqi_position_create(&lqi_io_posix, dir, name, uuid, 64, &first, 0600));
}

static int open_to_read(const struct lqi_io *io, int dir, const char *name, int flags, uint32_t mode, int *fd_out)
{
    EQUAL(flags, LQI_OPEN_READ);
    return lqi_io_posix.open(io, dir, name, flags, mode, fd_out);
}

static void ask_on_a_sick_machine(struct io_fault *fault, void *context)
{
    struct lqi_position_entry promise;
    int err = lqi_consumers_promise(&fault->io, *(int *)context, uuid, &promise);
    IS(fault->hits ? LQ_EIO : LQ_OK, err);
    if (!err) EQUAL(promise.durable, 5000);
    if (!err) EQUAL(promise.durable_id, 70);
}

/* Each may know more of one thing; what is damaged knows nothing, and what cannot be read just now might know the most. */
static void the_most_that_any_offset_file_witnesses_counts(void **state)
{
    struct lqi_position_entry promise = {.durable = 1, .durable_id = 1};
    struct lqi_io io = lqi_io_posix;
    char path[4300];
    int dir = -1;
    EQUAL(io.dir_open(&io, -1, *state, &dir), 0);
    io.open = open_to_read;
    OK(lqi_consumers_promise(&io, dir, uuid, &promise));
    EQUAL(promise.durable, 0);
    EQUAL(promise.durable_id, 0);
    make_file(dir, "a", 5000, 10);
    make_file(dir, "b", 3000, 70);
    make_file(dir, "c", 4000, 20);
    OK(lqi_consumers_promise(&io, dir, uuid, &promise));
    EQUAL(promise.durable, 5000);
    EQUAL(promise.durable_id, 70);

    make_file(dir, "aa", 9000, 90); /* damaged, and before others in the list */
    snprintf(path, sizeof path, "%s/aa.pos", (char *)*state);
    api_file_flip(path, 100, 1);
    api_file_flip(path, 612, 1);
    snprintf(path, sizeof path, "%s/d.pos", (char *)*state);
    HOLDS(mkdir(path, 0700) == 0);
    OK(lqi_consumers_promise(&io, dir, uuid, &promise));
    EQUAL(promise.durable, 5000);
    EQUAL(promise.durable_id, 70);
    HOLDS(each_fault(ask_on_a_sick_machine, &dir) > 2 * 5);
    io.close(&io, dir);
}

static void a_consumer_in_doubt_is_known_wherever_it_is(void **state)
{
    (void)state;
    struct lqi_shared *head = calloc(1, sizeof *head);
    HOLDS(!lqi_consumers_doubtful(head));
    for (size_t i = 0; i < LQI_CONSUMERS_MAX; i += LQI_CONSUMERS_MAX - 1) {
        atomic_store(&head->consumers[i].in_doubt, 1);
        HOLDS(!lqi_consumers_doubtful(head)); /* of nobody */
        atomic_store(&head->consumers[i].state, LQI_CONSUMER_USED);
        HOLDS(lqi_consumers_doubtful(head));
        atomic_store(&head->consumers[i].in_doubt, 0);
        HOLDS(!lqi_consumers_doubtful(head));
    }
    free(head);
}

/* ---- in whose place it comes --------------------------------------------------------------------- */

/* Nobody tidies up the place of a consumer that is deleted. */
static void a_consumer_has_nothing_of_the_one_whose_place_it_takes(void **state)
{
    lq_message message;
    begin(state);
    lq_consumer *made = api_consumer(queue, "one_before", &(lq_consumer_options){.window = WINDOW});
    struct lqi_consumer_slot *place = made->slot;
    OK(lq_poll(made, &message));
    OK(lq_consumer_close(made));
    OK(lq_consumer_delete(queue, "one_before"));
    EQUAL(atomic_load(&place->state), LQI_CONSUMER_FREE);
    atomic_store(&place->going, 1);
    atomic_store(&place->in_doubt, 1);
    atomic_store(&place->unsaved, 99);
    atomic_store(&place->unsynced, 1);
    atomic_store(&place->unacked, 5);
    atomic_store(&place->returned, 6);
    atomic_store(&place->dropped, 7);
    atomic_store(&place->next_position, 8);
    place->region_ready = 1;
    place->sequence = place->epoch = place->incarnation = 77;
    place->dirty_low = 1;
    place->dirty_high = 5;
    calls[0] = 0;

    made = api_consumer(queue, "one", &(lq_consumer_options){.window = 64});
    HOLDS(made->slot == place);
    HOLDS(strcmp(place->name, "one") == 0);
    lq_consumer_stats stats = api_consumer_stats(queue, "one");
    EQUAL(stats.floor, 0);
    EQUAL(stats.unacked, 0);
    EQUAL(stats.ready, MESSAGES);
    EQUAL(stats.dropped, 0);
    EQUAL(stats.window, 64);
    EQUAL(atomic_load(&place->going), 0);
    was_called("essses"); /* made, and come to life without a word */
    EQUAL(place->epoch, place->sequence);
    OK(lqi_consumers_sync(&queue->consumers));
    OK(lq_poll(made, &message));
    EQUAL(message.id, 1);
    OK(lq_consumer_close(made));
    end();
}

/* As somebody does who deletes it, and dies when its file is gone. */
static int delete_and_die(void *context)
{
    lq_queue *own;
    (void)context;
    OK(lq_open(queue_path, NULL, &own));
    struct lqi_consumer_slot *gone = lqi_consumers_find(own->map.head, "c");
    OK(lqi_consumer_lock(&own->map, gone, NULL));
    atomic_store(&gone->going, 1);
    OK(lqi_position_delete(own->io, own->consumers_dir, "c", NULL));
    return 0;
}

static _Atomic int mapping; /* 1: whoever maps next stays there, 2: somebody is there, 0: may go on */

static int stay_in_map(const struct lqi_io *io, int fd, uint64_t offset, size_t size, size_t mirrored, bool writable, void **memory_out)
{
    int armed = 1;
    (void)io;
    if (atomic_compare_exchange_strong(&mapping, &armed, 2))
        while (atomic_load(&mapping)) api_sleep_ms(1);
    return lqi_io_posix.map(&lqi_io_posix, fd, offset, size, mirrored, writable, memory_out);
}

static void *sync_all(void *context)
{
    (void)context;
    OK(lqi_consumers_sync(&queue->consumers));
    return NULL;
}

/* Whoever has inherited its lock brings its numbers into order, and may be slow at it: they are not the next one's. */
static void nobody_takes_the_place_of_a_consumer_whose_lock_somebody_has(void **state)
{
    pthread_t heir;
    begin(state);
    take(10);
    OK(lq_ack_batch(consumer, taken, 7));
    OK(lq_consumer_close(consumer));
    consumer = NULL;
    EQUAL(child_run(delete_and_die, NULL), 0);
    machine.map = stay_in_map;
    atomic_store(&mapping, 1);
    HOLDS(pthread_create(&heir, NULL, sync_all, NULL) == 0);
    while (atomic_load(&mapping) == 1) api_sleep_ms(1);

    lqi_lock_patience_ms = 50;
    IS(LQ_EBUSY, lq_consumer_open(queue, "next", NULL, &consumer));
    TEXT_HAS("consumer", "stopped");
    IS(LQ_EBUSY, lq_consumer_delete(queue, "c"));
    lqi_lock_patience_ms = LQI_LOCK_PATIENCE_MS;
    atomic_store(&mapping, 0);
    HOLDS(pthread_join(heir, NULL) == 0);
    machine.map = lqi_io_posix.map;

    IS(LQ_ENOTFOUND, lq_consumer_delete(queue, "c"));
    EQUAL(slot->region_ready, 0);
    consumer = api_consumer(queue, "next", NULL);
    HOLDS(consumer->slot == slot);
    take(MESSAGES);
    EQUAL(taken[0].id, 1);
    end();
}

/* Who syncs all consumers may have come for the one before, and looks whose it is only when he has the lock. */
static void nobody_is_given_a_place_that_somebody_has_locked(void **state)
{
    lq_consumer *next;
    begin(state);
    OK(lq_consumer_close(consumer));
    consumer = NULL;
    OK(lq_consumer_delete(queue, "c"));
    EQUAL(slot->region_ready, 0);
    hold(&slot->lock);
    lqi_lock_patience_ms = 50;
    IS(LQ_EBUSY, lq_consumer_open(queue, "next", NULL, &next));
    EQUAL(atomic_load(&slot->state), LQI_CONSUMER_FREE);
    EQUAL(api_stats(queue).consumers, 0);
    lqi_lock_patience_ms = LQI_LOCK_PATIENCE_MS;
    let_go();
    consumer = api_consumer(queue, "next", NULL);
    HOLDS(consumer->slot == slot);
    end();
}

/* Unlinked, and the directory cannot be synced: a power loss may bring it back, which still needs what it needed. */
static void a_deletion_that_is_not_durable_gives_nothing_up_until_it_is(void **state)
{
    begin(state);
    take(10);
    OK(lq_ack_batch(consumer, taken, 7));
    OK(lq_consumer_close(consumer));
    consumer = NULL;
    machine.dir_sync = fail_dir_sync;
    IS(LQ_EIO, lq_consumer_delete(queue, "c"));
    EQUAL(lqi_consumers_floor(&queue->log), 7);
    IS(LQ_EIO, lq_consumer_delete(queue, "c"));
    EQUAL(lqi_consumers_floor(&queue->log), 7);
    IS(LQ_ENOTFOUND, lq_get_consumer_stats(queue, "c", &(lq_consumer_stats){.size = sizeof(lq_consumer_stats)}));
    OK(lq_sync(queue));
    machine.dir_sync = lqi_io_posix.dir_sync;
    HOLDS(lqi_consumers_floor(&queue->log) == UINT64_MAX);
    IS(LQ_ENOTFOUND, lq_consumer_delete(queue, "c"));
    EQUAL(atomic_load(&slot->state), LQI_CONSUMER_FREE);
    end();
}

static int fail_map(const struct lqi_io *io, int fd, uint64_t offset, size_t size, size_t mirrored, bool writable, void **memory_out)
{
    (void)io, (void)fd, (void)offset, (void)size, (void)mirrored, (void)writable, (void)memory_out;
    return ENOMEM;
}

static void who_cannot_see_whether_there_are_members_says_why(void **state)
{
    begin(state);
    OK(lq_consumer_close(consumer));
    consumer = NULL;
    machine.map = fail_map;
    IS(LQ_ENOMEM, lq_consumer_delete(queue, "c"));
    machine.map = lqi_io_posix.map;
    EQUAL(api_stats(queue).consumers, 1);
    OK(lq_consumer_delete(queue, "c"));
    end();
}

static void a_consumer_that_has_had_everything_is_not_written_to_when_the_queue_opens(void **state)
{
    begin(state);
    take(MESSAGES);
    OK(lq_ack_batch(consumer, taken, MESSAGES));
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
    calls[0] = 0;
    OK(lqi_open_io(&machine, queue_path, NULL, &queue));
    HOLDS(!strchr(calls, 'e') && !strchr(calls, 'b'));
    calls[0] = 0;
    OK(lqi_consumers_sync(&queue->consumers)); /* nor is there anything to save */
    was_called("");
    consumer = api_consumer(queue, "c", NULL);
    end();
}

/* ---- where it stands --------------------------------------------------------------------------- */

static uint32_t settled_some(void *context, uint64_t id)
{
    (void)context;
    return id == 103 || id == 104 || id == 110 || id == 120 ? LQI_WORD_SETTLED | 1 : id % 3;
}

/* By its file: floor 100, delivered 130, of which four are settled out of order. The log may have lost its beginning to retention,
 * and its end to a power loss. */
static void a_consumer_stands_where_its_file_and_the_log_agree(void **state)
{
    static const struct {
        uint64_t first_id, last_id;
        struct lqi_standing standing;
    } cases[] = {
        {1, 1000, {.floor = 100, .delivered = 130, .returned = 26, .dropped = 0}},
        {101, 130, {.floor = 100, .delivered = 130, .returned = 26, .dropped = 0}},
        {102, 1000, {.floor = 101, .delivered = 130, .returned = 25, .dropped = 1}},
        {103, 1000, {.floor = 104, .delivered = 130, .returned = 24, .dropped = 2}}, /* up to what is settled there */
        {104, 1000, {.floor = 104, .delivered = 130, .returned = 24, .dropped = 2}},
        {105, 1000, {.floor = 104, .delivered = 130, .returned = 24, .dropped = 2}},
        {110, 1000, {.floor = 110, .delivered = 130, .returned = 19, .dropped = 7}},
        {111, 1000, {.floor = 110, .delivered = 130, .returned = 19, .dropped = 7}},
        {112, 1000, {.floor = 111, .delivered = 130, .returned = 18, .dropped = 8}},
        {200, 1000, {.floor = 199, .delivered = 199, .returned = 0, .dropped = 95}},
        {1, 129, {.floor = 100, .delivered = 129, .returned = 25, .dropped = 0}},
        {1, 120, {.floor = 100, .delivered = 120, .returned = 16, .dropped = 0}},
        {1, 119, {.floor = 100, .delivered = 119, .returned = 16, .dropped = 0}},
        {1, 102, {.floor = 100, .delivered = 102, .returned = 2, .dropped = 0}},
        {1, 100, {.floor = 100, .delivered = 100, .returned = 0, .dropped = 0}},
        {1, 50, {.floor = 50, .delivered = 50, .returned = 0, .dropped = 0}},
        {103, 103, {.floor = 103, .delivered = 103, .returned = 0, .dropped = 2}},
    };
    const struct lqi_position_entry first = {.floor = 100, .delivered = 100, .incarnation = 7, .time_us = 1};
    struct lqi_position_entry entry = first;
    uint64_t side[4] = {0};
    struct lqi_position_sides sides = {side, 1};
    struct lqi_position position;
    int dir = -1;
    EQUAL(lqi_io_posix.dir_open(&lqi_io_posix, -1, *state, &dir), 0);
    OK(lqi_position_create(&lqi_io_posix, dir, "c", uuid, 200, &first, 0600));
    OK(lqi_position_open(&position, &lqi_io_posix, dir, "c", uuid, true));
    entry.delivered = 130;
    OK(lqi_position_save(&position, &entry, 101, 130, &sides, settled_some, NULL));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct lqi_standing standing;
        OK(lqi_consumers_standing(&position, cases[i].first_id, cases[i].last_id, &standing));
        EQUAL(standing.floor, cases[i].standing.floor);
        EQUAL(standing.delivered, cases[i].standing.delivered);
        EQUAL(standing.returned, cases[i].standing.returned);
        EQUAL(standing.dropped, cases[i].standing.dropped);
    }
    lqi_position_close(&position);
    lqi_io_posix.close(&lqi_io_posix, dir);
}

/* ---- where it begins --------------------------------------------------------------------------- */

static void a_new_consumer_begins_where_it_is_told(void **state)
{
    begin(state);
    const struct {
        lq_consumer_options options;
        uint64_t floor;
    } cases[] = {
        {{.start = LQ_START_BEGIN}, 0}, {{.start = LQ_START_END}, MESSAGES}, {{.start = LQ_START_ID, .start_id = 1}, 0},
        {{.start = LQ_START_ID, .start_id = 0}, 0}, {{.start = LQ_START_ID, .start_id = 7}, 6}, {{.start = LQ_START_ID, .start_id = MESSAGES}, MESSAGES - 1},
        {{.start = LQ_START_ID, .start_id = MESSAGES + 1}, MESSAGES}, {{.start = LQ_START_ID, .start_id = UINT64_MAX}, MESSAGES},
        {{.start = LQ_START_TIME, .start_time_us = 1}, 0}, {{.start = LQ_START_TIME, .start_time_us = INT64_MAX}, MESSAGES},
    };
    int descriptor = next_descriptor();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char name[10];
        struct kept kept;
        snprintf(name, sizeof name, "n%zu", i);
        int64_t before = lqi_io_posix.wall_us(&lqi_io_posix);
        lq_consumer *made = api_consumer(queue, name, &cases[i].options);
        EQUAL(lqi_floor(made->slot), cases[i].floor);
        EQUAL(lqi_delivered(made->slot), cases[i].floor);
        if (cases[i].options.start == LQ_START_END) EQUAL(atomic_load(&made->slot->next_position), atomic_load(&queue->log.state->ring.appended));
        EQUAL(made->slot->window, 65536);
        struct lqi_position_entry entry = entry_of(name, &kept);
        EQUAL(entry.floor, cases[i].floor);
        EQUAL(entry.durable, atomic_load(&queue->log.state->synced));
        EQUAL(entry.durable_id, MESSAGES);
        HOLDS(entry.time_us >= before);
        OK(lq_consumer_close(made));
        OK(lq_consumer_delete(queue, name));
        EQUAL(next_descriptor(), descriptor);
        calls[0] = 0;
    }
    end();
}

static void nothing_begins_before_what_is_kept(void **state)
{
    begin(state);
    uint64_t first_id = atomic_exchange(&queue->log.state->first_id, 101); /* as if retention had deleted what is before */
    const lq_consumer_options cases[] = {{.start = LQ_START_BEGIN}, {.start = LQ_START_ID, .start_id = 7}, {.start = LQ_START_ID, .start_id = 101},
                                         {.start = LQ_START_TIME, .start_time_us = 1}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct kept kept;
        lq_consumer *made = api_consumer(queue, "n", &cases[i]);
        EQUAL(lqi_floor(made->slot), 100);
        EQUAL(lqi_delivered(made->slot), 100);
        EQUAL(entry_of("n", &kept).floor, 100);
        EQUAL(api_consumer_stats(queue, "n").dropped, 0);
        OK(lq_consumer_close(made));
        OK(lq_consumer_delete(queue, "n"));
        calls[0] = 0;
    }
    atomic_store(&queue->log.state->first_id, first_id);
    end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_DIRECTORY(who_fails_to_bring_a_consumer_to_life_leaves_its_words_to_who_saves_next),
        IN_DIRECTORY(who_fails_after_another_has_failed_leaves_the_words_too),
        IN_DIRECTORY(what_is_not_synced_is_synced_before_its_past_is_written_over),
        IN_DIRECTORY(what_cannot_be_synced_is_not_written_over),
        IN_DIRECTORY(a_consumer_whose_maker_has_failed_stands_where_its_file_says),
        IN_DIRECTORY(the_most_that_any_offset_file_witnesses_counts),
        IN_DIRECTORY(a_consumer_in_doubt_is_known_wherever_it_is),
        IN_DIRECTORY(a_consumer_has_nothing_of_the_one_whose_place_it_takes),
        IN_DIRECTORY(nobody_takes_the_place_of_a_consumer_whose_lock_somebody_has),
        IN_DIRECTORY(nobody_is_given_a_place_that_somebody_has_locked),
        IN_DIRECTORY(a_deletion_that_is_not_durable_gives_nothing_up_until_it_is),
        IN_DIRECTORY(who_cannot_see_whether_there_are_members_says_why),
        IN_DIRECTORY(a_consumer_that_has_had_everything_is_not_written_to_when_the_queue_opens),
        IN_DIRECTORY(a_consumer_stands_where_its_file_and_the_log_agree),
        IN_DIRECTORY(a_new_consumer_begins_where_it_is_told),
        IN_DIRECTORY(nothing_begins_before_what_is_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
