/* A queue that cannot be made, or be opened when it has been: nothing is left that stands in the way of other options,
 * and nothing of what somebody else has begun to use meanwhile is lost. */
#include <errno.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "queue.h"
#include "support/api.h"
#include "support/damage.h"
#include "support/each_fault.h"
#include "support/libc_fault.h"

static char queue_path[4200];
static const lq_options large = {.size = sizeof large, .ring_size = 1 << 20, .segment_size = 1 << 20, .compression = 1};
static const lq_options small = {.size = sizeof small, .ring_size = 1 << 16, .segment_size = 1 << 16, .sync = LQ_SYNC_NEVER};

/* Where there is none yet. */
static void begin(void **state)
{
    static unsigned count;
    char name[16];
    snprintf(name, sizeof name, "q%u", ++count);
    snprintf(queue_path, sizeof queue_path, "%s", api_path(*state, name));
}

static void use(const lq_options *options)
{
    lq_queue *queue;
    OK(lq_open(queue_path, options, &queue));
    EQUAL(api_put(queue, "first"), 1);
    lq_consumer *consumer = api_consumer(queue, "c", NULL);
    api_get_ack(consumer, "first");
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
    OK(lq_verify(queue_path, 0, NULL, NULL, NULL));
}

/* Whether other options may fail to do after a failure: where nothing can be taken away any more. */
static bool lasts(const struct io_fault *fault)
{
    return fault->for_ever && fault->kind != IO_ALLOCATE && fault->kind != IO_WRITE && fault->kind != IO_MAP && fault->kind != IO_SYNC &&
           fault->kind != IO_DIR_SYNC && fault->kind != IO_RENAME && fault->kind != IO_RANDOM && fault->kind != IO_DIR_MAKE;
}

static unsigned failed, opened;

static void make_it_large_then_small(struct io_fault *fault, void *context)
{
    lq_queue *queue;
    begin(context);
    int err = lqi_open_io(&fault->io, queue_path, &large, &queue);
    bool hit = fault->hits > 0;
    io_fault_end(fault);
    if (err) {
        failed++;
        HOLDS(hit && *lq_error_text());
        use(lasts(fault) ? &large : &small);
    } else {
        opened++;
        OK(lq_close(queue));
        use(&large);
    }
}

static void whichever_call_fails_other_options_will_do(void **state)
{
    HOLDS(each_fault(make_it_large_then_small, state) >= 60);
    HOLDS(failed >= 50 && opened >= 1);
}

/* ---- and then something else fails ------------------------------------------------- */

static enum io_kind then;
static uint64_t then_nth;

/* The working memory cannot be mapped; from there on the plan is for what comes then. */
static int no_map(const struct lqi_io *io, int fd, uint64_t offset, size_t size, size_t mirrored, bool writable, void **map_out)
{
    (void)fd, (void)offset, (void)size, (void)mirrored, (void)writable, (void)map_out;
    io_fault_plan((struct io_fault *)(uintptr_t)io->context, then, then_nth, false, EIO);
    return ENOMEM;
}

static void what_fails_while_it_is_taken_away_is_not_what_is_told(void **state)
{
    unsigned stayed = 0, runs = 0;
    for (int kind = 0; kind < IO_KINDS; kind++) {
        bool hit = true;
        for (then_nth = 1; hit; then_nth++) {
            struct io_fault fault;
            lq_queue *queue;
            begin(state);
            io_fault_init(&fault, &lqi_io_posix);
            fault.io.map = no_map;
            then = (enum io_kind)kind;
            IS(LQ_ENOMEM, lqi_open_io(&fault.io, queue_path, &large, &queue));
            TEXT_HAS("map", "shared");
            hit = fault.hits > 0;
            io_fault_release(&fault);
            int err = lq_open(queue_path, &small, &queue);
            if (!err) OK(lq_close(queue));
            HOLDS(!err || (err == LQ_EMISMATCH && hit));
            stayed += err != LQ_OK;
            runs++;
            if (err) use(&large);
        }
    }
    HOLDS(runs > 20 && stayed > 5);
}

/* ---- somebody else is there ------------------------------------------------------ */

/* At the call that fails, another handle has found the queue. */
static struct {
    struct lqi_io io;
    enum { STAYS, LEAVES, HAS_PUT, HAS_CONSUMED } what;
    lq_queue *queue;
    const lq_options *options;
    unsigned asked;
} other = {.options = &large};

static void come_in(void)
{
    OK(lq_open(queue_path, other.options, &other.queue));
    if (other.what == HAS_PUT) EQUAL(api_put(other.queue, "theirs"), 1);
    if (other.what == HAS_CONSUMED) OK(lq_consumer_close(api_consumer(other.queue, "theirs", NULL)));
    if (other.what == STAYS) return;
    OK(lq_close(other.queue));
    other.queue = NULL;
}

/* The open lock is the first that is asked for, when `meta` is there and nobody holds it yet. */
static int no_lock(const struct lqi_io *io, int fd, uint64_t byte)
{
    if (byte != LQI_BYTE_OPEN || other.asked++) return lqi_io_posix.lock(io, fd, byte);
    come_in();
    return EIO;
}

static void what_somebody_else_has_begun_to_use_stays(void **state)
{
    for (other.what = STAYS; other.what <= HAS_CONSUMED; other.what++) {
        lq_queue *queue;
        begin(state);
        other.io = lqi_io_posix;
        other.io.lock = no_lock;
        other.asked = 0;
        IS(LQ_EIO, lqi_open_io(&other.io, queue_path, &large, &queue));
        TEXT_HAS("lock", "meta");
        IS(LQ_EMISMATCH, lq_open(queue_path, &small, &queue));
        OK(lq_open(queue_path, &large, &queue));
        EQUAL(api_stats(queue).last_id, other.what == HAS_PUT);
        EQUAL(api_stats(queue).consumers, other.what == HAS_CONSUMED);
        OK(lq_close(queue));
        OK(lq_close(other.queue));
    }
}

/* It was opened, and then there is no thread to sync it, or retention cannot list what may go. */
static const lq_options of_a_thread = {.size = sizeof of_a_thread, .ring_size = 1 << 20, .segment_size = 1 << 20, .compression = 1, .sync = LQ_SYNC_INTERVAL};
static const lq_options of_limits = {.size = sizeof of_limits, .ring_size = 1 << 20, .segment_size = 1 << 20, .compression = 1,
                                     .retention = LQ_RETAIN_LIMITS, .age_max_ms = 1000};

static void what_was_opened_and_cannot_be_kept_up_is_taken_away_too(void **state)
{
    lq_queue *queue;
    begin(state);
    fail_calls(PTHREAD_CREATE, 0, 1, EAGAIN);
    IS(LQ_ELIMIT, lq_open(queue_path, &of_a_thread, &queue));
    all_failed();
    TEXT_HAS("thread");
    use(&small);

    unsigned hits = 0;
    for (uint64_t nth = 1; nth < 30; nth++) {
        struct io_fault fault;
        begin(state);
        io_fault_init(&fault, &lqi_io_posix);
        io_fault_plan(&fault, IO_DIR_LIST, nth, false, EIO);
        int err = lqi_open_io(&fault.io, queue_path, &of_limits, &queue);
        hits += fault.hits > 0;
        HOLDS(!err || fault.hits);
        io_fault_end(&fault);
        if (!err) OK(lq_close(queue));
        use(err ? &small : &of_limits);
        io_fault_release(&fault);
    }
    HOLDS(hits >= 2);
}

/* Just before we are about to take it away. */
static int lock_after(const struct lqi_io *io, int fd, uint64_t byte)
{
    (void)io;
    if (byte == LQI_BYTE_OPEN && ++other.asked == 2) come_in();
    return lqi_io_posix.lock(&lqi_io_posix, fd, byte);
}

static void what_was_opened_by_others_meanwhile_stays(void **state)
{
    for (other.what = STAYS; other.what <= HAS_CONSUMED; other.what++) {
        lq_queue *queue;
        begin(state);
        other.io = lqi_io_posix;
        other.io.lock = lock_after;
        other.options = &of_a_thread;
        other.asked = 0;
        fail_calls(PTHREAD_CREATE, 0, 1, EAGAIN);
        IS(LQ_ELIMIT, lqi_open_io(&other.io, queue_path, &of_a_thread, &queue));
        all_failed();
        EQUAL(other.asked, 2);
        IS(LQ_EMISMATCH, lq_open(queue_path, &small, &queue));
        OK(lq_open(queue_path, &of_a_thread, &queue));
        EQUAL(api_stats(queue).last_id, other.what == HAS_PUT);
        EQUAL(api_stats(queue).consumers, other.what == HAS_CONSUMED);
        OK(lq_close(queue));
        OK(lq_close(other.queue));
    }
    other.options = &large;
}

/* Others have made it while we were about to. */
static int list_late(const struct lqi_io *io, int dir, lqi_name_callback *each, void *context)
{
    (void)io;
    if (!other.asked++) come_in();
    return lqi_io_posix.dir_list(&lqi_io_posix, dir, each, context);
}

static int no_memory(const struct lqi_io *io, int fd, uint64_t offset, size_t size, size_t mirrored, bool writable, void **map_out)
{
    (void)io, (void)fd, (void)offset, (void)size, (void)mirrored, (void)writable, (void)map_out;
    return ENOMEM;
}

static void what_another_maker_has_made_stays(void **state)
{
    lq_queue *queue;
    begin(state);
    other.io = lqi_io_posix;
    other.io.dir_list = list_late;
    other.io.map = no_memory;
    other.asked = 0;
    other.what = LEAVES;
    IS(LQ_ENOMEM, lqi_open_io(&other.io, queue_path, &large, &queue));
    HOLDS(other.asked > 0);
    IS(LQ_EMISMATCH, lq_open(queue_path, &small, &queue));
    use(&large);
}

/* ---- somebody else waits ---------------------------------------------------------- */

/* The other maker's `meta` goes while we wait for his lock, so often. */
static unsigned goes;

static int lock_when_it_is_gone(const struct lqi_io *io, int fd, uint64_t byte)
{
    char path[4300];
    if (byte == LQI_BYTE_OPEN && other.asked++ < goes) {
        snprintf(path, sizeof path, "%s/meta", queue_path);
        damage_remove(path);
    }
    return lqi_io_posix.lock(io, fd, byte);
}

/* ... or another one takes its place: repair was there. */
static int lock_when_it_was_swapped(const struct lqi_io *io, int fd, uint64_t byte)
{
    char path[4300], copy[4400];
    if (byte == LQI_BYTE_OPEN && other.asked++ == 0) {
        snprintf(path, sizeof path, "%s/meta", queue_path);
        snprintf(copy, sizeof copy, "%s/copy", queue_path);
        struct api_bytes bytes = api_file_read(path);
        api_file_write(copy, bytes.bytes, bytes.size);
        free(bytes.bytes);
        HOLDS(rename(copy, path) == 0);
    }
    return lqi_io_posix.lock(io, fd, byte);
}

static void who_waited_for_a_maker_that_failed_makes_the_queue_himself(void **state)
{
    lq_queue *queue;
    begin(state);
    OK(lq_open(queue_path, &large, &queue));
    OK(lq_close(queue));
    other.io = lqi_io_posix;
    other.io.lock = lock_when_it_is_gone;
    other.asked = 0;
    goes = 1;
    OK(lqi_open_io(&other.io, queue_path, NULL, &queue));
    EQUAL(api_stats(queue).ring_size, 4 << 20);
    api_put(queue, "first");
    OK(lq_close(queue));
    OK(lq_verify(queue_path, 0, NULL, NULL, NULL));
}

/* Two make it at once; the faster one fails, and takes his `meta` away, before the other has opened it. */
static int open_when_it_is_gone(const struct lqi_io *io, int dir, const char *name, int flags, uint32_t mode, int *fd_out)
{
    char path[4300];
    (void)io;
    if (strcmp(name, "meta") == 0 && ++other.asked == 2) {
        snprintf(path, sizeof path, "%s/meta", queue_path);
        damage_remove(path);
    }
    return lqi_io_posix.open(&lqi_io_posix, dir, name, flags, mode, fd_out);
}

static void who_found_the_meta_of_a_maker_that_failed_makes_the_queue_himself(void **state)
{
    lq_queue *queue;
    begin(state);
    other.io = lqi_io_posix;
    other.io.open = open_when_it_is_gone;
    other.asked = 0;
    OK(lqi_open_io(&other.io, queue_path, &large, &queue));
    HOLDS(other.asked > 2);
    api_put(queue, "first");
    OK(lq_close(queue));
    OK(lq_verify(queue_path, 0, NULL, NULL, NULL));
}

static void who_waited_for_a_repair_opens_what_it_has_put_in_the_place_of_meta(void **state)
{
    lq_queue *queue;
    begin(state);
    OK(lq_open(queue_path, &large, &queue));
    api_put(queue, "first");
    OK(lq_close(queue));
    other.io = lqi_io_posix;
    other.io.lock = lock_when_it_was_swapped;
    other.asked = 0;
    OK(lqi_open_io(&other.io, queue_path, &large, &queue));
    HOLDS(other.asked >= 2);
    EQUAL(api_put(queue, "second"), 2);
    OK(lq_close(queue));
    OK(lq_verify(queue_path, 0, NULL, NULL, NULL));
}

/* ---- somebody is stopped ----------------------------------------------------------- */

/* He was stopped with the open lock, and will not let go of it. */
static int lock_of_the_stopped(const struct lqi_io *io, int fd, uint64_t byte)
{
    if (byte != LQI_BYTE_OPEN) return lqi_io_posix.lock(io, fd, byte);
    other.asked++;
    return EAGAIN;
}

/* A handle opens it to use it, and what it has made itself a second time to take that away again. */
static unsigned metas;

static int open_counting(const struct lqi_io *io, int dir, const char *name, int flags, uint32_t mode, int *fd_out)
{
    (void)io;
    int error = lqi_io_posix.open(&lqi_io_posix, dir, name, flags, mode, fd_out);
    if (!error && strcmp(name, "meta") == 0) {
        metas++;
        other.asked = 0;
    }
    return error;
}

static void who_cannot_open_what_he_has_made_waits_once_for_who_is_in_his_way(void **state)
{
    lq_queue *queue;
    int patience_ms = lqi_open_patience_ms;
    begin(state);
    other.io = lqi_io_posix;
    other.io.open = open_counting;
    other.io.lock = lock_of_the_stopped;
    metas = 0;
    lqi_open_patience_ms = 30;
    IS(LQ_EBUSY, lqi_open_io(&other.io, queue_path, &large, &queue));
    lqi_open_patience_ms = patience_ms;
    TEXT_HAS("opening", "30 ms", "stopped");
    EQUAL(metas, 2);
    EQUAL(other.asked, 1); /* whether he has gone by now, and no more */
    use(&large);           /* he may be in the middle of using it, so that it stays */
}

static void who_has_waited_to_open_has_all_his_patience_to_close(void **state)
{
    lq_queue *queue;
    int patience_ms = lqi_open_patience_ms;
    begin(state);
    OK(lq_open(queue_path, &large, &queue));
    other.io = lqi_io_posix;
    other.io.lock = lock_of_the_stopped;
    other.asked = 0;
    lqi_open_patience_ms = 30;
    queue->open_patience_us = 0;
    queue->io = &other.io;
    IS(LQ_EBUSY, lq_close(queue));
    lqi_open_patience_ms = patience_ms;
    HOLDS(other.asked > 1);
    use(&large);
}

/* Not for ever. */
static void a_queue_that_goes_each_time_is_not_found(void **state)
{
    lq_queue *queue;
    begin(state);
    other.io = lqi_io_posix;
    other.io.lock = lock_when_it_is_gone;
    other.asked = 0;
    goes = UINT_MAX;
    IS(LQ_ENOTFOUND, lqi_open_io(&other.io, queue_path, &large, &queue));
    HOLDS(other.asked >= 3 && other.asked < 100);
    use(&small);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_DIRECTORY(whichever_call_fails_other_options_will_do),
        IN_DIRECTORY(what_fails_while_it_is_taken_away_is_not_what_is_told),
        IN_DIRECTORY(what_somebody_else_has_begun_to_use_stays),
        IN_DIRECTORY(what_was_opened_and_cannot_be_kept_up_is_taken_away_too),
        IN_DIRECTORY(what_was_opened_by_others_meanwhile_stays),
        IN_DIRECTORY(what_another_maker_has_made_stays),
        IN_DIRECTORY(who_waited_for_a_maker_that_failed_makes_the_queue_himself),
        IN_DIRECTORY(who_found_the_meta_of_a_maker_that_failed_makes_the_queue_himself),
        IN_DIRECTORY(who_waited_for_a_repair_opens_what_it_has_put_in_the_place_of_meta),
        IN_DIRECTORY(who_cannot_open_what_he_has_made_waits_once_for_who_is_in_his_way),
        IN_DIRECTORY(who_has_waited_to_open_has_all_his_patience_to_close),
        IN_DIRECTORY(a_queue_that_goes_each_time_is_not_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
