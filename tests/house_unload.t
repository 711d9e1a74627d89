#!/bin/sh
# The shared library in a program that loads it when it runs, as a plug-in, and lets go of it again.
. tests/support/tap.sh

shared=$(echo "$PWD/$LQ_BUILD"/libqueue.so.*)
case $LQ_BUILD in
/*) shared=$(echo "$LQ_BUILD"/libqueue.so.*) ;;
esac

# Loads it, is told of a message by its thread, closes everything, lets go of it and forks, again and again. When the last consumer
# has been closed the thread is still on its way out: here, where it is served last by the one CPU there is, for sure.
cat >"$TMPDIR/program.c" <<'END_OF_PROGRAM'
#include <dirent.h>
#include <dlfcn.h>
#include <libqueue.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static _Atomic int told;

static int count(void *context, int code, const lq_message *message)
{
    (void)context;
    (void)message;
    if (code == LQ_OK) atomic_fetch_add(&told, 1);
    return LQ_SETTLE_ACK;
}

#define FUNCTION(name) __typeof__(&name) name##_ = (__typeof__(&name))dlsym(library, #name)

/* All threads on one CPU, and all but this one only when nothing else wants it. */
static void hold_back_the_thread(void)
{
    DIR *threads = opendir("/proc/self/task");
    for (struct dirent *entry; threads && (entry = readdir(threads));)
        if (atoi(entry->d_name) > 0 && atoi(entry->d_name) != getpid())
            sched_setscheduler(atoi(entry->d_name), SCHED_IDLE, &(struct sched_param){0});
    if (threads) closedir(threads);
}

static void use_one_cpu(void)
{
    cpu_set_t all, one;
    CPU_ZERO(&one);
    if (sched_getaffinity(0, sizeof all, &all)) return;
    for (int cpu = 0; cpu < CPU_SETSIZE && !CPU_COUNT(&one); cpu++)
        if (CPU_ISSET(cpu, &all)) CPU_SET(cpu, &one);
    sched_setaffinity(0, sizeof one, &one);
}

static int use_once(void *library, const char *path)
{
    FUNCTION(lq_open);
    FUNCTION(lq_put);
    FUNCTION(lq_consumer_open);
    FUNCTION(lq_notify);
    FUNCTION(lq_consumer_close);
    FUNCTION(lq_close);
    lq_options options = {.size = sizeof options, .sync = LQ_SYNC_NEVER, .ring_size = 64 << 10, .segment_size = 64 << 10};
    lq_queue *queue;
    lq_consumer *consumer;
    const int before = atomic_load(&told);

    if (lq_open_(path, &options, &queue) || lq_consumer_open_(queue, "c", NULL, &consumer)) return 1;
    if (lq_notify_(consumer, count, NULL) || lq_put_(queue, "hello", 5, NULL)) return 1;
    while (atomic_load(&told) == before) usleep(100);
    hold_back_the_thread();
    return lq_consumer_close_(consumer) || lq_close_(queue);
}

int main(int argc, char **argv)
{
    int status;
    use_one_cpu();
    for (int round = 0; argc == 3 && round < 100; round++) {
        void *library = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
        if (!library) return fprintf(stderr, "%s\n", dlerror()), 1;
        if (use_once(library, argv[2])) return fprintf(stderr, "round %d failed\n", round), 1;
        dlclose(library);
        pid_t child = fork();
        if (child == 0) _exit(0);
        if (child < 0 || waitpid(child, &status, 0) != child || status != 0) return fprintf(stderr, "fork %d failed\n", round), 1;
    }
    return 0;
}
END_OF_PROGRAM
# shellcheck disable=SC2086 # words, all of them
check 'a program that loads it by hand can be built' $CC -std=gnu11 -D_GNU_SOURCE -Wall -Werror -Iinclude -o "$TMPDIR/program" "$TMPDIR/program.c" -ldl

# In memory, where closing does not wait for a disk: the thread would get its chance.
queue=$TMPDIR/q
[ -w /dev/shm ] && queue=$(mktemp -d /dev/shm/house_unload.XXXXXX) && trap 'rm -rf "$queue"' EXIT

marked() { readelf -d "$shared" | grep NODELETE; }
let_go() { env -u GLIBC_TUNABLES "$TMPDIR/program" "$shared" "$queue"; } # filling memory with garbage takes time, too
check 'letting go of the library while its thread ends takes no code away from under it' let_go
check 'the library says that it stays where it was loaded' marked
done_testing
