/* listJobEvents, listCancellations, getCancellation: what happened to a job. All of it
 * stays when the job is removed. */
#include "build/gen/operations.h"
#include "handlers/page.h"
#include "handlers/submit.h"

#include <string.h>

enum { MARK_DIGITS = 10, TIME_DIGITS = 20 };

/* The id as it was written: it is a number, or the handler would not have come so far. */
static void fail_unknown(struct request *req)
{
    req_error(req, req_fail(req, ERR_JOB_NOT_FOUND, "there is no job %s",
                            req_path(req, "jobId")));
}

/* -- listJobEvents ------------------------------------------------------------------- */

/* The statement answers no rows both for a job that never was and for the page behind the
 * last event. Only without `after` and `cursor` is the first certain: every job has one
 * event at least. Rejected: a second statement to tell them apart, for a client that asks
 * only with an `after` it was given. */
static void reply_events(struct request *req, const struct db_rows *rows)
{
    const char *cursor = req_query(req, "cursor");

    if (rows->count == 0 && cursor == NULL && req_query(req, "after") == NULL)
        fail_unknown(req);
    else if (rows->count == 0)
        reply_page(req, rows, "events", 0, cursor != NULL ? cursor : "");
    else
        reply_page(req, rows, "events", rows->count, row_text(rows, 0, 2));
}

/* What the client has: a time and marks, in hexadecimal digits; or nothing. */
static bool is_seen(const char *cursor)
{
    size_t len = strlen(cursor);

    return strspn(cursor, "0123456789abcdef") == len && len % MARK_DIGITS == 0 &&
           (len == 0 || len >= TIME_DIGITS);
}

static enum err read_seen(struct request *req, struct db_value *out_seen)
{
    const char *cursor = req_query(req, "cursor");

    *out_seen = db_text(cursor);
    if (cursor != NULL && !is_seen(cursor))
        return fail_cursor(req);
    return ERR_OK;
}

enum err list_job_events(struct request *req)
{
    int64_t job_id, after = 0, limit = 50;
    struct db_value seen;
    enum err e = req_path_id(req, "jobId", ERR_JOB_NOT_FOUND, &job_id);

    if (e == ERR_OK)
        e = req_query_int(req, "after", 0, INT32_MAX, &after);
    if (e == ERR_OK)
        e = req_query_int(req, "limit", 1, 200, &limit);
    if (e == ERR_OK)
        e = read_seen(req, &seen);
    if (e != ERR_OK)
        return e;
    struct db_value *v = submit_values(req, SQL_job_events, 1);
    v[0] = db_int(job_id);
    v[1] = db_int(after);
    v[2] = db_int(limit);
    v[3] = seen;
    return submit(req, LANE_READ, SQL_job_events, 1, v, reply_events);
}

/* -- receipts ------------------------------------------------------------------------ */

/* cancellation_list.sql answers one row with null for a job that has no receipt. */
static void reply_cancellations(struct request *req, const struct db_rows *rows)
{
    struct db_rows none = {.result = NULL};

    if (rows->count == 0)
        fail_unknown(req);
    else
        reply_list(req, row_is_null(rows, 0, 1) ? &none : rows, "cancellations", 1);
}

enum err list_cancellations(struct request *req)
{
    int64_t job_id;
    enum err e = req_path_id(req, "jobId", ERR_JOB_NOT_FOUND, &job_id);

    if (e != ERR_OK)
        return e;
    struct db_value *v = submit_values(req, SQL_cancellation_list, 1);
    v[0] = db_int(job_id);
    return submit(req, LANE_READ, SQL_cancellation_list, 1, v, reply_cancellations);
}

static void reply_cancellation(struct request *req, const struct db_rows *rows)
{
    if (rows->count == 0) {
        req_error(req, req_fail(req, ERR_CANCELLATION_NOT_FOUND,
                                "job %s has no cancellation %s", req_path(req, "jobId"),
                                req_path(req, "n")));
        return;
    }
    set_etag(req, row_text(rows, 0, 2));
    req_reply(req, 200, NULL, row_text(rows, 0, 1), (size_t)row_len(rows, 0, 1));
}

enum err get_cancellation(struct request *req)
{
    int64_t job_id, n;
    enum err e = req_path_id(req, "jobId", ERR_JOB_NOT_FOUND, &job_id);

    if (e == ERR_OK)
        e = req_path_id(req, "n", ERR_CANCELLATION_NOT_FOUND, &n);
    /* the column is an int: PostgreSQL would refuse the value as wrong, not as unknown */
    if (e == ERR_OK && n > INT32_MAX)
        e = req_fail(req, ERR_CANCELLATION_NOT_FOUND, "there is no such cancellation");
    if (e != ERR_OK)
        return e;
    struct db_value *v = submit_values(req, SQL_cancellation_get, 1);
    v[0] = db_int(job_id);
    v[1] = db_int(n);
    return submit(req, LANE_READ, SQL_cancellation_get, 1, v, reply_cancellation);
}
