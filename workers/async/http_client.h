/* http_client: libcurl on a loop, for http.c.
 *
 * One multi handle a loop keeps the connections that can be used again. Threads: the
 * loop's; nothing here is called by libcurl on another stack than the loop's, except what
 * http_client_start() and _end() do at once. */
#ifndef BELAY_WORKERS_ASYNC_HTTP_CLIENT_H
#define BELAY_WORKERS_ASYNC_HTTP_CLIENT_H

#include "workers/async/loop.h"

#include <curl/curl.h>

struct http_client;

/* Embedded in a request; the easy handle's CURLOPT_PRIVATE points to it. */
struct http_transfer {
    CURL *easy;
    /* Called once, when libcurl has forgotten it: what it says, and whether
     * http_client_end() was why. */
    void (*ended)(struct http_transfer *t, CURLcode code);
    struct http_transfer *next_ending;
    bool ending;
};

/* The loop's, made at the first call; NULL without memory. */
struct http_client *http_client_of(struct loop *loop);
/* A handle without settings; NULL without memory. */
CURL *http_client_easy(struct http_client *c);
void http_client_give_back(struct http_client *c, CURL *easy);

/* False without memory: ended() is not called. */
bool http_client_start(struct http_client *c, struct http_transfer *t);
/* Ends it with CURLE_ABORTED_BY_CALLBACK and closes its connection: at once, or, where it
 * is called by a callback of libcurl, when that has returned. */
void http_client_end(struct http_client *c, struct http_transfer *t);

#endif
