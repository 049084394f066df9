/* The functions of task.h. All texts that a task gives are copied; what does not fit in
 * memory fails the job rather than the process. */
#include "workers/context.h"

#include "server/core/buf.h"
#include "server/core/cleanup.h"
#include "server/core/clock.h"
#include "server/core/log.h"
#include "workers/isolate_child.h"
#include "workers/parts.h"
#include "workers/runner.h"

#include <inttypes.h>
#include <jansson.h>
#include <poll.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

/* -- the job ------------------------------------------------------------------------- */

int64_t job_id(const struct job_ctx *ctx)
{
    return ctx->job->id;
}

int job_attempt(const struct job_ctx *ctx)
{
    return ctx->job->attempt;
}

int job_max_attempts(const struct job_ctx *ctx)
{
    return ctx->job->max_attempts;
}

const char *job_queue(const struct job_ctx *ctx)
{
    return ctx->job->queue;
}

const struct task *job_task(const struct job_ctx *ctx)
{
    return ctx->job->task;
}

const char *job_traceparent(const struct job_ctx *ctx)
{
    return ctx->job->traceparent[0] != '\0' ? ctx->job->traceparent : NULL;
}

const char *job_args(const struct job_ctx *ctx)
{
    return ctx->job->args;
}

/* -- abort --------------------------------------------------------------------------- */

void job_note_abort_seen(struct job_ctx *ctx)
{
    if (ctx->child != NULL) {
        isolate_child_seen(ctx->child);
        return;
    }
    if (atomic_exchange(&ctx->head.cell->seen, 1) != 0)
        return;
    abort_watch_acknowledge(ctx->node->aborts, &ctx->job->watch);
    dispatcher_poke(ctx->node->dispatcher);
}

bool job_abort_info(struct job_ctx *ctx, struct abort_info *out)
{
    if (ctx->child != NULL)
        return isolate_child_abort_info(ctx->child, out);
    return abort_watch_info(ctx->node->aborts, &ctx->job->watch, out);
}

int job_abort_fd(struct job_ctx *ctx)
{
    if (ctx->child != NULL)
        return isolate_child_abort_fd(ctx->child);
    return abort_watch_fd(ctx->node->aborts, &ctx->job->watch);
}

bool job_sleep(struct job_ctx *ctx, int64_t ms)
{
    int e = await_sleep(ctx, ms, JOB_FOREVER);

    if (e != JOB_NO_ASYNC)
        return e == JOB_OK;
    struct pollfd p = {.fd = job_abort_fd(ctx), .events = POLLIN};
    int64_t end_ms = clock_ms() + ms, left_ms = ms;

    while (left_ms > 0 && !job_should_abort(ctx)) {
        int64_t nap_ms = p.fd < 0 && left_ms > 100 ? 100 : left_ms;
        poll(&p, 1, nap_ms < INT32_MAX ? (int)nap_ms : INT32_MAX);
        left_ms = end_ms - clock_ms();
    }
    return !job_should_abort(ctx);
}

/* -- words --------------------------------------------------------------------------- */

void job_progress(struct job_ctx *ctx, double percent, const char *format, ...)
{
    CLEANUP(buf_release) struct buf text = BUF_INIT;

    if (format != NULL) {
        va_list args;
        va_start(args, format);
        buf_vaddf(&text, format, args);
        va_end(args);
    }
    percent = percent >= 0 ? percent : 0; /* NaN, too */
    percent = percent <= 100 ? percent : 100;
    if (ctx->child != NULL)
        isolate_child_progress(ctx->child, percent, text.text);
    else if (progress_report(ctx->node->progress, ctx->job, percent, text.text))
        dispatcher_poke(ctx->node->dispatcher);
}

void job_log(struct job_ctx *ctx, const char *format, ...)
{
    CLEANUP(buf_release) struct buf text = BUF_INIT;
    va_list args;

    va_start(args, format);
    buf_vaddf(&text, format, args);
    va_end(args);
    if (ctx->child != NULL) {
        isolate_child_log(ctx->child, text.text);
        return;
    }
    log_info("job_log", "job=%" PRId64 " attempt=%d task=%s message=%s", ctx->job->id,
             ctx->job->attempt, ctx->job->task_name, log_quoted(text.text));
}

/* -- results ------------------------------------------------------------------------- */

static void take_text(char **out, const char *format, va_list args) PRINTF_LIKE(2, 0);
static void take_text(char **out, const char *format, va_list args)
{
    struct buf text = BUF_INIT;

    buf_vaddf(&text, format, args);
    free(*out);
    *out = buf_detach(&text);
}

enum job_result job_ok(struct job_ctx *ctx)
{
    (void)ctx;
    return JOB_SUCCEEDED;
}

/* PostgreSQL checks it again; a bad one must not spoil the batch of the others. A number
 * too large for a double is JSON; what stands behind it is left to PostgreSQL. */
static bool is_json(const char *text, size_t len)
{
    json_error_t error;
    json_t *value =
        json_loadb(text, len, JSON_DECODE_ANY | JSON_DECODE_INT_AS_REAL, &error);

    json_decref(value);
    return value != NULL || json_error_code(&error) == json_error_numeric_overflow;
}

enum job_result job_ok_text(struct job_ctx *ctx, const char *json, int64_t len)
{
    free(ctx->result);
    ctx->result = malloc((size_t)len + 1);
    ctx->result_len = len;
    /* What a child says is checked by the node, once. */
    ctx->bad_result =
        ctx->result == NULL || (ctx->child == NULL && !is_json(json, (size_t)len));
    if (ctx->result != NULL) {
        memcpy(ctx->result, json, (size_t)len);
        ctx->result[len] = '\0';
    }
    return JOB_SUCCEEDED;
}

enum job_result job_ok_json(struct job_ctx *ctx, const char *format, ...)
{
    CLEANUP(buf_release) struct buf text = BUF_INIT;
    va_list args;

    va_start(args, format);
    buf_vaddf(&text, format, args);
    va_end(args);
    return job_ok_text(ctx, text.text, (int64_t)text.len);
}

enum job_result job_failed(struct job_ctx *ctx, const char *kind, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    take_text(&ctx->message, format, args);
    va_end(args);
    free(ctx->kind);
    ctx->kind = strdup(kind);
    return JOB_FAILED;
}

enum job_result job_aborted(struct job_ctx *ctx, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    take_text(&ctx->message, format, args);
    va_end(args);
    return JOB_ABORTED;
}

enum job_result job_retry_in(struct job_ctx *ctx, double seconds, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    take_text(&ctx->message, format, args);
    va_end(args);
    ctx->retry_ms = seconds > 0 ? (int64_t)(seconds * MS_PER_SECOND) : 0;
    return JOB_RETRY;
}

void job_set_killed(struct job_ctx *ctx)
{
    ctx->killed = true;
}

/* -- deferred ------------------------------------------------------------------------ */

struct deferred {
    struct deferred *next;
    void (*fn)(struct job_ctx *ctx, void *arg);
    void *arg;
};

bool job_defer(struct job_ctx *ctx, void (*fn)(struct job_ctx *ctx, void *arg), void *arg)
{
    struct deferred *d = malloc(sizeof *d);

    if (d == NULL)
        return false;
    *d = (struct deferred){.next = ctx->deferred, .fn = fn, .arg = arg};
    ctx->deferred = d;
    return true;
}

void context_run_deferred(struct job_ctx *ctx)
{
    while (ctx->deferred != NULL) {
        struct deferred d = *ctx->deferred;
        free(ctx->deferred);
        ctx->deferred = d.next;
        d.fn(ctx, d.arg);
    }
}
