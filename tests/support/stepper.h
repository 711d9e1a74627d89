/* Brings a child process to an exact instruction of a call, to be killed or left standing there.
 *
 * The child prepares and then calls stepper_ready(): from there on its parent decides. A first child is taken through the
 * call instruction by instruction, and the way it went is kept. Later ones, forked from the same parent and thus with
 * the same addresses, run to an instruction of that way at full speed: a breakpoint is met as often as it takes.
 *
 * All shared libraries must be bound when the program starts: stepper_works() sees to it, once, by starting it anew.
 *
 * Only the child's main thread is led; others it may have run on. x86-64. */
#ifndef SUPPORT_STEPPER_H
#define SUPPORT_STEPPER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct stepper_step {
    uint64_t address;    /* of the instruction that comes next */
    uint32_t occurrence; /* the so manieth time that it does, from 1 */
    bool changed;        /* the instruction before was a system call, or has changed what others see */
};

struct stepper_way {
    struct stepper_step *steps;
    uint32_t count;
};

/* False where processes cannot be led: another machine, or it is forbidden here. First thing in main(). */
bool stepper_works(char *argv[]);

/* In the child: stops, to be led by its parent from here on. */
void stepper_ready(void);

/* Starts a child (as child_start() does) and waits until it is ready; -1 if it ended before. */
pid_t stepper_start(int (*body)(void *context), void *context);

/* Takes a child that is ready to where `*done` is not 0, or to its end. `look` gives a number for all that others see of it.
 * What shared libraries do is one step, but for the locks; unless `whole` is wanted. */
struct stepper_way stepper_walk(pid_t child, const _Atomic uint32_t *done, uint64_t (*look)(void *context), void *context, bool whole);
void stepper_free(struct stepper_way *way);

/* Runs a child that is ready to that step: it stands before the instruction. False when it did not come by, and has ended. */
bool stepper_run_to(pid_t child, const struct stepper_way *way, uint32_t step);

/* The child is left alone from now on, and gets this signal; 0: none. */
void stepper_let_go(pid_t child, int signal);

#endif
