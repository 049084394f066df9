/* next: what a task wants to be different from its next attempt on (job_next_queue() and
 * its siblings in task.h), as one JSON object:
 * {"queue":"slow","priority":-5,"lock":null}.
 *
 * Threads: that of the context. belay.changed() in db/migrations/0014_retry.sql reads the
 * object. */
#ifndef BELAY_WORKERS_NEXT_H
#define BELAY_WORKERS_NEXT_H

#include "workers/context.h"

/* What was asked for, as text that the caller frees; NULL: nothing, or no memory. */
char *next_text(const struct job_ctx *ctx);

/* Asks for what such a text asks for; "": nothing. It may have come from a child, so what
 * is not as it should be is left out. */
void next_take(struct job_ctx *ctx, const char *text);

void next_release(struct job_ctx *ctx);

#endif
