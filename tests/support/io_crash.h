/* A machine in memory, behind struct lqi_io, whose power can fail.
 *
 *     struct io_crash *machine = io_crash_new(seed);
 *     lqi_open_io(io_crash_io(machine), "queue", ...);           work on it, and at any moment
 *     struct io_crash *after = io_crash_power_loss(machine, 17);  see how it might come up again
 *     lqi_open_io(io_crash_io(after), "queue", ...);
 *
 * A crash makes a new machine and leaves the old one running: so one run of a script gives a
 * crash after each of its calls (io_crash_watch), and recovery, running on the new machine,
 * can be watched and crashed in its turn.
 *
 * THE DISK. What was synced is there. Of the rest any subset:
 *
 * - file contents in units of 64 bytes (or 8, 512, 4096): each is as synced, or as any write since then left it;
 *   later writes may be there while earlier ones are not. A cut is a write of zeros.
 * - file sizes: as synced, or any that the file had since then; where it grew by a write, also an end of
 *   one of the written units. What the file grew by and no write reached is zeros.
 * - names: a directory's entries are as they were when it was synced, plus any subset of the changes
 *   since then. A rename is one change: it happened or it did not; so is one into another directory, or a swap, and
 *   syncing one of the two directories makes it durable in both. Syncing a file does not sync its
 *   name, and syncing a name does not sync the file.
 * - a mapped file: any subset of its pages as in memory, the others as synced.
 *
 * Locks, descriptors and maps are gone, and the boot id is another one.
 *
 * DEATH OF ALL PROCESSES (io_crash_processes_die): locks and descriptors are gone; files, also mapped ones, are
 * as they were, and so is what was not synced: a power loss may still take it.
 *
 * What this machine does not do: run out of space or fail calls (put io_fault over it), symbolic links, hard
 * links, permissions; directories are not renamed or removed. Mapped files are limited to 256 MiB. Calls may come from any
 * thread. Time passes by a microsecond per call; random numbers come from the seed. */
#ifndef SUPPORT_IO_CRASH_H
#define SUPPORT_IO_CRASH_H

#include <stdbool.h>
#include <stdint.h>

#include "io.h"
#include "io_kind.h"

struct io_crash;

/* Switched on for the first time: an empty root directory, which is also the current one. */
struct io_crash *io_crash_new(uint64_t seed);
void io_crash_free(struct io_crash *machine); /* NULL is fine. All its maps must be unmapped */
const struct lqi_io *io_crash_io(struct io_crash *machine);

/* `hook` is called after each call of the machine's table, but for close and unmap, and may look, crash and free other
 * machines. `changed` tells whether there is anything that a power loss now could do otherwise than before. NULL: none. */
typedef void io_crash_hook(void *context, struct io_crash *machine, enum io_kind kind, bool changed);
void io_crash_watch(struct io_crash *machine, io_crash_hook *hook, void *context);
uint64_t io_crash_calls(const struct io_crash *machine); /* so far, but for close and unmap */

/* As after an fdatasync of this file that failed: what was not synced is in memory still, but counts as clean, so that
 * no later sync brings it to the disk; only if it is written again. Its size is. */
void io_crash_forget(struct io_crash *machine, int fd);

/* Nothing is open, locked or mapped: as the last one leaves it who closes all. */
bool io_crash_idle(const struct io_crash *machine);

/* The machine as it comes up after its power failed now. What survives is drawn from the seed; the first ones are special:
 * 0 only what was synced, 1 everything, 2 to 9 everything up to some moment, and nothing of after it; 10 to 17 everything
 * but one change, or one change only; from 18 on each unit by a coin, fair or not, of each of the sizes. */
struct io_crash *io_crash_power_loss(const struct io_crash *machine, uint64_t seed);

/* The same with what survives told by `keep`, which is asked about one change after the other, in an order that
 * depends on nothing but the machine. A test may so enumerate all subsets. */
enum io_crash_change_kind {
    IO_CRASH_DATA,     /* `size` bytes at `offset` as this write left them */
    IO_CRASH_SIZE,     /* the file has the new size `offset` */
    IO_CRASH_SIZE_PART,/* asked when the size has not come: has the file grown to the last of the surviving units? */
    IO_CRASH_PAGE,     /* of a mapped file */
    IO_CRASH_MAPPED_SIZE, /* `offset`, of a mapped file */
    IO_CRASH_NAME      /* a name made, changed or removed */
};
struct io_crash_change {
    enum io_crash_change_kind kind;
    uint64_t moment; /* changes of one call have the same one, of later calls higher ones */
    uint64_t inode, offset, size;
};
typedef bool io_crash_keep(void *context, const struct io_crash_change *change);
struct io_crash *io_crash_power_loss_by(const struct io_crash *machine, uint32_t unit, io_crash_keep *keep, void *context);

/* The machine after kill -9 of everything on it. */
struct io_crash *io_crash_processes_die(const struct io_crash *machine);

/* A number for all that a program could find on the disk: names, sizes and contents, but not what is mapped. */
uint64_t io_crash_hash(const struct io_crash *machine);

/* A number for all that the death of all processes leaves to those who come: what was mapped, too, and what is
 * durable of it all. Of a machine of which nothing is mapped yet. */
uint64_t io_crash_hash_alive(const struct io_crash *machine);

/* Gives the memory back that free machines left for the next ones. */
void io_crash_trim(void);

#endif
