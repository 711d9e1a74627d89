/* JSON lines on standard output: one object per line.
 *
 *     json_open(&json);  json_count(&json, "id", 7);  json_close(&json);
 *
 * What is written is always valid JSON and harmless on a terminal, whatever the
 * bytes: text that is UTF-8 goes as "utf8" with control characters escaped,
 * the rest as "base64"; nothing is cut. */
#ifndef CLI_JSON_WRITE_H
#define CLI_JSON_WRITE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct json {
    bool any; /* a member has been written */
};

void json_open(struct json *json);
void json_close(struct json *json); /* ends the line and flushes it */
void json_end_line(struct json *json); /* ends the line; flushed with the next, or by out_flush() */

void json_count(struct json *json, const char *name, uint64_t value);
void json_bool(struct json *json, const char *name, bool value);
void json_text(struct json *json, const char *name, const char *value); /* what is no UTF-8 in it becomes U+FFFD */
void json_number(struct json *json, const char *name, double value);

/* `name` as RFC 3339 and `name`_us as a number; null and 0 when the time is 0. */
void json_time(struct json *json, const char *name, int64_t time_us);

/* `encoding_name`: "utf8" or "base64", and `name`: the bytes so encoded. */
void json_bytes(struct json *json, const char *encoding_name, const char *name, const void *bytes, size_t size);

/* An array of objects: json_array, then for each json_item .. json_item_end, then json_array_end. */
void json_array(struct json *json, const char *name);
void json_item(struct json *json);
void json_item_end(struct json *json);
void json_array_end(struct json *json);

#endif
