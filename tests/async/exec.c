/* await_exec(): programs that async tasks wait for. */
#include "server/core/clock.h"
#include "tests/async/harness.h"
#include "tests/support/service.h"
#include "workers/process.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

static void set_up(void)
{
    cr_assert_eq(process_zygote_start(), ERR_OK);
}

TestSuite(exec, .init = set_up, .fini = process_zygote_stop, .timeout = 60);

static const char *gate; /* a file that a program makes when it has got so far */

/* /bin/sh -c SCRIPT, in which $1 is the gate. */
static int run_script(struct job_ctx *ctx, const char *script, struct exec_answer *out,
                      int64_t grace_ms, int64_t timeout_ms)
{
    const char *argv[] = {"sh", "-c", script, "sh", gate != NULL ? gate : "", NULL};
    struct exec_request request = {.argv = argv, .grace_ms = grace_ms};

    return await_exec(ctx, &request, out, timeout_ms);
}

/* Cancels the job so many times, from when the gate is there. */
static int cancel_at_gate(struct job_ctx *ctx, void *arg)
{
    int times = *(const int *)arg; /* its owner may be gone after the first */

    while (access(gate, F_OK) != 0)
        await_sleep(ctx, 2, JOB_FOREVER);
    for (int i = 0; i < times; i++) {
        test_cancel();
        await_sleep(ctx, 20, JOB_FOREVER);
    }
    return 0;
}

/* -- what it answers ----------------------------------------------------------------- */

static void tells_output_and_status(struct job_ctx *ctx)
{
    struct exec_answer answer;

    cr_expect_eq(run_script(ctx, "echo out; echo err >&2; exit 7", &answer, 0, -1),
                 JOB_OK);
    cr_expect_eq(answer.status, 7);
    cr_expect_eq(answer.signal, 0);
    cr_expect_str_eq(answer.out, "out\n");
    cr_expect_str_eq(answer.err, "err\n");
    cr_expect_not(answer.out_cut);
    exec_answer_release(&answer);
    cr_expect_eq(run_script(ctx, "kill -SEGV $$", &answer, 0, -1), JOB_OK);
    cr_expect_eq(answer.status, -1);
    cr_expect_eq(answer.signal, SIGSEGV);
    cr_expect_str_eq(answer.out, "");
    exec_answer_release(&answer);
}
Test(exec, output_and_exit_code_are_the_answer)
{
    run_async(tells_output_and_status);
}

static void keeps_the_end(struct job_ctx *ctx)
{
    const char *argv[] = {"sh", "-c", "seq 1 200000; seq 1 3 >&2", NULL};
    struct exec_request request = {.argv = argv, .output_most = 14};
    struct exec_answer answer;

    cr_expect_eq(await_exec(ctx, &request, &answer, JOB_FOREVER), JOB_OK);
    cr_expect_str_eq(answer.out, "199999\n200000\n");
    cr_expect_eq(answer.out_len, 14);
    cr_expect(answer.out_cut);
    cr_expect_str_eq(answer.err, "1\n2\n3\n");
    cr_expect_not(answer.err_cut);
    exec_answer_release(&answer);
}
Test(exec, of_a_long_output_the_end_is_kept)
{
    run_async(keeps_the_end);
}

static void passes_input(struct job_ctx *ctx)
{
    static char input[1 << 20];
    const char *argv[] = {"sh", "-c", "pwd; echo $COLOUR $SECRET; wc -c", NULL};
    const char *env[] = {"COLOUR=blue", NULL};
    struct exec_request request = {.argv = argv,
                                   .env = env,
                                   .directory = "/",
                                   .input = input,
                                   .input_len = sizeof input};
    struct exec_answer answer;

    setenv("SECRET", "canary", 1);
    cr_expect_eq(await_exec(ctx, &request, &answer, JOB_FOREVER), JOB_OK);
    cr_expect_str_eq(answer.out, "/\nblue\n1048576\n");
    exec_answer_release(&answer);
    request.argv = (const char *[]){"env", NULL};
    request.env = (const char *[]){"PATH=/usr/bin:/bin", "LANG=C", NULL};
    request.input_len = 0;
    setenv("HOME", "/tmp", 1);
    cr_expect_eq(await_exec(ctx, &request, &answer, JOB_FOREVER), JOB_OK);
    cr_expect_str_eq(answer.out, "PATH=/usr/bin:/bin\nLANG=C\nHOME=/tmp\n");
    exec_answer_release(&answer);
}
Test(exec, input_environment_and_directory_reach_the_program)
{
    run_async(passes_input);
}

static void says_why_not(struct job_ctx *ctx)
{
    static char big[PROCESS_COMMAND_MAX + 1];
    const char *argv[] = {"/no/such/program", NULL, NULL};
    struct exec_request request = {.argv = argv};
    struct exec_answer answer;

    cr_expect_eq(await_exec(ctx, &request, &answer, JOB_FOREVER), -ENOENT);
    cr_expect_str_eq(answer.out, "");
    exec_answer_release(&answer);
    argv[0] = "/etc/passwd";
    cr_expect_eq(await_exec(ctx, &request, &answer, JOB_FOREVER), -EACCES);
    exec_answer_release(&answer);
    memset(big, 'x', sizeof big - 1);
    argv[0] = "true";
    argv[1] = big;
    cr_expect_eq(await_exec(ctx, &request, &answer, JOB_FOREVER), -E2BIG);
    exec_answer_release(&answer);
}
Test(exec, a_program_that_cannot_run_says_why)
{
    run_async(says_why_not);
}

static int sleeps_a_bit(struct job_ctx *ctx, void *arg)
{
    struct exec_answer answer;
    int e = run_script(ctx, "sleep 0.5", &answer, 0, JOB_FOREVER);

    (void)arg;
    exec_answer_release(&answer);
    return e;
}

static void runs_many(struct job_ctx *ctx)
{
    struct job_child *children[20];
    int64_t began_ms = clock_ms();
    int result = -1;

    for (int i = 0; i < 20; i++)
        children[i] = await_spawn(ctx, sleeps_a_bit, NULL);
    for (int i = 0; i < 20; i++) {
        cr_expect_eq(await_join(ctx, children[i], &result, JOB_FOREVER), JOB_OK);
        cr_expect_eq(result, JOB_OK);
    }
    cr_expect_lt(ms_since(began_ms), 8000, "%d ms, one after the other 10000",
                 (int)ms_since(began_ms));
}
Test(exec, programs_run_beside_each_other)
{
    run_async(runs_many);
}

/* -- how it is stopped --------------------------------------------------------------- */

/* Leaves a daemon behind that has a session of its own, ignores SIGTERM, and tells its
 * process id. */
static const char daemons[] = "setsid sh -c \"trap '' TERM; echo \\$\\$ >$1.new;"
                              " mv $1.new $1; sleep 300\" & sleep 300";

static pid_t pid_in_gate(void)
{
    FILE *f = fopen(gate, "r");
    int pid = 0;

    cr_expect(f != NULL && fscanf(f, "%d", &pid) == 1);
    if (f != NULL)
        fclose(f);
    return pid;
}

static bool is_gone(pid_t pid)
{
    return pid > 0 && kill(pid, 0) != 0 && errno == ESRCH;
}

static void leaves_nothing_when_cancelled(struct job_ctx *ctx)
{
    struct exec_answer answer;
    int once = 1;

    await_spawn(ctx, cancel_at_gate, &once);
    cr_expect_eq(run_script(ctx, daemons, &answer, 200, JOB_FOREVER), JOB_CANCELLED);
    cr_expect(is_gone(pid_in_gate()), "the daemon has survived the cancel");
    exec_answer_release(&answer);
}
Test(exec, nothing_survives_a_cancel)
{
    gate = scratch_path("gate");
    run_async(leaves_nothing_when_cancelled);
}

static void leaves_nothing_at_its_deadline(struct job_ctx *ctx)
{
    struct exec_answer answer;
    int64_t began_ms = clock_ms();

    cr_expect_eq(run_script(ctx, daemons, &answer, 100, 1500), JOB_TIMEOUT);
    cr_expect_geq(ms_since(began_ms), 1499);
    cr_expect(is_gone(pid_in_gate()), "the daemon has survived the deadline");
    exec_answer_release(&answer);
}
Test(exec, nothing_survives_a_deadline)
{
    gate = scratch_path("gate");
    run_async(leaves_nothing_at_its_deadline);
}

static void leaves_nothing_when_it_ends(struct job_ctx *ctx)
{
    struct exec_answer answer;

    cr_expect_eq(run_script(ctx,
                            "setsid sh -c \"echo \\$\\$ >$1; sleep 300\" &"
                            " while [ ! -s $1 ]; do sleep 0.01; done",
                            &answer, 0, JOB_FOREVER),
                 JOB_OK);
    cr_expect_eq(answer.status, 0);
    cr_expect(is_gone(pid_in_gate()), "the daemon has survived the program");
    exec_answer_release(&answer);
}
Test(exec, nothing_survives_the_program_s_own_end)
{
    gate = scratch_path("gate");
    run_async(leaves_nothing_when_it_ends);
}

static void says_goodbye(struct job_ctx *ctx)
{
    struct exec_answer answer;
    int once = 1;

    await_spawn(ctx, cancel_at_gate, &once);
    cr_expect_eq(run_script(ctx,
                            "trap 'echo bye; exit 3' TERM; echo hello; touch $1;"
                            " while :; do sleep 0.01; done",
                            &answer, 0, JOB_FOREVER),
                 JOB_CANCELLED);
    cr_expect_str_eq(answer.out, "hello\nbye\n");
    cr_expect_eq(answer.status, 3);
    exec_answer_release(&answer);
}
Test(exec, a_cancelled_program_can_clean_up_and_is_heard)
{
    gate = scratch_path("gate");
    run_async(says_goodbye);
}

static const char deaf[] = "trap '' TERM; touch $1; while :; do sleep 0.01; done";

static void is_killed_after_the_grace(struct job_ctx *ctx)
{
    struct exec_answer answer;
    int once = 1;

    await_spawn(ctx, cancel_at_gate, &once);
    cr_expect_eq(run_script(ctx, deaf, &answer, 150, JOB_FOREVER), JOB_CANCELLED);
    cr_expect_eq(answer.signal, SIGKILL);
    exec_answer_release(&answer);
}
Test(exec, a_program_that_does_not_obey_is_killed_after_the_grace)
{
    gate = scratch_path("gate");
    run_async(is_killed_after_the_grace);
}

static void is_killed_by_a_second_cancel(struct job_ctx *ctx)
{
    struct exec_answer answer;
    int64_t began_ms = clock_ms();
    int twice = 2;

    await_spawn(ctx, cancel_at_gate, &twice);
    cr_expect_eq(run_script(ctx, deaf, &answer, 600000, JOB_FOREVER), JOB_CANCELLED);
    cr_expect_eq(answer.signal, SIGKILL);
    cr_expect_lt(ms_since(began_ms), 20000);
    exec_answer_release(&answer);
}
Test(exec, a_second_cancel_kills_at_once)
{
    gate = scratch_path("gate");
    run_async(is_killed_by_a_second_cancel);
}

static void survives_its_supervisor(struct job_ctx *ctx)
{
    struct exec_answer answer;

    cr_expect_eq(run_script(ctx, "echo $PPID; kill -9 $PPID; sleep 300", &answer, 0, -1),
                 -EIO);
    cr_expect_eq(answer.status, -1);
    exec_answer_release(&answer);
    cr_expect_eq(run_script(ctx, "exit 0", &answer, 0, JOB_FOREVER), JOB_OK);
    exec_answer_release(&answer);
}
Test(exec, a_supervisor_that_was_killed_is_an_error)
{
    run_async(survives_its_supervisor);
}
