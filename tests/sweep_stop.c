/* A process is stopped (SIGSTOP) at an instruction of a call of the library, as sweep_kill kills it. As long as it is stopped
 *
 *   readers, listings, statistics and verification go on and see no damage
 *   a consumer of another name gets what there is; one that meets a lock says LQ_EBUSY when its patience is over, and so does PUT
 *
 * and when it goes on (SIGCONT), its call succeeds as if nothing had been, and nothing is lost or doubled.
 *
 * How to have one stop again, or more of them: support/stage.h. */
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include "support/child.h"
#include "support/stage.h"
#include "support/stepper.h"

enum { PATIENCE_MS = 20, BLOCKED_US = 3000000 };

static bool is_stopped(pid_t victim, bool led)
{
    int status;
    if (led) stepper_let_go(victim, SIGSTOP);
    else kill(victim, SIGSTOP);
    return waitpid(victim, &status, WUNTRACED) == victim && WIFSTOPPED(status);
}

/* A call that must not mind. */
static void expect(const char *what, int err, int64_t since_us)
{
    int64_t took_us = lqi_now_us() - since_us;
    if (err < 0) ledger_wrong(stage.ledger, "while it is stopped: %s: %s: %s", what, lq_error_name(err), lq_error_text());
    if (took_us > BLOCKED_US) ledger_wrong(stage.ledger, "while it is stopped: %s took %lld ms", what, (long long)took_us / 1000);
}
#define GOES_ON(call)                          \
    do {                                       \
        int64_t since_us = lqi_now_us();       \
        expect(#call, call, since_us);         \
    } while (0)
/* One that may come upon a lock. */
#define MAY_BE_BUSY(call)                      \
    do {                                       \
        int64_t since_us = lqi_now_us();       \
        int result = call;                     \
        expect(#call, result == LQ_EBUSY ? LQ_OK : result, since_us); \
    } while (0)

static int any_consumer(void *context, int code, const lq_consumer_stats *stats)
{
    (void)context, (void)stats;
    return code;
}

static int any_segment(void *context, const lq_segment *segment)
{
    (void)context;
    return segment->code;
}

static int read_all(lq_queue *queue)
{
    lq_reader *reader;
    lq_message message;
    int err = lq_reader_open(queue, &reader);
    if (err) return err;
    do err = lq_reader_next(reader, &message);
    while (err == LQ_OK);
    lq_reader_close(reader);
    return err;
}

static void look_on(lq_queue *queue)
{
    lq_stats stats = {.size = sizeof stats};
    lq_consumer_stats consumer = {.size = sizeof consumer};
    GOES_ON(read_all(queue));
    GOES_ON(lq_get_stats(queue, &stats));
    GOES_ON(lq_get_consumer_stats(queue, "pool", &consumer));
    GOES_ON(lq_each_consumer(queue, any_consumer, NULL));
    GOES_ON(lq_each_segment(queue, any_segment, NULL));
}

/* With a handle that never writes, which is opened now. */
static void look_from_outside(void)
{
    const lq_options options = {.size = sizeof options, .flags = LQ_READ_ONLY};
    lq_queue *queue = NULL;
    GOES_ON(lq_open(stage.path, &options, &queue));
    if (!queue) return;
    look_on(queue);
    GOES_ON(lq_close(queue));
    GOES_ON(lq_verify(stage.path, 0, NULL, NULL, NULL));
}

static void take_part(struct ledger_held *held)
{
    struct ledger_witness *witness = &stage.witness;
    look_on(witness->queue);
    MAY_BE_BUSY(ledger_get(stage.ledger, witness->pool, held, 0));
    /* Who is stopped lives, and keeps what he holds; unless he was about to close already. */
    if (!atomic_load(stage.acted) && strncmp(stage.scene->name, "ack", 3) == 0 && held->count && held->messages[0].attempts != 1)
        ledger_wrong(stage.ledger, "while its member is stopped: id %llu comes with attempt %u", (unsigned long long)held->messages[0].id,
                     held->messages[0].attempts);
    MAY_BE_BUSY(ledger_put(stage.ledger, witness->queue, 30, 1));
    MAY_BE_BUSY(ledger_look(witness));
    MAY_BE_BUSY(lq_sync(witness->queue));
}

static void give_back(struct ledger_held *held)
{
    for (; held->count; ledger_released(held, 1)) {
        ledger_releasing(stage.ledger, held, 1);
        GOES_ON(lq_release(stage.witness.pool, held->messages));
    }
}

static bool stop_it(pid_t victim, bool led)
{
    struct ledger_held held = {.count = 0};
    if (!victim) return stage_check();
    if (!is_stopped(victim, led)) return stage_check(); /* it was at its end already */

    int patience = lqi_lock_patience_ms;
    lqi_lock_patience_ms = PATIENCE_MS;
    look_from_outside();
    if (stage.company == SCENES_WITNESS) take_part(&held);
    lqi_lock_patience_ms = patience;

    kill(victim, SIGCONT);
    int result = child_wait(victim);
    if (result) ledger_wrong(stage.ledger, "when it went on, it ended with %d", result);
    give_back(&held);
    return !stage.ledger->wrong[0] && stage_check();
}

int main(int argc, char *argv[])
{
    (void)argc;
    return stage_main(argv, 10, SCENES_WITNESS | SCENES_ALONE, stop_it);
}
