/* A small strict JSON parser for one object per line.
 *
 * Strings are decoded in place (the text never gets longer), so a body of a
 * gigabyte costs no second gigabyte. Values of unknown members are walked over
 * and checked, to a bounded depth. */
#include "json_read.h"

#include "base64.h"
#include "utf8.h"

#include <string.h>

enum { DEPTH_MAX = 64 };

struct cursor {
    char *at, *end;
    const char *why; /* the first error; NULL: none */
    const char *where;
};

/* The members that make a message, each with its encoding. */
struct part {
    const char *name, *encoding_name;
    char *bytes;
    size_t size;
    const char *where;
    bool given, encoded, base64;
};

static bool fail(struct cursor *json, const char *why, const char *where)
{
    if (!json->why) {
        json->why = why;
        json->where = where;
    }
    return false;
}

static void skip_space(struct cursor *json)
{
    while (json->at < json->end && (*json->at == ' ' || *json->at == '\t' || *json->at == '\r'))
        json->at++;
}

/* Takes the character if it is next. */
static bool take(struct cursor *json, char wanted)
{
    if (json->at == json->end || *json->at != wanted) return false;
    json->at++;
    return true;
}

static bool read_hex4(struct cursor *json, uint32_t *code_out)
{
    uint32_t code = 0;

    if (json->end - json->at < 4) return fail(json, "\\u wants four hex digits", json->at);
    for (int i = 0; i < 4; i++, json->at++) {
        char digit = *json->at;

        if (digit >= '0' && digit <= '9') code = code << 4 | (uint32_t)(digit - '0');
        else if (digit >= 'a' && digit <= 'f') code = code << 4 | (uint32_t)(digit - 'a' + 10);
        else if (digit >= 'A' && digit <= 'F') code = code << 4 | (uint32_t)(digit - 'A' + 10);
        else return fail(json, "\\u wants four hex digits", json->at);
    }
    *code_out = code;
    return true;
}

/* Behind "\u": one code, which may take two escapes. */
static bool read_unicode(struct cursor *json, char **to)
{
    const char *start = json->at;
    uint32_t code, low;

    if (!read_hex4(json, &code)) return false;
    if (code >= 0xdc00 && code < 0xe000) return fail(json, "half of a surrogate pair", start);
    if (code >= 0xd800 && code < 0xdc00) {
        if (!take(json, '\\') || !take(json, 'u') || !read_hex4(json, &low) || low < 0xdc00 || low >= 0xe000)
            return fail(json, "half of a surrogate pair", start);
        code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
    }
    *to += utf8_encode(code, *to);
    return true;
}

static bool read_escape(struct cursor *json, char **to)
{
    static const char from[] = "\"\\/bfnrt", into[] = "\"\\/\b\f\n\r\t";
    const char *found;

    if (json->at == json->end) return fail(json, "the string does not end", json->at);
    if (take(json, 'u')) return read_unicode(json, to);
    found = *json->at ? strchr(from, *json->at) : NULL;
    if (!found) return fail(json, "unknown escape", json->at);
    json->at++;
    *(*to)++ = into[found - from];
    return true;
}

/* A string, decoded over itself. */
static bool read_string(struct cursor *json, char **bytes_out, size_t *size_out)
{
    char *start, *to;

    if (!take(json, '"')) return fail(json, "expected a string", json->at);
    start = to = json->at;
    for (;;) {
        char *plain = json->at;

        while (json->at < json->end && *json->at != '"' && *json->at != '\\' && (unsigned char)*json->at >= 0x20)
            json->at++;
        if (to != plain) memmove(to, plain, (size_t)(json->at - plain));
        to += json->at - plain;
        if (json->at == json->end) return fail(json, "the string does not end", json->at);
        if (take(json, '"')) break;
        if (!take(json, '\\')) return fail(json, "control character in a string", json->at);
        if (!read_escape(json, &to)) return false;
    }
    if (!utf8_valid(start, (size_t)(to - start))) return fail(json, "the string is not UTF-8", start);
    *bytes_out = start;
    *size_out = (size_t)(to - start);
    return true;
}

static bool skip_digits(struct cursor *json)
{
    const char *start = json->at;

    while (json->at < json->end && *json->at >= '0' && *json->at <= '9') json->at++;
    return json->at > start || fail(json, "expected a digit", json->at);
}

static bool skip_number(struct cursor *json)
{
    take(json, '-');
    if (!take(json, '0') && !skip_digits(json)) return false;
    if (take(json, '.') && !skip_digits(json)) return false;
    if (take(json, 'e') || take(json, 'E')) {
        if (!take(json, '+')) take(json, '-');
        return skip_digits(json);
    }
    return true;
}

static bool skip_word(struct cursor *json, const char *word)
{
    size_t length = strlen(word);

    if ((size_t)(json->end - json->at) < length || memcmp(json->at, word, length) != 0)
        return fail(json, "expected a value", json->at);
    json->at += length;
    return true;
}

static bool skip_value(struct cursor *json, int depth);

/* What stands between brackets, one or two values (a member's name and value) at a time. */
static bool skip_list(struct cursor *json, char close, bool named, int depth)
{
    char *bytes;
    size_t size;

    skip_space(json);
    if (take(json, close)) return true;
    do {
        skip_space(json);
        if (named) {
            if (!read_string(json, &bytes, &size)) return false;
            skip_space(json);
            if (!take(json, ':')) return fail(json, "expected ':'", json->at);
        }
        if (!skip_value(json, depth)) return false;
        skip_space(json);
    } while (take(json, ','));
    return take(json, close) || fail(json, close == '}' ? "expected ',' or '}'" : "expected ',' or ']'", json->at);
}

static bool skip_value(struct cursor *json, int depth)
{
    char *bytes;
    size_t size;

    if (depth == DEPTH_MAX) return fail(json, "nested too deeply", json->at);
    skip_space(json);
    if (json->at == json->end) return fail(json, "expected a value", json->at);
    switch (*json->at) {
    case '"': return read_string(json, &bytes, &size);
    case '{': json->at++; return skip_list(json, '}', true, depth + 1);
    case '[': json->at++; return skip_list(json, ']', false, depth + 1);
    case 't': return skip_word(json, "true");
    case 'f': return skip_word(json, "false");
    case 'n': return skip_word(json, "null");
    default:
        if (*json->at != '-' && (*json->at < '0' || *json->at > '9')) return fail(json, "expected a value", json->at);
        return skip_number(json);
    }
}

static bool is(const char *name, const char *bytes, size_t size)
{
    return strlen(name) == size && memcmp(name, bytes, size) == 0;
}

static bool read_encoding(struct cursor *json, struct part *part)
{
    const char *where = json->at;
    char *bytes;
    size_t size;

    if (part->encoded) return fail(json, "this member is there twice", where);
    if (!read_string(json, &bytes, &size)) return false;
    part->encoded = true;
    part->base64 = is("base64", bytes, size);
    return part->base64 || is("utf8", bytes, size) || fail(json, "the encoding must be \"utf8\" or \"base64\"", where);
}

static bool read_part(struct cursor *json, struct part *part)
{
    if (part->given) return fail(json, "this member is there twice", json->at);
    part->given = true;
    part->where = json->at;
    if (json->at < json->end && *json->at == 'n' && strcmp(part->name, "data") != 0) return skip_word(json, "null");
    return read_string(json, &part->bytes, &part->size);
}

static bool read_member(struct cursor *json, struct part *parts)
{
    const char *where = json->at;
    char *name;
    size_t size;

    if (!read_string(json, &name, &size)) return fail(json, "expected a member's name", where);
    skip_space(json);
    if (!take(json, ':')) return fail(json, "expected ':'", json->at);
    skip_space(json);
    for (struct part *part = parts; part->name; part++) {
        if (is(part->name, name, size)) return read_part(json, part);
        if (is(part->encoding_name, name, size)) return read_encoding(json, part);
    }
    return skip_value(json, 0);
}

static bool read_object(struct cursor *json, struct part *parts)
{
    skip_space(json);
    if (!take(json, '{')) return fail(json, "expected an object: {...}", json->at);
    skip_space(json);
    if (!take(json, '}')) {
        do {
            skip_space(json);
            if (!read_member(json, parts)) return false;
            skip_space(json);
        } while (take(json, ','));
        if (!take(json, '}')) return fail(json, "expected ',' or '}'", json->at);
    }
    skip_space(json);
    return json->at == json->end || fail(json, "something stands behind the object", json->at);
}

bool json_read_message(char *line, size_t size, lq_message *message_out, const char **why_out, size_t *column_out)
{
    struct cursor json = {line, line + size, NULL, line};
    struct part parts[] = {
        {.name = "data", .encoding_name = "enc"},
        {.name = "key", .encoding_name = "key_enc"},
        {.name = "headers", .encoding_name = "headers_enc"},
        {.name = NULL},
    };

    if (read_object(&json, parts) && !parts[0].given) fail(&json, "\"data\" is missing", line);
    for (struct part *part = parts; part->name && !json.why; part++)
        if (part->given && part->base64 && !base64_decode(part->bytes, part->size, &part->size))
            fail(&json, "this is not base64", part->where);
    if (json.why) {
        *why_out = json.why;
        *column_out = (size_t)(json.where - line) + 1;
        return false;
    }
    memset(message_out, 0, sizeof *message_out);
    message_out->data = parts[0].bytes;
    message_out->size = parts[0].size;
    message_out->key = parts[1].bytes;
    message_out->key_size = parts[1].size;
    message_out->headers = parts[2].bytes;
    message_out->headers_size = parts[2].size;
    return true;
}
