/* http: the server. libmicrohttpd in external epoll mode on a libuv loop, in one thread
 * of its own.
 *
 * Threads: http_open() starts it; http_call() from any thread runs fn on the HTTP thread
 * soon; everything else on the caller's thread. */
#ifndef BELAY_HTTP_HTTP_H
#define BELAY_HTTP_HTTP_H

#include "server/core/buf.h"
#include "server/core/config.h"
#include "server/core/err.h"

struct http;
struct route;

struct http_options {
    const struct config *config; /* listen, port, limits, timeouts, origins; borrowed for
                                    the server's life */
    void *context;               /* req_context() */
    void (*on_wake)(void *arg);  /* called on the HTTP thread after http_wake(), and once
                                    when http_close() begins; may be NULL */
    void *wake_arg;
    const struct route *routes; /* NULL: the table of the API; tests bring their own */
};

/* Binds, then serves. `why` says what is wrong with the address. */
enum err http_open(const struct http_options *options, struct http **out_http,
                   struct buf *why) MUST_CHECK;
/* The port that it listens on. */
int http_port(const struct http *http);
/* From any thread: on_wake() will be called on the HTTP thread; many calls may become
 * one. Async-signal-safe not needed. */
void http_wake(struct http *http);

/* No new connections, `Connection: close` on every reply; requests under way go on. */
void http_drain(struct http *http);
/* Ends waits, finishes what is being sent (at most 5 s), joins the thread. */
void http_close(struct http *http);
/* After everybody who may call http_wake() has stopped. NULL is fine. */
void http_free(struct http *http);

#endif
