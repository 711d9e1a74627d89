/* Real file systems for tests: ext4, xfs, btrfs and tmpfs, made small, filled, taken away, cut off.
 *
 * What sweep_crash says about crashes is as good as its model of a file system. Here the kernel says it.
 * `make test-disks` runs these programs, as root, for DISK_SECONDS in all, shared out between them:
 *
 *   full_disk      n KiB are free, for n in a sweep that hits every place where the library needs space:
 *                  each call says LQ_OK or LQ_ENOSPC, what was accepted stays, GET and ack go on
 *   read_only      remounted, or because the disk fails every write: a clear error, and reading goes on
 *   power_cut      the file system is shut down under a running queue without flushing its log, the process
 *                  killed, the disk mounted again: what each sync mode promises is there
 *   crash_images   a layer of ours under the file system records each write and flush; disks as a power loss
 *                  could have left them are built from the record, mounted and checked
 *
 * A queue's `shared` tells boots apart by the kernel's boot id. We do not reboot, so each power loss here also
 * lays another id over the one in /proc (disk_next_boot).
 *
 * WHAT THEY FIND, tried with a library broken on purpose, in a minute each:
 *
 *   no fdatasync in group commit              power_cut and crash_images, within the first seconds, on each file system
 *   none when a segment is sealed             both, on each
 *   none of a new segment's header            both, on each
 *   none of the directory, for a new segment  power_cut within ten cuts, on ext4 and xfs; crash_images in one run of three,
 *                                             on ext4 only
 *   none of a consumer's saved position       power_cut, at the first cut
 *   no space for a segment, and going on      full_disk, on ext4, xfs and tmpfs
 *
 * NOTHING STAYS BEHIND, however a program ends. Images are anonymous memory; the mounts are in a mount
 * name space of this process, that goes with its last process; a loop device detaches itself when
 * nobody has it open; children die with their parent. So there is nothing to trap and nothing to sweep up.
 *
 * Where something is missing (root, loop devices, mkfs.xfs, xfs in the kernel), its tests are skipped and say why. */
#ifndef DISKS_DISK_H
#define DISKS_DISK_H

#include <stdbool.h>
#include <stdint.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

enum { KIB = 1024 };

struct disk_kind {
    const char *name;       /* as mount(2) calls it */
    const char *options;    /* for mount(2) */
    uint64_t size;          /* of the image; 0: tmpfs, which has none */
    const char *mkfs[16];   /* the command, the device excepted */
};

extern const struct disk_kind disk_ext4, disk_xfs, disk_btrfs, disk_tmpfs;

/* Before anything else in main(): a mount name space of our own, and boots. Returns 0, or 77
 * having said why not: return that. */
int disk_begin(void);

/* How long one test of this program may take: its part of DISK_SECONDS, of which the program
 * gets `percent` for `tests` tests. */
double disk_seconds(unsigned percent, unsigned tests);
double disk_now(void);

/* cmocka's setup and teardown: *state is a directory with a mount point, and what is mounted there goes away.
 * The setup finds the test's kind as the initial state. */
struct disk {
    const struct disk_kind *kind;
    char directory[4096];
    char mount[4200];       /* the mount point */
    char queue[4300];       /* a place for a queue in it */
    int image;              /* what is mounted, or -1 */
};
int disk_setup(void **state);
int disk_teardown(void **state);
#define ON_DISK(kind, test) {"on_" #kind "_" #test, test, disk_setup, disk_teardown, (void *)(uintptr_t)&disk_##kind}

/* A new image with an empty file system, in anonymous memory; skips the test when it cannot be made here. */
int disk_new_image(const struct disk_kind *kind);
int disk_copy_image(int image, uint64_t size);
void disk_copy_into(int copy, int image, uint64_t size); /* `copy` is empty */

/* Mounts the image through a loop device of its own; the device goes when it is unmounted. 0 or errno. */
int disk_mount(const struct disk *disk, int image);
/* Makes `disk` an empty one and mounts it, or skips the test. */
void disk_fresh(struct disk *disk);
void disk_unmount(const struct disk *disk);
int disk_remount(const struct disk *disk, unsigned long flags, const char *options); /* 0 or errno */

/* Takes all space but `leave` bytes (as near as the file system lets us), and gives it back. */
void disk_fill(const struct disk *disk, uint64_t leave);
void disk_release(const struct disk *disk);
void disk_sync(const struct disk *disk); /* everything on it, whosever it is */

/* The power fails: nothing that is not on the disk gets there any more. 0 or errno (ENOTTY: this file system cannot). */
int disk_cut(const struct disk *disk);
/* From now on this is another boot. */
void disk_next_boot(void);

#endif
