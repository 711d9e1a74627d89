/* Options for a queue that is made. */
#include "make.h"

#include "parse.h"
#include "report.h"

#include <stdint.h>
#include <stdlib.h>

enum {
    FLAG_SYNC = FLAGS_MAKE, FLAG_SYNC_INTERVAL, FLAG_SEGMENT_SIZE, FLAG_RING_SIZE, FLAG_COMPRESSION, FLAG_SIZE_MAX,
    FLAG_AGE_MAX, FLAG_RETENTION, FLAG_FULL, FLAG_MESSAGE_SIZE_MAX, FLAG_MODE, FLAG_NO_CREATE
};

const struct flag make_flags[] = {
    {"no-create", FLAG_NO_CREATE, NULL, "fail when there is no such queue\nThe rest is for a queue that is made:"},
    {"sync", FLAG_SYNC, "WHEN", "always (default), interval or never"},
    {"sync-interval", FLAG_SYNC_INTERVAL, "TIME", "with interval: 100ms"},
    {"retention", FLAG_RETENTION, "WHAT", "delete what is: consumed (default), beyond the limits, both"},
    {"size-max", FLAG_SIZE_MAX, "SIZE", "bytes of log kept (no limit)"},
    {"age-max", FLAG_AGE_MAX, "TIME", "age of messages kept (no limit)"},
    {"full", FLAG_FULL, "WHAT", "at size-max: reject (default), block or drop"},
    {"segment-size", FLAG_SEGMENT_SIZE, "SIZE", "of a log file: 64M"},
    {"ring-size", FLAG_RING_SIZE, "SIZE", "of the shared memory: 4M"},
    {"message-size-max", FLAG_MESSAGE_SIZE_MAX, "SIZE", "1G"},
    {"compression", FLAG_COMPRESSION, "LEVEL", "1 to 9 (none)"},
    {"mode", FLAG_MODE, "OCTAL", "permissions of its files: 0600"},
    {NULL, 0, NULL, NULL},
};

static uint32_t parse_mode(const char *text)
{
    char *end;
    unsigned long mode = strtoul(text, &end, 8);

    if (*text < '0' || *text > '7' || *end || mode > 0777) usage("--mode: '%s' is no octal number such as 0640", text);
    return (uint32_t)mode;
}

static int64_t parse_ms(const char *flag, const char *text)
{
    int64_t span_us = parse_span_flag(flag, text);

    if (span_us < 1000) usage("%s: '%s' is less than a millisecond", flag, text);
    return span_us / 1000;
}

static uint32_t parse_interval(const char *text)
{
    int64_t ms = parse_ms("--sync-interval", text);

    return ms > UINT32_MAX ? UINT32_MAX : (uint32_t)ms; /* the library tells its bounds */
}

void make_flag(lq_options *options, int flag, const char *value)
{
    static const char *const syncs[] = {"always", "interval", "never", NULL};
    static const char *const retentions[] = {"consumed", "limits", "both", NULL};
    static const char *const fulls[] = {"reject", "block", "drop", NULL};

    switch (flag) {
    case FLAG_NO_CREATE: options->flags |= LQ_NO_CREATE; break;
    case FLAG_SYNC: options->sync = LQ_SYNC_ALWAYS + parse_choice_flag("--sync", value, syncs); break;
    case FLAG_SYNC_INTERVAL: options->sync_interval_ms = parse_interval(value); break;
    case FLAG_RETENTION:
        options->retention = LQ_RETAIN_CONSUMED + parse_choice_flag("--retention", value, retentions);
        break;
    case FLAG_SIZE_MAX: options->size_max = parse_size_flag("--size-max", value); break;
    case FLAG_AGE_MAX: options->age_max_ms = parse_ms("--age-max", value); break;
    case FLAG_FULL: options->full = LQ_FULL_REJECT + parse_choice_flag("--full", value, fulls); break;
    case FLAG_SEGMENT_SIZE: options->segment_size = parse_size_flag("--segment-size", value); break;
    case FLAG_RING_SIZE: options->ring_size = parse_size_flag("--ring-size", value); break;
    case FLAG_MESSAGE_SIZE_MAX: options->message_size_max = parse_size_flag("--message-size-max", value); break;
    case FLAG_COMPRESSION: options->compression = (int)parse_count_flag("--compression", value, 0, 9); break;
    default: options->mode = parse_mode(value); break; /* FLAG_MODE */
    }
}
