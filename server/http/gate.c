/* The gate: what two readers of HTTP could read differently goes no further. A proxy in
 * front and this server have to agree where a request ends; whatever leaves room for
 * doubt (two lengths, a length and chunks, a header name with a space) is answered with
 * 400 and the connection is closed.
 *
 * What libmicrohttpd hides cannot be judged here: a bare LF as line end, and folded
 * lines, are taken by version 0.9.75 and refused by 1.0. The image brings 1.0. */
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

static const char *bad_escape(const char *at)
{
    int high = hex_digit(at[1]), low = high >= 0 ? hex_digit(at[2]) : -1;
    int byte = high * 16 + low;

    if (low < 0)
        return "a % that is not followed by two hex digits";
    if (byte < 0x20 || byte == 0x7f)
        return "an escaped control character";
    return byte == '/' ? "an escaped slash" : NULL;
}

bool gate_target_is_good(const char *target, const char **out_why)
{
    *out_why = NULL;
    for (const char *c = target; *c != '\0' && *out_why == NULL; c++) {
        if (*c == '%')
            *out_why = bad_escape(c);
        else if ((unsigned char)*c <= 0x20 || (unsigned char)*c >= 0x7f)
            *out_why = "a byte that has to be escaped";
    }
    return *out_why == NULL;
}

const char *gate_path(struct request *req)
{
    const char *path = req->connection->target;
    const char *scheme = strstr(path, "://");

    if (*path != '/' && scheme != NULL) {
        path = strchr(scheme + 3, '/');
        path = path != NULL ? path : "/";
    }
    return req_strdup(req, path, strcspn(path, "?#"));
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
    return ERR_OK;
}

/* -- the headers --------------------------------------------------------------------- */

struct head {
    struct request *req;
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

static bool all_digits(const char *value, size_t len)
{
    return len > 0 && strspn(value, "0123456789") == len;
}

static enum MHD_Result look_at_header(void *cls, enum MHD_ValueKind kind,
                                      const char *name, size_t name_len,
                                      const char *value, size_t value_len)
{
    struct head *h = cls;

    (void)kind;
    h->bytes += name_len + value_len + 4;
    if (!is_token(name, name_len))
        h->bad = "a header name that is not a token";
    else if (value != NULL && has_control(value, value_len))
        h->bad = "a control character in a header";
    else if (strcasecmp(name, "Host") == 0)
        h->hosts++;
    else if (strcasecmp(name, "Content-Length") == 0) {
        h->lengths++;
        if (!all_digits(value, value_len))
            h->bad = "a Content-Length that is not a number";
    } else if (strcasecmp(name, "Transfer-Encoding") == 0) {
        h->encodings++;
        h->encoding_is_chunked = strcasecmp(value, "chunked") == 0;
    } else if (strcasecmp(name, "Expect") == 0) {
        h->expects_other = strcasecmp(value, "100-continue") != 0;
    }
    return h->bad == NULL ? MHD_YES : MHD_NO;
}

static enum err judge_head(struct request *req, const struct head *h, const char *version)
{
    if (h->bad != NULL)
        return req_fail(req, ERR_BAD_REQUEST, "the request has %s", h->bad);
    if (h->hosts > 1 || (h->hosts == 0 && strcmp(version, "HTTP/1.0") != 0))
        return req_fail(req, ERR_BAD_REQUEST,
                        "the request has %d Host headers; it needs one", h->hosts);
    if (h->lengths > 1 || h->encodings > 1)
        return req_fail(req, ERR_BAD_REQUEST,
                        "Content-Length or Transfer-Encoding stands more than once");
    if (h->lengths > 0 && h->encodings > 0)
        return req_fail(req, ERR_BAD_REQUEST,
                        "both Content-Length and Transfer-Encoding");
    if (h->encodings > 0 && !h->encoding_is_chunked)
        return req_fail(req, ERR_NOT_IMPLEMENTED,
                        "the only transfer coding here is chunked");
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

enum err gate_check(struct request *req, const char *version)
{
    struct head h = {.req = req};
    enum err e = check_method(req, version);

    if (e != ERR_OK)
        return e;
    MHD_get_connection_values_n(req->mhd, MHD_HEADER_KIND, look_at_header, &h);
    e = judge_head(req, &h, version);
    return e == ERR_OK ? check_target(req) : e;
}
