/* See io_crash.h, and io_crash_machine.h for the parts. */
#include <stdlib.h>
#include <string.h>

#include "io_crash_machine.h"

pthread_mutex_t io_crash_all = PTHREAD_MUTEX_INITIALIZER;

uint64_t io_crash_mix(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
}

/* ---- calls ------------------------------------------------------------- */

struct io_crash *machine_enter(const struct lqi_io *io)
{
    pthread_mutex_lock(&io_crash_all);
    struct io_crash *machine = io->context;
    machine->calls++;
    machine->clock_us++;
    machine->moment++;
    return machine;
}

int machine_leave(struct io_crash *machine, enum io_kind kind, int error, bool changed)
{
    io_crash_hook *hook = machine->hook;
    void *context = machine->hook_context;
    machine->watched = hook != NULL;
    machine->outages = 0;
    pthread_mutex_unlock(&io_crash_all);
    if (hook == NULL) return error;
    hook(context, machine, kind, changed && !error);

    pthread_mutex_lock(&io_crash_all);
    machine->watched = false;
    for (uint32_t i = 0; machine->any_seen && i < machine->inode_count; i++)
        if (machine->inodes[i]) inode_forget_seen(machine->inodes[i]);
    machine->any_seen = false;
    pthread_mutex_unlock(&io_crash_all);
    return error;
}

struct inode *inode_of(struct io_crash *machine, int fd)
{
    int index = fd - FIRST_FD;
    if (index < 0 || index >= machine->open_count || !machine->opens[index].used) return NULL;
    return machine->inodes[machine->opens[index].inode];
}

static int crash_boot_id(const struct lqi_io *io, uint8_t id[16])
{
    struct io_crash *machine = machine_enter(io);
    memcpy(id, "io_crash", 8);
    memcpy(id + 8, &machine->boot, 8);
    return machine_leave(machine, IO_BOOT_ID, 0, false);
}

static int crash_random(const struct lqi_io *io, void *data, size_t size)
{
    struct io_crash *machine = machine_enter(io);
    for (size_t i = 0; i < size; i++) ((uint8_t *)data)[i] = (uint8_t)(io_crash_mix(&machine->random) >> 56);
    return machine_leave(machine, IO_RANDOM, 0, false);
}

static int64_t crash_wall_us(const struct lqi_io *io)
{
    pthread_mutex_lock(&io_crash_all);
    int64_t now = ++((struct io_crash *)io->context)->clock_us;
    pthread_mutex_unlock(&io_crash_all);
    return now;
}

/* ---- machines ---------------------------------------------------------- */

static struct io_crash *machine_new(void)
{
    struct io_crash *machine = must(calloc(1, sizeof *machine));
    machine->io = (struct lqi_io){
        .context = machine,
        .boot_id = crash_boot_id,
        .random = crash_random,
        .wall_us = crash_wall_us,
    };
    io_crash_set_name_calls(&machine->io);
    io_crash_set_file_calls(&machine->io);
    return machine;
}

struct io_crash *io_crash_new(uint64_t seed)
{
    struct io_crash *machine = machine_new();
    inode_make(machine, true);
    machine->random = seed;
    machine->clock_us = 1700000000000000;
    return machine;
}

void machine_free(struct io_crash *machine)
{
    for (uint32_t i = 0; i < machine->inode_count; i++) inode_free(machine->inodes[i]);
    free(machine->inodes);
    free(machine->opens);
    free(machine->locks);
    free(machine);
}

void io_crash_free(struct io_crash *machine)
{
    if (machine == NULL) return;
    pthread_mutex_lock(&io_crash_all);
    machine_free(machine);
    pthread_mutex_unlock(&io_crash_all);
}

void io_crash_trim(void)
{
    pthread_mutex_lock(&io_crash_all);
    memories_trim();
    pages_trim();
    pthread_mutex_unlock(&io_crash_all);
}

const struct lqi_io *io_crash_io(struct io_crash *machine)
{
    return &machine->io;
}

void io_crash_watch(struct io_crash *machine, io_crash_hook *hook, void *context)
{
    pthread_mutex_lock(&io_crash_all);
    machine->hook = hook;
    machine->hook_context = context;
    pthread_mutex_unlock(&io_crash_all);
}

uint64_t io_crash_calls(const struct io_crash *machine)
{
    return machine->calls;
}

bool io_crash_idle(const struct io_crash *machine)
{
    pthread_mutex_lock(&io_crash_all);
    bool idle = machine->lock_count == 0;
    for (int i = 0; i < machine->open_count; i++) idle &= !machine->opens[i].used;
    for (uint32_t i = 0; i < machine->inode_count; i++) {
        const struct inode *inode = machine->inodes[i];
        idle &= !inode || !inode->memory || !memory_mapped(inode->memory);
    }
    pthread_mutex_unlock(&io_crash_all);
    return idle;
}

struct io_crash *machine_after(const struct io_crash *old)
{
    ((struct io_crash *)(uintptr_t)old)->outages++;
    struct io_crash *machine = machine_new();
    machine->inode_count = old->inode_count;
    machine->inodes = must(calloc(old->inode_count, sizeof *machine->inodes));
    machine->random = old->random;
    machine->clock_us = old->clock_us;
    machine->moment = old->moment;
    machine->boot = old->boot;
    return machine;
}
