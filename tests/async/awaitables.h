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

/* Those of outside.c need something to reach out to, from before the first call to after
 * the last. */
void outside_open(void);
void outside_close(void);
int exec_completes(struct job_ctx *ctx);
int exec_hangs(struct job_ctx *ctx, int64_t timeout_ms);
int http_completes(struct job_ctx *ctx);
int http_hangs(struct job_ctx *ctx, int64_t timeout_ms);
int query_completes(struct job_ctx *ctx);
int query_hangs(struct job_ctx *ctx, int64_t timeout_ms);

#endif
