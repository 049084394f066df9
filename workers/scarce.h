/* scarce: what the start of a process does when the node is short of descriptors or of
 * processes (ERR_IO), which is no fault of the job and may be over in a moment.
 *
 *     int64_t since_ms = 0;
 *     do
 *         e = process_start(&spec, &p, &why);
 *     while (scarce_try_again(ctx, e, &since_ms));
 *
 * A child that waits for an isolated job is let go first: it holds five descriptors, and
 * commands that need some would wait for it as long as no such job comes.
 *
 * Threads: that of the job. */
#ifndef BELAY_WORKERS_SCARCE_H
#define BELAY_WORKERS_SCARCE_H

#include "server/core/err.h"

#include <stdbool.h>
#include <stdint.h>

struct job_ctx;

/* Whether a start that ended with `e` is worth another try: at once when a child was let
 * go, else after 0.1 s. False after 10 s, counted from the first call (*since_ms is 0
 * then), and when the job should abort. */
bool scarce_try_again(struct job_ctx *ctx, enum err e, int64_t *since_ms);

/* Lets one child go that waits for a job; false: there is none. For who must not wait. */
bool scarce_give_way(struct job_ctx *ctx);

#endif
