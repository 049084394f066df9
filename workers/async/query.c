/* One statement, from the look-up of names to a connection that has nothing of it left.
 *
 * All of libpq is called on the loop's own stack, never on the coroutine's, which is too
 * small for a handshake of TLS or Kerberos; what it would wait for, names and the request
 * to cancel, is done on libuv's threads. A cancelled statement is waited for, because a
 * server that is left alone goes on with it; then its connection is closed, because the
 * request to cancel may be late and would hit the next statement.
 *
 * Rejected: a coroutine that waits with await_fd() (its own cancel would have to be
 * swallowed while it cleans up); a connection for a job (a job that waits would hold it).
 */
#include "server/core/clock.h"
#include "workers/async/query_pool.h"
#include "workers/async/watch.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    CONNECT_US = 10 * US_PER_SECOND,
    SETTLE_US = 5 * US_PER_SECOND, /* for a cancelled statement to end */
    ROWS_MOST = 10000,
    BYTES_MOST = 16 << 20,
};

enum phase { STARTING, LOOKING_UP, CONNECTING, RUNNING, STOPPING, RESETTING };

/* On the coroutine's stack. */
struct ask {
    struct coroutine *co;
    struct loop *loop;
    const struct query_request *request;
    struct query_answer *answer;
    struct query *q;
    struct query_rows rows;
    struct watch_handle *watch;
    struct deadline limit; /* of the phase */
    struct call *call;     /* works for it on another thread */
    enum phase phase;
    int why; /* it was stopped */
};

/* On the heap: it may outlive the await. */
struct call {
    uv_work_t work;
    struct loop *loop;
    struct ask *ask; /* NULL: nobody waits for it any more */
    char *url;       /* to look up its names */
    struct query_names names;
    struct buf words;
    enum err e;
    struct query_cancel *cancel; /* or to run this */
};

static void go_on(struct ask *a);

/* -- the end ------------------------------------------------------------------------- */

static void say_why(struct ask *a, const char *words)
{
    snprintf(a->answer->why, sizeof a->answer->why, "%s", words);
}

static void limit(struct ask *a, int64_t us)
{
    if (!deadline_set(&a->loop->deadlines, &a->limit, clock_us() + us))
        abort(); /* without memory for a pointer nothing goes on */
}

/* Whatever is still there is closed. */
static void finish(struct ask *a, int result)
{
    deadline_clear(&a->loop->deadlines, &a->limit);
    watch_close(a->watch);
    a->watch = NULL;
    query_close(a->q);
    a->q = NULL;
    if (a->call != NULL)
        a->call->ask = NULL;
    a->call = NULL;
    coroutine_wake(a->co, result);
}

static void finish_broken(struct ask *a)
{
    bool connected = a->phase == RUNNING || a->phase == STOPPING;
    const char *sqlstate = query_sqlstate(a->q);
    int e = connected ? -ECONNRESET : -ECONNREFUSED;

    if (strcmp(sqlstate, QUERY_NOT_SUPPORTED) == 0)
        e = JOB_SQL_ERROR;
    say_why(a, query_why(a->q));
    snprintf(a->answer->sqlstate, sizeof a->answer->sqlstate, "%s", sqlstate);
    finish(a, a->why != JOB_OK ? a->why : e);
}

/* -- other threads ------------------------------------------------------------------- */

static void call_free(struct call *call)
{
    query_names_release(&call->names);
    buf_release(&call->words);
    free(call->url);
    free(call);
}

static void run_call(uv_work_t *work)
{
    struct call *call = work->data;

    if (call->cancel != NULL)
        query_cancel_run(call->cancel);
    else
        call->e = query_names_find(call->url, &call->names, &call->words);
}

static void connect_to(struct ask *a, const struct query_names *names)
{
    a->phase = CONNECTING;
    if (query_open(a->request->url, names, &a->q) != ERR_OK)
        finish(a, JOB_NO_MEMORY);
    else
        go_on(a);
}

static void on_called(uv_work_t *work, int status)
{
    struct call *call = work->data;
    struct ask *a = call->ask;

    (void)status;
    atomic_fetch_sub(&call->loop->n_loose, 1);
    if (a != NULL)
        a->call = NULL;
    if (a != NULL && a->phase == LOOKING_UP && call->e == ERR_OK) {
        connect_to(a, &call->names);
    } else if (a != NULL && a->phase == LOOKING_UP) {
        say_why(a, call->words.text);
        finish(a, call->e == ERR_NO_MEMORY ? JOB_NO_MEMORY : -EHOSTUNREACH);
    }
    call_free(call);
}

/* Takes `url` and `cancel`, of which one is NULL. */
static bool call_start(struct ask *a, char *url, struct query_cancel *cancel)
{
    struct call *call = calloc(1, sizeof *call);

    if (call == NULL)
        return false;
    *call = (struct call){.loop = a->loop,
                          .ask = a,
                          .names = {BUF_INIT, BUF_INIT, BUF_INIT, 0},
                          .words = BUF_INIT,
                          .cancel = cancel};
    call->url = url;
    call->work.data = call;
    uv_queue_work(&a->loop->uv, &call->work, run_call, on_called);
    atomic_fetch_add(&a->loop->n_loose, 1);
    a->call = call;
    return true;
}

/* -- the statement ------------------------------------------------------------------- */

/* Asks the server to stop; the statement's end is then seen by go_on(). */
static void cancel_statement(struct ask *a)
{
    struct query_cancel *cancel = query_cancel_new(a->q);

    a->phase = STOPPING;
    limit(a, SETTLE_US);
    if (cancel != NULL && call_start(a, NULL, cancel))
        return;
    query_cancel_free(cancel);
    finish(a, a->why != JOB_OK ? a->why : JOB_NO_MEMORY);
}

static int result_of(const struct ask *a)
{
    if (a->rows.no_memory)
        return JOB_NO_MEMORY;
    if (a->rows.too_large)
        return -EMSGSIZE;
    return query_sqlstate(a->q)[0] != '\0' ? JOB_SQL_ERROR : JOB_OK;
}

/* The statement has ended. One that was faster than its cancel has its result. */
static void on_ended(struct ask *a)
{
    static const struct query_statement reset = {.sql = "DISCARD ALL"};
    int result = result_of(a);
    bool stopped = a->phase == STOPPING;

    say_why(a, result == -EMSGSIZE ? "the result is larger than it may be"
                                   : query_why(a->q));
    snprintf(a->answer->sqlstate, sizeof a->answer->sqlstate, "%s", query_sqlstate(a->q));
    if (stopped || !query_is_clean(a->q)) {
        finish(a, result != JOB_OK && a->why != JOB_OK ? a->why : result);
        return;
    }
    a->phase = RESETTING;
    a->why = result;
    limit(a, SETTLE_US);
    if (!query_send(a->q, &reset, NULL))
        finish(a, result);
}

static void on_reset(struct ask *a)
{
    if (query_sqlstate(a->q)[0] == '\0' && query_is_clean(a->q)) {
        watch_close(a->watch);
        a->watch = NULL;
        query_pool_put(a->loop, a->request->url, a->q);
        a->q = NULL;
    }
    finish(a, a->why);
}

static void on_idle(struct ask *a)
{
    const struct query_request *r = a->request;
    struct query_statement statement = {r->sql, r->params, r->n_params};

    if (a->phase == RUNNING || a->phase == STOPPING) {
        on_ended(a);
    } else if (a->phase == RESETTING) {
        on_reset(a);
    } else {
        deadline_clear(&a->loop->deadlines, &a->limit);
        a->phase = RUNNING;
        if (!query_send(a->q, &statement, &a->rows))
            finish_broken(a);
    }
}

static void on_ready(void *arg, int events)
{
    struct ask *a = arg;

    (void)events;
    if (a->phase == CONNECTING) { /* libpq may close its socket now */
        watch_close(a->watch);
        a->watch = NULL;
    }
    go_on(a);
}

static void wait_for_server(struct ask *a)
{
    int wants = query_wants(a->q);

    if (a->watch == NULL)
        a->watch = watch_open(a->loop, query_fd(a->q), on_ready, a);
    if (a->watch == NULL) {
        finish(a, JOB_NO_MEMORY);
        return;
    }
    watch_for(a->watch, (wants & QUERY_READS ? UV_READABLE : 0) |
                            (wants & QUERY_WRITES ? UV_WRITABLE : 0));
}

static void go_on(struct ask *a)
{
    while (a->q != NULL) {
        switch (query_step(a->q)) {
        case QUERY_IDLE:
            on_idle(a);
            break;
        case QUERY_BROKEN:
            if (a->phase == RESETTING)
                finish(a, a->why);
            else
                finish_broken(a);
            return;
        case QUERY_RUNNING:
            if (a->phase == RUNNING && (a->rows.too_large || a->rows.no_memory))
                cancel_statement(a);
            if (a->q != NULL)
                wait_for_server(a);
            return;
        case QUERY_CONNECTING:
            wait_for_server(a);
            return;
        }
    }
}

/* -- the await ----------------------------------------------------------------------- */

static void start(struct ask *a)
{
    struct buf why = BUF_INIT;
    bool needed = false;

    a->q = query_pool_take(a->loop, a->request->url);
    if (a->q != NULL) {
        go_on(a);
        return;
    }
    limit(a, CONNECT_US);
    enum err e = query_names_needed(a->request->url, &needed, &why);
    if (e != ERR_OK) {
        say_why(a, why.text);
        buf_release(&why);
        finish(a, -EINVAL);
        return;
    }
    buf_release(&why);
    if (!needed) {
        connect_to(a, NULL);
        return;
    }
    char *url = strdup(a->request->url);
    a->phase = LOOKING_UP;
    if (url == NULL || !call_start(a, url, NULL)) {
        free(url);
        finish(a, JOB_NO_MEMORY);
    }
}

static void on_limit(struct deadline *d)
{
    struct ask *a = (struct ask *)(void *)((char *)d - offsetof(struct ask, limit));

    if (a->phase == STARTING) {
        start(a);
        return;
    }
    if (a->phase == CONNECTING || a->phase == LOOKING_UP)
        say_why(a, "the server could not be reached in time");
    if (a->phase == STOPPING && a->why == JOB_OK)
        a->why = result_of(a);
    finish(a, a->why != JOB_OK || a->phase == RESETTING ? a->why : -ECONNREFUSED);
}

static void stop(void *arg, int why)
{
    struct ask *a = arg;

    if (a->phase == RESETTING) { /* `why` has its result */
        finish(a, a->why);
        return;
    }
    bool again = a->why != JOB_OK;
    a->why = again ? a->why : why;
    if (a->phase == RUNNING)
        cancel_statement(a);
    else if (again || a->phase != STOPPING)
        finish(a, a->why);
}

/* -- the answer ---------------------------------------------------------------------- */

/* From places in the bytes to pointers. */
static int answer_with(struct query_rows *rows, struct query_answer *out)
{
    const char **cells = calloc(rows->n_cells + 1, sizeof *cells);

    if (cells == NULL)
        return JOB_NO_MEMORY;
    out->bytes = rows->bytes.len > 0 ? buf_detach(&rows->bytes) : NULL;
    for (size_t i = 0; i < rows->n_cells; i++) {
        if (rows->cells[i] != QUERY_NULL)
            cells[i] = out->bytes + rows->cells[i];
    }
    out->cells = cells;
    out->n_columns = rows->n_columns;
    out->n_rows = rows->n_rows;
    out->affected = rows->affected;
    out->why[0] = '\0';
    return JOB_OK;
}

int await_query(struct job_ctx *ctx, const struct query_request *request,
                struct query_answer *out, int64_t timeout_ms)
{
    struct ask a = {
        .co = coroutine_self(),
        .request = request,
        .answer = out,
        .limit = {.due = on_limit},
        .rows = {.rows_most = ROWS_MOST, .bytes_most = BYTES_MOST, .bytes = BUF_INIT}};
    int e = await_begin(ctx);

    *out = (struct query_answer){.n_rows = 0};
    if (e != JOB_OK)
        return e;
    if (request->rows_most > 0)
        a.rows.rows_most = request->rows_most;
    if (request->bytes_most > 0)
        a.rows.bytes_most = request->bytes_most;
    a.loop = coroutine_loop(a.co);
    limit(&a, 0);
    e = await_park(ctx, stop, &a, timeout_ms);
    if (e == JOB_OK)
        e = answer_with(&a.rows, out);
    query_rows_release(&a.rows);
    return e;
}

const char *query_value(const struct query_answer *answer, int row, int column)
{
    return answer->cells[(size_t)(row + 1) * (size_t)answer->n_columns + (size_t)column];
}

const char *query_column(const struct query_answer *answer, int column)
{
    return answer->cells[column];
}

void query_answer_release(struct query_answer *answer)
{
    free(answer->cells);
    free(answer->bytes);
    answer->cells = NULL;
    answer->bytes = NULL;
    answer->n_rows = answer->n_columns = 0;
}
