/* Read-only handles hold nobody off: what they look at may be replaced, deleted and set up anew under their eyes. What
 * they call damage must be damage. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "queue.h"
#include "support/api.h"
#include "support/child.h"
#include "support/damage.h"
#include "support/io_fault.h"

enum { KIB = 1024, MESSAGES = 300, SIZE = 1000 };

static char path[4096];
static const lq_options small = {.size = sizeof small, .sync = LQ_SYNC_NEVER, .segment_size = 64 * KIB, .ring_size = 64 * KIB};
static const lq_options look = {.size = sizeof look, .flags = LQ_READ_ONLY};

static int put_and_die(void *context)
{
    (void)context;
    lq_queue *queue;
    OK(lq_open(path, &small, &queue));
    api_put_range(queue, 1, MESSAGES, SIZE);
    OK(lq_sync(queue));
    _exit(0);
}

/* ---- the working memory of another population -------------------------------- */

/* Retention deletes all it can; the first message that is left. */
static uint64_t consume_and_delete(void)
{
    lq_queue *queue;
    OK(lq_open(path, &small, &queue));
    lq_consumer *consumer = api_consumer(queue, "c", NULL);
    api_take_range(consumer, 1, MESSAGES, SIZE);
    OK(lq_consumer_close(consumer));
    uint64_t first = api_stats(queue).first_id;
    HOLDS(first > 100);
    OK(lq_close(queue));
    return first;
}

/* A reader on the memory that the dead left, which somebody has removed since: others have set up a new one. */
static uint64_t reader_of_the_past(void **state, lq_queue **queue_out, lq_reader **reader_out)
{
    snprintf(path, sizeof path, "%s", api_path(*state, "q"));
    EQUAL(child_run(put_and_die, NULL), 0);
    OK(lq_open(path, &look, queue_out));
    OK(lq_reader_open(*queue_out, reader_out));
    OK(lq_reader_seek_id(*reader_out, MESSAGES)); /* no file is held open that will be deleted */
    OK(lq_reader_next(*reader_out, &(lq_message){.id = 0}));
    HOLDS(unlink(api_path(path, "shared")) == 0);
    uint64_t first = consume_and_delete();
    OK(lq_reader_seek_id(*reader_out, 1));
    return first;
}

static void what_others_have_deleted_is_not_damage_though_the_memory_that_one_looks_at_knows_nothing_of_it(void **state)
{
    lq_queue *queue;
    lq_reader *reader;
    lq_message message;
    uint64_t first = reader_of_the_past(state, &queue, &reader);
    for (uint64_t id = first; id <= MESSAGES; id++) {
        OK(lq_reader_next(reader, &message));
        EQUAL(message.id, id);
        HOLDS(api_is_filled(&message, SIZE, id));
    }
    IS(LQ_EMPTY, lq_reader_next(reader, &message));
    lq_reader_close(reader);
    OK(lq_close(queue));
}

static void what_is_missing_is_damage_if_nothing_says_that_it_was_deleted(void **state)
{
    lq_queue *queue;
    lq_reader *reader;
    lq_message message;
    lq_finding finding = {.size = sizeof finding};
    uint64_t first = reader_of_the_past(state, &queue, &reader);
    damage_fill(api_path(path, LQI_META_NAME), 1024, 1024, 7); /* both trim slots */
    IS(LQ_ECORRUPT, lq_reader_next(reader, &message));
    OK(lq_reader_damage(reader, &finding));
    EQUAL(finding.first_id, 1);
    EQUAL(finding.count, first - 1);
    OK(lq_reader_next(reader, &message));
    EQUAL(message.id, first);
    lq_reader_close(reader);
    OK(lq_close(queue));
}

/* ---- damage that is there --------------------------------------------------- */

static void make_damaged(void **state, uint64_t offset, uint64_t size)
{
    lq_queue *queue;
    snprintf(path, sizeof path, "%s", api_path(*state, "q"));
    OK(lq_open(path, &(lq_options){.size = sizeof(lq_options), .sync = LQ_SYNC_NEVER}, &queue));
    api_put_range(queue, 1, 20, SIZE);
    OK(lq_close(queue));
    damage_fill(api_path(path, "log/00000000000000000001.seg"), LQI_SEGMENT_HEADER + offset, size, 3);
}

static void damage_of_which_nobody_knows_what_it_has_cost_is_told_as_such(void **state)
{
    lq_queue *queue;
    lq_reader *reader;
    lq_message message;
    lq_finding finding = {.size = sizeof finding};
    make_damaged(state, 19 * (SIZE + 40), 2 * SIZE); /* the last message, and the mark of the clean close */
    OK(lq_open(path, &look, &queue));
    OK(lq_reader_open(queue, &reader));
    for (uint64_t id = 1; id <= 19; id++) OK(lq_reader_next(reader, &message));
    IS(LQ_ECORRUPT, lq_reader_next(reader, &message));
    OK(lq_reader_damage(reader, &finding));
    HOLDS(finding.first_id == 0 && finding.count == 0);
    IS(LQ_EMPTY, lq_reader_next(reader, &message));
    lq_reader_close(reader);
    OK(lq_close(queue));
}

/* The second look fails, and the third... */
static void a_failure_while_damage_is_looked_at_again_is_an_error_and_no_damage(void **state)
{
    static const enum io_kind kinds[] = {IO_DIR_LIST, IO_OPEN, IO_READ, IO_STAT};
    struct io_fault fault;
    lq_queue *queue;
    lq_reader *reader;
    lq_message message;
    unsigned failures = 0;

    make_damaged(state, 5 * (SIZE + 40) + 100, 10);
    io_fault_init(&fault, &lqi_io_posix);
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        for (uint64_t nth = 1;; nth++) {
            OK(lqi_open_io(&fault.io, path, &look, &queue));
            OK(lq_reader_open(queue, &reader));
            for (uint64_t id = 1; id <= 5; id++) OK(lq_reader_next(reader, &message));
            io_fault_plan(&fault, kinds[i], nth, false, EIO);
            int err = lq_reader_next(reader, &message);
            io_fault_end(&fault);
            HOLDS(err == LQ_EIO || err == LQ_ECORRUPT); /* what it can do without, it does without */
            failures += err == LQ_EIO;
            if (err == LQ_EIO) err = lq_reader_next(reader, &message);
            IS(LQ_ECORRUPT, err);
            OK(lq_reader_next(reader, &message));
            EQUAL(message.id, 7);
            lq_reader_close(reader);
            OK(lq_close(queue));
            if (!fault.hits) break;
        }
    }
    HOLDS(failures > 10);
    io_fault_release(&fault);
}

/* ---- a segment that is being written ------------------------------------------ */

static struct {
    struct lqi_io io;
    lq_queue *writer;
    uint64_t put; /* so many messages, once the trailer of a segment has been asked for */
} rolling;

static int read_and_roll(const struct lqi_io *io, int fd, uint64_t offset, void *data, size_t size, size_t *got_out)
{
    (void)io;
    int error = lqi_io_posix.read(&lqi_io_posix, fd, offset, data, size, got_out);
    uint64_t put = rolling.put;
    if (!offset || size != LQI_SEGMENT_TRAILER || !put) return error;
    rolling.put = 0;
    api_put_range(rolling.writer, 11, 10 + put, SIZE);
    OK(lq_sync(rolling.writer));
    return error;
}

static int keep_first(void *context, const lq_segment *segment)
{
    *(lq_segment *)context = *segment;
    return 1;
}

/* It was open when it was looked at: how far it goes is told by its records, not by those of the next segment, which may be
 * small and seem to have room in it. */
static void the_messages_of_the_next_segment_are_not_told_of_the_one_that_is_left_meanwhile(void **state)
{
    for (uint64_t put = 40; put <= 75; put++) {
        lq_queue *queue;
        lq_segment told, is;
        snprintf(path, sizeof path, "%s%u", api_path(*state, "q"), (unsigned)put);
        OK(lq_open(path, &small, &rolling.writer));
        api_put_range(rolling.writer, 1, 10, SIZE);
        OK(lq_sync(rolling.writer)); /* now there is a file */
        rolling.io = lqi_io_posix;
        rolling.io.read = read_and_roll;
        OK(lqi_open_io(&rolling.io, path, &look, &queue));
        rolling.put = put;
        EQUAL(lq_each_segment(queue, keep_first, &told), 1);
        EQUAL(rolling.put, 0);
        EQUAL(lq_each_segment(queue, keep_first, &is), 1);
        EQUAL(told.code, LQ_OK);
        EQUAL(told.last_id, is.last_id);
        EQUAL(told.bytes, is.bytes);
        EQUAL(told.last_time_us, is.last_time_us);
        OK(lq_close(queue));
        OK(lq_close(rolling.writer));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_DIRECTORY(what_others_have_deleted_is_not_damage_though_the_memory_that_one_looks_at_knows_nothing_of_it),
        IN_DIRECTORY(what_is_missing_is_damage_if_nothing_says_that_it_was_deleted),
        IN_DIRECTORY(damage_of_which_nobody_knows_what_it_has_cost_is_told_as_such),
        IN_DIRECTORY(the_messages_of_the_next_segment_are_not_told_of_the_one_that_is_left_meanwhile),
        IN_DIRECTORY(a_failure_while_damage_is_looked_at_again_is_an_error_and_no_damage),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
