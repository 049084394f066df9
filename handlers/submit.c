/* The way of every handler to the database and back. What a submission needs to be
 * answered is in the request's memory, so nothing here is ever freed, and nothing can be:
 * the request lives until the operation has come back, also when the client has hung up.
 *
 * Rejected: a callback a statement with its own error handling. Each would have to say
 * for itself what 503, 409 and an unknown outcome look like; here a reply function sees
 * rows only. */
#include "handlers/submit.h"

#include "server/core/cleanup.h"
#include "server/core/clock.h"
#include "server/core/log.h"

#include <string.h>

enum {
    AGAIN_MS = 10, /* until a statement is asked again that said so */
    AGAIN_FOR_MS = 2000,
    LOST_MS = 100,      /* until one is sent again whose answer was lost */
    LOST_FOR_MS = 3500, /* so that the caller waits for 6 s at most */
};

struct submission {
    struct request *req;
    reply_fn *reply;
    struct db_op op;
    const struct first_answer *first; /* NULL: nothing was committed before */
    bool repeats;                     /* it may be sent more than once */
    bool lost;                        /* and it was, because an answer did not come */
    int64_t since_ms;
};

struct db_value *submit_values(struct request *req, enum sql sql, int n_rows)
{
    return req_alloc(req,
                     (size_t)n_rows * (size_t)sql_params(sql) * sizeof(struct db_value));
}

static void reply_first(struct request *req, const struct first_answer *first)
{
    if (*first->etag != '\0')
        set_etag(req, first->etag);
    req_reply(req, first->status, NULL, first->body, strlen(first->body));
}

/* The edge at which a statement's failure is logged. Only two kinds are: a fault of ours,
 * and a value that came through all checks of the handler and that PostgreSQL does not
 * take, which is a check that is missing. That the database is away is no news of this
 * request: the lane's link says it, once for all. */
static void fail(const struct submission *s, enum err why, const char *message)
{
    if (why == ERR_INTERNAL || why == ERR_INVALID)
        log_error(sql_name(s->op.sql), "request=%s failed=%s", req_id(s->req),
                  log_quoted(message));
    if (why == ERR_INVALID)
        why = req_fail(s->req, ERR_INVALID, "PostgreSQL refuses it: %s", message);
    req_error(s->req, why);
}

static void on_repeat(struct request *req, void *arg)
{
    struct submission *s = arg;
    enum err e = db_submit(req_app(req)->lanes, &s->op);

    if (e != ERR_OK)
        req_error(req, s->lost ? ERR_OUTCOME_UNKNOWN : e);
}

/* True: it is sent again, for the answer was lost, or it was said to be too early. */
static bool repeat(struct submission *s, const struct db_rows *rows, enum err why)
{
    int64_t age_ms = clock_ms() - s->since_ms;

    if (!s->repeats)
        return false;
    s->lost = s->lost || why == ERR_OUTCOME_UNKNOWN;
    bool again =
        why == ERR_OK && rows->count == 1 && strcmp(row_text(rows, 0, 1), "again") == 0;
    bool failed = s->lost && (why == ERR_OUTCOME_UNKNOWN || why == ERR_UNAVAILABLE);
    if (!(again || failed) || age_ms > (s->lost ? LOST_FOR_MS : AGAIN_FOR_MS))
        return false;
    req_timer_start(s->req, again ? AGAIN_MS : LOST_MS, on_repeat, s);
    return true;
}

/* On the HTTP thread, from lanes_complete(). `rows` belongs to the lane and is gone when
 * this returns: reply functions copy what they keep. */
static void on_done(void *arg, const struct db_rows *rows, enum err why,
                    const char *message)
{
    struct submission *s = arg;

    if (repeat(s, rows, why))
        return;
    if (s->lost && why == ERR_UNAVAILABLE)
        why = ERR_OUTCOME_UNKNOWN; /* of one that was sent before */
    /* The change that `first` tells of has been committed: an error now would be a lie
     * about it. */
    if (s->first != NULL && (why != ERR_OK || rows->count == 0))
        reply_first(s->req, s->first);
    else if (why == ERR_OK)
        s->reply(s->req, rows);
    else
        fail(s, why, message);
}

static enum err submit_one(struct submission submission)
{
    struct submission *s = req_alloc(submission.req, sizeof *s);

    *s = submission;
    s->since_ms = clock_ms();
    s->op.since_ms = s->since_ms;
    s->op.done = on_done;
    s->op.arg = s;
    return db_submit(req_app(s->req)->lanes, &s->op);
}

enum err submit(struct request *req, enum lane lane, enum sql sql, int n_rows,
                const struct db_value *values, reply_fn *reply)
{
    return submit_one((struct submission){
        .req = req,
        .reply = reply,
        .op = {.lane = lane, .sql = sql, .n_rows = n_rows, .values = values}});
}

enum err submit_repeatable(struct request *req, enum lane lane, enum sql sql, int n_rows,
                           const struct db_value *values, reply_fn *reply)
{
    return submit_one((struct submission){
        .req = req,
        .reply = reply,
        .repeats = true,
        .op = {.lane = lane, .sql = sql, .n_rows = n_rows, .values = values}});
}

void submit_again(struct request *req, enum sql sql, const struct db_value *values,
                  reply_fn *reply, const struct first_answer *first)
{
    enum err e = submit_one((struct submission){
        .req = req,
        .reply = reply,
        .first = first,
        .op = {.lane = LANE_READ, .sql = sql, .n_rows = 1, .values = values}});

    if (e != ERR_OK && first != NULL)
        reply_first(req, first);
    else if (e != ERR_OK)
        req_error(req, e);
}

const struct first_answer *first_answer(struct request *req, int status, const char *etag,
                                        const char *body)
{
    struct first_answer *first = req_alloc(req, sizeof *first);

    *first = (struct first_answer){.status = status,
                                   .etag = req_strdup(req, etag, strlen(etag)),
                                   .body = req_strdup(req, body, strlen(body))};
    return first;
}

void set_etag(struct request *req, const char *etag)
{
    req_set_header(req, "ETag", req_printf(req, "\"%s\"", etag));
}

/* Our tags are hexadecimal: anything else equals none of them, and goes no further. "-"
 * stands first, so that a header without any good tag is still one that has to hold.
 * Commas and quotes are cut off here: the statement compares plain text. */
const char *if_match(struct request *req)
{
    static const char between[] = "\", \t", digits[] = "0123456789abcdef";
    static const char weak[] = "W/\"";
    const char *given = req_header(req, "If-Match"), *tags = "-";
    size_t len;

    if (given == NULL || strcmp(given, "*") == 0)
        return given != NULL ? "*" : NULL; /* the header's own text is only borrowed */
    while (*(given += strspn(given, between)) != '\0') {
        len = strcspn(given, between);
        if (strncmp(given, weak, sizeof weak - 1) == 0) /* equals nothing (RFC 9110) */
            len = sizeof weak - 1 + strcspn(given + sizeof weak - 1, "\"");
        else if (strspn(given, digits) >= len)
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
    req_reply_buf(req, 200, &b);
}
