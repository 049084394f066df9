/* libcurl tells which sockets to watch and when to be called; the loop does both. It may
 * not be called by its own callbacks, which call functions of tasks, which may cancel
 * others: so what is ended inside of it is ended when it has returned.
 *
 * Rejected: a thread a request (the same memory as a sync task); curl_multi_poll() in a
 * thread of its own (another loop, and a hop for each piece of a body). */
#include "workers/async/http_client.h"

#include "server/core/clock.h"
#include "workers/async/watch.h"

#include <stdlib.h>

enum { IDLE_MOST = 16, CONNECTIONS_KEPT = 64 };

struct http_client {
    struct loop_part part; /* first */
    struct loop *loop;
    CURLM *multi;
    struct deadline timer;
    bool inside; /* of libcurl */
    struct http_transfer *ending;
    CURL *idle[IDLE_MOST];
    int n_idle;
};

struct http_socket {
    struct http_client *client;
    curl_socket_t fd;
    struct watch_handle *watch;
};

/* -- ends ---------------------------------------------------------------------------- */

static void forget(struct http_client *c, struct http_transfer *t, CURLcode code)
{
    curl_multi_remove_handle(c->multi, t->easy);
    t->ended(t, code);
}

/* What has ended by itself, and what was to be ended meanwhile. */
static void collect(struct http_client *c)
{
    struct http_transfer *t;
    CURLMsg *message;
    int left;

    while ((message = curl_multi_info_read(c->multi, &left)) != NULL) {
        CURLcode code = message->data.result;
        if (message->msg != CURLMSG_DONE)
            continue;
        curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, (char **)&t);
        if (!t->ending)
            forget(c, t, code);
    }
    while ((t = c->ending) != NULL) {
        c->ending = t->next_ending;
        forget(c, t, CURLE_ABORTED_BY_CALLBACK);
    }
}

void http_client_end(struct http_client *c, struct http_transfer *t)
{
    if (t->ending)
        return;
    t->ending = true;
    t->next_ending = c->ending;
    c->ending = t;
    if (!c->inside)
        collect(c);
}

/* -- what libcurl asks for ----------------------------------------------------------- */

static void act(struct http_client *c, curl_socket_t fd, int events)
{
    int running;

    c->inside = true;
    curl_multi_socket_action(c->multi, fd, events, &running);
    c->inside = false;
    collect(c);
}

static void on_ready(void *arg, int events)
{
    const struct http_socket *s = arg;

    act(s->client, s->fd,
        (events & UV_READABLE ? CURL_CSELECT_IN : 0) |
            (events & UV_WRITABLE ? CURL_CSELECT_OUT : 0));
}

static void on_due(struct deadline *d)
{
    struct http_client *c =
        (struct http_client *)(void *)((char *)d - offsetof(struct http_client, timer));

    act(c, CURL_SOCKET_TIMEOUT, 0);
}

static int set_timer(CURLM *multi, long ms, void *arg)
{
    struct http_client *c = arg;

    (void)multi;
    if (ms < 0)
        deadline_clear(&c->loop->deadlines, &c->timer);
    else if (!deadline_set(&c->loop->deadlines, &c->timer, clock_us() + ms * US_PER_MS))
        abort(); /* without memory for a pointer nothing goes on */
    return 0;
}

static struct http_socket *socket_new(struct http_client *c, curl_socket_t fd)
{
    struct http_socket *s = calloc(1, sizeof *s);

    if (s == NULL)
        return NULL;
    *s = (struct http_socket){.client = c, .fd = fd};
    s->watch = watch_open(c->loop, fd, on_ready, s);
    if (s->watch == NULL) {
        free(s);
        return NULL;
    }
    curl_multi_assign(c->multi, fd, s);
    return s;
}

/* What cannot be watched has no other end than its failure. */
static int set_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *socket_arg)
{
    struct http_client *c = arg;
    struct http_socket *s = socket_arg;

    if (what == CURL_POLL_REMOVE && s != NULL) {
        watch_close(s->watch);
        curl_multi_assign(c->multi, fd, NULL);
        free(s);
        return 0;
    }
    if (what == CURL_POLL_REMOVE)
        return 0;
    if (s == NULL)
        s = socket_new(c, fd);
    if (s == NULL) {
        struct http_transfer *t = NULL;
        curl_easy_getinfo(easy, CURLINFO_PRIVATE, (char **)&t);
        if (t != NULL)
            http_client_end(c, t);
        return 0;
    }
    watch_for(s->watch, (what & CURL_POLL_IN ? UV_READABLE : 0) |
                            (what & CURL_POLL_OUT ? UV_WRITABLE : 0));
    return 0;
}

/* -- the client ---------------------------------------------------------------------- */

static void release(struct loop_part *part)
{
    struct http_client *c = (struct http_client *)(void *)part;

    while (c->n_idle > 0)
        curl_easy_cleanup(c->idle[--c->n_idle]);
    curl_multi_cleanup(c->multi);
    deadline_clear(&c->loop->deadlines, &c->timer);
    free(c);
}

struct http_client *http_client_of(struct loop *loop)
{
    struct http_client *c = (struct http_client *)(void *)loop_part(loop, release);

    if (c != NULL)
        return c;
    c = calloc(1, sizeof *c);
    CURLM *multi = c != NULL ? curl_multi_init() : NULL;
    if (multi == NULL) {
        free(c);
        return NULL;
    }
    *c = (struct http_client){.part = {.release = release},
                              .loop = loop,
                              .multi = multi,
                              .timer = {.due = on_due}};
    curl_multi_setopt(multi, CURLMOPT_SOCKETFUNCTION, set_socket);
    curl_multi_setopt(multi, CURLMOPT_SOCKETDATA, c);
    curl_multi_setopt(multi, CURLMOPT_TIMERFUNCTION, set_timer);
    curl_multi_setopt(multi, CURLMOPT_TIMERDATA, c);
    curl_multi_setopt(multi, CURLMOPT_MAXCONNECTS, (long)CONNECTIONS_KEPT);
    loop_add_part(loop, &c->part);
    return c;
}

CURL *http_client_easy(struct http_client *c)
{
    return c->n_idle > 0 ? c->idle[--c->n_idle] : curl_easy_init();
}

void http_client_give_back(struct http_client *c, CURL *easy)
{
    if (c->n_idle == IDLE_MOST) {
        curl_easy_cleanup(easy);
        return;
    }
    curl_easy_reset(easy);
    c->idle[c->n_idle++] = easy;
}

bool http_client_start(struct http_client *c, struct http_transfer *t)
{
    return curl_multi_add_handle(c->multi, t->easy) == CURLM_OK;
}
