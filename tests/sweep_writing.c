/* Writing to a queue on a disk that fails: in each of some scenes, every call of the machine fails, one after the
 * other, once or from there on for ever. A message that was refused is not in the queue, one that was accepted
 * is, and when the machine works again so does the queue: at once, or opened anew once it is poisoned.
 *
 * sweep_fault does this with one long script, and with crashes, as far as its time goes; the scenes here are short
 * and run whole. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "queue.h"
#include "support/api.h"
#include "support/io_crash.h"
#include "support/io_fault.h"

enum { KIB = 1024, WINDOW = 64, MESSAGES = 200 };

static const struct { enum io_kind kind; int error; } faults[] = {
    {IO_DIR_OPEN, EMFILE}, {IO_DIR_LIST, EIO}, {IO_DIR_SYNC, EIO}, {IO_OPEN, EMFILE}, {IO_OPEN, ENOSPC}, {IO_READ, EIO},
    {IO_WRITE, EIO},       {IO_WRITE, ENOSPC}, {IO_SYNC, EIO},     {IO_TRUNCATE, EIO}, {IO_ALLOCATE, ENOSPC}, {IO_STAT, EIO},
    {IO_RENAME, ENOSPC},   {IO_UNLINK, EIO},   {IO_LOCK, ENOLCK},  {IO_UNLOCK, ENOLCK}, {IO_LOCKED, ENOLCK}, {IO_MAP, ENOMEM},
    {IO_RANDOM, EIO},      {IO_BOOT_ID, EIO},
};

/* What the queue must hold: the ids that were given, with the sizes of their messages; and what it may. */
struct account {
    size_t size[MESSAGES];
    uint64_t count;
    size_t doubtful; /* the size of a message that nobody knows of, behind them; 0: none */
    uint64_t acked;
    bool poisoned;
};

struct scene {
    const char *name;
    lq_options options;
    void (*before)(lq_queue *queue, struct account *account); /* on a machine that works */
    void (*script)(lq_queue *queue, lq_consumer *consumer, struct account *account);
    bool loses_oldest;
};

static char now[300], said[1024];
static uint64_t runs, refusals;
static struct account before_it;

/* ---- the calls of scripts ------------------------------------------------- */

static void note_answer(int err)
{
    if (err < 0) refusals++;
    if (err < 0) snprintf(said, sizeof said, "%s", lq_error_text());
    if (err < 0) HOLDS(err == LQ_EIO || err == LQ_ENOSPC || err == LQ_ELIMIT || err == LQ_ENOMEM || err == LQ_EPOISONED || err == LQ_EFULL || err == LQ_EBUSY);
}

static void note(lq_queue *queue, struct account *account, int err)
{
    note_answer(err);
    if (err == LQ_EPOISONED || lqi_poisoned(&queue->log)) account->poisoned = true;
}

static void put(lq_queue *queue, struct account *account, size_t size)
{
    static uint8_t bytes[400000];
    uint64_t id = 0;
    HOLDS(account->count + 1 < MESSAGES && size <= sizeof bytes);
    api_fill(bytes, size, account->count + 1);
    if (size > 20000) memset(bytes, 'x', size / 2); /* something to pack */
    int err = lq_put(queue, bytes, size, &id);
    note(queue, account, err);
    if (!err) {
        HOLDS(account->doubtful == 0 || id == account->count + 2);
        if (account->doubtful) account->size[account->count++] = account->doubtful;
        account->doubtful = 0;
        EQUAL(id, account->count + 1);
        account->size[account->count++] = size;
    } else if (err == LQ_EBUSY) {
        account->size[account->count++] = size; /* appended, and not durable yet */
    } else if (err == LQ_EPOISONED && !account->doubtful) {
        account->doubtful = size;
    }
}

static bool is_message(const lq_message *message, size_t size)
{
    if (size <= 20000) return api_is_filled(message, size, message->id);
    const uint8_t *bytes = message->data;
    return message->size == size && bytes[0] == 'x' && bytes[size / 2 - 1] == 'x';
}

static void take(lq_queue *queue, lq_consumer *consumer, struct account *account, int count)
{
    lq_message message;
    for (int failures = 0; count > 0 && failures < 3; count--) {
        int err = lq_poll(consumer, &message);
        if (err == LQ_EMPTY) return;
        if (err) failures++;
        if (err) note(queue, account, err);
        if (err) continue;
        EQUAL(message.id, account->acked + 1);
        HOLDS(is_message(&message, account->size[message.id - 1]));
        OK(lq_ack(consumer, &message));
        account->acked++;
    }
}

/* ---- scenes ---------------------------------------------------------------- */

static void fill_most(lq_queue *queue, struct account *account)
{
    for (int i = 0; i < 6; i++) put(queue, account, 9000);
}

static void roll(lq_queue *queue, lq_consumer *consumer, struct account *account)
{
    for (int i = 0; i < 9; i++) put(queue, account, 9000);
    note(queue, account, lq_sync(queue));
    take(queue, consumer, account, 3);
}

static void write_large(lq_queue *queue, lq_consumer *consumer, struct account *account)
{
    put(queue, account, 300000);
    put(queue, account, 100);
    put(queue, account, 70000);
    take(queue, consumer, account, 2);
    note(queue, account, lq_sync(queue));
}

static void make_durable(lq_queue *queue, lq_consumer *consumer, struct account *account)
{
    put(queue, account, 100);
    take(queue, consumer, account, 5);
    note(queue, account, lq_sync(queue));
    put(queue, account, 200);
    take(queue, consumer, account, 2);
    note(queue, account, lq_sync(queue));
    note(queue, account, lq_sync(queue)); /* nothing to do */
}

static void fill_segments(lq_queue *queue, struct account *account)
{
    for (int i = 0; i < 24; i++) put(queue, account, 9000);
}

static void consume_all(lq_queue *queue, lq_consumer *consumer, struct account *account)
{
    take(queue, consumer, account, 20); /* over the ends of segments, which go */
    put(queue, account, 50);
    take(queue, consumer, account, 20);
}

static void put_more(lq_queue *queue, lq_consumer *consumer, struct account *account)
{
    (void)consumer;
    for (int i = 0; i < 16; i++) put(queue, account, 9000); /* the oldest go */
}

static const struct scene scenes[] = {
    {"a roll", {.sync = LQ_SYNC_NEVER}, fill_most, roll, false},
    {"a durable roll", {.sync = LQ_SYNC_ALWAYS}, fill_most, roll, false},
    {"large messages", {.sync = LQ_SYNC_NEVER}, NULL, write_large, false},
    {"large durable messages", {.sync = LQ_SYNC_ALWAYS}, fill_most, write_large, false},
    {"packed messages", {.sync = LQ_SYNC_NEVER, .compression = 1}, fill_most, write_large, false},
    {"syncs by hand", {.sync = LQ_SYNC_NEVER}, fill_most, make_durable, false},
    {"acks over segments", {.sync = LQ_SYNC_NEVER}, fill_segments, consume_all, false},
    {"the oldest dropped", {.sync = LQ_SYNC_NEVER, .full = LQ_FULL_DROP, .size_max = 4 * 64 * KIB}, fill_segments, put_more, true},
    {"the oldest dropped durably", {.sync = LQ_SYNC_ALWAYS, .full = LQ_FULL_DROP, .size_max = 4 * 64 * KIB}, fill_segments, put_more, true},
    {"a full queue", {.sync = LQ_SYNC_NEVER, .size_max = 5 * 64 * KIB}, fill_segments, put_more, false},
};

/* ---- one run ---------------------------------------------------------------- */

static lq_options options_of(const struct scene *scene)
{
    lq_options options = scene->options;
    options.size = sizeof options;
    options.segment_size = options.ring_size = 64 * KIB;
    return options;
}

static lq_consumer *consumer_of(lq_queue *queue)
{
    return api_consumer(queue, "c", &(lq_consumer_options){.window = WINDOW});
}

/* The queue, opened anew: all that was accepted, and nothing that was refused. */
static void compare(const struct lqi_io *io, const struct scene *scene, struct account *account)
{
    lq_options options = options_of(scene);
    lq_queue *queue;
    lq_reader *reader;
    lq_message message;

    OK(lqi_open_io(io, "q", &options, &queue));
    lq_stats stats = api_stats(queue);
    EQUAL(stats.damage, 0);
    /* Once it is poisoned, what is durable is promised, in LQ_SYNC_ALWAYS all; nothing on this disk forgets. */
    if (account->doubtful && stats.last_id == account->count + 1) account->size[account->count++] = account->doubtful;
    EQUAL(stats.last_id, account->count);
    HOLDS(scene->loses_oldest || stats.first_id <= account->acked + 1);
    OK(lq_reader_open(queue, &reader));
    for (uint64_t id = stats.first_id; id <= account->count; id++) {
        OK(lq_reader_next(reader, &message));
        EQUAL(message.id, id);
        HOLDS(is_message(&message, account->size[id - 1]));
    }
    IS(LQ_EMPTY, lq_reader_next(reader, &message));
    lq_reader_close(reader);

    lq_consumer *consumer = consumer_of(queue);
    if (scene->loses_oldest) {
        HOLDS(api_consumer_stats(queue, "c").floor + 1 >= stats.first_id);
    } else {
        for (uint64_t id = account->acked + 1; id <= account->count; id++) {
            OK(lq_poll(consumer, &message));
            EQUAL(message.id, id);
            OK(lq_ack(consumer, &message));
        }
        IS(LQ_EMPTY, lq_poll(consumer, &message));
    }
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
}

/* True when a call was failed. */
static bool run(const struct io_crash *machine, const struct scene *scene, size_t row, uint64_t nth, bool for_ever)
{
    struct io_crash *copy = io_crash_processes_die(machine);
    struct account account = before_it;
    lq_options options = options_of(scene);
    struct io_fault fault;
    lq_queue *queue;

    io_fault_init(&fault, io_crash_io(copy));
    fault.short_writes = fault.short_allocates = true;
    OK(lqi_open_io(&fault.io, "q", &options, &queue));
    lq_consumer *consumer = consumer_of(queue);
    io_fault_plan(&fault, faults[row].kind, nth, for_ever, faults[row].error);
    scene->script(queue, consumer, &account);
    bool failed = fault.hits > 0;
    if (nth % 2) io_fault_end(&fault); /* it works again while the handle is open; or it is closed with the fault */
    if (nth % 2 && !account.poisoned && !scene->options.size_max) {
        uint64_t count = account.count;
        put(queue, &account, 30);
        EQUAL(account.count, count + 1);
    }
    note(queue, &account, lq_consumer_close(consumer));
    if (lqi_poisoned(&queue->log)) account.poisoned = true;
    int err = lq_close(queue);
    note_answer(err ? LQ_EIO : LQ_OK);
    if (err == LQ_EPOISONED) account.poisoned = true;
    io_fault_end(&fault);
    compare(&fault.io, scene, &account);
    io_fault_release(&fault);
    io_crash_free(copy);
    runs++;
    return failed;
}

static void sweep(const struct scene *scene)
{
    struct io_crash *machine = io_crash_new(11);
    lq_options options = options_of(scene);
    lq_queue *queue;

    before_it = (struct account){0};
    OK(lqi_open_io(io_crash_io(machine), "q", &options, &queue));
    lq_consumer *consumer = consumer_of(queue); /* and nothing is deleted before it has seen it */
    if (scene->before) scene->before(queue, &before_it);
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
    for (size_t row = 0; row < sizeof faults / sizeof *faults; row++)
        for (int for_ever = 0; for_ever < 2; for_ever++)
            for (uint64_t nth = 1;; nth++) {
                snprintf(now, sizeof now, "%s: %s %" PRIu64 "%s fails with %s", scene->name, io_kind_names[faults[row].kind], nth,
                         for_ever ? " and all later ones" : "", strerror(faults[row].error));
                if (!run(machine, scene, row, nth, for_ever)) break;
            }
    io_crash_free(machine);
}

static void say_where(void)
{
    if (now[0]) printf("%s; the last error was: %s\n", now, said);
}

int main(void)
{
    atexit(say_where);
    for (size_t i = 0; i < sizeof scenes / sizeof *scenes; i++) sweep(&scenes[i]);
    io_crash_trim();
    now[0] = 0;
    printf("%" PRIu64 " runs, %" PRIu64 " refusals\n", runs, refusals);
    return refusals < 500;
}
