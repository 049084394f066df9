/* A program under its supervisor (process.h), which is where the promise comes from that
 * nothing survives; here its two outputs and its end are watched on the loop.
 *
 * The answer keeps the end of each output. A tail grows to twice what is wanted and is
 * then cut to that, so a long output is moved once, and a short one costs what it has.
 * Rejected: uv_spawn() (it forks the whole service, and a daemon escapes). */
#include "server/core/buf.h"
#include "server/core/cleanup.h"
#include "server/core/clock.h"
#include "workers/async/watch.h"
#include "workers/memory_file.h"
#include "workers/process.h"
#include "workers/scarce.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    OUTPUT_MOST = 64 << 10,
    GRACE_MS = 10000,
    CHUNK_BYTES = 16 << 10,
    LATE_CHUNKS = 128, /* read after the end, from a pipe that somebody outside holds */
};

/* One output. */
struct tail {
    struct run *run;
    struct watch_handle *watch;
    struct buf text;
    size_t most;
    bool cut;
};

/* On the coroutine's stack. */
struct run {
    struct coroutine *co;
    struct loop *loop;
    struct process *process;
    struct process_end end;
    struct watch_handle *watch;
    struct tail out, err;
    struct deadline grace;
    int64_t grace_ms;
    int why; /* it was stopped */
};

/* -- output -------------------------------------------------------------------------- */

static void tail_cut(struct tail *t, size_t most)
{
    if (t->text.len <= most)
        return;
    memmove(t->text.text, t->text.text + t->text.len - most, most);
    t->text.len = most;
    t->text.text[most] = '\0';
    t->cut = true;
}

/* One chunk, or what there is; false when there is nothing now, or never again. */
static bool tail_read(struct tail *t, int fd, void (*close_end)(struct process *p))
{
    char chunk[CHUNK_BYTES];
    ssize_t len = fd >= 0 ? read(fd, chunk, sizeof chunk) : -1;

    if (fd < 0)
        return false;
    if (len > 0) {
        buf_add(&t->text, chunk, (size_t)len);
        if (t->text.len > 2 * t->most)
            tail_cut(t, t->most);
    } else if (len == 0 || (errno != EAGAIN && errno != EINTR)) {
        watch_close(t->watch);
        t->watch = NULL;
        close_end(t->run->process);
    }
    return len > 0;
}

static bool read_out(struct run *r)
{
    return tail_read(&r->out, process_out_fd(r->process), process_close_out);
}

static bool read_err(struct run *r)
{
    return tail_read(&r->err, process_err_fd(r->process), process_close_err);
}

static void on_out(void *arg, int events)
{
    (void)events;
    read_out(arg);
}

static void on_err(void *arg, int events)
{
    (void)events;
    read_err(arg);
}

/* -- the end ------------------------------------------------------------------------- */

static void stop_watching(struct run *r)
{
    deadline_clear(&r->loop->deadlines, &r->grace);
    watch_close(r->watch);
    watch_close(r->out.watch);
    watch_close(r->err.watch);
    r->watch = r->out.watch = r->err.watch = NULL;
}

static void on_news(void *arg, int events);

/* The supervisor was killed, and the zygote will say when the program is gone. */
static bool watch_sweep(struct run *r)
{
    watch_close(r->watch);
    r->watch = watch_open(r->loop, process_fd(r->process), on_news, r);
    if (r->watch != NULL)
        watch_for(r->watch, UV_READABLE);
    return r->watch != NULL;
}

static void on_news(void *arg, int events)
{
    struct run *r = arg;
    int fd = process_fd(r->process);

    (void)events;
    if (!process_ended(r->process, &r->end)) {
        if (fd == process_fd(r->process) || watch_sweep(r))
            return;
        r->end.fate = PROCESS_LOST;
    }
    for (int i = 0; i < LATE_CHUNKS && read_out(r); i++)
        ;
    for (int i = 0; i < LATE_CHUNKS && read_err(r); i++)
        ;
    stop_watching(r);
    coroutine_wake(r->co, r->why);
}

static void on_grace_over(struct deadline *d)
{
    const struct run *r = (struct run *)(void *)((char *)d - offsetof(struct run, grace));

    process_kill(r->process);
}

/* Its end, which on_news() will see, ends the await. */
static void stop(void *arg, int why)
{
    struct run *r = arg;

    if (r->why != JOB_OK) {
        process_kill(r->process);
        return;
    }
    r->why = why;
    process_terminate(r->process);
    if (!deadline_set(&r->loop->deadlines, &r->grace,
                      clock_us() + r->grace_ms * US_PER_MS))
        process_kill(r->process);
}

/* -- the start ----------------------------------------------------------------------- */

static bool env_has(const char *const *env, const char *name)
{
    size_t len = strlen(name);

    for (; env != NULL && *env != NULL; env++) {
        if (strncmp(*env, name, len) == 0 && (*env)[len] == '=')
            return true;
    }
    return false;
}

/* What a declared command would have, and what the request adds; the strings of the
 * former are in `own`. */
static const char **make_env(const char *const *added, struct buf *own)
{
    static const char *const always[][2] = {
        {"PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
        {"HOME", "/"},
        {"LANG", "C.UTF-8"},
    };
    size_t n = 0, ends[3], n_own = 0, at = 0;

    for (size_t i = 0; i < sizeof always / sizeof *always; i++) {
        const char *value = getenv(always[i][0]);
        if (env_has(added, always[i][0]))
            continue;
        buf_addf(own, "%s=%s", always[i][0], value != NULL ? value : always[i][1]);
        buf_addc(own, '\0');
        ends[n_own++] = own->len;
    }
    while (added != NULL && added[n] != NULL)
        n++;
    const char **env = own->failed ? NULL : calloc(n + n_own + 1, sizeof *env);
    if (env == NULL)
        return NULL;
    if (n > 0)
        memcpy(env, added, n * sizeof *env);
    for (size_t i = 0; i < n_own; at = ends[i++])
        env[n + i] = own->text + at;
    return env;
}

static int start_process(struct job_ctx *ctx, struct run *r,
                         const struct exec_request *request)
{
    CLEANUP(buf_release) struct buf own = BUF_INIT, why = BUF_INIT;
    CLEANUP(free_ptr) const char **env = make_env(request->env, &own);
    bool input = request->input_len > 0;
    CLEANUP(close_fd)
    int in = input ? memory_file(request->input, request->input_len) : -1;

    if (env == NULL)
        return JOB_NO_MEMORY;
    if (input && in < 0)
        return -errno;
    struct process_spec spec = {.argv = request->argv,
                                .env = env,
                                .directory = request->directory,
                                .stdin_fd = in};
    enum err e;
    do
        e = process_start(&spec, &r->process, &why);
    while (e == ERR_IO && scarce_give_way(ctx));
    if (e == ERR_OK)
        return JOB_OK;
    return e == ERR_INVALID ? -E2BIG : e == ERR_NO_MEMORY ? JOB_NO_MEMORY : -EIO;
}

static bool watch_all(struct run *r)
{
    r->watch = watch_open(r->loop, process_fd(r->process), on_news, r);
    r->out.watch = watch_open(r->loop, process_out_fd(r->process), on_out, r);
    r->err.watch = watch_open(r->loop, process_err_fd(r->process), on_err, r);
    if (r->watch == NULL || r->out.watch == NULL || r->err.watch == NULL)
        return false;
    watch_for(r->watch, UV_READABLE);
    watch_for(r->out.watch, UV_READABLE);
    watch_for(r->err.watch, UV_READABLE);
    return true;
}

/* -- the answer ---------------------------------------------------------------------- */

/* The text of an answer is never NULL, and only freed where there is memory. */
static char *take_text(struct tail *t, size_t *out_len, bool *out_cut)
{
    if (t->text.failed)
        return NULL;
    tail_cut(t, t->most);
    *out_len = t->text.len;
    *out_cut = t->cut;
    return t->text.len > 0 ? buf_detach(&t->text) : buf_empty;
}

static int answer_with(struct run *r, int e, struct exec_answer *out)
{
    char *text_out = take_text(&r->out, &out->out_len, &out->out_cut);
    char *text_err = take_text(&r->err, &out->err_len, &out->err_cut);

    out->out = text_out != NULL ? text_out : buf_empty;
    out->err = text_err != NULL ? text_err : buf_empty;
    if (r->end.fate == PROCESS_EXITED)
        out->status = r->end.code;
    if (r->end.fate == PROCESS_SIGNALLED)
        out->signal = r->end.code;
    if (e != JOB_OK)
        return e;
    if (text_out == NULL || text_err == NULL)
        return JOB_NO_MEMORY;
    if (r->end.fate == PROCESS_NOT_STARTED)
        return -r->end.code;
    return r->end.fate == PROCESS_LOST ? -EIO : JOB_OK;
}

void exec_answer_release(struct exec_answer *answer)
{
    if (answer->out != buf_empty)
        free(answer->out);
    if (answer->err != buf_empty)
        free(answer->err);
    answer->out = answer->err = buf_empty;
    answer->out_len = answer->err_len = 0;
}

int await_exec(struct job_ctx *ctx, const struct exec_request *request,
               struct exec_answer *out, int64_t timeout_ms)
{
    size_t most = request->output_most > 0 ? request->output_most : OUTPUT_MOST;
    struct run r = {.co = coroutine_self(),
                    .out = {.run = &r, .most = most},
                    .err = {.run = &r, .most = most},
                    .grace = {.due = on_grace_over},
                    .grace_ms = request->grace_ms > 0 ? request->grace_ms : GRACE_MS};
    int e = await_begin(ctx);

    buf_init(&r.out.text);
    buf_init(&r.err.text);
    *out = (struct exec_answer){.status = -1, .out = buf_empty, .err = buf_empty};
    if (e == JOB_OK)
        e = start_process(ctx, &r, request);
    if (e != JOB_OK)
        return e;
    r.loop = coroutine_loop(r.co);
    if (!watch_all(&r)) { /* its supervisor kills it */
        stop_watching(&r);
        process_close(r.process);
        return JOB_NO_MEMORY;
    }
    e = answer_with(&r, await_park(ctx, stop, &r, timeout_ms), out);
    process_close(r.process);
    buf_release(&r.out.text);
    buf_release(&r.err.text);
    return e;
}
