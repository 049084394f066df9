#include "workers/async/watch.h"

#include <stdlib.h>

struct watch_handle {
    uv_poll_t poll; /* first: the close callback frees it */
    watch_fn *on_ready;
    void *arg;
    int events;
};

static void on_closed(uv_handle_t *handle)
{
    free(handle);
}

static void on_event(uv_poll_t *poll, int status, int events)
{
    const struct watch_handle *w = (struct watch_handle *)(void *)poll;

    w->on_ready(w->arg, status < 0 ? w->events : events & w->events);
}

struct watch_handle *watch_open(struct loop *loop, int fd, watch_fn *on_ready, void *arg)
{
    struct watch_handle *w = calloc(1, sizeof *w);

    if (w == NULL)
        return NULL;
    w->on_ready = on_ready;
    w->arg = arg;
    if (uv_poll_init(&loop->uv, &w->poll, fd) == 0)
        return w;
    free(w);
    return NULL;
}

void watch_for(struct watch_handle *w, int events)
{
    if (events == w->events)
        return;
    w->events = events;
    if (events == 0)
        uv_poll_stop(&w->poll);
    else
        uv_poll_start(&w->poll, events, on_event);
}

void watch_close(struct watch_handle *w)
{
    if (w != NULL)
        uv_close((uv_handle_t *)&w->poll, on_closed);
}
