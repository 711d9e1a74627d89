/* Numbers and times as people read and write them. The writing half (human_...)
 * fills small buffers; the reading half (parse_...) is in parse.h. */
#ifndef CLI_HUMAN_H
#define CLI_HUMAN_H

#include <stdint.h>

/* Room for any of the texts below. */
typedef struct human {
    char text[48];
} human;

human human_count(uint64_t count);         /* 173,902 */
human human_size(uint64_t bytes);          /* 512 B, 1.2 kB, 176 MB: decimal, as disks are sold */
human human_capacity(uint64_t bytes);      /* 64M, 1G, 1000: as `put` takes it */
human human_span(int64_t microseconds);    /* 0.4 s, 12 s, 3 m 20 s, 5 h 02 m, 12 d 03 h */
human human_ago(int64_t time_us);          /* the span since then: a file may say any time */
human human_time(int64_t time_us);         /* 2026-11-20 13:00:01.123456, local time */
human human_rfc3339(int64_t time_us);      /* 2026-11-20T12:00:01.123456Z */

/* Microseconds: since 1970 by the wall clock; since some moment by a clock that never jumps. */
int64_t wall_time_us(void);
int64_t steady_time_us(void);

#endif
