#include "view.h"

#include <stddef.h>
#include <string.h>

static bool in_use(const struct lqi_view *view)
{
    const struct lqi_shared *head = view->map.head;
    return head && atomic_load(&head->identity.ready) && !atomic_load(&head->clean);
}

static int find_end(struct lqi_view *view)
{
    lq_queue *queue = view->queue;
    struct lqi_position_entry witness;
    struct lqi_trim trim;

    int err = lqi_trim_load(&queue->meta_file, queue->meta.uuid, &trim);
    if (err && err != LQ_ECORRUPT) return err; /* without a slot, the oldest file is where the log begins */
    err = lqi_consumers_promise(queue->io, queue->consumers_dir, queue->meta.uuid, &witness);
    if (err) return err;
    struct lqi_promise promise = {witness.durable, witness.durable_id + 1, 0};
    err = lqi_find_end(&view->log, &trim, &promise, &view->files);
    if (err) return err;
    view->log.files_first_id = view->files.first_id;
    view->log.files_first_position = view->files.first_position;
    view->log.files_end = view->files.end;
    view->log.files_next_id = view->files.next_id;
    return LQ_OK;
}

/* `shared` may be of a while ago: a file system that broke down and was mounted again has what the kernel wrote of it
 * last. What retention had deleted by then is not missing. */
static void know_trim(struct lqi_view *view)
{
    struct lqi_trim trim;
    if (lqi_trim_load(&view->queue->meta_file, view->queue->meta.uuid, &trim)) return;
    view->log.files_first_id = trim.first_id;
    view->log.files_first_position = trim.position;
}

int lqi_view_refresh(struct lqi_view *view)
{
    lq_queue *queue = view->queue;

    if (!lqi_view_read_only(view) || in_use(view)) return LQ_OK;
    lqi_shared_detach(&view->map);
    int err = lqi_shared_attach(&view->map, queue->io, queue->dir, queue->meta.uuid, false);
    if (!err && !in_use(view)) lqi_shared_detach(&view->map);
    view->log.shared = view->map.head;
    view->log.state = view->map.head ? &view->map.head->log : NULL;
    /* What is nowhere but in memory would be missing without a word. (A memory that is unreadable itself does not hide the files.) */
    if (err == LQ_ENOMEM || err == LQ_ELIMIT || err == LQ_EVERSION) return err;
    if (!view->map.head) return find_end(view);
    lqi_shared_ring(&view->map, &view->log.ring);
    know_trim(view);
    return LQ_OK;
}

int lqi_view_open(struct lqi_view *view, lq_queue *queue)
{
    view->queue = queue;
    /* All but the files that are being written, which change under their locks, and are none of ours. */
    memcpy(&view->log, &queue->log, offsetof(struct lqi_log, writing));
    view->log.writing = view->log.syncing = (struct lqi_span_file){LQI_FILE_NONE, 0};
    view->map = (struct lqi_shared_map)LQI_SHARED_NONE;
    return lqi_view_refresh(view);
}

void lqi_view_close(struct lqi_view *view)
{
    lqi_shared_detach(&view->map);
}

int lqi_view_pause_us = LQI_VIEW_PAUSE_US;

void lqi_view_pause(void)
{
    _Atomic uint32_t nobody = 0;
    lqi_wait(&nobody, 0, lqi_now_us() + lqi_view_pause_us);
}
