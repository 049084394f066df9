/* Waiting for children: one, the first of several, all of them, one that is shielded.
 *
 * All are a waiter in the child's list, and differ in what their stop hook does with a
 * cancel: join and its like pass it on and go on waiting for the child's end, a shield
 * leaves the child alone. A deadline only ever ends the waiting. */
#include "server/core/cleanup.h"
#include "server/core/clock.h"
#include "workers/async/scope.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

/* -- waiters ------------------------------------------------------------------------- */

static void add_waiter(struct job_child *child, struct waiter *w)
{
    w->co = coroutine_self();
    w->next = child->waiters;
    child->waiters = w;
}

static void remove_waiter(struct job_child *child, const struct waiter *w)
{
    struct waiter **link = &child->waiters;

    while (*link != w)
        link = &(*link)->next;
    *link = w->next;
}

/* The children that an await is about, and whether they have been told of its cancel. */
struct group {
    struct coroutine *co;
    struct job_child *const *children;
    int n;
    bool passed_on;
};

static void cancel_group(struct group *g)
{
    g->passed_on = true;
    for (int i = 0; i < g->n; i++) {
        if (g->children[i]->co != NULL)
            coroutine_cancel(g->children[i]->co);
    }
}

static void stop_group(void *arg, int why)
{
    struct group *g = arg;

    if (why != JOB_CANCELLED) {
        coroutine_wake(g->co, why);
        return;
    }
    coroutine_passed_on(g->co);
    cancel_group(g);
}

static int wait_for(struct job_ctx *ctx, struct job_child *child, struct group *g,
                    int64_t timeout_ms)
{
    struct waiter w;

    add_waiter(child, &w);
    int e = await_park(ctx, stop_group, g, timeout_ms);
    remove_waiter(child, &w);
    return e;
}

static int64_t left_ms(int64_t timeout_ms, int64_t began_ms)
{
    int64_t left = timeout_ms - (clock_ms() - began_ms);

    return timeout_ms < 0 ? JOB_FOREVER : left > 0 ? left : 0;
}

/* Until all have ended. */
static int wait_for_all(struct job_ctx *ctx, struct group *g, int64_t timeout_ms)
{
    int64_t began_ms = clock_ms();

    for (int i = 0; i < g->n; i++) {
        if (g->children[i]->co == NULL)
            continue;
        if (!g->passed_on && await_begin(ctx) == JOB_CANCELLED)
            cancel_group(g);
        int64_t ms = g->passed_on ? JOB_FOREVER : left_ms(timeout_ms, began_ms);
        int e = wait_for(ctx, g->children[i], g, ms);
        if (e != JOB_OK)
            return e;
    }
    return JOB_OK;
}

/* -- the awaits ---------------------------------------------------------------------- */

int await_join(struct job_ctx *ctx, struct job_child *child, int *out_result,
               int64_t timeout_ms)
{
    struct group g = {.co = coroutine_self(), .children = &child, .n = 1};

    if (g.co == NULL)
        return JOB_NO_ASYNC;
    int e = wait_for_all(ctx, &g, timeout_ms);
    if (e != JOB_OK)
        return e;
    int result = child->result;
    child_forget(child);
    if (out_result != NULL)
        *out_result = result;
    return g.passed_on && result == JOB_CANCELLED ? JOB_CANCELLED : JOB_OK;
}

int await_all(struct job_ctx *ctx, struct job_child *const children[], int n,
              int64_t timeout_ms)
{
    struct group g = {.co = coroutine_self(), .children = children, .n = n};

    if (g.co == NULL)
        return JOB_NO_ASYNC;
    int e = wait_for_all(ctx, &g, timeout_ms);
    return e == JOB_OK && g.passed_on ? JOB_CANCELLED : e;
}

static int first_ended(struct job_child *const children[], int n)
{
    int i = 0;

    while (i < n && children[i]->co != NULL)
        i++;
    return i < n ? i : -1;
}

int await_any(struct job_ctx *ctx, struct job_child *const children[], int n,
              int64_t timeout_ms)
{
    struct group g = {.co = coroutine_self(), .children = children, .n = n};

    if (g.co == NULL)
        return JOB_NO_ASYNC;
    if (n <= 0)
        return -EINVAL;
    if (first_ended(children, n) >= 0)
        return first_ended(children, n);
    CLEANUP(free_ptr) struct waiter *waiters = calloc((size_t)n, sizeof *waiters);
    if (waiters == NULL)
        return JOB_NO_MEMORY;
    if (await_begin(ctx) == JOB_CANCELLED) {
        cancel_group(&g);
    } else {
        for (int i = 0; i < n; i++)
            add_waiter(children[i], &waiters[i]);
        int e = await_park(ctx, stop_group, &g, timeout_ms);
        for (int i = 0; i < n; i++)
            remove_waiter(children[i], &waiters[i]);
        if (!g.passed_on)
            return e == JOB_OK ? first_ended(children, n) : e;
    }
    int e = wait_for_all(ctx, &g, JOB_FOREVER);
    return e == JOB_OK ? JOB_CANCELLED : e;
}

void await_cancel(struct job_ctx *ctx, struct job_child *child)
{
    (void)ctx;
    if (child->co != NULL)
        coroutine_cancel(child->co);
}

/* -- shields ------------------------------------------------------------------------- */

static void tell_shield(struct deadline *d)
{
    struct job_child *child =
        (struct job_child *)(void *)((char *)d - offsetof(struct job_child, shield_told));

    child->shield_is_told = true;
    child->scope->shielded(child->scope, child->shield, child->shield_since_us);
}

static void shield(struct job_child *child, const char *name)
{
    if (child->shield != NULL)
        return;
    child->shield = strdup(name);
    child->shield_since_us = clock_us();
    child->shield_told.due = tell_shield;
    if (child->shield != NULL && child->scope->shielded != NULL)
        (void)deadline_set(&child->loop->deadlines, &child->shield_told,
                           child->shield_since_us + SHIELD_TOLD_MS * US_PER_MS);
}

void child_unshield(struct job_child *child)
{
    deadline_clear(&child->loop->deadlines, &child->shield_told);
    if (child->shield_is_told)
        child->scope->shielded(child->scope, NULL, 0);
    child->shield_is_told = false;
}

int await_shielded(struct job_ctx *ctx, struct job_child *child, const char *name,
                   int64_t timeout_ms)
{
    struct waiter w;

    if (coroutine_self() == NULL)
        return JOB_NO_ASYNC;
    if (child->co == NULL)
        return JOB_OK;
    shield(child, name);
    int e = await_begin(ctx);
    if (e != JOB_OK)
        return e;
    add_waiter(child, &w);
    e = await_park(ctx, NULL, NULL, timeout_ms);
    remove_waiter(child, &w);
    return e;
}
