/* NOTIFY, lq_dispatch and lq_fd. A consumer that wants to be told has a task with the
 * service thread (service.c), which listens to the queue's bell like any sleeper.
 *
 * The descriptor of lq_fd is raised by that task when there may be something to take, and lowered by
 * the consumer when it took nothing. While it is raised the task is deaf, so a busy consumer costs
 * no wake-ups:
 *
 *     consumer                               service thread
 *     takes nothing                          deaf
 *     lowers the descriptor, ends deafness
 *     kicks the thread                       listens, looks: something came meanwhile? raises again
 */
#include <inttypes.h>

#include "consumer.h"
#include "flag.h"

#define HANDLER_BATCH 64
#define REST_US 1000 /* of the descriptor, as GET naps */

static void stop_service(lq_consumer *consumer)
{
    struct lqi_notify *notify = &consumer->notify;
    /* The thread's lock is held over no fork only once there has been a task: who has none, must not come near it. */
    if (notify->served && !atomic_load(&consumer->queue->forkable.forked)) lqi_service_remove(&notify->task);
    notify->served = false;
    atomic_store(&notify->task.deaf, 0);
}

bool lqi_in_own_handler(const lq_consumer *consumer)
{
    const struct lqi_notify *notify = &consumer->notify;
    return atomic_load(&notify->in_handler) && pthread_equal(notify->handler_thread, pthread_self());
}

/* ---- running the handler ------------------------------------------------ */

static int settle_as(lq_consumer *consumer, const lq_message *message, int answer)
{
    switch (answer) {
    case LQ_SETTLE_ACK: return lqi_consumer_settle(consumer, message, 1, LQI_ACK);
    case LQ_SETTLE_RELEASE: return lqi_consumer_settle(consumer, message, 1, LQI_UNDO);
    default: return LQ_OK;
    }
}

/* Takes one message and has it handled. LQ_EMPTY when there is none; LQ_ECORRUPT has been told and
 * is over; any other error has been told and ends delivery. */
static int handle_one(lq_consumer *consumer)
{
    struct lqi_notify *notify = &consumer->notify;
    lq_message message;
    size_t count;
    int err = consumer->pending;

    if (err) lqi_fail(err, "%s", consumer->pending_text);
    consumer->pending = LQ_OK;
    if (!err) err = lqi_take(consumer, &message, 1, &count, LQI_TAKE_LOCK_MS);
    if (err == LQ_EMPTY) return err;

    /* Only when it changes: another thread may be comparing it. */
    if (!pthread_equal(notify->handler_thread, pthread_self())) notify->handler_thread = pthread_self();
    atomic_store(&notify->in_handler, 1);
    int answer = notify->handler(notify->context, err, err ? NULL : &message);
    atomic_store(&notify->in_handler, 0);
    /* The handler may have forked: then it returns twice, and the message is the parent's to settle. */
    int forked = lqi_queue_check(consumer->queue, false);
    if (forked) return forked;
    return err ? err : settle_as(consumer, &message, answer);
}

/* Damage has been told, and is behind us; so is a message that the handler itself has settled. */
static bool ends_delivery(int err)
{
    return err < 0 && err != LQ_ECORRUPT && err != LQ_ELEASE;
}

static int64_t serve_handler(lq_consumer *consumer)
{
    struct lqi_notify *notify = &consumer->notify;

    if (atomic_load(&notify->task.deaf)) return INT64_MAX; /* it has ended, and the thread has woken for somebody else */
    for (int i = 0; i < HANDLER_BATCH && !notify->task.removed; i++) {
        if (!notify->handler) { /* it took itself away; the task goes when the consumer is closed or told anew */
            atomic_store(&notify->task.deaf, 1);
            return INT64_MAX;
        }
        uint32_t times_set = notify->times_set;
        int err = handle_one(consumer);
        if (err == LQ_EMPTY) return lqi_now_us() + LQI_SLEEP_US;
        if (ends_delivery(err) && times_set == notify->times_set) {
            atomic_store(&notify->task.deaf, 1);
            return INT64_MAX; /* it has been told; nothing more comes until a handler is set anew */
        }
    }
    return 0; /* there may be more: after the others have had their turn */
}

/* ---- the descriptor ------------------------------------------------------ */

static int64_t serve_fd(lq_consumer *consumer)
{
    struct lqi_notify *notify = &consumer->notify;

    if (atomic_load(&notify->raised)) return INT64_MAX;
    int64_t rest_until_us = atomic_load(&notify->rest_until_us);
    if (lqi_now_us() < rest_until_us) return rest_until_us;
    if (atomic_load(&consumer->slot->unacked)) {
        struct lqi_member *member = &consumer->member;
        int limit = lqi_lock_limit(0); /* this thread is everybody's: who holds the lock looks for the dead, too */
        if (lqi_consumer_lock(member->map, consumer->slot, member->region) == LQ_OK) {
            lqi_reap(member);
            lqi_consumer_unlock(consumer->slot);
        }
        lqi_lock_limit(limit);
    }
    lqi_help_visibility(consumer->queue);
    if (!lqi_may_take(consumer)) return lqi_now_us() + LQI_SLEEP_US;
    atomic_store(&notify->raised, 1);
    atomic_store(&notify->task.deaf, 1);
    lqi_flag_raise(atomic_load(&notify->fd));
    return INT64_MAX;
}

void lqi_notify_empty(lq_consumer *consumer)
{
    struct lqi_notify *notify = &consumer->notify;

    if (atomic_load_explicit(&notify->fd, memory_order_relaxed) < 0 || !atomic_load(&notify->raised)) return;
    if (consumer->owed.id) return; /* whoever waits for the descriptor must call again, or it stays owed */
    lqi_flag_lower(atomic_load(&notify->fd));
    atomic_store(&notify->rest_until_us, consumer->busy_since_us ? lqi_now_us() + REST_US : 0);
    atomic_store(&notify->task.deaf, 0);
    atomic_store(&notify->raised, 0);
    lqi_service_kick();
}

int lq_fd(lq_consumer *consumer)
{
    int fd, err = lqi_consumer_check(consumer);
    if (err) return err;
    struct lqi_notify *notify = &consumer->notify;
    if (atomic_load(&notify->fd) >= 0) return atomic_load(&notify->fd);
    if (!(consumer->flags & LQ_CONSUMER_DISPATCH) && (notify->handler || lqi_in_own_handler(consumer)))
        return lqi_fail(LQ_EINVAL, "this consumer's handler runs on the library's thread: open it with LQ_CONSUMER_DISPATCH");

    stop_service(consumer); /* a handler that took itself away left its task */
    err = lqi_flag_open(&fd);
    if (err) return err;
    atomic_store(&notify->fd, fd);
    err = lqi_service_add(&notify->task);
    notify->served = !err;
    if (!err) return fd;
    atomic_store(&notify->fd, -1);
    lqi_flag_close(fd);
    return err;
}

/* ---- the task ----------------------------------------------------------- */

static int64_t step(void *context)
{
    lq_consumer *consumer = context;
    return atomic_load(&consumer->notify.fd) >= 0 ? serve_fd(consumer) : serve_handler(consumer);
}

void lqi_notify_init(lq_consumer *consumer)
{
    consumer->notify.task.step = step;
    consumer->notify.task.context = consumer;
    consumer->notify.task.bell = &consumer->queue->log.state->arrived;
    atomic_store(&consumer->notify.fd, -1);
}

void lqi_notify_release(lq_consumer *consumer)
{
    stop_service(consumer);
    lqi_flag_close(atomic_exchange(&consumer->notify.fd, -1));
    consumer->notify.handler = NULL;
}

/* ---- the verbs ---------------------------------------------------------- */

int lq_notify(lq_consumer *consumer, lq_handler *handler, void *context)
{
    int err = lqi_consumer_check(consumer);
    if (err) return err;
    struct lqi_notify *notify = &consumer->notify;
    bool dispatched = consumer->flags & LQ_CONSUMER_DISPATCH;

    if (!dispatched && atomic_load(&notify->fd) >= 0)
        return lqi_fail(LQ_EINVAL, "this consumer has a descriptor: open it with LQ_CONSUMER_DISPATCH to have a handler too");
    /* Called by the handler itself, the task stays with the thread that is in it: that one sees the change on return. */
    bool own = lqi_in_own_handler(consumer);
    if (!dispatched && !own) stop_service(consumer);
    notify->handler = handler;
    notify->context = context;
    notify->times_set++;
    if (dispatched || own || !handler) return LQ_OK;
    err = lqi_service_add(&notify->task);
    notify->served = !err;
    if (err) notify->handler = NULL;
    return err;
}

int lq_dispatch(lq_consumer *consumer, size_t max, size_t *count_out)
{
    size_t count = 0;
    int err = lqi_consumer_check(consumer);
    if (err) return err;
    if (!(consumer->flags & LQ_CONSUMER_DISPATCH) || !consumer->notify.handler)
        return lqi_fail(LQ_EINVAL, "lq_dispatch wants a consumer opened with LQ_CONSUMER_DISPATCH, with a handler");
    if (lqi_in_own_handler(consumer)) return lqi_fail(LQ_EINVAL, "a handler cannot dispatch its own consumer");

    while (count < max && consumer->notify.handler) {
        err = handle_one(consumer);
        if (err == LQ_EMPTY) lqi_notify_empty(consumer);
        if (err == LQ_EMPTY || ends_delivery(err)) break;
        err = LQ_OK;
        count++;
    }
    if (count_out) *count_out = count;
    return err == LQ_EMPTY && count ? LQ_OK : err;
}
