/* query_pool: connections that await_query() has done with, for the next one.
 *
 *     q = query_pool_take(loop, url);      NULL: none is there
 *     query_pool_put(loop, url, q);        takes q
 *
 * A connection is kept for some seconds, and only while it can have no state of whoever
 * used it: the caller has sent DISCARD ALL. Threads: the loop's. */
#ifndef BELAY_WORKERS_ASYNC_QUERY_POOL_H
#define BELAY_WORKERS_ASYNC_QUERY_POOL_H

#include "db/query.h"
#include "workers/async/loop.h"

struct query *query_pool_take(struct loop *loop, const char *url);
void query_pool_put(struct loop *loop, const char *url, struct query *q);

#endif
