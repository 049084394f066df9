#include "workers/async/waitlist.h"

static void leave(struct job_waiting *w)
{
    struct job_waitlist *list = w->list;

    if (w->next != NULL)
        w->next->previous = w->previous;
    else
        list->last = w->previous;
    if (w->previous != NULL)
        w->previous->next = w->next;
    else
        list->first = w->next;
    w->list = NULL;
}

static void stop(void *arg, int why)
{
    struct job_waiting *w = arg;

    if (w->list != NULL)
        leave(w);
    coroutine_wake(w->co, why);
}

int waitlist_wait(struct job_ctx *ctx, struct job_waitlist *list, struct job_waiting *w,
                  int64_t timeout_ms)
{
    w->co = coroutine_self();
    w->list = list;
    w->next = NULL;
    w->previous = list->last;
    if (list->last != NULL)
        list->last->next = w;
    else
        list->first = w;
    list->last = w;
    return await_park(ctx, stop, w, timeout_ms);
}

struct job_waiting *waitlist_take(struct job_waitlist *list)
{
    struct job_waiting *w = list->first;

    if (w != NULL)
        leave(w);
    return w;
}
