/* The node's side of a job in a child: a loop until it has answered or ended.
 *
 * Like a command (command.c), an isolated job keeps its thread of the pool, which sleeps
 * in poll(). So there is nothing to lock, and --concurrency says how many there are of
 * both. Rejected: children that claim from the database themselves (a
 * connection each, and a crash would have to be found by the lease); one dispatcher
 * thread for all children (a second pool beside the pool); a child a job (a fork costs a
 * hundred times as much as handing over). */
#include "workers/isolate.h"

#include "server/core/cleanup.h"
#include "server/core/clock.h"
#include "workers/context.h"
#include "workers/frames.h"
#include "workers/isolate_child.h"
#include "workers/isolate_children.h"
#include "workers/next.h"
#include "workers/output.h"
#include "workers/process.h"
#include "workers/runner.h"
#include "workers/scarce.h"

#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

enum {
    LATE_CHUNKS = 128,
    GRACE_LOOK_MS = 100, /* how often a stronger abort is looked for */
    GRACE_MOST_MS = 86400 * 1000,
    DISCONNECTED_MS = 1000, /* from a closed socket to the kill: it may be ending */
};

/* One job in a child. */
struct run {
    struct job_ctx *ctx;
    struct child *child;
    struct process_end end;
    struct output_budget budget;
    bool answered, ended, connected, aborting, killing;
    enum job_result result;
    int64_t kill_at_ms, look_at_ms; /* INT64_MAX: never */
};

void isolate_prepare(const struct task *const *tasks)
{
    isolate_child_set_tasks(tasks);
    process_set_entry(isolate_child_main);
}

/* -- what it says -------------------------------------------------------------------- */

/* Each with its NUL; one that is missing is left out. */
static const char *text_if(struct frame *f, bool there)
{
    const char *text = "";

    return there && frame_take_text(f, &text) ? text : "";
}

static void take_end(struct run *r, struct frame *f)
{
    struct frame_end end;

    if (!frame_take(f, &end, sizeof end))
        return;
    const char *kind = text_if(f, end.has_kind), *message = text_if(f, end.has_message);
    next_take(r->ctx, text_if(f, true));
    r->answered = true;
    switch ((enum job_result)end.result) {
    case JOB_SUCCEEDED:
        if (end.bad_result)
            r->result = job_ok_text(r->ctx, "", 0); /* is no JSON */
        else if (end.result_len >= 0 && (size_t)end.result_len < f->len)
            r->result = job_ok_text(r->ctx, f->bytes, end.result_len);
        else
            r->result = job_ok(r->ctx);
        return;
    case JOB_ABORTED:
        r->result = job_aborted(r->ctx, "%s", message);
        return;
    case JOB_RETRY:
        r->result =
            job_retry_in(r->ctx, (double)end.retry_ms / MS_PER_SECOND, "%s", message);
        return;
    case JOB_FAILED:
        break;
    }
    r->result = job_failed(r->ctx, *kind != '\0' ? kind : "failed", "%s", message);
}

static void tell_abort_info(struct run *r)
{
    struct abort_info info = {.reason = "", .actor = ""};
    bool asked = job_abort_info(r->ctx, &info);
    struct frame_abort_info fixed = {.cause = asked ? (int)info.cause : -1,
                                     .grace_left_ms = info.grace_left_ms,
                                     .since_request_ms = info.since_request_ms};
    const struct frame_part parts[] = {{&fixed, sizeof fixed},
                                       {info.reason, strlen(info.reason) + 1},
                                       {info.actor, strlen(info.actor) + 1}};

    frame_send(r->child->socket, FRAME_ABORT_INFO, parts, 3, PROCESS_DEADLINE_MS);
}

/* False: what it says is none of ours. */
static bool take_frame(struct run *r, struct frame *f)
{
    const char *words;
    double percent;

    switch (f->kind) {
    case FRAME_SEEN:
        (void)job_should_abort(r->ctx);
        return true;
    case FRAME_ASK:
        tell_abort_info(r);
        return true;
    case FRAME_PROGRESS:
        if (!frame_take(f, &percent, sizeof percent) || !frame_take_text(f, &words))
            return false;
        job_progress(r->ctx, percent, "%s", words);
        return true;
    case FRAME_LOG:
        if (!frame_take_text(f, &words))
            return false;
        job_log(r->ctx, "%s", words);
        return true;
    case FRAME_END:
        take_end(r, f);
        return r->answered;
    case FRAME_JOB:
    case FRAME_ABORT_INFO:
    case FRAME_KINDS:
        break;
    }
    return false;
}

static void disconnect(struct run *r)
{
    r->connected = false;
    if (r->kill_at_ms > clock_ms() + DISCONNECTED_MS)
        r->kill_at_ms = clock_ms() + DISCONNECTED_MS;
}

static bool read_frames(struct run *r)
{
    enum frames_got got = frames_read(&r->child->frames, r->child->socket);
    bool broken = false;
    struct frame f;

    while (!r->answered && frames_next(&r->child->frames, &f, &broken))
        broken = !take_frame(r, &f) || broken;
    if (got == FRAMES_END || broken)
        disconnect(r);
    return got == FRAMES_MORE && !broken;
}

/* -- what it writes ------------------------------------------------------------------ */

static void on_line(void *arg, const char *line)
{
    struct run *r = arg;

    if (!output_budget_take(&r->budget, clock_ms()))
        return;
    job_log(r->ctx, "%s", line);
}

/* One chunk; false at the end, or when there is nothing now. */
static bool read_output(struct run *r, int fd, struct output_lines *lines,
                        void (*close_it)(struct process *))
{
    struct child *c = r->child;
    ssize_t len = fd >= 0 ? read(fd, c->chunk, sizeof c->chunk) : -1;

    if (len > 0)
        output_lines_add(lines, c->chunk, (size_t)len, on_line, r);
    else if (len == 0)
        close_it(c->process);
    return len > 0;
}

static bool read_out(struct run *r)
{
    return read_output(r, process_out_fd(r->child->process), &r->child->out,
                       process_close_out);
}

static bool read_err(struct run *r)
{
    return read_output(r, process_err_fd(r->child->process), &r->child->err,
                       process_close_err);
}

static void note_dropped(struct run *r)
{
    if (r->budget.dropped > 0)
        job_log(r->ctx, "(%" PRId64 " lines of its output were left out)",
                r->budget.dropped);
}

/* What came before the end; bounded, as somebody else may hold the other end. */
static void read_rest(struct run *r)
{
    for (int i = 0; i < LATE_CHUNKS && r->connected && !r->answered && read_frames(r);
         i++)
        ;
    for (int i = 0; i < LATE_CHUNKS && read_out(r); i++)
        ;
    for (int i = 0; i < LATE_CHUNKS && read_err(r); i++)
        ;
}

/* -- while it runs ------------------------------------------------------------------- */

/* The flag is up already: this wakes who sleeps, and everything that the task has
 * started. A later, stronger call shortens the grace. */
static void follow_abort(struct run *r)
{
    int64_t now = clock_ms(), left;
    struct abort_info info;
    uint64_t one = 1;

    if (r->killing || now < r->look_at_ms || !job_abort_info(r->ctx, &info))
        return;
    if (!r->aborting) {
        r->aborting = write(r->child->abort_fd, &one, sizeof one) == (ssize_t)sizeof one;
        process_terminate(r->child->process);
    }
    left = info.grace_left_ms < GRACE_MOST_MS ? info.grace_left_ms : GRACE_MOST_MS;
    r->kill_at_ms = now + left < r->kill_at_ms ? now + left : r->kill_at_ms;
    r->look_at_ms = now + GRACE_LOOK_MS;
}

static void kill_if_due(struct run *r)
{
    if (r->killing || clock_ms() < r->kill_at_ms)
        return;
    process_kill(r->child->process);
    r->killing = true;
}

static int sleep_for_ms(const struct run *r, int abort_fd)
{
    int64_t until = r->kill_at_ms, now = clock_ms();

    if (r->killing)
        return -1;
    if (r->aborting && r->look_at_ms < until)
        until = r->look_at_ms;
    if (!r->aborting && abort_fd < 0 && now + GRACE_LOOK_MS < until)
        until = now + GRACE_LOOK_MS;
    if (until == INT64_MAX)
        return -1;
    return until > now ? (int)(until - now) : 0;
}

/* What poll() is asked for. */
enum { NEWS_SOCKET, NEWS_PROCESS, NEWS_OUT, NEWS_ERR, NEWS_ABORT, NEWS };

static void take_news(struct run *r, const struct pollfd *news)
{
    if (news[NEWS_OUT].revents != 0)
        read_out(r);
    if (news[NEWS_ERR].revents != 0)
        read_err(r);
    if (news[NEWS_SOCKET].revents != 0)
        read_frames(r);
    if (news[NEWS_PROCESS].revents != 0)
        r->ended = process_ended(r->child->process, &r->end);
}

/* The socket is asked for first: what was written before an answer is seen with it. */
static void watch(struct run *r)
{
    struct process *p = r->child->process;
    int abort_fd = job_abort_fd(r->ctx);

    while (!r->answered && !r->ended) {
        struct pollfd news[NEWS] = {
            [NEWS_SOCKET] = {.fd = r->connected ? r->child->socket : -1},
            [NEWS_PROCESS] = {.fd = process_fd(p)},
            [NEWS_OUT] = {.fd = process_out_fd(p)},
            [NEWS_ERR] = {.fd = process_err_fd(p)},
            [NEWS_ABORT] = {.fd = r->aborting ? -1 : abort_fd},
        };
        for (int i = 0; i < NEWS; i++)
            news[i].events = POLLIN;
        poll(news, NEWS, sleep_for_ms(r, abort_fd));
        take_news(r, news);
        if (r->aborting || abort_fd < 0 || news[NEWS_ABORT].revents != 0)
            follow_abort(r);
        kill_if_due(r);
    }
    if (r->ended)
        read_rest(r);
    output_lines_finish(&r->child->out, on_line, r);
    output_lines_finish(&r->child->err, on_line, r);
    note_dropped(r);
}

/* -- the end ------------------------------------------------------------------------- */

static void describe_end(const struct run *r, struct buf *words)
{
    const char *name;

    switch (r->end.fate) {
    case PROCESS_EXITED:
        buf_addf(words, "exit code %d without a result", r->end.code);
        return;
    case PROCESS_SIGNALLED:
        name = sigabbrev_np(r->end.code);
        if (name != NULL)
            buf_addf(words, "SIG%s", name);
        else
            buf_addf(words, "signal %d", r->end.code);
        return;
    case PROCESS_NOT_STARTED:
        buf_addf(words, "no child process: %s", strerror(r->end.code));
        return;
    case PROCESS_LOST:
        buf_adds(words, "its supervisor was killed, and the child with it");
        return;
    }
}

static const char *kind_of(const struct run *r)
{
    switch (r->end.fate) {
    case PROCESS_EXITED:
        return "exited";
    case PROCESS_SIGNALLED:
        return r->end.code == SIGKILL ? "killed" : "crashed";
    case PROCESS_NOT_STARTED:
        return "not_started";
    case PROCESS_LOST:
        break;
    }
    return "supervisor_killed";
}

/* It ended and left no result. */
static enum job_result conclude(struct run *r)
{
    CLEANUP(buf_release) struct buf words = BUF_INIT;
    bool by_us = r->killing && r->end.killed;

    describe_end(r, &words);
    if (r->aborting && by_us) {
        job_set_killed(r->ctx);
        return job_aborted(r->ctx, "killed with SIGKILL, the grace was over");
    }
    if (r->aborting)
        return job_aborted(r->ctx, "ended by %s", words.text);
    if (by_us)
        return job_failed(r->ctx, "disconnected",
                          "it closed its connection to Belay, and was killed");
    return job_failed(r->ctx, kind_of(r), "%s", words.text);
}

/* For the next job, or not: an abort may have left it half way, and a task that leaks is
 * given a fresh start now and then. */
static void release_child(struct isolates *s, struct run *r)
{
    const struct task *task = job_task(r->ctx);
    int64_t most = task->max_jobs_per_child > 0 ? task->max_jobs_per_child
                                                : s->config->isolate_jobs_per_child;

    if (r->ended || r->aborting || !r->connected || ++r->child->n_jobs >= most)
        child_free(r->child);
    else
        child_give_idle(s, r->child);
}

enum job_result isolate_run(struct isolates *s, struct job_ctx *ctx)
{
    CLEANUP(buf_release) struct buf why = BUF_INIT;
    struct run r = {.ctx = ctx, .connected = true, .kill_at_ms = INT64_MAX};

    output_budget_init(&r.budget, clock_ms());
    int64_t since_ms = 0;
    enum err e;
    do {
        buf_clear(&why);
        e = child_start_job(s, ctx, &r.child, &why);
    } while (scarce_try_again(ctx, e, &since_ms));
    if (e != ERR_OK && job_should_abort(ctx))
        return job_aborted(ctx, "before it was started");
    if (e != ERR_OK)
        return job_failed(ctx, "not_started", "%s",
                          why.len > 0 ? why.text : err_title(e));
    watch(&r);
    enum job_result result = r.answered ? r.result : conclude(&r);
    release_child(s, &r);
    return result;
}
