/* What the benchmarks share: a kind of work, how often it is done, what it is
 * held against. One row of the table is one work, measured three times in each
 * round: by the library, and by bare code that does no more than the machine asks. */
#ifndef BENCH_H
#define BENCH_H

#include <libqueue.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BENCH_BATCH_MAX 64
#define BENCH_SIZE_MAX 16384
#define BENCH_THREADS_MAX 32

struct work {
    size_t size;      /* of a message, in bytes */
    unsigned batch;   /* messages a call */
    unsigned threads; /* that call */
};

/* Does the work once, and says how many messages a second that were. */
typedef double measure(const struct work *work);

enum aim { OF_NEARER, OF_MEMORY, OF_FILE };

struct row {
    const char *name;
    struct work work;
    measure *library, *memory, *file; /* NULL: there is no such floor */
    enum aim aim_of;
    double aim; /* "at least": the library's rate by that floor's */
};

/* What the command line says. */
struct plan {
    unsigned rounds;
    bool quick;
    const char *only; /* the names of rows must contain it; NULL: all */
};
extern struct plan plan;

/* The rows. */
measure put_library, put_memory, put_file;
measure durable_library, durable_file;
measure get_library, get_memory, get_file;
measure pair_library, pair_memory;

/* What is no rate: each prints its own lines. */
void bench_wake(void);
void bench_roll(void);
void bench_open(void);
void bench_idle(void);

/* Interleaves the rows over plan.rounds and prints the table of medians. */
void run_rounds(const struct row *rows, size_t count);

/* ---- helpers for all of them ---- */

double median(double *values, size_t count);                   /* sorts them */
double percentile(double *values, size_t count, double share); /* of sorted ones */
void sort_values(double *values, size_t count);

/* How many messages make a good measurement: many bytes, not too many messages. */
uint64_t count_for(const struct work *work);
/* BENCH_BATCH_MAX messages of this size, of bytes that do not repeat. */
const lq_message *sample_messages(size_t size);

/* An open queue in an empty scratch directory; closed and removed. */
lq_queue *queue_new(const char *path, int sync, uint64_t segment_size);
void queue_remove(lq_queue *queue, const char *path);
/* Puts `count` messages, work->batch at a time. */
void put_all(lq_queue *queue, const struct work *work, uint64_t count);

/* Gets and acks `count` messages, work->batch at a time. */
void take_all(lq_consumer *consumer, const struct work *work, uint64_t count, int64_t timeout_ms);

/* Ends the program with the reason when the library says anything but LQ_OK. */
void must(int code, const char *what);

#endif
