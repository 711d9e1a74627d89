/* Deleting a consumer. It happens at one moment, that in which its file goes; who dies, or the power that fails, leaves
 *
 *   1 slot: going          the consumer as it was
 *   2 file unlinked        none; after power loss perhaps the consumer as it was saved last
 *   3 directory synced     none
 *   4 slot: free           none
 *
 * While its slot says that it is going, the file is asked: by who looks; by retention, which must neither delete what the consumer
 * still needs if its file cannot be deleted, nor keep for ever what it needed if whoever deleted it has died; and by whoever
 * has the admin lock next. */
#include "consumers_parts.h"

/* ---- those that are going ----------------------------------------------- */

static int find_gone(const struct lqi_log *log, const struct lqi_consumer_slot *consumer, bool *gone_out)
{
    char name[sizeof consumer->name];
    bool exists = true;

    *gone_out = false;
    if (!atomic_load(&consumer->going)) return LQ_OK;
    /* Without a lock: the place may be another's by now, and the name half of each, or none that ends. */
    for (size_t i = 0; i < sizeof name; i++) name[i] = __atomic_load_n(&consumer->name[i], __ATOMIC_RELAXED);
    atomic_thread_fence(memory_order_acquire);
    int err = lqi_position_exists(log->io, log->consumers_dir, name, &exists);
    *gone_out = !exists && atomic_load(&consumer->going) && atomic_load(&consumer->state) != LQI_CONSUMER_FREE;
    return err;
}

bool lqi_consumer_is_gone(const struct lqi_log *log, const struct lqi_consumer_slot *consumer)
{
    bool gone;
    (void)find_gone(log, consumer, &gone); /* where the machine fails, it counts as there */
    return gone;
}

/* So that power loss does not bring it back. Whoever unlinked the file may have died before he came to this. */
static int find_gone_for_good(const struct lqi_log *log, const struct lqi_consumer_slot *consumer, bool *gone_out)
{
    int err = find_gone(log, consumer, gone_out);
    if (err || !*gone_out) return err;
    int error = log->io->dir_sync(log->io, log->consumers_dir);
    return error ? lqi_fail_errno(error, "sync", "the directory of consumers", -1) : LQ_OK;
}

bool lqi_consumer_is_gone_for_good(const struct lqi_log *log, const struct lqi_consumer_slot *consumer)
{
    bool gone;
    return find_gone_for_good(log, consumer, &gone) == LQ_OK && gone;
}

/* With both locks: whoever has the consumer's may be in the midst of what he found under this name, and the next name is another's. */
static void free_slot(struct lqi_consumer_slot *consumer)
{
    consumer->region_ready = 0; /* nobody who inherits the lock takes what is left in the region for anybody's */
    atomic_store(&consumer->state, LQI_CONSUMER_FREE);
}

/* Whoever was deleting it has died: it is gone, or it stays. */
static int settle_going(const struct lqi_consumers *consumers, struct lqi_consumer_slot *consumer)
{
    bool gone;
    int err = find_gone_for_good(consumers->log, consumer, &gone);
    if (!err && !gone) atomic_store(&consumer->going, 0);
    if (err || !gone) return err;
    err = lqi_consumer_lock(consumers->map, consumer, NULL);
    if (err) return err;
    free_slot(consumer);
    lqi_consumer_unlock(consumer);
    return LQ_OK;
}

int lqi_consumers_lock(const struct lqi_consumers *consumers)
{
    struct lqi_shared *head = consumers->map->head;
    int got = lqi_lock(&head->admin, "admin lock"), err = LQ_OK;
    if (got < 0) return got;
    if (got == LQI_INHERITED) lqi_lock_mend(&head->admin); /* a slot counts only once its state says so, which is stored last */
    struct lqi_consumer_slot *consumer = NULL;
    while (!err && (consumer = lqi_consumers_next(head, consumer)))
        if (atomic_load(&consumer->going)) err = settle_going(consumers, consumer);
    if (err) lqi_unlock(&head->admin);
    return err;
}

/* ---- deleting ----------------------------------------------------------- */

static int find_members(const struct lqi_consumers *consumers, struct lqi_consumer_slot *consumer, uint32_t own_handle, bool *any_out)
{
    struct lqi_region *region;
    bool any = false;

    *any_out = false;
    if (!consumer->region_ready) return LQ_OK;
    int err = lqi_region_map(consumers->map, consumer, &region);
    if (err) return err;
    for (size_t i = 0; i < LQI_MEMBERS_MAX && !any; i++) {
        const struct lqi_member_slot *member = &region->members[i];
        any = member->handle_generation && lqi_handle_alive(consumers->map, consumers->meta_file, own_handle,
                                                            member->handle, member->handle_generation);
    }
    lqi_region_unmap(consumers->map, region, consumer->window);
    *any_out = any;
    return LQ_OK;
}

/* Gone, and not yet durably: it stays going, until a sync of the directory has worked for whoever asks next. */
static int delete_file(const struct lqi_consumers *consumers, struct lqi_consumer_slot *consumer)
{
    bool gone = false;

    atomic_store(&consumer->going, 1);
    int err = lqi_position_delete(consumers->log->io, consumers->dir, consumer->name, &gone);
    if (!err) free_slot(consumer);
    else if (!gone) atomic_store(&consumer->going, 0);
    return err;
}

void lqi_consumers_unmake(const struct lqi_consumers *consumers, const char *name)
{
    struct lqi_consumer_slot *consumer = lqi_consumers_find(consumers->map->head, name);
    struct lqi_text told = lqi_text_keep();

    if (!consumer) {
        (void)lqi_position_delete(consumers->log->io, consumers->dir, name, NULL);
    } else if (lqi_consumer_lock(consumers->map, consumer, NULL) == LQ_OK) { /* somebody may be syncing it */
        (void)delete_file(consumers, consumer);
        lqi_consumer_unlock(consumer);
    }
    lqi_text_put_back(&told);
}

static int delete_locked(const struct lqi_consumers *consumers, const char *name, uint32_t own_handle)
{
    struct lqi_consumer_slot *consumer = lqi_consumers_find(consumers->map->head, name);
    bool any;
    if (!consumer) return lqi_fail(LQ_ENOTFOUND, "no consumer '%s' in this queue", name);

    int err = lqi_consumer_lock(consumers->map, consumer, NULL);
    if (err) return err;
    err = find_members(consumers, consumer, own_handle, &any);
    if (!err && any) err = lqi_fail(LQ_EBUSY, "consumer '%s' has members: close them first", name);
    if (!err) err = delete_file(consumers, consumer);
    lqi_consumer_unlock(consumer);
    return err;
}

int lqi_consumers_delete(const struct lqi_consumers *consumers, const char *name, uint32_t own_handle)
{
    int err = lqi_consumers_lock(consumers);
    if (err) return err;
    err = delete_locked(consumers, name, own_handle);
    lqi_unlock(&consumers->map->head->admin);
    return err;
}
