/* What queue.c and queue_files.c share, and nobody else. */
#ifndef LQI_QUEUE_PARTS_H
#define LQI_QUEUE_PARTS_H

#include "queue.h"

/* Opens the directory, its parts and `meta`, or makes them, as asked. What is open when it fails is in the handle. */
int lqi_queue_files_open(lq_queue *queue, const char *path, const lq_options *asked);

/* The same with a queue that this handle has made, after a failure; LQ_EMISMATCH if another maker was faster. */
int lqi_queue_files_open_made(lq_queue *queue);

/* Makes the name of the queue's directory durable. */
int lqi_queue_sync_parent(lq_queue *queue);

#endif
