/* Requests to every operation, up to the database, which is never there. What would go to
 * it has to be something that PostgreSQL takes, and every answer a good one.
 *
 * The input is a request without ceremony: "POST /jobs", lines of headers, an empty line,
 * the body; lines end in LF. */
#include "db/lane.h"
#include "handlers/app.h"
#include "handlers/gauges.h"
#include "handlers/wait.h"
#include "server/core/utf8.h"
#include "server/http/json.h"
#include "tests/fuzz/live.h"
#include "workers/task_table.h"

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);
enum err __wrap_db_submit(struct lanes *lanes, const struct db_op *op);

/* PostgreSQL refuses bytes that are not UTF-8, and NUL ends a text. */
static void check_value(const struct db_value *v)
{
    if (v->null || v->text == NULL)
        return;
    live_must(v->len >= 0 && strnlen(v->text, (size_t)v->len) == (size_t)v->len,
              "a text that is cut");
    live_must(utf8_is_good(v->text, (size_t)v->len), "a text that is not UTF-8");
    live_must(*v->text != '{' || v->text[1] != '"' || v->text[v->len - 1] == '}',
              "half a document");
}

enum err __wrap_db_submit(struct lanes *lanes, const struct db_op *op)
{
    struct db_rows none = {.result = NULL};
    int n = op->n_rows * sql_params(op->sql);

    (void)lanes;
    for (int i = 0; i < n; i++)
        check_value(&op->values[i]);
    op->done(op->arg, &none, ERR_UNAVAILABLE, "");
    return ERR_OK;
}

/* -- the program --------------------------------------------------------------------- */

static void wake(void *arg)
{
    (void)arg;
}

static void on_ended(void *arg, const int64_t *ids, size_t n)
{
    (void)arg;
    (void)ids;
    (void)n;
}

static void start(struct live *l)
{
    static const char nowhere[] = "host=/nowhere-at-all user=nobody dbname=none";
    static struct app app;
    struct buf why = BUF_INIT;
    static struct task_table *tasks;

    live_configure(l);
    log_configure(LOG_TEXT, LOG_ERROR);
    app.config = &l->config;
    live_must(task_table_new(&tasks, &why) == ERR_OK, "the tasks");
    l->config.concurrency = 0;
    struct node_options node = {.config = &l->config,
                                .url = nowhere,
                                .listen_url = nowhere,
                                .tasks = task_table_list(tasks),
                                .on_ended = on_ended};
    live_must(lanes_open(nowhere, wake, NULL, &app.lanes) == ERR_OK &&
                  waiters_new(&app, &app.waiters) == ERR_OK &&
                  gauges_new(&app, &app.gauges) == ERR_OK &&
                  node_open(&node, &app.node, &why) == ERR_OK,
              "the parts");
    live_serve(l, (struct http_options){.context = &app});
}

/* -- one request --------------------------------------------------------------------- */

/* The request with all that HTTP wants; false when there is no line to begin with. */
static bool put_together(const char *text, size_t size, struct buf *out)
{
    const char *end = text + size, *body = memmem(text, size, "\n\n", 2);
    const char *head_end = body != NULL ? body : end;
    size_t body_len = body != NULL ? (size_t)(end - body - 2) : 0;
    bool is_first = true;

    for (const char *at = text; at < head_end; is_first = false) {
        const char *eol = memchr(at, '\n', (size_t)(head_end - at));
        eol = eol != NULL ? eol : head_end;
        buf_add(out, at, (size_t)(eol - at));
        buf_adds(out, is_first ? " HTTP/1.1\r\nHost: localhost\r\n" : "\r\n");
        at = eol + 1;
    }
    buf_addf(out, "Connection: close\r\nContent-Length: %zu\r\n", body_len);
    if (body_len > 0)
        buf_adds(out, "Content-Type: application/json\r\n");
    buf_adds(out, "\r\n");
    buf_add(out, body_len > 0 ? body + 2 : "", body_len);
    return !is_first && !out->failed;
}

static void judge(const char *answer)
{
    const char *body = strstr(answer, "\r\n\r\n");
    struct json_error error;
    enum json_type type;

    if (*answer == '\0')
        return; /* libmicrohttpd would not read it */
    int status = (int)strtol(answer + 9, NULL, 10);
    live_must(strncmp(answer, "HTTP/1.1 ", 9) == 0 && body != NULL, answer);
    live_must((status >= 200 && status < 500) || status == 501 || status == 503 ||
                  status == 505,
              answer);
    const char *length = strstr(answer, "Content-Length: ");
    size_t len = strlen(body + 4);
    if (strstr(answer, "json\r\n") == NULL || len == 0)
        return;
    live_must(length != NULL && strtoul(length + 16, NULL, 10) == len, "a length");
    live_must(json_check(body + 4, len, &type, &error) == ERR_OK, answer);
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
    static struct live live;
    static char answer[1 << 20];
    struct buf request = BUF_INIT;

    if (live.http == NULL)
        start(&live);
    if (size < 65536 && put_together((const char *)data, size, &request)) {
        live_ask(&live, request.text, request.len, answer, sizeof answer);
        judge(answer);
    }
    buf_release(&request);
    return 0;
}
