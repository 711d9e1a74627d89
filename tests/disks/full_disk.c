/* The disk is full, at each step: so that n KiB are left, for n over all that the library ever asks for (the
 * directories, `shared`, the first segment, the ones prepared ahead and rolled to, offset files and working
 * memory of consumers, saves at close), a process puts, gets, acks, syncs, closes and opens until it has met
 * the end of the disk many times; or it dies there. Then
 *
 *   each call has said LQ_OK or LQ_ENOSPC, and what was refused is not in the queue
 *   on the full disk, GET and ack went on with all that was accepted, and a queue that was closed could be opened
 *   nobody got a signal (`shared` is mapped memory, and must never want a page that the disk does not have)
 *   with space again, everything accepted is there, the rest is consumed, and PUT works
 *
 * A message is told by its id alone, so that the account is one number: the last id accepted.
 *
 * All n in steps of 4 KiB, from 0 up to where all of it fits, would take minutes; they are taken in an order that halves the gaps again and again,
 * until the time is up. */
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "disk.h"
#include "../support/api.h"
#include "../support/child.h"

enum {
    STEP = 4 * KIB,
    STEPS_MAX = 1024,      /* 4 MiB, more than a queue with these options and all that is put takes */
    STEPS_MIN = 16,
    LARGE = 20000,         /* more than a quarter of the ring: straight to the file */
    BATCH = 10,
    ROUNDS = 3
};

enum call { OPEN, CONSUMER, PUT, BATCH_PUT, SYNC, ACK, CONSUMER_CLOSE, CLOSE, CALLS };
static const char *const call_names[CALLS] = {"open", "consumer", "put", "batch", "sync", "ack", "consumer close", "close"};

/* What the process has been told, in memory that outlives it. */
static struct account {
    uint64_t last_id;       /* accepted */
    uint64_t acked;         /* by the consumer "all", in order */
    int made;               /* an open has said LQ_OK */
    uint64_t good[CALLS], refused[CALLS];
} *account;

static lq_options options;
static bool dies;

/* ---- messages ----------------------------------------------------------- */

static size_t size_of(uint64_t id)
{
    return id % 61 == 0 ? LARGE : 200 + id * 131 % 5000;
}

static void check_message(const lq_message *message, uint64_t id)
{
    EQUAL(message->id, id);
    HOLDS(api_is_filled(message, size_of(id), id));
}

/* ---- calls -------------------------------------------------------------- */

/* Counts the answer; anything but yes and "no space" ends the process. */
static bool done(enum call call, int code)
{
    if (code == LQ_ENOSPC) account->refused[call]++;
    else api_code(LQ_OK, code, call_names[call], __FILE__, __LINE__);
    if (code == LQ_OK) account->good[call]++;
    return code == LQ_OK;
}

static bool put(lq_queue *queue)
{
    static uint8_t bytes[LARGE];
    uint64_t id = 0, expected = account->last_id + 1;
    api_fill(bytes, size_of(expected), expected);
    bool good = done(PUT, lq_put(queue, bytes, size_of(expected), &id));
    if (good) {
        EQUAL(id, expected);
        account->last_id = id;
    }
    EQUAL(api_stats(queue).last_id, account->last_id); /* refused is refused */
    return good;
}

static bool put_batch(lq_queue *queue)
{
    static uint8_t bytes[BATCH][LARGE];
    lq_message messages[BATCH];
    uint64_t id = 0, expected = account->last_id + 1;
    memset(messages, 0, sizeof messages);
    for (uint64_t i = 0; i < BATCH; i++) {
        api_fill(bytes[i], size_of(expected + i), expected + i);
        messages[i].data = bytes[i];
        messages[i].size = size_of(expected + i);
    }
    bool good = done(BATCH_PUT, lq_put_batch(queue, messages, BATCH, &id));
    if (good) {
        EQUAL(id, expected);
        account->last_id = id + BATCH - 1;
    }
    EQUAL(api_stats(queue).last_id, account->last_id);
    return good;
}

static lq_consumer *open_consumer(lq_queue *queue, const char *name, uint32_t flags, uint32_t window)
{
    lq_consumer_options how = {.size = sizeof how, .flags = flags, .window = window};
    lq_consumer *consumer = NULL;
    return done(CONSUMER, lq_consumer_open(queue, name, &how, &consumer)) ? consumer : NULL;
}

/* Gets and acks up to `count` messages, which must come. */
static void take(lq_consumer *consumer, uint64_t count)
{
    lq_message message;
    for (; count && account->acked < account->last_id; count--) {
        OK(lq_get(consumer, &message, 10000));
        check_message(&message, account->acked + 1);
        account->acked++; /* also if it could not be saved */
        done(ACK, lq_ack(consumer, &message));
    }
}

/* ---- a process on a disk that gets full --------------------------------- */

static void one_round(lq_queue *queue, lq_consumer **all, int round)
{
    char name[32];
    int refused = 0;
    for (int i = 0; i < 40 && refused < 3; i++) refused += !put(queue);
    put_batch(queue);
    if (!*all) *all = open_consumer(queue, "all", round % 2 ? LQ_CONSUMER_SAVE_ACKS : 0, 1024);
    if (*all) take(*all, 20);

    snprintf(name, sizeof name, "late-%d", round);
    lq_consumer *late = open_consumer(queue, name, 0, 64);
    lq_message message;
    if (late && account->last_id) {
        uint64_t first = api_stats(queue).first_id; /* retention may have been at work */
        OK(lq_get(late, &message, 10000));
        check_message(&message, first);
        OK(lq_ack(late, &message));
    }
    done(CONSUMER_CLOSE, lq_consumer_close(late));
    done(SYNC, lq_sync(queue));
    for (int i = 0; i < 3; i++) put(queue);
    if (*all) take(*all, 10);
}

static int use(void *context)
{
    const struct disk *disk = context;
    signal(SIGBUS, SIG_DFL); /* cmocka catches it, and ends with another status */
    for (int round = 0; round < ROUNDS; round++) {
        lq_queue *queue = NULL;
        lq_consumer *all = NULL;
        if (!done(OPEN, lq_open(disk->queue, &options, &queue))) continue;
        account->made = 1;
        one_round(queue, &all, round);
        if (dies && round == ROUNDS - 1) _exit(0);
        if (all) done(CONSUMER_CLOSE, lq_consumer_close(all));
        done(CLOSE, lq_close(queue));
    }
    return 0;
}

/* ---- afterwards --------------------------------------------------------- */

/* Still full: what is there can be had. */
static int consume_on_full_disk(void *context)
{
    const struct disk *disk = context;
    lq_queue *queue = NULL;
    if (!done(OPEN, lq_open(disk->queue, &options, &queue))) return 0;
    lq_consumer *all = open_consumer(queue, "all", 0, 0);
    if (all) take(all, 20);
    if (all) done(CONSUMER_CLOSE, lq_consumer_close(all));
    done(CLOSE, lq_close(queue));
    return 0;
}

static int with_space_again(void *context)
{
    const struct disk *disk = context;
    lq_queue *queue = NULL;
    OK(lq_open(disk->queue, &options, &queue));
    EQUAL(api_stats(queue).last_id, account->last_id);
    lq_reader *reader;
    lq_message message;
    OK(lq_reader_open(queue, &reader));
    for (uint64_t id = api_stats(queue).first_id; id <= account->last_id; id++) {
        OK(lq_reader_next(reader, &message));
        check_message(&message, id);
    }
    IS(LQ_EMPTY, lq_reader_next(reader, &message));
    lq_reader_close(reader);

    lq_consumer *all = open_consumer(queue, "all", 0, 0);
    HOLDS(all != NULL);
    for (int i = 0; i < 30; i++) HOLDS(put(queue));
    HOLDS(put_batch(queue));
    take(all, UINT64_MAX);
    EQUAL(account->acked, account->last_id);
    OK(lq_consumer_close(all));
    OK(lq_close(queue));
    OK(lq_verify(disk->queue, 0, NULL, NULL, NULL));
    return 0;
}

static int remove_queue(void *context)
{
    const struct disk *disk = context;
    char command[8192];
    snprintf(command, sizeof command, "rm -rf '%s'", disk->queue);
    return system(command);
}

/* ---- the sweep ---------------------------------------------------------- */

static void fails_at(uint64_t leave, const char *what, int result)
{
    if (result == 0) return;
    fflush(stdout);
    dprintf(2, "with %" PRIu64 " KiB free, %s: a process ended with %d (100 and more: by a signal)\n", leave / KIB, what, result);
    fail();
}

static void one_size(struct disk *disk, uint64_t leave, uint64_t number)
{
    uint64_t good[CALLS], refused[CALLS];
    memcpy(good, account->good, sizeof good);
    memcpy(refused, account->refused, sizeof refused);
    memset(account, 0, sizeof *account);
    memcpy(account->good, good, sizeof good);
    memcpy(account->refused, refused, sizeof refused);
    dies = number % 2;
    options = (lq_options){.size = sizeof options, .segment_size = 64 * KIB, .ring_size = 64 * KIB,
                           .sync = number % 3 == 1 ? LQ_SYNC_NEVER : LQ_SYNC_ALWAYS};

    disk_fill(disk, leave);
    fails_at(leave, "using", child_run(use, disk));
    if (account->made) fails_at(leave, "consuming", child_run(consume_on_full_disk, disk));
    disk_release(disk);
    fails_at(leave, "with space again", child_run(with_space_again, disk));
    fails_at(leave, "removing", child_run(remove_queue, disk));
}

/* 0, 1/2, 1/4, 3/4, 1/8... of `steps`: the bits of the number the other way round. */
static uint64_t in_turn(uint64_t number, uint64_t steps)
{
    uint64_t turned = 0;
    for (uint64_t bit = 1; bit < steps; bit <<= 1, number >>= 1) turned = turned << 1 | (number & 1);
    return turned;
}

/* The first amount of space, of some, with which nothing is refused: more need not be tried. */
static uint64_t steps_until_it_fits(struct disk *disk)
{
    uint64_t leave = 0, refused = 1;
    dies = false;
    options = (lq_options){.size = sizeof options, .segment_size = 64 * KIB, .ring_size = 64 * KIB};
    while (refused && leave < STEPS_MAX * STEP) {
        leave += 256 * KIB;
        memset(account, 0, sizeof *account);
        disk_fill(disk, leave);
        fails_at(leave, "using", child_run(use, disk));
        disk_release(disk);
        fails_at(leave, "removing", child_run(remove_queue, disk));
        refused = 0;
        for (int i = 0; i < CALLS; i++) refused += account->refused[i];
    }
    return leave / STEP;
}

static void a_full_disk_refuses_what_it_must_and_loses_nothing(void **state)
{
    struct disk *disk = *state;
    memset(account, 0, sizeof *account);
    disk_fresh(disk);
    uint64_t steps = steps_until_it_fits(disk), count = 0;
    double start = disk_now(), end = start + disk_seconds(35, 4);

    memset(account, 0, sizeof *account);
    for (uint64_t number = 0; number < STEPS_MAX && (count < STEPS_MIN || disk_now() < end); number++) {
        uint64_t step = in_turn(number, STEPS_MAX);
        if (step < steps) one_size(disk, step * STEP, count++);
    }
    printf("# %s: %" PRIu64 " of %" PRIu64 " amounts of free space in %.1f s; done and refused:", disk->kind->name, count, steps,
           disk_now() - start);
    for (int i = 0; i < CALLS; i++)
        printf(" %s %" PRIu64 "/%" PRIu64, call_names[i], account->good[i], account->refused[i]);
    puts("");
    /* Or the sweep has not swept. */
    HOLDS(account->refused[OPEN] && account->refused[PUT] + account->refused[BATCH_PUT]);
}

int main(void)
{
    int skip_code = disk_begin();
    if (skip_code) return skip_code;
    account = mmap(NULL, sizeof *account, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (account == MAP_FAILED) return 1;
    const struct CMUnitTest tests[] = {
        ON_DISK(ext4, a_full_disk_refuses_what_it_must_and_loses_nothing),
        ON_DISK(xfs, a_full_disk_refuses_what_it_must_and_loses_nothing),
        ON_DISK(btrfs, a_full_disk_refuses_what_it_must_and_loses_nothing),
        ON_DISK(tmpfs, a_full_disk_refuses_what_it_must_and_loses_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
