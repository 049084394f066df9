/* Those of the awaitables that reach out of the process, for the table. */
#include "tests/async/awaitables.h"
#include "tests/async/web.h"
#include "tests/support/cluster.h"
#include "workers/process.h"

#include <criterion/criterion.h>

static const char *url;

void outside_open(void)
{
    cr_assert_eq(process_zygote_start(), ERR_OK);
    web_open();
    url = cluster_empty_database();
}

void outside_close(void)
{
    process_zygote_stop();
}

/* -- exec ---------------------------------------------------------------------------- */

static int run_program(struct job_ctx *ctx, const char *const *argv, int64_t timeout_ms)
{
    struct exec_request request = {.argv = argv, .grace_ms = 1000};
    struct exec_answer answer;
    int e = await_exec(ctx, &request, &answer, timeout_ms);

    cr_expect(e != JOB_OK || answer.status == 0);
    exec_answer_release(&answer);
    return e;
}

int exec_completes(struct job_ctx *ctx)
{
    const char *argv[] = {"true", NULL};

    return run_program(ctx, argv, JOB_FOREVER);
}

int exec_hangs(struct job_ctx *ctx, int64_t timeout_ms)
{
    const char *argv[] = {"sleep", "600", NULL};

    return run_program(ctx, argv, timeout_ms);
}

/* -- http ---------------------------------------------------------------------------- */

static int get(struct job_ctx *ctx, const char *path, int64_t timeout_ms)
{
    struct http_request request = {.url = web_url(path)};
    struct http_answer answer;
    int e = await_http(ctx, &request, &answer, timeout_ms);

    cr_expect(e != JOB_OK || answer.status == 200);
    http_answer_release(&answer);
    return e;
}

int http_completes(struct job_ctx *ctx)
{
    return get(ctx, "/hello", JOB_FOREVER);
}

int http_hangs(struct job_ctx *ctx, int64_t timeout_ms)
{
    return get(ctx, "/hang", timeout_ms);
}

/* -- query --------------------------------------------------------------------------- */

static int ask(struct job_ctx *ctx, const char *sql, int64_t timeout_ms)
{
    struct query_request request = {.url = url, .sql = sql};
    struct query_answer answer;
    int e = await_query(ctx, &request, &answer, timeout_ms);

    cr_expect(e != JOB_OK || answer.n_rows == 1);
    query_answer_release(&answer);
    return e;
}

int query_completes(struct job_ctx *ctx)
{
    return ask(ctx, "SELECT 1", JOB_FOREVER);
}

int query_hangs(struct job_ctx *ctx, int64_t timeout_ms)
{
    return ask(ctx, "SELECT pg_sleep(600)", timeout_ms);
}
