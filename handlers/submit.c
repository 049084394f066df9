#include "handlers/submit.h"

#include "server/core/cleanup.h"
#include "server/core/log.h"

#include <string.h>

struct submission {
    struct request *req;
    reply_fn *reply;
    enum sql sql;
};

struct db_value *submit_values(struct request *req, enum sql sql, int n_rows)
{
    return req_alloc(req,
                     (size_t)n_rows * (size_t)sql_params(sql) * sizeof(struct db_value));
}

static void on_done(void *arg, const struct db_rows *rows, enum err why,
                    const char *message)
{
    const struct submission *s = arg;

    if (why == ERR_OK) {
        s->reply(s->req, rows);
        return;
    }
    if (why == ERR_INTERNAL || why == ERR_INVALID)
        log_error(sql_name(s->sql), "request=%s failed=%s", req_id(s->req),
                  log_quoted(message));
    if (why == ERR_INVALID)
        why = req_fail(s->req, ERR_INVALID, "PostgreSQL refuses it: %s", message);
    req_error(s->req, why);
}

enum err submit(struct request *req, enum lane lane, enum sql sql, int n_rows,
                const struct db_value *values, reply_fn *reply)
{
    struct submission *s = req_alloc(req, sizeof *s);
    struct db_op op = {.lane = lane,
                       .sql = sql,
                       .n_rows = n_rows,
                       .values = values,
                       .done = on_done,
                       .arg = s};

    *s = (struct submission){.req = req, .reply = reply, .sql = sql};
    return db_submit(req_app(req)->lanes, &op);
}

void set_etag(struct request *req, const char *etag)
{
    req_set_header(req, "ETag", req_printf(req, "\"%s\"", etag));
}

/* Our tags are hexadecimal: anything else equals none of them, and goes no further. */
const char *if_match(struct request *req)
{
    static const char between[] = "\", \t", digits[] = "0123456789abcdef";
    const char *given = req_header(req, "If-Match"), *tags = "-";
    size_t len;

    if (given == NULL || strcmp(given, "*") == 0)
        return given;
    while (*(given += strspn(given, between)) != '\0') {
        len = strcspn(given, between);
        if (strspn(given, digits) >= len)
            tags = req_printf(req, "%s,%.*s", tags, (int)len, given);
        given += len;
    }
    return tags;
}

void reply_list(struct request *req, const struct db_rows *rows, const char *key,
                int column)
{
    CLEANUP(buf_release) struct buf b = BUF_INIT;

    buf_addf(&b, "{\"%s\":[", key);
    for (int i = 0; i < rows->count; i++) {
        if (i > 0)
            buf_addc(&b, ',');
        buf_add(&b, row_text(rows, i, column), (size_t)row_len(rows, i, column));
    }
    buf_adds(&b, "]}");
    req_reply(req, 200, NULL, b.text, b.len);
}
