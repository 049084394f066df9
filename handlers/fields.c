/* A table of readers by type. Rejected: jansson's json_unpack(), which stops at the first
 * mistake and cannot say where it is; and a schema validator at run time, which is more
 * code than the eight types that the API has. */
#include "handlers/fields.h"

#include "handlers/time.h"
#include "server/core/buf.h"
#include "server/core/cleanup.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { ERRORS_MAX = 20, STRING_MAX = 64 };

/* One object while it is read. Nothing stops at the first mistake, so the count decides
 * at the end; `out` may then be half filled, and nobody looks at it. */
struct reading {
    struct request *req;
    const char *where;
    int errors;
};

#define WRONG(r, m, ...) wrong(r, m, req_printf((r)->req, __VA_ARGS__))

/* One part of a JSON pointer (RFC 6901), at most 100 bytes of it. */
static const char *pointer_part(struct request *req, const char *key, size_t len)
{
    char *part, *out;

    len = len < 100 ? len : 100;
    part = out = req_alloc(req, 2 * len + 1);
    for (size_t i = 0; i < len; i++) {
        if (key[i] == '~' || key[i] == '/')
            *out++ = '~';
        *out++ = (char)(key[i] == '~' ? '0' : key[i] == '/' ? '1' : key[i]);
    }
    return part;
}

static void wrong(struct reading *r, const struct json_member *m, const char *what)
{
    const char *pointer;

    if (r->errors++ >= ERRORS_MAX)
        return;
    pointer =
        req_printf(r->req, "%s/%s", r->where, pointer_part(r->req, m->key, m->key_len));
    if (req_fail_at(r->req, ERR_INVALID, pointer, "%s", what) == ERR_OK)
        return; /* it answers the error that it is given */
}

/* Characters, not bytes: what the limits of the API count. */
static int64_t utf8_length(const char *text)
{
    int64_t n = 0;

    for (; *text != '\0'; text++)
        n += ((unsigned char)*text & 0xc0) != 0x80;
    return n;
}

/* Decoding never makes a text longer: the shortest escape, two bytes, stands for one. */
static const char *decode(struct request *req, const struct json_member *m)
{
    char *text = req_alloc(req, m->value_len + 1);

    json_decode(m, text);
    return text;
}

static void read_bool(struct reading *r, const struct field *f,
                      const struct json_member *m, void *out)
{
    (void)f;
    if (m->type != JSON_TRUE && m->type != JSON_FALSE)
        WRONG(r, m, "must be true or false");
    else
        *(bool *)out = m->type == JSON_TRUE;
}

static void read_int(struct reading *r, const struct field *f,
                     const struct json_member *m, void *out)
{
    if (!json_int(m, f->least, f->most, out))
        WRONG(r, m, "must be an integer from %" PRId64 " to %" PRId64, f->least, f->most);
}

/* strtod() reads the locale's decimal point, but nobody calls setlocale(), so that is the
 * point of JSON. A number that is too large for a double is infinite, and so above every
 * limit. */
static void read_number(struct reading *r, const struct field *f,
                        const struct json_member *m, void *out)
{
    double value = m->type == JSON_NUMBER
                       ? strtod(req_strdup(r->req, m->value, m->value_len), NULL)
                       : -1;

    if (m->type != JSON_NUMBER || value < (double)f->least || value > (double)f->most)
        WRONG(r, m, "must be a number from %" PRId64 " to %" PRId64, f->least, f->most);
    else
        *(double *)out = value;
}

/* Names stand in URLs, log lines, labels and file names of others: no character that any
 * of them would have to escape. */
bool field_is_name(const char *text)
{
    static const char allowed[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.:/-";

    return text[strspn(text, allowed)] == '\0';
}

static void read_text(struct reading *r, const struct field *f,
                      const struct json_member *m, void *out)
{
    if (m->type != JSON_STRING) {
        WRONG(r, m, "must be a string");
        return;
    }
    const char *text = decode(r->req, m);
    int64_t len = utf8_length(text);
    if (len < f->least || len > f->most)
        WRONG(r, m, "must have %" PRId64 " to %" PRId64 " characters, not %" PRId64,
              f->least, f->most, len);
    else if (f->type == FIELD_NAME && !field_is_name(text))
        WRONG(r, m, "may have letters, digits and _ . : / - only");
    else
        *(const char **)out = text;
}

/* Not decoded: a time has no character that anybody would write with an escape. */
static void read_time(struct reading *r, const struct field *f,
                      const struct json_member *m, void *out)
{
    (void)f;
    if (m->type != JSON_STRING || !time_parse(m->value + 1, m->value_len - 2, out))
        WRONG(r, m, "must be a time with offset, as 2026-11-23T20:00:00Z");
}

/* Kept as the bytes that came, and so borrowed from the body, which lives as long as the
 * request. */
static void read_object(struct reading *r, const struct field *f,
                        const struct json_member *m, void *out)
{
    if (m->type != JSON_OBJECT)
        WRONG(r, m, "must be an object");
    else if ((int64_t)m->value_len > f->most)
        WRONG(r, m, "has %zu bytes; at most %" PRId64 " are taken", m->value_len,
              f->most);
    else
        *(struct span *)out = (struct span){.text = m->value, .len = m->value_len};
}

/* The same of an array, whose elements the caller knows better. */
static void read_array(struct reading *r, const struct field *f,
                       const struct json_member *m, void *out)
{
    (void)f;
    if (m->type != JSON_ARRAY)
        WRONG(r, m, "must be an array");
    else
        *(struct span *)out = (struct span){.text = m->value, .len = m->value_len};
}

/* PostgreSQL's array literal: within quotes only the quote and the backslash need a
 * backslash. Quoted always, because NULL without quotes would be a null. */
static void add_array_element(struct buf *b, const char *text)
{
    buf_addc(b, b->len > 1 ? ',' : '"');
    if (b->len > 2)
        buf_addc(b, '"');
    for (; *text != '\0'; text++) {
        if (*text == '"' || *text == '\\')
            buf_addc(b, '\\');
        buf_addc(b, *text);
    }
    buf_addc(b, '"');
}

static bool is_status(const char *text, size_t len)
{
    static const char *const known[] = {"todo",   "doing",     "succeeded",
                                        "failed", "cancelled", "aborted"};

    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (strlen(known[i]) == len && memcmp(known[i], text, len) == 0)
            return true;
    }
    return false;
}

/* The words themselves become the literal: they are known words by then, so nothing in
 * them needs quotes. */
const char *status_list(struct request *req, const char *words)
{
    for (const char *p = words;; p++) {
        size_t len = strcspn(p, ",");
        if (!is_status(p, len))
            return NULL;
        p += len;
        if (*p == '\0')
            return req_printf(req, "{%s}", words);
    }
}

static bool is_good_element(const struct field *f, const char *text)
{
    return f->type == FIELD_STATUSES ? is_status(text, strlen(text))
                                     : *text != '\0' && utf8_length(text) <= STRING_MAX;
}

/* ["a","b"] -> {"a","b"} */
static void read_strings(struct reading *r, const struct field *f,
                         const struct json_member *m, void *out)
{
    CLEANUP(buf_release) struct buf b = BUF_INIT;
    struct json_member element;
    int64_t n = 0;
    bool good = m->type == JSON_ARRAY;

    buf_addc(&b, '{');
    for (struct json_cursor c = json_members(m->value, m->value_len);
         good && json_next(&c, &element);) {
        good = element.type == JSON_STRING && n++ < f->most;
        const char *text = good ? decode(r->req, &element) : "";
        good = good && is_good_element(f, text);
        add_array_element(&b, text);
    }
    buf_addc(&b, '}');
    if (f->type == FIELD_STATUSES && (!good || n == 0))
        WRONG(r, m, "must be an array of statuses: " STATUS_WORDS);
    else if (!good || b.failed)
        WRONG(r, m,
              "must be an array of at most %" PRId64 " strings of 1 to %d characters",
              f->most, STRING_MAX);
    else
        *(const char **)out = req_strdup(r->req, b.text, b.len);
}

/* [1,2] -> [1,2], and 1 -> [1]: each checked to be an id. */
static void read_ids(struct reading *r, const struct field *f,
                     const struct json_member *m, void *out)
{
    CLEANUP(buf_release) struct buf b = BUF_INIT;
    struct json_member element;
    struct json_cursor c = json_members(m->value, m->value_len);
    bool alone = m->type == JSON_NUMBER, good = alone || m->type == JSON_ARRAY;
    int64_t n = 0, id;

    while (good && (alone ? n == 0 : json_next(&c, &element))) {
        good = json_int(alone ? m : &element, 1, JOB_ID_MAX, &id) && n++ < f->most;
        buf_addf(&b, "%c%" PRId64, n == 1 ? '[' : ',', id);
    }
    if (!good)
        WRONG(r, m, "must be an id or an array of at most %" PRId64 " ids", f->most);
    else if (n > 0)
        *(const char **)out = req_printf(r->req, "%s]", b.text);
}

static void read_field(struct reading *r, const struct field *f,
                       const struct json_member *m, void *out)
{
    static void (*const readers[])(struct reading *, const struct field *,
                                   const struct json_member *, void *) = {
        [FIELD_BOOL] = read_bool,        [FIELD_INT] = read_int,
        [FIELD_NUMBER] = read_number,    [FIELD_TEXT] = read_text,
        [FIELD_NAME] = read_text,        [FIELD_TIME] = read_time,
        [FIELD_OBJECT] = read_object,    [FIELD_STRINGS] = read_strings,
        [FIELD_STATUSES] = read_strings, [FIELD_ARRAY] = read_array,
        [FIELD_IDS] = read_ids,
    };

    if (m->type != JSON_NULL)
        readers[f->type](r, f, m, (char *)out + f->offset);
}

/* A walk over the members, not over the table: so an unknown member is noticed. It is an
 * error, because a misspelt option that is passed over ("abrot") would do the opposite of
 * what was asked, and say 200. */
enum err fields_read(struct request *req, const char *where, struct span object,
                     const struct field *fields, size_t n_fields, void *out)
{
    struct reading r = {.req = req, .where = where};
    struct json_member m;

    for (struct json_cursor c = json_members(object.text, object.len);
         json_next(&c, &m);) {
        size_t i = 0;
        while (i < n_fields && !json_key_is(&m, fields[i].name))
            i++;
        if (i < n_fields)
            read_field(&r, &fields[i], &m, out);
        else
            wrong(&r, &m, "is not a field of this");
    }
    return r.errors == 0 ? ERR_OK : ERR_INVALID;
}

/* The one place where a body is validated as JSON. Everything that walks over it later
 * (json_walk.c) relies on that and looks for no errors. */
enum err fields_check_body(struct request *req, enum json_type wanted, struct span *out)
{
    struct json_error error = {.what = ""};
    enum json_type type;
    size_t len;
    const char *text = req_body(req, &len);
    enum err e = json_check(text, len, &type, &error);

    if (e == ERR_INVALID)
        return req_fail_at(req, e, error.pointer, "%s (byte %zu)", error.what,
                           error.offset);
    if (e != ERR_OK)
        return req_fail(req, e, "the body is not JSON: %s at byte %zu", error.what,
                        error.offset);
    if (type != wanted)
        return req_fail_at(req, ERR_INVALID, "", "must be %s",
                           wanted == JSON_ARRAY ? "an array" : "an object");
    *out = (struct span){.text = text, .len = len};
    return ERR_OK;
}

enum err fields_read_options(struct request *req, const struct field *fields,
                             size_t n_fields, void *out)
{
    struct span body = {.text = NULL};
    size_t len;

    req_body(req, &len);
    if (len == 0)
        return ERR_OK;
    enum err e = fields_check_body(req, JSON_OBJECT, &body);
    return e == ERR_OK ? fields_read(req, "", body, fields, n_fields, out) : e;
}
