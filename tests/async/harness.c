#include "tests/async/harness.h"

#include "server/core/clock.h"

#include <criterion/criterion.h>
#include <stddef.h>

struct test_job {
    struct job_ctx_head head; /* first, as in every context */
    struct abort_cell cell;
    struct scope scope;
    struct loop loop;
    struct deadline cancel;
    void (*body)(struct job_ctx *ctx);
    int ended;
};

static struct test_job *running;

static void run_body(struct scope *scope)
{
    running->body(scope->ctx);
}

static void on_end(struct scope *scope)
{
    (void)scope;
    running->ended++;
}

static void on_cancel(struct deadline *d)
{
    (void)d;
    test_cancel();
}

void run_async(void (*body)(struct job_ctx *ctx))
{
    static struct test_job job;

    job = (struct test_job){.head = {.cell = &job.cell}, .body = body};
    running = &job;
    cr_assert_eq(loop_init(&job.loop), ERR_OK);
    job.scope = (struct scope){.ctx = (struct job_ctx *)(void *)&job.head,
                               .name = "test",
                               .run = run_body,
                               .ended = on_end};
    job.cancel.due = on_cancel;
    cr_assert(scope_start(&job.scope, &job.loop));
    job.loop.stopping = true; /* with its last coroutine */
    loop_run(&job.loop);
    cr_expect_eq(job.ended, 1);
    loop_release(&job.loop);
    running = NULL;
}

void test_cancel(void)
{
    scope_cancel(&running->scope);
}

void test_cancel_in(int64_t ms)
{
    deadline_set(&running->loop.deadlines, &running->cancel, clock_us() + ms * US_PER_MS);
}

struct loop *test_loop(void)
{
    return &running->loop;
}

int64_t ms_since(int64_t then_ms)
{
    return clock_ms() - then_ms;
}

int sleep_for_ever(struct job_ctx *ctx, void *arg)
{
    (void)arg;
    return await_sleep(ctx, INT64_MAX, JOB_FOREVER);
}
