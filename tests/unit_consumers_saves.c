/* A consumer's live state on its way to the offset file: what is written and what is not, and when it counts as durable. To the
 * call and to the number: a write too many, or a flag that stays, would hardly show. */
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

#include "support/count_maps.h"
#include "support/noted_consumer.h"

static int save(void)
{
    return lqi_consumer_save(&queue->consumers, slot, consumer->member.region, &consumer->position);
}

static int save_durably(void)
{
    return lqi_consumer_save_durably(&queue->consumers, slot, consumer->member.region, &consumer->position);
}

/* ---- saving ------------------------------------------------------------------------------ */

static void what_changed_is_written_and_then_nothing_counts_as_changed(void **state)
{
    struct kept kept;
    begin(state);
    take(500);
    OK(lq_ack(consumer, &taken[2]));
    OK(lq_ack(consumer, &taken[4]));
    OK(lq_release(consumer, &taken[499])); /* as if it had never been tried */
    EQUAL(slot->dirty_low, 1);
    EQUAL(slot->dirty_high, 500);
    HOLDS(atomic_load(&slot->unsaved) > 0);
    uint64_t sequence = slot->sequence;
    int64_t before = lqi_io_posix.wall_us(&lqi_io_posix);
    OK(save());
    was_called("b5e"); /* ids 1 to 500 are in the blocks 0 to 4 */
    EQUAL(slot->sequence, sequence + 1);
    EQUAL(slot->dirty_low, UINT64_MAX);
    EQUAL(slot->dirty_high, 0);
    EQUAL(atomic_load(&slot->unsaved), 0);
    EQUAL(atomic_load(&slot->unsynced), 1);
    HOLDS(slot->saved_us >= before && slot->saved_us <= lqi_io_posix.wall_us(&lqi_io_posix));

    struct lqi_position_entry entry = entry_of("c", &kept);
    EQUAL(entry.sequence, sequence + 1);
    EQUAL(entry.floor, 0);
    EQUAL(entry.delivered, 500);
    EQUAL(entry.incarnation, slot->incarnation);
    EQUAL(entry.durable, atomic_load(&queue->log.state->synced));
    EQUAL(entry.durable_id, MESSAGES);
    EQUAL(entry.time_us, slot->saved_us);
    EQUAL(kept.settled, 2);
    EQUAL(kept.tried, 499);
    end();
}

static void only_blocks_of_what_changed_are_written(void **state)
{
    begin(state);
    take(500);
    OK(save());
    was_called("b5e");
    OK(lq_ack(consumer, &taken[3 * WORDS + 4])); /* id 3 * WORDS + 5 */
    OK(save());
    was_called("b1e");
    OK(lq_ack(consumer, &taken[2 * WORDS - 2])); /* the last of one block, and the first of the next but one */
    OK(lq_ack(consumer, &taken[3 * WORDS - 1]));
    OK(save());
    was_called("b3e");
    OK(lq_ack_batch(consumer, taken, 200)); /* all of them below the floor: no word of theirs means anything */
    EQUAL(lqi_floor(slot), 200);
    EQUAL(slot->dirty_low, 1);
    OK(save());
    was_called("e");
    end();
}

static void another_process_may_have_saved_meanwhile(void **state)
{
    struct kept kept;
    begin(state);
    take(10);
    OK(save());
    slot->sequence += 7;
    uint64_t sequence = slot->sequence;
    OK(lq_ack(consumer, &taken[0]));
    OK(save());
    EQUAL(slot->sequence, sequence + 1);
    EQUAL(entry_of("c", &kept).sequence, sequence + 1);
    end();
}

static void what_could_not_be_written_is_still_to_be_saved(void **state)
{
    begin(state);
    take(10);
    uint64_t sequence = slot->sequence, unsaved = atomic_load(&slot->unsaved);
    write_error = EIO;
    IS(LQ_EIO, save());
    IS(LQ_EIO, save_durably());
    IS(LQ_EIO, lqi_consumers_sync(&queue->consumers));
    EQUAL(slot->sequence, sequence);
    EQUAL(slot->dirty_low, 1);
    EQUAL(slot->dirty_high, 10);
    EQUAL(atomic_load(&slot->unsaved), unsaved);
    write_error = 0;
    calls[0] = 0;
    OK(save());
    was_called("b1e");
    end();
}

/* Whatever stands in memory: without slots there are no words. */
static void without_its_region_no_words_of_a_consumer_are_written(void **state)
{
    begin(state);
    take(10);
    OK(lqi_consumer_save(&queue->consumers, slot, NULL, &consumer->position));
    was_called("e");
    end();
}

/* ---- durably ------------------------------------------------------------------------------ */

static void what_is_saved_already_is_only_synced_and_begins_an_epoch(void **state)
{
    begin(state);
    take(10);
    OK(save_durably());
    was_called("b1es");
    EQUAL(atomic_load(&slot->unsynced), 0);
    EQUAL(slot->epoch, slot->sequence);
    EQUAL(atomic_load(&slot->in_doubt), 0);
    uint64_t sequence = slot->sequence;
    OK(save_durably());
    was_called("s");
    EQUAL(slot->sequence, sequence);
    OK(lq_ack(consumer, &taken[0]));
    OK(save());
    HOLDS(slot->epoch < slot->sequence);
    calls[0] = 0;
    OK(save_durably());
    was_called("s");
    EQUAL(slot->epoch, slot->sequence);
    end();
}

/* Whoever began it has died, or could not tell: everything is written once more before it. */
static void a_sync_in_doubt_is_preceded_by_writing_everything_again(void **state)
{
    begin(state);
    take(10);
    OK(save_durably());
    calls[0] = 0;
    atomic_store(&slot->in_doubt, 1);
    OK(save_durably());
    HOLDS(strchr(calls, 'b') && strchr(calls, 'e') && calls[strlen(calls) - 1] == 's');
    EQUAL(atomic_load(&slot->in_doubt), 0);
    calls[0] = 0;
    OK(save_durably());
    was_called("s");

    atomic_store(&slot->in_doubt, 1); /* and without that, there is none */
    write_error = EIO;
    IS(LQ_EIO, save_durably());
    HOLDS(!strchr(calls, 's'));
    EQUAL(atomic_load(&slot->in_doubt), 1);
    write_error = 0;
    end();
}

static void a_failed_sync_poisons_and_stays_in_doubt(void **state)
{
    begin(state);
    take(10);
    uint64_t epoch = slot->epoch;
    sync_error = EIO;
    IS(LQ_EPOISONED, save_durably());
    TEXT_HAS("consumers/c.pos", "Input/output error", "poisoned now");
    HOLDS(lqi_poisoned(&queue->log));
    EQUAL(atomic_load(&slot->in_doubt), 1);
    EQUAL(atomic_load(&slot->unsynced), 1);
    EQUAL(slot->epoch, epoch);
    sync_error = 0;
    calls[0] = 0;
    IS(LQ_EPOISONED, save_durably()); /* and no more syncs are made */
    was_called("");
    atomic_store(&slot->in_doubt, 0);
    machine.write = lqi_io_posix.write;
    machine.sync = lqi_io_posix.sync;
    (void)lq_consumer_close(consumer);
    (void)lq_close(queue);
}

/* ---- all of them ---------------------------------------------------------------------------- */

static void who_has_nothing_to_sync_is_left_alone(void **state)
{
    begin(state);
    take(10);
    unsigned open_files = api_open_files();
    machine.map = count_map;
    machine.unmap = count_unmap;
    OK(lqi_consumers_sync(&queue->consumers));
    machine.map = lqi_io_posix.map;
    machine.unmap = lqi_io_posix.unmap;
    EQUAL(maps, 0);
    EQUAL(api_open_files(), open_files);
    was_called("b1es");
    OK(lqi_consumers_sync(&queue->consumers));
    was_called("");
    OK(lq_ack(consumer, &taken[1]));
    OK(save());
    was_called("b1e");
    OK(lqi_consumers_sync(&queue->consumers)); /* written, not synced */
    was_called("s");
    EQUAL(atomic_load(&slot->unsynced), 0);
    end();
}

static void an_error_of_one_consumer_is_told_and_keeps_no_other_from_its_sync(void **state)
{
    char path[4300];
    size_t got;
    lq_message message;
    begin(state);
    lq_consumer *second = api_consumer(queue, "second", &(lq_consumer_options){.window = WINDOW});
    lq_consumer *third = api_consumer(queue, "third", &(lq_consumer_options){.window = WINDOW});
    take(10);
    OK(lq_get_batch(second, &message, 1, &got, 0));
    OK(lq_get_batch(third, &message, 1, &got, 0));
    snprintf(path, sizeof path, "%s/consumers/second.pos", queue_path);
    HOLDS(rename(path, api_path(queue_path, "aside")) == 0);
    calls[0] = 0;
    IS(LQ_ENOTFOUND, lqi_consumers_sync(&queue->consumers));
    was_called("b1esb1es");
    EQUAL(atomic_load(&slot->unsynced), 0);
    EQUAL(atomic_load(&third->slot->unsaved), 0);
    HOLDS(atomic_load(&second->slot->unsaved) > 0);
    HOLDS(rename(api_path(queue_path, "aside"), path) == 0);
    OK(lqi_consumers_sync(&queue->consumers));
    OK(lq_consumer_close(second));
    OK(lq_consumer_close(third));
    end();
}

static pthread_barrier_t barrier;

static void *hold_the_lock(void *context)
{
    OK(lqi_consumer_lock(&queue->map, slot, NULL));
    pthread_barrier_wait(&barrier);
    pthread_barrier_wait(&barrier);
    lqi_consumer_unlock(slot);
    return context;
}

static void who_does_not_get_the_lock_of_a_consumer_syncs_the_others_and_says_so(void **state)
{
    pthread_t thread;
    lq_message message;
    size_t got;
    int patience = lqi_lock_patience_ms;
    begin(state);
    lq_consumer *second = api_consumer(queue, "second", &(lq_consumer_options){.window = WINDOW});
    take(10);
    OK(lq_get_batch(second, &message, 1, &got, 0));
    calls[0] = 0;
    pthread_barrier_init(&barrier, NULL, 2);
    EQUAL(pthread_create(&thread, NULL, hold_the_lock, NULL), 0);
    pthread_barrier_wait(&barrier);
    lqi_lock_patience_ms = 1;
    IS(LQ_EBUSY, lqi_consumers_sync(&queue->consumers));
    lqi_lock_patience_ms = patience;
    was_called("b1es");
    HOLDS(atomic_load(&slot->unsaved) > 0);
    EQUAL(atomic_load(&second->slot->unsynced), 0);
    pthread_barrier_wait(&barrier);
    pthread_join(thread, NULL);
    pthread_barrier_destroy(&barrier);
    OK(lq_consumer_close(second));
    end();
}

/* Somebody has died deleting it: with its file, or before that, when it is as it was. */
static void a_consumer_whose_file_is_deleted_has_nothing_to_sync(void **state)
{
    char path[4300], aside[4300];
    begin(state);
    take(10);
    atomic_store(&slot->going, 1);
    unsigned open_files = api_open_files();
    OK(lqi_consumers_sync(&queue->consumers));
    was_called("b1es");
    OK(lq_ack(consumer, &taken[0]));
    snprintf(path, sizeof path, "%s/consumers/c.pos", queue_path);
    snprintf(aside, sizeof aside, "%s/aside", queue_path);
    HOLDS(rename(path, aside) == 0);
    OK(lqi_consumers_sync(&queue->consumers));
    was_called("");
    EQUAL(api_open_files(), open_files);
    HOLDS(rename(aside, path) == 0);
    atomic_store(&slot->going, 0);
    end();
}

/* ---- looking ----------------------------------------------------------------- */

static bool swapped;

/* Who looks has just found that it is there. */
static int open_and_swap(const struct lqi_io *posix, int dir, const char *name, int flags, uint32_t mode, int *fd_out)
{
    int error = lqi_io_posix.open(posix, dir, name, flags, mode, fd_out);
    if (swapped) return error;
    swapped = true;
    OK(lq_consumer_delete(queue, "c"));
    consumer = api_consumer(queue, "next", NULL);
    return error;
}

static void the_numbers_of_a_consumer_are_never_those_of_the_one_that_takes_its_place(void **state)
{
    lq_consumer_stats stats = {.size = sizeof stats};
    begin(state);
    take(10);
    OK(lq_consumer_close(consumer));
    atomic_store(&slot->going, 1); /* whoever is about to delete it */
    swapped = false;
    machine.open = open_and_swap;
    IS(LQ_ENOTFOUND, lq_get_consumer_stats(queue, "c", &stats));
    machine.open = lqi_io_posix.open;
    HOLDS(swapped && consumer->slot == slot);
    EQUAL(api_consumer_stats(queue, "next").ready, MESSAGES);
    end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_DIRECTORY(what_changed_is_written_and_then_nothing_counts_as_changed),
        IN_DIRECTORY(only_blocks_of_what_changed_are_written),
        IN_DIRECTORY(another_process_may_have_saved_meanwhile),
        IN_DIRECTORY(what_could_not_be_written_is_still_to_be_saved),
        IN_DIRECTORY(without_its_region_no_words_of_a_consumer_are_written),
        IN_DIRECTORY(what_is_saved_already_is_only_synced_and_begins_an_epoch),
        IN_DIRECTORY(a_sync_in_doubt_is_preceded_by_writing_everything_again),
        IN_DIRECTORY(a_failed_sync_poisons_and_stays_in_doubt),
        IN_DIRECTORY(who_has_nothing_to_sync_is_left_alone),
        IN_DIRECTORY(an_error_of_one_consumer_is_told_and_keeps_no_other_from_its_sync),
        IN_DIRECTORY(who_does_not_get_the_lock_of_a_consumer_syncs_the_others_and_says_so),
        IN_DIRECTORY(a_consumer_whose_file_is_deleted_has_nothing_to_sync),
        IN_DIRECTORY(the_numbers_of_a_consumer_are_never_those_of_the_one_that_takes_its_place),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
