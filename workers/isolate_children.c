/* Children that wait for a job are a stack, so that the one used last, whose memory is
 * warm, is used next. Nobody looks at them: one that dies there is found when it is
 * handed a job. Rejected: as many at the start as there are threads (most nodes never
 * need them). */
#include "workers/isolate_children.h"

#include "server/core/cleanup.h"
#include "workers/context.h"
#include "workers/isolate.h"
#include "workers/isolate_child.h"
#include "workers/message.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

enum { IDLE_TRIES = 64 }; /* children that may have died before a new one is made */

void child_free(struct child *c)
{
    if (c == NULL)
        return;
    process_close(c->process); /* its supervisor kills what is left */
    close_fd(&c->socket);
    close_fd(&c->abort_fd);
    frames_release(&c->frames);
    free(c);
}

static enum err start_process(struct child *c, struct buf *why)
{
    static const char *const argv[] = {"job-task", NULL}, *const env[] = {NULL};
    int ends[2];

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) {
        buf_adds(why, "no socket for a child process");
        return ERR_IO;
    }
    struct process_spec spec = {
        .argv = argv, .env = env, .stdin_fd = ends[1], .is_entry = true};
    c->socket = ends[0];
    fcntl(c->socket, F_SETFL, O_NONBLOCK); /* of our end alone */
    enum err e = process_start(&spec, &c->process, why);
    close(ends[1]);
    return e;
}

static enum err child_new(struct isolates *s, struct child **out, struct buf *why)
{
    struct isolate_hello hello = {.n_cells = s->cells->n,
                                  .memory_bytes = s->config->isolate_memory_mb << 20};
    struct child *c = calloc(1, sizeof *c);

    if (c == NULL)
        return ERR_NO_MEMORY;
    c->socket = -1;
    c->abort_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    enum err e = c->abort_fd >= 0 ? start_process(c, why) : ERR_IO;
    const int fds[] = {s->cells->fd, c->abort_fd};
    if (e == ERR_OK &&
        message_send(c->socket, &hello, sizeof hello, fds, 2, PROCESS_DEADLINE_MS) != 0) {
        buf_adds(why, "a child process ended before it began");
        e = ERR_IO;
    }
    if (e == ERR_OK)
        *out = c;
    else
        child_free(c);
    return e;
}

static struct child *take_idle(struct isolates *s)
{
    pthread_mutex_lock(&s->mutex);
    struct child *c = s->idle;
    if (c != NULL)
        s->idle = c->next;
    pthread_mutex_unlock(&s->mutex);
    return c;
}

void child_give_idle(struct isolates *s, struct child *c)
{
    pthread_mutex_lock(&s->mutex);
    c->next = s->idle;
    s->idle = c;
    pthread_mutex_unlock(&s->mutex);
}

bool child_let_go(struct isolates *s)
{
    struct child *c = take_idle(s);

    child_free(c);
    return c != NULL;
}

enum err isolates_new(const struct config *config, const struct cells *cells,
                      struct isolates **out_isolates)
{
    struct isolates *s = calloc(1, sizeof *s);

    if (s == NULL)
        return ERR_NO_MEMORY;
    s->config = config;
    s->cells = cells;
    pthread_mutex_init(&s->mutex, NULL);
    *out_isolates = s;
    return ERR_OK;
}

void isolates_free(struct isolates *s)
{
    struct child *c;

    if (s == NULL)
        return;
    while ((c = take_idle(s)) != NULL)
        child_free(c);
    pthread_mutex_destroy(&s->mutex);
    free(s);
}

/* -- handing over -------------------------------------------------------------------- */

static bool hand_over(struct isolates *s, const struct job_ctx *ctx, struct child *c)
{
    const struct job *job = ctx->job;
    struct frame_job fixed = {.id = job->id,
                              .attempt = job->attempt,
                              .max_attempts = job->max_attempts,
                              .slot = (int)(ctx->head.cell - s->cells->cells)};
    memcpy(fixed.traceparent, job->traceparent, sizeof fixed.traceparent);
    const struct frame_part parts[] = {{&fixed, sizeof fixed},
                                       {job->queue, strlen(job->queue) + 1},
                                       {job->task_name, strlen(job->task_name) + 1},
                                       {job->args, strlen(job->args) + 1}};

    return frame_send(c->socket, FRAME_JOB, parts, 4, PROCESS_DEADLINE_MS);
}

enum err child_start_job(struct isolates *s, const struct job_ctx *ctx,
                         struct child **out_child, struct buf *why)
{
    struct process_end end;
    struct child *c;

    for (int try = 0; try < IDLE_TRIES && (c = take_idle(s)) != NULL; try++) {
        if (!process_ended(c->process, &end) && !process_lost(c->process) &&
            hand_over(s, ctx, c)) {
            *out_child = c;
            return ERR_OK;
        }
        child_free(c); /* it died while it waited */
    }
    enum err e = child_new(s, &c, why);
    if (e != ERR_OK)
        return e;
    if (hand_over(s, ctx, c)) {
        *out_child = c;
        return ERR_OK;
    }
    child_free(c);
    buf_adds(why, "a child process does not take the job");
    return ERR_IO;
}
