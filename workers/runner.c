/* From a claimed job to its end, on one thread of the pool.
 *
 * What the task returned and what was asked of it decide together: after an abort there
 * is no retry, whatever the task says, unless it only took too long; and a job that stops
 * because this node stops goes back to todo, as if it had not been started. The database
 * decides once more with its own guards, because a request may be on its way. */
#include "workers/runner.h"

#include "server/core/cleanup.h"
#include "server/core/clock.h"
#include "server/core/log.h"
#include "workers/context.h"
#include "workers/isolate.h"
#include "workers/next.h"
#include "workers/parts.h"
#include "workers/strategy.h"
#include "workers/tally.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static void end_with(struct job *job, enum job_fate fate, const char *status)
{
    job->fate = fate;
    job->status = status;
}

/* It failed: again, while attempts are left, as the strategy says, and nobody asked it
 * to stop. */
static void end_failed(struct job_ctx *ctx, const char *kind, const char *message,
                       bool asked)
{
    struct job *job = ctx->job;

    job_set_error(job, kind, message);
    job->retry_ms = strategy_wait_ms(ctx->node->options.config, job, kind);
    end_with(job,
             asked || job->retry_ms < 0 || job->counted >= job->max_attempts
                 ? FATE_FINISHED
                 : FATE_RETRY,
             "failed");
}

static void end_retry(struct job_ctx *ctx, bool asked)
{
    struct job *job = ctx->job;

    job_set_error(job, "retry", ctx->message != NULL ? ctx->message : "not now");
    job->retry_ms = ctx->retry_ms;
    end_with(job, asked ? FATE_FINISHED : FATE_RETRY, "failed");
}

static void end_succeeded(struct job_ctx *ctx, bool asked)
{
    struct job *job = ctx->job;

    if (ctx->bad_result) {
        end_failed(ctx, "bad_result", "the task's result is not JSON", asked);
        return;
    }
    job->result = ctx->result;
    job->result_len = ctx->result_len;
    ctx->result = NULL;
    end_with(job, FATE_FINISHED, "succeeded");
}

static void end_aborted(struct job_ctx *ctx)
{
    struct job *job = ctx->job;

    job->message = ctx->message;
    ctx->message = NULL;
    job->killed = ctx->killed;
    end_with(job, FATE_FINISHED, "aborted");
}

/* It was stopped because it took too long. That is nobody's wish, so it counts as a
 * failure like any other: again, while attempts are left. */
static void end_timed_out(struct job_ctx *ctx)
{
    CLEANUP(buf_release) struct buf words = BUF_INIT;
    struct job *job = ctx->job;

    buf_addf(&words, "it took longer than %g s", (double)job->timeout_ms / MS_PER_SECOND);
    if (ctx->message != NULL)
        buf_addf(&words, ": %s", ctx->message);
    end_failed(ctx, "timeout", words.text, false);
    job->message = ctx->message;
    ctx->message = NULL;
    job->killed = ctx->killed;
    job->fate = FATE_TIMEOUT;
}

static void conclude(struct job_ctx *ctx, enum job_result result)
{
    struct abort_info info = {.cause = ABORT_USER};
    bool asked = abort_watch_info(ctx->node->aborts, &ctx->job->watch, &info);
    bool shutdown = asked && info.cause == ABORT_SHUTDOWN;
    bool late = asked && info.cause == ABORT_TIMEOUT;

    if (shutdown && result != JOB_SUCCEEDED) {
        end_with(ctx->job, FATE_SHUTDOWN, "todo");
        return;
    }
    asked = asked && !late;
    switch (result) {
    case JOB_SUCCEEDED:
        end_succeeded(ctx, asked);
        break;
    case JOB_FAILED:
        end_failed(ctx, ctx->kind != NULL ? ctx->kind : "failed",
                   ctx->message != NULL ? ctx->message : "", asked);
        break;
    case JOB_ABORTED:
        if (late)
            end_timed_out(ctx);
        else
            end_aborted(ctx);
        break;
    case JOB_RETRY:
        end_retry(ctx, asked);
        break;
    }
}

static bool may_retry(const struct job *job)
{
    return job->fate == FATE_RETRY || (job->fate == FATE_TIMEOUT && job->retry_ms >= 0 &&
                                       job->counted < job->max_attempts);
}

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic push
/* Both texts are the job's, which job_free() frees. */
#pragma GCC diagnostic ignored "-Wanalyzer-malloc-leak"
#endif
/* What the task wants to be different then. Its queue once more by itself, because one
 * that was never seen is made before all else (ends.c). */
static void take_next(struct job_ctx *ctx)
{
    const char *queue = json_string_value(json_object_get(ctx->next, "queue"));

    ctx->job->changes = next_text(ctx);
    ctx->job->new_queue = queue != NULL ? strdup(queue) : NULL;
}
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic pop
#endif

static void log_end(const struct job *job)
{
    double ms = (double)(job->ended_us - job->started_us) / US_PER_MS;

    if (job->fate == FATE_FINISHED && strcmp(job->status, "succeeded") == 0)
        log_debug("job_finish", "job=%" PRId64 " attempt=%d task=%s status=%s ms=%.1f",
                  job->id, job->attempt, job->task_name, job->status, ms);
    else
        log_info("job_finish",
                 "job=%" PRId64 " attempt=%d task=%s status=%s retry=%s ms=%.1f why=%s",
                 job->id, job->attempt, job->task_name, job->status,
                 may_retry(job) ? "true" : "false", ms,
                 log_quoted(job->error != NULL ? job->error : job->message));
}

bool run_begin(struct job_ctx *ctx, struct node *node, struct job *job,
               struct abort_slot *slot)
{
    *ctx = (struct job_ctx){.head = {.cell = slot->cell}, .node = node, .job = job};
    if (!abort_watch_start(node->aborts, &job->watch, slot)) {
        end_with(job, FATE_UNSTARTED, "todo"); /* its open receipt cancels it */
        return false;
    }
    job->started_us = clock_us();
    struct task_tally *tally = node_tally(node, job->task);
    if (tally != NULL)
        tally_start(tally, job);
    if (timeouts_start(node->timeouts, job))
        janitor_look_at_timeouts(node->janitor);
    return true;
}

void run_end(struct job_ctx *ctx, enum job_result result)
{
    struct job *job = ctx->job;

    job->ended_us = clock_us();
    timeouts_stop(ctx->node->timeouts, job);
    conclude(ctx, result);
    if (ctx->next != NULL && may_retry(job))
        take_next(ctx);
    progress_hurry(ctx->node->progress, job);
    log_end(job);
    abort_watch_stop(ctx->node->aborts, &job->watch, &job->delivered_us,
                     &job->acknowledged_us);
    struct task_tally *tally = node_tally(ctx->node, job->task);
    if (tally != NULL)
        tally_abort(tally, job);
    free(ctx->result);
    free(ctx->kind);
    free(ctx->message);
    next_release(ctx);
}

static enum job_result run_task(struct job_ctx *ctx)
{
    const struct job *job = ctx->job;

    if (job->task == NULL)
        return job_failed(ctx, "unknown_task", "this node has no task %s",
                          job->task_name);
    if (job->task->kind == TASK_PROCESS)
        return isolate_run(ctx->node->isolates, ctx);
    return job->task->run(ctx);
}

void run_job(struct node *node, struct job *job, struct abort_slot *slot)
{
    struct job_ctx ctx;

    if (!run_begin(&ctx, node, job, slot))
        return;
    enum job_result result = run_task(&ctx);
    context_run_deferred(&ctx);
    run_end(&ctx, result);
}
