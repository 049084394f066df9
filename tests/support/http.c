/* A client that a reader can follow: each request opens a connection and reads until the
 * server closes it. Rejected: libcurl, which would repair what a test wants to see. */
#include "server/core/buf.h"
#include "server/core/clock.h"
#include "tests/support/service_private.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

enum { TIMEOUT_MS = 90000 };

struct pending {
    int fd;
    struct buf in;
    bool closed;
    const char *what;
};

static int connect_to(const struct service *s)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)s->port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (connect(fd, (struct sockaddr *)&address, sizeof address) != 0)
        cr_assert_fail("cannot connect to port %d: %s", s->port, strerror(errno));
    return fd;
}

static bool has(const char *headers, const char *name)
{
    return headers != NULL && strcasestr(headers, name) != NULL;
}

static void add_head(struct buf *out, const char *method, const char *path,
                     const char *headers, const char *body)
{
    buf_addf(out, "%s %s HTTP/1.1\r\nConnection: close\r\n", method, path);
    if (!has(headers, "Host:"))
        buf_adds(out, "Host: localhost\r\n");
    if (body != NULL && !has(headers, "Content-Type:"))
        buf_adds(out, "Content-Type: application/json\r\n");
    if (body != NULL && !has(headers, "Content-Length:"))
        buf_addf(out, "Content-Length: %zu\r\n", strlen(body));
    buf_addf(out, "%s\r\n", headers != NULL ? headers : "");
}

/* True once the server has closed the connection. Reads what is there; waits for at most
 * ms. */
static bool receive_some(struct pending *p, int ms)
{
    struct pollfd poll_fd = {.fd = p->fd, .events = POLLIN};
    char bytes[65536];

    if (p->closed || poll(&poll_fd, 1, ms) <= 0)
        return p->closed;
    ssize_t n = recv(p->fd, bytes, sizeof bytes, 0);
    if (n > 0)
        buf_add(&p->in, bytes, (size_t)n);
    else if (n == 0 || errno != EINTR)
        p->closed = true;
    return p->closed;
}

/* A server that refuses early closes before it has read all: that is not an error here,
 * the answer says why. */
static void send_all(struct pending *p, const char *bytes, size_t len)
{
    while (len > 0) {
        ssize_t n = send(p->fd, bytes, len, MSG_NOSIGNAL);
        if (n <= 0)
            return;
        bytes += n;
        len -= (size_t)n;
    }
}

struct pending *http_send_raw(struct service *s, const char *bytes, size_t len)
{
    struct pending *p = calloc(1, sizeof *p);

    cr_assert_not_null(p);
    buf_init(&p->in);
    p->what = text_of("%.*s", (int)strcspn(bytes, "\r"), bytes);
    p->fd = connect_to(s);
    send_all(p, bytes, len);
    return p;
}

struct pending *http_send(struct service *s, const char *method, const char *path,
                          const char *headers, const char *body)
{
    struct buf out = BUF_INIT;

    add_head(&out, method, path, headers, body);
    if (body != NULL)
        buf_adds(&out, body);
    struct pending *p = http_send_raw(s, out.text, out.len);
    buf_release(&out);
    return p;
}

bool http_is_answered(struct pending *p)
{
    return receive_some(p, 0);
}

void http_hang_up(struct pending *p)
{
    close(p->fd);
    p->fd = -1;
    p->closed = true;
}

struct reply *http_receive(struct pending *p)
{
    struct reply *r = calloc(1, sizeof *r);
    int64_t end_ms = clock_ms() + TIMEOUT_MS;

    cr_assert_not_null(r);
    while (!receive_some(p, 1000))
        cr_assert_lt(clock_ms(), end_ms, "%s: no answer", p->what);
    if (p->fd >= 0)
        close(p->fd);
    r->raw = p->in.text;
    const char *end = strstr(r->raw, "\r\n\r\n");
    r->body = end != NULL ? end + 4 : "";
    r->len = end != NULL ? p->in.len - (size_t)(r->body - r->raw) : 0;
    if (strncmp(r->raw, "HTTP/1.1 ", 9) == 0)
        r->status = (int)strtol(r->raw + 9, NULL, 10);
    r->json = json_loadb(r->body, r->len, JSON_DECODE_ANY, NULL);
    return r;
}

struct reply *http(struct service *s, const char *method, const char *path,
                   const char *headers, const char *body)
{
    return http_receive(http_send(s, method, path, headers, body));
}

/* -- what came back ------------------------------------------------------------------ */

const char *reply_header(const struct reply *r, const char *name)
{
    size_t len = strlen(name);

    for (const char *line = strstr(r->raw, "\r\n"); line != NULL && line + 2 < r->body;
         line = strstr(line + 2, "\r\n")) {
        const char *at = line + 2;
        if (strncasecmp(at, name, len) != 0 || at[len] != ':')
            continue;
        at += len + 1 + strspn(at + len + 1, " ");
        return text_of("%.*s", (int)strcspn(at, "\r"), at);
    }
    return NULL;
}

const json_t *reply_at(const struct reply *r, const char *path)
{
    const json_t *v = r->json;

    while (v != NULL && *path != '\0') {
        size_t len = strcspn(path, ".");
        v = json_is_array(v) ? json_array_get(v, strtoul(path, NULL, 10))
                             : json_object_getn(v, path, len);
        path += len + (path[len] == '.');
    }
    return v;
}

const char *reply_text(const struct reply *r, const char *path)
{
    const json_t *v = reply_at(r, path);

    if (v == NULL)
        return "";
    if (json_is_string(v))
        return json_string_value(v);
    return json_dumps(v, JSON_ENCODE_ANY | JSON_COMPACT);
}

int64_t reply_int(const struct reply *r, const char *path)
{
    return json_integer_value(reply_at(r, path));
}

/* -- jobs ---------------------------------------------------------------------------- */

int64_t put_job(struct service *s, const char *body)
{
    struct reply *r = http(s, "POST", "/jobs", NULL, body);

    expect_status(r, 201);
    return reply_int(r, "id");
}

#define PATH_OF(format)                                                                  \
    char path[8192];                                                                     \
    va_list args;                                                                        \
    va_start(args, format);                                                              \
    vsnprintf(path, sizeof path, format, args);                                          \
    va_end(args)

struct reply *http_get(struct service *s, const char *format, ...)
{
    PATH_OF(format);
    return http(s, "GET", path, NULL, NULL);
}

struct reply *http_post(struct service *s, const char *body, const char *format, ...)
{
    PATH_OF(format);
    return http(s, "POST", path, NULL, body);
}

struct reply *http_delete(struct service *s, const char *format, ...)
{
    PATH_OF(format);
    return http(s, "DELETE", path, NULL, NULL);
}

struct reply *look_at(struct service *s, int64_t id)
{
    return http_get(s, "/jobs/%lld", (long long)id);
}

struct reply *wait_status(struct service *s, int64_t id, const char *status)
{
    struct reply *r = look_at(s, id);

    wait_until(strcmp(reply_text(r, "status"), status) == 0 ||
               (r = look_at(s, id))->status == 0);
    return r;
}
