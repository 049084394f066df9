#include "tests/http/peer.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

enum { PATIENCE_MS = 8000, HEAD_MAX = 65536, BODY_MAX = 4 << 20 };

static char head[HEAD_MAX], body[BODY_MAX];

static int dial(int port, int flags)
{
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | flags, 0);

    cr_assert_geq(fd, 0, "%s", strerror(errno));
    if (connect(fd, (struct sockaddr *)&to, sizeof to) != 0)
        cr_assert_eq(errno, EINPROGRESS, "%s", strerror(errno));
    return fd;
}

int peer_dial(int port)
{
    return dial(port, 0);
}

int peer_dial_soon(int port)
{
    return dial(port, SOCK_NONBLOCK);
}

bool peer_send(int fd, const void *bytes, size_t len)
{
    const char *p = bytes;

    while (len > 0) {
        ssize_t n = send(fd, p, len, MSG_NOSIGNAL);
        if (n <= 0)
            return false;
        p += n;
        len -= (size_t)n;
    }
    return true;
}

void peer_say(int fd, const char *text)
{
    cr_assert(peer_send(fd, text, strlen(text)), "the server does not listen");
}

/* Bytes, 0 at the end, -1 when nothing came for too long. */
static ssize_t listen_to(int fd, char *out, size_t room)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};

    if (poll(&p, 1, PATIENCE_MS) != 1)
        return -1;
    ssize_t n = recv(fd, out, room, 0);
    return n < 0 ? 0 : n; /* a reset is an end, too */
}

static int status_of(const char *text)
{
    return strncmp(text, "HTTP/1.1 ", 9) == 0 ? (int)strtol(text + 9, NULL, 10) : 0;
}

static bool hear_head(int fd, struct answer *out)
{
    size_t len = 0;

    for (;;) {
        if (len + 1 == sizeof head || listen_to(fd, head + len, 1) != 1)
            return false;
        head[++len] = '\0';
        if (len >= 4 && memcmp(head + len - 4, "\r\n\r\n", 4) == 0)
            break;
    }
    *out = (struct answer){.head = head, .body = body};
    out->status = status_of(head);
    return true;
}

bool peer_hear_head(int fd, struct answer *out)
{
    body[0] = '\0';
    return hear_head(fd, out);
}

bool peer_hear(int fd, struct answer *out)
{
    if (!peer_hear_head(fd, out))
        return false;
    if (out->status == 100)
        return true;
    const char *length = answer_header(out, "Content-Length");
    size_t wanted = length != NULL ? strtoul(length, NULL, 10) : 0;
    cr_assert_lt(wanted, sizeof body);
    while (out->body_len < wanted) {
        ssize_t n = listen_to(fd, body + out->body_len, wanted - out->body_len);
        if (n <= 0)
            return false;
        out->body_len += (size_t)n;
    }
    body[out->body_len] = '\0';
    return true;
}

static int count_answers(const char *text, size_t len)
{
    static const char mark[] = "HTTP/1.1 ";
    int n = 0;

    for (const char *p = text; (p = memmem(p, len - (size_t)(p - text), mark, 9)) != NULL;
         p += 9)
        n += status_of(p) > 100; /* 0: words on a page */
    return n;
}

int peer_hear_all(int fd, int *out_first_status)
{
    size_t len = 0;
    ssize_t n;

    while ((n = listen_to(fd, body + len, sizeof body - 1 - len)) > 0)
        len += (size_t)n;
    body[len] = '\0';
    cr_expect_eq(n, 0, "the connection stays open after: %.*s", 60, body);
    *out_first_status = status_of(body);
    return count_answers(body, len);
}

const char *peer_text(void)
{
    return body;
}

bool peer_is_cut(int fd)
{
    char byte;

    return listen_to(fd, &byte, 1) == 0;
}

const char *answer_header(const struct answer *a, const char *name)
{
    static char value[1024];
    size_t len = strlen(name);

    for (const char *p = a->head; (p = strstr(p, "\r\n")) != NULL;) {
        p += 2;
        if (strncasecmp(p, name, len) != 0 || p[len] != ':')
            continue;
        p += len + 1;
        p += strspn(p, " ");
        snprintf(value, sizeof value, "%.*s", (int)strcspn(p, "\r"), p);
        return value;
    }
    return NULL;
}

struct answer peer_ask(int port, const char *request)
{
    struct answer a = {.status = 0};
    int fd = peer_dial(port);

    peer_say(fd, request);
    cr_assert(peer_hear(fd, &a), "no answer to %.60s", request);
    close(fd);
    return a;
}
