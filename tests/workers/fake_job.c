/* See fake_job.h. */
#define job_id              fake_id
#define job_attempt         fake_attempt
#define job_queue           fake_queue
#define job_task            fake_task
#define job_traceparent     fake_traceparent
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
#define scarce_try_again    fake_try_again
#define command_run         fake_command_run
#define commands_load       fake_commands_load
#define commands_tasks      fake_commands_tasks
#define commands_free       fake_commands_free
#include "tests/workers/fake_job.h"

#include "workers/command.c" /* NOLINT(bugprone-suspicious-include) */
#include "workers/exec.c"    /* NOLINT(bugprone-suspicious-include) */

#include <criterion/criterion.h>
#include <sys/eventfd.h>

static struct fake_job *fake_of(const struct job_ctx *ctx)
{
    return (struct fake_job *)(uintptr_t)ctx;
}

void fake_ask_to_abort(struct fake_job *job, int grace_ms)
{
    job->kill_at_ms = clock_ms() + grace_ms;
    if (job->abort_at_ms == 0)
        job->abort_at_ms = clock_ms();
    atomic_store(&job->cell.requested, 1);
    cr_assert_eq(eventfd_write(job->abort_fd, 1), 0);
}

void fake_abort_when_ready(struct fake_job *job, const char *line)
{
    if (strcmp(line, "ready") == 0)
        fake_ask_to_abort(job, job->grace_ms);
}

bool scarce_try_again(struct job_ctx *ctx, enum err e, int64_t *since_ms)
{
    (void)ctx;
    if (*since_ms == 0)
        *since_ms = clock_ms();
    return e == ERR_IO && clock_ms() - *since_ms < 2000 && usleep(20 * 1000) == 0;
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

const char *job_traceparent(const struct job_ctx *ctx)
{
    (void)ctx;
    return NULL;
}

const char *job_args(const struct job_ctx *ctx)
{
    return fake_of(ctx)->args;
}

void job_log(struct job_ctx *ctx, const char *format, ...)
{
    struct fake_job *job = fake_of(ctx);
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
    struct fake_job *job = fake_of(ctx);
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
    const struct fake_job *job = fake_of(ctx);
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

PRINTF_LIKE(4, 0)
static enum job_result keep(struct job_ctx *ctx, enum job_result result, const char *kind,
                            const char *format, va_list args)
{
    struct fake_job *job = fake_of(ctx);

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

void fake_start_zygote(void)
{
    cr_assert_eq(process_zygote_start(), ERR_OK);
}

struct commands *fake_load(const char *yaml)
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

void fake_init(struct fake_job *job, const struct task *task, const char *args)
{
    *job = (struct fake_job){
        .task = task, .args = args, .abort_fd = eventfd(0, EFD_CLOEXEC)};
    job->head.cell = &job->cell;
    buf_init(&job->log);
    buf_init(&job->json);
    buf_init(&job->progress);
}

void fake_release(struct fake_job *job)
{
    close(job->abort_fd);
    buf_release(&job->log);
    buf_release(&job->json);
    buf_release(&job->progress);
}

void fake_run(struct fake_job *job)
{
    job->task->run((struct job_ctx *)(void *)job);
}

/* Runs one job of the first command of `yaml`. */
void fake_run_yaml(struct fake_job *job, const char *yaml, const char *args)
{
    struct commands *commands = fake_load(yaml);

    fake_init(job, commands_tasks(commands)[0], args);
    fake_run(job);
    job->task = NULL;
    commands_free(commands);
}

/* A command that runs a shell script; the script is one line, in YAML's single quotes. */
struct commands *fake_load_script(const char *script, const char *more)
{
    CLEANUP(buf_release) struct buf yaml = BUF_INIT;

    buf_adds(&yaml, "commands:\n  - name: script\n    command: [/bin/sh, -c, '");
    for (const char *c = script; *c != '\0'; c++)
        buf_adds(&yaml, *c == '\'' ? "''" : (char[]){*c, '\0'});
    buf_addf(&yaml, "']\n%s", more);
    return fake_load(yaml.text);
}

void fake_run_script(struct fake_job *job, const char *script, const char *more)
{
    struct commands *commands = fake_load_script(script, more);

    fake_init(job, commands_tasks(commands)[0], "{}");
    fake_run(job);
    job->task = NULL;
    commands_free(commands);
}

/* The same, and abort it with that grace when it writes "ready" to stderr. */
void fake_run_and_abort(struct fake_job *job, const char *script, int grace_ms)
{
    struct commands *commands = fake_load_script(script, "");

    fake_init(job, commands_tasks(commands)[0], "{}");
    job->on_line = fake_abort_when_ready;
    job->grace_ms = grace_ms;
    fake_run(job);
    job->task = NULL;
    commands_free(commands);
}

void expect_succeeds(struct fake_job *job, const char *result)
{
    cr_expect_eq(job->result, JOB_SUCCEEDED, "%s: %s", job->kind, job->message);
    cr_expect_str_eq(job->json.text, result);
    fake_release(job);
}

void expect_fails(struct fake_job *job, const char *kind, const char *words)
{
    cr_expect_eq(job->result, JOB_FAILED);
    cr_expect_str_eq(job->kind, kind);
    cr_expect_str_eq(job->message, words);
    fake_release(job);
}

void expect_aborted(struct fake_job *job, const char *words, bool killed)
{
    cr_expect_eq(job->result, JOB_ABORTED, "%s: %s", job->kind, job->message);
    cr_expect_str_eq(job->message, words);
    cr_expect_eq(job->killed, killed);
    cr_expect_eq(job->heard, 1);
    fake_release(job);
}
