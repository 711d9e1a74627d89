/* Every call to the machine, and every allocation, fails while a damaged queue is repaired, looked over, or a repair of it is planned:
 * the first, the second, the third... of each kind until there are no more of them, once and from then on. What was said then is an
 * answer: never that all is well with what is damaged, nor that something is damaged which the machine merely could not read;
 * nothing is left open, nothing is lost, and the next repair does it. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "queue.h"
#include "repair.h"
#include "view.h"
#include "support/api.h"
#include "support/call_fault.h"
#include "support/io_crash.h"
#include "support/io_fault.h"
#include "support/specimen.h"

enum { COPY_B = 128, GONE = -1 };

/* ---- damage -------------------------------------------------------------------------- */

static const struct lqi_io *io_of(struct io_crash *machine)
{
    return io_crash_io(machine);
}

/* The n-th segment of the specimen. */
static const struct specimen_file *segment(const struct specimen *specimen, size_t n)
{
    const struct specimen_file *found = NULL;
    for (size_t k = 0; k < specimen->file_count; k++) {
        const struct specimen_file *file = &specimen->files[k];
        size_t before = 0;
        if (!specimen_is_segment(file)) continue;
        for (size_t i = 0; i < specimen->file_count; i++)
            before += specimen_is_segment(&specimen->files[i]) && strcmp(specimen->files[i].name, file->name) < 0;
        if (before == n) found = file;
    }
    specimen_must(found != NULL, "find a segment");
    return found;
}

static const struct specimen_file *named(const struct specimen *specimen, const char *shown)
{
    for (size_t i = 0; i < specimen->file_count; i++)
        if (strcmp(specimen->files[i].shown, shown) == 0) return &specimen->files[i];
    specimen_must(false, "find a file");
    return NULL;
}

static void flip(struct io_crash *machine, const struct specimen_file *file, size_t offset)
{
    specimen_write_byte(io_of(machine), file, offset, file->bytes[offset] ^ 64);
}

static void keep(struct io_crash *machine, const struct specimen_file *file, int64_t size)
{
    specimen_write(io_of(machine), file->dir, file->name, size == GONE ? NULL : file->bytes, size == GONE ? 0 : (size_t)size);
}

static void flip_header(struct io_crash *machine, const struct specimen_file *file)
{
    flip(machine, file, 1);
    flip(machine, file, COPY_B + 1);
}

/* Its body, or the bytes behind it. */
static void flip_record(const struct specimen *specimen, struct io_crash *machine, uint64_t id, bool padding)
{
    for (size_t i = 0; i < specimen->extent_count; i++) {
        const struct specimen_extent *extent = &specimen->extents[i];
        if (extent->first_id != id || !extent->count) continue;
        flip(machine, &specimen->files[extent->file], padding ? extent->end - 1 : extent->offset + LQI_RECORD_HEADER + 1);
        return;
    }
    specimen_must(false, "find a record");
}

/* Where the last record of the first segment begins. */
static size_t last_record_of(const struct specimen *specimen)
{
    size_t last = 0;
    for (size_t i = 0; i < specimen->extent_count; i++) {
        const struct specimen_extent *extent = &specimen->extents[i];
        if (&specimen->files[extent->file] == segment(specimen, 0) && extent->offset > last) last = extent->offset;
    }
    return last;
}

static void damage_all(const struct specimen *specimen, struct io_crash *machine)
{
    const struct specimen_file *c = named(specimen, "consumers/c.pos"), *last = segment(specimen, 2);
    flip(machine, named(specimen, "meta"), 100);
    flip_record(specimen, machine, 2, false);
    flip_record(specimen, machine, 4, false); /* two places in one file */
    keep(machine, segment(specimen, 1), GONE);
    keep(machine, last, (int64_t)last->size - 100);
    flip(machine, c, 50);
    flip(machine, c, 562);
    keep(machine, named(specimen, "consumers/d.pos"), 100);
    specimen_write(io_of(machine), "log", "stranger", (const uint8_t *)"x", 1);
    specimen_write(io_of(machine), "log", "2.new", (const uint8_t *)"x", 1);
    specimen_write(io_of(machine), "consumers", "stranger", (const uint8_t *)"x", 1);
}

static void damage_headers(const struct specimen *specimen, struct io_crash *machine)
{
    keep(machine, named(specimen, "meta"), GONE);
    flip_header(machine, segment(specimen, 0));
    flip(machine, segment(specimen, 0), segment(specimen, 0)->size - 1); /* the trailer, too */
    flip_header(machine, segment(specimen, 1));
}

static void damage_the_last(const struct specimen *specimen, struct io_crash *machine)
{
    flip_header(machine, segment(specimen, 2));
    flip_header(machine, segment(specimen, 1));
}

static void lose_the_log(const struct specimen *specimen, struct io_crash *machine)
{
    specimen_write(io_of(machine), "", "meta", (const uint8_t[LQI_META_SIZE]){0}, LQI_META_SIZE);
    for (size_t i = 0; i < SPECIMEN_SEGMENTS; i++) keep(machine, segment(specimen, i), GONE);
}

static void lose_all(const struct specimen *specimen, struct io_crash *machine)
{
    lose_the_log(specimen, machine);
    for (size_t i = 0; i < SPECIMEN_CONSUMERS; i++) {
        char name[40];
        snprintf(name, sizeof name, "consumers/%s.pos", specimen_consumer(i));
        keep(machine, named(specimen, name), GONE);
    }
}

static void damage_ends(const struct specimen *specimen, struct io_crash *machine)
{
    const struct specimen_file *first = segment(specimen, 0), *second = segment(specimen, 1);
    flip_record(specimen, machine, 3, true);
    flip(machine, first, first->size - LQI_SEGMENT_TRAILER - 1); /* the index */
    keep(machine, second, (int64_t)second->size - 9);            /* the trailer */
    specimen_write(io_of(machine), "", "shared", (const uint8_t *)"short", 5);
}

/* An earlier repair has ended in the middle. */
static void damage_little(const struct specimen *specimen, struct io_crash *machine)
{
    const struct lqi_io *io = io_of(machine);
    int queue = specimen_dir(io, "");
    specimen_must(io->dir_make(io, queue, "aside", 0700) == 0 && io->dir_make(io, queue, "aside/new", 0700) == 0, "make a directory");
    io->close(io, queue);
    specimen_write(io, "aside/new", "left", (const uint8_t *)"over", 4);
    flip(machine, named(specimen, "consumers/c.pos"), 50);
}

static void damage_a_consumer(const struct specimen *specimen, struct io_crash *machine)
{
    flip(machine, named(specimen, "consumers/d.pos"), 50);
}

static void put_strangers(const struct specimen *specimen, struct io_crash *machine)
{
    (void)specimen;
    specimen_write(io_of(machine), "log", "one", (const uint8_t *)"x", 1);
    specimen_write(io_of(machine), "log", "two", (const uint8_t *)"x", 1);
}

/* Two files that cannot be read, in the place of which one comes; and a good one that ends with a bad header. */
static void damage_two(const struct specimen *specimen, struct io_crash *machine)
{
    for (size_t i = 1; i < 3; i++) {
        flip_header(machine, segment(specimen, i));
        flip(machine, segment(specimen, i), segment(specimen, i)->size - 1);
    }
    flip(machine, segment(specimen, 0), last_record_of(specimen) + 30);
}

static void damage_a_record(const struct specimen *specimen, struct io_crash *machine)
{
    flip_record(specimen, machine, 2, false);
}

static void damage_nothing(const struct specimen *specimen, struct io_crash *machine)
{
    (void)specimen;
    (void)machine;
}

static const struct {
    const char *name;
    void (*damage)(const struct specimen *specimen, struct io_crash *machine);
    bool killed, sound;
} cases[] = {
    {"everything", damage_all, false, false},     {"headers and meta", damage_headers, false, false},
    {"the last header", damage_the_last, false, false}, {"no log", lose_the_log, false, false},
    {"nothing left", lose_all, false, false},     {"index, trailer, padding", damage_ends, false, false},
    {"a little", damage_little, false, false},    {"a consumer", damage_a_consumer, false, false},
    {"strangers", put_strangers, false, false},
    {"two headers", damage_two, false, false},
    {"left by the dead", damage_a_record, true, false}, {"sound", damage_nothing, false, true},
};
enum { CASES = sizeof cases / sizeof *cases };

/* ---- one run ---------------------------------------------------------------------------- */

enum verb { REPAIR, PLAN, VERIFY, VERBS };

static unsigned damaged; /* places that lq_verify() has called so, and not unreadable */

static void note_finding(void *context, const lq_finding *finding)
{
    (void)context;
    damaged += finding->code == LQ_ECORRUPT;
}

static int run_verb(enum verb verb, const struct lqi_io *io)
{
    damaged = 0;
    if (verb == VERIFY) return lqi_verify_io(io, "q", 0, note_finding, NULL, NULL);
    return lqi_repair_io(io, "q", verb == PLAN ? LQ_REPAIR_DRY_RUN : 0, NULL, NULL, NULL);
}

static uint64_t messages_in(const struct lqi_io *io)
{
    lq_verify_result result = {.size = sizeof result};
    OK(lqi_verify_io(io, "q", 0, NULL, NULL, &result));
    return result.messages;
}

struct broken {
    struct io_crash *machine;
    uint64_t messages; /* when it is repaired */
    bool sound;
};

/* False when there was no such call. */
static bool run_failing(const struct broken *broken, enum verb verb, int kind, uint64_t n, bool for_ever)
{
    struct io_crash *machine = io_crash_processes_die(broken->machine);
    struct io_fault fault;
    io_fault_init(&fault, io_crash_io(machine));
    fault.short_writes = fault.short_allocates = true;
    if (kind < IO_KINDS) io_fault_plan(&fault, (enum io_kind)kind, n, for_ever, kind == IO_RENAME ? ENOSPC : EIO);
    else call_fault_plan(CALL_ALLOCATE, n, for_ever, ENOMEM);
    int err = run_verb(verb, &fault.io);
    bool hit = fault.hits > 0 || (kind == IO_KINDS && call_fault_hits() > 0);
    if (err) HOLDS(err < 0 && *lq_error_text());
    call_fault_end();
    io_fault_end(&fault);
    HOLDS(io_crash_idle(machine)); /* nothing is left open, locked or mapped */
    if (verb == VERIFY) {
        HOLDS(err || broken->sound || broken->messages == 0);
        if (broken->sound) EQUAL(damaged, 0);
    }
    if (verb == REPAIR && !err) EQUAL(messages_in(io_crash_io(machine)), broken->messages); /* what was said to be done is done */
    if (hit) {
        OK(lqi_repair_io(io_crash_io(machine), "q", 0, NULL, NULL, NULL));
        EQUAL(messages_in(io_crash_io(machine)), broken->messages);
    }
    io_fault_release(&fault);
    io_crash_free(machine);
    return hit;
}

static unsigned runs;

static void sweep(const struct broken *broken, enum verb verb, bool for_ever)
{
    for (int kind = 0; kind <= IO_KINDS; kind++) /* the last of them: allocations */
        for (uint64_t n = 1; run_failing(broken, verb, kind, n, for_ever); n += for_ever ? 1 + n / 4 : 1) runs++;
}

static void whatever_fails_is_an_answer(bool for_ever)
{
    struct specimen specimens[2] = {{.name = "closed"}, {.name = "killed", .killed = true}};
    for (size_t i = 0; i < 2; i++) specimen_make(&specimens[i]);
    for (size_t i = 0; i < CASES; i++) {
        const struct specimen *specimen = &specimens[cases[i].killed];
        struct broken broken = {io_crash_processes_die(specimen->machine), 0, cases[i].sound};
        unsigned before = runs;
        cases[i].damage(specimen, broken.machine);
        if (!cases[i].sound && !cases[i].killed) IS(LQ_ECORRUPT, run_verb(VERIFY, io_crash_io(broken.machine)));
        struct io_crash *mended = io_crash_processes_die(broken.machine);
        OK(run_verb(REPAIR, io_crash_io(mended)));
        broken.messages = messages_in(io_crash_io(mended));
        io_crash_free(mended);
        for (enum verb verb = 0; verb < VERBS; verb++) sweep(&broken, verb, for_ever);
        api_note("%s: %u failures, %d messages are left", cases[i].name, runs - before, (int)broken.messages);
        io_crash_free(broken.machine);
    }
    for (size_t i = 0; i < 2; i++) {
        for (size_t k = 0; k < specimens[i].file_count; k++) free(specimens[i].files[k].bytes);
        io_crash_free(specimens[i].machine);
    }
    io_crash_trim();
}

static void whatever_fails_once_is_an_answer_and_the_next_repair_does_the_rest(void **state)
{
    (void)state;
    whatever_fails_is_an_answer(false);
    HOLDS(runs > 1000);
}

static void whatever_fails_from_then_on_is_an_answer_too(void **state)
{
    (void)state;
    whatever_fails_is_an_answer(true);
}

int main(void)
{
    lqi_view_pause_us = 0;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whatever_fails_once_is_an_answer_and_the_next_repair_does_the_rest),
        cmocka_unit_test(whatever_fails_from_then_on_is_an_answer_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
