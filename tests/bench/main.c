/* Benchmarks: what the library reaches, beside what the machine would allow, in the
 * same run. Only the ratios mean something elsewhere, and none of them
 * makes the program fail.
 *
 *     make bench                    all of it, some two minutes
 *     make bench ARGS=--quick       fewer rounds of fewer messages
 *     make bench ARGS="--only put"  the rows with this in their name ("wake", "roll", "open", "idle" too)
 *     make bench ARGS="--rounds 9"
 *
 * Two floors, both bare code of our own (floors.c):
 *   memory  a warm ring in shared memory, a robust lock, XXH3, a look for sleepers; no file
 *   file    the same messages by 64 KiB pwrites into a growing, fallocated file; for durable puts, pwrite
 *           and fdatasync by a leader, who waits up to 60 us for a group as large as the last one; for
 *           GET, 64 KiB reads from the page cache and XXH3
 *
 * "at least" is the aim, by the floor named; "of it" is how much of the aim is reached. Where the aim was
 * "so many times the best other queue", it stands here as the share of the floor that this was when they
 * were measured together. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"
#include "host.h"

struct plan plan = {.rounds = 5};

#define SIZES(name, batch, threads, library, memory, file, of, aim64)                       \
    {name, {64, batch, threads}, library, memory, file, of, aim64},                         \
    {name, {1024, batch, threads}, library, memory, file, OF_NEARER, 0.7},    \
    {name, {16384, batch, threads}, library, memory, file, OF_NEARER, 0.7}

static const struct row rows[] = {
    SIZES("put", 1, 1, put_library, put_memory, put_file, OF_MEMORY, 0.4),
    SIZES("put, 64 a call", 64, 1, put_library, put_memory, put_file, OF_FILE, 0.6),
    SIZES("get + ack", 1, 1, get_library, get_memory, get_file, OF_MEMORY, 0.067),
    SIZES("get + ack, 64 a call", 64, 1, get_library, get_memory, get_file, OF_MEMORY, 0.23),
    SIZES("pair: put to ack", 1, 1, pair_library, pair_memory, put_file, OF_MEMORY, 0.37),
    SIZES("pair: put to ack, 64 a call", 64, 1, pair_library, pair_memory, put_file, OF_MEMORY, 0.26),
    SIZES("durable put", 1, 1, durable_library, NULL, durable_file, OF_FILE, 0.95),
    SIZES("durable put, 64 a call", 64, 1, durable_library, NULL, durable_file, OF_FILE, 0.7),
    SIZES("durable put, 8 threads", 1, 8, durable_library, NULL, durable_file, OF_FILE, 0.9),
    SIZES("durable put, 32 threads", 1, 32, durable_library, NULL, durable_file, OF_FILE, 0.9),
};

static void usage(void)
{
    fprintf(stderr, "usage: bench [--quick] [--rounds N] [--only NAME]\n");
    exit(2);
}

static void arguments(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--quick") == 0) {
            plan.quick = true;
            plan.rounds = 3;
        } else if (strcmp(argv[i], "--rounds") == 0 && i + 1 < argc && atoi(argv[i + 1]) > 0) {
            plan.rounds = (unsigned)atoi(argv[++i]);
        } else if (strcmp(argv[i], "--only") == 0 && i + 1 < argc) {
            plan.only = argv[++i];
        } else {
            usage();
        }
    }
}

static bool any_row(void)
{
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (!plan.only || strstr(rows[i].name, plan.only)) return true;
    return false;
}

static void one(const char *name, void (*bench)(void))
{
    if (!plan.only || strstr(name, plan.only)) bench();
}

int main(int argc, char **argv)
{
    arguments(argc, argv);
    setvbuf(stdout, NULL, _IOLBF, 0);
    scratch_open();
    printf("libqueue %s, medians of %u rounds\n%s", lq_version(), plan.rounds, scratch_kind());
    if (any_row()) run_rounds(rows, sizeof rows / sizeof *rows);
    one("wake", bench_wake);
    one("roll", bench_roll);
    one("open", bench_open);
    one("idle", bench_idle);
    scratch_close();
    return 0;
}
