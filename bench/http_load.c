/* http_load: a load of many keep-alive connections, every answer checked.
 *
 *     http_load PORT enqueue        CONNECTIONS REQUESTS
 *     http_load PORT enqueue-batch  CONNECTIONS REQUESTS JOBS_A_REQUEST
 *     http_load PORT cancel         CONNECTIONS REQUESTS FIRST_ID
 *
 * One thread, one epoll, one request under way on each connection, so that it costs as
 * little as it can of the two cores that it shares with the service and PostgreSQL. An
 * answer with another status, or a cancel that does not say "cancelled" of the right job,
 * ends the run with exit code 1: a wrong answer has no speed. Prints one line of JSON. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { RESPONSE_MAX = 1 << 20, WAIT_MS = 10000 };

enum mode { MODE_ENQUEUE, MODE_ENQUEUE_BATCH, MODE_CANCEL };

struct connection {
    int fd;
    int64_t number; /* of the request under way */
    int64_t sent_us;
    char *request; /* of its own for cancel; shared else */
    size_t request_len, sent;
    char *response;
    size_t received;
};

struct load {
    enum mode mode;
    int port, connections, epoll;
    int64_t requests, started, finished,
        extra; /* extra: jobs a request, or the first id */
    int64_t *latencies_us;
    char *shared;
    size_t shared_len;
};

static int64_t now_us(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

static void die(const char *what)
{
    fprintf(stderr, "http_load: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void die_of(const struct connection *c, const char *what)
{
    fprintf(stderr, "http_load: request %" PRId64 ": %s: %.400s\n", c->number, what,
            c->response);
    exit(1);
}

static char *allocate(size_t size)
{
    char *p = calloc(1, size);

    if (p == NULL)
        die("calloc");
    return p;
}

/* -- requests ------------------------------------------------------------------------ */

static const char one_job[] =
    "{\"task\":\"echo\",\"queue\":\"bench\",\"args\":{\"customer\":4711,"
    "\"text\":\"sixty-four bytes of args, more or less\"}}";

static void build_shared(struct load *l)
{
    int64_t n = l->mode == MODE_ENQUEUE_BATCH ? l->extra : 1;
    size_t body = (sizeof one_job) * (size_t)n + 2, room = body + 300;
    char *text = allocate(room);
    char *p = text;

    p += snprintf(
        p, room - (size_t)(p - text),
        "POST %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nContent-Type: application/json\r\n"
        "Content-Length: %zu\r\n\r\n",
        l->mode == MODE_ENQUEUE ? "/jobs" : "/jobs/batch", l->port,
        l->mode == MODE_ENQUEUE ? sizeof one_job - 1
                                : (sizeof one_job - 1) * (size_t)n + (size_t)n + 1);
    if (l->mode == MODE_ENQUEUE) {
        p += snprintf(p, room - (size_t)(p - text), "%s", one_job);
    } else {
        for (int64_t i = 0; i < n; i++)
            p += snprintf(p, room - (size_t)(p - text), "%c%s", i == 0 ? '[' : ',',
                          one_job);
        *p++ = ']';
    }
    l->shared = text;
    l->shared_len = (size_t)(p - text);
}

static void build_request(struct load *l, struct connection *c)
{
    if (l->mode != MODE_CANCEL) {
        c->request = l->shared;
        c->request_len = l->shared_len;
        return;
    }
    if (c->request == NULL)
        c->request = allocate(256);
    c->request_len = (size_t)snprintf(c->request, 256,
                                      "POST /jobs/%" PRId64 "/cancel HTTP/1.1\r\n"
                                      "Host: 127.0.0.1:%d\r\nContent-Length: 0\r\n\r\n",
                                      l->extra + c->number, l->port);
}

static void check_answer(const struct load *l, const struct connection *c)
{
    char wanted[64];
    int expected = l->mode == MODE_CANCEL ? 200 : 201;

    if (strtol(c->response + 9, NULL, 10) != expected)
        die_of(c, "unexpected status");
    if (l->mode == MODE_ENQUEUE)
        return;
    snprintf(wanted, sizeof wanted,
             l->mode == MODE_CANCEL ? "\"id\":%" PRId64 "," : "\"count\":%" PRId64 ",",
             l->mode == MODE_CANCEL ? l->extra + c->number : l->extra);
    if (strstr(c->response, wanted) == NULL)
        die_of(c, "the answer is not of this request");
    if (l->mode == MODE_CANCEL && strstr(c->response, "\"result\":\"cancelled\"") == NULL)
        die_of(c, "the answer does not say that this job is cancelled");
}

/* -- connections --------------------------------------------------------------------- */

static void send_more(struct connection *c)
{
    while (c->sent < c->request_len) {
        ssize_t n =
            send(c->fd, c->request + c->sent, c->request_len - c->sent, MSG_NOSIGNAL);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (n < 0)
            die("send");
        c->sent += (size_t)n;
    }
}

static void start_request(struct load *l, struct connection *c)
{
    if (l->started == l->requests)
        return;
    c->number = l->started++;
    c->sent = c->received = 0;
    build_request(l, c);
    c->sent_us = now_us();
    send_more(c);
}

/* True when the whole response is there: its head and Content-Length bytes. */
static bool response_is_whole(const struct connection *c)
{
    const char *end = strstr(c->response, "\r\n\r\n");
    const char *length = strcasestr(c->response, "content-length:");

    if (end == NULL)
        return false;
    if (length == NULL || length > end)
        die_of(c, "a response without Content-Length");
    size_t body = strtoul(length + 15, NULL, 10);
    return c->received >= (size_t)(end + 4 - c->response) + body;
}

/* A short read has emptied the socket, and what comes later makes a new edge: so nothing
 * is read only to hear that there is nothing. */
static void receive_more(struct load *l, struct connection *c)
{
    size_t room;
    ssize_t n;

    do {
        room = RESPONSE_MAX - 1 - c->received;
        n = recv(c->fd, c->response + c->received, room, 0);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (n <= 0)
            die_of(c, "the connection was closed");
        c->received += (size_t)n;
        c->response[c->received] = '\0';
    } while ((size_t)n == room);
    if (!response_is_whole(c))
        return;
    l->latencies_us[l->finished++] = now_us() - c->sent_us;
    check_answer(l, c);
    start_request(l, c);
}

static void connect_one(struct load *l, struct connection *c)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)l->port)};
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = c};
    int on = 1;

    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    c->response = allocate(RESPONSE_MAX);
    c->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&to, sizeof to) < 0)
        die("connect");
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    fcntl(c->fd, F_SETFL, O_NONBLOCK);
    if (epoll_ctl(l->epoll, EPOLL_CTL_ADD, c->fd, &event) < 0)
        die("epoll_ctl");
}

/* -- figures ------------------------------------------------------------------------- */

static int compare(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

    return (x > y) - (x < y);
}

static void print_figures(struct load *l, int64_t us)
{
    int64_t n = l->finished, jobs = l->mode == MODE_ENQUEUE_BATCH ? n * l->extra : n;

    qsort(l->latencies_us, (size_t)n, sizeof *l->latencies_us, compare);
    printf("{\"requests\":%" PRId64 ",\"jobs\":%" PRId64
           ",\"seconds\":%.3f,\"per_second\":%.0f,"
           "\"p50_ms\":%.3f,\"p99_ms\":%.3f,\"max_ms\":%.3f}\n",
           n, jobs, (double)us / 1e6, (double)jobs * 1e6 / (double)us,
           (double)l->latencies_us[n / 2] / 1e3,
           (double)l->latencies_us[n * 99 / 100] / 1e3,
           (double)l->latencies_us[n - 1] / 1e3);
}

static void run(struct load *l)
{
    struct connection *all = calloc((size_t)l->connections, sizeof *all);
    struct epoll_event events[256];

    if (all == NULL)
        die("calloc");
    for (int i = 0; i < l->connections; i++)
        connect_one(l, &all[i]);
    int64_t start = now_us();
    for (int i = 0; i < l->connections; i++)
        start_request(l, &all[i]);
    while (l->finished < l->requests) {
        int n = epoll_wait(l->epoll, events, 256, WAIT_MS);
        if (n == 0)
            die("no answer for 10 s");
        for (int i = 0; i < n; i++) {
            struct connection *c = events[i].data.ptr;
            if (events[i].events & EPOLLOUT)
                send_more(c);
            if (events[i].events & ~(uint32_t)EPOLLOUT)
                receive_more(l, c);
        }
    }
    print_figures(l, now_us() - start);
}

static enum mode mode_of(const char *name)
{
    if (strcmp(name, "enqueue") == 0)
        return MODE_ENQUEUE;
    if (strcmp(name, "enqueue-batch") == 0)
        return MODE_ENQUEUE_BATCH;
    if (strcmp(name, "cancel") == 0)
        return MODE_CANCEL;
    fprintf(stderr, "http_load: mode %s is not enqueue, enqueue-batch or cancel\n", name);
    exit(2);
}

int main(int argc, char **argv)
{
    struct load l = {.epoll = epoll_create1(0)};

    if (argc < 5) {
        fprintf(stderr, "usage: http_load PORT MODE CONNECTIONS REQUESTS [EXTRA]\n");
        return 2;
    }
    l.port = (int)strtol(argv[1], NULL, 10);
    l.mode = mode_of(argv[2]);
    l.connections = (int)strtol(argv[3], NULL, 10);
    l.requests = strtoll(argv[4], NULL, 10);
    l.extra = argc > 5 ? strtoll(argv[5], NULL, 10) : 1;
    l.latencies_us = calloc((size_t)l.requests, sizeof *l.latencies_us);
    if (l.latencies_us == NULL || l.requests < 1)
        die("requests");
    if (l.mode != MODE_CANCEL)
        build_shared(&l);
    run(&l);
    return 0;
}
