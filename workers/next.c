/* A JSON object in the context, made by the first function that has something for it, so
 * that a task which asks for nothing pays nothing. What is asked for again replaces what
 * was. Rejected: a field for each, which the way from a child through the context and the
 * job to the statement would have to know at every step. */
#include "workers/next.h"

#include "server/core/utf8.h"

#include <inttypes.h>
#include <jansson.h>
#include <string.h>

/* As a request may have them. */
enum { QUEUE_MAX_BYTES = 128, LOCK_MAX_BYTES = 255 };

static bool is_queue_name(const char *name)
{
    static const char allowed[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.:/-";
    size_t len = strspn(name, allowed);

    return len > 0 && len <= QUEUE_MAX_BYTES && name[len] == '\0';
}

/* Takes `value`, NULL when there was no memory. */
static bool ask(struct job_ctx *ctx, const char *name, json_t *value)
{
    if (ctx->next == NULL)
        ctx->next = json_object();
    /* takes nothing that is NULL, and NULL for an object */
    return json_object_set_new(ctx->next, name, value) == 0;
}

bool job_next_queue(struct job_ctx *ctx, const char *queue)
{
    if (queue == NULL || !is_queue_name(queue)) {
        job_log(ctx, "job_next_queue: that is no name of a queue, and it stays");
        return false;
    }
    return ask(ctx, "queue", json_string(queue));
}

bool job_next_priority(struct job_ctx *ctx, int priority)
{
    return ask(ctx, "priority", json_integer(priority));
}

bool job_next_lock(struct job_ctx *ctx, const char *lock)
{
    size_t len = lock != NULL ? strlen(lock) : 0;

    if (lock == NULL)
        return ask(ctx, "lock", json_null());
    if (len == 0 || len > LOCK_MAX_BYTES || !utf8_is_good(lock, len)) {
        job_log(ctx, "job_next_lock: that is no lock, and it stays");
        return false;
    }
    return ask(ctx, "lock", json_string(lock));
}

char *next_text(const struct job_ctx *ctx)
{
    return ctx->next != NULL ? json_dumps(ctx->next, JSON_COMPACT) : NULL;
}

void next_take(struct job_ctx *ctx, const char *text)
{
    json_t *next = json_loads(text, 0, NULL);
    const json_t *priority = json_object_get(next, "priority");
    const json_t *queue = json_object_get(next, "queue");
    const json_t *lock = json_object_get(next, "lock");

    if (json_is_string(queue))
        job_next_queue(ctx, json_string_value(queue));
    if (json_is_integer(priority) && json_integer_value(priority) >= INT32_MIN &&
        json_integer_value(priority) <= INT32_MAX)
        job_next_priority(ctx, (int)json_integer_value(priority));
    if (json_is_string(lock) || json_is_null(lock))
        job_next_lock(ctx, json_string_value(lock)); /* NULL for null */
    json_decref(next);
}

void next_release(struct job_ctx *ctx)
{
    json_decref(ctx->next);
    ctx->next = NULL;
}
