/* app: what handlers can reach. One struct, made by main, given to http_open() as its
 * context. */
#ifndef BELAY_HANDLERS_APP_H
#define BELAY_HANDLERS_APP_H

#include "db/lane.h"
#include "server/core/config.h"
#include "server/http/request.h"
#include "workers/node.h"

#include <stdatomic.h>

struct waiters;
struct gauges;

/* Of the HTTP thread, since the start. */
enum { CANCEL_RESULTS = 11 };
struct request_counts {
    int64_t enqueued;
    int64_t cancels[CANCEL_RESULTS]; /* in the order of metrics.c */
};

struct app {
    const struct config *config;
    struct lanes *lanes;
    struct node *node;       /* never NULL; with concurrency 0 it runs nothing */
    struct waiters *waiters; /* requests that wait for a job to end */
    struct gauges *gauges;   /* what the database says for metrics */
    struct request_counts counts;
    atomic_bool draining;
    atomic_bool migrated; /* the schema is there */
};

static inline struct app *req_app(const struct request *req)
{
    return req_context(req);
}

#endif
