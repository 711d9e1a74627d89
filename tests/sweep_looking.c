/* Looking at a queue on a disk that fails: every call of the machine fails, one after the other, once or from there on
 * for ever, while a reader reads, seeks by id and by time, and while statistics, consumers and log files are asked for.
 * What is said is true or an error with a reason; a failure is no end of the log, no hole and no missing file; and
 * when the machine works again, so does the same handle. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "queue.h"
#include "support/api.h"
#include "support/io_crash.h"
#include "support/io_fault.h"

enum { KIB = 1024, MESSAGES = 120, SIZE = 2000, SEGMENTS_MIN = 3, CONSUMERS = 3 };

static const struct { enum io_kind kind; int error; } faults[] = {
    {IO_DIR_LIST, EIO}, {IO_OPEN, EMFILE}, {IO_OPEN, EIO}, {IO_READ, EIO}, {IO_STAT, EIO},
    {IO_LOCKED, EIO},   {IO_MAP, ENOMEM},  {IO_DIR_OPEN, EMFILE}, {IO_LOCK, ENOLCK}, {IO_BOOT_ID, EIO},
};

static struct io_crash *machine;
static int64_t times_us[MESSAGES + 1];
static lq_stats truth;
static lq_consumer_stats consumer_truth;
static char now[200];
static uint64_t runs, errors;

static bool is_failure(int err)
{
    if (err >= 0) return false;
    /* Nothing that calls the queue damaged, foreign or gone. */
    HOLDS(err == LQ_EIO || err == LQ_ELIMIT || err == LQ_ENOMEM || err == LQ_EBUSY);
    HOLDS(lq_error_text()[0] != 0);
    errors++;
    return true;
}

/* ---- scripts: with the fault, and then without, on the same handle -------- */

/* Reads up to the end, or the first failure; from then on the caller may go on. */
static uint64_t read_on(lq_reader *reader, uint64_t id)
{
    lq_message message;
    for (;; id++) {
        int err = lq_reader_next(reader, &message);
        if (is_failure(err)) return id;
        if (id > MESSAGES) IS(LQ_EMPTY, err);
        else IS(LQ_OK, err);
        if (err) return id;
        EQUAL(message.id, id);
        HOLDS(api_is_filled(&message, SIZE, id));
    }
}

static void read_all(struct io_fault *fault, lq_queue *queue)
{
    lq_reader *reader;
    if (is_failure(lq_reader_open(queue, &reader))) return;
    uint64_t reached = read_on(reader, 1);
    if (reached <= MESSAGES) reached = read_on(reader, reached); /* tried again at once */
    io_fault_end(fault);
    EQUAL(read_on(reader, reached), MESSAGES + 1);
    lq_reader_close(reader);
}

static void read_from_id(struct io_fault *fault, lq_queue *queue)
{
    lq_reader *reader;
    uint64_t reached = 0;
    if (is_failure(lq_reader_open(queue, &reader))) return;
    static const uint64_t sought[] = {MESSAGES / 2, 1, MESSAGES, 7};
    for (size_t i = 0; i < sizeof sought / sizeof *sought; i++) {
        if (is_failure(lq_reader_seek_id(reader, sought[i]))) continue;
        reached = read_on(reader, sought[i]);
        EQUAL(reached >= sought[i], true);
    }
    io_fault_end(fault);
    OK(lq_reader_seek_id(reader, MESSAGES / 3));
    EQUAL(read_on(reader, MESSAGES / 3), MESSAGES + 1);
    lq_reader_close(reader);
}

static uint64_t first_at(int64_t time_us)
{
    uint64_t id = 1;
    while (id <= MESSAGES && times_us[id] < time_us) id++;
    return id;
}

static void read_from_time(struct io_fault *fault, lq_queue *queue)
{
    lq_reader *reader;
    if (is_failure(lq_reader_open(queue, &reader))) return;
    static const uint64_t sought[] = {MESSAGES / 2, 1, MESSAGES, 9};
    for (size_t i = 0; i < sizeof sought / sizeof *sought; i++) {
        if (is_failure(lq_reader_seek_time(reader, times_us[sought[i]]))) continue;
        (void)read_on(reader, first_at(times_us[sought[i]]));
    }
    io_fault_end(fault);
    OK(lq_reader_seek_time(reader, times_us[MESSAGES / 3]));
    EQUAL(read_on(reader, first_at(times_us[MESSAGES / 3])), MESSAGES + 1);
    lq_reader_close(reader);
}

static void expect_truth(lq_queue *queue)
{
    lq_stats stats = {.size = sizeof stats};
    if (is_failure(lq_get_stats(queue, &stats))) return;
    EQUAL(stats.first_id, 1);
    EQUAL(stats.last_id, MESSAGES);
    EQUAL(stats.bytes, truth.bytes);
    EQUAL(stats.segments, truth.segments);
    EQUAL(stats.consumers, CONSUMERS);
    EQUAL(stats.damage, 0);
    HOLDS(stats.first_time_us == times_us[1] && stats.last_time_us == times_us[MESSAGES]);
}

static void ask_statistics(struct io_fault *fault, lq_queue *queue)
{
    expect_truth(queue);
    io_fault_end(fault);
    uint64_t before = errors;
    expect_truth(queue);
    EQUAL(errors, before);
}

static void expect_consumer(lq_queue *queue)
{
    lq_consumer_stats stats = {.size = sizeof stats};
    if (is_failure(lq_get_consumer_stats(queue, "c1", &stats))) return;
    EQUAL(stats.floor, consumer_truth.floor);
    EQUAL(stats.ready, consumer_truth.ready);
    EQUAL(stats.window, consumer_truth.window);
}

static int one_consumer(void *context, int code, const lq_consumer_stats *stats)
{
    unsigned *count = context;
    (void)is_failure(code);
    HOLDS(code <= 0);
    HOLDS(stats->name[0] == 'c' && stats->name[1] == (char)('0' + *count));
    if (code == LQ_OK && *count == 1) EQUAL(stats->floor, consumer_truth.floor);
    ++*count;
    return 0;
}

static void expect_consumers(lq_queue *queue)
{
    unsigned count = 0;
    if (!is_failure(lq_each_consumer(queue, one_consumer, &count))) EQUAL(count, CONSUMERS);
}

static void ask_consumers(struct io_fault *fault, lq_queue *queue)
{
    expect_consumer(queue);
    expect_consumers(queue);
    io_fault_end(fault);
    uint64_t before = errors;
    expect_consumer(queue);
    expect_consumers(queue);
    EQUAL(errors, before);
}

struct segments {
    uint64_t count, next_id;
};

static int one_segment(void *context, const lq_segment *segment)
{
    struct segments *seen = context;
    seen->count++;
    if (is_failure(segment->code)) {
        seen->next_id = 0;
        return 0;
    }
    HOLDS(segment->file[0] != 0);
    if (seen->next_id) EQUAL(segment->first_id, seen->next_id);
    if (seen->count == truth.segments) EQUAL(segment->last_id, MESSAGES);
    HOLDS(segment->last_id >= segment->first_id && segment->first_time_us == times_us[segment->first_id]);
    HOLDS(segment->last_time_us == times_us[segment->last_id]);
    seen->next_id = segment->last_id + 1;
    return 0;
}

static void expect_segments(lq_queue *queue)
{
    struct segments seen = {0, 1};
    if (!is_failure(lq_each_segment(queue, one_segment, &seen))) EQUAL(seen.count, truth.segments);
}

static void ask_segments(struct io_fault *fault, lq_queue *queue)
{
    expect_segments(queue);
    io_fault_end(fault);
    uint64_t before = errors;
    expect_segments(queue);
    EQUAL(errors, before);
}

/* A consumer that was not open yet gets all, and a failure takes nothing from it. */
static void consume(struct io_fault *fault, lq_queue *queue)
{
    lq_consumer *consumer;
    lq_message message;
    uint64_t id = consumer_truth.floor + 1;

    int err = lq_consumer_open(queue, "c1", NULL, &consumer);
    if (is_failure(err)) {
        io_fault_end(fault);
        OK(lq_consumer_open(queue, "c1", NULL, &consumer));
    }
    for (int failures = 0; id <= MESSAGES; id++) {
        err = lq_poll(consumer, &message);
        while (is_failure(err)) {
            if (++failures == 3) io_fault_end(fault);
            err = lq_poll(consumer, &message);
        }
        IS(LQ_OK, err);
        EQUAL(message.id, id);
        EQUAL(message.attempts, 1);
        HOLDS(api_is_filled(&message, SIZE, id));
        OK(lq_ack(consumer, &message));
    }
    io_fault_end(fault);
    IS(LQ_EMPTY, lq_poll(consumer, &message));
    OK(lq_consumer_close(consumer));
}

/* ---- the sweep ----------------------------------------------------------- */

typedef void script(struct io_fault *fault, lq_queue *queue);

static bool run(script *look, uint32_t flags, size_t row, uint64_t nth, bool for_ever)
{
    struct io_crash *copy = io_crash_processes_die(machine);
    const lq_options options = {.size = sizeof options, .flags = flags};
    struct io_fault fault;
    lq_queue *queue;

    io_fault_init(&fault, io_crash_io(copy));
    OK(lqi_open_io(&fault.io, "q", &options, &queue));
    io_fault_plan(&fault, faults[row].kind, nth, for_ever, faults[row].error);
    look(&fault, queue);
    bool failed = fault.hits > 0;
    io_fault_end(&fault);
    OK(lq_close(queue));
    io_fault_release(&fault);
    io_crash_free(copy);
    runs++;
    return failed;
}

static void sweep(const char *name, script *look, uint32_t flags)
{
    for (size_t row = 0; row < sizeof faults / sizeof *faults; row++)
        for (int for_ever = 0; for_ever < 2; for_ever++)
            for (uint64_t nth = 1;; nth++) {
                snprintf(now, sizeof now, "%s, %s: %s %" PRIu64 "%s fails with %s", name, flags & LQ_READ_ONLY ? "read only" : "in use",
                         io_kind_names[faults[row].kind], nth, for_ever ? " and all later ones" : "", strerror(faults[row].error));
                if (!run(look, flags, row, nth, for_ever)) break;
            }
}

static void make_queue(void)
{
    const lq_options options = {.size = sizeof options, .sync = LQ_SYNC_NEVER, .segment_size = 64 * KIB, .ring_size = 64 * KIB};
    lq_consumer *consumer;
    lq_message message;
    lq_reader *reader;
    lq_queue *queue;

    machine = io_crash_new(3);
    OK(lqi_open_io(io_crash_io(machine), "q", &options, &queue));
    for (unsigned i = 0; i < CONSUMERS; i++) {
        char name[8];
        snprintf(name, sizeof name, "c%u", i);
        OK(lq_consumer_open(queue, name, NULL, &consumer));
        if (i == 0) OK(lq_consumer_close(consumer)); /* nothing is deleted */
        if (i == 0) api_put_range(queue, 1, MESSAGES, SIZE);
        if (i == 0) continue;
        api_take_range(consumer, 1, i * 5, SIZE);
        OK(lq_consumer_close(consumer));
    }
    OK(lq_reader_open(queue, &reader));
    for (uint64_t id = 1; id <= MESSAGES; id++) {
        OK(lq_reader_next(reader, &message));
        times_us[id] = message.time_us;
    }
    lq_reader_close(reader);
    OK(lq_close(queue)); /* which appends a mark */
    OK(lqi_open_io(io_crash_io(machine), "q", &options, &queue));
    truth = api_stats(queue);
    consumer_truth = api_consumer_stats(queue, "c1");
    HOLDS(truth.segments >= SEGMENTS_MIN && times_us[1] < times_us[MESSAGES]);
    OK(lq_close(queue));
}

static void say_where(void)
{
    if (now[0]) printf("%s\n", now);
}

int main(void)
{
    atexit(say_where);
    make_queue();
    static const uint32_t handles[] = {0, LQ_READ_ONLY};
    for (size_t i = 0; i < 2; i++) {
        sweep("reading", read_all, handles[i]);
        sweep("seeking an id", read_from_id, handles[i]);
        sweep("seeking a time", read_from_time, handles[i]);
        sweep("statistics", ask_statistics, handles[i]);
        sweep("consumers", ask_consumers, handles[i]);
        sweep("log files", ask_segments, handles[i]);
    }
    sweep("consuming", consume, 0);
    io_crash_free(machine);
    io_crash_trim();
    now[0] = 0;
    printf("%" PRIu64 " runs, %" PRIu64 " errors\n", runs, errors);
    return errors < 500;
}
