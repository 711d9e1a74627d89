/* A consumer that comes to life: what it brings into its offset file and in which order, and in whose place it comes. (Where it
 * stands is in unit_consumers_stand.c.) */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "support/child.h"
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

/* Its words first, then the entry that makes them count; each durable before the next. Where its messages are, nobody knows yet. */
static void a_consumer_comes_to_life_in_an_incarnation_of_its_own(void **state)
{
    struct kept kept;
    begin_anew(state);
    struct lqi_position_entry before = entry_of("c", &kept);
    consumer = api_consumer(queue, "c", NULL);
    was_called("b1ses");
    struct lqi_position_entry entry = entry_of("c", &kept);
    EQUAL(entry.sequence, before.sequence + 1);
    EQUAL(entry.incarnation, slot->incarnation);
    HOLDS(entry.incarnation != before.incarnation);
    EQUAL(entry.floor, 0);
    EQUAL(entry.delivered, 10);
    EQUAL(kept.settled, 2);
    EQUAL(kept.tried, 10);
    const struct lqi_region *region = consumer->member.region;
    for (size_t i = 0; i < WINDOW; i++) HOLDS((region->slots[i].position == LQI_POSITION_UNKNOWN) == (i != 3 && i != 5));
    OK(lqi_consumers_sync(&queue->consumers));
    was_called(""); /* nothing has changed */
    OK(lq_consumer_close(consumer));
    has_lost_no_ack();
    end();
}

static int read_no_words(const struct lqi_io *io, int fd, uint64_t offset, void *data, size_t size, size_t *got_out)
{
    return offset >= LQI_POSITION_BLOCKS_AT ? EIO : lqi_io_posix.read(io, fd, offset, data, size, got_out);
}

static int no_random(const struct lqi_io *io, void *data, size_t size)
{
    (void)io, (void)data, (void)size;
    return EIO;
}

static void what_cannot_be_read_of_a_consumer_just_now_is_not_given_up(void **state)
{
    begin_anew(state);
    machine.read = read_no_words;
    IS(LQ_EIO, lq_consumer_open(queue, "c", NULL, &consumer));
    TEXT_HAS("consumers/c.pos", "Input/output error");
    machine.read = lqi_io_posix.read;
    machine.random = no_random;
    IS(LQ_EIO, lq_consumer_open(queue, "c", NULL, &consumer));
    TEXT_HAS("get random bytes for consumers/c.pos", "Input/output error");
    HOLDS(!strstr(lq_error_text(), "at byte")); /* of the file it is none */
    machine.random = lqi_io_posix.random;
    was_called("");
    has_lost_no_ack();
    end();
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

static uint64_t block_at; /* where the last block has gone */

static int entry_and_death(const struct lqi_io *io, int fd, uint64_t offset, const void *data, size_t size)
{
    int error = note_write(io, fd, offset, data, size);
    if (offset >= LQI_POSITION_BLOCKS_AT) block_at = offset;
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

/* The newest entry counts, but a power loss may take it back: the words of the one before it must not be written over. And when it
 * is synced, neither must its own. */
static void what_is_not_synced_is_synced_before_its_past_is_written_over(void **state)
{
    struct kept kept;
    begin_anew(state);
    machine.write = entry_and_death; /* written, and nobody lives to note it */
    IS(LQ_EIO, lq_consumer_open(queue, "c", NULL, &consumer));
    was_called("b1se");
    uint64_t words_at = block_at, sequence = entry_of("c", &kept).sequence;
    IS(LQ_EIO, lq_consumer_open(queue, "c", NULL, &consumer));
    was_called("sb1se");
    HOLDS(block_at != words_at);
    EQUAL(entry_of("c", &kept).sequence, sequence + 1);
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
    machine.write = note_write;
    calls[0] = 0;
    sync_error = EIO;
    IS(LQ_EPOISONED, lq_consumer_open(queue, "c", NULL, &consumer));
    was_called("s");
    sync_error = 0;
    IS(LQ_EPOISONED, lq_close(queue));
    OK(lqi_open_io(&machine, queue_path, NULL, &queue));
    has_lost_no_ack();
    end();
}

/* As a power loss may leave one that was being written: it says nothing, and would be told as damage for as long as it is there. */
static void an_old_entry_that_is_damaged_is_wiped_out_as_a_consumer_comes_to_life(void **state)
{
    char path[4300];
    struct lqi_position position;
    struct kept kept;
    begin_anew(state);
    uint64_t old = (entry_of("c", &kept).sequence - 1) % LQI_POSITION_ENTRIES;
    snprintf(path, sizeof path, "%s/consumers/c.pos", queue_path);
    api_file_flip(path, LQI_POSITION_ENTRIES_AT + old * LQI_POSITION_ENTRY, 1);
    OK(lqi_position_open(&position, &lqi_io_posix, queue->consumers_dir, "c", queue->meta.uuid, false));
    EQUAL(position.damaged_entries, (uint64_t)1 << old);
    lqi_position_close(&position);
    consumer = api_consumer(queue, "c", NULL);
    OK(lqi_position_open(&position, &lqi_io_posix, queue->consumers_dir, "c", queue->meta.uuid, false));
    EQUAL(position.damaged_entries, 0);
    lqi_position_close(&position);
    OK(lq_consumer_close(consumer));
    has_lost_no_ack();
    end();
}

static unsigned reads; /* of the consumer's file that work, and then one that does not */

static int fail_a_read(const struct lqi_io *io, int fd, uint64_t offset, void *data, size_t size, size_t *got_out)
{
    (void)io;
    return reads-- == 0 ? EIO : lqi_io_posix.read(&lqi_io_posix, fd, offset, data, size, got_out);
}

/* What was settled is not known then, and nothing may be written in its place. */
static void who_cannot_read_what_was_settled_writes_nothing(void **state)
{
    begin_anew(state);
    unsigned failed = 0;
    machine.read = fail_a_read;
    for (int err = LQ_EIO; err; failed++) {
        reads = failed;
        calls[0] = 0;
        err = lq_consumer_open(queue, "c", NULL, &consumer);
        if (err) IS(LQ_EIO, err);
        HOLDS(!calls[0] || strcmp(calls, "b1ses") == 0); /* it has come to life */
    }
    HOLDS(failed > 3);
    machine.read = lqi_io_posix.read;
    OK(lq_consumer_close(consumer));
    calls[0] = 0;
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
    IS(LQ_EBUSY, lq_consumer_open(queue, "next", &(lq_consumer_options){.size = sizeof(lq_consumer_options), .window = 64}, &next));
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
    TEXT_HAS("sync the directory of consumers", "Input/output error");
    HOLDS(!strstr(lq_error_text(), "byte"));
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_DIRECTORY(a_consumer_comes_to_life_in_an_incarnation_of_its_own),
        IN_DIRECTORY(what_cannot_be_read_of_a_consumer_just_now_is_not_given_up),
        IN_DIRECTORY(who_fails_to_bring_a_consumer_to_life_leaves_its_words_to_who_saves_next),
        IN_DIRECTORY(who_fails_after_another_has_failed_leaves_the_words_too),
        IN_DIRECTORY(what_is_not_synced_is_synced_before_its_past_is_written_over),
        IN_DIRECTORY(what_cannot_be_synced_is_not_written_over),
        IN_DIRECTORY(an_old_entry_that_is_damaged_is_wiped_out_as_a_consumer_comes_to_life),
        IN_DIRECTORY(who_cannot_read_what_was_settled_writes_nothing),
        IN_DIRECTORY(a_consumer_whose_maker_has_failed_stands_where_its_file_says),
        IN_DIRECTORY(a_consumer_has_nothing_of_the_one_whose_place_it_takes),
        IN_DIRECTORY(nobody_takes_the_place_of_a_consumer_whose_lock_somebody_has),
        IN_DIRECTORY(nobody_is_given_a_place_that_somebody_has_locked),
        IN_DIRECTORY(a_deletion_that_is_not_durable_gives_nothing_up_until_it_is),
        IN_DIRECTORY(who_cannot_see_whether_there_are_members_says_why),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
