/* gen_routes: build tool. Reads the OpenAPI document and prints what the service needs of
 * it: `gen_routes routes FILE` the route table (build/gen/routes.c), `operations` the
 * prototypes of the operations (operations.h), `document` the document itself
 * (openapi.c).
 *
 * operationId cancelJob is the function cancel_job. An operation without a function is a
 * link error, a function without an operation a missing prototype. Rejected: a route
 * table by hand beside the document; the two would drift apart, and nobody would notice
 * before a client does. */
#include <ctype.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void die(const char *what, const char *where)
{
    fprintf(stderr, "gen_routes: %s: %s\n", where, what);
    exit(1);
}

static void snake(const char *camel, char *out, size_t size)
{
    size_t n = 0;

    for (; *camel != '\0' && n + 2 < size; camel++) {
        if (isupper((unsigned char)*camel))
            out[n++] = '_';
        out[n++] = (char)tolower((unsigned char)*camel);
    }
    out[n] = '\0';
}

/* Follows one $ref to #/components/parameters/X. */
static json_t *resolve(json_t *root, json_t *parameter)
{
    const char *ref = json_string_value(json_object_get(parameter, "$ref"));
    const char *name = ref != NULL ? strrchr(ref, '/') : NULL;

    if (name == NULL)
        return parameter;
    json_t *all = json_object_get(json_object_get(root, "components"), "parameters");
    json_t *found = json_object_get(all, name + 1);
    if (found == NULL)
        die("unknown $ref", ref);
    return found;
}

/* Only the names: what a value may be is checked by the handler, which says it better
 * than a schema could. */
static void print_query_names(json_t *root, json_t *parameters)
{
    size_t i;
    json_t *p;

    json_array_foreach(parameters, i, p)
    {
        json_t *resolved = resolve(root, p);
        const char *in = json_string_value(json_object_get(resolved, "in"));
        if (in != NULL && strcmp(in, "query") == 0)
            printf("\"%s\", ", json_string_value(json_object_get(resolved, "name")));
    }
}

typedef void operation_printer(json_t *root, const char *path, json_t *item,
                               const char *method, json_t *operation);

/* The document's order of paths is kept; a path is as many rows as it has methods. */
static void each_operation(json_t *root, operation_printer *print)
{
    static const char *const methods[] = {"get", "post", "put", "patch", "delete"};
    const char *path;
    json_t *item;

    json_object_foreach(json_object_get(root, "paths"), path, item)
    {
        for (size_t m = 0; m < sizeof methods / sizeof *methods; m++) {
            json_t *operation = json_object_get(item, methods[m]);
            if (operation == NULL)
                continue;
            if (json_object_get(operation, "operationId") == NULL)
                die("an operation without operationId", path);
            print(root, path, item, methods[m], operation);
        }
    }
}

static void print_route(json_t *root, const char *path, json_t *item, const char *method,
                        json_t *operation)
{
    const char *id = json_string_value(json_object_get(operation, "operationId"));
    json_t *body = json_object_get(operation, "requestBody");
    json_t *factor = json_object_get(operation, "x-belay-body-factor");
    char function[128];

    snake(id, function, sizeof function);
    printf("    {\"");
    for (const char *c = method; *c != '\0'; c++)
        putchar(toupper((unsigned char)*c));
    printf("\", \"%s\", \"%s\", %s,\n     (const char *const[]){", path, id, function);
    print_query_names(root, json_object_get(item, "parameters"));
    print_query_names(root, json_object_get(operation, "parameters"));
    printf("NULL}, %s, %s, %d},\n", body != NULL ? "true" : "false",
           json_is_true(json_object_get(body, "required")) ? "true" : "false",
           factor != NULL ? (int)json_integer_value(factor) : 1);
}

static void print_prototype(json_t *root, const char *path, json_t *item,
                            const char *method, json_t *operation)
{
    char function[128];

    (void)root;
    (void)item;
    snake(json_string_value(json_object_get(operation, "operationId")), function,
          sizeof function);
    printf("/* %s %s */\noperation_fn %s;\n", method, path, function);
}

static void print_routes(json_t *root)
{
    printf("/* made from openapi/openapi.json by openapi/gen_routes.c */\n"
           "#include \"build/gen/operations.h\"\n\n"
           "#include <stddef.h>\n\nconst struct route routes[] = {\n");
    each_operation(root, print_route);
    printf("    {NULL, NULL, NULL, NULL, NULL, false, false, 0},\n};\n");
}

static void print_operations(json_t *root)
{
    printf("/* made from openapi/openapi.json by openapi/gen_routes.c */\n"
           "#ifndef BELAY_OPERATIONS_H\n#define BELAY_OPERATIONS_H\n\n"
           "#include \"server/http/router.h\"\n\n");
    each_operation(root, print_prototype);
    printf("\n#endif\n");
}

/* As numbers: a string literal of this length is more than C11 promises to take (4095
 * characters), and would need escapes. Signed, because char is. */
static void print_document(json_t *root)
{
    char *text = json_dumps(root, JSON_COMPACT);

    if (text == NULL)
        die("out of memory", "document");
    printf("/* made from openapi/openapi.json by openapi/gen_routes.c */\n#include "
           "<stddef.h>\n\n"
           "extern const char openapi_document[];\nextern const size_t "
           "openapi_document_len;\n\n"
           "const char openapi_document[] = {");
    for (size_t i = 0; text[i] != '\0'; i++)
        printf("%s%d,", i % 24 == 0 ? "\n" : "", (int)(signed char)text[i]);
    printf("0};\nconst size_t openapi_document_len = %zu;\n", strlen(text));
    free(text);
}

int main(int argc, char **argv)
{
    json_error_t error;

    if (argc != 3)
        die("usage: gen_routes routes|operations|document FILE", "arguments");
    json_t *root = json_load_file(argv[2], JSON_REJECT_DUPLICATES, &error);
    if (root == NULL)
        die(error.text, argv[2]);
    if (strcmp(argv[1], "routes") == 0)
        print_routes(root);
    else if (strcmp(argv[1], "operations") == 0)
        print_operations(root);
    else if (strcmp(argv[1], "document") == 0)
        print_document(root);
    else
        die("routes, operations or document", argv[1]);
    json_decref(root);
    if (fflush(stdout) != 0 ||
        ferror(stdout) != 0) /* a full disk: half a table compiles */
        die("cannot be written", "stdout");
    return 0;
}
