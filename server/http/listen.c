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

enum err http_listen(struct http *http, struct buf *why)
{
    const struct config *c = http->options.config;
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM,
                             .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    struct addrinfo *found = NULL;
    struct sockaddr_storage bound;
    socklen_t len = sizeof bound;
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
                listen(fd, BACKLOG) == 0 &&
                getsockname(fd, (struct sockaddr *)&bound, &len) == 0;
    freeaddrinfo(found);
    if (!good) {
        buf_addf(why, "cannot listen on %s:%s: %s; choose another --port or --listen",
                 c->listen, port, strerror(errno));
        if (fd >= 0)
            close(fd);
        return ERR_CONFIG;
    }
    http->listen_fd = fd;
    http->port =
        ntohs(bound.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&bound)->sin6_port
                                          : ((struct sockaddr_in *)&bound)->sin_port);
    return ERR_OK;
}
