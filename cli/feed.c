/* Gathering messages into batches. */
#include "feed.h"

#include "human.h"
#include "out.h"
#include "stop.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum {
    BUFFER_SIZE = 64 * 1024,             /* of a batch, unless another count is asked for */
    BUFFER_SIZE_LARGE = 16 * 1024 * 1024,
    SYNC_EVERY_US = 1000000
};

int feed_init(struct feed *feed, lq_queue *queue, size_t batch)
{
    lq_stats stats = {.size = sizeof stats};
    int code = lq_get_stats(queue, &stats);

    *feed = (struct feed){.queue = queue, .room_wait_ms = -1, .count_max = batch ? batch : FEED_BATCH_DEFAULT};
    if (code != LQ_OK) return code;
    feed->message_size_max = stats.message_size_max;
    feed->wants_sync = stats.sync == LQ_SYNC_ALWAYS;
    feed->synced_us = steady_time_us();
    feed->capacity = batch > FEED_BATCH_DEFAULT ? BUFFER_SIZE_LARGE : BUFFER_SIZE;
    feed->buffer = malloc(feed->capacity);
    feed->messages = calloc(feed->count_max, sizeof *feed->messages);
    return feed->buffer && feed->messages ? LQ_OK : LQ_ENOMEM;
}

void feed_release(struct feed *feed)
{
    free(feed->buffer);
    free(feed->messages);
}

/* Puts them, waiting for room in a queue that blocks in pieces, so that a signal can end it. */
static int put_batch(struct feed *feed, const lq_message *messages, size_t count)
{
    int64_t deadline_us = steady_time_us() + feed->room_wait_ms * 1000;
    uint64_t id;
    int code;

    do {
        code = lq_put_batch(feed->queue, messages, count, &id);
    } while (code == LQ_TIMEOUT && !stop_asked() && (feed->room_wait_ms < 0 || steady_time_us() < deadline_us));
    if (code != LQ_OK) return code;

    feed->dirty = true;
    feed->put += count;
    for (size_t i = 0; i < count; i++) feed->bytes += messages[i].size;
    for (size_t i = 0; feed->print_ids && i < count; i++) out_format("%" PRIu64 "\n", id + i);
    return LQ_OK;
}

int feed_flush(struct feed *feed)
{
    size_t count = feed->count;

    feed->count = feed->used = 0;
    return count ? put_batch(feed, feed->messages, count) : LQ_OK;
}

/* Copies a part of a message behind the rest in the buffer. */
static const void *keep(struct feed *feed, const void *bytes, size_t size)
{
    char *kept = feed->buffer + feed->used;

    if (size) memcpy(kept, bytes, size);
    feed->used += size;
    return kept;
}

int feed_add(struct feed *feed, const lq_message *message)
{
    size_t size = message->size + message->key_size + message->headers_size;
    lq_message *kept;
    int code = LQ_OK;

    if (feed->count == feed->count_max || size > feed->capacity - feed->used) code = feed_flush(feed);
    if (code != LQ_OK) return code;
    if (size > feed->message_size_max) {
        code = feed_flush(feed);
        return code != LQ_OK ? code : put_batch(feed, message, 1); /* the library says it best */
    }
    if (size > feed->capacity) return put_batch(feed, message, 1); /* large: not copied twice */

    kept = &feed->messages[feed->count++];
    kept->data = keep(feed, message->data, kept->size = message->size);
    kept->key = keep(feed, message->key, kept->key_size = message->key_size);
    kept->headers = keep(feed, message->headers, kept->headers_size = message->headers_size);
    return LQ_OK;
}

int feed_sync(struct feed *feed)
{
    int code = feed->wants_sync && feed->dirty ? lq_sync(feed->queue) : LQ_OK;

    if (code != LQ_OK) return code;
    feed->dirty = false;
    feed->synced_us = steady_time_us();
    return LQ_OK;
}

int feed_sync_sometimes(struct feed *feed)
{
    return feed->dirty && steady_time_us() - feed->synced_us > SYNC_EVERY_US ? feed_sync(feed) : LQ_OK;
}
