/* The reading of JSON members into C, on a request that no connection stands behind. */
#include "handlers/fields.h"

#include "server/http/private.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

struct values {
    bool flag;
    int64_t count, at_us;
    double ratio;
    const char *text, *name, *tags;
    struct span object;
};

static const struct field fields[] = {
    {"flag", FIELD_BOOL, offsetof(struct values, flag), 0, 0},
    {"count", FIELD_INT, offsetof(struct values, count), -5, 5},
    {"ratio", FIELD_NUMBER, offsetof(struct values, ratio), 0, 10},
    {"text", FIELD_TEXT, offsetof(struct values, text), 1, 4},
    {"name", FIELD_NAME, offsetof(struct values, name), 1, 8},
    {"at", FIELD_TIME, offsetof(struct values, at_us), 0, 0},
    {"object", FIELD_OBJECT, offsetof(struct values, object), 0, 16},
    {"tags", FIELD_STRINGS, offsetof(struct values, tags), 0, 3},
};

static struct request *request_of(const char *body)
{
    static struct http http;
    static struct request *req;

    req = calloc(1, sizeof *req);
    cr_assert_not_null(req);
    req->http = &http;
    req->arena = req->first;
    req->room = sizeof req->first;
    req->last_error = &req->errors;
    buf_init(&req->body);
    buf_adds(&req->body, body);
    return req;
}

static enum err read_body(struct request *req, struct values *v)
{
    struct span object;
    enum err e = fields_check_body(req, JSON_OBJECT, &object);

    return e != ERR_OK ? e
                       : fields_read(req, "/0", object, fields,
                                     sizeof fields / sizeof *fields, v);
}

Test(fields, each_kind_is_read)
{
    struct values v = {.count = 7};
    struct request *req = request_of(
        "{\"flag\":true,\"count\":-5,\"ratio\":2.5,\"text\":\"\\u00e9\\ud83d\\ude00ab\","
        "\"name\":"
        "\"a.b:c/-_\",\"at\":\"1970-01-01T00:00:01Z\",\"object\":{ \"n\":1.10 },"
        "\"tags\":[\"a\",\"b\\\"\\\\\",\"{,}\"]}");

    cr_assert_eq(read_body(req, &v), ERR_OK, "%s", req->detail);
    cr_assert(v.flag);
    cr_assert_eq(v.count, -5);
    cr_assert_float_eq(v.ratio, 2.5, 0);
    cr_assert_str_eq(v.text, "\xc3\xa9\xf0\x9f\x98\x80"
                             "ab");
    cr_assert_str_eq(v.name, "a.b:c/-_");
    cr_assert_eq(v.at_us, 1000000);
    cr_assert_eq(v.object.len, 12u);
    cr_assert_eq(memcmp(v.object.text, "{ \"n\":1.10 }", 12), 0);
    cr_assert_str_eq(v.tags, "{\"a\",\"b\\\"\\\\\",\"{,}\"}");
    request_free(req);
}

Test(fields, null_is_the_same_as_absent)
{
    struct values v = {.count = 7, .text = "before"};
    struct request *req = request_of("{\"count\":null,\"text\":null,\"tags\":null}");

    cr_assert_eq(read_body(req, &v), ERR_OK);
    cr_assert_eq(v.count, 7);
    cr_assert_str_eq(v.text, "before");
    cr_assert_null(v.tags);
    request_free(req);
}

Test(fields, an_empty_array_is_an_empty_array)
{
    struct values v = {.tags = NULL};
    struct request *req = request_of("{\"tags\":[]}");

    cr_assert_eq(read_body(req, &v), ERR_OK);
    cr_assert_str_eq(v.tags, "{}");
    request_free(req);
}

Test(fields, what_does_not_fit_is_refused_and_leaves_the_value_alone)
{
    static const char *const wrong[] = {
        "{\"flag\":1}",
        "{\"flag\":\"true\"}",
        "{\"count\":6}",
        "{\"count\":-6}",
        "{\"count\":1.0}",
        "{\"count\":\"1\"}",
        "{\"count\":99999999999999999999}",
        "{\"ratio\":-0.1}",
        "{\"ratio\":10.1}",
        "{\"ratio\":1e999}",
        "{\"ratio\":\"1\"}",
        "{\"text\":\"\"}",
        "{\"text\":\"12345\"}",
        "{\"text\":1}",
        "{\"text\":\"\\u00e9\\u00e9\\u00e9\\u00e9\\u00e9\"}",
        "{\"name\":\"a b\"}",
        "{\"name\":\"\\u00e9\"}",
        "{\"name\":\"\"}",
        "{\"at\":0}",
        "{\"at\":\"\"}",
        "{\"at\":\"tomorrow\"}",
        "{\"object\":[]}",
        "{\"object\":{\"n\":1.100000000}}",
        "{\"object\":\"{}\"}",
        "{\"tags\":{}}",
        "{\"tags\":\"a\"}",
        "{\"tags\":[1]}",
        "{\"tags\":[\"\"]}",
        "{\"tags\":[null]}",
        "{\"tags\":[\"a\",\"b\",\"c\",\"d\"]}",
        ("{\"tags\":["
         "\"12345678901234567890123456789012345678901234567890123456789012345\"]}"),
        "{\"other\":1}",
        "{\"Flag\":true}",
        "{\"fl\\u0061g\":true}",
    };

    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct values v = {.count = 7}, before = v;
        struct request *req = request_of(wrong[i]);
        cr_expect_eq(read_body(req, &v), ERR_INVALID, "%s", wrong[i]);
        cr_expect_eq(memcmp(&v, &before, sizeof v), 0, "%s", wrong[i]);
        cr_expect_not_null(req->errors, "%s", wrong[i]);
        request_free(req);
    }
}

Test(fields, all_mistakes_are_listed_each_with_its_place)
{
    struct values v = {.count = 7};
    struct request *req = request_of("{\"count\":6,\"x/y~z\":1,\"text\":\"12345\"}");
    const struct field_error *e;

    cr_assert_eq(read_body(req, &v), ERR_INVALID);
    e = req->errors;
    cr_assert_str_eq(e->pointer, "/0/count");
    e = e->next;
    cr_assert_str_eq(e->pointer, "/0/x~1y~0z");
    e = e->next;
    cr_assert_str_eq(e->pointer, "/0/text");
    cr_assert_null(e->next);
    request_free(req);
}

Test(fields, a_thousand_mistakes_are_twenty)
{
    struct values v = {.count = 7};
    struct request *req;
    struct buf b = BUF_INIT;
    int n = 0;

    buf_addc(&b, '{');
    for (int i = 0; i < 1000; i++)
        buf_addf(&b, "\"k%d\":%d,", i, i);
    buf_adds(&b, "\"last\":0}");
    req = request_of(b.text);
    cr_assert_eq(read_body(req, &v), ERR_INVALID);
    for (const struct field_error *e = req->errors; e != NULL; e = e->next)
        n++;
    cr_assert_eq(n, 20);
    request_free(req);
    buf_release(&b);
}

Test(fields, a_body_that_is_not_json_says_where)
{
    struct values v = {.count = 7};
    struct request *req = request_of("{\"count\":6,}");

    cr_assert_eq(read_body(req, &v), ERR_BAD_REQUEST);
    cr_assert_not_null(strstr(req->detail, "at byte 11"), "%s", req->detail);
    request_free(req);
    req = request_of("[]");
    cr_assert_eq(read_body(req, &v), ERR_INVALID);
    cr_assert_str_eq(req->errors->pointer, "");
    request_free(req);
    req = request_of("");
    cr_assert_eq(read_body(req, &v), ERR_BAD_REQUEST);
    request_free(req);
}
