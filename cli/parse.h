/* Numbers, sizes, spans and times as people type them. Each takes the whole
 * text or refuses it (false, nothing written): "12x", "", " 5", "1e99" and
 * numbers that do not fit are no numbers. The ..._flag forms end the program
 * with a usage error that names the flag. */
#ifndef CLI_PARSE_H
#define CLI_PARSE_H

#include <stdbool.h>
#include <stdint.h>

bool parse_count(const char *text, uint64_t *count_out);  /* 12 */
bool parse_size(const char *text, uint64_t *bytes_out);   /* 64k, 1.5M, 2GiB, 512; powers of 1024 */
bool parse_span(const char *text, int64_t *span_us_out);  /* 500us, 250ms, 30s, 1.5m, 2h, 1d; without unit: seconds */

/* now, today, yesterday; -15m (that long ago); 2026-11-20, 2026-11-20T13:00,
 * 2026-11-20 13:00:01.5, with Z or +02:00 behind (else local time); 1795000000
 * (seconds since 1970). A leading @ is fine. */
bool parse_time(const char *text, int64_t *time_us_out);

uint64_t parse_count_flag(const char *flag, const char *text, uint64_t least, uint64_t most);
uint64_t parse_size_flag(const char *flag, const char *text);
int64_t parse_span_flag(const char *flag, const char *text);
int64_t parse_time_flag(const char *flag, const char *text);

/* The index of `text` among `choices` (ended by NULL). */
int parse_choice_flag(const char *flag, const char *text, const char *const *choices);

#endif
