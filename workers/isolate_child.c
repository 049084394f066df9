/* A loop: a job, its task, its end.
 *
 * This is a fork of the zygote with one thread, so it may allocate and write like any
 * program. Nobody but the node talks to it, and it talks to nobody else: its socket is
 * the only descriptor that it has, beside output that goes to the log. When the node has
 * gone, its supervisor kills it (supervisor.h). */
#include "workers/isolate_child.h"

#include "server/core/cleanup.h"
#include "workers/cells.h"
#include "workers/context.h"
#include "workers/frames.h"
#include "workers/message.h"
#include "workers/next.h"

#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

enum {
    FIRST_FD = 3,
    FRAMES_OF_TRACE = 64,
    TRACE_STACK_BYTES = 64 * 1024,
    EXIT_NO_START = 71, /* EX_OSERR of sysexits.h */
};

struct isolate_child {
    int socket, abort_fd;
    const struct abort_cell *cells;
    int n_cells;
    struct frames frames;
    bool seen; /* the node was told */
    struct buf info;
};

static const struct task *const *known_tasks;

void isolate_child_set_tasks(const struct task *const *tasks)
{
    known_tasks = tasks;
}

/* -- to the node --------------------------------------------------------------------- */

/* Without the node there is nothing left to do. */
static void tell(struct isolate_child *c, enum frame_kind kind,
                 const struct frame_part *parts, int n)
{
    if (!frame_send(c->socket, kind, parts, n, -1))
        _exit(EXIT_NO_START);
}

/* Waits for the next frame; false: the node has closed. */
static bool next(struct isolate_child *c, struct frame *out)
{
    bool broken = false;

    while (!frames_next(&c->frames, out, &broken)) {
        if (broken || frames_read(&c->frames, c->socket) == FRAMES_END)
            return false;
    }
    return true;
}

void isolate_child_seen(struct isolate_child *c)
{
    if (c->seen)
        return;
    c->seen = true;
    tell(c, FRAME_SEEN, NULL, 0);
}

bool isolate_child_abort_info(struct isolate_child *c, struct abort_info *out)
{
    struct frame_abort_info info;
    const char *reason, *actor;
    struct frame f;

    tell(c, FRAME_ASK, NULL, 0);
    if (!next(c, &f) || f.kind != FRAME_ABORT_INFO || !frame_take(&f, &info, sizeof info))
        _exit(EXIT_NO_START);
    if (info.cause < 0)
        return false;
    if (c->info.len == 0) /* as on a thread: the words of the first request stay */
        buf_add(&c->info, f.bytes, f.len);
    f.bytes = c->info.text;
    f.len = c->info.len;
    if (!frame_take_text(&f, &reason) || !frame_take_text(&f, &actor))
        return false;
    *out = (struct abort_info){.cause = (enum abort_cause)info.cause,
                               .reason = reason,
                               .actor = actor,
                               .grace_left_ms = info.grace_left_ms,
                               .since_request_ms = info.since_request_ms};
    return true;
}

int isolate_child_abort_fd(const struct isolate_child *c)
{
    return c->abort_fd;
}

/* Each is sent, and the node keeps the newest: one that waited here for the next might be
 * the last for an hour. */
void isolate_child_progress(struct isolate_child *c, double percent, const char *words)
{
    const struct frame_part parts[] = {{&percent, sizeof percent},
                                       {words, strlen(words) + 1}};

    tell(c, FRAME_PROGRESS, parts, 2);
}

void isolate_child_log(struct isolate_child *c, const char *line)
{
    const struct frame_part part = {line, strlen(line) + 1};

    tell(c, FRAME_LOG, &part, 1);
}

static size_t text_size(const char *text)
{
    return text != NULL ? strlen(text) + 1 : 0;
}

static void tell_end(struct isolate_child *c, enum job_result result,
                     const struct job_ctx *ctx)
{
    CLEANUP(free_ptr) char *next = next_text(ctx);
    struct frame_end end = {.result = result,
                            .bad_result = ctx->bad_result,
                            .has_kind = ctx->kind != NULL,
                            .has_message = ctx->message != NULL,
                            .retry_ms = ctx->retry_ms,
                            .result_len = ctx->result != NULL ? ctx->result_len : -1};
    const struct frame_part parts[] = {
        {&end, sizeof end},
        {ctx->kind, text_size(ctx->kind)},
        {ctx->message, text_size(ctx->message)},
        {next != NULL ? next : "", next != NULL ? strlen(next) + 1 : 1},
        {ctx->result, ctx->result != NULL ? (size_t)ctx->result_len + 1 : 0}};

    fflush(stdout); /* what it wrote belongs to this job */
    tell(c, FRAME_END, parts, sizeof parts / sizeof *parts);
}

/* -- a job --------------------------------------------------------------------------- */

static const struct task *task_named(const char *name)
{
    const struct task *const *t = known_tasks;

    while (*t != NULL && strcmp((*t)->name, name) != 0)
        t++;
    return *t;
}

static bool read_job(struct isolate_child *c, struct frame *f, struct job *job, int *slot)
{
    struct frame_job fixed;

    if (f->kind != FRAME_JOB || !frame_take(f, &fixed, sizeof fixed) || fixed.slot < 0 ||
        fixed.slot >= c->n_cells || !frame_take_text(f, &job->queue) ||
        !frame_take_text(f, &job->task_name) || !frame_take_text(f, &job->args))
        return false;
    job->id = fixed.id;
    job->attempt = fixed.attempt;
    job->max_attempts = fixed.max_attempts;
    memcpy(job->traceparent, fixed.traceparent, sizeof job->traceparent);
    job->task = task_named(job->task_name);
    *slot = fixed.slot;
    return job->task != NULL;
}

/* The texts of the job lie in what was read, and the task may ask the node for more: it
 * gets a copy. */
static bool run_one(struct isolate_child *c, const struct frame *from)
{
    CLEANUP(buf_release) struct buf copy = BUF_INIT;
    struct frame f = *from;
    struct job job = {.id = 0};
    int slot;

    buf_add(&copy, f.bytes, f.len);
    f.bytes = copy.text;
    if (copy.failed || !read_job(c, &f, &job, &slot))
        return false;
    struct job_ctx ctx = {
        /* only read: the kernel sees to it */
        .head = {.cell = (struct abort_cell *)(uintptr_t)&c->cells[slot]},
        .job = &job,
        .child = c};
    c->seen = false;
    buf_clear(&c->info);
    enum job_result result = job.task->run(&ctx);
    context_run_deferred(&ctx);
    tell_end(c, result, &ctx);
    free(ctx.result);
    free(ctx.kind);
    free(ctx.message);
    next_release(&ctx);
    return true;
}

/* -- set-up -------------------------------------------------------------------------- */

/* SIGTERM only interrupts what blocks: the flag says the rest. Programs that the task
 * starts do not inherit a handler, and end by it. */
static void on_terminate(int sig)
{
    (void)sig;
}

/* The library is loaded by now, so that this allocates nothing. */
static void on_crash(int sig)
{
    static const char words[] = "it crashed; where it was:\n";
    void *frames[FRAMES_OF_TRACE];

    if (write(STDERR_FILENO, words, sizeof words - 1) > 0)
        backtrace_symbols_fd(frames, backtrace(frames, FRAMES_OF_TRACE), STDERR_FILENO);
    signal(sig, SIG_DFL);
    raise(sig);
}

static void set_handlers(void)
{
    static char stack[TRACE_STACK_BYTES];
    static const int crashes[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGSYS};
    const stack_t alternate = {.ss_sp = stack, .ss_size = sizeof stack};
    struct sigaction terminate = {.sa_handler = on_terminate};
    struct sigaction crash = {.sa_handler = on_crash,
                              .sa_flags = SA_ONSTACK | SA_NODEFER | (int)SA_RESETHAND};
    void *frame;

    backtrace(&frame, 1); /* loads the library */
    sigaltstack(&alternate, NULL);
    sigaction(SIGTERM, &terminate, NULL);
    for (size_t i = 0; i < sizeof crashes / sizeof *crashes; i++)
        sigaction(crashes[i], &crash, NULL);
    signal(SIGPIPE, SIG_IGN);
}

/* When memory runs out, the kernel takes this process and no other. */
static void be_first_to_go(const struct isolate_hello *hello)
{
    struct rlimit memory = {.rlim_cur = (rlim_t)hello->memory_bytes,
                            .rlim_max = (rlim_t)hello->memory_bytes};
    int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

    if (fd >= 0 && write(fd, "1000", 4) < 0)
        errno = 0; /* it is as likely as the others, then */
    close_fd(&fd);
    if (hello->memory_bytes > 0)
        setrlimit(RLIMIT_AS, &memory);
}

/* Stdin becomes /dev/null: the task must not read from the socket by accident. */
static int take_socket(void)
{
    int socket = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, FIRST_FD);
    int null = open("/dev/null", O_RDONLY);

    if (null >= 0) {
        dup2(null, STDIN_FILENO);
        close(null);
    }
    return socket;
}

static bool meet(struct isolate_child *c)
{
    struct isolate_hello hello;
    int fds[2], n_fds;

    c->socket = take_socket();
    if (message_receive(c->socket, &hello, sizeof hello, fds, 2, &n_fds) !=
            (ssize_t)sizeof hello ||
        n_fds != 2)
        return false;
    c->n_cells = (int)hello.n_cells;
    c->cells = cells_map(fds[0], c->n_cells);
    c->abort_fd = fds[1];
    close(fds[0]);
    set_handlers();
    be_first_to_go(&hello);
    setvbuf(stdout, NULL, _IOLBF, 0); /* a crash flushes nothing */
    return c->cells != NULL;
}

void isolate_child_main(void)
{
    struct isolate_child c = {.info = BUF_INIT};
    struct frame f;

    if (!meet(&c))
        _exit(EXIT_NO_START);
    while (next(&c, &f)) {
        if (!run_one(&c, &f))
            _exit(EXIT_NO_START);
    }
}
