/* What is done without a lock, or between two of them, while another process is faster: one is led to an instruction of a call and left
 * standing there, others go on, and then it goes on, too. What it says and does must be true, whichever instruction that was. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "queue.h"
#include "retain.h"
#include "support/api.h"
#include "support/child.h"
#include "support/scratch.h"
#include "support/stepper.h"
#include "writeout.h"

enum { BODY = 1000, SPAN = 1040, ROLL = 63 }; /* a record; so many fill a segment */
enum { NEAR = 60, BEHIND = 150 }; /* steps around the one that matters, and up to the end */

static bool can_lead; /* processes, instruction by instruction */
static char path[4200];
static lq_queue *queue; /* of the others */
static uint64_t last;   /* message put */

/* The one who is led, and what he has found. */
static struct shared {
    _Atomic uint32_t done;
    _Atomic uint64_t answer, other;
    _Atomic uint32_t syncs;
} *shared;

static bool led; /* this process is */

/* No power fails here: this disk need not be waited for. */
static struct lqi_io quick;

static int count_sync(const struct lqi_io *io, int fd)
{
    (void)io, (void)fd;
    if (led) atomic_fetch_add(&shared->syncs, 1);
    return 0;
}

static lq_queue *open_it(uint64_t segment_size)
{
    lq_options options = {.size = sizeof options, .sync = LQ_SYNC_NEVER, .segment_size = segment_size, .ring_size = 256 << 10};
    lq_queue *opened;
    quick = lqi_io_posix;
    quick.sync = quick.dir_sync = count_sync;
    OK(lqi_open_io(&quick, path, segment_size ? &options : NULL, &opened));
    return opened;
}

static void put(uint64_t count)
{
    api_put_range(queue, last + 1, last + count, BODY);
    last += count;
}

static void begin(void **state, uint64_t segment_size)
{
    snprintf(path, sizeof path, "%s", api_path(*state, "q"));
    queue = open_it(segment_size);
    last = 0;
}

static void end(void)
{
    OK(lq_close(queue));
    OK(lq_verify(path, 0, NULL, NULL, NULL));
    scratch_delete(path);
}

/* ---- leading ------------------------------------------------------------------------- */

/* Whoever is led: opens the queue, makes the call, and closes it. */
static int perform(void *context)
{
    void (*act)(lq_queue *) = *(void (**)(lq_queue *))context;
    led = true;
    lq_queue *own = open_it(0);
    act(own);
    atomic_store(&shared->done, 1);
    return lq_close(own) == LQ_OK ? 0 : 1;
}

static uint64_t look_at_nothing(void *context)
{
    (void)context;
    return 0;
}

static void nothing(void) {}

/* The second time is the one that counts: with `make cover`, what is met for the first time takes another way. */
static struct stepper_way way_of(void (*act)(lq_queue *), void (*before)(void))
{
    struct stepper_way way = {NULL, 0};
    for (int times = 0; times < 2; times++) {
        before();
        atomic_store(&shared->done, 0);
        pid_t child = stepper_start(perform, &act);
        HOLDS(child > 0);
        if (times) way = stepper_walk(child, &shared->done, look_at_nothing, NULL, false);
        stepper_let_go(child, 0);
        EQUAL(child_wait(child), 0);
    }
    HOLDS(way.count > 10);
    return way;
}

/* Leads one to the step, has `meanwhile` done by us, and waits until he has finished. */
static void lead_to(const struct stepper_way *way, uint32_t step, void (*act)(lq_queue *), void (*meanwhile)(void))
{
    atomic_store(&shared->done, 0);
    pid_t child = stepper_start(perform, &act);
    HOLDS(child > 0 && stepper_run_to(child, way, step));
    meanwhile();
    stepper_let_go(child, 0);
    EQUAL(child_wait(child), 0);
}

/* ---- where the ring is looked into ------------------------------------------------------- */

static void find_in_ring(lq_queue *own)
{
    uint64_t salt = 0, ring_end = 0, position = atomic_load(&own->log.state->ring.appended) - SPAN;
    stepper_ready();
    bool found = lqi_log_in_ring(&own->log, position, &salt, &ring_end);
    atomic_store(&shared->answer, found);
    atomic_store(&shared->other, salt);
}

/* The slot of the segment that he looks at is another's then. */
static void roll_twice(void)
{
    put(2 * ROLL + 2);
}

static void the_salt_of_a_place_in_the_ring_is_its_own_though_the_log_goes_on_in_other_segments(void **state)
{
    if (!can_lead) skip();
    begin(state, 64 << 10);
    put(300); /* the ring is full, as it is later */
    struct stepper_way way = way_of(find_in_ring, nothing);
    uint64_t found = 0;
    for (uint32_t step = 0; step < way.count; step++) {
        const struct lqi_log_state *log = queue->log.state;
        uint64_t salt = atomic_load(&log->spans[atomic_load(&log->append_span) & 1].salt);
        lead_to(&way, step, find_in_ring, roll_twice);
        if (!atomic_load(&shared->answer)) continue;
        EQUAL(atomic_load(&shared->other), salt);
        found++;
    }
    HOLDS(found > 0 && found < way.count); /* he was through, or was too late */
    stepper_free(&way);
    end();
}

/* ---- numbers that belong together --------------------------------------------------------- */

static void ask(lq_queue *own)
{
    lq_stats stats = {.size = sizeof stats};
    stepper_ready();
    CHECK(lq_get_stats(own, &stats) == LQ_OK);
    atomic_store(&shared->answer, stats.last_id);
    atomic_store(&shared->other, stats.appended);
}

/* Both copies of the log's end are new then. */
static void put_two(void)
{
    put(2);
}

/* Has he looked at the end of the log before that step? */
static bool has_asked_before(const struct stepper_way *way, uint32_t step)
{
    uint64_t before = last;
    lead_to(way, step, ask, put_two);
    EQUAL(atomic_load(&shared->other), atomic_load(&shared->answer) * SPAN);
    HOLDS(atomic_load(&shared->answer) == before || atomic_load(&shared->answer) == before + 2);
    return atomic_load(&shared->answer) == before;
}

static void the_last_message_and_the_end_that_are_told_belong_together(void **state)
{
    if (!can_lead) skip();
    begin(state, 1 << 20);
    put(10);
    struct stepper_way way = way_of(ask, nothing);
    uint32_t low = 0, high = way.count - 1; /* before step `low` he has not looked, before `high` he has */
    HOLDS(!has_asked_before(&way, low) && has_asked_before(&way, high));
    while (high - low > 1) {
        uint32_t middle = low + (high - low) / 2;
        if (has_asked_before(&way, middle)) high = middle;
        else low = middle;
    }
    for (uint32_t step = low > NEAR ? low - NEAR : 0; step < high + NEAR && step < way.count; step++) (void)has_asked_before(&way, step);
    stepper_free(&way);
    end();
}

/* ---- durable ------------------------------------------------------------------------------- */

static void make_durable(lq_queue *own)
{
    uint64_t position = atomic_load(&own->log.state->ring.appended);
    atomic_store(&shared->syncs, 0);
    stepper_ready();
    int err = lqi_commit(&own->log, position);
    atomic_store(&shared->answer, (uint64_t)-err);
    atomic_store(&shared->other, atomic_load(&own->log.state->synced) - position);
}

static bool is_durable; /* by our doing */

/* He may have the lock that this takes. */
static void sync_too(void)
{
    lqi_lock_patience_ms = 1;
    is_durable = lq_sync(queue) == LQ_OK;
    lqi_lock_patience_ms = LQI_LOCK_PATIENCE_MS;
}

static void put_one(void)
{
    put(1);
}

static void what_another_has_made_durable_meanwhile_is_not_synced_again(void **state)
{
    if (!can_lead) skip();
    begin(state, 1 << 20);
    struct stepper_way way = way_of(make_durable, put_one);
    uint32_t by_us = 0, by_him = 0;
    for (uint32_t step = 0; step < way.count && by_him < 10; step++) {
        put_one();
        lead_to(&way, step, make_durable, sync_too);
        EQUAL(atomic_load(&shared->answer), 0);
        EQUAL(atomic_load(&shared->other), 0);
        EQUAL(atomic_load(&shared->syncs), !is_durable);
        if (is_durable) by_us++;
        else by_him++;
    }
    HOLDS(by_us >= 10 && by_him == 10);
    stepper_free(&way);
    end();
}

static bool rolled;
static uint64_t synced; /* by the roll */

/* If he has synced: before, he may have a lock that this takes. Each segment that is left is durable. */
static void roll_behind_him(void)
{
    rolled = atomic_load(&shared->syncs) != 0;
    if (rolled) roll_twice();
    synced = atomic_load(&queue->log.state->synced);
}

/* One message; and no segment is left to be sealed, which is synced, too. */
static void put_one_to_sync(void)
{
    const struct lqi_log_state *log = queue->log.state;
    do {
        OK(lq_sync(queue));
        put(1);
    } while (atomic_load(&log->append_span) != atomic_load(&log->write_span));
}

static void how_far_the_log_is_durable_never_goes_back(void **state)
{
    if (!can_lead) skip();
    begin(state, 64 << 10);
    struct stepper_way way = way_of(make_durable, put_one_to_sync);
    uint32_t tried = 0, missed = 0;
    for (uint32_t step = way.count; step-- > 0 && missed < 20;) { /* backwards, to where he has not synced yet */
        const struct lqi_log_state *log = queue->log.state;
        put_one_to_sync();
        lead_to(&way, step, make_durable, roll_behind_him);
        EQUAL(atomic_load(&shared->answer), 0);
        HOLDS(atomic_load(&log->synced) >= synced);
        EQUAL(atomic_load(&log->synced_id) * SPAN, atomic_load(&log->synced));
        tried += rolled;
        missed = rolled ? 0 : missed + 1;
    }
    HOLDS(tried > 50);
    stepper_free(&way);
    end();
}

/* ---- the second segment ---------------------------------------------------------------------- */

static void see_what_may_go(lq_queue *own)
{
    stepper_ready();
    CHECK(lqi_retain(&own->log, 0, false, NULL) == LQ_OK);
}

static uint64_t id_of(size_t segment)
{
    unsigned long long id = 0;
    const char *name = api_segment(path, segment);
    HOLDS(name && sscanf(strrchr(name, '/'), "/%llu", &id) == 1);
    return id;
}

/* The oldest segment was the only one as he looked at the directory. */
static void the_second_segment_is_never_taken_for_another(void **state)
{
    if (!can_lead) skip();
    begin(state, 64 << 10);
    put(10);
    struct stepper_way way = way_of(see_what_may_go, nothing);
    end();
    for (uint32_t step = way.count > BEHIND ? way.count - BEHIND : 0; step < way.count; step++) {
        begin(state, 64 << 10);
        put(10);
        lead_to(&way, step, see_what_may_go, roll_twice);
        uint64_t second = atomic_load(&queue->log.state->second_id);
        HOLDS(second == 0 || second == id_of(1));
        end();
    }
    stepper_free(&way);
}

int main(int count, char *argv[])
{
    (void)count;
    can_lead = !api_sanitized && stepper_works(argv); /* code of sanitizers would be led as well */
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED) return 1;
    const struct CMUnitTest tests[] = {
        IN_DIRECTORY(the_salt_of_a_place_in_the_ring_is_its_own_though_the_log_goes_on_in_other_segments),
        IN_DIRECTORY(the_last_message_and_the_end_that_are_told_belong_together),
        IN_DIRECTORY(what_another_has_made_durable_meanwhile_is_not_synced_again),
        IN_DIRECTORY(how_far_the_log_is_durable_never_goes_back),
        IN_DIRECTORY(the_second_segment_is_never_taken_for_another),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
