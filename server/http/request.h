/* request: all that a handler sees of HTTP.
 *
 * A handler is `enum err operation_id(struct request *req)`. It runs on the HTTP thread
 * with the whole body read, must not block, and does one of three things:
 *   - answers: req_reply(), returns ERR_OK;
 *   - fails: `return req_fail(req, ERR_INVALID, "queue %s is paused", q)`: the adapter
 * sends problem+json;
 *   - answers later: submits work with `req` as its argument, returns ERR_OK; a callback
 * on the HTTP thread then calls req_reply() or req_error(), exactly once. A client that
 * hangs up meanwhile does not free `req`: the answer is dropped.
 *
 * The request owns all that it hands out, until it has been answered and the connection
 * has sent it. Strings are UTF-8, percent-decoded, NUL-terminated. Everything runs on the
 * HTTP thread. */
#ifndef BELAY_HTTP_REQUEST_H
#define BELAY_HTTP_REQUEST_H

#include "server/core/buf.h"
#include "server/core/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define JOB_ID_MAX 9007199254740991 /* 2^53-1: what every JSON reader keeps exactly */

struct request;
struct meter_row;

/* -- what came ----------------------------------------------------------------------- */

/* The context that http_open() was given. */
void *req_context(const struct request *req);

/* operationId of the route: "cancelJob". */
const char *req_operation(const struct request *req);

/* Unique id of the request: the client's X-Request-Id where it is a sane token, else made
 * here. */
const char *req_id(const struct request *req);

/* A path parameter by its name in openapi.json, never NULL for a name of the route. */
const char *req_path(const struct request *req, const char *name);

/* A path parameter as an integer in [1, 2^53-1]; else fails with `not_found` (an id that
 * cannot exist is not found). */
enum err req_path_id(struct request *req, const char *name, enum err not_found,
                     int64_t *out) MUST_CHECK;

/* The value of a query parameter, or NULL. The adapter has already refused parameters
 * that the operation does not document (400 bad-query). */
const char *req_query(const struct request *req, const char *name);

/* Typed query parameters: when absent the output is untouched and the result ERR_OK; when
 * malformed ERR_BAD_QUERY. */
enum err req_query_bool(struct request *req, const char *name, bool *inout) MUST_CHECK;
enum err req_query_int(struct request *req, const char *name, int64_t least, int64_t most,
                       int64_t *inout) MUST_CHECK;

/* A text of at most `most` characters. */
enum err req_query_text(struct request *req, const char *name, size_t most,
                        const char **inout) MUST_CHECK;

/* First value of a header, or NULL. The one text that is borrowed: of the connection,
 * until the request has been answered. */
const char *req_header(const struct request *req, const char *name);

/* The body; len 0 and "" when there is none. Content-Type has been checked where the
 * operation takes a body. */
const char *req_body(const struct request *req, size_t *out_len);

/* Seconds of Prefer: wait=N or ?wait=N, clamped to wait_max_seconds; 0 when not asked.
 * Sets Preference-Applied on the reply. Malformed ?wait is ERR_BAD_QUERY; a malformed
 * Prefer is ignored, as RFC 7240 says. */
enum err req_wait_seconds(struct request *req, int64_t *out_seconds) MUST_CHECK;

/* How long ago it began, in us. */
int64_t req_age_us(const struct request *req);

/* What all requests so far have been answered, and how long it took (meter.h). */
const struct meter_row *req_timings(const struct request *req);

/* -- memory -------------------------------------------------------------------------- */

/* Zeroed memory that lives as long as the request. Never NULL for sane sizes: running out
 * ends the process, as an assertion does. */
void *req_alloc(struct request *req, size_t size);
char *req_strdup(struct request *req, const char *text, size_t len);
char *req_printf(struct request *req, const char *format, ...) PRINTF_LIKE(2, 3);

/* -- what goes ----------------------------------------------------------------------- */

void req_set_header(struct request *req, const char *name, const char *value);

/* What req_set_header() has set, or NULL. */
const char *req_reply_header(const struct request *req, const char *name);

/* Queues the reply; `body` is copied. content_type NULL: application/json. Handles
 * If-None-Match (304) for GET when an ETag header has been set. */
void req_reply(struct request *req, int status, const char *content_type,
               const char *body, size_t len);

/* The same with what was put together in `body`, which stays yours. One that memory ran
 * out for is answered with 503 no-memory, never with half a document. */
void req_reply_buf(struct request *req, int status, const struct buf *body);

/* Records what is wrong, in words, and returns `e`. Does not send: return it, or call
 * req_error(). */
enum err req_fail(struct request *req, enum err e, const char *format, ...)
    PRINTF_LIKE(3, 4);
/* The same for one field of the body: `pointer` is a JSON pointer ("/args/n"). May be
 * called several times: all are listed. */
enum err req_fail_at(struct request *req, enum err e, const char *pointer,
                     const char *format, ...) PRINTF_LIKE(4, 5);
/* Adds members to the problem document: the text of a JSON member without comma:
 * "\"job\":{...}". */
void req_fail_extra(struct request *req, const char *member);

/* Sends what req_fail() recorded (or the title of `e`) as application/problem+json. For
 * callbacks; a handler just returns the error. 503 carries Retry-After: 1. */
void req_error(struct request *req, enum err e);

/* -- time ---------------------------------------------------------------------------- */

/* Calls fn on the HTTP thread after ms, unless req_timer_stop() came first. One timer a
 * request. */
typedef void req_timer_fn(struct request *req, void *arg);
void req_timer_start(struct request *req, int64_t ms, req_timer_fn *fn, void *arg);
void req_timer_stop(struct request *req);

/* True when the client has hung up while the request waited. */
bool req_is_gone(const struct request *req);

#endif
