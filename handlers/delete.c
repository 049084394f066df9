/* deleteJob: DELETE /jobs/{jobId}. A running job goes when it has stopped, and only where
 * abort was asked.
 *
 * Options stand in the query alone: content in a DELETE has no generally defined
 * semantics (RFC 9110, 9.3.5), and proxies drop it. That the row is to go is part of the
 * receipt, so it happens also when nobody waits here any more. */
#include "build/gen/operations.h"
#include "handlers/cancellation.h"
#include "handlers/metrics.h"
#include "handlers/wait.h"

#include <string.h>

enum { GRACE_MAX = 86400 };

static enum err read_options(struct request *req, struct cancel_options *opt)
{
    *opt = (struct cancel_options){.grace_seconds = -1, .attempt = -1, .delete = true};
    enum err e = req_query_bool(req, "abort", &opt->abort);

    if (e == ERR_OK)
        e = req_query_int(req, "grace_seconds", 0, GRACE_MAX, &opt->grace_seconds);
    if (e == ERR_OK)
        e = req_query_text(req, "reason", 1024, &opt->reason);
    return e == ERR_OK ? req_query_text(req, "actor", 255, &opt->actor) : e;
}

/* After a wait: 204 when it is gone, 202 while it still stops. */
static void reply_waited(struct request *req, const struct db_rows *rows)
{
    if (row_is_null(rows, 0, ANSWER_JOB))
        req_reply(req, 204, NULL, "", 0);
    else
        reply_answer(req, 202, row_text(rows, 0, ANSWER_RESULT),
                     row_text(rows, 0, ANSWER_JOB),
                     row_text(rows, 0, ANSWER_CANCELLATION));
}

static void look_again(struct request *req, int64_t job_id,
                       const struct first_answer *first)
{
    look_at_receipt(req, job_id, first, reply_waited);
}

/* As in cancel.c: the options are read a second time because the handler has returned
 * long ago, and the worker is told after the commit and before the wait. */
static void reply_aborting(struct request *req, const struct db_rows *rows)
{
    struct cancel_options opt;
    int64_t job_id = 0, seconds = 0;

    if (read_options(req, &opt) != ERR_OK || req_wait_seconds(req, &seconds) != ERR_OK ||
        req_path_id(req, "jobId", ERR_JOB_NOT_FOUND, &job_id) != ERR_OK)
        seconds = 0; /* committed all the same: the poll delivers it */
    else
        tell_worker(req, rows, 0, job_id, &opt);
    set_receipt_location(req, job_id, row_int(rows, 0, ANSWER_N));
    if (seconds > 0)
        wait_for_end(req, job_id, seconds, look_again, first_pending(req, rows));
    else
        reply_answer(req, 202, "aborting", row_text(rows, 0, ANSWER_JOB),
                     row_text(rows, 0, ANSWER_CANCELLATION));
}

static void reply_delete(struct request *req, const struct db_rows *rows)
{
    const char *result = row_text(rows, 0, ANSWER_RESULT);

    metrics_count_cancel(req, result);
    if (strcmp(result, "deleted") == 0)
        req_reply(req, 204, NULL, "", 0);
    else if (strcmp(result, "aborting") == 0)
        reply_aborting(req, rows);
    else
        reply_refusal(req, result, row_text(rows, 0, ANSWER_ETAG),
                      row_text(rows, 0, ANSWER_JOB),
                      row_text(rows, 0, ANSWER_CANCELLATION));
}

enum err delete_job(struct request *req)
{
    struct cancel_options opt;
    int64_t job_id, seconds;
    enum err e = req_path_id(req, "jobId", ERR_JOB_NOT_FOUND, &job_id);

    if (e == ERR_OK)
        e = read_options(req, &opt);
    if (e == ERR_OK)
        e = req_wait_seconds(req, &seconds);
    if (e != ERR_OK)
        return e;
    struct db_value *v = submit_values(req, SQL_job_delete, 1);
    v[0] = db_int(job_id);
    v[1] = db_int(opt.abort);
    v[2] = db_text(opt.reason);
    v[3] = db_text(opt.actor);
    /* null: what the task itself declares */
    v[4] = opt.grace_seconds < 0 ? db_null() : db_int(opt.grace_seconds);
    v[5] = db_text(if_match(req));
    return submit(req, LANE_CONTROL, SQL_job_delete, 1, v, reply_delete);
}
