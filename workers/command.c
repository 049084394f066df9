/* One job, one program: a loop over its output, its supervisor and the abort.
 *
 * The thread that runs the job sleeps in poll() and does everything itself, so there is
 * nothing to lock. The args wait in a sealed memory file instead of a pipe: a program
 * that does not read them cannot block us, and one that never does costs nothing.
 * Rejected: a reader thread a job; libuv (its spawn forks, and blocks its loop).
 *
 * An abort is SIGTERM to all that the program started, at once, and SIGKILL when the
 * grace is over. What the program then says is believed: exit code 0 is success although
 * it was aborted, for the work was done; anything else is aborted. */
#include "workers/command.h"

#include "server/core/cleanup.h"
#include "server/core/clock.h"
#include "workers/arguments.h"
#include "workers/declaration.h"
#include "workers/memory_file.h"
#include "workers/output.h"
#include "workers/process.h"
#include "workers/runner.h"
#include "workers/scarce.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    EXIT_TRY_AGAIN = 75, /* EX_TEMPFAIL of sysexits.h */
    CHUNK_BYTES = 16 * 1024,
    LATE_CHUNKS = 128,   /* read after the end, from a pipe that somebody outside holds */
    GRACE_LOOK_MS = 100, /* how often a stronger abort is looked for */
    GRACE_MOST_MS = 86400 * 1000,
    BACKOFF_FIRST_MS = 1000,
    BACKOFF_MOST_MS = 3600000,
};

/* One run. On the heap: it is large for a thread's stack. */
struct run {
    struct job_ctx *ctx;
    const struct declaration *command;
    char **argv;
    const char **env;
    char *own_env; /* the strings of env that only this job has, one after the other */
    struct process *process;
    struct process_end end;
    bool aborting, killing;
    int64_t kill_at_ms, look_at_ms;
    struct output_tail out;
    struct output_lines err;
    char last_line[OUTPUT_LINE_BYTES * 3 +
                   1];           /* of stderr; a byte may have become U+FFFD */
    struct output_budget budget; /* of lines of stderr in the log */
    char chunk[CHUNK_BYTES];
};

/* -- stderr ------------------------------------------------------------------------- */

static void note_dropped_lines(struct run *r)
{
    if (r->budget.dropped > 0)
        job_log(r->ctx, "(%" PRId64 " lines of stderr were left out)", r->budget.dropped);
    r->budget.dropped = 0;
}

/* "::progress 42.5 reading chapter 3" */
static bool take_progress(struct run *r, const char *line)
{
    static const char mark[] = "::progress ";
    char *end;

    if (strncmp(line, mark, sizeof mark - 1) != 0)
        return false;
    double percent = strtod(line + sizeof mark - 1, &end);
    if (end == line + sizeof mark - 1 || !(percent >= 0 && percent <= 100))
        return false;
    end += strspn(end, "% ");
    if (*end != '\0')
        job_progress(r->ctx, percent, "%s", end);
    else
        job_progress(r->ctx, percent, NULL);
    return true;
}

static void on_error_line(void *arg, const char *line)
{
    struct run *r = arg;

    if (take_progress(r, line))
        return;
    snprintf(r->last_line, sizeof r->last_line, "%s", line);
    if (!output_budget_take(&r->budget, clock_ms()))
        return;
    note_dropped_lines(r);
    job_log(r->ctx, "%s", line);
}

/* -- reading ------------------------------------------------------------------------ */

/* One chunk; false at the end of the stream, or when there is nothing now. */
static bool read_out(struct run *r)
{
    ssize_t len = read(process_out_fd(r->process), r->chunk, sizeof r->chunk);

    if (len > 0)
        output_tail_add(&r->out, r->chunk, (size_t)len);
    else if (len == 0 || (errno != EAGAIN && errno != EINTR))
        process_close_out(r->process);
    return len > 0;
}

static bool read_err(struct run *r)
{
    ssize_t len = read(process_err_fd(r->process), r->chunk, sizeof r->chunk);

    if (len > 0)
        output_lines_add(&r->err, r->chunk, (size_t)len, on_error_line, r);
    else if (len == 0 || (errno != EAGAIN && errno != EINTR))
        process_close_err(r->process);
    return len > 0;
}

/* What was written before the end. Bounded, because the program may have lent its pipe to
 * a process that is not its own. */
static void read_rest(struct run *r)
{
    for (int i = 0; i < LATE_CHUNKS && process_out_fd(r->process) >= 0 && read_out(r);)
        i++;
    for (int i = 0; i < LATE_CHUNKS && process_err_fd(r->process) >= 0 && read_err(r);)
        i++;
    output_lines_finish(&r->err, on_error_line, r);
    note_dropped_lines(r);
}

/* -- abort -------------------------------------------------------------------------- */

/* SIGTERM first, then the look that counts as heard, so that "acknowledged" is never said
 * too early. A later, stronger call shortens the grace. */
static void follow_abort(struct run *r)
{
    int64_t now = clock_ms(), kill_at_ms;
    struct abort_info info;

    if (r->killing || now < r->look_at_ms || !job_abort_info(r->ctx, &info))
        return;
    kill_at_ms =
        now + (info.grace_left_ms < GRACE_MOST_MS ? info.grace_left_ms : GRACE_MOST_MS);
    if (!r->aborting) {
        process_terminate(r->process);
        r->aborting = job_should_abort(r->ctx);
        r->kill_at_ms = kill_at_ms;
    }
    r->kill_at_ms = kill_at_ms < r->kill_at_ms ? kill_at_ms : r->kill_at_ms;
    r->look_at_ms =
        now + GRACE_LOOK_MS < r->kill_at_ms ? now + GRACE_LOOK_MS : r->kill_at_ms;
    if (now >= r->kill_at_ms) {
        process_kill(r->process);
        r->killing = true;
    }
}

/* For ever, or until the kill, or until the next look for an abort. */
static int sleep_for_ms(const struct run *r, int abort_fd)
{
    int64_t left = r->look_at_ms - clock_ms();

    if (r->killing || (!r->aborting && abort_fd >= 0))
        return -1;
    if (!r->aborting)
        return GRACE_LOOK_MS;
    return left > 0 ? (int)left : 0;
}

static void watch(struct run *r)
{
    int abort_fd = job_abort_fd(r->ctx);

    while (!process_ended(r->process, &r->end)) {
        struct pollfd news[] = {
            {.fd = process_fd(r->process), .events = POLLIN},
            {.fd = process_out_fd(r->process), .events = POLLIN},
            {.fd = process_err_fd(r->process), .events = POLLIN},
            {.fd = r->aborting ? -1 : abort_fd, .events = POLLIN},
        };
        int n = poll(news, sizeof news / sizeof news[0], sleep_for_ms(r, abort_fd));
        if (n > 0 && news[1].revents != 0)
            read_out(r);
        if (n > 0 && news[2].revents != 0)
            read_err(r);
        if (r->aborting || abort_fd < 0 || (n > 0 && news[3].revents != 0))
            follow_abort(r);
    }
    read_rest(r);
}

/* -- start -------------------------------------------------------------------------- */

/* The environment: what the declaration fixed, and what names the job. */
static bool make_env(struct run *r)
{
    const char *trace = job_traceparent(r->ctx);
    size_t n = 0;

    if (asprintf(&r->own_env,
                 "BELAY_JOB_ID=%" PRId64 "%cBELAY_ATTEMPT=%d%cBELAY_QUEUE=%s%c%s%s",
                 job_id(r->ctx), '\0', job_attempt(r->ctx), '\0', job_queue(r->ctx), '\0',
                 trace != NULL ? "TRACEPARENT=" : "", trace != NULL ? trace : "") < 0)
        return false;
    while (r->command->base_env[n] != NULL)
        n++;
    r->env = calloc(n + 5, sizeof *r->env);
    if (r->env == NULL)
        return false;
    for (size_t i = 0; i < n; i++)
        r->env[i] = r->command->base_env[i];
    r->env[n] = r->own_env;
    r->env[n + 1] = r->env[n] + strlen(r->env[n]) + 1;
    r->env[n + 2] = r->env[n + 1] + strlen(r->env[n + 1]) + 1;
    if (trace != NULL)
        r->env[n + 3] = r->env[n + 2] + strlen(r->env[n + 2]) + 1;
    return true;
}

/* The arguments as the stdin of the program; -1: it gets none. */
static enum err open_stdin(struct run *r, int *out_fd, struct buf *why)
{
    const char *args = job_args(r->ctx);

    if (r->command->stdin_from != STDIN_ARGS)
        return ERR_OK;
    *out_fd = memory_file(args, strlen(args));
    if (*out_fd >= 0)
        return ERR_OK;
    buf_addf(why, "no file for the stdin of a child process: %s", strerror(errno));
    return ERR_IO;
}

static enum err try_start(struct run *r, struct buf *why)
{
    CLEANUP(close_fd) int in = -1;
    enum err e = open_stdin(r, &in, why);

    if (e != ERR_OK)
        return e;
    struct process_spec spec = {.argv = (const char *const *)r->argv,
                                .env = r->env,
                                .directory = r->command->directory,
                                .stdin_fd = in};
    return process_start(&spec, &r->process, why);
}

static enum err start(struct run *r, struct buf *why)
{
    int64_t since_ms = 0;
    enum err e;

    if (!arguments_make(r->command, job_args(r->ctx), &r->argv, why))
        return why->len > 0 ? ERR_INVALID : ERR_NO_MEMORY;
    if (!make_env(r))
        return ERR_NO_MEMORY;
    do {
        buf_clear(why);
        e = try_start(r, why);
    } while (scarce_try_again(r->ctx, e, &since_ms));
    return e;
}

/* -- end ---------------------------------------------------------------------------- */

/* "exit code 3", "SIGSEGV", ... */
static void describe_end(const struct run *r, struct buf *words)
{
    const struct process_end *end = &r->end;
    const char *name;

    switch (end->fate) {
    case PROCESS_EXITED:
        buf_addf(words, "exit code %d", end->code);
        return;
    case PROCESS_SIGNALLED:
        name = sigabbrev_np(end->code);
        if (name != NULL)
            buf_addf(words, "SIG%s", name);
        else
            buf_addf(words, "signal %d", end->code);
        return;
    case PROCESS_NOT_STARTED:
        buf_addf(words, "cannot %s %s: %s", end->in_directory ? "enter" : "run",
                 end->in_directory ? r->command->directory : r->argv[0],
                 strerror(end->code));
        return;
    case PROCESS_LOST:
        buf_adds(words, "its supervisor was killed, and the program with it");
        return;
    }
}

static enum job_result succeed(struct run *r)
{
    CLEANUP(buf_release) struct buf json = BUF_INIT;

    output_tail_result(&r->out, &json);
    if (json.failed)
        return job_failed(r->ctx, "no_memory", "no memory for the result");
    if (json.len == 0)
        return job_ok(r->ctx);
    return job_ok_text(r->ctx, json.text, (int64_t)json.len);
}

static enum job_result try_again(struct run *r, const char *words)
{
    int64_t ms = (int64_t)r->command->retry_seconds * MS_PER_SECOND;

    if (ms == 0)
        ms = backoff_ms(job_attempt(r->ctx) - 1, BACKOFF_FIRST_MS, BACKOFF_MOST_MS);
    return job_retry_in(r->ctx, (double)ms / MS_PER_SECOND, "%s", words);
}

/* The end of an aborted program, in words for the receipt. */
static enum job_result obey(struct run *r)
{
    CLEANUP(buf_release) struct buf words = BUF_INIT;
    bool signalled = r->end.fate == PROCESS_SIGNALLED;

    describe_end(r, &words);
    if (r->end.killed && signalled && r->end.code == SIGKILL)
        return job_aborted(r->ctx, "killed with SIGKILL, the grace was over");
    return job_aborted(r->ctx, "%s%s%s", signalled ? "ended by " : "", words.text,
                       r->end.killed ? "; what it left was killed, the grace was over"
                                     : "");
}

static enum job_result conclude(struct run *r)
{
    static const char *const kinds[] = {[PROCESS_EXITED] = "exit",
                                        [PROCESS_SIGNALLED] = "signal",
                                        [PROCESS_NOT_STARTED] = "not_started",
                                        [PROCESS_LOST] = "supervisor_killed"};
    CLEANUP(buf_release) struct buf words = BUF_INIT;
    bool exited = r->end.fate == PROCESS_EXITED;

    if (r->aborting && r->end.killed)
        job_set_killed(r->ctx);
    if (exited && r->end.code == 0 && !r->end.killed)
        return succeed(r);
    if (r->aborting)
        return obey(r);
    describe_end(r, &words);
    if (r->last_line[0] != '\0')
        buf_addf(&words, ": %s", r->last_line);
    if (exited && r->end.code == EXIT_TRY_AGAIN)
        return try_again(r, words.text);
    return job_failed(r->ctx, kinds[r->end.fate], "%s", words.text);
}

static void run_free(struct run *r)
{
    process_close(r->process);
    arguments_free(r->argv);
    free(r->env);
    free(r->own_env);
    free(r);
}

enum job_result command_run(struct job_ctx *ctx)
{
    CLEANUP(buf_release) struct buf why = BUF_INIT;
    enum job_result result;

    if (job_should_abort(ctx))
        return job_aborted(ctx, "before the program was started");
    struct run *r = calloc(1, sizeof *r);
    if (r == NULL)
        return job_failed(ctx, "no_memory", "no memory to run a program");
    r->ctx = ctx;
    r->command = job_task(ctx)->data;
    output_budget_init(&r->budget, clock_ms());
    enum err e = start(r, &why);
    if (e == ERR_OK) {
        watch(r);
        if (r->end.swept > 0)
            job_log(ctx, "%d processes that it left behind were killed", r->end.swept);
        result = conclude(r);
    } else if (job_should_abort(ctx)) {
        result = job_aborted(ctx, "before the program was started");
    } else {
        result = job_failed(ctx, e == ERR_INVALID ? "bad_args" : "not_started", "%s",
                            why.len > 0 ? why.text : err_title(e));
    }
    run_free(r);
    return result;
}
