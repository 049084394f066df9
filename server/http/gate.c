/* The gate: what two readers of HTTP could read differently goes no further. A proxy in
 * front and this server have to agree where a request ends; whatever leaves room for
 * doubt (two lengths, a length and chunks, a header name with a space) is answered with
 * 400 and the connection is closed.
 *
 * libmicrohttpd 0.9.75 takes a bare LF for a line's end, joins folded lines, and lets a
 * NUL cut a line short; none of that can be seen in the names and values that it reports.
 * But these are pointers into the head as it came, so it can be seen in what lies between
 * them: each line has to begin where the one before it has ended, two bytes further on.
 * Rejected: a parser of our own in front of the library, which would read everything
 * twice. Version 1.0 refuses these by itself.
 *
 * Two things 0.9.75 leaves no trace of. It overwrites the ends of lines with NULs, and
 * the colon of a header, so that a NUL that came, or a colon without a name, passes for
 * CRLF together with a bare LF: NUL LF ends a line, and NUL CR LF LF or a line of colon
 * LF the head. And in front of a request, where empty lines are passed over, a line that
 * begins with NUL passes for an empty one. Behind a proxy that hands such bytes on, only
 * version 1.0 is safe; the image brings it. */
#include "server/core/utf8.h"
#include "server/http/private.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

/* -- the target ---------------------------------------------------------------------- */

static int hex_digit(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

/* An escaped slash would end a part of the path for one reader and not for another; a
 * query has no parts. */
static const char *bad_escape(const char *at, bool in_path)
{
    int high = hex_digit(at[1]), low = high >= 0 ? hex_digit(at[2]) : -1;
    int byte = high * 16 + low;

    if (low < 0)
        return "a % that is not followed by two hex digits";
    if (byte < 0x20 || byte == 0x7f)
        return "an escaped control character";
    return in_path && byte == '/' ? "an escaped slash in its path" : NULL;
}

bool gate_target_is_good(const char *target, const char **out_why)
{
    const char *query = target + strcspn(target, "?");

    *out_why = NULL;
    for (const char *c = target; *c != '\0' && *out_why == NULL; c++) {
        if (*c == '%')
            *out_why = bad_escape(c, c < query);
        else if ((unsigned char)*c <= 0x20 || (unsigned char)*c >= 0x7f || *c == '#')
            *out_why = "a byte that has to be escaped";
    }
    return *out_why == NULL;
}

/* What follows "http://" in the absolute form, or NULL. */
static const char *authority_of(const char *target)
{
    return strncasecmp(target, "http://", 7) == 0    ? target + 7
           : strncasecmp(target, "https://", 8) == 0 ? target + 8
                                                     : NULL;
}

const char *gate_path(struct request *req)
{
    const char *path = req->connection->target;
    const char *authority = authority_of(path);

    if (authority != NULL) {
        path = authority + strcspn(authority, "/?");
        path = *path == '/' ? path : "/";
    }
    return req_strdup(req, path, strcspn(path, "?"));
}

/* A path, or the absolute form with the same host as the Host header (RFC 9112, 3.2), or
 * `*` for OPTIONS. */
static enum err check_form(struct request *req)
{
    const char *target = req->connection->target, *authority = authority_of(target);
    const char *host = req_header(req, "Host");
    size_t len = authority != NULL ? strcspn(authority, "/?") : 0;

    if (*target == '/' ||
        (strcmp(target, "*") == 0 && strcmp(req->method, "OPTIONS") == 0))
        return ERR_OK;
    if (authority == NULL)
        return req_fail(req, ERR_BAD_REQUEST, "the request target is not a path");
    if (host == NULL || strlen(host) != len || strncasecmp(host, authority, len) != 0)
        return req_fail(req, ERR_BAD_REQUEST,
                        "the host of the request target is not that of the Host header");
    return ERR_OK;
}

static enum err check_target(struct request *req)
{
    const struct connection *c = req->connection;
    const char *why;

    if (c->target_len > TARGET_BYTES_MAX)
        return req_fail(req, ERR_URI_TOO_LONG,
                        "the request target has %zu bytes; at most %d", c->target_len,
                        TARGET_BYTES_MAX);
    if (!gate_target_is_good(c->target, &why))
        return req_fail(req, ERR_BAD_REQUEST, "the request target has %s", why);
    return check_form(req);
}

/* -- the headers --------------------------------------------------------------------- */

struct head {
    struct request *req;
    const char *at; /* where the next line has to begin */
    int hosts, lengths, encodings;
    size_t bytes;
    const char *bad;
    bool encoding_is_chunked, expects_other;
};

static bool is_token(const char *name, size_t len)
{
    static const char allowed[] = "!#$%&'*+-.^_`|~0123456789"
                                  "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";

    return len > 0 && strspn(name, allowed) == len;
}

static bool has_control(const char *value, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)value[i];
        if ((c < 0x20 && c != '\t') || c == 0x7f)
            return true;
    }
    return false;
}

/* name:digits, or [address]:digits; the port may be missing. */
static bool is_host(const char *host)
{
    size_t len = *host == '[' ? strspn(host + 1, "0123456789abcdefABCDEF:.") + 1
                              : strspn(host, "abcdefghijklmnopqrstuvwxyz0123456789-._"
                                             "ABCDEFGHIJKLMNOPQRSTUVWXYZ");

    if (*host == '[' && host[len++] != ']')
        return false;
    if (len == 0 || host[len] == '\0')
        return len > 0;
    return host[len] == ':' &&
           host[len + 1 + strspn(host + len + 1, "0123456789")] == '\0';
}

static bool all_digits(const char *value, size_t len)
{
    return len > 0 && strspn(value, "0123456789") == len;
}

#if MHD_TAKES_BARE_LF
/* What the library makes of CRLF. There are two bytes: behind each line comes another, if
 * only the empty one. */
static bool is_line_end(const char *at)
{
    return at[0] == '\0' && at[1] == '\0';
}
#endif

/* The line ends behind its value, in CRLF, and nothing but spaces stands between name and
 * value. */
static bool line_is_whole(struct head *h, const char *name, size_t name_len,
                          const char *value, size_t value_len)
{
#if MHD_TAKES_BARE_LF
    if (name != h->at ||
        value != name + name_len + 1 + strspn(name + name_len + 1, " \t") ||
        !is_line_end(value + value_len))
        return false;
    h->at = value + value_len + 2; /* the next line, or end_walk(), tells */
    return true;
#else
    (void)h;
    return value != NULL && value_len == strlen(value) && name_len == strlen(name);
#endif
}

static void count_framing(struct head *h, const char *name, const char *value,
                          size_t value_len)
{
    if (strcasecmp(name, "Host") == 0) {
        h->hosts++;
        if (!is_host(value))
            h->bad = "a Host header that is not a host";
    } else if (strcasecmp(name, "Content-Length") == 0) {
        h->lengths++;
        if (!all_digits(value, value_len))
            h->bad = "a Content-Length that is not a number";
    } else if (strcasecmp(name, "Transfer-Encoding") == 0) {
        h->encodings++;
        h->encoding_is_chunked = strcasecmp(value, "chunked") == 0;
    } else if (strcasecmp(name, "Expect") == 0) {
        h->expects_other = strcasecmp(value, "100-continue") != 0;
    }
}

static enum MHD_Result look_at_header(void *cls, enum MHD_ValueKind kind,
                                      const char *name, size_t name_len,
                                      const char *value, size_t value_len)
{
    struct head *h = cls;

    (void)kind;
    h->bytes += name_len + value_len + 4;
    if (!line_is_whole(h, name, name_len, value, value_len))
        h->bad = "a header line that does not end in CRLF, is folded, or has a NUL";
    else if (!is_token(name, name_len))
        h->bad = "a header name that is not a token";
    else if (has_control(value, value_len))
        h->bad = "a control character in a header";
    else
        count_framing(h, name, value, value_len);
    return h->bad == NULL ? MHD_YES : MHD_NO;
}

/* The request line: method, target and version with one space between them. */
static void begin_walk(struct head *h, const char *method, const char *version)
{
#if MHD_TAKES_BARE_LF
    if (version != method + strlen(method) + 1 + h->req->connection->target_len + 1 ||
        !is_line_end(version + strlen(version)))
        h->bad = "a request line with a NUL, or more spaces than two";
    h->at = version + strlen(version) + 2;
#else
    (void)method;
    (void)version;
    (void)h;
#endif
}

/* Behind the last header stands the empty line, and nothing else. */
static void end_walk(struct head *h, const char *method)
{
#if MHD_TAKES_BARE_LF
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(h->req->mhd, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE);

    if (h->bad == NULL &&
        (info == NULL || h->at + 2 != method + info->header_size || !is_line_end(h->at)))
        h->bad = "a head that does not end in an empty line";
#else
    (void)h;
    (void)method;
#endif
}

/* Where does the request end? */
static enum err judge_framing(struct request *req, const struct head *h,
                              const char *version)
{
    if (h->lengths > 1 || h->encodings > 1)
        return req_fail(req, ERR_BAD_REQUEST,
                        "Content-Length or Transfer-Encoding stands more than once");
    if (h->lengths > 0 && h->encodings > 0)
        return req_fail(req, ERR_BAD_REQUEST,
                        "both Content-Length and Transfer-Encoding");
    if (h->encodings > 0 && strcmp(version, "HTTP/1.0") == 0)
        return req_fail(req, ERR_BAD_REQUEST, "HTTP/1.0 has no Transfer-Encoding");
    if (h->encodings > 0 && !h->encoding_is_chunked)
        return req_fail(req, ERR_NOT_IMPLEMENTED,
                        "the only transfer coding here is chunked");
    return ERR_OK;
}

static enum err judge_head(struct request *req, const struct head *h, const char *version)
{
    if (h->bad != NULL)
        return req_fail(req, ERR_BAD_REQUEST, "the request has %s", h->bad);
    if (h->hosts > 1 || (h->hosts == 0 && strcmp(version, "HTTP/1.0") != 0))
        return req_fail(req, ERR_BAD_REQUEST,
                        "the request has %d Host headers; it needs one", h->hosts);
    enum err e = judge_framing(req, h, version);
    if (e != ERR_OK)
        return e;
    if (h->expects_other)
        return ERR_EXPECTATION_FAILED;
    if (h->bytes > HEADER_BYTES_MAX)
        return req_fail(req, ERR_HEADERS_TOO_LARGE,
                        "the headers have %zu bytes; at most %d", h->bytes,
                        HEADER_BYTES_MAX);
    return ERR_OK;
}

static enum err check_method(struct request *req, const char *version)
{
    static const char *const known[] = {"GET",   "HEAD",   "POST",   "PUT",
                                        "PATCH", "DELETE", "OPTIONS"};

    if (strcmp(version, "HTTP/1.1") != 0 && strcmp(version, "HTTP/1.0") != 0)
        return req_fail(req, ERR_BAD_REQUEST, "%s is not spoken here; use HTTP/1.1",
                        version);
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (strcmp(req->method, known[i]) == 0)
            return ERR_OK;
    }
    return req_fail(req, ERR_NOT_IMPLEMENTED, "the method %.20s is not known",
                    req->method);
}

enum err gate_check(struct request *req, const char *method, const char *version)
{
    struct head h = {.req = req};
    enum err e = check_method(req, version);

    if (e != ERR_OK)
        return e;
    begin_walk(&h, method, version);
    if (h.bad == NULL)
        MHD_get_connection_values_n(req->mhd, MHD_HEADER_KIND, look_at_header, &h);
    end_walk(&h, method);
    e = judge_head(req, &h, version);
    return e == ERR_OK ? check_target(req) : e;
}

/* -- the query ----------------------------------------------------------------------- */

struct query_check {
    struct request *req;
    enum err e;
};

static enum MHD_Result check_query_value(void *cls, enum MHD_ValueKind kind,
                                         const char *name, const char *value)
{
    struct query_check *check = cls;
    const struct route *route = check->req->match.route;
    const char *const *known = route->query;

    while (*known != NULL && strcmp(*known, name) != 0)
        known++;
    if (*known == NULL)
        check->e = req_fail(check->req, ERR_BAD_QUERY, "%s has no query parameter %s",
                            route->operation_id, name);
    else if (value == NULL)
        check->e =
            req_fail(check->req, ERR_BAD_QUERY, "query parameter %s has no value", name);
    else if (MHD_lookup_connection_value(check->req->mhd, kind, name) != value)
        check->e =
            req_fail(check->req, ERR_BAD_QUERY, "query parameter %s stands twice", name);
    else if (!utf8_is_good(value, strlen(value)))
        check->e =
            req_fail(check->req, ERR_BAD_QUERY, "query parameter %s is not UTF-8", name);
    return check->e == ERR_OK ? MHD_YES : MHD_NO;
}

enum err gate_check_query(struct request *req)
{
    struct query_check check = {.req = req, .e = ERR_OK};

    MHD_get_connection_values(req->mhd, MHD_GET_ARGUMENT_KIND, check_query_value, &check);
    return check.e;
}
