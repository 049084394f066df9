/* async_pay: the example of a task with a part that must not be cut off.
 *
 *     {"seconds": 0.5, "after": "abort"}    or "succeed"
 *
 * It has a payment to commit, which takes a while. Once that has begun it must not be cut
 * off, but an abort should not have to wait for what comes after it either. So the
 * payment runs as a child behind a shield: an abort reaches the task at once, and the
 * payment goes on. The task then waits for the payment to its end, and decides what the
 * job becomes: aborted, with a message that says how far it has got, or succeeded all the
 * same, because what was wanted is done. */
#include "workers/task.h"

#include <jansson.h>
#include <string.h>

struct payment {
    int64_t ms;
    bool committed;
};

/* Stands for what really takes time: a request, a transaction. */
static int commit_payment(struct job_ctx *ctx, void *arg)
{
    struct payment *payment = arg;
    int e = await_sleep(ctx, payment->ms, JOB_FOREVER);

    payment->committed = e == JOB_OK;
    return e;
}

static enum job_result pay(struct job_ctx *ctx, struct payment *payment, bool succeeds)
{
    struct job_child *important = await_spawn(ctx, commit_payment, payment);

    if (important == NULL)
        return job_failed(ctx, "no_memory", "the payment has not begun");
    if (await_shielded(ctx, important, "commit payment", JOB_FOREVER) == JOB_CANCELLED) {
        await_join(ctx, important, NULL, JOB_FOREVER);
        if (!payment->committed) /* a further abort has reached it */
            return job_aborted(ctx, "the payment was not committed");
        if (!succeeds)
            return job_aborted(ctx, "the payment was committed, the mail was not sent");
    } else if (await_sleep(ctx, 10, JOB_FOREVER) == JOB_CANCELLED) { /* the mail */
        return job_aborted(ctx, "the payment was committed, the mail was not sent");
    }
    return job_ok_json(ctx, "{\"committed\":%s}", payment->committed ? "true" : "false");
}

static enum job_result async_pay(struct job_ctx *ctx)
{
    json_error_t error;
    json_t *args = json_loads(job_args(ctx), 0, &error);
    const json_t *seconds = json_object_get(args, "seconds");
    const char *after = json_string_value(json_object_get(args, "after"));
    struct payment payment = {.ms = json_is_number(seconds)
                                        ? (int64_t)(json_number_value(seconds) * 1000)
                                        : 500};
    bool succeeds = after != NULL && strcmp(after, "succeed") == 0;

    json_decref(args);
    return pay(ctx, &payment, succeeds);
}

const struct task task_async_pay = {
    .name = "async_pay",
    .kind = TASK_ASYNC,
    .run = async_pay,
    .description =
        "commits a payment behind a shield; {\"after\": \"abort\"|\"succeed\"}",
};
