/* private: what the files of server/http/ share. Everything here belongs to the HTTP
 * thread. */
#ifndef BELAY_HTTP_PRIVATE_H
#define BELAY_HTTP_PRIVATE_H

#include "server/core/buf.h"
#include "server/http/http.h"
#include "server/http/meter.h"
#include "server/http/request.h"
#include "server/http/router.h"
#include "server/http/spare.h"

#include <microhttpd.h>
#include <pthread.h>
#include <stdatomic.h>
#include <uv.h>

/* The parser before 0.9.77.1 takes a bare LF, folded lines and NULs: gate.c looks. */
#define MHD_TAKES_BARE_LF (MHD_VERSION < 0x00097701)

enum {
    HEADER_BYTES_MAX = 16 * 1024,
    TARGET_BYTES_MAX = 4 * 1024,
    ARENA_FIRST = 2048,
    ARENA_NEXT = 16 * 1024,
    REPLY_HEADERS_MAX = 12,
    REQUEST_ID_MAX = 64,
};

/* Where a connection stands, and since when: each phase has a deadline that bytes do not
 * push back. */
enum phase {
    PHASE_FRESH,
    PHASE_IDLE,
    PHASE_HEAD,
    PHASE_BODY,
    PHASE_HANDLING,
    PHASE_SENDING
};

struct connection {
    struct http *http;
    struct connection *next, *previous;
    int fd;
    enum phase phase;
    int64_t since_ms;
    char target[TARGET_BYTES_MAX +
                1];    /* the raw request target of the request under way */
    size_t target_len; /* may be larger than what was kept */
    struct request *request;
};

struct http {
    struct http_options options;
    const struct route *routes;
    struct MHD_Daemon *daemon;
    uv_loop_t loop;
    uv_poll_t epoll;
    uv_timer_t timeout, sweep;
    uv_idle_t again;
    uv_prepare_t flush;
    uv_async_t wake, stop;
    uv_thread_t thread;
    int listen_fd, port;
    atomic_bool draining;
    pthread_mutex_t wake_mutex;
    bool stopped; /* under wake_mutex: there is no loop to wake any more */
    struct connection *connections;
    int n_connections;
    struct request *abandoned; /* at the stop; http_free() frees them */
    int64_t stop_at_ms;
    bool closing; /* nothing is dispatched any more */
    struct meter meter;
    struct spare spare;
    uint64_t next_request_id;
    char id_prefix[12];
};

struct arena_block {
    struct arena_block *next;
    _Alignas(16) char bytes[];
};

struct header {
    const char *name, *value;
};

struct field_error {
    const char *pointer, *detail;
    struct field_error *next;
};

struct request {
    struct http *http;
    struct connection *connection;
    struct MHD_Connection *mhd;
    const char *method;
    struct route_match match;
    char allow[64];
    char id[REQUEST_ID_MAX + 1];
    int64_t began_us;
    struct buf body;
    size_t body_max;
    size_t swallowed; /* of a body that is too large */
    bool body_too_large, has_body, must_close;
    bool dispatched, answered, suspended, gone, abandoned;
    enum err early; /* what the gate said; ERR_OK: go on */
    /* the reply */
    int status;
    const char *content_type;
    char *reply; /* malloc'd: MHD frees it */
    size_t reply_len;
    struct header headers[REPLY_HEADERS_MAX];
    int n_headers;
    /* the problem */
    const char *detail, *extra;
    struct field_error *errors, **last_error;
    struct request *next_abandoned;
    uv_timer_t *timer;
    req_timer_fn *timer_fn;
    void *timer_arg;
    /* memory */
    struct arena_block *blocks;
    char *arena; /* the block in use */
    size_t used, room;
    _Alignas(16) char first[ARENA_FIRST];
};

/* http.c */
void http_run(struct http *http); /* lets libmicrohttpd work off what is ready; needed
                                     after every resume */

/* listen.c: binds the address of the configuration; sets listen_fd and port. */
enum err http_listen(struct http *http, struct buf *why) MUST_CHECK;

/* exchange.c: one request from its first byte to its last */
enum MHD_Result exchange_step(void *cls, struct MHD_Connection *mhd, const char *url,
                              const char *method, const char *version, const char *upload,
                              size_t *upload_len, void **state);
void exchange_ended(void *cls, struct MHD_Connection *mhd, void **state,
                    enum MHD_RequestTerminationCode how);
void *exchange_target(void *cls, const char *target, struct MHD_Connection *mhd);
/* Says 408, as far as the socket takes it at once, and cuts the connection. */
void exchange_too_slow(struct connection *c);
void request_free(struct request *req);
void request_end_wait(struct request *req); /* fires its timer now, if it has one */

/* gate.c: what must not get any further. Words go to req_fail(). */
enum err gate_check(struct request *req, const char *method, const char *version);
/* Each parameter is one of the route's, once, with a value in UTF-8. */
enum err gate_check_query(struct request *req);
/* The raw target without scheme and authority, cut at '?'; checked before. */
const char *gate_path(struct request *req);
bool gate_target_is_good(const char *target, const char **out_why);

/* origin.c */
enum err origin_check(struct request *req);
bool origin_is_allowed(const struct config *config, const char *origin);

#endif
