/* Async jobs: where claimed ones wait, the loop's thread that runs them, and how an abort
 * gets there.
 *
 * A job is started and concluded on the loop's own stack, so that its coroutine needs no
 * more than the task itself does: a hundred thousand that sleep are a page each. An abort
 * is told under the abort table's lock: the job is pushed to a list that needs no other
 * lock, and the loop is woken, which takes the whole list and cancels. */
#include "server/core/clock.h"
#include "server/core/config.h"
#include "server/core/log.h"
#include "server/core/monitor.h"
#include "workers/async/scope.h"
#include "workers/context.h"
#include "workers/parts.h"
#include "workers/runner.h"
#include "workers/tally.h"

#include <inttypes.h>
#include <pthread.h>
#include <stddef.h>
#include <stdlib.h>
#include <unistd.h>

enum { THREAD_STACK_BYTES = 1 << 20 };

struct async_job {
    struct job_ctx ctx;
    struct scope scope;
    struct async *async;
    struct abort_cell cell;
    struct abort_slot slot;
    struct async_job *next_told;
    atomic_bool told;      /* it is in the list of those */
    struct deadline grace; /* its end, when a task that goes on is cancelled once more */
    enum job_result result;
};

struct async {
    struct node *node;
    int most;
    pthread_t thread;
    struct monitor monitor;
    struct job_list waiting; /* under monitor */
    int n_running;           /* under monitor */
    bool stopping;           /* under monitor */
    _Atomic(struct async_job *) told;
    struct loop loop;
    _Atomic int64_t named_us; /* the beginning of the last stall that was named */
};

/* -- aborts -------------------------------------------------------------------------- */

static void on_told(struct abort_slot *slot)
{
    struct async_job *aj =
        (struct async_job *)(void *)((char *)slot - offsetof(struct async_job, slot));
    struct async *a = aj->async;

    if (atomic_exchange(&aj->told, true))
        return;
    aj->next_told = atomic_load(&a->told);
    while (!atomic_compare_exchange_weak(&a->told, &aj->next_told, aj))
        ;
    loop_poke(&a->loop);
}

static void on_grace(struct deadline *d)
{
    struct async_job *aj =
        (struct async_job *)(void *)((char *)d - offsetof(struct async_job, grace));

    scope_cancel(&aj->scope);
}

/* Cancels it now, and once more at the end of its grace. */
static void cancel(struct async *a, struct async_job *aj)
{
    struct abort_info info;

    if (aj->scope.main == NULL)
        return;
    scope_cancel(&aj->scope);
    if (!job_abort_info(&aj->ctx, &info) || info.grace_left_ms == INT64_MAX ||
        info.grace_left_ms == 0)
        return;
    aj->grace.due = on_grace;
    (void)deadline_set(&a->loop.deadlines, &aj->grace,
                       clock_us() + info.grace_left_ms * US_PER_MS);
}

static void cancel_told(struct async *a)
{
    struct async_job *aj = atomic_exchange(&a->told, NULL);

    while (aj != NULL) {
        struct async_job *next = aj->next_told;
        atomic_store(&aj->told, false);
        cancel(a, aj);
        aj = next;
    }
}

/* -- a job --------------------------------------------------------------------------- */

static struct async_job *job_of(struct scope *scope)
{
    return (struct async_job *)(void *)((char *)scope -
                                        offsetof(struct async_job, scope));
}

static void run_scope(struct scope *scope)
{
    struct async_job *aj = job_of(scope);

    aj->result = aj->ctx.job->task->run(&aj->ctx);
}

static void run_last(struct scope *scope)
{
    context_run_deferred(scope->ctx);
}

static void on_shield(struct scope *scope, const char *name, int64_t since_us)
{
    struct job_ctx *ctx = scope->ctx;

    if (progress_shield(ctx->node->progress, ctx->job, name, since_us))
        dispatcher_poke(ctx->node->dispatcher);
}

static void finish(struct async_job *aj)
{
    struct async *a = aj->async;
    struct job *job = aj->ctx.job;

    deadline_clear(&a->loop.deadlines, &aj->grace);
    run_end(&aj->ctx, aj->result);
    cancel_told(a); /* from here on nobody tells it, and it is in no list */
    if (aj->slot.fd >= 0)
        close(aj->slot.fd);
    free(aj);
    dispatcher_end(a->node->dispatcher, job);
    monitor_lock(&a->monitor);
    a->n_running--;
    bool more = a->waiting.n > 0;
    monitor_unlock(&a->monitor);
    if (more)
        loop_poke(&a->loop);
}

static void scope_ended(struct scope *scope)
{
    finish(job_of(scope));
}

static void start(struct async *a, struct job *job)
{
    struct async_job *aj = calloc(1, sizeof *aj);

    if (aj == NULL)
        abort(); /* claimed, and cannot run: the lease brings it back */
    aj->async = a;
    aj->slot = (struct abort_slot){.cell = &aj->cell, .fd = -1, .told = on_told};
    if (!run_begin(&aj->ctx, a->node, job, &aj->slot)) {
        free(aj);
        dispatcher_end(a->node->dispatcher, job);
        return;
    }
    monitor_lock(&a->monitor);
    a->n_running++;
    monitor_unlock(&a->monitor);
    aj->scope = (struct scope){.ctx = &aj->ctx,
                               .name = job->task->name,
                               .run = run_scope,
                               .last = run_last,
                               .shielded = on_shield,
                               .ended = scope_ended};
    if (!scope_start(&aj->scope, &a->loop)) {
        aj->result = job_failed(&aj->ctx, "no_memory", "there is no memory for a stack");
        finish(aj);
    }
}

/* -- stalls -------------------------------------------------------------------------- */

static void name_stall(struct async *a, const char *task, int64_t since_us, bool over)
{
    struct task_tally *tally = node_tally(a->node, node_task(a->node, task));

    if (atomic_exchange(&a->named_us, since_us) == since_us)
        return; /* it was named while it lasted */
    if (tally != NULL)
        atomic_fetch_add(&tally->stalls, 1);
    log_warn("async_stall", "task=%s ms=%" PRId64 " over=%s hint=%s", task,
             (clock_us() - since_us) / US_PER_MS, over ? "true" : "false",
             log_quoted("it has kept all async jobs waiting: it needs await_blocking()"));
}

static void on_stall(struct loop *loop, const struct scope *scope, int64_t since_us)
{
    name_stall(loop->arg, scope->name, since_us, true);
}

void async_watch(struct async *a)
{
    int64_t since_us = atomic_load(&a->loop.running_since_us);
    const char *name = atomic_load(&a->loop.running_name);

    if (since_us != 0 && clock_us() - since_us > STALL_US &&
        atomic_load(&a->loop.running_since_us) == since_us)
        name_stall(a, name, since_us, false);
}

/* -- the thread ---------------------------------------------------------------------- */

static struct job *next_job(struct async *a)
{
    struct job *job = NULL;

    monitor_lock(&a->monitor);
    if (!a->stopping && a->n_running < a->most)
        job = job_list_take(&a->waiting);
    monitor_unlock(&a->monitor);
    return job;
}

static void start_waiting(struct async *a)
{
    struct job *job;

    while (runs_may_start(a->node) && (job = next_job(a)) != NULL)
        start(a, job);
}

static void on_poke(struct loop *loop)
{
    struct async *a = loop->arg;

    cancel_told(a);
    start_waiting(a);
    monitor_lock(&a->monitor);
    loop->stopping = a->stopping;
    monitor_unlock(&a->monitor);
}

static void *run_thread(void *arg)
{
    struct async *a = arg;

    loop_run(&a->loop);
    loop_release(&a->loop);
    return NULL;
}

enum err async_open(struct node *node, struct async **out_async)
{
    struct async *a = calloc(1, sizeof *a);
    pthread_attr_t attr;

    if (a == NULL)
        return ERR_NO_MEMORY;
    a->node = node;
    a->most = (int)node->options.config->async_concurrency;
    monitor_init(&a->monitor);
    *out_async = a;
    if (loop_init(&a->loop) != ERR_OK)
        return ERR_NO_MEMORY;
    a->loop.on_poke = on_poke;
    a->loop.on_stall = on_stall;
    a->loop.arg = a;
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, THREAD_STACK_BYTES);
    bool started = pthread_create(&a->thread, &attr, run_thread, a) == 0;
    pthread_attr_destroy(&attr);
    return started ? ERR_OK : ERR_NO_MEMORY;
}

/* -- from other threads -------------------------------------------------------------- */

/* A loop that stops may have gone, with what a poke needs. */
static void poke_locked(struct async *a)
{
    if (!a->stopping)
        loop_poke(&a->loop);
}

void async_give(struct async *a, struct job_list *jobs)
{
    struct job *job;

    monitor_lock(&a->monitor);
    while ((job = job_list_take(jobs)) != NULL)
        job_list_insert(&a->waiting, job);
    poke_locked(a);
    monitor_unlock(&a->monitor);
}

struct job *async_take_out(struct async *a, int64_t job_id)
{
    monitor_lock(&a->monitor);
    struct job *job = job_list_take_id(&a->waiting, job_id);
    monitor_unlock(&a->monitor);
    return job;
}

void async_take_waiting(struct async *a, int64_t claimed_before_us, struct job_list *out)
{
    monitor_lock(&a->monitor);
    job_list_take_old(&a->waiting, claimed_before_us, out);
    monitor_unlock(&a->monitor);
}

struct pool_count async_count(struct async *a)
{
    monitor_lock(&a->monitor);
    struct pool_count count = {
        .threads = a->most, .running = a->n_running, .waiting = a->waiting.n};
    monitor_unlock(&a->monitor);
    return count;
}

void async_poke(struct async *a)
{
    monitor_lock(&a->monitor);
    poke_locked(a);
    monitor_unlock(&a->monitor);
}

bool async_close(struct async *a)
{
    if (a == NULL)
        return true;
    monitor_lock(&a->monitor);
    poke_locked(a); /* the loop reads `stopping` under the lock, so it is still there */
    a->stopping = true;
    bool idle = a->n_running == 0 && atomic_load(&a->loop.n_loose) == 0;
    monitor_unlock(&a->monitor);
    if (idle)
        pthread_join(a->thread, NULL);
    return idle; /* else a task does not obey, and goes with the process */
}

void async_free(struct async *a)
{
    if (a == NULL)
        return;
    monitor_release(&a->monitor);
    free(a);
}
