/* Event flags, locks, waiting and the library's thread on a machine that interrupts, refuses and does not know calls;
 * and a queue where nothing can be reserved. */
#include <libqueue.h>

#include "flag.h"
#include "support/libc_fault.h"
#include "support/scratch.h"
#include "wait.h"

static bool is_raised(int fd)
{
    uint64_t count = 0;
    return read(fd, &count, sizeof count) == (ssize_t)sizeof count;
}

static void a_flag_is_raised_and_lowered_through_signals(void **state)
{
    int fd = -1;
    (void)state;
    assert_int_equal(lqi_flag_open(&fd), LQ_OK);
    assert_false(is_raised(fd));
    fail_calls(WRITE, 0, 2, EINTR);
    lqi_flag_raise(fd);
    all_failed();
    fail_calls(READ, 0, 2, EINTR);
    lqi_flag_lower(fd);
    all_failed();
    assert_false(is_raised(fd));
    lqi_flag_lower(fd); /* of one that is low: nothing */
    lqi_flag_raise(fd);
    assert_true(is_raised(fd));
    uint64_t most = UINT64_MAX - 1;
    assert_int_equal(write(fd, &most, sizeof most), sizeof most);
    lqi_flag_raise(fd); /* it cannot be higher: and nobody waits */
    assert_true(is_raised(fd));
    lqi_flag_close(fd);
    lqi_flag_close(-1);
}

static void a_flag_that_cannot_be_made_is_an_error(void **state)
{
    int fd = -1, files = open_files();
    (void)state;
    fail_calls(EVENTFD, 0, 1, EMFILE);
    assert_int_equal(lqi_flag_open(&fd), LQ_ELIMIT);
    all_failed();
    assert_int_equal(fd, -1);

    int lowest = dup(0); /* above 2 */
    close(lowest);
    for (int stream = 0; stream < 3; stream++) {
        int kept = fcntl(stream, F_DUPFD_CLOEXEC, 100);
        if (kept < 0) continue;
        close(stream); /* the lowest number is free now */
        assert_int_equal(lqi_flag_open(&fd), LQ_OK);
        assert_int_equal(fd, lowest);
        assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
        assert_true(fcntl(stream, F_GETFD) < 0);
        lqi_flag_close(fd);
        static const struct { int error, code; } answers[] = {{EMFILE, LQ_ELIMIT}, {EINVAL, LQ_ELIMIT /* none is above 2 */}, {ENOMEM, LQ_ENOMEM}};
        for (size_t i = 0; i < 3; i++) {
            fail_calls(FCNTL, 0, 1, answers[i].error);
            assert_int_equal(lqi_flag_open(&fd), answers[i].code);
            all_failed();
            assert_null(strstr(lq_error_text(), "at byte"));
            assert_true(fcntl(stream, F_GETFD) < 0);
        }
        dup2(kept, stream);
        close(kept);
    }
    int kept[3];
    for (int stream = 0; stream < 3; stream++) kept[stream] = fcntl(stream, F_DUPFD_CLOEXEC, 100);
    for (int stream = 0; stream < 3; stream++) close(stream);
    int err = lqi_flag_open(&fd);
    for (int stream = 0; stream < 3; stream++) {
        if (kept[stream] < 0) continue;
        dup2(kept[stream], stream);
        close(kept[stream]);
    }
    assert_int_equal(err, LQ_OK);
    assert_int_equal(fd, lowest);
    lqi_flag_close(fd);
    assert_int_equal(lqi_flag_open(&fd), LQ_OK);
    assert_int_equal(fd, lowest);
    lqi_flag_close(fd);
    assert_int_equal(open_files(), files);
}

static void a_lock_that_cannot_be_made_says_why(void **state)
{
    struct lqi_lock locks[3];
    struct lqi_lock *const all[] = {&locks[0], &locks[1], &locks[2]};
    (void)state;
    static const struct { enum call call; unsigned after; int error, code; } kinds[] = {
        {MUTEXATTR_INIT, 0, ENOMEM, LQ_ENOMEM}, {MUTEXATTR_SETPSHARED, 0, ENOTSUP, LQ_EUNSUPPORTED},
        {MUTEXATTR_SETROBUST, 0, ENOSYS, LQ_EUNSUPPORTED}, {MUTEX_INIT, 0, ENOTSUP, LQ_EUNSUPPORTED},
        {MUTEX_INIT, 1, ENOSYS, LQ_EUNSUPPORTED}, {MUTEX_INIT, 2, ENOMEM, LQ_ENOMEM},
    };
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        fail_calls(kinds[i].call, kinds[i].after, 1, kinds[i].error);
        assert_int_equal(lqi_locks_init(all, 3), kinds[i].code);
        all_failed();
        assert_non_null(strstr(lq_error_text(), kinds[i].code == LQ_ENOMEM ? "make a lock" : "robust"));
        assert_null(strstr(lq_error_text(), "at byte"));
    }
    memset(locks, 0xff, sizeof locks);
    assert_int_equal(lqi_locks_init(all, 3), LQ_OK);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(lqi_lock(&locks[i], "a test"), LQI_LOCKED);
        lqi_unlock(&locks[i]);
    }
}

static void *hold(void *context)
{
    assert_int_equal(lqi_lock(context, "a test"), LQI_LOCKED);
    return NULL; /* and dies with it */
}

static void a_lock_that_is_not_had_says_why(void **state)
{
    struct lqi_lock lock;
    pthread_t thread;
    (void)state;

    assert_int_equal(lqi_locks_init(&(struct lqi_lock *){&lock}, 1), LQ_OK);
    fail_calls(MUTEX_TRYLOCK, 0, 1, EINVAL);
    assert_int_equal(lqi_lock(&lock, "a test"), LQ_EIO);
    all_failed();
    assert_non_null(strstr(lq_error_text(), "a test"));
    assert_null(strstr(lq_error_text(), "at byte"));
    fail_calls(MUTEX_TRYLOCK, 0, 1, ENOTRECOVERABLE);
    assert_int_equal(lqi_lock(&lock, "a test"), LQ_EIO);
    all_failed();
    assert_non_null(strstr(lq_error_text(), "a test"));
    assert_non_null(strstr(lq_error_text(), "an owner died"));

    assert_int_equal(lqi_lock(&lock, "a test"), LQI_LOCKED);
    int patience = lqi_lock_patience_ms;
    lqi_lock_patience_ms = 3; /* less than a lock sleeps at a time */
    fail_calls(MUTEX_TRYLOCK, 0, 1, EBUSY); /* to this thread it would be a deadlock */
    lqi_unlock(&lock);
    assert_int_equal(lqi_lock(&lock, "a test"), LQI_LOCKED); /* given back just then */
    all_failed();
    lqi_unlock(&lock);
    lqi_lock_patience_ms = patience;

    assert_int_equal(pthread_create(&thread, NULL, hold, &lock), 0);
    pthread_join(thread, NULL);
    assert_int_equal(lqi_lock(&lock, "a test"), LQI_INHERITED);
    lqi_lock_mend(&lock);
    lqi_unlock(&lock);
}

/* ---- a whole queue ----------------------------------------------------------- */

static void a_queue_lives_where_nothing_can_be_reserved(void **state)
{
    lq_queue *queue;
    lq_consumer *consumer;
    lq_message message;
    char path[4200];
    struct stat stat;

    snprintf(path, sizeof path, "%s/q", (const char *)*state);
    fail_calls(FALLOCATE, 0, 1000000, EOPNOTSUPP);
    assert_int_equal(lq_open(path, &(lq_options){.size = sizeof(lq_options), .ring_size = 65536, .segment_size = 65536}, &queue), LQ_OK);
    assert_int_equal(lq_consumer_open(queue, "c", NULL, &consumer), LQ_OK);
    for (int i = 0; i < 100; i++) {
        static char body[3000];
        assert_int_equal(lq_put(queue, body, sizeof body, NULL), LQ_OK);
        assert_int_equal(lq_get(consumer, &message, 1000), LQ_OK);
        assert_int_equal(message.size, sizeof body);
        assert_int_equal(lq_ack(consumer, &message), LQ_OK);
    }
    /* What is written through a map has its room from zeroes that were written. */
    snprintf(path, sizeof path, "%s/q/shared", (const char *)*state);
    assert_int_equal(fstatat(AT_FDCWD, path, &stat, 0), 0);
    assert_true(stat.st_blocks * 512 >= stat.st_size);
    assert_int_equal(lq_consumer_close(consumer), LQ_OK);
    assert_int_equal(lq_close(queue), LQ_OK);
    assert_true(plan.times < 1000000);

    memset(&plan, 0, sizeof plan);
}

static int acks(void *context, int code, const lq_message *message)
{
    (void)message;
    if (code == LQ_OK) atomic_fetch_add((_Atomic int *)context, 1);
    return LQ_SETTLE_ACK;
}

static void without_a_thread_nobody_is_notified_and_the_consumer_stays_usable(void **state)
{
    lq_queue *queue;
    lq_consumer *consumer;
    char path[4200];
    _Atomic int count = 0;

    snprintf(path, sizeof path, "%s/q", (const char *)*state);
    assert_int_equal(lq_open(path, NULL, &queue), LQ_OK);
    assert_int_equal(lq_consumer_open(queue, "c", NULL, &consumer), LQ_OK);
    assert_int_equal(lq_put(queue, "x", 1, NULL), LQ_OK);
    fail_calls(PTHREAD_CREATE, 0, 1, EAGAIN);
    assert_int_equal(lq_notify(consumer, acks, &count), LQ_ELIMIT);
    all_failed();
    assert_int_equal(lq_notify(consumer, acks, &count), LQ_OK);
    for (int i = 0; i < 500 && atomic_load(&count) == 0; i++) usleep(10000);
    assert_int_equal(atomic_load(&count), 1);
    assert_int_equal(lq_notify(consumer, NULL, NULL), LQ_OK);
    assert_int_equal(lq_consumer_close(consumer), LQ_OK);

    assert_int_equal(lq_consumer_open(queue, "c", NULL, &consumer), LQ_OK);
    fail_calls(EVENTFD, 0, 1, EMFILE);
    assert_int_equal(lq_fd(consumer), LQ_ELIMIT);
    all_failed();
    fail_calls(PTHREAD_CREATE, 0, 1, EAGAIN);
    assert_int_equal(lq_fd(consumer), LQ_ELIMIT);
    all_failed();
    assert_true(lq_fd(consumer) >= 3);
    assert_int_equal(lq_consumer_close(consumer), LQ_OK);
    assert_int_equal(lq_close(queue), LQ_OK);

    /* A queue that syncs by interval needs it, and is not opened without. */
    snprintf(path, sizeof path, "%s/interval", (const char *)*state);
    fail_calls(PTHREAD_CREATE, 0, 1, EAGAIN);
    assert_int_equal(lq_open(path, &(lq_options){.size = sizeof(lq_options), .sync = LQ_SYNC_INTERVAL}, &queue), LQ_ELIMIT);
    all_failed();
    assert_int_equal(lq_open(path, NULL, &queue), LQ_OK);
    assert_int_equal(lq_close(queue), LQ_OK);
}

static void a_sandbox_without_waiting_for_many_looks_often(void **state)
{
    _Atomic uint32_t a = 1, b = 2;
    _Atomic uint32_t *const words[] = {&a, &b};
    static const int answers[] = {ENOSYS, EPERM};
    (void)state;

    for (size_t i = 0; i < 2; i++) {
        uint32_t seen[] = {1, 2};
        int64_t start = lqi_now_us();
        fail_calls(SYSCALL, 0, 1, answers[i]);
        lqi_wait_many(words, seen, 2, INT64_MAX); /* for ever would be too long */
        all_failed();
        assert_true(lqi_now_us() - start < 5000000);
        seen[1] = 3; /* one that has changed: not at all */
        fail_calls(SYSCALL, 0, 1, answers[i]);
        lqi_wait_many(words, seen, 2, INT64_MAX);
        all_failed();
    }
    for (int error = 0; error < 3; error++) { /* and these are why one wakes */
        uint32_t seen[] = {1, 2};
        fail_calls(SYSCALL, 0, 1, error == 0 ? EINTR : error == 1 ? EAGAIN : ETIMEDOUT);
        lqi_wait_many(words, seen, 2, INT64_MAX);
        all_failed();
    }
}

int main(void)
{
#define IN_SCRATCH(test) cmocka_unit_test_setup_teardown(test, scratch_make, scratch_remove)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_flag_is_raised_and_lowered_through_signals),
        cmocka_unit_test(a_flag_that_cannot_be_made_is_an_error),
        cmocka_unit_test(a_lock_that_cannot_be_made_says_why),
        cmocka_unit_test(a_lock_that_is_not_had_says_why),
        IN_SCRATCH(a_queue_lives_where_nothing_can_be_reserved),
        IN_SCRATCH(without_a_thread_nobody_is_notified_and_the_consumer_stays_usable),
        cmocka_unit_test(a_sandbox_without_waiting_for_many_looks_often),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
