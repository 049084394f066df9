/* What a task wants to be different from its next attempt on: a node inside of the test,
 * against a real database. tests/isolate/children.c has the same for a child process. */
#include "tests/support/cluster.h"
#include "tests/support/inside.h"
#include "tests/support/service.h"

#include <criterion/criterion.h>
#include <string.h>

static const char *url;
static struct config config;
static struct node *node;

/* -- tasks --------------------------------------------------------------------------- */

static enum job_result say_where(struct job_ctx *ctx)
{
    return job_ok_json(ctx, "{\"queue\":\"%s\"}", job_queue(ctx));
}

static enum job_result move(struct job_ctx *ctx)
{
    if (job_attempt(ctx) > 1)
        return say_where(ctx);
    cr_expect(job_next_queue(ctx, "first"));
    cr_expect(job_next_queue(ctx, "other/1")); /* the last one counts */
    cr_expect(job_next_priority(ctx, 7));
    cr_expect(job_next_lock(ctx, "l\xc3\xa9"));
    return job_retry_in(ctx, 0, "not here");
}

static enum job_result move_after_a_failure(struct job_ctx *ctx)
{
    if (job_attempt(ctx) > 1)
        return say_where(ctx);
    cr_expect(job_next_queue(ctx, "other/1"));
    cr_expect(job_next_lock(ctx, NULL));
    return job_failed(ctx, "broken", "not here");
}

static enum job_result ask_for_nonsense(struct job_ctx *ctx)
{
    char longer[300];

    if (job_attempt(ctx) > 1)
        return say_where(ctx);
    memset(longer, 'x', sizeof longer);
    longer[129] = '\0';
    cr_expect(job_next_queue(ctx, longer + 1));
    cr_expect_not(job_next_queue(ctx, longer));
    cr_expect_not(job_next_queue(ctx, ""));
    cr_expect_not(job_next_queue(ctx, NULL));
    cr_expect_not(job_next_queue(ctx, "a queue"));
    cr_expect(job_next_queue(ctx, "good"));
    longer[129] = 'x';
    longer[256] = '\0';
    cr_expect_not(job_next_lock(ctx, longer));
    cr_expect_not(job_next_lock(ctx, ""));
    cr_expect_not(job_next_lock(ctx, "half \xc3"));
    return job_retry_in(ctx, 0, "again");
}

static enum job_result move_and_fail(struct job_ctx *ctx)
{
    job_next_queue(ctx, "other/1");
    return job_failed(ctx, "broken", "for good, where there is one attempt");
}

static const struct task all[] = {
    {.name = "move", .run = move, .kind = TASK_SYNC},
    {.name = "async_move", .run = move, .kind = TASK_ASYNC},
    {.name = "move_after_a_failure", .run = move_after_a_failure, .kind = TASK_ASYNC},
    {.name = "ask_for_nonsense", .run = ask_for_nonsense, .kind = TASK_SYNC},
    {.name = "move_and_fail", .run = move_and_fail, .kind = TASK_SYNC},
};
static const struct task *tasks[sizeof all / sizeof *all + 1];

/* -- the node ------------------------------------------------------------------------ */

static void set_up(void)
{
    url = cluster_database();
    node = inside_node(url, &config, "--backoff-base-seconds 0", all, tasks,
                       sizeof all / sizeof *all);
}

static void tear_down(void)
{
    cr_expect_eq(node_close(node), 0);
    node_free(node);
    config_release(&config);
}

TestSuite(next, .init = set_up, .fini = tear_down, .timeout = 90);

/* Where it is when it has ended. */
static const char *after(const char *task, int max_attempts)
{
    long id = (long)cluster_int(
        url, text_of("SELECT belay.enqueue('%s', max_attempts => %d, lock => 'old')",
                     task, max_attempts));

    wait_until(cluster_int(url, text_of("SELECT count(*) FROM belay.ends WHERE id = %ld",
                                        id)) == 1);
    return cluster_psql(
        url,
        text_of("SELECT concat_ws(' ', j ->> 'status', j #>> '{result,queue}', j ->> "
                "'queue', j ->> 'priority', coalesce(j ->> 'lock', 'none'))"
                " FROM CAST(belay.job(%ld) AS json) j",
                id));
}

/* -- what becomes of it -------------------------------------------------------------- */

Test(next, a_task_moves_its_job_to_another_queue_priority_and_lock)
{
    cr_expect_str_eq(after("move", 3), "succeeded other/1 other/1 7 l\xc3\xa9");
    cr_expect_str_eq(after("async_move", 3), "succeeded other/1 other/1 7 l\xc3\xa9");
}

Test(next, a_failure_with_attempts_left_moves_it_as_well)
{
    cr_expect_str_eq(after("move_after_a_failure", 2),
                     "succeeded other/1 other/1 0 none");
}

Test(next, what_is_no_name_is_refused_and_changes_nothing)
{
    cr_expect_str_eq(after("ask_for_nonsense", 2), "succeeded good good 0 old");
}

Test(next, a_job_that_ends_for_good_stays_as_it_was)
{
    cr_expect_str_eq(after("move_and_fail", 1), "failed default 0 old");
    cr_expect_str_eq(after("move_and_fail", 2), "failed other/1 0 old");
}
