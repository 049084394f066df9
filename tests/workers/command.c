#include "workers/command.h"

#include "server/core/cleanup.h"
#include "tests/workers/fake_job.h"
#include "workers/process.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <jansson.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

TestSuite(command, .init = fake_start_zygote, .fini = process_zygote_stop,
          .timeout = 120);

/* -- in ----------------------------------------------------------------------------- */

Test(command, args_arrive_in_argv_without_a_shell)
{
    struct fake_job job;

    fake_run_yaml(
        &job,
        "commands:\n  - name: a\n    command: [/usr/bin/printf, '[%s]', '{{args.x}}', "
        "'n={{args.n}}']\n",
        "{\"x\":\"a b; $(id) `id` 'q' \\\"d\\\" *\",\"n\":1.10}");
    expect_succeeds(&job, "{\"output\":\"[a b; $(id) `id` 'q' \\\"d\\\" *][n=1.10]\"}");
}

Test(command, args_arrive_on_stdin_as_they_came)
{
    struct fake_job job;

    fake_run_yaml(&job, "commands: [{name: a, command: [cat]}]",
                  "{\"n\": 1.10,  \"big\":1e400}");
    cr_expect_eq(job.result, JOB_SUCCEEDED);
    cr_expect(strstr(job.json.text, "1.10") != NULL, "%s", job.json.text);
    fake_release(&job);
    fake_run_yaml(&job, "commands: [{name: a, command: [cat]}]", "{\"n\": 1.10}");
    expect_succeeds(&job, "{\"n\": 1.10}");
    fake_run_yaml(&job, "commands: [{name: a, command: [cat], stdin: none}]",
                  "{\"n\": 1.10}");
    expect_succeeds(&job, "");
}

/* Not one more descriptor, for a moment. */
static void *allow_descriptors(void *most)
{
    usleep(300 * 1000);
    setrlimit(RLIMIT_NOFILE, most);
    return NULL;
}

Test(command, a_node_without_a_descriptor_for_stdin_waits_for_one)
{
    struct commands *commands = fake_load("commands: [{name: a, command: [cat]}]");
    struct rlimit usual, none;
    struct fake_job job;
    pthread_t thread;

    fake_init(&job, fake_commands_tasks(commands)[0], "{\"n\":1}");
    getrlimit(RLIMIT_NOFILE, &usual);
    none = (struct rlimit){.rlim_cur = 4, .rlim_max = usual.rlim_max};
    setrlimit(RLIMIT_NOFILE, &none);
    pthread_create(&thread, NULL, allow_descriptors, &usual);
    fake_run(&job);
    pthread_join(thread, NULL);
    job.task = NULL;
    fake_commands_free(commands);
    expect_succeeds(&job, "{\"n\":1}");
}

Test(command, bad_args_fail_before_the_program_starts)
{
    static const char yaml[] =
        "commands:\n  - name: a\n    command: [/bin/echo, '{{args.x}}']\n";
    struct fake_job job;

    fake_run_yaml(&job, yaml, "{}");
    expect_fails(&job, "bad_args", "args.x is missing");
    fake_run_yaml(&job, yaml, "{\"x\":\"--version\"}");
    expect_fails(
        &job, "bad_args",
        "{{args.x}} would begin with \"-\", and the program could take it for an option");
}

Test(command, args_that_are_too_long_for_a_command_line_fail)
{
    CLEANUP(buf_release) struct buf args = BUF_INIT;
    struct fake_job job;

    buf_adds(&args, "{\"x\":\"");
    for (int i = 0; i < PROCESS_COMMAND_MAX; i++)
        buf_addc(&args, 'x');
    buf_adds(&args, "\"}");
    fake_run_yaml(&job, "commands: [{name: a, command: [/bin/echo, '{{args.x}}']}]",
                  args.text);
    cr_expect_eq(job.result, JOB_FAILED);
    cr_expect_str_eq(job.kind, "bad_args");
    fake_release(&job);
    fake_run_yaml(&job, "commands: [{name: a, command: [wc, -c]}]", args.text);
    expect_succeeds(&job, "163848"); /* on stdin they fit */
}

Test(command, a_program_that_does_not_read_its_args_is_not_disturbed)
{
    CLEANUP(buf_release) struct buf args = BUF_INIT;
    struct fake_job job;

    buf_adds(&args, "{\"x\":\"");
    for (int i = 0; i < 1000 * 1000; i++)
        buf_addc(&args, 'x');
    buf_adds(&args, "\"}");
    fake_run_yaml(
        &job, "commands: [{name: a, command: [/bin/sh, -c, 'exec <&-; exec echo 1']}]",
        args.text);
    expect_succeeds(&job, "1");
}

Test(command, the_environment_is_small_and_names_the_job)
{
    struct fake_job job;

    setenv("SECRET", "canary", 1);
    setenv("PATH", "/usr/bin:/bin", 1);
    setenv("HOME", "/root", 1);
    setenv("LANG", "C", 1);
    fake_run_yaml(
        &job, "commands: [{name: a, command: [/usr/bin/env], env: [COLOUR=red]}]", "{}");
    expect_succeeds(
        &job, "{\"output\":\"PATH=/usr/bin:/bin\\nHOME=/root\\nLANG=C\\nCOLOUR=red\\n"
              "BELAY_JOB_ID=33\\nBELAY_ATTEMPT=2\\nBELAY_QUEUE=default\\n\"}");
}

Test(command, a_command_runs_in_its_directory)
{
    struct fake_job job;

    fake_run_yaml(&job, "commands: [{name: a, command: [/bin/pwd], directory: /usr}]",
                  "{}");
    expect_succeeds(&job, "{\"output\":\"/usr\\n\"}");
    fake_run_yaml(
        &job, "commands: [{name: a, command: [/bin/pwd], directory: /no/place}]", "{}");
    expect_fails(&job, "not_started",
                 "cannot enter /no/place: No such file or directory");
}

/* -- out ---------------------------------------------------------------------------- */

Test(command, a_program_that_is_not_there_is_named)
{
    struct fake_job job;

    fake_run_yaml(&job, "commands: [{name: a, command: [/no/such/program]}]", "{}");
    expect_fails(&job, "not_started",
                 "cannot run /no/such/program: No such file or directory");
    fake_run_yaml(&job, "commands: [{name: a, command: [/etc/passwd]}]", "{}");
    expect_fails(&job, "not_started", "cannot run /etc/passwd: Permission denied");
}

Test(command, a_json_document_is_the_result)
{
    struct fake_job job;

    fake_run_script(&job, "echo '{\"words\": 1.10}'", "");
    expect_succeeds(&job, "{\"words\": 1.10}");
    fake_run_script(&job, ":", "");
    expect_succeeds(&job, "");
}

Test(command, binary_output_becomes_valid_json)
{
    struct fake_job job;

    fake_run_script(&job, "head -c 100000 /dev/urandom; printf '\\0\\377'", "");
    cr_expect_eq(job.result, JOB_SUCCEEDED);
    json_t *value = json_loads(job.json.text, 0, NULL);
    cr_assert_not_null(value);
    cr_expect(json_is_true(json_object_get(value, "truncated")));
    json_decref(value);
    fake_release(&job);
}

Test(command, a_hundred_megabytes_of_output_take_no_memory)
{
    struct rusage before, after;
    struct fake_job job;

    getrusage(RUSAGE_SELF, &before);
    fake_run_script(&job, "head -c 100000000 /dev/zero | tr '\\0' x; echo end", "");
    getrusage(RUSAGE_SELF, &after);
    cr_expect_eq(job.result, JOB_SUCCEEDED);
    cr_expect_eq(job.json.len,
                 strlen("{\"output\":\"\",\"truncated\":true}") + 65536 + 1);
    cr_expect(strstr(job.json.text, "xend\\n\"") != NULL);
    cr_expect_lt(after.ru_maxrss - before.ru_maxrss, 8 * 1024, "%ld KiB",
                 after.ru_maxrss - before.ru_maxrss);
    fake_release(&job);
}

Test(command, exit_codes_decide)
{
    struct fake_job job;

    fake_run_script(&job, "echo first >&2; echo 'the \"disk\" is full' >&2; exit 3", "");
    cr_expect_str_eq(job.log.text, "first\nthe \"disk\" is full\n");
    expect_fails(&job, "exit", "exit code 3: the \"disk\" is full");
    fake_run_script(&job, "exit 1", "");
    expect_fails(&job, "exit", "exit code 1");
    fake_run_script(&job, "kill -SEGV $$", "");
    expect_fails(&job, "signal", "SIGSEGV");
}

Test(command, exit_code_75_is_tried_again)
{
    struct fake_job job;

    fake_run_script(&job, "echo busy >&2; exit 75", "    retry_seconds: 30\n");
    cr_expect_eq(job.result, JOB_RETRY);
    cr_expect_eq(job.seconds, 30);
    cr_expect_str_eq(job.message, "exit code 75: busy");
    fake_release(&job);
    fake_run_script(&job, "exit 75", "");
    cr_expect_eq(job.result, JOB_RETRY);
    cr_expect(job.seconds >= 0 && job.seconds <= 2,
              "the second attempt waits up to 2 s: %f", job.seconds);
    fake_release(&job);
}

Test(command, a_flood_of_stderr_does_not_flood_the_log)
{
    struct fake_job job;

    fake_run_script(
        &job,
        "i=0; while [ $i -lt 20000 ]; do echo line $i; i=$((i+1)); done >&2; exit 4", "");
    cr_expect_lt(job.lines, 1000);
    cr_expect_geq(job.lines, 100);
    cr_expect(strstr(job.log.text, "lines of stderr were left out)") != NULL);
    expect_fails(&job, "exit", "exit code 4: line 19999");
}

Test(command, progress_lines_are_progress)
{
    struct fake_job job;

    fake_run_script(&job,
                    "echo '::progress 12.5 reading the book'; echo '::progress x'; "
                    "echo '::progress 200'; echo '::progress 42%' >&2",
                    "");
    cr_expect_eq(job.percent, 42, "only on stderr");
    fake_release(&job);
    fake_run_script(
        &job, "echo '::progress 12.5 reading the book' >&2; echo '::progress 200' >&2",
        "");
    cr_expect_eq(job.percent, 12.5);
    cr_expect_str_eq(job.progress.text, "reading the book");
    cr_expect_str_eq(job.log.text, "::progress 200\n");
    fake_release(&job);
}

Test(command, what_a_program_leaves_behind_is_swept_and_logged)
{
    struct fake_job job;

    fake_run_script(
        &job,
        "setsid sh -c 'trap \"\" TERM; echo up >&2; sleep 1000' & read -r x; exit 0",
        "    stdin: none\n");
    cr_expect_eq(job.result, JOB_SUCCEEDED);
    cr_expect(strstr(job.log.text, "that it left behind were killed") != NULL, "%s",
              job.log.text);
    fake_release(&job);
}

/* -- many --------------------------------------------------------------------------- */

static int open_fds(void)
{
    DIR *dir = opendir("/proc/self/fd");
    int n = 0;

    while (readdir(dir) != NULL)
        n++;
    closedir(dir);
    return n;
}

Test(command, two_hundred_runs_leave_no_descriptor)
{
    struct commands *commands = fake_load("commands: [{name: a, command: [/bin/true]}]");
    int before = 0;

    for (int i = 0; i < 201; i++) {
        struct fake_job job;
        fake_init(&job, fake_commands_tasks(commands)[0], "{}");
        fake_run(&job);
        expect_succeeds(&job, "");
        if (i == 0)
            before = open_fds();
    }
    cr_assert_eq(open_fds(), before);
    fake_commands_free(commands);
}

struct worker {
    const struct task *task;
    int number;
};

static void *run_many(void *arg)
{
    const struct worker *w = arg;

    for (int i = 0; i < 25; i++) {
        char args[64];
        struct fake_job job;
        snprintf(args, sizeof args, "{\"n\":%d}", w->number * 100 + i);
        fake_init(&job, w->task, args);
        fake_run(&job);
        expect_succeeds(&job, args);
    }
    return NULL;
}

Test(command, eight_threads_run_commands_at_once)
{
    struct commands *commands = fake_load("commands: [{name: a, command: [cat]}]");
    struct worker workers[8];
    pthread_t threads[8];

    for (int i = 0; i < 8; i++) {
        workers[i] = (struct worker){fake_commands_tasks(commands)[0], i};
        cr_assert_eq(pthread_create(&threads[i], NULL, run_many, &workers[i]), 0);
    }
    for (int i = 0; i < 8; i++)
        pthread_join(threads[i], NULL);
    fake_commands_free(commands);
}
