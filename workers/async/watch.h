/* watch: a descriptor of an awaitable's own, and what to do when it is ready.
 *
 *     w = watch_open(loop, fd, on_ready, &t);     NULL: no memory, or not a descriptor
 *     watch_for(w, UV_READABLE);                  on_ready(&t, events) from now on
 *     watch_close(w);                             and then close(fd)
 *
 * on_ready() is called on the loop's stack, again and again while the descriptor is
 * ready; an error or a hang-up counts as ready for all. After watch_close() it is not
 * called any more. A descriptor has at most one watch. Threads: the loop's. */
#ifndef BELAY_WORKERS_ASYNC_WATCH_H
#define BELAY_WORKERS_ASYNC_WATCH_H

#include "workers/async/loop.h"

struct watch_handle;
typedef void watch_fn(void *arg, int events);

struct watch_handle *watch_open(struct loop *loop, int fd, watch_fn *on_ready, void *arg);
/* UV_READABLE, UV_WRITABLE, both, or 0: none for now. */
void watch_for(struct watch_handle *w, int events);
void watch_close(struct watch_handle *w); /* NULL is fine */

#endif
