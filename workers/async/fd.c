/* Descriptors. libuv takes one watcher a descriptor, and two coroutines may wait for the
 * same (one reads what the other writes), so each await watches a duplicate: no table of
 * watchers, and whoever closes the original meanwhile does no harm. Rejected: to share
 * watchers (a count for each event and descriptor, for two system calls less).
 *
 * The watcher is on the heap, because libuv uses it until its close callback. */
#include "server/core/clock.h"
#include "workers/async/loop.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

struct watch {
    uv_poll_t poll; /* first: the close callback frees it */
    struct coroutine *co;
    int fd;
};

static void on_closed(uv_handle_t *handle)
{
    struct watch *w = (struct watch *)(void *)handle;

    close(w->fd);
    free(w);
}

static void on_event(uv_poll_t *poll, int status, int events)
{
    const struct watch *w = (struct watch *)(void *)poll;
    int ready = (events & UV_READABLE ? AWAIT_READABLE : 0) |
                (events & UV_WRITABLE ? AWAIT_WRITABLE : 0);

    uv_poll_stop(poll);
    coroutine_wake(w->co, status < 0 ? AWAIT_READABLE | AWAIT_WRITABLE : ready);
}

static struct watch *watch_new(struct loop *loop, int fd, int *out_error)
{
    struct watch *w = calloc(1, sizeof *w);

    *out_error = JOB_NO_MEMORY;
    if (w == NULL)
        return NULL;
    w->fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    *out_error = w->fd < 0 ? -errno : uv_poll_init(&loop->uv, &w->poll, w->fd);
    if (*out_error >= 0)
        return w;
    if (w->fd >= 0)
        close(w->fd);
    free(w);
    return NULL;
}

int await_fd(struct job_ctx *ctx, int fd, int events, int64_t timeout_ms)
{
    int e = await_begin(ctx);

    if (e != JOB_OK)
        return e;
    struct watch *w = watch_new(coroutine_loop(coroutine_self()), fd, &e);
    if (w == NULL)
        return e;
    w->co = coroutine_self();
    e = uv_poll_start(&w->poll,
                      (events & AWAIT_READABLE ? UV_READABLE : 0) |
                          (events & AWAIT_WRITABLE ? UV_WRITABLE : 0),
                      on_event);
    if (e == 0)
        e = await_park(ctx, NULL, NULL, timeout_ms);
    uv_close((uv_handle_t *)&w->poll, on_closed);
    return e;
}

/* -- reading and writing ------------------------------------------------------------- */

static int make_non_blocking(int fd)
{
    int flags = fcntl(fd, F_GETFL);

    if (flags < 0)
        return -errno;
    if ((flags & O_NONBLOCK) != 0)
        return 0;
    return fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 ? -errno : 0;
}

static int64_t read_now(int fd, void *buffer, size_t size)
{
    ssize_t n = read(fd, buffer, size);

    return n < 0 ? -errno : n;
}

static int64_t write_now(int fd, const void *bytes, size_t size)
{
    ssize_t n = send(fd, bytes, size, MSG_NOSIGNAL);

    if (n < 0 && errno == ENOTSOCK)
        n = write(fd, bytes, size);
    return n < 0 ? -errno : n;
}

static bool is_not_yet(int64_t n)
{
    return n == -EAGAIN || n == -EWOULDBLOCK || n == -EINTR;
}

/* Waits, and says how much of the time is left. */
static int wait_ready(struct job_ctx *ctx, int fd, int events, int64_t *timeout_ms)
{
    int64_t began_ms = clock_ms();
    int e = await_fd(ctx, fd, events, *timeout_ms);

    if (*timeout_ms >= 0) {
        *timeout_ms -= clock_ms() - began_ms;
        *timeout_ms = *timeout_ms > 0 ? *timeout_ms : 0;
    }
    return e < 0 ? e : JOB_OK;
}

int64_t await_read(struct job_ctx *ctx, int fd, void *buffer, size_t size,
                   int64_t timeout_ms)
{
    int64_t n = await_begin(ctx);

    if (n == JOB_OK)
        n = make_non_blocking(fd);
    if (n != JOB_OK)
        return n;
    while (is_not_yet(n = read_now(fd, buffer, size))) {
        int e = wait_ready(ctx, fd, AWAIT_READABLE, &timeout_ms);
        if (e != JOB_OK)
            return e;
    }
    return n;
}

int64_t await_write(struct job_ctx *ctx, int fd, const void *bytes, size_t size,
                    int64_t timeout_ms)
{
    const char *from = bytes;
    size_t left = size;
    int64_t n = await_begin(ctx);

    if (n == JOB_OK)
        n = make_non_blocking(fd);
    if (n != JOB_OK)
        return n;
    while (left > 0) {
        n = write_now(fd, from, left);
        if (n < 0 && !is_not_yet(n))
            return n;
        from += n > 0 ? n : 0;
        left -= n > 0 ? (size_t)n : 0;
        int e = left > 0 ? wait_ready(ctx, fd, AWAIT_WRITABLE, &timeout_ms) : JOB_OK;
        if (e != JOB_OK)
            return e;
    }
    return (int64_t)size;
}
