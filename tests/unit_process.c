/* What a process remembers across fork: of the open queues, and who is told. Here a fork is what the test says it is: what the library
 * has registered with pthread_atfork is called by hand, so that there is time to look in between. */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "process.h"
#include "support/child.h"

static struct {
    void (*prepare)(void), (*parent)(void), (*child)(void);
} registered;
static bool listening; /* a sanitizer registers something itself, before main() */
static int refused;    /* with this error */

int pthread_atfork(void (*prepare)(void), void (*parent)(void), void (*child)(void))
{
    if (refused) return refused;
    if (!listening) return 0;
    registered.prepare = prepare;
    registered.parent = parent;
    registered.child = child;
    return 0;
}

/* ---- handles ------------------------------------------------------------- */

static int closed[100]; /* how often, by number */

static void note_close(const struct lqi_io *io, int fd)
{
    (void)io;
    closed[fd]++;
}

static const struct lqi_io noting = {.close = note_close};

struct handle {
    struct lqi_file meta, shared;
    struct lqi_forkable forkable;
};

static void open_handle(struct handle *handle, int number)
{
    *handle = (struct handle){{&noting, number, "meta"}, {&noting, number + 1, "shared"}, {.lock_files = {NULL}}};
    handle->forkable.lock_files[0] = &handle->meta;
    handle->forkable.lock_files[1] = &handle->shared;
    assert_int_equal(lqi_process_add(&handle->forkable), LQ_OK);
}

static bool is_the_parents(struct handle *handle)
{
    return atomic_load(&handle->forkable.forked) && handle->meta.fd < 0 && handle->shared.fd < 0;
}

static bool is_ours(struct handle *handle)
{
    return !atomic_load(&handle->forkable.forked) && handle->meta.fd >= 0 && handle->shared.fd >= 0;
}

static void be_the_child(void)
{
    registered.prepare();
    registered.child();
}

static void be_the_parent(void)
{
    registered.prepare();
    registered.parent();
}

static int refuse(void *context)
{
    struct handle handle = {.forkable = {.lock_files = {NULL}}};
    (void)context;
    refused = ENOMEM;
    return lqi_process_add(&handle.forkable) == LQ_ENOMEM && strstr(lq_error_text(), "forks") && !strstr(lq_error_text(), "at byte") ? 0 : 1;
}

/* In a process of its own, as it is asked once. */
static void where_forks_cannot_be_heard_of_no_handle_is_opened(void **state)
{
    (void)state;
    assert_int_equal(child_run(refuse, NULL), 0);
}

static void a_child_closes_what_its_parent_holds_locks_with_and_knows_the_handles_for_the_parents(void **state)
{
    struct handle handles[3];
    (void)state;
    for (int i = 0; i < 3; i++) open_handle(&handles[i], 10 + 2 * i);
    be_the_parent();
    for (int i = 0; i < 3; i++) assert_true(is_ours(&handles[i]));
    be_the_child();
    for (int i = 0; i < 3; i++) assert_true(is_the_parents(&handles[i]));
    for (int fd = 10; fd < 16; fd++) assert_int_equal(closed[fd], 1);
    for (int i = 0; i < 3; i++) lqi_process_remove(&handles[i].forkable);
    for (int fd = 10; fd < 16; fd++) assert_int_equal(closed[fd], 1); /* somebody else may have those numbers by then */
}

static void a_handle_that_is_closed_is_no_childs_business_and_the_others_stay(void **state)
{
    struct handle handles[4];
    (void)state;
    for (int without = 0; without < 3; without++) {
        memset(closed, 0, sizeof closed);
        for (int i = 0; i < 3; i++) open_handle(&handles[i], 20 + 2 * i);
        lqi_process_remove(&handles[without].forkable);
        assert_int_equal(handles[without].meta.fd, -1);
        assert_int_equal(handles[without].shared.fd, -1);
        assert_int_equal(closed[20 + 2 * without] + closed[21 + 2 * without], 2);
        open_handle(&handles[3], 30);
        be_the_child();
        assert_int_equal(atomic_load(&handles[without].forkable.forked), 0);
        for (int i = 0; i < 4; i++)
            if (i != without) assert_true(is_the_parents(&handles[i]));
        for (int i = 0; i < 4; i++)
            if (i != without) lqi_process_remove(&handles[i].forkable);
    }
}

/* ---- while a fork is under way --------------------------------------------- */

static char heard[100];

static void hear_before(void) { strcat(heard, "before "); }
static void hear_in_parent(void) { strcat(heard, "parent "); }
static void hear_in_child(void) { strcat(heard, "child "); }

static void who_wants_to_hear_of_forks_is_called_on_either_side(void **state)
{
    (void)state;
    lqi_process_on_fork(hear_before, hear_in_parent, hear_in_child);
    be_the_parent();
    assert_string_equal(heard, "before parent ");
    be_the_child();
    assert_string_equal(heard, "before parent before child ");
    lqi_process_on_fork(NULL, NULL, NULL);
    be_the_parent();
    be_the_child();
    assert_string_equal(heard, "before parent before child ");
}

static void forks_are_counted_from_when_they_begin(void **state)
{
    (void)state;
    unsigned count = lqi_process_forks();
    assert_false(lqi_process_forked_since(count));
    registered.prepare();
    assert_true(lqi_process_forked_since(count));
    registered.parent();
    assert_true(lqi_process_forked_since(count));
    assert_false(lqi_process_forked_since(lqi_process_forks()));
}

static struct handle late;

static void add_late(void) { (void)lqi_process_add(&late.forkable); }
static void remove_late(void) { lqi_process_remove(&late.forkable); }
static void count_forks(void) { (void)lqi_process_forks(); }
static void want_to_hear(void) { lqi_process_on_fork(NULL, NULL, NULL); }

struct attempt {
    void (*try)(void);
    _Atomic bool begun, done;
};

static void *try_it(void *context)
{
    struct attempt *attempt = context;
    atomic_store(&attempt->begun, true);
    attempt->try();
    atomic_store(&attempt->done, true);
    return NULL;
}

/* True if it is done although we give it no more than a moment. */
static bool is_done_soon(struct attempt *attempt)
{
    while (!atomic_load(&attempt->begun)) usleep(100);
    for (int i = 0; i < 50 && !atomic_load(&attempt->done); i++) usleep(1000);
    return atomic_load(&attempt->done);
}

/* A child would have half of a list, or not know of a descriptor that has just been opened. */
static void nobody_opens_closes_or_counts_in_the_middle_of_a_fork(void **state)
{
    static void (*const tries[])(void) = {add_late, count_forks, want_to_hear, remove_late};
    pthread_t thread;
    (void)state;
    late = (struct handle){{&noting, 40, "meta"}, {&noting, 41, "shared"}, {.lock_files = {&late.meta, &late.shared}}};
    for (size_t i = 0; i < sizeof tries / sizeof *tries; i++) {
        struct attempt attempt = {.try = tries[i]};
        registered.prepare();
        assert_int_equal(pthread_create(&thread, NULL, try_it, &attempt), 0);
        bool early = is_done_soon(&attempt);
        registered.parent();
        pthread_join(thread, NULL);
        assert_false(early);
    }
    assert_int_equal(late.meta.fd, -1);
}

static struct attempt fork_meanwhile;
static bool forked_early;

static void close_while_somebody_forks(const struct lqi_io *io, int fd)
{
    pthread_t thread;
    (void)io;
    if (fd != 50) return;
    assert_int_equal(pthread_create(&thread, NULL, try_it, &fork_meanwhile), 0);
    forked_early = is_done_soon(&fork_meanwhile);
    pthread_detach(thread);
}

/* Or a child would be there that has the descriptor and no handle that it belongs to. */
static void a_fork_waits_until_who_closes_a_handle_has_given_its_locks_up(void **state)
{
    static const struct lqi_io slow = {.close = close_while_somebody_forks};
    struct handle handle = {{&slow, 50, "meta"}, {&slow, 51, "shared"}, {.lock_files = {&handle.meta, &handle.shared}}};
    (void)state;
    assert_int_equal(lqi_process_add(&handle.forkable), LQ_OK);
    fork_meanwhile.try = be_the_parent;
    lqi_process_remove(&handle.forkable);
    while (!atomic_load(&fork_meanwhile.done)) usleep(100);
    assert_false(forked_early);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(where_forks_cannot_be_heard_of_no_handle_is_opened),
        cmocka_unit_test(a_child_closes_what_its_parent_holds_locks_with_and_knows_the_handles_for_the_parents),
        cmocka_unit_test(a_handle_that_is_closed_is_no_childs_business_and_the_others_stay),
        cmocka_unit_test(who_wants_to_hear_of_forks_is_called_on_either_side),
        cmocka_unit_test(forks_are_counted_from_when_they_begin),
        cmocka_unit_test(nobody_opens_closes_or_counts_in_the_middle_of_a_fork),
        cmocka_unit_test(a_fork_waits_until_who_closes_a_handle_has_given_its_locks_up),
    };
    listening = true;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
