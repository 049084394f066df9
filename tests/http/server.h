/* server: the HTTP server with routes of the tests' own, without a database.
 *
 *     struct server s;
 *     server_start(&s, NULL);
 *     int fd = peer_dial(s.port);
 *     ...
 *     server_stop(&s);
 *
 * Its routes: GET and DELETE /hello, POST /echo, GET /smuggled (must never be reached),
 * GET /etag, GET /big?n=, GET /wait?wait= (a timer), GET /hold?text= (waits
 * for server_release()), GET /half (memory runs out), GET /things/{thingId}, GET /query
 * with text, n and flag. All of them count into `calls`.
 *
 * Threads: the handlers run on the HTTP thread, the rest on the test's. */
#ifndef BELAY_TESTS_HTTP_SERVER_H
#define BELAY_TESTS_HTTP_SERVER_H

#include "server/core/config.h"
#include "server/http/http.h"
#include "server/http/request.h"

#include <pthread.h>
#include <stdatomic.h>

enum { HELD_MAX = 64 };

struct server {
    struct config config;
    struct http *http;
    int port;
    atomic_int calls, smuggled, waiting, waits_ended, gone, wakes;
    atomic_bool release;
    struct request *held[HELD_MAX];  /* HTTP thread */
    const char *held_text[HELD_MAX]; /* its ?text= */
    int n_held;
};

/* Starts it on a free port with the defaults of config.def, as changed by `tune` (NULL:
 * not at all). */
void server_start(struct server *s, void (*tune)(struct config *));
/* The requests at /hold are answered soon. */
void server_release(struct server *s);
/* http_close(), then all that is left. */
void server_stop(struct server *s);
void server_free(struct server *s);

/* Waits until the counter has reached `least`; fails the test after ten seconds. */
void server_expect(atomic_int *counter, int least);

/* Waits for a condition; false after ten seconds. */
#define UNTIL(condition)                                                                 \
    do {                                                                                 \
        int64_t until_ms = clock_ms() + 10000;                                           \
        while (!(condition) && clock_ms() < until_ms)                                    \
            sleep_ms(1);                                                                 \
        cr_assert(condition, "%s did not come true", #condition);                        \
    } while (0)

#endif
