/* Bytes of any kind, against a reader that takes nothing but what RFC 9112 allows: the
 * server must not find more requests in them than that reader does. */
#include "tests/fuzz/live.h"

#include <limits.h>
#include <stdatomic.h>
#include <strings.h>

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);

static atomic_int calls;

static enum err count_call(struct request *req)
{
    atomic_fetch_add(&calls, 1);
    req_reply(req, 200, NULL, "{}", 2);
    return ERR_OK;
}

static enum err barrier(struct request *req)
{
    req_reply(req, 200, NULL, "{}", 2);
    return ERR_OK;
}

static const char *const no_query[] = {NULL};
static const struct route fuzz_routes[] = {
    {"GET", "/a", "a", count_call, no_query, false, false, 1},
    {"POST", "/a", "a", count_call, no_query, true, false, 1},
    {"GET", "/barrier", "barrier", barrier, no_query, false, false, 1},
    {NULL, NULL, NULL, NULL, NULL, false, false, 0},
};

/* -- the strict reader --------------------------------------------------------------- */

struct reader {
    const char *at, *end;
    int hosts, lengths, codings;
    size_t length;
    bool is_old, closes, keeps;
};

static bool is_tchar(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           (c != '\0' && strchr("!#$%&'*+-.^_`|~", c) != NULL);
}

static size_t token(const struct reader *r)
{
    size_t n = 0;

    while (r->at + n < r->end && is_tchar(r->at[n]))
        n++;
    return n;
}

static bool take(struct reader *r, const char *text)
{
    size_t len = strlen(text);

    if ((size_t)(r->end - r->at) < len || memcmp(r->at, text, len) != 0)
        return false;
    r->at += len;
    return true;
}

static bool read_request_line(struct reader *r)
{
    size_t n = token(r);

    if (n == 0)
        return false;
    r->at += n;
    if (!take(r, " "))
        return false;
    for (n = 0; r->at<r->end && * r->at> ' ' && *r->at < 0x7f; n++)
        r->at++;
    if (n == 0 || !take(r, " HTTP/1."))
        return false;
    r->is_old = r->at < r->end && *r->at == '0';
    return (take(r, "0") || take(r, "1")) && take(r, "\r\n");
}

static bool is_name(const char *name, size_t len, const char *wanted)
{
    return len == strlen(wanted) && strncasecmp(name, wanted, len) == 0;
}

/* What is wrong counts twice: then there is more than one. */
static void note_length(struct reader *r, const char *text, size_t len)
{
    bool good = len > 0 && len < 18 && strspn(text, "0123456789") == len;

    r->length = good ? strtoul(text, NULL, 10) : 0;
    r->lengths += good ? 1 : 2;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

/* One of the words between commas, not a part of one. */
static bool has_word(const char *value, size_t len, const char *wanted)
{
    for (const char *at = value, *end = value + len; at < end; at++) {
        const char *comma = memchr(at, ',', (size_t)(end - at));
        const char *stop = comma != NULL ? comma : end, *last = stop;
        while (at < last && is_blank(*at))
            at++;
        while (last > at && is_blank(last[-1]))
            last--;
        if (is_name(at, (size_t)(last - at), wanted))
            return true;
        at = stop;
    }
    return false;
}

static void note(struct reader *r, const char *name, size_t name_len, const char *value,
                 size_t len)
{
    char text[32];

    snprintf(text, sizeof text, "%.*s", len < 31 ? (int)len : 31, value);
    if (is_name(name, name_len, "Host"))
        r->hosts++;
    if (is_name(name, name_len, "Content-Length"))
        note_length(r, text, len);
    if (is_name(name, name_len, "Transfer-Encoding"))
        r->codings += is_name(value, len, "chunked") ? 1 : 2;
    if (is_name(name, name_len, "Connection")) {
        r->closes = r->closes || has_word(value, len, "close");
        r->keeps = r->keeps || has_word(value, len, "keep-alive");
    }
}

static const char *value_end(const struct reader *r)
{
    const char *at = r->at;

    while (at < r->end && (is_blank(*at) || ((unsigned char)*at > ' ' && *at != 0x7f)))
        at++;
    return at;
}

static bool read_field(struct reader *r)
{
    const char *name = r->at;
    size_t name_len = token(r);

    r->at += name_len;
    if (name_len == 0 || !take(r, ":"))
        return false;
    while (r->at < r->end && is_blank(*r->at))
        r->at++;
    const char *value = r->at, *end = r->at = value_end(r);
    while (end > value && is_blank(end[-1]))
        end--;
    note(r, name, name_len, value, (size_t)(end - value));
    return take(r, "\r\n");
}

static bool is_framed(const struct reader *r)
{
    bool has_host = r->hosts == 1 || (r->is_old && r->hosts == 0);

    return has_host && r->lengths + r->codings <= 1 && !(r->codings > 0 && r->is_old) &&
           r->length <= (size_t)(r->end - r->at);
}

/* Empty lines in front of a request. The older library takes a line that begins with NUL
 * for one, and leaves no trace of it: gate.c */
static void skip_empty_lines(struct reader *r)
{
    bool is_empty = false;

    for (; r->at < r->end; r->at++) {
        if (MHD_TAKES_BARE_LF && *r->at == '\0')
            is_empty = true;
        else if (*r->at == '\n')
            is_empty = false;
        else if (*r->at != '\r' && !is_empty)
            return;
    }
}

/* False: here ends what is beyond doubt. */
static bool read_request(struct reader *r)
{
    *r = (struct reader){.at = r->at, .end = r->end};
    skip_empty_lines(r);
    if (!read_request_line(r))
        return false;
    while (!take(r, "\r\n")) {
        if (!read_field(r))
            return false;
    }
    if (!is_framed(r))
        return false;
    r->at += r->length;
    return true;
}

static int count_strictly(const char *bytes, size_t len)
{
    struct reader r = {.at = bytes, .end = bytes + len};
    int n = 0;

    while (read_request(&r)) {
        n++;
        if (r.codings > 0 || r.closes || (r.is_old && !r.keeps))
            break;
    }
    return n;
}

/* -- the two ------------------------------------------------------------------------- */

static int count_calls(const void *bytes, size_t size)
{
    static struct live live;
    static int barrier_fd = -1;

    if (live.http == NULL) {
        live_configure(&live);
        live_serve(&live, (struct http_options){.routes = fuzz_routes});
    }
    atomic_store(&calls, 0);
    live_feed(&live, bytes, size, &barrier_fd);
    return atomic_load(&calls);
}

/* The other thing that the older library hides: among the bytes that it overwrites with
 * NULs stands a bare LF beside a NUL or a colon. */
static bool has_hidden_lf(const char *bytes, size_t size)
{
    bool bare = false, other = false;

    for (size_t i = 0; i < size; i++) {
        if (bytes[i] == '\n')
            bare = bare || i == 0 || bytes[i - 1] != '\r';
        else if (bytes[i] == '\0' || bytes[i] == ':')
            other = true;
        else if (bytes[i] != '\r')
            bare = other = false;
        if (bare && other)
            return true;
    }
    return false;
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
    const char *bytes = (const char *)data;

    if (size > 16384 || (MHD_TAKES_BARE_LF && has_hidden_lf(bytes, size)))
        return 0;
    int strict = count_strictly(bytes, size), ours = INT_MAX;
    for (int i = 0; i < 3 && ours > strict;
         i++) /* one may be late, of the input before */
        ours = count_calls(bytes, size);
    if (ours > strict) {
        fprintf(stderr, "%d requests, and %d that are beyond doubt\n", ours, strict);
        abort();
    }
    return 0;
}
