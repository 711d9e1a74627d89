/* What the parts of fuzz_ops share: the run of one script, and the steps of it. ops_consumers.c has those of members and
 * hand-outs, ops_looking.c those that only look, fuzz_ops.c the rest. Each step makes a call and compares the answer with the model's. */
#ifndef OPS_RUN_H
#define OPS_RUN_H

#include "ops_model.h"

enum { HANDLES = 2, MEMBERS = 6, HAND_OUTS = 512, BATCH = 100 };

struct member {
    lq_consumer *consumer; /* NULL: free */
    unsigned name, handle;
};

struct hand_out {
    lq_message message;
    int member; /* -1: free */
    uint32_t serial;
};

struct reader {
    lq_reader *reader;
    unsigned handle;
    uint64_t next_id;
};

extern struct run {
    const uint8_t *data;
    size_t size;
    lq_options options;
    lq_queue *handles[HANDLES];
    uint32_t flags[HANDLES];
    struct member members[MEMBERS];
    struct hand_out hand_outs[HAND_OUTS];
    struct reader reader;
    uint32_t serial;
} ops_run;

extern struct model ops_model;
extern char ops_path[300]; /* of the queue */
extern const char *const ops_names[NAMES];

/* The next byte of the script, 0 behind its end. */
unsigned ops_take(void);

/* ---- members, hand-outs (ops_consumers.c) -------------------------------- */

void ops_open_member(unsigned handle);
void ops_close_member(int index);
void ops_delete_consumer(unsigned handle);

void ops_get(int index);
void ops_get_batch(int index);
void ops_ack(void);
void ops_ack_batch(void);
void ops_release(void);
void ops_ack_by_another(void);

/* The member has been given this message; or that there is none. */
void ops_got(int index, const lq_message *message);
void ops_got_nothing(int index);

/* ---- looking (ops_looking.c) ----------------------------------------------- */

lq_queue *ops_any_handle(void);
void ops_look(void);
void ops_look_at_consumer(unsigned name);

/* The model takes over what it cannot know: how much retention has dropped. */
void ops_adopt(struct model_consumer *consumer, const lq_consumer_stats *stats);

void ops_open_reader(unsigned handle);
void ops_seek_reader(void);
void ops_seek_time(void);
void ops_read_one(void);
void ops_close_reader(void);
void ops_read_all(void);
void ops_verify(void);
void ops_list(unsigned handle);

#endif
