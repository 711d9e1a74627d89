/* What people type and pipe into lq: numbers, sizes, times, lines of JSON, base64, and
 * text from strangers that is shown on a terminal. The first byte says which. */
#include <libqueue.h>

#include "../cli/base64.h"
#include "../cli/json_read.h"
#include "../cli/parse.h"
#include "../cli/utf8.h"
#include "fuzz_support.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool inside(const void *part, size_t part_size, const char *line, size_t size)
{
    const char *begin = part;
    return part_size == 0 || (begin >= line && part_size <= size && begin + part_size <= line + size);
}

static void json(char *line, size_t size)
{
    lq_message message = {0};
    const char *why = NULL;
    size_t column = 0;

    if (json_read_message(line, size, &message, &why, &column)) {
        CHECK(inside(message.data, message.size, line, size));
        CHECK(inside(message.key, message.key_size, line, size));
        CHECK(inside(message.headers, message.headers_size, line, size));
    } else {
        CHECK(why != NULL && column >= 1 && column <= size + 1);
    }
}

static void base64(char *text, size_t size)
{
    size_t got = 0;
    if (base64_decode(text, size, &got)) CHECK(size % 4 == 0 && got <= size / 4 * 3);
}

/* What is refused must leave the result alone. */
static void numbers(const char *text)
{
    uint64_t count = 77, bytes = 77;
    int64_t span_us = 77, time_us = 77;

    if (parse_count(text, &count)) CHECK(count == strtoull(text, NULL, 10));
    else CHECK(count == 77);
    CHECK(parse_size(text, &bytes) || bytes == 77);
    CHECK(parse_span(text, &span_us) || span_us == 77);
    CHECK(parse_time(text, &time_us) || time_us == 77);
}

/* What is escaped is UTF-8 that moves no cursor, whatever it was; steps of any room come to the end. */
static void escapes(const char *text, size_t size, size_t room)
{
    char to[64];
    if (room > sizeof to) room = sizeof to;

    while (size) {
        size_t taken = 0, written = utf8_escape(text, size, to, room, &taken);
        CHECK(written <= room && taken >= 1 && taken <= size);
        CHECK(utf8_valid(to, written));
        for (size_t i = 0, step; i < written; i += step) {
            uint32_t code;
            step = utf8_decode(to + i, written - i, &code);
            CHECK(step >= 1 && !utf8_unsafe(code));
        }
        text += taken;
        size -= taken;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) return 0;
    unsigned kind = *data++;
    size--;

    char *text = (char *)copy_of(data, size), *ended = (char *)calloc(1, size + 1);
    CHECK(ended != NULL);
    if (size) memcpy(ended, data, size);
    switch (kind % 4) {
    case 0: json(text, size); break;
    case 1: base64(text, size); break;
    case 2: numbers(ended); break;
    default: escapes(text, size, UTF8_ESCAPE_MAX + kind / 4); break;
    }
    free(text);
    free(ended);
    return 0;
}
