/* A consumer's live state on its way to the offset file: what is written and what is not, when it counts as durable, and what
 * all offset files together witness of the log. To the call and to the number: a write too many, or a flag that stays, would hardly show. */
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
#include <unistd.h>

#include <cmocka.h>

#include "consumer.h"
#include "support/api.h"
#include "support/each_fault.h"

enum { BODY = 20, WINDOW = 1000, MESSAGES = 900, WORDS = LQI_POSITION_BLOCK_WORDS };

/* ---- the machine ---------------------------------------------------------------------- */

static struct lqi_io machine;
static char calls[200]; /* b: blocks are written, how many behind it; e: an entry; s: a sync */
static int sync_error, write_error;

static void note(const char *what)
{
    HOLDS(strlen(calls) + strlen(what) + 1 < sizeof calls);
    strcat(calls, what);
}

static int note_write(const struct lqi_io *io, int fd, uint64_t offset, const void *data, size_t size)
{
    char text[20];
    (void)io;
    if (offset >= LQI_POSITION_BLOCKS_AT) snprintf(text, sizeof text, "b%zu", size / LQI_POSITION_BLOCK);
    note(offset >= LQI_POSITION_BLOCKS_AT ? text : "e");
    return write_error ? write_error : lqi_io_posix.write(&lqi_io_posix, fd, offset, data, size);
}

static int note_sync(const struct lqi_io *io, int fd)
{
    (void)io;
    note("s");
    return sync_error ? sync_error : lqi_io_posix.sync(&lqi_io_posix, fd);
}

static void was_called(const char *expected)
{
    if (strcmp(calls, expected) != 0) print_message("%s, not %s\n", calls, expected);
    assert_string_equal(calls, expected);
    calls[0] = 0;
}

/* ---- a queue with a consumer ----------------------------------------------------------- */

static lq_queue *queue;
static lq_consumer *consumer;
static struct lqi_consumer_slot *slot;
static lq_message taken[MESSAGES];
static char queue_path[4200];

static void begin(void **state)
{
    lq_options options = {.size = sizeof options, .sync = LQ_SYNC_NEVER};
    machine = lqi_io_posix;
    sync_error = write_error = 0;
    snprintf(queue_path, sizeof queue_path, "%s", api_path(*state, "q"));
    OK(lqi_open_io(&machine, queue_path, &options, &queue));
    api_put_range(queue, 1, MESSAGES, BODY);
    OK(lq_sync(queue));
    consumer = api_consumer(queue, "c", &(lq_consumer_options){.window = WINDOW});
    slot = consumer->slot;
    machine.write = note_write;
    machine.sync = note_sync;
    calls[0] = 0;
}

static void end(void)
{
    machine.write = lqi_io_posix.write;
    machine.sync = lqi_io_posix.sync;
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
}

static void take(size_t count)
{
    size_t got;
    OK(lq_get_batch(consumer, taken, count, &got, 0));
    EQUAL(got, count);
}

static int next_descriptor(void)
{
    int fd = dup(0);
    HOLDS(fd >= 0);
    close(fd);
    return fd;
}

static int save(void)
{
    return lqi_consumer_save(&queue->consumers, slot, consumer->member.region, &consumer->position);
}

static int save_durably(void)
{
    return lqi_consumer_save_durably(&queue->consumers, slot, consumer->member.region, &consumer->position);
}

struct kept {
    uint64_t settled, tried; /* of the words */
};

static void keep(void *context, uint64_t id, uint32_t word)
{
    struct kept *kept = context;
    (void)id;
    kept->settled += (word & LQI_WORD_SETTLED) != 0;
    kept->tried += (word & LQI_WORD_ATTEMPTS) == 1;
}

/* What the file says now. */
static struct lqi_position_entry entry_of(const char *name, struct kept *kept_out)
{
    struct lqi_position position;
    OK(lqi_position_open(&position, &lqi_io_posix, queue->consumers_dir, name, queue->meta.uuid, false));
    *kept_out = (struct kept){0};
    OK(lqi_position_load(&position, keep, kept_out, NULL, NULL));
    lqi_position_close(&position);
    return position.newest;
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
    int descriptor = next_descriptor();
    OK(lqi_consumers_sync(&queue->consumers));
    EQUAL(next_descriptor(), descriptor);
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
    int descriptor = next_descriptor();
    OK(lqi_consumers_sync(&queue->consumers));
    was_called("b1es");
    OK(lq_ack(consumer, &taken[0]));
    snprintf(path, sizeof path, "%s/consumers/c.pos", queue_path);
    snprintf(aside, sizeof aside, "%s/aside", queue_path);
    HOLDS(rename(path, aside) == 0);
    OK(lqi_consumers_sync(&queue->consumers));
    was_called("");
    EQUAL(next_descriptor(), descriptor);
    HOLDS(rename(aside, path) == 0);
    atomic_store(&slot->going, 0);
    end();
}

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
        IN_DIRECTORY(who_fails_to_bring_a_consumer_to_life_leaves_its_words_to_who_saves_next),
        IN_DIRECTORY(who_fails_after_another_has_failed_leaves_the_words_too),
        IN_DIRECTORY(what_is_not_synced_is_synced_before_its_past_is_written_over),
        IN_DIRECTORY(a_consumer_whose_maker_has_failed_stands_where_its_file_says),
        IN_DIRECTORY(the_most_that_any_offset_file_witnesses_counts),
        IN_DIRECTORY(a_consumer_in_doubt_is_known_wherever_it_is),
        IN_DIRECTORY(a_new_consumer_begins_where_it_is_told),
        IN_DIRECTORY(nothing_begins_before_what_is_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
