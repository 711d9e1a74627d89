/* A monotonic clock that only the test moves, and sleeps of the library that move it instead of taking time: waiting is then
 * as long as it is to be, to the microsecond, on a busy machine too. Included by one file of a program (see libc_fault.h).
 *
 *     own_clock.now_us = 5000000;     from now on; 0: the system's own again */
#ifndef SUPPORT_OWN_CLOCK_H
#define SUPPORT_OWN_CLOCK_H

#include <time.h>

#include "libc_fault.h"

static struct {
    int64_t now_us;
    long nanoseconds;                /* of the time, beyond the microsecond */
    void (*sleep)(int64_t until_us); /* instead of moving it, if not NULL */
} own_clock;

int clock_gettime(clockid_t clock, struct timespec *now)
{
    REAL(clock_gettime);
    if (!own_clock.now_us || clock != CLOCK_MONOTONIC) return real(clock, now);
    *now = (struct timespec){own_clock.now_us / 1000000, own_clock.now_us % 1000000 * 1000 + own_clock.nanoseconds};
    return 0;
}

int nanosleep(const struct timespec *time, struct timespec *rest)
{
    REAL(nanosleep);
    if (!own_clock.now_us) return real(time, rest);
    assert_int_equal(time->tv_nsec % 1000, 0);
    int64_t until_us = own_clock.now_us + (int64_t)time->tv_sec * 1000000 + time->tv_nsec / 1000;
    if (own_clock.sleep) own_clock.sleep(until_us);
    else own_clock.now_us = until_us;
    return 0;
}

#endif
