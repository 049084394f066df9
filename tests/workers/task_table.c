#include "workers/task_table.h"

#include "server/core/cleanup.h"
#include "workers/command.h"

#include <criterion/criterion.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

static enum job_result nothing(struct job_ctx *ctx)
{
    return job_ok(ctx);
}

static const struct task mine = {.name = "mine", .kind = TASK_SYNC, .run = nothing};

static struct task_table *table;
static struct buf why;

static void set_up(void)
{
    buf_init(&why);
    cr_assert_eq(task_table_new(&table, &why), ERR_OK, "%s", why.text);
}

static void tear_down(void)
{
    task_table_free(table);
    buf_release(&why);
}

TestSuite(task_table, .init = set_up, .fini = tear_down, .timeout = 30);

static const struct task *find(const char *name)
{
    const struct task *const *t = task_table_list(table);

    while (*t != NULL && strcmp((*t)->name, name) != 0)
        t++;
    return *t;
}

static void refused(enum err e, const char *words)
{
    cr_expect_eq(e, ERR_CONFIG, "%s", err_code(e));
    cr_expect_str_eq(why.text, words);
    buf_clear(&why);
}

static enum err add(struct task task)
{
    return task_table_add(table, &task, "here", &why);
}

Test(task_table, has_the_built_in_tasks_and_those_that_are_added)
{
    cr_assert_eq(task_table_add(table, &mine, "here", &why), ERR_OK);
    cr_expect_not_null(find("echo"));
    cr_expect_eq(find("mine"), &mine);
    cr_expect_null(find("yours"));
}

Test(task_table, a_name_is_taken_once)
{
    cr_assert_eq(task_table_add(table, &mine, "here", &why), ERR_OK);
    refused(task_table_add(table, &mine, "there", &why),
            "there: task mine: the name is taken (here); choose another");
    refused(add((struct task){.name = "echo", .run = nothing}),
            "here: task echo: the name is taken (built in); choose another");
}

Test(task_table, a_task_has_a_name_that_can_be_written_anywhere)
{
    char long_name[130];
    const char *words =
        "here: task %s: the name should be 1 to 128 of A-Z a-z 0-9 _ . : -";
    const char *const bad[] = {"", "two words", "caf\303\251", long_name};

    memset(long_name, 'x', 129);
    long_name[129] = '\0';
    refused(add((struct task){.run = nothing}), "here: a task has no name (.name)");
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        CLEANUP(buf_release) struct buf full = BUF_INIT;
        buf_addf(&full, "%.*s%s%s", 11, words, bad[i], words + 13);
        refused(add((struct task){.name = bad[i], .run = nothing}), full.text);
    }
    long_name[128] = '\0';
    cr_expect_eq(add((struct task){.name = long_name, .run = nothing}), ERR_OK);
}

Test(task_table, a_task_that_could_not_run_is_refused)
{
    refused(add((struct task){.name = "x"}),
            "here: task x: it has no function to run (.run)");
    refused(add((struct task){.name = "x", .run = nothing, .kind = (enum task_kind)99}),
            "here: task x: its kind should be TASK_SYNC, TASK_ASYNC or TASK_PROCESS");
    refused(add((struct task){.name = "x", .run = nothing, .max_attempts = -1}),
            "here: task x: max_attempts should be from 1 to 1000, or 0 for the setting");
    refused(
        add((struct task){.name = "x", .run = nothing, .grace_seconds = 86401}),
        "here: task x: grace_seconds should be from 1 to 86400, or 0 for the setting");
}

Test(task_table, a_retry_strategy_that_could_not_be_is_refused)
{
    static const struct retry_strategy odd = {.kind = (enum retry_kind)9},
                                       slow = {.wait_seconds = 604801};

    refused(add((struct task){.name = "x", .run = nothing, .retry = &odd}),
            "here: task x: retry: kind should be RETRY_EXPONENTIAL, RETRY_LINEAR or "
            "RETRY_FIXED");
    refused(add((struct task){.name = "x", .run = nothing, .retry = &slow}),
            "here: task x: retry: wait_seconds and max_wait_seconds should be at most "
            "604800");
}

Test(task_table, a_command_is_made_by_belay_alone)
{
    refused(add((struct task){.name = "x", .run = nothing, .kind = TASK_COMMAND}),
            "here: task x: its kind should be TASK_SYNC, TASK_ASYNC or TASK_PROCESS");
    cr_expect_eq(
        add((struct task){.name = "x", .run = command_run, .kind = TASK_COMMAND}),
        ERR_OK);
}

/* -- into processes of their own ----------------------------------------------------- */

static void add_one_of_each_kind(void)
{
    static const struct task own = {.name = "own", .run = nothing, .kind = TASK_PROCESS},
                             loop = {.name = "loop", .run = nothing, .kind = TASK_ASYNC},
                             command = {.name = "command",
                                        .run = command_run,
                                        .kind = TASK_COMMAND};
    static const struct task *const all[] = {&mine, &own, &loop, &command};

    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        cr_assert_eq(task_table_add(table, all[i], "here", &why), ERR_OK);
}

Test(task_table, the_setting_makes_processes_of_the_sync_tasks_that_it_names)
{
    add_one_of_each_kind();
    cr_assert_eq(task_table_isolate(table, "", &why), ERR_OK);
    cr_expect_eq(find("mine")->kind, TASK_SYNC);
    cr_assert_eq(task_table_isolate(table, "echo, mine,own", &why), ERR_OK);
    cr_expect_eq(find("echo")->kind, TASK_PROCESS);
    cr_expect_eq(find("mine")->kind, TASK_PROCESS);
    cr_expect_eq(find("mine")->run, mine.run);
    cr_expect_eq(find("own")->kind, TASK_PROCESS);
    cr_expect_eq(find("sleep")->kind, TASK_SYNC);
    cr_expect_eq(mine.kind, TASK_SYNC, "it was borrowed");
}

Test(task_table, the_setting_can_name_all_and_leaves_what_has_no_thread)
{
    add_one_of_each_kind();
    cr_assert_eq(task_table_isolate(table, "*", &why), ERR_OK);
    cr_expect_eq(find("mine")->kind, TASK_PROCESS);
    cr_expect_eq(find("sleep")->kind, TASK_PROCESS);
    cr_expect_eq(find("loop")->kind, TASK_ASYNC);
    cr_expect_eq(find("command")->kind, TASK_COMMAND);
}

Test(task_table, a_name_in_the_setting_that_cannot_be_meant_is_refused)
{
    add_one_of_each_kind();
    refused(task_table_isolate(table, "mine,mines", &why),
            "isolate: mines is not a task");
    refused(task_table_isolate(table, "min", &why), "isolate: min is not a task");
    refused(task_table_isolate(table, "loop", &why),
            "isolate: loop is not a task that runs on a thread");
    refused(task_table_isolate(table, "command", &why),
            "isolate: command is not a task that runs on a thread");
}

/* -- compiled elsewhere -------------------------------------------------------------- */

static const struct task *const list[] = {&mine, NULL};

Test(task_table, what_was_compiled_elsewhere_is_copied)
{
    const struct belay_tasks compiled = BELAY_TASKS_OF(list);

    cr_assert_eq(task_table_add_compiled(table, &compiled, "a.so", &why), ERR_OK);
    cr_assert_not_null(find("mine"));
    cr_expect_neq(find("mine"), &mine);
    cr_expect_eq(find("mine")->run, mine.run);
}

/* An older task.h had a shorter struct task: what stands behind it in memory is not a
 * part of it. */
Test(task_table, fields_that_an_older_header_did_not_have_are_0)
{
    struct belay_tasks compiled = BELAY_TASKS_OF(list);
    struct task longer = mine;
    const struct task *const older[] = {&longer, NULL};

    longer.max_attempts = 1234567; /* of the neighbour in memory */
    longer.data = &longer;
    compiled.tasks = older;
    compiled.task_size = offsetof(struct task, max_attempts);
    cr_assert_eq(task_table_add_compiled(table, &compiled, "a.so", &why), ERR_OK, "%s",
                 why.text);
    cr_expect_eq(find("mine")->max_attempts, 0);
    cr_expect_null(find("mine")->data);
}

Test(task_table, another_abi_is_refused)
{
    struct belay_tasks compiled = BELAY_TASKS_OF(list);

    compiled.abi = 7;
    compiled.task_size = 1; /* nothing else of it is looked at */
    refused(task_table_add_compiled(table, &compiled, "a.so", &why),
            "a.so: compiled for ABI 7 of task.h, but this is ABI 1: compile it again");
}

Test(task_table, a_larger_struct_task_is_of_a_newer_belay)
{
    struct belay_tasks compiled = BELAY_TASKS_OF(list);

    compiled.task_size += 8;
    refused(task_table_add_compiled(table, &compiled, "a.so", &why),
            "a.so: compiled for a newer Belay than this (" BELAY_VERSION ")");
}

Test(task_table, sizes_that_cannot_be_are_refused)
{
    struct belay_tasks tasks = BELAY_TASKS_OF(list), cell = tasks, info = tasks,
                       none = tasks;
    const struct belay_tasks *const wrong[] = {&tasks, &cell, &info, &none};

    tasks.task_size = 8;
    cell.cell_size = 32;
    info.info_size += 8;
    none.tasks = NULL;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        refused(task_table_add_compiled(table, wrong[i], "a.so", &why),
                "a.so: its table was not made by BELAY_TASKS() of task.h");
}

/* Whoever breaks this changes what plugins have been compiled with: either the new field
 * belongs at the end, or BELAY_ABI and these figures change together. */
Test(task_table, the_layout_of_abi_1_stays)
{
    cr_assert_eq(BELAY_ABI, 1);
    cr_expect_eq(offsetof(struct task, name), 0);
    cr_expect_eq(offsetof(struct task, kind), 8);
    cr_expect_eq(offsetof(struct task, run), 16);
    cr_expect_eq(offsetof(struct task, description), 24);
    cr_expect_eq(offsetof(struct task, max_attempts), 32);
    cr_expect_eq(offsetof(struct task, grace_seconds), 36);
    cr_expect_eq(offsetof(struct task, timeout_seconds), 40);
    cr_expect_eq(offsetof(struct task, max_jobs_per_child), 44);
    cr_expect_eq(offsetof(struct task, data), 48);
    cr_expect_eq(offsetof(struct task, retry), 64);
    cr_expect_geq(sizeof(struct task), 72);
    cr_expect_eq(sizeof(struct retry_strategy), 32);
    cr_expect_eq(TASK_SYNC, 0);
    cr_expect_eq(TASK_ASYNC, 1);
    cr_expect_eq(TASK_PROCESS, 2);
    cr_expect_eq(offsetof(struct abort_cell, requested), 0);
    cr_expect_eq(offsetof(struct abort_cell, seen), 4);
    cr_expect_eq(sizeof(struct abort_cell), 64);
    cr_expect_eq(sizeof(struct abort_info), 40);
    cr_expect_eq(sizeof(struct exec_request), 88);
    cr_expect_eq(sizeof(struct exec_answer), 80);
    cr_expect_eq(sizeof(struct http_request), 120);
    cr_expect_eq(sizeof(struct http_answer), 328);
    cr_expect_eq(sizeof(struct query_request), 72);
    cr_expect_eq(sizeof(struct query_answer), 328);
    cr_expect_eq(offsetof(struct belay_tasks, abi), 0);
    cr_expect_eq(offsetof(struct belay_tasks, tasks), 16);
}
