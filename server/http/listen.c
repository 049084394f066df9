/* The socket is ours, not libmicrohttpd's, so that an address that cannot be had is told
 * in words before anything else is started. */
#include "server/http/private.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BACKLOG = 1024 };

/* The port that a socket is bound to, or -1. */
static int port_of(int fd)
{
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    } bound;
    socklen_t len = sizeof bound;

    memset(&bound, 0, sizeof bound);
    if (getsockname(fd, &bound.any, &len) != 0)
        return -1;
    return ntohs(bound.any.sa_family == AF_INET6 ? bound.v6.sin6_port
                                                 : bound.v4.sin_port);
}

enum err http_listen(struct http *http, struct buf *why)
{
    const struct config *c = http->options.config;
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM,
                             .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    struct addrinfo *found = NULL;
    char port[8];
    int on = 1, fd = -1;

    snprintf(port, sizeof port, "%d", (int)c->port);
    int code = getaddrinfo(c->listen, port, &hints, &found);
    if (code != 0) {
        buf_addf(why, "listen: %s is not an address: %s", c->listen, gai_strerror(code));
        return ERR_CONFIG;
    }
    fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd >= 0)
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    bool good = fd >= 0 && bind(fd, found->ai_addr, found->ai_addrlen) == 0 &&
                listen(fd, BACKLOG) == 0 && (http->port = port_of(fd)) >= 0;
    int failure = errno; /* what follows may change it */
    freeaddrinfo(found);
    if (!good) {
        buf_addf(why, "cannot listen on %s:%s: %s; choose another --port or --listen",
                 c->listen, port, strerror(failure));
        if (fd >= 0)
            close(fd);
        return ERR_CONFIG;
    }
    http->listen_fd = fd;
    return ERR_OK;
}
