/* The loop. libmicrohttpd runs in external mode: its epoll descriptor is one more
 * descriptor of our libuv loop. Rejected: its own epoll thread, which stalls when exactly
 * 128 connections are ready (it waits for more with events in hand), and its thread
 * pools, which are slower on two cores and would share every handler's state.
 *
 * Two rules of external mode: after MHD_resume_connection() somebody has to call
 * MHD_run(), and after MHD_run() the timeout has to be asked for, because 0 means that
 * there is work left. http_run() does both. */
#include "server/core/clock.h"
#include "server/core/log.h"
#include "server/http/private.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    SWEEP_MS = 250,
    CROWDED_MS = 1000,
    STOP_MS = 5000,
    RUNS_AT_ONCE = 4,
    SEND_SECONDS = 60
};

/* -- connections --------------------------------------------------------------------- */

/* A connection is known from its accept on, before any byte of it: otherwise nothing
 * would have a deadline against a client that says nothing. TCP_NODELAY, because answers
 * are written in one piece and must not wait for the client's acknowledgement of the one
 * before. */
static void on_connection(void *cls, struct MHD_Connection *mhd, void **context,
                          enum MHD_ConnectionNotificationCode code)
{
    struct http *http = cls;
    struct connection *c = *context;

    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        const union MHD_ConnectionInfo *info =
            MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD);
        int on = 1;
        c = info != NULL ? calloc(1, sizeof *c) : NULL;
        *context = c;
        if (c == NULL)
            return;
        c->http = http;
        c->fd = info->connect_fd;
        c->since_ms = clock_ms();
        c->next = http->connections;
        if (c->next != NULL)
            c->next->previous = c;
        http->connections = c;
        http->n_connections++;
        setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    } else if (c != NULL) {
        if (c->next != NULL)
            c->next->previous = c->previous;
        if (c->previous != NULL)
            c->previous->next = c->next;
        else
            http->connections = c->next;
        http->n_connections--;
        free(c);
    }
}

/* When all connections are taken, those that ask for nothing make room: otherwise as many
 * clients as the limit, each saying nothing, would keep everybody else out. */
static int64_t silent_limit_ms(const struct http *http, int64_t seconds)
{
    bool is_full = http->n_connections >= http->options.config->connections_max;

    return is_full ? CROWDED_MS : seconds * MS_PER_SECOND;
}

/* How long a connection may stay in a phase. Handling has no limit: the handler's own
 * deadlines end it. */
static int64_t limit_ms(const struct http *http, enum phase phase)
{
    const struct config *c = http->options.config;

    switch (phase) {
    case PHASE_FRESH:
        return silent_limit_ms(http, c->timeout_header_seconds);
    case PHASE_HEAD:
        return c->timeout_header_seconds * MS_PER_SECOND;
    case PHASE_IDLE:
        return atomic_load(&http->draining)
                   ? 0
                   : silent_limit_ms(http, c->timeout_idle_seconds);
    case PHASE_BODY:
        return c->timeout_body_seconds * MS_PER_SECOND;
    case PHASE_SENDING:
        return (int64_t)SEND_SECONDS * MS_PER_SECOND;
    case PHASE_HANDLING:
        break;
    }
    return INT64_MAX;
}

/* A request that waits is out of libmicrohttpd's sight, so nobody would notice that its
 * client has hung up. */
static void look_after_waiting(struct connection *c)
{
    struct pollfd p = {.fd = c->fd, .events = POLLRDHUP};
    struct request *req = c->request;

    if (req == NULL || !req->suspended || req->gone)
        return;
    if (poll(&p, 1, 0) == 1 && (p.revents & (POLLRDHUP | POLLHUP | POLLERR)) != 0) {
        req->gone = true;
        request_end_wait(req);
    }
}

/* Rejected: a timer a connection, started and stopped with every request; a walk over
 * some thousand of them four times a second costs less, and a deadline that is late by
 * 250 ms is one all the same. */
static void on_sweep(uv_timer_t *timer)
{
    struct http *http = timer->data;
    int64_t now_ms = clock_ms();

    for (struct connection *c = http->connections, *next; c != NULL; c = next) {
        next = c->next;
        if (c->phase == PHASE_HANDLING)
            look_after_waiting(c);
        else if (now_ms - c->since_ms > limit_ms(http, c->phase))
            exchange_too_slow(c);
    }
    http_run(http);
}

/* -- the loop ------------------------------------------------------------------------ */

static void on_timeout(uv_timer_t *timer)
{
    http_run(timer->data);
}

static void on_again(uv_idle_t *idle)
{
    http_run(idle->data);
}

/* Some runs at once, because an answer that is queued in one run is written in the next.
 * The rest is left to the next turn of the loop: a client that keeps the daemon busy must
 * not keep the timers and wake-ups of all others from running. An idle handle is what
 * makes libuv not sleep. */
void http_run(struct http *http)
{
    MHD_UNSIGNED_LONG_LONG left_ms = 0;
    int limited = MHD_NO;

    for (int i = 0; i < RUNS_AT_ONCE; i++) {
        MHD_run(http->daemon);
        limited = MHD_get_timeout(http->daemon, &left_ms);
        if (limited != MHD_YES || left_ms > 0)
            break;
    }
    if (limited == MHD_YES && left_ms == 0) {
        uv_idle_start(&http->again, on_again);
        return;
    }
    uv_idle_stop(&http->again);
    if (limited == MHD_YES)
        uv_timer_start(&http->timeout, on_timeout, left_ms, 0);
    else
        uv_timer_stop(&http->timeout);
}

/* The loop is about to sleep. */
static void on_prepare(uv_prepare_t *prepare)
{
    (void)prepare;
    log_flush();
}

static void on_epoll(uv_poll_t *poll, int status, int events)
{
    (void)status;
    (void)events;
    http_run(poll->data);
}

/* http_run() at the end, because what came back has resumed connections. */
static void on_wake(uv_async_t *async)
{
    struct http *http = async->data;

    if (http->options.on_wake != NULL)
        http->options.on_wake(http->options.wake_arg);
    http_run(http);
}

/* May be sent again while it works: the first counts. on_wake() goes last, so that waits
 * which http_drain()'s caller has released are settled now and not at the next
 * wake-up. */
static void on_stop(uv_async_t *async)
{
    struct http *http = async->data;

    if (http->stop_at_ms != 0)
        return;
    http->stop_at_ms = clock_ms() + STOP_MS;
    http_run(http);                          /* those who have connected already */
    close(MHD_quiesce_daemon(http->daemon)); /* nobody new */
    for (struct connection *c = http->connections; c != NULL; c = c->next) {
        if (c->request != NULL && c->request->suspended)
            request_end_wait(c->request);
    }
    on_wake(&http->wake);
}

/* A request that nobody answers in time is left behind: whoever holds it may still call
 * back, so it is freed with the server. req_error() first, while it still counts as one
 * that can be answered; then no callback that comes later touches the connection. */
static void abandon_waiting(struct http *http)
{
    for (struct connection *c = http->connections; c != NULL; c = c->next) {
        struct request *req = c->request;
        if (req == NULL || !req->suspended)
            continue;
        req_error(req, ERR_DRAINING);
        req->abandoned = true;
    }
    http->closing = true; /* one more that waits would make MHD_stop_daemon() abort */
    http_run(http);
}

/* A head that is still coming is not waited for: nothing has been promised to it. */
static bool has_waiting(const struct http *http)
{
    for (const struct connection *c = http->connections; c != NULL; c = c->next) {
        if (c->phase == PHASE_HANDLING || c->phase == PHASE_SENDING ||
            c->phase == PHASE_BODY)
            return true;
    }
    return false;
}

static void close_handle(uv_handle_t *handle, void *arg)
{
    (void)arg;
    if (!uv_is_closing(handle))
        uv_close(handle, NULL);
}

/* The HTTP thread. `stopped` is set under the mutex before the handles are closed,
 * because http_wake() may come from any thread until the very end, and uv_async_send() on
 * a closed handle is undefined. */
static void run_loop(void *arg)
{
    struct http *http = arg;

    log_batch(true);
    http_run(http);
    while (http->stop_at_ms == 0 || (has_waiting(http) && clock_ms() < http->stop_at_ms))
        uv_run(&http->loop, UV_RUN_ONCE);
    abandon_waiting(http);
    for (int i = 0; i < 100 && has_waiting(http); i++) {
        http_run(http);
        sleep_ms(1);
    }
    MHD_stop_daemon(http->daemon);
    pthread_mutex_lock(&http->wake_mutex);
    http->stopped = true;
    pthread_mutex_unlock(&http->wake_mutex);
    uv_walk(&http->loop, close_handle, NULL);
    uv_run(&http->loop, UV_RUN_DEFAULT);
    uv_loop_close(&http->loop);
    log_batch(false);
}

/* -- start --------------------------------------------------------------------------- */

/* Debug only: most of what it says is clients that hung up. */
PRINTF_LIKE(2, 0)
static void log_of_mhd(void *cls, const char *format, va_list args)
{
    char line[256];

    (void)cls;
    vsnprintf(line, sizeof line, format, args);
    line[strcspn(line, "\n")] = '\0';
    log_debug("http", "library=%s", log_quoted(line));
}

/* Each connection needs a descriptor; the soft limit is often 1,024. */
static void raise_descriptor_limit(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

/* Behind the loopback address all clients have one address, and a limit for each address
 * would be one for all. */
static bool is_loopback(const char *address)
{
    return strncmp(address, "127.", 4) == 0 || strcmp(address, "::1") == 0 ||
           strcmp(address, "localhost") == 0;
}

/* No thread of its own and no timeouts of its own: the first is the loop's, the second
 * are the sweep's, which knows phases. Twice HEADER_BYTES_MAX, because the library's pool
 * also holds the request line, its own tables and the head of the reply. */
static struct MHD_Daemon *start_daemon(struct http *http)
{
    const struct config *c = http->options.config;
    unsigned per_address = (unsigned)c->connections_per_address;

    if (per_address == 0)
        per_address = is_loopback(c->listen) ? 0 : 64;
    return MHD_start_daemon(
        MHD_USE_EPOLL | MHD_USE_ERROR_LOG | MHD_ALLOW_SUSPEND_RESUME, 0, NULL, NULL,
        exchange_step, http, MHD_OPTION_EXTERNAL_LOGGER, log_of_mhd,
        NULL, /* first, so that it hears of the others */
#if MHD_VERSION >= 0x00097701
        MHD_OPTION_CLIENT_DISCIPLINE_LVL, 1,
#else
        MHD_OPTION_STRICT_FOR_CLIENT,
        -1, /* the level that refuses a space before the colon */
#endif
        MHD_OPTION_LISTEN_SOCKET, http->listen_fd, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
        (size_t)HEADER_BYTES_MAX * 2, MHD_OPTION_CONNECTION_LIMIT,
        (unsigned)c->connections_max, MHD_OPTION_PER_IP_CONNECTION_LIMIT, per_address,
        MHD_OPTION_NOTIFY_CONNECTION, on_connection, http, MHD_OPTION_NOTIFY_COMPLETED,
        exchange_ended, http, MHD_OPTION_URI_LOG_CALLBACK, exchange_target, http,
        MHD_OPTION_END);
}

static enum err start_loop(struct http *http)
{
    const union MHD_DaemonInfo *info =
        MHD_get_daemon_info(http->daemon, MHD_DAEMON_INFO_EPOLL_FD);

    if (info == NULL || uv_loop_init(&http->loop) != 0)
        return ERR_NO_MEMORY;
    http->loop.data = http;
    uv_poll_init(&http->loop, &http->epoll, info->listen_fd);
    uv_timer_init(&http->loop, &http->timeout);
    uv_timer_init(&http->loop, &http->sweep);
    uv_idle_init(&http->loop, &http->again);
    uv_async_init(&http->loop, &http->wake, on_wake);
    uv_async_init(&http->loop, &http->stop, on_stop);
    http->epoll.data = http->timeout.data = http->sweep.data = http->again.data = http;
    http->wake.data = http->stop.data = http;
    uv_prepare_init(&http->loop, &http->flush);
    uv_prepare_start(&http->flush, on_prepare);
    uv_poll_start(&http->epoll, UV_READABLE, on_epoll);
    uv_timer_start(&http->sweep, on_sweep, SWEEP_MS, SWEEP_MS);
    return uv_thread_create(&http->thread, run_loop, http) == 0 ? ERR_OK : ERR_NO_MEMORY;
}

enum err http_open(const struct http_options *options, struct http **out_http,
                   struct buf *why)
{
    struct http *http = calloc(1, sizeof *http);
    enum err e;

    unsigned prefix = 0;

    if (http == NULL || getrandom(&prefix, sizeof prefix, 0) != sizeof prefix) {
        free(http);
        return ERR_NO_MEMORY;
    }
    http->options = *options;
    spare_open(&http->spare);
    pthread_mutex_init(&http->wake_mutex, NULL);
    http->routes = options->routes != NULL ? options->routes : routes;
    snprintf(http->id_prefix, sizeof http->id_prefix, "%08x", prefix);
    raise_descriptor_limit();
    e = http_listen(http, why);
    if (e == ERR_OK && (http->daemon = start_daemon(http)) == NULL) {
        buf_adds(why, "libmicrohttpd does not start");
        close(http->listen_fd);
        e = ERR_NO_MEMORY;
    }
    if (e == ERR_OK && (e = start_loop(http)) != ERR_OK)
        MHD_stop_daemon(http->daemon);
    if (e == ERR_OK) {
        *out_http = http;
        return ERR_OK;
    }
    spare_close(&http->spare);
    free(http);
    return e;
}

int http_port(const struct http *http)
{
    return http->port;
}

void http_wake(struct http *http)
{
    pthread_mutex_lock(&http->wake_mutex);
    if (!http->stopped)
        uv_async_send(&http->wake);
    pthread_mutex_unlock(&http->wake_mutex);
}

void http_drain(struct http *http)
{
    atomic_store(&http->draining, true);
    http_wake(http);
}

/* From main, once. Not under wake_mutex: the loop runs until it has seen the stop. */
void http_close(struct http *http)
{
    if (http == NULL)
        return;
    atomic_store(&http->draining, true);
    uv_async_send(&http->stop);
    uv_thread_join(&http->thread);
}

void http_free(struct http *http)
{
    if (http == NULL)
        return;
    for (struct request *req = http->abandoned, *next; req != NULL; req = next) {
        next = req->next_abandoned;
        request_free(req);
    }
    pthread_mutex_destroy(&http->wake_mutex);
    meter_release(&http->meter);
    spare_close(&http->spare);
    free(http);
}
