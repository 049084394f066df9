/* Which tasks run in child processes; what happens there is in tests/isolate. */
#include "workers/isolate.h"

#include <criterion/criterion.h>
#include <stdio.h>

static const struct task plain = {.name = "plain"},
                         own = {.name = "own", .isolation = TASK_IN_PROCESS},
                         loop = {.name = "loop", .kind = TASK_ASYNC},
                         command = {.name = "command", .escalation = ESCALATE_KILL};
static const struct task *const tasks[] = {&plain, &own, &loop, &command, NULL};

static bool has(const char *setting, const struct task *task)
{
    char words[64];
    struct config config = {.isolate = words};

    snprintf(words, sizeof words, "%s", setting);
    return isolates_has(&config, task);
}

static void expect_check(const char *setting, const char *why_not)
{
    char words[64];
    struct config config = {.isolate = words};
    struct buf why = BUF_INIT;

    snprintf(words, sizeof words, "%s", setting);
    cr_expect_eq(isolates_check(&config, tasks, &why),
                 *why_not == '\0' ? ERR_OK : ERR_CONFIG);
    cr_expect_str_eq(why.text, why_not);
    buf_release(&why);
}

Test(isolate, a_task_says_so_or_the_setting_does)
{
    cr_expect(has("", &own));
    cr_expect_not(has("", &plain));
    cr_expect(has("other, plain", &plain));
    cr_expect_not(has("plai,plainer", &plain));
    cr_expect(has("*", &plain));
}

Test(isolate, what_has_no_thread_to_leave_is_not_isolated)
{
    cr_expect_not(has("*", &loop));
    cr_expect_not(has("*", &command));
}

Test(isolate, a_mistake_in_the_setting_is_found_at_the_start)
{
    expect_check("", "");
    expect_check("*", "");
    expect_check("own,plain", "");
    expect_check("plain,plane", "isolate: plane is not a task");
    expect_check("loop", "isolate: loop is not a task that runs on a thread");
    expect_check("command", "isolate: command is not a task that runs on a thread");
}
