/* The one timer of a request that waits. libuv's handles outlive uv_close() by a turn of
 * the loop, so it is not part of the request. */
#include "server/http/private.h"

#include <assert.h>
#include <stdlib.h>

static void free_timer(uv_handle_t *handle)
{
    struct http *http = handle->loop->data;

    if (!spare_give_back(&http->spare, handle))
        free(handle);
}

void req_timer_stop(struct request *req)
{
    if (req->timer == NULL)
        return;
    uv_timer_stop(req->timer);
    uv_close((uv_handle_t *)req->timer, free_timer);
    req->timer = NULL;
}

/* The timer is off before its function runs: the function may start the next one. */
void request_end_wait(struct request *req)
{
    if (req->timer == NULL)
        return;
    req_timer_stop(req);
    req->timer_fn(req, req->timer_arg);
}

static void on_timer(uv_timer_t *timer)
{
    struct request *req = timer->data;
    struct http *http = req->http;

    request_end_wait(req);
    http_run(http); /* it has probably been answered, and resumed */
}

void req_timer_start(struct request *req, int64_t ms, req_timer_fn *fn, void *arg)
{
    req_timer_stop(req);
    if (req->abandoned) /* the loop is gone */
        return;
    req->timer = malloc(sizeof *req->timer);
    if (req->timer == NULL)
        req->timer = spare_take(&req->http->spare, sizeof *req->timer);
    assert(req->timer != NULL);
    req->timer_fn = fn;
    req->timer_arg = arg;
    uv_timer_init(&req->http->loop, req->timer);
    req->timer->data = req;
    uv_timer_start(req->timer, on_timer, (uint64_t)(ms > 0 ? ms : 0), 0);
}
