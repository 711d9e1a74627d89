/* Stopping by signals. */
#include "stop.h"

#include <signal.h>
#include <stddef.h>
#include <time.h>

static volatile sig_atomic_t asked;

static void ask(int signal_number)
{
    asked = signal_number;
}

void stop_watch(void)
{
    static const int signals[] = {SIGINT, SIGTERM, SIGHUP};
    struct sigaction old, action = {.sa_handler = ask, .sa_flags = (int)SA_RESETHAND};

    sigemptyset(&action.sa_mask);
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++) {
        sigaction(signals[i], NULL, &old);
        if (old.sa_handler != SIG_IGN) sigaction(signals[i], &action, NULL);
    }
}

int stop_asked(void)
{
    return asked;
}

void stop_finish(void)
{
    if (!asked) return;
    signal(asked, SIG_DFL);
    raise(asked);
}

void stop_sleep_us(int64_t microseconds)
{
    static const int64_t slice_us = INT64_C(1000) * STOP_SLICE_MS;

    /* In slices: a signal may come just before the sleep. */
    while (microseconds > 0 && !asked) {
        int64_t slice = microseconds < slice_us ? microseconds : slice_us;

        nanosleep(&(struct timespec){.tv_nsec = (long)slice * 1000}, NULL);
        microseconds -= slice;
    }
}
