/* How a command hears of an abort, and what it may do then. */
#include "server/core/cleanup.h"
#include "server/core/clock.h"
#include "tests/workers/fake_job.h"
#include "workers/process.h"

#include <criterion/criterion.h>
#include <string.h>

TestSuite(command_abort, .init = fake_start_zygote, .fini = process_zygote_stop,
          .timeout = 120);

Test(command_abort, an_abort_is_sigterm_to_the_program_and_its_children)
{
    struct fake_job job;

    fake_run_and_abort(&job, "sleep 1000 & echo ready >&2; wait", 60000);
    expect_aborted(&job, "ended by SIGTERM", false);
}

Test(command_abort, a_program_may_clean_up_and_choose_its_exit_code)
{
    struct fake_job job;

    fake_run_and_abort(&job,
                       "trap 'echo cleaning >&2; exit 9' TERM; echo ready >&2; "
                       "while :; do sleep 0.01; done",
                       60000);
    cr_expect(strstr(job.log.text, "cleaning\n") != NULL, "%s", job.log.text);
    expect_aborted(&job, "exit code 9", false);
}

Test(command_abort, exit_code_0_after_an_abort_is_success)
{
    struct fake_job job;

    fake_run_and_abort(
        &job, "trap 'echo 7; exit 0' TERM; echo ready >&2; while :; do sleep 0.01; done",
        60000);
    cr_expect_not(job.killed);
    expect_succeeds(&job, "7");
}

Test(command_abort, what_ignores_sigterm_is_killed_when_the_grace_is_over)
{
    int64_t before_ms = clock_ms();
    struct fake_job job;

    fake_run_and_abort(&job, "trap '' TERM; echo ready >&2; while :; do sleep 0.01; done",
                       300);
    cr_expect_geq(clock_ms() - before_ms, 300);
    expect_aborted(&job, "killed with SIGKILL, the grace was over", true);
}

Test(command_abort, a_daemon_of_an_aborted_program_is_killed_when_the_grace_is_over)
{
    struct fake_job job;

    fake_run_and_abort(
        &job,
        "(setsid sh -c '(trap \"\" TERM; echo ready >&2; while :; do sleep "
        "0.01; done) &' &) ; "
        "sleep 1000",
        300);
    expect_aborted(&job, "ended by SIGTERM; what it left was killed, the grace was over",
                   true);
}

static void shorten_the_grace(struct fake_job *job, const char *line)
{
    if (strcmp(line, "ready") == 0)
        fake_ask_to_abort(job, 3600 * 1000);
    if (strcmp(line, "heard") == 0)
        fake_ask_to_abort(job, 0);
}

Test(command_abort, a_stronger_abort_shortens_the_grace)
{
    struct commands *commands = fake_load_script(
        "trap 'echo heard >&2' TERM; echo ready >&2; while :; do sleep 0.01; done", "");
    struct fake_job job;

    fake_init(&job, fake_commands_tasks(commands)[0], "{}");
    job.on_line = shorten_the_grace;
    fake_run(&job);
    fake_commands_free(commands);
    expect_aborted(&job, "killed with SIGKILL, the grace was over", true);
}

Test(command_abort, an_abort_before_the_start_starts_nothing)
{
    struct commands *commands = fake_load_script("echo started >&2", "");
    struct fake_job job;

    fake_init(&job, fake_commands_tasks(commands)[0], "{}");
    fake_ask_to_abort(&job, 1000);
    fake_run(&job);
    fake_commands_free(commands);
    cr_expect_str_eq(job.log.text, "");
    expect_aborted(&job, "before the program was started", false);
}

Test(command_abort, an_abort_is_found_without_a_descriptor)
{
    struct commands *commands = fake_load_script("echo ready >&2; exec sleep 1000", "");
    struct fake_job job;

    fake_init(&job, fake_commands_tasks(commands)[0], "{}");
    job.on_line = fake_abort_when_ready;
    job.grace_ms = 60000;
    job.deaf = true;
    fake_run(&job);
    fake_commands_free(commands);
    expect_aborted(&job, "ended by SIGTERM", false);
}

Test(command_abort, a_killed_supervisor_fails_the_job)
{
    struct fake_job job;

    fake_run_script(&job, "kill -9 $PPID; sleep 1000", "");
    expect_fails(&job, "supervisor_killed",
                 "its supervisor was killed, and the program with it");
}
