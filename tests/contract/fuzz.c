/* Every operation of openapi.json, with requests that are drawn from its schemas and with
 * some that violate them: each answer is documented, fits its schema and is no 5xx.
 *
 * CONTRACT_SEED and CONTRACT_REQUESTS say which and how many; the seed is in every
 * message of a failure. */
#include "tests/contract/draw.h"
#include "tests/contract/schema.h"
#include "tests/contract/seen.h"
#include "tests/support/cluster.h"

#include <stdlib.h>
#include <string.h>

TestSuite(fuzz, .timeout = 300, .fini = service_stop_all);

enum { REQUESTS = 1500, EACH_MAX = 64 };

struct target {
    const char *template, *method;
    const json_t *spec, *shared; /* shared: the parameters of the path */
};

struct fuzz {
    struct seen *seen;
    struct service *service;
    struct draw draw;
    struct target targets[EACH_MAX];
    unsigned n;
};

static int64_t number_of(const char *variable, int64_t otherwise)
{
    const char *text = getenv(variable);

    return text != NULL ? strtoll(text, NULL, 10) : otherwise;
}

static void find_targets(struct fuzz *f)
{
    static const char *const methods[][2] = {
        {"get", "GET"}, {"post", "POST"}, {"put", "PUT"}, {"delete", "DELETE"}};
    const char *template;
    json_t *path;

    json_object_foreach(json_object_get(f->draw.document, "paths"), template, path)
    {
        for (size_t i = 0; i < sizeof methods / sizeof *methods; i++) {
            const json_t *spec = json_object_get(path, methods[i][0]);
            if (spec == NULL)
                continue;
            cr_assert_lt(f->n, (unsigned)EACH_MAX);
            f->targets[f->n++] = (struct target){template, methods[i][1], spec,
                                                 json_object_get(path, "parameters")};
        }
    }
}

/* -- one request --------------------------------------------------------------------- */

struct drawn {
    const char *path, *query, *headers, *body;
};

static const char *escaped(const char *text)
{
    const char *out = "";

    for (; *text != '\0'; text++) {
        bool plain = (*text >= '0' && *text <= '9') || (*text >= 'a' && *text <= 'z') ||
                     (*text >= 'A' && *text <= 'Z') || strchr("-._~,:*", *text) != NULL;
        out = text_of(plain ? "%s%c" : "%s%%%02X", out, (unsigned char)*text);
    }
    return out;
}

/* As it stands in a path, a query or a header. */
static const char *text_value(struct draw *d, const json_t *schema, const char *name)
{
    json_t *value = draw_value(d, schema, name);

    if (draw_once_in(d, 8))
        return draw_text(d);
    return json_is_string(value) ? json_string_value(value)
                                 : json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
}

static void put_into_path(struct drawn *r, const char *name, const char *value)
{
    const char *at = strstr(r->path, text_of("{%s}", name));

    cr_assert_not_null(at, "%s has no %s", r->path, name);
    value = *value != '\0' ? escaped(value) : "7"; /* without one it is another path */
    r->path = text_of("%.*s%s%s", (int)(at - r->path), r->path,
                      strcmp(value, ".") == 0 || strcmp(value, "..") == 0 ? "7" : value,
                      strchr(at, '}') + 1);
}

static void draw_parameter(struct draw *d, const json_t *parameter, struct drawn *r)
{
    parameter = schema_resolve(d->document, parameter);
    const char *in = json_string_value(json_object_get(parameter, "in"));
    const char *name = json_string_value(json_object_get(parameter, "name"));
    const char *value = text_value(d, json_object_get(parameter, "schema"), name);

    if (strcmp(in, "path") == 0)
        put_into_path(r, name, value);
    else if (draw_below(d, 4) != 0)
        return;
    else if (strcmp(in, "query") == 0)
        r->query = text_of("%s%c%s=%s", r->query, *r->query == '\0' ? '?' : '&', name,
                           escaped(value));
    else if (strpbrk(value, "\r\n") == NULL)
        r->headers = text_of("%s%s: %s\r\n", r->headers, name, value);
}

static const char *draw_body(struct draw *d, const json_t *spec)
{
    const json_t *body =
        schema_resolve(d->document, json_object_get(spec, "requestBody"));
    const json_t *media =
        json_object_get(json_object_get(body, "content"), "application/json");

    if (body == NULL || draw_once_in(d, 25))
        return draw_once_in(d, 20) ? "{}" : NULL;
    char *text = json_dumps(draw_value(d, json_object_get(media, "schema"), ""),
                            JSON_ENCODE_ANY | JSON_COMPACT);
    size_t len = strlen(text);
    if (draw_once_in(d, 15))
        text[draw_below(d, (unsigned)len)] = (char)(' ' + draw_below(d, 200));
    if (draw_once_in(d, 30))
        text[draw_below(d, (unsigned)len)] = '\0';
    return text;
}

static struct drawn draw_request(struct draw *d, const struct target *t)
{
    struct drawn r = {.path = t->template, .query = "", .headers = "", .body = NULL};
    const json_t *parameter;
    size_t i;

    json_array_foreach(t->shared, i, parameter) draw_parameter(d, parameter, &r);
    json_array_foreach(json_object_get(t->spec, "parameters"), i, parameter)
        draw_parameter(d, parameter, &r);
    if (draw_once_in(d, 40))
        r.query = text_of("%s%c%s", r.query, *r.query == '\0' ? '?' : '&',
                          draw_once_in(d, 2) ? "nonsense=1" : "%zz");
    r.body = draw_body(d, t->spec);
    return r;
}

/* A machine that is too busy may once have to say 503, and says so with Retry-After. */
static struct reply *ask(struct fuzz *f, const struct target *t, const struct drawn *r)
{
    const char *path = text_of("%s%s", r->path, r->query);
    struct reply *reply = http(f->service, t->method, path, r->headers, r->body);

    if (reply->status == 503)
        reply = http(f->service, t->method, path, r->headers, r->body);
    return reply;
}

static void judge(struct fuzz *f, const struct target *t, const struct drawn *r,
                  const char *what)
{
    struct reply *reply = ask(f, t, r);

    cr_assert_neq(reply->status, 0, "no answer to %s", what);
    cr_assert_lt(reply->status, 500, "%s: %.900s", what, reply->raw);
    seen_judge(f->seen, t->method, text_of("%s%s", r->path, r->query), reply,
               reply->status);
}

Test(fuzz, whatever_a_request_says_the_answer_is_a_documented_one)
{
    int64_t seed = number_of("CONTRACT_SEED", 1);
    int64_t n = number_of("CONTRACT_REQUESTS", REQUESTS);
    struct fuzz f = {.seen = seen_open("openapi/openapi.json")};

    f.service = service_start(cluster_database(), "--concurrency 2 --wait-max-seconds 1");
    f.draw = draw_begin(json_load_file("openapi/openapi.json", 0, NULL), (uint64_t)seed);
    find_targets(&f);
    for (int64_t i = 0; i < n; i++) {
        const struct target *t = &f.targets[draw_below(&f.draw, f.n)];
        f.draw.violations = draw_once_in(&f.draw, 3) ? 0 : 12;
        struct drawn r = draw_request(&f.draw, t);
        judge(&f, t, &r,
              text_of("request %ld of seed %ld: %s %s%s %s%.900s", (long)i, (long)seed,
                      t->method, r.path, r.query, r.headers,
                      r.body != NULL ? r.body : ""));
    }
    /* What PostgreSQL refuses is a check that a handler lacks (submit.c). */
    cr_expect_not(service_logged(f.service, "failed="), "%s", service_log(f.service));
}
