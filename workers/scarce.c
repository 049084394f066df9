/* Rejected: descriptors set aside for each kind of job, which would be too few for one
 * and idle for the other. */
#include "workers/scarce.h"

#include "server/core/clock.h"
#include "workers/context.h"
#include "workers/isolate_children.h"
#include "workers/parts.h"
#include "workers/task.h"

enum { SCARCE_MS = 10000, AGAIN_MS = 100 };

bool scarce_give_way(struct job_ctx *ctx)
{
    return ctx->node != NULL && child_let_go(ctx->node->isolates);
}

bool scarce_try_again(struct job_ctx *ctx, enum err e, int64_t *since_ms)
{
    if (*since_ms == 0)
        *since_ms = clock_ms();
    if (e != ERR_IO || clock_ms() - *since_ms >= SCARCE_MS)
        return false;
    return scarce_give_way(ctx) ? !job_should_abort(ctx) : job_sleep(ctx, AGAIN_MS);
}
