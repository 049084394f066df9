/* One request, from the gate to the last byte of its answer. libmicrohttpd calls
 * exchange_step() once with the head, then with each piece of the body, then once more;
 * an answer may be queued only in the first or in the last of these calls, so a body that
 * turns out too large is read and thrown away. A handler that has not answered yet leaves
 * the connection suspended; req_reply() resumes it, and libmicrohttpd calls
 * exchange_step() again. */
#include "server/core/cleanup.h"
#include "server/core/clock.h"
#include "server/core/log.h"
#include "server/http/json.h"
#include "server/http/private.h"

#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

/* A chunked body that is too large is read on for so much, then cut. */
enum { SWALLOW_BYTES_MIN = 256 * 1024, SWALLOW_FACTOR = 4 };

/* NULL when there was no memory for it at the accept: then its request is refused. */
static struct connection *connection_of(struct MHD_Connection *mhd)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT);

    return info != NULL ? info->socket_context : NULL;
}

static void enter(struct connection *c, enum phase phase)
{
    c->phase = phase;
    c->since_ms = clock_ms();
}

void *exchange_target(void *cls, const char *target, struct MHD_Connection *mhd)
{
    struct connection *c = connection_of(mhd);

    (void)cls;
    if (c == NULL)
        return NULL;
    c->target_len = target != NULL ? strlen(target) : 0;
    size_t kept = c->target_len < TARGET_BYTES_MAX ? c->target_len : TARGET_BYTES_MAX;
    memcpy(c->target, target != NULL ? target : "", kept);
    c->target[kept] = '\0';
    if (c->phase != PHASE_FRESH) /* a first request has its time from the connect on */
        c->since_ms = clock_ms();
    c->phase = PHASE_HEAD;
    return NULL;
}

/* A random prefix of the process and a counter: unique enough to find a line in the logs
 * of several nodes, and cheaper than randomness a request. */
static void make_request_id(struct http *http, char out[REQUEST_ID_MAX + 1])
{
    snprintf(out, REQUEST_ID_MAX + 1, "%s-%" PRIx64, http->id_prefix,
             ++http->next_request_id);
}

/* The client's own id where it is a sane token, so that its log and ours can be joined.
 */
static void name_request(struct request *req)
{
    const char *given = req_header(req, "X-Request-Id");
    size_t len = given != NULL ? strlen(given) : 0;

    if (len > 0 && len <= REQUEST_ID_MAX &&
        strspn(given,
               "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") ==
            len)
        memcpy(req->id, given, len + 1);
    else
        make_request_id(req->http, req->id);
}

static struct request *request_new(struct http *http, struct connection *c,
                                   struct MHD_Connection *mhd, const char *method)
{
    struct request *req = malloc(sizeof *req);

    if (req == NULL)
        return NULL;
    memset(req, 0, offsetof(struct request, first)); /* the arena needs no clearing */
    req->arena = req->first;
    req->room = sizeof req->first;
    req->http = http;
    req->connection = c;
    req->mhd = mhd;
    req->began_us = clock_us();
    req->last_error = &req->errors;
    buf_init(&req->body);
    req->method = req_strdup(req, method, strlen(method));
    c->request = req;
    name_request(req);
    return req;
}

void request_free(struct request *req)
{
    for (struct arena_block *b = req->blocks, *next; b != NULL; b = next) {
        next = b->next;
        if (!spare_give_back(&req->http->spare, b))
            free(b);
    }
    req_timer_stop(req);
    buf_release(&req->body);
    free(req->reply);
    free(req);
}

/* -- the answer ---------------------------------------------------------------------- */

/* One line a request, when its answer goes to libmicrohttpd, not when the last byte is
 * out: a client that reads slowly must not hide what was done for it. */
static void log_access(const struct request *req)
{
    static const char none[] = "http";
    const struct route *route = req->match.route;
    const char *operation = route != NULL ? route->operation_id : none;
    int64_t us = clock_us() - req->began_us;

    meter_add(&req->http->meter, operation, req->status, us);
    log_info(operation, "request=%s method=%s path=%s status=%d ms=%.1f", req->id,
             req->method, log_quoted(req->connection->target), req->status,
             (double)us / 1000);
}

/* Only for origins that are allowed: a browser then keeps the answer from all other
 * pages. Without Expose-Headers a page would see neither Location nor ETag. */
static void add_cors(struct MHD_Response *response, const struct request *req)
{
    const char *origin = req_header(req, "Origin");

    if (origin == NULL || !origin_is_allowed(req->http->options.config, origin))
        return;
    MHD_add_response_header(response, "Access-Control-Allow-Origin", origin);
    MHD_add_response_header(response, "Vary", "Origin");
    MHD_add_response_header(response, "Access-Control-Expose-Headers",
                            "Location, ETag, Link, Retry-After, X-Request-Id, "
                            "Idempotency-Replayed");
}

/* no-store, because a job's state is old by the time anybody could use a copy; nosniff,
 * because args that a stranger wrote must not be taken for HTML. */
static enum MHD_Result send_reply(struct request *req)
{
    struct MHD_Response *response = MHD_create_response_from_buffer(
        req->reply_len, req->reply, MHD_RESPMEM_MUST_FREE);

    if (response == NULL)
        return MHD_NO;
    req->reply = NULL; /* the response's now */
    if (req->content_type != NULL)
        MHD_add_response_header(response, "Content-Type", req->content_type);
    MHD_add_response_header(response, "X-Request-Id", req->id);
    MHD_add_response_header(response, "Cache-Control", "no-store");
    MHD_add_response_header(response, "X-Content-Type-Options", "nosniff");
    for (int i = 0; i < req->n_headers; i++)
        MHD_add_response_header(response, req->headers[i].name, req->headers[i].value);
    add_cors(response, req);
    if (req->must_close || atomic_load(&req->http->draining))
        MHD_add_response_header(response, "Connection", "close");
    enum MHD_Result sent = MHD_queue_response(req->mhd, (unsigned)req->status, response);
    MHD_destroy_response(response);
    enter(req->connection, PHASE_SENDING);
    log_access(req);
    return sent;
}

/* Refused with the head: the connection is closed, because what follows is the body of a
 * request that was not understood, and must not be read as the next one. */
static enum MHD_Result send_error(struct request *req, enum err e)
{
    req->must_close = true;
    req_error(req, e);
    return send_reply(req);
}

/* -- the steps ----------------------------------------------------------------------- */

static enum err find_route(struct request *req)
{
    enum err e = route_lookup(req->http->routes, req->method, gate_path(req), &req->match,
                              req->allow);

    if (e == ERR_METHOD_NOT_ALLOWED) {
        req_set_header(req, "Allow", req->allow);
        return req_fail(req, e, "this path has %s, not %s", req->allow, req->method);
    }
    if (e == ERR_ROUTE_NOT_FOUND)
        return req_fail(req, e,
                        "there is nothing at %s; /openapi.json lists what there is",
                        gate_path(req));
    return e;
}

/* Parameters (charset) may follow. Nothing but JSON, also because a form of another site
 * can send text/plain without a preflight, and not this. */
static bool is_json(const char *type)
{
    return type != NULL && strncasecmp(type, "application/json", 16) == 0 &&
           strchr("; ", type[16]) != NULL; /* or the end */
}

static enum err check_body_head(struct request *req)
{
    const char *length = req_header(req, "Content-Length");
    const char *type = req_header(req, "Content-Type");
    unsigned long long announced = length != NULL ? strtoull(length, NULL, 10) : 0;
    bool chunked = req_header(req, "Transfer-Encoding") != NULL;
    const struct route *route = req->match.route; /* NULL for OPTIONS */

    req->has_body = announced > 0 || chunked;
    req->must_close = chunked; /* what may follow a chunked body is not trusted */
    req->body_max = (size_t)req->http->options.config->body_max_bytes *
                    (size_t)(route != NULL ? route->body_factor : 1);
    if (announced > req->body_max)
        return req_fail(req, ERR_BODY_TOO_LARGE,
                        "the body has %llu bytes; at most %zu are taken", announced,
                        req->body_max);
    if (!req->has_body || route == NULL || !route->takes_body || is_json(type))
        return ERR_OK;
    return req_fail(
        req, ERR_UNSUPPORTED_MEDIA_TYPE,
        "the body has Content-Type %s; send -H 'Content-Type: application/json'",
        type != NULL ? type : "(none)");
}

/* The head is there: everything that can be said without the body. */
static enum err check_head(struct request *req, const char *method, const char *version)
{
    enum err e = gate_check(req, method, version);

    if (e == ERR_OK)
        e = origin_check(req);
    if (e == ERR_OK && strcmp(req->method, "OPTIONS") != 0)
        e = find_route(req);
    if (e == ERR_OK && req->match.route != NULL)
        e = gate_check_query(req);
    return e == ERR_OK ? check_body_head(req) : e;
}

static enum MHD_Result begin(struct http *http, struct MHD_Connection *mhd,
                             const char *method, const char *version, void **state)
{
    struct connection *c = connection_of(mhd);
    struct request *req = c != NULL ? request_new(http, c, mhd, method) : NULL;

    if (req == NULL)
        return MHD_NO;
    *state = req;
    req->early = check_head(req, method, version);
    if (req->early != ERR_OK)
        return send_error(req, req->early);
    enter(c, PHASE_BODY);
    return MHD_YES;
}

/* *len = 0 tells libmicrohttpd that all of it was taken. A body that is too large cannot
 * be answered here, so it is read and dropped; beyond the limit MHD_NO cuts the
 * connection. */
static enum MHD_Result take_body(struct request *req, const char *bytes, size_t *len)
{
    size_t n = *len;

    *len = 0;
    req->has_body = true;
    if (req->body_too_large) {
        size_t most = SWALLOW_FACTOR * req->body_max;
        req->swallowed += n;
        return req->swallowed <= (most > SWALLOW_BYTES_MIN ? most : SWALLOW_BYTES_MIN)
                   ? MHD_YES
                   : MHD_NO;
    }
    if (req->body.len + n > req->body_max)
        req->body_too_large = true;
    else
        buf_add(&req->body, bytes, n);
    return MHD_YES;
}

/* A preflight, or a question what the server can do. */
static void answer_options(struct request *req)
{
    req_set_header(req, "Allow", "GET, HEAD, POST, PUT, DELETE, OPTIONS");
    req_set_header(req, "Access-Control-Allow-Methods", "GET, HEAD, POST, PUT, DELETE");
    req_set_header(req, "Access-Control-Allow-Headers",
                   "Content-Type, Prefer, If-Match, If-None-Match, X-Request-Id, "
                   "Idempotency-Key");
    req_set_header(req, "Access-Control-Max-Age", "600");
    req_reply(req, 204, NULL, "", 0);
}

static bool says_nothing(const struct buf *body)
{
    struct json_error error;
    struct json_member m;
    enum json_type type;

    if (body->len == 0)
        return true;
    if (json_check(body->text, body->len, &type, &error) != ERR_OK || type != JSON_OBJECT)
        return false;
    struct json_cursor c = json_members(body->text, body->len);
    return !json_next(&c, &m);
}

/* An option in a body that nobody reads would be passed over, as an unknown parameter in
 * the query would be. To GET a body means nothing, whatever it says. */
static enum err check_body(struct request *req)
{
    const struct route *route = req->match.route;

    if (route->body_is_required && req->body.len == 0)
        return req_fail(req, ERR_BAD_REQUEST, "a JSON body is needed");
    if (route->takes_body || strcmp(route->method, "GET") == 0 ||
        says_nothing(&req->body))
        return ERR_OK;
    return req_fail(req, ERR_BAD_REQUEST, "%s takes no body%s", route->operation_id,
                    route->query[0] != NULL ? "; its options are query parameters" : "");
}

/* The body is whole. From here to the answer the connection has no deadline of its own:
 * what a handler waits for has one. */
static void dispatch(struct request *req)
{
    enum err e = ERR_OK;

    req->dispatched = true;
    enter(req->connection, PHASE_HANDLING);
    if (req->http->closing)
        e = ERR_DRAINING;
    else if (req->body_too_large)
        e = req_fail(req, ERR_BODY_TOO_LARGE, "at most %zu bytes are taken",
                     req->body_max);
    else if (req->body.failed || spare_is_short(&req->http->spare))
        e = ERR_NO_MEMORY;
    else if (req->match.route == NULL)
        answer_options(req);
    else if ((e = check_body(req)) == ERR_OK)
        e = req->match.route->function(req);
    if (e != ERR_OK && !req->answered)
        req_error(req, e);
}

enum MHD_Result exchange_step(void *cls, struct MHD_Connection *mhd, const char *url,
                              const char *method, const char *version, const char *upload,
                              size_t *upload_len, void **state)
{
    struct request *req = *state;

    (void)url;
    if (req == NULL)
        return begin(cls, mhd, method, version, state);
    if (*upload_len > 0)
        return take_body(req, upload, upload_len);
    if (req->early != ERR_OK)
        return MHD_YES;   /* answered with the head; the body is being thrown away */
    if (!req->dispatched) /* after a resume the handler has run already */
        dispatch(req);
    if (req->answered)
        return send_reply(req);
    req->suspended = true;
    MHD_suspend_connection(mhd);
    return MHD_YES;
}

/* 408 as bytes, for a connection whose request libmicrohttpd has not got. */
static void add_timeout_reply(struct buf *b, struct connection *c)
{
    CLEANUP(buf_release) struct buf problem = BUF_INIT;
    char id[REQUEST_ID_MAX + 1];

    if (c->request != NULL)
        snprintf(id, sizeof id, "%s", c->request->id);
    else
        make_request_id(c->http, id);
    buf_addf(&problem,
             "{\"type\":\"urn:belay:problem:%s\",\"title\":\"%s\",\"status\":408,"
             "\"detail\":\"the %s took too long\",\"code\":\"%s\",\"request_id\":\"%s\"}",
             err_code(ERR_REQUEST_TIMEOUT), err_title(ERR_REQUEST_TIMEOUT),
             c->phase == PHASE_BODY ? "body" : "head", err_code(ERR_REQUEST_TIMEOUT), id);
    buf_addf(b,
             "HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nX-Request-Id: %s\r\n"
             "Content-Type: application/problem+json\r\nContent-Length: %zu\r\n\r\n%s",
             id, problem.len, problem.text);
}

/* libmicrohttpd has sent nothing for a request whose head or body is still coming, so a
 * few bytes of ours cannot get between its own. */
void exchange_too_slow(struct connection *c)
{
    CLEANUP(buf_release) struct buf b = BUF_INIT;

    if (c->phase == PHASE_HEAD || c->phase == PHASE_BODY) {
        add_timeout_reply(&b, c);
        send(c->fd, b.text, b.len, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (c->request != NULL)
            c->request->status = 408;
    }
    /* Not close(): the descriptor is libmicrohttpd's, and its number could be another
     * connection's before the library notices. */
    shutdown(c->fd, SHUT_RDWR); /* libmicrohttpd sees the end and cleans up */
}

/* The last that is heard of a request. One that was abandoned may still be the argument
 * of an operation on its way, so it is not freed but kept for http_free(). */
void exchange_ended(void *cls, struct MHD_Connection *mhd, void **state,
                    enum MHD_RequestTerminationCode how)
{
    struct request *req = *state;
    struct http *http = cls;

    (void)mhd;
    (void)how;
    if (req == NULL)
        return;
    *state = NULL;
    if (!req->answered)
        log_access(req); /* cut: too slow, too large, or the client's own wish */
    req->connection->request = NULL;
    enter(req->connection, PHASE_IDLE);
    if (!req->abandoned) {
        request_free(req);
        return;
    }
    req->connection = NULL;
    req->mhd = NULL;
    req->next_abandoned = http->abandoned;
    http->abandoned = req;
}
