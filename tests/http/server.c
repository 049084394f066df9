#include "tests/http/server.h"

#include "server/core/clock.h"
#include "server/core/log.h"
#include "server/http/router.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

static struct server *server_of(struct request *req)
{
    struct server *s = req_context(req);

    atomic_fetch_add(&s->calls, 1);
    return s;
}

/* -- the routes ---------------------------------------------------------------------- */

static enum err hello(struct request *req)
{
    server_of(req);
    req_reply(req, 200, NULL, "{\"hello\":true}", 14);
    return ERR_OK;
}

static enum err echo(struct request *req)
{
    size_t len;
    const char *body = req_body(req, &len);

    server_of(req);
    req_reply(req, 200, NULL, body, len);
    return ERR_OK;
}

static enum err smuggled(struct request *req)
{
    atomic_fetch_add(&server_of(req)->smuggled, 1);
    req_reply(req, 200, NULL, "{}", 2);
    return ERR_OK;
}

static enum err etag(struct request *req)
{
    server_of(req);
    req_set_header(req, "ETag", "\"33-7\"");
    req_reply(req, 200, NULL, "{\"id\":33}", 9);
    return ERR_OK;
}

static enum err big(struct request *req)
{
    int64_t n = 1000000;
    enum err e = req_query_int(req, "n", 0, 100000000, &n);

    server_of(req);
    if (e != ERR_OK)
        return e;
    char *body = malloc((size_t)n + 1);
    cr_assert_not_null(body);
    memset(body, 'b', (size_t)n);
    req_reply(req, 200, "text/plain", body, (size_t)n);
    free(body);
    return ERR_OK;
}

static void on_time(struct request *req, void *arg)
{
    struct server *s = arg;

    atomic_fetch_add(&s->gone, req_is_gone(req));
    atomic_fetch_add(&s->waits_ended, 1);
    req_reply(req, 200, NULL, "{\"waited\":true}", 15);
}

static enum err wait_a_little(struct request *req)
{
    struct server *s = server_of(req);
    int64_t seconds;
    enum err e = req_wait_seconds(req, &seconds);

    if (e != ERR_OK)
        return e;
    req_timer_start(req, seconds * MS_PER_SECOND, on_time, s);
    atomic_fetch_add(&s->waiting, 1);
    return ERR_OK;
}

static enum err hold(struct request *req)
{
    struct server *s = server_of(req);

    if (s->n_held == HELD_MAX)
        return req_fail(req, ERR_TOO_MANY_REQUESTS, "%d are held", s->n_held);
    s->held_text[s->n_held] = req_query(req, "text");
    s->held[s->n_held++] = req;
    atomic_fetch_add(&s->waiting, 1);
    return ERR_OK;
}

static enum err half(struct request *req)
{
    struct buf b = BUF_INIT;

    server_of(req);
    buf_adds(&b, "{\"half\":");
    b.failed = true; /* as buf_add() does when memory runs out */
    req_reply_buf(req, 200, &b);
    buf_release(&b);
    return ERR_OK;
}

static enum err thing(struct request *req)
{
    int64_t id;
    enum err e = req_path_id(req, "thingId", ERR_JOB_NOT_FOUND, &id);

    server_of(req);
    if (e != ERR_OK)
        return e;
    const char *body = req_printf(req, "{\"id\":%" PRId64 "}", id);
    req_reply(req, 200, NULL, body, strlen(body));
    return ERR_OK;
}

static enum err query(struct request *req)
{
    const char *text = "";
    int64_t n = -1;
    bool flag = false;
    enum err e = req_query_text(req, "text", 8, &text);

    server_of(req);
    if (e == ERR_OK)
        e = req_query_int(req, "n", 0, 9, &n);
    if (e == ERR_OK)
        e = req_query_bool(req, "flag", &flag);
    if (e != ERR_OK)
        return e;
    const char *body = req_printf(req, "%s|%d|%d", text, (int)n, flag);
    req_reply(req, 200, "text/plain", body, strlen(body));
    return ERR_OK;
}

#define QUERY(...)                                                                       \
    (const char *const[])                                                                \
    {                                                                                    \
        __VA_ARGS__, NULL                                                                \
    }
#define NO_QUERY                                                                         \
    (const char *const[])                                                                \
    {                                                                                    \
        NULL                                                                             \
    }

static const struct route test_routes[] = {
    {"GET", "/hello", "hello", hello, NO_QUERY, false, false, 1},
    {"DELETE", "/hello", "hello", hello, NO_QUERY, false, false, 1},
    {"POST", "/echo", "echo", echo, NO_QUERY, true, false, 1},
    {"POST", "/required", "required", echo, NO_QUERY, true, true, 2},
    {"POST", "/smuggled", "smuggled", smuggled, NO_QUERY, false, false, 1},
    {"GET", "/smuggled", "smuggled", smuggled, NO_QUERY, false, false, 1},
    {"GET", "/etag", "etag", etag, NO_QUERY, false, false, 1},
    {"GET", "/big", "big", big, QUERY("n"), false, false, 1},
    {"GET", "/wait", "wait", wait_a_little, QUERY("wait"), false, false, 1},
    {"GET", "/hold", "hold", hold, QUERY("text"), false, false, 1},
    {"GET", "/half", "half", half, NO_QUERY, false, false, 1},
    {"GET", "/things/{thingId}", "thing", thing, NO_QUERY, false, false, 1},
    {"GET", "/query", "query", query, QUERY("text", "n", "flag"), false, false, 1},
    {NULL, NULL, NULL, NULL, NULL, false, false, 0},
};

/* -- its life ------------------------------------------------------------------------ */

static int64_t default_INT(const char *text)
{
    return strtoll(text, NULL, 10);
}

/* How long jobs are kept is nothing to this library. */
static int64_t default_AGE(const char *text)
{
    (void)text;
    return 0;
}

static bool default_BOOL(const char *text)
{
    return strcmp(text, "true") == 0;
}

static char *default_TEXT(const char *text)
{
    return strdup(text);
}

#define default_SECRET default_TEXT
#define default_LIST   default_TEXT
#define default_MAP    default_TEXT

static void configure(struct config *c)
{
#define SETTING(field, type, flag, env, key, def, least, most, help)                     \
    c->field = default_##type(def);
#include "server/core/config.def"
#undef SETTING
    c->port = 0;
}

static void release_INT(int64_t value)
{
    (void)value;
}

static void release_BOOL(bool value)
{
    (void)value;
}

static void release_TEXT(char *text)
{
    free(text);
}

#define release_AGE    release_INT
#define release_SECRET release_TEXT
#define release_LIST   release_TEXT
#define release_MAP    release_TEXT

static void release(struct config *c)
{
#define SETTING(field, type, flag, env, key, def, least, most, help)                     \
    release_##type(c->field);
#include "server/core/config.def"
#undef SETTING
}

static void on_wake(void *arg)
{
    struct server *s = arg;

    atomic_fetch_add(&s->wakes, 1);
    if (!atomic_load(&s->release))
        return;
    for (int i = 0; i < s->n_held; i++)
        req_reply(s->held[i], 200, NULL, "{\"held\":true}", 13);
    s->n_held = 0;
}

void server_start(struct server *s, void (*tune)(struct config *))
{
    struct buf why = BUF_INIT;

    memset(s, 0, sizeof *s);
    signal(SIGPIPE, SIG_IGN);
    log_configure(LOG_TEXT, LOG_ERROR);
    configure(&s->config);
    if (tune != NULL)
        tune(&s->config);
    struct http_options options = {.config = &s->config,
                                   .context = s,
                                   .on_wake = on_wake,
                                   .wake_arg = s,
                                   .routes = test_routes};
    cr_assert_eq(http_open(&options, &s->http, &why), ERR_OK, "%s", why.text);
    s->port = http_port(s->http);
    buf_release(&why);
}

void server_release(struct server *s)
{
    atomic_store(&s->release, true);
    http_wake(s->http);
}

void server_free(struct server *s)
{
    http_free(s->http);
    release(&s->config);
}

void server_stop(struct server *s)
{
    http_close(s->http);
    server_free(s);
}

void server_expect(atomic_int *counter, int least)
{
    UNTIL(atomic_load(counter) >= least);
}
