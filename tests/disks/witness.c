/* See witness.h. */
#include "witness.h"

#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../support/api.h"
#include "../support/child.h"

enum { BODY_MAX = 24 << 10, BATCH_MAX = 5, WINDOW = 1024, PRODUCERS = WITNESS_PRODUCERS + 1 /* and the checker */ };

static const char *const consumer_names[WITNESS_CONSUMERS] = {"saved", "plain"};

struct witness *witness_new(void)
{
    void *memory = mmap(NULL, sizeof(struct witness), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    HOLDS(memory != MAP_FAILED);
    return memory;
}

void witness_free(struct witness *witness)
{
    munmap(witness, sizeof *witness);
}

struct witness_line witness_now(const struct witness *witness)
{
    struct witness_line line = {.opened = atomic_load(&witness->opened), .joined = atomic_load(&witness->joined)};
    line.promised = atomic_load(&witness->promised);
    for (int c = 0; c < WITNESS_CONSUMERS; c++) {
        line.floors[c] = atomic_load(&witness->floors[c]);
        line.acking[c] = atomic_load(&witness->acking[c]);
    }
    return line;
}

static void raise_to(_Atomic uint64_t *value, uint64_t to)
{
    uint64_t now = atomic_load(value);
    while (now < to && !atomic_compare_exchange_weak(value, &now, to)) {}
}

/* ---- messages ----------------------------------------------------------- */

struct head {
    uint64_t number;
    uint32_t producer;
    uint16_t index, count; /* in its batch */
};

static size_t size_of(uint64_t number)
{
    return sizeof(struct head) + (number % 97 == 0 ? 20000 : number * 131 % 1200);
}

static size_t fill(uint8_t bytes[BODY_MAX], const struct head *head)
{
    size_t size = size_of(head->number);
    memcpy(bytes, head, sizeof *head);
    api_fill(bytes + sizeof *head, size - sizeof *head, head->number);
    return size;
}

static bool is_whole(const lq_message *message, struct head *head_out)
{
    lq_message rest = *message;
    if (message->size < sizeof *head_out) return false;
    memcpy(head_out, message->data, sizeof *head_out);
    if (message->size != size_of(head_out->number) || head_out->producer >= PRODUCERS) return false;
    rest.data = (const uint8_t *)message->data + sizeof *head_out;
    rest.size = message->size - sizeof *head_out;
    return api_is_filled(&rest, rest.size, head_out->number);
}

/* ---- at work ------------------------------------------------------------ */

struct worker {
    struct witness_job *job;
    lq_queue *queue;
    lq_consumer *consumer;
    uint32_t index;
    uint64_t random;
};

static uint32_t below(uint64_t *random, uint32_t limit)
{
    *random = *random * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*random >> 33) % limit;
}

/* True when it is done. A full disk passes; otherwise only the power may make a call fail. */
static bool went_well(struct witness *witness, int code, const char *call)
{
    if (code == LQ_OK) return true;
    if (code == LQ_ENOSPC || code == LQ_TIMEOUT || code == LQ_EMPTY) {
        api_sleep_ms(1);
        return false;
    }
    if (!atomic_load(&witness->failing)) api_code(LQ_OK, code, call, __FILE__, __LINE__);
    pthread_exit(NULL);
}

static void accept(struct witness *witness, int sync, uint64_t first_id, uint32_t first_number, uint32_t count)
{
    if (first_id + count >= WITNESS_IDS) pthread_exit(NULL);
    for (uint32_t i = 0; i < count; i++) {
        atomic_store(&witness->number_of_id[first_id + i], first_number + i);
        atomic_store(&witness->accepted_us[first_id + i], api_now_us());
    }
    if (sync == LQ_SYNC_ALWAYS) raise_to(&witness->promised, first_id + count - 1);
}

static void put_some(struct witness *witness, lq_queue *queue, int sync, uint32_t producer, uint32_t count)
{
    static _Thread_local uint8_t bytes[BATCH_MAX][BODY_MAX];
    lq_message messages[BATCH_MAX] = {{0}};
    uint32_t number = atomic_fetch_add(&witness->numbers, count) + 1;
    uint64_t id;

    for (uint32_t i = 0; i < count; i++) {
        struct head head = {number + i, producer, (uint16_t)i, (uint16_t)count};
        messages[i].size = fill(bytes[i], &head);
        messages[i].data = bytes[i];
    }
    int code = count > 1 ? lq_put_batch(queue, messages, count, &id) : lq_put(queue, messages->data, messages->size, &id);
    if (went_well(witness, code, "put")) accept(witness, sync, id, number, count);
}

static void *produce(void *context)
{
    struct worker *self = context;
    for (;;) {
        put_some(self->job->witness, self->queue, self->job->sync, self->index,
                 below(&self->random, 4) ? 1 : 2 + below(&self->random, BATCH_MAX - 1));
        /* Else memory takes messages faster than a small disk can keep them. */
        if (self->job->sync != LQ_SYNC_ALWAYS) usleep(50 + below(&self->random, 200));
    }
    return NULL; /* never: threads end in went_well() */
}

static void *consume(void *context)
{
    struct worker *self = context;
    struct witness *witness = self->job->witness;
    bool saves = self->index == 0 && self->job->sync == LQ_SYNC_ALWAYS;
    lq_message message;

    for (uint32_t n = 1;; n++) {
        if (!went_well(witness, lq_get(self->consumer, &message, 50), "get")) continue;
        raise_to(&witness->acking[self->index], message.id);
        if (!went_well(witness, lq_ack(self->consumer, &message), "ack")) continue;
        if (saves) raise_to(&witness->floors[self->index], message.id);
        else if (n % 64 == 0 && went_well(witness, lq_sync(self->queue), "sync")) raise_to(&witness->floors[self->index], message.id);
    }
    return NULL;
}

/* Believes what the library says of how far it is synced. */
static void *watch(void *context)
{
    struct worker *self = context;
    struct witness *witness = self->job->witness;
    lq_stats stats = {.size = sizeof stats};
    uint64_t id = 0, end = 0;

    for (;;) {
        if (!went_well(witness, lq_get_stats(self->queue, &stats), "stats")) continue;
        if (end && stats.synced >= end) raise_to(&witness->promised, id);
        if (!end || stats.synced >= end) {
            id = stats.last_id;
            end = stats.appended; /* of the same moment */
        }
        if (self->job->sync == LQ_SYNC_NEVER && below(&self->random, 20) == 0) {
            uint64_t last = stats.last_id;
            if (went_well(witness, lq_sync(self->queue), "sync")) raise_to(&witness->promised, last);
        }
        usleep(1000);
    }
    return NULL;
}

static lq_options options_for(int sync)
{
    return (lq_options){.size = sizeof(lq_options), .sync = sync, .sync_interval_ms = sync == LQ_SYNC_INTERVAL ? 20 : 0,
                        .segment_size = 64 << 10, .ring_size = 64 << 10};
}

int witness_work(void *context)
{
    struct witness_job *job = context;
    struct witness *witness = job->witness;
    struct worker workers[WITNESS_PRODUCERS + WITNESS_CONSUMERS + 1];
    pthread_t threads[sizeof workers / sizeof *workers];
    lq_options options = options_for(job->sync);
    lq_queue *queue = NULL;
    lq_consumer *consumers[WITNESS_CONSUMERS] = {NULL};

    signal(SIGBUS, SIG_DFL); /* cmocka catches it */
    int code = lq_open(job->path, &options, &queue);
    if (code && atomic_load(&witness->failing)) return 0;
    OK(code);
    atomic_store(&witness->opened, 1);
    for (int c = 0; c < WITNESS_CONSUMERS; c++) {
        lq_consumer_options how = {.size = sizeof how, .window = WINDOW, .flags = c == 0 ? LQ_CONSUMER_SAVE_ACKS : 0};
        code = lq_consumer_open(queue, consumer_names[c], &how, &consumers[c]);
        if (code && atomic_load(&witness->failing)) return 0;
        OK(code);
    }
    atomic_store(&witness->joined, 1);

    for (uint32_t i = 0; i < sizeof workers / sizeof *workers; i++) {
        void *(*body)(void *) = i < WITNESS_PRODUCERS ? produce : i < WITNESS_PRODUCERS + WITNESS_CONSUMERS ? consume : watch;
        workers[i] = (struct worker){.job = job, .queue = queue, .index = i, .random = (uint64_t)api_now_us() + i};
        if (body == consume) {
            workers[i].index -= WITNESS_PRODUCERS;
            workers[i].consumer = consumers[workers[i].index];
        }
        EQUAL(pthread_create(&threads[i], NULL, body, &workers[i]), 0);
    }
    for (size_t i = 0; i < sizeof workers / sizeof *workers; i++) pthread_join(threads[i], NULL);
    return 0; /* without a close: this is no end in peace */
}

/* ---- afterwards --------------------------------------------------------- */

static void fails(const char *what, uint64_t a, uint64_t b)
{
    fflush(stdout);
    dprintf(2, "%s: %" PRIu64 ", %" PRIu64 "\n", what, a, b);
    _exit(97);
}

static void only_torn(void *context, const lq_finding *finding)
{
    (void)context;
    if (finding->count == 0 && strstr(finding->text, "a torn tail of ")) return;
    dprintf(2, "%s: byte %" PRIu64 ": %s\n", finding->file, finding->offset, finding->text);
    fails("damage that is no torn tail, and messages lost in it", finding->first_id, finding->count);
}

/* Before it is opened: no damage, but for a tail that was torn off behind all that was promised; and `lq` says so too. */
static void verify(const struct witness_job *job)
{
    char command[9000];
    const char *lq = getenv("LQ");
    lq_verify_result result = {.size = sizeof result};

    int code = lq_verify(job->path, 0, only_torn, NULL, &result);
    if (code != LQ_OK && code != LQ_ECORRUPT) OK(code);
    snprintf(command, sizeof command, "'%s' verify '%s' >/dev/null 2>&1", lq ? lq : "./lq", job->path);
    fflush(NULL);
    int status = system(command);
    if (status != (code ? 3 << 8 : 0)) fails("lq verify ends with (status, and findings)", (uint64_t)status, result.findings);
}

/* Every message there is, against the witness; returns the last id. */
static uint64_t check_log(const struct witness_job *job, lq_queue *queue)
{
    const struct witness *witness = job->witness;
    uint64_t last_number[PRODUCERS] = {0};
    struct head head, before = {0};
    lq_stats stats = api_stats(queue);
    lq_reader *reader;
    lq_message message;
    uint64_t id = stats.first_id;

    if (stats.last_id < job->line.promised) fails("lost: the log ends before what was promised", stats.last_id, job->line.promised);
    OK(lq_reader_open(queue, &reader));
    for (; id <= stats.last_id; id++) {
        OK(lq_reader_next(reader, &message));
        if (message.id != id) fails("not the next id", message.id, id);
        if (!is_whole(&message, &head)) fails("not as it was put: message, bytes", id, message.size);
        uint32_t number = atomic_load(&witness->number_of_id[id]);
        if (number && number != head.number) fails("another message than the one accepted under the id", id, number);
        if (head.number <= last_number[head.producer]) fails("twice, or out of order", id, head.number);
        if (head.index != (id > stats.first_id ? (before.index + 1) % before.count : 0)) fails("a batch in pieces", id, head.index);
        last_number[head.producer] = head.number;
        before = head;
    }
    IS(LQ_EMPTY, lq_reader_next(reader, &message));
    lq_reader_close(reader);
    if (stats.last_id >= stats.first_id && before.index + 1 != before.count) fails("the last batch is cut", stats.last_id, before.count);
    return stats.last_id;
}

/* A consumer's position is where it was promised to be, not further than it ever was, and from there all comes in order. */
static void check_consumer(const struct witness_job *job, lq_queue *queue, int c)
{
    lq_consumer_options how = {.size = sizeof how, .window = WINDOW, .flags = job->line.joined ? LQ_CONSUMER_NO_CREATE : 0};
    lq_stats stats = api_stats(queue);
    lq_consumer *consumer;
    lq_message message;
    struct head head;

    OK(lq_consumer_open(queue, consumer_names[c], &how, &consumer));
    uint64_t floor = api_consumer_stats(queue, consumer_names[c]).floor;
    if (floor < job->line.floors[c]) fails("an ack that was saved is gone", floor, job->line.floors[c]);
    if (floor > job->line.acking[c]) fails("a consumer is ahead of its acks", floor, job->line.acking[c]);
    if (floor > stats.last_id) fails("a consumer is ahead of the log", floor, stats.last_id);
    if (stats.first_id > floor + 1) fails("deleted before it was consumed", stats.first_id, floor);
    for (uint64_t id = floor + 1; id <= stats.last_id; id++) {
        OK(lq_poll(consumer, &message));
        if (message.id != id || !is_whole(&message, &head)) fails("not the next message for a consumer", message.id, id);
        OK(lq_ack(consumer, &message));
    }
    IS(LQ_EMPTY, lq_poll(consumer, &message));
    OK(lq_consumer_close(consumer));
}

/* What is there now is the beginning of what comes next. */
static void go_on_from(const struct witness_job *job, uint64_t last)
{
    struct witness *witness = job->witness;
    uint64_t oldest = 0;
    for (uint64_t id = last + 1; id < WITNESS_IDS && atomic_load(&witness->number_of_id[id]); id++) {
        int64_t age_us = job->cut_us - atomic_load(&witness->accepted_us[id]);
        if (age_us > (int64_t)oldest) oldest = (uint64_t)age_us;
        atomic_store(&witness->number_of_id[id], 0);
    }
    if (oldest > atomic_load(&witness->oldest_lost_us)) atomic_store(&witness->oldest_lost_us, oldest);
    atomic_store(&witness->promised, last);
    for (int c = 0; c < WITNESS_CONSUMERS; c++) {
        atomic_store(&witness->floors[c], last);
        atomic_store(&witness->acking[c], last);
    }
    atomic_store(&witness->opened, 1);
    atomic_store(&witness->joined, 1);
}

int witness_check(void *context)
{
    struct witness_job *job = context;
    lq_options options = options_for(job->sync);
    lq_queue *queue;

    if (job->line.opened) verify(job);
    OK(lq_open(job->path, &options, &queue));
    uint64_t last = check_log(job, queue);
    for (int c = 0; c < WITNESS_CONSUMERS; c++) check_consumer(job, queue, c);

    /* And it goes on: with ids from here, in the same order. */
    struct witness *witness = job->last ? job->witness : witness_new();
    if (!job->last) atomic_store(&witness->numbers, atomic_load(&job->witness->numbers));
    if (job->last) go_on_from(job, last);
    for (uint32_t i = 0; i < 6; i++) put_some(witness, queue, LQ_SYNC_ALWAYS, WITNESS_PRODUCERS, 1 + i % 2);
    EQUAL(api_stats(queue).last_id, last + 9);
    struct witness_job after = {.witness = witness, .line = {.promised = last + 9, .opened = true, .joined = true}};
    check_log(&after, queue);
    for (int c = 0; c < WITNESS_CONSUMERS; c++) {
        after.line.floors[c] = last;
        after.line.acking[c] = last;
        check_consumer(&after, queue, c);
    }
    if (job->last) go_on_from(job, last + 9);
    OK(lq_close(queue));
    OK(lq_verify(job->path, 0, NULL, NULL, NULL));
    return 0;
}
