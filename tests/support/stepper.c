/* See stepper.h. */
#include "stepper.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include "child.h"

#if defined(__x86_64__)

/* ---- one move ------------------------------------------------------------ */

static bool wait_for_stop(pid_t child, int *signal_out)
{
    int status;
    while (waitpid(child, &status, 0) < 0)
        if (errno != EINTR) return false;
    if (!WIFSTOPPED(status)) return false;
    *signal_out = WSTOPSIG(status);
    return true;
}

/* Goes on by one instruction, or to the next breakpoint; signals that are not ours are passed on. False: it has ended. */
static bool move(pid_t child, int how)
{
    int signal = 0;
    do {
        if (ptrace(how, child, NULL, (void *)(intptr_t)signal) != 0 || !wait_for_stop(child, &signal)) return false;
    } while (signal != SIGTRAP);
    return true;
}

static uint64_t address_of(pid_t child)
{
    struct user_regs_struct registers;
    return ptrace(PTRACE_GETREGS, child, NULL, &registers) == 0 ? registers.rip : 0;
}

static bool set_address(pid_t child, uint64_t address)
{
    struct user_regs_struct registers;
    if (ptrace(PTRACE_GETREGS, child, NULL, &registers) != 0) return false;
    registers.rip = address;
    return ptrace(PTRACE_SETREGS, child, NULL, &registers) == 0;
}

/* To the next time that the child is about to run the instruction at `address`. */
static bool run_to_address(pid_t child, uint64_t address)
{
    void *at = (void *)(uintptr_t)address;
    errno = 0;
    long word = ptrace(PTRACE_PEEKTEXT, child, at, NULL);
    if (errno != 0) return false;
    long trap = (long)(((unsigned long)word & ~0xfful) | 0xcc); /* int3 */
    return ptrace(PTRACE_POKETEXT, child, at, (void *)trap) == 0 && move(child, PTRACE_CONT) &&
           address_of(child) == address + 1 && set_address(child, address) &&
           ptrace(PTRACE_POKETEXT, child, at, (void *)word) == 0;
}

/* ---- looking at instructions -------------------------------------------- */

/* The child's code is ours. */
static const uint8_t *code_at(uint64_t address)
{
    return (const uint8_t *)(uintptr_t)address;
}

static bool is_system_call(uint64_t address)
{
    const uint8_t *code = code_at(address);
    return code[0] == 0x0f && code[1] == 0x05;
}

/* Length of a repeated string instruction, which else is a step for each byte; 0 for others. */
static unsigned repeated(uint64_t address)
{
    const uint8_t *code = code_at(address);
    if (code[0] != 0xf3) return 0;
    unsigned prefix = code[1] == 0x48;
    switch (code[1 + prefix]) {
    case 0xa4: case 0xa5: case 0xaa: case 0xab: return 2 + prefix;
    default: return 0;
    }
}

/* Code of ours, the library's included; the rest is in shared libraries. */
static bool is_ours(uint64_t address)
{
    extern const char __executable_start, etext;
    return address >= (uintptr_t)&__executable_start && address < (uintptr_t)&etext;
}

/* What the kernel and others see of a lock that is half taken is worth a look. */
static bool is_about_locks(uint64_t address)
{
    int (*const functions[])(pthread_mutex_t *) = {pthread_mutex_trylock, pthread_mutex_unlock, pthread_mutex_consistent};
    for (size_t i = 0; i < sizeof functions / sizeof *functions; i++)
        if ((uintptr_t)functions[i] == address) return true;
    return false;
}

/* At the first instruction of a function: to where it returns. */
static bool run_to_return(pid_t child)
{
    struct user_regs_struct registers;
    if (ptrace(PTRACE_GETREGS, child, NULL, &registers) != 0) return false;
    void *stack = (void *)(uintptr_t)registers.rsp;
    errno = 0;
    long address = ptrace(PTRACE_PEEKDATA, child, stack, NULL);
    return errno == 0 && is_ours((uint64_t)address) && run_to_address(child, (uint64_t)address);
}

/* ---- the way ------------------------------------------------------------- */

enum { ADDRESSES = 1 << 16 };

/* How often each address was met: an open table. */
struct counts {
    uint64_t addresses[ADDRESSES];
    uint32_t times[ADDRESSES];
};

static uint32_t count_one(struct counts *counts, uint64_t address)
{
    for (uint64_t i = address * 0x9e3779b97f4a7c15 >> 48;; i = (i + 1) % ADDRESSES) {
        if (counts->addresses[i] != 0 && counts->addresses[i] != address) continue;
        counts->addresses[i] = address;
        return ++counts->times[i];
    }
}

static void add_step(struct stepper_way *way, struct stepper_step step)
{
    if ((way->count & (way->count + 1)) == 0) {
        way->steps = realloc(way->steps, (2 * (size_t)way->count + 2) * sizeof *way->steps);
        if (!way->steps) abort();
    }
    way->steps[way->count++] = step;
}

struct stepper_way stepper_walk(pid_t child, const _Atomic uint32_t *done, uint64_t (*look)(void *context), void *context,
                                bool whole)
{
    struct stepper_way way = {NULL, 0};
    struct counts *counts = calloc(1, sizeof *counts);
    uint64_t seen = look(context), before = 0;
    if (!counts) abort();

    for (bool call = false; *done == 0;) {
        uint64_t address = address_of(child), now = look(context);
        if (!address) break;
        if (before && is_ours(before) && !is_ours(address) && !whole && !is_about_locks(address)) {
            if (!run_to_return(child)) break;
            call = true;
            before = 0;
            continue;
        }
        bool changed = now != seen || call || (before && is_system_call(before));
        seen = now;
        call = false;
        add_step(&way, (struct stepper_step){address, count_one(counts, address), changed});
        before = address;
        unsigned length = repeated(address);
        if (!(length ? run_to_address(child, address + length) : move(child, PTRACE_SINGLESTEP))) break;
    }
    free(counts);
    return way;
}

void stepper_free(struct stepper_way *way)
{
    free(way->steps);
    *way = (struct stepper_way){NULL, 0};
}

/* ---- to a step of it ----------------------------------------------------- */

enum { STEP_COST = 1, HIT_COST = 3, LOOK_BACK = 400 };

/* Where to leave full speed: an instruction that is met in a loop a thousand times is better reached from one before the loop. */
static uint32_t best_landing(const struct stepper_way *way, uint32_t step)
{
    uint32_t best = step, least = UINT32_MAX;
    for (uint32_t back = 0; back <= step && back < LOOK_BACK; back++) {
        uint32_t cost = way->steps[step - back].occurrence * HIT_COST + back * STEP_COST;
        if (cost >= least) continue;
        least = cost;
        best = step - back;
    }
    return best;
}

bool stepper_run_to(pid_t child, const struct stepper_way *way, uint32_t step)
{
    uint32_t landing = best_landing(way, step);
    uint64_t address = way->steps[landing].address;
    uint32_t met = address_of(child) == address;

    while (met < way->steps[landing].occurrence) {
        if (met && !move(child, PTRACE_SINGLESTEP)) return false;
        if (address_of(child) != address && !run_to_address(child, address)) return false;
        met++;
    }
    for (uint32_t i = landing; i < step; i++) {
        unsigned length = repeated(address_of(child));
        if (!(length ? run_to_address(child, address_of(child) + length) : move(child, PTRACE_SINGLESTEP))) return false;
    }
    return true;
}

void stepper_let_go(pid_t child, int signal)
{
    ptrace(PTRACE_DETACH, child, NULL, (void *)(intptr_t)signal);
}

void stepper_ready(void)
{
    if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0) _exit(CHILD_SKIP);
    syscall(SYS_tgkill, getpid(), getpid(), SIGSTOP);
}

pid_t stepper_start(int (*body)(void *context), void *context)
{
    int signal = 0;
    pid_t child = child_start(body, context);
    if (child < 0 || !wait_for_stop(child, &signal)) return -1;
    return child;
}

static int stand_still(void *context)
{
    (void)context;
    stepper_ready();
    return 0;
}

bool stepper_works(char *argv[])
{
    if (!getenv("LD_BIND_NOW")) {
        setenv("LD_BIND_NOW", "1", 1);
        execv("/proc/self/exe", argv);
    }
    pid_t child = stepper_start(stand_still, NULL);
    bool works = child > 0 && move(child, PTRACE_SINGLESTEP);
    if (child > 0) child_kill(child);
    return works;
}

#else

bool stepper_works(char *argv[])
{
    (void)argv;
    return false;
}

void stepper_ready(void)
{
    _exit(CHILD_SKIP);
}

pid_t stepper_start(int (*body)(void *context), void *context)
{
    (void)body, (void)context;
    return -1;
}

struct stepper_way stepper_walk(pid_t child, const _Atomic uint32_t *done, uint64_t (*look)(void *context), void *context, bool whole)
{
    (void)child, (void)done, (void)look, (void)context, (void)whole;
    return (struct stepper_way){NULL, 0};
}

void stepper_free(struct stepper_way *way)
{
    (void)way;
}

bool stepper_run_to(pid_t child, const struct stepper_way *way, uint32_t step)
{
    (void)child, (void)way, (void)step;
    return false;
}

void stepper_let_go(pid_t child, int signal)
{
    (void)child, (void)signal;
}

#endif
