#include "workers/declaration_retry.h"

#include "workers/strategy.h"

#include <stdlib.h>

static bool in_range(const double *seconds, const char *key, struct buf *why)
{
    if (seconds == NULL || (*seconds >= 0 && *seconds <= STRATEGY_SECONDS_MAX))
        return true;
    buf_addf(why, "retry: %s is %g; it should be from 0 to %d", key, *seconds,
             STRATEGY_SECONDS_MAX);
    return false;
}

/* In the words of task.h, where 0 stands for the setting. */
static double seconds_of(const double *given)
{
    if (given == NULL)
        return 0;
    return *given > 0 ? *given : -1;
}

bool declared_retry_make(struct declared_retry *r, struct buf *why)
{
    if (r == NULL)
        return true;
    if (!in_range(r->wait_seconds, "wait_seconds", why) ||
        !in_range(r->max_wait_seconds, "max_wait_seconds", why))
        return false;
    r->made =
        (struct retry_strategy){.kind = r->kind,
                                .jitter = r->jitter,
                                .wait_seconds = seconds_of(r->wait_seconds),
                                .max_wait_seconds = seconds_of(r->max_wait_seconds)};
    if (r->on == NULL)
        return true;
    r->kinds = calloc((size_t)r->on_count + 1, sizeof *r->kinds);
    if (r->kinds == NULL)
        return false;
    for (uint32_t i = 0; i < r->on_count; i++)
        r->kinds[i] = r->on[i];
    r->made.on = r->kinds;
    return true;
}

void declared_retry_release(struct declared_retry *r)
{
    if (r != NULL)
        free(r->kinds);
}

const struct retry_strategy *declared_retry_strategy(const struct declared_retry *r)
{
    return r != NULL ? &r->made : NULL;
}
