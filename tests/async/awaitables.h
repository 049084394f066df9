/* awaitables: all of await.h, in a table that tests walk through. */
#ifndef BELAY_TESTS_ASYNC_AWAITABLES_H
#define BELAY_TESTS_ASYNC_AWAITABLES_H

#include "workers/task.h"

#include <stddef.h>

struct awaitable {
    const char *name;
    int (*completes)(struct job_ctx *ctx);                 /* JOB_OK, soon */
    int (*hangs)(struct job_ctx *ctx, int64_t timeout_ms); /* until it is stopped */
};
extern const struct awaitable awaitables[];
extern const size_t n_awaitables;

#endif
