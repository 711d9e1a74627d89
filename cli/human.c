/* Numbers and times as people read them. */
#include "human.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

human human_count(uint64_t count)
{
    human out = {""};
    char digits[24];
    int length = snprintf(digits, sizeof digits, "%" PRIu64, count);
    char *to = out.text;

    for (int i = 0; i < length; i++) {
        if (i > 0 && (length - i) % 3 == 0) *to++ = ',';
        *to++ = digits[i];
    }
    *to = '\0';
    return out;
}

human human_size(uint64_t bytes)
{
    static const char *const units[] = {"kB", "MB", "GB", "TB", "PB", "EB"};
    human out = {""};
    double value = (double)bytes / 1000;
    size_t unit = 0;

    if (bytes < 1000) {
        snprintf(out.text, sizeof out.text, "%" PRIu64 " B", bytes);
        return out;
    }
    while (value >= 999.5) { /* comes to its end: 2^64 are 18 EB */
        value /= 1000;
        unit++;
    }
    snprintf(out.text, sizeof out.text, "%.*f %s", value < 9.95 ? 1 : 0, value, units[unit]);
    return out;
}

human human_capacity(uint64_t bytes)
{
    static const char units[] = "\0kMGT";
    human out = {""};
    size_t unit = 0;

    while (bytes && bytes % 1024 == 0 && unit + 2 < sizeof units) {
        bytes /= 1024;
        unit++;
    }
    snprintf(out.text, sizeof out.text, "%" PRIu64 "%.1s", bytes, units + unit);
    return out;
}

human human_span(int64_t microseconds)
{
    human out = {""};
    int64_t seconds = microseconds / 1000000;

    if (microseconds < 0) snprintf(out.text, sizeof out.text, "0 s");
    else if (microseconds < 1000) snprintf(out.text, sizeof out.text, "%" PRId64 " us", microseconds);
    else if (microseconds < 100000) snprintf(out.text, sizeof out.text, "%" PRId64 " ms", microseconds / 1000);
    else if (seconds < 10) snprintf(out.text, sizeof out.text, "%.1f s", (double)microseconds / 1e6);
    else if (seconds < 60) snprintf(out.text, sizeof out.text, "%" PRId64 " s", seconds);
    else if (seconds < 3600)
        snprintf(out.text, sizeof out.text, "%" PRId64 " m %02" PRId64 " s", seconds / 60, seconds % 60);
    else if (seconds < 86400)
        snprintf(out.text, sizeof out.text, "%" PRId64 " h %02" PRId64 " m", seconds / 3600, seconds / 60 % 60);
    else snprintf(out.text, sizeof out.text, "%" PRId64 " d %02" PRId64 " h", seconds / 86400, seconds / 3600 % 24);
    return out;
}

human human_ago(int64_t time_us)
{
    int64_t span_us;

    return human_span(__builtin_sub_overflow(wall_time_us(), time_us, &span_us) ? INT64_MAX : span_us);
}

/* The two stamps differ in the zone, the letter between and the end. */
static human stamp(int64_t time_us, struct tm *(*convert)(const time_t *, struct tm *), const char *format,
                   const char *end)
{
    human out = {""};
    time_t seconds = (time_t)(time_us / 1000000);
    int64_t fraction = time_us % 1000000;
    struct tm parts;
    size_t length;

    if (fraction < 0) {
        fraction += 1000000;
        seconds--;
    }
    convert(&seconds, &parts); /* knows years of nine digits; here are six at most */
    length = strftime(out.text, sizeof out.text, format, &parts);
    snprintf(out.text + length, sizeof out.text - length, ".%06d%s", (int)fraction, end);
    return out;
}

human human_time(int64_t time_us)
{
    return stamp(time_us, localtime_r, "%Y-%m-%d %H:%M:%S", "");
}

human human_rfc3339(int64_t time_us)
{
    return stamp(time_us, gmtime_r, "%Y-%m-%dT%H:%M:%S", "Z");
}

static int64_t clock_us(clockid_t clock)
{
    struct timespec now;

    clock_gettime(clock, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

int64_t wall_time_us(void)
{
    return clock_us(CLOCK_REALTIME);
}

int64_t steady_time_us(void)
{
    return clock_us(CLOCK_MONOTONIC);
}
