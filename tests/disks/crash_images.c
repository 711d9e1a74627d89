/* Disks as a power loss can leave them. A queue is used on a recorded disk (recorder.h): several producers, two consumers,
 * for a fraction of a second. Then disks are built from the record. Between any two flushes, what was written before the
 * first of them is there for good; of the blocks written after it, there are
 *
 *     none          all          those up to some write          each by the toss of a coin
 *
 * Each such disk is mounted, which lets the file system recover, and opened by a process that compares
 * with what had been promised when the second flush came in: nothing promised is gone or changed, nothing is there twice, in
 * another order or in pieces, no consumer is ahead, `lq verify` finds no damage, and the queue goes on. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../support/api.h"
#include "../support/child.h"
#include "disk.h"
#include "witness.h"
#include "recorder.h"

enum { BLOCK = 4096, IMAGES_PER_RUN = 100, RUNS_MIN = 1, KILLED = 100 + SIGKILL };

enum survivors { NONE, ALL, UP_TO_SOME, ANY, SURVIVORS };
static const char *const survivor_names[SURVIVORS] = {"none", "all", "up to some write", "any blocks"};

/* One use of a queue, and what came of it. */
struct run {
    struct disk *disk;
    struct recorder recorder;
    struct witness_job job;
    int solid;            /* the disk before the run, and all writes that flushes have made safe since */
    uint32_t next;        /* the first entry that is not in `solid` */
    uint64_t images[SURVIVORS];
};

/* ---- recording ---------------------------------------------------------- */

static bool record_run(struct run *run, int sync, unsigned time_ms)
{
    struct disk *disk = run->disk;
    int image = disk_new_image(disk->kind);
    run->solid = disk_copy_image(image, disk->kind->size);
    run->next = 0;
    run->job = (struct witness_job){.witness = witness_new(), .sync = sync};
    snprintf(run->job.path, sizeof run->job.path, "%s", disk->queue);
    if (!recorder_start(&run->recorder, disk->directory, image, disk->kind->size, run->job.witness)) return false;

    EQUAL(disk_mount(disk, run->recorder.file), 0);
    pid_t child = child_start(witness_work, &run->job);
    api_sleep_ms(time_ms);
    kill(child, SIGKILL);
    EQUAL(child_wait(child), KILLED);
    disk_unmount(disk);
    recorder_stop(&run->recorder);
    close(image);
    return true;
}

static void release_run(struct run *run)
{
    recorder_release(&run->recorder);
    witness_free(run->job.witness);
    close(run->solid);
}

/* ---- building ----------------------------------------------------------- */

static void apply(const struct run *run, int image, const struct record_entry *entry, uint32_t from, uint32_t size)
{
    static uint8_t bytes[1 << 20];
    EQUAL(pread(run->recorder.data, bytes, size, (off_t)(entry->at + from)), size);
    EQUAL(pwrite(image, bytes, size, (off_t)(entry->offset + from)), size);
}

/* The end of the stretch of writes that begins at `from`: the next flush, or the end of the record. */
static uint32_t stretch_end(const struct record *record, uint32_t from)
{
    while (from < atomic_load(&record->count) && !record->entries[from].flush) from++;
    return from;
}

static void make_solid(struct run *run, uint32_t until)
{
    for (; run->next < until; run->next++) {
        const struct record_entry *entry = &run->recorder.record->entries[run->next];
        if (!entry->flush) apply(run, run->solid, entry, 0, entry->size);
    }
}

static int build(const struct run *run, uint32_t end, enum survivors survivors, unsigned seed)
{
    srand(seed);
    int image = disk_copy_image(run->solid, run->disk->kind->size);
    uint32_t stop = survivors == UP_TO_SOME ? run->next + (uint32_t)rand() % (end - run->next + 1) : end;
    for (uint32_t i = run->next; i < stop && survivors != NONE; i++) {
        const struct record_entry *entry = &run->recorder.record->entries[i];
        for (uint32_t from = 0; from < entry->size; from += BLOCK) {
            uint32_t size = entry->size - from < BLOCK ? entry->size - from : BLOCK;
            if (survivors != ANY || rand() & 0x100) apply(run, image, entry, from, size);
        }
    }
    return image;
}

/* ---- checking ----------------------------------------------------------- */

static void keep(int image, uint64_t size)
{
    char path[4200];
    const char *where = getenv("TMPDIR");
    snprintf(path, sizeof path, "%s/failed.img", where ? where : "/tmp");
    int copy = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    HOLDS(copy >= 0);
    disk_copy_into(copy, image, size);
    close(copy);
    dprintf(2, "the disk is kept in %s\n", path);
}

static void check_image(struct run *run, uint32_t end, enum survivors survivors)
{
    struct disk *disk = run->disk;
    const struct record *record = run->recorder.record;
    unsigned seed = (unsigned)rand();
    int image = build(run, end, survivors, seed);

    run->job.line = record->entries[end].line;
    disk_next_boot();
    int error = disk_mount(disk, image);
    int result = error ? error : child_run(witness_check, &run->job);
    if (!error) disk_unmount(disk);
    if (result) {
        fflush(stdout);
        dprintf(2, "%s, flush before write %" PRIu32 " of %" PRIu32 ", of the writes up to %" PRIu32 " survived %s: %s ended with %d\n",
                disk->kind->name, run->next, atomic_load(&record->count), end, survivor_names[survivors],
                error ? "mounting" : "checking", result);
        keep(build(run, end, survivors, seed), disk->kind->size);
        fail();
    }
    close(image);
    run->images[survivors]++;
}

/* Some stretches between flushes, in their order. */
static void check_run(struct run *run, double end)
{
    const struct record *record = run->recorder.record;
    uint32_t count = atomic_load(&record->count), flushes = 0;
    for (uint32_t i = 0; i < count; i++) flushes += record->entries[i].flush;

    for (uint32_t from = 0, to; (to = stretch_end(record, from)) < count && disk_now() < end; from = to + 1) {
        if (to == from || (uint32_t)rand() % flushes >= IMAGES_PER_RUN) continue;
        make_solid(run, from);
        check_image(run, to, (enum survivors)(rand() % SURVIVORS));
    }
}

static void every_disk_that_power_loss_can_leave_holds_what_was_promised(void **state)
{
    static const int modes[] = {LQ_SYNC_ALWAYS, LQ_SYNC_ALWAYS, LQ_SYNC_INTERVAL, LQ_SYNC_ALWAYS, LQ_SYNC_NEVER};
    struct disk *disk = *state;
    struct run run = {.disk = disk};
    double start = disk_now(), end = start + disk_seconds(30, 3), recording = 0;
    uint64_t runs = 0, entries = 0, messages = 0;

    disk_fresh(disk); /* or skip */
    disk_unmount(disk);
    for (; runs < RUNS_MIN || disk_now() < end; runs++) {
        double before = disk_now();
        if (!record_run(&run, modes[runs % 5], 20 + (unsigned)rand() % 300)) skip();
        recording += disk_now() - before;
        check_run(&run, end);
        entries += atomic_load(&run.recorder.record->count);
        messages += atomic_load(&run.job.witness->numbers);
        release_run(&run);
    }
    uint64_t images = 0;
    for (int i = 0; i < SURVIVORS; i++) images += run.images[i];
    printf("# %s: %" PRIu64 " images checked in %.1f s (%.1f/s) of %" PRIu64 " runs with %" PRIu64 " messages and %" PRIu64 " writes and flushes; of the last writes survived:",
           disk->kind->name, images, disk_now() - start, (double)images / (disk_now() - start - recording), runs, messages, entries);
    for (int i = 0; i < SURVIVORS; i++) printf(" %s %" PRIu64, survivor_names[i], run.images[i]);
    puts("");
    HOLDS(images > 0);
}

int main(void)
{
    int skip_code = disk_begin();
    if (skip_code) return skip_code;
    srand((unsigned)api_now_us());
    const struct CMUnitTest tests[] = {
        ON_DISK(ext4, every_disk_that_power_loss_can_leave_holds_what_was_promised),
        ON_DISK(xfs, every_disk_that_power_loss_can_leave_holds_what_was_promised),
        ON_DISK(btrfs, every_disk_that_power_loss_can_leave_holds_what_was_promised),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
