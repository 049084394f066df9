#include "workers/exec.h"

#include "server/core/cleanup.h"
#include "tests/workers/fake_job.h"
#include "workers/process.h"

#include <criterion/criterion.h>

TestSuite(exec, .timeout = 30);

Test(exec, no_file_declares_no_task)
{
    CLEANUP(buf_release) struct buf why = BUF_INIT;
    struct commands *commands = NULL;

    cr_assert_eq(fake_commands_load(NULL, &commands, &why), ERR_OK);
    cr_assert_null(fake_commands_tasks(commands)[0]);
    fake_commands_free(commands);
    commands = fake_load("# nothing\n");
    cr_assert_null(fake_commands_tasks(commands)[0]);
    fake_commands_free(commands);
    fake_commands_free(NULL);
}

Test(exec, each_command_is_a_task)
{
    struct commands *commands =
        fake_load("commands:\n"
                  "  - {name: a, command: [x], description: does a}\n"
                  "  - {name: b, command: [y], max_attempts: 3, grace_seconds: 7}\n");
    const struct task *const *tasks = fake_commands_tasks(commands);

    cr_assert_str_eq(tasks[0]->name, "a");
    cr_assert_str_eq(tasks[0]->description, "does a");
    cr_assert_eq(tasks[0]->max_attempts, 0);
    cr_assert_eq(tasks[0]->kind, TASK_COMMAND);
    cr_assert_str_eq(tasks[1]->name, "b");
    cr_assert_eq(tasks[1]->max_attempts, 3);
    cr_assert_eq(tasks[1]->grace_seconds, 7);
    cr_assert_null(tasks[2]);
    fake_commands_free(commands);
}
