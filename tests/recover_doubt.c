/* A sync fails, and who was told of it dies before he can tell the others; or another one was about to sync at
 * that very moment. The kernel says so once to each descriptor that was open, calls the pages clean, and answers the next sync
 * of whoever opens the file later as if nothing had happened. No such answer may be believed. */
#include <errno.h>
#include <inttypes.h>
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
#include "support/child.h"
#include "support/io_fault.h"
#include "writeout.h"

enum { KIB = 1024, DIED_IN_SYNC = 42 };

static char queue_path[4096];

/* ---- machines on which it happens ---------------------------------------- */

static int die_of_failed_sync(const struct lqi_io *io, int fd)
{
    (void)io;
    (void)fd;
    _exit(DIED_IN_SYNC); /* the kernel had an answer; it was EIO, and nobody has heard it */
}

/* Where in the file the bytes in doubt begin. */
static const uint64_t in_doubt = LQI_SEGMENT_HEADER + 48; /* behind the record of "before" */

/* What was written to log files, as far as it matters, since note_writes(). */
static uint64_t written_low; /* the lowest record */
static uint64_t again_to;    /* from `in_doubt` on without a gap up to here */

static uint64_t written;     /* bytes, of all files */
static uint64_t first_offset; /* of the first of these writes */

static bool refuse_writes;    /* large ones: no space */

static int noting_write(const struct lqi_io *io, int fd, uint64_t offset, const void *data, size_t size)
{
    if (refuse_writes && size > 4096) return ENOSPC;
    if (!written) first_offset = offset;
    written += size;
    if (offset >= LQI_SEGMENT_HEADER && offset < written_low) written_low = offset;
    if (offset >= in_doubt && offset <= again_to && offset + size > again_to) again_to = offset + size;
    return lqi_io_posix.write(io, fd, offset, data, size);
}

static struct lqi_io noting;

static void note_writes(void)
{
    noting = lqi_io_posix;
    noting.write = noting_write;
    written_low = UINT64_MAX;
    written = 0;
    again_to = in_doubt;
}

static lq_queue *open_on(const struct lqi_io *io, const lq_options *options)
{
    lq_queue *queue;
    OK(lqi_open_io(io, queue_path, options, &queue));
    return queue;
}

static const lq_options always = {.size = sizeof(lq_options), .segment_size = 64 * KIB, .ring_size = 64 * KIB};

/* A queue with one message that is on the disk for sure; the next sync is the failed one. */
static lq_queue *open_before_failure(const lq_options *options)
{
    static struct lqi_io io;
    lq_queue *queue = open_on(&lqi_io_posix, options);
    api_put(queue, "before");
    OK(lq_sync(queue));
    io = lqi_io_posix;
    io.sync = die_of_failed_sync;
    queue->log.writing.file.io = queue->log.syncing.file.io = queue->log.io = &io;
    return queue;
}

static int put_and_die_in_sync(void *context)
{
    (void)context;
    lq_put(open_before_failure(&always), "doubtful", 8, NULL);
    return 0;
}

/* Fills the segment, and dies in the sync that seals it. */
static int roll_and_die_in_sync(void *context)
{
    (void)context;
    static const uint8_t body[8 * KIB];
    lq_options deferred = always;
    deferred.flags = LQ_DEFER_SYNC;
    lq_queue *queue = open_before_failure(&deferred);
    for (int i = 0; i < 20; i++) lq_put(queue, body, sizeof body, NULL);
    return 0;
}

static struct lqi_io dying;
static unsigned syncs_before_death;

static int die_of_a_later_sync(const struct lqi_io *io, int fd)
{
    return syncs_before_death-- ? lqi_io_posix.sync(io, fd) : die_of_failed_sync(io, fd);
}

/* Acks, and dies in the sync of the offset file. */
static int ack_and_die_in_sync(void *context)
{
    (void)context;
    const lq_consumer_options saving = {.size = sizeof saving, .flags = LQ_CONSUMER_SAVE_ACKS};
    lq_queue *queue = open_on(&lqi_io_posix, &always);
    lq_consumer *consumer = api_consumer(queue, "c", &saving);
    lq_message message = api_get(consumer, "second");
    dying = lqi_io_posix;
    dying.sync = die_of_failed_sync;
    consumer->position.file.io = &dying;
    lq_ack(consumer, &message);
    return 0;
}

/* Brings the consumer to life, and dies in the second sync of its offset file, that of the entry. */
static int open_consumer_and_die_in_sync(void *context)
{
    (void)context;
    lq_queue *queue = open_on(&lqi_io_posix, &always);
    lq_consumer *consumer;
    dying = lqi_io_posix;
    dying.sync = die_of_a_later_sync;
    syncs_before_death = 1;
    queue->log.io = &dying;
    lq_consumer_open(queue, "c", NULL, &consumer);
    return 0;
}

/* ---- tests ---------------------------------------------------------------- */

static int choose_path(void **state)
{
    if (api_setup(state)) return -1;
    snprintf(queue_path, sizeof queue_path, "%s", api_path(*state, "q"));
    return 0;
}

static void leave_doubt(int (*body)(void *context))
{
    assert_int_equal(child_run(body, NULL), DIED_IN_SYNC);
}

static void what_a_leader_left_in_doubt_is_written_again_by_the_next(void **state)
{
    (void)state;
    note_writes();
    lq_queue *queue = open_on(&noting, &always);
    leave_doubt(put_and_die_in_sync);

    note_writes();
    api_put(queue, "next");
    EQUAL(written_low, in_doubt);
    OK(lq_close(queue));
}

static void what_a_roll_left_in_doubt_is_written_again_by_the_next(void **state)
{
    (void)state;
    note_writes();
    lq_queue *queue = open_on(&noting, &always);
    leave_doubt(roll_and_die_in_sync);

    note_writes();
    api_put(queue, "next");
    HOLDS(again_to > 48 * KIB);
    OK(lq_close(queue));
}

/* Which files they are, to tell whether others have taken their place. */
struct places {
    ino_t segment, position;
};

static struct places look(void)
{
    char path[4200];
    struct stat segment, position;
    snprintf(path, sizeof path, "%s/log/00000000000000000001.seg", queue_path);
    EQUAL(stat(path, &segment), 0);
    snprintf(path, sizeof path, "%s/consumers/c.pos", queue_path);
    EQUAL(stat(path, &position), 0);
    return (struct places){segment.st_ino, position.st_ino};
}

static void make_queue_with_consumer(void)
{
    lq_queue *queue = open_on(&lqi_io_posix, &always);
    lq_consumer *consumer = api_consumer(queue, "c", NULL);
    api_put(queue, "first");
    api_get_ack(consumer, "first");
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
}

/* Nobody has lived to tell whether that sync has failed: written again in place it may be lost, on ext4 (see publish.h). */
static void moved_by_recovery_after(int (*body)(void *context))
{
    make_queue_with_consumer();
    struct places before = look();
    leave_doubt(body);
    lq_queue *queue = open_on(&lqi_io_posix, &always);
    struct places after = look();
    HOLDS(after.segment != before.segment);
    HOLDS(after.position != before.position);
    EQUAL(api_stats(queue).poisoned, 0);
    lq_consumer *consumer = api_consumer(queue, "c", NULL);
    api_get_ack(consumer, "before");
    if (body == put_and_die_in_sync) api_get_ack(consumer, "doubtful");
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
}

static void what_the_last_leader_left_in_doubt_goes_into_other_files_at_recovery(void **state)
{
    (void)state;
    moved_by_recovery_after(put_and_die_in_sync);
}

static void what_the_last_roll_left_in_doubt_goes_into_other_files_at_recovery(void **state)
{
    (void)state;
    moved_by_recovery_after(roll_and_die_in_sync);
}

static int put_sync_put_and_die(void *context)
{
    (void)context;
    lq_options deferred = always;
    deferred.flags = LQ_DEFER_SYNC;
    lq_queue *queue = open_on(&lqi_io_posix, &deferred);
    lq_consumer *consumer = api_consumer(queue, "c", NULL);
    api_put(queue, "before");
    OK(lq_sync(queue));
    api_get_ack(consumer, "before");
    api_put(queue, "after");
    _exit(DIED_IN_SYNC);
}

/* ---- offset files ---------------------------------------------------------- */

enum { OFFSET_FILE_SIZE = 8192 + 2 * (LQI_POSITION_WINDOW / LQI_POSITION_BLOCK_WORDS + 2) * LQI_POSITION_BLOCK };

static lq_queue *open_noting_with_two(void)
{
    make_queue_with_consumer();
    note_writes();
    lq_queue *queue = open_on(&noting, &always);
    api_put(queue, "second");
    return queue;
}

static void what_a_member_left_in_doubt_of_an_offset_file_is_written_again_once_by_who_syncs_it_next(void **state)
{
    (void)state;
    lq_queue *queue = open_noting_with_two();
    leave_doubt(ack_and_die_in_sync);

    refuse_writes = true;
    IS(LQ_ENOSPC, lq_sync(queue));
    refuse_writes = false;
    note_writes();
    OK(lq_sync(queue)); /* still in doubt */
    HOLDS(written >= OFFSET_FILE_SIZE && written <= OFFSET_FILE_SIZE + LQI_POSITION_ENTRY); /* the mended lock calls for an entry */
    lq_consumer *consumer = api_consumer(queue, "c", NULL);
    lq_message message;
    IS(LQ_EMPTY, lq_poll(consumer, &message)); /* acked is acked */
    OK(lq_consumer_close(consumer));
    note_writes();
    OK(lq_sync(queue));
    HOLDS(written < OFFSET_FILE_SIZE);
    EQUAL(api_stats(queue).poisoned, 0);
    OK(lq_close(queue));
    OK(lq_verify(queue_path, 0, NULL, NULL, NULL));
}

static void what_was_left_in_doubt_as_a_consumer_came_to_life_is_written_again_before_anything_else(void **state)
{
    (void)state;
    lq_queue *queue = open_noting_with_two();
    lq_consumer *consumer = api_consumer(queue, "c", NULL);
    api_get(consumer, "second"); /* comes again: its word will have to be written */
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
    queue = open_on(&noting, &always);
    leave_doubt(open_consumer_and_die_in_sync);

    note_writes();
    consumer = api_consumer(queue, "c", NULL);
    EQUAL(first_offset, 0);
    HOLDS(written > OFFSET_FILE_SIZE && written < OFFSET_FILE_SIZE + 4096);
    api_get_ack(consumer, "second");
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
    OK(lq_verify(queue_path, 0, NULL, NULL, NULL));
}

static void offset_file_moved_by_recovery_after(int (*body)(void *context))
{
    OK(lq_close(open_noting_with_two()));
    struct places before = look();
    leave_doubt(body);
    lq_queue *queue = open_on(&lqi_io_posix, &always);
    struct places after = look();
    EQUAL(after.segment, before.segment); /* nothing is wrong with it */
    HOLDS(after.position != before.position);
    EQUAL(api_stats(queue).poisoned, 0);
    EQUAL(api_consumer_stats(queue, "c").floor, body == ack_and_die_in_sync ? 2 : 1);
    OK(lq_close(queue));
    OK(lq_verify(queue_path, 0, NULL, NULL, NULL));
}

static void what_the_last_member_left_in_doubt_of_an_offset_file_goes_into_another_at_recovery(void **state)
{
    (void)state;
    offset_file_moved_by_recovery_after(ack_and_die_in_sync);
}

static void what_the_last_left_in_doubt_as_a_consumer_came_to_life_goes_into_another_file_at_recovery(void **state)
{
    (void)state;
    offset_file_moved_by_recovery_after(open_consumer_and_die_in_sync);
}

/* Recovery syncs the segment, then it again with what was in the ring, then the offset file, twice. Whichever sync fails, what
 * it was for may be in the page cache only, and the next opener, who would see nothing wrong, must know. */
static void a_sync_that_fails_during_recovery_is_not_forgotten(void **state)
{
    struct io_fault fault;
    lq_queue *queue;
    io_fault_init(&fault, &lqi_io_posix);
    for (uint64_t nth = 1; nth <= 4; nth++) {
        snprintf(queue_path, sizeof queue_path, "%s%" PRIu64, api_path(*state, "q"), nth);
        make_queue_with_consumer();
        leave_doubt(put_sync_put_and_die);
        struct places before = look();
        io_fault_plan(&fault, IO_SYNC, nth, false, EIO);
        IS(LQ_EIO, lqi_open_io(&fault.io, queue_path, &always, &queue));
        TEXT_HAS("sync", nth <= 2 ? "log/" : "consumers/c.pos");
        struct places between = look();
        EQUAL(between.segment, before.segment);
        EQUAL(between.position, before.position);
        io_fault_end(&fault);

        OK(lqi_open_io(&fault.io, queue_path, &always, &queue));
        struct places after = look();
        HOLDS(after.segment != before.segment);
        HOLDS(after.position != before.position);
        EQUAL(api_stats(queue).poisoned, 0);
        lq_consumer *consumer = api_consumer(queue, "c", NULL);
        api_get_ack(consumer, "after");
        OK(lq_consumer_close(consumer));
        OK(lq_close(queue));
    }
    io_fault_release(&fault);
}

static void who_syncs_while_nobody_is_in_doubt_writes_nothing_twice(void **state)
{
    (void)state;
    note_writes();
    lq_queue *first = open_on(&lqi_io_posix, &always), *second = open_on(&noting, &always);
    api_put(first, "before");
    note_writes();
    api_put(second, "next");
    EQUAL(written_low, in_doubt);
    OK(lq_close(second));
    OK(lq_close(first));
}

/* ---- a failure between looking and locking ------------------------------- */

#if defined(__SANITIZE_THREAD__)
#define NO_HOOK 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define NO_HOOK 1
#endif
#endif

static void skip_here(void **state)
{
    (void)state;
    skip();
}

#ifdef NO_HOOK
#define nobody_leads_after_a_failed_sync skip_here
#else
#include <dlfcn.h>

static struct lqi_log *unlucky; /* its next trylock of the sync lock comes right after another leader's failure */
static unsigned syncs;

/* Stands before the one of libc: the moment between the question "poisoned?" and the lock. */
int pthread_mutex_trylock(pthread_mutex_t *mutex)
{
    static int (*real)(pthread_mutex_t *);
    if (!real) *(void **)&real = dlsym(RTLD_NEXT, "pthread_mutex_trylock");
    if (unlucky && mutex == &unlucky->state->sync.mutex) {
        lqi_poison(unlucky);
        unlucky = NULL;
        syncs = 0;
    }
    return real(mutex);
}

static int counting_sync(const struct lqi_io *io, int fd)
{
    syncs++;
    return lqi_io_posix.sync(io, fd);
}

static void nobody_leads_after_a_failed_sync(void **state)
{
    (void)state;
    struct lqi_io io = lqi_io_posix;
    io.sync = counting_sync;
    lq_queue *queue = open_on(&io, &always);
    unlucky = &queue->log;
    IS(LQ_EPOISONED, lq_put(queue, "x", 1, NULL));
    HOLDS(!unlucky);
    EQUAL(syncs, 0);
    lq_close(queue);
    (void)skip_here;
}
#endif

#define DOUBT(test) cmocka_unit_test_setup_teardown(test, choose_path, api_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        DOUBT(what_a_leader_left_in_doubt_is_written_again_by_the_next),
        DOUBT(what_a_roll_left_in_doubt_is_written_again_by_the_next),
        DOUBT(what_the_last_leader_left_in_doubt_goes_into_other_files_at_recovery),
        DOUBT(what_the_last_roll_left_in_doubt_goes_into_other_files_at_recovery),
        DOUBT(what_a_member_left_in_doubt_of_an_offset_file_is_written_again_once_by_who_syncs_it_next),
        DOUBT(what_was_left_in_doubt_as_a_consumer_came_to_life_is_written_again_before_anything_else),
        DOUBT(what_the_last_member_left_in_doubt_of_an_offset_file_goes_into_another_at_recovery),
        DOUBT(what_the_last_left_in_doubt_as_a_consumer_came_to_life_goes_into_another_file_at_recovery),
        DOUBT(a_sync_that_fails_during_recovery_is_not_forgotten),
        DOUBT(who_syncs_while_nobody_is_in_doubt_writes_nothing_twice),
        DOUBT(nobody_leads_after_a_failed_sync),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
