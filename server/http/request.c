/* What handlers see: what came, memory, and the reply.
 *
 * Memory is an arena a request: pieces are cut off a block and freed together, so no
 * handler frees anything, and none can free too early. The first block is part of the
 * request, large enough for most; a larger one is fetched where it is needed. Rejected:
 * an arena a connection that is kept for the next request; what one request left there
 * would be the next one's bug. */
#include "server/core/clock.h"
#include "server/core/log.h"
#include "server/http/private.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* -- memory -------------------------------------------------------------------------- */

void *req_alloc(struct request *req, size_t size)
{
    size_t aligned = (size + 15) & ~(size_t)15;

    if (req->used + aligned > req->room) { /* the first block is part of the request */
        size_t room = aligned > ARENA_NEXT ? aligned : ARENA_NEXT;
        struct arena_block *block = malloc(sizeof *block + room);
        if (block == NULL)
            block = spare_take(&req->http->spare, sizeof *block + room);
        if (block == NULL) {
            log_error("http", "out_of_memory=%zu", size);
            abort();
        }
        block->next = req->blocks;
        req->blocks = block;
        req->arena = block->bytes;
        req->room = room;
        req->used = 0;
    }
    char *p = req->arena + req->used;
    req->used += aligned;
    return memset(p, 0, size);
}

char *req_strdup(struct request *req, const char *text, size_t len)
{
    char *copy = req_alloc(req, len + 1);

    memcpy(copy, text, len);
    return copy;
}

PRINTF_LIKE(2, 0)
/* Measured first, then written: a buffer of a fixed size would cut a message, or a
 * document. */
static char *print_args(struct request *req, const char *format, va_list args)
{
    va_list again;

    va_copy(again, args);
    int len = vsnprintf(NULL, 0, format, args);
    char *text = req_alloc(req, (size_t)len + 1);
    vsnprintf(text, (size_t)len + 1, format, again);
    va_end(again);
    return text;
}

char *req_printf(struct request *req, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    char *text = print_args(req, format, args);
    va_end(args);
    return text;
}

/* -- what came ----------------------------------------------------------------------- */

void *req_context(const struct request *req)
{
    return req->http->options.context;
}

int64_t req_age_us(const struct request *req)
{
    return clock_us() - req->began_us;
}

const struct meter_row *req_timings(const struct request *req)
{
    return req->http->meter.rows;
}

const char *req_operation(const struct request *req)
{
    return req->match.route->operation_id;
}

const char *req_id(const struct request *req)
{
    return req->id;
}

/* A copy, because the next part of the path begins where this one ends. The cast: taking
 * memory of the request changes nothing that a reader could see. */
const char *req_path(const struct request *req, const char *name)
{
    for (int i = 0; i < req->match.n_params; i++) {
        const struct path_param *p = &req->match.params[i];
        if (p->name_len == strlen(name) && memcmp(p->name, name, p->name_len) == 0)
            return req_strdup((struct request *)(uintptr_t)req, p->text, p->text_len);
    }
    assert(false && "a path parameter that the route does not have");
    return "";
}

/* Digits only, at most 2^53-1: "033", "+33" and "3e1" are not ids. */
static bool parse_id(const char *text, int64_t *out)
{
    int64_t value = 0;

    if (*text < '1' || *text > '9')
        return false;
    for (; *text >= '0' && *text <= '9'; text++) {
        value = value * 10 + (*text - '0');
        if (value > JOB_ID_MAX)
            return false;
    }
    if (*text != '\0')
        return false;
    *out = value;
    return true;
}

/* What is no id is "not found" and not "malformed": to a client both mean that there is
 * nothing at this URL. */
enum err req_path_id(struct request *req, const char *name, enum err not_found,
                     int64_t *out)
{
    const char *text = req_path(req, name);

    if (parse_id(text, out))
        return ERR_OK;
    return req_fail(req, not_found, "%s is not a number from 1 to 2^53-1", text);
}

/* A copy: libmicrohttpd's text goes with the connection, and a request that is left
 * behind at the stop outlives that, with a statement on its way that reads its values. */
const char *req_query(const struct request *req, const char *name)
{
    const char *text =
        req->mhd != NULL
            ? MHD_lookup_connection_value(req->mhd, MHD_GET_ARGUMENT_KIND, name)
            : NULL; /* left behind at the stop */

    return text != NULL ? req_strdup((struct request *)(uintptr_t)req, text, strlen(text))
                        : NULL;
}

enum err req_query_bool(struct request *req, const char *name, bool *inout)
{
    const char *text = req_query(req, name);

    if (text == NULL)
        return ERR_OK;
    if (strcmp(text, "true") == 0 || strcmp(text, "1") == 0)
        *inout = true;
    else if (strcmp(text, "false") == 0 || strcmp(text, "0") == 0)
        *inout = false;
    else
        return req_fail(req, ERR_BAD_QUERY, "%s=%s: use true or false", name, text);
    return ERR_OK;
}

enum err req_query_int(struct request *req, const char *name, int64_t least, int64_t most,
                       int64_t *inout)
{
    const char *text = req_query(req, name);
    char *end;

    if (text == NULL)
        return ERR_OK;
    errno = 0;
    int64_t value = strtoll(text, &end, 10);
    bool is_number = (*text >= '0' && *text <= '9') || *text == '-';
    if (errno != 0 || !is_number || end == text || *end != '\0' || value < least ||
        value > most)
        return req_fail(req, ERR_BAD_QUERY,
                        "%s=%s: use an integer from %" PRId64 " to %" PRId64, name, text,
                        least, most);
    *inout = value;
    return ERR_OK;
}

enum err req_query_text(struct request *req, const char *name, size_t most,
                        const char **inout)
{
    const char *text = req_query(req, name);
    size_t len = 0;

    if (text == NULL)
        return ERR_OK;
    for (const char *c = text; *c != '\0'; c++)
        len += ((unsigned char)*c & 0xc0) != 0x80; /* characters, not bytes */
    if (len > most)
        return req_fail(req, ERR_BAD_QUERY, "%s has %zu characters; at most %zu", name,
                        len, most);
    *inout = text;
    return ERR_OK;
}

const char *req_header(const struct request *req, const char *name)
{
    return req->mhd != NULL ? MHD_lookup_connection_value(req->mhd, MHD_HEADER_KIND, name)
                            : NULL;
}

const char *req_body(const struct request *req, size_t *out_len)
{
    *out_len = req->body.len;
    return req->body.text;
}

/* Prefer: wait=N among other preferences; -1 when it is not there or makes no sense. */
static int64_t prefer_wait(const char *prefer)
{
    for (const char *p = prefer; p != NULL && *p != '\0'; p += *p == ',' || *p == ';') {
        p += strspn(p, " \t");
        if (strncasecmp(p, "wait=", 5) == 0) {
            char *end;
            long value = strtol(p + 5, &end, 10);
            if (end > p + 5 && value >= 0 && strchr(",; \t", *end) != NULL)
                return value;
        }
        p += strcspn(p, ",;");
    }
    return -1;
}

/* ?wait wins over Prefer, because whoever typed it meant this request; a header may be a
 * client's habit. More than is allowed is cut, not refused: RFC 7240 (2) makes it a wish,
 * and Preference-Applied tells what is granted. */
enum err req_wait_seconds(struct request *req, int64_t *out_seconds)
{
    int64_t most = req->http->options.config->wait_max_seconds, asked = -1;
    enum err e = req_query_int(req, "wait", 0, INT32_MAX, &asked);
    bool preferred = false;

    if (e != ERR_OK)
        return e;
    if (asked < 0) {
        asked = prefer_wait(req_header(req, "Prefer"));
        preferred = asked >= 0;
    }
    *out_seconds = asked < 0 ? 0 : asked < most ? asked : most;
    if (preferred)
        req_set_header(req, "Preference-Applied",
                       req_printf(req, "wait=%" PRId64, *out_seconds));
    return ERR_OK;
}

bool req_is_gone(const struct request *req)
{
    return req->gone || req->abandoned;
}

/* -- the reply ----------------------------------------------------------------------- */

void req_set_header(struct request *req, const char *name, const char *value)
{
    for (int i = 0; i < req->n_headers; i++) {
        if (strcasecmp(req->headers[i].name, name) == 0) {
            req->headers[i].value = req_strdup(req, value, strlen(value));
            return;
        }
    }
    assert(req->n_headers < REPLY_HEADERS_MAX);
    req->headers[req->n_headers++] =
        (struct header){.name = req_strdup(req, name, strlen(name)),
                        .value = req_strdup(req, value, strlen(value))};
}

const char *req_reply_header(const struct request *req, const char *name)
{
    for (int i = 0; i < req->n_headers; i++) {
        if (strcasecmp(req->headers[i].name, name) == 0)
            return req->headers[i].value;
    }
    return NULL;
}

/* Whether `*` or the tag stands in a list; compared weakly, a W/ in front does not matter
 * (RFC 9110, 13.1.2). */
static bool etag_is_listed(const char *list, const char *etag)
{
    etag += strncmp(etag, "W/", 2) == 0 ? 2 : 0;
    for (const char *p = list + strspn(list, " \t"); *p != '\0'; p += strspn(p, " \t,")) {
        p += strncmp(p, "W/", 2) == 0 ? 2 : 0;
        const char *end = *p == '"' ? strchr(p + 1, '"') : NULL;
        if (end == NULL)
            return strcmp(list, "*") == 0;
        size_t len = (size_t)(end + 1 - p);
        if (len == strlen(etag) && memcmp(p, etag, len) == 0)
            return true;
        p = end + 1;
    }
    return false;
}

/* Only a GET that would answer 200: a 304 of anything else would hide what was done. */
static bool is_not_modified(const struct request *req, int status)
{
    const char *etag = req_reply_header(req, "ETag");
    const char *given = req_header(req, "If-None-Match");

    if (status != 200 || etag == NULL || given == NULL ||
        (strcmp(req->method, "GET") != 0 && strcmp(req->method, "HEAD") != 0))
        return false;
    return etag_is_listed(given, etag);
}

/* The second answer is dropped: the client may have been told already that the server
 * stops. The resume is last, because the connection must not go on before all of the
 * reply is there; libmicrohttpd takes it up in its next run (http_run()). */
void req_reply(struct request *req, int status, const char *content_type,
               const char *body, size_t len)
{
    if (req->abandoned || req->answered)
        return;
    if (is_not_modified(req, status)) {
        status = 304;
        len = 0;
    }
    req->answered = true;
    req->status = status;
    req->content_type = status == 204 || status == 304 ? NULL
                        : content_type != NULL         ? content_type
                                                       : "application/json";
    req->reply = malloc(len + 1);
    req->reply_len = req->reply != NULL ? len : 0;
    if (req->reply != NULL)
        memcpy(req->reply, body, len);
    else
        req->status = err_status(ERR_NO_MEMORY); /* no body, and no false success */
    req_timer_stop(req);
    if (req->suspended) {
        req->suspended = false;
        MHD_resume_connection(req->mhd);
    }
}

/* -- problems ------------------------------------------------------------------------ */

/* The last words count: the nearer to the edge, the better it is known what was asked. */
enum err req_fail(struct request *req, enum err e, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    req->detail = print_args(req, format, args);
    va_end(args);
    return e;
}

enum err req_fail_at(struct request *req, enum err e, const char *pointer,
                     const char *format, ...)
{
    struct field_error *error = req_alloc(req, sizeof *error);
    va_list args;

    va_start(args, format);
    error->detail = print_args(req, format, args);
    va_end(args);
    error->pointer = req_strdup(req, pointer, strlen(pointer));
    *req->last_error = error;
    req->last_error = &error->next;
    if (req->detail == NULL)
        req->detail = req_printf(req, "%s: %s", *pointer != '\0' ? pointer : "the body",
                                 error->detail);
    return e;
}

void req_fail_extra(struct request *req, const char *member)
{
    req->extra = req->extra == NULL ? req_strdup(req, member, strlen(member))
                                    : req_printf(req, "%s,%s", req->extra, member);
}

static void add_member(struct buf *b, const char *name, const char *value)
{
    buf_addf(b, ",\"%s\":", name);
    buf_add_json_string(b, value, strlen(value));
}

static void add_errors(struct buf *b, const struct field_error *errors)
{
    buf_adds(b, ",\"errors\":[");
    for (const struct field_error *e = errors; e != NULL; e = e->next) {
        buf_adds(b, e == errors ? "{\"pointer\":" : ",{\"pointer\":");
        buf_add_json_string(b, e->pointer, strlen(e->pointer));
        add_member(b, "detail", e->detail);
        buf_addc(b, '}');
    }
    buf_addc(b, ']');
}

/* Problem details (RFC 9457). `code` and `request_id` are extension members: programs
 * switch on the first, people quote the second. */
void req_error(struct request *req, enum err e)
{
    struct buf b = BUF_INIT;

    if (req->abandoned || req->answered)
        return;
    buf_addf(&b, "{\"type\":\"urn:belay:problem:%s\"", err_code(e));
    add_member(&b, "title", err_title(e));
    buf_addf(&b, ",\"status\":%d", err_status(e));
    add_member(&b, "detail", req->detail != NULL ? req->detail : err_title(e));
    add_member(&b, "code", err_code(e));
    if (req->errors != NULL)
        add_errors(&b, req->errors);
    if (req->extra != NULL)
        buf_addf(&b, ",%s", req->extra);
    add_member(&b, "request_id", req->id);
    buf_addc(&b, '}');
    if (err_status(e) == 503 || err_status(e) == 429)
        req_set_header(req, "Retry-After", "1");
    req_reply(req, err_status(e), "application/problem+json", b.text, b.len);
    buf_release(&b);
}

void req_reply_buf(struct request *req, int status, const struct buf *body)
{
    if (body->failed)
        req_error(req, ERR_NO_MEMORY);
    else
        req_reply(req, status, NULL, body->text, body->len);
}
