/* Commands are run here without a database: the two sources are compiled once more,
 * against a job of our own in place of the runner's, which keeps what it is told. */
#define job_id              fake_id
#define job_attempt         fake_attempt
#define job_queue           fake_queue
#define job_task            fake_task
#define job_args            fake_args
#define job_log             fake_log
#define job_progress        fake_progress
#define job_abort_fd        fake_abort_fd
#define job_abort_info      fake_abort_info
#define job_note_abort_seen fake_note_abort_seen
#define job_ok              fake_ok
#define job_ok_text         fake_ok_text
#define job_failed          fake_failed
#define job_aborted         fake_aborted
#define job_retry_in        fake_retry_in
#define job_set_killed      fake_set_killed
#define command_run         fake_command_run
#define commands_load       fake_commands_load
#define commands_tasks      fake_commands_tasks
#define commands_free       fake_commands_free
#include "workers/exec.c" /* NOLINT(bugprone-suspicious-include) */

#include "workers/command.c" /* NOLINT(bugprone-suspicious-include) */

#include <criterion/criterion.h>
#include <dirent.h>
#include <jansson.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/resource.h>

/* -- a job ---------------------------------------------------------------------------- */

struct fake {
    struct job_ctx_head head; /* first, as in every context */
    struct abort_cell cell;
    const struct task *task;
    const char *args;
    int abort_fd;
    int64_t abort_at_ms, kill_at_ms; /* 0: no abort */
    int grace_ms;                    /* of an abort that a line of the program asks for */
    void (*on_line)(struct fake *job, const char *line);

    int lines, heard;
    enum job_result result;
    char kind[64], message[4096];
    double seconds, percent;
    bool killed, deaf; /* deaf: it has no descriptor for its abort */
    struct buf log, json, progress;
};

static struct fake *fake_of(const struct job_ctx *ctx)
{
    return (struct fake *)(uintptr_t)ctx;
}

static void ask_to_abort(struct fake *job, int grace_ms)
{
    job->kill_at_ms = clock_ms() + grace_ms;
    if (job->abort_at_ms == 0)
        job->abort_at_ms = clock_ms();
    atomic_store(&job->cell.requested, 1);
    cr_assert_eq(eventfd_write(job->abort_fd, 1), 0);
}

static void abort_when_ready(struct fake *job, const char *line)
{
    if (strcmp(line, "ready") == 0)
        ask_to_abort(job, job->grace_ms);
}

int64_t job_id(const struct job_ctx *ctx)
{
    (void)ctx;
    return 33;
}

int job_attempt(const struct job_ctx *ctx)
{
    (void)ctx;
    return 2;
}

const char *job_queue(const struct job_ctx *ctx)
{
    (void)ctx;
    return "default";
}

const struct task *job_task(const struct job_ctx *ctx)
{
    return fake_of(ctx)->task;
}

const char *job_args(const struct job_ctx *ctx)
{
    return fake_of(ctx)->args;
}

void job_log(struct job_ctx *ctx, const char *format, ...)
{
    struct fake *job = fake_of(ctx);
    size_t from = job->log.len;
    va_list args;

    va_start(args, format);
    buf_vaddf(&job->log, format, args);
    va_end(args);
    job->lines++;
    if (job->on_line != NULL)
        job->on_line(job, job->log.text + from);
    buf_addc(&job->log, '\n');
}

void job_progress(struct job_ctx *ctx, double percent, const char *format, ...)
{
    struct fake *job = fake_of(ctx);
    va_list args;

    job->percent = percent;
    buf_clear(&job->progress);
    if (format == NULL)
        return;
    va_start(args, format);
    buf_vaddf(&job->progress, format, args);
    va_end(args);
}

int job_abort_fd(struct job_ctx *ctx)
{
    return fake_of(ctx)->deaf ? -1 : fake_of(ctx)->abort_fd;
}

bool job_abort_info(struct job_ctx *ctx, struct abort_info *out)
{
    const struct fake *job = fake_of(ctx);
    int64_t left = job->kill_at_ms - clock_ms();

    if (job->abort_at_ms == 0)
        return false;
    *out = (struct abort_info){
        .reason = "", .actor = "", .grace_left_ms = left > 0 ? left : 0};
    return true;
}

void job_note_abort_seen(struct job_ctx *ctx)
{
    fake_of(ctx)->heard++;
    atomic_store(&fake_of(ctx)->cell.seen, 1);
}

static enum job_result keep(struct job_ctx *ctx, enum job_result result, const char *kind,
                            const char *format, va_list args)
{
    struct fake *job = fake_of(ctx);

    job->result = result;
    snprintf(job->kind, sizeof job->kind, "%s", kind);
    vsnprintf(job->message, sizeof job->message, format, args);
    return result;
}

enum job_result job_ok(struct job_ctx *ctx)
{
    return fake_of(ctx)->result = JOB_SUCCEEDED;
}

enum job_result job_ok_text(struct job_ctx *ctx, const char *json, int64_t len)
{
    buf_add(&fake_of(ctx)->json, json, (size_t)len);
    return job_ok(ctx);
}

enum job_result job_failed(struct job_ctx *ctx, const char *kind, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    enum job_result result = keep(ctx, JOB_FAILED, kind, format, args);
    va_end(args);
    return result;
}

enum job_result job_aborted(struct job_ctx *ctx, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    enum job_result result = keep(ctx, JOB_ABORTED, "", format, args);
    va_end(args);
    return result;
}

enum job_result job_retry_in(struct job_ctx *ctx, double seconds, const char *format, ...)
{
    va_list args;

    fake_of(ctx)->seconds = seconds;
    va_start(args, format);
    enum job_result result = keep(ctx, JOB_RETRY, "", format, args);
    va_end(args);
    return result;
}

void job_set_killed(struct job_ctx *ctx)
{
    fake_of(ctx)->killed = true;
}

/* -- running -------------------------------------------------------------------------- */

static void start_zygote(void)
{
    cr_assert_eq(process_zygote_start(), ERR_OK);
}

TestSuite(exec, .init = start_zygote, .fini = process_zygote_stop, .timeout = 120);

static struct commands *load(const char *yaml)
{
    CLEANUP(buf_release) struct buf why = BUF_INIT;
    char path[] = "/tmp/belay-exec-XXXXXX";
    struct commands *commands = NULL;
    int fd = mkstemp(path);

    cr_assert(fd >= 0 && write(fd, yaml, strlen(yaml)) == (ssize_t)strlen(yaml));
    close(fd);
    cr_assert_eq(commands_load(path, &commands, &why), ERR_OK, "%s", why.text);
    unlink(path);
    return commands;
}

static void job_init(struct fake *job, const struct task *task, const char *args)
{
    *job = (struct fake){.task = task, .args = args, .abort_fd = eventfd(0, EFD_CLOEXEC)};
    job->head.cell = &job->cell;
    buf_init(&job->log);
    buf_init(&job->json);
    buf_init(&job->progress);
}

static void job_release(struct fake *job)
{
    close(job->abort_fd);
    buf_release(&job->log);
    buf_release(&job->json);
    buf_release(&job->progress);
}

static void job_run(struct fake *job)
{
    job->task->run((struct job_ctx *)(void *)job);
}

/* Runs one job of the first command of `yaml`. */
static void run_yaml(struct fake *job, const char *yaml, const char *args)
{
    struct commands *commands = load(yaml);

    job_init(job, commands_tasks(commands)[0], args);
    job_run(job);
    job->task = NULL;
    commands_free(commands);
}

/* A command that runs a shell script; the script is one line, in YAML's single quotes. */
static struct commands *load_script(const char *script, const char *more)
{
    CLEANUP(buf_release) struct buf yaml = BUF_INIT;

    buf_adds(&yaml, "commands:\n  - name: script\n    command: [/bin/sh, -c, '");
    for (const char *c = script; *c != '\0'; c++)
        buf_adds(&yaml, *c == '\'' ? "''" : (char[]){*c, '\0'});
    buf_addf(&yaml, "']\n%s", more);
    return load(yaml.text);
}

static void run_script(struct fake *job, const char *script, const char *more)
{
    struct commands *commands = load_script(script, more);

    job_init(job, commands_tasks(commands)[0], "{}");
    job_run(job);
    job->task = NULL;
    commands_free(commands);
}

/* The same, and abort it with that grace when it writes "ready" to stderr. */
static void run_and_abort(struct fake *job, const char *script, int grace_ms)
{
    struct commands *commands = load_script(script, "");

    job_init(job, commands_tasks(commands)[0], "{}");
    job->on_line = abort_when_ready;
    job->grace_ms = grace_ms;
    job_run(job);
    job->task = NULL;
    commands_free(commands);
}

/* The three ways a run may be expected to end; they release the job. */
static void succeeds(struct fake *job, const char *result)
{
    cr_expect_eq(job->result, JOB_SUCCEEDED, "%s: %s", job->kind, job->message);
    cr_expect_str_eq(job->json.text, result);
    job_release(job);
}

static void fails(struct fake *job, const char *kind, const char *words)
{
    cr_expect_eq(job->result, JOB_FAILED);
    cr_expect_str_eq(job->kind, kind);
    cr_expect_str_eq(job->message, words);
    job_release(job);
}

/* -- tasks ---------------------------------------------------------------------------- */

Test(exec, no_file_declares_no_task)
{
    CLEANUP(buf_release) struct buf why = BUF_INIT;
    struct commands *commands = NULL;

    cr_assert_eq(commands_load(NULL, &commands, &why), ERR_OK);
    cr_assert_null(commands_tasks(commands)[0]);
    commands_free(commands);
    commands = load("# nothing\n");
    cr_assert_null(commands_tasks(commands)[0]);
    commands_free(commands);
    commands_free(NULL);
}

Test(exec, each_command_is_a_task)
{
    struct commands *commands =
        load("commands:\n"
             "  - {name: a, command: [x], description: does a}\n"
             "  - {name: b, command: [y], max_attempts: 3, grace_seconds: 7}\n");
    const struct task *const *tasks = commands_tasks(commands);

    cr_assert_str_eq(tasks[0]->name, "a");
    cr_assert_str_eq(tasks[0]->description, "does a");
    cr_assert_eq(tasks[0]->max_attempts, 0);
    cr_assert_eq(tasks[0]->escalation, ESCALATE_KILL);
    cr_assert_str_eq(tasks[1]->name, "b");
    cr_assert_eq(tasks[1]->max_attempts, 3);
    cr_assert_eq(tasks[1]->grace_seconds, 7);
    cr_assert_null(tasks[2]);
    commands_free(commands);
}

/* -- in ------------------------------------------------------------------------------- */

Test(exec, args_arrive_in_argv_without_a_shell)
{
    struct fake job;

    run_yaml(
        &job,
        "commands:\n  - name: a\n    command: [/usr/bin/printf, '[%s]', '{{args.x}}', "
        "'n={{args.n}}']\n",
        "{\"x\":\"a b; $(id) `id` 'q' \\\"d\\\" *\",\"n\":1.10}");
    succeeds(&job, "{\"output\":\"[a b; $(id) `id` 'q' \\\"d\\\" *][n=1.10]\"}");
}

Test(exec, args_arrive_on_stdin_as_they_came)
{
    struct fake job;

    run_yaml(&job, "commands: [{name: a, command: [cat]}]",
             "{\"n\": 1.10,  \"big\":1e400}");
    cr_expect_eq(job.result, JOB_SUCCEEDED);
    cr_expect(strstr(job.json.text, "1.10") != NULL, "%s", job.json.text);
    job_release(&job);
    run_yaml(&job, "commands: [{name: a, command: [cat]}]", "{\"n\": 1.10}");
    succeeds(&job, "{\"n\": 1.10}");
    run_yaml(&job, "commands: [{name: a, command: [cat], stdin: none}]", "{\"n\": 1.10}");
    succeeds(&job, "");
}

Test(exec, bad_args_fail_before_the_program_starts)
{
    static const char yaml[] =
        "commands:\n  - name: a\n    command: [/bin/echo, '{{args.x}}']\n";
    struct fake job;

    run_yaml(&job, yaml, "{}");
    fails(&job, "bad_args", "args.x is missing");
    run_yaml(&job, yaml, "{\"x\":\"--version\"}");
    fails(
        &job, "bad_args",
        "{{args.x}} would begin with \"-\", and the program could take it for an option");
}

Test(exec, args_that_are_too_long_for_a_command_line_fail)
{
    CLEANUP(buf_release) struct buf args = BUF_INIT;
    struct fake job;

    buf_adds(&args, "{\"x\":\"");
    for (int i = 0; i < PROCESS_COMMAND_MAX; i++)
        buf_addc(&args, 'x');
    buf_adds(&args, "\"}");
    run_yaml(&job, "commands: [{name: a, command: [/bin/echo, '{{args.x}}']}]",
             args.text);
    cr_expect_eq(job.result, JOB_FAILED);
    cr_expect_str_eq(job.kind, "bad_args");
    job_release(&job);
    run_yaml(&job, "commands: [{name: a, command: [wc, -c]}]", args.text);
    succeeds(&job, "163848"); /* on stdin they fit */
}

Test(exec, a_program_that_does_not_read_its_args_is_not_disturbed)
{
    CLEANUP(buf_release) struct buf args = BUF_INIT;
    struct fake job;

    buf_adds(&args, "{\"x\":\"");
    for (int i = 0; i < 1000 * 1000; i++)
        buf_addc(&args, 'x');
    buf_adds(&args, "\"}");
    run_yaml(&job,
             "commands: [{name: a, command: [/bin/sh, -c, 'exec <&-; exec echo 1']}]",
             args.text);
    succeeds(&job, "1");
}

Test(exec, the_environment_is_small_and_names_the_job)
{
    struct fake job;

    setenv("SECRET", "canary", 1);
    setenv("PATH", "/usr/bin:/bin", 1);
    setenv("HOME", "/root", 1);
    setenv("LANG", "C", 1);
    run_yaml(&job, "commands: [{name: a, command: [/usr/bin/env], env: [COLOUR=red]}]",
             "{}");
    succeeds(&job,
             "{\"output\":\"PATH=/usr/bin:/bin\\nHOME=/root\\nLANG=C\\nCOLOUR=red\\n"
             "BELAY_JOB_ID=33\\nBELAY_ATTEMPT=2\\nBELAY_QUEUE=default\\n\"}");
}

Test(exec, a_command_runs_in_its_directory)
{
    struct fake job;

    run_yaml(&job, "commands: [{name: a, command: [/bin/pwd], directory: /usr}]", "{}");
    succeeds(&job, "{\"output\":\"/usr\\n\"}");
    run_yaml(&job, "commands: [{name: a, command: [/bin/pwd], directory: /no/place}]",
             "{}");
    fails(&job, "not_started", "cannot enter /no/place: No such file or directory");
}

/* -- out ------------------------------------------------------------------------------ */

Test(exec, a_program_that_is_not_there_is_named)
{
    struct fake job;

    run_yaml(&job, "commands: [{name: a, command: [/no/such/program]}]", "{}");
    fails(&job, "not_started", "cannot run /no/such/program: No such file or directory");
    run_yaml(&job, "commands: [{name: a, command: [/etc/passwd]}]", "{}");
    fails(&job, "not_started", "cannot run /etc/passwd: Permission denied");
}

Test(exec, a_json_document_is_the_result)
{
    struct fake job;

    run_script(&job, "echo '{\"words\": 1.10}'", "");
    succeeds(&job, "{\"words\": 1.10}");
    run_script(&job, ":", "");
    succeeds(&job, "");
}

Test(exec, binary_output_becomes_valid_json)
{
    struct fake job;

    run_script(&job, "head -c 100000 /dev/urandom; printf '\\0\\377'", "");
    cr_expect_eq(job.result, JOB_SUCCEEDED);
    json_t *value = json_loads(job.json.text, 0, NULL);
    cr_assert_not_null(value);
    cr_expect(json_is_true(json_object_get(value, "truncated")));
    json_decref(value);
    job_release(&job);
}

Test(exec, a_hundred_megabytes_of_output_take_no_memory)
{
    struct rusage before, after;
    struct fake job;

    getrusage(RUSAGE_SELF, &before);
    run_script(&job, "head -c 100000000 /dev/zero | tr '\\0' x; echo end", "");
    getrusage(RUSAGE_SELF, &after);
    cr_expect_eq(job.result, JOB_SUCCEEDED);
    cr_expect_eq(job.json.len,
                 strlen("{\"output\":\"\",\"truncated\":true}") + 65536 + 1);
    cr_expect(strstr(job.json.text, "xend\\n\"") != NULL);
    cr_expect_lt(after.ru_maxrss - before.ru_maxrss, 8 * 1024, "%ld KiB",
                 after.ru_maxrss - before.ru_maxrss);
    job_release(&job);
}

Test(exec, exit_codes_decide)
{
    struct fake job;

    run_script(&job, "echo first >&2; echo 'the \"disk\" is full' >&2; exit 3", "");
    cr_expect_str_eq(job.log.text, "first\nthe \"disk\" is full\n");
    fails(&job, "exit", "exit code 3: the \"disk\" is full");
    run_script(&job, "exit 1", "");
    fails(&job, "exit", "exit code 1");
    run_script(&job, "kill -SEGV $$", "");
    fails(&job, "signal", "SIGSEGV");
}

Test(exec, exit_code_75_is_tried_again)
{
    struct fake job;

    run_script(&job, "echo busy >&2; exit 75", "    retry_seconds: 30\n");
    cr_expect_eq(job.result, JOB_RETRY);
    cr_expect_eq(job.seconds, 30);
    cr_expect_str_eq(job.message, "exit code 75: busy");
    job_release(&job);
    run_script(&job, "exit 75", "");
    cr_expect_eq(job.result, JOB_RETRY);
    cr_expect(job.seconds >= 0 && job.seconds <= 2,
              "the second attempt waits up to 2 s: %f", job.seconds);
    job_release(&job);
}

Test(exec, a_flood_of_stderr_does_not_flood_the_log)
{
    struct fake job;

    run_script(
        &job,
        "i=0; while [ $i -lt 20000 ]; do echo line $i; i=$((i+1)); done >&2; exit 4", "");
    cr_expect_lt(job.lines, 1000);
    cr_expect_geq(job.lines, LOG_BURST);
    cr_expect(strstr(job.log.text, "lines of stderr were left out)") != NULL);
    fails(&job, "exit", "exit code 4: line 19999");
}

Test(exec, progress_lines_are_progress)
{
    struct fake job;

    run_script(&job,
               "echo '::progress 12.5 reading the book'; echo '::progress x'; "
               "echo '::progress 200'; echo '::progress 42%' >&2",
               "");
    cr_expect_eq(job.percent, 42, "only on stderr");
    job_release(&job);
    run_script(&job,
               "echo '::progress 12.5 reading the book' >&2; echo '::progress 200' >&2",
               "");
    cr_expect_eq(job.percent, 12.5);
    cr_expect_str_eq(job.progress.text, "reading the book");
    cr_expect_str_eq(job.log.text, "::progress 200\n");
    job_release(&job);
}

Test(exec, what_a_program_leaves_behind_is_swept_and_logged)
{
    struct fake job;

    run_script(
        &job,
        "setsid sh -c 'trap \"\" TERM; echo up >&2; sleep 1000' & read -r x; exit 0",
        "    stdin: none\n");
    cr_expect_eq(job.result, JOB_SUCCEEDED);
    cr_expect(strstr(job.log.text, "that it left behind were killed") != NULL, "%s",
              job.log.text);
    job_release(&job);
}

/* -- abort ---------------------------------------------------------------------------- */

static void aborted(struct fake *job, const char *words, bool killed)
{
    cr_expect_eq(job->result, JOB_ABORTED, "%s: %s", job->kind, job->message);
    cr_expect_str_eq(job->message, words);
    cr_expect_eq(job->killed, killed);
    cr_expect_eq(job->heard, 1);
    job_release(job);
}

Test(exec, an_abort_is_sigterm_to_the_program_and_its_children)
{
    struct fake job;

    run_and_abort(&job, "sleep 1000 & echo ready >&2; wait", 60000);
    aborted(&job, "SIGTERM after SIGTERM", false);
}

Test(exec, a_program_may_clean_up_and_choose_its_exit_code)
{
    struct fake job;

    run_and_abort(&job,
                  "trap 'echo cleaning >&2; exit 9' TERM; echo ready >&2; "
                  "while :; do sleep 0.01; done",
                  60000);
    cr_expect_str_eq(job.log.text, "ready\ncleaning\n");
    aborted(&job, "exit code 9 after SIGTERM", false);
}

Test(exec, exit_code_0_after_an_abort_is_success)
{
    struct fake job;

    run_and_abort(
        &job, "trap 'echo 7; exit 0' TERM; echo ready >&2; while :; do sleep 0.01; done",
        60000);
    cr_expect_not(job.killed);
    succeeds(&job, "7");
}

Test(exec, what_ignores_sigterm_is_killed_when_the_grace_is_over)
{
    int64_t before_ms = clock_ms();
    struct fake job;

    run_and_abort(&job, "trap '' TERM; echo ready >&2; while :; do sleep 0.01; done",
                  300);
    cr_expect_geq(clock_ms() - before_ms, 300);
    aborted(&job, "SIGKILL after SIGTERM; what was left was killed", true);
}

Test(exec, a_daemon_of_an_aborted_program_is_killed_when_the_grace_is_over)
{
    struct fake job;

    run_and_abort(&job,
                  "(setsid sh -c '(trap \"\" TERM; echo ready >&2; while :; do sleep "
                  "0.01; done) &' &) ; "
                  "sleep 1000",
                  300);
    aborted(&job, "SIGTERM after SIGTERM; what was left was killed", true);
}

static void shorten_the_grace(struct fake *job, const char *line)
{
    if (strcmp(line, "ready") == 0)
        ask_to_abort(job, 3600 * 1000);
    if (strcmp(line, "heard") == 0)
        ask_to_abort(job, 0);
}

Test(exec, a_stronger_abort_shortens_the_grace)
{
    struct commands *commands = load_script(
        "trap 'echo heard >&2' TERM; echo ready >&2; while :; do sleep 0.01; done", "");
    struct fake job;

    job_init(&job, commands_tasks(commands)[0], "{}");
    job.on_line = shorten_the_grace;
    job_run(&job);
    commands_free(commands);
    aborted(&job, "SIGKILL after SIGTERM; what was left was killed", true);
}

Test(exec, an_abort_before_the_start_starts_nothing)
{
    struct commands *commands = load_script("echo started >&2", "");
    struct fake job;

    job_init(&job, commands_tasks(commands)[0], "{}");
    ask_to_abort(&job, 1000);
    job_run(&job);
    commands_free(commands);
    cr_expect_str_eq(job.log.text, "");
    aborted(&job, "before the program was started", false);
}

Test(exec, an_abort_is_found_without_a_descriptor)
{
    struct commands *commands = load_script("echo ready >&2; exec sleep 1000", "");
    struct fake job;

    job_init(&job, commands_tasks(commands)[0], "{}");
    job.on_line = abort_when_ready;
    job.grace_ms = 60000;
    job.deaf = true;
    job_run(&job);
    commands_free(commands);
    aborted(&job, "SIGTERM after SIGTERM", false);
}

Test(exec, a_killed_supervisor_fails_the_job)
{
    struct fake job;

    run_script(&job, "kill -9 $PPID; sleep 1000", "");
    fails(&job, "supervisor_killed",
          "its supervisor was killed, and the program with it");
}

/* -- many ----------------------------------------------------------------------------- */

static int open_fds(void)
{
    DIR *dir = opendir("/proc/self/fd");
    int n = 0;

    while (readdir(dir) != NULL)
        n++;
    closedir(dir);
    return n;
}

Test(exec, two_hundred_runs_leave_no_descriptor)
{
    struct commands *commands = load("commands: [{name: a, command: [/bin/true]}]");
    int before = 0;

    for (int i = 0; i < 201; i++) {
        struct fake job;
        job_init(&job, commands_tasks(commands)[0], "{}");
        job_run(&job);
        succeeds(&job, "");
        if (i == 0)
            before = open_fds();
    }
    cr_assert_eq(open_fds(), before);
    commands_free(commands);
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
        struct fake job;
        snprintf(args, sizeof args, "{\"n\":%d}", w->number * 100 + i);
        job_init(&job, w->task, args);
        job_run(&job);
        succeeds(&job, args);
    }
    return NULL;
}

Test(exec, eight_threads_run_commands_at_once)
{
    struct commands *commands = load("commands: [{name: a, command: [cat]}]");
    struct worker workers[8];
    pthread_t threads[8];

    for (int i = 0; i < 8; i++) {
        workers[i] = (struct worker){commands_tasks(commands)[0], i};
        cr_assert_eq(pthread_create(&threads[i], NULL, run_many, &workers[i]), 0);
    }
    for (int i = 0; i < 8; i++)
        pthread_join(threads[i], NULL);
    commands_free(commands);
}
