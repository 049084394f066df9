/* Walking over text that json_check() has passed: no error is possible any more, so the
 * steps are short. No pointer is checked against the end where the grammar says that
 * something follows; on unchecked text these functions would run out of it.
 *
 * Rejected: an index of the members that json_check() would leave behind. Bodies have a
 * dozen members, each is looked at once, and the index would need memory and an owner. */
#include "server/http/json.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const char *skip_space(const char *p, const char *end)
{
    while (p < end && (*p == ' ' || *p == '\t' || *p == '\n' || *p == '\r'))
        p++;
    return p;
}

/* A backslash takes the next byte along, so an escaped quote does not end it. The hex
 * digits of \u are plain characters to this. */
static const char *skip_string(const char *p)
{
    for (p++; *p != '"'; p++)
        p += *p == '\\';
    return p + 1;
}

/* The end of the value that starts at p. Brackets are only counted: that each closes its
 * own kind has been checked. */
static const char *skip_value(const char *p, const char *end)
{
    int depth = 0;

    if (*p == '"')
        return skip_string(p);
    if (*p != '{' && *p != '[') {
        while (p < end && strchr(",]} \t\r\n", *p) == NULL)
            p++;
        return p;
    }
    do {
        if (*p == '"') {
            p = skip_string(p);
            continue;
        }
        depth += (*p == '{' || *p == '[') - (*p == '}' || *p == ']');
        p++;
    } while (depth > 0);
    return p;
}

struct json_cursor json_members(const char *text, size_t len)
{
    const char *end = text + len, *p = skip_space(text, end);

    return (struct json_cursor){.at = p + 1, .end = end, .in_object = *p == '{'};
}

static enum json_type type_at(char c)
{
    static const char starts[] = "{[\"tfn";
    static const enum json_type types[] = {JSON_OBJECT, JSON_ARRAY, JSON_STRING,
                                           JSON_TRUE,   JSON_FALSE, JSON_NULL};
    const char *found = strchr(starts, c);

    return found != NULL ? types[found - starts] : JSON_NUMBER;
}

bool json_next(struct json_cursor *c, struct json_member *out)
{
    const char *p = skip_space(c->at, c->end);

    if (p >= c->end || *p == '}' || *p == ']')
        return false;
    *out = (struct json_member){.key = NULL};
    if (c->in_object) {
        const char *after = skip_string(p);
        out->key = p + 1;
        out->key_len = (size_t)(after - 1 - out->key);
        p = skip_space(skip_space(after, c->end) + 1, c->end); /* the colon */
    }
    out->value = p;
    out->type = type_at(*p);
    p = skip_value(p, c->end);
    out->value_len = (size_t)(p - out->value);
    p = skip_space(p, c->end);
    c->at = p < c->end && *p == ',' ? p + 1 : p;
    return true;
}

bool json_key_is(const struct json_member *m, const char *key)
{
    return m->key_len == strlen(key) && memcmp(m->key, key, m->key_len) == 0;
}

/* Copied, because strtoul() would read on into hex digits that follow. */
static unsigned hex4(const char *p)
{
    char digits[5] = {p[0], p[1], p[2], p[3], '\0'};

    return (unsigned)strtoul(digits, NULL, 16);
}

static size_t put_utf8(char *out, unsigned c)
{
    if (c < 0x80) {
        out[0] = (char)c;
        return 1;
    }
    if (c < 0x800) {
        out[0] = (char)(0xc0 | c >> 6);
        out[1] = (char)(0x80 | (c & 0x3f));
        return 2;
    }
    if (c < 0x10000) {
        out[0] = (char)(0xe0 | c >> 12);
        out[1] = (char)(0x80 | (c >> 6 & 0x3f));
        out[2] = (char)(0x80 | (c & 0x3f));
        return 3;
    }
    out[0] = (char)(0xf0 | c >> 18);
    out[1] = (char)(0x80 | (c >> 12 & 0x3f));
    out[2] = (char)(0x80 | (c >> 6 & 0x3f));
    out[3] = (char)(0x80 | (c & 0x3f));
    return 4;
}

/* Decodes the escape at p (behind the backslash); returns the bytes read. */
static size_t put_escape(const char *p, char *out, size_t *len)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    unsigned c;

    if (*p != 'u') {
        out[(*len)++] = to[strchr(from, *p) - from];
        return 1;
    }
    c = hex4(p + 1);
    if (c >= 0xd800 && c <= 0xdbff) {
        c = 0x10000 + ((c - 0xd800) << 10) + (hex4(p + 7) - 0xdc00);
        *len += put_utf8(out + *len, c);
        return 11;
    }
    *len += put_utf8(out + *len, c);
    return 5;
}

/* Never longer than what is written: the shortest escape has two bytes for one, \uXXXX
 * six for three at most. */
size_t json_decode(const struct json_member *m, char *out)
{
    const char *end = m->value + m->value_len - 1;
    size_t len = 0;

    for (const char *p = m->value + 1; p < end;) {
        if (*p == '\\') {
            p++;
            p += put_escape(p, out, &len);
        } else {
            out[len++] = *p++;
        }
    }
    out[len] = '\0';
    return len;
}

/* 1.0 and 1e3 are integers to mathematics and not to us: a reader that takes them has to
 * say where it stops (1e400, 0.1e1), and nobody writes an id or a count that way. */
bool json_int(const struct json_member *m, int64_t least, int64_t most, int64_t *out)
{
    char digits[24], *end;

    if (m->type != JSON_NUMBER || m->value_len >= sizeof digits)
        return false;
    memcpy(digits, m->value, m->value_len);
    digits[m->value_len] = '\0';
    errno = 0;
    long long value = strtoll(digits, &end, 10);
    if (errno != 0 || *end != '\0' || value < least || value > most)
        return false;
    *out = value;
    return true;
}
