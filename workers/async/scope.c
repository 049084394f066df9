/* Structured concurrency: children belong to the job, whoever of it has spawned them, so
 * the job's end is the one place where all of them are waited for. A child's stack goes
 * when its function returns; its handle stays, with the result, until somebody takes it.
 * children.c is how they are waited for. */
#include "workers/async/scope.h"

#include "server/core/cleanup.h"

#include <stdlib.h>

/* -- a child's life ------------------------------------------------------------------ */

static void run_child(void *arg)
{
    struct job_child *child = arg;

    child->result = child->fn(child->scope->ctx, child->arg);
}

static void child_ended(void *arg)
{
    struct job_child *child = arg;
    struct scope *scope = child->scope;

    child->co = NULL;
    child_unshield(child);
    for (struct waiter *w = child->waiters; w != NULL; w = w->next)
        coroutine_wake(w->co, JOB_OK);
    scope->n_running--;
    if (scope->leaving && scope->n_running == 0)
        coroutine_wake(scope->main, JOB_OK);
}

struct job_child *await_spawn(struct job_ctx *ctx,
                              int (*fn)(struct job_ctx *ctx, void *arg), void *arg)
{
    struct coroutine *self = coroutine_self();
    struct job_child *child = self != NULL ? calloc(1, sizeof *child) : NULL;

    (void)ctx;
    if (child == NULL)
        return NULL;
    struct scope *scope = child->scope = coroutine_scope(self);
    child->loop = coroutine_loop(self);
    child->fn = fn;
    child->arg = arg;
    child->co =
        coroutine_start(child->loop, &(struct coroutine_body){.scope = scope,
                                                              .name = scope->name,
                                                              .run = run_child,
                                                              .ended = child_ended,
                                                              .arg = child});
    if (child->co == NULL) {
        free(child);
        return NULL;
    }
    scope->n_running++;
    child->next = scope->children;
    if (child->next != NULL)
        child->next->previous = child;
    scope->children = child;
    return child;
}

void child_forget(struct job_child *child)
{
    if (child->next != NULL)
        child->next->previous = child->previous;
    if (child->previous != NULL)
        child->previous->next = child->next;
    else
        child->scope->children = child->next;
    deadline_clear(&child->loop->deadlines, &child->shield_told);
    free(child->shield);
    free(child);
}

/* -- the scope ----------------------------------------------------------------------- */

static void cancel_children(struct scope *scope)
{
    for (struct job_child *child = scope->children; child != NULL; child = child->next) {
        if (child->co != NULL)
            coroutine_cancel(child->co);
    }
}

static void cancel_leavers(void *arg, int why)
{
    struct scope *scope = arg;

    (void)why;
    coroutine_passed_on(scope->main);
    cancel_children(scope);
}

static void wait_for_children(struct scope *scope)
{
    scope->leaving = true;
    cancel_children(scope);
    while (scope->n_running > 0)
        await_park(scope->ctx, cancel_leavers, scope, JOB_FOREVER);
    scope->leaving = false;
    coroutine_forgive(scope->main); /* so that what was deferred can await */
}

static void run_main(void *arg)
{
    struct scope *scope = arg;

    scope->run(scope);
    wait_for_children(scope);
    if (scope->last == NULL)
        return;
    scope->last(scope);
    wait_for_children(scope); /* of what was deferred */
}

static void main_ended(void *arg)
{
    struct scope *scope = arg;

    scope->main = NULL;
    while (scope->children != NULL)
        child_forget(scope->children);
    scope->ended(scope);
}

bool scope_start(struct scope *scope, struct loop *loop)
{
    struct coroutine_body body = {.scope = scope,
                                  .name = scope->name,
                                  .run = run_main,
                                  .ended = main_ended,
                                  .arg = scope};

    scope->main = coroutine_start(loop, &body);
    return scope->main != NULL;
}

void scope_cancel(struct scope *scope)
{
    if (scope->main != NULL)
        coroutine_cancel(scope->main);
}
