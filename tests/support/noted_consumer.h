/* A consumer on a machine that notes what is written of its offset file and when that is synced, for the programs that look at a
 * consumer's live state on its way there and back. Included by one file of each. */
#ifndef SUPPORT_NOTED_CONSUMER_H
#define SUPPORT_NOTED_CONSUMER_H

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "api.h"
#include "consumer.h"

enum { BODY = 20, WINDOW = 1000, MESSAGES = 900, WORDS = LQI_POSITION_BLOCK_WORDS };

/* ---- the machine ---------------------------------------------------------------------- */

static struct lqi_io machine;
static char calls[200]; /* b: blocks are written, how many behind it; e: an entry; s: a sync */
static int sync_error, write_error;

static inline void note(const char *what)
{
    HOLDS(strlen(calls) + strlen(what) + 1 < sizeof calls);
    strcat(calls, what);
}

static inline int note_write(const struct lqi_io *io, int fd, uint64_t offset, const void *data, size_t size)
{
    char text[20];
    (void)io;
    if (offset >= LQI_POSITION_BLOCKS_AT) snprintf(text, sizeof text, "b%zu", size / LQI_POSITION_BLOCK);
    note(offset >= LQI_POSITION_BLOCKS_AT ? text : "e");
    return write_error ? write_error : lqi_io_posix.write(&lqi_io_posix, fd, offset, data, size);
}

static inline int note_sync(const struct lqi_io *io, int fd)
{
    (void)io;
    note("s");
    return sync_error ? sync_error : lqi_io_posix.sync(&lqi_io_posix, fd);
}

static inline void was_called(const char *expected)
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

static inline void begin(void **state)
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

static inline void end(void)
{
    machine.write = lqi_io_posix.write;
    machine.sync = lqi_io_posix.sync;
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
}

static inline void take(size_t count)
{
    size_t got;
    OK(lq_get_batch(consumer, taken, count, &got, 0));
    EQUAL(got, count);
}

struct kept {
    uint64_t settled, tried; /* of the words */
};

static inline void keep(void *context, uint64_t id, uint32_t word)
{
    struct kept *kept = context;
    (void)id;
    kept->settled += (word & LQI_WORD_SETTLED) != 0;
    kept->tried += (word & LQI_WORD_ATTEMPTS) == 1;
}

/* What the file says now. */
static inline struct lqi_position_entry entry_of(const char *name, struct kept *kept_out)
{
    struct lqi_position position;
    OK(lqi_position_open(&position, &lqi_io_posix, queue->consumers_dir, name, queue->meta.uuid, false));
    *kept_out = (struct kept){0};
    OK(lqi_position_load(&position, keep, kept_out, NULL, NULL));
    lqi_position_close(&position);
    return position.newest;
}

#endif
