/* A thread a connection copies pieces of at most 16 KiB, so that a delay holds up one
 * connection and no other. A connection that was struck by a black hole is kept, and read
 * no more, until the client closes it or the proxy ends. Rejected: one loop (a drip would
 * stop all connections), and rules of the kernel (they need rights that tests have not,
 * and know no bytes of an exchange). */
#include "tests/chaos/proxy.h"

#include "server/core/clock.h"
#include "tests/chaos/world.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { PIECE_BYTES = 16384, TICK_MS = 10, BACKLOG = 64, WORDS_BYTES = 128 };

struct proxy {
    char upstream[108];
    int listen_fd, port;
    pthread_t thread;
    atomic_bool closing, mute;
    atomic_int n_open, delay_ms, piece_bytes, strikes, struck, standing, turn;
    atomic_llong exchange;
    pthread_mutex_t lock; /* words .. armed */
    char words[WORDS_BYTES];
    enum proxy_fault fault;
    int64_t at_byte;
    bool armed;
};

/* -- a connection -------------------------------------------------------------------- */

struct link_of {
    struct proxy *p;
    int client, server; /* -1: closed */
    int strikes;        /* of p, when it was made or struck last */
    int turn;           /* of p, when the words that were armed came here; 0: never */
    bool listens, holds;
    enum proxy_fault fault;
    int64_t cut_at;
};

static int connect_upstream(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    memcpy(address.sun_path, path, strlen(path) + 1);
    if (connect(fd, (struct sockaddr *)&address, sizeof address) == 0)
        return fd;
    close(fd);
    return -1;
}

static void end_side(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

static void suffer(struct link_of *l, enum proxy_fault fault)
{
    struct linger at_once = {.l_onoff = 1, .l_linger = 0};

    l->holds = fault == PROXY_BLACK_HOLE || fault == PROXY_HALF_OPEN;
    if (fault == PROXY_RESET)
        setsockopt(l->client, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    if (fault != PROXY_BLACK_HOLE && fault != PROXY_PASS)
        end_side(&l->server);
    if (fault == PROXY_CLOSE || fault == PROXY_RESET)
        end_side(&l->client);
}

static bool send_all(int fd, const char *bytes, int64_t n)
{
    for (int64_t sent = 0; sent < n;) {
        ssize_t one = send(fd, bytes + sent, (size_t)(n - sent), MSG_NOSIGNAL);
        if (one <= 0)
            return false;
        sent += one;
    }
    return true;
}

/* Looks for the words that were armed, and for LISTEN. */
static void look(struct link_of *l, const char *bytes, int64_t n)
{
    struct proxy *p = l->p;

    l->listens |= memmem(bytes, (size_t)n, "LISTEN ", 7) != NULL;
    pthread_mutex_lock(&p->lock);
    if (p->armed && memmem(bytes, (size_t)n, p->words, strlen(p->words)) != NULL) {
        p->armed = false;
        l->turn = atomic_load(&p->turn);
        l->fault = p->fault;
        l->cut_at = p->at_byte;
    }
    pthread_mutex_unlock(&p->lock);
}

static bool counts(const struct link_of *l)
{
    return l->turn != 0 && l->turn == atomic_load(&l->p->turn);
}

/* How many of n bytes go through before the cut; n: all, and no cut. */
static int64_t before_cut(struct link_of *l, int64_t n)
{
    if (!counts(l))
        return n;
    int64_t seen = atomic_fetch_add(&l->p->exchange, n);
    if (l->fault == PROXY_PASS || seen + n < l->cut_at)
        return n;
    return l->cut_at > seen ? l->cut_at - seen : 0;
}

static void copy(struct link_of *l, int *from, int *to)
{
    char bytes[PIECE_BYTES];
    int most = atomic_load(&l->p->piece_bytes);
    ssize_t n = recv(*from, bytes, most > 0 ? (size_t)most : sizeof bytes, 0);

    if (n <= 0) {
        suffer(l, PROXY_CLOSE);
        return;
    }
    if (from == &l->client)
        look(l, bytes, n);
    sleep_ms(atomic_load(&l->p->delay_ms));
    int64_t through = before_cut(l, n);
    bool cut =
        counts(l) && l->fault != PROXY_PASS && atomic_load(&l->p->exchange) >= l->cut_at;
    if (!send_all(*to, bytes, through))
        suffer(l, PROXY_CLOSE);
    if (cut && *to >= 0)
        suffer(l, l->fault);
}

/* The client of a connection that holds is watched for its end only. */
static void hold(struct link_of *l)
{
    char bytes[PIECE_BYTES];
    struct pollfd p = {.fd = l->client, .events = POLLRDHUP};

    if (poll(&p, 1, TICK_MS) <= 0)
        return;
    while (recv(l->client, bytes, sizeof bytes, MSG_DONTWAIT) > 0)
        ;
    suffer(l, PROXY_CLOSE);
}

static void pass(struct link_of *l)
{
    struct pollfd p[2] = {{.fd = l->client, .events = POLLIN},
                          {.fd = l->server, .events = POLLIN}};

    if (poll(p, 2, TICK_MS) <= 0)
        return;
    if (p[0].revents != 0)
        copy(l, &l->client, &l->server);
    if (p[1].revents != 0 && l->server >= 0 && !l->holds)
        copy(l, &l->server, &l->client);
}

static void *run_link(void *arg)
{
    struct link_of *l = arg;
    struct proxy *p = l->p;

    while (!atomic_load(&p->closing) && l->client >= 0) {
        if (l->strikes != atomic_load(&p->strikes)) {
            l->strikes = atomic_load(&p->strikes);
            suffer(l, (enum proxy_fault)atomic_load(&p->struck));
            continue;
        }
        if (l->listens && atomic_load(&p->mute))
            l->holds = true;
        if (l->holds)
            hold(l);
        else
            pass(l);
    }
    end_side(&l->client);
    end_side(&l->server);
    free(l);
    atomic_fetch_sub(&p->n_open, 1);
    return NULL;
}

/* -- the proxy ----------------------------------------------------------------------- */

static void accept_one(struct proxy *p)
{
    struct link_of *l = calloc(1, sizeof *l);
    pthread_t thread;
    int on = 1;

    if (l == NULL)
        die("proxy", "out of memory");
    l->p = p;
    l->strikes = atomic_load(&p->strikes);
    l->holds = atomic_load(&p->standing) == PROXY_BLACK_HOLE;
    l->client = accept4(p->listen_fd, NULL, NULL, SOCK_CLOEXEC);
    l->server = l->holds ? -1 : connect_upstream(p->upstream);
    if (l->client < 0 || (l->server < 0 && !l->holds)) {
        end_side(&l->client);
        free(l);
        return;
    }
    setsockopt(l->client, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    atomic_fetch_add(&p->n_open, 1);
    if (pthread_create(&thread, NULL, run_link, l) != 0)
        die("proxy", "no thread");
    pthread_detach(thread);
}

static void *run_proxy(void *arg)
{
    struct proxy *p = arg;
    struct pollfd poll_fd = {.fd = p->listen_fd, .events = POLLIN};

    while (!atomic_load(&p->closing))
        if (poll(&poll_fd, 1, TICK_MS) > 0)
            accept_one(p);
    return NULL;
}

struct proxy *proxy_open(const char *upstream_socket)
{
    struct proxy *p = calloc(1, sizeof *p);
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof address;

    if (p == NULL || strlen(upstream_socket) >= sizeof p->upstream)
        die("proxy", upstream_socket);
    memcpy(p->upstream, upstream_socket, strlen(upstream_socket) + 1);
    pthread_mutex_init(&p->lock, NULL);
    p->listen_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (bind(p->listen_fd, (struct sockaddr *)&address, len) != 0 ||
        listen(p->listen_fd, BACKLOG) != 0 ||
        getsockname(p->listen_fd, (struct sockaddr *)&address, &len) != 0)
        die("proxy", "cannot listen");
    p->port = ntohs(address.sin_port);
    if (pthread_create(&p->thread, NULL, run_proxy, p) != 0)
        die("proxy", "no thread");
    return p;
}

int proxy_port(const struct proxy *p)
{
    return p->port;
}

void proxy_close(struct proxy *p)
{
    if (p == NULL)
        return;
    atomic_store(&p->closing, true);
    pthread_join(p->thread, NULL);
    while (atomic_load(&p->n_open) > 0)
        sleep_ms(1);
    close(p->listen_fd);
    pthread_mutex_destroy(&p->lock);
    free(p);
}

void proxy_arm(struct proxy *p, const char *words, enum proxy_fault fault,
               int64_t at_byte)
{
    pthread_mutex_lock(&p->lock);
    atomic_fetch_add(&p->turn, 1);
    atomic_store(&p->exchange, 0);
    snprintf(p->words, sizeof p->words, "%s", words);
    p->fault = fault;
    p->at_byte = at_byte;
    p->armed = true;
    pthread_mutex_unlock(&p->lock);
}

int64_t proxy_exchange_bytes(struct proxy *p)
{
    return atomic_load(&p->exchange);
}

void proxy_strike(struct proxy *p, enum proxy_fault fault)
{
    atomic_store(&p->standing, (int)fault);
    if (fault == PROXY_PASS)
        return;
    atomic_store(&p->struck, (int)fault);
    atomic_fetch_add(&p->strikes, 1);
}

void proxy_mute(struct proxy *p, bool mute)
{
    atomic_store(&p->mute, mute);
}

void proxy_slow(struct proxy *p, int delay_ms, int piece_bytes)
{
    atomic_store(&p->delay_ms, delay_ms);
    atomic_store(&p->piece_bytes, piece_bytes);
}
