/* scope: a main coroutine and the children that it has spawned, of which none outlives
 * the scope.
 *
 *     scope_init(&job->scope, &job->ctx, task->name);
 *     scope_start(&job->scope, loop, run, ended);    run(scope) on a coroutine
 *
 * When run() has returned, the children that still run are cancelled and waited for, then
 * what was deferred is called, and then ended(scope) is called on the loop's own stack.
 *
 * Threads: the loop's. The scope is borrowed until ended(). */
#ifndef BELAY_WORKERS_ASYNC_SCOPE_H
#define BELAY_WORKERS_ASYNC_SCOPE_H

#include "workers/async/loop.h"

struct scope {
    struct job_ctx *ctx;
    const char *name;
    void (*run)(struct scope *scope);
    void (*last)(struct scope *scope); /* on the coroutine, when no child is left */
    void (*ended)(struct scope *scope);
    /* NULL, or told of a shielded section that has lasted for SHIELD_TOLD_MS: its name
     * and since when, by clock_us(). name NULL: it is over. */
    void (*shielded)(struct scope *scope, const char *name, int64_t since_us);

    /* its own */
    struct coroutine *main;
    struct job_child *children;
    int n_running; /* of them */
    bool leaving;  /* run() has returned */
};

enum { SHIELD_TOLD_MS = 100 };

/* A coroutine that waits for a child's end; it lies on the stack of await_join() and its
 * like. */
struct waiter {
    struct waiter *next;
    struct coroutine *co;
};

struct job_child {
    struct job_child *next, *previous;
    struct scope *scope;
    struct loop *loop;
    struct coroutine *co; /* NULL: it has ended */
    int (*fn)(struct job_ctx *ctx, void *arg);
    void *arg;
    int result;
    struct waiter *waiters;
    char *shield; /* the name of the section that it is; NULL: none */
    int64_t shield_since_us;
    bool shield_is_told;
    struct deadline shield_told;
};
void child_forget(struct job_child *child);
/* Its section is over. */
void child_unshield(struct job_child *child);

/* False without memory; then nothing is called. run, last, ended, ctx and name are set,
 * the rest is zero. */
bool scope_start(struct scope *scope, struct loop *loop);
/* A request to stop: cancels the main coroutine's await; while it waits for the children
 * that are left, cancels those. */
void scope_cancel(struct scope *scope);

#endif
