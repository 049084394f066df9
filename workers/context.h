/* context: what a task holds while it runs. task.h is its outside; this is its inside,
 * for the runner. */
#ifndef BELAY_WORKERS_CONTEXT_H
#define BELAY_WORKERS_CONTEXT_H

#include "workers/job.h"
#include "workers/task.h"

#include <jansson.h>

struct node;

struct job_ctx {
    struct job_ctx_head head; /* first: job_should_abort() reads it */
    struct node *node;
    struct job *job;
    struct isolate_child *child; /* in a child process, where there is no node; or NULL */

    /* what the functions that make results have said */
    char *result, *kind, *message; /* JSON; a word; words */
    int64_t result_len, retry_ms;
    bool bad_result, killed;
    json_t *next; /* what shall be different from the next attempt on (next.h), or NULL */
    struct deferred *deferred; /* the last one first */
};

/* Calls what job_defer() was given, the last one first; it may defer more. */
void context_run_deferred(struct job_ctx *ctx);

#endif
