/* A linear walk over some twenty routes, part by part: shorter than a tree, and nothing
 * against the rest of a request. */
#include "server/http/router.h"

#include <stdio.h>
#include <string.h>

/* Compares one path with one template; fills `out` with what stands for its {parameters}.
 */
static bool path_matches(const char *pattern, const char *path, struct route_match *out)
{
    out->n_params = 0;
    while (*pattern == '/' && *path == '/') {
        size_t pattern_len = strcspn(++pattern, "/"), path_len = strcspn(++path, "/");
        if (pattern[0] == '{') {
            if (path_len == 0 || out->n_params == ROUTE_PARAMS_MAX)
                return false;
            out->params[out->n_params++] =
                (struct path_param){.name = pattern + 1,
                                    .name_len = pattern_len - 2,
                                    .text = path,
                                    .text_len = path_len};
        } else if (pattern_len != path_len || memcmp(pattern, path, path_len) != 0) {
            return false;
        }
        pattern += pattern_len;
        path += path_len;
    }
    return *pattern == '\0' && *path == '\0';
}

/* Where there is GET there is HEAD (RFC 9110, 9.3.2), so Allow has to say it. 64 bytes
 * hold every method that the table knows. */
static void add_method(char allow[64], const char *method)
{
    size_t used = strlen(allow);

    snprintf(allow + used, 64 - used, "%s%s", used > 0 ? ", " : "", method);
    if (strcmp(method, "GET") == 0)
        add_method(allow, "HEAD");
}

/* All rows are looked at before a method is refused: 405 has to list what the path does
 * have, and a path is as many rows as it has methods. `out` is written for a hit
 * alone. */
enum err route_lookup(const struct route *table, const char *method, const char *path,
                      struct route_match *out, char allow[64])
{
    const char *wanted = strcmp(method, "HEAD") == 0 ? "GET" : method;
    struct route_match match;

    allow[0] = '\0';
    for (const struct route *r = table; r->method != NULL; r++) {
        if (!path_matches(r->path, path, &match))
            continue;
        if (strcmp(r->method, wanted) == 0) {
            *out = match;
            out->route = r;
            return ERR_OK;
        }
        add_method(allow, r->method);
    }
    return allow[0] == '\0' ? ERR_ROUTE_NOT_FOUND : ERR_METHOD_NOT_ALLOWED;
}
