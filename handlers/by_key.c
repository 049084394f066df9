/* cancelByKey, getCancellationByKey, deleteCancellationByKey:
 * /cancellations/by-key/{idempotencyKey}. A cancel that may come before its job.
 *
 * One statement holds the key's row and then either leaves the cancel there, for the
 * request that is to come, or cancels what the request has put in. Rejected: to look for
 * the jobs here and leave a cancel when there are none; the request could come in
 * between. */
#include "build/gen/operations.h"
#include "handlers/cancellation.h"
#include "handlers/fields.h"
#include "handlers/metrics.h"
#include "handlers/put.h"
#include "server/core/cleanup.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

enum { GRACE_MAX = 86400, TTL_MAX = 30 * 86400 };

/* The columns of key_cancel.sql after those of job_cancel.sql. */
enum { BY_KEY_JOB = ANSWER_QUEUE + 1, BY_KEY_NEW, BY_KEY_DOCUMENT };

struct by_key {
    struct cancel_options cancel;
    int64_t ttl_seconds;
};

#define AT(member) offsetof(struct by_key, member)

/* The gate has seen to it that two digits follow each %, and that they are no slash and
 * no control character: of a key's characters only the slash cannot stand in a path. */
static char *unescape(struct request *req, const char *text)
{
    char *out = req_strdup(req, text, strlen(text)), *end = out;

    for (const char *c = text; *c != '\0'; c++) {
        char digits[] = {c[0] == '%' ? c[1] : '\0', c[0] == '%' ? c[2] : '\0', '\0'};
        *end++ = *c == '%' ? (char)strtol(digits, NULL, 16) : *c;
        c += *c == '%' ? 2 : 0;
    }
    *end = '\0';
    return out;
}

static enum err read_key(struct request *req, const char **out_key)
{
    const char *key = unescape(req, req_path(req, "idempotencyKey"));

    if (!is_idempotency_key(key))
        return req_fail(req, ERR_BAD_REQUEST,
                        "an idempotency key has 1 to 255 visible ASCII characters");
    *out_key = key;
    return ERR_OK;
}

static enum err read_options(struct request *req, struct by_key *out)
{
    static const struct field fields[] = {
        {"abort", FIELD_BOOL, AT(cancel.abort), 0, 0},
        {"reason", FIELD_TEXT, AT(cancel.reason), 0, 1024},
        {"actor", FIELD_TEXT, AT(cancel.actor), 0, 255},
        {"grace_seconds", FIELD_INT, AT(cancel.grace_seconds), 0, GRACE_MAX},
        {"ttl_seconds", FIELD_INT, AT(ttl_seconds), 1, TTL_MAX},
    };

    *out = (struct by_key){.cancel = {.grace_seconds = -1},
                           .ttl_seconds =
                               (int64_t)req_app(req)->config->idempotency_hours * 3600};
    return fields_read_options(req, fields, sizeof fields / sizeof *fields, out);
}

/* -- cancelByKey --------------------------------------------------------------------- */

/* Nothing has come with this key, and what comes will not start. */
static void reply_waiting(struct request *req, const struct db_rows *rows)
{
    CLEANUP(buf_release) struct buf b = BUF_INIT;

    buf_addf(&b, "{\"result\":\"waiting\",\"by_key\":%s}",
             row_text(rows, 0, BY_KEY_DOCUMENT));
    req_reply_buf(req, row_bool(rows, 0, BY_KEY_NEW) ? 201 : 200, &b);
}

/* The request was for one job: the answer is cancelJob's. */
static void reply_one(struct request *req, const struct db_rows *rows)
{
    const char *result = row_text(rows, 0, ANSWER_RESULT);
    const char *job = row_text(rows, 0, ANSWER_JOB), *code;
    const char *cancellation = row_text(rows, 0, ANSWER_CANCELLATION);
    int status = status_of_result(result, &code);

    if (code != NULL) {
        reply_refusal(req, result, row_text(rows, 0, ANSWER_ETAG), job, cancellation);
        return;
    }
    if (status == 202)
        set_receipt_location(req, row_int(rows, 0, BY_KEY_JOB),
                             row_int(rows, 0, ANSWER_N));
    set_etag(req, row_text(rows, 0, ANSWER_ETAG));
    reply_answer(req, status, result, job, cancellation);
}

/* It was for a batch: the answer is that of cancelJobs with its ids. */
static void reply_many(struct request *req, const struct db_rows *rows)
{
    CLEANUP(buf_release) struct buf b = BUF_INIT;

    buf_adds(&b, "{\"dry_run\":false,\"results\":[");
    for (int i = 0; i < rows->count; i++)
        add_result(&b, row_int(rows, i, BY_KEY_JOB), row_text(rows, i, ANSWER_RESULT),
                   row_text(rows, i, ANSWER_CANCELLATION));
    buf_adds(&b, "]}");
    req_reply_buf(req, 200, &b);
}

/* The options are read again, as in cancel.c. They were read before without mistakes. */
static void reply_cancelled(struct request *req, const struct db_rows *rows)
{
    struct by_key opt;
    bool is_read = read_options(req, &opt) == ERR_OK;

    if (strcmp(row_text(rows, 0, ANSWER_RESULT), "waiting") == 0) {
        reply_waiting(req, rows);
        return;
    }
    for (int i = 0; i < rows->count; i++) {
        const char *result = row_text(rows, i, ANSWER_RESULT);
        metrics_count_cancel(req, result);
        if (is_read && strcmp(result, "aborting") == 0)
            tell_worker(req, rows, i, row_int(rows, i, BY_KEY_JOB), &opt.cancel);
    }
    if (rows->count == 1)
        reply_one(req, rows);
    else
        reply_many(req, rows);
}

enum err cancel_by_key(struct request *req)
{
    const char *key = NULL;
    struct by_key opt;
    enum err e = read_key(req, &key);

    if (e == ERR_OK)
        e = read_options(req, &opt);
    if (e != ERR_OK)
        return e;
    struct db_value *v = submit_values(req, SQL_key_cancel, 1);
    v[0] = db_text(key);
    v[1] = db_text(opt.cancel.reason);
    v[2] = db_text(opt.cancel.actor);
    v[3] = db_int(opt.ttl_seconds);
    v[4] = db_int(opt.cancel.abort);
    v[5] = opt.cancel.grace_seconds < 0 ? db_null() : db_int(opt.cancel.grace_seconds);
    return submit(req, LANE_CONTROL, SQL_key_cancel, 1, v, reply_cancelled);
}

/* -- what waits ---------------------------------------------------------------------- */

static void reply_not_found(struct request *req)
{
    req_error(req, req_fail(req, ERR_CANCELLATION_NOT_FOUND,
                            "no cancel came before a request with this key"));
}

static void reply_by_key(struct request *req, const struct db_rows *rows)
{
    if (rows->count == 0)
        reply_not_found(req);
    else
        req_reply(req, 200, NULL, row_text(rows, 0, 0), (size_t)row_len(rows, 0, 0));
}

enum err get_cancellation_by_key(struct request *req)
{
    const char *key = NULL;
    enum err e = read_key(req, &key);

    if (e != ERR_OK)
        return e;
    struct db_value *v = submit_values(req, SQL_key_get, 1);
    v[0] = db_text(key);
    return submit(req, LANE_READ, SQL_key_get, 1, v, reply_by_key);
}

static void reply_forgotten(struct request *req, const struct db_rows *rows)
{
    if (rows->count == 0)
        reply_not_found(req);
    else if (strcmp(row_text(rows, 0, 0), "waiting") == 0)
        req_reply(req, 204, NULL, "", 0);
    else
        req_error(req, req_fail(req, ERR_CANCELLATION_USED,
                                "a request with this key has come, and was cancelled"));
}

enum err delete_cancellation_by_key(struct request *req)
{
    const char *key = NULL;
    enum err e = read_key(req, &key);

    if (e != ERR_OK)
        return e;
    struct db_value *v = submit_values(req, SQL_key_forget, 1);
    v[0] = db_text(key);
    return submit(req, LANE_CONTROL, SQL_key_forget, 1, v, reply_forgotten);
}
