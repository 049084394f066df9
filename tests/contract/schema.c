#include "tests/contract/schema.h"

#include "tests/support/service.h"

#include <criterion/criterion.h>
#include <string.h>

struct check {
    const json_t *document;
    const char *at; /* JSON pointer of the value */
    const char *why;
};

static void look(struct check *c, const json_t *schema, const json_t *value);

#define MISMATCH(c, ...)                                                                 \
    ((c)->why =                                                                          \
         (c)->why != NULL ? (c)->why : text_of("%s: %s", (c)->at, text_of(__VA_ARGS__)))

const json_t *schema_resolve(const json_t *document, const json_t *node)
{
    const char *ref = json_string_value(json_object_get(node, "$ref"));

    if (ref == NULL || strncmp(ref, "#/", 2) != 0)
        return node;
    node = document;
    for (const char *p = ref + 2; node != NULL; p++) {
        size_t len = strcspn(p, "/");
        node = json_object_getn(node, p, len);
        p += len;
        if (*p == '\0')
            break;
    }
    cr_assert_not_null(node, "%s leads nowhere", ref);
    return schema_resolve(document, node);
}

static bool is_of_type(const char *type, const json_t *value)
{
    static const char *const names[] = {
        [JSON_OBJECT] = "object",   [JSON_ARRAY] = "array", [JSON_STRING] = "string",
        [JSON_INTEGER] = "integer", [JSON_REAL] = "number", [JSON_TRUE] = "boolean",
        [JSON_FALSE] = "boolean",   [JSON_NULL] = "null",
    };

    return strcmp(names[json_typeof(value)], type) == 0 ||
           (json_is_integer(value) && strcmp(type, "number") == 0);
}

/* -- one function a keyword ---------------------------------------------------------- */

typedef void keyword_fn(struct check *c, const json_t *schema, const json_t *word,
                        const json_t *value);

static void check_type(struct check *c, const json_t *schema, const json_t *word,
                       const json_t *value)
{
    const json_t *type;
    size_t i;
    bool good = json_is_string(word) && is_of_type(json_string_value(word), value);

    (void)schema;
    json_array_foreach(word, i, type) good =
        good || is_of_type(json_string_value(type), value);
    if (!good)
        MISMATCH(c, "is not of type %s", json_dumps(word, JSON_ENCODE_ANY));
}

static void check_enum(struct check *c, const json_t *schema, const json_t *word,
                       const json_t *value)
{
    const json_t *one;
    size_t i;

    (void)schema;
    json_array_foreach(word, i, one)
    {
        if (json_equal(one, value))
            return;
    }
    MISMATCH(c, "is none of %s", json_dumps(word, 0));
}

static void check_required(struct check *c, const json_t *schema, const json_t *word,
                           const json_t *value)
{
    const json_t *name;
    size_t i;

    (void)schema;
    if (!json_is_object(value))
        return;
    json_array_foreach(word, i, name)
    {
        if (json_object_get(value, json_string_value(name)) == NULL)
            MISMATCH(c, "has no %s", json_string_value(name));
    }
}

static void look_inside(struct check *c, const char *name, const json_t *schema,
                        const json_t *value)
{
    struct check inner = *c;

    inner.at = text_of("%s/%s", c->at, name);
    look(&inner, schema, value);
    c->why = inner.why;
}

static void check_properties(struct check *c, const json_t *schema, const json_t *word,
                             const json_t *value)
{
    const char *name;
    json_t *of_name;

    (void)schema;
    json_object_foreach((json_t *)(uintptr_t)word, name, of_name)
    {
        const json_t *member = json_object_get(value, name);
        if (member != NULL)
            look_inside(c, name, of_name, member);
    }
}

static void check_additional(struct check *c, const json_t *schema, const json_t *word,
                             const json_t *value)
{
    const json_t *known = json_object_get(schema, "properties");
    const char *name;
    json_t *member;

    json_object_foreach((json_t *)(uintptr_t)value, name, member)
    {
        if (json_object_get(known, name) != NULL)
            continue;
        if (json_is_false(word))
            MISMATCH(c, "has %s, which is not documented", name);
        else if (json_is_object(word))
            look_inside(c, name, word, member);
    }
}

static void check_items(struct check *c, const json_t *schema, const json_t *word,
                        const json_t *value)
{
    const json_t *element;
    size_t i;

    (void)schema;
    json_array_foreach(value, i, element)
        look_inside(c, text_of("%zu", i), word, element);
}

static int count_matches(struct check *c, const json_t *schemas, const json_t *value)
{
    const json_t *one;
    size_t i;
    int n = 0;

    json_array_foreach(schemas, i, one) n +=
        schema_mismatch(c->document, one, value) == NULL;
    return n;
}

static void check_one_of(struct check *c, const json_t *schema, const json_t *word,
                         const json_t *value)
{
    (void)schema;
    if (count_matches(c, word, value) != 1)
        MISMATCH(c, "is not exactly one of oneOf: %.300s",
                 json_dumps(value, JSON_ENCODE_ANY));
}

static void check_any_of(struct check *c, const json_t *schema, const json_t *word,
                         const json_t *value)
{
    (void)schema;
    if (count_matches(c, word, value) == 0)
        MISMATCH(c, "is none of anyOf");
}

/* minimum and its kin: what is compared depends on the type of the value. */
static double size_of(const json_t *value)
{
    const char *text = json_string_value(value);
    double n = 0;

    if (json_is_number(value))
        return json_number_value(value);
    if (json_is_array(value))
        return (double)json_array_size(value);
    for (; text != NULL && *text != '\0'; text++)
        n += ((unsigned char)*text & 0xc0) != 0x80;
    return n;
}

static void check_least(struct check *c, const json_t *schema, const json_t *word,
                        const json_t *value)
{
    (void)schema;
    if (!json_is_null(value) && size_of(value) < json_number_value(word))
        MISMATCH(c, "is too small or too short");
}

static void check_most(struct check *c, const json_t *schema, const json_t *word,
                       const json_t *value)
{
    (void)schema;
    if (!json_is_null(value) && size_of(value) > json_number_value(word))
        MISMATCH(c, "is too large or too long");
}

static void ignore(struct check *c, const json_t *schema, const json_t *word,
                   const json_t *value)
{
    (void)c;
    (void)schema;
    (void)word;
    (void)value;
}

static const struct keyword {
    const char *name;
    keyword_fn *check;
} keywords[] = {
    {"type", check_type},         {"enum", check_enum},
    {"required", check_required}, {"properties", check_properties},
    {"items", check_items},       {"additionalProperties", check_additional},
    {"oneOf", check_one_of},      {"anyOf", check_any_of},
    {"minimum", check_least},     {"minLength", check_least},
    {"minItems", check_least},    {"maximum", check_most},
    {"maxLength", check_most},    {"maxItems", check_most},
    {"description", ignore},      {"title", ignore},
    {"format", ignore},           {"default", ignore},
    {"example", ignore},          {"examples", ignore},
    {"pattern", ignore},
};

static void look(struct check *c, const json_t *schema, const json_t *value)
{
    const char *name;
    json_t *word;

    schema = schema_resolve(c->document, schema);
    json_object_foreach((json_t *)(uintptr_t)schema, name, word)
    {
        size_t i = 0;
        while (i < sizeof keywords / sizeof *keywords &&
               strcmp(keywords[i].name, name) != 0)
            i++;
        if (i == sizeof keywords / sizeof *keywords)
            MISMATCH(c, "its schema says %s, which this test does not know", name);
        else
            keywords[i].check(c, schema, word, value);
    }
}

const char *schema_mismatch(const json_t *document, const json_t *schema,
                            const json_t *value)
{
    struct check c = {.document = document, .at = ""};

    look(&c, schema, value);
    return c.why;
}
