/* router: path and method to operation. The table is made from openapi/openapi.json by
 * openapi/gen_routes.c: an operation without a function is a link error, a function
 * without an operation a missing prototype. */
#ifndef BELAY_HTTP_ROUTER_H
#define BELAY_HTTP_ROUTER_H

#include "server/core/err.h"

#include <stdbool.h>
#include <stddef.h>

struct request;

typedef enum err operation_fn(struct request *req);

enum { ROUTE_PARAMS_MAX = 4 };

struct route {
    const char *method;       /* "POST" */
    const char *path;         /* "/jobs/{jobId}/cancel" */
    const char *operation_id; /* "cancelJob" */
    operation_fn *function;   /* cancel_job */
    const char *const *query; /* the documented query parameters, ends in NULL */
    bool takes_body;
    bool body_is_required;
    int body_factor; /* body limit = body_max_bytes * this; x-belay-body-factor in the
                        document, default 1 */
};

extern const struct route routes[]; /* ends in a row without a method */

/* One part of a path that stood for a {parameter}. Not decoded. */
struct path_param {
    const char *name, *text;
    size_t name_len, text_len;
};

struct route_match {
    const struct route *route;
    struct path_param params[ROUTE_PARAMS_MAX];
    int n_params;
};

/* ERR_OK; ERR_ROUTE_NOT_FOUND; ERR_METHOD_NOT_ALLOWED with the path's methods in `allow`
 * ("GET, POST"). HEAD matches GET; OPTIONS is the adapter's. */
enum err route_lookup(const struct route *table, const char *method, const char *path,
                      struct route_match *out, char allow[64]) MUST_CHECK;

#endif
