/* Showing messages. */
#include "print.h"

#include "human.h"
#include "json_write.h"
#include "out.h"
#include "report.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum {
    VIEW_BODY_MAX = 2000, /* bytes of a body in the view */
    FLAG_RAW = FLAGS_PRINT,
    FLAG_JSON,
    FLAG_HEX
};

const struct flag print_flags[] = {
    {"raw", FLAG_RAW, NULL, "bodies as they are, a newline behind each"},
    {"null", '0', NULL, "bodies as they are, a NUL behind each"},
    {"join", 'j', NULL, "bodies as they are, nothing between"},
    {"json", FLAG_JSON, NULL, "an object per line, with everything in it"},
    {"hex", FLAG_HEX, NULL, "bodies in hex"},
    {"format", 'F', "FMT", "%i id  %t time  %l length  %s data  %x hex  %k key  %h headers\n"
                           "%a attempts  %% percent;  \\n \\t \\0 \\\\"},
    {NULL, 0, NULL, NULL},
};

void print_init(struct print *print, enum print_style style)
{
    *print = (struct print){.style = style, .ending = "\n", .ending_size = 1};
}

static void choose(struct print *print, enum print_style style)
{
    if (print->chosen && print->style != style) usage("two different forms of output are asked for");
    print->style = style;
    print->chosen = true;
}

/* A format is checked when it is given, so that printing cannot fail. */
static void check_format(const char *format)
{
    for (const char *at = format; *at; at++) {
        if (*at != '%' && *at != '\\') continue;
        if (!at[1]) usage("--format: '%c' at the end", *at);
        if (!strchr(*at == '%' ? "itlsxkha%" : "nt0\\", at[1])) usage("--format: unknown %c%c", at[0], at[1]);
        at++;
    }
}

bool print_flag(struct print *print, int flag, const char *value)
{
    switch (flag) {
    case FLAG_RAW: choose(print, PRINT_RAW); break;
    case FLAG_JSON: choose(print, PRINT_JSON); break;
    case FLAG_HEX: choose(print, PRINT_HEX); break;
    case '0':
        choose(print, PRINT_RAW);
        print->ending = "";
        print->ending_size = 1;
        break;
    case 'j':
        choose(print, PRINT_RAW);
        print->ending_size = 0;
        break;
    case 'F':
        check_format(value);
        choose(print, PRINT_FORMAT);
        print->format = value;
        break;
    default: return false;
    }
    return true;
}

static void print_view(const lq_message *message)
{
    size_t shown = message->size < VIEW_BODY_MAX ? message->size : VIEW_BODY_MAX;

    out_format("%8" PRIu64 "  %s%s%s  %7s  ", message->id, paint(PAINT_DIM), human_time(message->time_us).text,
               paint(PAINT_NONE), human_size(message->size).text);
    if (message->key_size) {
        out_text(paint(PAINT_CYAN));
        out_char('[');
        out_escaped(message->key, message->key_size);
        out_char(']');
        out_text(paint(PAINT_NONE));
        out_text("  ");
    }
    if (shown) out_escaped(message->data, shown);
    if (shown < message->size) out_format(" ... and %s bytes more", human_count(message->size - shown).text);
    out_char('\n');
}

static void print_json(const lq_message *message)
{
    struct json json;

    json_open(&json);
    json_count(&json, "id", message->id);
    json_time(&json, "time", message->time_us);
    if (message->attempts) json_count(&json, "attempts", message->attempts);
    json_count(&json, "size", message->size);
    if (message->key_size) json_bytes(&json, "key_enc", "key", message->key, message->key_size);
    if (message->headers_size) json_bytes(&json, "headers_enc", "headers", message->headers, message->headers_size);
    json_bytes(&json, "enc", "data", message->size ? message->data : "", message->size);
    json_end_line(&json);
}

static void print_hex_digits(const unsigned char *byte, size_t size)
{
    static const char digits[] = "0123456789abcdef";

    for (size_t i = 0; i < size; i++) {
        out_char(digits[byte[i] >> 4]);
        out_char(digits[byte[i] & 15]);
    }
}

static void print_hex(const lq_message *message)
{
    const unsigned char *body = message->data;

    out_format("%smessage %" PRIu64 "  %s  %s bytes%s", paint(PAINT_BOLD), message->id,
               human_time(message->time_us).text, human_count(message->size).text, paint(PAINT_NONE));
    if (message->key_size) {
        out_text("  key ");
        out_escaped(message->key, message->key_size);
    }
    out_char('\n');
    for (size_t at = 0; at < message->size; at += 16) {
        size_t count = message->size - at < 16 ? message->size - at : 16;

        out_format("%08zx ", at);
        for (size_t i = 0; i < 16; i++) {
            if (i % 8 == 0) out_char(' ');
            if (i < count) print_hex_digits(body + at + i, 1);
            else out_text("  ");
            out_char(' ');
        }
        out_text(" |");
        for (const unsigned char *byte = body + at; byte < body + at + count; byte++)
            out_char(*byte >= 0x20 && *byte < 0x7f ? (char)*byte : '.');
        out_text("|\n");
    }
}

/* Bytes of a message where its form does not say that they are wanted raw: a terminal would obey them. */
static void print_part(const void *bytes, size_t size)
{
    if (out_is_terminal()) out_escaped(bytes, size);
    else out_bytes(bytes, size);
}

static void print_field(char field, const lq_message *message)
{
    switch (field) {
    case 'i': out_format("%" PRIu64, message->id); break;
    case 't': out_text(human_rfc3339(message->time_us).text); break;
    case 'l': out_format("%zu", message->size); break;
    case 's': print_part(message->data, message->size); break;
    case 'x': print_hex_digits(message->data, message->size); break;
    case 'k': print_part(message->key, message->key_size); break;
    case 'h': print_part(message->headers, message->headers_size); break;
    case 'a': out_format("%" PRIu32, message->attempts); break;
    default: out_char('%'); break;
    }
}

static void print_format(const char *format, const lq_message *message)
{
    for (; *format; format++) {
        if (*format == '%') {
            print_field(*++format, message);
        } else if (*format == '\\') {
            format++;
            out_char(*format == 'n' ? '\n' : *format == 't' ? '\t' : *format == '0' ? '\0' : '\\');
        } else {
            out_char(*format);
        }
    }
}

void print_message(const struct print *print, const lq_message *message)
{
    switch (print->style) {
    case PRINT_VIEW: print_view(message); break;
    case PRINT_JSON: print_json(message); break;
    case PRINT_HEX: print_hex(message); break;
    case PRINT_FORMAT: print_format(print->format, message); break;
    case PRINT_PLAIN:
        print_part(message->data, message->size);
        out_bytes(print->ending, print->ending_size);
        break;
    default: /* PRINT_RAW */
        out_bytes(message->data, message->size);
        out_bytes(print->ending, print->ending_size);
        break;
    }
}
