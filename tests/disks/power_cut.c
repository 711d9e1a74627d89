/* The power fails under a queue in use. A file system is told to shut down at once, without writing what it still
 * has of its log (EXT4_IOC_SHUTDOWN, XFS_IOC_GOINGDOWN): what is on the disk then is what the kernel had written, in its own
 * order, and nothing comes after it. The process is killed, the disk unmounted and mounted again, so that the file
 * system recovers as after a reset, and the witness is compared with what is there. The same disk is cut again and again, in
 * each sync mode in turn, at moments from the first millisecond of opening on.
 *
 * What this cannot show: writes that the disk was told of, but that it had not been made to keep; there crash_images goes
 * on. btrfs has no such call before Linux 6.19, and is skipped where it has none. */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../support/api.h"
#include "../support/child.h"
#include "disk.h"
#include "witness.h"

enum { MODES = 3, CUTS_MIN = 9, DELAY_MAX_MS = 90, KILLED = 100 + SIGKILL };

static const int modes[MODES] = {LQ_SYNC_ALWAYS, LQ_SYNC_INTERVAL, LQ_SYNC_NEVER};
static const char *const mode_names[MODES] = {"always", "interval", "never"};

/* Processes that the kernel ended by SIGBUS after the cut: it does not let them write to a page of `shared` again that
 * it has written out, as the file system is down. The header says so; the power would have been faster. */
static uint64_t bus_errors;

static void run_until_the_power_fails(struct disk *disk, struct witness_job *job)
{
    atomic_store(&job->witness->failing, 0);
    pid_t child = child_start(witness_work, job);
    api_sleep_ms((unsigned)rand() % DELAY_MAX_MS);
    if (rand() % 2) {
        disk_sync(disk); /* as somebody else may, with `shared` in the midst of anything */
        api_sleep_ms((unsigned)rand() % DELAY_MAX_MS / 4);
    }

    EQUAL(waitpid(child, NULL, WNOHANG), 0);
    atomic_store(&job->witness->failing, 1);
    /* What an fdatasync says while the file system goes down may be false: on ext4, that a commit has been, which was
     * aborted. After a real cut nobody is there to hear it. */
    job->line = witness_now(job->witness);
    job->cut_us = api_now_us();
    int error = disk_cut(disk);
    struct witness_line after = witness_now(job->witness);
    memcpy(job->line.acking, after.acking, sizeof after.acking); /* may have reached the disk */
    kill(child, SIGKILL);
    int result = child_wait(child);
    if (error == ENOTTY || error == EOPNOTSUPP) {
        printf("# skipped: %s: no shutdown without a flush in this kernel\n", disk->kind->name);
        skip();
    }
    EQUAL(error, 0);
    bus_errors += result == 100 + SIGBUS;
    if (result != KILLED && result != 100 + SIGBUS && result != 0) {
        fflush(stdout);
        dprintf(2, "%s: the process ended with %d (100 and more: by a signal)\n", disk->kind->name, result);
        fail();
    }
}

static void what_was_promised_is_there_after_each_power_cut(void **state)
{
    struct disk *disk = *state;
    struct witness_job jobs[MODES];
    uint64_t cuts[MODES] = {0}, count = 0;
    double start = disk_now(), end = start + disk_seconds(30, 3);

    bus_errors = 0;
    disk_fresh(disk);
    memset(jobs, 0, sizeof jobs);
    for (int i = 0; i < MODES; i++) {
        jobs[i] = (struct witness_job){.witness = witness_new(), .sync = modes[i], .last = true};
        snprintf(jobs[i].path, sizeof jobs[i].path, "%.4200s-%s", disk->queue, mode_names[i]);
    }
    for (; count < CUTS_MIN || disk_now() < end; count++) {
        int mode = (int)(count % MODES);
        run_until_the_power_fails(disk, &jobs[mode]);
        disk_unmount(disk);
        /* Else only the disk was away: `shared` is of this boot, and of any moment. What was synced has to be there all the same. */
        if (modes[mode] != LQ_SYNC_ALWAYS || rand() % 2) disk_next_boot();
        EQUAL(disk_mount(disk, disk->image), 0);
        int result = child_run(witness_check, &jobs[mode]);
        if (result) {
            fflush(stdout);
            dprintf(2, "%s, cut %" PRIu64 ", sync %s: checking ended with %d\n", disk->kind->name, count + 1, mode_names[mode], result);
            fail();
        }
        cuts[mode]++;
    }
    printf("# %s: %" PRIu64 " power cuts in %.1f s;", disk->kind->name, count, disk_now() - start);
    for (int i = 0; i < MODES; i++)
        printf(" sync %s: %" PRIu64 " cuts, %" PRIu64 " messages, the oldest lost %.1f ms old;", mode_names[i], cuts[i],
               (uint64_t)atomic_load(&jobs[i].witness->numbers), (double)atomic_load(&jobs[i].witness->oldest_lost_us) / 1000);
    printf(" ended by SIGBUS after the cut: %" PRIu64 "\n", bus_errors);
}

int main(void)
{
    int skip_code = disk_begin();
    if (skip_code) return skip_code;
    srand((unsigned)api_now_us());
    const struct CMUnitTest tests[] = {
        ON_DISK(ext4, what_was_promised_is_there_after_each_power_cut),
        ON_DISK(xfs, what_was_promised_is_there_after_each_power_cut),
        ON_DISK(btrfs, what_was_promised_is_there_after_each_power_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
