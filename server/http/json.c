/* One recursive descent over the bytes, without a tree: about what memchr-speed allows,
 * and nothing is rewritten. Rejected: jansson for the bodies of jobs (34 us for 1 KiB,
 * and 1.10 comes back as 1.1000000000000001). Duplicate keys are found by comparing each
 * key with those before it in its object, up to a count beyond which nobody writes JSON
 * by hand; larger objects are sorted. */
#include "server/http/json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct key {
    const char *text;
    size_t len;
};

struct scan {
    const char *at, *start, *end;
    struct json_error *error;
    enum err e;
    int depth;
    size_t pointer_len;
};

static bool fail(struct scan *s, enum err e, const char *what)
{
    if (s->e == ERR_OK) {
        s->e = e;
        s->error->offset = (size_t)(s->at - s->start);
        s->error->what = what;
        s->error->pointer[s->pointer_len] = '\0';
    }
    return false;
}

static void skip_space(struct scan *s)
{
    while (s->at < s->end &&
           (*s->at == ' ' || *s->at == '\t' || *s->at == '\n' || *s->at == '\r'))
        s->at++;
}

/* Appends "/part" to the pointer; returns the length to go back to. */
static size_t push_pointer(struct scan *s, const char *part, size_t len)
{
    size_t before = s->pointer_len, room = sizeof s->error->pointer - 1;

    if (s->pointer_len + 1 + len <= room) {
        s->error->pointer[s->pointer_len++] = '/';
        memcpy(s->error->pointer + s->pointer_len, part, len);
        s->pointer_len += len;
    }
    return before;
}

/* -- strings ------------------------------------------------------------------------- */

/* The length of a well-formed UTF-8 sequence (RFC 3629: no overlong forms, no surrogates,
 * up to U+10FFFF), or 0. */
static size_t utf8_len(const unsigned char *p, size_t left)
{
    unsigned char c = p[0];

    if (c >= 0xc2 && c <= 0xdf)
        return left > 1 && (p[1] & 0xc0) == 0x80 ? 2 : 0;
    if (c >= 0xe0 && c <= 0xef) {
        if (left < 3 || (p[1] & 0xc0) != 0x80 || (p[2] & 0xc0) != 0x80)
            return 0;
        if ((c == 0xe0 && p[1] < 0xa0) || (c == 0xed && p[1] > 0x9f))
            return 0;
        return 3;
    }
    if (c >= 0xf0 && c <= 0xf4) {
        if (left < 4 || (p[1] & 0xc0) != 0x80 || (p[2] & 0xc0) != 0x80 ||
            (p[3] & 0xc0) != 0x80)
            return 0;
        return (c == 0xf0 && p[1] < 0x90) || (c == 0xf4 && p[1] > 0x8f) ? 0 : 4;
    }
    return 0;
}

/* The value of four hex digits, or -1. */
static int hex4(const char *p, const char *end)
{
    int value = 0;

    if (end - p < 4)
        return -1;
    for (int i = 0; i < 4; i++) {
        char c = p[i];
        int digit = c >= '0' && c <= '9'   ? c - '0'
                    : c >= 'a' && c <= 'f' ? c - 'a' + 10
                    : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                           : -1;
        if (digit < 0)
            return -1;
        value = value * 16 + digit;
    }
    return value;
}

/* Behind "\u": one code unit, or a pair of surrogates. */
static bool scan_unicode(struct scan *s)
{
    int unit = hex4(s->at, s->end);

    if (unit < 0)
        return fail(s, ERR_BAD_REQUEST, "expected four hex digits after \\u");
    if (unit == 0)
        return fail(s, ERR_INVALID, "\\u0000 cannot be stored");
    s->at += 4;
    if (unit < 0xd800 || unit > 0xdfff)
        return true;
    int low = s->end - s->at >= 6 && s->at[0] == '\\' && s->at[1] == 'u'
                  ? hex4(s->at + 2, s->end)
                  : -1;
    if (unit > 0xdbff || low < 0xdc00 || low > 0xdfff)
        return fail(s, ERR_INVALID, "a lone surrogate cannot be stored");
    s->at += 6;
    return true;
}

static bool scan_escape(struct scan *s)
{
    if (++s->at == s->end)
        return fail(s, ERR_BAD_REQUEST, "the string does not end");
    if (*s->at == 'u') {
        s->at++;
        return scan_unicode(s);
    }
    if (strchr("\"\\/bfnrt", *s->at) == NULL || *s->at == '\0')
        return fail(s, ERR_BAD_REQUEST, "unknown escape in a string");
    s->at++;
    return true;
}

/* From the opening quote; leaves `at` behind the closing one. */
static bool scan_string(struct scan *s)
{
    for (s->at++; s->at < s->end;) {
        unsigned char c = (unsigned char)*s->at;
        if (c == '"') {
            s->at++;
            return true;
        }
        if (c == '\\') {
            if (!scan_escape(s))
                return false;
        } else if (c < 0x20) {
            return fail(s, ERR_BAD_REQUEST, "control character in a string");
        } else if (c < 0x80) {
            s->at++;
        } else {
            size_t len = utf8_len((const unsigned char *)s->at, (size_t)(s->end - s->at));
            if (len == 0)
                return fail(s, ERR_BAD_REQUEST, "the text is not UTF-8");
            s->at += len;
        }
    }
    return fail(s, ERR_BAD_REQUEST, "the string does not end");
}

/* -- numbers and words --------------------------------------------------------------- */

static bool scan_digits(struct scan *s)
{
    const char *from = s->at;

    while (s->at < s->end && *s->at >= '0' && *s->at <= '9')
        s->at++;
    return s->at > from ? true : fail(s, ERR_BAD_REQUEST, "expected a digit");
}

static bool scan_number(struct scan *s)
{
    if (*s->at == '-')
        s->at++;
    if (s->at < s->end && *s->at == '0')
        s->at++;
    else if (!scan_digits(s))
        return false;
    if (s->at < s->end && *s->at == '.') {
        s->at++;
        if (!scan_digits(s))
            return false;
    }
    if (s->at < s->end && (*s->at == 'e' || *s->at == 'E')) {
        s->at++;
        if (s->at < s->end && (*s->at == '+' || *s->at == '-'))
            s->at++;
        return scan_digits(s);
    }
    return true;
}

static bool scan_word(struct scan *s, const char *word)
{
    size_t len = strlen(word);

    if ((size_t)(s->end - s->at) < len || memcmp(s->at, word, len) != 0)
        return fail(s, ERR_BAD_REQUEST, "expected a JSON value");
    s->at += len;
    return true;
}

/* -- objects and arrays -------------------------------------------------------------- */

enum { KEYS_KEPT = 64 };

struct keys {
    struct key few[KEYS_KEPT], *all;
    size_t n, room;
};

static int compare_keys(const void *a, const void *b)
{
    const struct key *x = a, *y = b;
    size_t len = x->len < y->len ? x->len : y->len;
    int order = memcmp(x->text, y->text, len);

    return order != 0 ? order : (x->len > y->len) - (x->len < y->len);
}

/* Keys are compared as they are written: two spellings of one key, by an escape, pass as
 * two. */
static bool add_key(struct scan *s, struct keys *k, const char *text, size_t len)
{
    if (k->n < KEYS_KEPT && k->all == k->few) {
        for (size_t i = 0; i < k->n; i++) {
            if (k->few[i].len == len && memcmp(k->few[i].text, text, len) == 0)
                return fail(s, ERR_INVALID, "the key stands twice in this object");
        }
    }
    if (k->n == k->room) {
        struct key *more = malloc(2 * k->room * sizeof *more);
        if (more == NULL)
            return fail(s, ERR_NO_MEMORY, "out of memory");
        memcpy(more, k->all, k->n * sizeof *more);
        if (k->all != k->few)
            free(k->all);
        k->all = more;
        k->room *= 2;
    }
    k->all[k->n++] = (struct key){.text = text, .len = len};
    return true;
}

static bool keys_are_unique(struct scan *s, struct keys *k)
{
    if (k->n <= KEYS_KEPT)
        return true;
    qsort(k->all, k->n, sizeof *k->all, compare_keys);
    for (size_t i = 1; i < k->n; i++) {
        if (compare_keys(&k->all[i - 1], &k->all[i]) == 0)
            return fail(s, ERR_INVALID, "a key stands twice in this object");
    }
    return true;
}

static bool scan_value(struct scan *s, enum json_type *out_type);

static bool scan_member(struct scan *s, struct keys *k)
{
    enum json_type type;
    const char *key;

    skip_space(s);
    if (s->at == s->end || *s->at != '"')
        return fail(s, ERR_BAD_REQUEST, "expected a key in quotes");
    key = s->at + 1;
    if (!scan_string(s))
        return false;
    size_t len = (size_t)(s->at - 1 - key);
    size_t before = push_pointer(s, key, len);
    if (!add_key(s, k, key, len))
        return false;
    skip_space(s);
    if (s->at == s->end || *s->at != ':')
        return fail(s, ERR_BAD_REQUEST, "expected a colon");
    s->at++;
    if (!scan_value(s, &type))
        return false;
    s->pointer_len = before;
    return true;
}

/* Behind a member or an element: a comma (true in `more`), or the closing bracket. */
static bool scan_separator(struct scan *s, char close, bool *more)
{
    skip_space(s);
    if (s->at < s->end && (*s->at == ',' || *s->at == close)) {
        *more = *s->at++ == ',';
        return true;
    }
    return fail(s, ERR_BAD_REQUEST,
                close == '}' ? "expected a comma or }" : "expected a comma or ]");
}

static bool is_empty(struct scan *s, char close)
{
    s->at++;
    skip_space(s);
    if (s->at == s->end || *s->at != close)
        return false;
    s->at++;
    return true;
}

static bool scan_object(struct scan *s)
{
    struct keys keys = {.n = 0, .room = KEYS_KEPT};
    bool more = true, good = true;

    keys.all = keys.few;
    if (is_empty(s, '}'))
        return true;
    while (more && good)
        good = scan_member(s, &keys) && scan_separator(s, '}', &more);
    good = good && keys_are_unique(s, &keys);
    if (keys.all != keys.few)
        free(keys.all);
    return good;
}

static bool scan_array(struct scan *s)
{
    bool more = true, good = true;
    enum json_type type;

    if (is_empty(s, ']'))
        return true;
    for (int i = 0; more && good; i++) {
        char number[16];
        size_t before =
            push_pointer(s, number, (size_t)snprintf(number, sizeof number, "%d", i));
        good = scan_value(s, &type);
        if (good)
            s->pointer_len = before;
        good = good && scan_separator(s, ']', &more);
    }
    return good;
}

static bool scan_nested(struct scan *s, bool (*scan)(struct scan *))
{
    if (s->depth == JSON_DEPTH_MAX)
        return fail(s, ERR_INVALID, "nested deeper than 64 levels");
    s->depth++;
    bool good = scan(s);
    s->depth--;
    return good;
}

static enum json_type type_at(char c)
{
    switch (c) {
    case '{':
        return JSON_OBJECT;
    case '[':
        return JSON_ARRAY;
    case '"':
        return JSON_STRING;
    case 't':
        return JSON_TRUE;
    case 'f':
        return JSON_FALSE;
    case 'n':
        return JSON_NULL;
    default:
        return JSON_NUMBER;
    }
}

static bool scan_value(struct scan *s, enum json_type *out_type)
{
    skip_space(s);
    if (s->at == s->end)
        return fail(s, ERR_BAD_REQUEST, "the text ends where a value is expected");
    *out_type = type_at(*s->at);
    switch (*out_type) {
    case JSON_OBJECT:
        return scan_nested(s, scan_object);
    case JSON_ARRAY:
        return scan_nested(s, scan_array);
    case JSON_STRING:
        return scan_string(s);
    case JSON_TRUE:
        return scan_word(s, "true");
    case JSON_FALSE:
        return scan_word(s, "false");
    case JSON_NULL:
        return scan_word(s, "null");
    case JSON_NUMBER:
        break;
    }
    if (*s->at != '-' && (*s->at < '0' || *s->at > '9'))
        return fail(s, ERR_BAD_REQUEST, "expected a JSON value");
    return scan_number(s);
}

enum err json_check(const char *text, size_t len, enum json_type *out_type,
                    struct json_error *out_error)
{
    struct scan s = {.at = text, .start = text, .end = text + len, .error = out_error};
    enum json_type type = JSON_NULL;

    if (scan_value(&s, &type)) {
        skip_space(&s);
        if (s.at != s.end)
            fail(&s, ERR_BAD_REQUEST, "text after the end of the value");
    }
    if (s.e == ERR_OK)
        *out_type = type;
    return s.e;
}
