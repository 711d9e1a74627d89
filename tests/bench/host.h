/* The machine under the benchmarks: time, CPUs, children, a scratch directory on a real disk. */
#ifndef BENCH_HOST_H
#define BENCH_HOST_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

uint64_t now_ns(void);
void pause_us(unsigned us);

/* Tasks that are not pinned get packed on one CPU: the calling thread onto this one (modulo those
 * there are), or back onto all. */
void pin(unsigned cpu);
void unpin(void);

/* Zeroed memory that children share. */
void *shared_memory(size_t size);

/* A child that runs `body` and exits; collect() waits for it and ends the program if it failed. */
pid_t start_child(void (*body)(void *context), void *context);
void collect(pid_t child);
/* The same for one that kills itself. */
void collect_killed(pid_t child);

/* Waits until *word >= value, giving the CPU away meanwhile; ends the program if the child that should set it has failed. */
void await(const _Atomic uint64_t *word, uint64_t value, pid_t child);

void futex_wait(_Atomic uint32_t *word, uint32_t seen);
void futex_wake(_Atomic uint32_t *word);

/* In $TMPDIR, or in build/. The path of `name` in it, where nothing is any more. */
void scratch_open(void);
void scratch_close(void);
const char *scratch(const char *name);
void scratch_remove(const char *path);
const char *scratch_kind(void); /* "" or a warning: it is no disk */

_Noreturn void die(const char *what);

#endif
