/* A ring of pointers. Senders wait only while it is full and receivers only while it is
 * empty, so at most one of the two lines has anybody in it; an item that comes while
 * somebody waits for it is handed over. */
#include "workers/async/waitlist.h"

#include <assert.h>
#include <stdlib.h>

struct job_channel {
    struct job_waitlist senders, receivers;
    bool closed;
    int capacity, n, from;
    void *items[];
};

struct job_channel *job_channel_new(int capacity)
{
    int room = capacity > 0 ? capacity : 1;
    struct job_channel *ch = calloc(1, sizeof *ch + (size_t)room * sizeof *ch->items);

    if (ch != NULL)
        ch->capacity = room;
    return ch;
}

void job_channel_free(struct job_channel *ch)
{
    assert(ch == NULL || (ch->senders.first == NULL && ch->receivers.first == NULL));
    free(ch);
}

static void put(struct job_channel *ch, void *item)
{
    ch->items[(ch->from + ch->n++) % ch->capacity] = item;
}

int await_send(struct job_ctx *ctx, struct job_channel *ch, void *item,
               int64_t timeout_ms)
{
    struct job_waiting me = {.item = item}, *receiver;
    int e = await_begin(ctx);

    if (e != JOB_OK)
        return e;
    if (ch->closed)
        return JOB_CLOSED;
    if ((receiver = waitlist_take(&ch->receivers)) != NULL) {
        receiver->item = item;
        coroutine_wake(receiver->co, JOB_OK);
    } else if (ch->n == ch->capacity) {
        return waitlist_wait(ctx, &ch->senders, &me, timeout_ms);
    } else {
        put(ch, item);
    }
    return JOB_OK;
}

static void *take(struct job_channel *ch)
{
    void *item = ch->items[ch->from];
    struct job_waiting *sender = waitlist_take(&ch->senders);

    ch->from = (ch->from + 1) % ch->capacity;
    ch->n--;
    if (sender != NULL) {
        put(ch, sender->item);
        coroutine_wake(sender->co, JOB_OK);
    }
    return item;
}

int await_receive(struct job_ctx *ctx, struct job_channel *ch, void **out_item,
                  int64_t timeout_ms)
{
    struct job_waiting me = {.item = NULL};
    int e = await_begin(ctx);

    if (e != JOB_OK)
        return e;
    if (ch->n > 0) {
        *out_item = take(ch);
        return JOB_OK;
    }
    if (ch->closed)
        return JOB_CLOSED;
    e = waitlist_wait(ctx, &ch->receivers, &me, timeout_ms);
    if (e == JOB_OK)
        *out_item = me.item;
    return e;
}

void job_channel_close(struct job_channel *ch)
{
    struct job_waiting *w;

    ch->closed = true;
    while ((w = waitlist_take(&ch->receivers)) != NULL)
        coroutine_wake(w->co, JOB_CLOSED);
    while ((w = waitlist_take(&ch->senders)) != NULL)
        coroutine_wake(w->co, JOB_CLOSED);
}
