/* One recursive descent over the bytes, without a tree: about what memchr-speed allows,
 * and nothing is rewritten. Rejected: jansson for the bodies of jobs (34 us for 1 KiB,
 * and 1.10 comes back as 1.1000000000000001). Duplicate keys are found by comparing each
 * key with those before it in its object, up to a count beyond which nobody writes JSON
 * by hand; larger objects are sorted. */
#include "server/http/json.h"

#include "server/core/utf8.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Borrowed from the text, so an object without escapes in its keys costs no memory. */
struct key {
    const char *text;
    size_t len;
    char *decoded; /* where it is written with an escape; then `text` points there */
};

struct scan {
    const char *at, *start, *end;
    struct json_error *error;
    enum err e;
    int depth;
    size_t pointer_len;
};

/* The first failure is kept: it is the innermost, and those who called only pass it
 * on. */
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

/* Appends "/part" to the pointer, escaped (RFC 6901); returns the length to go back to.
 */
static size_t push_pointer(struct scan *s, const char *part, size_t len)
{
    size_t before = s->pointer_len, most = sizeof s->error->pointer - 1;
    char *out = s->error->pointer + before, *end = s->error->pointer + most;

    if (before + 1 + 2 * len > most)
        return before;
    for (*out++ = '/'; len > 0 && out < end; len--, part++) {
        if (*part == '~' || *part == '/')
            *out++ = '~';
        *out++ = (char)(*part == '~' ? '0' : *part == '/' ? '1' : *part);
    }
    s->pointer_len = (size_t)(out - s->error->pointer);
    return before;
}

/* -- strings ------------------------------------------------------------------------- */

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

/* Behind "\u": one code unit, or a pair of surrogates. PostgreSQL's json takes U+0000 and
 * a lone surrogate as they are written, and fails when somebody reads the value: better
 * refused here, where it comes in. */
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
            size_t len = utf8_len(s->at, (size_t)(s->end - s->at));
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

/* Takes the next byte when it is one of `these`. */
static bool take(struct scan *s, const char *these)
{
    if (s->at == s->end || *s->at == '\0' || strchr(these, *s->at) == NULL)
        return false;
    s->at++;
    return true;
}

static bool scan_number(struct scan *s)
{
    take(s, "-");
    if (!take(s, "0") && !scan_digits(s))
        return false;
    if (take(s, ".") && !scan_digits(s))
        return false;
    if (!take(s, "eE"))
        return true;
    take(s, "+-");
    return scan_digits(s);
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

/* Comparing each with all before it is quadratic, and a client chooses the number of
 * keys: up to here it is faster than sorting, beyond it would be an attack. Kept on the
 * stack of scan_object(), which nests 64 times: some 100 KiB. */
enum { KEYS_KEPT = 64 };

struct keys {
    struct key few[KEYS_KEPT], *all;
    size_t n, room;
    bool any_decoded;
};

static int compare_keys(const void *a, const void *b)
{
    const struct key *x = a, *y = b;

    if (x->len != y->len) /* any order will do */
        return x->len > y->len ? 1 : -1;
    return memcmp(x->text, y->text, x->len);
}

static bool grow_keys(struct keys *k)
{
    struct key *more = k->n < k->room ? k->all : malloc(2 * k->room * sizeof *more);

    if (more == NULL || more == k->all)
        return more != NULL;
    memcpy(more, k->all, k->n * sizeof *more);
    if (k->all != k->few)
        free(k->all);
    k->all = more;
    k->room *= 2;
    return true;
}

static void release_keys(struct keys *k)
{
    for (size_t i = 0; k->any_decoded && i < k->n; i++)
        free(k->all[i].decoded);
    if (k->all != k->few)
        free(k->all);
}

/* "n" and "\u006e" are the same key. */
static bool decode_key(struct keys *k, struct key *key)
{
    struct json_member m = {.value = key->text - 1, .value_len = key->len + 2};

    if (memchr(key->text, '\\', key->len) == NULL)
        return true;
    key->decoded = malloc(m.value_len);
    if (key->decoded == NULL)
        return false;
    k->any_decoded = true;
    key->len = json_decode(&m, key->decoded);
    key->text = key->decoded;
    return true;
}

static bool add_key(struct scan *s, struct keys *k, const char *text, size_t len)
{
    struct key key = {.text = text, .len = len};

    if (!grow_keys(k) || !decode_key(k, &key))
        return fail(s, ERR_NO_MEMORY, "out of memory");
    k->all[k->n++] = key;
    for (size_t i = 0; k->n <= KEYS_KEPT && i + 1 < k->n; i++) {
        if (compare_keys(&k->all[i], &key) == 0)
            return fail(s, ERR_INVALID, "the key stands twice in this object");
    }
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

/* The pointer is set back only when all went well: after a failure it names the place. */
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
    release_keys(&keys);
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

/* The depth is what bounds the recursion, and with it the stack, whatever a client
 * sends. */
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
