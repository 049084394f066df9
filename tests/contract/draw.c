#include "tests/contract/draw.h"

#include "tests/contract/schema.h"
#include "tests/support/service.h"

#include <string.h>

#define COUNT(array) (unsigned)(sizeof(array) / sizeof *(array))

enum { DEPTH_MAX = 5, VIOLATIONS = 12, IDS = 40, LONG_MAX_CHARS = 400 };

struct draw draw_begin(const json_t *document, uint64_t seed)
{
    return (struct draw){.document = document, .state = seed, .violations = VIOLATIONS};
}

/* splitmix64 (Steele, Lea, Flood 2014). */
static uint64_t next(struct draw *d)
{
    uint64_t z = (d->state += UINT64_C(0x9e3779b97f4a7c15));

    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

unsigned draw_below(struct draw *d, unsigned n)
{
    return (unsigned)(next(d) % n);
}

bool draw_once_in(struct draw *d, unsigned n)
{
    return draw_below(d, n) == 0;
}

const char *draw_one_of(struct draw *d, const char *const *texts, unsigned n)
{
    return texts[draw_below(d, n)];
}

/* -- texts --------------------------------------------------------------------------- */

const char *draw_text(struct draw *d)
{
    static const char *const odd[] = {
        "",           " ",       "a b",
        "a,b",        "a\"b",    "\\",
        "'",          "%",       "%00",
        "\xc3\xa4",   "\xff",    "\xed\xa0\x80",
        "\t",         "*",       "null",
        "-1",         "0",       "1e3",
        "{}",         "[]",      "{\"a\":1}",
        "1,2,3",      "1,,2",    "9007199254740993",
        "a'; --",     "$1",      "../jobs",
        "\"1\"",      "W/\"1\"", "d1z",
        "a5",         "wait=1",  "\xf0\x9f\x90\xa2",
        "todo,doing", "true",    "99999999999999999999",
    };
    size_t len = 1 + draw_below(d, 12);

    if (!draw_once_in(d, 3))
        return draw_one_of(d, odd, COUNT(odd));
    char *text = text_of("%*s", (int)len, "");
    for (size_t i = 0; i < len; i++)
        text[i] = (char)(' ' + draw_below(d, 95));
    return text;
}

static const char *draw_time(struct draw *d)
{
    static const char *const times[] = {
        "2026-11-23T20:00:00Z",        "1970-01-01T00:00:00Z",
        "9999-12-31T23:59:59.999999Z", "2126-01-01T00:00:00+14:00",
        "2026-02-30T00:00:00Z",        "0001-01-01T00:00:00Z",
        "2030-01-01T00:00:00-23:59",   "2026-11-23",
    };

    return draw_one_of(d, times, COUNT(times));
}

/* What would find nothing, or be refused always, if it were drawn from all texts. */
static const char *draw_name(struct draw *d, const char *name)
{
    static const char *const tasks[] = {"echo", "sleep", "fail", "none"};
    static const char *const names[] = {"default", "a", "b", "mails", "x.y:z-1"};
    static const char *const crons[] = {"@daily",      "*/5 * * * *", "0 0 31 2 *",
                                        "* * * * mon", "61 * * * *",  "@every 5m"};

    return strstr(name, "task") != NULL
               ? draw_one_of(d, tasks, draw_once_in(d, 8) ? 4 : 1)
           : strcmp(name, "cron") == 0 ? draw_one_of(d, crons, COUNT(crons))
                                       : draw_one_of(d, names, COUNT(names));
}

static json_t *draw_string(struct draw *d, const json_t *schema, const char *name)
{
    const json_t *example = json_object_get(schema, "example");
    const char *format = json_string_value(json_object_get(schema, "format"));
    json_int_t most = json_integer_value(json_object_get(schema, "maxLength"));

    if (format != NULL && strcmp(format, "date-time") == 0)
        return json_string(draw_time(d));
    if (json_is_string(example) && draw_once_in(d, 4))
        return json_deep_copy(example);
    if (most > 0 && most < LONG_MAX_CHARS && draw_once_in(d, 10))
        return json_string(text_of("%0*d", (int)most + (int)draw_below(d, 2), 0));
    if (!draw_once_in(d, 4))
        return json_string(draw_name(d, name));
    json_t *odd = json_string(draw_text(d)); /* NULL where it is not UTF-8 */
    return odd != NULL ? odd : json_string("");
}

/* -- the rest ------------------------------------------------------------------------ */

static json_t *draw_integer(struct draw *d, const json_t *schema)
{
    const json_t *least = json_object_get(schema, "minimum");
    const json_t *most = json_object_get(schema, "maximum");
    json_int_t from = json_is_number(least) ? (json_int_t)json_number_value(least) : -3;

    switch (draw_below(d, 12)) {
    case 0:
        return json_integer(from);
    case 1:
        return json_integer(json_is_number(most) ? (json_int_t)json_number_value(most)
                                                 : INT32_MAX);
    case 2:
        return d->violations > 0 ? json_integer(from - 1) : json_integer(from);
    case 3:
        return json_integer(INT64_MAX);
    default:
        return json_integer(from + draw_below(d, IDS));
    }
}

static json_t *draw_array(struct draw *d, const json_t *schema, const char *name)
{
    json_t *array = json_array();
    unsigned n = draw_below(d, 4);

    while (n-- > 0)
        json_array_append_new(array,
                              draw_value(d, json_object_get(schema, "items"), name));
    return array;
}

static bool is_required(const json_t *schema, const char *name)
{
    const json_t *one;
    size_t i;

    json_array_foreach(json_object_get(schema, "required"), i, one)
    {
        if (strcmp(json_string_value(one), name) == 0)
            return true;
    }
    return false;
}

static json_t *draw_object(struct draw *d, const json_t *schema)
{
    json_t *object = json_object(), *of_name;
    const char *name;

    json_object_foreach(json_object_get(schema, "properties"), name, of_name)
    {
        if (is_required(schema, name) ? draw_once_in(d, 30) : !draw_once_in(d, 4))
            continue;
        json_object_set_new(object, name, draw_value(d, of_name, name));
    }
    if (d->violations > 0 && draw_once_in(d, 20))
        json_object_set_new(object, "nonsense", json_true());
    return object;
}

static json_t *draw_anything(struct draw *d)
{
    json_t *const all[] = {json_null(),
                           json_true(),
                           json_integer(-1),
                           json_real(1.5),
                           json_string("x"),
                           json_array(),
                           json_object(),
                           json_string(""),
                           json_integer(INT64_MAX),
                           json_pack("[{}, []]"),
                           json_string("\xc3\xa4")};

    return all[draw_below(d, COUNT(all))];
}

static json_t *draw_typed(struct draw *d, const char *type, const json_t *schema,
                          const char *name)
{
    if (strcmp(type, "string") == 0)
        return draw_string(d, schema, name);
    if (strcmp(type, "integer") == 0)
        return draw_integer(d, schema);
    if (strcmp(type, "number") == 0)
        return draw_once_in(d, 2) ? draw_integer(d, schema) : json_real(0.25);
    if (strcmp(type, "boolean") == 0)
        return json_boolean(draw_once_in(d, 2));
    if (strcmp(type, "array") == 0)
        return draw_array(d, schema, name);
    return strcmp(type, "object") == 0 ? draw_object(d, schema) : json_null();
}

json_t *draw_value(struct draw *d, const json_t *schema, const char *name)
{
    static const char *const choices[] = {"oneOf", "anyOf", "enum"};

    if (schema == NULL || d->depth > DEPTH_MAX ||
        (d->violations > 0 && draw_once_in(d, (unsigned)d->violations)))
        return draw_anything(d);
    schema = schema_resolve(d->document, schema);
    for (unsigned i = 0; i < COUNT(choices); i++) {
        const json_t *of = json_object_get(schema, choices[i]);
        if (of == NULL)
            continue;
        const json_t *one =
            json_array_get(of, draw_below(d, (unsigned)json_array_size(of)));
        return i == 2 ? json_deep_copy(one) : draw_value(d, one, name);
    }
    const json_t *type = json_object_get(schema, "type");
    if (json_is_array(type))
        type = json_array_get(type, draw_below(d, (unsigned)json_array_size(type)));
    d->depth++;
    json_t *value =
        draw_typed(d, type != NULL ? json_string_value(type) : "object", schema, name);
    d->depth--;
    return value;
}
