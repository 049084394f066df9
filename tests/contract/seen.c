#include "tests/contract/seen.h"

#include "tests/contract/schema.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

enum { OPERATIONS_MAX = 64, STATUS_MAX = 600 };

struct seen {
    const json_t *document;
    struct service *asked;
    struct operation operations[OPERATIONS_MAX];
    const json_t *responses[OPERATIONS_MAX];
    const char *templates[OPERATIONS_MAX];
    bool was_seen[OPERATIONS_MAX][STATUS_MAX];
    int n;
};

/* -- the document -------------------------------------------------------------------- */

/* Only the database can have too many waiting; what does not use it does not say 429. */
static struct operation operation_of(const char *method, const char *template,
                                     const json_t *spec)
{
    const json_t *responses = json_object_get(spec, "responses");
    const char *path = template;
    struct operation o = {.id = json_string_value(json_object_get(spec, "operationId")),
                          .takes_body = json_object_get(spec, "requestBody") != NULL,
                          .changes = strcmp(method, "get") != 0,
                          .uses_database = json_object_get(responses, "429") != NULL};

    o.method = strcmp(method, "get") == 0      ? "GET"
               : strcmp(method, "put") == 0    ? "PUT"
               : strcmp(method, "delete") == 0 ? "DELETE"
               : strcmp(method, "put") == 0    ? "PUT"
                                               : "POST";
    for (const char *open; (open = strchr(path, '{')) != NULL;)
        path = text_of("%.*s%s%s", (int)(open - path), path,
                       strncmp(open, "{task}", 6) == 0 ? "echo" : "1",
                       strchr(open, '}') + 1);
    o.path = path;
    return o;
}

static void add_path(struct seen *seen, const char *template, json_t *methods)
{
    const char *method;
    json_t *spec;

    json_object_foreach(methods, method, spec)
    {
        if (json_object_get(spec, "operationId") == NULL)
            continue;
        cr_assert_lt(seen->n, OPERATIONS_MAX);
        seen->templates[seen->n] = template;
        seen->responses[seen->n] = json_object_get(spec, "responses");
        seen->operations[seen->n++] = operation_of(method, template, spec);
    }
}

struct seen *seen_open(const char *file)
{
    struct seen *seen = calloc(1, sizeof *seen);
    json_error_t error;
    json_t *document = json_load_file(file, 0, &error);
    const char *template;
    json_t *methods;

    cr_assert(seen != NULL && document != NULL, "%s: %s", file, error.text);
    seen->document = document;
    json_object_foreach(json_object_get(document, "paths"), template, methods)
        add_path(seen, template, methods);
    return seen;
}

int seen_operations(struct seen *seen, const struct operation **out)
{
    *out = seen->operations;
    return seen->n;
}

/* True when the path, up to its query, is one of the template. */
static bool matches(const char *template, const char *path)
{
    while (*template != '\0' && *template == *path)
        template ++, path++;
    if (*template == '{') {
        path += strcspn(path, "/?");
        return matches(strchr(template, '}') + 1, path);
    }
    return *template == '\0' && (*path == '\0' || *path == '?');
}

static int find_operation(const struct seen *seen, const char *method, const char *path)
{
    for (int i = 0; i < seen->n; i++) {
        bool is_literal = strchr(seen->templates[i], '{') == NULL;
        if (strcmp(seen->operations[i].method, method) == 0 &&
            matches(seen->templates[i], path) &&
            (is_literal || strncmp(path, "/jobs/batch", 11) != 0))
            return i;
    }
    cr_assert_fail("no operation is %s %s", method, path);
    return -1;
}

/* -- judging ------------------------------------------------------------------------- */

static void judge_headers(const struct seen *seen, const json_t *response,
                          const struct reply *r, const char *what)
{
    static const char *const optional[] = {"Link", "Preference-Applied", "Retry-After",
                                           "ETag", "Idempotency-Replayed"};
    const char *name;
    json_t *header;

    json_object_foreach(json_object_get(response, "headers"), name, header)
    {
        bool needed = json_is_true(
            json_object_get(schema_resolve(seen->document, header), "required"));
        for (size_t i = 0; i < sizeof optional / sizeof *optional && !needed; i++)
            needed = strcmp(optional[i], name) == 0;
        if (!needed || json_is_true(json_object_get(header, "required")))
            cr_expect_not_null(reply_header(r, name), "%s: no header %s", what, name);
    }
}

static void judge_body(const struct seen *seen, const json_t *response,
                       const struct reply *r, const char *what)
{
    json_t *content = json_object_get(response, "content");
    const char *type = reply_header(r, "Content-Type"), *why;

    if (content == NULL) {
        cr_expect_eq(r->len, 0, "%s: a body that is not documented: %s", what, r->body);
        return;
    }
    cr_assert_not_null(type, "%s: no Content-Type", what);
    const json_t *media = json_object_get(content, type);
    cr_assert_not_null(media, "%s: Content-Type %s is not documented", what, type);
    if (strncmp(type, "text/plain", 10) == 0)
        return; /* metrics: tests/handlers/metrics.c reads them */
    cr_assert_not_null(r->json, "%s: the body is not JSON: %s", what, r->body);
    why = schema_mismatch(seen->document, json_object_get(media, "schema"), r->json);
    cr_expect_null(why, "%s: %s: %s", what, why, r->body);
}

void seen_judge(struct seen *seen, const char *method, const char *path,
                const struct reply *r, int wanted)
{
    int i = find_operation(seen, method, path);
    const char *what =
        text_of("%s (%s %.80s) %d", seen->operations[i].id, method, path, r->status);
    const json_t *response =
        json_object_get(seen->responses[i], text_of("%d", r->status));

    cr_expect_eq(r->status, wanted, "%s, not %d: %.600s", what, wanted, r->raw);
    cr_assert_not_null(response, "%s is not documented: %.600s", what, r->raw);
    response = schema_resolve(seen->document, response);
    judge_headers(seen, response, r, what);
    judge_body(seen, response, r, what);
    seen->was_seen[i][r->status] = true;
}

void seen_ask(struct seen *seen, struct service *s)
{
    seen->asked = s;
}

struct reply *see(struct seen *seen, const char *method, const char *path,
                  const char *headers, const char *body, int wanted)
{
    struct reply *r = http(seen->asked, method, path, headers, body);

    seen_judge(seen, method, path, r, wanted);
    return r;
}

void seen_excuse(struct seen *seen, const char *operation_id, int status, const char *why)
{
    cr_assert_neq(why[0], '\0');
    for (int i = 0; i < seen->n; i++) {
        if (strcmp(seen->operations[i].id, operation_id) != 0)
            continue;
        cr_expect_not(seen->was_seen[i][status], "%s %d needs no excuse", operation_id,
                      status);
        seen->was_seen[i][status] = true;
    }
}

void seen_close(struct seen *seen)
{
    for (int i = 0; i < seen->n; i++) {
        const char *code;
        json_t *response;
        json_object_foreach((json_t *)(uintptr_t)seen->responses[i], code, response)
            cr_expect(seen->was_seen[i][strtol(code, NULL, 10)],
                      "%s documents %s, and it was never seen", seen->operations[i].id,
                      code);
    }
}
