/* Numbers, sizes, spans and times as people type them. */
#include "parse.h"

#include "human.h"
#include "report.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

bool parse_count(const char *text, uint64_t *count_out)
{
    uint64_t count = 0;

    if (!*text) return false;
    for (; *text; text++) {
        if (!isdigit((unsigned char)*text)) return false;
        if (__builtin_mul_overflow(count, 10, &count)) return false;
        if (__builtin_add_overflow(count, (uint64_t)(*text - '0'), &count)) return false;
    }
    *count_out = count;
    return true;
}

/* Digits with an optional fraction; `rest_out` is what stands behind. Neither
 * signs nor hex nor exponents, which strtod would take. */
static bool parse_decimal(const char *text, double *value_out, const char **rest_out)
{
    size_t digits = strspn(text, "0123456789"), end = digits;

    if (digits == 0 || digits > 19) return false;
    if (text[end] == '.') {
        size_t fraction = strspn(text + end + 1, "0123456789");

        if (fraction == 0 || fraction > 19) return false;
        end += 1 + fraction;
    }
    *value_out = strtod(text, NULL);
    *rest_out = text + end;
    return true;
}

bool parse_size(const char *text, uint64_t *bytes_out)
{
    static const char letters[] = "kmgt";
    const char *rest, *letter;
    double value, factor = 1;

    if (parse_count(text, bytes_out)) return true;
    if (!parse_decimal(text, &value, &rest) || !*rest) return false;
    letter = strchr(letters, tolower((unsigned char)*rest));
    if (!letter) return false;
    for (long power = letter - letters; power >= 0; power--) factor *= 1024;
    rest++;
    if (*rest && strcasecmp(rest, "b") != 0 && strcasecmp(rest, "ib") != 0) return false;
    value *= factor;
    if (value >= 9.2e18) return false;
    *bytes_out = (uint64_t)value;
    return true;
}

bool parse_span(const char *text, int64_t *span_us_out)
{
    static const struct {
        const char *unit;
        double us;
    } units[] = {{"us", 1},       {"ms", 1e3},    {"", 1e6},    {"s", 1e6},    {"m", 60e6},
                 {"min", 60e6},   {"h", 3600e6},  {"d", 86400e6}, {"w", 604800e6}};
    const char *rest;
    double value;

    if (!parse_decimal(text, &value, &rest)) return false;
    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        if (strcmp(rest, units[i].unit) != 0) continue;
        value *= units[i].us;
        if (value > 1e17) return false; /* 3,000 years: so that it can be added to any time */
        *span_us_out = (int64_t)value;
        return true;
    }
    return false;
}

/* Exactly `count` digits at *at, which moves behind them. */
static bool take_digits(const char **at, int count, int least, int most, int *value_out)
{
    int value = 0;

    for (int i = 0; i < count; i++, (*at)++) {
        if (!isdigit((unsigned char)**at)) return false;
        value = value * 10 + (**at - '0');
    }
    *value_out = value;
    return value >= least && value <= most;
}

/* ":MM[:SS[.fraction]]" after the hours. */
static bool take_minutes(const char **at, struct tm *parts, int64_t *fraction_us_out)
{
    int64_t unit = 100000;

    if (*(*at)++ != ':' || !take_digits(at, 2, 0, 59, &parts->tm_min)) return false;
    if (**at != ':') return true;
    (*at)++;
    if (!take_digits(at, 2, 0, 60, &parts->tm_sec)) return false;
    if (**at != '.') return true;
    (*at)++;
    if (!isdigit((unsigned char)**at)) return false;
    for (; isdigit((unsigned char)**at); (*at)++, unit /= 10) *fraction_us_out += (**at - '0') * unit;
    return true;
}

/* "Z" or "+02:00" or "+0200"; nothing means local time. */
static bool take_zone(const char *at, bool *local_out, int64_t *east_us_out)
{
    int sign = *at == '-' ? -1 : 1, hours, minutes;

    *local_out = *at == '\0';
    if (*local_out || strcmp(at, "Z") == 0 || strcmp(at, "z") == 0) return true;
    if (*at != '+' && *at != '-') return false;
    at++;
    if (!take_digits(&at, 2, 0, 23, &hours)) return false;
    if (*at == ':') at++;
    if (!take_digits(&at, 2, 0, 59, &minutes) || *at) return false;
    *east_us_out = sign * (hours * INT64_C(3600) + minutes * INT64_C(60)) * 1000000;
    return true;
}

static bool parse_date(const char *text, int64_t *time_us_out)
{
    struct tm parts = {.tm_isdst = -1}, day;
    const char *at = text;
    int64_t fraction_us = 0, east_us = 0;
    bool local;
    time_t seconds;

    if (!take_digits(&at, 4, 1970, 9999, &parts.tm_year) || *at++ != '-') return false;
    if (!take_digits(&at, 2, 1, 12, &parts.tm_mon) || *at++ != '-') return false;
    if (!take_digits(&at, 2, 1, 31, &parts.tm_mday)) return false;
    parts.tm_year -= 1900;
    parts.tm_mon--;
    if (*at == 'T' || *at == 't' || *at == ' ') {
        at++;
        if (!take_digits(&at, 2, 0, 23, &parts.tm_hour) || !take_minutes(&at, &parts, &fraction_us)) return false;
    }
    if (!take_zone(at, &local, &east_us)) return false;

    /* Is there a 31st of that month? At noon, for 23:59:60 belongs to the next day. */
    day = (struct tm){.tm_year = parts.tm_year, .tm_mon = parts.tm_mon, .tm_mday = parts.tm_mday, .tm_hour = 12};
    timegm(&day);
    if (day.tm_mday != parts.tm_mday) return false;
    seconds = local ? mktime(&parts) : timegm(&parts);
    *time_us_out = (int64_t)seconds * 1000000 + fraction_us - east_us;
    return true;
}

static int64_t midnight(int days_back)
{
    time_t now = (time_t)(wall_time_us() / 1000000);
    struct tm parts;

    localtime_r(&now, &parts);
    parts.tm_hour = parts.tm_min = parts.tm_sec = 0;
    parts.tm_mday -= days_back;
    parts.tm_isdst = -1;
    return (int64_t)mktime(&parts) * 1000000;
}

bool parse_time(const char *text, int64_t *time_us_out)
{
    const char *rest;
    double seconds;
    int64_t span;

    if (*text == '@') text++;
    if (strcmp(text, "now") == 0) *time_us_out = wall_time_us();
    else if (strcmp(text, "today") == 0) *time_us_out = midnight(0);
    else if (strcmp(text, "yesterday") == 0) *time_us_out = midnight(1);
    else if (*text == '-' && parse_span(text + 1, &span)) *time_us_out = wall_time_us() - span;
    else if (parse_decimal(text, &seconds, &rest) && !*rest && seconds < 9e12) *time_us_out = (int64_t)(seconds * 1e6);
    else return parse_date(text, time_us_out);
    return true;
}

/* ---- flags ------------------------------------------------------------- */

uint64_t parse_count_flag(const char *flag, const char *text, uint64_t least, uint64_t most)
{
    uint64_t count;

    if (!parse_count(text, &count)) usage("%s: '%s' is not a number", flag, text);
    if (count < least || count > most)
        usage("%s: %s is not between %" PRIu64 " and %" PRIu64, flag, text, least, most);
    return count;
}

uint64_t parse_size_flag(const char *flag, const char *text)
{
    uint64_t bytes;

    if (!parse_size(text, &bytes)) usage("%s: '%s' is not a size such as 512, 64k, 1.5M or 2G", flag, text);
    return bytes;
}

int64_t parse_span_flag(const char *flag, const char *text)
{
    int64_t span;

    if (!parse_span(text, &span)) usage("%s: '%s' is not a time such as 500ms, 30s, 5m or 2h", flag, text);
    return span;
}

int64_t parse_time_flag(const char *flag, const char *text)
{
    int64_t time_us;

    if (!parse_time(text, &time_us))
        usage("%s: '%s' is not a time such as 2026-11-20, 2026-11-20T13:00, -15m or today", flag, text);
    return time_us;
}

int parse_choice_flag(const char *flag, const char *text, const char *const *choices)
{
    char all[256] = "";

    for (int i = 0; choices[i]; i++) {
        if (strcmp(choices[i], text) == 0) return i;
        if (i > 0) strncat(all, choices[i + 1] ? ", " : " or ", sizeof all - strlen(all) - 1);
        strncat(all, choices[i], sizeof all - strlen(all) - 1);
    }
    usage("%s: '%s' is not %s", flag, text, all);
}
