/* live: the server over a socket, for fuzzers that feed it bytes.
 *
 *     static struct live live;
 *     live_serve(&live, (struct http_options){.routes = routes});
 *     size_t n = live_ask(&live, bytes, len, answer, sizeof answer);
 *
 * One thread asks; the handlers run on the server's. Whatever takes longer than
 * LIVE_PATIENCE_MS is a hang. The asking thread is the one that gets the fuzzer's
 * SIGALRM (every -timeout / 2 + 1 seconds), so each call may be interrupted. */
#ifndef BELAY_TESTS_FUZZ_LIVE_H
#define BELAY_TESTS_FUZZ_LIVE_H

#include "server/core/clock.h"
#include "server/core/log.h"
#include "server/http/http.h"
#include "server/http/private.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { LIVE_PATIENCE_MS = 20000 };

struct live {
    struct config config;
    struct http *http;
    int port;
};

static inline void live_must(bool truth, const char *what)
{
    if (!truth) {
        fprintf(stderr, "%s\n", what);
        abort();
    }
}

/* The settings as they are without a file; no line for what is not an error. */
static inline void live_configure(struct live *l)
{
    char verb[] = "serve", *argv[] = {verb, NULL};
    struct buf why = BUF_INIT;

    signal(SIGPIPE, SIG_IGN);
    log_configure(LOG_TEXT, LOG_ERROR);
    live_must(config_load(&l->config, 1, argv, &why) == ERR_OK, "the settings");
    l->config.port = 0;
    l->config.timeout_header_seconds = l->config.timeout_body_seconds = 1;
}

static inline void live_serve(struct live *l, struct http_options options)
{
    struct buf why = BUF_INIT;

    options.config = &l->config;
    live_must(http_open(&options, &l->http, &why) == ERR_OK, "the server");
    l->port = http_port(l->http);
}

static inline int live_dial(const struct live *l)
{
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)l->port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    live_must(fd >= 0 && (connect(fd, (struct sockaddr *)&to, sizeof to) == 0 ||
                          errno == EINTR), /* send() waits for it */
              "connect");
    return fd;
}

static inline void live_send(int fd, const void *bytes, size_t len)
{
    for (size_t sent = 0; sent < len;) {
        ssize_t n = send(fd, (const char *)bytes + sent, len - sent, MSG_NOSIGNAL);
        if (n <= 0 && !(n < 0 && errno == EINTR))
            break; /* cut: it has heard enough */
        sent += n > 0 ? (size_t)n : 0;
    }
}

static inline ssize_t live_hear(int fd, char *out, size_t room, size_t heard)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    int64_t until_ms = clock_ms() + LIVE_PATIENCE_MS;
    ssize_t n;

    do {
        int64_t left_ms = until_ms - clock_ms();
        int ready = poll(&p, 1, left_ms > 0 ? (int)left_ms : 0);
        if (ready == 0) {
            fprintf(stderr, "a hang behind %zu bytes\n", heard);
            abort();
        }
        n = ready < 0 ? -1 : recv(fd, out, room, 0);
    } while (n < 0 && errno == EINTR);
    return n;
}

/* Sends a request that ends the connection, and hears the answer, NUL-terminated and cut
 * at `room`. */
static inline size_t live_ask(const struct live *l, const void *bytes, size_t len,
                              char *out, size_t room)
{
    int fd = live_dial(l);
    size_t heard = 0;

    live_send(fd, bytes, len);
    shutdown(fd, SHUT_WR);
    for (;;) {
        char rest[4096];
        bool is_full = heard + 1 >= room;
        ssize_t n = live_hear(fd, is_full ? rest : out + heard,
                              is_full ? sizeof rest : room - 1 - heard, heard);
        if (n <= 0)
            break;
        heard += is_full ? 0 : (size_t)n;
    }
    out[heard] = '\0';
    close(fd);
    return heard;
}

/* Sends anything, and returns when the server has done with it all that it will do before
 * more comes. Nothing says so but the order in which one thread works: a request on
 * another connection, which is kept in `barrier` (-1 at first), is answered after it. */
static inline void live_feed(const struct live *l, const void *bytes, size_t len,
                             int *barrier)
{
    static const char request[] = "GET /barrier HTTP/1.1\r\nHost: localhost\r\n\r\n";
    char answer[4096];
    int fd = live_dial(l);

    live_send(fd, bytes, len);
    for (int i = 0; i < 3; i++) {
        if (*barrier < 0)
            *barrier = live_dial(l);
        live_send(*barrier, request, sizeof request - 1);
        if (live_hear(*barrier, answer, sizeof answer, 0) <= 0) {
            close(*barrier);
            *barrier = -1;
        }
    }
    close(fd);
}

#endif
