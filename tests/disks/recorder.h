/* A disk that writes down what it is told: a file served through FUSE by a process of ours, for a loop device to lie on.
 *
 *      file system  ->  /dev/loopN  ->  recorded file  ->  the recorder: an image in memory,
 *                                                          and the record: each write and flush in its order
 *
 * A loop device does one thing after another, and passes a flush on as fsync (a write that forces
 * its way to the platter, FUA, comes as a write and a flush). So a flush in the record means: all writes before it are
 * on the disk for good; and of those after the last flush, power loss may leave any, in blocks of 4 KiB.
 *
 * Each entry carries what had been promised when it came in (witness.h). A disk on which the power fails before entry n
 * must hold what was promised at entry n.
 *
 * The kernel's protocol (linux/fuse.h) is spoken here without a library: the file is the whole file system, and
 * needs eight requests. The recorder is a process of its own, that holds nothing of what it serves: when it
 * dies, everything that waits for the disk gets EIO, and nobody hangs. */
#ifndef DISKS_RECORDER_H
#define DISKS_RECORDER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "witness.h"

enum { RECORD_ENTRIES = 1 << 18 };

struct record_entry {
    bool flush;
    uint32_t size;
    uint64_t offset;           /* on the disk */
    uint64_t at;               /* of the written bytes in the record's data */
    struct witness_line line;
};

/* In memory shared with the recorder. */
struct record {
    _Atomic uint32_t count;    /* of entries */
    _Atomic uint32_t failing;  /* writes and flushes answer EIO, and are not recorded */
    _Atomic uint64_t data_size;
    struct record_entry entries[RECORD_ENTRIES];
};

struct recorder {
    char path[4300];           /* where the file is mounted */
    struct record *record;
    int image, data;           /* what is on the disk; the bytes of all writes */
    int file;                  /* the recorded file: for disk_mount() */
    pid_t process;
};

/* Serves `image` (of `size` bytes, and from now on the recorder's) as a file in `directory`; its entries take their lines from `witness`.
 * False, with a reason printed, when FUSE is not to be had here. */
bool recorder_start(struct recorder *recorder, const char *directory, int image, uint64_t size, const struct witness *witness);
/* The record and its data stay. Nothing may be mounted on it any more. */
void recorder_stop(struct recorder *recorder);
void recorder_release(struct recorder *recorder);

#endif
