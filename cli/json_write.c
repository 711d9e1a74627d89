/* JSON lines. */
#include "json_write.h"

#include "base64.h"
#include "human.h"
#include "out.h"
#include "utf8.h"

#include <inttypes.h>
#include <string.h>

static void name_member(struct json *json, const char *name)
{
    if (json->any) out_char(',');
    json->any = true;
    out_char('"');
    out_text(name);
    out_text("\":");
}

/* `size` bytes as a string; what is no UTF-8 becomes U+FFFD. */
static void write_string(const char *text, size_t size)
{
    out_char('"');
    while (size > 0) {
        size_t plain = 0, length;
        uint32_t code;

        /* Runs of plain ASCII go in one piece. */
        while (plain < size && text[plain] >= 0x20 && text[plain] < 0x7f && text[plain] != '"' && text[plain] != '\\')
            plain++;
        out_bytes(text, plain);
        text += plain;
        size -= plain;
        if (size == 0) break;

        length = utf8_decode(text, size, &code);
        if (length == 0) out_text("\\ufffd");
        else if (code == '"' || code == '\\') out_format("\\%c", (char)code);
        else if (code == '\n') out_text("\\n");
        else if (code == '\t') out_text("\\t");
        else if (utf8_unsafe(code)) out_format("\\u%04x", (unsigned)code);
        else out_bytes(text, length);
        text += length ? length : 1;
        size -= length ? length : 1;
    }
    out_char('"');
}

void json_open(struct json *json)
{
    json->any = false;
    out_char('{');
}

void json_end_line(struct json *json)
{
    json->any = false;
    out_text("}\n");
}

void json_close(struct json *json)
{
    json_end_line(json);
    out_flush();
}

void json_count(struct json *json, const char *name, uint64_t value)
{
    name_member(json, name);
    out_format("%" PRIu64, value);
}

void json_bool(struct json *json, const char *name, bool value)
{
    name_member(json, name);
    out_text(value ? "true" : "false");
}

void json_number(struct json *json, const char *name, double value)
{
    name_member(json, name);
    out_format("%.6f", value);
}

void json_text(struct json *json, const char *name, const char *value)
{
    name_member(json, name);
    write_string(value, strlen(value));
}

void json_time(struct json *json, const char *name, int64_t time_us)
{
    name_member(json, name);
    if (time_us) out_format("\"%s\"", human_rfc3339(time_us).text);
    else out_text("null");
    out_format(",\"%s_us\":%" PRId64, name, time_us);
}

void json_bytes(struct json *json, const char *encoding_name, const char *name, const void *bytes, size_t size)
{
    bool text = utf8_valid(bytes, size);

    json_text(json, encoding_name, text ? "utf8" : "base64");
    name_member(json, name);
    if (text) {
        write_string(bytes, size);
        return;
    }
    out_char('"');
    base64_write(bytes, size);
    out_char('"');
}

void json_array(struct json *json, const char *name)
{
    name_member(json, name);
    out_char('[');
    json->any = false;
}

void json_item(struct json *json)
{
    if (json->any) out_char(',');
    json->any = false;
    out_char('{');
}

void json_item_end(struct json *json)
{
    json->any = true;
    out_char('}');
}

void json_array_end(struct json *json)
{
    json->any = true;
    out_char(']');
}
