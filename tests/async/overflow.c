/* A task that uses more than its stack, in a process of its own. */
#include "workers/async/overflow.h"

#include "tests/async/harness.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

TestSuite(overflow, .timeout = 60);

/* The array is used after the call, so that this is no loop. */
static int goes_deep(int depth)
{
    volatile char frame[1000];

    frame[depth % 1000] = (char)depth;
    return depth == 0 ? 0 : goes_deep(depth - 1) + frame[depth % 1000];
}

static void uses_too_much(struct job_ctx *ctx)
{
    cr_expect_eq(await_sleep(ctx, 1, JOB_FOREVER), JOB_OK);
    goes_deep(100);
}

static void uses_enough(struct job_ctx *ctx)
{
    cr_expect_eq(await_sleep(ctx, 1, JOB_FOREVER), JOB_OK);
    goes_deep(40);
}

Test(overflow, a_task_that_uses_more_than_its_stack_is_named)
{
    char text[512] = "";
    int fds[2], status = 0;

#ifdef __SANITIZE_ADDRESS__
    cr_skip_test("the sanitizer has a handler of its own");
#endif
    cr_assert_eq(pipe(fds), 0);
    pid_t pid = fork();
    cr_assert_geq(pid, 0);
    if (pid == 0) {
        struct rlimit none = {0, 0};
        setrlimit(RLIMIT_CORE, &none);
        signal(SIGSEGV, SIG_DFL);
        dup2(fds[1], STDERR_FILENO);
        run_async(uses_too_much);
        _exit(0);
    }
    close(fds[1]);
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    cr_expect_geq(read(fds[0], text, sizeof text - 1), 0);
    cr_expect(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV, "status %d", status);
    cr_expect_not_null(strstr(text, "the async task test has used more than its stack"),
                       "%s", text);
}

Test(overflow, a_task_may_use_most_of_its_stack)
{
    run_async(uses_enough);
}
